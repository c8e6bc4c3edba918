/* SPDX-License-Identifier: ISC */
#include "server/queue_json.h"

#include <stdlib.h>
#include <string.h>

#include "lib/addr.h"
#include "lib/mem.h"
#include "lib/str.h"
#include "lib/wire/smtp_args.h"
#include "queue/bounce/mime_text.h"
#include "queue/deliver/outcome.h"
#include "queue/envelope.h"
#include "queue/queue.h"

/* What an envelope can say of a time, and more than it ever needs. */
#define RECEIVED_MAX (INT64_MAX / 4)

/* Shorter or as long: each character stays, or becomes one octet. */
char *
queue_json_clean(const char *text)
{
	char *copy = mem_strdup(text != NULL ? text : ""), *to = copy;
	struct str rest = str_of(copy);

	while (rest.len != 0) {
		bool is_bad;
		size_t len = mime_character(rest, &is_bad);
		unsigned char c = (unsigned char)rest.at[0];

		if (len == 0 || (c < ' ' && c != '\n') || c == 0x7f)
			is_bad = true;
		len += len == 0;
		if (is_bad)
			*to++ = '?';
		else
			to = (char *)memmove(to, rest.at, len) + len;
		rest = str_from(rest.at + len, rest.len - len);
	}
	*to = '\0';
	return copy;
}

char *
queue_json_clean_line(const char *text)
{
	char *copy = queue_json_clean(text);

	for (char *c = copy; *c != '\0'; c++)
		if (*c == '\n')
			*c = ' ';
	return copy;
}

static json_t *
clean_string(const char *text)
{
	char *copy = queue_json_clean(text);
	json_t *value = json_string(copy);

	free(copy);
	return value;
}

json_t *
queue_json_line(const char *text)
{
	char *copy = queue_json_clean_line(text);
	json_t *value = json_string(copy);

	free(copy);
	return value;
}

json_t *
queue_json_item(const struct queue_item *item)
{
	char id[SPOOL_ID_MAX];

	return json_pack("{s:s,s:I,s:I,s:o,s:o,s:I,s:s,s:I,s:I,s:o,s:o}", "id",
			 spool_id_format(item->id, id), "received_ms",
			 (json_int_t)item->received_ms, "size",
			 (json_int_t)item->size, "sender",
			 queue_json_line(item->sender), "recipient",
			 queue_json_line(item->recipient), "recipients_left",
			 (json_int_t)item->recipients_left, "state",
			 item->state, "next_try_ms",
			 (json_int_t)item->next_try_ms, "attempts",
			 (json_int_t)item->attempts, "category",
			 queue_json_line(item->category), "why",
			 queue_json_line(item->why));
}

/* Of a list that waits for days there are millions, which are told of by some
 * hundred lines; all of this is one turn of the loop. */
#define TRIES_MAX 5000

struct attempts {
	json_t *list;
	const struct envelope *envelope;
	uint64_t count, skip; /* of all; of the oldest */
};

static void
count_attempt(void *arg, size_t recipient, const struct attempt *attempt)
{
	struct attempts *attempts = arg;

	(void)recipient;
	(void)attempt;
	attempts->count++;
}

static void
on_attempt(void *arg, size_t recipient, const struct attempt *attempt)
{
	static const char *const kinds[] = {"delivered", "deferred", "failed"};
	struct attempts *attempts = arg;
	const struct envelope *envelope = attempts->envelope;
	const char *to = recipient < envelope->recipient_count
				 ? envelope->recipients[recipient].address
				 : "";

	if (attempts->skip != 0) {
		attempts->skip--;
		return;
	}
	json_array_append_new(
		attempts->list,
		json_pack("{s:I,s:o,s:s,s:s,s:s,s:o,s:o,s:i,s:o,s:o,s:i,s:o,"
			  "s:o,s:o,s:o}",
			  "at_ms", (json_int_t)attempt->at_ms, "to",
			  queue_json_line(to), "result",
			  kinds[attempt->kind % 3], "cause",
			  cause_name(attempt->cause), "command",
			  smtp_phase_name(attempt->phase), "host",
			  queue_json_line(attempt->host), "ip",
			  queue_json_line(attempt->ip), "port",
			  (int)attempt->port, "tls",
			  queue_json_line(attempt->tls), "security",
			  queue_json_line(attempt->security), "code",
			  (int)attempt->code, "status",
			  queue_json_line(attempt->enhanced), "reply",
			  clean_string(attempt->reply), "category",
			  queue_json_line(attempt->category), "note",
			  clean_string(attempt->note)));
}

