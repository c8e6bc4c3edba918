/* SPDX-License-Identifier: ISC */
#include "queue/route/route_draft.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/hash.h"
#include "lib/mem.h"
#include "lib/random.h"
#include "queue/route/route_host.h"

/* --------------------------------------------------------------- beginning */

/* "[192.0.2.1]", "[IPv6:2001:db8::1]" (RFC 5321, 4.1.3), or without []. */
static bool
literal_parse(const char *text, struct ip *out)
{
	struct str inside = str_of(text);

	if (inside.len >= 2 && inside.at[0] == '[' &&
	    inside.at[inside.len - 1] == ']')
		inside = str_from(inside.at + 1, inside.len - 2);
	if (str_starts_nocase(inside, "IPv6:"))
		inside = str_from(inside.at + 5, inside.len - 5);
	return ip_parse(inside, out);
}

static struct route_candidate *
candidate_add(struct route_draft *draft, const char *name, int preference,
	      uint16_t port)
{
	struct route_candidate *candidate = &draft->candidates[draft->count++];

	memset(candidate, 0, sizeof(*candidate));
	(void)str_copy(candidate->name, sizeof(candidate->name), str_of(name));
	candidate->preference = preference;
	candidate->port = port;
	return candidate;
}

/* RFC 6761, 6.3: these never leave the host. */
static bool
is_localhost(const char *name)
{
	return str_is_nocase(str_of(name), "localhost") ||
	       str_ends_nocase(str_of(name), str_of(".localhost"));
}

static void
targets_add(struct route_draft *draft, const struct next_hop *hop)
{
	for (size_t i = 0;
	     i < hop->target_count && draft->count < ROUTE_HOSTS_MAX; i++) {
		const struct hop_target *target = &hop->targets[i];
		struct route_candidate *candidate;

		if (target->unix_path != NULL)
			continue; /* has no address; the caller connects */
		candidate =
			candidate_add(draft, target->host, -1, target->port);
		candidate->is_implicit_tls = target->is_implicit_tls;
		if (is_localhost(target->host)) {
			(void)ip_parse(str_of("127.0.0.1"),
				       &candidate->literals[0]);
			(void)ip_parse(str_of("::1"), &candidate->literals[1]);
		} else {
			(void)literal_parse(target->host,
					    &candidate->literals[0]);
		}
	}
}

void
route_draft_init(struct route_draft *draft, const struct next_hop *hop,
		 const struct route_opts *opts)
{
	struct ip literal;

	memset(draft, 0, sizeof(*draft));
	draft->kind = hop->kind;
	draft->family = hop->family;
	/* a source address can reach its own family alone */
	if (hop->source.family == IP_V4)
		draft->family = HOP_FAMILY_V4;
	if (hop->source.family == IP_V6)
		draft->family = HOP_FAMILY_V6;
	draft->port = opts->port;
	draft->private_targets = opts->private_targets;
	draft->is_ours = opts->is_ours;
	draft->is_ours_arg = opts->is_ours_arg;
	if (opts->hostname != NULL)
		(void)str_copy(draft->hostname, sizeof(draft->hostname),
			       str_of(opts->hostname));
	(void)str_copy(draft->domain, sizeof(draft->domain),
		       str_of(hop->domain));
	if (hop->kind != HOP_MX)
		targets_add(draft, hop);
	else if (addr_is_literal(str_of(draft->domain)) &&
		 literal_parse(draft->domain, &literal))
		candidate_add(draft, draft->domain, -1, draft->port)
			->literals[0] = literal;
}

void
route_draft_done(struct route_draft *draft)
{
	dns_set_unref(draft->mx);
	for (size_t i = 0; i < draft->count; i++) {
		dns_set_unref(draft->candidates[i].v4);
		dns_set_unref(draft->candidates[i].v6);
	}
	draft->mx = NULL;
	draft->count = 0;
}

