/* SPDX-License-Identifier: ISC */
/*
 * queue/entry.h - a queued message as the scheduler sees it
 *
 * Small, for there may be a million: numbers, one text block, and the legs.
 * A leg is one message on its way to one destination, the unit that is
 * scheduled; a message for one destination embeds its only leg. Envelopes and
 * bodies stay in the spool and are in memory only while somebody works on
 * them (struct message, in queue/core.h).
 */
#ifndef OSTLER_QUEUE_ENTRY_H
#define OSTLER_QUEUE_ENTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/heap.h"
#include "lib/list.h"
#include "queue/envelope.h"

struct destination;
struct message;
struct run;

/* Why something waits, in one line; shared by counting, for a host that is
 * down says the same to thousands. */
#define REASON_TEXT_MAX 80
struct reason {
	uint32_t refs;
	char text[];
};

/* Control characters become spaces; the text is cut. The caller owns it. */
struct reason *reason_new(const char *text);
struct reason *reason_ref(struct reason *reason); /* NULL is fine */
void reason_unref(struct reason *reason);	  /* NULL is fine */
/* What reason_new(text) would give is what this one says. */
bool reason_is(const struct reason *reason, const char *text);

/* Exactly one of these; queue/schedule.c is the only mover. */
enum leg_state {
	LEG_NEW,      /* on no list; counted nowhere */
	LEG_QUEUED,   /* in the due heap */
	LEG_WAITING,  /* in its destination's list, until it has room */
	LEG_ACTIVE,   /* an attempt holds it; it takes one of the slots */
	LEG_SETTLING, /* the outcome is being written; takes no slot */
	LEG_HELD,     /* until an operator releases it */
	LEG_STATES
};

struct leg {
	struct heap_node due; /* LEG_QUEUED; boot clock, ms */
	/* LEG_WAITING: destination's waiting; LEG_QUEUED with is_down: its
	 * backoff; else unlinked */
	struct list link;
	struct entry *entry;
	struct leg *next;		 /* of the same message */
	struct destination *destination; /* counted there; NULL: not known */
	struct reason *why;		 /* shares, or NULL */
	struct run *run;		 /* LEG_ACTIVE, LEG_SETTLING */
	uint32_t attempts;
	uint32_t recipients; /* left for it, as last known */
	uint8_t state;	     /* enum leg_state */
	uint8_t category;    /* enum category + 1; 0: none */
	bool is_down;	     /* the host did not answer: wake it when it does */
	bool is_warned;	     /* nobody is left to be told about the delay */
	uint16_t categories; /* of all its recipients: bit of enum category */
};

struct entry {
	uint64_t id;
	uint64_t received_ms; /* wall clock */
	uint64_t size;
	struct list link;	 /* of all entries, in order of arrival */
	struct message *message; /* while open, else NULL */
	/* owns, unless it is inline_text: sender NUL recipient NUL, then more
	 * domains of recipients left, each with a NUL, and one NUL more */
	char *text;
	uint32_t text_bytes;
	uint32_t recipients_left;
	bool is_held;
	bool is_removing;   /* an operator wants it gone */
	bool is_bouncing;   /* an operator wants it returned */
	bool is_ordered;    /* an order about it is on its way to the disk */
	bool is_redirected; /* its envelope has to be read to know the next hop
			     */
	bool is_rerouted;   /* and has not been since that became so */
	bool is_urged;	    /* to be tried as soon as its next hops are known */
	struct leg leg;	    /* the first one */
	char inline_text[];
};

/*
 * A new entry with one leg for all recipients that are left.
 *
 * envelope  borrows
 */
struct entry *entry_new(const struct envelope *envelope);
/* Its legs must be in no list of the schedule any more. NULL is fine. */
void entry_free(struct entry *entry);

/* Takes over who is left, after outcomes. */
void entry_refresh(struct entry *entry, const struct envelope *envelope);

/* Adds a leg; it lives until entry_drop_leg or entry_free. */
struct leg *entry_add_leg(struct entry *entry);
/* Removes one that entry_add_leg made (not the embedded one). */
void entry_drop_leg(struct entry *entry, struct leg *leg);

static inline const char *
entry_sender(const struct entry *entry)
{
	return entry->text;
}

/* The first recipient left. */
const char *entry_recipient(const struct entry *entry);

/* Is a recipient in this domain left? Ignores ASCII case. */
bool entry_has_domain(const struct entry *entry, const char *domain);

/* Memory, with what the allocator adds. */
size_t entry_bytes(const struct entry *entry);

/* Waits for an attempt, now or later. */
static inline bool
recipient_is_left(const struct recipient *recipient)
{
	return recipient->state == RCPT_QUEUED || recipient->state == RCPT_HELD;
}

/* ------------------------------------------------------ index by number */

/* Open addressing over the ids; at most half full. */
struct entry_index {
	struct entry **slots;
	size_t count, capacity;
};

void entry_index_init(struct entry_index *index);
void entry_index_done(struct entry_index *index); /* not the entries */
void entry_index_add(struct entry_index *index, struct entry *entry);
void entry_index_remove(struct entry_index *index, struct entry *entry);
struct entry *entry_index_find(const struct entry_index *index, uint64_t id);

#endif
