/* SPDX-License-Identifier: ISC */
#include "server/smtpd_session.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/auth_server.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "lib/net/stream.h"
#include "lib/net/tls_ctx.h"
#include "lib/wire/header_scan.h"
#include "lib/wire/smtp_data.h"
#include "queue/queue.h"
#include "server/client_name.h"
#include "server/config.h"
#include "server/received.h"
#include "server/smtpd.h"
#include "server/smtpd_proto.h"

/* Replies to pipelined commands are gathered up to this before they leave. */
#define SESSION_REPLY_FLUSH 32768
#define SESSION_ID_MAX	    12

/* What exists only while a message is on its way in. */
struct transaction {
	struct config *config; /* shares: the one of its MAIL */
	struct addr sender;
	struct envelope envelope;
	struct queue_put put;
	bool is_put; /* put was begun and not yet ended */
	struct smtp_data_decoder decoder;
	struct header_scan header;
	uint64_t size;
	struct status refusal; /* code 0: none so far */
	uint64_t id;
};

enum session_wait {
	WAIT_NONE, /* the client's turn */
	WAIT_TLS,  /* handshake */
	WAIT_AUTH, /* a worker checks */
	WAIT_ROOM, /* the spool has no room for more content just now */
	WAIT_SAVE, /* the message becomes durable */
};

struct smtpd_session {
	struct list link; /* smtpd->sessions */
	struct smtpd *smtpd;
	struct smtpd_client *client;
	struct stream *stream;
	struct config *config; /* shares: the current one at the last MAIL */
	size_t listener;       /* index in config->listeners */
	struct smtpd_proto proto;
	enum session_wait wait;
	bool is_blocked; /* the peer does not read its replies */
	bool is_eof;
	bool is_esmtps; /* TLS is on */
	bool is_unix;
	struct ip ip;
	char id[SESSION_ID_MAX];
	char *login;	   /* owns; NULL: not logged in */
	char *client_name; /* owns; NULL: none (yet) */
	struct client_name *lookup;
	struct auth_exchange *exchange;
	struct transaction *transaction;
	uint64_t started_ms; /* boot clock */
	uint64_t messages;
};

static void session_pump(struct smtpd_session *s);

struct smtpd_session *
session_from_link(struct list *link)
{
	return container_of(link, struct smtpd_session, link);
}

static const struct listener_config *
session_listener(const struct smtpd_session *s)
{
	return &s->config->listeners[s->listener];
}

/* --------------------------------------------------------------- logging */

static void
session_log(struct smtpd_session *s, struct log_line *line,
	    enum log_level level, const char *event)
{
	char ip[IP_TEXT_MAX];

	log_begin(line, level, event);
	if (!line->is_on)
		return;
	log_text(line, "session", s->id);
	log_text(line, "listener", session_listener(s)->name);
	log_text(line, "client", s->is_unix ? "unix" : ip_format(&s->ip, ip));
	if (s->login != NULL)
		log_text(line, "user", s->login);
}

static void
session_log_reject(struct smtpd_session *s, const struct addr *to,
		   const struct status *status, const char *rule,
		   enum policy_scenario scenario)
{
	const struct transaction *t = s->transaction;
	char enhanced[12];
	struct log_line line;

	session_log(s, &line, LOG_LEVEL_INFO, "reject");
	if (t != NULL)
		log_text(&line, "from", t->sender.text);
	if (to != NULL)
		log_text(&line, "to", to->text);
	log_text(&line, "helo", s->proto.helo);
	log_number(&line, "code", status->code);
	log_text(&line, "status", status_enhanced(status, enhanced));
	log_text(&line, "rule", rule);
	if (scenario != SCENARIO_NONE)
		log_text(&line, "scenario", policy_scenario_name(scenario));
	log_text(&line, "reply", status->text);
	log_end(&line);
}

/* ------------------------------------------------------------------ end */

static void
transaction_free(struct transaction *t)
{
	if (t == NULL)
		return;
	if (t->is_put)
		queue_put_abort(&t->put);
	envelope_done(&t->envelope);
	config_unref(t->config);
	free(t);
}

static void
session_forget_transaction(struct smtpd_session *s)
{
	transaction_free(s->transaction);
	s->transaction = NULL;
}

