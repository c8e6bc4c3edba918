/* SPDX-License-Identifier: ISC */
/*
 * lib/net/https.h - one document from a web server
 *
 * Only what MTA-STS needs (RFC 8461, 3.3): GET, a certificate that is checked,
 * no redirects, a largest size, a time for all of it. The program ostler-fetch
 * does it, run anew for each document, with libcurl; a worker waits for what
 * it prints. The addresses come from the caller, whose resolver is the only
 * one here. At most four documents are on their way at once, the others wait
 * their turn.
 */
#ifndef OSTLER_LIB_NET_HTTPS_H
#define OSTLER_LIB_NET_HTTPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "lib/err.h"
#include "lib/ip.h"
#include "lib/str.h"

#define HTTPS_ADDRS_MAX 8

struct https_request {
	const char *host; /* for SNI, the certificate and Host: */
	const char *path; /* "/..." */
	const struct ip *addrs;
	size_t addr_count; /* 1..HTTPS_ADDRS_MAX; tried in order */
	uint16_t port;	   /* 443 */
	const char *ca;	   /* PEM file, or NULL: the system's */
	size_t max_bytes;
	uint64_t timeout_ms; /* from its turn on */
};

struct https_reply {
	bool is_good;	  /* 200 with a whole body */
	bool is_ours;	  /* not good: the program could not be run */
	struct str body;  /* lends for the call */
	const char *type; /* Content-Type; "" none; lends */
	const char *why;  /* when it is not good */
};

typedef void https_fn(void *owner, const struct https_reply *reply);

struct https_fetch;

/*
 * Could a document be had? 0, or a negative errno with the reason in err:
 * built without libcurl, or the program is not where it belongs: beside this
 * one, else in libexec. Looks at files; any thread.
 */
int https_check(struct err *err);

/* Another program for it, lent; NULL: the one that belongs here. For tests,
 * before any document is asked for. */
void https_use_program(const char *path);

/* What the program printed: "good TYPE\n" and the document, "bad WHY\n". */
struct https_said {
	bool is_good;
	struct str text; /* TYPE or WHY; lent from said, as is body */
	struct str body;
};
/* False: neither. said: borrows; any octets */
bool https_said(struct str said, struct https_said *out);

/* Never calls back before it returns; once. request: borrows. */
struct https_fetch *https_get(uv_loop_t *loop,
			      const struct https_request *request,
			      https_fn *on_reply, void *owner);
/* Has its turn come? */
bool https_has_begun(const struct https_fetch *fetch);
/* on_reply will not come; the transfer ends within a second. */
void https_cancel(struct https_fetch *fetch);

#endif
