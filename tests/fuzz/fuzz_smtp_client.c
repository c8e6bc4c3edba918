/* SPDX-License-Identifier: ISC */
#include "tests/fuzz/fuzz.h"

#include "queue/deliver/smtp_client.h"
#include "queue/envelope.h"

#define LOG_MAX	   (16u << 20)
#define RECIPIENTS 7

enum {
	WITH_LMTP = 1,
	WITH_LOGIN = 2,
	WITH_8BIT = 4,
	WITH_TLS = 8,
	WITH_UTF8 = 16,
	WITH_DSN = 32,
	/* a body is there only when another reply has come */
	WITH_SLOW_BODY = 64,
	/* TLS is demanded; a login begins without data */
	WITH_DEMANDS = 128,
};

struct run {
	struct smtp_client *client;
	struct envelope envelope;
	struct recipient recipients[RECIPIENTS];
	struct buf *log;
	unsigned messages; /* begun */
	unsigned dots;	   /* of the message begun last */
	unsigned chunks, flags;
	unsigned bodies, replies; /* when a body was asked for */
	bool has_quit;
};

static void
check_results(struct run *run)
{
	for (size_t i = 0; i < run->envelope.recipient_count; i++) {
		const struct smtp_result *result =
			smtp_client_result(run->client, i);

		FUZZ_CHECK(result != NULL);
		FUZZ_CHECK(result->kind != OUTCOME_DELIVERED || run->dots != 0);
		FUZZ_CHECK((result->reply != NULL) ==
			   (result->cause == CAUSE_REPLY ||
			    result->cause == CAUSE_AUTH_FAILED));
		(void)buf_addf(run->log, "%d %d %d %u\n", (int)result->kind,
			       (int)result->cause, (int)result->phase,
			       result->status.code);
	}
}

static bool
waits_with_body(struct run *run)
{
	if (run->bodies != smtp_client_bodies(run->client)) {
		run->bodies = smtp_client_bodies(run->client);
		run->replies = smtp_client_replies(run->client);
	}
	return (run->flags & WITH_SLOW_BODY) != 0 &&
	       run->replies == smtp_client_replies(run->client);
}

/* What the conversation wants from its caller; false: the server's turn. */
static bool
serve(struct run *run)
{
	static const size_t indexes[RECIPIENTS] = {0, 1, 2, 3, 4, 5, 6};
	struct smtp_client_message message = {
		.envelope = &run->envelope,
		.recipients = indexes,
		.count = run->envelope.recipient_count,
	};
	struct buf *out = smtp_client_out(run->client);

	(void)buf_add(run->log, buf_bytes(out), buf_len(out));
	buf_clear(out);
	FUZZ_CHECK(smtp_client_timeout_ms(run->client) > 0);
	switch (smtp_client_want(run->client)) {
	case CLIENT_WANTS_REPLY:
	case CLIENT_WANTS_CLOSE:
		return false;
	case CLIENT_WANTS_TLS:
		smtp_client_secured(run->client);
		return true;
	case CLIENT_WANTS_LOGIN:
		smtp_client_login(run->client, "PLAIN",
				  (run->flags & WITH_DEMANDS) != 0
					  ? NULL
					  : "AGEAYg==");
		return true;
	case CLIENT_WANTS_STEP:
		(void)buf_adds(run->log, smtp_client_challenge(run->client));
		smtp_client_login_step(run->client, "YQ==");
		return true;
	case CLIENT_WANTS_MESSAGE:
		if (run->messages != 0)
			check_results(run);
		if (run->messages == 3) {
			if (run->has_quit)
				return false;
			run->has_quit = true;
			smtp_client_quit(run->client);
			return true;
		}
		run->messages++;
		run->dots = 0;
		smtp_client_send(run->client, &message);
		return true;
	case CLIENT_WANTS_BODY:
		if (waits_with_body(run))
			return false;
		if (smtp_client_is_chunked(run->client)) {
			bool is_last = run->chunks++ % 3 == 2;

			run->dots += is_last;
			smtp_client_chunk(run->client, is_last ? 0 : 10,
					  is_last);
			return true;
		}
		run->dots++;
		smtp_client_body_sent(run->client, str_of(".\r\n"));
		return true;
	}
	return false;
}

static void
feed(struct run *run, const uint8_t *bytes, size_t len)
{
	for (;;) {
		size_t used;

		while (serve(run))
			;
		used = len != 0 ? smtp_client_feed(run->client, bytes, len) : 0;
		FUZZ_CHECK(used <= len);
		if (used == 0)
			return;
		bytes += used;
		len -= used;
	}
}

static void
run_begin(struct run *run, unsigned flags, size_t count, struct buf *log)
{
	struct smtp_client_opts opts = {
		.hostname = "me.example",
		.is_lmtp = (flags & WITH_LMTP) != 0,
		.tls = (flags & WITH_TLS) == 0	     ? CLIENT_TLS_NONE
		       : (flags & WITH_DEMANDS) != 0 ? CLIENT_TLS_REQUIRED
						     : CLIENT_TLS_OFFERED,
		.has_login = (flags & WITH_LOGIN) != 0,
	};

	memset(run, 0, sizeof(*run));
	buf_init(log, LOG_MAX);
	run->log = log;
	run->flags = flags;
	run->client = smtp_client_new(&opts);
	run->envelope.sender = (char *)"a@b.example";
	run->envelope.is_8bit = (flags & WITH_8BIT) != 0;
	run->envelope.size = 100;
	run->envelope.recipients = run->recipients;
	run->envelope.recipient_count = count;
	run->envelope.is_utf8 = (flags & WITH_UTF8) != 0;
	if ((flags & WITH_DSN) != 0) {
		run->envelope.ret = 'H';
		run->envelope.envid = (char *)"x+2By";
	}
	for (size_t i = 0; i < RECIPIENTS; i++) {
		run->recipients[i].address = (char *)"r@c.example";
		if ((flags & WITH_DSN) == 0)
			continue;
		run->recipients[i].notify = (uint8_t)(i * 2);
		run->recipients[i].orcpt = (char *)"rfc822;r@c.example";
	}
}

static void
run_end(struct run *run)
{
	while (serve(run))
		;
	if (smtp_client_want(run->client) == CLIENT_WANTS_REPLY ||
	    smtp_client_want(run->client) == CLIENT_WANTS_BODY)
		smtp_client_fail(run->client, CAUSE_CONNECTION_LOST, "gone");
	if (run->messages != 0)
		check_results(run);
	else
		FUZZ_CHECK(smtp_client_failure(run->client) != NULL);
	smtp_client_free(run->client);
}

/* A byte of options, a number of recipients, then what the server sends. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned flags = size > 0 ? data[0] : 0;
	size_t count = 1 + (size > 1 ? data[1] % RECIPIENTS : 0), at = 2;
	struct run whole, parts;
	struct buf a, b;
	uint32_t seed = (uint32_t)size;

	run_begin(&whole, flags, count, &a);
	run_begin(&parts, flags, count, &b);
	if (size > 2)
		feed(&whole, data + 2, size - 2);
	while (at < size) {
		size_t piece = fuzz_piece(&seed, size - at);
		uint8_t *copy = fuzz_copy(data + at, piece);

		feed(&parts, copy, piece);
		free(copy);
		at += piece;
	}
	run_end(&whole);
	run_end(&parts);
	FUZZ_CHECK(strcmp(buf_text(&a), buf_text(&b)) == 0);
	buf_done(&a);
	buf_done(&b);
	return 0;
}