static void
session_free(struct smtpd_session *s, const char *why, bool is_abort)
{
	struct smtpd *smtpd = s->smtpd;
	struct log_line line;

	session_log(s, &line, LOG_LEVEL_INFO, "disconnect");
	log_number(&line, "messages", (int64_t)s->messages);
	log_text(&line, "reason", why);
	log_end(&line);

	list_remove(&s->link);
	session_forget_transaction(s);
	auth_free(s->exchange);
	client_name_cancel(s->lookup);
	if (is_abort)
		stream_abort(s->stream);
	else
		stream_close(s->stream);
	smtpd_client_gone(smtpd, s->client);
	smtpd_proto_done(&s->proto);
	config_unref(s->config);
	free(s->login);
	free(s->client_name);
	free(s);
	smtpd->stats.sessions--;
	smtpd_check_idle(smtpd);
}

/* Sends what was written and keeps the order of things: replies first. */
static void
session_flush(struct smtpd_session *s)
{
	struct buf *out = &s->smtpd->reply;

	if (buf_len(out) == 0)
		return;
	if (stream_write(s->stream, buf_bytes(out), buf_len(out)))
		s->is_blocked = true;
	buf_clear(out);
}

static void
session_close(struct smtpd_session *s, const char *why)
{
	session_flush(s);
	session_free(s, why, false);
}

/* ---------------------------------------------------------- environment */

static void
session_env(struct smtpd_session *s, struct smtpd_env *env)
{
	const struct config *config = s->config;
	const struct listener_config *listener = session_listener(s);
	struct auth_server *auth = s->smtpd->auth;
	bool is_secure = s->is_esmtps || s->is_unix ||
			 config->auth.plaintext_without_tls;

	env->hostname = config->hostname;
	env->is_submission = listener->role == POLICY_SUBMISSION;
	env->offers_tls =
		listener->tls == LISTENER_TLS_STARTTLS && !s->is_esmtps;
	env->is_secure = s->is_esmtps;
	env->mechanisms = auth != NULL && !s->is_unix
				  ? auth_server_mechanisms(auth, is_secure)
				  : "";
	env->mechanisms_under_tls = auth != NULL && !s->is_unix
					    ? auth_server_mechanisms(auth, true)
					    : "";
	env->message_size = config->limits.message_size;
	env->recipients = config->limits.recipients;
	env->errors = config->limits.errors;
	env->auth_failures = config->limits.auth_failures;
}

/* The configuration may have changed since the last transaction. */
static void
session_take_config(struct smtpd_session *s)
{
	struct config *now = s->smtpd->config;
	const char *name = session_listener(s)->name;

	if (now == s->config)
		return;
	for (size_t i = 0; i < now->listener_count; i++) {
		if (strcmp(now->listeners[i].name, name) != 0)
			continue;
		config_ref(now);
		config_unref(s->config);
		s->config = now;
		s->listener = i;
		return;
	}
	/* its listener is gone: the session goes on as it began */
}

static struct tls_ctx *
session_tls_ctx(const struct smtpd_session *s)
{
	const struct smtpd_tls *tls = s->smtpd->tls;
	const char *name = session_listener(s)->name;
	const struct config *now = s->smtpd->config;

	for (size_t i = 0; i < tls->count; i++)
		if (strcmp(now->listeners[i].name, name) == 0)
			return tls->contexts[i];
	return NULL;
}

static void
session_facts(const struct smtpd_session *s, struct policy_facts *facts)
{
	memset(facts, 0, sizeof(*facts));
	facts->role = session_listener(s)->role;
	facts->client = s->ip;
	facts->login = s->login;
	facts->has_tls = s->is_esmtps;
	facts->helo = s->proto.helo;
	facts->points_here = POINTS_UNKNOWN;
}

/* -------------------------------------------------------------- envelope */

/* Can mail be taken at all? Fills the refusal when not. */
static bool
session_can_accept(struct smtpd_session *s, struct status *refusal)
{
	if (s->smtpd->is_draining) {
		status_set(refusal, 421, "4.3.2", "%s is shutting down",
			   s->config->hostname);
		return false;
	}
	switch (queue_accepting(s->smtpd->queue)) {
	case QUEUE_ACCEPTS:
		return true;
	case QUEUE_SHORT:
		status_set(refusal, 452, "4.3.1",
			   "Insufficient system storage, try again later");
		return false;
	case QUEUE_BROKEN:
		break;
	}
	status_set(refusal, 421, "4.3.0", "%s cannot take mail now",
		   s->config->hostname);
	return false;
}

