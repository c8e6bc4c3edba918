/* SPDX-License-Identifier: ISC */
/*
 * server/control_diagnose.c - ostlerctl diagnose, in the daemon
 *
 * A row for each step as it happens: {"step": "route", "ok": true, "ms": 3,
 * "text": ...} and what belongs to it. The last one is "result". An address
 * that stands for several is walked to each of them, one after the other:
 * their rows begin with "address", bear "recipient" and end with "result", and
 * the last one of all is "all".
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

#define DIAGNOSE_MS	60000  /* for one address */
#define DIAGNOSE_ALL_MS 300000 /* for all of them */
#define WALKED_MAX	20     /* addresses behind one */
#define SHOWN_MAX	100

struct diagnose {
	struct control_request *request;
	struct diagnosis *diagnosis;
	struct policy *policy; /* shares: hop lends from it */
	struct next_hop hop;
	struct addr sender;
	struct addr *recipients; /* owns: behind aliases, WALKED_MAX at most */
	size_t recipient_count;
	bool is_walking; /* to one of them */
	size_t at;	 /* of recipients: the one that is walked to */
	size_t total;	 /* whom the address stands for */
	size_t good;	 /* who would get it, of those that were walked to */
	json_t *finals;	 /* owns: the first SHOWN_MAX of all */
	uint64_t began_ms;
	uint64_t one_ms;  /* boot clock: this one has until then */
	const char *step; /* static: where it is */
};

static const struct addr *
recipient(const struct diagnose *diagnose)
{
	return &diagnose->recipients[diagnose->at];
}

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
	if (diagnose->total > 1 && diagnose->is_walking)
		json_object_set_new(row, "recipient",
				    queue_json_text(recipient(diagnose)->text));
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
	free(diagnose->recipients);
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
		return json_pack("{s:o}", "path", queue_json_text(host));
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

static void diagnose_walk(struct diagnose *diagnose);

static void
on_end(void *arg, const struct diagnosis_end *end)
{
	struct diagnose *diagnose = arg;
	char text[200];

	diagnose->diagnosis = NULL;
	if (end != NULL) {
		if (end->outcome->kind == OUTCOME_DELIVERED)
			diagnose->good++;
		diagnose_result(diagnose, end);
	} else {
		(void)snprintf(text, sizeof(text),
			       "not done after %u s, while %s; a delivery "
			       "would go on waiting",
			       (unsigned)((clock_boot_ms() - diagnose->one_ms) /
					  1000),
			       diagnose->step);
		diagnose_row(diagnose, "result", 0, text,
			     json_pack("{s:s}", "outcome", "unknown"));
	}
	diagnose->at++;
	diagnose_walk(diagnose);
}

static void
on_cancel(struct control_request *request)
{
	struct diagnose *diagnose = request->priv;

	if (diagnose->diagnosis != NULL)
		diagnosis_cancel(diagnose->diagnosis);
	diagnose_end(diagnose, EXIT_NO, NULL);
}

/* ------------------------------------------------------------- the walk */

/* What needs no connection. */
static bool
diagnose_local(struct diagnose *diagnose)
{
	if (diagnose->hop.kind != HOP_MAILDIR &&
	    diagnose->hop.kind != HOP_DISCARD)
		return false;
	diagnose->good++;
	diagnose_row(diagnose, "result", 1,
		     diagnose->hop.kind == HOP_MAILDIR
			     ? "written to a Maildir of this host"
			     : "discarded, as the configuration says",
		     json_pack("{s:s}", "outcome", "delivered"));
	return true;
}

static void
diagnose_start(struct diagnose *diagnose, uint64_t left_ms)
{
	const struct diagnosis_request wanted = {
		.hop = &diagnose->hop,
		.policy = diagnose->policy,
		.sender = &diagnose->sender,
		.recipient = recipient(diagnose),
		.timeout_ms = left_ms < DIAGNOSE_MS ? left_ms : DIAGNOSE_MS,
		.watch = {.on_route = on_route,
			  .on_dial = on_dial,
			  .on_dialled = on_dialled,
			  .on_tls = on_tls,
			  .on_line = on_line,
			  .arg = diagnose},
	};

	diagnose->step = "asking DNS";
	diagnose->one_ms = clock_boot_ms();
	diagnose->diagnosis = diagnosis_start(diagnose->request->daemon->queue,
					      &wanted, on_end, diagnose);
}

