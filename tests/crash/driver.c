/* SPDX-License-Identifier: ISC */
/*
 * A run of the spool to be recorded: sessions that put messages, settle
 * them, add states, replace one by another, tell one of another, give up, all
 * by dice, in a log of tiny segments, so that these are used again and old
 * mail becomes files. A spool that breaks ends the run, with exit code 1.
 *
 *	driver DIR SEED RUN MESSAGES
 *
 * Runs of the same folder have rising numbers: what an earlier one left,
 * also one that was killed, is found and settled by the next one. The marks
 * of trace.h go where OSTLER_CRASH_TRACE says.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "lib/err.h"
#include "lib/mem.h"
#include "lib/work.h"
#include "queue/spool/spool.h"
#include "tests/crash/trace.h"

#define SESSIONS     8u
#define OLD_WANTED   48u /* so many are left lying */
#define OLD_MAX	     4096u
#define LARGE_BYTES  16384u
#define AHEAD_BYTES  4096u /* few turns bring more than two messages */
#define CALM_EACH    200u
#define CALM	     60u     /* of them are settled at once */
#define STATES_MAX   63u     /* of one message in one run */
#define RUN_MESSAGES 100000u /* numbers of one run */
#define TICK_MS	     4u

struct message {
	uint64_t number, id;
	unsigned states; /* asked for in this run */
	bool is_large;
};

struct session {
	struct spool_put put;
	struct message message;
	struct message replaced; /* number 0: none */
	bool is_running;
};

struct saving {
	uint64_t number, id;
	unsigned state; /* its number, which no other run uses */
};

static uv_loop_t loop;
static struct spool *spool;
static struct session sessions[SESSIONS];
static struct message old[OLD_MAX];
static unsigned old_count, running, refused;
static uint64_t next_number, last_number, dice;
static unsigned run_number;
static int trace_fd;
static bool is_loaded, is_broken, is_closed;

static void
die(const char *why)
{
	fprintf(stderr, "driver: %s\n", why);
	exit(1);
}

static void
mark(enum trace_type type, uint64_t a, uint64_t b, uint64_t c)
{
	struct trace_event event = {TRACE_MAGIC, (uint32_t)type, 0, a, b, c};

	if (write(trace_fd, &event, sizeof(event)) != sizeof(event))
		die("the trace cannot be written");
}

static unsigned throw(unsigned sides)
{
	dice ^= dice << 13;
	dice ^= dice >> 7;
	dice ^= dice << 17;
	return (unsigned)((dice >> 16) % sides);
}

/* ----------------------------------------------------------- old messages */

static void
keep(const struct message *message)
{
	if (old_count == OLD_MAX)
		die("too many messages at once");
	old[old_count++] = *message;
}

static struct message
take_old(unsigned which)
{
	struct message message = old[which];

	old[which] = old[--old_count];
	return message;
}

static void
settle(const struct message *message)
{
	mark(TRACE_SETTLING, message->number, message->id, 0);
	spool_done(spool, message->id);
}

static void add_state(struct message *message, bool is_awaited);

static void
on_saved(void *arg, int status)
{
	struct saving *saving = arg;

	if (status == 0)
		mark(TRACE_STATE, saving->number, saving->id, saving->state);
	/* its number is not used again, and others come behind it */
	for (unsigned i = 0; status < 0 && !is_broken && i < old_count; i++) {
		if (old[i].number != saving->number)
			continue;
		/* so many that a crash may leave a part of them */
		for (unsigned more = 2 + throw(6); more > 0; more--)
			add_state(&old[i], true);
		break;
	}
	free(saving);
}

/* is_awaited: whether anybody is told; if not, the spool tries again. */
static void
add_state(struct message *message, bool is_awaited)
{
	char line[TRACE_LINE_MAX];
	struct saving *saving;
	unsigned state;

	if (message->states == STATES_MAX)
		return;
	message->states++;
	state = run_number * (STATES_MAX + 1) + message->states;
	(void)trace_line(message->number, state, line);
	if (!is_awaited) {
		spool_state(spool, message->id, line, NULL, NULL);
		return;
	}
	saving = mem_alloc(sizeof(*saving));
	*saving = (struct saving){message->number, message->id, state};
	spool_state(spool, message->id, line, on_saved, saving);
}

/* Times in which all is settled: then head moves without a file being made. */
static bool
is_calm(void)
{
	return next_number % CALM_EACH >= CALM_EACH - CALM;
}

/* Something happens to some that lie there. The first quarter of the list
 * changes seldom, so that these become files before they go. */
