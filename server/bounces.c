/* SPDX-License-Identifier: ISC */
#include "server/bounces.h"

#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "queue/bounce/record.h"
#include "server/queue_json.h"

struct bounces {
	struct bounces_query query;
	uint64_t total, last_ms;
	/* name -> row; the address for dead */
	json_t *categories, *domains, *hosts, *dead;
	json_t **newest; /* a ring of query.limit failures */
	size_t newest_count;
};

struct bounces *
bounces_new(const struct bounces_query *query)
{
	struct bounces *bounces = mem_zalloc(sizeof(*bounces));

	bounces->query = *query;
	if (bounces->query.limit > BOUNCES_LIMIT_MAX)
		bounces->query.limit = BOUNCES_LIMIT_MAX;
	bounces->categories = json_object();
	bounces->domains = json_object();
	bounces->hosts = json_object();
	bounces->dead = json_object();
	bounces->newest = mem_zalloc((bounces->query.limit + 1) *
				     sizeof(*bounces->newest));
	return bounces;
}

void
bounces_free(struct bounces *bounces)
{
	if (bounces == NULL)
		return;
	for (size_t i = 0; i < bounces->query.limit; i++)
		json_decref(bounces->newest[i]);
	free(bounces->newest);
	json_decref(bounces->categories);
	json_decref(bounces->domains);
	json_decref(bounces->hosts);
	json_decref(bounces->dead);
	free(bounces);
}

/* ---------------------------------------------------------------- lines */

static json_t *
clean(struct str text)
{
	char *copy = mem_dup(text.at, text.len);
	char *cleaned = queue_json_clean(copy);
	json_t *value = json_string(cleaned);

	free(cleaned);
	free(copy);
	return value;
}

/* A name as a key: lower case, valid UTF-8, "-" for none. */
static char *
key_of(struct str name)
{
	char *copy =
		name.len != 0 ? mem_dup(name.at, name.len) : mem_strdup("-");
	char *key = queue_json_clean(copy);

	str_lower_all(key);
	free(copy);
	return key;
}

static void
tally(json_t *table, struct str name, uint64_t at_ms)
{
	char *key = key_of(name);
	json_t *row = json_object_get(table, key);
	json_int_t count = json_integer_value(json_object_get(row, "count"));

	if (row == NULL) {
		row = json_pack("{s:s}", "name", key);
		json_object_set_new(table, key, row);
	}
	json_object_set_new(row, "count", json_integer(count + 1));
	json_object_set_new(row, "last_ms", json_integer((json_int_t)at_ms));
	free(key);
}

static bool
is_wanted(const char *wanted, struct str name)
{
	if (wanted == NULL)
		return true;
	return str_is_nocase(name.len != 0 ? name : str_of("-"), wanted);
}

static bool
matches(const struct bounces_query *query, const struct record *record)
{
	return record->at_ms >= query->since_ms &&
	       record->at_ms < query->until_ms &&
	       is_wanted(query->category, record->category) &&
	       is_wanted(query->domain, record_domain(record)) &&
	       is_wanted(query->host, record->host);
}

static void
keep_failure(struct bounces *bounces, const struct record *record)
{
	json_t **slot;

	if (bounces->query.limit == 0)
		return;
	slot = &bounces->newest[bounces->newest_count++ % bounces->query.limit];
	json_decref(*slot);
	*slot = json_pack(
		"{s:s,s:I,s:s,s:o,s:o,s:o,s:o,s:o,s:o,s:I,s:o,s:o,s:o,s:o}",
		"kind", "failure", "at_ms", (json_int_t)record->at_ms, "state",
		record_kind_name(record->kind), "id", clean(record->id),
		"sender", clean(record->sender), "recipient",
		clean(record->recipient), "category", clean(record->category),
		"rule", clean(record->rule), "cause", clean(record->cause),
		"code", (json_int_t)record->code, "enhanced",
		clean(record->enhanced), "host", clean(record->host), "ip",
		clean(record->ip), "reply", clean(record->words));
}

/* Once is enough where the host said that there is no such address; who is
 * full, away or disabled twice is listed too, and so told apart. */
