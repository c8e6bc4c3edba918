/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/mem.h"
#include "queue/deliver/outcome.h"
#include "queue/envelope.h"

#define TEXT_MAX 65536

static void
fill(struct envelope *envelope)
{
	struct recipient *recipient;

	envelope_init(envelope);
	envelope->sender = mem_strdup("a b\\c@example.org");
	envelope->received_ms = 1795271234567;
	envelope->size = 1042;
	envelope->listener = mem_strdup("submission");
	envelope->client = mem_strdup("192.0.2.1");
	envelope->helo = mem_strdup("evil\nto <x@y>");
	envelope->login = mem_strdup("jos\xc3\xa9");
	envelope->envid = mem_strdup("QQ+31");
	envelope->ret = 'H';
	envelope->is_8bit = envelope->is_utf8 = true;
	recipient = envelope_add(envelope, "one@example.net");
	recipient->orcpt = mem_strdup("rfc822;One@example.net");
	recipient->notify = NOTIFY_SUCCESS | NOTIFY_FAILURE;
	(void)envelope_add(envelope, "\"two \\\" two\"@example.com");
	(void)envelope_add(envelope, "three@example.net");
}

static const char filled[] = "from <a b\\x5cc@example.org>\n"
			     "received 1795271234567\n"
			     "size 1042\n"
			     "listener submission\n"
			     "client 192.0.2.1\n"
			     "helo evil\\x0ato <x@y>\n"
			     "login jos\xc3\xa9\n"
			     "envid QQ+31\n"
			     "ret H\n"
			     "body 8bitmime\n"
			     "smtputf8 yes\n"
			     "to <one@example.net>\n"
			     "orcpt rfc822;One@example.net\n"
			     "notify 6\n"
			     "to <\"two \\x5c\" two\"@example.com>\n"
			     "to <three@example.net>\n";

START_TEST(an_envelope_is_text_that_people_read)
{
	struct envelope envelope;
	struct buf out;

	fill(&envelope);
	buf_init(&out, TEXT_MAX);
	envelope_format(&envelope, &out);
	ck_assert_str_eq(buf_text(&out), filled);
	buf_done(&out);
	envelope_done(&envelope);
}
END_TEST

START_TEST(what_was_formatted_is_read_back_the_same)
{
	struct envelope envelope;
	struct buf again;

	ck_assert_int_eq(envelope_parse(filled, "", &envelope, NULL), 0);
	ck_assert_str_eq(envelope.sender, "a b\\c@example.org");
	ck_assert_str_eq(envelope.helo, "evil\nto <x@y>");
	ck_assert_uint_eq(envelope.recipient_count, 3);
	ck_assert_str_eq(envelope.recipients[1].address,
			 "\"two \\\" two\"@example.com");
	ck_assert_uint_eq(envelope.recipients[0].notify,
			  NOTIFY_SUCCESS | NOTIFY_FAILURE);
	ck_assert(!envelope.is_held);
	buf_init(&again, TEXT_MAX);
	envelope_format(&envelope, &again);
	ck_assert_str_eq(buf_text(&again), filled);
	buf_done(&again);
	envelope_done(&envelope);
}
END_TEST

START_TEST(the_null_sender_is_an_empty_path)
{
	struct envelope envelope;

	ck_assert_int_eq(envelope_parse("from <>\nto <a@b>\n", "", &envelope,
					NULL),
			 0);
	ck_assert_str_eq(envelope.sender, "");
	envelope_done(&envelope);
}
END_TEST

START_TEST(lines_of_a_newer_version_are_passed_over)
{
	struct envelope envelope;

	ck_assert_int_eq(
		envelope_parse("from <>\ncolour blue\nto <a@b>\nby tomorrow\n",
			       "to=0 state=queued attempts=1 mood=good\n",
			       &envelope, NULL),
		0);
	ck_assert_uint_eq(envelope.recipients[0].attempts, 1);
	envelope_done(&envelope);
}
END_TEST

