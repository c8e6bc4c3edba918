/* SPDX-License-Identifier: ISC */
/*
 * lib/net/tls_engine.h - TLS as a machine between two byte queues
 *
 * No socket and no callback: ciphertext that arrived is offered with
 * tls_engine_feed and taken from where it lies; ciphertext to send is
 * appended to the owner's buffer. Only stream.c drives it, on the loop.
 */
#ifndef OSTLER_LIB_NET_TLS_ENGINE_H
#define OSTLER_LIB_NET_TLS_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/err.h"

struct stream_tls_info;
struct tls_ctx;
struct tls_engine;
struct tls_peer;

/*
 * ctx   shares
 * peer  borrows; client: whom to reach; server: NULL
 * out   borrows until tls_engine_free; gets the ciphertext to send
 * Returns 0 or a negative errno with its reason.
 */
int tls_engine_new(struct tls_ctx *ctx, bool is_server,
		   const struct tls_peer *peer, struct buf *out,
		   struct tls_engine **out_engine, struct err *err);
void tls_engine_free(struct tls_engine *engine);

/* Offers ciphertext: borrows until tls_engine_keep or the next feed. */
void tls_engine_feed(struct tls_engine *engine, const uint8_t *bytes,
		     size_t len);

/* Copies what was offered and not taken, since its memory ends now. */
void tls_engine_keep(struct tls_engine *engine);

/* Something is left that tls_engine_read could return without a feed. */
bool tls_engine_is_pending(const struct tls_engine *engine);

/* Returns 1 when the handshake is done, 0 when it needs more bytes, or a
 * negative errno; an alert for the peer may be in the output then.
 * -EKEYREJECTED: it failed by the peer's certificate. */
int tls_engine_handshake(struct tls_engine *engine, struct err *err);

#define TLS_ENGINE_END (-4095) /* the peer's close_notify; no errno */

/*
 * Decrypts up to size bytes, size > 0.
 *
 * Returns how many, 0 when more ciphertext is needed, TLS_ENGINE_END, or a
 * negative errno.
 */
int tls_engine_read(struct tls_engine *engine, uint8_t *to, size_t size,
		    struct err *err);

/*
 * Encrypts bytes behind what is in the output.
 *
 * out_taken  how many; fewer than len only when the protocol has to read
 *            first, then the rest is offered again after a feed
 * Returns 0 or a negative errno.
 */
int tls_engine_write(struct tls_engine *engine, const uint8_t *bytes,
		     size_t len, size_t *out_taken, struct err *err);

/* Appends close_notify to the output. */
void tls_engine_end(struct tls_engine *engine);

/* See stream_tls_info, stream_channel_binding; after the handshake only. */
void tls_engine_info(const struct tls_engine *engine,
		     struct stream_tls_info *out);
size_t tls_engine_binding(const struct tls_engine *engine, uint8_t *to,
			  size_t size, const char **out_type);

#endif
