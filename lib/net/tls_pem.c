/* SPDX-License-Identifier: ISC */
#include "lib/net/tls_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>

#include "lib/mem.h"

#define TLS_FILE_MAX (4L * 1024 * 1024) /* a bundle of all CAs is 0.3 MB */

int
tls_fail(struct err *err, int code, const char *format, ...)
{
	char text[256], reasons[256] = "";
	unsigned long entry, last = 0;
	size_t len = 0;
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	for (entry = ERR_get_error(); entry != 0; entry = ERR_get_error()) {
		const char *reason = ERR_SYSTEM_ERROR(entry)
					     ? strerror(ERR_GET_REASON(entry))
					     : ERR_reason_error_string(entry);
		int got;

		/* the same reason is often queued at several levels */
		if (reason == NULL ||
		    ERR_GET_REASON(entry) == ERR_GET_REASON(last))
			continue;
		last = entry;
		got = snprintf(reasons + len, sizeof(reasons) - len, ": %s",
			       reason);
		if (got > 0 && (size_t)got < sizeof(reasons) - len)
			len += (size_t)got;
	}
	return err_text(err, code, "%s%s", text, reasons);
}

/* No prompt on a terminal that a daemon does not have. */
static int
no_passphrase(char *to, int size, int is_writing, void *data)
{
	(void)to;
	(void)size;
	(void)is_writing;
	(void)data;
	return -1;
}

/* Reads the file whole; takes nothing OpenSSL might say less clearly. */
static int
read_file(const char *what, const char *path, BIO **out, struct err *err)
{
	int fd, rc = 0;
	char *bytes = NULL;
	struct stat st;
	size_t have = 0;
	BIO *bio = NULL;

	if (path == NULL || path[0] == '\0')
		return err_text(err, -EINVAL, "no %s file is given", what);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return err_set(err, -errno, "%s '%s'", what, path);
	if (fstat(fd, &st) < 0) {
		rc = err_set(err, -errno, "%s '%s'", what, path);
		goto end;
	}
	if (!S_ISREG(st.st_mode) || st.st_size > TLS_FILE_MAX) {
		rc = err_text(err, -EINVAL, "%s '%s' is no PEM file", what,
			      path);
		goto end;
	}
	bytes = mem_alloc((size_t)st.st_size + 1);
	while (have < (size_t)st.st_size) {
		ssize_t got = read(fd, bytes + have, (size_t)st.st_size - have);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			rc = err_set(err, -errno, "%s '%s'", what, path);
			goto end;
		}
		if (got == 0)
			break;
		have += (size_t)got;
	}
	bio = BIO_new(BIO_s_secmem());
	if (bio == NULL ||
	    (have != 0 && BIO_write(bio, bytes, (int)have) != (int)have)) {
		rc = tls_fail(err, -ENOMEM, "%s '%s'", what, path);
		BIO_free(bio);
		goto end;
	}
	*out = bio;
end:
	if (bytes != NULL)
		mem_wipe(bytes, have); /* may be a key */
	free(bytes);
	(void)close(fd); /* was only read */
	return rc;
}

/* Not an error: the file holds no more of what was asked for. */
static bool
is_end_of_file(void)
{
	return ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
}

/* ------------------------------------------------------------------ pairs */

static int
read_chain(BIO *bio, const char *path, struct tls_pair *pair, struct err *err)
{
	X509 *more;

	pair->chain = sk_X509_new_null();
	for (;;) {
		more = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL);
		if (more == NULL)
			break;
		if (pair->chain == NULL ||
		    sk_X509_push(pair->chain, more) <= 0) {
			X509_free(more);
			return tls_fail(err, -ENOMEM,
					"certificate chain in '%s'", path);
		}
	}
	if (!is_end_of_file())
		return tls_fail(err, -EINVAL, "certificate chain in '%s'",
				path);
	ERR_clear_error();
	return 0;
}

static int
read_certificate(const char *path, struct tls_pair *pair, struct err *err)
{
	BIO *bio = NULL;
	int rc;

	rc = read_file("certificate", path, &bio, err);
	if (rc < 0)
		return rc;
	pair->leaf = PEM_read_bio_X509_AUX(bio, NULL, no_passphrase, NULL);
	if (pair->leaf == NULL)
		rc = tls_fail(err, -EINVAL, "certificate '%s'", path);
	else
		rc = read_chain(bio, path, pair, err);
	BIO_free(bio);
	return rc;
}

static int
read_key(const char *certificate, const char *path, struct tls_pair *pair,
	 struct err *err)
{
	BIO *bio = NULL;
	int rc;

