/* SPDX-License-Identifier: ISC */
/*
 * queue/spool/recover.h - what the log says, after whatever happened
 *
 * Reads every segment that is still needed once and gives the messages that
 * are live in it. Changes nothing on the disk. Blocking.
 */
#ifndef OSTLER_QUEUE_SPOOL_RECOVER_H
#define OSTLER_QUEUE_SPOOL_RECOVER_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/err.h"
#include "lib/list.h"
#include "queue/spool/commit.h"
#include "queue/spool/index.h"

typedef void recover_report(void *arg, bool is_error, const char *file,
			    const char *text);

/* Bytes of the log that were durable once and are damaged now. */
typedef void recover_damage(void *arg, const struct segment *segment,
			    uint32_t at, uint32_t bytes);

/* Numbers are left out for what may be read again one day: more than a
 * segment can have used. */
#define RECOVER_SKIP (UINT64_C(1) << 32)
#define RECOVER_GAP  (RECOVER_SKIP / 2) /* between seqs: no damage */

struct recovery {
	/* set by the caller */
	int log_fd;
	uint64_t tag;
	bool is_read_only;
	bool keeps_gone; /* settled ones stay in the index, all of them */
	struct index *index;
	recover_report *report;
	recover_damage *damage;
	void *arg;

	/* the result: takes over all segments, also after a failure */
	struct segment **slots; /* by slot - 1; owns; some are NULL */
	uint32_t slot_count;
	struct list used; /* by rising segno */
	struct list free;
	uint64_t head, next_segno, next_seq, ids;
	uint64_t largest_id;  /* that a record named */
	struct segment *last; /* lends: with the newest batch; NULL: none */
	uint32_t last_at, last_bytes;
};

/*
 * Fills index and result: live messages in the log are entries on the list
 * of their segment; ENTRY_GONE ones are settled and may have a file yet;
 * ENTRY_IN_FILE ones have states here and their message, if any, in a file.
 */
int recover_log(struct recovery *recovery, struct err *err);

/* One record more, which was found by other means and holds. */
void recover_apply(struct recovery *recovery, struct segment *segment,
		   const struct record_head *record, uint32_t at);

/* Frees the segments and closes their files. */
void recover_drop(struct recovery *recovery);

/* A segment that is not on any list yet. */
struct segment *segment_new(int fd, uint32_t slot, uint32_t bytes);
void segment_free(struct segment *segment);

#define SEGMENT_NAME_MAX 16
char *segment_name(uint32_t slot, char to[SEGMENT_NAME_MAX]);
bool segment_parse_name(const char *name, uint32_t *out_slot);

#endif
