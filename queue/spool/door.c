/* SPDX-License-Identifier: ISC */
/* The folders of a spool: whose they are, who is in, which version. */
#include "queue/spool/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "queue/spool/disk.h"
#include "queue/spool/format.h"

static void
close_one(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd); /* what counts was synced */
	*fd = -1;
}

void
door_close(struct door *door)
{
	close_one(&door->log_fd);
	close_one(&door->tmp_fd);
	close_one(&door->corrupt_fd);
	close_one(&door->dir_fd);
	close_one(&door->lock_fd); /* last: the next one may come in */
}

static int
open_dir(const char *path, struct door *door, struct err *err)
{
	struct stat st;

	door->dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (door->dir_fd < 0 || fstat(door->dir_fd, &st) < 0)
		return err_set(err, -errno, "spool %s", path);
	if (st.st_uid != geteuid())
		return err_text(err, -EACCES,
				"spool %s belongs to user %lu, not to user "
				"%lu who runs this",
				path, (unsigned long)st.st_uid,
				(unsigned long)geteuid());
	return 0;
}

static int
lock(const char *path, struct door *door, int flags, int how, struct err *err)
{
	door->lock_fd = disk_open(door->dir_fd, "LOCK", flags);
	if (door->lock_fd == -ENOENT)
		return 0; /* read only, and nobody was ever in */
	if (door->lock_fd < 0)
		return err_set(err, door->lock_fd, "spool %s/LOCK", path);
	if (flock(door->lock_fd, how | LOCK_NB) == 0)
		return 0;
	if (errno == EWOULDBLOCK)
		return err_text(err, -EBUSY,
				"spool %s is in use by another process", path);
	return err_set(err, -errno, "spool %s/LOCK", path);
}

static int
read_version(const char *path, struct door *door, struct err *err)
{
	char text[VERSION_LINE_MAX + 1];
	int fd = disk_open(door->dir_fd, "VERSION", O_RDONLY), rc;
	ssize_t got;

	if (fd == -ENOENT)
		return -ENOENT;
	if (fd < 0)
		return err_set(err, fd, "spool %s/VERSION", path);
	got = pread(fd, text, VERSION_LINE_MAX, 0);
	rc = got < 0 ? -errno : 0;
	(void)close(fd); /* read only */
	if (rc < 0)
		return err_set(err, rc, "spool %s/VERSION", path);
	text[got] = '\0';
	rc = version_decode(text, &door->tag);
	if (rc == -EPROTO)
		return err_text(err, rc,
				"spool %s was made by a newer version of "
				"ostler",
				path);
	if (rc < 0)
		return err_text(err, rc, "spool %s/VERSION is damaged", path);
	return 0;
}

int
door_write_version(const char *path, struct door *door, struct err *err)
{
	char text[VERSION_LINE_MAX];
	int fd, rc;

	version_encode(door->tag, text);
	fd = disk_open(door->dir_fd, "VERSION.new",
		       O_WRONLY | O_CREAT | O_TRUNC);
	if (fd < 0)
		return err_set(err, fd, "spool %s/VERSION.new", path);
	rc = disk_write(fd, text, strlen(text), 0);
	if (rc == 0)
		rc = disk_sync(fd);
	(void)close(fd); /* what counts is the sync */
	if (rc == 0)
		rc = disk_rename(door->dir_fd, "VERSION.new", door->dir_fd,
				 "VERSION");
	if (rc == 0)
		rc = disk_sync(door->dir_fd);
	return rc < 0 ? err_set(err, rc, "spool %s/VERSION", path) : 0;
}

/* A spool without VERSION is a new one: log/ is made after it. */
static int
make_version(const char *path, struct door *door, struct err *err)
{
	struct stat st;

	if (fstatat(door->dir_fd, "log", &st, 0) == 0)
		return err_text(err, -EBADMSG, "spool %s/VERSION is missing",
				path);
	if (errno != ENOENT)
		return err_set(err, -errno, "spool %s/log", path);
	do {
		if (getrandom(&door->tag, sizeof(door->tag), 0) !=
		    sizeof(door->tag))
			return err_set(err, -errno, "random numbers");
	} while (door->tag == 0);
	return door_write_version(path, door, err);
}