void
route_draft_again(struct route_draft *draft)
{
	size_t count = draft->count;

	route_draft_done(draft);
	draft->is_implicit_mx = draft->is_mx_fresh = false;
	if (draft->kind == HOP_MX)
		return;
	draft->count = count; /* configured: they stay */
	for (size_t i = 0; i < count; i++)
		draft->candidates[i].v4 = draft->candidates[i].v6 = NULL;
}

bool
route_draft_needs_mx(const struct route_draft *draft)
{
	return draft->kind == HOP_MX && draft->count == 0 && draft->mx == NULL;
}

bool
route_draft_wants(const struct route_draft *draft,
		  const struct route_candidate *candidate, uint16_t type)
{
	if (candidate->literals[0].family != IP_NONE)
		return false;
	return draft->family == HOP_FAMILY_ANY ||
	       (draft->family == HOP_FAMILY_V4) == (type == DNS_A);
}

/* ------------------------------------------------------------- the prints */

/* What an absent set prints as; 0 is what we do not know. */
#define PRINT_NODATA   1
#define PRINT_NXDOMAIN 2

/* Nobody gains by making two sets of his own domain look alike, so the seed
 * is no secret. */
static const struct hash_seed seed;

static uint64_t
name_print(const char *name)
{
	return hash_bytes(&seed, name, strlen(name));
}

/* A sum over the records, so that their order does not count. */
static uint64_t
set_print(const struct dns_set *set)
{
	uint64_t print = PRINT_NXDOMAIN + 1;

	if (set == NULL)
		return 0;
	switch (set->status) {
	case DNS_OK:
		break;
	case DNS_NODATA:
		return PRINT_NODATA;
	case DNS_NXDOMAIN:
		return PRINT_NXDOMAIN;
	case DNS_FAILED:
	case DNS_BOGUS:
		return 0;
	}
	for (size_t i = 0; i < set->count; i++) {
		const struct dns_record *record = &set->records[i];
		uint64_t one;

		if (record->name != NULL)
			one = name_print(record->name) *
			      (2 * (uint64_t)record->preference + 1);
		else
			one = hash_bytes(&seed, record->ip.bytes,
					 record->ip.family == IP_V6 ? 16 : 4);
		print += one;
	}
	return print > PRINT_NXDOMAIN ? print : PRINT_NXDOMAIN + 1;
}

/* Of one family of all hosts: what is not known of one is not of all. */
static uint64_t
family_print(const struct route_draft *draft, bool is_v4)
{
	uint64_t print = PRINT_NXDOMAIN + 1;

	for (size_t i = 0; i < draft->count; i++) {
		const struct route_candidate *at = &draft->candidates[i];
		uint64_t one = set_print(is_v4 ? at->v4 : at->v6);

		if (one == 0)
			return 0;
		print += one * (name_print(at->name) | 1);
	}
	return draft->count != 0 ? print : 0;
}

/* ---------------------------------------------------------------- no route */

static bool
any_stale(const struct route_draft *draft)
{
	bool is_stale = draft->mx != NULL && draft->mx->is_stale;

	for (size_t i = 0; i < draft->count; i++) {
		const struct dns_set *v4 = draft->candidates[i].v4;
		const struct dns_set *v6 = draft->candidates[i].v6;

		is_stale |= (v4 != NULL && v4->is_stale) ||
			    (v6 != NULL && v6->is_stale);
	}
	return is_stale;
}

