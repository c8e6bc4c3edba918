/* SPDX-License-Identifier: ISC */
/*
 * The relay decision. Each rule is a function that looks at the facts, leaves
 * a step in the trace and returns true when it decided.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/state.h"

/* What of an address, a domain and our name is echoed at most, so that a
 * reply line with all three stays within its 512 octets. */
#define ECHO_ADDR_MAX	160
#define ECHO_DOMAIN_MAX 100

struct question {
	const struct policy *policy;
	const struct policy_facts *facts;
	struct addr recipient; /* qualified, on submission */
	const struct domain_row *row;
	struct verdict *out;
	struct trace *trace;
	char shown[ECHO_ADDR_MAX + 4]; /* the recipient as replies show it */
};

/* text, cut to max octets and "..." when it is longer. Returns to. */
static char *
echo(struct str text, char *to, size_t max)
{
	if (!str_copy(to, max + 1, text))
		memcpy(to + strlen(to), "...", 4);
	return to;
}

static char *
echo_addr(const struct addr *addr, char to[ECHO_ADDR_MAX + 4])
{
	return echo(str_of(addr->text), to, ECHO_ADDR_MAX);
}

static bool
decide(struct verdict *out, bool is_accepted, enum policy_rule rule,
       const char *config_at)
{
	out->is_accepted = is_accepted;
	out->rule = rule;
	out->config_at = config_at;
	return true;
}

static enum policy_scenario
scenario_of(enum policy_role role)
{
	switch (role) {
	case POLICY_MX:
		return SCENARIO_OURS_INBOUND;
	case POLICY_SUBMISSION:
		return SCENARIO_OURS_SUBMISSION;
	}
	return SCENARIO_NONE;
}

static const struct cidr *
find_trusted(const struct policy *policy, const struct policy_facts *facts)
{
	if (facts->role != POLICY_MX)
		return NULL;
	return cidr_find(policy->trusted, policy->trusted_count,
			 &facts->client);
}

bool
policy_is_stranger(const struct policy *policy,
		   const struct policy_facts *facts)
{
	return facts->login == NULL && find_trusted(policy, facts) == NULL;
}

bool
policy_has_trusted(const struct policy *policy)
{
	return policy->trusted_count != 0;
}

static void
advise_login(const struct policy *policy, struct trace *trace)
{
	if (policy->submission_port != 0)
		trace_advice(trace, "log in at %s:%u", policy->hostname,
			     policy->submission_port);
}

/* ---------------------------------------------------------------- sender */

static bool
is_unix_login(const char *login)
{
	return strncmp(login, "unix:", 5) == 0;
}

static bool
is_local_or_ours(const struct policy *policy, struct str domain)
{
	return domains_find(&policy->domains, domain) != NULL ||
	       str_is_nocase(domain, policy->hostname);
}

static int
sender_row_compare(const void *key, const void *element)
{
	const struct sender_row *wanted = key, *row = element;
	int order = strcmp(wanted->login, row->login);

	return order != 0 ? order : strcmp(wanted->address, row->address);
}

static const struct sender_row *
find_sender_row(const struct policy *policy, const char *login,
		const char *address)
{
	struct sender_row wanted = {.login = (char *)login,
				    .address = (char *)address};

	if (policy->sender_count == 0)
		return NULL;
	return bsearch(&wanted, policy->senders, policy->sender_count,
		       sizeof(policy->senders[0]), sender_row_compare);
}

/* The senders row that gives this address to this login, or NULL. */
static const struct sender_row *
find_owned(const struct policy *policy, const char *login,
	   const struct addr *sender)
{
	const struct domain_row *row =
		domains_find(&policy->domains, addr_domain(sender));
	char local[MATCH_LOCAL_SIZE], address[MATCH_LOCAL_SIZE + ADDR_MAX + 2];
	const struct sender_row *found;

	(void)match_local(sender, local);
	do {
		(void)snprintf(address, sizeof(address), "%s@%.*s", local,
			       STR_ARG(addr_domain(sender)));
		found = find_sender_row(policy, login, address);
	} while (found == NULL && row != NULL &&
		 match_cut(local, row->delimiter));
	if (found == NULL)
		found = find_sender_row(policy, login, strrchr(address, '@'));
	return found;
}

