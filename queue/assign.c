/* SPDX-License-Identifier: ISC */
/*
 * Who goes where: each recipient left gets a leg by the policy of this
 * moment, one for each next hop.
 */
#include <string.h>

#include "lib/mem.h"
#include "queue/core.h"

/* A leg of the entry for that key: one that has it, or one that is free, or
 * a new one. */
static struct leg *
leg_for(struct message *message, const char *key)
{
	struct entry *entry = message->entry;
	struct leg *leg;

	for (leg = &entry->leg; leg != NULL; leg = leg->next)
		if (leg->destination != NULL &&
		    strcmp(leg->destination->key, key) == 0)
			return leg;
	for (leg = &entry->leg; leg != NULL; leg = leg->next)
		if (leg->destination == NULL &&
		    (leg->state == LEG_NEW || leg->state == LEG_QUEUED))
			return leg;
	queue_count_out(message->queue, entry);
	leg = entry_add_leg(entry);
	queue_count_in(message->queue, entry);
	return leg;
}

void
leg_sum(const struct message *message, const struct leg *leg,
	struct leg_sum *out)
{
	memset(out, 0, sizeof(*out));
	out->next_ms = UINT64_MAX;
	out->is_warned = true;
	for (size_t i = 0; i < message->envelope.recipient_count; i++) {
		const struct recipient *recipient =
			&message->envelope.recipients[i];

		if (message->leg_of[i] != leg)
			continue;
		out->recipients++;
		if (recipient->attempts > out->attempts)
			out->attempts = recipient->attempts;
		if (recipient->next_try_ms < out->next_ms)
			out->next_ms = recipient->next_try_ms;
		out->is_warned &=
			!settle_awaits_warning(&message->envelope, recipient);
		out->categories |= category_bit(recipient);
	}
}

void
leg_take_sum(struct queue *queue, struct leg *leg, const struct leg_sum *sum)
{
	leg->recipients = sum->recipients;
	leg->is_warned = sum->is_warned;
	leg->categories = sum->categories;
	schedule_set_attempts(&queue->schedule, leg, sum->attempts);
}

/* Legs of a message that was just assigned: those without recipients end,
 * those that are new start to wait. */
static void
legs_settle(struct message *message, struct leg *keep)
{
	struct queue *queue = message->queue;
	struct leg *leg = &message->entry->leg, *next;

	for (; leg != NULL; leg = next) {
		struct leg_sum sum;

		next = leg->next;
		if (leg == keep || leg_is_busy(leg))
			continue;
		leg_sum(message, leg, &sum);
		if (sum.recipients == 0) {
			leg_end(queue, leg);
			continue;
		}
		leg_take_sum(queue, leg, &sum);
		if (leg->state == LEG_NEW)
			leg_wait(queue, leg,
				 message->entry->is_urged ? queue_wall_ms(queue)
							  : sum.next_ms);
	}
}

void
message_assign(struct message *message, struct leg *keep)
{
	struct queue *queue = message->queue;
	struct envelope *envelope = &message->envelope;
	struct redirect_target redirect;
	struct next_hop hop;
	struct leg *leg = NULL;

	if (message->leg_of == NULL)
		message->leg_of = mem_zalloc(envelope->recipient_count *
					     sizeof(struct leg *));
	for (size_t i = 0; i < envelope->recipient_count; i++) {
		if (!recipient_is_left(&envelope->recipients[i])) {
			message->leg_of[i] = NULL;
			continue;
		}
		if (message->leg_of[i] != NULL && message->leg_of[i] != keep &&
		    leg_is_busy(message->leg_of[i]))
			continue;
		redirect_next_hop(queue->policy, envelope, i, &redirect, &hop);
		if (leg == NULL || leg->destination == NULL ||
		    strcmp(leg->destination->key, hop.key) != 0) {
			leg = leg_for(message, hop.key);
			if (leg->destination == NULL) {
				struct destination_limits limits;

				limits_of(&hop, &limits);
				schedule_attach(&queue->schedule, leg, hop.key,
						&limits);
			}
		}
		message->leg_of[i] = leg;
	}
	policy_unref(message->assigned_by);
	message->assigned_by = policy_ref(queue->policy);
	legs_settle(message, keep);
}
