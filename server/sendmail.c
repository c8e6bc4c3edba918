/* SPDX-License-Identifier: ISC */
#include "server/sendmail.h"

#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/mem.h"
#include "lib/str.h"
#include "queue/bounce/mime_text.h"
#include "server/config.h"
#include "server/ctl.h"
#include "server/header_addrs.h"
#include "server/sendmail_submit.h"

#define SENDMAIL_HEADER_MAX	((size_t)4 << 20)
#define SENDMAIL_RECIPIENTS_MAX 100000

enum mode {
	MODE_SEND,
	MODE_SMTP,   /* -bs */
	MODE_LIST,   /* -bp, mailq */
	MODE_VERIFY, /* -bv */
	MODE_FLUSH,  /* -q */
	MODE_NOTHING /* -bi, newaliases: tables are read by themselves */
};

struct sendmail {
	const char *program;
	const char *config_file;
	enum mode mode;
	bool takes_header; /* -t */
	bool ignores_dots; /* -i */
	const char *sender, *full_name;
	struct submit_job job;

	struct config *config; /* shares; NULL: it cannot be read by us */
	char *user;	       /* who calls */
	struct buf header;     /* with CR LF, without the empty line */
	bool had_header;       /* the input began with one */
	bool has_too_many;     /* recipients */
};

/* --------------------------------------------------------------- options */

static void
print_usage(const struct sendmail *sendmail)
{
	(void)fprintf(stderr,
		      "usage: %s [-t] [-i] [-f sender] [-F name] [-N dsn] "
		      "[-R full|hdrs] [-V envid] [recipient ...]\n"
		      "       %s -bs | -bp | -bv recipient ... | -q\n",
		      sendmail->program, sendmail->program);
}

static bool
take_mode(struct sendmail *sendmail, const char *word)
{
	static const struct {
		const char *word;
		enum mode mode;
	} modes[] = {
		{"m", MODE_SEND},   {"s", MODE_SMTP},	 {"p", MODE_LIST},
		{"v", MODE_VERIFY}, {"i", MODE_NOTHING},
	};

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		if (strcmp(modes[i].word, word) != 0)
			continue;
		sendmail->mode = modes[i].mode;
		return true;
	}
	(void)fprintf(stderr, "%s: -b%s: the relay runs as ostlerd\n",
		      sendmail->program, word);
	return false;
}

/* RFC 3461, 5: "never", or some of the others; any case. */
static bool
is_notify(const char *text)
{
	struct str rest = str_of(text), word;
	bool is_never = false;
	size_t count = 0;

	while (str_cut(&rest, ',', &word)) {
		count++;
		if (str_is_nocase(word, "NEVER"))
			is_never = true;
		else if (!str_is_nocase(word, "SUCCESS") &&
			 !str_is_nocase(word, "FAILURE") &&
			 !str_is_nocase(word, "DELAY"))
			return false;
	}
	return count != 0 && (!is_never || count == 1);
}

static bool
is_envid(const char *text)
{
	size_t len = strlen(text);

	for (size_t i = 0; i < len; i++)
		if (text[i] <= ' ' || text[i] > '~' || text[i] == '=')
			return false;
	return len != 0 && len <= 100;
}

static bool
take_value(struct sendmail *sendmail, char option, const char *value)
{
	struct submit_job *job = &sendmail->job;
	bool is_good = true;

	switch (option) {
	case 'f':
	case 'r':
		sendmail->sender = value;
		break;
	case 'F':
		sendmail->full_name = value;
		break;
	case 'C':
		sendmail->config_file = value;
		break;
	case 'b':
		return take_mode(sendmail, value);
	case 'N':
		is_good = is_notify(value);
		job->notify = value;
		break;
	case 'R':
		is_good = strcasecmp(value, "full") == 0 ||
			  strcasecmp(value, "hdrs") == 0;
		job->ret = value;
		break;
	case 'V':
		is_good = is_envid(value);
		job->envid = value;
		break;
	case 'o':
		sendmail->ignores_dots |= strcmp(value, "i") == 0;
		break;
	default: /* others: how another program would send it */
		break;
	}
	if (!is_good)
		(void)fprintf(stderr, "%s: -%c %s: not understood\n",
			      sendmail->program, option, value);
	return is_good;
}

/* One word of options: "-oi", "-f", "-tif". Returns how many more words it
 * took, -1 when it is wrong. */
