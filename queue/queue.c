/* SPDX-License-Identifier: ISC */
#include "queue/queue.h"

#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "policy/limit.h"
#include "queue/bounce/texts.h"
#include "queue/core.h"
#include "queue/deliver/pace.h"
#include "queue/route/sts.h"

#define STS_FILE "sts"

/* Senders whose reports are counted at once. */
#define REPORT_SENDERS 10000

/* ------------------------------------------------------- open and close */

static void
handles_init(struct queue *queue)
{
	/* none of these can fail */
	(void)uv_timer_init(queue->loop, &queue->timer);
	(void)uv_timer_init(queue->loop, &queue->drain);
	(void)uv_idle_init(queue->loop, &queue->soon);
	(void)uv_idle_init(queue->loop, &queue->walk);
	queue->timer.data = queue->drain.data = queue;
	queue->soon.data = queue->walk.data = queue;
	queue->open_handles = 4;
}

static void
queue_free(struct queue *queue)
{
	while (!list_is_empty(&queue->entries))
		entry_end(queue, container_of(queue->entries.next, struct entry,
					      link));
	/* states on their way when the spool was closed */
	while (!list_is_empty(&queue->messages))
		message_drop(container_of(queue->messages.next, struct message,
					  link));
	intake_drop_orphans(queue);
	order_drop_all(queue);
	entry_index_done(&queue->index);
	schedule_done(&queue->schedule);
	faults_done(&queue->faults);
	digest_free(queue->digest);
	limit_free(queue->reports);
	classifier_unref(queue->classifier);
	texts_unref(queue->texts);
	free(queue->language);
	policy_unref(queue->policy);
	free(queue->retry_s);
	free(queue->spool_dir);
	free(queue);
}

static void
on_handle_closed(uv_handle_t *handle)
{
	struct queue *queue = handle->data;
	void (*on_closed)(void *arg) = queue->on_closed;
	void *arg = queue->closed_arg;

	if (--queue->open_handles != 0)
		return;
	queue_free(queue);
	if (on_closed != NULL)
		on_closed(arg);
}

static void
handles_close(struct queue *queue)
{
	uv_close((uv_handle_t *)&queue->timer, on_handle_closed);
	uv_close((uv_handle_t *)&queue->drain, on_handle_closed);
	uv_close((uv_handle_t *)&queue->soon, on_handle_closed);
	uv_close((uv_handle_t *)&queue->walk, on_handle_closed);
}

static struct queue *
queue_new(uv_loop_t *loop, const struct queue_opts *opts, struct policy *policy,
	  const struct queue_events *events, void *owner)
{
	struct queue *queue = mem_zalloc(sizeof(*queue));

	queue->loop = loop;
	queue->spool_dir = mem_strdup(opts->spool_dir);
	queue->policy = policy_ref(policy);
	queue->reports = limit_new(REPORT_SENDERS);
	queue->events = *events;
	queue->owner = owner;
	schedule_init(&queue->schedule, connections_of(opts));
	list_init(&queue->entries);
	list_init(&queue->messages);
	list_init(&queue->runs);
	list_init(&queue->listings);
	list_init(&queue->shows);
	list_init(&queue->orphans);
	list_init(&queue->orders);
	entry_index_init(&queue->index);
	queue_take_opts(queue, opts);
	handles_init(queue);
	return queue;
}

static void
on_spool_closed(void *arg)
{
	handles_close(arg);
}

/* Policies are kept beside the spool's own files. */
static struct sts *
sts_open(struct queue *queue, const struct queue_opts *opts,
	 struct resolver *resolver)
{
	const struct sts_opts sts_opts = {
		.ca = opts->ca,
		.private_targets = opts->private_targets,
	};
	char *file = mem_printf("%s/%s", queue->spool_dir, STS_FILE);
	struct sts *sts = sts_new(queue->loop, &sts_opts, resolver, file);

	free(file);
	return sts;
}

struct sts *
queue_sts(struct queue *queue)
{
	return queue->sts;
}

int
queue_open(uv_loop_t *loop, const struct queue_opts *opts,
	   struct policy *policy, struct resolver *resolver,
	   const struct queue_events *events, void *owner, struct queue **out,
	   struct err *err)
{
	struct queue *queue = queue_new(loop, opts, policy, events, owner);
	struct spool_opts spool_opts = {
		.dir = opts->spool_dir,
		.free_bytes = opts->spool_free,
	};
	struct deliverer_opts deliverer_opts;
	struct spool *spool;
	int rc;

