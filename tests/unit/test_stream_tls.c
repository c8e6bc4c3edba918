/* SPDX-License-Identifier: ISC */
#include "tests/unit/stream_ends.h"

#include <stdlib.h>

#include <openssl/ssl.h>

#include "lib/mem.h"

static char dir[] = "/tmp/ostler-tls-XXXXXX";
static char cert[64], key[64];
static struct tls_ctx *server, *verified, *opportunistic;

static void
files_make(void)
{
	struct err err = ERR_INIT;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	(void)snprintf(cert, sizeof(cert), "%s/cert", dir);
	(void)snprintf(key, sizeof(key), "%s/key", dir);
	ck_assert_msg(tls_make_self_signed("mx.example.org", cert, key, &err) ==
			      0,
		      "%s", err.text);
}

static void
files_remove(void)
{
	(void)unlink(cert);
	(void)unlink(key);
	ck_assert_int_eq(rmdir(dir), 0);
}

static void
contexts_make(const char *minimum)
{
	struct tls_server_opts server_opts = {.files.certificate = cert,
					      .files.key = key,
					      .minimum = minimum};
	struct tls_client_opts client_opts = {.is_verified = true,
					      .ca = cert,
					      .minimum = minimum};
	struct err err = ERR_INIT;

	ck_assert_msg(tls_ctx_server(&server_opts, &server, &err) == 0, "%s",
		      err.text);
	ck_assert_msg(tls_ctx_client(&client_opts, &verified, &err) == 0, "%s",
		      err.text);
	client_opts.is_verified = false;
	ck_assert_msg(tls_ctx_client(&client_opts, &opportunistic, &err) == 0,
		      "%s", err.text);
}

static void
tls_init(void)
{
	files_make();
	contexts_make("1.2");
	ends_pair();
}

static void
tls_done(void)
{
	ends_done();
	tls_ctx_unref(server);
	tls_ctx_unref(verified);
	tls_ctx_unref(opportunistic);
	files_remove();
}

/* Both ends start; left is the client. */
static void
handshake_begin(struct tls_ctx *client, const char *name)
{
	stream_start_tls(right.stream, server, STREAM_SERVER, NULL);
	stream_start_tls(left.stream, client, STREAM_CLIENT, name);
	ck_assert_uint_eq(left.seen[STREAM_SECURED], 0);
}

static void
handshake(struct tls_ctx *client, const char *name)
{
	handshake_begin(client, name);
	ends_run_until(left.seen[STREAM_SECURED] == 1 &&
		       right.seen[STREAM_SECURED] == 1);
}

START_TEST(implicit_tls_carries_an_echo)
{
	struct stream_tls_info info;

	tls_init();
	right.is_echo = true;
	ck_assert(!stream_tls_info(left.stream, &info));
	handshake(verified, "mx.example.org");
	ck_assert(!stream_write(left.stream, "EHLO there\r\n", 12));
	ends_run_until(buf_len(&left.got) == 12);
	ends_assert_got(&left, "EHLO there\r\n");

	ck_assert(stream_tls_info(left.stream, &info));
	ck_assert_str_eq(info.version, "TLSv1.3");
	ck_assert_int_ge(info.bits, 128);
	ck_assert(info.is_verified);
	ck_assert_ptr_null(info.verify_error);
	ck_assert_str_eq(info.peer_subject, "CN=mx.example.org");
	ck_assert_ptr_null(info.sni);
	ck_assert(stream_tls_info(right.stream, &info));
	ck_assert_str_eq(info.sni, "mx.example.org");
	ck_assert_str_eq(info.peer_subject, "");
	ck_assert(!info.is_verified);
	ck_assert(!info.is_resumed);
	tls_done();
}
END_TEST

/* The dialogue of RFC 3207 in both roles: each end takes one line at once. */
static void
starttls_dialogue(struct end *end, enum stream_event event)
{
	if (event == STREAM_DATA && end == &right &&
	    right.seen[STREAM_SECURED] == 0) {
		ends_assert_got(end, "STARTTLS\r\n");
		(void)stream_write(end->stream, "220 go ahead\r\n", 14);
		stream_start_tls(end->stream, server, STREAM_SERVER, NULL);
	} else if (event == STREAM_DATA && end == &left &&
		   left.seen[STREAM_SECURED] == 0) {
		ends_assert_got(end, "220 go ahead\r\n");
		stream_start_tls(end->stream, opportunistic, STREAM_CLIENT,
				 "mx.example.org");
	} else if (event == STREAM_SECURED && end == &left) {
		(void)stream_write(end->stream, "EHLO again\r\n", 12);
	}
}

