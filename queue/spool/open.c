/* SPDX-License-Identifier: ISC */
/* How a spool comes up, recovered, and goes down again. */
#include "queue/spool/internal.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "lib/mem.h"
#include "queue/spool/disk.h"
#include "queue/spool/log_reader.h"
#include "queue/spool/mutant.h"

#define SEGMENT_BYTES	(64u << 20)
#define SEGMENT_MIN	(64u << 10)
#define SEGMENT_MAX	(1u << 30)
#define SEGMENTS_SOFT	16
#define SEGMENTS_HARD	256
#define LARGE_BYTES	(256u << 10)
#define FILES_PER_S	64
#define MEMORY_BYTES	(32u << 20)
#define AHEAD_BYTES	(160u << 10)
#define FIRST_PART	64 /* a first segment is this part of a full one */
#define FIRST_COUNT	3u /* to come up with: one in use, two in hand */
#define DAMAGE_COPY_MAX (16u << 20)
#define TICK_MS		1000
#define READ_TRIES	5
#define UNREAD_TRIES	60
#define READERS		8
#define WRITERS		4
#define IDS_AHEAD	(1u << 20)

/* --------------------------------------------------------------- closing */

static void
spool_free(struct spool *spool)
{
	struct list *node;

	if (spool == NULL)
		return;
	for (node = list_pop(&spool->later); node != NULL;
	     node = list_pop(&spool->later))
		free(container_of(node, struct later, link));
	for (node = list_pop(&spool->spare); node != NULL;
	     node = list_pop(&spool->spare))
		parcel_free(container_of(node, struct parcel, link));
	parcel_free(spool->filling);
	index_done(&spool->index);
	body_pool_done(&spool->bodies);
	for (uint32_t i = 0; i < spool->slot_count; i++)
		segment_free(spool->slots[i]);
	free(spool->slots);
	free(spool->unlinks);
	free(spool->settled);
	assert(spool->copying == NULL);
	committer_done(&spool->committer);
	straggler_done(&spool->straggler);
	if (spool->files.fd >= 0)
		(void)close(spool->files.fd); /* what counts was synced */
	door_close(&spool->door);
	free(spool);
}

static void
on_handle_closed(uv_handle_t *handle)
{
	struct spool *spool = handle->data;
	void (*on_closed)(void *arg) = spool->on_closed;
	void *arg = spool->closed_arg;

	spool->handles--;
	if (spool->handles > 0)
		return;
	spool_free(spool);
	if (on_closed != NULL)
		on_closed(arg);
}

static void
close_handles(struct spool *spool)
{
	uv_close((uv_handle_t *)&spool->notify, on_handle_closed);
	uv_close((uv_handle_t *)&spool->turn_end, on_handle_closed);
	uv_close((uv_handle_t *)&spool->done_timer, on_handle_closed);
	uv_close((uv_handle_t *)&spool->tick, on_handle_closed);
}

/* Closing goes on as long as something that was given is not written. */
static void
finish_close(struct spool *spool)
{
	struct committer *committer = &spool->committer;

	if (spool->filling->item_count != 0 || spool->filling->is_urgent ||
	    spool->settled_count != 0)
		spool_give(spool, true);
	if (spool->in_flight != 0) {
		/* what was settled should be so at the next start, but
		 * nothing is asked for again that cannot be written */
		if (spool->is_full && spool->is_last)
			spool->is_broken = true;
		if (spool->is_full && !spool->is_last) {
			spool->is_last = true;
			committer_use_last(committer);
		}
		return;
	}
	if (!list_is_empty(&spool->later) || spool->jobs != 0 ||
	    spool->is_retiring)
		return;
	if (!spool->is_marked && !spool->is_broken && !spool->is_last) {
		/* A last batch without records: if the one before it does
		 * not hold at the next start, it was damaged, not torn. */
		spool->is_marked = true;
		spool->filling->is_urgent = true;
		spool_give(spool, true);
		return;
	}
	spool->life = SPOOL_STOPPED;
	committer_stop(committer);
	straggler_stop(&spool->straggler);
	close_handles(spool);
}

void
spool_go_on(struct spool *spool)
{
	if (spool->life == SPOOL_STOPPED)
		return;
	keep_go_on(spool);
	if (spool->life == SPOOL_CLOSING)
		finish_close(spool);
}

void
spool_job_started(struct spool *spool)
{
	spool->jobs++;
}

void
spool_job_ended(struct spool *spool)
{
	spool->jobs--;
	if (spool->life == SPOOL_CLOSING)
		(void)uv_async_send(&spool->notify); /* not from within */
}

