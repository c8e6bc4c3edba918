/* SPDX-License-Identifier: ISC */
/*
 * lib/addr.h - mail addresses and domain names
 *
 * Pure. Domains are kept in one spelling: lower-case A-labels (RFC 5890),
 * without a trailing dot; address literals as "[192.0.2.1]", "[IPv6:...]".
 */
#ifndef OSTLER_LIB_ADDR_H
#define OSTLER_LIB_ADDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/str.h"

#define ADDR_DOMAIN_MAX 255 /* octets, RFC 5321, 4.5.3.1.2 */
/* RFC 5321, 4.5.3.1.1 gives the local part 64 octets; longer ones are in use
 * (VERP, SRS) and refused only where a file is named after them. */
#define ADDR_LOCAL_MAX	 64
#define ADDR_LOCAL_LIMIT 256 /* octets, no local part is ever longer */
#define ADDR_MAX	 320 /* local part, '@', domain */

struct addr {
	/* "" is the null sender. The local part as it was given (with its
	 * quotes; see ADDR_QUOTE_DOTS), the domain normalised. */
	char text[ADDR_MAX + 1];
	uint16_t local_len;  /* bytes before '@' */
	uint16_t domain_len; /* bytes behind it; 0: no domain */
	bool is_utf8;	     /* the local part has bytes above 127 */
};

enum addr_flags {
	ADDR_ALLOW_UTF8 = 1,	  /* RFC 6531 */
	ADDR_ALLOW_NO_DOMAIN = 2, /* "user", to be qualified by the caller */
	/* Dots where the grammar has none ("a..b", ".a", "a."), as some
	 * providers gave them out: taken as the quoted string that says the
	 * same, so that nobody further on meets them. */
	ADDR_QUOTE_DOTS = 4,
};

/*
 * Mailbox = Local-part "@" ( Domain / address-literal )   RFC 5321, 4.1.2
 *
 * Returns NULL and fills out, or says in a few words what is wrong (static
 * text, out untouched). Whole text or nothing: no surrounding space or <>.
 */
const char *addr_parse(struct str text, unsigned flags, struct addr *out);

static inline struct str
addr_local(const struct addr *addr)
{
	return str_from(addr->text, addr->local_len);
}

static inline struct str
addr_domain(const struct addr *addr)
{
	return addr->domain_len != 0
		       ? str_from(addr->text + addr->local_len + 1,
				  addr->domain_len)
		       : str_from(addr->text + addr->local_len, 0);
}

/* The local part without quotes and backslashes; size > ADDR_LOCAL_LIMIT. */
void addr_local_plain(const struct addr *addr, char *to, size_t size);

/*
 * Adds "@domain" to an address without one; false when it gets too long. The
 * null sender and an address with a domain stay as they are.
 *
 * domain  borrows; normalised
 */
bool addr_qualify(struct addr *addr, const char *domain);

/*
 * One spelling for a domain: U-labels to A-labels (IDNA 2008, UTS 46), lower
 * case, trailing dot removed. Address literals are normalised too.
 *
 * to  at least ADDR_DOMAIN_MAX + 1 bytes
 * Returns false (to untouched) when it is no domain name: empty or long
 * labels, bad characters (an underscore is taken), or a number at the end,
 * which is an IP address without brackets.
 */
bool addr_normalize_domain(struct str domain, char *to, size_t size);

/* "[...]" */
static inline bool
addr_is_literal(struct str domain)
{
	return domain.len != 0 && domain.at[0] == '[';
}

#endif