static int
take_word(struct sendmail *sendmail, const char *word, const char *next)
{
	for (const char *at = word + 1; *at != '\0'; at++) {
		if (strchr("fFrCbNRVoBhLOpXde", *at) != NULL) {
			bool is_next =
				at[1] == '\0' && *at != 'd' && *at != 'e';
			const char *value = is_next ? next : at + 1;

			if (value == NULL) {
				(void)fprintf(stderr, "%s: -%c needs a value\n",
					      sendmail->program, *at);
				return -1;
			}
			if (!take_value(sendmail, *at, value))
				return -1;
			return is_next ? 1 : 0;
		}
		switch (*at) {
		case 't':
			sendmail->takes_header = true;
			break;
		case 'i':
			sendmail->ignores_dots = true;
			break;
		case 'v':
			sendmail->job.is_verbose = true;
			break;
		case 'q':
			/* -q alone, or -qSOMETHING: now, all of it */
			sendmail->mode = MODE_FLUSH;
			return 0;
		case 'n':
		case 'm':
		case 'U':
		case 'G':
			break; /* as ever */
		default:
			(void)fprintf(stderr, "%s: -%c: no such option\n",
				      sendmail->program, *at);
			return -1;
		}
	}
	return 0;
}

static void
add_recipient(void *arg, const char *address)
{
	struct sendmail *sendmail = arg;
	struct submit_job *job = &sendmail->job;

	for (size_t i = 0; i < job->recipient_count; i++)
		if (strcmp(job->recipients[i], address) == 0)
			return;
	if (job->recipient_count == SENDMAIL_RECIPIENTS_MAX) {
		sendmail->has_too_many = true;
		return;
	}
	job->recipients = mem_append(job->recipients, job->recipient_count,
				     sizeof(*job->recipients));
	job->recipients[job->recipient_count++] = mem_strdup(address);
	job->is_utf8 |= !str_is_ascii(str_of(address));
}

static bool
take_words(struct sendmail *sendmail, int argc, char **argv)
{
	bool is_options = true;

	for (int i = 1; i < argc; i++) {
		int more;

		if (is_options && strcmp(argv[i], "--") == 0) {
			is_options = false;
			continue;
		}
		if (!is_options || argv[i][0] != '-' || argv[i][1] == '\0') {
			header_addrs_list(str_of(argv[i]), add_recipient,
					  sendmail);
			continue;
		}
		more = take_word(sendmail, argv[i],
				 i + 1 < argc ? argv[i + 1] : NULL);
		if (more < 0)
			return false;
		i += more;
	}
	return true;
}

/* ----------------------------------------------------------- the message */

/* The next line of the input, as CR LF; false at its end. */
static bool
next_line(struct sendmail *sendmail, char **line, size_t *size, struct buf *out)
{
	ssize_t len = getline(line, size, stdin);

	if (len < 0)
		return false;
	while (len > 0 &&
	       ((*line)[len - 1] == '\n' || (*line)[len - 1] == '\r'))
		len--;
	if (!sendmail->ignores_dots && len == 1 && (*line)[0] == '.')
		return false;
	/* what is neither is none of our business; SMTP refuses it */
	for (ssize_t i = 0; i < len; i++) {
		if ((*line)[i] == '\r' || (*line)[i] == '\0')
			(*line)[i] = ' ';
		sendmail->job.is_8bit |= (unsigned char)(*line)[i] >= 0x80;
	}
	buf_clear(out);
	return buf_add(out, *line, (size_t)len) == 0 &&
	       buf_adds(out, "\r\n") == 0;
}

/* "Name: text", or more of the one before. */
static bool
is_field(const struct sendmail *sendmail, const char *line)
{
	size_t len = strcspn(line, ": \t");

	if (line[0] == ' ' || line[0] == '\t')
		return sendmail->had_header;
	return len != 0 && line[len + strspn(line + len, " \t")] == ':';
}

/* The mbox line that some programs hand over. */
static bool
is_mbox_from(const char *line)
{
	return strncmp(line, "From ", 5) == 0;
}

/* Reads all there is: the header into memory, the rest into a file that has
 * no name. */
