/* SPDX-License-Identifier: ISC */
#include "server/config_lexer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"

char *
lexer_place(const struct lexer *lexer, unsigned line)
{
	return mem_printf("%s:%u", lexer->file, line);
}

bool
lexer_is_broken(const struct lexer *lexer)
{
	return lexer->report->has_syntax_error;
}

void
lexer_fail(struct lexer *lexer, unsigned line, const char *format, ...)
{
	char *where = lexer_place(lexer, line);
	char text[2048];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	config_syntax_error(lexer->report, where, "%s", text);
	free(where);
}

/* ---------------------------------------------------- between tokens */

static void
skip(struct lexer *lexer, size_t len)
{
	for (size_t i = 0; i < len; i++)
		lexer->line += lexer->rest.at[i] == '\n';
	lexer->rest.at += len;
	lexer->rest.len -= len;
}

static bool
starts(const struct lexer *lexer, const char *prefix)
{
	size_t len = strlen(prefix);

	return lexer->rest.len >= len &&
	       memcmp(lexer->rest.at, prefix, len) == 0;
}

static size_t
line_length(struct str text)
{
	const char *end = memchr(text.at, '\n', text.len);

	return end != NULL ? (size_t)(end - text.at) : text.len;
}

static void
skip_comment_block(struct lexer *lexer)
{
	const char *end =
		memmem(lexer->rest.at + 2, lexer->rest.len - 2, "*/", 2);

	if (end == NULL) {
		lexer_fail(lexer, lexer->line, "this comment has no end");
		return;
	}
	skip(lexer, (size_t)(end - lexer->rest.at) + 2);
}

static void
skip_space(struct lexer *lexer)
{
	while (lexer->rest.len != 0 && !lexer_is_broken(lexer)) {
		if (strchr(" \t\r\n", lexer->rest.at[0]) != NULL &&
		    lexer->rest.at[0] != '\0')
			skip(lexer, 1);
		else if (lexer->rest.at[0] == '#' || starts(lexer, "//"))
			skip(lexer, line_length(lexer->rest));
		else if (starts(lexer, "/*"))
			skip_comment_block(lexer);
		else
			return;
	}
}

/* ------------------------------------------------------------ tokens */

/* Escapes in double quotes are these; more would only differ by reader. */
static bool
is_escape(char c)
{
	return c != '\0' && strchr("\\\"$nt\n", c) != NULL;
}

/* at  the index of a backslash */
static bool
may_escape(const struct lexer *lexer, size_t at, char quote)
{
	return at + 1 == lexer->rest.len ||
	       (quote == '"' && is_escape(lexer->rest.at[at + 1]));
}

static void
read_quoted(struct lexer *lexer, char quote)
{
	struct config_token *token = &lexer->token;
	size_t i = 1;

	token->kind = quote == '"' ? TOKEN_DOUBLE : TOKEN_SINGLE;
	for (; i < lexer->rest.len && lexer->rest.at[i] != quote; i++) {
		if (lexer->rest.at[i] != '\\')
			continue;
		if (!may_escape(lexer, i, quote)) {
			lexer_fail(lexer, lexer->line,
				   "a backslash stands in double quotes only, "
				   "before \\, \", $, n or t");
			return;
		}
		i++;
	}
	if (i >= lexer->rest.len) {
		lexer_fail(lexer, token->line, "this text has no closing %c",
			   quote);
		return;
	}
	token->text = str_from(lexer->rest.at + 1, i - 1);
	skip(lexer, i + 1);
}

static bool
is_word_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c >= '0' && c <= '9') ||
	       (c != '\0' && strchr("_.:-/@*%", c) != NULL);
}

static bool
is_mark_char(char c)
{
	return c != '\0' && strchr("={}(),", c) != NULL;
}

static void
take(struct lexer *lexer, enum config_token_kind kind, size_t len)
{
	lexer->token.kind = kind;
	lexer->token.text = str_from(lexer->rest.at, len);
	skip(lexer, len);
}

void
lexer_next(struct lexer *lexer)
{
	struct config_token *token = &lexer->token;
	size_t len = 0;
	char first;

	skip_space(lexer);
	token->line = lexer->line;
	token->kind = TOKEN_END;
	token->text = str_of("the end of the file");
	if (lexer_is_broken(lexer) || lexer->rest.len == 0)
		return;
	while (len < lexer->rest.len && is_word_char(lexer->rest.at[len]))
		len++;
	first = lexer->rest.at[0];
	if (len != 0)
		take(lexer, TOKEN_WORD, len);
	else if (first == '"' || first == '\'')
		read_quoted(lexer, first);
	else if (is_mark_char(first))
		take(lexer, TOKEN_MARK, 1);
	else
		lexer_fail(lexer, lexer->line,
			   "'%c' does not belong here (a text with special "
			   "characters stands in double quotes)",
			   first);
}

bool
lexer_is_mark(const struct lexer *lexer, char mark)
{
	return lexer->token.kind == TOKEN_MARK &&
	       lexer->token.text.at[0] == mark;
}

bool
config_token_is_value(const struct config_token *token)
{
	return token->kind == TOKEN_WORD || token->kind == TOKEN_DOUBLE ||
	       token->kind == TOKEN_SINGLE;
}

void
lexer_begin(struct lexer *lexer, const char *file, struct str text,
	    struct config_report *report)
{
	/* U+FEFF, which some editors write in front */
	if (text.len >= 3 && memcmp(text.at, "\xef\xbb\xbf", 3) == 0)
		text = str_from(text.at + 3, text.len - 3);
	*lexer = (struct lexer){
		.report = report,
		.file = file,
		.rest = text,
		.line = 1,
	};
	lexer_next(lexer);
}
