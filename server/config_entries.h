/* SPDX-License-Identifier: ISC */
/*
 * server/config_entries.h - all settings with their values, to be printed
 *
 * What `ostlerctl config` shows and what a reload compares: defaults too, and
 * where each was written. Secrets are hidden.
 */
#ifndef OSTLER_SERVER_CONFIG_ENTRIES_H
#define OSTLER_SERVER_CONFIG_ENTRIES_H

struct config;
struct config_values;

/* Fills config->entries; the rest of config is complete. */
void config_entries_add(struct config *config, struct config_values *values);

#endif
