/* SPDX-License-Identifier: ISC */
#include "tests/unit/stream_ends.h"

#include <ctype.h>
#include <stdlib.h>
#include <time.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "lib/mem.h"
#include "tests/unit/certs.h"

#define HOST "mx.example.org"

static char dir[] = "/tmp/ostler-dane-XXXXXX";
static struct cert authority, leaf, expired, stranger;
static struct tls_ctx *server, *verified, *opportunistic;

static struct tls_ctx *
server_of(const struct cert *cert)
{
	struct tls_server_opts opts = {.minimum = "1.2"};
	char chain[80], key[80];
	struct err err = ERR_INIT;
	struct tls_ctx *ctx;

	(void)snprintf(chain, sizeof(chain), "%s/chain", dir);
	(void)snprintf(key, sizeof(key), "%s/key", dir);
	cert_write(cert, &authority, chain, key);
	opts.files.certificate = chain;
	opts.files.key = key;
	ck_assert_msg(tls_ctx_server(&opts, &ctx, &err) == 0, "%s", err.text);
	ck_assert_int_eq(unlink(chain), 0);
	ck_assert_int_eq(unlink(key), 0);
	return ctx;
}

static void
world_make(const char *maximum)
{
	/* no CA of this context signed what the tests show */
	struct tls_client_opts opts = {.is_verified = true,
				       .minimum = "1.2",
				       .maximum = maximum};
	struct err err = ERR_INIT;

	memcpy(dir + strlen(dir) - 6, "XXXXXX", 6);
	ck_assert_ptr_nonnull(mkdtemp(dir));
	cert_make(&authority, NULL, "lab", 1);
	cert_make(&leaf, &authority, HOST, 1);
	cert_make(&expired, &authority, HOST, -1);
	cert_make(&stranger, NULL, HOST, 1);
	ck_assert_int_eq(tls_ctx_client(&opts, &verified, &err), 0);
	opts.is_verified = false;
	ck_assert_int_eq(tls_ctx_client(&opts, &opportunistic, &err), 0);
	ends_pair();
}

static void
world_done(void)
{
	ends_done();
	tls_ctx_unref(server);
	tls_ctx_unref(verified);
	tls_ctx_unref(opportunistic);
	server = NULL;
	cert_done(&authority);
	cert_done(&leaf);
	cert_done(&expired);
	cert_done(&stranger);
	ck_assert_int_eq(rmdir(dir), 0);
}

/* "3 1 1 leaf": the record that fits this certificate; "!" before the name
 * changes a bit of its data. */
static struct tls_tlsa
record(const char *text)
{
	static uint8_t data[4][4096];
	static size_t next;
	struct tls_tlsa tlsa = {(uint8_t)(text[0] - '0'),
				(uint8_t)(text[2] - '0'),
				(uint8_t)(text[4] - '0'), data[next++ % 4], 0};
	bool is_wrong = text[6] == '!';
	const char *of = text + 6 + is_wrong;
	const struct cert *cert = strncmp(of, "ca", 2) == 0	    ? &authority
				  : strncmp(of, "expired", 7) == 0  ? &expired
				  : strncmp(of, "stranger", 8) == 0 ? &stranger
								    : &leaf;
	uint8_t *at = (uint8_t *)(uintptr_t)tlsa.data;

	tlsa.len = cert_tlsa(cert, tlsa.selector, tlsa.matching, at, 4096);
	at[tlsa.len / 2] ^= is_wrong;
	return tlsa;
}

