/* SPDX-License-Identifier: ISC */
#include "queue/deliver/smtp_client.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "lib/wire/smtp_reply.h"
#include "queue/deliver/smtp_caps.h"
#include "queue/envelope.h"

/* A pipelined group is at most RSET, MAIL, RCPTs and DATA. */
#define CLIENT_OUT_MAX	 (256 * 1024)
#define CLIENT_LINE_MAX	 512   /* RFC 5321, 4.5.3.1.4 */
#define CLIENT_AUTH_MAX	 12288 /* RFC 4954, 4 */
#define CLIENT_TIMEOUT_S 300   /* RFC 5321, 4.5.3.2.1 to .3 */
#define CLIENT_STEPS_MAX 16    /* of a login; none needs more than a few */

enum client_state {
	CLIENT_GREETING, /* waits for 220 */
	CLIENT_EHLO,	 /* EHLO or LHLO was said */
	CLIENT_HELO,	 /* HELO was said, EHLO was not understood */
	CLIENT_STARTTLS, /* STARTTLS was said */
	CLIENT_SECURING, /* 220: the caller does the handshake */
	CLIENT_LOGIN,	 /* the caller starts AUTH */
	CLIENT_AUTH,	 /* AUTH or its data was said */
	CLIENT_STEP,	 /* 334: the caller answers the challenge */
	CLIENT_READY,	 /* no transaction */
	CLIENT_ENVELOPE, /* replies up to DATA's are awaited */
	CLIENT_BODY,	 /* 354, or chunks: the caller sends the message */
	CLIENT_CHUNK,	 /* a chunk was sent; its reply comes first */
	CLIENT_END,	 /* the dot or the last chunk was sent */
	CLIENT_EMPTY,	 /* a dot without a message: reply has no meaning */
	CLIENT_QUIT,	 /* QUIT was said */
	CLIENT_CLOSED,	 /* nothing can come any more */
};

enum to_state {
	TO_PENDING,  /* waits for a transaction */
	TO_ASKED,    /* its RCPT is under way in this one */
	TO_ACCEPTED, /* 2xx to RCPT in this one */
	TO_SETTLED,  /* has a result */
};

struct client_rcpt {
	size_t index; /* in the envelope */
	enum to_state state;
	struct smtp_result *result;
};

/* The commands of a transaction, in order; RCPTs are as many as its batch. */
enum { STEP_RSET, STEP_MAIL, STEP_RCPT };

struct smtp_client {
	struct smtp_client_opts opts;
	enum client_state state;
	enum smtp_phase phase;
	struct smtp_reply reply;
	struct buf out;
	struct smtp_caps caps;
	bool is_secured; /* by STARTTLS */
	bool is_logged_in;
	bool is_dirty;	  /* the server may still hold a transaction */
	unsigned steps;	  /* challenges so far */
	char *challenge;  /* owns */
	char *late_login; /* owns: initial data that did not fit AUTH's line */
	struct smtp_result *failure;

	/* the message */
	const struct envelope *envelope;
	struct client_rcpt *rcpts;
	size_t rcpt_count;
	bool is_probe;	  /* ends behind RCPT */
	bool is_heard;	  /* a reply other than 421 since smtp_client_send */
	unsigned replies; /* all of them; wraps */

	/* the transaction */
	size_t batch[SMTP_CLIENT_BATCH_MAX]; /* indexes into rcpts */
	size_t batch_count, batch_max;
	size_t sent, got; /* steps */
	size_t accepted;
	bool is_mail_ok;
	bool is_chunked;      /* BDAT instead of DATA */
	bool has_chunk_taken; /* at least one */
	bool has_refused_chunks;
	size_t chunks;	 /* sent, and not answered yet */
	unsigned bodies; /* asked for; wraps */
	size_t end_at;	 /* LMTP: the next of batch to look at for a reply */
};

/* ------------------------------------------------------------- results */

static struct smtp_result *
result_new(void)
{
	struct smtp_result *result = mem_zalloc(sizeof(*result));

	result->refs = 1;
	return result;
}

static struct smtp_result *
result_ref(struct smtp_result *result)
{
	result->refs++;
	return result;
}

static void
result_unref(struct smtp_result *result)
{
	if (result == NULL || --result->refs != 0)
		return;
	free(result->reply);
	free(result);
}

