/* SPDX-License-Identifier: ISC */
/*
 * tests/unit/queue_world.h - a queue whose deliveries end as the test says
 *
 * In place of queue/deliver stands a deliverer that looks at the recipient's
 * local part:
 *
 *	ok, later (450), later1 (450 once), never (550), never2 (another host's
 *	550), down (no connection while the world says so), hang (no end), own
 *	(550, our fault)
 */
#ifndef OSTLER_TESTS_UNIT_QUEUE_WORLD_H
#define OSTLER_TESTS_UNIT_QUEUE_WORLD_H

#include <errno.h>
#include <stdatomic.h>

#include "queue/deliver/delivery.h"
#include "queue/spool/disk.h"
#include "tests/unit/deliverer_fake.h"
#include "tests/unit/queue_box.h"

#define AUTHOR	"author@home.test"
#define LOG_MAX (1u << 20)

/* ------------------------------------------------------ the deliverer */

struct deliverer {
	int unused;
};

struct delivery {
	uv_timer_t timer;
	struct list link; /* of hanging ones */
	delivery_fn *on_done;
	void *owner;
	struct outcome *outcomes;
	size_t count;
};

static struct {
	uv_loop_t *loop;
	bool is_down;
	unsigned busy; /* deliveries to come that find a busy host */
	bool refuses_postmaster;
	unsigned started, running, running_most, aborted;
	struct buf log; /* "KEY FROM: TO TO\n" a delivery */
	struct list hanging;
} peer;

static inline void
outcome_for(const struct envelope *envelope, size_t index, struct outcome *out)
{
	const struct recipient *recipient = &envelope->recipients[index];
	const char *to = recipient->address;

	memset(out, 0, sizeof(*out));
	out->mx_ttl_s = 300;
	out->cause = CAUSE_REPLY;
	out->phase = PHASE_RCPT;
	(void)snprintf(out->host, sizeof(out->host), "%s", "mx.test");
	if (strncmp(to, "postmaster@", 11) == 0 && peer.refuses_postmaster)
		to = "never";
	if (strncmp(to, "later1@", 7) == 0 && recipient->attempts >= 1)
		to = "ok";
	if (strncmp(to, "later", 5) == 0) {
		out->kind = OUTCOME_DEFERRED;
		status_set(&out->status, 450, "4.2.0", "come back later");
		(void)snprintf(out->reply, sizeof(out->reply),
			       "450 4.2.0 come back later");
	} else if (strncmp(to, "never", 5) == 0 || strncmp(to, "own", 3) == 0) {
		out->kind = OUTCOME_FAILED;
		status_set(&out->status, 550, "5.1.1", "no such user");
		(void)snprintf(out->reply, sizeof(out->reply),
			       "550 5.1.1 no such user");
		out->is_own_fault = to[0] == 'o';
		if (out->is_own_fault) /* x.1.n is never ours */
			status_set(&out->status, 550, "5.7.1", "no");
		if (strncmp(to, "never2", 6) == 0)
			(void)snprintf(out->host, sizeof(out->host),
				       "mx2.test");
	} else if (peer.busy != 0) {
		peer.busy--;
		outcome_own(out, CAUSE_HOST_BUSY, PHASE_CONNECT,
			    "it has enough");
	} else if (strncmp(to, "down", 4) == 0 && peer.is_down) {
		outcome_own(out, CAUSE_CONNECT_REFUSED, PHASE_CONNECT,
			    "connection refused");
		out->kind = OUTCOME_DEFERRED;
	} else {
		out->kind = OUTCOME_DELIVERED;
		status_set(&out->status, 250, "2.0.0", "taken");
	}
}

static inline void
on_delivery_closed(uv_handle_t *handle)
{
	struct delivery *delivery = handle->data;

	free(delivery->outcomes);
	free(delivery);
}

static inline void
delivery_close(struct delivery *delivery)
{
	list_remove(&delivery->link);
	uv_close((uv_handle_t *)&delivery->timer, on_delivery_closed);
}

static inline void
on_delivery_time(uv_timer_t *timer)
{
	struct delivery *delivery = timer->data;

	/* over before it is told: the queue may close by that */
	peer.running--;
	delivery->on_done(delivery->owner, delivery->outcomes, delivery->count);
	delivery_close(delivery);
}

