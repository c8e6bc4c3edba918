/* SPDX-License-Identifier: ISC */
/*
 * auth/auth_client.h - who are we: logins at a smarthost by libsasl2
 *
 * Every step runs in a worker (SCRAM hashes thousands of times). Chooses the
 * strongest mechanism that the peer offers and the caller allows; PLAIN and
 * LOGIN only when the connection is secure.
 */
#ifndef OSTLER_AUTH_AUTH_CLIENT_H
#define OSTLER_AUTH_AUTH_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "lib/err.h"
#include "lib/str.h"

struct auth_client;

struct auth_client_start {
	const char *offered;	       /* "PLAIN LOGIN SCRAM-SHA-256" */
	const char *const *mechanisms; /* allowed; NULL: any */
	const char *user;
	const char *password; /* copied, wiped at the end */
	const char *token;    /* bearer token for OAUTHBEARER or XOAUTH2, then
				 nothing else is tried; or NULL */
	uint16_t port;	      /* the server's */
	const char *host;     /* the server's name */
	bool is_secure;
};

enum auth_client_result {
	AUTH_CLIENT_SEND,   /* first: "AUTH mechanism [initial]"; else data */
	AUTH_CLIENT_FAILED, /* no common mechanism, or the server's challenge
			       is wrong: reason says which */
};

struct auth_client_answer {
	enum auth_client_result result;
	const char *mechanism; /* set in the first answer */
	const char *data;      /* base64, lent; NULL: no initial response */
	const char *reason;
};

typedef void auth_client_fn(void *owner,
			    const struct auth_client_answer *answer);

/* Never calls back before it returns; once per begin and step. */
struct auth_client *auth_client_begin(uv_loop_t *loop,
				      const struct auth_client_start *start,
				      auth_client_fn *on_answer, void *owner);

/* The server's 334 text (base64). */
void auth_client_step(struct auth_client *client, struct str challenge);

/* The server said 235 (with SCRAM its last data was verified before)?
 * False: the server never proved that it knows the password. */
bool auth_client_is_complete(const struct auth_client *client);

void auth_client_free(struct auth_client *client); /* NULL is fine */

#endif
