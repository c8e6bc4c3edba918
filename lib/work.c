/* SPDX-License-Identifier: ISC */
#include "lib/work.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

void
work_init(void)
{
	char count[16];

	(void)snprintf(count, sizeof(count), "%d", WORK_THREADS);
	(void)setenv("UV_THREADPOOL_SIZE", count, 1);
}

void
work_lane_init(struct work_lane *lane, unsigned limit)
{
	lane->limit = limit;
	lane->running = 0;
	lane->waiting = 0;
	list_init(&lane->queue);
}

static void
on_run(uv_work_t *req)
{
	struct work_job *job = container_of(req, struct work_job, req);

	job->run(job);
}

static void on_after(uv_work_t *req, int status);

static void
work_queue(uv_loop_t *loop, struct work_job *job)
{
	int rc = uv_queue_work(loop, &job->req, on_run, on_after);

	assert(rc == 0); /* fails only for a NULL callback */
	(void)rc;
}

static void
on_after(uv_work_t *req, int status)
{
	struct work_job *job = container_of(req, struct work_job, req);
	struct work_lane *lane = job->lane;
	uv_loop_t *loop = req->loop;

	(void)status; /* jobs are never cancelled, only detached */
	if (lane != NULL) {
		struct list *next = list_pop(&lane->queue);

		if (next != NULL) {
			lane->waiting--;
			work_queue(loop,
				   container_of(next, struct work_job, link));
		} else {
			lane->running--;
		}
	}
	if (!job->is_detached && job->done != NULL)
		job->done(job);
	job->free_job(job);
}

void
work_start(uv_loop_t *loop, struct work_job *job, struct work_lane *lane)
{
	list_init(&job->link);
	job->lane = lane;
	job->is_detached = false;
	if (lane != NULL && lane->running == lane->limit) {
		lane->waiting++;
		list_push(&lane->queue, &job->link);
		return;
	}
	if (lane != NULL)
		lane->running++;
	work_queue(loop, job);
}

void
work_detach(struct work_job *job)
{
	job->is_detached = true;
}
