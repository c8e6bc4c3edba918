/* SPDX-License-Identifier: ISC */
/* What the spool says after damage, and after kill -9. */
#include <signal.h>
#include <sys/wait.h>

#include "queue/spool/format.h"
#include "queue/spool/internal.h"
#include "tests/unit/spool_world.h"

/* ------------------------------------------------------- damaged bytes */

enum { MESSAGES = 5 };

static uint64_t ids[MESSAGES];
static uint64_t settled;

/* A log with messages, a state and a settled one, cleanly closed. */
static void
make_log(void)
{
	box_open(&box);
	for (unsigned i = 0; i < MESSAGES; i++)
		ck_assert_int_eq(box_put(&box, i, 50 + 500 * i, &ids[i]), 0);
	ck_assert_int_eq(box_put(&box, 9, 100, &settled), 0);
	ck_assert_int_eq(box_state(&box, ids[0], "tried"), 0);
	spool_done(box.spool, settled);
	box_close(&box);
}

/* Whatever was found is what was put; returns how many live ones. */
static unsigned
check_found(void)
{
	unsigned live = 0;

	for (size_t i = 0; i < box.found_count; i++) {
		const struct box_found *found = &box.found[i];
		unsigned which = 0;
		char envelope[64];

		while (which < MESSAGES && ids[which] != found->id)
			which++;
		if (which == MESSAGES) {
			ck_assert_uint_eq(found->id, settled);
			which = 9;
		} else {
			live++;
		}
		box_envelope(which, envelope);
		ck_assert_str_eq(found->envelope, envelope);
		ck_assert(strcmp(found->states, "") == 0 ||
			  strcmp(found->states, "tried\n") == 0);
		ck_assert_uint_eq(found->body_bytes,
				  which == 9 ? 100 : 50 + 500 * which);
		for (size_t k = 0; k < i; k++)
			ck_assert_uint_ne(box.found[k].id, found->id);
	}
	return live;
}

static void
scan(void)
{
	struct err err;

	box_forget(&box);
	ck_assert_int_eq(spool_scan(box.dir, box_add_found, box_on_report, &box,
				    &err),
			 0);
}

START_TEST(a_flipped_byte_costs_at_most_what_it_hit_and_is_told)
{
	uint8_t *bytes;
	size_t size, flips = 0;

	make_log();
	for (unsigned slot = 1; slot < 10; slot++) {
		int fd;

		bytes = read_file(segment_of(slot), &size);
		if (bytes == NULL)
			continue;
		fd = open(path, O_WRONLY);
		ck_assert_int_ge(fd, 0);
		for (size_t at = 0; at < size; at++) {
			uint8_t other = (uint8_t)(bytes[at] ^ (1 << at % 8));
			bool is_done_batch, is_told;

			if (bytes[at] == 0 && at % 512 != 13)
				continue; /* padding, mostly */
			if (at % 4096 > 160 && at % 5 != 0)
				continue; /* in bodies every fifth will do */
			ck_assert_int_eq(disk_write(fd, &other, 1, at), 0);
			scan();
			/* the record DONE itself may be what was hit */
			is_done_batch = box_find(&box, settled) != NULL;
			is_told = box.errors != 0;
			ck_assert_uint_ge(check_found(), MESSAGES - 1);
			if (check_found() < MESSAGES || is_done_batch)
				ck_assert(is_told);
			ck_assert_int_eq(disk_write(fd, &bytes[at], 1, at), 0);
			flips++;
		}
		free(bytes);
		close(fd);
	}
	ck_assert_uint_gt(flips, 1000);
	scan();
	ck_assert_uint_eq(check_found(), MESSAGES);
	ck_assert_uint_eq(box.errors, 0);
}
END_TEST

static const size_t spots[] = {0, 5, 20, 45, 64, 75, 110, 160};

