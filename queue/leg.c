/* SPDX-License-Identifier: ISC */
/*
 * An entry and its legs, from the envelope that made them to their end: each
 * leg waits for its time, then for its turn at a destination.
 */
#include <string.h>

#include "queue/core.h"

/* Envelopes read at once only to learn their next hops, or to return them. */
#define CHORE_LIMIT 32

/* --------------------------------------------------------------- legs */

void
queue_count_out(struct queue *queue, const struct entry *entry)
{
	queue->entry_bytes -= entry_bytes(entry);
}

void
queue_count_in(struct queue *queue, const struct entry *entry)
{
	queue->entry_bytes += entry_bytes(entry);
}

void
leg_end(struct queue *queue, struct leg *leg)
{
	struct entry *entry = leg->entry;

	schedule_drop(&queue->schedule, leg);
	schedule_set_attempts(&queue->schedule, leg, 0);
	leg->is_down = false;
	leg->recipients = 0;
	if (leg == &entry->leg)
		return;
	queue_count_out(queue, entry);
	entry_drop_leg(entry, leg);
	queue_count_in(queue, entry);
}

uint16_t
category_bit(const struct recipient *recipient)
{
	enum category category;

	return recipient->category != NULL &&
			       category_parse(recipient->category, &category)
		       ? (uint16_t)(1u << category)
		       : 0;
}

void
leg_wait(struct queue *queue, struct leg *leg, uint64_t due_wall_ms)
{
	static const struct destination_limits chores = {.connections =
								 CHORE_LIMIT};

	if (leg->entry->is_bouncing)
		schedule_offer(&queue->schedule, leg, KEY_BOUNCING, &chores);
	else if (leg->entry->is_held) {
		leg->due.key = queue_boot_of(queue, due_wall_ms);
		schedule_hold(&queue->schedule, leg);
	} else
		schedule_wait(&queue->schedule, leg,
			      queue_boot_of(queue, due_wall_ms));
}

void
leg_wait_for_disk(struct queue *queue, struct leg *leg, uint64_t due_wall_ms)
{
	if (leg->entry->is_bouncing)
		schedule_wait(&queue->schedule, leg,
			      queue_boot_of(queue, due_wall_ms));
	else
		leg_wait(queue, leg, due_wall_ms);
}

void
limits_of(const struct next_hop *hop, struct destination_limits *out)
{
	out->connections = hop->connections != 0 ? hop->connections : 1;
	out->rate_count = hop->rate_count;
	out->rate_period_s = hop->rate_period_s;
	out->is_remote = hop->kind == HOP_MX;
}

void
addr_stored(const char *text, struct addr *out)
{
	struct str whole = str_of(text);
	const char *at = strrchr(text, '@');

	memset(out, 0, sizeof(*out));
	(void)str_copy(out->text, sizeof(out->text), whole);
	out->local_len = (uint16_t)strlen(out->text);
	if (at == NULL || (size_t)(at - text) > out->local_len)
		return;
	out->domain_len = (uint16_t)(out->local_len - (at - text) - 1);
	out->local_len = (uint16_t)(at - text);
	out->is_utf8 = !str_is_ascii(str_from(out->text, out->local_len));
}

bool
leg_awaits_routing(const struct leg *leg)
{
	const struct entry *entry = leg->entry;

	if (entry->is_bouncing || entry->is_rerouted)
		return !entry->is_bouncing;
	if (leg->destination != NULL)
		return strcmp(leg->destination->key, KEY_ROUTING) == 0;
	return entry->recipients_left != 1 || entry->is_redirected;
}

void
leg_route(struct queue *queue, struct leg *leg)
{
	static const struct destination_limits chores = {.connections =
								 CHORE_LIMIT};
	const struct entry *entry = leg->entry;

	if (entry->is_bouncing) {
		schedule_offer(&queue->schedule, leg, KEY_BOUNCING, &chores);
	} else if (entry->is_rerouted) {
		schedule_offer(&queue->schedule, leg, KEY_ROUTING, &chores);
	} else if (entry->recipients_left == 1 && !entry->is_redirected) {
		struct destination_limits limits;
		struct addr sender, recipient;
		struct next_hop hop;

		addr_stored(entry_sender(entry), &sender);
		addr_stored(entry_recipient(entry), &recipient);
		policy_next_hop(queue->policy, &sender, &recipient, &hop, NULL);
		limits_of(&hop, &limits);
		schedule_offer(&queue->schedule, leg, hop.key, &limits);
	} else if (leg->destination != NULL) {
		/* looked at again when it starts */
		struct destination_limits limits = leg->destination->limits;

		schedule_offer(&queue->schedule, leg, leg->destination->key,
			       &limits);
	} else {
		schedule_offer(&queue->schedule, leg, KEY_ROUTING, &chores);
	}
}

/* ------------------------------------------------------------- entries */

/* What its recipients say, before anybody works on it. */
static void
leg_learn(struct leg *leg, const struct envelope *envelope,
	  uint64_t *out_next_ms)
{
	const struct recipient *first = NULL;
	enum category category;

	*out_next_ms = UINT64_MAX;
	leg->is_warned = true;
	for (size_t i = 0; i < envelope->recipient_count; i++) {
		const struct recipient *recipient = &envelope->recipients[i];

		if (!recipient_is_left(recipient))
			continue;
		if (first == NULL)
			first = recipient;
		if (recipient->next_try_ms < *out_next_ms)
			*out_next_ms = recipient->next_try_ms;
		leg->is_warned &= !settle_awaits_warning(envelope, recipient);
		leg->categories |= category_bit(recipient);
	}
	if (first->last_reply != NULL)
		leg->why = reason_new(first->last_reply);
	if (first->category != NULL &&
	    category_parse(first->category, &category))
		leg->category = (uint8_t)(category + 1);
}

void
entry_begin(struct queue *queue, struct envelope *envelope, bool is_new)
{
	struct entry *entry = entry_new(envelope);
	uint64_t next_ms;

	list_push(&queue->entries, &entry->link);
	entry_index_add(&queue->index, entry);
	if (entry->id > queue->max_id)
		queue->max_id = entry->id;
	leg_learn(&entry->leg, envelope, &next_ms);
	queue_count_in(queue, entry);
	leg_wait(queue, &entry->leg, next_ms);
	if (!is_new || entry->is_held)
		return;
	message_keep(queue, entry, envelope);
	queue_kick(queue);
}

void
entry_end(struct queue *queue, struct entry *entry)
{
	listing_forget(queue, entry);
	/* legs that wait for the envelope yet have nothing to do any more */
	for (struct leg *leg = &entry->leg; leg != NULL; leg = leg->next)
		if (leg->run != NULL)
			run_abort(leg->run);
	message_detach(entry->message);
	while (entry->leg.next != NULL)
		leg_end(queue, entry->leg.next);
	leg_end(queue, &entry->leg);
	queue_count_out(queue, entry);
	entry_index_remove(&queue->index, entry);
	list_remove(&entry->link);
	entry_free(entry);
}

void
entry_remove(struct queue *queue, struct entry *entry)
{
	uint64_t id = entry->id;

	entry_end(queue, entry);
	spool_done(queue->spool, id);
}
