/* SPDX-License-Identifier: ISC */
/*
 * queue/bounce/relay_denied.h - another host says "relaying denied": why,
 * and is that its last word?
 *
 * Seldom is such a refusal about the message. Somebody's idea of where the
 * domain's mail goes is old or wrong: ours, the resolver's before us, or the
 * host's own. So DNS is asked again before the refusal counts:
 *
 *	it says something else now  next try at once, at most twice
 *	it says the same	    once the resolver may have kept the old
 *				    records no longer, one more try; then the
 *				    refusal is final
 *	it says nothing		    next try by the schedule
 *
 * A next hop that an operator chose has nothing to do with DNS: it is our
 * own fault and gets the time of grace (queue/settle.h). Pure.
 */
#ifndef OSTLER_QUEUE_BOUNCE_RELAY_DENIED_H
#define OSTLER_QUEUE_BOUNCE_RELAY_DENIED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/addr.h"
#include "lib/buf.h"
#include "queue/bounce/classify.h"
#include "queue/bounce/texts.h"
#include "queue/deliver/outcome.h"

#define DENIED_REROUTES_MAX 2	  /* at once, a recipient */
#define DENIED_WAIT_MAX_S   3600  /* for what a resolver may have kept */
#define DENIED_DOWN_S	    60	  /* a host that is down is tried last */
#define DENIED_AGAIN_MS	    30000 /* DNS could not be asked anew yet */
#define DENIED_NOTE_MAX	    511

/* Whose records were wrong, looked for in this order. */
enum denied_cause {
	DENIED_UNKNOWN,	   /* DNS does not say now */
	DENIED_OUR_DATA,   /* what we had in our cache is another by now */
	DENIED_OLD_RECORD, /* DNS gave us what it does not say any more */
	DENIED_BACKUP_MX,  /* it is a backup, and the better hosts are down */
	DENIED_BEST_MX,	   /* it is the best host, and does not know so */
	DENIED_NO_LOGIN,   /* our smarthost; we do not log in there */
	DENIED_LOGIN,	   /* our smarthost, although we are logged in */
	DENIED_INNER,	   /* the server behind a domain of ours */
};
/* "our-data", "backup-mx", ... */
const char *denied_cause_name(enum denied_cause cause);
/* What advice_id knows it by; NULL: nothing more exact than the category. */
const char *denied_cause_advice(enum denied_cause cause);

/* Who stands behind the next hop. */
enum denied_hop {
	DENIED_HOP_MX,
	DENIED_HOP_SMARTHOST, /* a route with via */
	DENIED_HOP_INNER,     /* a domain with deliver */
};

/* Is this outcome such a refusal? A temporary one is not. */
bool relay_is_denied(const struct outcome *outcome,
		     const struct classification *classification,
		     enum denied_hop hop);

enum denied_answer {
	DENIED_ANSWER_NONE,  /* not asked, no answer, or one that is not to be
				relied on */
	DENIED_ANSWER_SAME,  /* as it was for the attempt */
	DENIED_ANSWER_OTHER, /* differs */
};

/* Wall clock where nothing else is said. */
struct denied_facts {
	enum denied_hop hop;
	bool has_login; /* of a smarthost */

	/* of DENIED_HOP_MX */
	enum denied_answer answer;
	bool was_cached; /* what differs, or anything, was in our cache */
	/* In the newest answer: */
	bool is_named; /* the host, with that address */
	int preference, best_preference;
	uint64_t asked_ms;
	uint64_t mx_left_s;	 /* of the TTL */
	uint64_t address_left_s; /* of the host's; UINT64_MAX: it has none */

	uint64_t now_ms;
	/* what the recipient's state says */
	unsigned reroutes;     /* made already */
	uint64_t dns_after_ms; /* 0: never waited for DNS */
};

enum denied_action {
	DENIED_FINAL,	 /* the refusal stands; our own fault gets grace */
	DENIED_AT_ONCE,	 /* the new answer is tried now */
	DENIED_WAIT,	 /* until next_ms */
	DENIED_SCHEDULE, /* as any temporary failure */
};

struct denied_verdict {
	enum denied_cause cause;
	enum denied_action action;
	bool is_own_fault;
	uint64_t next_ms; /* DENIED_AT_ONCE, DENIED_WAIT: wall clock */
	/* the recipient's state from now on */
	unsigned reroutes;
	uint64_t dns_after_ms;
};

void denied_decide(const struct denied_facts *facts,
		   struct denied_verdict *out);

/*
 * Fills what DNS tells: how the attempt was led there (used), and what it
 * says at last (now; NULL: it could not be asked). The newer of both counts.
 *
 * boot_ms  the present, on the clock of the views; facts->now_ms is set
 */
void denied_compare(const struct mx_view *used, const struct mx_view *now,
		    uint64_t boot_ms, struct denied_facts *facts);

/* What was found out about a refusal: a value, kept with the attempt. */
struct denied_story {
	enum denied_cause cause;
	char host[ADDR_DOMAIN_MAX + 1]; /* that refuses */
	char domain[ADDR_DOMAIN_MAX + 1];
	char hop_key[ADDR_DOMAIN_MAX + 16]; /* "route NAME" */
	struct mx_view mx;		    /* how DNS led to the host */
	/* "10 mx1.example (TTL 60s)"; "": there is no answer younger than the
	 * attempt's */
	char dns_now[512];
	uint64_t boot_ms; /* when that was, on the clock of mx */
};

/* Appends it in a sentence or two, without the full stop. */
void denied_tell(const struct denied_story *story,
		 const struct language *language, struct buf *out);

/* The same in English, for the log and queue show. */
void denied_note(const struct denied_story *story,
		 char to[DENIED_NOTE_MAX + 1]);

#endif
