/* SPDX-License-Identifier: ISC */
/*
 * The asking half: MX first, then the addresses of all its hosts at once.
 * What it means is decided in route_draft.c.
 */
#include "queue/route/route.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "queue/route/route_draft.h"

/* A set that expired so long ago while the others were awaited is asked for
 * again: a server that leaves one question open must not make an old MX live
 * on for as long as we try to reach it. */
#define ROUTE_LATE_MS 500

/* The sets of the last pass are all of its own time: they are taken. */
#define ROUTE_PASSES_MAX 3

/* One address question under way. */
struct route_ask {
	struct route_query *owner;
	struct resolver_query *query; /* NULL: none */
	struct dns_set **to;
	bool *to_is_fresh;
	uint64_t got_ms;
};

struct route_query {
	struct resolver *resolver;
	unsigned flags; /* for resolver_ask */
	struct route_draft draft;
	struct resolver_query *mx; /* NULL: none under way */
	struct route_ask asks[2 * ROUTE_HOSTS_MAX];
	size_t ask_count, pending;
	uint64_t mx_got_ms;
	unsigned passes;
	struct resolver_later later; /* nothing had to be asked */
	route_fn *on_route;
	void *owner;
};

static void
query_free(struct route_query *query)
{
	route_draft_done(&query->draft);
	free(query);
}

static void
query_end(struct route_query *query, struct route *route)
{
	route_fn *on_route = query->on_route;
	void *owner = query->owner;

	query_free(query);
	on_route(owner, route);
	route_unref(route);
}

/* TTL 0 is for those who waited for it: counted from when they got it. */
static bool
set_is_late(const struct dns_set *set, uint64_t got_ms, uint64_t now_ms)
{
	uint64_t end_ms;

	if (set == NULL || set->status == DNS_FAILED ||
	    set->status == DNS_BOGUS)
		return false;
	end_ms = set->expires_ms > got_ms ? set->expires_ms : got_ms;
	return now_ms >= end_ms + ROUTE_LATE_MS;
}

static bool
query_is_late(const struct route_query *query)
{
	uint64_t now_ms = resolver_now_ms(query->resolver);
	bool is_late = set_is_late(query->draft.mx, query->mx_got_ms, now_ms);

	for (size_t i = 0; i < query->ask_count; i++)
		is_late |= set_is_late(*query->asks[i].to,
				       query->asks[i].got_ms, now_ms);
	return is_late;
}

static void query_ask(struct route_query *query);

static void
query_finish(struct route_query *query)
{
	if (++query->passes < ROUTE_PASSES_MAX && query_is_late(query)) {
		route_draft_again(&query->draft);
		query->ask_count = 0;
		query->flags &= ~(unsigned)RESOLVER_FRESH; /* it was */
		query_ask(query);
		return;
	}
	query_end(query, route_draft_finish(&query->draft,
					    resolver_now_ms(query->resolver)));
}

static void
on_address(void *owner, struct dns_set *set)
{
	struct route_ask *ask = owner;
	struct route_query *query = ask->owner;

	ask->query = NULL;
	*ask->to = dns_set_ref(set);
	*ask->to_is_fresh = !set->is_cached;
	ask->got_ms = resolver_now_ms(query->resolver);
	if (--query->pending == 0)
		query_finish(query);
}

static void
ask_address(struct route_query *query, const char *name, uint16_t type,
	    struct dns_set **to, bool *to_is_fresh)
{
	struct route_ask *ask = &query->asks[query->ask_count++];

	ask->owner = query;
	ask->to = to;
	ask->to_is_fresh = to_is_fresh;
	query->pending++;
	ask->query = resolver_ask(query->resolver, name, type, query->flags,
				  on_address, ask);
}

static void
ask_addresses(struct route_query *query)
{
	struct route_draft *draft = &query->draft;

	for (size_t i = 0; i < draft->count; i++) {
		struct route_candidate *at = &draft->candidates[i];

		if (route_draft_wants(draft, at, DNS_A))
			ask_address(query, at->name, DNS_A, &at->v4,
				    &at->is_v4_fresh);
		if (route_draft_wants(draft, at, DNS_AAAA))
			ask_address(query, at->name, DNS_AAAA, &at->v6,
				    &at->is_v6_fresh);
	}
}