static const struct {
	const char *text, *states;
} damaged[] = {
	{"", ""},
	{"from <>\n", ""},
	{"to <a@b>\n", ""},
	{"from x\nto <a@b>\n", ""},
	{"from <\nto <a@b>\n", ""},
	{"from <a\\x00>\nto <a@b>\n", ""},
	{"from <a\\x4>\nto <a@b>\n", ""},
	{"from <a\\>\nto <a@b>\n", ""},
	{"from <>\nreceived soon\nto <a@b>\n", ""},
	{"from <>\nreceived 99999999999999999999\nto <a@b>\n", ""},
	{"from <>\nnotify 2\nto <a@b>\n", ""},
	{"from <>\norcpt a\nto <a@b>\n", ""},
	{"from <>\nto <a@b>\nnotify 16\n", ""},
	{"from <>\nret X\nto <a@b>\n", ""},
	{"from <>\nto <a@b>\n", "to=1 state=queued\n"},
	{"from <>\nto <a@b>\n", "to=0-1 state=queued\n"},
	{"from <>\nto <a@b>\nto <c@d>\n", "to=1-0 state=queued\n"},
	{"from <>\nto <a@b>\nto <c@d>\n", "to=0- state=queued\n"},
	{"from <>\nto <a@b>\nto <c@d>\n", "to=-1 state=queued\n"},
	{"from <>\nto <a@b>\n", "to= state=queued\n"},
	{"from <>\nto <a@b>\n", "to=-1 state=queued\n"},
	{"from <>\nto <a@b>\n", "to=0 state=lost\n"},
	{"from <>\nto <a@b>\n", "to=0 state\n"},
	{"from <>\nto <a@b>\n", "to=0 state=queued at=1 cause=bad-luck\n"},
	{"from <>\nto <a@b>\n", "to=0 state=queued at=1 code=1000\n"},
};

START_TEST(damage_is_refused_with_the_line)
{
	struct envelope envelope;
	struct err err = ERR_INIT;

	ck_assert_int_eq(envelope_parse(damaged[_i].text, damaged[_i].states,
					&envelope, &err),
			 -EBADMSG);
	ck_assert_int_eq(err.code, -EBADMSG);
	ck_assert_str_ne(err.text, "");
}
END_TEST

static const struct attempt deferred = {
	.at_ms = 1795271300000,
	.kind = OUTCOME_DEFERRED,
	.cause = CAUSE_REPLY,
	.phase = PHASE_RCPT,
	.code = 452,
	.enhanced = "4.2.2",
	.host = "mx.example.net",
	.ip = "192.0.2.7",
	.port = 25,
	.tls = "TLSv1.3",
	.reply = "452-4.2.2 The mailbox\n452 4.2.2 is = full",
	.category = "quota-issues",
};

static void
state_add(struct envelope *envelope, int index, const struct attempt *attempt,
	  struct buf *states)
{
	envelope_format_state(envelope, index, attempt, states);
	ck_assert_int_eq(buf_adds(states, "\n"), 0);
}

START_TEST(state_lines_say_what_became_of_each_recipient)
{
	struct envelope envelope, again;
	struct buf states;
	struct recipient *recipient;

	fill(&envelope);
	buf_init(&states, TEXT_MAX);
	recipient = &envelope.recipients[0];
	recipient->attempts = 3;
	recipient->next_try_ms = 1795279999999;
	recipient->category = mem_strdup(deferred.category);
	recipient->last_host = mem_strdup(deferred.host);
	recipient->last_reply = mem_strdup(deferred.reply);
	recipient->is_warned = true;
	recipient->reroutes = 2;
	recipient->dns_after_ms = 1795271300000;
	state_add(&envelope, 0, &deferred, &states);
	envelope.recipients[2].state = RCPT_DELIVERED;
	envelope.recipients[2].attempts = 1;
	state_add(&envelope, 2, NULL, &states);
	envelope.is_held = true;
	state_add(&envelope, -1, NULL, &states);

	ck_assert_int_eq(envelope_parse(filled, buf_text(&states), &again,
					NULL),
			 0);
	recipient = &again.recipients[0];
	ck_assert_int_eq(recipient->state, RCPT_QUEUED);
	ck_assert_uint_eq(recipient->attempts, 3);
	ck_assert_uint_eq(recipient->next_try_ms, 1795279999999);
	ck_assert_str_eq(recipient->last_reply, deferred.reply);
	ck_assert_str_eq(recipient->last_host, deferred.host);
	ck_assert_str_eq(recipient->category, "quota-issues");
	ck_assert(recipient->is_warned);
	ck_assert_uint_eq(recipient->reroutes, 2);
	ck_assert_uint_eq(recipient->dns_after_ms, 1795271300000);
	ck_assert_int_eq(again.recipients[1].state, RCPT_QUEUED);
	ck_assert_int_eq(again.recipients[2].state, RCPT_DELIVERED);
	ck_assert(again.is_held);
	envelope_done(&again);
	envelope_done(&envelope);
	buf_done(&states);
}
END_TEST

