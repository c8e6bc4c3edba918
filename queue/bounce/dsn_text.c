/* SPDX-License-Identifier: ISC */
/*
 * The part of a report that people read: what happened, why, who can change
 * it and what to do, for the author; then, apart from it, the facts for an
 * administrator. The remote's words are quoted as they came.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "lib/clock.h"
#include "queue/bounce/advice.h"
#include "queue/bounce/dsn_parts.h"
#include "queue/bounce/mime_text.h"

#define SUBJECT_MAX 160 /* bytes of the original's subject that are shown */
#define NAMED_MAX   10	/* recipients that are listed one by one */
#define TOLD_MAX    50	/* recipients that the report is about */
#define STORIES_MAX 8	/* different replies that are quoted */
#define PIECE_MAX   8192
#define INDENT	    "              " /* behind "What to do:   " */

/* --- small words --------------------------------------------------------- */

static void
put_address(struct buf *out, const char *address)
{
	mime_clean(str_of(address), out);
}

static const char *
plural(size_t count)
{
	return count == 1 ? "" : "s";
}

/* "21 Nov 2026, 14:03": what a person remembers of a date. */
static void
put_moment(struct buf *out, uint64_t wall_ms)
{
	char date[CLOCK_DATE_MAX];
	const char *day, *colon;

	clock_format_rfc5322(wall_ms, date);
	day = strchr(date, ' ') + 1;
	colon = strrchr(date, ':');
	(void)buf_addf(out, "%.*s, %.*s", (int)(colon - 6 - day), day, 5,
		       colon - 5);
}

/* "5 days", "3 hours": rounded down, as nobody counts minutes of days. */
static void
put_span(struct buf *out, uint64_t s)
{
	static const struct {
		uint64_t s;
		const char *name;
	} units[] = {{86400, "day"}, {3600, "hour"}, {60, "minute"}};

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (s < units[i].s)
			continue;
		(void)buf_addf(out, "%ju %s%s", (uintmax_t)(s / units[i].s),
			       units[i].name, plural((size_t)(s / units[i].s)));
		return;
	}
	(void)buf_addf(out, "%ju second%s", (uintmax_t)s, plural((size_t)s));
}

/* 'Your message "Minutes" of 21 Nov 2026, 14:03' */
static void
put_what(const struct dsn_input *input, struct buf *out)
{
	struct str field;
	struct buf subject;

	(void)buf_adds(out, "Your message ");
	buf_init(&subject, PIECE_MAX);
	if (dsn_original_field(input, "Subject", &field) &&
	    mime_decode_header(field, &subject) && buf_len(&subject) != 0) {
		char shown[SUBJECT_MAX + 1];
		bool is_whole = str_copy(shown, sizeof(shown),
					 str_trim(str_of(buf_text(&subject))));

		(void)buf_addf(out, "\"%s%s\" ", shown, is_whole ? "" : "...");
	}
	buf_done(&subject);
	(void)buf_adds(out, "of ");
	put_moment(out, input->envelope->received_ms);
}

/* --- for the author ------------------------------------------------------ */

static const char *
what_happened(enum dsn_kind kind)
{
	switch (kind) {
	case DSN_FAILED:
		return "was not delivered to";
	case DSN_DELAYED:
		return "has not been delivered yet to";
	case DSN_DELIVERED:
		return "was delivered to";
	case DSN_RELAYED:
		return "was passed on, to a server that sends no reports of "
		       "its own, for";
	}
	return "";
}

static void
put_wrapped(struct buf *out, const char *first, const char *other,
	    struct buf *text)
{
	mime_wrap(first, other, str_of(buf_text(text)), out);
	buf_clear(text);
}

static void
put_opening(const struct dsn_input *input, struct buf *out)
{
	struct buf line;

	buf_init(&line, PIECE_MAX);
	put_what(input, &line);
	(void)buf_addf(&line, " %s", what_happened(input->kind));
	put_wrapped(out, "", "", &line);
	(void)buf_adds(out, "\r\n");
	for (size_t i = 0; i < input->recipient_count && i < TOLD_MAX; i++) {
		(void)buf_adds(out, "    ");
		put_address(out, input->recipients[i].recipient->address);
		(void)buf_adds(out, "\r\n");
	}
	if (input->recipient_count > TOLD_MAX)
		(void)buf_addf(out, "    and %zu more\r\n",
			       input->recipient_count - TOLD_MAX);
	(void)buf_adds(out, "\r\n");
	buf_done(&line);
}

static void
put_why(const struct dsn_input *input, const struct advice *advice,
	struct buf *out)
{
	const struct dsn_recipient *first = &input->recipients[0];
	const char *detail = first->classification.detail;
	struct buf text;

