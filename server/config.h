/* SPDX-License-Identifier: ISC */
/*
 * server/config.h - what the configuration file said, with defaults
 *
 * One immutable struct, shared by counting: a transaction keeps the one of
 * its MAIL, the next MAIL takes the current one. Built by config_load, at
 * start before any thread and in a worker on reload.
 */
#ifndef OSTLER_SERVER_CONFIG_H
#define OSTLER_SERVER_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/ip.h"
#include "lib/log.h"
#include "lib/units.h"
#include "policy/cidr.h"
#include "policy/policy.h"
#include "queue/queue.h"
#include "queue/route/resolver.h"

enum listener_tls {
	LISTENER_TLS_NONE,
	LISTENER_TLS_STARTTLS,
	LISTENER_TLS_IMPLICIT,
};

struct listener_address {
	struct ip ip; /* IP_NONE: unix */
	uint16_t port;
	char *unix_path; /* owns; NULL: TCP */
};

struct listener_config {
	char *name;
	enum policy_role role;
	enum listener_tls tls;
	struct listener_address *addresses;
	size_t address_count;
	struct cidr *proxy_from; /* policy/cidr.h */
	size_t proxy_from_count;
	char *certificate, *key;	       /* NULL: those of tls {} */
	char *second_certificate, *second_key; /* NULL: none */
	char *at;			       /* "FILE:LINE" */
};

/* Shown to clients that ask for one of these names. */
struct certificate_config {
	char **names; /* NULL-terminated: A-labels; ".parent": those below it */
	char *certificate, *key;
	char *second_certificate, *second_key; /* NULL: none */
};

struct config {
	unsigned refs;
	char *file;

	char *hostname, *postmaster, *qualify;
	char *spool, *control_socket, *user;
	uint64_t drain_ms;
	enum log_format log_format;
	enum log_level log_level;

	struct listener_config *listeners;
	size_t listener_count;

	struct {
		uint64_t message_size;
		unsigned recipients, hops;
		unsigned connections, connections_per_client;
		uint64_t command_timeout_ms, data_timeout_ms, session_ms;
		unsigned errors, auth_failures;
		uint64_t auth_lock_ms;
		uint64_t spool_free;
		struct units_rate messages_per_user, recipients_per_user;
		struct units_rate messages_per_client;
	} limits;

	struct certificate_config *certificates;
	size_t certificate_count;

	struct {
		char *certificate, *key, *client_ca, *client_crl, *minimum;
		char *second_certificate, *second_key; /* NULL: none */
		char *ca; /* for what we connect to; NULL: the system's */
		char *client_logins; /* a file; NULL: names are logins */
		struct client_logins *logins; /* owns: what it says */
		uint64_t watch_ms; /* between two looks at them; 0: never */
	} tls;			   /* certificate NULL: one is made */

	struct {
		char **mechanisms; /* NULL-terminated */
		char *database, *realm;
		char **options; /* NULL-terminated */
		bool plaintext_without_tls;
	} auth;

	bool mx_points_here_defers;

	struct policy *policy; /* domains, routes, relay rules */

	struct {
		char **servers; /* NULL-terminated */
		uint64_t timeout_ms;
		unsigned attempts;
		bool client_names, private_targets;
		uint64_t ttl_max_s, negative_ttl_max_s;
	} resolver;

	struct {
		uint32_t *retry_s;
		size_t retry_count;
		uint64_t expire_s, warn_s, bounce_expire_s, grace_s, digest_s;
		struct units_rate reports_per_sender;
		unsigned connections;
		uint16_t port;
		uint64_t connect_timeout_ms, idle_connection_ms;
		bool deliver;
		char *alert_command;
	} queue;

	struct {
		char *language;
		char *texts, *rules; /* a folder, a file; NULL: as built in */
		struct texts *loaded;
		struct classifier *classifier;
	} report;

	/* Printed in order: name (dotted), value, "FILE:LINE" or "default";
	 * secrets hidden. For `ostlerctl config`. */
	struct config_entry *entries;
	size_t entry_count;
};

struct config_entry {
	char *name, *value, *at; /* at NULL: the default */
};

struct config *config_ref(struct config *config);
void config_unref(struct config *config); /* NULL is fine */

/* What auth.options hand passwords to ("saslauthd"); NULL: the login database.
 * Lent by the configuration. */
const char *config_password_program(const struct config *config);

/*
 * Reads a file with its includes, tables and environment variables.
 *
 * errors    gets one "FILE:LINE: text\n" for each thing that is wrong; all of
 *           them (but a syntax error comes alone)
 * warnings  gets "FILE:LINE: text\n" for what works and is worth a look
 * Returns 0, or -EINVAL when errors has something.
 */
int config_load(const char *file, struct config **out, struct buf *errors,
		struct buf *warnings);

/* The queue's and the resolver's share of it; pointers are lent. */
void config_queue_opts(const struct config *config, struct queue_opts *out);
void config_resolver_opts(const struct config *config,
			  struct resolver_opts *out);

#endif
