/* SPDX-License-Identifier: ISC */
/*
 * Between an attempt and its settlement: a host refused to relay, and DNS is
 * asked before that is believed. What follows from the answer is decided in
 * queue/bounce/relay_denied.c.
 */
#include <stdio.h>
#include <string.h>

#include "lib/mem.h"
#include "lib/str.h"
#include "lib/units.h"
#include "queue/bounce/advice.h"
#include "queue/core.h"

enum denied_hop
denied_hop_of(const struct next_hop *hop)
{
	if (hop->kind == HOP_MX)
		return DENIED_HOP_MX;
	return hop->is_local ? DENIED_HOP_INNER : DENIED_HOP_SMARTHOST;
}

bool
run_is_denied(const struct run *run, const struct next_hop *hop,
	      const struct outcome *outcome)
{
	struct classification class;

	if (outcome->kind != OUTCOME_FAILED || outcome->cause != CAUSE_REPLY)
		return false; /* most are not */
	/* an address literal has no records that could be wrong */
	if (hop->kind == HOP_MX && outcome->mx.asked_ms == 0)
		return false;
	classify_outcome(run->queue->classifier, outcome, &class);
	return relay_is_denied(outcome, &class, denied_hop_of(hop));
}

static void
on_dns_now(void *owner, struct route *route)
{
	struct run *run = owner;

	run->reask = NULL;
	if (route != NULL)
		run->dns_now = route_ref(route);
	run_settle(run, run->outcomes);
}

void
run_hurry(struct run *run)
{
	reask_cancel(run->reask);
	run->reask = NULL;
	run_settle(run, run->outcomes);
}

/* Refused for the name of our address: ours to repair, so it gets grace. */
static bool
is_our_name(const struct run *run, const struct outcome *outcome)
{
	struct classification class;

	if (outcome->kind != OUTCOME_FAILED || outcome->cause != CAUSE_REPLY)
		return false; /* most are not */
	classify_outcome(run->queue->classifier, outcome, &class);
	return fault_of(outcome, &class) == FAULT_NAME;
}

static const struct outcome *
mark_own_faults(struct run *run, const struct outcome *outcomes)
{
	for (size_t i = 0; i < run->count; i++) {
		if (!is_our_name(run, &outcomes[i]))
			continue;
		if (outcomes != run->outcomes) {
			run_copy_outcomes(run, outcomes);
			outcomes = run->outcomes;
		}
		run->outcomes[i].is_own_fault = true;
	}
	return outcomes;
}

void
run_judge(struct run *run, const struct outcome *outcomes)
{
	struct queue *queue = run->queue;
	struct route_opts opts = queue->route_opts;
	struct next_hop hop;
	size_t first = 0;

	outcomes = mark_own_faults(run, outcomes);
	run_next_hop(run, run->policy, &hop);
	while (first < run->count &&
	       !run_is_denied(run, &hop, &outcomes[first]))
		first++;
	if (first == run->count) {
		run_settle(run, outcomes);
		return;
	}
	if (outcomes != run->outcomes)
		run_copy_outcomes(run, outcomes);
	if (hop.kind != HOP_MX) {
		run_settle(run, run->outcomes);
		return;
	}
	opts.hostname = policy_hostname(run->policy);
	run->reask = reask_start(queue->reask, &hop, &opts,
				 run->outcomes[first].host, on_dns_now, run);
}

/* "10 mx1.example [192.0.2.1] (TTL 1h)", the best few of them; "" when the
 * attempt's own answer is the latest. */
static void
dns_now_words(const struct run *run, const struct mx_view *used,
	      uint64_t boot_ms, char *to, size_t size)
{
	const struct route *route = run->dns_now;
	char ttl[16], ip[IP_TEXT_MAX];
	size_t len = 0;

	to[0] = '\0';
	if (route == NULL || route->mx_asked_ms < used->asked_ms)
		return;
	if (route->host_count == 0)
		(void)snprintf(to, size, "%s", route->why);
	for (size_t i = 0; i < route->host_count && i < 3; i++) {
		const struct route_host *host = &route->hosts[i];

		len += (size_t)snprintf(to + len, size - len,
					"%s%d %.80s%s%s%s", i != 0 ? ", " : "",
					host->preference, host->name,
					host->addr_count != 0 ? " [" : "",
					host->addr_count != 0
						? ip_format(&host->addrs[0], ip)
						: "",
					host->addr_count != 0 ? "]" : "");
	}
	if (route->host_count != 0)
		(void)snprintf(
			to + len, size - len, "%s (TTL %s)",
			route->host_count > 3 ? ", ..." : "",
			units_format_duration(route->mx_expires_ms > boot_ms
						      ? (route->mx_expires_ms -
							 boot_ms) /
								1000
						      : 0,
					      ttl, sizeof(ttl)));
}

