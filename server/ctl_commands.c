/* SPDX-License-Identifier: ISC */
/*
 * server/ctl_commands.c - ostlerctl's other commands
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/units.h"
#include "queue/bounce/classify.h"
#include "queue/bounce/texts.h"
#include "server/classify_json.h"
#include "server/config.h"
#include "server/ctl.h"
#include "server/daemon.h"
#include "server/explain.h"

static const char *
get(const json_t *row, const char *name)
{
	const char *text = json_string_value(json_object_get(row, name));

	return text != NULL ? text : "";
}

static long long
number(const json_t *row, const char *name)
{
	return (long long)json_integer_value(json_object_get(row, name));
}

static bool
no_more_words(struct ctl *ctl)
{
	json_t *args = json_object();
	bool is_fine = ctl_options(ctl, NULL, 0, args) && ctl->argc == 1;

	json_decref(args);
	if (!is_fine)
		(void)fprintf(stderr, "usage: ostlerctl %s\n", ctl->argv[0]);
	return is_fine;
}

/* ---------------------------------------------------------------- status */

/* "mx 0.0.0.0:25 [::]:25, submission ..." */
static void
print_listeners(const json_t *listeners)
{
	const char *before = "";
	json_t *one;
	size_t index;

	if (json_array_size(listeners) == 0)
		return;
	(void)printf("listens  ");
	json_array_foreach(listeners, index, one)
	{
		const char *name = get(one, "listener");

		if (strcmp(name, before) != 0)
			(void)printf("%s %s", index == 0 ? "" : ",", name);
		(void)printf(" %s", get(one, "address"));
		before = name;
	}
	(void)printf("\n");
}

static void
print_status(void *arg, const json_t *row)
{
	const json_t *queue = json_object_get(row, "queue");
	const json_t *sessions = json_object_get(row, "sessions");
	const json_t *spool = json_object_get(row, "spool");
	const json_t *digest = json_object_get(row, "digest");
	const json_t *minute = json_object_get(row, "last_minute");
	char uptime[24], room[16];
	json_t *one;
	size_t index;

	(void)arg;
	(void)printf("ostler %s on %s, up %s, pid %lld%s\n",
		     get(row, "version"), get(row, "hostname"),
		     units_format_duration((uint64_t)number(row, "uptime_s"),
					   uptime, sizeof(uptime)),
		     number(row, "pid"),
		     json_is_true(json_object_get(row, "paused")) ? ", PAUSED"
								  : "");
	print_listeners(json_object_get(row, "listeners"));
	(void)printf("sessions  %lld open, %lld since start, %lld refused\n",
		     number(sessions, "open"), number(sessions, "connections"),
		     number(sessions, "refused"));
	(void)printf("logins    %lld, %lld failed\n",
		     number(sessions, "logins"),
		     number(sessions, "failed_logins"));
	(void)printf("incoming  %lld accepted, %lld refused (%lld relaying "
		     "denied, %lld of them for now)\n",
		     number(queue, "accepted"), number(sessions, "rejected"),
		     number(sessions, "relay_denied"),
		     number(json_object_get(row, "points_here"), "deferred"));
	(void)printf("outgoing  %lld delivered, %lld bounced, %lld expired\n",
		     number(queue, "delivered"), number(queue, "bounced"),
		     number(queue, "expired"));
	(void)printf("queue     %lld message%s: %lld due, %lld deferred, "
		     "%lld active, %lld held\n",
		     number(queue, "messages"),
		     number(queue, "messages") == 1 ? "" : "s",
		     number(queue, "queued") - number(queue, "deferred"),
		     number(queue, "deferred"), number(queue, "active"),
		     number(queue, "held"));
	(void)printf("spool     %lld in the log, %lld in files, %s free\n",
		     number(spool, "in_log"), number(spool, "in_files"),
		     units_format_size((uint64_t)number(spool, "disk_free"),
				       room, sizeof(room)));
	(void)printf("minute    %lld accepted, %lld refused, %lld delivered, "
		     "%lld deferred, %lld bounced\n",
		     number(minute, "accepted"), number(minute, "rejected"),
		     number(minute, "delivered"), number(minute, "deferred"),
		     number(minute, "bounced"));
	if (number(digest, "waiting") + number(digest, "on_way") != 0)
		(void)printf("digest    %lld failures nobody was told about "
			     "wait for the postmaster, %lld are on their way\n",
			     number(digest, "waiting"),
			     number(digest, "on_way"));
	json_array_foreach(json_object_get(row, "destinations"), index, one)(
		void) printf("  %-32s %lld waiting, %lld active%s%s\n",
			     get(one, "destination"), number(one, "waiting"),
			     number(one, "active"),
			     get(one, "last_error")[0] != '\0' ? ": " : "",
			     get(one, "last_error"));
	json_array_foreach(json_object_get(row, "slow_hosts"), index, one)(void)
		printf("  %s port %lld asked for less: %lld of %lld "
		       "connections: %s\n",
		       get(one, "ip"), number(one, "port"),
		       number(one, "active"), number(one, "connections"),
		       get(one, "reply"));
	json_array_foreach(json_object_get(row, "faults"), index, one)
	{
		char since[CLOCK_DATE_MAX];

		(void)printf("fault: %s%s%s: ", get(one, "kind"),
			     get(one, "where")[0] != '\0' ? " at " : "",
			     get(one, "where"));
		ctl_print_lines(get(one, "reason"), 7);
		(void)printf("       %lld time%s since %s. %s\n",
			     number(one, "count"),
			     number(one, "count") == 1 ? "" : "s",
			     clock_format_rfc3339((uint64_t)number(one,
								   "since_ms"),
						  since),
			     get(one, "advice"));
	}
	json_array_foreach(json_object_get(row, "warnings"), index, one)(void)
		printf("warning: %s\n", json_string_value(one));
}

