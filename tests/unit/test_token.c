/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <jansson.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "queue/deliver/token.h"

static uv_loop_t loop;
static struct tokens *tokens;
static unsigned told;
static char last[512]; /* what was told last */
static bool was_cached;

static const struct {
	const char *command, *words; /* each with | behind it; NULL: none */
} commands[] = {
	{"/bin/true", "/bin/true|"},
	{"  a  b\tc ", "a|b|c|"},
	{"a 'b c' \"d 'e\"", "a|b c|d 'e|"},
	{"a'b'\"c\"d ''", "abcd||"},
	{"a\\ b", "a\\|b|"},
	{"a 'b", NULL},
	{"a \"", NULL},
	{"", NULL},
	{"  ", NULL},
};

START_TEST(a_command_is_parted_into_words)
{
	for (size_t i = 0; i < COUNT(commands); i++) {
		char **words = token_words(commands[i].command);
		char text[128] = "";

		ck_assert_msg((words == NULL) == (commands[i].words == NULL),
			      "%s", commands[i].command);
		for (size_t k = 0; words != NULL && words[k] != NULL; k++)
			(void)snprintf(text + strlen(text),
				       sizeof(text) - strlen(text), "%s|",
				       words[k]);
		if (words != NULL)
			ck_assert_str_eq(text, commands[i].words);
		free(words);
	}
}
END_TEST

static void
start(void)
{
	told = 0;
	ck_assert_int_eq(uv_loop_init(&loop), 0);
	tokens = tokens_new(&loop);
}

static void
stop(void)
{
	tokens_free(tokens);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	ck_assert_int_eq(uv_loop_close(&loop), 0);
}

static void
on_token(void *owner, const char *token, bool is_cached, const char *why)
{
	told++;
	was_cached = is_cached;
	ck_assert((token == NULL) == (why != NULL));
	(void)snprintf(last, sizeof(last), "%s", token != NULL ? token : why);
}

static const char *
get(const char *command)
{
	unsigned before = told;

	(void)tokens_get(tokens, command, on_token, NULL);
	ck_assert_uint_eq(told, before);
	while (told == before)
		(void)uv_run(&loop, UV_RUN_ONCE);
	return last;
}

START_TEST(what_a_command_prints_is_the_token_or_why_not)
{
	static const struct {
		const char *command, *told;
	} rows[] = {
		{"/bin/echo abc", "abc"},
		{"/usr/bin/printf 'abc\\r\\ndef'", "abc"},
		{"/bin/echo '{\"access_token\": \"x.y\", \"expires_in\": 99}'",
		 "x.y"},
		{"/bin/echo '{\"access_token\": \"x y\"}'",
		 "token_command: it printed no token"},
		{"/bin/echo '{\"access_token\": 7'",
		 "token_command: it printed no token"},
		{"/bin/true", "token_command: it printed no token"},
		{"/bin/false", "token_command: exit 1"},
		{"/bin/sh -c 'echo why >&2; exit 2'",
		 "token_command: exit 2: why"},
		{"/nonexistent/command",
		 "token_command: no such file or directory"},
		{"'", "token_command: invalid argument"},
	};

	start();
	for (size_t i = 0; i < COUNT(rows); i++)
		ck_assert_str_eq(get(rows[i].command), rows[i].told);
	stop();
}
END_TEST

START_TEST(a_command_gets_its_path_and_no_secret_of_ours)
{
	ck_assert_int_eq(setenv("SMARTHOST_PASSWORD", "secret", 1), 0);
	ck_assert_int_eq(setenv("NOTIFY_SOCKET", "/run/x", 1), 0);
	ck_assert_int_eq(setenv("TZ", "Europe/Vienna", 1), 0);
	ck_assert_int_eq(setenv("https_proxy", "http://192.0.2.1:1", 1), 0);
	start();
	(void)get("sh -c 'printf %s,%s,%s,%s,%s "
		  "\"${PATH:+path}\" \"$SMARTHOST_PASSWORD\" "
		  "\"$NOTIFY_SOCKET\" \"$TZ\" \"$https_proxy\"; echo'");
	ck_assert_str_eq(last, "path,,,Europe/Vienna,http://192.0.2.1:1");
	stop();
	(void)unsetenv("SMARTHOST_PASSWORD");
	(void)unsetenv("NOTIFY_SOCKET");
	(void)unsetenv("TZ");
	(void)unsetenv("https_proxy");
}
END_TEST

START_TEST(a_token_is_kept_until_it_is_forgotten)
{
	static const char command[] = "/bin/sh -c 'echo $$'";
	char first[64];

	start();
	(void)snprintf(first, sizeof(first), "%s", get(command));
	ck_assert(!was_cached);
	ck_assert_str_eq(get(command), first);
	ck_assert(was_cached);
	tokens_forget(tokens, command);
	ck_assert_str_ne(get(command), first);
	ck_assert(!was_cached);
	stop();
}
END_TEST

START_TEST(one_run_serves_all_who_wait)
{
	static const char command[] = "/bin/sh -c 'echo $$'";
	struct token_wait *gone;

	start();
	for (unsigned i = 0; i < 10; i++)
		(void)tokens_get(tokens, command, on_token, NULL);
	gone = tokens_get(tokens, command, on_token, NULL);
	tokens_cancel(gone);
	while (told < 10)
		(void)uv_run(&loop, UV_RUN_ONCE);
	ck_assert(!was_cached);
	stop();
	ck_assert_uint_eq(told, 10);
}
END_TEST

START_TEST(a_command_that_runs_is_killed_at_the_end)
{
	struct token_wait *wait;

	start();
	wait = tokens_get(tokens, "/bin/sh -c 'sleep 1000; echo x'", on_token,
			  NULL);
	(void)uv_run(&loop, UV_RUN_NOWAIT);
	tokens_cancel(wait);
	stop();
	ck_assert_uint_eq(told, 0);
}
END_TEST

/* What jansson gives back: none of it may begin with a token. */
static unsigned freed;

static void
free_after_a_look(void *at)
{
	if (at != NULL && malloc_usable_size(at) >= 8) {
		freed++;
		ck_assert_int_ne(memcmp(at, "s3cr3t-", 7), 0);
	}
	free(at);
}

START_TEST(nothing_of_an_object_is_left_in_memory)
{
	start();
	freed = 0;
	json_set_alloc_funcs(malloc, free_after_a_look);
	ck_assert_str_eq(get("/bin/echo '{\"access_token\": "
			     "\"s3cr3t-one\", \"more\": "
			     "{\"refresh_token\": [\"s3cr3t-two\"]}}'"),
			 "s3cr3t-one");
	json_set_alloc_funcs(malloc, free);
	ck_assert_uint_ge(freed, 2);
	stop();
}
END_TEST

UNIT_MAIN("token", tcase_add_test(tc, a_command_is_parted_into_words);
	  tcase_add_test(tc, what_a_command_prints_is_the_token_or_why_not);
	  tcase_add_test(tc, a_command_gets_its_path_and_no_secret_of_ours);
	  tcase_add_test(tc, a_token_is_kept_until_it_is_forgotten);
	  tcase_add_test(tc, one_run_serves_all_who_wait);
	  tcase_add_test(tc, a_command_that_runs_is_killed_at_the_end);
	  tcase_add_test(tc, nothing_of_an_object_is_left_in_memory);)