	buf_init(&text, PIECE_MAX);
	(void)buf_adds(&text, advice->explanation);
	if (detail[0] != '\0' && first->classification.advice != NULL &&
	    strcmp(first->classification.advice, "blocklisted") == 0)
		(void)buf_addf(&text, " The reply names %s.", detail);
	else if (detail[0] != '\0')
		(void)buf_addf(&text, " The limit that it names is %s.",
			       detail);
	if (first->classification.category == CATEGORY_MESSAGE_EXPIRED &&
	    input->now_ms > input->envelope->received_ms) {
		(void)buf_addf(&text, " There were %u attempt%s in ",
			       first->recipient->attempts,
			       plural(first->recipient->attempts));
		put_span(&text,
			 (input->now_ms - input->envelope->received_ms) / 1000);
		(void)buf_adds(&text, ".");
	}
	put_wrapped(out, "Why:          ", INDENT, &text);
	buf_done(&text);
}

static void
put_who(const struct dsn_input *input, const struct advice *advice,
	struct buf *out)
{
	bool is_ours = input->recipients[0].outcome->is_own_fault;
	struct buf text;

	buf_init(&text, PIECE_MAX);
	(void)buf_addf(&text, "%s.",
		       is_ours ? "your mail administrator" : advice->who);
	if (input->kind == DSN_DELAYED) {
		(void)buf_adds(&text, " We keep trying");
		if (input->retry_until_ms != 0) {
			(void)buf_adds(&text, " until ");
			put_moment(&text, input->retry_until_ms);
		}
		(void)buf_adds(&text, ".");
	} else {
		(void)buf_adds(&text, " We will not try again.");
	}
	put_wrapped(out, "Who can act:  ", INDENT, &text);
	buf_done(&text);
}

static void
put_advice(const struct dsn_input *input, const struct advice *advice,
	   struct buf *out)
{
	struct buf text;

	put_why(input, advice, out);
	put_who(input, advice, out);
	buf_init(&text, PIECE_MAX);
	if (input->kind == DSN_DELAYED)
		(void)buf_adds(&text, "Nothing: you need not send it again. "
				      "If it cannot be delivered at all, you "
				      "will get another report.");
	else
		(void)buf_adds(&text, advice->author);
	put_wrapped(out, "What to do:   ", INDENT, &text);
	(void)buf_adds(out, "\r\n");
	buf_done(&text);
}

/* What became of the others: nobody should send twice to those who have it. */
static void
put_others(const struct dsn_input *input, struct buf *out)
{
	const struct envelope *envelope = input->envelope;
	size_t delivered = 0, waiting = 0, named = 0;
	struct buf text;

	for (size_t i = 0; i < envelope->recipient_count; i++) {
		bool is_told = false;

		for (size_t k = 0; k < input->recipient_count; k++)
			is_told = is_told || input->recipients[k].recipient ==
						     &envelope->recipients[i];
		if (is_told)
			continue;
		delivered += envelope->recipients[i].state == RCPT_DELIVERED;
		waiting += envelope->recipients[i].state == RCPT_QUEUED ||
			   envelope->recipients[i].state == RCPT_HELD;
	}
	buf_init(&text, PIECE_MAX);
	if (delivered != 0) {
		(void)buf_addf(&text,
			       "It was delivered to %zu other "
			       "recipient%s:",
			       delivered, plural(delivered));
		for (size_t i = 0;
		     i < envelope->recipient_count && named < NAMED_MAX; i++) {
			if (envelope->recipients[i].state != RCPT_DELIVERED)
				continue;
			(void)buf_adds(&text, named == 0 ? " " : ", ");
			put_address(&text, envelope->recipients[i].address);
			named++;
		}
		(void)buf_adds(&text, named < delivered ? ", and more." : ".");
	}
	if (waiting != 0)
		(void)buf_addf(&text, " %zu other%s %s still being tried.",
			       waiting, plural(waiting),
			       waiting == 1 ? "is" : "are");
	if (buf_len(&text) != 0) {
		put_wrapped(out, "", "", &text);
		(void)buf_adds(out, "\r\n");
	}
	buf_done(&text);
}

/* --- for the administrator ----------------------------------------------- */

static void
put_reply(const struct outcome *outcome, struct buf *out)
{
	struct str rest = str_of(outcome->cause == CAUSE_REPLY &&
						 outcome->reply[0] != '\0'
					 ? outcome->reply
					 : outcome->status.text);
	struct str line;
	struct buf clean;

	buf_init(&clean, PIECE_MAX);
	while (str_cut(&rest, '\n', &line)) {
		mime_clean(str_trim(line), &clean);
		if (str_trim(str_of(buf_text(&clean))).len != 0)
			put_wrapped(out, "    ", "      ", &clean);
		buf_clear(&clean);
	}
	buf_done(&clean);
}

/* "mx1.example.net [192.0.2.10]:25 over TLSv1.3 answered RCPT TO with" */
static void
put_answered(const struct dsn_input *input, const struct outcome *outcome,
	     struct buf *out)
{
	struct buf text;
	char ip[IP_TEXT_MAX];

