/* SPDX-License-Identifier: ISC */
#include "queue/spool/recover.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/mem.h"
#include "queue/spool/disk.h"
#include "queue/spool/format.h"
#include "queue/spool/mutant.h"

#define SLOTS_MAX   100000u
#define UNUSED_LOOK (1u << 20)

/* One segment file as first looked at. */
struct view {
	struct segment *segment;
	uint64_t segno;	    /* 0: no batch of ours in it */
	uint64_t first_seq; /* of its first good batch */
	/* from the first byte to behind the last that cannot be read */
	uint32_t hole_at, hole_end;
	bool is_told; /* of the hole */
};

struct reader {
	struct recovery *recovery;
	struct view *views;
	size_t count;
	uint8_t *bytes;	   /* of the segment at hand */
	size_t largest;	   /* segment, in bytes */
	uint8_t *newest;   /* of the newest one, once head was sought in it */
	uint64_t last_seq; /* of the newest good batch so far, 0: none */
	bool skips;	   /* newer batches may be where nothing can be read */
};

/* -------------------------------------------------------------- segments */

char *
segment_name(uint32_t slot, char to[SEGMENT_NAME_MAX])
{
	(void)snprintf(to, SEGMENT_NAME_MAX, "%03" PRIu32 ".seg", slot);
	return to;
}

struct segment *
segment_new(int fd, uint32_t slot, uint32_t bytes)
{
	struct segment *segment = mem_zalloc(sizeof(*segment));

	list_init(&segment->link);
	segment->fd = fd;
	segment->slot = slot;
	segment->bytes = bytes;
	return segment;
}

void
segment_free(struct segment *segment)
{
	if (segment == NULL)
		return;
	if (segment->fd >= 0)
		(void)close(segment->fd); /* what counts was synced before */
	free(segment);
}

void
recover_drop(struct recovery *recovery)
{
	for (uint32_t i = 0; i < recovery->slot_count; i++)
		segment_free(recovery->slots[i]);
	free(recovery->slots);
	recovery->slots = NULL;
	recovery->slot_count = 0;
}

bool
segment_parse_name(const char *name, uint32_t *out)
{
	char again[SEGMENT_NAME_MAX];
	unsigned long slot;

	if (name[0] < '0' || name[0] > '9')
		return false;
	slot = strtoul(name, NULL, 10);
	if (slot == 0 || slot > SLOTS_MAX)
		return false;
	*out = (uint32_t)slot;
	return strcmp(segment_name(*out, again), name) == 0;
}

static int
add_segment(struct recovery *recovery, const char *name, struct err *err)
{
	int flags = recovery->is_read_only ? O_RDONLY : O_RDWR;
	struct segment *segment;
	struct stat st;
	uint32_t slot;
	int fd;

	if (!segment_parse_name(name, &slot))
		return 0;
	fd = disk_open(recovery->log_fd, name, flags);
	if (fd < 0)
		return err_set(err, fd, "spool: log/%s", name);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
	    st.st_size > UINT32_MAX) {
		(void)close(fd); /* nothing was written */
		return err_text(err, -EBADMSG,
				"spool: log/%s is no segment file", name);
	}
	if (slot > recovery->slot_count) {
		recovery->slots = mem_resize(recovery->slots, slot,
					     sizeof(*recovery->slots));
		for (uint32_t i = recovery->slot_count; i < slot; i++)
			recovery->slots[i] = NULL;
		recovery->slot_count = slot;
	}
	segment = segment_new(fd, slot,
			      (uint32_t)st.st_size & ~(FORMAT_BLOCK - 1));
	recovery->slots[slot - 1] = segment;
	return 0;
}

static int
open_segments(struct recovery *recovery, struct err *err)
{
	int fd = disk_open_dir(recovery->log_fd, ".", 0), rc = 0;
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;

	if (dir == NULL)
		return err_set(err, fd < 0 ? fd : -errno, "spool: log");
	while (rc == 0) {
		struct dirent *item;

		errno = 0;
		item = readdir(dir);
		if (item == NULL) {
			rc = errno != 0 ? err_set(err, -errno, "spool: log")
					: 0;
			break;
		}
		rc = add_segment(recovery, item->d_name, err);
	}
	(void)closedir(dir); /* read only */
	return rc;
}

