/* SPDX-License-Identifier: ISC */
/*
 * A damaged log is not patched: what is live in it becomes files, as old mail
 * does anyway, and a new segment says that nothing before it is needed. Up to
 * that last write nothing has changed for a reader.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/mem.h"
#include "queue/spool/check_parts.h"
#include "queue/spool/disk.h"

#define NEW_BYTES   (64u << 10)
#define NEW_BATCHES 2u /* one that is damaged some day is not the only one */

/*
 * The pending states of a message, those behind number after, as lines of its
 * file, which are the caller's, or NULL: one could not be read, as *out_rc
 * says.
 */
static char *
format_states(struct check *check, const struct entry *entry, uint32_t after,
	      size_t *out_len, int *out_rc)
{
	size_t size = 1, len = 0;
	char *lines;
	int rc;

	for (uint32_t i = 0; i < entry_note_count(entry); i++)
		size += entry->notes->each[i].bytes + FILE_LINE_SUFFIX;
	lines = mem_alloc(size);
	for (uint32_t i = 0; i < entry_note_count(entry); i++) {
		const struct state_note *note = &entry->notes->each[i];
		struct log_text text;

		if (note->number <= after)
			continue;
		rc = files_read_record(
			spool_segment(&check->spool, note->slot)->fd, note->at,
			entry->id, RECORD_STATE, note->bytes, 0, false, &text);
		if (rc == -EBADMSG)
			continue; /* at least once: it is tried again */
		if (rc < 0) {
			free(lines);
			*out_rc = rc;
			return NULL;
		}
		len += file_state_encode(entry->id, note->number, text.text,
					 note->bytes, lines + len);
		free(text.bytes);
	}
	*out_len = len;
	return lines;
}

/* The number of the last state in a message's file; what an append that was cut
 * short has left does not count. */
static int
last_in_file(struct check *check, const struct entry *entry, uint32_t *out)
{
	struct file_text text;
	int rc = files_load(check->spool.files.fd, entry->id, &text);

	if (rc < 0)
		return rc;
	file_text_trim(&text, entry_first_note(entry));
	*out = text.last_state;
	file_text_done(&text);
	return 0;
}

static int
move_out(struct check *check, const struct entry *entry)
{
	struct files *files = &check->spool.files;
	uint32_t after = 0;
	size_t len;
	struct log_text text;
	char *lines;
	int rc;

	if ((entry->flags & ENTRY_IN_FILE) != 0 && entry->notes == NULL)
		return 0;
	/* what the file has stays, whatever the log has lost of it */
	rc = (entry->flags & ENTRY_IN_FILE) != 0
		     ? last_in_file(check, entry, &after)
		     : 0;
	if (rc < 0)
		return rc;
	lines = format_states(check, entry, after, &len, &rc);
	if (lines == NULL)
		return rc;
	if ((entry->flags & ENTRY_IN_FILE) != 0) {
		rc = files_append(files, entry->id, after + 1, lines, len,
				  NULL);
	} else {
		rc = files_read_record(
			spool_segment(&check->spool, entry->slot)->fd,
			entry->at * RECORD_ALIGN, entry->id, RECORD_MSG,
			entry->text_bytes, entry->body_bytes, true, &text);
		if (rc == 0) {
			rc = files_write(files, &text, lines, len);
			free(text.bytes);
		}
	}
	free(lines);
	if (rc < 0)
		return rc;
	len = (size_t)rc;
	rc = disk_sync((int)len);
	(void)close((int)len); /* what counts is the sync */
	return rc;
}

static int
move_all(struct check *check, struct err *err)
{
	const struct index *index = &check->spool.index;
	char name[FILES_NAME_MAX];
	int rc = 0;

	for (uint32_t handle = 1; rc == 0 && handle < index->handles;
	     handle++) {
		const struct entry *entry = index_at(index, handle);

		if (entry->id == 0 || (entry->flags & ENTRY_DAMAGED) != 0)
			continue;
		if ((entry->flags & ENTRY_GONE) != 0)
			rc = files_unlink(&check->spool.files, entry->id);
		else if ((entry->flags & (ENTRY_IN_FILE | ENTRY_FOUND)) !=
			 ENTRY_IN_FILE)
			rc = move_out(check, entry);
		if (rc < 0)
			return err_set(err, rc, "spool: msg/%s",
				       files_name(entry->id, name));
	}
	for (unsigned i = 0; rc == 0 && i < FILES_FOLDERS; i++)
		rc = files_sync_folder(&check->spool.files, i);
	return rc < 0 ? err_set(err, rc, "spool: msg") : 0;
}

/* The numbers above all that were ever seen, used or damaged. */
static void
raise_numbers(const struct check *check, uint64_t *segno, uint64_t *seq)
{
	for (size_t i = 0; i < check->batch_count; i++) {
		if (check->batches[i].segno >= *segno)
			*segno = check->batches[i].segno + 1;
		if (check->batches[i].seq >= *seq)
			*seq = check->batches[i].seq + 1;
	}
}

static int
begin_anew(struct check *check, struct err *err)
{
	struct recovery *recovery = &check->recovery;
	int log_fd = check->spool.door.log_fd;
	uint64_t segno = recovery->next_segno, seq = recovery->next_seq;
	struct segment *segment;
	char name[SEGMENT_NAME_MAX];
	int rc;

	raise_numbers(check, &segno, &seq);
	rc = keep_make_now(log_fd, keep_free_slot(&check->spool), NEW_BYTES,
			   &segment);
	for (uint32_t i = 0; rc == 0 && i < NEW_BATCHES; i++) {
		uint8_t block[FORMAT_BLOCK] = {0};
		struct batch_head head = {
			.bytes = FORMAT_BLOCK,
			.used = BATCH_HEADER,
			.tag = recovery->tag,
			.segno = segno,
			.seq = seq + i,
			.head = segno,
			.ids = recovery->ids,
		};

		batch_encode(&head, block);
		rc = disk_write(segment->fd, block, sizeof(block),
				i * FORMAT_BLOCK);
		if (rc == 0)
			rc = disk_datasync(segment->fd);
	}
	if (rc < 0)
		return err_set(err, rc, "spool: log/%s",
			       segment_name(keep_free_slot(&check->spool),
					    name));
	segment_free(segment);
	return 0;
}

/* What could not be read may be one day, by somebody with more patience. */
static int
set_unread_aside(struct check *check, struct err *err)
{
	char name[SEGMENT_NAME_MAX], said[CHECK_REPAIR_MAX];

	for (size_t i = 0; i < check->unread_count; i++) {
		(void)segment_name(check->unread[i], name);
		check_set_aside(check, check->spool.door.log_fd, name, name,
				said);
		if (said[0] == '!')
			return err_text(err, -EIO, "spool: log/%s: %s", name,
					said + 1);
	}
	return 0;
}

int
check_renew(struct check *check, struct err *err)
{
	struct spool_check *outer = check->outer;
	int rc = move_all(check, err);

	if (rc == 0)
		rc = begin_anew(check, err);
	if (rc == 0)
		rc = set_unread_aside(check, err);
	if (rc < 0)
		return rc;
	outer->in_files += outer->in_log;
	outer->in_log = 0;
	outer->segments = 1;
	outer->log_bytes += NEW_BYTES;
	return 0;
}
