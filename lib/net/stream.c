/* SPDX-License-Identifier: ISC */
#include "lib/net/stream.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/mem.h"
#include "lib/net/stream_private.h"
#include "lib/net/tls_ctx.h"
#include "lib/net/tls_engine.h"

#define LINGER_MS  5000
#define GATHER_MAX 16384 /* corked bytes; more goes out at once */
#define RESUME_AT  (STREAM_IN_MAX / 4 * 3)
/* A peer that makes TLS answer and never reads is not listened to further. */
#define TLS_UNSENT_MAX (4 * STREAM_OUT_LOW)

static size_t count;

static void stream_destroy(struct stream *stream);
static void stream_flush(struct stream *stream);
static void stream_linger(struct stream *stream);

/*
 * Tells the owner. Returns false when the stream must not be touched further:
 * closed by the owner, or failed.
 */
static bool
stream_emit(struct stream *stream, enum stream_event event)
{
	/* replies to what one event brought leave in one system call */
	stream->corked++;
	stream->on_event(stream->owner, event);
	if (stream->life == LIFE_LINGERING || stream->life == LIFE_CLOSING)
		return false;
	stream_uncork(stream);
	return stream->life == LIFE_OPEN;
}

void
stream_fail(struct stream *stream, bool is_broken, int code, const char *format,
	    ...)
{
	char text[256];
	va_list args;

	if (is_broken || stream->life == LIFE_CONNECTING)
		stream->is_broken = true;
	if (stream->life == LIFE_LINGERING) {
		stream_destroy(stream);
		return;
	}
	if (stream->life == LIFE_FAILED || stream->life == LIFE_CLOSING)
		return;
	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (stream->error == NULL) {
		stream->error = mem_zalloc(sizeof(*stream->error));
		(void)err_set(stream->error, code, "%s", text);
	}
	stream_forget(stream);
	stream->life = LIFE_FAILED;
	stream_flush(stream); /* TLS: the alert that says why */
	if (stream->is_reading)
		(void)uv_read_stop(&stream->uv.stream); /* always 0 */
	stream->is_reading = false;
	stream_soon(stream, SOON_FAILED);
}

/* TLS said why in its own words. */
static void
stream_fail_tls(struct stream *stream, const struct err *err)
{
	if (stream->life != LIFE_FAILED && stream->error == NULL) {
		stream->error = mem_alloc(sizeof(*stream->error));
		*stream->error = *err;
	}
	stream_fail(stream, false, err->code, "TLS");
}

/* ---- sending ---- */

static void stream_update_reading(struct stream *stream);

void
stream_on_sent(struct stream *stream)
{
	stream_flush(stream);
	if (stream->life == LIFE_OPEN)
		stream_update_reading(stream);
	if (stream->life == LIFE_LINGERING)
		stream_linger(stream);
}

/* Encrypts clear_out and then bytes; what TLS cannot take stays there. */
static void
stream_encrypt(struct stream *stream, const void *bytes, size_t len)
{
	struct err err = ERR_INIT;
	size_t taken;
	int rc;

	if (buf_len(&stream->clear_out) != 0) {
		rc = tls_engine_write(stream->tls,
				      buf_bytes(&stream->clear_out),
				      buf_len(&stream->clear_out), &taken,
				      &err);
		if (rc < 0) {
			stream_fail_tls(stream, &err);
			return;
		}
		buf_consume(&stream->clear_out, taken);
	}
	if (buf_len(&stream->clear_out) == 0) {
		taken = 0;
		rc = len != 0 ? tls_engine_write(stream->tls, bytes, len,
						 &taken, &err)
			      : 0;
		if (rc < 0) {
			stream_fail_tls(stream, &err);
			return;
		}
		bytes = (const char *)bytes + taken;
		len -= taken;
		if (len == 0)
			buf_wipe(&stream->clear_out); /* perhaps a password */
	}
	(void)buf_add(&stream->clear_out, bytes, len); /* fits */
}

