/* SPDX-License-Identifier: ISC */
/*
 * server/ctl_auth.c - ostlerctl auth
 */
#include <stdio.h>
#include <string.h>

#include "lib/units.h"
#include "server/ctl.h"
#include "server/daemon.h"

static const char *
text(const json_t *row, const char *name)
{
	const char *value = json_string_value(json_object_get(row, name));

	return value != NULL ? value : "";
}

static unsigned long long
number(const json_t *row, const char *name)
{
	return (unsigned long long)json_integer_value(
		json_object_get(row, name));
}

static void
print_row(void *arg, const json_t *row)
{
	const char *kind = text(row, "kind");
	char time[24];

	(void)arg;
	if (strcmp(kind, "address") == 0) {
		(void)printf("address  %s%s  %llu failed", text(row, "address"),
			     json_is_true(json_object_get(row, "block")) ? "/64"
									 : "",
			     number(row, "failures"));
		if (number(row, "locked_s") != 0)
			(void)printf(", locked for another %s",
				     units_format_duration(number(row,
								  "locked_s"),
							   time, sizeof(time)));
		(void)printf("\n");
	} else if (strcmp(kind, "login") == 0) {
		(void)printf("login    %s  %llu failed from %llu address%s%s\n",
			     text(row, "login"), number(row, "failures"),
			     number(row, "addresses"),
			     number(row, "addresses") == 1 ? "" : "es",
			     json_is_true(json_object_get(row, "attacked"))
				     ? ", attacked"
				     : "");
	} else {
		(void)printf("paused   %s  for %s\n", text(row, "login"),
			     units_format_duration(number(row, "since_s"), time,
						   sizeof(time)));
	}
}

static void
print_nothing(void *arg, const json_t *row)
{
	(void)arg;
	(void)row;
}

int
ctl_auth(struct ctl *ctl)
{
	json_t *args = json_object();
	bool is_clear = ctl->argc == 3 && strcmp(ctl->argv[1], "clear") == 0;

	if (!ctl_options(ctl, NULL, 0, args) ||
	    !(is_clear ||
	      (ctl->argc == 2 && strcmp(ctl->argv[1], "list") == 0))) {
		(void)fprintf(stderr, "usage: ostlerctl auth list\n"
				      "       ostlerctl auth clear "
				      "ADDRESS|LOGIN\n");
		json_decref(args);
		return EXIT_USAGE;
	}
	if (!is_clear)
		return ctl_show(ctl, "auth list", args, print_row, NULL);
	json_object_set_new(args, "who", json_string(ctl->argv[2]));
	return ctl_show(ctl, "auth clear", args, print_nothing, NULL);
}
