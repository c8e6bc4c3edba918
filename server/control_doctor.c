/* SPDX-License-Identifier: ISC */
/*
 * server/control_doctor.c - ostlerctl doctor, in the daemon
 *
 * A row for each thing looked at: {"check", "about", "state": "ok" | "warn" |
 * "fail", "text", "advice"}. What the daemon knows comes at once, what DNS
 * says as it comes; questions end by the resolver's own limits. At last, since
 * MX records say whom to try, one connection to elsewhere.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "auth/auth_server.h"
#include "lib/clock.h"
#include "lib/list.h"
#include "lib/mem.h"
#include "lib/units.h"
#include "queue/faults.h"
#include "queue/queue.h"
#include "queue/route/resolver.h"
#include "queue/route/route.h"
#include "server/certificate_state.h"
#include "server/client_name.h"
#include "server/config.h"
#include "server/control.h"
#include "server/daemon.h"
#include "server/doctor_files.h"
#include "server/listener.h"
#include "server/queue_json.h"
#include "server/reach.h"
#include "server/smtpd.h"

/* Domains that DNS is asked about; the rest is counted. */
#define DOCTOR_DOMAINS_MAX 50

#define OTHERS_MAX    3	 /* MX hosts that are not this one, to connect to */
#define ADDRESSES_MAX 16 /* of this host */

enum question_kind {
	QUESTION_ADDRESS, /* of our host name, IPv4 */
	QUESTION_ADDRESS_V6,
	QUESTION_REVERSE, /* the name of one of them */
	QUESTION_MX,	  /* of a domain that is ours */
	QUESTION_SPF,
	QUESTION_DMARC,
	QUESTION_DKIM, /* whether anything is below _domainkey */
};

struct doctor {
	struct control_request *request;
	struct list questions; /* under way */
	struct reach *reach;   /* NULL: none under way */
	bool has_reached;      /* it was begun, or there was nothing to try */
	bool is_smarthost;     /* what it tries */
	const char *to;	       /* --to; the request's; NULL: not given */
	struct addr recipient; /* at `to`, or at a domain that nobody has */
	char others[OTHERS_MAX][ADDR_DOMAIN_MAX + 1];
	size_t other_count;
	struct ip addresses[ADDRESSES_MAX]; /* that our host name has */
	size_t address_count;
	bool is_started;
	bool has_address;	     /* of either family */
	bool is_address_unknown;     /* a question about it failed */
	unsigned addresses_left;     /* questions about it */
	struct auth_exchange *login; /* under way; NULL: none */
	bool is_bad;		     /* something failed */
};

struct question {
	struct list link;
	struct doctor *doctor;
	enum question_kind kind;
	char about[300]; /* host name, address or domain */
	struct resolver_query *query;
};

/* text, advice: borrows */
static void
doctor_say(struct doctor *doctor, const char *check, const char *about,
	   const char *state, const char *text, const char *advice)
{
	doctor->is_bad |= strcmp(state, "fail") == 0;
	(void)control_row(doctor->request,
			  json_pack("{s:s,s:o,s:s,s:o,s:o}", "check", check,
				    "about", queue_json_text(about), "state",
				    state, "text", queue_json_text(text),
				    "advice", queue_json_text(advice)));
}

static void doctor_reach(struct doctor *doctor);

static void
doctor_end_if_done(struct doctor *doctor)
{
	struct control_request *request = doctor->request;
	bool is_bad;

	if (!doctor->is_started || !list_is_empty(&doctor->questions) ||
	    doctor->login != NULL)
		return;
	if (!doctor->has_reached) {
		doctor->has_reached = true;
		doctor_reach(doctor);
	}
	if (doctor->reach != NULL)
		return;
	is_bad = doctor->is_bad;
	free(doctor);
	control_end(request, is_bad ? EXIT_NO : EXIT_DONE, NULL);
}

/* ----------------------------------------------------------- what DNS says */

static void doctor_ask(struct doctor *doctor, enum question_kind kind,
		       const char *name, uint16_t type, const char *about);

