/* SPDX-License-Identifier: ISC */
#include "server/points_here.h"

#include <stdlib.h>
#include <string.h>

#include "lib/addr.h"
#include "lib/list.h"
#include "lib/lru.h"
#include "lib/mem.h"
#include "policy/limit.h"
#include "queue/route/resolver.h"

#define NAMES_MAX   10	/* of an MX set that are looked at */
#define QUERIES_MAX 256 /* running and waiting */
#define DOMAINS_MAX 256 /* remembered */

#define DAY_MS	     UINT64_C(86400000)
#define TOO_LONG_MS  (5 * DAY_MS)
#define FORGOTTEN_MS (5 * DAY_MS) /* not asked for: it begins anew */

static const struct units_rate lookups_rate = {64, 60};
static const struct units_rate warnings_rate = {16, 3600};

/* Seen to point here. */
struct domain {
	struct lru_entry entry;
	uint64_t first_ms, last_ms, count;
	uint64_t until_ms;  /* the answer is good without asking */
	uint64_t warned_ms; /* 0: never */
	char name[];
};

struct points_here {
	struct resolver *resolver;
	bool (*is_ours)(void *arg, const struct ip *ip);
	void *arg;
	struct list queries; /* in the order they came */
	size_t query_count;
	struct limit *limits;
	struct lru domains;
	struct points_here_stats stats;
};

enum query_state {
	QUERY_IN_LINE,	 /* another one of the same client runs */
	QUERY_MX,	 /* waits for the MX set */
	QUERY_ADDRESSES, /* waits for addresses of names[index] */
	QUERY_ANSWERED,	 /* answer is on its way */
};

enum { FAMILY_A, FAMILY_AAAA, FAMILIES };

struct points_here_query {
	struct list link; /* points->queries, until answered */
	struct points_here *points;
	enum query_state state;
	struct ip client; /* block; IP_NONE: the operator */
	char domain[ADDR_DOMAIN_MAX + 1];
	char hostname[ADDR_DOMAIN_MAX + 1];
	struct resolver_query *mx, *addresses[FAMILIES];
	char names[NAMES_MAX][ADDR_DOMAIN_MAX + 1];
	size_t name_count, index;
	uint64_t until_ms; /* the earliest expiry of what was seen */
	bool has_failed;   /* some name could not be looked up */
	bool is_here;
	struct resolver_later later;
	struct points_here_answer answer;
	points_here_fn *on_answer;
	void *owner;
};

/* ------------------------------------------------------------------ table */

static void
domain_free(struct lru_entry *entry)
{
	free(container_of(entry, struct domain, entry));
}

static struct domain *
domain_find(struct points_here *points, const char *name)
{
	struct lru_entry *entry =
		lru_find(&points->domains, name, strlen(name));

	return entry != NULL ? container_of(entry, struct domain, entry) : NULL;
}

static struct domain *
domain_get(struct points_here *points, const char *name, uint64_t now_ms)
{
	struct domain *domain = domain_find(points, name);
	size_t len = strlen(name);

	if (domain == NULL) {
		domain = mem_zalloc(sizeof(*domain) + len + 1);
		memcpy(domain->name, name, len);
		domain->first_ms = domain->last_ms = now_ms;
		lru_add(&points->domains, &domain->entry, domain->name, len);
	}
	if (now_ms - domain->last_ms > FORGOTTEN_MS)
		domain->first_ms = now_ms;
	return domain;
}

static bool
domain_is_too_long(const struct domain *domain, uint64_t now_ms)
{
	return now_ms - domain->first_ms > TOO_LONG_MS;
}

/* The domain points here, good until then. */
static void
answer_here(struct points_here_query *query, uint64_t until_ms)
{
	struct points_here *points = query->points;
	uint64_t now_ms = resolver_now_ms(points->resolver);
	struct domain *domain;

	query->answer.points_here = POINTS_HERE;
	if (query->client.family == IP_NONE) {
		domain = domain_find(points, query->domain);
		query->answer.is_too_long =
			domain != NULL && domain_is_too_long(domain, now_ms);
		return;
	}
	points->stats.here++;
	domain = domain_get(points, query->domain, now_ms);
	domain->last_ms = now_ms;
	domain->until_ms = until_ms;
	domain->count++;
	query->answer.is_too_long = domain_is_too_long(domain, now_ms);
	/* many made-up domains may not fill the log either */
	if ((domain->warned_ms == 0 || now_ms - domain->warned_ms >= DAY_MS) &&
	    limit_take(points->limits, "warnings", &warnings_rate, 1, now_ms,
		       NULL)) {
		domain->warned_ms = now_ms;
		query->answer.is_news = true;
	}
}

