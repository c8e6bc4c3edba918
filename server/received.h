/* SPDX-License-Identifier: ISC */
/*
 * server/received.h - the trace line that every message gets
 *
 * RFC 5321, 4.4. Pure.
 */
#ifndef OSTLER_SERVER_RECEIVED_H
#define OSTLER_SERVER_RECEIVED_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/ip.h"

struct received {
	const char *helo;	 /* NULL: the client said none */
	const char *client_name; /* by DNS, or NULL */
	struct ip client;	 /* IP_NONE: a unix socket */
	const char *hostname;
	bool is_esmtp, is_utf8, is_authenticated;
	const char *tls_version, *tls_cipher; /* NULL: in the clear */
	const char *id;
	const char *recipient; /* the only one, or NULL */
	uint64_t now_ms;       /* wall clock */
};

/* Appends the folded field with its CR LF; out needs 2 KiB of room. */
void received_format(const struct received *received, struct buf *out);

#endif
