/* SPDX-License-Identifier: ISC */
#include "lib/environment.h"

#include <string.h>
#include <unistd.h>

static const char *const for_command[] = {
	"PATH",
	"HOME",
	"USER",
	"LOGNAME",
	"SHELL",
	"TMPDIR",
	"LANG",
	"LANGUAGE",
	"LC_ALL",
	"LC_CTYPE",
	"LC_MESSAGES",
	"LC_TIME",
	"TZ",
	"LD_LIBRARY_PATH",
	"OPENSSL_CONF",
	"SSL_CERT_DIR",
	"SSL_CERT_FILE",
	"CREDENTIALS_DIRECTORY",
	"http_proxy",
	"https_proxy",
	"HTTPS_PROXY",
	"all_proxy",
	"ALL_PROXY",
	"no_proxy",
	"NO_PROXY",
};
#define FOR_COMMAND_COUNT (sizeof(for_command) / sizeof(for_command[0]))

_Static_assert(FOR_COMMAND_COUNT < ENVIRONMENT_COMMAND_MAX,
	       "the array of callers holds all, and the NULL");

void
environment_pick(const char *const *names, size_t count, char **out)
{
	size_t found = 0;

	for (size_t i = 0; i < count; i++) {
		size_t len = strlen(names[i]);

		for (char **at = environ; at != NULL && *at != NULL; at++)
			if (strncmp(*at, names[i], len) == 0 &&
			    (*at)[len] == '=') {
				out[found++] = *at;
				break;
			}
	}
	out[found] = NULL;
}

void
environment_for_command(char *out[ENVIRONMENT_COMMAND_MAX])
{
	environment_pick(for_command, FOR_COMMAND_COUNT, out);
}
