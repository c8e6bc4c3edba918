/* SPDX-License-Identifier: ISC */
/*
 * server/ostlerctl.c - what the relay's operator types
 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "lib/str.h"
#include "server/config.h"
#include "server/ctl.h"
#include "server/daemon.h"
#include "server/libraries.h"
#include "server/sendmail.h"
#include "server/version.h"

static const struct {
	const char *name;
	int (*run)(struct ctl *ctl);
	const char *help;
	const char *usage; /* a line a form; NULL: the name alone */
} commands[] = {
	{"status", ctl_status, "what the relay is doing", NULL},
	{"queue", ctl_queue,
	 "list | show | cat | retry | hold | release | remove | bounce | "
	 "flush | redirect | export | import",
	 "queue [list] [--domain D] [--state S] [--category C] [--sender A]\n"
	 "queue show|cat ID\n"
	 "queue retry|hold|release|remove|bounce ID...|FILTER|--all\n"
	 "queue redirect ID...|FILTER|--all --via HOST:PORT|routes\n"
	 "queue flush\n"
	 "queue export FOLDER [FILTER]\n"
	 "queue import FOLDER\n"
	 "a FILTER is what list takes"},
	{"explain", ctl_explain, "would this recipient be taken, and why",
	 "explain [--listener N] [--client IP] [--user U] [--helo H] [--tls]\n"
	 "        [--points-here here|here-too-long|elsewhere] --from A --to "
	 "B"},
	{"route", ctl_route, "where mail for a domain or address goes",
	 "route DOMAIN|ADDRESS [--fresh] [--from SENDER]"},
	{"diagnose", ctl_diagnose,
	 "walk the way of a message to an address, without one",
	 "diagnose ADDRESS [--from SENDER]"},
	{"doctor", ctl_doctor,
	 "what is wrong with this relay and its DNS records",
	 "doctor [--to DOMAIN]"},
	{"classify", ctl_classify, "what an error reply means",
	 "classify [--language TAG] 'REPLY TEXT'"},
	{"bounces", ctl_bounces, "what has failed: by category, domain, host",
	 "bounces [--dead] [--category C] [--domain D] [--host H]\n"
	 "        [--since T] [--until T] [--limit N]"},
	{"auth", ctl_auth, "list | clear: who is slowed down or paused",
	 "auth list\n"
	 "auth clear ADDRESS|LOGIN"},
	{"setup", ctl_setup, "five questions, a working configuration", NULL},
	{"user", ctl_user, "add | passwd | remove | list: the logins",
	 "user add|passwd|remove NAME\n"
	 "user list"},
	{"fsck", ctl_fsck, "check a stopped spool; --repair mends it",
	 "fsck [--repair]"},
	{"config", ctl_show_config, "the configuration in use",
	 "config [--diff]"},
	{"pause", ctl_simple, "stop attempting deliveries", NULL},
	{"resume", ctl_simple, "attempt deliveries again", NULL},
	{"reload", ctl_simple, "read the configuration again", NULL},
	{"stop", ctl_simple, "stop the relay", NULL},
};

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void
print_usage(FILE *to)
{
	(void)fprintf(to, "usage: ostlerctl [-c FILE] [--json] COMMAND ...\n");
	for (size_t i = 0; i < COMMANDS; i++)
		(void)fprintf(to, "  %-9s %s\n", commands[i].name,
			      commands[i].help);
}

/* "ostlerctl COMMAND [WORD] --help". */
static bool
is_help(const struct ctl *ctl)
{
	const char *last = ctl->argv[ctl->argc - 1];

	return ctl->argc > 1 && ctl->argc <= 3 &&
	       (strcmp(last, "--help") == 0 || strcmp(last, "-h") == 0);
}

static void
print_command(size_t i)
{
	const char *line = commands[i].usage;

	if (line == NULL)
		line = commands[i].name;
	(void)printf("%s: %s\n", commands[i].name, commands[i].help);
	while (*line != '\0') {
		size_t len = strcspn(line, "\n");

		(void)printf("  %.*s\n", (int)len, line);
		line += len + (line[len] == '\n');
	}
	(void)printf("ostlerctl(8) tells the rest.\n");
}

/* Words go to the daemon as JSON. One that cannot would be left out there, and
 * a filter that is left out fits all mail. */
static bool
are_words(int argc, char **argv)
{
	for (int i = 0; i < argc; i++) {
		if (str_is_utf8(str_of(argv[i])))
			continue;
		(void)fprintf(stderr, "ostlerctl: word %d is not UTF-8\n",
			      i + 1);
		return false;
	}
	return true;
}

int
main(int argc, char **argv)
{
	struct ctl ctl = {.config_file = OSTLER_SYSCONFDIR "/ostler.conf"};
	int at = 1, rc = EXIT_USAGE;

	libraries_prepare();
	if (sendmail_is_name(argv[0]))
		return sendmail_main(argc, argv);
	for (; at < argc && argv[at][0] == '-'; at++) {
		if (strcmp(argv[at], "--json") == 0) {
			ctl.is_json = true;
		} else if (strcmp(argv[at], "-c") == 0 && at + 1 < argc) {
			ctl.config_file = argv[++at];
		} else if (strcmp(argv[at], "-V") == 0 ||
			   strcmp(argv[at], "--version") == 0) {
			version_print(stdout);
			return EXIT_DONE;
		} else if (strcmp(argv[at], "-h") == 0 ||
			   strcmp(argv[at], "--help") == 0) {
			print_usage(stdout);
			return EXIT_DONE;
		} else {
			print_usage(stderr);
			return EXIT_USAGE;
		}
	}
	if (at == argc) {
		print_usage(stderr);
		return EXIT_USAGE;
	}
	ctl.argc = argc - at;
	ctl.argv = argv + at;
	if (!are_words(ctl.argc, ctl.argv))
		return EXIT_USAGE;
	for (size_t i = 0; i < COMMANDS; i++) {
		if (strcmp(commands[i].name, argv[at]) != 0)
			continue;
		if (is_help(&ctl)) {
			print_command(i);
			return EXIT_DONE;
		}
		rc = commands[i].run(&ctl);
		config_unref(ctl.config);
		return rc;
	}
	(void)fprintf(stderr, "ostlerctl: no such command: %s\n", argv[at]);
	print_usage(stderr);
	return rc;
}
