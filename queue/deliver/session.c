/* SPDX-License-Identifier: ISC */
#include "queue/deliver/session_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "lib/net/tls_ctx.h"
#include "queue/envelope.h"

#define SESSION_HANDSHAKE_MS 60000 /* TLS, three messages each way */
#define UNASKED		     "the other side speaks unasked"

bool
session_key_equal(const struct session_key *a, const struct session_key *b)
{
	const char *a_user = a->user != NULL ? a->user : "";
	const char *b_user = b->user != NULL ? b->user : "";

	return a->port == b->port && a->security == b->security &&
	       a->security_print == b->security_print &&
	       a->trust_print == b->trust_print &&
	       a->is_implicit_tls == b->is_implicit_tls &&
	       ip_equal(&a->ip, &b->ip) && ip_equal(&a->source, &b->source) &&
	       strcmp(a->hop, b->hop) == 0 && strcmp(a->host, b->host) == 0 &&
	       strcmp(a_user, b_user) == 0;
}

/* ------------------------------------------------------------ the end */

static void
session_free(struct session *session)
{
	list_remove(&session->link);
	session_stop_login(session);
	body_close(&session->body);
	smtp_client_free(session->client);
	tls_ctx_unref(session->tls_ctx);
	security_unref(session->security);
	free(session->user);
	free(session->hostname);
	free(session->password_file);
	free(session->token_command);
	free(session);
}

void
session_abort(struct session *session)
{
	if (session == NULL)
		return;
	stream_abort(session->stream);
	session_free(session);
}

/* QUIT after a refusal: RFC 5321, 3.1 and 4.1.1.10 want it; the answer is of
 * no interest any more. Within a message it would become part of it. */
static void
session_leave_refused(struct session *session)
{
	if (smtp_client_phase(session->client) < PHASE_DATA &&
	    !session->has_tls_failed)
		(void)stream_write(session->stream, "QUIT\r\n", 6);
	stream_close(session->stream);
	session_free(session);
}

void
session_close(struct session *session, struct list *leaving)
{
	struct buf *out;

	if (session == NULL)
		return;
	session->watch = NULL;
	if (session->state == SESSION_OVER) {
		session_leave_refused(session);
		return;
	}
	if (session->state != SESSION_IDLE) {
		session_abort(session);
		return;
	}
	smtp_client_quit(session->client);
	out = smtp_client_out(session->client);
	(void)stream_write(session->stream, buf_bytes(out), buf_len(out));
	buf_clear(out);
	session->state = SESSION_LEAVING;
	stream_set_deadline(session->stream,
			    smtp_client_timeout_ms(session->client));
	list_push(leaving, &session->link);
}

struct session *
session_of_link(struct list *link)
{
	return container_of(link, struct session, link);
}

/* Tells the owner; the session must not be touched afterwards. */
static void
session_tell(struct session *session, enum session_event event)
{
	session->on_event(session->owner, event);
}

/* The conversation cannot go on. */
static void
session_over(struct session *session)
{
	session_stop_login(session);
	body_close(&session->body);
	session->state = SESSION_OVER;
	stream_set_deadline(session->stream, 0);
	session_tell(session, SESSION_CLOSED);
}

void
session_flush(struct session *session)
{
	struct buf *out = smtp_client_out(session->client);

	if (buf_len(out) == 0)
		return;
	if (session->watch != NULL)
		watch_bytes(session->watch, &session->said, true,
			    smtp_client_phase(session->client) == PHASE_AUTH,
			    buf_bytes(out), buf_len(out));
	(void)stream_write(session->stream, buf_bytes(out), buf_len(out));
	buf_wipe(out); /* may have been a password */
	stream_set_deadline(session->stream,
			    smtp_client_timeout_ms(session->client));
}

/* ------------------------------------------------------------ going on */

/*
 * The last reply that was due has come, and there are bytes behind it: a reply
 * too many. Were it taken for an answer to what is to be said next, all that
 * follows would be about something else. Not so behind STARTTLS, where the
 * stream knows better (an attack), nor before a body, which may be refused at
 * once; an idle session is looked at by session_idle.
 */