static void
diagnose_all(struct diagnose *diagnose)
{
	char text[200];

	if (diagnose->total > 1) {
		(void)snprintf(text, sizeof(text),
			       "%zu of %zu addresses would get it%s",
			       diagnose->good, diagnose->at,
			       diagnose->at < diagnose->total
				       ? "; the others were not walked to"
				       : "");
		diagnose_row(diagnose, "all", diagnose->good == diagnose->at,
			     text,
			     json_pack("{s:I,s:I,s:I}", "good",
				       (json_int_t)diagnose->good, "walked",
				       (json_int_t)diagnose->at, "addresses",
				       (json_int_t)diagnose->total));
	}
	diagnose_end(diagnose,
		     diagnose->good == diagnose->at ? EXIT_DONE : EXIT_NO,
		     NULL);
}

/* To the next ones, until one of them takes time. */
static void
diagnose_walk(struct diagnose *diagnose)
{
	while (diagnose->at < diagnose->recipient_count) {
		uint64_t took_ms = clock_boot_ms() - diagnose->began_ms;
		char text[sizeof(diagnose->hop.key) + ADDR_MAX + 20];

		if (took_ms >= DIAGNOSE_ALL_MS)
			break;
		diagnose->is_walking = true;
		policy_next_hop(diagnose->policy, &diagnose->sender,
				recipient(diagnose), &diagnose->hop, NULL);
		(void)snprintf(text, sizeof(text), "%s goes by %s",
			       recipient(diagnose)->text, diagnose->hop.key);
		if (diagnose->total > 1)
			diagnose_row(diagnose, "address", -1, text,
				     json_pack("{s:o}", "next_hop",
					       explain_next_hop(
						       &diagnose->hop)));
		if (!diagnose_local(diagnose)) {
			diagnose_start(diagnose, DIAGNOSE_ALL_MS - took_ms);
			return;
		}
		diagnose->at++;
	}
	diagnose->is_walking = false; /* the last row is about all of them */
	diagnose_all(diagnose);
}

/* ----------------------------------------------------------- beginning */

static void
on_final(void *arg, const struct addr *final)
{
	struct diagnose *diagnose = arg;

	diagnose->total++;
	if (diagnose->recipient_count < WALKED_MAX)
		diagnose->recipients[diagnose->recipient_count++] = *final;
	if (json_array_size(diagnose->finals) < SHOWN_MAX)
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
	char text[sizeof(diagnose->hop.key) + ADDR_MAX + 20];

	if (explained != NULL) {
		json_object_set(more, "strangers",
				json_object_get(explained, "decision"));
		json_object_set(more, "strangers_reply",
				json_object_get(explained, "reply"));
	}
	json_decref(explained);
	json_object_set(more, "recipients", diagnose->finals);
	json_object_set_new(more, "next_hop", explain_next_hop(&diagnose->hop));
	if (diagnose->total > 1)
		(void)snprintf(text, sizeof(text),
			       "the address stands for %zu%s", diagnose->total,
			       diagnose->total > WALKED_MAX
				       ? ", of which the first are walked to"
				       : "");
	else
		(void)snprintf(text, sizeof(text), "%s goes by %s",
			       recipient(diagnose)->text, diagnose->hop.key);
	diagnose_row(diagnose, "policy", 1, text, more);
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
	diagnose->recipients =
		mem_zalloc(WALKED_MAX * sizeof(*diagnose->recipients));
	policy_expand(diagnose->policy, &given, on_final, diagnose);
	policy_next_hop(diagnose->policy, &diagnose->sender,
			recipient(diagnose), &diagnose->hop, NULL);
	return true;
}

void
control_diagnose(struct control_request *request)
{
	struct daemon *daemon = request->daemon;
	const char *to = control_arg(request, "to");
	const char *from = control_arg(request, "from");
	struct diagnose *diagnose;
	struct err err = ERR_INIT;

	if (to == NULL) {
		control_end(request, EXIT_USAGE, "which address?");
		return;
	}
	diagnose = mem_zalloc(sizeof(*diagnose));
	diagnose->request = request;
	diagnose->policy = policy_ref(daemon->config->policy);
	diagnose->began_ms = clock_boot_ms();
	from = from != NULL ? from : "";
	if (!diagnose_read(diagnose, from, to, &err)) {
		diagnose_end(diagnose, EXIT_USAGE, err.text);
		return;
	}
	diagnose_policy(diagnose, from, to);
	request->priv = diagnose;
	request->on_cancel = on_cancel;
	diagnose_walk(diagnose);
}
