/* SPDX-License-Identifier: ISC */
/*
 * server/sendmail.h - the command that programs hand their mail to
 *
 * `sendmail`, `mailq` and `newaliases` are links to ostlerctl. A message from
 * standard input goes to the daemon through the local submission socket, with
 * the calling user as its login; nothing here needs rights of its own.
 */
#ifndef OSTLER_SERVER_SENDMAIL_H
#define OSTLER_SERVER_SENDMAIL_H

#include <stdbool.h>

/* Was the program called by one of those names? */
bool sendmail_is_name(const char *program);

/* As main; the exit code is one of sysexits.h. Whatever is not 0: nothing was
 * sent. */
int sendmail_main(int argc, char **argv);

#endif
