/* SPDX-License-Identifier: ISC */
#include "queue/envelope.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "lib/str.h"
#include "queue/deliver/outcome.h"

static const char *const state_names[] = {
	[RCPT_QUEUED] = "queued",	[RCPT_HELD] = "held",
	[RCPT_DELIVERED] = "delivered", [RCPT_FAILED] = "failed",
	[RCPT_EXPIRED] = "expired",	[RCPT_REMOVED] = "removed",
};
#define STATE_COUNT (sizeof(state_names) / sizeof(state_names[0]))

static const char *const kind_names[] = {
	[OUTCOME_DELIVERED] = "delivered",
	[OUTCOME_DEFERRED] = "deferred",
	[OUTCOME_FAILED] = "failed",
};
#define KIND_COUNT (sizeof(kind_names) / sizeof(kind_names[0]))

const char *
recipient_state_name(enum recipient_state state)
{
	return state_names[state];
}

static int
name_index(const char *const *names, size_t count, struct str text)
{
	for (size_t i = 0; i < count; i++)
		if (str_is(text, names[i]))
			return (int)i;
	return -1;
}

void
envelope_init(struct envelope *envelope)
{
	memset(envelope, 0, sizeof(*envelope));
}

static void
recipient_done(struct recipient *recipient)
{
	free(recipient->address);
	free(recipient->orcpt);
	free(recipient->last_reply);
	free(recipient->last_host);
	free(recipient->category);
	free(recipient->via);
}

void
envelope_done(struct envelope *envelope)
{
	if (envelope == NULL)
		return;
	for (size_t i = 0; i < envelope->recipient_count; i++)
		recipient_done(&envelope->recipients[i]);
	free(envelope->recipients);
	free(envelope->sender);
	free(envelope->listener);
	free(envelope->client);
	free(envelope->helo);
	free(envelope->login);
	free(envelope->envid);
	envelope_init(envelope);
}

/* Takes address. The array grows at each power of two. */
static struct recipient *
envelope_append(struct envelope *envelope, char *address)
{
	size_t count = envelope->recipient_count;
	struct recipient *recipient;

	if ((count & (count - 1)) == 0)
		envelope->recipients =
			mem_resize(envelope->recipients,
				   count != 0 ? count * 2 : 1,
				   sizeof(*envelope->recipients));
	recipient = &envelope->recipients[envelope->recipient_count++];
	memset(recipient, 0, sizeof(*recipient));
	recipient->address = address;
	return recipient;
}

struct recipient *
envelope_add(struct envelope *envelope, const char *address)
{
	return envelope_append(envelope, mem_strdup(address));
}

/* ------------------------------------------------------------- escaping */

/*
 * Control characters and the backslash become \xHH, in words the space too,
 * so that a line stays a line and a word a word. Bytes above 127 stay.
 */
