/* SPDX-License-Identifier: ISC */
#include "lib/net/https.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "config.h"

#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/environment.h"
#include "lib/mem.h"
#include "lib/work.h"

#define PROGRAM	    "ostler-fetch"
#define FETCHES_MAX 4	/* in workers at once */
#define HEAD_MAX    512 /* octets of the line in front of the document */
#define LOOK_MS	    200 /* was it cancelled? */
#define ARGS	    7	/* in front of the addresses */
#define WHY_MAX	    256

struct https_fetch {
	struct work_job job;
	https_fn *on_reply;
	void *owner;
	atomic_bool is_cancelled, has_begun;

	char *argv[ARGS + HTTPS_ADDRS_MAX + 1]; /* owns; NULL-terminated */
	uint64_t timeout_ms;
	size_t max_bytes;

	bool is_good, is_ours;
	struct buf said; /* all of what the program printed */
	struct str body; /* of said */
	char type[128];
	char why[WHY_MAX];
};

/* ----------------------------------------------------------- the program */

static const char *other_program;

void
https_use_program(const char *path)
{
	other_program = path;
}

#ifdef HAVE_CURL

/* Beside this program (a build tree), else where it was installed. */
static int
find_program(char to[PATH_MAX], struct err *err)
{
	ssize_t len;
	char *slash;

	if (other_program != NULL) {
		(void)snprintf(to, PATH_MAX, "%s", other_program);
		return access(to, X_OK) == 0 ? 0
					     : err_set(err, -errno, "'%s'", to);
	}
	len = readlink("/proc/self/exe", to, PATH_MAX - 1);
	to[len > 0 ? len : 0] = '\0';
	slash = strrchr(to, '/');
	if (slash != NULL &&
	    (size_t)(slash + 1 - to) + sizeof(PROGRAM) <= PATH_MAX) {
		memcpy(slash + 1, PROGRAM, sizeof(PROGRAM));
		if (access(to, X_OK) == 0)
			return 0;
	}
	(void)snprintf(to, PATH_MAX, "%s/%s", OSTLER_LIBEXECDIR, PROGRAM);
	if (access(to, X_OK) == 0)
		return 0;
	return err_set(err, -errno, "'%s'", to);
}

#else

static int
find_program(char to[PATH_MAX], struct err *err)
{
	to[0] = '\0';
	return err_text(err, -ENOSYS, "ostler was built without libcurl");
}

#endif

int
https_check(struct err *err)
{
	char path[PATH_MAX];

	return find_program(path, err);
}

/*
 * Passwords may stand in our environment, for the configuration. The program
 * gets what says where its libraries and authorities are, and how the
 * sanitizers of a test build are to behave.
 */
static const char *const kept_names[] = {
	"LD_LIBRARY_PATH", "OPENSSL_CONF", "SSL_CERT_DIR",  "SSL_CERT_FILE",
	"ASAN_OPTIONS",	   "LSAN_OPTIONS", "UBSAN_OPTIONS",
};
#define KEPT_COUNT (sizeof(kept_names) / sizeof(kept_names[0]))

/* A child with nothing of ours but its standard output; 0 or an errno. */
static int
spawn(const char *path, char **argv, int out, pid_t *pid)
{
	posix_spawn_file_actions_t files;
	char *environment[KEPT_COUNT + 1];
	posix_spawnattr_t attr;
	sigset_t all, none;
	int rc;

	environment_pick(kept_names, KEPT_COUNT, environment);
	(void)sigemptyset(&none);
	(void)sigfillset(&all);
	rc = posix_spawn_file_actions_init(&files);
	if (rc != 0)
		return rc;
	rc = posix_spawnattr_init(&attr);
	if (rc != 0)
		goto done_files;
	rc = posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null",
					      O_RDONLY, 0);
	if (rc == 0)
		rc = posix_spawn_file_actions_adddup2(&files, out,
						      STDOUT_FILENO);
	if (rc == 0)
		rc = posix_spawnattr_setsigmask(&attr, &none);
	if (rc == 0)
		rc = posix_spawnattr_setsigdefault(&attr, &all);
	if (rc == 0)
		rc = posix_spawnattr_setflags(&attr,
					      POSIX_SPAWN_SETSIGMASK |
						      POSIX_SPAWN_SETSIGDEF);
	if (rc == 0)
		rc = posix_spawn(pid, path, &files, &attr, argv, environment);
	(void)posix_spawnattr_destroy(&attr);
