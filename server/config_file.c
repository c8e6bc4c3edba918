/* SPDX-License-Identifier: ISC */
#include "server/config_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/mem.h"

static char *
read_open_file(int fd, const char *path, size_t max, size_t *out_len,
	       struct err *err)
{
	size_t room = 65536, len = 0;
	char *text = mem_alloc(room + 1);
	struct stat st = {0};

	if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
		(void)err_set(err, -EISDIR, "cannot read \"%s\"", path);
		free(text);
		return NULL;
	}
	if (S_ISFIFO(st.st_mode)) {
		/* nobody writes now: it would be taken for an empty file */
		(void)err_text(err, -EINVAL,
			       "cannot read \"%s\": it is a pipe, no file",
			       path);
		free(text);
		return NULL;
	}
	for (;;) {
		ssize_t n = read(fd, text + len, room - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 || len + (size_t)n > max) {
			(void)err_set(err, n < 0 ? -errno : -EFBIG,
				      "cannot read \"%s\"", path);
			free(text);
			return NULL;
		}
		if (n == 0)
			break;
		len += (size_t)n;
		if (len == room) {
			room *= 2;
			text = mem_resize(text, room + 1, 1);
		}
	}
	text[len] = '\0';
	*out_len = len;
	return text;
}

char *
config_file_read(const char *path, size_t max, size_t *out_len, struct err *err)
{
	/* a FIFO in the place of a file must not stop the program */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char *text;

	if (fd < 0) {
		(void)err_set(err, -errno, "cannot read \"%s\"", path);
		return NULL;
	}
	text = read_open_file(fd, path, max, out_len, err);
	(void)close(fd); /* nothing was written */
	return text;
}
