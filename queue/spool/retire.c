/* SPDX-License-Identifier: ISC */
/*
 * The oldest segment is retired: its messages become files, or copies at the
 * end of the log, and the straggler tells what became of them.
 */
#include "queue/spool/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"

/* Tries to read what is left in a segment while no mail is accepted; and how
 * much is given up at once, should the disk change its mind after all. */
#define UNREAD_TRIES_FULL 5u
#define UNREAD_AT_ONCE	  16u

static void
fill_move(struct spool *spool, struct move *move, struct entry *entry)
{
	uint32_t count = entry_note_count(entry);

	move->id = entry->id;
	move->is_append = (entry->flags & ENTRY_IN_FILE) != 0;
	move->fd = spool_segment(spool, entry->slot)->fd;
	move->at = entry->at * RECORD_ALIGN;
	move->text_bytes = entry->text_bytes;
	move->body_bytes = entry->body_bytes;
	if (count == 0)
		return;
	move->notes = mem_alloc(count * sizeof(*move->notes));
	for (uint32_t i = 0; i < count; i++) {
		const struct state_note *note = &entry->notes->each[i];

		move->notes[move->note_count++] =
			(struct move_note){spool_segment(spool, note->slot)->fd,
					   note->at, note->bytes, note->number,
					   false};
	}
}

void
retire_unread(struct spool *spool, struct segment *segment, uint64_t id,
	      int status)
{
	char name[SEGMENT_NAME_MAX], text[SPOOL_ID_MAX];

	/* once for all that it holds */
	if (segment->unread_tries != 0)
		return;
	segment->unread_tries = 1;
	spool_report(spool, true, segment_name(segment->slot, name),
		     "message %s, which has to leave this segment, cannot be "
		     "read: %s; it is tried again for %u s",
		     spool_id_format(id, text),
		     status == -EILSEQ ? "a state of it is damaged"
				       : strerror(-status),
		     spool->opts.unread_tries);
}

static bool
is_last_try(const struct spool *spool, const struct segment *segment,
	    bool is_stuck)
{
	return segment->unread_tries >= spool->opts.unread_tries ||
	       (segment->unread_tries >= UNREAD_TRIES_FULL &&
		(is_stuck || spool_is_short(spool)));
}

/*
 * Messages become files, or are copied to the end of the log when these are
 * many. The straggler has a job also if there is no file to make: head may
 * pass the segment when what happened in folders before is durable.
 *
 * is_stuck: DONE records cannot be written until this segment is free, so
 * what waits for them has to move as well.
 */
void
retire_start(struct spool *spool, struct segment *segment, bool is_stuck)
{
	struct straggler_job *job = spool_take_unlinks(spool);
	bool is_copying = !is_stuck && copy_plan(spool, segment);
	uint32_t handle = segment->entries.first;

	job->segment = segment;
	job->is_last_try = is_last_try(spool, segment, is_stuck);
	if (segment->entries.count != 0)
		job->moves = mem_zalloc(segment->entries.count *
					sizeof(*job->moves));
	for (; handle != 0; handle = index_at(&spool->index, handle)->next) {
		struct entry *entry = index_at(&spool->index, handle);

		if (!spool_is_live(entry) &&
		    (!is_stuck || (entry->flags & ENTRY_DAMAGED) != 0))
			continue; /* it leaves the list by itself */
		if (is_copying && copy_takes(spool, entry))
			continue;
		entry->flags |= ENTRY_MOVING;
		fill_move(spool, &job->moves[job->move_count++], entry);
	}
	spool->is_retiring = true;
	spool->is_slow =
		!is_copying && job->move_count > spool->opts.files_per_s;
	straggler_give(&spool->straggler, job);
	if (is_copying)
		copy_start(spool);
}

/* One message that alone could not be moved. */
static void
set_aside_or_leave(struct spool *spool, const struct straggler_job *job,
		   const struct move *move, unsigned *given_up)
{
	if (move->status == -EBADMSG || move->status == -ENOENT) {
		read_set_aside(spool, move->id);
		return;
	}
	retire_unread(spool, job->segment, move->id, move->status);
	spool->is_late = true;
	if (!job->is_last_try || *given_up == UNREAD_AT_ONCE)
		return;
	(*given_up)++;
	/* what stands in it is more than a copy can have */
	if (!move->is_append)
		job->segment->is_unread = true;
	read_set_aside(spool, move->id);
}

/* Moved without some of its states, which the disk may give back one day. */
static void
set_notes_unread(struct spool *spool, const struct entry *entry,
		 const struct move *move)
{
	for (size_t i = 0; i < move->note_count; i++) {
		const struct state_note *note =
			index_find_note(entry, move->notes[i].number);

		if (move->notes[i].is_unread && note != NULL)
			spool_segment(spool, note->slot)->is_unread = true;
	}
}

