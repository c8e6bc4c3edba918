/* SPDX-License-Identifier: ISC */
#include "queue/settle.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "lib/str.h"
#include "queue/deliver/pace.h"
#include "queue/digest.h"

static bool
is_null_sender(const struct envelope *envelope)
{
	return envelope->sender[0] == '\0';
}

static bool
is_digest(const struct envelope *envelope)
{
	return is_null_sender(envelope) && envelope->listener != NULL &&
	       strcmp(envelope->listener, DIGEST_LISTENER) == 0;
}

static uint64_t
expire_s(const struct settle_rules *rules, const struct envelope *envelope)
{
	return is_null_sender(envelope) ? rules->bounce_expire_s
					: rules->retry.expire_s;
}

uint64_t
settle_expiry_ms(const struct settle_rules *rules,
		 const struct envelope *envelope)
{
	return envelope->received_ms + expire_s(rules, envelope) * 1000;
}

/* RFC 3461, 4.1: without NOTIFY a failure is reported, and a delay may be. */
static bool
wants_report(const struct envelope *envelope, const struct recipient *recipient,
	     enum notify what)
{
	if (is_null_sender(envelope))
		return false;
	if (recipient->notify == NOTIFY_DEFAULT)
		return what != NOTIFY_SUCCESS;
	return (recipient->notify & (unsigned)what) != 0;
}

bool
settle_awaits_warning(const struct envelope *envelope,
		      const struct recipient *recipient)
{
	return !recipient->is_warned &&
	       wants_report(envelope, recipient, NOTIFY_DELAY);
}

/* A fault of ours that may be repaired before the sender has to hear of it. */
static bool
has_grace(const struct settle_rules *rules, const struct settle_input *input)
{
	const struct outcome *outcome = input->outcome;

	/* RFC 3463, 3.2: x.1.n is about this one address */
	return outcome->is_own_fault &&
	       (outcome->cause != CAUSE_REPLY || outcome->status.class == 0 ||
		outcome->status.subject != 1) &&
	       input->now_ms <
		       input->envelope->received_ms + rules->grace_s * 1000;
}

bool
settle_is_past_grace(const struct settle_rules *rules,
		     const struct outcome *outcome, uint64_t received_ms,
		     uint64_t now_ms)
{
	bool is_lasting = outcome->cause == CAUSE_AUTH_FAILED ||
			  outcome->cause == CAUSE_AUTH_NOT_OFFERED ||
			  outcome->cause == CAUSE_CONFIGURATION;

	/* waiting mends nothing: who sent it hears of it in time to act */
	return outcome->is_own_fault && is_lasting &&
	       now_ms >= received_ms + rules->grace_s * 1000;
}

static void
decide_failed(const struct settle_input *input, enum recipient_state state,
	      struct settlement *out)
{
	const struct recipient *recipient =
		&input->envelope->recipients[input->recipient];

	out->state = state;
	out->report = DSN_FAILED;
	out->has_report =
		wants_report(input->envelope, recipient, NOTIFY_FAILURE);
	if (is_digest(input->envelope))
		out->digest = DIGEST_LOST;
	else if (is_null_sender(input->envelope))
		out->digest = DIGEST_FAILURE;
}

/* Queued until then, or until the warning is due. */
static void
defer_until(const struct settle_rules *rules, const struct settle_input *input,
	    uint64_t next_ms, struct settlement *out)
{
	const struct envelope *envelope = input->envelope;
	const struct recipient *recipient =
		&envelope->recipients[input->recipient];
	uint64_t warn_ms = envelope->received_ms + rules->warn_s * 1000;
	bool wants_warning = rules->warn_s != 0 &&
			     settle_awaits_warning(envelope, recipient);

	out->next_try_ms = next_ms;
	out->state = RCPT_QUEUED;
	if (!wants_warning)
		return;
	if (input->now_ms >= warn_ms) {
		out->report = DSN_DELAYED;
		out->has_report = true;
	} else if (out->next_try_ms > warn_ms) {
		/* the warning tells the result of an attempt of its own */
		out->next_try_ms = warn_ms;
	}
}

