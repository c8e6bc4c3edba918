/* SPDX-License-Identifier: ISC */
/*
 * server/reach.h - whether a host of a next hop can be connected to
 *
 * For ostlerctl doctor: finds the route as a delivery would, connects to its
 * addresses at once and ends with the first that answers. Not a word of SMTP
 * is said. DNS ends by the resolver's own limits, connecting after REACH_MS.
 */
#ifndef OSTLER_SERVER_REACH_H
#define OSTLER_SERVER_REACH_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "lib/addr.h"
#include "lib/ip.h"

struct next_hop;
struct reach;
struct resolver;
struct route_opts;

#define REACH_MS	5000
#define REACH_DIALS_MAX 8 /* addresses that are tried, the best ones */

enum reach_result {
	REACH_CONNECTED,
	REACH_FAILED, /* why: of the first address */
	REACH_NO_ADDRESS,
};

struct reach_end {
	enum reach_result result;
	char host[ADDR_DOMAIN_MAX + 1]; /* "" without an address */
	struct ip ip;
	uint16_t port;
	unsigned tried;	    /* addresses */
	bool is_dns_silent; /* REACH_NO_ADDRESS: DNS gave no answer */
	char why[256];
};

typedef void reach_fn(void *owner, const struct reach_end *end);

struct reach_request {
	uv_loop_t *loop;
	struct resolver *resolver;
	const struct next_hop *hop; /* borrows; HOP_MX, HOP_SMTP, HOP_LMTP */
	const struct route_opts *opts;
	/* NULL, or which addresses are passed over; gets the owner. */
	bool (*is_skipped)(void *owner, const struct ip *ip, uint16_t port);
};

/* on_end comes later, once; end is lent for the call. request: borrows */
struct reach *reach_start(const struct reach_request *request, reach_fn *on_end,
			  void *owner);
/* Allowed until on_end began. NULL is fine. */
void reach_cancel(struct reach *reach);

#endif
