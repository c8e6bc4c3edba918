/* SPDX-License-Identifier: ISC */
/*
 * What becomes of mail: delivered, deferred, refused, expired; who travels
 * with whom; what is there after a restart.
 */
#include "tests/unit/queue_world.h"

/* -------------------------------------------------- delivered, or not */

START_TEST(accepted_mail_is_delivered_and_gone)
{
	struct world world;

	world_init(&world);
	SEND(&world, AUTHOR, "ok@a.test");
	run_until(&world, is_empty);
	log_is("mx a.test <author@home.test>: ok@a.test\n");
	ck_assert_uint_eq(stats_of(&world).delivered, 1);
	ck_assert_uint_eq(stats_of(&world).accepted, 1);
	world_reopen(&world);
	settle_down(&world);
	ck_assert_uint_eq(stats_of(&world).messages, 0);
	ck_assert_uint_eq(peer.started, 1);
	world_done(&world);
}
END_TEST

START_TEST(deferred_mail_is_tried_again_when_it_is_due)
{
	struct world world;

	world_init(&world);
	SEND(&world, AUTHOR, "later1@a.test");
	settle_down(&world);
	ck_assert_uint_eq(peer.started, 1);
	ck_assert_uint_eq(stats_of(&world).deferred, 1);
	advance(&world, 53); /* a minute less the jitter, and a little */
	settle_down(&world);
	ck_assert_uint_eq(peer.started, 1);
	advance(&world, 14);
	run_until(&world, is_empty);
	ck_assert_uint_eq(peer.started, 2);
	ck_assert_uint_eq(stats_of(&world).delivered, 1);
	ck_assert_uint_eq(stats_of(&world).deferrals, 1);
	ck_assert_uint_eq(stats_of(&world).deferred, 0);
	world_done(&world);
}
END_TEST

START_TEST(refused_mail_is_reported_to_its_sender)
{
	struct world world;

	world_init(&world);
	SEND(&world, AUTHOR, "never@a.test");
	run_until(&world, is_empty);
	log_is("mx a.test <author@home.test>: never@a.test\n"
	       "domain home.test <>: author@home.test\n");
	ck_assert_uint_eq(stats_of(&world).bounced, 1);
	world_reopen(&world);
	settle_down(&world);
	ck_assert_uint_eq(peer.started, 2);
	world_done(&world);
}
END_TEST

static const struct {
	const char *from;
	unsigned notify;
} unreported[] = {
	{"", NOTIFY_DEFAULT},
	{"", NOTIFY_FAILURE},
	{AUTHOR, NOTIFY_NEVER},
	{AUTHOR, NOTIFY_SUCCESS},
};

START_TEST(nobody_is_told_who_is_not_there_or_does_not_want_it)
{
	static const char *const to[] = {"never@a.test", NULL};
	struct world world;

	world_init(&world);
	(void)send_to(&world, unreported[_i].from, to, unreported[_i].notify);
	run_until(&world, is_empty);
	settle_down(&world);
	ck_assert_uint_eq(peer.started, 1);
	ck_assert_uint_eq(stats_of(&world).bounced, 1);
	world_done(&world);
}
END_TEST

START_TEST(one_report_tells_of_all_that_failed_alike)
{
	struct world world;

	world_init(&world);
	SEND(&world, AUTHOR, "never.a@a.test", "never.b@a.test", "ok@a.test",
	     "never2@a.test");
	run_until(&world, is_empty);
	settle_down(&world);
	log_is("mx a.test <author@home.test>: never.a@a.test never.b@a.test "
	       "ok@a.test never2@a.test\n"
	       "domain home.test <>: author@home.test\n"
	       "domain home.test <>: author@home.test\n");
	ck_assert_uint_eq(stats_of(&world).bounced, 3);
	ck_assert_uint_eq(stats_of(&world).delivered, 3);
	world_done(&world);
}
END_TEST

START_TEST(mail_that_is_never_taken_expires_with_a_warning_before)
{
	struct world world;
	unsigned reports = 0;

	world_init(&world);
	SEND(&world, AUTHOR, "later@a.test");
	settle_down(&world);
	for (unsigned hours = 0; hours < 121; hours++) {
		advance(&world, 3600);
		settle_down(&world);
		reports = (unsigned)stats_of(&world).delivered;
		ck_assert_uint_eq(reports, hours + 1 < 4     ? 0
					   : hours + 1 < 120 ? 1
							     : 2);
	}
	run_until(&world, is_empty);
	ck_assert_uint_eq(stats_of(&world).expired, 1);
	ck_assert_uint_eq(stats_of(&world).deferrals, 120);
	world_done(&world);
}
END_TEST

