/* SPDX-License-Identifier: ISC */
/*
 * tests/unit/smtp_server.h - a server that follows a script, in the same loop
 *
 * One script for each connection, in the order they come; lines:
 *
 *	S text   send it with CRLF
 *	R text   send it as it is, \r, \n and \0 being what they say
 *	FLOOD n text  send it so often, without any line end of ours
 *	C text   this line must come
 *	BODY     read up to the dot
 *	OCTETS n read so many
 *	TLS      TLS from here on
 *	CLOSE    close
 *	ABORT    close without a farewell
 *	HANG     say nothing more
 *
 * A server that drips sends one octet in each turn of the loop.
 */
#ifndef OSTLER_TESTS_UNIT_SMTP_SERVER_H
#define OSTLER_TESTS_UNIT_SMTP_SERVER_H

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "lib/buf.h"
#include "lib/mem.h"
#include "lib/net/stream.h"
#include "lib/net/tls_ctx.h"
#include "lib/str.h"
#include "tests/unit/unit.h"

#define SERVER_CONNECTIONS 64

struct server_conn {
	struct server *server;
	struct stream *stream; /* NULL: closed */
	struct str rest;       /* of the script */
	bool is_securing;
	struct buf drip; /* still to be sent, one octet a turn */
};

struct server {
	union {
		uv_stream_t stream;
		uv_tcp_t tcp;
		uv_pipe_t pipe;
	} listener;
	uint16_t port;
	const char *scripts[SERVER_CONNECTIONS];
	struct server_conn conns[SERVER_CONNECTIONS];
	size_t accepted;
	struct tls_ctx *tls;
	uv_idle_t idle;
	bool drips;
	struct buf body;   /* of the message read last, with its dots */
	unsigned messages; /* bodies that ended with their dot */
	char wrong[512];   /* the first line that did not match */
};

static void server_run(struct server_conn *conn);

/* Takes a line (or, for a body, all that is there) off the stream. */
static bool
server_line(struct server_conn *conn, char *to, size_t size)
{
	size_t len;
	const uint8_t *bytes = stream_bytes(conn->stream, &len);
	const uint8_t *end = len != 0 ? memchr(bytes, '\n', len) : NULL;

	if (end == NULL)
		return false;
	len = (size_t)(end - bytes) + 1;
	(void)str_copy(to, size,
		       str_from((const char *)bytes, len > 1 ? len - 2 : 0));
	stream_consume(conn->stream, len);
	return true;
}

static bool
server_body(struct server_conn *conn)
{
	struct buf *body = &conn->server->body;
	size_t len;
	const uint8_t *bytes = stream_bytes(conn->stream, &len);

	ck_assert_int_eq(buf_add(body, bytes, len), 0);
	stream_consume(conn->stream, len);
	len = buf_len(body);
	bytes = buf_bytes(body);
	return (len == 3 && memcmp(bytes, ".\r\n", 3) == 0) ||
	       (len >= 5 && memcmp(bytes + len - 5, "\r\n.\r\n", 5) == 0);
}

static bool
server_octets(struct server_conn *conn, size_t count)
{
	size_t len;
	const uint8_t *bytes = stream_bytes(conn->stream, &len);

	if (len < count)
		return false;
	ck_assert_int_eq(buf_add(&conn->server->body, bytes, count), 0);
	stream_consume(conn->stream, count);
	return true;
}

static void
on_server_idle(uv_idle_t *idle)
{
	struct server *server = idle->data;

	for (size_t i = 0; i < server->accepted; i++) {
		struct server_conn *conn = &server->conns[i];

		if (buf_len(&conn->drip) == 0)
			continue;
		if (conn->stream != NULL)
			(void)stream_write(conn->stream, buf_bytes(&conn->drip),
					   1);
		buf_consume(&conn->drip, 1);
		if (buf_len(&conn->drip) == 0)
			server_run(conn);
	}
}

static void
server_send(struct server_conn *conn, const void *bytes, size_t len)
{
	if (conn->server->drips)
		ck_assert_int_eq(buf_add(&conn->drip, bytes, len), 0);
	else if (conn->stream != NULL)
		(void)stream_write(conn->stream, bytes, len);
}

/* Adds it with its escapes. */
static void
server_unescape(const char *text, struct buf *out)
{
	for (; *text != '\0'; text++) {
		char c = *text;

		if (c == '\\') {
			text++;
			c = (char)(*text == 'r'	  ? '\r'
				   : *text == 'n' ? '\n'
						  : '\0');
		}
		ck_assert_int_eq(buf_add(out, &c, 1), 0);
	}
}

static void
server_send_raw(struct server_conn *conn, const char *text, unsigned long count)
{
	struct buf out;

	buf_init(&out, 1 << 20);
	while (count-- != 0)
		server_unescape(text, &out);
	server_send(conn, buf_bytes(&out), buf_len(&out));
	buf_done(&out);
}

static void
server_flood(struct server_conn *conn, const char *text)
{
	char *rest;
	unsigned long count = strtoul(text, &rest, 10);

	server_send_raw(conn, rest + 1, count);
}

static void
server_close(struct server_conn *conn, bool is_abort)
{
	if (conn->stream == NULL)
		return;
	if (is_abort)
		stream_abort(conn->stream);
	else
		stream_close(conn->stream);
	conn->stream = NULL;
}

