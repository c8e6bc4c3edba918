/* SPDX-License-Identifier: ISC */
#include "queue/spool/index.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "queue/spool/body.h"

void
index_init(struct index *index)
{
	*index = (struct index){.handles = 1, .level = INDEX_PAGE};
	index->buckets = mem_alloc(sizeof(*index->buckets));
	index->buckets[0] = mem_zalloc(INDEX_PAGE * sizeof(uint32_t));
	index->bucket_pages = 1;
}

void
index_done(struct index *index)
{
	for (uint32_t handle = 1; handle < index->handles; handle++) {
		struct entry *entry = index_at(index, handle);

		if (entry->id == 0)
			continue;
		index_drop_notes(index, entry);
		body_unref(entry->body);
	}
	for (uint32_t i = 0; i < index->page_count; i++)
		free(index->pages[i]);
	for (uint32_t i = 0; i < index->bucket_pages; i++)
		free(index->buckets[i]);
	free(index->pages);
	free(index->buckets);
	*index = (struct index){0};
}

/* Ids are given out in a row, and so are entries: neighbours share a line of
 * buckets, and what looks for one after the other finds it in the cache. */
#define ROW_BITS 4
#define ROW_MASK ((1u << ROW_BITS) - 1)

static uint32_t
hash(uint64_t id)
{
	uint64_t row = (id >> ROW_BITS) * 0x9e3779b97f4a7c15u;

	return (uint32_t)(row >> 32) << ROW_BITS | ((uint32_t)id & ROW_MASK);
}

/* Linear hashing: buckets below split have been divided by the next bit. */
static uint32_t *
bucket_of(const struct index *index, uint64_t id)
{
	uint32_t place = hash(id) & (index->level - 1);

	if (place < index->split)
		place = hash(id) & (2 * index->level - 1);
	return &index->buckets[place / INDEX_PAGE][place % INDEX_PAGE];
}

uint32_t
index_find(const struct index *index, uint64_t id)
{
	uint32_t handle = *bucket_of(index, id);

	while (handle != 0 && index_at(index, handle)->id != id)
		handle = index_at(index, handle)->hash_next;
	return handle;
}

static void
split_one(struct index *index)
{
	uint32_t from = index->split, added = index->level + from;
	uint32_t *bucket, handle;

	if (added / INDEX_PAGE == index->bucket_pages) {
		index->buckets =
			mem_resize(index->buckets, index->bucket_pages + 1,
				   sizeof(*index->buckets));
		index->buckets[index->bucket_pages++] =
			mem_zalloc(INDEX_PAGE * sizeof(uint32_t));
	}
	bucket = &index->buckets[from / INDEX_PAGE][from % INDEX_PAGE];
	handle = *bucket;
	*bucket = 0;
	index->split++;
	if (index->split == index->level) {
		index->level *= 2;
		index->split = 0;
	}
	while (handle != 0) {
		struct entry *entry = index_at(index, handle);
		uint32_t next = entry->hash_next;
		uint32_t *to = bucket_of(index, entry->id);

		entry->hash_next = *to;
		*to = handle;
		handle = next;
	}
}

uint32_t
index_add(struct index *index, uint64_t id)
{
	uint32_t handle = index->free, *bucket;
	struct entry *entry;

	if (handle != 0) {
		index->free = index_at(index, handle)->hash_next;
	} else {
		handle = index->handles++;
		if (handle / INDEX_PAGE == index->page_count) {
			index->pages =
				mem_resize(index->pages, index->page_count + 1,
					   sizeof(*index->pages));
			index->pages[index->page_count++] =
				mem_alloc(INDEX_PAGE * sizeof(struct entry));
		}
	}
	entry = index_at(index, handle);
	bucket = bucket_of(index, id);
	*entry = (struct entry){.id = id, .hash_next = *bucket};
	*bucket = handle;
	index->count++;
	if (index->count > index->level + index->split)
		split_one(index);
	return handle;
}

