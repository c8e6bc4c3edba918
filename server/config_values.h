/* SPDX-License-Identifier: ISC */
/*
 * server/config_values.h - what the files of a configuration set, as texts
 *
 * Files are read twice: by the scan (config_scan.h), which knows places, names
 * and repeats, and by libconfuse, which knows values. Both readings stand
 * behind these functions, with the defaults of the table of keys where nothing
 * was written. libconfuse's lexer is one for the process: never two at once.
 */
#ifndef OSTLER_SERVER_CONFIG_VALUES_H
#define OSTLER_SERVER_CONFIG_VALUES_H

#include <stdbool.h>
#include <stddef.h>

#include "policy/builder.h"
#include "server/config_keys.h"
#include "server/config_report.h"
#include "server/config_scan.h"

struct cfg_t;

struct config_values {
	struct config_report *report; /* borrows */
	struct scan scan;	      /* embeds */
	struct cfg_t **cfgs;	/* of scan.sections; NULL: it sets nothing */
	struct sourced **lists; /* what was lent, until the end */
	size_t list_count;
	char **texts; /* of values_keep */
	size_t text_count;
};

/* A section in both readings; lends. */
struct config_section {
	const char *name;
	const struct scan_section *scan; /* NULL: it was not written */
	struct cfg_t *cfg;		 /* NULL also when it sets nothing */
};

/*
 * Reads the files; all that is wrong goes to report, which is borrowed until
 * values_done.
 *
 * Returns false when there is nothing to look at: a syntax error, or no file.
 * values_done is due in any case.
 */
bool values_read(struct config_values *values, const char *file,
		 struct config_report *report);
void values_done(struct config_values *values);

/* The index-th section of that name; "" is the top level. */
struct config_section values_section(const struct config_values *values,
				     const char *name, size_t index);

/* What is set there, else the default, which may be nothing at all. Lends
 * until values_done. */
struct sourced_list values_of_key(struct config_values *values,
				  const struct config_section *section,
				  const struct key *key);
struct sourced_list values_list(struct config_values *values,
				const struct config_section *section,
				const char *name);

/* The one value of a key; text NULL when it has none. */
struct sourced values_one(struct config_values *values,
			  const struct config_section *section,
			  const char *name);

/* Converts and checks all keys of a section into base, at the offsets of the
 * table of keys. */
void values_store(struct config_values *values,
		  const struct config_section *section, void *base);

/* text: takes, lends until values_done */
char *values_keep(struct config_values *values, char *text);

#endif
