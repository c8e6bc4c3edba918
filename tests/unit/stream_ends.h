/* SPDX-License-Identifier: ISC */
/*
 * tests/unit/stream_ends.h - two streams that talk to each other in one loop
 *
 * Each end records what happened to it ("connected data eof") and what it
 * received; its behaviour is set in plain fields before the loop runs.
 *
 * With ENDS_BY_THREADS what they send goes through threads from the first
 * byte on, as it does on a busy loop.
 */
#ifndef OSTLER_TESTS_UNIT_STREAM_ENDS_H
#define OSTLER_TESTS_UNIT_STREAM_ENDS_H

#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "lib/buf.h"
#include "lib/mem.h"
#include "lib/net/stream.h"
#include "lib/net/stream_private.h"
#include "lib/net/tls_ctx.h"
#include "tests/unit/guard.h"

static const char *const end_event_names[] = {
	[STREAM_CONNECTED] = "connected",
	[STREAM_DATA] = "data",
	[STREAM_DRAINED] = "drained",
	[STREAM_SECURED] = "secured",
	[STREAM_EOF] = "eof",
	[STREAM_DEADLINE] = "deadline",
	[STREAM_FAILED] = "failed",
};

enum end_reaction { END_STAYS, END_CLOSES, END_ABORTS };

struct end {
	struct stream *stream; /* NULL after this end closed it */
	unsigned seen[7];      /* by event */
	struct buf got;
	bool is_lazy;		    /* does not consume */
	bool is_echo;		    /* sends back what it gets */
	enum end_reaction reaction; /* at the event below */
	enum stream_event at;
	void (*hook)(struct end *end, enum stream_event event);
	const char *script; /* for a hook */
	struct err error;
	bool is_inside; /* an event is being handled */
};

static uv_loop_t ends_loop;
static struct end left, right;
static uv_timer_t ends_guard;

static void __attribute__((unused)) end_close(struct end *end)
{
	stream_close(end->stream);
	end->stream = NULL;
}

static void
end_take(struct end *end)
{
	size_t len;
	const uint8_t *bytes = stream_bytes(end->stream, &len);

	if (end->is_echo)
		(void)stream_write(end->stream, bytes, len);
	ck_assert_int_eq(buf_add(&end->got, bytes, len), 0);
	stream_consume(end->stream, len);
}

static void
on_end(void *owner, enum stream_event event)
{
	struct end *end = owner;

	ck_assert_ptr_nonnull(end->stream);
	ck_assert(!end->is_inside);
	end->is_inside = true;
	end->seen[event]++;
	if (event == STREAM_FAILED)
		end->error = *stream_error(end->stream);
	if (event == STREAM_DATA && !end->is_lazy)
		end_take(end);
	if (end->hook != NULL)
		end->hook(end, event);
	if (end->stream != NULL && end->reaction != END_STAYS &&
	    end->at == event) {
		if (end->reaction == END_CLOSES)
			stream_close(end->stream);
		else
			stream_abort(end->stream);
		end->stream = NULL;
	}
	end->is_inside = false;
}

static void
ends_init(void)
{
	struct end *ends[] = {&left, &right};

	ck_assert_int_eq(uv_loop_init(&ends_loop), 0);
	ck_assert_int_eq(uv_timer_init(&ends_loop, &ends_guard), 0);
	guard_start(&ends_guard);
#ifdef ENDS_BY_THREADS
	stream_send_tune(0, 3);
#endif
	for (size_t i = 0; i < COUNT(ends); i++) {
		memset(ends[i], 0, sizeof(*ends[i]));
		buf_init(&ends[i]->got, (size_t)1 << 30);
	}
}

/* Closes what is open, waits for the last handle, looks for leaks. */
static void
ends_done(void)
{
	stream_abort(left.stream);
	stream_abort(right.stream);
	uv_close((uv_handle_t *)&ends_guard, NULL);
	(void)uv_run(&ends_loop, UV_RUN_DEFAULT);
	ck_assert_uint_eq(stream_count(), 0);
	ck_assert_int_eq(uv_loop_close(&ends_loop), 0);
	buf_done(&left.got);
	buf_done(&right.got);
}

/* Runs the loop until the condition holds. */
#define ends_run_until(condition)                                              \
	do {                                                                   \
		while (!(condition))                                           \
			(void)uv_run(&ends_loop, UV_RUN_ONCE);                 \
	} while (0)

/* Two connected streams, both reading. */
static void __attribute__((unused)) ends_pair(void)
{
	int fds[2];

	ends_init();
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	ck_assert_int_eq(stream_from_fd(&ends_loop, fds[0], on_end, &left,
					&left.stream),
			 0);
	ck_assert_int_eq(stream_from_fd(&ends_loop, fds[1], on_end, &right,
					&right.stream),
			 0);
	stream_start(left.stream);
	stream_start(right.stream);
}

/* What was written leaves at once, or when a thread has come round to it. */
static void __attribute__((unused)) ends_await_sent(struct stream *stream)
{
#ifdef ENDS_BY_THREADS
	while (stream_unsent(stream) != 0) {
		(void)uv_run(&ends_loop, UV_RUN_NOWAIT);
		(void)sched_yield();
	}
#endif
	ck_assert_uint_eq(stream_unsent(stream), 0);
}

#define BIG ((size_t)64 << 20)

/* Bytes that tell their place. */
static __attribute__((unused)) uint8_t *
make_pattern(size_t len)
{
	uint8_t *bytes = mem_alloc(len);
	uint32_t state = 1;

	for (size_t i = 0; i < len; i++) {
		state = state * 1664525 + 1013904223;
		bytes[i] = (uint8_t)(state >> 24);
	}
	return bytes;
}

static __attribute__((unused)) uint8_t *sending; /* a pattern */
static size_t sent, total;			 /* of it */

/* A hook: sends on as delivery does, up to "wait", then when drained. */
static void __attribute__((unused))
send_on(struct end *end, enum stream_event event)
{
	bool is_full = false;

	if (event != STREAM_DRAINED)
		return;
	while (!is_full && sent < total) {
		size_t len = total - sent < 30000 ? total - sent : 30000;

		is_full = stream_write(end->stream, sending + sent, len);
		sent += len;
		/* the heads of TLS records come on top */
		ck_assert_uint_le(stream_unsent(end->stream),
				  STREAM_OUT_LOW + 30000 + 1000);
	}
}

/* Sends BIG bytes from left to right, which are to arrive unchanged. */
static void __attribute__((unused)) ends_send_big(void)
{
	total = BIG;
	sent = 0;
	sending = make_pattern(total);
	left.hook = send_on;
	send_on(&left, STREAM_DRAINED);
	ends_run_until(buf_len(&right.got) == total);
	ck_assert_mem_eq(buf_bytes(&right.got), sending, total);
	free(sending);
}

#define ends_assert_got(end, text)                                             \
	do {                                                                   \
		ck_assert_uint_eq(buf_len(&(end)->got), strlen(text));         \
		ck_assert_str_eq(buf_text(&(end)->got), text);                 \
	} while (0)

#endif
