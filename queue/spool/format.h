/* SPDX-License-Identifier: ISC */
/*
 * queue/spool/format.h - the bytes of the spool: batches, records, files
 *
 * Pure functions between structs and the little-endian bytes and text lines
 * that ostler-spool(5) describes. What they read is foreign: it may be
 * anything. Any thread.
 */
#ifndef OSTLER_QUEUE_SPOOL_FORMAT_H
#define OSTLER_QUEUE_SPOOL_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FORMAT_VERSION	1
#define FORMAT_BLOCK	4096u /* batches start at multiples of it */
#define BATCH_HEADER	64u
#define RECORD_HEADER	40u
#define RECORD_ALIGN	8u
#define FORMAT_TEXT_MAX (4u << 20) /* of an envelope or a state line */
/* Larger ones are damage: those that follow, and what a start leaves out, are
 * numbers still. */
#define FORMAT_ID_MAX	 ((UINT64_C(1) << 62) - 1) /* identifiers */
#define FORMAT_COUNT_MAX ((UINT64_C(1) << 63) - 1) /* segno, seq, ids */
#define FILE_HEAD_MAX	 160 /* bytes of a file's first line */
#define FILE_LINE_SUFFIX 32  /* of a state line, besides its text */
#define VERSION_LINE_MAX 80

struct batch_head {
	uint32_t bytes;	  /* of the batch, a multiple of FORMAT_BLOCK */
	uint32_t used;	  /* of them header and records */
	uint32_t records; /* how many */
	uint64_t tag;	  /* of this spool, secret: no mail can imitate it */
	uint64_t segno;	  /* which use of which segment this is */
	uint64_t seq;	  /* counts batches */
	uint64_t head;	  /* oldest segno still needed */
	uint64_t ids;	  /* no id from here on was ever given out */
};

enum record_type { RECORD_MSG = 1, RECORD_STATE = 2, RECORD_DONE = 3 };

#define RECORD_MORE 1u /* the next record lives or dies with this one */

struct record_head {
	enum record_type type;
	unsigned flags;
	uint32_t payload; /* bytes behind the header, without padding */
	uint64_t id;
	uint32_t text_bytes; /* envelope or state line, <= payload */
	uint32_t number;     /* of a state: 1, 2, ... for each message */
	uint32_t text_crc;   /* of text and body each, crc32c */
	uint32_t body_crc;
};

/* Where a record's checksum gets what ties it to its place. */
struct record_place {
	uint64_t tag, segno, seq;
};

void batch_encode(const struct batch_head *head, uint8_t to[BATCH_HEADER]);

/* Returns false when it is not the head of a batch of this spool that fits
 * in limit bytes. */
bool batch_decode(const uint8_t from[BATCH_HEADER], uint64_t tag, size_t limit,
		  struct batch_head *out);

/* What it says its spool is, before anything of it is checked. */
bool batch_peek_tag(const uint8_t from[BATCH_HEADER], uint64_t *out_tag);

/* All but the checksum, which record_seal sets when the place is known. */
void record_encode(const struct record_head *head, uint8_t to[RECORD_HEADER]);

void record_seal(uint8_t header[RECORD_HEADER],
		 const struct record_place *place);

/* Bytes the record takes, padding included. */
size_t record_bytes(const struct record_head *head);

enum record_check {
	RECORD_GOOD,
	RECORD_BAD_BODY, /* header and envelope hold, the body does not */
	RECORD_BAD,
};

/*
 * Reads the record at from, of which len bytes are there.
 *
 * place      NULL: not checked; the caller knows what it expects there
 * with_body  whether the body is there too and is checked; else only header
 *            and text are needed
 */
enum record_check record_decode(const uint8_t *from, size_t len,
				const struct record_place *place,
				bool with_body, struct record_head *out);

/* Whether a record's header, alone, is one that was written at that place. */
bool record_header_holds(const uint8_t from[RECORD_HEADER],
			 const struct record_place *place, uint64_t *out_id);

/* ------------------------------------------------------ files of messages */

struct file_head {
	uint64_t id;
	uint32_t text_bytes; /* of the envelope, behind the first line */
	uint32_t body_at;    /* offset of the body */
	uint64_t body_bytes;
	uint32_t body_crc;
};

/*
 * Writes the first line, newline included, of FILE_HEAD_BYTES bytes whatever
 * the numbers are.
 */
#define FILE_HEAD_BYTES 87u
void file_head_encode(const struct file_head *head, const char *envelope,
		      char to[FILE_HEAD_MAX]);

/*
 * Reads the first line and checks the envelope behind it.
 *
 * from  the file's first len bytes
 * Returns 0, -EAGAIN when more bytes are needed (*out_need in total), or
 * -EBADMSG.
 */
int file_head_decode(const char *from, size_t len, struct file_head *out,
		     size_t *out_need);

/*
 * One state line as it stands behind the body: "state N CRC TEXT\n".
 *
 * to  room for len + FILE_LINE_SUFFIX bytes
 * Returns how many were written.
 */
size_t file_state_encode(uint64_t id, uint32_t number, const char *line,
			 size_t len, char *to);

/*
 * Takes the next line off a file's tail; damaged and torn ones are passed.
 *
 * at       lends where to go on; moved behind what was read
 * out_bad  grows by one for each damaged line that is not the torn last one
 * Returns false at the end; line is lent from the tail.
 */
bool file_state_next(uint64_t id, const char **at, const char *end,
		     uint32_t *out_number, const char **out_line,
		     size_t *out_len, unsigned *out_bad);

/* "ostler-spool 1 TAG\n" */
void version_encode(uint64_t tag, char to[VERSION_LINE_MAX]);
/* Returns 0, -EPROTO for a newer one, -EBADMSG. */
int version_decode(const char *text, uint64_t *out_tag);

#endif