static bool
binding_allows(const struct policy *policy, const char *login,
	       const struct addr *sender, struct trace_step *step,
	       const char **out_at)
{
	const struct sender_row *owned;
	bool is_allowed = false;

	*out_at = policy->binding_at;
	if (policy->binding == BINDING_ANY) {
		trace_looked_at(step, "sender_binding = \"any\"");
		return true;
	}
	if (is_unix_login(login)) {
		trace_looked_at(step, "local peer %s, domain %.*s", login,
				STR_ARG(addr_domain(sender)));
		return is_local_or_ours(policy, addr_domain(sender));
	}
	switch (policy->binding) {
	case BINDING_ANY:
		break;
	case BINDING_DOMAIN:
		trace_looked_at(step,
				"sender_binding = \"domain\", domain %.*s",
				STR_ARG(addr_domain(sender)));
		is_allowed = domains_find(&policy->domains,
					  addr_domain(sender)) != NULL;
		break;
	case BINDING_LOGIN:
		trace_looked_at(step, "sender_binding = \"login\", login %s",
				login);
		owned = find_owned(policy, login, sender);
		is_allowed = owned != NULL;
		if (is_allowed)
			*out_at = owned->at;
		break;
	}
	return is_allowed;
}

static void
refuse_sender(const struct policy *policy, const struct addr *sender,
	      struct verdict *out, struct trace *trace)
{
	char shown[ECHO_ADDR_MAX + 4], domain[ECHO_DOMAIN_MAX + 4];

	status_set(&out->status, 553, "5.7.1",
		   "<%s>: Sender address not owned by login",
		   echo_addr(sender, shown));
	(void)echo(addr_domain(sender), domain, ECHO_DOMAIN_MAX);
	if (policy->binding == BINDING_LOGIN)
		trace_advice(trace,
			     "add a row for this login and <%s> to the file "
			     "named by relay.senders",
			     shown);
	else
		trace_advice(trace,
			     "add domain \"%s\" { deliver = \"...\" } if its "
			     "mail is kept here",
			     domain);
	trace_advice(trace, "set relay.sender_binding to \"any\" if logins may "
			    "send as anybody");
}

static bool
needs_login(const struct policy_facts *facts, struct verdict *out,
	    struct trace *trace)
{
	struct trace_step *step;
	bool is_needed =
		facts->role == POLICY_SUBMISSION && facts->login == NULL;

	step = trace_add(trace, "auth-required", is_needed);
	trace_looked_at(step, "role %s, %s",
			facts->role == POLICY_MX ? "mx" : "submission",
			facts->login != NULL ? "logged in" : "not logged in");
	if (!is_needed) {
		trace_outcome(step, "no");
		return false;
	}
	trace_outcome(step, "refused: a submission listener asks for a login");
	trace_advice(trace, "log in on this connection first (`ostlerctl user "
			    "add NAME` makes a login)");
	out->scenario = SCENARIO_OURS_SUBMISSION;
	status_set(&out->status, 530, "5.7.0", "Authentication required");
	return decide(out, false, RULE_AUTH_REQUIRED, NULL);
}

/* What a client without a login may send as: anything, but with a domain. */
static void
decide_sender_without_login(const struct policy *policy,
			    const struct policy_facts *facts,
			    struct verdict *out, struct trace *trace)
{
	const struct cidr *trusted = find_trusted(policy, facts);
	char shown[ECHO_ADDR_MAX + 4];
	struct trace_step *step;
	bool has_domain = facts->sender->domain_len != 0 ||
			  facts->sender->text[0] == '\0';

	step = trace_add(trace, "no-domain", !has_domain);
	trace_looked_at(step, "sender <%s>", facts->sender->text);
	if (!has_domain) {
		trace_outcome(step, "refused: no domain");
		status_set(&out->status, 501, "5.1.7",
			   "<%s>: Sender address needs a domain",
			   echo_addr(facts->sender, shown));
		(void)decide(out, false, RULE_NO_DOMAIN, NULL);
		return;
	}
	trace_outcome(step, "no");
	if (trusted != NULL)
		(void)decide(out, true, RULE_TRUSTED_NETWORK,
			     policy->trusted_at[trusted - policy->trusted]);
}

