/* SPDX-License-Identifier: ISC */
/*
 * Policies as case files: tests/unit/policy/NAME.cases, each of which says in
 * its head how it is read. Lines before the first case build the policy; a
 * line "---" begins the next one.
 */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/mem.h"
#include "policy/builder.h"
#include "policy/domains.h"
#include "policy/policy.h"

#define TOKENS_MAX 16
#define ROWS_MAX   32

/* What the lines of a setup said so far. */
struct setup {
	char *hostname, *postmaster, *binding, *points_here, *senders;
	unsigned submission;
	struct sourced trusted[ROWS_MAX];
	size_t trusted_count;
	struct {
		char *name, *deliver, *delimiter, *recipients, *aliases;
		bool has_subdomains;
	} domains[ROWS_MAX];
	size_t domain_count;
	struct {
		char *name, *sender;
		struct sourced domains[4], via[4];
		size_t domain_count, via_count;
	} routes[ROWS_MAX];
	size_t route_count;
};

struct run {
	const char *file;
	unsigned line;
	unsigned cases;
	struct setup setup;
	struct policy *policy;	/* NULL: setup goes on */
	struct verdict verdict; /* of the last case */
	struct trace trace;	/* its story */
	size_t advice_told;	/* of it; 0: the case does not list them */
	char *kept[4096];	/* texts of the setup */
	size_t kept_count;
};

static char *
keep(struct run *run, const char *text)
{
	ck_assert_uint_lt(run->kept_count, COUNT(run->kept));
	run->kept[run->kept_count] = mem_strdup(text);
	return run->kept[run->kept_count++];
}

/* Words between spaces; a space in double quotes is part of its word. */
static size_t
split(char *line, char *tokens[TOKENS_MAX])
{
	size_t count = 0;

	for (;;) {
		bool in_quotes = false;

		line += strspn(line, " \t");
		if (*line == '\0')
			return count;
		ck_assert_uint_lt(count, TOKENS_MAX);
		tokens[count++] = line;
		for (; *line != '\0'; line++) {
			if (*line == '\\' && in_quotes && line[1] != '\0')
				line++;
			else if (*line == '"')
				in_quotes = !in_quotes;
			else if ((*line == ' ' || *line == '\t') && !in_quotes)
				break;
		}
		if (*line != '\0')
			*line++ = '\0';
	}
}

/* ----------------------------------------------------------------- setup */

/* value of "key=value", or NULL */
static const char *
option(const char *token, const char *key)
{
	size_t len = strlen(key);

	return strncmp(token, key, len) == 0 && token[len] == '='
		       ? token + len + 1
		       : NULL;
}

static size_t
split_list(struct run *run, const char *list, struct sourced out[4])
{
	struct str rest = str_of(list), part;
	size_t count = 0;

	while (str_cut(&rest, ',', &part)) {
		char *text = mem_dup(part.at, part.len);

		ck_assert_uint_lt(count, 4);
		out[count++] = (struct sourced){keep(run, text), "x:1"};
		free(text);
	}
	return count;
}

static void
setup_domain(struct run *run, char *tokens[], size_t count)
{
	struct setup *setup = &run->setup;
	size_t n = setup->domain_count++;

	ck_assert_uint_lt(n, ROWS_MAX);
	setup->domains[n].name = keep(run, tokens[1]);
	setup->domains[n].deliver = keep(run, tokens[2]);
	setup->domains[n].delimiter = keep(run, "+");
	for (size_t i = 3; i < count; i++) {
		if (strcmp(tokens[i], "subdomains") == 0)
			setup->domains[n].has_subdomains = true;
		else
			setup->domains[n].delimiter =
				keep(run, option(tokens[i], "delimiter"));
	}
}

static void
setup_route(struct run *run, char *tokens[], size_t count)
{
	struct setup *setup = &run->setup;
	size_t n = setup->route_count++;

	ck_assert_uint_lt(n, ROWS_MAX);
	setup->routes[n].name = keep(run, tokens[1]);
	for (size_t i = 2; i < count; i++) {
		const char *value = option(tokens[i], "for");

		if (value != NULL)
			setup->routes[n].domain_count =
				split_list(run, value,
					   setup->routes[n].domains);
		value = option(tokens[i], "via");
		if (value != NULL)
			setup->routes[n].via_count =
				split_list(run, value, setup->routes[n].via);
		value = option(tokens[i], "sender");
		if (value != NULL)
			setup->routes[n].sender = keep(run, value);
	}
}