static enum smtpd_effect
session_refuse_sender(struct smtpd_session *s, const struct smtpd_env *env,
		      const struct addr *sender, const struct status *status,
		      const char *rule, struct buf *out)
{
	struct log_line line;
	char enhanced[12];

	s->smtpd->stats.rejected++;
	session_log(s, &line, LOG_LEVEL_INFO, "reject");
	log_text(&line, "from", sender->text);
	log_text(&line, "helo", s->proto.helo);
	log_number(&line, "code", status->code);
	log_text(&line, "status", status_enhanced(status, enhanced));
	log_text(&line, "rule", rule);
	log_text(&line, "reply", status->text);
	log_end(&line);
	return smtpd_proto_sender(&s->proto, env, status, out);
}

static void
session_begin_transaction(struct smtpd_session *s, const struct smtp_mail *mail)
{
	struct transaction *t = mem_zalloc(sizeof(*t));
	char ip[IP_TEXT_MAX];

	t->config = config_ref(s->config);
	t->sender = mail->sender;
	envelope_init(&t->envelope);
	t->envelope.sender = mem_strdup(mail->sender.text);
	t->envelope.listener = mem_strdup(session_listener(s)->name);
	t->envelope.client =
		mem_strdup(s->is_unix ? "unix" : ip_format(&s->ip, ip));
	t->envelope.helo = mem_strdup(s->proto.helo);
	t->envelope.login = mem_strdup(s->login);
	if (mail->envid[0] != '\0')
		t->envelope.envid = mem_strdup(mail->envid);
	t->envelope.ret = mail->ret;
	t->envelope.is_8bit = mail->body == SMTP_BODY_8BIT;
	t->envelope.is_utf8 = mail->is_utf8;
	s->transaction = t;
}

static enum smtpd_effect
session_sender(struct smtpd_session *s, const struct smtpd_env *env,
	       struct smtp_mail *mail, struct buf *out)
{
	struct policy *policy = s->config->policy;
	struct policy_facts facts;
	struct verdict verdict;
	struct status refusal;

	if (!session_can_accept(s, &refusal))
		return session_refuse_sender(s, env, &mail->sender, &refusal,
					     "resources", out);
	/* RFC 6409, 6: only submission completes addresses */
	if (mail->sender.text[0] != '\0' && mail->sender.domain_len == 0 &&
	    !addr_qualify(&mail->sender, policy_qualify(policy))) {
		status_set(&refusal, 501, "5.1.7", "Sender address too long");
		return session_refuse_sender(s, env, &mail->sender, &refusal,
					     "no-domain", out);
	}
	session_facts(s, &facts);
	facts.sender = &mail->sender;
	policy_decide_sender(policy, &facts, &verdict, NULL);
	if (!verdict.is_accepted)
		return session_refuse_sender(s, env, &mail->sender,
					     &verdict.status,
					     policy_rule_name(verdict.rule),
					     out);
	session_begin_transaction(s, mail);
	return smtpd_proto_sender(&s->proto, env, NULL, out);
}

struct expansion {
	struct transaction *transaction;
	const struct smtp_rcpt *rcpt;
};

static void
on_final_recipient(void *arg, const struct addr *final)
{
	struct expansion *expansion = arg;
	struct envelope *envelope = &expansion->transaction->envelope;
	struct recipient *recipient;

	/* an alias may lead to somebody who was named before */
	for (size_t i = 0; i < envelope->recipient_count; i++)
		if (strcmp(envelope->recipients[i].address, final->text) == 0)
			return;
	recipient = envelope_add(envelope, final->text);
	recipient->notify = expansion->rcpt->notify;
	if (expansion->rcpt->orcpt[0] != '\0')
		recipient->orcpt = mem_strdup(expansion->rcpt->orcpt);
}

static enum smtpd_effect
session_recipient(struct smtpd_session *s, const struct smtpd_env *env,
		  struct smtp_rcpt *rcpt, struct buf *out)
{
	struct transaction *t = s->transaction;
	struct policy *policy = t->config->policy;
	struct expansion expansion = {t, rcpt};
	struct policy_facts facts;
	struct verdict verdict;

