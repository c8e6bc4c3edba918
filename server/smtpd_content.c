/* SPDX-License-Identifier: ISC */
#include "server/smtpd_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/clock.h"
#include "lib/mem.h"
#include "lib/net/stream.h"
#include "server/received.h"
#include "server/submission.h"

void
transaction_free(struct transaction *t)
{
	if (t == NULL)
		return;
	if (t->is_put)
		queue_put_abort(&t->put);
	envelope_done(&t->envelope);
	free(t->seen);
	free(t->submission);
	config_unref(t->config);
	free(t);
}

static void
on_put_room(void *owner)
{
	struct smtpd_session *s = owner;

	/* it may come behind the end, when nobody asks for room any more */
	if (s->wait != WAIT_ROOM)
		return;
	s->wait = WAIT_NONE;
	session_pump(s);
}

static void
session_log_queued(struct smtpd_session *s)
{
	struct transaction *t = s->transaction;
	char id[SPOOL_ID_MAX];
	struct log_line line;

	session_log(s, &line, LOG_LEVEL_INFO, "queued");
	log_text(&line, "id", spool_id_format(t->id, id));
	log_text(&line, "from", t->sender.text);
	log_number(&line, "recipients", (int64_t)s->proto.recipients);
	log_number(&line, "size", (int64_t)t->size);
	log_text(&line, "helo", s->proto.helo);
	log_end(&line);
}

static void
on_put_end(void *owner, int status)
{
	struct smtpd_session *s = owner;
	struct transaction *t = s->transaction;
	struct status reply;
	char id[SPOOL_ID_MAX];

	s->wait = WAIT_NONE;
	t->is_put = false;
	if (status == 0) {
		t->is_charged = false; /* and stays so: it was sent */
		s->messages++;
		s->smtpd->stats.messages++;
		s->smtpd->stats.bytes += t->size;
		session_log_queued(s);
		status_set(&reply, 250, "2.0.0", "Queued as %s",
			   spool_id_format(t->id, id));
	} else {
		if (status == -ENOSPC || status == -EDQUOT)
			status_set(&reply, 452, "4.3.1",
				   "Insufficient system storage, try again "
				   "later");
		else if (status == -EMSGSIZE)
			status_set(&reply, 552, "5.3.4",
				   "The envelope is too large");
		else
			status_set(&reply, 451, "4.3.0",
				   "The message could not be stored, try "
				   "again later");
		session_log_reject(s, NULL, &reply, "spool", SCENARIO_NONE);
	}
	session_forget_transaction(s);
	(void)smtpd_proto_content_end(&s->proto, &reply, &s->smtpd->reply);
	session_pump(s);
}

/* RFC 6409, 8: only what authors hand in is completed. */
static void
session_begin_submission(struct transaction *t, uint64_t now_ms, const char *id)
{
	char date[CLOCK_DATE_MAX], message_id[ADDR_DOMAIN_MAX + 64];

	/* the time makes it unique beyond this spool */
	(void)snprintf(message_id, sizeof(message_id), "%s.%llx@%s", id,
		       (unsigned long long)now_ms, t->config->hostname);
	t->submission = mem_zalloc(sizeof(*t->submission));
	submission_init(t->submission, clock_format_rfc5322(now_ms, date),
			message_id);
}

void
session_begin_content(struct smtpd_session *s)
{
	struct transaction *t = s->transaction;
	struct stream_tls_info tls = {0};
	char id[SPOOL_ID_MAX];
	struct received received = {
		.helo = s->proto.helo,
		.client_name = s->client_name,
		.client = s->ip,
		.hostname = t->config->hostname,
		.is_esmtp = s->proto.is_esmtp,
		.is_utf8 = t->envelope.is_utf8,
		.is_authenticated = s->proto.is_authenticated,
		.now_ms = clock_wall_ms(),
	};
	struct buf field;

	t->is_begun = true;
	if (stream_tls_info(s->stream, &tls)) {
		received.tls_version = tls.version;
		received.tls_cipher = tls.cipher;
	}
	if (t->envelope.recipient_count == 1)
		received.recipient = t->envelope.recipients[0].address;
	t->envelope.received_ms = received.now_ms;
	t->put.owner = s;
	t->put.on_room = on_put_room;
	t->put.on_end = on_put_end;
	buf_init(&field, 4096);
	/* formatted before the queue takes the envelope, with the id after */
	queue_put_begin(s->smtpd->queue, &t->put, &t->envelope);
	t->is_put = true;
	t->id = t->put.spool.id;
	received.id = spool_id_format(t->id, id);
	if (t->put.envelope != NULL && received.recipient != NULL)
		received.recipient = t->put.envelope->recipients[0].address;
	received_format(&received, &field);
	(void)queue_put_data(&t->put, buf_bytes(&field), buf_len(&field));
	t->size = buf_len(&field);
	buf_done(&field);
	if (session_listener(s)->role == POLICY_SUBMISSION)
		session_begin_submission(t, received.now_ms, received.id);
}

