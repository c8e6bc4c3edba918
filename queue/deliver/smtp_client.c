/* SPDX-License-Identifier: ISC */
#include "queue/deliver/smtp_client_internal.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "lib/str.h"

/* A pipelined group is at most RSET, MAIL, RCPTs and DATA. */
#define CLIENT_OUT_MAX	 (256 * 1024)
#define CLIENT_LINE_MAX	 512   /* RFC 5321, 4.5.3.1.4 */
#define CLIENT_AUTH_MAX	 12288 /* RFC 4954, 4 */
#define CLIENT_TIMEOUT_S 300   /* RFC 5321, 4.5.3.2.1 to .3 */
#define CLIENT_STEPS_MAX 16    /* of a login; none needs more than a few */

/* ------------------------------------------------------ for all parts */

void
client_end(struct smtp_client *client, struct smtp_result *result)
{
	if (client->envelope == NULL && client->failure == NULL)
		client->failure = result_ref(result);
	message_settle(client, result);
	client->envelope = NULL;
	client->state = CLIENT_CLOSED;
}

static void
client_end_cause(struct smtp_client *client, enum cause cause, const char *text)
{
	client_end(client, result_of_cause(cause, client->phase, text));
}

void
client_end_garbled(struct smtp_client *client)
{
	struct smtp_result *result =
		result_of_cause(CAUSE_REPLY_GARBLED, client->phase,
				"unexpected reply");

	(void)snprintf(result->status.text, sizeof(result->status.text),
		       "unexpected reply: %.300s",
		       smtp_reply_text(&client->reply));
	str_mend_end(result->status.text);
	for (char *c = result->status.text; *c != '\0'; c++)
		if (*c == '\n')
			*c = ' ';
	client_end(client, result);
}

void
client_say(struct smtp_client *client, const char *format, ...)
{
	va_list args;
	int rc;

	va_start(args, format);
	rc = buf_vaddf(&client->out, format, args);
	va_end(args);
	if (rc == 0)
		rc = buf_adds(&client->out, "\r\n");
	/* lines are bounded and a group is, so the buffer cannot be full */
	assert(rc == 0);
	(void)rc;
}

/* ------------------------------------------------------------- sessions */

static void
client_say_ehlo(struct smtp_client *client)
{
	client_say(client, "%s %s", client->opts.is_lmtp ? "LHLO" : "EHLO",
		   client->opts.hostname);
	client->state = CLIENT_EHLO;
	client->phase = PHASE_EHLO;
}

/* TLS is done or not to be had: login, or ready. */
static void
client_after_tls(struct smtp_client *client)
{
	if (!client->opts.has_login || client->is_logged_in) {
		client->state = CLIENT_READY;
		return;
	}
	client->phase = PHASE_AUTH;
	if (client->caps.mechanisms[0] == '\0')
		client_end_cause(client, CAUSE_AUTH_NOT_OFFERED,
				 "the server offers no AUTH");
	else
		client->state = CLIENT_LOGIN;
}

static void
client_after_ehlo(struct smtp_client *client)
{
	if (client->is_secured || client->opts.tls == CLIENT_TLS_NONE) {
		client_after_tls(client);
	} else if (client->caps.has_starttls) {
		client_say(client, "STARTTLS");
		client->state = CLIENT_STARTTLS;
		client->phase = PHASE_STARTTLS;
	} else if (client->opts.tls == CLIENT_TLS_REQUIRED) {
		client->phase = PHASE_STARTTLS;
		client_end_cause(client, CAUSE_TLS_REQUIRED,
				 "the server does not offer STARTTLS");
	} else {
		client_after_tls(client);
	}
}

static void
on_ehlo_reply(struct smtp_client *client)
{
	unsigned code = client->reply.status.code;

	if (code < 300) {
		if (client->state == CLIENT_EHLO)
			smtp_caps_parse(smtp_reply_text(&client->reply),
					&client->caps);
		client_after_ehlo(client);
	} else if (code >= 500 && client->state == CLIENT_EHLO &&
		   !client->opts.is_lmtp) {
		/* RFC 5321, 3.2: a server that does not know EHLO */
		client_say(client, "HELO %s", client->opts.hostname);
		client->state = CLIENT_HELO;
	} else if (code < 400) {
		client_end_garbled(client);
	} else {
		client_end(client, result_of_reply(client, PHASE_EHLO));
	}
}

static void
on_starttls_reply(struct smtp_client *client)
{
	char text[400];

	if (client->reply.status.code < 300) {
		client->state = CLIENT_SECURING;
		client->phase = PHASE_TLS;
	} else if (client->opts.tls == CLIENT_TLS_REQUIRED) {
		(void)snprintf(text, sizeof(text),
			       "STARTTLS was refused: %.350s",
			       smtp_reply_text(&client->reply));
		client_end_cause(client, CAUSE_TLS_REQUIRED, text);
	} else {
		client_after_tls(client);
	}
}

