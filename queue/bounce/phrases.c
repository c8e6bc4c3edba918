/* SPDX-License-Identifier: ISC */
#include "queue/bounce/phrases.h"

#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"

/*
 * A word of the text becomes symbols: itself, each of its beginnings that
 * some phrase asks for with '*', and for a host name each parent domain and
 * "@host". Symbols and the edges of the trie sit in open-addressed tables.
 */
#define NONE	     UINT32_MAX
#define WORD_MAX     48 /* longer words are compared by their beginning */
#define SYMBOLS_MAX  8	/* of one word of the text */
#define FRONTIER_MAX 8	/* trie nodes alive at once */
#define ANY_HOST     "@host"

struct symbol {
	uint32_t hash;
	uint32_t text; /* in names */
	uint8_t len;
	bool is_prefix;
	bool is_used;
};

struct edge {
	uint32_t node, symbol, to;
	bool is_used;
};

/* phrase -> an element that it satisfies */
struct use {
	uint32_t slot;
	uint32_t next; /* in uses, NONE: last */
};

struct phrase {
	uint32_t first_use, last_use;
};

struct slot {
	uint32_t sequence;
	uint16_t gap;
	bool is_first, is_last;
};

struct phrases {
	char *names;
	size_t names_len, names_room;
	struct symbol *symbols; /* hash table */
	size_t symbol_room, symbol_count;
	struct edge *edges; /* hash table */
	size_t edge_room, edge_count;
	int32_t *phrase_of; /* per trie node; -1: no phrase ends here */
	size_t node_count;
	struct phrase *known;
	size_t known_count;
	struct use *uses;
	size_t use_count;
	struct slot *slots;
	size_t slot_count;
	unsigned sequence_count;
};

/* --- tables -------------------------------------------------------------- */

#define FNV_START 2166136261u

static inline uint32_t
fnv(uint32_t hash, unsigned char c)
{
	return (hash ^ c) * 16777619u;
}

/* The low bits of FNV alone are poor for short words. */
static inline size_t
spread(uint32_t hash, size_t room)
{
	return (hash ^ hash >> 15) & (room - 1);
}

static uint32_t
symbol_hash(uint32_t hash, bool is_prefix)
{
	return fnv(hash, is_prefix ? '*' : '$');
}

static uint32_t
find_symbol(const struct phrases *phrases, const char *text, size_t len,
	    uint32_t hash, bool is_prefix)
{
	hash = symbol_hash(hash, is_prefix);
	for (size_t i = spread(hash, phrases->symbol_room);
	     phrases->symbols[i].is_used;
	     i = (i + 1) & (phrases->symbol_room - 1)) {
		const struct symbol *symbol = &phrases->symbols[i];

		if (symbol->hash == hash && symbol->len == len &&
		    symbol->is_prefix == is_prefix &&
		    memcmp(phrases->names + symbol->text, text, len) == 0)
			return symbol->text;
	}
	return NONE;
}

static size_t
edge_place(const struct phrases *phrases, uint32_t node, uint32_t symbol)
{
	size_t i = spread(node * 2654435761u ^ symbol * 40503u,
			  phrases->edge_room);

	while (phrases->edges[i].is_used &&
	       (phrases->edges[i].node != node ||
		phrases->edges[i].symbol != symbol))
		i = (i + 1) & (phrases->edge_room - 1);
	return i;
}

static void
grow_symbols(struct phrases *phrases)
{
	struct symbol *old = phrases->symbols;
	size_t room = phrases->symbol_room;

	phrases->symbol_room = room * 2;
	phrases->symbols = mem_zalloc(phrases->symbol_room * sizeof(*old));
	for (size_t i = 0; i < room; i++) {
		size_t at = spread(old[i].hash, phrases->symbol_room);

		if (!old[i].is_used)
			continue;
		while (phrases->symbols[at].is_used)
			at = (at + 1) & (phrases->symbol_room - 1);
		phrases->symbols[at] = old[i];
	}
	free(old);
}

static void
grow_edges(struct phrases *phrases)
{
	struct edge *old = phrases->edges;
	size_t room = phrases->edge_room;

	phrases->edge_room = room * 2;
	phrases->edges = mem_zalloc(phrases->edge_room * sizeof(*old));
	for (size_t i = 0; i < room; i++)
		if (old[i].is_used)
			phrases->edges[edge_place(phrases, old[i].node,
						  old[i].symbol)] = old[i];
	free(old);
}

