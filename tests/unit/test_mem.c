/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/mem.h"

/* Else the sanitizer would end the program before we are asked. */
const char *__asan_default_options(void);
const char *
__asan_default_options(void)
{
	return "allocator_may_return_null=1";
}

#define TOO_MUCH ((size_t)1 << 62)

static void
take_alloc(void)
{
	(void)!mem_alloc(TOO_MUCH);
}

static void
take_zalloc(void)
{
	(void)!mem_zalloc(TOO_MUCH);
}

static void
take_resize(void)
{
	(void)!mem_resize(NULL, TOO_MUCH, TOO_MUCH);
}

static void
take_calloc(void)
{
	(void)!mem_library_calloc(TOO_MUCH, TOO_MUCH);
}

static void
take_realloc(void)
{
	(void)!mem_library_realloc(mem_alloc(1), TOO_MUCH);
}

static void (*const takes[])(void) = {take_alloc, take_zalloc, take_resize,
				      take_calloc, take_realloc};

START_TEST(memory_that_is_not_there_ends_the_program_with_a_line)
{
	char said[4096];
	size_t have = 0;
	int ends[2], status;
	pid_t child;

	ck_assert_int_eq(pipe(ends), 0);
	child = fork();
	if (child == 0) {
		struct rlimit no_core = {0, 0};

		(void)setrlimit(RLIMIT_CORE, &no_core);
		(void)dup2(ends[1], STDERR_FILENO);
		takes[_i]();
		_exit(0);
	}
	(void)close(ends[1]);
	for (;;) {
		ssize_t got =
			read(ends[0], said + have, sizeof(said) - 1 - have);

		if (got <= 0)
			break;
		have += (size_t)got;
	}
	said[have] = '\0';
	(void)close(ends[0]);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	ck_assert_ptr_nonnull(
		strstr(said, "error memory-exhausted action=abort\n"));
}
END_TEST

START_TEST(libraries_get_what_the_c_library_would_give)
{
	char *at = mem_library_calloc(3, 5);

	for (size_t i = 0; i < 15; i++)
		ck_assert_int_eq(at[i], 0);
	memcpy(at, "kept", 5);
	at = mem_library_realloc(at, 4096);
	ck_assert_str_eq(at, "kept");
	ck_assert_ptr_null(mem_library_realloc(at, 0)); /* freed */
	at = mem_library_realloc(NULL, 0);
	ck_assert_ptr_nonnull(at);
	free(at);
	at = mem_library_calloc(0, 8);
	ck_assert_ptr_nonnull(at);
	free(at);
}
END_TEST

UNIT_MAIN("mem",
	  tcase_add_loop_test(
		  tc, memory_that_is_not_there_ends_the_program_with_a_line, 0,
		  COUNT(takes));
	  tcase_add_test(tc, libraries_get_what_the_c_library_would_give);)
