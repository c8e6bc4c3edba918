/* SPDX-License-Identifier: ISC */
#include <dirent.h>
#include <sys/file.h>

#include "queue/spool/format.h"
#include "tests/unit/spool_world.h"

START_TEST(ids_are_text_and_back)
{
	static const uint64_t ids[] = {1, 31, 32, 0x123456789abcdefu,
				       FORMAT_ID_MAX};
	char text[SPOOL_ID_MAX];
	uint64_t id;

	for (size_t i = 0; i < COUNT(ids); i++) {
		ck_assert_uint_eq(strlen(spool_id_format(ids[i], text)), 13);
		ck_assert(spool_id_parse(text, &id));
		ck_assert_uint_eq(id, ids[i]);
	}
	ck_assert(!spool_id_parse("", &id));
	ck_assert(!spool_id_parse("0000000000000", &id));
	ck_assert(!spool_id_parse("000000000001", &id));
	ck_assert(!spool_id_parse("00000000000011", &id));
	ck_assert(!spool_id_parse("000000000000U", &id));
	ck_assert(!spool_id_parse("G000000000000", &id));
	/* nothing could follow it */
	ck_assert(!spool_id_parse("FZZZZZZZZZZZZ", &id));
	ck_assert(!spool_id_parse("4000000000000", &id));
}
END_TEST

static const size_t sizes[] = {0,    1,	   7,	  8,	 100,	 2047,
			       2048, 5000, 16384, 16385, 100000, 1500000};

START_TEST(a_message_is_there_after_a_restart)
{
	size_t len = sizes[_i];
	struct box_text text;
	char envelope[64];
	uint64_t id;

	box_open(&box);
	ck_assert_uint_eq(box.found_count, 0);
	ck_assert_int_eq(box_put(&box, 3, len, &id), 0);
	ck_assert_int_eq(box_check_body(&box, id, 3, len), 0);
	box_close(&box);
	box_open(&box);
	ck_assert_uint_eq(box.errors, 0);
	ck_assert_uint_eq(box.found_count, 1);
	box_envelope(3, envelope);
	ck_assert_uint_eq(box.found[0].id, id);
	ck_assert_str_eq(box.found[0].envelope, envelope);
	ck_assert_str_eq(box.found[0].states, "");
	ck_assert_uint_eq(box.found[0].body_bytes, len);
	ck_assert_int_eq(box_check_body(&box, id, 3, len), 0);
	ck_assert_int_eq(box_load(&box, id, &text), 0);
	ck_assert_str_eq(text.envelope, envelope);
	ck_assert_uint_eq(text.body_bytes, len);
	box_text_done(&text);
	box_close(&box);
}
END_TEST

START_TEST(states_come_back_in_order_and_done_ends_a_message)
{
	struct box_text text;
	uint64_t ids[3];

	box_open(&box);
	ck_assert_int_eq(box_put(&box, 1, 10, &ids[0]), 0);
	ck_assert_int_eq(box_put(&box, 2, 5000, &ids[1]), 0);
	ck_assert_int_eq(box_put(&box, 3, 50000, &ids[2]), 0);
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_int_eq(box_state(&box, ids[i], "one"), 0);
		ck_assert_int_eq(box_state(&box, ids[i], "two"), 0);
	}
	ck_assert_int_eq(box_load(&box, ids[2], &text), 0);
	ck_assert_str_eq(text.states, "one\ntwo\n");
	box_text_done(&text);
	box_close(&box);
	box_open(&box);
	ck_assert_uint_eq(box.found_count, 3);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_str_eq(box.found[i].states, "one\ntwo\n");
	ck_assert_int_eq(box_state(&box, ids[0], "three"), 0);
	spool_done(box.spool, ids[1]);
	spool_done(box.spool, ids[2]);
	ck_assert_int_eq(box_load(&box, ids[1], &text), -ENOENT);
	ck_assert_int_eq(box_state(&box, ids[2], "late"), -ENOENT);
	box_close(&box);
	box_open(&box);
	ck_assert_uint_eq(box.errors, 0);
	ck_assert_uint_eq(box.found_count, 1);
	ck_assert_uint_eq(box.found[0].id, ids[0]);
	ck_assert_str_eq(box.found[0].states, "one\ntwo\nthree\n");
	box_close(&box);
}
END_TEST

