/* SPDX-License-Identifier: ISC */
/*
 * server/daemon.h - the process: its parts, phases, reload and end
 *
 *	STARTING -> RUNNING -> DRAINING -> CLOSING -> gone
 *
 * STARTING binds sockets, drops privileges, then opens keys, spool and login
 * database; RUNNING accepts; DRAINING takes nothing new and gives running
 * transactions and deliveries `drain`; CLOSING writes out the spool.
 */
#ifndef OSTLER_SERVER_DAEMON_H
#define OSTLER_SERVER_DAEMON_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "lib/err.h"
#include "lib/list.h"

struct admin;
struct auth_server;
struct buf;
struct config;
struct control;
struct file_watch;
struct listeners;
struct queue;
struct resolver;
struct smtpd;
struct trust;

enum daemon_phase {
	DAEMON_STARTING,
	DAEMON_RUNNING,
	DAEMON_DRAINING,
	DAEMON_CLOSING,
};

/* Exit codes of both programs (sysexits). */
enum {
	EXIT_DONE = 0,
	EXIT_NO = 1,
	EXIT_USAGE = 64,
	EXIT_NO_DAEMON = 69,
	EXIT_SYSTEM = 71,
	EXIT_SPOOL = 75,
	EXIT_PERMISSION = 77,
	EXIT_CONFIG = 78,
};

struct daemon {
	uv_loop_t *loop;
	const char *config_file;
	bool is_verbose;     /* -v: whatever the configuration says */
	uint64_t started_ms; /* wall clock */
	enum daemon_phase phase;
	int exit_code;

	struct config *config; /* shares: the current one */
	struct listeners *listeners;
	struct resolver *resolver;
	struct queue *queue;
	struct auth_server *auth;
	struct smtpd *smtpd;
	struct trust *trust;	  /* shares: of tls.ca; NULL: the system's */
	struct control *control;  /* NULL: none */
	struct admin *admin;	  /* NULL: not serving */
	struct file_watch *watch; /* certificates; NULL: not serving */

	bool is_reloading, reload_again;
	struct list reload_waiting; /* for the next one */
	bool is_hurried;	    /* told twice to stop */
	/* what the last reload said was wrong; NULL: it went well */
	char *reload_error;
	uint64_t reloaded_ms; /* wall clock of the last good one; 0: none */
	uint64_t reloads;

	uv_signal_t signals[4];
	uv_prepare_t prepare;
	uv_timer_t drain_timer;
};

/*
 * Runs until told to stop; returns the exit code.
 *
 * is_verbose  log level debug whatever the configuration says
 */
int daemon_run(const char *config_file, bool is_verbose);

/* `ostlerd -t`: prints what is wrong on standard error, all at once. */
int daemon_check(const char *config_file);

/*
 * Reads the configuration again, in a worker; a bad one is not taken.
 *
 * on_done  NULL, or called once: errors is NULL when it was taken, else the
 *          "FILE:LINE: text" lines, lent for the call
 */
void daemon_reload(struct daemon *daemon,
		   void (*on_done)(void *arg, const char *errors), void *arg);

/* As SIGTERM; the second time it stops now. */
void daemon_stop(struct daemon *daemon, const char *why);

#endif
