/* SPDX-License-Identifier: ISC */
/*
 *	file      = *( comment / section / text )
 *	section   = "[" name "]"
 *	text      = key ":" words *( newline space words )
 *
 * "{name}" is a variable, "~" a space that no line is broken at.
 */
#include "queue/bounce/texts_read.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/mem.h"
#include "lib/str.h"
#include "queue/bounce/advice.h"
#include "queue/bounce/texts.h"

#define FRAME_SECTION "frame"
#define NO_BREAK      "\xc2\xa0" /* U+00A0 */
#define KEY_MAX	      40	 /* of what a message shows of a name */

/* variables: the names that may stand in braces, between spaces */
static const struct {
	const char *key, *variables;
} frame[TEXT_COUNT] = {
	[TEXT_FROM] = {"from", ""},
	[TEXT_MONTHS] = {"months", ""},
	[TEXT_MOMENT] = {"moment", " day month year time "},
	[TEXT_DAYS_ONE] = {"days.one", " n "},
	[TEXT_DAYS_MANY] = {"days.many", " n "},
	[TEXT_HOURS_ONE] = {"hours.one", " n "},
	[TEXT_HOURS_MANY] = {"hours.many", " n "},
	[TEXT_MINUTES_ONE] = {"minutes.one", " n "},
	[TEXT_MINUTES_MANY] = {"minutes.many", " n "},
	[TEXT_SECONDS_ONE] = {"seconds.one", " n "},
	[TEXT_SECONDS_MANY] = {"seconds.many", " n "},
	[TEXT_MESSAGE] = {"message", " subject moment "},
	[TEXT_MESSAGE_UNTITLED] = {"message.untitled", " moment "},
	[TEXT_SUBJECT_FAILED] = {"subject.failed", " recipient cause "},
	[TEXT_SUBJECT_FAILED_MANY] = {"subject.failed.many",
				      " recipient n cause "},
	[TEXT_SUBJECT_DELAYED] = {"subject.delayed", " recipient cause "},
	[TEXT_SUBJECT_DELAYED_MANY] = {"subject.delayed.many",
				       " recipient n cause "},
	[TEXT_SUBJECT_DELIVERED] = {"subject.delivered", " recipient "},
	[TEXT_SUBJECT_DELIVERED_MANY] = {"subject.delivered.many",
					 " recipient n "},
	[TEXT_SUBJECT_RELAYED] = {"subject.relayed", " recipient "},
	[TEXT_SUBJECT_RELAYED_MANY] = {"subject.relayed.many", " recipient n "},
	[TEXT_SUBJECT_LATE] = {"subject.late", " recipient "},
	[TEXT_SUBJECT_LATE_MANY] = {"subject.late.many", " recipient n "},
	[TEXT_OPENING_FAILED] = {"opening.failed", " message "},
	[TEXT_OPENING_DELAYED] = {"opening.delayed", " message "},
	[TEXT_OPENING_DELIVERED] = {"opening.delivered", " message "},
	[TEXT_OPENING_RELAYED] = {"opening.relayed", " message "},
	[TEXT_OPENING_LATE] = {"opening.late", " message "},
	[TEXT_AND_MORE] = {"and.more", " n "},
	[TEXT_LABEL_WHY] = {"label.why", ""},
	[TEXT_LABEL_WHO] = {"label.who", ""},
	[TEXT_LABEL_WHAT] = {"label.what", ""},
	[TEXT_TRYING_UNTIL] = {"trying.until", " moment "},
	[TEXT_TRYING_ON] = {"trying.on", ""},
	[TEXT_TRYING_NO] = {"trying.no", ""},
	[TEXT_WAIT] = {"wait", ""},
	[TEXT_DETAIL_LIST] = {"detail.list", " detail "},
	[TEXT_DETAIL_LIMIT] = {"detail.limit", " detail "},
	[TEXT_ATTEMPTS_ONE] = {"attempts.one", " n span "},
	[TEXT_ATTEMPTS_MANY] = {"attempts.many", " n span "},
	[TEXT_ATTEMPTS_SAME] = {"attempts.same", " n span cause "},
	[TEXT_NOTE_DELIVERED] = {"note.delivered", ""},
	[TEXT_NOTE_RELAYED] = {"note.relayed", ""},
	[TEXT_NOTE_LATE] = {"note.late", ""},
	[TEXT_DELIVERED_ONE] = {"delivered.one", " n list "},
	[TEXT_DELIVERED_MANY] = {"delivered.many", " n list "},
	[TEXT_DELIVERED_MORE] = {"delivered.more", " n list "},
	[TEXT_WAITING_ONE] = {"waiting.one", " n "},
	[TEXT_WAITING_MANY] = {"waiting.many", " n "},
	[TEXT_ADMIN_TITLE] = {"admin.title", ""},
	[TEXT_ADMIN_FAILED] = {"admin.failed", " category rule tries id "},
	[TEXT_ADMIN_DELAYED] = {"admin.delayed", " category rule tries id "},
	[TEXT_ADMIN_DELIVERED] = {"admin.delivered", " tries id "},
	[TEXT_RULE_WORDS] = {"rule.words", " rule words "},
	[TEXT_TRIES_ONE] = {"tries.one", " n "},
	[TEXT_TRIES_MANY] = {"tries.many", " n "},
	[TEXT_HOST_TLS] = {"host.tls", " host tls "},
	[TEXT_ANSWER_COMMAND] = {"answer.command", " host command "},
	[TEXT_ANSWER] = {"answer", " host "},
	[TEXT_FOUND_THERE] = {"found.there", " host "},
	[TEXT_FOUND_HERE] = {"found.here", " host "},
	[TEXT_LOOKED_INTO] = {"looked.into", " note "},
	[TEXT_LOOKED_MX] = {"looked.mx", " host domain preference age ttl "},
	[TEXT_LOOKED_IMPLICIT] = {"looked.implicit", " domain age ttl "},
	[TEXT_LOOKED_DOWN] = {"looked.down", " host preference "},
	[TEXT_LOOKED_UNSURE] = {"looked.unsure", ""},
	[TEXT_LOOKED_SAME] = {"looked.same", ""},
	[TEXT_LOOKED_NOW] = {"looked.now", " dns "},
	[TEXT_LOOKED_NO_LOGIN] = {"looked.no-login", " host hop "},
	[TEXT_LOOKED_LOGIN] = {"looked.login", " host hop "},
	[TEXT_LOOKED_INNER] = {"looked.inner", " host hop "},
	[TEXT_LOOKED_AND] = {"looked.and", " first then "},
	[TEXT_LAST_REASON] = {"last.reason", ""},
	[TEXT_LAST_REASON_HOST] = {"last.reason.host", " host "},
	[TEXT_MORE_REPLIES] = {"more.replies", ""},
	[TEXT_PART_STATUS] = {"part.status", ""},
	[TEXT_PART_MESSAGE] = {"part.message", ""},
	[TEXT_PART_HEADER] = {"part.header", ""},
	[TEXT_WHO_YOU] = {"who.you", ""},
	[TEXT_WHO_RECIPIENT] = {"who.recipient", ""},
	[TEXT_WHO_YOUR_ADMIN] = {"who.your-admin", ""},
	[TEXT_WHO_THEIR_ADMIN] = {"who.their-admin", ""},
	[TEXT_WHO_ADMINS] = {"who.admins", ""},
	[TEXT_WHO_BOTH_ADMINS] = {"who.both-admins", ""},
	[TEXT_WHO_YOU_OR_OWNER] = {"who.you-or-owner", ""},
	[TEXT_WHO_YOU_OR_ADMIN] = {"who.you-or-admin", ""},
	[TEXT_WHO_YOU_OR_MAKER] = {"who.you-or-maker", ""},
	[TEXT_WHO_NOBODY] = {"who.nobody", ""},
};

