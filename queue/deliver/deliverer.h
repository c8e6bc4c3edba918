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
struct trust;
struct trust_job;
struct resolver;
struct resolver_later;
struct tokens;

struct deliverer {
	uv_loop_t *loop;
	struct deliverer_opts opts; /* hostname is owned */
	struct resolver *resolver;
	struct spool *spool;
	struct pool *pool;
	struct tokens *tokens;
	/* The configuration's, or the system's, read when the first delivery
	 * wants it. NULL: not yet, or it could not be, and trust_error says
	 * why. */
	struct trust *trust; /* shares */
	struct err trust_error;
	struct trust_job *trust_job; /* it is being read */
	struct list trust_waiting;   /* deliveries, by their later.link */
	struct marks marks;
	struct pace pace;
	unsigned busy; /* connections that deliveries hold */
	uint64_t opened, reused;
};

/*
 * Is there no trust yet, but soon? Then later is called again, and what can
 * be had then is there.
 */
bool deliverer_wait_trust(struct deliverer *deliverer,
			  struct resolver_later *later);

#endif
