/* SPDX-License-Identifier: ISC */
/*
 * Whether attempts are made, as a file in the spool: made and removed in a
 * worker, durably, so that a restart has what the operator was told.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/mem.h"
#include "lib/work.h"
#include "queue/core.h"

#define PAUSED_FILE "paused"

struct pausing {
	struct work_job job;
	struct queue *queue;
	bool is_paused, was_paused;
	char *dir; /* owns */
	int status;
	void (*on_done)(void *arg, int status);
	void *arg;
};

static int
write_down(const char *dir, bool is_paused)
{
	int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0, fd;

	if (dir_fd < 0)
		return -errno;
	if (is_paused) {
		fd = openat(dir_fd, PAUSED_FILE, O_WRONLY | O_CREAT | O_CLOEXEC,
			    0600);
		if (fd < 0)
			rc = -errno;
		else
			(void)close(fd); /* it is empty */
	} else if (unlinkat(dir_fd, PAUSED_FILE, 0) < 0 && errno != ENOENT) {
		rc = -errno;
	}
	if (rc == 0 && fsync(dir_fd) < 0)
		rc = -errno;
	(void)close(dir_fd); /* what counts is the sync */
	return rc;
}

static void
run(struct work_job *job)
{
	struct pausing *pausing = container_of(job, struct pausing, job);

	pausing->status = write_down(pausing->dir, pausing->is_paused);
}

static void
on_run(struct work_job *job)
{
	struct pausing *pausing = container_of(job, struct pausing, job);
	struct queue *queue = pausing->queue;

	queue->pausing = NULL;
	queue->is_paused =
		pausing->status == 0 ? pausing->is_paused : pausing->was_paused;
	queue_kick(queue);
	pausing->on_done(pausing->arg, pausing->status);
}

static void
on_free(struct work_job *job)
{
	struct pausing *pausing = container_of(job, struct pausing, job);

	free(pausing->dir);
	free(pausing);
}

int
queue_pause(struct queue *queue, bool is_paused,
	    void (*on_done)(void *arg, int status), void *arg)
{
	struct pausing *pausing;

	if (queue->pausing != NULL || queue->is_closing)
		return -EBUSY;
	pausing = mem_zalloc(sizeof(*pausing));
	pausing->queue = queue;
	pausing->is_paused = is_paused;
	pausing->was_paused = queue->is_paused;
	pausing->dir = mem_strdup(queue->spool_dir);
	pausing->on_done = on_done;
	pausing->arg = arg;
	pausing->job.run = run;
	pausing->job.done = on_run;
	pausing->job.free_job = on_free;
	queue->pausing = pausing;
	/* nothing begins from now on; the other way it waits to be durable */
	queue->is_paused = true;
	work_start(queue->loop, &pausing->job, NULL);
	return 0;
}

void
pause_load(struct queue *queue)
{
	char *path = mem_printf("%s/" PAUSED_FILE, queue->spool_dir);

	queue->is_paused = access(path, F_OK) == 0;
	free(path);
}

void
pause_end(struct queue *queue)
{
	struct pausing *pausing = queue->pausing;

	if (pausing == NULL)
		return;
	queue->pausing = NULL;
	work_detach(&pausing->job);
	pausing->on_done(pausing->arg, -ECANCELED);
}
