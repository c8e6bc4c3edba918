/* SPDX-License-Identifier: ISC */
/* The committer alone: what it writes when, and what a failure leaves. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/crc32c.h"
#include "lib/mem.h"
#include "queue/spool/body.h"
#include "queue/spool/commit.h"
#include "queue/spool/disk.h"

#define TAG	   0x5eed5eed5eedu
#define SEGMENT	   ((uint32_t)1 << 20)
#define LONG_NS	   60000000000u /* longer than any test */
#define CALLS_MAX  4096
#define MILLISEC   1000000u
#define WAIT_TRIES 20000u

enum call_type { WRITE, SYNC };
struct call {
	enum call_type type;
	int fd;
	uint64_t at, len;
};

static pthread_mutex_t calls_lock = PTHREAD_MUTEX_INITIALIZER;
static struct call calls[CALLS_MAX];
static size_t call_count;
static size_t failing_call; /* 1: the first; 0: none */
static int failing_errno;

static uv_loop_t loop;
static uv_async_t notify;
static struct committer committer;
static struct segment segments[2];
static struct body_pool bodies;
static uint64_t next_id;

/* ------------------------------------------------------------- the disk */

/* Returns 0, or the error that it is to fail with. */
static int
note_call(enum call_type type, int fd, uint64_t at, uint64_t len)
{
	int error;

	pthread_mutex_lock(&calls_lock);
	ck_assert_uint_lt(call_count, CALLS_MAX);
	calls[call_count++] = (struct call){type, fd, at, len};
	error = call_count == failing_call ? failing_errno : 0;
	pthread_mutex_unlock(&calls_lock);
	return error;
}

static ssize_t
t_pwritev(int fd, const struct iovec *iov, int count, off_t at)
{
	uint64_t len = 0;

	for (int i = 0; i < count; i++)
		len += iov[i].iov_len;
	errno = note_call(WRITE, fd, (uint64_t)at, len);
	return errno != 0 ? -1 : pwritev(fd, iov, count, at);
}

static int
t_fdatasync(int fd)
{
	errno = note_call(SYNC, fd, 0, 0);
	return errno != 0 ? -1 : 0;
}

static size_t
count_calls(void)
{
	size_t count;

	pthread_mutex_lock(&calls_lock);
	count = call_count;
	pthread_mutex_unlock(&calls_lock);
	return count;
}

/* ----------------------------------------------------------- the committer */

static void
on_notify(uv_async_t *handle)
{
	(void)handle;
}

static void
setup(void)
{
	static struct disk_calls disk;

	disk = disk_calls_real;
	disk.pwritev = t_pwritev;
	disk.fdatasync = t_fdatasync;
	disk_use(&disk);
	call_count = failing_call = 0;
	next_id = 1;
	ck_assert_int_eq(uv_loop_init(&loop), 0);
	ck_assert_int_eq(uv_async_init(&loop, &notify, on_notify), 0);
	committer_init(&committer, &notify);
	committer.tag = TAG;
	committer.ids = 1000000;
	committer.commit_ns = LONG_NS;
	for (unsigned i = 0; i < COUNT(segments); i++) {
		FILE *file = tmpfile();

		ck_assert_ptr_nonnull(file);
		segments[i] = (struct segment){.slot = i + 1, .bytes = SEGMENT};
		segments[i].fd = dup(fileno(file));
		ck_assert_int_eq(ftruncate(segments[i].fd, SEGMENT), 0);
		fclose(file);
		committer_add_segment(&committer, &segments[i]);
	}
}

static void
start(void)
{
	ck_assert_int_eq(committer_start(&committer), 0);
}

static void
teardown(void)
{
	committer_stop(&committer);
	committer_done(&committer);
	uv_close((uv_handle_t *)&notify, NULL);
	ck_assert_int_eq(uv_run(&loop, UV_RUN_DEFAULT), 0);
	ck_assert_int_eq(uv_loop_close(&loop), 0);
	for (unsigned i = 0; i < COUNT(segments); i++)
		close(segments[i].fd);
	body_pool_done(&bodies);
	disk_use(NULL);
}

/* One parcel with so many messages, whose bytes their ids tell. */
static void
give(unsigned count, size_t size, bool is_more_coming)
{
	struct list parcels;

	list_init(&parcels);
	if (count != 0) {
		struct parcel *parcel = parcel_new();

		for (unsigned i = 0; i < count; i++) {
			struct body *body = body_new(&bodies);
			struct record_head record = {
				.type = RECORD_MSG,
				.id = next_id++,
				.text_bytes = 5,
				.payload = (uint32_t)(5 + size),
				.text_crc = crc32c(0, "text\n", 5),
			};

			body_reserve(body, size);
			for (size_t k = 0; k < size; k++)
				body->data[k] = (uint8_t)(record.id * 31 + k);
			body->bytes = size;
			record.body_crc = crc32c(0, body->data, size);
			(void)parcel_add(parcel, &record, "text\n", body);
			body_unref(body);
		}
		list_push(&parcels, &parcel->link);
	}
	committer_give(&committer, &parcels, is_more_coming);
}

