/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "lib/work.h"
#include "server/file_watch.h"

static char dir[64], first[96], second[96], other[96];
static uv_loop_t loop;
static struct file_watch *watch;
static char changed[96];
static unsigned changes;

static void
write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	ck_assert_int_eq(close(fd), 0);
}

static void
on_change(void *owner, const char *path)
{
	ck_assert_ptr_eq(owner, &watch);
	(void)snprintf(changed, sizeof(changed), "%s", path);
	changes++;
}

/* Lets it look so many times more, or until it has found something. */
static void
look(unsigned times)
{
	uint64_t until = file_watch_looks(watch) + times;
	unsigned before = changes;

	while (changes == before && file_watch_looks(watch) < until)
		(void)uv_run(&loop, UV_RUN_ONCE);
}

static void
begin(void)
{
	const char *paths[] = {first, second};

	(void)snprintf(dir, sizeof(dir), "/tmp/ostler-watch-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	(void)snprintf(first, sizeof(first), "%s/first", dir);
	(void)snprintf(second, sizeof(second), "%s/second", dir);
	(void)snprintf(other, sizeof(other), "%s/other", dir);
	write_file(first, "one");
	write_file(second, "two");
	work_init();
	ck_assert_int_eq(uv_loop_init(&loop), 0);
	watch = file_watch_new(&loop, on_change, &watch);
	file_watch_set(watch, paths, 2, 1);
	look(3);
	ck_assert_uint_eq(changes, 0);
}

static void
end(void)
{
	file_watch_free(watch);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	ck_assert_int_eq(uv_loop_close(&loop), 0);
	(void)unlink(first);
	(void)unlink(second);
	(void)unlink(other);
	ck_assert_int_eq(rmdir(dir), 0);
}

START_TEST(a_file_that_is_written_is_told_and_then_no_more)
{
	unsigned told;

	begin();
	write_file(second, "more");
	look(1000);
	ck_assert_str_eq(changed, second);
	/* a look may have come between the cut and the write */
	look(3);
	told = changes;
	ck_assert_uint_le(told, 2);
	look(3);
	ck_assert_uint_eq(changes, told);
	end();
}
END_TEST

START_TEST(a_file_that_is_replaced_is_told_though_its_size_is_the_same)
{
	begin();
	write_file(other, "eno");
	ck_assert_int_eq(rename(other, first), 0);
	look(1000);
	ck_assert_str_eq(changed, first);
	end();
}
END_TEST

START_TEST(a_file_that_is_gone_counts_when_it_is_back)
{
	begin();
	ck_assert_int_eq(rename(first, other), 0);
	look(3);
	ck_assert_uint_eq(changes, 0);
	ck_assert_int_eq(rename(other, first), 0);
	look(3);
	ck_assert_uint_eq(changes, 0); /* it is the same file */
	write_file(first, "new one");
	look(1000);
	ck_assert_str_eq(changed, first);
	end();
}
END_TEST

START_TEST(what_is_no_longer_watched_is_not_told)
{
	const char *paths[] = {second};

	begin();
	file_watch_set(watch, paths, 1, 1);
	look(1);
	write_file(first, "more");
	look(3);
	ck_assert_uint_eq(changes, 0);
	file_watch_set(watch, paths, 1, 0);
	write_file(second, "more");
	(void)uv_run(&loop, UV_RUN_DEFAULT); /* nothing is left to happen */
	ck_assert_uint_eq(changes, 0);
	end();
}
END_TEST

UNIT_MAIN("file_watch",
	  tcase_add_test(tc, a_file_that_is_written_is_told_and_then_no_more);
	  tcase_add_test(
		  tc,
		  a_file_that_is_replaced_is_told_though_its_size_is_the_same);
	  tcase_add_test(tc, a_file_that_is_gone_counts_when_it_is_back);
	  tcase_add_test(tc, what_is_no_longer_watched_is_not_told);)
