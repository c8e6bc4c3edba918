/* SPDX-License-Identifier: ISC */
/*
 * auth/auth_server.h - who are you: logins by libsasl2
 *
 * libsasl2's calls may block (saslauthd, a locked database, a slow hash), so
 * each step runs in a worker, in a lane of at most half the pool. An exchange
 * belongs to one session; its owner may free it at any time.
 */
#ifndef OSTLER_AUTH_AUTH_SERVER_H
#define OSTLER_AUTH_AUTH_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "lib/err.h"
#include "lib/ip.h"
#include "lib/str.h"

struct auth_server;
struct auth_exchange;

struct auth_server_opts {
	const char *const *mechanisms; /* NULL-terminated, wanted, in order */
	const char *database;	       /* sasldb path */
	const char *const *options;    /* NULL-terminated "name=value" */
	const char *realm;
	const char *hostname;
};

/*
 * Starts libsasl2; once per process, before any worker. Borrows opts (copies).
 *
 * Returns 0 or a negative errno with the reason.
 */
int auth_server_open(uv_loop_t *loop, const struct auth_server_opts *opts,
		     struct auth_server **out, struct err *err);
/* Exchanges may still run, in workers; libsasl2 ends with the last of them.
 * NULL is fine. */
void auth_server_close(struct auth_server *server);

/* What a connection has, which decides what can be offered on it. */
enum auth_offer {
	AUTH_OFFER_SECURE = 1, /* TLS or a unix socket: PLAIN and LOGIN too */
	/* TLS with channel binding data: "SCRAM-SHA-256-PLUS" (RFC 5802,
	 * section 6; RFC 7677) before its plain form where libsasl2 has it */
	AUTH_OFFER_BOUND = 2,
	/* a client certificate that was verified: EXTERNAL (RFC 4422, A) */
	AUTH_OFFER_EXTERNAL = 4,
};

/*
 * Mechanisms to announce, separated by spaces; "" when there are none now.
 *
 * offer  a sum of enum auth_offer
 * Lends until auth_server_close.
 */
const char *auth_server_mechanisms(const struct auth_server *server,
				   unsigned offer);

enum auth_result {
	AUTH_CHALLENGE, /* send challenge, feed the answer to auth_step */
	AUTH_OK,	/* login is set */
	AUTH_DENIED,	/* wrong login or password: 535 */
	AUTH_BAD_DATA,	/* not base64, malformed: 501 5.5.2 */
	AUTH_TEMPORARY, /* database or saslauthd failed: 454 */
};

struct auth_answer {
	enum auth_result result;
	const char *challenge; /* base64, NUL-terminated; may be "" */
	const char *login;     /* the NAME given to `user add`; may also be set
				  on AUTH_DENIED, for the log */
	const char *reason;    /* for the log; never sent to the client */
};

/* Called later on the loop, once per start or step; answer is lent. */
typedef void auth_fn(void *owner, const struct auth_answer *answer);

#define AUTH_BINDING_MAX 64
#define AUTH_NAMES_MAX	 16

struct auth_start {
	struct str mechanism;
	bool has_initial;   /* RFC 4954, 4: initial response given */
	struct str initial; /* base64; "=" is the empty one */
	bool is_secure;
	struct ip client, local;
	uint16_t client_port, local_port;
	const uint8_t *binding;	  /* channel binding, or NULL */
	size_t binding_len;	  /* at most AUTH_BINDING_MAX */
	const char *binding_type; /* "tls-exporter"; static */
	/* NULL-terminated, the first AUTH_NAMES_MAX count: the names in the
	 * client's verified certificate, for EXTERNAL; NULL: it has none */
	const char *const *names;
	/* Of each name the login that the operator listed for it, NULL: he
	 * did not; or NULL: a name is a login itself */
	const char *const *logins;
};

/*
 * Borrows start (copies). The exchange is the owner's until auth_free.
 *
 * EXTERNAL logs in as the first name of the certificate that is a login here;
 * who asks for a login gets that one or none. Without a login database (another
 * pwcheck_method) only a listed name is one.
 */
struct auth_exchange *auth_begin(struct auth_server *server,
				 const struct auth_start *start,
				 auth_fn *on_answer, void *owner);

/* The client's answer to a challenge, base64. Only after AUTH_CHALLENGE. */
void auth_step(struct auth_exchange *exchange, struct str answer);

/* Ends it at any time; a running step is detached. NULL is fine. */
void auth_free(struct auth_exchange *exchange);

#endif
