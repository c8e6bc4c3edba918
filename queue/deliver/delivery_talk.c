/* SPDX-License-Identifier: ISC */
/*
 * The connection of a delivery, and what became of the message: each
 * recipient's result is weighed (queue/deliver/tally.h), what the host asked
 * for is learned, and the connection goes to the pool or is closed.
 */
#include "queue/deliver/delivery_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "queue/deliver/pool.h"
#include "queue/deliver/token.h"
#include "queue/deliver/trust.h"
#include "queue/deliver/watch.h"
#include "queue/route/security.h"

/* A host may take its time to greet, or for TLS: when its route ended so long
 * before it is ready, DNS is asked again before MAIL. */
#define LATE_MS 500

/* Hosts that are asked for the message in one attempt: a site with twenty
 * that turns it away for now need not say so twenty times. */
#define HOSTS_MAX 5

static void delivery_take_results(struct delivery *delivery, bool is_reusable);

/* ---------------------------------------------------- the connection */

/* The connection is no longer counted by its host's pace. */
static void
delivery_leave(struct delivery *delivery)
{
	if (delivery->is_counted)
		pace_leave(&delivery->deliverer->pace, &delivery->target.ip,
			   delivery->target.port);
	delivery->is_counted = false;
}

/* The connection is open for the next message, or ends. */
static void
delivery_release(struct delivery *delivery, bool is_reusable)
{
	struct deliverer *deliverer = delivery->deliverer;
	struct connection *connection = delivery->connection;

	delivery->connection = NULL;
	deliverer->busy--;
	delivery_leave(delivery);
	if (!is_reusable || delivery->watch != NULL ||
	    connection_messages(connection) >=
		    delivery->hop.messages_per_connection ||
	    deliverer->opts.idle_connection_ms == 0)
		pool_close(deliverer->pool, connection);
	else
		pool_put(deliverer->pool, connection,
			 deliverer->opts.idle_connection_ms,
			 delivery_now_ms(delivery),
			 delivery->target.expires_ms);
}

void
delivery_stop_talking(struct delivery *delivery)
{
	struct deliverer *deliverer = delivery->deliverer;

	if (delivery->connection == NULL)
		return;
	delivery_leave(delivery);
	connection_abort(delivery->connection);
	delivery->connection = NULL;
	deliverer->busy--;
}

/* ------------------------------------------------------ its words */

/* RFC 8461, 5.1: a policy that is tested refuses nothing, but is told of. */
static void
delivery_note_untold(const struct delivery *delivery, struct outcome *outcome)
{
	const struct security *security = delivery->target.security;
	const char *why = NULL;

	if (security->kind != SECURITY_STS_TESTING ||
	    delivery->connection == NULL)
		return;
	if (security->is_unnamed)
		why = "the policy does not name the host";
	else if (connection_tls_version(delivery->connection)[0] == '\0')
		why = "TLS was not used";
	else
		why = connection_verify_error(delivery->connection);
	if (why != NULL)
		(void)snprintf(outcome->policy_failure,
			       sizeof(outcome->policy_failure), "%.300s: %.90s",
			       security->from, why);
}

static void
delivery_set_result(struct delivery *delivery, struct outcome *outcome,
		    const struct smtp_result *result)
{
	memset(outcome, 0, sizeof(*outcome));
	outcome->kind = result->kind;
	outcome->cause = result->cause;
	outcome->phase = result->phase;
	outcome->status = result->status;
	outcome->is_own_fault = result->is_own_fault;
	outcome->has_dsn = result->has_dsn;
	if (result->reply != NULL)
		(void)str_copy(outcome->reply, sizeof(outcome->reply),
			       str_of(result->reply));
	outcome_set_target(outcome, &delivery->target, delivery->connection);
	security_blame(delivery->target.security, outcome);
	delivery_note_untold(delivery, outcome);
	if (delivery->hop.kind == HOP_MX && delivery->targets.route != NULL)
		route_view(delivery->targets.route, outcome->host, &outcome->ip,
			   &outcome->mx);
	/* "530 Must issue a STARTTLS command first" (RFC 3207, 4): we did,
	 * it failed, and tomorrow it may not */
	if (delivery->target.is_clear && outcome->status.code == 530)
		outcome_set_permanent(outcome, false);
}

