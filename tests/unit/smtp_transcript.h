/* SPDX-License-Identifier: ISC */
/*
 * tests/unit/smtp_transcript.h - conversations of the client as transcripts
 *
 * S: is what the server sends, C: what the client has to answer, [x] what it
 * wants from its caller, = the result for each recipient in the end (! for the
 * session). The server's lines are taken from the transcript, cut at every
 * place, and the transcript that comes out must be the one that went in.
 */
#ifndef OSTLER_TESTS_UNIT_SMTP_TRANSCRIPT_H
#define OSTLER_TESTS_UNIT_SMTP_TRANSCRIPT_H

#include <stdio.h>
#include <string.h>

#include "queue/deliver/smtp_caps.h"
#include "queue/deliver/smtp_client.h"
#include "queue/envelope.h"
#include "tests/unit/unit.h"

enum flags {
	LMTP = 1,
	LOGIN = 2,
	EIGHT_BIT = 4,
	UTF8 = 8,
	DSN = 16,
	EARLY = 32, /* replies are read before the body is sent */
	TWICE = 64, /* the message is sent again on the same connection */
	NULL_SENDER = 128,
	QUIT = 256, /* in the end */
	TLS_MAY = 512,
	TLS_MUST = 1024,
	TIMEOUT = 2048, /* the server falls silent instead of closing */
	PIECES = 4096,	/* a body in chunks is 500 octets, 500 and none */
	PROBE = 8192,	/* no message: it ends behind RCPT */
};

struct transcript {
	const char *name;
	unsigned flags; /* enum flags */
	size_t recipients;
	const char *text;
};

static const char *const kinds[] = {"delivered", "deferred", "failed"};

struct run {
	struct smtp_client *client;
	struct buf log;
	unsigned flags;
	const struct envelope *envelope;
	size_t indexes[512];
	unsigned sent;	 /* messages */
	bool has_result; /* of the message sent last, in the log */
	unsigned bodies; /* as the client counts them */
	unsigned pieces; /* of the present one, sent in chunks */
	size_t column;	 /* of the server's line that is being logged */
};

static void
log_out(struct run *run)
{
	struct buf *out = smtp_client_out(run->client);

	while (buf_len(out) != 0) {
		const char *at = (const char *)buf_bytes(out);
		const char *end = memchr(at, '\n', buf_len(out));

		ck_assert_ptr_nonnull(end);
		ck_assert_int_eq(end[-1], '\r');
		(void)buf_addf(&run->log, "C: %.*s\n", (int)(end - at - 1), at);
		buf_consume(out, (size_t)(end - at) + 1);
	}
}

static void
log_result(struct run *run, const struct smtp_result *result)
{
	char reply[1000] = "-";

	ck_assert_ptr_nonnull(result);
	if (result->reply != NULL)
		(void)snprintf(reply, sizeof(reply), "%s", result->reply);
	for (char *c = reply; *c != '\0'; c++)
		if (*c == '\n')
			*c = '|';
	(void)buf_addf(&run->log, "%s %s %s %u %s%s%s", kinds[result->kind],
		       cause_name(result->cause),
		       smtp_phase_name(result->phase), result->status.code,
		       reply, result->is_own_fault ? " (own)" : "",
		       result->has_dsn ? " (dsn)" : "");
}

static void
log_results(struct run *run)
{
	run->has_result = true;
	for (size_t i = 0; i < run->envelope->recipient_count; i++) {
		(void)buf_addf(&run->log, "= r%zu: ", i);
		log_result(run, smtp_client_result(run->client, i));
		(void)buf_addf(&run->log, "%s%s\n",
			       smtp_client_is_stale(run->client) ? " (stale)"
								 : "",
			       smtp_client_has_refused_chunks(run->client)
				       ? " (chunkless)"
				       : "");
	}
}

static void
serve_chunk(struct run *run)
{
	static const size_t pieces[] = {500, 500, 0};

	if (run->bodies != smtp_client_bodies(run->client)) {
		run->bodies = smtp_client_bodies(run->client);
		run->pieces = 0;
	}
	if ((run->flags & PIECES) == 0) {
		smtp_client_chunk(run->client, 1000, true);
		return;
	}
	smtp_client_chunk(run->client, pieces[run->pieces],
			  run->pieces + 1 == COUNT(pieces));
	run->pieces++;
}