static bool
session_is_unasked(const struct session *session)
{
	switch (smtp_client_want(session->client)) {
	case CLIENT_WANTS_REPLY:
	case CLIENT_WANTS_LOGIN:
	case CLIENT_WANTS_STEP:
		return true;
	case CLIENT_WANTS_TLS:
	case CLIENT_WANTS_MESSAGE:
	case CLIENT_WANTS_BODY:
	case CLIENT_WANTS_CLOSE:
		break;
	}
	return false;
}

/* Gives the conversation what the server sent; false when it needs more. A
 * reply without end ends it also where no byte was used. */
static bool
session_feed(struct session *session)
{
	bool was_over = smtp_client_want(session->client) == CLIENT_WANTS_CLOSE;
	bool is_last = smtp_client_due(session->client) == 1;
	size_t len, used;
	const uint8_t *bytes = stream_bytes(session->stream, &len);

	if (len == 0)
		return false;
	used = smtp_client_feed(session->client, bytes, len);
	if (session->watch != NULL)
		watch_bytes(session->watch, &session->heard, false, false,
			    bytes, used);
	stream_consume(session->stream, used);
	/* the time is for a whole reply, however slowly it drips */
	if (smtp_client_replies(session->client) != session->replies) {
		session->replies = smtp_client_replies(session->client);
		stream_set_deadline(session->stream,
				    smtp_client_timeout_ms(session->client));
		if (is_last && used < len && session_is_unasked(session))
			smtp_client_fail(session->client, CAUSE_REPLY_GARBLED,
					 UNASKED);
	}
	return used != 0 || (!was_over && smtp_client_want(session->client) ==
						  CLIENT_WANTS_CLOSE);
}

/* What sessions are resumed by: the peer, and all that he is known by. */
static void
session_resume_key(const struct session *session, char *to, size_t size)
{
	const struct session_key *key = &session->key;
	char ip[IP_TEXT_MAX];

	(void)snprintf(to, size, "%s %s %u %s %016" PRIx64 " %s %s", key->host,
		       ip_format(&key->ip, ip), key->port,
		       security_name(key->security), key->security_print,
		       session->security->name,
		       session->user != NULL ? session->user : "");
}

static void
session_start_tls(struct session *session)
{
	const struct security *security = session->security;
	const char *aliases[] = {NULL, NULL, NULL};
	char resume[3 * ADDR_DOMAIN_MAX + 256];
	struct tls_peer peer = {
		.name = session->key.host,
		.tlsa = security->tlsa,
		.tlsa_count = security->tlsa_count,
		.aliases = aliases,
		.session = resume,
	};
	struct ip literal;
	size_t count = 0;

	if (security->kind == SECURITY_DANE)
		peer.name = security->name;
	for (size_t i = 0; i < 2; i++)
		if (security->alias[i][0] != '\0')
			aliases[count++] = security->alias[i];
	/* RFC 6066, 3: no literals in SNI; a verifying context needs it */
	if (session->key.ip.family == IP_NONE ||
	    (security->kind != SECURITY_VERIFIED &&
	     ip_parse(str_of(peer.name), &literal)))
		peer.name = NULL;
	session_resume_key(session, resume, sizeof(resume));
	session->state = SESSION_HANDSHAKE;
	stream_set_deadline(session->stream, SESSION_HANDSHAKE_MS);
	stream_start_tls_peer(session->stream, session->tls_ctx, &peer);
}

/* A reply too many: the next answers would be to something else. What was
 * said about a message holds, but it was the last one here. */
static bool
session_is_ahead(struct session *session)
{
	size_t len;

	(void)stream_bytes(session->stream, &len);
	if (len == 0)
		return false;
	smtp_client_fail(session->client, CAUSE_REPLY_GARBLED, UNASKED);
	session_over(session);
	return true;
}

