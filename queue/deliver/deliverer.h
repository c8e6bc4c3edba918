/* SPDX-License-Identifier: ISC */
/*
 * queue/deliver/deliverer.h - what all deliveries share; for this folder
 */
#ifndef OSTLER_QUEUE_DELIVER_DELIVERER_H
#define OSTLER_QUEUE_DELIVER_DELIVERER_H

#include <stdint.h>
#include <uv.h>

#include "lib/err.h"
#include "lib/list.h"
#include "queue/deliver/delivery.h"
#include "queue/deliver/marks.h"
#include "queue/deliver/pace.h"

struct pool;
struct tls_job;
struct resolver;
struct tls_ctx;
struct tokens;

struct deliverer {
	uv_loop_t *loop;
	struct deliverer_opts opts; /* hostname is owned */
	struct resolver *resolver;
	struct spool *spool;
	struct pool *pool;
	struct tokens *tokens;
	/* Made in a worker, for reading the CAs takes tens of milliseconds;
	 * tls_job is NULL when that is done. Then NULL means that it could not
	 * be made, and tls_error says why. */
	struct tls_ctx *tls_any, *tls_verified;
	struct err tls_error;
	struct tls_job *tls_job;
	struct list tls_waiting; /* deliveries, by their later.link */
	struct marks marks;
	struct pace pace;
	unsigned busy; /* connections that deliveries hold */
	uint64_t opened, reused;
};

#endif
