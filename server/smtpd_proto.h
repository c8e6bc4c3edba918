/* SPDX-License-Identifier: ISC */
/*
 * server/smtpd_proto.h - the server's half of an SMTP conversation
 *
 * A pure state machine: one event in, reply bytes and one effect out. The
 * shell (smtpd_session) carries out the effect and comes back with its
 * result; meanwhile it parses nothing, so pipelined replies leave in order
 * without a queue of replies. Every reply is appended to the buffer given.
 *
 *	FRESH -EHLO-> READY -MAIL-> MAIL -RCPT-> RCPT -DATA-> CONTENT -> READY
 *	RCPT -BDAT-> CHUNK -> BETWEEN -BDAT-> CHUNK ... -BDAT LAST-> READY
 *
 * RFC 5321; RFC 4954 (AUTH), 3207 (STARTTLS), 2920 (PIPELINING), 3030
 * (CHUNKING), 9422 (LIMITS).
 */
#ifndef OSTLER_SERVER_SMTPD_PROTO_H
#define OSTLER_SERVER_SMTPD_PROTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/status.h"
#include "lib/wire/smtp_args.h"
#include "lib/wire/smtp_cmd.h"

enum smtpd_state {
	SMTPD_FRESH,   /* no EHLO or HELO yet (also after STARTTLS) */
	SMTPD_READY,   /* greeted, no transaction */
	SMTPD_MAIL,    /* a transaction with a sender and no recipient */
	SMTPD_RCPT,    /* at least one recipient was accepted */
	SMTPD_AUTH,    /* within an AUTH exchange: lines are its data */
	SMTPD_CONTENT, /* behind DATA's 354 */
	SMTPD_CHUNK,   /* behind BDAT: chunk_left octets of content follow */
	SMTPD_BETWEEN, /* behind a chunk that was not the last */
	SMTPD_SKIP,    /* behind a refused BDAT: chunk_left octets to drop */
	SMTPD_ENDED,   /* the last reply was written */
};

/* What the conversation has to know of its surroundings. Lent; the shell may
 * change it between two events. */
struct smtpd_env {
	const char *hostname;
	bool is_submission;
	bool offers_tls; /* STARTTLS can be used now */
	bool is_secure;	 /* TLS, or a unix socket */
	bool is_trusted; /* its network is: slips are forgiven as to a login */
	/* separated by spaces, "" for none: usable now, and under TLS */
	const char *mechanisms, *mechanisms_under_tls;
	uint64_t message_size; /* 0: unlimited */
	unsigned recipients, errors, auth_failures;
};

struct smtpd_proto {
	enum smtpd_state state;
	enum smtpd_state before_auth;
	enum smtpd_state after_skip;
	bool is_esmtp;
	bool is_authenticated;
	bool is_utf8; /* the transaction's MAIL said SMTPUTF8 */
	unsigned recipients;
	unsigned errors, auth_failures;
	char *helo; /* owns; NULL before EHLO */
	uint64_t chunk_size, chunk_left;
	uint64_t content_bytes; /* in the chunks so far, this one included */
	bool is_last_chunk;
	const struct smtpd_refusal *refusal; /* static; SMTPD_SKIP only */
	struct smtp_cmd cmd;
};

/* What the shell does next. */
enum smtpd_effect {
	SMTPD_DO_NOTHING,	/* only send what was written */
	SMTPD_DO_CLOSE,		/* send it, then close */
	SMTPD_DO_TLS,		/* send it, then shake hands; _secured */
	SMTPD_DO_AUTH_BEGIN,	/* ask->auth; then _auth */
	SMTPD_DO_AUTH_STEP,	/* ask->line; then _auth */
	SMTPD_DO_AUTH_CANCEL,	/* drop the exchange */
	SMTPD_DO_DECIDE_SENDER, /* ask->mail; then _sender */
	SMTPD_DO_DECIDE_RCPT,	/* ask->rcpt; then _recipient */
	SMTPD_DO_CONTENT,	/* open the message; then _content_end */
	SMTPD_DO_CHUNK,		/* open it with the first; then _chunk */
	SMTPD_DO_SAVE,		/* the last chunk is here; then _content_end */
	SMTPD_DO_RESET,		/* the transaction is gone */
};