struct deliverer *
deliverer_new(uv_loop_t *loop, const struct deliverer_opts *opts,
	      struct resolver *resolver, struct spool *spool)
{
	peer.loop = loop;
	return mem_zalloc(sizeof(struct deliverer));
}

void
deliverer_free(struct deliverer *deliverer)
{
	ck_assert_uint_eq(peer.running, 0);
	free(deliverer);
}

struct delivery *
delivery_start(struct deliverer *deliverer,
	       const struct delivery_request *request, delivery_fn *on_done,
	       void *owner)
{
	struct delivery *delivery = mem_zalloc(sizeof(*delivery));
	const struct envelope *envelope = request->envelope;
	bool hangs = false;

	ck_assert_uint_gt(request->recipient_count, 0);
	peer.started++;
	if (++peer.running > peer.running_most)
		peer.running_most = peer.running;
	delivery->on_done = on_done;
	delivery->owner = owner;
	delivery->count = request->recipient_count;
	delivery->outcomes =
		mem_zalloc(delivery->count * sizeof(*delivery->outcomes));
	(void)buf_addf(&peer.log, "%s <%s>:", request->hop->key,
		       envelope->sender);
	for (size_t i = 0; i < delivery->count; i++) {
		size_t index = request->recipients[i];
		const char *to = envelope->recipients[index].address;

		(void)buf_addf(&peer.log, " %s", to);
		hangs |= strncmp(to, "hang", 4) == 0;
		outcome_for(envelope, index, &delivery->outcomes[i]);
	}
	(void)buf_adds(&peer.log, "\n");
	list_init(&delivery->link);
	uv_timer_init(peer.loop, &delivery->timer);
	delivery->timer.data = delivery;
	if (hangs)
		list_push(&peer.hanging, &delivery->link);
	else
		uv_timer_start(&delivery->timer, on_delivery_time, 0, 0);
	return delivery;
}

void
delivery_abort(struct delivery *delivery)
{
	peer.aborted++;
	peer.running--;
	delivery_close(delivery);
}

/* ---------------------------------------------------------- the world */

static const uint32_t retry_s[] = {60, 300};

/* home.test is ours; moved: a.test has a route of its own. */
static inline struct policy *
policy_make(bool is_moved)
{
	struct builder *builder = policy_begin("postmaster@home.test");

	policy_add_domain(builder, "home.test", "maildir:/nowhere/%d/%u");
	if (is_moved)
		policy_add_route(builder, "inner", "a.test");
	return policy_end(builder);
}

static inline void
world_init(struct world *world)
{
	memset(&peer, 0, sizeof(peer));
	buf_init(&peer.log, LOG_MAX);
	list_init(&peer.hanging);
	box_init(world, retry_s, COUNT(retry_s));
	world->policy = policy_make(false);
	box_open(world);
}

static inline void
world_done(struct world *world)
{
	box_done(world);
	buf_done(&peer.log);
}

static inline void
advance(struct world *world, uint64_t s)
{
	world->now_ms += s * 1000;
	queue_configure(world->queue, &world->opts, world->policy);
}

/* Lets the loop turn until nothing moves any more. */
static inline void
settle_down(struct world *world)
{
	unsigned still = 0;

	guard_start(&world->guard);
	while (still < 5) {
		struct queue_stats before = stats_of(world), after;
		unsigned started = peer.started;

		uv_run(&world->loop, UV_RUN_NOWAIT);
		after = stats_of(world);
		still = peer.started == started && after.active == 0 &&
					peer.running == 0 &&
					before.accepted == after.accepted &&
					before.messages == after.messages
				? still + 1
				: 0;
	}
	uv_timer_stop(&world->guard);
}

/* The same, while that many deliveries hang. */
static inline void
settle_down_hanging(struct world *world, unsigned count)
{
	guard_start(&world->guard);
	while (peer.running != count || stats_of(world).active != count)
		uv_run(&world->loop, UV_RUN_ONCE);
	uv_timer_stop(&world->guard);
}

static inline void
log_is(const char *want)
{
	ck_assert_str_eq(buf_text(&peer.log), want);
	buf_clear(&peer.log);
}

/* ------------------------------------------------------------ operators */

