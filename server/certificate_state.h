/* SPDX-License-Identifier: ISC */
/*
 * server/certificate_state.h - what an operator should know of a certificate
 *
 * Pure, but for the warnings, which look at all listeners of the daemon.
 */
#ifndef OSTLER_SERVER_CERTIFICATE_STATE_H
#define OSTLER_SERVER_CERTIFICATE_STATE_H

#include <jansson.h>
#include <stdint.h>

struct daemon;
struct tls_ctx;

struct certificate_state {
	const char *state;  /* "ok", "warn", "fail"; static */
	char text[100];	    /* "is self-signed, ends 2036-11-21T..." */
	const char *advice; /* static; "" when all is well */
};

/* now_ms: wall clock */
void certificate_state(const struct tls_ctx *ctx, uint64_t now_ms,
		       struct certificate_state *out);

/* Appends a text for each certificate that is not well, naming the listeners
 * that show it. */
void certificate_warnings(const struct daemon *daemon, json_t *list);

#endif
