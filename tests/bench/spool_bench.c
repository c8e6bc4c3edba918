/* SPDX-License-Identifier: ISC */
/*
 * The spool alone, as a closed loop: each of N sessions hands over a message,
 * waits until it is durable, and hands over the next.
 *
 *	spool_bench [-a AHEAD] [-k KEEP] [-f FILES] [-l LAG] [-w WARM] [-m MIB]
 *	            SIZE SESSIONS SECONDS DIR [cycle | accept]
 *
 * cycle   each message is read back, its checksum compared, and settled
 * accept  nothing is settled while time is taken. The log is made large
 *         before, and the run ends early when it is nearly full, so that
 *         neither growth nor old mail is measured. DIR may be used again.
 * AHEAD   so many KiB of a turn's records are written while it goes on, and
 *         then parts of twice that
 * KEEP    this many of a hundred messages are never settled
 * FILES   so many files are made of old mail each second before any of it is
 *         copied within the log
 * LAG     a message is settled when that many others came behind it
 * WARM    seconds of the same load before time is taken (1)
 * MIB     and so much of it, however long it takes
 *
 * Prints one line: messages a second, latency of the commit in microseconds,
 * commits a second, CPU time a message, the log at the end of the run, what
 * was in files, and the log a while after.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "lib/crc32c.h"
#include "lib/err.h"
#include "lib/mem.h"
#include "lib/work.h"
#include "queue/spool/spool.h"
#include "tests/bench/figures.h"

#define ACCEPT_SEGMENTS 48u /* of 64 MiB: made before accept is measured */
#define SETTLE_AT_ONCE	10000u

struct session {
	struct spool_put put;
	uint64_t began;
};

static struct spool *spool;
static uv_loop_t loop;
static uint8_t *body;
static uint32_t body_crc;
static size_t size;
static enum { CYCLE, ACCEPT } mode;
static unsigned keep_percent, files_per_s;
static size_t lag, ahead;
static double warm_s = 1, seconds;
static uint64_t warm_bytes;
static const char *dir;
static unsigned session_count;
static struct session *sessions;

static bool is_loaded, is_over, is_closed, is_settling;
static uint64_t deadline, accepted, running, bytes_left;
static struct latencies latencies;

/* ids not settled yet, in a ring of lag, or all in accept */
static uint64_t *ids;
static size_t id_count, id_size;

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
keep_id(uint64_t id)
{
	if (id_count == id_size) {
		id_size = 2 * id_size + 65536;
		ids = mem_resize(ids, id_size, sizeof(*ids));
	}
	ids[id_count++] = id;
}

static void
read_back(uint64_t id)
{
	size_t len;
	const uint8_t *bytes = spool_body(spool, id, &len);

	if (bytes != NULL && (len != size || crc32c(0, bytes, len) != body_crc))
		die("a body is not what was put");
}

static void
settle(uint64_t id)
{
	if (mode == CYCLE)
		read_back(id);
	if (accepted % 100 < keep_percent) {
		spool_forget_body(spool, id);
		return;
	}
	if (lag != 0) {
		uint64_t *place = &ids[accepted % lag];
		uint64_t before = *place;

		*place = id;
		spool_forget_body(spool, id);
		id = before;
	}
	if (!is_settling)
		keep_id(id);
	else if (id != 0)
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
	latencies_add(&latencies, session->began, now);
	settle(session->put.id);
	if (now < deadline && bytes_left > size) {
		bytes_left -= size;
		send_one(session);
	} else {
		is_over = running == 0;
	}
}

static void
on_found(void *owner, const struct spool_found *found)
{
	keep_id(found->id);
}

