/* SPDX-License-Identifier: ISC */
#include "queue/bounce/relay_denied.h"

#include <stdio.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/str.h"
#include "lib/units.h"
#include "queue/bounce/mime_text.h"

#define TELL_MAX 8192

static const struct {
	const char *name, *advice;
} causes[] = {
	[DENIED_UNKNOWN] = {"unknown", NULL},
	[DENIED_OUR_DATA] = {"our-data", "denied-our-data"},
	[DENIED_OLD_RECORD] = {"old-record", "denied-old-record"},
	[DENIED_BACKUP_MX] = {"backup-mx", "denied-backup-mx"},
	[DENIED_BEST_MX] = {"best-mx", "denied-best-mx"},
	[DENIED_NO_LOGIN] = {"no-login", "denied-no-login"},
	[DENIED_LOGIN] = {"login", "denied-login"},
	[DENIED_INNER] = {"inner", "denied-inner"},
};

const char *
denied_cause_name(enum denied_cause cause)
{
	return causes[cause].name;
}

const char *
denied_cause_advice(enum denied_cause cause)
{
	return causes[cause].advice;
}

bool
relay_is_denied(const struct outcome *outcome,
		const struct classification *classification,
		enum denied_hop hop)
{
	if (outcome->kind != OUTCOME_FAILED || outcome->cause != CAUSE_REPLY ||
	    classification->category != CATEGORY_RELAYING_ISSUES)
		return false;
	if (outcome->phase == PHASE_MAIL || outcome->phase == PHASE_RCPT)
		return true;
	/* whoever wants a login may say so as late as that */
	return hop != DENIED_HOP_MX &&
	       (outcome->phase == PHASE_DATA || outcome->phase == PHASE_BODY);
}

/* ------------------------------------------------------------- deciding */

static enum denied_cause
cause_of(const struct denied_facts *facts)
{
	switch (facts->hop) {
	case DENIED_HOP_SMARTHOST:
		return facts->has_login ? DENIED_LOGIN : DENIED_NO_LOGIN;
	case DENIED_HOP_INNER:
		return DENIED_INNER;
	case DENIED_HOP_MX:
		break;
	}
	if (facts->answer == DENIED_ANSWER_NONE)
		return DENIED_UNKNOWN;
	if (facts->answer == DENIED_ANSWER_OTHER && facts->was_cached)
		return DENIED_OUR_DATA;
	if (facts->answer == DENIED_ANSWER_OTHER || !facts->is_named)
		return DENIED_OLD_RECORD;
	return facts->preference > facts->best_preference ? DENIED_BACKUP_MX
							  : DENIED_BEST_MX;
}

/*
 * How long the resolver before us may go on giving what it gave: the longer
 * of the two sets. What lasts longer than the maximum is not waited for: the
 * author is better served by a report. A backup is asked once more in any
 * case, when its betters had the time to come back and to be tried again.
 * False: there is nothing to wait for.
 */
static bool
wait_s(const struct denied_facts *facts, enum denied_cause cause,
       uint64_t *out_s)
{
	const uint64_t sets[] = {facts->mx_left_s, facts->address_left_s};
	uint64_t most_s = 0;
	bool has_set = false;

	for (size_t i = 0; i < 2; i++) {
		if (sets[i] > DENIED_WAIT_MAX_S)
			continue;
		has_set = true;
		if (sets[i] > most_s)
			most_s = sets[i];
	}
	if (cause == DENIED_BACKUP_MX && !has_set)
		most_s = DENIED_WAIT_MAX_S;
	if (cause == DENIED_BACKUP_MX && most_s < DENIED_DOWN_S)
		most_s = DENIED_DOWN_S;
	*out_s = most_s + 1;
	return has_set || cause == DENIED_BACKUP_MX;
}

