/* SPDX-License-Identifier: ISC */
#include "server/config_scan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "lib/str.h"

enum token_kind {
	TOKEN_WORD,   /* letters without quotes */
	TOKEN_DOUBLE, /* "text"; text is what stands between the quotes */
	TOKEN_SINGLE, /* 'text' */
	TOKEN_MARK,   /* one of = { } ( ) , */
	TOKEN_END,
};

struct token {
	enum token_kind kind;
	struct str text; /* lends from the file */
	unsigned line;
};

/* One file being read. */
struct reader {
	struct scan *scan;
	struct config_report *report;
	scan_read_fn *read_file;
	const char *file;
	struct str rest;
	unsigned line;
	unsigned depth;
	size_t section;	     /* of scan->sections, whose statements these are */
	bool has_piece;	     /* the last of scan->pieces is being written */
	unsigned piece_line; /* the line that its text has reached */
	struct token token;  /* the current one */
	bool is_value_broken; /* a variable in it was not set */
};

/* ---------------------------------------------------------------- tokens */

static char *
place(const struct reader *reader, unsigned line)
{
	return mem_printf("%s:%u", reader->file, line);
}

#define SYNTAX(reader, line, ...)                                              \
	do {                                                                   \
		char *where = place(reader, line);                             \
		config_syntax_error((reader)->report, where, __VA_ARGS__);     \
		free(where);                                                   \
	} while (0)

static bool
is_broken(const struct reader *reader)
{
	return reader->report->has_syntax_error;
}

static void
skip(struct reader *reader, size_t len)
{
	for (size_t i = 0; i < len; i++)
		reader->line += reader->rest.at[i] == '\n';
	reader->rest.at += len;
	reader->rest.len -= len;
}

static bool
starts(const struct reader *reader, const char *prefix)
{
	size_t len = strlen(prefix);

	return reader->rest.len >= len &&
	       memcmp(reader->rest.at, prefix, len) == 0;
}

static size_t
line_length(struct str text)
{
	const char *end = memchr(text.at, '\n', text.len);

	return end != NULL ? (size_t)(end - text.at) : text.len;
}

static void
skip_comment_block(struct reader *reader)
{
	const char *end =
		memmem(reader->rest.at + 2, reader->rest.len - 2, "*/", 2);

	if (end == NULL) {
		SYNTAX(reader, reader->line, "this comment has no end");
		return;
	}
	skip(reader, (size_t)(end - reader->rest.at) + 2);
}

static void
skip_space(struct reader *reader)
{
	while (reader->rest.len != 0 && !is_broken(reader)) {
		if (strchr(" \t\r\n", reader->rest.at[0]) != NULL &&
		    reader->rest.at[0] != '\0')
			skip(reader, 1);
		else if (reader->rest.at[0] == '#' || starts(reader, "//"))
			skip(reader, line_length(reader->rest));
		else if (starts(reader, "/*"))
			skip_comment_block(reader);
		else
			return;
	}
}

/* Escapes in double quotes are these; more would only differ by reader. */
static bool
is_escape(char c)
{
	return c != '\0' && strchr("\\\"$nt\n", c) != NULL;
}

static void
read_quoted(struct reader *reader, char quote)
{
	struct token *token = &reader->token;
	size_t i = 1;

	token->kind = quote == '"' ? TOKEN_DOUBLE : TOKEN_SINGLE;
	while (i < reader->rest.len && reader->rest.at[i] != quote) {
		if (reader->rest.at[i] == '\\') {
			if (i + 1 < reader->rest.len &&
			    (quote != '"' ||
			     !is_escape(reader->rest.at[i + 1]))) {
				SYNTAX(reader, reader->line,
				       "a backslash stands in double quotes "
				       "only, before \\, \", $, n or t");
				return;
			}
			i++;
		}
		i++;
	}
	if (i >= reader->rest.len) {
		SYNTAX(reader, token->line, "this text has no closing %c",
		       quote);
		return;
	}
	token->text = str_from(reader->rest.at + 1, i - 1);
	skip(reader, i + 1);
}

static bool
is_word_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c >= '0' && c <= '9') ||
	       (c != '\0' && strchr("_.:-/@*%", c) != NULL);
}

