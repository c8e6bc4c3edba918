/* SPDX-License-Identifier: ISC */
/*
 * Requests on the control socket, as a client of it sends them: all at once
 * and in pieces. The commands are our own: explain and classify are what the
 * daemon runs, queue list answers with many rows, the others with what they
 * were asked.
 */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/mem.h"
#include "lib/work.h"
#include "server/classify_json.h"
#include "server/config.h"
#include "server/config_file.h"
#include "server/control.h"
#include "server/daemon.h"
#include "server/explain.h"

#define ANSWER_MAX (16u << 20)
#define ROWS	   200
#define TURNS_MAX  100000

static char dir[] = "/tmp/ostler-fuzz-XXXXXX", path[64];
static uv_loop_t loop;
static struct daemon world;
static struct control *control;

/* ------------------------------------------------------------ the commands */

static void
echo(struct control_request *request)
{
	FUZZ_CHECK(json_is_object(request->args));
	(void)control_row(request, json_incref(request->args));
	control_end(request, EXIT_DONE,
		    control_arg_bool(request, "fail")
			    ? control_arg(request, "error")
			    : NULL);
}

static void
send_rows(struct control_request *request)
{
	uintptr_t sent = (uintptr_t)request->priv;

	while (sent++ < ROWS) {
		request->priv = (void *)sent;
		if (control_row(request, json_pack("{s:i}", "n", (int)sent)))
			return;
	}
	control_end(request, EXIT_DONE, NULL);
}

static void
stop_rows(struct control_request *request)
{
	control_end(request, EXIT_NO, NULL);
}

void
control_queue_list(struct control_request *request)
{
	request->on_room = send_rows;
	request->on_cancel = stop_rows;
	send_rows(request);
}

void
control_explain(struct control_request *request)
{
	struct explain_input input = {
		.listener = control_arg(request, "listener"),
		.client = control_arg(request, "client"),
		.user = control_arg(request, "user"),
		.helo = control_arg(request, "helo"),
		.has_tls = control_arg_bool(request, "tls"),
		.from = control_arg(request, "from"),
		.to = control_arg(request, "to"),
		.points_here = control_arg(request, "points-here"),
	};
	struct err err = ERR_INIT;
	json_t *row;

	if (input.from == NULL || input.to == NULL) {
		control_end(request, EXIT_USAGE, "--from and --to are needed");
		return;
	}
	row = explain(world.config, &input, NULL, &err);
	FUZZ_CHECK((row == NULL) == (err.code < 0));
	if (row != NULL)
		(void)control_row(request, row);
	control_end(request, row != NULL ? EXIT_DONE : EXIT_USAGE,
		    row != NULL ? NULL : err.text);
}

void
control_classify(struct control_request *request)
{
	const char *reply = control_arg(request, "reply");
	json_t *row;

	if (reply == NULL) {
		control_end(request, EXIT_USAGE, "a reply is needed");
		return;
	}
	row = classify_json(world.config->report.classifier,
			    world.config->report.loaded,
			    control_arg(request, "language"), reply);
	FUZZ_CHECK(row != NULL);
	(void)control_row(request, row);
	control_end(request, EXIT_DONE, NULL);
}

#define SAYS_BACK(name)                                                        \
	void name(struct control_request *request)                             \
	{                                                                      \
		echo(request);                                                 \
	}
SAYS_BACK(control_status)
SAYS_BACK(control_config)
SAYS_BACK(control_pause)
SAYS_BACK(control_resume)
SAYS_BACK(control_reload)
SAYS_BACK(control_stop)
SAYS_BACK(control_logout)
SAYS_BACK(control_auth_list)
SAYS_BACK(control_auth_clear)
SAYS_BACK(control_queue_show)
SAYS_BACK(control_queue_cat)
SAYS_BACK(control_queue_apply)
SAYS_BACK(control_bounces)
SAYS_BACK(control_route)
SAYS_BACK(control_diagnose)
SAYS_BACK(control_doctor)

/* ------------------------------------------------------------- the daemon */

