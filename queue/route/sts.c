/* SPDX-License-Identifier: ISC */
#include "queue/route/sts.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/addr.h"
#include "lib/clock.h"
#include "lib/file_saver.h"
#include "lib/list.h"
#include "lib/lru.h"
#include "lib/mem.h"
#include "queue/route/resolver.h"

#define STS_FILE_MAX ((size_t)64 << 20)
#define STS_BUSY_MS  1000 /* nobody was asked: ask again soon */

/* What is remembered of a domain. */
struct sts_domain {
	struct lru_entry entry;
	char *name;
	struct sts_policy *policy; /* shares; NULL: none was ever read */
	/* the last time it could not be read, for which id, and why */
	char failed_id[STS_ID_MAX + 1];
	char why[256];
	uint64_t retry_ms; /* boot clock; 0: the last time went well */
};

/* A policy on its way: its addresses are looked up, it waits for its turn to
 * be read, it is read. */
struct sts_flight {
	struct sts *sts;
	struct list link;  /* in the order of their beginning */
	uint64_t until_ms; /* the loop's clock: who waits must go on */
	char domain[ADDR_DOMAIN_MAX + 1];
	char host[ADDR_DOMAIN_MAX + 16];
	char id[STS_ID_MAX + 1];
	struct resolver_query *v4, *v6; /* NULL: not under way */
	struct ip addrs[HTTPS_ADDRS_MAX];
	size_t addr_count;
	char dns_why[160];
	struct https_fetch *fetch; /* NULL: not yet */
	struct list waiting;	   /* struct sts_query */
};

struct sts_query {
	struct sts *sts;
	struct list link; /* of a flight */
	char domain[ADDR_DOMAIN_MAX + 1];
	struct resolver_query *txt;
	uint64_t txt_expires_ms;
	sts_fn *on_answer;
	void *owner;
};

struct sts {
	uv_loop_t *loop;
	struct sts_opts opts; /* ca is owned */
	struct resolver *resolver;
	struct lru domains;
	struct list flights;
	size_t flight_count;
	uv_timer_t *timer; /* the first flight's end; frees itself */
	struct file_saver *saver;
	bool is_unsaved; /* something changed since the last write began */
	uint64_t fetched, failed;
	char broken[256]; /* nothing can be read at all, and why */
};

static const struct sts_reader https_reader = {
	https_get,
	https_has_begun,
	https_cancel,
};

static uint64_t
wall_s(const struct sts *sts)
{
	return (sts->opts.wall_ms != NULL ? sts->opts.wall_ms()
					  : clock_wall_ms()) /
	       1000;
}

/* ------------------------------------------------------------- the memory */

static void
domain_free(struct lru_entry *entry)
{
	struct sts_domain *domain =
		container_of(entry, struct sts_domain, entry);

	sts_policy_unref(domain->policy);
	free(domain->name);
	free(domain);
}

static struct sts_domain *
domain_find(struct sts *sts, const char *name)
{
	struct lru_entry *entry = lru_find(&sts->domains, name, strlen(name));

	return entry != NULL ? container_of(entry, struct sts_domain, entry)
			     : NULL;
}

static struct sts_domain *
domain_get(struct sts *sts, const char *name)
{
	struct sts_domain *domain = domain_find(sts, name);

	if (domain != NULL)
		return domain;
	domain = mem_zalloc(sizeof(*domain));
	domain->name = mem_strdup(name);
	lru_add(&sts->domains, &domain->entry, domain->name,
		strlen(domain->name));
	return domain;
}

/* The policy that counts now, or NULL; lends. */
static struct sts_policy *
domain_policy(const struct sts *sts, const struct sts_domain *domain)
{
	if (domain == NULL || domain->policy == NULL ||
	    sts_policy_ends_s(domain->policy) <= wall_s(sts))
		return NULL;
	return domain->policy;
}

/* The policies that count, for a worker to write down. */
struct sts_copy {
	size_t count;
	struct sts_named {
		char *name;		   /* owns */
		struct sts_policy *policy; /* shares; counted on the loop */
	} * list;			   /* owns */
};