static const char *
question_check(enum question_kind kind)
{
	switch (kind) {
	case QUESTION_ADDRESS:
	case QUESTION_ADDRESS_V6:
		return "address";
	case QUESTION_REVERSE:
		return "reverse";
	case QUESTION_MX:
		return "mx";
	case QUESTION_SPF:
		return "spf";
	case QUESTION_DMARC:
		return "dmarc";
	case QUESTION_DKIM:
		break;
	}
	return "dkim";
}

static void
on_address(struct question *question, const struct dns_set *set)
{
	struct doctor *doctor = question->doctor;

	doctor->addresses_left--;
	for (size_t i = 0; set->status == DNS_OK && i < set->count; i++) {
		char ip[IP_TEXT_MAX], name[80];

		doctor->has_address = true;
		if (doctor->address_count < ADDRESSES_MAX)
			doctor->addresses[doctor->address_count++] =
				set->records[i].ip;
		(void)ip_format(&set->records[i].ip, ip);
		doctor_say(doctor, "address", question->about, "ok", ip, "");
		client_name_reverse(&set->records[i].ip, name);
		doctor_ask(doctor, QUESTION_REVERSE, name, DNS_PTR, ip);
	}
	if (doctor->addresses_left == 0 && !doctor->has_address &&
	    !doctor->is_address_unknown)
		doctor_say(doctor, "address", question->about, "fail",
			   "this server's name has no address in DNS",
			   "Add an A record for hostname, or set hostname to "
			   "the name that DNS has: other servers refuse mail "
			   "from a name that leads nowhere.");
}

static void
on_reverse(struct question *question, const struct dns_set *set)
{
	const char *hostname =
		question->doctor->request->daemon->config->hostname;
	char text[400];

	for (size_t i = 0; set->status == DNS_OK && i < set->count; i++)
		if (set->records[i].name != NULL &&
		    str_is_nocase(str_of(set->records[i].name), hostname)) {
			doctor_say(question->doctor, "reverse", question->about,
				   "ok", hostname, "");
			return;
		}
	(void)snprintf(text, sizeof(text), "is called %s, not %s",
		       set->status == DNS_OK && set->records[0].name != NULL
			       ? set->records[0].name
			       : "nothing",
		       hostname);
	doctor_say(question->doctor, "reverse", question->about, "warn", text,
		   "Have the owner of the address set its PTR record to "
		   "hostname: large sites refuse mail without it.");
}

/* Hosts elsewhere that take mail: something to connect to. */
static void
note_others(struct doctor *doctor, const struct dns_set *set,
	    const char *hostname)
{
	char name[ADDR_DOMAIN_MAX + 1];

	for (size_t i = 0; set->status == DNS_OK && i < set->count; i++) {
		bool is_known = false;

		if (!addr_normalize_domain(str_of(set->records[i].name), name,
					   sizeof(name)) ||
		    addr_is_literal(str_of(name)) ||
		    str_is_nocase(str_of(name), hostname))
			continue;
		for (size_t j = 0; j < doctor->other_count; j++)
			is_known |= strcmp(doctor->others[j], name) == 0;
		if (!is_known && doctor->other_count < OTHERS_MAX)
			memcpy(doctor->others[doctor->other_count++], name,
			       sizeof(name));
	}
}

static void
on_mx(struct question *question, const struct dns_set *set)
{
	const char *hostname =
		question->doctor->request->daemon->config->hostname;
	char text[400];

	note_others(question->doctor, set, hostname);
	for (size_t i = 0; set->status == DNS_OK && i < set->count; i++)
		if (str_is_nocase(str_of(set->records[i].name), hostname)) {
			doctor_say(question->doctor, "mx", question->about,
				   "ok", "names this server", "");
			return;
		}
	if (set->status == DNS_OK)
		(void)snprintf(text, sizeof(text),
			       "names %s, and not this server (%s)",
			       set->records[0].name, hostname);
	else
		(void)snprintf(text, sizeof(text), "there is no MX record");
	doctor_say(question->doctor, "mx", question->about, "warn", text,
		   "Mail from elsewhere goes where the MX record says: fine "
		   "behind another filter, else add one with hostname.");
}

/* Receivers take neither of two SPF records (RFC 7208, 4.5) nor of two DMARC
 * records (RFC 7489, 6.6.3). */