void
spool_close(struct spool *spool, void (*on_closed)(void *arg), void *arg)
{
	spool->on_closed = on_closed;
	spool->closed_arg = arg;
	spool->life = SPOOL_CLOSING;
	loader_stop(spool);
	(void)uv_timer_stop(&spool->tick);
	atomic_store(&spool->straggler.is_stopping, true);
	(void)uv_async_send(&spool->notify); /* cannot fail */
}

/* --------------------------------------------------------------- opening */

static void
on_tick(uv_timer_t *handle)
{
	keep_tick(handle->data);
}

static void
set_opts(struct spool *spool, const struct spool_opts *opts)
{
	struct spool_opts *own = &spool->opts;

	*own = *opts;
	own->dir = NULL;
	if (own->segment_bytes == 0)
		own->segment_bytes = SEGMENT_BYTES;
	if (own->segment_bytes < SEGMENT_MIN)
		own->segment_bytes = SEGMENT_MIN;
	if (own->segment_bytes > SEGMENT_MAX)
		own->segment_bytes = SEGMENT_MAX;
	own->segment_bytes &= ~(size_t)(FORMAT_BLOCK - 1);
	if (own->segments_soft == 0)
		own->segments_soft = SEGMENTS_SOFT;
	if (own->segments_hard == 0)
		own->segments_hard = SEGMENTS_HARD;
	if (own->segments_hard < own->segments_soft)
		own->segments_hard = own->segments_soft;
	if (own->large_bytes == 0)
		own->large_bytes = LARGE_BYTES;
	if (own->unread_tries == 0)
		own->unread_tries = UNREAD_TRIES;
	if (own->files_per_s == 0)
		own->files_per_s = FILES_PER_S;
	if (own->memory_bytes == 0)
		own->memory_bytes = MEMORY_BYTES;
	if (own->ahead_bytes == 0)
		own->ahead_bytes = AHEAD_BYTES;
}

/* What was being streamed when the last run ended: nobody was told 250. */
static void
clean_tmp(struct spool *spool)
{
	int fd = disk_open_dir(spool->door.tmp_fd, ".", 0);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *item;

	if (dir == NULL)
		return;
	for (item = readdir(dir); item != NULL; item = readdir(dir))
		if (item->d_name[0] != '.')
			(void)disk_unlink(spool->door.tmp_fd, item->d_name);
	(void)closedir(dir); /* read only */
}

static void
on_recover_report(void *arg, bool is_error, const char *file, const char *text)
{
	spool_report(arg, is_error, file, "%s", text);
}

/* Damaged bytes of the log are set aside before anything is overwritten. */
static void
on_damage(void *arg, const struct segment *segment, uint32_t at, uint32_t bytes)
{
	struct spool *spool = arg;
	char name[64], segment_file[SEGMENT_NAME_MAX];
	uint32_t len = bytes < DAMAGE_COPY_MAX ? bytes : DAMAGE_COPY_MAX;
	int rc;

	(void)snprintf(name, sizeof(name), "segment-%llu-%u",
		       (unsigned long long)segment->segno, at);
	rc = read_copy_out(segment->fd, at, len, spool->door.corrupt_fd, name);
	spool->stats.corrupt++;
	spool_report(spool, true, segment_name(segment->slot, segment_file),
		     "%u bytes at %u are damaged: %s%s%s", bytes, at,
		     segment->is_unread ? "what can be read of them " : "",
		     rc == 0 ? "set aside as corrupt/" : "not set aside: ",
		     rc == 0 ? name : strerror(-rc));
}

/* Ids look like the time they began at, and never go back behind what was
 * reserved, whatever the clock says. */
