/* SPDX-License-Identifier: ISC */
/*
 * tests/unit/dns_packets.h - DNS answers written as text
 *
 *	"a.example MX ad\n"			question, header flags
 *	"an a.example 60 MX 10 mx.example\n"	answer section
 *	"au example 3600 SOA 40\n"		authority; SOA: its minimum
 *	"ar . OPT 1 3\n"			extended rcode, EDE (-1: none)
 *
 * TLSA: the data as it is, or "#3 1 1 x 32": 32 times an x behind the numbers.
 * Flags: rcode=N, ad, tc, -qr, -ra, qd=N. Names are not compressed here.
 */
#ifndef OSTLER_TESTS_UNIT_DNS_PACKETS_H
#define OSTLER_TESTS_UNIT_DNS_PACKETS_H

#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DNS_PACKET_MAX 65535

struct dns_writer {
	uint8_t *bytes;
	size_t len;
};

static inline void
dns_put(struct dns_writer *to, const void *bytes, size_t len)
{
	memcpy(to->bytes + to->len, bytes, len);
	to->len += len;
}

static inline void
dns_put_u16(struct dns_writer *to, unsigned value)
{
	uint8_t bytes[2] = {(uint8_t)(value >> 8), (uint8_t)value};

	dns_put(to, bytes, 2);
}

static inline void
dns_put_u32(struct dns_writer *to, uint32_t value)
{
	dns_put_u16(to, value >> 16);
	dns_put_u16(to, value & 0xffff);
}

static inline void
dns_put_name(struct dns_writer *to, const char *name)
{
	while (*name != '\0' && strcmp(name, ".") != 0) {
		uint8_t len = (uint8_t)strcspn(name, ".");

		dns_put(to, &len, 1);
		dns_put(to, name, len);
		name += len;
		if (*name == '.')
			name++;
	}
	dns_put(to, "", 1);
}

static inline unsigned
dns_type_number(const char *name)
{
	static const struct {
		const char *name;
		unsigned type;
	} types[] = {{"A", 1},	  {"NS", 2},	{"CNAME", 5}, {"SOA", 6},
		     {"PTR", 12}, {"MX", 15},	{"TXT", 16},  {"AAAA", 28},
		     {"OPT", 41}, {"TLSA", 52}, {"RRSIG", 46}};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (strcmp(types[i].name, name) == 0)
			return types[i].type;
	abort();
}

static inline void
dns_put_tlsa(struct dns_writer *to, const char *data)
{
	unsigned usage, selector, matching, count;
	char fill;

	if (sscanf(data, "#%u %u %u %c %u", &usage, &selector, &matching, &fill,
		   &count) != 5)
		abort();
	dns_put(to,
		(const uint8_t[]){(uint8_t)usage, (uint8_t)selector,
				  (uint8_t)matching},
		3);
	while (count-- != 0)
		dns_put(to, &fill, 1);
}

static inline void
dns_put_data(struct dns_writer *to, const char *type, const char *data)
{
	uint8_t ip[16], len = (uint8_t)strlen(data);
	unsigned preference;
	char name[300];

	if (strcmp(type, "A") == 0) {
		if (inet_pton(AF_INET, data, ip) != 1)
			abort();
		dns_put(to, ip, 4);
	} else if (strcmp(type, "AAAA") == 0) {
		if (inet_pton(AF_INET6, data, ip) != 1)
			abort();
		dns_put(to, ip, 16);
	} else if (strcmp(type, "MX") == 0) {
		if (sscanf(data, "%u %299s", &preference, name) != 2)
			abort();
		dns_put_u16(to, preference);
		dns_put_name(to, name);
	} else if (strcmp(type, "SOA") == 0) {
		dns_put_name(to, "ns.example");
		dns_put_name(to, "hm.example");
		for (unsigned i = 0; i < 4; i++)
			dns_put_u32(to, 1);
		dns_put_u32(to, (uint32_t)strtoul(data, NULL, 10));
	} else if (strcmp(type, "TXT") == 0) {
		dns_put(to, &len, 1);
		dns_put(to, data, len);
	} else if (strcmp(type, "TLSA") == 0 && data[0] == '#') {
		dns_put_tlsa(to, data);
	} else if (strcmp(type, "TLSA") == 0 || strcmp(type, "RRSIG") == 0) {
		dns_put(to, data, len);
	} else {
		dns_put_name(to, data);
	}
}