static void
session_idle(struct session *session)
{
	enum session_event event =
		session->is_sending ? SESSION_DONE : SESSION_READY;

	if (!session_check_login(session)) {
		session_over(session);
		return;
	}
	if (session_is_ahead(session))
		return;
	body_close(&session->body);
	session->is_sending = false;
	session->state = SESSION_IDLE;
	session_tell(session, event);
}

void
session_go_on(struct session *session)
{
	for (;;) {
		session_flush(session);
		switch (smtp_client_want(session->client)) {
		case CLIENT_WANTS_REPLY:
			if (!session_feed(session))
				return;
			break;
		case CLIENT_WANTS_TLS:
			session_start_tls(session);
			return;
		case CLIENT_WANTS_LOGIN:
			session_login(session);
			return;
		case CLIENT_WANTS_STEP:
			session_login_step(session);
			return;
		case CLIENT_WANTS_MESSAGE:
			session_idle(session);
			return;
		case CLIENT_WANTS_BODY:
			if (session->bodies !=
			    smtp_client_bodies(session->client))
				session_begin_body(session);
			if (session_feed(session))
				break; /* a reply before the dot */
			if (!session_send_body(session))
				return;
			break;
		case CLIENT_WANTS_CLOSE:
			session_over(session);
			return;
		}
	}
}

/* ------------------------------------------------------------ events */

/*
 * Was it the handshake that the server did not like? With TLS 1.3 it is done
 * here before he has seen our last part of it, and he tells, or just leaves,
 * behind it (RFC 8446, 4.4.4); once he has spoken, all is well.
 */
static bool
session_is_behind_handshake(const struct session *session)
{
	return session->is_secured &&
	       smtp_client_replies(session->client) == session->clear_replies;
}

static void
session_lost(struct session *session, const char *why)
{
	bool is_behind = session_is_behind_handshake(session);

	session->has_tls_failed =
		session->state == SESSION_HANDSHAKE || is_behind;
	smtp_client_fail(session->client,
			 session->has_tls_failed ? CAUSE_TLS_FAILED
						 : CAUSE_CONNECTION_LOST,
			 "%s%s", why,
			 is_behind ? " right behind the TLS handshake" : "");
	session_over(session);
}

static void
session_failed(struct session *session)
{
	session_lost(session, stream_error(session->stream)->text);
}

/* The server says no more; what it said last may still be there. */
static void
session_end_of_input(struct session *session)
{
	while (session_feed(session))
		;
	if (smtp_client_want(session->client) == CLIENT_WANTS_CLOSE)
		session_over(session);
	else
		session_lost(session, "the other side closed the connection");
}

static void
session_timeout(struct session *session)
{
	if (session->state == SESSION_IDLE) {
		session_tell(session, SESSION_CLOSED);
		return;
	}
	if (session->state == SESSION_HANDSHAKE) {
		session_lost(session, "the TLS handshake takes too long");
		return;
	}
	smtp_client_fail(session->client, CAUSE_REPLY_TIMEOUT,
			 smtp_client_want(session->client) == CLIENT_WANTS_BODY
				 ? "the other side takes no more bytes"
				 : "no answer in time");
	session_over(session);
}

static void
session_secured(struct session *session)
{
	struct stream_tls_info info;

	session->is_secured = true;
	session->clear_replies = smtp_client_replies(session->client);
	if (stream_tls_info(session->stream, &info)) {
		(void)snprintf(session->tls_version,
			       sizeof(session->tls_version), "%s",
			       info.version);
		session->verify_error = info.verify_error;
	}
	if (session->watch != NULL)
		session->watch->on_tls(session->watch->arg, &info);
	session->state = SESSION_TALKING;
	if (smtp_client_want(session->client) == CLIENT_WANTS_TLS)
		smtp_client_secured(session->client);
	stream_set_deadline(session->stream,
			    smtp_client_timeout_ms(session->client));
	session_go_on(session);
}