static uint32_t
need_symbol(struct phrases *phrases, const char *text, size_t len,
	    bool is_prefix)
{
	uint32_t hash = FNV_START;
	uint32_t found;
	size_t at;

	if (len > WORD_MAX)
		len = WORD_MAX;
	for (size_t i = 0; i < len; i++)
		hash = fnv(hash, (unsigned char)text[i]);
	found = find_symbol(phrases, text, len, hash, is_prefix);
	if (found != NONE)
		return found;

	/* Each name is stored once per kind, so its place is its number. */
	if (phrases->symbol_count * 4 > phrases->symbol_room)
		grow_symbols(phrases);
	hash = symbol_hash(hash, is_prefix);
	at = spread(hash, phrases->symbol_room);
	while (phrases->symbols[at].is_used)
		at = (at + 1) & (phrases->symbol_room - 1);
	if (phrases->names_len + len + 1 > phrases->names_room) {
		phrases->names_room = 2 * (phrases->names_len + len + 1);
		phrases->names =
			mem_resize(phrases->names, phrases->names_room, 1);
	}
	memcpy(phrases->names + phrases->names_len, text, len);
	phrases->symbols[at] =
		(struct symbol){.hash = hash,
				.text = (uint32_t)phrases->names_len,
				.len = (uint8_t)len,
				.is_prefix = is_prefix,
				.is_used = true};
	phrases->names_len += len + 1;
	phrases->symbol_count++;
	return phrases->symbols[at].text;
}

static uint32_t
need_child(struct phrases *phrases, uint32_t node, uint32_t symbol)
{
	size_t at = edge_place(phrases, node, symbol);

	if (phrases->edges[at].is_used)
		return phrases->edges[at].to;
	if (phrases->edge_count * 4 > phrases->edge_room) {
		grow_edges(phrases);
		at = edge_place(phrases, node, symbol);
	}
	phrases->phrase_of = mem_append(phrases->phrase_of, phrases->node_count,
					sizeof(*phrases->phrase_of));
	phrases->phrase_of[phrases->node_count] = -1;
	phrases->edges[at] =
		(struct edge){.node = node,
			      .symbol = symbol,
			      .to = (uint32_t)phrases->node_count++,
			      .is_used = true};
	phrases->edge_count++;
	return phrases->edges[at].to;
}

/* --- building ------------------------------------------------------------ */

struct phrases *
phrases_new(void)
{
	struct phrases *phrases = mem_zalloc(sizeof(*phrases));

	phrases->symbol_room = 1024;
	phrases->symbols =
		mem_zalloc(phrases->symbol_room * sizeof(*phrases->symbols));
	phrases->edge_room = 1024;
	phrases->edges =
		mem_zalloc(phrases->edge_room * sizeof(*phrases->edges));
	phrases->phrase_of = mem_alloc(sizeof(*phrases->phrase_of));
	phrases->phrase_of[0] = -1;
	phrases->node_count = 1; /* the root */
	return phrases;
}

void
phrases_free(struct phrases *phrases)
{
	if (phrases == NULL)
		return;
	free(phrases->names);
	free(phrases->symbols);
	free(phrases->edges);
	free(phrases->phrase_of);
	free(phrases->known);
	free(phrases->uses);
	free(phrases->slots);
	free(phrases);
}

int
phrases_intern(struct phrases *phrases, const struct normal *words,
	       const bool *is_prefix)
{
	uint32_t node = 0;

	if (words->count == 0 || words->count > PHRASES_PHRASE_MAX)
		return -1;
	for (size_t i = 0; i < words->count; i++) {
		const struct normal_word *word = &words->words[i];

		node = need_child(phrases, node,
				  need_symbol(phrases, words->text + word->at,
					      word->len, is_prefix[i]));
	}
	if (phrases->phrase_of[node] < 0) {
		phrases->known =
			mem_append(phrases->known, phrases->known_count,
				   sizeof(*phrases->known));
		phrases->known[phrases->known_count] =
			(struct phrase){NONE, NONE};
		phrases->phrase_of[node] = (int32_t)phrases->known_count++;
	}
	return phrases->phrase_of[node];
}

