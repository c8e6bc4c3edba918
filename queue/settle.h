/* SPDX-License-Identifier: ISC */
/*
 * queue/settle.h - what the outcome of an attempt means for a recipient
 *
 * Pure: outcome, age and rules in; state, next try and report out. Deferred
 * until the expiry, final after a refusal, except that faults of our own get
 * a time of grace to be repaired in. The sender hears of failures and long
 * delays unless he asked not to (RFC 3461, 4.1), never as the null sender.
 */
#ifndef OSTLER_QUEUE_SETTLE_H
#define OSTLER_QUEUE_SETTLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buf.h"
#include "queue/bounce/classify.h"
#include "queue/bounce/dsn.h"
#include "queue/bounce/relay_denied.h"
#include "queue/deliver/outcome.h"
#include "queue/envelope.h"
#include "queue/retry.h"

struct settle_rules {
	struct retry_plan retry;  /* expire_s: for mail with a sender */
	uint64_t bounce_expire_s; /* for mail of the null sender */
	uint64_t warn_s;	  /* 0: no warning about delays */
	uint64_t grace_s;
};

struct settle_input {
	const struct envelope *envelope; /* borrows */
	size_t recipient;
	const struct outcome *outcome;	     /* borrows */
	bool is_local;			     /* delivered here, not relayed */
	const struct denied_verdict *denied; /* borrows; NULL: it is no refusal
						to relay */
	uint64_t now_ms;		     /* wall clock */
	uint32_t random;		     /* of the attempt, shared by its
						recipients, so that they stay together */
};

/* What the postmaster's digest has to hear of it (queue/digest.h). */
enum settle_digest {
	DIGEST_NOTHING,
	DIGEST_FAILURE,	  /* final, and there is no sender to be told */
	DIGEST_DELIVERED, /* it was a digest */
	DIGEST_LOST,	  /* it was a digest, and failed */
};

struct settlement {
	size_t recipient;
	enum recipient_state state; /* QUEUED, DELIVERED, FAILED, EXPIRED */
	uint64_t next_try_ms;	    /* RCPT_QUEUED; else 0 */
	bool has_report;	    /* the sender is told: */
	enum dsn_kind report;
	enum settle_digest digest;
	bool is_owed;	   /* the disk refused the report: tried again then */
	bool is_late;	   /* of a delivery, because he was told of a delay */
	bool is_each_time; /* of an expiry: each attempt ended alike, so: */
	struct classification each_time;
	struct classification classification; /* of the outcome */
	bool is_denied;			      /* and then: */
	struct denied_verdict denied;
	const struct outcome *outcome; /* lends: the input's */
	const struct outcome *final;   /* lends: what the report tells;
					  the outcome, or the expiry */
};

/* A fault of ours that is final now, for its time of grace is over. */
bool settle_is_past_grace(const struct settle_rules *rules,
			  const struct outcome *outcome, uint64_t received_ms,
			  uint64_t now_ms);

void settle_decide(const struct settle_rules *rules,
		   const struct settle_input *input, struct settlement *out);

/* After an operator's verb: final now, whatever the rules say. */
void settle_operator(const struct settle_input *input, struct settlement *out);

/*
 * Of an expiry: did each of several attempts end in one category?
 *
 * last  what the last one ended with
 */
void settle_each_time(const struct recipient *recipient,
		      const struct classification *last,
		      struct settlement *settlement);

/* Writes it into the recipient, with the words of the outcome. */
void settle_apply(const struct settlement *settlement,
		  struct recipient *recipient);

/* What the outcome says as text: the remote's lines, or codes and our own
 * words. to gets a NUL-terminated text of at most size bytes. */
void settle_words(const struct outcome *outcome, char *to, size_t size);

/* Has the sender still to be told that it takes long, if it does? */
bool settle_awaits_warning(const struct envelope *envelope,
			   const struct recipient *recipient);

/* When mail of this envelope expires, wall clock. */
uint64_t settle_expiry_ms(const struct settle_rules *rules,
			  const struct envelope *envelope);

/* What an attempt says about its destination as a whole. */
enum settle_lesson {
	LESSON_NONE,	  /* neither */
	LESSON_ANSWERED,  /* it took or refused mail properly */
	LESSON_SLOW_DOWN, /* it wants less (queue/deliver/pace.h) */
	LESSON_DOWN,	  /* no answer, or our login is refused: whatever else
			     is sent there ends alike */
};
enum settle_lesson settle_lesson(const struct outcome *outcomes, size_t count);

#endif