int
ctl_status(struct ctl *ctl)
{
	if (!no_more_words(ctl))
		return EXIT_USAGE;
	return ctl_show(ctl, "status", json_object(), print_status, NULL);
}

static void
print_nothing(void *arg, const json_t *row)
{
	(void)arg;
	(void)row;
}

int
ctl_simple(struct ctl *ctl)
{
	if (!no_more_words(ctl))
		return EXIT_USAGE;
	return ctl_show(ctl, ctl->argv[0], json_object(), print_nothing, NULL);
}

/* --------------------------------------------------------------- explain */

static void
print_explained(void *arg, const json_t *row)
{
	(void)arg;
	explain_print(row);
}

/* No daemon answers: the file decides, by the same functions. */
static int
explain_offline(struct ctl *ctl, const json_t *args)
{
	struct explain_input input = {
		.listener =
			json_string_value(json_object_get(args, "listener")),
		.client = json_string_value(json_object_get(args, "client")),
		.user = json_string_value(json_object_get(args, "user")),
		.helo = json_string_value(json_object_get(args, "helo")),
		.has_tls = json_is_true(json_object_get(args, "tls")),
		.from = get(args, "from"),
		.to = get(args, "to"),
		.points_here =
			json_string_value(json_object_get(args, "points-here")),
	};
	struct err err = ERR_INIT;
	json_t *explained = explain(ctl->config, &input, NULL, &err);
	bool is_accepted;

	if (explained == NULL) {
		(void)fprintf(stderr, "ostlerctl: %s\n", err.text);
		return EXIT_USAGE;
	}
	is_accepted = strcmp(get(explained, "decision"), "accepted") == 0;
	if (ctl->is_json)
		ctl_print_json(explained);
	else
		explain_print(explained);
	json_decref(explained);
	return is_accepted ? EXIT_DONE : EXIT_NO;
}

static void
on_explained(void *arg, const json_t *row)
{
	const struct ctl *ctl = arg;

	if (ctl->is_json)
		ctl_print_json(row);
	else
		print_explained(NULL, row);
}

