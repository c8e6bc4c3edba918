#!/bin/bash
# SPDX-License-Identifier: ISC
# Every test: installs what they need, builds with the sanitizers and with
# warnings as errors, runs the unit tests and the system tests.
#
#   ./tests/run.sh            all of them
#   ./tests/run.sh PATTERN    those whose name has PATTERN in it
#
# What was skipped is listed with what was missing. The last line is "N passed,
# N failed, N skipped"; exit 0 if nothing failed.
set -eu
cd "$(dirname "$0")/.."
top=$PWD
pattern=${1:-}
build=$top/build
# not some other Python that happens to stand first in PATH: the packages
# below belong to this one
python=/usr/bin/python3
# an ordinary user's PATH has no place for servers
PATH=$PATH:/usr/sbin:/sbin
export PATH

packages="autoconf automake pkg-config make gcc libc6-dev libuv1-dev
libssl-dev libsasl2-dev libsasl2-modules libsasl2-modules-db sasl2-bin
libc-ares-dev libidn2-dev libconfuse-dev libjansson-dev libcurl4-openssl-dev libsystemd-dev check
python3 python3-pytest python3-pytest-xdist python3-aiosmtpd
python3-dnspython knot knot-dnsutils
unbound swaks libnet-ssleay-perl curl msmtp s-nail libauthen-sasl-perl
libio-socket-ssl-perl nodejs node-nodemailer nmap postfix dovecot-core
dovecot-lmtpd dovecot-submissiond openssl
python3-flufl.bounce libsisimai-perl libmail-deliverystatus-bounceparser-perl
procps iproute2 e2fsprogs git"

install_packages() {
	local missing='' package as_root='' rc=0
	command -v apt-get >/dev/null || return 0
	for package in $packages; do
		dpkg-query -W -f='${Status}' "$package" 2>/dev/null |
			grep -q 'ok installed' || missing="$missing $package"
	done
	[ -n "$missing" ] || return 0
	echo "installing$missing"
	[ "$(id -u)" = 0 ] || as_root=sudo
	# the servers are peers for the tests; none of them is to be started
	if [ ! -e /usr/sbin/policy-rc.d ]; then
		printf '#!/bin/sh\nexit 101\n' |
			$as_root tee /usr/sbin/policy-rc.d >/dev/null
		$as_root chmod 755 /usr/sbin/policy-rc.d
		made_policy=yes
	fi
	echo "postfix postfix/main_mailer_type select No configuration" |
		$as_root debconf-set-selections
	$as_root apt-get update -q >/dev/null
	# shellcheck disable=SC2086
	$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y \
		--no-install-recommends $missing >"$top/build-packages.log" 2>&1 ||
		rc=$?
	[ -z "${made_policy:-}" ] || $as_root rm -f /usr/sbin/policy-rc.d
	if [ "$rc" != 0 ]; then
		tail -n 20 "$top/build-packages.log" >&2
		exit 1
	fi
	rm -f "$top/build-packages.log"
}

# These do not let themselves be installed beside Postfix; their libraries are
# for a system that has not got them. Without one, tests skip what needs it.
unpack_peers() {
	local package peers=$build/peers
	command -v apt-get >/dev/null || return 0
	mkdir -p "$peers"
	for package in exim4-daemon-light opensmtpd libidn12 libgnutls-dane0 \
		libunbound8 libevent-2.1-7 libnsl2; do
		[ ! -d "$peers/$package" ] || continue
		(
			cd "$peers"
			apt-get download -q "$package" &&
				dpkg -x "$package"_*.deb "$package.new" &&
				mv "$package.new" "$package"
		) >"$peers/$package.log" 2>&1 || true
		rm -rf "$peers/$package"_*.deb "$peers/$package.new"
	done
}

# The tests' build has flags of its own, so it gets a tree of its own: a
# source tree that was configured for use can build nothing beside itself.
copy_sources() {
	mkdir -p "$build"
	# root may test a user's clone
	git -c safe.directory='*' ls-files -z --cached --others --exclude-standard |
		tar --null --ignore-failed-read -cf - -T - 2>/dev/null |
		tar -xf - -C "$build"
}

build_all() {
	copy_sources
	cd "$build"
	if [ ! -x configure ] || [ configure.ac -nt configure ] ||
		[ Makefile.am -nt Makefile.in ]; then
		./autogen.sh >autogen.log 2>&1 || {
			cat autogen.log >&2
			exit 1
		}
	fi
	[ -e Makefile ] ||
		CFLAGS="-O1 -g" ./configure -q --enable-werror --enable-sanitizers
	make -s -j"$(nproc)"
	cd "$top"
}

