/* SPDX-License-Identifier: ISC */
#include "lib/net/tls_engine.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "lib/mem.h"
#include "lib/net/stream.h"
#include "lib/net/tls_ctx.h"
#include "lib/net/tls_private.h"

#define ENGINE_HELD_MAX (2 * STREAM_IN_MAX)
#define SUBJECT_MAX	256
#define NAME_MAX_BYTES	255
#define RECORD_MAX	16384 /* RFC 8446, 5.1 */
#define RECORD_EXTRA	96    /* header, nonce, padding and tag, at most */

struct tls_engine {
	SSL *ssl;
	struct tls_ctx *ctx;
	struct buf *out;
	const uint8_t *fed; /* lent by the owner, not yet taken by OpenSSL */
	size_t fed_len;
	struct buf held; /* kept by tls_engine_keep; comes before fed */
	bool is_server;
	bool is_secured;
	bool has_name;
	char *subject;
	char *session; /* owns; what OpenSSL keeps sessions by, or NULL */
	/* server: the client's names, the last one NULL */
	char *names[STREAM_NAMES_MAX + 1];
};

static int
bio_read(BIO *bio, char *to, int size)
{
	struct tls_engine *engine = BIO_get_data(bio);
	size_t len = (size_t)size;

	BIO_clear_retry_flags(bio);
	if (size <= 0)
		return 0;
	if (buf_len(&engine->held) != 0) {
		if (len > buf_len(&engine->held))
			len = buf_len(&engine->held);
		memcpy(to, buf_bytes(&engine->held), len);
		buf_consume(&engine->held, len);
		return (int)len;
	}
	if (engine->fed_len == 0) {
		BIO_set_retry_read(bio);
		return -1;
	}
	if (len > engine->fed_len)
		len = engine->fed_len;
	memcpy(to, engine->fed, len);
	engine->fed += len;
	engine->fed_len -= len;
	return (int)len;
}

static int
bio_write(BIO *bio, const char *bytes, int len)
{
	struct tls_engine *engine = BIO_get_data(bio);

	BIO_clear_retry_flags(bio);
	if (len <= 0)
		return 0;
	if (buf_add(engine->out, bytes, (size_t)len) < 0)
		return -1;
	return len;
}

static long
bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
	(void)bio;
	(void)number;
	(void)pointer;
	return command == BIO_CTRL_FLUSH ? 1 : 0;
}

/* One method for the process; made at the first use, on the loop thread. */
static BIO_METHOD *
engine_method(void)
{
	static BIO_METHOD *method;

	if (method == NULL) {
		method =
			BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK,
				     "ostler");
		if (method == NULL)
			return NULL;
		(void)BIO_meth_set_read(method, bio_read);
		(void)BIO_meth_set_write(method, bio_write);
		(void)BIO_meth_set_ctrl(method, bio_ctrl);
	}
	return method;
}

static bool
is_address(const char *name)
{
	uint8_t bytes[16];

	return inet_pton(AF_INET, name, bytes) == 1 ||
	       inet_pton(AF_INET6, name, bytes) == 1;
}

static bool
set_name(SSL *ssl, const char *name)
{
	/* RFC 6066, 3: an address is not a server name */
	if (is_address(name))
		return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl),
						     name) == 1;
	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	return SSL_set1_host(ssl, name) == 1 &&
	       SSL_set_tlsext_host_name(ssl, name) == 1;
}

static int
engine_set_peer(struct tls_engine *engine, const struct tls_peer *peer,
		struct err *err)
{
	const char *name = peer->name;
	int rc = 0;

	engine->has_name = name != NULL && name[0] != '\0';
	if (peer->tlsa_count != 0 && engine->has_name)
		rc = tls_dane_set(engine->ssl, peer, err);
	else if (engine->has_name && !set_name(engine->ssl, name))
		rc = tls_fail(err, -EINVAL, "TLS: '%.255s' is no server name",
			      name);
	else if (!engine->has_name && engine->ctx->is_verified)
		/* a certificate for anybody must not count as verified */
		rc = err_text(err, -EINVAL,
			      "TLS: no name to verify the certificate by");
	if (rc == 0 && peer->session != NULL) {
		engine->session = mem_strdup(peer->session);
		tls_sessions_use(engine->ctx, engine->ssl, engine->session);
	}
	return rc;
}

int
tls_engine_new(struct tls_ctx *ctx, bool is_server, const struct tls_peer *peer,
	       struct buf *out, struct tls_engine **out_engine, struct err *err)
{
	struct tls_engine *engine = mem_zalloc(sizeof(*engine));
	BIO *bio;
	int rc;

	ERR_clear_error();
	engine->ctx = tls_ctx_ref(ctx);
	engine->out = out;
	engine->is_server = is_server;
	buf_init(&engine->held, ENGINE_HELD_MAX);
	engine->ssl = SSL_new(ctx->ssl);
	bio = engine_method() != NULL ? BIO_new(engine_method()) : NULL;
	if (engine->ssl == NULL || bio == NULL) {
		BIO_free(bio);
		rc = tls_fail(err, -ENOMEM, "TLS");
		goto fail;
	}
	BIO_set_data(bio, engine);
	BIO_set_init(bio, 1);
	SSL_set_bio(engine->ssl, bio, bio);
	if (is_server)
		SSL_set_accept_state(engine->ssl);
	else
		SSL_set_connect_state(engine->ssl);
	if (!is_server) {
		rc = engine_set_peer(engine, peer, err);
		if (rc < 0)
			goto fail;
	}
	*out_engine = engine;
	return 0;

fail:
	tls_engine_free(engine);
	return rc;
}

