/* SPDX-License-Identifier: ISC */
/*
 * The order of things: a route, then its addresses from the best on, each
 * taken from the pool or connected to, until one takes the message or none is
 * left; recipients that one turned away for now are carried to the next one.
 * What every address said is weighed (queue/deliver/tally.h).
 */
#include "queue/deliver/delivery.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "lib/clock.h"
#include "lib/mem.h"
#include "lib/net/stream.h"
#include "queue/deliver/deliverer.h"
#include "queue/deliver/local.h"
#include "queue/deliver/pool.h"
#include "queue/deliver/token.h"
#include "queue/deliver/tally.h"
#include "queue/deliver/watch.h"
#include "queue/route/resolver.h"
#include "queue/route/route.h"

/* RFC 8305, 5: the head start of the first family */
#define STAGGER_MS 250

/* A host may take its time to greet, or for TLS: when its route ended so long
 * before it is ready, DNS is asked again before MAIL. */
#define LATE_MS 500

/* Hosts that are asked for the message in one attempt: a site with twenty
 * that turns it away for now need not say so twenty times. */
#define HOSTS_MAX 5

/* Where to: one address of one host. */
struct target {
	char host[ADDR_DOMAIN_MAX + 1];
	struct ip ip; /* IP_NONE: host is the path of a unix socket */
	uint16_t port;
	bool is_implicit_tls;
	bool is_clear;	   /* TLS failed here before, and may be left out */
	uint64_t found_ms; /* when its route was */
	/* NULL: not known yet; lends until there is another route, or, for the
	 * session's, from delivery->agreed */
	struct security *security;
	size_t index;	     /* of the host in its route */
	uint64_t expires_ms; /* of what named it */
	int64_t ttl_s;	     /* left when it was chosen; -1: not by DNS */
};

/* An address that needs no second look in this attempt. */
struct tried {
	struct ip ip;
	uint16_t port;
	bool is_clear; /* the second look is without TLS */
	bool is_left;  /* a second look is due */
};

struct dial {
	struct delivery *delivery;
	struct stream *stream; /* NULL: none */
	struct target target;
	bool is_ahead; /* its deadline is the head start */
};

struct delivery {
	struct deliverer *deliverer;
	struct resolver_later later;
	struct policy *policy; /* shares */
	struct next_hop hop;
	const struct envelope *envelope;
	size_t *recipients; /* owns */
	size_t count;
	delivery_fn *on_done;
	void *owner;
	const struct delivery_watch *watch; /* lent, or NULL */

	struct route_query *query;
	struct route *route;  /* shares */
	bool is_route_unused; /* just found: good for one connect (TTL 0) */
	uint64_t found_ms;    /* when */
	/* By the route's hosts; NULL: not asked for yet. Used ones are good
	 * until they expire, others for one connect. */
	struct {
		struct security *security; /* shares */
		bool is_used;
	} secured[ROUTE_HOSTS_MAX];
	struct security_query *security_query;
	size_t security_index;	   /* the host that it is about */
	struct security *agreed;   /* shares: of the session */
	struct security *own_rule; /* shares: of a next hop without a route */
	struct tried *tried;	   /* owns */
	size_t tried_count;
	struct dial dials[2];

	struct session *session; /* owns */
	struct target target;	 /* of the session */
	bool is_reused, is_sent;
	bool is_checked;    /* the session waits for the route of now */
	bool is_crowded;    /* a host was left out: it asked for less */
	bool is_chunkless;  /* a server knows no chunks that offered them */
	bool has_new_token; /* an old one was refused */
	bool has_no_pool;   /* a pooled connection was stale: use none */

	struct local *local;
	struct tally tally;
	size_t *left;	   /* owns: those that are at the session, by index */
	unsigned answered; /* hosts that spoke about the message */
};

static void delivery_next(struct delivery *delivery);
static void delivery_take_results(struct delivery *delivery, bool is_reusable);

/* ------------------------------------------------------------ the end */

static void
dial_stop(struct dial *dial)
{
	if (dial->stream == NULL)
		return;
	stream_abort(dial->stream);
	dial->stream = NULL;
	dial->delivery->deliverer->busy--;
}

/* There is another route, or none. */
static void
delivery_forget_route(struct delivery *delivery)
{
	for (size_t i = 0; i < ROUTE_HOSTS_MAX; i++) {
		security_unref(delivery->secured[i].security);
		delivery->secured[i].security = NULL;
		delivery->secured[i].is_used = false;
	}
	route_unref(delivery->route);
	delivery->route = NULL;
}