static void
stir(void)
{
	if (old_count == 0)
		return;
	for (unsigned i = 0; i < 4 && is_calm() && old_count != 0; i++) {
		struct message message = take_old(throw(old_count));

		settle(&message);
	}
	if (old_count == 0 || is_calm())
		return;
	if (throw(4) == 0)
		add_state(&old[throw(old_count)], throw(6) != 0);
	if (throw(8) == 0)
		add_state(&old[throw(1 + old_count / 4)], true);
	if (throw(24) == 0) {
		struct message *message = &old[throw(1 + old_count / 4)];

		for (unsigned i = throw(12); i > 0; i--)
			add_state(message, true);
	}
	if (old_count > OLD_WANTED) {
		unsigned first = throw(6) == 0 ? 0 : old_count / 4;
		struct message message =
			take_old(first + throw(old_count - first));

		settle(&message);
	}
}

/* --------------------------------------------------------------- putting */

static void start_one(struct session *session);

static void
on_end(void *owner, int status)
{
	struct session *session = owner;
	struct message *message = &session->message;

	running--;
	session->is_running = false;
	if (status < 0) {
		refused++;
		if (session->replaced.number != 0) {
			mark(TRACE_REPLACED, session->replaced.number, 0, 0);
			keep(&session->replaced);
		}
	} else {
		mark(TRACE_ACKED, message->number, message->id, 0);
		if (throw(100) < (message->is_large ? 25 : 55) || is_calm())
			settle(message);
		else
			keep(message);
	}
	stir();
	start_one(session);
}

static void
on_room(void *owner)
{
	(void)owner;
}

static uint8_t *
make_content(uint64_t number, size_t size, size_t *out_len)
{
	uint8_t *bytes = mem_alloc(size + 64);
	int head = snprintf((char *)bytes, 64, TRACE_HEAD "%08x %08x\r\n\r\n",
			    (unsigned)number, (unsigned)size);

	for (size_t i = 0; i < size; i++)
		bytes[(size_t)head + i] = trace_byte(number, i);
	*out_len = (size_t)head + size;
	return bytes;
}

static void
put_content(struct session *session, size_t size)
{
	size_t len;
	uint8_t *bytes = make_content(session->message.number, size, &len);

	for (size_t at = 0; at < len; at += 8192) {
		size_t part = len - at < 8192 ? len - at : 8192;

		/* whether it would rather wait does not matter here */
		(void)spool_put_data(&session->put, bytes + at, part);
	}
	free(bytes);
}

static void
submit(struct session *session, size_t size)
{
	struct message *message = &session->message;
	char envelope[128];

	session->put = (struct spool_put){.owner = session,
					  .on_room = on_room,
					  .on_end = on_end};
	*message = (struct message){.number = next_number++,
				    .is_large = size > LARGE_BYTES};
	spool_put_begin(spool, &session->put);
	message->id = session->put.id;
	mark(TRACE_ID, message->number, message->id, 0);
	put_content(session, size);
	mark(TRACE_SUBMITTED, message->number, message->id, 0);
	(void)snprintf(envelope, sizeof(envelope),
		       "from <a@example>\nrcpt <u%llu@example>\n",
		       (unsigned long long)message->number);
	spool_put_end(&session->put, envelope);
}

static size_t
throw_size(void)
{
	unsigned kind = throw(100);

	if (kind < 5)
		return LARGE_BYTES + 64u * (1 + throw(300)); /* a file */
	if (kind < 30)
		return 64u * (1 + throw(8));
	return 64u * (1 + throw(100));
}

/* The next message comes instead of an old one. */
static void
replace(struct session *session)
{
	session->replaced = take_old(throw(old_count));
	mark(TRACE_SETTLING, session->replaced.number, session->replaced.id, 0);
	mark(TRACE_REPLACED, session->replaced.number, next_number, 0);
	spool_done(spool, session->replaced.id);
}

/* An old one has a state that says of the one just put that it is there. */
static void
tell_old(struct session *session)
{
	struct message *message = &old[throw(old_count)];

	if (message->states == STATES_MAX)
		return;
	mark(TRACE_WITH, message->number, session->message.number,
	     run_number * (STATES_MAX + 1) + message->states + 1);
	add_state(message, true);
}

