/* SPDX-License-Identifier: ISC */
#include "queue/route/route_host.h"

#include <stdio.h>
#include <string.h>

#include "lib/random.h"

/* a route that lacks what DNS did not say now is looked at again soon */
#define INCOMPLETE_MS 60000

static uint64_t
sooner(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static bool
is_failure(const struct dns_set *set)
{
	return set != NULL &&
	       (set->status == DNS_FAILED || set->status == DNS_BOGUS);
}

static size_t
shuffled(const struct dns_set *set, const struct ip **to, size_t max)
{
	size_t count = 0;

	if (set == NULL || set->status != DNS_OK)
		return 0;
	for (size_t i = 0; i < set->count; i++) {
		size_t place = random_below((uint32_t)i + 1);

		/* a fair draw of max among all, in random order */
		if (count < max) {
			if (place != count)
				to[count] = to[place];
			to[place] = &set->records[i].ip;
			count++;
		} else if (place < max) {
			to[place] = &set->records[i].ip;
		}
	}
	return count;
}

/* Both families in turn, IPv6 first (RFC 8305, 4). */
static void
addresses_fill(const struct route_candidate *candidate, struct route_host *host)
{
	const struct ip *v4[ROUTE_ADDRS_MAX], *v6[ROUTE_ADDRS_MAX];
	size_t v4_count = shuffled(candidate->v4, v4, ROUTE_ADDRS_MAX);
	size_t v6_count = shuffled(candidate->v6, v6, ROUTE_ADDRS_MAX);

	for (size_t i = 0; i < ROUTE_ADDRS_MAX; i++) {
		if (i < v6_count && host->addr_count < ROUTE_ADDRS_MAX)
			host->addrs[host->addr_count++] = *v6[i];
		if (i < v4_count && host->addr_count < ROUTE_ADDRS_MAX)
			host->addrs[host->addr_count++] = *v4[i];
	}
}

static void
literals_fill(const struct route_draft *draft,
	      const struct route_candidate *candidate, struct route_host *host)
{
	for (size_t i = 0; i < 2; i++) {
		const struct ip *ip = &candidate->literals[i];

		if (ip->family == IP_NONE ||
		    (draft->family == HOP_FAMILY_V4 && ip->family != IP_V4) ||
		    (draft->family == HOP_FAMILY_V6 && ip->family != IP_V6))
			continue;
		host->addrs[host->addr_count++] = *ip;
	}
	host->expires_ms = UINT64_MAX;
	host->is_cached = true;
	if (host->addr_count == 0)
		(void)snprintf(host->why, sizeof(host->why),
			       "is not of the address family asked for");
}

/* Seconds that the set has left. */
static uint64_t
left_s(const struct dns_set *set, uint64_t now_ms)
{
	return set->expires_ms > now_ms ? (set->expires_ms - now_ms) / 1000 : 0;
}

/* When the host's addresses must be asked for again, and what else its two
 * sets say about it. */
static void
host_judge_sets(const struct route_candidate *candidate,
		struct route_host *host, uint64_t now_ms)
{
	const struct dns_set *sets[] = {candidate->v4, candidate->v6};
	bool has_address = host->addr_count != 0;

	host->addr_ttl_s = UINT64_MAX;
	for (size_t i = 0; i < 2; i++) {
		const struct dns_set *set = sets[i];

		if (set == NULL)
			continue;
		if (is_failure(set)) {
			host->expires_ms = sooner(host->expires_ms,
						  now_ms + INCOMPLETE_MS);
		} else if (!has_address || set->status == DNS_OK) {
			/* that a family is missing may end earlier: it names
			 * no host, so nothing goes astray by it */
			host->expires_ms =
				sooner(host->expires_ms, set->expires_ms);
			host->addr_ttl_s =
				sooner(host->addr_ttl_s, left_s(set, now_ms));
		}
		if (set->status != DNS_OK)
			continue;
		host->is_secure = host->is_secure && set->is_secure;
		if (set->canonical != NULL &&
		    strcmp(set->canonical, host->name) != 0 &&
		    dns_is_host_name(set->canonical))
			(void)str_copy(host->canonical, sizeof(host->canonical),
				       str_of(set->canonical));
	}
	if (host->addr_ttl_s == UINT64_MAX)
		host->addr_ttl_s = 0;
}

/* Why is there no address? */
static enum host_state
host_explain(const struct route_candidate *candidate, struct route_host *host)
{
	const struct dns_set *sets[] = {candidate->v4, candidate->v6};
	bool is_missing = false;

	for (size_t i = 0; i < 2; i++) {
		if (!is_failure(sets[i])) {
			is_missing |= sets[i] != NULL &&
				      sets[i]->status == DNS_NXDOMAIN;
			continue;
		}
		(void)snprintf(host->why, sizeof(host->why),
			       "cannot be looked up: %s", sets[i]->why);
		return sets[i]->status == DNS_BOGUS ? HOST_BOGUS : HOST_FAILED;
	}
	(void)snprintf(host->why, sizeof(host->why), "%s",
		       is_missing ? "does not exist in DNS" : "has no address");
	return HOST_NO_ADDRESS;
}

/* Mail for strangers' domains does not go into our own networks. */
static void
private_remove(struct route_host *host)
{
	size_t kept = 0;

	for (size_t i = 0; i < host->addr_count; i++) {
		char text[IP_TEXT_MAX];

		if (!ip_is_private(&host->addrs[i])) {
			host->addrs[kept++] = host->addrs[i];
			continue;
		}
		(void)snprintf(host->why, sizeof(host->why),
			       "leads to the private address %s",
			       ip_format(&host->addrs[i], text));
	}
	host->addr_count = kept;
	if (kept != 0)
		host->why[0] = '\0';
}

static bool
host_is_ours(const struct route_draft *draft, struct route_host *host)
{
	for (size_t i = 0; draft->is_ours != NULL && i < host->addr_count;
	     i++) {
		char text[IP_TEXT_MAX];

		if (!draft->is_ours(draft->is_ours_arg, &host->addrs[i],
				    host->port))
			continue;
		(void)snprintf(host->why, sizeof(host->why),
			       "is this server (%s port %u)",
			       ip_format(&host->addrs[i], text), host->port);
		host->addr_count = 0;
		return true;
	}
	return false;
}

enum host_state
route_host_fill(const struct route_draft *draft,
		const struct route_candidate *candidate, uint64_t now_ms,
		struct route_host *host)
{
	const struct dns_set *mx = draft->mx;

	(void)str_copy(host->name, sizeof(host->name), str_of(candidate->name));
	host->preference = candidate->preference;
	host->port = candidate->port;
	host->is_implicit_tls = candidate->is_implicit_tls;
	if (candidate->literals[0].family != IP_NONE) {
		literals_fill(draft, candidate, host);
	} else {
		host->expires_ms = mx != NULL ? mx->expires_ms : UINT64_MAX;
		host->mx_ttl_s = mx != NULL ? left_s(mx, now_ms) : 0;
		host->is_mx_secure = mx == NULL || mx->is_secure;
		host->is_secure = host->is_mx_secure;
		host->is_cached = (mx == NULL || !draft->is_mx_fresh) &&
				  !candidate->is_v4_fresh &&
				  !candidate->is_v6_fresh;
		addresses_fill(candidate, host);
		host_judge_sets(candidate, host, now_ms);
		if (host->addr_count == 0) {
			host->is_secure = false;
			return host_explain(candidate, host);
		}
	}
	if (draft->kind == HOP_MX && host_is_ours(draft, host))
		return HOST_OURS;
	if (draft->kind == HOP_MX && !draft->private_targets) {
		private_remove(host);
		if (host->addr_count == 0 && host->why[0] != '\0')
			return HOST_PRIVATE;
	}
	return host->addr_count != 0 ? HOST_USABLE : HOST_NO_ADDRESS;
}