START_TEST(a_damaged_log_opens_and_twice_is_the_same)
{
	uint8_t *bytes;
	size_t size;
	int fd;

	make_log();
	bytes = read_file(segment_of(1), &size);
	ck_assert_ptr_nonnull(bytes);
	fd = open(path, O_WRONLY);
	ck_assert_int_ge(fd, 0);
	/* in the batch's header, the record's, the envelope, the body */
	for (size_t at = spots[_i]; at < 12 * 4096; at += 4096) {
		uint8_t other = (uint8_t)~bytes[at];
		unsigned live;

		ck_assert_int_eq(disk_write(fd, &other, 1, at), 0);
		box_open(&box);
		live = check_found();
		ck_assert_uint_ge(live, MESSAGES - 1);
		box_close(&box);
		box_open(&box);
		ck_assert_uint_eq(check_found(), live);
		for (unsigned i = 0; i < MESSAGES; i++)
			if (box_find(&box, ids[i]) != NULL)
				ck_assert_int_eq(box_check_body(&box, ids[i], i,
								50 + 500 * i),
						 0);
		box_close(&box);
		ck_assert_int_eq(disk_write(fd, bytes, size, 0), 0);
	}
	free(bytes);
	close(fd);
}
END_TEST

START_TEST(a_file_that_was_cut_or_damaged_is_set_aside)
{
	char name[SPOOL_ID_MAX], aside[SPOOL_ID_MAX + 8];
	uint64_t large;

	box_open(&box);
	ck_assert_int_eq(box_put(&box, 1, 100000, &large), 0);
	box_close(&box);
	switch (_i) {
	case 0:
		ck_assert_int_eq(truncate(file_of(large), 50000), 0);
		break;
	case 1:
		ck_assert_int_eq(truncate(file_of(large), 40), 0);
		break;
	case 2:
		flip(file_of(large), 90);
		break;
	case 3: /* in the body: found out when it is read */
		flip(file_of(large), 60000);
		break;
	}
	box_open(&box);
	if (_i == 3) {
		struct box_bytes got = {.is_over = false};
		struct box_text text;

		ck_assert_uint_eq(box.found_count, 1);
		for (size_t at = 0; got.status == 0 && at < 100000;
		     at += got.len) {
			got.is_over = false;
			(void)spool_read(box.spool, large, at,
					 sizeof(got.bytes), box_on_bytes, &got);
			box_wait(&box, &got.is_over);
		}
		ck_assert_int_eq(got.status, -EBADMSG);
		ck_assert_int_eq(box_load(&box, large, &text), -ENOENT);
	} else {
		ck_assert_uint_eq(box.found_count, 0);
	}
	box_close(&box);
	ck_assert_uint_eq(box.errors, 1);
	(void)snprintf(aside, sizeof(aside), "corrupt/%s",
		       spool_id_format(large, name));
	ck_assert_int_eq(access(in_spool(aside), F_OK), 0);
	box_open(&box);
	ck_assert_uint_eq(box.found_count, 0);
	ck_assert_uint_eq(box.errors, 0);
	box_close(&box);
}
END_TEST

/* A segment that was being made when power failed may have any size. */
START_TEST(stumps_of_segments_are_no_segments)
{
	uint64_t id;

	box_open(&box);
	ck_assert_int_eq(box_put(&box, 1, 100, &id), 0);
	box_close(&box);
	for (unsigned slot = 2; slot < 6; slot++) {
		write_file(segment_of(slot), "");
		ck_assert_int_eq(truncate(path, 2048 * (slot - 2)), 0);
	}
	box_open(&box);
	ck_assert_ptr_nonnull(box_find(&box, id));
	ck_assert_int_eq(box_put(&box, 2, 100, &id), 0);
	box_close(&box);
	ck_assert_uint_eq(box.errors, 0);
}
END_TEST

/* Settles so much that the log passes on what it knew of older mail. */
static void
push_on(void)
{
	for (unsigned i = 0; i < 40; i++) {
		uint64_t id;

		ck_assert_int_eq(box_put(&box, i, 12000, &id), 0);
		spool_done(box.spool, id);
	}
}

