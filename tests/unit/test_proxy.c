/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "lib/mem.h"
#include "lib/wire/proxy.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

static const struct {
	const char *wire;
	size_t len;
	const char *result;
} cases[] = {
#define CASE(wire, result)                                                     \
	{                                                                      \
		wire, sizeof(wire) - 1, result                                 \
	}
	CASE("PROXY TCP4 192.0.2.7 198.51.100.1 49152 25\r\nEHLO",
	     "192.0.2.7:49152 to 198.51.100.1:25, 44 used"),
	CASE("PROXY TCP6 2001:db8::7 2001:db8::1 1 65535\r\n",
	     "2001:db8::7:1 to 2001:db8::1:65535, 44 used"),
	/* IPv4 within IPv6 is IPv4 */
	CASE("PROXY TCP6 ::ffff:192.0.2.7 ::ffff:192.0.2.1 1 2\r\n",
	     "192.0.2.7:1 to 192.0.2.1:2, 50 used"),
	CASE("PROXY UNKNOWN\r\n", "unknown, 15 used"),
	CASE("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\nx", "unknown, 35 used"),
	CASE("PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n",
	     "0.0.0.0:0 to 0.0.0.0:0, 32 used"),
	CASE("", "more"),
	CASE("P", "more"),
	CASE("PROXY", "more"),
	CASE("PROXY TCP4 192.0.2.7 198.51.100.1 49152 25\r", "more"),

	CASE("EHLO client.example\r\n", "bad"),
	CASE("PROXy TCP4 192.0.2.7 198.51.100.1 49152 25\r\n", "bad"),
	CASE("PROXY TCP4 192.0.2.7 198.51.100.1 49152 25\n", "bad"),
	CASE("PROXY TCP4 192.0.2.7 198.51.100.1 49152 25\rX", "bad"),
	CASE("PROXY TCP4  192.0.2.7 198.51.100.1 49152 25\r\n", "bad"),
	CASE("PROXY TCP4 192.0.2.7 198.51.100.1 49152 25 \r\n", "bad"),
	CASE("PROXY TCP4 192.0.2.7 198.51.100.1 49152 25 9\r\n", "bad"),
	CASE("PROXY TCP4 192.0.2.7 198.51.100.1 49152\r\n", "bad"),
	CASE("PROXY TCP4 192.0.2.7 198.51.100.1 49152 \r\n", "bad"),
	CASE("PROXY TCP4 192.0.2.7 198.51.100.1 65536 25\r\n", "bad"),
	CASE("PROXY TCP4 192.0.2.7 198.51.100.1 -1 25\r\n", "bad"),
	CASE("PROXY TCP4 192.0.2.7 198.51.100.1 025 25\r\n", "bad"),
	CASE("PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n", "bad"),
	CASE("PROXY TCP6 192.0.2.7 198.51.100.1 1 2\r\n", "bad"),
	CASE("PROXY TCP4 client.example 198.51.100.1 1 2\r\n", "bad"),
	CASE("PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n", "bad"),
	CASE("PROXY \r\n", "bad"),
	CASE("PROXY TCP4 192.0.2.7\0 198.51.100.1 1 2\r\n", "bad"),
	/* 107 octets, then 108 */
	CASE("PROXY UNKNOWN xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	     "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n",
	     "unknown, 107 used"),
	CASE("PROXY UNKNOWN xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	     "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n",
	     "bad"),

	CASE(SIGNATURE "\x21\x11\0\x0c"
		       "\xc0\0\2\7"
		       "\xc6\x33\x64\1"
		       "\xc0\0"
		       "\0\x19"
		       "EHLO",
	     "192.0.2.7:49152 to 198.51.100.1:25, 28 used"),
	CASE(SIGNATURE "\x21\x21\0\x24"
		       "\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\7"
		       "\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1"
		       "\0\1\xff\xff",
	     "2001:db8::7:1 to 2001:db8::1:65535, 52 used"),
	/* what follows the addresses is skipped */
	CASE(SIGNATURE "\x21\x11\0\x10"
		       "\xc0\0\2\7"
		       "\xc6\x33\x64\1"
		       "\xc0\0"
		       "\0\x19"
		       "\4\0\1x"
		       "EHLO",
	     "192.0.2.7:49152 to 198.51.100.1:25, 32 used"),
	/* LOCAL: whatever it says of addresses */
	CASE(SIGNATURE "\x20\0\0\0", "unknown, 16 used"),
	CASE(SIGNATURE "\x20\x11\0\x0c"
		       "\xc0\0\2\7"
		       "\xc6\x33\x64\1"
		       "\xc0\0"
		       "\0\x19",
	     "unknown, 28 used"),
	CASE(SIGNATURE "\x21\0\0\0", "unknown, 16 used"),
	CASE(SIGNATURE "\x21\x31\0\2"
		       "ab",
	     "unknown, 18 used"),
	CASE(SIGNATURE, "more"),
	CASE(SIGNATURE "\x21\x11\0\x0c"
		       "\xc0\0\2\7",
	     "more"),
	CASE(SIGNATURE "\x21\x11\x0f\xf0", "more"), /* 4096 in all */
	CASE(SIGNATURE "\x21\x11\x0f\xf1", "bad"),
	CASE(SIGNATURE "\x11\x11\0\x0c", "bad"), /* version 1 */
	CASE(SIGNATURE "\x22", "bad"),		 /* no such command */
	CASE(SIGNATURE "\x21\x12\0\x0c"
		       "abcdefghijkl",
	     "bad"), /* datagrams */
	CASE(SIGNATURE "\x21\x11\0\x0b"
		       "abcdefghijk",
	     "bad"), /* too short for the addresses */
	CASE(SIGNATURE "\x21\x21\0\x0c"
		       "abcdefghijkl",
	     "bad"),
	CASE("\r\n\r\n\0\r\nQUIT\r", "bad"),
};

