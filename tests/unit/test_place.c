/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/str.h"
#include "server/place.h"

#define SOMEBODY 65534

struct box {
	char dir[32];
	char path[64], other[64];
};

static void
box_open(struct box *box)
{
	(void)snprintf(box->dir, sizeof(box->dir), "/tmp/place-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(box->dir));
	(void)snprintf(box->path, sizeof(box->path), "%s/it", box->dir);
	(void)snprintf(box->other, sizeof(box->other), "%s/other", box->dir);
}

static void
box_close(struct box *box)
{
	(void)remove(box->path);
	(void)remove(box->other);
	ck_assert_int_eq(rmdir(box->dir), 0);
}

static void
write_file(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0640);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fchmod(fd, 0640), 0);
	ck_assert_int_eq(close(fd), 0);
}

static bool
can_connect(const char *path)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool is_up;

	ck_assert(str_copy(un.sun_path, sizeof(un.sun_path), str_of(path)));
	is_up = connect(fd, (struct sockaddr *)&un, sizeof(un)) == 0;
	(void)close(fd);
	return is_up;
}

static void
check_file(const char *path, mode_t mode, uid_t uid)
{
	struct stat st;

	ck_assert_int_eq(lstat(path, &st), 0);
	ck_assert_int_eq(st.st_mode, mode);
	ck_assert_int_eq(st.st_uid, uid);
}

START_TEST(a_socket_has_its_mode_whatever_the_umask)
{
	static const mode_t modes[] = {0666, 0600}, masks[] = {0077, 0};
	struct err err = ERR_INIT;
	struct box box;
	mode_t before = umask(masks[_i]);

	box_open(&box);
	for (size_t i = 0; i < COUNT(modes); i++) {
		int fd = place_socket(box.path, modes[i], NULL, &err);

		ck_assert_msg(fd >= 0, "%s", err.text);
		check_file(box.path, S_IFSOCK | modes[i], geteuid());
		ck_assert(can_connect(box.path));
		(void)close(fd);
		(void)unlink(box.path);
	}
	ck_assert_int_eq(umask(before), masks[_i]); /* as it was */
	box_close(&box);
}
END_TEST

START_TEST(a_socket_that_nobody_serves_is_replaced_and_no_other)
{
	struct err err = ERR_INIT;
	struct box box;
	int first, second;

	box_open(&box);
	first = place_socket(box.path, 0600, NULL, &err);
	ck_assert_int_ge(first, 0);
	ck_assert_int_eq(place_socket(box.path, 0600, NULL, &err), -EADDRINUSE);
	ck_assert_ptr_nonnull(strstr(err.text, box.path));
	(void)close(first);
	second = place_socket(box.path, 0600, NULL, &err);
	ck_assert_msg(second >= 0, "%s", err.text);
	ck_assert(can_connect(box.path));
	(void)close(second);
	box_close(&box);
}
END_TEST

START_TEST(what_is_no_socket_stays)
{
	struct err err = ERR_INIT;
	struct box box;
	int other;

	box_open(&box);
	write_file(box.path);
	ck_assert_int_eq(place_socket(box.path, 0666, NULL, &err), -EADDRINUSE);
	check_file(box.path, S_IFREG | 0640, geteuid());
	(void)unlink(box.path);
	/* nor is a link followed to a socket that nobody serves */
	other = place_socket(box.other, 0600, NULL, &err);
	(void)close(other);
	ck_assert_int_eq(symlink(box.other, box.path), 0);
	ck_assert_int_eq(place_socket(box.path, 0666, NULL, &err), -EADDRINUSE);
	check_file(box.path, S_IFLNK | 0777, geteuid());
	check_file(box.other, S_IFSOCK | 0600, geteuid());
	box_close(&box);
}
END_TEST

START_TEST(a_path_that_cannot_be_is_told)
{
	struct err err = ERR_INIT;
	char longest[200];
	int fd = place_socket("/nowhere/at/all", 0600, NULL, &err);

	ck_assert_int_eq(fd, -ENOENT);
	ck_assert_str_eq(err.text, "socket '/nowhere/at/all': No such file or "
				   "directory");
	memset(longest, 'x', sizeof(longest) - 1);
	longest[0] = '/';
	longest[sizeof(longest) - 1] = '\0';
	ck_assert_int_eq(place_socket(longest, 0600, NULL, &err),
			 -ENAMETOOLONG);
}
END_TEST