START_TEST(an_aborted_message_is_nowhere)
{
	struct box_put put;
	uint64_t id;

	box_open(&box);
	box_begin(&box, &put);
	spool_put_data(&put.put, "x", 1);
	spool_put_abort(&put.put);
	box_start(&box, &put, 1, 100); /* ended, not durable yet */
	spool_put_abort(&put.put);
	box_start(&box, &put, 1, 100000); /* the same in a file */
	spool_put_abort(&put.put);
	ck_assert_int_eq(box_put(&box, 2, 100, &id), 0);
	box_close(&box);
	ck_assert(!put.is_over);
	box_open(&box);
	ck_assert_uint_eq(box.found_count, 1);
	ck_assert_uint_eq(box.found[0].id, id);
	box_close(&box);
}
END_TEST

/* Ends a put that is refused at once, and gives it up before it hears. */
static void
on_end_give_up_another(void *owner, int status)
{
	struct box_put *first = owner, other;
	char *envelope = mem_zalloc((5u << 20) + 1);

	first->status = status;
	first->is_over = true;
	box_begin(&box, &other);
	memset(envelope, 'x', 5u << 20);
	spool_put_end(&other.put, envelope);
	spool_put_abort(&other.put);
	free(envelope);
}

START_TEST(a_put_may_be_given_up_while_another_is_refused)
{
	char *envelope = mem_zalloc((5u << 20) + 1);
	struct box_put put;

	memset(envelope, 'x', 5u << 20);
	box_open(&box);
	box_begin(&box, &put);
	put.put.on_end = on_end_give_up_another;
	spool_put_end(&put.put, envelope);
	box_wait(&box, &put.is_over);
	ck_assert_int_eq(put.status, -EMSGSIZE);
	box_close(&box);
	free(envelope);
}
END_TEST

START_TEST(a_group_is_one_batch)
{
	struct box_put puts[3];
	struct spool_stats before, after;
	uint64_t id;

	box_open(&box);
	ck_assert_int_eq(box_put(&box, 1, 100, &id), 0);
	spool_stats(box.spool, &before);
	spool_group_begin(box.spool);
	for (unsigned i = 0; i < 3; i++)
		box_start(&box, &puts[i], 10 + i, 3000);
	spool_state(box.spool, id, "reported", NULL, NULL);
	spool_done(box.spool, id);
	spool_group_end(box.spool);
	for (unsigned i = 0; i < 3; i++) {
		box_wait(&box, &puts[i].is_over);
		ck_assert_int_eq(puts[i].status, 0);
	}
	spool_stats(box.spool, &after);
	ck_assert_uint_eq(after.commits, before.commits + 1);
	ck_assert_uint_eq(after.messages, 3);
	box_close(&box);
	box_open(&box);
	ck_assert_uint_eq(box.found_count, 3);
	box_close(&box);
}
END_TEST

/* 0: as usual; 1: one file a second, the others are copied within the log;
 * 2: but not while a backup is made */
START_TEST(old_mail_makes_room_and_segments_are_used_again)
{
	enum { KEPT = 20, ROUNDS = 60, EACH = 20 };
	uint64_t kept[KEPT], ids[EACH];
	struct box_put puts[EACH];
	struct spool_stats stats;

	box.opts.segments_soft = 4;
	box.opts.segments_hard = 8;
	box.opts.files_per_s = _i == 0 ? 0 : 1;
	if (_i == 2)
		write_file(in_spool("backup"), "");
	box_open(&box);
	for (unsigned i = 0; i < KEPT; i++) {
		ck_assert_int_eq(box_put(&box, i, 200 + i, &kept[i]), 0);
		ck_assert_int_eq(box_state(&box, kept[i], "deferred"), 0);
	}
	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned i = 0; i < EACH; i++)
			box_start(&box, &puts[i], i, 3000);
		for (unsigned i = 0; i < EACH; i++) {
			box_wait(&box, &puts[i].is_over);
			ck_assert_int_eq(puts[i].status, 0);
			ids[i] = puts[i].id;
		}
		for (unsigned i = 0; i < EACH; i++)
			spool_done(box.spool, ids[i]);
		/* states of messages that are files by now */
		ck_assert_int_eq(box_state(&box, kept[round % KEPT], "again"),
				 0);
	}
	spool_stats(box.spool, &stats);
	ck_assert_uint_eq(stats.messages, KEPT);
	ck_assert_uint_le(stats.log_bytes, 8 * 65536);
	ck_assert_uint_gt(stats.in_files, 0);
	ck_assert_int_eq(stats.copied != 0, _i == 1);
	for (unsigned i = 0; i < KEPT; i++)
		ck_assert_int_eq(box_check_body(&box, kept[i], i, 200 + i), 0);
	for (unsigned again = 0; again < 2; again++) {
		box_close(&box);
		box_open(&box);
		ck_assert_uint_eq(box.errors, 0);
		ck_assert_uint_eq(box.found_count, KEPT);
		for (unsigned i = 0; i < KEPT; i++) {
			const struct box_found *found = box_find(&box, kept[i]);

			ck_assert_ptr_nonnull(found);
			ck_assert_str_eq(found->states,
					 "deferred\nagain\nagain\nagain\n");
			ck_assert_int_eq(box_check_body(&box, kept[i], i,
							200 + i),
					 0);
		}
	}
	for (unsigned i = 0; i < KEPT; i++)
		spool_done(box.spool, kept[i]);
	box_close(&box);
	box_open(&box);
	ck_assert_uint_eq(box.found_count, 0);
	box_close(&box);
}
END_TEST

