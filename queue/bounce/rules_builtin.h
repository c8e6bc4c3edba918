/* SPDX-License-Identifier: ISC */
/*
 * queue/bounce/rules_builtin.h - etc/bounces.rules as part of the program
 *
 * The definition is made from that file when the program is built.
 */
#ifndef OSTLER_QUEUE_BOUNCE_RULES_BUILTIN_H
#define OSTLER_QUEUE_BOUNCE_RULES_BUILTIN_H

extern const char rules_builtin_text[]; /* NUL-terminated */

#endif
