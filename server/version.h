/* SPDX-License-Identifier: ISC */
/*
 * server/version.h - which ostler, built on what
 */
#ifndef OSTLER_SERVER_VERSION_H
#define OSTLER_SERVER_VERSION_H

#include <stdio.h>

/* "0.1.0" */
const char *version_text(void);

/* The first line is "ostler VERSION"; a line for each library follows. */
void version_print(FILE *to);

#endif
