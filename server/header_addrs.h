/* SPDX-License-Identifier: ISC */
/*
 * server/header_addrs.h - whom a message's header is addressed to
 *
 * For sendmail -t (RFC 5322, 3.4 and 3.6.3). Pure; for what our own users
 * hand in, not for what comes from strangers.
 */
#ifndef OSTLER_SERVER_HEADER_ADDRS_H
#define OSTLER_SERVER_HEADER_ADDRS_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/str.h"

/*
 * Calls each for every address in an address list: "Anna <a@x>, b@y (Bea),
 * team: c@z, \"d e\"@w;". each gets it without spaces and comments,
 * NUL-terminated, lent for the call; it may be anything but empty.
 */
void header_addrs_list(struct str value,
		       void (*each)(void *arg, const char *address), void *arg);

/*
 * The recipients of a message: To, Cc and Bcc, or, when it was resent, those
 * of its Resent- fields.
 *
 * header  the lines before the empty line, LF or CR LF
 */
void header_addrs_recipients(struct str header,
			     void (*each)(void *arg, const char *address),
			     void *arg);

/* Has the header this field? name without colon; ignores ASCII case. */
bool header_addrs_has(struct str header, const char *name);

#endif
