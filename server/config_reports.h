/* SPDX-License-Identifier: ISC */
/*
 * server/config_reports.h - section report: rules and texts of one's own
 */
#ifndef OSTLER_SERVER_CONFIG_REPORTS_H
#define OSTLER_SERVER_CONFIG_REPORTS_H

#include "server/config.h"
#include "server/config_report.h"
#include "server/config_scan.h"

/*
 * Reads the files that config->report names, over what is built in.
 *
 * read_file  as in config_scan.h
 * Mistakes go to report, each with its own FILE:LINE.
 */
void config_load_reports(struct config *config, const struct scan *scan,
			 scan_read_fn *read_file, struct config_report *report);

/* The same for tls.client_logins. */
void config_load_client_logins(struct config *config, const struct scan *scan,
			       scan_read_fn *read_file,
			       struct config_report *report);

#endif
