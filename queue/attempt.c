/* SPDX-License-Identifier: ISC */
/*
 * A run from its slot to its outcomes: the envelope is opened, and what the
 * leg is there for is done, mostly a delivery.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "lib/random.h"
#include "queue/core.h"

/* The host asked for fewer connections: when to look again, at least. */
#define BUSY_RETRY_MS 1000

/* ------------------------------------------------------- a run's memory */

static struct run *
run_new(struct queue *queue, struct leg *leg)
{
	struct run *run = mem_zalloc(sizeof(*run));

	run->queue = queue;
	run->leg = leg;
	leg->run = run;
	list_init(&run->link);
	list_push(&queue->runs, &run->link);
	queue->run_count++;
	buf_init(&run->original, ORIGINAL_MAX);
	return run;
}

void
run_free(struct run *run)
{
	report_free(run);
	if (run->read != NULL)
		spool_read_cancel(run->read);
	if (run->reask != NULL)
		reask_cancel(run->reask);
	route_unref(run->dns_now);
	free(run->story);
	free(run->note);
	run->leg->run = NULL;
	list_remove(&run->link);
	run->queue->run_count--;
	policy_unref(run->policy);
	free(run->recipients);
	free(run->settled);
	free(run->outcomes);
	free(run->finals);
	buf_done(&run->original);
	free(run);
}

void
run_abort(struct run *run)
{
	struct message *message = run->message;

	if (run->delivery != NULL)
		delivery_abort(run->delivery);
	message->reports -= (unsigned)run->reports_left;
	run_free(run);
	message_unref(message);
}

/* --------------------------------------------------------------- start */

void
run_start(struct queue *queue, struct leg *leg, bool is_unheard)
{
	struct run *run = run_new(queue, leg);

	run->message = message_open(queue, leg->entry);
	run->is_unheard = is_unheard;
	if (run->message->load != NULL)
		run->is_waiting = true;
	else
		run_ready(run);
}

static void
run_pick(struct run *run)
{
	struct message *message = run->message;
	size_t count = message->envelope.recipient_count;

	run->recipients = mem_alloc(count * sizeof(*run->recipients));
	for (size_t i = 0; i < count; i++)
		if (message->leg_of[i] == run->leg)
			run->recipients[run->count++] = i;
}

/* The next hops are known now: its recipients wait there. */
static void
run_routed(struct run *run)
{
	struct queue *queue = run->queue;
	struct message *message = run->message;
	struct leg *leg = run->leg;

	run_free(run);
	schedule_drop(&queue->schedule, leg);
	message->entry->is_rerouted = false;
	message_assign(message, NULL);
	message->entry->is_urged = false;
	message_keep_on(message);
	queue_kick(queue);
	queue_close_step(queue);
}

/* Everything that nobody works on goes back to the sender. */
static void
run_bounce(struct run *run)
{
	struct message *message = run->message;
	size_t count = message->envelope.recipient_count;
	struct outcome *outcomes;

	if (message->leg_of == NULL)
		message->leg_of = mem_zalloc(count * sizeof(struct leg *));
	for (size_t i = 0; i < count; i++) {
		struct leg *leg = message->leg_of[i];

		if (!recipient_is_left(&message->envelope.recipients[i]))
			message->leg_of[i] = NULL;
		else if (leg == NULL || !leg_is_busy(leg))
			message->leg_of[i] = run->leg;
	}
	run_pick(run);
	schedule_settle(&run->queue->schedule, run->leg);
	if (run->count == 0) {
		run_finish(run);
		return;
	}
	outcomes = mem_zalloc(run->count * sizeof(*outcomes));
	for (size_t i = 0; i < run->count; i++) {
		const struct recipient *recipient =
			&message->envelope.recipients[run->recipients[i]];

		outcome_own(&outcomes[i], CAUSE_OPERATOR, PHASE_NONE,
			    "Returned by the operator%s%s",
			    recipient->last_reply != NULL
				    ? "; the last attempt said: "
				    : "",
			    recipient->last_reply != NULL
				    ? recipient->last_reply
				    : "");
		outcomes[i].kind = OUTCOME_FAILED;
		outcomes[i].mx_ttl_s = -1;
	}
	run_settle(run, outcomes);
	free(outcomes);
}

