/* SPDX-License-Identifier: ISC */
/*
 * The spool alone, as a closed loop: each of N sessions hands over a message,
 * waits until it is durable, and hands over the next.
 *
 *	spool_bench SIZE SESSIONS SECONDS DIR [accept|cycle] [KEEP%]
 *
 * accept  messages are settled without having been looked at, so that the
 *         log stays what it is
 * cycle   each is read back from memory, its checksum compared, and settled
 * KEEP    this many of a hundred messages are never settled
 *
 * Prints one line: messages a second, latency of the commit in microseconds,
 * commits a second, CPU time a message, bytes of the log, segments.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <uv.h>

#include "lib/crc32c.h"
#include "lib/err.h"
#include "lib/mem.h"
#include "lib/work.h"
#include "queue/spool/spool.h"

#define LATENCIES_MAX (1u << 25)

static struct spool *spool;
static uv_loop_t loop;
static uint8_t *body;
static uint32_t body_crc;
static size_t size;
static bool is_cycle, is_over, is_closed;
static unsigned keep_percent;
static uint64_t deadline, accepted, running;
static uint32_t *latencies;
static size_t latency_count;

struct session {
	struct spool_put put;
	uint64_t began;
};

static void
die(const char *why)
{
	fprintf(stderr, "spool_bench: %s\n", why);
	exit(1);
}

static void
send_one(struct session *session)
{
	static const char envelope[] =
		"time 1795000000000\nfrom <sender@example.com>\n"
		"rcpt <recipient@example.net>\nclient 192.0.2.1\n";

	running++;
	session->began = uv_hrtime();
	spool_put_begin(spool, &session->put);
	(void)spool_put_data(&session->put, body, size);
	spool_put_end(&session->put, envelope);
}

static void
settle(uint64_t id)
{
	size_t len;

	if (is_cycle) {
		const uint8_t *bytes = spool_body(spool, id, &len);

		if (bytes != NULL &&
		    (len != size || crc32c(0, bytes, len) != body_crc))
			die("a body is not what was put");
	}
	if (accepted % 100 < keep_percent)
		spool_forget_body(spool, id);
	else
		spool_done(spool, id);
}

static void
on_end(void *owner, int status)
{
	struct session *session = owner;
	uint64_t now = uv_hrtime();

	running--;
	if (status < 0)
		die(uv_strerror(status));
	accepted++;
	if (latency_count < LATENCIES_MAX)
		latencies[latency_count++] =
			(uint32_t)((now - session->began) / 1000);
	settle(session->put.id);
	if (now < deadline)
		send_one(session);
	else
		is_over = running == 0;
}

static void
on_found(void *owner, const struct spool_found *found)
{
	spool_done(spool, found->id);
}

static void
on_loaded(void *owner)
{
	*(bool *)owner = true;
}

static void
on_report(void *owner, bool is_error, const char *file, const char *text)
{
	fprintf(stderr, "%s: %s\n", file, text);
}

static void
on_broken(void *owner)
{
	die("broken");
}

static void
on_closed(void *arg)
{
	is_closed = true;
}

static double
cpu_us(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return 1e6 * (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static int
by_value(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

	return left < right ? -1 : left > right;
}

/* A second of the same load, so that the log has grown to its size. */
static void
run_for(struct session *sessions, unsigned count, double seconds)
{
	is_over = false;
	accepted = latency_count = 0;
	deadline = uv_hrtime() + (uint64_t)(seconds * 1e9);
	for (unsigned i = 0; i < count; i++)
		send_one(&sessions[i]);
	while (!is_over)
		(void)uv_run(&loop, UV_RUN_ONCE);
}

int
main(int argc, char **argv)
{
	static const struct spool_callbacks callbacks = {on_found, on_loaded,
							 on_report, on_broken};
	struct spool_opts opts = {.dir = argc > 4 ? argv[4] : NULL};
	struct session *sessions;
	struct spool_stats before, after;
	unsigned count;
	bool is_loaded = false;
	struct err err;
	double seconds, cpu, began;

	if (argc < 5) {
		fprintf(stderr, "usage: spool_bench SIZE SESSIONS SECONDS DIR "
				"[accept|cycle] [KEEP%%]\n");
		return 64;
	}
	size = strtoul(argv[1], NULL, 10);
	count = (unsigned)strtoul(argv[2], NULL, 10);
	seconds = strtod(argv[3], NULL);
	is_cycle = argc > 5 && strcmp(argv[5], "cycle") == 0;
	keep_percent = argc > 6 ? (unsigned)strtoul(argv[6], NULL, 10) : 0;
	if (size == 0 || count == 0 || seconds <= 0)
		die("bad argument");
	work_init();
	body = mem_alloc(size);
	for (size_t i = 0; i < size; i++)
		body[i] = (uint8_t)(i % 78 == 77 ? '\n' : ' ' + i * 7 % 94);
	body_crc = crc32c(0, body, size);
	latencies = mem_alloc(LATENCIES_MAX * sizeof(*latencies));
	uv_loop_init(&loop);
	opts.memory_bytes = 256u << 20;
	if (spool_open(&loop, &opts, &callbacks, &is_loaded, &spool, &err) < 0)
		die(err.text);
	while (!is_loaded)
		(void)uv_run(&loop, UV_RUN_ONCE);
	sessions = mem_zalloc(count * sizeof(*sessions));
	for (unsigned i = 0; i < count; i++) {
		sessions[i].put.owner = &sessions[i];
		sessions[i].put.on_end = on_end;
	}
	run_for(sessions, count, 1.0);
	spool_stats(spool, &before);
	cpu = cpu_us();
	began = (double)uv_hrtime();
	run_for(sessions, count, seconds);
	seconds = ((double)uv_hrtime() - began) / 1e9;
	cpu = cpu_us() - cpu;
	spool_stats(spool, &after);
	qsort(latencies, latency_count, sizeof(*latencies), by_value);
	printf("%s size=%zu sessions=%u keep=%u msgs/s=%.0f p50_us=%u "
	       "p99_us=%u max_us=%u commits/s=%.0f msgs/commit=%.1f "
	       "cpu_us/msg=%.1f log_MiB=%llu segments=%llu in_files=%llu\n",
	       is_cycle ? "cycle" : "accept", size, count, keep_percent,
	       (double)accepted / seconds, latencies[latency_count / 2],
	       latencies[latency_count * 99 / 100],
	       latencies[latency_count - 1],
	       (double)(after.commits - before.commits) / seconds,
	       (double)accepted / (double)(after.commits - before.commits + 1),
	       cpu / (double)accepted,
	       (unsigned long long)after.log_bytes >> 20,
	       (unsigned long long)after.segments,
	       (unsigned long long)after.in_files);
	spool_close(spool, on_closed, NULL);
	while (!is_closed)
		(void)uv_run(&loop, UV_RUN_ONCE);
	free(sessions);
	free(latencies);
	free(body);
	return 0;
}
