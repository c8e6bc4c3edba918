/* SPDX-License-Identifier: ISC */
/*
 * lib/net/tls_private.h - what the files that know OpenSSL share
 *
 * tls_ctx.c      contexts
 * tls_pem.c      what is read from files
 * tls_ticket.c   session tickets
 * tls_engine.c   a connection
 * tls_dane.c     a client's peer known by TLSA records
 * tls_sessions.c sessions that a client resumes
 *
 * For these files only; everybody else sees tls_ctx.h and tls_engine.h.
 */
#ifndef OSTLER_LIB_NET_TLS_PRIVATE_H
#define OSTLER_LIB_NET_TLS_PRIVATE_H

#include <openssl/ssl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
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

/* A certificate with its chain and its key; owns them. */
struct tls_pair {
	X509 *leaf; /* NULL: none */
	STACK_OF(X509) * chain;
	EVP_PKEY *key;
};

/* A name that clients may ask for. */
struct tls_site_name {
	char *name;  /* owns; ".parent" or a whole name, lower case */
	size_t site; /* index in tls_ctx.sites */
};

struct tls_site {
	struct tls_pair first, second;
};

struct tls_ctx {
	SSL_CTX *ssl;
	atomic_uint refs;    /* a worker makes it, the loop uses it */
	long long expires;   /* see tls_ctx_expires */
	bool is_self_signed; /* see tls_ctx_is_self_signed */
	bool is_verified; /* client: an unverified peer fails the handshake */
	/* server: instead of the certificates in ssl, for these names */
	struct tls_site *sites;
	size_t site_count;
	struct tls_site_name *names;
	size_t name_count;
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
/* The handshake failed: the next one is a whole one. */
void tls_sessions_forget(struct tls_ctx *ctx, const char *key);

/*
 * err_text with the reasons from OpenSSL's error queue behind the text; the
 * queue is empty afterwards. Returns code.
 */
int tls_fail(struct err *err, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* --------------------------------------------------------------- tls_pem.c */

/*
 * Reads a certificate with its chain, and the key that belongs to it.
 *
 * Returns 0, or -EACCES, -ENOENT, -EINVAL with the file's name in err.
 */
int tls_pair_read(const char *certificate, const char *key,
		  struct tls_pair *out, struct err *err);
void tls_pair_done(struct tls_pair *pair);

/* Seconds since 1970 when the certificate ends; 0: it does not say. */
long long tls_pair_expires(const struct tls_pair *pair);

/* Is it its own issuer? */
bool tls_pair_is_self_signed(const struct tls_pair *pair);

/*
 * Trusts every certificate in a PEM file.
 *
 * names  their subjects are added, to be told to clients; NULL: not wanted
 */
int tls_trust_file(X509_STORE *store, const char *path,
		   STACK_OF(X509_NAME) * names, struct err *err);

/*
 * The system's CAs, read now: OpenSSL's own default reads a folder file by
 * file during handshakes, on the loop thread.
 */
void tls_trust_system(SSL_CTX *ssl);

/* Refuses what the revocation lists in a PEM file name, and what none of them
 * is in force for. */
int tls_revoke_file(X509_STORE *store, const char *path, struct err *err);

/* ------------------------------------------------------------ tls_ticket.c */

/* Sealed with keys of our own that change; ctx must outlive ctx->ssl. */
int tls_ticket_install(struct tls_ctx *ctx, struct err *err);

#endif
