/* SPDX-License-Identifier: ISC */
#include "lib/net/tls_ctx.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>

#include "lib/clock.h"
#include "lib/mem.h"
#include "lib/net/tls_private.h"

#define TLS_FILE_MAX (4L * 1024 * 1024) /* a bundle of all CAs is 0.3 MB */

/*
 * Forward secrecy and AEAD first; CBC with ECDHE stays at the end because
 * mail servers that know nothing better would otherwise send in the clear.
 */
#define TLS_SERVER_CIPHERS                                                     \
	"ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES256:ECDHE+AES128:"               \
	"!aNULL:!eNULL:!PSK"

/* Without verification the alternative is no encryption: take what is there */
#define TLS_OPPORTUNISTIC_CIPHERS "DEFAULT:@SECLEVEL=0"

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

static int
tls_version(const char *name)
{
	static const struct {
		const char *name;
		int version;
	} known[] = {
		{"1.0", TLS1_VERSION},
		{"1.1", TLS1_1_VERSION},
		{"1.2", TLS1_2_VERSION},
		{"1.3", TLS1_3_VERSION},
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (name != NULL && strcmp(name, known[i].name) == 0)
			return known[i].version;
	return -1;
}

/* minimum is required, maximum may be NULL. */
static int
set_versions(SSL_CTX *ssl, const char *minimum, const char *maximum,
	     struct err *err)
{
	int from = tls_version(minimum);
	int to = maximum != NULL ? tls_version(maximum) : 0;

	if (from < 0 || SSL_CTX_set_min_proto_version(ssl, from) != 1)
		return err_text(err, -EINVAL, "'%s' is no TLS version",
				minimum != NULL ? minimum : "");
	if (to < 0 || SSL_CTX_set_max_proto_version(ssl, to) != 1)
		return err_text(err, -EINVAL, "'%s' is no TLS version",
				maximum);
	return 0;
}

static struct tls_ctx *
ctx_new(const SSL_METHOD *method)
{
	struct tls_ctx *ctx = mem_zalloc(sizeof(*ctx));

	atomic_init(&ctx->refs, 1);
	ERR_clear_error();
	ctx->ssl = SSL_CTX_new(method);
	if (ctx->ssl == NULL)
		return ctx;
	/* idle connections give their record buffers back */
	(void)SSL_CTX_set_mode(ctx->ssl,
			       SSL_MODE_RELEASE_BUFFERS |
				       SSL_MODE_ENABLE_PARTIAL_WRITE |
				       SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	(void)SSL_CTX_set_options(ctx->ssl, SSL_OP_NO_RENEGOTIATION |
						    SSL_OP_NO_COMPRESSION);
	return ctx;
}

static int
use_certificate(struct tls_ctx *ctx, const char *path, struct err *err)
{
	X509 *leaf = NULL, *more;
	BIO *bio = NULL;
	struct tm end;
	int rc;

	rc = read_file("certificate", path, &bio, err);
	if (rc < 0)
		return rc;
	leaf = PEM_read_bio_X509_AUX(bio, NULL, no_passphrase, NULL);
	if (leaf == NULL || SSL_CTX_use_certificate(ctx->ssl, leaf) != 1) {
		rc = tls_fail(err, -EINVAL, "certificate '%s'", path);
		goto end;
	}
	for (;;) {
		more = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL);
		if (more == NULL)
			break;
		if (SSL_CTX_add0_chain_cert(ctx->ssl, more) != 1) {
			X509_free(more);
			rc = tls_fail(err, -EINVAL, "certificate chain in '%s'",
				      path);
			goto end;
		}
	}
	if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE) {
		rc = tls_fail(err, -EINVAL, "certificate chain in '%s'", path);
		goto end;
	}
	ERR_clear_error(); /* that was only the end of the file */
	if (ASN1_TIME_to_tm(X509_get0_notAfter(leaf), &end) == 1) {
		long long expires = (long long)timegm(&end);

		if (ctx->expires == 0 || expires < ctx->expires)
			ctx->expires = expires;
	}
end:
	X509_free(leaf);
	BIO_free(bio);
	return rc;
}

static int
use_key(struct tls_ctx *ctx, const char *certificate, const char *path,
	struct err *err)
{
	EVP_PKEY *key = NULL;
	BIO *bio = NULL;
	int rc;

