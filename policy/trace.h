/* SPDX-License-Identifier: ISC */
/*
 * policy/trace.h - why a decision came out as it did
 *
 * The rules in the order they were tried, each with what it looked at and
 * its outcome. Fixed size, no allocation: it can be filled inside a pure
 * decision. Functions accept a NULL trace and then do nothing.
 */
#ifndef OSTLER_POLICY_TRACE_H
#define OSTLER_POLICY_TRACE_H

#include <stdbool.h>
#include <stddef.h>

#define TRACE_STEPS_MAX 32

struct trace_step {
	const char *rule;    /* static: "trusted-network" */
	bool is_match;	     /* the rule applied (it need not have decided) */
	char looked_at[128]; /* "client 192.0.2.7 in 127.0.0.0/8" */
	char outcome[128];   /* "no: not in any trusted network" */
};

struct trace {
	size_t count;
	struct trace_step steps[TRACE_STEPS_MAX];
	size_t advice_count;
	char advice[4][256]; /* what would change the answer */
};

void trace_init(struct trace *trace);

/* Adds a step; returns it for the two texts, NULL when trace is NULL/full. */
struct trace_step *trace_add(struct trace *trace, const char *rule,
			     bool is_match);

void trace_looked_at(struct trace_step *step, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void trace_outcome(struct trace_step *step, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void trace_advice(struct trace *trace, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#endif
