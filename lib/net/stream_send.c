/* SPDX-License-Identifier: ISC */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "lib/mem.h"
#include "lib/net/stream_private.h"
#include "lib/net/writers.h"

/*
 * Three ways to the socket. A quiet loop sends at once. One that has much to
 * send in every turn gives what is small to threads and goes on meanwhile:
 * send() is half of its work then. What the socket does not take goes to
 * libuv, which keeps trying.
 */
#define BUSY_SENDS 16	 /* in one turn; from then on threads help */
#define GIVEN_MAX  16384 /* larger ones gain little and cost a copy */

enum write_way { WRITE_BY_LIBUV, WRITE_BY_THREAD };

/* Bytes that are on their way; behind them nothing is sent. */
struct stream_write {
	union {
		uv_write_t req;
		struct writers_job job;
	} by;
	enum write_way way;
	struct stream *stream;
	struct list link; /* by thread: loop->given */
	struct buf bytes;
};

static unsigned busy_sends = BUSY_SENDS;
static unsigned threads = UINT_MAX; /* as many as are useful */

size_t
stream_unsent(const struct stream *stream)
{
	struct stream_write *write = stream->writing;
	size_t len = buf_len(&stream->out) + buf_len(&stream->clear_out);

	if (write != NULL &&
	    !(write->way == WRITE_BY_THREAD && writers_is_back(&write->by.job)))
		len += buf_len(&write->bytes);
	return len;
}

/* What was on its way is not any more. */
static void
end_write(struct stream_write *write)
{
	write->stream->writing = NULL;
	if (write->way == WRITE_BY_THREAD)
		list_remove(&write->link);
	buf_done(&write->bytes);
	free(write);
}

/* ---- by libuv ---- */

static void
on_written(uv_write_t *req, int status)
{
	struct stream_write *write = req->data;
	struct stream *stream = write->stream;

	end_write(write);
	if (stream->life == LIFE_CLOSING)
		return;
	if (status < 0) {
		stream_fail(stream, true, status, "write");
		return;
	}
	stream_on_sent(stream);
}

/* Hands what is in out to libuv. */
static void
start_write(struct stream *stream)
{
	struct stream_write *write = mem_zalloc(sizeof(*write));
	uv_buf_t vec;
	int rc;

	write->by.req.data = write;
	write->way = WRITE_BY_LIBUV;
	write->stream = stream;
	write->bytes = stream->out;
	buf_init(&stream->out, STREAM_OUT_MAX);
	vec.base = (char *)write->bytes.data + write->bytes.start;
	vec.len = buf_len(&write->bytes);
	stream->writing = write;
	rc = uv_write(&write->by.req, &stream->uv.stream, &vec, 1, on_written);
	if (rc < 0) {
		end_write(write);
		stream_fail(stream, true, rc, "write");
	}
}

/* ---- by a thread ---- */

/* A thread could not send all, or somebody waits for the end of it. */
static void
on_back(struct writers_job *job)
{
	struct stream_write *write =
		container_of(job, struct stream_write, by.job);
	struct stream *stream = write->stream;
	ssize_t result = job->result;
	struct buf rest;

	if (stream->life == LIFE_CLOSING || stream->is_broken) {
		end_write(write);
		if (stream->life == LIFE_CLOSING)
			stream_on_socket_back(stream);
		return;
	}
	if (result < 0 && result != -EAGAIN && result != -EINTR) {
		end_write(write);
		stream_fail(stream, true, (int)result, "write");
		return;
	}
	if (result > 0)
		buf_consume(&write->bytes, (size_t)result);
	rest = write->bytes;
	buf_init(&write->bytes, STREAM_OUT_MAX);
	end_write(write);
	if (buf_len(&rest) == 0) {
		buf_done(&rest);
		stream_on_sent(stream);
		return;
	}
	/* it goes before what was written since */
	(void)buf_add(&rest, buf_bytes(&stream->out), buf_len(&stream->out));
	buf_done(&stream->out);
	stream->out = rest;
	start_write(stream);
}

