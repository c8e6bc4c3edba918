/* SPDX-License-Identifier: ISC */
#include "lib/net/tls_ctx.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>

#include "lib/mem.h"
#include "lib/net/tls_private.h"

/*
 * Forward secrecy and AEAD first; CBC with ECDHE stays at the end because
 * mail servers that know nothing better would otherwise send in the clear.
 */
#define TLS_SERVER_CIPHERS                                                     \
	"ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AESCCM:ECDHE+AES256:ECDHE+AES128:"  \
	"!aNULL:!eNULL:!PSK:!AESCCM8"

/* Without verification the alternative is no encryption: take what is there */
#define TLS_OPPORTUNISTIC_CIPHERS "DEFAULT:@SECLEVEL=0"

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

/* ----------------------------------------------------------- certificates */

/* Both pairs of a set of files; second may stay empty. */
static int
read_pairs(struct tls_ctx *ctx, const struct tls_files *files,
	   struct tls_site *out, struct err *err)
{
	struct tls_pair *pairs[] = {&out->first, &out->second};
	int rc;

	rc = tls_pair_read(files->certificate, files->key, &out->first, err);
	if (rc == 0 && files->second_certificate != NULL)
		rc = tls_pair_read(files->second_certificate, files->second_key,
				   &out->second, err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < 2 && pairs[i]->leaf != NULL; i++) {
		long long expires = tls_pair_expires(pairs[i]);

		if (ctx->expires == 0 || expires < ctx->expires)
			ctx->expires = expires;
		ctx->is_self_signed |= tls_pair_is_self_signed(pairs[i]);
	}
	/* OpenSSL keeps one certificate for each kind of key and takes the
	 * one that the client knows: the second would take the first's place */
	if (out->second.leaf != NULL &&
	    EVP_PKEY_get_base_id(out->first.key) ==
		    EVP_PKEY_get_base_id(out->second.key))
		return err_text(err, -EINVAL,
				"certificate '%s' has the same kind of key as "
				"'%s': one ECDSA and one RSA are of use",
				files->second_certificate, files->certificate);
	return 0;
}

static void
site_done(struct tls_site *site)
{
	tls_pair_done(&site->first);
	tls_pair_done(&site->second);
}

static int
use_pair(SSL_CTX *ssl, const struct tls_pair *pair, const char *path,
	 struct err *err)
{
	if (pair->leaf == NULL ||
	    SSL_CTX_use_cert_and_key(ssl, pair->leaf, pair->key, pair->chain,
				     1) == 1)
		return 0;
	return tls_fail(err, -EINVAL, "certificate '%s'", path);
}

static int
use_files(struct tls_ctx *ctx, const struct tls_files *files, struct err *err)
{
	struct tls_site site = {0};
	int rc;

	rc = read_pairs(ctx, files, &site, err);
	if (rc == 0)
		rc = use_pair(ctx->ssl, &site.first, files->certificate, err);
	if (rc == 0)
		rc = use_pair(ctx->ssl, &site.second, files->second_certificate,
			      err);
	site_done(&site);
	return rc;
}

/* The site of a name: itself, else its nearest parent; NULL: none. */
static const struct tls_site *
find_site(const struct tls_ctx *ctx, const char *name)
{
	while (name != NULL) {
		for (size_t i = 0; i < ctx->name_count; i++)
			if (strcasecmp(ctx->names[i].name, name) == 0)
				return &ctx->sites[ctx->names[i].site];
		name = strchr(name + 1, '.');
		if (name != NULL && name[1] == '\0')
			break;
	}
	return NULL;
}

static bool
use_for_connection(SSL *ssl, const struct tls_pair *pair)
{
	return pair->leaf == NULL ||
	       SSL_use_cert_and_key(ssl, pair->leaf, pair->key, pair->chain,
				    1) == 1;
}

/* SSL_CTX_set_cert_cb(3): the client's hello was read; 1 goes on, 0 fails. */
static int
on_hello(SSL *ssl, void *arg)
{
	const struct tls_ctx *ctx = arg;
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	const struct tls_site *site =
		name != NULL && name[0] != '\0' && name[0] != '.'
			? find_site(ctx, name)
			: NULL;

	if (site == NULL)
		return 1;
	/* or a client that knows one kind would see another site's */
	SSL_certs_clear(ssl);
	return use_for_connection(ssl, &site->first) &&
	       use_for_connection(ssl, &site->second);
}

static void
add_names(struct tls_ctx *ctx, const char *const *names, size_t site)
{
	for (size_t i = 0; names[i] != NULL; i++) {
		ctx->names = mem_append(ctx->names, ctx->name_count,
					sizeof(ctx->names[0]));
		ctx->names[ctx->name_count++] =
			(struct tls_site_name){.name = mem_strdup(names[i]),
					       .site = site};
	}
}

