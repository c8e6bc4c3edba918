/* SPDX-License-Identifier: ISC */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "policy/builder_tables.h"

/* A route's name stands in keys, logs and tables. */
#define ROUTE_NAME_MAX 128

static bool
is_given(const struct sourced *value)
{
	return value->text != NULL && value->text[0] != '\0';
}

/* for = "*" / [ "." ] domain */
static void
add_for(struct builder *builder, struct route_row *row,
	const struct sourced *value)
{
	char pattern[ADDR_DOMAIN_MAX + 2] = "*";

	if (!is_given(value) || strcmp(value->text, "*") != 0) {
		const char *text = value->text;
		size_t dot = text[0] == '.';

		pattern[0] = '.';
		if (!addr_normalize_domain(str_of(text + dot), pattern + dot,
					   sizeof(pattern) - dot)) {
			builder_error(builder, value->at,
				      "for \"%s\" is no domain, .parent or *",
				      text);
			return;
		}
	}
	routes_add_pattern(&builder->policy->routes, pattern, row);
}

static void
set_sender(struct builder *builder, struct route_row *row,
	   const struct sourced *value)
{
	char address[ADDR_MAX + 2];
	const char *problem;

	if (!is_given(value))
		return;
	problem = builder_read_sender(str_of(value->text), address);
	if (problem != NULL)
		builder_error(builder, value->at, "sender \"%s\": %s",
			      value->text, problem);
	else
		row->sender = mem_strdup(address);
}

static void
add_via(struct builder *builder, struct route_row *row,
	const struct sourced *value, size_t count)
{
	struct target_text target;
	const char *problem = target_parse(str_of(value->text), &target);
	struct hop_target *added;
	char host[ADDR_DOMAIN_MAX + 1];

	/* of what a domain's deliver may be, a route is less */
	if (target_is_unknown(str_of(value->text)))
		problem = "is none of mx, smtp:HOST:PORT, smtps:HOST:PORT";
	else if (problem == NULL && target.kind != HOP_MX &&
		 target.kind != HOP_SMTP)
		problem = "cannot be used here: a route is mx, smtp: or smtps:";
	if (problem == NULL && target.kind == HOP_MX && count > 1)
		problem = "stands alone or not at all";
	if (problem != NULL) {
		builder_error(builder, value->at, "via \"%s\" %s", value->text,
			      problem);
		row->kind =
			HOP_SMTP; /* what was meant: no more is said of it */
		return;
	}
	row->kind = target.kind;
	if (target.kind == HOP_MX)
		return;
	row->targets = mem_append(row->targets, row->target_count,
				  sizeof(row->targets[0]));
	added = &row->targets[row->target_count++];
	(void)str_copy(host, sizeof(host), target.host);
	*added = (struct hop_target){
		.host = policy_keep(builder->policy, host),
		.port = target.port,
		.is_implicit_tls = target.is_implicit_tls,
	};
}

static void
set_tls(struct builder *builder, struct route_row *row,
	const struct sourced *value)
{
	static const struct {
		const char *word;
		enum hop_tls tls;
	} words[] = {
		{"none", HOP_TLS_NONE},
		{"opportunistic", HOP_TLS_OPPORTUNISTIC},
		{"required", HOP_TLS_REQUIRED},
		{"verified", HOP_TLS_VERIFIED},
		{"dane", HOP_TLS_DANE},
		{"sts", HOP_TLS_STS},
	};

	row->tls = HOP_TLS_OPPORTUNISTIC;
	if (!is_given(value))
		return;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcmp(words[i].word, value->text) == 0) {
			row->tls = words[i].tls;
			return;
		}
	}
	builder_error(builder, value->at,
		      "tls \"%s\" is none of none, opportunistic, required, "
		      "verified, dane, sts",
		      value->text);
}

static void
set_family(struct builder *builder, struct route_row *row,
	   const struct builder_route *route)
{
	const struct sourced *family = &route->family, *source = &route->source;

	row->family = HOP_FAMILY_ANY;
	if (is_given(family) && strcmp(family->text, "ipv4") == 0)
		row->family = HOP_FAMILY_V4;
	else if (is_given(family) && strcmp(family->text, "ipv6") == 0)
		row->family = HOP_FAMILY_V6;
	else if (is_given(family) && strcmp(family->text, "any") != 0)
		builder_error(builder, family->at,
			      "family \"%s\" is none of any, ipv4, ipv6",
			      family->text);
	if (!is_given(source))
		return;
	if (!ip_parse(str_of(source->text), &row->source))
		builder_error(builder, source->at,
			      "source \"%s\" is no IP address", source->text);
	else if ((row->family == HOP_FAMILY_V4 &&
		  row->source.family != IP_V4) ||
		 (row->family == HOP_FAMILY_V6 && row->source.family != IP_V6))
		builder_error(builder, source->at,
			      "source %s is not of family %s", source->text,
			      family->text);
}