static void
text_escape(struct buf *out, const char *text, bool is_word)
{
	const char *run = text;

	for (const char *at = text;; at++) {
		unsigned char c = (unsigned char)*at;

		if (c > ' ' && c != 0x7f && c != '\\')
			continue;
		if (c == ' ' && !is_word)
			continue;
		(void)buf_add(out, run, (size_t)(at - run));
		if (c == '\0')
			return;
		(void)buf_addf(out, "\\x%02x", c);
		run = at + 1;
	}
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

/* Returns new memory, or NULL when an escape is malformed or a NUL. */
static char *
text_unescape(struct str text)
{
	char *plain = mem_alloc(text.len + 1), *to = plain;

	for (size_t i = 0; i < text.len; i++) {
		char c = text.at[i];

		if (c == '\\') {
			int high, low;

			if (text.len - i < 4 || text.at[i + 1] != 'x')
				goto bad;
			high = hex_digit(text.at[i + 2]);
			low = hex_digit(text.at[i + 3]);
			if (high < 0 || low < 0 || high + low == 0)
				goto bad;
			c = (char)(high * 16 + low);
			i += 3;
		}
		*to++ = c;
	}
	*to = '\0';
	return plain;

bad:
	free(plain);
	return NULL;
}

static bool
text_read(struct str text, char **field)
{
	char *plain = text_unescape(text);

	if (plain == NULL)
		return false;
	free(*field);
	*field = plain;
	return true;
}

/* ------------------------------------------------------- envelope lines */

static void
line_text(struct buf *out, const char *name, const char *value)
{
	if (value == NULL)
		return;
	(void)buf_join(out, name, " ", NULL);
	text_escape(out, value, false);
	(void)buf_add(out, "\n", 1);
}

static void
line_path(struct buf *out, const char *name, const char *address)
{
	(void)buf_join(out, name, " <", NULL);
	text_escape(out, address, false);
	(void)buf_adds(out, ">\n");
}

static void
line_number(struct buf *out, const char *name, uint64_t number)
{
	(void)buf_join(out, name, " ", NULL);
	(void)buf_add_number(out, number);
	(void)buf_add(out, "\n", 1);
}

void
envelope_format(const struct envelope *envelope, struct buf *out)
{
	line_path(out, "from", envelope->sender);
	line_number(out, "received", envelope->received_ms);
	line_number(out, "size", envelope->size);
	line_text(out, "listener", envelope->listener);
	line_text(out, "client", envelope->client);
	line_text(out, "helo", envelope->helo);
	line_text(out, "login", envelope->login);
	line_text(out, "envid", envelope->envid);
	if (envelope->ret != '\0')
		(void)buf_addf(out, "ret %c\n", envelope->ret);
	if (envelope->is_8bit)
		(void)buf_adds(out, "body 8bitmime\n");
	if (envelope->is_utf8)
		(void)buf_adds(out, "smtputf8 yes\n");
	for (size_t i = 0; i < envelope->recipient_count; i++) {
		const struct recipient *recipient = &envelope->recipients[i];

		line_path(out, "to", recipient->address);
		line_text(out, "orcpt", recipient->orcpt);
		if (recipient->notify != NOTIFY_DEFAULT)
			line_number(out, "notify", recipient->notify);
	}
}

/* As long as text_escape writes it. */
static size_t
escaped_length(const char *text)
{
	size_t len = 0;

	for (; *text != '\0'; text++) {
		unsigned char c = (unsigned char)*text;

		len += c < ' ' || c == 0x7f || c == '\\' ? 4 : 1;
	}
	return len;
}

size_t
envelope_recipient_bytes(const char *address, const char *orcpt, uint8_t notify)
{
	size_t len = escaped_length(address) + strlen("to <>\n");

	if (orcpt != NULL)
		len += escaped_length(orcpt) + strlen("orcpt \n");
	if (notify != NOTIFY_DEFAULT)
		len += strlen("notify 15\n");
	return len;
}

static bool
path_read(struct str value, char **field)
{
	if (value.len < 2 || value.at[0] != '<' ||
	    value.at[value.len - 1] != '>')
		return false;
	return text_read(str_from(value.at + 1, value.len - 2), field);
}

/* Lines about the recipient whose "to" came last. */
static bool
recipient_read(struct envelope *out, struct str name, struct str value)
{
	struct recipient *last =
		out->recipient_count != 0
			? &out->recipients[out->recipient_count - 1]
			: NULL;
	uint64_t number;

	if (str_is(name, "to")) {
		char *address = NULL;

		if (!path_read(value, &address))
			return false;
		(void)envelope_append(out, address);
		return true;
	}
	if (str_is(name, "orcpt"))
		return last != NULL && text_read(value, &last->orcpt);
	if (str_is(name, "notify")) {
		if (last == NULL || !str_u64(value, 15, &number))
			return false;
		last->notify = (uint8_t)number;
		return true;
	}
	return true; /* a newer version knows what it is */
}

static bool
line_read(struct envelope *out, struct str name, struct str value)
{
	if (str_is(name, "from"))
		return path_read(value, &out->sender);
	if (str_is(name, "received"))
		return str_u64(value, UINT64_MAX / 4, &out->received_ms);
	if (str_is(name, "size"))
		return str_u64(value, UINT64_MAX / 4, &out->size);
	if (str_is(name, "listener"))
		return text_read(value, &out->listener);
	if (str_is(name, "client"))
		return text_read(value, &out->client);
	if (str_is(name, "helo"))
		return text_read(value, &out->helo);
	if (str_is(name, "login"))
		return text_read(value, &out->login);
	if (str_is(name, "envid"))
		return text_read(value, &out->envid);
	if (str_is(name, "ret")) {
		out->ret = str_is(value, "F")	? 'F'
			   : str_is(value, "H") ? 'H'
						: '\0';
		return out->ret != '\0';
	}
	if (str_is(name, "body")) {
		out->is_8bit = str_is(value, "8bitmime");
		return true;
	}
	if (str_is(name, "smtputf8")) {
		out->is_utf8 = str_is(value, "yes");
		return true;
	}
	return recipient_read(out, name, value);
}

/* ---------------------------------------------------------- state lines */

/* One line taken apart; strings are owned, NULL where absent. */
struct state_line {
	bool is_message;
	size_t first, last;		     /* recipients */
	bool has_held, is_held, is_bouncing; /* of the message */
	enum recipient_state state;
	uint64_t attempts, next_ms, at_ms, port, code;
	uint64_t reroutes, dns_after_ms;
	bool is_warned, has_attempt;
	enum outcome_kind kind;
	enum cause cause;
	enum smtp_phase phase;
	char *category, *enhanced, *host, *ip, *tls, *security, *note, *reply;
	char *via, *domain;
};

static void
state_line_done(struct state_line *line)
{
	free(line->category);
	free(line->enhanced);
	free(line->host);
	free(line->ip);
	free(line->tls);
	free(line->security);
	free(line->note);
	free(line->reply);
	free(line->via);
	free(line->domain);
}

static void
word_text(struct buf *out, const char *name, const char *value)
{
	if (value == NULL || value[0] == '\0')
		return;
	(void)buf_addf(out, " %s=", name);
	text_escape(out, value, true);
}

void
envelope_format_state(const struct envelope *envelope, int index,
		      const struct attempt *attempt, struct buf *out)
{
	const struct recipient *recipient;
	const char *reply;

	if (index < 0) {
		(void)buf_addf(out, "to=all held=%s",
			       envelope->is_held ? "yes" : "no");
		return;
	}
	assert((size_t)index < envelope->recipient_count);
	recipient = &envelope->recipients[index];
	(void)buf_addf(out, "to=%d state=%s attempts=%" PRIu32, index,
		       state_names[recipient->state], recipient->attempts);
	if (recipient->next_try_ms != 0)
		(void)buf_addf(out, " next=%" PRIu64, recipient->next_try_ms);
	if (recipient->is_warned)
		(void)buf_adds(out, " warned=yes");
	if (recipient->reroutes != 0)
		(void)buf_addf(out, " reroutes=%u", recipient->reroutes);
	if (recipient->dns_after_ms != 0)
		(void)buf_addf(out, " dns_after=%" PRIu64,
			       recipient->dns_after_ms);
	word_text(out, "category", recipient->category);
	reply = recipient->last_reply;
	if (attempt != NULL) {
		(void)buf_addf(out, " at=%" PRIu64 " result=%s", attempt->at_ms,
			       kind_names[attempt->kind]);
		word_text(out, "cause", cause_name(attempt->cause));
		word_text(out, "phase", smtp_phase_name(attempt->phase));
		if (attempt->code != 0)
			(void)buf_addf(out, " code=%u", attempt->code);
		word_text(out, "status", attempt->enhanced);
		word_text(out, "host", attempt->host);
		word_text(out, "ip", attempt->ip);
		if (attempt->port != 0)
			(void)buf_addf(out, " port=%u", attempt->port);
		word_text(out, "tls", attempt->tls);
		word_text(out, "security", attempt->security);
		word_text(out, "note", attempt->note);
		reply = attempt->reply;
	} else {
		word_text(out, "host", recipient->last_host);
	}
	if (reply != NULL && reply[0] != '\0') {
		/* the last word has the rest of the line, spaces and all */
		(void)buf_adds(out, " reply=");
		text_escape(out, reply, false);
	}
}

/* "5", or "5-9". */
static bool
recipients_read(struct str text, size_t *out_first, size_t *out_last)
{
	uint64_t first, last;
	struct str part;
	bool is_row;

	if (!str_cut(&text, '-', &part))
		return false;
	is_row = part.at + part.len != text.at;
	if (!str_u64(part, INT32_MAX, &first))
		return false;
	last = first;
	if (is_row && (!str_u64(text, INT32_MAX, &last) || last < first))
		return false;
	*out_first = (size_t)first;
	*out_last = (size_t)last;
	return true;
}

/* What a state line is about, and what it says of that. */
static bool
state_line_cut(const char *line, size_t *out_first, size_t *out_last,
	       struct str *out_says)
{
	struct str word;

	*out_says = str_of(line);
	return strncmp(line, "to=", 3) == 0 && str_cut(out_says, ' ', &word) &&
	       recipients_read(str_from(word.at + 3, word.len - 3), out_first,
			       out_last);
}

bool
envelope_join_states(struct buf *line, const char *next)
{
	size_t first, last, next_first, next_last;
	struct str says, next_says;
	struct buf joined;

	if (!state_line_cut(buf_text(line), &first, &last, &says) ||
	    !state_line_cut(next, &next_first, &next_last, &next_says) ||
	    next_first != last + 1 || !str_equal(says, next_says))
		return false;
	buf_init(&joined, line->max_bytes);
	(void)buf_addf(&joined, "to=%zu-%zu ", first, next_last);
	(void)buf_add(&joined, next_says.at, next_says.len);
	buf_done(line);
	*line = joined;
	return true;
}

void
envelope_format_bounce(struct buf *out)
{
	(void)buf_adds(out, "to=all bounce=yes");
}

void
envelope_format_redirect(const char *domain, const char *via, struct buf *out)
{
	(void)buf_adds(out, "to=all via=");
	text_escape(out, via, true);
	word_text(out, "domain", domain);
}

void
envelope_redirect(struct envelope *envelope, const char *domain,
		  const char *via)
{
	for (size_t i = 0; i < envelope->recipient_count; i++) {
		struct recipient *recipient = &envelope->recipients[i];
		const char *at = strrchr(recipient->address, '@');

		if ((recipient->state != RCPT_QUEUED &&
		     recipient->state != RCPT_HELD) ||
		    (domain != NULL &&
		     (at == NULL || !str_is_nocase(str_of(at + 1), domain))))
			continue;
		free(recipient->via);
		recipient->via = via[0] != '\0' ? mem_strdup(via) : NULL;
		recipient->next_try_ms = 0;
	}
}

static bool
state_number(struct str value, uint64_t *out)
{
	return str_u64(value, UINT64_MAX / 4, out);
}

static bool
word_read_attempt(struct state_line *line, struct str name, struct str value)
{
	char *text = NULL;
	bool is_known;
	int index;

	if (str_is(name, "at")) {
		line->has_attempt = true;
		return state_number(value, &line->at_ms);
	}
	if (str_is(name, "result")) {
		index = name_index(kind_names, KIND_COUNT, value);
		line->kind = index >= 0 ? (enum outcome_kind)index
					: OUTCOME_DEFERRED;
		return index >= 0;
	}
	if (str_is(name, "cause") || str_is(name, "phase")) {
		if (!text_read(value, &text))
			return false;
		is_known = str_is(name, "cause")
				   ? cause_parse(text, &line->cause)
				   : smtp_phase_parse(text, &line->phase);
		free(text);
		return is_known;
	}
	if (str_is(name, "code"))
		return str_u64(value, 999, &line->code);
	if (str_is(name, "status"))
		return text_read(value, &line->enhanced);
	if (str_is(name, "host"))
		return text_read(value, &line->host);
	if (str_is(name, "ip"))
		return text_read(value, &line->ip);
	if (str_is(name, "port"))
		return str_u64(value, 65535, &line->port);
	if (str_is(name, "tls"))
		return text_read(value, &line->tls);
	if (str_is(name, "security"))
		return text_read(value, &line->security);
	if (str_is(name, "note"))
		return text_read(value, &line->note);
	if (str_is(name, "reply"))
		return text_read(value, &line->reply);
	return true; /* a newer version knows what it is */
}

static bool
word_read(struct state_line *line, struct str name, struct str value)
{
	int index;

	if (str_is(name, "to")) {
		line->is_message = str_is(value, "all");
		return line->is_message ||
		       recipients_read(value, &line->first, &line->last);
	}
	if (str_is(name, "held")) {
		line->has_held = true;
		line->is_held = str_is(value, "yes");
		return true;
	}
	if (str_is(name, "bounce")) {
		line->is_bouncing = str_is(value, "yes");
		return true;
	}
	if (str_is(name, "via"))
		return text_read(value, &line->via);
	if (str_is(name, "domain"))
		return text_read(value, &line->domain);
	if (str_is(name, "state")) {
		index = name_index(state_names, STATE_COUNT, value);
		line->state =
			index >= 0 ? (enum recipient_state)index : RCPT_QUEUED;
		return index >= 0;
	}
	if (str_is(name, "attempts"))
		return str_u64(value, UINT32_MAX, &line->attempts);
	if (str_is(name, "next"))
		return state_number(value, &line->next_ms);
	if (str_is(name, "warned")) {
		line->is_warned = str_is(value, "yes");
		return true;
	}
	if (str_is(name, "reroutes"))
		return str_u64(value, UINT32_MAX, &line->reroutes);
	if (str_is(name, "dns_after"))
		return state_number(value, &line->dns_after_ms);
	if (str_is(name, "category"))
		return text_read(value, &line->category);
	return word_read_attempt(line, name, value);
}

/* to=N|all name=value ... reply=rest of the line */
static bool
state_line_parse(struct str text, struct state_line *out)
{
	memset(out, 0, sizeof(*out));
	while (text.len != 0) {
		struct str word = text, name;

		if (!(text.len >= 6 && memcmp(text.at, "reply=", 6) == 0))
			(void)str_cut(&text, ' ', &word);
		else
			text.len = 0;
		if (word.len == 0)
			continue;
		if (memchr(word.at, '=', word.len) == NULL)
			return false;
		(void)str_cut(&word, '=', &name);
		if (!word_read(out, name, word))
			return false;
	}
	return true;
}

/* The last one takes it, others get a copy. */
static void
field_take(char **field, char **from, bool is_last)
{
	/* mostly it is what the attempt before said */
	if (*field != NULL && *from != NULL && strcmp(*field, *from) == 0)
		return;
	free(*field);
	*field = is_last || *from == NULL ? *from : mem_strdup(*from);
	if (is_last)
		*from = NULL;
}

bool
recipient_mixes(const struct recipient *recipient, uint32_t attempts,
		const char *category)
{
	if (recipient->is_mixed)
		return true;
	/* lines of attempts in between are not there any more */
	if (attempts > recipient->attempts + 1)
		return true;
	return recipient->attempts != 0 && recipient->category != NULL &&
	       category[0] != '\0' &&
	       strcmp(recipient->category, category) != 0;
}

static void
recipient_apply(struct state_line *line, struct recipient *recipient,
		bool is_last)
{
	recipient->is_mixed =
		recipient_mixes(recipient, (uint32_t)line->attempts,
				line->category != NULL ? line->category : "");
	if (line->has_attempt)
		recipient->last_attempt_ms = line->at_ms;
	recipient->state = line->state;
	recipient->attempts = (uint32_t)line->attempts;
	recipient->next_try_ms = line->next_ms;
	recipient->is_warned = line->is_warned;
	recipient->reroutes = (unsigned)line->reroutes;
	recipient->dns_after_ms = line->dns_after_ms;
	field_take(&recipient->category, &line->category, is_last);
	field_take(&recipient->last_host, &line->host, is_last);
	field_take(&recipient->last_reply, &line->reply, is_last);
}

static bool
state_line_apply(struct state_line *line, struct envelope *envelope)
{
	if (line->is_message) {
		if (line->has_held)
			envelope->is_held = line->is_held;
		envelope->is_bouncing |= line->is_bouncing;
		if (line->via != NULL)
			envelope_redirect(envelope, line->domain, line->via);
		return true;
	}
	if (line->last >= envelope->recipient_count)
		return false;
	for (size_t i = line->first; i <= line->last; i++)
		recipient_apply(line, &envelope->recipients[i],
				i == line->last);
	return true;
}

static bool
states_apply(struct str states, struct envelope *out, struct str *out_line)
{
	while (str_cut(&states, '\n', out_line)) {
		struct state_line line;
		bool is_good;

		if (out_line->len == 0)
			continue;
		is_good = state_line_parse(*out_line, &line) &&
			  state_line_apply(&line, out);
		state_line_done(&line);
		if (!is_good)
			return false;
	}
	return true;
}

int
envelope_parse(const char *text, const char *states, struct envelope *out,
	       struct err *err)
{
	struct str rest = str_of(text), line = str_of("");
	int rc;

	envelope_init(out);
	while (str_cut(&rest, '\n', &line)) {
		struct str value = line, name;

		if (line.len == 0)
			continue;
		(void)str_cut(&value, ' ', &name);
		if (!line_read(out, name, value))
			goto bad;
	}
	if (out->sender == NULL || out->recipient_count == 0) {
		line = str_of("");
		goto bad;
	}
	if (states_apply(str_of(states), out, &line))
		return 0;

bad:
	envelope_done(out);
	if (line.len > 200)
		line.len = 200;
	rc = line.len != 0 ? err_text(err, -EBADMSG, "envelope line '%.*s'",
				      STR_ARG(line))
			   : err_text(err, -EBADMSG,
				      "envelope without sender or recipient");
	return rc;
}

void
envelope_each_attempt(const char *states, size_t recipient_count,
		      void (*each)(void *arg, size_t recipient,
				   const struct attempt *attempt),
		      void *arg)
{
	struct str rest = str_of(states), text;

	while (str_cut(&rest, '\n', &text)) {
		struct state_line line;
		bool is_good = state_line_parse(text, &line);

		if (is_good && line.has_attempt && !line.is_message) {
			struct attempt attempt = {
				.at_ms = line.at_ms,
				.kind = line.kind,
				.cause = line.cause,
				.phase = line.phase,
				.code = (unsigned)line.code,
				.enhanced = line.enhanced ? line.enhanced : "",
				.host = line.host ? line.host : "",
				.ip = line.ip ? line.ip : "",
				.tls = line.tls ? line.tls : "",
				.security = line.security ? line.security : "",
				.port = (uint16_t)line.port,
				.reply = line.reply ? line.reply : "",
				.category = line.category ? line.category : "",
				.note = line.note ? line.note : "",
			};

			for (size_t i = line.first;
			     i <= line.last && i < recipient_count; i++)
				each(arg, i, &attempt);
		}
		state_line_done(&line);
	}
}
