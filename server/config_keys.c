/* SPDX-License-Identifier: ISC */
#include "server/config_keys.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "lib/str.h"
#include "lib/units.h"
#include "server/config.h"
#include "server/config_rows.h"

#define CONFIG(member)	    offsetof(struct config, member)
#define LISTENER(member)    offsetof(struct listener_config, member)
#define CERTIFICATE(member) offsetof(struct certificate_config, member)
#define RELAY(member)	    offsetof(struct relay_values, member)
#define DOMAIN(member)	    offsetof(struct domain_values, member)
#define ROUTE(member)	    offsetof(struct route_values, member)
#define HAND		    KEY_BY_HAND

#define GIB	(UINT64_C(1) << 30)
#define MILLION 1000000
#define YEAR_S	31536000
#define TLS_IN	" none starttls implicit "

/* Words that policy/builder.h checks are KEY_TEXT: one report is enough. */
/* clang-format off */
const struct key config_keys[] = {
{"", "hostname",       KEY_TEXT, NULL, HAND, 0, 0, NULL},
{"", "postmaster",     KEY_TEXT, NULL, HAND, 0, 0, NULL},
{"", "qualify",        KEY_TEXT, NULL, HAND, 0, 0, NULL},
{"", "spool",          KEY_PATH, OSTLER_LOCALSTATEDIR "/spool/ostler",
	CONFIG(spool), 0, 0, NULL},
{"", "control_socket", KEY_PATH, OSTLER_RUNDIR "/control.sock",
	CONFIG(control_socket), 0, 0, NULL},
{"", "user",           KEY_TEXT, "ostler", CONFIG(user), 0, 0, NULL},
{"", "drain",          KEY_MS,   "5s", CONFIG(drain_ms), 0, 3600, NULL},

{"log", "format", KEY_CHOICE, "text", HAND, 0, 0, " text json "},
{"log", "level",  KEY_CHOICE, "info", HAND, 0, 0, " error warn info debug "},

{"listener", "role",        KEY_CHOICE, NULL, HAND, 0, 0, " mx submission "},
{"listener", "address",     KEY_TEXTS,  NULL, HAND, 0, 0, NULL},
{"listener", "tls",         KEY_CHOICE, "starttls", HAND, 0, 0, TLS_IN},
{"listener", "proxy_from",  KEY_TEXTS,  NULL, HAND, 0, 0, NULL},
{"listener", "certificate", KEY_PATH,   NULL, LISTENER(certificate), 0, 0, NULL},
{"listener", "key",         KEY_PATH,   NULL, LISTENER(key), 0, 0, NULL},
{"listener", "second_certificate", KEY_PATH, NULL,
	LISTENER(second_certificate), 0, 0, NULL},
{"listener", "second_key",  KEY_PATH,   NULL, LISTENER(second_key), 0, 0, NULL},

{"limits", "message_size", KEY_SIZE, "50M", CONFIG(limits.message_size),
	1024, 1024 * GIB, NULL},
{"limits", "recipients",   KEY_COUNT, "1000", CONFIG(limits.recipients),
	1, MILLION, NULL},
{"limits", "hops",         KEY_COUNT, "50", CONFIG(limits.hops), 1, 1000, NULL},
{"limits", "connections",  KEY_COUNT, "1000", CONFIG(limits.connections),
	1, MILLION, NULL},
{"limits", "connections_per_client", KEY_COUNT, "50",
	CONFIG(limits.connections_per_client), 1, MILLION, NULL},
{"limits", "command_timeout", KEY_MS, "5m", CONFIG(limits.command_timeout_ms),
	1, YEAR_S, NULL},
{"limits", "data_timeout",  KEY_MS, "10m", CONFIG(limits.data_timeout_ms),
	1, YEAR_S, NULL},
{"limits", "session",       KEY_MS, "1h", CONFIG(limits.session_ms),
	1, YEAR_S, NULL},
{"limits", "errors",        KEY_COUNT, "20", CONFIG(limits.errors),
	1, MILLION, NULL},
{"limits", "auth_failures", KEY_COUNT, "3", CONFIG(limits.auth_failures),
	1, 1000, NULL},
{"limits", "auth_lock",     KEY_MS, "15m", CONFIG(limits.auth_lock_ms),
	0, YEAR_S, NULL},
{"limits", "spool_free",    KEY_SIZE, "500M", CONFIG(limits.spool_free),
	0, 1024 * GIB, NULL},
{"limits", "messages_per_user",   KEY_RATE, "0",
	CONFIG(limits.messages_per_user), 0, 0, NULL},
{"limits", "recipients_per_user", KEY_RATE, "0",
	CONFIG(limits.recipients_per_user), 0, 0, NULL},
{"limits", "messages_per_client", KEY_RATE, "0",
	CONFIG(limits.messages_per_client), 0, 0, NULL},

{"tls", "certificate", KEY_PATH, NULL, CONFIG(tls.certificate), 0, 0, NULL},
{"tls", "key",         KEY_PATH, NULL, CONFIG(tls.key), 0, 0, NULL},
{"tls", "second_certificate", KEY_PATH, NULL, CONFIG(tls.second_certificate),
	0, 0, NULL},
{"tls", "second_key",  KEY_PATH, NULL, CONFIG(tls.second_key), 0, 0, NULL},
{"tls", "watch",       KEY_MS, "1m", CONFIG(tls.watch_ms), 0, YEAR_S, NULL},
{"tls", "ca",          KEY_PATH, NULL, CONFIG(tls.ca), 0, 0, NULL},
{"tls", "client_ca",   KEY_PATH, NULL, CONFIG(tls.client_ca), 0, 0, NULL},
{"tls", "client_crl",  KEY_PATH, NULL, CONFIG(tls.client_crl), 0, 0, NULL},
{"tls", "client_logins", KEY_PATH, NULL, CONFIG(tls.client_logins), 0, 0, NULL},
{"tls", "minimum",     KEY_CHOICE, "1.2", CONFIG(tls.minimum), 0, 0,
	" 1.2 1.3 "},

{"certificate", "for",         KEY_TEXTS, NULL, HAND, 0, 0, NULL},
{"certificate", "certificate", KEY_PATH, NULL, CERTIFICATE(certificate),
	0, 0, NULL},
{"certificate", "key",         KEY_PATH, NULL, CERTIFICATE(key), 0, 0, NULL},
{"certificate", "second_certificate", KEY_PATH, NULL,
	CERTIFICATE(second_certificate), 0, 0, NULL},
{"certificate", "second_key",  KEY_PATH, NULL, CERTIFICATE(second_key),
	0, 0, NULL},

{"auth", "mechanisms", KEY_TEXTS, "SCRAM-SHA-256, PLAIN, LOGIN",
	CONFIG(auth.mechanisms), 0, 0, NULL},
{"auth", "database",   KEY_PATH, OSTLER_SYSCONFDIR "/sasldb2",
	CONFIG(auth.database), 0, 0, NULL},
{"auth", "options",    KEY_TEXTS, NULL, CONFIG(auth.options), 0, 0, NULL},
{"auth", "realm",      KEY_TEXT, "ostler", CONFIG(auth.realm), 0, 0, NULL},
{"auth", "plaintext_without_tls", KEY_BOOL, "false",
	CONFIG(auth.plaintext_without_tls), 0, 0, NULL},

{"relay", "trusted_networks", KEY_TEXTS,  NULL, HAND, 0, 0, NULL},
{"relay", "mx_points_here",   KEY_TEXT,   "defer", HAND, 0, 0, NULL},
{"relay", "sender_binding",   KEY_TEXT,   "domain", HAND, 0, 0, NULL},
{"relay", "senders",          KEY_PATH,   NULL, RELAY(senders), 0, 0, NULL},

{"domain", "deliver",    KEY_TEXT, NULL, HAND, 0, 0, NULL},
{"domain", "recipients", KEY_PATH, NULL, DOMAIN(recipients), 0, 0, NULL},
{"domain", "aliases",    KEY_PATH, NULL, DOMAIN(aliases), 0, 0, NULL},
{"domain", "subdomains", KEY_BOOL, "false", DOMAIN(has_subdomains), 0, 0, NULL},
{"domain", "delimiter",  KEY_TEXT, "+", HAND, 0, 0, NULL},

{"route", "for",           KEY_TEXTS,  "*", HAND, 0, 0, NULL},
{"route", "sender",        KEY_TEXT,   NULL, HAND, 0, 0, NULL},
{"route", "via",           KEY_TEXTS,  "mx", HAND, 0, 0, NULL},
{"route", "tls",           KEY_TEXT,   "opportunistic", HAND, 0, 0, NULL},
{"route", "user",          KEY_TEXT,   NULL, HAND, 0, 0, NULL},
{"route", "password_file", KEY_PATH,   NULL, ROUTE(password_file), 0, 0, NULL},
{"route", "token_command", KEY_TEXT,   NULL, HAND, 0, 0, NULL},
{"route", "mechanisms",    KEY_TEXTS,  NULL, HAND, 0, 0, NULL},
{"route", "family",        KEY_TEXT,   "any", HAND, 0, 0, NULL},
{"route", "source",        KEY_TEXT,   NULL, HAND, 0, 0, NULL},
{"route", "connections",   KEY_COUNT,  "10", ROUTE(connections),
	1, 10000, NULL},
{"route", "messages_per_connection", KEY_COUNT, "100",
	ROUTE(messages_per_connection), 1, MILLION, NULL},
{"route", "rate",          KEY_RATE,   "0", ROUTE(rate), 0, 0, NULL},

{"resolver", "servers",  KEY_TEXTS, NULL, HAND, 0, 0, NULL},
{"resolver", "timeout",  KEY_MS, "5s", CONFIG(resolver.timeout_ms), 1, 60, NULL},
{"resolver", "attempts", KEY_COUNT, "3", CONFIG(resolver.attempts),
	1, 10, NULL},
{"resolver", "client_names", KEY_BOOL, "true", CONFIG(resolver.client_names),
	0, 0, NULL},
{"resolver", "private_targets", KEY_BOOL, "false",
	CONFIG(resolver.private_targets), 0, 0, NULL},
{"resolver", "ttl_max",  KEY_S, "1d", CONFIG(resolver.ttl_max_s),
	1, YEAR_S, NULL},
{"resolver", "negative_ttl_max", KEY_S, "15m",
	CONFIG(resolver.negative_ttl_max_s), 0, YEAR_S, NULL},

{"queue", "retry",  KEY_TEXTS, "1m, 5m, 15m, 30m, 1h, 2h, 4h", HAND,
	0, 0, NULL},
{"queue", "expire", KEY_S, "5d", CONFIG(queue.expire_s), 1, YEAR_S, NULL},
{"queue", "warn",   KEY_S, "4h", CONFIG(queue.warn_s), 0, YEAR_S, NULL},
{"queue", "bounce_expire", KEY_S, "1d", CONFIG(queue.bounce_expire_s),
	1, YEAR_S, NULL},
{"queue", "grace",  KEY_S, "4h", CONFIG(queue.grace_s), 0, YEAR_S, NULL},
{"queue", "reports_per_sender", KEY_RATE, "100/1h",
	CONFIG(queue.reports_per_sender), 0, 0, NULL},
{"queue", "digest", KEY_S, "1d", CONFIG(queue.digest_s), 0, YEAR_S, NULL},
{"queue", "connections",     KEY_COUNT, "200", CONFIG(queue.connections),
	1, MILLION, NULL},
{"queue", "port",            KEY_PORT, "25", CONFIG(queue.port), 1, 65535, NULL},
{"queue", "connect_timeout", KEY_MS, "30s", CONFIG(queue.connect_timeout_ms),
	1, 3600, NULL},
{"queue", "idle_connection", KEY_MS, "5s", CONFIG(queue.idle_connection_ms),
	0, 3600, NULL},
{"queue", "deliver",         KEY_BOOL, "true", CONFIG(queue.deliver),
	0, 0, NULL},
{"queue", "alert_command",   KEY_TEXT, NULL, CONFIG(queue.alert_command),
	0, 0, NULL},

{"report", "language", KEY_TEXT, "en", CONFIG(report.language), 0, 0, NULL},
{"report", "texts",    KEY_PATH, NULL, CONFIG(report.texts), 0, 0, NULL},
{"report", "rules",    KEY_PATH, NULL, CONFIG(report.rules), 0, 0, NULL},
};
/* clang-format on */

