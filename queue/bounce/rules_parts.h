/* SPDX-License-Identifier: ISC */
/*
 * queue/bounce/rules_parts.h - what rules are made of, for two files alone
 *
 *	rules_read.c	makes them of a file
 *	rules.c		finds the one that applies to a reply
 */
#ifndef OSTLER_QUEUE_BOUNCE_RULES_PARTS_H
#define OSTLER_QUEUE_BOUNCE_RULES_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "queue/bounce/classify.h"
#include "queue/bounce/phrases.h"

enum condition_kind {
	CONDITION_CODE,
	CONDITION_STATUS,
	CONDITION_PHASE,
	CONDITION_HOST
};

/* One alternative of a condition; those of one kind are alternatives, kinds
 * must all hold. */
struct condition {
	enum condition_kind kind;
	bool is_not;
	char text[64]; /* "4xx", "x.7.1", host suffix */
	enum smtp_phase phase;
};

struct rule {
	char *id;
	enum category category;
	const char *advice; /* static */
	bool is_whole;	    /* quotations do not matter */
	size_t first_condition, condition_count;
	uint8_t needed; /* parts that must be found, a bit each */
};

/* What a sequence stands for. */
struct meaning {
	uint32_t rule;
	uint8_t part; /* a bit */
	bool is_not;
};

struct rules {
	struct phrases *phrases;
	struct rule *rules;
	size_t count;
	struct condition *conditions;
	size_t condition_count;
	struct meaning *meanings; /* per sequence */
};

#endif
