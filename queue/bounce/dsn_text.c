/* SPDX-License-Identifier: ISC */
/*
 * The part of a report that people read: what happened, why, who can change
 * it and what to do, for the author; then, apart from it, the facts for an
 * administrator. The remote's words are quoted as they came.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "queue/bounce/advice.h"
#include "queue/bounce/dsn_parts.h"
#include "queue/bounce/mime_text.h"

#define SUBJECT_MAX 160 /* bytes of the original's subject that are shown */
#define NAMED_MAX   10	/* recipients that are listed one by one */
#define TOLD_MAX    50	/* recipients that the report is about */
#define STORIES_MAX 8	/* different replies that are quoted */
#define PIECE_MAX   8192
#define RULE_LINE   72 /* columns of the line above the administrator's part */
#define LABEL_MAX   40
#define COUNT_MAX   21

/* --- small words --------------------------------------------------------- */

static void
put_address(struct buf *out, const char *address)
{
	mime_clean(str_of(address), out);
}

static const char *
count_text(uint64_t count, char to[COUNT_MAX])
{
	(void)snprintf(to, COUNT_MAX, "%" PRIu64, count);
	return to;
}

/* A text with a count, in its singular or plural. */
static void
put_count(const struct language *language, enum text one, enum text many,
	  uint64_t count, struct buf *out)
{
	char n[COUNT_MAX];

	language_put(language, count == 1 ? one : many,
		     TEXT_VALUES({"n", count_text(count, n)}), out);
}

/* The word for a month, from "Jan Feb ..." */
static struct str
month_word(const struct language *language, struct str english)
{
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	struct str rest = str_of(language_text(language, TEXT_MONTHS)), word;

	for (size_t i = 0; str_cut(&rest, ' ', &word); i++)
		if (i * 3 + 3 < sizeof(months) &&
		    memcmp(months + i * 3, english.at, 3) == 0)
			return word;
	return english;
}

/* "21 Nov 2026, 14:03": what a person remembers of a date. */
static void
put_moment(const struct language *language, struct buf *out, uint64_t wall_ms)
{
	char date[CLOCK_DATE_MAX], day[4], month[32], year[8], time[8];
	struct str rest, word;

	/* "Sat, 21 Nov 2026 14:03:05 +0000" */
	clock_format_rfc5322(wall_ms, date);
	rest = str_of(date);
	(void)str_cut(&rest, ' ', &word); /* the weekday */
	(void)str_cut(&rest, ' ', &word);
	(void)str_copy(day, sizeof(day), word);
	(void)str_cut(&rest, ' ', &word);
	(void)str_copy(month, sizeof(month), month_word(language, word));
	(void)str_cut(&rest, ' ', &word);
	(void)str_copy(year, sizeof(year), word);
	(void)str_copy(time, sizeof("14:03"), rest); /* seconds are cut */
	language_put(language, TEXT_MOMENT,
		     TEXT_VALUES({"day", day}, {"month", month}, {"year", year},
				 {"time", time}),
		     out);
}

/* "5 days", "3 hours": rounded down, as nobody counts minutes of days. */
static void
put_span(const struct language *language, struct buf *out, uint64_t s)
{
	static const struct {
		uint64_t s;
		enum text one, many;
	} units[] = {
		{86400, TEXT_DAYS_ONE, TEXT_DAYS_MANY},
		{3600, TEXT_HOURS_ONE, TEXT_HOURS_MANY},
		{60, TEXT_MINUTES_ONE, TEXT_MINUTES_MANY},
		{1, TEXT_SECONDS_ONE, TEXT_SECONDS_MANY},
	};
	size_t i = 0;

	while (i < 3 && s < units[i].s)
		i++;
	put_count(language, units[i].one, units[i].many, s / units[i].s, out);
}

static void
put_wrapped(struct buf *out, const char *first, const char *other,
	    struct buf *text)
{
	mime_wrap(first, other, str_of(buf_text(text)), out);
	buf_clear(text);
}

/* --- for the author ------------------------------------------------------ */

/* 'Your message "Minutes" of 21 Nov 2026, 14:03' */
static void
put_what(const struct dsn_input *input, const struct language *language,
	 struct buf *out)
{
	struct str field;
	struct buf subject, moment;
	char shown[SUBJECT_MAX + sizeof("...")] = "";

