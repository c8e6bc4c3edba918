/* SPDX-License-Identifier: ISC */
/*
 * queue/spool/mutant.h - a spool that is wrong in one way, on purpose
 *
 * Built with -DOSTLER_MUTANT=n, the n-th rule below is broken and mail can be
 * lost in a crash; tests/crash/mutants.sh makes sure that the test of crash
 * states notices each. Without it MUTANT is 0 and nothing is left of it.
 */
#ifndef OSTLER_QUEUE_SPOOL_MUTANT_H
#define OSTLER_QUEUE_SPOOL_MUTANT_H

#ifdef OSTLER_MUTANT
#define MUTANT(rule) (OSTLER_MUTANT == MUTANT_##rule)
#else
#define MUTANT(rule) 0
#endif

enum mutant {
	MUTANT_BATCH_UNSYNCED = 1,	/* I1: no fdatasync of a batch */
	MUTANT_FILE_UNSYNCED = 2,	/* I3: the file of old mail */
	MUTANT_FOLDER_UNSYNCED = 3,	/* I3: the folder it was made in */
	MUTANT_UNLINK_UNSYNCED = 4,	/* I3: the folder it was removed from */
	MUTANT_NEW_FOLDER_UNSYNCED = 5, /* msg/, when a folder was made */
	MUTANT_OLD_USE_COUNTS = 6, /* I4: records of a segment's earlier use */
	MUTANT_BODY_UNCHECKED = 7, /* I4: no checksum of bodies */
	MUTANT_BELOW_HEAD_COUNTS = 8, /* I4: what lies before head */
	MUTANT_FAILURE_IGNORED = 9,   /* I5: a failed sync is taken for done */
	MUTANT_SYNC_AGAIN = 10,	      /* I5: a failed sync is asked for again */
	MUTANT_LARGE_UNSYNCED = 11,   /* I1: the file of a large message */
	MUTANT_LARGE_FOLDER_UNSYNCED = 12, /* I1: its folder */
	MUTANT_SEGMENT_UNSYNCED = 13,	   /* log/, when a segment was made */
	MUTANT_UNLINK_FORGOTTEN = 14, /* I3: head does not wait for unlinks */
	MUTANT_IDS_UNRESERVED = 15,   /* ids begin behind the last one seen */
	MUTANT_MEMORY_BELIEVED = 16,  /* what recovery read is not synced */
	MUTANT_FOLDERS_BELIEVED = 17, /* nor what a killed run did in folders */
	MUTANT_STATES_FORGOTTEN = 18, /* I3: states do not follow into files */
	MUTANT_FREED_TOO_EARLY = 19,  /* I2: below a head not yet durable */
	MUTANT_GROUP_IN_PARTS = 20,   /* half a group counts */
	MUTANT_COPY_BELIEVED = 21, /* I3: head passes before a copy is safe */
	MUTANT_STATES_NOT_COPIED = 22, /* I3: states stay behind in the log */
	MUTANT_DONE_COPIED = 23,       /* a copy behind its DONE record */
	MUTANT_SYNCED_TOO_EARLY = 24,  /* I1: before the last of a batch */
	MUTANT_GAP_UNMARKED = 25,      /* a torn state behind one never saved */
};
#define MUTANTS 25 /* of them */

#endif
