/* SPDX-License-Identifier: ISC */
/*
 * lib/log.h - one line an event, on standard error
 *
 *	struct log_line line;
 *
 *	log_begin(&line, LOG_LEVEL_INFO, "rcpt");
 *	log_text(&line, "session", id);
 *	log_number(&line, "size", size);
 *	log_end(&line);
 *
 * gives "info rcpt session=7F3K2 size=1042", or one JSON object with the same
 * names. Lines go through a buffer to a thread of its own: a full pipe to a
 * stuck reader never blocks the loop. When that buffer is full, lines are
 * dropped, counted, and the count is logged as soon as there is room.
 *
 * Before log_start and after log_stop lines are written at once. Any thread.
 */
#ifndef OSTLER_LIB_LOG_H
#define OSTLER_LIB_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/str.h"

enum log_level {
	LOG_LEVEL_ERROR,
	LOG_LEVEL_WARN,
	LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG,
};

enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

#define LOG_LINE_MAX  4096
#define LOG_VALUE_MAX 1024 /* longer values are cut */

struct log_line {
	size_t len;
	bool is_on; /* false: below the level, nothing is formatted */
	bool is_json;
	char text[LOG_LINE_MAX];
};

/* has_time: put the time in front (not when systemd's journal reads). */
void log_configure(enum log_format format, enum log_level level, bool has_time);
bool log_is_on(enum log_level level);

/* Starts the writer thread; until then lines are written directly. */
void log_start(void);

/* Writes out what is buffered and ends the thread. */
void log_stop(void);

/* Wakes the writer; called once per turn of the loop. */
void log_flush(void);

void log_begin(struct log_line *line, enum log_level level, const char *event);
void log_text(struct log_line *line, const char *key, const char *value);
void log_str(struct log_line *line, const char *key, struct str value);
void log_number(struct log_line *line, const char *key, int64_t value);
void log_bool(struct log_line *line, const char *key, bool value);
void log_textf(struct log_line *line, const char *key, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void log_end(struct log_line *line);

#endif
