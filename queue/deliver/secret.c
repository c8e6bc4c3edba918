/* SPDX-License-Identifier: ISC */
#include "queue/deliver/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/mem.h"
#include "lib/work.h"

struct secret_read {
	struct work_job job;
	secret_fn *on_secret;
	void *owner;
	char *path;
	char secret[SECRET_MAX];
	struct err err;
	int rc;
};

/* Blocking, for a worker; to: SECRET_MAX bytes. 0 or a negative errno. */
static int
secret_load(const char *path, char *to, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	size_t len = 0;
	ssize_t got;
	char *end;

	if (fd < 0)
		return err_set(err, -errno, "password file '%s'", path);
	do {
		got = read(fd, to + len, SECRET_MAX - 1 - len);
		if (got > 0)
			len += (size_t)got;
	} while (got > 0 || (got < 0 && errno == EINTR));
	if (got < 0) {
		int rc = err_set(err, -errno, "password file '%s'", path);

		(void)close(fd); /* only read */
		return rc;
	}
	(void)close(fd); /* only read */
	to[len] = '\0';
	end = to + strcspn(to, "\r\n");
	*end = '\0';
	if (end == to)
		return err_text(err, -EINVAL,
				"password file '%s' has an empty first line",
				path);
	if (end - to == SECRET_MAX - 1)
		return err_text(err, -EINVAL,
				"password file '%s' has a line of more than %d "
				"octets",
				path, SECRET_MAX - 2);
	return 0;
}

static void
secret_run(struct work_job *job)
{
	struct secret_read *read = container_of(job, struct secret_read, job);

	read->rc = secret_load(read->path, read->secret, &read->err);
}

static void
secret_done(struct work_job *job)
{
	struct secret_read *read = container_of(job, struct secret_read, job);

	read->on_secret(read->owner, read->rc == 0 ? read->secret : NULL,
			&read->err);
}

static void
secret_free(struct work_job *job)
{
	struct secret_read *read = container_of(job, struct secret_read, job);

	mem_wipe(read->secret, sizeof(read->secret));
	free(read->path);
	free(read);
}

struct secret_read *
secret_read_file(uv_loop_t *loop, const char *path, secret_fn *on_secret,
		 void *owner)
{
	struct secret_read *read = mem_zalloc(sizeof(*read));

	read->on_secret = on_secret;
	read->owner = owner;
	read->path = mem_strdup(path);
	read->job.run = secret_run;
	read->job.done = secret_done;
	read->job.free_job = secret_free;
	work_start(loop, &read->job, NULL);
	return read;
}

void
secret_cancel(struct secret_read *read)
{
	work_detach(&read->job);
}
