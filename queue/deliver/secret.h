/* SPDX-License-Identifier: ISC */
/*
 * queue/deliver/secret.h - a password from the file that holds it
 *
 * Read anew for each login, in a worker, so that a changed file counts at
 * once and nothing secret stays in memory.
 */
#ifndef OSTLER_QUEUE_DELIVER_SECRET_H
#define OSTLER_QUEUE_DELIVER_SECRET_H

#include <uv.h>

#include "lib/err.h"

#define SECRET_MAX 4096 /* octets of a first line */

struct secret_read;

/* secret: the first line without its end, lent for the call; NULL: err says
 * why not. */
typedef void secret_fn(void *owner, const char *secret, const struct err *err);

/* Never calls back before it returns; once. */
struct secret_read *secret_read_file(uv_loop_t *loop, const char *path,
				     secret_fn *on_secret, void *owner);

/* on_secret will not come; until it came. */
void secret_cancel(struct secret_read *read);

#endif
