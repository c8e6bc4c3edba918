/* SPDX-License-Identifier: ISC */
/*
 * Sessions of a client's connections, for the next connection to the same
 * peer: half a handshake less for both. A resumed handshake shows no
 * certificate, what was verified before counts; so the key names what it was
 * verified by, and none is kept for longer than an hour.
 */
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "lib/clock.h"
#include "lib/mem.h"
#include "lib/net/tls_private.h"

#define SESSIONS_MAX	512
#define SESSIONS_AGE_MS (60u * 60 * 1000)

struct kept {
	struct lru_entry entry;
	char *key; /* owns */
	SSL_SESSION *session;
	uint64_t until_ms; /* boot clock */
};

static void
kept_free(struct lru_entry *entry)
{
	struct kept *kept = container_of(entry, struct kept, entry);

	SSL_SESSION_free(kept->session);
	free(kept->key);
	free(kept);
}

static int
on_session(SSL *ssl, SSL_SESSION *session)
{
	struct tls_ctx *ctx =
		SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), TLS_CTX_SELF);
	const char *key = SSL_get_app_data(ssl);
	struct lru_entry *old;
	struct kept *kept;
	SSL_SESSION *copy;

	if (key == NULL || SSL_SESSION_is_resumable(session) != 1)
		return 0;
	/* a connection that ends without a farewell takes its own one along */
	copy = SSL_SESSION_dup(session);
	if (copy == NULL)
		return 0;
	old = lru_find(&ctx->sessions, key, strlen(key));
	if (old != NULL)
		lru_remove(&ctx->sessions, old);
	kept = mem_zalloc(sizeof(*kept));
	kept->key = mem_strdup(key);
	kept->session = copy;
	kept->until_ms = clock_boot_ms() + SESSIONS_AGE_MS;
	lru_add(&ctx->sessions, &kept->entry, kept->key, strlen(kept->key));
	return 0; /* no reference was kept */
}

bool
tls_sessions_init(struct tls_ctx *ctx)
{
	lru_init(&ctx->sessions, SESSIONS_MAX, kept_free);
	ctx->has_sessions = true;
	(void)SSL_CTX_set_session_cache_mode(
		ctx->ssl, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(ctx->ssl, on_session);
	return SSL_CTX_set_ex_data(ctx->ssl, TLS_CTX_SELF, ctx) == 1;
}

void
tls_sessions_done(struct tls_ctx *ctx)
{
	if (ctx->has_sessions)
		lru_done(&ctx->sessions);
}

void
tls_sessions_use(struct tls_ctx *ctx, SSL *ssl, const char *key)
{
	struct lru_entry *entry;
	struct kept *kept;
	SSL_SESSION *copy;

	if (!ctx->has_sessions || SSL_set_app_data(ssl, (char *)key) != 1)
		return;
	entry = lru_find(&ctx->sessions, key, strlen(key));
	if (entry == NULL)
		return;
	kept = container_of(entry, struct kept, entry);
	/*
	 * It stays for the next one, for not every server gives a new one with
	 * each connection. Observers could tell by it which connections belong
	 * together (RFC 8446, C.4); between mail servers the addresses do.
	 */
	if (kept->until_ms <= clock_boot_ms()) {
		lru_remove(&ctx->sessions, entry);
		return;
	}
	copy = SSL_SESSION_dup(kept->session);
	if (copy != NULL)
		(void)SSL_set_session(ssl, copy); /* else a whole handshake */
	SSL_SESSION_free(copy);
	ERR_clear_error();
}

void
tls_sessions_forget(struct tls_ctx *ctx, const char *key)
{
	struct lru_entry *entry =
		ctx->has_sessions ? lru_find(&ctx->sessions, key, strlen(key))
				  : NULL;

	if (entry != NULL)
		lru_remove(&ctx->sessions, entry);
}
