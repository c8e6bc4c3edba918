/* SPDX-License-Identifier: ISC */
#include "server/client_name.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/addr.h"
#include "lib/mem.h"
#include "queue/route/resolver.h"

struct client_name {
	struct resolver *resolver;
	struct resolver_query *query;
	struct ip ip;
	char name[ADDR_DOMAIN_MAX + 1]; /* by PTR, not yet confirmed */
	client_name_fn *on_name;
	void *owner;
};

void
client_name_reverse(const struct ip *ip, char to[80])
{
	const uint8_t *b = ip->bytes;
	size_t len = 0;

	if (ip->family == IP_V4) {
		(void)snprintf(to, 80, "%u.%u.%u.%u.in-addr.arpa", b[3], b[2],
			       b[1], b[0]);
		return;
	}
	for (int i = 15; i >= 0; i--)
		len += (size_t)snprintf(to + len, 80 - len, "%x.%x.", b[i] & 15,
					b[i] >> 4);
	(void)snprintf(to + len, 80 - len, "ip6.arpa");
}

static void
client_name_end(struct client_name *lookup, const char *name)
{
	lookup->on_name(lookup->owner, name);
	free(lookup);
}

static void
on_addresses(void *owner, struct dns_set *set)
{
	struct client_name *lookup = owner;

	for (size_t i = 0; set->status == DNS_OK && i < set->count; i++) {
		if (ip_equal(&set->records[i].ip, &lookup->ip)) {
			client_name_end(lookup, lookup->name);
			return;
		}
	}
	client_name_end(lookup, NULL);
}

static void
on_pointer(void *owner, struct dns_set *set)
{
	struct client_name *lookup = owner;

	/* the owner of an address block can write anything here: only a name
	 * that leads back to the address counts */
	if (set->status != DNS_OK || set->records[0].name == NULL ||
	    !addr_normalize_domain(str_of(set->records[0].name), lookup->name,
				   sizeof(lookup->name)) ||
	    addr_is_literal(str_of(lookup->name))) {
		client_name_end(lookup, NULL);
		return;
	}
	lookup->query =
		resolver_ask(lookup->resolver, lookup->name,
			     lookup->ip.family == IP_V4 ? DNS_A : DNS_AAAA,
			     RESOLVER_STRANGER, on_addresses, lookup);
}

struct client_name *
client_name_find(struct resolver *resolver, const struct ip *ip,
		 client_name_fn *on_name, void *owner)
{
	struct client_name *lookup = mem_zalloc(sizeof(*lookup));
	char reverse[80];

	lookup->resolver = resolver;
	lookup->ip = *ip;
	lookup->on_name = on_name;
	lookup->owner = owner;
	client_name_reverse(ip, reverse);
	lookup->query = resolver_ask(resolver, reverse, DNS_PTR,
				     RESOLVER_STRANGER, on_pointer, lookup);
	return lookup;
}

void
client_name_cancel(struct client_name *lookup)
{
	if (lookup == NULL)
		return;
	resolver_cancel(lookup->query);
	free(lookup);
}
