/* SPDX-License-Identifier: ISC */
/*
 * server/config_check.h - what holds between values that are good alone
 */
#ifndef OSTLER_SERVER_CONFIG_CHECK_H
#define OSTLER_SERVER_CONFIG_CHECK_H

#include "policy/builder.h"
#include "server/config.h"
#include "server/config_report.h"
#include "server/config_scan.h"

/* config may be half filled where errors were reported. */
void config_check(const struct config *config, const struct scan *scan,
		  struct config_report *report);

/* Warns when the file is not there or open to others; it is read at use. */
void config_check_password_file(const struct builder_route *route,
				struct config_report *report);

/* What a route asks for and this program or its resolver cannot give. */
void config_check_route(const struct config *config,
			const struct builder_route *route,
			struct config_report *report);

#endif
