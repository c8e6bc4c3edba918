/* SPDX-License-Identifier: ISC */
#include "queue/deliver/deliverer.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "lib/net/tls_ctx.h"
#include "lib/work.h"
#include "queue/deliver/pool.h"
#include "queue/deliver/token.h"
#include "queue/route/resolver.h"
#include "queue/route/resolver.h"

struct tls_job {
	struct work_job job;
	struct deliverer *deliverer;
	struct tls_ctx *any, *verified;
	struct err error;
	char *ca; /* owns */
};

static void
run_tls_job(struct work_job *work)
{
	struct tls_job *job = container_of(work, struct tls_job, job);
	/* An old TLS is better than none where none would do as well; where
	 * the operator asked for a verified peer, it is not. */
	struct tls_client_opts any = {.minimum = "1.0"};
	const struct tls_client_opts verified = {.is_verified = true,
						 .minimum = "1.2",
						 .ca = job->ca};

	/* what fails here fails each delivery that needs it, with the reason */
	(void)tls_ctx_client(&verified, &job->verified, &job->error);
	any.same_ca = job->verified;
	(void)tls_ctx_client(&any, &job->any, &job->error);
}

static void
on_tls_job(struct work_job *work)
{
	struct tls_job *job = container_of(work, struct tls_job, job);
	struct deliverer *deliverer = job->deliverer;
	struct list *link = list_pop(&deliverer->tls_waiting);

	deliverer->tls_any = job->any;
	deliverer->tls_verified = job->verified;
	deliverer->tls_error = job->error;
	deliverer->tls_job = NULL;
	job->any = job->verified = NULL;
	for (; link != NULL; link = list_pop(&deliverer->tls_waiting))
		resolver_call_later(deliverer->resolver,
				    container_of(link, struct resolver_later,
						 link));
}

static void
free_tls_job(struct work_job *work)
{
	struct tls_job *job = container_of(work, struct tls_job, job);

	tls_ctx_unref(job->any);
	tls_ctx_unref(job->verified);
	free(job->ca);
	free(job);
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
	list_init(&deliverer->tls_waiting);
	deliverer->tls_job = mem_zalloc(sizeof(*deliverer->tls_job));
	deliverer->tls_job->deliverer = deliverer;
	deliverer->tls_job->ca = mem_strdup(opts->ca);
	deliverer->tls_job->job.run = run_tls_job;
	deliverer->tls_job->job.done = on_tls_job;
	deliverer->tls_job->job.free_job = free_tls_job;
	work_start(loop, &deliverer->tls_job->job, NULL);
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
	deliverer->opts.ca = NULL; /* was read */
	free(old);
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
	if (deliverer->tls_job != NULL)
		work_detach(&deliverer->tls_job->job);
	pool_free(deliverer->pool);
	tokens_free(deliverer->tokens);
	tls_ctx_unref(deliverer->tls_any);
	tls_ctx_unref(deliverer->tls_verified);
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