/* Adds "line\n" to the table text of a domain: "aliases DOMAIN: line". */
static void
setup_table(struct run *run, const char *rest, bool is_aliases)
{
	struct setup *setup = &run->setup;
	const char *colon = strchr(rest, ':');
	const char *line = colon + 1 + strspn(colon + 1, " ");

	for (size_t i = 0; i < setup->domain_count; i++) {
		char **table = is_aliases ? &setup->domains[i].aliases
					  : &setup->domains[i].recipients;
		char *text, *lines;

		if (strncmp(setup->domains[i].name, rest,
			    (size_t)(colon - rest)) != 0)
			continue;
		lines = mem_strdup(line);
		for (char *c = lines; *c != '\0' && !is_aliases; c++)
			if (*c == ' ')
				*c = '\n';
		text = mem_printf("%s%s\n", *table != NULL ? *table : "",
				  lines);
		*table = keep(run, text);
		free(text);
		free(lines);
	}
}

static void
setup_line(struct run *run, char *line)
{
	struct setup *setup = &run->setup;
	char *tokens[TOKENS_MAX];
	size_t count;

	if (strncmp(line, "recipients ", 11) == 0) {
		setup_table(run, line + 11, false);
		return;
	}
	if (strncmp(line, "aliases ", 8) == 0) {
		setup_table(run, line + 8, true);
		return;
	}
	if (strncmp(line, "sender ", 7) == 0) {
		char *text =
			mem_printf("%s%s\n",
				   setup->senders != NULL ? setup->senders : "",
				   line + 7);

		setup->senders = keep(run, text);
		free(text);
		return;
	}
	count = split(line, tokens);
	if (strcmp(tokens[0], "hostname") == 0)
		setup->hostname = keep(run, tokens[1]);
	else if (strcmp(tokens[0], "postmaster") == 0)
		setup->postmaster = keep(run, tokens[1]);
	else if (strcmp(tokens[0], "submission") == 0)
		setup->submission = (unsigned)strtoul(tokens[1], NULL, 10);
	else if (strcmp(tokens[0], "binding") == 0)
		setup->binding = keep(run, tokens[1]);
	else if (strcmp(tokens[0], "points-here") == 0)
		setup->points_here = keep(run, tokens[1]);
	else if (strcmp(tokens[0], "trusted") == 0)
		setup->trusted[setup->trusted_count++] =
			(struct sourced){keep(run, tokens[1]), "x:7"};
	else if (strcmp(tokens[0], "domain") == 0)
		setup_domain(run, tokens, count);
	else if (strcmp(tokens[0], "route") == 0)
		setup_route(run, tokens, count);
	else
		ck_abort_msg("%s:%u: setup \"%s\"?", run->file, run->line,
			     tokens[0]);
}

static void
on_report(void *arg, enum builder_severity severity, const char *at,
	  const char *text)
{
	struct run *run = arg;

	if (severity == BUILDER_ERROR)
		ck_abort_msg("%s:%u: setup: %s: %s", run->file, run->line, at,
			     text);
}

static struct table_source
table_of(const char *name, const char *text)
{
	struct table_source source = {.file = {NULL, NULL}};

	if (text == NULL)
		return source;
	source.file = (struct sourced){name, "x:3"};
	source.text = str_of(text);
	return source;
}