/* What the host's word means for how much it is given. */
static void
delivery_learn(struct delivery *delivery, const struct outcome *outcome)
{
	struct deliverer *deliverer = delivery->deliverer;
	const struct deliverer_opts *opts = &deliverer->opts;
	const struct target *target = &delivery->target;
	unsigned window;

	if (!pace_is_asked(outcome))
		return;
	window = pace_slow_down(&deliverer->pace, &target->ip, target->port,
				outcome->reply, delivery_now_ms(delivery));
	delivery_make_room(delivery, target);
	if (window != 0 && opts->on_slow_down != NULL)
		opts->on_slow_down(opts->on_attempt_arg, target->host,
				   &target->ip, target->port, window,
				   outcome->reply);
}

/* ---------------------------------------------------- the message */

static void
delivery_send(struct delivery *delivery)
{
	size_t count = tally_left(&delivery->tally, delivery->left);
	size_t *recipients = mem_alloc(count * sizeof(*recipients));
	struct smtp_client_message message = {
		.envelope = delivery->envelope,
		.recipients = recipients,
		.count = count,
		.is_probe = delivery->watch != NULL,
	};
	bool is_begun;

	for (size_t i = 0; i < count; i++)
		recipients[i] = delivery->recipients[delivery->left[i]];
	delivery->state = DELIVERY_SENDING;
	is_begun = connection_send(delivery->connection,
				   delivery->deliverer->spool, &message);
	free(recipients);
	if (!is_begun)
		delivery_take_results(delivery, true);
}

/*
 * The host spoke about its recipients. Those that it turned away for now are
 * carried to the next one (RFC 5321, 5.1).
 */
static void
delivery_take_results(struct delivery *delivery, bool is_reusable)
{
	const struct smtp_client *client =
		connection_client(delivery->connection);
	size_t count = delivery->tally.left;
	bool has_taken = false;
	struct outcome outcome;

	for (size_t i = 0; i < count; i++) {
		delivery_set_result(delivery, &outcome,
				    smtp_client_result(client, i));
		tally_say(&delivery->tally, delivery->left[i], &outcome);
		delivery_learn(delivery, &outcome);
		has_taken |= outcome.kind == OUTCOME_DELIVERED;
	}
	if (has_taken)
		pace_take(&delivery->deliverer->pace, &delivery->target.ip,
			  delivery->target.port);
	delivery_release(delivery, is_reusable);
	if (delivery->tally.left == 0 || ++delivery->answered == HOSTS_MAX) {
		delivery_end(delivery);
		return;
	}
	targets_leave_host(&delivery->targets, &delivery->target);
	delivery_next(delivery);
}

/* RFC 3030 in word only: once more, over another connection, with DATA. */
static bool
delivery_again_chunkless(struct delivery *delivery)
{
	const struct target *target = &delivery->target;

	if (delivery->is_chunkless ||
	    !smtp_client_has_refused_chunks(
		    connection_client(delivery->connection)))
		return false;
	delivery->is_chunkless = delivery->has_no_pool = true;
	targets_add_tried(&delivery->targets, target);
	targets_retry(&delivery->targets, target, false);
	delivery_release(delivery, false);
	delivery_next(delivery);
	return true;
}

/* A used connection that the server gave up while it was idle: as if it never
 * was, over another one. */
static bool
delivery_again_stale(struct delivery *delivery)
{
	if (!delivery->is_reused ||
	    !smtp_client_is_stale(connection_client(delivery->connection)))
		return false;
	delivery->has_no_pool = true;
	delivery_release(delivery, false);
	delivery_next(delivery);
	return true;
}

/* ------------------------------------------- before the message */

/*
 * The connection failed before it could take the message. Is the same address
 * worth a second look in another way?
 */
static bool
delivery_again_otherwise(struct delivery *delivery,
			 const struct outcome *outcome, bool has_tls_failed,
			 bool has_old_token)
{
	const struct target *target = &delivery->target;

	if (has_tls_failed && !target->is_clear && !target->is_implicit_tls &&
	    target_is_forgiving(target->security)) {
		/* where nothing was promised, in the clear is better than
		 * not at all */
		targets_retry(&delivery->targets, target, true);
		return true;
	}
	if (outcome->cause == CAUSE_AUTH_FAILED && has_old_token &&
	    !delivery->has_new_token) {
		/* it may have ended before its time: once more, with another */
		delivery->has_new_token = true;
		targets_retry(&delivery->targets, target, false);
		tokens_forget(delivery->deliverer->tokens,
			      delivery->hop.token_command);
		return true;
	}
	return false;
}