static const struct {
	const char *records[3];
	const struct cert *shown;
	const char *name, *alias;
	const char *why; /* NULL: secured; else part of the reason */
} cases[] = {
	{{"3 1 1 leaf"}, &leaf, HOST, NULL, NULL},
	{{"3 0 1 leaf"}, &leaf, HOST, NULL, NULL},
	{{"3 1 2 leaf"}, &leaf, HOST, NULL, NULL},
	{{"3 0 0 leaf"}, &leaf, HOST, NULL, NULL},
	{{"3 1 0 leaf"}, &leaf, HOST, NULL, NULL},
	{{"3 1 1 !leaf"}, &leaf, HOST, NULL, "DANE"},
	{{"3 1 1 stranger"}, &leaf, HOST, NULL, "DANE"},
	/* one that fits is enough, as while a key is changed */
	{{"3 1 1 stranger", "3 1 1 leaf"}, &leaf, HOST, NULL, NULL},
	/* usage 3 looks at the key alone: no date, no name */
	{{"3 1 1 expired"}, &expired, HOST, NULL, NULL},
	{{"3 1 1 leaf"}, &leaf, "other.example.org", NULL, NULL},
	{{"3 1 1 stranger"}, &stranger, HOST, NULL, NULL},
	/* usage 2 looks at all of it */
	{{"2 0 1 ca"}, &leaf, HOST, NULL, NULL},
	{{"2 1 1 ca"}, &leaf, HOST, NULL, NULL},
	{{"2 1 2 ca"}, &leaf, HOST, NULL, NULL},
	{{"2 0 0 ca"}, &leaf, HOST, NULL, NULL},
	{{"2 0 1 ca"}, &expired, HOST, NULL, "expired"},
	{{"2 0 1 ca"}, &leaf, "other.example.org", NULL, "mismatch"},
	{{"2 0 1 ca"}, &leaf, "other.example.org", HOST, NULL},
	{{"2 0 1 ca"}, &stranger, HOST, NULL, "DANE"},
	{{"2 0 1 !ca"}, &leaf, HOST, NULL, "DANE"},
	/* digest agility: the strongest digest is the one that counts */
	{{"3 1 2 stranger", "3 1 1 leaf"}, &leaf, HOST, NULL, "DANE"},
	{{"3 1 2 leaf", "3 1 1 stranger"}, &leaf, HOST, NULL, NULL},
	/* unusable ones are passed over; the others decide */
	{{"1 1 1 leaf", "3 1 1 leaf"}, &leaf, HOST, NULL, NULL},
	{{"1 1 1 leaf", "3 1 1 stranger"}, &leaf, HOST, NULL, "DANE"},
	{{"0 0 1 ca", "3 1 9 leaf"}, &leaf, HOST, NULL, "usable"},
};

/* Half of them with a context that verifies: it makes no difference. */
START_TEST(tlsa_records_decide_as_rfc_7672_says)
{
	struct tls_tlsa records[3];
	const char *const aliases[] = {cases[_i].alias, NULL};
	struct tls_peer peer = {.name = cases[_i].name,
				.tlsa = records,
				.aliases = aliases};
	struct stream_tls_info info;
	bool is_good = cases[_i].why == NULL;

	world_make(_i % 4 < 2 ? NULL : "1.2");
	server = server_of(cases[_i].shown);
	while (peer.tlsa_count < 3 &&
	       cases[_i].records[peer.tlsa_count] != NULL) {
		records[peer.tlsa_count] =
			record(cases[_i].records[peer.tlsa_count]);
		peer.tlsa_count++;
	}
	left.reaction = right.reaction = END_CLOSES;
	left.at = right.at = STREAM_FAILED;
	stream_start_tls(right.stream, server, STREAM_SERVER, NULL);
	stream_start_tls_peer(left.stream, _i % 2 ? verified : opportunistic,
			      &peer);
	ends_run_until(left.seen[STREAM_FAILED] + left.seen[STREAM_SECURED] !=
		       0);
	ck_assert_uint_eq(left.seen[STREAM_SECURED], is_good);
	if (is_good) {
		ends_run_until(right.seen[STREAM_SECURED] == 1);
		ck_assert(stream_tls_info(left.stream, &info));
		ck_assert(info.is_verified);
		ck_assert(stream_tls_info(right.stream, &info));
		ck_assert_str_eq(info.sni, cases[_i].name);
	} else {
		ck_assert_msg(strstr(left.error.text, cases[_i].why) != NULL,
			      "%s", left.error.text);
		ck_assert_int_eq(left.error.code,
				 strcmp(cases[_i].why, "usable") == 0
					 ? -EINVAL
					 : -EKEYREJECTED);
	}
	world_done();
}
END_TEST

START_TEST(what_openssl_could_not_use_is_known_before)
{
	static const uint8_t zeros[64];
	static const struct {
		uint8_t usage, selector, matching;
		size_t len;
		bool is_usable;
	} rows[] = {
		{3, 1, 1, 32, true},  {3, 1, 1, 31, false},
		{3, 1, 1, 0, false},  {3, 1, 2, 64, true},
		{3, 1, 2, 32, false}, {2, 0, 1, 32, true},
		{0, 0, 1, 32, false}, {1, 1, 1, 32, false},
		{4, 0, 1, 32, false}, {3, 2, 1, 32, false},
		{3, 0, 3, 32, false}, {3, 0, 0, 64, false},
		{3, 1, 0, 64, false}, {3, 1, 0, 0, false},
	};

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct tls_tlsa tlsa = {rows[i].usage, rows[i].selector,
					rows[i].matching, zeros, rows[i].len};

		ck_assert_msg(tls_tlsa_is_usable(&tlsa) == rows[i].is_usable,
			      "row %zu", i);
	}
}
END_TEST

/* ------------------------------------------------------------ resumption */

