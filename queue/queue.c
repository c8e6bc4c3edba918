/* SPDX-License-Identifier: ISC */
#include "queue/queue.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "lib/random.h"
#include "policy/limit.h"
#include "queue/bounce/texts.h"
#include "queue/core.h"
#include "queue/deliver/pace.h"
#include "queue/route/sts.h"

/* Legs looked at in one turn of the loop. */
#define LONGEST_WAIT_S ((uint64_t)86400)
#define PUMP_LEGS      512

/* The longest sleep: the boot clock counts suspended time, timers do not. */
#define SLEEP_MAX_MS 60000

/* Envelopes read at once only to learn their next hops, or to return them. */
#define CHORE_LIMIT 32

#define STS_FILE "sts"

/* Senders whose reports are counted at once. */
#define REPORT_SENDERS 10000

/* A settled message found before the spool can be told so. */
struct orphan {
	struct list link;
	uint64_t id;
};

/* --------------------------------------------------------------- clocks */

uint64_t
queue_wall_ms(const struct queue *queue)
{
	return queue->now_ms != NULL ? queue->now_ms(queue->now_arg)
				     : clock_wall_ms();
}

uint64_t
queue_boot_ms(const struct queue *queue)
{
	return queue->now_ms != NULL ? queue->now_ms(queue->now_arg)
				     : clock_boot_ms();
}

/* Nothing waits longer than that for its next attempt: a moment further off
 * was written by a clock that was wrong. */
static uint64_t
longest_wait_ms(const struct queue *queue)
{
	uint64_t longest_s = LONGEST_WAIT_S;

	for (size_t i = 0; i < queue->rules.retry.count; i++)
		if (2 * (uint64_t)queue->retry_s[i] > longest_s)
			longest_s = 2 * (uint64_t)queue->retry_s[i];
	return longest_s * 1000;
}

uint64_t
queue_boot_of(const struct queue *queue, uint64_t wall_ms)
{
	uint64_t now_ms = queue_wall_ms(queue), longest_ms;
	uint64_t wait_ms = wall_ms > now_ms ? wall_ms - now_ms : 0;

	if (wait_ms > LONGEST_WAIT_S * 1000) {
		longest_ms = longest_wait_ms(queue);
		if (wait_ms > longest_ms)
			wait_ms = longest_ms;
	}
	return queue_boot_ms(queue) + wait_ms;
}

/* --------------------------------------------------------------- legs */

void
queue_count_out(struct queue *queue, const struct entry *entry)
{
	queue->entry_bytes -= entry_bytes(entry);
}

void
queue_count_in(struct queue *queue, const struct entry *entry)
{
	queue->entry_bytes += entry_bytes(entry);
}

void
leg_set_attempts(struct queue *queue, struct leg *leg, uint32_t attempts)
{
	queue->deferred -= leg->attempts != 0;
	queue->deferred += attempts != 0;
	leg->attempts = attempts;
}

void
leg_end(struct queue *queue, struct leg *leg)
{
	struct entry *entry = leg->entry;

	schedule_drop(&queue->schedule, leg);
	leg_set_attempts(queue, leg, 0);
	leg->is_down = false;
	leg->recipients = 0;
	if (leg == &entry->leg)
		return;
	queue_count_out(queue, entry);
	entry_drop_leg(entry, leg);
	queue_count_in(queue, entry);
}

void
leg_wait(struct queue *queue, struct leg *leg, uint64_t due_wall_ms)
{
	static const struct destination_limits chores = {.connections =
								 CHORE_LIMIT};

	if (leg->entry->is_bouncing)
		schedule_offer(&queue->schedule, leg, KEY_BOUNCING, &chores);
	else if (leg->entry->is_held) {
		leg->due.key = queue_boot_of(queue, due_wall_ms);
		schedule_hold(&queue->schedule, leg);
	} else
		schedule_wait(&queue->schedule, leg,
			      queue_boot_of(queue, due_wall_ms));
}