static const char *const parts[ADVICE_PARTS] = {
	[ADVICE_CAUSE] = "cause",
	[ADVICE_WHY] = "why",
	[ADVICE_AUTHOR] = "author",
	[ADVICE_ADMIN] = "admin",
};

#define NO_ADVICE SIZE_MAX

struct reader {
	const char *name;
	unsigned line;	 /* of what is read */
	unsigned at;	 /* line where the open text began */
	bool is_frame;	 /* within [frame] */
	size_t advice;	 /* within a section of advice, else NO_ADVICE */
	size_t slot;	 /* of the open text, SIZE_MAX: none is open */
	bool *is_set;	 /* by this file */
	char **slots;	 /* borrows */
	struct buf open; /* the text so far */
	struct err *err;
};

size_t
texts_slot_count(void)
{
	return TEXT_COUNT + advice_count() * ADVICE_PARTS;
}

static int
mistake(const struct reader *reader, unsigned line, const char *what,
	struct str about)
{
	char shown[KEY_MAX + 1];

	(void)str_copy(shown, sizeof(shown), about); /* a cut name will do */
	return err_text(reader->err, -EINVAL, "%s:%u: %s%s%s%s", reader->name,
			line, what, about.len != 0 ? " \"" : "", shown,
			about.len != 0 ? "\"" : "");
}

