/* SPDX-License-Identifier: ISC */
/*
 * server/ctl_queue.c - ostlerctl queue, with a daemon or on a stopped spool
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/mem.h"
#include "lib/units.h"
#include "queue/envelope.h"
#include "queue/queue.h"
#include "server/config.h"
#include "server/ctl.h"
#include "server/daemon.h"
#include "server/queue_json.h"

static const struct ctl_option filters[] = {
	{"domain", true}, {"state", true}, {"category", true},
	{"sender", true}, {"all", false},  {"via", true},
};
#define FILTERS 5 /* but for --via */

static const char *
get(const json_t *row, const char *name)
{
	const char *text = json_string_value(json_object_get(row, name));

	return text != NULL ? text : "";
}

static uint64_t
number(const json_t *row, const char *name)
{
	json_int_t value = json_integer_value(json_object_get(row, name));

	return value > 0 ? (uint64_t)value : 0;
}

/* "in 4m30s", "now", "3m ago" */
static const char *
when(uint64_t wall_ms, char to[32])
{
	uint64_t now_ms = clock_wall_ms();
	char duration[24];

	if (wall_ms == 0)
		return "-";
	if (wall_ms <= now_ms)
		return "now";
	(void)snprintf(to, 32, "in %s",
		       units_format_duration((wall_ms - now_ms) / 1000,
					     duration, sizeof(duration)));
	return to;
}

static const char *
age(uint64_t wall_ms, char to[24])
{
	uint64_t now_ms = clock_wall_ms();

	return units_format_duration(
		wall_ms < now_ms ? (now_ms - wall_ms) / 1000 : 0, to, 24);
}

/* ------------------------------------------------------------------ list */

static void
print_item(void *arg, const json_t *row)
{
	bool *has_head = arg;
	uint64_t left = number(row, "recipients_left");
	char since[24], size[16], next[32], more[24] = "";

	if (!*has_head)
		(void)printf("%-13s %-8s %5s %-8s %-10s %s\n", "ID", "AGE",
			     "SIZE", "STATE", "NEXT TRY",
			     "SENDER -> RECIPIENT: WHY");
	*has_head = true;
	if (left > 1)
		(void)snprintf(more, sizeof(more), " +%llu",
			       (unsigned long long)left - 1);
	(void)printf("%-13s %-8s %5s %-8s %-10s <%s> -> %s%s%s%s\n",
		     get(row, "id"), age(number(row, "received_ms"), since),
		     units_format_size(number(row, "size"), size, sizeof(size)),
		     get(row, "state"), when(number(row, "next_try_ms"), next),
		     get(row, "sender"), get(row, "recipient"), more,
		     get(row, "why")[0] != '\0' ? ": " : "", get(row, "why"));
}

/* ----------------------------------------------- a spool without a daemon */

struct scan {
	struct ctl *ctl;
	const json_t *args;
	uint64_t id; /* 0: list all */
	bool has_head, is_found;
};

static void
on_report(void *arg, bool is_error, const char *file, const char *text)
{
	(void)arg;
	(void)is_error;
	(void)fprintf(stderr, "ostlerctl: %s: %s\n", file, text);
}

static bool
scan_matches(const struct scan *scan, const struct queue_item *item)
{
	const char *domain =
		json_string_value(json_object_get(scan->args, "domain"));
	const char *state =
		json_string_value(json_object_get(scan->args, "state"));
	const char *category =
		json_string_value(json_object_get(scan->args, "category"));
	const char *sender =
		json_string_value(json_object_get(scan->args, "sender"));
	const char *at = strrchr(item->recipient, '@');

	if (domain != NULL && (at == NULL || strcasecmp(at + 1, domain) != 0))
		return false;
	if (state != NULL && strcmp(state, item->state) != 0)
		return false;
	if (category != NULL && strcmp(category, item->category) != 0)
		return false;
	return sender == NULL || strcasecmp(sender, item->sender) == 0;
}

/* What the daemon's list would say of it. */
static void
scan_item(const struct envelope *envelope, struct queue_item *item)
{
	memset(item, 0, sizeof(*item));
	item->id = envelope->id;
	item->received_ms = envelope->received_ms;
	item->size = envelope->size;
	item->sender = envelope->sender;
	item->state = envelope->is_held ? "held" : "queued";
	item->recipient = item->why = item->category = "";
	for (size_t i = 0; i < envelope->recipient_count; i++) {
		const struct recipient *r = &envelope->recipients[i];

		if (r->state != RCPT_QUEUED && r->state != RCPT_HELD)
			continue;
		if (item->recipients_left++ != 0)
			continue;
		item->recipient = r->address;
		item->next_try_ms = r->next_try_ms;
		item->attempts = r->attempts;
		item->why = r->last_reply != NULL ? r->last_reply : "";
		item->category = r->category != NULL ? r->category : "";
		if (r->state == RCPT_HELD)
			item->state = "held";
		else if (r->attempts != 0 && !envelope->is_held)
			item->state = "deferred";
	}
}

