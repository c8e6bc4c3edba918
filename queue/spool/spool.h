/* SPDX-License-Identifier: ISC */
/*
 * queue/spool/spool.h - what was acknowledged, on stable storage
 *
 * A log of zero-written, recycled segments takes batches of checksummed
 * records with one write and one fdatasync each; messages that stay long, or
 * are large, become plain text files. The format is in ostler-spool(5), the
 * argument for its safety in doc/design.md.
 *
 * All calls and callbacks are on the loop thread; a committer thread and a
 * straggler thread do what blocks. No function calls back before it returns.
 * The spool knows nothing of mail: an envelope is text (lines, no blank
 * line), a state is text (one line), a body is bytes.
 */
#ifndef OSTLER_QUEUE_SPOOL_SPOOL_H
#define OSTLER_QUEUE_SPOOL_SPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "lib/err.h"
#include "lib/list.h"

struct spool;

/* Monotonic, never used twice, also after a crash. 0 is none. */
#define SPOOL_ID_MAX 14 /* 13 characters of base32 and a NUL */
char *spool_id_format(uint64_t id, char to[SPOOL_ID_MAX]);
bool spool_id_parse(const char *text, uint64_t *out);

struct spool_opts {
	const char *dir;
	size_t segment_bytes;	/* 0: 64 MiB */
	unsigned segments_soft; /* 0: 16 */
	unsigned segments_hard; /* 0: 256 */
	size_t large_bytes;	/* bodies above it go to a file; 0: 256 KiB */
	uint64_t free_bytes;	/* spool_is_short below this much free disk */
	unsigned unread_tries;	/* of old mail, one a second, before what the
				   disk does not give back is set aside; 0: 60 */
	unsigned files_per_s;	/* made of old mail as long as there is room to
				   copy it within the log; 0: 64 */
	size_t memory_bytes;	/* bodies kept until the first attempt ended;
				   0: 32 MiB */
	size_t ahead_bytes;	/* of a turn's records: once there is so much,
				   it is written while the turn goes on, and
				   the rest by parts of twice that; 0: 160 KiB */
};

/* One queued message as found at start. Everything is lent for the call. */
struct spool_found {
	uint64_t id;
	const char *envelope; /* NUL-terminated lines */
	const char *states;   /* all state lines so far, "" for none */
	uint64_t body_bytes;
	void *scan; /* for spool_scan_body */
};

struct spool_callbacks {
	/* For each message found at start: those in the log before spool_open
	 * returns, those in files later. */
	void (*found)(void *owner, const struct spool_found *found);
	/* All files were loaded. */
	void (*loaded)(void *owner);
	/* Something an operator must know; one line. */
	void (*report)(void *owner, bool is_error, const char *file,
		       const char *text);
	/* Two syncs in a row failed: nothing can be accepted any more. */
	void (*broken)(void *owner);
};

/*
 * Opens and recovers the spool; makes what is missing (0700).
 *
 * Returns 0, -EACCES (owned by another: exit 77), -EBUSY (another process has
 * it), -EPROTO (made by a newer version), or what the system said.
 */
int spool_open(uv_loop_t *loop, const struct spool_opts *opts,
	       const struct spool_callbacks *callbacks, void *owner,
	       struct spool **out, struct err *err);

/* Writes what is pending (states, done), then calls on_closed. No other
 * callback comes after this call except those of puts already ended. */
void spool_close(struct spool *spool, void (*on_closed)(void *arg), void *arg);

/* Less free disk than wished: answer 452, go on delivering. */
bool spool_is_short(const struct spool *spool);
/* Wishes for so many bytes from now on, as spool_opts.free_bytes did. */
void spool_set_free(struct spool *spool, uint64_t bytes);
/* No more commits are possible. */
bool spool_is_broken(const struct spool *spool);

/* ------------------------------------------------------------- writing */

/* A message on its way in; embedded in its owner, who may not die before
 * the callback of spool_put_end, or calls spool_put_abort. */
struct spool_put {
	struct spool *spool; /* NULL: not begun */
	uint64_t id;	     /* known from the beginning */
	void *priv;
	void *owner;
	/* After spool_put_data said to wait: go on. */
	void (*on_room)(void *owner);
	/* status 0: durable. -ENOSPC: disk full (452). Others: 451. */
	void (*on_end)(void *owner, int status);
};

/* owner, on_room, on_end are set by the caller. */
void spool_put_begin(struct spool *spool, struct spool_put *put);