START_TEST(a_fault_of_our_own_is_not_reported_at_once)
{
	struct world world;

	world_init(&world);
	SEND(&world, AUTHOR, "own@a.test");
	settle_down(&world);
	ck_assert_uint_eq(stats_of(&world).messages, 1);
	ck_assert_uint_eq(stats_of(&world).deferrals, 1);
	advance(&world, 3601);
	run_until(&world, is_empty);
	ck_assert_uint_eq(stats_of(&world).bounced, 1);
	world_done(&world);
}
END_TEST

/* -------------------------------------------- recipients and next hops */

#define DAY_S ((uint64_t)86400)

START_TEST(a_clock_that_goes_back_keeps_nothing_waiting)
{
	struct world world;

	world_init(&world);
	SEND(&world, AUTHOR, "later1@a.test");
	SEND(&world, AUTHOR, "later@a.test");
	settle_down(&world);
	world.now_ms -= 700 * DAY_S * 1000;
	world_reopen(&world);
	settle_down(&world);
	/* one got through at once */
	ck_assert_uint_eq(stats_of(&world).delivered, 1);
	advance(&world, DAY_S + 1);
	settle_down(&world);
	/* the other's sender was warned */
	ck_assert_uint_eq(stats_of(&world).messages, 1);
	/* which expires in time, by its age since then */
	for (unsigned i = 0; i < 40; i++) {
		advance(&world, DAY_S / 8);
		settle_down(&world);
	}
	ck_assert_uint_eq(stats_of(&world).expired, 1);
	run_until(&world, is_empty);
	world_done(&world);
}
END_TEST

START_TEST(a_clock_that_goes_forward_loses_nothing)
{
	struct world world;

	world_init(&world);
	SEND(&world, AUTHOR, "later1@a.test");
	SEND(&world, AUTHOR, "later@a.test");
	settle_down(&world);
	buf_clear(&peer.log);
	world.now_ms += 700 * DAY_S * 1000;
	world_reopen(&world);
	run_until(&world, is_empty);
	/* one more attempt for all that is too old, and its sender hears */
	ck_assert_uint_eq(stats_of(&world).delivered, 2);
	ck_assert_uint_eq(stats_of(&world).expired, 1);
	ck_assert_ptr_nonnull(strstr(buf_text(&peer.log),
				     "domain home.test <>: author@home.test"));
	world_done(&world);
}
END_TEST

START_TEST(recipients_of_one_next_hop_travel_together)
{
	struct world world;
	const char *to[101];
	char address[100][32];

	world_init(&world);
	for (unsigned i = 0; i < 100; i++) {
		(void)snprintf(address[i], sizeof(address[i]), "ok%u@d%u.test",
			       i, i % 20);
		to[i] = address[i];
	}
	to[100] = NULL;
	(void)send_to(&world, AUTHOR, to, 0);
	run_until(&world, is_empty);
	ck_assert_uint_eq(peer.started, 20);
	ck_assert_uint_eq(stats_of(&world).delivered, 100);
	world_done(&world);
}
END_TEST

START_TEST(only_who_did_not_get_it_is_tried_again)
{
	struct world world;

	world_init(&world);
	SEND(&world, AUTHOR, "ok@a.test", "later1@a.test", "later1@b.test",
	     "ok@b.test", "ok@c.test");
	settle_down(&world);
	ck_assert_uint_eq(peer.started, 3);
	ck_assert_uint_eq(stats_of(&world).delivered, 3);
	ck_assert_uint_eq(stats_of(&world).queued, 2);
	buf_clear(&peer.log);
	advance(&world, 67);
	run_until(&world, is_empty);
	if (strstr(buf_text(&peer.log), "b.test") <
	    strstr(buf_text(&peer.log), "a.test"))
		log_is("mx b.test <author@home.test>: later1@b.test\n"
		       "mx a.test <author@home.test>: later1@a.test\n");
	else
		log_is("mx a.test <author@home.test>: later1@a.test\n"
		       "mx b.test <author@home.test>: later1@b.test\n");
	world_done(&world);
}
END_TEST

START_TEST(a_restart_in_between_keeps_what_became_of_each)
{
	struct world world;

	world_init(&world);
	SEND(&world, AUTHOR, "ok@a.test", "later1@a.test", "later1@b.test",
	     "never@b.test");
	settle_down(&world);
	ck_assert_uint_eq(stats_of(&world).delivered, 3 - 1);
	buf_clear(&peer.log);
	world_reopen(&world);
	settle_down(&world);
	/* not before its time */
	log_is("");
	ck_assert_uint_eq(stats_of(&world).messages, 1);
	ck_assert_uint_eq(stats_of(&world).deferred, 1);
	advance(&world, 67);
	run_until(&world, is_empty);
	ck_assert_uint_eq(peer.started, 5);
	ck_assert_uint_eq(stats_of(&world).delivered, 2);
	world_done(&world);
}
END_TEST