passed=0 failed=0 skipped=0
reasons='' # of what was skipped: a line each, "TEST: WHY"

skip_one() { # skip_one "TEST: WHY"
	skipped=$((skipped + 1))
	reasons="$reasons$1
"
}

# One automake test: its .log has libcheck's count, or it is one test.
count_unit() {
	local trs=$1 log=${1%.trs}.log checks bad
	checks=$(sed -n 's/.*Checks: \([0-9]*\), Failures: \([0-9]*\), Errors: \([0-9]*\).*/\1 \2 \3/p' "$log")
	if grep -q '^:test-result: SKIP' "$trs"; then
		skip_one "$(basename "$log" .log): $(tail -n 1 "$log")"
	elif [ -n "$checks" ]; then
		# shellcheck disable=SC2086
		set -- $checks
		bad=$(($2 + $3))
		failed=$((failed + bad))
		passed=$((passed + $1 - bad))
		# what fails outside of a test (a leak at exit) fails too
		if [ "$bad" = 0 ] && grep -q '^:test-result: FAIL' "$trs"; then
			failed=$((failed + 1))
		fi
	elif grep -q '^:test-result: PASS' "$trs"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
	fi
	grep -q '^:test-result: \(PASS\|SKIP\)' "$trs" || {
		echo "FAILED $(basename "${trs%.trs}")"
		tail -n 40 "$log"
	}
}

run_units() {
	local names trs rc=0
	cd "$build"
	find . -name '*.trs' -delete
	make -s print-tests | grep -q tests/unit/ ||
		skip_one "the unit tests: there is no libcheck to build them with"
	if [ -n "$pattern" ]; then
		names=$(make -s print-tests | tr ' ' '\n' |
			grep -e "$pattern" || true)
		# with no name it still builds what the system tests use
		names=$(printf '%s' "$names" | tr '\n' ' ')
		make -s -k -j"$(nproc)" check TESTS="$names" >check.log 2>&1 || rc=$?
	else
		make -s -k -j"$(nproc)" check >check.log 2>&1 || rc=$?
	fi
	while read -r trs; do
		count_unit "$trs"
	done < <(find . -name '*.trs' | sort)
	# make failed and no test did: something was not built or not run
	[ "$rc" = 0 ] || [ "$failed" != 0 ] || {
		tail -n 40 check.log
		failed=$((failed + 1))
	}
	cd "$top"
}

run_systems() {
	local report=$build/system.xml rc=0 counts workers=
	rm -f "$report"
	# they wait more than they compute; a file's tests stay together
	if "$python" -c 'import xdist' 2>/dev/null; then
		workers="-n $(($(nproc) > 2 ? $(nproc) : 2)) --dist loadfile"
	fi
	# shellcheck disable=SC2086 # a list of words
	OSTLER_BUILD=$build OSTLER_PEERS=$build/peers OSTLER_PROVIDED=$provided \
		PYTHONDONTWRITEBYTECODE=1 "$python" -m pytest \
		-q $workers -p no:cacheprovider --junitxml="$report" \
		${pattern:+-k "$pattern"} tests/system || rc=$?
	# 5: no test has that name
	if [ "$rc" = 5 ]; then
		return 0
	fi
	counts=$("$python" - "$report" <<-'PY'
		import sys, xml.etree.ElementTree as tree
		t = f = s = 0
		whys = []
		for suite in tree.parse(sys.argv[1]).getroot().iter("testsuite"):
		    t += int(suite.get("tests")); s += int(suite.get("skipped"))
		    f += int(suite.get("failures")) + int(suite.get("errors"))
		    whys += [f"{case.get('name')}: {why.get('message')}"
		             for case in suite.iter("testcase")
		             for why in case.iter("skipped")]
		print(t - f - s, f, s)
		print(*whys, sep="\n")
	PY
	) || counts="0 1 0"
	reasons=$reasons$(printf '%s' "$counts" | sed 1d)
	counts=${counts%%
*}
	# shellcheck disable=SC2086
	set -- $counts
	passed=$((passed + $1))
	failed=$((failed + $2))
	skipped=$((skipped + $3))
	if [ "$rc" != 0 ] && [ "$2" = 0 ]; then
		failed=$((failed + 1))
	fi
}

# what lacks of these is a fault; without apt-get, packages are the user's
provided=ostler
if command -v apt-get >/dev/null; then
	provided="ostler $packages"
fi
install_packages
build_all
unpack_peers
run_units
run_systems
if [ $((passed + failed + skipped)) = 0 ]; then
	echo "no test has $pattern in its name"
	failed=1
fi
if [ -n "$reasons" ]; then
	printf 'skipped:\n%s\n' "${reasons%
}" | sed '2,$s/^/  /'
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
