/* SPDX-License-Identifier: ISC */
/*
 * server/control_diagnose.c - ostlerctl diagnose, in the daemon
 *
 * A row for each step as it happens: {"step": "route", "ok": true, "ms": 3,
 * "text": ...} and what belongs to it. The last one is "result".
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/mem.h"
#include "lib/net/stream.h"
#include "policy/policy.h"
#include "queue/diagnose.h"
#include "queue/route/route.h"
#include "server/config.h"
#include "server/control.h"
#include "server/daemon.h"
#include "server/explain.h"
#include "server/queue_json.h"

#define DIAGNOSE_MS 60000

struct diagnose {
	struct control_request *request;
	struct diagnosis *diagnosis;
	struct policy *policy; /* shares: hop lends from it */
	struct next_hop hop;
	struct addr sender, recipient; /* behind aliases */
	json_t *finals;		       /* owns: whom the address stands for */
	uint64_t began_ms;
	const char *step; /* static: where it is */
};

/* ok: 1, 0, or -1 for what is neither. more: takes; an object or NULL */
static void
diagnose_row(struct diagnose *diagnose, const char *step, int ok,
	     const char *text, json_t *more)
{
	uint64_t took_ms = clock_boot_ms() - diagnose->began_ms;
	json_t *row =
		json_pack("{s:s,s:I,s:o}", "step", step, "ms",
			  (json_int_t)took_ms, "text", queue_json_text(text));

	if (ok >= 0)
		json_object_set_new(row, "ok", json_boolean(ok));
	if (more != NULL)
		json_object_update(row, more);
	json_decref(more);
	(void)control_row(diagnose->request, row);
}

static void
diagnose_end(struct diagnose *diagnose, int exit_code, const char *error)
{
	struct control_request *request = diagnose->request;

	policy_unref(diagnose->policy);
	json_decref(diagnose->finals);
	free(diagnose);
	control_end(request, exit_code, error);
}

/* ----------------------------------------------------------- watching */

static void
on_route(void *arg, const struct route *route)
{
	struct diagnose *diagnose = arg;
	bool is_usable = route->cause == CAUSE_REPLY;
	char text[300];

	diagnose->step = "connecting";
	if (is_usable)
		(void)snprintf(text, sizeof(text),
			       "%zu host%s, the first is %s", route->host_count,
			       route->host_count == 1 ? "" : "s",
			       route->hosts[0].name);
	diagnose_row(diagnose, "route", is_usable,
		     is_usable ? text : route->why,
		     control_route_row(diagnose->request->daemon,
				       &diagnose->hop, route));
}

static json_t *
address_json(const char *host, const struct ip *ip, uint16_t port)
{
	char text[IP_TEXT_MAX];

	if (ip->family == IP_NONE)
		return json_pack("{s:s}", "path", host);
	return json_pack("{s:s,s:s,s:i}", "host", host, "ip",
			 ip_format(ip, text), "port", (int)port);
}

static void
on_dial(void *arg, const char *host, const struct ip *ip, uint16_t port)
{
	struct diagnose *diagnose = arg;

	diagnose->step = "connecting";
	diagnose_row(diagnose, "connect", -1, "", address_json(host, ip, port));
}

static void
on_dialled(void *arg, const char *host, const struct ip *ip, uint16_t port,
	   const char *failure)
{
	struct diagnose *diagnose = arg;

	diagnose->step = "waiting for a reply";
	diagnose_row(diagnose, "connected", failure == NULL,
		     failure != NULL ? failure : "connected",
		     address_json(host, ip, port));
}

static void
on_tls(void *arg, const struct stream_tls_info *info)
{
	struct diagnose *diagnose = arg;
	const char *trust = "the certificate was not checked";
	char text[600];

	if (info->is_verified)
		trust = "the certificate is good for this host";
	else if (info->verify_error != NULL)
		trust = info->verify_error;
	(void)snprintf(text, sizeof(text), "%s, %s; %s; certificate of %s",
		       info->version, info->cipher, trust,
		       info->peer_subject[0] != '\0' ? info->peer_subject
						     : "nobody");
	diagnose_row(diagnose, "tls", 1, text,
		     json_pack("{s:s,s:s,s:b,s:o}", "version", info->version,
			       "cipher", info->cipher, "verified",
			       info->is_verified, "subject",
			       queue_json_text(info->peer_subject)));
}