static const char *
keep_given(struct policy *policy, const struct sourced *value)
{
	return is_given(value) ? policy_keep(policy, value->text) : NULL;
}

static void
set_login(struct builder *builder, struct route_row *row,
	  const struct builder_route *route)
{
	struct policy *policy = builder->policy;

	row->user = keep_given(policy, &route->user);
	row->password_file = keep_given(policy, &route->password_file);
	row->token_command = keep_given(policy, &route->token_command);
	if (row->user != NULL && row->password_file == NULL &&
	    row->token_command == NULL)
		builder_error(builder, route->user.at,
			      "user needs password_file or token_command");
	if (row->user == NULL && row->password_file != NULL)
		builder_error(builder, route->password_file.at,
			      "password_file needs user");
	if (row->user == NULL && row->token_command != NULL)
		builder_error(builder, route->token_command.at,
			      "token_command needs user");
	if (row->password_file != NULL && row->token_command != NULL)
		builder_error(builder, route->token_command.at,
			      "password_file and token_command exclude each "
			      "other");
	if (row->user != NULL && row->kind == HOP_MX)
		builder_error(builder, route->user.at,
			      "user would give the login to every host that an "
			      "MX record names: use via = \"smtp:HOST:PORT\"");
	if (route->mechanisms.count == 0)
		return;
	row->mechanisms = mem_zalloc((route->mechanisms.count + 1) *
				     sizeof(row->mechanisms[0]));
	for (size_t i = 0; i < route->mechanisms.count; i++)
		row->mechanisms[i] =
			policy_keep(policy, route->mechanisms.at[i].text);
}

static void
check_security(struct builder *builder, const struct route_row *row,
	       const struct builder_route *route)
{
	bool is_encrypted = row->target_count != 0, has_smtps = false;

	for (size_t i = 0; i < row->target_count; i++) {
		is_encrypted &= row->targets[i].is_implicit_tls;
		has_smtps |= row->targets[i].is_implicit_tls;
	}
	if (row->user != NULL && !is_encrypted &&
	    (row->tls == HOP_TLS_NONE || row->tls == HOP_TLS_OPPORTUNISTIC))
		builder_warn(builder, route->user.at,
			     "route \"%s\" may send its password without TLS: "
			     "set tls = \"required\" or \"verified\"",
			     row->name);
	if (row->tls == HOP_TLS_STS && row->kind != HOP_MX)
		builder_error(builder, route->tls.at,
			      "tls = \"sts\" works with via = \"mx\" alone: "
			      "the policy is the domain's");
	if (row->tls == HOP_TLS_NONE && has_smtps)
		builder_error(builder, route->tls.at,
			      "tls = \"none\" contradicts smtps:");
}

void
builder_add_route(struct builder *builder, const struct builder_route *route)
{
	struct routes *routes = &builder->policy->routes;
	struct route_row *row = mem_zalloc(sizeof(*row));

	row->name = mem_strdup(route->name.text);
	row->at = policy_keep(builder->policy, route->name.at);
	routes->rows = mem_append(routes->rows, routes->count,
				  sizeof(routes->rows[0]));
	routes->rows[routes->count++] = row;
	if (strlen(row->name) > ROUTE_NAME_MAX || row->name[0] == '\0')
		builder_error(builder, route->name.at,
			      "a route's name has 1 to %d octets",
			      ROUTE_NAME_MAX);
	set_sender(builder, row, &route->sender);
	for (size_t i = 0; i < route->for_domains.count; i++)
		add_for(builder, row, &route->for_domains.at[i]);
	if (route->for_domains.count == 0)
		builder_error(builder, route->name.at,
			      "route \"%s\" is for no domain", row->name);
	for (size_t i = 0; i < route->via.count; i++)
		add_via(builder, row, &route->via.at[i], route->via.count);
	if (route->via.count == 0)
		builder_error(builder, route->name.at,
			      "route \"%s\" has an empty via", row->name);
	set_tls(builder, row, &route->tls);
	set_family(builder, row, route);
	set_login(builder, row, route);
	check_security(builder, row, route);
	row->connections = route->connections;
	row->messages_per_connection = route->messages_per_connection;
	row->rate_count = route->rate.count;
	row->rate_period_s = route->rate.period_s;
}