int
ctl_explain(struct ctl *ctl)
{
	static const struct ctl_option options[] = {
		{"listener", true}, {"client", true},	   {"user", true},
		{"helo", true},	    {"tls", false},	   {"from", true},
		{"to", true},	    {"points-here", true},
	};
	json_t *args = json_object();
	int rc = EXIT_USAGE;

	if (!ctl_options(ctl, options, 8, args)) {
		/* it has said why */
	} else if (ctl->argc != 1 || json_object_get(args, "from") == NULL ||
		   json_object_get(args, "to") == NULL) {
		(void)fprintf(stderr,
			      "usage: ostlerctl explain [--listener N] "
			      "[--client IP] [--user U] [--helo H] [--tls] "
			      "[--points-here here|here-too-long|elsewhere] "
			      "--from A --to B\n");
	} else {
		rc = ctl_ask(ctl, "explain", json_incref(args), on_explained,
			     ctl);
		if (rc == -1)
			rc = explain_offline(ctl, args);
	}
	json_decref(args);
	return rc;
}

/* ----------------------------------------------------------------- route */

static void
print_security(const json_t *host)
{
	long long ttl_s = number(host, "security_ttl_s");

	if (get(host, "security")[0] == '\0')
		return;
	(void)printf("        security %s", get(host, "security"));
	if (get(host, "security_from")[0] != '\0')
		(void)printf(" by %s", get(host, "security_from"));
	if (ttl_s >= 0)
		(void)printf(", %llds left", ttl_s);
	if (get(host, "security_why")[0] != '\0')
		(void)printf(": %s", get(host, "security_why"));
	(void)printf("\n");
}

void
ctl_print_route(void *arg, const json_t *row)
{
	const json_t *hop = json_object_get(row, "next_hop");
	json_t *host, *addr;
	size_t i, j;

	(void)arg;
	(void)printf("%s (%s)", get(hop, "key"), get(hop, "config"));
	if (get(hop, "maildir")[0] != '\0')
		(void)printf("\n  %s\n", get(hop, "maildir"));
	else if (get(hop, "tls")[0] != '\0')
		(void)printf(", TLS %s\n", get(hop, "tls"));
	else
		(void)printf("\n");
	if (json_is_true(json_object_get(row, "implicit_mx")))
		(void)printf("  no MX: the domain's own address is used\n");
	json_array_foreach(json_object_get(row, "hosts"), i, host)
	{
		long long preference = number(host, "preference");
		long long ttl_s = number(host, "ttl_s");

		(void)printf("  ");
		if (preference >= 0)
			(void)printf("%5lld ", preference);
		(void)printf("%s:%lld", get(host, "host"),
			     number(host, "port"));
		json_array_foreach(json_object_get(host, "addresses"), j, addr)(
			void) printf(" [%s]", json_string_value(addr));
		if (ttl_s >= 0)
			(void)printf("  %s, %llds left",
				     json_is_true(
					     json_object_get(host, "cached"))
					     ? "cached"
					     : "fresh",
				     ttl_s);
		if (number(host, "mx_ttl_s") != 0 &&
		    number(host, "address_ttl_s") != 0)
			(void)printf(" (MX %llds, address %llds)",
				     number(host, "mx_ttl_s"),
				     number(host, "address_ttl_s"));
		if (json_is_true(json_object_get(host, "secure")))
			(void)printf(", DNSSEC");
		if (get(host, "why")[0] != '\0')
			(void)printf("  %s", get(host, "why"));
		(void)printf("\n");
		print_security(host);
	}
	if (!json_is_true(json_object_get(row, "usable")))
		(void)printf("not usable: %s (%s, %s)\n", get(row, "why"),
			     get(row, "cause"),
			     json_is_true(json_object_get(row, "permanent"))
				     ? "final"
				     : "mail waits");
}

int
ctl_route(struct ctl *ctl)
{
	static const struct ctl_option options[] = {
		{"fresh", false},
		{"from", true},
	};
	json_t *args = json_object();

	if (!ctl_options(ctl, options, 2, args) || ctl->argc != 2) {
		(void)fprintf(stderr, "usage: ostlerctl route DOMAIN|ADDRESS "
				      "[--fresh] [--from SENDER]\n");
		json_decref(args);
		return EXIT_USAGE;
	}
	json_object_set_new(args, "target", json_string(ctl->argv[1]));
	return ctl_show(ctl, "route", args, ctl_print_route, NULL);
}