static void
on_mx(void *owner, struct dns_set *set)
{
	struct route_query *query = owner;
	struct route *none;

	query->mx = NULL;
	query->mx_got_ms = resolver_now_ms(query->resolver);
	none = route_draft_take_mx(&query->draft, set,
				   resolver_now_ms(query->resolver));
	if (none != NULL) {
		query_end(query, none);
		return;
	}
	ask_addresses(query);
	assert(query->pending != 0); /* MX hosts are never literals */
}

static void
query_ask(struct route_query *query)
{
	if (route_draft_needs_mx(&query->draft))
		query->mx = resolver_ask(query->resolver, query->draft.domain,
					 DNS_MX, query->flags, on_mx, query);
	else
		ask_addresses(query);
}

static void
on_later(struct resolver_later *later)
{
	query_finish(container_of(later, struct route_query, later));
}

struct route_query *
route_find(struct resolver *resolver, const struct next_hop *hop,
	   const struct route_opts *opts, route_fn *on_route, void *owner)
{
	struct route_query *query = mem_zalloc(sizeof(*query));

	assert(hop->kind == HOP_MX || hop->kind == HOP_SMTP ||
	       hop->kind == HOP_LMTP);
	query->resolver = resolver;
	query->flags = opts->is_fresh ? RESOLVER_FRESH : 0;
	query->on_route = on_route;
	query->owner = owner;
	list_init(&query->later.link);
	query->later.on_later = on_later;
	route_draft_init(&query->draft, hop, opts);
	query_ask(query);
	if (query->mx == NULL && query->pending == 0)
		resolver_call_later(resolver, &query->later);
	return query;
}

void
route_cancel(struct route_query *query)
{
	if (query->mx != NULL)
		resolver_cancel(query->mx);
	for (size_t i = 0; i < query->ask_count; i++)
		if (query->asks[i].query != NULL)
			resolver_cancel(query->asks[i].query);
	list_remove(&query->later.link);
	query_free(query);
}

struct route *
route_ref(struct route *route)
{
	route->refs++;
	return route;
}

void
route_unref(struct route *route)
{
	if (route == NULL)
		return;
	assert(route->refs != 0);
	if (--route->refs != 0)
		return;
	free(route->hosts);
	free(route);
}

bool
route_is_fresh(const struct route *route, uint64_t now_ms)
{
	return now_ms < route->expires_ms;
}

void
route_view(const struct route *route, const char *host, const struct ip *ip,
	   struct mx_view *out)
{
	memset(out, 0, sizeof(*out));
	out->is_known = true;
	out->is_implicit = route->is_implicit_mx;
	out->is_cached = route->has_cached;
	out->is_mx_cached = route->is_mx_cached;
	out->is_stale = route->is_stale;
	out->preference = out->best_preference = -1;
	out->asked_ms = route->mx_asked_ms;
	out->expires_ms = route->mx_expires_ms;
	/* of a domain whose hosts cannot be looked up nothing is known */
	if (route->cause != CAUSE_DNS_FAILED && route->cause != CAUSE_DNS_BOGUS)
		out->mx_print = route->mx_print;
	out->v4_print = route->v4_print;
	out->v6_print = route->v6_print;
	if (route->host_count != 0) {
		const struct route_host *best = &route->hosts[0];

		out->best_preference = best->preference;
		(void)str_copy(out->best, sizeof(out->best),
			       str_of(best->name));
	}
	for (size_t i = 0; i < route->host_count; i++) {
		const struct route_host *at = &route->hosts[i];

		if (!str_is_nocase(str_of(at->name), host))
			continue;
		out->preference = at->preference;
		out->address_expires_ms =
			route->made_ms + at->addr_ttl_s * 1000;
		/* what could not be looked up may well be as it was */
		out->is_named = (ip->family == IP_V6 ? route->v6_print
						     : route->v4_print) == 0;
		for (size_t a = 0; a < at->addr_count; a++)
			out->is_named |= ip_equal(&at->addrs[a], ip);
	}
}

bool
route_names(const struct route *route, const char *host, const struct ip *ip,
	    uint16_t port)
{
	for (size_t i = 0; i < route->host_count; i++) {
		const struct route_host *at = &route->hosts[i];

		if (at->port != port || !str_is_nocase(str_of(at->name), host))
			continue;
		for (size_t a = 0; a < at->addr_count; a++)
			if (ip_equal(&at->addrs[a], ip))
				return true;
	}
	return false;
}