	rc = read_file("key", path, &bio, err);
	if (rc < 0)
		return rc;
	key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
	if (key == NULL) {
		int reason = ERR_GET_REASON(ERR_peek_last_error());

		if (reason == PEM_R_BAD_PASSWORD_READ) {
			ERR_clear_error();
			rc = err_text(err, -EINVAL,
				      "key '%s' needs a passphrase; a daemon "
				      "can only use one without",
				      path);
		} else {
			rc = tls_fail(err, -EINVAL, "key '%s'", path);
		}
		goto end;
	}
	if (X509_check_private_key(SSL_CTX_get0_certificate(ctx->ssl), key) !=
	    1) {
		ERR_clear_error();
		rc = err_text(err, -EINVAL,
			      "key '%s' does not belong to certificate '%s'",
			      path, certificate);
		goto end;
	}
	if (SSL_CTX_use_PrivateKey(ctx->ssl, key) != 1)
		rc = tls_fail(err, -EINVAL, "key '%s'", path);
end:
	EVP_PKEY_free(key);
	BIO_free(bio);
	return rc;
}

/* OpenSSL keeps one certificate for each kind of key and takes the one that
 * the client knows. */
static int
use_second(struct tls_ctx *ctx, const struct tls_server_opts *opts,
	   struct err *err)
{
	X509 *first = SSL_CTX_get0_certificate(ctx->ssl);
	int rc;

	if (opts->second_certificate == NULL)
		return 0;
	(void)X509_up_ref(first); /* lest it goes when its place is taken */
	rc = use_certificate(ctx, opts->second_certificate, err);
	if (rc == 0)
		rc = use_key(ctx, opts->second_certificate, opts->second_key,
			     err);
	/* the same kind: the second would have taken the first one's place */
	if (rc == 0 && EVP_PKEY_get_base_id(X509_get0_pubkey(first)) ==
			       EVP_PKEY_get_base_id(X509_get0_pubkey(
				       SSL_CTX_get0_certificate(ctx->ssl))))
		rc = err_text(err, -EINVAL,
			      "certificate '%s' has the same kind of key as "
			      "'%s': one ECDSA and one RSA are of use",
			      opts->second_certificate, opts->certificate);
	X509_free(first);
	return rc;
}

/* --------------------------------------------------------------- tickets */

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

/*
 * Clients may show a certificate and it is checked, but a bad one is only
 * remembered: mail servers show theirs to everybody, whoever signed it.
 */
static int
accept_any_client(X509_STORE_CTX *store, void *data)
{
	(void)data;
	(void)X509_verify_cert(store); /* SSL_get_verify_result tells */
	return 1;
}

/* Trusts every certificate in the PEM file. */
static int
trust_file(struct tls_ctx *ctx, const char *path, struct err *err)
{
	X509_STORE *store = SSL_CTX_get_cert_store(ctx->ssl);
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
		if (X509_STORE_add_cert(store, ca) == 1)
			count++;
		X509_free(ca);
	}
	BIO_free(bio);
	if (count == 0)
		return tls_fail(err, -EINVAL, "CA '%s'", path);
	ERR_clear_error();
	return 0;
}

/*
 * The system's CAs, read now: OpenSSL's own default reads a folder file by
 * file during handshakes, on the loop thread.
 */
static void
trust_system(struct tls_ctx *ctx)
{
	const char *paths[] = {
		getenv(X509_get_default_cert_file_env()),
		"/etc/ssl/certs/ca-certificates.crt",
		"/etc/pki/tls/certs/ca-bundle.crt",
		"/etc/ssl/cert.pem",
	};

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		if (paths[i] != NULL && trust_file(ctx, paths[i], NULL) == 0)
			return;
	(void)SSL_CTX_set_default_verify_paths(ctx->ssl);
	ERR_clear_error(); /* no CA at all: nobody is verified */
}

int
tls_ctx_server(const struct tls_server_opts *opts, struct tls_ctx **out,
	       struct err *err)
{
	static const unsigned char id[] = "ostler";
	struct tls_ctx *ctx = ctx_new(TLS_server_method());
	int rc;