/* -------------------------------------------------------------- classify */

static void
print_class(void *arg, const json_t *row)
{
	static const char *const keys[] = {
		"category",    "permanence", "rule",   "words", "detail",
		"explanation", "who",	     "author", "admin",
	};

	(void)arg;
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (get(row, keys[i])[0] != '\0')
			(void)printf("%-12s %s\n", keys[i], get(row, keys[i]));
}

static void
print_json(void *arg, const json_t *row)
{
	(void)arg;
	ctl_print_json(row);
}

static int
classify_offline(struct ctl *ctl, const char *reply, const char *language)
{
	struct classifier *classifier = classifier_builtin();
	struct texts *texts = texts_builtin();
	const struct config *config = ctl->config;
	json_t *row;

	if (language == NULL && config != NULL)
		language = config->report.language;
	row = classify_json(config != NULL ? config->report.classifier
					   : classifier,
			    config != NULL ? config->report.loaded : texts,
			    language, reply);
	if (ctl->is_json)
		ctl_print_json(row);
	else
		print_class(NULL, row);
	json_decref(row);
	classifier_unref(classifier);
	texts_unref(texts);
	return EXIT_DONE;
}

/* Anybody may ask, and without a configuration: then what is built in
 * answers. */
static int
classify(struct ctl *ctl, json_t *args)
{
	const char *language =
		json_string_value(json_object_get(args, "language"));
	const char *reply = ctl->argv[1];
	int rc;

	if (access(ctl->config_file, R_OK) != 0)
		return classify_offline(ctl, reply, language);
	rc = ctl_config(ctl);
	if (rc == EXIT_DONE && access(ctl->config->control_socket, W_OK) != 0)
		return classify_offline(ctl, reply, language);
	json_object_set_new(args, "reply", json_string(reply));
	rc = ctl_ask(ctl, "classify", json_incref(args),
		     ctl->is_json ? print_json : print_class, NULL);
	return rc == -1 ? classify_offline(ctl, reply, language) : rc;
}

int
ctl_classify(struct ctl *ctl)
{
	static const struct ctl_option options[] = {{"language", true}};
	json_t *args = json_object();
	int rc = EXIT_USAGE;

	if (!ctl_options(ctl, options, 1, args) || ctl->argc != 2)
		(void)fprintf(stderr,
			      "usage: ostlerctl classify [--language TAG] "
			      "'REPLY TEXT'\n");
	else
		rc = classify(ctl, args);
	json_decref(args);
	return rc;
}

/* ---------------------------------------------------------------- config */

struct config_print {
	struct ctl *ctl;
	bool is_diff; /* only what differs from the defaults */
};

static void
print_setting(void *arg, const json_t *row)
{
	const struct config_print *print = arg;
	const char *from = get(row, "from");
	bool is_default = strcmp(from, "default") == 0;

	if (print->is_diff && is_default)
		return;
	if (print->ctl->is_json)
		ctl_print_json(row);
	else
		(void)printf("%-32s = %-32s # %s\n", get(row, "name"),
			     get(row, "value"), from);
}

int
ctl_show_config(struct ctl *ctl)
{
	static const struct ctl_option options[] = {{"diff", false}};
	struct config_print print = {.ctl = ctl};
	json_t *args = json_object();
	int rc;

	if (!ctl_options(ctl, options, 1, args) || ctl->argc != 1) {
		(void)fprintf(stderr, "usage: ostlerctl config [--diff]\n");
		json_decref(args);
		return EXIT_USAGE;
	}
	print.is_diff = json_is_true(json_object_get(args, "diff"));
	rc = ctl_ask(ctl, "config", args, print_setting, &print);
	if (rc != -1)
		return rc;
	for (size_t i = 0; i < ctl->config->entry_count; i++) {
		const struct config_entry *entry = &ctl->config->entries[i];
		json_t *row =
			json_pack("{s:s,s:s,s:s}", "name", entry->name, "value",
				  entry->value != NULL ? entry->value : "",
				  "from",
				  entry->at != NULL ? entry->at : "default");

		print_setting(&print, row);
		json_decref(row);
	}
	return EXIT_DONE;
}
