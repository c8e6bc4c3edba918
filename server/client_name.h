/* SPDX-License-Identifier: ISC */
/*
 * server/client_name.h - what DNS calls a client
 *
 * The name of an address that leads back to it. For Received lines and the
 * log only: a failure never delays or refuses mail, and these questions wait
 * in a window of their own.
 */
#ifndef OSTLER_SERVER_CLIENT_NAME_H
#define OSTLER_SERVER_CLIENT_NAME_H

#include "lib/ip.h"

struct client_name;
struct resolver;

/* name is lent for the call; NULL when there is none. Never calls back before
 * it returns; once. */
typedef void client_name_fn(void *owner, const char *name);

struct client_name *client_name_find(struct resolver *resolver,
				     const struct ip *ip,
				     client_name_fn *on_name, void *owner);

/* Allowed until the callback began. NULL is fine. */
void client_name_cancel(struct client_name *lookup);

/* "7.2.0.192.in-addr.arpa"; to has at least 80 bytes. */
void client_name_reverse(const struct ip *ip, char to[80]);

#endif
