/* SPDX-License-Identifier: ISC */
/*
 * queue/route/sts_policy.h - the texts of MTA-STS, read and written
 *
 * A domain says by a TXT record that it has a policy, and in the policy which
 * hosts take its mail, over TLS with a valid certificate (RFC 8461, 3). Pure.
 */
#ifndef OSTLER_QUEUE_ROUTE_STS_POLICY_H
#define OSTLER_QUEUE_ROUTE_STS_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/str.h"

#define STS_ID_MAX	32	    /* RFC 8461, 3.1 */
#define STS_MX_MAX	200	    /* patterns that we take */
#define STS_TEXT_MAX	(64 * 1024) /* RFC 8461, 3.2 and 3.3 */
#define STS_MAX_AGE_MAX 31557600    /* seconds, a year: RFC 8461, 3.2 */

enum sts_mode { STS_NONE, STS_TESTING, STS_ENFORCE };
const char *sts_mode_name(enum sts_mode mode); /* "enforce", ... */

/* Immutable once made, shared by counting. */
struct sts_policy {
	unsigned refs;
	enum sts_mode mode;
	uint64_t max_age_s;
	char id[STS_ID_MAX + 1]; /* of the TXT record that it was read for */
	uint64_t fetched_s;	 /* wall clock */
	char **mx;		 /* owns; "mx.example.org" or "*.example.org" */
	size_t mx_count;
};

struct sts_policy *sts_policy_ref(struct sts_policy *policy);
void sts_policy_unref(struct sts_policy *policy); /* NULL is fine */

/*
 * Reads the body of a policy.
 *
 * text  borrows
 * out   a policy of one reference, without id and fetched_s
 * Returns NULL, or what is wrong (static text).
 */
const char *sts_policy_parse(struct str text, struct sts_policy **out);

/* Is this host one of those that the policy names? (RFC 8461, 4.1)
 * host: a normalised name */
bool sts_policy_names(const struct sts_policy *policy, const char *host);

/* Until then it counts, however DNS and the web server fare. */
uint64_t sts_policy_ends_s(const struct sts_policy *policy);

/*
 * The id of a TXT record "v=STSv1; id=...".
 *
 * Returns false for a record that is none, or a damaged one.
 */
bool sts_record_parse(struct str record, char id[STS_ID_MAX + 1]);

/* ------------------------------------------------- what outlives a restart */

/* Appends the policy of a domain as a block of lines. */
void sts_policy_format(const struct sts_policy *policy, const char *domain,
		       struct buf *out);

/*
 * Takes the first block off the text.
 *
 * domain  gets its name, at least 256 bytes
 * out     its policy; NULL when the block is damaged
 * Returns false when nothing is left.
 */
bool sts_policy_next(struct str *text, char *domain, size_t size,
		     struct sts_policy **out);

#endif