static bool
read_message(struct sendmail *sendmail, FILE *body)
{
	bool is_header = true, is_first = true, is_good = true;
	char *line = NULL;
	size_t size = 0;
	struct buf text;

	buf_init(&text, SIZE_MAX / 4);
	while (is_good && next_line(sendmail, &line, &size, &text)) {
		const char *clean = buf_text(&text);

		if (is_header && is_first && is_mbox_from(clean)) {
			is_first = false;
			continue;
		}
		is_first = false;
		if (is_header && clean[0] != '\r' &&
		    is_field(sendmail, clean)) {
			is_good = buf_add(&sendmail->header, clean,
					  buf_len(&text)) == 0;
			sendmail->had_header = true;
			continue;
		}
		if (is_header && clean[0] != '\r')
			(void)fputs("\r\n", body);
		is_header = false;
		is_good = fwrite(clean, 1, buf_len(&text), body) ==
			  buf_len(&text);
	}
	if (is_header)
		(void)fputs("\r\n", body);
	is_good = is_good && ferror(stdin) == 0 && fflush(body) == 0;
	buf_done(&text);
	free(line);
	return is_good;
}

/* RFC 5322, 3.6: who wrote it has to be said. */
static void
add_from(struct sendmail *sendmail)
{
	const char *domain =
		sendmail->config != NULL ? sendmail->config->qualify : NULL;
	const char *sender = sendmail->job.sender;
	struct buf value;
	char host[256];

	if (header_addrs_has(str_of(buf_text(&sendmail->header)), "From"))
		return;
	if (domain == NULL && gethostname(host, sizeof(host)) == 0) {
		host[sizeof(host) - 1] = '\0';
		domain = host;
	}
	if (sender[0] == '\0')
		sender = sendmail->user;
	buf_init(&value, 4096);
	if (sendmail->full_name != NULL) {
		struct buf name;

		buf_init(&name, 1024);
		mime_clean(str_of(sendmail->full_name), &name);
		(void)buf_adds(&value, "\"");
		for (const char *at = buf_text(&name); *at != '\0'; at++)
			if (*at != '"' && *at != '\\')
				(void)buf_add(&value, at, 1);
		(void)buf_adds(&value, "\" ");
		buf_done(&name);
	}
	(void)buf_adds(&value, "<");
	mime_clean(str_of(sender), &value);
	if (strchr(sender, '@') == NULL)
		(void)buf_addf(&value, "@%s",
			       domain != NULL ? domain : "localhost");
	(void)buf_adds(&value, ">");
	(void)buf_addf(&sendmail->header, "From: %s\r\n", buf_text(&value));
	sendmail->job.is_8bit |= !str_is_ascii(str_of(buf_text(&value)));
	buf_done(&value);
}

/* ------------------------------------------------------------ its ways */

/* The caller's own name; the daemon asks the kernel, not us. */
static void
find_user(struct sendmail *sendmail)
{
	const struct passwd *entry = getpwuid(getuid());

	sendmail->user =
		entry != NULL ? mem_strdup(entry->pw_name)
			      : mem_printf("uid%lu", (unsigned long)getuid());
}

/* The first unix socket that takes submissions; the usual place when we may
 * not read the configuration. */
static void
find_socket(struct sendmail *sendmail)
{
	const char *file = sendmail->config_file != NULL ? sendmail->config_file
							 : OSTLER_SYSCONFDIR
				   "/ostler.conf";
	struct buf errors, warnings;

	buf_init(&errors, 1u << 20);
	buf_init(&warnings, 1u << 20);
	(void)config_load(file, &sendmail->config, &errors, &warnings);
	buf_done(&errors);
	buf_done(&warnings);
	sendmail->job.socket = OSTLER_RUNDIR "/submit.sock";
	for (size_t i = 0;
	     sendmail->config != NULL && i < sendmail->config->listener_count;
	     i++) {
		const struct listener_config *listener =
			&sendmail->config->listeners[i];

		if (listener->role != POLICY_SUBMISSION ||
		    listener->address_count == 0 ||
		    listener->addresses[0].unix_path == NULL)
			continue;
		sendmail->job.socket = listener->addresses[0].unix_path;
		return;
	}
}

