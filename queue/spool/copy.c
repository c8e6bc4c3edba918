/* SPDX-License-Identifier: ISC */
/*
 * Old mail written once more at the end of the log.
 *
 * When the oldest segment is needed again, what is still live in it becomes
 * files, or, when it is much and came fast, new records of the same messages:
 * these take no folder, no inode and no sync of their own. A message's states
 * go with it, in one group, under their old numbers. Both records are true as
 * long as both are there; head leaves the old one behind when the new one is
 * durable, by the list that the entry is on.
 *
 * A DONE record stands behind every record of its message: a copy is given to
 * a batch only while the message is live. Nothing that may have a file is
 * copied, because recovery expects files of the oldest segment's messages and
 * of no others.
 */
#include "queue/spool/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/mem.h"
#include "queue/spool/mutant.h"

#define CHUNK_LEAST (64u << 10) /* bytes read and written at a time */
#define CHUNK_MOST  (1u << 20)
#define CHUNKS	    32u /* of a segment, between these */
#define ITEMS_MAX   256u

/* One state as it stood and as it was read. */
struct copy_note {
	struct segment *segment; /* holds a reader */
	uint32_t at, bytes, number;
	struct log_text text;
};

struct copy_item {
	uint64_t id;
	uint32_t at, text_bytes; /* of the record in the segment */
	uint64_t body_bytes;
	struct copy_note *notes; /* owns */
	size_t note_count;
	int status;
	struct log_text text;
};

/* A chunk, in a worker. */
struct copy_job {
	struct work_job job;
	struct spool *spool;
	struct segment *segment; /* holds a reader */
	struct copy_item items[ITEMS_MAX];
	size_t count;
};

struct copying {
	struct segment *segment;
	uint64_t *ids; /* owns: what is to be copied */
	size_t count, size, at;
	size_t bytes, chunk;
	unsigned in_flight; /* records given away */
	bool is_reading;
	bool is_scarce; /* to what is kept back for DONE records */
	int status;	/* the first failure */
};

/* ------------------------------------------------------------------ plan */

/* Who copies a spool in use reads the log before the files, so a message may
 * go from here to there, but not about in the log. */
bool
copy_is_forbidden(int dir_fd)
{
	return faccessat(dir_fd, "backup", F_OK, 0) == 0;
}

static size_t
entry_bytes(const struct entry *entry)
{
	size_t bytes = RECORD_HEADER + entry->text_bytes +
		       (size_t)entry->body_bytes + RECORD_ALIGN;

	for (uint32_t i = 0; i < entry_note_count(entry); i++)
		bytes += RECORD_HEADER + entry->notes->each[i].bytes +
			 RECORD_ALIGN;
	return bytes;
}

/* Every state it was given is durable in the log. */
static bool
has_all_notes(const struct entry *entry)
{
	uint32_t count = entry_note_count(entry);

	/* numbers begin with 1, and none is there twice */
	return count == entry->states &&
	       (count == 0 || entry->notes->each[count - 1].number == count);
}

static bool
may_copy(const struct entry *entry)
{
	return spool_is_live(entry) &&
	       (entry->flags &
		(ENTRY_IN_FILE | ENTRY_HAS_FILE | ENTRY_MOVING)) == 0 &&
	       has_all_notes(entry);
}

static uint64_t
live_bytes(const struct spool *spool, const struct segment *segment)
{
	uint32_t handle = segment->entries.first;
	uint64_t live = 0;

	for (; handle != 0; handle = index_at(&spool->index, handle)->next)
		if (spool_is_live(index_at(&spool->index, handle)))
			live += entry_bytes(index_at(&spool->index, handle));
	return live;
}

/*
 * No file can be made of the oldest mail, while little is left in what stands
 * behind it: less than half of all that is old, so copying all of it ends.
 */
static bool
is_in_the_way(const struct spool *spool)
{
	uint64_t live = 0, bytes = 0;
	struct list *node;

	if (!spool->cannot_move)
		return false;
	for (node = spool->used.next; node != spool->used.prev;
	     node = node->next) {
		const struct segment *segment =
			container_of(node, struct segment, link);

		live += live_bytes(spool, segment);
		bytes += segment->bytes;
	}
	return live <= bytes / 2;
}

bool
copy_plan(struct spool *spool, struct segment *segment)
{
	uint64_t live;
	bool is_scarce;

	if (spool->life != SPOOL_OPEN || spool->is_broken ||
	    spool->copies_nothing || segment->unread_tries != 0)
		return false;
	live = live_bytes(spool, segment);
	/* else too little is won */
	if (live > segment->bytes / 2 && !is_in_the_way(spool))
		return false;
	is_scarce = full_is_scarce(spool);
	if (is_scarce && live > full_room(spool))
		return false;
	spool->copying = mem_zalloc(sizeof(*spool->copying));
	spool->copying->segment = segment;
	spool->copying->is_scarce = is_scarce;
	return true;
}

