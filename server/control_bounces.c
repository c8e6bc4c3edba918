/* SPDX-License-Identifier: ISC */
/*
 * server/control_bounces.c - ostlerctl bounces, on the daemon's side
 *
 * The files of the history are read in a worker; the rows go out as fast as
 * the client reads them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "lib/work.h"
#include "queue/history.h"
#include "queue/queue.h"
#include "server/bounces.h"
#include "server/config.h"
#include "server/control.h"
#include "server/daemon.h"

enum asking_state {
	ASKING_WAITS, /* for what is not yet in the files */
	ASKING_READS, /* a worker has the query, path and rows */
	ASKING_SENDS, /* the rows go out */
};

struct asking {
	struct work_job job;
	enum asking_state state;
	struct history_wait wait;
	struct control_request *request; /* NULL: the client is gone */
	json_t *args;			 /* shares: the query's strings */
	struct bounces_query query;
	char *path;
	json_t *rows; /* by the worker */
	size_t next;
};

static void
read_file(struct bounces *bounces, const char *path)
{
	char line[RECORD_LINE_MAX];
	FILE *file = fopen(path, "re");

	if (file == NULL)
		return; /* nothing has failed so far */
	while (fgets(line, sizeof(line), file) != NULL)
		bounces_line(bounces, str_of(line));
	(void)fclose(file);
}

static void
asking_run(struct work_job *job)
{
	struct asking *asking = container_of(job, struct asking, job);
	struct bounces *bounces = bounces_new(&asking->query);
	char *older = mem_printf("%s.1", asking->path);

	read_file(bounces, older);
	read_file(bounces, asking->path);
	asking->rows = bounces_rows(bounces);
	bounces_free(bounces);
	free(older);
}

static void
asking_free(struct work_job *job)
{
	struct asking *asking = container_of(job, struct asking, job);

	json_decref(asking->rows);
	json_decref(asking->args);
	free(asking->path);
	free(asking);
}

/* As many rows as the client takes. */
static void
asking_send(struct asking *asking)
{
	struct control_request *request = asking->request;

	while (asking->next < json_array_size(asking->rows))
		if (control_row(request,
				json_incref(json_array_get(asking->rows,
							   asking->next++))))
			return; /* on_room goes on */
	asking_free(&asking->job);
	control_end(request, EXIT_DONE, NULL);
}

static void
on_room(struct control_request *request)
{
	struct asking *asking = request->priv;

	if (asking->state == ASKING_SENDS)
		asking_send(asking);
}

static void
on_cancel(struct control_request *request)
{
	struct asking *asking = request->priv;

	asking->request = NULL;
	switch (asking->state) {
	case ASKING_WAITS:
		history_cancel(&asking->wait);
		asking_free(&asking->job);
		break;
	case ASKING_READS:
		break; /* it goes when the worker has done */
	case ASKING_SENDS:
		asking_free(&asking->job);
		break;
	}
	control_end(request, EXIT_NO, NULL);
}

static void
on_read(struct work_job *job)
{
	struct asking *asking = container_of(job, struct asking, job);

	asking->state = ASKING_SENDS;
	if (asking->request == NULL)
		asking_free(job);
	else
		asking_send(asking);
}

static void
on_synced(struct history_wait *wait)
{
	struct asking *asking = container_of(wait, struct asking, wait);

	asking->state = ASKING_READS;
	asking->job.run = asking_run;
	asking->job.free_job = on_read; /* the rows are sent before it goes */
	work_start(asking->request->daemon->loop, &asking->job, NULL);
}

static uint64_t
arg_number(const struct control_request *request, const char *name,
	   uint64_t preset)
{
	json_t *value = json_object_get(request->args, name);

	return json_is_integer(value) && json_integer_value(value) >= 0
		       ? (uint64_t)json_integer_value(value)
		       : preset;
}

void
control_bounces(struct control_request *request)
{
	struct asking *asking = mem_zalloc(sizeof(*asking));

	asking->request = request;
	asking->args = json_incref(request->args);
	asking->path =
		mem_printf("%s/" HISTORY_FILE, request->daemon->config->spool);
	asking->query = (struct bounces_query){
		.category = control_arg(request, "category"),
		.domain = control_arg(request, "domain"),
		.host = control_arg(request, "host"),
		.since_ms = arg_number(request, "since_ms", 0),
		.until_ms = arg_number(request, "until_ms", UINT64_MAX),
		.limit = arg_number(request, "limit", 1000),
		.is_dead = control_arg_bool(request, "dead"),
	};
	asking->wait.on_done = on_synced;
	request->priv = asking;
	request->on_room = on_room;
	request->on_cancel = on_cancel;
	history_sync(queue_history(request->daemon->queue), &asking->wait);
}
