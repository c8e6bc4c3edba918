/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "lib/mem.h"
#include "queue/entry.h"
#include "queue/schedule.h"

/* A schedule with messages of one leg each, numbered from 1. */
struct bench {
	struct schedule schedule;
	struct entry *entries[1000];
	size_t count;
};

static const struct destination_limits local = {.connections = 3};
static const struct destination_limits remote = {.connections = 10,
						 .is_remote = true};

static void
bench_init(struct bench *bench, unsigned connections)
{
	memset(bench, 0, sizeof(*bench));
	schedule_init(&bench->schedule, connections);
	schedule_advance(&bench->schedule, 1000);
}

static void
bench_done(struct bench *bench)
{
	for (size_t i = 0; i < bench->count; i++) {
		schedule_drop(&bench->schedule, &bench->entries[i]->leg);
		entry_free(bench->entries[i]);
	}
	for (size_t i = 0; i < LEG_STATES; i++)
		ck_assert_uint_eq(bench->schedule.counts[i], 0);
	schedule_done(&bench->schedule);
}

static struct leg *
bench_leg(struct bench *bench)
{
	struct envelope envelope;
	struct entry *entry;

	envelope_init(&envelope);
	envelope.id = bench->count + 1;
	envelope.sender = mem_strdup("a@example.org");
	(void)envelope_add(&envelope, "b@example.net");
	entry = entry_new(&envelope);
	envelope_done(&envelope);
	bench->entries[bench->count++] = entry;
	return &entry->leg;
}

static void
offer(struct bench *bench, const char *key,
      const struct destination_limits *limits, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		schedule_offer(&bench->schedule, bench_leg(bench), key, limits);
}

/* Starts all that may, as "key key ..."; the legs go to started. */
static size_t
start_all(struct bench *bench, struct leg **started, char *keys, size_t size)
{
	size_t count = 0, len = 0;

	keys[0] = '\0';
	for (;;) {
		bool is_down;
		struct leg *leg = schedule_next(&bench->schedule, &is_down);

		if (leg == NULL)
			return count;
		ck_assert(!is_down);
		schedule_start(&bench->schedule, leg);
		len += (size_t)snprintf(keys + len, size - len, "%s%s",
					count != 0 ? " " : "",
					leg->destination->key);
		started[count++] = leg;
	}
}

START_TEST(legs_come_out_when_they_are_due_and_in_order)
{
	struct bench bench;
	static const uint64_t due[] = {5000, 1000, 9000, 3000};
	char got[64] = "";

	bench_init(&bench, 10);
	for (size_t i = 0; i < COUNT(due); i++)
		schedule_wait(&bench.schedule, bench_leg(&bench), due[i]);
	ck_assert_uint_eq(schedule_wakeup(&bench.schedule), 1000);
	for (uint64_t now = 1000; now <= 9000; now += 1000) {
		struct leg *leg;

		schedule_advance(&bench.schedule, now);
		for (;;) {
			char one[16];

			leg = schedule_due(&bench.schedule);
			if (leg == NULL)
				break;
			ck_assert_int_eq(leg->state, LEG_QUEUED);
			(void)snprintf(one, sizeof(one), "%llu@%llu ",
				       (unsigned long long)leg->entry->id,
				       (unsigned long long)now);
			strncat(got, one, sizeof(got) - strlen(got) - 1);
			schedule_hold(&bench.schedule, leg);
		}
	}
	ck_assert_str_eq(got, "2@1000 4@3000 1@5000 3@9000 ");
	ck_assert_uint_eq(schedule_wakeup(&bench.schedule), UINT64_MAX);
	bench_done(&bench);
}
END_TEST

START_TEST(a_destination_gets_no_more_than_its_connections)
{
	struct bench bench;
	struct leg *started[64];
	char keys[512];

	bench_init(&bench, 10);
	offer(&bench, "x", &local, 5);
	ck_assert_uint_eq(start_all(&bench, started, keys, sizeof(keys)), 3);
	schedule_settle(&bench.schedule, started[0]);
	ck_assert_uint_eq(start_all(&bench, started + 3, keys, sizeof(keys)),
			  1);
	/* first come, first served */
	ck_assert_uint_eq(started[3]->entry->id, 4);
	bench_done(&bench);
}
END_TEST

