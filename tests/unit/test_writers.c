/* SPDX-License-Identifier: ISC */
#include "lib/net/writers.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/mem.h"
#include "tests/unit/unit.h"

static uv_loop_t loop;
static struct writers *writers;
static size_t backs;
static struct writers_job *last_back;

static void
on_back(struct writers_job *job)
{
	backs++;
	last_back = job;
}

static void
begin(unsigned threads)
{
	ck_assert_int_eq(uv_loop_init(&loop), 0);
	writers = writers_new(&loop, threads, on_back);
	ck_assert_ptr_nonnull(writers);
	backs = 0;
}

static void
end(void)
{
	writers_free(writers);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	ck_assert_int_eq(uv_loop_close(&loop), 0);
}

static void
pair(int fds[2])
{
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
}

static void
give(struct writers_job *job, int fd, const void *bytes, size_t len)
{
	job->fd = fd;
	job->bytes = bytes;
	job->len = len;
	writers_give(writers, job);
}

START_TEST(a_job_is_sent_after_a_flush_and_back_without_a_word)
{
	struct writers_job job;
	char got[8];
	int fds[2];

	begin(1);
	pair(fds);
	give(&job, fds[0], "250 ok\r\n", 8);
	writers_flush(writers);
	ck_assert_int_eq(recv(fds[1], got, 8, MSG_WAITALL), 8);
	ck_assert_mem_eq(got, "250 ok\r\n", 8);
	while (!writers_is_back(&job))
		(void)sched_yield();
	ck_assert_int_eq(job.result, 8);
	ck_assert(!writers_want(writers, &job));
	/* nobody waits for anything: the loop has nothing to stay for */
	ck_assert_int_eq(uv_run(&loop, UV_RUN_DEFAULT), 0);
	ck_assert_uint_eq(backs, 0);
	end();
	(void)close(fds[0]);
	(void)close(fds[1]);
}
END_TEST

START_TEST(a_job_that_is_wanted_keeps_the_loop_up_until_it_is_back)
{
	struct writers_job job;
	int fds[2];

	begin(1);
	pair(fds);
	give(&job, fds[0], "x", 1);
	/* no thread was woken for one alone, so it cannot be sent yet */
	ck_assert(writers_want(writers, &job));
	ck_assert(writers_want(writers, &job));
	ck_assert_uint_eq(backs, 0);
	writers_flush(writers);
	ck_assert_int_eq(uv_run(&loop, UV_RUN_DEFAULT), 0);
	ck_assert_uint_eq(backs, 1);
	ck_assert_ptr_eq(last_back, &job);
	ck_assert_int_eq(job.result, 1);
	end();
	(void)close(fds[0]);
	(void)close(fds[1]);
}
END_TEST

static void
on_other(uv_idle_t *idle)
{
	(void)idle;
}

/* Runs the loop until a job is back that nobody asked for. */
static void
await_back(void)
{
	while (backs == 0) {
		(void)uv_run(&loop, UV_RUN_NOWAIT);
		(void)sched_yield();
	}
}

START_TEST(what_a_full_socket_does_not_take_comes_back_unasked)
{
	size_t len = (size_t)16 << 20;
	uint8_t *bytes = mem_zalloc(len);
	struct writers_job job, more;
	uv_idle_t other; /* keeps the loop up, as a reading stream does */
	int fds[2];

	begin(2);
	pair(fds);
	ck_assert_int_eq(uv_idle_init(&loop, &other), 0);
	ck_assert_int_eq(uv_idle_start(&other, on_other), 0);
	give(&job, fds[0], bytes, len);
	writers_flush(writers);
	await_back();
	ck_assert_int_gt(job.result, 0);
	ck_assert_int_lt(job.result, (ssize_t)len);
	ck_assert(!writers_is_back(&job)); /* not all of it */
	backs = 0;
	give(&more, fds[0], bytes, len);
	writers_flush(writers);
	await_back();
	ck_assert_ptr_eq(last_back, &more);
	ck_assert_int_eq(more.result, -EAGAIN);
	uv_close((uv_handle_t *)&other, NULL);
	end();
	(void)close(fds[0]);
	(void)close(fds[1]);
	free(bytes);
}
END_TEST

START_TEST(a_peer_that_is_gone_is_an_error_and_no_signal)
{
	struct writers_job job;
	int fds[2];

	(void)signal(SIGPIPE, SIG_DFL);
	begin(1);
	pair(fds);
	(void)close(fds[1]);
	give(&job, fds[0], "x", 1);
	ck_assert(writers_want(writers, &job));
	writers_flush(writers);
	ck_assert_int_eq(uv_run(&loop, UV_RUN_DEFAULT), 0);
	ck_assert_uint_eq(backs, 1);
	ck_assert_int_eq(job.result, -EPIPE);
	end();
	(void)close(fds[0]);
}
END_TEST

/* Every kind of ending at once, again and again: what is asked for in time
 * comes back by the callback, all else without, and each once. */
START_TEST(many_jobs_of_many_sockets_come_back_once_each)
{
	enum { SOCKETS = 40, ROUNDS = 200 };
	static struct writers_job jobs[SOCKETS];
	static bool is_wanted[SOCKETS];
	int fds[SOCKETS][2];

	begin((unsigned)_i + 1);
	for (int i = 0; i < SOCKETS; i++)
		pair(fds[i]);
	for (int round = 0; round < ROUNDS; round++) {
		size_t wanted = 0;

		backs = 0;
		for (int i = 0; i < SOCKETS; i++) {
			give(&jobs[i], fds[i][0], "reply", 5);
			is_wanted[i] = (i + round) % 3 == 0 &&
				       writers_want(writers, &jobs[i]);
			wanted += is_wanted[i];
		}
		writers_flush(writers);
		for (int i = 0; i < SOCKETS; i++) {
			char got[5];

			ck_assert_int_eq(recv(fds[i][1], got, 5, MSG_WAITALL),
					 5);
			ck_assert_mem_eq(got, "reply", 5);
			while (!is_wanted[i] && !writers_is_back(&jobs[i]))
				(void)sched_yield();
		}
		ck_assert_int_eq(uv_run(&loop, UV_RUN_DEFAULT), 0);
		ck_assert_uint_eq(backs, wanted);
	}
	end();
	for (int i = 0; i < SOCKETS; i++) {
		(void)close(fds[i][0]);
		(void)close(fds[i][1]);
	}
}
END_TEST

UNIT_MAIN(
	"writers",
	tcase_add_test(tc, a_job_is_sent_after_a_flush_and_back_without_a_word);
	tcase_add_test(tc,
		       a_job_that_is_wanted_keeps_the_loop_up_until_it_is_back);
	tcase_add_test(tc, what_a_full_socket_does_not_take_comes_back_unasked);
	tcase_add_test(tc, a_peer_that_is_gone_is_an_error_and_no_signal);
	tcase_add_loop_test(tc, many_jobs_of_many_sockets_come_back_once_each,
			    0, 3);)
