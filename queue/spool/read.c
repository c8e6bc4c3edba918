/* SPDX-License-Identifier: ISC */
/* Reading back: envelopes, states and bodies, from memory, log or file. */
#include "queue/spool/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/crc32c.h"
#include "lib/mem.h"
#include "queue/spool/disk.h"
#include "queue/spool/mutant.h"

enum source { SOURCE_NONE, SOURCE_MEMORY, SOURCE_LOG, SOURCE_FILE };

struct job_note {
	struct segment *segment; /* holds a reader */
	uint32_t at, bytes, number;
};

/* What a worker gets: copies of where things are. */
struct read_job {
	struct work_job job;
	struct spool *spool;
	struct spool_load *load; /* one of both; NULL when cancelled */
	struct spool_read *read;
	uint64_t id;

	enum source source;
	struct segment *segment; /* holds a reader */
	struct body *body;	 /* shares */
	uint64_t segno;		 /* of its use then */
	uint32_t at, text_bytes, body_crc;
	uint64_t body_bytes;
	struct job_note *notes; /* owns */
	size_t note_count;
	uint64_t offset;
	size_t max;

	int status;
	char *envelope, *states; /* own */
	uint8_t *bytes;		 /* owns */
	size_t len;
};

struct spool_load {
	struct read_job *job;
	void (*on_text)(void *arg, int status, const struct spool_text *text);
	void *arg;
};

struct spool_read {
	struct read_job *job;
	void (*on_bytes)(void *arg, int status, const uint8_t *bytes,
			 size_t len);
	void *arg;
	uint64_t offset;
	size_t max;
};

/* --------------------------------------------------------------- workers */

static int
add_states(struct read_job *job, size_t have, uint32_t last)
{
	size_t size = have + 1;

	for (size_t i = 0; i < job->note_count; i++)
		size += job->notes[i].bytes + 1;
	job->states = mem_resize(job->states, size, 1);
	for (size_t i = 0; i < job->note_count; i++) {
		const struct job_note *note = &job->notes[i];
		struct log_text text;
		int rc;

		if (note->number <= last)
			continue; /* the file has it */
		rc = files_read_record(note->segment->fd, note->at, job->id,
				       RECORD_STATE, note->bytes, 0, false,
				       &text);
		if (rc == -EBADMSG)
			continue; /* at least once: it is tried again */
		if (rc < 0)
			return rc;
		memcpy(job->states + have, text.text, note->bytes);
		have += note->bytes;
		job->states[have++] = '\n';
		free(text.bytes);
	}
	job->states[have] = '\0';
	return 0;
}

static int
load_text(struct read_job *job)
{
	struct file_text file;
	struct log_text text;
	int rc;

	if (job->source == SOURCE_LOG) {
		/* payload is checked against the whole body's length */
		rc = files_read_record(job->segment->fd, job->at, job->id,
				       RECORD_MSG, job->text_bytes,
				       job->body_bytes, false, &text);
		if (rc < 0)
			return rc;
		job->envelope = mem_dup(text.text, job->text_bytes);
		free(text.bytes);
		return add_states(job, 0, 0);
	}
	rc = files_load(job->spool->files.fd, job->id, &file);
	if (rc < 0)
		return rc;
	file_text_trim(&file, job->note_count != 0 ? job->notes[0].number : 0);
	job->envelope = file.envelope;
	job->states = file.states;
	job->body_bytes = file.head.body_bytes;
	return add_states(job, file.states_len, file.last_state);
}

static int
load_body(struct read_job *job)
{
	uint64_t left = job->offset < job->body_bytes
				? job->body_bytes - job->offset
				: 0;

	job->len = left < job->max ? (size_t)left : job->max;
	if (job->len == 0)
		return 0;
	job->bytes = mem_alloc(job->len);
	if (job->source == SOURCE_LOG)
		return disk_read(job->segment->fd, job->bytes, job->len,
				 (uint64_t)job->at + RECORD_HEADER +
					 job->text_bytes + job->offset);
	return files_read_body(job->spool->files.fd, job->id, job->body_bytes,
			       job->offset, job->bytes, &job->len);
}

static void
run(struct work_job *work)
{
	struct read_job *job = container_of(work, struct read_job, job);

	switch (job->source) {
	case SOURCE_NONE:
		job->status = -ENOENT;
		break;
	case SOURCE_MEMORY:
		break;
	case SOURCE_LOG:
	case SOURCE_FILE:
		job->status =
			job->load != NULL ? load_text(job) : load_body(job);
		break;
	}
}

