/* SPDX-License-Identifier: ISC */
#include "policy/builder_tables.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "policy/tables.h"

/* Places in tables named in one report at most. */
#define AT_MAX 512

static void
table_at(const struct table_source *source, unsigned line, char to[AT_MAX])
{
	(void)snprintf(to, AT_MAX, "%s:%u", source->file.text, line);
}

/* ------------------------------------------------------------ recipients */

/* A local part of this row's domain, with or without that domain. */
static const char *
read_local(const struct domain_row *row, struct str text, struct addr *out)
{
	const char *problem =
		addr_parse(text, ADDR_ALLOW_UTF8 | ADDR_ALLOW_NO_DOMAIN, out);

	/* as other servers' tables catch the rest */
	if (text.len != 0 && text.at[0] == '@')
		return "has no local part (among aliases \"*\" stands for all "
		       "the rest)";
	if (problem == NULL && out->text[0] == '\0')
		problem = "is no local part";
	if (problem == NULL && out->domain_len != 0 &&
	    !str_is(addr_domain(out), row->name))
		problem = "belongs to another domain";
	return problem;
}

void
builder_add_recipients(struct builder *builder, struct domain_row *row,
		       const struct table_source *source)
{
	struct table table;
	struct table_row line;
	char at[AT_MAX], local[MATCH_LOCAL_SIZE];
	struct addr addr;

	row->recipients_at = row->at;
	if (source->text.at == NULL)
		return;
	row->has_recipients = true;
	row->recipients_at = policy_keep(builder->policy, source->file.at);
	table_init(&table, TABLE_RECIPIENTS, source->text);
	while (table_next(&table, &line)) {
		const char *problem = line.problem;

		table_at(source, line.line, at);
		if (problem == NULL)
			problem = read_local(row, line.key, &addr);
		if (problem == NULL && domain_row_cannot_store(row, &addr))
			problem = "cannot name a folder";
		if (problem != NULL) {
			builder_error(builder, at, "recipient \"%.*s\": %s",
				      STR_ARG(line.key), problem);
			continue;
		}
		names_add(&row->recipients, match_local(&addr, local));
	}
	names_sort(&row->recipients);
	if (row->recipients.count == 0)
		builder_warn(builder, source->file.at,
			     "recipients file %s is empty: domain \"%s\" takes "
			     "its postmaster and aliases alone",
			     source->file.text, row->name);
}

/* --------------------------------------------------------------- aliases */

/* FNV-1a of the address as match_same sees it */
static uint32_t
address_hash(const struct addr *addr)
{
	char local[MATCH_LOCAL_SIZE];
	struct str domain = addr_domain(addr);
	uint32_t hash = 2166136261u;

	for (const char *c = match_local(addr, local); *c != '\0'; c++)
		hash = (hash ^ (unsigned char)*c) * 16777619u;
	for (size_t i = 0; i < domain.len; i++)
		hash = (hash ^ (unsigned char)str_lower(domain.at[i])) *
		       16777619u;
	return hash;
}

static struct mailbox
keep_mailbox(struct policy *policy, const struct addr *addr)
{
	return (struct mailbox){
		.text = policy_keep(policy, addr->text),
		.hash = address_hash(addr),
		.local_len = addr->local_len,
		.domain_len = addr->domain_len,
		.is_utf8 = addr->is_utf8,
	};
}

static void
alias_add(struct alias *alias, const struct mailbox *target)
{
	alias->targets = mem_append(alias->targets, alias->count,
				    sizeof(alias->targets[0]));
	alias->targets[alias->count++] = *target;
}

static bool
mailbox_equal(const struct mailbox *a, const struct mailbox *b)
{
	struct addr x, y;

	if (a->hash != b->hash)
		return false;
	if (a->text == b->text)
		return true;
	x = mailbox_addr(a);
	y = mailbox_addr(b);
	return match_same(&x, &y);
}

static bool
alias_has(const struct alias *alias, const struct mailbox *target)
{
	for (size_t i = 0; i < alias->count; i++)
		if (mailbox_equal(&alias->targets[i], target))
			return true;
	return false;
}

/* target: an address, or a local part of the row's own domain */
static const char *
read_target(const struct domain_row *row, struct str text, struct addr *out)
{
	const char *problem =
		addr_parse(text, ADDR_ALLOW_UTF8 | ADDR_ALLOW_NO_DOMAIN, out);

	/* what other servers' tables may have: never a local part by mistake */
	if (text.at[0] == '|' || text.at[0] == '/' || text.at[0] == ':')
		return "programs, files and :include: are no targets";
	if (problem != NULL)
		return problem;
	if (out->text[0] == '\0')
		return "is no address";
	if (out->domain_len != 0)
		return NULL;
	if (strcmp(row->name, "*") == 0)
		return "needs its domain in domain \"*\"";
	return addr_qualify(out, row->name) ? NULL : "is too long";
}

static void
add_targets(struct builder *builder, struct domain_row *row,
	    struct alias *alias, struct str list, const char *at)
{
	char local[MATCH_LOCAL_SIZE];
	struct str text;

