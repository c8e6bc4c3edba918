/* SPDX-License-Identifier: ISC */
/* The segments of the log: made ahead, freed, retired, given back. */
#include "queue/spool/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "lib/mem.h"
#include "queue/spool/disk.h"
#include "queue/spool/mutant.h"

#define ZERO_CHUNK  (1u << 20)
#define GROWTH	    4u /* a new segment is this much larger, up to the full */
#define FREE_WANTED 2u /* free segments always in hand */
#define EXTRA_MOST  6u /* more, while mail comes faster than they are made */
#define AHEAD_BYTES (8u << 20) /* of one used: time to make the next */

struct keep_job {
	struct work_job job;
	struct spool *spool;
	struct segment *segment;
	uint32_t slot, bytes;
	uint64_t disk_free;
	bool is_backup;
	int status;
};

static void
free_job(struct work_job *job)
{
	struct keep_job *keep = container_of(job, struct keep_job, job);
	struct spool *spool = keep->spool;

	free(keep);
	spool_job_ended(spool);
}

static void
start_job(struct spool *spool, void (*run)(struct work_job *),
	  void (*done)(struct work_job *), const struct keep_job *values)
{
	struct keep_job *keep = mem_alloc(sizeof(*keep));

	*keep = *values;
	keep->spool = spool;
	keep->job.run = run;
	keep->job.done = done;
	keep->job.free_job = free_job;
	spool_job_started(spool);
	work_start(spool->loop, &keep->job, NULL);
}

/* ------------------------------------------------------------ making one */

/*
 * Overwriting written blocks needs no journal commit of the file system, so
 * a segment is written with zeros once, here, and recycled from then on.
 */
int
keep_make_now(int log_fd, uint32_t slot, uint32_t bytes, struct segment **out)
{
	char name[SEGMENT_NAME_MAX];
	size_t chunk = bytes < ZERO_CHUNK ? bytes : ZERO_CHUNK;
	uint8_t *zeros;
	int fd, rc = 0;

	segment_name(slot, name);
	fd = disk_open(log_fd, name, O_RDWR | O_CREAT | O_EXCL);
	if (fd < 0)
		return fd;
	zeros = mem_zalloc(chunk);
	for (uint32_t at = 0; rc == 0 && at < bytes; at += (uint32_t)chunk) {
		if (bytes - at < chunk)
			chunk = bytes - at;
		rc = disk_write(fd, zeros, chunk, at);
		/* commits go on meanwhile, and share the disk */
		if (rc == 0)
			rc = disk_write_out(fd, at, chunk);
	}
	free(zeros);
	if (rc == 0)
		rc = disk_sync(fd);
	if (rc == 0 && !MUTANT(SEGMENT_UNSYNCED))
		rc = disk_sync(log_fd);
	if (rc < 0) {
		(void)close(fd); /* it goes */
		(void)disk_unlink(log_fd, name);
		return rc;
	}
	*out = segment_new(fd, slot, bytes);
	return 0;
}

uint32_t
keep_free_slot(struct spool *spool)
{
	uint32_t slot = 1;

	while (slot <= spool->slot_count && spool->slots[slot - 1] != NULL)
		slot++;
	return slot;
}

/* A new segment: free, and known by its slot. */
void
keep_add(struct spool *spool, struct segment *segment)
{
	if (segment->slot > spool->slot_count) {
		spool->slots = mem_resize(spool->slots, segment->slot,
					  sizeof(*spool->slots));
		for (uint32_t i = spool->slot_count; i < segment->slot; i++)
			spool->slots[i] = NULL;
		spool->slot_count = segment->slot;
	}
	spool->slots[segment->slot - 1] = segment;
	spool->log_bytes += segment->bytes;
	committer_add_segment(&spool->committer, segment);
}

static void
run_make(struct work_job *job)
{
	struct keep_job *keep = container_of(job, struct keep_job, job);

	keep->status = keep_make_now(keep->spool->door.log_fd, keep->slot,
				     keep->bytes, &keep->segment);
}

static void
on_made(struct work_job *job)
{
	struct keep_job *keep = container_of(job, struct keep_job, job);
	struct spool *spool = keep->spool;

	spool->is_making = false;
	if (keep->status == 0) {
		spool->is_full = spool->cannot_make = false;
		keep_add(spool, keep->segment);
	} else {
		if (!spool->cannot_make)
			spool_report(spool, true, "log",
				     "no new segment can be made: %s",
				     strerror(-keep->status));
		spool->is_full = spool->cannot_make = true;
	}
	spool_go_on(spool);
}

