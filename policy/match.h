/* SPDX-License-Identifier: ISC */
/*
 * policy/match.h - how addresses are compared with what tables say
 *
 * Pure. Local parts are compared without quotes and in ASCII lower case
 * (RFC 5321, 2.4, leaves that to the host that owns them), first whole, then
 * without the part behind the delimiter.
 */
#ifndef OSTLER_POLICY_MATCH_H
#define OSTLER_POLICY_MATCH_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/addr.h"
#include "lib/str.h"

/* Room for the plain form of any local part. */
#define MATCH_LOCAL_SIZE (ADDR_MAX + 1)

/* The local part as tables hold it: plain, lower case. Returns to. */
char *match_local(const struct addr *addr, char to[MATCH_LOCAL_SIZE]);

/*
 * Cuts a match_local text at the delimiter; one in front is part of the name.
 *
 * delimiter  one character, or "" for none
 * Returns true when something was cut.
 */
bool match_cut(char *local, const char *delimiter);

/* "postmaster" in any case, without a delimiter part (RFC 5321, 4.5.1). */
bool match_is_postmaster(const struct addr *addr);

/* Does the local part smuggle a further address: %, !, @ (RFC 5321, 3.6.1,
 * C)? */
bool match_is_source_route(const struct addr *addr);

/* Same domain and, by match_local, the same local part. */
bool match_same(const struct addr *a, const struct addr *b);

/* A set of texts: add all, sort once, then ask. */
struct names {
	char **at; /* owns each; sorted by names_sort, without repeats */
	size_t count;
};

void names_add(struct names *names, const char *text);
void names_sort(struct names *names);
bool names_has(const struct names *names, const char *text);
void names_done(struct names *names);

#endif