static void
weigh(struct bounces *bounces, const struct record *record)
{
	char *key = key_of(record->recipient);
	json_t *row = json_object_get(bounces->dead, key);
	bool is_hard;

	if (record->kind == RECORD_DELIVERED) {
		(void)json_object_del(bounces->dead, key); /* may be none */
	} else if (record_is_against(record, &is_hard)) {
		json_int_t count =
			json_integer_value(json_object_get(row, "count"));

		is_hard |= json_is_true(json_object_get(row, "hard"));
		if (row == NULL) {
			row = json_pack("{s:s,s:s,s:I}", "kind", "dead",
					"address", key, "first_ms",
					(json_int_t)record->at_ms);
			json_object_set_new(bounces->dead, key, row);
		}
		json_object_set_new(row, "count", json_integer(count + 1));
		json_object_set_new(row, "hard", json_boolean(is_hard));
		json_object_set_new(row, "last_ms",
				    json_integer((json_int_t)record->at_ms));
		json_object_set_new(row, "category", clean(record->category));
		json_object_set_new(row, "host", clean(record->host));
		json_object_set_new(row, "reply", clean(record->words));
	}
	free(key);
}

void
bounces_line(struct bounces *bounces, struct str line)
{
	struct record record;

	if (line.len != 0 && line.at[line.len - 1] == '\n')
		line.len--;
	if (!record_parse(line, &record))
		return;
	if (bounces->query.is_dead) {
		/* a delivery counts whatever it is asked for */
		if (record.kind == RECORD_DELIVERED ||
		    matches(&bounces->query, &record))
			weigh(bounces, &record);
		return;
	}
	if (record.kind == RECORD_DELIVERED ||
	    !matches(&bounces->query, &record))
		return;
	bounces->total++;
	bounces->last_ms = record.at_ms;
	tally(bounces->categories, record.category, record.at_ms);
	tally(bounces->domains, record_domain(&record), record.at_ms);
	tally(bounces->hosts, record.host, record.at_ms);
	keep_failure(bounces, &record);
}

/* ----------------------------------------------------------------- rows */

static json_int_t
number(const json_t *row, const char *name)
{
	return json_integer_value(json_object_get(row, name));
}

static int
by_count(const void *a, const void *b)
{
	const json_t *one = *(json_t *const *)a, *other = *(json_t *const *)b;
	json_int_t more = number(other, "count") - number(one, "count");

	if (more != 0)
		return more < 0 ? -1 : 1;
	return strcmp(json_string_value(json_object_get(one, "name")),
		      json_string_value(json_object_get(other, "name")));
}

static int
by_last(const void *a, const void *b)
{
	const json_t *one = *(json_t *const *)a, *other = *(json_t *const *)b;
	json_int_t later = number(other, "last_ms") - number(one, "last_ms");

	return later == 0 ? 0 : later < 0 ? -1 : 1;
}

/* Appends the rows of a table in order; kind NULL: they have theirs. */
static void
add_sorted(json_t *rows, json_t *table, const char *kind, size_t max,
	   int (*order)(const void *a, const void *b))
{
	size_t count = json_object_size(table), i = 0;
	json_t **sorted = mem_zalloc((count + 1) * sizeof(*sorted));
	const char *key;
	json_t *row;

	json_object_foreach(table, key, row) sorted[i++] = row;
	qsort(sorted, count, sizeof(*sorted), order);
	for (i = 0; i < count && i < max; i++) {
		if (kind != NULL)
			json_object_set_new(sorted[i], "kind",
					    json_string(kind));
		json_array_append(rows, sorted[i]);
	}
	free(sorted);
}

/* In a mailbox that was only once full or away nobody is gone: not listed. */
static void
drop_doubtful(json_t *dead)
{
	const char *key;
	json_t *row;
	void *next;

	json_object_foreach_safe(dead, next, key, row)
	{
		if (!json_is_true(json_object_get(row, "hard")) &&
		    number(row, "count") < 2)
			json_object_del(dead, key);
	}
}

json_t *
bounces_rows(struct bounces *bounces)
{
	size_t limit = bounces->query.limit;
	size_t first = bounces->newest_count > limit
			       ? bounces->newest_count - limit
			       : 0;
	json_t *rows = json_array();

	if (bounces->query.is_dead) {
		drop_doubtful(bounces->dead);
		add_sorted(rows, bounces->dead, NULL, SIZE_MAX, by_last);
		return rows;
	}
	json_array_append_new(rows,
			      json_pack("{s:s,s:s,s:I,s:I}", "kind", "total",
					"name", "all", "count",
					(json_int_t)bounces->total, "last_ms",
					(json_int_t)bounces->last_ms));
	add_sorted(rows, bounces->categories, "category", BOUNCES_TOP,
		   by_count);
	add_sorted(rows, bounces->domains, "domain", BOUNCES_TOP, by_count);
	add_sorted(rows, bounces->hosts, "host", BOUNCES_TOP, by_count);
	for (size_t i = first; i < bounces->newest_count; i++)
		json_array_append(rows, bounces->newest[i % limit]);
	return rows;
}
