/* SPDX-License-Identifier: ISC */
/*
 * server/config_listener.h - listener sections into struct listener_config
 *
 *	address = IP ":" port / "[" IPv6 "]:" port / "unix:" path
 */
#ifndef OSTLER_SERVER_CONFIG_LISTENER_H
#define OSTLER_SERVER_CONFIG_LISTENER_H

#include <stdint.h>

#include "policy/builder.h"
#include "server/config.h"
#include "server/config_report.h"

/* sun_path holds this much with its NUL. */
#define CONFIG_SOCKET_PATH_MAX 107

/* What one section says; borrowed. */
struct listener_values {
	const char *name, *at;
	struct sourced role, tls;
	struct sourced_list addresses, proxy_from;
};

/* Fills a zeroed listener; what is wrong is reported and left out. */
void config_listener_set(struct listener_config *listener,
			 const struct listener_values *values,
			 struct config_report *report);

/* The four listeners of a configuration without any. */
void config_listener_defaults(struct config *config);
void config_listener_entries(struct config *config,
			     void (*add)(struct config *config, char *name,
					 char *value, const char *at));

/* What holds between listeners: no address twice, passwords under TLS. */
void config_listener_check(const struct config *config,
			   struct config_report *report);

/* The first TCP port of a submission listener, 0 when there is none. */
uint16_t config_submission_port(const struct config *config);

#endif