START_TEST(a_log_that_grew_shrinks_when_its_mail_is_gone)
{
	enum { AT_ONCE = 200, SOFT = 4, LONGEST_S = 60 };
	static struct box_put puts[AT_ONCE];
	struct spool_stats stats;
	uint64_t id, since;

	box.opts.segments_soft = SOFT;
	box.opts.segments_hard = 64;
	box_open(&box);
	for (unsigned i = 0; i < AT_ONCE; i++)
		box_start(&box, &puts[i], i, 6000);
	for (unsigned i = 0; i < AT_ONCE; i++) {
		box_wait(&box, &puts[i].is_over);
		ck_assert_int_eq(puts[i].status, 0);
	}
	spool_stats(box.spool, &stats);
	ck_assert_uint_gt(stats.log_bytes, SOFT * 65536);
	for (unsigned i = 0; i < AT_ONCE; i++)
		spool_done(box.spool, puts[i].id);
	/* the head goes by batches, and what was made ahead by seconds */
	since = uv_hrtime();
	while (stats.log_bytes > SOFT * 65536 &&
	       uv_hrtime() - since < LONGEST_S * UINT64_C(1000000000)) {
		ck_assert_int_eq(box_put(&box, 0, 1000, &id), 0);
		spool_done(box.spool, id);
		spool_stats(box.spool, &stats);
	}
	ck_assert_uint_le(stats.log_bytes, SOFT * 65536);
	box_close(&box);
}
END_TEST

START_TEST(a_body_stays_in_memory_until_it_is_forgotten)
{
	struct spool_stats stats;
	uint64_t id, other;
	size_t len;

	box.opts.memory_bytes = 10000;
	box_open(&box);
	ck_assert_int_eq(box_put(&box, 1, 6000, &id), 0);
	ck_assert_int_eq(box_put(&box, 2, 6000, &other), 0);
	ck_assert_ptr_nonnull(spool_body(box.spool, id, &len));
	ck_assert_uint_eq(len, 6000);
	ck_assert_ptr_null(spool_body(box.spool, other, &len));
	spool_pin(box.spool, id);
	spool_forget_body(box.spool, id);
	ck_assert_ptr_nonnull(spool_body(box.spool, id, &len));
	spool_done(box.spool, id);
	ck_assert_ptr_nonnull(spool_body(box.spool, id, &len));
	ck_assert_int_eq(box_put(&box, 3, 6000, &other), 0);
	spool_unpin(box.spool, id);
	ck_assert_ptr_null(spool_body(box.spool, id, &len));
	spool_stats(box.spool, &stats);
	ck_assert_uint_eq(stats.bodies_bytes, 0);
	box_close(&box);
}
END_TEST

START_TEST(a_second_process_is_kept_out)
{
	int fd = open(in_spool("LOCK"), O_RDWR | O_CREAT, 0600);
	struct err err;

	ck_assert_int_eq(flock(fd, LOCK_EX), 0);
	ck_assert_int_eq(box_try_open(&box), -EBUSY);
	ck_assert_int_eq(spool_scan(box.dir, box_add_found, box_on_report, &box,
				    &err),
			 -EBUSY);
	close(fd);
	box_open(&box);
	box_close(&box);
}
END_TEST

