/* SPDX-License-Identifier: ISC */
#include "server/smtpd_session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/auth_server.h"
#include "lib/clock.h"
#include "lib/mem.h"
#include "lib/net/stream.h"
#include "lib/net/tls_ctx.h"
#include "server/client_name.h"
#include "server/points_here.h"
#include "server/smtpd_internal.h"

/* Replies to pipelined commands are gathered up to this before they leave. */
#define SESSION_REPLY_FLUSH 32768

/* A proxy sends its header with the connection. */
#define SESSION_PROXY_MS 10000

struct smtpd_session *
session_from_link(struct list *link)
{
	return container_of(link, struct smtpd_session, link);
}

const struct listener_config *
session_listener(const struct smtpd_session *s)
{
	return &s->config->listeners[s->listener];
}

/* ------------------------------------------------------------------ logging */

void
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

void
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

/* ---------------------------------------------------------------------- end */

void
session_forget_transaction(struct smtpd_session *s)
{
	if (s->transaction == NULL)
		return;
	session_refund(s);
	transaction_free(s->transaction);
	s->transaction = NULL;
}

static void
session_free(struct smtpd_session *s, const char *why, bool is_abort)
{
	struct smtpd *smtpd = s->smtpd;
	bool is_stranger = s->is_stranger;
	struct log_line line;

	session_log(s, &line, LOG_LEVEL_INFO, "disconnect");
	log_number(&line, "messages", (int64_t)s->messages);
	log_text(&line, "reason", why);
	log_end(&line);

	list_remove(&s->link);
	session_watch_nat(s);
	session_forget_transaction(s);
	points_here_cancel(s->points);
	free(s->pending);
	auth_free(s->exchange);
	client_name_cancel(s->lookup);
	peer_name_cancel(s->peer_name);
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
	smtpd->stats.strangers -= is_stranger;
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

void
session_finish(struct smtpd_session *s, const char *why)
{
	session_flush(s);
	session_free(s, why, false);
}

void
session_drop(struct smtpd_session *s, const char *why)
{
	session_free(s, why, true);
}

/* -------------------------------------------------------------- environment */

/* NULL: its listener is gone, or has no TLS any more. */
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

/* Logins: what can be used now, and what TLS would add. */
static void
session_mechanisms(const struct smtpd_session *s, struct smtpd_env *env)
{
	struct auth_server *auth = s->smtpd->auth;
	unsigned offer = 0, under_tls = AUTH_OFFER_SECURE | AUTH_OFFER_BOUND;

	env->mechanisms = "";
	env->mechanisms_under_tls = "";
	if (auth == NULL || s->is_unix)
		return;
	if (s->is_esmtps || s->config->auth.plaintext_without_tls)
		offer |= AUTH_OFFER_SECURE;
	if (s->has_binding)
		offer |= AUTH_OFFER_BOUND;
	if (s->has_certificate)
		offer |= AUTH_OFFER_EXTERNAL;
	env->mechanisms = auth_server_mechanisms(auth, offer);
	if (s->is_esmtps)
		return;
	if (s->config->tls.client_ca != NULL)
		under_tls |= AUTH_OFFER_EXTERNAL;
	env->mechanisms_under_tls = auth_server_mechanisms(auth, under_tls);
}

void
session_env(struct smtpd_session *s, struct smtpd_env *env)
{
	const struct config *config = s->config;
	const struct listener_config *listener = session_listener(s);
	struct policy_facts facts;

	env->hostname = config->hostname;
	env->is_submission = listener->role == POLICY_SUBMISSION;
	env->offers_tls = listener->tls == LISTENER_TLS_STARTTLS &&
			  !s->is_esmtps && session_tls_ctx(s) != NULL;
	env->is_secure = s->is_esmtps;
	session_facts(s, &facts);
	env->is_trusted = !policy_is_stranger(config->policy, &facts);
	session_mechanisms(s, env);
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

void
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

/* ------------------------------------------------------------------ effects */

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
		session_finish(s, s->proto.errors >= env->errors
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
		effect = session_begin_auth(s, env, &ask->auth, out);
		return session_apply(s, env, effect, ask);
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
	case SMTPD_DO_CHUNK:
		if (!s->transaction->is_begun)
			session_begin_content(s);
		return true;
	case SMTPD_DO_SAVE:
		session_end_content(s);
		return true;
	case SMTPD_DO_RESET:
		session_forget_transaction(s);
		return true;
	}
	return true;
}

void
session_resume(struct smtpd_session *s, enum smtpd_effect effect)
{
	struct smtpd_env env;

	s->wait = WAIT_NONE;
	session_env(s, &env);
	if (session_apply(s, &env, effect, NULL))
		session_pump(s);
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
session_is_in_chunk(const struct smtpd_session *s)
{
	return s->proto.state == SMTPD_CHUNK || s->proto.state == SMTPD_SKIP;
}

/* Octets behind BDAT from the front, maybe none. False: the session is gone. */
static bool
session_chunk_octets(struct smtpd_session *s, const uint8_t *bytes, size_t len)
{
	struct smtpd_env env;
	size_t used = smtpd_proto_chunk(&s->proto, len);

	if (s->proto.state == SMTPD_CHUNK && used != 0)
		session_chunk(s, bytes, used);
	stream_consume(s->stream, used);
	if (s->proto.chunk_left != 0)
		return true;
	session_env(s, &env);
	return session_apply(s, &env,
			     smtpd_proto_chunk_end(&s->proto, &env,
						   &s->smtpd->reply),
			     NULL);
}

static bool
session_is_idle(const struct smtpd_session *s)
{
	return s->wait == WAIT_NONE &&
	       (s->proto.state == SMTPD_FRESH || s->proto.state == SMTPD_READY);
}

void
session_wait(struct smtpd_session *s, enum session_wait wait, uint64_t ms)
{
	s->wait = wait;
	s->wait_until_ms = clock_boot_ms() + ms;
}

/* How long the client may take now, or we. */
static void
session_set_deadline(struct smtpd_session *s)
{
	const struct config *config = s->config;
	uint64_t now_ms = clock_boot_ms(), age_ms = now_ms - s->started_ms;
	uint64_t ms = config->limits.command_timeout_ms;
	uint64_t left_ms = age_ms < config->limits.session_ms
				   ? config->limits.session_ms - age_ms
				   : 1;

	if (s->wait == WAIT_AUTH || s->wait == WAIT_SAVE ||
	    s->wait == WAIT_ROOM) {
		s->turn_ms = 0;
		stream_set_deadline(s->stream, 0); /* it is our turn */
		return;
	}
	if (s->wait == WAIT_DNS || s->wait == WAIT_DELAY ||
	    s->wait == WAIT_PROXY || s->wait == WAIT_NAME) {
		s->turn_ms = 0;
		stream_set_deadline(s->stream,
				    s->wait_until_ms > now_ms
					    ? s->wait_until_ms - now_ms
					    : 1);
		return;
	}
	if (s->turn_ms == 0)
		s->turn_ms = now_ms;
	if (s->proto.state == SMTPD_CONTENT || session_is_in_chunk(s))
		ms = config->limits.data_timeout_ms;
	/* a line that comes byte by byte is one line; its time goes on */
	ms = s->turn_ms + ms > now_ms ? s->turn_ms + ms - now_ms : 1;
	stream_set_deadline(s->stream, ms < left_ms ? ms : left_ms);
}

void
session_goodbye(struct smtpd_session *s, const char *enhanced, const char *text,
		const char *why)
{
	struct smtpd_env env;

	session_env(s, &env);
	(void)smtpd_proto_goodbye(&s->proto, &env, enhanced, text,
				  &s->smtpd->reply);
	session_finish(s, why);
}

/* Works on what the client has sent until it is our turn to wait. */
void
session_pump(struct smtpd_session *s)
{
	while (s->wait == WAIT_NONE && !s->is_blocked) {
		const uint8_t *bytes;
		size_t len;
		bool has_event;

		bytes = stream_bytes(s->stream, &len);
		if (session_is_in_chunk(s)) {
			if (len == 0 && s->proto.chunk_left != 0)
				break;
			s->turn_ms = 0;
			if (!session_chunk_octets(s, bytes, len))
				return;
			continue;
		}
		if (len == 0)
			break;
		if (s->proto.state == SMTPD_CONTENT) {
			s->turn_ms = 0;
			stream_consume(s->stream,
				       session_content(s, bytes, len));
			continue;
		}
		if (!session_command(s, bytes, len, &has_event))
			return;
		if (!has_event)
			break;
		s->turn_ms = 0;
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

/* ------------------------------------------------------------------- events */

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
	if (s->is_proxied) {
		char ip[IP_TEXT_MAX];
		struct ip proxy;

		stream_peer(s->stream, &proxy, NULL);
		log_text(&line, "proxy", ip_format(&proxy, ip));
	}
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
		session_finish(s, "not accepting");
		return;
	}
	session_pump(s);
}

static void
session_log_tls(struct smtpd_session *s, const struct stream_tls_info *tls)
{
	struct log_line line;

	session_log(s, &line, LOG_LEVEL_INFO, "tls");
	log_text(&line, "tls", tls->version);
	log_text(&line, "cipher", tls->cipher);
	if (tls->has_certificate) {
		log_text(&line, "certificate", tls->peer_subject);
		log_bool(&line, "verified", tls->is_verified);
		log_text(&line, "reason", tls->verify_error);
	}
	log_end(&line);
}

static void
session_secured(struct smtpd_session *s)
{
	uint8_t binding[AUTH_BINDING_MAX];
	struct stream_tls_info tls;
	const char *type;

	s->is_esmtps = true;
	s->turn_ms = 0;
	s->has_binding = stream_channel_binding(s->stream, binding,
						sizeof(binding), &type) != 0;
	s->wait = WAIT_NONE;
	if (stream_tls_info(s->stream, &tls)) {
		s->has_certificate = tls.is_verified && tls.names[0] != NULL;
		session_log_tls(s, &tls);
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

	switch (s->wait) {
	case WAIT_TLS:
		session_drop(s, "TLS handshake timed out");
		return;
	case WAIT_PROXY:
		session_drop(s, "no PROXY header in time");
		return;
	case WAIT_NAME:
		session_name_late(s);
		return;
	case WAIT_DELAY:
		session_auth_late(s);
		return;
	case WAIT_DNS:
		session_points_late(s);
		return;
	case WAIT_NONE:
	case WAIT_AUTH:
	case WAIT_ROOM:
	case WAIT_SAVE:
		break;
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
		if (s->wait == WAIT_PROXY)
			session_read_proxy(s);
		else
			session_pump(s);
		break;
	case STREAM_DRAINED:
		s->is_blocked = false;
		s->turn_ms = 0;
		session_pump(s);
		break;
	case STREAM_SECURED:
		session_secured(s);
		break;
	case STREAM_EOF:
		s->is_eof = true;
		if (s->wait == WAIT_PROXY)
			session_drop(s, "ended before its PROXY header");
		else
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

/* --------------------------------------------------------------------- life */

void
session_begin(struct smtpd_session *s)
{
	struct tls_ctx *ctx = session_tls_ctx(s);

	s->wait = WAIT_NONE;
	session_log_connect(s);
	if (!s->is_unix && s->config->resolver.client_names)
		s->lookup = client_name_find(s->smtpd->resolver, &s->ip,
					     on_name, s);
	if (session_listener(s)->tls != LISTENER_TLS_IMPLICIT) {
		session_greet(s);
		return;
	}
	if (ctx == NULL) {
		/* a reload came while it waited for a header or a name */
		session_drop(s, "its listener has no TLS any more");
		return;
	}
	s->wait = WAIT_TLS;
	/* behind a PROXY header the handshake may have begun already */
	if (s->is_proxied)
		stream_start_tls_behind(s->stream, ctx);
	else
		stream_start_tls(s->stream, ctx, STREAM_SERVER, NULL);
	session_set_deadline(s);
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
	if (!session_is_behind_proxy(s)) /* else its header tells */
		session_count(s);
	stream_set_owner(stream, on_stream, s);
	stream_start(stream);
	if (s->is_unix && session_login_by_uid(s)) {
		session_set_deadline(s);
		return;
	}
	if (!session_is_behind_proxy(s)) {
		session_begin(s);
		return;
	}
	session_wait(s, WAIT_PROXY, SESSION_PROXY_MS);
	session_set_deadline(s);
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
	/* RFC 5321, 3.8: 421 also to those who could not finish */
	if (s->wait == WAIT_TLS || s->is_blocked)
		session_free(s, "shutdown", true);
	else
		session_goodbye(s, "4.3.2", "is shutting down", "shutdown");
}

void
session_count(struct smtpd_session *s)
{
	struct smtpd_stats *stats = &s->smtpd->stats;

	stats->strangers -= s->is_stranger;
	s->is_stranger =
		smtpd_is_stranger(s->smtpd, session_listener(s), &s->ip);
	stats->strangers += s->is_stranger;
}

bool
session_is_stranger(const struct smtpd_session *s)
{
	return s->is_stranger;
}

uint64_t
session_idle_ms(const struct smtpd_session *s)
{
	bool is_waiting = s->wait == WAIT_TLS || session_is_idle(s);

	if (!is_waiting || s->login != NULL || s->turn_ms == 0)
		return 0;
	return clock_boot_ms() - s->turn_ms;
}

void
session_make_room(struct smtpd_session *s)
{
	if (s->wait == WAIT_TLS || s->is_blocked)
		session_free(s, "made room", true);
	else
		session_goodbye(s, "4.7.0",
				"Others are waiting, come back later",
				"made room");
}

void
session_end_login(struct smtpd_session *s, const char *login)
{
	s->is_exchange_old = s->exchange != NULL;
	if (s->login != NULL && strcmp(s->login, login) == 0)
		session_goodbye(s, "4.7.0", "This login was changed",
				"login changed");
}
