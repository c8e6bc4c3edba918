/* SPDX-License-Identifier: ISC */
#include "server/config_listener.h"

#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "lib/str.h"
#include "queue/digest.h"

static const struct {
	const char *name, *tls;
	enum policy_role role;
	const char *addresses[2];
} defaults[] = {
	{"mx", "starttls", POLICY_MX, {"0.0.0.0:25", "[::]:25"}},
	{"submission",
	 "starttls",
	 POLICY_SUBMISSION,
	 {"0.0.0.0:587", "[::]:587"}},
	{"submissions",
	 "implicit",
	 POLICY_SUBMISSION,
	 {"0.0.0.0:465", "[::]:465"}},
	{"local",
	 "none",
	 POLICY_SUBMISSION,
	 {"unix:" OSTLER_RUNDIR "/submit.sock", NULL}},
};
#define DEFAULT_COUNT (sizeof(defaults) / sizeof(defaults[0]))

/* Returns NULL and fills out, or says what is wrong (static text). */
static const char *
read_address(struct str text, struct listener_address *out)
{
	struct listener_address address = {.port = 0};
	struct str host;

	if (str_starts_nocase(text, "unix:")) {
		host = str_from(text.at + 5, text.len - 5);
		if (host.len == 0 || host.at[0] != '/')
			return "needs an absolute path";
		if (host.len > CONFIG_SOCKET_PATH_MAX)
			return "has too long a path for a socket";
		address.unix_path = mem_dup(host.at, host.len);
		*out = address;
		return NULL;
	}
	if (!ip_split_port(text, &host, &address.port) ||
	    !ip_parse(host, &address.ip))
		return "is not IP:PORT, [IPV6]:PORT or unix:PATH";
	*out = address;
	return NULL;
}

static void
add_address(struct listener_config *listener, struct str text,
	    const char **out_problem)
{
	struct listener_address address;

	*out_problem = read_address(text, &address);
	if (*out_problem != NULL)
		return;
	listener->addresses =
		mem_append(listener->addresses, listener->address_count,
			   sizeof(listener->addresses[0]));
	listener->addresses[listener->address_count++] = address;
}

static void
add_proxy(struct listener_config *listener, const struct sourced *value,
	  struct config_report *report)
{
	struct cidr network;

	if (!cidr_parse(str_of(value->text), &network)) {
		config_error(report, value->at,
			     "proxy_from \"%s\" is no network", value->text);
		return;
	}
	if (network.bits == 0) {
		config_error(report, value->at,
			     "proxy_from %s holds every address: anybody could "
			     "claim to be any client",
			     value->text);
		return;
	}
	listener->proxy_from =
		mem_append(listener->proxy_from, listener->proxy_from_count,
			   sizeof(listener->proxy_from[0]));
	listener->proxy_from[listener->proxy_from_count++] = network;
}

static enum listener_tls
tls_of(const char *word)
{
	if (strcmp(word, "implicit") == 0)
		return LISTENER_TLS_IMPLICIT;
	if (strcmp(word, "starttls") == 0)
		return LISTENER_TLS_STARTTLS;
	return LISTENER_TLS_NONE;
}

static bool
is_unix_only(const struct listener_config *listener)
{
	for (size_t i = 0; i < listener->address_count; i++)
		if (listener->addresses[i].unix_path == NULL)
			return false;
	return listener->address_count != 0;
}

void
config_listener_set(struct listener_config *listener,
		    const struct listener_values *values,
		    struct config_report *report)
{
	const char *problem;

	listener->name = mem_strdup(values->name);
	listener->at = mem_strdup(values->at);
	/* a bounce by that listener would be taken for the digest */
	if (strcmp(values->name, DIGEST_LISTENER) == 0)
		config_error(report, values->at,
			     "listener \"%s\": that name is kept for the "
			     "postmaster's digest",
			     values->name);
	if (values->role.text == NULL)
		config_error(report, values->at,
			     "listener \"%s\" needs role = \"mx\" or "
			     "\"submission\"",
			     values->name);
	else
		listener->role = strcmp(values->role.text, "mx") == 0
					 ? POLICY_MX
					 : POLICY_SUBMISSION;
	for (size_t i = 0; i < values->addresses.count; i++) {
		const struct sourced *address = &values->addresses.at[i];

		add_address(listener, str_of(address->text), &problem);
		if (problem != NULL)
			config_error(report, address->at, "address \"%s\" %s",
				     address->text, problem);
	}
	if (values->addresses.count == 0)
		config_error(report, values->at,
			     "listener \"%s\" needs address = {\"IP:PORT\"}",
			     values->name);
	for (size_t i = 0; i < values->proxy_from.count; i++)
		add_proxy(listener, &values->proxy_from.at[i], report);
	listener->tls = tls_of(values->tls.text);
	/* nobody listens in on a unix socket, so STARTTLS is not the default */
	if (values->tls.at == NULL && is_unix_only(listener))
		listener->tls = LISTENER_TLS_NONE;
	if ((listener->certificate == NULL) != (listener->key == NULL))
		config_error(report, values->at,
			     "listener \"%s\": certificate and key belong "
			     "together",
			     values->name);
	if ((listener->second_certificate == NULL) !=
		    (listener->second_key == NULL) ||
	    (listener->second_key != NULL && listener->key == NULL))
		config_error(report, values->at,
			     "listener \"%s\": second_certificate and "
			     "second_key belong together, and to a certificate",
			     values->name);
}