void
tls_engine_free(struct tls_engine *engine)
{
	if (engine == NULL)
		return;
	SSL_free(engine->ssl);
	/* perhaps for the session's sake, with a server that cannot resume */
	if (engine->session != NULL && !engine->is_secured)
		tls_sessions_forget(engine->ctx, engine->session);
	tls_ctx_unref(engine->ctx);
	buf_done(&engine->held);
	free(engine->subject);
	free(engine->session);
	for (size_t i = 0; engine->names[i] != NULL; i++)
		free(engine->names[i]);
	free(engine);
}

void
tls_engine_feed(struct tls_engine *engine, const uint8_t *bytes, size_t len)
{
	engine->fed = bytes;
	engine->fed_len = len;
}

void
tls_engine_keep(struct tls_engine *engine)
{
	/* never fails: the stream reads no more while something is pending */
	if (engine->fed_len != 0)
		(void)buf_add(&engine->held, engine->fed, engine->fed_len);
	engine->fed = NULL;
	engine->fed_len = 0;
	buf_release(&engine->held);
}

bool
tls_engine_is_pending(const struct tls_engine *engine)
{
	return engine->fed_len != 0 || buf_len(&engine->held) != 0 ||
	       SSL_pending(engine->ssl) > 0;
}

/* The failure in words an operator can act on. */
static int
explain_failure(struct tls_engine *engine, const char *what, struct err *err)
{
	long verify = SSL_get_verify_result(engine->ssl);
	int reason = ERR_GET_REASON(ERR_peek_error());

	if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED && verify != X509_V_OK) {
		ERR_clear_error();
		return err_text(err, -EKEYREJECTED,
				"%s: certificate not accepted: %s", what,
				X509_verify_cert_error_string(verify));
	}
	if (reason == SSL_R_WRONG_VERSION_NUMBER ||
	    reason == SSL_R_HTTP_REQUEST) {
		ERR_clear_error();
		return err_text(err, -EPROTO,
				"%s: the peer does not speak TLS here", what);
	}
	return tls_fail(err, -EPROTO, "%s", what);
}

static char *
subject_of(const SSL *ssl)
{
	X509 *peer = SSL_get0_peer_certificate(ssl);
	char text[SUBJECT_MAX] = "";
	BIO *bio;

	if (peer == NULL)
		return mem_strdup("");
	bio = BIO_new(BIO_s_mem());
	if (bio != NULL && X509_NAME_print_ex(bio, X509_get_subject_name(peer),
					      0, XN_FLAG_RFC2253) >= 0) {
		int len = BIO_read(bio, text, sizeof(text) - 1);

		text[len > 0 ? len : 0] = '\0';
	}
	BIO_free(bio);
	ERR_clear_error();
	return mem_strdup(text);
}

/* A text without control characters, which could mean two things to two
 * readers; NULL: it is none, or too long. */
static char *
plain_text(const ASN1_STRING *string)
{
	unsigned char *utf8 = NULL;
	int len = ASN1_STRING_to_UTF8(&utf8, string);
	char *text = NULL;

	if (len > 0 && len <= NAME_MAX_BYTES) {
		text = mem_dup((const char *)utf8, (size_t)len);
		for (int i = 0; i < len; i++) {
			if (utf8[i] >= ' ' && utf8[i] != 0x7f)
				continue;
			free(text);
			text = NULL;
			break;
		}
	}
	OPENSSL_free(utf8);
	return text;
}

static size_t
add_addresses(struct tls_engine *engine, X509 *peer)
{
	GENERAL_NAMES *all =
		X509_get_ext_d2i(peer, NID_subject_alt_name, NULL, NULL);
	size_t count = 0, seen = 0;

	for (int i = 0; i < sk_GENERAL_NAME_num(all); i++) {
		const GENERAL_NAME *one = sk_GENERAL_NAME_value(all, i);
		char *name;

		if (one->type != GEN_EMAIL)
			continue;
		seen++;
		name = plain_text(one->d.rfc822Name);
		if (name != NULL && count < STREAM_NAMES_MAX)
			engine->names[count++] = name;
		else
			free(name);
	}
	GENERAL_NAMES_free(all);
	return seen;
}

/* Who the client is: its mail addresses, or its common name when it has none
 * (an authority that checks addresses may let people choose the other). */