static struct route *
route_new(const struct route_draft *draft, size_t hosts, uint64_t now_ms)
{
	struct route *route = mem_zalloc(sizeof(*route));

	route->refs = 1;
	route->cause = CAUSE_REPLY;
	(void)str_copy(route->domain, sizeof(route->domain),
		       str_of(draft->domain));
	route->is_implicit_mx = draft->is_implicit_mx;
	route->made_ms = now_ms;
	route->expires_ms = UINT64_MAX;
	if (draft->mx != NULL) {
		route->mx_asked_ms = draft->mx->asked_ms;
		route->mx_expires_ms = draft->mx->expires_ms;
		route->is_mx_cached = !draft->is_mx_fresh;
		route->has_cached = route->is_mx_cached;
	}
	route->is_stale = any_stale(draft);
	route->mx_print = set_print(draft->mx);
	route->v4_print = family_print(draft, true);
	route->v6_print = family_print(draft, false);
	if (hosts != 0)
		route->hosts = mem_zalloc(hosts * sizeof(*route->hosts));
	return route;
}

static void route_refuse(struct route *route, enum cause cause,
			 bool is_permanent, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

static void
route_refuse(struct route *route, enum cause cause, bool is_permanent,
	     const char *format, ...)
{
	va_list args;

	route->cause = cause;
	route->is_permanent = is_permanent;
	va_start(args, format);
	(void)vsnprintf(route->why, sizeof(route->why), format, args);
	va_end(args);
}

static uint64_t
sooner(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* -------------------------------------------------------------- the MX set */

struct ranked {
	const struct dns_record *record;
	uint32_t lot; /* decides among equals */
};

static int
ranked_order(const void *left, const void *right)
{
	const struct ranked *a = left, *b = right;

	if (a->record->preference != b->record->preference)
		return a->record->preference < b->record->preference ? -1 : 1;
	return a->lot < b->lot ? -1 : a->lot > b->lot;
}

static bool
is_named(const struct route_draft *draft, const char *name)
{
	for (size_t i = 0; i < draft->count; i++)
		if (strcmp(draft->candidates[i].name, name) == 0)
			return true;
	return false;
}

/* Lowest preference at which the set names this host; INT32_MAX: nowhere. */
static int
own_preference(const struct route_draft *draft, const struct dns_set *set)
{
	int own = INT32_MAX;

	for (size_t i = 0; i < set->count; i++)
		if (draft->hostname[0] != '\0' &&
		    str_is_nocase(str_of(set->records[i].name),
				  draft->hostname) &&
		    set->records[i].preference < own)
			own = set->records[i].preference;
	return own;
}

/*
 * The best hosts of the set, up to the first that is this host: it, its
 * equals and what is worse would only send the mail back (RFC 5321, 5.1).
 * Returns how many names could not be hosts.
 */
static size_t
candidates_of(struct route_draft *draft, const struct dns_set *set, int own)
{
	struct ranked *ranked = mem_alloc(set->count * sizeof(*ranked));
	size_t bad = 0;

	for (size_t i = 0; i < set->count; i++) {
		ranked[i].record = &set->records[i];
		random_bytes(&ranked[i].lot, sizeof(ranked[i].lot));
	}
	qsort(ranked, set->count, sizeof(*ranked), ranked_order);
	for (size_t i = 0; i < set->count; i++) {
		const struct dns_record *record = ranked[i].record;

		if (record->preference >= own ||
		    draft->count == ROUTE_HOSTS_MAX)
			break;
		if (!dns_is_host_name(record->name))
			bad++;
		else if (!is_named(draft, record->name))
			(void)candidate_add(draft, record->name,
					    record->preference, draft->port);
	}
	free(ranked);
	return bad;
}

static struct route *
refuse_mx(const struct route_draft *draft, uint64_t now_ms)
{
	const struct dns_set *set = draft->mx;
	struct route *route = route_new(draft, 0, now_ms);
	bool is_final = !set->is_stale;

	route->expires_ms = set->expires_ms;
	switch (set->status) {
	case DNS_NXDOMAIN:
		route_refuse(route, CAUSE_DNS_NO_DOMAIN, is_final,
			     "%s does not exist in DNS", draft->domain);
		break;
	case DNS_FAILED:
		route_refuse(route, CAUSE_DNS_FAILED, false,
			     "DNS has no answer about the MX of %s: %s",
			     draft->domain, set->why);
		break;
	case DNS_BOGUS:
		route_refuse(route, CAUSE_DNS_BOGUS, false,
			     "the MX of %s cannot be trusted: %s",
			     draft->domain, set->why);
		break;
	case DNS_OK:
		if (set->count == 1 && set->records[0].name[0] == '\0')
			/* RFC 7505 */
			route_refuse(route, CAUSE_DNS_NULL_MX, is_final,
				     "%s takes no mail (its MX is empty)",
				     draft->domain);
		else if (own_preference(draft, set) != INT32_MAX)
			route_refuse(route, CAUSE_SELF_IN_MX, is_final,
				     "the best MX of %s is this server (%s), "
				     "which has no row for that domain to "
				     "deliver it by",
				     draft->domain, draft->hostname);
		else
			route_refuse(route, CAUSE_DNS_BAD_MX, is_final,
				     "the MX of %s names no valid host "
				     "(\"%.60s\")",
				     draft->domain, set->records[0].name);
		break;
	case DNS_NODATA: /* implicit MX, refused only for being us */
		route_refuse(route, CAUSE_SELF_IN_MX, is_final,
			     "%s is this server, which has no row for that "
			     "domain to deliver it by",
			     draft->domain);
		break;
	}
	return route;
}

struct route *
route_draft_take_mx(struct route_draft *draft, struct dns_set *set,
		    uint64_t now_ms)
{
	draft->mx = dns_set_ref(set);
	draft->is_mx_fresh = !set->is_cached;
	switch (set->status) {
	case DNS_NODATA:
		/* RFC 5321, 5.1: no MX, so the domain is its own host */
		draft->is_implicit_mx = true;
		if (str_is_nocase(str_of(draft->domain), draft->hostname))
			break;
		(void)candidate_add(draft, draft->domain, 0, draft->port);
		return NULL;
	case DNS_OK:
		(void)candidates_of(draft, set, own_preference(draft, set));
		if (draft->count != 0)
			return NULL;
		break;
	case DNS_NXDOMAIN:
	case DNS_FAILED:
	case DNS_BOGUS:
		break;
	}
	return refuse_mx(draft, now_ms);
}

/* ------------------------------------------------------------- the verdict */

/* "a", "a and b", "a, b and c", cut when it gets long. */
static char *
host_names(const struct route *route, char *to, size_t size)
{
	size_t used = 0;

	to[0] = '\0';
	for (size_t i = 0; i < route->host_count; i++) {
		const char *between = i == 0			   ? ""
				      : i + 1 == route->host_count ? " and "
								   : ", ";

		if (used + strlen(route->hosts[i].name) + 8 > size) {
			(void)snprintf(to + used, size - used, ", ...");
			break;
		}
		used += (size_t)snprintf(to + used, size - used, "%s%s",
					 between, route->hosts[i].name);
	}
	return to;
}

static enum cause
cause_of(enum host_state state)
{
	switch (state) {
	case HOST_USABLE:
		return CAUSE_REPLY;
	case HOST_OURS:
		return CAUSE_SELF_IN_MX;
	case HOST_PRIVATE:
		return CAUSE_PRIVATE_TARGET;
	case HOST_FAILED:
		return CAUSE_DNS_FAILED;
	case HOST_BOGUS:
		return CAUSE_DNS_BOGUS;
	case HOST_NO_ADDRESS:
		break;
	}
	return CAUSE_DNS_NO_ADDRESS;
}

/* No host of the next hop has an address. worst tells most about why. */
static void
refuse_hosts(const struct route_draft *draft, struct route *route,
	     enum host_state worst, const struct route_host *told)
{
	enum cause cause = cause_of(worst);
	bool is_final = !route->is_stale;
	char names[160];

	if (draft->kind != HOP_MX) {
		/* a configured next hop never bounces mail for DNS */
		route_refuse(route, cause, false, "the next hop %s %s",
			     told->name, told->why);
	} else if (worst == HOST_OURS) {
		route_refuse(route, cause, is_final,
			     "the best MX of %s, %s, %s", draft->domain,
			     told->name, told->why);
	} else if (addr_is_literal(str_of(draft->domain))) {
		route_refuse(route, cause, worst == HOST_PRIVATE, "%s %s",
			     draft->domain, told->why);
	} else if (draft->is_implicit_mx && worst == HOST_NO_ADDRESS) {
		route_refuse(route, cause,
			     is_final && draft->family == HOP_FAMILY_ANY,
			     "%s has neither an MX nor an address%s",
			     draft->domain,
			     draft->family == HOP_FAMILY_V4   ? " (IPv4)"
			     : draft->family == HOP_FAMILY_V6 ? " (IPv6)"
							      : "");
	} else if (draft->is_implicit_mx) {
		route_refuse(route, cause, worst == HOST_PRIVATE && is_final,
			     "%s has no MX, and itself %s", draft->domain,
			     told->why);
	} else if (route->host_count == 1 || worst != HOST_NO_ADDRESS) {
		/* defer: the host's owner may just be renumbering */
		route_refuse(route, cause, worst == HOST_PRIVATE && is_final,
			     "the MX of %s is %s, which %s", draft->domain,
			     told->name, told->why);
	} else {
		route_refuse(route, cause, false,
			     "the MX hosts of %s are %s, and none has an "
			     "address",
			     draft->domain,
			     host_names(route, names, sizeof(names)));
	}
}

static bool
is_from_cache(const struct route_candidate *candidate)
{
	return (candidate->v4 != NULL && !candidate->is_v4_fresh) ||
	       (candidate->v6 != NULL && !candidate->is_v6_fresh);
}

/* Cuts this host, its equals and what is worse (RFC 5321, 5.1). */
static void
cut_from_ours(struct route *route, const enum host_state *states)
{
	for (size_t i = 0; i < route->host_count; i++) {
		size_t kept = i;

		if (states[i] != HOST_OURS)
			continue;
		while (kept > 0 && route->hosts[kept - 1].preference ==
					   route->hosts[i].preference)
			kept--;
		route->host_count = kept;
		return;
	}
}

struct route *
route_draft_finish(const struct route_draft *draft, uint64_t now_ms)
{
	/* of two reasons the one that a later try may change is told */
	static const enum host_state order[] = {HOST_FAILED, HOST_BOGUS,
						HOST_PRIVATE, HOST_NO_ADDRESS};
	enum host_state states[ROUTE_HOSTS_MAX];
	struct route *route = route_new(draft, draft->count, now_ms);

	route->host_count = draft->count;
	for (size_t i = 0; i < draft->count; i++) {
		states[i] = route_host_fill(draft, &draft->candidates[i],
					    now_ms, &route->hosts[i]);
		route->expires_ms =
			sooner(route->expires_ms, route->hosts[i].expires_ms);
		route->has_cached |= is_from_cache(&draft->candidates[i]);
	}
	cut_from_ours(route, states);
	for (size_t i = 0; i < route->host_count; i++)
		if (states[i] == HOST_USABLE)
			return route;
	if (route->host_count == 0 && draft->count != 0) {
		size_t ours = 0;

		while (states[ours] != HOST_OURS)
			ours++;
		refuse_hosts(draft, route, HOST_OURS, &route->hosts[ours]);
		return route;
	}
	for (size_t o = 0; o < sizeof(order) / sizeof(order[0]); o++)
		for (size_t i = 0; i < route->host_count; i++)
			if (states[i] == order[o]) {
				refuse_hosts(draft, route, order[o],
					     &route->hosts[i]);
				return route;
			}
	route_refuse(route, CAUSE_CONFIGURATION, false,
		     "the next hop of %s has no host", draft->domain);
	return route;
}