static int
use_sites(struct tls_ctx *ctx, const struct tls_server_opts *opts,
	  struct err *err)
{
	int rc;

	if (opts->site_count == 0)
		return 0;
	ctx->sites = mem_zalloc(opts->site_count * sizeof(ctx->sites[0]));
	for (size_t i = 0; i < opts->site_count; i++) {
		/* counted first, so that a half-read one is freed */
		ctx->site_count = i + 1;
		rc = read_pairs(ctx, &opts->sites[i].files, &ctx->sites[i],
				err);
		if (rc < 0)
			return rc;
		add_names(ctx, opts->sites[i].names, i);
	}
	SSL_CTX_set_cert_cb(ctx->ssl, on_hello, ctx);
	return 0;
}

/* ---------------------------------------------------------------- clients */

/*
 * Clients may show a certificate and it is checked, but a bad one is only
 * remembered: many programs show what they have to everybody.
 */
static int
accept_any_client(X509_STORE_CTX *store, void *data)
{
	(void)data;
	/* SSL_get_verify_result tells; it must not say "good" by omission */
	if (X509_verify_cert(store) != 1 &&
	    X509_STORE_CTX_get_error(store) == X509_V_OK)
		X509_STORE_CTX_set_error(store, X509_V_ERR_UNSPECIFIED);
	return 1;
}

static int
ask_clients(struct tls_ctx *ctx, const struct tls_server_opts *opts,
	    struct err *err)
{
	X509_STORE *store = SSL_CTX_get_cert_store(ctx->ssl);
	STACK_OF(X509_NAME) * names;
	int rc;

	if (opts->client_ca == NULL)
		return 0;
	names = sk_X509_NAME_new_null();
	if (names == NULL)
		return tls_fail(err, -ENOMEM, "OpenSSL");
	rc = tls_trust_file(store, opts->client_ca, names, err);
	/* which certificates are of use here: RFC 8446, 4.2.4 (takes names) */
	SSL_CTX_set_client_CA_list(ctx->ssl, names);
	if (rc == 0 && opts->client_crl != NULL)
		rc = tls_revoke_file(store, opts->client_crl, err);
	SSL_CTX_set_verify(ctx->ssl, SSL_VERIFY_PEER | SSL_VERIFY_CLIENT_ONCE,
			   NULL);
	SSL_CTX_set_cert_verify_callback(ctx->ssl, accept_any_client, NULL);
	return rc;
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
	rc = tls_ticket_install(ctx, err);
	if (rc == 0)
		rc = set_versions(ctx->ssl, opts->minimum, NULL, err);
	if (rc == 0)
		rc = use_files(ctx, &opts->files, err);
	if (rc == 0)
		rc = use_sites(ctx, opts, err);
	if (rc == 0)
		rc = ask_clients(ctx, opts, err);
	if (rc < 0)
		goto fail;
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
		rc = tls_trust_file(SSL_CTX_get_cert_store(ctx->ssl), opts->ca,
				    NULL, err);
		if (rc < 0)
			goto fail;
	} else {
		tls_trust_system(ctx->ssl);
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
	for (size_t i = 0; i < ctx->site_count; i++)
		site_done(&ctx->sites[i]);
	free(ctx->sites);
	for (size_t i = 0; i < ctx->name_count; i++)
		free(ctx->names[i].name);
	free(ctx->names);
	mem_wipe(ctx->tickets, sizeof(ctx->tickets));
	free(ctx);
}

long long
tls_ctx_expires(const struct tls_ctx *ctx)
{
	return ctx->expires;
}

bool
tls_ctx_is_self_signed(const struct tls_ctx *ctx)
{
	return ctx->is_self_signed;
}

static void *
on_alloc(size_t size, const char *file, int line)
{
	(void)file;
	(void)line;
	return size != 0 ? mem_alloc(size) : NULL; /* as its own would */
}

static void *
on_realloc(void *old, size_t size, const char *file, int line)
{
	if (old == NULL)
		return on_alloc(size, file, line);
	return mem_library_realloc(old, size);
}

static void
on_free(void *old, const char *file, int line)
{
	(void)file;
	(void)line;
	free(old);
}

void
tls_library_prepare(void)
{
	/* too late: then it goes on as it does by itself */
	(void)CRYPTO_set_mem_functions(on_alloc, on_realloc, on_free);
}

const char *
tls_library_version(void)
{
	return OpenSSL_version(OPENSSL_VERSION_STRING);
}
