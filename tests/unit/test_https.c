/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/net/https.h"

static uv_loop_t loop;
static char program[96]; /* what stands for ostler-fetch */
static unsigned told;
static char last[256]; /* "good|TYPE|BODY", "bad|WHY", "ours|WHY" */

static void
on_reply(void *owner, const struct https_reply *reply)
{
	(void)owner;
	told++;
	if (reply->is_good)
		(void)snprintf(last, sizeof(last), "good|%s|%.*s", reply->type,
			       STR_ARG(reply->body));
	else
		(void)snprintf(last, sizeof(last), "%s|%s",
			       reply->is_ours ? "ours" : "bad", reply->why);
}

static void
start(const char *script)
{
	FILE *file;

	told = 0;
	ck_assert_int_eq(uv_loop_init(&loop), 0);
	(void)snprintf(program, sizeof(program), "./test_https.%d.sh",
		       (int)getpid());
	file = fopen(program, "w");
	ck_assert_ptr_nonnull(file);
	(void)fprintf(file, "#!/bin/sh\n%s\n", script);
	ck_assert_int_eq(fclose(file), 0);
	ck_assert_int_eq(chmod(program, 0700), 0);
	https_use_program(program);
}

static void
stop(void)
{
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	ck_assert_int_eq(uv_loop_close(&loop), 0);
	(void)unlink(program);
}

static struct https_fetch *
get(uint64_t timeout_ms)
{
	struct ip addrs[2];
	const struct https_request request = {
		.host = "mta-sts.far.example",
		.path = "/x",
		.addrs = addrs,
		.addr_count = 2,
		.port = 443,
		.max_bytes = 16,
		.timeout_ms = timeout_ms,
	};

	ck_assert(ip_parse(str_of("192.0.2.1"), &addrs[0]));
	ck_assert(ip_parse(str_of("2001:db8::1"), &addrs[1]));
	return https_get(&loop, &request, on_reply, NULL);
}

static const struct {
	const char *script, *told;
} programs[] = {
	{"printf 'good text/plain; x=y\\nversion\\n'",
	 "good|text/plain; x=y|version\n"},
	{"printf 'good \\n'", "good||"},
	{"printf 'bad no certificate: sorry\\n'", "bad|no certificate: sorry"},
	{"printf 'good text/plain\\n'; exit 1", "ours|ostler-fetch failed"},
	{"printf 'good text/plain\\n'; kill -9 $$", "ours|ostler-fetch failed"},
	{"exit 127", "ours|ostler-fetch cannot be run: is libcurl installed?"},
	{"printf 'well'", "ours|ostler-fetch said nothing of use"},
	{"printf 'well known\\n'", "ours|ostler-fetch said nothing of use"},
	{":", "ours|ostler-fetch said nothing of use"},
	{"head -c 600 /dev/zero", "ours|ostler-fetch printed too much"},
	{"head -c 520 /dev/zero; echo",
	 "ours|ostler-fetch said nothing of use"},
	/* what it is told, and that nothing else is open: of ours, that is */
	{"printf 'bad '; echo \"$@\"",
	 "bad|mta-sts.far.example 443 /x 16 20000  192.0.2.1 2001:db8::1"},
	{"read x; echo bad end of input", "bad|end of input"},
};

START_TEST(what_the_program_prints_is_the_document_or_why_not)
{
	start(programs[_i].script);
	(void)get(20000);
	ck_assert_uint_eq(told, 0);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	ck_assert_uint_eq(told, 1);
	ck_assert_str_eq(last, programs[_i].told);
	stop();
}
END_TEST