/* ------------------------------------------------------------------ loop */

static void
free_read_job(struct work_job *work)
{
	struct read_job *job = container_of(work, struct read_job, job);
	struct spool *spool = job->spool;

	if (job->segment != NULL)
		keep_drop_reader(spool, job->segment);
	for (size_t i = 0; i < job->note_count; i++)
		keep_drop_reader(spool, job->notes[i].segment);
	body_unref(job->body);
	free(job->notes);
	free(job->envelope);
	free(job->states);
	free(job->bytes);
	free(job);
	spool_job_ended(spool);
}

static void
hold_notes(struct spool *spool, struct read_job *job, const struct entry *entry)
{
	uint32_t count = entry_note_count(entry);

	if (count == 0)
		return;
	job->notes = mem_alloc(count * sizeof(*job->notes));
	for (uint32_t i = 0; i < count; i++) {
		const struct state_note *note = &entry->notes->each[i];
		struct segment *segment = spool_segment(spool, note->slot);

		segment->readers++;
		job->notes[job->note_count++] =
			(struct job_note){segment, note->at, note->bytes,
					  note->number};
	}
}

/* Finds where the message is now. */
static void
locate(struct spool *spool, struct read_job *job)
{
	uint32_t handle = index_find(&spool->index, job->id);
	struct entry *entry;

	if (handle == 0)
		return;
	entry = index_at(&spool->index, handle);
	if (!spool_is_live(entry) ||
	    ((entry->flags & ENTRY_IN_FILE) != 0 && entry->text_bytes == 0 &&
	     (entry->flags & ENTRY_FOUND) == 0 && spool->is_loading))
		return; /* settled, or its file was not seen yet */
	job->body_bytes = entry->body_bytes;
	job->body_crc = entry->body_crc;
	if (job->read != NULL && entry->body != NULL) {
		job->source = SOURCE_MEMORY;
		job->body = entry->body;
		job->body->refs++;
		return;
	}
	if (job->load != NULL)
		hold_notes(spool, job, entry);
	if ((entry->flags & ENTRY_IN_FILE) != 0) {
		job->source = SOURCE_FILE;
		return;
	}
	job->source = SOURCE_LOG;
	job->segment = spool_segment(spool, entry->slot);
	job->segment->readers++;
	job->segno = job->segment->segno;
	job->at = entry->at * RECORD_ALIGN;
	job->text_bytes = entry->text_bytes;
}

static void on_read(struct work_job *work);

static struct read_job *
start(struct spool *spool, uint64_t id, struct spool_load *load,
      struct spool_read *read)
{
	struct read_job *job = mem_zalloc(sizeof(*job));

	job->spool = spool;
	job->id = id;
	job->load = load;
	job->read = read;
	job->job.run = run;
	job->job.done = on_read;
	job->job.free_job = free_read_job;
	if (read != NULL) {
		job->offset = read->offset;
		job->max = read->max;
	}
	locate(spool, job);
	spool_job_started(spool);
	work_start(spool->loop, &job->job, &spool->reading);
	return job;
}

/*
 * Goes on with the checksum of whoever read up to job->offset. Two readers
 * side by side at the same place have the same checksum, so it does not
 * matter which of them this is.
 */
static bool
is_verified(struct spool *spool, const struct read_job *job,
	    const uint8_t *bytes)
{
	struct progress *progress = NULL;

	if (job->offset == 0) {
		progress =
			&spool->progress[spool->progress_next++ % PROGRESS_MAX];
		*progress = (struct progress){.id = job->id};
	}
	for (unsigned i = 0; progress == NULL && i < PROGRESS_MAX; i++)
		if (spool->progress[i].id == job->id &&
		    spool->progress[i].next == job->offset)
			progress = &spool->progress[i];
	if (progress == NULL)
		return true; /* not read in order: not checked */
	progress->crc = crc32c(progress->crc, bytes, job->len);
	progress->next += job->len;
	if (progress->next < job->body_bytes)
		return true;
	progress->id = 0;
	return progress->crc == job->body_crc || MUTANT(BODY_UNCHECKED);
}

