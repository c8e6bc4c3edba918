/* SPDX-License-Identifier: ISC */
/*
 * lib/environment.h - what another program gets of our environment
 *
 * Passwords may stand there, for ${VAR} in the configuration, and the sockets
 * of systemd: only what is named here goes on to others.
 */
#ifndef OSTLER_LIB_ENVIRONMENT_H
#define OSTLER_LIB_ENVIRONMENT_H

#include <stddef.h>

/*
 * Those of our variables that have one of these names.
 *
 * names  borrows
 * out    count + 1 pointers, the last NULL; lent by our environment
 */
void environment_pick(const char *const *names, size_t count, char **out);

#define ENVIRONMENT_COMMAND_MAX 32

/* Those that a command of the operator's gets: where programs, libraries and
 * authorities are, language and time zone, proxies, and the folder of systemd's
 * credentials. out: as above */
void environment_for_command(char *out[ENVIRONMENT_COMMAND_MAX]);

#endif