/* Is this a turn in which threads help? */
static bool
has_threads(struct stream_loop *loop)
{
	if (loop->sends_before < busy_sends && loop->sends < busy_sends)
		return false;
	if (loop->writers == NULL && !loop->has_no_writers) {
		unsigned count =
			threads != UINT_MAX ? threads : writers_useful();

		if (count != 0)
			loop->writers = writers_new(loop->loop, count, on_back);
		loop->has_no_writers = loop->writers == NULL;
	}
	return loop->writers != NULL;
}

/* Gives a thread what is in out. False: the socket is none. */
static bool
give_write(struct stream *stream)
{
	struct stream_loop *loop = stream->loop;
	struct stream_write *write;
	int fd;

	if (uv_fileno(&stream->uv.handle, &fd) < 0)
		return false;
	write = mem_alloc(sizeof(*write));
	write->way = WRITE_BY_THREAD;
	write->stream = stream;
	write->bytes = stream->out;
	buf_init(&stream->out, STREAM_OUT_MAX);
	list_init(&write->link);
	list_push(&loop->given, &write->link);
	stream->writing = write;
	write->by.job.fd = fd;
	write->by.job.bytes = buf_bytes(&write->bytes);
	write->by.job.len = buf_len(&write->bytes);
	writers_give(loop->writers, &write->by.job);
	if (!loop->is_due) {
		loop->is_due = true;
		uv_ref((uv_handle_t *)&loop->prepare);
	}
	return true;
}

bool
stream_socket_is_lent(struct stream *stream)
{
	return stream_is_sending(stream) &&
	       stream->writing->way == WRITE_BY_THREAD;
}

void
stream_send_turn(struct stream_loop *loop)
{
	struct list *node, *after;

	loop->sends_before = loop->sends;
	loop->sends = 0;
	if (loop->is_due) {
		loop->is_due = false;
		uv_unref((uv_handle_t *)&loop->prepare);
		writers_flush(loop->writers);
	}
	/* an idle connection holds nothing */
	list_each_safe (node, after, &loop->given) {
		struct stream_write *write =
			container_of(node, struct stream_write, link);

		if (writers_is_back(&write->by.job))
			end_write(write);
	}
}

void
stream_send_tune(unsigned from_sends, unsigned count)
{
	busy_sends = from_sends;
	threads = count;
}

/* ---- the choice ---- */

bool
stream_is_sending(struct stream *stream)
{
	struct stream_write *write = stream->writing;

	if (write == NULL)
		return false;
	if (write->way == WRITE_BY_LIBUV ||
	    writers_want(stream->loop->writers, &write->by.job))
		return true;
	end_write(write);
	return false;
}

/* Sends at once; what the socket does not take is left to libuv. */
static void
send_now(struct stream *stream, const void *bytes, size_t len)
{
	size_t held = buf_len(&stream->out), from_held;
	unsigned vecs = 0;
	uv_buf_t vec[2];
	int sent;

	if (held != 0) {
		vec[vecs].base = (char *)stream->out.data + stream->out.start;
		vec[vecs++].len = held;
	}
	if (len != 0) {
		vec[vecs].base = (char *)(uintptr_t)bytes;
		vec[vecs++].len = len;
	}
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

void
stream_send(struct stream *stream, const void *bytes, size_t len)
{
	struct stream_loop *loop = stream->loop;
	size_t whole = buf_len(&stream->out) + len;

	if (whole == 0)
		return;
	if (stream->life == LIFE_CONNECTING || stream_is_sending(stream)) {
		(void)buf_add(&stream->out, bytes, len); /* fits */
		return;
	}
	loop->sends++;
	/* a close would have to wait for a thread */
	if (whole <= GIVEN_MAX && !stream->is_ending && has_threads(loop)) {
		(void)buf_add(&stream->out, bytes, len); /* fits */
		bytes = "";
		len = 0;
		if (give_write(stream))
			return;
	}
	send_now(stream, bytes, len);
}
