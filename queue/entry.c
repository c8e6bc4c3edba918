/* SPDX-License-Identifier: ISC */
#include "queue/entry.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "lib/str.h"

/* what the allocator needs beside the bytes asked for, about */
#define ALLOCATION_EXTRA 16

/* Domains beside the first recipient's are kept up to this many bytes; a
 * message with more of them is found by these alone. */
#define DOMAINS_MAX 65536

/* ------------------------------------------------------------- reasons */

static size_t
reason_copy(const char *text, char to[REASON_TEXT_MAX])
{
	size_t len;

	(void)str_copy(to, REASON_TEXT_MAX, str_of(text));
	len = strlen(to);
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)to[i] < ' ' || to[i] == 0x7f)
			to[i] = ' ';
	return len;
}

struct reason *
reason_new(const char *text)
{
	char line[REASON_TEXT_MAX];
	size_t len = reason_copy(text, line);
	struct reason *reason = mem_alloc(sizeof(*reason) + len + 1);

	reason->refs = 1;
	memcpy(reason->text, line, len + 1);
	return reason;
}

struct reason *
reason_ref(struct reason *reason)
{
	if (reason != NULL)
		reason->refs++;
	return reason;
}

void
reason_unref(struct reason *reason)
{
	if (reason != NULL && --reason->refs == 0)
		free(reason);
}

bool
reason_is(const struct reason *reason, const char *text)
{
	char line[REASON_TEXT_MAX];

	if (reason == NULL)
		return false;
	(void)reason_copy(text, line);
	return strcmp(reason->text, line) == 0;
}

/* ------------------------------------------------------------- entries */

static const char *
domain_of(const char *address)
{
	const char *at = strrchr(address, '@');

	return at != NULL ? at + 1 : "";
}

/* Does the list at (each with a NUL, then one more) have it? */
static bool
domains_have(const char *at, const char *domain)
{
	for (; *at != '\0'; at += strlen(at) + 1)
		if (str_is_nocase(str_of(at), domain))
			return true;
	return false;
}

/* The text block of an envelope; the caller owns what out holds. */
static void
text_make(const struct envelope *envelope, struct buf *out,
	  uint32_t *out_recipients)
{
	const char *first = NULL, *last = "";
	size_t domains_at = 0;
	uint32_t count = 0;

	buf_init(out, SIZE_MAX / 4);
	(void)buf_add(out, envelope->sender, strlen(envelope->sender) + 1);
	for (size_t i = 0; i < envelope->recipient_count; i++) {
		const struct recipient *recipient = &envelope->recipients[i];
		const char *domain;
		bool is_known;

		if (!recipient_is_left(recipient))
			continue;
		count++;
		domain = domain_of(recipient->address);
		if (first == NULL) {
			first = domain;
			(void)buf_add(out, recipient->address,
				      strlen(recipient->address) + 1);
			domains_at = buf_len(out);
			last = domain;
			continue;
		}
		/* neighbours are often alike: looked at before the list */
		if (strcmp(domain, last) == 0 || strcmp(domain, first) == 0 ||
		    *domain == '\0' || buf_len(out) - domains_at > DOMAINS_MAX)
			continue;
		last = domain;
		/* the list gets its end for a moment, to be looked through */
		(void)buf_add(out, "", 1);
		is_known =
			domains_have((const char *)buf_bytes(out) + domains_at,
				     domain);
		out->end--;
		if (!is_known)
			(void)buf_add(out, domain, strlen(domain) + 1);
	}
	if (first == NULL)
		(void)buf_add(out, "", 1);
	(void)buf_add(out, "", 1);
	*out_recipients = count;
}

static uint32_t
attempts_most(const struct envelope *envelope)
{
	uint32_t most = 0;

	for (size_t i = 0; i < envelope->recipient_count; i++) {
		const struct recipient *recipient = &envelope->recipients[i];

		if (recipient_is_left(recipient) && recipient->attempts > most)
			most = recipient->attempts;
	}
	return most;
}

static void
leg_init(struct leg *leg, struct entry *entry)
{
	memset(leg, 0, sizeof(*leg));
	list_init(&leg->link);
	leg->entry = entry;
	leg->state = LEG_NEW;
}

struct entry *
entry_new(const struct envelope *envelope)
{
	struct entry *entry;
	struct buf text;
	uint32_t left;

	text_make(envelope, &text, &left);
	entry = mem_zalloc(sizeof(*entry) + buf_len(&text));
	entry->id = envelope->id;
	entry->received_ms = envelope->received_ms;
	entry->size = envelope->size;
	entry->is_held = envelope->is_held;
	entry->is_bouncing = envelope->is_bouncing;
	for (size_t i = 0; i < envelope->recipient_count; i++)
		entry->is_redirected |= envelope->recipients[i].via != NULL;
	entry->is_rerouted = entry->is_redirected;
	list_init(&entry->link);
	entry->text = entry->inline_text;
	entry->text_bytes = (uint32_t)buf_len(&text);
	memcpy(entry->text, buf_bytes(&text), buf_len(&text));
	entry->recipients_left = left;
	buf_done(&text);
	leg_init(&entry->leg, entry);
	entry->leg.recipients = left;
	entry->leg.attempts = attempts_most(envelope);
	return entry;
}