/* ---------------------------------------------------------------- queries */

static void query_start(struct points_here_query *query);

/* The client's next question may run now. */
static void
start_next(struct points_here *points, const struct ip *client)
{
	struct list *node;

	list_each (node, &points->queries) {
		struct points_here_query *query =
			container_of(node, struct points_here_query, link);

		if (query->state == QUERY_IN_LINE &&
		    ip_equal(&query->client, client)) {
			query_start(query);
			return;
		}
	}
}

static void
query_leave(struct points_here_query *query)
{
	struct points_here *points = query->points;
	bool was_running =
		query->state == QUERY_MX || query->state == QUERY_ADDRESSES;

	if (query->mx != NULL)
		resolver_cancel(query->mx);
	for (size_t i = 0; i < FAMILIES; i++)
		if (query->addresses[i] != NULL)
			resolver_cancel(query->addresses[i]);
	query->mx = query->addresses[FAMILY_A] = NULL;
	query->addresses[FAMILY_AAAA] = NULL;
	list_remove(&query->link);
	points->query_count--;
	query->state = QUERY_ANSWERED;
	if (was_running)
		start_next(points, &query->client);
}

static void
on_later(struct resolver_later *later)
{
	struct points_here_query *query =
		container_of(later, struct points_here_query, later);
	struct points_here_answer answer = query->answer;
	points_here_fn *on_answer = query->on_answer;
	void *owner = query->owner;

	free(query);
	on_answer(owner, &answer);
}

/* The answer is known; on a turn of its own the owner hears it. */
static void
query_answer(struct points_here_query *query,
	     enum policy_points_here points_here)
{
	query->answer.points_here = points_here;
	if (points_here == POINTS_HERE)
		answer_here(query, query->until_ms);
	query_leave(query);
	resolver_call_later(query->points->resolver, &query->later);
}

static void query_next_name(struct points_here_query *query);

static void
on_addresses(struct points_here_query *query, size_t family,
	     const struct dns_set *set)
{
	const struct points_here *points = query->points;

	query->addresses[family] = NULL;
	if (set->status == DNS_FAILED || set->status == DNS_BOGUS)
		query->has_failed = true;
	for (size_t i = 0; set->status == DNS_OK && i < set->count; i++) {
		if (!points->is_ours(points->arg, &set->records[i].ip))
			continue;
		query->is_here = true;
		if (set->expires_ms < query->until_ms)
			query->until_ms = set->expires_ms;
	}
	if (query->is_here) {
		query_answer(query, POINTS_HERE);
		return;
	}
	if (query->addresses[FAMILY_A] != NULL ||
	    query->addresses[FAMILY_AAAA] != NULL)
		return;
	query->index++;
	query_next_name(query);
}

static void
on_a(void *owner, struct dns_set *set)
{
	on_addresses(owner, FAMILY_A, set);
}

static void
on_aaaa(void *owner, struct dns_set *set)
{
	on_addresses(owner, FAMILY_AAAA, set);
}

static void
query_next_name(struct points_here_query *query)
{
	struct resolver *resolver = query->points->resolver;
	const char *name;

	if (query->index == query->name_count) {
		query_answer(query, query->has_failed ? POINTS_UNKNOWN
						      : POINTS_ELSEWHERE);
		return;
	}
	name = query->names[query->index];
	query->state = QUERY_ADDRESSES;
	query->addresses[FAMILY_A] =
		resolver_ask(resolver, name, DNS_A, RESOLVER_STRANGER, on_a,
			     query);
	query->addresses[FAMILY_AAAA] =
		resolver_ask(resolver, name, DNS_AAAA, RESOLVER_STRANGER,
			     on_aaaa, query);
}