	buf_init(&text, PIECE_MAX);
	if (outcome->host[0] != '\0') {
		mime_clean(str_of(outcome->host), &text);
		if (outcome->ip.family != IP_NONE)
			(void)buf_addf(&text, " [%s]:%u",
				       ip_format(&outcome->ip, ip),
				       outcome->port);
		if (outcome->tls[0] != '\0')
			(void)buf_addf(&text, " over %s", outcome->tls);
	} else {
		mime_clean(str_of(input->hostname), &text);
	}
	if (outcome->cause == CAUSE_REPLY && outcome->phase != PHASE_NONE)
		(void)buf_addf(&text, " answered %s with",
			       smtp_phase_name(outcome->phase));
	else if (outcome->cause == CAUSE_REPLY)
		(void)buf_adds(&text, " answered");
	else if (outcome->host[0] != '\0')
		(void)buf_adds(&text, ": our server found");
	else
		(void)buf_adds(&text, " found");
	put_wrapped(out, "", "  ", &text);
	buf_done(&text);
}

static void
put_class(const struct dsn_input *input, struct buf *out)
{
	const struct dsn_recipient *first = &input->recipients[0];
	const struct classification *class = &first->classification;
	struct buf text;

	buf_init(&text, PIECE_MAX);
	if (input->kind == DSN_FAILED || input->kind == DSN_DELAYED) {
		(void)buf_addf(&text, "category %s (",
			       category_name(class->category));
		mime_clean(str_of(class->rule), &text);
		if (class->words[0] != '\0') {
			(void)buf_adds(&text, ": \"");
			mime_clean(str_of(class->words), &text);
			(void)buf_adds(&text, "\"");
		}
		(void)buf_addf(&text, "), %s, ",
			       input->kind == DSN_FAILED ? "final"
							 : "temporary");
	}
	(void)buf_addf(&text, "%u attempt%s, queue id ",
		       first->recipient->attempts,
		       plural(first->recipient->attempts));
	mime_clean(str_of(input->id), &text);
	put_wrapped(out, "", "  ", &text);
	buf_done(&text);
}

/* What we looked into, for somebody who can mend it. */
static void
put_note(const struct dsn_recipient *at, struct buf *out)
{
	struct buf text;

	if (at->note == NULL)
		return;
	buf_init(&text, PIECE_MAX);
	(void)buf_adds(&text, "Looked into: ");
	mime_clean(str_of(at->note), &text);
	(void)buf_adds(&text, ".");
	put_wrapped(out, "", "  ", &text);
	buf_done(&text);
}

static bool
is_same_story(const struct outcome *a, const struct outcome *b)
{
	return strcmp(a->reply, b->reply) == 0 &&
	       strcmp(a->host, b->host) == 0 &&
	       strcmp(a->status.text, b->status.text) == 0;
}

static void
put_admin(const struct dsn_input *input, const struct advice *advice,
	  struct buf *out)
{
	const struct dsn_recipient *at = input->recipients;
	size_t stories = 0;
	struct buf text;

	(void)buf_adds(out, "--- for your mail administrator ---------------"
			    "-------------------------\r\n");
	put_class(input, out);
	(void)buf_adds(out, "\r\n");
	buf_init(&text, PIECE_MAX);
	for (size_t i = 0; i < input->recipient_count; i++) {
		/* One report, one cause; the words may still differ. */
		if (i > 0 && is_same_story(at[i - 1].outcome, at[i].outcome))
			continue;
		if (stories++ == STORIES_MAX) {
			(void)buf_adds(out, "and more, in the next part.\r\n");
			break;
		}
		if (input->recipient_count > 1) {
			put_address(&text, at[i].recipient->address);
			(void)buf_adds(&text, ":");
			put_wrapped(out, "", "", &text);
		}
		put_answered(input, at[i].outcome, out);
		put_reply(at[i].outcome, out);
		put_note(&at[i], out);
	}
	if (at->recipient->last_reply != NULL &&
	    at->classification.category == CATEGORY_MESSAGE_EXPIRED) {
		(void)buf_adds(&text, "The last reason seen");
		if (at->recipient->last_host != NULL) {
			(void)buf_adds(&text, ", from ");
			mime_clean(str_of(at->recipient->last_host), &text);
		}
		(void)buf_adds(&text, ":");
		put_wrapped(out, "", "  ", &text);
		mime_clean(str_of(at->recipient->last_reply), &text);
		put_wrapped(out, "    ", "      ", &text);
	}
	if (input->kind == DSN_FAILED || input->kind == DSN_DELAYED) {
		(void)buf_adds(out, "\r\n");
		mime_wrap("", "", str_of(advice->admin), out);
	}
	buf_done(&text);
}

void
dsn_text(const struct dsn_input *input, struct buf *out)
{
	struct advice advice;

	advice_find(&input->recipients[0].classification, &advice);
	put_opening(input, out);
	switch (input->kind) {
	case DSN_FAILED:
	case DSN_DELAYED:
		put_advice(input, &advice, out);
		break;
	case DSN_DELIVERED:
		mime_wrap("", "",
			  str_of("You asked for this note. It says that the "
				 "message lies in the mailbox, not that it was "
				 "read."),
			  out);
		(void)buf_adds(out, "\r\n");
		break;
	case DSN_RELAYED:
		mime_wrap("", "",
			  str_of("You asked for this note. If the message "
				 "cannot be delivered there, you will get a "
				 "report; otherwise nothing more."),
			  out);
		(void)buf_adds(out, "\r\n");
		break;
	}
	put_others(input, out);
	put_admin(input, &advice, out);
}
