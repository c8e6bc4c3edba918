/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "queue/deliver/maildir.h"

/* ------------------------------------------------------------- the path */

static const struct {
	const char *pattern, *delimiter, *address;
	const char *path; /* or NULL: refused */
} paths[] = {
	{"/m/%d/%u", "+", "joe@a.example", "/m/a.example/joe"},
	{"/m/%d/%u", "+", "Joe+News@a.example", "/m/a.example/joe"},
	{"/m/%d/%u", "", "joe+news@a.example", "/m/a.example/joe+news"},
	{"/m/%d/%u", "-+", "joe-x+y@a.example", "/m/a.example/joe"},
	{"/m/%u", "+", "+x@a.example", "/m/+x"},
	{"/m/%u", "+", "\"joe smith\"@a.example", "/m/joe smith"},
	{"/m/%u", "+", "\"joe\\\"x\"@a.example", "/m/joe\"x"},
	{"/m/100%%/%x/%u%", "+", "joe@a.example", "/m/100%/%x/joe%"},
	{"/m/all", "+", "joe@a.example", "/m/all"},
	{"/m/%u", "+", "j\xc3\xb6@a.example", "/m/j\xc3\xb6"},
	{"/m/%u", "+", "\"../../etc\"@a.example", NULL},
	{"/m/%u", "+", "\"a/b\"@a.example", NULL},
	{"/m/%u", "+", "a/b@a.example", NULL},
	{"/m/%u", "+", "\".\"@a.example", NULL},
	{"/m/%u", "+", "\"..\"@a.example", NULL},
	{"/m/%u", "+", "\".hidden\"@a.example", NULL},
	{"/m/%u", "+", "\"\"@a.example", NULL},
	{"/m/all", "+", "\"a/b\"@a.example", NULL},
	{"/m/%u", "+",
	 "a23456789012345678901234567890123456789012345678901234567890abcd"
	 "@a.example",
	 "/m/"
	 "a23456789012345678901234567890123456789012345678901234567890abcd"},
	{"/m/%u", "+",
	 "a23456789012345678901234567890123456789012345678901234567890abcde"
	 "@a.example",
	 NULL},
	{"/m/%u", "+", "nobody", NULL},
	{"/m/%u", "+", "", NULL},
};

START_TEST(an_address_names_a_path_or_is_refused)
{
	char to[MAILDIR_PATH_MAX];
	const char *wrong = maildir_path(paths[_i].pattern, paths[_i].delimiter,
					 paths[_i].address, to);

	if (paths[_i].path == NULL) {
		ck_assert_ptr_nonnull(wrong);
	} else {
		ck_assert_ptr_null(wrong);
		ck_assert_str_eq(to, paths[_i].path);
	}
}
END_TEST

START_TEST(a_path_that_gets_too_long_is_refused)
{
	char pattern[MAILDIR_PATH_MAX], to[MAILDIR_PATH_MAX];

	memset(pattern, 'x', sizeof(pattern));
	pattern[sizeof(pattern) - 3] = '\0';
	ck_assert_ptr_null(maildir_path(pattern, "", "a@b.example", to));
	memcpy(pattern + sizeof(pattern) - 6, "%d", 3);
	ck_assert_ptr_nonnull(maildir_path(pattern, "", "a@b.example", to));
}
END_TEST

/* ------------------------------------------------------------- the files */

static char root[64];

static void
make_root(void)
{
	(void)snprintf(root, sizeof(root), "/tmp/ostler-maildir-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(root));
}

static void
remove_tree(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;

	if (dir != NULL) {
		while ((entry = readdir(dir)) != NULL) {
			char sub[1024];

			if (strcmp(entry->d_name, ".") == 0 ||
			    strcmp(entry->d_name, "..") == 0)
				continue;
			(void)snprintf(sub, sizeof(sub), "%s/%s", path,
				       entry->d_name);
			remove_tree(sub);
		}
		(void)closedir(dir);
	}
	(void)remove(path);
}

/* The number of files in a folder; the last one's content. */
static unsigned
look(const char *dir, char *content, size_t size)
{
	DIR *handle = opendir(dir);
	struct dirent *entry;
	unsigned count = 0;

	ck_assert_ptr_nonnull(handle);
	while ((entry = readdir(handle)) != NULL) {
		char path[1024];
		ssize_t len;
		int fd;

		if (entry->d_name[0] == '.')
			continue;
		count++;
		(void)snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
		fd = open(path, O_RDONLY);
		len = read(fd, content, size - 1);
		ck_assert_int_ge(len, 0);
		content[len] = '\0';
		(void)close(fd);
	}
	(void)closedir(handle);
	return count;
}

START_TEST(a_message_appears_in_new_with_lf_line_ends_at_every_split)
{
	static const char message[] = "Subject: x\r\n\r\n.dot\r\nlone \r cr\r\n"
				      "\r\r\nend\r";
	static const char want[] = "Return-Path: <s@a.example>\n"
				   "Delivered-To: r@b.example\n"
				   "Subject: x\n\n.dot\nlone \r cr\n\r\nend\r";
	struct err err = ERR_INIT;
	char dir[128], path[256], got[1024];

	make_root();
	(void)snprintf(dir, sizeof(dir), "%s/b.example/r", root);
	for (size_t cut = 0; cut < sizeof(message); cut++) {
		struct maildir_file *file;

		ck_assert_int_eq(maildir_begin(dir, "mx.example", "s@a.example",
					       "r@b.example", &file, &err),
				 0);
		(void)snprintf(path, sizeof(path), "%s/new", dir);
		ck_assert_uint_eq(look(path, got, sizeof(got)), cut);
		ck_assert_int_eq(maildir_write(file, (const uint8_t *)message,
					       cut, &err),
				 0);
		ck_assert_int_eq(maildir_write(file,
					       (const uint8_t *)message + cut,
					       sizeof(message) - 1 - cut, &err),
				 0);
		ck_assert_int_eq(maildir_end(file, &err), 0);
		ck_assert_uint_eq(look(path, got, sizeof(got)), cut + 1);
		ck_assert_str_eq(got, want);
	}
	(void)snprintf(path, sizeof(path), "%s/tmp", dir);
	ck_assert_uint_eq(look(path, got, sizeof(got)), 0);
	(void)snprintf(path, sizeof(path), "%s/cur", dir);
	ck_assert_uint_eq(look(path, got, sizeof(got)), 0);
	remove_tree(root);
}
END_TEST

START_TEST(a_maildir_is_for_its_owner_alone)
{
	struct err err = ERR_INIT;
	struct maildir_file *file;
	struct stat st;
	char path[256];

	make_root();
	(void)snprintf(path, sizeof(path), "%s/deep/er/joe", root);
	ck_assert_int_eq(maildir_begin(path, "mx.example", "", "r@b", &file,
				       &err),
			 0);
	ck_assert_int_eq(maildir_end(file, &err), 0);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0700);
	(void)snprintf(path, sizeof(path), "%s/deep", root);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0700);
	remove_tree(root);
}
END_TEST

