/* SPDX-License-Identifier: ISC */
/*
 * From files to struct config: their values as texts (config_values.h),
 * converted by the table of keys or here, then the checks of policy/builder.h
 * and config_check.h.
 */
#include "server/config.h"

#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/err.h"
#include "lib/mem.h"
#include "lib/str.h"
#include "policy/builder.h"
#include "server/config_certificate.h"
#include "server/config_check.h"
#include "server/config_entries.h"
#include "server/config_file.h"
#include "server/config_keys.h"
#include "server/config_listener.h"
#include "server/config_report.h"
#include "server/config_reports.h"
#include "server/config_rows.h"
#include "server/config_values.h"

#define TABLE_FILE_MAX ((size_t)64 << 20)

struct load {
	struct config *config;
	struct config_report report;
	struct config_values values;
};

/* ------------------------------------------------------------- listeners */

static const char *
title_of(const struct config_section *section)
{
	return section->scan->title;
}

static void
load_listeners(struct load *load)
{
	struct config *config = load->config;
	struct config_section section;

	for (size_t i = 0;; i++) {
		struct listener_config *listener;
		struct listener_values values;

		section = values_section(&load->values, "listener", i);
		if (section.scan == NULL)
			break;
		values = (struct listener_values){
			.name = title_of(&section),
			.at = section.scan->at,
			.role = values_one(&load->values, &section, "role"),
			.tls = values_one(&load->values, &section, "tls"),
			.addresses =
				values_list(&load->values, &section, "address"),
			.proxy_from = values_list(&load->values, &section,
						  "proxy_from"),
		};
		config->listeners =
			mem_append(config->listeners, config->listener_count,
				   sizeof(config->listeners[0]));
		listener = &config->listeners[config->listener_count++];
		memset(listener, 0, sizeof(*listener));
		values_store(&load->values, &section, listener);
		config_listener_set(listener, &values, &load->report);
	}
	if (config->listener_count == 0)
		config_listener_defaults(config);
	config_listener_check(config, &load->report);
}

static void
load_certificates(struct load *load)
{
	struct config *config = load->config;

	for (size_t i = 0;; i++) {
		struct config_section section =
			values_section(&load->values, "certificate", i);
		struct certificate_config *to;
		struct certificate_values values;

		if (section.scan == NULL)
			return;
		values = (struct certificate_values){
			.title = title_of(&section),
			.at = section.scan->at,
			.names = values_list(&load->values, &section, "for"),
		};
		config->certificates =
			mem_append(config->certificates,
				   config->certificate_count,
				   sizeof(config->certificates[0]));
		to = &config->certificates[config->certificate_count++];
		memset(to, 0, sizeof(*to));
		values_store(&load->values, &section, to);
		config_certificate_set(config, &values, &load->report);
	}
}

/* ---------------------------------------------------------------- policy */

static void
on_builder_report(void *arg, enum builder_severity severity, const char *at,
		  const char *text)
{
	struct config_report *report = arg;

	switch (severity) {
	case BUILDER_ERROR:
		config_error(report, at, "%s", text);
		break;
	case BUILDER_WARNING:
		config_warn(report, at, "%s", text);
		break;
	}
}

/* The text of a table file; none when path is NULL or unreadable. */
static struct table_source
read_table(struct load *load, const struct config_section *section,
	   const char *name, const char *path)
{
	struct table_source source = {.file = {NULL, NULL}};
	struct err err = ERR_INIT;
	size_t len;
	char *text;

	if (path == NULL)
		return source;
	source.file.text = values_keep(&load->values, mem_strdup(path));
	source.file.at = values_one(&load->values, section, name).at;
	text = config_file_read(path, TABLE_FILE_MAX, &len, &err);
	if (text == NULL) {
		config_error(&load->report, source.file.at, "%s: %s", name,
			     err.text);
		return source;
	}
	source.text = str_from(values_keep(&load->values, text), len);
	return source;
}

/* What gethostname and the resolver call this machine; NULL without a dot. */
static char *
machine_name(void)
{
	struct addrinfo hints = {.ai_flags = AI_CANONNAME,
				 .ai_socktype = SOCK_STREAM};
	struct addrinfo *found = NULL;
	char name[256] = "";
	char *full = NULL;

	if (gethostname(name, sizeof(name) - 1) != 0)
		return NULL;
	if (strchr(name, '.') != NULL)
		return mem_strdup(name);
	if (getaddrinfo(name, NULL, &hints, &found) != 0)
		return NULL;
	if (found->ai_canonname != NULL &&
	    strchr(found->ai_canonname, '.') != NULL)
		full = mem_strdup(found->ai_canonname);
	freeaddrinfo(found);
	return full;
}

