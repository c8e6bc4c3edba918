/* SPDX-License-Identifier: ISC */
#include "queue/spool/log_reader.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/mem.h"
#include "queue/spool/disk.h"
#include "queue/spool/internal.h"

/* What one read brings: little where nothing follows on what was read before,
 * and more each time something does. */
#define READ_LEAST ((size_t)8 << 10)
#define READ_MOST  ((size_t)256 << 10)

/* A window moves on to what begins so close behind it. */
#define NEAR ((uint64_t)64 << 10)

void
log_reader_init(struct log_reader *reader)
{
	*reader = (struct log_reader){.uses = 0};
	buf_init(&reader->envelope, SIZE_MAX / 4);
	buf_init(&reader->states, SIZE_MAX / 4);
}

void
log_reader_done(struct log_reader *reader)
{
	for (unsigned i = 0; i < LOG_WINDOWS; i++)
		free(reader->windows[i].bytes);
	buf_done(&reader->envelope);
	buf_done(&reader->states);
}

static bool
has(const struct log_window *window, int fd, uint64_t at, size_t len)
{
	return window->len != 0 && window->fd == fd && at >= window->at &&
	       at + len <= window->at + window->len;
}

static bool
is_near(const struct log_window *window, int fd, uint64_t at)
{
	return window->len != 0 && window->fd == fd && at >= window->at &&
	       at <= window->at + window->len + NEAR;
}

/* The one that has it; or that it follows on; or the one that was used least
 * lately. */
static struct log_window *
choose(struct log_reader *reader, int fd, uint64_t at, size_t len)
{
	struct log_window *near = NULL, *oldest = &reader->windows[0];

	for (unsigned i = 0; i < LOG_WINDOWS; i++) {
		struct log_window *window = &reader->windows[i];

		if (has(window, fd, at, len))
			return window;
		if (is_near(window, fd, at))
			near = window;
		if (window->used < oldest->used)
			oldest = window;
	}
	return near != NULL ? near : oldest;
}

static int
fill(struct log_window *window, int fd, uint64_t at, size_t len, size_t want)
{
	int rc;

	if (want > window->capacity) {
		window->bytes = mem_resize(window->bytes, want, 1);
		window->capacity = want;
	}
	rc = disk_read(fd, window->bytes, want, at);
	/* a bad block near by must not count against what is wanted */
	if (rc < 0 && want > len) {
		want = len;
		rc = disk_read(fd, window->bytes, want, at);
	}
	window->fd = fd;
	window->at = at;
	window->len = rc == 0 ? want : 0;
	return rc;
}

static int
get(struct log_reader *reader, const struct segment *segment, uint64_t at,
    size_t len, const uint8_t **out)
{
	struct log_window *window = choose(reader, segment->fd, at, len);
	size_t want;
	int rc = 0;

	window->used = ++reader->uses;
	if (!has(window, segment->fd, at, len)) {
		if (at > segment->bytes || len > segment->bytes - at)
			return -EBADMSG;
		if (!is_near(window, segment->fd, at))
			window->next = READ_LEAST;
		want = window->next > len ? window->next : len;
		if (want > segment->bytes - at)
			want = (size_t)(segment->bytes - at);
		if (window->next < READ_MOST)
			window->next *= 2;
		rc = fill(window, segment->fd, at, len, want);
	}
	*out = window->bytes + (at - window->at);
	return rc;
}

/* The text of a record, behind what out holds. */
static int
add_text(struct log_reader *reader, const struct segment *segment, uint32_t at,
	 const struct record_head *wanted, struct buf *out)
{
	size_t len = (size_t)RECORD_HEADER + wanted->text_bytes;
	struct record_head record;
	const uint8_t *bytes;
	int rc = get(reader, segment, at, len, &bytes);

	if (rc < 0)
		return rc == -ENODATA ? -EBADMSG : rc;
	if (record_decode(bytes, len, NULL, false, &record) != RECORD_GOOD ||
	    record.id != wanted->id || record.type != wanted->type ||
	    record.text_bytes != wanted->text_bytes ||
	    record.payload != wanted->payload)
		return -EBADMSG;
	(void)buf_add(out, bytes + RECORD_HEADER, wanted->text_bytes);
	return 0;
}

static int
add_states(struct log_reader *reader, const struct spool *spool,
	   const struct entry *entry)
{
	for (uint32_t i = 0; i < entry_note_count(entry); i++) {
		const struct state_note *note = &entry->notes->each[i];
		struct record_head wanted = {
			.type = RECORD_STATE,
			.id = entry->id,
			.text_bytes = note->bytes,
			.payload = note->bytes,
		};
		int rc = add_text(reader, spool_segment(spool, note->slot),
				  note->at, &wanted, &reader->states);

		if (rc == -EBADMSG)
			continue; /* at least once: it is tried again */
		if (rc < 0)
			return rc;
		(void)buf_add(&reader->states, "\n", 1);
	}
	return 0;
}

int
log_reader_text(struct log_reader *reader, const struct spool *spool,
		const struct entry *entry, const char **out_envelope,
		const char **out_states)
{
	struct record_head wanted = {
		.type = RECORD_MSG,
		.id = entry->id,
		.text_bytes = entry->text_bytes,
		.payload = entry->text_bytes + (uint32_t)entry->body_bytes,
	};
	int rc;

	buf_clear(&reader->envelope);
	buf_clear(&reader->states);
	rc = add_text(reader, spool_segment(spool, entry->slot),
		      entry->at * RECORD_ALIGN, &wanted, &reader->envelope);
	if (rc == 0)
		rc = add_states(reader, spool, entry);
	if (rc < 0)
		return rc;
	*out_envelope = buf_text(&reader->envelope);
	*out_states = buf_text(&reader->states);
	return 0;
}
