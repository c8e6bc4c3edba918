/* SPDX-License-Identifier: ISC */
#include "queue/spool/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#define IOV_CHUNK 1024 /* IOV_MAX of Linux */

static int
real_openat(int dir, const char *name, int flags, mode_t mode)
{
	return openat(dir, name, flags, mode);
}

const struct disk_calls disk_calls_real = {
	.openat = real_openat,
	.pread = pread,
	.pwritev = pwritev,
	.fdatasync = fdatasync,
	.fsync = fsync,
	.syncfs = syncfs,
	.renameat = renameat,
	.unlinkat = unlinkat,
};

static const struct disk_calls *_Atomic calls = &disk_calls_real;

void
disk_use(const struct disk_calls *use)
{
	calls = use != NULL ? use : &disk_calls_real;
}

static int
result(int rc)
{
	return rc < 0 ? -errno : rc;
}

int
disk_open(int dir, const char *name, int flags)
{
	return result(
		calls->openat(dir, name, flags | O_CLOEXEC | O_NOFOLLOW, 0600));
}

int
disk_write(int fd, const void *bytes, size_t len, uint64_t at)
{
	struct iovec iov = {(void *)(uintptr_t)bytes, len};

	return disk_writev(fd, &iov, 1, at);
}

int
disk_writev(int fd, struct iovec *iov, size_t count, uint64_t at)
{
	while (count > 0) {
		int now = count < IOV_CHUNK ? (int)count : IOV_CHUNK;
		ssize_t wrote = calls->pwritev(fd, iov, now, (off_t)at);

		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote < 0)
			return -errno;
		if (wrote == 0 && iov->iov_len != 0)
			return -EIO;
		at += (uint64_t)wrote;
		while (count > 0 && (size_t)wrote >= iov->iov_len) {
			wrote -= (ssize_t)iov->iov_len;
			iov++;
			count--;
		}
		if (wrote > 0) {
			iov->iov_base = (char *)iov->iov_base + wrote;
			iov->iov_len -= (size_t)wrote;
		}
	}
	return 0;
}

int
disk_datasync(int fd)
{
	return result(calls->fdatasync(fd));
}

int
disk_sync(int fd)
{
	return result(calls->fsync(fd));
}

int
disk_write_out(int fd, uint64_t at, size_t len)
{
#ifdef SYNC_FILE_RANGE_WRITE
	uint64_t before = at < len ? at : len;

	/* an error is for who waits to tell, or the next sync */
	(void)sync_file_range(fd, (off_t)at, (off_t)len, SYNC_FILE_RANGE_WRITE);
	if (before != 0 &&
	    sync_file_range(fd, (off_t)(at - before), (off_t)before,
			    SYNC_FILE_RANGE_WAIT_BEFORE) < 0 &&
	    (errno == EIO || errno == ENOSPC || errno == EDQUOT))
		return -errno;
#else
	(void)fd;
	(void)at;
	(void)len;
#endif
	return 0;
}

void
disk_start_write(int fd, uint64_t at, size_t len)
{
#ifdef SYNC_FILE_RANGE_WRITE
	/* an error is the next sync's to tell */
	(void)sync_file_range(fd, (off_t)at, (off_t)len, SYNC_FILE_RANGE_WRITE);
#else
	(void)fd;
	(void)at;
	(void)len;
#endif
}

static bool syncfs_reports;
static pthread_once_t syncfs_once = PTHREAD_ONCE_INIT;

static void
ask_kernel(void)
{
	struct utsname name;
	unsigned long major, minor = 0;
	char *at;

	if (uname(&name) < 0)
		return;
	major = strtoul(name.release, &at, 10);
	if (*at == '.')
		minor = strtoul(at + 1, NULL, 10);
	syncfs_reports = major > 5 || (major == 5 && minor >= 8);
}

bool
disk_has_syncfs(void)
{
	(void)pthread_once(&syncfs_once, ask_kernel); /* cannot fail */
	return syncfs_reports;
}

int
disk_syncfs(int fd)
{
	return result(calls->syncfs(fd));
}

int
disk_rename(int dir, const char *from, int to_dir, const char *to)
{
	return result(calls->renameat(dir, from, to_dir, to));
}

int
disk_unlink(int dir, const char *name)
{
	return result(calls->unlinkat(dir, name, 0));
}

ssize_t
disk_read_some(int fd, void *to, size_t len, uint64_t at)
{
	ssize_t got;

	do
		got = calls->pread(fd, to, len, (off_t)at);
	while (got < 0 && errno == EINTR);
	return got < 0 ? -errno : got;
}

int
disk_read(int fd, void *to, size_t len, uint64_t at)
{
	size_t have = 0;

	while (have < len) {
		ssize_t got = disk_read_some(fd, (char *)to + have, len - have,
					     at + have);

		if (got < 0)
			return (int)got;
		if (got == 0)
			return -ENODATA;
		have += (size_t)got;
	}
	return 0;
}

#define PARTS	   4u
#define PART_LEAST ((size_t)4 << 20)

struct part {
	int fd, rc;
	char *to;
	size_t len;
	uint64_t at;
	pthread_t thread;
	bool has_thread;
};

static void *
read_part(void *arg)
{
	struct part *part = arg;

	part->rc = disk_read(part->fd, part->to, part->len, part->at);
	return NULL;
}

int
disk_read_wide(int fd, void *to, size_t len)
{
	size_t each = (len / PARTS + 4095) & ~(size_t)4095, at = 0;
	struct part parts[PARTS] = {0};
	int rc = 0;

	if (each < PART_LEAST)
		return disk_read(fd, to, len, 0);
	for (unsigned i = 0; i < PARTS; i++) {
		struct part *part = &parts[i];

		part->fd = fd;
		part->to = (char *)to + at;
		part->at = at;
		part->len = i + 1 < PARTS ? each : len - at;
		at += part->len;
		/* the last one is for this thread */
		part->has_thread =
			i + 1 < PARTS && pthread_create(&part->thread, NULL,
							read_part, part) == 0;
		if (!part->has_thread)
			(void)read_part(part);
	}
	for (unsigned i = 0; i < PARTS; i++) {
		if (parts[i].has_thread)
			(void)pthread_join(parts[i].thread, NULL);
		if (rc == 0)
			rc = parts[i].rc;
	}
	return rc;
}

int
disk_open_dir(int dir, const char *name, int make)
{
	if (make && mkdirat(dir, name, 0700) < 0 && errno != EEXIST)
		return -errno;
	return result(openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}
