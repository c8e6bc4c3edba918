/* SPDX-License-Identifier: ISC */
#include "queue/deliver/connection_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "lib/net/tls_ctx.h"
#include "queue/envelope.h"

#define CONNECTION_HANDSHAKE_MS 60000 /* TLS, three messages each way */
#define UNASKED			"the other side speaks unasked"

bool
connection_key_equal(const struct connection_key *a,
		     const struct connection_key *b)
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
connection_free(struct connection *connection)
{
	list_remove(&connection->link);
	connection_stop_login(connection);
	body_close(&connection->body);
	smtp_client_free(connection->client);
	tls_ctx_unref(connection->tls_ctx);
	security_unref(connection->security);
	free(connection->user);
	free(connection->hostname);
	free(connection->password_file);
	free(connection->token_command);
	free(connection);
}

void
connection_abort(struct connection *connection)
{
	if (connection == NULL)
		return;
	stream_abort(connection->stream);
	connection_free(connection);
}

/* QUIT after a refusal: RFC 5321, 3.1 and 4.1.1.10 want it; the answer is of
 * no interest any more. Within a message it would become part of it. */
static void
connection_leave_refused(struct connection *connection)
{
	if (smtp_client_phase(connection->client) < PHASE_DATA &&
	    !connection->has_tls_failed)
		(void)stream_write(connection->stream, "QUIT\r\n", 6);
	stream_close(connection->stream);
	connection_free(connection);
}

void
connection_close(struct connection *connection, struct list *leaving)
{
	struct buf *out;

	if (connection == NULL)
		return;
	connection->watch = NULL;
	if (connection->state == CONNECTION_OVER) {
		connection_leave_refused(connection);
		return;
	}
	if (connection->state != CONNECTION_IDLE) {
		connection_abort(connection);
		return;
	}
	smtp_client_quit(connection->client);
	out = smtp_client_out(connection->client);
	(void)stream_write(connection->stream, buf_bytes(out), buf_len(out));
	buf_clear(out);
	connection->state = CONNECTION_LEAVING;
	stream_set_deadline(connection->stream,
			    smtp_client_timeout_ms(connection->client));
	list_push(leaving, &connection->link);
}

struct connection *
connection_of_link(struct list *link)
{
	return container_of(link, struct connection, link);
}

/* Tells the owner; the connection must not be touched afterwards. */
static void
connection_tell(struct connection *connection, enum connection_event event)
{
	connection->on_event(connection->owner, event);
}

/* The conversation cannot go on. */
static void
connection_over(struct connection *connection)
{
	connection_stop_login(connection);
	body_close(&connection->body);
	connection->state = CONNECTION_OVER;
	stream_set_deadline(connection->stream, 0);
	connection_tell(connection, CONNECTION_CLOSED);
}

void
connection_flush(struct connection *connection)
{
	struct buf *out = smtp_client_out(connection->client);

	if (buf_len(out) == 0)
		return;
	if (connection->watch != NULL)
		watch_bytes(connection->watch, &connection->said, true,
			    smtp_client_phase(connection->client) == PHASE_AUTH,
			    buf_bytes(out), buf_len(out));
	(void)stream_write(connection->stream, buf_bytes(out), buf_len(out));
	buf_wipe(out); /* may have been a password */
	stream_set_deadline(connection->stream,
			    smtp_client_timeout_ms(connection->client));
}

/* ------------------------------------------------------------ going on */

/*
 * The last reply that was due has come, and there are bytes behind it: a reply
 * too many. Were it taken for an answer to what is to be said next, all that
 * follows would be about something else. Not so behind STARTTLS, where the
 * stream knows better (an attack), nor before a body, which may be refused at
 * once; an idle connection is looked at by connection_idle.
 */
