/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <string.h>

#include "lib/ip.h"

START_TEST(an_address_is_written_as_inet_ntop_does)
{
	for (unsigned byte = 0; byte < 256; byte++) {
		for (unsigned at = 0; at < 4; at++) {
			struct ip ip = {.family = IP_V4}, back;
			char is[IP_TEXT_MAX], wanted[IP_TEXT_MAX];

			ip.bytes[at] = (uint8_t)byte;
			ip.bytes[3 - at] ^= 0xff;
			ck_assert_ptr_nonnull(inet_ntop(AF_INET, ip.bytes,
							wanted,
							sizeof(wanted)));
			ck_assert_str_eq(ip_format(&ip, is), wanted);
			ck_assert(ip_parse(str_of(is), &back));
			ck_assert(ip_equal(&ip, &back));
		}
	}
}
END_TEST

START_TEST(an_address_of_no_family_is_unknown)
{
	struct ip none = {.family = IP_NONE};
	char is[IP_TEXT_MAX];

	ck_assert_str_eq(ip_format(&none, is), "unknown");
}
END_TEST

UNIT_MAIN("ip", tcase_add_test(tc, an_address_is_written_as_inet_ntop_does);
	  tcase_add_test(tc, an_address_of_no_family_is_unknown);)