static inline void
dns_put_opt(struct dns_writer *to, unsigned rcode, int ede)
{
	dns_put_name(to, ".");
	dns_put_u16(to, 41);
	dns_put_u16(to, 1232);
	dns_put_u32(to, rcode << 24);
	dns_put_u16(to, ede >= 0 ? 6 : 0);
	if (ede >= 0) {
		dns_put_u16(to, 15);
		dns_put_u16(to, 2);
		dns_put_u16(to, (unsigned)ede);
	}
}

/* A line of a section: returns which (0..2). */
static inline unsigned
dns_put_line(struct dns_writer *to, const char *line)
{
	char section[8], owner[300], type[16], data[600] = "", copy[1200];
	unsigned rcode;
	size_t length_at;
	uint32_t ttl;
	int ede;

	(void)snprintf(copy, sizeof(copy), "%.*s", (int)strcspn(line, "\n"),
		       line);
	if (sscanf(copy, "ar . OPT %u %d", &rcode, &ede) == 2) {
		dns_put_opt(to, rcode, ede);
		return 2;
	}
	if (sscanf(copy, "%7s %299s %u %15s %599[^\n]", section, owner, &ttl,
		   type, data) < 4)
		abort();
	dns_put_name(to, owner);
	dns_put_u16(to, dns_type_number(type));
	dns_put_u16(to, 1);
	dns_put_u32(to, ttl);
	length_at = to->len;
	dns_put_u16(to, 0);
	dns_put_data(to, type, data);
	to->bytes[length_at] = (uint8_t)((to->len - length_at - 2) >> 8);
	to->bytes[length_at + 1] = (uint8_t)(to->len - length_at - 2);
	return strcmp(section, "an") == 0   ? 0
	       : strcmp(section, "au") == 0 ? 1
					    : 2;
}

static inline void
dns_put_head(struct dns_writer *to, const char *line)
{
	uint8_t head[12] = {0, 0, 0x81, 0x80, 0, 1};
	char name[300], type[16], flags[64] = "", copy[400] = "";
	const char *number;

	(void)snprintf(copy, sizeof(copy), "%.*s", (int)strcspn(line, "\n"),
		       line);
	if (sscanf(copy, "%299s %15s %63[^\n]", name, type, flags) < 2)
		abort();
	if (strstr(flags, "-qr") != NULL)
		head[2] &= 0x7f;
	if (strstr(flags, "tc") != NULL)
		head[2] |= 0x02;
	if (strstr(flags, "-ra") != NULL)
		head[3] &= 0x7f;
	if (strstr(flags, "ad") != NULL)
		head[3] |= 0x20;
	number = strstr(flags, "rcode=");
	if (number != NULL)
		head[3] |= (uint8_t)strtoul(number + 6, NULL, 10);
	number = strstr(flags, "qd=");
	if (number != NULL)
		head[5] = (uint8_t)strtoul(number + 3, NULL, 10);
	dns_put(to, head, sizeof(head));
	dns_put_name(to, name);
	dns_put_u16(to, dns_type_number(type));
	dns_put_u16(to, 1);
}

/* Writes the packet; to has DNS_PACKET_MAX bytes. Returns its length. */
static inline size_t
dns_packet(const char *text, uint8_t *to)
{
	struct dns_writer writer = {to, 0};

	dns_put_head(&writer, text);
	for (text = strchr(text, '\n'); text != NULL && text[1] != '\0';
	     text = strchr(text, '\n')) {
		unsigned section;

		text++;
		section = dns_put_line(&writer, text);
		if (++to[7 + 2 * section] == 0)
			to[6 + 2 * section]++;
	}
	return writer.len;
}

#endif
