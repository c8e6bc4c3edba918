/* SPDX-License-Identifier: ISC */
/*
 * server/ctl_fsck.c - ostlerctl fsck: a stopped spool checked and repaired
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/units.h"
#include "queue/spool/check.h"
#include "queue/spool/spool.h"
#include "server/config.h"
#include "server/ctl.h"
#include "server/daemon.h"
#include "server/queue_json.h"

static void
print_json(const struct spool_finding *finding)
{
	char id[SPOOL_ID_MAX], *file = queue_json_clean(finding->file);
	json_t *row =
		json_pack("{s:s,s:s,s:s,s:s,s:s,s:s}", "severity",
			  finding->is_damage ? "damage" : "note", "kind",
			  finding->kind, "file", file, "id",
			  finding->id != 0 ? spool_id_format(finding->id, id)
					   : "",
			  "text", finding->text, "repair", finding->repair);

	free(file);
	ctl_print_json(row);
	json_decref(row);
}

static void
on_found(void *arg, const struct spool_finding *finding)
{
	struct ctl *ctl = arg;
	char *file;

	if (ctl->is_json) {
		print_json(finding);
		return;
	}
	file = queue_json_clean(finding->file);
	(void)printf("%-6s %s: %s: %s%s%s\n",
		     finding->is_damage ? "damage" : "note", file,
		     finding->kind, finding->text,
		     finding->repair[0] != '\0' ? ": " : "", finding->repair);
	free(file);
}

static void
print_summary(const struct ctl *ctl, const struct spool_check *check)
{
	char size[16];
	json_t *row;

	if (!ctl->is_json) {
		(void)printf("%llu messages (%llu in the log, %llu in files), "
			     "%llu segments in use, log %s, %llu set aside: "
			     "%llu damaged, %llu repaired, %llu notes\n",
			     (unsigned long long)check->messages,
			     (unsigned long long)check->in_log,
			     (unsigned long long)check->in_files,
			     (unsigned long long)check->segments,
			     units_format_size(check->log_bytes, size,
					       sizeof(size)),
			     (unsigned long long)check->set_aside,
			     (unsigned long long)check->damages,
			     (unsigned long long)check->repaired,
			     (unsigned long long)check->notes);
		return;
	}
	row = json_pack("{s:b,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "summary",
			1, "messages", (json_int_t)check->messages, "in_log",
			(json_int_t)check->in_log, "in_files",
			(json_int_t)check->in_files, "segments",
			(json_int_t)check->segments, "log_bytes",
			(json_int_t)check->log_bytes, "set_aside",
			(json_int_t)check->set_aside, "damaged",
			(json_int_t)check->damages, "repaired",
			(json_int_t)check->repaired, "notes",
			(json_int_t)check->notes);
	ctl_print_json(row);
	json_decref(row);
}

int
ctl_fsck(struct ctl *ctl)
{
	static const struct ctl_option options[] = {{"repair", false}};
	struct spool_check check = {.found = on_found, .arg = ctl};
	struct err err = ERR_INIT;
	json_t *args = json_object();
	bool is_fine = ctl_options(ctl, options, 1, args) && ctl->argc == 1;
	int rc;

	check.is_repair = json_is_true(json_object_get(args, "repair"));
	json_decref(args);
	if (!is_fine) {
		(void)fprintf(stderr, "usage: ostlerctl fsck [--repair]\n");
		return EXIT_USAGE;
	}
	rc = ctl_config(ctl);
	if (rc != EXIT_DONE)
		return rc;
	rc = check.is_repair ? ctl_become_owner(ctl->config->spool, &err) : 0;
	if (rc == 0)
		rc = spool_check(ctl->config->spool, &check, &err);
	ctl_become_caller();
	if (rc < 0) {
		(void)fflush(stdout);
		(void)fprintf(stderr, "ostlerctl: %s%s\n", err.text,
			      rc == -EBUSY ? ": stop ostlerd first" : "");
		return rc == -EACCES || rc == -EPERM ? EXIT_PERMISSION
						     : EXIT_SYSTEM;
	}
	print_summary(ctl, &check);
	return check.damages > check.repaired ? EXIT_NO : EXIT_DONE;
}
