/* SPDX-License-Identifier: ISC */
/*
 * A question that is not in the cache becomes a flight: one query for all who
 * ask the same, waiting in a window until there is room on the wire.
 *
 *	resolver_ask -> known -> ready list -> callback
 *		     -> flight: WAITING -> RUNNING -> set -> cache, callbacks
 */
#include "queue/route/resolver.h"

#include <assert.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/mem.h"
#include "lib/net/dns_backend.h"
#include "lib/net/dns_exchange.h"
#include "lib/str.h"
#include "queue/route/dns_cache.h"

#define CACHE_BYTES	   (64u << 20)
#define TIMEOUT_MS	   5000
#define ATTEMPTS	   3
#define WINDOW		   128 /* more overflow the socket's buffer */
#define STRANGER_WINDOW	   8
#define STRANGER_FLIGHTS   64  /* waiting for that window */
#define STRANGER_QUESTIONS 256 /* callers in all */

struct window {
	unsigned limit, running;
	size_t waiting;
	struct list queue; /* struct flight, WAITING */
};

enum flight_state {
	FLIGHT_WAITING, /* on its window's queue; exchange not begun */
	FLIGHT_RUNNING, /* its exchange is under way; counted in its window */
};

struct flight {
	struct list link; /* window.queue */
	enum flight_state state;
	struct window *window;
	struct resolver *resolver;
	struct dns_entry *entry; /* whose flight this is */
	struct list callers;	 /* struct resolver_query */
	bool is_void; /* resolver_drop came: what arrives is not used */
	struct dns_exchange exchange;
};

struct resolver_query {
	struct list link; /* flight.callers, resolver.ready or .answering */
	struct resolver *resolver;
	struct flight *flight; /* NULL: set is known, and on a list below */
	struct dns_set *set;   /* shares */
	bool is_cached;	       /* it cost no query */
	bool is_stranger;
	bool wants_next; /* the query under way left before the question */
	resolver_fn *on_set;
	void *owner;
};

struct resolver {
	uv_loop_t *loop;
	struct dns_asker asker;
	uint64_t (*now_ms)(void *arg);
	void *now_arg;
	uint64_t ttl_max_s, negative_ttl_max_s;
	struct dns_cache cache;
	struct window ours, strangers;
	size_t stranger_questions;
	struct list
		ready; /* struct resolver_query: answered on the next turn */
	struct list later; /* struct resolver_later */
	uv_idle_t turn;	   /* runs those two */
	/* Their turn has come; members, not locals, so that an owner may cancel
	 * or free anything while another is called. */
	struct list answering, calling;
	bool is_closing;
	struct resolver_stats stats;
};

static uint64_t
boot_clock(void *arg)
{
	return clock_boot_ms();
}

uint64_t
resolver_now_ms(const struct resolver *resolver)
{
	return resolver->now_ms(resolver->now_arg);
}

/* -------------------------------------------------------------- answering */

/* Calls those whose set is known. Each may do anything. */
static void
answer_all(struct resolver *resolver)
{
	while (!list_is_empty(&resolver->answering)) {
		struct resolver_query *query =
			container_of(resolver->answering.next,
				     struct resolver_query, link);
		struct dns_set *set = query->set;
		resolver_fn *on_set = query->on_set;
		void *owner = query->owner;

		list_remove(&query->link);
		if (query->is_stranger)
			resolver->stranger_questions--;
		set->is_cached = query->is_cached;
		free(query);
		on_set(owner, set);
		dns_set_unref(set);
	}
}

static void
call_all(struct resolver *resolver)
{
	struct list *node = list_pop(&resolver->calling);

	for (; node != NULL; node = list_pop(&resolver->calling)) {
		struct resolver_later *later =
			container_of(node, struct resolver_later, link);

		later->on_later(later);
	}
}

static void
list_move(struct list *from, struct list *to)
{
	struct list *node = list_pop(from);

	for (; node != NULL; node = list_pop(from))
		list_push(to, node);
}

/* What is added meanwhile waits for the next turn. */
static void
on_turn(uv_idle_t *turn)
{
	struct resolver *resolver = turn->data;

	(void)uv_idle_stop(turn); /* what runs now may ask again */
	list_move(&resolver->ready, &resolver->answering);
	list_move(&resolver->later, &resolver->calling);
	answer_all(resolver);
	call_all(resolver);
}