	buf_init(&subject, PIECE_MAX);
	buf_init(&moment, PIECE_MAX);
	if (dsn_original_field(input, "Subject", &field) &&
	    mime_decode_header(field, &subject) &&
	    !str_copy(shown, SUBJECT_MAX + 1,
		      str_trim(str_of(buf_text(&subject)))))
		memcpy(shown + strlen(shown), "...", sizeof("..."));
	put_moment(language, &moment, input->envelope->received_ms);
	language_put(language,
		     shown[0] != '\0' ? TEXT_MESSAGE : TEXT_MESSAGE_UNTITLED,
		     TEXT_VALUES({"subject", shown},
				 {"moment", buf_text(&moment)}),
		     out);
	buf_done(&subject);
	buf_done(&moment);
}

static enum text
opening_of(const struct dsn_input *input)
{
	if (input->is_late)
		return TEXT_OPENING_LATE;
	switch (input->kind) {
	case DSN_FAILED:
		return TEXT_OPENING_FAILED;
	case DSN_DELAYED:
		return TEXT_OPENING_DELAYED;
	case DSN_DELIVERED:
		return TEXT_OPENING_DELIVERED;
	case DSN_RELAYED:
		break;
	}
	return TEXT_OPENING_RELAYED;
}

static void
put_opening(const struct dsn_input *input, const struct language *language,
	    struct buf *out)
{
	struct buf line, message;

	buf_init(&line, PIECE_MAX);
	buf_init(&message, PIECE_MAX);
	put_what(input, language, &message);
	language_put(language, opening_of(input),
		     TEXT_VALUES({"message", buf_text(&message)}), &line);
	put_wrapped(out, "", "", &line);
	(void)buf_adds(out, "\r\n");
	for (size_t i = 0; i < input->recipient_count && i < TOLD_MAX; i++) {
		(void)buf_adds(out, "    ");
		put_address(out, input->recipients[i].recipient->address);
		(void)buf_adds(out, "\r\n");
	}
	if (input->recipient_count > TOLD_MAX) {
		put_count(language, TEXT_AND_MORE, TEXT_AND_MORE,
			  input->recipient_count - TOLD_MAX, &line);
		put_wrapped(out, "    ", "    ", &line);
	}
	(void)buf_adds(out, "\r\n");
	buf_done(&message);
	buf_done(&line);
}

/* "Why:          ", all labels as wide as the longest; columns of spaces
 * for the lines below. */
struct labels {
	char why[LABEL_MAX * 2], who[LABEL_MAX * 2], what[LABEL_MAX * 2];
	char below[LABEL_MAX + 3];
};

static void
put_label(const char *text, size_t width, char to[LABEL_MAX * 2])
{
	size_t columns = mime_columns(str_of(text));

	(void)snprintf(to, LABEL_MAX * 2, "%.*s%*s", LABEL_MAX, text,
		       (int)(width > columns ? width - columns : 1), "");
}

static void
labels_of(const struct language *language, struct labels *out)
{
	const char *why = language_text(language, TEXT_LABEL_WHY);
	const char *who = language_text(language, TEXT_LABEL_WHO);
	const char *what = language_text(language, TEXT_LABEL_WHAT);
	const char *all[] = {why, who, what};
	size_t width = 0;

	for (size_t i = 0; i < 3; i++) {
		size_t columns = mime_columns(str_of(all[i]));

		width = columns > width ? columns : width;
	}
	width = (width < 30 ? width : 30) + 2;
	put_label(why, width, out->why);
	put_label(who, width, out->who);
	put_label(what, width, out->what);
	(void)snprintf(out->below, sizeof(out->below), "%*s", (int)width, "");
}

/* "There were 12 attempts in 5 days." */
static void
put_attempts(const struct dsn_input *input, const struct language *language,
	     struct buf *out)
{
	const struct dsn_recipient *first = &input->recipients[0];
	uint64_t attempts = first->recipient->attempts;
	struct buf span;
	struct advice each;
	char n[COUNT_MAX];

	if (first->classification.category != CATEGORY_MESSAGE_EXPIRED ||
	    input->now_ms <= input->envelope->received_ms)
		return;
	buf_init(&span, PIECE_MAX);
	put_span(language, &span,
		 (input->now_ms - input->envelope->received_ms) / 1000);
	(void)buf_adds(out, " ");
	if (first->each_time != NULL) {
		advice_find(first->each_time, language, &each);
		language_put(language, TEXT_ATTEMPTS_SAME,
			     TEXT_VALUES({"n", count_text(attempts, n)},
					 {"span", buf_text(&span)},
					 {"cause", each.cause}),
			     out);
	} else {
		language_put(language,
			     attempts == 1 ? TEXT_ATTEMPTS_ONE
					   : TEXT_ATTEMPTS_MANY,
			     TEXT_VALUES({"n", count_text(attempts, n)},
					 {"span", buf_text(&span)}),
			     out);
	}
	buf_done(&span);
}

