/* SPDX-License-Identifier: ISC */
/*
 * Everything at once, in an order that a number decides: mail of all kinds,
 * operators' verbs, a moving clock, reloads, pauses, hosts that come and go,
 * a disk that fails now and then, restarts in between. Nothing is freed too
 * early, numbers agree with what is listed, and in the end nothing is left.
 *
 * OSTLER_SLOW=1 takes many more numbers, and watches memory under churn.
 */
#include "tests/unit/queue_world.h"

#include <malloc.h>

#define STEPS	  400
#define RUNS	  3
#define RUNS_SLOW 100

static uint64_t dice;

static unsigned
roll(unsigned sides)
{
	dice ^= dice << 13;
	dice ^= dice >> 7;
	dice ^= dice << 17;
	return (unsigned)(dice >> 33) % sides;
}

/* --------------------------------------------------------------- sending */

static unsigned outstanding;
static bool has_failed; /* a sync */

static void
on_storm_end(void *owner, int status)
{
	(void)status; /* the disk may fail */
	outstanding--;
	free(owner);
}

static void
storm_send(struct world *world)
{
	static const char *const names[] = {"ok",   "ok",     "later1", "later",
					    "down", "never",  "never2", "own",
					    "hang", "later1", "down"};
	static const char *const domains[] = {"a.test", "b.test", "c.test",
					      "home.test"};
	static const unsigned notify[] = {NOTIFY_DEFAULT, NOTIFY_NEVER,
					  NOTIFY_SUCCESS | NOTIFY_FAILURE,
					  NOTIFY_DELAY};
	struct sending *sending = mem_alloc(sizeof(*sending));
	char texts[4][48];
	const char *to[5];
	unsigned count = 1 + roll(4);

	for (unsigned i = 0; i < count; i++) {
		(void)snprintf(texts[i], sizeof(texts[i]), "%s@%s",
			       names[roll(COUNT(names))],
			       domains[roll(COUNT(domains))]);
		to[i] = texts[i];
	}
	to[count] = NULL;
	sending_begin(world, sending, roll(4) != 0 ? AUTHOR : "", to,
		      notify[roll(COUNT(notify))]);
	sending->put.on_end = on_storm_end;
	outstanding++;
}

/* Deliveries that hang end, each as the name behind says. */
static void
storm_unhang(void)
{
	while (!list_is_empty(&peer.hanging)) {
		struct delivery *delivery =
			container_of(peer.hanging.next, struct delivery, link);

		list_remove(&delivery->link);
		uv_timer_start(&delivery->timer, on_delivery_time, 0, 0);
	}
}

/* --------------------------------------------------------------- ordering */

static void
on_some_count(void *arg, uint64_t count)
{
	(void)arg;
	(void)count;
}

static void
storm_filter(struct queue_filter *out)
{
	static const char *const categories[] = {"bad-connection", "other",
						 "quota-issues"};

	memset(out, 0, sizeof(*out));
	switch (roll(5)) {
	case 0:
		out->domain = roll(2) != 0 ? "a.test" : "b.test";
		break;
	case 1:
		out->category = categories[roll(COUNT(categories))];
		break;
	case 2:
		out->state = roll(2) != 0 ? "deferred" : "active";
		break;
	case 3:
		out->sender = roll(2) != 0 ? AUTHOR : "";
		break;
	default:
		break;
	}
}

static void
storm_order(struct world *world)
{
	static const enum queue_verb verbs[] = {QUEUE_RETRY,  QUEUE_RETRY,
						QUEUE_HOLD,   QUEUE_RELEASE,
						QUEUE_REMOVE, QUEUE_BOUNCE};
	struct queue_filter filter;

	storm_filter(&filter);
	if (roll(4) == 0)
		queue_redirect(world->queue, roll(3) != 0 ? "192.0.2.1:25" : "",
			       &filter, on_some_count, NULL);
	else
		queue_apply(world->queue, verbs[roll(COUNT(verbs))], &filter,
			    on_some_count, NULL);
}

static void
on_some_pause(void *arg, int status)
{
	(void)arg;
	(void)status;
}

static bool
on_some_item(void *arg, const struct queue_item *item)
{
	unsigned *count = arg;

	ck_assert_uint_gt(item->recipients_left, 0);
	++*count;
	return true;
}

static void
on_some_end(void *arg)
{
	free(arg);
}

/* ----------------------------------------------------------------- steps */

static void
numbers_agree(struct world *world)
{
	struct queue_stats stats = stats_of(world);

	ck_assert_uint_le(stats.deferred, stats.queued);
	ck_assert_uint_ge(stats.queued + stats.active + stats.held,
			  stats.messages);
	ck_assert_uint_le(peer.running, stats.active);
}

static bool
all_sent(struct world *world)
{
	(void)world;
	return outstanding == 0;
}

static void
storm_restart(struct world *world)
{
	run_until(world, all_sent);
	world_close(world, roll(2) != 0 ? 0 : 20);
	ck_assert_uint_eq(peer.running, 0);
	box_open(world);
}

static void
storm_world(struct world *world)
{
	switch (roll(6)) {
	case 0:
		peer.is_down = !peer.is_down;
		break;
	case 1:
		peer.busy = roll(3);
		break;
	case 2:
		(void)queue_pause(world->queue, roll(3) == 0, on_some_pause,
				  NULL);
		break;
	case 3:
		policy_unref(world->policy);
		world->policy = policy_make(roll(2) != 0);
		advance(world, 0);
		break;
	case 4:
		disk_faults.reads = roll(3);
		break;
	default:
		/* once: two in a row would end accepting */
		if (!has_failed)
			disk_faults.syncs = 1;
		has_failed = true;
		break;
	}
}

