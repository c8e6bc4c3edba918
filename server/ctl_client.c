/* SPDX-License-Identifier: ISC */
/*
 * server/ctl_client.c - ostlerctl's side of the control socket
 */
#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/mem.h"
#include "lib/str.h"
#include "server/config.h"
#include "server/ctl.h"
#include "server/daemon.h"

/* The daemon is trusted: what one message may take at worst, with all its
 * recipients and attempts. */
#define CTL_ROW_MAX ((size_t)4 << 30)

static int
read_config(struct ctl *ctl, struct buf *errors)
{
	struct buf warnings;
	int rc;

	if (ctl->config != NULL)
		return EXIT_DONE;
	buf_init(&warnings, 1u << 20);
	rc = config_load(ctl->config_file, &ctl->config, errors, &warnings);
	buf_done(&warnings);
	return rc < 0 ? EXIT_CONFIG : EXIT_DONE;
}

int
ctl_config(struct ctl *ctl)
{
	struct buf errors;
	int rc;

	buf_init(&errors, 1u << 20);
	rc = read_config(ctl, &errors);
	if (rc != EXIT_DONE)
		(void)fputs(buf_text(&errors), stderr);
	buf_done(&errors);
	return rc;
}

void
ctl_print_lines(const char *text, int indent)
{
	struct str rest = str_of(text), line;
	bool is_first = true;

	while (str_cut(&rest, '\n', &line)) {
		(void)printf("%*s%.*s\n", is_first ? 0 : indent, "",
			     STR_ARG(line));
		is_first = false;
	}
	if (is_first)
		(void)printf("\n");
}

void
ctl_print_json(const json_t *row)
{
	char *text = json_dumps(row, JSON_COMPACT);

	if (text != NULL)
		(void)puts(text);
	free(text);
}

/* A connected socket, -1: nobody answers, -2: not allowed. */
static int
ctl_connect(const char *path)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd;

	if (!str_copy(un.sun_path, sizeof(un.sun_path), str_of(path)))
		return -1;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	if (connect(fd, (struct sockaddr *)&un, sizeof(un)) < 0) {
		bool is_denied = errno == EACCES || errno == EPERM;

		(void)close(fd);
		return is_denied ? -2 : -1;
	}
	return fd;
}

static bool
ctl_send(int fd, const char *command, json_t *args)
{
	json_t *root = json_pack("{s:s,s:o}", "command", command, "args", args);
	char *text = json_dumps(root, JSON_COMPACT);
	size_t len = strlen(text), at = 0;
	bool is_sent = true;

	text[len++] = '\n'; /* in the place of the NUL */
	while (at < len && is_sent) {
		ssize_t n = send(fd, text + at, len - at, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		is_sent = n > 0;
		at += n > 0 ? (size_t)n : 0;
	}
	free(text);
	json_decref(root);
	return is_sent;
}

/* The last line of an answer: its exit code, after its error is printed. */
static int
ctl_end(const json_t *row)
{
	const char *error = json_string_value(json_object_get(row, "error"));

	if (error != NULL) {
		size_t len = strlen(error);

		(void)fflush(stdout);
		(void)fprintf(stderr, "ostlerctl: %s%s", error,
			      len != 0 && error[len - 1] == '\n' ? "" : "\n");
	}
	return (int)json_integer_value(json_object_get(row, "exit"));
}

/* Reads rows up to the end; -1 when the connection breaks before it. */
static int
ctl_receive(int fd, ctl_row_fn *on_row, void *arg)
{
	struct buf in;
	size_t seen = 0; /* of in, without a line's end */
	int exit_code = -1;

	buf_init(&in, CTL_ROW_MAX);
	while (exit_code < 0) {
		uint8_t *to = buf_reserve(&in, 65536);
		const uint8_t *newline;
		ssize_t n = to != NULL ? read(fd, to, 65536) : 0;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		buf_grow(&in, (size_t)n);
		for (;;) {
			size_t len;
			json_t *row;

			newline = buf_len(&in) != seen
					  ? memchr(buf_bytes(&in) + seen, '\n',
						   buf_len(&in) - seen)
					  : NULL;
			seen = newline != NULL ? 0 : buf_len(&in);
			if (newline == NULL)
				break;
			len = (size_t)(newline - buf_bytes(&in));
			row = json_loadb((const char *)buf_bytes(&in), len,
					 JSON_ALLOW_NUL, NULL);
			if (json_is_true(json_object_get(row, "end")))
				exit_code = ctl_end(row);
			else if (row != NULL)
				on_row(arg, row);
			json_decref(row);
			buf_consume(&in, len + 1);
		}
	}
	buf_done(&in);
	return exit_code;
}

/*
 * Where a daemon listens whose file has errors by now: it runs on with the
 * old configuration, and its operator wants to see that. New memory.
 */
static char *
ctl_guess_socket(const char *config_file)
{
	FILE *file = fopen(config_file, "r");
	char *found = NULL, line[1024];

	while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
		struct str rest = str_trim(str_from(line, strcspn(line, "\n")));
		struct str part;

		if (!str_starts_nocase(rest, "control_socket") ||
		    !str_cut(&rest, '"', &part) || !str_cut(&rest, '"', &part))
			continue;
		free(found);
		found = mem_dup(part.at, part.len);
	}
	if (file != NULL)
		(void)fclose(file);
	return found != NULL ? found
			     : mem_strdup(OSTLER_RUNDIR "/control.sock");
}