/* Sends all that is not held back by the socket or by a handshake. */
static void
stream_flush(struct stream *stream)
{
	if (stream->is_broken || stream->life == LIFE_CLOSING ||
	    stream->life == LIFE_CONNECTING)
		return;
	if (stream->is_secured && buf_len(&stream->clear_out) != 0 &&
	    stream->life != LIFE_FAILED)
		stream_encrypt(stream, "", 0);
	if (stream->is_broken || stream->life == LIFE_CLOSING)
		return;
	stream_send(stream, "", 0);
	if (stream->life == LIFE_OPEN && stream->wants_drained &&
	    !stream_is_sending(stream) && stream_unsent(stream) == 0)
		stream_soon(stream, SOON_DRAINED);
}

bool
stream_write(struct stream *stream, const void *bytes, size_t len)
{
	struct buf *gather =
		stream->tls != NULL ? &stream->clear_out : &stream->out;
	bool is_held =
		stream->corked != 0 && buf_len(gather) + len <= GATHER_MAX;

	if (stream->life != LIFE_OPEN && stream->life != LIFE_CONNECTING)
		return false;
	if (len == 0)
		return stream_unsent(stream) > STREAM_OUT_LOW;
	if (is_held || (stream->tls != NULL && !stream->is_secured)) {
		(void)buf_add(gather, bytes, len); /* fits */
	} else if (stream->tls == NULL) {
		stream_send(stream, bytes, len);
	} else {
		stream_encrypt(stream, bytes, len);
		stream_flush(stream);
	}
	if (stream_unsent(stream) <= STREAM_OUT_LOW)
		return false;
	stream->wants_drained = true;
	return true;
}

void
stream_cork(struct stream *stream)
{
	stream->corked++;
}

void
stream_uncork(struct stream *stream)
{
	assert(stream->corked > 0);
	if (--stream->corked == 0 && stream->life == LIFE_OPEN)
		stream_flush(stream);
}

/* ---- receiving ---- */

static void
on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
	struct stream *stream = handle->data;
	size_t len = STREAM_IN_MAX;

	(void)suggested;
	/* ciphertext is taken whole: TLS is not read while some is left */
	if (stream->tls == NULL && stream->life == LIFE_OPEN)
		len -= buf_len(&stream->in);
	out->base = (char *)stream->loop->arrived;
	out->len = len;
}

/* Shows the owner len new bytes, which lie in an area of the loop. */
static bool
stream_deliver(struct stream *stream, const uint8_t *bytes, size_t len)
{
	bool is_alive;

	if (buf_len(&stream->in) == 0) {
		stream->view = bytes;
		stream->view_len = len;
	} else {
		(void)buf_add(&stream->in, bytes, len); /* len <= its room */
	}
	is_alive = stream_emit(stream, STREAM_DATA);
	if (stream->view_len != 0)
		(void)buf_add(&stream->in, stream->view, stream->view_len);
	stream->view = NULL;
	stream->view_len = 0;
	return is_alive;
}

static void
stream_end_input(struct stream *stream)
{
	if (stream->has_eof)
		return;
	stream->has_eof = true;
	(void)stream_emit(stream, STREAM_EOF);
}

/* Returns true when data can flow. */
static bool
pump_handshake(struct stream *stream)
{
	struct err err = ERR_INIT;
	int rc = tls_engine_handshake(stream->tls, &err);

	if (rc < 0) {
		stream_fail_tls(stream, &err);
		return false;
	}
	stream->is_secured = rc == 1;
	stream_flush(stream);
	if (!stream->is_secured || stream->life != LIFE_OPEN)
		return false;
	return stream_emit(stream, STREAM_SECURED);
}

/* Returns false when the stream must not be touched further. */
static bool
pump_data(struct stream *stream)
{
	uint8_t *clear = stream->loop->clear;
	struct err err = ERR_INIT;
	int rc;

	do {
		size_t room = STREAM_IN_MAX - buf_len(&stream->in), len = 0;

		if (room == 0)
			return true;
		do {
			rc = tls_engine_read(stream->tls, clear + len,
					     room - len, &err);
			if (rc > 0)
				len += (size_t)rc;
		} while (rc > 0 && len < room);
		if (len != 0 && !stream_deliver(stream, clear, len))
			return false;
	} while (rc > 0);
	if (rc == TLS_ENGINE_END) {
		stream_end_input(stream);
	} else if (rc < 0) {
		stream_fail_tls(stream, &err);
	}
	return stream->life == LIFE_OPEN;
}

