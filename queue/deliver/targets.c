/* SPDX-License-Identifier: ISC */
#include "queue/deliver/targets.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "queue/deliver/marks.h"
#include "queue/deliver/pace.h"
#include "queue/route/security.h"

/* ----------------------------------------------------------- the route */

static void
targets_forget_route(struct targets *targets)
{
	for (size_t i = 0; i < ROUTE_HOSTS_MAX; i++) {
		security_unref(targets->secured[i].security);
		targets->secured[i].security = NULL;
		targets->secured[i].is_used = false;
	}
	route_unref(targets->route);
	targets->route = NULL;
}

void
targets_done(struct targets *targets)
{
	targets_forget_route(targets);
	free(targets->tried);
	targets->tried = NULL;
	targets->tried_count = 0;
}

void
targets_set_route(struct targets *targets, struct route *route, uint64_t now_ms)
{
	(void)route_ref(route);
	targets_forget_route(targets);
	targets->route = route;
	targets->is_unused = true;
	targets->found_ms = now_ms;
}

bool
targets_is_fresh(const struct targets *targets, uint64_t now_ms)
{
	return targets->route != NULL && route_is_fresh(targets->route, now_ms);
}

bool
targets_is_good(const struct targets *targets, uint64_t now_ms)
{
	return targets->route != NULL &&
	       (targets->is_unused || targets_is_fresh(targets, now_ms));
}

void
targets_set_security(struct targets *targets, size_t index,
		     struct security *security)
{
	struct security *old = targets->secured[index].security;

	targets->secured[index].security = security_ref(security);
	targets->secured[index].is_used = false;
	security_unref(old);
}

bool
targets_is_secured(const struct targets *targets, const struct target *target,
		   uint64_t now_ms)
{
	return target->security != NULL &&
	       (!targets->secured[target->index].is_used ||
		now_ms < target->security->expires_ms);
}

void
targets_use(struct targets *targets, const struct target *target)
{
	targets->is_unused = false;
	targets->secured[target->index].is_used = true;
}

/* ---------------------------------------------------- what was tried */

static struct target_tried *
targets_find_tried(const struct targets *targets, const struct ip *ip,
		   uint16_t port)
{
	for (size_t i = 0; i < targets->tried_count; i++)
		if (targets->tried[i].port == port &&
		    ip_equal(&targets->tried[i].ip, ip))
			return &targets->tried[i];
	return NULL;
}

bool
targets_has_tried(const struct targets *targets, const struct target *target)
{
	return targets_find_tried(targets, &target->ip, target->port) != NULL;
}

void
targets_add_tried(struct targets *targets, const struct target *target)
{
	struct target_tried *tried =
		targets_find_tried(targets, &target->ip, target->port);

	if (tried == NULL) {
		targets->tried =
			mem_resize(targets->tried, targets->tried_count + 1,
				   sizeof(*targets->tried));
		tried = &targets->tried[targets->tried_count++];
		tried->is_clear = false;
		tried->ip = target->ip;
		tried->port = target->port;
	}
	tried->is_left = false;
}

void
targets_leave_host(struct targets *targets, const struct target *target)
{
	const struct route_host *host =
		targets->route != NULL ? targets_host(targets, target) : NULL;
	struct target other = *target;

	targets_add_tried(targets, target);
	for (size_t i = 0; host != NULL && i < host->addr_count; i++) {
		other.ip = host->addrs[i];
		if (other.ip.family == target->ip.family)
			targets_add_tried(targets, &other);
	}
}

void
targets_retry(struct targets *targets, const struct target *target,
	      bool is_clear)
{
	struct target_tried *tried =
		targets_find_tried(targets, &target->ip, target->port);

	assert(tried != NULL);
	tried->is_left = true;
	tried->is_clear |= is_clear;
}

bool
target_is_forgiving(const struct security *security)
{
	return security->kind == SECURITY_OPPORTUNISTIC ||
	       security->kind == SECURITY_STS_TESTING;
}

/* -------------------------------------------------------- what is left */

static uint64_t
sooner(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

void
targets_make(const struct targets *targets, const struct route_host *host,
	     const struct ip *ip, uint64_t now_ms, struct target *out)
{
	const struct route *route = targets->route;
	const struct target_tried *tried =
		targets_find_tried(targets, ip, host->port);
	struct security *security;

	memset(out, 0, sizeof(*out));
	(void)snprintf(out->host, sizeof(out->host), "%s", host->name);
	out->ip = *ip;
	out->port = host->port;
	out->is_implicit_tls = host->is_implicit_tls;
	out->found_ms = targets->found_ms;
	out->index = (size_t)(host - route->hosts);
	security = targets->secured[out->index].security;
	out->security = security;
	/* what was forgiven before may be asked for by now */
	out->is_clear = tried != NULL && tried->is_clear &&
			(security == NULL || target_is_forgiving(security));
	out->expires_ms = route->expires_ms;
	if (security != NULL)
		out->expires_ms =
			sooner(route->expires_ms, security->expires_ms);
	out->ttl_s = route->expires_ms == UINT64_MAX ? -1
		     : route->expires_ms <= now_ms
			     ? 0
			     : (int64_t)((route->expires_ms - now_ms) / 1000);
}

/* May an address be tried (still)? */
static bool
targets_may_try(const struct targets *targets, const struct route_host *host,
		const struct ip *ip)
{
	const struct target_tried *tried =
		targets_find_tried(targets, ip, host->port);
	const struct security *security =
		targets->secured[host - targets->route->hosts].security;

	if (security != NULL && security->cause != CAUSE_REPLY)
		return false;
	return tried == NULL || tried->is_left;
}

bool
targets_walk(const struct targets *targets, struct target_place *place,
	     uint64_t now_ms, struct target *out)
{
	for (; place->host < targets->route->host_count;
	     place->host++, place->addr = 0) {
		const struct route_host *host =
			&targets->route->hosts[place->host];

		while (place->addr < host->addr_count) {
			const struct ip *ip = &host->addrs[place->addr++];

			if (!targets_may_try(targets, host, ip))
				continue;
			targets_make(targets, host, ip, now_ms, out);
			return true;
		}
	}
	return false;
}

bool
targets_choose(const struct targets *targets, struct target_choice *choice,
	       struct target *out)
{
	uint64_t now_ms = choice->now_ms;

	for (unsigned pass = 0; pass < 2; pass++) {
		struct target_place place = {0};

		while (targets_walk(targets, &place, now_ms, out)) {
			if (choice->only_host != NULL &&
			    choice->only_host !=
				    &targets->route->hosts[out->index])
				continue;
			if (out->ip.family == choice->not_family)
				continue;
			if (pass == 0 && marks_has(choice->marks, &out->ip,
						   out->port, now_ms))
				continue;
			if (pace_has_room(choice->pace, &out->ip, out->port,
					  now_ms))
				return true;
			choice->is_crowded = true;
		}
	}
	return false;
}

const struct route_host *
targets_host(const struct targets *targets, const struct target *target)
{
	for (size_t i = 0; i < targets->route->host_count; i++) {
		const struct route_host *host = &targets->route->hosts[i];

		if (host->port == target->port &&
		    strcmp(host->name, target->host) == 0)
			return host;
	}
	return NULL;
}
