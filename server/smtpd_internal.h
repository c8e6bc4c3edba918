/* SPDX-License-Identifier: ISC */
/*
 * server/smtpd_internal.h - an inbound session, for the files that are it
 *
 * smtpd_session.c    its life, its events, the pump that drives it
 * smtpd_envelope.c   MAIL and RCPT: facts, policy, the envelope
 * smtpd_content.c    DATA and BDAT: the message into the queue
 * smtpd_login.c      AUTH
 * smtpd_proxy.c      who is behind a proxy; who seems to be behind a NAT
 */
#ifndef OSTLER_SERVER_SMTPD_INTERNAL_H
#define OSTLER_SERVER_SMTPD_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/addr.h"
#include "lib/ip.h"
#include "lib/list.h"
#include "lib/log.h"
#include "lib/wire/header_scan.h"
#include "lib/wire/smtp_data.h"
#include "queue/queue.h"
#include "server/config.h"
#include "server/smtpd.h"
#include "server/smtpd_proto.h"

#define SESSION_ID_MAX 12

struct auth_exchange;
struct client_name;
struct points_here_answer;
struct points_here_query;
struct stream;
struct submission;

/* What exists only while a message is on its way in. */
struct transaction {
	struct config *config; /* shares: the one of its MAIL */
	struct addr sender;
	struct envelope envelope;
	uint32_t *seen; /* owns: hash table of recipients, by index + 1 */
	size_t seen_slots;
	size_t finals, final_bytes; /* recipients that aliases led to */
	struct queue_put put;
	/* charged to caps, and not yet a message that was taken */
	bool is_charged;
	uint32_t charged_recipients;
	bool is_put;   /* put was begun and not yet ended */
	bool is_begun; /* content is on its way, or was refused */
	struct smtp_data_decoder decoder;
	struct header_scan header;
	struct submission *submission; /* owns; NULL: from elsewhere */
	uint64_t size;
	struct status refusal; /* code 0: none so far */
	uint64_t id;
};

enum session_wait {
	WAIT_NONE,  /* the client's turn */
	WAIT_PROXY, /* the header that says who the client is */
	WAIT_NAME,  /* the name of a unix peer, at most to wait_until_ms */
	WAIT_TLS,   /* handshake */
	WAIT_AUTH,  /* a worker checks */
	WAIT_DELAY, /* a failed login is answered at wait_until_ms */
	WAIT_DNS,   /* where a domain points, at most to wait_until_ms */
	WAIT_ROOM,  /* the spool has no room for more content just now */
	WAIT_SAVE,  /* the message becomes durable */
};

struct smtpd_session {
	struct list link; /* smtpd->sessions */
	struct smtpd *smtpd;
	struct smtpd_client *client;
	struct stream *stream;
	struct config *config; /* shares: the current one at the last MAIL */
	size_t listener;       /* index in config->listeners */
	struct smtpd_proto proto;
	enum session_wait wait;
	uint64_t wait_until_ms; /* boot clock */
	bool is_blocked;	/* the peer does not read its replies */
	bool is_eof;
	bool is_esmtps;	  /* TLS is on */
	bool has_binding; /* and a login can be bound to it */
	/* and the client has shown a certificate that was verified */
	bool has_certificate;
	bool is_unix;
	bool is_proxied;  /* ip is what a proxy says */
	bool is_stranger; /* and counted so in smtpd->stats */
	struct ip ip;
	char id[SESSION_ID_MAX];
	char *login;	   /* owns; NULL: not logged in */
	char *client_name; /* owns; NULL: none (yet) */
	struct client_name *lookup;
	struct peer_name *peer_name; /* WAIT_NAME: the question */
	struct auth_exchange *exchange;
	/* a password was changed since it began: it may go by the old one */
	bool is_exchange_old;
	/* of the exchange, as the client spelt it */
	char mechanism[sizeof(((struct smtp_auth *)NULL)->mechanism)];
	struct transaction *transaction;
	/* WAIT_DNS: the question, and the recipient it is about (owns) */
	struct points_here_query *points;
	struct smtp_rcpt *pending;
	uint64_t started_ms; /* boot clock */
	/* boot clock: since when the client owes us something; 0: it does not
	 */
	uint64_t turn_ms;
	uint64_t messages;
};

