/* SPDX-License-Identifier: ISC */
/*
 * queue/spool/internal.h - what the files of the spool share
 *
 * struct spool belongs to the loop thread; its committer and straggler have
 * their own rules in their headers.
 */
#ifndef OSTLER_QUEUE_SPOOL_INTERNAL_H
#define OSTLER_QUEUE_SPOOL_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "lib/err.h"
#include "lib/list.h"
#include "lib/work.h"
#include "queue/spool/body.h"
#include "queue/spool/commit.h"
#include "queue/spool/files.h"
#include "queue/spool/index.h"
#include "queue/spool/recover.h"
#include "queue/spool/spool.h"
#include "queue/spool/straggler.h"

/* The folders of a spool and what was found at its door. */
struct door {
	int dir_fd, lock_fd, log_fd, tmp_fd, corrupt_fd;
	uint64_t tag;
};
int door_open(const char *dir, struct door *out, struct err *err);
int door_open_read_only(const char *dir, struct door *out, struct err *err);
/* For a check: exclusively for a repair, else shared. *out_version is what
 * reading VERSION came to; tag is 0 after a failure of that. */
int door_open_check(const char *dir, bool is_repair, struct door *out,
		    int *out_version, struct err *err);
/* Durably, with door->tag. */
int door_write_version(const char *dir, struct door *door, struct err *err);
void door_close(struct door *door);

enum spool_life {
	SPOOL_OPEN,
	SPOOL_CLOSING, /* what was given is written; nothing new begins */
	SPOOL_STOPPED, /* threads ended; handles close */
};

struct copying;
struct loader;
struct reading;

/* A reader that goes through a body in order: its checksum so far. */
#define PROGRESS_MAX 256u
struct progress {
	uint64_t id, next;
	uint32_t crc;
};

/* One call that no batch brings. */
struct later {
	struct list link;
	void (*call)(void *arg, int status);
	void *arg;
	int status;
};

struct spool {
	uv_loop_t *loop;
	struct spool_opts opts; /* dir is not kept */
	struct spool_callbacks callbacks;
	void *owner;
	enum spool_life life;
	struct door door;
	struct files files;
	struct index index;
	struct body_pool bodies;

	struct segment **slots; /* by slot - 1; owns */
	uint32_t slot_count;
	struct list used; /* by rising segno */
	uint64_t log_bytes;
	uint64_t durable_head;
	uint32_t current_end;	 /* of the newest batch, in its segment */
	unsigned free_extra;	 /* segments in hand, while mail had to wait */
	bool is_making;		 /* a new segment, in a worker */
	bool is_retiring;	 /* the straggler has the oldest segment */
	bool is_slow;		 /* the newest retiring makes many files */
	bool is_full;		 /* nothing is free, or soon: no new mail */
	bool cannot_make;	 /* a segment: the tick tries again */
	bool is_retry;		 /* the tick: try to make one all the same */
	bool cannot_move;	 /* files cannot be made: no room */
	bool is_late;		 /* retiring failed; tried again by the tick */
	bool is_loading;	 /* files of an earlier run are not all known */
	struct copying *copying; /* of the oldest segment's mail, or NULL */
	bool copies_nothing;	 /* until the tick */
	unsigned files_left;	 /* the same: made before any is copied */
	bool is_broken;
	bool is_marked;	 /* the last batch of a clean end was given */
	bool is_last;	 /* closing with a full log: its last block is used */
	int commit_told; /* of the last failure; 0: none, or over */
	unsigned move_failures;
	int move_told;	    /* what they were the last time; 0: none, or over */
	bool is_aside_told; /* that damaged mail cannot be set aside */

	struct committer committer;
	struct straggler straggler;
	uv_async_t notify;
	uv_prepare_t turn_end;
	uv_timer_t done_timer, tick;
	unsigned handles; /* still to be closed */

	struct parcel *filling;
	struct list ready; /* parcels to be given at the end of the turn */
	struct list spare; /* parcels without content */
	unsigned spare_count;
	unsigned in_flight; /* parcels given away */
	bool is_ahead;	    /* some of them in this turn */
	bool is_awaited;    /* the committer waits for the end of the turn */
	int group_depth;
	size_t group_first; /* item index */
	struct list later;  /* callbacks without a batch */

	uint64_t next_id, ids_reserved;
	uint64_t first_id;  /* of this run */
	uint64_t put_bytes; /* in memory of unfinished puts */

	unsigned states_again; /* asked for again, and not yet saved */
	uint64_t *settled;     /* DONE records that wait, in a full log */
	size_t settled_count, settled_size;
	size_t settled_files; /* the first so many have a file */
	size_t dones;	      /* DONE records given, or about to be */
	bool has_settled;     /* some were not looked at */
	unsigned free_count;  /* segments, as the committer said */

	/* Its DONE records that cannot go are written again; or NULL. */
	struct segment *forwarding;
	size_t forwards; /* so many of them are not durable yet */
	bool has_failed_forward;

	uint64_t *unlinks; /* to be given to the straggler */
	size_t unlink_count, unlink_size;

	struct work_lane reading, writing;
	unsigned jobs; /* in workers */
	struct loader *loader;
	struct progress progress[PROGRESS_MAX];
	unsigned progress_next;

	uint64_t disk_free;
	bool is_short;
	struct spool_stats stats;
	void (*on_closed)(void *arg);
	void *closed_arg;
};

