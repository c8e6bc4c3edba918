/* SPDX-License-Identifier: ISC */
/*
 * queue/deliver/targets.h - which address of a route is next
 *
 * One attempt's view of its route: what TLS each host has to offer, which
 * addresses were tried, and in what order the others come. Asks nobody and
 * connects to nothing: what the resolver found is handed in, marks and pace
 * are looked at. Pure but for its memory.
 */
#ifndef OSTLER_QUEUE_DELIVER_TARGETS_H
#define OSTLER_QUEUE_DELIVER_TARGETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/addr.h"
#include "lib/ip.h"
#include "queue/route/route.h"

struct marks;
struct pace;
struct security;

/* Where to: one address of one host. */
struct target {
	char host[ADDR_DOMAIN_MAX + 1];
	struct ip ip; /* IP_NONE: host is the path of a unix socket */
	uint16_t port;
	bool is_implicit_tls;
	bool is_clear;	   /* TLS failed here before, and may be left out */
	uint64_t found_ms; /* when its route was */
	/* Lent; NULL: not known yet */
	struct security *security;
	size_t index;	     /* of the host in its route */
	uint64_t expires_ms; /* of what named it */
	int64_t ttl_s;	     /* left when it was chosen; -1: not by DNS */
};

/* An address that needs no second look in this attempt. */
struct target_tried {
	struct ip ip;
	uint16_t port;
	bool is_clear; /* the second look is without TLS */
	bool is_left;  /* a second look is due */
};

/* Embedded in its owner; zero it to begin. All times are the boot clock's. */
struct targets {
	struct route *route; /* shares; NULL: none */
	bool is_unused;	     /* just found: good for one connect (TTL 0) */
	uint64_t found_ms;   /* when */
	/* By the route's hosts; NULL: not asked for yet. Used ones are good
	 * until they expire, others for one connect. */
	struct {
		struct security *security; /* shares */
		bool is_used;
	} secured[ROUTE_HOSTS_MAX];
	/* what was tried outlives the route */
	struct target_tried *tried; /* owns */
	size_t tried_count;
};

void targets_done(struct targets *targets);

/* ----------------------------------------------------------- the route */

/* Another route, shared: what was known about its hosts is forgotten. It is
 * good for one connect, whatever its age. */
void targets_set_route(struct targets *targets, struct route *route,
		       uint64_t now_ms);

/* May a connect begin by it now? */
bool targets_is_good(const struct targets *targets, uint64_t now_ms);
/* The same for a further one, which must not count on its first use. */
bool targets_is_fresh(const struct targets *targets, uint64_t now_ms);

/* What the index-th host has to offer; shares. */
void targets_set_security(struct targets *targets, size_t index,
			  struct security *security);
/* Is it known by now what TLS this host has to offer? */
bool targets_is_secured(const struct targets *targets,
			const struct target *target, uint64_t now_ms);

/* A connection begins by what DNS said: from now on only its TTL counts. */
void targets_use(struct targets *targets, const struct target *target);

/* -------------------------------------------------------- what is left */

/* The address'es target: its security and route are lent. */
void targets_make(const struct targets *targets, const struct route_host *host,
		  const struct ip *ip, uint64_t now_ms, struct target *out);

/* A place among the route's addresses; zero it to begin. */
struct target_place {
	size_t host, addr;
};

/* The next address that may be tried (still), in the route's order; false:
 * there is none behind that place. */
bool targets_walk(const struct targets *targets, struct target_place *place,
		  uint64_t now_ms, struct target *out);

/* What counts besides the route. */
struct target_choice {
	const struct marks *marks;
	const struct pace *pace;
	uint64_t now_ms;
	const struct route_host *only_host; /* NULL: any */
	uint8_t not_family;		    /* IP_NONE: either is fine */
	/* out: hosts were passed over, for they asked for less than they have
	 * already. Never reset. */
	bool is_crowded;
};

/* The next address: by the route's order, marked ones behind all others. */
bool targets_choose(const struct targets *targets, struct target_choice *choice,
		    struct target *out);

/* The route's host with the target's name and port, or NULL. */
const struct route_host *targets_host(const struct targets *targets,
				      const struct target *target);

/* ---------------------------------------------------- what was tried */

bool targets_has_tried(const struct targets *targets,
		       const struct target *target);
void targets_add_tried(struct targets *targets, const struct target *target);

/* The target's other addresses of that family are the same host. There may be
 * no route any more. */
void targets_leave_host(struct targets *targets, const struct target *target);

/* A second look at what was tried; is_clear: without TLS. */
void targets_retry(struct targets *targets, const struct target *target,
		   bool is_clear);

/* May TLS be left out when it fails? */
bool target_is_forgiving(const struct security *security);

#endif
