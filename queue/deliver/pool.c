/* SPDX-License-Identifier: ISC */
#include "queue/deliver/pool.h"

#include <stdlib.h>
#include <string.h>

#include "lib/list.h"
#include "lib/mem.h"
#include "queue/route/route.h"

struct pooled {
	struct list link; /* oldest first */
	struct pool *pool;
	struct connection *connection;
	uint64_t until_ms;   /* idle for too long */
	uint64_t expires_ms; /* no route names it any more */
};

struct pool {
	struct list idle;    /* struct pooled */
	struct list leaving; /* connections that say goodbye */
	size_t count;	     /* of idle */
};

struct pool *
pool_new(void)
{
	struct pool *pool = mem_zalloc(sizeof(*pool));

	list_init(&pool->idle);
	list_init(&pool->leaving);
	return pool;
}

/* Off the list; the connection is the caller's. */
static struct connection *
pooled_release(struct pooled *pooled)
{
	struct connection *connection = pooled->connection;

	list_remove(&pooled->link);
	pooled->pool->count--;
	free(pooled);
	return connection;
}

static void
pooled_close(struct pooled *pooled)
{
	struct pool *pool = pooled->pool;

	connection_close(pooled_release(pooled), &pool->leaving);
}

void
pool_free(struct pool *pool)
{
	struct list *node, *after;

	if (pool == NULL)
		return;
	list_each_safe (node, after, &pool->idle)
		connection_abort(pooled_release(
			container_of(node, struct pooled, link)));
	list_each_safe (node, after, &pool->leaving)
		connection_abort(connection_of_link(node));
	free(pool);
}

/* Its time has come, or the server closed it. */
static void
on_connection(void *owner, enum connection_event event)
{
	(void)event; /* idle connections only ever close */
	pooled_close(owner);
}

static void
pooled_set_time(struct pooled *pooled, uint64_t now_ms)
{
	uint64_t until = pooled->until_ms < pooled->expires_ms
				 ? pooled->until_ms
				 : pooled->expires_ms;

	connection_set_idle(pooled->connection,
			    until > now_ms ? until - now_ms : 1);
}

void
pool_put(struct pool *pool, struct connection *connection, uint64_t idle_ms,
	 uint64_t now_ms, uint64_t expires_ms)
{
	struct pooled *pooled;

	if (expires_ms <= now_ms) {
		connection_close(connection, &pool->leaving);
		return;
	}
	if (pool->count == POOL_MAX)
		pooled_close(
			container_of(pool->idle.next, struct pooled, link));
	pooled = mem_zalloc(sizeof(*pooled));
	pooled->pool = pool;
	pooled->connection = connection;
	pooled->until_ms = now_ms + idle_ms;
	pooled->expires_ms = expires_ms;
	list_push(&pool->idle, &pooled->link);
	pool->count++;
	connection_set_owner(connection, on_connection, pooled);
	pooled_set_time(pooled, now_ms);
}

struct connection *
pool_take(struct pool *pool, const struct connection_key *key)
{
	struct list *node;

	/* the youngest: the others may rest and go */
	for (node = pool->idle.prev; node != &pool->idle; node = node->prev) {
		struct pooled *pooled = container_of(node, struct pooled, link);

		if (connection_key_equal(connection_key(pooled->connection),
					 key))
			return pooled_release(pooled);
	}
	return NULL;
}

void
pool_follow(struct pool *pool, const char *hop_key, const struct route *route,
	    uint64_t now_ms)
{
	struct list *node, *after;

	list_each_safe (node, after, &pool->idle) {
		struct pooled *pooled = container_of(node, struct pooled, link);
		const struct connection_key *key =
			connection_key(pooled->connection);

		if (strcmp(key->hop, hop_key) != 0)
			continue;
		if (route->cause != CAUSE_REPLY ||
		    !route_names(route, key->host, &key->ip, key->port)) {
			pooled_close(pooled);
			continue;
		}
		if (route->expires_ms > pooled->expires_ms) {
			pooled->expires_ms = route->expires_ms;
			pooled_set_time(pooled, now_ms);
		}
	}
}

void
pool_keep(struct pool *pool, const struct ip *ip, uint16_t port, unsigned count)
{
	struct list *node = pool->idle.prev, *before;

	for (; node != &pool->idle; node = before) {
		struct pooled *pooled = container_of(node, struct pooled, link);
		const struct connection_key *key =
			connection_key(pooled->connection);

		before = node->prev;
		if (key->port != port || !ip_equal(&key->ip, ip))
			continue;
		if (count == 0)
			pooled_close(pooled);
		else
			count--;
	}
}

void
pool_close_idle(struct pool *pool)
{
	struct list *node, *after;

	list_each_safe (node, after, &pool->idle)
		pooled_close(container_of(node, struct pooled, link));
}

void
pool_close(struct pool *pool, struct connection *connection)
{
	connection_close(connection, &pool->leaving);
}

size_t
pool_idle(const struct pool *pool)
{
	return pool->count;
}