static void
next_token(struct reader *reader)
{
	struct token *token = &reader->token;
	size_t len = 0;

	skip_space(reader);
	token->line = reader->line;
	token->kind = TOKEN_END;
	token->text = str_of("the end of the file");
	if (is_broken(reader) || reader->rest.len == 0)
		return;
	if (reader->rest.at[0] == '"' || reader->rest.at[0] == '\'') {
		read_quoted(reader, reader->rest.at[0]);
		return;
	}
	while (len < reader->rest.len && is_word_char(reader->rest.at[len]))
		len++;
	token->kind = TOKEN_WORD;
	if (len == 0) {
		token->kind = TOKEN_MARK;
		len = 1;
		if (reader->rest.at[0] == '\0' ||
		    strchr("={}(),", reader->rest.at[0]) == NULL) {
			SYNTAX(reader, reader->line,
			       "'%c' does not belong here (a text with special "
			       "characters stands in double quotes)",
			       reader->rest.at[0]);
			return;
		}
	}
	token->text = str_from(reader->rest.at, len);
	skip(reader, len);
}

static bool
is_mark(const struct reader *reader, char mark)
{
	return reader->token.kind == TOKEN_MARK &&
	       reader->token.text.at[0] == mark;
}

static bool
is_value(const struct token *token)
{
	return token->kind == TOKEN_WORD || token->kind == TOKEN_DOUBLE ||
	       token->kind == TOKEN_SINGLE;
}

/* ------------------------------------------------- what libconfuse reads */

static void
piece_begin(struct reader *reader, unsigned line)
{
	struct scan *scan = reader->scan;
	struct scan_piece *piece;

	scan->pieces = mem_append(scan->pieces, scan->piece_count,
				  sizeof(scan->pieces[0]));
	piece = &scan->pieces[scan->piece_count++];
	piece->section = reader->section;
	piece->file = mem_strdup(reader->file);
	piece->line = line;
	buf_init(&piece->text, 8 * SCAN_FILE_MAX);
	reader->piece_line = line;
	reader->has_piece = true;
}

/* What follows belongs to another section, or stands behind another file. */
static void
piece_end(struct reader *reader, size_t section)
{
	reader->section = section;
	reader->has_piece = false;
}

/* Text that belongs on a line, behind enough line ends to be on it. */
static void
emit(struct reader *reader, unsigned line, const char *text, size_t len)
{
	struct buf *to;
	int rc = 0;

	if (!reader->has_piece)
		piece_begin(reader, line);
	to = &reader->scan->pieces[reader->scan->piece_count - 1].text;
	for (; reader->piece_line < line; reader->piece_line++)
		rc |= buf_add(to, "\n", 1);
	rc |= buf_add(to, text, len);
	for (size_t i = 0; i < len; i++)
		reader->piece_line += text[i] == '\n';
	if (rc != 0)
		SYNTAX(reader, line, "the configuration is too long");
}

static void
emit_escaped(struct reader *reader, unsigned line, const char *text)
{
	for (; *text != '\0'; text++) {
		/* a line end of the environment is no line of the file */
		if (*text == '\n') {
			emit(reader, line, "\\n", 2);
			continue;
		}
		if (strchr("\\\"$", *text) != NULL)
			emit(reader, line, "\\", 1);
		emit(reader, line, text, 1);
	}
}

struct variable {
	char *name, *fallback;
	const char *value; /* lends; NULL: it is not set */
	size_t len;	   /* of its text */
};

/*
 * variable = "${" name [ ":-" default ] "}"
 *
 * As in a shell, ":-" also replaces an empty value. False: it has no end.
 */
static bool
variable_read(struct str text, struct variable *out)
{
	const char *end = memchr(text.at, '}', text.len);
	const char *preset;
	struct str name;

	if (end == NULL)
		return false;
	memset(out, 0, sizeof(*out));
	out->len = (size_t)(end - text.at) + 1;
	name = str_from(text.at + 2, out->len - 3);
	preset = memmem(name.at, name.len, ":-", 2);
	if (preset != NULL) {
		size_t name_len = (size_t)(preset - name.at);

		out->fallback = mem_dup(preset + 2, name.len - name_len - 2);
		name.len = name_len;
	}
	out->name = mem_dup(name.at, name.len);
	out->value = name.len != 0 ? getenv(out->name) : NULL;
	if (out->fallback != NULL &&
	    (out->value == NULL || out->value[0] == '\0'))
		out->value = out->fallback;
	return true;
}

static void
variable_done(struct variable *variable)
{
	free(variable->name);
	free(variable->fallback);
}

