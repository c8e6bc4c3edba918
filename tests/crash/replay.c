/* SPDX-License-Identifier: ISC */
/*
 * Goes through a recorded run, builds states that the disk may be in after a
 * crash at many of its moments, lets the spool recover from each, and
 * compares what it finds with what was promised until then.
 *
 *	replay [-s SEED] [-n STATES] [-j JOBS] [-m] TRACE [FOLDER]
 *	replay -c SPOOL -l BYTES TRACE
 *
 *	-c  checks one state, which another made: SPOOL, by the marks that
 *	    stand in the first BYTES of the trace
 *	-m  a mutant: the first finding ends it
 *	FOLDER is for the states (/dev/shm)
 *
 * Prints the first findings and a line of counts; exit 1 if there was a
 * finding, 2 if it could not be done. A state is told as SEED/EVENT/KIND; the
 * same trace and seed give the same states.
 */
#include "tests/crash/replay.h"

#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/work.h"
#include "queue/spool/disk.h"

#define STATES_EACH 4u /* of one moment */
#define JOBS_MAX    64u

void
die(const char *why)
{
	fprintf(stderr, "replay: %s\n", why);
	exit(2);
}

/* The clock may have gone back meanwhile: ids must not. */
int
clock_gettime(clockid_t clock, struct timespec *to)
{
	if (clock == CLOCK_REALTIME) {
		*to = (struct timespec){.tv_sec = 1};
		return 0;
	}
	return (int)syscall(SYS_clock_gettime, clock, to);
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	return ftw->level == 0 ? 0 : remove(path);
}

static void
check_state(struct run *run, uint64_t *dice, bool is_twice)
{
	model_write(run->model, run->kind, dice, run->dir);
	run->states++;
	judge(run, is_twice);
	if (nftw(run->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS) < 0)
		die("a state cannot be removed");
}

/* --------------------------------------------------------------- moments */

/* Before anything becomes durable, and after each promise. */
static bool
is_moment(const struct trace_event *event)
{
	switch ((enum trace_type)event->type) {
	case TRACE_SYNC_BEGIN:
	case TRACE_SYNC_END:
	case TRACE_ACKED:
	case TRACE_STATE:
	case TRACE_UNLINK:
	case TRACE_RENAME:
		return true;
	case TRACE_WRITE:
	case TRACE_SIZE:
	case TRACE_CREATE:
	case TRACE_MKDIR:
	case TRACE_SUBMITTED:
	case TRACE_SETTLING:
	case TRACE_REPLACED:
	case TRACE_ID:
	case TRACE_WITH:
		return false;
	}
	return false;
}

static const struct trace_event *
next_event(const struct run *run, size_t *at)
{
	static struct trace_event event;

	if (run->trace_len - *at < sizeof(event))
		return NULL;
	memcpy(&event, run->trace + *at, sizeof(event));
	if (event.magic != TRACE_MAGIC ||
	    run->trace_len - *at - sizeof(event) < event.len)
		die("the trace is damaged");
	*at += sizeof(event) + event.len;
	return &event;
}

/* Each of a few kinds in turn, two of them at every moment. */
static enum crash_kind
kind_of(unsigned which, uint64_t moment)
{
	if (which == 0)
		return CRASH_NOTHING;
	if (which == 1)
		return CRASH_RANDOM;
	return (enum crash_kind)((moment * (STATES_EACH - 2) + which) %
				 CRASH_KINDS);
}

static void
check_moment(struct run *run, uint64_t moment)
{
	for (unsigned i = 0; i < STATES_EACH; i++) {
		uint64_t dice = (run->seed * 2 + 1) * 0x9e3779b97f4a7c15u ^
				(run->event * 64 + i + 1);

		run->kind = kind_of(i, moment);
		check_state(run, &dice, i < 2);
	}
}

static bool
has_findings(const struct run *run)
{
	for (unsigned i = 0; i < FINDINGS; i++)
		if (run->findings[i] != 0)
			return true;
	return false;
}