/* Everything but the callback. */
static void
delivery_free(struct delivery *delivery)
{
	list_remove(&delivery->later.link);
	if (delivery->query != NULL)
		route_cancel(delivery->query);
	if (delivery->security_query != NULL)
		security_cancel(delivery->security_query);
	delivery_forget_route(delivery);
	security_unref(delivery->agreed);
	security_unref(delivery->own_rule);
	dial_stop(&delivery->dials[0]);
	dial_stop(&delivery->dials[1]);
	if (delivery->session != NULL) {
		pace_leave(&delivery->deliverer->pace, &delivery->target.ip,
			   delivery->target.port);
		session_abort(delivery->session);
		delivery->deliverer->busy--;
	}
	if (delivery->local != NULL)
		local_abort(delivery->local);
	policy_unref(delivery->policy);
	free(delivery->tried);
	free(delivery->recipients);
	tally_done(&delivery->tally);
	free(delivery->left);
	free(delivery);
}

void
delivery_abort(struct delivery *delivery)
{
	delivery_free(delivery);
}

/* Reports the tally. */
static void
delivery_end(struct delivery *delivery)
{
	struct outcome *outcomes;
	size_t count = delivery->count;
	delivery_fn *on_done = delivery->on_done;
	void *owner = delivery->owner;

	tally_end(&delivery->tally);
	outcomes = delivery->tally.outcomes;
	delivery->tally.outcomes = NULL;
	delivery_free(delivery);
	on_done(owner, outcomes, count);
	free(outcomes);
}

/* ------------------------------------------------------------ failures */

static void
outcome_set_target(struct outcome *outcome, const struct target *target,
		   const struct session *session)
{
	(void)snprintf(outcome->host, sizeof(outcome->host), "%s",
		       target->host);
	outcome->ip = target->ip;
	outcome->port = target->port;
	outcome->mx_ttl_s = target->ttl_s;
	if (target->security != NULL)
		(void)str_copy(outcome->security, sizeof(outcome->security),
			       str_of(security_name(target->security->kind)));
	if (session != NULL)
		(void)snprintf(outcome->tls, sizeof(outcome->tls), "%s",
			       session_tls_version(session));
}

static void
delivery_note_own(struct delivery *delivery, enum cause cause,
		  enum smtp_phase phase, const struct target *target,
		  const char *text)
{
	struct outcome outcome = {.mx_ttl_s = -1};

	outcome_own(&outcome, cause, phase, "%s", text);
	if (target != NULL)
		outcome_set_target(&outcome, target, NULL);
	tally_fail(&delivery->tally, &outcome);
}

/* RFC 8461, 5.1: a policy that is tested refuses nothing, but is told of. */
static void
delivery_note_untold(const struct delivery *delivery, struct outcome *outcome)
{
	const struct security *security = delivery->target.security;
	const char *why = NULL;

	if (security->kind != SECURITY_STS_TESTING || delivery->session == NULL)
		return;
	if (security->is_unnamed)
		why = "the policy does not name the host";
	else if (session_tls_version(delivery->session)[0] == '\0')
		why = "TLS was not used";
	else
		why = session_verify_error(delivery->session);
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
	outcome_set_target(outcome, &delivery->target, delivery->session);
	security_blame(delivery->target.security, outcome);
	delivery_note_untold(delivery, outcome);
	if (delivery->hop.kind == HOP_MX && delivery->route != NULL)
		route_view(delivery->route, outcome->host, &outcome->ip,
			   &outcome->mx);
	/* "530 Must issue a STARTTLS command first" (RFC 3207, 4): we did,
	 * it failed, and tomorrow it may not */
	if (delivery->target.is_clear && outcome->status.code == 530)
		outcome_set_permanent(outcome, false);
}

/* ---------------------------------------------------- what was tried */

static struct tried *
delivery_tried(const struct delivery *delivery, const struct ip *ip,
	       uint16_t port)
{
	for (size_t i = 0; i < delivery->tried_count; i++)
		if (delivery->tried[i].port == port &&
		    ip_equal(&delivery->tried[i].ip, ip))
			return &delivery->tried[i];
	return NULL;
}

static void
delivery_add_tried(struct delivery *delivery, const struct target *target)
{
	struct tried *tried =
		delivery_tried(delivery, &target->ip, target->port);

	if (tried == NULL) {
		delivery->tried =
			mem_resize(delivery->tried, delivery->tried_count + 1,
				   sizeof(*delivery->tried));
		tried = &delivery->tried[delivery->tried_count++];
		tried->is_clear = false;
		tried->ip = target->ip;
		tried->port = target->port;
	}
	tried->is_left = false;
}

