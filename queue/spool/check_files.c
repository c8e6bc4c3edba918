/* SPDX-License-Identifier: ISC */
/* Message files in a check: names, heads, bodies, state lines. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/crc32c.h"
#include "lib/mem.h"
#include "queue/spool/check_parts.h"
#include "queue/spool/disk.h"

#define READ_BYTES (256u << 10)

/* ----------------------------------------------------------------- names */

static bool
is_id(const char *name, uint64_t *out)
{
	char again[SPOOL_ID_MAX];

	return spool_id_parse(name, out) &&
	       strcmp(spool_id_format(*out, again), name) == 0;
}

/* A message in the folder of another one is not found by its id. */
static bool
put_right(struct check *check, int folder_fd, const char *name, uint64_t id,
	  char repair[CHECK_REPAIR_MAX])
{
	int msg_fd = check->spool.files.fd, rc;
	char to[FILES_NAME_MAX];
	struct stat st;

	files_name(id, to);
	if (fstatat(msg_fd, to, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return false;
	/* free is only what is known to be */
	rc = errno == ENOENT ? 0 : -errno;
	if (rc == 0)
		rc = files_make_folder(&check->spool.files, files_folder(id));
	if (rc == 0)
		rc = disk_rename(folder_fd, name, msg_fd, to);
	if (rc == 0)
		rc = files_sync_folder(&check->spool.files, files_folder(id));
	if (rc == 0)
		rc = disk_sync(folder_fd);
	if (rc == 0)
		(void)snprintf(repair, CHECK_REPAIR_MAX, "moved to msg/%s", to);
	else
		(void)snprintf(repair, CHECK_REPAIR_MAX, "!not moved: %s",
			       strerror(-rc));
	return true;
}

static void
check_name(struct check *check, int folder_fd, unsigned folder,
	   const char *name)
{
	char repair[CHECK_REPAIR_MAX] = "", shown[300], as[64];
	struct stat st;
	uint64_t id;

	if (fstatat(folder_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return; /* it went: nobody else is here, so it is odd */
	if (S_ISREG(st.st_mode) && is_id(name, &id) &&
	    files_folder(id) == folder)
		return;
	(void)snprintf(shown, sizeof(shown), "msg/%02x/%s", folder, name);
	(void)snprintf(as, sizeof(as), "msg-%02x-%.40s", folder, name);
	if (S_ISREG(st.st_mode) && is_id(name, &id)) {
		if (!check->outer->is_repair ||
		    !put_right(check, folder_fd, name, id, repair))
			check_set_aside(check, folder_fd, name, as, repair);
		check_tell(check, CHECK_DAMAGE, "name", shown, id, repair,
			   "it belongs into folder %02x", files_folder(id));
		return;
	}
	check_set_aside(check, folder_fd, name, as, repair);
	check_tell(check, CHECK_DAMAGE, "name", shown, 0, repair,
		   "it is no message");
}

static void
check_names(struct check *check, unsigned folder)
{
	char name[8];
	struct dirent *item;
	int fd, again;
	DIR *dir;

	(void)snprintf(name, sizeof(name), "%02x", folder);
	fd = disk_open_dir(check->spool.files.fd, name, 0);
	if (fd < 0)
		return;
	again = disk_open_dir(fd, ".", 0);
	dir = again >= 0 ? fdopendir(again) : NULL;
	for (item = dir != NULL ? readdir(dir) : NULL; item != NULL;
	     item = readdir(dir))
		if (strcmp(item->d_name, ".") != 0 &&
		    strcmp(item->d_name, "..") != 0)
			check_name(check, fd, folder, item->d_name);
	if (dir != NULL)
		(void)closedir(dir); /* read only */
	(void)close(fd);	     /* read only */
}

/* ---------------------------------------------------------------- content */

static int
check_body(const struct check *check, const struct file_head *head)
{
	uint8_t *bytes = mem_alloc(READ_BYTES);
	uint32_t crc = 0;
	uint64_t at = 0;
	int rc = 0;

	while (rc == 0 && at < head->body_bytes) {
		size_t len = READ_BYTES;

		rc = files_read_body(check->spool.files.fd, head->id,
				     head->body_bytes, at, bytes, &len);
		if (rc == 0)
			crc = crc32c(crc, bytes, len);
		at += len;
	}
	free(bytes);
	return rc == 0 && crc != head->body_crc ? -EBADMSG : rc;
}

/* The lines that hold, as they are; what stood there goes to corrupt/. */
static void
mend_states(struct check *check, uint64_t id, char repair[CHECK_REPAIR_MAX])
{
	char name[SPOOL_ID_MAX], as[32], *tail, *kept;
	size_t len, kept_len = 0;
	const char *next, *line;
	uint32_t number;
	unsigned bad = 0;
	size_t bytes;
	int rc = files_read_tail(&check->spool.files, id, &tail, &len);

	if (rc == 0) {
		(void)snprintf(as, sizeof(as), "%s.states",
			       spool_id_format(id, name));
		(void)check_keep_bytes(check, tail, len, as, repair);
		kept = mem_alloc(len + 1);
		next = tail;
		while (repair[0] != '!' &&
		       file_state_next(id, &next, tail + len, &number, &line,
				       &bytes, &bad))
			kept_len += file_state_encode(id, number, line, bytes,
						      kept + kept_len);
		if (repair[0] != '!')
			rc = files_set_tail(&check->spool.files, id, kept,
					    kept_len);
		free(kept);
		free(tail);
	}
	if (rc < 0)
		(void)snprintf(repair, CHECK_REPAIR_MAX, "!not mended: %s",
			       strerror(-rc));
}

static int
set_file_aside(struct check *check, uint64_t id, struct entry *entry,
	       const char *kind, const char *text, struct err *err)
{
	char repair[CHECK_REPAIR_MAX], name[SPOOL_ID_MAX];
	char file[FILES_NAME_MAX], shown[FILES_NAME_MAX + 8];
	int rc;

	files_name(id, file);
	(void)snprintf(shown, sizeof(shown), "msg/%s", file);
	check_set_aside(check, check->spool.files.fd, file,
			spool_id_format(id, name), repair);
	if (check->outer->is_repair)
		(void)files_sync_folder(&check->spool.files, files_folder(id));
	check_tell(check, CHECK_DAMAGE, kind, shown, id, repair, "%s", text);
	if (repair[0] == '!')
		return err_text(err, -EIO, "spool: %s: %s", shown, repair + 1);
	if (entry == NULL)
		return 0;
	/* its states in the log are nobody's any more */
	rc = entry->notes != NULL ? check_keep_states(check, entry, repair) : 0;
	if (rc < 0)
		return err_set(err, rc, "spool: states of %s", shown);
	entry->flags |= ENTRY_DAMAGED;
	check->is_log_damaged = true;
	return 0;
}

/*
 * A file that could not be read, which says nothing of what stands in it: a
 * repair ends, as all it does from here on needs to know.
 */
static int
not_read(struct check *check, uint64_t id, int rc, struct err *err)
{
	char name[FILES_NAME_MAX], shown[FILES_NAME_MAX + 8];

	(void)snprintf(shown, sizeof(shown), "msg/%s", files_name(id, name));
	if (check->outer->is_repair)
		return err_set(err, rc, "spool: %s", shown);
	check_tell(check, CHECK_DAMAGE, "file", shown, id, "", "%s",
		   strerror(-rc));
	return 0;
}

/* kind_out  what is wrong with it if -EBADMSG is returned */
static int
load_whole(struct check *check, uint64_t id, struct file_text *out,
	   const char **kind_out)
{
	int rc = files_load(check->spool.files.fd, id, out);

	*kind_out = "file";
	if (rc < 0)
		return rc;
	*kind_out = "body";
	rc = check_body(check, &out->head);
	if (rc < 0)
		file_text_done(out);
	return rc;
}

/*
 * Of a damaged log it is not known which states are gone; those that its file
 * has are not. Then what the log has is added to the file.
 */
static bool
file_counts(struct check *check, struct entry *entry)
{
	struct file_text text;
	const char *kind;

	if (!check->is_log_damaged ||
	    load_whole(check, entry->id, &text, &kind) < 0)
		return false;
	file_text_done(&text);
	entry->flags |= ENTRY_IN_FILE;
	return true;
}

static int
check_file(struct check *check, uint64_t id, unsigned *above, struct err *err)
{
	uint32_t handle = index_find(&check->spool.index, id);
	struct entry *entry =
		handle != 0 ? index_at(&check->spool.index, handle) : NULL;
	char name[FILES_NAME_MAX], shown[FILES_NAME_MAX + 8];
	char repair[CHECK_REPAIR_MAX] = "";
	struct file_text text;
	const char *kind;
	int rc;

	(void)snprintf(shown, sizeof(shown), "msg/%s", files_name(id, name));
	if (entry != NULL && (entry->flags & ENTRY_GONE) != 0) {
		check_tell(check, CHECK_NOTE, "settled", shown, id, "",
			   "it is settled, and goes at the next start");
		return 0;
	}
	if (entry != NULL && (entry->flags & ENTRY_IN_FILE) == 0 &&
	    !file_counts(check, entry)) {
		check_tell(check, CHECK_NOTE, "both", shown, id, "",
			   "the log has it as well, which counts");
		return 0;
	}
	if (entry != NULL)
		entry->flags |= ENTRY_FOUND;
	rc = load_whole(check, id, &text, &kind);
	if (rc == -EIO) {
		rc = check_unread(check, id);
		if (rc == 0)
			return 0;
		if (rc > 0)
			rc = load_whole(check, id, &text, &kind);
	}
	if (rc == -EBADMSG)
		return set_file_aside(check, id, entry, kind,
				      strcmp(kind, "body") == 0
					      ? "its body is damaged"
					      : "its envelope is damaged, or "
						"its end is missing",
				      err);
	if (rc < 0)
		return not_read(check, id, rc, err);
	if (entry != NULL)
		file_text_trim(&text, entry_first_note(entry));
	if (text.bad_lines != 0) {
		if (check->outer->is_repair)
			mend_states(check, id, repair);
		check_tell(check, CHECK_DAMAGE, "states", shown, id, repair,
			   "%u state lines are damaged", text.bad_lines);
	}
	file_text_done(&text);
	if (id >= check->recovery.ids)
		(*above)++;
	if (id >= check->recovery.ids && check->outer->is_repair)
		check->recovery.ids = id + 1;
	check->outer->in_files++;
	return 0;
}

/* ------------------------------------------------------------------- tmp */

static void
check_tmp(struct check *check)
{
	int tmp_fd = check->spool.door.tmp_fd;
	int fd = tmp_fd >= 0 ? disk_open_dir(tmp_fd, ".", 0) : -1;
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *item;
	char shown[300];

	for (item = dir != NULL ? readdir(dir) : NULL; item != NULL;
	     item = readdir(dir)) {
		if (item->d_name[0] == '.')
			continue;
		(void)snprintf(shown, sizeof(shown), "tmp/%s", item->d_name);
		check_tell(check, CHECK_NOTE, "orphan", shown, 0, "",
			   "it never became a message, and goes at the next "
			   "start");
	}
	if (dir != NULL)
		(void)closedir(dir); /* read only */
}

/* ------------------------------------------------------------------- all */

/* Its messages in *ids, which is the caller's whatever is returned. */
static int
list_folder(struct check *check, unsigned folder, uint64_t **ids, size_t *count,
	    struct err *err)
{
	unsigned strange = 0;
	char name[16];
	int rc =
		files_list(check->spool.files.fd, folder, ids, count, &strange);

	if (rc == 0)
		return 0;
	(void)snprintf(name, sizeof(name), "msg/%02x", folder);
	if (check->outer->is_repair)
		return err_set(err, rc, "spool: %s", name);
	if (!check->is_unlisted[folder])
		check_tell(check, CHECK_DAMAGE, "folder", name, 0, "", "%s",
			   strerror(-rc));
	check->is_unlisted[folder] = true;
	return 0;
}

int
check_folders(struct check *check, struct err *err)
{
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < FILES_FOLDERS; i++) {
		uint64_t *ids;
		size_t count;

		rc = list_folder(check, i, &ids, &count, err);
		free(ids);
	}
	return rc;
}

int
check_files(struct check *check, struct err *err)
{
	struct index *index = &check->spool.index;
	unsigned above = 0;
	int rc = 0;

	for (unsigned i = 0; i < FILES_FOLDERS; i++)
		check_names(check, i);
	for (unsigned i = 0; rc == 0 && i < FILES_FOLDERS; i++) {
		uint64_t *ids;
		size_t count;

		rc = list_folder(check, i, &ids, &count, err);
		for (size_t k = 0; rc == 0 && k < count; k++)
			rc = check_file(check, ids[k], &above, err);
		free(ids);
	}
	if (rc < 0)
		return rc;
	if (above != 0) {
		check->is_log_damaged = true;
		check_tell(check, CHECK_DAMAGE, "id", "log", 0,
			   check->outer->is_repair ? "reserved again" : "",
			   "%u files have identifiers that the log does not "
			   "know to be in use",
			   above);
	}
	check_tmp(check);
	for (uint32_t handle = 1; handle < index->handles; handle++) {
		const struct entry *entry = index_at(index, handle);

		if (entry->id != 0 &&
		    (entry->flags & (ENTRY_IN_FILE | ENTRY_GONE)) == 0)
			check->outer->in_log++;
	}
	check->outer->messages = check->outer->in_log + check->outer->in_files;
	return 0;
}
