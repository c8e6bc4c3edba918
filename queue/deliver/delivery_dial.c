/* SPDX-License-Identifier: ISC */
/*
 * From a next hop to a connection. The route comes first, then what TLS its
 * best host has to offer, then an open connection or a new one; where the host
 * has both families, the second gets its turn while the first keeps us
 * waiting. What an address said decides elsewhere whether there is a next.
 */
#include "queue/deliver/delivery_internal.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "lib/net/stream.h"
#include "queue/deliver/pool.h"
#include "queue/deliver/watch.h"
#include "queue/route/security.h"

/* RFC 8305, 5: the head start of the first family */
#define STAGGER_MS 250

/* ------------------------------------------------------ for others */

void
delivery_mark(struct delivery *delivery, const struct target *target)
{
	struct deliverer *deliverer = delivery->deliverer;

	marks_set(&deliverer->marks, &target->ip, target->port,
		  delivery_now_ms(delivery));
}

void
delivery_make_room(struct delivery *delivery, const struct target *target)
{
	struct deliverer *deliverer = delivery->deliverer;
	unsigned room = pace_room(&deliverer->pace, &target->ip, target->port,
				  delivery_now_ms(delivery));

	if (room != UINT_MAX)
		pool_keep(deliverer->pool, &target->ip, target->port, room);
}

void
delivery_tell_attempt(const struct delivery *delivery,
		      const struct target *target)
{
	const struct deliverer_opts *opts = &delivery->deliverer->opts;

	if (delivery->watch != NULL)
		delivery->watch->on_dial(delivery->watch->arg, target->host,
					 &target->ip, target->port);
	else if (opts->on_attempt != NULL)
		opts->on_attempt(opts->on_attempt_arg, delivery->envelope->id,
				 target->host, &target->ip, target->port,
				 delivery->hop.key, target->ttl_s);
}

static void
delivery_tell_route(const struct delivery *delivery, const struct route *route)
{
	const struct deliverer_opts *opts = &delivery->deliverer->opts;

	if (delivery->watch != NULL)
		delivery->watch->on_route(delivery->watch->arg, route);
	else if (opts->on_route != NULL)
		opts->on_route(opts->on_attempt_arg, delivery->envelope->id,
			       delivery->hop.key, route);
}

static void
delivery_tell_dialled(const struct delivery *delivery,
		      const struct target *target, const char *failure)
{
	const struct delivery_watch *watch = delivery->watch;

	if (watch != NULL)
		watch->on_dialled(watch->arg, target->host, &target->ip,
				  target->port, failure);
}

/* ---------------------------------------------------------- dials */

static void on_dial(void *owner, enum stream_event event);

static struct target_choice
delivery_choice(const struct delivery *delivery)
{
	struct target_choice choice = {
		.marks = &delivery->deliverer->marks,
		.pace = &delivery->deliverer->pace,
		.now_ms = delivery_now_ms(delivery),
		.not_family = IP_NONE,
	};

	return choice;
}

static void
dial_stop(struct dial *dial)
{
	if (dial->stream == NULL)
		return;
	stream_abort(dial->stream);
	dial->stream = NULL;
	if (dial->is_counted)
		pace_leave(&dial->delivery->deliverer->pace, &dial->target.ip,
			   dial->target.port);
	dial->delivery->deliverer->busy--;
}

void
delivery_stop_dialling(struct delivery *delivery)
{
	if (delivery->query != NULL)
		route_cancel(delivery->query);
	delivery->query = NULL;
	if (delivery->security_query != NULL)
		security_cancel(delivery->security_query);
	delivery->security_query = NULL;
	dial_stop(&delivery->dials[0]);
	dial_stop(&delivery->dials[1]);
}

