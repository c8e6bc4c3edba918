/* SPDX-License-Identifier: ISC */
/*
 * queue/spool/commit.h - the committer: one write and one sync at a time
 *
 * The loop packs records into parcels and gives them away at the end of each
 * turn, or, when a turn brings much, while it goes on. The committer's thread
 * joins all parcels that wait to one batch, writes them as they come, then
 * the batch's header, syncs it, and gives it back with its outcome; what
 * arrives meanwhile is the next batch.
 *
 * Parcels and batches have one owner at a time: who holds them on a list.
 * Everything else here is under the mutex, or belongs to the thread.
 */
#ifndef OSTLER_QUEUE_SPOOL_COMMIT_H
#define OSTLER_QUEUE_SPOOL_COMMIT_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "lib/list.h"
#include "queue/spool/format.h"
#include "queue/spool/index.h"

struct spool_put;

/* Where the file of a segment that could not be read in full is. */
enum segment_place {
	SEGMENT_IN_LOG,
	SEGMENT_LEAVING, /* a worker renames it; head waits */
	SEGMENT_ASIDE,	 /* durably in corrupt/ */
	SEGMENT_STUCK,	 /* it could not be renamed; head goes on */
};

/* One file of the log. */
struct segment {
	struct list link; /* free: committer's list; used: the loop's */
	int fd;
	uint32_t slot;	 /* 1-based; its file is log/SLOT.seg */
	uint32_t bytes;	 /* of the file */
	uint64_t segno;	 /* of its present use, 0: free */
	bool is_tainted; /* I5: a sync failed; never written again */
	bool is_unread;	 /* what it holds may be readable one day: not used
			    again, but set aside */

	/* loop thread */
	enum segment_place place;
	bool is_used;	       /* on the loop's list */
	bool has_unlinks;      /* holds DONE records whose unlink may not be
				  durable */
	unsigned unread_tries; /* to empty it, with something unreadable left */
	unsigned readers;
	bool is_dropped; /* unlinked; closed when the last reader goes */
	struct entry_list entries; /* what it is kept for */
};

struct parcel_item {
	struct record_head record;
	uint32_t header_at; /* in the arena */
	uint32_t at;	    /* in the parcel's bytes */
	bool is_grouped;
	bool is_aborted;
	bool is_copy;	       /* of an older record of the same message */
	bool is_again;	       /* DONE: of a file that cannot be removed;
				* STATE: asked for again after a failure */
	struct body *body;     /* shares, or NULL */
	struct spool_put *put; /* MSG; NULL: nobody waits */
	void (*on_saved)(void *arg, int status);
	void *arg;
};

struct parcel_piece {
	const uint8_t *bytes; /* NULL: in the arena */
	uint32_t at;	      /* there */
	uint32_t len;
};

struct parcel {
	struct list link;
	uint8_t *arena;
	size_t arena_len, arena_size;
	struct parcel_piece *pieces;
	size_t piece_count, piece_size;
	struct parcel_item *items;
	size_t item_count, item_size;
	size_t bytes;	/* of all records */
	uint32_t start; /* set by the committer: offset in the segment */
	bool is_urgent; /* somebody waits for it */
	bool is_copy;	/* all of it: it may be taken back */
	bool is_more;	/* than may use what is kept for DONE records */
};

/* Of the last segment there is, for DONE records alone. */
#define COMMIT_DONE_PART 8u

struct parcel *parcel_new(void);
void parcel_free(struct parcel *parcel);
void parcel_clear(struct parcel *parcel);

/*
 * Adds a record; item's record, body (shared) and who waits are the
 * caller's. text and body are what stands behind the header.
 *
 * Returns the item, lent until the next addition.
 */
struct parcel_item *parcel_add(struct parcel *parcel,
			       const struct record_head *record,
			       const char *text, struct body *body);

struct batch {
	struct list link;
	struct list parcels;
	struct segment *segment; /* NULL: not written at all */
	uint64_t seq, head, ids;
	uint32_t records, bytes; /* of them, so far */
	uint32_t written;	 /* behind its first block, ahead of the rest */
	uint32_t end;		 /* offset behind it in the segment */
	int status;
};

struct committer {
	pthread_t thread;
	bool is_started;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	uv_async_t *notify; /* lent; sent when done or wanted changes */

	/* under the lock */
	struct list queue;    /* parcels */
	struct list done;     /* batches */
	struct list segments; /* free ones */
	unsigned free_count;
	uint64_t head, ids;  /* what the next batch says */
	uint32_t wanted;     /* bytes of a segment it waits for, 0: none */
	bool is_stranded;    /* and there is none to write head to either */
	bool is_giving_up;   /* no segment will come: fail what waits */
	bool is_more_coming; /* the loop's turn is not over */
	bool is_waiting;     /* for that, with a batch begun */
	bool is_stopping;
	bool is_last; /* the block kept back may be used */
	bool is_broken;

	/* thread's own */
	uint64_t tag, next_segno, seq;
	uint64_t stamped; /* head of the newest durable batch */
	struct segment *current;
	uint32_t offset;
	unsigned failures;  /* in a row */
	uint64_t commit_ns; /* what the end of a batch takes, lately */
	/* of the batch at hand: the first block, and what is not written yet */
	struct iovec *iov;
	size_t iov_count, iov_size;
	size_t unwritten; /* bytes, without the first block */
	size_t first_len;
	unsigned tail; /* in turns */
	uint8_t first[FORMAT_BLOCK], tails[2][FORMAT_BLOCK];
};

void committer_init(struct committer *committer, uv_async_t *notify);
int committer_start(struct committer *committer);
/* Writes what was given, then ends the thread. */
void committer_stop(struct committer *committer);
void committer_done(struct committer *committer);

/*
 * parcels         takes all on the list, which may be empty
 * is_more_coming  the turn goes on: they are written, but the sync waits a
 *                 little for what follows. A turn that said so, or in which
 *                 batches came back, ends with a call that does not.
 */
void committer_give(struct committer *committer, struct list *parcels,
		    bool is_more_coming);
/* Before all that waits: a segment may depend on it. parcel: takes. */
void committer_give_first(struct committer *committer, struct parcel *parcel);
/* Copies that wait for a segment come back with -ECANCELED. */
void committer_fail_copies(struct committer *committer);
void committer_add_segment(struct committer *committer,
			   struct segment *segment);

/* No segment will come any more, and the end is near: what waits may be
 * written where only head could be moved before. */
void committer_use_last(struct committer *committer);

/*
 * One batch by hand, before the thread runs: makes the reserve of ids durable
 * at start. Returns what the disk said.
 */
int committer_first(struct committer *committer, struct batch **out);

#endif
