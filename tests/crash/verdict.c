/* SPDX-License-Identifier: ISC */
/* A spool that recovered from a crash, compared with what was promised. */
#include "tests/crash/replay.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "lib/err.h"
#include "lib/mem.h"
#include "queue/spool/spool.h"

#define READ_BYTES (1u << 20)
#define TOLD_MAX   3u /* findings in full */

const char *const finding_names[FINDINGS] = {
	"lost",	      "garbage",  "resurrected", "doubled",  "half",
	"state lost", "id again", "not opened",	 "unstable", "alarm",
};

static uv_loop_t loop;
static struct spool *spool;

/* -------------------------------------------------------------- findings */

static void
tell(struct run *run, enum finding finding, uint64_t number, uint64_t id,
     const char *text)
{
	char name[SPOOL_ID_MAX];

	run->findings[finding]++;
	if (run->told++ < TOLD_MAX)
		printf("%llu/%llu/%u: %s: message %llu id %s %s\n",
		       (unsigned long long)run->seed,
		       (unsigned long long)run->event, (unsigned)run->kind,
		       finding_names[finding], (unsigned long long)number,
		       id != 0 ? spool_id_format(id, name) : "-", text);
	(void)fflush(stdout);
}

/* --------------------------------------------------------------- opening */

static void
on_found(void *owner, const struct spool_found *found)
{
	struct run *run = owner;

	if (run->found_count == FOUND_MAX)
		die("too many messages are found");
	run->found[run->found_count++] =
		(struct found){.id = found->id,
			       .body_bytes = found->body_bytes,
			       .envelope = mem_strdup(found->envelope),
			       .states = mem_strdup(found->states)};
}

static void
on_loaded(void *owner)
{
	((struct run *)owner)->is_loaded = true;
}

static void
on_report(void *owner, bool is_error, const char *file, const char *text)
{
	char line[300];

	(void)snprintf(line, sizeof(line), "%s: %s", file, text);
	if (is_error)
		tell(owner, ALARM, 0, 0, line);
}

static void
on_broken(void *owner)
{
	tell(owner, ALARM, 0, 0, "broken");
}

static void
on_closed(void *arg)
{
	((struct run *)arg)->is_closed = true;
}

static int
by_id(const void *a, const void *b)
{
	const struct found *left = a, *right = b;

	return left->id < right->id ? -1 : left->id > right->id;
}

void
forget_found(struct run *run)
{
	for (size_t i = 0; i < run->found_count; i++) {
		free(run->found[i].envelope);
		free(run->found[i].states);
	}
	run->found_count = 0;
	run->is_loaded = run->is_closed = false;
}

static bool
open_state(struct run *run)
{
	static const struct spool_callbacks callbacks = {on_found, on_loaded,
							 on_report, on_broken};
	struct spool_opts opts = {.dir = run->dir,
				  .segment_bytes = 65536,
				  .segments_soft = 64};
	struct err err;

	forget_found(run);
	run->opened++;
	if (uv_loop_init(&loop) < 0)
		die("no loop");
	if (spool_open(&loop, &opts, &callbacks, run, &spool, &err) < 0) {
		tell(run, NOT_OPENED, 0, 0, err.text);
		while (uv_loop_close(&loop) != 0)
			(void)uv_run(&loop, UV_RUN_NOWAIT);
		return false;
	}
	while (!run->is_loaded)
		(void)uv_run(&loop, UV_RUN_ONCE);
	qsort(run->found, run->found_count, sizeof(*run->found), by_id);
	return true;
}

static void
close_state(struct run *run)
{
	spool_close(spool, on_closed, run);
	while (!run->is_closed)
		(void)uv_run(&loop, UV_RUN_ONCE);
	while (uv_loop_close(&loop) != 0)
		(void)uv_run(&loop, UV_RUN_NOWAIT);
}

/* --------------------------------------------------------------- bodies */

struct reading {
	uint8_t *bytes;
	uint64_t len;
	int status;
	bool is_over;
};

static void
on_bytes(void *arg, int status, const uint8_t *bytes, size_t len)
{
	struct reading *reading = arg;

	reading->status = status;
	if (len != 0)
		memcpy(reading->bytes + reading->len, bytes, len);
	reading->len += len;
	reading->is_over = true;
}