static bool
connection_is_unasked(const struct connection *connection)
{
	switch (smtp_client_want(connection->client)) {
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
connection_feed(struct connection *connection)
{
	bool was_over =
		smtp_client_want(connection->client) == CLIENT_WANTS_CLOSE;
	bool is_last = smtp_client_due(connection->client) == 1;
	size_t len, used;
	const uint8_t *bytes = stream_bytes(connection->stream, &len);

	if (len == 0)
		return false;
	used = smtp_client_feed(connection->client, bytes, len);
	if (connection->watch != NULL)
		watch_bytes(connection->watch, &connection->heard, false, false,
			    bytes, used);
	stream_consume(connection->stream, used);
	/* the time is for a whole reply, however slowly it drips */
	if (smtp_client_replies(connection->client) != connection->replies) {
		connection->replies = smtp_client_replies(connection->client);
		stream_set_deadline(connection->stream,
				    smtp_client_timeout_ms(connection->client));
		if (is_last && used < len && connection_is_unasked(connection))
			smtp_client_fail(connection->client,
					 CAUSE_REPLY_GARBLED, UNASKED);
	}
	return used != 0 ||
	       (!was_over &&
		smtp_client_want(connection->client) == CLIENT_WANTS_CLOSE);
}

/* What TLS sessions are resumed by: the peer, and all that he is known by. */
static void
connection_resume_key(const struct connection *connection, char *to,
		      size_t size)
{
	const struct connection_key *key = &connection->key;
	char ip[IP_TEXT_MAX];

	(void)snprintf(to, size, "%s %s %u %s %016" PRIx64 " %s %s", key->host,
		       ip_format(&key->ip, ip), key->port,
		       security_name(key->security), key->security_print,
		       connection->security->name,
		       connection->user != NULL ? connection->user : "");
}

static void
connection_start_tls(struct connection *connection)
{
	const struct security *security = connection->security;
	const char *aliases[] = {NULL, NULL, NULL};
	char resume[3 * ADDR_DOMAIN_MAX + 256];
	struct tls_peer peer = {
		.name = connection->key.host,
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
	if (connection->key.ip.family == IP_NONE ||
	    (security->kind != SECURITY_VERIFIED &&
	     ip_parse(str_of(peer.name), &literal)))
		peer.name = NULL;
	connection_resume_key(connection, resume, sizeof(resume));
	connection->state = CONNECTION_HANDSHAKE;
	stream_set_deadline(connection->stream, CONNECTION_HANDSHAKE_MS);
	stream_start_tls_peer(connection->stream, connection->tls_ctx, &peer);
}

/* A reply too many: the next answers would be to something else. What was
 * said about a message holds, but it was the last one here. */
static bool
connection_is_ahead(struct connection *connection)
{
	size_t len;

	(void)stream_bytes(connection->stream, &len);
	if (len == 0)
		return false;
	smtp_client_fail(connection->client, CAUSE_REPLY_GARBLED, UNASKED);
	connection_over(connection);
	return true;
}

static void
connection_idle(struct connection *connection)
{
	enum connection_event event =
		connection->is_sending ? CONNECTION_DONE : CONNECTION_READY;

	if (!connection_check_login(connection)) {
		connection_over(connection);
		return;
	}
	if (connection_is_ahead(connection))
		return;
	body_close(&connection->body);
	connection->is_sending = false;
	connection->state = CONNECTION_IDLE;
	connection_tell(connection, event);
}

void
connection_go_on(struct connection *connection)
{
	for (;;) {
		connection_flush(connection);
		switch (smtp_client_want(connection->client)) {
		case CLIENT_WANTS_REPLY:
			if (!connection_feed(connection))
				return;
			break;
		case CLIENT_WANTS_TLS:
			connection_start_tls(connection);
			return;
		case CLIENT_WANTS_LOGIN:
			connection_login(connection);
			return;
		case CLIENT_WANTS_STEP:
			connection_login_step(connection);
			return;
		case CLIENT_WANTS_MESSAGE:
			connection_idle(connection);
			return;
		case CLIENT_WANTS_BODY:
			if (connection->bodies !=
			    smtp_client_bodies(connection->client))
				connection_begin_body(connection);
			if (connection_feed(connection))
				break; /* a reply before the dot */
			if (!connection_send_body(connection))
				return;
			break;
		case CLIENT_WANTS_CLOSE:
			connection_over(connection);
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
connection_is_behind_handshake(const struct connection *connection)
{
	return connection->is_secured &&
	       smtp_client_replies(connection->client) ==
		       connection->clear_replies;
}

static void
connection_lost(struct connection *connection, const char *why)
{
	bool is_behind = connection_is_behind_handshake(connection);

	connection->has_tls_failed =
		connection->state == CONNECTION_HANDSHAKE || is_behind;
	smtp_client_fail(connection->client,
			 connection->has_tls_failed ? CAUSE_TLS_FAILED
						    : CAUSE_CONNECTION_LOST,
			 "%s%s", why,
			 is_behind ? " right behind the TLS handshake" : "");
	connection_over(connection);
}

static void
connection_failed(struct connection *connection)
{
	connection_lost(connection, stream_error(connection->stream)->text);
}

/* The server says no more; what it said last may still be there. */
static void
connection_end_of_input(struct connection *connection)
{
	while (connection_feed(connection))
		;
	if (smtp_client_want(connection->client) == CLIENT_WANTS_CLOSE)
		connection_over(connection);
	else
		connection_lost(connection,
				"the other side closed the connection");
}

static void
connection_timeout(struct connection *connection)
{
	if (connection->state == CONNECTION_IDLE) {
		connection_tell(connection, CONNECTION_CLOSED);
		return;
	}
	if (connection->state == CONNECTION_HANDSHAKE) {
		connection_lost(connection, "the TLS handshake takes too long");
		return;
	}
	smtp_client_fail(connection->client, CAUSE_REPLY_TIMEOUT,
			 smtp_client_want(connection->client) ==
					 CLIENT_WANTS_BODY
				 ? "the other side takes no more bytes"
				 : "no answer in time");
	connection_over(connection);
}

static void
connection_secured(struct connection *connection)
{
	struct stream_tls_info info;

	connection->is_secured = true;
	connection->clear_replies = smtp_client_replies(connection->client);
	if (stream_tls_info(connection->stream, &info)) {
		(void)snprintf(connection->tls_version,
			       sizeof(connection->tls_version), "%s",
			       info.version);
		connection->verify_error = info.verify_error;
	}
	if (connection->watch != NULL)
		connection->watch->on_tls(connection->watch->arg, &info);
	connection->state = CONNECTION_TALKING;
	if (smtp_client_want(connection->client) == CLIENT_WANTS_TLS)
		smtp_client_secured(connection->client);
	stream_set_deadline(connection->stream,
			    smtp_client_timeout_ms(connection->client));
	connection_go_on(connection);
}

static void
on_stream(void *owner, enum stream_event event)
{
	struct connection *connection = owner;

	if (connection->state == CONNECTION_OVER)
		return;
	if (connection->state == CONNECTION_LEAVING) {
		/* the farewell, or what came instead of it */
		if (event != STREAM_DRAINED) {
			stream_close(connection->stream);
			connection_free(connection);
		}
		return;
	}
	switch (event) {
	case STREAM_CONNECTED:
		break;
	case STREAM_DATA:
		/* idle: "421 timeout", or out of step; either way the end */
		if (connection->state == CONNECTION_IDLE)
			connection_lost(connection,
					"the other side spoke unasked");
		else if (connection->state == CONNECTION_TALKING ||
			 connection->state == CONNECTION_BODY)
			connection_go_on(connection);
		break;
	case STREAM_DRAINED:
		connection->waits_drained = false;
		if (connection->state != CONNECTION_BODY)
			break;
		stream_set_deadline(connection->stream,
				    smtp_client_timeout_ms(connection->client));
		connection_go_on(connection);
		break;
	case STREAM_SECURED:
		connection_secured(connection);
		break;
	case STREAM_EOF:
		connection_end_of_input(connection);
		break;
	case STREAM_DEADLINE:
		connection_timeout(connection);
		break;
	case STREAM_FAILED:
		connection_failed(connection);
		break;
	}
}

/* ------------------------------------------------------------ contract */

struct connection *
connection_new(const struct connection_opts *opts, struct stream *stream,
	       connection_fn *on_event, void *owner)
{
	struct connection *connection = mem_zalloc(sizeof(*connection));
	struct smtp_client_opts client = {.is_lmtp = opts->is_lmtp,
					  .is_chunkless = opts->is_chunkless,
					  .tls = opts->tls};

	list_init(&connection->link);
	connection->loop = opts->loop;
	connection->on_event = on_event;
	connection->owner = owner;
	connection->key = opts->key;
	connection->user = mem_strdup(opts->key.user);
	connection->key.user = connection->user;
	connection->hostname = mem_strdup(opts->hostname);
	connection->password_file = mem_strdup(opts->password_file);
	connection->token_command = mem_strdup(opts->token_command);
	connection->tokens = opts->tokens;
	connection->mechanisms = opts->mechanisms;
	connection->watch = opts->watch;
	connection->is_clear = opts->is_clear;
	connection->tls_ctx =
		opts->tls_ctx != NULL ? tls_ctx_ref(opts->tls_ctx) : NULL;
	connection->security = security_ref(opts->security);
	connection->body.on_bytes = connection_on_bytes;
	connection->body.owner = connection;
	client.hostname = connection->hostname;
	client.has_login = connection->user != NULL;
	connection->client = smtp_client_new(&client);
	connection->stream = stream;
	connection->state = CONNECTION_TALKING;
	stream_set_owner(stream, on_stream, connection);
	stream_set_deadline(stream, smtp_client_timeout_ms(connection->client));
	if (opts->key.is_implicit_tls)
		connection_start_tls(connection);
	return connection;
}

void
connection_set_owner(struct connection *connection, connection_fn *on_event,
		     void *owner)
{
	connection->on_event = on_event;
	connection->owner = owner;
}

bool
connection_send(struct connection *connection, struct spool *spool,
		const struct smtp_client_message *message)
{
	connection->messages++;
	smtp_client_send(connection->client, message);
	if (smtp_client_want(connection->client) == CLIENT_WANTS_MESSAGE)
		return false;
	connection->is_sending = true;
	connection->state = CONNECTION_TALKING;
	if (!message->is_probe)
		body_open(&connection->body, spool, message->envelope->id);
	connection_flush(connection);
	return true;
}

const struct smtp_client *
connection_client(const struct connection *connection)
{
	return connection->client;
}

const struct connection_key *
connection_key(const struct connection *connection)
{
	return &connection->key;
}

const char *
connection_tls_version(const struct connection *connection)
{
	return connection->tls_version;
}

bool
connection_has_old_token(const struct connection *connection)
{
	return connection->has_old_token;
}

const char *
connection_verify_error(const struct connection *connection)
{
	return connection->verify_error;
}

unsigned
connection_messages(const struct connection *connection)
{
	return connection->messages;
}

bool
connection_is_clear(const struct connection *connection)
{
	return connection->is_clear;
}

bool
connection_has_tls_failed(const struct connection *connection)
{
	return connection->has_tls_failed;
}

void
connection_set_idle(struct connection *connection, uint64_t ms)
{
	stream_set_deadline(connection->stream, ms != 0 ? ms : 1);
}
