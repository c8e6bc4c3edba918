/* SPDX-License-Identifier: ISC */
#include "queue/spool/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/mem.h"
#include "queue/spool/disk.h"
#include "queue/spool/mutant.h"
#include "queue/spool/spool.h"

#define FIRST_READ  2048u      /* of a file: usually all of its head */
#define TAIL_MAX    (1u << 30) /* of state lines of one message */
#define FILE_SECTOR 512u       /* what a disk writes at once, at least */

char *
files_name(uint64_t id, char to[FILES_NAME_MAX])
{
	char text[SPOOL_ID_MAX];

	(void)snprintf(to, FILES_NAME_MAX, "%02x/%s", files_folder(id),
		       spool_id_format(id, text));
	return to;
}

int
files_begin_folder(struct files *files, unsigned folder)
{
	char name[8];
	int fd;

	if (atomic_load(&files->is_durable[folder]) != 0)
		return 0;
	(void)snprintf(name, sizeof(name), "%02x", folder);
	fd = disk_open_dir(files->fd, name, 1);
	if (fd < 0)
		return fd;
	(void)close(fd); /* read only */
	return 0;
}

int
files_make_folder(struct files *files, unsigned folder)
{
	int rc;

	if (atomic_load(&files->is_durable[folder]) != 0)
		return 0;
	rc = files_begin_folder(files, folder);
	if (rc < 0)
		return rc;
	/* whoever made it, maybe just now: it has to survive as well */
	rc = MUTANT(NEW_FOLDER_UNSYNCED) ? 0 : disk_sync(files->fd);
	if (rc == 0)
		atomic_store(&files->is_durable[folder], 1);
	return rc;
}

int
files_sync_folder(struct files *files, unsigned folder)
{
	char name[8];
	int fd, rc;

	(void)snprintf(name, sizeof(name), "%02x", folder);
	fd = disk_open_dir(files->fd, name, 0);
	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		return fd;
	rc = disk_sync(fd);
	(void)close(fd); /* read only */
	return rc;
}

int
files_read_record(int segment_fd, uint32_t at, uint64_t id,
		  enum record_type type, uint32_t text_bytes,
		  uint64_t body_bytes, bool with_body, struct log_text *out)
{
	size_t len = (size_t)RECORD_HEADER + text_bytes +
		     (with_body ? (size_t)body_bytes : 0);
	struct log_text text = {.bytes = mem_alloc(len + 1)};
	int rc = disk_read(segment_fd, text.bytes, len, at);

	if (rc == 0 && (record_decode(text.bytes, len, NULL, with_body,
				      &text.record) != RECORD_GOOD ||
			text.record.id != id || text.record.type != type ||
			text.record.text_bytes != text_bytes ||
			text.record.payload - text_bytes != body_bytes))
		rc = -EBADMSG;
	if (rc < 0) {
		free(text.bytes);
		return rc == -ENODATA ? -EBADMSG : rc;
	}
	text.text = (const char *)text.bytes + RECORD_HEADER;
	text.body = text.bytes + RECORD_HEADER + text_bytes;
	*out = text;
	return 0;
}

static int
open_to_write(struct files *files, uint64_t id, int flags)
{
	char name[FILES_NAME_MAX];

	return disk_open(files->fd, files_name(id, name), flags);
}

int
files_write(struct files *files, const struct log_text *message,
	    const char *states, size_t states_bytes)
{
	int rc = files_make_folder(files, files_folder(message->record.id));

	return rc < 0 ? rc
		      : files_write_into(files, message, states, states_bytes);
}

