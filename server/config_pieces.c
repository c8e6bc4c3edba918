/* SPDX-License-Identifier: ISC */
#include "server/config_pieces.h"

#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "server/config_scan.h"
#include "server/config_variable.h"

static void
piece_begin(struct piece_writer *writer, unsigned line)
{
	struct pieces *pieces = writer->pieces;
	struct piece *piece;

	pieces->at =
		mem_append(pieces->at, pieces->count, sizeof(pieces->at[0]));
	piece = &pieces->at[pieces->count++];
	piece->section = writer->section;
	piece->file = mem_strdup(writer->lexer->file);
	piece->line = line;
	buf_init(&piece->text, 8 * SCAN_FILE_MAX);
	writer->line = line;
	writer->has_piece = true;
}

void
pieces_select(struct piece_writer *writer, size_t section)
{
	writer->section = section;
	writer->has_piece = false;
}

static void
put(struct piece_writer *writer, unsigned line, const char *text, size_t len)
{
	struct buf *to;
	int rc = 0;

	if (!writer->has_piece)
		piece_begin(writer, line);
	to = &writer->pieces->at[writer->pieces->count - 1].text;
	for (; writer->line < line; writer->line++)
		rc |= buf_add(to, "\n", 1);
	rc |= buf_add(to, text, len);
	for (size_t i = 0; i < len; i++)
		writer->line += text[i] == '\n';
	if (rc != 0)
		lexer_fail(writer->lexer, line,
			   "the configuration is too long");
}

void
pieces_put(struct piece_writer *writer, unsigned line, const char *text)
{
	put(writer, line, text, strlen(text));
}

static void
put_escaped(struct piece_writer *writer, unsigned line, const char *text)
{
	for (; *text != '\0'; text++) {
		/* a line end of the environment is no line of the file */
		if (*text == '\n') {
			put(writer, line, "\\n", 2);
			continue;
		}
		if (strchr("\\\"$", *text) != NULL)
			put(writer, line, "\\", 1);
		put(writer, line, text, 1);
	}
}

/* Returns the variable's length; 0 when it has no end. */
static size_t
put_variable(struct piece_writer *writer, struct str text, unsigned line,
	     bool *out_is_set)
{
	struct variable variable;

	if (!variable_read(writer->lexer, text, line, &variable))
		return 0;
	*out_is_set = variable.value != NULL;
	if (variable.value != NULL)
		put_escaped(writer, line, variable.value);
	variable_done(&variable);
	return variable.len;
}

/* Double quotes again: escapes as they are, variables replaced. */
static bool
put_double(struct piece_writer *writer, const struct config_token *token)
{
	struct str rest = token->text;
	unsigned line = token->line;
	bool is_whole = true;

	pieces_put(writer, line, "\"");
	while (rest.len != 0 && !lexer_is_broken(writer->lexer)) {
		size_t len = rest.at[0] == '\\' ? 2 : 1;
		bool is_set = true;

		if (variable_is_next(rest)) {
			len = put_variable(writer, rest, line, &is_set);
			is_whole &= is_set;
		} else {
			put(writer, line, rest.at, len);
			for (size_t i = 0; i < len; i++)
				line += rest.at[i] == '\n';
		}
		rest = str_from(rest.at + len, rest.len - len);
	}
	pieces_put(writer, line, "\"");
	return is_whole;
}

bool
pieces_put_value(struct piece_writer *writer, const struct config_token *token)
{
	if (token->kind == TOKEN_DOUBLE)
		return put_double(writer, token);
	pieces_put(writer, token->line, "'");
	put(writer, token->line, token->text.at, token->text.len);
	pieces_put(writer, token->line, "'");
	return true;
}

void
pieces_done(struct pieces *pieces)
{
	for (size_t i = 0; i < pieces->count; i++) {
		free(pieces->at[i].file);
		buf_done(&pieces->at[i].text);
	}
	free(pieces->at);
}
