/* SPDX-License-Identifier: ISC */
/*
 * What this disk allows any spool: the plain write and the sync alone.
 *
 *	disk_limit SIZE SESSIONS SECONDS DIR
 *
 * Each of N sessions copies a message into its buffer, hands it over, and
 * waits until it is durable. A second thread writes all that waits behind
 * each other into one file, whose blocks were written before, and makes them
 * durable by one fdatasync; what comes meanwhile waits for the next. There
 * are no headers, no checksums, no index and nothing is ever settled, so a
 * spool that makes the same promise can hardly be faster.
 *
 * Prints one line: messages a second, latency of a commit in microseconds,
 * commits a second, CPU time a message.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "lib/mem.h"
#include "tests/bench/figures.h"

#define FILE_BYTES  (256u << 20)
#define ZERO_CHUNK  (4u << 20)
#define BATCH_BYTES (32u << 20) /* most in one commit */
#define BATCH_COUNT 1024	/* IOV_MAX */

struct session {
	uint8_t *bytes;
	uint64_t began;
	struct session *next;
};

/* Sessions behind each other. */
struct line {
	struct session *first, **end;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t given = PTHREAD_COND_INITIALIZER;
static pthread_cond_t returned = PTHREAD_COND_INITIALIZER;
/* under the lock */
static struct line waiting, durable;
static uint64_t commits;
static bool is_over;

static size_t size;
static const char *dir;

static void
die(const char *what)
{
	fprintf(stderr, "disk_limit: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t
now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail */
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void
line_clear(struct line *line)
{
	line->first = NULL;
	line->end = &line->first;
}

static void
line_push(struct line *line, struct session *session)
{
	session->next = NULL;
	*line->end = session;
	line->end = &session->next;
}

static int
make_file(void)
{
	uint8_t *zeros = mem_zalloc(ZERO_CHUNK);
	char path[4096];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/disk_limit.XXXXXX", dir);
	fd = mkstemp(path);
	if (fd < 0)
		die(path);
	(void)unlink(path); /* it is found by nobody else */
	for (off_t at = 0; at < FILE_BYTES; at += ZERO_CHUNK)
		if (pwrite(fd, zeros, ZERO_CHUNK, at) != ZERO_CHUNK)
			die(path);
	if (fsync(fd) < 0)
		die(path);
	free(zeros);
	return fd;
}

/* Takes what one commit may hold off the line. */
static int
take(struct line *batch, struct iovec *iov, size_t *out_bytes)
{
	int count = 0;

	line_clear(batch);
	*out_bytes = 0;
	while (waiting.first != NULL && count < BATCH_COUNT &&
	       (count == 0 || *out_bytes + size <= BATCH_BYTES)) {
		struct session *session = waiting.first;

		waiting.first = session->next;
		if (waiting.first == NULL)
			line_clear(&waiting);
		line_push(batch, session);
		iov[count++] = (struct iovec){session->bytes, size};
		*out_bytes += size;
	}
	return count;
}

static void *
commit_all(void *arg)
{
	static struct iovec iov[BATCH_COUNT];
	int fd = *(const int *)arg;
	off_t at = 0;

	pthread_mutex_lock(&lock);
	while (true) {
		struct line batch;
		size_t bytes;
		int count;

		while (waiting.first == NULL && !is_over)
			pthread_cond_wait(&given, &lock);
		if (is_over)
			break;
		count = take(&batch, iov, &bytes);
		pthread_mutex_unlock(&lock);
		if (at + (off_t)bytes > FILE_BYTES)
			at = 0;
		if (pwritev(fd, iov, count, at) != (ssize_t)bytes ||
		    fdatasync(fd) < 0)
			die("write");
		at += (off_t)bytes;
		pthread_mutex_lock(&lock);
		commits++;
		*durable.end = batch.first;
		durable.end = batch.end;
		pthread_cond_signal(&returned);
	}
	pthread_mutex_unlock(&lock);
	return NULL;
}

/* What became durable is counted and comes again, until time is over. */
static void
run_sessions(uint64_t deadline, const uint8_t *message,
	     struct latencies *latencies)
{
	while (true) {
		struct line again;
		struct session *session, *next;
		uint64_t now;

		pthread_mutex_lock(&lock);
		while (durable.first == NULL)
			pthread_cond_wait(&returned, &lock);
		session = durable.first;
		line_clear(&durable);
		pthread_mutex_unlock(&lock);
		now = now_ns();
		if (now >= deadline)
			return;
		line_clear(&again);
		for (; session != NULL; session = next) {
			next = session->next;
			if (session->began != 0)
				latencies_add(latencies, session->began, now);
			memcpy(session->bytes, message, size);
			session->began = now;
			line_push(&again, session);
		}
		pthread_mutex_lock(&lock);
		*waiting.end = again.first;
		waiting.end = again.end;
		pthread_cond_signal(&given);
		pthread_mutex_unlock(&lock);
	}
}

static void
print(struct latencies *latencies, unsigned count, double seconds, double cpu)
{
	double messages = (double)latencies->count;

	if (latencies->count == 0) {
		errno = ETIME;
		die("no message became durable");
	}
	latencies_sort(latencies);
	printf("limit size=%zu sessions=%u msgs/s=%.0f p50_us=%u p99_us=%u "
	       "p999_us=%u max_us=%u commits/s=%.0f msgs/commit=%.1f "
	       "cpu_us/msg=%.1f\n",
	       size, count, messages / seconds, latencies_at(latencies, 0.5),
	       latencies_at(latencies, 0.99), latencies_at(latencies, 0.999),
	       latencies_at(latencies, 1), (double)commits / seconds,
	       messages / (double)commits, cpu / messages);
}

int
main(int argc, char **argv)
{
	struct latencies latencies = {0};
	struct session *sessions;
	pthread_t committer;
	uint8_t *message;
	unsigned count;
	uint64_t began;
	double seconds, cpu;
	int fd;

	if (argc != 5) {
		fprintf(stderr, "usage: disk_limit SIZE SESSIONS SECONDS "
				"DIR\n");
		return 64;
	}
	size = strtoul(argv[1], NULL, 10);
	count = (unsigned)strtoul(argv[2], NULL, 10);
	seconds = strtod(argv[3], NULL);
	dir = argv[4];
	errno = EINVAL;
	if (size == 0 || size > BATCH_BYTES || count == 0 || seconds <= 0)
		die("argument");
	message = mem_alloc(size);
	for (size_t i = 0; i < size; i++)
		message[i] = (uint8_t)(i % 78 == 77 ? '\n' : ' ' + i * 7 % 94);
	latencies.us = mem_alloc(LATENCIES_MAX * sizeof(*latencies.us));
	sessions = mem_zalloc(count * sizeof(*sessions));
	line_clear(&waiting);
	line_clear(&durable);
	for (unsigned i = 0; i < count; i++) {
		sessions[i].bytes = mem_alloc(size);
		line_push(&durable, &sessions[i]);
	}
	fd = make_file();
	if (pthread_create(&committer, NULL, commit_all, &fd) != 0)
		die("thread");
	cpu = cpu_us();
	began = now_ns();
	run_sessions(began + (uint64_t)(seconds * 1e9), message, &latencies);
	cpu = cpu_us() - cpu;
	seconds = (double)(now_ns() - began) / 1e9;
	pthread_mutex_lock(&lock);
	is_over = true;
	pthread_cond_signal(&given);
	pthread_mutex_unlock(&lock);
	pthread_join(committer, NULL);
	print(&latencies, count, seconds, cpu);
	(void)close(fd); /* nothing in it counts */
	for (unsigned i = 0; i < count; i++)
		free(sessions[i].bytes);
	free(sessions);
	free(latencies.us);
	free(message);
	return 0;
}