/* The reply that was just read, as a result. */
static struct smtp_result *
result_of_reply(struct smtp_client *client, enum smtp_phase phase)
{
	struct smtp_result *result = result_new();
	const struct status *status = &client->reply.status;

	result->kind = status->code < 300   ? OUTCOME_DELIVERED
		       : status->code < 500 ? OUTCOME_DEFERRED
					    : OUTCOME_FAILED;
	result->cause = CAUSE_REPLY;
	result->phase = phase;
	result->status = *status;
	result->reply = mem_strdup(smtp_reply_text(&client->reply));
	result->has_dsn =
		result->kind == OUTCOME_DELIVERED && client->caps.has_dsn;
	return result;
}

/* A failure of our own; by outcome_own's table. */
static struct smtp_result *
result_of_cause(enum cause cause, enum smtp_phase phase, const char *text)
{
	struct smtp_result *result = result_new();
	struct outcome outcome;

	outcome_own(&outcome, cause, phase, "%s", text);
	result->kind = outcome.kind;
	result->cause = cause;
	result->phase = phase;
	result->is_own_fault = outcome.is_own_fault;
	result->status = outcome.status;
	return result;
}

static void
rcpt_settle(struct client_rcpt *rcpt, struct smtp_result *result)
{
	result_unref(rcpt->result);
	rcpt->result = result_ref(result);
	rcpt->state = TO_SETTLED;
}

/* Everybody who has no result gets this one. takes: result */
static void
settle_all(struct smtp_client *client, struct smtp_result *result)
{
	for (size_t i = 0; i < client->rcpt_count; i++)
		if (client->rcpts[i].state != TO_SETTLED)
			rcpt_settle(&client->rcpts[i], result);
	result_unref(result);
}

/* Those of the transaction in this state get it. takes: result */
static void
settle_batch(struct smtp_client *client, enum to_state state,
	     struct smtp_result *result)
{
	for (size_t i = 0; i < client->batch_count; i++) {
		struct client_rcpt *rcpt = &client->rcpts[client->batch[i]];

		if (rcpt->state == state)
			rcpt_settle(rcpt, result);
	}
	result_unref(result);
}

/* The conversation is over; takes result, for those who have none. */
static void
client_end(struct smtp_client *client, struct smtp_result *result)
{
	if (client->envelope == NULL && client->failure == NULL)
		client->failure = result_ref(result);
	settle_all(client, result);
	client->envelope = NULL;
	client->state = CLIENT_CLOSED;
}

static void
client_end_cause(struct smtp_client *client, enum cause cause, const char *text)
{
	client_end(client, result_of_cause(cause, client->phase, text));
}

static void
client_end_garbled(struct smtp_client *client)
{
	struct smtp_result *result =
		result_of_cause(CAUSE_REPLY_GARBLED, client->phase,
				"unexpected reply");

	(void)snprintf(result->status.text, sizeof(result->status.text),
		       "unexpected reply: %.300s",
		       smtp_reply_text(&client->reply));
	for (char *c = result->status.text; *c != '\0'; c++)
		if (*c == '\n')
			*c = ' ';
	client_end(client, result);
}

/* ------------------------------------------------------------- sending */