static void
build(struct run *run)
{
	struct setup *setup = &run->setup;
	struct builder *builder = builder_new(on_report, run);
	struct builder_relay relay = {
		.hostname = {setup->hostname, "x:1"},
		.postmaster = {setup->postmaster, "x:1"},
		.submission_port = (uint16_t)setup->submission,
		.trusted_networks = {setup->trusted, setup->trusted_count},
		.mx_points_here = {setup->points_here, "x:2"},
		.sender_binding = {setup->binding, "x:2"},
		.senders = table_of("senders", setup->senders),
	};

	builder_set_relay(builder, &relay);
	for (size_t i = 0; i < setup->domain_count; i++) {
		struct builder_domain domain = {
			.name = {setup->domains[i].name, "x:5"},
			.deliver = {setup->domains[i].deliver, "x:5"},
			.delimiter = {setup->domains[i].delimiter, "x:5"},
			.has_subdomains = setup->domains[i].has_subdomains,
			.recipients = table_of("recipients",
					       setup->domains[i].recipients),
			.aliases =
				table_of("aliases", setup->domains[i].aliases),
		};

		builder_add_domain(builder, &domain);
	}
	for (size_t i = 0; i < setup->route_count; i++) {
		struct builder_route route = {
			.name = {setup->routes[i].name, "x:9"},
			.sender = {setup->routes[i].sender, "x:9"},
			.for_domains = {setup->routes[i].domains,
					setup->routes[i].domain_count},
			.via = {setup->routes[i].via,
				setup->routes[i].via_count},
			.connections = 10,
			.messages_per_connection = 100,
		};

		builder_add_route(builder, &route);
	}
	run->policy = builder_finish(builder);
	ck_assert_ptr_nonnull(run->policy);
}

static void
setup_end(struct run *run)
{
	policy_unref(run->policy);
	run->policy = NULL;
	memset(&run->setup, 0, sizeof(run->setup));
	for (size_t i = 0; i < run->kept_count; i++)
		free(run->kept[i]);
	run->kept_count = 0;
}

/* ----------------------------------------------------------------- cases */

static void
expect(const struct run *run, const char *what, const char *got,
       const char *wanted)
{
	if (strcmp(got, wanted) != 0)
		ck_abort_msg("%s:%u: %s: got \"%s\", wanted \"%s\"", run->file,
			     run->line, what, got, wanted);
}

static void
read_addr(const struct run *run, const char *text, struct addr *out)
{
	const char *problem;

	memset(out, 0, sizeof(*out));
	if (strcmp(text, "-") == 0)
		return;
	problem = addr_parse(str_of(text),
			     ADDR_ALLOW_UTF8 | ADDR_ALLOW_NO_DOMAIN, out);
	if (problem != NULL)
		ck_abort_msg("%s:%u: <%s>: %s", run->file, run->line, text,
			     problem);
}

static struct policy_facts
read_facts(const struct run *run, char *tokens[])
{
	struct policy_facts facts = {.role = POLICY_MX};

	if (strcmp(tokens[1], "submission") == 0)
		facts.role = POLICY_SUBMISSION;
	if (strcmp(tokens[2], "unix") != 0)
		ck_assert_msg(ip_parse(str_of(tokens[2]), &facts.client),
			      "%s:%u: client", run->file, run->line);
	facts.login = strcmp(tokens[3], "-") == 0 ? NULL : tokens[3];
	facts.has_tls = strcmp(tokens[4], "tls") == 0;
	return facts;
}

static void
check_verdict(const struct run *run, char *wanted[], size_t count)
{
	char code[8];

	(void)snprintf(code, sizeof(code), "%u", run->verdict.status.code);
	expect(run, "rule", policy_rule_name(run->verdict.rule), wanted[1]);
	expect(run, "code", code, wanted[0]);
	if (count > 2)
		expect(run, "scenario",
		       policy_scenario_name(run->verdict.scenario), wanted[2]);
	ck_assert_int_eq(run->verdict.is_accepted,
			 run->verdict.status.code == 250);
	ck_assert_uint_ne(run->verdict.status.class, 0);
}

