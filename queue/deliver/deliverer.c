/* SPDX-License-Identifier: ISC */
#include "queue/deliver/deliverer.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "lib/work.h"
#include "queue/deliver/pool.h"
#include "queue/deliver/token.h"
#include "queue/deliver/trust.h"
#include "queue/route/resolver.h"

/* Reading the system's authorities takes tens of milliseconds. */
struct trust_job {
	struct work_job job;
	struct deliverer *deliverer;
	struct trust *trust;
	struct err error;
};

static void
run_trust_job(struct work_job *work)
{
	struct trust_job *job = container_of(work, struct trust_job, job);

	/* what fails here fails each delivery that needs it, with the reason */
	(void)trust_open(NULL, &job->trust, &job->error);
}

static void
free_trust_job(struct work_job *work)
{
	struct trust_job *job = container_of(work, struct trust_job, job);

	trust_unref(job->trust);
	free(job);
}

/* trust: takes; NULL: whoever waits begins again */
static void
deliverer_take_trust(struct deliverer *deliverer, struct trust *trust)
{
	struct list *link = list_pop(&deliverer->trust_waiting);

	trust_unref(deliverer->trust);
	deliverer->trust = trust;
	for (; link != NULL; link = list_pop(&deliverer->trust_waiting))
		resolver_call_later(deliverer->resolver,
				    container_of(link, struct resolver_later,
						 link));
}

static void
on_trust_job(struct work_job *work)
{
	struct trust_job *job = container_of(work, struct trust_job, job);
	struct deliverer *deliverer = job->deliverer;

	deliverer->trust_job = NULL;
	deliverer->trust_error = job->error;
	deliverer_take_trust(deliverer, job->trust);
	job->trust = NULL;
}

static void
deliverer_read_trust(struct deliverer *deliverer)
{
	struct trust_job *job;

	if (deliverer->trust_job != NULL)
		return;
	job = mem_zalloc(sizeof(*job));
	job->deliverer = deliverer;
	job->job.run = run_trust_job;
	job->job.done = on_trust_job;
	job->job.free_job = free_trust_job;
	deliverer->trust_job = job;
	work_start(deliverer->loop, &job->job, NULL);
}

static void
deliverer_drop_job(struct deliverer *deliverer)
{
	if (deliverer->trust_job != NULL)
		work_detach(&deliverer->trust_job->job);
	deliverer->trust_job = NULL;
}

bool
deliverer_wait_trust(struct deliverer *deliverer, struct resolver_later *later)
{
	if (deliverer->trust != NULL || deliverer->trust_error.code != 0)
		return false;
	deliverer_read_trust(deliverer);
	list_push(&deliverer->trust_waiting, &later->link);
	return true;
}

/* Deliveries keep what they began with. */
static void
deliverer_configure_trust(struct deliverer *deliverer, struct trust *trust)
{
	const struct trust *old = deliverer->trust;

	deliverer->trust_error = (struct err)ERR_INIT;
	deliverer_drop_job(deliverer);
	/* sessions can be resumed within one and the same */
	if (trust != NULL && old != NULL && old->print == trust->print)
		return;
	deliverer_take_trust(deliverer,
			     trust != NULL ? trust_ref(trust) : NULL);
}

struct deliverer *
deliverer_new(uv_loop_t *loop, const struct deliverer_opts *opts,
	      struct resolver *resolver, struct spool *spool)
{
	struct deliverer *deliverer = mem_zalloc(sizeof(*deliverer));

	deliverer->loop = loop;
	deliverer->resolver = resolver;
	deliverer->spool = spool;
	deliverer->pool = pool_new();
	deliverer->tokens = tokens_new(loop);
	list_init(&deliverer->trust_waiting);
	deliverer_configure(deliverer, opts);
	return deliverer;
}

void
deliverer_configure(struct deliverer *deliverer,
		    const struct deliverer_opts *opts)
{
	char *old = (char *)(uintptr_t)deliverer->opts.hostname;

	deliverer->opts = *opts;
	deliverer->opts.hostname = mem_strdup(opts->hostname);
	deliverer->opts.trust = NULL; /* is kept apart */
	free(old);
	deliverer_configure_trust(deliverer, opts->trust);
}

void
deliverer_close_idle(struct deliverer *deliverer)
{
	pool_close_idle(deliverer->pool);
}

void
deliverer_forget_marks(struct deliverer *deliverer)
{
	memset(&deliverer->marks, 0, sizeof(deliverer->marks));
}

void
deliverer_slow_hosts(const struct deliverer *deliverer,
		     void (*each)(void *arg, const struct pace_host *host),
		     void *arg)
{
	pace_each(&deliverer->pace, resolver_now_ms(deliverer->resolver), each,
		  arg);
}

void
deliverer_free(struct deliverer *deliverer)
{
	if (deliverer == NULL)
		return;
	assert(deliverer->busy == 0);
	deliverer_drop_job(deliverer);
	pool_free(deliverer->pool);
	tokens_free(deliverer->tokens);
	trust_unref(deliverer->trust);
	free((char *)(uintptr_t)deliverer->opts.hostname);
	free(deliverer);
}

void
deliverer_stats(const struct deliverer *deliverer, struct deliverer_stats *out)
{
	out->idle = (unsigned)pool_idle(deliverer->pool);
	out->connections = deliverer->busy + out->idle;
	out->opened = deliverer->opened;
	out->reused = deliverer->reused;
}
