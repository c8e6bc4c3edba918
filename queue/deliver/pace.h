/* SPDX-License-Identifier: ISC */
/*
 * queue/deliver/pace.h - hosts that asked for less
 *
 * An address that says "too many connections" gets half of those that it has
 * from us at that moment, whatever domains they serve, and one more for each
 * round of messages that it takes; after ten quiet minutes it is an address
 * like any other. Until one asks, the only limits are those of routes
 * (queue/schedule.h). Pure but for its memory; bounded.
 */
#ifndef OSTLER_QUEUE_DELIVER_PACE_H
#define OSTLER_QUEUE_DELIVER_PACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/ip.h"
#include "queue/deliver/outcome.h"

#define PACE_MAX       512
#define PACE_ROUND_MS  10000  /* several complaints at once count as one */
#define PACE_FORGET_MS 600000 /* after the last complaint */

struct pace_host {
	struct ip ip; /* IP_NONE: free */
	uint16_t port;
	unsigned active; /* connections that deliveries use, or begin */
	unsigned window; /* of them; 0: no limit */
	unsigned taken;	 /* messages since the window last changed */
	uint64_t slowed_ms;
	char reply[160]; /* what it said; "" when it did not */
};

/* Zero it to begin. Unix sockets (IP_NONE) are not counted. */
struct pace {
	struct pace_host at[PACE_MAX];
};

/* A delivery begins a connection to it, or uses an open one. Returns whether
 * it was counted: the table may be full. */
bool pace_enter(struct pace *pace, const struct ip *ip, uint16_t port,
		uint64_t now_ms);
/* It does no longer; for those that were counted. */
void pace_leave(struct pace *pace, const struct ip *ip, uint16_t port);

/* How many more connections may be open there; UINT_MAX: any number. */
unsigned pace_room(const struct pace *pace, const struct ip *ip, uint16_t port,
		   uint64_t now_ms);
/* May one more connection be opened? */
bool pace_has_room(const struct pace *pace, const struct ip *ip, uint16_t port,
		   uint64_t now_ms);

/*
 * It asked for less.
 *
 * reply  borrows
 * Returns the window when it is a smaller one than before, else 0.
 */
unsigned pace_slow_down(struct pace *pace, const struct ip *ip, uint16_t port,
			const char *reply, uint64_t now_ms);

/* It took a message: additive increase. */
void pace_take(struct pace *pace, const struct ip *ip, uint16_t port);

/* Those with a limit now. */
void pace_each(const struct pace *pace, uint64_t now_ms,
	       void (*each)(void *arg, const struct pace_host *host),
	       void *arg);

/*
 * Does a host say that it wants less from us, and not only that it does not
 * want this message now? 421 (RFC 5321, 3.8: it closes), a busy host (4.3.2,
 * 4.4.5), or words to that effect behind any 4xx.
 */
bool pace_is_asked(const struct outcome *outcome);

#endif
