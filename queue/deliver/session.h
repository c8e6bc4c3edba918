/* SPDX-License-Identifier: ISC */
/*
 * queue/deliver/session.h - one connection to a next hop
 *
 * A stream with the SMTP conversation over it: TLS, login, then messages one
 * after the other. The owner is the delivery that uses it, or the pool while
 * it is idle. Closing is allowed in any event.
 */
#ifndef OSTLER_QUEUE_DELIVER_SESSION_H
#define OSTLER_QUEUE_DELIVER_SESSION_H

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

struct delivery_watch;
struct session;
struct spool;
struct stream;
struct tls_ctx;
struct tokens;

/* What must be equal for a connection to serve another message. */
struct session_key {
	char hop[sizeof(((struct next_hop *)0)->key)];
	char host[ADDR_DOMAIN_MAX + 1]; /* name, literal or unix path */
	struct ip ip;			/* IP_NONE: unix socket */
	uint16_t port;
	struct ip source;
	enum security_kind security;
	uint64_t security_print;
	uint64_t trust_print; /* whom its certificate was checked by */
	bool is_implicit_tls;
	const char *user; /* NULL: no login. session_new copies it */
};

bool session_key_equal(const struct session_key *a,
		       const struct session_key *b);

struct session_opts {
	uv_loop_t *loop;
	struct session_key key; /* copied */
	const char *hostname;	/* for EHLO; copied */
	bool is_lmtp;
	bool is_chunkless;	   /* as in struct smtp_client_opts */
	bool is_clear;		   /* TLS failed there before */
	enum smtp_client_tls tls;  /* after a fallback: CLIENT_TLS_NONE */
	struct tls_ctx *tls_ctx;   /* shares */
	struct security *security; /* shares; that of the key */
	/* Told what is said, until session_close; NULL: nobody. Lent. */
	const struct delivery_watch *watch;
	const char *password_file;
	const char *token_command;     /* instead of a password */
	struct tokens *tokens;	       /* lent: who runs it */
	const char *const *mechanisms; /* lent until the first
					  SESSION_READY */
};

enum session_event {
	SESSION_READY,	/* logged in, may take the first message */
	SESSION_DONE,	/* the message's results are there; may take more */
	SESSION_CLOSED, /* of no more use: results, or the failure */
};

typedef void session_fn(void *owner, enum session_event event);

/*
 * Begins the conversation.
 *
 * stream  takes; connected (STREAM_CONNECTED came)
 */
struct session *session_new(const struct session_opts *opts,
			    struct stream *stream, session_fn *on_event,
			    void *owner);
void session_set_owner(struct session *session, session_fn *on_event,
		       void *owner);

/*
 * Sends a message, whose pieces are lent until SESSION_DONE or _CLOSED.
 *
 * Returns false when nothing had to be said: the results are there already.
 */
bool session_send(struct session *session, struct spool *spool,
		  const struct smtp_client_message *message);

/* Results, failure and state of the conversation; lent. */
const struct smtp_client *session_client(const struct session *session);
const struct session_key *session_key(const struct session *session);
/* "TLSv1.3", or "" in the clear; lent. */
const char *session_tls_version(const struct session *session);
/* Was the login made with a token from an earlier run of its command? */
bool session_has_old_token(const struct session *session);
/* Why the peer's certificate would not pass; NULL: it would. After TLS. */
const char *session_verify_error(const struct session *session);
/* Messages that were begun here. */
unsigned session_messages(const struct session *session);
/* As it was begun. */
bool session_is_clear(const struct session *session);
/* The TLS handshake failed: in the clear it might work. */
bool session_has_tls_failed(const struct session *session);

/* While idle: the owner gets SESSION_CLOSED after that time at the latest. */
void session_set_idle(struct session *session, uint64_t ms);

/* Ends it: QUIT where that makes sense, in the background for at most 5 s; it
 * is on the list `leaving` meanwhile. NULL is fine. */
void session_close(struct session *session, struct list *leaving);
struct session *session_of_link(struct list *link);
/* Ends it now. NULL is fine. */
void session_abort(struct session *session);

#endif
