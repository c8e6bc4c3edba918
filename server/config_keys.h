/* SPDX-License-Identifier: ISC */
/*
 * server/config_keys.h - every name a configuration may use
 *
 * One table of names with kind, default and range: the tokenizer asks it what
 * is known, the loader converts by it, `ostlerctl config` prints by it.
 */
#ifndef OSTLER_SERVER_CONFIG_KEYS_H
#define OSTLER_SERVER_CONFIG_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/builder.h"
#include "server/config_report.h"

enum key_kind {
	KEY_TEXT,   /* char *; NULL when empty */
	KEY_PATH,   /* char *: relative ones start at the file that names it */
	KEY_CHOICE, /* char *: one of choices */
	KEY_TEXTS,  /* char **, NULL-terminated */
	KEY_BOOL,   /* bool */
	KEY_COUNT,  /* unsigned */
	KEY_PORT,   /* uint16_t */
	KEY_SIZE,   /* uint64_t bytes */
	KEY_MS,	    /* uint64_t, a duration in milliseconds */
	KEY_S,	    /* uint64_t, a duration in seconds */
	KEY_RATE,   /* struct units_rate */
};

/* No place in a struct: the loader reads it by hand. */
#define KEY_BY_HAND SIZE_MAX

struct key {
	const char *section; /* "" at top level */
	const char *name;
	enum key_kind kind;
	const char *preset;  /* default; NULL: none. Lists: "a, b" */
	size_t offset;	     /* in struct config, or the section's struct */
	uint64_t min, max;   /* KEY_COUNT, _SIZE, _MS, _S (in seconds) */
	const char *choices; /* KEY_CHOICE: " none starttls " */
};

enum section_kind {
	SECTION_UNKNOWN,
	SECTION_TOP,	/* "" */
	SECTION_SINGLE, /* name { } */
	SECTION_TITLED, /* name "title" { } */
};

extern const struct key config_keys[];
extern const size_t config_key_count;

enum section_kind config_section_kind(const char *section);

/* NULL when there is none. */
const struct key *config_key_find(const char *section, const char *name);

/* The known name (of a key or section there) nearest to a mistyped one, or
 * NULL when none is near. */
const char *config_key_near(const char *section, const char *name);

/* The names of all sections, in the order they are printed. */
extern const char *const config_sections[];
extern const size_t config_section_count;

/*
 * Converts and stores a value.
 *
 * values  borrows; at least one for all kinds but KEY_TEXTS
 * base    the struct that key->offset counts in; frees what stood there
 * Returns false when an error was reported; base is then unchanged.
 */
bool config_key_store(const struct key *key, struct sourced_list values,
		      void *base, struct config_report *report);

#endif