void
entry_free(struct entry *entry)
{
	if (entry == NULL)
		return;
	while (entry->leg.next != NULL)
		entry_drop_leg(entry, entry->leg.next);
	assert(entry->leg.state == LEG_NEW);
	reason_unref(entry->leg.why);
	if (entry->text != entry->inline_text)
		free(entry->text);
	free(entry);
}

void
entry_refresh(struct entry *entry, const struct envelope *envelope)
{
	struct buf text;

	text_make(envelope, &text, &entry->recipients_left);
	if (buf_len(&text) != entry->text_bytes ||
	    memcmp(entry->text, buf_bytes(&text), entry->text_bytes) != 0) {
		if (entry->text != entry->inline_text)
			free(entry->text);
		entry->text_bytes = (uint32_t)buf_len(&text);
		entry->text = mem_dup(buf_bytes(&text), buf_len(&text));
	}
	buf_done(&text);
}

struct leg *
entry_add_leg(struct entry *entry)
{
	struct leg *leg = mem_alloc(sizeof(*leg));

	leg_init(leg, entry);
	leg->next = entry->leg.next;
	entry->leg.next = leg;
	return leg;
}

void
entry_drop_leg(struct entry *entry, struct leg *leg)
{
	struct leg **at = &entry->leg.next;

	assert(leg->state == LEG_NEW);
	while (*at != leg)
		at = &(*at)->next;
	*at = leg->next;
	reason_unref(leg->why);
	free(leg);
}

const char *
entry_recipient(const struct entry *entry)
{
	return entry->text + strlen(entry->text) + 1;
}

bool
entry_has_domain(const struct entry *entry, const char *domain)
{
	const char *recipient = entry_recipient(entry);

	return str_is_nocase(str_of(domain_of(recipient)), domain) ||
	       domains_have(recipient + strlen(recipient) + 1, domain);
}

size_t
entry_bytes(const struct entry *entry)
{
	size_t bytes = sizeof(*entry) + entry->text_bytes + ALLOCATION_EXTRA;

	if (entry->text != entry->inline_text)
		bytes += entry->text_bytes + ALLOCATION_EXTRA;
	for (const struct leg *leg = entry->leg.next; leg != NULL;
	     leg = leg->next)
		bytes += sizeof(*leg) + ALLOCATION_EXTRA;
	return bytes;
}

/* --------------------------------------------------------------- index */

void
entry_index_init(struct entry_index *index)
{
	memset(index, 0, sizeof(*index));
}

void
entry_index_done(struct entry_index *index)
{
	free(index->slots);
	entry_index_init(index);
}

/* Ids are numbers in a row: eight of them share a line of the cache, and
 * multiplying spreads these (Fibonacci hashing). */
#define ROW_BITS 3
#define ROW_MASK ((1u << ROW_BITS) - 1)

static size_t
index_home(const struct entry_index *index, uint64_t id)
{
	uint64_t row = (id >> ROW_BITS) * UINT64_C(0x9e3779b97f4a7c15);

	return ((size_t)(row >> 17) << ROW_BITS | (id & ROW_MASK)) &
	       (index->capacity - 1);
}

static void
index_place(struct entry_index *index, struct entry *entry)
{
	size_t at = index_home(index, entry->id);

	while (index->slots[at] != NULL)
		at = (at + 1) & (index->capacity - 1);
	index->slots[at] = entry;
}

static void
index_resize(struct entry_index *index, size_t capacity)
{
	struct entry **old = index->slots;
	size_t old_capacity = index->capacity;

	index->slots = mem_zalloc(capacity * sizeof(*index->slots));
	index->capacity = capacity;
	for (size_t i = 0; i < old_capacity; i++)
		if (old[i] != NULL)
			index_place(index, old[i]);
	free(old);
}

void
entry_index_add(struct entry_index *index, struct entry *entry)
{
	if (index->count * 2 >= index->capacity)
		index_resize(index,
			     index->capacity != 0 ? index->capacity * 2 : 64);
	index_place(index, entry);
	index->count++;
}

static size_t
index_find(const struct entry_index *index, uint64_t id)
{
	size_t at = index_home(index, id);

	while (index->slots[at] != NULL && index->slots[at]->id != id)
		at = (at + 1) & (index->capacity - 1);
	return at;
}

struct entry *
entry_index_find(const struct entry_index *index, uint64_t id)
{
	return index->capacity != 0 ? index->slots[index_find(index, id)]
				    : NULL;
}

void
entry_index_remove(struct entry_index *index, struct entry *entry)
{
	size_t mask = index->capacity - 1;
	size_t hole = index_find(index, entry->id);

	assert(index->slots[hole] == entry);
	/* those behind it move up, unless that is in front of their home */
	for (size_t at = (hole + 1) & mask; index->slots[at] != NULL;
	     at = (at + 1) & mask) {
		size_t home = index_home(index, index->slots[at]->id);

		if (((at - home) & mask) >= ((at - hole) & mask)) {
			index->slots[hole] = index->slots[at];
			hole = at;
		}
	}
	index->slots[hole] = NULL;
	index->count--;
	if (index->capacity > 1024 && index->count * 8 < index->capacity)
		index_resize(index, index->capacity / 2);
}