/* A sector of an append may be missing after a crash, and a later one not. */
START_TEST(an_append_that_was_cut_short_is_made_again)
{
	static const char torn[] = "state 1 0000\n";
	const struct box_found *found;
	uint64_t large;
	char line[64];
	size_t len;

	box_open(&box);
	ck_assert_int_eq(box_put(&box, 1, 100000, &large), 0);
	ck_assert_int_eq(box_state(&box, large, "one"), 0);
	ck_assert_int_eq(box_state(&box, large, "two"), 0);
	ck_assert_int_eq(box_state(&box, large, "three"), 0);
	box_close(&box);
	append(file_of(large), torn, strlen(torn));
	len = file_state_encode(large, 3, "three", 5, line);
	append(path, line, len);
	box_open(&box);
	found = box_find(&box, large);
	ck_assert_ptr_nonnull(found);
	ck_assert_str_eq(found->states, "one\ntwo\nthree\n");
	ck_assert_uint_eq(box.errors, 0);
	ck_assert_int_eq(box_state(&box, large, "four"), 0);
	/* until the log has passed on what it knew */
	box.opts.segments_soft = 3;
	push_on();
	box_close(&box);
	box_open(&box);
	found = box_find(&box, large);
	ck_assert_ptr_nonnull(found);
	ck_assert_str_eq(found->states, "one\ntwo\nthree\nfour\n");
	ck_assert_uint_eq(box.errors, 0);
	box_close(&box);
}
END_TEST

enum { LARGE = 100000 };

static struct disk_calls calls;
static bool is_sync_failing;

static int
fail_one_sync(int fd)
{
	if (!is_sync_failing)
		return fdatasync(fd);
	is_sync_failing = false;
	errno = EIO;
	return -1;
}

/* The crash: of the lines of an append all but a sector is on the disk. */
static ssize_t
tear(int fd, const struct iovec *iov, int count, off_t at)
{
	char *lines = iov[0].iov_base;
	size_t len = iov[0].iov_len;

	if (count == 1 && memmem(lines, len, " three\n", 7) != NULL &&
	    memcmp(lines, "state 3 ", 8) == 0) {
		memset(lines, 0, 8);
		if (pwrite(fd, lines, len, at) != (ssize_t)len)
			_exit(2);
		_exit(fsync(fd) == 0 ? 0 : 2);
	}
	return pwritev(fd, iov, count, at);
}

/* Until the log has passed on what it knew of a message that is a file: how
 * soon, is up to a thread. */
static void
push_into_file(uint64_t id)
{
	struct stat before, now;

	ck_assert_int_eq(stat(file_of(id), &before), 0);
	for (unsigned i = 0; i < 50; i++) {
		push_on();
		while (box.spool->is_retiring)
			(void)uv_run(&box.loop, UV_RUN_ONCE);
		ck_assert_int_eq(stat(file_of(id), &now), 0);
		if (now.st_size != before.st_size)
			return;
	}
}

/* A state that was refused leaves its number unused; the message's file, in
 * which the first one is, is torn where the later ones follow. */
static void
run_torn_child(size_t first_len, int to)
{
	char first[600];
	uint64_t large;

	calls = disk_calls_real;
	calls.fdatasync = fail_one_sync;
	calls.pwritev = tear;
	disk_use(&calls);
	memset(first, 'x', first_len);
	first[first_len] = '\0';
	box_open(&box);
	ck_assert_int_eq(box_put(&box, 1, LARGE, &large), 0);
	ck_assert_int_eq(box_state(&box, large, first), 0);
	push_into_file(large);
	is_sync_failing = true;
	ck_assert_int_eq(box_state(&box, large, "two"), -EIO);
	ck_assert_int_eq(box_state(&box, large, "three"), 0);
	ck_assert_int_eq(box_state(&box, large, "four"), 0);
	ck_assert_int_eq(write(to, &large, sizeof(large)), sizeof(large));
	push_into_file(large);
	_exit(1); /* they never came into the file */
}

