/* SPDX-License-Identifier: ISC */
#include "auth/auth_users.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sasl/sasl.h>

#include "auth/sasl.h"
#include "lib/mem.h"
#include "lib/str.h"

#define USERS_NAME_MAX 255

/*
 * Changes are made to a copy that then takes the database's place: a running
 * daemon sees the old one or the new one, never half of a change.
 */
struct auth_users {
	char *database, *copy, *realm, *group;
	int lock_fd; /* the folder's lock file, held from open to close */
	sasl_conn_t *conn;
	bool is_started;
};

/* libsasl2 asks for options by callback; one database at a time. */
static const char *users_path;

static int
on_getopt(void *context, const char *plugin, const char *option,
	  const char **result, unsigned *len)
{
	const char *value = NULL;

	(void)context;
	(void)plugin;
	if (strcmp(option, "sasldb_path") == 0)
		value = users_path;
	else if (strcmp(option, "auxprop_plugin") == 0)
		value = "sasldb";
	else if (strcmp(option, "mech_list") == 0)
		value = "PLAIN LOGIN SCRAM-SHA-256";
	if (value == NULL)
		return SASL_FAIL;
	*result = value;
	if (len != NULL)
		*len = (unsigned)strlen(value);
	return SASL_OK;
}

static int
on_log(void *context, int level, const char *message)
{
	(void)context;
	(void)level;
	(void)message;
	return SASL_OK;
}

static int
users_start(struct auth_users *users, struct err *err)
{
	static const sasl_callback_t callbacks[] = {
		{SASL_CB_GETOPT, (sasl_callback_fn *)(void *)on_getopt, NULL},
		{SASL_CB_GETCONFPATH,
		 (sasl_callback_fn *)(void *)auth_sasl_no_path, NULL},
		{SASL_CB_LOG, (sasl_callback_fn *)(void *)on_log, NULL},
		{SASL_CB_LIST_END, NULL, NULL},
	};
	int rc;

	users_path = users->copy;
	auth_sasl_prepare();
	rc = sasl_server_init(callbacks, "ostlerctl");
	if (rc == SASL_OK) {
		users->is_started = true;
		/* not the machine's name: a realm is all that a key needs */
		rc = sasl_server_new("smtp", "localhost", users->realm, NULL,
				     NULL, NULL, 0, &users->conn);
	}
	if (rc != SASL_OK)
		return err_text(err, -EINVAL, "libsasl2: %s",
				sasl_errstring(rc, NULL, NULL));
	return 0;
}

/* ----------------------------------------------------------------- files */

static int
users_fail(struct err *err, const char *path)
{
	return err_set(err, -errno, "login database '%s'", path);
}

static int
users_lock(struct auth_users *users, bool may_wait, struct err *err)
{
	int how = may_wait ? LOCK_EX : LOCK_EX | LOCK_NB;
	char *path = mem_printf("%s.lock", users->database);
	int rc = 0;

	users->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (users->lock_fd < 0 || flock(users->lock_fd, how) < 0) {
		rc = users_fail(err, path);
		if (users->lock_fd >= 0)
			(void)close(users->lock_fd);
		users->lock_fd = -1;
	}
	free(path);
	return rc;
}

static int
users_copy_bytes(int from, int to)
{
	char block[65536];

	for (;;) {
		ssize_t n = read(from, block, sizeof(block));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return (int)n;
		if (write(to, block, (size_t)n) != n)
			return -1;
	}
}

