/* SPDX-License-Identifier: ISC */
/*
 * server/ctl_transfer.c - ostlerctl queue export and import
 *
 * A message is two files in a folder: ID.eml is its content as it would be
 * sent, ID.json its envelope as queue show tells it. An import puts them into
 * a stopped spool under new ids, and renames each envelope to ID.imported when
 * its message is durable, so that it can be begun again.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "lib/buf.h"
#include "lib/mem.h"
#include "lib/work.h"
#include "queue/envelope.h"
#include "queue/spool/spool.h"
#include "server/config.h"
#include "server/ctl.h"
#include "server/daemon.h"
#include "server/queue_json.h"

#define ENVELOPE_MAX ((off_t)1 << 30) /* with all that was tried */
#define READ_BYTES   (64u << 10)

/* ---------------------------------------------------------------- export */

struct export
{
	struct ctl *ctl;
	int dir_fd;
	char **ids; /* own; what is listed */
	size_t id_count;
	json_t *envelope; /* of the one at hand */
	FILE *content;
	uint64_t count, failed;
	const json_t *args; /* a stopped spool's filters */
};

static void
complain(const char *id, const char *what)
{
	(void)fprintf(stderr, "ostlerctl: %s: %s\n", id, what);
}

/* New, for us alone, and no file that somebody else has put there: of an
 * earlier export nothing is written over. NULL after saying why not. */
static FILE *
create(const struct export *export, const char *id, const char *suffix)
{
	char name[SPOOL_ID_MAX + 16];
	FILE *file = NULL;
	int fd;

	(void)snprintf(name, sizeof(name), "%s.%s", id, suffix);
	(void)unlinkat(export->dir_fd, name, 0); /* else open says so */
	fd = openat(export->dir_fd, name,
		    O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd >= 0)
		file = fdopen(fd, "w");
	if (file == NULL)
		complain(name, strerror(errno));
	return file;
}

/* On the disk, or not at all. */
static bool
finish(FILE *file)
{
	/* a write that failed before is not tried again */
	bool is_fine = ferror(file) == 0 && fflush(file) == 0 &&
		       fsync(fileno(file)) == 0;

	return fclose(file) == 0 && is_fine;
}

static bool
write_envelope(const struct export *export, const char *id, const json_t *row)
{
	FILE *file = create(export, id, "json");
	bool is_fine = file != NULL &&
		       json_dumpf(row, file, JSON_INDENT(1)) == 0 &&
		       fputc('\n', file) != EOF;

	if (file == NULL)
		return false;
	return finish(file) && is_fine;
}

static void
on_listed(void *arg, const json_t *row)
{
	struct export *export = arg;
	const char *id = json_string_value(json_object_get(row, "id"));

	if (id == NULL)
		return;
	export->ids =
		mem_append(export->ids, export->id_count, sizeof(*export->ids));
	export->ids[export->id_count++] = mem_strdup(id);
}

static void
on_envelope(void *arg, const json_t *row)
{
	struct export *export = arg;

	if (export->envelope == NULL)
		export->envelope = json_incref((json_t *)(uintptr_t)row);
}

static void
on_content(void *arg, const json_t *row)
{
	struct export *export = arg;
	size_t len;
	uint8_t *bytes = queue_json_to_bytes(row, &len);

	if (bytes != NULL)
		(void)fwrite(bytes, 1, len, export->content);
	free(bytes);
}

/* The content first: an envelope says that all of it is there. */
static bool
export_live(struct export *export, const char *id)
{
	bool is_fine;

	export->envelope = NULL;
	export->content = create(export, id, "eml");
	if (export->content == NULL)
		return false;
	is_fine =
		ctl_ask(export->ctl, "queue show", json_pack("{s:s}", "id", id),
			on_envelope, export) == EXIT_DONE &&
		ctl_ask(export->ctl, "queue cat", json_pack("{s:s}", "id", id),
			on_content, export) == EXIT_DONE;
	is_fine = finish(export->content) && is_fine &&
		  export->envelope != NULL &&
		  write_envelope(export, id, export->envelope);
	json_decref(export->envelope);
	return is_fine;
}

static int
on_part(void *arg, const uint8_t *bytes, size_t len)
{
	return fwrite(bytes, 1, len, arg) == len ? 0 : -EIO;
}

