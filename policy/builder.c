/* SPDX-License-Identifier: ISC */
#include "policy/builder.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "policy/builder_tables.h"
#include "policy/state.h"

/* Shorter prefixes of trusted networks are a mistake, not a network. */
#define SHORTEST_V4	   8
#define SHORTEST_V6	   16
#define SHORTEST_V4_PUBLIC 16
#define SHORTEST_V6_PUBLIC 32

/* ---------------------------------------------------------------- report */

void
builder_error(struct builder *builder, const char *at, const char *format, ...)
{
	char text[1024];
	va_list args;

	builder->has_errors = true;
	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	builder->report(builder->arg, BUILDER_ERROR, at, text);
}

void
builder_warn(struct builder *builder, const char *at, const char *format, ...)
{
	char text[1024];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	builder->report(builder->arg, BUILDER_WARNING, at, text);
}

struct builder *
builder_new(builder_report_fn *report, void *arg)
{
	struct builder *builder = mem_zalloc(sizeof(*builder));

	builder->report = report;
	builder->arg = arg;
	builder->policy = mem_zalloc(sizeof(*builder->policy));
	builder->policy->refs = 1;
	builder->policy->defers_points_here = true;
	builder->policy->binding = BINDING_DOMAIN;
	return builder;
}

static bool
is_given(const struct sourced *value)
{
	return value->text != NULL && value->text[0] != '\0';
}

/* ----------------------------------------------------------------- relay */

/* A domain name of the configuration in its one spelling; "" on error. */
static char *
read_domain(struct builder *builder, const struct sourced *value,
	    const char *what)
{
	char name[ADDR_DOMAIN_MAX + 1];

	if (!is_given(value))
		return mem_strdup("");
	if (addr_normalize_domain(str_of(value->text), name, sizeof(name)) &&
	    !addr_is_literal(str_of(name)))
		return mem_strdup(name);
	builder_error(builder, value->at, "%s \"%s\" is no domain name", what,
		      value->text);
	return mem_strdup("");
}

static bool
is_public(const struct cidr *network)
{
	return !ip_is_private(&network->ip);
}

static void
check_trusted(struct builder *builder, const struct sourced *value,
	      const struct cidr *network)
{
	bool is_v4 = network->ip.family == IP_V4;

	if (network->bits == 0)
		builder_error(builder, value->at,
			      "trusted network %s holds every address: anybody "
			      "could relay through this server",
			      value->text);
	else if (network->bits < (is_v4 ? SHORTEST_V4 : SHORTEST_V6))
		builder_error(builder, value->at,
			      "trusted network %s is far too large: it would "
			      "open the relay to strangers",
			      value->text);
	else if (is_public(network) &&
		 network->bits <
			 (is_v4 ? SHORTEST_V4_PUBLIC : SHORTEST_V6_PUBLIC))
		builder_warn(builder, value->at,
			     "trusted network %s is large and public: all of "
			     "it may relay without a login",
			     value->text);
	else if (!is_public(network) && !ip_is_loopback(&network->ip))
		builder_warn(builder, value->at,
			     "trusted network %s is private: behind a NAT or a "
			     "container's proxy all clients look as if they "
			     "came from there",
			     value->text);
}

static void
add_trusted(struct builder *builder, const struct sourced *value)
{
	struct policy *policy = builder->policy;
	struct cidr network;

	if (!cidr_parse(str_of(value->text), &network)) {
		if (value->text[0] == '[')
			builder_error(builder, value->at,
				      "\"%s\" is no network: write it without "
				      "brackets",
				      value->text);
		else
			builder_error(builder, value->at,
				      "\"%s\" is no network (\"192.0.2.0/24\" "
				      "with no bits behind the prefix)",
				      value->text);
		return;
	}
	check_trusted(builder, value, &network);
	policy->trusted = mem_append(policy->trusted, policy->trusted_count,
				     sizeof(policy->trusted[0]));
	policy->trusted_at =
		mem_append(policy->trusted_at, policy->trusted_count,
			   sizeof(policy->trusted_at[0]));
	policy->trusted[policy->trusted_count] = network;
	policy->trusted_at[policy->trusted_count++] =
		policy_keep(policy, value->at);
}

static void
set_binding(struct builder *builder, const struct builder_relay *relay)
{
	const struct sourced *binding = &relay->sender_binding;
	struct policy *policy = builder->policy;

	policy->binding_at = policy_keep(policy, binding->at);
	if (!is_given(binding) || strcmp(binding->text, "domain") == 0)
		policy->binding = BINDING_DOMAIN;
	else if (strcmp(binding->text, "any") == 0)
		policy->binding = BINDING_ANY;
	else if (strcmp(binding->text, "login") == 0)
		policy->binding = BINDING_LOGIN;
	else
		builder_error(builder, binding->at,
			      "sender_binding \"%s\" is none of any, domain, "
			      "login",
			      binding->text);
	if (policy->binding == BINDING_LOGIN && !is_given(&relay->senders.file))
		builder_error(builder, binding->at,
			      "sender_binding = \"login\" needs the file "
			      "relay.senders");
	if (policy->binding != BINDING_LOGIN && is_given(&relay->senders.file))
		builder_warn(builder, relay->senders.file.at,
			     "senders is read only with sender_binding = "
			     "\"login\"");
	builder_add_senders(builder, &relay->senders);
}

