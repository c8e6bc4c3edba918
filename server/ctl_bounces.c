/* SPDX-License-Identifier: ISC */
/*
 * server/ctl_bounces.c - ostlerctl bounces
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/clock.h"
#include "lib/str.h"
#include "lib/units.h"
#include "queue/bounce/classify.h"
#include "server/ctl.h"
#include "server/daemon.h"

static const char *
get(const json_t *row, const char *name)
{
	const char *text = json_string_value(json_object_get(row, name));

	return text != NULL ? text : "";
}

static long long
number(const json_t *row, const char *name)
{
	return (long long)json_integer_value(json_object_get(row, name));
}

/* "1d" ago, or a date: "2026-11-21", "2026-11-21T14:00", local time. */
static bool
read_time(const char *text, uint64_t *out_ms)
{
	static const char *const formats[] = {
		"%Y-%m-%dT%H:%M:%S",
		"%Y-%m-%dT%H:%M",
		"%Y-%m-%d",
	};
	uint64_t ago_s, now_ms = clock_wall_ms();

	if (units_duration(text, &ago_s)) {
		*out_ms = ago_s < now_ms / 1000 ? now_ms - ago_s * 1000 : 0;
		return true;
	}
	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
		struct tm tm = {.tm_isdst = -1};
		const char *end = strptime(text, formats[i], &tm);
		time_t at;

		if (end == NULL || *end != '\0')
			continue;
		at = mktime(&tm);
		if (at < 0)
			return false;
		*out_ms = (uint64_t)at * 1000;
		return true;
	}
	return false;
}

static bool
take_time(json_t *args, const char *name, const char *name_ms)
{
	const char *text = json_string_value(json_object_get(args, name));
	uint64_t at_ms;

	if (text == NULL)
		return true;
	if (!read_time(text, &at_ms)) {
		(void)fprintf(stderr,
			      "ostlerctl: --%s %s: neither a time like 1d nor "
			      "a date like 2026-11-21 or 2026-11-21T14:00\n",
			      name, text);
		return false;
	}
	json_object_set_new(args, name_ms, json_integer((json_int_t)at_ms));
	return true;
}

static bool
take_limit(json_t *args, const char *preset)
{
	const char *text = json_string_value(json_object_get(args, "limit"));
	uint64_t limit;

	if (!str_u64(str_of(text != NULL ? text : preset), 10000, &limit)) {
		(void)fprintf(stderr,
			      "ostlerctl: --limit %s: not a number up to "
			      "10000\n",
			      text);
		return false;
	}
	json_object_set_new(args, "limit", json_integer((json_int_t)limit));
	return true;
}

static bool
take_category(const json_t *args)
{
	const char *text = json_string_value(json_object_get(args, "category"));
	enum category category;

	if (text == NULL || category_parse(text, &category))
		return true;
	(void)fprintf(stderr, "ostlerctl: --category %s: it is one of", text);
	for (size_t i = 0; i < CATEGORY_COUNT; i++)
		(void)fprintf(stderr, " %s", category_name((enum category)i));
	(void)fprintf(stderr, "\n");
	return false;
}

/* What was printed last, for the headings. */
struct printing {
	char kind[16];
};

static void
print_heading(struct printing *printing, const char *kind)
{
	if (strcmp(printing->kind, kind) == 0)
		return;
	(void)str_copy(printing->kind, sizeof(printing->kind), str_of(kind));
	if (strcmp(kind, "failure") == 0)
		(void)printf("\nthe newest:\n");
	else if (strcmp(kind, "total") != 0 && strcmp(kind, "dead") != 0)
		(void)printf("\nby %s\n", kind);
}

static void
print_row(void *arg, const json_t *row)
{
	const char *kind = get(row, "kind");
	char last[CLOCK_DATE_MAX];

	print_heading(arg, kind);
	if (strcmp(kind, "total") == 0) {
		(void)printf("%lld failed\n", number(row, "count"));
	} else if (strcmp(kind, "failure") == 0) {
		(void)clock_format_rfc3339((uint64_t)number(row, "at_ms"),
					   last);
		(void)printf("%s %s %s %s <%s> -> <%s>%s%s: %s\n", last,
			     get(row, "id"), get(row, "state"),
			     get(row, "category"), get(row, "sender"),
			     get(row, "recipient"),
			     get(row, "host")[0] != '\0' ? " at " : "",
			     get(row, "host"), get(row, "reply"));
	} else if (strcmp(kind, "dead") == 0) {
		(void)clock_format_rfc3339((uint64_t)number(row, "last_ms"),
					   last);
		(void)printf("%s  %s, %lld time%s, last %s: %s\n",
			     get(row, "address"), get(row, "category"),
			     number(row, "count"),
			     number(row, "count") == 1 ? "" : "s", last,
			     get(row, "reply"));
	} else {
		(void)clock_format_rfc3339((uint64_t)number(row, "last_ms"),
					   last);
		(void)printf("%8lld  %-32s last %s\n", number(row, "count"),
			     get(row, "name"), last);
	}
}

int
ctl_bounces(struct ctl *ctl)
{
	static const struct ctl_option options[] = {
		{"category", true}, {"domain", true}, {"host", true},
		{"since", true},    {"until", true},  {"limit", true},
		{"dead", false},
	};
	struct printing printing = {.kind = ""};
	json_t *args = json_object();

	if (!ctl_options(ctl, options, 7, args) || ctl->argc != 1) {
		(void)fprintf(stderr, "usage: ostlerctl bounces [--dead] "
				      "[--category C] [--domain D] [--host H] "
				      "[--since T] [--until T] [--limit N]\n");
		json_decref(args);
		return EXIT_USAGE;
	}
	if (!take_time(args, "since", "since_ms") ||
	    !take_time(args, "until", "until_ms") || !take_category(args) ||
	    !take_limit(args, ctl->is_json ? "1000" : "20")) {
		json_decref(args);
		return EXIT_USAGE;
	}
	return ctl_show(ctl, "bounces", args, print_row, &printing);
}