static void
turn_soon(struct resolver *resolver)
{
	/* not a timer of 0, which may run again and again before sockets do */
	(void)uv_idle_start(&resolver->turn, on_turn);
}

void
resolver_call_later(struct resolver *resolver, struct resolver_later *later)
{
	list_push(&resolver->later, &later->link);
	turn_soon(resolver);
}

/* Known without a question: comes on the next turn. Shares set. */
static void
query_ready(struct resolver_query *query, struct dns_set *set)
{
	query->set = dns_set_ref(set);
	query->is_cached = true;
	list_push(&query->resolver->ready, &query->link);
	turn_soon(query->resolver);
}

static void
query_fail(struct resolver_query *query, const char *name, uint16_t type,
	   const char *why)
{
	struct dns_set *set = dns_set_failed(name, type, DNS_FAILED, why,
					     resolver_now_ms(query->resolver));

	query_ready(query, set);
	dns_set_unref(set);
}

/* ---------------------------------------------------------------- flights */

static void on_exchange_end(struct dns_exchange *exchange,
			    struct dns_result *result);

static void
flight_queue(struct flight *flight, bool is_first)
{
	flight->state = FLIGHT_WAITING;
	flight->window->waiting++;
	if (is_first)
		list_push_front(&flight->window->queue, &flight->link);
	else
		list_push(&flight->window->queue, &flight->link);
}

static void
window_run(struct window *window)
{
	while (window->running < window->limit &&
	       !list_is_empty(&window->queue)) {
		struct flight *flight = container_of(list_pop(&window->queue),
						     struct flight, link);

		window->waiting--;
		window->running++;
		flight->state = FLIGHT_RUNNING;
		flight->resolver->stats.queries++;
		dns_exchange_start(&flight->exchange, &flight->resolver->asker,
				   flight->entry->name, flight->entry->type,
				   on_exchange_end);
	}
}

static struct flight *
flight_new(struct resolver *resolver, struct dns_entry *entry,
	   struct window *window)
{
	struct flight *flight = mem_zalloc(sizeof(*flight));

	list_init(&flight->link);
	list_init(&flight->callers);
	flight->resolver = resolver;
	flight->window = window;
	flight->entry = entry;
	entry->flight = flight;
	return flight;
}

/* Not RUNNING, nobody waits for it. */
static void
flight_free(struct flight *flight)
{
	struct dns_entry *entry = flight->entry;

	assert(list_is_empty(&flight->callers));
	entry->flight = NULL;
	dns_cache_tidy(&flight->resolver->cache, entry);
	free(flight);
}

/* ------------------------------------------------------------------- sets */

static uint64_t
capped_ms(uint32_t ttl_s, uint64_t max_s)
{
	return (ttl_s < max_s ? ttl_s : max_s) * 1000;
}

/* Takes the records out of the answer. */
static struct dns_set *
set_of(const struct resolver *resolver, const struct dns_entry *entry,
       struct dns_result *result)
{
	struct dns_answer *answer = &result->answer;
	uint64_t ttl_ms = capped_ms(answer->ttl, resolver->negative_ttl_max_s);
	struct dns_set *set;
	enum dns_status status = DNS_FAILED;

	switch (answer->kind) {
	case DNS_ANSWER_RECORDS:
		status = DNS_OK;
		ttl_ms = capped_ms(answer->ttl, resolver->ttl_max_s);
		break;
	case DNS_ANSWER_NODATA:
		status = DNS_NODATA;
		break;
	case DNS_ANSWER_NXDOMAIN:
		status = DNS_NXDOMAIN;
		break;
	case DNS_ANSWER_TRUNCATED:
	case DNS_ANSWER_ERROR:
	case DNS_ANSWER_LAME:
	case DNS_ANSWER_MALFORMED:
	case DNS_ANSWER_FOREIGN:
		return dns_set_failed(entry->name, entry->type,
				      answer->is_bogus ? DNS_BOGUS : DNS_FAILED,
				      answer->why, resolver_now_ms(resolver));
	}
	set = dns_set_new(entry->name, entry->type, status);
	set->is_secure = answer->has_ad && result->is_trusted;
	set->is_stale = answer->is_stale;
	set->asked_ms = result->sent_ms;
	set->expires_ms = result->sent_ms + ttl_ms;
	set->canonical = answer->canonical;
	set->records = answer->records;
	set->count = answer->count;
	answer->canonical = NULL;
	answer->records = NULL;
	answer->count = 0;
	return set;
}