static bool
is_variable(struct str text)
{
	return text.len > 1 && text.at[0] == '$' && text.at[1] == '{';
}

/* The variable that the text begins with; what is wrong is reported. False:
 * it has no end. */
static bool
variable_find(struct reader *reader, struct str text, unsigned line,
	      struct variable *out)
{
	if (!variable_read(text, out)) {
		SYNTAX(reader, line, "\"${\" has no closing }");
		return false;
	}
	if (out->value == NULL) {
		char *where = place(reader, line);

		reader->is_value_broken = true;
		config_error(reader->report, where,
			     "the environment variable %s is not set (write "
			     "${%s:-default} if it need not be)",
			     out->name, out->name);
		free(where);
	}
	return true;
}

/* Returns the length of the variable's text. */
static size_t
emit_variable(struct reader *reader, struct str text, unsigned line)
{
	struct variable variable;

	if (!variable_find(reader, text, line, &variable))
		return text.len;
	if (variable.value != NULL)
		emit_escaped(reader, line, variable.value);
	variable_done(&variable);
	return variable.len;
}

/* Double quotes again: escapes as they are, variables replaced. */
static void
emit_double(struct reader *reader, const struct token *token)
{
	struct str text = token->text;
	unsigned line = token->line;

	emit(reader, line, "\"", 1);
	for (size_t i = 0; i < text.len && !is_broken(reader);) {
		size_t len = 1;

		struct str rest = str_from(text.at + i, text.len - i);

		if (is_variable(rest)) {
			i += emit_variable(reader, rest, line);
			continue;
		}
		if (text.at[i] == '\\')
			len = 2;
		emit(reader, line, text.at + i, len);
		for (; len != 0; len--, i++)
			line += text.at[i] == '\n';
	}
	emit(reader, line, "\"", 1);
}

static void
emit_value(struct reader *reader, const struct token *token)
{
	if (token->kind == TOKEN_DOUBLE) {
		emit_double(reader, token);
		return;
	}
	emit(reader, token->line, "'", 1);
	emit(reader, token->line, token->text.at, token->text.len);
	emit(reader, token->line, "'", 1);
}

/* ------------------------------------------------------------ statements */

static struct scan_section *
section_at(const struct reader *reader, size_t index)
{
	return &reader->scan->sections[index];
}

const struct scan_item *
scan_section_find(const struct scan_section *section, const struct key *key)
{
	for (size_t i = 0; i < section->count; i++)
		if (section->items[i].key == key)
			return &section->items[i];
	return NULL;
}

const char *
scan_place(const struct scan *scan, const char *section, const char *name,
	   size_t n)
{
	const struct key *key = config_key_find(section, name);

	for (size_t i = 0; i < scan->section_count; i++) {
		const struct scan_item *item;

		if (strcmp(scan->sections[i].name, section) != 0)
			continue;
		item = scan_section_find(&scan->sections[i], key);
		if (item == NULL)
			return scan->sections[i].at;
		return n < item->count ? item->value_at[n] : item->at;
	}
	return NULL;
}

static void
report_unknown(struct reader *reader, const char *section, const char *name,
	       const char *at)
{
	const char *near = config_key_near(section, name);

	if (near != NULL)
		config_error(reader->report, at,
			     "unknown name \"%s\"%s%s (did you mean \"%s\"?)",
			     name, section[0] != '\0' ? " in " : "", section,
			     near);
	else
		config_error(reader->report, at, "unknown name \"%s\"%s%s",
			     name, section[0] != '\0' ? " in " : "", section);
}

/* The item to fill, or NULL when the name was reported as wrong.
 * index  of the section, SIZE_MAX inside one that is skipped */
static struct scan_item *
add_item(struct reader *reader, size_t index, const struct token *name)
{
	struct scan_section *section;
	const struct scan_item *first;
	const struct key *key;
	char *text, *at;
	struct scan_item *item = NULL;

	if (index == SIZE_MAX)
		return NULL;
	section = section_at(reader, index);
	text = mem_dup(name->text.at, name->text.len);
	at = place(reader, name->line);
	key = config_key_find(section->name, text);
	first = key != NULL ? scan_section_find(section, key) : NULL;
	if (key == NULL && config_section_kind(text) != SECTION_UNKNOWN &&
	    index == 0) {
		config_error(reader->report, at,
			     "\"%s\" is a section: %s { ... }", text, text);
	} else if (key == NULL) {
		report_unknown(reader, section->name, text, at);
	} else if (first != NULL) {
		config_error(reader->report, at,
			     "\"%s\" is set again (first at %s)", text,
			     first->at);
	} else {
		section->items = mem_append(section->items, section->count,
					    sizeof(section->items[0]));
		item = &section->items[section->count++];
		*item = (struct scan_item){.key = key, .at = at};
		at = NULL;
	}
	free(text);
	free(at);
	return item;
}

