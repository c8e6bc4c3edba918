/* SPDX-License-Identifier: ISC */
#include "queue/deliver/maildir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/addr.h"
#include "lib/buf.h"
#include "lib/mem.h"
#include "lib/str.h"

#define MAILDIR_OUT  (64 * 1024)
#define MAILDIR_DIR  (MAILDIR_PATH_MAX + 8)
#define MAILDIR_NAME 512

struct maildir_file {
	int fd;
	char *tmp, *new_path, *new_dir;
	struct buf out;	  /* gathered up to MAILDIR_OUT */
	bool is_after_cr; /* a CR that may belong to a CR LF */
};

/* ------------------------------------------------------------- the path */

static const char *
local_check(const char *local)
{
	size_t len = strlen(local);

	if (len == 0)
		return "the local part is empty";
	if (len > ADDR_LOCAL_MAX)
		return "the local part has more than 64 octets";
	if (local[0] == '.')
		return "the local part begins with a dot";
	for (size_t i = 0; i < len; i++) {
		if (local[i] == '/')
			return "the local part has a slash";
		if ((unsigned char)local[i] < ' ' || local[i] == 0x7f)
			return "the local part has a control character";
	}
	return NULL;
}

const char *
maildir_path(const char *pattern, const char *delimiter, const char *address,
	     char *to)
{
	char local[ADDR_LOCAL_MAX * 4 + 8], domain[ADDR_DOMAIN_MAX + 1];
	struct addr addr;
	const char *wrong;
	size_t used = 0;
	char *cut;

	wrong = addr_parse(str_of(address), ADDR_ALLOW_UTF8, &addr);
	if (wrong != NULL)
		return wrong;
	if (addr.local_len > ADDR_LOCAL_MAX)
		return "the local part has more than 64 octets";
	addr_local_plain(&addr, local, sizeof(local));
	wrong = local_check(local);
	if (wrong != NULL)
		return wrong;
	str_lower_all(local);
	/* not at the front: "+x" is nobody's extension */
	cut = delimiter[0] != '\0' ? strpbrk(local + 1, delimiter) : NULL;
	if (cut != NULL)
		*cut = '\0';
	(void)str_copy(domain, sizeof(domain), addr_domain(&addr));

	for (const char *at = pattern; *at != '\0'; at++) {
		char one[2] = {*at, '\0'};
		const char *part = one;
		size_t len;

		if (at[0] == '%' && at[1] == 'u')
			part = local;
		else if (at[0] == '%' && at[1] == 'd')
			part = domain;
		if (part != one || (at[0] == '%' && at[1] == '%'))
			at++;
		len = strlen(part);
		if (used + len >= MAILDIR_PATH_MAX)
			return "the path gets too long";
		memcpy(to + used, part, len);
		used += len;
	}
	to[used] = '\0';
	return NULL;
}

/* ------------------------------------------------------------- the files */

static int
sync_dir(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = 0;

	if (fd < 0)
		return -errno;
	if (fsync(fd) < 0 && errno != EINVAL)
		rc = -errno; /* EINVAL: a file system without it */
	(void)close(fd);     /* nothing was written through it */
	return rc;
}

/* Makes path and its parents; the parent is synced, so that it stays. */
static int
make_dirs(char *path)
{
	char *slash;
	int rc;

	if (mkdir(path, 0700) == 0 || errno == EEXIST)
		return 0;
	if (errno != ENOENT)
		return -errno;
	slash = strrchr(path, '/');
	if (slash == NULL || slash == path)
		return -ENOENT;
	*slash = '\0';
	rc = make_dirs(path);
	if (rc == 0)
		rc = sync_dir(path);
	*slash = '/';
	if (rc == 0 && mkdir(path, 0700) < 0 && errno != EEXIST)
		rc = -errno;
	return rc;
}

static int
make_maildir(const char *dir, struct err *err)
{
	static const char *const parts[] = {"cur", "new", "tmp"};
	char path[MAILDIR_DIR];

	for (size_t i = 0; i < 3; i++) {
		int rc;

		(void)snprintf(path, sizeof(path), "%s/%s", dir, parts[i]);
		rc = make_dirs(path);
		if (rc < 0)
			return err_set(err, rc, "Maildir '%s'", path);
	}
	return sync_dir(dir) < 0 ? err_set(err, -EIO, "Maildir '%s'", dir) : 0;
}

/*
 * Seconds, then what makes it unique: microseconds, process, how many this
 * process made; then the host, for Maildirs that several hosts write to.
 */