/* In a worker: policies do not change once they are in the table. */
static void
copy_write(void *arg, struct buf *out)
{
	const struct sts_copy *copy = arg;

	for (size_t i = 0; i < copy->count; i++)
		sts_policy_format(copy->list[i].policy, copy->list[i].name,
				  out);
}

static void
copy_free(void *arg)
{
	struct sts_copy *copy = arg;

	for (size_t i = 0; i < copy->count; i++) {
		free(copy->list[i].name);
		sts_policy_unref(copy->list[i].policy);
	}
	free(copy->list);
	free(copy);
}

static struct sts_copy *
copy_new(const struct sts *sts)
{
	struct sts_copy *copy = mem_zalloc(sizeof(*copy));
	struct list *node;

	copy->list =
		mem_zalloc((sts->domains.count + 1) * sizeof(copy->list[0]));
	for (node = sts->domains.used.next; node != &sts->domains.used;
	     node = node->next) {
		const struct sts_domain *domain =
			container_of(container_of(node, struct lru_entry, used),
				     struct sts_domain, entry);
		struct sts_policy *policy = domain_policy(sts, domain);

		if (policy == NULL)
			continue;
		copy->list[copy->count++] = (struct sts_named){
			.name = mem_strdup(domain->name),
			.policy = sts_policy_ref(policy),
		};
	}
	return copy;
}

static void
sts_save(struct sts *sts)
{
	if (file_saver_is_busy(sts->saver)) {
		sts->is_unsaved = true;
		return;
	}
	sts->is_unsaved = false;
	file_saver_write(sts->saver, STS_FILE_MAX, copy_write, copy_free,
			 copy_new(sts));
}

static void
on_saved(void *arg, int status)
{
	struct sts *sts = arg;

	/* on failure the next change writes all of it */
	if (status == 0 && sts->is_unsaved)
		sts_save(sts);
}

static void
sts_load(struct sts *sts, const char *file)
{
	char name[ADDR_DOMAIN_MAX + 1];
	struct sts_policy *policy;
	struct buf bytes;
	struct str text;

	buf_init(&bytes, STS_FILE_MAX);
	/* what cannot be read is read from the domains again */
	if (file_load(file, &bytes) == 0) {
		text = str_of(buf_text(&bytes));
		while (sts_policy_next(&text, name, sizeof(name), &policy)) {
			struct sts_domain *domain;

			if (policy == NULL)
				continue;
			domain = domain_get(sts, name);
			sts_policy_unref(domain->policy);
			domain->policy = policy;
		}
	}
	buf_done(&bytes);
}

/* ------------------------------------------------------------ the answers */

static void
query_answer(struct sts_query *query, bool is_busy)
{
	struct sts *sts = query->sts;
	const struct sts_domain *domain = domain_find(sts, query->domain);
	struct sts_answer answer = {
		.policy = domain_policy(sts, domain),
		.why = domain != NULL && domain->retry_ms != 0 ? domain->why
							       : "",
		.expires_ms = query->txt_expires_ms,
	};
	struct sts_policy *policy =
		answer.policy != NULL ? sts_policy_ref(answer.policy) : NULL;
	sts_fn *on_answer = query->on_answer;
	void *owner = query->owner;
	char why[sizeof(domain->why)];

	(void)str_copy(why, sizeof(why), str_of(answer.why));
	answer.why = why;
	if (is_busy && policy == NULL) {
		answer.is_busy = true;
		answer.why = "too many others are being read";
		answer.expires_ms =
			resolver_now_ms(sts->resolver) + STS_BUSY_MS;
	}
	list_remove(&query->link);
	free(query);
	on_answer(owner, &answer);
	sts_policy_unref(policy);
}

static void
flight_free(struct sts_flight *flight)
{
	if (flight->v4 != NULL)
		resolver_cancel(flight->v4);
	if (flight->v6 != NULL)
		resolver_cancel(flight->v6);
	if (flight->fetch != NULL)
		flight->sts->opts.reader->cancel(flight->fetch);
	list_remove(&flight->link);
	if (--flight->sts->flight_count == 0)
		(void)uv_timer_stop(flight->sts->timer);
	free(flight);
}

