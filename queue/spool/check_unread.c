/* SPDX-License-Identifier: ISC */
/* A message file on a disk with bad blocks, and what can be read of it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "queue/spool/check_parts.h"
#include "queue/spool/disk.h"

struct holes {
	uint64_t at, bytes; /* of the first; of all */
};

/* to: -1 for a look without a copy */
static int
copy_around(int from, int to, uint64_t size, struct holes *holes)
{
	uint8_t block[FORMAT_BLOCK];

	*holes = (struct holes){0, 0};
	for (uint64_t at = 0; at < size; at += FORMAT_BLOCK) {
		uint64_t left = size - at;
		size_t len =
			left < sizeof(block) ? (size_t)left : sizeof(block);
		int rc = disk_read(from, block, len, at);

		if (rc == -EIO || rc == -ENODATA) {
			if (holes->bytes == 0)
				holes->at = at;
			holes->bytes += len;
			continue;
		}
		if (rc == 0 && to >= 0)
			rc = disk_write(to, block, len, at);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* The copy, durable in tmp/. */
static int
make_copy(struct check *check, int from, uint64_t size, const char *name)
{
	struct holes holes;
	int fd = disk_open(check->spool.door.tmp_fd, name,
			   O_WRONLY | O_CREAT | O_TRUNC);
	int rc;

	if (fd < 0)
		return fd;
	rc = copy_around(from, fd, size, &holes);
	if (rc == 0 && ftruncate(fd, (off_t)size) < 0)
		rc = -errno;
	if (rc == 0)
		rc = disk_sync(fd);
	(void)close(fd); /* what counts is the sync */
	return rc;
}

/* The file gets another name before it loses its own. */
static int
replace(struct check *check, int from, uint64_t id, uint64_t size,
	char aside[CHECK_ASIDE_MAX])
{
	struct door *door = &check->spool.door;
	char file[FILES_NAME_MAX], name[SPOOL_ID_MAX];
	int msg_fd = check->spool.files.fd, rc;

	files_name(id, file);
	spool_id_format(id, name);
	rc = make_copy(check, from, size, name);
	if (rc == 0 && !check_free_name(check, name, aside))
		rc = -EEXIST;
	if (rc == 0 && linkat(msg_fd, file, door->corrupt_fd, aside, 0) < 0)
		rc = -errno;
	if (rc == 0)
		rc = disk_sync(door->corrupt_fd);
	if (rc == 0)
		rc = disk_rename(door->tmp_fd, name, msg_fd, file);
	return rc < 0 ? rc
		      : files_sync_folder(&check->spool.files,
					  files_folder(id));
}

int
check_unread(struct check *check, uint64_t id)
{
	char file[FILES_NAME_MAX], shown[FILES_NAME_MAX + 8];
	char repair[CHECK_REPAIR_MAX] = "", aside[CHECK_ASIDE_MAX];
	bool is_repair = check->outer->is_repair;
	struct holes holes;
	struct stat st;
	int fd, rc;

	(void)snprintf(shown, sizeof(shown), "msg/%s", files_name(id, file));
	fd = disk_open(check->spool.files.fd, file, O_RDONLY);
	if (fd < 0)
		return fd;
	rc = fstat(fd, &st) < 0 ? -errno : 0;
	if (rc == 0)
		rc = copy_around(fd, -1, (uint64_t)st.st_size, &holes);
	if (rc == 0 && holes.bytes == 0)
		rc = -EIO; /* it was something else */
	if (rc == 0 && is_repair)
		rc = replace(check, fd, id, (uint64_t)st.st_size, aside);
	(void)close(fd); /* read only */
	if (rc < 0)
		return rc;
	if (is_repair)
		(void)snprintf(repair, sizeof(repair),
			       "kept as corrupt/%s, read around", aside);
	check_tell(check, CHECK_DAMAGE, "unread", shown, id, repair,
		   "%llu bytes from %llu on cannot be read",
		   (unsigned long long)holes.bytes,
		   (unsigned long long)holes.at);
	return is_repair;
}