static void client_say(struct smtp_client *client, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void
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

static void
client_say_ehlo(struct smtp_client *client)
{
	client_say(client, "%s %s", client->opts.is_lmtp ? "LHLO" : "EHLO",
		   client->opts.hostname);
	client->state = CLIENT_EHLO;
	client->phase = PHASE_EHLO;
}

/* MAIL FROM:<...> with what the server knows of what the message needs. */
static void
client_say_mail(struct smtp_client *client)
{
	const struct envelope *envelope = client->envelope;
	const struct smtp_caps *caps = &client->caps;
	char params[256];
	size_t at = 0;

	params[0] = '\0';
#define PARAM(...)                                                             \
	at += (size_t)snprintf(params + at, sizeof(params) - at, __VA_ARGS__)
	if (caps->has_size)
		PARAM(" SIZE=%llu", (unsigned long long)envelope->size);
	if (caps->has_8bitmime && envelope->is_8bit)
		PARAM(" BODY=8BITMIME");
	if (caps->has_smtputf8 && envelope->is_utf8)
		PARAM(" SMTPUTF8");
	if (caps->has_dsn && envelope->ret != 0)
		PARAM(" RET=%s", envelope->ret == 'F' ? "FULL" : "HDRS");
	/* RFC 3461, 4.4: at most 100 octets */
	if (caps->has_dsn && envelope->envid != NULL &&
	    strlen(envelope->envid) <= 100)
		PARAM(" ENVID=%s", envelope->envid);
#undef PARAM
	client_say(client, "MAIL FROM:<%s>%s", envelope->sender, params);
}

static void
client_say_rcpt(struct smtp_client *client, const struct client_rcpt *rcpt)
{
	static const struct {
		uint8_t bit;
		const char *name;
	} names[] = {{NOTIFY_NEVER, "NEVER"},
		     {NOTIFY_SUCCESS, "SUCCESS"},
		     {NOTIFY_FAILURE, "FAILURE"},
		     {NOTIFY_DELAY, "DELAY"}};
	const struct recipient *to = &client->envelope->recipients[rcpt->index];
	char notify[48] = "";
	const char *by = " NOTIFY=";

	if (client->caps.has_dsn)
		for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
			if ((to->notify & names[i].bit) != 0) {
				size_t at = strlen(notify);

				(void)snprintf(notify + at, sizeof(notify) - at,
					       "%s%s", by, names[i].name);
				by = ",";
			}
	/* RFC 3461, 4.2: at most 500 octets */
	if (client->caps.has_dsn && to->orcpt != NULL &&
	    strlen(to->orcpt) <= 500)
		client_say(client, "RCPT TO:<%s>%s ORCPT=%s", to->address,
			   notify, to->orcpt);
	else
		client_say(client, "RCPT TO:<%s>%s", to->address, notify);
}

static size_t
step_data(const struct smtp_client *client)
{
	return STEP_RCPT + client->batch_count;
}

static enum smtp_phase
step_phase(const struct smtp_client *client, size_t step)
{
	if (step <= STEP_MAIL)
		return PHASE_MAIL;
	return step < step_data(client) ? PHASE_RCPT : PHASE_DATA;
}

static void
client_say_step(struct smtp_client *client, size_t step)
{
	if (step == STEP_RSET)
		client_say(client, "RSET");
	else if (step == STEP_MAIL)
		client_say_mail(client);
	else if (step < step_data(client))
		client_say_rcpt(
			client,
			&client->rcpts[client->batch[step - STEP_RCPT]]);
	else
		client_say(client, "DATA");
}

/* Behind the last command; a message in chunks has no DATA, nor has a probe. */
static size_t
step_end(const struct smtp_client *client)
{
	return step_data(client) +
	       (client->is_chunked || client->is_probe ? 0 : 1);
}

/* Sends the commands that may be sent now: all of them, or the next. */
static void
client_say_steps(struct smtp_client *client)
{
	while (client->sent < step_end(client) &&
	       (client->caps.has_pipelining || client->sent == client->got))
		client_say_step(client, client->sent++);
	client->phase = step_phase(client, client->got);
}

/* -------------------------------------------------------- transactions */

static void
client_transaction_begin(struct smtp_client *client)
{
	client->batch_count = 0;
	for (size_t i = 0;
	     i < client->rcpt_count && client->batch_count < client->batch_max;
	     i++) {
		if (client->rcpts[i].state != TO_PENDING)
			continue;
		client->rcpts[i].state = TO_ASKED;
		client->batch[client->batch_count++] = i;
	}
	client->accepted = 0;
	client->is_mail_ok = false;
	client->end_at = 0;
	/* RFC 3030 says nothing of LMTP's many replies */
	client->is_chunked = client->caps.has_chunking &&
			     !client->opts.is_chunkless &&
			     !client->opts.is_lmtp;
	client->chunks = 0;
	client->sent = client->got = client->is_dirty ? STEP_RSET : STEP_MAIL;
	client->state = CLIENT_ENVELOPE;
	client_say_steps(client);
}

/* The transaction is over: the next one, or the message is done. */
static void
client_transaction_end(struct smtp_client *client)
{
	for (size_t i = 0; i < client->rcpt_count; i++) {
		if (client->rcpts[i].state == TO_PENDING) {
			client_transaction_begin(client);
			return;
		}
	}
	client->envelope = NULL;
	client->state = CLIENT_READY;
}

/*
 * RFC 5321, 4.5.3.1.10: 452 says "too many recipients"; 552 was once said
 * for the same and is temporary then. Either code has other meanings, which
 * an enhanced code tells apart.
 */
static bool
reply_is_too_many(const struct status *status, bool has_accepted)
{
	if (status->code != 452 && status->code != 552)
		return false;
	if (status->class != 0)
		return status->subject == 5 && status->detail == 3;
	return has_accepted;
}

static void
on_rcpt_reply(struct smtp_client *client)
{
	struct client_rcpt *rcpt =
		&client->rcpts[client->batch[client->got - STEP_RCPT]];
	const struct status *status = &client->reply.status;
	struct smtp_result *result;
	bool is_too_many;

	if (rcpt->state != TO_ASKED)
		return; /* settled by MAIL's refusal */
	if (status->code < 300) {
		rcpt->state = TO_ACCEPTED;
		client->accepted++;
		if (!client->is_probe)
			return;
		result = result_of_reply(client, PHASE_RCPT);
		rcpt_settle(rcpt, result);
		result_unref(result);
		return;
	}
	is_too_many = reply_is_too_many(status, client->accepted != 0);
	if (is_too_many && client->accepted != 0) {
		/* the next transaction takes it; each settles at least one */
		rcpt->state = TO_PENDING;
		client->batch_max = client->accepted;
		return;
	}
	result = result_of_reply(client, PHASE_RCPT);
	if (is_too_many)
		result->kind = OUTCOME_DEFERRED;
	rcpt_settle(rcpt, result);
	result_unref(result);
}

static void
on_mail_reply(struct smtp_client *client)
{
	client->is_mail_ok = client->reply.status.code < 300;
	client->is_dirty = client->is_mail_ok;
	/* a sender refused once is refused in every transaction */
	if (!client->is_mail_ok)
		settle_all(client, result_of_reply(client, PHASE_MAIL));
}

static void
client_body_begin(struct smtp_client *client)
{
	client->state = CLIENT_BODY;
	client->bodies++;
}

static void
on_data_reply(struct smtp_client *client)
{
	if (client->reply.status.code >= 400) {
		settle_batch(client, TO_ACCEPTED,
			     result_of_reply(client, PHASE_DATA));
		client_transaction_end(client);
	} else if (client->reply.status.code < 300 || !client->is_mail_ok) {
		/* out of step: nothing that is said from here on has a
		 * meaning that both sides share */
		client_end_garbled(client);
	} else if (client->accepted == 0) {
		/* RFC 2920, 3.1: a server that takes DATA without recipients
		 * gets its dot */
		client_say(client, ".");
		client->state = CLIENT_EMPTY;
		client->phase = PHASE_BODY;
	} else {
		client_body_begin(client);
	}
}

/* Is it of no use to go on in a server that takes one command at a time? */
static bool
envelope_is_lost(const struct smtp_client *client)
{
	if (client->sent > client->got)
		return false; /* replies are still to come */
	if (client->got > STEP_MAIL && !client->is_mail_ok)
		return true;
	return client->got == step_data(client) && client->accepted == 0;
}

static void
on_envelope_reply(struct smtp_client *client)
{
	size_t step = client->got;
	unsigned code = client->reply.status.code;

	if (step != step_data(client) && code >= 300 && code < 400) {
		client_end_garbled(client);
		return;
	}
	if (step == STEP_RSET) {
		if (code >= 400) {
			client_end(client, result_of_reply(client, PHASE_MAIL));
			return;
		}
		client->is_dirty = false;
	} else if (step == STEP_MAIL) {
		on_mail_reply(client);
	} else if (step < step_data(client)) {
		on_rcpt_reply(client);
	} else {
		on_data_reply(client);
		return;
	}
	client->got++;
	if (envelope_is_lost(client)) {
		client_transaction_end(client);
		return;
	}
	client_say_steps(client);
	if (client->got != step_end(client))
		return;
	if (client->is_probe)
		client_transaction_end(client);
	else
		client_body_begin(client);
}

/* LMTP (RFC 2033, 4.2): one reply for each accepted recipient, in order. */
static void
on_end_reply(struct smtp_client *client)
{
	unsigned code = client->reply.status.code;
	struct smtp_result *result;

	if (code >= 300 && code < 400) {
		client_end_garbled(client);
		return;
	}
	result = result_of_reply(client, PHASE_BODY);
	if (!client->opts.is_lmtp) {
		settle_batch(client, TO_ACCEPTED, result);
		client->is_dirty = code >= 400;
		client_transaction_end(client);
		return;
	}
	while (client->rcpts[client->batch[client->end_at]].state !=
	       TO_ACCEPTED)
		client->end_at++;
	rcpt_settle(&client->rcpts[client->batch[client->end_at++]], result);
	result_unref(result);
	if (--client->accepted == 0) {
		client->is_dirty = false;
		client_transaction_end(client);
	}
}

/* One reply for each chunk, in order (RFC 3030, 2). */
static void
on_chunk_reply(struct smtp_client *client)
{
	unsigned code = client->reply.status.code;
	struct smtp_result *result;

	if (client->chunks == 0 || (code >= 300 && code < 400)) {
		client_end_garbled(client);
		return;
	}
	client->chunks--;
	client->has_chunk_taken |= code < 300;
	if (code < 300 && client->state != CLIENT_END) {
		client->state = CLIENT_BODY;
		return;
	}
	if (code < 300 && client->chunks != 0)
		return;
	result = result_of_reply(client, PHASE_BODY);
	client->has_refused_chunks =
		!client->has_chunk_taken &&
		(code == 500 || code == 502 || code == 504);
	/* what a server that does not know it made of the bytes, and what the
	 * chunks under way behind a refused one are answered, is better left
	 * unknown */
	if (client->has_refused_chunks || client->chunks != 0) {
		client_end(client, result);
		return;
	}
	settle_batch(client, TO_ACCEPTED, result);
	client->is_dirty = code >= 400;
	client_transaction_end(client);
}

/*
 * A reply before the dot: the server gave up on the message. Sending on is
 * of no use and where the next reply would belong is unknown. One that says
 * "accepted" before all was sent is not believed.
 */
static void
on_early_reply(struct smtp_client *client)
{
	client->phase = PHASE_BODY;
	if (client->reply.status.code < 400)
		client_end_garbled(client);
	else
		client_end(client, result_of_reply(client, PHASE_BODY));
}

/* ------------------------------------------------------------- sessions */

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
		on_envelope_reply(client);
		break;
	case CLIENT_BODY:
		if (client->chunks != 0)
			on_chunk_reply(client);
		else
			on_early_reply(client);
		break;
	case CLIENT_CHUNK:
		on_chunk_reply(client);
		break;
	case CLIENT_END:
		if (client->is_chunked)
			on_chunk_reply(client);
		else
			on_end_reply(client);
		break;
	case CLIENT_EMPTY:
		client->is_dirty = true;
		client_transaction_end(client);
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

static void
client_forget_message(struct smtp_client *client)
{
	for (size_t i = 0; i < client->rcpt_count; i++)
		result_unref(client->rcpts[i].result);
	free(client->rcpts);
	client->rcpts = NULL;
	client->rcpt_count = 0;
	client->envelope = NULL;
}

void
smtp_client_free(struct smtp_client *client)
{
	if (client == NULL)
		return;
	client_forget_message(client);
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

uint64_t
smtp_client_timeout_ms(const struct smtp_client *client)
{
	unsigned seconds = CLIENT_TIMEOUT_S;

	if (client->state == CLIENT_BODY || client->state == CLIENT_CHUNK)
		seconds = 180; /* 4.5.3.2.5 */
	else if (client->state == CLIENT_END)
		seconds = 600; /* 4.5.3.2.6 */
	else if (client->state == CLIENT_ENVELOPE &&
		 client->got == step_data(client))
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

/* May this stand between < and > on a command line? */
static bool
path_is_sound(const char *address)
{
	size_t len = 0;

	for (; address[len] != '\0'; len++)
		if ((unsigned char)address[len] < ' ' || address[len] == 0x7f)
			return false;
	return len <= ADDR_MAX;
}

static bool
envelope_is_sound(const struct envelope *envelope,
		  const struct smtp_client_message *message)
{
	if (!path_is_sound(envelope->sender) ||
	    (envelope->envid != NULL &&
	     strpbrk(envelope->envid, " \t\r\n") != NULL))
		return false;
	for (size_t i = 0; i < message->count; i++) {
		const struct recipient *to =
			&envelope->recipients[message->recipients[i]];

		if (!path_is_sound(to->address) ||
		    (to->orcpt != NULL &&
		     strpbrk(to->orcpt, " \t\r\n") != NULL))
			return false;
	}
	return true;
}

/* Something about the message that this server cannot take, or NULL. */
static struct smtp_result *
message_obstacle(const struct smtp_client *client,
		 const struct smtp_client_message *message)
{
	const struct envelope *envelope = message->envelope;
	const struct smtp_caps *caps = &client->caps;
	char text[160];

	if (!envelope_is_sound(envelope, message))
		return result_of_cause(
			CAUSE_SPOOL, PHASE_MAIL,
			"an address of the envelope cannot be sent");
	if (envelope->is_8bit && !caps->has_8bitmime)
		return result_of_cause(
			CAUSE_NO_8BITMIME, PHASE_MAIL,
			"the message has 8-bit text and the next server does "
			"not take it (no 8BITMIME)");
	if (envelope->is_utf8 && !caps->has_smtputf8)
		return result_of_cause(
			CAUSE_NO_SMTPUTF8, PHASE_MAIL,
			"the message has internationalised addresses and the "
			"next server does not take them (no SMTPUTF8)");
	if (caps->size != 0 && envelope->size > caps->size) {
		(void)snprintf(text, sizeof(text),
			       "the message has %llu bytes, the next server "
			       "takes %llu",
			       (unsigned long long)envelope->size,
			       (unsigned long long)caps->size);
		return result_of_cause(CAUSE_TOO_BIG, PHASE_MAIL, text);
	}
	return NULL;
}

void
smtp_client_send(struct smtp_client *client,
		 const struct smtp_client_message *message)
{
	struct smtp_result *obstacle;

	assert(client->state == CLIENT_READY && message->count != 0);
	client_forget_message(client);
	client->envelope = message->envelope;
	client->rcpts = mem_zalloc(message->count * sizeof(*client->rcpts));
	client->rcpt_count = message->count;
	for (size_t i = 0; i < message->count; i++)
		client->rcpts[i].index = message->recipients[i];
	client->is_probe = message->is_probe;
	client->is_heard = false;
	client->batch_max = SMTP_CLIENT_BATCH_MAX;

	obstacle = message_obstacle(client, message);
	if (obstacle != NULL) {
		client->is_heard = true;
		settle_all(client, obstacle);
		client->envelope = NULL;
		return;
	}
	client_transaction_begin(client);
}

void
smtp_client_body_sent(struct smtp_client *client, struct str encoded_end)
{
	assert(client->state == CLIENT_BODY && !client->is_chunked);
	(void)buf_add(&client->out, encoded_end.at, encoded_end.len);
	client->state = CLIENT_END;
	client->phase = PHASE_BODY;
}

bool
smtp_client_is_chunked(const struct smtp_client *client)
{
	return client->is_chunked;
}

void
smtp_client_chunk(struct smtp_client *client, size_t len, bool is_last)
{
	assert(client->state == CLIENT_BODY && client->is_chunked);
	client_say(client, "BDAT %zu%s", len, is_last ? " LAST" : "");
	client->chunks++;
	if (is_last) {
		client->state = CLIENT_END;
		client->phase = PHASE_BODY;
	} else if (!client->caps.has_pipelining) {
		client->state = CLIENT_CHUNK;
	}
}

unsigned
smtp_client_bodies(const struct smtp_client *client)
{
	return client->bodies;
}

bool
smtp_client_has_refused_chunks(const struct smtp_client *client)
{
	return client->has_refused_chunks;
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
smtp_client_result(const struct smtp_client *client, size_t i)
{
	return client->rcpts[i].result;
}

const struct smtp_result *
smtp_client_failure(const struct smtp_client *client)
{
	return client->failure;
}

bool
smtp_client_is_stale(const struct smtp_client *client)
{
	return client->state == CLIENT_CLOSED && client->rcpt_count != 0 &&
	       !client->is_heard;
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