/* --- checking ------------------------------------------------------------ */

static bool
is_variable(size_t slot, struct str name)
{
	const char *known = slot < TEXT_COUNT ? frame[slot].variables : "";
	size_t len = strlen(known);

	for (size_t i = 0; name.len != 0 && i + name.len + 1 < len; i++)
		if (known[i] == ' ' &&
		    memcmp(known + i + 1, name.at, name.len) == 0 &&
		    known[i + 1 + name.len] == ' ')
			return true;
	return false;
}

static int
check_variables(const struct reader *reader, struct str text)
{
	while (text.len > 0) {
		const char *open = memchr(text.at, '{', text.len);
		const char *close = memchr(text.at, '}', text.len);
		struct str name;

		if (open == NULL && close == NULL)
			return 0;
		if (open == NULL || close == NULL || close < open)
			return mistake(reader, reader->at,
				       "a brace stands alone", str_of(""));
		name = str_from(open + 1, (size_t)(close - open - 1));
		if (!is_variable(reader->slot, name))
			return mistake(reader, reader->at,
				       "this text has no variable", name);
		text = str_from(close + 1,
				text.len - (size_t)(close + 1 - text.at));
	}
	return 0;
}

static int
check_months(const struct reader *reader, struct str text)
{
	unsigned count = 0;
	struct str word;

	while (str_cut(&text, ' ', &word))
		count += word.len != 0;
	return count == 12 ? 0
			   : mistake(reader, reader->at,
				     "months are twelve words", str_of(""));
}

/* --- reading ------------------------------------------------------------- */

/* Words with one space between them; "~" becomes a space that stays. */
static int
add_words(struct reader *reader, struct str words)
{
	struct str word;

	while (str_cut(&words, ' ', &word)) {
		if (word.len == 0)
			continue;
		if (buf_len(&reader->open) != 0)
			(void)buf_adds(&reader->open, " ");
		for (size_t i = 0; i < word.len; i++)
			(void)(word.at[i] == '~'
				       ? buf_adds(&reader->open, NO_BREAK)
				       : buf_add(&reader->open, &word.at[i],
						 1));
		if (buf_len(&reader->open) > TEXT_MAX)
			return mistake(reader, reader->at,
				       "the text is too long", str_of(""));
	}
	return 0;
}

static int
end_text(struct reader *reader)
{
	struct str text;
	int rc;

	if (reader->slot == SIZE_MAX)
		return 0;
	text = str_of(buf_text(&reader->open));
	if (text.len == 0)
		return mistake(reader, reader->at, "the text is empty", text);
	rc = check_variables(reader, text);
	if (rc == 0 && reader->slot == TEXT_MONTHS)
		rc = check_months(reader, text);
	if (rc != 0)
		return rc;
	free(reader->slots[reader->slot]);
	reader->slots[reader->slot] = mem_strdup(text.at);
	reader->is_set[reader->slot] = true;
	reader->slot = SIZE_MAX;
	buf_clear(&reader->open);
	return 0;
}