static void
on_text(struct question *question, const struct dns_set *set)
{
	bool is_spf = question->kind == QUESTION_SPF;
	const char *check = question_check(question->kind);
	const char *begin = is_spf ? "v=spf1" : "v=DMARC1";
	size_t len = strlen(begin), count = 0;

	for (size_t i = 0; set->status == DNS_OK && i < set->count; i++) {
		const struct dns_record *record = &set->records[i];
		struct str text =
			str_from((const char *)record->data, record->len);

		if (text.len >= len &&
		    str_is_nocase(str_from(text.at, len), begin))
			count++;
	}
	if (count == 1)
		doctor_say(question->doctor, check, question->about, "ok",
			   "is published", "");
	else if (count > 1)
		doctor_say(question->doctor, check, question->about, "fail",
			   "is published more than once: none counts",
			   "Leave one of these TXT records.");
	else
		doctor_say(question->doctor, check, question->about, "warn",
			   "is not published",
			   is_spf ? "Publish which servers may send for the "
				    "domain (RFC 7208), this one among them."
				  : "Publish what to do with mail that fails "
				    "SPF and DKIM (RFC 7489); p=none is a "
				    "beginning.");
}

/* RFC 8020: a name that does not exist has nothing below it. One that has no
 * records but exists stands above names: whose, DNS does not tell. */
static void
on_keys(struct question *question, const struct dns_set *set)
{
	char text[400];

	if (set->status != DNS_NXDOMAIN) {
		doctor_say(question->doctor, "dkim", question->about, "ok",
			   "there are names under _domainkey", "");
		return;
	}
	(void)snprintf(text, sizeof(text),
		       "no DKIM keys are published under _domainkey.%s",
		       question->about);
	doctor_say(question->doctor, "dkim", question->about, "warn", text,
		   "Large sites want mail signed. This relay does not sign: "
		   "let a program in front of it do so, and publish its key "
		   "(RFC 6376).");
}

static const char no_dns[] =
	"See that the name server runs whose address stands at the check "
	"`resolver`, and that it reaches others; without DNS mail waits.";

static void
on_set(void *owner, struct dns_set *set)
{
	struct question *question = owner;
	struct doctor *doctor = question->doctor;
	bool has_failed = set->status == DNS_FAILED || set->status == DNS_BOGUS;
	bool is_address = question->kind == QUESTION_ADDRESS ||
			  question->kind == QUESTION_ADDRESS_V6;

	list_remove(&question->link);
	/* of two questions about the address the first failure tells enough */
	if (has_failed && !(doctor->is_address_unknown && is_address))
		doctor_say(doctor, question_check(question->kind),
			   question->about, "fail",
			   set->why != NULL ? set->why : "DNS has no answer",
			   no_dns);
	doctor->is_address_unknown |= has_failed && is_address;
	switch (question->kind) {
	case QUESTION_ADDRESS:
	case QUESTION_ADDRESS_V6:
		on_address(question, set);
		break;
	case QUESTION_REVERSE:
		if (!has_failed)
			on_reverse(question, set);
		break;
	case QUESTION_MX:
		if (!has_failed)
			on_mx(question, set);
		break;
	case QUESTION_SPF:
	case QUESTION_DMARC:
		if (!has_failed)
			on_text(question, set);
		break;
	case QUESTION_DKIM:
		if (!has_failed)
			on_keys(question, set);
		break;
	}
	free(question);
	doctor_end_if_done(doctor);
}

static void
doctor_ask(struct doctor *doctor, enum question_kind kind, const char *name,
	   uint16_t type, const char *about)
{
	struct question *question = mem_zalloc(sizeof(*question));

	question->doctor = doctor;
	question->kind = kind;
	(void)str_copy(question->about, sizeof(question->about), str_of(about));
	list_init(&question->link);
	list_push(&doctor->questions, &question->link);
	question->query = resolver_ask(doctor->request->daemon->resolver, name,
				       type, RESOLVER_FRESH, on_set, question);
}