/* The next batch that came back; the caller's, its parcels not. */
static struct batch *
next_batch(void)
{
	struct list *node = NULL;
	struct batch *batch;

	while (node == NULL) {
		pthread_mutex_lock(&committer.lock);
		node = list_pop(&committer.done);
		pthread_mutex_unlock(&committer.lock);
		if (node == NULL)
			(void)uv_run(&loop, UV_RUN_ONCE);
	}
	batch = container_of(node, struct batch, link);
	for (node = list_pop(&batch->parcels); node != NULL;
	     node = list_pop(&batch->parcels))
		parcel_free(container_of(node, struct parcel, link));
	return batch;
}

static int
next_status(void)
{
	struct batch *batch = next_batch();
	int status = batch->status;

	free(batch);
	return status;
}

static void
wait_for_calls(size_t count)
{
	for (unsigned i = 0; i < WAIT_TRIES && count_calls() < count; i++)
		usleep(1000);
	ck_assert_uint_ge(count_calls(), count);
}

/* Adds up the records of all batches in a segment; each has to hold. */
static unsigned
count_records(const struct segment *segment, unsigned *out_batches)
{
	uint8_t *bytes = mem_alloc(SEGMENT);
	unsigned records = 0;
	uint32_t at = 0;

	*out_batches = 0;
	ck_assert_int_eq(disk_read(segment->fd, bytes, SEGMENT, 0), 0);
	while (at < SEGMENT) {
		uint32_t from = at + BATCH_HEADER;
		struct batch_head head;

		if (!batch_decode(bytes + at, TAG, SEGMENT - at, &head))
			break;
		for (unsigned i = 0; i < head.records; i++) {
			struct record_place place = {TAG, head.segno, head.seq};
			struct record_head record;

			ck_assert_int_eq(record_decode(bytes + from,
						       SEGMENT - from, &place,
						       true, &record),
					 RECORD_GOOD);
			from += (uint32_t)record_bytes(&record);
		}
		ck_assert_uint_eq(from, at + head.used);
		records += head.records;
		(*out_batches)++;
		at += head.bytes;
	}
	free(bytes);
	return records;
}

/* ------------------------------------------------------------------ tests */

START_TEST(a_short_turn_is_one_write_and_one_sync)
{
	unsigned batches;

	start();
	give(3, 3000, false);
	ck_assert_int_eq(next_status(), 0);
	ck_assert_uint_eq(call_count, 2);
	ck_assert_int_eq(calls[0].type, WRITE);
	ck_assert_int_eq(calls[1].type, SYNC);
	ck_assert_uint_eq(count_records(&segments[0], &batches), 3);
	ck_assert_uint_eq(batches, 1);
}
END_TEST

START_TEST(a_turn_is_written_while_it_goes_on_and_its_header_last)
{
	unsigned batches;

	start();
	give(4, 5000, true);
	wait_for_calls(1);
	give(2, 7000, true);
	wait_for_calls(2);
	give(1, 100, false);
	ck_assert_int_eq(next_status(), 0);
	ck_assert_uint_ge(call_count, 4);
	for (size_t i = 0; i + 2 < call_count; i++) {
		ck_assert_int_eq(calls[i].type, WRITE);
		/* whole blocks, one behind the other, not the first */
		ck_assert_uint_eq(calls[i].at,
				  i == 0 ? FORMAT_BLOCK
					 : calls[i - 1].at + calls[i - 1].len);
		ck_assert_uint_eq(calls[i].len % FORMAT_BLOCK, 0);
	}
	ck_assert_int_eq(calls[call_count - 2].type, WRITE);
	ck_assert_uint_eq(calls[call_count - 2].at, 0);
	ck_assert_uint_eq(calls[call_count - 2].len, FORMAT_BLOCK);
	ck_assert_int_eq(calls[call_count - 1].type, SYNC);
	ck_assert_uint_eq(count_records(&segments[0], &batches), 7);
	ck_assert_uint_eq(batches, 1);
}
END_TEST

START_TEST(a_turn_that_ends_with_nothing_more_is_a_batch)
{
	unsigned batches;

	start();
	give(4, 5000, true);
	wait_for_calls(1);
	give(0, 0, false);
	ck_assert_int_eq(next_status(), 0);
	ck_assert_uint_eq(count_records(&segments[0], &batches), 4);
	ck_assert_uint_eq(batches, 1);
}
END_TEST

