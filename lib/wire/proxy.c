/* SPDX-License-Identifier: ISC */
#include "lib/wire/proxy.h"

#include <string.h>

#include "lib/str.h"

#define V1_MAX	  107 /* octets of a line, CR LF included */
#define V2_PREFIX 16  /* signature, command, family, length */

static const uint8_t v1_signature[] = "PROXY ";
static const uint8_t v2_signature[] = "\r\n\r\n\0\r\nQUIT\n";
#define V1_SIGNATURE (sizeof(v1_signature) - 1)
#define V2_SIGNATURE (sizeof(v2_signature) - 1)

/* -------------------------------------------------------------- version 1 */

/* One word; in the grammar exactly one space stands between two. */
static bool
v1_word(struct str *rest, struct str *out)
{
	return str_cut(rest, ' ', out) && out->len != 0;
}

/* "0" to "65535" without zeros in front */
static bool
v1_port(struct str text, uint16_t *out)
{
	uint64_t port;

	if (text.len == 0 || (text.at[0] == '0' && text.len > 1) ||
	    !str_u64(text, 65535, &port))
		return false;
	*out = (uint16_t)port;
	return true;
}

/* "TCP4 192.0.2.7 192.0.2.1 49152 25", "UNKNOWN" and whatever follows it */
static bool
v1_line(struct str line, struct proxy_header *out)
{
	struct str family, client, server, client_port, server_port;
	enum ip_family wanted;

	if (!v1_word(&line, &family))
		return false;
	if (str_is(family, "UNKNOWN"))
		return true;
	if (str_is(family, "TCP4"))
		wanted = IP_V4;
	else if (str_is(family, "TCP6"))
		wanted = IP_V6;
	else
		return false;
	if (!v1_word(&line, &client) || !v1_word(&line, &server) ||
	    !v1_word(&line, &client_port))
		return false;
	server_port = line; /* all that is left: no space may follow */
	if (!ip_parse(client, &out->client) || !ip_parse(server, &out->server))
		return false;
	/* ::ffff:192.0.2.7 is folded to IPv4 and may come as TCP6 */
	if (wanted == IP_V4 && (memchr(client.at, ':', client.len) != NULL ||
				memchr(server.at, ':', server.len) != NULL))
		return false;
	if (wanted == IP_V6 && (memchr(client.at, ':', client.len) == NULL ||
				memchr(server.at, ':', server.len) == NULL))
		return false;
	return v1_port(client_port, &out->client_port) &&
	       v1_port(server_port, &out->server_port);
}

static enum proxy_result
v1_parse(const uint8_t *bytes, size_t len, struct proxy_header *out,
	 size_t *out_used)
{
	size_t seen = len < V1_MAX ? len : V1_MAX;
	const uint8_t *end = memchr(bytes, '\r', seen);
	size_t at = end != NULL ? (size_t)(end - bytes) : seen;

	/* no character that cannot stand in it, so that a broken header is
	 * seen at once */
	for (size_t i = 0; i < at; i++)
		if (bytes[i] < ' ' || bytes[i] > '~')
			return PROXY_BAD;
	if (end == NULL)
		return len < V1_MAX - 1 ? PROXY_NEED_MORE : PROXY_BAD;
	if (at + 2 > V1_MAX)
		return PROXY_BAD;
	if (at + 1 == len)
		return PROXY_NEED_MORE;
	if (bytes[at + 1] != '\n' ||
	    !v1_line(str_from((const char *)bytes + V1_SIGNATURE,
			      at - V1_SIGNATURE),
		     out))
		return PROXY_BAD;
	*out_used = at + 2;
	return PROXY_DONE;
}

/* -------------------------------------------------------------- version 2 */

static uint16_t
v2_number(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

/* Through a socket address, so that IPv4 within IPv6 is folded as always. */
static struct ip
v2_ip(const uint8_t *at, bool is_v6)
{
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
	struct sockaddr_in v4 = {.sin_family = AF_INET};

	memcpy(&v6.sin6_addr, at, is_v6 ? 16 : 4);
	memcpy(&v4.sin_addr, at, 4);
	return is_v6 ? ip_from_sockaddr((struct sockaddr *)&v6, NULL)
		     : ip_from_sockaddr((struct sockaddr *)&v4, NULL);
}

static bool
v2_addresses(uint8_t family, const uint8_t *at, size_t len,
	     struct proxy_header *out)
{
	bool is_v6 = family == 0x21;
	size_t size = is_v6 ? 16 : 4;

	switch (family) {
	case 0x11: /* TCP over IPv4 */
	case 0x21: /* TCP over IPv6 */
		break;
	case 0x00: /* unspecified */
	case 0x31: /* a unix socket */
		return true;
	default: /* datagrams, and what nobody has defined */
		return false;
	}
	if (len < 2 * size + 4)
		return false;
	out->client = v2_ip(at, is_v6);
	out->server = v2_ip(at + size, is_v6);
	out->client_port = v2_number(at + 2 * size);
	out->server_port = v2_number(at + 2 * size + 2);
	return true;
}

static enum proxy_result
v2_parse(const uint8_t *bytes, size_t len, struct proxy_header *out,
	 size_t *out_used)
{
	size_t rest;

	/* version 2, and LOCAL or PROXY */
	if (len > 12 && bytes[12] != 0x20 && bytes[12] != 0x21)
		return PROXY_BAD;
	if (len < V2_PREFIX)
		return PROXY_NEED_MORE;
	rest = v2_number(bytes + 14);
	if (V2_PREFIX + rest > PROXY_HEADER_MAX)
		return PROXY_BAD;
	if (len < V2_PREFIX + rest)
		return PROXY_NEED_MORE;
	/* what LOCAL says of addresses is to be ignored */
	if (bytes[12] == 0x21 &&
	    !v2_addresses(bytes[13], bytes + V2_PREFIX, rest, out))
		return PROXY_BAD;
	*out_used = V2_PREFIX + rest;
	return PROXY_DONE;
}

/* ------------------------------------------------------------------ both */

/* Do the bytes begin as the signature does, as far as they go? */
static bool
is_prefix(const uint8_t *bytes, size_t len, const uint8_t *signature,
	  size_t signature_len)
{
	return memcmp(bytes, signature,
		      len < signature_len ? len : signature_len) == 0;
}

enum proxy_result
proxy_parse(const uint8_t *bytes, size_t len, struct proxy_header *out,
	    size_t *out_used)
{
	struct proxy_header header = {.client_port = 0};
	enum proxy_result result;

	if (len == 0)
		return PROXY_NEED_MORE;
	if (is_prefix(bytes, len, v1_signature, V1_SIGNATURE))
		result = len < V1_SIGNATURE
				 ? PROXY_NEED_MORE
				 : v1_parse(bytes, len, &header, out_used);
	else if (is_prefix(bytes, len, v2_signature, V2_SIGNATURE))
		result = len < V2_SIGNATURE
				 ? PROXY_NEED_MORE
				 : v2_parse(bytes, len, &header, out_used);
	else
		result = PROXY_BAD;
	if (result == PROXY_DONE)
		*out = header;
	return result;
}
