/* SPDX-License-Identifier: ISC */
#include "server/sendmail_submit.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/mem.h"
#include "lib/str.h"

/* RFC 5321, 4.5.3.2: the longest that a server may take for anything */
#define SUBMIT_TIMEOUT_S 600
#define REPLY_LINE_MAX	 2048

struct talk {
	const struct submit_job *job;
	int fd;
	FILE *in;
	char reply[REPLY_LINE_MAX]; /* the last line, without its end */
	int code;		    /* of it; 0: the connection failed */
	bool has_dsn, has_8bit, has_utf8;
};

static int
submit_connect(const char *program, const char *path)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct timeval timeout = {.tv_sec = SUBMIT_TIMEOUT_S};
	int fd = -1;

	if (str_copy(un.sun_path, sizeof(un.sun_path), str_of(path)))
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	else
		errno = ENAMETOOLONG;
	if (fd >= 0 && connect(fd, (struct sockaddr *)&un, sizeof(un)) == 0) {
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout,
				 sizeof(timeout));
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout,
				 sizeof(timeout));
		return fd;
	}
	(void)fprintf(stderr, "%s: %s: %s; the message was not sent\n", program,
		      path, strerror(errno));
	if (fd >= 0)
		(void)close(fd);
	return -1;
}

/* ----------------------------------------------------------- the dialogue */

