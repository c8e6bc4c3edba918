#!/bin/bash
# SPDX-License-Identifier: ISC
# A working relay in one command: installs what the build needs, builds, runs
# the relay as you on 127.0.0.1 with its files under run/, and shows three
# things happening for real.
#
#   ./etc/quickstart.sh           stays in the foreground until Ctrl-C
#   ./etc/quickstart.sh --check   does the same, then exits 0 or 1
set -eu
cd "$(dirname "$0")/.."
top=$PWD
run=$top/run

case "${1:-}" in
'') check='' ;;
--check) check=yes ;;
*)
	echo "usage: $0 [--check]" >&2
	exit 64
	;;
esac

step() { printf '\n== %s\n' "$*"; }
fail() {
	printf '\nquickstart: %s\n' "$*" >&2
	exit 1
}

# ------------------------------------------------------------- packages

packages="autoconf automake pkg-config make gcc libc6-dev libuv1-dev
libssl-dev libsasl2-dev libsasl2-modules libsasl2-modules-db sasl2-bin
libc-ares-dev libidn2-dev libconfuse-dev libjansson-dev libcurl4-openssl-dev libsystemd-dev curl"

install_packages() {
	local missing='' package as_root=''
	if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
		echo "This is not Debian or Ubuntu. Please install what these packages hold:"
		echo "$packages"
		return
	fi
	for package in $packages; do
		dpkg-query -W -f='${Status}' "$package" 2>/dev/null |
			grep -q 'ok installed' || missing="$missing $package"
	done
	[ -n "$missing" ] || return 0
	step "installing$missing"
	if [ "$(id -u)" != 0 ]; then
		command -v sudo >/dev/null ||
			fail "packages are missing and there is no sudo; as root: apt-get install$missing"
		as_root=sudo
	fi
	$as_root apt-get update -q
	# shellcheck disable=SC2086
	$as_root env DEBIAN_FRONTEND=noninteractive \
		apt-get install -q -y --no-install-recommends $missing
}

# ---------------------------------------------------------------- build

build() {
	step "building"
	mkdir -p "$run"
	{
		[ -x configure ] || ./autogen.sh
		[ -e Makefile ] || ./configure
		make -j"$(nproc)" ostlerd ostlerctl
	} >"$run/build.log" 2>&1 || {
		tail -n 20 "$run/build.log" >&2
		fail "the build failed; all of it is in run/build.log"
	}
	./ostlerd -V | head -n 1
}

# ------------------------------------------------------------ the relay

write_configuration() {
	mkdir -p "$run/mail"
	chmod 700 "$run"
	cat >"$run/ostler.conf" <<-CONF
		# Written by quickstart; see man ostler.conf and etc/ostler.conf
		hostname       = "localhost"
		spool          = "$run/spool"
		control_socket = "$run/control.sock"
		user           = "$(id -un)"

		listener "mx"          { role = "mx"         address = {"127.0.0.1:2525"} tls = "starttls" }
		listener "submission"  { role = "submission" address = {"127.0.0.1:2587"} tls = "starttls" }
		listener "submissions" { role = "submission" address = {"127.0.0.1:2465"} tls = "implicit" }

		auth { database = "$run/sasldb2" }

		# one local domain, delivered to a Maildir
		domain "local.example" { deliver = "maildir:$run/mail/%u" }

		# another server, which is down: mail for it waits in the queue
		route "elsewhere" { for = {"elsewhere.example"} via = "smtp:127.0.0.1:2526" }
	CONF
}

relay=''
stop_relay() {
	[ -n "$relay" ] || return 0
	kill "$relay" 2>/dev/null || true
	wait "$relay" 2>/dev/null || true
	relay=''
}

# wait_for SECONDS COMMAND...: until it succeeds
wait_for() {
	local tries=$(($1 * 20))
	shift
	while ! "$@" >/dev/null 2>&1; do
		tries=$((tries - 1))
		[ "$tries" -gt 0 ] || return 1
		[ -z "$relay" ] || kill -0 "$relay" 2>/dev/null || return 1
		sleep 0.05
	done
}