const size_t config_key_count = sizeof(config_keys) / sizeof(config_keys[0]);

const char *const config_sections[] = {
	"",	  "log",   "listener", "limits", "tls",	     "certificate",
	"auth",	  "relay", "domain",   "route",	 "resolver", "queue",
	"report",
};
const size_t config_section_count =
	sizeof(config_sections) / sizeof(config_sections[0]);

/* ---------------------------------------------------------------- lookup */

enum section_kind
config_section_kind(const char *section)
{
	if (section[0] == '\0')
		return SECTION_TOP;
	if (strcmp(section, "listener") == 0 ||
	    strcmp(section, "certificate") == 0 ||
	    strcmp(section, "domain") == 0 || strcmp(section, "route") == 0)
		return SECTION_TITLED;
	for (size_t i = 0; i < config_section_count; i++)
		if (strcmp(config_sections[i], section) == 0)
			return SECTION_SINGLE;
	return SECTION_UNKNOWN;
}

const struct key *
config_key_find(const char *section, const char *name)
{
	for (size_t i = 0; i < config_key_count; i++)
		if (strcmp(config_keys[i].section, section) == 0 &&
		    strcmp(config_keys[i].name, name) == 0)
			return &config_keys[i];
	return NULL;
}

#define NEAR_MAX 32 /* longer names are not compared */

