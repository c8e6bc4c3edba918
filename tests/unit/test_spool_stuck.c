/* SPDX-License-Identifier: ISC */
/* Files of settled messages that the disk does not let go. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>

#include "queue/spool/internal.h"
#include "tests/unit/spool_box.h"

static struct box box;
static atomic_int stays; /* the errno that no message file is removed with */

static int
sticky_unlinkat(int dir, const char *name, int flags)
{
	int error = atomic_load(&stays);

	if (error == 0 || strchr(name, '/') == NULL)
		return disk_calls_real.unlinkat(dir, name, flags);
	errno = error;
	return -1;
}

static void
setup(void)
{
	static struct disk_calls calls;

	calls = disk_calls_real;
	calls.unlinkat = sticky_unlinkat;
	atomic_store(&stays, 0);
	box_init(&box);
	box.opts.segments_soft = 3;
	box.opts.segments_hard = 6;
	disk_use(&calls);
}

static void
teardown(void)
{
	disk_use(NULL);
	box_done(&box);
}

/* Some turns of the log: more than its hard limit has room for. */
static void
go_round(void)
{
	uint64_t id;

	for (unsigned i = 0; i < 60; i++) {
		ck_assert_int_eq(box_put(&box, i, 12000, &id), 0);
		spool_done(box.spool, id);
	}
}

static unsigned
message_files(void)
{
	char command[300];
	unsigned count = 0;
	FILE *from;

	snprintf(command, sizeof(command), "find '%s/msg' -type f | wc -l",
		 box.dir);
	from = popen(command, "r");
	ck_assert_ptr_nonnull(from);
	ck_assert_int_eq(fscanf(from, "%u", &count), 1);
	pclose(from);
	return count;
}

static const int errors[] = {EIO, EPERM};

START_TEST(a_file_that_cannot_be_removed_stops_no_mail_and_is_sent_once)
{
	uint64_t ids[3], id, head;
	bool is_removed = false;

	box_open(&box);
	for (unsigned i = 0; i < COUNT(ids); i++) /* large: a file each */
		ck_assert_int_eq(box_put(&box, i, 40000, &ids[i]), 0);
	atomic_store(&stays, errors[_i]);
	for (unsigned i = 0; i < COUNT(ids); i++)
		spool_done(box.spool, ids[i]);
	head = box.spool->durable_head;
	go_round();
	ck_assert(!box.is_broken);
	ck_assert_uint_gt(box.spool->durable_head, head + 6);
	ck_assert_uint_eq(box.errors, 1);
	ck_assert_ptr_nonnull(strstr(box.last_report, "cannot be removed"));
	ck_assert_ptr_nonnull(strstr(box.last_report, "msg/"));
	box_close(&box);
	ck_assert_uint_eq(message_files(), COUNT(ids));
	/* and so over restarts, with the log going round in between */
	for (unsigned turn = 0; turn < 3; turn++) {
		box_open(&box);
		ck_assert_uint_eq(box.found_count, 0);
		go_round();
		ck_assert(!box.is_broken);
		box_close(&box);
	}
	/* until somebody mends it */
	atomic_store(&stays, 0);
	box_open(&box);
	ck_assert_uint_eq(box.found_count, 0);
	for (unsigned i = 0; i < 200 && !is_removed; i++) {
		ck_assert_int_eq(box_put(&box, i, 12000, &id), 0);
		spool_done(box.spool, id);
		is_removed = message_files() == 0;
	}
	ck_assert(is_removed);
	box_close(&box);
}
END_TEST

UNIT_MAIN("spool_stuck", tcase_add_checked_fixture(tc, setup, teardown);
	  tcase_set_timeout(tc, 120); tcase_add_loop_test(
		  tc,
		  a_file_that_cannot_be_removed_stops_no_mail_and_is_sent_once,
		  0, (int)COUNT(errors));)
