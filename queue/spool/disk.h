/* SPDX-License-Identifier: ISC */
/*
 * queue/spool/disk.h - the system calls of the spool to the disk
 *
 * One door, so that tests can make the n-th call fail. Any thread; all of
 * them block.
 */
#ifndef OSTLER_QUEUE_SPOOL_DISK_H
#define OSTLER_QUEUE_SPOOL_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

/* As the calls of the same names. */
struct disk_calls {
	int (*openat)(int dir, const char *name, int flags, mode_t mode);
	ssize_t (*pread)(int fd, void *to, size_t len, off_t at);
	ssize_t (*pwritev)(int fd, const struct iovec *iov, int count,
			   off_t at);
	int (*fdatasync)(int fd);
	int (*fsync)(int fd);
	int (*syncfs)(int fd);
	int (*renameat)(int dir, const char *from, int to_dir, const char *to);
	int (*unlinkat)(int dir, const char *name, int flags);
};

extern const struct disk_calls disk_calls_real;

/* For tests, also while threads of a spool run; NULL: the real ones again. */
void disk_use(const struct disk_calls *calls);

/* All return 0 or a negative errno; short writes and EINTR are dealt with. */

/* Returns a descriptor. */
int disk_open(int dir, const char *name, int flags);
int disk_write(int fd, const void *bytes, size_t len, uint64_t at);
/* iov is used up. */
int disk_writev(int fd, struct iovec *iov, size_t count, uint64_t at);
int disk_datasync(int fd);
int disk_sync(int fd);
/* Begins to write what was put there, and waits for what stands before it:
 * so a later sync finds little to do, and others' syncs are not stuck behind
 * it. Promises nothing; does nothing where the system has no such call. An
 * error of the waiting is told here alone: the kernel tells each one once. */
int disk_write_out(int fd, uint64_t at, size_t len);
/* Begins to write what was put there, and waits for nothing; the next sync
 * tells what fails. */
void disk_start_write(int fd, uint64_t at, size_t len);
/* Makes everything on the file system durable. Only where the kernel reports
 * errors by it (since Linux 5.8), which disk_has_syncfs tells. */
int disk_syncfs(int fd);
bool disk_has_syncfs(void);
int disk_rename(int dir, const char *from, int to_dir, const char *to);
int disk_unlink(int dir, const char *name);

/* Reads exactly len bytes: -ENODATA when the file ends before. */
int disk_read(int fd, void *to, size_t len, uint64_t at);
/* As much of it as there is: returns how much. */
ssize_t disk_read_some(int fd, void *to, size_t len, uint64_t at);
/* Exactly len bytes from the start of the file; what is large is read by some
 * threads at once, which disks like and memory too. */
int disk_read_wide(int fd, void *to, size_t len);

/* A directory below dir, made (0700) when it is missing and make is given. */
int disk_open_dir(int dir, const char *name, int make);

#endif