static void
on_scanned(void *arg, const struct spool_found *found)
{
	struct export *export = arg;
	struct envelope envelope;
	struct err err = ERR_INIT;
	char id[SPOOL_ID_MAX];
	bool is_fine;
	json_t *row;
	FILE *file;

	spool_id_format(found->id, id);
	if (!ctl_scan_matches(export->args, found))
		return;
	if (envelope_parse(found->envelope, found->states, &envelope, &err) <
	    0) {
		complain(id, err.text);
		export->failed++;
		return;
	}
	envelope.id = found->id;
	row = queue_json_envelope(&envelope, found->states);
	file = create(export, id, "eml");
	is_fine = file != NULL && spool_scan_body(found, on_part, file) == 0;
	is_fine = file != NULL && finish(file) && is_fine &&
		  write_envelope(export, id, row);
	export->count += is_fine;
	export->failed += !is_fine;
	json_decref(row);
	envelope_done(&envelope);
}

static void
on_report(void *arg, bool is_error, const char *file, const char *text)
{
	(void)arg;
	(void)is_error;
	complain(file, text);
}

static int
export_stopped(struct export *export)
{
	struct err err = ERR_INIT;

	if (spool_scan(export->ctl->config->spool, on_scanned, on_report,
		       export, &err) == 0)
		return EXIT_DONE;
	(void)fprintf(stderr, "ostlerctl: %s\n", err.text);
	return EXIT_NO_DAEMON;
}

static int
export_all(struct export *export, json_t *args)
{
	int rc = ctl_ask(export->ctl, "queue list", json_incref(args),
			 on_listed, export);

	export->args = args;
	if (rc == -1)
		return export_stopped(export);
	for (size_t i = 0; rc == EXIT_DONE && i < export->id_count; i++) {
		bool is_fine = export_live(export, export->ids[i]);

		export->count += is_fine;
		export->failed += !is_fine;
	}
	return rc;
}

static void
print_counts(const struct ctl *ctl, const char *verb, uint64_t count,
	     uint64_t failed)
{
	if (ctl->is_json)
		(void)printf("{\"count\":%llu,\"failed\":%llu}\n",
			     (unsigned long long)count,
			     (unsigned long long)failed);
	else
		(void)printf("%s: %llu message%s, %llu failed\n", verb,
			     (unsigned long long)count, count == 1 ? "" : "s",
			     (unsigned long long)failed);
}

