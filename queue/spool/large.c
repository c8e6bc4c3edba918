/* SPDX-License-Identifier: ISC */
/*
 * A message that is streamed to its file from the start. One chunk is being
 * written by a worker while the next one fills; when that is full as well,
 * the caller waits. The file is written as tmp/ID, with room left for the
 * envelope, which comes at the end; then synced, moved to msg/XX/ID, and the
 * folder synced (I1).
 */
#include "queue/spool/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/crc32c.h"
#include "lib/mem.h"
#include "queue/spool/disk.h"
#include "queue/spool/mutant.h"

#define CHUNK	  (512u << 10)
#define HEAD_ROOM 8192u /* first line, envelope, padding, blank line */

struct large {
	struct work_job job;
	struct spool *spool;
	struct spool_put *put; /* NULL: given up */
	uint64_t id;

	/* the worker's while is_running, then the loop's */
	int fd;
	uint64_t at; /* body bytes written */
	int status;
	uint8_t *writing;
	size_t writing_len, writing_size;
	struct file_head head;
	char *envelope; /* owns; NULL: not the end yet */

	/* loop thread */
	uint8_t *filling;
	size_t filling_len, filling_size;
	uint64_t body_bytes;
	uint32_t body_crc;
	char *end_envelope; /* owns; waits for its turn */
	bool is_running, is_waiting, is_finished;
};

/* --------------------------------------------------------------- workers */

static char *
tmp_name(const struct large *large, char to[SPOOL_ID_MAX])
{
	return spool_id_format(large->id, to);
}

/* Moves the body when the envelope needs more room than was left. */
static int
copy_behind(struct large *large)
{
	uint8_t *chunk = mem_alloc(CHUNK);
	char name[SPOOL_ID_MAX];
	uint64_t at = 0;
	int fd, rc;

	rc = disk_unlink(large->spool->door.tmp_fd, tmp_name(large, name));
	fd = rc < 0 ? rc
		    : disk_open(large->spool->door.tmp_fd, name,
				O_RDWR | O_CREAT | O_EXCL);
	rc = fd < 0 ? fd : 0;
	while (rc == 0 && at < large->head.body_bytes) {
		uint64_t left = large->head.body_bytes - at;
		size_t len = left < CHUNK ? (size_t)left : CHUNK;

		rc = disk_read(large->fd, chunk, len, HEAD_ROOM + at);
		if (rc == 0)
			rc = disk_write(fd, chunk, len,
					large->head.body_at + at);
		at += len;
	}
	free(chunk);
	if (fd >= 0) {
		(void)close(large->fd); /* the copy counts */
		large->fd = fd;
	}
	return rc;
}

/* First line, envelope, a line of dots as padding, the blank line; and the
 * newline behind the body. */
static int
write_head(struct large *large)
{
	struct file_head *head = &large->head;
	size_t used = FILE_HEAD_BYTES + head->text_bytes;
	char first[FILE_HEAD_MAX], *bytes;
	int rc = 0;

	head->body_at = HEAD_ROOM;
	if (used + 1 != HEAD_ROOM && used + 3 > HEAD_ROOM) {
		head->body_at = (uint32_t)used + 1;
		rc = copy_behind(large);
	}
	if (rc < 0)
		return rc;
	file_head_encode(head, large->envelope, first);
	bytes = mem_alloc(head->body_at);
	memcpy(bytes, first, FILE_HEAD_BYTES);
	memcpy(bytes + FILE_HEAD_BYTES, large->envelope, head->text_bytes);
	if (used + 1 < head->body_at) {
		memset(bytes + used, '.', head->body_at - used);
		bytes[head->body_at - 2] = '\n';
	}
	bytes[head->body_at - 1] = '\n';
	rc = disk_write(large->fd, bytes, head->body_at, 0);
	free(bytes);
	if (rc == 0)
		rc = disk_write(large->fd, "\n", 1,
				head->body_at + head->body_bytes);
	return rc;
}

static int
finish(struct large *large)
{
	struct files *files = &large->spool->files;
	unsigned folder = files_folder(large->id);
	char from[SPOOL_ID_MAX], to[FILES_NAME_MAX];
	int rc = write_head(large);

	if (rc == 0 && !MUTANT(LARGE_UNSYNCED))
		rc = disk_sync(large->fd);
	if (rc == 0)
		rc = files_make_folder(files, folder);
	if (rc == 0)
		rc = disk_rename(large->spool->door.tmp_fd,
				 tmp_name(large, from), files->fd,
				 files_name(large->id, to));
	if (rc < 0)
		return rc;
	rc = MUTANT(LARGE_FOLDER_UNSYNCED) ? 0
					   : files_sync_folder(files, folder);
	if (rc < 0)
		(void)files_unlink(files, large->id); /* 451 follows */
	return rc;
}