enum { STATES_MAX = 65536 };

static unsigned
count_lines(const char *text)
{
	unsigned lines = 0;

	for (; *text != '\0'; text++)
		lines += *text == '\n';
	return lines;
}

static void
on_found(void *arg, const struct spool_found *found)
{
	(void)snprintf(arg, STATES_MAX, "%s", found->states);
}

static void
on_report(void *arg, bool is_error, const char *file, const char *text)
{
	ck_abort_msg("%s: %s", file, text);
}

/* Of a stopped spool with one message. */
static void
states_of(const struct world *world, char out[STATES_MAX])
{
	struct err err = ERR_INIT;

	out[0] = '\0';
	ck_assert_int_eq(spool_scan(world->dir, on_found, on_report, out, &err),
			 0);
}

START_TEST(an_attempt_at_a_thousand_neighbours_is_a_line_or_two)
{
	static char addresses[1000][32], states[STATES_MAX];
	static const char *to[COUNT(addresses) + 1];
	struct world world;

	for (unsigned i = 0; i < COUNT(addresses); i++) {
		(void)snprintf(addresses[i], sizeof(addresses[i]),
			       "%s.%u@a.test", i == 500 ? "ok" : "later", i);
		to[i] = addresses[i];
	}
	world_init(&world);
	(void)send_to(&world, AUTHOR, to, 0);
	settle_down(&world);
	for (unsigned attempts = 1; attempts <= 2; attempts++) {
		char want[96];

		world_close(&world, 1000);
		states_of(&world, states);
		for (unsigned k = 0; k < 2; k++) {
			(void)snprintf(want, sizeof(want),
				       "to=%s state=queued attempts=%u next=",
				       k == 0 ? "0-499" : "501-999", attempts);
			ck_assert_ptr_nonnull(strstr(states, want));
		}
		ck_assert_uint_eq(count_lines(states), 1 + 2 * attempts);
		/* read back, not tried before its time, and tried again */
		box_open(&world);
		settle_down(&world);
		ck_assert_uint_eq(stats_of(&world).deferred, 1);
		buf_clear(&peer.log);
		advance(&world, attempts == 1 ? 67 : 331);
		settle_down(&world);
		ck_assert_ptr_nonnull(
			strstr(buf_text(&peer.log), "later.999@a.test"));
		ck_assert_ptr_null(strstr(buf_text(&peer.log), "ok."));
	}
	world_done(&world);
}
END_TEST

START_TEST(who_was_not_tried_is_not_deferred_after_a_restart)
{
	struct world world;

	world_init(&world);
	SEND(&world, AUTHOR, "ok@a.test", "hang@b.test");
	settle_down_hanging(&world, 1);
	/* a second message is durable: so is what became of the first */
	SEND(&world, AUTHOR, "hang@c.test");
	world.opts.deliver = false;
	world_close(&world, 0);
	box_open(&world);
	run_until_set(&world, &world.is_loaded);
	ck_assert_uint_eq(stats_of(&world).messages, 2);
	ck_assert_uint_eq(stats_of(&world).queued, 2);
	ck_assert_uint_eq(stats_of(&world).deferred, 0);
	world_done(&world);
}
END_TEST

START_TEST(waiting_mail_follows_a_changed_policy)
{
	struct world world;

	world_init(&world);
	SEND(&world, AUTHOR, "later1@a.test");
	SEND(&world, AUTHOR, "later1@a.test", "later1@b.test");
	settle_down(&world);
	buf_clear(&peer.log);
	policy_unref(world.policy);
	world.policy = policy_make(true);
	advance(&world, 67);
	run_until(&world, is_empty);
	ck_assert_ptr_null(strstr(buf_text(&peer.log), "mx a.test"));
	ck_assert_ptr_nonnull(strstr(buf_text(&peer.log), "route inner"));
	ck_assert_ptr_nonnull(strstr(buf_text(&peer.log), "mx b.test"));
	ck_assert_uint_eq(stats_of(&world).delivered, 3);
	world_done(&world);
}
END_TEST

