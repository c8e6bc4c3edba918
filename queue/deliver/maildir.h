/* SPDX-License-Identifier: ISC */
/*
 * queue/deliver/maildir.h - one message into one Maildir
 *
 * A file appears in new/ whole and synced, or not at all: written in tmp/,
 * fsync, link to new/, fsync of the folder. Line ends become LF, as readers
 * of Maildirs expect; a Return-Path and a Delivered-To line come first (RFC
 * 5321, 4.4). Blocking: runs in a worker.
 */
#ifndef OSTLER_QUEUE_DELIVER_MAILDIR_H
#define OSTLER_QUEUE_DELIVER_MAILDIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

#define MAILDIR_PATH_MAX 4096

/*
 * Puts a recipient into a path with %d (domain) and %u (local part, lower
 * case, without the delimiter and what follows it); %% is a percent sign.
 * Pure.
 *
 * pattern    borrows, NUL-terminated
 * delimiter  borrows; "" for none
 * address    borrows; normalised, local part as it was given
 * to         MAILDIR_PATH_MAX bytes
 * Returns NULL, or in a few words why this address cannot name a Maildir:
 * static text.
 */
const char *maildir_path(const char *pattern, const char *delimiter,
			 const char *address, char *to);

struct maildir_file;

/*
 * Makes the Maildir when it is not there (0700, parents too) and begins a
 * file in it.
 *
 * dir        borrows; its path
 * hostname   borrows; for the file's name
 * Returns 0 and a file to be ended, or a negative errno with the path in err.
 */
int maildir_begin(const char *dir, const char *hostname, const char *sender,
		  const char *recipient, struct maildir_file **out,
		  struct err *err);

/* Adds message bytes; CR LF becomes LF, split or not. */
int maildir_write(struct maildir_file *file, const uint8_t *bytes, size_t len,
		  struct err *err);

/* Makes it durable and visible; takes file, also on failure. */
int maildir_end(struct maildir_file *file, struct err *err);

/* Forgets it; takes file. NULL is fine. */
void maildir_abort(struct maildir_file *file);

#endif
