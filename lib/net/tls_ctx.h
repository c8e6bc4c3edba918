/* SPDX-License-Identifier: ISC */
/*
 * lib/net/tls_ctx.h - what TLS connections of one kind have in common
 *
 * Immutable once made and shared by counting: a reload makes a new one, and
 * sessions keep the one they began with.
 */
#ifndef OSTLER_LIB_NET_TLS_CTX_H
#define OSTLER_LIB_NET_TLS_CTX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

struct tls_ctx;

/* Which certificates are shown: PEM files, each with its chain and its key. */
struct tls_files {
	const char *certificate, *key;
	/* Another pair with a key of another kind (RSA beside ECDSA), for
	 * clients that know only one; NULL: none. */
	const char *second_certificate, *second_key;
};

/* What is shown to clients that ask for one of these names (RFC 6066, 3). */
struct tls_site_files {
	/* NULL-terminated, each once in all: lower-case A-labels; ".parent"
	 * stands for the names below it */
	const char *const *names;
	struct tls_files files;
};

struct tls_server_opts {
	struct tls_files files; /* for no name, and for names not known */
	const struct tls_site_files *sites;
	size_t site_count;
	const char *client_ca; /* PEM file, or NULL: no client certificates */
	/* PEM file with a list in force of each of these CAs, or NULL */
	const char *client_crl;
	const char *minimum; /* "1.2" or "1.3" */
};

/*
 * Returns 0, or -EACCES, -ENOENT, -EINVAL with the file's name and the reason
 * in err. Reads files: start and reload only (a worker).
 */
int tls_ctx_server(const struct tls_server_opts *opts, struct tls_ctx **out,
		   struct err *err);

struct tls_client_opts {
	bool is_verified; /* check chain and name, fail the handshake if not */
	const char *ca;	  /* PEM file, or NULL: the system's */
	/* Shares the CAs of this one, ca is not read; NULL: reads its own. */
	struct tls_ctx *same_ca;
	const char *minimum; /* "1.0", "1.2" or "1.3" */
	const char *maximum; /* the same, or NULL: whatever there is */
};

/*
 * The same for connections that we open. Reading the system's CAs takes tens
 * of milliseconds: make one for all routes of a kind, in a worker.
 */
int tls_ctx_client(const struct tls_client_opts *opts, struct tls_ctx **out,
		   struct err *err);

/* A TLSA record of usage 2 or 3 (RFC 6698, 2.1; RFC 7672, 3.1). */
struct tls_tlsa {
	uint8_t usage, selector, matching;
	const uint8_t *data;
	size_t len;
};

/* Whom a client means to reach. */
struct tls_peer {
	/* Host name or address, for SNI and the certificate; NULL: none. */
	const char *name;
	/*
	 * With records DANE decides, whatever the context says: the CAs of the
	 * context count for nothing, and a peer that no record matches fails
	 * the handshake. Records that OpenSSL cannot use are passed over; if
	 * none is left, that fails too, so the caller asks tls_tlsa_is_usable.
	 */
	const struct tls_tlsa *tlsa;
	size_t tlsa_count;
	/* More names that a certificate below a trust anchor of usage 2 may
	 * bear (RFC 7672, 3.2.2); NULL-terminated, NULL: none. */
	const char *const *aliases;
	/*
	 * Sessions are resumed among connections of one context with the same
	 * text here, so it has to name the peer and all that he was verified
	 * by; NULL: never.
	 */
	const char *session;
};

/* Could a handshake be decided by this record? (RFC 7672, 3.1) */
bool tls_tlsa_is_usable(const struct tls_tlsa *tlsa);

struct tls_ctx *tls_ctx_ref(struct tls_ctx *ctx);
void tls_ctx_unref(struct tls_ctx *ctx); /* NULL is fine */

/* Seconds since 1970 when the first of the server's certificates to end ends;
 * 0 for a client's. */
long long tls_ctx_expires(const struct tls_ctx *ctx);

/* Did nobody but its owner sign one of the server's certificates? Then no
 * client can verify it. False for a client's context. */
bool tls_ctx_is_self_signed(const struct tls_ctx *ctx);

/*
 * Makes a key and a self-signed certificate for name in the two files (0600,
 * 0644), ECDSA P-256, ten years. Existing files are not overwritten
 * (-EEXIST).
 */
int tls_make_self_signed(const char *name, const char *certificate,
			 const char *key, struct err *err);

/* Gives OpenSSL our memory (lib/mem.h); before its first use. */
void tls_library_prepare(void);

/* "3.0.19": of OpenSSL, the one that runs. Static. */
const char *tls_library_version(void);

#endif
