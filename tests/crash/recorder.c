/* SPDX-License-Identifier: ISC */
/*
 * A shared object for LD_PRELOAD that writes down how a program changes a
 * folder and when it asked for what to be durable. replay.c makes of it what
 * a disk may hold after a crash.
 *
 *	OSTLER_CRASH_DIR    the folder, as realpath(3) tells it
 *	OSTLER_CRASH_TRACE  where the events go
 *	OSTLER_CRASH_KILL   the program is killed after so many events, behind
 *	                    the next write, which is thus not synced
 *	OSTLER_CRASH_FAIL   every so manieth fdatasync fails with EIO and, as
 *	                    with a real disk, the one after it works again
 *	                    although nothing was written
 *	OSTLER_CRASH_FAIL_FILES
 *	                    the same for fsync and syncfs: of message files,
 *	                    folders, log/ and new segments
 *
 * Changes happen under a lock together with their event; a sync is two
 * events, and what happens between them it need not have covered. The kill
 * comes under the lock too, so that the trace has all that was done.
 *
 * What the program writes by other ways (mmap, stdio, io_uring) is not seen:
 * the spool has none.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/crash/trace.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int trace_fd = -1;
static char folder[PATH_MAX];
static size_t folder_len;
static dev_t device;
static bool has_device;
/* Every period-th one fails. */
struct failing {
	long left, period;
};

static long events_left = -1;
static struct failing datasyncs, syncs;
static uint64_t sync_count;

static void
set_failing(struct failing *failing, const char *name)
{
	const char *text = getenv(name);

	if (text != NULL)
		failing->left = failing->period = strtol(text, NULL, 10);
}

