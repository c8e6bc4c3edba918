/* SPDX-License-Identifier: ISC */
/*
 * queue/spool/straggler.h - the thread that makes files of what stays long
 *
 * Jobs run in the order given. When one is back without an error, all that
 * it and the jobs before it did is durable: files, their state lines, and
 * every unlink but those of the files that cannot be removed.
 */
#ifndef OSTLER_QUEUE_SPOOL_STRAGGLER_H
#define OSTLER_QUEUE_SPOOL_STRAGGLER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "lib/list.h"
#include "queue/spool/files.h"

/* Where a state's text stands in the log. */
struct move_note {
	int fd; /* lent: of a segment that outlives the job */
	uint32_t at, bytes, number;
	bool is_unread; /* it could not be read, and was left out */
};

/* One message to be written, or state lines to be added to its file. */
struct move {
	uint64_t id;
	bool is_append;
	int fd; /* lent: of the segment with its record */
	uint32_t at, text_bytes;
	uint64_t body_bytes;
	struct move_note *notes; /* owns */
	size_t note_count;
	bool may_have_file; /* after a failure: it cannot be ruled out */
	int status; /* of reading: of this one alone. -EBADMSG: it is damaged,
		       -ENOENT: there is no file, others: not for now */
};

struct straggler_job {
	struct list link;
	struct segment *segment; /* to be retired; NULL: unlinks alone */
	struct move *moves;	 /* owns */
	size_t move_count;
	uint64_t *unlinks; /* owns: done before the moves */
	size_t unlink_count;
	uint64_t *stuck; /* owns: files that cannot be removed, once a retiring
			    tried again */
	size_t stuck_count;
	size_t newly_stuck; /* of the unlinks of this job */
	uint64_t stuck_id;  /* the first of them */
	int stuck_status;   /* and why */
	bool is_last_try;   /* states that cannot be read are left out */
	int status;
};
void straggler_job_free(struct straggler_job *job);

struct straggler {
	pthread_t thread;
	bool is_started;
	uv_async_t *notify; /* lent */
	struct files *files;
	atomic_bool is_stopping;

	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct list queue, done; /* under the lock */
	bool is_ending;		 /* the same: the thread has nothing to do */

	/* thread's own: folders whose changes may not be durable */
	bool is_dirty[FILES_FOLDERS];
	bool has_failed_sync; /* in the retiring at hand */
	uint64_t *failed;     /* unlinks to be tried again before a retiring */
	size_t failed_count;
};

void straggler_init(struct straggler *straggler, struct files *files,
		    uv_async_t *notify);
int straggler_start(struct straggler *straggler);
/* Jobs not done come back with -ECANCELED on the done list. */
void straggler_stop(struct straggler *straggler);
void straggler_done(struct straggler *straggler);

/* job: takes, until it is on the done list. */
void straggler_give(struct straggler *straggler, struct straggler_job *job);

#endif
