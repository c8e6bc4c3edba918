#!/bin/sh
# SPDX-License-Identifier: ISC
# Reports against tests/bounces/golden/NAME.eml. After an intended change:
# tests/bounces/golden.sh --write, then read the diff.
set -u
demo=./tests/tools/dsn_demo
golden=${srcdir:-.}/tests/bounces/golden
bad=0
for name in $($demo --list); do
	if [ "${1:-}" = --write ]; then
		$demo "$name" >"$golden/$name.eml"
	elif ! $demo "$name" | diff -u "$golden/$name.eml" -; then
		bad=1
	fi
done
exit $bad
