/* SPDX-License-Identifier: ISC */
/*
 * queue/history.h - which mail has failed, and why: SPOOL/bounces
 *
 * A line for each recipient that was given up, and for each delivery to an
 * address that had failed before; the newest 16 to 32 MiB of them, in two
 * files. Written behind the loop's back and not synced: a crash may take the
 * last seconds of it, never mail. Loop thread only.
 */
#ifndef OSTLER_QUEUE_HISTORY_H
#define OSTLER_QUEUE_HISTORY_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "lib/list.h"
#include "lib/str.h"
#include "queue/bounce/record.h"

#define HISTORY_FILE	 "bounces" /* and before it "bounces.1" */
#define HISTORY_FILE_MAX ((uint64_t)16 << 20)

struct history;

struct history *history_new(uv_loop_t *loop, const char *spool_dir);
/* What it holds is written still. NULL is fine. */
void history_free(struct history *history);

/* record: borrows. */
void history_add(struct history *history, const struct record *record);

/* May this address have failed before, as far as the files tell? While they
 * are being read all may. */
bool history_has(struct history *history, struct str address);

/* All that was added so far stands in the files. Embedded in its owner. */
struct history_wait {
	struct list link; /* private */
	uint64_t number;
	void (*on_done)(struct history_wait *wait);
};
/* Never calls back before it returns. */
void history_sync(struct history *history, struct history_wait *wait);
/* on_done will not come. */
void history_cancel(struct history_wait *wait);

#endif
