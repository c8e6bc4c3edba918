/* SPDX-License-Identifier: ISC */
/*
 * server/config_file.h - a whole file that the configuration consists of
 */
#ifndef OSTLER_SERVER_CONFIG_FILE_H
#define OSTLER_SERVER_CONFIG_FILE_H

#include <stddef.h>

#include "lib/err.h"

/*
 * Reads it; blocks, but for no writer of a pipe.
 *
 * max  octets that it may have
 * Returns a text with a NUL behind its *out_len octets, which the caller
 * frees; NULL, and err says why: no such file (-ENOENT), a folder, a pipe, too
 * long, ...
 */
char *config_file_read(const char *path, size_t max, size_t *out_len,
		       struct err *err);

#endif
