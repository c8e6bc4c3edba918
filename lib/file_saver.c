/* SPDX-License-Identifier: ISC */
#include "lib/file_saver.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/mem.h"
#include "lib/work.h"

struct save_job {
	struct work_job job;
	struct file_saver *saver; /* the loop's alone */
	char *path;
	struct buf text;
	uint64_t max_bytes; /* 0: the file is replaced */
	int status;
	/* makes the text first; NULL: it is there */
	void (*fill)(void *arg, struct buf *out);
	void (*free_arg)(void *arg);
	void *fill_arg;
};

struct file_saver {
	uv_loop_t *loop;
	char *path;
	void (*on_saved)(void *arg, int status);
	void *arg;
	struct save_job *running;
};

static int
write_all(int fd, const uint8_t *bytes, size_t len)
{
	while (len != 0) {
		ssize_t n = write(fd, bytes, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		bytes += n;
		len -= (size_t)n;
	}
	return 0;
}

/* The folder that the name is in, so that a rename outlives a crash. */
static int
sync_folder(const char *path)
{
	char *folder = mem_strdup(path);
	char *slash = strrchr(folder, '/');
	int fd, rc = 0;

	if (slash != NULL)
		*slash = '\0';
	fd = open(slash != NULL ? folder : ".",
		  O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		rc = -errno;
	if (fd >= 0)
		(void)close(fd);
	free(folder);
	return rc;
}

static int
replace(const char *path, const struct buf *text)
{
	char *next = mem_printf("%s.new", path);
	int fd, rc;

	fd = open(next, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0) {
		rc = -errno;
		free(next);
		return rc;
	}
	rc = write_all(fd, buf_bytes(text), buf_len(text));
	if (rc == 0 && fsync(fd) < 0)
		rc = -errno;
	if (close(fd) < 0 && rc == 0)
		rc = -errno;
	if (rc == 0 && rename(next, path) < 0)
		rc = -errno;
	if (rc == 0)
		rc = sync_folder(path);
	free(next);
	return rc;
}

static int
append(const char *path, const struct buf *text, uint64_t max_bytes)
{
	struct stat st;
	int fd, rc;

	if (stat(path, &st) == 0 &&
	    (uint64_t)st.st_size + buf_len(text) > max_bytes) {
		char *older = mem_printf("%s.1", path);

		rc = rename(path, older) < 0 ? -errno : 0;
		free(older);
		if (rc < 0)
			return rc;
	}
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	rc = write_all(fd, buf_bytes(text), buf_len(text));
	if (close(fd) < 0 && rc == 0)
		rc = -errno;
	return rc;
}

static void
save_run(struct work_job *job)
{
	struct save_job *save = container_of(job, struct save_job, job);

	if (save->fill != NULL)
		save->fill(save->fill_arg, &save->text);
	save->status = save->max_bytes == 0 ? replace(save->path, &save->text)
					    : append(save->path, &save->text,
						     save->max_bytes);
}

static void
save_done(struct work_job *job)
{
	struct save_job *save = container_of(job, struct save_job, job);
	struct file_saver *saver = save->saver;

	saver->running = NULL;
	if (saver->on_saved != NULL)
		saver->on_saved(saver->arg, save->status);
}

static void
save_free(struct work_job *job)
{
	struct save_job *save = container_of(job, struct save_job, job);

	if (save->free_arg != NULL)
		save->free_arg(save->fill_arg);
	buf_done(&save->text);
	free(save->path);
	free(save);
}

static struct save_job *
save_new(struct file_saver *saver)
{
	struct save_job *save = mem_zalloc(sizeof(*save));

	assert(saver->running == NULL);
	save->saver = saver;
	save->path = mem_strdup(saver->path);
	save->job.run = save_run;
	save->job.done = save_done;
	save->job.free_job = save_free;
	return save;
}

static void
save_start(struct file_saver *saver, struct save_job *save)
{
	saver->running = save;
	work_start(saver->loop, &save->job, NULL);
}

static void
save_text(struct file_saver *saver, struct buf *text, uint64_t max_bytes)
{
	struct save_job *save = save_new(saver);

	save->text = *text;
	buf_init(text, text->max_bytes);
	save->max_bytes = max_bytes;
	save_start(saver, save);
}

struct file_saver *
file_saver_new(uv_loop_t *loop, const char *path,
	       void (*on_saved)(void *arg, int status), void *arg)
{
	struct file_saver *saver = mem_zalloc(sizeof(*saver));

	saver->loop = loop;
	saver->path = mem_strdup(path);
	saver->on_saved = on_saved;
	saver->arg = arg;
	return saver;
}

void
file_saver_free(struct file_saver *saver)
{
	if (saver == NULL)
		return;
	if (saver->running != NULL)
		work_detach(&saver->running->job);
	free(saver->path);
	free(saver);
}

bool
file_saver_is_busy(const struct file_saver *saver)
{
	return saver->running != NULL;
}

void
file_saver_replace(struct file_saver *saver, struct buf *text)
{
	save_text(saver, text, 0);
}

void
file_saver_write(struct file_saver *saver, size_t max_bytes,
		 void (*fill)(void *arg, struct buf *out),
		 void (*free_arg)(void *arg), void *arg)
{
	struct save_job *save = save_new(saver);

	buf_init(&save->text, max_bytes);
	save->fill = fill;
	save->free_arg = free_arg;
	save->fill_arg = arg;
	save_start(saver, save);
}

void
file_saver_append(struct file_saver *saver, struct buf *text,
		  uint64_t max_bytes)
{
	assert(max_bytes != 0);
	save_text(saver, text, max_bytes);
}

int
file_load(const char *path, struct buf *out)
{
	uint8_t chunk[16384];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int rc = 0;

	if (fd < 0)
		return -errno;
	while (rc == 0) {
		ssize_t n = read(fd, chunk, sizeof(chunk));

		if (n == 0)
			break;
		if (n < 0)
			rc = errno == EINTR ? 0 : -errno;
		else if (buf_add(out, chunk, (size_t)n) < 0)
			rc = -EFBIG;
	}
	(void)close(fd);
	return rc;
}
