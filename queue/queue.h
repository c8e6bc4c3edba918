/* SPDX-License-Identifier: ISC */
/*
 * queue/queue.h - what is owed to whom, and when: the facade of this room
 *
 * Takes messages (durable before it says so), schedules attempts, settles
 * outcomes, writes reports. The way of one message:
 *
 *	queue_put_begin .. _data .. _end -> spool -> entry, due now
 *	-> policy_next_hop of each recipient: legs, one per next hop
 *	-> delivery -> outcomes -> classify -> state or done (+ report)
 *
 * Loop thread only; no function calls back before it returns.
 */
#ifndef OSTLER_QUEUE_QUEUE_H
#define OSTLER_QUEUE_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "lib/err.h"
#include "lib/units.h"
#include "policy/policy.h"
#include "queue/bounce/classify.h"
#include "queue/digest.h"
#include "queue/envelope.h"
#include "queue/spool/spool.h"

struct faults;
struct history;
struct queue;
struct resolver;
struct texts;
struct trust;

/* Plain values from the configuration; copied. */
struct queue_opts {
	const char *spool_dir;
	uint64_t spool_free;
	const uint32_t *retry_s; /* delays; the last repeats */
	size_t retry_count;
	uint64_t expire_s, warn_s, bounce_expire_s, grace_s;
	struct units_rate reports_per_sender; /* count 0: no cap */
	uint64_t digest_s; /* what nobody was told, to the postmaster; 0: never
			    */
	unsigned connections; /* deliveries at once */
	uint16_t port;
	uint64_t connect_timeout_ms, idle_connection_ms;
	bool deliver; /* false: accept and keep */
	bool private_targets;
	/* Whom others' certificates are checked by: shared from now on; NULL:
	 * the system's. And the same as a PEM file, for MTA-STS. */
	struct trust *trust;
	const char *ca;
	/* Rules and texts of reports, shared from now on; NULL: as built in. */
	struct classifier *classifier;
	struct texts *texts;
	const char *language; /* tag, where the original asks for none */
	bool (*is_ours)(void *arg, const struct ip *ip, uint16_t port);
	void *is_ours_arg;
	/* The clock, for wall and boot time alike; NULL: the real ones. Tests
	 * move it, and call queue_configure to be heard at once. */
	uint64_t (*now_ms)(void *arg);
	void *now_arg;
};

struct queue_events {
	/* All messages of an earlier run are loaded. */
	void (*loaded)(void *owner);
	/* Nothing can be accepted any more (exit 75 when idle). */
	void (*broken)(void *owner);
};

/* policy: shares. resolver: lent until queue_close is done. */
int queue_open(uv_loop_t *loop, const struct queue_opts *opts,
	       struct policy *policy, struct resolver *resolver,
	       const struct queue_events *events, void *owner,
	       struct queue **out, struct err *err);

/* After a reload; what waits follows it at its next attempt. */
void queue_configure(struct queue *queue, const struct queue_opts *opts,
		     struct policy *policy);

/* Starts no more attempts; running ones get drain_ms, then are cut; then the
 * spool is closed and on_closed comes. */
void queue_close(struct queue *queue, uint64_t drain_ms,
		 void (*on_closed)(void *arg), void *arg);
/* Cuts the drain short. */
void queue_close_now(struct queue *queue);

/* ------------------------------------------------------------- accepting */

enum queue_accepting {
	QUEUE_ACCEPTS,
	QUEUE_SHORT,  /* of disk: 452 4.3.1 */
	QUEUE_BROKEN, /* 421 */
};
enum queue_accepting queue_accepting(const struct queue *queue);

/* As struct spool_put, whose rules hold: embedded in its owner. */
struct queue_put {
	struct spool_put spool;
	struct queue *queue; /* NULL: not begun */
	struct envelope *envelope;
	void *owner;
	void (*on_room)(void *owner);
	void (*on_end)(void *owner, int status);
	uint64_t size;
};

/* owner, on_room, on_end are set by the caller. put->spool.id is then known.
 * envelope: takes (its content, moved); id is filled in. */
void queue_put_begin(struct queue *queue, struct queue_put *put,
		     struct envelope *envelope);
bool queue_put_data(struct queue_put *put, const void *bytes, size_t len);
void queue_put_end(struct queue_put *put);
void queue_put_abort(struct queue_put *put);

/* ------------------------------------------------------------- operating */