static void
decide_mx(const struct denied_facts *facts, struct denied_verdict *out)
{
	uint64_t delay_s;

	if (facts->answer == DENIED_ANSWER_NONE) {
		out->action = DENIED_SCHEDULE;
	} else if (facts->answer == DENIED_ANSWER_OTHER &&
		   facts->reroutes < DENIED_REROUTES_MAX) {
		out->action = DENIED_AT_ONCE;
		out->next_ms = facts->now_ms;
		out->reroutes = facts->reroutes + 1;
	} else if (facts->dns_after_ms != 0) {
		/* the second in it lies behind the old records' end */
		if (facts->asked_ms + 1000 >= facts->dns_after_ms)
			return;
		out->action = DENIED_WAIT;
		out->next_ms = facts->dns_after_ms > facts->now_ms
				       ? facts->dns_after_ms
				       : facts->now_ms + DENIED_AGAIN_MS;
	} else if (wait_s(facts, out->cause, &delay_s)) {
		out->action = DENIED_WAIT;
		out->next_ms = facts->now_ms + delay_s * 1000;
		out->dns_after_ms = out->next_ms;
	}
}

void
denied_decide(const struct denied_facts *facts, struct denied_verdict *out)
{
	memset(out, 0, sizeof(*out));
	out->cause = cause_of(facts);
	out->action = DENIED_FINAL;
	out->reroutes = facts->reroutes;
	out->dns_after_ms = facts->dns_after_ms;
	if (facts->hop == DENIED_HOP_MX)
		decide_mx(facts, out);
	else
		out->is_own_fault = true;
}

/* ------------------------------------------------------------ comparing */

static bool
prints_differ(uint64_t one, uint64_t other)
{
	return one != 0 && other != 0 && one != other;
}

/*
 * Other addresses alone mean nothing while the host that refused is still the
 * best, and there: large sites give a part of their addresses, each time
 * another.
 */
static bool
is_other(const struct mx_view *used, const struct mx_view *now)
{
	if (prints_differ(used->mx_print, now->mx_print))
		return true;
	if (now->is_named && now->preference == now->best_preference)
		return false;
	return prints_differ(used->v4_print, now->v4_print) ||
	       prints_differ(used->v6_print, now->v6_print);
}

static uint64_t
left_s(uint64_t expires_ms, uint64_t now_ms)
{
	return expires_ms > now_ms ? (expires_ms - now_ms + 999) / 1000 : 0;
}

void
denied_compare(const struct mx_view *used, const struct mx_view *now,
	       uint64_t boot_ms, struct denied_facts *facts)
{
	const struct mx_view *newest = used;
	uint64_t age_ms;

	/* what changed is to blame: an address in our cache did no harm when
	 * the MX set, asked for by the attempt, is what differs */
	facts->was_cached =
		now != NULL && prints_differ(used->mx_print, now->mx_print)
			? used->is_mx_cached
			: used->is_cached;
	facts->answer = DENIED_ANSWER_SAME;
	if (now == NULL)
		facts->answer = DENIED_ANSWER_NONE;
	else if (now->asked_ms >= used->asked_ms)
		newest = now;
	if (newest->mx_print == 0 || newest->is_stale)
		facts->answer = DENIED_ANSWER_NONE;
	else if (newest == now && is_other(used, now))
		facts->answer = DENIED_ANSWER_OTHER;
	facts->is_named = newest->is_named;
	facts->preference = newest->preference;
	facts->best_preference = newest->best_preference;
	facts->mx_left_s = left_s(newest->expires_ms, boot_ms);
	facts->address_left_s =
		newest->address_expires_ms != 0
			? left_s(newest->address_expires_ms, boot_ms)
			: UINT64_MAX;
	age_ms = boot_ms > newest->asked_ms ? boot_ms - newest->asked_ms : 0;
	facts->asked_ms = facts->now_ms > age_ms ? facts->now_ms - age_ms : 0;
}

/* ---------------------------------------------------------- in one note */

#define AGE_MAX 24

