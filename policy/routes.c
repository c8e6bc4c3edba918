/* SPDX-License-Identifier: ISC */
#include "policy/routes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "policy/state.h"

/* ---------------------------------------------------------------- rows */

void
routes_add_pattern(struct routes *routes, const char *pattern,
		   const struct route_row *row)
{
	struct route_pattern *added;

	routes->patterns = mem_append(routes->patterns, routes->pattern_count,
				      sizeof(routes->patterns[0]));
	added = &routes->patterns[routes->pattern_count];
	added->text = mem_strdup(pattern);
	added->row = row;
	added->sender_rank = row->sender == NULL     ? 2
			     : row->sender[0] == '@' ? 1
						     : 0;
	added->order = routes->pattern_count++;
}

static int
pattern_compare(const void *a, const void *b)
{
	const struct route_pattern *x = a, *y = b;
	int order = strcmp(x->text, y->text);

	if (order != 0)
		return order;
	if (x->sender_rank != y->sender_rank)
		return x->sender_rank < y->sender_rank ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

void
routes_sort(struct routes *routes)
{
	if (routes->pattern_count != 0)
		qsort(routes->patterns, routes->pattern_count,
		      sizeof(routes->patterns[0]), pattern_compare);
}

void
routes_done(struct routes *routes)
{
	for (size_t i = 0; i < routes->pattern_count; i++)
		free(routes->patterns[i].text);
	free(routes->patterns);
	for (size_t i = 0; i < routes->count; i++) {
		free(routes->rows[i]->name);
		free(routes->rows[i]->sender);
		free(routes->rows[i]->targets);
		free(routes->rows[i]->mechanisms);
		free(routes->rows[i]);
	}
	free(routes->rows);
	memset(routes, 0, sizeof(*routes));
}

static int
pattern_order(struct str text, const char *pattern)
{
	size_t len = strlen(pattern);
	size_t shorter = text.len < len ? text.len : len;
	int order = memcmp(text.at, pattern, shorter);

	if (order != 0)
		return order;
	return text.len < len ? -1 : text.len > len;
}

/* "local@domain" with the local part as tables hold it, into to. */
static void
sender_text(const struct addr *sender, char to[ADDR_MAX + 2])
{
	char local[MATCH_LOCAL_SIZE];

	(void)snprintf(to, ADDR_MAX + 2, "%s@%.*s", match_local(sender, local),
		       STR_ARG(addr_domain(sender)));
}

static bool
sender_matches(const struct route_row *row, const char *sender)
{
	if (row->sender == NULL)
		return true;
	if (row->sender[0] == '@')
		sender = strrchr(sender, '@');
	return sender != NULL && strcmp(sender, row->sender) == 0;
}

/* The first pattern with that text whose row takes this sender. */
static const struct route_row *
routes_match(const struct routes *routes, const char *sender, struct str text)
{
	size_t low = 0, high = routes->pattern_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (pattern_order(text, routes->patterns[middle].text) > 0)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < routes->pattern_count &&
	       pattern_order(text, routes->patterns[low].text) == 0;
	     low++)
		if (sender_matches(routes->patterns[low].row, sender))
			return routes->patterns[low].row;
	return NULL;
}

/* The row for mail from sender to a (normalised) domain; NULL: no row. */
static const struct route_row *
routes_find(const struct routes *routes, const struct addr *sender,
	    struct str domain)
{
	const struct route_row *row;
	char from[ADDR_MAX + 2];

	if (domain.len == 0)
		return NULL;
	sender_text(sender, from);
	row = routes_match(routes, from, domain);
	/* each dot of the domain begins a ".parent", the closest first */
	for (size_t i = 1; row == NULL && i < domain.len; i++)
		if (domain.at[i] == '.')
			row = routes_match(routes, from,
					   str_from(domain.at + i,
						    domain.len - i));
	if (row == NULL)
		row = routes_match(routes, from, str_of("*"));
	return row;
}

/* ------------------------------------------------------------- next hop */

static void
hop_defaults(struct next_hop *hop, const struct addr *recipient)
{
	memset(hop, 0, sizeof(*hop));
	(void)str_copy(hop->domain, sizeof(hop->domain),
		       addr_domain(recipient));
	hop->kind = HOP_MX;
	hop->tls = HOP_TLS_OPPORTUNISTIC;
	hop->connections = 10;
	hop->messages_per_connection = 100;
	hop->delimiter = "";
	str_join(hop->key, sizeof(hop->key), "mx ", hop->domain, NULL);
}

static void
hop_from_domain(struct next_hop *hop, const struct domain_row *row)
{
	hop->kind = row->kind;
	hop->is_local = true;
	hop->is_backup = row->is_backup;
	hop->config_at = row->at;
	hop->delimiter = row->delimiter;
	hop->maildir = row->maildir;
	if (row->kind == HOP_SMTP || row->kind == HOP_LMTP) {
		hop->targets = &row->target;
		hop->target_count = 1;
	}
	if (row->kind != HOP_MX)
		str_join(hop->key, sizeof(hop->key), "domain ", row->name,
			 NULL);
}

