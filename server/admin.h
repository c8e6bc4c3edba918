/* SPDX-License-Identifier: ISC */
/*
 * server/admin.h - who has to repair it hears of it
 *
 * Faults of ours (queue/faults.h) are logged, stand in `ostlerctl status`, and
 * go to queue.alert_command: one JSON object on its standard input, when a
 * fault begins, once an hour while it lasts, and when it is over. The command
 * is run without a shell, one at a time, for half a minute at most, and ten
 * times an hour at most; what is left out by that is counted in the next one.
 */
#ifndef OSTLER_SERVER_ADMIN_H
#define OSTLER_SERVER_ADMIN_H

#include <jansson.h>
#include <stddef.h>
#include <uv.h>

struct daemon;
struct admin;

#define ADMIN_TIMEOUT_MS  30000
#define ADMIN_CALLS_MAX	  10 /* within ADMIN_PERIOD_MS */
#define ADMIN_PERIOD_MS	  3600000
#define ADMIN_WAITING_MAX 20
#define ADMIN_WORDS_MAX	  64 /* of a command */

/* Listens to the daemon's queue from now on. */
struct admin *admin_new(struct daemon *daemon);
/* Before the queue closes; a command that runs is left to itself. NULL is
 * fine. */
void admin_free(struct admin *admin);

/* For status: an array of {"kind", "where", "reason", "since_ms", "last_ms",
 * "count", "advice"}. */
json_t *admin_faults(const struct daemon *daemon);

/* For status: an object with what happened within the last minute. */
json_t *admin_last_minute(const struct daemon *daemon);

/*
 * Parts a command into words: spaces part them, "..." and '...' keep them
 * together, a backslash the character behind it. No shell, no variables.
 *
 * words  gets at most max - 1 words and a NULL; the caller frees them
 * Returns how many, 0 when there is none or a quote is not closed.
 */
size_t admin_words(const char *command, char **words, size_t max);

#endif
