/* SPDX-License-Identifier: ISC */
/*
 * queue/bounce/normalize.h - a reply reduced to the words that carry meaning
 *
 * Replies say the same thing with other addresses, numbers, identifiers, case
 * and accents, on one line or on ten, and gateways quote the host behind
 * them. What is left here is a row of folded words, so that a rule written
 * once meets all of these spellings. Rules pass through the same door, which
 * is why nobody has to know how exactly a word is folded. Pure, no memory.
 *
 *	550-5.1.1 <anna@example.net>: Benutzer ungültig
 *	550 5.1.1 see https://example.net/help?id=7f3a
 *
 * becomes code 550, 5.1.1 and: benutzer ungueltig see [help.example.net]
 *
 * Folding: lower case; accents go, but ä ö ü ß become ae oe ue ss, as German
 * servers without umlauts write them; words are cut at every other character,
 * and where lower case turns to upper ("RecipientNotFound"); each character
 * of scripts without spaces is a word of its own.
 */
#ifndef OSTLER_QUEUE_BOUNCE_NORMALIZE_H
#define OSTLER_QUEUE_BOUNCE_NORMALIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "queue/deliver/outcome.h"

/* A reply line has at most 512 octets; what follows the eighth tells no more.
 */
#define NORMAL_TEXT_MAX	 4096
#define NORMAL_WORDS_MAX 512

enum normal_kind {
	NORMAL_WORD,
	NORMAL_ID,   /* has digits: matters only where a rule names it */
	NORMAL_HOST, /* a host name, kept whole: its labels mean nothing */
	NORMAL_URL,  /* the host of a URL; the rest is dropped */
};

struct normal_word {
	uint16_t at; /* in text */
	uint16_t len;
	enum normal_kind kind;
};

struct normal {
	char text[NORMAL_TEXT_MAX + 1]; /* words, one space behind each */
	size_t text_len;
	struct normal_word words[NORMAL_WORDS_MAX];
	size_t count;
	/* The first word of the innermost quotation ("host X said: ...");
	 * 0 when nothing is quoted. */
	size_t inner;
	/* Codes of the innermost quotation that has some, else the first. */
	unsigned code;		      /* 400..599, 0: none */
	unsigned class;		      /* of the enhanced code: 4, 5, 0: none */
	unsigned subject, detail;     /* of the enhanced code */
	enum smtp_phase quoted_phase; /* "(in reply to RCPT TO command)" */
};

/*
 * Reduces a whole reply.
 *
 * reply  borrows, NUL-terminated, any bytes: lines joined by LF or CR LF,
 *	  UTF-8, and where it is not, Latin-1
 */
void normal_reply(const char *reply, struct normal *out);

/*
 * Reduces one token of a rule: no codes, no quotations.
 *
 * word  borrows, len bytes, no spaces
 */
void normal_token(const char *word, size_t len, struct normal *out);

#endif
