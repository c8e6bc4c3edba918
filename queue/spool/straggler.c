/* SPDX-License-Identifier: ISC */
#include "queue/spool/straggler.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/mem.h"
#include "queue/spool/disk.h"
#include "queue/spool/mutant.h"

/* Above it, one sync of the file system is less. */
#define FSYNC_EACH_MAX 16 /* files */
#define FOLDERS_MAX    64 /* folders */

void
straggler_job_free(struct straggler_job *job)
{
	if (job == NULL)
		return;
	for (size_t i = 0; i < job->move_count; i++)
		free(job->moves[i].notes);
	free(job->moves);
	free(job->unlinks);
	free(job->stuck);
	free(job);
}

/* The pending states of a message as lines of its file. */
static int
format_notes(struct move *move, bool is_last_try, char **out, size_t *out_len)
{
	size_t size = 1;
	char *lines;
	size_t len = 0;

	for (size_t i = 0; i < move->note_count; i++)
		size += move->notes[i].bytes + FILE_LINE_SUFFIX;
	lines = mem_alloc(size);
	for (size_t i = 0; i < move->note_count; i++) {
		struct move_note *note = &move->notes[i];
		struct log_text text;
		int rc = files_read_record(note->fd, note->at, move->id,
					   RECORD_STATE, note->bytes, 0, false,
					   &text);

		note->is_unread = rc < 0 && rc != -EBADMSG && is_last_try;
		if (rc == -EBADMSG || note->is_unread)
			continue; /* at least once: it will be tried again */
		if (rc < 0) {
			free(lines);
			return rc;
		}
		if (MUTANT(STATES_FORGOTTEN))
			break;
		len += file_state_encode(move->id, note->number, text.text,
					 note->bytes, lines + len);
		free(text.bytes);
	}
	*out = lines;
	*out_len = len;
	return 0;
}

static int
append_lines(struct straggler *straggler, struct move *move, const char *lines,
	     size_t len)
{
	uint32_t first =
		move->note_count != 0 ? move->notes[0].number : UINT32_MAX;
	bool is_unread = false;
	int rc = files_append(straggler->files, move->id, first, lines, len,
			      &is_unread);

	if (is_unread || rc == -EBADMSG || rc == -ENOENT)
		move->status = rc;
	return rc;
}

static int
write_file(struct straggler *straggler, struct move *move, const char *lines,
	   size_t len, bool sync_now)
{
	unsigned folder = files_folder(move->id);
	struct log_text text;
	int rc;

	move->status = files_read_record(move->fd, move->at, move->id,
					 RECORD_MSG, move->text_bytes,
					 move->body_bytes, true, &text);
	if (move->status < 0)
		return move->status;
	rc = sync_now ? files_make_folder(straggler->files, folder)
		      : files_begin_folder(straggler->files, folder);
	if (rc == 0)
		rc = files_write_into(straggler->files, &text, lines, len);
	free(text.bytes);
	return rc;
}

/* Returns a descriptor. What could not be read is the move's status. */
static int
open_move(struct straggler *straggler, struct move *move,
	  const struct straggler_job *job, bool sync_now)
{
	char *lines;
	size_t len;
	int rc;

	move->status = format_notes(move, job->is_last_try, &lines, &len);
	if (move->status < 0)
		return move->status;
	rc = move->is_append
		     ? append_lines(straggler, move, lines, len)
		     : write_file(straggler, move, lines, len, sync_now);
	free(lines);
	return rc;
}

static int
do_move(struct straggler *straggler, struct move *move,
	const struct straggler_job *job, bool sync_now)
{
	int fd = open_move(straggler, move, job, sync_now), rc = 0;

	if (move->status < 0)
		return 0; /* this one alone */
	if (fd < 0)
		return fd;
	if (!MUTANT(FOLDER_UNSYNCED))
		straggler->is_dirty[files_folder(move->id)] = true;
	if (sync_now && !MUTANT(FILE_UNSYNCED))
		rc = disk_sync(fd);
	straggler->has_failed_sync |= rc < 0;
	(void)close(fd); /* what counts is the sync */
	return rc;
}