unsigned
phrases_begin(struct phrases *phrases)
{
	return phrases->sequence_count++;
}

bool
phrases_element(struct phrases *phrases, uint16_t gap, const int *any_of,
		size_t count)
{
	struct slot *slot;

	if (phrases->slot_count == PHRASES_SLOTS_MAX)
		return false;
	phrases->slots = mem_append(phrases->slots, phrases->slot_count,
				    sizeof(*phrases->slots));
	slot = &phrases->slots[phrases->slot_count];
	*slot = (struct slot){.sequence = phrases->sequence_count - 1,
			      .gap = gap,
			      .is_first = true,
			      .is_last = true};
	if (phrases->slot_count > 0 && slot[-1].sequence == slot->sequence) {
		slot->is_first = false;
		slot[-1].is_last = false;
	}
	for (size_t i = 0; i < count; i++) {
		struct phrase *phrase = &phrases->known[any_of[i]];

		phrases->uses = mem_append(phrases->uses, phrases->use_count,
					   sizeof(*phrases->uses));
		/* Later elements in front: within one place of the text an
		 * element must not see its predecessor found at that place. */
		phrases->uses[phrases->use_count] =
			(struct use){(uint32_t)phrases->slot_count,
				     phrase->first_use};
		phrase->first_use = (uint32_t)phrases->use_count++;
	}
	phrases->slot_count++;
	return true;
}

void
phrases_finish(struct phrases *phrases)
{
	/* Lists made by prepending jump through memory; lay each out in a
	 * row, as matching walks nothing else so often. */
	struct use *row = mem_alloc((phrases->use_count + 1) * sizeof(*row));
	size_t count = 0;

	for (size_t i = 0; i < phrases->known_count; i++) {
		struct phrase *phrase = &phrases->known[i];
		uint32_t use = phrase->first_use;

		phrase->first_use = (uint32_t)count;
		for (; use != NONE; use = phrases->uses[use].next)
			row[count++] = phrases->uses[use];
		phrase->last_use = (uint32_t)count;
	}
	free(phrases->uses);
	phrases->uses = row;
}

/* --- matching ------------------------------------------------------------ */

/* Where the text satisfied an element last. Phrases of one element overlap
 * ("mailbox", "mailbox is"), and what follows may fit one of them only. */
#define ENDS_KEPT 3
struct ends {
	struct phrases_span spans[ENDS_KEPT]; /* behind 0: none */
	uint16_t next;
};

struct run {
	const struct phrases *phrases;
	const struct normal *text;
	/* The text without identifiers that no rule names. */
	uint16_t place[NORMAL_WORDS_MAX]; /* index in text->words */
	uint32_t symbols[NORMAL_WORDS_MAX][SYMBOLS_MAX];
	uint8_t symbol_count[NORMAL_WORDS_MAX];
	size_t count;
	struct ends ends[PHRASES_SLOTS_MAX];
	void (*found)(void *arg, unsigned sequence, struct phrases_span span);
	void *arg;
};

static void
add_symbol(struct run *run, uint32_t symbol)
{
	if (symbol != NONE && run->symbol_count[run->count] < SYMBOLS_MAX)
		run->symbols[run->count][run->symbol_count[run->count]++] =
			symbol;
}

static void
plain_symbols(struct run *run, const char *text, size_t len)
{
	uint32_t hash = FNV_START;

	if (len > WORD_MAX)
		len = WORD_MAX;
	for (size_t i = 0; i < len; i++) {
		hash = fnv(hash, (unsigned char)text[i]);
		if (i >= 2)
			add_symbol(run, find_symbol(run->phrases, text, i + 1,
						    hash, true));
	}
	add_symbol(run, find_symbol(run->phrases, text, len, hash, false));
}