static unsigned
smallest(unsigned a, unsigned b, unsigned c)
{
	unsigned least = a < b ? a : b;

	return least < c ? least : c;
}

/* Letters to insert, delete or change from a to b. */
static unsigned
distance(const char *a, const char *b)
{
	unsigned row[NEAR_MAX + 1], above_left, above;
	size_t a_len = strlen(a), b_len = strlen(b);

	if (a_len > NEAR_MAX || b_len > NEAR_MAX)
		return NEAR_MAX;
	for (size_t i = 0; i <= b_len; i++)
		row[i] = (unsigned)i;
	for (size_t i = 0; i < a_len; i++) {
		above_left = row[0]++;
		for (size_t k = 0; k < b_len; k++) {
			above = row[k + 1];
			row[k + 1] = smallest(above + 1, row[k] + 1,
					      above_left + (a[i] != b[k]));
			above_left = above;
		}
	}
	return row[b_len];
}

const char *
config_key_near(const char *section, const char *name)
{
	unsigned best = strlen(name) < 5 ? 2 : 3;
	const char *nearest = NULL;

	for (size_t i = 0; i < config_key_count; i++) {
		unsigned far = distance(name, config_keys[i].name);

		if (strcmp(config_keys[i].section, section) == 0 &&
		    far < best) {
			best = far;
			nearest = config_keys[i].name;
		}
	}
	for (size_t i = 1; section[0] == '\0' && i < config_section_count;
	     i++) {
		unsigned far = distance(name, config_sections[i]);

		if (far < best) {
			best = far;
			nearest = config_sections[i];
		}
	}
	return nearest;
}

