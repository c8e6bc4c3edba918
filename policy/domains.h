/* SPDX-License-Identifier: ISC */
/*
 * policy/domains.h - the local-domain table
 *
 * A recipient's row is the one of its exact domain, else the closest parent
 * with `subdomains`, else "*". Aliases are followed when the table is built,
 * so that a lookup never walks and never loops.
 */
#ifndef OSTLER_POLICY_DOMAINS_H
#define OSTLER_POLICY_DOMAINS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/addr.h"
#include "lib/str.h"
#include "policy/match.h"
#include "policy/policy.h"

/* struct addr in few bytes; text is shared by copies of it. */
struct mailbox {
	const char *text;
	uint32_t hash; /* of what match_same compares: differs, then so do they
			*/
	uint16_t local_len, domain_len;
	bool is_utf8;
};

enum alias_state {
	ALIAS_WRITTEN, /* targets as the file has them */
	ALIAS_OPEN,    /* being followed: meeting it again is a loop */
	ALIAS_FLAT,    /* targets are final recipients, each once */
};

struct alias {
	char *key; /* match_local form; "*" */
	struct mailbox *targets;
	size_t count;
	const char *at; /* lends: "FILE:LINE" */
	enum alias_state state;
	bool is_broken; /* a target was reported: the policy is never used */
};

struct domain_row {
	char *name; /* normalised, or "*" */
	enum hop_kind kind;
	struct hop_target target; /* HOP_SMTP, HOP_LMTP */
	char *maildir;		  /* HOP_MAILDIR */
	bool is_backup;		  /* deliver = mx */
	bool has_subdomains;
	char delimiter[2];
	bool has_recipients;	 /* false: all local parts are taken */
	struct names recipients; /* match_local form */
	struct names targets;	 /* of its own aliases: mailboxes, too */
	struct alias *aliases;	 /* sorted by key, without "*" */
	size_t alias_count;
	struct alias *catch_all; /* NULL: none */
	const char *at;		 /* lends: "FILE:LINE" */
	const char *recipients_at;
};

struct domains {
	struct domain_row **rows; /* sorted by name; "*" is not among them */
	size_t count;
	struct domain_row *any; /* "*", or NULL */
};

/* domain  borrows; normalised. Returns NULL when it is not local. */
const struct domain_row *domains_find(const struct domains *domains,
				      struct str domain);

/* The alias that a recipient of this row has: by name, by name without the
 * delimiter part, or the catch-all; NULL when it is a mailbox (or unknown). */
struct alias *domain_row_alias(const struct domain_row *row,
			       const struct addr *recipient);

/* Does the row take this recipient, as a mailbox or by an alias? */
bool domain_row_knows(const struct domain_row *row,
		      const struct addr *recipient);

/* deliver = maildir, and this local part cannot name a folder */
bool domain_row_cannot_store(const struct domain_row *row,
			     const struct addr *recipient);

struct addr mailbox_addr(const struct mailbox *mailbox);

void domain_row_free(struct domain_row *row); /* NULL is fine */

#endif
