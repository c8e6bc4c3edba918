/* SPDX-License-Identifier: ISC */
/*
 * server/sendmail_submit.h - one message through the local submission socket
 *
 * Plain blocking calls, for the short-lived sendmail command.
 */
#ifndef OSTLER_SERVER_SENDMAIL_SUBMIT_H
#define OSTLER_SERVER_SENDMAIL_SUBMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sysexits.h>

#include "lib/buf.h"

struct submit_job {
	const char *program; /* for messages on standard error */
	const char *socket;
	const char *sender; /* "": the null sender */
	char **recipients;
	size_t recipient_count;
	const char *notify; /* "SUCCESS,FAILURE", or NULL */
	const char *ret;    /* "FULL", "HDRS" or NULL */
	const char *envid;  /* xtext, or NULL */
	bool is_8bit, is_utf8;
	bool is_verify;	    /* stop before DATA, say of each how it is */
	bool is_verbose;    /* print the conversation */
	struct buf *header; /* goes first; with CR LF, and no empty line */
	FILE *body;	    /* the rest, from its start, with CR LF */
};

/*
 * Sends it, or nothing of it. More recipients than the relay takes for one
 * message go in several transactions, all of which get as far as the end of
 * the message before the first one gets that. What fails for now even so, when
 * others were taken, is tried again for some minutes; then it is said who has
 * not got it.
 *
 * Returns one of sysexits.h, after printing what was wrong: EX_OK,
 * EX_TEMPFAIL (no daemon, or 4xx), EX_NOUSER, EX_NOHOST, EX_NOPERM,
 * EX_DATAERR, EX_UNAVAILABLE (refused), EX_PROTOCOL.
 */
int submit_run(const struct submit_job *job);

/* Joins standard input and output with the socket, until either ends. */
int submit_pass_through(const char *program, const char *socket);

#endif