static void
decide_deferred(const struct settle_rules *rules,
		const struct settle_input *input, struct settlement *out)
{
	const struct envelope *envelope = input->envelope;
	const struct recipient *recipient =
		&envelope->recipients[input->recipient];
	struct retry_plan plan = rules->retry;
	uint64_t next_ms;

	plan.expire_s = expire_s(rules, envelope);
	next_ms =
		retry_next(&plan, recipient->attempts + 1,
			   envelope->received_ms, input->now_ms, input->random);
	if (next_ms == 0)
		decide_failed(input, RCPT_EXPIRED, out);
	else
		defer_until(rules, input, next_ms, out);
}

static void
decide_refused(const struct settle_rules *rules,
	       const struct settle_input *input, struct settlement *out)
{
	if (has_grace(rules, input))
		decide_deferred(rules, input, out);
	else
		decide_failed(input, RCPT_FAILED, out);
}

/* It may be asked for once more; not beyond the message's time. */
static void
decide_denied(const struct settle_rules *rules,
	      const struct settle_input *input, struct settlement *out)
{
	const struct denied_verdict *denied = input->denied;
	uint64_t expiry_ms = settle_expiry_ms(rules, input->envelope);

	out->is_denied = true;
	out->denied = *denied;
	switch (denied->action) {
	case DENIED_FINAL:
		decide_refused(rules, input, out);
		break;
	case DENIED_SCHEDULE:
		decide_deferred(rules, input, out);
		break;
	case DENIED_AT_ONCE:
	case DENIED_WAIT:
		if (input->now_ms >= expiry_ms)
			decide_failed(input, RCPT_FAILED, out);
		else
			defer_until(rules, input,
				    denied->next_ms < expiry_ms
					    ? denied->next_ms
					    : expiry_ms,
				    out);
		break;
	}
}

static void
decide_delivered(const struct settle_input *input, struct settlement *out)
{
	const struct recipient *recipient =
		&input->envelope->recipients[input->recipient];

	out->state = RCPT_DELIVERED;
	if (is_digest(input->envelope))
		out->digest = DIGEST_DELIVERED;
	out->report = input->is_local ? DSN_DELIVERED : DSN_RELAYED;
	if (wants_report(input->envelope, recipient, NOTIFY_SUCCESS)) {
		/* else the next hop reports (RFC 3461, 5.2.2) */
		out->has_report = !input->outcome->has_dsn;
		return;
	}
	/* Who was told of a delay is told of its end, unless he said what he
	 * wants to hear. */
	out->is_late = recipient->is_warned &&
		       recipient->notify == NOTIFY_DEFAULT &&
		       !is_null_sender(input->envelope);
	out->has_report = out->is_late;
}

static void
settlement_init(const struct settle_input *input, struct settlement *out)
{
	memset(out, 0, sizeof(*out));
	out->recipient = input->recipient;
	out->outcome = out->final = input->outcome;
}

void
settle_decide(const struct settle_rules *rules,
	      const struct settle_input *input, struct settlement *out)
{
	settlement_init(input, out);
	switch (input->outcome->kind) {
	case OUTCOME_DELIVERED:
		decide_delivered(input, out);
		break;
	case OUTCOME_DEFERRED:
		if (settle_is_past_grace(rules, input->outcome,
					 input->envelope->received_ms,
					 input->now_ms))
			decide_failed(input, RCPT_FAILED, out);
		else
			decide_deferred(rules, input, out);
		break;
	case OUTCOME_FAILED:
		if (input->denied != NULL)
			decide_denied(rules, input, out);
		else
			decide_refused(rules, input, out);
		break;
	}
}

void
settle_operator(const struct settle_input *input, struct settlement *out)
{
	settlement_init(input, out);
	decide_failed(input, RCPT_FAILED, out);
}

void
settle_words(const struct outcome *outcome, char *to, size_t size)
{
	char enhanced[12];

	if (outcome->reply[0] != '\0') {
		(void)str_copy(to, size, str_of(outcome->reply));
		return;
	}
	(void)status_enhanced(&outcome->status, enhanced);
	(void)snprintf(to, size, "%s%s%s", enhanced,
		       enhanced[0] != '\0' ? " " : "", outcome->status.text);
}

static void
field_set(char **field, const char *text)
{
	free(*field);
	*field = text[0] != '\0' ? mem_strdup(text) : NULL;
}

void
settle_each_time(const struct recipient *recipient,
		 const struct classification *last,
		 struct settlement *settlement)
{
	const char *category = category_name(last->category);