static void
dial_start(struct delivery *delivery, struct dial *dial,
	   const struct target *target)
{
	struct deliverer *deliverer = delivery->deliverer;
	struct sockaddr_storage to;
	const struct ip *source = NULL;

	dial->delivery = delivery;
	dial->target = *target;
	dial->is_ahead = false;
	dial->is_counted = pace_enter(&deliverer->pace, &target->ip,
				      target->port, delivery_now_ms(delivery));
	delivery_make_room(delivery, target);
	if (target->ip.family == IP_NONE) {
		struct sockaddr_un *sun = (struct sockaddr_un *)(void *)&to;

		memset(&to, 0, sizeof(to));
		sun->sun_family = AF_UNIX;
		(void)str_copy(sun->sun_path, sizeof(sun->sun_path),
			       str_of(target->host));
	} else {
		(void)ip_to_sockaddr(&target->ip, target->port, &to);
		if (delivery->hop.source.family != IP_NONE)
			source = &delivery->hop.source;
	}
	delivery->state = DELIVERY_DIALLING;
	targets_add_tried(&delivery->targets, target);
	delivery_tell_attempt(delivery, target);
	deliverer->busy++;
	dial->stream =
		stream_connect(deliverer->loop,
			       (const struct sockaddr *)(const void *)&to,
			       source, on_dial, dial);
	stream_set_deadline(dial->stream, deliverer->opts.connect_timeout_ms);
}

/* Another address of the same host, but of the other family. */
static bool
delivery_choose_second(const struct delivery *delivery,
		       const struct target *first, struct target *out)
{
	struct target_choice choice = delivery_choice(delivery);

	if (!targets_is_fresh(&delivery->targets, choice.now_ms))
		return false;
	choice.only_host = targets_host(&delivery->targets, first);
	choice.not_family = first->ip.family;
	return choice.only_host != NULL &&
	       targets_choose(&delivery->targets, &choice, out);
}

/* The first address, with a head start when there is another family. */
static void
dial_first(struct delivery *delivery, const struct target *target)
{
	struct dial *first = &delivery->dials[0];
	struct target second;

	targets_use(&delivery->targets, target);
	dial_start(delivery, first, target);
	if (delivery->deliverer->opts.connect_timeout_ms <= STAGGER_MS ||
	    !delivery_choose_second(delivery, target, &second))
		return;
	first->is_ahead = true;
	stream_set_deadline(first->stream, STAGGER_MS);
}

/* The other family of the same host, when the first keeps us waiting. */
static void
dial_second(struct delivery *delivery, struct dial *first)
{
	struct dial *second = &delivery->dials[first == &delivery->dials[0]];
	struct target target;

	first->is_ahead = false;
	stream_set_deadline(first->stream,
			    delivery->deliverer->opts.connect_timeout_ms);
	if (second->stream == NULL &&
	    delivery_choose_second(delivery, &first->target, &target))
		dial_start(delivery, second, &target);
}

static void
dial_failed(struct dial *dial, int code, const char *why)
{
	struct delivery *delivery = dial->delivery;
	struct dial *other = &delivery->dials[dial == &delivery->dials[0]];
	enum cause cause = CAUSE_CONNECT_UNREACHABLE;

	if (code == -ECONNREFUSED || code == -ENOENT)
		cause = CAUSE_CONNECT_REFUSED;
	else if (code == -ETIMEDOUT)
		cause = CAUSE_CONNECT_TIMEOUT;
	else if (code == -EADDRNOTAVAIL &&
		 delivery->hop.source.family != IP_NONE)
		cause = CAUSE_CONFIGURATION;
	delivery_note_own(delivery, cause, PHASE_CONNECT, &dial->target, why);
	delivery_tell_dialled(delivery, &dial->target, why);
	if (cause != CAUSE_CONFIGURATION)
		delivery_mark(delivery, &dial->target);
	dial_stop(dial);
	if (other->stream == NULL)
		delivery_next(delivery);
}

