/* SPDX-License-Identifier: ISC */
/*
 * queue/spool/index.h - where each message is, in 64 bytes
 *
 * A pool of entries named by small handles, and a hash table by id that
 * grows by one bucket at a time, so that no insertion ever moves a million
 * others. One thread at a time.
 */
#ifndef OSTLER_QUEUE_SPOOL_INDEX_H
#define OSTLER_QUEUE_SPOOL_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct body;

/* A state record that is in the log and not in the message's file. */
struct state_note {
	uint32_t slot; /* segment */
	uint32_t at;   /* of the text in it, bytes */
	uint32_t bytes;
	uint32_t number;
};

/* Those of one message, by rising number. There can be hundreds of thousands:
 * some for each of its recipients. */
struct state_notes {
	uint32_t count; /* > 0; memory is there for the next power of two */
	struct state_note each[];
};

enum entry_flags {
	ENTRY_IN_FILE = 1,  /* the file is what counts */
	ENTRY_HAS_FILE = 2, /* the log counts, a file is there as well */
	ENTRY_MOVING = 4,   /* the straggler thread is writing the file */
	ENTRY_DONE = 8,	    /* settled; waits for its record's commit */
	ENTRY_GONE = 16,    /* settled durably; waits for pins or the file */
	ENTRY_DAMAGED = 32, /* being set aside */
	ENTRY_FOUND = 64,   /* its file was seen (while loading) */
	ENTRY_COPIED = 128, /* recovery saw two records (while loading) */
};

struct entry {
	uint64_t id;
	uint64_t body_bytes;
	uint32_t hash_next;  /* handle, 0: none */
	uint32_t next, prev; /* handles, in the list of its segment */
	uint32_t slot;	     /* segment whose list it is on; 0: none */
	uint32_t at;	     /* of the record in it, in units of 8 bytes */
	uint32_t text_bytes; /* of the envelope */
	uint32_t body_crc;
	uint32_t states : 24;	   /* number of the last state */
	uint32_t flags : 8;	   /* enum entry_flags */
	struct state_notes *notes; /* owns; NULL: none */
	struct body *body;	   /* shares; NULL: not in memory */
};

static inline uint32_t
entry_note_count(const struct entry *entry)
{
	return entry->notes != NULL ? entry->notes->count : 0;
}

/* Number of its oldest note, 0: none. */
static inline uint32_t
entry_first_note(const struct entry *entry)
{
	return entry->notes != NULL ? entry->notes->each[0].number : 0;
}

#define INDEX_PAGE 1024u

struct index {
	struct entry **pages; /* of INDEX_PAGE entries; handle 0 is not used */
	uint32_t page_count;
	uint32_t handles; /* given out so far, with 0 */
	uint32_t free;	  /* first of those given back, by hash_next */
	uint32_t count;

	uint32_t **buckets; /* pages of INDEX_PAGE handles */
	uint32_t bucket_pages;
	uint32_t level; /* buckets of the last full doubling */
	uint32_t split; /* of them already split */
	uint64_t note_bytes;
};

void index_init(struct index *index);
void index_done(struct index *index);

static inline struct entry *
index_at(const struct index *index, uint32_t handle)
{
	return &index->pages[handle / INDEX_PAGE][handle % INDEX_PAGE];
}

/* 0 when there is none. */
uint32_t index_find(const struct index *index, uint64_t id);

/* A new entry, zero but for its id, which must not be there yet. Pointers to
 * other entries stay good. */
uint32_t index_add(struct index *index, uint64_t id);

/* The entry is on no list and its notes and body are gone. */
void index_remove(struct index *index, uint32_t handle);

/* Puts a state's place in order; false: that number is there already, and is
 * to be found at this place from now on. */
bool index_note(struct index *index, struct entry *entry,
		const struct state_note *note);
struct state_note *index_find_note(const struct entry *entry, uint32_t number);
void index_drop_notes(struct index *index, struct entry *entry);
/* Those up to this number. */
void index_drop_notes_to(struct index *index, struct entry *entry,
			 uint32_t last);

uint64_t index_bytes(const struct index *index);

/* A list of entries: those a segment has to be kept for. */
struct entry_list {
	uint32_t first, last, count;
};
void entry_list_push(struct index *index, struct entry_list *list,
		     uint32_t handle, uint32_t slot);
void entry_list_remove(struct index *index, struct entry_list *list,
		       uint32_t handle);

#endif
