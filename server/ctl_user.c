/* SPDX-License-Identifier: ISC */
/*
 * server/ctl_user.c - ostlerctl user: the login database
 */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "auth/auth_users.h"
#include "lib/mem.h"
#include "server/config.h"
#include "server/ctl.h"
#include "server/daemon.h"

#define PASSWORD_MAX 1024

/* One line without its end; false at the end of input or when too long. */
static bool
read_line(char *to, size_t size)
{
	size_t len;

	if (fgets(to, (int)size, stdin) == NULL)
		return false;
	len = strcspn(to, "\r\n");
	if (to[len] == '\0' && len == size - 1)
		return false;
	to[len] = '\0';
	return true;
}

static bool
ask_hidden(const char *prompt, char *to, size_t size)
{
	struct termios shown, hidden;
	bool is_read;

	if (tcgetattr(STDIN_FILENO, &shown) < 0)
		return false;
	hidden = shown;
	hidden.c_lflag &= (tcflag_t)~ECHO;
	(void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden);
	(void)fputs(prompt, stderr);
	is_read = read_line(to, size);
	(void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &shown);
	(void)fputs("\n", stderr);
	return is_read;
}

bool
ctl_ask_password(const char *prompt, char *to, size_t size)
{
	return (prompt != NULL ? ask_hidden(prompt, to, size)
			       : read_line(to, size)) &&
	       to[0] != '\0';
}

static bool
read_password(char password[PASSWORD_MAX])
{
	char again[PASSWORD_MAX];
	bool is_same;

	if (!isatty(STDIN_FILENO)) {
		if (read_line(password, PASSWORD_MAX) && password[0] != '\0')
			return true;
		(void)fprintf(stderr, "ostlerctl: no password on standard "
				      "input\n");
		return false;
	}
	if (!ask_hidden("Password: ", password, PASSWORD_MAX) ||
	    password[0] == '\0' ||
	    !ask_hidden("Again: ", again, sizeof(again))) {
		(void)fprintf(stderr, "ostlerctl: no password\n");
		return false;
	}
	is_same = strcmp(password, again) == 0;
	mem_wipe(again, sizeof(again));
	if (!is_same)
		(void)fprintf(stderr, "ostlerctl: the two are not the same\n");
	return is_same;
}

static int
user_fail(int rc, const struct err *err)
{
	(void)fprintf(stderr, "ostlerctl: %s\n", err->text);
	switch (rc) {
	case -EEXIST:
	case -ENOENT:
		return EXIT_NO;
	case -EACCES:
	case -EPERM:
		return EXIT_PERMISSION;
	case -EINVAL:
		return EXIT_USAGE;
	default:
		return EXIT_SYSTEM;
	}
}

static void
on_login(void *arg, const char *name)
{
	const struct ctl *ctl = arg;

	if (ctl->is_json) {
		json_t *row = json_pack("{s:s}", "user", name);

		ctl_print_json(row);
		json_decref(row);
	} else {
		(void)puts(name);
	}
}

static void
on_no_row(void *arg, const json_t *row)
{
	(void)arg;
	(void)row;
}

static int
user_change(struct ctl *ctl, struct auth_users *users, const char *verb,
	    const char *name)
{
	char password[PASSWORD_MAX];
	struct err err = ERR_INIT;
	bool is_add = strcmp(verb, "add") == 0;
	int rc;

	if (strcmp(verb, "remove") == 0) {
		rc = auth_users_remove(users, name, &err);
	} else {
		if (!read_password(password))
			return EXIT_NO;
		rc = is_add ? auth_users_add(users, name, password, &err)
			    : auth_users_passwd(users, name, password, &err);
		mem_wipe(password, sizeof(password));
	}
	if (rc < 0)
		return user_fail(rc, &err);
	/* sessions that came in by what is no longer valid end; without a
	 * daemon there are none */
	if (!is_add)
		(void)ctl_ask(ctl, "logout", json_pack("{s:s}", "user", name),
			      on_no_row, NULL);
	return EXIT_DONE;
}

static int
user_usage(void)
{
	(void)fprintf(stderr, "usage: ostlerctl user add NAME | passwd NAME | "
			      "remove NAME | list\n");
	return EXIT_USAGE;
}

/* The group that reads the database: that of the configured user. */
static const char *
user_group(const struct config *config)
{
	const struct passwd *user;
	const struct group *group;

	if (geteuid() != 0)
		return NULL;
	user = getpwnam(config->user);
	group = user != NULL ? getgrgid(user->pw_gid) : NULL;
	return group != NULL ? group->gr_name : NULL;
}

static void
on_counted(void *arg, const char *name)
{
	int *count = arg;

	(void)name;
	(*count)++;
}

int
ctl_user_count(struct ctl *ctl)
{
	struct auth_users *users = NULL;
	struct err err = ERR_INIT;
	int count = 0;

	if (auth_users_look(ctl->config->auth.database, ctl->config->auth.realm,
			    &users, &err) < 0)
		return -1;
	if (auth_users_list(users, on_counted, &count, &err) < 0)
		count = -1;
	auth_users_close(users);
	return count;
}

int
ctl_user(struct ctl *ctl)
{
	struct auth_users *users = NULL;
	struct err err = ERR_INIT;
	json_t *args = json_object();
	bool is_read = ctl_options(ctl, NULL, 0, args), is_list;
	const char *verb;
	int rc;

	json_decref(args);
	if (!is_read || ctl->argc < 2)
		return user_usage();
	verb = ctl->argv[1];
	is_list = strcmp(verb, "list") == 0;
	if (ctl->argc != (is_list ? 2 : 3) ||
	    (!is_list && strcmp(verb, "add") != 0 &&
	     strcmp(verb, "passwd") != 0 && strcmp(verb, "remove") != 0))
		return user_usage();
	rc = ctl_config(ctl);
	if (rc != EXIT_DONE)
		return rc;
	rc = auth_users_open(ctl->config->auth.database,
			     ctl->config->auth.realm, user_group(ctl->config),
			     &users, &err);
	if (rc < 0)
		return user_fail(rc, &err);
	if (is_list) {
		rc = auth_users_list(users, on_login, ctl, &err);
		rc = rc < 0 ? user_fail(rc, &err) : EXIT_DONE;
	} else {
		rc = user_change(ctl, users, verb, ctl->argv[2]);
	}
	auth_users_close(users);
	return rc;
}