done_files:
	(void)posix_spawn_file_actions_destroy(&files);
	return rc;
}

/* ----------------------------------------------------------- in a worker */

static void
fail_ours(struct https_fetch *fetch, const char *what)
{
	fetch->is_ours = true;
	(void)snprintf(fetch->why, sizeof(fetch->why), "%s", what);
}

/* Reads until the end; false when it must be ended: cancelled, too late, or
 * more than a document and its line. */
static bool
read_all(struct https_fetch *fetch, int fd)
{
	uint64_t until_ms = clock_boot_ms() + fetch->timeout_ms;
	struct pollfd ready = {.fd = fd, .events = POLLIN};
	uint8_t chunk[4096];

	while (!atomic_load(&fetch->is_cancelled)) {
		ssize_t got;

		if (clock_boot_ms() >= until_ms) {
			(void)snprintf(fetch->why, sizeof(fetch->why),
				       "no document within %" PRIu64 " seconds",
				       fetch->timeout_ms / 1000);
			return false;
		}
		if (poll(&ready, 1, LOOK_MS) <= 0)
			continue;
		got = read(fd, chunk, sizeof(chunk));
		if (got == 0)
			return true;
		if (got < 0 && errno != EINTR) {
			fail_ours(fetch, strerror(errno));
			return false;
		}
		if (got > 0 && buf_add(&fetch->said, chunk, (size_t)got) < 0) {
			fail_ours(fetch, PROGRAM " printed too much");
			return false;
		}
	}
	return false;
}

bool
https_said(struct str said, struct https_said *out)
{
	struct str line, word;

	if (said.len == 0 ||
	    memchr(said.at, '\n', said.len < HEAD_MAX ? said.len : HEAD_MAX) ==
		    NULL ||
	    !str_cut(&said, '\n', &line) || !str_cut(&line, ' ', &word) ||
	    (!str_is(word, "good") && !str_is(word, "bad")))
		return false;
	*out = (struct https_said){str_is(word, "good"), line, said};
	return true;
}

static void
read_said(struct https_fetch *fetch)
{
	struct https_said said;

	if (!https_said(str_from((const char *)buf_bytes(&fetch->said),
				 buf_len(&fetch->said)),
			&said)) {
		fail_ours(fetch, PROGRAM " said nothing of use");
		return;
	}
	fetch->is_good = said.is_good;
	(void)str_copy(said.is_good ? fetch->type : fetch->why,
		       said.is_good ? sizeof(fetch->type) : sizeof(fetch->why),
		       said.text);
	fetch->body = said.body;
}

static void
end_program(struct https_fetch *fetch, pid_t pid, bool has_ended)
{
	int status = 0;
	pid_t gone;

	if (!has_ended)
		(void)kill(pid, SIGKILL);
	do
		gone = waitpid(pid, &status, 0);
	while (gone < 0 && errno == EINTR);
	if (!has_ended)
		return;
	if (gone == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0)
		read_said(fetch);
	else
		/* 127: the dynamic linker has said on standard error what it
		 * misses */
		fail_ours(fetch, gone == pid && WIFEXITED(status) &&
						 WEXITSTATUS(status) == 127
					 ? PROGRAM " cannot be run: is "
						   "libcurl installed?"
					 : PROGRAM " failed");
}