	if (rcpt->address.domain_len == 0 && env->is_submission)
		(void)addr_qualify(&rcpt->address, policy_qualify(policy));
	session_facts(s, &facts);
	facts.sender = &t->sender;
	facts.recipient = &rcpt->address;
	policy_decide(policy, &facts, &verdict, NULL);
	if (!verdict.is_accepted) {
		s->smtpd->stats.rejected++;
		if (verdict.rule == RULE_RELAY_DENIED ||
		    verdict.rule == RULE_MX_POINTS_HERE)
			s->smtpd->stats.relay_denied++;
		session_log_reject(s, &rcpt->address, &verdict.status,
				   policy_rule_name(verdict.rule),
				   verdict.scenario);
		return smtpd_proto_recipient(&s->proto, env, &verdict.status,
					     NULL, out);
	}
	s->smtpd->stats.recipients++;
	policy_expand(policy, &rcpt->address, on_final_recipient, &expansion);
	if (log_is_on(LOG_LEVEL_DEBUG)) {
		struct log_line line;

		session_log(s, &line, LOG_LEVEL_DEBUG, "rcpt");
		log_text(&line, "from", t->sender.text);
		log_text(&line, "to", rcpt->address.text);
		log_text(&line, "rule", policy_rule_name(verdict.rule));
		log_end(&line);
	}
	return smtpd_proto_recipient(&s->proto, env, NULL, rcpt->address.text,
				     out);
}

/* --------------------------------------------------------------- content */

