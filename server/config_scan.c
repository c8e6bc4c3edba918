/* SPDX-License-Identifier: ISC */
#include "server/config_scan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "lib/str.h"
#include "server/config_variable.h"

/* One file being read. */
struct reader {
	struct scan *scan;
	struct config_report *report;
	scan_read_fn *read_file;
	unsigned depth;		    /* of includes and sections */
	struct lexer lexer;	    /* at the next token of the file */
	struct piece_writer writer; /* of the good statements */
};

/* ------------------------------------------------------------ sections */

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
add_item(struct reader *reader, size_t index, const struct config_token *name)
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
	at = lexer_place(&reader->lexer, name->line);
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
	const struct config_token *token = &reader->lexer.token;

	if (item == NULL)
		return;
	if (reader->scan->value_count++ >= SCAN_VALUES_MAX) {
		lexer_fail(&reader->lexer, token->line,
			   "there are more than %d values", SCAN_VALUES_MAX);
		return;
	}
	item->value_at = mem_append(item->value_at, item->count,
				    sizeof(item->value_at[0]));
	item->value_at[item->count++] =
		lexer_place(&reader->lexer, token->line);
	if (!pieces_put_value(&reader->writer, token))
		item->is_broken = true;
}

/* For libconfuse, what stands between values; not of what is skipped. */
static void
put_mark(struct reader *reader, const struct scan_item *item, const char *text)
{
	if (item != NULL)
		pieces_put(&reader->writer, reader->lexer.token.line, text);
}

/* list = "{" [ value *( "," value ) [ "," ] ] "}" */
static void
read_list(struct reader *reader, struct scan_item *item)
{
	struct lexer *lexer = &reader->lexer;

	lexer_next(lexer);
	while (!lexer_is_mark(lexer, '}') && !lexer_is_broken(lexer)) {
		if (!config_token_is_value(&lexer->token)) {
			lexer_fail(lexer, lexer->token.line,
				   "a list is written {\"a\", \"b\"}");
			return;
		}
		add_value(reader, item);
		lexer_next(lexer);
		if (lexer_is_mark(lexer, ',')) {
			put_mark(reader, item, ",");
			lexer_next(lexer);
		} else if (!lexer_is_mark(lexer, '}')) {
			lexer_fail(lexer, lexer->token.line,
				   "a comma or } is missing in this list");
		}
	}
}

/* The last item of a section had a name that is right, and no more. */
static void
drop_item(struct scan_section *section)
{
	free(section->items[--section->count].at);
}