/* So many bytes are left of the sector where the gap is to be marked: more
 * than it needs, as many, and fewer. */
static const size_t rooms[] = {300, 18, 17, 1};

START_TEST(an_append_behind_a_state_never_saved_is_made_again)
{
	/* room for the envelope, the body, a newline and the first state */
	size_t before = 8192 + LARGE + 1 + sizeof("state 1 01234567 ");
	size_t first_len = 512 + 512 - (before + rooms[_i]) % 512;
	const struct box_found *found;
	int fds[2], status;
	uint64_t large;
	pid_t child;

	box.opts.segments_soft = 3;
	ck_assert_int_eq(pipe(fds), 0);
	child = fork();
	if (child == 0)
		run_torn_child(first_len % 512, fds[1]);
	close(fds[1]);
	ck_assert_int_eq(read(fds[0], &large, sizeof(large)), sizeof(large));
	close(fds[0]);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	for (unsigned i = 0; i < 2; i++) {
		box_open(&box);
		ck_assert_msg(box.errors == 0, "%s", box.last_report);
		found = box_find(&box, large);
		ck_assert_ptr_nonnull(found);
		ck_assert_str_eq(found->states + first_len % 512,
				 "\nthree\nfour\n");
		push_on(); /* into the file at last */
		box_close(&box);
	}
}
END_TEST

/* Syncs of the log wait at a gate; what becomes of each that is let through
 * stands in a list. */
static pthread_mutex_t gate_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gate_moved = PTHREAD_COND_INITIALIZER;
static struct {
	unsigned came, let; /* syncs */
	int results[8];
	bool is_open;
} gate;

static int
sync_at_gate(int fd)
{
	unsigned which;
	int result = 0;

	pthread_mutex_lock(&gate_lock);
	which = gate.came++;
	pthread_cond_broadcast(&gate_moved);
	while (!gate.is_open && which >= gate.let)
		pthread_cond_wait(&gate_moved, &gate_lock);
	if (which < gate.let)
		result = gate.results[which];
	pthread_mutex_unlock(&gate_lock);
	if (result == 0)
		return fdatasync(fd);
	errno = -result;
	return -1;
}

/* Of the log's syncs so many began. */
static void
await_sync(unsigned count)
{
	bool is_there = false;

	while (!is_there) {
		(void)uv_run(&box.loop, UV_RUN_NOWAIT);
		(void)sched_yield();
		pthread_mutex_lock(&gate_lock);
		is_there = gate.came >= count;
		pthread_mutex_unlock(&gate_lock);
	}
}

static void
let_syncs(unsigned count, bool all)
{
	pthread_mutex_lock(&gate_lock);
	gate.let = count;
	gate.is_open = all;
	pthread_cond_broadcast(&gate_moved);
	pthread_mutex_unlock(&gate_lock);
}

/* The one that failed is asked for again, and the next one is saved before. */
START_TEST(a_state_that_comes_late_undoes_none_that_was_saved)
{
	struct box_saved saved = {false, 0};
	const struct box_found *found;
	struct box_put puts[4];
	uint64_t large;

	memset(&gate, 0, sizeof(gate));
	gate.is_open = true;
	calls = disk_calls_real;
	calls.fdatasync = sync_at_gate;
	disk_use(&calls);
	box.opts.segments_soft = 3;
	box_open(&box);
	ck_assert_int_eq(box_put(&box, 1, LARGE, &large), 0);
	ck_assert_int_eq(box_state(&box, large, "one"), 0);
	memset(&gate, 0, sizeof(gate));
	spool_state(box.spool, large, "two", NULL, NULL);
	await_sync(1);
	/* with so much more that the oldest segment is retired at once */
	spool_state(box.spool, large, "three", box_on_saved, &saved);
	for (unsigned i = 0; i < 4; i++)
		box_start(&box, &puts[i], i, 12000);
	(void)uv_run(&box.loop, UV_RUN_NOWAIT);
	gate.results[0] = -EIO;
	let_syncs(2, false);
	box_wait(&box, &saved.is_over);
	ck_assert_int_eq(saved.status, 0);
	await_sync(3);
	while (box.spool->is_retiring)
		(void)uv_run(&box.loop, UV_RUN_ONCE);
	let_syncs(2, true);
	push_on();
	box_close(&box);
	box_open(&box);
	found = box_find(&box, large);
	ck_assert_ptr_nonnull(found);
	ck_assert_str_eq(found->states, "one\ntwo\nthree\n");
	box_close(&box);
}
END_TEST