static void
doctor_ask_domain(struct doctor *doctor, const char *domain)
{
	char dmarc[300], keys[300];

	doctor_ask(doctor, QUESTION_MX, domain, DNS_MX, domain);
	doctor_ask(doctor, QUESTION_SPF, domain, DNS_TXT, domain);
	(void)snprintf(dmarc, sizeof(dmarc), "_dmarc.%s", domain);
	doctor_ask(doctor, QUESTION_DMARC, dmarc, DNS_TXT, domain);
	(void)snprintf(keys, sizeof(keys), "_domainkey.%s", domain);
	doctor_ask(doctor, QUESTION_DKIM, keys, DNS_TXT, domain);
}

/* The table's rows are named "domain.NAME.deliver" among the settings. */
static void
doctor_ask_domains(struct doctor *doctor, const struct config *config)
{
	const struct str before = str_of("domain."), after = str_of(".deliver");
	unsigned count = 0;

	for (size_t i = 0; i < config->entry_count; i++) {
		struct str name = str_of(config->entries[i].name);
		char domain[ADDR_DOMAIN_MAX + 1];

		if (name.len <= before.len + after.len ||
		    strncmp(name.at, before.at, before.len) != 0 ||
		    strcmp(name.at + name.len - after.len, after.at) != 0)
			continue;
		name = str_from(name.at + before.len,
				name.len - before.len - after.len);
		if (addr_normalize_domain(name, domain, sizeof(domain)) &&
		    ++count <= DOCTOR_DOMAINS_MAX)
			doctor_ask_domain(doctor, domain);
	}
	if (count > DOCTOR_DOMAINS_MAX) {
		char text[100];

		(void)snprintf(text, sizeof(text),
			       "%u more domains were not looked up",
			       count - DOCTOR_DOMAINS_MAX);
		doctor_say(doctor, "mx", "the table", "warn", text, "");
	}
}

/* ------------------------------------------------------- the way elsewhere */

static const char try_another[] =
	"Try `ostlerctl doctor --to DOMAIN` with a domain whose mail is "
	"elsewhere.";

static void
on_reach(void *owner, const struct reach_end *end)
{
	struct doctor *doctor = owner;
	char ip[IP_TEXT_MAX], about[ADDR_DOMAIN_MAX + 80], text[340];

	doctor->reach = NULL;
	(void)snprintf(about, sizeof(about), "%s [%s] port %u", end->host,
		       ip_format(&end->ip, ip), end->port);
	(void)snprintf(text, sizeof(text), "no connection: %s", end->why);
	if (end->tried > 1)
		(void)snprintf(text + strlen(text), sizeof(text) - strlen(text),
			       " (%u addresses were tried)", end->tried);
	switch (end->result) {
	case REACH_CONNECTED:
		doctor_say(doctor, "outbound", about, "ok", "can be reached",
			   "");
		break;
	case REACH_FAILED:
		doctor_say(doctor, "outbound", about, "fail", text,
			   doctor->is_smarthost
				   ? "Mail for elsewhere waits: see that the "
				     "smarthost runs, and that a firewall lets "
				     "this host connect to it."
				   : "If --to with other domains says the "
				     "same, your provider blocks port 25 "
				     "outbound; ask them or use a smarthost.");
		break;
	case REACH_NO_ADDRESS:
		if (doctor->is_smarthost)
			doctor_say(doctor, "outbound", "the smarthost", "fail",
				   end->why,
				   end->is_dns_silent
					   ? no_dns
					   : "Correct the name in the route's "
					     "via: mail for elsewhere waits.");
		else
			doctor_say(doctor, "outbound",
				   doctor->to != NULL ? doctor->to
						      : "elsewhere",
				   "warn", end->why, try_another);
		break;
	}
	doctor_end_if_done(doctor);
}

/* What is behind this host's own name proves nothing about the outside. */
static bool
is_this_host(void *owner, const struct ip *ip, uint16_t port)
{
	const struct doctor *doctor = owner;

	for (size_t i = 0; i < doctor->address_count; i++)
		if (ip_equal(&doctor->addresses[i], ip))
			return true;
	return listeners_accept_on(doctor->request->daemon->listeners, ip,
				   port);
}