START_TEST(a_destination_that_is_down_is_probed_and_then_gets_everything)
{
	struct world world;

	world_init(&world);
	peer.is_down = true;
	for (unsigned i = 0; i < 50; i++)
		SEND(&world, AUTHOR, "down@a.test");
	settle_down(&world);
	ck_assert_uint_le(peer.started, 3);
	ck_assert_uint_eq(stats_of(&world).queued, 50);
	advance(&world, 61);
	settle_down(&world);
	ck_assert_uint_le(peer.started, 6);
	peer.is_down = false;
	advance(&world, 400);
	run_until(&world, is_empty);
	ck_assert_uint_le(peer.started, 56);
	world_done(&world);
}
END_TEST

START_TEST(a_host_that_answers_again_wakes_what_waits_for_it)
{
	struct world world;

	world_init(&world);
	peer.is_down = true;
	for (unsigned i = 0; i < 20; i++)
		SEND(&world, AUTHOR, "down@a.test");
	settle_down(&world);
	peer.is_down = false;
	/* none of them is due, but a newcomer gets through */
	world.now_ms += 1000;
	SEND(&world, AUTHOR, "down@a.test");
	settle_down(&world);
	ck_assert_uint_eq(stats_of(&world).messages, 21);
	advance(&world, 60);
	run_until(&world, is_empty);
	world_done(&world);
}
END_TEST

START_TEST(a_busy_host_is_asked_again_soon_and_that_is_no_attempt)
{
	struct world world;

	world_init(&world);
	peer.busy = 3;
	for (unsigned i = 0; i < 20; i++)
		SEND(&world, AUTHOR, "ok@a.test");
	settle_down(&world);
	ck_assert_uint_eq(stats_of(&world).messages, 20);
	ck_assert_uint_eq(stats_of(&world).deferrals, 0);
	ck_assert_uint_eq(stats_of(&world).deferred, 0);
	for (unsigned i = 0; i < 60 && stats_of(&world).messages != 0; i++) {
		advance(&world, 2);
		settle_down(&world);
	}
	ck_assert_uint_eq(stats_of(&world).delivered, 20);
	ck_assert_uint_le(peer.started, 23);
	world_done(&world);
}
END_TEST

START_TEST(mail_for_a_host_that_stays_busy_expires_all_the_same)
{
	struct world world;

	world_init(&world);
	peer.busy = UINT32_MAX;
	SEND(&world, "", "ok@a.test");
	settle_down(&world);
	ck_assert_uint_eq(stats_of(&world).messages, 1);
	advance(&world, 86400 + 30);
	run_until(&world, is_empty);
	ck_assert_uint_eq(stats_of(&world).expired, 1);
	world_done(&world);
}
END_TEST

START_TEST(mail_for_a_host_that_stays_down_expires_all_the_same)
{
	struct world world;
	unsigned before;

	world_init(&world);
	peer.is_down = true;
	for (unsigned i = 0; i < 40; i++)
		SEND(&world, "", "down@a.test");
	settle_down(&world);
	advance(&world, 86400 - 30);
	settle_down(&world);
	before = peer.started;
	/* one attempt is enough to know */
	advance(&world, 31);
	run_until(&world, is_empty);
	ck_assert_uint_eq(stats_of(&world).expired, 40);
	ck_assert_uint_le(peer.started, before + 2);
	world_done(&world);
}
END_TEST

/* ---------------------------------------------------------- the end */

START_TEST(closing_cuts_what_does_not_end_and_keeps_it)
{
	struct world world;

	world_init(&world);
	SEND(&world, AUTHOR, "hang@a.test", "ok@b.test");
	settle_down_hanging(&world, 1);
	world_close(&world, 50);
	ck_assert_uint_eq(peer.aborted, 1);
	buf_clear(&peer.log);
	box_open(&world);
	settle_down_hanging(&world, 1);
	log_is("mx a.test <author@home.test>: hang@a.test\n");
	queue_close(world.queue, 3600000, on_closed, &world);
	queue_close_now(world.queue);
	run_until_set(&world, &world.is_closed);
	world.queue = NULL;
	world_done(&world);
}
END_TEST

START_TEST(a_put_that_is_given_up_leaves_nothing)
{
	static const char *const to[] = {"ok@a.test", NULL};
	struct sending sending;
	struct world world;

	world_init(&world);
	sending_begin(&world, &sending, AUTHOR, to, 0);
	queue_put_abort(&sending.put);
	queue_put_abort(&sending.put);
	settle_down(&world);
	world_reopen(&world);
	settle_down(&world);
	ck_assert(!sending.has_ended);
	ck_assert_uint_eq(stats_of(&world).messages, 0);
	ck_assert_uint_eq(peer.started, 0);
	world_done(&world);
}
END_TEST

