/* SPDX-License-Identifier: ISC */
/*
 * lib/ip.h - IP addresses and where sockets listen
 *
 * IPv4 inside IPv6 (::ffff:a.b.c.d) is always folded to IPv4, so that one
 * client has one spelling.
 */
#ifndef OSTLER_LIB_IP_H
#define OSTLER_LIB_IP_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "lib/str.h"

enum ip_family { IP_NONE, IP_V4, IP_V6 };

struct ip {
	uint8_t family;	   /* enum ip_family */
	uint8_t bytes[16]; /* network order; IPv4 uses the first four */
};

#define IP_TEXT_MAX 48

/* Plain textual form, no brackets, no zone; false when it is none. */
bool ip_parse(struct str text, struct ip *out);

/* "192.0.2.1", "2001:db8::1"; "unknown" for IP_NONE. Returns to. */
char *ip_format(const struct ip *ip, char to[IP_TEXT_MAX]);

bool ip_equal(const struct ip *a, const struct ip *b);

/* What one client may be counted by: the address, of IPv6 its /64, of which
 * everybody has plenty. */
struct ip ip_block(const struct ip *ip);

/* IP_NONE and port 0 for anything but AF_INET and AF_INET6. */
struct ip ip_from_sockaddr(const struct sockaddr *sa, uint16_t *out_port);

/* Fills out; returns its length. ip->family is not IP_NONE. */
socklen_t ip_to_sockaddr(const struct ip *ip, uint16_t port,
			 struct sockaddr_storage *out);

/* Loopback, link-local, private (RFC 1918, 4193), unspecified, multicast. */
bool ip_is_loopback(const struct ip *ip);
bool ip_is_private(const struct ip *ip);
bool ip_is_unspecified(const struct ip *ip);

/* "HOST:PORT", "[V6]:PORT": cuts at the port; false when it is malformed. */
bool ip_split_port(struct str text, struct str *out_host, uint16_t *out_port);

#endif
