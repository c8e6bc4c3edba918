/* SPDX-License-Identifier: ISC */
/*
 * lib/wire/proxy.h - the header by which a proxy says who its client is
 *
 * The PROXY protocol of HAProxy, version 1 (a line) and 2 (binary). Pure: the
 * caller keeps what arrived and asks again when there is more, so the result
 * does not depend on how the bytes were split.
 */
#ifndef OSTLER_LIB_WIRE_PROXY_H
#define OSTLER_LIB_WIRE_PROXY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/ip.h"

/* A longer header is refused: room for addresses and a few extras (TLVs). */
#define PROXY_HEADER_MAX 4096

enum proxy_result {
	PROXY_NEED_MORE, /* so far it may become one */
	PROXY_DONE,
	PROXY_BAD, /* it is none, or a broken one */
};

struct proxy_header {
	/* IP_NONE: the proxy speaks for itself (a health check) or does not
	 * know; the connection's own addresses are true then. */
	struct ip client, server;
	uint16_t client_port, server_port;
};

/*
 * Reads the header at the front of bytes.
 *
 * bytes     borrows; what has arrived, from the connection's first byte on
 * out       filled on PROXY_DONE only
 * out_used  how many bytes the header takes; set on PROXY_DONE only
 */
enum proxy_result proxy_parse(const uint8_t *bytes, size_t len,
			      struct proxy_header *out, size_t *out_used);

#endif