START_TEST(the_last_state_line_counts)
{
	struct envelope envelope;

	ck_assert_int_eq(
		envelope_parse("from <>\nto <a@b>\n",
			       "to=0 state=queued attempts=1 warned=yes "
			       "category=bad-mailbox host=h reply=no way\n"
			       "to=all held=yes\n"
			       "to=0 state=delivered attempts=2\n"
			       "to=all held=no\n",
			       &envelope, NULL),
		0);
	ck_assert_int_eq(envelope.recipients[0].state, RCPT_DELIVERED);
	ck_assert_uint_eq(envelope.recipients[0].attempts, 2);
	ck_assert(!envelope.recipients[0].is_warned);
	ck_assert_ptr_null(envelope.recipients[0].category);
	ck_assert_ptr_null(envelope.recipients[0].last_reply);
	ck_assert(!envelope.is_held);
	envelope_done(&envelope);
}
END_TEST

static void
on_attempt(void *arg, size_t recipient, const struct attempt *attempt)
{
	char line[512];

	(void)snprintf(line, sizeof(line),
		       "%zu %llu %d %d %d %u %s %s %s %u "
		       "%s %s|%s\n",
		       recipient, (unsigned long long)attempt->at_ms,
		       attempt->kind, attempt->cause, attempt->phase,
		       attempt->code, attempt->enhanced, attempt->host,
		       attempt->ip, attempt->port, attempt->tls,
		       attempt->category, attempt->reply);
	ck_assert_int_eq(buf_adds(arg, line), 0);
}

START_TEST(every_attempt_can_be_told_again)
{
	struct envelope envelope;
	struct buf states, seen;
	char want[512];

	fill(&envelope);
	buf_init(&states, TEXT_MAX);
	buf_init(&seen, TEXT_MAX);
	envelope.recipients[1].category = mem_strdup(deferred.category);
	state_add(&envelope, 1, &deferred, &states);
	state_add(&envelope, 0, NULL, &states);
	state_add(&envelope, -1, NULL, &states);
	(void)buf_adds(&states, "to=0 broken\n");
	envelope_each_attempt(buf_text(&states), envelope.recipient_count,
			      on_attempt, &seen);
	(void)snprintf(want, sizeof(want),
		       "1 1795271300000 %d %d %d 452 4.2.2 mx.example.net "
		       "192.0.2.7 25 TLSv1.3 quota-issues|%s\n",
		       OUTCOME_DEFERRED, CAUSE_REPLY, PHASE_RCPT,
		       deferred.reply);
	ck_assert_str_eq(buf_text(&seen), want);
	buf_done(&seen);
	buf_done(&states);
	envelope_done(&envelope);
}
END_TEST

START_TEST(one_line_speaks_for_neighbours_of_whom_it_says_the_same)
{
	static const size_t tried[] = {0, 1, 2, 4, 5};
	const char *lines = "to=0-2 state=queued attempts=1 next=1795271300000";
	struct envelope envelope, again;
	struct buf line, next, all;
	struct err err;

	envelope_init(&envelope);
	envelope.sender = mem_strdup("a@example.org");
	for (unsigned i = 0; i < 6; i++)
		(void)envelope_add(&envelope, "b@example.net");
	buf_init(&line, TEXT_MAX);
	buf_init(&next, TEXT_MAX);
	buf_init(&all, TEXT_MAX);
	for (size_t i = 0; i < COUNT(tried); i++) {
		struct recipient *recipient = &envelope.recipients[tried[i]];

		recipient->attempts = tried[i] == 5 ? 7 : 1;
		recipient->next_try_ms = UINT64_C(1795271300000);
		recipient->last_reply = mem_strdup("450 later, not now");
		buf_clear(&next);
		envelope_format_state(&envelope, (int)tried[i], NULL, &next);
		if (i != 0 && envelope_join_states(&line, buf_text(&next)))
			continue;
		(void)buf_addf(&all, "%s%s", buf_text(&line),
			       i != 0 ? "\n" : "");
		buf_clear(&line);
		(void)buf_adds(&line, buf_text(&next));
	}
	(void)buf_addf(&all, "%s\n", buf_text(&line));
	ck_assert_ptr_nonnull(strstr(buf_text(&all), lines));
	ck_assert_ptr_nonnull(strstr(buf_text(&all), "\nto=4 state"));
	ck_assert_ptr_nonnull(strstr(buf_text(&all), "\nto=5 state"));
	buf_clear(&next);
	envelope_format(&envelope, &next);
	ck_assert_int_eq(envelope_parse(buf_text(&next), buf_text(&all), &again,
					&err),
			 0);
	for (size_t i = 0; i < 6; i++) {
		const struct recipient *have = &again.recipients[i];
		const struct recipient *want = &envelope.recipients[i];

		ck_assert_uint_eq(have->attempts, want->attempts);
		ck_assert_uint_eq(have->next_try_ms, want->next_try_ms);
		ck_assert_pstr_eq(have->last_reply, want->last_reply);
	}
	buf_done(&line);
	buf_done(&next);
	buf_done(&all);
	envelope_done(&envelope);
	envelope_done(&again);
}
END_TEST

