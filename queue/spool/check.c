/* SPDX-License-Identifier: ISC */
#include "queue/spool/check.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/mem.h"
#include "queue/spool/check_parts.h"
#include "queue/spool/disk.h"
#include "queue/spool/format.h"

#define ASIDE_NAMES 1000u /* of one thing */

void
check_tell(struct check *check, bool is_damage, const char *kind,
	   const char *file, uint64_t id, const char *repair,
	   const char *format, ...)
{
	struct spool_check *outer = check->outer;
	char text[300];
	struct spool_finding finding = {is_damage, kind, file,
					id,	   text, repair};
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (is_damage)
		outer->damages++;
	else
		outer->notes++;
	if (is_damage && repair[0] != '\0' && repair[0] != '!')
		outer->repaired++;
	if (repair[0] == '!')
		finding.repair++;
	outer->found(outer->arg, &finding);
}

/* ------------------------------------------------------------- set aside */

bool
check_free_name(struct check *check, const char *as, char to[CHECK_ASIDE_MAX])
{
	for (unsigned i = 0; i < ASIDE_NAMES; i++) {
		struct stat st;

		if (i == 0)
			(void)snprintf(to, CHECK_ASIDE_MAX, "%s", as);
		else
			(void)snprintf(to, CHECK_ASIDE_MAX, "%s.%u", as, i);
		if (fstatat(check->spool.door.corrupt_fd, to, &st,
			    AT_SYMLINK_NOFOLLOW) < 0 &&
		    errno == ENOENT)
			return true;
	}
	return false;
}

/* "!" in front: it was not done. */
static void
say(char out[CHECK_REPAIR_MAX], const char *name, int rc)
{
	if (rc < 0)
		(void)snprintf(out, CHECK_REPAIR_MAX, "!not set aside: %s",
			       strerror(-rc));
	else
		(void)snprintf(out, CHECK_REPAIR_MAX, "set aside as corrupt/%s",
			       name);
}

void
check_set_aside(struct check *check, int from_dir, const char *from,
		const char *as, char out[CHECK_REPAIR_MAX])
{
	int to_dir = check->spool.door.corrupt_fd, rc = -EEXIST;
	char name[CHECK_ASIDE_MAX];

	out[0] = '\0';
	if (!check->outer->is_repair)
		return;
	if (check_free_name(check, as, name))
		rc = disk_rename(from_dir, from, to_dir, name);
	if (rc == 0)
		rc = disk_sync(to_dir);
	if (rc == 0)
		rc = disk_sync(from_dir);
	say(out, name, rc);
}

int
check_keep_bytes(struct check *check, const void *bytes, size_t len,
		 const char *as, char out[CHECK_REPAIR_MAX])
{
	int to_dir = check->spool.door.corrupt_fd, fd = -EEXIST, rc;
	char name[CHECK_ASIDE_MAX];

	out[0] = '\0';
	if (!check->outer->is_repair)
		return 0;
	if (check_free_name(check, as, name))
		fd = disk_open(to_dir, name, O_WRONLY | O_CREAT | O_EXCL);
	rc = fd < 0 ? fd : disk_write(fd, bytes, len, 0);
	if (rc == 0)
		rc = disk_sync(fd);
	if (fd >= 0)
		(void)close(fd); /* what counts is the sync */
	if (rc == 0)
		rc = disk_sync(to_dir);
	say(out, name, rc);
	return rc;
}

int
check_keep_states(struct check *check, const struct entry *entry,
		  char out[CHECK_REPAIR_MAX])
{
	char name[SPOOL_ID_MAX], as[32], nothing[] = "", *states;
	struct file_text none = {.states = nothing};
	int rc;

	out[0] = '\0';
	if (!check->outer->is_repair)
		return 0;
	states = load_all_states(&check->spool, entry, &none, &rc);
	(void)snprintf(as, sizeof(as), "%s.states",
		       spool_id_format(entry->id, name));
	if (rc == 0 || rc == -EBADMSG)
		rc = check_keep_bytes(check, states, strlen(states), as, out);
	free(states);
	return rc;
}

/* ------------------------------------------------------------- the door */

struct votes {
	uint64_t best;
	unsigned count;
	char version[VERSION_LINE_MAX + 1]; /* what is left of it */
};

/* Whether VERSION may have said so: most of its digits do. */
static bool
is_like_version(const struct votes *votes, uint64_t tag)
{
	char line[VERSION_LINE_MAX];
	unsigned same = 0;
	size_t len;

	version_encode(tag, line);
	len = strlen(line);
	for (size_t i = 0; i < len; i++)
		same += line[i] == votes->version[i];
	return strlen(votes->version) == len && same + 3 >= len;
}

