/* SPDX-License-Identifier: ISC */
/*
 * queue/deliver/delivery_internal.h - the parts of a delivery
 *
 *	delivery.c	begins and ends it; what needs no connection
 *	delivery_dial.c	from a next hop to a connection: route, TLS that is
 *			asked for, address, an open connection or a new one
 *	delivery_talk.c	what is said over it, and what the answers are worth
 *
 * The two halves call each other in three places only: delivery_reuse and
 * delivery_set_up hand a connection over, delivery_next asks for
 * another one.
 */
#ifndef OSTLER_QUEUE_DELIVER_DELIVERY_INTERNAL_H
#define OSTLER_QUEUE_DELIVER_DELIVERY_INTERNAL_H

#include "lib/clock.h"
#include "queue/deliver/deliverer.h"
#include "queue/deliver/tally.h"
#include "queue/deliver/targets.h"
#include "queue/route/resolver.h"

struct connection;
struct local;
struct stream;
struct trust;

/*
 * What a delivery waits for; at any time there is just that.
 *
 *	state      waits for                     then
 *	STARTING   the loop, the TLS contexts    LOCAL, NEXT, the end
 *	LOCAL      a worker that writes files    the end
 *	ROUTE      the resolver                  NEXT, the end; or SENDING, with
 *	                                         a connection that was CHECKING
 *	SECURITY   the resolver                  NEXT
 *	DIALLING   one or two connects           SETTING_UP, NEXT
 *	SETTING_UP greeting, TLS, login          SENDING, CHECKING, NEXT, the
 *	                                         end
 *	CHECKING   the resolver, for the route   SENDING, NEXT, the end
 *	           of now; a connection is ready
 *	SENDING    the message's results         NEXT, the end
 *
 * NEXT is no state but delivery_next, which goes at once to ROUTE or SECURITY
 * when it lacks one, to SENDING over an open connection, to DIALLING, or to
 * the end.
 */
enum delivery_state {
	DELIVERY_STARTING,
	DELIVERY_LOCAL,
	DELIVERY_ROUTE,
	DELIVERY_SECURITY,
	DELIVERY_DIALLING,
	DELIVERY_SETTING_UP,
	DELIVERY_CHECKING,
	DELIVERY_SENDING,
};

struct dial {
	struct delivery *delivery;
	struct stream *stream; /* NULL: none */
	struct target target;
	bool is_counted; /* by the host's pace */
	bool is_ahead;	 /* its deadline is the head start */
};

struct delivery {
	struct deliverer *deliverer;
	enum delivery_state state;
	struct resolver_later later;
	struct policy *policy; /* shares */
	struct trust *trust;   /* shares; NULL: none needed, or none had */
	struct next_hop hop;
	const struct envelope *envelope; /* lent */
	size_t *recipients;		 /* owns */
	size_t count;
	delivery_fn *on_done;
	void *owner;
	const struct delivery_watch *watch; /* lent, or NULL */
	struct local *local;		    /* LOCAL */

	/* delivery_dial.c */
	struct targets targets;
	struct route_query *query;	       /* ROUTE, CHECKING */
	struct security_query *security_query; /* SECURITY */
	size_t security_index;		       /* the host that it is about */
	struct security *own_rule; /* shares: of a next hop without a route */
	struct dial dials[2];	   /* DIALLING */

	/* delivery_talk.c */
	struct connection *connection; /* owns; SETTING_UP, CHECKING, SENDING */
	struct target target;	       /* of the connection */
	struct security *agreed; /* shares: the target's, which lends it */
	bool is_counted;	 /* by the pace of the target's host */
	bool is_reused;		 /* the connection came from the pool */
	bool has_no_pool;	 /* one from there was stale: use none */
	bool is_chunkless;  /* a server knows no chunks that offered them */
	bool has_new_token; /* an old one was refused */
	size_t *left; /* owns: those that are at the connection, by index */
	unsigned answered; /* hosts that spoke about the message */
	struct tally tally;
};

static inline uint64_t
delivery_now_ms(const struct delivery *delivery)
{
	return resolver_now_ms(delivery->deliverer->resolver);
}

/* -------------------------------------------------------- delivery.c */

/* Reports the tally; the delivery is gone. */
void delivery_end(struct delivery *delivery);

/* A failure of our own for the tally. target: borrows, NULL for none */
void delivery_note_own(struct delivery *delivery, enum cause cause,
		       enum smtp_phase phase, const struct target *target,
		       const char *text);
/* Who it was. connection: NULL for none */
void outcome_set_target(struct outcome *outcome, const struct target *target,
			const struct connection *connection);

/* --------------------------------------------------- delivery_dial.c */

/* Goes to the next address, or ends when there is none. May be the end of the
 * delivery, so the caller touches it no more. */
void delivery_next(struct delivery *delivery);

/* Asks for the route of now. */
void delivery_find_route(struct delivery *delivery);

/* It asked for less: idle connections count there, and give way. */
void delivery_make_room(struct delivery *delivery, const struct target *target);

/* The address did not answer. */
void delivery_mark(struct delivery *delivery, const struct target *target);

/* The connection that is tried, for those who want to know. */
void delivery_tell_attempt(const struct delivery *delivery,
			   const struct target *target);

/* Stops all that is under way. */
void delivery_stop_dialling(struct delivery *delivery);

/* --------------------------------------------------- delivery_talk.c */

/*
 * Begins the conversation over a new connection to the target.
 *
 * stream      takes, connected
 * is_counted  by the host's pace; the connection gives it back
 */
void delivery_set_up(struct delivery *delivery, const struct target *target,
		     struct stream *stream, bool is_counted);

/* An idle connection to this target, if there is one, takes the message: then
 * true, and the delivery may be over by now. */
bool delivery_reuse(struct delivery *delivery, const struct target *target);

/* CHECKING: does the message go over the connection that waits? False: it was
 * released, and another address is due. */
bool delivery_check(struct delivery *delivery, struct route *route);

/* Cuts the connection. */
void delivery_stop_talking(struct delivery *delivery);

#endif
