/* SPDX-License-Identifier: ISC */
/*
 * tests/unit/queue_box.h - a queue over a real spool in a folder of its own
 *
 * What every test of the queue needs, whoever plays the deliverer: a loop, a
 * clock that the test moves, a policy, opening, closing, and sending. The
 * test adds its peer: world_init calls box_init and box_open, world_done ends
 * with box_done.
 */
#ifndef OSTLER_TESTS_UNIT_QUEUE_BOX_H
#define OSTLER_TESTS_UNIT_QUEUE_BOX_H

#include "tests/unit/guard.h"

#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "lib/mem.h"
#include "policy/builder.h"
#include "queue/queue.h"
#include "queue/route/resolver.h"

struct world {
	uv_loop_t loop;
	uv_timer_t guard;
	char dir[64];
	struct policy *policy;	   /* owns; set before box_open */
	struct resolver *resolver; /* owns, or NULL */
	struct queue_opts opts;
	struct queue *queue; /* NULL: closed */
	uint64_t now_ms;
	bool is_clock_running; /* now_ms is what the loop's clock began at */
	bool is_loaded, is_closed;
};

/* ------------------------------------------------------------- a policy */

static inline void
on_policy_report(void *arg, enum builder_severity severity, const char *at,
		 const char *text)
{
	if (severity == BUILDER_ERROR)
		ck_abort_msg("%s: %s", at != NULL ? at : "", text);
}

static inline struct builder *
policy_begin(const char *postmaster)
{
	struct builder *builder = builder_new(on_policy_report, NULL);
	const struct builder_relay relay = {
		.hostname = {"relay.test", "t:1"},
		.postmaster = {postmaster, "t:1"},
		.mx_points_here = {"defer", NULL},
		.sender_binding = {"domain", NULL},
	};

	builder_set_relay(builder, &relay);
	return builder;
}

static inline void
policy_add_domain(struct builder *builder, const char *name,
		  const char *deliver)
{
	const struct builder_domain domain = {
		.name = {name, "t:2"},
		.deliver = {deliver, "t:2"},
		.delimiter = {"+", NULL},
	};

	builder_add_domain(builder, &domain);
}

/* A route of its own for one domain, over this machine's port 25. */
static inline void
policy_add_route(struct builder *builder, const char *name, const char *domain)
{
	const struct sourced domains[] = {{domain, "t:3"}};
	const struct sourced via[] = {{"smtp:127.0.0.1:25", "t:3"}};
	const struct builder_route route = {
		.name = {name, "t:3"},
		.for_domains = {domains, 1},
		.via = {via, 1},
		.tls = {"opportunistic", NULL},
		.family = {"any", NULL},
		.connections = 10,
		.messages_per_connection = 100,
	};

	builder_add_route(builder, &route);
}

static inline struct policy *
policy_end(struct builder *builder)
{
	struct policy *policy = builder_finish(builder);

	ck_assert_ptr_nonnull(policy);
	return policy;
}

/* -------------------------------------------------------- time, and waits */

static inline uint64_t
world_now(void *arg)
{
	const struct world *world = arg;

	return world->now_ms +
	       (world->is_clock_running ? uv_now(&world->loop) : 0);
}

/* Runs the loop until it is so. */
static inline void
run_until(struct world *world, bool (*is_so)(struct world *world))
{
	guard_start(&world->guard);
	while (!is_so(world))
		uv_run(&world->loop, UV_RUN_ONCE);
	uv_timer_stop(&world->guard);
}

/* Runs the loop until a callback has set it. */
static inline void
run_until_set(struct world *world, const bool *claim)
{
	guard_start(&world->guard);
	while (!*claim)
		uv_run(&world->loop, UV_RUN_ONCE);
	uv_timer_stop(&world->guard);
}

static inline struct queue_stats
stats_of(struct world *world)
{
	struct queue_stats stats;

	queue_stats(world->queue, &stats);
	return stats;
}

static inline bool
is_empty(struct world *world)
{
	return stats_of(world).messages == 0;
}

/* -------------------------------------------------------- open and close */

static inline void
on_loaded(void *owner)
{
	((struct world *)owner)->is_loaded = true;
}

static inline void
on_broken(void *owner)
{
	ck_abort_msg("the spool broke");
}

