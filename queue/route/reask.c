/* SPDX-License-Identifier: ISC */
#include "queue/route/reask.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "lib/lru.h"
#include "lib/mem.h"
#include "queue/route/resolver.h"

/* A domain that was asked about less than 30 s ago, or still is. */
struct record {
	struct lru_entry entry;
	struct list link; /* of reask->records, oldest question first */
	uint64_t asked_ms;
	struct route_query *query; /* NULL: answered */
	struct route *route;	   /* shares; NULL: not answered yet */
	struct list waits;	   /* while it is asked */
	char domain[ADDR_DOMAIN_MAX + 1];
};

struct reask_wait {
	struct list link; /* of record->waits, or of those who are called */
	struct resolver_later later;
	struct route *route; /* shares; known: comes by later */
	reask_fn *on_route;
	void *owner;
};

struct reask {
	struct resolver *resolver;
	struct lru table; /* never gets to its end: it is full before */
	struct list records;
};

static void
record_free(struct lru_entry *entry)
{
	struct record *record = container_of(entry, struct record, entry);

	assert(list_is_empty(&record->waits));
	if (record->query != NULL)
		route_cancel(record->query);
	list_remove(&record->link);
	route_unref(record->route);
	free(record);
}

struct reask *
reask_new(struct resolver *resolver)
{
	struct reask *reask = mem_zalloc(sizeof(*reask));

	reask->resolver = resolver;
	lru_init(&reask->table, REASK_DOMAINS_MAX, record_free);
	list_init(&reask->records);
	return reask;
}

void
reask_free(struct reask *reask)
{
	if (reask == NULL)
		return;
	lru_done(&reask->table);
	free(reask);
}

/* Those whose 30 s are over. */
static void
records_purge(struct reask *reask)
{
	uint64_t now_ms = resolver_now_ms(reask->resolver);
	struct list *node, *after;

	list_each_safe (node, after, &reask->records) {
		struct record *record = container_of(node, struct record, link);

		if (now_ms < record->asked_ms + REASK_EACH_MS)
			break;
		if (record->query == NULL)
			lru_remove(&reask->table, &record->entry);
	}
}

/* Whoever is called may cancel the others, or ask again, or, as the last one,
 * free all this. */
static void
on_route(void *owner, struct route *route)
{
	struct record *record = owner;
	struct list calling, *node;

	record->query = NULL;
	record->route = route_ref(route);
	list_init(&calling);
	for (node = list_pop(&record->waits); node != NULL;
	     node = list_pop(&record->waits))
		list_push(&calling, node);
	for (node = list_pop(&calling); node != NULL;
	     node = list_pop(&calling)) {
		struct reask_wait *wait =
			container_of(node, struct reask_wait, link);
		reask_fn *to_call = wait->on_route;
		void *its_owner = wait->owner;

		free(wait);
		to_call(its_owner, route);
	}
}

static void
on_later(struct resolver_later *later)
{
	struct reask_wait *wait = container_of(later, struct reask_wait, later);
	struct route *route = wait->route;
	reask_fn *to_call = wait->on_route;
	void *owner = wait->owner;

	free(wait);
	to_call(owner, route);
	route_unref(route);
}

static struct record *
record_ask(struct reask *reask, const struct next_hop *hop,
	   const struct route_opts *opts, const char *host)
{
	struct record *record = mem_zalloc(sizeof(*record));
	struct route_opts fresh = *opts;

	record->asked_ms = resolver_now_ms(reask->resolver);
	list_init(&record->waits);
	list_init(&record->link);
	list_push(&reask->records, &record->link);
	(void)str_copy(record->domain, sizeof(record->domain),
		       str_of(hop->domain));
	lru_add(&reask->table, &record->entry, record->domain,
		strlen(record->domain));
	resolver_drop(reask->resolver, hop->domain, DNS_MX);
	resolver_drop(reask->resolver, host, DNS_A);
	resolver_drop(reask->resolver, host, DNS_AAAA);
	fresh.is_fresh = true;
	record->query =
		route_find(reask->resolver, hop, &fresh, on_route, record);
	return record;
}

struct reask_wait *
reask_start(struct reask *reask, const struct next_hop *hop,
	    const struct route_opts *opts, const char *host, reask_fn *to_call,
	    void *owner)
{
	struct reask_wait *wait = mem_zalloc(sizeof(*wait));
	struct lru_entry *entry;
	struct record *record = NULL;

	list_init(&wait->link);
	list_init(&wait->later.link);
	wait->later.on_later = on_later;
	wait->on_route = to_call;
	wait->owner = owner;
	records_purge(reask);
	entry = lru_find(&reask->table, hop->domain, strlen(hop->domain));
	if (entry != NULL)
		record = container_of(entry, struct record, entry);
	else if (reask->table.count < reask->table.max)
		record = record_ask(reask, hop, opts, host);
	if (record != NULL && record->query != NULL) {
		list_push(&record->waits, &wait->link);
		return wait;
	}
	if (record != NULL)
		wait->route = route_ref(record->route);
	resolver_call_later(reask->resolver, &wait->later);
	return wait;
}

void
reask_cancel(struct reask_wait *wait)
{
	list_remove(&wait->link);
	list_remove(&wait->later.link);
	route_unref(wait->route);
	free(wait);
}
