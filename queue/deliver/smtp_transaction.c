/* SPDX-License-Identifier: ISC */
/*
 * One message on a connection. Its recipients go in as many transactions as
 * the server wants, each of which settles at least one of them, so this ends.
 * The commands of a transaction have places: replies come in that order, also
 * where all commands left together (PIPELINING).
 */
#include "queue/deliver/smtp_client_internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"

/* The commands of a transaction, in order; RCPTs are as many as its batch. */
enum { STEP_RSET, STEP_MAIL, STEP_RCPT };

/* ------------------------------------------------------------- results */

static void
rcpt_settle(struct client_rcpt *rcpt, struct smtp_result *result)
{
	result_unref(rcpt->result);
	rcpt->result = result_ref(result);
	rcpt->state = TO_SETTLED;
}

void
message_settle(struct smtp_client *client, struct smtp_result *result)
{
	for (size_t i = 0; i < client->rcpt_count; i++)
		if (client->rcpts[i].state != TO_SETTLED)
			rcpt_settle(&client->rcpts[i], result);
	result_unref(result);
}

/* Those of the transaction in this state get it. takes: result */
static void
transaction_settle(struct smtp_client *client, enum to_state state,
		   struct smtp_result *result)
{
	for (size_t i = 0; i < client->batch_count; i++) {
		struct client_rcpt *rcpt = &client->rcpts[client->batch[i]];

		if (rcpt->state == state)
			rcpt_settle(rcpt, result);
	}
	result_unref(result);
}

/* ------------------------------------------------------------ commands */

/* MAIL FROM:<...> with what the server knows of what the message needs. */
static void
transaction_say_mail(struct smtp_client *client)
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
transaction_say_rcpt(struct smtp_client *client, const struct client_rcpt *rcpt)
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
transaction_say_step(struct smtp_client *client, size_t step)
{
	if (step == STEP_RSET)
		client_say(client, "RSET");
	else if (step == STEP_MAIL)
		transaction_say_mail(client);
	else if (step < step_data(client))
		transaction_say_rcpt(
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
transaction_say_steps(struct smtp_client *client)
{
	while (client->sent < step_end(client) &&
	       (client->caps.has_pipelining || client->sent == client->got))
		transaction_say_step(client, client->sent++);
	client->phase = step_phase(client, client->got);
}

size_t
transaction_due(const struct smtp_client *client)
{
	if (client->state == CLIENT_ENVELOPE)
		return client->sent - client->got;
	if (client->state == CLIENT_EMPTY)
		return 1;
	if (client->state != CLIENT_END || client->is_chunked)
		return client->chunks;
	return client->opts.is_lmtp ? client->accepted : 1;
}

bool
transaction_awaits_data(const struct smtp_client *client)
{
	return client->state == CLIENT_ENVELOPE &&
	       client->got == step_data(client);
}

/* ------------------------------------------------- beginning and end */

static void
transaction_begin(struct smtp_client *client)
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
	transaction_say_steps(client);
}

/* The transaction is over: the next one, or the message is done. */
static void
transaction_end(struct smtp_client *client)
{
	for (size_t i = 0; i < client->rcpt_count; i++) {
		if (client->rcpts[i].state == TO_PENDING) {
			transaction_begin(client);
			return;
		}
	}
	client->envelope = NULL;
	client->state = CLIENT_READY;
}

/* -------------------------------------------------------- the envelope */

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
		message_settle(client, result_of_reply(client, PHASE_MAIL));
}

static void
transaction_body(struct smtp_client *client)
{
	client->state = CLIENT_BODY;
	client->bodies++;
}

static void
on_data_reply(struct smtp_client *client)
{
	if (client->reply.status.code >= 400) {
		transaction_settle(client, TO_ACCEPTED,
				   result_of_reply(client, PHASE_DATA));
		transaction_end(client);
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
		transaction_body(client);
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

/* Whatever it says, it is not about this message, which can go over another
 * connection as if this one had never been, unless it was spoken of before. */
static void
on_rset_refused(struct smtp_client *client)
{
	struct smtp_result *result = result_of_reply(client, PHASE_MAIL);

	client->is_heard = false;
	for (size_t i = 0; i < client->rcpt_count; i++)
		client->is_heard |= client->rcpts[i].result != NULL;
	result->kind = OUTCOME_DEFERRED;
	client_end(client, result);
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
			on_rset_refused(client);
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
		transaction_end(client);
		return;
	}
	transaction_say_steps(client);
	if (client->got != step_end(client))
		return;
	if (client->is_probe)
		transaction_end(client);
	else
		transaction_body(client);
}

/* ------------------------------------------------------------ the body */

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
		transaction_settle(client, TO_ACCEPTED, result);
		client->is_dirty = code >= 400;
		transaction_end(client);
		return;
	}
	while (client->rcpts[client->batch[client->end_at]].state !=
	       TO_ACCEPTED)
		client->end_at++;
	rcpt_settle(&client->rcpts[client->batch[client->end_at++]], result);
	result_unref(result);
	if (--client->accepted == 0) {
		client->is_dirty = false;
		transaction_end(client);
	}
}

/* The transaction was refused, and the connection is of no more use. Who waits
 * for another transaction was not meant. takes: result */
static void
transaction_refused(struct smtp_client *client, struct smtp_result *result)
{
	transaction_settle(client, TO_ACCEPTED, result);
	/* the phase stays: the other side may be within the message */
	client_end(client,
		   result_of_cause(CAUSE_CONNECTION_LOST, PHASE_RCPT,
				   "the server refused the message to others "
				   "before this recipient's turn came"));
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
		transaction_refused(client, result);
		return;
	}
	transaction_settle(client, TO_ACCEPTED, result);
	client->is_dirty = code >= 400;
	transaction_end(client);
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
		transaction_refused(client,
				    result_of_reply(client, PHASE_BODY));
}

void
transaction_on_reply(struct smtp_client *client)
{
	switch (client->state) {
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
		transaction_end(client);
		break;
	case CLIENT_GREETING:
	case CLIENT_EHLO:
	case CLIENT_HELO:
	case CLIENT_STARTTLS:
	case CLIENT_SECURING:
	case CLIENT_LOGIN:
	case CLIENT_AUTH:
	case CLIENT_STEP:
	case CLIENT_READY:
	case CLIENT_QUIT:
	case CLIENT_CLOSED:
		break; /* there is no transaction */
	}
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

/* --------------------------------------------------------- the message */

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
message_forget(struct smtp_client *client)
{
	for (size_t i = 0; i < client->rcpt_count; i++)
		result_unref(client->rcpts[i].result);
	free(client->rcpts);
	client->rcpts = NULL;
	client->rcpt_count = 0;
	client->envelope = NULL;
}

void
message_begin(struct smtp_client *client,
	      const struct smtp_client_message *message)
{
	struct smtp_result *obstacle;

	message_forget(client);
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
		message_settle(client, obstacle);
		client->envelope = NULL;
		return;
	}
	transaction_begin(client);
}

const struct smtp_result *
smtp_client_result(const struct smtp_client *client, size_t i)
{
	return client->rcpts[i].result;
}

bool
smtp_client_is_stale(const struct smtp_client *client)
{
	return client->state == CLIENT_CLOSED && client->rcpt_count != 0 &&
	       !client->is_heard;
}