/* Gives the client what it wants; false when it wants the server's bytes or
 * nothing more. */
static bool
serve(struct run *run)
{
	struct smtp_client_message message = {
		.envelope = run->envelope,
		.recipients = run->indexes,
		.count = run->envelope->recipient_count,
		.is_probe = (run->flags & PROBE) != 0,
	};
	unsigned messages = (run->flags & TWICE) != 0 ? 2 : 1;

	log_out(run);
	switch (smtp_client_want(run->client)) {
	case CLIENT_WANTS_REPLY:
		return false;
	case CLIENT_WANTS_TLS:
		(void)buf_adds(&run->log, "[tls]\n");
		smtp_client_secured(run->client);
		return true;
	case CLIENT_WANTS_LOGIN:
		(void)buf_addf(&run->log, "[login %s]\n",
			       smtp_client_caps(run->client)->mechanisms);
		smtp_client_login(run->client, "X-TEST", "aW5pdA==");
		return true;
	case CLIENT_WANTS_STEP:
		(void)buf_addf(&run->log, "[step %s]\n",
			       smtp_client_challenge(run->client));
		smtp_client_login_step(run->client, "YW5zd2Vy");
		return true;
	case CLIENT_WANTS_MESSAGE:
		if (run->sent == 1 && messages == 2)
			log_results(run);
		if (run->sent < messages) {
			run->sent++;
			run->has_result = false;
			smtp_client_send(run->client, &message);
			return true;
		}
		if ((run->flags & QUIT) == 0)
			return false;
		run->flags &= ~(unsigned)QUIT;
		smtp_client_quit(run->client);
		return true;
	case CLIENT_WANTS_BODY:
		if ((run->flags & EARLY) != 0)
			return false;
		if (smtp_client_is_chunked(run->client)) {
			serve_chunk(run);
			return true;
		}
		(void)buf_adds(&run->log, "[body]\n");
		smtp_client_body_sent(run->client, str_of(".\r\n"));
		return true;
	case CLIENT_WANTS_CLOSE:
		return false;
	}
	return false;
}

static void
log_server(struct run *run, const char *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (bytes[i] == '\r')
			continue;
		if (run->column++ == 0)
			(void)buf_adds(&run->log, "S: ");
		(void)buf_add(&run->log, bytes + i, 1);
		if (bytes[i] == '\n')
			run->column = 0;
	}
}

static void
feed(struct run *run, const char *bytes, size_t len)
{
	for (;;) {
		size_t used;

		while (serve(run))
			;
		if (len == 0 ||
		    smtp_client_want(run->client) == CLIENT_WANTS_CLOSE)
			return;
		used = smtp_client_feed(run->client, bytes, len);
		log_server(run, bytes, used);
		if (used == 0)
			return;
		bytes += used;
		len -= used;
	}
}

static void
server_bytes(const char *transcript, struct buf *out)
{
	struct str rest = str_of(transcript), line;

	while (str_cut(&rest, '\n', &line))
		if (str_starts_nocase(line, "S: "))
			(void)buf_addf(out, "%.*s\r\n", (int)line.len - 3,
				       line.at + 3);
}

static void
make_envelope(struct envelope *envelope, unsigned flags, size_t recipients)
{
	static char names[512][40];

	memset(envelope, 0, sizeof(*envelope));
	envelope->sender = (flags & NULL_SENDER) != 0
				   ? (char *)""
				   : (char *)"a@from.example";
	envelope->size = 1000;
	envelope->is_8bit = (flags & EIGHT_BIT) != 0;
	envelope->is_utf8 = (flags & UTF8) != 0;
	envelope->recipient_count = recipients;
	envelope->recipients =
		calloc(recipients, sizeof(*envelope->recipients));
	for (size_t i = 0; i < recipients; i++) {
		(void)snprintf(names[i], sizeof(names[i]), "r%zu@to.example",
			       i);
		envelope->recipients[i].address = names[i];
	}
	if ((flags & DSN) != 0) {
		envelope->ret = 'H';
		envelope->envid = (char *)"QQ1";
		envelope->recipients[0].notify = NOTIFY_SUCCESS | NOTIFY_DELAY;
		envelope->recipients[0].orcpt =
			(char *)"rfc822;r0@orig.example";
	}
}

