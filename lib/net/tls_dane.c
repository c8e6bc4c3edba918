/* SPDX-License-Identifier: ISC */
/*
 * A peer known by TLSA records. OpenSSL does the matching, the chain below a
 * trust anchor, and digest agility (RFC 7671, 9): of the records with the
 * same usage and selector only those with the strongest digest count.
 */
#include <errno.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "lib/net/tls_ctx.h"
#include "lib/net/tls_private.h"

/* RFC 6698, 7.2 to 7.4 */
enum { USAGE_TA = 2, USAGE_EE = 3 };
enum { SELECT_CERTIFICATE, SELECT_KEY };
enum { MATCH_FULL, MATCH_SHA256, MATCH_SHA512 };

/* A whole certificate or key has to be one, or OpenSSL refuses it. */
static bool
is_der(const struct tls_tlsa *tlsa)
{
	const unsigned char *at = tlsa->data;
	EVP_PKEY *key;
	X509 *leaf;
	bool is_one;

	if (tlsa->selector == SELECT_KEY) {
		key = d2i_PUBKEY(NULL, &at, (long)tlsa->len);
		is_one = key != NULL;
		EVP_PKEY_free(key);
	} else {
		leaf = d2i_X509(NULL, &at, (long)tlsa->len);
		is_one = leaf != NULL && X509_get0_pubkey(leaf) != NULL;
		X509_free(leaf);
	}
	ERR_clear_error();
	return is_one && at == tlsa->data + tlsa->len;
}

bool
tls_tlsa_is_usable(const struct tls_tlsa *tlsa)
{
	/* RFC 7672, 3.1.3: usages 0 and 1 mean nothing between servers */
	if ((tlsa->usage != USAGE_TA && tlsa->usage != USAGE_EE) ||
	    tlsa->selector > SELECT_KEY)
		return false;
	switch (tlsa->matching) {
	case MATCH_SHA256:
		return tlsa->len == 32;
	case MATCH_SHA512:
		return tlsa->len == 64;
	case MATCH_FULL:
		return tlsa->len > 0 && tlsa->len <= UINT16_MAX && is_der(tlsa);
	default: /* a number from DNS */
		return false;
	}
}

int
tls_dane_set(SSL *ssl, const struct tls_peer *peer, struct err *err)
{
	size_t usable = 0;

	if (SSL_dane_enable(ssl, peer->name) <= 0)
		return tls_fail(err, -EINVAL, "DANE: '%.255s'", peer->name);
	/* RFC 7672, 3.1.1: with usage 3 the record alone binds the key to the
	 * server; names and dates of the certificate mean nothing */
	(void)SSL_dane_set_flags(ssl, DANE_FLAG_NO_DANE_EE_NAMECHECKS);
	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	for (size_t i = 0; peer->aliases != NULL && peer->aliases[i] != NULL;
	     i++)
		if (SSL_add1_host(ssl, peer->aliases[i]) != 1)
			return tls_fail(err, -EINVAL, "DANE: '%.255s'",
					peer->aliases[i]);
	for (size_t i = 0; i < peer->tlsa_count; i++) {
		const struct tls_tlsa *tlsa = &peer->tlsa[i];

		if (tls_tlsa_is_usable(tlsa) &&
		    SSL_dane_tlsa_add(ssl, tlsa->usage, tlsa->selector,
				      tlsa->matching, tlsa->data,
				      tlsa->len) > 0)
			usable++;
	}
	ERR_clear_error();
	if (usable == 0)
		return err_text(err, -EINVAL,
				"DANE: none of the TLSA records is usable");
	SSL_set_verify(ssl, SSL_VERIFY_PEER, NULL);
	return 0;
}
