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
	uint32_t *unread; /* owns: slots of segments with holes */
	size_t unread_count;
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
#define CHECK_ASIDE_MAX	 96

/* A name nothing has in corrupt/ yet, as or much like it: what was set aside
 * stays. False: there is none. */
bool check_free_name(struct check *check, const char *as,
		     char to[CHECK_ASIDE_MAX]);

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

/*
 * Keeps the states of a message that can no longer have any, as ID.states.
 * Those in the log; returns as check_keep_bytes does.
 */
int check_keep_states(struct check *check, const struct entry *entry,
		      char out[CHECK_REPAIR_MAX]);

/* check_log.c */
/* Fills recovery, index, ranges and batches, salvages, tells. */
int check_log(struct check *check, struct err *err);

/* check_files.c: msg/ and tmp/ */
/* Lists each folder: a repair does not begin when one cannot be listed, as its
 * messages would seem to be nowhere. */
int check_folders(struct check *check, struct err *err);
int check_files(struct check *check, struct err *err);

/*
 * check_unread.c: a message file that the disk does not give back whole.
 *
 * Tells of its holes. A repair keeps the file in corrupt/, as it is and where
 * it is on the disk, and puts a copy with zeros in the holes in its place.
 * Returns 1 when it did: what the copy is worth is seen by reading it; 0 when
 * it only told; or why neither can be done, -EIO also when there is no hole.
 */
int check_unread(struct check *check, uint64_t id);

/* check_repair.c: all that is live becomes files; the log begins anew. */
int check_renew(struct check *check, struct err *err);

#endif
