/* SPDX-License-Identifier: ISC */
/*
 * queue/deliver/trust.h - whom deliveries believe
 *
 * The authorities by which other servers' certificates are checked, ready for
 * both kinds of connections. Immutable, shared by counting; a reload makes a
 * new one.
 */
#ifndef OSTLER_QUEUE_DELIVER_TRUST_H
#define OSTLER_QUEUE_DELIVER_TRUST_H

#include <stdatomic.h>
#include <stdint.h>

#include "lib/err.h"

struct tls_ctx;

struct trust {
	atomic_uint refs;
	struct tls_ctx *any;	  /* owns: whoever it is */
	struct tls_ctx *verified; /* owns: chain and name are checked */
	/* Equal for equal authorities; 0: the system's. */
	uint64_t print;
};

/*
 * Reads the authorities, which takes tens of milliseconds when they are the
 * system's: a worker, or the start. Any thread.
 *
 * ca  PEM file, or NULL: the system's
 * Returns 0, or -EACCES, -ENOENT, -EINVAL with the file's name and the reason.
 */
int trust_open(const char *ca, struct trust **out, struct err *err);

struct trust *trust_ref(struct trust *trust);
void trust_unref(struct trust *trust); /* NULL is fine */

#endif