static void
session_put(struct smtpd_session *s, struct str run)
{
	struct transaction *t = s->transaction;

	t->size += run.len;
	if (run.len != 0 && queue_put_data(&t->put, run.at, run.len))
		s->wait = WAIT_ROOM;
}

/* The message will not be taken; its bytes are read and dropped. */
static void
session_refuse_content(struct smtpd_session *s, unsigned code,
		       const char *enhanced, const char *text)
{
	struct transaction *t = s->transaction;

	if (t->refusal.code != 0)
		return;
	status_set(&t->refusal, code, enhanced, "%s", text);
	queue_put_abort(&t->put);
	t->is_put = false;
}

/* RFC 5321: what the content itself may be refused for, when it is over. */
static void
session_judge_content(struct smtpd_session *s)
{
	struct transaction *t = s->transaction;
	const struct smtp_data_facts *facts = &t->decoder.facts;

	header_scan_end(&t->header);
	smtp_data_inspect_end(&t->decoder.facts); /* nothing behind DATA */
	if (facts->has_bare_lf || facts->has_bare_cr)
		session_refuse_content(s, 554, "5.6.0",
				       "Message has a CR or LF alone; lines "
				       "end in CR LF");
	else if (facts->has_nul)
		session_refuse_content(s, 554, "5.6.0",
				       "Message has a NUL character");
	else if (t->header.received >= t->config->limits.hops)
		/* 6.3: counting Received lines finds loops */
		session_refuse_content(s, 554, "5.4.6",
				       "Too many hops: the message is "
				       "probably looping");
}

void
session_end_content(struct smtpd_session *s)
{
	struct transaction *t = s->transaction;

	s->wait = WAIT_NONE; /* what was taken last needs no room */
	session_judge_content(s);
	if (t->refusal.code == 0) {
		if (t->submission != NULL)
			session_put(s, submission_end(t->submission));
		s->wait = WAIT_SAVE;
		queue_put_end(&t->put);
		return;
	}
	s->smtpd->stats.rejected++;
	session_log_reject(s, NULL, &t->refusal, "content", SCENARIO_NONE);
	(void)smtpd_proto_content_end(&s->proto, &t->refusal, &s->smtpd->reply);
	session_forget_transaction(s);
}

/* Message bytes, dots removed, into the queue. */
static void
session_take(struct smtpd_session *s, struct str run)
{
	struct transaction *t = s->transaction;
	uint64_t max_bytes = t->config->limits.message_size;

	if (run.len == 0 || t->refusal.code != 0)
		return;
	if (!t->header.is_done)
		header_scan_feed(&t->header, (const uint8_t *)run.at, run.len);
	if (max_bytes != 0 && t->decoder.facts.bytes > max_bytes) {
		session_refuse_content(s, 552, "5.3.4", "Message too big");
		return;
	}
	if (t->submission == NULL) {
		session_put(s, run);
		return;
	}
	while (run.len != 0) {
		struct str out;
		size_t used =
			submission_feed(t->submission, (const uint8_t *)run.at,
					run.len, &out);

		session_put(s, out);
		run = str_from(run.at + used, run.len - used);
	}
}

size_t
session_content(struct smtpd_session *s, const uint8_t *bytes, size_t len)
{
	struct transaction *t = s->transaction;
	size_t used = 0;
	bool is_end = false;

	while (used < len && !is_end && s->wait == WAIT_NONE) {
		struct str run;

		used += smtp_data_decode(&t->decoder, bytes + used, len - used,
					 &run, &is_end);
		session_take(s, run);
	}
	if (is_end)
		session_end_content(s);
	return used;
}

void
session_chunk(struct smtpd_session *s, const uint8_t *bytes, size_t len)
{
	struct transaction *t = s->transaction;

	smtp_data_inspect(&t->decoder.facts, bytes, len);
	session_take(s, str_from((const char *)bytes, len));
}
