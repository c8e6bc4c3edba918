/* SPDX-License-Identifier: ISC */
#include "lib/net/writers.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "lib/mem.h"

#define THREADS_MAX 8
#define TAKEN_MAX   4  /* jobs that a thread takes at a time */
#define WAKE_AT	    16 /* jobs waiting for each thread that is awake */

enum job_state {
	JOB_GIVEN,  /* nobody waits for it */
	JOB_WANTED, /* the loop waits for on_back */
	JOB_SENT,   /* all of it; the threads do not know it any more */
};

struct writers {
	uv_async_t async; /* something is in back */
	writers_fn *on_back;
	size_t wanted; /* jobs that keep the loop up */

	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct list queue;
	size_t queued;
	struct list back;  /* jobs whose on_back is due */
	unsigned sleeping; /* threads that nobody has called */
	unsigned called;   /* threads that shall wake and have not yet */
	bool is_ending;

	unsigned count;
	pthread_t threads[THREADS_MAX];
};

/* ---- the threads ---- */

static void
send_job(struct writers *writers, struct writers_job *job)
{
	int was = JOB_GIVEN;

	job->result = send(job->fd, job->bytes, job->len,
			   MSG_DONTWAIT | MSG_NOSIGNAL);
	if (job->result < 0)
		job->result = -errno;
	/* once JOB_SENT is seen, the job may be gone */
	if (job->result == (ssize_t)job->len &&
	    atomic_compare_exchange_strong_explicit(&job->state, &was, JOB_SENT,
						    memory_order_release,
						    memory_order_relaxed))
		return;
	pthread_mutex_lock(&writers->lock);
	list_push(&writers->back, &job->link);
	(void)uv_async_send(&writers->async); /* it is open: never fails */
	pthread_mutex_unlock(&writers->lock);
}

/* Waits for work; false: there will be none. The lock is held. */
static bool
await_jobs(struct writers *writers)
{
	while (list_is_empty(&writers->queue)) {
		if (writers->is_ending)
			return false;
		writers->sleeping++;
		while (writers->called == 0 && !writers->is_ending)
			pthread_cond_wait(&writers->wake, &writers->lock);
		if (writers->called != 0)
			writers->called--;
	}
	return true;
}

static void *
run(void *arg)
{
	struct writers *writers = arg;

	pthread_mutex_lock(&writers->lock);
	while (await_jobs(writers)) {
		struct list taken, *node;

		list_init(&taken);
		for (int i = 0; i < TAKEN_MAX; i++) {
			node = list_pop(&writers->queue);
			if (node == NULL)
				break;
			writers->queued--;
			list_push(&taken, node);
		}
		pthread_mutex_unlock(&writers->lock);
		for (node = list_pop(&taken); node != NULL;
		     node = list_pop(&taken))
			send_job(writers,
				 container_of(node, struct writers_job, link));
		pthread_mutex_lock(&writers->lock);
	}
	pthread_mutex_unlock(&writers->lock);
	return NULL;
}

/* Calls a thread when fewer are awake than the queue is worth. The lock is
 * held. */
static void
call_for(struct writers *writers, size_t share)
{
	size_t awake = writers->count - writers->sleeping;

	if (writers->sleeping == 0 || writers->queued < (awake + 1) * share)
		return;
	writers->sleeping--;
	writers->called++;
	pthread_cond_signal(&writers->wake);
}

/* ---- the loop ---- */

void
writers_give(struct writers *writers, struct writers_job *job)
{
	assert(job->len > 0);
	atomic_init(&job->state, JOB_GIVEN);
	pthread_mutex_lock(&writers->lock);
	list_push(&writers->queue, &job->link);
	writers->queued++;
	call_for(writers, WAKE_AT);
	pthread_mutex_unlock(&writers->lock);
}

void
writers_flush(struct writers *writers)
{
	pthread_mutex_lock(&writers->lock);
	/* who is awake looks at the queue before it sleeps */
	if (writers->queued != 0 && writers->sleeping == writers->count)
		call_for(writers, 1);
	pthread_mutex_unlock(&writers->lock);
}

bool
writers_is_back(struct writers_job *job)
{
	return atomic_load_explicit(&job->state, memory_order_acquire) ==
	       JOB_SENT;
}

bool
writers_want(struct writers *writers, struct writers_job *job)
{
	int was = JOB_GIVEN;

	if (!atomic_compare_exchange_strong_explicit(&job->state, &was,
						     JOB_WANTED,
						     memory_order_acquire,
						     memory_order_acquire))
		return was == JOB_WANTED;
	if (writers->wanted++ == 0)
		uv_ref((uv_handle_t *)&writers->async);
	return true;
}

static void
on_async(uv_async_t *async)
{
	struct writers *writers = async->data;
	struct list due, *node;

	list_init(&due);
	pthread_mutex_lock(&writers->lock);
	for (node = list_pop(&writers->back); node != NULL;
	     node = list_pop(&writers->back))
		list_push(&due, node);
	pthread_mutex_unlock(&writers->lock);
	for (node = list_pop(&due); node != NULL; node = list_pop(&due)) {
		struct writers_job *job =
			container_of(node, struct writers_job, link);

		if (atomic_load_explicit(&job->state, memory_order_relaxed) ==
			    JOB_WANTED &&
		    --writers->wanted == 0)
			uv_unref((uv_handle_t *)async);
		writers->on_back(job);
	}
}

/* ---- life ---- */

unsigned
writers_useful(void)
{
	unsigned processors = uv_available_parallelism();

	/* a loop on a processor of its own keeps one thread busy */
	return processors < 2 ? 0 : processors < 8 ? 1 : 2;
}

static void
on_closed(uv_handle_t *handle)
{
	struct writers *writers = handle->data;

	pthread_cond_destroy(&writers->wake);
	pthread_mutex_destroy(&writers->lock);
	free(writers);
}

struct writers *
writers_new(uv_loop_t *loop, unsigned threads, writers_fn *on_back)
{
	struct writers *writers = mem_zalloc(sizeof(*writers));
	sigset_t all, before;

	if (uv_async_init(loop, &writers->async, on_async) < 0) {
		free(writers);
		return NULL;
	}
	uv_unref((uv_handle_t *)&writers->async);
	writers->async.data = writers;
	writers->on_back = on_back;
	list_init(&writers->queue);
	list_init(&writers->back);
	pthread_mutex_init(&writers->lock, NULL);
	pthread_cond_init(&writers->wake, NULL);
	/* signals are for the others: a thread here never waits for one */
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_mutex_lock(&writers->lock);
	while (writers->count < threads && writers->count < THREADS_MAX &&
	       pthread_create(&writers->threads[writers->count], NULL, run,
			      writers) == 0)
		writers->count++;
	pthread_mutex_unlock(&writers->lock);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (writers->count != 0)
		return writers;
	writers_free(writers);
	return NULL;
}

void
writers_free(struct writers *writers)
{
	if (writers == NULL)
		return;
	pthread_mutex_lock(&writers->lock);
	assert(list_is_empty(&writers->queue));
	writers->is_ending = true;
	pthread_cond_broadcast(&writers->wake);
	pthread_mutex_unlock(&writers->lock);
	for (unsigned i = 0; i < writers->count; i++)
		(void)pthread_join(writers->threads[i], NULL);
	uv_close((uv_handle_t *)&writers->async, on_closed);
}