/* Lets TLS take the ciphertext that is there. */
static void
stream_pump(struct stream *stream)
{
	if (!stream->is_secured && !pump_handshake(stream) &&
	    stream->life != LIFE_OPEN)
		return;
	if (stream->is_secured && !stream->has_eof && !pump_data(stream))
		return;
	tls_engine_keep(stream->tls);
	/* TLS may have answered by itself, or can now send what it held */
	stream_flush(stream);
	if (stream->life == LIFE_OPEN)
		stream_update_reading(stream);
}

static void
on_end(struct stream *stream)
{
	stream->has_fin = true;
	if (stream->life == LIFE_LINGERING) {
		stream_linger(stream);
		return;
	}
	if (stream->tls != NULL && !stream->is_secured) {
		stream_fail(stream, false, UV_ECONNRESET,
			    "TLS handshake: the peer closed the connection");
		return;
	}
	/* without close_notify too: SMTP says itself where a message ends */
	stream_end_input(stream);
	if (stream->life == LIFE_OPEN)
		stream_update_reading(stream);
}

static void
on_read(uv_stream_t *handle, ssize_t got, const uv_buf_t *vec)
{
	struct stream *stream = handle->data;
	const uint8_t *bytes = (const uint8_t *)vec->base;

	if (got == 0 || stream->life == LIFE_CLOSING)
		return;
	if (got == UV_EOF) {
		on_end(stream);
	} else if (got < 0) {
		stream_fail(stream, true, (int)got, "read");
	} else if (stream->life == LIFE_LINGERING) {
		return; /* drop it, only the end counts */
	} else if (stream->tls != NULL) {
		tls_engine_feed(stream->tls, bytes, (size_t)got);
		stream_pump(stream);
		if (stream->tls != NULL) /* closed or failed: drop the rest */
			tls_engine_feed(stream->tls, NULL, 0);
	} else if (stream_deliver(stream, bytes, (size_t)got)) {
		stream_update_reading(stream);
	}
}

/* Reading goes on exactly while its result can be kept. */
static void
stream_update_reading(struct stream *stream)
{
	/* once stopped, not for every single byte that is consumed */
	size_t full = stream->is_reading ? STREAM_IN_MAX : RESUME_AT + 1;
	bool is_wanted = stream->is_started && !stream->has_fin &&
			 !stream->has_eof && buf_len(&stream->in) < full;
	int rc = 0;

	if (stream->tls != NULL && (tls_engine_is_pending(stream->tls) ||
				    stream_unsent(stream) > TLS_UNSENT_MAX))
		is_wanted = false;
	if (stream->life == LIFE_LINGERING)
		is_wanted = !stream->has_fin;
	if (is_wanted == stream->is_reading)
		return;
	stream->is_reading = is_wanted;
	if (is_wanted)
		rc = uv_read_start(&stream->uv.stream, on_alloc, on_read);
	else
		(void)uv_read_stop(&stream->uv.stream); /* always 0 */
	if (rc < 0)
		stream_fail(stream, true, rc, "read");
}

void
stream_start(struct stream *stream)
{
	stream->is_started = true;
	if (stream->life == LIFE_OPEN)
		stream_update_reading(stream);
}

const uint8_t *
stream_bytes(struct stream *stream, size_t *out_len)
{
	if (stream->view_len != 0) {
		*out_len = stream->view_len;
		return stream->view;
	}
	*out_len = buf_len(&stream->in);
	return buf_bytes(&stream->in);
}

void
stream_consume(struct stream *stream, size_t len)
{
	if (stream->view_len != 0) {
		assert(len <= stream->view_len);
		stream->view += len;
		stream->view_len -= len;
		return; /* reading was not stopped */
	}
	buf_consume(&stream->in, len);
	if (buf_len(&stream->in) == 0)
		buf_wipe(&stream->in); /* perhaps a password */
	if (stream->life != LIFE_OPEN || stream->is_reading)
		return;
	if (stream->tls != NULL && tls_engine_is_pending(stream->tls))
		stream_soon(stream, SOON_PUMP);
	else
		stream_update_reading(stream);
}

/* ---- TLS ---- */

