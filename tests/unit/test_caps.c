/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <string.h>

#include "policy/caps.h"

#define HOUR UINT64_C(3600000)

static const struct caps_rates ten_an_hour = {
	.messages_per_user = {10, 3600},
	.recipients_per_user = {20, 3600},
	.messages_per_client = {15, 3600},
};

static struct caps_sender
sender(const char *login, const char *client)
{
	struct caps_sender out = {.login = login};

	if (client != NULL)
		ck_assert(ip_parse(str_of(client), &out.client));
	return out;
}

static struct caps_answer
message(struct caps *caps, const char *login, const char *client,
	uint64_t now_ms)
{
	struct caps_sender from = sender(login, client);
	struct caps_answer answer;

	caps_message(caps, &ten_an_hour, &from, now_ms, &answer);
	return answer;
}

static struct caps_answer
recipient(struct caps *caps, const char *login, uint64_t now_ms)
{
	struct caps_sender from = sender(login, "192.0.2.7");
	struct caps_answer answer;

	caps_recipient(caps, &ten_an_hour, &from, now_ms, &answer);
	return answer;
}

START_TEST(over_a_cap_the_reply_says_when_there_is_room)
{
	struct caps *caps = caps_new();
	struct caps_answer answer;

	for (unsigned i = 0; i < 10; i++)
		ck_assert(message(caps, "anna", NULL, 1000).is_taken);
	answer = message(caps, "anna", NULL, 1000);
	ck_assert(!answer.is_taken);
	ck_assert_uint_eq(answer.status.code, 450);
	ck_assert_str_eq(answer.rule, "messages-per-user");
	ck_assert_str_eq(answer.status.text,
			 "Too many messages from your login: 10 in 1h are "
			 "taken, try again in 6m1s");
	ck_assert(message(caps, "bert", NULL, 1000).is_taken);
	ck_assert(message(caps, "anna", NULL, 1000 + HOUR / 10 + 1).is_taken);
	caps_free(caps);
}
END_TEST

START_TEST(what_would_be_said_is_asked_without_charge)
{
	struct caps *caps = caps_new();
	struct caps_sender from = sender("anna", "192.0.2.7");
	struct caps_answer would, said;
	unsigned taken = 0;

	for (unsigned i = 0; i < 40; i++) {
		for (unsigned again = 0; again < 3; again++)
			caps_would(caps, &ten_an_hour, &from, true, 1000,
				   &would);
		said = message(caps, "anna", "192.0.2.7", 1000);
		ck_assert_int_eq(would.is_taken, said.is_taken);
		taken += said.is_taken;
		/* the one that pauses is not foreseen */
		if (!said.is_paused_by_this && !said.is_taken) {
			ck_assert_str_eq(would.rule, said.rule);
			ck_assert_str_eq(would.status.text, said.status.text);
		}
	}
	ck_assert_uint_eq(taken, 10);
	ck_assert_str_eq(would.rule, "login-paused");
	caps_would(caps, &ten_an_hour, &from, false, 1000, &would);
	ck_assert_str_eq(would.rule, "login-paused");
	from.login = "nobody asked before";
	caps_would(caps, &ten_an_hour, &from, false, 1000, &would);
	ck_assert(would.is_taken);
	caps_free(caps);
}
END_TEST

START_TEST(clients_are_counted_by_address_and_a_64)
{
	static const char *const clients[] = {"2001:db8::1", "2001:db8::2",
					      "2001:db8::ffff:3"};
	struct caps *caps = caps_new();
	struct caps_answer answer;

	for (unsigned i = 0; i < 15; i++)
		ck_assert(message(caps, NULL, clients[i % 3], 1000).is_taken);
	answer = message(caps, NULL, clients[0], 1000);
	ck_assert(!answer.is_taken);
	ck_assert_str_eq(answer.rule, "messages-per-client");
	ck_assert(message(caps, NULL, "2001:db8:0:1::1", 1000).is_taken);
	/* a unix socket has no address */
	for (unsigned i = 0; i < 20; i++)
		ck_assert(message(caps, NULL, NULL, 1000).is_taken);
	/* what the client may not send is not charged to the login */
	for (unsigned i = 0; i < 5; i++)
		ck_assert(!message(caps, "anna", clients[0], 1000).is_taken);
	for (unsigned i = 0; i < 5; i++)
		ck_assert(message(caps, "anna", NULL, 1000).is_taken);
	/* nor given back to it twice */
	ck_assert(!message(caps, "anna", clients[0], 1000).is_taken);
	for (unsigned i = 0; i < 5; i++)
		ck_assert(message(caps, "anna", NULL, 1000).is_taken);
	ck_assert(!message(caps, "anna", NULL, 1000).is_taken);
	caps_free(caps);
}
END_TEST