START_TEST(destinations_take_turns)
{
	struct bench bench;
	struct leg *started[64];
	char keys[512];

	bench_init(&bench, 100);
	offer(&bench, "x", &local, 3);
	offer(&bench, "y", &local, 2);
	offer(&bench, "z", &local, 1);
	(void)start_all(&bench, started, keys, sizeof(keys));
	/* those without any connection have every second turn */
	ck_assert_str_eq(keys, "x x y x z y");
	bench_done(&bench);
}
END_TEST

START_TEST(all_destinations_share_the_connections)
{
	struct bench bench;
	struct leg *started[64];
	char keys[512];

	bench_init(&bench, 8);
	offer(&bench, "x", &local, 3);
	offer(&bench, "y", &local, 3);
	offer(&bench, "z", &local, 3);
	ck_assert_uint_eq(start_all(&bench, started, keys, sizeof(keys)), 6);
	/* the last quarter is for destinations without any */
	offer(&bench, "v", &local, 3);
	offer(&bench, "w", &local, 1);
	offer(&bench, "u", &local, 1);
	ck_assert_uint_eq(start_all(&bench, started, keys, sizeof(keys)), 2);
	ck_assert_str_eq(keys, "v w");
	ck_assert_uint_eq(bench.schedule.counts[LEG_ACTIVE], 8);
	bench_done(&bench);
}
END_TEST

START_TEST(ninety_nine_silent_destinations_leave_room_for_the_hundredth)
{
	struct bench bench;
	struct leg *started[256];
	char keys[4096], key[16];

	bench_init(&bench, 200);
	for (unsigned i = 0; i < 99; i++) {
		(void)snprintf(key, sizeof(key), "d%u", i);
		offer(&bench, key, &remote, 10);
	}
	(void)start_all(&bench, started, keys, sizeof(keys));
	offer(&bench, "good", &remote, 1);
	ck_assert_uint_eq(start_all(&bench, started, keys, sizeof(keys)), 1);
	ck_assert_str_eq(keys, "good");
	bench_done(&bench);
}
END_TEST

START_TEST(the_window_grows_with_answers_and_shrinks_without)
{
	struct bench bench;
	struct leg *started[64];
	struct destination *to;
	char keys[512];
	size_t count;

	bench_init(&bench, 100);
	offer(&bench, "x", &remote, 60);
	ck_assert_uint_eq(start_all(&bench, started, keys, sizeof(keys)), 2);
	to = started[0]->destination;
	for (unsigned window = 3; window <= 12; window++) {
		schedule_answered(&bench.schedule, to);
		schedule_settle(&bench.schedule, started[0]);
		count = start_all(&bench, started, keys, sizeof(keys));
		ck_assert_uint_eq(count, window <= 10 ? 2 : 1);
		ck_assert_uint_eq(to->active, window <= 10 ? window : 10);
	}
	schedule_slow_down(&bench.schedule, to);
	ck_assert_uint_eq(to->window, 5);
	schedule_settle(&bench.schedule, started[0]);
	ck_assert_uint_eq(start_all(&bench, started, keys, sizeof(keys)), 0);
	schedule_failed(&bench.schedule, to, 0, "gone", 1);
	ck_assert_uint_eq(to->window, 1);
	ck_assert_str_eq(to->last_error->text, "gone");
	bench_done(&bench);
}
END_TEST