static void
add_value(struct reader *reader, struct scan_item *item)
{
	const struct token *token = &reader->token;

	if (item == NULL)
		return;
	if (reader->scan->value_count++ >= SCAN_VALUES_MAX) {
		SYNTAX(reader, token->line, "there are more than %d values",
		       SCAN_VALUES_MAX);
		return;
	}
	item->value_at = mem_append(item->value_at, item->count,
				    sizeof(item->value_at[0]));
	item->value_at[item->count++] = place(reader, token->line);
	reader->is_value_broken = false;
	emit_value(reader, token);
	item->is_broken |= reader->is_value_broken;
}

/* list = "{" [ value *( "," value ) [ "," ] ] "}" */
static void
read_list(struct reader *reader, struct scan_item *item)
{
	next_token(reader);
	while (!is_mark(reader, '}') && !is_broken(reader)) {
		if (!is_value(&reader->token)) {
			SYNTAX(reader, reader->token.line,
			       "a list is written {\"a\", \"b\"}");
			return;
		}
		add_value(reader, item);
		next_token(reader);
		if (is_mark(reader, ',')) {
			if (item != NULL)
				emit(reader, reader->token.line, ",", 1);
			next_token(reader);
		} else if (!is_mark(reader, '}')) {
			SYNTAX(reader, reader->token.line,
			       "a comma or } is missing in this list");
		}
	}
}

/* value, with the current token at '=' */
static void
read_assignment(struct reader *reader, size_t index, const struct token *name)
{
	struct scan_item *item = add_item(reader, index, name);
	bool is_list_key = item != NULL && item->key->kind == KEY_TEXTS;

	next_token(reader);
	if (is_broken(reader))
		return;
	if (is_mark(reader, '{') && item != NULL && !is_list_key) {
		config_error(reader->report, item->at,
			     "\"%s\" has one value, not a list",
			     item->key->name);
		item = NULL;
		section_at(reader, index)->count--;
		free(section_at(reader, index)
			     ->items[section_at(reader, index)->count]
			     .at);
	}
	if (item != NULL) {
		emit(reader, name->line, item->key->name,
		     strlen(item->key->name));
		emit(reader, name->line, is_list_key ? "={" : "=",
		     is_list_key ? 2 : 1);
	}
	if (is_mark(reader, '{')) {
		read_list(reader, item);
	} else if (is_value(&reader->token)) {
		add_value(reader, item);
	} else {
		SYNTAX(reader, reader->token.line,
		       "\"%.*s\" needs a value, not %.*s", STR_ARG(name->text),
		       STR_ARG(reader->token.text));
	}
	if (item != NULL && is_list_key)
		emit(reader, reader->token.line, "}", 1);
	if (item != NULL)
		emit(reader, reader->token.line, " ", 1);
	if (!is_broken(reader))
		next_token(reader);
}

/* Why this section cannot be kept, reported; true when it can. */
static bool
check_section(struct reader *reader, size_t parent, const char *name,
	      const char *title, const char *at)
{
	const struct scan *scan = reader->scan;
	enum section_kind kind = config_section_kind(name);

	if (parent == SIZE_MAX)
		return false;
	if (parent != 0 || kind == SECTION_UNKNOWN || kind == SECTION_TOP) {
		const char *inside = scan->sections[parent].name;

		if (config_key_find(inside, name) != NULL)
			config_error(reader->report, at,
				     "\"%s\" is no section: %s = ...", name,
				     name);
		else
			report_unknown(reader, inside, name, at);
		return false;
	}
	if ((kind == SECTION_TITLED) != (title != NULL)) {
		config_error(reader->report, at,
			     kind == SECTION_TITLED
				     ? "%s needs a title: %s \"...\" { }"
				     : "%s has no title: %s { }",
			     name, name);
		return false;
	}
	for (size_t i = 1; i < scan->section_count; i++) {
		const struct scan_section *other = &scan->sections[i];

		if (strcmp(other->name, name) != 0 ||
		    (title != NULL && strcmp(other->title, title) != 0))
			continue;
		config_error(reader->report, at,
			     "%s%s%s%s is there already (first at %s)", name,
			     title != NULL ? " \"" : "",
			     title != NULL ? title : "",
			     title != NULL ? "\"" : "", other->at);
		return false;
	}
	return true;
}