/* spool.c */
struct segment *spool_segment(const struct spool *spool, uint32_t slot);
void spool_report(struct spool *spool, bool is_error, const char *file,
		  const char *format, ...)
	__attribute__((format(printf, 4, 5)));
void spool_unlist(struct spool *spool, uint32_t handle);
/* Puts the entry on the list of the segment that its oldest note is in. */
void spool_list_by_notes(struct spool *spool, uint32_t handle);
void spool_unlink_later(struct spool *spool, uint64_t id);
/* A job for those so far, the caller's. */
struct straggler_job *spool_take_unlinks(struct spool *spool);
/* A callback at the end of this turn, through no commit. */
void spool_call_later(struct spool *spool, void (*call)(void *arg, int status),
		      void *arg, int status);
/* Something ended: go on with what waited for it. */
void spool_go_on(struct spool *spool);
/* A settled entry nobody holds any more. */
void spool_drop_entry(struct spool *spool, uint32_t handle);
void spool_job_started(struct spool *spool);
void spool_job_ended(struct spool *spool);
bool spool_is_live(const struct entry *entry);
/* A record for the next batch; record->flags is set here. is_urgent: somebody
 * waits for it. Returns the item, lent until the next addition. */
struct parcel_item *spool_add_record(struct spool *spool,
				     struct record_head *record,
				     const char *text, struct body *body,
				     bool is_urgent);
void spool_add_done(struct spool *spool, uint64_t id);
/* One that was filled by others; before what was collected here. */
void spool_give_parcel(struct spool *spool, struct parcel *parcel);
/* A parcel whose outcome was told. */
void spool_spare_parcel(struct spool *spool, struct parcel *parcel);
/* Gives the committer what waits; all: also what nobody waits for. */
void spool_give(struct spool *spool, bool all);
void spool_on_turn_end(uv_prepare_t *handle);
void spool_on_done_timer(uv_timer_t *handle);

/* put.c: the put is over; its owner hears. */
void spool_end_put(struct spool_put *put, int status);

/* outcome.c */
void spool_on_notify(uv_async_t *handle);

/* keep.c: segments made, freed, dropped */
void keep_go_on(struct spool *spool);
void keep_first_seen(struct spool *spool, struct segment *segment);
void keep_tick(struct spool *spool);
void keep_drop_reader(struct spool *spool, struct segment *segment);
int keep_make_now(int log_fd, uint32_t slot, uint32_t bytes,
		  struct segment **out);
void keep_add(struct spool *spool, struct segment *segment);
uint32_t keep_free_slot(struct spool *spool);

/* retire.c: what is in the oldest segment moves */
/* is_stuck: no DONE record can be written before this segment is free. */
void retire_start(struct spool *spool, struct segment *segment, bool is_stuck);
void retire_ended(struct spool *spool, struct straggler_job *job);
/* A DONE record that was written again is durable, or was not taken. */
void retire_forwarded(struct spool *spool, struct segment *segment, int status);
/* What the disk does not give back now is left where it is, for some tries. */
void retire_unread(struct spool *spool, struct segment *segment, uint64_t id,
		   int status);

/* copy.c: old mail written once more at the end of the log */
/* Whether a backup is being made: blocking. */
bool copy_is_forbidden(int dir_fd);
/* Whether it is right for this segment; then copy_takes for its entries and
 * copy_start follow, on the same turn. */
bool copy_plan(struct spool *spool, struct segment *segment);
/* false: a file is better, or the only way. */
bool copy_takes(struct spool *spool, const struct entry *entry);
void copy_start(struct spool *spool);
/* One record given by it became durable, or did not. */
void copy_saved(struct spool *spool, struct segment *segment,
		const struct parcel *parcel, const struct parcel_item *item);
void copy_failed(struct spool *spool, int status);

/* full.c: what deliveries may still write when a log is full */
/* No segment is free, and none can be made. */
bool full_is_scarce(const struct spool *spool);
/* Bytes that copies of the oldest segment's mail may take then. */
size_t full_room(const struct spool *spool);
/* This message is settled; its record waits. */
void full_add(struct spool *spool, uint64_t id);
/* Those records that are worth their blocks now; all, if the log is no longer
 * full. To be given to the committer. */
void full_give(struct spool *spool);

/* large.c: a message streamed to a file */
struct large;
struct large *large_new(struct spool *spool, uint64_t id,
			struct spool_put *put);
/* Returns true when the caller should wait. */
bool large_data(struct large *large, const void *bytes, size_t len);
void large_end(struct large *large, const char *envelope);
void large_abort(struct large *large);
/* put.c: the file is there, or not. */
void large_ended(struct spool *spool, struct spool_put *put, int status,
		 const struct file_head *head);

/* read.c */
/* What can be read of it, block by block; to holds zeros before. Blocking. */
void read_around(int fd, uint8_t *to, size_t len, uint64_t at);
/* The same into a new file, synced. Blocking. */
int read_copy_out(int from, uint32_t at, size_t len, int to_dir,
		  const char *name);
void read_set_aside(struct spool *spool, uint64_t id);

/* load.c: files of an earlier run */
void loader_start(struct spool *spool);
void loader_stop(struct spool *spool);
/* The states of a file and those in the log behind them; the caller's.
 * Those that cannot be read are left out, and *status (may be NULL) says why:
 * that which is no damage first. */
char *load_all_states(struct spool *spool, const struct entry *entry,
		      const struct file_text *file, int *status);

#endif