/* Whether the message moved on while the worker read: then once more. */
static bool
has_moved(struct spool *spool, const struct read_job *job)
{
	uint32_t handle = index_find(&spool->index, job->id);
	const struct entry *entry;

	if (handle == 0)
		return job->source != SOURCE_NONE;
	entry = index_at(&spool->index, handle);
	if (!spool_is_live(entry))
		return job->source != SOURCE_NONE;
	return job->source == SOURCE_LOG &&
	       ((entry->flags & ENTRY_IN_FILE) != 0 ||
		entry->at * RECORD_ALIGN != job->at ||
		spool_segment(spool, entry->slot)->segno != job->segno);
}

static void
deliver_load(struct read_job *job)
{
	struct spool_load *load = job->load;
	struct spool_text text = {job->envelope, job->states, job->body_bytes};

	load->on_text(load->arg, job->status, job->status == 0 ? &text : NULL);
	free(load);
}

static void
deliver_read(struct spool *spool, struct read_job *job)
{
	struct spool_read *read = job->read;
	const uint8_t *bytes = job->bytes;

	if (job->source == SOURCE_MEMORY) {
		uint64_t left = job->offset < job->body->bytes
					? job->body->bytes - job->offset
					: 0;

		job->len = left < job->max ? (size_t)left : job->max;
		bytes = job->body->data + job->offset;
	} else if (job->status == 0 && job->len != 0 &&
		   !is_verified(spool, job, bytes)) {
		job->status = -EBADMSG;
		read_set_aside(spool, job->id);
	}
	read->on_bytes(read->arg, job->status, job->status == 0 ? bytes : NULL,
		       job->status == 0 ? job->len : 0);
	free(read);
}

static void
on_read(struct work_job *work)
{
	struct read_job *job = container_of(work, struct read_job, job);
	struct spool *spool = job->spool;

	if (spool->life != SPOOL_OPEN) {
		free(job->load);
		free(job->read);
		return;
	}
	/* a segment that was left may hold other bytes by now */
	if ((job->status < 0 || job->source == SOURCE_LOG) &&
	    has_moved(spool, job)) {
		struct read_job *again =
			start(spool, job->id, job->load, job->read);

		if (job->load != NULL)
			job->load->job = again;
		else
			job->read->job = again;
		return;
	}
	if (job->status < 0 && job->source != SOURCE_NONE) {
		if (job->status == -ENOENT || job->status == -ENODATA)
			job->status = -EBADMSG; /* it should be there */
		if (job->status == -EBADMSG)
			read_set_aside(spool, job->id);
	}
	if (job->load != NULL)
		deliver_load(job);
	else
		deliver_read(spool, job);
}

struct spool_load *
spool_load(struct spool *spool, uint64_t id,
	   void (*on_text)(void *arg, int status,
			   const struct spool_text *text),
	   void *arg)
{
	struct spool_load *load = mem_zalloc(sizeof(*load));

	load->on_text = on_text;
	load->arg = arg;
	load->job = start(spool, id, load, NULL);
	return load;
}

void
spool_load_cancel(struct spool_load *load)
{
	work_detach(&load->job->job);
	free(load);
}

struct spool_read *
spool_read(struct spool *spool, uint64_t id, uint64_t offset, size_t max,
	   void (*on_bytes)(void *arg, int status, const uint8_t *bytes,
			    size_t len),
	   void *arg)
{
	struct spool_read *read = mem_zalloc(sizeof(*read));

	read->on_bytes = on_bytes;
	read->arg = arg;
	read->offset = offset;
	read->max = max;
	read->job = start(spool, id, NULL, read);
	return read;
}

void
spool_read_cancel(struct spool_read *read)
{
	work_detach(&read->job->job);
	free(read);
}

/* ---------------------------------------------------------- damaged ones */

struct aside_job {
	struct work_job job;
	struct spool *spool;
	uint64_t id;
	struct segment *segment; /* NULL: a file */
	uint32_t at;
	size_t len;
	int status;
	bool is_lost; /* not even the file's name is to be had */
};

void
read_around(int fd, uint8_t *to, size_t len, uint64_t at)
{
	size_t step = FORMAT_BLOCK;

	if (disk_read(fd, to, len, at) == 0)
		return;
	for (size_t i = 0; i < len; i += step) {
		if (len - i < step)
			step = len - i;
		/* one bad block must not take the rest with it */
		if (disk_read(fd, to + i, step, at + i) < 0)
			memset(to + i, 0, step);
	}
}