/* The route's host with the target's name and port, or NULL. */
static const struct route_host *
delivery_host(const struct delivery *delivery, const struct target *target)
{
	for (size_t i = 0; i < delivery->route->host_count; i++) {
		const struct route_host *host = &delivery->route->hosts[i];

		if (host->port == target->port &&
		    strcmp(host->name, target->host) == 0)
			return host;
	}
	return NULL;
}

/* Its other addresses of that family are the same host. */
static void
delivery_leave_host(struct delivery *delivery)
{
	const struct target *target = &delivery->target;
	const struct route_host *host =
		delivery->route != NULL ? delivery_host(delivery, target)
					: NULL;
	struct target other = *target;

	delivery_add_tried(delivery, target);
	for (size_t i = 0; host != NULL && i < host->addr_count; i++) {
		other.ip = host->addrs[i];
		if (other.ip.family == target->ip.family)
			delivery_add_tried(delivery, &other);
	}
}

/* ------------------------------------------------------------ messages */

static void
delivery_release(struct delivery *delivery, bool is_reusable)
{
	struct deliverer *deliverer = delivery->deliverer;
	struct session *session = delivery->session;
	uint64_t now_ms = resolver_now_ms(deliverer->resolver);

	delivery->session = NULL;
	deliverer->busy--;
	pace_leave(&deliverer->pace, &delivery->target.ip,
		   delivery->target.port);
	if (!is_reusable || delivery->watch != NULL ||
	    session_messages(session) >=
		    delivery->hop.messages_per_connection ||
	    deliverer->opts.idle_connection_ms == 0)
		pool_close(deliverer->pool, session);
	else
		pool_put(deliverer->pool, session,
			 deliverer->opts.idle_connection_ms, now_ms,
			 delivery->target.expires_ms);
}

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
	delivery->is_sent = true;
	is_begun = session_send(delivery->session, delivery->deliverer->spool,
				&message);
	free(recipients);
	if (!is_begun)
		delivery_take_results(delivery, true);
}

/* ------------------------------------------------------------ sessions */

static void
delivery_mark(struct delivery *delivery, const struct target *target)
{
	struct deliverer *deliverer = delivery->deliverer;

	marks_set(&deliverer->marks, &target->ip, target->port,
		  resolver_now_ms(deliverer->resolver));
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
				outcome->reply,
				resolver_now_ms(deliverer->resolver));
	if (window != 0 && opts->on_slow_down != NULL)
		opts->on_slow_down(opts->on_attempt_arg, target->host,
				   &target->ip, target->port, window,
				   outcome->reply);
}

/* May TLS be left out when it fails? */
static bool
is_forgiving(const struct security *security)
{
	return security->kind == SECURITY_OPPORTUNISTIC ||
	       security->kind == SECURITY_STS_TESTING;
}