/* A stranger's own address, and no other, may be offered as trusted. */
static void
check_advice(const struct run *run, const struct policy_facts *facts,
	     const struct trace *trace)
{
	char ip[IP_TEXT_MAX], wanted[IP_TEXT_MAX + 8];
	enum policy_rule rule = run->verdict.rule;
	bool is_offered = false;

	(void)snprintf(wanted, sizeof(wanted), "add %s to ",
		       ip_format(&facts->client, ip));
	for (size_t i = 0; i < trace->advice_count; i++) {
		const char *advice = trace->advice[i];

		if (strstr(advice, "relay.trusted_networks") == NULL)
			continue;
		is_offered = true;
		ck_assert_msg(strncmp(advice, wanted, strlen(wanted)) == 0,
			      "%s:%u: %s", run->file, run->line, advice);
	}
	ck_assert_msg(is_offered == ((rule == RULE_RELAY_DENIED ||
				      rule == RULE_MX_POINTS_HERE) &&
				     facts->client.family != IP_NONE),
		      "%s:%u", run->file, run->line);
}

/* The trace must tell the same story and change nothing. */
static void
check_trace(struct run *run, const struct policy_facts *facts)
{
	struct verdict traced;
	struct trace *trace = &run->trace;
	const struct trace_step *last;

	trace_init(trace);
	if (facts->recipient != NULL)
		policy_decide(run->policy, facts, &traced, trace);
	else
		policy_decide_sender(run->policy, facts, &traced, trace);
	ck_assert_int_eq(traced.rule, run->verdict.rule);
	ck_assert_str_eq(traced.status.text, run->verdict.status.text);
	ck_assert_uint_gt(trace->count, 0);
	for (size_t i = 0; i < trace->count; i++) {
		ck_assert_str_ne(trace->steps[i].looked_at, "");
		ck_assert_msg(trace->steps[i].outcome[0] != '\0',
			      "%s:%u: rule %s says nothing", run->file,
			      run->line, trace->steps[i].rule);
	}
	last = &trace->steps[trace->count - 1];
	if (!traced.is_accepted) {
		ck_assert(last->is_match);
		expect(run, "last step", last->rule,
		       policy_rule_name(traced.rule));
	}
	if (traced.rule == RULE_RELAY_DENIED ||
	    traced.rule == RULE_SENDER_BINDING)
		ck_assert_uint_gt(trace->advice_count, 0);
	check_advice(run, facts, trace);
}

/* Asking DNS is needed exactly when its answer changes the verdict. */
static void
check_wants(const struct run *run, struct policy_facts facts)
{
	struct verdict here, elsewhere;

	facts.points_here_too_long = false;
	facts.points_here = POINTS_HERE;
	policy_decide(run->policy, &facts, &here, NULL);
	facts.points_here = POINTS_ELSEWHERE;
	policy_decide(run->policy, &facts, &elsewhere, NULL);
	if (addr_is_literal(addr_domain(facts.recipient)))
		ck_assert(!policy_wants_points_here(run->policy, &facts));
	else
		ck_assert_int_eq(policy_wants_points_here(run->policy, &facts),
				 here.rule != elsewhere.rule);
}

static void
case_rcpt(struct run *run, char *tokens[], size_t count)
{
	struct policy_facts facts = read_facts(run, tokens);
	struct addr sender, recipient;

	ck_assert_uint_ge(count, 10);
	read_addr(run, tokens[5], &sender);
	read_addr(run, tokens[6], &recipient);
	facts.sender = &sender;
	facts.recipient = &recipient;
	if (strcmp(tokens[7], "elsewhere") == 0)
		facts.points_here = POINTS_ELSEWHERE;
	else if (strncmp(tokens[7], "here", 4) == 0)
		facts.points_here = POINTS_HERE;
	facts.points_here_too_long = strcmp(tokens[7], "here-too-long") == 0;
	policy_decide(run->policy, &facts, &run->verdict, NULL);
	check_verdict(run, tokens + 9, count - 9);
	check_trace(run, &facts);
	check_wants(run, facts);
}

static void
case_mail(struct run *run, char *tokens[], size_t count)
{
	struct policy_facts facts = read_facts(run, tokens);
	struct addr sender;

	ck_assert_uint_ge(count, 8);
	read_addr(run, tokens[5], &sender);
	facts.sender = &sender;
	policy_decide_sender(run->policy, &facts, &run->verdict, NULL);
	check_verdict(run, tokens + 7, count - 7);
	check_trace(run, &facts);
}