static void
run_case(unsigned flags, size_t recipients, const char *bytes, size_t len,
	 size_t chunk, struct buf *out_log)
{
	struct smtp_client_opts opts = {
		.hostname = "me.example",
		.is_lmtp = (flags & LMTP) != 0,
		.tls = (flags & TLS_MUST) != 0	? CLIENT_TLS_REQUIRED
		       : (flags & TLS_MAY) != 0 ? CLIENT_TLS_OFFERED
						: CLIENT_TLS_NONE,
		.has_login = (flags & LOGIN) != 0,
	};
	struct envelope envelope;
	struct run run = {.flags = flags, .envelope = &envelope};

	make_envelope(&envelope, flags, recipients);
	for (size_t i = 0; i < recipients; i++)
		run.indexes[i] = i;
	run.client = smtp_client_new(&opts);
	buf_init(&run.log, 1 << 20);
	for (size_t at = 0; at < len; at += chunk) {
		size_t part = len - at < chunk ? len - at : chunk;
		char piece[65536];

		/* a copy of its own, so that the sanitizer sees its end */
		memcpy(piece, bytes + at, part);
		feed(&run, piece, part);
	}
	while (serve(&run))
		;
	if (smtp_client_want(run.client) == CLIENT_WANTS_REPLY ||
	    smtp_client_want(run.client) == CLIENT_WANTS_BODY)
		smtp_client_fail(run.client,
				 (flags & TIMEOUT) != 0 ? CAUSE_REPLY_TIMEOUT
							: CAUSE_CONNECTION_LOST,
				 "%s", "gone");
	if (run.sent != 0) {
		log_results(&run);
	} else {
		(void)buf_adds(&run.log, "! ");
		log_result(&run, smtp_client_failure(run.client));
		(void)buf_adds(&run.log, "\n");
	}
	(void)buf_add(out_log, buf_bytes(&run.log), buf_len(&run.log));
	buf_done(&run.log);
	smtp_client_free(run.client);
	free(envelope.recipients);
}

/* It comes out as it went in, however it is cut. */
static void
check_splits(const struct transcript *transcript)
{
	struct buf server, log;

	buf_init(&server, 65536);
	buf_init(&log, 1 << 20);
	server_bytes(transcript->text, &server);
	for (size_t chunk = 1; chunk <= buf_len(&server) + 1; chunk++) {
		run_case(transcript->flags, transcript->recipients,
			 (const char *)buf_bytes(&server), buf_len(&server),
			 chunk, &log);
		ck_assert_msg(strcmp(buf_text(&log), transcript->text) == 0,
			      "%s, in pieces of %zu:\n%s", transcript->name,
			      chunk, buf_text(&log));
		buf_clear(&log);
	}
	buf_done(&server);
	buf_done(&log);
}

static unsigned
count_lines(const char *text, const char *start)
{
	struct str rest = str_of(text), line;
	unsigned count = 0;

	while (str_cut(&rest, '\n', &line))
		count += str_starts_nocase(line, start);
	return count;
}

/* Is there a 2xx for the dot, or for each chunk and the last one too? */
static bool
is_end_answered(const char *log)
{
	const char *chunk = strstr(log, "C: BDAT");

	if (chunk == NULL)
		return strstr(log, "[body]\nC: .\nS: 2") != NULL;
	return strstr(chunk, " LAST\n") != NULL &&
	       count_lines(chunk, "S: 2") >= count_lines(chunk, "C: BDAT");
}

/* Wherever the server's bytes end, nobody is called delivered without a
 * whole 2xx behind the dot or the last chunk, and everybody has a result. */
static void
check_ends(const struct transcript *transcript)
{
	struct buf server, log;

	buf_init(&server, 65536);
	buf_init(&log, 1 << 20);
	server_bytes(transcript->text, &server);
	for (size_t len = 0; len < buf_len(&server); len++) {
		run_case(transcript->flags & ~(unsigned)TWICE,
			 transcript->recipients,
			 (const char *)buf_bytes(&server), len, 1000, &log);
		/* of a probe the word means RCPT */
		if ((transcript->flags & PROBE) == 0 &&
		    !is_end_answered(buf_text(&log)))
			ck_assert_ptr_null(
				strstr(buf_text(&log), ": delivered"));
		buf_clear(&log);
	}
	buf_done(&server);
	buf_done(&log);
}

#endif