/* It is over; all who wait are told what there is now. */
static void
flight_tell(struct sts_flight *flight, bool is_busy)
{
	struct list waiting;
	struct list *node;

	list_init(&waiting);
	for (node = list_pop(&flight->waiting); node != NULL;
	     node = list_pop(&flight->waiting))
		list_push(&waiting, node);
	flight_free(flight);
	for (node = list_pop(&waiting); node != NULL; node = list_pop(&waiting))
		query_answer(container_of(node, struct sts_query, link),
			     is_busy);
}

/* The policy is there (taken), or why not. */
static void
flight_end(struct sts_flight *flight, struct sts_policy *policy,
	   const char *why)
{
	struct sts *sts = flight->sts;
	struct sts_domain *domain = domain_get(sts, flight->domain);

	if (policy != NULL) {
		(void)str_copy(policy->id, sizeof(policy->id),
			       str_of(flight->id));
		policy->fetched_s = wall_s(sts);
		sts_policy_unref(domain->policy);
		domain->policy = policy;
		domain->retry_ms = 0;
		sts->fetched++;
		sts_save(sts);
	} else {
		(void)snprintf(domain->why, sizeof(domain->why), "%s", why);
		(void)str_copy(domain->failed_id, sizeof(domain->failed_id),
			       str_of(flight->id));
		domain->retry_ms =
			resolver_now_ms(sts->resolver) + STS_RETRY_MS;
		sts->failed++;
	}
	flight_tell(flight, false);
}

/* ----------------------------------------------------------- the time limit */

static uint64_t
sts_wait_ms(const struct sts *sts)
{
	return sts->opts.wait_ms != 0 ? sts->opts.wait_ms : STS_WAIT_MS;
}

static void on_time(uv_timer_t *timer);

static void
sts_set_timer(struct sts *sts)
{
	const struct sts_flight *first;
	uint64_t now_ms = uv_now(sts->loop);

	if (list_is_empty(&sts->flights))
		return;
	first = container_of(sts->flights.next, struct sts_flight, link);
	(void)uv_timer_start(sts->timer, on_time,
			     first->until_ms > now_ms ? first->until_ms - now_ms
						      : 0,
			     0);
}

/* Who reads slowly, or is not found, is the domain's concern, and remembered
 * as its failure; that it never had its turn is ours. */
static void
flight_late(struct sts_flight *flight)
{
	const struct sts_reader *reader = flight->sts->opts.reader;
	char why[256];

	if (flight->fetch != NULL && !reader->has_begun(flight->fetch)) {
		flight_tell(flight, true);
		return;
	}
	(void)snprintf(why, sizeof(why),
		       "https://%.80s: no policy within a "
		       "minute",
		       flight->host);
	flight_end(flight, NULL, why);
}

static void
on_time(uv_timer_t *timer)
{
	struct sts *sts = timer->data;

	while (!list_is_empty(&sts->flights)) {
		struct sts_flight *first =
			container_of(sts->flights.next, struct sts_flight,
				     link);

		if (first->until_ms > uv_now(sts->loop))
			break;
		flight_late(first);
	}
	sts_set_timer(sts);
}

/* ------------------------------------------------------------- the flight */

/* RFC 8461, 3.2: text/plain, whatever its parameters. */
static bool
is_text(const char *type)
{
	struct str rest = str_of(type), kind;

	return str_cut(&rest, ';', &kind) &&
	       str_is_nocase(str_trim(kind), "text/plain");
}

static void
on_reply(void *owner, const struct https_reply *reply)
{
	struct sts_flight *flight = owner;
	struct sts_policy *policy = NULL;
	const char *wrong;
	char why[256];

	flight->fetch = NULL;
	(void)snprintf(flight->sts->broken, sizeof(flight->sts->broken), "%s",
		       reply->is_ours ? reply->why : "");
	if (!reply->is_good) {
		(void)snprintf(why, sizeof(why), "https://%.80s: %.160s",
			       flight->host, reply->why);
		flight_end(flight, NULL, why);
		return;
	}
	wrong = is_text(reply->type) ? sts_policy_parse(reply->body, &policy)
				     : "a document that is not text/plain";
	(void)snprintf(why, sizeof(why), "the policy at %.80s has %s",
		       flight->host, wrong != NULL ? wrong : "");
	flight_end(flight, policy, why);
}

