/* SPDX-License-Identifier: ISC */
/*
 * queue/schedule.h - which leg may start now, and who waits for what
 *
 * Legs wait in one heap for their time, then in the list of their
 * destination for room: a destination has a window of attempts at once (it
 * grows while the destination answers and shrinks when it does not), a rate,
 * and all of them share the queue's connections. Nothing here looks at more
 * than the leg at hand; a million waiting legs cost nothing.
 *
 * Pure over memory: the time is a parameter (boot clock, ms), and the caller
 * starts what this says may start. All moves of a leg happen here.
 */
#ifndef OSTLER_QUEUE_SCHEDULE_H
#define OSTLER_QUEUE_SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/hash.h"
#include "lib/heap.h"
#include "lib/list.h"
#include "queue/entry.h"

/* Of attempts at once: a destination that has not answered yet. */
#define SCHEDULE_FIRST_WINDOW 2

struct destination_limits {
	unsigned connections;		    /* at once, > 0 */
	uint32_t rate_count, rate_period_s; /* 0: no limit */
	bool is_remote; /* by DNS: the window starts small */
};

struct destination {
	struct destination *hash_next;
	struct list waiting; /* legs, first come first served */
	struct list backoff; /* legs in the heap because it was down */
	struct list link;    /* in ready_idle, ready_busy or unused, or none */
	struct heap_node throttled; /* in the heap of that name, by time */
	struct destination_limits limits;
	uint64_t legs; /* that belong to it, in whatever state */
	uint64_t waiting_count;
	unsigned active, window;
	uint64_t rate_us;	   /* when the bucket is full again (GCRA) */
	uint64_t down_until_ms;	   /* 0: it answers, as far as known */
	uint64_t unused_ms;	   /* since when no leg belongs to it */
	struct reason *last_error; /* shares, or NULL */
	uint8_t last_category;	   /* as in struct leg */
	void *lesson; /* owns, by free(): the caller's note of the failure */
	char key[];
};

struct schedule {
	uint64_t now_ms;
	struct heap due;	/* legs */
	struct heap throttled;	/* destinations, until a token is there */
	struct list ready_idle; /* destinations with waiting legs, no active */
	struct list ready_busy; /* with some, below their window */
	struct list unused;	/* without legs, oldest first */
	size_t unused_count;
	bool was_idle; /* the turn before took from ready_idle */
	unsigned connections;
	uint64_t counts[LEG_STATES];
	uint64_t tried[LEG_STATES]; /* those among them with attempts */
	struct hash_seed seed;
	struct destination **slots; /* hash table of destinations */
	size_t slot_count, destination_count;
};

void schedule_init(struct schedule *schedule, unsigned connections);
/* Frees destinations; no leg may be in it any more. */
void schedule_done(struct schedule *schedule);

/* How many attempts may run at once, > 0. */
void schedule_set_connections(struct schedule *schedule, unsigned connections);

/* What time it is; wakes destinations whose token came. */
void schedule_advance(struct schedule *schedule, uint64_t now_ms);

/* When schedule_due or schedule_next may have more: ms, UINT64_MAX: never
 * by time alone. */
uint64_t schedule_wakeup(const struct schedule *schedule);

/* ------------------------------------------------------ moving legs */

/* To LEG_QUEUED, due then; with leg->is_down also among those that its
 * destination wakes when it answers. */
void schedule_wait(struct schedule *schedule, struct leg *leg, uint64_t due_ms);

/* Says which destination a leg will be offered to; its state stays. NEW or
 * QUEUED only. */
void schedule_attach(struct schedule *schedule, struct leg *leg,
		     const char *key, const struct destination_limits *limits);

/* The next leg whose time has come, still LEG_QUEUED; NULL: none. */
struct leg *schedule_due(struct schedule *schedule);

/*
 * To LEG_WAITING, at the end of the list of the destination with that key
 * (made when it is new), whose limits these are from now on.
 */
void schedule_offer(struct schedule *schedule, struct leg *leg, const char *key,
		    const struct destination_limits *limits);

/*
 * The next leg that may start, still LEG_WAITING; NULL: none. Destinations
 * take turns. The caller starts it or moves it elsewhere before it asks
 * again. A destination that is down gives its legs one by one regardless of
 * room, to be sent back to wait, when `is_down` says so.
 */
struct leg *schedule_next(struct schedule *schedule, bool *out_is_down);

/* How often its recipients were tried. */
void schedule_set_attempts(struct schedule *schedule, struct leg *leg,
			   uint32_t attempts);

void schedule_start(struct schedule *schedule, struct leg *leg);  /* ACTIVE */
void schedule_settle(struct schedule *schedule, struct leg *leg); /* SETTLING */
void schedule_hold(struct schedule *schedule, struct leg *leg);	  /* HELD */
/* To LEG_NEW: it belongs to no destination any more. */
void schedule_drop(struct schedule *schedule, struct leg *leg);

/* ------------------------------------------- what destinations taught */

/* It took a message (or refused one properly): the window grows, legs that
 * were sent back because it was down become due, a few with each answer. */
void schedule_answered(struct schedule *schedule, struct destination *to);
/* No answer: one attempt at a time, none before until_ms. reason: borrows. */
void schedule_failed(struct schedule *schedule, struct destination *to,
		     uint64_t until_ms, const char *reason, unsigned category);
/* It can take no more just now: none before until_ms, and the window stays as
 * it is. reason: borrows. */
void schedule_pause(struct schedule *schedule, struct destination *to,
		    uint64_t until_ms, const char *reason);
/* Those that are wanted are no longer down, and are treated as if they had
 * answered. Returns how many. */
unsigned schedule_revive(struct schedule *schedule,
			 bool (*is_wanted)(const struct destination *to,
					   const void *arg),
			 const void *arg);
/* Somebody knows better: it may be up again, one attempt will tell. */
void schedule_believe(struct schedule *schedule, struct destination *to);
/* It asked for less: half the window. */
void schedule_slow_down(struct schedule *schedule, struct destination *to);

void schedule_each_destination(const struct schedule *schedule,
			       void (*each)(const struct destination *to,
					    void *arg),
			       void *arg);

#endif
