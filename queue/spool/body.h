/* SPDX-License-Identifier: ISC */
/*
 * queue/spool/body.h - bodies in memory, and the buffers they leave
 *
 * A body lives from its message's first byte to the end of the first attempt,
 * which is milliseconds when mail flows. Its buffer then goes to the pool and
 * serves the next body: given back to the system and fetched again for every
 * message, it would cost more than all else that the spool does. What the
 * pool did not need for a while is freed. Loop thread.
 */
#ifndef OSTLER_QUEUE_SPOOL_BODY_H
#define OSTLER_QUEUE_SPOOL_BODY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BODY_CLASSES 37u /* of 512 bytes to 256 KiB, four an octave */

struct body_spare;

struct body_pool {
	struct body_spare *spare[BODY_CLASSES]; /* owns */
	size_t bytes;				/* of all spare ones */
	size_t least; /* the least of it since body_pool_trim */
};

/* A body in memory; shared by the index, a put and a batch on its way. */
struct body {
	struct body_pool *pool; /* lent */
	unsigned refs;
	unsigned pins;
	bool is_forgotten; /* goes when the last pin goes */
	bool is_counted;   /* in the budget of kept bodies */
	size_t bytes;
	size_t capacity;
	uint8_t *data;
};

/* All bodies of the pool are gone. */
void body_pool_done(struct body_pool *pool);

/* Frees what was spare ever since the last call. */
void body_pool_trim(struct body_pool *pool);

/* pool: lent for the body's life; zero is an empty one. */
struct body *body_new(struct body_pool *pool);
void body_unref(struct body *body); /* accepts NULL */

/* Makes room for len bytes more. */
void body_reserve(struct body *body, size_t len);

/* No more comes: gives back room when much is left. */
void body_close_up(struct body *body);

#endif