/* One connection; says whether the server saw a resumed session. */
static bool
connect_once(struct tls_ctx *client, const struct tls_peer *peer)
{
	struct stream_tls_info here, there;

	ends_done();
	ends_pair();
	right.is_echo = true;
	stream_start_tls(right.stream, server, STREAM_SERVER, NULL);
	stream_start_tls_peer(left.stream, client, peer);
	ends_run_until(left.seen[STREAM_SECURED] == 1 &&
		       right.seen[STREAM_SECURED] == 1);
	/* a ticket of TLS 1.3 comes with the first data */
	(void)stream_write(left.stream, "x", 1);
	ends_run_until(buf_len(&left.got) == 1);
	ck_assert(stream_tls_info(left.stream, &here));
	ck_assert(stream_tls_info(right.stream, &there));
	ck_assert(here.is_resumed == there.is_resumed);
	if (peer->tlsa_count != 0)
		ck_assert(here.is_verified);
	return there.is_resumed;
}

/* In TLS 1.3 and 1.2. */
START_TEST(sessions_are_resumed_among_equal_keys_alone)
{
	struct tls_tlsa records[2];
	struct tls_peer plain = {.name = HOST, .session = "a"};
	struct tls_peer other = {.name = HOST, .session = "b"};
	struct tls_peer never = {.name = HOST};
	struct tls_peer dane = {.name = HOST,
				.tlsa = records,
				.tlsa_count = 1,
				.session = "a dane"};

	world_make(_i == 0 ? NULL : "1.2");
	server = server_of(&leaf);
	records[0] = record("3 1 1 leaf");
	ck_assert(!connect_once(opportunistic, &plain));
	ck_assert(connect_once(opportunistic, &plain));
	ck_assert(connect_once(opportunistic, &plain));
	ck_assert(!connect_once(opportunistic, &other));
	ck_assert(!connect_once(opportunistic, &never));
	ck_assert(!connect_once(opportunistic, &never));
	/* what was not verified is never taken where it must be */
	ck_assert(!connect_once(opportunistic, &dane));
	ck_assert(connect_once(opportunistic, &dane));
	/* nor from another context under the same key */
	ck_assert(!connect_once(verified, &dane));
	world_done();
}
END_TEST

START_TEST(a_session_that_the_server_forgot_costs_a_whole_handshake)
{
	struct tls_peer peer = {.name = HOST, .session = "a"};

	world_make(NULL);
	server = server_of(&leaf);
	ck_assert(!connect_once(opportunistic, &peer));
	tls_ctx_unref(server);
	server = server_of(&leaf);
	ck_assert(!connect_once(opportunistic, &peer));
	ck_assert(connect_once(opportunistic, &peer));
	world_done();
}
END_TEST

START_TEST(a_session_is_not_offered_again_after_a_failed_handshake)
{
	struct tls_peer peer = {.name = HOST, .session = "a"};

	world_make(NULL);
	server = server_of(&leaf);
	ck_assert(!connect_once(opportunistic, &peer));
	ck_assert(connect_once(opportunistic, &peer));
	ends_done();
	ends_pair();
	stream_start_tls_peer(left.stream, opportunistic, &peer);
	(void)stream_write(right.stream, "421 no\r\n", 8);
	ends_run_until(left.seen[STREAM_FAILED] == 1);
	ck_assert(!connect_once(opportunistic, &peer));
	ck_assert(connect_once(opportunistic, &peer));
	world_done();
}
END_TEST

START_TEST(sessions_have_a_largest_number)
{
	struct tls_peer peer = {.name = HOST, .session = "first"};
	char key[16];

	world_make(NULL);
	server = server_of(&leaf);
	ck_assert(!connect_once(opportunistic, &peer));
	for (unsigned i = 0; i < 512; i++) {
		(void)snprintf(key, sizeof(key), "%u", i);
		peer.session = key;
		ck_assert(!connect_once(opportunistic, &peer));
	}
	ck_assert(connect_once(opportunistic, &peer));
	peer.session = "first";
	ck_assert(!connect_once(opportunistic, &peer));
	world_done();
}
END_TEST

UNIT_MAIN("tls_dane",
	  tcase_add_loop_test(tc, tlsa_records_decide_as_rfc_7672_says, 0,
			      (int)COUNT(cases));
	  tcase_add_test(tc, what_openssl_could_not_use_is_known_before);
	  tcase_add_loop_test(tc, sessions_are_resumed_among_equal_keys_alone,
			      0, 2);
	  tcase_add_test(
		  tc, a_session_that_the_server_forgot_costs_a_whole_handshake);
	  tcase_add_test(
		  tc, a_session_is_not_offered_again_after_a_failed_handshake);
	  tcase_add_test(tc, sessions_have_a_largest_number);)
