/* SPDX-License-Identifier: ISC */
/*
 * queue/spool/check_parts.h - what the files of the check share
 */
#ifndef OSTLER_QUEUE_SPOOL_CHECK_PARTS_H
#define OSTLER_QUEUE_SPOOL_CHECK_PARTS_H

#include "queue/spool/check.h"
#include "queue/spool/internal.h"

/* Bytes of the log that were durable once and do not hold. */
struct check_range {
	struct segment *segment;
	uint64_t segno;
	uint32_t at, bytes;
};

/* A batch header that holds. */
struct check_batch {
	uint32_t slot, at, bytes;
	uint64_t segno, seq;
};

struct check {
	struct spool_check *outer; /* lends */
	struct spool spool;	   /* what reading needs: door, files, index */
	struct recovery recovery;
	struct check_range *ranges; /* owns */
	size_t range_count;
	struct check_batch *batches; /* owns; by segno, then offset */
	size_t batch_count;
	bool is_log_damaged;
	bool is_unlisted[FILES_FOLDERS]; /* what is there is unknown */
};

#define CHECK_NOTE   false
#define CHECK_DAMAGE true

/* Tells of a finding and counts it. repair: "" nothing was done. */
void check_tell(struct check *check, bool is_damage, const char *kind,
		const char *file, uint64_t id, const char *repair,
		const char *format, ...) __attribute__((format(printf, 7, 8)));

#define CHECK_REPAIR_MAX 128

/*
 * Moves a file into corrupt/ under a name that is free there, durably.
 *
 * out  what to say about it
 */
void check_set_aside(struct check *check, int from_dir, const char *from,
		     const char *as, char out[CHECK_REPAIR_MAX]);

/* The same with bytes. Returns 0 or why they are not kept: then nothing may be
 * done that needs them. */
int check_keep_bytes(struct check *check, const void *bytes, size_t len,
		     const char *as, char out[CHECK_REPAIR_MAX]);

/* check_log.c */
/* Fills recovery, index, ranges and batches, salvages, tells. */
int check_log(struct check *check, struct err *err);

/* check_files.c: msg/ and tmp/ */
/* Lists each folder: a repair does not begin when one cannot be listed, as its
 * messages would seem to be nowhere. */
int check_folders(struct check *check, struct err *err);
int check_files(struct check *check, struct err *err);

/* check_repair.c: all that is live becomes files; the log begins anew. */
int check_renew(struct check *check, struct err *err);

#endif