START_TEST(starttls_turns_a_plain_connection_into_tls)
{
	tls_init();
	left.hook = right.hook = starttls_dialogue;
	(void)stream_write(left.stream, "STARTTLS\r\n", 10);
	ends_run_until(buf_len(&right.got) == 22);
	ends_assert_got(&right, "STARTTLS\r\nEHLO again\r\n");
	ck_assert_uint_eq(left.seen[STREAM_SECURED], 1);
	ck_assert_uint_eq(right.seen[STREAM_SECURED], 1);
	tls_done();
}
END_TEST

static void
take_first_line_and_secure(struct end *end, enum stream_event event)
{
	if (event != STREAM_DATA)
		return;
	stream_consume(end->stream, 10);
	stream_start_tls(end->stream, server,
			 end == &right ? STREAM_SERVER : STREAM_CLIENT, NULL);
	ck_assert_uint_eq(end->seen[STREAM_FAILED], 0);
}

START_TEST(bytes_injected_before_the_handshake_end_the_connection)
{
	struct end *victim = _i == 0 ? &right : &left;
	struct end *attacker = _i == 0 ? &left : &right;

	tls_init();
	victim->is_lazy = true;
	victim->hook = take_first_line_and_secure;
	/* as a server: a command behind STARTTLS; as a client: a reply */
	(void)stream_write(attacker->stream, "0123456\r\n\nRSET\r\n", 16);
	ends_run_until(victim->seen[STREAM_FAILED] == 1);
	ck_assert_uint_eq(victim->seen[STREAM_SECURED], 0);
	ck_assert_int_eq(victim->error.code, -EPROTO);
	ck_assert_ptr_nonnull(
		strstr(victim->error.text, "before the TLS handshake"));
	tls_done();
}
END_TEST

/* How much must have come before the header is taken and TLS begins. */
static size_t behind_wanted;

static void
take_header_and_secure(struct end *end, enum stream_event event)
{
	size_t len;

	(void)stream_bytes(end->stream, &len);
	if (event != STREAM_DATA || !end->is_lazy || len < behind_wanted)
		return;
	ck_assert_mem_eq(stream_bytes(end->stream, &len), "HEADER\r\n", 8);
	stream_consume(end->stream, 8);
	end->is_lazy = false;
	stream_start_tls_behind(end->stream, server);
}

START_TEST(a_handshake_behind_a_header_may_have_begun)
{
	/* the header alone, a piece of the handshake, much of it */
	static const size_t wanted[] = {8, 9, 100, 200};
	struct stream_tls_info info;

	tls_init();
	behind_wanted = wanted[_i];
	right.is_lazy = right.is_echo = true;
	right.hook = take_header_and_secure;
	(void)stream_write(left.stream, "HEADER\r\n", 8);
	if (behind_wanted == 8)
		ends_run_until(!right.is_lazy);
	stream_start_tls(left.stream, verified, STREAM_CLIENT,
			 "mx.example.org");
	ends_run_until(left.seen[STREAM_SECURED] == 1);
	(void)stream_write(left.stream, "EHLO there\r\n", 12);
	ends_run_until(buf_len(&left.got) == 12);
	ck_assert(stream_tls_info(right.stream, &info));
	tls_done();
}
END_TEST

START_TEST(bytes_that_wait_in_the_buffer_are_an_injection_too)
{
	tls_init();
	right.is_lazy = true;
	(void)stream_write(left.stream, "x", 1);
	ends_run_until(right.seen[STREAM_DATA] == 1);
	stream_start_tls(right.stream, server, STREAM_SERVER, NULL);
	ck_assert_uint_eq(right.seen[STREAM_FAILED], 0);
	ends_run_until(right.seen[STREAM_FAILED] == 1);
	tls_done();
}
END_TEST