/* ------------------------------------------------------------ first look */

static void
tell_hole(struct reader *reader, struct view *view, unsigned bytes)
{
	char name[SEGMENT_NAME_MAX], text[80];

	if (bytes == 0 || view->is_told)
		return;
	view->is_told = true;
	(void)snprintf(text, sizeof(text),
		       "%u bytes from %" PRIu32 " on cannot be read", bytes,
		       view->hole_at);
	reader->recovery->report(reader->recovery->arg, true,
				 segment_name(view->segment->slot, name), text);
}

static int
read_segment(struct reader *reader, struct view *view, struct err *err)
{
	struct segment *segment = view->segment;
	char name[SEGMENT_NAME_MAX];
	int rc = disk_read_wide(segment->fd, reader->bytes, segment->bytes);
	unsigned bytes = 0;

	if (rc == 0)
		return 0;
	/* one bad block must not take the rest with it */
	for (uint32_t at = 0; at < segment->bytes; at += FORMAT_BLOCK) {
		rc = disk_read(segment->fd, reader->bytes + at, FORMAT_BLOCK,
			       at);
		if (rc == 0)
			continue;
		if (rc != -EIO && rc != -ENODATA)
			return err_set(err, rc, "spool: log/%s",
				       segment_name(segment->slot, name));
		memset(reader->bytes + at, 0, FORMAT_BLOCK);
		if (view->hole_end == 0)
			view->hole_at = at;
		if (view->hole_end < at + FORMAT_BLOCK)
			view->hole_end = at + FORMAT_BLOCK;
		bytes += FORMAT_BLOCK;
		segment->is_unread = true;
	}
	tell_hole(reader, view, bytes);
	return 0;
}

/* Whether some of these bytes may have been more than they seem. */
static bool
has_hole(const struct view *view, uint32_t at, uint32_t end)
{
	return view->hole_at < end && view->hole_end > at;
}

static bool
is_zero(const uint8_t *bytes, size_t len)
{
	return bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0;
}

/*
 * Whether the segment was made ahead and never used: what is used is written
 * from the start on without a gap, so it shows in the first part, or at the
 * begin of one of the others.
 */
static bool
is_unused(struct reader *reader, const struct segment *segment)
{
	uint32_t len =
		segment->bytes < UNUSED_LOOK ? segment->bytes : UNUSED_LOOK;

	for (uint64_t at = 0; at < segment->bytes; at += UNUSED_LOOK) {
		if (disk_read(segment->fd, reader->bytes, len, at) < 0 ||
		    !is_zero(reader->bytes, len))
			return false;
		len = FORMAT_BLOCK;
	}
	return true;
}

/*
 * What the segment is used as. Usually its first block tells. If that does
 * not hold, another batch in it may: then the first one is damaged, or torn
 * over an older use, which head will show to be over.
 */
static int
look(struct reader *reader, struct view *view, struct err *err)
{
	const struct segment *segment = view->segment;
	struct batch_head head;
	int rc;

	if (segment->bytes < FORMAT_BLOCK)
		return 0;
	rc = disk_read(segment->fd, reader->bytes, FORMAT_BLOCK, 0);
	if (rc == 0 && batch_decode(reader->bytes, reader->recovery->tag,
				    segment->bytes, &head)) {
		view->segno = head.segno;
		view->first_seq = head.seq;
		return 0;
	}
	if (rc == 0 && is_unused(reader, segment))
		return 0;
	rc = read_segment(reader, view, err);
	for (uint32_t at = 0; rc == 0 && at < segment->bytes;
	     at += FORMAT_BLOCK) {
		if (!batch_decode(reader->bytes + at, reader->recovery->tag,
				  segment->bytes - at, &head))
			continue;
		if (head.segno > view->segno) {
			view->segno = head.segno;
			view->first_seq = head.seq;
		}
	}
	return rc;
}

static int
by_segno(const void *a, const void *b)
{
	const struct view *left = a, *right = b;

	return left->segno < right->segno ? -1 : left->segno > right->segno;
}

/* Whether batches newer than all that are known may be where nothing can be
 * read: in a segment of which nobody knows its last use, or in the newest. */
