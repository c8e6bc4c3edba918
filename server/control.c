/* SPDX-License-Identifier: ISC */
#include "server/control.h"

#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "lib/list.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "lib/net/stream.h"
#include "server/daemon.h"
#include "server/place.h"
#include "server/queue_json.h"

#define CONTROL_LINE_MAX	60000 /* one request; below STREAM_IN_MAX */
#define CONTROL_CONNECTIONS_MAX 32

struct control {
	struct daemon *daemon;
	char *path;
	uid_t owner;
	int fd; /* until started */
	bool is_started;
	uv_pipe_t handle;
	struct list connections;
	unsigned count;
};

struct control_connection {
	struct list link;
	struct control *control;
	struct stream *stream;
	struct control_request *request; /* the running one; NULL: none */
	bool is_eof, is_pumping;
};

static const struct {
	const char *name;
	control_fn *run;
} commands[] = {
	{"status", control_status},
	{"config", control_config},
	{"pause", control_pause},
	{"resume", control_resume},
	{"reload", control_reload},
	{"stop", control_stop},
	{"logout", control_logout},
	{"auth list", control_auth_list},
	{"auth clear", control_auth_clear},
	{"queue list", control_queue_list},
	{"queue show", control_queue_show},
	{"queue cat", control_queue_cat},
	{"queue apply", control_queue_apply},
	{"bounces", control_bounces},
	{"explain", control_explain},
	{"route", control_route},
	{"classify", control_classify},
	{"diagnose", control_diagnose},
	{"doctor", control_doctor},
};

/* ------------------------------------------------------------- requests */

const char *
control_arg(const struct control_request *request, const char *name)
{
	return json_string_value(json_object_get(request->args, name));
}

bool
control_arg_bool(const struct control_request *request, const char *name)
{
	return json_is_true(json_object_get(request->args, name));
}

bool
control_row(struct control_request *request, json_t *row)
{
	bool is_full = false;
	char *text;

	if (request->connection != NULL) {
		text = json_dumps(row, JSON_COMPACT);
		if (text != NULL) {
			struct stream *stream = request->connection->stream;

			stream_cork(stream);
			(void)stream_write(stream, text, strlen(text));
			is_full = stream_write(stream, "\n", 1);
			stream_uncork(stream);
		}
		free(text);
	}
	json_decref(row);
	return is_full;
}

static void connection_pump(struct control_connection *connection);

void
control_end(struct control_request *request, int exit_code, const char *error)
{
	struct control_connection *connection = request->connection;
	/* what a configuration is wrong about may be any bytes; without this
	 * line a client would wait for ever */
	json_t *end = json_pack("{s:b,s:i}", "end", 1, "exit", exit_code);

	if (error != NULL)
		json_object_set_new(end, "error", queue_json_text(error));

	(void)control_row(request, end);
	json_decref(request->args);
	free(request);
	if (connection != NULL) {
		connection->request = NULL;
		connection_pump(connection);
	}
}

/* ---------------------------------------------------------- connections */

static void
connection_close(struct control_connection *connection)
{
	struct control_request *request = connection->request;

	list_remove(&connection->link);
	connection->control->count--;
	stream_close(connection->stream);
	free(connection);
	if (request != NULL) {
		request->connection = NULL;
		if (request->on_cancel != NULL)
			request->on_cancel(request);
	}
}

static void
connection_run(struct control_connection *connection, struct str line)
{
	struct control_request *request = mem_zalloc(sizeof(*request));
	json_t *root = json_loadb(line.at, line.len, 0, NULL);
	const char *name = json_string_value(json_object_get(root, "command"));

	request->daemon = connection->control->daemon;
	request->connection = connection;
	connection->request = request;
	request->args = json_incref(json_object_get(root, "args"));
	if (!json_is_object(request->args)) {
		json_decref(request->args);
		request->args = json_object();
	}
	for (size_t i = 0;
	     name != NULL && i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(commands[i].name, name) != 0)
			continue;
		json_incref(root);
		commands[i].run(request);
		json_decref(root);
		json_decref(root);
		return;
	}
	json_decref(root);
	control_end(request, EXIT_USAGE, "the daemon does not know this");
}

/* Runs the first request that is there. False: there is none, or the
 * connection is gone. */