/* The title as it reads: without escapes, variables replaced. */
static char *
title_text(struct reader *reader, const struct token *title)
{
	struct str rest = title->text;
	struct variable variable;
	struct buf text;
	char *copy;

	buf_init(&text, 2 * SCAN_FILE_MAX);
	while (rest.len != 0) {
		size_t len = 1;

		if (title->kind == TOKEN_DOUBLE && is_variable(rest)) {
			if (!variable_find(reader, rest, title->line,
					   &variable))
				break;
			len = variable.len;
			if (variable.value != NULL)
				(void)buf_adds(&text, variable.value);
			variable_done(&variable);
		} else {
			if (title->kind == TOKEN_DOUBLE && rest.len > 1 &&
			    rest.at[0] == '\\')
				rest = str_from(rest.at + 1, rest.len - 1);
			(void)buf_add(&text, rest.at, 1);
		}
		rest = str_from(rest.at + len, rest.len - len);
	}
	copy = mem_strdup(buf_text(&text));
	buf_done(&text);
	return copy;
}

/* Returns the index of the new section, SIZE_MAX when it is skipped. */
static size_t
add_section(struct reader *reader, size_t parent, const struct token *name,
	    const struct token *title)
{
	struct scan *scan = reader->scan;
	char *name_text = mem_dup(name->text.at, name->text.len);
	char *title_of = title != NULL ? title_text(reader, title) : NULL;
	char *at = place(reader, name->line);

	if (!check_section(reader, parent, name_text, title_of, at)) {
		free(name_text);
		free(title_of);
		free(at);
		return SIZE_MAX;
	}
	scan->sections = mem_append(scan->sections, scan->section_count,
				    sizeof(scan->sections[0]));
	scan->sections[scan->section_count] =
		(struct scan_section){.name = name_text,
				      .title = title_of,
				      .at = at};
	return scan->section_count++;
}

static void read_statements(struct reader *reader, size_t section);

/* The current token is the '{' behind the name or the title. */
static void
read_section(struct reader *reader, size_t parent, const struct token *name,
	     const struct token *title)
{
	size_t index = add_section(reader, parent, name, title);

	if (++reader->depth > SCAN_DEPTH_MAX) {
		SYNTAX(reader, name->line, "sections nest too deeply");
		return;
	}
	piece_end(reader, index);
	next_token(reader);
	read_statements(reader, index);
	piece_end(reader, parent);
	reader->depth--;
	if (is_broken(reader))
		return;
	if (!is_mark(reader, '}')) {
		SYNTAX(reader, name->line, "section \"%.*s\" has no closing }",
		       STR_ARG(name->text));
		return;
	}
	next_token(reader);
}

static void scan_file(struct scan *scan, struct config_report *report,
		      scan_read_fn *read_file, const char *file, unsigned depth,
		      const char *included_at);

static void
include_file(struct reader *reader, const struct token *name,
	     const struct token *path)
{
	char *at = place(reader, name->line), *file;
	const char *slash = strrchr(reader->file, '/');
	char *given;

	reader->is_value_broken = false;
	given = title_text(reader, path);
	if (given[0] == '/' || slash == NULL)
		file = mem_strdup(given);
	else
		file = mem_printf("%.*s/%s", (int)(slash - reader->file),
				  reader->file, given);
	if (!reader->is_value_broken && !is_broken(reader))
		scan_file(reader->scan, reader->report, reader->read_file, file,
			  reader->depth + 1, at);
	piece_end(reader, reader->section);
	free(given);
	free(file);
	free(at);
}

/* "(" string ")", with the current token at "(" */
static void
read_include(struct reader *reader, size_t section, const struct token *name)
{
	struct token path;

	next_token(reader);
	path = reader->token;
	if (!is_broken(reader))
		next_token(reader);
	if (is_broken(reader))
		return;
	if (!is_value(&path) || !is_mark(reader, ')') ||
	    !str_is(name->text, "include")) {
		SYNTAX(reader, name->line,
		       "an include is written include(\"file\")");
		return;
	}
	if (section != 0) {
		SYNTAX(reader, name->line, "include stands at top level only");
		return;
	}
	include_file(reader, name, &path);
	if (!is_broken(reader))
		next_token(reader);
}

