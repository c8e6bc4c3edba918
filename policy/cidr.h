/* SPDX-License-Identifier: ISC */
/*
 * policy/cidr.h - networks: "192.0.2.0/24", "2001:db8::/32", "192.0.2.7"
 *
 * Pure.
 */
#ifndef OSTLER_POLICY_CIDR_H
#define OSTLER_POLICY_CIDR_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/ip.h"
#include "lib/str.h"

struct cidr {
	struct ip ip;	    /* host bits are zero */
	unsigned char bits; /* 0..32 or 0..128 */
};

/* False when it is no network, or host bits are set. */
bool cidr_parse(struct str text, struct cidr *out);
bool cidr_holds(const struct cidr *cidr, const struct ip *ip);

/* The first of them that holds ip, or NULL. */
const struct cidr *cidr_find(const struct cidr *list, size_t count,
			     const struct ip *ip);

/* "192.0.2.0/24" into to. */
char *cidr_format(const struct cidr *cidr, char to[IP_TEXT_MAX + 4]);

#endif