/* --------------------------------------------------------------- convert */

static bool
read_bool(const char *text, bool *out)
{
	static const char *const yes[] = {"true", "yes", "on"};
	static const char *const no[] = {"false", "no", "off"};

	for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
		if (strcmp(text, yes[i]) == 0 || strcmp(text, no[i]) == 0) {
			*out = strcmp(text, yes[i]) == 0;
			return true;
		}
	}
	return false;
}

/* "a, b, c" for people, from " a b c " */
static void
spell_choices(const char *choices, char *to, size_t size)
{
	struct str rest = str_trim(str_of(choices)), word;
	size_t len = 0;

	to[0] = '\0';
	while (str_cut(&rest, ' ', &word)) {
		if (len != 0 && len + 2 < size) {
			memcpy(to + len, ", ", 3);
			len += 2;
		}
		(void)str_copy(to + len, size - len, word);
		len += strlen(to + len);
	}
}

static bool
is_choice(const struct key *key, const char *text)
{
	char *wanted = mem_printf(" %s ", text);
	bool is_one = strchr(text, ' ') == NULL &&
		      strstr(key->choices, wanted) != NULL;

	free(wanted);
	return is_one;
}

static bool
check_choice(const struct key *key, const struct sourced *value,
	     struct config_report *report)
{
	char choices[256];

	if (is_choice(key, value->text))
		return true;
	spell_choices(key->choices, choices, sizeof(choices));
	config_error(report, value->at, "%s \"%s\" is none of %s", key->name,
		     value->text, choices);
	return false;
}

/* What the value should have been, for the error. */
static const char *
kind_words(enum key_kind kind)
{
	switch (kind) {
	case KEY_BOOL:
		return "true or false";
	case KEY_COUNT:
	case KEY_PORT:
		return "a number";
	case KEY_SIZE:
		return "a size like \"50M\"";
	case KEY_MS:
	case KEY_S:
		return "a time like \"1h30m\"";
	case KEY_RATE:
		return "a rate like \"500/1h\" or \"0\"";
	case KEY_TEXT:
	case KEY_PATH:
	case KEY_CHOICE:
	case KEY_TEXTS:
		return "a text";
	}
	return "a text";
}

static bool
read_number(const struct key *key, const char *text, uint64_t *out)
{
	switch (key->kind) {
	case KEY_COUNT:
	case KEY_PORT:
		return str_u64(str_of(text), UINT32_MAX, out);
	case KEY_SIZE:
		return units_size(text, out);
	case KEY_MS:
	case KEY_S:
		return units_duration(text, out);
	case KEY_TEXT:
	case KEY_PATH:
	case KEY_CHOICE:
	case KEY_TEXTS:
	case KEY_BOOL:
	case KEY_RATE:
		return false;
	}
	return false;
}

