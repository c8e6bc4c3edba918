/* SPDX-License-Identifier: ISC */
/*
 * Does the explanation say what a session would be told? Random clients,
 * logins, senders and recipients are put to the decision itself, as a session
 * does, and to explain(), in words, as ostlerctl does.
 */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/mem.h"
#include "policy/policy.h"
#include "server/config.h"
#include "server/explain.h"

#define SETS 20000

static const char config_text[] =
	"hostname = \"mail.example.org\"\n"
	"qualify = \"example.org\"\n"
	"spool = \"spool\"\n"
	"listener \"mx\" { role = \"mx\" address = {\"127.0.0.1:2525\"} }\n"
	"listener \"submission\" { role = \"submission\"\n"
	"	address = {\"127.0.0.1:2587\"} }\n"
	"relay { trusted_networks = {\"10.0.0.0/8\", \"2001:db8:7::/48\"}\n"
	"	mx_points_here = \"%s\"\n"
	"	sender_binding = \"%s\" senders = \"senders\" }\n"
	"domain \"example.org\" { deliver = \"lmtp:unix:/run/lmtp\"\n"
	"	recipients = \"recipients\" aliases = \"aliases\" }\n"
	"domain \"all.example\" { deliver = \"maildir:/mail/%%d/%%u\" }\n"
	"domain \"inner.example\" { deliver = \"smtp:inner.example:25\" }\n"
	"domain \"backup.example\" { deliver = \"mx\" }\n"
	"domain \"xn--bcher-kva.example\" { deliver = \"discard\"\n"
	"	subdomains = true }\n";

static const char *const points[] = {"defer", "deny"};
static const char *const bindings[] = {"any", "domain", "login"};

/* ----------------------------------------------------------- random facts */

static uint32_t state = 20261121;

static uint32_t
below(uint32_t bound)
{
	state = state * 1664525u + 1013904223u;
	return (uint32_t)(((uint64_t)state * bound) >> 32);
}

#define PICK(list) (list)[below((uint32_t)COUNT(list))]

static const char *const locals[] = {
	"bob",
	"Bob",
	"eve",
	"sales",
	"bob+tag",
	"postmaster",
	"PostMaster",
	"a/b",
	".hidden",
	"a..b",
	"x%far.example",
	"x!y",
	"\"x y\"",
	"\"x@far.example\"",
	"root",
	"abuse",
	"x",
	"b\xc3\xbc",
	"very-long-but-still-only-sixty-four-octets-in-its-local-"
	"part-abcd",
};
static const char *const domains[] = {
	"example.org",
	"EXAMPLE.ORG",
	"all.example",
	"inner.example",
	"backup.example",
	"xn--bcher-kva.example",
	"b\xc3\xbc"
	"cher.example",
	"sub.xn--bcher-kva.example",
	"sub.example.org",
	"far.example",
	"Far.Example",
	"mail.example.org",
	"[192.0.2.1]",
	"[127.0.0.1]",
	"[IPv6:2001:db8::1]",
	"example.org.",
	"nowhere",
	"",
};
static const char *const clients[] = {
	"192.0.2.1", "10.1.2.3",      "2001:db8:7::5", "2001:db8:8::5",
	"127.0.0.1", "203.0.113.200", "unix",	       "11.0.0.1",
};
static const char *const logins[] = {NULL, NULL, "anna", "bert", "unix:root"};
static const char *const wheres[] = {NULL, "here", "here-too-long",
				     "elsewhere"};

/* An address in words, mostly a good one. */
static const char *
words(char to[400], bool may_be_null)
{
	const char *domain = PICK(domains);

	if (may_be_null && below(8) == 0)
		return "";
	(void)snprintf(to, 400, "%s%s%s", PICK(locals),
		       domain[0] != '\0' ? "@" : "", domain);
	return to;
}

struct set {
	struct explain_input input;
	char from[400], to[400];
};

