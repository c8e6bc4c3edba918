/* SPDX-License-Identifier: ISC */
#include "lib/ip.h"

#include <arpa/inet.h>
#include <string.h>

static const uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0,    0,
					  0, 0, 0, 0, 0xff, 0xff};

static void
ip_fold(struct ip *ip)
{
	if (ip->family != IP_V6 ||
	    memcmp(ip->bytes, mapped_prefix, sizeof(mapped_prefix)) != 0)
		return;
	memmove(ip->bytes, ip->bytes + 12, 4);
	memset(ip->bytes + 4, 0, 12);
	ip->family = IP_V4;
}

bool
ip_parse(struct str text, struct ip *out)
{
	char copy[IP_TEXT_MAX];
	struct ip ip = {0};

	if (text.len == 0 || !str_copy(copy, sizeof(copy), text) ||
	    strlen(copy) != text.len)
		return false;
	if (inet_pton(AF_INET, copy, ip.bytes) == 1)
		ip.family = IP_V4;
	else if (inet_pton(AF_INET6, copy, ip.bytes) == 1)
		ip.family = IP_V6;
	else
		return false;
	ip_fold(&ip);
	*out = ip;
	return true;
}

char *
ip_format(const struct ip *ip, char to[IP_TEXT_MAX])
{
	char *at = to;

	if (ip->family == IP_V4) {
		/* not inet_ntop, which takes twenty times as long */
		for (size_t i = 0; i < 4; i++) {
			if (i != 0)
				*at++ = '.';
			at = str_digits(at, ip->bytes[i], 1);
		}
		return to;
	}
	if (ip->family == IP_NONE ||
	    inet_ntop(AF_INET6, ip->bytes, to, IP_TEXT_MAX) == NULL)
		(void)str_copy(to, IP_TEXT_MAX, str_of("unknown"));
	return to;
}

bool
ip_equal(const struct ip *a, const struct ip *b)
{
	return a->family == b->family &&
	       memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

struct ip
ip_block(const struct ip *ip)
{
	struct ip block = *ip;

	if (block.family == IP_V6)
		memset(block.bytes + 8, 0, 8);
	return block;
}

struct ip
ip_from_sockaddr(const struct sockaddr *sa, uint16_t *out_port)
{
	struct ip ip = {0};
	uint16_t port = 0;

	if (sa->sa_family == AF_INET) {
		struct sockaddr_in in;

		memcpy(&in, sa, sizeof(in));
		ip.family = IP_V4;
		memcpy(ip.bytes, &in.sin_addr, 4);
		port = ntohs(in.sin_port);
	} else if (sa->sa_family == AF_INET6) {
		struct sockaddr_in6 in6;

		memcpy(&in6, sa, sizeof(in6));
		ip.family = IP_V6;
		memcpy(ip.bytes, &in6.sin6_addr, 16);
		port = ntohs(in6.sin6_port);
		ip_fold(&ip);
	}
	if (out_port != NULL)
		*out_port = port;
	return ip;
}

socklen_t
ip_to_sockaddr(const struct ip *ip, uint16_t port, struct sockaddr_storage *out)
{
	struct sockaddr_in in = {.sin_family = AF_INET};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};

	memset(out, 0, sizeof(*out));
	if (ip->family == IP_V4) {
		memcpy(&in.sin_addr, ip->bytes, 4);
		in.sin_port = htons(port);
		memcpy(out, &in, sizeof(in));
		return sizeof(in);
	}
	memcpy(&in6.sin6_addr, ip->bytes, 16);
	in6.sin6_port = htons(port);
	memcpy(out, &in6, sizeof(in6));
	return sizeof(in6);
}

bool
ip_is_loopback(const struct ip *ip)
{
	static const uint8_t one[16] = {[15] = 1};

	if (ip->family == IP_V4)
		return ip->bytes[0] == 127;
	return ip->family == IP_V6 && memcmp(ip->bytes, one, 16) == 0;
}

bool
ip_is_unspecified(const struct ip *ip)
{
	static const uint8_t zero[16];

	return memcmp(ip->bytes, zero, sizeof(zero)) == 0;
}

bool
ip_is_private(const struct ip *ip)
{
	const uint8_t *b = ip->bytes;

	if (ip_is_loopback(ip) || ip_is_unspecified(ip))
		return true;
	if (ip->family == IP_V4)
		return b[0] == 0 || b[0] == 10 || /* RFC 1918, RFC 6890 */
		       (b[0] == 172 && (b[1] & 0xf0) == 16) ||
		       (b[0] == 192 && b[1] == 168) ||
		       (b[0] == 169 && b[1] == 254) ||
		       (b[0] == 100 && (b[1] & 0xc0) == 64) || b[0] >= 224;
	return ip->family == IP_V6 &&
	       ((b[0] & 0xfe) == 0xfc || /* RFC 4193 */
		(b[0] == 0xfe && (b[1] & 0xc0) == 0x80) || b[0] == 0xff);
}

bool
ip_split_port(struct str text, struct str *out_host, uint16_t *out_port)
{
	const char *colon = NULL;
	struct str host;
	uint64_t port;

	for (size_t i = 0; i < text.len; i++)
		if (text.at[i] == ':')
			colon = text.at + i;
	if (colon == NULL)
		return false;
	host = str_from(text.at, (size_t)(colon - text.at));
	if (!str_u64(str_from(colon + 1, text.len - host.len - 1), 65535,
		     &port))
		return false;
	if (host.len >= 2 && host.at[0] == '[' &&
	    host.at[host.len - 1] == ']') {
		host.at++;
		host.len -= 2;
	} else if (memchr(host.at, ':', host.len) != NULL) {
		return false; /* IPv6 stands in brackets */
	}
	if (host.len == 0)
		return false;
	*out_host = host;
	*out_port = (uint16_t)port;
	return true;
}
