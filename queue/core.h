/* SPDX-License-Identifier: ISC */
/*
 * queue/core.h - what the files behind queue/queue.h share
 *
 * struct queue, and the two things that exist only while somebody works on a
 * message: struct message holds its envelope, struct run is one leg's way
 * from its slot to the written outcome. In the order of a
 * message's life:
 *
 *	queue.c    the queue's own: opening, closing, numbers; setup.c: its
 *	           configuration
 *	intake.c   a message comes in, put or found
 *	leg.c      its entry and legs wait
 *	pump.c     what is due starts
 *	message.c  its envelope is in memory while somebody works on it
 *	assign.c   recipients get a leg for each next hop
 *	attempt.c  a run makes the attempt
 *	learn.c    what it teaches about the destination
 *	denied.c   what is asked before a refusal to relay is believed
 *	ending.c   outcomes are decided (settle.h), written, and the run ends
 *	telling.c  the log and the history hear of it; report.c: the sender
 *	listing.c  operators walk along what waits; order.c: what they order
 *	           there; show.c: one of them; pause.c: that nothing starts
 */
#ifndef OSTLER_QUEUE_CORE_H
#define OSTLER_QUEUE_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "lib/list.h"
#include "queue/deliver/delivery.h"
#include "queue/digest.h"
#include "queue/entry.h"
#include "queue/envelope.h"
#include "queue/faults.h"
#include "queue/history.h"
#include "queue/queue.h"
#include "queue/redirect.h"
#include "queue/route/reask.h"
#include "queue/route/route.h"
#include "queue/schedule.h"
#include "queue/settle.h"
#include "queue/spool/spool.h"

/* Keys of destinations that are none: no next hop is named so. */
#define KEY_ROUTING  "?" /* the envelope has to be read to know the next hop */
#define KEY_BOUNCING "!" /* on an operator's word */

/* Envelopes kept in memory for messages that wait for their first attempt. */
#define KEPT_BYTES_MAX ((size_t)16 << 20)

/* Bytes of the original that a report may need. */
#define ORIGINAL_MAX ((size_t)64 << 10)

/* A message or a report that the disk refused: when to try again. */
#define DISK_RETRY_MS 300000

struct queue {
	uv_loop_t *loop;
	uv_timer_t timer; /* the next thing due */
	uv_timer_t drain; /* while closing */
	/* Idle handles run once in each turn of the loop; a timer of 0 that
	 * starts itself again would keep the loop from its sockets. */
	uv_idle_t soon; /* something may start */
	uv_idle_t walk; /* listings and orders go on */
	unsigned open_handles;

	char *spool_dir;
	uint32_t *retry_s; /* owns; rules.retry lends it */
	struct settle_rules rules;
	bool delivers;
	bool is_paused;
	struct pausing *pausing;       /* on its way to the disk, or NULL */
	uint64_t (*now_ms)(void *arg); /* NULL: the real clocks */
	void *now_arg;

	struct policy *policy;	       /* shares */
	struct classifier *classifier; /* shares */
	struct texts *texts;	       /* shares */
	char *language;
	struct deliverer *deliverer;
	struct resolver *resolver; /* lent */
	struct reask *reask;
	struct sts *sts;
	struct route_opts route_opts; /* hostname is the policy's */
	struct spool *spool;
	struct queue_events events;
	void *owner;

	struct faults faults;
	struct history *history;
	struct digest *digest;
	uint64_t digest_s;     /* its period; 0: it is never sent */
	struct limit *reports; /* by sender */
	struct units_rate reports_per_sender;
	bool is_loaded; /* all of an earlier run */

	struct schedule schedule;
	struct list entries; /* all, in order of arrival */
	struct entry_index index;
	uint64_t max_id;
	uint64_t entry_bytes;
	struct list messages;
	size_t kept_bytes; /* of messages nobody works on yet */
	struct list runs;
	size_t run_count;
	struct list listings;
	uint64_t walk_turn; /* counts the turns of their walk */
	struct list shows;
	struct list orders;  /* on their way to the disk */
	struct list orphans; /* ids that are settled, found before the spool
				was open */

	uint64_t accepted, delivered, bounced, expired, deferrals;

	bool is_closing;
	bool has_closed_spool;
	void (*on_closed)(void *arg);
	void *closed_arg;
};

/* A message that somebody works on, or that waits for its first attempt. */
struct message {
	struct queue *queue;
	struct entry *entry;	  /* NULL: it is settled and gone */
	struct envelope envelope; /* empty while load runs */
	struct list link;	  /* of queue->messages */
	/* Runs, and states on their way to the disk: until they are there,
	 * nobody may read the envelope from the spool. 0: kept for the first
	 * attempt. */
	unsigned refs;
	unsigned reports;  /* of it on their way to the disk: not settled yet */
	size_t kept_bytes; /* counted in queue->kept_bytes while refs is 0 */
	struct spool_load *load;
	struct policy *assigned_by; /* shares; NULL: not assigned */
	struct leg **leg_of;	    /* owns; per recipient, NULL: none left */
	bool is_done;		    /* the spool was told that it is settled */
};