int
ctl_export(struct ctl *ctl)
{
	static const struct ctl_option options[] = {
		{"domain", true},
		{"state", true},
		{"category", true},
		{"sender", true},
	};
	struct export export = {.ctl = ctl, .dir_fd = -1};
	json_t *args = json_object();
	int rc = EXIT_USAGE;

	if (!ctl_options(ctl, options, sizeof(options) / sizeof(options[0]),
			 args) ||
	    ctl->argc != 2) {
		(void)fprintf(stderr,
			      "usage: ostlerctl queue export FOLDER [--domain "
			      "D] [--state S] [--category C] [--sender A]\n");
		json_decref(args);
		return rc;
	}
	if (mkdir(ctl->argv[1], 0700) == 0 || errno == EEXIST)
		export.dir_fd =
			open(ctl->argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (export.dir_fd < 0) {
		complain(ctl->argv[1], strerror(errno));
		rc = EXIT_SYSTEM;
	} else {
		rc = export_all(&export, args);
		(void)fsync(export.dir_fd); /* files were, each */
		(void)close(export.dir_fd);
	}
	if (rc == EXIT_DONE)
		print_counts(ctl, "export", export.count, export.failed);
	for (size_t i = 0; i < export.id_count; i++)
		free(export.ids[i]);
	free(export.ids);
	json_decref(args);
	return rc == EXIT_DONE && export.failed != 0 ? EXIT_NO : rc;
}

/* ---------------------------------------------------------------- import */

struct import {
	struct ctl *ctl;
	uv_loop_t loop;
	struct spool *spool;
	struct spool_put put;
	int dir_fd, status;
	bool is_loaded, has_room, has_ended, is_closed;
	uint64_t count, failed;
};

static void
on_found(void *owner, const struct spool_found *found)
{
	(void)owner;
	(void)found;
}

static void
on_loaded(void *owner)
{
	((struct import *)owner)->is_loaded = true;
}

static void
on_broken(void *owner)
{
	(void)owner; /* the puts say so */
}

static void
on_room(void *owner)
{
	((struct import *)owner)->has_room = true;
}

static void
on_end(void *owner, int status)
{
	struct import *import = owner;

	import->status = status;
	import->has_ended = true;
}

static void
on_saved(void *arg, int status)
{
	on_end(arg, status);
}

static void
on_closed(void *arg)
{
	((struct import *)arg)->is_closed = true;
}

static void
wait_for(struct import *import, const bool *what)
{
	while (!*what)
		(void)uv_run(&import->loop, UV_RUN_ONCE);
}

static const char *
put_content(struct import *import, int fd, uint64_t *out_size)
{
	static uint8_t bytes[READ_BYTES];

	*out_size = 0;
	for (;;) {
		ssize_t got = read(fd, bytes, sizeof(bytes));

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return strerror(errno);
		if (got == 0)
			return NULL;
		*out_size += (uint64_t)got;
		import->has_room = false;
		if (spool_put_data(&import->put, bytes, (size_t)got))
			wait_for(import, &import->has_room);
	}
}

/* Durable when it returns NULL; else what was wrong. */
static const char *
put_message(struct import *import, struct envelope *envelope, int fd)
{
	const char *problem;
	struct buf text;

	import->put = (struct spool_put){.owner = import,
					 .on_room = on_room,
					 .on_end = on_end};
	spool_put_begin(import->spool, &import->put);
	problem = put_content(import, fd, &envelope->size);
	if (problem != NULL) {
		spool_put_abort(&import->put);
		return problem;
	}
	buf_init(&text, SIZE_MAX / 4);
	envelope_format(envelope, &text);
	import->has_ended = false;
	spool_put_end(&import->put, buf_text(&text));
	wait_for(import, &import->has_ended);
	if (import->status == 0 && envelope->is_held) {
		buf_clear(&text);
		envelope_format_state(envelope, -1, NULL, &text);
		import->has_ended = false;
		spool_state(import->spool, import->put.id, buf_text(&text),
			    on_saved, import);
		wait_for(import, &import->has_ended);
	}
	buf_done(&text);
	return import->status < 0 ? strerror(-import->status) : NULL;
}

/* As much as jansson asks for; by itself it would read each byte alone. */
static size_t
read_part(void *to, size_t size, void *arg)
{
	ssize_t got;

	do
		got = read(*(const int *)arg, to, size);
	while (got < 0 && errno == EINTR);
	return got < 0 ? (size_t)-1 : (size_t)got;
}

static const char *
read_envelope(struct import *import, const char *name, struct envelope *out)
{
	int fd = openat(import->dir_fd, name,
			O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	const char *problem;
	struct stat st;
	json_t *row;

	if (fd < 0)
		return strerror(errno);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
	    st.st_size > ENVELOPE_MAX) {
		(void)close(fd); /* read only */
		return "it is no envelope";
	}
	row = json_load_callback(read_part, &fd, 0, NULL);
	(void)close(fd); /* read only */
	if (row == NULL)
		return "it is no JSON";
	problem = queue_json_to_envelope(row, out);
	json_decref(row);
	return problem;
}

/* name ends with ".json" */
static const char *
import_one(struct import *import, const char *name)
{
	size_t len = strlen(name) - strlen("json");
	struct envelope envelope;
	const char *problem = read_envelope(import, name, &envelope);
	char other[300];
	int fd;

	if (problem != NULL)
		return problem;
	(void)snprintf(other, sizeof(other), "%.*seml", (int)len, name);
	fd = openat(import->dir_fd, other,
		    O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	problem = fd < 0 ? "its content is missing"
			 : put_message(import, &envelope, fd);
	if (fd >= 0)
		(void)close(fd); /* read only */
	envelope_done(&envelope);
	if (problem != NULL)
		return problem;
	(void)snprintf(other, sizeof(other), "%.*simported", (int)len, name);
	if (renameat(import->dir_fd, name, import->dir_fd, other) < 0)
		return "it is imported, but cannot be marked so";
	return NULL;
}

static bool
is_envelope(const char *name)
{
	size_t len = strlen(name);

	return len > 5 && len < 250 && strcmp(name + len - 5, ".json") == 0;
}

static int
by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int
is_wanted(const struct dirent *item)
{
	return is_envelope(item->d_name);
}

static void
import_all(struct import *import)
{
	struct dirent **items = NULL;
	int count = scandirat(import->dir_fd, ".", &items, is_wanted, by_name);

	for (int i = 0; i < count; i++) {
		const char *problem = import_one(import, items[i]->d_name);

		if (problem != NULL)
			complain(items[i]->d_name, problem);
		import->count += problem == NULL;
		import->failed += problem != NULL;
		free(items[i]);
	}
	free(items);
	(void)fsync(import->dir_fd); /* an import again would double them */
}

static int
is_part(const struct dirent *item)
{
	size_t len = strlen(item->d_name);

	return is_envelope(item->d_name) ||
	       (len > 4 && strcmp(item->d_name + len - 4, ".eml") == 0);
}

/* Nothing but a file that has no other name, which might be anybody's. */
static void
give_file(int dir_fd, const char *name, const struct stat *to)
{
	int fd = openat(dir_fd, name,
			O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct stat st;

	if (fd < 0)
		return;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1)
		(void)!fchown(fd, to->st_uid, to->st_gid); /* told when read */
	(void)close(fd);				   /* read only */
}

/* Messages that root brought are to be read, and their envelopes renamed, by
 * the owner of the spool; a folder without any is not touched. */
static void
give_files(int dir_fd, const char *spool_dir)
{
	struct dirent **items = NULL;
	bool has_envelope = false;
	struct stat to, folder;
	int count;

	if (geteuid() != 0 || stat(spool_dir, &to) < 0 || to.st_uid == 0)
		return;
	count = scandirat(dir_fd, ".", &items, is_part, NULL);
	for (int i = 0; i < count; i++) {
		has_envelope |= is_wanted(items[i]);
		give_file(dir_fd, items[i]->d_name, &to);
		free(items[i]);
	}
	free(items);
	/* where everybody writes, who owns the files can rename them */
	if (has_envelope && fstat(dir_fd, &folder) == 0 &&
	    (folder.st_mode & S_IWOTH) == 0)
		(void)!fchown(dir_fd, to.st_uid, to.st_gid); /* as above */
}

static int
import_into(struct import *import, const char *dir, struct err *err)
{
	static const struct spool_callbacks callbacks = {on_found, on_loaded,
							 on_report, on_broken};
	struct spool_opts opts = {.dir = dir};
	int rc = ctl_become_owner(dir, err);

	if (rc == 0) {
		work_init();
		(void)uv_loop_init(&import->loop);
		rc = spool_open(&import->loop, &opts, &callbacks, import,
				&import->spool, err);
		if (rc == 0) {
			wait_for(import, &import->is_loaded);
			import_all(import);
			spool_close(import->spool, on_closed, import);
			wait_for(import, &import->is_closed);
		}
		while (uv_loop_close(&import->loop) != 0)
			(void)uv_run(&import->loop, UV_RUN_NOWAIT);
	}
	ctl_become_caller();
	return rc;
}

int
ctl_import(struct ctl *ctl)
{
	struct import import = {.ctl = ctl, .dir_fd = -1};
	struct err err = ERR_INIT;
	json_t *args = json_object();
	bool is_fine = ctl_options(ctl, NULL, 0, args) && ctl->argc == 2;
	int rc;

	json_decref(args);
	if (!is_fine) {
		(void)fprintf(stderr, "usage: ostlerctl queue import FOLDER\n");
		return EXIT_USAGE;
	}
	rc = ctl_config(ctl);
	if (rc != EXIT_DONE)
		return rc;
	import.dir_fd = open(ctl->argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (import.dir_fd < 0) {
		complain(ctl->argv[1], strerror(errno));
		return EXIT_SYSTEM;
	}
	give_files(import.dir_fd, ctl->config->spool);
	rc = import_into(&import, ctl->config->spool, &err);
	(void)close(import.dir_fd); /* what counts was synced */
	if (rc < 0) {
		(void)fprintf(stderr, "ostlerctl: %s%s\n", err.text,
			      rc == -EBUSY ? ": stop ostlerd first" : "");
		return rc == -EACCES || rc == -EPERM ? EXIT_PERMISSION
						     : EXIT_SYSTEM;
	}
	print_counts(ctl, "import", import.count, import.failed);
	return import.failed != 0 ? EXIT_NO : EXIT_DONE;
}
