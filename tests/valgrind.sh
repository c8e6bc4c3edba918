#!/bin/bash
# SPDX-License-Identifier: ISC
# Memory errors and leaks that the sanitizers do not see, such as reads of what
# was never written: unit tests and the daemon under valgrind's memcheck.
#
#   tests/valgrind.sh            all unit tests, then system tests
#   tests/valgrind.sh PATTERN    those whose name has PATTERN in it
#
# In a tree of its own, build-valgrind; takes about an hour.
set -eu
cd "$(dirname "$0")/.."
top=$PWD
pattern=${1:-}
build=${OSTLER_VALGRIND_BUILD:-$top/build-valgrind}
# what a session, a delivery, a login and TLS do; the rest is alike
scenarios='test_clients.py test_outbound.py test_tls.py test_queue.py
test_dsn.py test_signals.py test_certificates.py'
memcheck="valgrind -q --error-exitcode=99 --leak-check=full
--errors-for-leak-kinds=definite --show-leak-kinds=definite --num-callers=24
--suppressions=$top/tests/valgrind.supp"
# shellcheck disable=SC2086 # a list of words
memcheck=$(echo $memcheck)

command -v valgrind >/dev/null || {
	echo "there is no valgrind"
	exit 77
}
[ -x configure ] || ./autogen.sh >/dev/null
mkdir -p "$build"
cd "$build"
[ -e Makefile ] ||
	CFLAGS="-O1 -g" "$top/configure" -q --enable-werror >configure.log 2>&1
make -s -j"$(nproc)"
names=$(make -s print-tests | tr ' ' '\n' | grep '^tests/unit/' |
	grep -e "$pattern" || true)
failed=0
if [ -n "$names" ]; then
	# shellcheck disable=SC2086
	CK_TIMEOUT_MULTIPLIER=20 make -s -k \
		-j"$(nproc)" check LOG_COMPILER="$memcheck" \
		TESTS="$(echo $names)" >valgrind.log 2>&1 || failed=1
	grep -E '^# (PASS|SKIP|FAIL|ERROR)' valgrind.log || tail valgrind.log
	grep -E '^(FAIL|ERROR):' valgrind.log || true
else
	make -s -j"$(nproc)" check TESTS= >valgrind.log 2>&1
fi
cd "$top/tests/system"
# shellcheck disable=SC2086
OSTLER_BUILD=$build OSTLER_BEFORE=$memcheck OSTLER_PATIENCE=300 \
	PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 -m pytest -q \
	-p no:cacheprovider ${pattern:+-k "$pattern"} $scenarios || [ $? = 5 ] ||
	failed=1
exit $failed
