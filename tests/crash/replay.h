/* SPDX-License-Identifier: ISC */
/*
 * tests/crash/replay.h - what the parts of the replayer share
 *
 * promise.c keeps account of what was promised so far, verdict.c lets the
 * spool recover from a state and compares, replay.c chooses the moments.
 */
#ifndef OSTLER_TESTS_CRASH_REPLAY_H
#define OSTLER_TESTS_CRASH_REPLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/crash/model.h"
#include "tests/crash/trace.h"

#define FOUND_MAX 8192u

enum finding {
	LOST,	     /* acknowledged, not settled, and not there */
	GARBAGE,     /* there, and not what anybody submitted */
	RESURRECTED, /* there, though settled durably */
	DOUBLED,     /* one message under two ids, or with its successor */
	HALF,	     /* of what happened at once one part is there */
	STATE_LOST,  /* a promised state line is missing */
	ID_AGAIN,    /* an id is given out for the second time */
	NOT_OPENED,  /* the spool refuses to start */
	UNSTABLE,    /* a second recovery finds something else */
	ALARM,	     /* damage is reported where there is none */
	FINDINGS
};
extern const char *const finding_names[FINDINGS];

struct message {
	uint64_t number, id;
	uint64_t successor; /* 0: none */
	uint64_t replaces;  /* what it came instead of, 0: nothing */
	uint64_t with;	    /* whose state came with it, 0: nobody's */
	unsigned with_state;
	uint64_t states[TRACE_STATES / 64]; /* bits: those promised */
	bool is_submitted, is_acked, is_settling;
};

/* A DONE record in a batch that is not yet durable. */
struct done {
	uint64_t id, seq;
	const struct node *node;
};

struct found {
	uint64_t id, number, body_bytes;
	char *envelope, *states;
	uint64_t has[TRACE_STATES / 64]; /* bits: its states */
};

/* Numbers to slots; 0 is no key. */
struct table {
	uint64_t *keys;
	size_t *values;
	size_t size, count;
};

struct expected {
	struct message *messages;
	size_t count;
	struct table by_number;
	struct table gone; /* ids that are settled durably */
	struct done *dones;
	size_t done_count;
	uint64_t tag, max_id;
};

struct run {
	const uint8_t *trace;
	size_t trace_len;
	uint64_t events, moments;
	uint64_t seed;
	unsigned states_wanted, jobs, job;
	bool is_mutant;
	char dir[256];

	struct model *model;
	struct expected expected;

	/* the state at hand */
	uint64_t event;
	enum crash_kind kind;
	struct found found[FOUND_MAX];
	size_t found_count;
	bool is_loaded, is_closed;

	uint64_t states, opened;
	uint64_t findings[FINDINGS];
	unsigned told;
};

/* Says why and exits: it could not be done. */
void die(const char *why) __attribute__((noreturn));

/* ------------------------------------------------------------ promise.c */

size_t *table_find(const struct table *table, uint64_t key);
void table_set(struct table *table, uint64_t key, size_t value);

/* NULL: no mark told of it. */
struct message *find_message(struct expected *expected, uint64_t number);

/* What an event promises, and what it takes back. bytes: behind it, lent. */
void note_event(struct run *run, const struct trace_event *event,
		const uint8_t *bytes, uint64_t seq);

/* ------------------------------------------------------------ verdict.c */

/*
 * Lets the spool in run->dir recover, and counts what is wrong with it.
 *
 * is_twice  a second recovery has to find the same
 */
void judge(struct run *run, bool is_twice);

/* Gives back what the last state held. */
void forget_found(struct run *run);

#endif