static int
users_make_copy(struct auth_users *users, struct err *err)
{
	int from = open(users->database, O_RDONLY | O_CLOEXEC), to, rc = 0;

	(void)unlink(users->copy); /* left by an interrupted change */
	if (from < 0)
		return errno == ENOENT ? 0 : users_fail(err, users->database);
	to = open(users->copy, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (to < 0 || users_copy_bytes(from, to) < 0)
		rc = users_fail(err, users->copy);
	(void)close(from);
	if (to >= 0)
		(void)close(to);
	return rc;
}

static int
users_set_group(int fd, const char *name, struct err *err)
{
	const struct group *group = getgrnam(name);

	if (group == NULL)
		return err_text(err, -EINVAL, "group '%s' does not exist",
				name);
	if (fchown(fd, (uid_t)-1, group->gr_gid) < 0)
		return err_set(err, -errno,
			       "giving the login database to "
			       "group '%s'",
			       name);
	return 0;
}

/* The changed copy takes the database's place. */
static int
users_commit(struct auth_users *users, struct err *err)
{
	int fd = open(users->copy, O_RDONLY | O_CLOEXEC), rc = 0;

	if (fd < 0)
		return users_fail(err, users->copy);
	if (users->group != NULL)
		rc = users_set_group(fd, users->group, err);
	if (rc == 0 && (fchmod(fd, 0640) < 0 || fsync(fd) < 0 ||
			rename(users->copy, users->database) < 0))
		rc = users_fail(err, users->database);
	(void)close(fd);
	/* the next change in this process starts from what is there now */
	return rc < 0 ? rc : users_make_copy(users, err);
}

static int
users_open(const char *database, const char *realm, const char *group,
	   bool may_wait, struct auth_users **out, struct err *err)
{
	struct auth_users *users = mem_zalloc(sizeof(*users));
	int rc;

	users->lock_fd = -1;
	users->database = mem_strdup(database);
	users->copy = mem_printf("%s.new", database);
	users->realm = mem_strdup(realm);
	users->group = mem_strdup(group);
	(void)umask(0077);
	rc = users_lock(users, may_wait, err);
	if (rc == 0)
		rc = users_make_copy(users, err);
	if (rc == 0)
		rc = users_start(users, err);
	if (rc < 0) {
		auth_users_close(users);
		return rc;
	}
	*out = users;
	return 0;
}

int
auth_users_open(const char *database, const char *realm, const char *group,
		struct auth_users **out, struct err *err)
{
	return users_open(database, realm, group, true, out, err);
}

int
auth_users_look(const char *database, const char *realm,
		struct auth_users **out, struct err *err)
{
	return users_open(database, realm, NULL, false, out, err);
}

void
auth_users_close(struct auth_users *users)
{
	if (users == NULL)
		return;
	if (users->conn != NULL)
		sasl_dispose(&users->conn);
	if (users->is_started)
		sasl_server_done();
	if (users->lock_fd >= 0) {
		(void)unlink(users->copy); /* unchanged, or already in place */
		(void)close(users->lock_fd);
	} /* else it is who holds the lock whose copy that is */
	free(users->database);
	free(users->copy);
	free(users->realm);
	free(users->group);
	free(users);
}

/* ------------------------------------------------------------------ list */

/*
 * libsasl2 has no call that lists a sasldb; its own tool does, whatever the
 * database's format is on this system. Lines: "name@realm: property".
 */
static int
users_spawn_list(const struct auth_users *users, pid_t *out_pid,
		 struct err *err)
{
	char tool[] = "sasldblistusers2", flag[] = "-f";
	char *argv[] = {tool, flag, users->copy, NULL};
	char path[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin";
	char *env[] = {path, NULL};
	posix_spawn_file_actions_t actions;
	int pipe_fd[2], rc;

	if (pipe2(pipe_fd, O_CLOEXEC) < 0)
		return err_set(err, -errno, "pipe");
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, pipe_fd[1], 1);
	/* where it says that it failed; its exit status does not */
	posix_spawn_file_actions_adddup2(&actions, pipe_fd[1], 2);
	(void)setenv("PATH", path + strlen("PATH="), 1);
	rc = posix_spawnp(out_pid, tool, &actions, NULL, argv, env);
	posix_spawn_file_actions_destroy(&actions);
	(void)close(pipe_fd[1]);
	if (rc != 0) {
		(void)close(pipe_fd[0]);
		return err_text(err, -rc,
				"sasldblistusers2 cannot be run: %s (Debian: "
				"apt-get install sasl2-bin)",
				strerror(rc));
	}
	return pipe_fd[0];
}

bool
auth_users_name(const char *realm, struct str line, struct str *out)
{
	char *suffix = mem_printf("@%s", realm);
	struct str name;
	bool is_login;

	is_login = str_ends_nocase(line, str_of(": userPassword"));
	if (is_login) {
		name = str_from(line.at, line.len - strlen(": userPassword"));
		if (str_ends_nocase(name, str_of(suffix)))
			name.len -= strlen(suffix);
		*out = name;
	}
	free(suffix);
	return is_login;
}

/* What the tool and the database's library say when something is wrong; the
 * library's own words come first and tell more. */
static void
users_note_failure(const char *line, struct err *why)
{
	static const char failed[] = "listusers failed";

	if (strstr(line, failed) != NULL) {
		if (why->text[0] == '\0')
			(void)err_text(why, -EIO, "%s", failed);
		why->code = -EIO;
	} else if (strchr(line, '@') == NULL) {
		(void)err_text(why, why->code, "%.200s", line);
	}
}

/* Was all of it read? */
static int
users_end_list(const struct auth_users *users, pid_t pid, const struct err *why,
	       struct err *err)
{
	int status = 0;
	pid_t gone;

	do
		gone = waitpid(pid, &status, 0);
	while (gone < 0 && errno == EINTR);
	if (why->code == 0 &&
	    (gone != pid || (WIFEXITED(status) && WEXITSTATUS(status) == 0)))
		return 0;
	return err_text(err, -EIO,
			"login database '%s' cannot be read: %s; put a backup "
			"in its place, or remove it and add the logins anew",
			users->database,
			why->text[0] != '\0' ? why->text
					     : "sasldblistusers2 failed");
}

static int
compare_names(const void *a, const void *b)
{
	const char *const *left = a, *const *right = b;

	return strcmp(*left, *right);
}

int
auth_users_list(struct auth_users *users,
		void (*each)(void *arg, const char *name), void *arg,
		struct err *err)
{
	char line[USERS_NAME_MAX * 2 + 64];
	struct err why = ERR_INIT;
	struct stat st;
	char **names = NULL;
	size_t count = 0;
	pid_t pid;
	FILE *lines;
	int fd, rc;

	if (stat(users->copy, &st) < 0 || st.st_size == 0)
		return 0; /* no database yet: no logins */
	fd = users_spawn_list(users, &pid, err);
	if (fd < 0)
		return fd;
	lines = fdopen(fd, "r");
	while (lines != NULL && fgets(line, sizeof(line), lines) != NULL) {
		struct str name;

		line[strcspn(line, "\n")] = '\0';
		if (!auth_users_name(users->realm, str_of(line), &name)) {
			users_note_failure(line, &why);
			continue;
		}
		names = mem_append(names, count, sizeof(names[0]));
		names[count++] = mem_dup(name.at, name.len);
	}
	if (lines != NULL)
		(void)fclose(lines);
	rc = users_end_list(users, pid, &why, err);
	/* the database's own order is that of its hashes */
	if (count != 0)
		qsort(names, count, sizeof(names[0]), compare_names);
	for (size_t i = 0; i < count; i++) {
		if (rc == 0)
			each(arg, names[i]);
		free(names[i]);
	}
	free(names);
	return rc;
}

struct search {
	const char *name;
	bool is_found;
};

static void
on_name(void *arg, const char *name)
{
	struct search *search = arg;

	if (strcmp(search->name, name) == 0)
		search->is_found = true;
}

static int
users_find(struct auth_users *users, const char *name, bool *out_is_found,
	   struct err *err)
{
	struct search search = {name, false};
	int rc = auth_users_list(users, on_name, &search, err);

	*out_is_found = search.is_found;
	return rc;
}

/* ---------------------------------------------------------------- change */

static int
users_check_name(const struct auth_users *users, const char *name,
		 struct err *err)
{
	struct str text = str_of(name);
	char *suffix = mem_printf("@%s", users->realm);
	bool is_ambiguous = str_ends_nocase(text, str_of(suffix));

	free(suffix);
	if (text.len == 0 || text.len > USERS_NAME_MAX)
		return err_text(err, -EINVAL, "a login has 1 to %d characters",
				USERS_NAME_MAX);
	if (!str_is_utf8(text))
		return err_text(err, -EINVAL, "a login is UTF-8");
	for (size_t i = 0; i < text.len; i++)
		if ((unsigned char)text.at[i] <= ' ' || text.at[i] == 0x7f ||
		    text.at[i] == ':')
			return err_text(err, -EINVAL,
					"a login has no spaces, colons or "
					"control characters");
	/* the realm is cut off every login's name */
	if (is_ambiguous)
		return err_text(err, -EINVAL,
				"a login does not end in '@%s', the "
				"database's realm",
				users->realm);
	return 0;
}

static int
users_set(struct auth_users *users, const char *name, const char *password,
	  unsigned flags, struct err *err)
{
	int rc = sasl_setpass(users->conn, name, password,
			      password != NULL ? (unsigned)strlen(password) : 0,
			      NULL, 0, flags);

	/* SASL_NOCHANGE: the same password again */
	if (rc != SASL_OK && rc != SASL_NOCHANGE)
		return err_text(err, -EIO, "login database '%s': %s",
				users->database, sasl_errdetail(users->conn));
	return users_commit(users, err);
}

int
auth_users_add(struct auth_users *users, const char *name, const char *password,
	       struct err *err)
{
	bool is_there = false;
	int rc = users_check_name(users, name, err);

	if (rc == 0)
		rc = users_find(users, name, &is_there, err);
	if (rc < 0)
		return rc;
	if (is_there)
		return err_text(err, -EEXIST, "login '%s' is there already",
				name);
	return users_set(users, name, password, SASL_SET_CREATE, err);
}

static int
users_need(struct auth_users *users, const char *name, struct err *err)
{
	bool is_there = false;
	int rc = users_find(users, name, &is_there, err);

	if (rc == 0 && !is_there)
		return err_text(err, -ENOENT, "there is no login '%s'", name);
	return rc;
}

int
auth_users_passwd(struct auth_users *users, const char *name,
		  const char *password, struct err *err)
{
	int rc = users_need(users, name, err);

	return rc < 0 ? rc
		      : users_set(users, name, password, SASL_SET_CREATE, err);
}

int
auth_users_remove(struct auth_users *users, const char *name, struct err *err)
{
	int rc = users_need(users, name, err);

	return rc < 0 ? rc
		      : users_set(users, name, NULL, SASL_SET_DISABLE, err);
}