/* The result for the first len bytes, in memory that ends behind them. */
static const char *
result(const char *wire, size_t len)
{
	static char text[200];
	char *copy = mem_dup(wire, len);
	char client[IP_TEXT_MAX], server[IP_TEXT_MAX];
	struct proxy_header header;
	size_t used = 0;

	switch (proxy_parse((const uint8_t *)copy, len, &header, &used)) {
	case PROXY_NEED_MORE:
		(void)snprintf(text, sizeof(text), "more");
		break;
	case PROXY_BAD:
		(void)snprintf(text, sizeof(text), "bad");
		break;
	case PROXY_DONE:
		if (header.client.family == IP_NONE)
			(void)snprintf(text, sizeof(text), "unknown, %zu used",
				       used);
		else
			(void)snprintf(text, sizeof(text),
				       "%s:%u to %s:%u, %zu used",
				       ip_format(&header.client, client),
				       header.client_port,
				       ip_format(&header.server, server),
				       header.server_port, used);
		break;
	}
	free(copy);
	return text;
}

START_TEST(a_header_is_read_or_refused)
{
	ck_assert_str_eq(result(cases[_i].wire, cases[_i].len),
			 cases[_i].result);
}
END_TEST

START_TEST(the_result_is_the_same_however_the_bytes_are_split)
{
	bool is_decided = false;

	/* "more" up to some byte, from there on always the same answer */
	for (size_t len = 0; len <= cases[_i].len; len++) {
		const char *now = result(cases[_i].wire, len);

		if (!is_decided && strcmp(now, "more") == 0)
			continue;
		is_decided = true;
		ck_assert_str_eq(now, cases[_i].result);
	}
}
END_TEST

UNIT_MAIN("proxy", {
	tcase_add_loop_test(tc, a_header_is_read_or_refused, 0,
			    (int)COUNT(cases));
	tcase_add_loop_test(tc,
			    the_result_is_the_same_however_the_bytes_are_split,
			    0, (int)COUNT(cases));
})