/* The damaged bytes as they are, for people. */
int
read_copy_out(int from, uint32_t at, size_t len, int to_dir, const char *name)
{
	uint8_t *bytes = mem_zalloc(len);
	int fd, rc;

	read_around(from, bytes, len, at);
	fd = disk_open(to_dir, name, O_WRONLY | O_CREAT | O_TRUNC);
	rc = fd < 0 ? fd : disk_write(fd, bytes, len, 0);
	free(bytes);
	if (fd < 0)
		return rc;
	if (rc == 0)
		rc = disk_sync(fd);
	(void)close(fd); /* what counts is the sync */
	return rc == 0 ? disk_sync(to_dir) : rc;
}

static void
run_aside(struct work_job *work)
{
	struct aside_job *job = container_of(work, struct aside_job, job);
	struct spool *spool = job->spool;
	char name[SPOOL_ID_MAX], from[FILES_NAME_MAX];

	spool_id_format(job->id, name);
	if (job->segment != NULL) {
		job->status = read_copy_out(job->segment->fd, job->at, job->len,
					    spool->door.corrupt_fd, name);
		return;
	}
	job->status = disk_rename(spool->files.fd, files_name(job->id, from),
				  spool->door.corrupt_fd, name);
	job->is_lost = files_is_lost(job->status);
	if (job->status == -ENOENT)
		job->status = 0; /* there is nothing to keep */
	if (job->status == 0)
		job->status = disk_sync(spool->door.corrupt_fd);
	if (job->status == 0)
		job->status =
			files_sync_folder(&spool->files, files_folder(job->id));
}

/*
 * It stays as it is. If the disk gives nothing of a file back, not even its
 * name, head must not wait for it: what the log says of it besides is given up,
 * and tried again, should the file be there again one day.
 */
static void
leave_there(struct spool *spool, const struct aside_job *job, uint32_t handle)
{
	struct entry *entry;

	/* whoever meets it next tries again: the tick, if it is in the way */
	spool->is_late = true;
	if (handle == 0)
		return;
	entry = index_at(&spool->index, handle);
	entry->flags &= (uint32_t)~ENTRY_DAMAGED & 0xff;
	if (!job->is_lost)
		return;
	spool_unlist(spool, handle);
	index_drop_notes(&spool->index, entry);
}

static void
on_aside(struct work_job *work)
{
	struct aside_job *job = container_of(work, struct aside_job, job);
	struct spool *spool = job->spool;
	uint32_t handle = index_find(&spool->index, job->id);
	char name[SPOOL_ID_MAX], file[32];

	(void)snprintf(file, sizeof(file), "corrupt/%s",
		       spool_id_format(job->id, name));
	if (job->status < 0) {
		if (!spool->is_aside_told)
			spool_report(
				spool, true, file,
				"a damaged message cannot be set aside: %s",
				strerror(-job->status));
		spool->is_aside_told = true;
		leave_there(spool, job, handle);
		return;
	}
	spool->is_aside_told = false;
	spool->stats.corrupt++;
	spool_report(spool, true, file,
		     "the message is damaged and was set aside");
	if (handle == 0)
		return;
	/* the copy is durable: the segment need not wait for the record */
	spool_unlist(spool, handle);
	index_at(&spool->index, handle)->flags &=
		(uint32_t)~ENTRY_DAMAGED & 0xff;
	spool_done(spool, job->id);
}

static void
free_aside(struct work_job *work)
{
	struct aside_job *job = container_of(work, struct aside_job, job);
	struct spool *spool = job->spool;

	if (job->segment != NULL)
		keep_drop_reader(spool, job->segment);
	free(job);
	spool_job_ended(spool);
}

void
read_set_aside(struct spool *spool, uint64_t id)
{
	uint32_t handle = index_find(&spool->index, id);
	struct aside_job *job;
	struct entry *entry;

	if (handle == 0)
		return;
	entry = index_at(&spool->index, handle);
	if (!spool_is_live(entry))
		return;
	job = mem_zalloc(sizeof(*job));
	job->spool = spool;
	job->id = id;
	if ((entry->flags & ENTRY_IN_FILE) == 0) {
		job->segment = spool_segment(spool, entry->slot);
		job->segment->readers++;
		job->at = entry->at * RECORD_ALIGN;
		job->len = RECORD_HEADER + entry->text_bytes +
			   (size_t)entry->body_bytes;
	}
	entry->flags |= ENTRY_DAMAGED;
	job->job.run = run_aside;
	job->job.done = on_aside;
	job->job.free_job = free_aside;
	spool_job_started(spool);
	work_start(spool->loop, &job->job, &spool->reading);
}
