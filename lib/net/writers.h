/* SPDX-License-Identifier: ISC */
/*
 * lib/net/writers.h - threads that hand ready bytes to the kernel
 *
 * send(2) is the dearest call of a busy loop: TCP runs in it, over loopback
 * the receiver's half too. A job is bytes and a socket; the loop gives it, a
 * thread calls send once, and the job is back. What to send, and when, stays
 * with the loop; so does what to do when not all of it went.
 *
 * From writers_give until it is back a job belongs to the threads, and its
 * bytes and its socket must stay as they are. All functions are for the loop
 * thread.
 */
#ifndef OSTLER_LIB_NET_WRITERS_H
#define OSTLER_LIB_NET_WRITERS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <uv.h>

#include "lib/list.h"

struct writers;

struct writers_job {
	int fd;
	const void *bytes; /* borrows until it is back */
	size_t len;	   /* > 0 */
	ssize_t result;	   /* once back: what send returned, or -errno */
	/* private */
	struct list link;
	atomic_int state;
};

/* A job comes back because it was wanted, or because not all of it went; it
 * is the loop's again. Only one that was wanted keeps the loop up until then.
 * Never called by the functions below. */
typedef void writers_fn(struct writers_job *job);

/* How many threads would be of use: by the processors we may run on; 0 for a
 * single one. */
unsigned writers_useful(void);

/*
 * Starts threads; they end with writers_free.
 *
 * threads  > 0
 * Returns NULL when not one could be started.
 */
struct writers *writers_new(uv_loop_t *loop, unsigned threads,
			    writers_fn *on_back);

/* Ends the threads; no job may be given at this time. The memory goes in
 * libuv's close callback. NULL is fine. */
void writers_free(struct writers *writers);

/* Gives a job: fd, bytes and len are set, the rest is not. It is sent soon
 * when it is one of many, and else after writers_flush. */
void writers_give(struct writers *writers, struct writers_job *job);

/* Sees to it that a thread is awake for what was given. */
void writers_flush(struct writers *writers);

/* Was the job given, and are all bytes sent? Then it is back, and on_back will
 * not be called for it. */
bool writers_is_back(struct writers_job *job);

/* Asks for on_back. False: all was sent,
 * as with writers_is_back. May be asked again. */
bool writers_want(struct writers *writers, struct writers_job *job);

#endif