/* One line of the script; false when it has to wait. */
static bool
server_step(struct server_conn *conn, struct str line)
{
	struct server *server = conn->server;
	char text[1024], got[1024];

	(void)str_copy(text, sizeof(text), line);
	if (strncmp(text, "S ", 2) == 0) {
		server_send(conn, text + 2, strlen(text) - 2);
		server_send(conn, "\r\n", 2);
	} else if (strncmp(text, "R ", 2) == 0) {
		server_send_raw(conn, text + 2, 1);
	} else if (strncmp(text, "FLOOD ", 6) == 0) {
		server_flood(conn, text + 6);
	} else if (strncmp(text, "C ", 2) == 0) {
		if (!server_line(conn, got, sizeof(got)))
			return false;
		if (strcmp(got, text + 2) != 0 && server->wrong[0] == '\0')
			(void)snprintf(server->wrong, sizeof(server->wrong),
				       "'%.200s' instead of '%.200s'", got,
				       text + 2);
	} else if (strcmp(text, "BODY") == 0) {
		if (!server_body(conn))
			return false;
		server->messages++;
	} else if (strncmp(text, "OCTETS ", 7) == 0) {
		if (!server_octets(conn, strtoul(text + 7, NULL, 10)))
			return false;
	} else if (strcmp(text, "TLS") == 0) {
		conn->is_securing = true;
		stream_start_tls(conn->stream, server->tls, STREAM_SERVER,
				 NULL);
	} else if (strcmp(text, "CLOSE") == 0 || strcmp(text, "ABORT") == 0) {
		server_close(conn, text[0] == 'A');
	} else {
		return false; /* HANG */
	}
	return true;
}

static void
server_run(struct server_conn *conn)
{
	while (conn->stream != NULL && !conn->is_securing &&
	       buf_len(&conn->drip) == 0) {
		struct str rest = conn->rest, line;

		if (!str_cut(&rest, '\n', &line))
			return;
		if (!server_step(conn, line))
			return;
		conn->rest = rest;
		if (str_starts_nocase(rest, "BODY"))
			buf_clear(&conn->server->body); /* begins anew */
	}
}

static void
on_server_conn(void *owner, enum stream_event event)
{
	struct server_conn *conn = owner;

	switch (event) {
	case STREAM_SECURED:
		conn->is_securing = false;
		server_run(conn);
		break;
	case STREAM_DATA:
		server_run(conn);
		break;
	case STREAM_EOF:
	case STREAM_FAILED:
		server_close(conn, true);
		break;
	case STREAM_CONNECTED:
	case STREAM_DRAINED:
	case STREAM_DEADLINE:
		break;
	}
}

static void
on_server_accept(uv_stream_t *listener, int status)
{
	struct server *server = listener->data;
	struct server_conn *conn = &server->conns[server->accepted];

	ck_assert_int_eq(status, 0);
	ck_assert_uint_lt(server->accepted, SERVER_CONNECTIONS);
	conn->server = server;
	buf_init(&conn->drip, 1 << 20);
	ck_assert_msg(server->scripts[server->accepted] != NULL,
		      "connection %zu was not expected", server->accepted + 1);
	conn->rest = str_of(server->scripts[server->accepted++]);
	ck_assert_int_eq(stream_accept(listener, on_server_conn, conn,
				       &conn->stream),
			 0);
	stream_start(conn->stream);
	server_run(conn);
}

/* On 127.0.0.1, a port of the system's choice; without listening, connects
 * are refused. */
static void
server_init(struct server *server, uv_loop_t *loop, bool is_listening)
{
	struct sockaddr_in sin;
	int len = sizeof(sin);

	memset(server, 0, sizeof(*server));
	buf_init(&server->body, (size_t)1 << 30);
	ck_assert_int_eq(uv_tcp_init(loop, &server->listener.tcp), 0);
	server->listener.stream.data = server;
	ck_assert_int_eq(uv_ip4_addr("127.0.0.1", 0, &sin), 0);
	ck_assert_int_eq(uv_tcp_bind(&server->listener.tcp,
				     (const struct sockaddr *)&sin, 0),
			 0);
	ck_assert_int_eq(uv_tcp_getsockname(&server->listener.tcp,
					    (struct sockaddr *)&sin, &len),
			 0);
	server->port = ntohs(sin.sin_port);
	if (is_listening)
		ck_assert_int_eq(uv_listen(&server->listener.stream, 16,
					   on_server_accept),
				 0);
}

/* Before its first connection. */
static void __attribute__((unused))
server_drip(struct server *server, uv_loop_t *loop)
{
	server->drips = true;
	ck_assert_int_eq(uv_idle_init(loop, &server->idle), 0);
	server->idle.data = server;
	ck_assert_int_eq(uv_idle_start(&server->idle, on_server_idle), 0);
}

static void __attribute__((unused))
server_init_unix(struct server *server, uv_loop_t *loop, const char *path)
{
	memset(server, 0, sizeof(*server));
	buf_init(&server->body, (size_t)1 << 30);
	ck_assert_int_eq(uv_pipe_init(loop, &server->listener.pipe, 0), 0);
	server->listener.stream.data = server;
	ck_assert_int_eq(uv_pipe_bind(&server->listener.pipe, path), 0);
	ck_assert_int_eq(uv_listen(&server->listener.stream, 16,
				   on_server_accept),
			 0);
}

/* The loop has to run until its handles are closed. */
static void
server_done(struct server *server)
{
	for (size_t i = 0; i < server->accepted; i++) {
		server_close(&server->conns[i], true);
		buf_done(&server->conns[i].drip);
	}
	if (server->drips)
		uv_close((uv_handle_t *)&server->idle, NULL);
	uv_close((uv_handle_t *)&server->listener.stream, NULL);
	tls_ctx_unref(server->tls);
	buf_done(&server->body);
}

#endif