int
files_write_into(struct files *files, const struct log_text *message,
		 const char *states, size_t states_bytes)
{
	const struct record_head *record = &message->record;
	struct file_head head = {
		.id = record->id,
		.text_bytes = record->text_bytes,
		.body_at = FILE_HEAD_BYTES + record->text_bytes + 1,
		.body_bytes = record->payload - record->text_bytes,
		.body_crc = record->body_crc,
	};
	char first[FILE_HEAD_MAX], newline[] = "\n";
	struct iovec iov[] = {
		{first, FILE_HEAD_BYTES},
		{(void *)(uintptr_t)message->text, head.text_bytes},
		{newline, 1},
		{(void *)(uintptr_t)message->body, (size_t)head.body_bytes},
		{newline, 1},
		{(void *)(uintptr_t)states, states_bytes},
	};
	int fd = open_to_write(files, record->id, O_RDWR | O_CREAT | O_TRUNC);
	int rc;

	if (fd < 0)
		return fd;
	file_head_encode(&head, message->text, first);
	rc = disk_writev(fd, iov, sizeof(iov) / sizeof(iov[0]), 0);
	if (rc < 0) {
		(void)close(fd); /* it goes anyway */
		(void)files_unlink(files, record->id);
		return rc;
	}
	return fd;
}

/* The file's first line and envelope; head_out->envelope is allocated. */
static int
read_head(int fd, uint64_t id, struct file_text *out)
{
	size_t size = FIRST_READ, have = 0, need;
	char *bytes = mem_alloc(size);
	int rc;

	while (true) {
		ssize_t got =
			disk_read_some(fd, bytes + have, size - have, have);

		if (got < 0) {
			rc = (int)got;
			break;
		}
		have += (size_t)got;
		rc = file_head_decode(bytes, have, &out->head, &need);
		if (rc != -EAGAIN)
			break;
		if (got == 0) {
			rc = -EBADMSG;
			break;
		}
		if (need > size) {
			size = need;
			bytes = mem_resize(bytes, size, 1);
		}
	}
	if (rc == 0 && out->head.id != id)
		rc = -EBADMSG;
	if (rc == 0)
		out->envelope =
			mem_dup(bytes + FILE_HEAD_BYTES, out->head.text_bytes);
	free(bytes);
	return rc;
}

/* The bytes behind the body, which are the caller's. */
static int
read_tail(int fd, const struct file_head *head, char **out, size_t *out_len,
	  uint64_t *out_at)
{
	uint64_t at = head->body_at + head->body_bytes + 1;
	struct stat st;
	size_t len;
	char *tail;
	int rc;

	if (fstat(fd, &st) < 0)
		return -errno;
	if ((uint64_t)st.st_size < at || (uint64_t)st.st_size - at > TAIL_MAX)
		return -EBADMSG;
	len = (size_t)((uint64_t)st.st_size - at);
	tail = mem_alloc(len + 1);
	rc = disk_read(fd, tail, len, at);
	if (rc < 0) {
		free(tail);
		return rc;
	}
	tail[len] = '\0';
	*out = tail;
	*out_len = len;
	*out_at = at;
	return 0;
}

/* Where in a tail lines are to be written. */
struct place {
	size_t at;
	bool is_gap; /* the numbers do not follow those before */
};

/*
 * The place of lines from number first on: behind those with lower numbers. In
 * the place of what is there already, for that may be what is left of an append
 * that failed, or that a crash cut short: the disk need not have what memory
 * shows. Damage that the log cannot mend stays, and they go behind it.
 */
static struct place
find_place(uint64_t id, const char *tail, size_t len, uint32_t first)
{
	const char *next = tail, *line;
	struct place place = {.at = 0};
	uint32_t number, reached = 0, last = 0;
	unsigned bad = 0, bad_before = 0;
	size_t bytes;

	/* a torn last line of an earlier life is overwritten */
	while (len > 0 && tail[len - 1] != '\n')
		len--;
	while (file_state_next(id, &next, tail + len, &number, &line, &bytes,
			       &bad)) {
		if (number >= first || (bad != 0 && first <= reached + 1))
			break;
		reached = number;
		bad_before = bad;
		if (bytes == 0)
			continue; /* written again, if it is needed */
		place.at = (size_t)(next - tail);
		last = number;
	}
	if (bad != bad_before && first > reached + 1)
		place.at = len;
	else
		place.is_gap = bad_before == 0 && first > last + 1;
	return place;
}

/*
 * Numbers are missing before the next line, because they could not be saved.
 * An empty state that is surely there tells a reader of that line's remains
 * that nothing else was lost. It is one sector's, so that it is there or not.
 */