static void
delivery_connection_failed(struct delivery *delivery)
{
	const struct connection *connection = delivery->connection;
	bool has_tls_failed = connection_has_tls_failed(connection);
	bool has_old_token = connection_has_old_token(connection);
	struct outcome outcome;

	delivery_set_result(delivery, &outcome,
			    smtp_client_failure(connection_client(connection)));
	/* a next hop that we chose is ours to mend; a stranger's 5xx is his
	 * last word */
	if (delivery->hop.kind != HOP_MX && outcome.kind == OUTCOME_FAILED)
		outcome_set_permanent(&outcome, false);
	delivery_learn(delivery, &outcome);
	delivery_release(delivery, false);

	if (outcome.phase == PHASE_GREETING && outcome.cause != CAUSE_REPLY)
		delivery_mark(delivery, &delivery->target);
	if (delivery_again_otherwise(delivery, &outcome, has_tls_failed,
				     has_old_token)) {
		delivery_next(delivery);
		return;
	}
	tally_fail(&delivery->tally, &outcome);
	/* the same login elsewhere would fail, or lock the account */
	if (outcome.cause == CAUSE_AUTH_FAILED ||
	    outcome.cause == CAUSE_CONFIGURATION) {
		delivery->tally.failure = outcome;
		delivery_end(delivery);
		return;
	}
	delivery_next(delivery);
}

/* Did the route end while the connection was being set up? */
static bool
delivery_is_late(const struct delivery *delivery)
{
	const struct target *target = &delivery->target;
	uint64_t end_ms = target->expires_ms;

	if (end_ms == UINT64_MAX)
		return false;
	/* TTL 0 counts from when it was handed over */
	if (end_ms < target->found_ms)
		end_ms = target->found_ms;
	return delivery_now_ms(delivery) >= end_ms + LATE_MS;
}

bool
delivery_check(struct delivery *delivery, struct route *route)
{
	struct target *target = &delivery->target;

	if (route->cause == CAUSE_REPLY &&
	    route_names(route, target->host, &target->ip, target->port)) {
		target->expires_ms = route->expires_ms;
		if (target->security->expires_ms < target->expires_ms)
			target->expires_ms = target->security->expires_ms;
		targets_set_route(&delivery->targets, route,
				  delivery_now_ms(delivery));
		delivery->targets.is_unused = false; /* this is its use */
		delivery_send(delivery);
		return true;
	}
	delivery_release(delivery, false);
	return false;
}

/* The connection ended while it waited for the route. */
static void
delivery_check_lost(struct delivery *delivery)
{
	route_cancel(delivery->query);
	delivery->query = NULL;
	delivery_note_own(delivery, CAUSE_CONNECTION_LOST, PHASE_EHLO,
			  &delivery->target,
			  "the other side closed the connection");
	delivery_release(delivery, false);
	delivery_next(delivery);
}

/* It answers. If it lately did not, others wait for it. */
static void
delivery_revive(struct deliverer *deliverer, const struct target *target)
{
	const struct deliverer_opts *opts = &deliverer->opts;

	if (marks_clear(&deliverer->marks, &target->ip, target->port) &&
	    opts->on_revived != NULL)
		opts->on_revived(opts->on_attempt_arg, &target->ip,
				 target->port);
}

static void
delivery_connection_ready(struct delivery *delivery)
{
	delivery_revive(delivery->deliverer, &delivery->target);
	if (!delivery_is_late(delivery)) {
		delivery_send(delivery);
		return;
	}
	delivery_find_route(delivery);
	delivery->state = DELIVERY_CHECKING;
}

static void
delivery_connection_closed(struct delivery *delivery)
{
	switch (delivery->state) {
	case DELIVERY_SETTING_UP:
		delivery_connection_failed(delivery);
		break;
	case DELIVERY_CHECKING:
		delivery_check_lost(delivery);
		break;
	case DELIVERY_SENDING:
		if (!delivery_again_chunkless(delivery) &&
		    !delivery_again_stale(delivery))
			delivery_take_results(delivery, false);
		break;
	case DELIVERY_STARTING:
	case DELIVERY_LOCAL:
	case DELIVERY_ROUTE:
	case DELIVERY_SECURITY:
	case DELIVERY_DIALLING:
		break; /* there is no connection */
	}
}

static void
on_connection(void *owner, enum connection_event event)
{
	struct delivery *delivery = owner;

	switch (event) {
	case CONNECTION_READY:
		delivery_connection_ready(delivery);
		break;
	case CONNECTION_DONE:
		delivery_take_results(delivery, true);
		break;
	case CONNECTION_CLOSED:
		delivery_connection_closed(delivery);
		break;
	}
}

/* ---------------------------------------------------- the beginning */