/* --------------------------------------------------------------- logins */

static void
on_auth_reply(struct smtp_client *client)
{
	unsigned code = client->reply.status.code;
	const char *text = smtp_reply_text(&client->reply);
	struct smtp_result *result;

	if (code == 334 && ++client->steps > CLIENT_STEPS_MAX) {
		/* each answer gets time anew: it could go on for ever */
		client_end_cause(client, CAUSE_AUTH_FAILED,
				 "the login does not come to an end");
	} else if (code == 334) {
		free(client->challenge);
		/* "334 BASE64"; what a cut or a missing space does is for the
		 * mechanism to find */
		client->challenge =
			mem_strdup(strlen(text) > 4 ? text + 4 : "");
		client->state = CLIENT_STEP;
		if (client->late_login != NULL) {
			char *data = client->late_login;

			client->late_login = NULL;
			smtp_client_login_step(client, data);
			mem_free_secret(data);
		}
	} else if (code < 300) {
		client->is_logged_in = true;
		client->state = CLIENT_READY;
	} else if (code < 400) {
		client_end_garbled(client);
	} else {
		result = result_of_reply(client, PHASE_AUTH);
		if (code >= 500) {
			/* the reply stays: it says what the server thinks of
			 * our login; the message waits until that is mended */
			result->cause = CAUSE_AUTH_FAILED;
			result->kind = OUTCOME_DEFERRED;
			result->is_own_fault = true;
		}
		client_end(client, result);
	}
}

void
smtp_client_login(struct smtp_client *client, const char *mechanism,
		  const char *initial)
{
	size_t len = initial != NULL ? strlen(initial) : 0;

	assert(client->state == CLIENT_LOGIN);
	client->state = CLIENT_AUTH;
	if (initial == NULL) {
		client_say(client, "AUTH %.20s", mechanism);
	} else if (strlen(mechanism) + len + 8 > CLIENT_LINE_MAX) {
		/* RFC 4954, 4: what makes the line too long comes after 334 */
		client->late_login = mem_strdup(initial);
		client_say(client, "AUTH %.20s", mechanism);
	} else {
		client_say(client, "AUTH %.20s %s", mechanism,
			   len != 0 ? initial : "=");
	}
}

const char *
smtp_client_challenge(const struct smtp_client *client)
{
	return client->challenge != NULL ? client->challenge : "";
}

void
smtp_client_login_step(struct smtp_client *client, const char *data)
{
	assert(client->state == CLIENT_STEP);
	if (strlen(data) > CLIENT_AUTH_MAX - 2) {
		client_end_cause(client, CAUSE_AUTH_FAILED,
				 "the login's data is too long");
		return;
	}
	client_say(client, "%s", data);
	client->state = CLIENT_AUTH;
}

bool
smtp_client_is_logged_in(const struct smtp_client *client)
{
	return client->is_logged_in;
}

/* -------------------------------------------------------------- replies */

static void
on_greeting(struct smtp_client *client)
{
	unsigned code = client->reply.status.code;

	if (code < 300)
		client_say_ehlo(client);
	else if (code < 400)
		client_end_garbled(client);
	else
		client_end(client, result_of_reply(client, PHASE_GREETING));
}

static void
client_on_reply(struct smtp_client *client)
{
	/* RFC 5321, 3.8: 421 can answer anything, and the server closes */
	if (client->reply.status.code == 421 && client->state != CLIENT_QUIT) {
		client_end(client, result_of_reply(client, client->phase));
		return;
	}
	client->is_heard = true;
	switch (client->state) {
	case CLIENT_GREETING:
		on_greeting(client);
		break;
	case CLIENT_EHLO:
	case CLIENT_HELO:
		on_ehlo_reply(client);
		break;
	case CLIENT_STARTTLS:
		on_starttls_reply(client);
		break;
	case CLIENT_AUTH:
		on_auth_reply(client);
		break;
	case CLIENT_ENVELOPE:
	case CLIENT_BODY:
	case CLIENT_CHUNK:
	case CLIENT_END:
	case CLIENT_EMPTY:
		transaction_on_reply(client);
		break;
	case CLIENT_QUIT:
	case CLIENT_SECURING:
	case CLIENT_LOGIN:
	case CLIENT_STEP:
	case CLIENT_READY:
	case CLIENT_CLOSED:
		client->state = CLIENT_CLOSED;
		break;
	}
}

size_t
smtp_client_feed(struct smtp_client *client, const void *bytes, size_t len)
{
	size_t used;

	if (smtp_client_want(client) != CLIENT_WANTS_REPLY &&
	    client->state != CLIENT_BODY)
		return 0;
	used = smtp_reply_feed(&client->reply, bytes, len);
	switch (client->reply.state) {
	case SMTP_REPLY_MORE:
		break;
	case SMTP_REPLY_DONE:
		client->replies++;
		client_on_reply(client);
		break;
	case SMTP_REPLY_GARBLED:
		client->is_heard = true;
		client_end_garbled(client);
		break;
	}
	return used;
}