	rc = read_file("key", path, &bio, err);
	if (rc < 0)
		return rc;
	pair->key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
	BIO_free(bio);
	if (pair->key == NULL &&
	    ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_BAD_PASSWORD_READ) {
		ERR_clear_error();
		return err_text(err, -EINVAL,
				"key '%s' needs a passphrase; a daemon can "
				"only use one without",
				path);
	}
	if (pair->key == NULL)
		return tls_fail(err, -EINVAL, "key '%s'", path);
	if (X509_check_private_key(pair->leaf, pair->key) != 1) {
		ERR_clear_error();
		return err_text(err, -EINVAL,
				"key '%s' does not belong to certificate '%s'",
				path, certificate);
	}
	return 0;
}

int
tls_pair_read(const char *certificate, const char *key, struct tls_pair *out,
	      struct err *err)
{
	struct tls_pair pair = {NULL, NULL, NULL};
	int rc;

	rc = read_certificate(certificate, &pair, err);
	if (rc == 0)
		rc = read_key(certificate, key, &pair, err);
	if (rc < 0)
		tls_pair_done(&pair);
	else
		*out = pair;
	return rc;
}

void
tls_pair_done(struct tls_pair *pair)
{
	X509_free(pair->leaf);
	sk_X509_pop_free(pair->chain, X509_free);
	EVP_PKEY_free(pair->key);
	memset(pair, 0, sizeof(*pair));
}

long long
tls_pair_expires(const struct tls_pair *pair)
{
	struct tm end;

	if (ASN1_TIME_to_tm(X509_get0_notAfter(pair->leaf), &end) != 1)
		return 0;
	return (long long)timegm(&end);
}

bool
tls_pair_is_self_signed(const struct tls_pair *pair)
{
	return X509_NAME_cmp(X509_get_subject_name(pair->leaf),
			     X509_get_issuer_name(pair->leaf)) == 0;
}

/* ------------------------------------------------------------------ trust */

static bool
add_name(STACK_OF(X509_NAME) * names, const X509 *ca)
{
	X509_NAME *name = X509_NAME_dup(X509_get_subject_name(ca));

	if (name != NULL && sk_X509_NAME_push(names, name) > 0)
		return true;
	X509_NAME_free(name);
	return false;
}

int
tls_trust_file(X509_STORE *store, const char *path, STACK_OF(X509_NAME) * names,
	       struct err *err)
{
	BIO *bio = NULL;
	size_t count = 0;
	X509 *ca;
	int rc;

	rc = read_file("CA", path, &bio, err);
	if (rc < 0)
		return rc;
	for (;;) {
		ca = PEM_read_bio_X509_AUX(bio, NULL, no_passphrase, NULL);
		if (ca == NULL)
			break;
		if (X509_STORE_add_cert(store, ca) == 1 &&
		    (names == NULL || add_name(names, ca)))
			count++;
		X509_free(ca);
	}
	BIO_free(bio);
	if (count == 0)
		return tls_fail(err, -EINVAL, "CA '%s'", path);
	ERR_clear_error();
	return 0;
}

void
tls_trust_system(SSL_CTX *ssl)
{
	const char *paths[] = {
		getenv(X509_get_default_cert_file_env()),
		"/etc/ssl/certs/ca-certificates.crt",
		"/etc/pki/tls/certs/ca-bundle.crt",
		"/etc/ssl/cert.pem",
	};
	X509_STORE *store = SSL_CTX_get_cert_store(ssl);

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		if (paths[i] != NULL &&
		    tls_trust_file(store, paths[i], NULL, NULL) == 0)
			return;
	(void)SSL_CTX_set_default_verify_paths(ssl);
	ERR_clear_error(); /* no CA at all: nobody is verified */
}

int
tls_revoke_file(X509_STORE *store, const char *path, struct err *err)
{
	BIO *bio = NULL;
	size_t count = 0;
	X509_CRL *list;
	int rc;

	rc = read_file("revocation list", path, &bio, err);
	if (rc < 0)
		return rc;
	for (;;) {
		list = PEM_read_bio_X509_CRL(bio, NULL, no_passphrase, NULL);
		if (list == NULL)
			break;
		if (X509_STORE_add_crl(store, list) == 1)
			count++;
		X509_CRL_free(list);
	}
	BIO_free(bio);
	/* half a list would let in whom the other half names */
	if (count == 0 || !is_end_of_file())
		return tls_fail(err, -EINVAL, "revocation list '%s'", path);
	ERR_clear_error();
	(void)X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK |
						  X509_V_FLAG_CRL_CHECK_ALL);
	return 0;
}