static void
run(struct work_job *job)
{
	struct large *large = container_of(job, struct large, job);
	char name[SPOOL_ID_MAX];

	if (large->status == 0 && large->fd < 0) {
		large->fd = disk_open(large->spool->door.tmp_fd,
				      tmp_name(large, name),
				      O_RDWR | O_CREAT | O_EXCL);
		if (large->fd < 0)
			large->status = large->fd;
	}
	if (large->status == 0)
		large->status =
			disk_write(large->fd, large->writing,
				   large->writing_len, HEAD_ROOM + large->at);
	/* only a hint: let the disk begin, so that the last sync is short */
	if (large->status == 0)
		(void)sync_file_range(large->fd, (off_t)(HEAD_ROOM + large->at),
				      (off_t)large->writing_len,
				      SYNC_FILE_RANGE_WRITE);
	large->at += large->writing_len;
	if (large->status == 0 && large->envelope != NULL)
		large->status = finish(large);
}

static void
run_remove(struct work_job *job)
{
	struct large *large = container_of(job, struct large, job);
	char name[SPOOL_ID_MAX], in_msg[FILES_NAME_MAX];

	if (large->fd >= 0)
		(void)close(large->fd); /* nobody was told it is there */
	large->fd = -1;
	(void)disk_unlink(large->spool->door.tmp_fd, tmp_name(large, name));
	if (large->envelope != NULL)
		(void)disk_unlink(large->spool->files.fd,
				  files_name(large->id, in_msg));
}

/* ------------------------------------------------------------------ loop */

static void on_written(struct work_job *job);
static void on_free(struct work_job *job);

static void
free_large(struct large *large)
{
	free(large->writing);
	free(large->filling);
	free(large->envelope);
	free(large->end_envelope);
	free(large);
}

static void
start(struct large *large)
{
	uint8_t *bytes = large->writing;
	size_t size = large->writing_size;

	large->writing = large->filling;
	large->writing_len = large->filling_len;
	large->writing_size = large->filling_size;
	large->filling = bytes;
	large->filling_len = 0;
	large->filling_size = size;
	if (large->end_envelope != NULL) {
		large->envelope = large->end_envelope;
		large->end_envelope = NULL;
		large->head = (struct file_head){
			.id = large->id,
			.text_bytes = (uint32_t)strlen(large->envelope),
			.body_bytes = large->body_bytes,
			.body_crc = large->body_crc,
		};
	}
	large->is_running = true;
	large->job.run = run;
	large->job.done = on_written;
	large->job.free_job = on_free;
	spool_job_started(large->spool);
	work_start(large->spool->loop, &large->job, &large->spool->writing);
}

static void
start_remove(struct large *large)
{
	large->is_running = true;
	large->is_finished = true;
	large->job.run = run_remove;
	large->job.done = NULL;
	large->job.free_job = on_free;
	spool_job_started(large->spool);
	work_start(large->spool->loop, &large->job, NULL);
}

static void
on_written(struct work_job *job)
{
	container_of(job, struct large, job)->is_running = false;
}

/* The end of each job; the next step needs the job's memory again. */
static void
on_free(struct work_job *job)
{
	struct large *large = container_of(job, struct large, job);
	struct spool *spool = large->spool;
	struct spool_put *put = large->put;

	large->is_running = false;
	if (large->is_finished) {
		free_large(large);
	} else if (put == NULL) {
		start_remove(large);
	} else if (large->envelope != NULL) {
		large->put = NULL;
		large_ended(spool, put, large->status, &large->head);
		if (large->status < 0) {
			start_remove(large);
		} else {
			(void)close(large->fd); /* it was synced */
			free_large(large);
		}
	} else {
		if (large->filling_len >= CHUNK || large->end_envelope != NULL)
			start(large);
		if (large->is_waiting && large->filling_len < CHUNK) {
			large->is_waiting = false;
			put->on_room(put->owner);
		}
	}
	spool_job_ended(spool);
}

struct large *
large_new(struct spool *spool, uint64_t id, struct spool_put *put)
{
	struct large *large = mem_zalloc(sizeof(*large));

	large->spool = spool;
	large->id = id;
	large->put = put;
	large->fd = -1;
	return large;
}

bool
large_data(struct large *large, const void *bytes, size_t len)
{
	size_t need = large->filling_len + len;

	if (need > large->filling_size) {
		large->filling_size = need > CHUNK ? need : CHUNK;
		large->filling =
			mem_resize(large->filling, large->filling_size, 1);
	}
	if (len != 0)
		memcpy(large->filling + large->filling_len, bytes, len);
	large->filling_len += len;
	large->body_bytes += len;
	large->body_crc = crc32c(large->body_crc, bytes, len);
	if (large->filling_len < CHUNK)
		return false;
	if (!large->is_running) {
		start(large);
		return false;
	}
	large->is_waiting = true;
	return true;
}

void
large_end(struct large *large, const char *envelope)
{
	large->is_waiting = false;
	large->end_envelope = mem_strdup(envelope);
	if (!large->is_running)
		start(large);
}

void
large_abort(struct large *large)
{
	large->put = NULL;
	if (!large->is_running)
		start_remove(large);
}
