/* SPDX-License-Identifier: ISC */
/*
 * queue/deliver/connection.h - one connection to a next hop
 *
 * A stream with the SMTP conversation over it: TLS, login, then messages one
 * after the other. The owner is the delivery that uses it, or the pool while
 * it is idle. Closing is allowed in any event.
 */
#ifndef OSTLER_QUEUE_DELIVER_CONNECTION_H
#define OSTLER_QUEUE_DELIVER_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "lib/addr.h"
#include "lib/ip.h"
#include "lib/list.h"
#include "policy/policy.h"
#include "queue/deliver/smtp_client.h"
#include "queue/route/security.h"

struct connection;
struct delivery_watch;
struct spool;
struct stream;
struct tls_ctx;
struct tokens;

/* What must be equal for a connection to serve another message. */
struct connection_key {
	char hop[sizeof(((struct next_hop *)0)->key)];
	char host[ADDR_DOMAIN_MAX + 1]; /* name, literal or unix path */
	struct ip ip;			/* IP_NONE: unix socket */
	uint16_t port;
	struct ip source;
	enum security_kind security;
	uint64_t security_print;
	uint64_t trust_print; /* whom its certificate was checked by */
	bool is_implicit_tls;
	const char *user; /* NULL: no login. connection_new copies it */
};

bool connection_key_equal(const struct connection_key *a,
			  const struct connection_key *b);

struct connection_opts {
	uv_loop_t *loop;
	struct connection_key key; /* copied */
	const char *hostname;	   /* for EHLO; copied */
	bool is_lmtp;
	bool is_chunkless;	   /* as in struct smtp_client_opts */
	bool is_clear;		   /* TLS failed there before */
	enum smtp_client_tls tls;  /* after a fallback: CLIENT_TLS_NONE */
	struct tls_ctx *tls_ctx;   /* shares */
	struct security *security; /* shares; that of the key */
	/* Told what is said, until connection_close; NULL: nobody. Lent. */
	const struct delivery_watch *watch;
	const char *password_file;
	const char *token_command;     /* instead of a password */
	struct tokens *tokens;	       /* lent: who runs it */
	const char *const *mechanisms; /* lent until the first
					  CONNECTION_READY */
};

enum connection_event {
	CONNECTION_READY,  /* logged in, may take the first message */
	CONNECTION_DONE,   /* the message's results are there; may take more */
	CONNECTION_CLOSED, /* of no more use: results, or the failure */
};

typedef void connection_fn(void *owner, enum connection_event event);

/*
 * Begins the conversation.
 *
 * stream  takes; connected (STREAM_CONNECTED came)
 */
struct connection *connection_new(const struct connection_opts *opts,
				  struct stream *stream,
				  connection_fn *on_event, void *owner);
void connection_set_owner(struct connection *connection,
			  connection_fn *on_event, void *owner);

/*
 * Sends a message, whose pieces are lent until CONNECTION_DONE or _CLOSED.
 *
 * Returns false when nothing had to be said: the results are there already.
 */
bool connection_send(struct connection *connection, struct spool *spool,
		     const struct smtp_client_message *message);

/* Results, failure and state of the conversation; lent. */
const struct smtp_client *
connection_client(const struct connection *connection);
const struct connection_key *
connection_key(const struct connection *connection);
/* "TLSv1.3", or "" in the clear; lent. */
const char *connection_tls_version(const struct connection *connection);
/* Was the login made with a token from an earlier run of its command? */
bool connection_has_old_token(const struct connection *connection);
/* Why the peer's certificate would not pass; NULL: it would. After TLS. */
const char *connection_verify_error(const struct connection *connection);
/* Messages that were begun here. */
unsigned connection_messages(const struct connection *connection);
/* As it was begun. */
bool connection_is_clear(const struct connection *connection);
/* The TLS handshake failed: in the clear it might work. */
bool connection_has_tls_failed(const struct connection *connection);

/* While idle: the owner gets CONNECTION_CLOSED by then at the latest. */
void connection_set_idle(struct connection *connection, uint64_t ms);

/* Ends it: QUIT where that makes sense, in the background for at most 5 s; it
 * is on the list `leaving` meanwhile. NULL is fine. */
void connection_close(struct connection *connection, struct list *leaving);
struct connection *connection_of_link(struct list *link);
/* Ends it now. NULL is fine. */
void connection_abort(struct connection *connection);

#endif
