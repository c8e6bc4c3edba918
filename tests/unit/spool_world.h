/* SPDX-License-Identifier: ISC */
/*
 * tests/unit/spool_world.h - one spool, and a disk below it that can fail
 *
 * The disk is the real one until a test has its reads wait at a gate, loses
 * some of its bytes or fills it. What else a test wants of it, it puts into
 * world_disk by itself.
 */
#ifndef OSTLER_TESTS_UNIT_SPOOL_WORLD_H
#define OSTLER_TESTS_UNIT_SPOOL_WORLD_H

#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>

#include "queue/spool/files.h"
#include "tests/unit/spool_box.h"

static struct box box;
static struct disk_calls world_disk;

/* What the threads of the spool meet. */
static pthread_mutex_t world_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t world_opened = PTHREAD_COND_INITIALIZER;
static struct {
	bool is_shut, is_full; /* for reads, for new segments */
	off_t shut_from;
	struct {
		ino_t inode;
		off_t at, end;
		unsigned met; /* so often */
	} lost;
} world;

/* Reads from there on wait until the gate is opened. */
static inline void
world_shut(off_t from)
{
	pthread_mutex_lock(&world_lock);
	world.is_shut = true;
	world.shut_from = from;
	pthread_mutex_unlock(&world_lock);
}

static inline void
world_open(void)
{
	pthread_mutex_lock(&world_lock);
	world.is_shut = false;
	pthread_cond_broadcast(&world_opened);
	pthread_mutex_unlock(&world_lock);
}

static inline void
world_fill(bool is_full)
{
	pthread_mutex_lock(&world_lock);
	world.is_full = is_full;
	pthread_mutex_unlock(&world_lock);
}

/* Bytes of a file that the disk does not give back. */
static inline void
world_lose(ino_t inode, off_t at, off_t end)
{
	pthread_mutex_lock(&world_lock);
	world.lost.inode = inode;
	world.lost.at = at;
	world.lost.end = end;
	pthread_mutex_unlock(&world_lock);
}

static inline void
world_heal(void)
{
	world_lose(0, 0, 0);
}

static inline unsigned
world_times_lost(void)
{
	unsigned met;

	pthread_mutex_lock(&world_lock);
	met = world.lost.met;
	pthread_mutex_unlock(&world_lock);
	return met;
}

static inline bool
world_is_segment_made(const char *name, int flags)
{
	return (flags & O_CREAT) != 0 && strstr(name, ".seg") != NULL;
}

static inline int
world_openat(int dir, const char *name, int flags, mode_t mode)
{
	bool fails;

	pthread_mutex_lock(&world_lock);
	fails = world.is_full && world_is_segment_made(name, flags);
	pthread_mutex_unlock(&world_lock);
	if (!fails)
		return disk_calls_real.openat(dir, name, flags, mode);
	errno = ENOSPC;
	return -1;
}

static inline ssize_t
world_pread(int fd, void *to, size_t len, off_t at)
{
	struct stat st;
	bool fails;

	pthread_mutex_lock(&world_lock);
	while (world.is_shut && at >= world.shut_from)
		pthread_cond_wait(&world_opened, &world_lock);
	fails = at < world.lost.end && at + (off_t)len > world.lost.at &&
		fstat(fd, &st) == 0 && st.st_ino == world.lost.inode;
	world.lost.met += fails;
	pthread_mutex_unlock(&world_lock);
	if (!fails)
		return disk_calls_real.pread(fd, to, len, at);
	errno = EIO;
	return -1;
}

static inline void
world_setup(void)
{
	memset(&world, 0, sizeof(world));
	world_disk = disk_calls_real;
	world_disk.openat = world_openat;
	world_disk.pread = world_pread;
	disk_use(&world_disk);
	box_init(&box);
}

static inline void
world_teardown(void)
{
	disk_use(NULL);
	box_done(&box);
}

/* -------------------------------------------------------- files, stopped */

/* Of the last that was asked for. */
static char path[300];

static inline char *
in_spool(const char *name)
{
	(void)snprintf(path, sizeof(path), "%s/%s", box.dir, name);
	return path;
}

static inline char *
segment_of(unsigned slot)
{
	(void)snprintf(path, sizeof(path), "%s/log/%03u.seg", box.dir, slot);
	return path;
}

static inline char *
file_of(uint64_t id)
{
	char name[FILES_NAME_MAX];

	(void)snprintf(path, sizeof(path), "%s/msg/%s", box.dir,
		       files_name(id, name));
	return path;
}

/* A whole file for free(), or NULL when there is none. */
static inline uint8_t *
read_file(const char *file, size_t *size)
{
	int fd = open(file, O_RDONLY);
	struct stat st;
	uint8_t *bytes;

	if (fd < 0)
		return NULL;
	ck_assert_int_eq(fstat(fd, &st), 0);
	*size = (size_t)st.st_size;
	bytes = mem_alloc(*size + 1);
	ck_assert_int_eq(disk_read(fd, bytes, *size, 0), 0);
	close(fd);
	return bytes;
}

static inline void
flip(const char *file, size_t at)
{
	int fd = open(file, O_RDWR);
	uint8_t byte;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(disk_read(fd, &byte, 1, at), 0);
	byte ^= 0x20;
	ck_assert_int_eq(disk_write(fd, &byte, 1, at), 0);
	close(fd);
}

static inline void
write_file(const char *file, const char *text)
{
	FILE *to = fopen(file, "w");

	ck_assert_ptr_nonnull(to);
	fputs(text, to);
	ck_assert_int_eq(fclose(to), 0);
	ck_assert_int_eq(chmod(file, 0600), 0);
}

static inline void
append(const char *file, const char *text, size_t len)
{
	FILE *to = fopen(file, "a");

	ck_assert_ptr_nonnull(to);
	ck_assert_uint_eq(fwrite(text, 1, len, to), len);
	ck_assert_int_eq(fclose(to), 0);
}

/* Where it stands in a segment, whose file is in path then; or -1. */
static inline off_t
find_in_segment(unsigned slot, const void *what, size_t len)
{
	size_t size;
	uint8_t *bytes = read_file(segment_of(slot), &size);
	const uint8_t *at;
	off_t found = -1;

	if (bytes == NULL)
		return -1;
	at = memmem(bytes, size, what, len);
	if (at != NULL)
		found = at - bytes;
	free(bytes);
	return found;
}

#endif