static unsigned
dirty_folders(const struct straggler *straggler)
{
	unsigned count = 0;

	for (unsigned i = 0; i < FILES_FOLDERS; i++)
		count += straggler->is_dirty[i];
	return count;
}

/* Everything at once: files, folders, and that these are there. */
static int
sync_all(struct straggler *straggler, const struct straggler_job *job)
{
	int rc = disk_syncfs(straggler->files->fd);

	if (rc < 0)
		return rc;
	/* for one whose record is damaged no folder was made */
	for (size_t i = 0; i < job->move_count; i++)
		if (job->moves[i].status == 0)
			atomic_store(&straggler->files->is_durable[files_folder(
					     job->moves[i].id)],
				     1);
	memset(straggler->is_dirty, 0, sizeof(straggler->is_dirty));
	return 0;
}

static int
sync_folders(struct straggler *straggler)
{
	for (unsigned i = 0; i < FILES_FOLDERS; i++) {
		int rc;

		if (!straggler->is_dirty[i])
			continue;
		rc = files_sync_folder(straggler->files, i);
		if (rc < 0)
			return rc;
		straggler->is_dirty[i] = false;
	}
	return 0;
}

/*
 * The files begun by a retiring that failed. Where one may still be, now or
 * after a crash, its message is not settled before it is surely gone; and
 * after a failed sync nobody knows, because the next one says nothing.
 */
static void
remove_files(struct straggler *straggler, struct straggler_job *job,
	     size_t count)
{
	bool is_gone;

	for (size_t i = 0; i < count; i++) {
		struct move *move = &job->moves[i];

		if (move->is_append)
			continue;
		move->may_have_file =
			files_unlink(straggler->files, move->id) < 0;
		straggler->is_dirty[files_folder(move->id)] = true;
	}
	is_gone = !straggler->has_failed_sync && sync_folders(straggler) == 0;
	for (size_t i = 0; i < count; i++)
		job->moves[i].may_have_file |= !is_gone;
}

/*
 * I3: head may pass a segment only after this returned 0 for it: every live
 * message of it stands in a synced file within a synced folder, pending
 * states are in their files, and every unlink asked for before is durable.
 *
 * A file that could not be synced is removed: its pages are never believed
 * again, and the log still has the message.
 */
static int
retire(struct straggler *straggler, struct straggler_job *job)
{
	bool each =
		!disk_has_syncfs() || (job->move_count <= FSYNC_EACH_MAX &&
				       dirty_folders(straggler) <= FOLDERS_MAX);
	size_t done = 0;
	int rc = 0;

	straggler->has_failed_sync = false;
	for (; rc == 0 && done < job->move_count; done++) {
		if (atomic_load(&straggler->is_stopping))
			rc = -ECANCELED;
		else
			rc = do_move(straggler, &job->moves[done], job, each);
	}
	if (rc == 0) {
		if (!each && !MUTANT(FILE_UNSYNCED))
			rc = sync_all(straggler, job);
		if (rc == 0)
			rc = sync_folders(straggler);
		if (rc == 0)
			return 0;
		straggler->has_failed_sync = true;
	}
	remove_files(straggler, job, done);
	return rc;
}

/* Returns what became of it; a failure is remembered. */
static int
unlink_one(struct straggler *straggler, uint64_t id)
{
	int rc = files_unlink(straggler->files, id);

	if (!MUTANT(UNLINK_UNSYNCED))
		straggler->is_dirty[files_folder(id)] = true;
	if (rc == 0)
		return 0;
	straggler->failed =
		mem_resize(straggler->failed, straggler->failed_count + 1,
			   sizeof(*straggler->failed));
	straggler->failed[straggler->failed_count++] = id;
	return rc;
}