static void
put_why(const struct dsn_input *input, const struct language *language,
	const struct advice *advice, struct buf *out)
{
	const struct classification *class =
		&input->recipients[0].classification;

	(void)buf_adds(out, advice->explanation);
	if (class->detail[0] != '\0') {
		bool is_list = class->advice != NULL &&
			       strcmp(class->advice, "blocklisted") == 0;

		(void)buf_adds(out, " ");
		language_put(language,
			     is_list ? TEXT_DETAIL_LIST : TEXT_DETAIL_LIMIT,
			     TEXT_VALUES({"detail", class->detail}), out);
	}
	put_attempts(input, language, out);
}

static void
put_who(const struct dsn_input *input, const struct language *language,
	const struct advice *advice, struct buf *out)
{
	bool is_ours = input->recipients[0].outcome->is_own_fault;
	struct buf moment;

	(void)buf_addf(out, "%s. ",
		       is_ours ? language_text(language, TEXT_WHO_YOUR_ADMIN)
			       : advice->who);
	if (input->kind != DSN_DELAYED) {
		language_put(language, TEXT_TRYING_NO, TEXT_NO_VALUES, out);
		return;
	}
	buf_init(&moment, PIECE_MAX);
	if (input->retry_until_ms != 0)
		put_moment(language, &moment, input->retry_until_ms);
	language_put(language,
		     input->retry_until_ms != 0 ? TEXT_TRYING_UNTIL
						: TEXT_TRYING_ON,
		     TEXT_VALUES({"moment", buf_text(&moment)}), out);
	buf_done(&moment);
}

static void
put_advice(const struct dsn_input *input, const struct language *language,
	   const struct advice *advice, struct buf *out)
{
	struct labels labels;
	struct buf text;

	labels_of(language, &labels);
	buf_init(&text, PIECE_MAX);
	put_why(input, language, advice, &text);
	put_wrapped(out, labels.why, labels.below, &text);
	put_who(input, language, advice, &text);
	put_wrapped(out, labels.who, labels.below, &text);
	(void)buf_adds(&text, input->kind == DSN_DELAYED
				      ? language_text(language, TEXT_WAIT)
				      : advice->author);
	put_wrapped(out, labels.what, labels.below, &text);
	(void)buf_adds(out, "\r\n");
	buf_done(&text);
}

static bool
is_told(const struct dsn_input *input, const struct recipient *recipient)
{
	for (size_t i = 0; i < input->recipient_count; i++)
		if (input->recipients[i].recipient == recipient)
			return true;
	return false;
}

/* What became of the others: nobody should send twice to those who have it. */
static void
put_others(const struct dsn_input *input, const struct language *language,
	   struct buf *out)
{
	const struct envelope *envelope = input->envelope;
	size_t delivered = 0, waiting = 0, named = 0;
	struct buf text, list;
	char n[COUNT_MAX];

	buf_init(&text, PIECE_MAX);
	buf_init(&list, PIECE_MAX);
	for (size_t i = 0; i < envelope->recipient_count; i++) {
		const struct recipient *other = &envelope->recipients[i];

		if (is_told(input, other))
			continue;
		waiting += other->state == RCPT_QUEUED ||
			   other->state == RCPT_HELD;
		if (other->state != RCPT_DELIVERED)
			continue;
		delivered++;
		if (named == NAMED_MAX)
			continue;
		(void)buf_adds(&list, named == 0 ? "" : ", ");
		put_address(&list, other->address);
		named++;
	}
	if (delivered != 0)
		language_put(language,
			     delivered == 1	 ? TEXT_DELIVERED_ONE
			     : named < delivered ? TEXT_DELIVERED_MORE
						 : TEXT_DELIVERED_MANY,
			     TEXT_VALUES({"n", count_text(delivered, n)},
					 {"list", buf_text(&list)}),
			     &text);
	if (waiting != 0) {
		(void)buf_adds(&text, " ");
		put_count(language, TEXT_WAITING_ONE, TEXT_WAITING_MANY,
			  waiting, &text);
	}
	if (buf_len(&text) != 0) {
		put_wrapped(out, "", "", &text);
		(void)buf_adds(out, "\r\n");
	}
	buf_done(&list);
	buf_done(&text);
}

/* --- for the administrator ----------------------------------------------- */