void
limits_of(const struct next_hop *hop, struct destination_limits *out)
{
	out->connections = hop->connections != 0 ? hop->connections : 1;
	out->rate_count = hop->rate_count;
	out->rate_period_s = hop->rate_period_s;
	out->is_remote = hop->kind == HOP_MX;
}

void
addr_stored(const char *text, struct addr *out)
{
	struct str whole = str_of(text);
	const char *at = strrchr(text, '@');

	memset(out, 0, sizeof(*out));
	(void)str_copy(out->text, sizeof(out->text), whole);
	out->local_len = (uint16_t)strlen(out->text);
	if (at == NULL || (size_t)(at - text) > out->local_len)
		return;
	out->domain_len = (uint16_t)(out->local_len - (at - text) - 1);
	out->local_len = (uint16_t)(at - text);
	out->is_utf8 = !str_is_ascii(str_from(out->text, out->local_len));
}

void
leg_route(struct queue *queue, struct leg *leg)
{
	static const struct destination_limits chores = {.connections =
								 CHORE_LIMIT};
	const struct entry *entry = leg->entry;

	if (entry->is_bouncing) {
		schedule_offer(&queue->schedule, leg, KEY_BOUNCING, &chores);
	} else if (entry->is_rerouted) {
		schedule_offer(&queue->schedule, leg, KEY_ROUTING, &chores);
	} else if (entry->recipients_left == 1 && !entry->is_redirected) {
		struct destination_limits limits;
		struct addr sender, recipient;
		struct next_hop hop;

		addr_stored(entry_sender(entry), &sender);
		addr_stored(entry_recipient(entry), &recipient);
		policy_next_hop(queue->policy, &sender, &recipient, &hop, NULL);
		limits_of(&hop, &limits);
		schedule_offer(&queue->schedule, leg, hop.key, &limits);
	} else if (leg->destination != NULL) {
		/* looked at again when it starts */
		struct destination_limits limits = leg->destination->limits;

		schedule_offer(&queue->schedule, leg, leg->destination->key,
			       &limits);
	} else {
		schedule_offer(&queue->schedule, leg, KEY_ROUTING, &chores);
	}
}

/* ------------------------------------------------------------- entries */

/* What its recipients say, before anybody works on it. */
static void
leg_learn(struct queue *queue, struct leg *leg, const struct envelope *envelope,
	  uint64_t *out_next_ms)
{
	const struct recipient *first = NULL;
	enum category category;
	uint32_t attempts = leg->attempts;

	*out_next_ms = UINT64_MAX;
	leg->is_warned = true;
	for (size_t i = 0; i < envelope->recipient_count; i++) {
		const struct recipient *recipient = &envelope->recipients[i];

		if (!recipient_is_left(recipient))
			continue;
		if (first == NULL)
			first = recipient;
		if (recipient->next_try_ms < *out_next_ms)
			*out_next_ms = recipient->next_try_ms;
		leg->is_warned &= recipient->is_warned ||
				  envelope->sender[0] == '\0' ||
				  recipient->notify == NOTIFY_NEVER;
	}
	leg->attempts = 0;
	leg_set_attempts(queue, leg, attempts);
	if (first->last_reply != NULL)
		leg->why = reason_new(first->last_reply);
	if (first->category != NULL &&
	    category_parse(first->category, &category))
		leg->category = (uint8_t)(category + 1);
}

/* A new entry from its envelope, which is taken when there is room for it.
 */
static void
entry_begin(struct queue *queue, struct envelope *envelope, bool is_new)
{
	struct entry *entry = entry_new(envelope);
	uint64_t next_ms;

	list_push(&queue->entries, &entry->link);
	entry_index_add(&queue->index, entry);
	if (entry->id > queue->max_id)
		queue->max_id = entry->id;
	leg_learn(queue, &entry->leg, envelope, &next_ms);
	queue_count_in(queue, entry);
	leg_wait(queue, &entry->leg, next_ms);
	if (!is_new || entry->is_held)
		return;
	message_keep(queue, entry, envelope);
	queue_kick(queue);
}