static void
fetch_run(struct work_job *job)
{
	struct https_fetch *fetch = container_of(job, struct https_fetch, job);
	struct err err = ERR_INIT;
	char path[PATH_MAX];
	int ends[2], rc;
	pid_t pid;

	if (atomic_load(&fetch->is_cancelled))
		return; /* nobody waits any more */
	atomic_store(&fetch->has_begun, true);
	rc = find_program(path, &err);
	if (rc < 0) {
		fail_ours(fetch, err.text);
		/* built without: as it was meant */
		fetch->is_ours = rc != -ENOSYS;
		return;
	}
	if (pipe2(ends, O_CLOEXEC) < 0) {
		fail_ours(fetch, strerror(errno));
		return;
	}
	rc = spawn(path, fetch->argv, ends[1], &pid);
	(void)close(ends[1]);
	if (rc == 0)
		end_program(fetch, pid, read_all(fetch, ends[0]));
	else
		fail_ours(fetch, strerror(rc));
	(void)close(ends[0]);
}

/* ----------------------------------------------------------- on the loop */

static void
fetch_done(struct work_job *job)
{
	struct https_fetch *fetch = container_of(job, struct https_fetch, job);
	struct https_reply reply = {
		.is_good = fetch->is_good,
		.is_ours = fetch->is_ours,
		.body = fetch->body,
		.type = fetch->type,
		.why = fetch->why,
	};

	fetch->on_reply(fetch->owner, &reply);
}

static void
fetch_free(struct work_job *job)
{
	struct https_fetch *fetch = container_of(job, struct https_fetch, job);

	buf_done(&fetch->said);
	for (size_t i = 0; fetch->argv[i] != NULL; i++)
		free(fetch->argv[i]);
	free(fetch);
}

/* See server/ostler_fetch.c. */
static void
fill_argv(char **argv, const struct https_request *request)
{
	char text[IP_TEXT_MAX];
	size_t count = 0;

	argv[count++] = mem_strdup(PROGRAM);
	argv[count++] = mem_strdup(request->host);
	argv[count++] = mem_printf("%u", request->port);
	argv[count++] = mem_strdup(request->path);
	argv[count++] = mem_printf("%zu", request->max_bytes);
	argv[count++] = mem_printf("%" PRIu64, request->timeout_ms);
	argv[count++] = mem_strdup(request->ca != NULL ? request->ca : "");
	for (size_t i = 0; i < request->addr_count && i < HTTPS_ADDRS_MAX; i++)
		argv[count++] = mem_strdup(ip_format(&request->addrs[i], text));
}

/* Who started us may have it ignored, and that is inherited: then nobody hears
 * how a child ended. */
static void
care_for_children(void)
{
	struct sigaction now;

	if (sigaction(SIGCHLD, NULL, &now) == 0 && now.sa_handler == SIG_IGN)
		(void)signal(SIGCHLD, SIG_DFL);
}

struct https_fetch *
https_get(uv_loop_t *loop, const struct https_request *request,
	  https_fn *on_reply, void *owner)
{
	static struct work_lane lane; /* the loop thread's */
	struct https_fetch *fetch = mem_zalloc(sizeof(*fetch));

	if (lane.limit == 0)
		work_lane_init(&lane, FETCHES_MAX);
	care_for_children();
	fetch->on_reply = on_reply;
	fetch->owner = owner;
	atomic_init(&fetch->is_cancelled, false);
	atomic_init(&fetch->has_begun, false);
	fill_argv(fetch->argv, request);
	fetch->timeout_ms = request->timeout_ms;
	buf_init(&fetch->said, HEAD_MAX + request->max_bytes);
	fetch->job.run = fetch_run;
	fetch->job.done = fetch_done;
	fetch->job.free_job = fetch_free;
	work_start(loop, &fetch->job, &lane);
	return fetch;
}

bool
https_has_begun(const struct https_fetch *fetch)
{
	return atomic_load(&fetch->has_begun);
}

void
https_cancel(struct https_fetch *fetch)
{
	atomic_store(&fetch->is_cancelled, true);
	work_detach(&fetch->job);
}