static void
count_set(struct resolver *resolver, const struct dns_set *set)
{
	switch (set->status) {
	case DNS_OK:
		break;
	case DNS_NODATA:
	case DNS_NXDOMAIN:
		resolver->stats.negative++;
		break;
	case DNS_FAILED:
	case DNS_BOGUS:
		resolver->stats.failed++;
		break;
	}
}

/* Takes the callers for whom this answer is young enough. */
static void
callers_take(struct flight *flight, struct dns_set *set)
{
	struct list *node, *after;

	list_each_safe (node, after, &flight->callers) {
		struct resolver_query *query =
			container_of(node, struct resolver_query, link);

		if (query->wants_next)
			continue;
		list_remove(node);
		list_push(&flight->resolver->answering, node);
		query->flight = NULL;
		query->set = dns_set_ref(set);
	}
}

/* For the callers that are left; it has waited its turn already. */
static void
flight_again(struct flight *flight)
{
	struct list *node;

	list_each (node, &flight->callers)
		container_of(node, struct resolver_query, link)->wants_next =
			false;
	flight_queue(flight, true);
}

static void
on_exchange_end(struct dns_exchange *exchange, struct dns_result *result)
{
	struct flight *flight = container_of(exchange, struct flight, exchange);
	struct resolver *resolver = flight->resolver;
	struct window *window = flight->window;
	struct dns_set *set = NULL;

	window->running--;
	if (flight->is_void) {
		flight->is_void = false;
	} else {
		set = set_of(resolver, flight->entry, result);
		count_set(resolver, set);
		dns_cache_store(&resolver->cache, flight->entry, set,
				resolver_now_ms(resolver));
		callers_take(flight, set);
	}
	if (list_is_empty(&flight->callers))
		flight_free(flight);
	else
		flight_again(flight);
	window_run(window);
	dns_set_unref(set);
	answer_all(resolver);
}

/* ----------------------------------------------------------------- asking */

/* The flight to wait for; NULL: no more questions of strangers now. */
static struct flight *
flight_for(struct resolver *resolver, struct dns_entry *entry, bool is_stranger)
{
	struct window *window =
		is_stranger ? &resolver->strangers : &resolver->ours;
	struct flight *flight = entry->flight;

	if (is_stranger && resolver->stranger_questions >= STRANGER_QUESTIONS)
		return NULL;
	if (flight == NULL) {
		if (is_stranger && window->waiting >= STRANGER_FLIGHTS)
			return NULL;
		flight = flight_new(resolver, entry, window);
		flight_queue(flight, false);
		return flight;
	}
	resolver->stats.joined++;
	if (!is_stranger && flight->state == FLIGHT_WAITING &&
	    flight->window != window) {
		/* a delivery wants it too: it need not wait with strangers */
		list_remove(&flight->link);
		flight->window->waiting--;
		flight->window = window;
		flight_queue(flight, false);
	}
	return flight;
}

static void
query_board(struct resolver_query *query, struct dns_entry *entry,
	    unsigned flags)
{
	struct resolver *resolver = query->resolver;
	struct flight *flight = flight_for(resolver, entry, query->is_stranger);

	resolver->stats.misses++;
	if (flight == NULL) {
		query->is_stranger = false; /* it was not counted */
		resolver->stats.refused++;
		query_fail(query, entry->name, entry->type, "busy");
		dns_cache_tidy(&resolver->cache, entry);
		return;
	}
	if (query->is_stranger)
		resolver->stranger_questions++;
	query->flight = flight;
	query->wants_next = (flags & RESOLVER_FRESH) != 0 &&
			    flight->state == FLIGHT_RUNNING;
	list_push(&flight->callers, &query->link);
	window_run(flight->window);
}