void
entry_end(struct queue *queue, struct entry *entry)
{
	listing_forget(queue, entry);
	message_detach(entry->message);
	while (entry->leg.next != NULL)
		leg_end(queue, entry->leg.next);
	leg_end(queue, &entry->leg);
	queue_count_out(queue, entry);
	entry_index_remove(&queue->index, entry);
	list_remove(&entry->link);
	entry_free(entry);
}

/* ---------------------------------------------------------------- pump */

/*
 * A destination that is down: the leg waits for its next turn without an
 * attempt of its own, unless that would hide an expiry or a warning.
 */
static bool
leg_send_back(struct queue *queue, struct leg *leg)
{
	const struct destination *to = leg->destination;
	const struct entry *entry = leg->entry;
	bool is_null = entry_sender(entry)[0] == '\0';
	struct retry_plan plan = queue->rules.retry;
	uint64_t now_ms = queue_wall_ms(queue), next_ms;
	uint64_t warn_ms = entry->received_ms + queue->rules.warn_s * 1000;

	if (is_null)
		plan.expire_s = queue->rules.bounce_expire_s;
	if (!leg->is_warned && queue->rules.warn_s != 0 && now_ms >= warn_ms)
		return false;
	if (to->lesson != NULL &&
	    settle_is_past_grace(&queue->rules, to->lesson, entry->received_ms,
				 now_ms))
		return false;
	next_ms = retry_next(&plan, leg->attempts + 1, entry->received_ms,
			     now_ms, random_below(UINT32_MAX));
	if (next_ms == 0)
		return false;
	if (!leg->is_warned && queue->rules.warn_s != 0 && next_ms > warn_ms)
		next_ms = warn_ms;
	if (to->last_error != NULL) {
		reason_unref(leg->why);
		leg->why = reason_ref(to->last_error);
		leg->category = to->last_category;
	}
	leg->is_down = true;
	schedule_wait(&queue->schedule, leg, queue_boot_of(queue, next_ms));
	return true;
}

/* Starts what may start, a bounded number. Returns false when it has to come
 * back at once. */
static bool
queue_pump(struct queue *queue)
{
	struct schedule *schedule = &queue->schedule;
	unsigned budget = PUMP_LEGS;
	struct leg *leg;

	schedule_advance(schedule, queue_boot_ms(queue));
	for (; budget != 0; budget--) {
		leg = schedule_due(schedule);
		if (leg == NULL)
			break;
		leg_route(queue, leg);
	}
	if (!queue->delivers || queue->is_paused)
		return budget != 0;
	for (; budget != 0; budget--) {
		bool is_down;

		leg = schedule_next(schedule, &is_down);
		if (leg == NULL)
			break;
		if (is_down && leg_send_back(queue, leg))
			continue;
		schedule_start(schedule, leg);
		run_start(queue, leg, is_down);
	}
	return budget != 0;
}

static void
on_timer(uv_timer_t *timer)
{
	queue_kick(timer->data);
}

static void
on_soon(uv_idle_t *soon)
{
	struct queue *queue = soon->data;
	uint64_t wakeup_ms, now_ms, sleep_ms = SLEEP_MAX_MS;

	(void)uv_idle_stop(soon); /* what runs now may ask again */
	if (queue->is_closing)
		return;
	if (!queue_pump(queue))
		queue_kick(queue);
	now_ms = queue_boot_ms(queue);
	if (queue->is_loaded)
		digest_tick(queue->digest);
	wakeup_ms = schedule_wakeup(&queue->schedule);
	if (digest_wakeup_ms(queue->digest) != UINT64_MAX) {
		uint64_t digest_ms =
			queue_boot_of(queue, digest_wakeup_ms(queue->digest));

		/* one that is late waits for something: the disk */
		if (digest_ms > now_ms && digest_ms < wakeup_ms)
			wakeup_ms = digest_ms;
	}
	if (wakeup_ms <= now_ms)
		sleep_ms = 1;
	else if (wakeup_ms - now_ms < SLEEP_MAX_MS)
		sleep_ms = wakeup_ms - now_ms;
	(void)uv_timer_start(&queue->timer, on_timer, sleep_ms, 0);
}

