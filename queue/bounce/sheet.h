/* SPDX-License-Identifier: ISC */
/*
 * queue/bounce/sheet.h - failures that nobody was told about
 *
 * What the postmaster's daily digest is made of: the first failures in words,
 * alike ones together, and all of them as counts, so that a storm of any size
 * gives one message of a known size and forgets nothing. Pure.
 */
#ifndef OSTLER_QUEUE_BOUNCE_SHEET_H
#define OSTLER_QUEUE_BOUNCE_SHEET_H

#include <stddef.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/err.h"
#include "queue/bounce/classify.h"

enum sheet_why {
	SHEET_NO_SENDER, /* mail of the null sender (reports, mostly) failed:
			    there is nobody to tell */
	SHEET_OVER_CAP,	 /* its sender had too many reports within the hour */
	SHEET_WHYS
};

#define SHEET_LINES_MAX 200
#define SHEET_WORDS_MAX 200
#define SHEET_ADDR_MAX	320

/* More than any sheet takes as a file or as a message. */
#define SHEET_FILE_MAX ((size_t)512 << 10)

/* One failure of one message. Strings are lent, and cut where they are kept. */
struct sheet_item {
	enum sheet_why why;
	enum category category;
	uint64_t at_ms;	       /* wall clock */
	const char *id;	       /* of the message */
	const char *sender;    /* "": the null sender */
	const char *recipient; /* the first one */
	size_t recipients;     /* that failed alike, >= 1 */
	const char *words;     /* what the last host said */
};

struct sheet_line {
	enum sheet_why why;
	enum category category;
	uint64_t first_ms, last_ms;
	uint64_t messages, recipients;
	char *id; /* owns, as the others: of the first one */
	char *sender, *recipient, *words;
};

/* Zero it to begin. */
struct sheet {
	uint64_t first_ms, last_ms;		     /* 0: nothing is in it */
	uint64_t counts[SHEET_WHYS][CATEGORY_COUNT]; /* messages, all of them */
	struct sheet_line *lines;		     /* owns */
	size_t line_count;
};

void sheet_done(struct sheet *sheet); /* empty and usable afterwards */

void sheet_add(struct sheet *sheet, const struct sheet_item *item);

/* Adds all of from, which is empty afterwards. */
void sheet_merge(struct sheet *sheet, struct sheet *from);

/* Messages, of all kinds. */
uint64_t sheet_total(const struct sheet *sheet);

/* As lines of text for a file; the lines of two sheets read as their sum. */
void sheet_write(const struct sheet *sheet, struct buf *out);

/*
 * Reads one line of those; others are left alone. Foreign bytes.
 *
 * Returns false when it is none.
 */
bool sheet_read_line(struct sheet *sheet, struct str line);

/* What the digest says of itself. */
struct sheet_letter {
	const char *hostname;
	const char *from; /* the postmaster, to whom it goes as well */
	const char *id;	  /* of the digest */
	uint64_t now_ms;
};
/* As a message, CR LF, at most 7-bit. */
void sheet_format(const struct sheet *sheet, const struct sheet_letter *letter,
		  struct buf *out);

#endif