static void
make_set(struct set *set)
{
	memset(set, 0, sizeof(*set));
	set->input.listener = below(2) == 0 ? "mx" : "submission";
	set->input.client = PICK(clients);
	set->input.user = PICK(logins);
	set->input.helo = below(2) == 0 ? "client.example" : NULL;
	set->input.has_tls = below(2) == 0;
	set->input.from = words(set->from, true);
	set->input.to = words(set->to, false);
	set->input.points_here = PICK(wheres);
}

/* ---------------------------------------------------------- the decision */

/* As smtpd_envelope.c goes about it. False: an address is none. */
static bool
decide(const struct config *config, const struct explain_input *input,
       struct verdict *out)
{
	struct policy *policy = config->policy;
	struct addr sender = {.text = ""}, recipient;
	struct policy_facts facts = {
		.role = strcmp(input->listener, "mx") == 0 ? POLICY_MX
							   : POLICY_SUBMISSION,
		.login = input->user,
		.has_tls = input->has_tls,
		.helo = input->helo,
		.sender = &sender,
		.recipient = &recipient,
	};
	unsigned flags = ADDR_ALLOW_UTF8 | ADDR_ALLOW_NO_DOMAIN;

	if (strcmp(input->client, "unix") != 0)
		ck_assert(ip_parse(str_of(input->client), &facts.client));
	if (!policy_is_stranger(policy, &facts))
		flags |= ADDR_QUOTE_DOTS;
	if ((input->from[0] != '\0' &&
	     addr_parse(str_of(input->from), flags, &sender) != NULL) ||
	    addr_parse(str_of(input->to), flags, &recipient) != NULL)
		return false;
	if (facts.role == POLICY_SUBMISSION) {
		if (sender.text[0] != '\0' && sender.domain_len == 0)
			(void)addr_qualify(&sender, policy_qualify(policy));
		if (recipient.domain_len == 0)
			(void)addr_qualify(&recipient, policy_qualify(policy));
	}
	if (input->points_here != NULL) {
		facts.points_here = strcmp(input->points_here, "elsewhere") == 0
					    ? POINTS_ELSEWHERE
					    : POINTS_HERE;
		facts.points_here_too_long =
			strcmp(input->points_here, "here-too-long") == 0;
	}
	policy_decide_sender(policy, &facts, out, NULL);
	if (out->is_accepted)
		policy_decide(policy, &facts, out, NULL);
	return true;
}

/* ----------------------------------------------------------- agreement */

static const char *
get(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	ck_assert_msg(text != NULL, "explain says %s", name);
	return text;
}

static void
compare(const struct set *set, const struct verdict *verdict, json_t *explained)
{
	char enhanced[12], *where;
	const char *last;
	size_t steps;

	where = mem_printf("%s client %s user %s from <%s> to <%s> points %s",
			   set->input.listener, set->input.client,
			   set->input.user != NULL ? set->input.user : "-",
			   set->input.from, set->input.to,
			   set->input.points_here != NULL
				   ? set->input.points_here
				   : "-");
	ck_assert_msg(json_integer_value(json_object_get(explained, "code")) ==
			      verdict->status.code,
		      "%s: code", where);
	ck_assert_msg(strcmp(get(explained, "rule"),
			     policy_rule_name(verdict->rule)) == 0,
		      "%s: rule %s, not %s", where, get(explained, "rule"),
		      policy_rule_name(verdict->rule));
	ck_assert_msg(strcmp(get(explained, "reply"), verdict->status.text) ==
			      0,
		      "%s: reply", where);
	ck_assert_msg(strcmp(get(explained, "status"),
			     status_enhanced(&verdict->status, enhanced)) == 0,
		      "%s: status", where);
	ck_assert_msg((strcmp(get(explained, "decision"), "accepted") == 0) ==
			      verdict->is_accepted,
		      "%s: decision", where);
	ck_assert_msg(strcmp(get(explained, "scenario"),
			     verdict->scenario == SCENARIO_NONE
				     ? ""
				     : policy_scenario_name(
					       verdict->scenario)) == 0,
		      "%s: scenario", where);
	/* the way through the rules ends at the one that decided */
	steps = json_array_size(json_object_get(explained, "steps"));
	ck_assert_msg(steps != 0, "%s: no steps", where);
	last = get(json_array_get(json_object_get(explained, "steps"),
				  steps - 1),
		   "rule");
	ck_assert_msg(verdict->is_accepted ||
			      strcmp(last, policy_rule_name(verdict->rule)) ==
				      0,
		      "%s: ends at %s", where, last);
	free(where);
}

