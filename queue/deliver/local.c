/* SPDX-License-Identifier: ISC */
#include "queue/deliver/local.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "lib/work.h"
#include "policy/policy.h"
#include "queue/deliver/body.h"
#include "queue/deliver/maildir.h"
#include "queue/envelope.h"

#define LOCAL_PIECE (256 * 1024)
/* Workers that may be in a file system at once: a slow one (NFS) must leave
 * some for password checks. */
#define LOCAL_WORKERS 4

enum local_step {
	LOCAL_BEGIN, /* make the file, then write the piece */
	LOCAL_WRITE, /* write the piece */
	LOCAL_END,   /* the piece is the last one: make it visible */
	LOCAL_ABORT, /* nobody wants it any more */
};

/* One visit to a worker. The file belongs to it as long as it is there. */
struct local_job {
	struct work_job job;
	struct local *local;
	enum local_step step;
	struct maildir_file *file;
	char *path, *hostname, *sender, *recipient; /* own; LOCAL_BEGIN */
	uint8_t *piece;				    /* owns */
	size_t len;
	int rc;
	struct err err;
};

struct local {
	struct local_request request;
	char *hostname; /* owns */
	void (*on_done)(void *owner);
	void *owner;
	struct body body;
	size_t at; /* recipient */
	bool has_begun;
	struct maildir_file *file; /* owns, while no job has it */
	struct local_job *job;	   /* in a worker */
	char path[MAILDIR_PATH_MAX];
};

static struct work_lane *
local_lane(void)
{
	static struct work_lane lane;

	if (lane.limit == 0)
		work_lane_init(&lane, LOCAL_WORKERS);
	return &lane;
}

/* ------------------------------------------------------------ in a worker */

static void
job_run(struct work_job *work)
{
	struct local_job *job = container_of(work, struct local_job, job);

	job->rc = 0;
	if (job->step == LOCAL_ABORT) {
		maildir_abort(job->file);
		job->file = NULL;
		return;
	}
	if (job->step == LOCAL_BEGIN)
		job->rc = maildir_begin(job->path, job->hostname, job->sender,
					job->recipient, &job->file, &job->err);
	if (job->rc == 0 && job->len != 0)
		job->rc = maildir_write(job->file, job->piece, job->len,
					&job->err);
	if (job->rc == 0 && job->step == LOCAL_END) {
		job->rc = maildir_end(job->file, &job->err);
		job->file = NULL;
	}
	if (job->rc < 0) {
		maildir_abort(job->file);
		job->file = NULL;
	}
}

/* ------------------------------------------------------------ on the loop */

static void job_done(struct work_job *work);
static void local_next(struct local *local);

static void
job_free(struct work_job *work)
{
	struct local_job *job = container_of(work, struct local_job, job);

	if (job->file != NULL) {
		/* the owner went away: removing the file may block too */
		job->step = LOCAL_ABORT;
		job->job.done = NULL;
		work_start(job->job.req.loop, &job->job, local_lane());
		return;
	}
	free(job->path);
	free(job->hostname);
	free(job->sender);
	free(job->recipient);
	free(job->piece);
	free(job);
}

static void
local_send(struct local *local, enum local_step step, const uint8_t *bytes,
	   size_t len)
{
	const struct envelope *envelope = local->request.envelope;
	size_t index = local->request.recipients[local->at];
	struct local_job *job = mem_zalloc(sizeof(*job));

	job->local = local;
	job->step = step;
	job->file = local->file;
	local->file = NULL;
	if (step == LOCAL_BEGIN) {
		job->path = mem_strdup(local->path);
		job->hostname = mem_strdup(local->hostname);
		job->sender = mem_strdup(envelope->sender);
		job->recipient =
			mem_strdup(envelope->recipients[index].address);
	}
	job->piece = (uint8_t *)mem_dup(bytes, len);
	job->len = len;
	job->job.run = job_run;
	job->job.done = job_done;
	job->job.free_job = job_free;
	local->job = job;
	work_start(local->request.loop, &job->job, local_lane());
}

static struct outcome *
local_outcome(struct local *local)
{
	return &local->request.outcomes[local->at];
}

/* This recipient is settled; on to the next one. */
static void
local_settled(struct local *local)
{
	body_close(&local->body);
	local->has_begun = false;
	local->at++;
	local_next(local);
}

static void
local_failed(struct local *local, int rc, const struct err *err)
{
	bool is_full = rc == -ENOSPC || rc == -EDQUOT;

	outcome_own(local_outcome(local),
		    is_full ? CAUSE_LOCAL_QUOTA : CAUSE_LOCAL_FILE, PHASE_LOCAL,
		    "%s", err->text);
	local_settled(local);
}

