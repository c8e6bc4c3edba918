/* SPDX-License-Identifier: ISC */
#include "policy/policy.h"

#include <stdlib.h>

#include "lib/mem.h"
#include "policy/state.h"

struct policy *
policy_ref(struct policy *policy)
{
	(void)__atomic_add_fetch(&policy->refs, 1, __ATOMIC_RELAXED);
	return policy;
}

void
policy_unref(struct policy *policy)
{
	if (policy == NULL ||
	    __atomic_sub_fetch(&policy->refs, 1, __ATOMIC_ACQ_REL) != 0)
		return;
	for (size_t i = 0; i < policy->domains.count; i++)
		domain_row_free(policy->domains.rows[i]);
	free(policy->domains.rows);
	domain_row_free(policy->domains.any);
	routes_done(&policy->routes);
	for (size_t i = 0; i < policy->sender_count; i++) {
		free(policy->senders[i].login);
		free(policy->senders[i].address);
	}
	free(policy->senders);
	free(policy->trusted);
	free(policy->trusted_at);
	free(policy->hostname);
	free(policy->qualify);
	names_done(&policy->texts);
	free(policy);
}

const char *
policy_keep(struct policy *policy, const char *text)
{
	if (text == NULL)
		return NULL;
	names_add(&policy->texts, text);
	return policy->texts.at[policy->texts.count - 1];
}

const char *
policy_rule_name(enum policy_rule rule)
{
	switch (rule) {
	case RULE_NONE:
		return "none";
	case RULE_LOGIN:
		return "login";
	case RULE_TRUSTED_NETWORK:
		return "trusted-network";
	case RULE_LOCAL_DOMAIN:
		return "local-domain";
	case RULE_BACKUP_DOMAIN:
		return "backup-domain";
	case RULE_POSTMASTER:
		return "postmaster";
	case RULE_RELAY_DENIED:
		return "relay-denied";
	case RULE_MX_POINTS_HERE:
		return "mx-points-here";
	case RULE_AUTH_REQUIRED:
		return "auth-required";
	case RULE_UNKNOWN_USER:
		return "unknown-user";
	case RULE_NO_DOMAIN:
		return "no-domain";
	case RULE_SENDER_BINDING:
		return "sender-binding";
	case RULE_BAD_LOCAL_PART:
		return "local-part";
	case RULE_SOURCE_ROUTE:
		return "source-route";
	}
	return "none";
}

const char *
policy_scenario_name(enum policy_scenario scenario)
{
	switch (scenario) {
	case SCENARIO_NONE:
		return "none";
	case SCENARIO_OURS_SUBMISSION:
		return "ours-submission";
	case SCENARIO_OURS_INBOUND:
		return "ours-inbound";
	case SCENARIO_REMOTE:
		return "remote";
	}
	return "none";
}

const char *
policy_hostname(const struct policy *policy)
{
	return policy->hostname;
}

const char *
policy_qualify(const struct policy *policy)
{
	return policy->qualify;
}

const char *
policy_postmaster(const struct policy *policy)
{
	return policy->postmaster.text;
}

bool
policy_is_our_postmaster(const struct policy *policy, const struct addr *addr)
{
	if (!match_is_postmaster(addr))
		return false;
	if (addr->domain_len == 0)
		return true;
	return str_is_nocase(addr_domain(addr), policy->hostname) &&
	       domains_find(&policy->domains, addr_domain(addr)) == NULL;
}

struct addr
policy_qualified(const struct policy *policy, const struct addr *addr)
{
	struct addr copy = *addr;

	if (copy.text[0] != '\0' && copy.domain_len == 0)
		(void)addr_qualify(&copy, policy->qualify);
	return copy;
}

static void
expand_alias(const struct alias *alias,
	     void (*each)(void *arg, const struct addr *final), void *arg)
{
	for (size_t i = 0; i < alias->count; i++) {
		struct addr final = mailbox_addr(&alias->targets[i]);

		each(arg, &final);
	}
}

void
policy_expand(const struct policy *policy, const struct addr *recipient,
	      void (*each)(void *arg, const struct addr *final), void *arg)
{
	struct addr addr = policy_is_our_postmaster(policy, recipient)
				   ? policy->postmaster
				   : policy_qualified(policy, recipient);
	const struct domain_row *row =
		domains_find(&policy->domains, addr_domain(&addr));
	const struct alias *alias = NULL;

	if (row != NULL) {
		alias = domain_row_alias(row, &addr);
		/* a row that lists its users need not list its postmaster */
		if (alias == NULL && match_is_postmaster(&addr) &&
		    !domain_row_knows(row, &addr)) {
			addr = policy->postmaster;
			row = domains_find(&policy->domains,
					   addr_domain(&addr));
			if (row != NULL)
				alias = domain_row_alias(row, &addr);
		}
	}
	if (alias != NULL)
		expand_alias(alias, each, arg);
	else
		each(arg, &addr);
}
