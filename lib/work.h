/* SPDX-License-Identifier: ISC */
/*
 * lib/work.h - the one door to libuv's thread pool
 *
 * What blocks (password checks, file reads, configuration) runs in a worker
 * with copies of its inputs; the answer comes back on the loop. An owner that
 * dies first detaches its job: run still finishes, done is not called, and
 * free_job gives the memory back.
 *
 * Jobs of a lane with a limit wait their turn, so that slow ones of one kind
 * never take the whole pool.
 */
#ifndef OSTLER_LIB_WORK_H
#define OSTLER_LIB_WORK_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "lib/list.h"

#define WORK_THREADS 16 /* UV_THREADPOOL_SIZE, set before the first use */

struct work_lane {
	unsigned limit;	  /* jobs of this lane in workers at once, > 0 */
	unsigned running; /* loop thread only */
	size_t waiting;
	struct list queue;
};

struct work_job {
	uv_work_t req; /* private */
	struct list link;
	struct work_lane *lane;
	bool is_detached;

	/* In a worker; must not touch anything but the job. */
	void (*run)(struct work_job *job);
	/* On the loop, later; the job is still valid. NULL when detached. */
	void (*done)(struct work_job *job);
	/* On the loop, last; frees what embeds the job. */
	void (*free_job)(struct work_job *job);
};

/* Sets the pool's size; first thing in main, before any thread. */
void work_init(void);

void work_lane_init(struct work_lane *lane, unsigned limit);

/*
 * Starts the job, or queues it when its lane is full. Never calls back before
 * it returns.
 *
 * job   takes; run, done and free_job are set by the caller
 * lane  borrows as long as jobs are in it; NULL: no limit
 */
void work_start(uv_loop_t *loop, struct work_job *job, struct work_lane *lane);

/* The owner goes: done will not be called. Loop thread only. */
void work_detach(struct work_job *job);

#endif
