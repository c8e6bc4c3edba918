/* SPDX-License-Identifier: ISC */
/*
 * server/config_scan.h - which names a configuration sets, and where
 *
 * The tokenizer pass before libconfuse, which stops at the first error, lets
 * later values win silently and forgets file names. It follows includes,
 * reports syntax errors, unknown and repeated names, and unset variables, and
 * leaves the text that libconfuse is to read (config_pieces.h).
 *
 *	file      = *statement
 *	statement = name "=" value / name "=" "{" [ value *( "," value ) ] "}"
 *	          / name [ title ] "{" *statement "}"
 *	          / "include" "(" string ")"
 *	value     = word / "'" text "'" / DQUOTE text DQUOTE
 */
#ifndef OSTLER_SERVER_CONFIG_SCAN_H
#define OSTLER_SERVER_CONFIG_SCAN_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/err.h"
#include "server/config_keys.h"
#include "server/config_pieces.h"
#include "server/config_report.h"

#define SCAN_FILE_MAX	((size_t)4 << 20) /* bytes of one file */
#define SCAN_FILES_MAX	256		  /* included in all */
#define SCAN_DEPTH_MAX	8		  /* includes in includes */
#define SCAN_VALUES_MAX 100000		  /* in all lists together */

/* One statement "name = ..." that was kept. */
struct scan_item {
	const struct key *key;
	char *at;	 /* "FILE:LINE" of the name */
	char **value_at; /* of each value */
	size_t count;
	bool is_broken; /* a variable was not set: reported, no value */
};

/* A section that was kept, or the top level of all files ("", title NULL). */
struct scan_section {
	char *name, *title;
	char *at; /* NULL at top level */
	struct scan_item *items;
	size_t count;
};

struct scan {
	struct scan_section *sections; /* [0]: the top level */
	size_t section_count;
	struct pieces pieces; /* embeds; for libconfuse */
	size_t file_count, value_count;
	bool has_text; /* a file could be read */
};

/*
 * Reads a whole file for the scan: mem_alloc'ed text with a NUL behind len
 * bytes, which the scan frees, or NULL and err.
 */
typedef char *scan_read_fn(const char *path, size_t max, size_t *out_len,
			   struct err *err);

/* Everything that is wrong goes to report. */
void config_scan(struct scan *scan, const char *file, scan_read_fn *read_file,
		 struct config_report *report);
void config_scan_done(struct scan *scan);

/* NULL when it was not set there. */
const struct scan_item *scan_section_find(const struct scan_section *section,
					  const struct key *key);

/* "FILE:LINE" of a key (the n-th value of a list), else of its section, which
 * has no title, else NULL. */
const char *scan_place(const struct scan *scan, const char *section,
		       const char *name, size_t n);

#endif
