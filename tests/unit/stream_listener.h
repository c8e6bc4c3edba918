/* SPDX-License-Identifier: ISC */
/*
 * tests/unit/stream_listener.h - a listener on a free port, for streams' ends
 *
 * What connects to it becomes the right end.
 */
#ifndef OSTLER_TESTS_UNIT_STREAM_LISTENER_H
#define OSTLER_TESTS_UNIT_STREAM_LISTENER_H

#include "tests/unit/stream_ends.h"

#include <netinet/in.h>

static union {
	uv_stream_t stream;
	uv_tcp_t tcp;
	uv_pipe_t pipe;
} listener;

static void
on_connection(uv_stream_t *handle, int status)
{
	ck_assert_int_eq(status, 0);
	ck_assert_ptr_null(right.stream);
	ck_assert_int_eq(stream_accept(handle, on_end, &right, &right.stream),
			 0);
	stream_start(right.stream);
}

/* Listens on a free port of an address and connects left to it. */
static void
connect_tcp(const char *address, const char *source,
	    struct sockaddr_storage *to)
{
	int len = sizeof(*to);
	struct ip ip, from;

	ck_assert(ip_parse(str_of(address), &ip));
	(void)ip_to_sockaddr(&ip, 0, to);
	ck_assert_int_eq(uv_tcp_init(&ends_loop, &listener.tcp), 0);
	ck_assert_int_eq(uv_tcp_bind(&listener.tcp, (struct sockaddr *)to, 0),
			 0);
	ck_assert_int_eq(uv_listen(&listener.stream, 8, on_connection), 0);
	ck_assert_int_eq(uv_tcp_getsockname(&listener.tcp,
					    (struct sockaddr *)to, &len),
			 0);
	if (source != NULL)
		ck_assert(ip_parse(str_of(source), &from));
	left.stream =
		stream_connect(&ends_loop, (struct sockaddr *)to,
			       source != NULL ? &from : NULL, on_end, &left);
}

static void
stop_listening(void)
{
	uv_close((uv_handle_t *)&listener.stream, NULL);
}

#endif
