/* SPDX-License-Identifier: ISC */
/*
 * tests/unit/config_world.h - configurations loaded in a folder of their own
 *
 * Every test calls enter() first and leave() last; paths are relative to the
 * folder, whose files leave() removes.
 */
#ifndef OSTLER_TESTS_UNIT_CONFIG_WORLD_H
#define OSTLER_TESTS_UNIT_CONFIG_WORLD_H

#include "tests/unit/unit.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/mem.h"
#include "lib/net/https.h"
#include "server/config.h"

/* what every configuration needs */
#define H "hostname = \"m.x.org\"\n"

static char folder[64], source_dir[PATH_MAX];
static struct buf errors, warnings;

static void
enter(void)
{
	const char *srcdir = getenv("srcdir");

	ck_assert_ptr_nonnull(
		realpath(srcdir != NULL ? srcdir : ".", source_dir));
	(void)snprintf(folder, sizeof(folder), "/tmp/ostler-config-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	ck_assert_int_eq(chdir(folder), 0);
	https_use_program("/bin/sh"); /* is there, as ostler-fetch would be */
	buf_init(&errors, 1 << 20);
	buf_init(&warnings, 1 << 20);
}

static void
leave(void)
{
	DIR *dir = opendir(".");

	for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir))
		if (e->d_name[0] != '.')
			ck_assert_int_eq(remove(e->d_name), 0);
	ck_assert_int_eq(closedir(dir), 0);
	ck_assert_int_eq(chdir("/"), 0);
	ck_assert_int_eq(rmdir(folder), 0);
	buf_done(&errors);
	buf_done(&warnings);
}

static void
put(const char *name, const char *text)
{
	FILE *file = fopen(name, "w");

	ck_assert_ptr_nonnull(file);
	ck_assert_int_ge(fputs(text, file), 0);
	ck_assert_int_eq(fclose(file), 0);
}

/* Writes t.conf and loads it; NULL when there were errors. */
static struct config *
load(const char *text)
{
	struct config *config = NULL;
	int rc;

	put("t.conf", text);
	buf_clear(&errors);
	buf_clear(&warnings);
	rc = config_load("t.conf", &config, &errors, &warnings);
	ck_assert_int_eq(rc == 0, buf_len(&errors) == 0);
	ck_assert_int_eq(rc == 0, config != NULL);
	ck_assert_int_eq(rc, rc == 0 ? 0 : -EINVAL);
	return config;
}

static __attribute__((unused)) struct config *
load_good(const char *text)
{
	struct config *config = load(text);

	ck_assert_msg(config != NULL, "%s", buf_text(&errors));
	return config;
}

static __attribute__((unused)) const char *
entry(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->entry_count; i++)
		if (strcmp(config->entries[i].name, name) == 0)
			return config->entries[i].value;
	return NULL;
}

static __attribute__((unused)) const char *
entry_at(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->entry_count; i++)
		if (strcmp(config->entries[i].name, name) == 0)
			return config->entries[i].at;
	return "no such entry";
}

#endif
