/* SPDX-License-Identifier: ISC */
/*
 * lib/net/resolv_conf.h - the system's DNS servers, and when they change
 *
 * The file is replaced by rename, or is a link whose target is: so the
 * folders are watched, and the file is read anew in a worker shortly after
 * anything happened there. Loop thread only.
 */
#ifndef OSTLER_LIB_NET_RESOLV_CONF_H
#define OSTLER_LIB_NET_RESOLV_CONF_H

#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "lib/ip.h"

#define DNS_SERVERS_MAX 8

struct dns_server {
	struct ip ip;
	uint16_t port;
};

/*
 * The nameserver lines of a text, as "IP" or "[IP]:PORT"; at most max.
 *
 * Returns how many; lines that are none are ignored, and without any it is
 * one: 127.0.0.1 port 53 (resolv.conf(5)). max > 0.
 */
size_t resolv_conf_parse(const char *text, struct dns_server *to, size_t max);

struct resolv_conf;
typedef void resolv_conf_fn(void *owner, const struct dns_server *servers,
			    size_t count);

/*
 * Begins to follow a file. Reads it at once, so: start and reload only.
 *
 * path       borrows
 * on_change  gets the servers, lent for the call, whenever the file may have
 *            changed; a file that is gone for a moment changes nothing
 * to         gets those of now: DNS_SERVERS_MAX elements
 */
struct resolv_conf *resolv_conf_open(uv_loop_t *loop, const char *path,
				     resolv_conf_fn *on_change, void *owner,
				     struct dns_server *to, size_t *out_count);

/* on_change does not come any more; the memory goes later. NULL is fine. */
void resolv_conf_close(struct resolv_conf *conf);

#endif