START_TEST(what_is_in_our_environment_is_not_the_programs_business)
{
	static const char *const kept[] = {"LD_LIBRARY_PATH", "OPENSSL_CONF",
					   "SSL_CERT_DIR", "SSL_CERT_FILE"};
	char *before = getenv("LD_LIBRARY_PATH");

	before = before != NULL ? strdup(before) : NULL;
	for (size_t i = 0; i < COUNT(kept); i++)
		ck_assert_int_eq(setenv(kept[i], "/kept", 1), 0);
	ck_assert_int_eq(setenv("SMARTHOST_PASSWORD", "secret", 1), 0);
	ck_assert_int_eq(setenv("https_proxy", "http://192.0.2.1:1", 1), 0);
	start("printf 'bad '; for v in LD_LIBRARY_PATH OPENSSL_CONF "
	      "SSL_CERT_DIR "
	      "SSL_CERT_FILE SMARTHOST_PASSWORD https_proxy HOME; do "
	      "eval printf '%s,' \"\\$$v\"; done; echo");
	(void)get(20000);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	ck_assert_str_eq(last, "bad|/kept,/kept,/kept,/kept,,,,");
	stop();
	for (size_t i = 0; i < COUNT(kept); i++)
		(void)unsetenv(kept[i]);
	if (before != NULL)
		(void)setenv("LD_LIBRARY_PATH", before, 1);
	free(before);
}
END_TEST

START_TEST(who_started_us_need_not_care_for_children)
{
	(void)signal(SIGCHLD, SIG_IGN);
	start("printf 'good text/plain\\nversion\\n'");
	(void)get(20000);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	ck_assert_str_eq(last, "good|text/plain|version\n");
	stop();
}
END_TEST

START_TEST(a_program_that_is_not_there_is_our_fault)
{
	start("");
	(void)unlink(program);
	ck_assert_int_lt(https_check(NULL), 0);
	(void)get(20000);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	ck_assert_msg(strncmp(last, "ours|", 5) == 0, "%s", last);
	stop();
}
END_TEST

START_TEST(a_program_that_takes_too_long_is_ended)
{
	uint64_t before_ms = clock_boot_ms();

	start("exec sleep 600");
	(void)get(1000);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	ck_assert_str_eq(last, "bad|no document within 1 seconds");
	ck_assert_uint_lt(clock_boot_ms() - before_ms, unit_patience_ms(60000));
	stop();
}
END_TEST

START_TEST(one_that_is_cancelled_ends_and_says_nothing)
{
	struct https_fetch *fetch;

	start("exec sleep 600");
	fetch = get(500000);
	while (!https_has_begun(fetch))
		(void)uv_run(&loop, UV_RUN_NOWAIT);
	https_cancel(fetch);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	ck_assert_uint_eq(told, 0);
	stop();
}
END_TEST

START_TEST(the_fifth_waits_for_its_turn)
{
	struct https_fetch *fetch[5];

	start("exec sleep 600");
	for (size_t i = 0; i < 5; i++)
		fetch[i] = get(500000);
	for (size_t i = 0; i < 4; i++)
		while (!https_has_begun(fetch[i]))
			(void)uv_run(&loop, UV_RUN_NOWAIT);
	ck_assert(!https_has_begun(fetch[4]));
	https_cancel(fetch[0]);
	while (!https_has_begun(fetch[4]))
		(void)uv_run(&loop, UV_RUN_NOWAIT);
	for (size_t i = 1; i < 5; i++)
		https_cancel(fetch[i]);
	stop();
}
END_TEST

UNIT_MAIN(
	"https",
	tcase_add_loop_test(tc,
			    what_the_program_prints_is_the_document_or_why_not,
			    0, COUNT(programs));
	tcase_add_test(tc,
		       what_is_in_our_environment_is_not_the_programs_business);
	tcase_add_test(tc, who_started_us_need_not_care_for_children);
	tcase_add_test(tc, a_program_that_is_not_there_is_our_fault);
	tcase_add_test(tc, a_program_that_takes_too_long_is_ended);
	tcase_add_test(tc, one_that_is_cancelled_ends_and_says_nothing);
	tcase_add_test(tc, the_fifth_waits_for_its_turn);)
