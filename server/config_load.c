/* SPDX-License-Identifier: ISC */
/*
 * From files to struct config, in four steps: the tokenizer pass (places,
 * names, repeats), libconfuse (values), conversion by the table of keys, and
 * the checks of policy/builder.h and config_check.h.
 *
 * libconfuse's lexer is one for the process: never two loads at once.
 */
#include "server/config.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <confuse.h>

#include "lib/err.h"
#include "lib/mem.h"
#include "lib/str.h"
#include "policy/builder.h"
#include "server/config_certificate.h"
#include "server/config_check.h"
#include "server/config_keys.h"
#include "server/config_listener.h"
#include "server/config_report.h"
#include "server/config_reports.h"
#include "server/config_rows.h"
#include "server/config_scan.h"

#define TABLE_FILE_MAX ((size_t)64 << 20)

struct load {
	struct config *config;
	struct config_report report;
	struct scan scan;
	cfg_t **cfgs;		/* of scan.sections; NULL: it sets nothing */
	struct sourced **lists; /* what values_of lends, until the end */
	size_t list_count;
	char **texts; /* file contents that the builder borrows */
	size_t text_count;
};

/* Where a section stands in both readings; scan NULL: it was not given. */
struct section {
	const char *name;
	const struct scan_section *scan;
	cfg_t *cfg; /* NULL also when it sets nothing */
};

/* ----------------------------------------------------------------- files */

static char *
read_open_file(int fd, const char *path, size_t max, size_t *out_len,
	       struct err *err)
{
	size_t room = 65536, len = 0;
	char *text = mem_alloc(room + 1);
	struct stat st = {0};

	if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
		(void)err_set(err, -EISDIR, "cannot read \"%s\"", path);
		free(text);
		return NULL;
	}
	if (S_ISFIFO(st.st_mode)) {
		/* nobody writes now: it would be taken for an empty file */
		(void)err_text(err, -EINVAL,
			       "cannot read \"%s\": it is a pipe, no file",
			       path);
		free(text);
		return NULL;
	}
	for (;;) {
		ssize_t n = read(fd, text + len, room - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 || len + (size_t)n > max) {
			(void)err_set(err, n < 0 ? -errno : -EFBIG,
				      "cannot read \"%s\"", path);
			free(text);
			return NULL;
		}
		if (n == 0)
			break;
		len += (size_t)n;
		if (len == room) {
			room *= 2;
			text = mem_resize(text, room + 1, 1);
		}
	}
	text[len] = '\0';
	*out_len = len;
	return text;
}

static char *
read_file(const char *path, size_t max, size_t *out_len, struct err *err)
{
	/* a FIFO in the place of a file must not stop the program */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char *text;

	if (fd < 0) {
		(void)err_set(err, -errno, "cannot read \"%s\"", path);
		return NULL;
	}
	text = read_open_file(fd, path, max, out_len, err);
	(void)close(fd); /* nothing was written */
	return text;
}

/* ------------------------------------------------------------ libconfuse */

/*
 * Each section is read by itself, as if it were a file of its own. Of sections
 * libconfuse (3.3) keeps pointers that it has freed when memory ends while it
 * makes one, and it knows no other memory than malloc's.
 */

/* libconfuse hands its error function no argument. */
static _Thread_local struct {
	struct config_report *report;
	const struct piece *piece;
} parsing;

static void
on_confuse_error(cfg_t *cfg, const char *format, va_list args)
{
	char text[512], *at;

	at = mem_printf("%s:%u", parsing.piece->file,
			parsing.piece->line + (unsigned)cfg->line - 1);
	(void)vsnprintf(text, sizeof(text), format, args);
	config_syntax_error(parsing.report, at, "%s", text);
	free(at);
}