static uint32_t
next_size(const struct spool *spool, uint32_t wanted)
{
	uint64_t size = 0;

	for (uint32_t i = 0; i < spool->slot_count; i++)
		if (spool->slots[i] != NULL && spool->slots[i]->bytes > size)
			size = spool->slots[i]->bytes;
	size *= GROWTH;
	if (size > spool->opts.segment_bytes)
		size = spool->opts.segment_bytes;
	if (size < wanted)
		size = ((uint64_t)wanted + FORMAT_BLOCK - 1) &
		       ~(uint64_t)(FORMAT_BLOCK - 1);
	return (uint32_t)size;
}

/* Whether the log may grow by a segment of that size now. */
static bool
may_grow(const struct spool *spool, uint64_t size, bool is_pressing)
{
	uint64_t soft =
		(uint64_t)spool->opts.segments_soft * spool->opts.segment_bytes;
	uint64_t hard =
		(uint64_t)spool->opts.segments_hard * spool->opts.segment_bytes;

	if (spool->log_bytes + size <= soft)
		return true;
	return is_pressing && spool->log_bytes + size <= hard;
}

static void
make_one(struct spool *spool, uint32_t size)
{
	struct keep_job keep = {.bytes = size};

	keep.slot = keep_free_slot(spool);
	spool->is_making = true;
	start_job(spool, run_make, on_made, &keep);
}

/* -------------------------------------------------------- giving one back */

#define ASIDE_NAME_MAX 40

static char *
aside_name(const struct segment *segment, char to[ASIDE_NAME_MAX])
{
	(void)snprintf(to, ASIDE_NAME_MAX, "segment-%llu",
		       (unsigned long long)segment->segno);
	return to;
}

/* What could not be read of it may be one day, by somebody with more
 * patience. */
static int
set_aside(const struct door *door, const struct segment *segment)
{
	char name[SEGMENT_NAME_MAX], aside[ASIDE_NAME_MAX];
	int rc = disk_rename(door->log_fd, segment_name(segment->slot, name),
			     door->corrupt_fd, aside_name(segment, aside));

	if (rc == 0)
		rc = disk_sync(door->corrupt_fd);
	/* in log/ it would be used again after a crash */
	return rc == 0 ? disk_sync(door->log_fd) : rc;
}

static void
run_drop(struct work_job *job)
{
	struct keep_job *keep = container_of(job, struct keep_job, job);
	char name[SEGMENT_NAME_MAX];

	if (keep->segment->place == SEGMENT_ASIDE)
		return;
	if (keep->segment->is_unread) {
		keep->status = set_aside(&keep->spool->door, keep->segment);
		return;
	}
	keep->status = disk_unlink(keep->spool->door.log_fd,
				   segment_name(keep->slot, name));
}

static void
tell_set_aside(struct spool *spool, const struct segment *segment)
{
	char name[SEGMENT_NAME_MAX], aside[ASIDE_NAME_MAX];

	spool->stats.corrupt++;
	spool_report(spool, true, segment_name(segment->slot, name),
		     "it could not be read in full: set aside as corrupt/%s",
		     aside_name(segment, aside));
}

static void
tell_dropped(struct spool *spool, const struct segment *segment, int status)
{
	char name[SEGMENT_NAME_MAX];

	if (segment->place == SEGMENT_ASIDE)
		return; /* it was told then */
	(void)segment_name(segment->slot, name);
	if (status == 0 && segment->is_unread)
		tell_set_aside(spool, segment);
	else if (status < 0 && segment->is_unread)
		spool_report(spool, true, name,
			     "it cannot be read in full, and not be set "
			     "aside: %s",
			     strerror(-status));
	else if (status < 0)
		spool_report(spool, true, name,
			     "it is not needed any more, and cannot be "
			     "removed: %s",
			     strerror(-status));
}

static void
on_dropped(struct work_job *job)
{
	struct keep_job *keep = container_of(job, struct keep_job, job);

	tell_dropped(keep->spool, keep->segment, keep->status);
	if (keep->status < 0)
		return; /* its name is still taken */
	keep->spool->slots[keep->slot - 1] = NULL;
	segment_free(keep->segment);
}

static void
drop(struct spool *spool, struct segment *segment)
{
	struct keep_job keep = {.segment = segment, .slot = segment->slot};

	segment->is_dropped = true;
	if (segment->readers == 0)
		start_job(spool, run_drop, on_dropped, &keep);
}