static void
run_note_denied(struct run *run, const struct next_hop *hop,
		const struct outcome *outcome,
		const struct denied_verdict *verdict)
{
	struct denied_story *story;
	char note[DENIED_NOTE_MAX + 1];

	if (run->story != NULL)
		return; /* one host, one answer of DNS: one story */
	story = mem_zalloc(sizeof(*story));
	story->cause = verdict->cause;
	/* all three are as long as what they come from */
	(void)str_copy(story->host, sizeof(story->host), str_of(outcome->host));
	(void)str_copy(story->domain, sizeof(story->domain),
		       str_of(hop->domain));
	(void)str_copy(story->hop_key, sizeof(story->hop_key),
		       str_of(hop->key));
	story->mx = outcome->mx;
	story->boot_ms = resolver_now_ms(run->queue->resolver);
	dns_now_words(run, &outcome->mx, story->boot_ms, story->dns_now,
		      sizeof(story->dns_now));
	run->story = story;
	denied_note(story, note);
	run->note = mem_strdup(note);
}

void
run_decide_denied(struct run *run, const struct next_hop *hop, size_t index,
		  struct denied_verdict *out)
{
	const struct recipient *recipient =
		&run->message->envelope.recipients[run->recipients[index]];
	struct outcome *outcome = &run->outcomes[index]; /* by run_judge */
	struct denied_facts facts = {
		.hop = denied_hop_of(hop),
		.has_login = hop->user != NULL,
		.now_ms = queue_wall_ms(run->queue),
		.reroutes = recipient->reroutes,
		.dns_after_ms = recipient->dns_after_ms,
	};
	struct mx_view now;

	if (run->dns_now != NULL)
		route_view(run->dns_now, outcome->host, &outcome->ip, &now);
	if (facts.hop == DENIED_HOP_MX)
		denied_compare(&outcome->mx, run->dns_now != NULL ? &now : NULL,
			       resolver_now_ms(run->queue->resolver), &facts);
	denied_decide(&facts, out);
	outcome->is_own_fault |= out->is_own_fault;
	run_note_denied(run, hop, outcome, out);
}

void
run_advise(struct settlement *settled)
{
	const char *advice;

	if (!settled->is_denied)
		return;
	advice = denied_cause_advice(settled->denied.cause);
	if (advice != NULL && settled->final == settled->outcome)
		settled->classification.advice = advice_id(str_of(advice));
}

/* ------------------------------------------------------------ our faults */

static enum fault_kind
settled_fault(const struct settlement *settled)
{
	if (!settled->is_denied)
		return fault_of(settled->outcome, &settled->classification);
	switch (settled->denied.cause) {
	case DENIED_NO_LOGIN:
	case DENIED_LOGIN:
		return FAULT_LOGIN;
	case DENIED_INNER:
		return FAULT_ROUTE;
	case DENIED_UNKNOWN:
	case DENIED_OUR_DATA:
	case DENIED_OLD_RECORD:
	case DENIED_BACKUP_MX:
	case DENIED_BEST_MX:
		break;
	}
	return FAULT_NONE;
}

/* What the way of this run shows to be in order again. */
static void
note_success(struct run *run, const char *key, uint64_t now_ms)
{
	struct faults *faults = &run->queue->faults;

	faults_over(faults, FAULT_LOGIN, key, now_ms);
	faults_over(faults, FAULT_CONFIGURATION, key, now_ms);
	faults_over(faults, FAULT_ROUTE, key, now_ms);
	if (strcmp(faults->name_by, key) == 0)
		faults_over(faults, FAULT_NAME, NULL, now_ms);
}

static void
note_dns(struct run *run, const struct outcome *outcome, const char *words,
	 uint64_t now_ms)
{
	struct faults *faults = &run->queue->faults;
	const char *key = run->leg->destination->key;
	bool is_mx = str_starts_nocase(str_of(key), "mx ");

	if (outcome->cause == CAUSE_DNS_FAILED) {
		if (is_mx)
			faults_dns_failed(faults, key, words, now_ms);
		else /* we chose its name ourselves */
			faults_met(faults, FAULT_DNS, key, words, now_ms);
		return;
	}
	if (outcome->mx.is_known)
		faults_dns_answered(faults, now_ms);
	if (!is_mx)
		faults_over(faults, FAULT_DNS, key, now_ms);
}

void
run_note_faults(struct run *run)
{
	struct faults *faults = &run->queue->faults;
	const char *key = run->leg->destination->key;
	uint64_t now_ms = queue_wall_ms(run->queue);

	for (size_t i = 0; i < run->settled_count; i++) {
		const struct settlement *settled = &run->settled[i];
		const struct outcome *outcome = settled->outcome;
		enum fault_kind kind = settled_fault(settled);
		char words[OUTCOME_REPLY_MAX];

		if (outcome->cause == CAUSE_OPERATOR)
			continue;
		settle_words(outcome, words, sizeof(words));
		note_dns(run, outcome, words, now_ms);
		if (outcome->kind == OUTCOME_DELIVERED) {
			note_success(run, key, now_ms);
		} else if (kind == FAULT_NAME) {
			/* one fault, whoever notices it */
			(void)str_copy(faults->name_by, sizeof(faults->name_by),
				       str_of(key));
			faults_met(faults, kind, "", words, now_ms);
		} else if (kind != FAULT_NONE) {
			faults_met(faults, kind, key, words, now_ms);
		}
	}
}