/* Reads the keys of a section, all as texts; NULL when memory is gone. */
static cfg_t *
new_cfg(const char *section)
{
	cfg_opt_t *opts = mem_zalloc((config_key_count + 1) * sizeof(opts[0]));
	cfg_opt_t end = CFG_END();
	size_t count = 0;
	cfg_t *cfg;

	for (size_t i = 0; i < config_key_count; i++) {
		cfg_opt_t one =
			CFG_STR(config_keys[i].name, NULL, CFGF_NODEFAULT);
		cfg_opt_t many =
			CFG_STR_LIST(config_keys[i].name, NULL, CFGF_NODEFAULT);

		if (strcmp(config_keys[i].section, section) == 0)
			opts[count++] =
				config_keys[i].kind == KEY_TEXTS ? many : one;
	}
	opts[count] = end;
	cfg = cfg_init(opts, CFGF_NONE); /* copies them */
	free(opts);
	if (cfg != NULL)
		cfg_set_error_function(cfg, on_confuse_error);
	return cfg;
}

static void
parse(struct load *load)
{
	struct scan *scan = &load->scan;

	load->cfgs = mem_zalloc(scan->section_count * sizeof(load->cfgs[0]));
	parsing.report = &load->report;
	for (size_t i = 0; i < scan->pieces.count; i++) {
		struct piece *piece = &scan->pieces.at[i];
		cfg_t **cfg = &load->cfgs[piece->section];

		parsing.piece = piece;
		if (*cfg == NULL)
			*cfg = new_cfg(scan->sections[piece->section].name);
		if (*cfg == NULL) {
			config_syntax_error(&load->report, NULL,
					    "out of memory");
			return;
		}
		if (cfg_parse_buf(*cfg, buf_text(&piece->text)) != 0) {
			config_syntax_error(&load->report, NULL,
					    "\"%s\" cannot be read",
					    piece->file);
			return;
		}
	}
}

/* ---------------------------------------------------------------- values */

/* The index-th section of that name; scan NULL when there is none. */
static struct section
find_section(const struct load *load, const char *name, size_t index)
{
	struct section section = {.name = name};

	if (name[0] == '\0') {
		section.scan = &load->scan.sections[0];
		section.cfg = load->cfgs[0];
		return section;
	}
	for (size_t i = 1, nth = 0; i < load->scan.section_count; i++) {
		if (strcmp(load->scan.sections[i].name, name) != 0)
			continue;
		if (nth++ != index)
			continue;
		section.scan = &load->scan.sections[i];
		section.cfg = load->cfgs[i];
		break;
	}
	return section;
}

static struct sourced *
new_list(struct load *load, size_t count)
{
	struct sourced *list = mem_zalloc((count + 1) * sizeof(list[0]));

	load->lists = mem_append(load->lists, load->list_count,
				 sizeof(load->lists[0]));
	load->lists[load->list_count++] = list;
	return list;
}

/* Keeps a text until the load ends. */
static char *
keep_text(struct load *load, char *text)
{
	load->texts = mem_append(load->texts, load->text_count,
				 sizeof(load->texts[0]));
	load->texts[load->text_count++] = text;
	return text;
}

/* "a, b" of the table of keys, without places */
static struct sourced_list
preset_of(struct load *load, const struct key *key)
{
	struct sourced_list list = {NULL, 0};
	struct sourced *values;
	struct str rest, word;
	size_t commas = 0;

	if (key->preset == NULL)
		return list;
	for (const char *c = key->preset; *c != '\0'; c++)
		commas += *c == ',';
	values = new_list(load, commas + 1);
	list.at = values;
	if (key->kind != KEY_TEXTS) {
		values[list.count++].text = key->preset;
		return list;
	}
	rest = str_of(key->preset);
	while (str_cut(&rest, ',', &word)) {
		word = str_trim(word);
		values[list.count++].text =
			keep_text(load, mem_dup(word.at, word.len));
	}
	return list;
}

