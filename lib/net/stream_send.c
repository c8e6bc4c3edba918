/* SPDX-License-Identifier: ISC */
#include <stdlib.h>

#include "lib/mem.h"
#include "lib/net/stream_private.h"

/* Bytes that libuv sends when the socket takes them. */
struct stream_write {
	uv_write_t req;
	struct stream *stream;
	struct buf bytes;
};

size_t
stream_unsent(const struct stream *stream)
{
	return buf_len(&stream->out) + buf_len(&stream->clear_out) +
	       (stream->writing != NULL ? buf_len(&stream->writing->bytes) : 0);
}

static void
on_written(uv_write_t *req, int status)
{
	struct stream_write *write = req->data;
	struct stream *stream = write->stream;

	buf_done(&write->bytes);
	free(write);
	stream->writing = NULL;
	if (stream->life == LIFE_CLOSING)
		return;
	if (status < 0) {
		stream_fail(stream, true, status, "write");
		return;
	}
	stream_on_sent(stream);
}

/* Hands what is in out to libuv, which keeps trying. */
static void
start_write(struct stream *stream)
{
	struct stream_write *write = mem_zalloc(sizeof(*write));
	uv_buf_t vec;
	int rc;

	write->req.data = write;
	write->stream = stream;
	write->bytes = stream->out;
	buf_init(&stream->out, STREAM_OUT_MAX);
	vec.base = (char *)write->bytes.data + write->bytes.start;
	vec.len = buf_len(&write->bytes);
	rc = uv_write(&write->req, &stream->uv.stream, &vec, 1, on_written);
	if (rc < 0) {
		buf_done(&write->bytes);
		free(write);
		stream_fail(stream, true, rc, "write");
		return;
	}
	stream->writing = write;
}

void
stream_send(struct stream *stream, const void *bytes, size_t len)
{
	size_t held = buf_len(&stream->out), from_held;
	unsigned vecs = 0;
	uv_buf_t vec[2];
	int sent;

	if (stream->writing != NULL || stream->life == LIFE_CONNECTING) {
		(void)buf_add(&stream->out, bytes, len); /* fits */
		return;
	}
	if (held != 0) {
		vec[vecs].base = (char *)stream->out.data + stream->out.start;
		vec[vecs++].len = held;
	}
	if (len != 0) {
		vec[vecs].base = (char *)(uintptr_t)bytes;
		vec[vecs++].len = len;
	}
	if (vecs == 0)
		return;
	sent = uv_try_write(&stream->uv.stream, vec, vecs);
	if (sent < 0 && sent != UV_EAGAIN) {
		stream_fail(stream, true, sent, "write");
		return;
	}
	if (sent < 0)
		sent = 0;
	from_held = (size_t)sent < held ? (size_t)sent : held;
	buf_consume(&stream->out, from_held);
	(void)buf_add(&stream->out,
		      (const char *)bytes + ((size_t)sent - from_held),
		      len - ((size_t)sent - from_held));
	if (buf_len(&stream->out) != 0)
		start_write(stream);
	else
		buf_done(&stream->out);
}