static const struct {
	const char *name;
	bool is_verified; /* asked for */
	bool is_secured;  /* comes about */
	bool is_trusted;  /* is reported */
	const char *why;
} names[] = {
	{"mx.example.org", true, true, true, NULL},
	{"other.example.org", true, false, false, "mismatch"},
	{"example.org", true, false, false, "mismatch"},
	{"127.0.0.1", true, false, false, "mismatch"},
	{NULL, true, false, false, "no name"},
	{"mx.example.org", false, true, true, NULL},
	{"other.example.org", false, true, false, "mismatch"},
	{"127.0.0.1", false, true, false, "mismatch"},
	{NULL, false, true, false, "no name"},
};

START_TEST(the_certificates_name_decides_only_when_verified)
{
	struct stream_tls_info info;

	tls_init();
	right.reaction = left.reaction = END_CLOSES;
	right.at = left.at = STREAM_FAILED;
	handshake_begin(names[_i].is_verified ? verified : opportunistic,
			names[_i].name);
	ends_run_until(left.seen[STREAM_SECURED] + left.seen[STREAM_FAILED] !=
		       0);
	ck_assert_uint_eq(left.seen[STREAM_SECURED], names[_i].is_secured);
	if (names[_i].is_secured) {
		ck_assert(stream_tls_info(left.stream, &info));
		ck_assert_int_eq(info.is_verified, names[_i].is_trusted);
		if (names[_i].why != NULL)
			ck_assert_ptr_nonnull(
				strstr(info.verify_error, names[_i].why));
	} else {
		ck_assert_ptr_nonnull(strstr(left.error.text, names[_i].why));
		ck_assert_ptr_null(strchr(left.error.text, '\n'));
	}
	tls_done();
}
END_TEST

START_TEST(a_stranger_s_certificate_is_taken_opportunistically_alone)
{
	struct tls_client_opts opts = {.is_verified = _i == 0,
				       .minimum = "1.2"};
	struct tls_ctx *client;
	struct stream_tls_info info;

	tls_init();
	ck_assert_int_eq(tls_ctx_client(&opts, &client, NULL), 0);
	handshake_begin(client, "mx.example.org");
	ends_run_until(left.seen[STREAM_SECURED] + left.seen[STREAM_FAILED] !=
		       0);
	if (_i == 0) {
		ck_assert_uint_eq(left.seen[STREAM_FAILED], 1);
		ck_assert_ptr_nonnull(
			strstr(left.error.text, "self-signed certificate"));
		/* the server hears why */
		ends_run_until(right.seen[STREAM_FAILED] == 1);
		ck_assert_ptr_nonnull(strstr(right.error.text, "unknown ca"));
	} else {
		ck_assert(stream_tls_info(left.stream, &info));
		ck_assert(!info.is_verified);
		ck_assert_ptr_nonnull(
			strstr(info.verify_error, "self-signed certificate"));
	}
	tls_ctx_unref(client);
	tls_done();
}
END_TEST

START_TEST(a_peer_that_speaks_no_tls_is_named_so)
{
	tls_init();
	stream_start_tls(right.stream, server, STREAM_SERVER, NULL);
	(void)stream_write(left.stream, "EHLO there, this is plain\r\n", 27);
	ends_run_until(right.seen[STREAM_FAILED] == 1);
	ck_assert_ptr_nonnull(
		strstr(right.error.text, "does not speak TLS here"));
	tls_done();
}
END_TEST

START_TEST(an_end_within_the_handshake_is_a_failure)
{
	tls_init();
	left.reaction = END_CLOSES;
	left.at = STREAM_FAILED;
	stream_start_tls(left.stream, opportunistic, STREAM_CLIENT, NULL);
	end_close(&right);
	ends_run_until(left.seen[STREAM_FAILED] == 1);
	ck_assert_uint_eq(left.seen[STREAM_EOF], 0);
	ck_assert_ptr_nonnull(strstr(left.error.text, "TLS handshake"));
	tls_done();
}
END_TEST

START_TEST(a_large_transfer_arrives_unchanged_through_tls)
{
	tls_init();
	handshake(opportunistic, NULL);
	ends_send_big();
	tls_done();
}
END_TEST