static void
on_loaded(void *owner)
{
	is_loaded = true;
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

/* Sessions until time is over, or so many bytes were put. */
static void
run_sessions(double for_s, uint64_t bytes)
{
	is_over = false;
	accepted = latencies.count = 0;
	bytes_left = bytes;
	deadline = uv_hrtime() + (uint64_t)(for_s * 1e9);
	for (unsigned i = 0; i < session_count; i++)
		send_one(&sessions[i]);
	while (!is_over)
		(void)uv_run(&loop, UV_RUN_ONCE);
}

static void
settle_kept(void)
{
	struct spool_stats stats;

	for (size_t i = 0; i < id_count; i++) {
		spool_done(spool, ids[i]);
		if (i % SETTLE_AT_ONCE == 0)
			(void)uv_run(&loop, UV_RUN_NOWAIT);
	}
	id_count = 0;
	do {
		(void)uv_run(&loop, UV_RUN_ONCE);
		spool_stats(spool, &stats);
	} while (stats.messages != 0);
}

/* Settles what was kept, and goes on until the log is free: that is said by
 * the batches that follow. */
static void
settle_all(void)
{
	struct spool_stats stats;

	settle_kept();
	spool_stats(spool, &stats);
	while (mode == ACCEPT && stats.segments - stats.segments_free > 2) {
		run_sessions(0, 0);
		settle_kept();
		spool_stats(spool, &stats);
	}
}

/* Bytes that may be put before the log has to do something about them. */
static uint64_t
free_bytes(void)
{
	struct spool_stats stats;
	uint64_t free_log;

	spool_stats(spool, &stats);
	free_log = stats.log_bytes * stats.segments_free / stats.segments;
	/* what else a small message takes in the log */
	return free_log / 8 * 7 / (size + 256) * size;
}

/* Makes the log as large as it may be, by the same load. */
static void
grow_log(void)
{
	struct spool_stats stats;

	spool_stats(spool, &stats);
	while (stats.log_bytes < (uint64_t)(ACCEPT_SEGMENTS - 1) << 26) {
		run_sessions(0.2, UINT64_MAX);
		spool_stats(spool, &stats);
	}
	settle_all();
}

static void
print(const struct spool_stats *before, const struct spool_stats *after,
      double cpu)
{
	uint64_t commits = after->commits - before->commits;

	if (latencies.count == 0)
		die("no message became durable");
	latencies_sort(&latencies);
	printf("%s size=%zu sessions=%u keep=%u msgs/s=%.0f p50_us=%u "
	       "p99_us=%u p999_us=%u max_us=%u commits/s=%.0f "
	       "msgs/commit=%.1f cpu_us/msg=%.1f log_MiB=%llu segments=%llu "
	       "in_files=%llu copied=%llu seconds=%.2f",
	       mode == CYCLE ? "cycle" : "accept", size, session_count,
	       keep_percent, (double)accepted / seconds,
	       latencies_at(&latencies, 0.5), latencies_at(&latencies, 0.99),
	       latencies_at(&latencies, 0.999), latencies_at(&latencies, 1),
	       (double)commits / seconds,
	       (double)accepted / (double)(commits != 0 ? commits : 1),
	       cpu / (double)accepted,
	       (unsigned long long)after->log_bytes >> 20,
	       (unsigned long long)after->segments,
	       (unsigned long long)after->in_files,
	       (unsigned long long)after->copied, seconds);
}

static void
measure(void)
{
	struct spool_stats before, after;
	double cpu, began;

	if (mode == ACCEPT)
		grow_log();
	else
		is_settling = true;
	if (warm_s > 0)
		run_sessions(warm_s,
			     mode == ACCEPT ? free_bytes() / 2 : UINT64_MAX);
	if (mode == ACCEPT)
		settle_all();
	else if (warm_bytes > accepted * size)
		run_sessions(1e6, warm_bytes - accepted * size);
	spool_stats(spool, &before);
	cpu = cpu_us();
	began = (double)uv_hrtime();
	run_sessions(seconds, mode == ACCEPT ? free_bytes() : UINT64_MAX);
	seconds = ((double)uv_hrtime() - began) / 1e9;
	cpu = cpu_us() - cpu;
	spool_stats(spool, &after);
	print(&before, &after, cpu);
	is_settling = true;
	for (size_t i = 0; i < lag; i++)
		spool_done(spool, ids[i]);
	if (keep_percent == 0) {
		settle_all();
		spool_stats(spool, &after);
		printf(" settled_log_MiB=%llu",
		       (unsigned long long)after.log_bytes >> 20);
	}
	printf("\n");
}

static int
parse(int argc, char **argv)
{
	int option;

	while ((option = getopt(argc, argv, "a:f:k:l:m:w:")) != -1) {
		if (option == 'a')
			ahead = strtoul(optarg, NULL, 10) << 10;
		else if (option == 'k')
			keep_percent = (unsigned)strtoul(optarg, NULL, 10);
		else if (option == 'f')
			files_per_s = (unsigned)strtoul(optarg, NULL, 10);
		else if (option == 'l')
			lag = strtoul(optarg, NULL, 10);
		else if (option == 'm')
			warm_bytes = strtoull(optarg, NULL, 10) << 20;
		else if (option == 'w')
			warm_s = strtod(optarg, NULL);
		else
			return -1;
	}
	if (argc - optind < 4 || argc - optind > 5)
		return -1;
	argv += optind;
	size = strtoul(argv[0], NULL, 10);
	session_count = (unsigned)strtoul(argv[1], NULL, 10);
	seconds = strtod(argv[2], NULL);
	dir = argv[3];
	if (argv[4] != NULL && strcmp(argv[4], "accept") == 0)
		mode = ACCEPT;
	else if (argv[4] != NULL && strcmp(argv[4], "cycle") != 0)
		return -1;
	return size == 0 || session_count == 0 || seconds <= 0 ||
			       (mode == ACCEPT && lag != 0)
		       ? -1
		       : 0;
}

int
main(int argc, char **argv)
{
	static const struct spool_callbacks callbacks = {on_found, on_loaded,
							 on_report, on_broken};
	struct spool_opts opts = {0};
	struct err err;

	if (parse(argc, argv) < 0) {
		fprintf(stderr,
			"usage: spool_bench [-a AHEAD] [-k KEEP] [-f FILES] "
			"[-l LAG] [-w WARM] [-m MIB] SIZE SESSIONS SECONDS DIR "
			"[cycle | accept]\n");
		return 64;
	}
	work_init();
	body = mem_alloc(size);
	for (size_t i = 0; i < size; i++)
		body[i] = (uint8_t)(i % 78 == 77 ? '\n' : ' ' + i * 7 % 94);
	body_crc = crc32c(0, body, size);
	latencies.us = mem_alloc(LATENCIES_MAX * sizeof(*latencies.us));
	uv_loop_init(&loop);
	opts.dir = dir;
	opts.files_per_s = files_per_s;
	opts.ahead_bytes = ahead;
	if (mode == ACCEPT)
		opts.segments_soft = ACCEPT_SEGMENTS;
	if (spool_open(&loop, &opts, &callbacks, NULL, &spool, &err) < 0)
		die(err.text);
	while (!is_loaded)
		(void)uv_run(&loop, UV_RUN_ONCE);
	settle_kept(); /* of an earlier run */
	if (lag != 0) {
		ids = mem_resize(ids, lag, sizeof(*ids));
		memset(ids, 0, lag * sizeof(*ids));
	}
	sessions = mem_zalloc(session_count * sizeof(*sessions));
	for (unsigned i = 0; i < session_count; i++) {
		sessions[i].put.owner = &sessions[i];
		sessions[i].put.on_end = on_end;
	}
	measure();
	spool_close(spool, on_closed, NULL);
	while (!is_closed)
		(void)uv_run(&loop, UV_RUN_ONCE);
	free(sessions);
	free(latencies.us);
	free(ids);
	free(body);
	return 0;
}
