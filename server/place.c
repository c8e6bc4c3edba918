/* SPDX-License-Identifier: ISC */
#include "server/place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "lib/mem.h"
#include "lib/str.h"

#define PLACE_BACKLOG 128

/* ---------------------------------------------------------------- folders */

/* What mkdir made; nobody but root can put another folder of root's there. */
static int
folder_give(const char *path, mode_t mode, struct place_owner owner)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;
	int rc = 0;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		rc = -errno;
	else if (st.st_uid != geteuid())
		rc = -EPERM;
	else if (fchmod(fd, mode) < 0)
		rc = -errno;
	else if (geteuid() == 0 && fchown(fd, owner.uid, owner.gid) < 0)
		rc = -errno;
	(void)close(fd); /* nothing was written by it */
	return rc;
}

int
place_folder(const char *path, mode_t mode, struct place_owner owner,
	     struct err *err)
{
	int rc;

	if (mkdir(path, 0700) < 0)
		rc = errno == EEXIST ? 0 : -errno;
	else
		rc = folder_give(path, mode, owner);
	return rc < 0 ? err_set(err, rc, "folder '%s'", path) : 0;
}

/* ---------------------------------------------------------------- sockets */

/* The folder of a path, opened once: what is done by it is done there. */
static int
folder_of(const char *path, const char **out_name)
{
	const char *slash = strrchr(path, '/');
	char *folder;
	int fd;

	*out_name = slash != NULL ? slash + 1 : path;
	if (slash == NULL)
		folder = mem_strdup(".");
	else if (slash == path)
		folder = mem_strdup("/");
	else
		folder = mem_printf("%.*s", (int)(slash - path), path);
	fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	free(folder);
	return fd;
}

/* A socket file that nobody listens on is left over from a crash. */
static bool
socket_is_stale(int dir_fd, const char *name, const struct sockaddr_un *un)
{
	bool is_stale = false;
	struct stat st;
	int fd;

	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
	    !S_ISSOCK(st.st_mode))
		return false;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	if (connect(fd, (const struct sockaddr *)un, sizeof(*un)) < 0)
		is_stale = errno == ECONNREFUSED;
	(void)close(fd);
	return is_stale;
}

static int
socket_bind(int fd, const struct sockaddr_un *un, mode_t mode)
{
	/* the mode is right from the start: it need not be changed by name */
	mode_t before = umask(0777 & ~mode);
	int rc = bind(fd, (const struct sockaddr *)un, sizeof(*un));

	if (rc < 0)
		rc = -errno;
	(void)umask(before);
	return rc;
}

/*
 * Gives away the socket that was bound after since. Whoever owns the folder
 * may have put something else there: only a socket of ours that was made just
 * now can be meant.
 */
static int
socket_give(int dir_fd, const char *name, const struct timespec *since,
	    const struct place_owner *owner)
{
	int fd = openat(dir_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;
	int rc = 0;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		rc = -errno;
	else if (!S_ISSOCK(st.st_mode) || st.st_uid != geteuid() ||
		 st.st_nlink != 1 || st.st_mtim.tv_sec < since->tv_sec)
		rc = -EPERM;
	else if (fchownat(fd, "", owner->uid, owner->gid, AT_EMPTY_PATH) < 0)
		rc = -errno;
	(void)close(fd); /* a name, not an open file */
	return rc;
}

static int
socket_place(int fd, int dir_fd, const char *name, const struct sockaddr_un *un,
	     mode_t mode, const struct place_owner *owner)
{
	struct timespec since;
	int rc;

	(void)clock_gettime(CLOCK_REALTIME_COARSE, &since);
	rc = socket_bind(fd, un, mode);
	if (rc == -EADDRINUSE && socket_is_stale(dir_fd, name, un)) {
		(void)unlinkat(dir_fd, name, 0); /* bind tells if it failed */
		rc = socket_bind(fd, un, mode);
	}
	if (rc == 0 && owner != NULL && geteuid() == 0)
		rc = socket_give(dir_fd, name, &since, owner);
	if (rc == 0 && listen(fd, PLACE_BACKLOG) < 0)
		rc = -errno;
	return rc;
}

int
place_socket(const char *path, mode_t mode, const struct place_owner *owner,
	     struct err *err)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	const char *name;
	int fd, dir_fd, rc;

	if (!str_copy(un.sun_path, sizeof(un.sun_path), str_of(path)))
		return err_text(err, -ENAMETOOLONG,
				"socket '%s': the path is longer than %zu",
				path, sizeof(un.sun_path) - 1);
	dir_fd = folder_of(path, &name);
	if (dir_fd < 0)
		return err_set(err, -errno, "socket '%s'", path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	rc = fd < 0 ? -errno : socket_place(fd, dir_fd, name, &un, mode, owner);
	(void)close(dir_fd); /* a name, not an open file */
	if (rc < 0) {
		if (fd >= 0)
			(void)close(fd);
		return err_set(err, rc, "socket '%s'", path);
	}
	return fd;
}
