/* SPDX-License-Identifier: ISC */
/*
 * lib/buf.h - bytes that arrive at one end and leave at the other
 *
 * A growing byte queue with a maximum that is part of its making: whatever a
 * peer sends, it never holds more. Memory exists only while it holds bytes,
 * so thousands of idle connections cost nothing here.
 */
#ifndef OSTLER_LIB_BUF_H
#define OSTLER_LIB_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
	uint8_t *data;	  /* NULL while empty and never used */
	size_t start;	  /* first byte not yet consumed */
	size_t end;	  /* behind the last byte */
	size_t capacity;  /* of data */
	size_t max_bytes; /* end - start never exceeds it */
};

/* An empty buffer that will hold at most max_bytes. */
void buf_init(struct buf *buf, size_t max_bytes);

/* Gives the memory back; the buffer is empty and usable afterwards. */
void buf_done(struct buf *buf);

/* The same, after overwriting what it held (passwords). */
void buf_wipe(struct buf *buf);

/* The unconsumed bytes: lends until the next change. Not NUL-terminated. */
static inline const uint8_t *
buf_bytes(const struct buf *buf)
{
	/* adding even 0 to NULL is undefined (C11, 6.5.6) */
	return buf->data != NULL ? buf->data + buf->start : NULL;
}

static inline size_t
buf_len(const struct buf *buf)
{
	return buf->end - buf->start;
}

/* How many more bytes fit below the maximum. */
static inline size_t
buf_room(const struct buf *buf)
{
	return buf->max_bytes - buf_len(buf);
}

/*
 * Copies len bytes behind the last one.
 *
 * Returns 0, or -ENOBUFS when they do not all fit (then none is copied).
 */
int buf_add(struct buf *buf, const void *bytes, size_t len);

/* buf_add of a NUL-terminated text without its NUL. */
int buf_adds(struct buf *buf, const char *text);

/*
 * buf_adds of several texts, one behind the other; the last argument is NULL.
 *
 * Returns 0, or -ENOBUFS when they do not all fit (then none is added).
 */
int buf_join(struct buf *buf, ...) __attribute__((sentinel));

/* A number in decimal; -ENOBUFS when it does not fit. */
int buf_add_number(struct buf *buf, uint64_t value);

/* As printf behind the last byte; -ENOBUFS when it does not fit. */
int buf_addf(struct buf *buf, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
int buf_vaddf(struct buf *buf, const char *format, va_list args)
	__attribute__((format(printf, 2, 0)));

/*
 * Room for len bytes to be written in place, then made valid by buf_grow.
 *
 * Returns NULL when they do not fit; lends until the next change.
 */
uint8_t *buf_reserve(struct buf *buf, size_t len);
void buf_grow(struct buf *buf, size_t len);

/* Drops len bytes from the front; len <= buf_len. */
void buf_consume(struct buf *buf, size_t len);

/* Drops everything; memory above 4 KiB goes back. */
void buf_clear(struct buf *buf);

/* The content as a NUL-terminated text: lends until the next change. */
const char *buf_text(struct buf *buf);

/* Gives the memory back when nothing is held. */
void buf_release(struct buf *buf);

#endif
