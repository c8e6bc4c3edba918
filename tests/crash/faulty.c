/* SPDX-License-Identifier: ISC */
/*
 * A shared object for LD_PRELOAD with faults of a machine that tests cannot
 * otherwise have.
 *
 *	OSTLER_FAULTY  a file as struct shared says, which whoever drives the
 *		       program has open as well, and changes while it runs
 *
 * The wall clock goes wrong by some nanoseconds; bytes of a file, told by its
 * inode, cannot be read; the file system knows nothing of preallocation.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define BAD_MAX 8

struct shared {
	_Atomic int64_t clock_ns;
	_Atomic int64_t is_plain; /* no fallocate, no sync_file_range */
	struct {
		_Atomic uint64_t inode; /* 0: no such fault */
		_Atomic int64_t at, end;
	} bad[BAD_MAX];
};

static struct shared *shared;

__attribute__((constructor)) static void
start(void)
{
	const char *path = getenv("OSTLER_FAULTY");
	int fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *at;

	if (fd < 0)
		return;
	at = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		  0);
	if (at != MAP_FAILED)
		shared = at;
	(void)close(fd); /* the mapping stays */
}

/* ------------------------------------------------------------------ clock */

int
clock_gettime(clockid_t clock, struct timespec *out)
{
	int rc = (int)syscall(SYS_clock_gettime, clock, out);
	int64_t ns;

	if (rc != 0 || shared == NULL ||
	    (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE))
		return rc;
	ns = atomic_load(&shared->clock_ns) + out->tv_nsec;
	out->tv_sec += ns / 1000000000;
	out->tv_nsec = ns % 1000000000;
	if (out->tv_nsec < 0) {
		out->tv_sec--;
		out->tv_nsec += 1000000000;
	}
	return 0;
}

int
gettimeofday(struct timeval *restrict out, void *restrict zone)
{
	struct timespec now;

	(void)zone;
	(void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail */
	out->tv_sec = now.tv_sec;
	out->tv_usec = now.tv_nsec / 1000;
	return 0;
}

time_t
time(time_t *out)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail */
	if (out != NULL)
		*out = now.tv_sec;
	return now.tv_sec;
}

/* ------------------------------------------------------------------ reads */

/* How much of a read can be had: as a disk, what stands before the first bad
 * byte; -1 is none of it. */
static ssize_t
readable(int fd, size_t len, off_t at)
{
	struct stat st = {.st_ino = 0};

	for (int i = 0; shared != NULL && i < BAD_MAX; i++) {
		int64_t from = atomic_load(&shared->bad[i].at);

		if (atomic_load(&shared->bad[i].inode) == 0 ||
		    atomic_load(&shared->bad[i].end) <= at ||
		    from >= (int64_t)(at + (off_t)len))
			continue;
		if (st.st_ino == 0 && fstat(fd, &st) < 0)
			break;
		if (st.st_ino != atomic_load(&shared->bad[i].inode))
			continue;
		if (from <= at)
			return -1;
		len = (size_t)(from - at);
	}
	return (ssize_t)len;
}

static ssize_t
read_at(int fd, void *to, size_t len, off_t at)
{
	ssize_t can = readable(fd, len, at);

	if (can < 0) {
		errno = EIO;
		return -1;
	}
	return syscall(SYS_pread64, fd, to, (size_t)can, at);
}

ssize_t
pread(int fd, void *to, size_t len, off_t at)
{
	return read_at(fd, to, len, at);
}

ssize_t
pread64(int fd, void *to, size_t len, off_t at)
{
	return read_at(fd, to, len, at);
}

/* ---------------------------------------------------------- preallocation */

static int
ask(long call, int fd, int64_t a, int64_t b, int64_t c)
{
	if (shared != NULL && atomic_load(&shared->is_plain) != 0) {
		errno = EOPNOTSUPP;
		return -1;
	}
	return (int)syscall(call, fd, a, b, c);
}

int
fallocate(int fd, int mode, off_t at, off_t len)
{
	return ask(SYS_fallocate, fd, mode, at, len);
}

int
fallocate64(int fd, int mode, off_t at, off_t len)
{
	return ask(SYS_fallocate, fd, mode, at, len);
}

int
posix_fallocate(int fd, off_t at, off_t len)
{
	return ask(SYS_fallocate, fd, 0, at, len) < 0 ? errno : 0;
}

int
posix_fallocate64(int fd, off_t at, off_t len)
{
	return posix_fallocate(fd, at, len);
}

int
sync_file_range(int fd, off_t at, off_t len, unsigned flags)
{
	return ask(SYS_sync_file_range, fd, at, len, flags);
}
