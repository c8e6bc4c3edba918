/* SPDX-License-Identifier: ISC */
/*
 * queue/spool/log_reader.h - envelopes and states, read back from the log
 *
 * For a start and for a stopped spool, which go through all messages in the
 * order in which they stand: what they want are some hundred bytes here and
 * there, mostly in rising order at a few places at once, so these are taken
 * from larger reads. Blocking.
 */
#ifndef OSTLER_QUEUE_SPOOL_LOG_READER_H
#define OSTLER_QUEUE_SPOOL_LOG_READER_H

#include <stddef.h>
#include <stdint.h>

#include "lib/buf.h"
#include "queue/spool/index.h"

struct spool;

#define LOG_WINDOWS 8u

/* A part of a segment in memory. */
struct log_window {
	int fd; /* lent */
	uint64_t at;
	size_t len;	 /* 0: nothing is in it */
	size_t capacity; /* of bytes */
	uint8_t *bytes;	 /* owns */
	size_t next;	 /* bytes to be read when it moves on */
	uint64_t used;	 /* when, in uses of all */
};

struct log_reader {
	struct log_window windows[LOG_WINDOWS];
	uint64_t uses;
	struct buf envelope, states;
};

void log_reader_init(struct log_reader *reader);
void log_reader_done(struct log_reader *reader);

/*
 * Envelope and states of a message that is in the log. A damaged state is
 * left out.
 *
 * spool     borrows; its segments
 * out_*     lent until the next call, NUL-terminated
 * Returns 0, -EBADMSG when the message is damaged, or what the disk said.
 */
int log_reader_text(struct log_reader *reader, const struct spool *spool,
		    const struct entry *entry, const char **out_envelope,
		    const char **out_states);

#endif