	rc = spool_open(loop, &spool_opts, &intake_callbacks, queue, &spool,
			err);
	if (rc < 0) {
		handles_close(queue);
		return rc;
	}
	queue->spool = spool;
	rc = digest_open(queue, &queue->digest, err);
	if (rc < 0) {
		spool_close(spool, on_spool_closed, queue);
		return rc;
	}
	queue->history = history_new(loop, queue->spool_dir);
	intake_tell_orphans(queue);
	pause_load(queue);
	queue->sts = sts_open(queue, opts, resolver);
	deliverer_opts_of(queue, opts, &deliverer_opts);
	queue->deliverer =
		deliverer_new(loop, &deliverer_opts, resolver, spool);
	queue->resolver = resolver;
	queue->reask = reask_new(resolver);
	route_opts_of(opts, &queue->route_opts);
	queue_kick(queue);
	*out = queue;
	return 0;
}

void
queue_close_step(struct queue *queue)
{
	if (!queue->is_closing || queue->has_closed_spool ||
	    queue->run_count != 0)
		return;
	queue->has_closed_spool = true;
	(void)uv_timer_stop(&queue->drain);
	listing_end_all(queue);
	show_end_all(queue);
	pause_end(queue);
	deliverer_close_idle(queue->deliverer);
	deliverer_free(queue->deliverer);
	sts_free(queue->sts);
	reask_free(queue->reask);
	digest_free(queue->digest);
	queue->digest = NULL;
	history_free(queue->history);
	queue->history = NULL;
	spool_close(queue->spool, on_spool_closed, queue);
}

/* Cuts what still runs; outcomes that are being written are waited for. */
static void
queue_cut(struct queue *queue)
{
	struct list *node, *after;

	list_each_safe (node, after, &queue->runs) {
		struct run *run = container_of(node, struct run, link);
		struct leg *leg = run->leg;

		if (run->reask != NULL) {
			/* what others took must not be sent twice */
			run_hurry(run);
			continue;
		}
		if (run->delivery == NULL && !run->is_waiting)
			continue;
		run_abort(run);
		leg_wait(queue, leg, 0);
	}
	queue_close_step(queue);
}

static void
on_drained(uv_timer_t *timer)
{
	queue_cut(timer->data);
}

void
queue_close(struct queue *queue, uint64_t drain_ms,
	    void (*on_closed)(void *arg), void *arg)
{
	queue->is_closing = true;
	queue->on_closed = on_closed;
	queue->closed_arg = arg;
	(void)uv_timer_stop(&queue->timer);
	(void)uv_idle_stop(&queue->soon);
	/* also with nothing running: on_closed never comes before we return */
	(void)uv_timer_start(&queue->drain, on_drained,
			     queue->run_count != 0 ? drain_ms : 0, 0);
}

void
queue_close_now(struct queue *queue)
{
	if (queue->is_closing && !queue->has_closed_spool)
		(void)uv_timer_start(&queue->drain, on_drained, 0, 0);
}

/* ----------------------------------------------------------- operating */

struct spool *
queue_spool(struct queue *queue)
{
	return queue->spool;
}

struct faults *
queue_faults(struct queue *queue)
{
	return &queue->faults;
}

struct history *
queue_history(struct queue *queue)
{
	return queue->history;
}

struct slow_host_caller {
	void (*each)(void *arg, const struct ip *ip, uint16_t port,
		     unsigned active, unsigned connections, const char *reply);
	void *arg;
};

static void
each_slow_host(void *arg, const struct pace_host *host)
{
	const struct slow_host_caller *caller = arg;

	caller->each(caller->arg, &host->ip, host->port, host->active,
		     host->window, host->reply);
}

void
queue_slow_hosts(const struct queue *queue,
		 void (*each)(void *arg, const struct ip *ip, uint16_t port,
			      unsigned active, unsigned connections,
			      const char *reply),
		 void *arg)
{
	struct slow_host_caller caller = {each, arg};

	deliverer_slow_hosts(queue->deliverer, each_slow_host, &caller);
}

bool
queue_is_paused(const struct queue *queue)
{
	return queue->is_paused;
}

void
queue_stats(const struct queue *queue, struct queue_stats *out)
{
	const uint64_t *counts = queue->schedule.counts;
	const uint64_t *tried = queue->schedule.tried;

	memset(out, 0, sizeof(*out));
	out->messages = queue->index.count;
	out->queued = counts[LEG_QUEUED] + counts[LEG_WAITING];
	out->active = counts[LEG_ACTIVE] + counts[LEG_SETTLING];
	out->held = counts[LEG_HELD];
	out->deferred = tried[LEG_QUEUED] + tried[LEG_WAITING];
	out->accepted = queue->accepted;
	out->delivered = queue->delivered;
	out->bounced = queue->bounced;
	out->expired = queue->expired;
	out->deferrals = queue->deferrals;
	out->entry_bytes = queue->entry_bytes +
			   queue->index.capacity * sizeof(*queue->index.slots) +
			   queue->schedule.due.capacity *
				   sizeof(*queue->schedule.due.nodes);
	spool_stats(queue->spool, &out->spool);
	if (queue->digest != NULL)
		digest_stats(queue->digest, &out->digest);
}