static bool
is_elsewhere(const struct next_hop *hop)
{
	switch (hop->kind) {
	case HOP_MX:
		return true;
	case HOP_SMTP:
	case HOP_LMTP:
		return !hop->is_local && hop->targets[0].unix_path == NULL;
	case HOP_MAILDIR:
	case HOP_DISCARD:
		break;
	}
	return false;
}

/* Connects as a delivery to --to would; without it as one to a domain that
 * no route names, and when that goes by MX, to hosts that an MX of ours
 * names. */
static void
doctor_reach(struct doctor *doctor)
{
	struct daemon *daemon = doctor->request->daemon;
	struct route_opts opts = control_route_opts(daemon);
	struct hop_target targets[OTHERS_MAX] = {0};
	const struct addr sender = {0};
	struct next_hop hop;
	struct reach_request request = {.loop = daemon->loop,
					.resolver = daemon->resolver,
					.hop = &hop,
					.opts = &opts};

	opts.is_fresh = true;
	policy_next_hop(daemon->config->policy, &sender, &doctor->recipient,
			&hop, NULL);
	doctor->is_smarthost = hop.kind != HOP_MX;
	request.is_skipped = hop.kind == HOP_MX ? is_this_host : NULL;
	if (!is_elsewhere(&hop)) {
		doctor_say(doctor, "outbound",
			   doctor->to != NULL ? doctor->to : "elsewhere",
			   "warn", "its mail does not leave for another site",
			   try_another);
		return;
	}
	if (hop.kind == HOP_MX && doctor->to == NULL) {
		if (doctor->other_count == 0) {
			doctor_say(doctor, "outbound", "elsewhere", "warn",
				   "not tried: no MX record of the local "
				   "domains names another host",
				   try_another);
			return;
		}
		for (size_t i = 0; i < doctor->other_count; i++)
			targets[i] =
				(struct hop_target){.host = doctor->others[i],
						    .port = opts.port};
		hop.kind = HOP_SMTP;
		hop.targets = targets;
		hop.target_count = doctor->other_count;
	}
	doctor->reach = reach_start(&request, on_reach, doctor);
}

/* ------------------------------------------------------ what is known here */

static void
check_resolver(struct doctor *doctor)
{
	const struct daemon *daemon = doctor->request->daemon;
	char servers[400];
	bool is_local =
		resolver_servers(daemon->resolver, servers, sizeof(servers));

	doctor_say(doctor, "resolver", servers, is_local ? "ok" : "warn",
		   is_local ? "on this host"
			    : "not on this host: what it says of DNSSEC is "
			      "not believed, and DANE is not used",
		   is_local ? ""
			    : "Run a validating resolver here (unbound) and "
			      "name it in resolver.servers or resolv.conf.");
}

static void
check_spool(struct doctor *doctor)
{
	const struct daemon *daemon = doctor->request->daemon;
	uint64_t floor = daemon->config->limits.spool_free;
	struct queue_stats stats;
	char text[100], room[24], least[24];
	const char *state = "ok";

	queue_stats(daemon->queue, &stats);
	if (stats.spool.disk_free < floor)
		state = "fail";
	else if (stats.spool.disk_free < 2 * floor)
		state = "warn";
	(void)snprintf(text, sizeof(text), "%s free, %s are kept free",
		       units_format_size(stats.spool.disk_free, room,
					 sizeof(room)),
		       units_format_size(floor, least, sizeof(least)));
	doctor_say(doctor, "spool", daemon->config->spool, state, text,
		   strcmp(state, "ok") == 0
			   ? ""
			   : "Make room: below limits.spool_free new mail is "
			     "answered 452.");
}

static void
check_certificates(struct doctor *doctor)
{
	const struct daemon *daemon = doctor->request->daemon;
	const struct smtpd_tls *tls = daemon->smtpd->tls;
	struct certificate_state state;

	for (size_t i = 0; i < tls->count; i++) {
		if (tls->contexts[i] == NULL)
			continue;
		certificate_state(tls->contexts[i], clock_wall_ms(), &state);
		doctor_say(doctor, "certificate",
			   daemon->config->listeners[i].name, state.state,
			   state.text, state.advice);
	}
}

