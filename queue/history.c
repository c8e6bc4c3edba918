/* SPDX-License-Identifier: ISC */
#include "queue/history.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/file_saver.h"
#include "lib/hash.h"
#include "lib/log.h"
#include "lib/lru.h"
#include "lib/mem.h"
#include "lib/random.h"
#include "lib/work.h"

/* Lines that wait for a slow disk; what is above is lost, and that is said. */
#define PENDING_MAX ((size_t)4 << 20)

/* Addresses that have failed, remembered by a number each. */
#define KNOWN_MAX 100000

struct known {
	struct lru_entry entry;
	uint64_t print;
};

/* Reads who failed, in a worker. */
struct reading {
	struct work_job job;
	struct history *history; /* the loop's alone */
	char *path;		 /* of the newer file */
	struct hash_seed seed;
	uint64_t *prints; /* of failed addresses, oldest first */
	size_t count;
};

struct history {
	uv_loop_t *loop;
	struct file_saver *saver;
	struct buf pending;
	uint64_t added, saving, saved; /* numbers of lines */
	uint64_t lost;		       /* since that was last said */
	struct list waits;
	uv_idle_t turn;	 /* waits that need no write are told in it */
	bool is_leaving; /* its owner is gone; it goes with its last line */

	struct hash_seed seed;
	struct lru known;
	struct reading *reading; /* NULL: known is complete */
};

/* ----------------------------------------------------- who failed before */

static uint64_t
print_of(const struct hash_seed *seed, struct str address)
{
	char text[512];

	(void)str_copy(text, sizeof(text), address);
	str_lower_all(text);
	return hash_bytes(seed, text, strlen(text));
}

static void
known_free(struct lru_entry *entry)
{
	free(container_of(entry, struct known, entry));
}

static void
known_add(struct history *history, uint64_t print)
{
	struct known *known;

	if (lru_find(&history->known, &print, sizeof(print)) != NULL)
		return;
	known = mem_zalloc(sizeof(*known));
	known->print = print;
	lru_add(&history->known, &known->entry, &known->print,
		sizeof(known->print));
}

static void
known_forget(struct history *history, uint64_t print)
{
	struct lru_entry *entry =
		lru_find(&history->known, &print, sizeof(print));

	if (entry != NULL)
		lru_remove(&history->known, entry);
}

static void
read_prints(struct reading *reading, const char *path)
{
	char line[RECORD_LINE_MAX];
	FILE *file = fopen(path, "re");

	if (file == NULL)
		return;
	while (fgets(line, sizeof(line), file) != NULL) {
		struct record record;

		if (!record_parse(str_of(line), &record) ||
		    record.kind == RECORD_DELIVERED)
			continue;
		reading->prints = mem_append(reading->prints, reading->count,
					     sizeof(*reading->prints));
		reading->prints[reading->count++] =
			print_of(&reading->seed, record.recipient);
	}
	(void)fclose(file);
}

static void
reading_run(struct work_job *job)
{
	struct reading *reading = container_of(job, struct reading, job);
	char *older = mem_printf("%s.1", reading->path);

	read_prints(reading, older);
	read_prints(reading, reading->path);
	free(older);
}

static void
reading_done(struct work_job *job)
{
	struct reading *reading = container_of(job, struct reading, job);
	struct history *history = reading->history;

	history->reading = NULL;
	for (size_t i = 0; i < reading->count; i++)
		known_add(history, reading->prints[i]);
}

static void
reading_free(struct work_job *job)
{
	struct reading *reading = container_of(job, struct reading, job);

	free(reading->path);
	free(reading->prints);
	free(reading);
}

static void
reading_start(struct history *history, const char *path)
{
	struct reading *reading = mem_zalloc(sizeof(*reading));

	reading->history = history;
	reading->path = mem_strdup(path);
	reading->seed = history->seed;
	reading->job.run = reading_run;
	reading->job.done = reading_done;
	reading->job.free_job = reading_free;
	history->reading = reading;
	work_start(history->loop, &reading->job, NULL);
}