static void
hop_from_route(struct next_hop *hop, const struct route_row *row)
{
	hop->kind = row->kind;
	hop->config_at = row->at;
	hop->targets = row->targets;
	hop->target_count = row->target_count;
	hop->tls = row->tls;
	hop->user = row->user;
	hop->password_file = row->password_file;
	hop->token_command = row->token_command;
	hop->mechanisms = row->mechanisms;
	hop->family = row->family;
	hop->source = row->source;
	hop->connections = row->connections;
	hop->messages_per_connection = row->messages_per_connection;
	hop->rate_count = row->rate_count;
	hop->rate_period_s = row->rate_period_s;
	if (row->kind != HOP_MX)
		str_join(hop->key, sizeof(hop->key), "route ", row->name, NULL);
}

void
policy_next_hop(const struct policy *policy, const struct addr *sender,
		const struct addr *recipient, struct next_hop *out,
		struct trace *trace)
{
	struct addr addr = policy_qualified(policy, recipient);
	const struct domain_row *domain =
		domains_find(&policy->domains, addr_domain(&addr));
	const struct route_row *route;
	struct trace_step *step;

	hop_defaults(out, &addr);
	step = trace_add(trace, "local-domain", domain != NULL);
	trace_looked_at(step, "domain %s in %zu local rows", out->domain,
			policy->domains.count + (policy->domains.any != NULL));
	if (domain != NULL) {
		hop_from_domain(out, domain);
		trace_outcome(step, "domain \"%s\" at %s", domain->name,
			      domain->at);
		return;
	}
	trace_outcome(step, "no: not a local domain");

	route = routes_find(&policy->routes, sender, addr_domain(&addr));
	step = trace_add(trace, "route", route != NULL);
	trace_looked_at(step, "domain %s, sender <%s> in %zu route rows",
			out->domain, sender->text, policy->routes.count);
	if (route == NULL) {
		trace_outcome(step, "none: by MX records");
		return;
	}
	hop_from_route(out, route);
	trace_outcome(step, "route \"%s\" at %s", route->name, route->at);
}

/* -------------------------------------------------------------- targets */

static bool
cut_prefix(struct str *text, const char *prefix)
{
	size_t len = strlen(prefix);

	if (!str_starts_nocase(*text, prefix))
		return false;
	text->at += len;
	text->len -= len;
	return true;
}

bool
target_is_unknown(struct str text)
{
	static const char *const forms[] = {"maildir:", "lmtp:", "smtps:",
					    "smtp:"};

	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
		if (str_starts_nocase(text, forms[i]))
			return false;
	return !str_is(text, "mx") && !str_is(text, "discard");
}

static const char *
target_parse_path(struct str path, struct target_text *out)
{
	if (path.len == 0 || path.at[0] != '/')
		return "needs an absolute path";
	out->path = path;
	return NULL;
}

const char *
target_parse(struct str text, struct target_text *out)
{
	struct target_text target = {.kind = HOP_MX};
	const char *problem = NULL;

	if (str_is(text, "mx") || str_is(text, "discard")) {
		target.kind = str_is(text, "mx") ? HOP_MX : HOP_DISCARD;
		*out = target;
		return NULL;
	}
	if (cut_prefix(&text, "maildir:")) {
		target.kind = HOP_MAILDIR;
		problem = target_parse_path(text, &target);
	} else if (cut_prefix(&text, "lmtp:unix:")) {
		target.kind = HOP_LMTP;
		problem = target_parse_path(text, &target);
	} else {
		char name[ADDR_DOMAIN_MAX + 1];
		struct ip ip;

		target.kind = HOP_SMTP;
		if (cut_prefix(&text, "lmtp:"))
			target.kind = HOP_LMTP;
		else if (cut_prefix(&text, "smtps:"))
			target.is_implicit_tls = true;
		else if (!cut_prefix(&text, "smtp:"))
			return "is none of mx, smtp:HOST:PORT, smtps:HOST:PORT,"
			       " lmtp:HOST:PORT, lmtp:unix:PATH, maildir:PATH, "
			       "discard";
		if (!ip_split_port(text, &target.host, &target.port) ||
		    target.port == 0)
			problem = "needs HOST:PORT (an IPv6 address in [])";
		else if (!ip_parse(target.host, &ip) &&
			 (!addr_normalize_domain(target.host, name,
						 sizeof(name)) ||
			  addr_is_literal(str_of(name))))
			problem = "has no host name or address before the port";
	}
	if (problem == NULL)
		*out = target;
	return problem;
}