static bool
may_miss_newest(const struct reader *reader)
{
	for (size_t i = 0; i < reader->count; i++)
		if (reader->views[i].segment->is_unread)
			return true;
	return false;
}

/* Then head, identifiers and numbers are all unknown, and mail put in now
 * would be taken for old when the log can be read again. */
static int
refuse_unread(const struct reader *reader, struct err *err)
{
	if (reader->recovery->keeps_gone || !reader->skips)
		return 0;
	return err_text(err, -EIO,
			"spool: no segment in log/ tells what it is used for, "
			"and not all can be read: nothing is done until they "
			"can be, or ostlerctl fsck --repair set them aside");
}

/* The newest head is in the newest segment; every head written is true,
 * also that of a batch that was torn. */
static int
find_head(struct reader *reader, struct err *err)
{
	struct recovery *recovery = reader->recovery;
	struct batch_head head;
	struct view *view;
	uint32_t at = 0;
	int rc;

	reader->skips = may_miss_newest(reader);
	if (reader->count == 0 || reader->views[reader->count - 1].segno == 0)
		return refuse_unread(reader, err);
	view = &reader->views[reader->count - 1];
	rc = read_segment(reader, view, err);
	if (rc < 0)
		return rc;
	recovery->next_segno = view->segno + 2;
	reader->skips = may_miss_newest(reader);
	while (at < view->segment->bytes) {
		if (!batch_decode(reader->bytes + at, recovery->tag,
				  view->segment->bytes - at, &head) ||
		    head.segno != view->segno) {
			at += FORMAT_BLOCK;
			continue;
		}
		if (head.head > recovery->head)
			recovery->head = head.head;
		if (head.ids > recovery->ids && !MUTANT(IDS_UNRESERVED))
			recovery->ids = head.ids;
		at += head.bytes;
	}
	/* it is replayed last */
	reader->newest = reader->bytes;
	reader->bytes = mem_alloc(reader->largest);
	return 0;
}

/* --------------------------------------------------------------- records */

static struct segment *
segment_of(const struct recovery *recovery, const struct entry *entry)
{
	return recovery->slots[entry->slot - 1];
}

static void
unlist(struct recovery *recovery, uint32_t handle)
{
	struct entry *entry = index_at(recovery->index, handle);

	if (entry->slot != 0)
		entry_list_remove(recovery->index,
				  &segment_of(recovery, entry)->entries,
				  handle);
}

/*
 * Of a message that was copied within the log the last record counts, so that
 * nothing of it is left in the oldest segment: files are made of what is
 * there, and a message with a file and a later record would come back.
 */
static bool
is_behind(const struct recovery *recovery, const struct segment *segment,
	  uint32_t at, const struct entry *entry)
{
	uint64_t other = segment_of(recovery, entry)->segno;

	return segment->segno > other ||
	       (segment->segno == other && at / RECORD_ALIGN > entry->at);
}

static void
apply_msg(struct recovery *recovery, struct segment *segment,
	  const struct record_head *record, uint32_t at)
{
	struct index *index = recovery->index;
	/* most come by rising ids, so there is nothing to be found */
	uint32_t handle = record->id > recovery->largest_id
				  ? 0
				  : index_find(index, record->id);
	struct entry *entry;
	uint32_t flags = 0;

	if (handle != 0) {
		entry = index_at(index, handle);
		/* no id is used twice: it is this one, and settled */
		if ((entry->flags & ENTRY_GONE) != 0)
			return;
		if ((entry->flags & ENTRY_IN_FILE) == 0) {
			flags = ENTRY_COPIED;
			entry->flags |= flags;
			if (!is_behind(recovery, segment, at, entry))
				return;
		} /* else it was salvaged after its states were seen */
		unlist(recovery, handle);
	} else {
		handle = index_add(index, record->id);
	}
	entry = index_at(index, handle);
	entry->flags = flags & 0xff;
	entry->at = at / RECORD_ALIGN;
	entry->text_bytes = record->text_bytes;
	entry->body_bytes = record->payload - record->text_bytes;
	entry->body_crc = record->body_crc;
	entry_list_push(index, &segment->entries, handle, segment->slot);
}

