/* SPDX-License-Identifier: ISC */
/*
 * server/nat_watch.h - do all clients come from one private address?
 *
 * Then something in front of us hides who they are (a NAT, a container's port
 * forwarding, a load balancer without PROXY protocol): every decision by
 * address is wrong, and an address that is trusted opens the relay. One
 * internal host that sends a lot says one name in EHLO, so several names are
 * asked for. Pure.
 */
#ifndef OSTLER_SERVER_NAT_WATCH_H
#define OSTLER_SERVER_NAT_WATCH_H

#include <stdbool.h>

#include "lib/addr.h"
#include "lib/ip.h"

#define NAT_WATCH_SESSIONS 50 /* in a row, from one private address */
#define NAT_WATCH_NAMES	   5  /* different ones among them */

#define NAT_WATCH_TEXT                                                         \
	"all clients come from one private address: what is in front of it "   \
	"hides who they are; let it speak the PROXY protocol (listener's "     \
	"proxy_from) or pass addresses on"

/* All zero at first. */
struct nat_watch {
	struct ip ip; /* of the row */
	unsigned sessions, names;
	char name[NAT_WATCH_NAMES][ADDR_DOMAIN_MAX + 1];
	bool is_told; /* once was enough; ip stays */
};

/*
 * A session of an mx listener without a proxy is over.
 *
 * helo  borrows; what the client called itself
 * Returns true when a warning is due: once.
 */
bool nat_watch_saw(struct nat_watch *watch, const struct ip *ip,
		   const char *helo);

#endif
