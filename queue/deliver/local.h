/* SPDX-License-Identifier: ISC */
/*
 * queue/deliver/local.h - one message into the Maildirs of its recipients
 *
 * One recipient after the other; reads on the loop, writes in a worker.
 */
#ifndef OSTLER_QUEUE_DELIVER_LOCAL_H
#define OSTLER_QUEUE_DELIVER_LOCAL_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "queue/deliver/outcome.h"

struct envelope;
struct local;
struct next_hop;
struct spool;

struct local_request {
	uv_loop_t *loop;
	struct spool *spool;
	const char *hostname;		 /* copied: a reload changes it */
	const struct next_hop *hop;	 /* lent until done */
	const struct envelope *envelope; /* lent until done */
	const size_t *recipients;	 /* lent until done */
	size_t count;			 /* > 0 */
	struct outcome *outcomes;	 /* lent until done; count of them */
};

/* Never calls back before it returns; on_done once, all outcomes filled. */
struct local *local_start(const struct local_request *request,
			  void (*on_done)(void *owner), void *owner);

/* on_done does not come; what is half written disappears. Until on_done. */
void local_abort(struct local *local);

#endif