static int
write_gap(int fd, uint64_t id, uint32_t number, uint64_t *at)
{
	size_t room = FILE_SECTOR - (size_t)(*at % FILE_SECTOR), len;
	char line[FILE_LINE_SUFFIX], newlines[FILE_LINE_SUFFIX];
	int rc;

	len = file_state_encode(id, number, "", 0, line);
	if (room < len) {
		memset(newlines, '\n', room);
		rc = disk_write(fd, newlines, room, *at);
		if (rc == 0)
			rc = disk_sync(fd);
		if (rc < 0)
			return rc;
		*at += room;
	}
	rc = disk_write(fd, line, len, *at);
	*at += len;
	return rc == 0 ? disk_sync(fd) : rc;
}

/* Writes lines behind the body, of which no number is below first. */
static int
write_lines(int fd, uint64_t id, uint32_t first, const char *states,
	    size_t states_bytes, const char *tail, size_t len, uint64_t at)
{
	struct place place = find_place(id, tail, len, first);
	int rc = 0;

	at += place.at;
	if (place.is_gap && states_bytes != 0 && !MUTANT(GAP_UNMARKED))
		rc = write_gap(fd, id, first - 1, &at);
	if (rc == 0)
		rc = disk_write(fd, states, states_bytes, at);
	if (rc == 0 && ftruncate(fd, (off_t)(at + states_bytes)) < 0)
		rc = -errno;
	return rc;
}

bool
files_is_lost(int status)
{
	return status == -EIO || status == -EUCLEAN;
}

int
files_append(struct files *files, uint64_t id, uint32_t first,
	     const char *states, size_t states_bytes, bool *out_is_unread)
{
	struct file_text text = {.states = NULL};
	int fd = open_to_write(files, id, O_RDWR), rc;
	uint64_t at = 0;
	size_t len = 0;
	char *tail = NULL;

	if (fd < 0) {
		if (out_is_unread != NULL)
			*out_is_unread = files_is_lost(fd);
		return fd;
	}
	rc = read_head(fd, id, &text);
	if (rc == 0)
		rc = read_tail(fd, &text.head, &tail, &len, &at);
	if (rc < 0 && out_is_unread != NULL)
		*out_is_unread = true;
	if (rc == 0)
		rc = write_lines(fd, id, first, states, states_bytes, tail, len,
				 at);
	free(tail);
	file_text_done(&text);
	if (rc < 0) {
		(void)close(fd); /* the lines are still in the log */
		return rc;
	}
	return fd;
}

int
files_read_tail(struct files *files, uint64_t id, char **out, size_t *out_len)
{
	struct file_text text = {.states = NULL};
	int fd = open_to_write(files, id, O_RDONLY), rc;
	uint64_t at;

	if (fd < 0)
		return fd;
	rc = read_head(fd, id, &text);
	if (rc == 0)
		rc = read_tail(fd, &text.head, out, out_len, &at);
	(void)close(fd); /* read only */
	file_text_done(&text);
	return rc;
}

int
files_set_tail(struct files *files, uint64_t id, const char *lines, size_t len)
{
	struct file_text text = {.states = NULL};
	int fd = open_to_write(files, id, O_RDWR), rc;
	uint64_t at;

	if (fd < 0)
		return fd;
	rc = read_head(fd, id, &text);
	at = text.head.body_at + text.head.body_bytes + 1;
	if (rc == 0)
		rc = disk_write(fd, lines, len, at);
	if (rc == 0 && ftruncate(fd, (off_t)(at + len)) < 0)
		rc = -errno;
	if (rc == 0)
		rc = disk_sync(fd);
	(void)close(fd); /* what counts is the sync */
	file_text_done(&text);
	return rc;
}

int
files_unlink(struct files *files, uint64_t id)
{
	char name[FILES_NAME_MAX];
	int rc = disk_unlink(files->fd, files_name(id, name));

	return rc == -ENOENT ? 0 : rc;
}