static int
begin_section(struct reader *reader, struct str line)
{
	struct str name = str_from(line.at + 1, line.len - 1);

	if (name.len == 0 || name.at[name.len - 1] != ']')
		return mistake(reader, reader->line, "a section has no \"]\"",
			       line);
	name = str_trim(str_from(name.at, name.len - 1));
	reader->is_frame = str_is(name, FRAME_SECTION);
	reader->advice = NO_ADVICE;
	for (size_t i = 0; i < advice_count(); i++)
		if (str_is(name, advice_name(i)))
			reader->advice = i;
	if (!reader->is_frame && reader->advice == NO_ADVICE)
		return mistake(reader, reader->line,
			       "there is no section of this name", name);
	return 0;
}

static size_t
find_slot(const struct reader *reader, struct str key)
{
	for (size_t i = 0; reader->is_frame && i < TEXT_COUNT; i++)
		if (str_is(key, frame[i].key))
			return i;
	for (size_t i = 0; reader->advice != NO_ADVICE && i < ADVICE_PARTS; i++)
		if (str_is(key, parts[i]))
			return TEXT_COUNT + reader->advice * ADVICE_PARTS + i;
	return SIZE_MAX;
}

static int
begin_text(struct reader *reader, struct str line)
{
	struct str key;

	if (!reader->is_frame && reader->advice == NO_ADVICE)
		return mistake(reader, reader->line,
			       "a text needs a [section] above it", line);
	if (memchr(line.at, ':', line.len) == NULL)
		return mistake(reader, reader->line,
			       "neither \"name: text\" nor [section]", line);
	(void)str_cut(&line, ':', &key); /* there is one */
	key = str_trim(key);
	reader->slot = find_slot(reader, key);
	if (reader->slot == SIZE_MAX)
		return mistake(reader, reader->line, "this section has no text",
			       key);
	if (reader->is_set[reader->slot])
		return mistake(reader, reader->line, "the second text of name",
			       key);
	reader->at = reader->line;
	return add_words(reader, line);
}

static bool
has_controls(struct str line)
{
	for (size_t i = 0; i < line.len; i++)
		if ((unsigned char)line.at[i] < 0x20 || line.at[i] == 0x7f)
			return true;
	return false;
}

static int
read_line(struct reader *reader, struct str line)
{
	bool goes_on =
		line.len != 0 && (line.at[0] == ' ' || line.at[0] == '\t');
	struct str words;
	int rc;

	if (line.len != 0 && line.at[line.len - 1] == '\r')
		line.len--;
	words = str_trim(line);
	if (words.len != 0 && words.at[0] == '#' && !goes_on)
		return end_text(reader);
	if (has_controls(words) || !str_is_utf8(words))
		return mistake(reader, reader->line,
			       "this line is no UTF-8 text", str_of(""));
	if (goes_on && words.len != 0) {
		if (reader->slot == SIZE_MAX)
			return mistake(reader, reader->line,
				       "there is no text to go on with", words);
		return add_words(reader, words);
	}
	rc = end_text(reader);
	if (rc != 0 || words.len == 0)
		return rc;
	if (words.at[0] == '[')
		return begin_section(reader, words);
	return begin_text(reader, words);
}

int
texts_read(const char *text, const char *name, char **slots, struct err *err)
{
	struct reader reader = {
		.name = name,
		.advice = NO_ADVICE,
		.slot = SIZE_MAX,
		.is_set = mem_zalloc(texts_slot_count() * sizeof(bool)),
		.slots = slots,
		.err = err,
	};
	struct str rest = str_of(text), line;
	int rc = 0;

	buf_init(&reader.open, (size_t)TEXT_MAX * 4);
	while (rc == 0 && str_cut(&rest, '\n', &line)) {
		reader.line++;
		if (line.len > TEXT_MAX)
			rc = mistake(&reader, reader.line,
				     "the line is too long", str_of(""));
		else
			rc = read_line(&reader, line);
	}
	if (rc == 0)
		rc = end_text(&reader);
	buf_done(&reader.open);
	free(reader.is_set);
	return rc;
}