/* In lower case into to; false when it is no name. */
static bool
name_copy(const char *name, char to[DNS_NAME_TEXT_MAX])
{
	uint8_t packet[DNS_QUERY_MAX];

	if (name[0] == '\0' || !str_copy(to, DNS_NAME_TEXT_MAX, str_of(name)))
		return false;
	str_lower_all(to);
	return dns_wire_question(to, DNS_A, true, packet) != 0;
}

struct resolver_query *
resolver_ask(struct resolver *resolver, const char *name, uint16_t type,
	     unsigned flags, resolver_fn *on_set, void *owner)
{
	struct resolver_query *query = mem_zalloc(sizeof(*query));
	char lower[DNS_NAME_TEXT_MAX];
	struct dns_entry *entry;
	struct dns_set *known = NULL;

	list_init(&query->link);
	query->resolver = resolver;
	query->on_set = on_set;
	query->owner = owner;
	if (resolver->is_closing) {
		query_fail(query, name, type, "shutting down");
		return query;
	}
	if (!name_copy(name, lower)) {
		query_fail(query, name, type, "not a domain name");
		return query;
	}
	query->is_stranger = (flags & RESOLVER_STRANGER) != 0;
	entry = dns_cache_get(&resolver->cache, lower, type);
	if ((flags & RESOLVER_FRESH) == 0)
		known = dns_cache_known(&resolver->cache, entry,
					resolver_now_ms(resolver));
	if (known == NULL) {
		query_board(query, entry, flags);
		return query;
	}
	resolver->stats.hits++;
	query->is_stranger = false; /* costs nothing, counts nowhere */
	query_ready(query, known);
	return query;
}

void
resolver_cancel(struct resolver_query *query)
{
	struct flight *flight = query->flight;

	list_remove(&query->link);
	if (query->is_stranger)
		query->resolver->stranger_questions--;
	dns_set_unref(query->set);
	free(query);
	/* one under way is worth finishing: its answer goes into the cache */
	if (flight == NULL || flight->state != FLIGHT_WAITING ||
	    !list_is_empty(&flight->callers))
		return;
	list_remove(&flight->link);
	flight->window->waiting--;
	flight_free(flight);
}

void
resolver_drop(struct resolver *resolver, const char *name, uint16_t type)
{
	char lower[DNS_NAME_TEXT_MAX];
	struct dns_entry *entry;

	if (!name_copy(name, lower))
		return;
	entry = dns_cache_find(&resolver->cache, lower, type);
	if (entry == NULL)
		return;
	dns_cache_forget(&resolver->cache, entry);
	if (entry->flight == NULL)
		dns_cache_tidy(&resolver->cache, entry);
	else if (entry->flight->state == FLIGHT_RUNNING)
		entry->flight->is_void = true;
}

/* ---------------------------------------------------------- life and state */

static void
resolver_limits(struct resolver *resolver, const struct resolver_opts *opts)
{
	resolver->asker.attempts =
		opts->attempts != 0 ? opts->attempts : ATTEMPTS;
	resolver->ttl_max_s = opts->ttl_max_s;
	resolver->negative_ttl_max_s = opts->negative_ttl_max_s;
	resolver->cache.max_bytes =
		opts->cache_bytes != 0 ? opts->cache_bytes : CACHE_BYTES;
}

static struct dns_backend_opts
backend_opts(const struct resolver_opts *opts)
{
	return (struct dns_backend_opts){
		.servers = opts->servers,
		.resolv_conf = opts->resolv_conf,
		.timeout_ms =
			opts->timeout_ms != 0 ? opts->timeout_ms : TIMEOUT_MS,
	};
}

int
resolver_new(uv_loop_t *loop, const struct resolver_opts *opts,
	     struct resolver **out, struct err *err)
{
	struct dns_backend_opts to_backend = backend_opts(opts);
	struct dns_backend *backend = opts->backend;
	struct resolver *resolver;
	int rc;

