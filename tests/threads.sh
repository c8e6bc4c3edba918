#!/bin/bash
# SPDX-License-Identifier: ISC
# Races between threads: unit tests and the daemon under ThreadSanitizer.
#
#   tests/threads.sh            all unit tests, then system tests
#   tests/threads.sh PATTERN    those whose name has PATTERN in it
#
# In a tree of its own, build-threads.
set -eu
cd "$(dirname "$0")/.."
top=$PWD
pattern=${1:-}
build=${OSTLER_THREADS_BUILD:-$top/build-threads}
scenarios='test_clients.py test_outbound.py test_tls.py test_queue.py'
# A test forks and starts threads in the child; one asks for more memory than
# there is. The sanitizer needs the addresses that programs had of old.
export TSAN_OPTIONS="die_after_fork=0 allocator_may_return_null=1 \
second_deadlock_stack=1 suppressions=$top/tests/threads.supp"
plain="setarch $(uname -m) -R"

[ -x configure ] || ./autogen.sh >/dev/null
mkdir -p "$build"
cd "$build"
[ -e Makefile ] ||
	CFLAGS="-O1 -g -fsanitize=thread" LDFLAGS=-fsanitize=thread \
		"$top/configure" -q --enable-werror >configure.log 2>&1
make -s -j"$(nproc)"
names=$(make -s print-tests | tr ' ' '\n' | grep '^tests/unit/' |
	grep -e "$pattern" || true)
failed=0
if [ -n "$names" ]; then
	# shellcheck disable=SC2086
	CK_TIMEOUT_MULTIPLIER=10 make -s -k -j"$(nproc)" check \
		LOG_COMPILER="$plain" TESTS="$(echo $names)" >threads.log 2>&1 ||
		failed=1
	grep -E '^# (PASS|SKIP|FAIL|ERROR)' threads.log || tail threads.log
	grep -E '^(FAIL|ERROR):' threads.log || true
else
	make -s -j"$(nproc)" check TESTS= >threads.log 2>&1
fi
cd "$top/tests/system"
# shellcheck disable=SC2086
OSTLER_BUILD=$build OSTLER_BEFORE=$plain OSTLER_PATIENCE=200 \
	PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 -m pytest -q \
	-p no:cacheprovider ${pattern:+-k "$pattern"} $scenarios || [ $? = 5 ] ||
	failed=1
exit $failed
