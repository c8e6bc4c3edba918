/* SPDX-License-Identifier: ISC */
/*
 * server/control_auth.c - who is slowed down, and what strangers point here
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "auth/throttle.h"
#include "lib/clock.h"
#include "lib/mem.h"
#include "policy/caps.h"
#include "policy/policy.h"
#include "server/config.h"
#include "server/control.h"
#include "server/daemon.h"
#include "server/points_here.h"
#include "server/queue_json.h"
#include "server/smtpd.h"

/* Rows and warnings of one kind; the rest are counted. */
#define SHOWN_MAX 20

/* -------------------------------------------------------------- auth list */

static void
on_client(void *arg, const struct throttle_client *client)
{
	struct control_request *request = arg;
	char ip[IP_TEXT_MAX];

	(void)control_row(
		request,
		json_pack("{s:s,s:s,s:b,s:I,s:I,s:I}", "kind", "address",
			  "address", ip_format(&client->ip, ip), "block",
			  client->ip.family == IP_V6, "failures",
			  (json_int_t)client->failures, "locked_s",
			  (json_int_t)((client->locked_ms + 999) / 1000),
			  "last_s",
			  (json_int_t)((clock_boot_ms() - client->last_ms) /
				       1000)));
}

/* A login is whatever bytes a stranger sent. */
static void
on_login(void *arg, const struct throttle_login *login)
{
	struct control_request *request = arg;

	(void)control_row(request,
			  json_pack("{s:s,s:o,s:I,s:I,s:b}", "kind", "login",
				    "login", queue_json_line(login->login),
				    "failures", (json_int_t)login->failures,
				    "addresses", (json_int_t)login->addresses,
				    "attacked", login->is_attacked));
}

static void
on_paused(void *arg, const char *login, uint64_t since_ms)
{
	struct control_request *request = arg;

	(void)control_row(request,
			  json_pack("{s:s,s:o,s:I}", "kind", "paused", "login",
				    queue_json_line(login), "since_s",
				    (json_int_t)((clock_boot_ms() - since_ms) /
						 1000)));
}

void
control_auth_list(struct control_request *request)
{
	struct smtpd *smtpd = request->daemon->smtpd;

	caps_each_paused(smtpd->caps, on_paused, request);
	throttle_each(smtpd->throttle, smtpd->config->limits.auth_lock_ms,
		      clock_boot_ms(), on_client, on_login, request);
	control_end(request, EXIT_DONE, NULL);
}

void
control_auth_clear(struct control_request *request)
{
	struct smtpd *smtpd = request->daemon->smtpd;
	const char *who = control_arg(request, "who");
	struct str rest, address = {NULL, 0};
	bool has_cleared = false;
	struct ip ip;

	if (who == NULL) {
		control_end(request, EXIT_USAGE, "which address or login?");
		return;
	}
	rest = str_of(who);
	/* also as the list shows it: 2001:db8::/64 */
	(void)str_cut(&rest, '/', &address);
	if (ip_parse(address, &ip))
		has_cleared = throttle_clear(smtpd->throttle, &ip);
	if (throttle_clear_login(smtpd->throttle, who))
		has_cleared = true;
	if (caps_resume(smtpd->caps, who))
		has_cleared = true;
	if (has_cleared)
		control_end(request, EXIT_DONE, NULL);
	else
		control_end(request, EXIT_NO,
			    "nothing is held against this address or login");
}

/* ----------------------------------------------------------------- status */

/* A list of which only so many elements are shown. */
struct shown {
	const struct daemon *daemon;
	json_t *list;
	size_t count;
};

/* Takes text, which may have a login in it. */
static void
add_warning(struct shown *shown, char *text)
{
	json_array_append_new(shown->list, queue_json_line(text));
	free(text);
}

static void
on_paused_warning(void *arg, const char *login, uint64_t since_ms)
{
	struct shown *shown = arg;

	(void)since_ms;
	if (shown->count++ < SHOWN_MAX)
		add_warning(shown,
			    mem_printf("login %s is paused: it asked for more "
				       "than three times its cap within an "
				       "hour; ostlerctl auth clear lifts it",
				       login));
}

static void
on_attacked_warning(void *arg, const struct throttle_login *login)
{
	struct shown *shown = arg;

	if (login->is_attacked && shown->count++ < SHOWN_MAX)
		add_warning(shown,
			    mem_printf("login %s fails from many addresses (%u "
				       "within an hour, %u failures)",
				       login->login, login->addresses,
				       login->failures));
}

/* Seen to point here, and still not in the table? */
static bool
domain_is_foreign(const struct daemon *daemon, const char *domain)
{
	struct addr recipient = {.text = "somebody", .local_len = 8};
	struct addr sender = {.text = ""};
	struct policy_facts facts = {
		.role = POLICY_MX,
		.sender = &sender,
		.recipient = &recipient,
	};

	return addr_qualify(&recipient, domain) &&
	       policy_wants_points_here(daemon->config->policy, &facts);
}

static void
on_domain_warning(void *arg, const struct points_here_domain *domain)
{
	struct shown *shown = arg;

	if (!domain_is_foreign(shown->daemon, domain->domain) ||
	    shown->count++ >= SHOWN_MAX)
		return;
	json_array_append_new(
		shown->list,
		json_sprintf("the MX of %s names this host, but %s is not "
			     "configured; only if you host %s: domain \"%s\" "
			     "{ deliver = \"...\" }",
			     domain->domain, domain->domain, domain->domain,
			     domain->domain));
}

void
control_front_warnings(const struct daemon *daemon, json_t *list)
{
	struct smtpd *smtpd = daemon->smtpd;
	struct shown shown = {daemon, list, 0};
	char ip[IP_TEXT_MAX];

	caps_each_paused(smtpd->caps, on_paused_warning, &shown);
	shown.count = 0;
	throttle_each(smtpd->throttle, smtpd->config->limits.auth_lock_ms,
		      clock_boot_ms(), NULL, on_attacked_warning, &shown);
	shown.count = 0;
	points_here_each(smtpd->points_here, on_domain_warning, &shown);
	if (smtpd->nat.is_told)
		json_array_append_new(list,
				      json_sprintf("%s (%s)", NAT_WATCH_TEXT,
						   ip_format(&smtpd->nat.ip,
							     ip)));
}

static void
on_domain(void *arg, const struct points_here_domain *domain)
{
	struct shown *shown = arg;

	if (!domain_is_foreign(shown->daemon, domain->domain) ||
	    shown->count++ >= SHOWN_MAX)
		return;
	json_array_append_new(shown->list,
			      json_pack("{s:s,s:I,s:I,s:I,s:b}", "domain",
					domain->domain, "first_s",
					(json_int_t)domain->first_s, "last_s",
					(json_int_t)domain->last_s, "count",
					(json_int_t)domain->count, "too_long",
					domain->is_too_long));
}

json_t *
control_front_status(const struct daemon *daemon)
{
	const struct smtpd *smtpd = daemon->smtpd;
	const struct points_here_stats *stats =
		points_here_stats(smtpd->points_here);
	struct shown shown = {daemon, json_array(), 0};

	points_here_each(smtpd->points_here, on_domain, &shown);
	return json_pack("{s:I,s:I,s:I,s:o}", "deferred",
			 (json_int_t)smtpd->stats.points_here, "lookups",
			 (json_int_t)stats->lookups, "not_asked",
			 (json_int_t)stats->refused, "domains", shown.list);
}
