/* SPDX-License-Identifier: ISC */
/*
 * server/listener.h - the sockets that mail comes in by
 *
 * Sockets are bound while the process still may (before privileges are
 * dropped) and accept only once mail can be taken. A reload keeps the sockets
 * whose address stays, binds new ones and closes those that went; those that
 * systemd passed are kept for a later one, since it passes them once.
 */
#ifndef OSTLER_SERVER_LISTENER_H
#define OSTLER_SERVER_LISTENER_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "lib/err.h"
#include "server/config.h"

struct listeners;

/* A connection is waiting on handle: stream_accept it. listener_name is NULL
 * when no listener has the socket any more, and who connects is sent away. */
typedef void listener_fn(void *owner, const char *listener_name,
			 uv_stream_t *handle);

/*
 * Binds all addresses of the configuration, taking sockets that systemd
 * passed where the address is the same.
 *
 * Returns 0, or -EADDRINUSE, -EACCES, ... with "listener 'mx' on ADDRESS: why".
 */
int listeners_open(uv_loop_t *loop, const struct config *config,
		   struct listeners **out, struct err *err);

/* Connections are taken from now on. */
int listeners_start(struct listeners *listeners, listener_fn *on_connection,
		    void *owner, struct err *err);

/* After a reload. The first failure is told; the other addresses are done. */
int listeners_configure(struct listeners *listeners,
			const struct config *config, struct err *err);

/* Takes no more connections; idempotent. */
void listeners_stop(struct listeners *listeners);

/* Does one of them accept on this address and port? Wildcards count for every
 * address of this machine. */
bool listeners_accept_on(struct listeners *listeners, const struct ip *ip,
			 uint16_t port);

/* Calls each for every bound address: "127.0.0.1:2525", "unix:/path". */
void listeners_each(const struct listeners *listeners,
		    void (*each)(void *arg, const char *name,
				 const char *address),
		    void *arg);

/* Stops and frees; NULL is fine. The loop must run once more. */
void listeners_free(struct listeners *listeners);

#endif
