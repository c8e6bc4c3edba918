/* SPDX-License-Identifier: ISC */
/*
 * server/config_diff.h - what a reload changes about who may send what
 *
 * By the effective values of relay {}, of domain rows and of the networks
 * whose PROXY header is believed: added, removed, changed. Pure; any thread.
 */
#ifndef OSTLER_SERVER_CONFIG_DIFF_H
#define OSTLER_SERVER_CONFIG_DIFF_H

struct config;

/*
 * Calls each for every difference, in the order of names.
 *
 * old_value, new_value  lent for the call; NULL: the name is not there
 */
void config_diff_relay(const struct config *old_config,
		       const struct config *new_config,
		       void (*each)(void *arg, const char *name,
				    const char *old_value,
				    const char *new_value),
		       void *arg);

#endif