/* What queue list prints. Strings are lent for the call. */
struct queue_item {
	uint64_t id;
	uint64_t received_ms; /* wall clock */
	uint64_t size;
	const char *sender;
	const char *state; /* "queued", "active", "held", "deferred" */
	size_t recipients_left;
	const char *recipient; /* the first one left */
	uint64_t next_try_ms;  /* wall clock; 0: now or held */
	const char *why;       /* last reason, "" for none */
	const char *category;  /* "" for none */
	uint32_t attempts;
};

struct queue_filter {
	const char *domain; /* of a recipient left; NULL: any */
	const char *state;
	const char *category; /* that one of its recipients waits for */
	const char *sender;
	const uint64_t *ids; /* NULL: any */
	size_t id_count;
};

/*
 * Calls each for matching messages, a bounded number per turn of the loop,
 * then on_end. each returns false to stop. on_room semantics are the
 * caller's: return false and call queue_list_resume when it can take more.
 */
struct queue_listing;
struct queue_listing *
queue_list(struct queue *queue, const struct queue_filter *filter,
	   bool (*each)(void *arg, const struct queue_item *item),
	   void (*on_end)(void *arg), void *arg);
void queue_list_resume(struct queue_listing *listing);
void queue_list_cancel(struct queue_listing *listing);

/* The envelope with all states, and the raw state lines for attempts. */
void queue_show(struct queue *queue, uint64_t id,
		void (*on_shown)(void *arg, int status,
				 const struct envelope *envelope,
				 const char *states),
		void *arg);

/* Lends the spool for reading bodies (queue cat). */
struct spool *queue_spool(struct queue *queue);

enum queue_verb {
	QUEUE_RETRY,
	QUEUE_HOLD,
	QUEUE_RELEASE,
	QUEUE_REMOVE,
	QUEUE_BOUNCE,	/* report failure to the sender; waits while paused */
	QUEUE_REDIRECT, /* by queue_redirect alone */
};
/* Applies the verb to all that match; on_count says how many, when all of it
 * is durable that a crash must not undo. */
void queue_apply(struct queue *queue, enum queue_verb verb,
		 const struct queue_filter *filter,
		 void (*on_count)(void *arg, uint64_t count), void *arg);

/*
 * Recipients of matching mail that are left, in filter->domain if it is
 * given, go to another next hop from now on, at once.
 *
 * via  "HOST:PORT", as redirect_parse takes it, which the caller has asked;
 *      "": as the routes say
 */
void queue_redirect(struct queue *queue, const char *via,
		    const struct queue_filter *filter,
		    void (*on_count)(void *arg, uint64_t count), void *arg);

/*
 * Stops attempts at once, or starts them when the disk has it: on_done comes
 * with 0 or a negative errno (then all is as before). Survives a restart.
 *
 * Returns 0, or -EBUSY while another one is on its way, without on_done.
 */
int queue_pause(struct queue *queue, bool is_paused,
		void (*on_done)(void *arg, int status), void *arg);
bool queue_is_paused(const struct queue *queue);

struct queue_stats {
	struct digest_stats digest;
	uint64_t messages;
	/* Per destination of a message; deferred ones are among queued. */
	uint64_t queued, deferred, active, held;
	uint64_t accepted, delivered, bounced, expired,
		deferrals;    /* since start */
	uint64_t entry_bytes; /* memory for entries */
	struct spool_stats spool;
};
void queue_stats(const struct queue *queue, struct queue_stats *out);

/* Destinations with waiting mail, most first. */
void queue_destinations(const struct queue *queue, size_t max,
			void (*each)(void *arg, const char *key,
				     uint64_t waiting, uint64_t active,
				     const char *last_error),
			void *arg);

/* Lends what is wrong on our side, until the queue is closed; its listener is
 * the caller's to set. */
struct faults *queue_faults(struct queue *queue);

/* Lends the history of failures, until the queue is closed. */
struct history *queue_history(struct queue *queue);

/* Hosts that asked for less mail: connections to them now, how many there may
 * be, and what they said. */
void queue_slow_hosts(const struct queue *queue,
		      void (*each)(void *arg, const struct ip *ip,
				   uint16_t port, unsigned active,
				   unsigned connections, const char *reply),
		      void *arg);

/* Lends what ostlerctl route asks for policies. */
struct sts;
struct sts *queue_sts(struct queue *queue);

#endif
