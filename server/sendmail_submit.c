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

/* More recipients than the relay takes for one message go in as many
 * transactions as it takes. */
#define PARTS_MAX 200

/* A part that failed for now while others were taken: tried so often, with
 * waits that double up to a minute, which is about five of them. */
#define RETRIES		 10
#define RETRY_WAIT_S	 1
#define RETRY_WAIT_MAX_S 60

/* One transaction, on a connection of its own. */
struct talk {
	const struct submit_job *job;
	int fd; /* -1: none */
	FILE *in;
	char reply[REPLY_LINE_MAX]; /* the last line, without its end */
	int code;		    /* of it; 0: the connection failed */
	bool has_dsn, has_8bit, has_utf8;
	size_t most;	     /* recipients that it takes; 0: not told */
	size_t first, count; /* of job->recipients */
	bool is_line_start;  /* the content ended with a line */
	bool is_taken;
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

/* RFC 9422: "LIMITS RCPTMAX=1000 ..." */
static void
note_limits(struct talk *talk, const char *word)
{
	static const char name[] = "RCPTMAX=";
	struct str rest = str_of(word), limit;
	uint64_t most;

	if (!str_starts_nocase(rest, "LIMITS "))
		return;
	while (str_cut(&rest, ' ', &limit)) {
		size_t len = sizeof(name) - 1;

		if (str_starts_nocase(limit, name) &&
		    str_u64(str_from(limit.at + len, limit.len - len), SIZE_MAX,
			    &most))
			talk->most = (size_t)most;
	}
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
		if (len < 4)
			break;
		talk->has_dsn |= strcmp(talk->reply + 4, "DSN") == 0;
		talk->has_8bit |= strcmp(talk->reply + 4, "8BITMIME") == 0;
		talk->has_utf8 |= strcmp(talk->reply + 4, "SMTPUTF8") == 0;
		note_limits(talk, talk->reply + 4);
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

/* RFC 5321, 4.5.3.1.10: the others go in another transaction. */
static bool
is_full(const struct talk *talk, size_t accepted)
{
	return accepted != 0 && talk->code == 452 &&
	       strncmp(talk->reply + 4, "4.5.3 ", 6) == 0;
}

/* What will not be better later counts more. */
static int
worse_of(int exit_code, int another)
{
	return exit_code == EX_OK || exit_code == EX_TEMPFAIL ? another
							      : exit_code;
}

/*
 * Recipients from talk->first on, at most `most`, and as many as are taken for
 * one message; all of them, so that all that are wrong are named at once.
 */
static int
say_recipients(struct talk *talk, size_t most)
{
	const struct submit_job *job = talk->job;
	bool has_notify = talk->has_dsn && job->notify != NULL;
	int exit_code = EX_OK;
	size_t accepted = 0;

	for (talk->count = 0; talk->count < most; talk->count++) {
		const char *to = job->recipients[talk->first + talk->count];
		int code;

		if (talk->most != 0 && accepted == talk->most)
			break;
		code = say(talk, "RCPT TO:<%s>%s%s", to,
			   has_notify ? " NOTIFY=" : "",
			   has_notify ? job->notify : "");
		if (code / 100 == 2) {
			accepted++;
			if (job->is_verify)
				(void)printf("%s: %s\n", to, talk->reply);
			continue;
		}
		if (is_full(talk, accepted))
			break;
		exit_code = worse_of(exit_code, exit_of(talk, to));
		if (code == 0 || code == 421)
			return exit_code;
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
	char chunk[16384];
	size_t len;

	talk->is_line_start = true;
	if (!send_stuffed(talk, (const char *)buf_bytes(job->header),
			  buf_len(job->header), &talk->is_line_start))
		return false;
	rewind(job->body);
	while ((len = fread(chunk, 1, sizeof(chunk), job->body)) != 0)
		if (!send_stuffed(talk, chunk, len, &talk->is_line_start))
			return false;
	return ferror(job->body) == 0;
}

static bool
send_end(struct talk *talk)
{
	return send_bytes(talk, talk->is_line_start ? ".\r\n" : "\r\n.\r\n",
			  talk->is_line_start ? 3 : 5);
}

/* ---------------------------------------------------------- transactions */

static void
talk_close(struct talk *talk)
{
	if (talk->in != NULL)
		(void)fclose(talk->in);
	else if (talk->fd >= 0)
		(void)close(talk->fd);
	talk->in = NULL;
	talk->fd = -1;
}

/* As far as the recipients, at most so many. */
static int
talk_begin(struct talk *talk, size_t most)
{
	talk->fd = submit_connect(talk->job->program, talk->job->socket);
	if (talk->fd < 0)
		return EX_TEMPFAIL;
	talk->in = fdopen(talk->fd, "r");
	if (talk->in == NULL)
		return EX_OSERR;
	if (read_reply(talk) != 220 || say(talk, "EHLO localhost") != 250 ||
	    say_mail(talk) != 250)
		return exit_of(talk, "");
	return say_recipients(talk, most);
}

/* The message but for its end, which is what makes the relay take it. */
static int
talk_content(struct talk *talk)
{
	bool is_sent;

	if (say(talk, "DATA") != 354)
		return exit_of(talk, "");
	is_sent = send_content(talk);
	if (ferror(talk->job->body) != 0) {
		(void)fprintf(stderr, "%s: the message cannot be read again\n",
			      talk->job->program);
		return EX_IOERR;
	}
	if (is_sent)
		return EX_OK;
	/* it hung up: it may have said why */
	(void)read_reply(talk);
	return exit_of(talk, "");
}

static void
talk_end(struct talk *talk)
{
	(void)send_end(talk); /* whether it came tells the reply */
	talk->is_taken = read_reply(talk) == 250;
}

static int
begin_all(const struct submit_job *job, struct talk *talks, size_t *out_count)
{
	int exit_code = EX_OK;
	size_t at = 0;

	for (*out_count = 0; at < job->recipient_count; (*out_count)++) {
		struct talk *talk = &talks[*out_count];

		if (*out_count == PARTS_MAX) {
			(void)fprintf(stderr,
				      "%s: too many recipients: the relay "
				      "takes %zu for one message\n",
				      job->program, talks[0].count);
			return EX_UNAVAILABLE;
		}
		talk->job = job;
		talk->fd = -1;
		talk->first = at;
		exit_code =
			worse_of(exit_code,
				 talk_begin(talk, job->recipient_count - at));
		if (talk->code == 0 || talk->code == 421 || talk->count == 0)
			break; /* nobody listens, or not to this sender */
		at += talk->count;
	}
	return exit_code;
}

/* It was not taken, and might be another time. */
static bool
is_worth_a_try(const struct talk *talk)
{
	return !talk->is_taken && (talk->code == 0 || talk->code / 100 == 4);
}

static void
try_again(struct talk *talk)
{
	const size_t first = talk->first, count = talk->count;

	talk_close(talk);
	talk->code = 0;
	if (talk_begin(talk, count) == EX_OK && talk->count == count &&
	    talk_content(talk) == EX_OK)
		talk_end(talk);
	talk->first = first;
	talk->count = count;
}

/* Those of several that failed for now, all of them behind each wait: who
 * called waits no longer for many than for one. */
static void
retry(struct talk *talks, size_t count)
{
	unsigned wait_s = RETRY_WAIT_S;

	for (unsigned round = 0; round < RETRIES; round++) {
		size_t left = 0;

		for (size_t i = 0; i < count; i++)
			left += is_worth_a_try(&talks[i]);
		if (left == 0)
			return;
		(void)sleep(wait_s);
		wait_s = wait_s * 2 < RETRY_WAIT_MAX_S ? wait_s * 2
						       : RETRY_WAIT_MAX_S;
		for (size_t i = 0; i < count; i++)
			if (is_worth_a_try(&talks[i]))
				try_again(&talks[i]);
	}
}

/* The ends of all of them follow each other at once: what could have refused
 * one has seen all by now, and the relay saves them together. */
static int
end_all(const struct submit_job *job, struct talk *talks, size_t count)
{
	size_t taken = 0;
	int exit_code = EX_OK;

	for (size_t i = 0; i < count; i++)
		(void)send_end(&talks[i]); /* the reply tells */
	for (size_t i = 0; i < count; i++) {
		talks[i].is_taken = read_reply(&talks[i]) == 250;
		taken += talks[i].is_taken;
	}
	if (taken != 0)
		retry(talks, count);
	for (size_t i = 0; i < count; i++) {
		struct talk *talk = &talks[i];

		if (talk->is_taken) {
			(void)say(talk, "QUIT");
			continue;
		}
		exit_code = worse_of(exit_code, exit_of(talk, ""));
		for (size_t j = 0; taken != 0 && j < talk->count; j++)
			(void)fprintf(stderr, "%s: %s: not sent\n",
				      job->program,
				      job->recipients[talk->first + j]);
		if (taken == 0)
			break;
	}
	if (exit_code != EX_OK && taken != 0)
		(void)fprintf(stderr,
			      "%s: sent to the others: they would get it "
			      "twice\n",
			      job->program);
	return exit_code;
}

static int
submit_all(const struct submit_job *job, struct talk *talks, size_t *out_count)
{
	int rc = begin_all(job, talks, out_count);

	for (size_t i = 0; !job->is_verify && rc == EX_OK && i < *out_count;
	     i++)
		rc = talk_content(&talks[i]);
	if (!job->is_verify && rc == EX_OK)
		rc = end_all(job, talks, *out_count);
	return rc;
}

int
submit_run(const struct submit_job *job)
{
	struct talk *talks = mem_zalloc((PARTS_MAX + 1) * sizeof(*talks));
	bool is_sent = false;
	size_t count = 0;
	int rc;

	for (size_t i = 0; i <= PARTS_MAX; i++)
		talks[i].fd = -1;
	rc = submit_all(job, talks, &count);
	for (size_t i = 0; i <= PARTS_MAX; i++) {
		is_sent |= talks[i].is_taken;
		talk_close(&talks[i]);
	}
	if (rc != EX_OK && !is_sent && !job->is_verify &&
	    job->recipient_count > 1)
		(void)fprintf(stderr, "%s: nothing was sent to anybody\n",
			      job->program);
	free(talks);
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
