/* SPDX-License-Identifier: ISC */
/*
 * queue/deliver/deliverer.h - what all deliveries share; for this folder
 */
#ifndef OSTLER_QUEUE_DELIVER_DELIVERER_H
#define OSTLER_QUEUE_DELIVER_DELIVERER_H

#include <stdint.h>
#include <uv.h>

#include "lib/err.h"
#include "queue/deliver/delivery.h"
#include "queue/deliver/marks.h"

struct pool;
struct resolver;
struct tls_ctx;

struct deliverer {
	uv_loop_t *loop;
	struct deliverer_opts opts; /* hostname is owned */
	struct resolver *resolver;
	struct spool *spool;
	struct pool *pool;
	/* NULL: it could not be made, and tls_error says why */
	struct tls_ctx *tls_any, *tls_verified;
	struct err tls_error;
	struct marks marks;
	unsigned busy; /* connections that deliveries hold */
	uint64_t opened, reused;
};

#endif