/* One message of a retired segment: its file counts from now on. */
static void
end_move(struct spool *spool, const struct straggler_job *job,
	 const struct move *move, unsigned *given_up)
{
	uint32_t handle = index_find(&spool->index, move->id), last = 0;
	struct entry *entry;

	if (handle == 0)
		return;
	entry = index_at(&spool->index, handle);
	entry->flags &= (uint32_t)~ENTRY_MOVING & 0xff;
	if ((entry->flags & ENTRY_GONE) != 0) {
		/* settled meanwhile; its segment waits for the unlink */
		spool_unlink_later(spool, move->id);
		spool_drop_entry(spool, handle);
		return;
	}
	if (job->status < 0) {
		if (!move->is_append && move->may_have_file)
			entry->flags |= ENTRY_HAS_FILE;
		return;
	}
	if (move->status < 0) {
		set_aside_or_leave(spool, job, move, given_up);
		return;
	}
	set_notes_unread(spool, entry, move);
	if (move->note_count != 0)
		last = move->notes[move->note_count - 1].number;
	if ((entry->flags & (ENTRY_IN_FILE | ENTRY_DONE)) == 0)
		spool->stats.in_files++;
	entry->flags |= ENTRY_IN_FILE;
	spool_unlist(spool, handle);
	index_drop_notes_to(&spool->index, entry, last);
	spool_list_by_notes(spool, handle);
}

static void
tell_move_failure(struct spool *spool, int status)
{
	spool->is_late = true; /* the tick tries again */
	if (status == -ECANCELED)
		return;
	if (status != spool->move_told)
		spool_report(spool, true, "msg",
			     "old mail cannot be made into "
			     "files: %s",
			     strerror(-status));
	spool->move_told = status;
	if (status == -ENOSPC || status == -EDQUOT) {
		spool->cannot_move = true;
		return;
	}
	spool->move_failures++;
	if (spool->move_failures == 2 && !spool->is_broken) {
		spool->is_broken = true;
		spool->callbacks.broken(spool->owner);
	}
}

static void
tell_stuck(struct spool *spool, const struct straggler_job *job)
{
	char name[FILES_NAME_MAX], path[FILES_NAME_MAX + 4], more[48] = "";

	(void)snprintf(path, sizeof(path), "msg/%s",
		       files_name(job->stuck_id, name));
	if (job->newly_stuck > 1)
		(void)snprintf(more, sizeof(more), " (and %zu more)",
			       job->newly_stuck - 1);
	spool_report(
		spool, true, path,
		"the message is settled, and its file%s cannot be removed: "
		"%s; it is not sent again, and the removal is tried again",
		more, strerror(-job->stuck_status));
}

/*
 * I3: where the unlink is not to be had, its DONE record stands once more in a
 * later segment before head passes the one it was in; else the file would be a
 * message again.
 */
static void
forward_done(struct spool *spool, const struct straggler_job *job)
{
	struct parcel *parcel;

	if (job->stuck_count == 0)
		return;
	parcel = parcel_new();
	job->segment->has_unlinks = true;
	spool->forwarding = job->segment;
	spool->forwards = job->stuck_count;
	for (size_t i = 0; i < job->stuck_count; i++) {
		struct record_head record = {.type = RECORD_DONE,
					     .id = job->stuck[i]};

		parcel_add(parcel, &record, NULL, NULL)->is_again = true;
	}
	spool->in_flight++;
	committer_give_first(&spool->committer, parcel);
}

void
retire_forwarded(struct spool *spool, struct segment *segment, int status)
{
	if (status < 0) {
		spool->is_late = true; /* its segment is retired again */
		spool->has_failed_forward = true;
	} else {
		segment->has_unlinks = true;
	}
	if (--spool->forwards != 0)
		return;
	if (!spool->has_failed_forward)
		spool->forwarding->has_unlinks = false;
	spool->has_failed_forward = false;
	spool->forwarding = NULL;
}

void
retire_ended(struct spool *spool, struct straggler_job *job)
{
	struct segment *segment = job->segment;
	unsigned given_up = 0;

	if (job->newly_stuck != 0)
		tell_stuck(spool, job);
	if (segment != NULL) {
		spool->is_retiring = false;
		for (size_t i = 0; i < job->move_count; i++)
			end_move(spool, job, &job->moves[i], &given_up);
		if (segment->unread_tries != 0)
			segment->unread_tries++;
		if (job->status == 0) {
			segment->has_unlinks = false;
			forward_done(spool, job);
			spool->move_failures = 0;
			if (job->move_count != 0) {
				spool->cannot_move = false;
				spool->move_told = 0;
			}
		} else {
			tell_move_failure(spool, job->status);
		}
	}
	straggler_job_free(job);
}
