/* SPDX-License-Identifier: ISC */
/*
 * server/config_lexer.h - a configuration file as a row of tokens
 *
 * White space and comments (#, // and C's) are gone, line numbers are kept.
 * What belongs to no token is a syntax error, which is reported once and ends
 * the reading: see lexer_is_broken.
 */
#ifndef OSTLER_SERVER_CONFIG_LEXER_H
#define OSTLER_SERVER_CONFIG_LEXER_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/str.h"
#include "server/config_report.h"

enum config_token_kind {
	TOKEN_WORD,   /* letters without quotes */
	TOKEN_DOUBLE, /* "text"; text is what stands between the quotes */
	TOKEN_SINGLE, /* 'text' */
	TOKEN_MARK,   /* one of = { } ( ) , */
	TOKEN_END,
};

struct config_token {
	enum config_token_kind kind;
	struct str text; /* lends from the file; escapes as they stand there */
	unsigned line;	 /* where it begins; 1 is the first */
};

struct lexer {
	struct config_report *report; /* borrows */
	const char *file;	      /* borrows: its name, for reports */
	struct str rest;	      /* borrows: what follows the token */
	unsigned line;		      /* where rest begins */
	struct config_token token;    /* the current one */
};

/* Begins with a file's text; its first token is the current one then. */
void lexer_begin(struct lexer *lexer, const char *file, struct str text,
		 struct config_report *report);

/* The next token becomes the current one; TOKEN_END when there is none, or
 * when the reading is over. */
void lexer_next(struct lexer *lexer);

/* Is the current token that mark? */
bool lexer_is_mark(const struct lexer *lexer, char mark);

/* Was a syntax error reported, here or in a file before? */
bool lexer_is_broken(const struct lexer *lexer);

/* "FILE:LINE"; the caller frees it. */
char *lexer_place(const struct lexer *lexer, unsigned line);

/* Reports a syntax error on that line; the reading is over. */
void lexer_fail(struct lexer *lexer, unsigned line, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* May it stand where a value does? */
bool config_token_is_value(const struct config_token *token);

#endif