static void
flight_fetch(struct sts_flight *flight)
{
	const struct sts_opts *opts = &flight->sts->opts;
	uint64_t now_ms = uv_now(flight->sts->loop);
	struct https_request request = {
		.host = flight->host,
		.path = "/.well-known/mta-sts.txt",
		.addrs = flight->addrs,
		.addr_count = flight->addr_count,
		.port = opts->port != 0 ? opts->port : 443,
		.ca = opts->ca,
		.max_bytes = STS_TEXT_MAX,
		/* 0 would be forever to those who read it */
		.timeout_ms = flight->until_ms > now_ms
				      ? flight->until_ms - now_ms
				      : 1,
	};
	char why[256];

	if (flight->addr_count == 0) {
		(void)snprintf(why, sizeof(why), "%.90s %s", flight->host,
			       flight->dns_why[0] != '\0' ? flight->dns_why
							  : "has no address");
		flight_end(flight, NULL, why);
		return;
	}
	flight->fetch = opts->reader->get(flight->sts->loop, &request, on_reply,
					  flight);
}

static void
flight_take_addresses(struct sts_flight *flight, const struct dns_set *set)
{
	if (set->status == DNS_FAILED || set->status == DNS_BOGUS)
		(void)snprintf(flight->dns_why, sizeof(flight->dns_why),
			       "cannot be looked up: %.120s", set->why);
	for (size_t i = 0; set->status == DNS_OK && i < set->count; i++) {
		const struct ip *ip = &set->records[i].ip;

		/* whoever chose this name must not have us knock at doors
		 * inside our own networks */
		if (!flight->sts->opts.private_targets && ip_is_private(ip))
			(void)snprintf(flight->dns_why, sizeof(flight->dns_why),
				       "has a private address");
		else if (flight->addr_count < HTTPS_ADDRS_MAX)
			flight->addrs[flight->addr_count++] = *ip;
	}
	if (flight->v4 == NULL && flight->v6 == NULL)
		flight_fetch(flight);
}

static void
on_v4(void *owner, struct dns_set *set)
{
	struct sts_flight *flight = owner;

	flight->v4 = NULL;
	flight_take_addresses(flight, set);
}

static void
on_v6(void *owner, struct dns_set *set)
{
	struct sts_flight *flight = owner;

	flight->v6 = NULL;
	flight_take_addresses(flight, set);
}

/* The flight of this domain, one that begins, or NULL: too many. */
static struct sts_flight *
flight_get(struct sts *sts, const char *domain, const char *id)
{
	struct sts_flight *flight;
	struct list *node;

	list_each (node, &sts->flights) {
		flight = container_of(node, struct sts_flight, link);
		if (strcmp(flight->domain, domain) == 0)
			return flight;
	}
	if (sts->flight_count == STS_FLIGHTS_MAX)
		return NULL;
	flight = mem_zalloc(sizeof(*flight));
	flight->sts = sts;
	(void)str_copy(flight->domain, sizeof(flight->domain), str_of(domain));
	(void)snprintf(flight->host, sizeof(flight->host), "mta-sts.%s",
		       domain);
	(void)str_copy(flight->id, sizeof(flight->id), str_of(id));
	list_init(&flight->waiting);
	flight->until_ms = uv_now(sts->loop) + sts_wait_ms(sts);
	list_push(&sts->flights, &flight->link);
	sts->flight_count++;
	sts_set_timer(sts);
	flight->v4 = resolver_ask(sts->resolver, flight->host, DNS_A, 0, on_v4,
				  flight);
	flight->v6 = resolver_ask(sts->resolver, flight->host, DNS_AAAA, 0,
				  on_v6, flight);
	return flight;
}

/* ------------------------------------------------------------- the question */

/* The id that the domain publishes; false: none. RFC 8461, 3.1: more than one
 * record is none. */
static bool
find_id(const struct dns_set *set, char id[STS_ID_MAX + 1])
{
	size_t count = 0;

	for (size_t i = 0; set->status == DNS_OK && i < set->count; i++) {
		struct str text = str_from((const char *)set->records[i].data,
					   set->records[i].len);

		if (str_starts_nocase(text, "v=STSv1")) {
			count++;
			if (!sts_record_parse(text, id))
				return false;
		}
	}
	return count == 1;
}

