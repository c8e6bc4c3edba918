/* SPDX-License-Identifier: ISC */
#include "server/config_values.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <confuse.h>

#include "lib/mem.h"
#include "lib/str.h"
#include "server/config_file.h"

/* ------------------------------------------------------------ libconfuse */

/*
 * Each section is read by itself, as if it were a file of its own. Of sections
 * libconfuse (3.3) keeps pointers that it has freed when memory ends while it
 * makes one, and it knows no other memory than malloc's.
 */

/* libconfuse hands its error function no argument. */
static _Thread_local struct {
	struct config_report *report;
	const struct piece *piece;
} parsing;

static void
on_confuse_error(cfg_t *cfg, const char *format, va_list args)
{
	char text[512], *at;

	at = mem_printf("%s:%u", parsing.piece->file,
			parsing.piece->line + (unsigned)cfg->line - 1);
	(void)vsnprintf(text, sizeof(text), format, args);
	config_syntax_error(parsing.report, at, "%s", text);
	free(at);
}

/* Reads the keys of a section, all as texts; NULL when memory is gone. */
static cfg_t *
new_cfg(const char *section)
{
	cfg_opt_t *opts = mem_zalloc((config_key_count + 1) * sizeof(opts[0]));
	cfg_opt_t end = CFG_END();
	size_t count = 0;
	cfg_t *cfg;

	for (size_t i = 0; i < config_key_count; i++) {
		cfg_opt_t one =
			CFG_STR(config_keys[i].name, NULL, CFGF_NODEFAULT);
		cfg_opt_t many =
			CFG_STR_LIST(config_keys[i].name, NULL, CFGF_NODEFAULT);

		if (strcmp(config_keys[i].section, section) == 0)
			opts[count++] =
				config_keys[i].kind == KEY_TEXTS ? many : one;
	}
	opts[count] = end;
	cfg = cfg_init(opts, CFGF_NONE); /* copies them */
	free(opts);
	if (cfg != NULL)
		cfg_set_error_function(cfg, on_confuse_error);
	return cfg;
}

static void
parse(struct config_values *values)
{
	struct scan *scan = &values->scan;

	values->cfgs =
		mem_zalloc(scan->section_count * sizeof(values->cfgs[0]));
	parsing.report = values->report;
	for (size_t i = 0; i < scan->pieces.count; i++) {
		struct piece *piece = &scan->pieces.at[i];
		cfg_t **cfg = &values->cfgs[piece->section];

		parsing.piece = piece;
		if (*cfg == NULL)
			*cfg = new_cfg(scan->sections[piece->section].name);
		if (*cfg == NULL) {
			config_syntax_error(values->report, NULL,
					    "out of memory");
			return;
		}
		if (cfg_parse_buf(*cfg, buf_text(&piece->text)) != 0) {
			config_syntax_error(values->report, NULL,
					    "\"%s\" cannot be read",
					    piece->file);
			return;
		}
	}
}

/* ---------------------------------------------------------------- values */

struct config_section
values_section(const struct config_values *values, const char *name,
	       size_t index)
{
	struct config_section section = {.name = name};

	if (name[0] == '\0') {
		section.scan = &values->scan.sections[0];
		section.cfg = values->cfgs[0];
		return section;
	}
	for (size_t i = 1, nth = 0; i < values->scan.section_count; i++) {
		if (strcmp(values->scan.sections[i].name, name) != 0)
			continue;
		if (nth++ != index)
			continue;
		section.scan = &values->scan.sections[i];
		section.cfg = values->cfgs[i];
		break;
	}
	return section;
}

static struct sourced *
new_list(struct config_values *values, size_t count)
{
	struct sourced *list = mem_zalloc((count + 1) * sizeof(list[0]));

	values->lists = mem_append(values->lists, values->list_count,
				   sizeof(values->lists[0]));
	values->lists[values->list_count++] = list;
	return list;
}

char *
values_keep(struct config_values *values, char *text)
{
	values->texts = mem_append(values->texts, values->text_count,
				   sizeof(values->texts[0]));
	values->texts[values->text_count++] = text;
	return text;
}

/* "a, b" of the table of keys, without places */
static struct sourced_list
preset_of(struct config_values *values, const struct key *key)
{
	struct sourced_list list = {NULL, 0};
	struct sourced *at;
	struct str rest, word;
	size_t commas = 0;

	if (key->preset == NULL)
		return list;
	for (const char *c = key->preset; *c != '\0'; c++)
		commas += *c == ',';
	at = new_list(values, commas + 1);
	list.at = at;
	if (key->kind != KEY_TEXTS) {
		at[list.count++].text = key->preset;
		return list;
	}
	rest = str_of(key->preset);
	while (str_cut(&rest, ',', &word)) {
		word = str_trim(word);
		at[list.count++].text =
			values_keep(values, mem_dup(word.at, word.len));
	}
	return list;
}

struct sourced_list
values_of_key(struct config_values *values,
	      const struct config_section *section, const struct key *key)
{
	const struct scan_item *item =
		section->scan != NULL ? scan_section_find(section->scan, key)
				      : NULL;
	struct sourced_list list = {NULL, 0};
	struct sourced *at;

	if (item == NULL || item->is_broken)
		return preset_of(values, key);
	at = new_list(values, item->count);
	list.at = at;
	for (size_t i = 0; i < item->count; i++) {
		const char *text =
			cfg_getnstr(section->cfg, key->name, (unsigned)i);

		if (text == NULL || i >= cfg_size(section->cfg, key->name)) {
			config_error(values->report, item->at,
				     "\"%s\" cannot be read", key->name);
			break;
		}
		at[list.count++] =
			(struct sourced){.text = text, .at = item->value_at[i]};
	}
	return list;
}

struct sourced_list
values_list(struct config_values *values, const struct config_section *section,
	    const char *name)
{
	return values_of_key(values, section,
			     config_key_find(section->name, name));
}

struct sourced
values_one(struct config_values *values, const struct config_section *section,
	   const char *name)
{
	struct sourced_list list = values_list(values, section, name);

	return list.count != 0 ? list.at[0] : (struct sourced){NULL, NULL};
}

void
values_store(struct config_values *values, const struct config_section *section,
	     void *base)
{
	for (size_t i = 0; i < config_key_count; i++) {
		const struct key *key = &config_keys[i];
		struct sourced_list list;

		if (strcmp(key->section, section->name) != 0)
			continue;
		list = values_of_key(values, section, key);
		if (list.count != 0 || key->kind == KEY_TEXTS)
			(void)config_key_store(key, list, base, values->report);
	}
}

/* ------------------------------------------------------------------ life */

bool
values_read(struct config_values *values, const char *file,
	    struct config_report *report)
{
	memset(values, 0, sizeof(*values));
	values->report = report;
	config_scan(&values->scan, file, config_file_read, report);
	if (report->has_syntax_error || !values->scan.has_text)
		return false;
	parse(values);
	return !report->has_syntax_error;
}

void
values_done(struct config_values *values)
{
	for (size_t i = 0;
	     values->cfgs != NULL && i < values->scan.section_count; i++)
		if (values->cfgs[i] != NULL)
			(void)cfg_free(values->cfgs[i]); /* cannot fail */
	free(values->cfgs);
	config_scan_done(&values->scan);
	for (size_t i = 0; i < values->list_count; i++)
		free(values->lists[i]);
	free(values->lists);
	for (size_t i = 0; i < values->text_count; i++)
		free(values->texts[i]);
	free(values->texts);
}