void
queue_kick(struct queue *queue)
{
	if (!queue->is_closing)
		(void)uv_idle_start(&queue->soon, on_soon);
}

/* --------------------------------------------------------------- spool */

static void
log_spool(bool is_error, const char *file, const char *text)
{
	struct log_line line;

	log_begin(&line, is_error ? LOG_LEVEL_ERROR : LOG_LEVEL_WARN, "spool");
	log_text(&line, "file", file);
	log_text(&line, "reason", text);
	log_end(&line);
}

static void
settled_before(struct queue *queue, uint64_t id)
{
	struct orphan *orphan;

	if (queue->spool != NULL) {
		spool_done(queue->spool, id);
		return;
	}
	orphan = mem_alloc(sizeof(*orphan));
	orphan->id = id;
	list_init(&orphan->link);
	list_push(&queue->orphans, &orphan->link);
}

static void
on_found(void *owner, const struct spool_found *found)
{
	struct queue *queue = owner;
	struct envelope envelope;
	struct err err = ERR_INIT;
	size_t left = 0;

	if (entry_index_find(&queue->index, found->id) != NULL)
		return;
	if (envelope_parse(found->envelope, found->states, &envelope, &err) <
	    0) {
		char id[SPOOL_ID_MAX];

		/* it stays in the spool, for fsck and people */
		log_spool(true, spool_id_format(found->id, id), err.text);
		return;
	}
	envelope.id = found->id;
	envelope.size = found->body_bytes;
	/* by a clock that was wrong: its age counts from now */
	if (envelope.received_ms > queue_wall_ms(queue))
		envelope.received_ms = queue_wall_ms(queue);
	for (size_t i = 0; i < envelope.recipient_count; i++)
		left += recipient_is_left(&envelope.recipients[i]);
	if (left != 0)
		entry_begin(queue, &envelope, false);
	else
		settled_before(queue, found->id);
	envelope_done(&envelope);
}

static void
on_loaded(void *owner)
{
	struct queue *queue = owner;

	queue->is_loaded = true;
	queue_kick(queue);
	if (queue->events.loaded != NULL)
		queue->events.loaded(queue->owner);
}

static void
on_report(void *owner, bool is_error, const char *file, const char *text)
{
	log_spool(is_error, file, text);
}

static void
on_broken(void *owner)
{
	struct queue *queue = owner;

	if (queue->events.broken != NULL)
		queue->events.broken(queue->owner);
}

static void
on_attempt(void *arg, uint64_t id, const char *host, const struct ip *ip,
	   uint16_t port, const char *next_hop, int64_t ttl_s)
{
	char id_text[SPOOL_ID_MAX], ip_text[IP_TEXT_MAX];
	struct log_line line;

	log_begin(&line, LOG_LEVEL_INFO, "attempt");
	if (!line.is_on)
		return;
	log_text(&line, "id", spool_id_format(id, id_text));
	log_text(&line, "via", next_hop);
	if (host != NULL && host[0] != '\0')
		log_text(&line, "host", host);
	if (ip != NULL && ip->family != IP_NONE) {
		log_text(&line, "ip", ip_format(ip, ip_text));
		log_number(&line, "port", port);
	}
	if (ttl_s >= 0)
		log_number(&line, "ttl", ttl_s);
	log_end(&line);
}

static void
on_slow_down(void *arg, const char *host, const struct ip *ip, uint16_t port,
	     unsigned connections, const char *reply)
{
	char text[IP_TEXT_MAX];
	struct log_line line;

	log_begin(&line, LOG_LEVEL_WARN, "slow-down");
	log_text(&line, "host", host);
	log_text(&line, "ip", ip_format(ip, text));
	log_number(&line, "port", port);
	log_number(&line, "connections", connections);
	log_text(&line, "reply", reply);
	log_end(&line);
}

struct address {
	const struct ip *ip;
	uint16_t port;
};

