#!/bin/bash
# SPDX-License-Identifier: ISC
# The test of the test: for each rule of queue/spool/mutant.h a spool is
# built that breaks it, and the replay has to find that.
#
#	mutants.sh BUILD [MUTANT...]
#
# Prints a line for each; exit 0 if all are found.
set -u
build=$(realpath "$1")
shift
here=$(cd "$(dirname "$0")" && pwd)
header=$here/../../queue/spool/mutant.h
all=$(sed -n 's/^#define MUTANTS \([0-9]*\).*/\1/p' "$header")
seeds=${OSTLER_SEEDS:-$(seq 12)}
work=$(mktemp -d "${TMPDIR:-/tmp}/ostler-mutants-XXXXXX")
trap 'rm -rf "$work"' EXIT

try() { # try MUTANT: 0 if it is found
	local mutant=$1 folder=$work/$1 seed rc
	local tools=$build/tests/crash/mutant-$mutant
	local name
	name=$(sed -n "s/^[[:space:]]MUTANT_\([A-Z_]*\) = $mutant,.*/\1/p" "$header")
	mkdir -p "$folder"
	make -s -C "$build" crash-mutant MUTANT="$mutant" \
		>"$folder/make.log" 2>&1 || {
		cat "$folder/make.log"
		return 1
	}
	for seed in $seeds; do
		# one that cannot even end its run is noticed, too
		"$here/record.sh" "$tools" "$seed" "$folder" >"$folder/out" ||
			{ [ -s "$folder/trace" ] || return 1; }
		"$tools/replay" -m -s "$seed" -n 2400 -j 2 \
			"$folder/trace" >"$folder/out" 2>&1
		rc=$?
		if [ "$rc" = 1 ]; then
			echo "mutant $mutant ($name): found with seed $seed:" \
				"$(head -n 1 "$folder/out")"
			rm -rf "$tools"
			return 0
		fi
	done
	echo "mutant $mutant ($name): NOT FOUND"
	tail -n 3 "$folder/out"
	return 1
}

make -s -C "$build" tests/crash/driver tests/crash/replay \
	tests/crash/recorder.so || exit 2
missed=0 running=0
for mutant in ${*:-$(seq "$all")}; do
	try "$mutant" &
	running=$((running + 1))
	if [ "$running" -ge "${OSTLER_JOBS:-4}" ]; then
		wait -n || missed=$((missed + 1))
		running=$((running - 1))
	fi
done
while [ "$running" -gt 0 ]; do
	wait -n || missed=$((missed + 1))
	running=$((running - 1))
done
echo "$missed missed"
[ "$missed" = 0 ]
