/* SPDX-License-Identifier: ISC */
/*
 * queue/spool/files.h - messages as plain text files, msg/XX/ID
 *
 * All functions block and return 0 or a negative errno; none makes anything
 * durable unless it says so. Any thread; one at a time for one message.
 */
#ifndef OSTLER_QUEUE_SPOOL_FILES_H
#define OSTLER_QUEUE_SPOOL_FILES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "queue/spool/format.h"
#include "queue/spool/index.h"

#define FILES_FOLDERS  256u
#define FILES_NAME_MAX 24 /* "3f/0123456789ABC" and a NUL */

struct files {
	int fd; /* of msg/ */
	/* Folders that are known to be durable in msg/. */
	atomic_uchar is_durable[FILES_FOLDERS];
};

/* The folder of an id. */
static inline unsigned
files_folder(uint64_t id)
{
	return (unsigned)(id & (FILES_FOLDERS - 1));
}

char *files_name(uint64_t id, char to[FILES_NAME_MAX]);

/* Makes sure the folder is there, and durably. */
int files_make_folder(struct files *files, unsigned folder);

/* The same, but it is durable only when the caller has synced the whole file
 * system, and then says so in is_durable. */
int files_begin_folder(struct files *files, unsigned folder);
int files_sync_folder(struct files *files, unsigned folder);

/* What stands in a log record, read back and checked. */
struct log_text {
	uint8_t *bytes;	  /* owns: header, text, body */
	const char *text; /* in bytes */
	const uint8_t *body;
	struct record_head record;
};

/*
 * Reads the record of a message or state in a segment.
 *
 * with_body  whether the body is read and checked too
 * -EBADMSG: what is there is another one, or damaged. After success the
 * caller frees out->bytes.
 */
int files_read_record(int segment_fd, uint32_t at, uint64_t id,
		      enum record_type type, uint32_t text_bytes,
		      uint64_t body_bytes, bool with_body,
		      struct log_text *out);

/*
 * Makes the file of a message. An older one of the same name is overwritten:
 * the log has all that it holds.
 *
 * states  whole lines as file_state_encode makes them
 * Returns an open descriptor to be synced and closed by the caller.
 */
int files_write(struct files *files, const struct log_text *message,
		const char *states, size_t states_bytes);
/* The same in a folder that was made or begun. */
int files_write_into(struct files *files, const struct log_text *message,
		     const char *states, size_t states_bytes);

/*
 * Adds state lines; same result. Those from the first of their numbers on,
 * which an append that failed or that a crash cut short leaves, give way. If
 * that number does not follow the last one in the file, an empty state before
 * them is made durable first.
 *
 * first          number of the first of them
 * out_is_unread  set to true when the file is there and cannot be read, and
 *                nothing was written therefore; may be NULL
 */
int files_append(struct files *files, uint64_t id, uint32_t first,
		 const char *states, size_t states_bytes, bool *out_is_unread);

/* Whether it is the one file or folder entry that the disk does not give back,
 * and not the system that is short of something. */
bool files_is_lost(int status);

/* What stands behind the body, which is the caller's; and other lines in
 * their place, durably: for a check, while nobody else is there. */
int files_read_tail(struct files *files, uint64_t id, char **out,
		    size_t *out_len);
int files_set_tail(struct files *files, uint64_t id, const char *lines,
		   size_t len);

int files_unlink(struct files *files, uint64_t id);

struct file_text {
	struct file_head head;
	char *envelope; /* owns, NUL-terminated */
	char *states;	/* owns: lines of text only, each with \n */
	size_t states_len;
	uint32_t last_state; /* number of the last one */
	unsigned bad_lines;
	/* before the first bad line: bytes of states, number of the last */
	size_t whole_len;
	uint32_t whole_state;
};

/*
 * Reads envelope and states, not the body; checks that the body's bytes are
 * there. -EBADMSG: it is no such file. Nothing is to be freed after a
 * failure.
 */
int files_load(int msg_fd, uint64_t id, struct file_text *out);
void file_text_done(struct file_text *text);

/*
 * Forgets what stands behind a bad line if the log has all of it: then it is
 * what is left of an append that was cut short.
 *
 * first  number of the oldest state that is in the log, 0: none
 */
void file_text_trim(struct file_text *text, uint32_t first);

/* Part of a body; len is cut at its end. */
int files_read_body(int msg_fd, uint64_t id, uint64_t body_bytes,
		    uint64_t offset, void *to, size_t *len);

/* The ids that have a file in one folder: *out is the caller's. Names that
 * are none are counted. */
int files_list(int msg_fd, unsigned folder, uint64_t **out, size_t *out_count,
	       unsigned *out_strange);

#endif