START_TEST(recipients_are_counted_apart_from_messages)
{
	struct caps *caps = caps_new();
	struct caps_answer answer;

	for (unsigned i = 0; i < 20; i++)
		ck_assert(recipient(caps, "anna", 1000).is_taken);
	answer = recipient(caps, "anna", 1000);
	ck_assert(!answer.is_taken);
	ck_assert_str_eq(answer.rule, "recipients-per-user");
	ck_assert(message(caps, "anna", NULL, 1000).is_taken);
	for (unsigned i = 0; i < 100; i++)
		ck_assert(recipient(caps, NULL, 1000).is_taken);
	caps_free(caps);
}
END_TEST

START_TEST(what_came_to_nothing_is_given_back)
{
	struct caps *caps = caps_new();
	struct caps_sender from = sender("anna", "192.0.2.7");

	for (unsigned i = 0; i < 200; i++) {
		ck_assert(message(caps, "anna", "192.0.2.7", 1000).is_taken);
		ck_assert(recipient(caps, "anna", 1000).is_taken);
		ck_assert(recipient(caps, "anna", 1000).is_taken);
		caps_give_back(caps, &ten_an_hour, &from, 2);
	}
	/* no more than that */
	for (unsigned i = 0; i < 9; i++)
		ck_assert(message(caps, "anna", "192.0.2.7", 1000).is_taken);
	caps_give_back(caps, &ten_an_hour, &from, 0);
	for (unsigned i = 0; i < 2; i++)
		ck_assert(message(caps, "anna", "192.0.2.7", 1000).is_taken);
	ck_assert(!message(caps, "anna", NULL, 1000).is_taken);
	for (unsigned i = 0; i < 5; i++)
		ck_assert(message(caps, "bert", "192.0.2.7", 1000).is_taken);
	ck_assert(!message(caps, "bert", "192.0.2.7", 1000).is_taken);
	caps_free(caps);
}
END_TEST

static void
on_paused(void *arg, const char *login, uint64_t since_ms)
{
	ck_assert_str_eq(login, "anna");
	ck_assert_uint_eq(since_ms, 1000);
	(*(unsigned *)arg)++;
}

START_TEST(a_login_far_over_its_cap_is_paused_until_that_is_lifted)
{
	struct caps *caps = caps_new();
	struct caps_answer answer;
	unsigned paused = 0;

	for (unsigned i = 0; i < 30; i++)
		ck_assert(!message(caps, "anna", NULL, 1000).is_paused_by_this);
	answer = message(caps, "anna", NULL, 1000);
	ck_assert(answer.is_paused_by_this);
	ck_assert(!answer.is_taken);
	ck_assert_uint_eq(answer.status.code, 450);
	ck_assert_str_eq(answer.rule, "login-paused");
	answer = message(caps, "anna", NULL, 1000 + 100 * HOUR);
	ck_assert(!answer.is_taken);
	ck_assert(!answer.is_paused_by_this);
	ck_assert(!recipient(caps, "anna", 1000 + 100 * HOUR).is_taken);
	ck_assert(message(caps, "bert", NULL, 1000).is_taken);

	caps_each_paused(caps, on_paused, &paused);
	ck_assert_uint_eq(paused, 1);
	ck_assert(!caps_resume(caps, "bert"));
	ck_assert(caps_resume(caps, "anna"));
	ck_assert(!caps_resume(caps, "anna"));
	caps_each_paused(caps, on_paused, &paused);
	ck_assert_uint_eq(paused, 1);
	ck_assert(message(caps, "anna", NULL, 1000 + 100 * HOUR).is_taken);
	caps_free(caps);
}
END_TEST