/* The body, which is the caller's; NULL when it cannot be read. */
static uint8_t *
read_body(const struct found *found)
{
	struct reading reading = {.bytes = mem_alloc(found->body_bytes + 1)};

	while (reading.status == 0 && reading.len < found->body_bytes) {
		uint64_t left = found->body_bytes - reading.len;

		reading.is_over = false;
		(void)spool_read(spool, found->id, reading.len,
				 left < READ_BYTES ? (size_t)left : READ_BYTES,
				 on_bytes, &reading);
		while (!reading.is_over)
			(void)uv_run(&loop, UV_RUN_ONCE);
	}
	if (reading.status == 0)
		return reading.bytes;
	free(reading.bytes);
	return NULL;
}

struct content {
	uint64_t number; /* 0: there is none */
	bool is_whole;	 /* all of it is there, and nothing else */
};

static struct content
content_of(const uint8_t *body, uint64_t len)
{
	static const char head[] = TRACE_HEAD;
	const uint8_t *at = memmem(body, len, head, sizeof(head) - 1);
	struct content content = {.number = 0};
	unsigned number, size;
	uint64_t rest;
	char line[64];

	if (at == NULL)
		return content;
	rest = len - (uint64_t)(at - body);
	(void)snprintf(line, sizeof(line), "%.*s", (int)(rest < 60 ? rest : 60),
		       (const char *)at);
	if (sscanf(line + sizeof(head) - 1, "%8x %8x", &number, &size) != 2)
		return content;
	content.number = number;
	at = memmem(at, rest, "\r\n\r\n", 4);
	if (at == NULL || len - (uint64_t)(at + 4 - body) != size)
		return content;
	for (uint64_t i = 0; i < size; i++)
		if (at[4 + i] != trace_byte(number, i))
			return content;
	content.is_whole = true;
	return content;
}

/* -------------------------------------------------------------- checking */

/* The number of a state line that ours makes, 0: it is another. */
static unsigned
state_of(uint64_t number, const char *line, size_t len)
{
	char as[TRACE_LINE_MAX];
	unsigned long state = strtoul(line + strlen(TRACE_LINE), NULL, 10);

	if (state == 0 || state >= TRACE_STATES ||
	    trace_line(number, (unsigned)state, as) != len ||
	    memcmp(line, as, len) != 0)
		return 0;
	return (unsigned)state;
}

static bool
has_bit(const uint64_t *bits, unsigned which)
{
	return (bits[which / 64] >> which % 64 & 1) != 0;
}

/* Each promised one is there, none is there twice, in their order. */
static void
check_states(struct run *run, const struct message *message,
	     struct found *found)
{
	const char *line = found->states, *end;
	unsigned last = 0;

	for (; *line != '\0'; line = end + 1) {
		unsigned state;

		end = strchr(line, '\n');
		/* the states that a relay writes are its own */
		if (strncmp(line, TRACE_LINE, strlen(TRACE_LINE)) != 0)
			continue;
		state = state_of(message->number, line, (size_t)(end - line));
		if (state == 0)
			tell(run, GARBAGE, message->number, found->id,
			     "in a state");
		else if (state <= last)
			tell(run, DOUBLED, message->number, found->id,
			     "by a state, or in disorder");
		else
			found->has[state / 64] |= (uint64_t)1 << state % 64;
		last = state;
	}
	for (unsigned i = 0; i < TRACE_STATES; i++)
		if (has_bit(message->states, i) && !has_bit(found->has, i))
			tell(run, STATE_LOST, message->number, found->id, "");
}

static bool
is_report(const struct found *found)
{
	return strncmp(found->envelope, "from <>", 7) == 0 ||
	       strstr(found->envelope, "\nfrom <>") != NULL;
}

/* What the spool itself cannot tell: whether it is what was submitted. */
static bool
is_garbage(struct run *run, const struct found *found,
	   const struct content *content)
{
	const struct message *message =
		found->number != 0 ? find_message(&run->expected, found->number)
				   : NULL;
	char recipient[32];

	if (is_report(found))
		return content->number == 0;
	(void)snprintf(recipient, sizeof(recipient), "<u%llu@",
		       (unsigned long long)found->number);
	return !content->is_whole || message == NULL ||
	       !message->is_submitted ||
	       strstr(found->envelope, recipient) == NULL;
}