START_TEST(what_is_written_during_the_handshake_follows_it)
{
	tls_init();
	stream_start_tls(right.stream, server, STREAM_SERVER, NULL);
	(void)stream_write(right.stream, "220 mx ready\r\n", 14);
	sending = make_pattern(200000);
	stream_start_tls(left.stream, opportunistic, STREAM_CLIENT, NULL);
	ck_assert(stream_write(left.stream, sending, 200000));
	ends_run_until(buf_len(&left.got) == 14 &&
		       buf_len(&right.got) == 200000 &&
		       left.seen[STREAM_DRAINED] == 1);
	ends_assert_got(&left, "220 mx ready\r\n");
	ck_assert_mem_eq(buf_bytes(&right.got), sending, 200000);
	ck_assert_uint_eq(stream_unsent(left.stream), 0);
	tls_done();
	free(sending);
}
END_TEST

START_TEST(records_of_one_byte_are_put_together)
{
	char text[] = "MAIL FROM:<someone@example.org> SIZE=1234\r\n";

	tls_init();
	handshake(opportunistic, NULL);
	for (size_t i = 0; i < sizeof(text) - 1; i++)
		(void)stream_write(left.stream, text + i, 1);
	ends_run_until(buf_len(&right.got) == sizeof(text) - 1);
	ends_assert_got(&right, text);
	tls_done();
}
END_TEST

START_TEST(an_owner_that_does_not_consume_stops_the_tls_peer)
{
	size_t len = 0;

	total = (size_t)4 << 20;
	sending = make_pattern(total);
	tls_init();
	handshake(opportunistic, NULL);
	right.is_lazy = true;
	ck_assert(stream_write(left.stream, sending, total));
	while (len < STREAM_IN_MAX) {
		(void)uv_run(&ends_loop, UV_RUN_ONCE);
		(void)stream_bytes(right.stream, &len);
	}
	for (unsigned turn = 0; turn < 20; turn++)
		(void)uv_run(&ends_loop, UV_RUN_NOWAIT);
	(void)stream_bytes(right.stream, &len);
	ck_assert_uint_eq(len, STREAM_IN_MAX);
	ck_assert_uint_gt(stream_unsent(left.stream), 0);

	/* a little at a time, outside of any event */
	while (buf_len(&right.got) < total) {
		const uint8_t *bytes = stream_bytes(right.stream, &len);

		if (len > 4001)
			len = 4001;
		ck_assert_int_eq(buf_add(&right.got, bytes, len), 0);
		stream_consume(right.stream, len);
		(void)uv_run(&ends_loop, UV_RUN_NOWAIT);
	}
	ck_assert_mem_eq(buf_bytes(&right.got), sending, total);
	tls_done();
	free(sending);
}
END_TEST

START_TEST(close_notify_ends_the_input_and_the_answer_still_goes)
{
	tls_init();
	handshake(opportunistic, NULL);
	(void)stream_write(left.stream, "QUIT\r\n", 6);
	end_close(&left);
	ends_run_until(right.seen[STREAM_EOF] == 1);
	ends_assert_got(&right, "QUIT\r\n");
	ck_assert(!stream_write(right.stream, "221 bye\r\n", 9));
	ck_assert_uint_eq(right.seen[STREAM_FAILED], 0);
	end_close(&right);
	ends_run_until(stream_count() == 0);
	tls_done();
}
END_TEST

START_TEST(a_tls_close_sends_what_was_written)
{
	total = (size_t)2 << 20;
	sending = make_pattern(total);
	tls_init();
	handshake(opportunistic, NULL);
	right.reaction = END_CLOSES;
	right.at = STREAM_EOF;
	(void)stream_write(left.stream, sending, total);
	end_close(&left);
	ends_run_until(stream_count() == 0);
	ck_assert_uint_eq(buf_len(&right.got), total);
	ck_assert_mem_eq(buf_bytes(&right.got), sending, total);
	tls_done();
	free(sending);
}
END_TEST

/* The two ends with somebody in the middle, who has these two sockets. */
static int to_left, to_right;

static void
pair_with_a_middle(void)
{
	int a[2], b[2];

	files_make();
	contexts_make("1.2");
	ends_init();
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, a),
			 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, b),
			 0);
	(void)stream_from_fd(&ends_loop, a[0], on_end, &left, &left.stream);
	(void)stream_from_fd(&ends_loop, b[0], on_end, &right, &right.stream);
	stream_start(left.stream);
	stream_start(right.stream);
	to_left = a[1];
	to_right = b[1];
}

