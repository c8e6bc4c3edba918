/* SPDX-License-Identifier: ISC */
/* What a run has promised so far: to clients, and by what is durable. */
#include "tests/crash/replay.h"

#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "queue/spool/format.h"

/* ---------------------------------------------------------------- tables */

size_t *
table_find(const struct table *table, uint64_t key)
{
	if (table->size == 0)
		return NULL;
	for (size_t i = key * 0x9e3779b97f4a7c15u % table->size;;
	     i = (i + 1) % table->size) {
		if (table->keys[i] == key)
			return &table->values[i];
		if (table->keys[i] == 0)
			return NULL;
	}
}

void
table_set(struct table *table, uint64_t key, size_t value)
{
	size_t *there = table_find(table, key), i;

	if (there != NULL) {
		*there = value;
		return;
	}
	if (2 * table->count >= table->size) {
		struct table larger = {.size = 2 * table->size + 1023};

		larger.keys = mem_zalloc(larger.size * sizeof(uint64_t));
		larger.values = mem_zalloc(larger.size * sizeof(size_t));
		for (i = 0; i < table->size; i++)
			if (table->keys[i] != 0)
				table_set(&larger, table->keys[i],
					  table->values[i]);
		free(table->keys);
		free(table->values);
		*table = larger;
	}
	i = key * 0x9e3779b97f4a7c15u % table->size;
	while (table->keys[i] != 0)
		i = (i + 1) % table->size;
	table->keys[i] = key;
	table->values[i] = value;
	table->count++;
}

struct message *
find_message(struct expected *expected, uint64_t number)
{
	size_t *slot = table_find(&expected->by_number, number);

	return slot != NULL ? &expected->messages[*slot] : NULL;
}

static struct message *
get_message(struct expected *expected, uint64_t number)
{
	struct message *message = find_message(expected, number);

	if (message != NULL)
		return message;
	expected->messages = mem_resize(expected->messages, expected->count + 1,
					sizeof(*expected->messages));
	message = &expected->messages[expected->count];
	*message = (struct message){.number = number};
	table_set(&expected->by_number, number, expected->count++);
	return message;
}

/* -------------------------------------------------- what was promised */

/* Which messages a batch settles, once it is durable. */
static void
note_dones(struct run *run, const struct trace_event *event,
	   const uint8_t *bytes, uint64_t seq)
{
	struct expected *expected = &run->expected;
	struct batch_head head;
	uint32_t at = BATCH_HEADER;
	uint8_t *whole = NULL;

	if (event->len < FORMAT_BLOCK ||
	    !batch_decode(bytes, expected->tag, UINT32_MAX, &head))
		return;
	/* the rest of it may have been written ahead of this first block */
	if (head.bytes > event->len) {
		whole = model_read(run->model, event->a, event->b, head.bytes);
		memcpy(whole, bytes, event->len);
		bytes = whole;
	}
	while (at < head.used) {
		struct record_place place = {head.tag, head.segno, head.seq};
		struct record_head record;

		if (record_decode(bytes + at, head.used - at, &place, false,
				  &record) != RECORD_GOOD)
			break;
		if (record.id > expected->max_id)
			expected->max_id = record.id;
		if (record.type == RECORD_DONE) {
			expected->dones = mem_resize(expected->dones,
						     expected->done_count + 1,
						     sizeof(*expected->dones));
			expected->dones[expected->done_count++] =
				(struct done){record.id, seq,
					      model_node(run->model, event->a)};
		}
		at += (uint32_t)record_bytes(&record);
	}
	free(whole);
}

static void
note_write(struct run *run, const struct trace_event *event,
	   const uint8_t *bytes, uint64_t seq)
{
	char text[VERSION_LINE_MAX + 1] = "";

	if (run->expected.tag != 0) {
		note_dones(run, event, bytes, seq);
		return;
	}
	memcpy(text, bytes,
	       event->len < VERSION_LINE_MAX ? event->len : VERSION_LINE_MAX);
	if (version_decode(text, &run->expected.tag) < 0)
		run->expected.tag = 0; /* LOCK, or the like */
}

static void
note_sync(struct run *run, const struct trace_event *event)
{
	struct expected *expected = &run->expected;
	size_t kept = 0;

	for (size_t i = 0; i < expected->done_count; i++) {
		struct done *done = &expected->dones[i];
		uint64_t before;

		if (model_covers(run->model, event, done->node, &before) &&
		    done->seq < before)
			table_set(&expected->gone, done->id, 1);
		else
			expected->dones[kept++] = *done;
	}
	expected->done_count = kept;
}

/* What a failed sync should have made durable never counts as durable. */
static void
forget_dones(struct run *run, const struct trace_event *event)
{
	struct expected *expected = &run->expected;
	struct trace_event as_if = *event;
	size_t kept = 0;

	if (event->a == 0)
		return; /* of message files, by what model.h says */
	as_if.c = 0;
	for (size_t i = 0; i < expected->done_count; i++) {
		struct done *done = &expected->dones[i];
		uint64_t before;

		if (!model_covers(run->model, &as_if, done->node, &before) ||
		    done->seq >= before)
			expected->dones[kept++] = *done;
	}
	expected->done_count = kept;
}

void
note_event(struct run *run, const struct trace_event *event,
	   const uint8_t *bytes, uint64_t seq)
{
	struct expected *expected = &run->expected;

	switch ((enum trace_type)event->type) {
	case TRACE_WRITE:
		note_write(run, event, bytes, seq);
		return;
	case TRACE_SYNC_END:
		if (event->c == 0)
			note_sync(run, event);
		else
			forget_dones(run, event);
		return;
	case TRACE_SUBMITTED:
		get_message(expected, event->a)->is_submitted = true;
		return;
	case TRACE_ACKED:
		get_message(expected, event->a)->is_acked = true;
		get_message(expected, event->a)->id = event->b;
		if (event->b > expected->max_id)
			expected->max_id = event->b;
		return;
	case TRACE_SETTLING:
		get_message(expected, event->a)->is_settling = true;
		/* what was to replace it before a restart never came */
		get_message(expected, event->a)->successor = 0;
		return;
	case TRACE_STATE:
		if (event->c >= TRACE_STATES)
			die("a state of too high a number");
		get_message(expected, event->a)->states[event->c / 64] |=
			(uint64_t)1 << event->c % 64;
		return;
	case TRACE_WITH:
		if (event->c >= TRACE_STATES)
			die("a state of too high a number");
		get_message(expected, event->b)->with = event->a;
		get_message(expected, event->b)->with_state =
			(unsigned)event->c;
		return;
	case TRACE_REPLACED:
		get_message(expected, event->a)->successor = event->b;
		/* true also when it was refused: that it did not become
		 * durable is not known before the log went on */
		if (event->b != 0)
			get_message(expected, event->b)->replaces = event->a;
		return;
	case TRACE_ID:
		if (event->b > expected->max_id)
			expected->max_id = event->b;
		return;
	case TRACE_SIZE:
	case TRACE_CREATE:
	case TRACE_MKDIR:
	case TRACE_UNLINK:
	case TRACE_RENAME:
	case TRACE_SYNC_BEGIN:
		return;
	}
}
