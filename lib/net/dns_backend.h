/* SPDX-License-Identifier: ISC */
/*
 * lib/net/dns_backend.h - carries DNS packets to servers and back
 *
 * A dumb transport behind five functions: one packet, one server, one try.
 * What to ask, whom next and what an answer means is decided above
 * (lib/net/dns_exchange.h), so that tests put a server of their own behind
 * the same five functions. The real one uses c-ares. Loop thread only.
 */
#ifndef OSTLER_LIB_NET_DNS_BACKEND_H
#define OSTLER_LIB_NET_DNS_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "lib/err.h"
#include "lib/net/resolv_conf.h" /* struct dns_server */

enum dns_arrival_status {
	DNS_ARRIVED,	 /* bytes is a packet with our identifier */
	DNS_TIMED_OUT,	 /* nothing came in time */
	DNS_UNREACHABLE, /* refused, no route, TCP closed */
};

struct dns_arrival {
	enum dns_arrival_status status;
	const uint8_t *bytes; /* lends for the call */
	size_t len;
};

/* One packet on its way; embedded in its owner. */
struct dns_request {
	/* Once, from the loop, never before send returned. */
	void (*on_end)(struct dns_request *request,
		       const struct dns_arrival *arrival);
	void *pending; /* the backend's; NULL: not under way */
};

struct dns_backend;
struct dns_backend_opts {
	const char *const *servers; /* NULL-terminated "IP:PORT"; NULL or
				       empty: those of resolv_conf */
	const char *resolv_conf;    /* NULL: /etc/resolv.conf; followed while
				       it is used, also when it is replaced */
	uint64_t timeout_ms;	    /* of one packet, > 0 */
};

struct dns_backend_ops {
	/* The servers of this moment: lends until the next return to the
	 * loop; at least one. */
	const struct dns_server *(*servers)(const struct dns_backend *backend,
					    size_t *out_count);
	/* packet: borrows; its identifier is set by the backend.
	 * server: index below the count of this moment. */
	void (*send)(struct dns_backend *backend, struct dns_request *request,
		     size_t server, bool is_tcp, const uint8_t *packet,
		     size_t len);
	/* on_end will not come. */
	void (*cancel)(struct dns_backend *backend,
		       struct dns_request *request);
	/* What is under way ends as it began. On failure nothing changes. */
	int (*configure)(struct dns_backend *backend,
			 const struct dns_backend_opts *opts, struct err *err);
	/* Requests under way are forgotten; memory goes later. */
	void (*close)(struct dns_backend *backend);
};

struct dns_backend {
	const struct dns_backend_ops *ops;
};

/* The real one. Make it after daemonising: sockets must not be shared with
 * a parent. */
int dns_backend_new(uv_loop_t *loop, const struct dns_backend_opts *opts,
		    struct dns_backend **out, struct err *err);

/* "1.18.1": of c-ares, the one that runs. Static. */
const char *dns_backend_version(void);

#endif
