/* SPDX-License-Identifier: ISC */
/*
 * server/control_policy.c - ostlerctl explain and route, in the daemon
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/throttle.h"
#include "lib/clock.h"
#include "lib/mem.h"
#include "policy/caps.h"
#include "policy/policy.h"
#include "queue/queue.h"
#include "queue/route/route.h"
#include "queue/route/security.h"
#include "server/config.h"
#include "server/control.h"
#include "server/daemon.h"
#include "server/explain.h"
#include "server/listener.h"
#include "server/points_here.h"
#include "server/smtpd.h"

/* --------------------------------------------------------------- explain */

static struct explain_input
explain_input_of(const struct control_request *request)
{
	return (struct explain_input){
		.listener = control_arg(request, "listener"),
		.client = control_arg(request, "client"),
		.user = control_arg(request, "user"),
		.helo = control_arg(request, "helo"),
		.has_tls = control_arg_bool(request, "tls"),
		.from = control_arg(request, "from"),
		.to = control_arg(request, "to"),
		.points_here = control_arg(request, "points-here"),
	};
}

static void
explain_cap(const struct smtpd *smtpd, const struct caps_sender *sender,
	    bool is_message, struct explain_refusal *out)
{
	struct caps_answer answer;
	struct caps_rates rates;
	char ip[IP_TEXT_MAX];

	smtpd_caps_rates(smtpd->config, &rates);
	caps_would(smtpd->caps, &rates, sender, is_message, clock_boot_ms(),
		   &answer);
	if (answer.is_taken)
		return;
	out->rule = answer.rule;
	out->status = answer.status;
	(void)snprintf(out->looked_at, sizeof(out->looked_at),
		       "what login '%.64s' and client %s have sent",
		       sender->login != NULL ? sender->login : "",
		       ip_format(&sender->client, ip));
	if (strcmp(answer.rule, "login-paused") == 0)
		(void)snprintf(out->advice, sizeof(out->advice),
			       "ostlerctl auth clear %s, when its password is "
			       "known to be safe",
			       sender->login);
	else
		(void)snprintf(out->advice, sizeof(out->advice),
			       "wait, or raise the cap %s in limits {}",
			       answer.rule);
}

/* What the running daemon would say that policy does not know of. */
static void
explain_now_of(const struct daemon *daemon, const struct explain_input *input,
	       struct explain_now *out)
{
	const struct smtpd *smtpd = daemon->smtpd;
	struct caps_sender sender;
	uint64_t locked_ms = 0;
	char ip[IP_TEXT_MAX];

	memset(out, 0, sizeof(*out));
	if (!explain_sender(input, &sender))
		return;
	if (input->user != NULL)
		locked_ms =
			throttle_locked_ms(smtpd->throttle, &sender.client,
					   daemon->config->limits.auth_lock_ms,
					   clock_boot_ms());
	if (locked_ms != 0) {
		out->login.rule = "auth-lock";
		smtpd_say_locked(locked_ms, &out->login.status);
		(void)snprintf(out->login.looked_at,
			       sizeof(out->login.looked_at),
			       "failed logins from %s",
			       ip_format(&sender.client, ip));
		(void)snprintf(out->login.advice, sizeof(out->login.advice),
			       "ostlerctl auth clear %s", ip);
	}
	if (!smtpd_can_accept(smtpd, &out->resources.status)) {
		out->resources.rule = "resources";
		(void)snprintf(out->resources.looked_at,
			       sizeof(out->resources.looked_at),
			       "the spool '%.96s'", daemon->config->spool);
		(void)snprintf(
			out->resources.advice, sizeof(out->resources.advice),
			"see ostlerctl status; make room on its disk, or "
			"change limits.spool_free");
	}
	explain_cap(smtpd, &sender, true, &out->message);
	explain_cap(smtpd, &sender, false, &out->recipient);
}

static void
explain_end(struct control_request *request, const struct explain_input *input)
{
	struct err err = ERR_INIT;
	struct explain_now now;
	json_t *explained;
	bool is_accepted;

	explain_now_of(request->daemon, input, &now);
	explained = explain(request->daemon->config, input, &now, &err);
	if (explained == NULL) {
		control_end(request, EXIT_USAGE, err.text);
		return;
	}
	is_accepted = strcmp(json_string_value(
				     json_object_get(explained, "decision")),
			     "accepted") == 0;
	(void)control_row(request, explained);
	control_end(request, is_accepted ? EXIT_DONE : EXIT_NO, NULL);
}