static void
on_stream(void *owner, enum stream_event event)
{
	struct session *session = owner;

	if (session->state == SESSION_OVER)
		return;
	if (session->state == SESSION_LEAVING) {
		/* the farewell, or what came instead of it */
		if (event != STREAM_DRAINED) {
			stream_close(session->stream);
			session_free(session);
		}
		return;
	}
	switch (event) {
	case STREAM_CONNECTED:
		break;
	case STREAM_DATA:
		/* idle: "421 timeout", or out of step; either way the end */
		if (session->state == SESSION_IDLE)
			session_lost(session, "the other side spoke unasked");
		else if (session->state == SESSION_TALKING ||
			 session->state == SESSION_BODY)
			session_go_on(session);
		break;
	case STREAM_DRAINED:
		session->waits_drained = false;
		if (session->state != SESSION_BODY)
			break;
		stream_set_deadline(session->stream,
				    smtp_client_timeout_ms(session->client));
		session_go_on(session);
		break;
	case STREAM_SECURED:
		session_secured(session);
		break;
	case STREAM_EOF:
		session_end_of_input(session);
		break;
	case STREAM_DEADLINE:
		session_timeout(session);
		break;
	case STREAM_FAILED:
		session_failed(session);
		break;
	}
}

/* ------------------------------------------------------------ contract */

struct session *
session_new(const struct session_opts *opts, struct stream *stream,
	    session_fn *on_event, void *owner)
{
	struct session *session = mem_zalloc(sizeof(*session));
	struct smtp_client_opts client = {.is_lmtp = opts->is_lmtp,
					  .is_chunkless = opts->is_chunkless,
					  .tls = opts->tls};

	list_init(&session->link);
	session->loop = opts->loop;
	session->on_event = on_event;
	session->owner = owner;
	session->key = opts->key;
	session->user = mem_strdup(opts->key.user);
	session->key.user = session->user;
	session->hostname = mem_strdup(opts->hostname);
	session->password_file = mem_strdup(opts->password_file);
	session->token_command = mem_strdup(opts->token_command);
	session->tokens = opts->tokens;
	session->mechanisms = opts->mechanisms;
	session->watch = opts->watch;
	session->is_clear = opts->is_clear;
	session->tls_ctx =
		opts->tls_ctx != NULL ? tls_ctx_ref(opts->tls_ctx) : NULL;
	session->security = security_ref(opts->security);
	session->body.on_bytes = session_on_bytes;
	session->body.owner = session;
	client.hostname = session->hostname;
	client.has_login = session->user != NULL;
	session->client = smtp_client_new(&client);
	session->stream = stream;
	session->state = SESSION_TALKING;
	stream_set_owner(stream, on_stream, session);
	stream_set_deadline(stream, smtp_client_timeout_ms(session->client));
	if (opts->key.is_implicit_tls)
		session_start_tls(session);
	return session;
}

void
session_set_owner(struct session *session, session_fn *on_event, void *owner)
{
	session->on_event = on_event;
	session->owner = owner;
}

bool
session_send(struct session *session, struct spool *spool,
	     const struct smtp_client_message *message)
{
	session->messages++;
	smtp_client_send(session->client, message);
	if (smtp_client_want(session->client) == CLIENT_WANTS_MESSAGE)
		return false;
	session->is_sending = true;
	session->state = SESSION_TALKING;
	if (!message->is_probe)
		body_open(&session->body, spool, message->envelope->id);
	session_flush(session);
	return true;
}

const struct smtp_client *
session_client(const struct session *session)
{
	return session->client;
}

const struct session_key *
session_key(const struct session *session)
{
	return &session->key;
}

const char *
session_tls_version(const struct session *session)
{
	return session->tls_version;
}

bool
session_has_old_token(const struct session *session)
{
	return session->has_old_token;
}

const char *
session_verify_error(const struct session *session)
{
	return session->verify_error;
}

unsigned
session_messages(const struct session *session)
{
	return session->messages;
}

bool
session_is_clear(const struct session *session)
{
	return session->is_clear;
}

bool
session_has_tls_failed(const struct session *session)
{
	return session->has_tls_failed;
}

void
session_set_idle(struct session *session, uint64_t ms)
{
	stream_set_deadline(session->stream, ms != 0 ? ms : 1);
}