START_TEST(a_long_turn_is_not_waited_for)
{
	committer.commit_ns = MILLISEC;
	start();
	give(4, 5000, true);
	ck_assert_int_eq(next_status(), 0);
	/* nor does a stop wait */
	committer_stop(&committer);
}
END_TEST

START_TEST(who_waited_shares_a_batch_with_those_who_come_again)
{
	struct batch *batch;

	start();
	give(1, 100, false);
	ck_assert_int_eq(next_status(), 0);
	/* the turn which that batch began has not ended */
	give(1, 100, true);
	give(1, 100, false);
	batch = next_batch();
	ck_assert_int_eq(batch->status, 0);
	ck_assert_uint_eq(batch->records, 2);
	free(batch);
}
END_TEST

/* Of any sizes, given in any way, across the end of a segment. */
START_TEST(all_that_was_given_can_be_read)
{
	unsigned long dice = 88172645463325252u + (unsigned long)_i;
	unsigned given = 0, batches, other;
	size_t bytes = 0;

	committer.commit_ns = _i % 2 == 0 ? LONG_NS : MILLISEC / 10;
	start();
	while (bytes < SEGMENT + SEGMENT / 4) {
		unsigned count;
		size_t size;

		dice ^= dice << 13;
		dice ^= dice >> 7;
		dice ^= dice << 17;
		count = (unsigned)(dice >> 20) % 4;
		size = (dice >> 30) % ((dice >> 50) % 3 == 0 ? 20000 : 3000);
		give(count, size, (dice >> 40) % 4 != 0);
		given += count;
		bytes += count * (size + 64);
		if ((dice >> 45) % 8 == 0)
			usleep(100);
	}
	give(0, 0, false);
	committer_stop(&committer);
	while (!list_is_empty(&committer.done))
		ck_assert_int_eq(next_status(), 0);
	ck_assert_uint_eq(count_records(&segments[0], &batches) +
				  count_records(&segments[1], &other),
			  given);
	ck_assert_uint_gt(batches, 0);
	ck_assert_uint_gt(other, 0);
}
END_TEST

/* The n-th call fails, of: two writes ahead, what is left, header, sync. */
START_TEST(no_room_for_a_part_voids_the_batch_and_nothing_else)
{
	unsigned batches;

	failing_call = (size_t)_i + 1;
	failing_errno = ENOSPC;
	start();
	give(4, 5000, true);
	if (_i > 0) {
		wait_for_calls(1);
		give(4, 5000, true);
	}
	if (_i > 1) {
		wait_for_calls(2);
		give(1, 5000, false);
	}
	ck_assert_int_eq(next_status(), -ENOSPC);
	ck_assert(!segments[0].is_tainted);
	ck_assert_uint_eq(count_records(&segments[0], &batches), 0);
	ck_assert_uint_eq(calls[call_count - 1].type, WRITE);

	/* the same place and number serve the next */
	give(2, 9000, false);
	ck_assert_int_eq(next_status(), 0);
	ck_assert_uint_eq(count_records(&segments[0], &batches), 2);
	ck_assert_uint_eq(committer.seq, 2);
}
END_TEST

START_TEST(an_error_in_any_part_moves_on_to_another_segment)
{
	unsigned batches;

	failing_call = (size_t)_i + 1;
	failing_errno = EIO;
	start();
	give(4, 5000, true);
	if (_i > 0) {
		wait_for_calls(1);
		give(4, 5000, true);
	}
	if (_i > 1) {
		wait_for_calls(2);
		give(1, 5000, false);
	}
	ck_assert_int_eq(next_status(), -EIO);
	ck_assert(segments[0].is_tainted);
	ck_assert_uint_eq(call_count, failing_call);

	give(2, 9000, false);
	ck_assert_int_eq(next_status(), 0);
	ck_assert_uint_eq(count_records(&segments[1], &batches), 2);
	ck_assert_uint_eq(committer.seq, 2);
	for (size_t i = failing_call; i < call_count; i++)
		ck_assert_int_eq(calls[i].fd, segments[1].fd);
}
END_TEST

UNIT_MAIN(
	"spool_commit", tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_short_turn_is_one_write_and_one_sync);
	tcase_add_test(tc,
		       a_turn_is_written_while_it_goes_on_and_its_header_last);
	tcase_add_test(tc, a_turn_that_ends_with_nothing_more_is_a_batch);
	tcase_add_test(tc, a_long_turn_is_not_waited_for);
	tcase_add_test(tc, who_waited_shares_a_batch_with_those_who_come_again);
	tcase_add_loop_test(tc, all_that_was_given_can_be_read, 0, 20);
	tcase_add_loop_test(tc,
			    no_room_for_a_part_voids_the_batch_and_nothing_else,
			    0, 4);
	tcase_add_loop_test(tc,
			    an_error_in_any_part_moves_on_to_another_segment, 0,
			    5);)