START_TEST(ten_thousand_messages_pass_within_their_limits)
{
	enum { COUNT_ALL = 10000, AT_ONCE = 500 };
	static struct sending sendings[AT_ONCE];
	struct world world;
	char address[32];

	world_init(&world);
	for (unsigned sent = 0; sent < COUNT_ALL;) {
		for (unsigned i = 0; i < AT_ONCE; i++, sent++) {
			const char *to[] = {address, NULL};

			(void)snprintf(address, sizeof(address), "ok@d%u.test",
				       sent % 100);
			sending_begin(&world, &sendings[i], AUTHOR, to, 0);
		}
		for (unsigned i = 0; i < AT_ONCE; i++)
			while (!sendings[i].has_ended)
				uv_run(&world.loop, UV_RUN_ONCE);
		buf_clear(&peer.log);
	}
	run_until(&world, is_empty);
	ck_assert_uint_eq(stats_of(&world).delivered, COUNT_ALL);
	ck_assert_uint_le(peer.running_most, 200);
	world_done(&world);
}
END_TEST

START_TEST(memory_of_waiting_mail_is_counted_and_small)
{
	static struct sending sendings[2000];
	static const char *const to[] = {"later@some.domain.test", NULL};
	struct world world;
	struct queue_stats stats;

	world_init(&world);
	world.opts.deliver = false;
	advance(&world, 0);
	for (unsigned i = 0; i < COUNT(sendings); i++)
		sending_begin(&world, &sendings[i], AUTHOR, to, 0);
	for (unsigned i = 0; i < COUNT(sendings); i++)
		while (!sendings[i].has_ended)
			uv_run(&world.loop, UV_RUN_ONCE);
	world_reopen(&world);
	settle_down(&world);
	stats = stats_of(&world);
	ck_assert_uint_eq(stats.messages, COUNT(sendings));
	ck_assert_uint_gt(stats.entry_bytes, 100 * COUNT(sendings));
	ck_assert_uint_lt((stats.entry_bytes + stats.spool.index_bytes) /
				  COUNT(sendings),
			  400);
	(void)apply(&world, QUEUE_REMOVE, &all);
	ck_assert_uint_lt(stats_of(&world).entry_bytes, 65536);
	world_done(&world);
}
END_TEST

UNIT_MAIN(
	"queue", tcase_add_test(tc, accepted_mail_is_delivered_and_gone);
	tcase_add_test(tc, deferred_mail_is_tried_again_when_it_is_due);
	tcase_add_test(tc, refused_mail_is_reported_to_its_sender);
	tcase_add_loop_test(tc,
			    nobody_is_told_who_is_not_there_or_does_not_want_it,
			    0, (int)COUNT(unreported));
	tcase_add_test(tc, one_report_tells_of_all_that_failed_alike);
	tcase_add_test(tc,
		       mail_that_is_never_taken_expires_with_a_warning_before);
	tcase_add_test(tc, a_fault_of_our_own_is_not_reported_at_once);
	tcase_add_test(tc, a_clock_that_goes_back_keeps_nothing_waiting);
	tcase_add_test(tc, a_clock_that_goes_forward_loses_nothing);
	tcase_add_test(tc, recipients_of_one_next_hop_travel_together);
	tcase_add_test(tc, only_who_did_not_get_it_is_tried_again);
	tcase_add_test(tc, a_restart_in_between_keeps_what_became_of_each);
	tcase_add_test(tc, waiting_mail_follows_a_changed_policy);
	tcase_add_test(
		tc,
		a_destination_that_is_down_is_probed_and_then_gets_everything);
	tcase_add_test(tc, a_host_that_answers_again_wakes_what_waits_for_it);
	tcase_add_test(tc,
		       a_busy_host_is_asked_again_soon_and_that_is_no_attempt);
	tcase_add_test(tc,
		       mail_for_a_host_that_stays_busy_expires_all_the_same);
	tcase_add_test(tc,
		       mail_for_a_host_that_stays_down_expires_all_the_same);
	tcase_add_test(tc, closing_cuts_what_does_not_end_and_keeps_it);
	tcase_add_test(tc, a_put_that_is_given_up_leaves_nothing);
	tcase_add_test(tc, ten_thousand_messages_pass_within_their_limits);
	tcase_add_test(tc, memory_of_waiting_mail_is_counted_and_small);
	tcase_add_test(tc,
		       an_attempt_at_a_thousand_neighbours_is_a_line_or_two);
	tcase_add_test(tc, who_was_not_tried_is_not_deferred_after_a_restart);)
