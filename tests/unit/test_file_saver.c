/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/file_saver.h"

struct world {
	uv_loop_t loop;
	char dir[64], path[96];
	struct file_saver *saver;
	unsigned saved;
	int status;
};

static void
on_saved(void *arg, int status)
{
	struct world *world = arg;

	world->saved++;
	world->status = status;
}

static void
world_init(struct world *world)
{
	memset(world, 0, sizeof(*world));
	uv_loop_init(&world->loop);
	(void)snprintf(world->dir, sizeof(world->dir), "test_saver.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(world->dir));
	(void)snprintf(world->path, sizeof(world->path), "%s/file", world->dir);
	world->saver =
		file_saver_new(&world->loop, world->path, on_saved, world);
}

static void
world_done(struct world *world)
{
	static const char *const suffixes[] = {"", ".1", ".new"};
	char path[128];

	file_saver_free(world->saver);
	uv_run(&world->loop, UV_RUN_DEFAULT);
	ck_assert_int_eq(uv_loop_close(&world->loop), 0);
	for (size_t i = 0; i < COUNT(suffixes); i++) {
		(void)snprintf(path, sizeof(path), "%s%s", world->path,
			       suffixes[i]);
		(void)unlink(path);
	}
	ck_assert_int_eq(rmdir(world->dir), 0);
}

static void
save(struct world *world, const char *text, uint64_t max_bytes)
{
	struct buf buf;

	buf_init(&buf, 1024);
	(void)buf_adds(&buf, text);
	if (max_bytes == 0)
		file_saver_replace(world->saver, &buf);
	else
		file_saver_append(world->saver, &buf, max_bytes);
	ck_assert(file_saver_is_busy(world->saver));
	ck_assert_uint_eq(buf_len(&buf), 0);
	uv_run(&world->loop, UV_RUN_DEFAULT);
	ck_assert(!file_saver_is_busy(world->saver));
}

static void
file_is(const struct world *world, const char *suffix, const char *want)
{
	struct buf buf;
	char path[128];

	(void)snprintf(path, sizeof(path), "%s%s", world->path, suffix);
	buf_init(&buf, 1024);
	ck_assert_int_eq(file_load(path, &buf), 0);
	ck_assert_str_eq(buf_text(&buf), want);
	buf_done(&buf);
}

START_TEST(a_file_is_replaced_whole)
{
	struct world world;

	world_init(&world);
	save(&world, "a long first text\n", 0);
	save(&world, "second\n", 0);
	ck_assert_uint_eq(world.saved, 2);
	ck_assert_int_eq(world.status, 0);
	file_is(&world, "", "second\n");
	world_done(&world);
}
END_TEST

START_TEST(a_file_that_has_grown_makes_room)
{
	struct world world;

	world_init(&world);
	for (unsigned i = 0; i < 5; i++)
		save(&world, "12345678\n", 20);
	ck_assert_int_eq(world.status, 0);
	file_is(&world, "", "12345678\n");
	file_is(&world, ".1", "12345678\n12345678\n");
	world_done(&world);
}
END_TEST

START_TEST(a_folder_that_is_gone_is_told)
{
	struct world world;

	world_init(&world);
	ck_assert_int_eq(rmdir(world.dir), 0);
	save(&world, "text", 0);
	ck_assert_int_eq(world.status, -ENOENT);
	save(&world, "text", 100);
	ck_assert_int_eq(world.status, -ENOENT);
	ck_assert_uint_eq(world.saved, 2);
	ck_assert_int_eq(mkdir(world.dir, 0700), 0);
	world_done(&world);
}
END_TEST

START_TEST(who_goes_leaves_the_write_to_end_by_itself)
{
	struct world world;
	struct buf buf;

	world_init(&world);
	buf_init(&buf, 1024);
	(void)buf_adds(&buf, "last words\n");
	file_saver_replace(world.saver, &buf);
	file_saver_free(world.saver);
	world.saver = NULL;
	uv_run(&world.loop, UV_RUN_DEFAULT);
	ck_assert_uint_eq(world.saved, 0);
	file_is(&world, "", "last words\n");
	world_done(&world);
}
END_TEST

START_TEST(a_file_beyond_the_maximum_is_refused)
{
	struct world world;
	struct buf buf;

	world_init(&world);
	save(&world, "0123456789", 0);
	buf_init(&buf, 9);
	ck_assert_int_eq(file_load(world.path, &buf), -EFBIG);
	buf_done(&buf);
	buf_init(&buf, 9);
	ck_assert_int_eq(file_load("no/such/file", &buf), -ENOENT);
	buf_done(&buf);
	world_done(&world);
}
END_TEST

UNIT_MAIN("file_saver", tcase_add_test(tc, a_file_is_replaced_whole);
	  tcase_add_test(tc, a_file_that_has_grown_makes_room);
	  tcase_add_test(tc, a_folder_that_is_gone_is_told);
	  tcase_add_test(tc, who_goes_leaves_the_write_to_end_by_itself);
	  tcase_add_test(tc, a_file_beyond_the_maximum_is_refused);)