static void
local_delivered(struct local *local)
{
	struct outcome *outcome = local_outcome(local);

	memset(outcome, 0, sizeof(*outcome));
	outcome->kind = OUTCOME_DELIVERED;
	outcome->cause = CAUSE_REPLY;
	outcome->phase = PHASE_LOCAL;
	outcome->mx_ttl_s = -1;
	status_set(&outcome->status, 250, "2.0.0", "Saved in %s", local->path);
	local_settled(local);
}

/* The next piece of the body goes to the worker, or its end. */
static void
local_piece(struct local *local, const uint8_t *bytes, size_t len)
{
	enum local_step step = !local->has_begun ? LOCAL_BEGIN
			       : len == 0	 ? LOCAL_END
						 : LOCAL_WRITE;

	local->has_begun = true;
	local_send(local, step, bytes, len);
}

static void
on_bytes(void *owner, int status, const uint8_t *bytes, size_t len)
{
	struct local *local = owner;
	struct err err = ERR_INIT;

	if (status == 0) {
		local_piece(local, bytes, len);
		return;
	}
	(void)err_set(&err, status, "the message cannot be read");
	outcome_own(local_outcome(local), CAUSE_SPOOL, PHASE_LOCAL, "%s",
		    err.text);
	if (local->file != NULL) {
		/* a visit to the worker that ends in job_free's abort */
		local_send(local, LOCAL_ABORT, NULL, 0);
		work_detach(&local->job->job);
		local->job = NULL;
	}
	local_settled(local);
}

static void
local_read(struct local *local)
{
	const uint8_t *bytes;
	size_t len;

	switch (body_next(&local->body, LOCAL_PIECE, &bytes, &len)) {
	case BODY_BYTES:
		local_piece(local, bytes, len);
		break;
	case BODY_END:
		local_piece(local, NULL, 0);
		break;
	case BODY_LATER:
		break;
	}
}

static void
job_done(struct work_job *work)
{
	struct local_job *job = container_of(work, struct local_job, job);
	struct local *local = job->local;

	local->job = NULL;
	local->file = job->file;
	job->file = NULL;
	if (job->rc < 0)
		local_failed(local, job->rc, &job->err);
	else if (job->step == LOCAL_END)
		local_delivered(local);
	else
		local_read(local);
}

/* Begins with the next recipient that has a Maildir, or ends. */
static void
local_next(struct local *local)
{
	const struct local_request *request = &local->request;

	while (local->at < request->count) {
		size_t index = request->recipients[local->at];
		const char *wrong = maildir_path(
			request->hop->maildir,
			request->hop->delimiter != NULL
				? request->hop->delimiter
				: "",
			request->envelope->recipients[index].address,
			local->path);

		if (wrong == NULL) {
			body_open(&local->body, request->spool,
				  request->envelope->id);
			local_read(local);
			return;
		}
		outcome_own(local_outcome(local), CAUSE_LOCAL_ADDRESS,
			    PHASE_LOCAL, "%s", wrong);
		local->at++;
	}
	local->on_done(local->owner);
	free(local->hostname);
	free(local);
}

/* The first step from the loop, so that nothing calls back at once. */
static void
start_run(struct work_job *work)
{
	(void)work; /* nothing blocks yet */
}

static void
start_done(struct work_job *work)
{
	struct local_job *job = container_of(work, struct local_job, job);

	job->local->job = NULL;
	local_next(job->local);
}

struct local *
local_start(const struct local_request *request, void (*on_done)(void *owner),
	    void *owner)
{
	struct local *local = mem_zalloc(sizeof(*local));
	struct local_job *job = mem_zalloc(sizeof(*job));

	local->request = *request;
	local->hostname = mem_strdup(request->hostname);
	local->on_done = on_done;
	local->owner = owner;
	local->body.on_bytes = on_bytes;
	local->body.owner = local;
	for (size_t i = 0; i < request->count; i++)
		request->outcomes[i].mx_ttl_s = -1;
	job->local = local;
	job->job.run = start_run;
	job->job.done = start_done;
	job->job.free_job = job_free;
	local->job = job;
	work_start(request->loop, &job->job, NULL);
	return local;
}

void
local_abort(struct local *local)
{
	body_close(&local->body);
	if (local->job != NULL)
		work_detach(&local->job->job);
	if (local->file != NULL) {
		local_send(local, LOCAL_ABORT, NULL, 0);
		work_detach(&local->job->job);
	}
	free(local->hostname);
	free(local);
}