/* Flips a byte of it in whichever segment has it. */
static void
damage_in_log(const uint8_t *what, size_t len)
{
	bool is_hit = false;

	for (unsigned slot = 1; slot < 10; slot++) {
		off_t at = find_in_segment(slot, what, len);

		if (at < 0)
			continue;
		flip(path, (size_t)at);
		is_hit = true;
	}
	ck_assert(is_hit);
}

START_TEST(a_damaged_message_does_not_close_its_folder)
{
	enum { KEPT = 24, HIT = 7, BODY = 300 };
	struct box_put puts[KEPT];
	struct spool_stats stats;
	uint8_t body[BODY];
	uint64_t id = 0;

	box.opts.segments_soft = 3;
	box_open(&box);
	/* all in one segment: enough to be synced at once */
	for (unsigned i = 0; i < KEPT; i++)
		box_start(&box, &puts[i], i, BODY);
	for (unsigned i = 0; i < KEPT; i++) {
		box_wait(&box, &puts[i].is_over);
		ck_assert_int_eq(puts[i].status, 0);
	}
	box_body(HIT, body, BODY);
	damage_in_log(body, BODY);
	do {
		ck_assert_int_eq(box_put(&box, 1, 12000, &id), 0);
		spool_done(box.spool, id);
		spool_stats(box.spool, &stats);
	} while (stats.in_files < KEPT - 1);
	while (files_folder(id + 1) != files_folder(puts[HIT].id)) {
		ck_assert_int_eq(box_put(&box, 1, 100, &id), 0);
		spool_done(box.spool, id);
	}
	ck_assert_int_eq(box_put(&box, 1, 40000, &id), 0);
	ck_assert_uint_eq(files_folder(id), files_folder(puts[HIT].id));
	box_close(&box);
}
END_TEST

START_TEST(a_folder_that_cannot_be_listed_costs_no_state)
{
	char folder[300], away[320];
	const struct box_found *found;
	uint64_t id, other;

	box_open(&box);
	ck_assert_int_eq(box_put(&box, 0, 20000, &id), 0);
	ck_assert_int_eq(box_state(&box, id, "tried"), 0);
	box_close(&box);
	(void)snprintf(folder, sizeof(folder), "%s", file_of(id));
	*strrchr(folder, '/') = '\0';
	snprintf(away, sizeof(away), "%s-away", folder);
	ck_assert_int_eq(rename(folder, away), 0);
	write_file(folder, "");

	/* it ends, and not as if there were no such message */
	ck_assert_int_eq(box_try_open(&box), 0);
	box_wait(&box, &box.is_broken);
	ck_assert(!box.is_loaded);
	ck_assert_int_lt(box_put(&box, 1, 100, &other), 0);
	box_close(&box);

	ck_assert_int_eq(unlink(folder), 0);
	ck_assert_int_eq(rename(away, folder), 0);
	box_open(&box);
	found = box_find(&box, id);
	ck_assert_ptr_nonnull(found);
	ck_assert_str_eq(found->states, "tried\n");
	box_close(&box);
}
END_TEST

/* -------------------------------------------------------------- kill -9 */

struct told {
	uint64_t id;
	unsigned seed, is_done;
};

static int told_fd;

struct writer {
	struct box_put put;
	unsigned seed;
};

static void start_writer(struct writer *writer);

/* Four endless writers; every acknowledgement goes through the pipe before
 * anything else happens. Every second message is settled. */
