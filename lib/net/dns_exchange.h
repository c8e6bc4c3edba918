/* SPDX-License-Identifier: ISC */
/*
 * lib/net/dns_exchange.h - one question, asked until it is answered
 *
 * Decides whom to ask next, when to use TCP, when to leave EDNS out, and
 * which arrivals are answers at all. A transport (lib/net/dns_backend.h)
 * carries the packets; lib/net/dns_wire.h reads them.
 */
#ifndef OSTLER_LIB_NET_DNS_EXCHANGE_H
#define OSTLER_LIB_NET_DNS_EXCHANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/net/dns_backend.h"
#include "lib/net/dns_wire.h"

/* What exchanges share. Filled in by the owner, who may change attempts. */
struct dns_asker {
	struct dns_backend *backend; /* borrows for its life */
	unsigned attempts; /* tries of one question in all; each server gets
			      at least one */
	uint64_t (*now_ms)(void *arg);
	void *now_arg;
	/* The exchanges': a server that answered while those before it did
	 * not is asked first for a minute. */
	size_t preferred;
	uint64_t preferred_until_ms;
	uint64_t packets, tcp_packets; /* sent so far */
};

struct dns_result {
	/* TRUNCATED and FOREIGN do not occur; why is set for failures. */
	struct dns_answer answer; /* lends for the call; may be emptied */
	bool is_trusted;	  /* came from this host: AD means something */
	uint64_t sent_ms;	  /* when the question that was answered left */
};

/* Embedded in its owner. */
struct dns_exchange {
	struct dns_request request;
	struct dns_asker *asker;
	char name[256]; /* as sent: perhaps of mixed case */
	uint16_t type;
	size_t server, server_count;
	unsigned tries;
	bool is_tcp, has_edns, is_trusted;
	uint64_t sent_ms;
	const char *why; /* of the last try that failed */
	void (*on_end)(struct dns_exchange *exchange,
		       struct dns_result *result);
};

/*
 * Starts; on_end comes once, never before this returns.
 *
 * name  borrows; a name that dns_wire_question takes
 */
void dns_exchange_start(struct dns_exchange *exchange, struct dns_asker *asker,
			const char *name, uint16_t type,
			void (*on_end)(struct dns_exchange *exchange,
				       struct dns_result *result));

/* on_end will not come; nothing happens when it came. */
void dns_exchange_cancel(struct dns_exchange *exchange);

#endif