	while (table_cut_address(&list, &text)) {
		struct addr addr;
		struct mailbox target;
		const char *problem;

		if (text.len == 0)
			continue;
		problem = read_target(row, text, &addr);
		if (problem != NULL) {
			alias->is_broken = true;
			builder_error(builder, at,
				      "alias \"%s\": target \"%.*s\": %s",
				      alias->key, STR_ARG(text), problem);
			continue;
		}
		target = keep_mailbox(builder->policy, &addr);
		alias_add(alias, &target);
		if (!str_is(addr_domain(&addr), row->name))
			continue;
		names_add(&row->targets, match_local(&addr, local));
		if (match_cut(local, row->delimiter))
			names_add(&row->targets, local);
	}
}

/* A new alias of the row, by the name before the ':'. */
static struct alias *
add_alias(struct builder *builder, struct domain_row *row, struct str name,
	  const char *at)
{
	char local[MATCH_LOCAL_SIZE] = "*";
	struct alias *alias;
	struct addr addr;

	if (!str_is(name, "*")) {
		const char *problem = read_local(row, name, &addr);

		if (problem != NULL) {
			builder_error(builder, at, "alias \"%.*s\": %s",
				      STR_ARG(name), problem);
			return NULL;
		}
		(void)match_local(&addr, local);
	}
	row->aliases = mem_append(row->aliases, row->alias_count,
				  sizeof(row->aliases[0]));
	alias = &row->aliases[row->alias_count++];
	memset(alias, 0, sizeof(*alias));
	alias->key = mem_strdup(local);
	alias->at = policy_keep(builder->policy, at);
	return alias;
}

static int
alias_order(const void *a, const void *b)
{
	const struct alias *x = a, *y = b;

	return strcmp(x->key, y->key);
}

static void
alias_free_parts(struct alias *alias)
{
	free(alias->key);
	free(alias->targets);
}

/* Sorts, reports repeats and empty ones, sets "*" apart. */
static void
finish_aliases(struct builder *builder, struct domain_row *row)
{
	size_t kept = 0;

	if (row->alias_count == 0)
		return;
	qsort(row->aliases, row->alias_count, sizeof(row->aliases[0]),
	      alias_order);
	for (size_t i = 0; i < row->alias_count; i++) {
		struct alias *alias = &row->aliases[i];
		bool is_star = strcmp(alias->key, "*") == 0;

		if ((kept != 0 &&
		     strcmp(row->aliases[kept - 1].key, alias->key) == 0) ||
		    (is_star && row->catch_all != NULL)) {
			builder_error(builder, alias->at,
				      "alias \"%s\" is there already",
				      alias->key);
			alias_free_parts(alias);
			continue;
		}
		if (alias->count == 0 && !alias->is_broken)
			builder_error(builder, alias->at,
				      "alias \"%s\" has no address",
				      alias->key);
		if (is_star) {
			row->catch_all = mem_zalloc(sizeof(*row->catch_all));
			*row->catch_all = *alias;
		} else {
			row->aliases[kept++] = *alias;
		}
	}
	row->alias_count = kept;
}

void
builder_add_aliases(struct builder *builder, struct domain_row *row,
		    const struct table_source *source)
{
	struct alias *alias = NULL;
	struct table table;
	struct table_row line;
	char at[AT_MAX];

	if (source->text.at == NULL)
		return;
	table_init(&table, TABLE_ALIASES, source->text);
	while (table_next(&table, &line)) {
		table_at(source, line.line, at);
		if (line.problem != NULL) {
			builder_error(builder, at, "%s", line.problem);
			alias = NULL;
			continue;
		}
		if (line.key.len != 0)
			alias = add_alias(builder, row, line.key, at);
		else if (table.line != 0 && alias == NULL)
			builder_error(builder, at,
				      "a line that begins with a space goes "
				      "on with an alias, but there is none");
		if (alias != NULL)
			add_targets(builder, row, alias, line.value, at);
	}
	names_sort(&row->targets);
	finish_aliases(builder, row);
}

/* --------------------------------------------------------------- flatten */

static void flatten(struct builder *builder, struct alias *alias,
		    const struct domain_row *row, unsigned depth);

static void
check_final(struct builder *builder, const struct alias *alias,
	    const struct domain_row *row, const struct addr *addr)
{
	if (row == NULL)
		return;
	if (domain_row_cannot_store(row, addr))
		builder_error(builder, alias->at,
			      "alias \"%s\": <%s> cannot name a folder",
			      alias->key, addr->text);
	else if (!domain_row_knows(row, addr) && !match_is_postmaster(addr))
		builder_warn(builder, alias->at,
			     "alias \"%s\": <%s> is no recipient of domain "
			     "\"%s\"",
			     alias->key, addr->text, row->name);
}

static void
flat_add(struct alias *flat, const struct mailbox *target)
{
	if (flat->count <= BUILDER_ALIAS_MAX && !alias_has(flat, target))
		alias_add(flat, target);
}

