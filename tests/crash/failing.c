/* SPDX-License-Identifier: ISC */
/*
 * A shared object for LD_PRELOAD that lets one call of a program to the disk
 * fail.
 *
 *	OSTLER_FAILING  a file as struct shared says, which whoever drives the
 *			program has open as well
 *
 * Calls count that concern files and folders below the folder of that file:
 * what is opened there for writing, and what has been opened there.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind {
	CALL_OPEN,
	CALL_WRITE,
	CALL_FDATASYNC,
	CALL_FSYNC,
	CALL_RENAME,
	CALL_UNLINK,
	CALL_READ,
	CALL_KINDS
};

struct shared {
	_Atomic int64_t kind, error;
	_Atomic int64_t left; /* how many calls from now on; 0: none fails */
	_Atomic int64_t seen[CALL_KINDS];
	char what[512]; /* the path of the last that failed, below the folder */
};

static struct shared *shared;
static char top[PATH_MAX];

__attribute__((constructor)) static void
start(void)
{
	const char *path = getenv("OSTLER_FAILING");
	long fd = path == NULL ? -1
			       : syscall(SYS_openat, AT_FDCWD, path,
					 O_RDWR | O_CLOEXEC);
	void *at;

	if (fd < 0)
		return;
	(void)snprintf(top, sizeof(top), "%s", path);
	*strrchr(top, '/') = '\0';
	at = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED,
		  (int)fd, 0);
	if (at != MAP_FAILED)
		shared = at;
	(void)close((int)fd); /* the mapping stays */
}

/* path is absolute. Counts the call if it is below the folder. */
static bool
fails(enum kind kind, const char *path)
{
	if (strncmp(path, top, strlen(top)) != 0)
		return false;
	atomic_fetch_add(&shared->seen[kind], 1);
	if (atomic_load(&shared->kind) != (int64_t)kind ||
	    atomic_load(&shared->left) <= 0 ||
	    atomic_fetch_sub(&shared->left, 1) != 1)
		return false;
	(void)snprintf(shared->what, sizeof(shared->what), "%.500s",
		       path + strlen(top));
	errno = (int)atomic_load(&shared->error);
	return true;
}

/* Files and folders have a path, sockets and the like something else. */
static bool
path_of(int fd, char to[PATH_MAX])
{
	char link[32];
	ssize_t len;

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = readlink(link, to, PATH_MAX - 1);
	if (len <= 0)
		return false;
	to[len] = '\0';
	return true;
}

static bool
fails_on(enum kind kind, int fd)
{
	char path[PATH_MAX];

	return shared != NULL && path_of(fd, path) && fails(kind, path);
}

static bool
fails_at(enum kind kind, int dir, const char *name)
{
	char path[PATH_MAX];
	size_t len;

	if (shared == NULL)
		return false;
	if (name[0] == '/' || dir == AT_FDCWD)
		return fails(kind, name);
	if (!path_of(dir, path))
		return false;
	len = strlen(path);
	(void)snprintf(path + len, sizeof(path) - len, "/%s", name);
	return fails(kind, path);
}

/* ------------------------------------------------------------------ names */

static int
open_at(int dir, const char *path, int flags, mode_t mode)
{
	bool is_counted = (flags & O_ACCMODE) != O_RDONLY || dir != AT_FDCWD;

	if (is_counted && fails_at(CALL_OPEN, dir, path))
		return -1;
	return (int)syscall(SYS_openat, dir, path, flags, mode);
}

#define OPEN_BODY(dir)                                                         \
	mode_t mode = 0;                                                       \
	va_list args;                                                          \
                                                                               \
	va_start(args, flags);                                                 \
	if ((flags & O_CREAT) != 0)                                            \
		mode = va_arg(args, mode_t);                                   \
	va_end(args);                                                          \
	return open_at(dir, path, flags, mode)

int
open(const char *path, int flags, ...)
{
	OPEN_BODY(AT_FDCWD);
}

int
open64(const char *path, int flags, ...)
{
	OPEN_BODY(AT_FDCWD);
}

int
openat(int dir, const char *path, int flags, ...)
{
	OPEN_BODY(dir);
}

int
openat64(int dir, const char *path, int flags, ...)
{
	OPEN_BODY(dir);
}

int
renameat(int dir, const char *from, int to_dir, const char *to)
{
	if (fails_at(CALL_RENAME, dir, from))
		return -1;
	return (int)syscall(SYS_renameat, dir, from, to_dir, to);
}

int
rename(const char *from, const char *to)
{
	return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

int
unlinkat(int dir, const char *path, int flags)
{
	if (fails_at(CALL_UNLINK, dir, path))
		return -1;
	return (int)syscall(SYS_unlinkat, dir, path, flags);
}

int
unlink(const char *path)
{
	return unlinkat(AT_FDCWD, path, 0);
}

/* ------------------------------------------------------------------ bytes */

ssize_t
write(int fd, const void *bytes, size_t len)
{
	if (fails_on(CALL_WRITE, fd))
		return -1;
	return syscall(SYS_write, fd, bytes, len);
}

ssize_t
pwrite64(int fd, const void *bytes, size_t len, off_t at)
{
	if (fails_on(CALL_WRITE, fd))
		return -1;
	return syscall(SYS_pwrite64, fd, bytes, len, at);
}

ssize_t
pwrite(int fd, const void *bytes, size_t len, off_t at)
{
	return pwrite64(fd, bytes, len, at);
}

ssize_t
pwritev64(int fd, const struct iovec *iov, int count, off_t at)
{
	if (fails_on(CALL_WRITE, fd))
		return -1;
	return syscall(SYS_pwritev, fd, iov, count, (long)at, 0L);
}

ssize_t
pwritev(int fd, const struct iovec *iov, int count, off_t at)
{
	return pwritev64(fd, iov, count, at);
}

ssize_t
pread64(int fd, void *to, size_t len, off_t at)
{
	if (fails_on(CALL_READ, fd))
		return -1;
	return syscall(SYS_pread64, fd, to, len, at);
}

ssize_t
pread(int fd, void *to, size_t len, off_t at)
{
	return pread64(fd, to, len, at);
}

/* ------------------------------------------------------------------ syncs */

int
fdatasync(int fd)
{
	if (fails_on(CALL_FDATASYNC, fd))
		return -1;
	return (int)syscall(SYS_fdatasync, fd);
}

int
fsync(int fd)
{
	if (fails_on(CALL_FSYNC, fd))
		return -1;
	return (int)syscall(SYS_fsync, fd);
}

int
syncfs(int fd)
{
	if (fails_on(CALL_FSYNC, fd))
		return -1;
	return (int)syscall(SYS_syncfs, fd);
}