static struct config *
load(const char *where, const char *binding)
{
	char *text = mem_printf(config_text, where, binding);
	struct config *config = NULL;
	struct buf errors, warnings;
	FILE *file = fopen("t.conf", "w");

	ck_assert_ptr_nonnull(file);
	ck_assert_int_ge(fputs(text, file), 0);
	ck_assert_int_eq(fclose(file), 0);
	free(text);
	buf_init(&errors, 1 << 20);
	buf_init(&warnings, 1 << 20);
	ck_assert_msg(config_load("t.conf", &config, &errors, &warnings) == 0,
		      "%s", buf_text(&errors));
	buf_done(&errors);
	buf_done(&warnings);
	return config;
}

static void
put(const char *name, const char *text)
{
	FILE *file = fopen(name, "w");

	ck_assert_ptr_nonnull(file);
	ck_assert_int_ge(fputs(text, file), 0);
	ck_assert_int_eq(fclose(file), 0);
}

START_TEST(explain_says_what_the_decision_says)
{
	char folder[] = "/tmp/ostler-agree-XXXXXX";
	unsigned seen[RULE_SOURCE_ROUTE + 1] = {0}, compared = 0, bad = 0;
	struct config *configs[COUNT(points) * COUNT(bindings)];
	struct err err = ERR_INIT;
	struct verdict verdict;
	struct set set;

	ck_assert_ptr_nonnull(mkdtemp(folder));
	ck_assert_int_eq(chdir(folder), 0);
	put("recipients", "bob\nsales\n");
	put("aliases", "sales: bob@example.org, x@far.example\n");
	put("senders", "anna anna@example.org\nanna @all.example\n"
		       "bert bob@example.org\n");
	for (size_t i = 0; i < COUNT(configs); i++)
		configs[i] = load(points[i % 2], bindings[i / 2]);

	while (compared < SETS) {
		const struct config *config = PICK(configs);
		json_t *explained;
		bool is_fine;

		make_set(&set);
		is_fine = decide(config, &set.input, &verdict);
		explained = explain(config, &set.input, NULL, &err);
		ck_assert_msg((explained != NULL) == is_fine,
			      "from <%s> to <%s>", set.input.from,
			      set.input.to);
		if (!is_fine) {
			bad++;
			continue;
		}
		compare(&set, &verdict, explained);
		json_decref(explained);
		seen[verdict.rule]++;
		compared++;
	}
	/* and they were of all kinds */
	ck_assert_uint_lt(bad, SETS);
	for (size_t i = RULE_LOGIN; i < COUNT(seen); i++)
		ck_assert_msg(seen[i] >= 20, "%u times %s", seen[i],
			      policy_rule_name((enum policy_rule)i));
	for (size_t i = 0; i < COUNT(configs); i++)
		config_unref(configs[i]);
	ck_assert_int_eq(remove("t.conf") | remove("recipients") |
				 remove("aliases") | remove("senders"),
			 0);
	ck_assert_int_eq(chdir("/"), 0);
	ck_assert_int_eq(rmdir(folder), 0);
}
END_TEST

UNIT_MAIN("agree", tcase_add_test(tc, explain_says_what_the_decision_says))