void
config_listener_defaults(struct config *config)
{
	config->listeners =
		mem_zalloc(DEFAULT_COUNT * sizeof(config->listeners[0]));
	for (size_t i = 0; i < DEFAULT_COUNT; i++) {
		struct listener_config *listener = &config->listeners[i];
		const char *problem;

		listener->name = mem_strdup(defaults[i].name);
		listener->at = mem_strdup("default");
		listener->role = defaults[i].role;
		listener->tls = tls_of(defaults[i].tls);
		for (size_t k = 0; k < 2; k++)
			if (defaults[i].addresses[k] != NULL)
				add_address(listener,
					    str_of(defaults[i].addresses[k]),
					    &problem);
	}
	config->listener_count = DEFAULT_COUNT;
}

void
config_listener_entries(struct config *config,
			void (*add)(struct config *config, char *name,
				    char *value, const char *at))
{
	for (size_t i = 0; i < DEFAULT_COUNT; i++) {
		const char *second = defaults[i].addresses[1];

		add(config, mem_printf("listener.%s.role", defaults[i].name),
		    mem_strdup(defaults[i].role == POLICY_MX ? "mx"
							     : "submission"),
		    NULL);
		add(config, mem_printf("listener.%s.address", defaults[i].name),
		    mem_printf("{\"%s\"%s%s%s}", defaults[i].addresses[0],
			       second != NULL ? ", \"" : "",
			       second != NULL ? second : "",
			       second != NULL ? "\"" : ""),
		    NULL);
		add(config, mem_printf("listener.%s.tls", defaults[i].name),
		    mem_strdup(defaults[i].tls), NULL);
	}
}

static bool
address_equal(const struct listener_address *a,
	      const struct listener_address *b)
{
	if (a->unix_path != NULL || b->unix_path != NULL)
		return a->unix_path != NULL && b->unix_path != NULL &&
		       strcmp(a->unix_path, b->unix_path) == 0;
	/* port 0: the kernel finds a free one for each */
	return a->port != 0 && a->port == b->port && ip_equal(&a->ip, &b->ip);
}

/* Is this address of listener number i there before, too? */
static bool
is_repeated(const struct config *config, size_t i, size_t k)
{
	const struct listener_address *address =
		&config->listeners[i].addresses[k];

	for (size_t j = 0; j <= i; j++) {
		const struct listener_config *other = &config->listeners[j];
		size_t count = j < i ? other->address_count : k;

		for (size_t n = 0; n < count; n++)
			if (address_equal(&other->addresses[n], address))
				return true;
	}
	return false;
}

static void
check_passwords(const struct listener_config *listener,
		struct config_report *report)
{
	if (listener->role != POLICY_SUBMISSION ||
	    listener->tls != LISTENER_TLS_NONE || is_unix_only(listener))
		return;
	for (size_t i = 0; i < listener->address_count; i++)
		if (listener->addresses[i].unix_path == NULL &&
		    !ip_is_loopback(&listener->addresses[i].ip)) {
			config_warn(report, listener->at,
				    "listener \"%s\" takes logins without TLS",
				    listener->name);
			return;
		}
}

void
config_listener_check(const struct config *config, struct config_report *report)
{
	for (size_t i = 0; i < config->listener_count; i++) {
		const struct listener_config *listener = &config->listeners[i];

		for (size_t k = 0; k < listener->address_count; k++)
			if (is_repeated(config, i, k))
				config_error(report, listener->at,
					     "listener \"%s\": address number "
					     "%zu is taken already",
					     listener->name, k + 1);
		check_passwords(listener, report);
	}
}

uint16_t
config_submission_port(const struct config *config)
{
	for (size_t i = 0; i < config->listener_count; i++) {
		const struct listener_config *listener = &config->listeners[i];

		if (listener->role != POLICY_SUBMISSION)
			continue;
		for (size_t k = 0; k < listener->address_count; k++)
			if (listener->addresses[k].unix_path == NULL &&
			    listener->addresses[k].port != 0)
				return listener->addresses[k].port;
	}
	return 0;
}