static void
check_listeners(struct doctor *doctor)
{
	const struct daemon *daemon = doctor->request->daemon;

	for (size_t i = 0; i < daemon->config->listener_count; i++) {
		const struct listener_config *listener =
			&daemon->config->listeners[i];

		for (size_t j = 0; j < listener->address_count; j++) {
			const struct listener_address *at =
				&listener->addresses[j];
			char ip[IP_TEXT_MAX], about[120];
			bool is_open;

			if (at->ip.family == IP_NONE)
				continue;
			is_open = listeners_accept_on(daemon->listeners,
						      &at->ip, at->port);
			(void)snprintf(about, sizeof(about), "%s port %u",
				       ip_format(&at->ip, ip), at->port);
			doctor_say(doctor, "listener", about,
				   is_open ? "ok" : "fail",
				   is_open ? "accepts" : "does not accept",
				   is_open ? ""
					   : "The log says why it could not "
					     "be bound.");
		}
	}
}

/* Does a listener ask for logins? On a unix socket the kernel names them. */
static bool
wants_logins(const struct config *config)
{
	for (size_t i = 0; i < config->listener_count; i++)
		for (size_t j = 0; j < config->listeners[i].address_count; j++)
			if (config->listeners[i].role == POLICY_SUBMISSION &&
			    config->listeners[i].addresses[j].ip.family !=
				    IP_NONE)
				return true;
	return false;
}

/* Nobody's login was tried: what says no can be asked. */
static void
on_login(void *owner, const struct auth_answer *answer)
{
	struct doctor *doctor = owner;
	const struct config *config = doctor->request->daemon->config;
	const char *program = config_password_program(config);
	const char *about = program != NULL ? program : config->auth.database;
	const char *why = answer->reason != NULL ? answer->reason : "";

	auth_free(doctor->login);
	doctor->login = NULL;
	if (answer->result == AUTH_TEMPORARY)
		doctor_say(doctor, "logins", about, "fail", why,
			   program != NULL
				   ? "Every login gets 454: see that the "
				     "program runs, and that the daemon's user "
				     "may use its socket (Debian: adduser "
				     "ostler sasl)."
				   : "Every login gets 454. `ostlerctl user "
				     "list` says more; put a backup in its "
				     "place, or remove it and add the logins "
				     "anew.");
	else
		doctor_say(doctor, "logins", about, "ok", "can be asked", "");
	doctor_end_if_done(doctor);
}

/* By a login that nobody is expected to have: whether the database can be
 * asked shows in how it is refused. */
static void
try_login(struct doctor *doctor)
{
	struct daemon *daemon = doctor->request->daemon;
	/* "\0ostlerctl doctor\0x", RFC 4616 */
	const struct auth_start start = {
		.mechanism = str_of("PLAIN"),
		.has_initial = true,
		.initial = str_of("AG9zdGxlcmN0bCBkb2N0b3IAeA=="),
		.is_secure = true,
	};

	if (strstr(auth_server_mechanisms(daemon->auth, AUTH_OFFER_SECURE),
		   "PLAIN") == NULL) {
		doctor_say(doctor, "logins", daemon->config->auth.database,
			   "ok", "can be read", "");
		return;
	}
	doctor->login = auth_begin(daemon->auth, &start, on_login, doctor);
}

/* Submission without a database takes nobody's login. */
static void
check_logins(struct doctor *doctor)
{
	const struct config *config = doctor->request->daemon->config;
	const char *database = config->auth.database;
	char advice[DOCTOR_ADVICE_MAX], text[100];

	if (!wants_logins(config) || database == NULL)
		return;
	if (config_password_program(config) != NULL ||
	    access(database, R_OK) == 0) {
		try_login(doctor);
	} else if (errno == ENOENT) {
		doctor_say(doctor, "logins", database, "warn", "does not exist",
			   "Add the first login by `ostlerctl user add NAME`, "
			   "or set auth.options.");
	} else {
		(void)snprintf(text, sizeof(text), "cannot be read: %s",
			       strerror(errno));
		doctor_files_let_read(config->user, database, advice);
		doctor_say(doctor, "logins", database, "fail", text, advice);
	}
}

