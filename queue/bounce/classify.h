/* SPDX-License-Identifier: ISC */
/*
 * queue/bounce/classify.h - which of sixteen kinds of failure was it
 *
 * Failures of our own have a typed cause and a fixed category. Remote replies
 * are matched against rules that are data (etc/bounces.rules), then by their
 * enhanced code, then by their three-digit code. Pure once rules are loaded.
 */
#ifndef OSTLER_QUEUE_BOUNCE_CLASSIFY_H
#define OSTLER_QUEUE_BOUNCE_CLASSIFY_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/err.h"
#include "queue/deliver/outcome.h"

enum category {
	CATEGORY_OTHER,
	CATEGORY_BAD_CONFIGURATION,
	CATEGORY_BAD_CONNECTION,
	CATEGORY_BAD_DOMAIN,
	CATEGORY_BAD_MAILBOX,
	CATEGORY_CONTENT_RELATED,
	CATEGORY_INACTIVE_MAILBOX,
	CATEGORY_MESSAGE_EXPIRED,
	CATEGORY_NO_ANSWER_FROM_HOST,
	CATEGORY_POLICY_RELATED,
	CATEGORY_PROTOCOL_ERRORS,
	CATEGORY_QUOTA_ISSUES,
	CATEGORY_RELAYING_ISSUES,
	CATEGORY_ROUTING_ERRORS,
	CATEGORY_SPAM_RELATED,
	CATEGORY_VIRUS_RELATED,
	CATEGORY_COUNT
};
const char *category_name(enum category category); /* "bad-mailbox" */
bool category_parse(const char *name, enum category *out);

struct classifier; /* loaded rules; immutable, shared by counting */

/*
 * Loads rules: `own` (an admin's, may be NULL) before the shipped ones.
 *
 * text of both: borrows, NUL-terminated file contents; the names are for
 * messages. Returns 0, or -EINVAL with "FILE:LINE: what".
 */
int classifier_load(const char *own, const char *own_name, const char *shipped,
		    const char *shipped_name, struct classifier **out,
		    struct err *err);
/*
 * The rules built into the program (a copy of etc/bounces.rules), read at
 * the first call. Shares: classifier_unref gives it back. Any thread.
 */
struct classifier *classifier_builtin(void);
struct classifier *classifier_ref(struct classifier *classifier);
void classifier_unref(struct classifier *classifier);

#define CLASSIFY_RULE_MAX   48
#define CLASSIFY_WORDS_MAX  80
#define CLASSIFY_DETAIL_MAX 80

struct classification {
	enum category category;
	/* Rule id, "code-5.1.1", "code-550", "phase-rcpt",
	 * "cause-dns-no-domain", "none". A copy: rules may be reloaded. */
	char rule[CLASSIFY_RULE_MAX + 1];
	const char *advice; /* static; names a text more exact than the
			       category's, or NULL */
	/* The words that decided, folded; "" when no rule did. */
	char words[CLASSIFY_WORDS_MAX + 1];
	/* What the advice refers to: the blocklist's host, the size limit in
	 * the server's words; "" for nothing. Printable ASCII. */
	char detail[CLASSIFY_DETAIL_MAX + 1];
};

/*
 * Classifies a reply text as a person pastes it or a server sent it.
 *
 * reply  borrows, NUL-terminated, may have several lines and codes in front
 * phase  PHASE_NONE when unknown
 */
void classify_reply(const struct classifier *classifier, const char *reply,
		    enum smtp_phase phase, struct classification *out);

/* Classifies what a delivery attempt ended with. */
void classify_outcome(const struct classifier *classifier,
		      const struct outcome *outcome,
		      struct classification *out);

/* Rules of both files together. */
size_t classifier_rule_count(const struct classifier *classifier);

#endif
