/* SPDX-License-Identifier: ISC */
/*
 * queue/envelope.h - a message's envelope and what became of its recipients
 *
 * Pure. In the spool it is text that standard tools read: one "name value"
 * line each, then state lines appended as deliveries end. The same structs
 * hold it in memory while somebody works on it.
 */
#ifndef OSTLER_QUEUE_ENVELOPE_H
#define OSTLER_QUEUE_ENVELOPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/err.h"

enum recipient_state {
	RCPT_QUEUED, /* waits for its (next) attempt */
	RCPT_HELD,   /* an operator, or our own fault, keeps it back */
	RCPT_DELIVERED,
	RCPT_FAILED, /* reported to the sender or not, but final */
	RCPT_EXPIRED,
	RCPT_REMOVED, /* by an operator */
};
const char *recipient_state_name(enum recipient_state state);

/* RFC 3461, 4.1: NOTIFY */
enum notify {
	NOTIFY_DEFAULT = 0,
	NOTIFY_NEVER = 1,
	NOTIFY_SUCCESS = 2,
	NOTIFY_FAILURE = 4,
	NOTIFY_DELAY = 8,
};

struct recipient {
	char *address;	/* owns; normalised */
	char *orcpt;	/* owns; "rfc822;..." as given, or NULL */
	uint8_t notify; /* enum notify bits */

	/* what state lines say */
	enum recipient_state state;
	uint32_t attempts;
	uint64_t next_try_ms;	  /* wall clock; 0: now */
	char *last_reply;	  /* owns; last outcome in words, or NULL */
	char *last_host;	  /* owns; who said it, or NULL */
	char *category;		  /* owns; bounce category name, or NULL */
	bool is_warned;		  /* the sender was told about the delay */
	bool is_mixed;		  /* its attempts ended in several categories */
	uint64_t last_attempt_ms; /* wall clock; 0: none, or not known */
	/* queue/bounce/relay_denied.h: how often the next attempt was at once
	 * because DNS had changed, and since when (wall clock) DNS is believed
	 * when it has not; 0: it was not waited for */
	unsigned reroutes;
	uint64_t dns_after_ms;
	char *via; /* owns; queue/redirect.h: where it was redirected, or NULL
		    */
};

struct envelope {
	uint64_t id;
	char *sender;	      /* owns; "" is the null sender */
	uint64_t received_ms; /* wall clock */
	uint64_t size;	      /* body bytes */
	char *listener;	      /* owns; its name, "report" for our own reports */
	char *client;	      /* owns; IP or "unix" */
	char *helo;	      /* owns or NULL */
	char *login;	      /* owns or NULL */
	char *envid;	      /* owns or NULL: RFC 3461 ENVID, as xtext */
	char ret;	      /* 'F', 'H', or 0: RFC 3461 RET */
	bool is_8bit;	      /* BODY=8BITMIME */
	bool is_utf8;	      /* SMTPUTF8 */
	bool is_held;	      /* whole message, by an operator */
	bool is_bouncing;     /* the same: it goes back to the sender */
	struct recipient *recipients; /* owns */
	size_t recipient_count;
};

void envelope_init(struct envelope *envelope);
void envelope_done(struct envelope *envelope);

/* Adds a recipient and returns it; valid until the next addition. */
struct recipient *envelope_add(struct envelope *envelope, const char *address);

/* The envelope as spool text (no state), behind what out holds. The id is
 * not in it: the spool keeps it by that. */
void envelope_format(const struct envelope *envelope, struct buf *out);

/* Of the text of all recipients together: the spool takes 4 MiB, and the other
 * lines are far shorter than what is left for them. */
#define ENVELOPE_OTHERS_MAX	((size_t)64 << 10)
#define ENVELOPE_RECIPIENTS_MAX (((size_t)4 << 20) - ENVELOPE_OTHERS_MAX)

/* How much of the text a recipient is, at most. orcpt: NULL for none. */
size_t envelope_recipient_bytes(const char *address, const char *orcpt,
				uint8_t notify);

/*
 * Reads what envelope_format wrote and then applies the state lines.
 *
 * Unknown names of lines are kept out and ignored (a newer version wrote
 * them). Returns 0, or -EBADMSG with the line in err; foreign bytes.
 */
int envelope_parse(const char *text, const char *states, struct envelope *out,
		   struct err *err);

/* An attempt ends in a category ("": delivered), of attempts so far: has it
 * been another one? Call before they are stored. */
bool recipient_mixes(const struct recipient *recipient, uint32_t attempts,
		     const char *category);

/*
 * One state line for one recipient, or -1 for the whole message (hold).
 * It says the recipient's present state, attempts, next try, category, host
 * and reply, and the attempt that led to it.
 */
struct attempt; /* queue/deliver/outcome.h */
void envelope_format_state(const struct envelope *envelope, int index,
			   const struct attempt *attempt, struct buf *out);

/*
 * Lets one line speak for neighbours: if next says the same of the recipient
 * behind those of line, line says it of both from now on.
 *
 * line  a state line; changed only when the result is true
 * next  borrows; one as envelope_format_state makes it
 */
bool envelope_join_states(struct buf *line, const char *next);

/* State lines of orders: the message goes back to its sender; recipients left
 * in a domain (NULL: all) go by another way ("": by the routes again). */
void envelope_format_bounce(struct buf *out);
void envelope_format_redirect(const char *domain, const char *via,
			      struct buf *out);
/* What the latter does when it is read. */
void envelope_redirect(struct envelope *envelope, const char *domain,
		       const char *via);

/* Calls each for every attempt in the state lines, oldest first, and each of
 * its recipients; those that the message has not are passed over. */
void envelope_each_attempt(const char *states, size_t recipient_count,
			   void (*each)(void *arg, size_t recipient,
					const struct attempt *attempt),
			   void *arg);

#endif
