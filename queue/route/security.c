/* SPDX-License-Identifier: ISC */
#include "queue/route/security.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/hash.h"
#include "lib/mem.h"
#include "queue/route/route.h"
#include "queue/route/sts.h"

#define TLSA_MAX 32 /* records that are looked at */

struct security_query {
	struct resolver *resolver;
	struct sts *sts; /* NULL: none */
	struct sts_query *sts_query;
	uint64_t expires_ms; /* of what says that there is no DANE */
	enum hop_tls tls;
	bool is_mx;
	char domain[ADDR_DOMAIN_MAX + 1]; /* the next hop's */
	struct route *route;		  /* shares */
	const struct route_host *host;	  /* of the route */
	char base[DNS_NAME_TEXT_MAX];	  /* whose TLSA are asked for */
	struct resolver_query *query;
	struct resolver_later later;
	struct security *found; /* for later */
	security_fn *on_security;
	void *owner;
};

static const char *const names[] = {
	[SECURITY_NONE] = "none",
	[SECURITY_OPPORTUNISTIC] = "opportunistic",
	[SECURITY_REQUIRED] = "required",
	[SECURITY_VERIFIED] = "verified",
	[SECURITY_DANE] = "dane",
	[SECURITY_DANE_UNUSABLE] = "dane-unusable",
	[SECURITY_STS] = "sts",
	[SECURITY_STS_TESTING] = "sts-testing",
};

const char *
security_name(enum security_kind kind)
{
	return names[kind];
}

/* ------------------------------------------------------------- one of them */

static struct security *
security_new(enum security_kind kind, const char *host)
{
	struct security *security = mem_zalloc(sizeof(*security));

	security->refs = 1;
	security->kind = kind;
	security->cause = CAUSE_REPLY;
	security->expires_ms = UINT64_MAX;
	(void)str_copy(security->name, sizeof(security->name), str_of(host));
	return security;
}

struct security *
security_ref(struct security *security)
{
	security->refs++;
	return security;
}

void
security_unref(struct security *security)
{
	if (security == NULL)
		return;
	assert(security->refs != 0);
	if (--security->refs != 0)
		return;
	dns_set_unref(security->set);
	free(security->tlsa);
	free(security);
}

struct security *
security_configured(enum hop_tls tls, const char *host)
{
	enum security_kind kind = SECURITY_OPPORTUNISTIC;

	switch (tls) {
	case HOP_TLS_NONE:
		kind = SECURITY_NONE;
		break;
	case HOP_TLS_OPPORTUNISTIC:
		break;
	case HOP_TLS_REQUIRED:
	case HOP_TLS_DANE:
	case HOP_TLS_STS:
		kind = SECURITY_REQUIRED;
		break;
	case HOP_TLS_VERIFIED:
		kind = SECURITY_VERIFIED;
		break;
	}
	return security_new(kind, host);
}

/* The host must not be connected to. */
static struct security *security_refused(enum security_kind kind,
					 const char *host, enum cause cause,
					 const char *format, ...)
	__attribute__((format(printf, 4, 5)));

static struct security *
security_refused(enum security_kind kind, const char *host, enum cause cause,
		 const char *format, ...)
{
	struct security *security = security_new(kind, host);
	va_list args;

	security->cause = cause;
	va_start(args, format);
	(void)vsnprintf(security->why, sizeof(security->why), format, args);
	va_end(args);
	return security;
}

/* Nobody gains by two policies of his own that look alike. */
static const struct hash_seed seed;

static uint64_t
tlsa_print(const struct tls_tlsa *tlsa)
{
	const uint8_t head[] = {tlsa->usage, tlsa->selector, tlsa->matching};

	return hash_bytes(&seed, head, sizeof(head)) ^
	       hash_bytes(&seed, tlsa->data, tlsa->len) * 3;
}