struct report;

/* One leg from its start to the end of its settlement. */
struct run {
	struct queue *queue;
	struct leg *leg;
	struct message *message; /* shares */
	struct list link;	 /* of queue->runs */
	struct delivery *delivery;
	struct reask_wait *reask;   /* what DNS says now about a refusal */
	struct route *dns_now;	    /* shares: its answer, or NULL */
	struct denied_story *story; /* owns: what we know about the refusal */
	char *note;		    /* owns: the same in English */
	struct policy *policy;	    /* shares: of the attempt */
	struct redirect_target redirect; /* what its next hop points to */
	bool is_local;
	bool is_waiting;       /* for the envelope */
	uint64_t postponed_ms; /* wall clock; 0: an attempt was made */
	bool is_unheard;       /* the destination is down: no delivery, it ends
				  as the last one there did */
	size_t *recipients;    /* owns; indexes */
	size_t count;

	/* settling; owns all */
	struct settlement *settled;
	size_t settled_count;
	struct outcome *outcomes; /* copies, when they have to wait */
	struct outcome *finals;	  /* expiries, as the report tells them */
	struct report *reports;	  /* list, see report.c */
	size_t reports_left;
	bool is_written;  /* states or end, in one batch with the reports */
	bool is_reverted; /* a report was refused by the disk */
	struct spool_read *read;
	struct buf original;
};

/* -------------------------------------------------------------- pump.c */

uint64_t queue_wall_ms(const struct queue *queue);
uint64_t queue_boot_ms(const struct queue *queue);
/* The loop looks at what is due as soon as it can. */
void queue_kick(struct queue *queue);
/* Wall clock to the schedule's. */
uint64_t queue_boot_of(const struct queue *queue, uint64_t wall_ms);

/* --------------------------------------------------------------- leg.c */

/* Around every change of an entry: memory is counted. */
void queue_count_out(struct queue *queue, const struct entry *entry);
void queue_count_in(struct queue *queue, const struct entry *entry);
/* Out of the schedule and, unless it is the embedded one, out of memory. */
void leg_end(struct queue *queue, struct leg *leg);
/* Of what its last attempt ended with, as in struct leg; 0: nothing. */
uint16_t category_bit(const struct recipient *recipient);
/* Waits for its next attempt, or is held. */
void leg_wait(struct queue *queue, struct leg *leg, uint64_t due_wall_ms);
/* The same after the disk failed: an order to bounce waits as well, or it
 * would fail again at once. */
void leg_wait_for_disk(struct queue *queue, struct leg *leg,
		       uint64_t due_wall_ms);
/* A new entry from its envelope, which is taken when there is room for it.
 */
void entry_begin(struct queue *queue, struct envelope *envelope, bool is_new);
/* The spool need not have it any more: leaves lists and memory; runs are
 * cut. */
void entry_end(struct queue *queue, struct entry *entry);
/* The same, and the spool is told. */
void entry_remove(struct queue *queue, struct entry *entry);
/* Puts a leg where it belongs when its time has come. */
void leg_route(struct queue *queue, struct leg *leg);
/* Whether that is where the envelope is read, and no next hop. */
bool leg_awaits_routing(const struct leg *leg);
void limits_of(const struct next_hop *hop, struct destination_limits *out);
/* As it was stored: the last @ parts it. */
void addr_stored(const char *text, struct addr *out);

static inline bool
leg_is_busy(const struct leg *leg)
{
	return leg->state == LEG_ACTIVE || leg->state == LEG_SETTLING;
}

/* ------------------------------------------------------------ intake.c */

/* What the spool tells the queue. */
extern const struct spool_callbacks intake_callbacks;
/* The spool is open: hears which of what it has is settled. */
void intake_tell_orphans(struct queue *queue);
void intake_drop_orphans(struct queue *queue);

/* ------------------------------------------------------------- setup.c */

void deliverer_opts_of(const struct queue *queue, const struct queue_opts *opts,
		       struct deliverer_opts *out);
void route_opts_of(const struct queue_opts *opts, struct route_opts *out);
unsigned connections_of(const struct queue_opts *opts);
/* All of them that are plain values. */
void queue_take_opts(struct queue *queue, const struct queue_opts *opts);

/* ------------------------------------------------------------- queue.c */

/* Goes on closing when nothing runs any more. */
void queue_close_step(struct queue *queue);

/* ----------------------------------------------------------- message.c */

/* Keeps the envelope (moved) for the first attempt, when there is room. */
void message_keep(struct queue *queue, struct entry *entry,
		  struct envelope *envelope);
/* Gives the memory back, whoever works on it. */
void message_drop(struct message *message);
/* Its envelope is other than it was: read again if it is being read. */
void message_reload(struct message *message);
/* The recipients of a leg that ends go with another one. */
void message_hand_over(struct message *message, const struct leg *from,
		       struct leg *to);