static void
on_txt(void *owner, struct dns_set *set)
{
	struct sts_query *query = owner;
	struct sts *sts = query->sts;
	uint64_t now_ms = resolver_now_ms(sts->resolver);
	struct sts_domain *domain = domain_find(sts, query->domain);
	struct sts_policy *policy = domain_policy(sts, domain);
	struct sts_flight *flight = NULL;
	char id[STS_ID_MAX + 1];
	bool is_same, is_young, is_busy = false;

	query->txt = NULL;
	query->txt_expires_ms = set->expires_ms;
	if (!find_id(set, id)) {
		/* that it is gone takes no policy away: RFC 8461, 3.1 */
		query_answer(query, false);
		return;
	}
	is_same = policy != NULL && strcmp(policy->id, id) == 0;
	is_young = is_same && wall_s(sts) < policy->fetched_s + STS_REFRESH_S &&
		   wall_s(sts) < policy->fetched_s + policy->max_age_s / 2 + 1;
	if (!is_young && (domain == NULL || domain->retry_ms <= now_ms ||
			  strcmp(domain->failed_id, id) != 0)) {
		flight = flight_get(sts, query->domain, id);
		is_busy = flight == NULL;
	}
	if (flight == NULL || is_same)
		/* at most it is read again for others */
		query_answer(query, is_busy);
	else
		list_push(&flight->waiting, &query->link);
}

struct sts_query *
sts_ask(struct sts *sts, const char *domain, sts_fn *on_answer, void *owner)
{
	struct sts_query *query = mem_zalloc(sizeof(*query));
	char name[ADDR_DOMAIN_MAX + 16];

	query->sts = sts;
	list_init(&query->link);
	(void)str_copy(query->domain, sizeof(query->domain), str_of(domain));
	query->on_answer = on_answer;
	query->owner = owner;
	(void)snprintf(name, sizeof(name), "_mta-sts.%s", domain);
	query->txt =
		resolver_ask(sts->resolver, name, DNS_TXT, 0, on_txt, query);
	return query;
}

void
sts_cancel(struct sts_query *query)
{
	if (query->txt != NULL)
		resolver_cancel(query->txt);
	list_remove(&query->link);
	free(query);
}

/* ---------------------------------------------------------------- contract */

void
sts_configure(struct sts *sts, const struct sts_opts *opts)
{
	char *old = (char *)(uintptr_t)sts->opts.ca;

	sts->opts = *opts;
	sts->opts.ca = mem_strdup(opts->ca);
	if (sts->opts.reader == NULL)
		sts->opts.reader = &https_reader;
	free(old);
}

struct sts *
sts_new(uv_loop_t *loop, const struct sts_opts *opts, struct resolver *resolver,
	const char *file)
{
	struct sts *sts = mem_zalloc(sizeof(*sts));

	sts->loop = loop;
	sts->resolver = resolver;
	list_init(&sts->flights);
	lru_init(&sts->domains, STS_DOMAINS_MAX, domain_free);
	sts->timer = mem_zalloc(sizeof(*sts->timer));
	(void)uv_timer_init(loop, sts->timer);
	sts->timer->data = sts;
	sts->saver = file_saver_new(loop, file, on_saved, sts);
	sts_configure(sts, opts);
	sts_load(sts, file);
	return sts;
}

static void
on_timer_closed(uv_handle_t *handle)
{
	free(handle);
}

void
sts_free(struct sts *sts)
{
	struct list *node, *after;

	if (sts == NULL)
		return;
	list_each_safe (node, after, &sts->flights) {
		struct sts_flight *flight =
			container_of(node, struct sts_flight, link);

		assert(list_is_empty(&flight->waiting));
		flight_free(flight);
	}
	uv_close((uv_handle_t *)sts->timer, on_timer_closed);
	file_saver_free(sts->saver);
	lru_done(&sts->domains);
	free((char *)(uintptr_t)sts->opts.ca);
	free(sts);
}

void
sts_stats(const struct sts *sts, struct sts_stats *out)
{
	out->domains = sts->domains.count;
	out->fetched = sts->fetched;
	out->failed = sts->failed;
	out->broken = sts->broken;
}
