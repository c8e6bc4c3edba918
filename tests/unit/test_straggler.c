/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <stdatomic.h>
#include <uv.h>

#include "lib/mem.h"
#include "queue/spool/straggler.h"

static uv_loop_t loop;
static uv_async_t notify;
static struct files files;
static struct straggler straggler;

static void
on_notify(uv_async_t *handle)
{
	(void)handle; /* it ends uv_run: the done list is looked at there */
}

static void
setup(void)
{
	ck_assert_int_eq(uv_loop_init(&loop), 0);
	ck_assert_int_eq(uv_async_init(&loop, &notify, on_notify), 0);
	files = (struct files){.fd = -1};
	straggler_init(&straggler, &files, &notify);
	ck_assert_int_eq(straggler_start(&straggler), 0);
}

static void
teardown(void)
{
	straggler_stop(&straggler);
	straggler_done(&straggler);
	uv_close((uv_handle_t *)&notify, NULL);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	ck_assert_int_eq(uv_loop_close(&loop), 0);
}

static unsigned
count_done(void)
{
	const struct list *node;
	unsigned count = 0;

	pthread_mutex_lock(&straggler.lock);
	list_each (node, &straggler.done)
		count++;
	pthread_mutex_unlock(&straggler.lock);
	return count;
}

static void
give_and_wait(unsigned wanted)
{
	struct straggler_job *job = mem_zalloc(sizeof(*job));

	straggler_give(&straggler, job);
	while (count_done() < wanted)
		(void)uv_run(&loop, UV_RUN_ONCE);
}

START_TEST(jobs_come_back)
{
	for (unsigned i = 1; i <= 10; i++)
		give_and_wait(i);
}
END_TEST

START_TEST(what_is_given_after_a_hurry_comes_back_too)
{
	atomic_store(&straggler.is_stopping, true);
	/* after the first the queue is empty, and the thread must stay */
	give_and_wait(1);
	give_and_wait(2);
}
END_TEST

UNIT_MAIN("straggler", tcase_add_checked_fixture(tc, setup, teardown);
	  tcase_add_test(tc, jobs_come_back);
	  tcase_add_test(tc, what_is_given_after_a_hurry_comes_back_too);)