void
policy_decide_sender(const struct policy *policy,
		     const struct policy_facts *facts, struct verdict *out,
		     struct trace *trace)
{
	struct addr sender = policy_qualified(policy, facts->sender);
	struct trace_step *step;
	const char *at;
	bool is_allowed;

	memset(out, 0, sizeof(*out));
	status_set(&out->status, 250, "2.1.0", "Sender ok");
	(void)decide(out, true, RULE_NONE, NULL);
	if (needs_login(facts, out, trace))
		return;
	if (facts->login == NULL) {
		decide_sender_without_login(policy, facts, out, trace);
		return;
	}
	if (sender.text[0] == '\0') {
		step = trace_add(trace, "sender-binding", false);
		trace_looked_at(step, "the null sender");
		trace_outcome(step, "accepted: it may always be used");
		(void)decide(out, true, RULE_LOGIN, NULL);
		return;
	}
	step = trace_add(trace, "sender-binding", false);
	is_allowed = binding_allows(policy, facts->login, &sender, step, &at);
	if (step != NULL)
		step->is_match = !is_allowed;
	trace_outcome(step, "%s: <%s> as login %s",
		      is_allowed ? "accepted" : "refused", sender.text,
		      facts->login);
	(void)decide(out, is_allowed,
		     is_allowed ? RULE_LOGIN : RULE_SENDER_BINDING, at);
	if (!is_allowed)
		refuse_sender(policy, &sender, out, trace);
}

/* ------------------------------------------------------------- recipient */

/* A recipient without a domain: ours to complete on submission alone. */
static bool
rule_no_domain(struct question *q)
{
	bool is_bare = q->facts->recipient->domain_len == 0 &&
		       !match_is_postmaster(q->facts->recipient) &&
		       q->facts->role == POLICY_MX;
	struct trace_step *step = trace_add(q->trace, "no-domain", is_bare);

	trace_looked_at(step, "recipient <%s>", q->facts->recipient->text);
	if (!is_bare) {
		trace_outcome(step, "no");
		return false;
	}
	trace_outcome(step, "refused: no domain");
	trace_advice(q->trace, "write the recipient with its domain");
	status_set(&q->out->status, 501, "5.1.3",
		   "<%s>: Recipient address needs a domain", q->shown);
	return decide(q->out, false, RULE_NO_DOMAIN, NULL);
}

/* <postmaster> and postmaster@hostname: RFC 5321, 4.5.1 */
static bool
rule_postmaster(struct question *q)
{
	bool is_ours = policy_is_our_postmaster(q->policy, q->facts->recipient);
	struct trace_step *step = trace_add(q->trace, "postmaster", is_ours);

	trace_looked_at(step, "recipient <%s>, hostname %s", q->recipient.text,
			q->policy->hostname);
	if (!is_ours) {
		trace_outcome(step, "no");
		return false;
	}
	trace_outcome(step, "accepted: goes to <%s>",
		      q->policy->postmaster.text);
	return decide(q->out, true, RULE_POSTMASTER, NULL);
}

/* A further address in the local part is never followed, and a host behind
 * us that would follow it does not see it from a stranger. */
static bool
row_source_route(struct question *q)
{
	bool is_route = match_is_source_route(&q->recipient) &&
			policy_is_stranger(q->policy, q->facts);
	struct trace_step *step = trace_add(q->trace, "source-route", is_route);

	trace_looked_at(step, "%%, ! and @ in the local part of <%s>",
			q->shown);
	if (!is_route) {
		trace_outcome(step, "no");
		return false;
	}
	trace_outcome(step, "refused: a stranger's address holds another one");
	advise_login(q->policy, q->trace);
	q->out->scenario = scenario_of(q->facts->role);
	status_set(&q->out->status, 550, "5.7.1",
		   "<%s>: Relaying denied: source routes are not followed",
		   q->shown);
	return decide(q->out, false, RULE_SOURCE_ROUTE, NULL);
}