/* Is it this host that kept it down? */
static bool
is_kept_down_by(const struct destination *to, const void *arg)
{
	const struct address *address = arg;
	const struct outcome *lesson = to->lesson;

	return lesson != NULL && lesson->port == address->port &&
	       ip_equal(&lesson->ip, address->ip);
}

static void
on_revived(void *arg, const struct ip *ip, uint16_t port)
{
	struct queue *queue = arg;
	const struct address address = {ip, port};

	if (schedule_revive(&queue->schedule, is_kept_down_by, &address) != 0)
		queue_kick(queue);
}

/* ------------------------------------------------------- configuration */

static void
deliverer_opts_of(const struct queue *queue, const struct queue_opts *opts,
		  struct deliverer_opts *out)
{
	memset(out, 0, sizeof(*out));
	out->hostname = policy_hostname(queue->policy);
	out->port = opts->port;
	out->connect_timeout_ms = opts->connect_timeout_ms;
	out->idle_connection_ms = opts->idle_connection_ms;
	out->private_targets = opts->private_targets;
	out->ca = opts->ca;
	out->sts = queue->sts;
	out->is_ours = opts->is_ours;
	out->is_ours_arg = opts->is_ours_arg;
	out->on_attempt = on_attempt;
	out->on_slow_down = on_slow_down;
	out->on_revived = on_revived;
	out->on_attempt_arg = (void *)(uintptr_t)queue;
}

static void
route_opts_of(const struct queue_opts *opts, struct route_opts *out)
{
	memset(out, 0, sizeof(*out));
	out->port = opts->port;
	out->private_targets = opts->private_targets;
	out->is_ours = opts->is_ours;
	out->is_ours_arg = opts->is_ours_arg;
}

static unsigned
connections_of(const struct queue_opts *opts)
{
	return opts->connections != 0 ? opts->connections : 1;
}

/* How failures are told apart and told of. */
static void
take_reporting(struct queue *queue, const struct queue_opts *opts)
{
	struct classifier *classifier = queue->classifier;
	struct texts *texts = queue->texts;

	queue->classifier = opts->classifier != NULL
				    ? classifier_ref(opts->classifier)
				    : classifier_builtin();
	queue->texts =
		opts->texts != NULL ? texts_ref(opts->texts) : texts_builtin();
	classifier_unref(classifier);
	texts_unref(texts);
	free(queue->language);
	queue->language =
		mem_strdup(opts->language != NULL ? opts->language : "en");
}

static void
take_opts(struct queue *queue, const struct queue_opts *opts)
{
	struct settle_rules *rules = &queue->rules;
	uint32_t *retry_s;

	/* a configuration without sense must not stop a running daemon */
	retry_s = mem_zalloc((opts->retry_count + 1) * sizeof(*retry_s));
	if (opts->retry_count != 0)
		memcpy(retry_s, opts->retry_s,
		       opts->retry_count * sizeof(*retry_s));
	free(queue->retry_s);
	queue->retry_s = retry_s;
	for (size_t i = 0; i <= opts->retry_count; i++)
		if (retry_s[i] == 0)
			retry_s[i] = 1;
	rules->retry.delay_s = retry_s;
	rules->retry.count = opts->retry_count != 0 ? opts->retry_count : 1;
	rules->retry.expire_s = opts->expire_s;
	rules->bounce_expire_s = opts->bounce_expire_s;
	rules->warn_s = opts->warn_s;
	rules->grace_s = opts->grace_s;
	queue->reports_per_sender = opts->reports_per_sender;
	queue->digest_s = opts->digest_s;
	queue->delivers = opts->deliver;
	queue->now_ms = opts->now_ms;
	queue->now_arg = opts->now_arg;
	take_reporting(queue, opts);
}

void
queue_configure(struct queue *queue, const struct queue_opts *opts,
		struct policy *policy)
{
	struct policy *old = queue->policy;
	struct deliverer_opts deliverer;