/* Every job follows all of the trace and stops at its share of moments. */
static void
follow(struct run *run)
{
	uint64_t wanted = run->states_wanted / STATES_EACH + 1, moment = 0;
	uint64_t taken = 0;
	const struct trace_event *event;
	size_t at = 0;

	run->model = model_new();
	while (true) {
		event = next_event(run, &at);
		if (event == NULL)
			break;
		run->event++;
		/* a moment before: the sync has not ended yet for those who
		 * wait for it, and what it covered counts */
		note_event(run, event, run->trace + at - event->len,
			   run->event);
		model_apply(run->model, event, run->trace + at - event->len,
			    run->event);
		if (!is_moment(event))
			continue;
		moment++;
		if ((moment + run->seed) * wanted / run->moments ==
		    (moment + run->seed - 1) * wanted / run->moments)
			continue;
		if (taken++ % run->jobs != run->job)
			continue;
		check_moment(run, taken);
		if (run->is_mutant && has_findings(run))
			break;
	}
	forget_found(run);
	model_free(run->model);
}

/* ------------------------------------------------------------------ main */

static int
no_sync(int fd)
{
	(void)fd;
	return 0;
}

/* On one processor: the spool's threads wait for each other nearly always, and
 * to be woken on another one, which others use, takes far longer. */
static void
stay_here(unsigned job)
{
	cpu_set_t all, one;
	unsigned count;

	CPU_ZERO(&one);
	if (sched_getaffinity(0, sizeof(all), &all) < 0)
		return;
	count = (unsigned)CPU_COUNT(&all);
	for (unsigned i = 0, nth = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, &all) && nth++ == job % count)
			CPU_SET(i, &one);
	(void)sched_setaffinity(0, sizeof(one), &one); /* slower without */
}

/* In a child: what it counted goes through the pipe. */
static void
run_job(struct run *run, int fd)
{
	struct disk_calls calls = disk_calls_real;

	stay_here(run->job);
	calls.fsync = calls.fdatasync = calls.syncfs = no_sync;
	disk_use(&calls);
	(void)snprintf(run->dir + strlen(run->dir),
		       sizeof(run->dir) - strlen(run->dir), "/state-%u",
		       run->job);
	if (mkdir(run->dir, 0700) < 0)
		die("the folder for a state cannot be made");
	work_init();
	follow(run);
	(void)rmdir(run->dir);
	if (write(fd, run->findings, sizeof(run->findings)) !=
		    sizeof(run->findings) ||
	    write(fd, &run->states, sizeof(run->states)) !=
		    sizeof(run->states) ||
	    write(fd, &run->opened, sizeof(run->opened)) != sizeof(run->opened))
		die("a pipe broke");
}

/* A state that was not made from the trace, of which the marks count. */
static int
check_one(struct run *run, const char *dir)
{
	const struct trace_event *event;
	size_t at = 0;

	(void)snprintf(run->dir, sizeof(run->dir), "%s", dir);
	run->model = model_new();
	work_init();
	while (true) {
		event = next_event(run, &at);
		if (event == NULL)
			break;
		run->event++;
		if (event->type >= TRACE_SUBMITTED)
			note_event(run, event, NULL, run->event);
	}
	run->kind = CRASH_RANDOM;
	judge(run, true);
	forget_found(run);
	model_free(run->model);
	return has_findings(run) ? 1 : 0;
}

static void
count_moments(struct run *run)
{
	const struct trace_event *event;
	size_t at = 0;

	while (true) {
		event = next_event(run, &at);
		if (event == NULL)
			break;
		run->events++;
		run->moments += is_moment(event);
	}
	if (run->moments == 0)
		die("nothing happens in the trace");
}

static void
map_trace(struct run *run, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *bytes;

	if (fd < 0 || fstat(fd, &st) < 0 || st.st_size == 0)
		die("there is no trace");
	bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (bytes == MAP_FAILED)
		die("the trace cannot be read");
	(void)close(fd); /* the mapping stays */
	run->trace = bytes;
	run->trace_len = (size_t)st.st_size;
}