static bool
row_local_part(struct question *q)
{
	bool is_bad = domain_row_cannot_store(q->row, &q->recipient);
	struct trace_step *step = trace_add(q->trace, "local-part", is_bad);

	trace_looked_at(step, "can the local part of <%s> name a mailbox?",
			q->shown);
	if (!is_bad) {
		trace_outcome(step, q->row->kind == HOP_MAILDIR
					    ? "yes"
					    : "not needed here");
		return false;
	}
	trace_outcome(step, "refused: no folder can have that name");
	status_set(&q->out->status, 550, "5.1.3",
		   "<%s>: Local part cannot name a mailbox", q->shown);
	return decide(q->out, false, RULE_BAD_LOCAL_PART, q->row->at);
}

static bool
row_unknown_user(struct question *q)
{
	bool is_known = domain_row_knows(q->row, &q->recipient);
	struct trace_step *step =
		trace_add(q->trace, "unknown-user", !is_known);

	trace_looked_at(step, "recipients and aliases of domain \"%s\"",
			q->row->name);
	if (is_known) {
		trace_outcome(step, q->row->has_recipients
					    ? "no: known"
					    : "no: all local parts are taken");
		return false;
	}
	trace_outcome(step, "refused: neither a recipient nor an alias");
	trace_advice(q->trace,
		     "add the local part to the recipients or aliases file of "
		     "domain \"%s\"",
		     q->row->name);
	status_set(&q->out->status, 550, "5.1.1", "<%s>: User unknown",
		   q->shown);
	return decide(q->out, false, RULE_UNKNOWN_USER, q->row->recipients_at);
}

static bool
rule_local_domain(struct question *q)
{
	struct trace_step *step =
		trace_add(q->trace, "local-domain", q->row != NULL);

	trace_looked_at(step, "domain %.*s in %zu local rows",
			STR_ARG(addr_domain(&q->recipient)),
			q->policy->domains.count +
				(q->policy->domains.any != NULL));
	if (q->row == NULL) {
		trace_outcome(step, "no: not a local domain");
		return false;
	}
	trace_outcome(step, "%sdomain \"%s\" at %s",
		      q->row->is_backup ? "backup " : "", q->row->name,
		      q->row->at);
	q->out->row = q->row;
	if (row_source_route(q))
		return true;
	if (match_is_postmaster(&q->recipient)) {
		step = trace_add(q->trace, "postmaster", true);
		trace_looked_at(step, "recipient <%s>", q->shown);
		trace_outcome(step, "accepted: a domain has a postmaster");
		return decide(q->out, true, RULE_POSTMASTER, q->row->at);
	}
	if (row_local_part(q) || row_unknown_user(q))
		return true;
	return decide(q->out, true,
		      q->row->is_backup ? RULE_BACKUP_DOMAIN
					: RULE_LOCAL_DOMAIN,
		      q->row->at);
}

static bool
rule_login(struct question *q)
{
	const char *login = q->facts->login;
	struct trace_step *step = trace_add(q->trace, "login", login != NULL);

	trace_looked_at(step, "login %s", login != NULL ? login : "(none)");
	if (login == NULL) {
		trace_outcome(step, "no: not logged in");
		return false;
	}
	trace_outcome(step, "accepted: a login may send anywhere");
	return decide(q->out, true, RULE_LOGIN, NULL);
}

static bool
rule_trusted_network(struct question *q)
{
	const struct cidr *trusted = find_trusted(q->policy, q->facts);
	struct trace_step *step =
		trace_add(q->trace, "trusted-network", trusted != NULL);
	char ip[IP_TEXT_MAX], network[IP_TEXT_MAX + 4];

	trace_looked_at(step, "client %s in %zu trusted networks",
			ip_format(&q->facts->client, ip),
			q->policy->trusted_count);
	if (trusted == NULL) {
		trace_outcome(step, "no: not in any trusted network");
		return false;
	}
	trace_outcome(step, "accepted: in %s", cidr_format(trusted, network));
	return decide(q->out, true, RULE_TRUSTED_NETWORK,
		      q->policy->trusted_at[trusted - q->policy->trusted]);
}