static void
on_points(void *owner, const struct points_here_answer *answer)
{
	struct control_request *request = owner;
	struct explain_input input = explain_input_of(request);

	switch (answer->points_here) {
	case POINTS_UNKNOWN:
		break;
	case POINTS_ELSEWHERE:
		input.points_here = "elsewhere";
		break;
	case POINTS_HERE:
		input.points_here =
			answer->is_too_long ? "here-too-long" : "here";
		break;
	}
	explain_end(request, &input);
}

static void
on_points_cancel(struct control_request *request)
{
	points_here_cancel(request->priv);
	control_end(request, EXIT_NO, NULL);
}

void
control_explain(struct control_request *request)
{
	const struct config *config = request->daemon->config;
	struct explain_input input = explain_input_of(request);
	const struct ip operator= {.family = IP_NONE};
	char domain[ADDR_DOMAIN_MAX + 1];
	const char *at;

	if (input.from == NULL || input.to == NULL) {
		control_end(request, EXIT_USAGE, "--from and --to are needed");
		return;
	}
	at = strrchr(input.to, '@');
	/* a session would ask DNS now: so does the explanation */
	if (at == NULL || !explain_wants_points_here(config, &input) ||
	    !addr_normalize_domain(str_from(at + 1, strcspn(at + 1, ">")),
				   domain, sizeof(domain))) {
		explain_end(request, &input);
		return;
	}
	request->on_cancel = on_points_cancel;
	request->priv =
		points_here_ask(request->daemon->smtpd->points_here, &operator,
				domain, config->hostname, on_points, request);
}

/* ----------------------------------------------------------------- route */

struct route_request {
	struct control_request *request;
	struct route_query *query;
	struct policy *policy; /* shares: hop lends from it */
	struct next_hop hop;
	struct route *route;		 /* shares; NULL: not known yet */
	json_t *row;			 /* owns; what is to be said of it */
	size_t index;			 /* of the host that is looked at */
	struct security_query *security; /* about it; NULL: none */
};

static json_t *
route_host_json(const struct route_host *host, uint64_t now_ms)
{
	json_t *addrs = json_array();
	char ip[IP_TEXT_MAX];
	int64_t ttl_s = -1;

	for (size_t i = 0; i < host->addr_count; i++)
		json_array_append_new(addrs,
				      json_string(
					      ip_format(&host->addrs[i], ip)));
	if (host->expires_ms != UINT64_MAX)
		ttl_s = host->expires_ms > now_ms
				? (int64_t)((host->expires_ms - now_ms) / 1000)
				: 0;
	return json_pack("{s:s,s:i,s:i,s:o,s:I,s:I,s:I,s:b,s:b,s:s}", "host",
			 host->name, "preference", host->preference, "port",
			 (int)host->port, "addresses", addrs, "ttl_s",
			 (json_int_t)ttl_s, "mx_ttl_s",
			 (json_int_t)host->mx_ttl_s, "address_ttl_s",
			 (json_int_t)host->addr_ttl_s, "secure",
			 host->is_secure, "cached", host->is_cached, "why",
			 host->why);
}

json_t *
control_route_row(const struct daemon *daemon, const struct next_hop *hop,
		  const struct route *route)
{
	uint64_t now_ms = resolver_now_ms(daemon->resolver);
	bool is_usable = route->cause == CAUSE_REPLY;
	json_t *hosts = json_array();

	for (size_t i = 0; i < route->host_count; i++)
		json_array_append_new(hosts, route_host_json(&route->hosts[i],
							     now_ms));
	return json_pack("{s:o,s:b,s:s,s:b,s:s,s:b,s:b,s:o}", "next_hop",
			 explain_next_hop(hop), "usable", is_usable, "cause",
			 is_usable ? "" : cause_name(route->cause), "permanent",
			 !is_usable && route->is_permanent, "why", route->why,
			 "implicit_mx", route->is_implicit_mx, "stale",
			 route->is_stale, "hosts", hosts);
}

static bool
is_ours(void *arg, const struct ip *ip, uint16_t port)
{
	struct daemon *daemon = arg;

	return listeners_accept_on(daemon->listeners, ip, port);
}

struct route_opts
control_route_opts(struct daemon *daemon)
{
	const struct config *config = daemon->config;

	return (struct route_opts){
		.port = config->queue.port,
		.private_targets = config->resolver.private_targets,
		.hostname = config->hostname,
		.is_ours = is_ours,
		.is_ours_arg = daemon,
	};
}

static void
route_request_end(struct route_request *query, int exit_code, const char *error)
{
	struct control_request *request = query->request;

	policy_unref(query->policy);
	route_unref(query->route);
	json_decref(query->row);
	free(query);
	control_end(request, exit_code, error);
}

static void route_request_next(struct route_request *query);