static void
on_line(void *arg, bool is_ours, const char *line)
{
	struct diagnose *diagnose = arg;

	diagnose_row(diagnose, is_ours ? "said" : "heard", -1, line, NULL);
}

/* ------------------------------------------------------------- the end */

static const char *
outcome_word(enum outcome_kind kind)
{
	switch (kind) {
	case OUTCOME_DELIVERED:
		return "delivered";
	case OUTCOME_DEFERRED:
		return "deferred";
	case OUTCOME_FAILED:
		break;
	}
	return "failed";
}

static void
diagnose_result(struct diagnose *diagnose, const struct diagnosis_end *end)
{
	const struct outcome *outcome = end->outcome;
	bool is_good = outcome->kind == OUTCOME_DELIVERED;
	char ip[IP_TEXT_MAX] = "", enhanced[12] = "";
	char text[OUTCOME_REPLY_MAX + 200];
	json_t *more;

	if (outcome->ip.family != IP_NONE)
		(void)ip_format(&outcome->ip, ip);
	(void)status_enhanced(&outcome->status, enhanced);
	(void)snprintf(text, sizeof(text), "%s",
		       outcome->status.text[0] != '\0' ? outcome->status.text
						       : "no words");
	more = json_pack("{s:s,s:s,s:s,s:s,s:i,s:i,s:s}", "outcome",
			 outcome_word(outcome->kind), "phase",
			 smtp_phase_name(outcome->phase), "host", outcome->host,
			 "ip", ip, "port", (int)outcome->port, "code",
			 (int)outcome->status.code, "status", enhanced);
	json_object_set_new(more, "security", json_string(outcome->security));
	if (!is_good) {
		json_object_set_new(more, "category",
				    json_string(category_name(
					    end->classification->category)));
		json_object_set_new(more, "rule",
				    json_string(end->classification->rule));
		json_object_set_new(more, "explanation",
				    json_string(end->advice->explanation));
		json_object_set_new(more, "advice",
				    json_string(end->advice->admin));
		json_object_set_new(more, "who", json_string(end->advice->who));
		if (outcome->cause != CAUSE_REPLY)
			json_object_set_new(more, "cause",
					    json_string(cause_name(
						    outcome->cause)));
	}
	diagnose_row(diagnose, "result", is_good, text, more);
}

static void
on_end(void *arg, const struct diagnosis_end *end)
{
	struct diagnose *diagnose = arg;
	char text[200];
	bool is_good = false;

	if (end != NULL) {
		is_good = end->outcome->kind == OUTCOME_DELIVERED;
		diagnose_result(diagnose, end);
	} else {
		(void)snprintf(text, sizeof(text),
			       "not done after %u s, while %s; a delivery "
			       "would go on waiting",
			       DIAGNOSE_MS / 1000, diagnose->step);
		diagnose_row(diagnose, "result", 0, text,
			     json_pack("{s:s}", "outcome", "unknown"));
	}
	diagnose_end(diagnose, is_good ? EXIT_DONE : EXIT_NO, NULL);
}

static void
on_cancel(struct control_request *request)
{
	struct diagnose *diagnose = request->priv;

	diagnosis_cancel(diagnose->diagnosis);
	diagnose_end(diagnose, EXIT_NO, NULL);
}

/* ----------------------------------------------------------- beginning */

static void
on_final(void *arg, const struct addr *final)
{
	struct diagnose *diagnose = arg;

	if (json_array_size(diagnose->finals) == 0)
		diagnose->recipient = *final;
	if (json_array_size(diagnose->finals) < 100)
		json_array_append_new(diagnose->finals,
				      json_string(final->text));
}