/* Hands on up to max_bytes; returns how many. */
static ssize_t
middle_hands_on(int from, int to, size_t max_bytes, uint8_t flip)
{
	uint8_t bytes[4096];
	ssize_t len = recv(from, bytes, max_bytes, 0);

	if (len > 0) {
		bytes[len - 1] ^= flip;
		ck_assert_int_eq(send(to, bytes, (size_t)len, 0), len);
	}
	(void)uv_run(&ends_loop, UV_RUN_NOWAIT);
	return len;
}

START_TEST(tampered_ciphertext_fails)
{
	pair_with_a_middle();
	handshake_begin(opportunistic, NULL);
	while (left.seen[STREAM_SECURED] + right.seen[STREAM_SECURED] < 2) {
		(void)middle_hands_on(to_left, to_right, 4096, 0);
		(void)middle_hands_on(to_right, to_left, 4096, 0);
	}
	(void)stream_write(left.stream, "secret", 6);
	while (middle_hands_on(to_left, to_right, 4096, 1) <= 0)
		;
	ends_run_until(right.seen[STREAM_FAILED] == 1);
	ck_assert_ptr_nonnull(strstr(right.error.text, "bad record mac"));
	ck_assert_uint_eq(buf_len(&right.got), 0);
	(void)close(to_left);
	(void)close(to_right);
	tls_done();
}
END_TEST

START_TEST(records_may_come_in_pieces_of_one_byte)
{
	pair_with_a_middle();
	handshake_begin(verified, "mx.example.org");
	(void)stream_write(left.stream, "EHLO there\r\n", 12);
	while (buf_len(&right.got) < 12) {
		(void)middle_hands_on(to_left, to_right, 1, 0);
		(void)middle_hands_on(to_right, to_left, 1, 0);
	}
	ends_assert_got(&right, "EHLO there\r\n");
	(void)close(to_left);
	(void)close(to_right);
	tls_done();
}
END_TEST

/* A client that does what ours never would. */
static SSL_CTX *foreign_ctx;
static SSL *foreign;

static void
foreign_begin(int max_version, SSL_SESSION *session)
{
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0,
				    fds),
			 0);
	ck_assert_int_eq(stream_from_fd(&ends_loop, fds[0], on_end, &right,
					&right.stream),
			 0);
	memset(right.seen, 0, sizeof(right.seen));
	stream_start_tls(right.stream, server, STREAM_SERVER, NULL);
	stream_start(right.stream);
	foreign_ctx = SSL_CTX_new(TLS_client_method());
	ck_assert_int_eq(SSL_CTX_set_max_proto_version(foreign_ctx,
						       max_version),
			 1);
	foreign = SSL_new(foreign_ctx);
	ck_assert_int_eq(SSL_set_fd(foreign, fds[1]), 1);
	if (session != NULL)
		ck_assert_int_eq(SSL_set_session(foreign, session), 1);
	while (SSL_connect(foreign) != 1)
		(void)uv_run(&ends_loop, UV_RUN_NOWAIT);
	ends_run_until(right.seen[STREAM_SECURED] == 1);
}

static void
foreign_end(void)
{
	(void)close(SSL_get_fd(foreign));
	SSL_free(foreign);
	SSL_CTX_free(foreign_ctx);
	ends_run_until(right.seen[STREAM_EOF] + right.seen[STREAM_FAILED] > 0);
	stream_abort(right.stream);
	right.stream = NULL;
}

START_TEST(renegotiation_is_refused)
{
	bool is_refused = false;

	files_make();
	contexts_make("1.2");
	ends_init();
	foreign_begin(TLS1_2_VERSION, NULL);
	ck_assert_int_eq(SSL_renegotiate(foreign), 1);
	while (!is_refused) {
		int rc = SSL_do_handshake(foreign);

		/* never a second handshake that succeeds */
		ck_assert(rc != 1 || SSL_renegotiate_pending(foreign));
		is_refused = SSL_get_error(foreign, rc) == SSL_ERROR_SSL;
		(void)uv_run(&ends_loop, UV_RUN_NOWAIT);
	}
	ck_assert_uint_eq(right.seen[STREAM_SECURED], 1);
	foreign_end();
	tls_done();
}
END_TEST

