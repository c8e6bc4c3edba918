/* SPDX-License-Identifier: ISC */
/* A stopped spool, read without changing anything in it. */
#include "queue/spool/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/crc32c.h"
#include "lib/mem.h"
#include "queue/spool/disk.h"
#include "queue/spool/log_reader.h"

struct scan {
	struct spool spool; /* only what reading needs: files, index, slots */
	void (*each)(void *arg, const struct spool_found *found);
	void (*report)(void *arg, bool is_error, const char *file,
		       const char *text);
	void *arg;
	struct segment *segment; /* of the message at hand; NULL: a file */
	const struct entry *entry;
	uint32_t body_crc;
	struct log_reader reader;
};

#define PART_BYTES (256u << 10)

int
spool_scan_body(const struct spool_found *found,
		int (*part)(void *arg, const uint8_t *bytes, size_t len),
		void *arg)
{
	const struct scan *scan = found->scan;
	uint8_t *bytes = mem_alloc(PART_BYTES);
	uint32_t crc = 0;
	uint64_t at = 0;
	int rc = 0;

	while (rc == 0 && at < found->body_bytes) {
		uint64_t left = found->body_bytes - at;
		size_t len = left < PART_BYTES ? (size_t)left : PART_BYTES;

		if (scan->segment != NULL)
			rc = disk_read(scan->segment->fd, bytes, len,
				       (uint64_t)scan->entry->at *
						       RECORD_ALIGN +
					       RECORD_HEADER +
					       scan->entry->text_bytes + at);
		else
			rc = files_read_body(scan->spool.files.fd, found->id,
					     found->body_bytes, at, bytes,
					     &len);
		if (rc == 0) {
			crc = crc32c(crc, bytes, len);
			rc = part(arg, bytes, len);
		}
		at += len;
	}
	free(bytes);
	return rc == 0 && crc != scan->body_crc ? -EBADMSG : rc;
}

static void
on_report(void *arg, bool is_error, const char *file, const char *text)
{
	struct scan *scan = arg;

	scan->report(scan->arg, is_error, file, text);
}

static void
on_damage(void *arg, const struct segment *segment, uint32_t at, uint32_t bytes)
{
	struct scan *scan = arg;
	char name[SEGMENT_NAME_MAX], text[80];

	(void)snprintf(text, sizeof(text), "%u bytes at %u are damaged", bytes,
		       at);
	scan->report(scan->arg, true, segment_name(segment->slot, name), text);
}

static void
tell_entry(struct scan *scan, struct entry *entry)
{
	struct spool_found found = {.id = entry->id,
				    .body_bytes = entry->body_bytes};
	char name[SPOOL_ID_MAX];

	if (log_reader_text(&scan->reader, &scan->spool, entry, &found.envelope,
			    &found.states) < 0) {
		scan->report(scan->arg, true, spool_id_format(entry->id, name),
			     "the message is damaged");
		return;
	}
	found.scan = scan;
	scan->segment = spool_segment(&scan->spool, entry->slot);
	scan->entry = entry;
	scan->body_crc = entry->body_crc;
	scan->each(scan->arg, &found);
}

static void
scan_log(struct scan *scan)
{
	struct list *node;

	list_each (node, &scan->spool.used) {
		struct segment *segment =
			container_of(node, struct segment, link);
		uint32_t handle = segment->entries.first;

		for (; handle != 0;
		     handle = index_at(&scan->spool.index, handle)->next) {
			struct entry *entry =
				index_at(&scan->spool.index, handle);

			if ((entry->flags & ENTRY_IN_FILE) == 0)
				tell_entry(scan, entry);
		}
	}
}

static void
scan_file(struct scan *scan, uint64_t id)
{
	uint32_t handle = index_find(&scan->spool.index, id);
	struct entry none = {.id = id};
	struct entry *entry =
		handle != 0 ? index_at(&scan->spool.index, handle) : &none;
	struct spool_found found = {.id = id};
	struct file_text text;
	char name[FILES_NAME_MAX], *states;
	int rc;

	if (handle != 0 && (entry->flags & ENTRY_IN_FILE) == 0)
		return; /* settled, or the log has it */
	rc = files_load(scan->spool.files.fd, id, &text);
	if (rc < 0) {
		scan->report(scan->arg, true, files_name(id, name),
			     rc == -EBADMSG ? "the message is damaged"
					    : strerror(-rc));
		return;
	}
	file_text_trim(&text, entry_first_note(entry));
	if (text.bad_lines != 0)
		scan->report(scan->arg, true, files_name(id, name),
			     "state lines are damaged");
	states = load_all_states(&scan->spool, entry, &text, NULL);
	found.envelope = text.envelope;
	found.states = states;
	found.body_bytes = text.head.body_bytes;
	found.scan = scan;
	scan->segment = NULL;
	scan->body_crc = text.head.body_crc;
	scan->each(scan->arg, &found);
	free(states);
	file_text_done(&text);
}

static void
scan_files(struct scan *scan)
{
	for (unsigned folder = 0; folder < FILES_FOLDERS; folder++) {
		unsigned strange = 0;
		uint64_t *ids;
		size_t count;
		char name[32];
		int rc = files_list(scan->spool.files.fd, folder, &ids, &count,
				    &strange);

		(void)snprintf(name, sizeof(name), "msg/%02x", folder);
		if (rc < 0)
			scan->report(scan->arg, true, name, strerror(-rc));
		if (strange != 0)
			scan->report(scan->arg, true, name,
				     "files here are no messages");
		for (size_t i = 0; i < count; i++)
			scan_file(scan, ids[i]);
		free(ids);
	}
}

int
spool_scan(const char *dir,
	   void (*each)(void *arg, const struct spool_found *found),
	   void (*report)(void *arg, bool is_error, const char *file,
			  const char *text),
	   void *arg, struct err *err)
{
	struct scan *scan = mem_zalloc(sizeof(*scan));
	struct recovery recovery = {.is_read_only = true,
				    .report = on_report,
				    .damage = on_damage,
				    .arg = scan};
	int rc = door_open_read_only(dir, &scan->spool.door, err);

	if (rc < 0) {
		free(scan);
		return rc;
	}
	scan->each = each;
	scan->report = report;
	scan->arg = arg;
	index_init(&scan->spool.index);
	log_reader_init(&scan->reader);
	recovery.index = &scan->spool.index;
	recovery.log_fd = scan->spool.door.log_fd;
	recovery.tag = scan->spool.door.tag;
	rc = recover_log(&recovery, err);
	scan->spool.files.fd = disk_open_dir(scan->spool.door.dir_fd, "msg", 0);
	if (rc == 0 && scan->spool.files.fd < 0)
		rc = err_set(err, scan->spool.files.fd, "spool %s/msg", dir);
	if (rc == 0) {
		struct list *node, *after;

		scan->spool.slots = recovery.slots;
		scan->spool.slot_count = recovery.slot_count;
		list_init(&scan->spool.used);
		list_each_safe (node, after, &recovery.used) {
			list_remove(node);
			list_push(&scan->spool.used, node);
		}
		scan_log(scan);
		scan_files(scan);
	}
	recover_drop(&recovery);
	log_reader_done(&scan->reader);
	index_done(&scan->spool.index);
	if (scan->spool.files.fd >= 0)
		(void)close(scan->spool.files.fd); /* read only */
	door_close(&scan->spool.door);
	free(scan);
	return rc;
}