	if (recipient->attempts == 0 || recipient->category == NULL ||
	    recipient_mixes(recipient, recipient->attempts + 1, category))
		return;
	settlement->is_each_time = true;
	/* what they have in common is the category, no more */
	settlement->each_time = *last;
	settlement->each_time.advice = NULL;
}

void
settle_apply(const struct settlement *settlement, struct recipient *recipient)
{
	const struct outcome *outcome = settlement->outcome;
	char words[OUTCOME_REPLY_MAX];

	if (outcome->cause != CAUSE_OPERATOR) {
		recipient->is_mixed = recipient_mixes(
			recipient, recipient->attempts + 1,
			settlement->state != RCPT_QUEUED
				? ""
				: category_name(
					  settlement->classification.category));
		recipient->attempts++;
	}
	recipient->state = settlement->state;
	recipient->next_try_ms = settlement->next_try_ms;
	settle_words(outcome, words, sizeof(words));
	field_set(&recipient->last_reply, words);
	field_set(&recipient->last_host, outcome->host);
	field_set(&recipient->category,
		  settlement->state == RCPT_DELIVERED
			  ? ""
			  : category_name(settlement->classification.category));
	if (settlement->has_report && settlement->report == DSN_DELAYED)
		recipient->is_warned = true;
	if (settlement->is_denied) {
		recipient->reroutes = settlement->denied.reroutes;
		recipient->dns_after_ms = settlement->denied.dns_after_ms;
	}
}

/* Says it that nothing else sent there could fare better now? */
static bool
is_down(const struct outcome *outcome)
{
	switch (outcome->cause) {
	case CAUSE_DNS_FAILED:
	case CAUSE_DNS_BOGUS:
	case CAUSE_CONNECT_REFUSED:
	case CAUSE_CONNECT_UNREACHABLE:
	case CAUSE_CONNECT_TIMEOUT:
	case CAUSE_TLS_REQUIRED:
	case CAUSE_TLS_FAILED:
	case CAUSE_DANE_LOOKUP:
	case CAUSE_DANE_FAILED:
	case CAUSE_STS_FAILED:
	case CAUSE_TLS_POLICY:
	case CAUSE_AUTH_NOT_OFFERED:
	case CAUSE_AUTH_FAILED:
	case CAUSE_CONFIGURATION:
		return true;
	case CAUSE_CONNECTION_LOST:
	case CAUSE_REPLY_TIMEOUT:
	case CAUSE_REPLY_GARBLED:
		/* after EHLO it may be this message's fault */
		return outcome->phase <= PHASE_GREETING;
	case CAUSE_REPLY:
	case CAUSE_HOST_BUSY:
	case CAUSE_DNS_NO_DOMAIN:
	case CAUSE_DNS_NO_ADDRESS:
	case CAUSE_DNS_NULL_MX:
	case CAUSE_DNS_BAD_MX:
	case CAUSE_SELF_IN_MX:
	case CAUSE_PRIVATE_TARGET:
	case CAUSE_LOOP:
	case CAUSE_NO_8BITMIME:
	case CAUSE_NO_SMTPUTF8:
	case CAUSE_TOO_BIG:
	case CAUSE_LOCAL_QUOTA:
	case CAUSE_LOCAL_FILE:
	case CAUSE_LOCAL_ADDRESS:
	case CAUSE_SPOOL:
	case CAUSE_EXPIRED:
	case CAUSE_OPERATOR:
		break;
	}
	return false;
}

enum settle_lesson
settle_lesson(const struct outcome *outcomes, size_t count)
{
	enum settle_lesson lesson = LESSON_NONE;

	for (size_t i = 0; i < count; i++) {
		const struct outcome *outcome = &outcomes[i];

		if (outcome->kind == OUTCOME_DELIVERED)
			return LESSON_ANSWERED;
		if (outcome->cause == CAUSE_REPLY) {
			if (pace_is_asked(outcome))
				lesson = LESSON_SLOW_DOWN;
			else if (lesson != LESSON_SLOW_DOWN)
				lesson = LESSON_ANSWERED;
		} else if (lesson == LESSON_NONE && is_down(outcome) &&
			   (outcome->kind == OUTCOME_DEFERRED ||
			    outcome->is_own_fault)) {
			lesson = LESSON_DOWN;
		}
	}
	return lesson;
}
