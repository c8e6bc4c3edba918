/* SPDX-License-Identifier: ISC */
/*
 * server/ctl.h - the parts of ostlerctl
 *
 * A short-lived program with plain blocking calls. Each command returns the
 * exit code (enum in server/daemon.h).
 */
#ifndef OSTLER_SERVER_CTL_H
#define OSTLER_SERVER_CTL_H

#include <jansson.h>
#include <stdbool.h>

#include "lib/err.h"

struct config;

struct ctl {
	const char *config_file;
	struct config *config; /* shares; NULL until ctl_config */
	bool is_json;
	int argc; /* the command's own words, argv[0] is its name */
	char **argv;
};

/* The configuration; on failure prints why and returns an exit code. */
int ctl_config(struct ctl *ctl);

/* ------------------------------------------------ talking to the daemon */

/* Called for each row; borrows it. */
typedef void ctl_row_fn(void *arg, const json_t *row);

/*
 * Sends a request and hands out the rows.
 *
 * args      takes; an object
 * Returns the exit code of the answer, after printing its error if there is
 * one; -1 when no daemon answers (nothing was printed).
 */
int ctl_ask(struct ctl *ctl, const char *command, json_t *args,
	    ctl_row_fn *on_row, void *arg);

/* The same; no daemon: says so and returns EXIT_NO_DAEMON. With --json rows
 * are printed as they are, else by print. */
int ctl_show(struct ctl *ctl, const char *command, json_t *args,
	     ctl_row_fn *print, void *arg);

/* Rows go to print with --json, too. */
int ctl_show_as(struct ctl *ctl, const char *command, json_t *args,
		ctl_row_fn *print, void *arg);

/* One JSON object on a line of standard output. */
void ctl_print_json(const json_t *row);

/* A reply may have several lines: behind the first each gets so many blanks. */
void ctl_print_lines(const char *text, int indent);

/* --------------------------------------------------- without the daemon */

/* What is made in a spool is the daemon's: root becomes its owner, until the
 * other is called. A spool that is not there is told later. */
int ctl_become_owner(const char *dir, struct err *err);
void ctl_become_caller(void);

/* ------------------------------------------------------------ arguments */

/*
 * Takes options off ctl->argv: {"domain", "domain"} reads "--domain D" into
 * args. Returns false after printing what is wrong.
 */
struct ctl_option {
	const char *name; /* without the dashes */
	bool has_value;
};
bool ctl_options(struct ctl *ctl, const struct ctl_option *options,
		 size_t count, json_t *args);

/* A line of standard input, asked for on a terminal without an echo; prompt
 * NULL: it is none. False: there is none, or it is too long. */
bool ctl_ask_password(const char *prompt, char *to, size_t size);

/* ------------------------------------------------------------- commands */

int ctl_status(struct ctl *ctl);
int ctl_queue(struct ctl *ctl);
int ctl_bounces(struct ctl *ctl);
int ctl_auth(struct ctl *ctl);
int ctl_explain(struct ctl *ctl);
int ctl_route(struct ctl *ctl);
int ctl_diagnose(struct ctl *ctl);
int ctl_doctor(struct ctl *ctl);
int ctl_classify(struct ctl *ctl);
void ctl_print_route(void *arg, const json_t *row);
int ctl_setup(struct ctl *ctl);
int ctl_user(struct ctl *ctl);
/* Logins in the database; -1: they cannot be counted from here. */
int ctl_user_count(struct ctl *ctl);
int ctl_show_config(struct ctl *ctl);
int ctl_fsck(struct ctl *ctl);
/* Whether filters of a command want a message of a stopped spool. */
struct spool_found;
bool ctl_scan_matches(const json_t *args, const struct spool_found *found);
int ctl_export(struct ctl *ctl); /* queue export */
int ctl_import(struct ctl *ctl); /* queue import */
int ctl_simple(struct ctl *ctl); /* pause, resume, reload, stop */

#endif