static inline void
on_count(void *arg, uint64_t count)
{
	*(uint64_t *)arg = count;
}

static inline uint64_t
apply(struct world *world, enum queue_verb verb,
      const struct queue_filter *filter)
{
	uint64_t count = UINT64_MAX;

	queue_apply(world->queue, verb, filter, on_count, &count);
	ck_assert_uint_eq(count, UINT64_MAX);
	guard_start(&world->guard);
	while (count == UINT64_MAX)
		uv_run(&world->loop, UV_RUN_ONCE);
	uv_timer_stop(&world->guard);
	settle_down(world);
	return count;
}

static const struct queue_filter all;

static inline uint64_t
redirect(struct world *world, const char *via,
	 const struct queue_filter *filter)
{
	uint64_t count = UINT64_MAX;

	queue_redirect(world->queue, via, filter, on_count, &count);
	ck_assert_uint_eq(count, UINT64_MAX);
	guard_start(&world->guard);
	while (count == UINT64_MAX)
		uv_run(&world->loop, UV_RUN_ONCE);
	uv_timer_stop(&world->guard);
	return count;
}

static inline void
on_paused(void *arg, int status)
{
	ck_assert_int_eq(status, 0);
	*(bool *)arg = true;
}

static inline void
pause_all(struct world *world, bool is_paused)
{
	bool is_over = false;

	ck_assert_int_eq(queue_pause(world->queue, is_paused, on_paused,
				     &is_over),
			 0);
	ck_assert(!is_over);
	ck_assert(queue_is_paused(world->queue));
	/* one after the other */
	ck_assert_int_eq(queue_pause(world->queue, is_paused, on_paused,
				     &is_over),
			 -EBUSY);
	guard_start(&world->guard);
	while (!is_over)
		uv_run(&world->loop, UV_RUN_ONCE);
	uv_timer_stop(&world->guard);
	ck_assert(queue_is_paused(world->queue) == is_paused);
}

/* ------------------------------------------- a disk that does not take it */

/* Threads of the spool count them down. */
static struct {
	_Atomic unsigned passing;	 /* syncs before those that fail */
	_Atomic unsigned syncs, renames; /* still to fail */
	_Atomic unsigned reads;		 /* the same */
	_Atomic bool has_gate;		 /* reads wait for it */
	uv_sem_t gate;
} disk_faults;

/* Takes one of those that are left, unless another thread took the last. */
static inline bool
take_fault(_Atomic unsigned *left)
{
	unsigned count = atomic_load(left);

	while (count != 0)
		if (atomic_compare_exchange_weak(left, &count, count - 1)) {
			errno = EIO;
			return true;
		}
	return false;
}

static inline int
faulty_fdatasync(int fd)
{
	if (disk_faults.syncs != 0 && take_fault(&disk_faults.passing))
		return disk_calls_real.fdatasync(fd);
	if (take_fault(&disk_faults.syncs))
		return -1;
	return disk_calls_real.fdatasync(fd);
}

static inline int
faulty_renameat(int dir, const char *from, int to_dir, const char *to)
{
	if (take_fault(&disk_faults.renames))
		return -1;
	return disk_calls_real.renameat(dir, from, to_dir, to);
}

static inline ssize_t
faulty_pread(int fd, void *to, size_t len, off_t at)
{
	if (disk_faults.has_gate) {
		uv_sem_wait(&disk_faults.gate);
		uv_sem_post(&disk_faults.gate); /* it stays open */
	}
	if (take_fault(&disk_faults.reads))
		return -1;
	return disk_calls_real.pread(fd, to, len, at);
}

/* Reads wait from now on, until gate_open. */
static inline void
gate_close(void)
{
	ck_assert_int_eq(uv_sem_init(&disk_faults.gate, 0), 0);
	disk_faults.has_gate = true;
}

static inline void
gate_open(void)
{
	disk_faults.has_gate = false;
	uv_sem_post(&disk_faults.gate);
}

static inline void
disk_make_faulty(void)
{
	static struct disk_calls calls;

	memset(&disk_faults, 0, sizeof(disk_faults));
	calls = disk_calls_real;
	calls.fdatasync = faulty_fdatasync;
	calls.renameat = faulty_renameat;
	calls.pread = faulty_pread;
	disk_use(&calls);
}

#endif