static void
on_dial(void *owner, enum stream_event event)
{
	struct dial *dial = owner;
	struct delivery *delivery = dial->delivery;
	struct dial *other = &delivery->dials[dial == &delivery->dials[0]];
	struct stream *stream = dial->stream;
	struct target target;

	switch (event) {
	case STREAM_CONNECTED:
		target = dial->target;
		/* slower is not broken: its turn comes if this one fails, as
		 * over a tunnel that swallows large packets */
		if (other->stream != NULL)
			targets_retry(&delivery->targets, &other->target,
				      false);
		/* counted as busy until what talks over it ends */
		dial->stream = NULL;
		dial_stop(&delivery->dials[0]);
		dial_stop(&delivery->dials[1]);
		delivery_tell_dialled(delivery, &target, NULL);
		delivery_set_up(delivery, &target, stream, dial->is_counted);
		break;
	case STREAM_FAILED:
		dial_failed(dial, stream_error(stream)->code,
			    stream_error(stream)->text);
		break;
	case STREAM_DEADLINE:
		if (dial->is_ahead)
			dial_second(delivery, dial);
		else
			dial_failed(dial, -ETIMEDOUT, "no answer in time");
		break;
	case STREAM_DATA:
	case STREAM_DRAINED:
	case STREAM_SECURED:
	case STREAM_EOF:
		break; /* a dial is not connected yet */
	}
}

/* ----------------------------------------------- TLS that is asked for */

static void
on_security(void *owner, struct security *security)
{
	struct delivery *delivery = owner;
	struct targets *targets = &delivery->targets;
	size_t index = delivery->security_index;
	struct target target;

	delivery->security_query = NULL;
	targets_set_security(targets, index, security);
	if (security->cause != CAUSE_REPLY) {
		const struct route_host *host = &targets->route->hosts[index];

		targets_make(targets, host, &host->addrs[0],
			     delivery_now_ms(delivery), &target);
		delivery_note_own(delivery, security->cause, PHASE_DNS, &target,
				  security->why);
	}
	delivery_next(delivery);
}

static void
delivery_find_security(struct delivery *delivery, const struct target *target)
{
	delivery->state = DELIVERY_SECURITY;
	delivery->security_index = target->index;
	delivery->security_query =
		security_find(delivery->deliverer->resolver,
			      delivery->deliverer->opts.sts, &delivery->hop,
			      delivery->targets.route, target->index,
			      on_security, delivery);
}

/* ------------------------------------------------------------ the route */

/* DNS does not say where. What hosts said before may weigh more. */
static void
delivery_no_route(struct delivery *delivery, const struct route *route)
{
	struct outcome *failure = &delivery->tally.failure;

	if (!delivery->tally.has_failure) {
		delivery_note_own(delivery, route->cause, PHASE_DNS, NULL,
				  route->why);
		if (route->is_permanent != (failure->kind == OUTCOME_FAILED))
			outcome_set_permanent(failure, route->is_permanent);
	}
	delivery_end(delivery);
}

static void
on_route(void *owner, struct route *route)
{
	struct delivery *delivery = owner;

	delivery->query = NULL;
	delivery_tell_route(delivery, route);
	if (delivery->state == DELIVERY_CHECKING &&
	    delivery_check(delivery, route))
		return;
	pool_follow(delivery->deliverer->pool, delivery->hop.key, route,
		    delivery_now_ms(delivery));
	if (route->cause != CAUSE_REPLY) {
		delivery_no_route(delivery, route);
		return;
	}
	targets_set_route(&delivery->targets, route, delivery_now_ms(delivery));
	delivery_next(delivery);
}

void
delivery_find_route(struct delivery *delivery)
{
	const struct deliverer_opts *opts = &delivery->deliverer->opts;
	struct route_opts route_opts = {
		.port = opts->port,
		.private_targets = opts->private_targets,
		.hostname = opts->hostname,
		.is_ours = opts->is_ours,
		.is_ours_arg = opts->is_ours_arg,
	};

	delivery->state = DELIVERY_ROUTE;
	delivery->query =
		route_find(delivery->deliverer->resolver, &delivery->hop,
			   &route_opts, on_route, delivery);
}

/* ------------------------------------------------- an open connection */