void
index_remove(struct index *index, uint32_t handle)
{
	struct entry *entry = index_at(index, handle);
	uint32_t *link = bucket_of(index, entry->id);

	assert(entry->slot == 0 && entry->notes == NULL && entry->body == NULL);
	while (*link != handle)
		link = &index_at(index, *link)->hash_next;
	*link = entry->hash_next;
	entry->id = 0;
	entry->hash_next = index->free;
	index->free = handle;
	index->count--;
}

/* Where the note with this number is, or belongs. */
static uint32_t
note_place(const struct state_notes *notes, uint32_t number)
{
	uint32_t low = 0, high = notes->count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (notes->each[middle].number < number)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct state_note *
index_find_note(const struct entry *entry, uint32_t number)
{
	uint32_t count = entry_note_count(entry), place;

	if (count == 0)
		return NULL;
	place = note_place(entry->notes, number);
	return place < count && entry->notes->each[place].number == number
		       ? &entry->notes->each[place]
		       : NULL;
}

static struct state_notes *
notes_resize(struct state_notes *notes, uint32_t room)
{
	return mem_resize(notes, sizeof(*notes) + room * sizeof(notes->each[0]),
			  1);
}

bool
index_note(struct index *index, struct entry *entry,
	   const struct state_note *note)
{
	struct state_notes *notes = entry->notes;
	uint32_t count = entry_note_count(entry), place = count;

	/* mostly it is the last one */
	if (count != 0 && notes->each[count - 1].number >= note->number) {
		place = note_place(notes, note->number);
		if (notes->each[place].number == note->number) {
			notes->each[place].slot = note->slot;
			notes->each[place].at = note->at;
			return false;
		}
	}
	/* a power of two is full */
	if ((count & (count - 1)) == 0)
		notes = notes_resize(notes, count != 0 ? 2 * count : 1);
	memmove(&notes->each[place + 1], &notes->each[place],
		(count - place) * sizeof(*note));
	notes->each[place] = *note;
	notes->count = count + 1;
	entry->notes = notes;
	index->note_bytes += sizeof(*note);
	return true;
}

void
index_drop_notes_to(struct index *index, struct entry *entry, uint32_t last)
{
	uint32_t count = entry_note_count(entry), gone = 0, room = 1;
	struct state_notes *notes = entry->notes;

	while (gone < count && notes->each[gone].number <= last)
		gone++;
	if (gone == 0)
		return;
	index->note_bytes -= gone * sizeof(notes->each[0]);
	if (gone == count) {
		free(notes);
		entry->notes = NULL;
		return;
	}
	notes->count = count - gone;
	memmove(notes->each, &notes->each[gone],
		notes->count * sizeof(notes->each[0]));
	while (room < notes->count)
		room *= 2;
	entry->notes = notes_resize(notes, room);
}

void
index_drop_notes(struct index *index, struct entry *entry)
{
	index_drop_notes_to(index, entry, UINT32_MAX);
}

uint64_t
index_bytes(const struct index *index)
{
	return (uint64_t)index->page_count * INDEX_PAGE * sizeof(struct entry) +
	       (uint64_t)index->bucket_pages * INDEX_PAGE * sizeof(uint32_t) +
	       index->note_bytes;
}

void
entry_list_push(struct index *index, struct entry_list *list, uint32_t handle,
		uint32_t slot)
{
	struct entry *entry = index_at(index, handle);

	assert(entry->slot == 0 && slot != 0);
	entry->slot = slot;
	entry->next = 0;
	entry->prev = list->last;
	if (list->last != 0)
		index_at(index, list->last)->next = handle;
	else
		list->first = handle;
	list->last = handle;
	list->count++;
}

void
entry_list_remove(struct index *index, struct entry_list *list, uint32_t handle)
{
	struct entry *entry = index_at(index, handle);

	if (entry->prev != 0)
		index_at(index, entry->prev)->next = entry->next;
	else
		list->first = entry->next;
	if (entry->next != 0)
		index_at(index, entry->next)->prev = entry->prev;
	else
		list->last = entry->prev;
	entry->slot = entry->next = entry->prev = 0;
	list->count--;
}