static void
on_final_is_local(void *arg, const struct addr *final)
{
	struct run *run = arg;
	struct addr nobody = {.text = ""};
	struct next_hop hop;

	policy_next_hop(run->policy, &nobody, final, &hop, NULL);
	ck_assert_msg(hop.is_local, "%s:%u: <%s> would be relayed", run->file,
		      run->line, final->text);
}

static void
case_trick(struct run *run, char *tokens[], size_t count)
{
	struct policy_facts facts = {.role = POLICY_MX};
	struct addr sender, recipient;
	const char *problem;

	ck_assert_uint_eq(count, 5);
	ck_assert(ip_parse(str_of("198.51.100.66"), &facts.client));
	read_addr(run, "spam@example.org", &sender);
	problem =
		addr_parse(str_of(tokens[1]),
			   ADDR_ALLOW_UTF8 | ADDR_ALLOW_NO_DOMAIN, &recipient);
	if (problem != NULL) {
		expect(run, problem, "syntax", tokens[4]);
		return;
	}
	facts.sender = &sender;
	facts.recipient = &recipient;
	policy_decide(run->policy, &facts, &run->verdict, NULL);
	check_verdict(run, tokens + 3, 2);
	check_trace(run, &facts);
	if (run->verdict.is_accepted)
		policy_expand(run->policy, &recipient, on_final_is_local, run);
}

static void
on_final(void *arg, const struct addr *final)
{
	struct buf *list = arg;

	ck_assert_int_eq(buf_addf(list, " %s", final->text), 0);
}

static void
case_expand(struct run *run, char *tokens[], size_t count)
{
	struct addr recipient;
	struct buf got, wanted;

	buf_init(&got, 65536);
	buf_init(&wanted, 65536);
	read_addr(run, tokens[1], &recipient);
	policy_expand(run->policy, &recipient, on_final, &got);
	for (size_t i = 3; i < count; i++)
		(void)buf_addf(&wanted, " %s", tokens[i]);
	expect(run, "final recipients", buf_text(&got), buf_text(&wanted));
	buf_done(&got);
	buf_done(&wanted);
}

static void
describe_hop(const struct next_hop *hop, struct buf *to)
{
	static const char *const kinds[] = {"mx", "smtp", "lmtp", "maildir",
					    "discard"};

	(void)buf_addf(to, "%s %s%s", kinds[hop->kind], hop->key,
		       hop->is_backup ? " backup" : "");
	for (size_t i = 0; i < hop->target_count; i++) {
		if (hop->targets[i].unix_path != NULL)
			(void)buf_addf(to, " unix:%s",
				       hop->targets[i].unix_path);
		else
			(void)buf_addf(to, " %s:%u", hop->targets[i].host,
				       hop->targets[i].port);
	}
}

static void
case_hop(struct run *run, char *tokens[], size_t count)
{
	struct addr sender, recipient;
	struct next_hop hop;
	struct trace trace;
	struct buf got, wanted;

	buf_init(&got, 4096);
	buf_init(&wanted, 4096);
	trace_init(&trace);
	read_addr(run, tokens[1], &sender);
	read_addr(run, tokens[2], &recipient);
	policy_next_hop(run->policy, &sender, &recipient, &hop, &trace);
	describe_hop(&hop, &got);
	for (size_t i = 4; i < count; i++)
		(void)buf_addf(&wanted, "%s%s", i > 4 ? " " : "", tokens[i]);
	expect(run, "next hop", buf_text(&got), buf_text(&wanted));
	ck_assert_uint_gt(trace.count, 0);
	/* as the setup says of routes, and as it is without one */
	ck_assert_uint_eq(hop.connections, 10);
	ck_assert_uint_eq(hop.messages_per_connection, 100);
	buf_done(&got);
	buf_done(&wanted);
}

/* The indented line behind a case: the reply as the client reads it. */
static void
case_reply(const struct run *run, const char *wanted)
{
	char enhanced[12];
	char *got = mem_printf("%u %s %s", run->verdict.status.code,
			       status_enhanced(&run->verdict.status, enhanced),
			       run->verdict.status.text);

	expect(run, "reply", got, wanted + strspn(wanted, " \t"));
	free(got);
}