START_TEST(a_destination_that_is_down_sends_its_legs_back)
{
	struct bench bench;
	struct leg *started[64], *leg;
	char keys[512];
	bool is_down;

	bench_init(&bench, 100);
	offer(&bench, "x", &remote, 6);
	ck_assert_uint_eq(start_all(&bench, started, keys, sizeof(keys)), 2);
	schedule_failed(&bench.schedule, started[0]->destination, 61000,
			"no answer", 1);
	schedule_settle(&bench.schedule, started[0]);
	for (unsigned i = 0; i < 4; i++) {
		leg = schedule_next(&bench.schedule, &is_down);
		ck_assert_ptr_nonnull(leg);
		ck_assert(is_down);
		leg->is_down = true;
		schedule_wait(&bench.schedule, leg, 90000 + i);
	}
	ck_assert_ptr_null(schedule_next(&bench.schedule, &is_down));

	/* it answers again: a few become due at once */
	schedule_answered(&bench.schedule, started[0]->destination);
	for (unsigned i = 0; i < 4; i++) {
		leg = schedule_due(&bench.schedule);
		ck_assert_ptr_nonnull(leg);
		ck_assert_ptr_eq(leg->destination, started[0]->destination);
		schedule_offer(&bench.schedule, leg, "x", &remote);
	}
	ck_assert_ptr_null(schedule_due(&bench.schedule));
	/* and start, as far as the window goes: it is 2, one is active */
	ck_assert_uint_eq(start_all(&bench, started, keys, sizeof(keys)), 1);
	bench_done(&bench);
}
END_TEST

static bool
is_y(const struct destination *to, const void *arg)
{
	return strcmp(to->key, arg) == 0;
}

START_TEST(a_pause_keeps_the_window_and_a_host_that_is_back_ends_it)
{
	struct bench bench;
	struct leg *started[64], *leg;
	struct destination *to;
	char keys[512];
	bool is_down;

	bench_init(&bench, 100);
	offer(&bench, "y", &remote, 3);
	ck_assert_uint_eq(start_all(&bench, started, keys, sizeof(keys)), 2);
	to = started[0]->destination;
	schedule_pause(&bench.schedule, to, 61000, "busy");
	ck_assert_uint_eq(to->window, 2);
	ck_assert_str_eq(to->last_error->text, "busy");
	leg = schedule_next(&bench.schedule, &is_down);
	ck_assert_ptr_nonnull(leg);
	ck_assert(is_down);
	leg->is_down = true;
	schedule_wait(&bench.schedule, leg, 90000);
	ck_assert_ptr_null(schedule_due(&bench.schedule));
	ck_assert_uint_eq(schedule_revive(&bench.schedule, is_y, "x"), 0);
	ck_assert_ptr_null(schedule_due(&bench.schedule));
	ck_assert_uint_eq(schedule_revive(&bench.schedule, is_y, "y"), 1);
	ck_assert_ptr_eq(schedule_due(&bench.schedule), leg);
	/* it is not down any more */
	ck_assert_uint_eq(schedule_revive(&bench.schedule, is_y, "y"), 0);
	bench_done(&bench);
}
END_TEST

START_TEST(one_probe_starts_when_the_pause_is_over)
{
	struct bench bench;
	struct leg *started[64];
	char keys[512];
	bool is_down;

	bench_init(&bench, 100);
	offer(&bench, "x", &remote, 4);
	ck_assert_uint_eq(start_all(&bench, started, keys, sizeof(keys)), 2);
	schedule_failed(&bench.schedule, started[0]->destination, 61000, "no",
			1);
	schedule_settle(&bench.schedule, started[0]);
	schedule_settle(&bench.schedule, started[1]);
	schedule_advance(&bench.schedule, 60999);
	ck_assert_ptr_nonnull(schedule_next(&bench.schedule, &is_down));
	ck_assert(is_down);
	schedule_advance(&bench.schedule, 61000);
	ck_assert_uint_eq(start_all(&bench, started, keys, sizeof(keys)), 1);
	bench_done(&bench);
}
END_TEST

START_TEST(a_rate_is_a_bucket_that_fills_again)
{
	static const struct destination_limits rated = {.connections = 100,
							.rate_count = 6,
							.rate_period_s = 60};
	struct bench bench;
	struct leg *started[64];
	char keys[512];

	bench_init(&bench, 100);
	offer(&bench, "x", &rated, 20);
	ck_assert_uint_eq(start_all(&bench, started, keys, sizeof(keys)), 6);
	ck_assert_uint_eq(schedule_wakeup(&bench.schedule), 11000);
	schedule_advance(&bench.schedule, 10999);
	ck_assert_uint_eq(start_all(&bench, started, keys, sizeof(keys)), 0);
	schedule_advance(&bench.schedule, 11000);
	ck_assert_uint_eq(start_all(&bench, started, keys, sizeof(keys)), 1);
	schedule_advance(&bench.schedule, 11000 + 600000);
	ck_assert_uint_eq(start_all(&bench, started, keys, sizeof(keys)), 6);
	bench_done(&bench);
}
END_TEST