static void
set_postmaster(struct builder *builder, const struct sourced *value)
{
	const char *problem;

	builder->postmaster_at = policy_keep(builder->policy, value->at);
	builder->has_postmaster = is_given(value);
	if (!builder->has_postmaster)
		return;
	problem = addr_parse(str_of(value->text), ADDR_ALLOW_UTF8,
			     &builder->policy->postmaster);
	if (problem != NULL)
		builder_error(builder, value->at, "postmaster \"%s\": %s",
			      value->text, problem);
}

void
builder_set_relay(struct builder *builder, const struct builder_relay *relay)
{
	struct policy *policy = builder->policy;
	const struct sourced *points_here = &relay->mx_points_here;

	policy->hostname = read_domain(builder, &relay->hostname, "hostname");
	policy->qualify = read_domain(builder, &relay->qualify, "qualify");
	policy->submission_port = relay->submission_port;
	set_postmaster(builder, &relay->postmaster);
	for (size_t i = 0; i < relay->trusted_networks.count; i++)
		add_trusted(builder, &relay->trusted_networks.at[i]);
	policy->points_here_at = policy_keep(policy, points_here->at);
	if (is_given(points_here)) {
		policy->defers_points_here =
			strcmp(points_here->text, "deny") != 0;
		if (policy->defers_points_here &&
		    strcmp(points_here->text, "defer") != 0)
			builder_error(builder, points_here->at,
				      "mx_points_here \"%s\" is none of defer, "
				      "deny",
				      points_here->text);
	}
	set_binding(builder, relay);
}

/* --------------------------------------------------------------- domains */

static void
keep_target(struct policy *policy, const struct target_text *text,
	    struct hop_target *out)
{
	char host[ADDR_DOMAIN_MAX + 1], path[4096];

	memset(out, 0, sizeof(*out));
	if (text->path.len != 0) {
		(void)str_copy(path, sizeof(path), text->path);
		out->unix_path = policy_keep(policy, path);
		return;
	}
	(void)str_copy(host, sizeof(host), text->host);
	out->host = policy_keep(policy, host);
	out->port = text->port;
	out->is_implicit_tls = text->is_implicit_tls;
}

/* sun_path of a unix socket holds this much with its NUL. */
#define SOCKET_PATH_MAX 107

static void
set_deliver(struct builder *builder, struct domain_row *row,
	    const struct sourced *deliver)
{
	struct target_text target;
	const char *problem;

	if (!is_given(deliver)) {
		builder_error(builder, row->at,
			      "domain \"%s\" needs deliver = \"...\"",
			      row->name);
		return;
	}
	problem = target_parse(str_of(deliver->text), &target);
	if (problem == NULL && target.is_implicit_tls)
		problem = "cannot be used here: smtps: is for routes";
	if (problem == NULL && target.kind == HOP_LMTP &&
	    target.path.len > SOCKET_PATH_MAX)
		problem = "has too long a path for a socket";
	if (problem != NULL) {
		builder_error(builder, deliver->at, "deliver \"%s\" %s",
			      deliver->text, problem);
		return;
	}
	row->kind = target.kind;
	row->is_backup = target.kind == HOP_MX;
	if (target.kind == HOP_MAILDIR)
		row->maildir = mem_dup(target.path.at, target.path.len);
	else
		keep_target(builder->policy, &target, &row->target);
}

static void
set_delimiter(struct builder *builder, struct domain_row *row,
	      const struct sourced *delimiter)
{
	/* what separates nothing else in a local part (RFC 5321, 4.1.2) */
	static const char allowed[] = "+-=_#$&*~^'{}|";

	if (!is_given(delimiter))
		return;
	if (strlen(delimiter->text) != 1 ||
	    strchr(allowed, delimiter->text[0]) == NULL) {
		builder_error(builder, delimiter->at,
			      "delimiter \"%s\" is not one character of %s",
			      delimiter->text, allowed);
		return;
	}
	row->delimiter[0] = delimiter->text[0];
}

static bool
forwards(const struct domain_row *row)
{
	return row->kind != HOP_MAILDIR && row->kind != HOP_DISCARD;
}

/* What would make this server carry strangers' mail to anywhere. */
static void
check_open_domain(struct builder *builder, const struct domain_row *row,
		  const struct sourced *deliver)
{
	if (strcmp(row->name, "*") == 0) {
		if (forwards(row))
			builder_error(builder, deliver->at,
				      "domain \"*\" with deliver = \"%s\" "
				      "would be an open relay: only maildir: "
				      "and discard can take all domains",
				      deliver->text);
		return;
	}
	if (!row->has_subdomains || strchr(row->name, '.') != NULL)
		return;
	if (row->kind == HOP_MX)
		builder_error(builder, row->at,
			      "domain \"%s\" with subdomains and deliver = "
			      "\"mx\" would be an open relay for a whole "
			      "top-level domain",
			      row->name);
	else
		builder_warn(builder, row->at,
			     "domain \"%s\" with subdomains takes a whole "
			     "top-level domain",
			     row->name);
}

