/* SPDX-License-Identifier: ISC */
/*
 * auth/auth_server_internal.h - the parts of logging in by libsasl2
 *
 *	auth_server.c	the library: its options, what it offers, who there is
 *	auth_exchange.c	one login, step by step in workers
 */
#ifndef OSTLER_AUTH_AUTH_SERVER_INTERNAL_H
#define OSTLER_AUTH_AUTH_SERVER_INTERNAL_H

#include <stdbool.h>

#include <sasl/sasl.h>

#include "auth/auth_server.h"
#include "lib/work.h"

#define AUTH_MECHS_MAX 256
#define AUTH_OFFERS    8
#define AUTH_EXTERNAL  "EXTERNAL"

struct auth_server {
	unsigned refs; /* its owner, and the exchanges; loop thread */
	uv_loop_t *loop;
	struct work_lane lane;
	char *hostname, *realm, *database;
	bool has_database; /* passwords come from sasldb, not from a daemon */
	/* by enum auth_offer; bound implies secure */
	char offers[AUTH_OFFERS][AUTH_MECHS_MAX];
};

/* Gives one of its refs back. With the last one libsasl2 ends, and takes the
 * code of its plugins along. */
void auth_server_unref(struct auth_server *server);

/*
 * Security properties of a connection: no mechanism layer (TLS does that),
 * nobody anonymous, plain text only when nobody can listen. Any thread.
 *
 * Returns SASL_OK, or another of its codes.
 */
int auth_server_set_security(sasl_conn_t *conn, bool is_secure);

/* Is it a NAME in the login database, as `ostlerctl user` knows it? Blocks. */
bool auth_server_has_user(const struct auth_server *server, const char *name);

#endif