/* What a secure TLSA set asks for: DANE, or with nothing usable just TLS. */
static struct security *
security_of_tlsa(const struct security_query *query, struct dns_set *set)
{
	struct security *security = security_new(SECURITY_DANE, query->base);
	size_t max = set->count < TLSA_MAX ? set->count : TLSA_MAX;
	bool has_anchor = false;

	security->set = dns_set_ref(set);
	security->tlsa = mem_zalloc(max * sizeof(*security->tlsa));
	for (size_t i = 0; i < max; i++) {
		const struct dns_record *record = &set->records[i];
		struct tls_tlsa *tlsa = &security->tlsa[security->tlsa_count];

		if (record->len < 4)
			continue;
		tlsa->usage = record->data[0];
		tlsa->selector = record->data[1];
		tlsa->matching = record->data[2];
		tlsa->data = record->data + 3;
		tlsa->len = record->len - 3;
		if (!tls_tlsa_is_usable(tlsa))
			continue;
		/* a sum, for the order of records means nothing */
		security->print += tlsa_print(tlsa);
		has_anchor |= tlsa->usage == 2;
		security->tlsa_count++;
	}
	if (security->tlsa_count == 0)
		security->kind = SECURITY_DANE_UNUSABLE;
	/* RFC 7672, 3.2.2: other names by which the server may be known */
	if (strcmp(query->host->name, query->base) != 0)
		(void)str_copy(security->alias[0], sizeof(security->alias[0]),
			       str_of(query->host->name));
	if (query->is_mx && strcmp(query->domain, query->base) != 0)
		(void)str_copy(security->alias[1], sizeof(security->alias[1]),
			       str_of(query->domain));
	/* below a trust anchor the names count too: what was verified for one
	 * domain of the host says nothing to another */
	for (size_t i = 0; has_anchor && i < 2; i++)
		security->print += hash_bytes(&seed, security->alias[i],
					      strlen(security->alias[i])) *
				   (5 + 2 * i);
	security->expires_ms = set->expires_ms;
	(void)snprintf(security->from, sizeof(security->from), "TLSA %s",
		       set->name);
	return security;
}

/* ------------------------------------------------------------ finding it */

static void
query_free(struct security_query *query)
{
	list_remove(&query->later.link);
	route_unref(query->route);
	free(query);
}

static void
query_end(struct security_query *query, struct security *found)
{
	security_fn *on_security = query->on_security;
	void *owner = query->owner;

	query_free(query);
	on_security(owner, found);
	security_unref(found);
}

static void
on_later(struct resolver_later *later)
{
	struct security_query *query =
		container_of(later, struct security_query, later);

	query_end(query, query->found);
}

/* There is no DANE here. expires_ms: of what says so. */
static struct security *
query_without_dane(const struct security_query *query, uint64_t expires_ms)
{
	const char *host = query->host->name;
	struct security *security;

	if (query->tls == HOP_TLS_STS)
		security =
			security_refused(SECURITY_STS, host, CAUSE_TLS_POLICY,
					 "the route demands MTA-STS, which "
					 "%s cannot have",
					 query->domain);
	else if (query->tls == HOP_TLS_DANE)
		security = security_refused(
			SECURITY_DANE, host, CAUSE_TLS_POLICY,
			"the route demands DANE, but %s%s", host,
			query->host->is_secure
				? " has no TLSA records"
				: ", its MX or its address is not signed "
				  "(DNSSEC), or the resolver on this host does "
				  "not validate");
	else
		security = security_configured(query->tls, host);
	security->expires_ms = expires_ms;
	return security;
}

/* RFC 7672, 2.1.2: what cannot be known may be there. */
static struct security *
query_not_known(const struct security_query *query, const struct dns_set *set)
{
	struct security *security = security_refused(
		SECURITY_DANE, query->host->name, CAUSE_DANE_LOOKUP,
		"the TLSA records of %s cannot be had (%s %s: %s)",
		query->host->name, dns_type_name(set->type), set->name,
		set->why);

	security->expires_ms = set->expires_ms;
	return security;
}

static void on_tlsa(void *owner, struct dns_set *set);

