/* SPDX-License-Identifier: ISC */
/* The log in a check: what recovery says of it, and what can be salvaged. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/mem.h"
#include "queue/spool/check_parts.h"
#include "queue/spool/disk.h"

#define PLACES_MAX 256u /* tried for the records of one lost header */
#define SEGNOS_MAX 16u

/* ----------------------------------------------------- before recovery */

/* What stands among the segments and cannot be one keeps a spool closed. */
static void
check_names(struct check *check)
{
	int log_fd = check->spool.door.log_fd;
	int fd = disk_open_dir(log_fd, ".", 0);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *item;

	for (item = dir != NULL ? readdir(dir) : NULL; item != NULL;
	     item = readdir(dir)) {
		char repair[CHECK_REPAIR_MAX], shown[300];
		const char *name = item->d_name;
		struct stat st;
		uint32_t slot;

		if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
		    fstatat(log_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		if (segment_parse_name(name, &slot) && S_ISREG(st.st_mode) &&
		    st.st_size <= UINT32_MAX)
			continue;
		(void)snprintf(shown, sizeof(shown), "log/%s", name);
		check_set_aside(check, log_fd, name, name, repair);
		check_tell(check, CHECK_DAMAGE, "name", shown, 0, repair,
			   "it is no segment");
	}
	if (dir != NULL)
		(void)closedir(dir); /* read only */
}

/* -------------------------------------------------------------- batches */

static void
on_report(void *arg, bool is_error, const char *file, const char *text)
{
	struct check *check = arg;
	char shown[300];
	uint32_t slot;

	(void)snprintf(shown, sizeof(shown), "log/%s", file);
	if (is_error && segment_parse_name(file, &slot)) {
		check->unread = mem_append(check->unread, check->unread_count,
					   sizeof(*check->unread));
		check->unread[check->unread_count++] = slot;
		check->is_log_damaged = true;
	}
	check_tell(check, is_error, "segment", shown, 0,
		   is_error && check->outer->is_repair
			   ? "set aside when all that holds is saved"
			   : "",
		   "%s", text);
}

static void
add_range(struct check *check, struct segment *segment, uint64_t segno,
	  uint32_t at, uint32_t bytes)
{
	check->ranges = mem_resize(check->ranges, check->range_count + 1,
				   sizeof(*check->ranges));
	check->ranges[check->range_count++] =
		(struct check_range){segment, segno, at, bytes};
}

static void
on_damage(void *arg, const struct segment *segment, uint32_t at, uint32_t bytes)
{
	struct check *check = arg;

	add_range(check, check->recovery.slots[segment->slot - 1],
		  segment->segno, at, bytes);
}

static int
by_place(const void *a, const void *b)
{
	const struct check_batch *left = a, *right = b;

	if (left->segno != right->segno)
		return left->segno < right->segno ? -1 : 1;
	return left->at < right->at ? -1 : left->at > right->at;
}

/* Every batch header that holds, from the head on. */
static void
list_batches(struct check *check, const struct segment *segment)
{
	uint8_t header[BATCH_HEADER];
	struct batch_head head;
	uint32_t at = 0;

	while (at < segment->bytes) {
		if (disk_read(segment->fd, header, sizeof(header), at) < 0 ||
		    !batch_decode(header, check->recovery.tag,
				  segment->bytes - at, &head)) {
			at += FORMAT_BLOCK;
			continue;
		}
		if (head.segno >= check->recovery.head) {
			check->batches = mem_resize(check->batches,
						    check->batch_count + 1,
						    sizeof(*check->batches));
			check->batches[check->batch_count++] =
				(struct check_batch){segment->slot, at,
						     head.bytes, head.segno,
						     head.seq};
		}
		at += head.bytes;
	}
}

static uint8_t *
read_bytes(const struct segment *segment, uint32_t at, uint32_t bytes)
{
	uint8_t *to = mem_zalloc(bytes);

	read_around(segment->fd, to, bytes, at);
	return to;
}

/* ------------------------------------------------------------- salvaging */

struct salvage {
	struct check *check;
	struct segment *segment;
	uint8_t *bytes; /* of the range */
	uint32_t at, len;
	const char *file;
	unsigned kept, lost;
	uint64_t max_seq; /* of records that hold */
};

/* Records that belong together, from at on: is_good when all of them hold. */
struct salvage_unit {
	uint32_t end;
	bool is_good;
};

static struct salvage_unit
find_unit(const struct salvage *salvage, uint32_t at,
	  const struct record_place *place)
{
	struct salvage_unit unit = {at, true};
	struct record_head record = {.flags = RECORD_MORE};
	uint64_t id;

	while ((record.flags & RECORD_MORE) != 0) {
		const uint8_t *from = salvage->bytes + unit.end;
		uint32_t left = salvage->len - unit.end;

		if (left < RECORD_HEADER ||
		    !record_header_holds(from, place, &id)) {
			unit.is_good = false;
			return unit;
		}
		if (record_decode(from, left, place, true, &record) !=
		    RECORD_GOOD)
			unit.is_good = false;
		if (record_bytes(&record) > left) {
			unit.end += RECORD_ALIGN;
			unit.is_good = false;
			return unit;
		}
		unit.end += (uint32_t)record_bytes(&record);
	}
	return unit;
}

/* Where a record does not count, and why. */
static void
tell_lost(struct salvage *salvage, uint32_t at, uint64_t id, bool is_damaged)
{
	char name[SPOOL_ID_MAX];

	salvage->lost++;
	check_tell(salvage->check, CHECK_DAMAGE, "record", salvage->file, id,
		   salvage->check->outer->is_repair ? "set aside with its batch"
						    : "",
		   "message %s: a record of it at %u %s",
		   spool_id_format(id, name), salvage->at + at,
		   is_damaged ? "is damaged"
			      : "belongs together with one that is damaged");
}

/*
 * As at a start: where one of those that belong together is lost, only the
 * messages count. A message is not settled whose report is lost.
 */
static void
apply_unit(struct salvage *salvage, uint32_t at,
	   const struct salvage_unit *unit, const struct record_place *place)
{
	while (at < unit->end) {
		const uint8_t *from = salvage->bytes + at;
		uint32_t left = salvage->len - at;
		struct record_head record;
		uint64_t id = 0;
		bool is_good = record_decode(from, left, place, true,
					     &record) == RECORD_GOOD;

		(void)record_header_holds(from, place, &id); /* find_unit saw */
		if (is_good && (unit->is_good || record.type == RECORD_MSG)) {
			recover_apply(&salvage->check->recovery,
				      salvage->segment, &record,
				      salvage->at + at);
			salvage->kept++;
		} else {
			tell_lost(salvage, at, id, !is_good);
		}
		if (record_bytes(&record) > left)
			return;
		at += (uint32_t)record_bytes(&record);
	}
}

/*
 * Looks for records of a batch whose header, or some record, is gone: the
 * checksum of each ties it to its batch. Behind a gap within a batch stands
 * what may belong to a record that is lost.
 */
static void
salvage_place(struct salvage *salvage, const struct record_place *places,
	      size_t count)
{
	uint32_t at = 0, end = 0; /* of the last unit */
	uint64_t seq = 0;	  /* of its batch */

	while (at + RECORD_HEADER <= salvage->len) {
		const struct record_place *place = NULL;
		struct salvage_unit unit;
		uint64_t id;

		for (size_t i = 0; i < count && place == NULL; i++)
			if (record_header_holds(salvage->bytes + at, &places[i],
						&id))
				place = &places[i];
		if (place == NULL) {
			at += RECORD_ALIGN;
			continue;
		}
		unit = find_unit(salvage, at, place);
		if (place->seq == seq ? at != end
				      : at % FORMAT_BLOCK != BATCH_HEADER)
			unit.is_good = false;
		apply_unit(salvage, at, &unit, place);
		seq = place->seq;
		if (seq > salvage->max_seq)
			salvage->max_seq = seq;
		at = end = unit.end;
	}
}

/* The numbers that lost batches of a segment can have had. */
static size_t
find_places(const struct check *check, uint64_t segno, uint32_t from,
	    uint32_t to, struct record_place places[PLACES_MAX])
{
	uint64_t before = 0, behind = UINT64_MAX;
	size_t count = 0;

	for (size_t i = 0; i < check->batch_count; i++) {
		const struct check_batch *batch = &check->batches[i];
		bool is_before = batch->segno < segno ||
				 (batch->segno == segno && batch->at < from);
		bool is_behind = batch->segno > segno ||
				 (batch->segno == segno && batch->at >= to);

		if (is_before && batch->seq > before)
			before = batch->seq;
		if (is_behind && batch->seq < behind)
			behind = batch->seq;
	}
	/* the newest, or a start left numbers out */
	if (behind - before >= RECOVER_GAP)
		behind = before + 1 + PLACES_MAX;
	if (before + 1 + PLACES_MAX < behind)
		before = behind - 1 - PLACES_MAX;
	for (uint64_t seq = before + 1; seq < behind; seq++)
		places[count++] =
			(struct record_place){check->recovery.tag, segno, seq};
	return count;
}

/* A range that recovery found damaged: told, kept, salvaged. */
static int
salvage_range(struct check *check, const struct check_range *range,
	      struct err *err)
{
	struct record_place places[PLACES_MAX];
	char repair[CHECK_REPAIR_MAX], file[SEGMENT_NAME_MAX + 8], as[64];
	char name[SEGMENT_NAME_MAX];
	struct salvage salvage = {.check = check,
				  .segment = range->segment,
				  .at = range->at,
				  .len = range->bytes};
	struct batch_head head;
	size_t count;
	int rc;

	check->is_log_damaged = true;
	(void)snprintf(file, sizeof(file), "log/%s",
		       segment_name(range->segment->slot, name));
	(void)snprintf(as, sizeof(as), "segment-%llu-%u",
		       (unsigned long long)range->segno, range->at);
	salvage.file = file;
	salvage.bytes = read_bytes(range->segment, range->at, range->bytes);
	rc = check_keep_bytes(check, salvage.bytes, range->bytes, as, repair);
	if (rc < 0) {
		free(salvage.bytes);
		return err_set(err, rc, "spool: corrupt/%s", as);
	}
	if (batch_decode(salvage.bytes, check->recovery.tag, range->bytes,
			 &head) &&
	    head.segno == range->segno) {
		places[0] = (struct record_place){check->recovery.tag,
						  head.segno, head.seq};
		count = 1;
	} else {
		count = find_places(check, range->segno, range->at,
				    range->at + range->bytes, places);
	}
	salvage_place(&salvage, places, count);
	check_tell(check, CHECK_DAMAGE, "batch", file, 0, repair,
		   "%u bytes at %u are damaged: %u records in them hold, %u "
		   "do not",
		   range->bytes, range->at, salvage.kept, salvage.lost);
	free(salvage.bytes);
	if (salvage.max_seq >= check->recovery.next_seq)
		check->recovery.next_seq = salvage.max_seq + 1;
	return 0;
}

/* -------------------------------------------- segments that tell nothing */

static bool
is_zero(const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (bytes[i] != 0)
			return false;
	return true;
}

/* The uses of segments that no segment is known to be, below the newest. */
static size_t
find_segnos(const struct check *check, uint64_t segnos[SEGNOS_MAX])
{
	uint64_t next = check->recovery.head;
	size_t count = 0;

	for (size_t i = 0; i < check->batch_count; i++) {
		for (; next < check->batches[i].segno && count < SEGNOS_MAX;
		     next++)
			segnos[count++] = next;
		next = check->batches[i].segno + 1;
	}
	return count;
}

/*
 * A segment that no longer begins with a batch, and is not in use by any
 * other: the only batch of its last use may be the damaged one. Records in it
 * whose checksum names a missing use are the proof.
 */
static void
salvage_unknown(struct check *check, struct segment *segment)
{
	uint64_t segnos[SEGNOS_MAX];
	size_t count = find_segnos(check, segnos);
	uint8_t block[FORMAT_BLOCK];
	struct batch_head head;

	if (segment->bytes < FORMAT_BLOCK || count == 0 ||
	    (disk_read(segment->fd, block, sizeof(block), 0) == 0 &&
	     (is_zero(block, sizeof(block)) ||
	      batch_decode(block, check->recovery.tag, segment->bytes, &head))))
		return;
	for (size_t i = 0; i < count; i++) {
		struct record_place places[PLACES_MAX];
		size_t place_count =
			find_places(check, segnos[i], 0, 0, places);
		uint8_t *bytes = read_bytes(segment, 0, segment->bytes);
		bool is_it = false;
		uint64_t id;

		for (uint32_t at = 0; at < segment->bytes && !is_it;
		     at += RECORD_ALIGN)
			for (size_t j = 0; j < place_count && !is_it; j++)
				is_it = at + RECORD_HEADER <= segment->bytes &&
					record_header_holds(bytes + at,
							    &places[j], &id);
		free(bytes);
		if (!is_it)
			continue;
		segment->segno = segnos[i];
		add_range(check, segment, segnos[i], 0, segment->bytes);
		return;
	}
}

/* ------------------------------------------------------------------ all */

/* A last batch that was cut short: no damage, and nobody was told of it. */
static void
check_torn(struct check *check)
{
	const struct recovery *recovery = &check->recovery;
	uint32_t at = recovery->last_at + recovery->last_bytes;
	char file[SEGMENT_NAME_MAX + 8], name[SEGMENT_NAME_MAX];

	if (recovery->last == NULL)
		return;
	for (size_t i = 0; i < check->batch_count; i++) {
		const struct check_batch *batch = &check->batches[i];

		if (batch->slot != recovery->last->slot || batch->at != at ||
		    batch->segno != recovery->last->segno ||
		    batch->seq != recovery->next_seq)
			continue;
		(void)snprintf(file, sizeof(file), "log/%s",
			       segment_name(batch->slot, name));
		check_tell(check, CHECK_NOTE, "torn", file, 0, "",
			   "the last batch, at %u, was cut short: nobody was "
			   "told that it is safe",
			   at);
	}
}

int
check_log(struct check *check, struct err *err)
{
	struct recovery *recovery = &check->recovery;
	struct list *node, *after;
	int rc;

	check_names(check);
	*recovery = (struct recovery){
		.log_fd = check->spool.door.log_fd,
		.tag = check->spool.door.tag,
		.is_read_only = true,
		.keeps_gone = true,
		.index = &check->spool.index,
		.report = on_report,
		.damage = on_damage,
		.arg = check,
	};
	rc = recover_log(recovery, err);
	if (rc < 0)
		return rc;
	check->spool.slots = recovery->slots;
	check->spool.slot_count = recovery->slot_count;
	list_each_safe (node, after, &recovery->used) {
		struct segment *segment =
			container_of(node, struct segment, link);

		check->outer->segments++;
		list_batches(check, segment);
	}
	for (uint32_t i = 0; i < recovery->slot_count; i++)
		if (recovery->slots[i] != NULL)
			check->outer->log_bytes += recovery->slots[i]->bytes;
	if (check->batch_count != 0)
		qsort(check->batches, check->batch_count,
		      sizeof(*check->batches), by_place);
	check_torn(check);
	list_each (node, &recovery->free)
		salvage_unknown(check,
				container_of(node, struct segment, link));
	for (size_t i = 0; rc == 0 && i < check->range_count; i++)
		rc = salvage_range(check, &check->ranges[i], err);
	return rc;
}