static void
apply_state(struct recovery *recovery, struct segment *segment,
	    const struct record_head *record, uint32_t at)
{
	struct index *index = recovery->index;
	uint32_t handle = index_find(index, record->id);
	struct state_note note = {.slot = segment->slot,
				  .at = at,
				  .bytes = record->text_bytes,
				  .number = record->number};
	struct entry *entry;

	if (handle == 0) {
		handle = index_add(index, record->id);
		index_at(index, handle)->flags = ENTRY_IN_FILE;
		entry_list_push(index, &segment->entries, handle,
				segment->slot);
	}
	entry = index_at(index, handle);
	if ((entry->flags & ENTRY_GONE) != 0)
		return;
	(void)index_note(index, entry, &note); /* a repeated one is the same */
	if (record->number > entry->states)
		entry->states = record->number & 0xffffff;
}

/*
 * A settled message is forgotten, unless a file of it may be there yet: when
 * its record is not in the log, or in the oldest segment, which alone is
 * ever being made into files. Of one with two records the older one may have
 * been there.
 */
static void
apply_done(struct recovery *recovery, const struct record_head *record)
{
	struct index *index = recovery->index;
	uint32_t handle = index_find(index, record->id);
	bool is_forgotten = false;
	struct entry *entry;

	if (handle == 0)
		handle = index_add(index, record->id);
	entry = index_at(index, handle);
	if (entry->slot != 0) {
		is_forgotten =
			!recovery->keeps_gone &&
			(entry->flags & (ENTRY_IN_FILE | ENTRY_COPIED)) == 0 &&
			segment_of(recovery, entry)->segno > recovery->head;
		unlist(recovery, handle);
	}
	index_drop_notes(index, entry);
	entry->flags = ENTRY_GONE;
	if (is_forgotten)
		index_remove(index, handle);
}

void
recover_apply(struct recovery *recovery, struct segment *segment,
	      const struct record_head *record, uint32_t at)
{
	if (record->id >= recovery->ids)
		recovery->ids = record->id + 1;
	switch (record->type) {
	case RECORD_MSG:
		apply_msg(recovery, segment, record, at);
		break;
	case RECORD_STATE:
		apply_state(recovery, segment, record, at);
		break;
	case RECORD_DONE:
		apply_done(recovery, record);
		break;
	}
	if (record->id > recovery->largest_id)
		recovery->largest_id = record->id;
}

/* --------------------------------------------------------------- batches */

/* Records that live or die together: those up to the first without MORE. */
struct unit {
	uint32_t end;
	uint32_t records;
	bool is_good;
	bool is_lost; /* a header is damaged: nobody knows where it ends */
};

static struct unit
check_unit(const uint8_t *bytes, uint32_t at, uint32_t end,
	   const struct record_place *place)
{
	struct unit unit = {.end = at, .is_good = true};
	struct record_head record = {.flags = RECORD_MORE};
	uint64_t id;

	while ((record.flags & RECORD_MORE) != 0 && unit.end < end &&
	       !(MUTANT(GROUP_IN_PARTS) && unit.records != 0)) {
		if (end - unit.end < RECORD_HEADER) {
			unit.is_good = false;
			unit.is_lost = true;
			return unit;
		}
		switch (record_decode(bytes + unit.end, end - unit.end, place,
				      true, &record)) {
		case RECORD_GOOD:
			break;
		case RECORD_BAD_BODY:
			unit.is_good = false;
			break;
		case RECORD_BAD:
			unit.is_good = false;
			unit.is_lost = !record_header_holds(bytes + unit.end,
							    place, &id);
			if (unit.is_lost)
				return unit;
			break;
		}
		if (record_bytes(&record) > end - unit.end) {
			unit.is_good = false;
			unit.is_lost = true;
			return unit;
		}
		unit.end += (uint32_t)record_bytes(&record);
		unit.records++;
	}
	if ((record.flags & RECORD_MORE) != 0 && !MUTANT(GROUP_IN_PARTS))
		unit.is_good = false;
	return unit;
}

static void
apply_unit(struct reader *reader, struct segment *segment, uint32_t at,
	   uint32_t end, const struct record_place *place)
{
	while (at < end) {
		struct record_head record;

		(void)record_decode(reader->bytes + at, end - at, place, false,
				    &record); /* check_unit found it good */
		recover_apply(reader->recovery, segment, &record, at);
		at += (uint32_t)record_bytes(&record);
	}
}