/* What the policy of the domain asks of the host. */
static struct security *
security_of_policy(const struct security_query *query,
		   const struct sts_policy *policy)
{
	const char *host = query->host->name;
	bool is_named = sts_policy_names(policy, host);
	char date[CLOCK_DATE_MAX];
	struct security *security;

	if (policy->mode == STS_ENFORCE || query->tls == HOP_TLS_STS) {
		security =
			is_named ? security_new(SECURITY_STS, host)
				 : security_refused(
					   SECURITY_STS, host, CAUSE_STS_FAILED,
					   "the MTA-STS policy of %s does not "
					   "name its MX %s",
					   query->domain, host);
	} else {
		security = security_new(SECURITY_STS_TESTING, host);
		security->is_unnamed = !is_named;
	}
	(void)clock_format_rfc3339(policy->fetched_s * 1000, date);
	(void)snprintf(security->from, sizeof(security->from),
		       "MTA-STS policy %s of %s (%s, read %s)", policy->id,
		       query->domain, sts_mode_name(policy->mode), date);
	return security;
}

static void
on_policy(void *owner, const struct sts_answer *answer)
{
	struct security_query *query = owner;
	const struct sts_policy *policy = answer->policy;
	struct security *security;

	query->sts_query = NULL;
	if (policy != NULL && policy->mode != STS_NONE &&
	    (policy->mode == STS_ENFORCE || query->tls != HOP_TLS_REQUIRED))
		security = security_of_policy(query, policy);
	else if (answer->is_busy)
		/* else whoever keeps us busy could take policies away */
		security = security_refused(
			SECURITY_STS, query->host->name, CAUSE_STS_FAILED,
			"the MTA-STS policy of %s could not be read yet: %s",
			query->domain, answer->why);
	else if (query->tls == HOP_TLS_STS)
		security = security_refused(
			SECURITY_STS, query->host->name, CAUSE_TLS_POLICY,
			"the route demands MTA-STS, but %s has no policy%s%s",
			query->domain, answer->why[0] != '\0' ? ": " : "",
			answer->why);
	else
		security = security_configured(query->tls, query->host->name);
	security->expires_ms = query->expires_ms < answer->expires_ms
				       ? query->expires_ms
				       : answer->expires_ms;
	query_end(query, security);
}

/* Could its domain have a policy? RFC 8461, 2: DANE comes first. */
static bool
query_may_sts(const struct security_query *query)
{
	if (query->sts == NULL || !query->is_mx ||
	    !dns_is_host_name(query->domain))
		return false;
	return query->tls == HOP_TLS_OPPORTUNISTIC ||
	       query->tls == HOP_TLS_REQUIRED || query->tls == HOP_TLS_STS;
}

/* There is no DANE here; expires_ms: of what says so. */
static void
query_go_on(struct security_query *query, uint64_t expires_ms)
{
	query->expires_ms = expires_ms;
	if (query_may_sts(query))
		query->sts_query =
			sts_ask(query->sts, query->domain, on_policy, query);
	else
		query_end(query, query_without_dane(query, expires_ms));
}

static void
query_ask_tlsa(struct security_query *query, const char *base)
{
	char name[DNS_NAME_TEXT_MAX + 16];

	(void)str_copy(query->base, sizeof(query->base), str_of(base));
	(void)snprintf(name, sizeof(name), "_%u._tcp.%s", query->host->port,
		       base);
	query->query = resolver_ask(query->resolver, name, DNS_TLSA, 0, on_tlsa,
				    query);
}

static void
on_tlsa(void *owner, struct dns_set *set)
{
	struct security_query *query = owner;
	const char *host = query->host->name;

	query->query = NULL;
	switch (set->status) {
	case DNS_OK:
		if (!set->is_secure)
			break;
		query_end(query, security_of_tlsa(query, set));
		return;
	case DNS_NODATA:
	case DNS_NXDOMAIN:
		break;
	case DNS_FAILED:
	case DNS_BOGUS:
		query_end(query, query_not_known(query, set));
		return;
	}
	/* RFC 7672, 2.2.2: the end of the CNAMEs first, then their beginning */
	if (strcmp(query->base, host) != 0)
		query_ask_tlsa(query, host);
	else
		query_go_on(query, set->expires_ms);
}