static const struct {
	struct units_rate messages, recipients;
	unsigned asked_messages, asked_recipients; /* the last is too much */
} far_over[] = {
	{{2, 60}, {0, 0}, 361, 0},	/* as many as in an hour */
	{{10, 3600}, {0, 0}, 31, 1000}, /* of these there is no cap */
	{{0, 0}, {10, 3600}, 1000, 31},
	{{10, 7200}, {0, 0}, 31, 0}, /* all of it may come within one */
};

START_TEST(far_over_is_three_times_what_an_hour_allows)
{
	const struct caps_rates rates = {
		.messages_per_user = far_over[_i].messages,
		.recipients_per_user = far_over[_i].recipients,
	};
	unsigned messages = far_over[_i].asked_messages;
	unsigned recipients = far_over[_i].asked_recipients;
	bool is_by_message = rates.messages_per_user.count != 0;
	struct caps_sender from = sender("anna", NULL);
	/* as the clock says it, not near its beginning */
	uint64_t now_ms = 1000 * HOUR;
	struct caps *caps = caps_new();
	struct caps_answer answer;

	for (unsigned i = 0; i < (is_by_message ? recipients : messages); i++) {
		if (is_by_message)
			caps_recipient(caps, &rates, &from, now_ms, &answer);
		else
			caps_message(caps, &rates, &from, now_ms, &answer);
		ck_assert(answer.is_taken);
	}
	for (unsigned i = (is_by_message ? messages : recipients); i > 0; i--) {
		if (is_by_message)
			caps_message(caps, &rates, &from, now_ms, &answer);
		else
			caps_recipient(caps, &rates, &from, now_ms, &answer);
		ck_assert_int_eq(answer.is_paused_by_this, i == 1);
	}
	caps_would(caps, &rates, &from, true, now_ms, &answer);
	ck_assert_str_eq(answer.rule, "login-paused");
	caps_would(caps, &rates, &from, false, now_ms, &answer);
	ck_assert_str_eq(answer.rule, "login-paused");
	caps_free(caps);
}
END_TEST

START_TEST(the_hour_of_a_pause_begins_anew)
{
	struct caps *caps = caps_new();

	for (unsigned hour = 0; hour < 10; hour++)
		for (unsigned i = 0; i < 30; i++)
			ck_assert(!message(caps, "anna", NULL,
					   1000 + hour * (HOUR + 1))
					   .is_paused_by_this);
	caps_free(caps);
}
END_TEST

START_TEST(no_cap_counts_nothing)
{
	static const struct caps_rates none;
	struct caps_sender from = sender("anna", "192.0.2.7");
	struct caps *caps = caps_new();
	struct caps_answer answer;

	for (unsigned i = 0; i < 10000; i++) {
		caps_message(caps, &none, &from, 1000, &answer);
		ck_assert(answer.is_taken);
		caps_recipient(caps, &none, &from, 1000, &answer);
		ck_assert(answer.is_taken);
	}
	caps_give_back(caps, &none, &from, 3);
	caps_free(caps);
}
END_TEST

UNIT_MAIN("caps", {
	tcase_add_test(tc, over_a_cap_the_reply_says_when_there_is_room);
	tcase_add_test(tc, what_would_be_said_is_asked_without_charge);
	tcase_add_test(tc, clients_are_counted_by_address_and_a_64);
	tcase_add_test(tc, recipients_are_counted_apart_from_messages);
	tcase_add_test(tc, what_came_to_nothing_is_given_back);
	tcase_add_test(tc,
		       a_login_far_over_its_cap_is_paused_until_that_is_lifted);
	tcase_add_loop_test(tc, far_over_is_three_times_what_an_hour_allows, 0,
			    (int)COUNT(far_over));
	tcase_add_test(tc, the_hour_of_a_pause_begins_anew);
	tcase_add_test(tc, no_cap_counts_nothing);
})
