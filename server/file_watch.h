/* SPDX-License-Identifier: ISC */
/*
 * server/file_watch.h - tells when one of some files was changed
 *
 * Looks at them now and then, in a worker: certificates are renewed by
 * programs that tell nobody, often by moving a link, which no notification
 * of the kernel shows for certain. A file that is not there just now counts
 * as it was. The owner may free it at any time.
 */
#ifndef OSTLER_SERVER_FILE_WATCH_H
#define OSTLER_SERVER_FILE_WATCH_H

#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct file_watch;

/*
 * on_change  called on the loop, once for each look that found a change;
 *            path is lent
 */
struct file_watch *
file_watch_new(uv_loop_t *loop,
	       void (*on_change)(void *owner, const char *path), void *owner);

/*
 * Watches these files from now on instead of those before; how they are now
 * is what changes are measured by.
 *
 * paths        borrows (copies) count of them
 * interval_ms  between two looks; 0: never
 */
void file_watch_set(struct file_watch *watch, const char *const *paths,
		    size_t count, uint64_t interval_ms);

/* How often all of them were looked at since file_watch_set. */
uint64_t file_watch_looks(const struct file_watch *watch);

void file_watch_free(struct file_watch *watch); /* NULL is fine */

#endif