START_TEST(a_ticket_resumes_a_session)
{
	int versions[] = {TLS1_3_VERSION, TLS1_2_VERSION};
	struct stream_tls_info info;
	SSL_SESSION *session;
	char reply[8];

	files_make();
	contexts_make("1.2");
	ends_init();
	foreign_begin(versions[_i], NULL);
	ck_assert(stream_tls_info(right.stream, &info));
	ck_assert(!info.is_resumed);
	/* with 1.3 the ticket comes before this */
	(void)stream_write(right.stream, "220 ", 4);
	while (SSL_read(foreign, reply, sizeof(reply)) != 4)
		(void)uv_run(&ends_loop, UV_RUN_NOWAIT);
	session = SSL_get1_session(foreign);
	/* as a client that was not told otherwise: a broken-off session is
	 * not resumed */
	(void)SSL_shutdown(foreign);
	foreign_end();
	foreign_begin(versions[_i], session);
	ck_assert(stream_tls_info(right.stream, &info));
	ck_assert(info.is_resumed);
	foreign_end();
	SSL_SESSION_free(session);
	tls_done();
}
END_TEST

START_TEST(a_peer_that_only_asks_for_answers_is_heard_no_more)
{
	unsigned refused = 0;
	size_t most = 0;

	files_make();
	contexts_make("1.3");
	ends_init();
	foreign_begin(TLS1_3_VERSION, NULL);
	/* every key update has to be answered, and nobody reads the answers */
	for (unsigned round = 0; round < 400000 && refused < 100; round++) {
		bool is_taken =
			SSL_key_update(foreign, SSL_KEY_UPDATE_REQUESTED) == 1;

		if (!is_taken || SSL_do_handshake(foreign) != 1)
			refused++;
		else
			refused = 0;
		if (round % 64 == 0 || refused != 0)
			(void)uv_run(&ends_loop, UV_RUN_NOWAIT);
		if (stream_unsent(right.stream) > most)
			most = stream_unsent(right.stream);
	}
	ck_assert_uint_eq(refused, 100);
	ck_assert_uint_lt(most, 1 << 20);
	foreign_end();
	tls_done();
}
END_TEST

START_TEST(both_ends_get_the_same_channel_binding)
{
	uint8_t a[64], b[64];
	const char *type_a = NULL, *type_b = NULL;
	size_t len;

	files_make();
	contexts_make("1.2");
	if (_i == 1) {
		struct tls_client_opts opts = {.ca = cert,
					       .minimum = "1.2",
					       .maximum = "1.2"};

		tls_ctx_unref(opportunistic);
		ck_assert_int_eq(tls_ctx_client(&opts, &opportunistic, NULL),
				 0);
	}
	ends_pair();
	ck_assert_uint_eq(stream_channel_binding(left.stream, a, sizeof(a),
						 &type_a),
			  0);
	handshake(opportunistic, NULL);
	len = stream_channel_binding(left.stream, a, sizeof(a), &type_a);
	ck_assert_uint_eq(len, _i == 0 ? 32 : 12);
	ck_assert_uint_eq(stream_channel_binding(right.stream, b, sizeof(b),
						 &type_b),
			  len);
	ck_assert_mem_eq(a, b, len);
	ck_assert_str_eq(type_a, _i == 0 ? "tls-exporter" : "tls-unique");
	ck_assert_str_eq(type_b, type_a);
	ck_assert_uint_eq(stream_channel_binding(left.stream, a, 8, &type_a),
			  0);
	tls_done();
}
END_TEST

START_TEST(a_client_that_is_too_old_is_refused)
{
	struct tls_client_opts opts = {.ca = cert,
				       .minimum = "1.0",
				       .maximum = "1.1"};
	struct tls_ctx *old;

	files_make();
	contexts_make("1.2");
	ends_pair();
	ck_assert_int_eq(tls_ctx_client(&opts, &old, NULL), 0);
	handshake_begin(old, NULL);
	ends_run_until(right.seen[STREAM_FAILED] == 1 &&
		       left.seen[STREAM_FAILED] == 1);
	ck_assert_ptr_nonnull(strstr(right.error.text, "unsupported protocol"));
	tls_ctx_unref(old);
	tls_done();
}
END_TEST

static const enum stream_event closing_events[] = {
	STREAM_SECURED, STREAM_DATA, STREAM_DRAINED, STREAM_EOF, STREAM_FAILED,
};