/* What is set there, else the default, which may be nothing at all. */
static struct sourced_list
values_of(struct load *load, const struct section *section,
	  const struct key *key)
{
	const struct scan_item *item =
		section->scan != NULL ? scan_section_find(section->scan, key)
				      : NULL;
	struct sourced_list list = {NULL, 0};
	struct sourced *values;

	if (item == NULL || item->is_broken)
		return preset_of(load, key);
	values = new_list(load, item->count);
	list.at = values;
	for (size_t i = 0; i < item->count; i++) {
		const char *text =
			cfg_getnstr(section->cfg, key->name, (unsigned)i);

		if (text == NULL || i >= cfg_size(section->cfg, key->name)) {
			config_error(&load->report, item->at,
				     "\"%s\" cannot be read", key->name);
			break;
		}
		values[list.count++] =
			(struct sourced){.text = text, .at = item->value_at[i]};
	}
	return list;
}

static struct sourced_list
list_of(struct load *load, const struct section *section, const char *name)
{
	return values_of(load, section, config_key_find(section->name, name));
}

/* The one value of a key; text NULL when it has none. */
static struct sourced
value_of(struct load *load, const struct section *section, const char *name)
{
	struct sourced_list list = list_of(load, section, name);

	return list.count != 0 ? list.at[0] : (struct sourced){NULL, NULL};
}

/* Converts and checks all keys of a section into base. */
static void
store_section(struct load *load, const struct section *section, void *base)
{
	for (size_t i = 0; i < config_key_count; i++) {
		const struct key *key = &config_keys[i];
		struct sourced_list list;

		if (strcmp(key->section, section->name) != 0)
			continue;
		list = values_of(load, section, key);
		if (list.count != 0 || key->kind == KEY_TEXTS)
			(void)config_key_store(key, list, base, &load->report);
	}
}

/* ------------------------------------------------------------- listeners */

static const char *
title_of(const struct section *section)
{
	return section->scan->title;
}

