/* SPDX-License-Identifier: ISC */
#include "queue/deliver/tally.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"

enum tally_state {
	TALLY_UNHEARD, /* no host spoke about it */
	TALLY_PUT_OFF, /* one did, but another may take it */
	TALLY_SETTLED,
};

void
tally_init(struct tally *tally, size_t count)
{
	tally->count = tally->left = count;
	tally->outcomes = NULL;
	tally->states = mem_zalloc(count);
	tally->has_failure = false;
}

void
tally_done(struct tally *tally)
{
	free(tally->outcomes);
	free(tally->states);
	tally->outcomes = NULL;
	tally->states = NULL;
}

/* They are large: not before a host spoke. */
static void
tally_make_room(struct tally *tally)
{
	if (tally->outcomes == NULL)
		tally->outcomes =
			mem_zalloc(tally->count * sizeof(*tally->outcomes));
}

/* A host's own word tells more than silence, and silence more than DNS. */
static int
weight(const struct outcome *outcome)
{
	/* one host that may take it later is reason enough to wait */
	int weight = outcome->kind == OUTCOME_DEFERRED ? 100 : 0;

	if (outcome->phase >= PHASE_AUTH)
		return weight + 4;
	if (outcome->cause == CAUSE_REPLY || outcome->phase >= PHASE_STARTTLS)
		return weight + 3;
	if (outcome->phase >= PHASE_GREETING)
		return weight + 2;
	/* a host that will take it soon, unlike those that are down */
	if (outcome->cause == CAUSE_HOST_BUSY)
		return weight + 2;
	return outcome->phase == PHASE_CONNECT ? weight + 1 : weight;
}

size_t
tally_left(const struct tally *tally, size_t *to)
{
	size_t found = 0;

	for (size_t i = 0; i < tally->count; i++)
		if (tally->states[i] != TALLY_SETTLED)
			to[found++] = i;
	return found;
}

void
tally_fail(struct tally *tally, const struct outcome *outcome)
{
	if (tally->has_failure && weight(&tally->failure) >= weight(outcome))
		return;
	tally->failure = *outcome;
	tally->has_failure = true;
}

static void
tally_settle(struct tally *tally, size_t i, const struct outcome *outcome)
{
	tally->outcomes[i] = *outcome;
	tally->states[i] = TALLY_SETTLED;
	tally->left--;
}

/*
 * May another host be asked for this recipient at once? Not when this one may
 * have the message all the same: its reply to the dot did not come, and a
 * second copy would.
 */
static bool
may_go_on(const struct outcome *outcome)
{
	switch (outcome->cause) {
	case CAUSE_REPLY:
		return true;
	case CAUSE_CONNECTION_LOST:
	case CAUSE_REPLY_TIMEOUT:
	case CAUSE_REPLY_GARBLED:
		return outcome->phase < PHASE_BODY;
	case CAUSE_DNS_NO_DOMAIN:
	case CAUSE_DNS_NO_ADDRESS:
	case CAUSE_DNS_NULL_MX:
	case CAUSE_DNS_BAD_MX:
	case CAUSE_DNS_FAILED:
	case CAUSE_DNS_BOGUS:
	case CAUSE_SELF_IN_MX:
	case CAUSE_PRIVATE_TARGET:
	case CAUSE_LOOP:
	case CAUSE_CONNECT_REFUSED:
	case CAUSE_CONNECT_UNREACHABLE:
	case CAUSE_CONNECT_TIMEOUT:
	case CAUSE_HOST_BUSY:
	case CAUSE_TLS_REQUIRED:
	case CAUSE_TLS_FAILED:
	case CAUSE_DANE_LOOKUP:
	case CAUSE_DANE_FAILED:
	case CAUSE_STS_FAILED:
	case CAUSE_TLS_POLICY:
	case CAUSE_AUTH_NOT_OFFERED:
	case CAUSE_AUTH_FAILED:
	case CAUSE_NO_8BITMIME:
	case CAUSE_NO_SMTPUTF8:
	case CAUSE_TOO_BIG:
	case CAUSE_LOCAL_QUOTA:
	case CAUSE_LOCAL_FILE:
	case CAUSE_LOCAL_ADDRESS:
	case CAUSE_SPOOL:
	case CAUSE_EXPIRED:
	case CAUSE_OPERATOR:
	case CAUSE_CONFIGURATION:
		break;
	}
	return false; /* it is about us, or about the message */
}

void
tally_say(struct tally *tally, size_t i, const struct outcome *outcome)
{
	assert(tally->states[i] != TALLY_SETTLED);
	tally_make_room(tally);
	if (outcome->kind == OUTCOME_DEFERRED && may_go_on(outcome)) {
		if (tally->states[i] == TALLY_UNHEARD)
			tally->outcomes[i] = *outcome;
		tally->states[i] = TALLY_PUT_OFF;
	} else if (outcome->kind == OUTCOME_FAILED &&
		   tally->states[i] == TALLY_PUT_OFF) {
		/* a backup that does not know its domain must not return what
		 * the better host only asked us to bring later */
		tally->states[i] = TALLY_SETTLED;
		tally->left--;
	} else {
		tally_settle(tally, i, outcome);
	}
}

struct outcome *
tally_fill(struct tally *tally)
{
	tally_make_room(tally);
	memset(tally->states, TALLY_SETTLED, tally->count);
	tally->left = 0;
	return tally->outcomes;
}

void
tally_end(struct tally *tally)
{
	tally_make_room(tally);
	for (size_t i = 0; i < tally->count; i++) {
		bool is_heard = tally->states[i] == TALLY_PUT_OFF;

		if (tally->states[i] == TALLY_SETTLED)
			continue;
		assert(is_heard || tally->has_failure);
		if (!is_heard ||
		    (tally->has_failure &&
		     weight(&tally->failure) > weight(&tally->outcomes[i])))
			tally->outcomes[i] = tally->failure;
		tally->states[i] = TALLY_SETTLED;
	}
	tally->left = 0;
}
