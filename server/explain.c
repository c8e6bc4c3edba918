/* SPDX-License-Identifier: ISC */
#include "server/explain.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "policy/caps.h"
#include "policy/policy.h"
#include "policy/trace.h"
#include "server/config.h"
#include "server/queue_json.h"

/* ---------------------------------------------------------------- inputs */

static const struct listener_config *
explain_listener(const struct config *config, const struct explain_input *input)
{
	enum policy_role wanted =
		input->user != NULL ? POLICY_SUBMISSION : POLICY_MX;

	for (size_t i = 0; i < config->listener_count; i++) {
		const struct listener_config *listener = &config->listeners[i];

		if (input->listener != NULL
			    ? strcmp(listener->name, input->listener) == 0
			    : listener->role == wanted)
			return listener;
	}
	return NULL;
}

/* "<user@example.org>" or without the brackets */
static bool
explain_address(const char *text, unsigned flags, struct addr *out,
		const char *what, struct err *err)
{
	struct str address = str_of(text);
	const char *wrong;

	if (address.len >= 2 && address.at[0] == '<' &&
	    address.at[address.len - 1] == '>')
		address = str_from(address.at + 1, address.len - 2);
	if (address.len == 0) {
		memset(out, 0, sizeof(*out));
		return true;
	}
	wrong = addr_parse(address, flags | ADDR_ALLOW_UTF8, out);
	if (wrong != NULL) {
		(void)err_text(err, -EINVAL, "%s '%s': %s", what, text, wrong);
		return false;
	}
	return true;
}

static bool
explain_points_here(const struct explain_input *input,
		    struct policy_facts *facts, struct err *err)
{
	const char *where = input->points_here;

	if (where == NULL)
		return true;
	facts->points_here_too_long = strcmp(where, "here-too-long") == 0;
	if (facts->points_here_too_long || strcmp(where, "here") == 0) {
		facts->points_here = POINTS_HERE;
	} else if (strcmp(where, "elsewhere") == 0) {
		facts->points_here = POINTS_ELSEWHERE;
	} else {
		(void)err_text(err, -EINVAL,
			       "points-here '%s' is none of here, "
			       "here-too-long, elsewhere",
			       where);
		return false;
	}
	return true;
}

static bool
explain_facts(const struct config *config, const struct explain_input *input,
	      struct policy_facts *facts, struct addr *sender,
	      struct addr *recipient, const char **out_listener,
	      struct err *err)
{
	const struct listener_config *listener =
		explain_listener(config, input);
	const char *client =
		input->client != NULL ? input->client : "192.0.2.1";
	unsigned flags = ADDR_ALLOW_NO_DOMAIN;

	memset(facts, 0, sizeof(*facts));
	if (listener == NULL) {
		(void)err_text(err, -ENOENT, "there is no listener '%s'",
			       input->listener != NULL ? input->listener
						       : "of that role");
		return false;
	}
	*out_listener = listener->name;
	facts->role = listener->role;
	if (strcmp(client, "unix") != 0 &&
	    !ip_parse(str_of(client), &facts->client)) {
		(void)err_text(err, -EINVAL, "client '%s' is no IP address",
			       client);
		return false;
	}
	facts->login = input->user;
	facts->has_tls = input->has_tls;
	facts->helo = input->helo;
	if (!explain_points_here(input, facts, err))
		return false;
	/* as a session does */
	if (!policy_is_stranger(config->policy, facts))
		flags |= ADDR_QUOTE_DOTS;
	if (!explain_address(input->from, flags, sender, "sender", err) ||
	    !explain_address(input->to, flags, recipient, "recipient", err))
		return false;
	if (recipient->text[0] == '\0') {
		(void)err_text(err, -EINVAL, "the recipient is empty");
		return false;
	}
	/* as a submission session does before it asks */
	if (facts->role == POLICY_SUBMISSION) {
		const char *qualify = policy_qualify(config->policy);

		if (sender->text[0] != '\0' && sender->domain_len == 0)
			(void)addr_qualify(sender, qualify);
		if (recipient->domain_len == 0)
			(void)addr_qualify(recipient, qualify);
	}
	facts->sender = sender;
	facts->recipient = recipient;
	return true;
}

/* ----------------------------------------------------------------- JSON */

static json_t *
explain_trace(const struct trace *trace)
{
	json_t *steps = json_array();

	for (size_t i = 0; i < trace->count; i++) {
		const struct trace_step *step = &trace->steps[i];

		json_array_append_new(
			steps,
			json_pack("{s:s,s:b,s:o,s:o}", "rule", step->rule,
				  "match", step->is_match, "looked_at",
				  queue_json_text(step->looked_at), "outcome",
				  queue_json_text(step->outcome)));
	}
	return steps;
}

