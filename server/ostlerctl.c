/* SPDX-License-Identifier: ISC */
/*
 * server/ostlerctl.c - what the relay's operator types
 */
#include <stdio.h>
#include <string.h>

#include "server/config.h"
#include "server/ctl.h"
#include "server/daemon.h"
#include "server/sendmail.h"
#include "server/version.h"

static const struct {
	const char *name;
	int (*run)(struct ctl *ctl);
	const char *help;
} commands[] = {
	{"status", ctl_status, "what the relay is doing"},
	{"queue", ctl_queue,
	 "list | show | cat | retry | hold | release | remove | bounce | "
	 "flush | redirect | export | import"},
	{"explain", ctl_explain, "would this recipient be taken, and why"},
	{"route", ctl_route, "where mail for a domain or address goes"},
	{"diagnose", ctl_diagnose,
	 "walk the way of a message to an address, without one"},
	{"doctor", ctl_doctor,
	 "what is wrong with this relay and its DNS records"},
	{"classify", ctl_classify, "what an error reply means"},
	{"bounces", ctl_bounces, "what has failed: by category, domain, host"},
	{"auth", ctl_auth, "list | clear: who is slowed down or paused"},
	{"setup", ctl_setup, "five questions, a working configuration"},
	{"user", ctl_user, "add | passwd | remove | list: the logins"},
	{"fsck", ctl_fsck, "check a stopped spool; --repair mends it"},
	{"config", ctl_show_config, "the configuration in use"},
	{"pause", ctl_simple, "stop attempting deliveries"},
	{"resume", ctl_simple, "attempt deliveries again"},
	{"reload", ctl_simple, "read the configuration again"},
	{"stop", ctl_simple, "stop the relay"},
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

int
main(int argc, char **argv)
{
	struct ctl ctl = {.config_file = OSTLER_SYSCONFDIR "/ostler.conf"};
	int at = 1, rc = EXIT_USAGE;

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
	for (size_t i = 0; i < COMMANDS; i++) {
		if (strcmp(commands[i].name, argv[at]) != 0)
			continue;
		rc = commands[i].run(&ctl);
		config_unref(ctl.config);
		return rc;
	}
	(void)fprintf(stderr, "ostlerctl: no such command: %s\n", argv[at]);
	print_usage(stderr);
	return rc;
}
