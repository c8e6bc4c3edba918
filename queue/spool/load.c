/* SPDX-License-Identifier: ISC */
/*
 * Files of an earlier run, found while mail is accepted again: each of a few
 * workers lists a folder and then reads a bounded number of heads at a time.
 * Until all are known, head does not move and no file is made.
 */
#include "queue/spool/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/mem.h"
#include "queue/spool/disk.h"

#define LANES 4
/* A job reads so many files, or fewer when their envelopes and states are so
 * much: a list that waits for days has megabytes of them. */
#define CHUNK	    64
#define CHUNK_BYTES ((size_t)4 << 20)

#define TRIES	 5 /* of a folder or file: descriptors or memory may be short */
#define PAUSE_MS 200

struct found_file {
	uint64_t id;
	int status;
	struct file_text text;
};

/* One worker's job, over and over. */
struct lane {
	struct work_job job;
	struct loader *loader; /* NULL: stopped */
	struct spool *spool;
	unsigned folder;
	bool is_listed;
	uint64_t *ids; /* owns */
	size_t id_count, at;
	unsigned strange;
	int status;
	struct found_file files[CHUNK];
	size_t file_count;
};

struct loader {
	unsigned next_folder;
	unsigned running;
	struct lane *lanes[LANES];
	uint64_t first_new; /* ids from here on are of this run */
	bool is_incomplete; /* a folder could not be listed */
};

/* In a worker, which may wait. */
static void
pause_before(unsigned try)
{
	static const struct timespec pause = {.tv_nsec = PAUSE_MS * 1000000};

	if (try != 0)
		(void)nanosleep(&pause, NULL); /* or less */
}

static int
list_folder(struct lane *lane, int msg_fd)
{
	int rc = -EIO;

	for (unsigned i = 0; i < TRIES && rc < 0; i++) {
		pause_before(i);
		free(lane->ids);
		lane->strange = 0;
		rc = files_list(msg_fd, lane->folder, &lane->ids,
				&lane->id_count, &lane->strange);
	}
	if (rc == 0)
		return 0;
	/* a part of them would seem to be all */
	free(lane->ids);
	lane->ids = NULL;
	lane->id_count = 0;
	return rc;
}

/* What cannot be read is set aside, so that needs more than one failure. */
static void
load_file(struct found_file *file, int msg_fd)
{
	for (unsigned i = 0; i < TRIES; i++) {
		pause_before(i);
		file->status = files_load(msg_fd, file->id, &file->text);
		if (file->status == 0 || file->status == -ENOENT ||
		    file->status == -EBADMSG)
			return;
	}
}

static void
run(struct work_job *job)
{
	struct lane *lane = container_of(job, struct lane, job);
	int msg_fd = lane->spool->files.fd;
	size_t bytes = 0;

	if (!lane->is_listed) {
		lane->status = list_folder(lane, msg_fd);
		lane->is_listed = true;
		lane->at = 0;
	}
	lane->file_count = 0;
	while (lane->file_count < CHUNK && lane->at < lane->id_count &&
	       bytes < CHUNK_BYTES) {
		struct found_file *file = &lane->files[lane->file_count++];

		*file = (struct found_file){.id = lane->ids[lane->at++]};
		load_file(file, msg_fd);
		if (file->status == 0)
			bytes += file->text.head.text_bytes +
				 file->text.states_len;
	}
}

/* The states of the file and those in the log behind them. The log's were
 * checked when it was read at start; they are few. */
