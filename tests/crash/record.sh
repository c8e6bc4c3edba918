#!/bin/sh
# SPDX-License-Identifier: ISC
# Records four runs of the spool in one folder: the first is killed, in the
# second some syncs of the log fail before it is killed too, in the third some
# of files and folders, the fourth ends well.
#
#	record.sh TOOLS SEED FOLDER [MESSAGES]
#
# TOOLS is the folder of driver; recorder.so is there or above it. Leaves
# FOLDER/trace and FOLDER/spool.
set -u
tools=$1 seed=$2 folder=$(realpath "$3") messages=${4:-400}
recorder=$(realpath "$tools/recorder.so" 2>/dev/null)
[ -n "$recorder" ] && [ -e "$recorder" ] ||
	recorder=$(realpath "$tools/../recorder.so") || exit 2
rm -rf "$folder/spool" "$folder/trace"
mkdir -p "$folder/spool"

run() { # run NUMBER [VARIABLE=VALUE...]
	number=$1
	shift
	# the recorder stands before the sanitizer, which can live with it
	env ASAN_OPTIONS=verify_asan_link_order=0:detect_leaks=0 \
		OSTLER_CRASH_TRACE="$folder/trace" \
		OSTLER_CRASH_DIR="$folder/spool" "$@" \
		LD_PRELOAD="$recorder" timeout 120 "$tools/driver" \
		"$folder/spool" "$seed" "$number" "$messages" \
		>>"$folder/log" 2>&1
}
: >"$folder/log"

run 0 OSTLER_CRASH_KILL=$((300 + seed * 331 % 700)) 2>/dev/null
run 1 OSTLER_CRASH_KILL=$((350 + seed * 173 % 600)) \
	OSTLER_CRASH_FAIL=$((10 + seed * 7 % 30)) 2>/dev/null
run 2 OSTLER_CRASH_KILL=$((400 + seed * 257 % 900)) \
	OSTLER_CRASH_FAIL=$((20 + seed * 11 % 90)) \
	OSTLER_CRASH_FAIL_FILES=$((12 + seed * 23 % 60)) 2>/dev/null
run 3
code=$?
[ "$code" = 0 ] || {
	echo "the last run ended with $code:"
	cat "$folder/log"
	exit 2
}