static void
spell_number(const struct key *key, uint64_t number, char to[24])
{
	if (key->kind == KEY_SIZE)
		(void)units_format_size(number, to, 24);
	else if (key->kind == KEY_MS || key->kind == KEY_S)
		(void)units_format_duration(number, to, 24);
	else
		(void)snprintf(to, 24, "%" PRIu64, number);
}

static bool
store_number(const struct key *key, const struct sourced *value, char *at,
	     struct config_report *report)
{
	char low[24], high[24];
	uint64_t number;

	if (!read_number(key, value->text, &number)) {
		config_error(report, value->at, "%s \"%s\" is not %s",
			     key->name, value->text, kind_words(key->kind));
		return false;
	}
	if (number < key->min || number > key->max) {
		spell_number(key, key->min, low);
		spell_number(key, key->max, high);
		config_error(report, value->at,
			     "%s \"%s\" is not within %s "
			     "and %s",
			     key->name, value->text, low, high);
		return false;
	}
	if (key->kind == KEY_COUNT)
		*(unsigned *)(void *)at = (unsigned)number;
	else if (key->kind == KEY_PORT)
		*(uint16_t *)(void *)at = (uint16_t)number;
	else
		*(uint64_t *)(void *)at =
			key->kind == KEY_MS ? number * 1000 : number;
	return true;
}

static void
store_text(const char *text, char *at)
{
	char **slot = (char **)(void *)at;

	free(*slot);
	*slot = text[0] != '\0' ? mem_strdup(text) : NULL;
}

/* A relative path starts at the folder of the file that names it. */
static void
store_path(const struct sourced *value, char *at)
{
	const char *colon, *slash;
	size_t folder;
	char *path;

	colon = value->at != NULL ? strrchr(value->at, ':') : NULL;
	slash = colon != NULL
			? memrchr(value->at, '/', (size_t)(colon - value->at))
			: NULL;
	if (value->text[0] == '/' || value->text[0] == '\0' || slash == NULL) {
		store_text(value->text, at);
		return;
	}
	folder = (size_t)(slash - value->at);
	path = mem_printf("%.*s/%s", (int)folder, value->at, value->text);
	store_text(path, at);
	free(path);
}

static void
store_texts(struct sourced_list values, char *at)
{
	char ***slot = (char ***)(void *)at;
	char **texts = mem_zalloc((values.count + 1) * sizeof(texts[0]));

	for (size_t i = 0; *slot != NULL && (*slot)[i] != NULL; i++)
		free((*slot)[i]);
	free(*slot);
	for (size_t i = 0; i < values.count; i++)
		texts[i] = mem_strdup(values.at[i].text);
	*slot = texts;
}

static bool
store_simple(const struct key *key, const struct sourced *value, char *at,
	     struct config_report *report)
{
	bool is_good = true;

	if (key->kind == KEY_RATE)
		is_good = units_rate(value->text,
				     (struct units_rate *)(void *)at);
	else if (key->kind == KEY_BOOL)
		is_good = read_bool(value->text, (bool *)at);
	if (!is_good)
		config_error(report, value->at, "%s \"%s\" is not %s",
			     key->name, value->text, kind_words(key->kind));
	return is_good;
}

bool
config_key_store(const struct key *key, struct sourced_list values, void *base,
		 struct config_report *report)
{
	bool is_by_hand = key->offset == KEY_BY_HAND;
	char *at = is_by_hand ? NULL : (char *)base + key->offset;

	switch (key->kind) {
	case KEY_CHOICE:
		if (!check_choice(key, &values.at[0], report))
			return false;
		break;
	case KEY_COUNT:
	case KEY_PORT:
	case KEY_SIZE:
	case KEY_MS:
	case KEY_S:
		return store_number(key, &values.at[0], at, report);
	case KEY_BOOL:
	case KEY_RATE:
		return store_simple(key, &values.at[0], at, report);
	case KEY_TEXT:
	case KEY_PATH:
	case KEY_TEXTS:
		break;
	}
	if (is_by_hand)
		return true;
	if (key->kind != KEY_TEXTS && key->preset != NULL &&
	    values.at[0].text[0] == '\0') {
		config_error(report, values.at[0].at, "%s must not be empty",
			     key->name);
		return false;
	}
	if (key->kind == KEY_TEXTS)
		store_texts(values, at);
	else if (key->kind == KEY_PATH)
		store_path(&values.at[0], at);
	else
		store_text(values.at[0].text, at);
	return true;
}