START_TEST(an_aborted_message_leaves_nothing)
{
	struct err err = ERR_INIT;
	struct maildir_file *file;
	char path[256], got[64];

	make_root();
	ck_assert_int_eq(maildir_begin(root, "mx.example", "", "r@b.example",
				       &file, &err),
			 0);
	(void)snprintf(path, sizeof(path), "%s/tmp", root);
	ck_assert_uint_eq(look(path, got, sizeof(got)), 1);
	maildir_abort(file);
	ck_assert_uint_eq(look(path, got, sizeof(got)), 0);
	maildir_abort(NULL);
	remove_tree(root);
}
END_TEST

START_TEST(a_folder_that_cannot_be_made_is_named_in_the_error)
{
	struct err err = ERR_INIT;
	struct maildir_file *file;
	char path[256];
	int fd;

	make_root();
	(void)snprintf(path, sizeof(path), "%s/file", root);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	ck_assert_int_ge(fd, 0);
	(void)close(fd);
	(void)snprintf(path, sizeof(path), "%s/file/joe", root);
	ck_assert_int_eq(maildir_begin(path, "mx.example", "", "r@b.example",
				       &file, &err),
			 -ENOTDIR);
	ck_assert_ptr_nonnull(strstr(err.text, path));
	remove_tree(root);
}
END_TEST

START_TEST(a_full_disk_is_reported_and_leaves_nothing_in_new)
{
	struct err err = ERR_INIT;
	struct maildir_file *file;
	uint8_t block[8192];
	char path[256], got[64];
	int rc = 0;

	make_root();
	ck_assert_int_eq(maildir_begin(root, "mx.example", "", "r@b.example",
				       &file, &err),
			 0);
	/* the file becomes one that takes nothing */
	(void)snprintf(path, sizeof(path), "%s/tmp", root);
	for (int fd = 3; fd < 64; fd++) {
		char link[64], target[256];
		ssize_t len;

		(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		len = readlink(link, target, sizeof(target) - 1);
		if (len > 0) {
			target[len] = '\0';
			if (strstr(target, path) != NULL) {
				int full = open("/dev/full", O_WRONLY);

				ck_assert_int_eq(dup2(full, fd), fd);
				(void)close(full);
			}
		}
	}
	memset(block, 'x', sizeof(block));
	for (unsigned i = 0; i < 20 && rc == 0; i++)
		rc = maildir_write(file, block, sizeof(block), &err);
	ck_assert_int_eq(rc, -ENOSPC);
	maildir_abort(file);
	ck_assert_uint_eq(look(path, got, sizeof(got)), 0);
	(void)snprintf(path, sizeof(path), "%s/new", root);
	ck_assert_uint_eq(look(path, got, sizeof(got)), 0);
	remove_tree(root);
}
END_TEST

UNIT_MAIN(
	"maildir",
	tcase_add_loop_test(tc, an_address_names_a_path_or_is_refused, 0,
			    (int)COUNT(paths));
	tcase_add_test(tc, a_path_that_gets_too_long_is_refused);
	tcase_add_test(
		tc, a_message_appears_in_new_with_lf_line_ends_at_every_split);
	tcase_add_test(tc, a_maildir_is_for_its_owner_alone);
	tcase_add_test(tc, an_aborted_message_leaves_nothing);
	tcase_add_test(tc, a_folder_that_cannot_be_made_is_named_in_the_error);
	tcase_add_test(tc, a_full_disk_is_reported_and_leaves_nothing_in_new);)
