/* SPDX-License-Identifier: ISC */
#include "queue/diagnose.h"

#include <stdlib.h>
#include <uv.h>

#include "lib/mem.h"
#include "lib/str.h"
#include "queue/bounce/advice.h"
#include "queue/bounce/relay_denied.h"
#include "queue/core.h"
#include "queue/deliver/delivery.h"
#include "queue/envelope.h"

struct diagnosis {
	struct queue *queue;
	struct envelope envelope;
	struct delivery *delivery; /* NULL: over */
	struct delivery_watch watch;
	struct policy *policy; /* shares */
	enum denied_hop hop;
	bool has_login;
	uv_timer_t timer;
	diagnosis_fn *on_end;
	void *arg;
};

static bool
is_ascii(const char *text)
{
	for (; *text != '\0'; text++)
		if ((unsigned char)*text >= 0x80)
			return false;
	return true;
}

static void
on_closed(uv_handle_t *handle)
{
	struct diagnosis *diagnosis = handle->data;

	envelope_done(&diagnosis->envelope);
	policy_unref(diagnosis->policy);
	free(diagnosis);
}

void
diagnosis_cancel(struct diagnosis *diagnosis)
{
	if (diagnosis->delivery != NULL)
		delivery_abort(diagnosis->delivery);
	diagnosis->delivery = NULL;
	uv_close((uv_handle_t *)&diagnosis->timer, on_closed);
}

static void
on_timeout(uv_timer_t *timer)
{
	struct diagnosis *diagnosis = timer->data;
	diagnosis_fn *on_end = diagnosis->on_end;
	void *arg = diagnosis->arg;

	diagnosis_cancel(diagnosis);
	on_end(arg, NULL);
}

/*
 * A next hop that an operator chose refuses to relay: whose login or list is
 * wrong is known without DNS, and told as a report would tell it.
 */
static void
advise_on_denied(const struct diagnosis *diagnosis,
		 const struct outcome *outcome,
		 struct classification *classification)
{
	struct denied_facts facts = {
		.hop = diagnosis->hop,
		.has_login = diagnosis->has_login,
	};
	struct denied_verdict verdict;

	if (diagnosis->hop == DENIED_HOP_MX ||
	    !relay_is_denied(outcome, classification, diagnosis->hop))
		return;
	denied_decide(&facts, &verdict);
	classification->advice =
		advice_id(str_of(denied_cause_advice(verdict.cause)));
}

static void
on_delivery(void *owner, const struct outcome *outcomes, size_t count)
{
	struct diagnosis *diagnosis = owner;
	diagnosis_fn *on_end = diagnosis->on_end;
	void *arg = diagnosis->arg;
	struct classification classification;
	struct advice advice;
	struct diagnosis_end end = {
		.outcome = &outcomes[0],
		.classification = &classification,
		.advice = &advice,
	};

	(void)count; /* one recipient */
	diagnosis->delivery = NULL;
	classify_outcome(diagnosis->queue->classifier, &outcomes[0],
			 &classification);
	advise_on_denied(diagnosis, &outcomes[0], &classification);
	advice_find(&classification, NULL, &advice);
	diagnosis_cancel(diagnosis);
	on_end(arg, &end);
}

struct diagnosis *
diagnosis_start(struct queue *queue, const struct diagnosis_request *request,
		diagnosis_fn *on_end, void *arg)
{
	struct diagnosis *diagnosis = mem_zalloc(sizeof(*diagnosis));
	static const size_t first = 0;
	struct delivery_request delivery = {
		.hop = request->hop,
		.policy = request->policy,
		.envelope = &diagnosis->envelope,
		.recipients = &first,
		.recipient_count = 1,
		.watch = &diagnosis->watch,
	};

	diagnosis->queue = queue;
	diagnosis->policy = policy_ref(request->policy);
	diagnosis->watch = request->watch;
	diagnosis->hop = denied_hop_of(request->hop);
	diagnosis->has_login = request->hop->user != NULL;
	diagnosis->on_end = on_end;
	diagnosis->arg = arg;
	envelope_init(&diagnosis->envelope);
	diagnosis->envelope.sender = mem_strdup(request->sender->text);
	(void)envelope_add(&diagnosis->envelope, request->recipient->text);
	diagnosis->envelope.is_utf8 = !is_ascii(request->sender->text) ||
				      !is_ascii(request->recipient->text);
	(void)uv_timer_init(queue->loop, &diagnosis->timer);
	diagnosis->timer.data = diagnosis;
	(void)uv_timer_start(&diagnosis->timer, on_timeout, request->timeout_ms,
			     0);
	diagnosis->delivery = delivery_start(queue->deliverer, &delivery,
					     on_delivery, diagnosis);
	return diagnosis;
}
