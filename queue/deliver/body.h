/* SPDX-License-Identifier: ISC */
/*
 * queue/deliver/body.h - a message's bytes, from memory or from the spool
 *
 * What the spool still holds in memory is read from there and pinned; the
 * rest is read in pieces. Loop thread only.
 */
#ifndef OSTLER_QUEUE_DELIVER_BODY_H
#define OSTLER_QUEUE_DELIVER_BODY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct spool;
struct spool_read;

enum body_result {
	BODY_BYTES, /* here they are */
	BODY_LATER, /* on_bytes will come */
	BODY_END,   /* all were given */
};

/* Embedded in its owner; zero it to begin. */
struct body {
	struct spool *spool;
	uint64_t id, offset;
	bool is_pinned;
	struct spool_read *read;
	/* status: 0 or a negative errno; len 0 with 0: the end. The bytes are
	 * lent for the call. */
	void (*on_bytes)(void *owner, int status, const uint8_t *bytes,
			 size_t len);
	void *owner;
};

/* on_bytes and owner are set by the caller. */
void body_open(struct body *body, struct spool *spool, uint64_t id);

/*
 * The next piece, at most max bytes.
 *
 * out_bytes  lends until the next return to the loop
 */
enum body_result body_next(struct body *body, size_t max,
			   const uint8_t **out_bytes, size_t *out_len);

/* Is it known that nothing follows? Only of what is in memory. */
bool body_is_over(const struct body *body);

/* From the beginning again. */
void body_rewind(struct body *body);

/* on_bytes will not come any more. Twice is fine, and unopened too. */
void body_close(struct body *body);

#endif