static void
stream_begin_tls(struct stream *stream, struct tls_ctx *ctx,
		 enum stream_role role, const struct tls_peer *peer)
{
	struct err err = ERR_INIT;
	int rc;

	assert(stream->tls == NULL);
	if (stream->life != LIFE_OPEN && stream->life != LIFE_CONNECTING)
		return;
	if (stream->view_len != 0 || buf_len(&stream->in) != 0) {
		stream_fail(stream, false, -EPROTO,
			    "bytes were sent before the TLS handshake");
		return;
	}
	rc = tls_engine_new(ctx, role == STREAM_SERVER, peer, &stream->out,
			    &stream->tls, &err);
	if (rc < 0) {
		stream_fail_tls(stream, &err);
		return;
	}
	/* a client speaks first */
	if (role == STREAM_CLIENT && stream->life == LIFE_OPEN)
		stream_soon(stream, SOON_PUMP);
}

void
stream_start_tls(struct stream *stream, struct tls_ctx *ctx,
		 enum stream_role role, const char *name)
{
	const struct tls_peer peer = {.name = name};

	stream_begin_tls(stream, ctx, role, &peer);
}

void
stream_start_tls_peer(struct stream *stream, struct tls_ctx *ctx,
		      const struct tls_peer *peer)
{
	stream_begin_tls(stream, ctx, STREAM_CLIENT, peer);
}

void
stream_start_tls_behind(struct stream *stream, struct tls_ctx *ctx)
{
	struct buf early;
	const uint8_t *bytes;
	size_t len;

	bytes = stream_bytes(stream, &len);
	buf_init(&early, STREAM_IN_MAX);
	(void)buf_add(&early, bytes, len); /* len <= STREAM_IN_MAX */
	stream_consume(stream, len);
	stream_start_tls(stream, ctx, STREAM_SERVER, NULL);
	if (stream->tls != NULL && buf_len(&early) != 0) {
		tls_engine_feed(stream->tls, buf_bytes(&early),
				buf_len(&early));
		tls_engine_keep(stream->tls);
		stream_soon(stream, SOON_PUMP);
	}
	buf_done(&early);
}

bool
stream_tls_info(const struct stream *stream, struct stream_tls_info *out)
{
	if (!stream->is_secured || stream->tls == NULL)
		return false;
	tls_engine_info(stream->tls, out);
	return true;
}

size_t
stream_channel_binding(const struct stream *stream, uint8_t *to, size_t size,
		       const char **out_type)
{
	if (!stream->is_secured || stream->tls == NULL)
		return 0;
	return tls_engine_binding(stream->tls, to, size, out_type);
}

/* ---- life ---- */

struct stream *
stream_new(uv_loop_t *loop, stream_fn *on_event, void *owner)
{
	struct stream *stream = mem_zalloc(sizeof(*stream));

	stream->loop = stream_loop_enter(loop);
	stream->on_event = on_event;
	stream->owner = owner;
	stream->life = LIFE_OPEN;
	list_init(&stream->soon_link);
	list_init(&stream->linger_link);
	buf_init(&stream->in, STREAM_IN_MAX);
	buf_init(&stream->out, STREAM_OUT_MAX);
	buf_init(&stream->clear_out, STREAM_OUT_MAX);
	count++;
	return stream;
}

void
stream_ready(struct stream *stream)
{
	stream->life = LIFE_OPEN;
	stream_start(stream);
	if (stream->life == LIFE_OPEN && stream->tls != NULL)
		stream_soon(stream, SOON_PUMP);
	if (stream->life == LIFE_OPEN)
		(void)stream_emit(stream, STREAM_CONNECTED);
}

void
stream_on_soon(struct stream *stream)
{
	unsigned reasons = stream->soon;

	stream->soon = 0;
	if ((reasons & SOON_FAILED) != 0) {
		(void)stream_emit(stream, STREAM_FAILED);
		return;
	}
	if ((reasons & SOON_PUMP) != 0 && stream->life == LIFE_OPEN)
		stream_pump(stream);
	if ((reasons & SOON_DRAINED) != 0 && stream->life == LIFE_OPEN &&
	    stream->wants_drained && !stream_is_sending(stream) &&
	    stream_unsent(stream) == 0) {
		stream->wants_drained = false;
		(void)stream_emit(stream, STREAM_DRAINED);
	}
}