static void
unique_name(const char *hostname, char *to, size_t size)
{
	static atomic_ullong made;
	struct timespec now;
	char host[256];
	size_t used = 0;

	for (const char *c = hostname; *c != '\0' && used < 250; c++)
		host[used++] = *c == '/' || *c == ':' || *c <= ' ' ? '_' : *c;
	host[used] = '\0';
	(void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail */
	(void)snprintf(to, size, "%lld.M%06ldP%ldQ%llu.%s",
		       (long long)now.tv_sec, now.tv_nsec / 1000,
		       (long)getpid(), atomic_fetch_add(&made, 1) + 1, host);
}

int
maildir_begin(const char *dir, const char *hostname, const char *sender,
	      const char *recipient, struct maildir_file **out, struct err *err)
{
	struct maildir_file *file;
	char name[MAILDIR_NAME];
	int rc = make_maildir(dir, err);

	if (rc < 0)
		return rc;
	file = mem_zalloc(sizeof(*file));
	buf_init(&file->out, MAILDIR_OUT + 2048);
	unique_name(hostname, name, sizeof(name));
	file->tmp = mem_printf("%s/tmp/%s", dir, name);
	file->new_dir = mem_printf("%s/new", dir);
	file->new_path = mem_printf("%s/new/%s", dir, name);
	file->fd =
		open(file->tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (file->fd < 0) {
		rc = err_set(err, -errno, "'%s'", file->tmp);
		maildir_abort(file);
		return rc;
	}
	(void)buf_addf(&file->out, "Return-Path: <%s>\nDelivered-To: %s\n",
		       sender, recipient);
	*out = file;
	return 0;
}

static int
flush(struct maildir_file *file, struct err *err)
{
	while (buf_len(&file->out) != 0) {
		ssize_t wrote = write(file->fd, buf_bytes(&file->out),
				      buf_len(&file->out));

		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote < 0)
			return err_set(err, -errno, "'%s'", file->tmp);
		buf_consume(&file->out, (size_t)wrote);
	}
	return 0;
}

static int
add(struct maildir_file *file, const uint8_t *bytes, size_t len,
    struct err *err)
{
	while (len != 0) {
		size_t room = buf_room(&file->out);
		size_t part = len < room ? len : room;
		int rc;

		(void)buf_add(&file->out, bytes, part); /* there is room */
		bytes += part;
		len -= part;
		if (buf_room(&file->out) != 0)
			continue;
		rc = flush(file, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

int
maildir_write(struct maildir_file *file, const uint8_t *bytes, size_t len,
	      struct err *err)
{
	int rc = 0;

	while (len != 0 && rc == 0) {
		const uint8_t *cr;
		size_t part;

		/* a CR is kept unless an LF follows, maybe in the next call */
		if (file->is_after_cr) {
			file->is_after_cr = false;
			if (bytes[0] != '\n')
				rc = add(file, (const uint8_t *)"\r", 1, err);
			if (rc < 0)
				break;
		}
		cr = memchr(bytes, '\r', len);
		part = cr != NULL ? (size_t)(cr - bytes) : len;
		rc = add(file, bytes, part, err);
		file->is_after_cr = cr != NULL;
		part += cr != NULL;
		bytes += part;
		len -= part;
	}
	return rc;
}

/* Under its final name. A link never replaces a file that is there. */
static int
publish(struct maildir_file *file, struct err *err)
{
	int rc;

	if (link(file->tmp, file->new_path) < 0) {
		/* file systems without hard links */
		if (errno != EPERM && errno != EOPNOTSUPP && errno != ENOSYS &&
		    errno != EMLINK)
			return err_set(err, -errno, "'%s'", file->new_path);
		if (rename(file->tmp, file->new_path) < 0)
			return err_set(err, -errno, "'%s'", file->new_path);
	} else if (unlink(file->tmp) < 0) {
		/* one more name in tmp/ is no harm; readers clean it up */
		errno = 0;
	}
	rc = sync_dir(file->new_dir);
	return rc < 0 ? err_set(err, rc, "'%s'", file->new_dir) : 0;
}

static void
file_free(struct maildir_file *file)
{
	free(file->tmp);
	free(file->new_path);
	free(file->new_dir);
	buf_done(&file->out);
	free(file);
}

int
maildir_end(struct maildir_file *file, struct err *err)
{
	int rc = 0;

	if (file->is_after_cr)
		rc = add(file, (const uint8_t *)"\r", 1, err);
	if (rc == 0)
		rc = flush(file, err);
	if (rc == 0 && fsync(file->fd) < 0)
		rc = err_set(err, -errno, "'%s'", file->tmp);
	if (rc < 0) {
		maildir_abort(file);
		return rc;
	}
	rc = close(file->fd) < 0 ? -errno : 0;
	file->fd = -1;
	/* NFS says what went wrong only here */
	if (rc < 0) {
		rc = err_set(err, rc, "'%s'", file->tmp);
		maildir_abort(file);
		return rc;
	}
	rc = publish(file, err);
	if (rc < 0)
		(void)unlink(file->tmp); /* may be gone already */
	file_free(file);
	return rc;
}

void
maildir_abort(struct maildir_file *file)
{
	if (file == NULL)
		return;
	if (file->fd >= 0)
		(void)close(file->fd); /* it is thrown away */
	(void)unlink(file->tmp);       /* may not be there */
	file_free(file);
}