static void
put_reply(const struct outcome *outcome, struct buf *out)
{
	struct str rest = dsn_words(outcome), line;
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

/* "mx1.example.net [192.0.2.10]:25 over TLSv1.3", or ourselves */
static void
put_host(const struct dsn_input *input, const struct language *language,
	 const struct outcome *outcome, struct buf *out)
{
	struct buf name;
	char ip[IP_TEXT_MAX];

	if (outcome->host[0] == '\0') {
		mime_clean(str_of(input->hostname), out);
		return;
	}
	buf_init(&name, PIECE_MAX);
	mime_clean(str_of(outcome->host), &name);
	if (outcome->ip.family != IP_NONE)
		(void)buf_addf(&name, " [%s]:%u", ip_format(&outcome->ip, ip),
			       outcome->port);
	if (outcome->tls[0] != '\0')
		language_put(language, TEXT_HOST_TLS,
			     TEXT_VALUES({"host", buf_text(&name)},
					 {"tls", outcome->tls}),
			     out);
	else
		(void)buf_adds(out, buf_text(&name));
	buf_done(&name);
}

/* "mx1.example.net [192.0.2.10]:25 over TLSv1.3 answered RCPT TO with" */
static void
put_answered(const struct dsn_input *input, const struct language *language,
	     const struct outcome *outcome, struct buf *out)
{
	bool has_host = outcome->host[0] != '\0';
	enum text form = has_host ? TEXT_FOUND_THERE : TEXT_FOUND_HERE;
	struct buf text, host;

	/* a refused login is a reply with a cause of its own */
	if (outcome->cause == CAUSE_REPLY || outcome->reply[0] != '\0')
		form = outcome->phase != PHASE_NONE ? TEXT_ANSWER_COMMAND
						    : TEXT_ANSWER;
	buf_init(&text, PIECE_MAX);
	buf_init(&host, PIECE_MAX);
	put_host(input, language, outcome, &host);
	language_put(language, form,
		     TEXT_VALUES({"host", buf_text(&host)},
				 {"command", smtp_phase_name(outcome->phase)}),
		     &text);
	put_wrapped(out, "", "  ", &text);
	buf_done(&host);
	buf_done(&text);
}

/* 'box.nosuch: "no such user"' */
static void
put_rule(const struct classification *class, const struct language *language,
	 struct buf *out)
{
	struct buf rule, words;

	buf_init(&rule, PIECE_MAX);
	buf_init(&words, PIECE_MAX);
	mime_clean(str_of(class->rule), &rule);
	mime_clean(str_of(class->words), &words);
	if (buf_len(&words) != 0)
		language_put(language, TEXT_RULE_WORDS,
			     TEXT_VALUES({"rule", buf_text(&rule)},
					 {"words", buf_text(&words)}),
			     out);
	else
		(void)buf_adds(out, buf_text(&rule));
	buf_done(&rule);
	buf_done(&words);
}

static void
put_class(const struct dsn_input *input, const struct language *language,
	  struct buf *out)
{
	const struct dsn_recipient *first = &input->recipients[0];
	struct buf text, rule, tries, id;
	enum text form = TEXT_ADMIN_DELIVERED;

	if (input->kind == DSN_FAILED)
		form = TEXT_ADMIN_FAILED;
	else if (input->kind == DSN_DELAYED)
		form = TEXT_ADMIN_DELAYED;
	buf_init(&text, PIECE_MAX);
	buf_init(&rule, PIECE_MAX);
	buf_init(&tries, PIECE_MAX);
	buf_init(&id, PIECE_MAX);
	put_rule(&first->classification, language, &rule);
	put_count(language, TEXT_TRIES_ONE, TEXT_TRIES_MANY,
		  first->recipient->attempts, &tries);
	mime_clean(str_of(input->id), &id);
	language_put(
		language, form,
		TEXT_VALUES({"category",
			     category_name(first->classification.category)},
			    {"rule", buf_text(&rule)},
			    {"tries", buf_text(&tries)}, {"id", buf_text(&id)}),
		&text);
	put_wrapped(out, "", "  ", &text);
	buf_done(&id);
	buf_done(&tries);
	buf_done(&rule);
	buf_done(&text);
}

/* What we looked into, for somebody who can mend it. */
static void
put_note(const struct dsn_recipient *at, const struct language *language,
	 struct buf *out)
{
	struct buf text, note;

	if (at->story == NULL)
		return;
	buf_init(&text, PIECE_MAX);
	buf_init(&note, PIECE_MAX);
	denied_tell(at->story, language, &note);
	language_put(language, TEXT_LOOKED_INTO,
		     TEXT_VALUES({"note", buf_text(&note)}), &text);
	put_wrapped(out, "", "  ", &text);
	buf_done(&note);
	buf_done(&text);
}

static bool
is_same_story(const struct outcome *a, const struct outcome *b)
{
	return strcmp(a->reply, b->reply) == 0 &&
	       strcmp(a->host, b->host) == 0 &&
	       strcmp(a->status.text, b->status.text) == 0;
}

/* One report, one cause; the words may still differ. */
static void
put_stories(const struct dsn_input *input, const struct language *language,
	    struct buf *out)
{
	const struct dsn_recipient *at = input->recipients;
	size_t stories = 0;
	struct buf text;

	buf_init(&text, PIECE_MAX);
	for (size_t i = 0; i < input->recipient_count; i++) {
		if (i > 0 && is_same_story(at[i - 1].outcome, at[i].outcome))
			continue;
		if (stories++ == STORIES_MAX) {
			language_put(language, TEXT_MORE_REPLIES,
				     TEXT_NO_VALUES, &text);
			put_wrapped(out, "", "", &text);
			break;
		}
		if (input->recipient_count > 1) {
			put_address(&text, at[i].recipient->address);
			(void)buf_adds(&text, ":");
			put_wrapped(out, "", "", &text);
		}
		put_answered(input, language, at[i].outcome, out);
		put_reply(at[i].outcome, out);
		put_note(&at[i], language, out);
	}
	buf_done(&text);
}

static void
put_last_reason(const struct dsn_input *input, const struct language *language,
		struct buf *out)
{
	const struct recipient *first = input->recipients[0].recipient;
	struct buf text, host;

	if (first->last_reply == NULL ||
	    input->recipients[0].classification.category !=
		    CATEGORY_MESSAGE_EXPIRED)
		return;
	buf_init(&text, PIECE_MAX);
	buf_init(&host, PIECE_MAX);
	if (first->last_host != NULL)
		mime_clean(str_of(first->last_host), &host);
	language_put(language,
		     first->last_host != NULL ? TEXT_LAST_REASON_HOST
					      : TEXT_LAST_REASON,
		     TEXT_VALUES({"host", buf_text(&host)}), &text);
	put_wrapped(out, "", "  ", &text);
	mime_clean(str_of(first->last_reply), &text);
	put_wrapped(out, "    ", "      ", &text);
	buf_done(&host);
	buf_done(&text);
}

/* "--- for your mail administrator ------------" */
static void
put_admin_title(const struct language *language, struct buf *out)
{
	const char *title = language_text(language, TEXT_ADMIN_TITLE);
	size_t columns = strlen("--- ") + mime_columns(str_of(title)) + 1;

	(void)buf_addf(out, "--- %s ", title);
	while (columns++ < RULE_LINE)
		(void)buf_adds(out, "-");
	(void)buf_adds(out, "\r\n");
}

static void
put_admin(const struct dsn_input *input, const struct language *language,
	  const struct advice *advice, struct buf *out)
{
	put_admin_title(language, out);
	put_class(input, language, out);
	(void)buf_adds(out, "\r\n");
	put_stories(input, language, out);
	put_last_reason(input, language, out);
	if (input->kind == DSN_FAILED || input->kind == DSN_DELAYED) {
		(void)buf_adds(out, "\r\n");
		mime_wrap("", "", str_of(advice->admin), out);
	}
}

/* Why he gets it, where nothing has to be done. */
static void
put_notice(const struct dsn_input *input, const struct language *language,
	   struct buf *out)
{
	enum text note = input->is_late			? TEXT_NOTE_LATE
			 : input->kind == DSN_DELIVERED ? TEXT_NOTE_DELIVERED
							: TEXT_NOTE_RELAYED;

	mime_wrap("", "", str_of(language_text(language, note)), out);
	(void)buf_adds(out, "\r\n");
}

void
dsn_text(const struct dsn_input *input, const struct language *language,
	 struct buf *out)
{
	struct advice advice;

	advice_find(&input->recipients[0].classification, language, &advice);
	put_opening(input, language, out);
	switch (input->kind) {
	case DSN_FAILED:
	case DSN_DELAYED:
		put_advice(input, language, &advice, out);
		break;
	case DSN_DELIVERED:
	case DSN_RELAYED:
		put_notice(input, language, out);
		break;
	}
	put_others(input, language, out);
	put_admin(input, language, &advice, out);
}
