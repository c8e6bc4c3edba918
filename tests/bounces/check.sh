#!/bin/sh
# SPDX-License-Identifier: ISC
# The shipped rules against labelled replies, within `make check`.
set -u
here=${srcdir:-.}/tests/bounces
score=./tests/bounces/score
bad=0

# "CATEGORY tab REPLY" lines to the table that score reads
table() {
	echo 'code	enhanced	text	category'
	awk -F '\t' '!/^#/ { print "-\t-\t" $2 "\t" $1 }' "$@"
}

$score -f -a 0.90 -m 0.88 -c 0.70 "$here/training.tsv" || bad=1
# replies written down from memory after the rules
$score -v -a 0.96 -m 0.95 -c 0.85 "$here/recalled.tsv" || bad=1
sed '/^#/d; s/^/relaying-issues	/' "$here/relaying.txt" | table |
	$score -v -a 1 /dev/stdin || bad=1
table "$here/near_misses.txt" | $score -v -a 1 /dev/stdin || bad=1
exit $bad