/* What a stranger hears who sends to it, and where it goes from here. */
static void
diagnose_policy(struct diagnose *diagnose, const char *from, const char *to)
{
	const struct config *config = diagnose->request->daemon->config;
	const struct explain_input input = {.from = from, .to = to};
	struct err err = ERR_INIT;
	json_t *explained = explain(config, &input, NULL, &err);
	json_t *more = json_object();
	size_t finals = json_array_size(diagnose->finals);
	char text[sizeof(diagnose->hop.key) + ADDR_MAX + 100];

	if (explained != NULL) {
		json_object_set(more, "strangers",
				json_object_get(explained, "decision"));
		json_object_set(more, "strangers_reply",
				json_object_get(explained, "reply"));
	}
	json_decref(explained);
	json_object_set(more, "recipients", diagnose->finals);
	json_object_set_new(more, "next_hop", explain_next_hop(&diagnose->hop));
	(void)snprintf(text, sizeof(text), "%s goes by %s%s",
		       diagnose->recipient.text, diagnose->hop.key,
		       finals > 1 ? "; the address stands for several, this "
				    "is the first"
				  : "");
	diagnose_row(diagnose, "policy", 1, text, more);
}

/* What needs no connection. */
static bool
diagnose_local(struct diagnose *diagnose)
{
	if (diagnose->hop.kind != HOP_MAILDIR &&
	    diagnose->hop.kind != HOP_DISCARD)
		return false;
	diagnose_row(diagnose, "result", 1,
		     diagnose->hop.kind == HOP_MAILDIR
			     ? "written to a Maildir of this host"
			     : "discarded, as the configuration says",
		     json_pack("{s:s}", "outcome", "delivered"));
	diagnose_end(diagnose, EXIT_DONE, NULL);
	return true;
}

static bool
diagnose_read(struct diagnose *diagnose, const char *from, const char *to,
	      struct err *err)
{
	struct addr given;
	const char *wrong =
		addr_parse(str_of(to), ADDR_ALLOW_UTF8 | ADDR_ALLOW_NO_DOMAIN,
			   &given);

	if (wrong != NULL) {
		(void)err_text(err, -EINVAL, "'%s': %s", to, wrong);
		return false;
	}
	if (from[0] != '\0') {
		wrong = addr_parse(str_of(from), ADDR_ALLOW_UTF8,
				   &diagnose->sender);
		if (wrong != NULL) {
			(void)err_text(err, -EINVAL, "sender '%s': %s", from,
				       wrong);
			return false;
		}
	}
	diagnose->finals = json_array();
	policy_expand(diagnose->policy, &given, on_final, diagnose);
	policy_next_hop(diagnose->policy, &diagnose->sender,
			&diagnose->recipient, &diagnose->hop, NULL);
	return true;
}

void
control_diagnose(struct control_request *request)
{
	struct daemon *daemon = request->daemon;
	const char *to = control_arg(request, "to");
	const char *from = control_arg(request, "from");
	struct diagnose *diagnose;
	struct diagnosis_request wanted = {
		.timeout_ms = DIAGNOSE_MS,
		.watch = {.on_route = on_route,
			  .on_dial = on_dial,
			  .on_dialled = on_dialled,
			  .on_tls = on_tls,
			  .on_line = on_line},
	};
	struct err err = ERR_INIT;

	if (to == NULL) {
		control_end(request, EXIT_USAGE, "which address?");
		return;
	}
	diagnose = mem_zalloc(sizeof(*diagnose));
	diagnose->request = request;
	diagnose->policy = policy_ref(daemon->config->policy);
	diagnose->began_ms = clock_boot_ms();
	diagnose->step = "asking DNS";
	from = from != NULL ? from : "";
	if (!diagnose_read(diagnose, from, to, &err)) {
		diagnose_end(diagnose, EXIT_USAGE, err.text);
		return;
	}
	diagnose_policy(diagnose, from, to);
	if (diagnose_local(diagnose))
		return;
	wanted.hop = &diagnose->hop;
	wanted.policy = diagnose->policy;
	wanted.sender = &diagnose->sender;
	wanted.recipient = &diagnose->recipient;
	wanted.watch.arg = diagnose;
	request->priv = diagnose;
	request->on_cancel = on_cancel;
	diagnose->diagnosis =
		diagnosis_start(daemon->queue, &wanted, on_end, diagnose);
}
