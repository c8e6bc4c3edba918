/* SPDX-License-Identifier: ISC */
/*
 * A message's envelope while somebody works on it: kept from its arrival for
 * the first attempt, or read from the spool, and given up after the last.
 */
#include <errno.h>
#include <stdlib.h>

#include "lib/mem.h"
#include "queue/core.h"

/* ------------------------------------------------------------ messages */

static struct message *
message_new(struct queue *queue, struct entry *entry)
{
	struct message *message = mem_zalloc(sizeof(*message));

	message->queue = queue;
	message->entry = entry;
	list_init(&message->link);
	list_push(&queue->messages, &message->link);
	envelope_init(&message->envelope);
	entry->message = message;
	return message;
}

/* About what it takes, and never less. */
static size_t
envelope_bytes(const struct envelope *envelope)
{
	return 1024 +
	       envelope->recipient_count * (sizeof(struct recipient) + 128);
}

void
message_keep(struct queue *queue, struct entry *entry,
	     struct envelope *envelope)
{
	size_t bytes = envelope_bytes(envelope);
	struct message *message;

	if (queue->kept_bytes + bytes > KEPT_BYTES_MAX)
		return;
	message = message_new(queue, entry);
	message->envelope = *envelope;
	envelope_init(envelope);
	message->kept_bytes = bytes;
	queue->kept_bytes += bytes;
}

void
message_drop(struct message *message)
{
	list_remove(&message->link);
	if (message->load != NULL)
		spool_load_cancel(message->load);
	message->queue->kept_bytes -= message->kept_bytes;
	if (message->entry != NULL)
		message->entry->message = NULL;
	envelope_done(&message->envelope);
	policy_unref(message->assigned_by);
	free(message->leg_of);
	free(message);
}

void
message_detach(struct message *message)
{
	if (message == NULL)
		return;
	message->entry->message = NULL;
	message->entry = NULL;
	if (message->refs == 0)
		message_drop(message);
}

void
message_hand_over(struct message *message, const struct leg *from,
		  struct leg *to)
{
	if (message->leg_of == NULL)
		return;
	for (size_t i = 0; i < message->envelope.recipient_count; i++)
		if (message->leg_of[i] == from)
			message->leg_of[i] = to;
}

void
message_unref(struct message *message)
{
	struct queue *queue = message->queue;
	struct entry *entry = message->entry;

	if (--message->refs != 0)
		return;
	if (entry != NULL && message->envelope.recipient_count != 0) {
		queue_count_out(queue, entry);
		entry_refresh(entry, &message->envelope);
		queue_count_in(queue, entry);
		spool_forget_body(queue->spool, entry->id);
	}
	message_drop(message);
}

void
message_keep_on(struct message *message)
{
	struct queue *queue = message->queue;
	size_t bytes = envelope_bytes(&message->envelope);

	if (message->refs != 1 || queue->kept_bytes + bytes > KEPT_BYTES_MAX ||
	    message->entry->is_held) {
		message_unref(message);
		return;
	}
	message->refs = 0;
	message->kept_bytes = bytes;
	queue->kept_bytes += bytes;
}

bool
message_is_settled(const struct message *message)
{
	if (message->reports != 0)
		return false;
	for (size_t i = 0; i < message->envelope.recipient_count; i++)
		if (recipient_is_left(&message->envelope.recipients[i]))
			return false;
	return true;
}

/* -------------------------------------------------------------- reading */

/* The envelope cannot be read: damaged mail was set aside by the spool and
 * is only forgotten here, the rest is tried again later. */
static void
message_unreadable(struct message *message, int status, const char *why)
{
	struct queue *queue = message->queue;
	struct entry *entry = message->entry;
	struct leg *leg, *next;
	bool is_lost = status == -ENOENT || status == -EBADMSG;

	log_damaged(entry, why);
	for (leg = &entry->leg; leg != NULL; leg = next) {
		next = leg->next;
		if (leg->run == NULL)
			continue;
		/* the last one drops the message */
		run_abort(leg->run);
		if (!is_lost)
			leg_wait_for_disk(queue, leg,
					  queue_wall_ms(queue) + DISK_RETRY_MS);
	}
	if (is_lost)
		entry_end(queue, entry);
	queue_kick(queue);
	queue_close_step(queue);
}

/* All runs that waited for the envelope go on. They may end, and the message
 * with them: so the legs are looked through again after each. */
static void
message_ready(struct message *message)
{
	struct leg *leg;

	message->refs++;
	while (message->entry != NULL) {
		for (leg = &message->entry->leg; leg != NULL; leg = leg->next)
			if (leg->run != NULL && leg->run->is_waiting)
				break;
		if (leg == NULL)
			break;
		leg->run->is_waiting = false;
		run_ready(leg->run);
	}
	message_unref(message);
}

static void
on_text(void *arg, int status, const struct spool_text *text)
{
	struct message *message = arg;
	struct err err = ERR_INIT;

	message->load = NULL;
	if (status < 0) {
		message_unreadable(message, status, uv_strerror(status));
		return;
	}
	status = envelope_parse(text->envelope, text->states,
				&message->envelope, &err);
	if (status < 0) {
		message_unreadable(message, status, err.text);
		return;
	}
	message->envelope.id = message->entry->id;
	message->envelope.size = text->body_bytes;
	message->envelope.received_ms = message->entry->received_ms;
	message_ready(message);
}

void
message_reload(struct message *message)
{
	if (message->load == NULL)
		return;
	spool_load_cancel(message->load);
	message->load = spool_load(message->queue->spool, message->entry->id,
				   on_text, message);
}

struct message *
message_open(struct queue *queue, struct entry *entry)
{
	struct message *message = entry->message;

	if (message == NULL) {
		message = message_new(queue, entry);
		message->load =
			spool_load(queue->spool, entry->id, on_text, message);
	}
	queue->kept_bytes -= message->kept_bytes;
	message->kept_bytes = 0;
	message->refs++;
	return message;
}
