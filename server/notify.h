/* SPDX-License-Identifier: ISC */
/*
 * server/notify.h - systemd, where it listens
 *
 * Readiness messages and sockets passed at start. Without libsystemd, or
 * outside of it, all of this does nothing.
 */
#ifndef OSTLER_SERVER_NOTIFY_H
#define OSTLER_SERVER_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/ip.h"

void notify_ready(void);
void notify_reloading(void);
void notify_stopping(void);

/* Does systemd's journal read our standard error? */
bool notify_has_journal(void);

/*
 * A passed listening socket with this address (or unix path): the caller owns
 * the descriptor from now on. -1: none.
 */
int notify_take_socket(const struct ip *ip, uint16_t port,
		       const char *unix_path);

/*
 * Calls each for every passed socket that nobody has taken: "0.0.0.0:25",
 * "unix:/path", "socket 5" for one that is none to listen on.
 */
void notify_unused(void (*each)(void *arg, const char *address), void *arg);

#endif