/* Is there an open connection to a host as good as the chosen one's? */
static bool
delivery_reuse_equal(struct delivery *delivery, const struct target *chosen)
{
	const struct targets *targets = &delivery->targets;
	const struct route_host *hosts = targets->route->hosts;
	uint64_t now_ms = delivery_now_ms(delivery);
	int preference = hosts[chosen->index].preference;
	struct target_place place = {0};
	struct target target;

	if (delivery_reuse(delivery, chosen))
		return true;
	while (targets_walk(targets, &place, now_ms, &target)) {
		bool is_equal = target.index == chosen->index ||
				(preference >= 0 &&
				 hosts[target.index].preference == preference);

		if (is_equal && targets_is_secured(targets, &target, now_ms) &&
		    delivery_reuse(delivery, &target))
			return true;
	}
	return false;
}

/* A connection that is open already is no further one, if its TLS is still
 * what the host has to offer. */
static bool
delivery_reuse_any(struct delivery *delivery)
{
	const struct targets *targets = &delivery->targets;
	uint64_t now_ms = delivery_now_ms(delivery);
	struct target_place place = {0};
	struct target target;

	while (targets_walk(targets, &place, now_ms, &target)) {
		if (!targets_is_secured(targets, &target, now_ms)) {
			/* then here again */
			delivery_find_security(delivery, &target);
			return true;
		}
		if (!target.is_clear && delivery_reuse(delivery, &target))
			return true;
	}
	return false;
}

/* ------------------------------------------------------------ the order */

/* A next hop that has a path instead of a route. */
static void
delivery_next_unix(struct delivery *delivery)
{
	struct target target = {.expires_ms = UINT64_MAX, .ttl_s = -1};
	const struct targets *targets = &delivery->targets;
	const char *path = delivery->hop.targets[0].unix_path;

	if (targets->tried_count != 0 && !targets->tried[0].is_left) {
		delivery_end(delivery);
		return;
	}
	(void)snprintf(target.host, sizeof(target.host), "%s", path);
	if (delivery->own_rule == NULL)
		delivery->own_rule =
			security_configured(delivery->hop.tls, path);
	target.security = delivery->own_rule;
	if (strlen(path) >= sizeof(((struct sockaddr_un *)0)->sun_path)) {
		delivery_note_own(delivery, CAUSE_CONFIGURATION, PHASE_CONNECT,
				  &target, "the socket's path is too long");
		delivery_end(delivery);
		return;
	}
	if (!delivery_reuse(delivery, &target))
		dial_start(delivery, &delivery->dials[0], &target);
}

/* Every address was tried, or wants no further connection. */
static void
delivery_none_left(struct delivery *delivery, bool is_crowded)
{
	if (is_crowded && delivery_reuse_any(delivery))
		return;
	if (is_crowded)
		delivery_note_own(delivery, CAUSE_HOST_BUSY, PHASE_CONNECT,
				  NULL,
				  "the host asked for fewer connections, and "
				  "has as many");
	else if (!delivery->tally.has_failure)
		delivery_note_own(delivery, CAUSE_CONNECT_UNREACHABLE,
				  PHASE_CONNECT, NULL,
				  "no address is left to connect to");
	delivery_end(delivery);
}

void
delivery_next(struct delivery *delivery)
{
	struct target_choice choice = delivery_choice(delivery);
	const struct targets *targets = &delivery->targets;
	struct target target;

	if (delivery->hop.kind == HOP_LMTP &&
	    delivery->hop.targets[0].unix_path != NULL) {
		delivery_next_unix(delivery);
		return;
	}
	if (!targets_is_good(targets, choice.now_ms)) {
		delivery_find_route(delivery);
		return;
	}
	if (!targets_choose(targets, &choice, &target)) {
		delivery_none_left(delivery, choice.is_crowded);
		return;
	}
	if (!targets_is_secured(targets, &target, choice.now_ms)) {
		delivery_find_security(delivery, &target);
		return;
	}
	if (!target.is_clear && delivery_reuse_equal(delivery, &target))
		return;
	dial_first(delivery, &target);
}
