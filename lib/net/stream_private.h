/* SPDX-License-Identifier: ISC */
/*
 * lib/net/stream_private.h - what stream.c, stream_open.c,
 * stream_send.c and stream_loop.c share
 *
 * For these files only; everybody else sees stream.h.
 */
#ifndef OSTLER_LIB_NET_STREAM_PRIVATE_H
#define OSTLER_LIB_NET_STREAM_PRIVATE_H

#include <stdarg.h>
#include <uv.h>

#include "lib/buf.h"
#include "lib/heap.h"
#include "lib/list.h"
#include "lib/net/stream.h"

struct stream_write;
struct tls_engine;
struct writers;

/*
 * What all streams of one loop share; exists while there is one.
 *
 * The two byte areas are used within one libuv callback only, so one of each
 * is enough for any number of streams.
 */
struct stream_loop {
	uv_loop_t *loop;
	struct list link; /* on the list of all */
	size_t streams;	  /* open or closing */
	unsigned handles; /* of the three below, not yet closed */

	uv_timer_t timer;
	struct heap deadlines;
	size_t armed;	  /* streams with a deadline: they keep the loop up */
	uint64_t wake_ms; /* when the timer fires, 0: it does not run */

	uv_idle_t idle;	  /* runs while soon is not empty */
	struct list soon; /* streams with an event for the next turn */

	struct list lingering; /* streams, the oldest first */
	size_t lingering_count, lingering_most;

	uv_prepare_t prepare;	 /* once in each turn: stream_send_turn */
	unsigned sends;		 /* in this turn */
	unsigned sends_before;	 /* in the one before */
	struct writers *writers; /* owns; NULL: not needed yet */
	bool has_no_writers;	 /* nor will there be any */
	bool is_due;		 /* writers got something in this turn */
	struct list given;	 /* stream_writes that they may have */

	uint8_t arrived[STREAM_IN_MAX]; /* what libuv reads into */
	uint8_t clear[STREAM_IN_MAX];	/* what TLS decrypts into */
};

enum stream_life {
	LIFE_CONNECTING, /* uv_connect runs; nothing is read or sent */
	LIFE_OPEN,	 /* the owner is told of events */
	LIFE_FAILED,	 /* error is set; FAILED is on its way or given */
	LIFE_LINGERING,	 /* no owner; sends the rest, awaits the peer's FIN */
	LIFE_CLOSING,	 /* uv_close was called; freed in its callback */
};

enum {
	SOON_FAILED = 1,  /* tell the owner */
	SOON_PUMP = 2,	  /* TLS has something to do without new bytes */
	SOON_DRAINED = 4, /* all was sent after a full write */
};

struct stream {
	union {
		uv_handle_t handle;
		uv_stream_t stream;
		uv_tcp_t tcp;
		uv_pipe_t pipe;
	} uv;
	struct stream_loop *loop;
	stream_fn *on_event;
	void *owner;

	/* Moving a deadline back only changes deadline_ms: the heap node
	 * stays and is put right when its time comes. */
	struct heap_node deadline;
	uint64_t deadline_ms; /* 0: none */

	struct list soon_link;
	struct list linger_link; /* LIFE_LINGERING: loop->lingering */
	struct buf in;		 /* unconsumed; at most STREAM_IN_MAX */
	const uint8_t *view;	 /* unconsumed, in the loop's area; then in is
				    empty. Within one callback only */
	size_t view_len;
	struct buf out;		      /* bytes for the socket */
	struct stream_write *writing; /* those on their way */
	struct tls_engine *tls;
	struct buf clear_out; /* TLS: not yet encrypted (cork, handshake) */
	struct err *error;

	struct ip peer_ip;
	uint16_t peer_port;
	uint16_t corked; /* how often */
	uint8_t life;	 /* enum stream_life */
	uint8_t soon;	 /* SOON_* */
	bool is_started : 1;
	bool is_reading : 1;
	bool is_broken : 1; /* the socket itself is of no more use */
	bool has_eof : 1;   /* STREAM_EOF was given */
	bool has_fin : 1;   /* the socket's end, under TLS perhaps earlier */
	bool is_secured : 1;
	bool wants_drained : 1;
	bool is_ending : 1;   /* stream_close was called */
	bool is_finished : 1; /* lingering: our FIN was sent */
};

/* ---- stream_loop.c ---- */

/* Lends as long as a stream counts in it. */
struct stream_loop *stream_loop_enter(uv_loop_t *loop);
void stream_loop_leave(struct stream_loop *loop);
void stream_soon(struct stream *stream, unsigned reasons);
void stream_forget(struct stream *stream); /* no deadline, nothing soon */

/* The owner bounds what it writes, see stream.h. */
#define STREAM_OUT_MAX ((size_t)1 << 40)

/* ---- stream_send.c ---- */

/* Sends out and then bytes, as far as the socket takes them; keeps the rest. */
void stream_send(struct stream *stream, const void *bytes, size_t len);

/* Is something on its way that was sent before? Then stream_on_sent, or a
 * failure, comes. */
bool stream_is_sending(struct stream *stream);

/* May a thread be using the socket? Then stream_on_socket_back comes for a
 * closing stream. */
bool stream_socket_is_lent(struct stream *stream);

/* A turn of the loop begins. */
void stream_send_turn(struct stream_loop *loop);

/* From how many sends in a turn on threads help, and how many of them; for
 * tests, before the first stream. */
void stream_send_tune(unsigned from_sends, unsigned count);

/* ---- stream.c ---- */

struct stream *stream_new(uv_loop_t *loop, stream_fn *on_event, void *owner);
void stream_ready(struct stream *stream); /* connected */
void stream_on_sent(struct stream *stream);
void stream_on_socket_back(struct stream *stream);
void stream_on_soon(struct stream *stream);
void stream_on_deadline(struct stream *stream);
void stream_fail(struct stream *stream, bool is_broken, int code,
		 const char *format, ...) __attribute__((format(printf, 4, 5)));

#endif
