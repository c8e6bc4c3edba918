#!/bin/sh
# SPDX-License-Identifier: ISC
# tests/fuzz/run.sh NAME [RUNS [libFuzzer options...]]
#
# Builds tests/fuzz/fuzz_NAME.c and the rooms with clang, libFuzzer and the
# address and undefined-behaviour sanitizers, and runs it from the corpus in
# tests/fuzz/corpus/NAME (which stays as it is). What it finds new goes to
# $FUZZ_BUILD/found/NAME, an input that breaks something is left there as
# crash-*. With RUNS = merge, inputs in found/NAME that reach new code are
# added to the corpus.
#
# FUZZ_BUILD  where to build; default build-fuzz in the source tree
set -eu
name=${1:?usage: run.sh NAME [RUNS|merge]}
runs=${2:-100000}
shift; [ $# -eq 0 ] || shift
top=$(cd "$(dirname "$0")/../.." && pwd)
build=${FUZZ_BUILD:-$top/build-fuzz}
corpus=$top/tests/fuzz/corpus/$name
found=$build/found/$name
flags="-g -O2 -fno-omit-frame-pointer -fsanitize=address,undefined \
-fno-sanitize-recover=all"

[ -f "$top/tests/fuzz/fuzz_$name.c" ] || { echo "no fuzz_$name.c" >&2; exit 64; }
[ -x "$top/configure" ] || (cd "$top" && ./autogen.sh)

# A copy, since a tree that was configured in place refuses another build;
# times are kept, so make does only what changed.
mkdir -p "$build/src" "$found" "$corpus"
tar -C "$top" -cf - --exclude='./build*' --exclude=./.git --exclude='*.[ao]' \
	--exclude=./Makefile --exclude='./config.*' --exclude=./stamp-h1 \
	--exclude=.deps --exclude=./run --exclude=./tests/.work . |
	tar -C "$build/src" -xf -
cp -p "$top/config.h.in" "$top/configure" "$build/src/"
cp -pR "$top/build-aux" "$build/src/"
cd "$build/src"
[ -f Makefile ] || ./configure -q CC=clang \
	CFLAGS="$flags -fsanitize=fuzzer-no-link"
make -s -j"${JOBS:-2}" fuzz-rooms
make -s "tests/fuzz/fuzz_$name.o"
# shellcheck disable=SC2046,SC2086 # lists of words
clang $flags -fsanitize=fuzzer -o "fuzz_$name" "tests/fuzz/fuzz_$name.o" \
	$(make -s fuzz-libraries)

cd "$found"
if [ "$runs" = merge ]; then
	exec "$build/src/fuzz_$name" -merge=1 "$@" "$corpus" "$found"
fi
exec "$build/src/fuzz_$name" -runs="$runs" -max_len=4096 -timeout=10 \
	-print_final_stats=1 "$@" "$found" "$corpus"