static void
run_leave(struct work_job *job)
{
	struct keep_job *keep = container_of(job, struct keep_job, job);

	keep->status = set_aside(&keep->spool->door, keep->segment);
}

static void
on_left(struct work_job *job)
{
	struct keep_job *keep = container_of(job, struct keep_job, job);
	struct segment *segment = keep->segment;

	/* a failure is told when it was dropped, before which it is tried
	 * once more */
	segment->place = keep->status < 0 ? SEGMENT_STUCK : SEGMENT_ASIDE;
	if (keep->status == 0)
		tell_set_aside(keep->spool, segment);
	spool_go_on(keep->spool);
}

/*
 * Before head passes it: a crash behind that would leave it in log/ as one
 * that the next start is free to use. Without it, and with head durably here,
 * the log begins with the one behind it, which is as true. With an older head
 * its DONE records would be missed by the messages before it.
 */
static void
start_leave(struct spool *spool, struct segment *segment)
{
	struct keep_job keep = {.segment = segment};

	segment->place = SEGMENT_LEAVING;
	start_job(spool, run_leave, on_left, &keep);
}

void
keep_drop_reader(struct spool *spool, struct segment *segment)
{
	segment->readers--;
	if (segment->is_dropped)
		drop(spool, segment);
}

/* Whether the log is better off without it. */
static bool
is_spare(const struct spool *spool, const struct segment *segment,
	 unsigned free_count)
{
	uint64_t soft =
		(uint64_t)spool->opts.segments_soft * spool->opts.segment_bytes;

	if (segment->bytes < spool->opts.segment_bytes / 2)
		return free_count >= FREE_WANTED;
	if (spool->log_bytes <= soft)
		return false;
	/* made for one large parcel */
	if (segment->bytes > spool->opts.segment_bytes)
		return free_count != 0;
	/* what was made for a burst stays until that has passed */
	return free_count >= FREE_WANTED + spool->free_extra;
}

/* I2: only a segment below the durable head comes here. */
static void
recycle(struct spool *spool, struct segment *segment)
{
	unsigned free_count = spool->committer.free_count; /* under the lock */

	segment->is_used = false;
	segment->has_unlinks = false;
	segment->unread_tries = 0;
	if (!segment->is_tainted && !segment->is_unread &&
	    !is_spare(spool, segment, free_count)) {
		segment->segno = 0;
		list_push(&spool->committer.segments, &segment->link);
		spool->committer.free_count++;
		pthread_cond_signal(&spool->committer.wake);
		return;
	}
	spool->log_bytes -= segment->bytes;
	drop(spool, segment);
}

/* -------------------------------------------------------------- the head */

static struct segment *
first_used(const struct spool *spool)
{
	return container_of(spool->used.next, struct segment, link);
}

/* Nothing in it is needed. */
static bool
is_empty(const struct spool *spool, const struct segment *segment)
{
	if (MUTANT(COPY_BELIEVED) && spool->copying != NULL &&
	    first_used(spool) == segment)
		return true;
	return segment->entries.count == 0 && !segment->has_unlinks;
}

static bool
is_passable(const struct spool *spool, const struct segment *segment)
{
	return is_empty(spool, segment) &&
	       (!segment->is_unread || segment->place == SEGMENT_ASIDE ||
		segment->place == SEGMENT_STUCK);
}

/*
 * I3: head passes a segment only when nothing in it is needed: its messages
 * are settled durably or stand in synced files, and the unlinks that its
 * DONE records asked for are durable. Starts what else has to happen before.
 */
static uint64_t
find_head(struct spool *spool)
{
	struct list *node = spool->used.next;
	struct segment *segment;

	if (list_is_empty(&spool->used))
		return spool->durable_head;
	segment = container_of(node, struct segment, link);
	if (spool->is_loading || spool->is_retiring)
		return segment->segno;
	while (node->next != &spool->used && is_passable(spool, segment)) {
		node = node->next;
		segment = container_of(node, struct segment, link);
	}
	if (node->next != &spool->used && is_empty(spool, segment) &&
	    segment->place == SEGMENT_IN_LOG &&
	    segment->segno == spool->durable_head)
		start_leave(spool, segment);
	return segment->segno;
}

/* -------------------------------------------------------------- going on */

void
keep_first_seen(struct spool *spool, struct segment *segment)
{
	if (segment->is_used)
		return;
	segment->is_used = true;
	list_push(&spool->used, &segment->link);
}

/* What the committer said about itself. */
struct need {
	unsigned free_count;
	uint32_t wanted; /* bytes, 0: nothing */
	bool is_stranded;
	bool is_large; /* what it waits for: more than any that is free has */
};