json_t *
queue_json_text(const char *text)
{
	return clean_string(text);
}

static json_t *
recipient_json(const struct recipient *r)
{
	return json_pack("{s:o,s:s,s:I,s:I,s:o,s:o,s:o,s:o,s:o,s:i}", "address",
			 queue_json_line(r->address), "state",
			 recipient_state_name(r->state), "attempts",
			 (json_int_t)r->attempts, "next_try_ms",
			 (json_int_t)r->next_try_ms, "host",
			 queue_json_line(r->last_host), "reply",
			 clean_string(r->last_reply), "category",
			 queue_json_line(r->category), "via",
			 queue_json_line(r->via), "orcpt",
			 queue_json_line(r->orcpt), "notify", (int)r->notify);
}

json_t *
queue_json_envelope(const struct envelope *envelope, const char *states)
{
	struct attempts attempts = {json_array(), envelope, 0, 0};
	json_t *recipients = json_array();
	char id[SPOOL_ID_MAX];
	uint64_t before;

	for (size_t i = 0; i < envelope->recipient_count; i++)
		json_array_append_new(recipients,
				      recipient_json(&envelope->recipients[i]));
	envelope_each_attempt(states, envelope->recipient_count, count_attempt,
			      &attempts);
	before = attempts.count > TRIES_MAX ? attempts.count - TRIES_MAX : 0;
	attempts.skip = before;
	envelope_each_attempt(states, envelope->recipient_count, on_attempt,
			      &attempts);
	return json_pack("{s:s,s:I,s:I,s:o,s:o,s:o,s:o,s:o,s:o,s:s,s:b,s:b,"
			 "s:b,s:o,s:I,s:o}",
			 "id", spool_id_format(envelope->id, id), "received_ms",
			 (json_int_t)envelope->received_ms, "size",
			 (json_int_t)envelope->size, "sender",
			 queue_json_line(envelope->sender), "listener",
			 queue_json_line(envelope->listener), "client",
			 queue_json_line(envelope->client), "helo",
			 queue_json_line(envelope->helo), "user",
			 queue_json_line(envelope->login), "envid",
			 queue_json_line(envelope->envid), "ret",
			 envelope->ret == 'F'	? "full"
			 : envelope->ret == 'H' ? "hdrs"
						: "",
			 "8bit", envelope->is_8bit, "smtputf8",
			 envelope->is_utf8, "held", envelope->is_held,
			 "recipients", recipients, "tries_before",
			 (json_int_t)before, "tries", attempts.list);
}

static const char *
field(const json_t *row, const char *name)
{
	const char *text = json_string_value(json_object_get(row, name));

	return text != NULL ? text : "";
}

static char *
field_copy(const json_t *row, const char *name)
{
	const char *text = field(row, name);

	return text[0] != '\0' ? mem_strdup(text) : NULL;
}

/* May a server be told this in a parameter (RFC 3461, 4.2 and 4.4)? Where it
 * is not so, the message could never be sent. */
static bool
is_parameter(const char *text, size_t max)
{
	for (const char *at = text; *at != '\0'; at++)
		if ((unsigned char)*at <= ' ' || *at == 0x7f)
			return false;
	return strlen(text) <= max;
}