/* A folder, a loop, and options that tests change. */
static inline void
box_init(struct world *world, const uint32_t *delays_s, size_t delay_count)
{
	memset(world, 0, sizeof(*world));
	uv_loop_init(&world->loop);
	uv_timer_init(&world->loop, &world->guard);
	uv_unref((uv_handle_t *)&world->guard);
	(void)snprintf(world->dir, sizeof(world->dir), "test_queue.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(world->dir));
	world->now_ms = 1795271234567;
	world->opts = (struct queue_opts){
		.spool_dir = world->dir,
		.retry_s = delays_s,
		.retry_count = delay_count,
		.expire_s = 5 * 86400,
		.warn_s = 4 * 3600,
		.bounce_expire_s = 86400,
		.grace_s = 3600,
		.connections = 200,
		.port = 25,
		.deliver = true,
		.now_ms = world_now,
		.now_arg = world,
	};
}

static inline void
box_open(struct world *world)
{
	static const struct queue_events events = {on_loaded, on_broken};
	struct err err = ERR_INIT;

	world->is_loaded = world->is_closed = false;
	ck_assert_msg(queue_open(&world->loop, &world->opts, world->policy,
				 world->resolver, &events, world, &world->queue,
				 &err) == 0,
		      "%s", err.text);
}

static inline void
on_closed(void *arg)
{
	((struct world *)arg)->is_closed = true;
}

static inline void
world_close(struct world *world, uint64_t drain_ms)
{
	queue_close(world->queue, drain_ms, on_closed, world);
	run_until_set(world, &world->is_closed);
	world->queue = NULL;
}

static inline void
world_reopen(struct world *world)
{
	world_close(world, 1000);
	box_open(world);
}

static inline int
on_file(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

/* The test's own handles are closing, or closed. */
static inline void
box_done(struct world *world)
{
	if (world->queue != NULL)
		world_close(world, 0);
	resolver_free(world->resolver);
	uv_close((uv_handle_t *)&world->guard, NULL);
	uv_run(&world->loop, UV_RUN_DEFAULT);
	ck_assert_int_eq(uv_loop_close(&world->loop), 0);
	policy_unref(world->policy);
	(void)nftw(world->dir, on_file, 16, FTW_DEPTH | FTW_PHYS);
}

/* ------------------------------------------------------------- sending */

struct sending {
	struct queue_put put;
	bool has_ended;
	int status;
};

static inline void
on_room(void *owner)
{
}

static inline void
on_end(void *owner, int status)
{
	struct sending *sending = owner;

	sending->has_ended = true;
	sending->status = status;
}

/* to: NULL-terminated. */
static inline void
sending_begin(struct world *world, struct sending *sending, const char *from,
	      const char *const *to, unsigned notify)
{
	static const char body[] =
		"From: author\r\nSubject: test\r\n\r\n.one dot\r\nend\r\n";
	struct envelope envelope;

	memset(sending, 0, sizeof(*sending));
	envelope_init(&envelope);
	envelope.sender = mem_strdup(from);
	envelope.received_ms = world_now(world);
	envelope.listener = mem_strdup("test");
	envelope.client = mem_strdup("192.0.2.1");
	for (; *to != NULL; to++)
		envelope_add(&envelope, *to)->notify = (uint8_t)notify;
	sending->put.owner = sending;
	sending->put.on_room = on_room;
	sending->put.on_end = on_end;
	queue_put_begin(world->queue, &sending->put, &envelope);
	(void)queue_put_data(&sending->put, body, strlen(body));
	queue_put_end(&sending->put);
	ck_assert(!sending->has_ended);
}

/* Returns the id of a message that is durable. to: NULL-terminated. */
static inline uint64_t
send_to(struct world *world, const char *from, const char *const *to,
	unsigned notify)
{
	struct sending sending;
	uint64_t id;

	sending_begin(world, &sending, from, to, notify);
	id = sending.put.spool.id;
	run_until_set(world, &sending.has_ended);
	ck_assert_int_eq(sending.status, 0);
	return id;
}

#define SEND(world, from, ...)                                                 \
	send_to(world, from, (const char *const[]){__VA_ARGS__, NULL}, 0)

#endif