/* Paths and names of a configuration may be any bytes. NULL: left out. */
static json_t *
explain_text(const char *text)
{
	return text != NULL ? queue_json_text(text) : NULL;
}

static json_t *
explain_target(const struct hop_target *target)
{
	char *text = target->unix_path != NULL
			     ? mem_printf("unix:%s", target->unix_path)
			     : mem_printf("%s:%u", target->host, target->port);
	json_t *value = queue_json_text(text);

	free(text);
	return value;
}

json_t *
explain_next_hop(const struct next_hop *hop)
{
	static const char *const kinds[] = {
		[HOP_MX] = "mx",	   [HOP_SMTP] = "smtp",
		[HOP_LMTP] = "lmtp",	   [HOP_MAILDIR] = "maildir",
		[HOP_DISCARD] = "discard",
	};
	static const char *const tls[] = {
		[HOP_TLS_NONE] = "none",
		[HOP_TLS_OPPORTUNISTIC] = "opportunistic",
		[HOP_TLS_REQUIRED] = "required",
		[HOP_TLS_VERIFIED] = "verified",
		[HOP_TLS_DANE] = "dane",
		[HOP_TLS_STS] = "sts",
	};
	json_t *targets = json_array();
	/* a file is written, not sent */
	bool has_tls = hop->kind != HOP_MAILDIR && hop->kind != HOP_DISCARD;

	for (size_t i = 0; i < hop->target_count; i++)
		json_array_append_new(targets,
				      explain_target(&hop->targets[i]));
	return json_pack("{s:s,s:o,s:s,s:o,s:b,s:b,s:s*,s:o*,s:o*,s:o}", "kind",
			 kinds[hop->kind], "key", queue_json_text(hop->key),
			 "domain", hop->domain, "targets", targets, "local",
			 hop->is_local, "backup", hop->is_backup, "tls",
			 has_tls ? tls[hop->tls] : NULL, "maildir",
			 explain_text(hop->maildir), "user",
			 explain_text(hop->user), "config",
			 queue_json_text(hop->config_at != NULL ? hop->config_at
								: "default"));
}

struct explain_routes {
	const struct policy *policy;
	const struct addr *sender;
	json_t *list;
};

static void
on_final(void *arg, const struct addr *final)
{
	struct explain_routes *routes = arg;
	struct next_hop hop;

	policy_next_hop(routes->policy, routes->sender, final, &hop, NULL);
	json_array_append_new(routes->list,
			      json_pack("{s:s,s:o}", "address", final->text,
					"next_hop", explain_next_hop(&hop)));
}

static json_t *
explain_verdict(const struct policy_facts *facts, const char *listener,
		const char *stage, const struct verdict *verdict,
		const struct trace *trace)
{
	json_t *advice = json_array();
	char enhanced[12];

	for (size_t i = 0; i < trace->advice_count; i++)
		json_array_append_new(advice,
				      queue_json_text(trace->advice[i]));
	return json_pack("{s:s,s:s,s:o,s:i,s:s,s:o,s:s,s:s,s:o,s:s,s:o,s:o}",
			 "decision",
			 verdict->is_accepted ? "accepted" : "refused", "stage",
			 stage, "listener", queue_json_text(listener), "code",
			 (int)verdict->status.code, "status",
			 status_enhanced(&verdict->status, enhanced), "reply",
			 queue_json_text(verdict->status.text), "rule",
			 policy_rule_name(verdict->rule), "scenario",
			 verdict->scenario == SCENARIO_NONE
				 ? ""
				 : policy_scenario_name(verdict->scenario),
			 "config", queue_json_text(verdict->config_at),
			 "recipient", facts->recipient->text, "steps",
			 explain_trace(trace), "advice", advice);
}

bool
explain_wants_points_here(const struct config *config,
			  const struct explain_input *input)
{
	struct err err = ERR_INIT;
	struct policy_facts facts;
	struct addr sender, recipient;
	struct verdict verdict;
	const char *listener;

	if (input->points_here != NULL ||
	    !explain_facts(config, input, &facts, &sender, &recipient,
			   &listener, &err))
		return false;
	policy_decide_sender(config->policy, &facts, &verdict, NULL);
	return verdict.is_accepted &&
	       policy_wants_points_here(config->policy, &facts);
}

bool
explain_sender(const struct explain_input *input, struct caps_sender *out)
{
	const char *client =
		input->client != NULL ? input->client : "192.0.2.1";

	memset(out, 0, sizeof(*out));
	out->login = input->user;
	return strcmp(client, "unix") == 0 ||
	       ip_parse(str_of(client), &out->client);
}

/* True, and all is said, when this refuses. */
static bool
explain_refuses(const struct explain_refusal *refusal, struct verdict *verdict,
		struct trace *trace)
{
	struct trace_step *step;