	queue->policy = policy_ref(policy);
	take_opts(queue, opts);
	schedule_set_connections(&queue->schedule, connections_of(opts));
	sts_configure(queue->sts,
		      &(struct sts_opts){
			      .ca = opts->ca,
			      .private_targets = opts->private_targets,
		      });
	deliverer_opts_of(queue, opts, &deliverer);
	deliverer_configure(queue->deliverer, &deliverer);
	route_opts_of(opts, &queue->route_opts);
	policy_unref(old);
	queue_kick(queue);
}

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
	while (!list_is_empty(&queue->orphans))
		free(container_of(list_pop(&queue->orphans), struct orphan,
				  link));
	listing_drop_orders(queue);
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

static void
tell_orphans(struct queue *queue)
{
	for (;;) {
		struct list *node = list_pop(&queue->orphans);
		struct orphan *orphan;

		if (node == NULL)
			return;
		orphan = container_of(node, struct orphan, link);
		spool_done(queue->spool, orphan->id);
		free(orphan);
	}
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
	take_opts(queue, opts);
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
	static const struct spool_callbacks callbacks = {
		.found = on_found,
		.loaded = on_loaded,
		.report = on_report,
		.broken = on_broken,
	};
	struct queue *queue = queue_new(loop, opts, policy, events, owner);
	struct spool_opts spool_opts = {
		.dir = opts->spool_dir,
		.free_bytes = opts->spool_free,
	};
	struct deliverer_opts deliverer_opts;
	struct spool *spool;
	int rc;

	rc = spool_open(loop, &spool_opts, &callbacks, queue, &spool, err);
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
	tell_orphans(queue);
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

/* ----------------------------------------------------------- accepting */

enum queue_accepting
queue_accepting(const struct queue *queue)
{
	if (queue->is_closing || spool_is_broken(queue->spool))
		return QUEUE_BROKEN;
	return spool_is_short(queue->spool) ? QUEUE_SHORT : QUEUE_ACCEPTS;
}

static void
put_forget(struct queue_put *put)
{
	envelope_done(put->envelope);
	free(put->envelope);
	put->envelope = NULL;
	put->queue = NULL;
}

static void
on_put_room(void *owner)
{
	struct queue_put *put = owner;

	put->on_room(put->owner);
}

static void
on_put_end(void *owner, int status)
{
	struct queue_put *put = owner;
	struct queue *queue = put->queue;

	if (status == 0 && !queue->has_closed_spool) {
		queue->accepted++;
		entry_begin(queue, put->envelope, true);
	}
	put_forget(put);
	put->on_end(put->owner, status);
}

void
queue_put_begin(struct queue *queue, struct queue_put *put,
		struct envelope *envelope)
{
	put->queue = queue;
	put->envelope = mem_alloc(sizeof(*put->envelope));
	*put->envelope = *envelope;
	envelope_init(envelope);
	put->size = 0;
	put->spool.owner = put;
	put->spool.on_room = on_put_room;
	put->spool.on_end = on_put_end;
	spool_put_begin(queue->spool, &put->spool);
	put->envelope->id = put->spool.id;
}

bool
queue_put_data(struct queue_put *put, const void *bytes, size_t len)
{
	put->size += len;
	return spool_put_data(&put->spool, bytes, len);
}

void
queue_put_end(struct queue_put *put)
{
	struct buf text;

	put->envelope->size = put->size;
	buf_init(&text, SIZE_MAX / 4);
	envelope_format(put->envelope, &text);
	spool_put_end(&put->spool, buf_text(&text));
	buf_done(&text);
}

void
queue_put_abort(struct queue_put *put)
{
	if (put->queue == NULL)
		return;
	spool_put_abort(&put->spool);
	put_forget(put);
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

const struct classifier *
queue_classifier(const struct queue *queue)
{
	return queue->classifier;
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

	memset(out, 0, sizeof(*out));
	out->messages = queue->index.count;
	out->queued = counts[LEG_QUEUED] + counts[LEG_WAITING];
	out->active = counts[LEG_ACTIVE] + counts[LEG_SETTLING];
	out->held = counts[LEG_HELD];
	out->deferred = queue->deferred;
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
