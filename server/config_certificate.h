/* SPDX-License-Identifier: ISC */
/*
 * server/config_certificate.h - certificate sections, and all TLS files
 *
 *	name = domain / "." domain
 */
#ifndef OSTLER_SERVER_CONFIG_CERTIFICATE_H
#define OSTLER_SERVER_CONFIG_CERTIFICATE_H

#include <stddef.h>

#include "policy/builder.h"
#include "server/config.h"
#include "server/config_report.h"

/* What one section says; borrowed. */
struct certificate_values {
	const char *title, *at;
	struct sourced_list names;
};

/*
 * Completes the last of config's certificates, whose files are stored
 * already: its names, and whether all belong together. What is wrong is
 * reported and left out.
 */
void config_certificate_set(struct config *config,
			    const struct certificate_values *values,
			    struct config_report *report);

/*
 * Every file that TLS is made of, of listeners and tls {} too.
 *
 * out  an array that the caller frees; the paths are lent
 * Returns how many.
 */
size_t config_certificate_files(const struct config *config, const char ***out);

#endif
