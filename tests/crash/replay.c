/* SPDX-License-Identifier: ISC */
/*
 * Goes through a recorded run, builds states that the disk may be in after a
 * crash at many of its moments, lets the spool recover from each, and
 * compares what it finds with what was promised until then.
 *
 *	replay [-s SEED] [-n STATES] [-j JOBS] [-m] TRACE [FOLDER]
 *	replay -c SPOOL -l BYTES TRACE
 *
 *	-c  checks one state, which another made: SPOOL, by the marks that
 *	    stand in the first BYTES of the trace
 *	-m  a mutant: the first finding ends it
 *	FOLDER is for the states (/dev/shm)
 *
 * Prints the first findings and a line of counts; exit 1 if there was a
 *finding, 2 if it could not be done. A state is told as SEED/EVENT/KIND; the
 *same trace and seed give the same states.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "lib/err.h"
#include "lib/mem.h"
#include "lib/work.h"
#include "queue/spool/disk.h"
#include "queue/spool/format.h"
#include "queue/spool/spool.h"
#include "tests/crash/model.h"
#include "tests/crash/trace.h"

#define FOUND_MAX   8192u
#define READ_BYTES  (1u << 20)
#define STATES_EACH 4u /* of one moment */
#define JOBS_MAX    64u
#define TOLD_MAX    3u /* findings in full */

enum finding {
	LOST,	     /* acknowledged, not settled, and not there */
	GARBAGE,     /* there, and not what anybody submitted */
	RESURRECTED, /* there, though settled durably */
	DOUBLED,     /* one message under two ids, or with its successor */
	HALF,	     /* of two that were replaced at once neither is there */
	STATE_LOST,  /* a promised state line is missing */
	ID_AGAIN,    /* an id is given out for the second time */
	NOT_OPENED,  /* the spool refuses to start */
	UNSTABLE,    /* a second recovery finds something else */
	ALARM,	     /* damage is reported where there is none */
	FINDINGS
};
static const char *const finding_names[FINDINGS] = {
	"lost",	      "garbage",  "resurrected", "doubled",  "half",
	"state lost", "id again", "not opened",	 "unstable", "alarm",
};

struct message {
	uint64_t number, id;
	uint64_t successor; /* 0: none */
	uint64_t states;    /* bits: those promised */
	bool is_submitted, is_acked, is_settling;
};

/* A DONE record in a batch that is not yet durable. */
struct done {
	uint64_t id, seq;
	const struct node *node;
};

struct found {
	uint64_t id, number, body_bytes;
	char *envelope, *states;
};

/* Numbers to slots; 0 is no key. */
struct table {
	uint64_t *keys;
	size_t *values;
	size_t size, count;
};

struct expected {
	struct message *messages;
	size_t count;
	struct table by_number;
	struct table gone; /* ids that are settled durably */
	struct done *dones;
	size_t done_count;
	uint64_t tag, max_id;
};

struct run {
	const uint8_t *trace;
	size_t trace_len;
	uint64_t events, moments;
	uint64_t seed;
	unsigned states_wanted, jobs, job;
	bool is_mutant;
	char dir[256];

	struct model *model;
	struct expected expected;

	/* the state at hand */
	uint64_t event;
	enum crash_kind kind;
	struct found found[FOUND_MAX];
	size_t found_count;
	bool is_loaded, is_closed;

	uint64_t states, opened;
	uint64_t findings[FINDINGS];
	unsigned told;
};

static uv_loop_t loop;
static struct spool *spool;

static void
die(const char *why)
{
	fprintf(stderr, "replay: %s\n", why);
	exit(2);
}

/* The clock may have gone back meanwhile: ids must not. */
int
clock_gettime(clockid_t clock, struct timespec *to)
{
	if (clock == CLOCK_REALTIME) {
		*to = (struct timespec){.tv_sec = 1};
		return 0;
	}
	return (int)syscall(SYS_clock_gettime, clock, to);
}

/* ---------------------------------------------------------------- tables */