	if (refusal->rule == NULL)
		return false;
	verdict->is_accepted = false;
	verdict->status = refusal->status;
	verdict->scenario = SCENARIO_NONE;
	verdict->config_at = NULL;
	step = trace_add(trace, refusal->rule, true);
	trace_looked_at(step, "%s", refusal->looked_at);
	trace_outcome(step, "refused for now");
	trace->advice_count = 0; /* what policy said would change nothing */
	trace_advice(trace, "%s", refusal->advice);
	return true;
}

json_t *
explain(const struct config *config, const struct explain_input *input,
	const struct explain_now *now, struct err *err)
{
	static const struct explain_now nothing;
	struct policy *policy = config->policy;
	const struct explain_refusal *refusal = NULL;
	const char *listener, *stage = "MAIL";
	struct policy_facts facts;
	struct addr sender, recipient;
	struct verdict verdict = {0};
	struct trace trace;
	json_t *out;

	if (!explain_facts(config, input, &facts, &sender, &recipient,
			   &listener, err))
		return NULL;
	if (now == NULL)
		now = &nothing;
	trace_init(&trace);
	if (explain_refuses(&now->login, &verdict, &trace)) {
		refusal = &now->login;
		stage = "AUTH";
	} else if (explain_refuses(&now->resources, &verdict, &trace)) {
		refusal = &now->resources;
	} else {
		policy_decide_sender(policy, &facts, &verdict, &trace);
		if (verdict.is_accepted &&
		    explain_refuses(&now->message, &verdict, &trace))
			refusal = &now->message;
	}
	if (verdict.is_accepted) {
		stage = "RCPT";
		policy_decide(policy, &facts, &verdict, &trace);
		if (verdict.is_accepted &&
		    explain_refuses(&now->recipient, &verdict, &trace))
			refusal = &now->recipient;
	}
	out = explain_verdict(&facts, listener, stage, &verdict, &trace);
	if (refusal != NULL)
		json_object_set_new(out, "rule", json_string(refusal->rule));
	if (verdict.is_accepted) {
		struct explain_routes routes = {policy, &sender, json_array()};

		policy_expand(policy, &recipient, on_final, &routes);
		json_object_set_new(out, "recipients", routes.list);
	}
	return out;
}

/* ----------------------------------------------------------------- text */

static const char *
get(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text != NULL ? text : "";
}

static void
explain_print_hop(const json_t *recipient)
{
	const json_t *hop = json_object_get(recipient, "next_hop");
	const char *kind = get(hop, "kind");
	size_t index;
	json_t *target;

	(void)printf("  %s -> ", get(recipient, "address"));
	if (strcmp(kind, "mx") == 0)
		(void)printf("the MX of %s", get(hop, "domain"));
	else if (strcmp(kind, "maildir") == 0)
		(void)printf("Maildir %s", get(hop, "maildir"));
	else
		(void)printf("%s", kind);
	json_array_foreach(json_object_get(hop, "targets"), index, target)(void)
		printf("%s%s", index == 0 ? " " : ", ",
		       json_string_value(target));
	if (get(hop, "tls")[0] != '\0')
		(void)printf(", TLS %s", get(hop, "tls"));
	(void)printf(" (%s)\n", get(hop, "config"));
}

void
explain_print(const json_t *explained)
{
	const json_t *steps = json_object_get(explained, "steps");
	const json_t *advice = json_object_get(explained, "advice");
	const json_t *recipients = json_object_get(explained, "recipients");
	size_t index;
	json_t *one;

	(void)printf("%s at %s on listener '%s'\n", get(explained, "decision"),
		     get(explained, "stage"), get(explained, "listener"));
	if (json_integer_value(json_object_get(explained, "code")) != 0)
		(void)printf("  reply     %lld %s %s\n",
			     (long long)json_integer_value(
				     json_object_get(explained, "code")),
			     get(explained, "status"), get(explained, "reply"));
	(void)printf("  rule      %s\n", get(explained, "rule"));
	if (get(explained, "scenario")[0] != '\0')
		(void)printf("  scenario  %s\n", get(explained, "scenario"));
	if (get(explained, "config")[0] != '\0')
		(void)printf("  decided   %s\n", get(explained, "config"));
	(void)printf("\nrules, in the order they were tried\n");
	json_array_foreach(steps, index, one)(void)
		printf("  %s %-16s %s: %s\n",
		       json_is_true(json_object_get(one, "match")) ? "*" : " ",
		       get(one, "rule"), get(one, "looked_at"),
		       get(one, "outcome"));
	if (json_array_size(advice) != 0)
		(void)printf("\nwhat would change the answer\n");
	json_array_foreach(advice, index, one)(void)
		printf("  - %s\n", json_string_value(one));
	if (json_array_size(recipients) != 0)
		(void)printf("\nthe mail would go to\n");
	json_array_foreach(recipients, index, one) explain_print_hop(one);
}