int
ctl_ask(struct ctl *ctl, const char *command, json_t *args, ctl_row_fn *on_row,
	void *arg)
{
	char *guess = NULL;
	struct buf errors;
	int fd, rc, got;

	buf_init(&errors, 1u << 20);
	rc = read_config(ctl, &errors);
	if (rc != EXIT_DONE)
		guess = ctl_guess_socket(ctl->config_file);
	fd = ctl_connect(rc == EXIT_DONE ? ctl->config->control_socket : guess);
	/* who reloads hears them from the daemon */
	if (rc != EXIT_DONE && (fd < 0 || strcmp(command, "reload") != 0))
		(void)fputs(buf_text(&errors), stderr);
	buf_done(&errors);
	if (fd == -2)
		(void)fprintf(stderr,
			      "ostlerctl: '%s' may be used by root and the "
			      "relay's user only\n",
			      rc == EXIT_DONE ? ctl->config->control_socket
					      : guess);
	free(guess);
	if (fd < 0) {
		json_decref(args);
		if (fd == -2)
			return EXIT_PERMISSION;
		return rc == EXIT_DONE ? -1 : rc;
	}
	got = ctl_send(fd, command, args) ? ctl_receive(fd, on_row, arg) : -1;
	(void)close(fd);
	/* -1 says that there is a configuration, and no daemon */
	return got == -1 && rc != EXIT_DONE ? rc : got;
}

static void
on_json_row(void *arg, const json_t *row)
{
	(void)arg;
	ctl_print_json(row);
}

int
ctl_show_as(struct ctl *ctl, const char *command, json_t *args,
	    ctl_row_fn *print, void *arg)
{
	int rc = ctl_ask(ctl, command, args, print, arg);

	if (rc >= 0)
		return rc;
	(void)fprintf(stderr,
		      "ostlerctl: no daemon answers at '%s': is it running? "
		      "Its log says why not (systemctl status ostler)\n",
		      ctl->config->control_socket);
	return EXIT_NO_DAEMON;
}

int
ctl_show(struct ctl *ctl, const char *command, json_t *args, ctl_row_fn *print,
	 void *arg)
{
	return ctl_show_as(ctl, command, args,
			   ctl->is_json ? on_json_row : print, arg);
}

bool
ctl_options(struct ctl *ctl, const struct ctl_option *options, size_t count,
	    json_t *args)
{
	int kept = 1;

	for (int i = 1; i < ctl->argc; i++) {
		const char *word = ctl->argv[i];
		const struct ctl_option *found = NULL;

		if (strncmp(word, "--", 2) != 0) {
			ctl->argv[kept++] = ctl->argv[i];
			continue;
		}
		if (strcmp(word, "--json") == 0) {
			ctl->is_json = true;
			continue;
		}
		for (size_t j = 0; j < count; j++)
			if (strcmp(options[j].name, word + 2) == 0)
				found = &options[j];
		if (found == NULL || (found->has_value && i + 1 == ctl->argc)) {
			(void)fprintf(stderr, "ostlerctl: %s: %s\n", word,
				      found == NULL ? "no such option"
						    : "needs a value");
			return false;
		}
		if (found->has_value)
			json_object_set_new(args, found->name,
					    json_string(ctl->argv[++i]));
		else
			json_object_set_new(args, found->name, json_true());
	}
	ctl->argc = kept;
	return true;
}

/* What a repair makes is the daemon's: root becomes the spool's owner. */
int
ctl_become_owner(const char *dir, struct err *err)
{
	struct stat st;

	if (geteuid() != 0 || stat(dir, &st) < 0 || st.st_uid == 0)
		return 0; /* a spool that is not there is told later */
	if (setgroups(1, &st.st_gid) < 0 || setegid(st.st_gid) < 0 ||
	    seteuid(st.st_uid) < 0)
		return err_set(err, -errno, "user %lu",
			       (unsigned long)st.st_uid);
	return 0;
}

/* What is left of the program is the caller's again. */
void
ctl_become_caller(void)
{
	if (getuid() == 0 && geteuid() != 0)
		(void)!seteuid(0); /* nothing is written any more */
}