/* Keeps what the state lines say, without their frame. */
static void
read_states(struct file_text *out, const char *tail, size_t len)
{
	const char *at = tail, *line;
	uint32_t number;
	size_t bytes;

	out->states = mem_alloc(len + 1);
	while (file_state_next(out->head.id, &at, tail + len, &number, &line,
			       &bytes, &out->bad_lines)) {
		if (number <= out->last_state)
			continue; /* written twice around a crash */
		out->last_state = number;
		memcpy(out->states + out->states_len, line, bytes);
		out->states_len += bytes;
		if (bytes != 0) /* else it tells of a gap alone */
			out->states[out->states_len++] = '\n';
		if (out->bad_lines != 0)
			continue;
		out->whole_state = number;
		out->whole_len = out->states_len;
	}
	out->states[out->states_len] = '\0';
}

int
files_load(int msg_fd, uint64_t id, struct file_text *out)
{
	struct file_text text = {.envelope = NULL};
	char name[FILES_NAME_MAX];
	int fd = disk_open(msg_fd, files_name(id, name), O_RDONLY), rc;
	char *tail = NULL;
	uint64_t at;
	size_t len;

	if (fd < 0)
		return fd == -ELOOP ? -EBADMSG : fd;
	rc = read_head(fd, id, &text);
	if (rc == 0)
		rc = read_tail(fd, &text.head, &tail, &len, &at);
	(void)close(fd); /* read only */
	if (rc < 0) {
		file_text_done(&text);
		return rc == -EISDIR || rc == -ENODATA ? -EBADMSG : rc;
	}
	read_states(&text, tail, len);
	free(tail);
	*out = text;
	return 0;
}

void
file_text_done(struct file_text *text)
{
	free(text->envelope);
	free(text->states);
	text->envelope = text->states = NULL;
}

void
file_text_trim(struct file_text *text, uint32_t first)
{
	if (text->bad_lines == 0 || first == 0 || first > text->whole_state + 1)
		return;
	text->bad_lines = 0;
	text->last_state = text->whole_state;
	text->states_len = text->whole_len;
	text->states[text->states_len] = '\0';
}

int
files_read_body(int msg_fd, uint64_t id, uint64_t body_bytes, uint64_t offset,
		void *to, size_t *len)
{
	struct file_text text = {.envelope = NULL};
	char name[FILES_NAME_MAX];
	int fd = disk_open(msg_fd, files_name(id, name), O_RDONLY), rc;

	if (fd < 0)
		return fd;
	rc = read_head(fd, id, &text);
	if (rc == 0 && text.head.body_bytes != body_bytes)
		rc = -EBADMSG;
	if (offset >= body_bytes)
		*len = 0;
	else if (*len > body_bytes - offset)
		*len = (size_t)(body_bytes - offset);
	if (rc == 0)
		rc = disk_read(fd, to, *len, text.head.body_at + offset);
	(void)close(fd); /* read only */
	file_text_done(&text);
	return rc == -ENODATA ? -EBADMSG : rc;
}

int
files_list(int msg_fd, unsigned folder, uint64_t **out, size_t *out_count,
	   unsigned *out_strange)
{
	char name[8], again[SPOOL_ID_MAX];
	size_t size = 0;
	DIR *dir;
	int fd, rc = 0;

	*out = NULL;
	*out_count = 0;
	(void)snprintf(name, sizeof(name), "%02x", folder);
	fd = disk_open_dir(msg_fd, name, 0);
	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		return fd;
	dir = fdopendir(fd);
	if (dir == NULL) {
		rc = -errno;
		(void)close(fd); /* read only */
		return rc;
	}
	while (true) {
		struct dirent *item;
		uint64_t id;

		errno = 0;
		item = readdir(dir);
		if (item == NULL) {
			rc = -errno;
			break;
		}
		if (item->d_name[0] == '.')
			continue;
		if (!spool_id_parse(item->d_name, &id) ||
		    files_folder(id) != folder ||
		    strcmp(spool_id_format(id, again), item->d_name) != 0) {
			(*out_strange)++;
			continue;
		}
		if (*out_count == size) {
			size = 2 * size + 64;
			*out = mem_resize(*out, size, sizeof(**out));
		}
		(*out)[(*out_count)++] = id;
	}
	(void)closedir(dir); /* read only */
	return rc;
}
