/* SPDX-License-Identifier: ISC */
/*
 * queue/bounce/rules.h - the rules that say what a reply means
 *
 * Reads rule files (the language is described at the top of
 * etc/bounces.rules) into one matcher. The first rule in file order that
 * applies wins, so the order of the file is the order of importance, and an
 * administrator's file in front of the shipped one overrules it.
 *
 * Built once, then read-only: any thread may ask.
 */
#ifndef OSTLER_QUEUE_BOUNCE_RULES_H
#define OSTLER_QUEUE_BOUNCE_RULES_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/err.h"
#include "queue/bounce/classify.h"
#include "queue/bounce/phrases.h"
#include "queue/bounce/normalize.h"

#define RULES_LINES_MAX 4096	/* rules of all files */
#define RULES_BYTES_MAX 1048576 /* of one file */

struct rules;

struct rules *rules_new(void);
void rules_free(struct rules *rules);

/*
 * Adds a file behind those added before.
 *
 * text  borrows, NUL-terminated, any bytes
 * name  for messages
 * Returns 0, or -EINVAL with "NAME:LINE: what" in err; then rules can only
 * be freed.
 */
int rules_add(struct rules *rules, const char *text, const char *name,
	      struct err *err);

/* Call once after the last rules_add. */
void rules_finish(struct rules *rules);

size_t rules_count(const struct rules *rules);

/* What else than the words a rule may ask for. */
struct rules_facts {
	enum smtp_phase phase; /* PHASE_NONE: unknown */
	const char *host;      /* who answered; "" when unknown */
};

struct rules_hit {
	enum category category;
	const char *id;		   /* lends: as long as the rules live */
	const char *advice;	   /* lends: advice id, NULL: the category's */
	struct phrases_span words; /* the deciding ones */
};

/* The first rule for the innermost quotation and the first for all of the
 * reply; they are the same when nothing is quoted. */
struct rules_result {
	bool has_inner, has_any;
	struct rules_hit inner, any;
};

void rules_apply(const struct rules *rules, const struct normal *reply,
		 const struct rules_facts *facts, struct rules_result *out);

#endif