bool
ctl_scan_matches(const json_t *args, const struct spool_found *found)
{
	struct scan scan = {.args = args};
	struct envelope envelope;
	struct queue_item item;
	bool is_match = true;

	if (envelope_parse(found->envelope, found->states, &envelope, NULL) < 0)
		return true; /* its reader says what is wrong */
	scan_item(&envelope, &item);
	is_match = scan_matches(&scan, &item);
	envelope_done(&envelope);
	return is_match;
}

/* The content alone, of the one that was named. */
static int
print_part(void *arg, const uint8_t *bytes, size_t len)
{
	return fwrite(bytes, 1, len, arg) == len ? 0 : -EIO;
}

static void
on_scanned_body(void *arg, const struct spool_found *found)
{
	struct scan *scan = arg;
	int rc;

	if (found->id != scan->id)
		return;
	scan->is_found = true;
	rc = spool_scan_body(found, print_part, stdout);
	if (rc < 0)
		(void)fprintf(stderr, "ostlerctl: %s\n", strerror(-rc));
}

static void
on_scanned(void *arg, const struct spool_found *found)
{
	struct scan *scan = arg;
	struct envelope envelope;
	struct queue_item item;
	struct err err = ERR_INIT;
	json_t *row;

	if (scan->id != 0 && found->id != scan->id)
		return;
	if (envelope_parse(found->envelope, found->states, &envelope, &err) <
	    0) {
		(void)fprintf(stderr, "ostlerctl: %s\n", err.text);
		return;
	}
	envelope.id = found->id;
	scan->is_found = true;
	if (scan->id != 0) {
		row = queue_json_envelope(&envelope, found->states);
		ctl_print_json(row);
		json_decref(row);
	} else {
		scan_item(&envelope, &item);
		if (scan_matches(scan, &item)) {
			row = queue_json_item(&item);
			if (scan->ctl->is_json)
				ctl_print_json(row);
			else
				print_item(&scan->has_head, row);
			json_decref(row);
		}
	}
	envelope_done(&envelope);
}

/* The daemon is down: the spool's own files say what is queued. */
static int
queue_scan(struct scan *scan,
	   void (*each)(void *arg, const struct spool_found *found))
{
	struct err err = ERR_INIT;
	int rc;

	rc = spool_scan(scan->ctl->config->spool, each, on_report, scan, &err);
	if (rc < 0) {
		(void)fprintf(stderr, "ostlerctl: %s\n", err.text);
		return rc == -EACCES ? EXIT_PERMISSION : EXIT_NO_DAEMON;
	}
	if (scan->id != 0 && !scan->is_found) {
		(void)fprintf(stderr, "ostlerctl: no such message\n");
		return EXIT_NO;
	}
	return EXIT_DONE;
}

static void
on_json_or_item(void *arg, const json_t *row)
{
	struct scan *scan = arg;

	if (scan->ctl->is_json)
		ctl_print_json(row);
	else
		print_item(&scan->has_head, row);
}

static int
queue_list_command(struct ctl *ctl)
{
	json_t *args = json_object();
	struct scan scan = {.ctl = ctl, .args = args};
	bool is_watched = isatty(STDOUT_FILENO) == 1;
	int rc = EXIT_USAGE;

	if (ctl_options(ctl, filters, FILTERS, args)) {
		if (ctl->argc > 1)
			(void)fprintf(stderr,
				      "ostlerctl: queue list takes options "
				      "only\n");
		else
			rc = ctl_ask(ctl, "queue list", json_incref(args),
				     on_json_or_item, &scan);
	}
	if (rc == -1) {
		if (is_watched)
			(void)fprintf(stderr,
				      "ostlerctl: no daemon answers; this is "
				      "what its spool holds\n");
		rc = queue_scan(&scan, on_scanned);
	}
	/* a person is told what a program sees by nothing being there */
	if (rc == EXIT_DONE && is_watched && !ctl->is_json && !scan.has_head)
		(void)fprintf(stderr, json_object_size(args) == 0
					      ? "nothing waits\n"
					      : "nothing of that kind waits\n");
	json_decref(args);
	return rc;
}

/* ------------------------------------------------------------------ show */

static void
print_reply(const char *reply)
{
	struct str rest = str_of(reply), line;

	while (str_cut(&rest, '\n', &line))
		(void)printf("        %.*s\n", STR_ARG(line));
}