char *
load_all_states(struct spool *spool, const struct entry *entry,
		const struct file_text *file, int *status)
{
	size_t len = file->states_len, size = len + 1;
	char *states;
	int rc = 0;

	for (uint32_t i = 0; i < entry_note_count(entry); i++)
		size += entry->notes->each[i].bytes + 1;
	states = mem_alloc(size);
	memcpy(states, file->states, len);
	for (uint32_t i = 0; i < entry_note_count(entry); i++) {
		const struct state_note *note = &entry->notes->each[i];
		struct log_text text;
		int got;

		if (note->number <= file->last_state)
			continue;
		got = files_read_record(spool_segment(spool, note->slot)->fd,
					note->at, entry->id, RECORD_STATE,
					note->bytes, 0, false, &text);
		if (got < 0) {
			if (rc == 0 || rc == -EBADMSG)
				rc = got;
			continue;
		}
		memcpy(states + len, text.text, note->bytes);
		len += note->bytes;
		states[len++] = '\n';
		free(text.bytes);
	}
	states[len] = '\0';
	if (status != NULL)
		*status = rc;
	return states;
}

static void
tell_found(struct spool *spool, struct entry *entry,
	   const struct found_file *file)
{
	char *states = load_all_states(spool, entry, &file->text, NULL);
	struct spool_found found = {
		.id = file->id,
		.envelope = file->text.envelope,
		.states = states,
		.body_bytes = file->text.head.body_bytes,
	};

	spool->callbacks.found(spool->owner, &found);
	free(states);
}

static void
take_file(struct spool *spool, struct found_file *file)
{
	uint32_t handle = index_find(&spool->index, file->id);
	struct entry *entry;

	if (file->status == -ENOENT)
		return; /* settled and removed meanwhile */
	if (handle != 0) {
		entry = index_at(&spool->index, handle);
		if ((entry->flags & ENTRY_GONE) != 0) {
			/* settled before the crash */
			spool_unlink_later(spool, file->id);
			return;
		}
		if ((entry->flags & ENTRY_IN_FILE) == 0) {
			/* the log has it, states and all; and behind the
			 * oldest segment nobody looks for a file of it */
			if (spool_segment(spool, entry->slot)->segno <=
			    spool->durable_head) {
				entry->flags |= ENTRY_HAS_FILE;
			} else {
				spool_unlink_later(spool, file->id);
			}
			return;
		}
		if ((entry->flags & ENTRY_FOUND) != 0)
			return; /* came in large while we loaded */
	} else if (file->id >= spool->loader->first_new) {
		return; /* of this run: on its way in, or settled again */
	} else {
		handle = index_add(&spool->index, file->id);
		entry = index_at(&spool->index, handle);
		entry->flags = ENTRY_IN_FILE;
	}
	if (file->status == 0)
		file_text_trim(&file->text, entry_first_note(entry));
	entry->flags |= ENTRY_FOUND;
	spool->stats.messages++;
	spool->stats.in_files++;
	if (file->status < 0) {
		read_set_aside(spool, file->id);
		return;
	}
	if (file->text.bad_lines != 0) {
		char name[FILES_NAME_MAX];

		spool_report(spool, true, files_name(file->id, name),
			     "%u state lines are damaged",
			     file->text.bad_lines);
	}
	entry->text_bytes = file->text.head.text_bytes;
	entry->body_bytes = file->text.head.body_bytes;
	entry->body_crc = file->text.head.body_crc;
	if (file->text.last_state > entry->states)
		entry->states = file->text.last_state & 0xffffff;
	tell_found(spool, entry, file);
}

/* Entries kept for files that might have been there, and were not. */
static void
sweep(struct spool *spool)
{
	for (uint32_t handle = 1; handle < spool->index.handles; handle++) {
		struct entry *entry = index_at(&spool->index, handle);

		if (entry->id == 0)
			continue;
		if ((entry->flags & ENTRY_GONE) != 0) {
			spool_drop_entry(spool, handle);
		} else if ((entry->flags & (ENTRY_IN_FILE | ENTRY_FOUND)) ==
			   ENTRY_IN_FILE) {
			/* states of a message that is gone */
			spool_unlist(spool, handle);
			index_drop_notes(&spool->index, entry);
			index_remove(&spool->index, handle);
		} else {
			entry->flags &=
				(uint32_t) ~(ENTRY_FOUND | ENTRY_COPIED) & 0xff;
		}
	}
}