static bool
send_bytes(struct talk *talk, const void *bytes, size_t len)
{
	const char *at = bytes;

	while (len != 0) {
		ssize_t n = send(talk->fd, at, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		at += n;
		len -= (size_t)n;
	}
	return true;
}

/* The reply to its last line; EHLO's words are noted on the way. */
static int
read_reply(struct talk *talk)
{
	do {
		size_t len;

		if (fgets(talk->reply, sizeof(talk->reply), talk->in) == NULL) {
			talk->code = 0;
			return 0;
		}
		len = strcspn(talk->reply, "\r\n");
		talk->reply[len] = '\0';
		if (talk->job->is_verbose)
			(void)fprintf(stderr, "<<< %s\n", talk->reply);
		if (len < 3)
			break;
		talk->has_dsn |= strcmp(talk->reply + 4, "DSN") == 0;
		talk->has_8bit |= strcmp(talk->reply + 4, "8BITMIME") == 0;
		talk->has_utf8 |= strcmp(talk->reply + 4, "SMTPUTF8") == 0;
	} while (talk->reply[3] == '-');
	talk->code = (talk->reply[0] - '0') * 100 +
		     (talk->reply[1] - '0') * 10 + talk->reply[2] - '0';
	return talk->code;
}

static int say(struct talk *talk, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static int
say(struct talk *talk, const char *format, ...)
{
	struct buf line;
	va_list args;
	bool is_sent;

	buf_init(&line, 65536);
	va_start(args, format);
	(void)buf_vaddf(&line, format, args);
	va_end(args);
	if (talk->job->is_verbose)
		(void)fprintf(stderr, ">>> %s\n", buf_text(&line));
	(void)buf_adds(&line, "\r\n");
	is_sent = send_bytes(talk, buf_bytes(&line), buf_len(&line));
	buf_done(&line);
	talk->code = 0;
	return is_sent ? read_reply(talk) : 0;
}

/* What the last reply means to who called. about: "" or an address. */
static int
exit_of(const struct talk *talk, const char *about)
{
	const char *enhanced = talk->reply + 4;

	if (talk->code == 0) {
		(void)fprintf(stderr, "%s: the relay ended the connection\n",
			      talk->job->program);
		return EX_TEMPFAIL;
	}
	(void)fprintf(stderr, "%s: %s%s%s\n", talk->job->program, about,
		      about[0] != '\0' ? ": " : "", talk->reply);
	if (talk->code >= 400 && talk->code < 500)
		return EX_TEMPFAIL;
	if (talk->code < 500)
		return EX_PROTOCOL;
	if (strncmp(enhanced, "5.1.1 ", 6) == 0 ||
	    strncmp(enhanced, "5.1.3 ", 6) == 0)
		return EX_NOUSER;
	if (strncmp(enhanced, "5.1.2 ", 6) == 0)
		return EX_NOHOST;
	if (strncmp(enhanced, "5.7.", 4) == 0)
		return EX_NOPERM;
	if (strncmp(enhanced, "5.3.4 ", 6) == 0 ||
	    strncmp(enhanced, "5.6.", 4) == 0 ||
	    strncmp(enhanced, "5.4.6 ", 6) == 0)
		return EX_DATAERR;
	return EX_UNAVAILABLE;
}

static int
say_mail(struct talk *talk)
{
	const struct submit_job *job = talk->job;
	bool has_dsn = talk->has_dsn;

	return say(talk, "MAIL FROM:<%s>%s%s%s%s%s%s", job->sender,
		   job->is_8bit && talk->has_8bit ? " BODY=8BITMIME" : "",
		   job->is_utf8 && talk->has_utf8 ? " SMTPUTF8" : "",
		   has_dsn && job->ret != NULL ? " RET=" : "",
		   has_dsn && job->ret != NULL ? job->ret : "",
		   has_dsn && job->envid != NULL ? " ENVID=" : "",
		   has_dsn && job->envid != NULL ? job->envid : "");
}

/* All recipients, so that all that are wrong are named at once. */
static int
say_recipients(struct talk *talk)
{
	const struct submit_job *job = talk->job;
	bool has_notify = talk->has_dsn && job->notify != NULL;
	int exit_code = EX_OK;

	for (size_t i = 0; i < job->recipient_count; i++) {
		int code = say(talk, "RCPT TO:<%s>%s%s", job->recipients[i],
			       has_notify ? " NOTIFY=" : "",
			       has_notify ? job->notify : "");
		int worse;

		if (code / 100 == 2) {
			if (job->is_verify)
				(void)printf("%s: %s\n", job->recipients[i],
					     talk->reply);
			continue;
		}
		worse = exit_of(talk, job->recipients[i]);
		/* what will not be better later counts more */
		if (exit_code == EX_OK || exit_code == EX_TEMPFAIL)
			exit_code = worse;
		if (code == 0 || code == 421)
			return EX_TEMPFAIL;
	}
	return exit_code;
}

/* The body as it is in the file, with the dots that SMTP needs. */
static bool
send_stuffed(struct talk *talk, const char *bytes, size_t len,
	     bool *is_line_start)
{
	const char *end = bytes + len;

	while (bytes != end) {
		const char *newline =
			memchr(bytes, '\n', (size_t)(end - bytes));
		const char *next = newline != NULL ? newline + 1 : end;

		if (*is_line_start && bytes[0] == '.' &&
		    !send_bytes(talk, ".", 1))
			return false;
		if (!send_bytes(talk, bytes, (size_t)(next - bytes)))
			return false;
		*is_line_start = newline != NULL;
		bytes = next;
	}
	return true;
}

static bool
send_content(struct talk *talk)
{
	const struct submit_job *job = talk->job;
	bool is_line_start = true;
	char chunk[16384];
	size_t len;

	if (!send_stuffed(talk, (const char *)buf_bytes(job->header),
			  buf_len(job->header), &is_line_start))
		return false;
	while ((len = fread(chunk, 1, sizeof(chunk), job->body)) != 0)
		if (!send_stuffed(talk, chunk, len, &is_line_start))
			return false;
	return ferror(job->body) == 0 &&
	       send_bytes(talk, is_line_start ? ".\r\n" : "\r\n.\r\n",
			  is_line_start ? 3 : 5);
}

static int
submit_talk(struct talk *talk)
{
	const struct submit_job *job = talk->job;
	bool is_sent;
	int rc;

	if (read_reply(talk) != 220 || say(talk, "EHLO localhost") != 250 ||
	    say_mail(talk) != 250)
		return exit_of(talk, "");
	rc = say_recipients(talk);
	if (rc != EX_OK && !job->is_verify && job->recipient_count > 1)
		(void)fprintf(stderr, "%s: nothing was sent to anybody\n",
			      job->program);
	if (rc != EX_OK || job->is_verify)
		return rc;
	if (say(talk, "DATA") != 354)
		return exit_of(talk, "");
	is_sent = send_content(talk);
	if (ferror(job->body) != 0) {
		(void)fprintf(stderr, "%s: the message cannot be read again\n",
			      job->program);
		return EX_IOERR;
	}
	/* also where it hung up: it may have said why */
	if (read_reply(talk) != 250 || !is_sent)
		return exit_of(talk, "");
	(void)say(talk, "QUIT");
	return EX_OK;
}

int
submit_run(const struct submit_job *job)
{
	struct talk talk = {.job = job};
	int rc;

	talk.fd = submit_connect(job->program, job->socket);
	if (talk.fd < 0)
		return EX_TEMPFAIL;
	talk.in = fdopen(talk.fd, "r");
	if (talk.in == NULL) {
		(void)close(talk.fd);
		return EX_OSERR;
	}
	rc = submit_talk(&talk);
	(void)fclose(talk.in);
	return rc;
}

/* ----------------------------------------------------------- pass through */

/* One read's worth; false at the end. */
static bool
pass(int from, int to)
{
	char chunk[16384];
	ssize_t len = read(from, chunk, sizeof(chunk));
	char *at = chunk;

	if (len < 0 && errno == EINTR)
		return true;
	if (len <= 0)
		return false;
	while (len != 0) {
		ssize_t n = write(to, at, (size_t)len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		at += n;
		len -= n;
	}
	return true;
}

int
submit_pass_through(const char *program, const char *path)
{
	int fd = submit_connect(program, path);
	struct pollfd polled[2] = {{STDIN_FILENO, POLLIN, 0}, {fd, POLLIN, 0}};

	if (fd < 0)
		return EX_TEMPFAIL;
	for (;;) {
		if (poll(polled, 2, -1) < 0 && errno != EINTR)
			break;
		if (polled[1].revents != 0 && !pass(fd, STDOUT_FILENO))
			break;
		if (polled[0].revents != 0 && !pass(STDIN_FILENO, fd)) {
			/* the answers are wanted still */
			(void)shutdown(fd, SHUT_WR);
			polled[0].fd = -1;
		}
	}
	(void)close(fd);
	return EX_OK;
}