static uint64_t
first_id(uint64_t reserved)
{
	struct timespec now;
	uint64_t by_clock;

	(void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail */
	by_clock = (uint64_t)now.tv_sec << 20;
	return by_clock > reserved ? by_clock : reserved;
}

static int
make_first_segments(struct spool *spool, struct err *err)
{
	uint32_t bytes = (uint32_t)(spool->opts.segment_bytes / FIRST_PART);
	unsigned wanted = spool->log_bytes == 0 ? FIRST_COUNT : 2;

	if (bytes < SEGMENT_MIN)
		bytes = SEGMENT_MIN;
	bytes &= ~(FORMAT_BLOCK - 1);
	while (spool->committer.free_count < wanted) {
		struct segment *segment;
		int rc = keep_make_now(spool->door.log_fd,
				       keep_free_slot(spool), bytes, &segment);

		/* one is enough to come up with on a full disk */
		if (rc < 0 && spool->committer.free_count == 0)
			return err_set(err, rc, "spool: log");
		if (rc < 0) {
			spool_report(spool, true, "log",
				     "no new segment can be made: %s",
				     strerror(-rc));
			return 0;
		}
		keep_add(spool, segment);
	}
	return 0;
}

/*
 * The newest batch may be in memory alone: its run was killed before the sync
 * ended, or the sync failed, after which the next one says nothing. From here
 * on it is taken for durable: head may pass what its records settle, a later
 * batch says that it was there. So it is written again, and that synced. All
 * before it were synced, or are void.
 */
static int
write_last_again(const struct recovery *recovery, struct err *err)
{
	struct segment *segment = recovery->last;
	char name[SEGMENT_NAME_MAX];
	uint8_t *bytes;
	int rc;

	/* its file may have been made just before the kill */
	rc = disk_sync(recovery->log_fd);
	if (rc < 0)
		return err_set(err, rc, "spool: log");
	if (segment == NULL)
		return 0;
	bytes = mem_alloc(recovery->last_bytes);
	rc = disk_read(segment->fd, bytes, recovery->last_bytes,
		       recovery->last_at);
	if (rc == 0)
		rc = disk_write(segment->fd, bytes, recovery->last_bytes,
				recovery->last_at);
	if (rc == 0)
		rc = disk_datasync(segment->fd);
	free(bytes);
	return rc < 0 ? err_set(err, rc, "spool: log/%s",
				segment_name(segment->slot, name))
		      : 0;
}

/* What a crash left of a segment in the making. */
static void
drop_stumps(struct recovery *recovery)
{
	struct list *node, *after;
	char name[SEGMENT_NAME_MAX];

	list_each_safe (node, after, &recovery->free) {
		struct segment *segment =
			container_of(node, struct segment, link);

		if (segment->bytes >= SEGMENT_MIN)
			continue;
		/* if it stays, the next start tries again */
		(void)disk_unlink(recovery->log_fd,
				  segment_name(segment->slot, name));
		list_remove(node);
		recovery->slots[segment->slot - 1] = NULL;
		segment_free(segment);
	}
}

static int
recover(struct spool *spool, struct err *err)
{
	struct recovery recovery = {
		.log_fd = spool->door.log_fd,
		.tag = spool->door.tag,
		.index = &spool->index,
		.report = on_recover_report,
		.damage = on_damage,
		.arg = spool,
	};
	int rc = recover_log(&recovery, err);
	struct list *node, *after;

	if (rc == 0 && !MUTANT(MEMORY_BELIEVED))
		rc = write_last_again(&recovery, err);
	if (rc < 0) {
		recover_drop(&recovery);
		return rc;
	}
	drop_stumps(&recovery);
	spool->slots = recovery.slots;
	spool->slot_count = recovery.slot_count;
	for (uint32_t i = 0; i < spool->slot_count; i++)
		if (spool->slots[i] != NULL)
			spool->log_bytes += spool->slots[i]->bytes;
	list_each_safe (node, after, &recovery.used) {
		list_remove(node);
		list_push(&spool->used, node);
	}
	list_each_safe (node, after, &recovery.free) {
		struct segment *segment =
			container_of(node, struct segment, link);

		list_remove(node);
		/* maybe it is only not known to be needed: a check sees */
		if (!segment->is_unread)
			committer_add_segment(&spool->committer, segment);
	}
	spool->committer.tag = spool->door.tag;
	spool->committer.head = recovery.head;
	spool->committer.next_segno = recovery.next_segno;
	spool->committer.seq = recovery.next_seq;
	spool->next_id = first_id(recovery.ids);
	spool->first_id = spool->next_id;
	spool->ids_reserved = spool->next_id + IDS_AHEAD;
	spool->committer.ids = spool->ids_reserved;
	spool->files_left = spool->opts.files_per_s;
	return 0;
}

/* I4 for ids: what was given out is below what a durable batch says. */
static int
first_batch(struct spool *spool, struct err *err)
{
	struct batch *batch = NULL;
	int rc = committer_first(&spool->committer, &batch);

	if (batch != NULL) {
		keep_first_seen(spool, batch->segment);
		spool->durable_head = batch->head;
	}
	free(batch);
	return rc < 0 ? err_set(err, rc, "spool: log") : 0;
}

static int
start_threads(struct spool *spool, struct err *err)
{
	int rc = committer_start(&spool->committer);

	if (rc == 0)
		rc = straggler_start(&spool->straggler);
	if (rc == 0)
		return 0;
	committer_stop(&spool->committer);
	return err_set(err, rc, "spool: thread");
}

static void
tell_found(struct spool *spool, struct log_reader *reader, struct entry *entry)
{
	struct spool_found found = {.id = entry->id,
				    .body_bytes = entry->body_bytes};
	int rc = -EIO;

	spool->stats.messages++;
	for (unsigned i = 0; i < READ_TRIES && rc < 0 && rc != -EBADMSG; i++)
		rc = log_reader_text(reader, spool, entry, &found.envelope,
				     &found.states);
	if (rc < 0) {
		/* the disk may give it back one day, and its segment stays */
		if (rc != -EBADMSG)
			spool_segment(spool, entry->slot)->is_unread = true;
		read_set_aside(spool, entry->id);
		return;
	}
	spool->callbacks.found(spool->owner, &found);
}

static void
tell_all_found(struct spool *spool)
{
	struct log_reader reader;
	struct list *node;

	log_reader_init(&reader);
	list_each (node, &spool->used) {
		struct segment *segment =
			container_of(node, struct segment, link);
		uint32_t handle = segment->entries.first;

		while (handle != 0) {
			struct entry *entry = index_at(&spool->index, handle);

			handle = entry->next; /* found may settle it */
			if ((entry->flags & (ENTRY_IN_FILE | ENTRY_GONE)) == 0)
				tell_found(spool, &reader, entry);
		}
	}
	log_reader_done(&reader);
}

static void
start_handles(struct spool *spool)
{
	(void)uv_prepare_init(spool->loop, &spool->turn_end);
	(void)uv_timer_init(spool->loop, &spool->done_timer);
	(void)uv_timer_init(spool->loop, &spool->tick);
	spool->turn_end.data = spool->done_timer.data = spool->tick.data =
		spool;
	spool->handles = 4;
	(void)uv_prepare_start(&spool->turn_end, spool_on_turn_end);
	(void)uv_timer_start(&spool->tick, on_tick, TICK_MS, TICK_MS);
}

static void
ask_disk(struct spool *spool)
{
	struct statvfs st;

	spool->copies_nothing = copy_is_forbidden(spool->door.dir_fd);
	if (fstatvfs(spool->door.dir_fd, &st) < 0)
		return; /* the tick asks again */
	spool->disk_free = (uint64_t)st.f_bavail * st.f_frsize;
	spool->is_short = spool->disk_free < spool->opts.free_bytes;
}

static struct spool *
spool_new(uv_loop_t *loop, const struct spool_opts *opts,
	  const struct spool_callbacks *callbacks, void *owner)
{
	struct spool *spool = mem_zalloc(sizeof(*spool));

	spool->loop = loop;
	spool->callbacks = *callbacks;
	spool->owner = owner;
	set_opts(spool, opts);
	index_init(&spool->index);
	list_init(&spool->used);
	list_init(&spool->ready);
	list_init(&spool->spare);
	list_init(&spool->later);
	spool->filling = parcel_new();
	work_lane_init(&spool->reading, READERS);
	work_lane_init(&spool->writing, WRITERS);
	committer_init(&spool->committer, &spool->notify);
	straggler_init(&spool->straggler, &spool->files, &spool->notify);
	return spool;
}

/* All that can fail, before the loop knows of us. */
static int
come_up(struct spool *spool, const char *dir, struct err *err)
{
	int rc;

	spool->door = (struct door){-1, -1, -1, -1, -1, 0};
	spool->files.fd = -1;
	rc = door_open(dir, &spool->door, err);
	if (rc < 0)
		return rc;
	spool->files.fd = disk_open_dir(spool->door.dir_fd, "msg", 1);
	if (spool->files.fd < 0)
		return err_set(err, spool->files.fd, "spool %s/msg", dir);
	rc = disk_sync(spool->door.dir_fd);
	if (rc < 0)
		return err_set(err, rc, "spool %s", dir);
	clean_tmp(spool);
	rc = recover(spool, err);
	if (rc == 0)
		rc = make_first_segments(spool, err);
	if (rc == 0)
		rc = first_batch(spool, err);
	return rc;
}

int
spool_open(uv_loop_t *loop, const struct spool_opts *opts,
	   const struct spool_callbacks *callbacks, void *owner,
	   struct spool **out, struct err *err)
{
	struct spool *spool = spool_new(loop, opts, callbacks, owner);
	int rc = come_up(spool, opts->dir, err);

	if (rc < 0) {
		spool_free(spool);
		return rc;
	}
	rc = uv_async_init(loop, &spool->notify, spool_on_notify);
	if (rc < 0) {
		spool_free(spool);
		return err_set(err, rc, "spool");
	}
	spool->notify.data = spool;
	start_handles(spool);
	rc = start_threads(spool, err);
	if (rc < 0) {
		spool->life = SPOOL_STOPPED;
		close_handles(spool); /* frees it */
		return rc;
	}
	ask_disk(spool);
	*out = spool;
	tell_all_found(spool);
	loader_start(spool);
	return 0;
}
