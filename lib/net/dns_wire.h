/* SPDX-License-Identifier: ISC */
/*
 * lib/net/dns_wire.h - DNS packets, written and read
 *
 * Pure functions over bytes (RFC 1035, 2181, 2308, 6891, 8914). The reader
 * trusts nothing: every length is checked, a compression pointer may only
 * point backwards, and a packet with one damaged record is damaged.
 */
#ifndef OSTLER_LIB_NET_DNS_WIRE_H
#define OSTLER_LIB_NET_DNS_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/ip.h"

enum dns_type {
	DNS_A = 1,
	DNS_CNAME = 5,
	DNS_SOA = 6,
	DNS_PTR = 12,
	DNS_MX = 15,
	DNS_TXT = 16,
	DNS_AAAA = 28,
	DNS_TLSA = 52,
};

/* "MX", "A", ...; "?" for a type that is not in the list. */
const char *dns_type_name(uint16_t type);

/*
 * Names as text: no trailing dot, "" is the root; in answers lower case, and
 * what is not a printable ASCII character, a dot inside a label or a
 * backslash stands as \DDD. 255 octets, each up to four characters.
 */
#define DNS_NAME_TEXT_MAX 1024
#define DNS_QUERY_MAX	  512  /* bytes of a question with EDNS */
#define DNS_EDNS_SIZE	  1232 /* what we take over UDP (no fragments) */

struct dns_record {
	uint32_t ttl;
	uint16_t preference; /* MX */
	char *name;	     /* MX, PTR, CNAME: lower case, no trailing dot */
	struct ip ip;	     /* A, AAAA */
	uint8_t *data;	     /* TXT: its strings joined; others: raw */
	size_t len;
};

/*
 * Writes a recursive question (RD, and AD: "say whether it is secure", RFC
 * 6840, 5.7) with identifier 0.
 *
 * name      borrows; without backslashes
 * has_edns  with an OPT record behind it
 * to        at least DNS_QUERY_MAX bytes
 * Returns its length; 0 when name is no name (empty or long labels).
 */
size_t dns_wire_question(const char *name, uint16_t type, bool has_edns,
			 uint8_t *to);

enum dns_answer_kind {
	DNS_ANSWER_RECORDS, /* at least one */
	DNS_ANSWER_NODATA,
	DNS_ANSWER_NXDOMAIN,
	DNS_ANSWER_TRUNCATED, /* ask by TCP */
	DNS_ANSWER_ERROR,     /* rcode says which; why in words */
	DNS_ANSWER_LAME,      /* this server does not know and did not ask */
	DNS_ANSWER_MALFORMED,
	DNS_ANSWER_FOREIGN, /* no answer, or to another question */
};

enum dns_rcode {
	DNS_RCODE_NOERROR = 0,
	DNS_RCODE_FORMERR = 1,
	DNS_RCODE_SERVFAIL = 2,
	DNS_RCODE_NXDOMAIN = 3,
	DNS_RCODE_NOTIMP = 4,
	DNS_RCODE_REFUSED = 5,
	DNS_RCODE_BADVERS = 16,
};

struct dns_answer {
	enum dns_answer_kind kind;
	const char *why; /* static, in words; NULL for the first three kinds */
	unsigned rcode;	 /* twelve bits, with the part in OPT */
	bool has_ad;
	bool is_case_kept; /* the question came back letter by letter */
	bool is_stale;	   /* EDE 3, 19: served past its TTL */
	bool is_bogus;	   /* EDE 6 to 12: DNSSEC says forged */
	/* Smallest TTL of the records and of the CNAMEs passed; for a negative
	 * answer min(SOA TTL, SOA minimum, CNAMEs), 0 without SOA. */
	uint32_t ttl;
	char *canonical; /* owns; the name behind the CNAMEs; NULL: no answer */
	struct dns_record *records; /* owns */
	size_t count;
};

/*
 * Reads the answer to a question.
 *
 * name, type  borrows; what was asked, in the case in which it was asked
 * out         filled in whatever comes; dns_answer_done gives it back
 */
void dns_wire_answer(const uint8_t *packet, size_t len, const char *name,
		     uint16_t type, struct dns_answer *out);

void dns_answer_done(struct dns_answer *answer);

/* Gives back what the records own, and the array. */
void dns_records_free(struct dns_record *records, size_t count);

/*
 * May this name be a host: letters, digits, hyphens and underscores, at least
 * one label, the last one not all digits (that is an address in disguise)?
 */
bool dns_is_host_name(const char *name);

#endif