/* Adds what one target of alias leads to. */
static void
flatten_target(struct builder *builder, struct alias *alias,
	       const struct mailbox *target, struct alias *flat, unsigned depth)
{
	struct addr addr = mailbox_addr(target);
	const struct domain_row *row =
		domains_find(&builder->policy->domains, addr_domain(&addr));
	struct alias *next = row != NULL ? domain_row_alias(row, &addr) : NULL;

	/* "bob: bob, carol" keeps a copy: naming oneself is no loop */
	if (next == NULL || next == alias) {
		if (next == NULL)
			check_final(builder, alias, row, &addr);
		flat_add(flat, target);
		return;
	}
	if (next->state == ALIAS_OPEN) {
		builder_error(builder, alias->at,
			      "alias \"%s\" leads back to itself by <%s>",
			      next->key, addr.text);
		return;
	}
	if (next->state == ALIAS_WRITTEN)
		flatten(builder, next, row, depth + 1);
	for (size_t i = 0; i < next->count; i++)
		flat_add(flat, &next->targets[i]);
}

static void
flatten(struct builder *builder, struct alias *alias,
	const struct domain_row *row, unsigned depth)
{
	struct alias flat = {0};

	if (alias->state != ALIAS_WRITTEN)
		return;
	if (depth > BUILDER_ALIAS_DEPTH) {
		builder_error(builder, alias->at,
			      "alias \"%s\" of domain \"%s\" is behind more "
			      "than %d others",
			      alias->key, row->name, BUILDER_ALIAS_DEPTH);
		return;
	}
	alias->state = ALIAS_OPEN;
	for (size_t i = 0; i < alias->count; i++)
		flatten_target(builder, alias, &alias->targets[i], &flat,
			       depth);
	if (flat.count > BUILDER_ALIAS_MAX)
		builder_error(builder, alias->at,
			      "alias \"%s\" leads to more than %d recipients",
			      alias->key, BUILDER_ALIAS_MAX);
	free(alias->targets);
	alias->targets = flat.targets;
	alias->count = flat.count;
	alias->state = ALIAS_FLAT;
}

static void
flatten_row(struct builder *builder, struct domain_row *row)
{
	for (size_t i = 0; i < row->alias_count; i++)
		flatten(builder, &row->aliases[i], row, 0);
	if (row->catch_all != NULL)
		flatten(builder, row->catch_all, row, 0);
}

void
builder_flatten_aliases(struct builder *builder)
{
	struct domains *domains = &builder->policy->domains;

	for (size_t i = 0; i < domains->count; i++)
		flatten_row(builder, domains->rows[i]);
	if (domains->any != NULL)
		flatten_row(builder, domains->any);
}

/* --------------------------------------------------------------- senders */

const char *
builder_read_sender(struct str text, char to[ADDR_MAX + 2])
{
	char domain[ADDR_DOMAIN_MAX + 1], local[MATCH_LOCAL_SIZE];
	const char *problem;
	struct addr addr;

	if (text.len != 0 && text.at[0] == '@') {
		if (!addr_normalize_domain(str_from(text.at + 1, text.len - 1),
					   domain, sizeof(domain)))
			return "is no @domain";
		(void)snprintf(to, ADDR_MAX + 2, "@%s", domain);
		return NULL;
	}
	problem = addr_parse(text, ADDR_ALLOW_UTF8, &addr);
	if (problem != NULL)
		return problem;
	if (addr.text[0] == '\0')
		return "is no address";
	(void)snprintf(to, ADDR_MAX + 2, "%s@%.*s", match_local(&addr, local),
		       STR_ARG(addr_domain(&addr)));
	return NULL;
}

void
builder_add_senders(struct builder *builder, const struct table_source *source)
{
	struct policy *policy = builder->policy;
	char at[AT_MAX], address[ADDR_MAX + 2];
	struct table table;
	struct table_row line;

	if (source->text.at == NULL)
		return;
	table_init(&table, TABLE_SENDERS, source->text);
	while (table_next(&table, &line)) {
		const char *problem = line.problem;

		table_at(source, line.line, at);
		if (problem == NULL)
			problem = builder_read_sender(line.value, address);
		if (problem != NULL) {
			builder_error(builder, at, "sender row \"%.*s\": %s",
				      STR_ARG(line.value), problem);
			continue;
		}
		policy->senders =
			mem_append(policy->senders, policy->sender_count,
				   sizeof(policy->senders[0]));
		policy->senders[policy->sender_count++] = (struct sender_row){
			.login = mem_dup(line.key.at, line.key.len),
			.address = mem_strdup(address),
			.at = policy_keep(policy, at),
		};
	}
}

static int
sender_order(const void *a, const void *b)
{
	const struct sender_row *x = a, *y = b;
	int order = strcmp(x->login, y->login);

	return order != 0 ? order : strcmp(x->address, y->address);
}

void
builder_sort_senders(struct builder *builder)
{
	struct policy *policy = builder->policy;

	if (policy->sender_count != 0)
		qsort(policy->senders, policy->sender_count,
		      sizeof(policy->senders[0]), sender_order);
}
