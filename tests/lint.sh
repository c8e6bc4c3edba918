#!/bin/sh
# SPDX-License-Identifier: ISC
# What a program can check of the way ostler is written: include directions,
# one door per library, banned calls, licence lines. Prints each finding.
set -u
cd "${srcdir:-.}" || exit 1
[ -d lib ] || cd "$(dirname "$0")/.." || exit 1
bad=0

found() { # found TITLE LINES
	[ -z "$2" ] && return
	printf '%s\n%s\n' "$1" "$2"
	bad=1
}
rooms() { # rooms DIR...: C files below the folders that exist
	find "$@" -name '*.[ch]' 2>/dev/null
}

# server -> queue -> {policy, auth} -> lib
# shellcheck disable=SC2046
{
found "lib/ uses nothing above it:" \
	"$(grep -nE '#include "(policy|auth|queue|server)/' $(rooms lib))"
found "policy/ uses lib/ alone:" \
	"$(grep -nE '#include "(auth|queue|server)/' $(rooms policy))"
found "auth/ uses lib/ alone:" \
	"$(grep -nE '#include "(policy|queue|server)/' $(rooms auth))"
found "queue/ does not use server/:" \
	"$(grep -nE '#include "server/' $(rooms queue))"
found "openssl/ belongs to lib/net/tls_*.c:" \
	"$(grep -lE '#include <openssl/' $(rooms lib policy auth queue server) |
		grep -vE '^lib/net/tls_[a-z_]+\.[ch]$')"
found "sasl/ belongs to auth/:" \
	"$(grep -lE '#include <sasl/' $(rooms lib policy queue server))"
found "c-ares belongs to lib/net/dns_backend.c:" \
	"$(grep -lE '#include <ares' $(rooms lib policy auth queue server) |
		grep -v '^lib/net/dns_backend\.c$')"
found "libcurl belongs to server/ostler_fetch.c:" \
	"$(grep -lE '#include <curl/' $(rooms lib policy auth queue server) |
		grep -v '^server/ostler_fetch\.c$')"
found "libconfuse belongs to server/config_values.c:" \
	"$(grep -lE '#include <confuse' $(rooms lib policy auth queue server) |
		grep -v '^server/config_values\.c$')"
found "banned calls:" \
	"$(grep -nE '(^|[^A-Za-z0-9_>.])(strcpy|strcat|sprintf|vsprintf|atoi|atol|atof|strtok|gmtime|localtime|ctime|gets|rand|system|popen)\(' \
		$(rooms lib policy auth queue server))"
found "includes are folder-qualified:" \
	"$(grep -nE '#include "[^/"]+"' $(rooms lib policy auth queue server) |
		grep -v '"config.h"')"
found "every file says its licence:" \
	"$(grep -L 'SPDX-License-Identifier: ISC' \
		$(rooms lib policy auth queue server tests))"
found "comments are /* */:" \
	"$(grep -nE '^[[:space:]]*//' $(rooms lib policy auth queue server))"
}
exit $bad
