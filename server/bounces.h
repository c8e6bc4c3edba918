/* SPDX-License-Identifier: ISC */
/*
 * server/bounces.h - questions to the history of failures
 *
 * Lines of SPOOL/bounces in, rows for ostlerctl out. Pure; any thread.
 */
#ifndef OSTLER_SERVER_BOUNCES_H
#define OSTLER_SERVER_BOUNCES_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/str.h"

#define BOUNCES_TOP	  100 /* rows of a tally */
#define BOUNCES_LIMIT_MAX 10000

struct bounces_query {
	/* NULL: any. Ignore ASCII case. "-" as host: none was reached. */
	const char *category, *domain, *host;
	uint64_t since_ms, until_ms; /* wall clock; [since, until) */
	size_t limit;		     /* failures in words, the newest */
	bool is_dead; /* not what failed: addresses that are gone for good */
};

struct bounces;

/* query: copied; its strings are lent for the object's life. */
struct bounces *bounces_new(const struct bounces_query *query);
void bounces_free(struct bounces *bounces); /* NULL is fine */

/* The next line, oldest first, with or without its newline. */
void bounces_line(struct bounces *bounces, struct str line);

/*
 * The rows: {"kind": "total" | "category" | "domain" | "host", "name",
 * "count", "last_ms"}, then {"kind": "failure", ...}, oldest first; or
 * {"kind": "dead", ...}, the latest first. The caller owns it.
 */
json_t *bounces_rows(struct bounces *bounces);

#endif