START_TEST(the_owner_may_close_in_any_tls_event)
{
	enum stream_event at = closing_events[_i / 2];

	total = (size_t)8 << 20;
	sending = make_pattern(total);
	tls_init();
	left.reaction = _i % 2 == 0 ? END_CLOSES : END_ABORTS;
	left.at = at;
	handshake_begin(at == STREAM_FAILED ? verified : opportunistic,
			at == STREAM_FAILED ? "wrong" : NULL);
	if (at != STREAM_FAILED)
		ends_run_until(left.seen[STREAM_SECURED] == 1 &&
			       (right.seen[STREAM_SECURED] == 1 ||
				left.stream == NULL));
	switch (at) {
	case STREAM_DATA:
		(void)stream_write(right.stream, sending, total);
		break;
	case STREAM_DRAINED:
		ck_assert(stream_write(left.stream, sending, total));
		break;
	case STREAM_EOF:
		end_close(&right);
		break;
	case STREAM_SECURED:
	case STREAM_FAILED:
	case STREAM_CONNECTED:
	case STREAM_DEADLINE:
		break;
	}
	ends_run_until(left.stream == NULL);
	ck_assert_uint_eq(left.seen[at], 1);
	if (right.stream != NULL)
		stream_abort(right.stream);
	right.stream = NULL;
	ends_run_until(stream_count() == 0);
	tls_done();
	free(sending);
}
END_TEST

START_TEST(a_handshake_can_be_closed_at_every_turn)
{
	for (unsigned turns = 0; turns < 8; turns++) {
		memcpy(dir + strlen(dir) - 6, "XXXXXX", 6);
		tls_init();
		handshake_begin(opportunistic, "mx.example.org");
		for (unsigned turn = 0; turn < turns; turn++)
			(void)uv_run(&ends_loop, UV_RUN_NOWAIT);
		end_close(&right);
		end_close(&left);
		ends_run_until(stream_count() == 0);
		tls_done();
	}
}
END_TEST

UNIT_MAIN("stream_tls", tcase_add_test(tc, implicit_tls_carries_an_echo);
	  tcase_add_test(tc, starttls_turns_a_plain_connection_into_tls);
	  tcase_add_loop_test(
		  tc, bytes_injected_before_the_handshake_end_the_connection, 0,
		  2);
	  tcase_add_loop_test(tc, a_handshake_behind_a_header_may_have_begun, 0,
			      4);
	  tcase_add_test(tc,
			 bytes_that_wait_in_the_buffer_are_an_injection_too);
	  tcase_add_loop_test(tc,
			      the_certificates_name_decides_only_when_verified,
			      0, (int)COUNT(names));
	  tcase_add_loop_test(
		  tc, a_stranger_s_certificate_is_taken_opportunistically_alone,
		  0, 2);
	  tcase_add_test(tc, a_peer_that_speaks_no_tls_is_named_so);
	  tcase_add_test(tc, an_end_within_the_handshake_is_a_failure);
	  tcase_add_test(tc, a_large_transfer_arrives_unchanged_through_tls);
	  tcase_add_test(tc, what_is_written_during_the_handshake_follows_it);
	  tcase_add_test(tc, records_of_one_byte_are_put_together);
	  tcase_add_test(tc, an_owner_that_does_not_consume_stops_the_tls_peer);
	  tcase_add_test(tc,
			 close_notify_ends_the_input_and_the_answer_still_goes);
	  tcase_add_test(tc, a_tls_close_sends_what_was_written);
	  tcase_add_test(tc, tampered_ciphertext_fails);
	  tcase_add_test(tc, records_may_come_in_pieces_of_one_byte);
	  tcase_add_test(tc, renegotiation_is_refused);
	  tcase_add_loop_test(tc, a_ticket_resumes_a_session, 0, 2);
	  tcase_add_test(tc,
			 a_peer_that_only_asks_for_answers_is_heard_no_more);
	  tcase_add_loop_test(tc, both_ends_get_the_same_channel_binding, 0, 2);
	  tcase_add_test(tc, a_client_that_is_too_old_is_refused);
	  tcase_add_loop_test(tc, the_owner_may_close_in_any_tls_event, 0,
			      2 * (int)COUNT(closing_events));
	  tcase_add_test(tc, a_handshake_can_be_closed_at_every_turn);)
