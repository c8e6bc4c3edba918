/* SPDX-License-Identifier: ISC */
#include "policy/cidr.h"

#include <string.h>

/* Clears the bits behind the prefix; false when one of them was set. */
static bool
cidr_mask(struct cidr *cidr)
{
	bool was_clear = true;

	for (unsigned i = 0; i < sizeof(cidr->ip.bytes); i++) {
		unsigned kept = cidr->bits > i * 8 ? cidr->bits - i * 8 : 0;
		uint8_t mask = kept >= 8 ? 0xff : (uint8_t)(0xff00 >> kept);

		if ((cidr->ip.bytes[i] & ~mask) != 0)
			was_clear = false;
		cidr->ip.bytes[i] &= mask;
	}
	return was_clear;
}

bool
cidr_parse(struct str text, struct cidr *out)
{
	struct cidr cidr = {0};
	const char *slash =
		text.len != 0 ? memchr(text.at, '/', text.len) : NULL;
	struct str address = text;
	bool is_v6_text;
	uint64_t bits, width;

	if (slash != NULL)
		address.len = (size_t)(slash - text.at);
	if (!ip_parse(address, &cidr.ip))
		return false;
	is_v6_text = memchr(address.at, ':', address.len) != NULL;
	width = is_v6_text ? 128 : 32;
	bits = width;
	if (slash != NULL &&
	    !str_u64(str_from(slash + 1, text.len - address.len - 1), width,
		     &bits))
		return false;
	/* ::ffff:a.b.c.d was folded to IPv4: so is its prefix */
	if (is_v6_text && cidr.ip.family == IP_V4) {
		if (bits < 96)
			return false;
		bits -= 96;
	}
	cidr.bits = (unsigned char)bits;
	if (!cidr_mask(&cidr))
		return false;
	*out = cidr;
	return true;
}

bool
cidr_holds(const struct cidr *cidr, const struct ip *ip)
{
	unsigned whole = cidr->bits / 8, rest = cidr->bits % 8;

	if (ip->family == IP_NONE || ip->family != cidr->ip.family ||
	    memcmp(cidr->ip.bytes, ip->bytes, whole) != 0)
		return false;
	if (rest == 0)
		return true;
	return ((cidr->ip.bytes[whole] ^ ip->bytes[whole]) &
		(0xff00 >> rest & 0xff)) == 0;
}

const struct cidr *
cidr_find(const struct cidr *list, size_t count, const struct ip *ip)
{
	for (size_t i = 0; i < count; i++)
		if (cidr_holds(&list[i], ip))
			return &list[i];
	return NULL;
}

char *
cidr_format(const struct cidr *cidr, char to[IP_TEXT_MAX + 4])
{
	char *at = to + strlen(ip_format(&cidr->ip, to));

	*at++ = '/';
	(void)str_digits(at, cidr->bits, 1);
	return to;
}
