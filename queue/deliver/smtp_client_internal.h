/* SPDX-License-Identifier: ISC */
/*
 * queue/deliver/smtp_client_internal.h - the parts of a conversation
 *
 *	smtp_client.c		greeting, EHLO, STARTTLS, AUTH, QUIT; which
 *				part a reply is for; the contract
 *	smtp_transaction.c	one message: its transactions, from MAIL to
 *				the reply behind the dot
 *	smtp_result.c		what became of the session or a recipient
 */
#ifndef OSTLER_QUEUE_DELIVER_SMTP_CLIENT_INTERNAL_H
#define OSTLER_QUEUE_DELIVER_SMTP_CLIENT_INTERNAL_H

#include "lib/wire/smtp_reply.h"
#include "queue/deliver/smtp_caps.h"
#include "queue/deliver/smtp_client.h"
#include "queue/envelope.h"

/*
 * Where the conversation stands. A 421 or nonsense ends any of them (CLOSED);
 * what else comes next:
 *
 *	state     waits for                then
 *	GREETING  220                      EHLO
 *	EHLO      the reply to EHLO, LHLO  STARTTLS, LOGIN, READY; HELO
 *	HELO      the reply to HELO        LOGIN, READY
 *	STARTTLS  its reply                SECURING; LOGIN, READY
 *	SECURING  our handshake            EHLO
 *	LOGIN     our mechanism            AUTH
 *	AUTH      the reply to AUTH's data STEP, READY
 *	STEP      our answer to a 334      AUTH
 *	READY     our message, or QUIT     ENVELOPE, QUIT
 *	ENVELOPE  RSET's to DATA's replies BODY, EMPTY, ENVELOPE, READY
 *	BODY      our message's bytes      END, CHUNK; ENVELOPE, READY when a
 *	                                   chunk was refused
 *	CHUNK     the reply to a chunk     BODY, ENVELOPE, READY
 *	END       the replies behind the   ENVELOPE (more recipients), READY
 *	          dot or the last chunk
 *	EMPTY     the reply to a dot that  ENVELOPE, READY
 *	          no recipient was behind
 *	QUIT      its reply                CLOSED
 *	CLOSED    nothing
 */
enum client_state {
	CLIENT_GREETING,
	CLIENT_EHLO,
	CLIENT_HELO,
	CLIENT_STARTTLS,
	CLIENT_SECURING,
	CLIENT_LOGIN,
	CLIENT_AUTH,
	CLIENT_STEP,
	CLIENT_READY,
	CLIENT_ENVELOPE,
	CLIENT_BODY,
	CLIENT_CHUNK,
	CLIENT_END,
	CLIENT_EMPTY,
	CLIENT_QUIT,
	CLIENT_CLOSED,
};

/* A recipient of the message. */
enum to_state {
	TO_PENDING,  /* waits for a transaction */
	TO_ASKED,    /* its RCPT is under way in this one */
	TO_ACCEPTED, /* 2xx to RCPT in this one */
	TO_SETTLED,  /* has a result */
};

struct client_rcpt {
	size_t index; /* in the envelope */
	enum to_state state;
	struct smtp_result *result; /* shares */
};

struct smtp_client {
	struct smtp_client_opts opts;
	enum client_state state;
	enum smtp_phase phase;
	struct smtp_reply reply; /* the one that is read, or was last */
	struct buf out;
	unsigned replies; /* all of them; wraps */

	/* the session: smtp_client.c */
	struct smtp_caps caps;
	bool is_secured; /* by STARTTLS */
	bool is_logged_in;
	unsigned steps;	  /* challenges so far */
	char *challenge;  /* owns */
	char *late_login; /* owns: initial data that did not fit AUTH's line */
	struct smtp_result *failure; /* shares */

	/* the message: smtp_transaction.c */
	const struct envelope *envelope; /* lent; NULL: none under way */
	struct client_rcpt *rcpts;	 /* owns; until the next message */
	size_t rcpt_count;
	bool is_probe; /* ends behind RCPT */
	bool is_heard; /* a reply other than 421 since smtp_client_send */

	/* its transaction */
	size_t batch[SMTP_CLIENT_BATCH_MAX]; /* indexes into rcpts */
	size_t batch_count, batch_max;
	size_t sent, got; /* commands, by their place in the transaction */
	size_t accepted;
	size_t end_at; /* LMTP: the next of batch to look at for a reply */
	size_t chunks; /* sent, and not answered yet */
	bool is_mail_ok;
	bool is_chunked; /* BDAT instead of DATA */

	/* of all transactions */
	bool is_dirty;	      /* the server may still hold the last one */
	bool has_chunk_taken; /* at least one */
	bool has_refused_chunks;
	unsigned bodies; /* asked for; wraps */
};

/* ------------------------------------------------------ smtp_result.c */

/* The reply that was just read, as a result. */
struct smtp_result *result_of_reply(struct smtp_client *client,
				    enum smtp_phase phase);
/* A failure of our own; by outcome_own's table. */
struct smtp_result *result_of_cause(enum cause cause, enum smtp_phase phase,
				    const char *text);
struct smtp_result *result_ref(struct smtp_result *result);
void result_unref(struct smtp_result *result); /* NULL is fine */

/* ------------------------------------------------------ smtp_client.c */

/* Adds a line to what is to be sent. */
void client_say(struct smtp_client *client, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* The conversation is over; takes result, for those who have none. */
void client_end(struct smtp_client *client, struct smtp_result *result);
/* The reply that was just read has no place here. */
void client_end_garbled(struct smtp_client *client);

/* ------------------------------------------------- smtp_transaction.c */

/* A message: forgets the one before and sends the first commands, or settles
 * all where this server cannot take it. */
void message_begin(struct smtp_client *client,
		   const struct smtp_client_message *message);
/* Frees what belongs to the last message. */
void message_forget(struct smtp_client *client);
/* Everybody who has no result gets this one. takes: result */
void message_settle(struct smtp_client *client, struct smtp_result *result);

/* A reply in ENVELOPE, BODY, CHUNK, END or EMPTY. */
void transaction_on_reply(struct smtp_client *client);
/* How many of them are due. */
size_t transaction_due(const struct smtp_client *client);
/* The reply that is awaited is that to DATA. */
bool transaction_awaits_data(const struct smtp_client *client);

#endif