/* ------------------------------------------------------------- contract */

struct smtp_client *
smtp_client_new(const struct smtp_client_opts *opts)
{
	struct smtp_client *client = mem_zalloc(sizeof(*client));

	client->opts = *opts;
	client->state = CLIENT_GREETING;
	client->phase = PHASE_GREETING;
	smtp_reply_init(&client->reply);
	buf_init(&client->out, CLIENT_OUT_MAX);
	return client;
}

void
smtp_client_free(struct smtp_client *client)
{
	if (client == NULL)
		return;
	message_forget(client);
	result_unref(client->failure);
	smtp_reply_done(&client->reply);
	buf_wipe(&client->out); /* may hold a password */
	free(client->challenge);
	mem_free_secret(client->late_login);
	free(client);
}

struct buf *
smtp_client_out(struct smtp_client *client)
{
	return &client->out;
}

enum smtp_client_want
smtp_client_want(const struct smtp_client *client)
{
	switch (client->state) {
	case CLIENT_GREETING:
	case CLIENT_EHLO:
	case CLIENT_HELO:
	case CLIENT_STARTTLS:
	case CLIENT_AUTH:
	case CLIENT_ENVELOPE:
	case CLIENT_CHUNK:
	case CLIENT_END:
	case CLIENT_EMPTY:
	case CLIENT_QUIT:
		return CLIENT_WANTS_REPLY;
	case CLIENT_SECURING:
		return CLIENT_WANTS_TLS;
	case CLIENT_LOGIN:
		return CLIENT_WANTS_LOGIN;
	case CLIENT_STEP:
		return CLIENT_WANTS_STEP;
	case CLIENT_READY:
		return CLIENT_WANTS_MESSAGE;
	case CLIENT_BODY:
		return CLIENT_WANTS_BODY;
	case CLIENT_CLOSED:
		return CLIENT_WANTS_CLOSE;
	}
	return CLIENT_WANTS_CLOSE;
}

size_t
smtp_client_due(const struct smtp_client *client)
{
	switch (client->state) {
	case CLIENT_GREETING:
	case CLIENT_EHLO:
	case CLIENT_HELO:
	case CLIENT_STARTTLS:
	case CLIENT_AUTH:
	case CLIENT_QUIT:
		return 1;
	case CLIENT_ENVELOPE:
	case CLIENT_BODY:
	case CLIENT_CHUNK:
	case CLIENT_END:
	case CLIENT_EMPTY:
		return transaction_due(client);
	case CLIENT_SECURING:
	case CLIENT_LOGIN:
	case CLIENT_STEP:
	case CLIENT_READY:
	case CLIENT_CLOSED:
		break;
	}
	return 0;
}

uint64_t
smtp_client_timeout_ms(const struct smtp_client *client)
{
	unsigned seconds = CLIENT_TIMEOUT_S;

	if (client->state == CLIENT_BODY || client->state == CLIENT_CHUNK)
		seconds = 180; /* 4.5.3.2.5 */
	else if (client->state == CLIENT_END)
		seconds = 600; /* 4.5.3.2.6 */
	else if (transaction_awaits_data(client))
		seconds = 120; /* 4.5.3.2.4 */
	else if (client->state == CLIENT_QUIT)
		seconds = 5; /* nothing depends on it */
	return (uint64_t)seconds * 1000;
}

enum smtp_phase
smtp_client_phase(const struct smtp_client *client)
{
	return client->phase;
}

void
smtp_client_secured(struct smtp_client *client)
{
	assert(client->state == CLIENT_SECURING);
	client->is_secured = true;
	/* RFC 3207, 4.2: what was heard in the clear is forgotten */
	memset(&client->caps, 0, sizeof(client->caps));
	client_say_ehlo(client);
}

void
smtp_client_send(struct smtp_client *client,
		 const struct smtp_client_message *message)
{
	assert(client->state == CLIENT_READY && message->count != 0);
	message_begin(client, message);
}

void
smtp_client_fail(struct smtp_client *client, enum cause cause,
		 const char *format, ...)
{
	char text[STATUS_TEXT_MAX];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (cause == CAUSE_TLS_FAILED)
		client->phase = PHASE_TLS; /* also before the greeting */
	client_end_cause(client, cause, text);
}

void
smtp_client_quit(struct smtp_client *client)
{
	assert(client->state == CLIENT_READY);
	client_say(client, "QUIT");
	client->state = CLIENT_QUIT;
}

const struct smtp_result *
smtp_client_failure(const struct smtp_client *client)
{
	return client->failure;
}

unsigned
smtp_client_replies(const struct smtp_client *client)
{
	return client->replies;
}

const struct smtp_caps *
smtp_client_caps(const struct smtp_client *client)
{
	return &client->caps;
}
