/* SPDX-License-Identifier: ISC */
/*
 * server/ctl_diagnose.c - ostlerctl diagnose: steps as lines for people
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
print_policy(const json_t *row)
{
	const json_t *recipients = json_object_get(row, "recipients");
	json_t *one;
	size_t i;

	(void)printf("%s\n", get(row, "text"));
	if (json_array_size(recipients) > 1)
		json_array_foreach(recipients, i, one)(void)
			printf("  %s\n", json_string_value(one));
	if (get(row, "strangers_reply")[0] != '\0')
		(void)printf(strcmp(get(row, "strangers"), "accepted") == 0
				     ? "who is not logged in here may send to "
				       "it: %s\n"
				     : "who is not logged in here may not send "
				       "to it, and hears: %s\n",
			     get(row, "strangers_reply"));
}

static void
print_address(const json_t *row, const char *verb)
{
	if (get(row, "path")[0] != '\0')
		(void)printf("%s %s\n", verb, get(row, "path"));
	else
		(void)printf("%s %s [%s] port %lld\n", verb, get(row, "host"),
			     get(row, "ip"),
			     (long long)json_integer_value(
				     json_object_get(row, "port")));
}

static void
print_result(const json_t *row)
{
	static const struct {
		const char *outcome, *words;
	} words[] = {
		{"delivered", "a message would be taken"},
		{"deferred", "a message would wait and be tried again"},
		{"failed", "a message would come back to its sender"},
		{"unknown", "no end was seen"},
	};
	const char *outcome = get(row, "outcome");
	const char *said = outcome;

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcmp(words[i].outcome, outcome) == 0)
			said = words[i].words;
	(void)printf("\n%s: %s\n", said, get(row, "text"));
	if (get(row, "host")[0] != '\0')
		(void)printf("host      %s [%s], at %s\n", get(row, "host"),
			     get(row, "ip"), get(row, "phase"));
	if (get(row, "category")[0] != '\0') {
		(void)printf("category  %s (%s)\n", get(row, "category"),
			     get(row, "rule"));
		(void)printf("meaning   %s\n", get(row, "explanation"));
		(void)printf("who       %s\n", get(row, "who"));
		(void)printf("to do     %s\n", get(row, "advice"));
	}
}

static void
print_step(void *arg, const json_t *row)
{
	const char *step = get(row, "step");
	bool is_bad = json_is_false(json_object_get(row, "ok"));

	if (strcmp(step, "policy") == 0) {
		print_policy(row);
	} else if (strcmp(step, "route") == 0) {
		ctl_print_route(arg, row);
	} else if (strcmp(step, "connect") == 0) {
		print_address(row, "connecting to");
	} else if (strcmp(step, "connected") == 0) {
		print_address(row,
			      is_bad ? "no connection to" : "connected to");
		if (is_bad)
			(void)printf("  %s\n", get(row, "text"));
	} else if (strcmp(step, "said") == 0) {
		(void)printf("  > %s\n", get(row, "text"));
	} else if (strcmp(step, "heard") == 0) {
		(void)printf("  < %s\n", get(row, "text"));
	} else if (strcmp(step, "result") == 0) {
		print_result(row);
	} else if (strcmp(step, "address") == 0 || strcmp(step, "all") == 0) {
		(void)printf("\n%s\n", get(row, "text"));
	} else {
		(void)printf("  %s: %s\n", step, get(row, "text"));
	}
	(void)fflush(stdout); /* each when it happens */
}

int
ctl_diagnose(struct ctl *ctl)
{
	static const struct ctl_option options[] = {{"from", true}};
	json_t *args = json_object();

	if (!ctl_options(ctl, options, 1, args) || ctl->argc != 2) {
		(void)fprintf(stderr, "usage: ostlerctl diagnose ADDRESS "
				      "[--from SENDER]\n");
		json_decref(args);
		return EXIT_USAGE;
	}
	json_object_set_new(args, "to", json_string(ctl->argv[1]));
	return ctl_show(ctl, "diagnose", args, print_step, NULL);
}