static void
find_names(struct tls_engine *engine)
{
	X509 *peer = SSL_get0_peer_certificate(engine->ssl);
	const X509_NAME *subject;
	int at = -1, last = -1;

	if (!engine->is_server || peer == NULL)
		return;
	if (add_addresses(engine, peer) == 0) {
		subject = X509_get_subject_name(peer);
		for (;;) {
			at = X509_NAME_get_index_by_NID(subject, NID_commonName,
							at);
			if (at < 0)
				break;
			last = at;
		}
		if (last >= 0)
			engine->names[0] = plain_text(X509_NAME_ENTRY_get_data(
				X509_NAME_get_entry(subject, last)));
	}
	ERR_clear_error();
}

int
tls_engine_handshake(struct tls_engine *engine, struct err *err)
{
	int rc;

	ERR_clear_error();
	rc = SSL_do_handshake(engine->ssl);
	if (rc == 1) {
		engine->is_secured = true;
		engine->subject = subject_of(engine->ssl);
		find_names(engine);
		return 1;
	}
	if (SSL_get_error(engine->ssl, rc) == SSL_ERROR_WANT_READ)
		return 0;
	return explain_failure(engine, "TLS handshake", err);
}

int
tls_engine_read(struct tls_engine *engine, uint8_t *to, size_t size,
		struct err *err)
{
	int got;

	ERR_clear_error();
	got = SSL_read(engine->ssl, to, size > INT_MAX ? INT_MAX : (int)size);
	if (got > 0)
		return got;
	switch (SSL_get_error(engine->ssl, got)) {
	case SSL_ERROR_WANT_READ:
		return 0;
	case SSL_ERROR_ZERO_RETURN:
		return TLS_ENGINE_END;
	default: /* not an enum: everything else is a failure */
		return explain_failure(engine, "TLS read", err);
	}
}

int
tls_engine_write(struct tls_engine *engine, const uint8_t *bytes, size_t len,
		 size_t *out_taken, struct err *err)
{
	size_t taken = 0, put;

	/* all records at once: one allocation instead of several doublings */
	(void)buf_reserve(engine->out,
			  len + (len / RECORD_MAX + 1) * RECORD_EXTRA);
	ERR_clear_error();
	while (taken < len) {
		int rc = SSL_write_ex(engine->ssl, bytes + taken, len - taken,
				      &put);

		if (rc == 1) {
			taken += put;
			continue;
		}
		if (SSL_get_error(engine->ssl, rc) == SSL_ERROR_WANT_READ)
			break;
		return explain_failure(engine, "TLS write", err);
	}
	*out_taken = taken;
	return 0;
}

void
tls_engine_end(struct tls_engine *engine)
{
	if (!engine->is_secured)
		return;
	ERR_clear_error();
	(void)SSL_shutdown(engine->ssl); /* the peer's answer is not awaited */
	ERR_clear_error();
}

void
tls_engine_info(const struct tls_engine *engine, struct stream_tls_info *out)
{
	long verify = SSL_get_verify_result(engine->ssl);
	const X509 *peer = SSL_get0_peer_certificate(engine->ssl);
	bool has_peer = peer != NULL;

	memset(out, 0, sizeof(*out));
	out->version = SSL_get_version(engine->ssl);
	out->cipher = SSL_get_cipher_name(engine->ssl);
	out->bits = SSL_get_cipher_bits(engine->ssl, NULL);
	out->is_resumed = SSL_session_reused(engine->ssl) == 1;
	out->peer_subject = engine->subject;
	out->has_certificate = has_peer;
	out->names = (const char *const *)engine->names;
	/* a resumed session was checked when it began */
	if (has_peer && verify == X509_V_OK && engine->is_server &&
	    X509_cmp_current_time(X509_get0_notAfter(peer)) <= 0)
		verify = X509_V_ERR_CERT_HAS_EXPIRED;
	if (!has_peer)
		out->verify_error = "no certificate";
	else if (verify != X509_V_OK)
		out->verify_error = X509_verify_cert_error_string(verify);
	else if (!engine->is_server && !engine->has_name)
		out->verify_error = "no name to verify the certificate by";
	out->is_verified = out->verify_error == NULL;
	if (engine->is_server)
		out->sni = SSL_get_servername(engine->ssl,
					      TLSEXT_NAMETYPE_host_name);
}

size_t
tls_engine_binding(const struct tls_engine *engine, uint8_t *to, size_t size,
		   const char **out_type)
{
	static const char label[] = "EXPORTER-Channel-Binding"; /* RFC 9266 */
	SSL *ssl = engine->ssl;
	size_t len = 0;

	if (SSL_version(ssl) >= TLS1_3_VERSION) {
		if (size < 32 || SSL_export_keying_material(ssl, to, 32, label,
							    sizeof(label) - 1,
							    to, 0, 1) != 1) {
			ERR_clear_error();
			return 0;
		}
		*out_type = "tls-exporter";
		return 32;
	}
	/* without the extended master secret it binds nothing: RFC 7627, 1 */
	if (SSL_get_extms_support(ssl) != 1)
		return 0;
	/* RFC 5929, 3.1: the first Finished message of the handshake; the
	 * server's comes first in a resumed one */
	if (engine->is_server == (SSL_session_reused(ssl) == 1))
		len = SSL_get_finished(ssl, to, size);
	else
		len = SSL_get_peer_finished(ssl, to, size);
	if (len > size)
		return 0;
	*out_type = "tls-unique";
	return len;
}
