/* SPDX-License-Identifier: ISC */
/*
 * queue/deliver/delivery.h - one message, one next hop, one attempt
 *
 * Finds the route now (policy's next hop, then DNS), takes an open connection
 * that the route still names or connects, talks SMTP or LMTP or writes a
 * Maildir, and says for each recipient what became of it. Decides nothing
 * about retries.
 */
#ifndef OSTLER_QUEUE_DELIVER_DELIVERY_H
#define OSTLER_QUEUE_DELIVER_DELIVERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "policy/policy.h"
#include "queue/deliver/outcome.h"
#include "queue/envelope.h"

struct delivery;
struct delivery_watch;
struct deliverer; /* what all deliveries share: pool, resolver, TLS */
struct resolver;
struct route;
struct spool;
struct sts;
struct trust;

struct deliverer_opts {
	const char *hostname; /* for EHLO */
	uint16_t port;	      /* for MX hosts, 25 */
	uint64_t connect_timeout_ms;
	uint64_t idle_connection_ms;
	bool private_targets;
	struct trust *trust; /* shares from now on; NULL: the system's */
	struct sts *sts;     /* lent; NULL: no policies */
	/* Is this address and port one that we listen on? (self in MX) */
	bool (*is_ours)(void *arg, const struct ip *ip, uint16_t port);
	void *is_ours_arg;
	/* Fills a log event or none; may be NULL. */
	void (*on_attempt)(void *arg, uint64_t id, const char *host,
			   const struct ip *ip, uint16_t port,
			   const char *next_hop, int64_t ttl_s);
	/* DNS, or the configuration, has said where a message can go; may be
	 * NULL. route: lent for the call. */
	void (*on_route)(void *arg, uint64_t id, const char *next_hop,
			 const struct route *route);
	/* A host asked for less and gets so many connections from now on; may
	 * be NULL. reply: its words. */
	void (*on_slow_down)(void *arg, const char *host, const struct ip *ip,
			     uint16_t port, unsigned connections,
			     const char *reply);
	/* A host that lately did not answer does so again; may be NULL. Its
	 * waiting mail need not wait any longer. */
	void (*on_revived)(void *arg, const struct ip *ip, uint16_t port);
	void *on_attempt_arg; /* of all four */
};

struct deliverer *deliverer_new(uv_loop_t *loop,
				const struct deliverer_opts *opts,
				struct resolver *resolver, struct spool *spool);
/* After a reload: takes effect for connections from now on. */
void deliverer_configure(struct deliverer *deliverer,
			 const struct deliverer_opts *opts);
/* Closes idle connections (QUIT). Running deliveries go on. */
void deliverer_close_idle(struct deliverer *deliverer);
/* No delivery may be running. What is still open is cut; the loop has to run
 * once more until its handles are closed. NULL is fine. */
void deliverer_free(struct deliverer *deliverer);

/* An operator knows better: hosts that did not answer are as good as others
 * again. */
void deliverer_forget_marks(struct deliverer *deliverer);

/* Hosts that asked for less; host is lent for the call. */
struct pace_host;
void deliverer_slow_hosts(const struct deliverer *deliverer,
			  void (*each)(void *arg, const struct pace_host *host),
			  void *arg);

struct deliverer_stats {
	unsigned connections, idle;
	uint64_t opened, reused;
};
void deliverer_stats(const struct deliverer *deliverer,
		     struct deliverer_stats *out);

struct delivery_request {
	struct policy *policy;		 /* shares */
	const struct next_hop *hop;	 /* copied */
	const struct envelope *envelope; /* lent by the caller until done */
	const size_t *recipients;	 /* indexes into the envelope; copied */
	size_t recipient_count;		 /* > 0 */
	/* Not NULL: stops before DATA (queue/deliver/watch.h), remote next
	 * hops only. Lent until done. */
	const struct delivery_watch *watch;
};

/* outcomes[i] is for recipients[i]; lent for the call. */
typedef void delivery_fn(void *owner, const struct outcome *outcomes,
			 size_t count);

/* Never calls back before it returns; on_done once. */
struct delivery *delivery_start(struct deliverer *deliverer,
				const struct delivery_request *request,
				delivery_fn *on_done, void *owner);

/* Stops now: the connection is cut, on_done does not come. */
void delivery_abort(struct delivery *delivery);

#endif
