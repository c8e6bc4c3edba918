/* SPDX-License-Identifier: ISC */
/*
 * How deliveries free a log that is full, when the disk has no room for
 * another segment nor for files.
 *
 * A part of the last segment is kept back for DONE records (commit.c). It has
 * room for those of all mail of the oldest segment, but a record each time a
 * delivery ends would take a block each. So DONE records wait here until they
 * settle the oldest segment, which head then passes, or, beyond those that this
 * takes, fill a block or let go of a file.
 */
#include "queue/spool/internal.h"

#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"

#define DONE_BYTES  ((size_t)RECORD_HEADER)
#define BLOCK_DONES ((FORMAT_BLOCK - BATCH_HEADER) / DONE_BYTES)

/* Blocks that the last segment has left, one for a head apart. */
static size_t
blocks_left(const struct spool *spool)
{
	const struct segment *last =
		container_of(spool->used.prev, struct segment, link);

	return last->bytes > spool->current_end + FORMAT_BLOCK
		       ? (last->bytes - spool->current_end) / FORMAT_BLOCK - 1
		       : 0;
}

static size_t
blocks_kept(const struct spool *spool)
{
	return container_of(spool->used.prev, struct segment, link)->bytes /
	       COMMIT_DONE_PART / FORMAT_BLOCK;
}

bool
full_is_scarce(const struct spool *spool)
{
	return spool->is_full && spool->free_count == 0 &&
	       spool->life == SPOOL_OPEN && !spool->is_broken &&
	       !list_is_empty(&spool->used) &&
	       spool->used.next->next != &spool->used &&
	       blocks_left(spool) <= 2 * blocks_kept(spool);
}

size_t
full_room(const struct spool *spool)
{
	return blocks_left(spool) * FORMAT_BLOCK / 2;
}

static bool
has_file(const struct spool *spool, uint64_t id)
{
	uint32_t handle = index_find(&spool->index, id);

	return handle != 0 && (index_at(&spool->index, handle)->flags &
			       (ENTRY_IN_FILE | ENTRY_HAS_FILE)) != 0;
}

void
full_add(struct spool *spool, uint64_t id)
{
	uint64_t *to;

	if (spool->settled_count == spool->settled_size) {
		spool->settled_size = 2 * spool->settled_size + 64;
		spool->settled = mem_resize(spool->settled, spool->settled_size,
					    sizeof(*spool->settled));
	}
	to = &spool->settled[spool->settled_count++];
	if (has_file(spool, id)) {
		*to = spool->settled[spool->settled_files];
		to = &spool->settled[spool->settled_files++];
	}
	*to = id;
	spool->has_settled = true;
}

static void
add_done(struct spool *spool, struct parcel *parcel, uint64_t id)
{
	struct record_head record = {.type = RECORD_DONE, .id = id};

	(void)parcel_add(parcel, &record, NULL, NULL);
	spool->dones++;
}

static struct segment *
oldest_segment(const struct spool *spool)
{
	return container_of(spool->used.next, struct segment, link);
}

/* Nothing in it is owed to anybody, only not yet durably so. */
static bool
is_settled(const struct spool *spool, const struct segment *segment)
{
	uint32_t handle = segment->entries.first;

	while (handle != 0) {
		const struct entry *entry = index_at(&spool->index, handle);

		if ((entry->flags & ENTRY_DONE) == 0)
			return false;
		handle = entry->next;
	}
	return segment->entries.count != 0;
}

static void
settle_oldest(struct spool *spool, struct parcel *parcel)
{
	const struct segment *oldest = oldest_segment(spool);
	uint32_t handle = oldest->entries.first;
	size_t kept = 0, files = 0;

	for (; handle != 0; handle = index_at(&spool->index, handle)->next)
		add_done(spool, parcel, index_at(&spool->index, handle)->id);
	for (size_t i = 0; i < spool->settled_count; i++) {
		handle = index_find(&spool->index, spool->settled[i]);
		if (handle != 0 &&
		    index_at(&spool->index, handle)->slot == oldest->slot)
			continue;
		files += i < spool->settled_files;
		spool->settled[kept++] = spool->settled[i];
	}
	spool->settled_count = kept;
	spool->settled_files = files;
}

static void
settle_first(struct spool *spool, struct parcel *parcel, size_t count)
{
	for (size_t i = 0; i < count; i++)
		add_done(spool, parcel, spool->settled[i]);
	spool->settled_count -= count;
	spool->settled_files -=
		count < spool->settled_files ? count : spool->settled_files;
	memmove(spool->settled, spool->settled + count,
		spool->settled_count * sizeof(*spool->settled));
}

/* A block for others than those of the oldest segment: when they fill it, or
 * when a file goes for it, which frees the disk. */
static bool
is_worth_a_block(const struct spool *spool)
{
	return (spool->settled_count >= BLOCK_DONES ||
		spool->settled_files != 0) &&
	       blocks_left(spool) >
		       oldest_segment(spool)->entries.count / BLOCK_DONES + 1;
}

void
full_give(struct spool *spool)
{
	bool is_scarce = full_is_scarce(spool);
	struct parcel *parcel;

	/* elsewhere than in settled there may be DONE records of a group, which
	 * are good for nothing without the rest of it */
	if (spool->settled_count == 0 || (is_scarce && spool->dones != 0))
		return;
	spool->has_settled = false;
	parcel = parcel_new();
	if (!is_scarce)
		settle_first(spool, parcel, spool->settled_count);
	else if (is_settled(spool, oldest_segment(spool)))
		settle_oldest(spool, parcel);
	else if (is_worth_a_block(spool))
		settle_first(spool, parcel,
			     spool->settled_count < BLOCK_DONES
				     ? spool->settled_count
				     : BLOCK_DONES);
	if (parcel->item_count == 0)
		parcel_free(parcel);
	else
		list_push(&spool->ready, &parcel->link);
}