/* Its entry goes; it follows when nobody works on it. NULL is fine. */
void message_detach(struct message *message);
/* One worker more, on what is known of it or being read. */
struct message *message_open(struct queue *queue, struct entry *entry);
/* One worker less. The last one leaves the entry as the envelope says. */
void message_unref(struct message *message);
/* The same, and its envelope is kept for the attempts to follow, if there is
 * room. */
void message_keep_on(struct message *message);
bool message_is_settled(const struct message *message);

/* ------------------------------------------------------------ assign.c */

/* Where a leg stands by its recipients: how many, tried how often, due when.
 */
struct leg_sum {
	uint32_t recipients, attempts;
	uint64_t next_ms;
	uint16_t categories;
	bool is_warned;
};
void leg_sum(const struct message *message, const struct leg *leg,
	     struct leg_sum *out);
void leg_take_sum(struct queue *queue, struct leg *leg,
		  const struct leg_sum *sum);
/*
 * Gives each recipient left a leg by the present policy; those whose leg is
 * at work stay with it.
 *
 * keep  a leg that waits for the result, or NULL
 */
void message_assign(struct message *message, struct leg *keep);

/* ----------------------------------------------------------- attempt.c */

/* The leg has its slot. is_unheard: as in struct run. */
void run_start(struct queue *queue, struct leg *leg, bool is_unheard);
/* Its envelope is there. */
void run_ready(struct run *run);
/* Its memory; the message is the caller's to give back. */
void run_free(struct run *run);
/* The next hop of a run's recipients by a policy, which lends its strings. */
void run_next_hop(struct run *run, const struct policy *policy,
		  struct next_hop *out);
/* Cuts it: no delivery, no settlement. The leg stays as it is. */
void run_abort(struct run *run);

/* ------------------------------------------------------------ ending.c */

/* Into run->outcomes: they are lent for a call only. */
void run_copy_outcomes(struct run *run, const struct outcome *outcomes);
/* Decides what they mean, and begins to write it. */
void run_settle(struct run *run, const struct outcome *outcomes);
/* A report of it was written, or not. */
void run_report_done(struct run *run, const struct report *report, int status);
/* Nothing of it is left to be done: the leg waits again, or ends. */
void run_finish(struct run *run);

/* Adds whom a report to the address goes to, 20 at most: aliases are followed,
 * as for mail that comes in. envelope: borrows; nothing is reported about it,
 * and it asks for SMTPUTF8 when one of them does. */
void report_address(const struct queue *queue, const char *address,
		    struct envelope *envelope);

/* ----------------------------------------------------------- telling.c */

/* The spool could not give what it has of it. */
void log_damaged(const struct entry *entry, const char *why);
/* What became of all recipients of the run: into the log (with the note of
 * run_decide_denied), the counts and the history. */
void run_tell(struct run *run);

/* ------------------------------------------------------------- learn.c */

/* What the outcomes say about the destination of the run's leg. */
void run_learn(struct run *run, const struct outcome *outcomes);

/* ------------------------------------------------------------ denied.c */

enum denied_hop denied_hop_of(const struct next_hop *hop);
/* Settles a run; if a host refused to relay, when DNS has said what it says
 * now. outcomes: lent for the call. */
void run_judge(struct run *run, const struct outcome *outcomes);
/* Notes which faults of ours the outcomes of a run tell of, or show to be
 * over. */
void run_note_faults(struct run *run);
/* It waits for DNS: no longer. */
void run_hurry(struct run *run);
/* Is it such a refusal, on the way to that hop? */
bool run_is_denied(const struct run *run, const struct next_hop *hop,
		   const struct outcome *outcome);
/* What it means for the index-th recipient of the run. */
void run_decide_denied(struct run *run, const struct next_hop *hop,
		       size_t index, struct denied_verdict *out);
/* Once DNS was asked, more can be said than the reply alone tells. */
void run_advise(struct settlement *settled);

/* ------------------------------------------------------------ report.c */

/* Groups what the sender has to hear by cause; formats; begins the puts.
 * settled and original of the run are final. */
void report_make(struct run *run);
/* Do they all fit in one batch, with what they tell of? */
bool report_is_small(const struct run *run);
/* Within a spool group: the reports become durable with the states. */
void report_submit(struct run *run);
/* All reports of the run; puts not ended are aborted. */
void report_free(struct run *run);
/* Is this settled recipient told about in it? */
bool report_tells(const struct report *report, const struct settlement *of);

/* ------------------------------------------------------------- pause.c */

/* Whether an earlier run was paused; blocks, for the start. */
void pause_load(struct queue *queue);
/* The queue goes: whoever waits hears -ECANCELED. */
void pause_end(struct queue *queue);

/* ----------------------------------------------------------- listing.c */

/* The entry goes: listings step over it. */
void listing_forget(struct queue *queue, const struct entry *entry);
/* The queue goes: all get their end. */
void listing_end_all(struct queue *queue);

/* ------------------------------------------------------------- order.c */

/* The spool is closed: of those that were not written nobody hears. */
void order_drop_all(struct queue *queue);

/* -------------------------------------------------------------- show.c */

/* The queue goes: all hear -ECANCELED. */
void show_end_all(struct queue *queue);

#endif