static void
read_statement(struct reader *reader, size_t section)
{
	struct token name = reader->token, title;

	if (name.kind != TOKEN_WORD) {
		SYNTAX(reader, name.line, "a name belongs here, not %s%.*s%s",
		       is_value(&name) ? "\"" : "", STR_ARG(name.text),
		       is_value(&name) ? "\"" : "");
		return;
	}
	next_token(reader);
	if (is_broken(reader))
		return;
	if (is_mark(reader, '=')) {
		read_assignment(reader, section, &name);
	} else if (is_mark(reader, '(')) {
		read_include(reader, section, &name);
	} else if (is_mark(reader, '{')) {
		read_section(reader, section, &name, NULL);
	} else if (is_value(&reader->token)) {
		title = reader->token;
		next_token(reader);
		if (is_mark(reader, '{'))
			read_section(reader, section, &name, &title);
		else
			SYNTAX(reader, name.line,
			       "\"%.*s\" needs = and a value, or { and }",
			       STR_ARG(name.text));
	} else {
		SYNTAX(reader, name.line,
		       "\"%.*s\" needs = and a value, or { and }",
		       STR_ARG(name.text));
	}
}

/* Until the end of the file or a '}'. */
static void
read_statements(struct reader *reader, size_t section)
{
	while (!is_broken(reader) && reader->token.kind != TOKEN_END &&
	       !is_mark(reader, '}'))
		read_statement(reader, section);
}

/* ----------------------------------------------------------------- files */

static void
read_text(struct reader *reader, struct str text)
{
	/* U+FEFF, which some editors write in front */
	if (text.len >= 3 && memcmp(text.at, "\xef\xbb\xbf", 3) == 0)
		text = str_from(text.at + 3, text.len - 3);
	reader->rest = text;
	reader->line = 1;
	reader->scan->has_text = true;
	next_token(reader);
	read_statements(reader, 0);
	if (!is_broken(reader) && reader->token.kind != TOKEN_END)
		SYNTAX(reader, reader->token.line, "this } closes no section");
}

static void
scan_file(struct scan *scan, struct config_report *report,
	  scan_read_fn *read_file, const char *file, unsigned depth,
	  const char *included_at)
{
	struct reader reader = {
		.scan = scan,
		.report = report,
		.read_file = read_file,
		.file = file,
		.depth = depth,
	};
	struct err err = ERR_INIT;
	size_t len;
	char *text;

	if (depth > SCAN_DEPTH_MAX || scan->file_count++ >= SCAN_FILES_MAX) {
		config_error(report, included_at,
			     "\"%s\" is one include too many: does it include "
			     "itself?",
			     file);
		return;
	}
	text = read_file(file, SCAN_FILE_MAX, &len, &err);
	if (text == NULL) {
		config_error(report, included_at, "%s%s", err.text,
			     err.code == -ENOENT && included_at == NULL
				     ? "; `ostlerctl setup` writes one"
				     : "");
		return;
	}
	if (memchr(text, '\0', len) != NULL)
		config_error(report, included_at, "\"%s\" holds a NUL byte",
			     file);
	else
		read_text(&reader, str_from(text, len));
	free(text);
}

void
config_scan(struct scan *scan, const char *file, scan_read_fn *read_file,
	    struct config_report *report)
{
	memset(scan, 0, sizeof(*scan));
	scan->sections = mem_zalloc(sizeof(scan->sections[0]));
	scan->sections[0].name = mem_strdup("");
	scan->section_count = 1;
	scan_file(scan, report, read_file, file, 0, NULL);
}

static void
section_done(struct scan_section *section)
{
	for (size_t i = 0; i < section->count; i++) {
		struct scan_item *item = &section->items[i];

		for (size_t k = 0; k < item->count; k++)
			free(item->value_at[k]);
		free(item->value_at);
		free(item->at);
	}
	free(section->items);
	free(section->name);
	free(section->title);
	free(section->at);
}

void
config_scan_done(struct scan *scan)
{
	for (size_t i = 0; i < scan->section_count; i++)
		section_done(&scan->sections[i]);
	free(scan->sections);
	for (size_t i = 0; i < scan->piece_count; i++) {
		free(scan->pieces[i].file);
		buf_done(&scan->pieces[i].text);
	}
	free(scan->pieces);
	memset(scan, 0, sizeof(*scan));
}