static void
storm_step(struct world *world)
{
	unsigned turns = roll(4);

	switch (roll(10)) {
	case 0:
	case 1:
	case 2:
	case 3:
		storm_send(world);
		break;
	case 4:
		advance(world, roll(3) != 0 ? roll(100) : roll(8 * 3600));
		break;
	case 5:
	case 6:
		storm_order(world);
		break;
	case 7:
		storm_world(world);
		break;
	case 8:
		storm_unhang();
		break;
	default:
		if (roll(8) == 0)
			storm_restart(world);
		else
			(void)queue_list(world->queue, &all, on_some_item,
					 on_some_end,
					 mem_zalloc(sizeof(unsigned)));
		break;
	}
	for (unsigned i = 0; i < turns; i++)
		uv_run(&world->loop, UV_RUN_NOWAIT);
	numbers_agree(world);
}

static bool
nobody_works(struct world *world)
{
	storm_unhang();
	return stats_of(world).active == 0;
}

/* All that keeps mail back ends, and days pass. */
static void
storm_calm(struct world *world)
{
	bool is_over = false;

	run_until(world, all_sent);
	disk_faults.syncs = disk_faults.reads = 0;
	peer.is_down = false;
	peer.busy = 0;
	while (queue_pause(world->queue, false, on_paused, &is_over) != 0)
		uv_run(&world->loop, UV_RUN_ONCE);
	run_until_set(world, &is_over);
	for (unsigned i = 0; i < 400 && !is_empty(world); i++) {
		queue_apply(world->queue, QUEUE_RELEASE, &all, on_some_count,
			    NULL);
		advance(world, 3 * 3600);
		for (unsigned turn = 0; turn < 10; turn++)
			uv_run(&world->loop, UV_RUN_NOWAIT);
		run_until(world, nobody_works);
	}
	ck_assert(is_empty(world));
}

START_TEST(a_storm_passes_and_nothing_is_left)
{
	struct queue_stats stats;
	struct world world;

	dice = UINT64_C(0x9e3779b97f4a7c15) * (uint64_t)(_i + 1);
	outstanding = 0;
	has_failed = false;
	disk_make_faulty();
	world_init(&world);
	world.opts.reports_per_sender = (struct units_rate){3, 3600};
	world.opts.digest_s = 86400;
	advance(&world, 0);
	for (unsigned step = 0; step < STEPS; step++)
		storm_step(&world);
	storm_calm(&world);
	stats = stats_of(&world);
	ck_assert_uint_eq(stats.queued + stats.active + stats.held, 0);
	ck_assert_uint_eq(stats.deferred, 0);
	ck_assert_uint_lt(stats.entry_bytes, 65536);
	buf_clear(&peer.log);
	world_reopen(&world);
	run_until_set(&world, &world.is_loaded);
	settle_down(&world);
	run_until(&world, is_empty);
	/* a digest may be due, but no mail comes back */
	ck_assert_ptr_null(strstr(buf_text(&peer.log), "mx "));
	ck_assert_ptr_null(strstr(buf_text(&peer.log), AUTHOR));
	world_done(&world);
	disk_use(NULL);
}
END_TEST

/* ----------------------------------------------------------------- churn */

/* Bytes that the program holds, as far as malloc knows. */
static size_t
held_bytes(void)
{
	struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd;
}

static void
churn(struct world *world, unsigned count)
{
	enum { AT_ONCE = 500 };
	static struct sending sendings[AT_ONCE];

	for (unsigned sent = 0; sent < count; sent += AT_ONCE) {
		for (unsigned i = 0; i < AT_ONCE; i++) {
			char text[48];
			const char *to[] = {text, "later1@b.test", NULL};

			/* destinations come and go as well */
			(void)snprintf(text, sizeof(text), "%s@d%u.test",
				       i % 10 == 0 ? "never" : "ok",
				       (sent + i) % 5000);
			sending_begin(world, &sendings[i], AUTHOR, to, 0);
		}
		for (unsigned i = 0; i < AT_ONCE; i++)
			run_until_set(world, &sendings[i].has_ended);
		settle_down(world);
		advance(world, 70);
		run_until(world, is_empty);
		buf_clear(&peer.log);
	}
}

START_TEST(memory_does_not_grow_with_what_has_passed)
{
	bool is_slow = getenv("OSTLER_SLOW") != NULL;
	struct world world;
	size_t before;

	world_init(&world);
	churn(&world, is_slow ? 50000 : 1000);
	before = held_bytes();
	churn(&world, is_slow ? 1000000 : 2000);
	if (is_slow)
		(void)printf("held: %zu KiB before, %zu KiB after\n",
			     before >> 10, held_bytes() >> 10);
	/* the sanitizers' malloc tells nothing: then both are 0 */
	ck_assert_uint_le(held_bytes(), before + (1 << 20));
	ck_assert_uint_lt(stats_of(&world).entry_bytes, 1 << 20);
	world_done(&world);
}
END_TEST

UNIT_MAIN("queue_storm",
	  tcase_set_timeout(tc, getenv("OSTLER_SLOW") != NULL ? 3600 : 600);
	  tcase_add_loop_test(tc, a_storm_passes_and_nothing_is_left, 0,
			      getenv("OSTLER_SLOW") != NULL ? RUNS_SLOW : RUNS);
	  tcase_add_test(tc, memory_does_not_grow_with_what_has_passed);)