/* value, with the current token at '=' */
static void
read_assignment(struct reader *reader, size_t index,
		const struct config_token *name)
{
	struct scan_item *item = add_item(reader, index, name);
	bool is_list_key = item != NULL && item->key->kind == KEY_TEXTS;
	struct lexer *lexer = &reader->lexer;

	lexer_next(lexer);
	if (lexer_is_broken(lexer))
		return;
	if (lexer_is_mark(lexer, '{') && item != NULL && !is_list_key) {
		config_error(lexer->report, item->at,
			     "\"%s\" has one value, not a list",
			     item->key->name);
		item = NULL;
		drop_item(section_at(reader, index));
	}
	if (item != NULL) {
		pieces_put(&reader->writer, name->line, item->key->name);
		pieces_put(&reader->writer, name->line,
			   is_list_key ? "={" : "=");
	}
	if (lexer_is_mark(lexer, '{'))
		read_list(reader, item);
	else if (config_token_is_value(&lexer->token))
		add_value(reader, item);
	else
		lexer_fail(lexer, lexer->token.line,
			   "\"%.*s\" needs a value, not %.*s",
			   STR_ARG(name->text), STR_ARG(lexer->token.text));
	put_mark(reader, item, is_list_key ? "} " : " ");
	if (!lexer_is_broken(lexer))
		lexer_next(lexer);
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

/* Returns the index of the new section, SIZE_MAX when it is skipped. */
static size_t
add_section(struct reader *reader, size_t parent,
	    const struct config_token *name, const struct config_token *title)
{
	struct scan *scan = reader->scan;
	char *name_text = mem_dup(name->text.at, name->text.len);
	char *title_of = NULL;
	bool is_whole; /* else there is an error, and no use of the title */
	char *at = lexer_place(&reader->lexer, name->line);

	if (title != NULL)
		title_of = variable_replace(&reader->lexer, title, &is_whole);
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
/* included_at  NULL: by nobody */
static void scan_file(struct reader *reader, const char *file,
		      const char *included_at);

/* The current token is the '{' behind the name or the title. */
static void
read_section(struct reader *reader, size_t parent,
	     const struct config_token *name, const struct config_token *title)
{
	size_t index = add_section(reader, parent, name, title);
	struct lexer *lexer = &reader->lexer;

	if (++reader->depth > SCAN_DEPTH_MAX) {
		lexer_fail(lexer, name->line, "sections nest too deeply");
		return;
	}
	pieces_select(&reader->writer, index);
	lexer_next(lexer);
	read_statements(reader, index);
	pieces_select(&reader->writer, parent);
	reader->depth--;
	if (lexer_is_broken(lexer))
		return;
	if (!lexer_is_mark(lexer, '}')) {
		lexer_fail(lexer, name->line,
			   "section \"%.*s\" has no closing }",
			   STR_ARG(name->text));
		return;
	}
	lexer_next(lexer);
}

static void
include_file(struct reader *reader, const struct config_token *name,
	     const struct config_token *path)
{
	struct lexer *lexer = &reader->lexer;
	char *at = lexer_place(lexer, name->line);
	const char *slash = strrchr(lexer->file, '/');
	struct reader inner = {
		.scan = reader->scan,
		.report = reader->report,
		.read_file = reader->read_file,
		.depth = reader->depth + 1,
	};
	char *given, *file;
	bool is_whole;

	given = variable_replace(lexer, path, &is_whole);
	if (given[0] == '/' || slash == NULL)
		file = mem_strdup(given);
	else
		file = mem_printf("%.*s/%s", (int)(slash - lexer->file),
				  lexer->file, given);
	if (is_whole && !lexer_is_broken(lexer))
		scan_file(&inner, file, at);
	pieces_select(&reader->writer, reader->writer.section);
	free(given);
	free(file);
	free(at);
}

/* "(" string ")", with the current token at "(" */
static void
read_include(struct reader *reader, size_t section,
	     const struct config_token *name)
{
	struct lexer *lexer = &reader->lexer;
	struct config_token path;

	lexer_next(lexer);
	path = lexer->token;
	if (!lexer_is_broken(lexer))
		lexer_next(lexer);
	if (lexer_is_broken(lexer))
		return;
	if (!config_token_is_value(&path) || !lexer_is_mark(lexer, ')') ||
	    !str_is(name->text, "include")) {
		lexer_fail(lexer, name->line,
			   "an include is written include(\"file\")");
		return;
	}
	if (section != 0) {
		lexer_fail(lexer, name->line,
			   "include stands at top level only");
		return;
	}
	include_file(reader, name, &path);
	if (!lexer_is_broken(lexer))
		lexer_next(lexer);
}

/* name title "{", with the current token at the title */
static void
read_titled(struct reader *reader, size_t section,
	    const struct config_token *name)
{
	struct lexer *lexer = &reader->lexer;
	struct config_token title = lexer->token;

	if (config_token_is_value(&title)) {
		lexer_next(lexer);
		if (lexer_is_mark(lexer, '{')) {
			read_section(reader, section, name, &title);
			return;
		}
	}
	lexer_fail(lexer, name->line,
		   "\"%.*s\" needs = and a value, or { and }",
		   STR_ARG(name->text));
}

static void
read_statement(struct reader *reader, size_t section)
{
	struct lexer *lexer = &reader->lexer;
	struct config_token name = lexer->token;

	if (name.kind != TOKEN_WORD) {
		const char *quote = config_token_is_value(&name) ? "\"" : "";

		lexer_fail(lexer, name.line,
			   "a name belongs here, not %s%.*s%s", quote,
			   STR_ARG(name.text), quote);
		return;
	}
	lexer_next(lexer);
	if (lexer_is_broken(lexer))
		return;
	if (lexer_is_mark(lexer, '='))
		read_assignment(reader, section, &name);
	else if (lexer_is_mark(lexer, '('))
		read_include(reader, section, &name);
	else if (lexer_is_mark(lexer, '{'))
		read_section(reader, section, &name, NULL);
	else
		read_titled(reader, section, &name);
}

/* Until the end of the file or a '}'. */
static void
read_statements(struct reader *reader, size_t section)
{
	while (!lexer_is_broken(&reader->lexer) &&
	       reader->lexer.token.kind != TOKEN_END &&
	       !lexer_is_mark(&reader->lexer, '}'))
		read_statement(reader, section);
}

/* ----------------------------------------------------------------- files */

static void
read_text(struct reader *reader, const char *file, struct str text)
{
	struct lexer *lexer = &reader->lexer;

	reader->writer.pieces = &reader->scan->pieces;
	reader->writer.lexer = lexer;
	reader->scan->has_text = true;
	lexer_begin(lexer, file, text, reader->report);
	read_statements(reader, 0);
	if (!lexer_is_broken(lexer) && lexer->token.kind != TOKEN_END)
		lexer_fail(lexer, lexer->token.line,
			   "this } closes no section");
}

static void
scan_file(struct reader *reader, const char *file, const char *included_at)
{
	struct config_report *report = reader->report;
	struct err err = ERR_INIT;
	size_t len;
	char *text;

	if (reader->depth > SCAN_DEPTH_MAX ||
	    reader->scan->file_count++ >= SCAN_FILES_MAX) {
		config_error(report, included_at,
			     "\"%s\" is one include too many: does it include "
			     "itself?",
			     file);
		return;
	}
	text = reader->read_file(file, SCAN_FILE_MAX, &len, &err);
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
		read_text(reader, file, str_from(text, len));
	free(text);
}

void
config_scan(struct scan *scan, const char *file, scan_read_fn *read_file,
	    struct config_report *report)
{
	struct reader reader = {
		.scan = scan,
		.report = report,
		.read_file = read_file,
	};

	memset(scan, 0, sizeof(*scan));
	scan->sections = mem_zalloc(sizeof(scan->sections[0]));
	scan->sections[0].name = mem_strdup("");
	scan->section_count = 1;
	scan_file(&reader, file, NULL);
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
	pieces_done(&scan->pieces);
	memset(scan, 0, sizeof(*scan));
}