static size_t *
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

static void
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

static struct message *
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

	if (event->len < FORMAT_BLOCK ||
	    !batch_decode(bytes, expected->tag, event->len, &head))
		return;
	while (at < head.used) {
		struct record_place place = {head.tag, head.segno, head.seq};
		struct record_head record;

		if (record_decode(bytes + at, head.used - at, &place, false,
				  &record) != RECORD_GOOD)
			return;
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

static void
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
		get_message(expected, event->a)->states |= (uint64_t)1
							   << event->c;
		return;
	case TRACE_REPLACED:
		get_message(expected, event->a)->successor = event->b;
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

static void
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

static void
check_states(struct run *run, const struct message *message,
	     const struct found *found)
{
	char line[64];

	for (unsigned i = 1; i < 64; i++) {
		if ((message->states >> i & 1) == 0)
			continue;
		(void)snprintf(line, sizeof(line), "state %u of %llu\n", i,
			       (unsigned long long)message->number);
		if (strstr(found->states, line) == NULL)
			tell(run, STATE_LOST, message->number, found->id, "");
	}
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

static void
check_all(struct run *run)
{
	struct expected *expected = &run->expected;
	struct table there = {.size = 0};

	for (size_t i = 0; i < run->found_count; i++) {
		struct found *found = &run->found[i];

		check_found(run, found);
		if (found->number == 0)
			continue;
		if (table_find(&there, found->number) != NULL)
			tell(run, DOUBLED, found->number, found->id, "");
		table_set(&there, found->number, 1);
	}
	for (size_t i = 0; i < expected->count; i++) {
		const struct message *message = &expected->messages[i];
		const struct message *next =
			message->successor != 0
				? find_message(expected, message->successor)
				: NULL;
		bool is_there = table_find(&there, message->number) != NULL;
		bool has_next = message->successor != 0 &&
				table_find(&there, message->successor) != NULL;

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

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	return ftw->level == 0 ? 0 : remove(path);
}

static void
check_state(struct run *run, uint64_t *dice, bool is_twice)
{
	char *first, *second;

	model_write(run->model, run->kind, dice, run->dir);
	run->states++;
	if (open_state(run)) {
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
	if (nftw(run->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS) < 0)
		die("a state cannot be removed");
}

/* --------------------------------------------------------------- moments */

/* Before anything becomes durable, and after each promise. */
static bool
is_moment(const struct trace_event *event)
{
	switch ((enum trace_type)event->type) {
	case TRACE_SYNC_BEGIN:
	case TRACE_SYNC_END:
	case TRACE_ACKED:
	case TRACE_STATE:
	case TRACE_UNLINK:
	case TRACE_RENAME:
		return true;
	case TRACE_WRITE:
	case TRACE_SIZE:
	case TRACE_CREATE:
	case TRACE_MKDIR:
	case TRACE_SUBMITTED:
	case TRACE_SETTLING:
	case TRACE_REPLACED:
	case TRACE_ID:
		return false;
	}
	return false;
}

static const struct trace_event *
next_event(const struct run *run, size_t *at)
{
	static struct trace_event event;

	if (run->trace_len - *at < sizeof(event))
		return NULL;
	memcpy(&event, run->trace + *at, sizeof(event));
	if (event.magic != TRACE_MAGIC ||
	    run->trace_len - *at - sizeof(event) < event.len)
		die("the trace is damaged");
	*at += sizeof(event) + event.len;
	return &event;
}

/* Each of a few kinds in turn, two of them at every moment. */
static enum crash_kind
kind_of(unsigned which, uint64_t moment)
{
	if (which == 0)
		return CRASH_NOTHING;
	if (which == 1)
		return CRASH_RANDOM;
	return (enum crash_kind)((moment * (STATES_EACH - 2) + which) %
				 CRASH_KINDS);
}

static void
check_moment(struct run *run, uint64_t moment)
{
	for (unsigned i = 0; i < STATES_EACH; i++) {
		uint64_t dice = (run->seed * 2 + 1) * 0x9e3779b97f4a7c15u ^
				(run->event * 64 + i + 1);

		run->kind = kind_of(i, moment);
		check_state(run, &dice, i < 2);
	}
}

static bool
has_findings(const struct run *run)
{
	for (unsigned i = 0; i < FINDINGS; i++)
		if (run->findings[i] != 0)
			return true;
	return false;
}

/* Every job follows all of the trace and stops at its share of moments. */
static void
follow(struct run *run)
{
	uint64_t wanted = run->states_wanted / STATES_EACH + 1, moment = 0;
	uint64_t taken = 0;
	const struct trace_event *event;
	size_t at = 0;

	run->model = model_new();
	while (true) {
		event = next_event(run, &at);
		if (event == NULL)
			break;
		run->event++;
		/* a moment before: the sync has not ended yet for those who
		 * wait for it, and what it covered counts */
		note_event(run, event, run->trace + at - event->len,
			   run->event);
		model_apply(run->model, event, run->trace + at - event->len,
			    run->event);
		if (!is_moment(event))
			continue;
		moment++;
		if ((moment + run->seed) * wanted / run->moments ==
		    (moment + run->seed - 1) * wanted / run->moments)
			continue;
		if (taken++ % run->jobs != run->job)
			continue;
		check_moment(run, taken);
		if (run->is_mutant && has_findings(run))
			break;
	}
	forget_found(run);
	model_free(run->model);
}

/* ------------------------------------------------------------------ main */

static int
no_sync(int fd)
{
	(void)fd;
	return 0;
}

/* In a child: what it counted goes through the pipe. */
static void
run_job(struct run *run, int fd)
{
	struct disk_calls calls = disk_calls_real;

	calls.fsync = calls.fdatasync = calls.syncfs = no_sync;
	disk_use(&calls);
	(void)snprintf(run->dir + strlen(run->dir),
		       sizeof(run->dir) - strlen(run->dir), "/state-%u",
		       run->job);
	if (mkdir(run->dir, 0700) < 0)
		die("the folder for a state cannot be made");
	work_init();
	follow(run);
	(void)rmdir(run->dir);
	if (write(fd, run->findings, sizeof(run->findings)) !=
		    sizeof(run->findings) ||
	    write(fd, &run->states, sizeof(run->states)) !=
		    sizeof(run->states) ||
	    write(fd, &run->opened, sizeof(run->opened)) != sizeof(run->opened))
		die("a pipe broke");
}

/* A state that was not made from the trace, of which the marks count. */
static int
check_one(struct run *run, const char *dir)
{
	const struct trace_event *event;
	char *first, *second;
	size_t at = 0;

	(void)snprintf(run->dir, sizeof(run->dir), "%s", dir);
	run->model = model_new();
	work_init();
	while (true) {
		event = next_event(run, &at);
		if (event == NULL)
			break;
		run->event++;
		if (event->type >= TRACE_SUBMITTED)
			note_event(run, event, NULL, run->event);
	}
	run->kind = CRASH_RANDOM;
	if (open_state(run)) {
		check_all(run);
		check_ids(run);
		first = summary(run);
		close_state(run);
		if (open_state(run)) {
			second = summary(run);
			if (strcmp(first, second) != 0)
				tell(run, UNSTABLE, 0, 0, "");
			free(second);
			close_state(run);
		}
		free(first);
	}
	forget_found(run);
	model_free(run->model);
	return has_findings(run) ? 1 : 0;
}

static void
count_moments(struct run *run)
{
	const struct trace_event *event;
	size_t at = 0;

	while (true) {
		event = next_event(run, &at);
		if (event == NULL)
			break;
		run->events++;
		run->moments += is_moment(event);
	}
	if (run->moments == 0)
		die("nothing happens in the trace");
}

static void
map_trace(struct run *run, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *bytes;

	if (fd < 0 || fstat(fd, &st) < 0 || st.st_size == 0)
		die("there is no trace");
	bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (bytes == MAP_FAILED)
		die("the trace cannot be read");
	(void)close(fd); /* the mapping stays */
	run->trace = bytes;
	run->trace_len = (size_t)st.st_size;
}

/* Adds up what the children counted; false if one of them broke down. */
static bool
gather(struct run *run, const int *fds, const pid_t *children)
{
	bool is_good = true;

	for (unsigned i = 0; i < run->jobs; i++) {
		uint64_t counts[FINDINGS + 2];
		size_t have = 0;
		int status;

		while (have < sizeof(counts)) {
			ssize_t got = read(fds[i], (char *)counts + have,
					   sizeof(counts) - have);

			if (got <= 0)
				break;
			have += (size_t)got;
		}
		(void)close(fds[i]); /* read only */
		if (waitpid(children[i], &status, 0) < 0 || status != 0 ||
		    have < sizeof(counts)) {
			is_good = false;
			continue;
		}
		for (unsigned k = 0; k < FINDINGS; k++)
			run->findings[k] += counts[k];
		run->states += counts[FINDINGS];
		run->opened += counts[FINDINGS + 1];
	}
	return is_good;
}

static void
spread(struct run *run)
{
	pid_t children[JOBS_MAX];
	int fds[JOBS_MAX];
	bool is_good;

	for (run->job = 0; run->job < run->jobs; run->job++) {
		int ends[2];

		if (pipe(ends) < 0)
			die("no pipe");
		children[run->job] = fork();
		if (children[run->job] < 0)
			die("no process");
		if (children[run->job] == 0) {
			(void)close(ends[0]); /* the parent's */
			run_job(run, ends[1]);
			exit(0);
		}
		(void)close(ends[1]); /* the child's */
		fds[run->job] = ends[0];
	}
	is_good = gather(run, fds, children);
	printf("seed %llu: %llu events, %llu moments, %llu states, "
	       "%llu recoveries:",
	       (unsigned long long)run->seed, (unsigned long long)run->events,
	       (unsigned long long)run->moments,
	       (unsigned long long)run->states,
	       (unsigned long long)run->opened);
	for (unsigned i = 0; i < FINDINGS; i++)
		printf("%s %llu %s", i != 0 ? "," : "",
		       (unsigned long long)run->findings[i], finding_names[i]);
	printf("\n");
	if (!is_good)
		die("a process broke down");
}

int
main(int argc, char **argv)
{
	static struct run run = {.seed = 1, .states_wanted = 1000, .jobs = 1};
	const char *dir, *one = NULL;
	size_t limit = SIZE_MAX;
	int option;

	while ((option = getopt(argc, argv, "c:l:s:n:j:m")) != -1) {
		switch (option) {
		case 's':
			run.seed = strtoull(optarg, NULL, 10);
			break;
		case 'n':
			run.states_wanted = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'j':
			run.jobs = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'm':
			run.is_mutant = true;
			break;
		case 'c':
			one = optarg;
			break;
		case 'l':
			limit = strtoull(optarg, NULL, 10);
			break;
		default:
			return 64;
		}
	}
	if (optind >= argc || run.jobs == 0 || run.jobs > JOBS_MAX) {
		fprintf(stderr, "usage: replay [-s SEED] [-n STATES] [-j JOBS] "
				"[-m] TRACE [FOLDER]\n");
		return 64;
	}
	if (one != NULL) {
		map_trace(&run, argv[optind]);
		if (run.trace_len > limit)
			run.trace_len = limit;
		return check_one(&run, one);
	}
	dir = optind + 1 < argc ? argv[optind + 1] : "/dev/shm";
	(void)snprintf(run.dir, sizeof(run.dir), "%s/ostler-crash-XXXXXX", dir);
	if (mkdtemp(run.dir) == NULL)
		die("the folder for the states cannot be made");
	map_trace(&run, argv[optind]);
	count_moments(&run);
	spread(&run);
	(void)rmdir(run.dir);
	return has_findings(&run) ? 1 : 0;
}