char *
config_file_read(const char *name, size_t max, size_t *out_len, struct err *err)
{
	static const char text[] =
		"hostname = \"mail.example.org\"\n"
		"domain \"example.org\" { deliver = discard }\n"
		"route \"r\" { via = \"smtp:relay.example:25\" }\n";

	(void)name;
	(void)err;
	FUZZ_CHECK(sizeof(text) <= max);
	*out_len = sizeof(text) - 1;
	return mem_dup(text, *out_len);
}

static void
remove_world(void)
{
	control_free(control);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	(void)uv_loop_close(&loop);
	config_unref(world.config);
	(void)rmdir(dir);
}

static void
make_world(void)
{
	struct buf errors, warnings;
	struct err err = ERR_INIT;

	FUZZ_CHECK(mkdtemp(dir) != NULL);
	(void)snprintf(path, sizeof(path), "%s/s", dir);
	buf_init(&errors, ANSWER_MAX);
	buf_init(&warnings, ANSWER_MAX);
	FUZZ_CHECK(config_load("own", &world.config, &errors, &warnings) == 0);
	buf_done(&errors);
	buf_done(&warnings);
	work_init();
	FUZZ_CHECK(uv_loop_init(&loop) == 0);
	world.loop = &loop;
	FUZZ_CHECK(control_bind(path, NULL, &control, &err) == 0);
	FUZZ_CHECK(control_start(control, &world, &err) == 0);
	FUZZ_CHECK(atexit(remove_world) == 0);
}

/* ------------------------------------------------------------- the client */

static int
connect_client(void)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(to.sun_path, sizeof(to.sun_path), "%s", path);
	FUZZ_CHECK(fd >= 0);
	FUZZ_CHECK(connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0);
	return fd;
}

/* Whether more may come. */
static bool
take(int fd, struct buf *answer)
{
	uint8_t bytes[4096];
	ssize_t got = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);

	if (got > 0)
		FUZZ_CHECK(buf_add(answer, bytes, (size_t)got) == 0);
	return got > 0 || (got < 0 && errno == EAGAIN);
}

/* seed 0: all of it at once. */
static void
converse(const uint8_t *data, size_t size, uint32_t seed, struct buf *answer)
{
	int fd = connect_client();
	size_t at = 0;

	while (at < size) {
		size_t len = seed == 0 ? size : fuzz_piece(&seed, size - at);

		/* it may have been too long a line by then */
		if (send(fd, data + at, len, MSG_NOSIGNAL) < 0)
			break;
		at += len;
		(void)uv_run(&loop, UV_RUN_NOWAIT);
		(void)take(fd, answer);
	}
	(void)shutdown(fd, SHUT_WR);
	for (unsigned i = 0; take(fd, answer); i++) {
		FUZZ_CHECK(i < TURNS_MAX);
		(void)uv_run(&loop, UV_RUN_NOWAIT);
	}
	(void)close(fd);
	(void)uv_run(&loop, UV_RUN_NOWAIT);
}

/* Each line is an object, and each request has one that ends its answer. */
static void
check_answer(struct str text, const uint8_t *data, size_t size)
{
	size_t asked = 0, ended = 0;
	struct str line;

	for (size_t i = 0; i < size; i++)
		asked += data[i] == '\n';
	FUZZ_CHECK(text.len == 0 || text.at[text.len - 1] == '\n');
	while (text.len != 0 && str_cut(&text, '\n', &line)) {
		json_t *row =
			json_loadb(line.at, line.len, JSON_ALLOW_NUL, NULL);

		FUZZ_CHECK(json_is_object(row));
		ended += json_is_true(json_object_get(row, "end")) &&
			 json_is_integer(json_object_get(row, "exit"));
		json_decref(row);
	}
	FUZZ_CHECK(ended >= asked);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf whole, pieces;

	if (control == NULL)
		make_world();
	buf_init(&whole, ANSWER_MAX);
	buf_init(&pieces, ANSWER_MAX);
	converse(data, size, 0, &whole);
	converse(data, size, (uint32_t)size | 1, &pieces);
	FUZZ_CHECK(buf_len(&whole) == buf_len(&pieces));
	FUZZ_CHECK(strcmp(buf_text(&whole), buf_text(&pieces)) == 0);
	check_answer(str_of(buf_text(&whole)), data, size);
	buf_done(&whole);
	buf_done(&pieces);
	return 0;
}
