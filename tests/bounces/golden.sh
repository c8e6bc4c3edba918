#!/bin/sh
# SPDX-License-Identifier: ISC
# Reports against tests/bounces/golden/NAME.eml, and in other languages, where
# the text is the point, against golden/LANGUAGE/NAME.eml. After an intended
# change: tests/bounces/golden.sh --write, then read the diff.
set -u
demo=./tests/tools/dsn_demo
golden=${srcdir:-.}/tests/bounces/golden
bad=0

# report LANGUAGE NAME FILE
check() {
	if [ "$write" = --write ]; then
		$demo "$2" --language "$1" >"$3"
	elif ! $demo "$2" --language "$1" | diff -u "$3" -; then
		bad=1
	fi
}

write=${1:-}
names=$($demo --list) && [ -n "$names" ] || exit 1
for name in $names; do
	check en "$name" "$golden/$name.eml"
	case $name in
	8bit-* | arguments | encoded-subject | headerless | hostile | many | utf8*)
		continue ;; # about the form, not the words
	esac
	for language in de fr; do
		check $language "$name" "$golden/$language/$name.eml"
	done
done
# a report that is made no more needs no picture
for file in "$golden"/*.eml; do
	name=$(basename "$file" .eml)
	echo "$names" | grep -qx -e "$name" || {
		echo "$file: there is no such report"
		bad=1
	}
done
exit $bad