static int
open_folder(const char *path, struct door *door, const char *name, int make,
	    int *out, struct err *err)
{
	*out = disk_open_dir(door->dir_fd, name, make);
	if (*out < 0)
		return err_set(err, *out, "spool %s/%s", path, name);
	return 0;
}

int
door_open(const char *path, struct door *out, struct err *err)
{
	struct door door = {-1, -1, -1, -1, -1, 0};
	char pid[32];
	int rc;

	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return err_set(err, -errno, "spool %s", path);
	rc = open_dir(path, &door, err);
	if (rc == 0)
		rc = lock(path, &door, O_RDWR | O_CREAT, LOCK_EX, err);
	if (rc == 0) {
		rc = read_version(path, &door, err);
		if (rc == -ENOENT)
			rc = make_version(path, &door, err);
	}
	if (rc == 0)
		rc = open_folder(path, &door, "log", 1, &door.log_fd, err);
	if (rc == 0)
		rc = open_folder(path, &door, "tmp", 1, &door.tmp_fd, err);
	if (rc == 0)
		rc = open_folder(path, &door, "corrupt", 1, &door.corrupt_fd,
				 err);
	if (rc == 0) {
		/* for people; the lock is what counts */
		(void)snprintf(pid, sizeof(pid), "%ld\n", (long)getpid());
		(void)!ftruncate(door.lock_fd, 0);
		(void)!pwrite(door.lock_fd, pid, strlen(pid), 0);
		*out = door;
		return 0;
	}
	door_close(&door);
	return rc;
}

int
door_open_read_only(const char *path, struct door *out, struct err *err)
{
	struct door door = {-1, -1, -1, -1, -1, 0};
	int rc = 0;

	door.dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (door.dir_fd < 0)
		rc = err_set(err, -errno, "spool %s", path);
	if (rc == 0)
		rc = lock(path, &door, O_RDONLY, LOCK_SH, err);
	if (rc == 0) {
		rc = read_version(path, &door, err);
		if (rc == -ENOENT)
			rc = err_text(err, rc, "%s is no spool", path);
	}
	if (rc == 0)
		rc = open_folder(path, &door, "log", 0, &door.log_fd, err);
	if (rc == 0) {
		*out = door;
		return 0;
	}
	door_close(&door);
	return rc;
}

int
door_open_check(const char *path, bool is_repair, struct door *out,
		int *out_version, struct err *err)
{
	struct door door = {-1, -1, -1, -1, -1, 0};
	struct err ignored = ERR_INIT;
	int rc = 0;

	door.dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (door.dir_fd < 0)
		return err_set(err, -errno, "spool %s", path);
	if (is_repair) {
		close_one(&door.dir_fd);
		rc = open_dir(path, &door, err);
	}
	if (rc == 0)
		rc = is_repair
			     ? lock(path, &door, O_RDWR | O_CREAT, LOCK_EX, err)
			     : lock(path, &door, O_RDONLY, LOCK_SH, err);
	if (rc == 0)
		rc = open_folder(path, &door, "log", 0, &door.log_fd, err);
	if (rc == 0 && is_repair)
		rc = open_folder(path, &door, "corrupt", 1, &door.corrupt_fd,
				 err);
	if (rc < 0) {
		door_close(&door);
		return rc;
	}
	/* these two may be missing */
	door.tmp_fd = disk_open_dir(door.dir_fd, "tmp", 0);
	if (!is_repair)
		door.corrupt_fd = disk_open_dir(door.dir_fd, "corrupt", 0);
	*out_version = read_version(path, &door, &ignored);
	*out = door;
	return 0;
}