START_TEST(a_rate_is_remembered_when_nothing_waits_any_more)
{
	static const struct destination_limits rated = {.connections = 100,
							.rate_count = 1,
							.rate_period_s = 60};
	struct bench bench;
	struct leg *started[4];
	char keys[64];

	bench_init(&bench, 100);
	offer(&bench, "x", &rated, 1);
	ck_assert_uint_eq(start_all(&bench, started, keys, sizeof(keys)), 1);
	schedule_drop(&bench.schedule, started[0]);
	ck_assert_uint_eq(bench.schedule.unused_count, 1);
	offer(&bench, "x", &rated, 1);
	ck_assert_uint_eq(bench.schedule.unused_count, 0);
	ck_assert_uint_eq(start_all(&bench, started, keys, sizeof(keys)), 0);
	schedule_advance(&bench.schedule, 61000);
	ck_assert_uint_eq(start_all(&bench, started, keys, sizeof(keys)), 1);
	bench_done(&bench);
}
END_TEST

START_TEST(destinations_without_legs_are_forgotten)
{
	struct bench bench;
	struct leg *leg;
	char key[16];

	bench_init(&bench, 100);
	leg = bench_leg(&bench);
	for (unsigned i = 0; i < 5000; i++) {
		(void)snprintf(key, sizeof(key), "d%u", i);
		schedule_offer(&bench.schedule, leg, key, &remote);
	}
	ck_assert_uint_le(bench.schedule.destination_count, 1100);
	schedule_drop(&bench.schedule, leg);
	schedule_advance(&bench.schedule, 1000 + 300000);
	ck_assert_uint_eq(bench.schedule.destination_count, 0);
	bench_done(&bench);
}
END_TEST

START_TEST(a_leg_moves_to_another_destination)
{
	struct bench bench;
	struct leg *leg;
	bool is_down;

	bench_init(&bench, 100);
	leg = bench_leg(&bench);
	schedule_offer(&bench.schedule, leg, "x", &remote);
	schedule_offer(&bench.schedule, leg, "y", &remote);
	ck_assert_ptr_eq(schedule_next(&bench.schedule, &is_down), leg);
	ck_assert_str_eq(leg->destination->key, "y");
	schedule_start(&bench.schedule, leg);
	ck_assert_ptr_null(schedule_next(&bench.schedule, &is_down));
	bench_done(&bench);
}
END_TEST

/* As a queue that is read at the start does it. */
START_TEST(a_leg_that_waits_for_its_time_has_a_destination_already)
{
	struct bench bench;
	struct leg *leg, *started[4];
	char keys[64];

	bench_init(&bench, 100);
	leg = bench_leg(&bench);
	schedule_attach(&bench.schedule, leg, "x", &remote);
	ck_assert_str_eq(leg->destination->key, "x");
	leg->is_down = true;
	schedule_wait(&bench.schedule, leg, 90000);
	/* and may get another while it waits */
	schedule_attach(&bench.schedule, leg, "y", &remote);
	ck_assert_str_eq(leg->destination->key, "y");
	ck_assert_uint_eq(leg->destination->legs, 1);
	/* that the old one answers is nothing to it */
	offer(&bench, "x", &remote, 1);
	ck_assert_uint_eq(start_all(&bench, started, keys, sizeof(keys)), 1);
	schedule_answered(&bench.schedule, started[0]->destination);
	ck_assert_ptr_null(schedule_due(&bench.schedule));
	bench_done(&bench);
}
END_TEST