static void
start_one(struct session *session)
{
	bool is_replacing, is_telling;
	size_t size = throw_size();

	if (next_number > last_number || running >= SESSIONS || is_broken)
		return;
	is_replacing = old_count > 4 && throw(10) == 0;
	is_telling = old_count > 4 && throw(10) == 0;
	session->replaced.number = 0;
	if ((is_replacing || is_telling) && size > LARGE_BYTES / 2)
		size = 1024;
	if (is_replacing || is_telling)
		spool_group_begin(spool);
	if (is_replacing)
		replace(session);
	running++;
	session->is_running = true;
	submit(session, size);
	if (is_telling)
		tell_old(session);
	if (is_replacing || is_telling) {
		spool_group_end(spool);
	} else if (throw(40) == 0) {
		mark(TRACE_SETTLING, session->message.number,
		     session->message.id, 0);
		spool_put_abort(&session->put);
		running--;
		session->is_running = false;
	}
}

/* ------------------------------------------------------------------ life */

static void
on_found(void *owner, const struct spool_found *found)
{
	const char *at = strstr(found->envelope, "rcpt <u");
	struct message message = {.id = found->id};

	(void)owner;
	if (at == NULL)
		die("an envelope that nobody put");
	message.number = strtoull(at + 7, NULL, 10);
	keep(&message);
}

static void
on_loaded(void *owner)
{
	(void)owner;
	is_loaded = true;
}

static void
on_report(void *owner, bool is_error, const char *file, const char *text)
{
	(void)owner;
	(void)is_error;
	fprintf(stderr, "driver: %s: %s\n", file, text);
}

static void
on_broken(void *owner)
{
	(void)owner;
	is_broken = true;
}

static void
on_closed(void *arg)
{
	(void)arg;
	is_closed = true;
}

/* What the spool does each second, which is as long as a run. */
static void
hurry(uv_handle_t *handle, void *arg)
{
	uv_timer_t *timer = (uv_timer_t *)handle;

	(void)arg;
	if (handle->type == UV_TIMER && uv_timer_get_repeat(timer) == 1000)
		(void)uv_timer_start(timer, timer->timer_cb, TICK_MS, TICK_MS);
}

static void
run(void)
{
	struct spool_stats stats;

	uv_walk(&loop, hurry, NULL);
	while (!is_loaded)
		(void)uv_run(&loop, UV_RUN_ONCE);
	while ((next_number <= last_number && !is_broken) || running != 0) {
		/* those whose put was given up begin anew from here */
		for (unsigned i = 0; i < SESSIONS; i++)
			if (!sessions[i].is_running && !is_broken)
				start_one(&sessions[i]);
		(void)uv_run(&loop, UV_RUN_ONCE);
	}
	for (unsigned i = old_count / 2; i > 0; i--) {
		struct message message = take_old(throw(old_count));

		settle(&message);
	}
	spool_stats(spool, &stats);
	printf("driver: %llu messages were copied within the log\n",
	       (unsigned long long)stats.copied);
	spool_close(spool, on_closed, NULL);
	while (!is_closed)
		(void)uv_run(&loop, UV_RUN_ONCE);
	while (uv_loop_close(&loop) != 0)
		(void)uv_run(&loop, UV_RUN_NOWAIT);
}

int
main(int argc, char **argv)
{
	static const struct spool_callbacks callbacks = {on_found, on_loaded,
							 on_report, on_broken};
	struct spool_opts opts = {.segment_bytes = 65536,
				  .segments_soft = 4,
				  .segments_hard = 12,
				  .large_bytes = LARGE_BYTES,
				  .ahead_bytes = AHEAD_BYTES};
	const char *trace = getenv("OSTLER_CRASH_TRACE");
	struct err err;

	if (argc != 5 || trace == NULL) {
		fprintf(stderr, "usage: OSTLER_CRASH_TRACE=FILE driver DIR "
				"SEED RUN MESSAGES\n");
		return 64;
	}
	opts.dir = argv[1];
	/* old mail becomes files, or is mostly copied within the log */
	if (strtoull(argv[2], NULL, 10) % 2 != 0)
		opts.files_per_s = 1;
	dice = 88172645463325252u ^
	       (strtoull(argv[2], NULL, 10) * 0x9e3779b97f4a7c15u);
	run_number = (unsigned)strtoul(argv[3], NULL, 10);
	next_number = (uint64_t)run_number * RUN_MESSAGES + 1;
	last_number = next_number + strtoull(argv[4], NULL, 10) - 1;
	dice ^= next_number << 20;
	trace_fd = open(trace, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	if (trace_fd < 0)
		die("the trace cannot be opened");
	work_init();
	if (uv_loop_init(&loop) < 0)
		die("no loop");
	if (spool_open(&loop, &opts, &callbacks, NULL, &spool, &err) < 0)
		die(err.text);
	run();
	if (refused != 0)
		printf("driver: %u puts were refused\n", refused);
	return is_broken ? 1 : 0;
}