bool
copy_takes(struct spool *spool, const struct entry *entry)
{
	struct copying *copying = spool->copying;

	if (!may_copy(entry))
		return false;
	if (spool->files_left != 0) {
		spool->files_left--;
		return false;
	}
	if (copying->count == copying->size) {
		copying->size = 2 * copying->size + 256;
		copying->ids = mem_resize(copying->ids, copying->size,
					  sizeof(*copying->ids));
	}
	copying->ids[copying->count++] = entry->id;
	copying->bytes += entry_bytes(entry);
	return true;
}

/* ---------------------------------------------------------------- worker */

static void
read_item(const struct copy_job *job, struct copy_item *item)
{
	item->status = files_read_record(job->segment->fd, item->at, item->id,
					 RECORD_MSG, item->text_bytes,
					 item->body_bytes, true, &item->text);
	for (size_t i = 0; item->status == 0 && i < item->note_count; i++) {
		struct copy_note *note = &item->notes[i];

		item->status =
			files_read_record(note->segment->fd, note->at, item->id,
					  RECORD_STATE, note->bytes, 0, false,
					  &note->text);
		if (item->status == -EBADMSG)
			item->status = -EILSEQ; /* the message may hold */
	}
}

static void
run(struct work_job *work)
{
	struct copy_job *job = container_of(work, struct copy_job, job);

	for (size_t i = 0; i < job->count; i++)
		read_item(job, &job->items[i]);
	if (MUTANT(DONE_COPIED))
		(void)usleep(20000); /* so that some are settled by now */
}

/* ------------------------------------------------------------------ loop */

static void
end_copying(struct spool *spool)
{
	struct copying *copying = spool->copying;

	spool->copying = NULL;
	if (copying->status < 0)
		spool->copies_nothing = true; /* until the tick */
	free(copying->ids);
	free(copying);
}

static void
add_record(struct spool *spool, struct parcel *parcel,
	   const struct log_text *text, struct body *body, bool has_more)
{
	struct record_head record = text->record;
	struct parcel_item *item;

	record.flags = has_more ? RECORD_MORE : 0;
	item = parcel_add(parcel, &record, text->text, body);
	item->is_copy = true;
	spool->copying->in_flight++;
}

static void
add_item(struct spool *spool, struct parcel *parcel, struct copy_item *item)
{
	size_t bytes = item->text.record.payload - item->text.record.text_bytes;
	size_t notes = MUTANT(STATES_NOT_COPIED) ? 0 : item->note_count;
	struct body *body = body_new(&spool->bodies);

	body_reserve(body, bytes);
	if (bytes != 0)
		memcpy(body->data, item->text.body, bytes);
	body->bytes = bytes;
	body_close_up(body);
	add_record(spool, parcel, &item->text, body, notes != 0);
	body_unref(body);
	for (size_t i = 0; i < notes; i++)
		add_record(spool, parcel, &item->notes[i].text, NULL,
			   i + 1 != notes);
	spool->stats.copied++;
}

/* What was read is still what is there. */
static bool
is_same(const struct entry *entry, const struct copy_job *job,
	const struct copy_item *item)
{
	if (entry->slot != job->segment->slot ||
	    entry->at * RECORD_ALIGN != item->at)
		return false;
	for (size_t i = 0; i < item->note_count; i++)
		if (i >= entry_note_count(entry) ||
		    entry->notes->each[i].number != item->notes[i].number)
			return false;
	return item->note_count == entry_note_count(entry);
}

static void
take_item(struct spool *spool, struct parcel *parcel,
	  const struct copy_job *job, struct copy_item *item)
{
	uint32_t handle = index_find(&spool->index, item->id);
	const struct entry *entry;

	if (MUTANT(DONE_COPIED) && item->status == 0) {
		add_item(spool, parcel, item);
		return;
	}
	if (handle == 0)
		return;
	entry = index_at(&spool->index, handle);
	/* what changed meanwhile is left to the next time */
	if (!may_copy(entry) || !is_same(entry, job, item))
		return;
	if (item->status == -EBADMSG) {
		read_set_aside(spool, item->id);
	} else if (item->status < 0) {
		/* what is left then becomes files */
		retire_unread(spool, job->segment, item->id, item->status);
	} else {
		add_item(spool, parcel, item);
	}
}

static void next_chunk(struct spool *spool);

static void
on_read(struct work_job *work)
{
	struct copy_job *job = container_of(work, struct copy_job, job);
	struct spool *spool = job->spool;
	struct parcel *parcel = parcel_new();

	spool->copying->is_reading = false;
	for (size_t i = 0; i < job->count && spool->life == SPOOL_OPEN; i++)
		take_item(spool, parcel, job, &job->items[i]);
	if (parcel->item_count != 0) {
		parcel->is_copy = true;
		if (spool->copying->is_scarce)
			parcel->is_more = false;
		spool_give_parcel(spool, parcel);
	} else {
		parcel_free(parcel);
	}
	next_chunk(spool);
	spool_go_on(spool);
}