/* Whether every record of the batch holds. */
static bool
holds_whole(const struct reader *reader, uint32_t at,
	    const struct batch_head *head)
{
	struct record_place place = {head->tag, head->segno, head->seq};
	uint32_t from = at + BATCH_HEADER, end = at + head->used, records = 0;

	while (from < end) {
		struct unit unit = check_unit(reader->bytes, from, end, &place);

		if (!unit.is_good)
			return false;
		from = unit.end;
		records += unit.records;
	}
	return records == head->records;
}

/*
 * Behind a record of which not even the length is known: the next one whose
 * header holds, and those that belong together with it. They may belong to the
 * lost one as well, so only messages count, which does no harm: a message too
 * many is one that is sent twice. Returns where to go on.
 */
static uint32_t
apply_behind_lost(struct reader *reader, struct segment *segment, uint32_t at,
		  uint32_t end, const struct record_place *place)
{
	struct record_head record = {.flags = RECORD_MORE};
	uint64_t id;

	do
		at += RECORD_ALIGN;
	while (at + RECORD_HEADER <= end &&
	       !record_header_holds(reader->bytes + at, place, &id));
	while ((record.flags & RECORD_MORE) != 0 && at + RECORD_HEADER <= end &&
	       record_header_holds(reader->bytes + at, place, &id)) {
		enum record_check check =
			record_decode(reader->bytes + at, end - at, place, true,
				      &record);

		if (record_bytes(&record) > end - at)
			break;
		if (check == RECORD_GOOD && record.type == RECORD_MSG)
			recover_apply(reader->recovery, segment, &record, at);
		at += (uint32_t)record_bytes(&record);
	}
	return at + RECORD_HEADER <= end ? at : end;
}

/* A batch with later ones behind it was durable: its good parts count. */
static void
apply_batch(struct reader *reader, struct segment *segment, uint32_t at,
	    const struct batch_head *head, bool is_whole)
{
	struct record_place place = {head->tag, head->segno, head->seq};
	uint32_t from = at + BATCH_HEADER, end = at + head->used;

	if (is_whole) {
		apply_unit(reader, segment, from, end, &place);
		return;
	}
	while (from < end) {
		struct unit unit = check_unit(reader->bytes, from, end, &place);

		if (unit.is_good)
			apply_unit(reader, segment, from, unit.end, &place);
		from = unit.is_lost ? apply_behind_lost(reader, segment,
							unit.end, end, &place)
				    : unit.end;
	}
}

/* Whether a batch of this use stands behind at, or in a later segment that
 * does not start with the seq given: then what is at that place was durable.
 * A start that left numbers out knew of no later ones either. */
static bool
has_later(const struct reader *reader, size_t which, uint32_t at, uint64_t seq)
{
	const struct view *view = &reader->views[which];
	struct batch_head head;

	for (; at < view->segment->bytes; at += FORMAT_BLOCK)
		if (batch_decode(reader->bytes + at, reader->recovery->tag,
				 view->segment->bytes - at, &head) &&
		    head.segno == view->segno && head.seq > seq)
			return true;
	for (which++; which < reader->count; which++)
		if (reader->views[which].first_seq > seq &&
		    reader->views[which].first_seq - seq < RECOVER_GAP)
			return true;
	return false;
}

/* Batches from here on were declared void by a later segment (I5). */
static uint64_t
void_from(const struct reader *reader, size_t which)
{
	uint64_t limit = UINT64_MAX;

	for (which++; which < reader->count; which++)
		if (reader->views[which].first_seq < limit)
			limit = reader->views[which].first_seq;
	return limit;
}