	if (ctx->ssl == NULL ||
	    SSL_CTX_set_cipher_list(ctx->ssl, TLS_SERVER_CIPHERS) != 1 ||
	    SSL_CTX_set_session_id_context(ctx->ssl, id, sizeof(id) - 1) != 1) {
		rc = tls_fail(err, -EINVAL, "OpenSSL");
		goto fail;
	}
	(void)SSL_CTX_set_options(ctx->ssl, SSL_OP_CIPHER_SERVER_PREFERENCE |
						    SSL_OP_PRIORITIZE_CHACHA);
	/* tickets keep sessions at the clients, nothing is kept here */
	(void)SSL_CTX_set_session_cache_mode(ctx->ssl, SSL_SESS_CACHE_OFF);
	(void)SSL_CTX_set_num_tickets(ctx->ssl, 1);
	(void)SSL_CTX_set_timeout(ctx->ssl, TLS_TICKET_PERIOD_MS / 1000);
	if (SSL_CTX_set_ex_data(ctx->ssl, TLS_CTX_SELF, ctx) != 1 ||
	    SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx->ssl, on_ticket) != 1) {
		rc = tls_fail(err, -EINVAL, "OpenSSL");
		goto fail;
	}
	rc = set_versions(ctx->ssl, opts->minimum, NULL, err);
	if (rc < 0)
		goto fail;
	rc = use_certificate(ctx, opts->certificate, err);
	if (rc < 0)
		goto fail;
	rc = use_key(ctx, opts->certificate, opts->key, err);
	if (rc < 0)
		goto fail;
	rc = use_second(ctx, opts, err);
	if (rc < 0)
		goto fail;
	if (opts->client_ca != NULL) {
		rc = trust_file(ctx, opts->client_ca, err);
		if (rc < 0)
			goto fail;
		SSL_CTX_set_verify(ctx->ssl,
				   SSL_VERIFY_PEER | SSL_VERIFY_CLIENT_ONCE,
				   NULL);
		SSL_CTX_set_cert_verify_callback(ctx->ssl, accept_any_client,
						 NULL);
	}
	*out = ctx;
	return 0;

fail:
	tls_ctx_unref(ctx);
	return rc;
}

int
tls_ctx_client(const struct tls_client_opts *opts, struct tls_ctx **out,
	       struct err *err)
{
	struct tls_ctx *ctx = ctx_new(TLS_client_method());
	int rc;

	if (ctx->ssl == NULL ||
	    (!opts->is_verified &&
	     SSL_CTX_set_cipher_list(ctx->ssl, TLS_OPPORTUNISTIC_CIPHERS) !=
		     1)) {
		rc = tls_fail(err, -EINVAL, "OpenSSL");
		goto fail;
	}
	rc = set_versions(ctx->ssl, opts->minimum, opts->maximum, err);
	if (rc < 0)
		goto fail;
	if (opts->same_ca != NULL) {
		SSL_CTX_set1_cert_store(ctx->ssl, SSL_CTX_get_cert_store(
							  opts->same_ca->ssl));
	} else if (opts->ca != NULL) {
		rc = trust_file(ctx, opts->ca, err);
		if (rc < 0)
			goto fail;
	} else {
		trust_system(ctx);
	}
	ctx->is_verified = opts->is_verified;
	/* with VERIFY_NONE the chain is checked too, and the result kept */
	SSL_CTX_set_verify(ctx->ssl,
			   opts->is_verified ? SSL_VERIFY_PEER
					     : SSL_VERIFY_NONE,
			   NULL);
	if (SSL_CTX_dane_enable(ctx->ssl) <= 0 || !tls_sessions_init(ctx)) {
		rc = tls_fail(err, -EINVAL, "OpenSSL");
		goto fail;
	}
	*out = ctx;
	return 0;

fail:
	tls_ctx_unref(ctx);
	return rc;
}

struct tls_ctx *
tls_ctx_ref(struct tls_ctx *ctx)
{
	(void)atomic_fetch_add(&ctx->refs, 1); /* the old count is of no use */
	return ctx;
}

void
tls_ctx_unref(struct tls_ctx *ctx)
{
	if (ctx == NULL || atomic_fetch_sub(&ctx->refs, 1) != 1)
		return;
	tls_sessions_done(ctx);
	SSL_CTX_free(ctx->ssl);
	mem_wipe(ctx->tickets, sizeof(ctx->tickets));
	free(ctx);
}

long long
tls_ctx_expires(const struct tls_ctx *ctx)
{
	return ctx->expires;
}

const char *
tls_library_version(void)
{
	return OpenSSL_version(OPENSSL_VERSION_STRING);
}
