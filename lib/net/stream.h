/* SPDX-License-Identifier: ISC */
/*
 * lib/net/stream.h - one connection, in either direction, plain or TLS
 *
 * TCP or unix socket. The owner gets one callback with an event and then
 * looks at the stream: bytes not yet consumed stay where they are (bounded;
 * when the bound is reached, reading stops by itself), bytes written are
 * kept until the peer takes them (bounded by what the owner writes before it
 * waits for STREAM_DRAINED).
 *
 * Rules: no function calls the owner back before it returns. After calling
 * on_event the stream assumes nothing; the owner may close it in any event.
 * stream_close is always allowed, once; no event follows it; the memory goes
 * in libuv's close callback. Loop thread only.
 *
 * An idle plain connection holds no buffer at all. What the owner writes
 * within one event leaves in one system call (and one TLS record) after it;
 * on a busy loop another thread may make that call.
 */
#ifndef OSTLER_LIB_NET_STREAM_H
#define OSTLER_LIB_NET_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <uv.h>

#include "lib/err.h"
#include "lib/ip.h"

struct stream;
struct tls_ctx;
struct tls_peer;

enum stream_event {
	STREAM_CONNECTED, /* stream_connect succeeded; once */
	STREAM_DATA,	  /* stream_bytes has more than before */
	STREAM_DRAINED,	  /* what was written has left; after a full write */
	STREAM_SECURED,	  /* the TLS handshake is done; see stream_tls_info */
	STREAM_EOF,	  /* the peer will send no more; writing may go on */
	STREAM_DEADLINE,  /* the time set by stream_set_deadline has come */
	STREAM_FAILED,	  /* connect, read, write or TLS failed: stream_error.
			     Nothing more can be read or written. Once. */
};

typedef void stream_fn(void *owner, enum stream_event event);

#define STREAM_IN_MAX  65536 /* unconsumed bytes before reading stops */
#define STREAM_OUT_LOW 65536 /* stream_write says "wait" above this */

/*
 * Takes the next connection from a listening handle (uv_tcp_t, uv_pipe_t).
 *
 * Reading does not start before stream_start. Returns 0 or a negative errno.
 */
int stream_accept(uv_stream_t *listener, stream_fn *on_event, void *owner,
		  struct stream **out);

/* The same for a connected socket; takes fd, also on failure. */
int stream_from_fd(uv_loop_t *loop, int fd, stream_fn *on_event, void *owner,
		   struct stream **out);

/*
 * Starts connecting; STREAM_CONNECTED or STREAM_FAILED follows, and reading
 * starts by itself. Set a deadline for the time it may take.
 *
 * to      borrows; AF_INET, AF_INET6 or AF_UNIX
 * source  borrows; local address to connect from, or NULL
 */
struct stream *stream_connect(uv_loop_t *loop, const struct sockaddr *to,
			      const struct ip *source, stream_fn *on_event,
			      void *owner);

/* Begins to read. */
void stream_start(struct stream *stream);

/* Unconsumed bytes: lends until stream_consume or the next return to the
 * loop. *out_len 0: none. */
const uint8_t *stream_bytes(struct stream *stream, size_t *out_len);

/* Drops len bytes from the front. Reading that had stopped goes on once a
 * quarter of STREAM_IN_MAX is free. */
void stream_consume(struct stream *stream, size_t len);

/*
 * Sends the bytes, or keeps a copy of what the peer does not take now.
 *
 * Returns true when the owner should wait for STREAM_DRAINED before it
 * writes more (everything was taken in any case). Failures come as an event.
 */
bool stream_write(struct stream *stream, const void *bytes, size_t len);

/* Gathers writes until stream_uncork: one segment, one system call. */
void stream_cork(struct stream *stream);
void stream_uncork(struct stream *stream);

/* Bytes written and not yet given to the kernel. */
size_t stream_unsent(const struct stream *stream);

enum stream_role { STREAM_SERVER, STREAM_CLIENT };

/*
 * Starts the TLS handshake after what was written so far has left.
 *
 * ctx   shares
 * name  client: the name for SNI and, when the context verifies, for the
 *       certificate; NULL for none. Server: NULL.
 * Unconsumed bytes at this moment came in the clear and are an injection
 * (RFC 3207, 6): the result is then STREAM_FAILED.
 */
void stream_start_tls(struct stream *stream, struct tls_ctx *ctx,
		      enum stream_role role, const char *name);

/*
 * The same for a server whose peer may have begun the handshake already,
 * behind a header of its own (PROXY): unconsumed bytes are taken for TLS.
 */
void stream_start_tls_behind(struct stream *stream, struct tls_ctx *ctx);

#define STREAM_NAMES_MAX                                                       \
	16 /* of a client's certificate; others are left out                   \
	    */

/* The same for a client that knows more about its peer than a name; what peer
 * points to is borrowed. */
void stream_start_tls_peer(struct stream *stream, struct tls_ctx *ctx,
			   const struct tls_peer *peer);

struct stream_tls_info {
	const char *version; /* "TLSv1.3"; lends for the stream's life */
	const char *cipher;  /* "TLS_AES_256_GCM_SHA384" */
	int bits;	     /* secret bits of the cipher */
	bool is_verified;    /* the peer's certificate, by chain and name, or by
				a TLSA record */
	bool is_resumed;
	const char *verify_error; /* why not verified, or NULL */
	bool has_certificate;	  /* the peer's, verified or not */
	const char *peer_subject; /* "" when the peer sent none */
	/* server, NULL-terminated: the mail addresses in the client's
	 * certificate, or its common name when it has none; UTF-8 without
	 * control characters. Mean something only when is_verified. */
	const char *const *names;
	const char *sni; /* server: name asked for, or NULL; any bytes */
};

/* False before STREAM_SECURED. */
bool stream_tls_info(const struct stream *stream, struct stream_tls_info *out);

/*
 * Channel binding data (RFC 5929 tls-server-end-point is not offered;
 * tls-exporter of RFC 9266 for TLS 1.3, tls-unique before it).
 *
 * Returns the number of bytes, 0 when there is none.
 */
size_t stream_channel_binding(const struct stream *stream, uint8_t *to,
			      size_t size, const char **out_type);

/*
 * One time from now on, replacing the one set before; 0 for none. The event
 * comes once, up to 50 ms late.
 */
void stream_set_deadline(struct stream *stream, uint64_t ms);

/* Addresses of both ends; IP_NONE for a unix socket. out_port may be NULL. */
void stream_peer(const struct stream *stream, struct ip *out_ip,
		 uint16_t *out_port);
void stream_local(const struct stream *stream, struct ip *out_ip,
		  uint16_t *out_port);

/* The peer's uid on a unix socket; -1 when unknown. */
int64_t stream_peer_uid(const struct stream *stream);

/* Why STREAM_FAILED came: lends. */
const struct err *stream_error(const struct stream *stream);

/* Another owner takes over (connection pool). */
void stream_set_owner(struct stream *stream, stream_fn *on_event, void *owner);

/*
 * Ends the connection: what was written is still sent (for at most 5 s), then
 * TLS close_notify and FIN. No event follows. Of streams that end at the same
 * time an eighth of all descriptors is kept, at most 4096; beyond that the
 * first is cut. NULL is fine.
 */
void stream_close(struct stream *stream);

/* The same without sending what is left; what a thread was given may still
 * go. NULL is fine. */
void stream_abort(struct stream *stream);

/* How many streams are open or closing in this process. */
size_t stream_count(void);

#endif