START_TEST(a_newer_or_damaged_version_is_refused)
{
	box_open(&box);
	box_close(&box);
	write_file(in_spool("VERSION"), "ostler-spool 2 0123456789abcdef\n");
	ck_assert_int_eq(box_try_open(&box), -EPROTO);
	ck_assert_ptr_nonnull(strstr(box.err.text, "newer"));
	write_file(in_spool("VERSION"), "ostler-spool 1 0123\n");
	ck_assert_int_eq(box_try_open(&box), -EBADMSG);
	ck_assert_int_eq(unlink(in_spool("VERSION")), 0);
	ck_assert_int_eq(box_try_open(&box), -EBADMSG);
}
END_TEST

START_TEST(a_spool_of_another_user_is_refused)
{
	ck_assert_int_eq(chown(box.dir, 65534, 65534), 0);
	ck_assert_int_eq(box_try_open(&box), -EACCES);
	ck_assert_int_eq(chown(box.dir, 0, 0), 0);
}
END_TEST

START_TEST(ids_are_never_used_twice)
{
	uint64_t last = 0, id;

	for (unsigned round = 0; round < 5; round++) {
		struct box_put put;

		box_open(&box);
		box_begin(&box, &put); /* leaves no trace in the log */
		ck_assert_uint_gt(put.id, last);
		last = put.id;
		spool_put_abort(&put.put);
		ck_assert_int_eq(box_put(&box, 1, 10, &id), 0);
		ck_assert_uint_gt(id, last);
		last = id;
		spool_done(box.spool, id);
		box_close(&box);
	}
}
END_TEST

START_TEST(a_stopped_spool_can_be_read_and_is_not_changed)
{
	struct err err;
	uint64_t ids[2];

	box_open(&box);
	ck_assert_int_eq(box_put(&box, 1, 100, &ids[0]), 0);
	ck_assert_int_eq(box_put(&box, 2, 100000, &ids[1]), 0);
	ck_assert_int_eq(box_state(&box, ids[0], "a"), 0);
	ck_assert_int_eq(box_state(&box, ids[1], "b"), 0);
	ck_assert_int_eq(spool_scan(box.dir, box_add_found, box_on_report, &box,
				    &err),
			 -EBUSY);
	box_close(&box);
	for (unsigned again = 0; again < 2; again++) {
		box_forget(&box);
		ck_assert_int_eq(spool_scan(box.dir, box_add_found,
					    box_on_report, &box, &err),
				 0);
		ck_assert_uint_eq(box.errors, 0);
		ck_assert_uint_eq(box.found_count, 2);
		ck_assert_str_eq(box_find(&box, ids[0])->states, "a\n");
		ck_assert_str_eq(box_find(&box, ids[1])->states, "b\n");
	}
	box_open(&box);
	ck_assert_uint_eq(box.found_count, 2);
	box_close(&box);
}
END_TEST

UNIT_MAIN("spool", tcase_add_checked_fixture(tc, world_setup, world_teardown);
	  tcase_add_test(tc, ids_are_text_and_back);
	  tcase_add_loop_test(tc, a_message_is_there_after_a_restart, 0,
			      COUNT(sizes));
	  tcase_add_test(tc, states_come_back_in_order_and_done_ends_a_message);
	  tcase_add_test(tc, an_aborted_message_is_nowhere);
	  tcase_add_test(tc, a_put_may_be_given_up_while_another_is_refused);
	  tcase_add_test(tc, a_group_is_one_batch); tcase_add_loop_test(
		  tc, old_mail_makes_room_and_segments_are_used_again, 0, 3);
	  tcase_add_test(tc, a_log_that_grew_shrinks_when_its_mail_is_gone);
	  tcase_add_test(tc, a_body_stays_in_memory_until_it_is_forgotten);
	  tcase_add_test(tc, a_second_process_is_kept_out);
	  tcase_add_test(tc, a_newer_or_damaged_version_is_refused);
	  /* who may not give one away cannot try that */
	  if (geteuid() == 0)
		  tcase_add_test(tc, a_spool_of_another_user_is_refused);
	  else puts("skipped: a_spool_of_another_user_is_refused needs root");
	  tcase_add_test(tc, ids_are_never_used_twice);
	  tcase_add_test(tc, a_stopped_spool_can_be_read_and_is_not_changed);)