static void
vote_in(struct votes *votes, int segment)
{
	struct batch_head head;
	uint64_t tag;
	struct stat st;

	if (fstat(segment, &st) < 0 || !S_ISREG(st.st_mode))
		return;
	for (off_t at = 0; at + FORMAT_BLOCK <= st.st_size;
	     at += FORMAT_BLOCK) {
		uint8_t block[BATCH_HEADER];

		if (disk_read(segment, block, sizeof(block), (uint64_t)at) <
			    0 ||
		    !batch_peek_tag(block, &tag) ||
		    !batch_decode(block, tag, SIZE_MAX, &head))
			continue;
		/* behind the first place a message could have put it */
		if (at != 0 && !is_like_version(votes, tag))
			continue;
		/* the majority, if there is one */
		if (votes->count == 0)
			votes->best = tag;
		votes->count += tag == votes->best ? 1u : -1u;
	}
}

/* What the batches of the log say that VERSION said. */
static uint64_t
ask_segments(struct check *check)
{
	int log_fd = check->spool.door.log_fd, fd;
	struct votes votes = {.best = 0};
	struct dirent *item;
	DIR *dir;

	fd = disk_open(check->spool.door.dir_fd, "VERSION", O_RDONLY);
	if (fd >= 0) {
		/* what cannot be read is no help */
		(void)!pread(fd, votes.version, VERSION_LINE_MAX, 0);
		(void)close(fd); /* read only */
	}
	fd = disk_open_dir(log_fd, ".", 0);
	dir = fd >= 0 ? fdopendir(fd) : NULL;
	for (item = dir != NULL ? readdir(dir) : NULL; item != NULL;
	     item = readdir(dir)) {
		fd = disk_open(log_fd, item->d_name, O_RDONLY | O_NONBLOCK);
		if (fd < 0)
			continue;
		vote_in(&votes, fd);
		(void)close(fd); /* read only */
	}
	if (dir != NULL)
		(void)closedir(dir); /* read only */
	return votes.best;
}

static int
check_version(struct check *check, const char *path, int rc, struct err *err)
{
	struct door *door = &check->spool.door;
	char repair[CHECK_REPAIR_MAX] = "";
	int written;

	if (rc == 0)
		return 0;
	if (rc == -EPROTO)
		return err_text(err, rc,
				"spool %s was made by a newer version of "
				"ostler",
				path);
	if (rc != -ENOENT && rc != -EBADMSG)
		return err_set(err, rc, "spool %s/VERSION", path);
	door->tag = ask_segments(check);
	if (door->tag == 0)
		return err_text(err, rc,
				"spool %s/VERSION is %s, and no segment tells "
				"what stood there",
				path, rc == -ENOENT ? "missing" : "damaged");
	if (check->outer->is_repair && rc == -EBADMSG)
		check_set_aside(check, door->dir_fd, "VERSION", "VERSION",
				repair);
	if (check->outer->is_repair) {
		written = door_write_version(path, door, err);
		if (written < 0)
			return written;
		(void)snprintf(repair, sizeof(repair),
			       "written again from the log");
	}
	check_tell(check, CHECK_DAMAGE, "version", "VERSION", 0, repair, "%s",
		   rc == -ENOENT ? "it is missing" : "it is damaged");
	return 0;
}

/* --------------------------------------------------------------- modes */

static void
check_mode(struct check *check, int dir, const char *name, const char *shown,
	   uid_t owner)
{
	char repair[CHECK_REPAIR_MAX] = "";
	struct stat st;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
	    S_ISLNK(st.st_mode))
		return; /* told by those who need it */
	if (st.st_uid != owner)
		check_tell(check, CHECK_DAMAGE, "owner", shown, 0, "",
			   "it belongs to user %lu, the spool to %lu",
			   (unsigned long)st.st_uid, (unsigned long)owner);
	if ((st.st_mode & 077) == 0 && (st.st_mode & 0600) == 0600)
		return;
	if (check->outer->is_repair) {
		mode_t mode = S_ISDIR(st.st_mode) ? 0700 : 0600;

		if (fchmodat(dir, name, mode, 0) == 0)
			(void)snprintf(repair, sizeof(repair), "changed to %o",
				       (unsigned)mode);
		else
			(void)snprintf(repair, sizeof(repair), "!%s",
				       strerror(errno));
	}
	check_tell(check, CHECK_DAMAGE, "permission", shown, 0, repair,
		   "its mode is %o", (unsigned)(st.st_mode & 07777));
}

static void
check_modes_in(struct check *check, int dir_fd, const char *folder, uid_t owner)
{
	int fd = disk_open_dir(dir_fd, ".", 0);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *item;
	char shown[300];

	for (item = dir != NULL ? readdir(dir) : NULL; item != NULL;
	     item = readdir(dir)) {
		if (strcmp(item->d_name, ".") == 0 ||
		    strcmp(item->d_name, "..") == 0)
			continue;
		(void)snprintf(shown, sizeof(shown), "%s/%s", folder,
			       item->d_name);
		check_mode(check, dir_fd, item->d_name, shown, owner);
	}
	if (dir != NULL)
		(void)closedir(dir); /* read only */
}