start_relay() {
	step "starting the relay"
	# what the demonstration showed the last time is not part of this one
	rm -rf "$run/mail" "$run/sasldb2" "$run/spool"
	write_configuration
	password=$(od -An -N9 -tx1 /dev/urandom | tr -d ' \n')
	printf '%s\n' "$password" |
		./ostlerctl -c "$run/ostler.conf" user add demo
	./ostlerd -c "$run/ostler.conf" 2>"$run/ostlerd.log" &
	relay=$!
	trap stop_relay EXIT
	trap 'stop_relay; exit 130' INT TERM
	wait_for 20 ./ostlerctl -c "$run/ostler.conf" status || {
		tail -n 5 "$run/ostlerd.log" >&2
		fail "the relay did not start"
	}
	echo "mx           127.0.0.1:2525  (STARTTLS)"
	echo "submission   127.0.0.1:2587  (STARTTLS), 127.0.0.1:2465 (TLS)"
	echo "login        demo, password $password"
	echo "local domain local.example, delivered to run/mail/"
}

# ------------------------------------------------- three things for real

send() { # send FROM TO URL [curl options]: prints what the server said
	local from=$1 to=$2 url=$3
	shift 3
	printf 'From: %s\r\nTo: %s\r\nSubject: hello from quickstart\r\n\r\nHello.\r\n' \
		"$from" "$to" |
		curl -sS -v --max-time 20 --mail-from "$from" --mail-rcpt "$to" \
			--upload-file - "$@" "$url" 2>&1 | grep -E '^(< [245]|curl:)'
}

show_local_delivery() {
	step "1. a stranger writes to anna@local.example: taken and delivered"
	send stranger@elsewhere.example anna@local.example \
		smtp://127.0.0.1:2525 | tail -n 2
	wait_for 10 sh -c "ls '$run/mail/anna/new/'* >/dev/null" ||
		fail "no file came to run/mail/anna/new/"
	ls "$run"/mail/anna/new/*
}

show_refused_relay() {
	local said
	step "2. a stranger writes to bob@elsewhere.example: refused, with the reason"
	said=$(send stranger@elsewhere.example bob@elsewhere.example \
		smtp://127.0.0.1:2525 || true)
	said=$(printf '%s\n' "$said" | grep 'Relaying denied') ||
		fail "the relay was not refused: $said"
	echo "$said"
	echo "-- ostlerctl explain says more:"
	./ostlerctl -c "$run/ostler.conf" explain --client 192.0.2.7 \
		--from stranger@elsewhere.example --to bob@elsewhere.example || true
}

show_submission() {
	step "3. demo logs in and writes to bob@elsewhere.example: queued for that server"
	send demo@local.example bob@elsewhere.example smtp://localhost:2587 \
		--ssl-reqd --cacert "$run/spool/tls/certificate.pem" \
		--user "demo:$password" | tail -n 2
	wait_for 10 sh -c "./ostlerctl -c '$run/ostler.conf' queue list --state deferred | grep -q elsewhere.example" ||
		fail "the message is not in the queue"
	./ostlerctl -c "$run/ostler.conf" queue list
}

print_how_to() {
	step "try it by hand"
	cat <<-TEXT
		curl --mail-from you@x.example --mail-rcpt anna@local.example -T FILE smtp://127.0.0.1:2525
		curl --ssl-reqd --cacert run/spool/tls/certificate.pem --user demo:$password \\
		     --mail-from demo@local.example --mail-rcpt bob@elsewhere.example -T FILE smtp://localhost:2587
		./ostlerctl -c run/ostler.conf status | queue | queue show ID | explain --from A --to B
		tail -f run/ostlerd.log
	TEXT
}

install_packages
build
start_relay
show_local_delivery
show_refused_relay
show_submission
if [ -n "$check" ]; then
	stop_relay
	step "all three happened: ok"
	exit 0
fi
print_how_to
step "the relay runs; Ctrl-C stops it"
wait "$relay"