static void
on_file(void *arg, const char *check, const char *about, const char *state,
	const char *text, const char *advice)
{
	doctor_say(arg, check, about, state, text, advice);
}

static void
check_warnings(struct doctor *doctor)
{
	json_t *warnings = control_warnings(doctor->request->daemon), *one;
	size_t i;

	json_array_foreach(warnings, i, one)
	{
		doctor_say(doctor, "warning", "the relay", "warn",
			   json_string_value(one), "");
	}
	json_decref(warnings);
}

/* What deliveries met, and no look at this machine would show. */
static void
check_faults(struct doctor *doctor)
{
	const struct faults *faults =
		queue_faults(doctor->request->daemon->queue);

	for (size_t i = 0; i < faults->count; i++) {
		const struct fault *fault = &faults->list[i];
		char about[FAULT_WHERE_MAX + 32];

		/* these two were looked at a moment ago */
		if (fault->kind == FAULT_DISK ||
		    fault->kind == FAULT_CERTIFICATE)
			continue;
		(void)snprintf(about, sizeof(about), "%s%s%s",
			       fault_kind_name(fault->kind),
			       fault->where[0] != '\0' ? " at " : "",
			       fault->where);
		doctor_say(doctor, "fault", about, "fail", fault->words,
			   fault_advice(fault->kind));
	}
}

/* Before this program was written no message can come. */
static void
check_clock(struct doctor *doctor)
{
	uint64_t now_ms = clock_wall_ms();
	char date[CLOCK_DATE_MAX];
	bool is_sane = now_ms > 1767225600000; /* 2026-01-01 */

	doctor_say(doctor, "clock", "this host", is_sane ? "ok" : "fail",
		   clock_format_rfc3339(now_ms, date),
		   is_sane ? ""
			   : "Set the time: certificates and dates of "
			     "messages depend on it.");
}

/* ------------------------------------------------------------- the command */

static void
on_cancel(struct control_request *request)
{
	struct doctor *doctor = request->priv;

	while (!list_is_empty(&doctor->questions)) {
		struct question *question =
			container_of(list_pop(&doctor->questions),
				     struct question, link);

		resolver_cancel(question->query);
		free(question);
	}
	auth_free(doctor->login);
	reach_cancel(doctor->reach);
	free(doctor);
	control_end(request, EXIT_NO, NULL);
}

/* "postmaster" there; nothing is sent to it. */
static bool
doctor_recipient(struct doctor *doctor)
{
	const char *to = doctor->to != NULL ? doctor->to : "any.invalid";
	const struct str local = str_of("postmaster");
	char domain[ADDR_DOMAIN_MAX + 1];

	(void)str_copy(doctor->recipient.text, sizeof(doctor->recipient.text),
		       local);
	doctor->recipient.local_len = (uint16_t)local.len;
	return addr_normalize_domain(str_of(to), domain, sizeof(domain)) &&
	       addr_qualify(&doctor->recipient, domain);
}

void
control_doctor(struct control_request *request)
{
	const struct config *config = request->daemon->config;
	struct doctor *doctor = mem_zalloc(sizeof(*doctor));

	doctor->to = control_arg(request, "to");
	if (!doctor_recipient(doctor)) {
		free(doctor);
		control_end(request, EXIT_USAGE, "--to: not a domain name");
		return;
	}
	doctor->request = request;
	list_init(&doctor->questions);
	request->priv = doctor;
	request->on_cancel = on_cancel;
	check_clock(doctor);
	check_resolver(doctor);
	check_spool(doctor);
	check_listeners(doctor);
	check_certificates(doctor);
	check_logins(doctor);
	doctor_files(config, on_file, doctor);
	check_warnings(doctor);
	check_faults(doctor);
	doctor->addresses_left = 2;
	doctor_ask(doctor, QUESTION_ADDRESS, config->hostname, DNS_A,
		   config->hostname);
	doctor_ask(doctor, QUESTION_ADDRESS_V6, config->hostname, DNS_AAAA,
		   config->hostname);
	doctor_ask_domains(doctor, config);
	doctor->is_started = true;
}
