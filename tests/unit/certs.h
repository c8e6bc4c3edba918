/* SPDX-License-Identifier: ISC */
/*
 * tests/unit/certs.h - certificates made for one test, and their TLSA records
 */
#ifndef OSTLER_TESTS_UNIT_CERTS_H
#define OSTLER_TESTS_UNIT_CERTS_H

#include <check.h>
#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

struct cert {
	EVP_PKEY *key;
	X509 *x509;
};

static inline void
cert_extend(X509 *x509, int nid, const char *value)
{
	X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

	ck_assert_ptr_nonnull(extension);
	ck_assert_int_eq(X509_add_ext(x509, extension, -1), 1);
	X509_EXTENSION_free(extension);
}

/*
 * issuer  NULL: signs itself, and may sign others
 * days    until it ends; negative: it ended so many days ago
 */
static inline void
cert_make(struct cert *cert, const struct cert *issuer, const char *name,
	  int days)
{
	static long serial = 1;
	char names[300];
	X509_NAME *subject;

	cert->key = EVP_EC_gen("P-256");
	cert->x509 = X509_new();
	ck_assert(cert->key != NULL && cert->x509 != NULL);
	(void)X509_set_version(cert->x509, 2);
	(void)ASN1_INTEGER_set(X509_get_serialNumber(cert->x509), serial++);
	(void)X509_gmtime_adj(X509_getm_notBefore(cert->x509), -864000);
	(void)X509_gmtime_adj(X509_getm_notAfter(cert->x509), days * 86400L);
	(void)X509_set_pubkey(cert->x509, cert->key);
	subject = X509_get_subject_name(cert->x509);
	(void)X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
					 (const unsigned char *)name, -1, -1,
					 0);
	(void)X509_set_issuer_name(cert->x509,
				   issuer != NULL
					   ? X509_get_subject_name(issuer->x509)
					   : subject);
	(void)snprintf(names, sizeof(names), "DNS:%s", name);
	cert_extend(cert->x509, NID_subject_alt_name, names);
	if (issuer == NULL)
		cert_extend(cert->x509, NID_basic_constraints,
			    "critical,CA:TRUE");
	ck_assert_int_ne(X509_sign(cert->x509,
				   issuer != NULL ? issuer->key : cert->key,
				   EVP_sha256()),
			 0);
}

static inline void
cert_done(struct cert *cert)
{
	EVP_PKEY_free(cert->key);
	X509_free(cert->x509);
	memset(cert, 0, sizeof(*cert));
}

/* As PEM files; the chain ends with issuer, unless it is NULL. */
static inline void
cert_write(const struct cert *cert, const struct cert *issuer,
	   const char *chain, const char *key)
{
	FILE *file = fopen(chain, "w");

	ck_assert_ptr_nonnull(file);
	ck_assert_int_eq(PEM_write_X509(file, cert->x509), 1);
	if (issuer != NULL)
		ck_assert_int_eq(PEM_write_X509(file, issuer->x509), 1);
	ck_assert_int_eq(fclose(file), 0);
	if (key == NULL)
		return;
	file = fopen(key, "w");
	ck_assert_ptr_nonnull(file);
	ck_assert_int_eq(PEM_write_PrivateKey(file, cert->key, NULL, NULL, 0,
					      NULL, NULL),
			 1);
	ck_assert_int_eq(fclose(file), 0);
}

/* The data of a TLSA record (RFC 6698, 2.1.4); returns its length. A matching
 * type that nobody knows gives what type 1 gives. */
static inline size_t
cert_tlsa(const struct cert *cert, unsigned selector, unsigned matching,
	  uint8_t *to, size_t size)
{
	unsigned char *der = NULL;
	unsigned digest = 0;
	int len = selector == 0 ? i2d_X509(cert->x509, &der)
				: i2d_PUBKEY(cert->key, &der);

	ck_assert(len > 0 && (size_t)len <= size && size >= EVP_MAX_MD_SIZE);
	if (matching == 0) {
		memcpy(to, der, (size_t)len);
		digest = (unsigned)len;
	} else {
		ck_assert_int_eq(EVP_Digest(der, (size_t)len, to, &digest,
					    matching == 2 ? EVP_sha512()
							  : EVP_sha256(),
					    NULL),
				 1);
	}
	OPENSSL_free(der);
	return digest;
}

#endif