static void
on_put_room(void *owner)
{
	struct smtpd_session *s = owner;

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

static void
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

static void
session_end_content(struct smtpd_session *s)
{
	struct transaction *t = s->transaction;

	session_judge_content(s);
	if (t->refusal.code == 0) {
		s->wait = WAIT_SAVE;
		queue_put_end(&t->put);
		return;
	}
	s->smtpd->stats.rejected++;
	session_log_reject(s, NULL, &t->refusal, "content", SCENARIO_NONE);
	(void)smtpd_proto_content_end(&s->proto, &t->refusal, &s->smtpd->reply);
	session_forget_transaction(s);
}

/* Takes message bytes; returns how many were used. */
static size_t
session_content(struct smtpd_session *s, const uint8_t *bytes, size_t len)
{
	struct transaction *t = s->transaction;
	uint64_t max_bytes = t->config->limits.message_size;
	size_t used = 0;
	bool is_end = false;

	while (used < len && !is_end && s->wait == WAIT_NONE) {
		struct str run;

		used += smtp_data_decode(&t->decoder, bytes + used, len - used,
					 &run, &is_end);
		if (run.len == 0 || t->refusal.code != 0)
			continue;
		if (!t->header.is_done)
			header_scan_feed(&t->header, (const uint8_t *)run.at,
					 run.len);
		t->size += run.len;
		if (max_bytes != 0 && t->decoder.facts.bytes > max_bytes)
			session_refuse_content(s, 552, "5.3.4",
					       "Message too big");
		else if (queue_put_data(&t->put, run.at, run.len) && !is_end)
			s->wait = WAIT_ROOM;
	}
	if (is_end)
		session_end_content(s);
	return used;
}

/* ----------------------------------------------------------------- login */

static void
session_log_auth(struct smtpd_session *s, bool is_ok, const char *login,
		 const char *reason)
{
	struct log_line line;

	session_log(s, &line, is_ok ? LOG_LEVEL_INFO : LOG_LEVEL_WARN, "auth");
	log_text(&line, "result", is_ok ? "ok" : "failed");
	if (!is_ok)
		log_text(&line, "user", login);
	log_bool(&line, "tls", s->is_esmtps);
	log_text(&line, "reason", reason);
	log_end(&line);
}

static void
on_auth(void *owner, const struct auth_answer *answer)
{
	static const enum smtpd_auth_result results[] = {
		[AUTH_CHALLENGE] = SMTPD_AUTH_CHALLENGE,
		[AUTH_OK] = SMTPD_AUTH_OK,
		[AUTH_DENIED] = SMTPD_AUTH_DENIED,
		[AUTH_BAD_DATA] = SMTPD_AUTH_BAD_DATA,
		[AUTH_TEMPORARY] = SMTPD_AUTH_TEMPORARY,
	};
	struct smtpd_session *s = owner;
	struct smtpd_env env;
	enum smtpd_effect effect;

	s->wait = WAIT_NONE;
	if (answer->result == AUTH_OK) {
		s->login = mem_strdup(answer->login);
		s->smtpd->stats.logins++;
	} else if (answer->result == AUTH_DENIED) {
		s->smtpd->stats.failed_logins++;
	}
	if (answer->result != AUTH_CHALLENGE)
		session_log_auth(s, answer->result == AUTH_OK, answer->login,
				 answer->reason);
	session_env(s, &env);
	effect = smtpd_proto_auth(&s->proto, &env, results[answer->result],
				  answer->challenge, &s->smtpd->reply);
	if (answer->result != AUTH_CHALLENGE) {
		auth_free(s->exchange);
		s->exchange = NULL;
	}
	if (effect == SMTPD_DO_CLOSE) {
		session_close(s, "too many failed logins");
		return;
	}
	session_pump(s);
}

static void
session_begin_auth(struct smtpd_session *s, const struct smtp_auth *auth)
{
	uint8_t binding[128];
	struct auth_start start = {
		.mechanism = str_of(auth->mechanism),
		.has_initial = auth->has_initial,
		.initial = auth->initial,
		.is_secure =
			s->is_esmtps || s->config->auth.plaintext_without_tls,
		.client = s->ip,
	};

	start.binding_len =
		stream_channel_binding(s->stream, binding, sizeof(binding),
				       &start.binding_type);
	if (start.binding_len != 0)
		start.binding = binding;
	stream_local(s->stream, &start.local, &start.local_port);
	s->wait = WAIT_AUTH;
	s->exchange = auth_begin(s->smtpd->auth, &start, on_auth, s);
}

/* --------------------------------------------------------------- effects */

/* Carries out an effect. False: the session is gone. */
static bool
session_apply(struct smtpd_session *s, const struct smtpd_env *env,
	      enum smtpd_effect effect, struct smtpd_ask *ask)
{
	struct buf *out = &s->smtpd->reply;

	switch (effect) {
	case SMTPD_DO_NOTHING:
		return true;
	case SMTPD_DO_CLOSE:
		session_close(s, s->proto.errors >= env->errors
					 ? "too many errors"
					 : "quit");
		return false;
	case SMTPD_DO_TLS:
		session_flush(s);
		s->wait = WAIT_TLS;
		session_forget_transaction(s);
		stream_start_tls(s->stream, session_tls_ctx(s), STREAM_SERVER,
				 NULL);
		return true;
	case SMTPD_DO_AUTH_BEGIN:
		session_begin_auth(s, &ask->auth);
		return true;
	case SMTPD_DO_AUTH_STEP:
		s->wait = WAIT_AUTH;
		auth_step(s->exchange, ask->line);
		return true;
	case SMTPD_DO_AUTH_CANCEL:
		auth_free(s->exchange);
		s->exchange = NULL;
		return true;
	case SMTPD_DO_DECIDE_SENDER:
		effect = session_sender(s, env, &ask->mail, out);
		return session_apply(s, env, effect, ask);
	case SMTPD_DO_DECIDE_RCPT:
		effect = session_recipient(s, env, &ask->rcpt, out);
		return session_apply(s, env, effect, ask);
	case SMTPD_DO_CONTENT:
		session_begin_content(s);
		return true;
	case SMTPD_DO_RESET:
		session_forget_transaction(s);
		return true;
	}
	return true;
}

/* One command from the front. False: the session is gone. */
static bool
session_command(struct smtpd_session *s, const uint8_t *bytes, size_t len,
		bool *out_has_event)
{
	struct smtp_cmd_event event;
	struct smtpd_ask ask;
	struct smtpd_env env;
	enum smtpd_effect effect;
	size_t used;

	used = smtp_cmd_next(&s->proto.cmd, smtpd_proto_mode(&s->proto), bytes,
			     len, &event);
	*out_has_event = event.kind != SMTP_CMD_NEED_MORE;
	if (!*out_has_event) {
		stream_consume(s->stream, used);
		return true;
	}
	if (s->transaction == NULL)
		session_take_config(s);
	session_env(s, &env);
	effect = smtpd_proto_event(&s->proto, &env, &event, &s->smtpd->reply,
				   &ask);
	/* STARTTLS must see that nothing follows it, so its line goes first;
	 * what AUTH lends from the line is copied before it goes */
	if (effect == SMTPD_DO_TLS) {
		stream_consume(s->stream, used);
		return session_apply(s, &env, effect, &ask);
	}
	if (!session_apply(s, &env, effect, &ask))
		return false;
	stream_consume(s->stream, used);
	return true;
}

static bool
session_is_idle(const struct smtpd_session *s)
{
	return s->wait == WAIT_NONE &&
	       (s->proto.state == SMTPD_FRESH || s->proto.state == SMTPD_READY);
}

/* How long the client may take now. */
static void
session_set_deadline(struct smtpd_session *s)
{
	const struct config *config = s->config;
	uint64_t age_ms = clock_boot_ms() - s->started_ms;
	uint64_t ms = config->limits.command_timeout_ms;
	uint64_t left_ms = age_ms < config->limits.session_ms
				   ? config->limits.session_ms - age_ms
				   : 1;

	if (s->wait == WAIT_AUTH || s->wait == WAIT_SAVE ||
	    s->wait == WAIT_ROOM) {
		stream_set_deadline(s->stream, 0); /* it is our turn */
		return;
	}
	if (s->proto.state == SMTPD_CONTENT)
		ms = config->limits.data_timeout_ms;
	stream_set_deadline(s->stream, ms < left_ms ? ms : left_ms);
}

static void
session_goodbye(struct smtpd_session *s, const char *enhanced, const char *text,
		const char *why)
{
	struct smtpd_env env;

	session_env(s, &env);
	(void)smtpd_proto_goodbye(&s->proto, &env, enhanced, text,
				  &s->smtpd->reply);
	session_close(s, why);
}

/* Works on what the client has sent until it is our turn to wait. */
static void
session_pump(struct smtpd_session *s)
{
	while (s->wait == WAIT_NONE && !s->is_blocked) {
		const uint8_t *bytes;
		size_t len;
		bool has_event;

		bytes = stream_bytes(s->stream, &len);
		if (len == 0)
			break;
		if (s->proto.state == SMTPD_CONTENT) {
			stream_consume(s->stream,
				       session_content(s, bytes, len));
			continue;
		}
		if (!session_command(s, bytes, len, &has_event))
			return;
		if (!has_event)
			break;
		if (buf_len(&s->smtpd->reply) > SESSION_REPLY_FLUSH)
			session_flush(s);
	}
	if (s->smtpd->is_draining && session_is_idle(s)) {
		session_goodbye(s, "4.3.2", "is shutting down", "shutdown");
		return;
	}
	session_flush(s);
	if (s->is_eof && s->wait == WAIT_NONE && !s->is_blocked) {
		session_free(s, "closed by the client", false);
		return;
	}
	session_set_deadline(s);
}

/* ---------------------------------------------------------------- events */

static void
on_name(void *owner, const char *name)
{
	struct smtpd_session *s = owner;

	s->lookup = NULL;
	s->client_name = mem_strdup(name);
}

static void
session_log_connect(struct smtpd_session *s)
{
	struct log_line line;

	session_log(s, &line, LOG_LEVEL_INFO, "connect");
	log_end(&line);
}

static void
session_greet(struct smtpd_session *s)
{
	struct smtpd_env env;
	enum smtpd_effect effect;

	session_env(s, &env);
	effect = smtpd_proto_greet(&s->proto, &env,
				   !s->smtpd->is_draining &&
					   queue_accepting(s->smtpd->queue) !=
						   QUEUE_BROKEN,
				   &s->smtpd->reply);
	if (effect == SMTPD_DO_CLOSE) {
		session_close(s, "not accepting");
		return;
	}
	session_pump(s);
}

static void
session_secured(struct smtpd_session *s)
{
	struct stream_tls_info tls;
	struct log_line line;

	s->is_esmtps = true;
	s->wait = WAIT_NONE;
	if (stream_tls_info(s->stream, &tls)) {
		session_log(s, &line, LOG_LEVEL_INFO, "tls");
		log_text(&line, "tls", tls.version);
		log_text(&line, "cipher", tls.cipher);
		log_end(&line);
	}
	if (session_listener(s)->tls == LISTENER_TLS_IMPLICIT) {
		session_greet(s);
		return;
	}
	smtpd_proto_secured(&s->proto);
	session_pump(s);
}

static void
session_failed(struct smtpd_session *s)
{
	const struct err *err = stream_error(s->stream);
	struct log_line line;

	if (s->wait == WAIT_TLS) {
		session_log(s, &line, LOG_LEVEL_INFO, "tls");
		log_text(&line, "result", "failed");
		log_text(&line, "reason", err->text);
		log_end(&line);
	}
	session_free(s, err->text, true);
}

static void
session_deadline(struct smtpd_session *s)
{
	uint64_t age_ms = clock_boot_ms() - s->started_ms;

	if (s->wait == WAIT_TLS) {
		session_free(s, "TLS handshake timed out", true);
		return;
	}
	if (age_ms >= s->config->limits.session_ms)
		session_goodbye(s, "4.4.2", "Session is too long",
				"session limit");
	else
		session_goodbye(s, "4.4.2", "Timeout", "timeout");
}

static void
on_stream(void *owner, enum stream_event event)
{
	struct smtpd_session *s = owner;

	switch (event) {
	case STREAM_CONNECTED:
		break; /* outbound only */
	case STREAM_DATA:
		session_pump(s);
		break;
	case STREAM_DRAINED:
		s->is_blocked = false;
		session_pump(s);
		break;
	case STREAM_SECURED:
		session_secured(s);
		break;
	case STREAM_EOF:
		s->is_eof = true;
		session_pump(s);
		break;
	case STREAM_DEADLINE:
		session_deadline(s);
		break;
	case STREAM_FAILED:
		session_failed(s);
		break;
	}
}

/* ------------------------------------------------------------------ life */

/* RFC 4954 does not know this: the kernel says who is on the other side. */
static void
session_login_by_uid(struct smtpd_session *s)
{
	int64_t uid = stream_peer_uid(s->stream);
	struct passwd entry, *found = NULL;
	char room[1024];

	if (uid < 0)
		return;
	if (getpwuid_r((uid_t)uid, &entry, room, sizeof(room), &found) == 0 &&
	    found != NULL)
		s->login = mem_printf("unix:%s", found->pw_name);
	else
		s->login = mem_printf("unix:%lld", (long long)uid);
	s->proto.is_authenticated = true;
}

void
session_open(struct smtpd *smtpd, size_t listener, struct smtpd_client *client,
	     struct stream *stream)
{
	struct smtpd_session *s = mem_zalloc(sizeof(*s));

	s->smtpd = smtpd;
	s->client = client;
	s->stream = stream;
	s->config = config_ref(smtpd->config);
	s->listener = listener;
	s->started_ms = clock_boot_ms();
	smtpd_proto_init(&s->proto);
	stream_peer(stream, &s->ip, NULL);
	s->is_unix = s->ip.family == IP_NONE;
	(void)snprintf(s->id, sizeof(s->id), "%08llx",
		       (unsigned long long)(smtpd->next_session++ &
					    0xffffffff));
	list_push(&smtpd->sessions, &s->link);
	smtpd->stats.sessions++;
	stream_set_owner(stream, on_stream, s);
	if (s->is_unix)
		session_login_by_uid(s);
	session_log_connect(s);
	if (!s->is_unix && s->config->resolver.client_names)
		s->lookup =
			client_name_find(smtpd->resolver, &s->ip, on_name, s);
	stream_start(stream);
	if (session_listener(s)->tls == LISTENER_TLS_IMPLICIT) {
		s->wait = WAIT_TLS;
		stream_start_tls(stream, session_tls_ctx(s), STREAM_SERVER,
				 NULL);
		session_set_deadline(s);
	} else {
		session_greet(s);
	}
}

void
session_drain(struct smtpd_session *s)
{
	if (session_is_idle(s))
		session_goodbye(s, "4.3.2", "is shutting down", "shutdown");
}

void
session_cut(struct smtpd_session *s)
{
	session_free(s, "shutdown", true);
}

void
session_end_login(struct smtpd_session *s, const char *login)
{
	if (s->login != NULL && strcmp(s->login, login) == 0)
		session_goodbye(s, "4.7.0", "This login was changed",
				"login changed");
}