	if (backend == NULL) {
		rc = dns_backend_new(loop, &to_backend, &backend, err);
		if (rc < 0)
			return rc;
	}
	resolver = mem_zalloc(sizeof(*resolver));
	resolver->loop = loop;
	resolver->now_ms = opts->now_ms != NULL ? opts->now_ms : boot_clock;
	resolver->now_arg = opts->now_arg;
	resolver->asker.backend = backend;
	resolver->asker.now_ms = resolver->now_ms;
	resolver->asker.now_arg = resolver->now_arg;
	dns_cache_init(&resolver->cache, CACHE_BYTES);
	resolver_limits(resolver, opts);
	resolver->ours.limit = WINDOW;
	resolver->strangers.limit = STRANGER_WINDOW;
	list_init(&resolver->ours.queue);
	list_init(&resolver->strangers.queue);
	list_init(&resolver->ready);
	list_init(&resolver->later);
	list_init(&resolver->answering);
	list_init(&resolver->calling);
	(void)uv_idle_init(loop, &resolver->turn); /* cannot fail */
	resolver->turn.data = resolver;
	*out = resolver;
	return 0;
}

int
resolver_configure(struct resolver *resolver, const struct resolver_opts *opts,
		   struct err *err)
{
	struct dns_backend_opts to_backend = backend_opts(opts);
	struct dns_backend *backend = resolver->asker.backend;
	int rc = backend->ops->configure(backend, &to_backend, err);

	if (rc < 0)
		return rc;
	resolver_limits(resolver, opts);
	resolver->asker.preferred_until_ms = 0; /* other servers, perhaps */
	return 0;
}

/* All callers of a flight move to the ready list with a failure. */
static void
flight_abandon(struct flight *flight)
{
	struct list *node;

	if (flight->state == FLIGHT_RUNNING)
		dns_exchange_cancel(&flight->exchange);
	for (node = list_pop(&flight->callers); node != NULL;
	     node = list_pop(&flight->callers)) {
		struct resolver_query *query =
			container_of(node, struct resolver_query, link);

		query->flight = NULL;
		query_fail(query, flight->entry->name, flight->entry->type,
			   "shutting down");
	}
	flight->entry->flight = NULL; /* the entry goes with the cache */
	free(flight);
}

static void
on_turn_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void
resolver_free(struct resolver *resolver)
{
	struct dns_cache *cache;

	if (resolver == NULL)
		return;
	cache = &resolver->cache;
	resolver->is_closing = true;
	for (size_t i = 0; i < cache->bucket_count; i++)
		for (struct dns_entry *entry = cache->buckets[i]; entry != NULL;
		     entry = entry->next)
			if (entry->flight != NULL)
				flight_abandon(entry->flight);
	answer_all(resolver);
	call_all(resolver);
	/* callers may ask once more and hear the same */
	while (!list_is_empty(&resolver->ready) ||
	       !list_is_empty(&resolver->later))
		on_turn(&resolver->turn);
	resolver->asker.backend->ops->close(resolver->asker.backend);
	dns_cache_done(cache);
	uv_close((uv_handle_t *)&resolver->turn, on_turn_closed);
}

bool
resolver_servers(const struct resolver *resolver, char *to, size_t size)
{
	struct dns_backend *backend = resolver->asker.backend;
	const struct dns_server *servers;
	bool is_local = true;
	size_t count, used = 0;

	to[0] = '\0';
	servers = backend->ops->servers(backend, &count);
	for (size_t i = 0; i < count; i++) {
		bool is_v6 = servers[i].ip.family == IP_V6;
		char text[IP_TEXT_MAX];
		int more;

		is_local = is_local && ip_is_loopback(&servers[i].ip);
		more = snprintf(to + used, size - used, "%s%s%s%s:%u",
				i == 0 ? "" : " ", is_v6 ? "[" : "",
				ip_format(&servers[i].ip, text),
				is_v6 ? "]" : "", servers[i].port);
		used += (size_t)more < size - used ? (size_t)more
						   : size - used - 1;
	}
	return is_local;
}

void
resolver_stats(const struct resolver *resolver, struct resolver_stats *out)
{
	*out = resolver->stats;
	out->packets = resolver->asker.packets;
	out->tcp_packets = resolver->asker.tcp_packets;
	out->evicted = resolver->cache.evicted;
	out->entries = resolver->cache.count;
	out->bytes = resolver->cache.bytes;
	out->in_flight = resolver->ours.running + resolver->strangers.running;
	out->waiting = resolver->ours.waiting + resolver->strangers.waiting;
}