static bool
domain_is_known(const struct domains *domains, const struct domain_row *row)
{
	if (strcmp(row->name, "*") == 0)
		return domains->any != NULL;
	for (size_t i = 0; i < domains->count; i++)
		if (strcmp(domains->rows[i]->name, row->name) == 0)
			return true;
	return false;
}

static void
keep_row(struct builder *builder, struct domain_row *row)
{
	struct domains *domains = &builder->policy->domains;

	if (strcmp(row->name, "*") == 0) {
		domains->any = row;
		return;
	}
	domains->rows = mem_append(domains->rows, domains->count,
				   sizeof(domains->rows[0]));
	domains->rows[domains->count++] = row;
}

void
builder_add_domain(struct builder *builder, const struct builder_domain *domain)
{
	struct policy *policy = builder->policy;
	struct domain_row *row = mem_zalloc(sizeof(*row));
	char name[ADDR_DOMAIN_MAX + 1] = "*";

	row->at = policy_keep(policy, domain->name.at);
	row->has_subdomains = domain->has_subdomains;
	if (strcmp(domain->name.text, "*") != 0 &&
	    (!addr_normalize_domain(str_of(domain->name.text), name,
				    sizeof(name)) ||
	     addr_is_literal(str_of(name)))) {
		builder_error(builder, domain->name.at,
			      "domain \"%s\" is no domain name",
			      domain->name.text);
		domain_row_free(row);
		return;
	}
	row->name = mem_strdup(name);
	if (domain_is_known(&policy->domains, row)) {
		builder_error(builder, domain->name.at,
			      "domain \"%s\" is there already", name);
		domain_row_free(row);
		return;
	}
	set_deliver(builder, row, &domain->deliver);
	set_delimiter(builder, row, &domain->delimiter);
	check_open_domain(builder, row, &domain->deliver);
	builder_add_recipients(builder, row, &domain->recipients);
	builder_add_aliases(builder, row, &domain->aliases);
	if (builder->first_domain == NULL && strcmp(name, "*") != 0)
		builder->first_domain = row;
	keep_row(builder, row);
}

/* ---------------------------------------------------------------- finish */

static int
row_order(const void *a, const void *b)
{
	const struct domain_row *const *x = a, *const *y = b;

	return strcmp((*x)->name, (*y)->name);
}

static void
set_defaults(struct builder *builder)
{
	struct policy *policy = builder->policy;
	const struct domain_row *first = builder->first_domain;
	const char *home;
	char text[ADDR_MAX + 1];

	if (policy->hostname == NULL)
		policy->hostname = mem_strdup("");
	if (policy->qualify == NULL)
		policy->qualify = mem_strdup("");
	home = first != NULL ? first->name : policy->hostname;
	if (policy->qualify[0] == '\0') {
		free(policy->qualify);
		policy->qualify = mem_strdup(home);
	}
	if (builder->has_postmaster)
		return;
	(void)snprintf(text, sizeof(text), "postmaster@%s", home);
	/* a hostname that is none has been reported */
	(void)addr_parse(str_of(text), 0, &policy->postmaster);
}

static void
check_postmaster(struct builder *builder)
{
	const struct policy *policy = builder->policy;
	const struct addr *to = &policy->postmaster;
	const struct domain_row *row =
		domains_find(&policy->domains, addr_domain(to));

	if (to->text[0] == '\0')
		return;
	if (row == NULL && str_is_nocase(addr_domain(to), policy->hostname))
		builder_warn(builder, builder->postmaster_at,
			     "mail for the postmaster has no place to go: set "
			     "postmaster = \"...\" or add a domain");
	else if (row != NULL && row->has_recipients &&
		 !domain_row_knows(row, to))
		builder_warn(builder, builder->postmaster_at,
			     "postmaster <%s> is neither a recipient nor an "
			     "alias of domain \"%s\"",
			     to->text, row->name);
}

static void
check_binding(struct builder *builder)
{
	const struct policy *policy = builder->policy;

	if (policy->binding == BINDING_DOMAIN && policy->domains.count == 0 &&
	    policy->domains.any == NULL && policy->submission_port != 0)
		builder_warn(builder, policy->binding_at,
			     "sender_binding = \"domain\" without any domain: "
			     "logins can send with the null sender alone (set "
			     "relay.sender_binding)");
}

struct policy *
builder_finish(struct builder *builder)
{
	struct policy *policy = builder->policy;
	struct domains *domains = &policy->domains;

	if (domains->count != 0)
		qsort(domains->rows, domains->count, sizeof(domains->rows[0]),
		      row_order);
	set_defaults(builder);
	builder_sort_senders(builder);
	builder_flatten_aliases(builder);
	routes_sort(&policy->routes);
	check_postmaster(builder);
	check_binding(builder);
	if (builder->has_errors) {
		policy_unref(policy);
		policy = NULL;
	}
	free(builder);
	return policy;
}
