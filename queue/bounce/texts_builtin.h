/* SPDX-License-Identifier: ISC */
/*
 * queue/bounce/texts_builtin.h - etc/reports/ as part of the program
 */
#ifndef OSTLER_QUEUE_BOUNCE_TEXTS_BUILTIN_H
#define OSTLER_QUEUE_BOUNCE_TEXTS_BUILTIN_H

/* Made by tools/embed.awk. */
extern const char texts_builtin_en[], texts_builtin_de[], texts_builtin_fr[];

#endif
