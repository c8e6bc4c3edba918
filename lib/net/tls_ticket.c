/* SPDX-License-Identifier: ISC */
#include "lib/net/tls_private.h"

#include <errno.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include "lib/clock.h"
#include "lib/mem.h"

/* Who reads a key later can read the sessions of at most this and the next
 * period. */
#define TLS_TICKET_PERIOD_MS (60u * 60 * 1000)

/* The key for new tickets: a fresh one each period. NULL: no random bytes. */
static const struct tls_ticket_key *
ticket_key_now(struct tls_ctx *ctx)
{
	uint64_t now_ms = clock_boot_ms();
	struct tls_ticket_key fresh;

	if (ctx->tickets[0].until_ms > now_ms)
		return &ctx->tickets[0];
	if (RAND_bytes(fresh.name, sizeof(fresh.name)) != 1 ||
	    RAND_priv_bytes(fresh.cipher, sizeof(fresh.cipher)) != 1 ||
	    RAND_priv_bytes(fresh.mac, sizeof(fresh.mac)) != 1)
		return NULL;
	fresh.until_ms = now_ms + TLS_TICKET_PERIOD_MS;
	mem_wipe(&ctx->tickets[1], sizeof(ctx->tickets[1]));
	/* what was in use is still read for one period */
	if (ctx->tickets[0].until_ms + TLS_TICKET_PERIOD_MS > now_ms)
		ctx->tickets[1] = ctx->tickets[0];
	ctx->tickets[0] = fresh;
	mem_wipe(&fresh, sizeof(fresh));
	return &ctx->tickets[0];
}

static const struct tls_ticket_key *
ticket_key_find(struct tls_ctx *ctx, const unsigned char *name)
{
	for (size_t i = 0; i < 2; i++)
		if (ctx->tickets[i].until_ms != 0 &&
		    memcmp(ctx->tickets[i].name, name, TLS_TICKET_NAME) == 0)
			return &ctx->tickets[i];
	return NULL;
}

static bool
ticket_mac(EVP_MAC_CTX *mac, const struct tls_ticket_key *key)
{
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY,
						  (void *)key->mac,
						  sizeof(key->mac)),
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST,
						 (char *)"SHA256", 0),
		OSSL_PARAM_construct_end(),
	};

	return EVP_MAC_CTX_set_params(mac, params) == 1;
}

/* SSL_CTX_set_tlsext_ticket_key_evp_cb(3): -1 error, 0 no ticket (handshake
 * in full), 1 taken, 2 taken and to be renewed. */
static int
on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv,
	  EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int is_new)
{
	struct tls_ctx *ctx =
		SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), TLS_CTX_SELF);
	const struct tls_ticket_key *now = ticket_key_now(ctx), *key;

	if (now == NULL)
		return is_new ? -1 : 0;
	if (is_new) {
		if (RAND_bytes(iv, EVP_CIPHER_get_iv_length(
					   EVP_aes_256_cbc())) != 1)
			return -1;
		memcpy(name, now->name, sizeof(now->name));
		return EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL,
					  now->cipher, iv) == 1 &&
				       ticket_mac(mac, now)
			       ? 1
			       : -1;
	}
	key = ticket_key_find(ctx, name);
	if (key == NULL)
		return 0;
	if (!ticket_mac(mac, key) ||
	    EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->cipher,
			       iv) != 1)
		return -1;
	return key == now ? 1 : 2;
}

int
tls_ticket_install(struct tls_ctx *ctx, struct err *err)
{
	/* tickets keep sessions at the clients, nothing is kept here */
	(void)SSL_CTX_set_session_cache_mode(ctx->ssl, SSL_SESS_CACHE_OFF);
	(void)SSL_CTX_set_num_tickets(ctx->ssl, 1);
	(void)SSL_CTX_set_timeout(ctx->ssl, TLS_TICKET_PERIOD_MS / 1000);
	if (SSL_CTX_set_ex_data(ctx->ssl, TLS_CTX_SELF, ctx) != 1 ||
	    SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx->ssl, on_ticket) != 1)
		return tls_fail(err, -EINVAL, "OpenSSL");
	return 0;
}