static struct sourced
hostname_of(struct load *load, const struct config_section *top)
{
	struct sourced hostname = values_one(&load->values, top, "hostname");

	if (hostname.text != NULL && hostname.text[0] != '\0')
		return hostname;
	hostname.text = values_keep(&load->values, machine_name());
	if (hostname.text == NULL)
		config_error(&load->report, hostname.at,
			     "this machine's full name is not known: set "
			     "hostname = \"...\"");
	return hostname;
}

static void
load_relay(struct load *load, struct builder *builder)
{
	struct config_section top = values_section(&load->values, "", 0);
	struct config_section section =
		values_section(&load->values, "relay", 0);
	struct relay_values values = {NULL};
	struct builder_relay relay = {
		.hostname = hostname_of(load, &top),
		.postmaster = values_one(&load->values, &top, "postmaster"),
		.qualify = values_one(&load->values, &top, "qualify"),
		.submission_port = config_submission_port(load->config),
		.trusted_networks = values_list(&load->values, &section,
						"trusted_networks"),
		.mx_points_here =
			values_one(&load->values, &section, "mx_points_here"),
		.sender_binding =
			values_one(&load->values, &section, "sender_binding"),
	};

	values_store(&load->values, &section, &values);
	relay.senders = read_table(load, &section, "senders", values.senders);
	load->config->mx_points_here_defers =
		strcmp(relay.mx_points_here.text, "deny") != 0;
	builder_set_relay(builder, &relay);
	free(values.senders);
}

static void
load_domains(struct load *load, struct builder *builder)
{
	for (size_t i = 0;; i++) {
		struct config_section section =
			values_section(&load->values, "domain", i);
		struct domain_values values = {NULL, NULL, false};
		struct builder_domain domain;

		if (section.scan == NULL)
			return;
		values_store(&load->values, &section, &values);
		domain = (struct builder_domain){
			.name = {title_of(&section), section.scan->at},
			.deliver =
				values_one(&load->values, &section, "deliver"),
			.delimiter = values_one(&load->values, &section,
						"delimiter"),
			.has_subdomains = values.has_subdomains,
			.recipients = read_table(load, &section, "recipients",
						 values.recipients),
			.aliases = read_table(load, &section, "aliases",
					      values.aliases),
		};
		builder_add_domain(builder, &domain);
		free(values.recipients);
		free(values.aliases);
	}
}

static void
load_routes(struct load *load, struct builder *builder)
{
	for (size_t i = 0;; i++) {
		struct config_section section =
			values_section(&load->values, "route", i);
		struct route_values values = {NULL, 10, 100, {0, 0}};
		struct builder_route route;

		if (section.scan == NULL)
			return;
		values_store(&load->values, &section, &values);
		route = (struct builder_route){
			.name = {title_of(&section), section.scan->at},
			.for_domains =
				values_list(&load->values, &section, "for"),
			.sender = values_one(&load->values, &section, "sender"),
			.via = values_list(&load->values, &section, "via"),
			.tls = values_one(&load->values, &section, "tls"),
			.family = values_one(&load->values, &section, "family"),
			.user = values_one(&load->values, &section, "user"),
			.password_file = {values.password_file,
					  values_one(&load->values, &section,
						     "password_file")
						  .at},
			.token_command = values_one(&load->values, &section,
						    "token_command"),
			.source = values_one(&load->values, &section, "source"),
			.mechanisms = values_list(&load->values, &section,
						  "mechanisms"),
			.connections = values.connections,
			.messages_per_connection =
				values.messages_per_connection,
			.rate = values.rate,
		};
		builder_add_route(builder, &route);
		config_check_password_file(&route, &load->report);
		config_check_route(load->config, &route, &load->report);
		free(values.password_file);
	}
}

static void
load_policy(struct load *load)
{
	struct config *config = load->config;
	struct builder *builder = builder_new(on_builder_report, &load->report);

	load_relay(load, builder);
	load_domains(load, builder);
	load_routes(load, builder);
	config->policy = builder_finish(builder);
	if (config->policy == NULL)
		return;
	config->hostname = mem_strdup(policy_hostname(config->policy));
	config->qualify = mem_strdup(policy_qualify(config->policy));
	config->postmaster = mem_strdup(policy_postmaster(config->policy));
}

