/* SPDX-License-Identifier: ISC */
/*
 * tests/crash/model.h - what a disk may hold after a crash
 *
 * A file system in memory that knows of each change whether a sync has made
 * it durable. It promises what POSIX does and no more: without a sync each
 * sector of 512 bytes has any of the contents it had since it was durable,
 * a file any of its sizes, and each name stands for any of the files it
 * stood for, whatever became of the file's content and of other names. A
 * rename never loses both names.
 *
 * After a failed sync of a file the bytes that it should have covered may be
 * on the disk or not, and no later sync changes that: Linux marks the pages
 * clean and writes them again only if they are written to again, which a
 * later write to the same sector does, with all that the sector then holds.
 * A size that such bytes brought is as open as they are (XFS waits for them
 * with it, ext4 does not). What is the file system's own, names and files
 * that were cut, is another matter: its journal commits that with a later
 * sync, or takes no more changes at all, so a later sync that succeeds covers
 * it.
 *
 * A failed syncfs is taken for one that met bad pages of message files, below
 * msg/: a bad page of any other file would make that file's own sync fail,
 * too, because the kernel tells of it by each descriptor.
 */
#ifndef OSTLER_TESTS_CRASH_MODEL_H
#define OSTLER_TESTS_CRASH_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/crash/trace.h"

#define SECTOR 512u

struct model;
struct node;

struct model *model_new(void);
void model_free(struct model *model);

/*
 * Applies one event of a trace; marks change nothing.
 *
 * bytes  event->len bytes behind it, lent as long as the model lives
 * seq    number of the event, rising
 */
void model_apply(struct model *model, const struct trace_event *event,
		 const uint8_t *bytes, uint64_t seq);

/* The file or folder an inode number stands for now, or NULL. */
struct node *model_node(struct model *model, uint64_t inode);

/* Bytes of a file as a program reads them now, zeros behind its end. The
 * caller's to free. */
uint8_t *model_read(struct model *model, uint64_t inode, uint64_t at,
		    size_t len);

/*
 * What a successful TRACE_SYNC_END covers in a file: changes whose seq is
 * below *out_before. False if it does not cover that file, or failed.
 */
bool model_covers(struct model *model, const struct trace_event *event,
		  const struct node *node, uint64_t *out_before);

enum crash_kind {
	CRASH_NOTHING, /* only what was synced */
	CRASH_RANDOM,  /* any sector, name, size by itself */
	CRASH_CUT,     /* in order, up to a torn last write */
	CRASH_ALL,     /* as after kill -9 */
	CRASH_NAMES,   /* folders as they were, contents at random */
	CRASH_BYTES,   /* contents as they were, folders at random */
};
#define CRASH_KINDS 6u

/*
 * Writes a state that the disk may be in now as files below a folder, which
 * is there and empty.
 *
 * dice  not 0; the same give the same state
 */
void model_write(struct model *model, enum crash_kind kind, uint64_t *dice,
		 const char *dir);

unsigned model_throw(uint64_t *dice, unsigned sides);

#endif