static void
replay_segment(struct reader *reader, size_t which)
{
	struct recovery *recovery = reader->recovery;
	const struct view *view = &reader->views[which];
	struct segment *segment = view->segment;
	uint64_t limit = void_from(reader, which);
	uint32_t at = 0, bad_from = 0;
	bool is_bad = false;

	while (at + FORMAT_BLOCK <= segment->bytes) {
		struct batch_head head;
		bool is_whole;
		bool is_ours = batch_decode(reader->bytes + at, recovery->tag,
					    segment->bytes - at, &head) &&
			       ((head.segno == view->segno &&
				 head.seq > reader->last_seq) ||
				MUTANT(OLD_USE_COUNTS));

		if (!is_ours) {
			if (!is_bad)
				bad_from = at;
			is_bad = true;
			at += FORMAT_BLOCK;
			continue;
		}
		if (head.seq >= limit)
			return;
		if (is_bad) /* a good one behind: this was durable */
			recovery->damage(recovery->arg, segment, bad_from,
					 at - bad_from);
		is_bad = false;
		is_whole = holds_whole(reader, at, &head);
		if (!is_whole && !MUTANT(GROUP_IN_PARTS)) {
			if (!has_later(reader, which, at + head.bytes,
				       head.seq) &&
			    !has_hole(view, at, at + head.bytes))
				return; /* torn: nobody was told 250 for it */
			recovery->damage(recovery->arg, segment, at,
					 head.bytes);
		}
		apply_batch(reader, segment, at, &head, is_whole);
		if (head.ids > recovery->ids && !MUTANT(IDS_UNRESERVED))
			recovery->ids = head.ids;
		reader->last_seq = head.seq;
		recovery->last = segment;
		recovery->last_at = at;
		recovery->last_bytes = head.bytes;
		at += head.bytes;
	}
	/* the next segment goes on with another seq: some are missing, if
	 * these were not left out; or nobody knows what stood there */
	if (is_bad && ((limit > reader->last_seq + 1 &&
			limit - reader->last_seq < RECOVER_GAP) ||
		       has_hole(view, bad_from, segment->bytes)))
		recovery->damage(recovery->arg, segment, bad_from,
				 segment->bytes - bad_from);
}

static int
replay(struct reader *reader, struct err *err)
{
	struct recovery *recovery = reader->recovery;

	for (size_t i = 0; i < reader->count; i++) {
		struct view *view = &reader->views[i];
		uint64_t before = reader->last_seq;
		int rc;

		/* I2, I4: what lies before head is over, whatever it says */
		if (view->segno == 0 || (view->segno < recovery->head &&
					 !MUTANT(BELOW_HEAD_COUNTS))) {
			list_push(&recovery->free, &view->segment->link);
			continue;
		}
		if (i + 1 == reader->count) {
			uint8_t *other = reader->bytes;

			reader->bytes = reader->newest;
			reader->newest = other;
		} else {
			rc = read_segment(reader, view, err);
			if (rc < 0)
				return rc;
		}
		view->segment->segno = view->segno;
		replay_segment(reader, i);
		if (reader->last_seq != before) {
			view->segment->is_used = true;
			list_push(&recovery->used, &view->segment->link);
		} else {
			view->segment->segno = 0;
			list_push(&recovery->free, &view->segment->link);
		}
	}
	recovery->next_seq = reader->last_seq + 1;
	if (reader->skips) {
		recovery->next_segno += RECOVER_SKIP;
		recovery->next_seq += RECOVER_SKIP;
		recovery->ids += RECOVER_SKIP;
	}
	return 0;
}

int
recover_log(struct recovery *recovery, struct err *err)
{
	struct reader reader = {.recovery = recovery, .largest = FORMAT_BLOCK};
	int rc;

	list_init(&recovery->used);
	list_init(&recovery->free);
	recovery->head = recovery->next_segno = recovery->next_seq = 1;
	recovery->ids = 1;
	rc = open_segments(recovery, err);
	if (rc < 0)
		return rc;
	reader.views =
		mem_zalloc((recovery->slot_count + 1) * sizeof(*reader.views));
	for (uint32_t i = 0; i < recovery->slot_count; i++) {
		struct segment *segment = recovery->slots[i];

		if (segment == NULL)
			continue;
		reader.views[reader.count++].segment = segment;
		if (segment->bytes > reader.largest)
			reader.largest = segment->bytes;
	}
	reader.bytes = mem_alloc(reader.largest);
	for (size_t i = 0; rc == 0 && i < reader.count; i++)
		rc = look(&reader, &reader.views[i], err);
	qsort(reader.views, reader.count, sizeof(*reader.views), by_segno);
	if (rc == 0)
		rc = find_head(&reader, err);
	if (rc == 0)
		rc = replay(&reader, err);
	free(reader.bytes);
	free(reader.newest);
	free(reader.views);
	return rc;
}