static void
check_found(struct run *run, struct found *found)
{
	uint8_t *body = read_body(found);
	const struct message *message;
	struct content content;

	if (body == NULL)
		return; /* it was set aside: lost, if it counted */
	content = content_of(body, found->body_bytes);
	free(body);
	found->number = content.number;
	if (is_report(found))
		found->number += TRACE_REPORT;
	if (is_garbage(run, found, &content)) {
		tell(run, GARBAGE, found->number, found->id, "");
		return;
	}
	if (table_find(&run->expected.gone, found->id) != NULL)
		tell(run, RESURRECTED, found->number, found->id, "");
	message = find_message(&run->expected, found->number);
	if (message == NULL)
		return; /* a report nobody was told of */
	if (message->is_acked && message->id != found->id)
		tell(run, DOUBLED, found->number, found->id, "");
	check_states(run, message, found);
}

/* A message and the state of another that tells of it: both or neither. */
static void
check_with(struct run *run, const struct table *there,
	   const struct message *message)
{
	const size_t *other = table_find(there, message->with);
	bool is_there = table_find(there, message->number) != NULL;
	bool is_told;

	if (message->with == 0 || other == NULL)
		return;
	is_told = has_bit(run->found[*other].has, message->with_state);
	if (is_told != is_there && (is_there || !message->is_settling))
		tell(run, HALF, message->number, message->id,
		     is_there ? "without its state" : "its state alone");
}

static void
check_all(struct run *run)
{
	struct expected *expected = &run->expected;
	struct table there = {.size = 0}, replaced = {.size = 0};

	for (size_t i = 0; i < run->found_count; i++) {
		struct found *found = &run->found[i];
		const struct message *message;

		check_found(run, found);
		if (found->number == 0)
			continue;
		if (table_find(&there, found->number) != NULL)
			tell(run, DOUBLED, found->number, found->id, "");
		table_set(&there, found->number, i);
		message = find_message(expected, found->number);
		if (message != NULL && message->replaces != 0)
			table_set(&replaced, message->replaces, 1);
	}
	for (size_t i = 0; i < expected->count; i++) {
		const struct message *message = &expected->messages[i];
		const struct message *next =
			message->successor != 0
				? find_message(expected, message->successor)
				: NULL;
		bool is_there = table_find(&there, message->number) != NULL;
		bool has_next = table_find(&replaced, message->number) != NULL;

		check_with(run, &there, message);
		if (!message->is_acked)
			continue;
		if (!is_there && !message->is_settling)
			tell(run, LOST, message->number, message->id, "");
		if (message->successor == 0)
			continue;
		if (is_there && has_next)
			tell(run, DOUBLED, message->number, message->id,
			     "with what replaced it");
		if (!is_there && !has_next &&
		    (next == NULL || !next->is_settling))
			tell(run, HALF, message->number, message->id, "");
	}
	free(there.keys);
	free(there.values);
	free(replaced.keys);
	free(replaced.values);
}

static void
on_end(void *owner, int status)
{
	(void)owner;
	(void)status;
}

/* The next id is above all that were ever given out. */
static void
check_ids(struct run *run)
{
	struct spool_put put = {.on_end = on_end};

	spool_put_begin(spool, &put);
	if (put.id <= run->expected.max_id)
		tell(run, ID_AGAIN, 0, put.id, "");
	spool_put_abort(&put);
}

/* What was found, as text to be compared. */
static char *
summary(const struct run *run)
{
	size_t size = 1, len = 0;
	char *text;

	for (size_t i = 0; i < run->found_count; i++)
		size += 64 + strlen(run->found[i].states);
	text = mem_zalloc(size);
	for (size_t i = 0; i < run->found_count; i++)
		len += (size_t)
			snprintf(text + len, size - len, "%llu %llu %s\n",
				 (unsigned long long)run->found[i].id,
				 (unsigned long long)run->found[i].body_bytes,
				 run->found[i].states);
	return text;
}

void
judge(struct run *run, bool is_twice)
{
	char *first, *second;

	if (!open_state(run))
		return;
	check_all(run);
	check_ids(run);
	first = summary(run);
	close_state(run);
	if (is_twice && open_state(run)) {
		second = summary(run);
		if (strcmp(first, second) != 0)
			tell(run, UNSTABLE, 0, 0, "");
		free(second);
		close_state(run);
	}
	free(first);
}
