/* SPDX-License-Identifier: ISC */
#include "policy/domains.h"

#include <stdlib.h>
#include <string.h>

static int
row_compare(const void *key, const void *element)
{
	const struct str *domain = key;
	const struct domain_row *const *row = element;
	size_t len = strlen((*row)->name);
	size_t shorter = domain->len < len ? domain->len : len;
	int order = memcmp(domain->at, (*row)->name, shorter);

	if (order != 0)
		return order;
	return domain->len < len ? -1 : domain->len > len;
}

static const struct domain_row *
domains_find_exact(const struct domains *domains, struct str domain)
{
	struct domain_row **found;

	if (domains->count == 0 || domain.len == 0)
		return NULL;
	found = bsearch(&domain, domains->rows, domains->count,
			sizeof(domains->rows[0]), row_compare);
	return found != NULL ? *found : NULL;
}

const struct domain_row *
domains_find(const struct domains *domains, struct str domain)
{
	const struct domain_row *row = domains_find_exact(domains, domain);
	struct str rest = domain, label;

	if (row != NULL || domain.len == 0)
		return row;
	if (!addr_is_literal(domain)) {
		while (str_cut(&rest, '.', &label)) {
			row = domains_find_exact(domains, rest);
			if (row != NULL && row->has_subdomains)
				return row;
		}
	}
	return domains->any;
}

static int
alias_compare(const void *key, const void *element)
{
	const struct alias *alias = element;

	return strcmp(key, alias->key);
}

static struct alias *
row_alias_named(const struct domain_row *row, const char *local)
{
	if (row->alias_count == 0)
		return NULL;
	return bsearch(local, row->aliases, row->alias_count,
		       sizeof(row->aliases[0]), alias_compare);
}

struct alias *
domain_row_alias(const struct domain_row *row, const struct addr *recipient)
{
	char local[MATCH_LOCAL_SIZE];
	struct alias *alias;

	alias = row_alias_named(row, match_local(recipient, local));
	if (alias != NULL)
		return alias;
	if (row->catch_all != NULL && (names_has(&row->recipients, local) ||
				       names_has(&row->targets, local)))
		return NULL;
	if (match_cut(local, row->delimiter)) {
		alias = row_alias_named(row, local);
		if (alias != NULL)
			return alias;
		if (names_has(&row->recipients, local) ||
		    names_has(&row->targets, local))
			return NULL;
	}
	return row->catch_all;
}

/* Is its name written somewhere: in recipients or as an alias (no "*")? */
static bool
domain_row_names(const struct domain_row *row, const struct addr *recipient)
{
	char local[MATCH_LOCAL_SIZE];

	(void)match_local(recipient, local);
	do {
		if (names_has(&row->recipients, local) ||
		    row_alias_named(row, local) != NULL)
			return true;
	} while (match_cut(local, row->delimiter));
	return false;
}

bool
domain_row_knows(const struct domain_row *row, const struct addr *recipient)
{
	return !row->has_recipients || row->catch_all != NULL ||
	       domain_row_names(row, recipient);
}

bool
domain_row_cannot_store(const struct domain_row *row,
			const struct addr *recipient)
{
	char name[MATCH_LOCAL_SIZE];

	return row->kind == HOP_MAILDIR &&
	       !policy_mailbox_name(recipient, row->delimiter, name,
				    sizeof(name));
}

struct addr
mailbox_addr(const struct mailbox *mailbox)
{
	struct addr addr = {
		.local_len = mailbox->local_len,
		.domain_len = mailbox->domain_len,
		.is_utf8 = mailbox->is_utf8,
	};

	(void)str_copy(addr.text, sizeof(addr.text), str_of(mailbox->text));
	return addr;
}

static void
alias_done(struct alias *alias)
{
	free(alias->key);
	free(alias->targets);
}

void
domain_row_free(struct domain_row *row)
{
	if (row == NULL)
		return;
	for (size_t i = 0; i < row->alias_count; i++)
		alias_done(&row->aliases[i]);
	free(row->aliases);
	if (row->catch_all != NULL)
		alias_done(row->catch_all);
	free(row->catch_all);
	names_done(&row->recipients);
	names_done(&row->targets);
	free(row->maildir);
	free(row->name);
	free(row);
}
