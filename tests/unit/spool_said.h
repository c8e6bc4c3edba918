/* SPDX-License-Identifier: ISC */
/*
 * tests/unit/spool_said.h - what a check of the one spool says of it
 */
#ifndef OSTLER_TESTS_UNIT_SPOOL_SAID_H
#define OSTLER_TESTS_UNIT_SPOOL_SAID_H

#include "queue/spool/check.h"
#include "tests/unit/spool_world.h"

struct said {
	char kinds[8192]; /* "kind damage|kind note|" */
	struct spool_check check;
	struct err err;
	int rc;
};

static void
on_finding(void *arg, const struct spool_finding *finding)
{
	struct said *said = arg;
	size_t len = strlen(said->kinds);

	(void)snprintf(said->kinds + len, sizeof(said->kinds) - len, "%s %s|",
		       finding->kind, finding->is_damage ? "damage" : "note");
	ck_assert(finding->file[0] != '\0' && finding->text[0] != '\0');
}

static void
check_spool(bool is_repair, struct said *said)
{
	memset(said, 0, sizeof(*said));
	said->check.is_repair = is_repair;
	said->check.found = on_finding;
	said->check.arg = said;
	said->rc = spool_check(box.dir, &said->check, &said->err);
}

#endif
