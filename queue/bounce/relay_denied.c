/* SPDX-License-Identifier: ISC */
#include "queue/bounce/relay_denied.h"

#include <stdio.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/str.h"
#include "lib/units.h"

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

static void
put_duration(struct buf *out, uint64_t ms)
{
	char text[24];

	(void)buf_adds(out,
		       units_format_duration(ms / 1000, text, sizeof(text)));
}

static void
put_by_mx(const struct denied_story *story, struct buf *out)
{
	const struct mx_view *mx = &story->outcome->mx;

	if (mx->is_implicit)
		(void)buf_addf(out, "%s has no MX and is its own host",
			       story->domain);
	else
		(void)buf_addf(out, "%s is an MX of %s with preference %d",
			       story->outcome->host, story->domain,
			       mx->preference);
	(void)buf_adds(out, " by an answer of ");
	put_duration(out, story->boot_ms - mx->asked_ms);
	(void)buf_adds(out, " ago, TTL ");
	put_duration(out, mx->expires_ms - mx->asked_ms);
	if (story->verdict->cause == DENIED_BACKUP_MX)
		(void)buf_addf(out,
			       "; %s with preference %d could not be reached",
			       mx->best, mx->best_preference);
	(void)buf_adds(out, "; ");
	if (story->verdict->cause == DENIED_UNKNOWN)
		(void)buf_adds(out, "DNS has no answer that can be relied on "
				    "now");
	else if (story->dns_now[0] == '\0')
		(void)buf_adds(out, "no later answer of DNS differs");
	else
		(void)buf_addf(out, "DNS says now: %s", story->dns_now);
}

void
denied_note(const struct denied_story *story, char to[DENIED_NOTE_MAX + 1])
{
	const char *host = story->outcome->host;
	struct buf out;

	buf_init(&out, 4096);
	switch (story->verdict->cause) {
	case DENIED_UNKNOWN:
	case DENIED_OUR_DATA:
	case DENIED_OLD_RECORD:
	case DENIED_BACKUP_MX:
	case DENIED_BEST_MX:
		put_by_mx(story, &out);
		break;
	case DENIED_NO_LOGIN:
		(void)buf_addf(&out,
			       "%s is the smarthost of %s, which has no "
			       "user to log in with",
			       host, story->hop_key);
		break;
	case DENIED_LOGIN:
		(void)buf_addf(&out,
			       "%s is the smarthost of %s; it took our "
			       "login and still refuses",
			       host, story->hop_key);
		break;
	case DENIED_INNER:
		(void)buf_addf(&out,
			       "%s is where %s delivers, and does not "
			       "take mail for it from us",
			       host, story->hop_key);
		break;
	}
	(void)str_copy(to, DENIED_NOTE_MAX + 1, str_of(buf_text(&out)));
	buf_done(&out);
}