__attribute__((constructor)) static void
start(void)
{
	const char *dir = getenv("OSTLER_CRASH_DIR");
	const char *trace = getenv("OSTLER_CRASH_TRACE");
	const char *kill_after = getenv("OSTLER_CRASH_KILL");

	if (dir == NULL || trace == NULL || strlen(dir) >= sizeof(folder))
		return;
	folder_len = strlen(dir);
	memcpy(folder, dir, folder_len + 1);
	if (kill_after != NULL)
		events_left = strtol(kill_after, NULL, 10);
	set_failing(&datasyncs, "OSTLER_CRASH_FAIL");
	set_failing(&syncs, "OSTLER_CRASH_FAIL_FILES");
	trace_fd =
		(int)syscall(SYS_openat, AT_FDCWD, trace,
			     O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	sync_count = (uint64_t)getpid() << 32;
}

/* With the lock held. */
static void
put_event(const struct trace_event *event, const struct iovec *iov, int count)
{
	size_t len = sizeof(*event) + event->len, have = sizeof(*event);
	char *bytes = malloc(len);

	if (bytes == NULL)
		abort();
	memcpy(bytes, event, sizeof(*event));
	for (int i = 0; i < count && have < len; i++) {
		size_t part = iov[i].iov_len < len - have ? iov[i].iov_len
							  : len - have;

		if (part != 0)
			memcpy(bytes + have, iov[i].iov_base, part);
		have += part;
	}
	if (syscall(SYS_write, trace_fd, bytes, len) != (long)len)
		abort(); /* half a trace proves nothing */
	free(bytes);
	if (events_left > 0)
		events_left--;
	if (events_left == 0 && event->type == TRACE_WRITE)
		(void)syscall(SYS_kill, getpid(), SIGKILL);
}

static struct trace_event
event_of(enum trace_type type, size_t len, uint64_t a, uint64_t b)
{
	return (struct trace_event){.magic = TRACE_MAGIC,
				    .type = (uint32_t)type,
				    .len = (uint32_t)len,
				    .a = a,
				    .b = b};
}

static void
put_paths(enum trace_type type, uint64_t inode, const char *one,
	  const char *two)
{
	size_t first = strlen(one) + 1,
	       second = two != NULL ? strlen(two) + 1 : 0;
	struct iovec iov[] = {{(void *)(uintptr_t)one, first},
			      {(void *)(uintptr_t)two, second}};
	struct trace_event event = event_of(type, first + second, inode, 0);

	put_event(&event, iov, two != NULL ? 2 : 1);
}

/* ---------------------------------------------------------- is it ours? */

/* The path below the folder; "" is the folder itself. */
static bool
find_path(int dir, const char *name, char to[PATH_MAX])
{
	char link[64], path[2 * PATH_MAX];
	ssize_t len = 0;

	if (trace_fd < 0)
		return false;
	if (name[0] != '/') {
		(void)snprintf(link, sizeof(link),
			       dir == AT_FDCWD ? "/proc/self/cwd"
					       : "/proc/self/fd/%d",
			       dir);
		len = syscall(SYS_readlink, link, path, PATH_MAX - 1);
		if (len < 0)
			return false;
		path[len++] = '/';
	}
	(void)snprintf(path + len, sizeof(path) - (size_t)len, "%s", name);
	if (strncmp(path, folder, folder_len) != 0)
		return false;
	if (path[folder_len] != '/' && path[folder_len] != '\0')
		return false;
	if (strlen(path + folder_len) >= PATH_MAX)
		return false;
	(void)snprintf(to, PATH_MAX, "%s",
		       path[folder_len] == '/' ? path + folder_len + 1 : "");
	return true;
}

/* A file or folder below ours. */
static bool
find_inode(int fd, mode_t type, uint64_t *out)
{
	char link[64], path[PATH_MAX + 16];
	struct stat st;
	ssize_t len;

	if (trace_fd < 0 || fstat(fd, &st) < 0 ||
	    (type != 0 && (st.st_mode & S_IFMT) != type))
		return false;
	if (!has_device) {
		struct stat own;

		if (stat(folder, &own) < 0)
			return false;
		device = own.st_dev;
		has_device = true;
	}
	if (st.st_dev != device)
		return false;
	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = syscall(SYS_readlink, link, path, sizeof(path) - 1);
	if (len < 0)
		return false;
	path[len] = '\0';
	*out = st.st_ino;
	return strncmp(path, folder, folder_len) == 0 &&
	       (path[folder_len] == '/' || path[folder_len] == '\0');
}

static uint64_t
inode_at(int dir, const char *name)
{
	struct stat st;

	return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ? 0 : st.st_ino;
}

/* --------------------------------------------------------------- opening */

static int
do_openat(int dir, const char *name, int flags, mode_t mode)
{
	char path[PATH_MAX];
	uint64_t before;
	struct stat st;
	int fd;

	if ((flags & (O_CREAT | O_TRUNC)) == 0 || !find_path(dir, name, path))
		return (int)syscall(SYS_openat, dir, name, flags, mode);
	pthread_mutex_lock(&lock);
	before = inode_at(dir, name);
	fd = (int)syscall(SYS_openat, dir, name, flags, mode);
	if (fd >= 0 && fstat(fd, &st) == 0) {
		if (before == 0) {
			put_paths(TRACE_CREATE, st.st_ino, path, NULL);
		} else if ((flags & O_TRUNC) != 0) {
			struct trace_event event =
				event_of(TRACE_SIZE, 0, st.st_ino, 0);

			put_event(&event, NULL, 0);
		}
	}
	pthread_mutex_unlock(&lock);
	return fd;
}

static mode_t
mode_of(int flags, va_list args)
{
	return (flags & O_CREAT) != 0 ? (mode_t)va_arg(args, int) : 0;
}

#define OPEN(name)                                                             \
	int name(const char *path, int flags, ...)                             \
	{                                                                      \
		va_list args;                                                  \
		mode_t mode;                                                   \
		va_start(args, flags);                                         \
		mode = mode_of(flags, args);                                   \
		va_end(args);                                                  \
		return do_openat(AT_FDCWD, path, flags, mode);                 \
	}
#define OPENAT(name)                                                           \
	int name(int dir, const char *path, int flags, ...)                    \
	{                                                                      \
		va_list args;                                                  \
		mode_t mode;                                                   \
		va_start(args, flags);                                         \
		mode = mode_of(flags, args);                                   \
		va_end(args);                                                  \
		return do_openat(dir, path, flags, mode);                      \
	}
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

/* --------------------------------------------------------------- writing */

static ssize_t
do_write(int fd, const struct iovec *iov, int count, off_t at)
{
	struct trace_event event;
	uint64_t inode;
	ssize_t wrote;

	if (!find_inode(fd, S_IFREG, &inode))
		return at < 0 ? syscall(SYS_writev, fd, iov, count)
			      : syscall(SYS_pwritev, fd, iov, count, at, 0);
	pthread_mutex_lock(&lock);
	if (at < 0) {
		int flags = fcntl(fd, F_GETFL);
		struct stat st = {.st_size = 0};

		(void)fstat(fd, &st);
		wrote = syscall(SYS_writev, fd, iov, count);
		at = (flags & O_APPEND) != 0 ? st.st_size
					     : lseek(fd, 0, SEEK_CUR) - wrote;
	} else {
		wrote = syscall(SYS_pwritev, fd, iov, count, at, 0);
	}
	if (wrote > 0) {
		event = event_of(TRACE_WRITE, (size_t)wrote, inode,
				 (uint64_t)at);
		put_event(&event, iov, count);
	}
	pthread_mutex_unlock(&lock);
	return wrote;
}

ssize_t
write(int fd, const void *bytes, size_t len)
{
	struct iovec iov = {(void *)(uintptr_t)bytes, len};

	return do_write(fd, &iov, 1, -1);
}

ssize_t
writev(int fd, const struct iovec *iov, int count)
{
	return do_write(fd, iov, count, -1);
}

#define PWRITE(name)                                                           \
	ssize_t name(int fd, const void *bytes, size_t len, off_t at)          \
	{                                                                      \
		struct iovec iov = {(void *)(uintptr_t)bytes, len};            \
		return do_write(fd, &iov, 1, at);                              \
	}
#define PWRITEV(name)                                                          \
	ssize_t name(int fd, const struct iovec *iov, int count, off_t at)     \
	{                                                                      \
		return do_write(fd, iov, count, at);                           \
	}
PWRITE(pwrite)
PWRITE(pwrite64)
PWRITEV(pwritev)
PWRITEV(pwritev64)

static int
do_resize(int fd, off_t size, bool is_growth, long (*call)(int, off_t))
{
	struct trace_event event;
	struct stat st;
	uint64_t inode;
	long rc;

	if (!find_inode(fd, S_IFREG, &inode))
		return (int)call(fd, size);
	pthread_mutex_lock(&lock);
	(void)fstat(fd, &st);
	rc = call(fd, size);
	if (rc == 0 && (!is_growth || size > st.st_size)) {
		event = event_of(TRACE_SIZE, 0, inode, (uint64_t)size);
		put_event(&event, NULL, 0);
	}
	pthread_mutex_unlock(&lock);
	return (int)rc;
}

static long
call_ftruncate(int fd, off_t size)
{
	return syscall(SYS_ftruncate, fd, size);
}

static long
call_fallocate(int fd, off_t size)
{
	return syscall(SYS_fallocate, fd, 0, (off_t)0, size);
}

#define FTRUNCATE(name)                                                        \
	int name(int fd, off_t size)                                           \
	{                                                                      \
		return do_resize(fd, size, false, call_ftruncate);             \
	}
FTRUNCATE(ftruncate)
FTRUNCATE(ftruncate64)

int
fallocate(int fd, int mode, off_t at, off_t len)
{
	if (mode != 0)
		return (int)syscall(SYS_fallocate, fd, mode, at, len);
	return do_resize(fd, at + len, true, call_fallocate);
}

/* --------------------------------------------------------------- folders */

int
mkdirat(int dir, const char *name, mode_t mode)
{
	char path[PATH_MAX];
	int rc;

	if (!find_path(dir, name, path) || path[0] == '\0')
		return (int)syscall(SYS_mkdirat, dir, name, mode);
	pthread_mutex_lock(&lock);
	rc = (int)syscall(SYS_mkdirat, dir, name, mode);
	if (rc == 0)
		put_paths(TRACE_MKDIR, inode_at(dir, name), path, NULL);
	pthread_mutex_unlock(&lock);
	return rc;
}

int
mkdir(const char *name, mode_t mode)
{
	return mkdirat(AT_FDCWD, name, mode);
}

int
unlinkat(int dir, const char *name, int flags)
{
	char path[PATH_MAX];
	int rc;

	if (!find_path(dir, name, path))
		return (int)syscall(SYS_unlinkat, dir, name, flags);
	pthread_mutex_lock(&lock);
	rc = (int)syscall(SYS_unlinkat, dir, name, flags);
	if (rc == 0)
		put_paths(TRACE_UNLINK, 0, path, NULL);
	pthread_mutex_unlock(&lock);
	return rc;
}

int
unlink(const char *name)
{
	return unlinkat(AT_FDCWD, name, 0);
}

int
renameat(int dir, const char *from, int to_dir, const char *to)
{
	char path[PATH_MAX], to_path[PATH_MAX];
	int rc;

	if (!find_path(dir, from, path) || !find_path(to_dir, to, to_path))
		return (int)syscall(SYS_renameat, dir, from, to_dir, to);
	pthread_mutex_lock(&lock);
	rc = (int)syscall(SYS_renameat, dir, from, to_dir, to);
	if (rc == 0)
		put_paths(TRACE_RENAME, 0, path, to_path);
	pthread_mutex_unlock(&lock);
	return rc;
}

int
rename(const char *from, const char *to)
{
	return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

/* --------------------------------------------------------------- syncing */

/* With the lock held. */
static bool
is_failing_now(struct failing *failing)
{
	if (failing->period <= 0 || --failing->left != 0)
		return false;
	failing->left = failing->period;
	return true;
}

static int
do_sync(int fd, long number)
{
	struct trace_event event;
	uint64_t inode, which;
	bool is_failing;
	int rc, error;

	if (!find_inode(fd, 0, &inode))
		return (int)syscall(number, fd);
	if (number == SYS_syncfs)
		inode = 0;
	pthread_mutex_lock(&lock);
	which = ++sync_count;
	is_failing =
		is_failing_now(number == SYS_fdatasync ? &datasyncs : &syncs);
	event = event_of(TRACE_SYNC_BEGIN, 0, inode, which);
	put_event(&event, NULL, 0);
	pthread_mutex_unlock(&lock);
	rc = is_failing ? -1 : (int)syscall(number, fd);
	error = is_failing ? EIO : errno;
	pthread_mutex_lock(&lock);
	event = event_of(TRACE_SYNC_END, 0, inode, which);
	event.c = rc < 0 ? (uint64_t)error : 0;
	put_event(&event, NULL, 0);
	pthread_mutex_unlock(&lock);
	errno = error;
	return rc;
}

int
fsync(int fd)
{
	return do_sync(fd, SYS_fsync);
}

int
fdatasync(int fd)
{
	return do_sync(fd, SYS_fdatasync);
}

int
syncfs(int fd)
{
	return do_sync(fd, SYS_syncfs);
}