static void
free_item(struct spool *spool, struct copy_item *item)
{
	for (size_t i = 0; i < item->note_count; i++) {
		keep_drop_reader(spool, item->notes[i].segment);
		free(item->notes[i].text.bytes);
	}
	free(item->notes);
	free(item->text.bytes);
}

static void
free_job(struct work_job *work)
{
	struct copy_job *job = container_of(work, struct copy_job, job);
	struct spool *spool = job->spool;

	for (size_t i = 0; i < job->count; i++)
		free_item(spool, &job->items[i]);
	keep_drop_reader(spool, job->segment);
	free(job);
	spool_job_ended(spool);
}

static void
plan_item(struct spool *spool, struct copy_item *item,
	  const struct entry *entry)
{
	uint32_t count = entry_note_count(entry);

	*item = (struct copy_item){
		.id = entry->id,
		.at = entry->at * RECORD_ALIGN,
		.text_bytes = entry->text_bytes,
		.body_bytes = entry->body_bytes,
	};
	if (count == 0)
		return;
	item->notes = mem_zalloc(count * sizeof(*item->notes));
	for (uint32_t i = 0; i < count; i++) {
		const struct state_note *note = &entry->notes->each[i];
		struct copy_note *to = &item->notes[item->note_count++];

		to->segment = spool_segment(spool, note->slot);
		to->segment->readers++;
		to->at = note->at;
		to->bytes = note->bytes;
		to->number = note->number;
	}
}

/* The next ones that are still to be copied, or the end. One chunk at a time
 * is on its way, so that commits carry a little of it each. */
static void
next_chunk(struct spool *spool)
{
	struct copying *copying = spool->copying;
	struct copy_job *job;
	size_t bytes = 0;

	if (copying->in_flight != 0 || copying->is_reading)
		return;
	job = mem_alloc(sizeof(*job));
	job->count = 0;
	/* a backup may have begun meanwhile */
	while (copying->at < copying->count && job->count < ITEMS_MAX &&
	       bytes < copying->chunk && spool->life == SPOOL_OPEN &&
	       copying->status == 0 && !spool->copies_nothing) {
		uint32_t handle =
			index_find(&spool->index, copying->ids[copying->at++]);
		struct entry *entry;

		if (handle == 0)
			continue;
		entry = index_at(&spool->index, handle);
		if (!may_copy(entry) || entry->slot != copying->segment->slot)
			continue;
		bytes += entry_bytes(entry);
		plan_item(spool, &job->items[job->count++], entry);
	}
	if (job->count == 0) {
		free(job);
		end_copying(spool);
		return;
	}
	job->job = (struct work_job){.run = run,
				     .done = on_read,
				     .free_job = free_job};
	job->spool = spool;
	job->segment = copying->segment;
	job->segment->readers++;
	copying->is_reading = true;
	spool_job_started(spool);
	work_start(spool->loop, &job->job, &spool->writing);
}

void
copy_start(struct spool *spool)
{
	struct copying *copying = spool->copying;

	copying->chunk = copying->bytes / CHUNKS;
	if (copying->chunk < CHUNK_LEAST)
		copying->chunk = CHUNK_LEAST;
	if (copying->chunk > CHUNK_MOST)
		copying->chunk = CHUNK_MOST;
	next_chunk(spool);
}

/* -------------------------------------------------------------- outcomes */

static void
move_entry(struct spool *spool, struct segment *segment, uint32_t at,
	   const struct parcel_item *item)
{
	uint32_t handle = index_find(&spool->index, item->record.id);
	struct state_note *note;
	struct entry *entry;

	if (handle == 0)
		return;
	entry = index_at(&spool->index, handle);
	if ((entry->flags & ENTRY_GONE) != 0)
		return;
	if (item->record.type == RECORD_MSG) {
		spool_unlist(spool, handle);
		entry->at = at / RECORD_ALIGN;
		entry_list_push(&spool->index, &segment->entries, handle,
				segment->slot);
		return;
	}
	note = index_find_note(entry, item->record.number);
	if (note == NULL)
		return;
	note->slot = segment->slot;
	note->at = at;
}

void
copy_saved(struct spool *spool, struct segment *segment,
	   const struct parcel *parcel, const struct parcel_item *item)
{
	move_entry(spool, segment, parcel->start + item->at, item);
	spool->copying->in_flight--;
	next_chunk(spool);
}

void
copy_failed(struct spool *spool, int status)
{
	spool->copying->in_flight--;
	if (spool->copying->status == 0)
		spool->copying->status = status;
	next_chunk(spool);
}