static bool
has_old(const struct spool *spool)
{
	return !list_is_empty(&spool->used) &&
	       spool->used.next->next != &spool->used;
}

/* Only what is surely the oldest, so that recovery knows where to expect
 * files of messages that are in the log as well. And in a file no state comes
 * behind one of a higher number, so those asked for again are waited for; if
 * that is for room, there are none before them. */
static bool
can_retire(const struct spool *spool, const struct need *need)
{
	return has_old(spool) && !spool->is_retiring &&
	       spool->copying == NULL && spool->forwarding == NULL &&
	       !spool->is_loading && !spool->is_late &&
	       (spool->states_again == 0 || need->wanted != 0) &&
	       (spool->life == SPOOL_OPEN || need->wanted != 0) &&
	       first_used(spool)->segno == spool->durable_head &&
	       !is_empty(spool, first_used(spool));
}

static uint32_t
current_bytes(const struct spool *spool)
{
	return container_of(spool->used.prev, struct segment, link)->bytes;
}

static bool
is_half_used(const struct spool *spool)
{
	return !list_is_empty(&spool->used) &&
	       spool->current_end > current_bytes(spool) / 2;
}

static bool
is_well_used(const struct spool *spool)
{
	return is_half_used(spool) || (!list_is_empty(&spool->used) &&
				       spool->current_end > AHEAD_BYTES);
}

/* Segments more to retire for, before they are missed; most mail should still
 * be gone before its segment is needed. */
static unsigned
extra_in_time(const struct spool *spool)
{
	unsigned most = spool->opts.segments_soft / 8;

	return spool->free_extra < most ? spool->free_extra : most;
}

/*
 * Beyond its soft limit the log grows when commits wait, and ahead of that
 * only while old mail becomes files, which frees nothing for long: what is
 * copied is soon out of the way, and a segment more is zeros that commits
 * share the disk with.
 */
static bool
is_pressing(const struct spool *spool, const struct need *need)
{
	if (need->wanted != 0)
		return true;
	if (need->free_count == 0 && (spool->is_slow || is_half_used(spool)))
		return true;
	/* what is in hand for later leaves room for what is needed now */
	return spool->is_slow && need->free_count < spool->free_extra &&
	       may_grow(spool, 4 * spool->opts.segment_bytes, true);
}

static void
grow(struct spool *spool, const struct need *need)
{
	uint32_t size = next_size(spool, need->wanted);

	if (spool->is_making)
		return;
	/* for one large parcel no retiring helps */
	if (need->is_stranded || need->is_large ||
	    may_grow(spool, size, is_pressing(spool, need))) {
		/* after a failure the tick tries again, not every turn */
		if (!spool->cannot_make || spool->is_retry)
			make_one(spool, size);
		else if (need->wanted != 0)
			spool->is_full = true;
		spool->is_retry = false;
	} else if ((need->free_count == 0 || need->wanted != 0) &&
		   (spool->is_late || spool->is_loading) &&
		   !may_grow(spool, size, true)) {
		/* commits wait for a retiring, but not for a disaster */
		if (!spool->is_full)
			spool_report(spool, true, "log",
				     "the log is at its hard limit");
		spool->is_full = true;
	}
}

/* Something is under way by which there may soon be a free segment. */
static bool
is_getting_room(const struct spool *spool)
{
	return spool->is_making || spool->is_retiring ||
	       spool->copying != NULL || spool->forwarding != NULL ||
	       (has_old(spool) && first_used(spool)->place == SEGMENT_LEAVING);
}

static void
retire_or_grow(struct spool *spool, const struct need *need)
{
	uint32_t size = next_size(spool, need->wanted);
	bool is_needed = need->wanted != 0 ||
			 need->free_count < FREE_WANTED + extra_in_time(spool);
	bool is_stuck = need->wanted != 0 &&
			(spool->is_full || !may_grow(spool, size, true));

	if (is_needed && can_retire(spool, need) &&
	    (spool->is_full || !may_grow(spool, size, false)))
		retire_start(spool, first_used(spool), is_stuck);
	else if (is_stuck && spool->copying != NULL && !spool->is_making)
		committer_fail_copies(&spool->committer);
	grow(spool, need);
	if (need->wanted == 0 || !spool->is_full || is_getting_room(spool))
		return;
	/* nothing under way can help: sessions hear 452 now; unless a batch
	 * that we do not know yet moved head */
	pthread_mutex_lock(&spool->committer.lock);
	spool->committer.is_giving_up = spool->committer.wanted != 0 &&
					list_is_empty(&spool->committer.done);
	pthread_cond_signal(&spool->committer.wake);
	pthread_mutex_unlock(&spool->committer.lock);
}