static void
print_tries(const json_t *row)
{
	json_t *one;
	size_t index;

	(void)printf("\nattempts\n");
	if (number(row, "tries_before") != 0)
		(void)printf("  (%llu before)\n",
			     (unsigned long long)number(row, "tries_before"));
	json_array_foreach(json_object_get(row, "tries"), index, one)
	{
		char date[CLOCK_DATE_MAX];
		json_int_t port =
			json_integer_value(json_object_get(one, "port"));

		(void)printf("  %s  %s  %s",
			     clock_format_rfc3339(number(one, "at_ms"), date),
			     get(one, "to"), get(one, "result"));
		if (get(one, "host")[0] != '\0')
			(void)printf("  %s [%s]:%lld", get(one, "host"),
				     get(one, "ip"), (long long)port);
		if (get(one, "tls")[0] != '\0')
			(void)printf("  %s", get(one, "tls"));
		if (get(one, "security")[0] != '\0')
			(void)printf("  security %s", get(one, "security"));
		if (get(one, "command")[0] != '\0')
			(void)printf("  at %s", get(one, "command"));
		if (get(one, "category")[0] != '\0')
			(void)printf("  %s", get(one, "category"));
		(void)printf("\n");
		print_reply(get(one, "reply"));
		print_reply(get(one, "note"));
	}
}

static void
print_envelope(void *arg, const json_t *row)
{
	char date[CLOCK_DATE_MAX], next[32], size[16];
	unsigned long long attempts;
	json_t *one;
	size_t index;

	(void)arg;
	(void)printf("id        %s%s\n", get(row, "id"),
		     json_is_true(json_object_get(row, "held")) ? " (held)"
								: "");
	(void)printf("sender    <%s>\n", get(row, "sender"));
	(void)printf("received  %s from %s (%s)",
		     clock_format_rfc3339(number(row, "received_ms"), date),
		     get(row, "client"), get(row, "helo"));
	if (get(row, "user")[0] != '\0')
		(void)printf(", logged in as %s", get(row, "user"));
	(void)printf(", listener %s\n", get(row, "listener"));
	(void)printf("size      %s\n\nrecipients\n",
		     units_format_size(number(row, "size"), size,
				       sizeof(size)));
	json_array_foreach(json_object_get(row, "recipients"), index, one)
	{
		attempts = (unsigned long long)number(one, "attempts");
		/* as the list calls it */
		(void)printf("  %s  %s, %llu attempt%s", get(one, "address"),
			     attempts != 0 && strcmp(get(one, "state"),
						     "queued") == 0
				     ? "deferred"
				     : get(one, "state"),
			     attempts, attempts == 1 ? "" : "s");
		if (number(one, "next_try_ms") != 0)
			(void)printf(", next try %s",
				     when(number(one, "next_try_ms"), next));
		(void)printf("\n");
	}
	if (json_array_size(json_object_get(row, "tries")) != 0)
		print_tries(row);
}

/* Of "show" and "cat": one identifier; else says what is wrong. */
static bool
queue_one_id(struct ctl *ctl, json_t *args, uint64_t *id)
{
	if (!ctl_options(ctl, NULL, 0, args)) {
		/* it has said why */
	} else if (ctl->argc == 2) {
		if (spool_id_parse(ctl->argv[1], id))
			return true;
		(void)fprintf(stderr,
			      "ostlerctl: '%s' is no message's identifier, "
			      "see ostlerctl queue\n",
			      ctl->argv[1]);
		return false;
	}
	(void)fprintf(stderr, "usage: ostlerctl queue %s ID\n", ctl->argv[0]);
	return false;
}

static int
queue_show_command(struct ctl *ctl)
{
	json_t *args = json_object();
	uint64_t id;
	int rc;

	if (!queue_one_id(ctl, args, &id)) {
		json_decref(args);
		return EXIT_USAGE;
	}
	json_object_set_new(args, "id", json_string(ctl->argv[1]));
	if (ctl->is_json)
		rc = ctl_show(ctl, "queue show", args, NULL, NULL);
	else
		rc = ctl_ask(ctl, "queue show", args, print_envelope, NULL);
	return rc == -1 ? queue_scan(&(struct scan){.ctl = ctl, .id = id},
				     on_scanned)
			: rc;
}

static void
on_json_row(void *arg, const json_t *row)
{
	(void)arg;
	ctl_print_json(row);
}

static void
on_cat_row(void *arg, const json_t *row)
{
	size_t len;
	uint8_t *bytes = queue_json_to_bytes(row, &len);

	(void)arg;
	if (bytes != NULL)
		(void)fwrite(bytes, 1, len, stdout);
	free(bytes);
}