START_TEST(a_folder_is_made_once_and_then_left_alone)
{
	const struct place_owner us = {geteuid(), getegid()};
	struct err err = ERR_INIT;
	struct box box;
	mode_t before = umask(0077);

	box_open(&box);
	ck_assert_int_eq(place_folder(box.path, 0755, us, &err), 0);
	check_file(box.path, S_IFDIR | 0755, geteuid());
	ck_assert_int_eq(place_folder(box.path, 0700, us, &err), 0);
	check_file(box.path, S_IFDIR | 0755, geteuid());
	(void)umask(before);
	box_close(&box);
}
END_TEST

START_TEST(what_root_makes_can_be_given_away)
{
	const struct place_owner owner = {SOMEBODY, SOMEBODY};
	struct err err = ERR_INIT;
	struct box box;
	int fd;

	box_open(&box);
	fd = place_socket(box.path, 0600, &owner, &err);
	ck_assert_msg(fd >= 0, "%s", err.text);
	check_file(box.path, S_IFSOCK | 0600, SOMEBODY);
	ck_assert_int_eq(place_folder(box.other, 0700, owner, &err), 0);
	check_file(box.other, S_IFDIR | 0700, SOMEBODY);
	(void)close(fd);
	box_close(&box);
}
END_TEST

/* ------------------------------------------------------------- the thief */

struct thief {
	struct box box;
	char link[64];
	atomic_bool is_over;
};

/* The owner of the folder: in the place of whatever comes there he puts a link
 * to a file of somebody else. */
static void *
thief_run(void *arg)
{
	struct thief *thief = arg;

	while (!atomic_load(&thief->is_over)) {
		if (access(thief->box.path, F_OK) < 0)
			continue;
		(void)symlink(thief->box.other, thief->link);
		(void)rmdir(thief->box.path);
		(void)rename(thief->link, thief->box.path);
		(void)unlink(thief->box.path);
	}
	return NULL;
}

START_TEST(a_link_that_comes_in_between_leads_nowhere)
{
	const struct place_owner owner = {SOMEBODY, SOMEBODY};
	struct thief thief;
	pthread_t thread;

	box_open(&thief.box);
	(void)snprintf(thief.link, sizeof(thief.link), "%s/link",
		       thief.box.dir);
	atomic_init(&thief.is_over, false);
	write_file(thief.box.other);
	ck_assert_int_eq(pthread_create(&thread, NULL, thief_run, &thief), 0);
	for (unsigned i = 0; i < 3000; i++) {
		struct err err = ERR_INIT;
		int fd = place_socket(thief.box.path, 0666, &owner, &err);

		if (fd >= 0)
			(void)close(fd);
		(void)unlink(thief.box.path);
		(void)place_folder(thief.box.path, 0755, owner, &err);
		(void)rmdir(thief.box.path);
		check_file(thief.box.other, S_IFREG | 0640, geteuid());
	}
	atomic_store(&thief.is_over, true);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	(void)unlink(thief.link);
	box_close(&thief.box);
}
END_TEST

UNIT_MAIN("place",
	  tcase_add_loop_test(tc, a_socket_has_its_mode_whatever_the_umask, 0,
			      2);
	  tcase_add_test(tc,
			 a_socket_that_nobody_serves_is_replaced_and_no_other);
	  tcase_add_test(tc, what_is_no_socket_stays);
	  tcase_add_test(tc, a_path_that_cannot_be_is_told);
	  tcase_add_test(tc, a_folder_is_made_once_and_then_left_alone);
	  /* others cannot give anything away */
	  if (geteuid() == 0)
		  tcase_add_test(tc, what_root_makes_can_be_given_away);
	  else puts("skipped: what_root_makes_can_be_given_away needs root");
	  tcase_add_test(tc, a_link_that_comes_in_between_leads_nowhere);)
