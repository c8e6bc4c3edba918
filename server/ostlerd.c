/* SPDX-License-Identifier: ISC */
/*
 * server/ostlerd.c - the relay's main
 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "server/daemon.h"
#include "server/libraries.h"
#include "server/version.h"

static const char usage[] =
	"usage: ostlerd [-c FILE] [-t] [-v] [-V]\n"
	"  -c FILE  configuration, default " OSTLER_SYSCONFDIR "/ostler.conf\n"
	"  -t       check the configuration and exit\n"
	"  -v       more detail in the log\n"
	"  -V       version of ostler and of its libraries\n";

int
main(int argc, char **argv)
{
	const char *config_file = OSTLER_SYSCONFDIR "/ostler.conf";
	bool is_check = false, is_verbose = false;
	int option;

	libraries_prepare();
	if (argc == 2 && strcmp(argv[1], "--version") == 0)
		argv[1] = (char[]){"-V"};
	if (argc == 2 && strcmp(argv[1], "--help") == 0) {
		(void)fputs(usage, stdout);
		return EXIT_DONE;
	}
	for (;;) {
		option = getopt(argc, argv, "c:tvV");
		if (option == -1)
			break;
		switch (option) {
		case 'c':
			config_file = optarg;
			break;
		case 't':
			is_check = true;
			break;
		case 'v':
			is_verbose = true;
			break;
		case 'V':
			version_print(stdout);
			return EXIT_DONE;
		default:
			(void)fputs(usage, stderr);
			return EXIT_USAGE;
		}
	}
	if (optind != argc) {
		(void)fputs(usage, stderr);
		return EXIT_USAGE;
	}
	return is_check ? daemon_check(config_file)
			: daemon_run(config_file, is_verbose);
}