START_TEST(those_that_were_tried_are_counted_in_each_state)
{
	struct bench bench;
	struct schedule *schedule = &bench.schedule;
	struct leg *leg, *fresh;

	bench_init(&bench, 100);
	leg = bench_leg(&bench);
	fresh = bench_leg(&bench);
	schedule_set_attempts(schedule, leg, 3); /* before it is in any */
	schedule_wait(schedule, leg, 90000);
	schedule_wait(schedule, fresh, 90000);
	ck_assert_uint_eq(schedule->counts[LEG_QUEUED], 2);
	ck_assert_uint_eq(schedule->tried[LEG_QUEUED], 1);
	schedule_set_attempts(schedule, fresh, 1);
	ck_assert_uint_eq(schedule->counts[LEG_QUEUED], 2);
	ck_assert_uint_eq(schedule->tried[LEG_QUEUED], 2);
	schedule_offer(schedule, leg, "x", &remote);
	ck_assert_uint_eq(schedule->tried[LEG_QUEUED], 1);
	ck_assert_uint_eq(schedule->tried[LEG_WAITING], 1);
	schedule_hold(schedule, fresh);
	ck_assert_uint_eq(schedule->tried[LEG_QUEUED], 0);
	ck_assert_uint_eq(schedule->tried[LEG_HELD], 1);
	bench_done(&bench);
	for (size_t i = 0; i < LEG_STATES; i++)
		ck_assert_uint_eq(schedule->tried[i], 0);
}
END_TEST

START_TEST(a_leg_moves_to_the_one_that_was_to_be_forgotten_next)
{
	struct bench bench;
	struct leg *other, *leg;
	char key[16];

	bench_init(&bench, 100);
	other = bench_leg(&bench);
	for (unsigned i = 0; i <= 1024; i++) {
		(void)snprintf(key, sizeof(key), "d%u", i);
		schedule_offer(&bench.schedule, other, key, &remote);
	}
	ck_assert_uint_eq(bench.schedule.unused_count, 1024);
	leg = bench_leg(&bench);
	schedule_offer(&bench.schedule, leg, "new", &remote);
	/* nobody is left at "new", which takes a place among the unused */
	schedule_offer(&bench.schedule, leg, "d0", &remote);
	ck_assert_str_eq(leg->destination->key, "d0");
	ck_assert_uint_eq(leg->destination->legs, 1);
	ck_assert_uint_eq(bench.schedule.unused_count, 1024);
	bench_done(&bench);
}
END_TEST

START_TEST(a_rate_is_remembered_as_long_as_its_bucket_is_not_full)
{
	static const struct destination_limits rated = {.connections = 100,
							.rate_count = 1,
							.rate_period_s = 3600};
	struct bench bench;
	struct leg *started[4];
	char keys[64];

	bench_init(&bench, 100);
	offer(&bench, "x", &rated, 1);
	ck_assert_uint_eq(start_all(&bench, started, keys, sizeof(keys)), 1);
	schedule_drop(&bench.schedule, started[0]);
	schedule_advance(&bench.schedule, 1000 + 1800000);
	offer(&bench, "x", &rated, 1);
	ck_assert_uint_eq(start_all(&bench, started, keys, sizeof(keys)), 0);
	schedule_drop(&bench.schedule, &bench.entries[1]->leg);
	schedule_advance(&bench.schedule, 1000 + 3600000);
	schedule_advance(&bench.schedule, 1000 + 3900000);
	ck_assert_uint_eq(bench.schedule.destination_count, 0);
	bench_done(&bench);
}
END_TEST

/* ------------------------------------------------------------- entries */

START_TEST(the_index_finds_what_is_in_it_and_nothing_else)
{
	struct bench bench;
	struct entry_index index;

	bench_init(&bench, 1);
	entry_index_init(&index);
	ck_assert_ptr_null(entry_index_find(&index, 1));
	for (unsigned i = 0; i < 1000; i++) {
		struct entry *entry = bench_leg(&bench)->entry;

		entry_index_add(&index, entry);
	}
	for (unsigned i = 0; i < 1000; i += 3)
		entry_index_remove(&index, bench.entries[i]);
	for (unsigned i = 0; i < 1000; i++)
		ck_assert_ptr_eq(entry_index_find(&index, i + 1),
				 i % 3 == 0 ? NULL : bench.entries[i]);
	ck_assert_ptr_null(entry_index_find(&index, 5000));
	entry_index_done(&index);
	bench_done(&bench);
}
END_TEST

