/* SPDX-License-Identifier: ISC */
/*
 * server/smtpd.h - the inbound side: what all its sessions share
 *
 * Counts connections (in all, of strangers and per client), hands each session
 * the current configuration and TLS context, and ends them when the daemon
 * drains.
 */
#ifndef OSTLER_SERVER_SMTPD_H
#define OSTLER_SERVER_SMTPD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "lib/buf.h"
#include "lib/err.h"
#include "lib/hash.h"
#include "lib/ip.h"
#include "lib/list.h"
#include "server/nat_watch.h"

struct auth_server;
struct caps;
struct caps_rates;
struct config;
struct listener_config;
struct points_here;
struct queue;
struct resolver;
struct throttle;
struct tls_ctx;

struct smtpd_client;
struct status;

/* The TLS contexts of one configuration: listener i uses contexts[i]. */
struct smtpd_tls {
	struct tls_ctx **contexts; /* owns; NULL entries: no TLS */
	size_t count;
};

/*
 * Opens certificates and keys for all listeners of a configuration; makes one
 * in the spool when none is configured.
 *
 * out_made  set when a certificate was made (warn)
 * Returns 0, or -EACCES, ... with the file and the reason. Reads files.
 */
int smtpd_tls_open(const struct config *config, struct smtpd_tls **out,
		   bool *out_made, struct err *err);
void smtpd_tls_free(struct smtpd_tls *tls); /* NULL is fine */

struct smtpd_stats {
	uint64_t sessions;    /* open now */
	uint64_t strangers;   /* of these, those that _is_stranger counts */
	uint64_t connections; /* since start */
	uint64_t refused;     /* over a cap */
	uint64_t messages, bytes;
	uint64_t recipients, rejected, relay_denied;
	uint64_t logins, failed_logins;
	uint64_t points_here; /* deferred, since the domain's MX names us */
	uint64_t over_caps;   /* messages and recipients over a cap */
};

struct smtpd {
	uv_loop_t *loop;
	struct config *config; /* shares */
	struct smtpd_tls *tls; /* owns */
	struct queue *queue;
	struct resolver *resolver;
	struct auth_server *auth; /* NULL: no logins */

	/* what is remembered of clients and logins; owns */
	struct throttle *throttle;
	struct caps *caps;
	struct points_here *points_here;
	struct nat_watch nat;
	/* Do our listeners take mail on this address and port? NULL: unknown.
	 * Set by the owner. */
	bool (*is_ours)(void *arg, const struct ip *ip, uint16_t port);
	void *is_ours_arg;

	struct list sessions;
	struct smtpd_stats stats;
	struct hash_seed seed;
	struct smtpd_client **clients; /* hash table by address */
	size_t client_slots, client_count;
	struct buf reply; /* gathers replies within one event of one session */
	bool is_draining, is_idle_told;
	uint64_t next_session;
	/* the last session is gone while draining */
	void (*on_idle)(void *owner);
	void *owner;
};

/* Takes tls. */
struct smtpd *smtpd_new(uv_loop_t *loop, struct config *config,
			struct smtpd_tls *tls, struct queue *queue,
			struct resolver *resolver, struct auth_server *auth);

/* After a reload: for connections and transactions from now on. Takes tls. */
void smtpd_configure(struct smtpd *smtpd, struct config *config,
		     struct smtpd_tls *tls);

/* A connection is waiting on a listener's handle (listener_fn). */
void smtpd_accept(void *smtpd, const char *listener_name, uv_stream_t *handle);

/* A client that shares its places with everybody out there: on an mx listener,
 * from no trusted network. */
bool smtpd_is_stranger(const struct smtpd *smtpd,
		       const struct listener_config *listener,
		       const struct ip *ip);

/* Can mail be taken at all just now? Fills the refusal when not. */
bool smtpd_can_accept(const struct smtpd *smtpd, struct status *refusal);

/* The caps of a configuration. */
void smtpd_caps_rates(const struct config *config, struct caps_rates *out);

/* What a client hears whose address is locked. 454 and not 535: mail programs
 * keep the password and try again later. */
void smtpd_say_locked(uint64_t locked_ms, struct status *out);

/* 421 to idle sessions now, to others after their transaction; on_idle when
 * the last one is gone (on a later turn). */
void smtpd_drain(struct smtpd *smtpd, void (*on_idle)(void *owner),
		 void *owner);
/* Cuts what is left. */
void smtpd_drain_now(struct smtpd *smtpd);

/* A session ended: was it the last one? */
void smtpd_check_idle(struct smtpd *smtpd);

/* Ends the sessions of a login (its user was removed, its password changed). */
void smtpd_end_login(struct smtpd *smtpd, const char *login);

/* No session may be open. NULL is fine. */
void smtpd_free(struct smtpd *smtpd);

#endif
