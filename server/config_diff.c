/* SPDX-License-Identifier: ISC */
#include "server/config_diff.h"

#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "lib/str.h"
#include "server/config.h"

static bool
is_about_relaying(const char *name)
{
	struct str text = str_of(name);

	return str_starts_nocase(text, "relay.") ||
	       str_starts_nocase(text, "domain.") ||
	       (str_starts_nocase(text, "listener.") &&
		str_ends_nocase(text, str_of(".proxy_from")));
}

static int
compare_names(const void *a, const void *b)
{
	const struct config_entry *const *left = a, *const *right = b;

	return strcmp((*left)->name, (*right)->name);
}

/* The entries that matter, by name; the caller frees the array. */
static const struct config_entry **
sorted(const struct config *config, size_t *out_count)
{
	const struct config_entry **list =
		mem_zalloc((config->entry_count + 1) * sizeof(*list));
	size_t count = 0;

	for (size_t i = 0; i < config->entry_count; i++)
		if (is_about_relaying(config->entries[i].name))
			list[count++] = &config->entries[i];
	qsort(list, count, sizeof(*list), compare_names);
	*out_count = count;
	return list;
}

static const char *
value_of(const struct config_entry *entry)
{
	return entry->value != NULL ? entry->value : "";
}

void
config_diff_relay(const struct config *old_config,
		  const struct config *new_config,
		  void (*each)(void *arg, const char *name,
			       const char *old_value, const char *new_value),
		  void *arg)
{
	size_t old_count, new_count, i = 0, j = 0;
	const struct config_entry **old_list = sorted(old_config, &old_count);
	const struct config_entry **new_list = sorted(new_config, &new_count);

	while (i < old_count || j < new_count) {
		const struct config_entry *old =
			i < old_count ? old_list[i] : NULL;
		const struct config_entry *new =
			j < new_count ? new_list[j] : NULL;
		int order = old == NULL	  ? 1
			    : new == NULL ? -1
					  : strcmp(old->name, new->name);

		if (order < 0)
			each(arg, old->name, value_of(old), NULL);
		else if (order > 0)
			each(arg, new->name, NULL, value_of(new));
		else if (strcmp(value_of(old), value_of(new)) != 0)
			each(arg, old->name, value_of(old), value_of(new));
		i += order <= 0;
		j += order >= 0;
	}
	free(old_list);
	free(new_list);
}