/* A recipient that is left; "" when there is nothing to say of it. */
static const char *
take_recipient(const json_t *row, struct envelope *out)
{
	json_int_t notify = json_integer_value(json_object_get(row, "notify"));
	const char *state = field(row, "state"), *problem;
	struct recipient *recipient;
	struct addr addr;

	if (strcmp(state, "queued") != 0 && strcmp(state, "held") != 0)
		return NULL;
	problem = addr_parse(str_of(field(row, "address")), ADDR_ALLOW_UTF8,
			     &addr);
	if (problem != NULL)
		return problem;
	if (!is_parameter(field(row, "orcpt"), SMTP_ORCPT_MAX))
		return "malformed orcpt";
	recipient = envelope_add(out, addr.text);
	recipient->orcpt = field_copy(row, "orcpt");
	recipient->notify = (uint8_t)(notify & 15);
	return NULL;
}

const char *
queue_json_to_envelope(const json_t *row, struct envelope *out)
{
	json_int_t received_ms =
		json_integer_value(json_object_get(row, "received_ms"));
	const char *sender = json_string_value(json_object_get(row, "sender"));
	const char *ret = field(row, "ret"), *problem = NULL;
	struct addr addr;
	json_t *one;
	size_t index;

	envelope_init(out);
	if (sender == NULL || received_ms <= 0 || received_ms > RECEIVED_MAX)
		problem = "it is no envelope";
	else if (!is_parameter(field(row, "envid"), SMTP_ENVID_MAX))
		problem = "malformed envid";
	else if (sender[0] != '\0')
		problem = addr_parse(str_of(sender), ADDR_ALLOW_UTF8, &addr);
	json_array_foreach(json_object_get(row, "recipients"), index, one)
	{
		if (problem == NULL)
			problem = take_recipient(one, out);
	}
	if (problem == NULL && out->recipient_count == 0)
		problem = "it has no recipient left";
	if (problem != NULL) {
		envelope_done(out);
		return problem;
	}
	out->sender = mem_strdup(sender[0] != '\0' ? addr.text : "");
	out->received_ms = (uint64_t)received_ms;
	out->listener = mem_strdup(field(row, "listener"));
	out->client = mem_strdup(field(row, "client"));
	out->helo = field_copy(row, "helo");
	out->login = field_copy(row, "user");
	out->envid = field_copy(row, "envid");
	out->ret = ret[0] == 'f' ? 'F' : ret[0] == 'h' ? 'H' : '\0';
	out->is_8bit = json_is_true(json_object_get(row, "8bit"));
	out->is_utf8 = json_is_true(json_object_get(row, "smtputf8"));
	out->is_held = json_is_true(json_object_get(row, "held"));
	return NULL;
}

json_t *
queue_json_bytes(const uint8_t *bytes, size_t len)
{
	char *text = mem_alloc(len * 2 + 1);
	size_t at = 0;
	json_t *row;

	for (size_t i = 0; i < len; i++) {
		if (bytes[i] < 0x80) {
			text[at++] = (char)bytes[i];
		} else {
			text[at++] = (char)(0xc0 | bytes[i] >> 6);
			text[at++] = (char)(0x80 | (bytes[i] & 0x3f));
		}
	}
	row = json_pack("{s:o}", "data", json_stringn(text, at));
	free(text);
	return row;
}

uint8_t *
queue_json_to_bytes(const json_t *row, size_t *out_len)
{
	const json_t *data = json_object_get(row, "data");
	const uint8_t *text = (const uint8_t *)json_string_value(data);
	size_t len = json_string_length(data), at = 0;
	uint8_t *bytes;

	if (text == NULL)
		return NULL;
	bytes = mem_alloc(len + 1);
	for (size_t i = 0; i < len; i++) {
		if (text[i] < 0x80) {
			bytes[at++] = text[i];
		} else if (i + 1 < len && (text[i] & 0xfc) == 0xc0) {
			bytes[at++] =
				(uint8_t)(text[i] << 6 | (text[i + 1] & 0x3f));
			i++;
		} else {
			free(bytes);
			return NULL;
		}
	}
	*out_len = at;
	return bytes;
}