static void
unlink_again(struct straggler *straggler)
{
	uint64_t *again = straggler->failed;
	size_t count = straggler->failed_count;

	straggler->failed = NULL;
	straggler->failed_count = 0;
	for (size_t i = 0; i < count; i++)
		(void)unlink_one(straggler, again[i]); /* remembered */
	free(again);
}

static void
unlink_all(struct straggler *straggler, struct straggler_job *job)
{
	for (size_t i = 0; i < job->unlink_count; i++) {
		int rc = unlink_one(straggler, job->unlinks[i]);

		if (rc == 0)
			continue;
		if (job->newly_stuck++ == 0) {
			job->stuck_id = job->unlinks[i];
			job->stuck_status = rc;
		}
	}
}

static void
run_job(struct straggler *straggler, struct straggler_job *job)
{
	if (job->segment != NULL)
		unlink_again(straggler);
	unlink_all(straggler, job);
	if (job->segment == NULL)
		return;
	job->status = retire(straggler, job);
	job->stuck_count = straggler->failed_count;
	if (job->stuck_count != 0) {
		job->stuck = mem_alloc(job->stuck_count * sizeof(*job->stuck));
		memcpy(job->stuck, straggler->failed,
		       job->stuck_count * sizeof(*job->stuck));
	}
}

static void *
run(void *arg)
{
	struct straggler *straggler = arg;
	struct list *node;

	pthread_mutex_lock(&straggler->lock);
	while (true) {
		node = list_pop(&straggler->queue);
		if (node == NULL) {
			if (straggler->is_ending)
				break;
			pthread_cond_wait(&straggler->wake, &straggler->lock);
			continue;
		}
		pthread_mutex_unlock(&straggler->lock);
		run_job(straggler,
			container_of(node, struct straggler_job, link));
		pthread_mutex_lock(&straggler->lock);
		list_push(&straggler->done, node);
		(void)uv_async_send(straggler->notify); /* cannot fail */
	}
	pthread_mutex_unlock(&straggler->lock);
	return NULL;
}

void
straggler_init(struct straggler *straggler, struct files *files,
	       uv_async_t *notify)
{
	*straggler = (struct straggler){.files = files, .notify = notify};
	/* what a run that was killed did in them may be in memory alone */
	memset(straggler->is_dirty, !MUTANT(FOLDERS_BELIEVED),
	       sizeof(straggler->is_dirty));
	pthread_mutex_init(&straggler->lock, NULL);
	pthread_cond_init(&straggler->wake, NULL);
	list_init(&straggler->queue);
	list_init(&straggler->done);
}

int
straggler_start(struct straggler *straggler)
{
	int rc = pthread_create(&straggler->thread, NULL, run, straggler);

	straggler->is_started = rc == 0;
	return -rc;
}

void
straggler_stop(struct straggler *straggler)
{
	if (!straggler->is_started)
		return;
	pthread_mutex_lock(&straggler->lock);
	atomic_store(&straggler->is_stopping, true);
	straggler->is_ending = true;
	pthread_cond_signal(&straggler->wake);
	pthread_mutex_unlock(&straggler->lock);
	(void)pthread_join(straggler->thread, NULL); /* it was started */
	straggler->is_started = false;
}

void
straggler_done(struct straggler *straggler)
{
	struct list *node, *after;

	assert(!straggler->is_started);
	list_each_safe (node, after, &straggler->done)
		straggler_job_free(
			container_of(node, struct straggler_job, link));
	free(straggler->failed);
	pthread_cond_destroy(&straggler->wake);
	pthread_mutex_destroy(&straggler->lock);
}

void
straggler_give(struct straggler *straggler, struct straggler_job *job)
{
	pthread_mutex_lock(&straggler->lock);
	list_push(&straggler->queue, &job->link);
	pthread_cond_signal(&straggler->wake);
	pthread_mutex_unlock(&straggler->lock);
}