/* The host is an alias into a zone that is not signed; what about itself? */
static void
on_cname(void *owner, struct dns_set *set)
{
	struct security_query *query = owner;

	query->query = NULL;
	if (set->status == DNS_FAILED || set->status == DNS_BOGUS)
		query_end(query, query_not_known(query, set));
	else if (set->status == DNS_OK && set->is_secure)
		query_ask_tlsa(query, query->host->name);
	else
		query_go_on(query, set->expires_ms);
}

/* Is there something to look up at all? */
static bool
query_may_dane(const struct security_query *query)
{
	switch (query->tls) {
	case HOP_TLS_OPPORTUNISTIC:
	case HOP_TLS_REQUIRED:
	case HOP_TLS_DANE:
	case HOP_TLS_STS:
		return query->host->is_mx_secure &&
		       (query->host->is_secure ||
			query->host->canonical[0] != '\0');
	case HOP_TLS_NONE:
	case HOP_TLS_VERIFIED:
		break;
	}
	return false;
}

struct security_query *
security_find(struct resolver *resolver, struct sts *sts,
	      const struct next_hop *hop, struct route *route, size_t index,
	      security_fn *on_security, void *owner)
{
	struct security_query *query = mem_zalloc(sizeof(*query));
	const struct route_host *host = &route->hosts[index];

	query->resolver = resolver;
	query->sts = sts;
	query->tls = hop->tls;
	query->is_mx = hop->kind == HOP_MX;
	(void)str_copy(query->domain, sizeof(query->domain),
		       str_of(hop->domain));
	query->route = route_ref(route);
	query->host = host;
	query->on_security = on_security;
	query->owner = owner;
	list_init(&query->later.link);
	query->later.on_later = on_later;
	if (hop->kind != HOP_LMTP && !query_may_dane(query) &&
	    query_may_sts(query)) {
		query_go_on(query, UINT64_MAX);
	} else if (hop->kind == HOP_LMTP || !query_may_dane(query)) {
		query->found =
			hop->kind == HOP_LMTP
				? security_configured(hop->tls, host->name)
				: query_without_dane(query, UINT64_MAX);
		resolver_call_later(resolver, &query->later);
	} else if (!host->is_secure) {
		query->query = resolver_ask(resolver, host->name, DNS_CNAME, 0,
					    on_cname, query);
	} else {
		query_ask_tlsa(query, host->canonical[0] != '\0'
					      ? host->canonical
					      : host->name);
	}
	return query;
}

void
security_cancel(struct security_query *query)
{
	if (query->query != NULL)
		resolver_cancel(query->query);
	if (query->sts_query != NULL)
		sts_cancel(query->sts_query);
	security_unref(query->found);
	query_free(query);
}

/* --------------------------------------------------------------- the blame */

void
security_blame(const struct security *security, struct outcome *outcome)
{
	struct status status = outcome->status;
	enum smtp_phase phase = outcome->phase;

	if (outcome->cause != CAUSE_TLS_REQUIRED &&
	    outcome->cause != CAUSE_TLS_FAILED)
		return;
	switch (security->kind) {
	case SECURITY_DANE:
	case SECURITY_DANE_UNUSABLE:
		outcome_own(outcome, CAUSE_DANE_FAILED, phase,
			    "DANE is not satisfied (%s): %s", security->from,
			    status.text);
		break;
	case SECURITY_STS:
		outcome_own(outcome, CAUSE_STS_FAILED, phase,
			    "the %s is not satisfied: %s", security->from,
			    status.text);
		break;
	case SECURITY_NONE:
	case SECURITY_OPPORTUNISTIC:
	case SECURITY_REQUIRED:
	case SECURITY_VERIFIED:
	case SECURITY_STS_TESTING:
		break;
	}
}
