/* SPDX-License-Identifier: ISC */
/*
 * lib/file_saver.h - small files that are kept beside the work
 *
 * Writes a file in a worker, one write at a time: whole, so that a reader (and
 * a crash) finds either the old or the new one, or behind its end, with one
 * older file when it has grown. Loop thread only; file_load is for any.
 */
#ifndef OSTLER_LIB_FILE_SAVER_H
#define OSTLER_LIB_FILE_SAVER_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "lib/buf.h"

struct file_saver;

/*
 * path      copied
 * on_saved  NULL, or called on the loop after each write: 0 or a negative
 *           errno; it may start the next one
 */
struct file_saver *file_saver_new(uv_loop_t *loop, const char *path,
				  void (*on_saved)(void *arg, int status),
				  void *arg);
/* A write that runs is finished, unheard. NULL is fine. */
void file_saver_free(struct file_saver *saver);

/* A write runs: no other may be started. */
bool file_saver_is_busy(const struct file_saver *saver);

/* The file becomes what text holds, durably. text: takes what it holds. */
void file_saver_replace(struct file_saver *saver, struct buf *text);

/*
 * The same with a text that is made in the worker, so that a long one does not
 * hold up the loop.
 *
 * fill       writes the text; must touch nothing but arg
 * free_arg   on the loop, last
 * max_bytes  of the text; what does not fit is for fill to notice
 */
void file_saver_write(struct file_saver *saver, size_t max_bytes,
		      void (*fill)(void *arg, struct buf *out),
		      void (*free_arg)(void *arg), void *arg);

/*
 * Adds text to the file, not yet durably; it is called PATH.1 first when it
 * would grow beyond max_bytes by that. text: takes what it holds.
 */
void file_saver_append(struct file_saver *saver, struct buf *text,
		       uint64_t max_bytes);

/* Appends what the file holds, at most what out has room for. Blocks.
 * Returns 0 or a negative errno: -ENOENT, -EFBIG, ... */
int file_load(const char *path, struct buf *out);

#endif