/* The session failed before it could take the message. */
static void
delivery_session_failed(struct delivery *delivery)
{
	const struct smtp_result *result =
		smtp_client_failure(session_client(delivery->session));
	bool has_tls_failed = session_has_tls_failed(delivery->session);
	bool has_old_token = session_has_old_token(delivery->session);
	struct target *target = &delivery->target;
	struct outcome outcome;
	struct tried *tried;

	delivery_set_result(delivery, &outcome, result);
	/* a next hop that we chose is ours to mend; a stranger's 5xx is his
	 * last word */
	if (delivery->hop.kind != HOP_MX && outcome.kind == OUTCOME_FAILED)
		outcome_set_permanent(&outcome, false);
	delivery_learn(delivery, &outcome);
	delivery_release(delivery, false);

	if (outcome.phase == PHASE_GREETING && outcome.cause != CAUSE_REPLY)
		delivery_mark(delivery, target);
	tried = delivery_tried(delivery, &target->ip, target->port);
	if (has_tls_failed && tried != NULL && !target->is_clear &&
	    !target->is_implicit_tls && is_forgiving(target->security)) {
		/* where nothing was promised, in the clear is better than
		 * not at all */
		tried->is_clear = tried->is_left = true;
		delivery_next(delivery);
		return;
	}
	if (outcome.cause == CAUSE_AUTH_FAILED && has_old_token &&
	    tried != NULL && !delivery->has_new_token) {
		/* it may have ended before its time: once more, with another */
		delivery->has_new_token = tried->is_left = true;
		tokens_forget(delivery->deliverer->tokens,
			      delivery->hop.token_command);
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

/*
 * The host spoke about its recipients. Those that it turned away for now are
 * carried to the next one (RFC 5321, 5.1).
 */
static void
delivery_take_results(struct delivery *delivery, bool is_reusable)
{
	const struct smtp_client *client = session_client(delivery->session);
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
	delivery_leave_host(delivery);
	delivery_next(delivery);
}

/* RFC 3030 in word only: once more, over another connection, with DATA. */
static bool
delivery_again_chunkless(struct delivery *delivery)
{
	struct target *target = &delivery->target;

	if (delivery->is_chunkless ||
	    !smtp_client_has_refused_chunks(session_client(delivery->session)))
		return false;
	delivery->is_chunkless = delivery->has_no_pool = true;
	delivery_add_tried(delivery, target);
	delivery_tried(delivery, &target->ip, target->port)->is_left = true;
	delivery_release(delivery, false);
	delivery_next(delivery);
	return true;
}

static void delivery_find_route(struct delivery *delivery);

/* Did the route end while the session was being set up? */
static bool
delivery_is_late(const struct delivery *delivery)
{
	const struct target *target = &delivery->target;
	uint64_t now_ms = resolver_now_ms(delivery->deliverer->resolver);
	uint64_t end_ms = target->expires_ms;

	if (end_ms == UINT64_MAX)
		return false;
	/* TTL 0 counts from when it was handed over */
	if (end_ms < target->found_ms)
		end_ms = target->found_ms;
	return now_ms >= end_ms + LATE_MS;
}

/* The session ended while it waited for the route. */
static void
delivery_check_lost(struct delivery *delivery)
{
	route_cancel(delivery->query);
	delivery->query = NULL;
	delivery->is_checked = false;
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
on_session(void *owner, enum session_event event)
{
	struct delivery *delivery = owner;
	const struct target *target = &delivery->target;

	switch (event) {
	case SESSION_READY:
		delivery_revive(delivery->deliverer, target);
		if (delivery_is_late(delivery)) {
			delivery->is_checked = true;
			delivery_find_route(delivery);
		} else {
			delivery_send(delivery);
		}
		break;
	case SESSION_DONE:
		delivery_take_results(delivery, true);
		break;
	case SESSION_CLOSED:
		if (delivery->is_checked) {
			delivery_check_lost(delivery);
			break;
		}
		if (delivery_again_chunkless(delivery))
			break;
		if (delivery->is_reused &&
		    smtp_client_is_stale(session_client(delivery->session))) {
			/* given up while it was idle: as if it never was */
			delivery_release(delivery, false);
			delivery->is_reused = delivery->is_sent = false;
			delivery->has_no_pool = true;
			delivery_next(delivery);
		} else if (delivery->is_sent) {
			delivery_take_results(delivery, false);
		} else {
			delivery_session_failed(delivery);
		}
		break;
	}
}

/* Its session begins to use the target's host. */
static void
delivery_enter(struct delivery *delivery)
{
	struct deliverer *deliverer = delivery->deliverer;

	pace_enter(&deliverer->pace, &delivery->target.ip,
		   delivery->target.port, resolver_now_ms(deliverer->resolver));
}

static void
delivery_key(const struct delivery *delivery, const struct target *target,
	     struct session_key *out)
{
	memset(out, 0, sizeof(*out));
	(void)snprintf(out->hop, sizeof(out->hop), "%s", delivery->hop.key);
	(void)snprintf(out->host, sizeof(out->host), "%s", target->host);
	out->ip = target->ip;
	out->port = target->port;
	out->source = delivery->hop.source;
	out->security = target->security->kind;
	out->security_print = target->security->print;
	out->is_implicit_tls = target->is_implicit_tls;
	out->user = delivery->hop.user;
}

static void
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
delivery_tell_dialled(const struct delivery *delivery,
		      const struct target *target, const char *failure)
{
	const struct delivery_watch *watch = delivery->watch;

	if (watch != NULL)
		watch->on_dialled(watch->arg, target->host, &target->ip,
				  target->port, failure);
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
	switch (target->security->kind) {
	case SECURITY_VERIFIED:
	case SECURITY_DANE:
	case SECURITY_STS:
		return delivery->deliverer->tls_verified;
	case SECURITY_NONE:
	case SECURITY_OPPORTUNISTIC:
	case SECURITY_STS_TESTING:
	case SECURITY_REQUIRED:
	case SECURITY_DANE_UNUSABLE:
		break;
	}
	return delivery->deliverer->tls_any;
}

/* The session's, whatever becomes of the route. */
static void
delivery_set_target(struct delivery *delivery, const struct target *target)
{
	struct security *old = delivery->agreed;

	delivery->agreed = security_ref(target->security);
	security_unref(old);
	delivery->target = *target;
}

static void
delivery_begin_session(struct delivery *delivery, const struct target *target,
		       struct stream *stream)
{
	struct deliverer *deliverer = delivery->deliverer;
	struct session_opts opts = {
		.loop = deliverer->loop,
		.hostname = deliverer->opts.hostname,
		.is_lmtp = delivery->hop.kind == HOP_LMTP,
		.is_chunkless = delivery->is_chunkless,
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
	delivery->is_reused = delivery->is_sent = false;
	deliverer->opened++;
	delivery_enter(delivery);
	delivery->session = session_new(&opts, stream, on_session, delivery);
}

/* A connection begins by what DNS said: from now on only its TTL counts. */
static void
delivery_use(struct delivery *delivery, const struct target *target)
{
	delivery->is_route_unused = false;
	delivery->secured[target->index].is_used = true;
}

/* An idle connection to this target, if there is one, takes the message. */
static bool
delivery_reuse(struct delivery *delivery, const struct target *target)
{
	struct deliverer *deliverer = delivery->deliverer;
	struct session_key key;

	if (delivery->has_no_pool)
		return false;
	delivery_key(delivery, target, &key);
	delivery->session = pool_take(deliverer->pool, &key);
	if (delivery->session == NULL)
		return false;
	deliverer->busy++;
	deliverer->reused++;
	delivery_use(delivery, target);
	delivery_set_target(delivery, target);
	delivery->is_reused = true;
	delivery_enter(delivery);
	session_set_owner(delivery->session, on_session, delivery);
	delivery_tell_attempt(delivery, target);
	delivery_send(delivery);
	return true;
}

/* ------------------------------------------------------------ connecting */

static void on_dial(void *owner, enum stream_event event);

static uint64_t
sooner(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void
target_set(struct target *target, const struct delivery *delivery,
	   const struct route_host *host, const struct ip *ip)
{
	const struct route *route = delivery->route;
	uint64_t now_ms = resolver_now_ms(delivery->deliverer->resolver);
	const struct tried *tried = delivery_tried(delivery, ip, host->port);
	struct security *security;

	memset(target, 0, sizeof(*target));
	(void)snprintf(target->host, sizeof(target->host), "%s", host->name);
	target->ip = *ip;
	target->port = host->port;
	target->is_implicit_tls = host->is_implicit_tls;
	target->found_ms = delivery->found_ms;
	target->index = (size_t)(host - route->hosts);
	security = delivery->secured[target->index].security;
	target->security = security;
	/* what was forgiven before may be asked for by now */
	target->is_clear = tried != NULL && tried->is_clear &&
			   (security == NULL || is_forgiving(security));
	target->expires_ms = route->expires_ms;
	if (security != NULL)
		target->expires_ms =
			sooner(route->expires_ms, security->expires_ms);
	target->ttl_s =
		route->expires_ms == UINT64_MAX ? -1
		: route->expires_ms <= now_ms
			? 0
			: (int64_t)((route->expires_ms - now_ms) / 1000);
}

/* May an address be tried (still)? */
static bool
delivery_may_try(const struct delivery *delivery, const struct route_host *host,
		 const struct ip *ip)
{
	const struct tried *tried = delivery_tried(delivery, ip, host->port);
	const struct security *security =
		delivery->secured[host - delivery->route->hosts].security;

	if (security != NULL && security->cause != CAUSE_REPLY)
		return false;
	return tried == NULL || tried->is_left;
}

/* Is it known by now what TLS this host has to offer? */
static bool
delivery_is_secured(const struct delivery *delivery,
		    const struct target *target)
{
	return target->security != NULL &&
	       (!delivery->secured[target->index].is_used ||
		resolver_now_ms(delivery->deliverer->resolver) <
			target->security->expires_ms);
}

/*
 * The next address: by the route's order, marked ones behind all others.
 *
 * Hosts that asked for less and have as much are passed over (is_crowded).
 *
 * only_host  NULL, or this host's alone
 * family     IP_NONE, or only this family
 */
static bool
delivery_choose(struct delivery *delivery, const struct route_host *only_host,
		uint8_t not_family, struct target *out)
{
	const struct route *route = delivery->route;
	struct deliverer *deliverer = delivery->deliverer;
	uint64_t now_ms = resolver_now_ms(deliverer->resolver);

	for (unsigned pass = 0; pass < 2; pass++) {
		for (size_t i = 0; i < route->host_count; i++) {
			const struct route_host *host = &route->hosts[i];

			if (only_host != NULL && host != only_host)
				continue;
			for (size_t j = 0; j < host->addr_count; j++) {
				const struct ip *ip = &host->addrs[j];

				if (ip->family == not_family ||
				    !delivery_may_try(delivery, host, ip))
					continue;
				if (pass == 0 &&
				    marks_has(&deliverer->marks, ip, host->port,
					      now_ms))
					continue;
				if (!pace_has_room(&deliverer->pace, ip,
						   host->port, now_ms)) {
					delivery->is_crowded = true;
					continue;
				}
				target_set(out, delivery, host, ip);
				return true;
			}
		}
	}
	return false;
}

/* Is there an open connection to a host as good as the chosen one's? */
static bool
delivery_reuse_equal(struct delivery *delivery, const struct target *chosen)
{
	const struct route *route = delivery->route;
	int preference = -1;

	if (delivery_reuse(delivery, chosen))
		return true;
	for (size_t i = 0; i < route->host_count; i++)
		if (strcmp(route->hosts[i].name, chosen->host) == 0 &&
		    route->hosts[i].port == chosen->port)
			preference = route->hosts[i].preference;
	for (size_t i = 0; i < route->host_count; i++) {
		const struct route_host *host = &route->hosts[i];
		bool is_same = strcmp(host->name, chosen->host) == 0 &&
			       host->port == chosen->port;

		if (!is_same &&
		    (preference < 0 || host->preference != preference))
			continue;
		for (size_t j = 0; j < host->addr_count; j++) {
			struct target target;

			if (!delivery_may_try(delivery, host, &host->addrs[j]))
				continue;
			target_set(&target, delivery, host, &host->addrs[j]);
			if (delivery_is_secured(delivery, &target) &&
			    delivery_reuse(delivery, &target))
				return true;
		}
	}
	return false;
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
	delivery_add_tried(delivery, target);
	delivery_tell_attempt(delivery, target);
	deliverer->busy++;
	dial->stream =
		stream_connect(deliverer->loop,
			       (const struct sockaddr *)(const void *)&to,
			       source, on_dial, dial);
	stream_set_deadline(dial->stream, deliverer->opts.connect_timeout_ms);
}

static bool
delivery_is_fresh(const struct delivery *delivery)
{
	return delivery->route != NULL &&
	       route_is_fresh(delivery->route,
			      resolver_now_ms(delivery->deliverer->resolver));
}

/* The other family of the same host, when the first keeps us waiting. */
static void
dial_second(struct delivery *delivery, struct dial *first)
{
	struct dial *second = &delivery->dials[first == &delivery->dials[0]];
	const struct route_host *host = NULL;
	struct target target;

	first->is_ahead = false;
	stream_set_deadline(first->stream,
			    delivery->deliverer->opts.connect_timeout_ms);
	if (delivery_is_fresh(delivery))
		host = delivery_host(delivery, &first->target);
	if (second->stream == NULL && host != NULL &&
	    delivery_choose(delivery, host, first->target.ip.family, &target))
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
	struct stream *stream = dial->stream;
	struct target target;

	switch (event) {
	case STREAM_CONNECTED:
		target = dial->target;
		/* the connection stays busy: the session has it now */
		dial->stream = NULL;
		dial_stop(&delivery->dials[0]);
		dial_stop(&delivery->dials[1]);
		delivery_tell_dialled(delivery, &target, NULL);
		delivery_begin_session(delivery, &target, stream);
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

/* ------------------------------------------------------------ the route */

static void
on_security(void *owner, struct security *security)
{
	struct delivery *delivery = owner;
	size_t index = delivery->security_index;
	struct security *old = delivery->secured[index].security;
	struct target target;

	delivery->security_query = NULL;
	delivery->secured[index].security = security_ref(security);
	delivery->secured[index].is_used = false;
	security_unref(old);
	if (security->cause != CAUSE_REPLY) {
		const struct route_host *host = &delivery->route->hosts[index];

		target_set(&target, delivery, host, &host->addrs[0]);
		delivery_note_own(delivery, security->cause, PHASE_DNS, &target,
				  security->why);
	}
	delivery_next(delivery);
}

static void
delivery_find_security(struct delivery *delivery, const struct target *target)
{
	delivery->security_index = target->index;
	delivery->security_query =
		security_find(delivery->deliverer->resolver,
			      delivery->deliverer->opts.sts, &delivery->hop,
			      delivery->route, target->index, on_security,
			      delivery);
}

static void on_route(void *owner, struct route *route);

static void
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

	delivery->query =
		route_find(delivery->deliverer->resolver, &delivery->hop,
			   &route_opts, on_route, delivery);
}

/* Does the message go over the session that waits? */
static bool
delivery_check(struct delivery *delivery, struct route *route)
{
	struct target *target = &delivery->target;

	delivery->is_checked = false;
	if (route->cause == CAUSE_REPLY &&
	    route_names(route, target->host, &target->ip, target->port)) {
		target->expires_ms =
			sooner(route->expires_ms, target->security->expires_ms);
		delivery_forget_route(delivery);
		delivery->route = route_ref(route);
		delivery_send(delivery);
		return true;
	}
	delivery_release(delivery, false);
	return false;
}

static void
on_route(void *owner, struct route *route)
{
	struct delivery *delivery = owner;
	struct deliverer *deliverer = delivery->deliverer;

	delivery->query = NULL;
	if (delivery->watch != NULL)
		delivery->watch->on_route(delivery->watch->arg, route);
	if (delivery->is_checked && delivery_check(delivery, route))
		return;
	pool_follow(deliverer->pool, delivery->hop.key, route,
		    resolver_now_ms(deliverer->resolver));
	if (route->cause == CAUSE_REPLY) {
		delivery_forget_route(delivery);
		delivery->route = route_ref(route);
		delivery->is_route_unused = true;
		delivery->found_ms = resolver_now_ms(deliverer->resolver);
		delivery_next(delivery);
		return;
	}
	if (!delivery->tally.has_failure) {
		struct outcome *failure = &delivery->tally.failure;

		delivery_note_own(delivery, route->cause, PHASE_DNS, NULL,
				  route->why);
		if (route->is_permanent != (failure->kind == OUTCOME_FAILED))
			outcome_set_permanent(failure, route->is_permanent);
	}
	delivery_end(delivery);
}

static void delivery_next_unix(struct delivery *delivery);

/* A connection that is open already is no further one, if its TLS is still
 * what the host has to offer. */
static bool
delivery_reuse_any(struct delivery *delivery)
{
	const struct route *route = delivery->route;

	for (size_t i = 0; i < route->host_count; i++) {
		const struct route_host *host = &route->hosts[i];

		for (size_t j = 0; j < host->addr_count; j++) {
			struct target target;

			if (!delivery_may_try(delivery, host, &host->addrs[j]))
				continue;
			target_set(&target, delivery, host, &host->addrs[j]);
			if (!delivery_is_secured(delivery, &target)) {
				/* then here again */
				delivery_find_security(delivery, &target);
				return true;
			}
			if (!target.is_clear &&
			    delivery_reuse(delivery, &target))
				return true;
		}
	}
	return false;
}

/* Goes to the next address, or ends when there is none. */
static void
delivery_next(struct delivery *delivery)
{
	struct target target;
	const struct route_host *host;

	if (delivery->hop.kind == HOP_LMTP &&
	    delivery->hop.targets[0].unix_path != NULL) {
		delivery_next_unix(delivery);
		return;
	}
	if (delivery->route == NULL ||
	    (!delivery->is_route_unused && !delivery_is_fresh(delivery))) {
		delivery_find_route(delivery);
		return;
	}
	delivery->is_crowded = false;
	if (!delivery_choose(delivery, NULL, IP_NONE, &target)) {
		if (delivery->is_crowded && delivery_reuse_any(delivery))
			return;
		if (delivery->is_crowded)
			delivery_note_own(delivery, CAUSE_HOST_BUSY,
					  PHASE_CONNECT, NULL,
					  "the host asked for fewer "
					  "connections, and has as many");
		else if (!delivery->tally.has_failure)
			delivery_note_own(delivery, CAUSE_CONNECT_UNREACHABLE,
					  PHASE_CONNECT, NULL,
					  "no address is left to connect to");
		delivery_end(delivery);
		return;
	}
	if (!delivery_is_secured(delivery, &target)) {
		delivery_find_security(delivery, &target);
		return;
	}
	if (!target.is_clear && delivery_reuse_equal(delivery, &target))
		return;
	delivery_use(delivery, &target);
	dial_start(delivery, &delivery->dials[0], &target);
	host = delivery_host(delivery, &target);
	if (host != NULL && delivery_is_fresh(delivery) &&
	    delivery_choose(delivery, host, target.ip.family,
			    &(struct target){.port = 0}) &&
	    delivery->deliverer->opts.connect_timeout_ms > STAGGER_MS) {
		delivery->dials[0].is_ahead = true;
		stream_set_deadline(delivery->dials[0].stream, STAGGER_MS);
	}
}

/* ------------------------------------------------------------ the start */

static void
on_local(void *owner)
{
	struct delivery *delivery = owner;

	delivery->local = NULL;
	delivery_end(delivery);
}

static void
delivery_begin_local(struct delivery *delivery)
{
	struct deliverer *deliverer = delivery->deliverer;
	struct local_request request = {
		.loop = deliverer->loop,
		.spool = deliverer->spool,
		.hostname = deliverer->opts.hostname,
		.hop = &delivery->hop,
		.envelope = delivery->envelope,
		.recipients = delivery->recipients,
		.count = delivery->count,
	};

	request.outcomes = tally_fill(&delivery->tally);
	delivery->local = local_start(&request, on_local, delivery);
}

static void
delivery_discard(struct delivery *delivery)
{
	struct outcome *outcomes = tally_fill(&delivery->tally);

	for (size_t i = 0; i < delivery->count; i++) {
		struct outcome *outcome = &outcomes[i];

		outcome->kind = OUTCOME_DELIVERED;
		outcome->cause = CAUSE_REPLY;
		outcome->phase = PHASE_LOCAL;
		outcome->mx_ttl_s = -1;
		status_set(&outcome->status, 250, "2.0.0", "Discarded");
	}
	delivery_end(delivery);
}

static void
delivery_next_unix(struct delivery *delivery)
{
	struct target target = {.expires_ms = UINT64_MAX, .ttl_s = -1};
	const char *path = delivery->hop.targets[0].unix_path;

	if (delivery->tried_count != 0 && !delivery->tried[0].is_left) {
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

/* What the configuration asks for and this program cannot give. */
static const char *
delivery_lacks(const struct delivery *delivery)
{
	const struct deliverer *deliverer = delivery->deliverer;

	if (delivery->hop.tls != HOP_TLS_NONE &&
	    (deliverer->tls_verified == NULL || deliverer->tls_any == NULL))
		return deliverer->tls_error.text;
	return NULL;
}

static void
on_later(struct resolver_later *later)
{
	struct delivery *delivery = container_of(later, struct delivery, later);
	const char *lacks;

	switch (delivery->hop.kind) {
	case HOP_DISCARD:
		delivery_discard(delivery);
		return;
	case HOP_MAILDIR:
		delivery_begin_local(delivery);
		return;
	case HOP_MX:
	case HOP_SMTP:
	case HOP_LMTP:
		break;
	}
	if (delivery->deliverer->tls_job != NULL &&
	    delivery->hop.tls != HOP_TLS_NONE) {
		/* we have only just started: on_later comes again */
		list_push(&delivery->deliverer->tls_waiting, &later->link);
		return;
	}
	lacks = delivery_lacks(delivery);
	if (lacks != NULL) {
		delivery_note_own(delivery, CAUSE_CONFIGURATION, PHASE_CONNECT,
				  NULL, lacks);
		delivery_end(delivery);
	} else {
		delivery_next(delivery);
	}
}

struct delivery *
delivery_start(struct deliverer *deliverer,
	       const struct delivery_request *request, delivery_fn *on_done,
	       void *owner)
{
	struct delivery *delivery = mem_zalloc(sizeof(*delivery));
	size_t bytes = request->recipient_count * sizeof(*request->recipients);

	delivery->deliverer = deliverer;
	delivery->policy =
		request->policy != NULL ? policy_ref(request->policy) : NULL;
	delivery->hop = *request->hop;
	delivery->envelope = request->envelope;
	delivery->recipients = mem_alloc(bytes);
	memcpy(delivery->recipients, request->recipients, bytes);
	delivery->count = request->recipient_count;
	delivery->left = mem_alloc(delivery->count * sizeof(*delivery->left));
	tally_init(&delivery->tally, delivery->count);
	delivery->on_done = on_done;
	delivery->owner = owner;
	delivery->watch = request->watch;
	delivery->has_no_pool = request->watch != NULL;
	list_init(&delivery->later.link);
	delivery->later.on_later = on_later;
	resolver_call_later(deliverer->resolver, &delivery->later);
	return delivery;
}