static int
queue_cat_command(struct ctl *ctl)
{
	json_t *args = json_object();
	uint64_t id;
	int rc;

	if (!queue_one_id(ctl, args, &id)) {
		json_decref(args);
		return EXIT_USAGE;
	}
	json_object_set_new(args, "id", json_string(ctl->argv[1]));
	rc = ctl_ask(ctl, "queue cat", args,
		     ctl->is_json ? on_json_row : on_cat_row, NULL);
	return rc == -1 ? queue_scan(&(struct scan){.ctl = ctl, .id = id},
				     on_scanned_body)
			: rc;
}

/* ----------------------------------------------------------------- verbs */

static void
print_count(void *arg, const json_t *row)
{
	const char *verb = arg;
	uint64_t count = number(row, "count");

	(void)printf("%s: %llu message%s\n", verb, (unsigned long long)count,
		     count == 1 ? "" : "s");
}

static int
queue_verb_command(struct ctl *ctl)
{
	char *verb = ctl->argv[0];
	json_t *args = json_object(), *ids = json_array();
	bool has_filter;

	if (!ctl_options(ctl, filters, FILTERS, args)) {
		json_decref(args);
		json_decref(ids);
		return EXIT_USAGE;
	}
	has_filter = json_object_size(args) != 0;
	for (int i = 1; i < ctl->argc; i++)
		json_array_append_new(ids, json_string(ctl->argv[i]));
	/* nothing named is not everything */
	if (has_filter == (json_array_size(ids) != 0)) {
		(void)fprintf(stderr,
			      "usage: ostlerctl queue %s ID... | --domain D | "
			      "--category C | --state S | --sender A | "
			      "--all\n",
			      verb);
		json_decref(args);
		json_decref(ids);
		return EXIT_USAGE;
	}
	json_object_set_new(args, "ids", ids);
	json_object_set_new(args, "verb", json_string(verb));
	return ctl_show(ctl, "queue apply", args, print_count, verb);
}

static int
queue_redirect_command(struct ctl *ctl)
{
	char *verb = ctl->argv[0];
	json_t *args = json_object(), *ids = json_array();
	bool is_fine = ctl_options(ctl, filters,
				   sizeof(filters) / sizeof(filters[0]), args);
	size_t via = json_object_get(args, "via") != NULL;

	for (int i = 1; i < ctl->argc; i++)
		json_array_append_new(ids, json_string(ctl->argv[i]));
	if (!is_fine || via == 0 ||
	    (json_object_size(args) > via) == (json_array_size(ids) != 0)) {
		if (is_fine)
			(void)fprintf(stderr,
				      "usage: ostlerctl queue redirect "
				      "ID... | --domain D | --category C | "
				      "--state S | --sender A | --all --via "
				      "HOST:PORT | routes\n");
		json_decref(args);
		json_decref(ids);
		return EXIT_USAGE;
	}
	json_object_set_new(args, "ids", ids);
	json_object_set_new(args, "verb", json_string(verb));
	return ctl_show(ctl, "queue apply", args, print_count, verb);
}

static int
queue_flush_command(struct ctl *ctl)
{
	char verb[] = "retry";
	json_t *args = json_object();

	if (!ctl_options(ctl, NULL, 0, args) || ctl->argc != 1) {
		(void)fprintf(stderr, "usage: ostlerctl queue flush\n");
		json_decref(args);
		return EXIT_USAGE;
	}
	json_object_set_new(args, "verb", json_string(verb));
	return ctl_show(ctl, "queue apply", args, print_count, verb);
}

int
ctl_queue(struct ctl *ctl)
{
	static const struct {
		const char *name;
		int (*run)(struct ctl *ctl);
	} verbs[] = {
		{"list", queue_list_command},
		{"show", queue_show_command},
		{"cat", queue_cat_command},
		{"retry", queue_verb_command},
		{"hold", queue_verb_command},
		{"release", queue_verb_command},
		{"remove", queue_verb_command},
		{"bounce", queue_verb_command},
		{"flush", queue_flush_command},
		{"redirect", queue_redirect_command},
		{"export", ctl_export},
		{"import", ctl_import},
	};

	/* "queue" alone, or with options, lists */
	if (ctl->argc == 1 || strncmp(ctl->argv[1], "--", 2) == 0)
		return queue_list_command(ctl);
	ctl->argc--;
	ctl->argv++;
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (strcmp(verbs[i].name, ctl->argv[0]) == 0)
			return verbs[i].run(ctl);
	(void)fprintf(stderr,
		      "ostlerctl: queue %s: use list, show, cat, retry, hold, "
		      "release, remove, bounce, flush, "
		      "redirect, export or import\n",
		      ctl->argv[0]);
	return EXIT_USAGE;
}