static void
load_listeners(struct load *load)
{
	struct config *config = load->config;
	struct section section;

	for (size_t i = 0;; i++) {
		struct listener_config *listener;
		struct listener_values values;

		section = find_section(load, "listener", i);
		if (section.scan == NULL)
			break;
		values = (struct listener_values){
			.name = title_of(&section),
			.at = section.scan->at,
			.role = value_of(load, &section, "role"),
			.tls = value_of(load, &section, "tls"),
			.addresses = list_of(load, &section, "address"),
			.proxy_from = list_of(load, &section, "proxy_from"),
		};
		config->listeners =
			mem_append(config->listeners, config->listener_count,
				   sizeof(config->listeners[0]));
		listener = &config->listeners[config->listener_count++];
		memset(listener, 0, sizeof(*listener));
		store_section(load, &section, listener);
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
		struct section section = find_section(load, "certificate", i);
		struct certificate_config *to;
		struct certificate_values values;

		if (section.scan == NULL)
			return;
		values = (struct certificate_values){
			.title = title_of(&section),
			.at = section.scan->at,
			.names = list_of(load, &section, "for"),
		};
		config->certificates =
			mem_append(config->certificates,
				   config->certificate_count,
				   sizeof(config->certificates[0]));
		to = &config->certificates[config->certificate_count++];
		memset(to, 0, sizeof(*to));
		store_section(load, &section, to);
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
read_table(struct load *load, const struct section *section, const char *name,
	   const char *path)
{
	struct table_source source = {.file = {NULL, NULL}};
	struct err err = ERR_INIT;
	size_t len;
	char *text;

	if (path == NULL)
		return source;
	source.file.text = keep_text(load, mem_strdup(path));
	source.file.at = value_of(load, section, name).at;
	text = read_file(path, TABLE_FILE_MAX, &len, &err);
	if (text == NULL) {
		config_error(&load->report, source.file.at, "%s: %s", name,
			     err.text);
		return source;
	}
	source.text = str_from(keep_text(load, text), len);
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
hostname_of(struct load *load, const struct section *top)
{
	struct sourced hostname = value_of(load, top, "hostname");

	if (hostname.text != NULL && hostname.text[0] != '\0')
		return hostname;
	hostname.text = keep_text(load, machine_name());
	if (hostname.text == NULL)
		config_error(&load->report, hostname.at,
			     "this machine's full name is not known: set "
			     "hostname = \"...\"");
	return hostname;
}

static void
load_relay(struct load *load, struct builder *builder)
{
	struct section top = find_section(load, "", 0);
	struct section section = find_section(load, "relay", 0);
	struct relay_values values = {NULL};
	struct builder_relay relay = {
		.hostname = hostname_of(load, &top),
		.postmaster = value_of(load, &top, "postmaster"),
		.qualify = value_of(load, &top, "qualify"),
		.submission_port = config_submission_port(load->config),
		.trusted_networks = list_of(load, &section, "trusted_networks"),
		.mx_points_here = value_of(load, &section, "mx_points_here"),
		.sender_binding = value_of(load, &section, "sender_binding"),
	};

	store_section(load, &section, &values);
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
		struct section section = find_section(load, "domain", i);
		struct domain_values values = {NULL, NULL, false};
		struct builder_domain domain;

		if (section.scan == NULL)
			return;
		store_section(load, &section, &values);
		domain = (struct builder_domain){
			.name = {title_of(&section), section.scan->at},
			.deliver = value_of(load, &section, "deliver"),
			.delimiter = value_of(load, &section, "delimiter"),
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
		struct section section = find_section(load, "route", i);
		struct route_values values = {NULL, 10, 100, {0, 0}};
		struct builder_route route;

		if (section.scan == NULL)
			return;
		store_section(load, &section, &values);
		route = (struct builder_route){
			.name = {title_of(&section), section.scan->at},
			.for_domains = list_of(load, &section, "for"),
			.sender = value_of(load, &section, "sender"),
			.via = list_of(load, &section, "via"),
			.tls = value_of(load, &section, "tls"),
			.family = value_of(load, &section, "family"),
			.user = value_of(load, &section, "user"),
			.password_file =
				{values.password_file,
				 value_of(load, &section, "password_file").at},
			.token_command =
				value_of(load, &section, "token_command"),
			.source = value_of(load, &section, "source"),
			.mechanisms = list_of(load, &section, "mechanisms"),
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
	struct section section = find_section(load, "log", 0);
	struct config *config = load->config;
	const char *level = value_of(load, &section, "level").text;

	config->log_format =
		strcmp(value_of(load, &section, "format").text, "json") == 0
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
	struct section section = find_section(load, "queue", 0);
	struct sourced_list list = list_of(load, &section, "retry");
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
	struct section section = find_section(load, "resolver", 0);
	struct sourced_list list = list_of(load, &section, "servers");
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

/* --------------------------------------------------------------- entries */

static bool
is_secret(const struct key *key, const char *text)
{
	return strcmp(key->name, "token_command") == 0 ||
	       (strcmp(key->name, "options") == 0 &&
		(strcasestr(text, "pass") != NULL ||
		 strcasestr(text, "secret") != NULL ||
		 strcasestr(text, "pw=") != NULL));
}

/* One value, or {"a", "b"}. */
static char *
spell_values(const struct key *key, struct sourced_list list)
{
	struct buf text;
	char *spelt;

	if (key->kind != KEY_TEXTS) {
		if (list.count == 0)
			return mem_strdup("");
		return mem_strdup(
			list.at[0].text[0] != '\0' &&
					is_secret(key, list.at[0].text)
				? "(hidden)"
				: list.at[0].text);
	}
	buf_init(&text, 1 << 20);
	(void)buf_adds(&text, "{"); /* what is too long to print is cut */
	for (size_t i = 0; i < list.count; i++)
		(void)buf_addf(&text, "%s\"%s\"", i != 0 ? ", " : "",
			       is_secret(key, list.at[i].text)
				       ? "(hidden)"
				       : list.at[i].text);
	(void)buf_adds(&text, "}");
	spelt = mem_strdup(buf_text(&text));
	buf_done(&text);
	return spelt;
}

/* name, value: take */
static void
add_entry(struct config *config, char *name, char *value, const char *at)
{
	config->entries = mem_append(config->entries, config->entry_count,
				     sizeof(config->entries[0]));
	config->entries[config->entry_count++] =
		(struct config_entry){.name = name,
				      .value = value,
				      .at = mem_strdup(at)};
}

/* What the daemon uses where nothing, or less, was written. */
static const char *
effective(const struct config *config, const struct key *key)
{
	if (key->section[0] != '\0')
		return NULL;
	if (strcmp(key->name, "hostname") == 0)
		return config->hostname;
	if (strcmp(key->name, "postmaster") == 0)
		return config->postmaster;
	if (strcmp(key->name, "qualify") == 0)
		return config->qualify;
	return NULL;
}

static void
add_section_entries(struct load *load, const struct section *section)
{
	struct config *config = load->config;
	const char *title = section->scan != NULL ? section->scan->title : NULL;

	for (size_t i = 0; i < config_key_count; i++) {
		const struct key *key = &config_keys[i];
		struct sourced_list list;
		const char *value, *at;

		if (strcmp(key->section, section->name) != 0)
			continue;
		list = values_of(load, section, key);
		value = effective(config, key);
		at = list.count != 0 ? list.at[0].at : NULL;
		if (at == NULL && section->scan != NULL) {
			const struct scan_item *item =
				scan_section_find(section->scan, key);

			at = item != NULL ? item->at : NULL;
		}
		add_entry(config,
			  mem_printf("%s%s%s%s%s", section->name,
				     title != NULL ? "." : "",
				     title != NULL ? title : "",
				     section->name[0] != '\0' ? "." : "",
				     key->name),
			  value != NULL ? mem_strdup(value)
					: spell_values(key, list),
			  at);
	}
}

static void
add_entries(struct load *load)
{
	for (size_t i = 0; i < config_section_count; i++) {
		const char *name = config_sections[i];
		struct section section = find_section(load, name, 0);

		if (config_section_kind(name) != SECTION_TITLED) {
			add_section_entries(load, &section);
			continue;
		}
		if (strcmp(name, "listener") == 0 && section.scan == NULL)
			config_listener_entries(load->config, add_entry);
		for (size_t k = 0; section.scan != NULL; k++) {
			add_section_entries(load, &section);
			section = find_section(load, name, k + 1);
		}
	}
}

/* ------------------------------------------------------------------ load */

static void
load_all(struct load *load)
{
	struct config *config = load->config;

	for (size_t i = 0; i < config_section_count; i++) {
		struct section section =
			find_section(load, config_sections[i], 0);

		/* those with values of their own are stored where they are
		 * read */
		if (config_section_kind(section.name) != SECTION_TITLED &&
		    strcmp(section.name, "relay") != 0)
			store_section(load, &section, config);
	}
	load_log(load);
	load_listeners(load);
	load_certificates(load);
	load_servers(load); /* routes are looked at with them */
	load_policy(load);
	load_retry(load);
	config_load_reports(config, &load->scan, read_file, &load->report);
	config_load_client_logins(config, &load->scan, read_file,
				  &load->report);
	config_check(config, &load->scan, &load->report);
}

static void
load_done(struct load *load)
{
	for (size_t i = 0; load->cfgs != NULL && i < load->scan.section_count;
	     i++)
		if (load->cfgs[i] != NULL)
			(void)cfg_free(load->cfgs[i]); /* cannot fail */
	free(load->cfgs);
	config_scan_done(&load->scan);
	for (size_t i = 0; i < load->list_count; i++)
		free(load->lists[i]);
	free(load->lists);
	for (size_t i = 0; i < load->text_count; i++)
		free(load->texts[i]);
	free(load->texts);
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
	config_scan(&load.scan, file, read_file, &load.report);
	if (!load.report.has_syntax_error && load.scan.has_text)
		parse(&load);
	if (!load.report.has_syntax_error && load.cfgs != NULL) {
		load_all(&load);
		if (!load.report.has_errors)
			add_entries(&load);
	}
	load_done(&load);
	if (load.report.has_errors) {
		config_unref(load.config);
		return -EINVAL;
	}
	*out = load.config;
	return 0;
}
