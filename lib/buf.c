/* SPDX-License-Identifier: ISC */
#include "lib/buf.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "lib/str.h"

#define BUF_FIRST 256
#define BUF_KEEP  4096

void
buf_init(struct buf *buf, size_t max_bytes)
{
	memset(buf, 0, sizeof(*buf));
	buf->max_bytes = max_bytes;
}

void
buf_done(struct buf *buf)
{
	free(buf->data);
	buf->data = NULL;
	buf->start = buf->end = buf->capacity = 0;
}

void
buf_wipe(struct buf *buf)
{
	if (buf->data != NULL)
		mem_wipe(buf->data, buf->capacity);
	buf_done(buf);
}

uint8_t *
buf_reserve(struct buf *buf, size_t len)
{
	size_t held = buf_len(buf), want;

	if (len > buf->max_bytes - held)
		return NULL;
	if (len <= buf->capacity - buf->end)
		return buf->data + buf->end;
	if (buf->start != 0 && buf->start >= held &&
	    len <= buf->capacity - held) {
		/* at least half was consumed: moving is cheaper than growing */
		memcpy(buf->data, buf->data + buf->start, held);
	} else {
		uint8_t *data;

		want = buf->capacity != 0 ? buf->capacity : BUF_FIRST;
		while (want - held < len)
			want *= 2;
		data = mem_alloc(want);
		if (held != 0)
			memcpy(data, buf->data + buf->start, held);
		free(buf->data);
		buf->data = data;
		buf->capacity = want;
	}
	buf->start = 0;
	buf->end = held;
	return buf->data + held;
}

void
buf_grow(struct buf *buf, size_t len)
{
	assert(len <= buf->capacity - buf->end);
	buf->end += len;
}

int
buf_add(struct buf *buf, const void *bytes, size_t len)
{
	uint8_t *to;

	if (len == 0)
		return 0;
	to = buf_reserve(buf, len);
	if (to == NULL)
		return -ENOBUFS;
	memcpy(to, bytes, len);
	buf->end += len;
	return 0;
}

int
buf_adds(struct buf *buf, const char *text)
{
	return buf_add(buf, text, strlen(text));
}

int
buf_join(struct buf *buf, ...)
{
	size_t before = buf_len(buf);
	const char *text;
	va_list args;
	int rc = 0;

	va_start(args, buf);
	for (text = va_arg(args, const char *); text != NULL && rc == 0;
	     text = va_arg(args, const char *))
		rc = buf_adds(buf, text);
	va_end(args);
	if (rc < 0)
		buf->end = buf->start + before;
	return rc;
}

int
buf_add_number(struct buf *buf, uint64_t value)
{
	char digits[STR_DIGITS_MAX];

	return buf_add(buf, digits,
		       (size_t)(str_digits(digits, value, 1) - digits));
}

int
buf_vaddf(struct buf *buf, const char *format, va_list args)
{
	size_t space = buf->capacity - buf->end;
	va_list again;
	uint8_t *to;
	int len;

	/* mostly it fits into what is there, and is formatted once */
	va_copy(again, args);
	len = vsnprintf(space != 0 ? (char *)buf->data + buf->end : NULL, space,
			format, again);
	va_end(again);
	if (len < 0)
		return -EINVAL;
	/* one byte more for vsnprintf's NUL, which is not part of the content
	 */
	to = buf_reserve(buf, (size_t)len + 1);
	if (to == NULL)
		return -ENOBUFS;
	if ((size_t)len >= space)
		(void)vsnprintf((char *)to, (size_t)len + 1, format, args);
	buf->end += (size_t)len;
	return 0;
}

int
buf_addf(struct buf *buf, const char *format, ...)
{
	va_list args;
	int rc;

	va_start(args, format);
	rc = buf_vaddf(buf, format, args);
	va_end(args);
	return rc;
}

void
buf_consume(struct buf *buf, size_t len)
{
	assert(len <= buf_len(buf));
	buf->start += len;
	if (buf->start == buf->end)
		buf->start = buf->end = 0;
}

void
buf_clear(struct buf *buf)
{
	buf->start = buf->end = 0;
	if (buf->capacity > BUF_KEEP)
		buf_done(buf);
}

const char *
buf_text(struct buf *buf)
{
	size_t max_bytes = buf->max_bytes;
	uint8_t *to;

	buf->max_bytes = SIZE_MAX; /* the NUL does not count */
	to = buf_reserve(buf, 1);
	buf->max_bytes = max_bytes;
	*to = '\0';
	return (const char *)buf->data + buf->start;
}

void
buf_release(struct buf *buf)
{
	if (buf_len(buf) == 0)
		buf_done(buf);
}