void
stream_on_deadline(struct stream *stream)
{
	if (stream->life == LIFE_LINGERING)
		stream_destroy(stream);
	else
		(void)stream_emit(stream, STREAM_DEADLINE);
}

const struct err *
stream_error(const struct stream *stream)
{
	static const struct err none = ERR_INIT;

	return stream->error != NULL ? stream->error : &none;
}

void
stream_set_owner(struct stream *stream, stream_fn *on_event, void *owner)
{
	stream->on_event = on_event;
	stream->owner = owner;
}

static void
on_closed(uv_handle_t *handle)
{
	struct stream *stream = handle->data;

	stream_loop_leave(stream->loop);
	free(stream->error);
	free(stream);
	count--;
}

void
stream_on_socket_back(struct stream *stream)
{
	uv_close(&stream->uv.handle, on_closed);
}

static void
stream_destroy(struct stream *stream)
{
	stream_forget(stream);
	if (!list_is_empty(&stream->linger_link)) {
		list_remove(&stream->linger_link);
		stream->loop->lingering_count--;
	}
	stream->life = LIFE_CLOSING;
	stream->view_len = 0;
	buf_wipe(&stream->in);
	buf_done(&stream->out);
	buf_wipe(&stream->clear_out);
	tls_engine_free(stream->tls);
	stream->tls = NULL;
	if (stream->is_reading)
		(void)uv_read_stop(&stream->uv.stream); /* always 0 */
	stream->is_reading = false;
	if (!stream_socket_is_lent(stream))
		stream_on_socket_back(stream);
}

/*
 * The end of a closed stream: all sent, then our FIN, then the peer's. Closing
 * the socket before that would answer whatever the peer still sends with a
 * reset, and the reset can overtake the last reply.
 */
static void
stream_linger(struct stream *stream)
{
	int fd;

	if (stream_is_sending(stream) || stream_unsent(stream) != 0) {
		stream_update_reading(stream);
		return;
	}
	if (stream->has_fin) {
		stream_destroy(stream);
		return;
	}
	if (!stream->is_finished) {
		stream->is_finished = true;
		tls_engine_free(stream->tls);
		stream->tls = NULL;
		if (uv_fileno(&stream->uv.handle, &fd) < 0 ||
		    shutdown(fd, SHUT_WR) < 0) {
			stream_destroy(stream); /* the peer is gone already */
			return;
		}
	}
	stream_update_reading(stream);
}

/* Whoever does not close is no owner's any more, so no cap of theirs counts
 * him: when there are too many, the first to come goes. */
static void
stream_begin_linger(struct stream *stream)
{
	struct stream_loop *loop = stream->loop;

	stream->life = LIFE_LINGERING;
	stream_set_deadline(stream, LINGER_MS);
	list_push(&loop->lingering, &stream->linger_link);
	if (++loop->lingering_count > loop->lingering_most)
		stream_destroy(container_of(loop->lingering.next, struct stream,
					    linger_link));
}

void
stream_close(struct stream *stream)
{
	if (stream == NULL)
		return;
	assert(stream->life != LIFE_LINGERING && stream->life != LIFE_CLOSING);
	if (stream->life == LIFE_CONNECTING || stream->is_broken) {
		stream_destroy(stream);
		return;
	}
	stream->is_ending = true;
	stream_flush(stream); /* before close_notify */
	if (stream->is_broken) {
		stream_destroy(stream);
		return;
	}
	if (stream->life == LIFE_OPEN && stream->tls != NULL)
		tls_engine_end(stream->tls);
	buf_wipe(&stream->clear_out); /* of a handshake that never ended */
	stream_forget(stream);
	stream->view_len = 0;
	buf_wipe(&stream->in);
	stream_begin_linger(stream);
	stream_flush(stream);
	if (stream->life == LIFE_LINGERING)
		stream_linger(stream);
}

void
stream_abort(struct stream *stream)
{
	if (stream == NULL)
		return;
	assert(stream->life != LIFE_LINGERING && stream->life != LIFE_CLOSING);
	stream_destroy(stream);
}

size_t
stream_count(void)
{
	return count;
}