static void
host_symbols(struct run *run, const char *text, size_t len, bool is_url)
{
	while (len > 0) {
		uint32_t hash = FNV_START;
		const char *dot = memchr(text, '.', len);

		if (len <= WORD_MAX) {
			for (size_t i = 0; i < len; i++)
				hash = fnv(hash, (unsigned char)text[i]);
			add_symbol(run, find_symbol(run->phrases, text, len,
						    hash, false));
		}
		if (dot == NULL)
			break;
		len -= (size_t)(dot + 1 - text);
		text = dot + 1;
	}
	if (!is_url) {
		uint32_t hash = FNV_START;

		for (const char *p = ANY_HOST; *p != '\0'; p++)
			hash = fnv(hash, (unsigned char)*p);
		add_symbol(run, find_symbol(run->phrases, ANY_HOST,
					    strlen(ANY_HOST), hash, false));
	}
}

static void
find_symbols(struct run *run)
{
	for (size_t i = 0; i < run->text->count; i++) {
		const struct normal_word *word = &run->text->words[i];
		const char *at = run->text->text + word->at;

		run->symbol_count[run->count] = 0;
		if (word->kind == NORMAL_HOST || word->kind == NORMAL_URL)
			host_symbols(run, at, word->len,
				     word->kind == NORMAL_URL);
		else
			plain_symbols(run, at, word->len);
		if (word->kind == NORMAL_ID &&
		    run->symbol_count[run->count] == 0)
			continue;
		run->place[run->count++] = (uint16_t)i;
	}
}

/* The nearest end of the element before that leaves at most gap words. */
static const struct phrases_span *
nearest(const struct ends *ends, size_t first, uint16_t gap)
{
	const struct phrases_span *best = NULL;

	for (size_t i = 0; i < ENDS_KEPT; i++) {
		const struct phrases_span *span = &ends->spans[i];

		if (span->behind == 0 || span->behind > first ||
		    first - span->behind > gap)
			continue;
		if (best == NULL || span->behind > best->behind)
			best = span;
	}
	return best;
}

static void
phrase_found(struct run *run, const struct phrase *phrase, size_t first,
	     size_t behind)
{
	for (size_t i = phrase->first_use; i < phrase->last_use; i++) {
		uint32_t at = run->phrases->uses[i].slot;
		const struct slot *slot = &run->phrases->slots[at];
		struct ends *ends = &run->ends[at];
		struct phrases_span span = {(uint16_t)first, (uint16_t)behind};

		if (!slot->is_first) {
			const struct phrases_span *before =
				nearest(ends - 1, first, slot->gap);

			if (before == NULL)
				continue;
			span.first = before->first;
		}
		ends->spans[ends->next] = span;
		ends->next = (uint16_t)((ends->next + 1) % ENDS_KEPT);
		if (slot->is_last) {
			span.first = run->place[span.first];
			span.behind = (uint16_t)(run->place[behind - 1] + 1);
			run->found(run->arg, slot->sequence, span);
		}
	}
}

/* All phrases that begin at one place. Words have several symbols, so the
 * walk down the trie may fork. */
static void
phrases_from(struct run *run, size_t first)
{
	const struct phrases *phrases = run->phrases;
	uint32_t now[FRONTIER_MAX] = {0}, next[FRONTIER_MAX];
	size_t now_count = 1;

	for (size_t at = first; at < run->count && now_count > 0; at++) {
		size_t next_count = 0;

		for (size_t i = 0; i < now_count; i++) {
			for (size_t k = 0; k < run->symbol_count[at]; k++) {
				const struct edge *edge =
					&phrases->edges[edge_place(
						phrases, now[i],
						run->symbols[at][k])];

				if (edge->is_used && next_count < FRONTIER_MAX)
					next[next_count++] = edge->to;
			}
		}
		for (size_t i = 0; i < next_count; i++)
			if (phrases->phrase_of[next[i]] >= 0)
				phrase_found(
					run,
					&phrases->known
						 [phrases->phrase_of[next[i]]],
					first, at + 1);
		memcpy(now, next, sizeof(next));
		now_count = next_count;
	}
}

void
phrases_run(const struct phrases *phrases, const struct normal *text,
	    void (*found)(void *arg, unsigned sequence,
			  struct phrases_span span),
	    void *arg)
{
	struct run run;

	run.phrases = phrases;
	run.text = text;
	run.count = 0;
	run.found = found;
	run.arg = arg;
	memset(run.ends, 0, phrases->slot_count * sizeof(run.ends[0]));
	find_symbols(&run);
	for (size_t first = 0; first < run.count; first++)
		phrases_from(&run, first);
}

#undef ANY_HOST