/* ------------------------------------------- smtpd_session.c for the others */

const struct listener_config *session_listener(const struct smtpd_session *s);

/* What the conversation has to know; policy's facts without addresses. */
void session_env(struct smtpd_session *s, struct smtpd_env *env);
void session_facts(const struct smtpd_session *s, struct policy_facts *facts);

/* Works on what the client has sent until it is our turn to wait. The session
 * may be gone afterwards. */
void session_pump(struct smtpd_session *s);

/* Our answer comes by itself, or in ms when session_late is called. */
void session_wait(struct smtpd_session *s, enum session_wait wait, uint64_t ms);

/* The wait is over: carries out the effect and goes on. The session may be
 * gone afterwards. */
void session_resume(struct smtpd_session *s, enum smtpd_effect effect);

/* Who the client is has become known: greets it, or begins TLS. The session
 * may be gone afterwards. */
void session_begin(struct smtpd_session *s);

/* Says 421 and ends. */
void session_goodbye(struct smtpd_session *s, const char *enhanced,
		     const char *text, const char *why);

/* Counts it as a stranger, or not, by its ip. */
void session_count(struct smtpd_session *s);

/* Ends at once, without a word. */
void session_drop(struct smtpd_session *s, const char *why);

/* Sends what was written, then ends the session; it is gone afterwards. */
void session_finish(struct smtpd_session *s, const char *why);

void session_forget_transaction(struct smtpd_session *s);

/* Begins a line of the log with what every event of a session says. */
void session_log(struct smtpd_session *s, struct log_line *line,
		 enum log_level level, const char *event);

/* The event reject; to may be NULL. */
void session_log_reject(struct smtpd_session *s, const struct addr *to,
			const struct status *status, const char *rule,
			enum policy_scenario scenario);

/* ------------------------------------------------------- smtpd_envelope.c */

enum smtpd_effect session_sender(struct smtpd_session *s,
				 const struct smtpd_env *env,
				 struct smtp_mail *mail, struct buf *out);
enum smtpd_effect session_recipient(struct smtpd_session *s,
				    const struct smtpd_env *env,
				    struct smtp_rcpt *rcpt, struct buf *out);

/* DNS takes too long: the recipient is decided without it. */
void session_points_late(struct smtpd_session *s);

/* Gives back what a transaction was charged that came to nothing. */
void session_refund(struct smtpd_session *s);

/* -------------------------------------------------------- smtpd_content.c */

/* Behind 354: the Received line, the message opened in the queue. */
void session_begin_content(struct smtpd_session *s);

/* Takes message bytes; returns how many were used. */
size_t session_content(struct smtpd_session *s, const uint8_t *bytes,
		       size_t len);

/* The same with octets of a chunk, all of which are used. */
void session_chunk(struct smtpd_session *s, const uint8_t *bytes, size_t len);

/* Nothing follows: judges the message and saves it. */
void session_end_content(struct smtpd_session *s);

void transaction_free(struct transaction *t); /* NULL is fine */

/* ---------------------------------------------------------- smtpd_login.c */

enum smtpd_effect session_begin_auth(struct smtpd_session *s,
				     const struct smtpd_env *env,
				     const struct smtp_auth *auth,
				     struct buf *out);

/* The delay of a failed login is over. */
void session_auth_late(struct smtpd_session *s);

/*
 * A unix socket's peer is logged in as the user that the kernel names. The
 * session waits for the name, and then begins by itself; false: there is no
 * such user, and nothing to wait for.
 */
bool session_login_by_uid(struct smtpd_session *s);
/* It takes too long: the number is its name. The session may be gone
 * afterwards. */
void session_name_late(struct smtpd_session *s);
/* The session goes. NULL is fine. */
void peer_name_cancel(struct peer_name *peer_name);

/* ---------------------------------------------------------- smtpd_proxy.c */

/* Is the peer a proxy that may speak for clients? */
bool session_is_behind_proxy(const struct smtpd_session *s);

/* Bytes have come while the header is awaited. The session may be gone
 * afterwards. */
void session_read_proxy(struct smtpd_session *s);

/* A session of an mx listener ends: is there a NAT in front of us? */
void session_watch_nat(struct smtpd_session *s);

#endif