static void
advise_stranger(struct question *q, const char *domain)
{
	char ip[IP_TEXT_MAX];

	advise_login(q->policy, q->trace);
	if (!addr_is_literal(addr_domain(&q->recipient)))
		trace_advice(q->trace,
			     "add domain \"%s\" { deliver = \"...\" }, only if "
			     "you host %s",
			     domain, domain);
	if (q->facts->client.family != IP_NONE)
		trace_advice(q->trace,
			     "add %s to relay.trusted_networks, only if all "
			     "its users may relay",
			     ip_format(&q->facts->client, ip));
}

/* The domain was published before it was configured: worth a retry. */
static bool
rule_mx_points_here(struct question *q, const char *domain)
{
	bool points_here = q->facts->points_here == POINTS_HERE;
	bool is_deferred = points_here && q->policy->defers_points_here &&
			   !q->facts->points_here_too_long;
	struct trace_step *step =
		trace_add(q->trace, "mx-points-here", is_deferred);

	trace_looked_at(step, "MX of %s", domain);
	if (!points_here)
		trace_outcome(step, q->facts->points_here == POINTS_ELSEWHERE
					    ? "no: names other hosts"
					    : "no: not known");
	else if (!q->policy->defers_points_here)
		trace_outcome(step, "no: names this host, but mx_points_here "
				    "= \"deny\"");
	else if (!is_deferred)
		trace_outcome(step, "no: has named this host for over 5 days");
	if (!is_deferred)
		return false;
	trace_outcome(step, "deferred: names this host");
	status_set(&q->out->status, 451, "4.7.1",
		   "<%s>: Relaying denied for now: the MX of %s points here, "
		   "but %s is not configured yet",
		   q->shown, domain, domain);
	return decide(q->out, false, RULE_MX_POINTS_HERE,
		      q->policy->points_here_at);
}

static void
rule_relay_denied(struct question *q)
{
	char domain[ECHO_DOMAIN_MAX + 4], host[ECHO_DOMAIN_MAX + 4];
	char where[ECHO_DOMAIN_MAX + 40] = "";
	struct trace_step *step;

	(void)echo(addr_domain(&q->recipient), domain, ECHO_DOMAIN_MAX);
	q->out->scenario = scenario_of(q->facts->role);
	advise_stranger(q, domain);
	if (rule_mx_points_here(q, domain))
		return;
	step = trace_add(q->trace, "relay-denied", true);
	trace_looked_at(step, "what no rule accepted");
	trace_outcome(step, "refused: a stranger's mail for a foreign domain");
	if (q->policy->submission_port != 0)
		(void)snprintf(where, sizeof(where), " (log in at %s port %u)",
			       echo(str_of(q->policy->hostname), host,
				    ECHO_DOMAIN_MAX),
			       q->policy->submission_port);
	status_set(&q->out->status, 550, "5.7.1",
		   "<%s>: Relaying denied: %s is not handled here and you are "
		   "not logged in%s",
		   q->shown, domain, where);
	(void)decide(q->out, false, RULE_RELAY_DENIED, NULL);
}

void
policy_decide(const struct policy *policy, const struct policy_facts *facts,
	      struct verdict *out, struct trace *trace)
{
	struct question q = {.policy = policy,
			     .facts = facts,
			     .out = out,
			     .trace = trace};

	memset(out, 0, sizeof(*out));
	q.recipient = policy_qualified(policy, facts->recipient);
	q.row = domains_find(&policy->domains, addr_domain(&q.recipient));
	(void)echo_addr(facts->recipient, q.shown);
	status_set(&out->status, 250, "2.1.5", "Recipient ok");
	if (needs_login(facts, out, trace) || rule_no_domain(&q) ||
	    rule_postmaster(&q) || rule_local_domain(&q) || rule_login(&q) ||
	    rule_trusted_network(&q))
		return;
	rule_relay_denied(&q);
}

bool
policy_wants_points_here(const struct policy *policy,
			 const struct policy_facts *facts)
{
	struct verdict verdict;

	if (!policy->defers_points_here || facts->role != POLICY_MX ||
	    addr_is_literal(addr_domain(facts->recipient)))
		return false;
	policy_decide(policy, facts, &verdict, NULL);
	return verdict.rule == RULE_RELAY_DENIED ||
	       verdict.rule == RULE_MX_POINTS_HERE;
}
