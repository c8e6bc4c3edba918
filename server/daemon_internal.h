/* SPDX-License-Identifier: ISC */
/*
 * server/daemon_internal.h - the daemon, for the files that are it
 *
 * daemon.c   start, signals, end
 * reload.c   another configuration meanwhile
 */
#ifndef OSTLER_SERVER_DAEMON_INTERNAL_H
#define OSTLER_SERVER_DAEMON_INTERNAL_H

#include <stdbool.h>

#include "lib/log.h"
#include "server/daemon.h"

struct queue_opts;

#define DAEMON_ERRORS_MAX (1u << 20)

/* --------------------------------------------------- daemon.c for reload.c */

/* Logs the event config, once for each line, as what=line. */
void daemon_log_lines(struct buf *lines, enum log_level level,
		      const char *what);

/* The log as a configuration wants it, or more of it. */
void daemon_log_configure(const struct config *config, bool is_verbose);

/* The queue's share of the current configuration; pointers are lent. */
void daemon_queue_opts(struct daemon *daemon, struct queue_opts *out);

/* --------------------------------------------------- reload.c for daemon.c */

/* Watches the files of TLS that the current configuration names; one that
 * changes is a reason to reload. */
void daemon_watch_files(struct daemon *daemon);

#endif
