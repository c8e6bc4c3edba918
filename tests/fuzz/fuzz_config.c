/* SPDX-License-Identifier: ISC */
/*
 * A configuration with all that it names, from the octets of its files to the
 * values, and what policy then says. Files are parted by NUL; behind the first
 * they are known by the last letter of their path, "a" for the first of them.
 */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <netdb.h>
#include <unistd.h>

#include "lib/mem.h"
#include "lib/str.h"
#include "server/config.h"
#include "server/config_file.h"
#include "server/explain.h"

#define TEXT_MAX (16u << 20)
#define NAME	 "ostler.conf"

static const uint8_t *input;
static size_t input_len;

/* ------------------------------------------------- instead of the system */

/* Nothing of this machine is read: the program's own functions come first. */
char *
config_file_read(const char *path, size_t max, size_t *out_len, struct err *err)
{
	const uint8_t *at = input, *end = input + input_len;
	size_t len = strlen(path), nth = 0;
	char *text;

	if (strcmp(path, NAME) != 0)
		nth = len != 0 ? (size_t)(unsigned char)path[len - 1] - 'a' + 1
			       : SIZE_MAX;
	for (; at != NULL && nth != 0; nth--) {
		at = memchr(at, 0, (size_t)(end - at));
		at = at != NULL ? at + 1 : NULL;
	}
	if (at == NULL) {
		(void)err_set(err, -ENOENT, "cannot read \"%s\"", path);
		return NULL;
	}
	if (memchr(at, 0, (size_t)(end - at)) != NULL)
		end = memchr(at, 0, (size_t)(end - at));
	len = (size_t)(end - at);
	FUZZ_CHECK(len <= max);
	text = mem_dup((const char *)at, len);
	*out_len = len;
	return text;
}

int
gethostname(char *to, size_t size)
{
	(void)snprintf(to, size, "host.example");
	return 0;
}

int
scandir(const char *path, struct dirent ***out,
	int (*is_wanted)(const struct dirent *),
	int (*compare)(const struct dirent **, const struct dirent **))
{
	(void)path;
	(void)out;
	(void)is_wanted;
	(void)compare;
	errno = ENOENT;
	return -1;
}

/* ------------------------------------------------------------ what it says */

/* "FILE:LINE: text", or without the line */
static void
check_report(struct buf *report)
{
	struct str rest = str_of(buf_text(report)), line;

	FUZZ_CHECK(rest.len == 0 || rest.at[rest.len - 1] == '\n');
	FUZZ_CHECK(rest.len == buf_len(report));
	while (str_cut(&rest, '\n', &line))
		FUZZ_CHECK(line.len == 0 || memchr(line.at, ':', line.len));
}

static void
ask(const struct config *config, const char *from, const char *to,
    const char *user)
{
	struct explain_input question = {.from = from,
					 .to = to,
					 .user = user,
					 .has_tls = true};
	struct err err = ERR_INIT;
	json_t *answer = explain(config, &question, NULL, &err);
	char *text;

	FUZZ_CHECK((answer == NULL) == (err.code < 0));
	if (answer == NULL)
		return;
	text = json_dumps(answer, JSON_COMPACT);
	FUZZ_CHECK(text != NULL);
	FUZZ_CHECK(json_string_value(json_object_get(answer, "decision")));
	free(text);
	json_decref(answer);
}

static void
check_config(struct config *config)
{
	struct queue_opts queue;
	struct resolver_opts resolver;

	FUZZ_CHECK(config->hostname != NULL && config->postmaster != NULL);
	FUZZ_CHECK(config->policy != NULL && config->listener_count != 0);
	FUZZ_CHECK(config->queue.retry_count != 0);
	FUZZ_CHECK(config->report.classifier != NULL);
	for (size_t i = 0; i < config->entry_count; i++)
		FUZZ_CHECK(config->entries[i].name != NULL &&
			   config->entries[i].value != NULL);
	config_queue_opts(config, &queue);
	config_resolver_opts(config, &resolver);
	ask(config, "anna@example.org", "bert@example.org", NULL);
	ask(config, "", "c+d@sub.example.org", NULL);
	ask(config, "anna@example.org", "dora@other.example", "anna");
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char *own[] = {NULL, NULL};
	static char variable[] = "V=word";
	struct config *config = NULL;
	struct buf errors, warnings;
	int rc;

	own[0] = variable;
	environ = own; /* a variable that is set, all others are not */
	input = data;
	input_len = size;
	buf_init(&errors, TEXT_MAX);
	buf_init(&warnings, TEXT_MAX);
	rc = config_load(NAME, &config, &errors, &warnings);
	FUZZ_CHECK(rc == 0 || rc == -EINVAL);
	FUZZ_CHECK((rc == 0) == (config != NULL));
	FUZZ_CHECK((rc == 0) == (buf_len(&errors) == 0));
	check_report(&errors);
	check_report(&warnings);
	if (config != NULL)
		check_config(config);
	config_unref(config);
	buf_done(&errors);
	buf_done(&warnings);
	return 0;
}