START_TEST(a_thousand_recipients_survive_the_way_through_text)
{
	struct envelope envelope, again;
	struct buf out;
	char address[32];

	fill(&envelope);
	for (unsigned i = 0; i < 1000; i++) {
		(void)snprintf(address, sizeof(address), "u%u@example.net", i);
		(void)envelope_add(&envelope, address);
	}
	buf_init(&out, TEXT_MAX);
	envelope_format(&envelope, &out);
	ck_assert_int_eq(envelope_parse(buf_text(&out), "", &again, NULL), 0);
	ck_assert_uint_eq(again.recipient_count, 1003);
	ck_assert_str_eq(again.recipients[1002].address, "u999@example.net");
	envelope_done(&again);
	envelope_done(&envelope);
	buf_done(&out);
}
END_TEST

START_TEST(a_recipient_is_never_longer_than_was_said)
{
	static const struct {
		const char *address, *orcpt;
		uint8_t notify;
	} cases[] = {
		{"a@example.net", NULL, NOTIFY_DEFAULT},
		{"\"a \\\\ b\\\"\"@example.net", NULL, NOTIFY_NEVER},
		{"jos\xc3\xa9@example.net", "utf-8;jos\\x{E9}@example.net",
		 NOTIFY_SUCCESS | NOTIFY_FAILURE | NOTIFY_DELAY},
		{"b@example.net", "rfc822;\\\\\\\\", NOTIFY_SUCCESS},
	};
	struct envelope envelope;
	struct recipient *recipient;
	struct buf out;
	size_t before;

	envelope_init(&envelope);
	envelope.sender = mem_strdup("");
	buf_init(&out, TEXT_MAX);
	envelope_format(&envelope, &out);
	before = buf_len(&out);
	recipient = envelope_add(&envelope, cases[_i].address);
	recipient->orcpt = mem_strdup(cases[_i].orcpt);
	recipient->notify = cases[_i].notify;
	buf_clear(&out);
	envelope_format(&envelope, &out);
	/* a digit of NOTIFY is all that it may miss */
	ck_assert_uint_ge(envelope_recipient_bytes(cases[_i].address,
						   cases[_i].orcpt,
						   cases[_i].notify),
			  buf_len(&out) - before);
	ck_assert_uint_le(envelope_recipient_bytes(cases[_i].address,
						   cases[_i].orcpt,
						   cases[_i].notify),
			  buf_len(&out) - before + 1);
	envelope_done(&envelope);
	buf_done(&out);
}
END_TEST

UNIT_MAIN("envelope", tcase_add_test(tc, an_envelope_is_text_that_people_read);
	  tcase_add_test(tc, what_was_formatted_is_read_back_the_same);
	  tcase_add_test(tc, the_null_sender_is_an_empty_path);
	  tcase_add_test(tc, lines_of_a_newer_version_are_passed_over);
	  tcase_add_loop_test(tc, damage_is_refused_with_the_line, 0,
			      (int)COUNT(damaged));
	  tcase_add_test(tc, state_lines_say_what_became_of_each_recipient);
	  tcase_add_test(tc, the_last_state_line_counts);
	  tcase_add_test(tc, every_attempt_can_be_told_again); tcase_add_test(
		  tc, one_line_speaks_for_neighbours_of_whom_it_says_the_same);
	  tcase_add_test(tc,
			 a_thousand_recipients_survive_the_way_through_text);
	  tcase_add_loop_test(tc, a_recipient_is_never_longer_than_was_said, 0,
			      4);)