static int
run_send(struct sendmail *sendmail)
{
	struct submit_job *job = &sendmail->job;
	FILE *body = tmpfile();
	int rc;

	if (body == NULL || !read_message(sendmail, body)) {
		(void)fprintf(stderr,
			      "%s: the message cannot be read, or there is no "
			      "room for it in the folder for temporary files\n",
			      sendmail->program);
		if (body != NULL)
			(void)fclose(body);
		return EX_IOERR;
	}
	if (sendmail->takes_header)
		header_addrs_recipients(str_of(buf_text(&sendmail->header)),
					add_recipient, sendmail);
	if (job->recipient_count == 0 || sendmail->has_too_many) {
		(void)fprintf(stderr, "%s: %s\n", sendmail->program,
			      sendmail->has_too_many
				      ? "too many recipients for one message"
				      : "no recipients: name them, or use -t "
					"for those of the header");
		(void)fclose(body);
		return EX_USAGE;
	}
	add_from(sendmail);
	job->header = &sendmail->header;
	job->body = body;
	rewind(body);
	rc = submit_run(job);
	(void)fclose(body);
	return rc;
}

static int
run_verify(struct sendmail *sendmail)
{
	if (sendmail->job.recipient_count == 0) {
		print_usage(sendmail);
		return EX_USAGE;
	}
	sendmail->job.is_verify = true;
	return submit_run(&sendmail->job);
}

/* What ostlerctl would do. */
static int
run_ctl(struct sendmail *sendmail, char *word)
{
	char *argv[] = {(char *)"queue", word, NULL};
	struct ctl ctl = {
		.config_file = sendmail->config_file != NULL
				       ? sendmail->config_file
				       : OSTLER_SYSCONFDIR "/ostler.conf",
		.argc = 2,
		.argv = argv,
	};
	int rc = ctl_queue(&ctl);

	config_unref(ctl.config);
	return rc;
}

static int
run_mode(struct sendmail *sendmail)
{
	char list[] = "list", flush[] = "flush";

	switch (sendmail->mode) {
	case MODE_SEND:
		return run_send(sendmail);
	case MODE_SMTP:
		return submit_pass_through(sendmail->program,
					   sendmail->job.socket);
	case MODE_LIST:
		return run_ctl(sendmail, list);
	case MODE_VERIFY:
		return run_verify(sendmail);
	case MODE_FLUSH:
		return run_ctl(sendmail, flush);
	case MODE_NOTHING:
		break;
	}
	return EX_OK;
}

/* -f as people write it: "<>", "Anna <a@x>", "a@x"; where there is none: the
 * user. */
static void
keep_sender(void *arg, const char *address)
{
	char **sender = arg;

	free(*sender);
	*sender = mem_strdup(address);
}

static int
run(struct sendmail *sendmail)
{
	char *sender = NULL;
	int rc;

	find_user(sendmail);
	find_socket(sendmail);
	if (sendmail->sender != NULL)
		header_addrs_list(str_of(sendmail->sender), keep_sender,
				  &sender);
	else
		sender = mem_strdup(sendmail->user);
	sendmail->job.sender = sender != NULL ? sender : "";
	sendmail->job.is_utf8 |= !str_is_ascii(str_of(sendmail->job.sender));
	rc = run_mode(sendmail);
	free(sender);
	free(sendmail->user);
	config_unref(sendmail->config);
	return rc;
}

/* ------------------------------------------------------------------ main */

static const char *
base_name(const char *program)
{
	const char *slash = strrchr(program, '/');

	return slash != NULL ? slash + 1 : program;
}

bool
sendmail_is_name(const char *program)
{
	const char *name = base_name(program);

	return strcmp(name, "sendmail") == 0 || strcmp(name, "mailq") == 0 ||
	       strcmp(name, "newaliases") == 0;
}

int
sendmail_main(int argc, char **argv)
{
	struct sendmail sendmail = {.program = base_name(argv[0])};
	int rc;

	(void)signal(SIGPIPE, SIG_IGN);
	if (strcmp(sendmail.program, "mailq") == 0)
		sendmail.mode = MODE_LIST;
	else if (strcmp(sendmail.program, "newaliases") == 0)
		sendmail.mode = MODE_NOTHING;
	sendmail.job.program = sendmail.program;
	buf_init(&sendmail.header, SENDMAIL_HEADER_MAX);
	if (take_words(&sendmail, argc, argv)) {
		rc = run(&sendmail);
	} else {
		print_usage(&sendmail);
		rc = EX_USAGE;
	}
	for (size_t i = 0; i < sendmail.job.recipient_count; i++)
		free(sendmail.job.recipients[i]);
	free(sendmail.job.recipients);
	buf_done(&sendmail.header);
	return rc;
}