static void
on_mx(void *owner, struct dns_set *set)
{
	struct points_here_query *query = owner;
	struct points_here *points = query->points;

	query->mx = NULL;
	/* what was known already did not cost anybody a lookup */
	if (!set->is_cached)
		points->stats.lookups++;
	else if (query->client.family != IP_NONE)
		limit_give(points->limits, "lookups", &lookups_rate, 1);
	if (set->status != DNS_OK) {
		query_answer(query, set->status == DNS_NODATA ||
						    set->status == DNS_NXDOMAIN
					    ? POINTS_ELSEWHERE
					    : POINTS_UNKNOWN);
		return;
	}
	query->until_ms = set->expires_ms;
	for (size_t i = 0; i < set->count && query->name_count < NAMES_MAX;
	     i++) {
		char *name = query->names[query->name_count];

		if (!addr_normalize_domain(str_of(set->records[i].name), name,
					   ADDR_DOMAIN_MAX + 1) ||
		    addr_is_literal(str_of(name)))
			continue;
		if (strcmp(name, query->hostname) == 0) {
			query_answer(query, POINTS_HERE);
			return;
		}
		query->name_count++;
	}
	query_next_name(query);
}

static void
query_start(struct points_here_query *query)
{
	struct points_here *points = query->points;
	uint64_t now_ms = resolver_now_ms(points->resolver);

	query->state = QUERY_MX;
	if (query->client.family != IP_NONE &&
	    !limit_take(points->limits, "lookups", &lookups_rate, 1, now_ms,
			NULL)) {
		points->stats.refused++;
		query_answer(query, POINTS_UNKNOWN);
		return;
	}
	query->mx = resolver_ask(points->resolver, query->domain, DNS_MX,
				 RESOLVER_STRANGER, on_mx, query);
}

static bool
client_is_asking(const struct points_here *points, const struct ip *client)
{
	const struct list *node;

	list_each (node, &points->queries)
		if (ip_equal(&container_of(node, struct points_here_query, link)
				      ->client,
			     client))
			return true;
	return false;
}

struct points_here_query *
points_here_ask(struct points_here *points, const struct ip *client,
		const char *domain, const char *hostname,
		points_here_fn *on_answer, void *owner)
{
	struct points_here_query *query = mem_zalloc(sizeof(*query));
	uint64_t now_ms = resolver_now_ms(points->resolver);
	const struct domain *known;
	bool is_asking;

	query->points = points;
	query->client = ip_block(client);
	(void)str_copy(query->domain, sizeof(query->domain), str_of(domain));
	(void)str_copy(query->hostname, sizeof(query->hostname),
		       str_of(hostname));
	query->on_answer = on_answer;
	query->owner = owner;
	list_init(&query->later.link);
	query->later.on_later = on_later;
	is_asking = query->client.family != IP_NONE &&
		    client_is_asking(points, &query->client);
	list_push(&points->queries, &query->link);
	points->query_count++;

	known = domain_find(points, query->domain);
	if (known != NULL && now_ms < known->until_ms) {
		query->until_ms = known->until_ms;
		query_answer(query, POINTS_HERE);
	} else if (points->query_count > QUERIES_MAX) {
		points->stats.refused++;
		query_answer(query, POINTS_UNKNOWN);
	} else if (!is_asking) {
		query_start(query);
	}
	return query;
}

void
points_here_cancel(struct points_here_query *query)
{
	if (query == NULL)
		return;
	if (query->state != QUERY_ANSWERED)
		query_leave(query);
	list_remove(&query->later.link);
	free(query);
}

/* ------------------------------------------------------------------- life */

struct points_here *
points_here_new(struct resolver *resolver,
		bool (*is_ours)(void *arg, const struct ip *ip), void *arg)
{
	struct points_here *points = mem_zalloc(sizeof(*points));

	points->resolver = resolver;
	points->is_ours = is_ours;
	points->arg = arg;
	list_init(&points->queries);
	points->limits = limit_new(2);
	lru_init(&points->domains, DOMAINS_MAX, domain_free);
	return points;
}

void
points_here_free(struct points_here *points)
{
	if (points == NULL)
		return;
	limit_free(points->limits);
	lru_done(&points->domains);
	free(points);
}

const struct points_here_stats *
points_here_stats(const struct points_here *points)
{
	return &points->stats;
}

void
points_here_each(const struct points_here *points,
		 void (*each)(void *arg,
			      const struct points_here_domain *domain),
		 void *arg)
{
	uint64_t now_ms = resolver_now_ms(points->resolver);
	const struct list *node;

	list_each (node, &points->domains.used) {
		const struct domain *domain =
			container_of(node, struct domain, entry.used);
		struct points_here_domain shown = {
			.domain = domain->name,
			.first_s = (now_ms - domain->first_ms) / 1000,
			.last_s = (now_ms - domain->last_ms) / 1000,
			.count = domain->count,
			.is_too_long = domain_is_too_long(domain, now_ms),
		};

		each(arg, &shown);
	}
}