static void
on_child_end(void *owner, int status)
{
	struct box_put *put = owner;
	struct writer *writer = container_of(put, struct writer, put);
	struct told told = {put->id, writer->seed, writer->seed % 2};

	if (status != 0 || write(told_fd, &told, sizeof(told)) != sizeof(told))
		_exit(1);
	if (told.is_done != 0)
		spool_done(box.spool, put->id);
	writer->seed += 4;
	start_writer(writer);
}

static void
start_writer(struct writer *writer)
{
	uint8_t body[3000];
	char envelope[64];

	box_begin(&box, &writer->put);
	writer->put.put.on_end = on_child_end;
	box_body(writer->seed, body, sizeof(body));
	box_envelope(writer->seed, envelope);
	spool_put_data(&writer->put.put, body, sizeof(body));
	spool_put_end(&writer->put.put, envelope);
}

static void
run_child(void)
{
	struct writer writers[4];

	box_open(&box);
	for (unsigned i = 0; i < 4; i++) {
		writers[i].seed = i;
		start_writer(&writers[i]);
	}
	uv_run(&box.loop, UV_RUN_DEFAULT);
	_exit(1);
}

START_TEST(kill_9_loses_nothing_that_was_acknowledged)
{
	size_t acks = 0;

	box.opts.segments_soft = 4;
	for (unsigned round = 0; round < 12; round++) {
		static struct told told[200000];
		size_t count = 0, want = 40 + 90 * round;
		int fds[2];
		pid_t child;

		box.opts.files_per_s = round % 2;
		ck_assert_int_eq(pipe(fds), 0);
		child = fork();
		if (child == 0) {
			told_fd = fds[1];
			run_child();
		}
		close(fds[1]);
		while (read(fds[0], &told[count], sizeof(*told)) ==
		       sizeof(*told)) {
			count++;
			if (count == want)
				kill(child, SIGKILL);
		}
		close(fds[0]);
		ck_assert_int_eq(waitpid(child, NULL, 0), child);
		ck_assert_uint_ge(count, want);
		acks += count;
		box_open(&box);
		ck_assert_uint_eq(box.errors, 0);
		for (size_t i = 0; i < count; i++) {
			if (told[i].is_done == 0)
				ck_assert_ptr_nonnull(
					box_find(&box, told[i].id));
			if (i % 16 == 0 && told[i].is_done == 0)
				ck_assert_int_eq(box_check_body(&box,
								told[i].id,
								told[i].seed,
								3000),
						 0);
		}
		for (size_t i = 0; i < box.found_count; i++)
			spool_done(box.spool, box.found[i].id);
		box_close(&box);
	}
	ck_assert_uint_gt(acks, 5000);
}
END_TEST

UNIT_MAIN(
	"spool_faults",
	tcase_add_checked_fixture(tc, world_setup, world_teardown);
	tcase_set_timeout(tc, 600);
	tcase_add_test(tc,
		       a_flipped_byte_costs_at_most_what_it_hit_and_is_told);
	tcase_add_loop_test(tc, a_damaged_log_opens_and_twice_is_the_same, 0,
			    8);
	tcase_add_loop_test(tc, a_file_that_was_cut_or_damaged_is_set_aside, 0,
			    4);
	tcase_add_test(tc, stumps_of_segments_are_no_segments);
	tcase_add_test(tc, a_damaged_message_does_not_close_its_folder);
	tcase_add_test(tc, a_folder_that_cannot_be_listed_costs_no_state);
	tcase_add_test(tc, an_append_that_was_cut_short_is_made_again);
	tcase_add_loop_test(tc,
			    an_append_behind_a_state_never_saved_is_made_again,
			    0, (int)(sizeof(rooms) / sizeof(rooms[0])));
	tcase_add_test(tc, a_state_that_comes_late_undoes_none_that_was_saved);
	tcase_add_test(tc, kill_9_loses_nothing_that_was_acknowledged);)
