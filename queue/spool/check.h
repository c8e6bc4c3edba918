/* SPDX-License-Identifier: ISC */
/*
 * queue/spool/check.h - everything in a stopped spool looked at, and repaired
 *
 * Reads every byte that counts: batches, records with their bodies, message
 * files with theirs, names, modes. A repair sets aside what is damaged into
 * corrupt/, keeps all that holds, and ends with a log that begins anew: what
 * was live in a damaged one stands in message files then. It deletes nothing
 * but the files of messages that the log says are settled, as a start would.
 * A second repair finds nothing to do. A repair that cannot list a folder of
 * messages ends there: they would seem to be nowhere. Blocking; ostlerctl
 * fsck.
 */
#ifndef OSTLER_QUEUE_SPOOL_CHECK_H
#define OSTLER_QUEUE_SPOOL_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/err.h"

struct spool_finding {
	bool is_damage;	    /* else a note: the next start deals with it */
	const char *kind;   /* one word */
	const char *file;   /* below the spool */
	uint64_t id;	    /* 0: of no message */
	const char *text;   /* what it is */
	const char *repair; /* what was done about it, "" for nothing */
};

struct spool_check {
	/* set by the caller */
	bool is_repair;
	void (*found)(void *arg, const struct spool_finding *finding);
	void *arg;

	/* the result */
	uint64_t messages, in_log, in_files; /* that are queued */
	uint64_t segments, log_bytes;
	uint64_t set_aside;		   /* what corrupt/ holds at the end */
	uint64_t notes, damages, repaired; /* findings */
};

/*
 * Checks a spool, of which dir is the folder.
 *
 * Returns 0 when all could be looked at, whatever was found; -EBUSY when a
 * daemon has it, -EPROTO when a newer version made it, -EACCES when its user
 * is another one (repair only), or what the system said. After a failure of
 * a repair nothing is lost: it can be begun again.
 */
int spool_check(const char *dir, struct spool_check *check, struct err *err);

#endif