static void
on_security(void *owner, struct security *security)
{
	struct route_request *query = owner;
	uint64_t now_ms = resolver_now_ms(query->request->daemon->resolver);
	json_t *host = json_array_get(json_object_get(query->row, "hosts"),
				      query->index++);
	json_int_t ttl_s = -1;

	query->security = NULL;
	if (security->expires_ms != UINT64_MAX)
		ttl_s = security->expires_ms > now_ms
				? (json_int_t)((security->expires_ms - now_ms) /
					       1000)
				: 0;
	(void)json_object_set_new(host, "security",
				  json_string(security_name(security->kind)));
	(void)json_object_set_new(host, "security_from",
				  json_string(security->from));
	(void)json_object_set_new(host, "security_ttl_s", json_integer(ttl_s));
	(void)json_object_set_new(
		host, "security_why",
		json_string(security->is_unnamed
				    ? "the policy does not name this host"
				    : security->why));
	route_request_next(query);
}

/* One host after the other: what delivery would ask of it. */
static void
route_request_next(struct route_request *query)
{
	struct daemon *daemon = query->request->daemon;
	const struct route *route = query->route;
	bool is_usable = route->cause == CAUSE_REPLY;

	while (query->index < route->host_count &&
	       route->hosts[query->index].addr_count == 0)
		query->index++;
	if (query->index < route->host_count) {
		query->security =
			security_find(daemon->resolver,
				      queue_sts(daemon->queue), &query->hop,
				      query->route, query->index, on_security,
				      query);
		return;
	}
	(void)control_row(query->request, json_incref(query->row));
	route_request_end(query, is_usable ? EXIT_DONE : EXIT_NO, NULL);
}

static void
on_route(void *owner, struct route *route)
{
	struct route_request *query = owner;

	query->query = NULL;
	query->route = route_ref(route);
	query->row =
		control_route_row(query->request->daemon, &query->hop, route);
	route_request_next(query);
}

static void
on_route_cancel(struct control_request *request)
{
	struct route_request *query = request->priv;

	if (query->query != NULL)
		route_cancel(query->query);
	if (query->security != NULL)
		security_cancel(query->security);
	route_request_end(query, EXIT_NO, NULL);
}

/* A domain, or an address (with --from, the sender's routes count). */
static bool
route_address(const struct control_request *request, struct addr *out,
	      struct err *err)
{
	const char *target = control_arg(request, "target");
	char domain[ADDR_DOMAIN_MAX + 1];
	const char *wrong;

	if (target == NULL) {
		(void)err_text(err, -EINVAL, "which domain or address?");
		return false;
	}
	if (strchr(target, '@') != NULL) {
		wrong = addr_parse(str_of(target), ADDR_ALLOW_UTF8, out);
		if (wrong != NULL)
			(void)err_text(err, -EINVAL, "'%s': %s", target, wrong);
		return wrong == NULL;
	}
	if (!addr_normalize_domain(str_of(target), domain, sizeof(domain))) {
		(void)err_text(err, -EINVAL, "'%s' is no domain name", target);
		return false;
	}
	memset(out, 0, sizeof(*out));
	(void)str_copy(out->text, sizeof(out->text), str_of("postmaster"));
	out->local_len = 10;
	return addr_qualify(out, domain);
}

void
control_route(struct control_request *request)
{
	struct daemon *daemon = request->daemon;
	const struct config *config = daemon->config;
	struct route_opts opts = control_route_opts(daemon);
	const char *from = control_arg(request, "from");
	struct addr sender = {0}, recipient;
	struct route_request *query;
	struct err err = ERR_INIT;

	opts.is_fresh = control_arg_bool(request, "fresh");
	if (!route_address(request, &recipient, &err)) {
		control_end(request, EXIT_USAGE, err.text);
		return;
	}
	if (from != NULL)
		(void)addr_parse(str_of(from), ADDR_ALLOW_UTF8, &sender);
	query = mem_zalloc(sizeof(*query));
	query->request = request;
	query->policy = policy_ref(config->policy);
	policy_next_hop(query->policy, &sender, &recipient, &query->hop, NULL);
	if (query->hop.kind == HOP_MAILDIR || query->hop.kind == HOP_DISCARD ||
	    (query->hop.target_count != 0 &&
	     query->hop.targets[0].unix_path != NULL)) {
		(void)control_row(request,
				  json_pack("{s:o,s:b,s:[]}", "next_hop",
					    explain_next_hop(&query->hop),
					    "usable", 1, "hosts"));
		route_request_end(query, EXIT_DONE, NULL);
		return;
	}
	request->priv = query;
	request->on_cancel = on_route_cancel;
	query->query = route_find(daemon->resolver, &query->hop, &opts,
				  on_route, query);
}
