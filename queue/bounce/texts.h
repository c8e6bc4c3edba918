/* SPDX-License-Identifier: ISC */
/*
 * queue/bounce/texts.h - what reports say, in several languages
 *
 * English, German and French are built in (copies of the files in etc/reports).
 * An admin's files change single texts of them, or add languages; what a file
 * leaves out stays as built in, or English. The form of such a file is told
 * at the top of etc/reports/en.
 *
 * Built once, then read-only: any thread may ask.
 */
#ifndef OSTLER_QUEUE_BOUNCE_TEXTS_H
#define OSTLER_QUEUE_BOUNCE_TEXTS_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/buf.h"
#include "lib/err.h"
#include "lib/str.h"

#define TEXTS_FILE_MAX	    ((size_t)256 << 10)
#define TEXTS_LANGUAGES_MAX 64
#define LANGUAGE_TAG_MAX    35 /* RFC 5646, 4.4.1 */

/* The texts of section [frame], in the order of the file. */
enum text {
	TEXT_FROM,
	TEXT_MONTHS,
	TEXT_MOMENT,
	TEXT_DAYS_ONE,
	TEXT_DAYS_MANY,
	TEXT_HOURS_ONE,
	TEXT_HOURS_MANY,
	TEXT_MINUTES_ONE,
	TEXT_MINUTES_MANY,
	TEXT_SECONDS_ONE,
	TEXT_SECONDS_MANY,
	TEXT_MESSAGE,
	TEXT_MESSAGE_UNTITLED,
	TEXT_SUBJECT_FAILED,
	TEXT_SUBJECT_FAILED_MANY,
	TEXT_SUBJECT_DELAYED,
	TEXT_SUBJECT_DELAYED_MANY,
	TEXT_SUBJECT_DELIVERED,
	TEXT_SUBJECT_DELIVERED_MANY,
	TEXT_SUBJECT_RELAYED,
	TEXT_SUBJECT_RELAYED_MANY,
	TEXT_SUBJECT_LATE,
	TEXT_SUBJECT_LATE_MANY,
	TEXT_OPENING_FAILED,
	TEXT_OPENING_DELAYED,
	TEXT_OPENING_DELIVERED,
	TEXT_OPENING_RELAYED,
	TEXT_OPENING_LATE,
	TEXT_AND_MORE,
	TEXT_LABEL_WHY,
	TEXT_LABEL_WHO,
	TEXT_LABEL_WHAT,
	TEXT_TRYING_UNTIL,
	TEXT_TRYING_ON,
	TEXT_TRYING_NO,
	TEXT_WAIT,
	TEXT_DETAIL_LIST,
	TEXT_DETAIL_LIMIT,
	TEXT_ATTEMPTS_ONE,
	TEXT_ATTEMPTS_MANY,
	TEXT_ATTEMPTS_SAME,
	TEXT_NOTE_DELIVERED,
	TEXT_NOTE_RELAYED,
	TEXT_NOTE_LATE,
	TEXT_DELIVERED_ONE,
	TEXT_DELIVERED_MANY,
	TEXT_DELIVERED_MORE,
	TEXT_WAITING_ONE,
	TEXT_WAITING_MANY,
	TEXT_ADMIN_TITLE,
	TEXT_ADMIN_FAILED,
	TEXT_ADMIN_DELAYED,
	TEXT_ADMIN_DELIVERED,
	TEXT_RULE_WORDS,
	TEXT_TRIES_ONE,
	TEXT_TRIES_MANY,
	TEXT_HOST_TLS,
	TEXT_ANSWER_COMMAND,
	TEXT_ANSWER,
	TEXT_FOUND_THERE,
	TEXT_FOUND_HERE,
	TEXT_LOOKED_INTO,
	TEXT_LOOKED_MX,
	TEXT_LOOKED_IMPLICIT,
	TEXT_LOOKED_DOWN,
	TEXT_LOOKED_UNSURE,
	TEXT_LOOKED_SAME,
	TEXT_LOOKED_NOW,
	TEXT_LOOKED_NO_LOGIN,
	TEXT_LOOKED_LOGIN,
	TEXT_LOOKED_INNER,
	TEXT_LOOKED_AND,
	TEXT_LAST_REASON,
	TEXT_LAST_REASON_HOST,
	TEXT_MORE_REPLIES,
	TEXT_PART_STATUS,
	TEXT_PART_MESSAGE,
	TEXT_PART_HEADER,
	TEXT_WHO_YOU,
	TEXT_WHO_RECIPIENT,
	TEXT_WHO_YOUR_ADMIN,
	TEXT_WHO_THEIR_ADMIN,
	TEXT_WHO_ADMINS,
	TEXT_WHO_BOTH_ADMINS,
	TEXT_WHO_YOU_OR_OWNER,
	TEXT_WHO_YOU_OR_ADMIN,
	TEXT_WHO_YOU_OR_MAKER,
	TEXT_WHO_NOBODY,
	TEXT_COUNT
};

/* The four of each section that is named like a category or an advice. */
enum advice_part {
	ADVICE_CAUSE,
	ADVICE_WHY,
	ADVICE_AUTHOR,
	ADVICE_ADMIN,
	ADVICE_PARTS
};

struct texts;	 /* all languages; immutable once shared, counted */
struct language; /* one of them, lent by its texts */

/* What is built in, read at the first call. Shares. Any thread. */
struct texts *texts_builtin(void);

/* A copy of what is built in, to be changed by texts_add. */
struct texts *texts_new(void);
struct texts *texts_ref(struct texts *texts);
void texts_unref(struct texts *texts); /* NULL is fine */

/*
 * Reads a file over what is there.
 *
 * tag   the language, as texts_is_tag wants it
 * text  borrows, NUL-terminated, any bytes
 * name  for messages
 * missing  gets the number of texts that stay English because the language is
 *       not built in and the file lacks them
 * Returns 0, or -EINVAL with "NAME:LINE: what" in err; then texts can only be
 * given back.
 */
int texts_add(struct texts *texts, const char *tag, const char *text,
	      const char *name, size_t *missing, struct err *err);

/* "de", "pt-BR": two or three letters, then parts of up to eight letters and
 * digits (RFC 5646, 2.1), so that "README" is none. */
bool texts_is_tag(struct str tag);

/*
 * The language for somebody, in this order: what he asks for, what he wrote
 * in, what the configuration says, English.
 *
 * accept   Accept-Language of the original, with q values (RFC 9110, 12.5.4)
 * content  its Content-Language (RFC 3282); both may be empty or garbage
 * preset   a tag, NULL for none
 */
const struct language *texts_choose(const struct texts *texts,
				    struct str accept, struct str content,
				    const char *preset);

/* By its tag or, when there is none, by the tag's first part; or NULL. */
const struct language *texts_language(const struct texts *texts,
				      struct str tag);

const char *language_tag(const struct language *language);
/* Clean UTF-8, one paragraph; variables stand in braces. */
const char *language_text(const struct language *language, enum text text);
/* advice: index of advice_name */
const char *language_advice(const struct language *language, size_t advice,
			    enum advice_part part);

struct text_value {
	const char *name, *value; /* value: clean UTF-8 */
};
#define TEXT_VALUES(...)                                                       \
	((const struct text_value[]){__VA_ARGS__, {NULL, NULL}})
#define TEXT_NO_VALUES ((const struct text_value[]){{NULL, NULL}})

/* Appends the text with its variables replaced. */
void language_put(const struct language *language, enum text text,
		  const struct text_value *values, struct buf *out);

#endif
