/* SPDX-License-Identifier: ISC */
/*
 * server/client_logins.h - which login a client certificate is
 *
 *	anna
 *	laptop-7.example.org: anna
 *	# a comment
 *
 * One name of a certificate a line and, behind the last ": ", the login that
 * it is; a name alone is a login itself. Names are compared octet by octet.
 * Immutable once made.
 */
#ifndef OSTLER_SERVER_CLIENT_LOGINS_H
#define OSTLER_SERVER_CLIENT_LOGINS_H

#include <stddef.h>

#include "lib/err.h"

#define CLIENT_LOGINS_BYTES_MAX ((size_t)4 << 20)

struct client_logins;

/*
 * text  borrows, NUL-terminated, any bytes
 * path  for messages
 * Returns NULL with "PATH:LINE: what" in err, or what client_logins_free
 * takes.
 */
struct client_logins *client_logins_read(const char *text, const char *path,
					 struct err *err);
void client_logins_free(struct client_logins *logins); /* NULL is fine */

/* The login of a name, lent; NULL: the name is not listed. */
const char *client_logins_find(const struct client_logins *logins,
			       const char *name);

#endif