static void
delivery_key(const struct delivery *delivery, const struct target *target,
	     struct connection_key *out)
{
	memset(out, 0, sizeof(*out));
	(void)snprintf(out->hop, sizeof(out->hop), "%s", delivery->hop.key);
	(void)snprintf(out->host, sizeof(out->host), "%s", target->host);
	out->ip = target->ip;
	out->port = target->port;
	out->source = delivery->hop.source;
	out->security = target->security->kind;
	out->security_print = target->security->print;
	if (delivery->trust != NULL)
		out->trust_print = delivery->trust->print;
	out->is_implicit_tls = target->is_implicit_tls;
	out->user = delivery->hop.user;
}

static enum smtp_client_tls
delivery_tls(const struct delivery *delivery, const struct target *target)
{
	if (target->is_implicit_tls || target->is_clear)
		return CLIENT_TLS_NONE;
	switch (target->security->kind) {
	case SECURITY_OPPORTUNISTIC:
	case SECURITY_STS_TESTING:
		/* a certificate adds nothing to a socket on this host */
		return target->ip.family == IP_NONE ? CLIENT_TLS_NONE
						    : CLIENT_TLS_OFFERED;
	case SECURITY_REQUIRED:
	case SECURITY_VERIFIED:
	case SECURITY_DANE:
	case SECURITY_DANE_UNUSABLE:
	case SECURITY_STS:
		return CLIENT_TLS_REQUIRED;
	case SECURITY_NONE:
		break;
	}
	return CLIENT_TLS_NONE;
}

/* Where a certificate is checked, no old TLS will do. */
static struct tls_ctx *
delivery_tls_ctx(const struct delivery *delivery, const struct target *target)
{
	const struct trust *trust = delivery->trust;

	if (trust == NULL)
		return NULL; /* it was not waited for: no TLS is wanted */
	switch (target->security->kind) {
	case SECURITY_VERIFIED:
	case SECURITY_DANE:
	case SECURITY_STS:
		return trust->verified;
	case SECURITY_NONE:
	case SECURITY_OPPORTUNISTIC:
	case SECURITY_STS_TESTING:
	case SECURITY_REQUIRED:
	case SECURITY_DANE_UNUSABLE:
		break;
	}
	return trust->any;
}

/* The connection's, whatever becomes of the route. */
static void
delivery_set_target(struct delivery *delivery, const struct target *target)
{
	struct security *old = delivery->agreed;

	delivery->agreed = security_ref(target->security);
	security_unref(old);
	delivery->target = *target;
}

void
delivery_set_up(struct delivery *delivery, const struct target *target,
		struct stream *stream, bool is_counted)
{
	struct deliverer *deliverer = delivery->deliverer;
	struct connection_opts opts = {
		.loop = deliverer->loop,
		.hostname = deliverer->opts.hostname,
		.is_lmtp = delivery->hop.kind == HOP_LMTP,
		.is_chunkless = delivery->is_chunkless,
		.is_clear = target->is_clear,
		.tls = delivery_tls(delivery, target),
		.tls_ctx = delivery_tls_ctx(delivery, target),
		.security = target->security,
		.password_file = delivery->hop.password_file,
		.token_command = delivery->hop.token_command,
		.tokens = deliverer->tokens,
		.mechanisms = delivery->hop.mechanisms,
		.watch = delivery->watch,
	};

	delivery_key(delivery, target, &opts.key);
	delivery_set_target(delivery, target);
	delivery->is_reused = false;
	delivery->state = DELIVERY_SETTING_UP;
	deliverer->opened++;
	delivery->is_counted = is_counted;
	delivery->connection =
		connection_new(&opts, stream, on_connection, delivery);
}

bool
delivery_reuse(struct delivery *delivery, const struct target *target)
{
	struct deliverer *deliverer = delivery->deliverer;
	struct connection_key key;

	if (delivery->has_no_pool)
		return false;
	delivery_key(delivery, target, &key);
	delivery->connection = pool_take(deliverer->pool, &key);
	if (delivery->connection == NULL)
		return false;
	deliverer->busy++;
	deliverer->reused++;
	targets_use(&delivery->targets, target);
	delivery_set_target(delivery, target);
	delivery->target.is_clear = connection_is_clear(delivery->connection);
	delivery->is_reused = true;
	delivery->is_counted =
		pace_enter(&deliverer->pace, &target->ip, target->port,
			   delivery_now_ms(delivery));
	connection_set_owner(delivery->connection, on_connection, delivery);
	delivery_tell_attempt(delivery, target);
	delivery_send(delivery);
	return true;
}