/* "? RULE: outcome", of a rule that was looked at. */
static void
case_step(const struct run *run, const char *line)
{
	const struct trace *trace = &run->trace;
	const char *colon = strstr(line, ": ");

	ck_assert_ptr_nonnull(colon);
	for (size_t i = 0; i < trace->count; i++)
		if (str_is(str_from(line, (size_t)(colon - line)),
			   trace->steps[i].rule)) {
			expect(run, "outcome", trace->steps[i].outcome,
			       colon + 2);
			return;
		}
	ck_abort_msg("%s:%u: no such rule", run->file, run->line);
}

/* "> advice": where one is listed, all are. */
static void
case_advice(struct run *run, const char *line)
{
	ck_assert_msg(run->advice_told < run->trace.advice_count,
		      "%s:%u: no more advice", run->file, run->line);
	expect(run, "advice", run->trace.advice[run->advice_told++], line);
}

static void
case_end(struct run *run)
{
	if (run->advice_told != 0)
		ck_assert_msg(run->advice_told == run->trace.advice_count,
			      "%s:%u: more advice before this line", run->file,
			      run->line);
	run->advice_told = 0;
}

static void
run_line(struct run *run, char *line)
{
	static const struct {
		const char *word;
		void (*call)(struct run *run, char *tokens[], size_t count);
	} kinds[] = {
		{"rcpt", case_rcpt},   {"mail", case_mail},
		{"trick", case_trick}, {"expand", case_expand},
		{"hop", case_hop},
	};
	char *tokens[TOKENS_MAX];
	size_t count;

	if (line[0] == '#' || line[strspn(line, " \t")] == '\0')
		return;
	if (line[0] == '\t') {
		if (line[1] == '?')
			case_step(run, line + 3);
		else if (line[1] == '>')
			case_advice(run, line + 3);
		else
			case_reply(run, line);
		return;
	}
	case_end(run);
	if (strcmp(line, "---") == 0) {
		setup_end(run);
		return;
	}
	for (size_t i = 0; i < COUNT(kinds); i++) {
		size_t len = strlen(kinds[i].word);

		if (strncmp(line, kinds[i].word, len) != 0 || line[len] != ' ')
			continue;
		if (run->policy == NULL)
			build(run);
		count = split(line, tokens);
		ck_assert_uint_gt(count, 3);
		kinds[i].call(run, tokens, count);
		run->cases++;
		return;
	}
	ck_assert_msg(run->policy == NULL, "%s:%u: %s?", run->file, run->line,
		      line);
	setup_line(run, line);
}

static const struct {
	const char *name;
	unsigned cases; /* at least: a file that is not read must not pass */
} files[] = {
	{"matrix", 55}, {"senders", 35}, {"tricks", 110},
	{"expand", 25}, {"routes", 25},
};

START_TEST(policies_decide_as_their_case_files_say)
{
	const char *srcdir = getenv("srcdir");
	struct run *run = mem_zalloc(sizeof(*run));
	char path[512], line[2048];
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s/tests/unit/policy/%s.cases",
		       srcdir != NULL ? srcdir : ".", files[_i].name);
	run->file = path;
	file = fopen(path, "r");
	ck_assert_msg(file != NULL, "cannot read %s", path);
	while (fgets(line, sizeof(line), file) != NULL) {
		run->line++;
		line[strcspn(line, "\n")] = '\0';
		run_line(run, line);
	}
	ck_assert_int_eq(fclose(file), 0);
	case_end(run);
	ck_assert_uint_ge(run->cases, files[_i].cases);
	setup_end(run);
	free(run);
}
END_TEST

/* ------------------------------------------------------------- property */

static uint32_t random_state;

static const char *
pick(const char *const *words, size_t count)
{
	random_state = random_state * 1664525 + 1013904223;
	return words[(random_state >> 16) % count];
}

