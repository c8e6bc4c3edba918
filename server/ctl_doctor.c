/* SPDX-License-Identifier: ISC */
/*
 * server/ctl_doctor.c - ostlerctl doctor: what was looked at, in lines
 */
#include <stdio.h>
#include <string.h>

#include "server/ctl.h"
#include "server/daemon.h"

static const char *
get(const json_t *row, const char *name)
{
	const char *text = json_string_value(json_object_get(row, name));

	return text != NULL ? text : "";
}

static void
print_check(const json_t *row)
{
	(void)printf("%-4s  %-11s %s: ", get(row, "state"), get(row, "check"),
		     get(row, "about"));
	ctl_print_lines(get(row, "text"), 6);
	if (get(row, "advice")[0] != '\0')
		(void)printf("      -> %s\n", get(row, "advice"));
}

/* The daemon can ask the database, and cannot count what is in it. Who may
 * change it can. */
static json_t *
count_logins(struct ctl *ctl, const json_t *row)
{
	json_t *own = json_deep_copy(row);
	char text[60];
	int count;

	if (strcmp(get(row, "check"), "logins") != 0 ||
	    strcmp(get(row, "state"), "ok") != 0 || get(row, "about")[0] != '/')
		return own;
	count = ctl_user_count(ctl);
	if (count < 0)
		return own;
	(void)snprintf(text, sizeof(text), "can be asked, %d login%s", count,
		       count == 1 ? "" : "s");
	json_object_set_new(own, "text", json_string(text));
	if (count == 0) {
		json_object_set_new(own, "state", json_string("warn"));
		json_object_set_new(
			own, "advice",
			json_string("Nobody can log in: add the first login "
				    "by `ostlerctl user add NAME`."));
	}
	return own;
}

static void
on_check(void *arg, const json_t *row)
{
	struct ctl *ctl = arg;
	json_t *own = count_logins(ctl, row);

	if (ctl->is_json)
		ctl_print_json(own);
	else
		print_check(own);
	(void)fflush(stdout); /* DNS may take its time for the next one */
	json_decref(own);
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
	return ctl_show_as(ctl, "doctor", args, on_check, ctl);
}