/* ---------------------------------------------------------------- others */

static void
load_log(struct load *load)
{
	static const char *const levels[] = {"error", "warn", "info", "debug"};
	struct config_section section = values_section(&load->values, "log", 0);
	struct config *config = load->config;
	const char *level = values_one(&load->values, &section, "level").text;

	config->log_format =
		strcmp(values_one(&load->values, &section, "format").text,
		       "json") == 0
			? LOG_FORMAT_JSON
			: LOG_FORMAT_TEXT;
	config->log_level = LOG_LEVEL_INFO;
	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
		if (strcmp(levels[i], level) == 0)
			config->log_level = (enum log_level)i;
}

static void
load_retry(struct load *load)
{
	struct config_section section =
		values_section(&load->values, "queue", 0);
	struct sourced_list list =
		values_list(&load->values, &section, "retry");
	struct config *config = load->config;

	if (list.count == 0) {
		config_error(&load->report, section.scan->at,
			     "retry needs at least one time");
		return;
	}
	config->queue.retry_s =
		mem_zalloc(list.count * sizeof(config->queue.retry_s[0]));
	for (size_t i = 0; i < list.count; i++) {
		uint64_t delay_s;

		if (!units_duration(list.at[i].text, &delay_s) ||
		    delay_s == 0 || delay_s > UINT32_MAX / 2)
			config_error(&load->report, list.at[i].at,
				     "retry \"%s\" is not a time like \"15m\"",
				     list.at[i].text);
		else
			config->queue.retry_s[config->queue.retry_count++] =
				(uint32_t)delay_s;
	}
}

/* server = address [ ":" port ], made complete */
static char *
read_server(const struct sourced *value)
{
	char text[IP_TEXT_MAX];
	uint16_t port = 53;
	struct str host;
	struct ip ip;

	if (!ip_parse(str_of(value->text), &ip) &&
	    (!ip_split_port(str_of(value->text), &host, &port) ||
	     !ip_parse(host, &ip) || port == 0))
		return NULL;
	return mem_printf(ip.family == IP_V4 ? "%s:%u" : "[%s]:%u",
			  ip_format(&ip, text), port);
}

static void
load_servers(struct load *load)
{
	struct config_section section =
		values_section(&load->values, "resolver", 0);
	struct sourced_list list =
		values_list(&load->values, &section, "servers");
	char **servers = mem_zalloc((list.count + 1) * sizeof(servers[0]));
	size_t count = 0;

	load->config->resolver.servers = servers;
	for (size_t i = 0; i < list.count; i++) {
		servers[count] = read_server(&list.at[i]);
		if (servers[count] != NULL)
			count++;
		else
			config_error(&load->report, list.at[i].at,
				     "server \"%s\" is not IP:PORT",
				     list.at[i].text);
	}
}

/* ------------------------------------------------------------------ load */

static void
load_all(struct load *load)
{
	struct config *config = load->config;

	for (size_t i = 0; i < config_section_count; i++) {
		struct config_section section =
			values_section(&load->values, config_sections[i], 0);

		/* those with values of their own are stored where they are
		 * read */
		if (config_section_kind(section.name) != SECTION_TITLED &&
		    strcmp(section.name, "relay") != 0)
			values_store(&load->values, &section, config);
	}
	load_log(load);
	load_listeners(load);
	load_certificates(load);
	load_servers(load); /* routes are looked at with them */
	load_policy(load);
	load_retry(load);
	config_load_reports(config, &load->values.scan, config_file_read,
			    &load->report);
	config_load_client_logins(config, &load->values.scan, config_file_read,
				  &load->report);
	config_check(config, &load->values.scan, &load->report);
}

int
config_load(const char *file, struct config **out, struct buf *errors,
	    struct buf *warnings)
{
	struct load load = {
		.report = {.file = file,
			   .errors = errors,
			   .warnings = warnings},
	};

	load.config = mem_zalloc(sizeof(*load.config));
	load.config->refs = 1;
	load.config->file = mem_strdup(file);
	if (values_read(&load.values, file, &load.report)) {
		load_all(&load);
		if (!load.report.has_errors)
			config_entries_add(load.config, &load.values);
	}
	values_done(&load.values);
	if (load.report.has_errors) {
		config_unref(load.config);
		return -EINVAL;
	}
	*out = load.config;
	return 0;
}