static void
check_modes(struct check *check)
{
	static const char *const names[] = {"VERSION", "LOCK", "log",
					    "msg",     "tmp",  "corrupt"};
	struct door *door = &check->spool.door;
	struct stat st;

	if (fstat(door->dir_fd, &st) < 0)
		return; /* it was just opened */
	check_mode(check, door->dir_fd, ".", ".", st.st_uid);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		check_mode(check, door->dir_fd, names[i], names[i], st.st_uid);
	check_modes_in(check, door->log_fd, "log", st.st_uid);
	check_modes_in(check, check->spool.files.fd, "msg", st.st_uid);
	for (unsigned i = 0; i < FILES_FOLDERS; i++) {
		char name[8], shown[16];
		int fd;

		(void)snprintf(name, sizeof(name), "%02x", i);
		(void)snprintf(shown, sizeof(shown), "msg/%02x", i);
		fd = disk_open_dir(check->spool.files.fd, name, 0);
		if (fd < 0)
			continue;
		check_modes_in(check, fd, shown, st.st_uid);
		(void)close(fd); /* read only */
	}
}

/* How many things lie in corrupt/. */
static uint64_t
count_set_aside(const struct check *check)
{
	int corrupt = check->spool.door.corrupt_fd;
	int fd = corrupt >= 0 ? disk_open_dir(corrupt, ".", 0) : -1;
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	uint64_t count = 0;
	struct dirent *item;

	for (item = dir != NULL ? readdir(dir) : NULL; item != NULL;
	     item = readdir(dir))
		count += item->d_name[0] != '.';
	if (dir != NULL)
		(void)closedir(dir); /* read only */
	return count;
}

/* ------------------------------------------------------------ all of it */

/* States of a message that is nowhere: its record or file went. */
static int
check_missing(struct check *check, struct err *err)
{
	const struct index *index = &check->spool.index;

	for (uint32_t handle = 1; handle < index->handles; handle++) {
		struct entry *entry = index_at(index, handle);
		char name[SPOOL_ID_MAX], repair[CHECK_REPAIR_MAX];
		int rc;

		if (entry->id == 0 ||
		    (entry->flags & (ENTRY_IN_FILE | ENTRY_FOUND |
				     ENTRY_GONE)) != ENTRY_IN_FILE ||
		    check->is_unlisted[files_folder(entry->id)])
			continue;
		spool_id_format(entry->id, name);
		rc = check_keep_states(check, entry, repair);
		if (rc < 0)
			return err_set(err, rc, "spool: states of %s", name);
		if (check->outer->is_repair)
			check->is_log_damaged = true;
		check_tell(check, CHECK_DAMAGE, "missing", "log", entry->id,
			   repair, "message %s has states and is nowhere",
			   name);
	}
	return 0;
}

static int
check_all(struct check *check, const char *dir, struct err *err)
{
	struct door *door = &check->spool.door;
	int version, rc;

	rc = door_open_check(dir, check->outer->is_repair, door, &version, err);
	if (rc < 0)
		return rc;
	check->spool.files.fd =
		disk_open_dir(door->dir_fd, "msg", check->outer->is_repair);
	if (check->spool.files.fd < 0 && check->spool.files.fd != -ENOENT)
		return err_set(err, check->spool.files.fd, "spool %s/msg", dir);
	rc = check_version(check, dir, version, err);
	if (rc < 0)
		return rc;
	check_modes(check);
	rc = check_folders(check, err);
	if (rc == 0)
		rc = check_log(check, err);
	if (rc == 0)
		rc = check_files(check, err);
	if (rc == 0)
		rc = check_missing(check, err);
	if (rc < 0)
		return rc;
	if (check->outer->is_repair && check->is_log_damaged)
		rc = check_renew(check, err);
	check->outer->set_aside = count_set_aside(check);
	return rc;
}

int
spool_check(const char *dir, struct spool_check *outer, struct err *err)
{
	struct check *check = mem_zalloc(sizeof(*check));
	int rc;

	check->outer = outer;
	check->spool.door = (struct door){-1, -1, -1, -1, -1, 0};
	check->spool.files.fd = -1;
	index_init(&check->spool.index);
	list_init(&check->spool.used);
	rc = check_all(check, dir, err);
	recover_drop(&check->recovery);
	index_done(&check->spool.index);
	if (check->spool.files.fd >= 0)
		(void)close(check->spool.files.fd); /* what counts was synced */
	door_close(&check->spool.door);
	free(check->ranges);
	free(check->batches);
	free(check->unread);
	free(check);
	return rc;
}