static bool
connection_next(struct control_connection *connection)
{
	size_t len;
	const uint8_t *bytes = stream_bytes(connection->stream, &len);
	const uint8_t *newline = len != 0 ? memchr(bytes, '\n', len) : NULL;
	char *line;
	size_t line_len;

	if (newline == NULL) {
		if (connection->is_eof || len > CONTROL_LINE_MAX)
			connection_close(connection);
		else
			connection->is_pumping = false;
		return false;
	}
	line_len = (size_t)(newline - bytes);
	line = mem_dup(bytes, line_len);
	stream_consume(connection->stream, line_len + 1);
	connection_run(connection, str_from(line, line_len));
	free(line);
	return true;
}

/* Runs the requests that are there, one after the other, as long as the
 * client reads the answers. */
static void
connection_pump(struct control_connection *connection)
{
	if (connection->is_pumping)
		return; /* a command ended at once: the loop below goes on */
	connection->is_pumping = true;
	while (connection->request == NULL &&
	       stream_unsent(connection->stream) <= STREAM_OUT_LOW)
		if (!connection_next(connection))
			return;
	connection->is_pumping = false;
}

static void
on_stream(void *owner, enum stream_event event)
{
	struct control_connection *connection = owner;
	struct control_request *request = connection->request;

	switch (event) {
	case STREAM_CONNECTED:
	case STREAM_SECURED:
	case STREAM_DEADLINE:
		break;
	case STREAM_DATA:
		connection_pump(connection);
		break;
	case STREAM_DRAINED:
		if (request != NULL && request->on_room != NULL)
			request->on_room(request);
		else if (request == NULL)
			connection_pump(connection);
		break;
	case STREAM_EOF:
		/* the answer to what was asked is still wanted */
		connection->is_eof = true;
		connection_pump(connection);
		break;
	case STREAM_FAILED:
		connection_close(connection);
		break;
	}
}

static bool
control_may(const struct control *control, const struct stream *stream)
{
	int64_t uid = stream_peer_uid(stream);

	return uid == 0 || uid == (int64_t)control->owner ||
	       uid == (int64_t)geteuid();
}

static void
on_connection(uv_stream_t *handle, int status)
{
	struct control *control = container_of(handle, struct control, handle);
	struct control_connection *connection;

	if (status < 0)
		return;
	connection = mem_zalloc(sizeof(*connection));
	connection->control = control;
	if (stream_accept(handle, on_stream, connection, &connection->stream) <
	    0) {
		free(connection);
		return;
	}
	if (!control_may(control, connection->stream) ||
	    control->count >= CONTROL_CONNECTIONS_MAX) {
		stream_close(connection->stream);
		free(connection);
		return;
	}
	list_push(&control->connections, &connection->link);
	control->count++;
	stream_start(connection->stream);
}

/* ------------------------------------------------------------------ life */

int
control_bind(const char *path, const struct passwd *user, struct control **out,
	     struct err *err)
{
	struct control *control;
	const struct place_owner owner = {
		.uid = user != NULL ? user->pw_uid : geteuid(),
		.gid = user != NULL ? user->pw_gid : getegid(),
	};
	int fd = place_socket(path, 0600, user != NULL ? &owner : NULL, err);

	if (fd < 0)
		return fd;
	control = mem_zalloc(sizeof(*control));
	control->path = mem_strdup(path);
	control->owner = owner.uid;
	control->fd = fd;
	list_init(&control->connections);
	*out = control;
	return 0;
}

int
control_start(struct control *control, struct daemon *daemon, struct err *err)
{
	int rc;

	control->daemon = daemon;
	rc = uv_pipe_init(daemon->loop, &control->handle, 0);
	if (rc == 0) {
		control->is_started = true;
		rc = uv_pipe_open(&control->handle, control->fd);
	}
	if (rc == 0)
		rc = uv_listen((uv_stream_t *)&control->handle, 128,
			       on_connection);
	if (rc < 0)
		return err_set(err, rc, "control socket '%s'", control->path);
	return 0;
}

static void
on_closed(uv_handle_t *handle)
{
	free(container_of(handle, struct control, handle));
}

void
control_free(struct control *control)
{
	struct list *node, *after;

	if (control == NULL)
		return;
	list_each_safe (node, after, &control->connections)
		connection_close(
			container_of(node, struct control_connection, link));
	(void)unlink(control->path); /* a stale one is replaced at start */
	free(control->path);
	control->path = NULL;
	if (control->is_started) {
		uv_close((uv_handle_t *)&control->handle, on_closed);
		return;
	}
	(void)close(control->fd);
	free(control);
}