struct smtpd_ask {
	struct smtp_mail mail;
	struct smtp_rcpt rcpt;
	struct smtp_auth auth; /* initial lends from the input */
	struct str line;       /* lends from the input */
};

void smtpd_proto_init(struct smtpd_proto *proto);
void smtpd_proto_done(struct smtpd_proto *proto);

/* The 220 greeting; is_accepting false: 421 and the end. */
enum smtpd_effect smtpd_proto_greet(struct smtpd_proto *proto,
				    const struct smtpd_env *env,
				    bool is_accepting, struct buf *out);

/* How smtp_cmd_next has to read the next line. */
enum smtp_cmd_mode smtpd_proto_mode(const struct smtpd_proto *proto);

/*
 * One event of smtp_cmd_next that is not SMTP_CMD_NEED_MORE.
 *
 * out  takes the reply; its maximum must leave 2 KiB of room
 * ask  filled as the effect says
 */
enum smtpd_effect smtpd_proto_event(struct smtpd_proto *proto,
				    const struct smtpd_env *env,
				    const struct smtp_cmd_event *event,
				    struct buf *out, struct smtpd_ask *ask);

/* The sender was decided; status is the reply of a refusal, or NULL. */
enum smtpd_effect smtpd_proto_sender(struct smtpd_proto *proto,
				     const struct smtpd_env *env,
				     const struct status *refusal,
				     struct buf *out);

/* The recipient was decided; what is the address for the 250. */
enum smtpd_effect smtpd_proto_recipient(struct smtpd_proto *proto,
					const struct smtpd_env *env,
					const struct status *refusal,
					const char *address, struct buf *out);

/*
 * In SMTPD_CHUNK and SMTPD_SKIP: how many of the next len octets belong to the
 * chunk. They count as read. When chunk_left is 0 then (also at once, for an
 * empty chunk) _chunk_end is to be called.
 */
size_t smtpd_proto_chunk(struct smtpd_proto *proto, size_t len);

/* The whole chunk was read; a refused BDAT is answered only here (RFC 3030,
 * section 2), so that its octets are never taken for commands. */
enum smtpd_effect smtpd_proto_chunk_end(struct smtpd_proto *proto,
					const struct smtpd_env *env,
					struct buf *out);

/* The content's end was read and dealt with: any reply. Errors at this point
 * are not counted. */
enum smtpd_effect smtpd_proto_content_end(struct smtpd_proto *proto,
					  const struct status *reply,
					  struct buf *out);

enum smtpd_auth_result {
	SMTPD_AUTH_CHALLENGE,
	SMTPD_AUTH_OK,
	SMTPD_AUTH_DENIED,
	SMTPD_AUTH_BAD_DATA,
	SMTPD_AUTH_TEMPORARY,
};

/* An AUTH step is done; challenge is base64 for SMTPD_AUTH_CHALLENGE. */
enum smtpd_effect smtpd_proto_auth(struct smtpd_proto *proto,
				   const struct smtpd_env *env,
				   enum smtpd_auth_result result,
				   const char *challenge, struct buf *out);

/* AUTH is refused before it is looked at. */
enum smtpd_effect smtpd_proto_auth_refused(struct smtpd_proto *proto,
					   const struct smtpd_env *env,
					   const struct status *refusal,
					   struct buf *out);

/* TLS is up: everything said before is forgotten (RFC 3207, 4.2). */
void smtpd_proto_secured(struct smtpd_proto *proto);

/* The server ends the conversation: "421 4.x.y text" and SMTPD_DO_CLOSE. */
enum smtpd_effect smtpd_proto_goodbye(struct smtpd_proto *proto,
				      const struct smtpd_env *env,
				      const char *enhanced, const char *text,
				      struct buf *out);

#endif