/*
 * Messages that are not known now would lose their states, and settled ones
 * come back, once head passes what the log says of them. So this spool goes on
 * as one that is still loading, which nothing is forgotten in, and ends.
 */
static void
give_up(struct spool *spool)
{
	spool_report(spool, true, "msg",
		     "not all messages are known: no more mail is accepted");
	if (spool->is_broken)
		return;
	spool->is_broken = true;
	spool->callbacks.broken(spool->owner);
}

static void
end_loading(struct spool *spool)
{
	struct loader *loader = spool->loader;
	bool is_incomplete = loader->is_incomplete;
	struct list *node;

	spool->loader = NULL;
	free(loader);
	if (is_incomplete) {
		give_up(spool);
		return;
	}
	spool->is_loading = false;
	sweep(spool);
	/* unlinks asked for meanwhile belong to any of the segments so far */
	list_each (node, &spool->used)
		container_of(node, struct segment, link)->has_unlinks = true;
	spool->callbacks.loaded(spool->owner);
	spool_go_on(spool);
}

static void
next_folder(struct lane *lane)
{
	free(lane->ids);
	lane->ids = NULL;
	lane->id_count = lane->at = 0;
	lane->strange = 0;
	lane->is_listed = false;
	lane->folder = lane->loader->next_folder++;
}

static void
on_run(struct work_job *job)
{
	struct lane *lane = container_of(job, struct lane, job);
	struct spool *spool = lane->spool;
	char name[32];

	for (size_t i = 0; i < lane->file_count && lane->loader != NULL; i++)
		take_file(spool, &lane->files[i]);
	if (lane->loader == NULL || lane->at < lane->id_count)
		return;
	(void)snprintf(name, sizeof(name), "msg/%02x", lane->folder);
	if (lane->status < 0) {
		spool_report(spool, true, name, "cannot be read: %s",
			     strerror(-lane->status));
		lane->loader->is_incomplete = true;
	}
	if (lane->strange != 0)
		spool_report(spool, true, name, "%u files here are no messages",
			     lane->strange);
	next_folder(lane);
}

static void
on_free(struct work_job *job)
{
	struct lane *lane = container_of(job, struct lane, job);
	struct spool *spool = lane->spool;
	struct loader *loader = lane->loader;

	for (size_t i = 0; i < lane->file_count; i++)
		file_text_done(&lane->files[i].text);
	lane->file_count = 0;
	if (loader != NULL && lane->folder < FILES_FOLDERS) {
		work_start(spool->loop, &lane->job, &spool->reading);
		return;
	}
	if (loader != NULL) {
		for (unsigned i = 0; i < LANES; i++)
			if (loader->lanes[i] == lane)
				loader->lanes[i] = NULL;
		loader->running--;
		if (loader->running == 0)
			end_loading(spool);
	}
	free(lane->ids);
	free(lane);
	spool_job_ended(spool);
}

void
loader_start(struct spool *spool)
{
	struct loader *loader = mem_zalloc(sizeof(*loader));

	spool->loader = loader;
	spool->is_loading = true;
	loader->first_new = spool->next_id;
	for (unsigned i = 0; i < LANES; i++) {
		struct lane *lane = mem_zalloc(sizeof(*lane));

		lane->loader = loader;
		lane->spool = spool;
		loader->lanes[i] = lane;
		loader->running++;
		next_folder(lane);
		lane->job.run = run;
		lane->job.done = on_run;
		lane->job.free_job = on_free;
		spool_job_started(spool);
		work_start(spool->loop, &lane->job, &spool->reading);
	}
}

void
loader_stop(struct spool *spool)
{
	struct loader *loader = spool->loader;

	if (loader == NULL)
		return;
	for (unsigned i = 0; i < LANES; i++)
		if (loader->lanes[i] != NULL)
			loader->lanes[i]->loader = NULL;
	spool->loader = NULL;
	free(loader);
}
