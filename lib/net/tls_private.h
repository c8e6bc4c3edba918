/* SPDX-License-Identifier: ISC */
/*
 * lib/net/tls_private.h - what the files tls_*.c share
 *
 * For these files only; everybody else sees tls_ctx.h and tls_engine.h.
 */
#ifndef OSTLER_LIB_NET_TLS_PRIVATE_H
#define OSTLER_LIB_NET_TLS_PRIVATE_H

#include <openssl/ssl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/err.h"
#include "lib/lru.h"

/* Where OpenSSL keeps our struct for its callbacks: application data. */
#define TLS_CTX_SELF 0

#define TLS_TICKET_NAME 16
#define TLS_TICKET_KEY	32

/* What session tickets are sealed with (RFC 5077, section 4). */
struct tls_ticket_key {
	unsigned char name[TLS_TICKET_NAME];
	unsigned char cipher[TLS_TICKET_KEY], mac[TLS_TICKET_KEY];
	uint64_t until_ms; /* boot clock; 0: none */
};

struct tls_ctx {
	SSL_CTX *ssl;
	atomic_uint refs;  /* a worker makes it, the loop uses it */
	long long expires; /* see tls_ctx_expires */
	bool is_verified;  /* client: an unverified peer fails the handshake */
	/* server, loop thread only: the one in use and the one before it */
	struct tls_ticket_key tickets[2];
	/* client, loop thread only: for the next connections */
	struct lru sessions;
	bool has_sessions;
};

struct tls_peer;

/* Has the connection decided by the peer's TLSA records. 0 or a negative
 * errno. */
int tls_dane_set(SSL *ssl, const struct tls_peer *peer, struct err *err);

/* Sessions that connections of this context leave are kept. */
bool tls_sessions_init(struct tls_ctx *ctx);
void tls_sessions_done(struct tls_ctx *ctx);
/* Offers the session that was kept under the key, if there is one, and keeps
 * what the peer gives under it. key: lent for the life of ssl. */
void tls_sessions_use(struct tls_ctx *ctx, SSL *ssl, const char *key);

/*
 * err_text with the reasons from OpenSSL's error queue behind the text; the
 * queue is empty afterwards. Returns code.
 */
int tls_fail(struct err *err, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