/* Its time is over, or its sender has to be warned, and the destination is
 * down: what the last attempt there heard holds for this message too. */
static void
run_unheard(struct run *run)
{
	const struct outcome *last = run->leg->destination->lesson;
	struct outcome *outcomes = mem_alloc(run->count * sizeof(*outcomes));

	for (size_t i = 0; i < run->count; i++)
		outcomes[i] = *last;
	run->leg->is_down = true;
	schedule_settle(&run->queue->schedule, run->leg);
	run_settle(run, outcomes);
	free(outcomes);
}

/*
 * The host has as many connections as it asked for: nobody was asked for
 * anything, so this was no attempt. One leg of the destination looks again in
 * a moment, the others go back to wait until it got through.
 */
static bool
run_postpone(struct run *run, const struct outcome *outcomes)
{
	struct queue *queue = run->queue;
	struct destination *to = run->leg->destination;
	uint64_t now_ms = queue_wall_ms(queue);
	uint64_t pause_ms = BUSY_RETRY_MS + random_below(BUSY_RETRY_MS);
	char words[OUTCOME_REPLY_MAX];

	if (outcomes[0].cause != CAUSE_HOST_BUSY ||
	    now_ms + pause_ms >=
		    settle_expiry_ms(&queue->rules, &run->message->envelope))
		return false;
	settle_words(&outcomes[0], words, sizeof(words));
	schedule_pause(&queue->schedule, to, queue_boot_ms(queue) + pause_ms,
		       words);
	run->postponed_ms = now_ms + pause_ms;
	run->leg->is_down = true;
	schedule_settle(&queue->schedule, run->leg);
	run_finish(run);
	return true;
}

static void
on_outcomes(void *owner, const struct outcome *outcomes, size_t count)
{
	struct run *run = owner;
	struct queue *queue = run->queue;

	assert(count == run->count);
	run->delivery = NULL;
	run->leg->is_down = false;
	if (run_postpone(run, outcomes))
		return;
	run_learn(run, outcomes);
	schedule_settle(&queue->schedule, run->leg);
	run_judge(run, outcomes);
}

void
run_next_hop(struct run *run, const struct policy *policy, struct next_hop *out)
{
	redirect_next_hop(policy, &run->message->envelope, run->recipients[0],
			  &run->redirect, out);
}

void
run_ready(struct run *run)
{
	struct queue *queue = run->queue;
	struct message *message = run->message;
	const char *key = run->leg->destination->key;
	struct delivery_request request = {.watch = NULL};
	struct next_hop hop;

	if (strcmp(key, KEY_BOUNCING) == 0) {
		run_bounce(run);
		return;
	}
	if (strcmp(key, KEY_ROUTING) == 0) {
		run_routed(run);
		return;
	}
	/* one at work when its mail was redirected has its old way yet */
	if (message->assigned_by != queue->policy ||
	    message->entry->is_redirected)
		message_assign(message, run->leg);
	run_pick(run);
	if (run->count == 0 || queue->is_closing) {
		schedule_settle(&queue->schedule, run->leg);
		run_finish(run);
		return;
	}
	if (run->is_unheard && run->leg->destination->lesson != NULL) {
		run_unheard(run);
		return;
	}
	/* the host was busy and taught nothing: an attempt after all */
	run->is_unheard = false;
	run->policy = policy_ref(queue->policy);
	run_next_hop(run, run->policy, &hop);
	run->is_local = hop.kind == HOP_MAILDIR || hop.kind == HOP_LMTP ||
			hop.kind == HOP_DISCARD;
	request = (struct delivery_request){
		.policy = run->policy,
		.hop = &hop,
		.envelope = &message->envelope,
		.recipients = run->recipients,
		.recipient_count = run->count,
	};
	run->delivery =
		delivery_start(queue->deliverer, &request, on_outcomes, run);
}
