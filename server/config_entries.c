/* SPDX-License-Identifier: ISC */
#include "server/config_entries.h"

#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/mem.h"
#include "server/config.h"
#include "server/config_keys.h"
#include "server/config_listener.h"
#include "server/config_values.h"

static bool
is_secret(const struct key *key, const char *text)
{
	return strcmp(key->name, "token_command") == 0 ||
	       (strcmp(key->name, "options") == 0 &&
		(strcasestr(text, "pass") != NULL ||
		 strcasestr(text, "secret") != NULL ||
		 strcasestr(text, "pw=") != NULL));
}

/* One value, or {"a", "b"}. */
static char *
spell_values(const struct key *key, struct sourced_list list)
{
	struct buf text;
	char *spelt;

	if (key->kind != KEY_TEXTS) {
		if (list.count == 0)
			return mem_strdup("");
		return mem_strdup(
			list.at[0].text[0] != '\0' &&
					is_secret(key, list.at[0].text)
				? "(hidden)"
				: list.at[0].text);
	}
	buf_init(&text, 1 << 20);
	(void)buf_adds(&text, "{"); /* what is too long to print is cut */
	for (size_t i = 0; i < list.count; i++)
		(void)buf_addf(&text, "%s\"%s\"", i != 0 ? ", " : "",
			       is_secret(key, list.at[i].text)
				       ? "(hidden)"
				       : list.at[i].text);
	(void)buf_adds(&text, "}");
	spelt = mem_strdup(buf_text(&text));
	buf_done(&text);
	return spelt;
}

/* name, value: take */
static void
add_entry(struct config *config, char *name, char *value, const char *at)
{
	config->entries = mem_append(config->entries, config->entry_count,
				     sizeof(config->entries[0]));
	config->entries[config->entry_count++] =
		(struct config_entry){.name = name,
				      .value = value,
				      .at = mem_strdup(at)};
}

/* On unix sockets alone the default is another one than the key's. */
static bool
is_in_the_clear(const struct config *config, const char *listener)
{
	for (size_t i = 0; i < config->listener_count; i++)
		if (strcmp(config->listeners[i].name, listener) == 0)
			return config->listeners[i].tls == LISTENER_TLS_NONE;
	return false;
}

/* What the daemon uses where nothing, or less, was written. title: of the
 * section, or NULL. */
static const char *
effective(const struct config *config, const struct key *key, const char *title)
{
	if (strcmp(key->section, "listener") == 0 && title != NULL &&
	    strcmp(key->name, "tls") == 0 && is_in_the_clear(config, title))
		return "none";
	if (key->section[0] != '\0')
		return NULL;
	if (strcmp(key->name, "hostname") == 0)
		return config->hostname;
	if (strcmp(key->name, "postmaster") == 0)
		return config->postmaster;
	if (strcmp(key->name, "qualify") == 0)
		return config->qualify;
	return NULL;
}

static void
add_section_entries(struct config *config, struct config_values *values,
		    const struct config_section *section)
{
	const char *title = section->scan != NULL ? section->scan->title : NULL;

	for (size_t i = 0; i < config_key_count; i++) {
		const struct key *key = &config_keys[i];
		struct sourced_list list;
		const char *value, *at;

		if (strcmp(key->section, section->name) != 0)
			continue;
		list = values_of_key(values, section, key);
		value = effective(config, key, title);
		at = list.count != 0 ? list.at[0].at : NULL;
		if (at == NULL && section->scan != NULL) {
			const struct scan_item *item =
				scan_section_find(section->scan, key);

			at = item != NULL ? item->at : NULL;
		}
		add_entry(config,
			  mem_printf("%s%s%s%s%s", section->name,
				     title != NULL ? "." : "",
				     title != NULL ? title : "",
				     section->name[0] != '\0' ? "." : "",
				     key->name),
			  value != NULL ? mem_strdup(value)
					: spell_values(key, list),
			  at);
	}
}

void
config_entries_add(struct config *config, struct config_values *values)
{
	for (size_t i = 0; i < config_section_count; i++) {
		const char *name = config_sections[i];
		struct config_section section = values_section(values, name, 0);

		if (config_section_kind(name) != SECTION_TITLED) {
			add_section_entries(config, values, &section);
			continue;
		}
		if (strcmp(name, "listener") == 0 && section.scan == NULL)
			config_listener_entries(config, add_entry);
		for (size_t k = 0; section.scan != NULL; k++) {
			add_section_entries(config, values, &section);
			section = values_section(values, name, k + 1);
		}
	}
}
