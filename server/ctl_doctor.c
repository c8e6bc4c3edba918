/* SPDX-License-Identifier: ISC */
/*
 * server/ctl_doctor.c - ostlerctl doctor: what was looked at, in lines
 */
#include <stdio.h>

#include "server/ctl.h"
#include "server/daemon.h"

static const char *
get(const json_t *row, const char *name)
{
	const char *text = json_string_value(json_object_get(row, name));

	return text != NULL ? text : "";
}

static void
print_check(void *arg, const json_t *row)
{
	(void)arg;
	(void)printf("%-4s  %-11s %s: %s\n", get(row, "state"),
		     get(row, "check"), get(row, "about"), get(row, "text"));
	if (get(row, "advice")[0] != '\0')
		(void)printf("      -> %s\n", get(row, "advice"));
	(void)fflush(stdout); /* DNS may take its time for the next one */
}

int
ctl_doctor(struct ctl *ctl)
{
	static const struct ctl_option options[] = {{"to", true}};
	json_t *args = json_object();

	if (!ctl_options(ctl, options, 1, args) || ctl->argc != 1) {
		(void)fprintf(stderr,
			      "usage: ostlerctl doctor [--to DOMAIN]\n");
		json_decref(args);
		return EXIT_USAGE;
	}
	return ctl_show(ctl, "doctor", args, print_check, NULL);
}
