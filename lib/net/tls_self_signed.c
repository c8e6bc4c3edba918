/* SPDX-License-Identifier: ISC */
#include "lib/net/tls_ctx.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "lib/mem.h"
#include "lib/net/tls_private.h"

#define VALID_DAYS	3650
#define COMMON_NAME_MAX 64 /* RFC 5280, A.1 */

/* RFC 5280, 4.1.2.2: positive, at most 20 octets; random, so that a second
 * certificate for the same name is not taken for the first. */
static bool
set_serial(X509 *cert)
{
	BIGNUM *number = BN_new();
	bool is_done =
		number != NULL &&
		BN_rand(number, 127, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) ==
			1 &&
		BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert)) != NULL;

	BN_free(number);
	return is_done;
}

static bool
set_subject(X509 *cert, const char *name)
{
	X509_NAME *subject = X509_get_subject_name(cert);
	const char *shown = strlen(name) <= COMMON_NAME_MAX ? name : "ostler";

	return X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
					  (const unsigned char *)shown, -1, -1,
					  0) == 1 &&
	       X509_set_issuer_name(cert, subject) == 1;
}

static bool
add_extension(X509 *cert, int nid, const char *value)
{
	X509_EXTENSION *extension;
	X509V3_CTX ctx;
	bool is_done;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, cert, cert, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	is_done = extension != NULL && X509_add_ext(cert, extension, -1) == 1;
	X509_EXTENSION_free(extension);
	return is_done;
}

/* The name goes in as bytes, never through OpenSSL's configuration syntax. */
static bool
add_alt_name(X509 *cert, const char *name)
{
	GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
	GENERAL_NAME *alt = GENERAL_NAME_new();
	bool is_done = false;
	uint8_t bytes[16];
	ASN1_STRING *value;
	int type = GEN_IPADD, len = 0;
	const void *from = bytes;

	if (inet_pton(AF_INET, name, bytes) == 1) {
		len = 4;
	} else if (inet_pton(AF_INET6, name, bytes) == 1) {
		len = 16;
	} else {
		type = GEN_DNS;
		from = name;
		len = (int)strlen(name);
	}
	value = ASN1_STRING_type_new(type == GEN_DNS ? V_ASN1_IA5STRING
						     : V_ASN1_OCTET_STRING);
	if (names == NULL || alt == NULL || value == NULL ||
	    ASN1_STRING_set(value, from, len) != 1) {
		ASN1_STRING_free(value);
		goto end;
	}
	GENERAL_NAME_set0_value(alt, type, value);
	if (sk_GENERAL_NAME_push(names, alt) == 0)
		goto end;
	alt = NULL; /* names has it */
	is_done = X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0,
				    X509V3_ADD_DEFAULT) == 1;
end:
	GENERAL_NAME_free(alt);
	GENERAL_NAMES_free(names);
	return is_done;
}

static X509 *
make_certificate(const char *name, EVP_PKEY *key)
{
	X509 *cert = X509_new();

	if (cert != NULL && X509_set_version(cert, X509_VERSION_3) == 1 &&
	    set_serial(cert) &&
	    /* an hour back: other machines' clocks may lag */
	    X509_gmtime_adj(X509_getm_notBefore(cert), -3600) != NULL &&
	    X509_time_adj_ex(X509_getm_notAfter(cert), VALID_DAYS, 0, NULL) !=
		    NULL &&
	    set_subject(cert, name) && X509_set_pubkey(cert, key) == 1 &&
	    add_extension(cert, NID_basic_constraints, "critical,CA:FALSE") &&
	    add_extension(cert, NID_key_usage, "critical,digitalSignature") &&
	    add_extension(cert, NID_ext_key_usage, "serverAuth") &&
	    add_extension(cert, NID_subject_key_identifier, "hash") &&
	    add_alt_name(cert, name) && X509_sign(cert, key, EVP_sha256()) != 0)
		return cert;
	X509_free(cert);
	return NULL;
}

static int
write_all(int fd, const char *bytes, size_t len)
{
	while (len != 0) {
		ssize_t put = write(fd, bytes, len);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return -errno;
		bytes += put;
		len -= (size_t)put;
	}
	return fsync(fd) < 0 ? -errno : 0;
}

/*
 * The file appears whole or not at all, and never in place of another: it is
 * written under a passing name (0600 from the start) and then linked.
 */
static int
write_new(const char *path, BIO *pem, mode_t mode, struct err *err)
{
	char *passing = mem_printf("%s.XXXXXX", path);
	char *bytes = NULL;
	long len = BIO_get_mem_data(pem, &bytes);
	int fd = mkostemp(passing, O_CLOEXEC), rc;

	if (fd < 0) {
		rc = err_set(err, -errno, "'%s'", path);
		free(passing);
		return rc;
	}
	rc = write_all(fd, bytes, (size_t)len);
	if (rc == 0 && fchmod(fd, mode) < 0)
		rc = -errno;
	if (close(fd) < 0 && rc == 0)
		rc = -errno;
	if (rc == 0 && link(passing, path) < 0)
		rc = -errno;
	if (rc < 0)
		(void)err_set(err, rc, "'%s'", path);
	(void)unlink(passing); /* at worst a stray name stays */
	free(passing);
	return rc;
}

static int
check_new(const char *path, struct err *err)
{
	struct stat st;

	if (lstat(path, &st) == 0)
		return err_set(err, -EEXIST, "'%s'", path);
	return 0;
}

int
tls_make_self_signed(const char *name, const char *certificate,
		     const char *key_path, struct err *err)
{
	BIO *cert_pem = BIO_new(BIO_s_mem());
	BIO *key_pem = BIO_new(BIO_s_secmem());
	EVP_PKEY *key = NULL;
	X509 *cert = NULL;
	int rc;

	if (name[0] == '\0' || strlen(name) > 255) {
		rc = err_text(err, -EINVAL, "'%.255s' is no host name", name);
		goto end;
	}
	rc = check_new(certificate, err);
	if (rc == 0)
		rc = check_new(key_path, err);
	if (rc < 0)
		goto end;
	ERR_clear_error();
	key = EVP_EC_gen("P-256");
	if (key != NULL)
		cert = make_certificate(name, key);
	if (cert == NULL || cert_pem == NULL || key_pem == NULL ||
	    PEM_write_bio_X509(cert_pem, cert) != 1 ||
	    PEM_write_bio_PKCS8PrivateKey(key_pem, key, NULL, NULL, 0, NULL,
					  NULL) != 1) {
		rc = tls_fail(err, -EINVAL, "certificate for '%s'", name);
		goto end;
	}
	rc = write_new(key_path, key_pem, 0600, err);
	if (rc < 0)
		goto end;
	rc = write_new(certificate, cert_pem, 0644, err);
	if (rc < 0)
		(void)unlink(key_path); /* ours, made a moment ago */
end:
	EVP_PKEY_free(key);
	X509_free(cert);
	BIO_free(cert_pem);
	BIO_free(key_pem); /* wipes it */
	return rc;
}
