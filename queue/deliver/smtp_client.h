/* SPDX-License-Identifier: ISC */
/*
 * queue/deliver/smtp_client.h - the client's side of an SMTP conversation
 *
 * Pure: bytes that the server sent go in, bytes to send come out, and after
 * each step the conversation says what it wants next. It opens no socket and
 * looks at no clock. One object is one connection, which may carry many
 * messages.
 *
 *	for (;;) {
 *		send(client->out); empty it
 *		switch (smtp_client_want(client)) { ... }
 *	}
 *
 * SMTP by RFC 5321, LMTP by RFC 2033. Extensions: PIPELINING (RFC 2920), SIZE
 * (1870), 8BITMIME (6152), SMTPUTF8 (6531), DSN (3461), CHUNKING (3030),
 * STARTTLS (3207), AUTH (4954). Nothing is ever "delivered" without the
 * server's 2xx behind the final dot or the last chunk.
 */
#ifndef OSTLER_QUEUE_DELIVER_SMTP_CLIENT_H
#define OSTLER_QUEUE_DELIVER_SMTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/str.h"
#include "queue/deliver/outcome.h"

struct envelope;
struct smtp_caps;
struct smtp_client;

/* RFC 5321, 4.5.3.1.8: a server takes at least 100; more go in another
 * transaction on the same connection. */
#define SMTP_CLIENT_BATCH_MAX 100

enum smtp_client_tls {
	CLIENT_TLS_NONE,     /* STARTTLS is not used (or TLS is on already) */
	CLIENT_TLS_OFFERED,  /* used when the server offers it */
	CLIENT_TLS_REQUIRED, /* no message without it */
};

struct smtp_client_opts {
	const char *hostname; /* for EHLO; lent for the client's life */
	bool is_lmtp;
	enum smtp_client_tls tls;
	bool has_login;	   /* AUTH comes before the first message */
	bool is_chunkless; /* DATA also where the server offers CHUNKING */
};

enum smtp_client_want {
	CLIENT_WANTS_REPLY,   /* smtp_client_feed, or smtp_client_lost */
	CLIENT_WANTS_TLS,     /* a handshake, then smtp_client_secured */
	CLIENT_WANTS_LOGIN,   /* see smtp_client_caps, then _login */
	CLIENT_WANTS_STEP,    /* see smtp_client_challenge, then _login_step */
	CLIENT_WANTS_MESSAGE, /* idle: smtp_client_send, or _quit. When a
				 message was sent, its results are there */
	CLIENT_WANTS_BODY,    /* the message with dots, not its end; then
				 smtp_client_body_sent. Or in chunks, each
				 behind smtp_client_chunk. Meanwhile replies
				 may be fed: one that comes early ends it */
	CLIENT_WANTS_CLOSE,   /* the conversation is over: results or
				 smtp_client_failure are there */
};

/* What became of the session or a recipient; shared by counting inside. */
struct smtp_result {
	unsigned refs;
	enum outcome_kind kind;
	enum cause cause;
	enum smtp_phase phase;
	bool is_own_fault;
	bool has_dsn;
	struct status status;
	char *reply; /* owns; all lines of a reply; NULL: there was none */
};

struct smtp_client *smtp_client_new(const struct smtp_client_opts *opts);
void smtp_client_free(struct smtp_client *client); /* NULL is fine */

/* What is to be sent; the caller sends and empties it. */
struct buf *smtp_client_out(struct smtp_client *client);

enum smtp_client_want smtp_client_want(const struct smtp_client *client);

/* How long the server may take now (RFC 5321, 4.5.3.2), in milliseconds;
 * while the body is sent, how long one block of it may take. */
uint64_t smtp_client_timeout_ms(const struct smtp_client *client);

/* Where the conversation stands, for failures seen by the caller. */
enum smtp_phase smtp_client_phase(const struct smtp_client *client);

/*
 * Takes bytes from the server: at most one reply.
 *
 * Returns how many bytes were used, 0 when it wants something else first (in
 * CLIENT_WANTS_TLS nothing may be left over: it came in the clear).
 */
size_t smtp_client_feed(struct smtp_client *client, const void *bytes,
			size_t len);

/* The handshake is done. EHLO is said again. */
void smtp_client_secured(struct smtp_client *client);

/* The mechanism (one of smtp_client_caps) and its first data.
 *
 * initial  base64, or NULL; "" is sent as "=" (RFC 4954, 4) */
void smtp_client_login(struct smtp_client *client, const char *mechanism,
		       const char *initial);
/* base64 of the server's 334; lends until the next feed. */
const char *smtp_client_challenge(const struct smtp_client *client);
void smtp_client_login_step(struct smtp_client *client, const char *data);
/* Is the login over, by the server's word? The caller may disagree (a server
 * that proved nothing): smtp_client_fail. */
bool smtp_client_is_logged_in(const struct smtp_client *client);

struct smtp_client_message {
	const struct envelope *envelope; /* lent until the results are there */
	const size_t *recipients;	 /* copied */
	size_t count;			 /* > 0 */
	/* Ends behind RCPT: who was accepted there is "delivered". */
	bool is_probe;
};

/*
 * Begins a message; in CLIENT_WANTS_MESSAGE only. Results of an earlier
 * message are forgotten. More recipients than a transaction may have, or than
 * the server accepts at once (452, 552), go in further transactions:
 * CLIENT_WANTS_BODY then comes again.
 */
void smtp_client_send(struct smtp_client *client,
		      const struct smtp_client_message *message);

/* All of the body was written; the dot goes out. encoded_end: what ends the
 * data, borrows. */
void smtp_client_body_sent(struct smtp_client *client, struct str encoded_end);

/* Does it want this body in chunks, as they are (RFC 3030)? */
bool smtp_client_is_chunked(const struct smtp_client *client);
/* Announces the next chunk: out, then these len bytes, are to be sent at once.
 * The last one ends the message and may be empty. */
void smtp_client_chunk(struct smtp_client *client, size_t len, bool is_last);
/* Bodies that were asked for; wraps. Another number: begin anew. */
unsigned smtp_client_bodies(const struct smtp_client *client);
/* The server offered CHUNKING and does not know it: another connection may do
 * without (is_chunkless). The conversation is over. */
bool smtp_client_has_refused_chunks(const struct smtp_client *client);

/*
 * The connection is of no more use: closed, timed out, TLS or login failed.
 * What is not settled gets this cause in the phase where it happened; the
 * conversation is over.
 */
void smtp_client_fail(struct smtp_client *client, enum cause cause,
		      const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Says QUIT; then one reply may be waited for. CLIENT_WANTS_MESSAGE only. */
void smtp_client_quit(struct smtp_client *client);

/* Recipient i of the message: never NULL once the client wants a message or
 * the end. Lends until the next smtp_client_send. */
const struct smtp_result *smtp_client_result(const struct smtp_client *client,
					     size_t i);

/* Why the session ended before it could take a message; NULL: it did not. */
const struct smtp_result *smtp_client_failure(const struct smtp_client *client);

/*
 * Nothing but a farewell was heard since smtp_client_send, or that RSET was
 * refused, and no recipient was settled: on a connection that was used before,
 * the server had given it up, and the message can go over a new one.
 */
bool smtp_client_is_stale(const struct smtp_client *client);

/* How many replies are due to what was said so far. */
size_t smtp_client_due(const struct smtp_client *client);

/* How many whole replies came; wraps. */
unsigned smtp_client_replies(const struct smtp_client *client);

/* What the server can do; all false before EHLO was answered. */
const struct smtp_caps *smtp_client_caps(const struct smtp_client *client);

#endif