/* Whether a free one is large enough for what the committer wants. */
static bool
has_wanted(const struct committer *committer)
{
	const struct list *node = committer->segments.next;

	while (node != &committer->segments &&
	       container_of(node, struct segment, link)->bytes <
		       committer->wanted)
		node = node->next;
	return node != &committer->segments;
}

/* Frees what the durable head has passed; says how the committer is. */
static struct need
free_passed(struct spool *spool, uint64_t *head)
{
	struct committer *committer = &spool->committer;
	struct need need;

	pthread_mutex_lock(&committer->lock);
	if (*head > committer->head)
		committer->head = *head;
	*head = committer->head;
	while (!list_is_empty(&spool->used) &&
	       first_used(spool)->segno < (MUTANT(FREED_TOO_EARLY)
						   ? *head
						   : spool->durable_head)) {
		struct segment *segment = first_used(spool);

		list_remove(&segment->link);
		recycle(spool, segment);
	}
	need.free_count = spool->free_count = committer->free_count;
	/* its thread may not have had the time to take what it wanted */
	need.wanted = has_wanted(committer) ? 0 : committer->wanted;
	need.is_stranded = need.wanted != 0 && committer->is_stranded;
	need.is_large = need.wanted != 0 && need.free_count != 0;
	/* it may have what it wants by now, or a head to write */
	if (committer->wanted != 0)
		pthread_cond_signal(&committer->wake);
	pthread_mutex_unlock(&committer->lock);
	return need;
}

void
keep_go_on(struct spool *spool)
{
	uint64_t head = find_head(spool);
	struct need need = free_passed(spool, &head);

	/* nothing to be written, only unlinks to be made durable */
	if (can_retire(spool, &need) && first_used(spool)->entries.count == 0)
		retire_start(spool, first_used(spool), false);
	/* commits had to wait: next time there is more in hand */
	if (need.wanted != 0 && spool->free_extra < EXTRA_MOST)
		spool->free_extra++;
	/* with nothing old left there will never be more */
	if (need.free_count != 0 && need.wanted == 0 && !has_old(spool))
		spool->is_full = spool->cannot_move = false;
	if (need.free_count >= FREE_WANTED) {
		spool->is_full = spool->cannot_move = false;
		if (need.wanted == 0 &&
		    need.free_count >= FREE_WANTED + spool->free_extra)
			return;
	}
	/* head is true but not yet durable, and no batch is on its way */
	if (head > spool->durable_head && spool->in_flight == 0 &&
	    spool->filling->item_count == 0 && !spool->is_broken)
		spool->filling->is_urgent = true;
	/* the one that was left a moment ago may come back by itself */
	if (need.free_count != 0 && need.wanted == 0 && !spool->is_full &&
	    spool->free_extra == 0 && !spool->cannot_move &&
	    !is_well_used(spool))
		return;
	retire_or_grow(spool, &need);
}

/* ------------------------------------------------------------- each second */

static void
run_statvfs(struct work_job *job)
{
	struct keep_job *keep = container_of(job, struct keep_job, job);
	struct statvfs st;

	keep->status = fstatvfs(keep->spool->door.dir_fd, &st) < 0 ? -errno : 0;
	if (keep->status == 0)
		keep->disk_free = (uint64_t)st.f_bavail * st.f_frsize;
	keep->is_backup = copy_is_forbidden(keep->spool->door.dir_fd);
}

static void
on_statvfs(struct work_job *job)
{
	struct keep_job *keep = container_of(job, struct keep_job, job);
	struct spool *spool = keep->spool;

	if (keep->status == 0) {
		spool->disk_free = keep->disk_free;
		spool->is_short = keep->disk_free < spool->opts.free_bytes;
	}
	spool->copies_nothing = keep->is_backup;
}

void
keep_tick(struct spool *spool)
{
	struct keep_job keep = {.status = 0};

	body_pool_trim(&spool->bodies);
	if (spool->free_extra > 0)
		spool->free_extra--;
	start_job(spool, run_statvfs, on_statvfs, &keep);
	spool->is_late = false;
	/* without room for files all that may be is copied */
	spool->files_left = spool->cannot_move ? 0 : spool->opts.files_per_s;
	spool->is_retry = true;
	spool->has_settled = spool->settled_count != 0;
	spool_go_on(spool);
}