START_TEST(an_entry_knows_sender_first_recipient_and_domains_left)
{
	struct envelope envelope;
	struct entry *entry;

	envelope_init(&envelope);
	envelope.sender = mem_strdup("");
	(void)envelope_add(&envelope, "a@one.example");
	(void)envelope_add(&envelope, "b@Two.example");
	(void)envelope_add(&envelope, "c@one.example");
	(void)envelope_add(&envelope, "d@three.example");
	(void)envelope_add(&envelope, "e@two.example");
	entry = entry_new(&envelope);
	ck_assert_str_eq(entry_sender(entry), "");
	ck_assert_str_eq(entry_recipient(entry), "a@one.example");
	ck_assert_uint_eq(entry->recipients_left, 5);
	ck_assert(entry_has_domain(entry, "ONE.example"));
	ck_assert(entry_has_domain(entry, "two.example"));
	ck_assert(entry_has_domain(entry, "three.example"));
	ck_assert(!entry_has_domain(entry, "example"));
	ck_assert(!entry_has_domain(entry, ""));

	envelope.recipients[0].state = RCPT_DELIVERED;
	envelope.recipients[2].state = RCPT_FAILED;
	entry_refresh(entry, &envelope);
	ck_assert_str_eq(entry_recipient(entry), "b@Two.example");
	ck_assert_uint_eq(entry->recipients_left, 3);
	ck_assert(!entry_has_domain(entry, "one.example"));
	ck_assert(entry_has_domain(entry, "three.example"));
	entry_free(entry);
	envelope_done(&envelope);
}
END_TEST

START_TEST(a_waiting_message_costs_less_than_400_bytes)
{
	struct envelope envelope;
	struct entry *entry;
	size_t bytes;

	envelope_init(&envelope);
	envelope.sender = mem_strdup("some.sender@mail.example.org");
	(void)envelope_add(&envelope, "some.recipient@mail.example.net");
	entry = entry_new(&envelope);
	/* heap, index at half load, a reason of its own */
	bytes = entry_bytes(entry) + 2 * sizeof(void *) + 4 * sizeof(void *);
	ck_assert_uint_lt(bytes, 300);
	ck_assert_uint_lt(bytes + sizeof(struct reason) + REASON_TEXT_MAX, 400);
	entry_free(entry);
	envelope_done(&envelope);
}
END_TEST

UNIT_MAIN(
	"schedule",
	tcase_add_test(tc, legs_come_out_when_they_are_due_and_in_order);
	tcase_add_test(tc, a_destination_gets_no_more_than_its_connections);
	tcase_add_test(tc, destinations_take_turns);
	tcase_add_test(tc, all_destinations_share_the_connections);
	tcase_add_test(
		tc,
		ninety_nine_silent_destinations_leave_room_for_the_hundredth);
	tcase_add_test(tc, the_window_grows_with_answers_and_shrinks_without);
	tcase_add_test(tc, a_destination_that_is_down_sends_its_legs_back);
	tcase_add_test(
		tc, a_pause_keeps_the_window_and_a_host_that_is_back_ends_it);
	tcase_add_test(tc, one_probe_starts_when_the_pause_is_over);
	tcase_add_test(tc, a_rate_is_a_bucket_that_fills_again);
	tcase_add_test(tc, a_rate_is_remembered_when_nothing_waits_any_more);
	tcase_add_test(tc, destinations_without_legs_are_forgotten);
	tcase_add_test(tc, a_leg_moves_to_another_destination);
	tcase_add_test(tc,
		       a_leg_that_waits_for_its_time_has_a_destination_already);
	tcase_add_test(tc, those_that_were_tried_are_counted_in_each_state);
	tcase_add_test(tc,
		       a_leg_moves_to_the_one_that_was_to_be_forgotten_next);
	tcase_add_test(tc,
		       a_rate_is_remembered_as_long_as_its_bucket_is_not_full);
	tcase_add_test(tc, the_index_finds_what_is_in_it_and_nothing_else);
	tcase_add_test(tc,
		       an_entry_knows_sender_first_recipient_and_domains_left);
	tcase_add_test(tc, a_waiting_message_costs_less_than_400_bytes);)
