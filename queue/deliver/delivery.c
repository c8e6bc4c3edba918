/* SPDX-License-Identifier: ISC */
/*
 * The order of things: a route, then its addresses from the best on, each
 * taken from the pool or connected to, until one takes the message or none is
 * left; recipients that one turned away for now are carried to the next one.
 * What every address said is weighed (queue/deliver/tally.h).
 */
#include "queue/deliver/delivery_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "queue/deliver/local.h"
#include "queue/deliver/connection.h"
#include "queue/deliver/trust.h"
#include "queue/route/security.h"

/* ------------------------------------------------------------ the end */

/* Everything but the callback. */
static void
delivery_free(struct delivery *delivery)
{
	list_remove(&delivery->later.link);
	delivery_stop_dialling(delivery);
	delivery_stop_talking(delivery);
	if (delivery->local != NULL)
		local_abort(delivery->local);
	targets_done(&delivery->targets);
	security_unref(delivery->agreed);
	security_unref(delivery->own_rule);
	policy_unref(delivery->policy);
	trust_unref(delivery->trust);
	free(delivery->recipients);
	tally_done(&delivery->tally);
	free(delivery->left);
	free(delivery);
}

void
delivery_abort(struct delivery *delivery)
{
	delivery_free(delivery);
}

void
delivery_end(struct delivery *delivery)
{
	struct outcome *outcomes;
	size_t count = delivery->count;
	delivery_fn *on_done = delivery->on_done;
	void *owner = delivery->owner;

	tally_end(&delivery->tally);
	outcomes = delivery->tally.outcomes;
	delivery->tally.outcomes = NULL;
	delivery_free(delivery);
	on_done(owner, outcomes, count);
	free(outcomes);
}

/* ------------------------------------------------------------ failures */

void
outcome_set_target(struct outcome *outcome, const struct target *target,
		   const struct connection *connection)
{
	(void)snprintf(outcome->host, sizeof(outcome->host), "%s",
		       target->host);
	outcome->ip = target->ip;
	outcome->port = target->port;
	outcome->mx_ttl_s = target->ttl_s;
	if (target->security != NULL)
		(void)str_copy(outcome->security, sizeof(outcome->security),
			       str_of(security_name(target->security->kind)));
	if (connection != NULL)
		(void)snprintf(outcome->tls, sizeof(outcome->tls), "%s",
			       connection_tls_version(connection));
}

void
delivery_note_own(struct delivery *delivery, enum cause cause,
		  enum smtp_phase phase, const struct target *target,
		  const char *text)
{
	struct outcome outcome = {.mx_ttl_s = -1};

	outcome_own(&outcome, cause, phase, "%s", text);
	if (target != NULL)
		outcome_set_target(&outcome, target, NULL);
	tally_fail(&delivery->tally, &outcome);
}

/* ---------------------------------------------- without a connection */

static void
on_local(void *owner)
{
	struct delivery *delivery = owner;

	delivery->local = NULL;
	delivery_end(delivery);
}

static void
delivery_begin_local(struct delivery *delivery)
{
	struct deliverer *deliverer = delivery->deliverer;
	struct local_request request = {
		.loop = deliverer->loop,
		.spool = deliverer->spool,
		.hostname = deliverer->opts.hostname,
		.hop = &delivery->hop,
		.envelope = delivery->envelope,
		.recipients = delivery->recipients,
		.count = delivery->count,
	};

	delivery->state = DELIVERY_LOCAL;
	request.outcomes = tally_fill(&delivery->tally);
	delivery->local = local_start(&request, on_local, delivery);
}

static void
delivery_discard(struct delivery *delivery)
{
	struct outcome *outcomes = tally_fill(&delivery->tally);

	for (size_t i = 0; i < delivery->count; i++) {
		struct outcome *outcome = &outcomes[i];

		outcome->kind = OUTCOME_DELIVERED;
		outcome->cause = CAUSE_REPLY;
		outcome->phase = PHASE_LOCAL;
		outcome->mx_ttl_s = -1;
		status_set(&outcome->status, 250, "2.0.0", "Discarded");
	}
	delivery_end(delivery);
}

/* ------------------------------------------------------------ the start */

/* What the configuration asks for and this program cannot give. */
static const char *
delivery_lacks(const struct delivery *delivery)
{
	const struct deliverer *deliverer = delivery->deliverer;

	if (delivery->hop.tls != HOP_TLS_NONE && delivery->trust == NULL)
		return deliverer->trust_error.text;
	return NULL;
}

static void
on_later(struct resolver_later *later)
{
	struct delivery *delivery = container_of(later, struct delivery, later);
	const char *lacks;

	switch (delivery->hop.kind) {
	case HOP_DISCARD:
		delivery_discard(delivery);
		return;
	case HOP_MAILDIR:
		delivery_begin_local(delivery);
		return;
	case HOP_MX:
	case HOP_SMTP:
	case HOP_LMTP:
		break;
	}
	/* the first one waits a moment: on_later comes again */
	if (delivery->hop.tls != HOP_TLS_NONE &&
	    deliverer_wait_trust(delivery->deliverer, later))
		return;
	if (delivery->trust == NULL && delivery->deliverer->trust != NULL)
		delivery->trust = trust_ref(delivery->deliverer->trust);
	lacks = delivery_lacks(delivery);
	if (lacks != NULL) {
		delivery_note_own(delivery, CAUSE_CONFIGURATION, PHASE_CONNECT,
				  NULL, lacks);
		delivery_end(delivery);
	} else {
		delivery_next(delivery);
	}
}

struct delivery *
delivery_start(struct deliverer *deliverer,
	       const struct delivery_request *request, delivery_fn *on_done,
	       void *owner)
{
	struct delivery *delivery = mem_zalloc(sizeof(*delivery));
	size_t bytes = request->recipient_count * sizeof(*request->recipients);

	delivery->deliverer = deliverer;
	delivery->policy =
		request->policy != NULL ? policy_ref(request->policy) : NULL;
	delivery->hop = *request->hop;
	delivery->envelope = request->envelope;
	delivery->recipients = mem_alloc(bytes);
	memcpy(delivery->recipients, request->recipients, bytes);
	delivery->count = request->recipient_count;
	delivery->left = mem_alloc(delivery->count * sizeof(*delivery->left));
	tally_init(&delivery->tally, delivery->count);
	delivery->on_done = on_done;
	delivery->owner = owner;
	delivery->watch = request->watch;
	delivery->has_no_pool = request->watch != NULL;
	list_init(&delivery->later.link);
	delivery->later.on_later = on_later;
	resolver_call_later(deliverer->resolver, &delivery->later);
	return delivery;
}