static const char *
duration(uint64_t ms, char to[AGE_MAX])
{
	return units_format_duration(ms / 1000, to, AGE_MAX);
}

/* What is told so far, and one thing more. */
static void
tell_then(const struct language *language, enum text text,
	  const struct text_value *values, struct buf *out)
{
	struct buf first, then;

	buf_init(&first, TELL_MAX);
	buf_init(&then, TELL_MAX);
	(void)buf_adds(&first, buf_text(out)); /* no longer than out */
	buf_clear(out);
	language_put(language, text, values, &then);
	language_put(language, TEXT_LOOKED_AND,
		     TEXT_VALUES({"first", buf_text(&first)},
				 {"then", buf_text(&then)}),
		     out);
	buf_done(&then);
	buf_done(&first);
}

static void
tell_by_mx(const struct denied_story *story, const struct language *language,
	   struct buf *out)
{
	const struct mx_view *mx = &story->mx;
	char preference[12], best[12], age[AGE_MAX], ttl[AGE_MAX];

	(void)snprintf(preference, sizeof(preference), "%d", mx->preference);
	(void)snprintf(best, sizeof(best), "%d", mx->best_preference);
	language_put(language,
		     mx->is_implicit ? TEXT_LOOKED_IMPLICIT : TEXT_LOOKED_MX,
		     TEXT_VALUES({"host", story->host},
				 {"domain", story->domain},
				 {"preference", preference},
				 {"age",
				  duration(story->boot_ms - mx->asked_ms, age)},
				 {"ttl", duration(mx->expires_ms - mx->asked_ms,
						  ttl)}),
		     out);
	if (story->cause == DENIED_BACKUP_MX)
		tell_then(language, TEXT_LOOKED_DOWN,
			  TEXT_VALUES({"host", mx->best}, {"preference", best}),
			  out);
	if (story->cause == DENIED_UNKNOWN)
		tell_then(language, TEXT_LOOKED_UNSURE, TEXT_NO_VALUES, out);
	else if (story->dns_now[0] == '\0')
		tell_then(language, TEXT_LOOKED_SAME, TEXT_NO_VALUES, out);
	else
		tell_then(language, TEXT_LOOKED_NOW,
			  TEXT_VALUES({"dns", story->dns_now}), out);
}

static void
tell_hop(const struct denied_story *story, const struct language *language,
	 enum text text, struct buf *out)
{
	language_put(language, text,
		     TEXT_VALUES({"host", story->host},
				 {"hop", story->hop_key}),
		     out);
}

static void
tell(const struct denied_story *story, const struct language *language,
     struct buf *out)
{
	switch (story->cause) {
	case DENIED_UNKNOWN:
	case DENIED_OUR_DATA:
	case DENIED_OLD_RECORD:
	case DENIED_BACKUP_MX:
	case DENIED_BEST_MX:
		tell_by_mx(story, language, out);
		break;
	case DENIED_NO_LOGIN:
		tell_hop(story, language, TEXT_LOOKED_NO_LOGIN, out);
		break;
	case DENIED_LOGIN:
		tell_hop(story, language, TEXT_LOOKED_LOGIN, out);
		break;
	case DENIED_INNER:
		tell_hop(story, language, TEXT_LOOKED_INNER, out);
		break;
	}
}

void
denied_tell(const struct denied_story *story, const struct language *language,
	    struct buf *out)
{
	struct buf told;

	buf_init(&told, TELL_MAX);
	tell(story, language, &told);
	mime_clean(str_of(buf_text(&told)), out);
	buf_done(&told);
}

void
denied_note(const struct denied_story *story, char to[DENIED_NOTE_MAX + 1])
{
	struct texts *texts = texts_builtin();
	struct buf out;

	buf_init(&out, TELL_MAX);
	tell(story, texts_language(texts, str_of("en")), &out);
	(void)str_copy(to, DENIED_NOTE_MAX + 1, str_of(buf_text(&out)));
	buf_done(&out);
	texts_unref(texts);
}