bool
history_has(struct history *history, struct str address)
{
	uint64_t print;

	if (history->reading != NULL)
		return true;
	if (history->known.count == 0)
		return false; /* most relays, most of the time */
	print = print_of(&history->seed, address);
	return lru_find(&history->known, &print, sizeof(print)) != NULL;
}

/* --------------------------------------------------------------- writing */

static void
say_lost(struct history *history, const char *why)
{
	struct log_line line;

	log_begin(&line, LOG_LEVEL_WARN, "spool");
	log_text(&line, "file", HISTORY_FILE);
	log_number(&line, "lost", (int64_t)history->lost);
	log_text(&line, "reason", why);
	log_end(&line);
	history->lost = 0;
}

static void
write_pending(struct history *history)
{
	if (buf_len(&history->pending) == 0 ||
	    file_saver_is_busy(history->saver))
		return;
	history->saving = history->added;
	file_saver_append(history->saver, &history->pending, HISTORY_FILE_MAX);
}

static void
tell_waits(struct history *history)
{
	struct list done, *node;

	list_init(&done);
	while (!list_is_empty(&history->waits)) {
		struct history_wait *wait =
			container_of(history->waits.next, struct history_wait,
				     link);

		if (wait->number > history->saved)
			break;
		list_remove(&wait->link);
		list_push(&done, &wait->link);
	}
	for (node = list_pop(&done); node != NULL; node = list_pop(&done)) {
		struct history_wait *wait =
			container_of(node, struct history_wait, link);

		wait->on_done(wait);
	}
}

static void history_done(struct history *history);

static void
on_saved(void *arg, int status)
{
	struct history *history = arg;

	if (status < 0) {
		history->lost += history->saving - history->saved;
		say_lost(history, uv_strerror(status));
	} else if (history->lost != 0) {
		say_lost(history, "the disk was too slow");
	}
	history->saved = history->saving;
	write_pending(history);
	if (!history->is_leaving)
		tell_waits(history);
	else if (!file_saver_is_busy(history->saver))
		history_done(history);
}

void
history_add(struct history *history, const struct record *record)
{
	if (record->kind != RECORD_DELIVERED)
		known_add(history, print_of(&history->seed, record->recipient));
	else
		known_forget(history,
			     print_of(&history->seed, record->recipient));
	if (buf_room(&history->pending) < RECORD_LINE_MAX) {
		history->lost++;
		return;
	}
	history->added++;
	record_format(record, &history->pending);
	write_pending(history);
}

static void
on_turn(uv_idle_t *turn)
{
	(void)uv_idle_stop(turn);
	tell_waits(turn->data);
}

void
history_sync(struct history *history, struct history_wait *wait)
{
	wait->number = history->added;
	list_init(&wait->link);
	list_push(&history->waits, &wait->link);
	if (wait->number <= history->saved)
		(void)uv_idle_start(&history->turn, on_turn);
}

void
history_cancel(struct history_wait *wait)
{
	list_remove(&wait->link);
}

/* -------------------------------------------------------- open and close */

struct history *
history_new(uv_loop_t *loop, const char *spool_dir)
{
	struct history *history = mem_zalloc(sizeof(*history));
	char *path = mem_printf("%s/" HISTORY_FILE, spool_dir);

	history->loop = loop;
	list_init(&history->waits);
	buf_init(&history->pending, PENDING_MAX);
	random_bytes(&history->seed, sizeof(history->seed));
	lru_init(&history->known, KNOWN_MAX, known_free);
	history->saver = file_saver_new(loop, path, on_saved, history);
	(void)uv_idle_init(loop, &history->turn); /* cannot fail */
	history->turn.data = history;
	reading_start(history, path);
	free(path);
	return history;
}

static void
on_turn_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static void
history_done(struct history *history)
{
	file_saver_free(history->saver);
	lru_done(&history->known);
	buf_done(&history->pending);
	uv_close((uv_handle_t *)&history->turn, on_turn_closed);
}

void
history_free(struct history *history)
{
	if (history == NULL)
		return;
	if (history->reading != NULL)
		work_detach(&history->reading->job);
	(void)uv_idle_stop(&history->turn);
	history->is_leaving = true;
	write_pending(history);
	if (!file_saver_is_busy(history->saver))
		history_done(history);
}