/* Adds up what the children counted; false if one of them broke down. */
static bool
gather(struct run *run, const int *fds, const pid_t *children)
{
	bool is_good = true;

	for (unsigned i = 0; i < run->jobs; i++) {
		uint64_t counts[FINDINGS + 2];
		size_t have = 0;
		int status;

		while (have < sizeof(counts)) {
			ssize_t got = read(fds[i], (char *)counts + have,
					   sizeof(counts) - have);

			if (got <= 0)
				break;
			have += (size_t)got;
		}
		(void)close(fds[i]); /* read only */
		if (waitpid(children[i], &status, 0) < 0 || status != 0 ||
		    have < sizeof(counts)) {
			is_good = false;
			continue;
		}
		for (unsigned k = 0; k < FINDINGS; k++)
			run->findings[k] += counts[k];
		run->states += counts[FINDINGS];
		run->opened += counts[FINDINGS + 1];
	}
	return is_good;
}

static void
spread(struct run *run)
{
	pid_t children[JOBS_MAX];
	int fds[JOBS_MAX];
	bool is_good;

	for (run->job = 0; run->job < run->jobs; run->job++) {
		int ends[2];

		if (pipe(ends) < 0)
			die("no pipe");
		children[run->job] = fork();
		if (children[run->job] < 0)
			die("no process");
		if (children[run->job] == 0) {
			(void)close(ends[0]); /* the parent's */
			run_job(run, ends[1]);
			exit(0);
		}
		(void)close(ends[1]); /* the child's */
		fds[run->job] = ends[0];
	}
	is_good = gather(run, fds, children);
	printf("seed %llu: %llu events, %llu moments, %llu states, "
	       "%llu recoveries:",
	       (unsigned long long)run->seed, (unsigned long long)run->events,
	       (unsigned long long)run->moments,
	       (unsigned long long)run->states,
	       (unsigned long long)run->opened);
	for (unsigned i = 0; i < FINDINGS; i++)
		printf("%s %llu %s", i != 0 ? "," : "",
		       (unsigned long long)run->findings[i], finding_names[i]);
	printf("\n");
	if (!is_good)
		die("a process broke down");
}

int
main(int argc, char **argv)
{
	static struct run run = {.seed = 1, .states_wanted = 1000, .jobs = 1};
	const char *dir, *one = NULL;
	size_t limit = SIZE_MAX;
	int option;

	while ((option = getopt(argc, argv, "c:l:s:n:j:m")) != -1) {
		switch (option) {
		case 's':
			run.seed = strtoull(optarg, NULL, 10);
			break;
		case 'n':
			run.states_wanted = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'j':
			run.jobs = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'm':
			run.is_mutant = true;
			break;
		case 'c':
			one = optarg;
			break;
		case 'l':
			limit = strtoull(optarg, NULL, 10);
			break;
		default:
			return 64;
		}
	}
	if (optind >= argc || run.jobs == 0 || run.jobs > JOBS_MAX) {
		fprintf(stderr, "usage: replay [-s SEED] [-n STATES] [-j JOBS] "
				"[-m] TRACE [FOLDER]\n");
		return 64;
	}
	if (one != NULL) {
		map_trace(&run, argv[optind]);
		if (run.trace_len > limit)
			run.trace_len = limit;
		return check_one(&run, one);
	}
	dir = optind + 1 < argc ? argv[optind + 1] : "/dev/shm";
	(void)snprintf(run.dir, sizeof(run.dir), "%s/ostler-crash-XXXXXX", dir);
	if (mkdtemp(run.dir) == NULL)
		die("the folder for the states cannot be made");
	map_trace(&run, argv[optind]);
	count_moments(&run);
	spread(&run);
	(void)rmdir(run.dir);
	return has_findings(&run) ? 1 : 0;
}