/* Adds body bytes. Returns true when the caller should wait for on_room
 * (the bytes were taken). A disk error shows at the end. */
bool spool_put_data(struct spool_put *put, const void *bytes, size_t len);

/* Does it go to a file of its own? Then it can be in no group. */
bool spool_put_is_large(const struct spool_put *put);

/* envelope: borrows, NUL-terminated lines each ending in \n. on_end follows. */
void spool_put_end(struct spool_put *put, const char *envelope);

/* Forgets it; allowed any time before on_end (also after spool_put_end: then
 * the message may or may not be there after a crash, as if the client had
 * gone away before it heard 250; here it is removed). */
void spool_put_abort(struct spool_put *put);

/*
 * Everything submitted between begin and end of a group becomes durable in
 * one batch or not at all: a report with the state change that caused it,
 * the copies of an alias. No put in a group may be large.
 * Groups do not nest.
 */
void spool_group_begin(struct spool *spool);
void spool_group_end(struct spool *spool);

/*
 * Adds a state line to a message. on_saved (may be NULL) comes when it is
 * durable, or with an error.
 *
 * line  borrows; no newline
 */
void spool_state(struct spool *spool, uint64_t id, const char *line,
		 void (*on_saved)(void *arg, int status), void *arg);

/* The message is settled: it is gone with the next commit, at most 20 ms
 * later. */
void spool_done(struct spool *spool, uint64_t id);

/* ------------------------------------------------------------- reading */

/* The envelope and all state lines of one message. */
struct spool_text {
	const char *envelope;
	const char *states;
	uint64_t body_bytes;
};

struct spool_load; /* one request */

/*
 * Reads envelope and states. text is NULL with status -ENOENT, -EIO, -EBADMSG
 * (damaged: it was set aside). text is lent for the call.
 */
struct spool_load *spool_load(struct spool *spool, uint64_t id,
			      void (*on_text)(void *arg, int status,
					      const struct spool_text *text),
			      void *arg);
void spool_load_cancel(struct spool_load *load);

/*
 * The body from memory, when it is there: lends until the next return to the
 * loop, unless spool_pin holds it. NULL when it has to be read.
 */
const uint8_t *spool_body(struct spool *spool, uint64_t id, size_t *out_len);

/* Keeps a body in memory from being dropped; counts. */
void spool_pin(struct spool *spool, uint64_t id);
void spool_unpin(struct spool *spool, uint64_t id);

/* The first attempt ended: the body need not stay in memory. */
void spool_forget_body(struct spool *spool, uint64_t id);

struct spool_read; /* one request */

/*
 * Reads up to max bytes of the body at offset; bytes are lent for the call.
 * len 0 with status 0: the end. The checksum of the whole body is verified
 * when it was read from 0 to the end in order (-EBADMSG).
 */
struct spool_read *
spool_read(struct spool *spool, uint64_t id, uint64_t offset, size_t max,
	   void (*on_bytes)(void *arg, int status, const uint8_t *bytes,
			    size_t len),
	   void *arg);
void spool_read_cancel(struct spool_read *read);

struct spool_stats {
	uint64_t messages, in_log, in_files, corrupt;
	uint64_t segments, segments_free, log_bytes;
	uint64_t commits, commit_records, sync_errors;
	uint64_t copied;       /* messages written again within the log */
	uint64_t bodies_bytes; /* in memory */
	uint64_t index_bytes;  /* of memory for the index */
	uint64_t disk_free;
};
void spool_stats(const struct spool *spool, struct spool_stats *out);

/* ----------------------------------------------- a spool that is stopped */

/*
 * Reads a stopped spool without changing it (ostlerctl queue, fsck): calls
 * each for every message. Blocking. -EBUSY when a daemon has it.
 */
int spool_scan(const char *dir,
	       void (*each)(void *arg, const struct spool_found *found),
	       void (*report)(void *arg, bool is_error, const char *file,
			      const char *text),
	       void *arg, struct err *err);

/*
 * The body of a message, within each of spool_scan: part by part, until a
 * part is refused by what is not 0.
 *
 * Returns 0, what part returned, -EBADMSG when it is damaged (all of it was
 * given by then), or what the system said.
 */
int spool_scan_body(const struct spool_found *found,
		    int (*part)(void *arg, const uint8_t *bytes, size_t len),
		    void *arg);

#endif
