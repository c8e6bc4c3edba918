/* SPDX-License-Identifier: ISC */
/*
 * queue/deliver/connection_internal.h - the parts of a connection
 *
 *	connection.c	its life, TLS, and the loop that does what the
 *			conversation wants (connection_go_on)
 *	connection_login.c	what is answered when it wants a login
 *	connection_body.c	what is sent when it wants the message
 */
#ifndef OSTLER_QUEUE_DELIVER_CONNECTION_INTERNAL_H
#define OSTLER_QUEUE_DELIVER_CONNECTION_INTERNAL_H

#include "lib/list.h"
#include "lib/net/stream.h"
#include "lib/wire/smtp_data.h"
#include "queue/deliver/body.h"
#include "queue/deliver/connection.h"
#include "queue/deliver/watch.h"

struct auth_client;
struct secret_read;
struct token_wait;

/*
 * What the connection does. The conversation (struct smtp_client) knows what
 * comes next; this says who has the turn:
 *
 *	state      turn      then
 *	TALKING    the peer  any but LEAVING
 *	HANDSHAKE  TLS       TALKING, OVER
 *	LOGIN      a worker  TALKING, OVER
 *	BODY       us: what the stream and the spool can do; refused chunks
 *	           are heard meanwhile, and their RSET
 *	                     TALKING, IDLE, OVER
 *	IDLE       the owner TALKING (connection_send), LEAVING, OVER
 *	LEAVING    the peer: QUIT was said; nobody owns it
 *	OVER       the owner was told CONNECTION_CLOSED
 */
enum connection_state {
	CONNECTION_TALKING,
	CONNECTION_HANDSHAKE,
	CONNECTION_LOGIN,
	CONNECTION_BODY,
	CONNECTION_IDLE,
	CONNECTION_LEAVING,
	CONNECTION_OVER,
};

struct connection {
	struct list link; /* while leaving */
	uv_loop_t *loop;
	connection_fn *on_event;
	void *owner;
	enum connection_state state;
	struct connection_key key;
	char *user, *hostname; /* own */
	struct stream *stream;
	struct smtp_client *client;
	unsigned replies; /* seen by the deadline */
	unsigned messages;
	bool is_sending; /* a message's results are awaited */
	const struct delivery_watch *watch; /* lent, or NULL */
	struct watch_lines said, heard;

	/* TLS */
	struct tls_ctx *tls_ctx;   /* shares */
	struct security *security; /* shares */
	bool is_secured;
	unsigned clear_replies; /* when it was: those of before */
	bool is_clear;		/* it failed on another connection */
	bool has_tls_failed;
	char tls_version[16];
	const char *verify_error; /* static; NULL: none */

	/* the login: connection_login.c */
	char *password_file;	       /* owns; NULL: none */
	char *token_command;	       /* owns; NULL: none */
	struct tokens *tokens;	       /* lent */
	const char *const *mechanisms; /* lent until the first READY */
	struct auth_client *auth;      /* of a login that is going on */
	struct secret_read *secret;    /* the same */
	struct token_wait *token;      /* the same */
	bool has_old_token;

	/* the message: connection_body.c */
	struct body body;
	struct smtp_data_encoder encoder;
	unsigned bodies; /* begun, as the client counts them */
	bool waits_drained, waits_bytes;
};

/* --------------------------------------------------------- connection.c */

/* Does what can be done now; tells the owner at most once, last. */
void connection_go_on(struct connection *connection);

/* Sends what the conversation says. */
void connection_flush(struct connection *connection);

/* --------------------------------------------------- connection_login.c */

/* CLIENT_WANTS_LOGIN, CLIENT_WANTS_STEP: connection_go_on comes later. */
void connection_login(struct connection *connection);
void connection_login_step(struct connection *connection);

/* The server says that it is done, if there was one. False: it did not prove
 * what it had to, and the conversation is over. */
bool connection_check_login(struct connection *connection);

/* Whatever is under way is of no use any more. Twice is fine. */
void connection_stop_login(struct connection *connection);

/* ---------------------------------------------------- connection_body.c */

/* A body is wanted that smtp_client_bodies counts anew. */
void connection_begin_body(struct connection *connection);

/* CLIENT_WANTS_BODY: sends what the stream takes, as long as the conversation
 * wants more. Returns false when something has to happen first. */
bool connection_send_body(struct connection *connection);

/* Where the body says what it read: struct body.on_bytes. */
void connection_on_bytes(void *owner, int status, const uint8_t *bytes,
			 size_t len);

#endif