/* What must hold for every stranger, whatever he writes. */
static void
check_stranger(struct run *run, const struct policy_facts *facts)
{
	struct verdict traced;
	struct trace trace;

	trace_init(&trace);
	policy_decide(run->policy, facts, &run->verdict, NULL);
	policy_decide(run->policy, facts, &traced, &trace);
	ck_assert_int_eq(run->verdict.rule, traced.rule);
	ck_assert_uint_eq(run->verdict.status.code, traced.status.code);
	ck_assert_int_ne(run->verdict.rule, RULE_LOGIN);
	ck_assert_int_ne(run->verdict.rule, RULE_TRUSTED_NETWORK);
	if (run->verdict.is_accepted && facts->role == POLICY_SUBMISSION)
		ck_abort_msg("submission without a login");
	if (run->verdict.is_accepted)
		policy_expand(run->policy, facts->recipient, on_final_is_local,
			      run);
}

START_TEST(no_stranger_relays_whatever_the_address)
{
	static const char *const parts[] = {
		"bob",	"sales", "+",	"%",	    "!", "far.example",
		"\"",	"\\@",	 ".",	"x",	    "/", "postmaster",
		"@",	" ",	 "a,b", ":",	    "=", "local.example",
		"@b:c", "\"a\"", "|sh", "\xc3\xa9",
	};
	static const char *const domains[] = {
		"local.example",
		"list.example",
		"inner.example",
		"far.example",
		"mail.example.org",
		"sub.local.example",
		"[127.0.0.1]",
		"[IPv6:::1]",
		"LOCAL.example.",
		"b\xc3\xbc"
		"cher.example",
		"sub.inner.example",
		"",
	};
	static const char *const clients[] = {"198.51.100.7", "127.0.0.1",
					      "2001:db8::1", "10.2.0.1"};
	static const char *const setup[] = {
		"hostname mail.example.org",
		"submission 587",
		"trusted 10.1.0.0/16",
		"domain local.example maildir:/m/%d/%u",
		"domain list.example lmtp:unix:/l",
		"domain inner.example smtp:in:25 subdomains",
		"recipients list.example: bob",
		"aliases list.example: sales: bob, x@local.example",
	};
	struct run *run = mem_zalloc(sizeof(*run));
	struct addr sender = {.text = ""};
	unsigned asked = 0, accepted = 0;

	random_state = 20261121;
	run->file = "random";
	for (size_t i = 0; i < COUNT(setup); i++) {
		char line[128];

		(void)snprintf(line, sizeof(line), "%s", setup[i]);
		setup_line(run, line);
	}
	build(run);
	for (unsigned n = 0; n < 60000; n++) {
		struct policy_facts facts = {.role = POLICY_MX};
		char text[256] = "";
		struct addr recipient;
		size_t len = 0;

		for (unsigned i = 0; i < 1 + n % 4; i++)
			len += (size_t)snprintf(text + len, sizeof(text) - len,
						"%s",
						pick(parts, COUNT(parts)));
		if (n % 3 == 0)
			(void)snprintf(text + len, sizeof(text) - len, "@%s",
				       pick(domains, COUNT(domains)));
		else
			len = (size_t)snprintf(text, sizeof(text),
					       "\"%s%s\"@%s",
					       pick(parts, COUNT(parts)),
					       pick(parts, COUNT(parts)),
					       pick(domains, COUNT(domains)));
		if (addr_parse(str_of(text),
			       ADDR_ALLOW_UTF8 | ADDR_ALLOW_NO_DOMAIN,
			       &recipient) != NULL)
			continue;
		facts.role = n % 16 == 0 ? POLICY_SUBMISSION : POLICY_MX;
		facts.sender = &sender;
		facts.recipient = &recipient;
		facts.points_here = (enum policy_points_here)(n % 3);
		ck_assert(ip_parse(str_of(pick(clients, COUNT(clients))),
				   &facts.client));
		check_stranger(run, &facts);
		asked++;
		accepted += run->verdict.is_accepted;
	}
	/* both answers were met often, or nothing was tested */
	ck_assert_uint_gt(asked, 10000);
	ck_assert_uint_gt(accepted, 1000);
	ck_assert_uint_gt(asked - accepted, 1000);
	setup_end(run);
	free(run);
}
END_TEST

UNIT_MAIN("policy",
	  tcase_add_loop_test(tc, policies_decide_as_their_case_files_say, 0,
			      (int)COUNT(files));
	  tcase_add_test(tc, no_stranger_relays_whatever_the_address);)
