/* SPDX-License-Identifier: ISC */
/*
 * queue/deliver/pool.h - open connections that wait for the next message
 *
 * The reuse rule: a connection may carry mail for a next hop only while an
 * unexpired route of it names the connection's host and address. The moment
 * this ends it is closed; it also goes after a time of idleness.
 */
#ifndef OSTLER_QUEUE_DELIVER_POOL_H
#define OSTLER_QUEUE_DELIVER_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "queue/deliver/connection.h"

struct pool;
struct route;

#define POOL_MAX 1000 /* idle connections; the oldest gives way */

struct pool *pool_new(void);
/* Cuts all. NULL is fine. */
void pool_free(struct pool *pool);

/*
 * Takes over an idle connection.
 *
 * connection  takes
 * idle_ms     how long it may wait, > 0
 * now_ms      boot clock
 * expires_ms  boot clock: when the route that names it ends
 */
void pool_put(struct pool *pool, struct connection *connection,
	      uint64_t idle_ms, uint64_t now_ms, uint64_t expires_ms);

/* An idle connection with this very key, for the caller to own; or NULL. The
 * caller has a fresh route that names it. */
struct connection *pool_take(struct pool *pool,
			     const struct connection_key *key);

/*
 * A new route of a next hop is known: idle connections of that hop which it
 * does not name are closed, the others live as long as it.
 */
void pool_follow(struct pool *pool, const char *hop_key,
		 const struct route *route, uint64_t now_ms);

/* At most so many may be idle at this address, whatever they were made for:
 * the oldest go. */
void pool_keep(struct pool *pool, const struct ip *ip, uint16_t port,
	       unsigned count);

/* Says QUIT to all idle ones. */
void pool_close_idle(struct pool *pool);

/* Ends a connection politely that somebody owns; takes. NULL is fine. */
void pool_close(struct pool *pool, struct connection *connection);

size_t pool_idle(const struct pool *pool);

#endif
