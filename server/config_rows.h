/* SPDX-License-Identifier: ISC */
/*
 * server/config_rows.h - where values rest that policy/builder.h gets
 */
#ifndef OSTLER_SERVER_CONFIG_ROWS_H
#define OSTLER_SERVER_CONFIG_ROWS_H

#include <stdbool.h>

#include "lib/units.h"

struct relay_values {
	char *senders;
};

struct domain_values {
	char *recipients, *aliases;
	bool has_subdomains;
};

struct route_values {
	char *password_file;
	unsigned connections, messages_per_connection;
	struct units_rate rate;
};

#endif
