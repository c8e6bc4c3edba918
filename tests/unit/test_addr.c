/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <stdio.h>

#include "lib/addr.h"

#define U ADDR_ALLOW_UTF8
#define N ADDR_ALLOW_NO_DOMAIN
#define D ADDR_QUOTE_DOTS

static const struct {
	const char *text;
	unsigned flags;
	const char *result; /* NULL: refused */
} addresses[] = {
	{"a@example.org", 0, "a@example.org"},
	{"A.b+c@EXAMPLE.Org", 0, "A.b+c@example.org"},
	{"a@example.org.", 0, "a@example.org"},
	{"!#$%&'*+-/=?^_`{|}~@x.org", 0, "!#$%&'*+-/=?^_`{|}~@x.org"},
	{"a%b.org@c.org", 0, "a%b.org@c.org"},
	{"a!b@c.org", 0, "a!b@c.org"},
	{"\"a b\"@c.org", 0, "\"a b\"@c.org"},
	{"\"a@b.org\"@c.org", 0, "\"a@b.org\"@c.org"},
	{"\"a\\\"b\\\\\"@c.org", 0, "\"a\\\"b\\\\\"@c.org"},
	{"\"\"@c.org", 0, "\"\"@c.org"},
	{"a@[192.0.2.1]", 0, "a@[192.0.2.1]"},
	{"a@[IPv6:2001:DB8:0::1]", 0, "a@[IPv6:2001:db8::1]"},
	{"a@[ipv6:::1]", 0, "a@[IPv6:::1]"},
	{"a@[IPv6:::ffff:192.0.2.1]", 0, "a@[192.0.2.1]"},
	{"a@localhost", 0, "a@localhost"},
	{"a@x_y.example.org", 0, "a@x_y.example.org"},
	{"a@b\xc3\xbc"
	 "cher.example",
	 U, "a@xn--bcher-kva.example"},
	{"a@B\xc3\x9c"
	 "CHER.example",
	 U, "a@xn--bcher-kva.example"},
	{"a@fa\xc3\x9f.de", U, "a@xn--fa-hia.de"},
	{"a@b\xc3\xbc"
	 "cher\xe3\x80\x82"
	 "example",
	 U, "a@xn--bcher-kva.example"},
	{"a@XN--bcher-KVA.example", 0, "a@xn--bcher-kva.example"},
	{"j\xc3\xb6rg@x.org", U, "j\xc3\xb6rg@x.org"},
	{"\"j\xc3\xb6 rg\"@x.org", U, "\"j\xc3\xb6 rg\"@x.org"},
	{"a@b\xc3\xbc"
	 "cher.example\xe3\x80\x82",
	 U, "a@xn--bcher-kva.example"},
	{"\xc2\xa0@x.org", U, "\xc2\xa0@x.org"},
	{"user", N, "user"},
	{"postmaster", N, "postmaster"},
	{"a@b.org", N, "a@b.org"},
	{"a.b@b.org", D, "a.b@b.org"},
	{"\"a..b\"@b.org", D, "\"a..b\"@b.org"},
	{"a..b@b.org", D, "\"a..b\"@b.org"},
	{".a@b.org", D, "\".a\"@b.org"},
	{"a...@B.org", D, "\"a...\"@b.org"},
	{"a%c..d!e@b.org", D, "\"a%c..d!e\"@b.org"},
	{"j\xc3\xb6..@b.org", D | U, "\"j\xc3\xb6..\"@b.org"},
	{"a..", D | N, "\"a..\""},

	{"", 0, NULL},
	{"", N, NULL},
	{"user", 0, NULL},
	{"user@", 0, NULL},
	{"user@", N, NULL},
	{"@x.org", 0, NULL},
	{"@x.org", N, NULL},
	{"a..b@x.org", 0, NULL},
	{".a@x.org", 0, NULL},
	{"a.@x.org", 0, NULL},
	{"..@x.org", D, NULL},
	{".", D | N, NULL},
	{"a..", D, NULL},
	{"a..\"b\"@x.org", D, NULL},
	{"a..\\b@x.org", D, NULL},
	{"a..b c@x.org", D, NULL},
	{"a..b@x..org", D, NULL},
	{"a..b@c@x.org", D, NULL},
	{"j\xc3\xb6..@b.org", D, NULL},
	{"a b@x.org", 0, NULL},
	{" a@x.org", 0, NULL},
	{"a@x.org ", 0, NULL},
	{"<a@x.org>", 0, NULL},
	{"a@b@x.org", 0, NULL},
	{"\"a\"b@x.org", 0, NULL},
	{"\"a\"\"b\"@x.org", 0, NULL},
	{"\"a\".b@x.org", 0, NULL},
	{"\"a@x.org", 0, NULL},
	{"\"a\\", 0, NULL},
	{"\"a\tb\"@x.org", 0, NULL},
	{"a@x..org", 0, NULL},
	{"a@.x.org", 0, NULL},
	{"a@x.org..", 0, NULL},
	{"a@.", 0, NULL},
	{"a@-x.org", 0, NULL},
	{"a@x-.org", 0, NULL},
	{"a@x,org", 0, NULL},
	{"a@x.org/y", 0, NULL},
	{"a@192.0.2.1", 0, NULL},
	{"a@x.123", 0, NULL},
	{"a@[192.0.2.256]", 0, NULL},
	{"a@[192.0.2.1", 0, NULL},
	{"a@[192.0.2.1].org", 0, NULL},
	{"a@[2001:db8::1]", 0, NULL},
	{"a@[IPv6:192.0.2.1]", 0, NULL},
	{"a@[IPv6:]", 0, NULL},
	{"a@[]", 0, NULL},
	{"a@[x:y]", 0, NULL},
	{"j\xc3\xb6rg@x.org", 0, NULL},
	{"a@b\xc3\xbc.org", 0, NULL},
	{"j\xc3@x.org", U, NULL},
	{"j\xc2\x9b@x.org", U, NULL},
	{"a@b\xc3.org", U, NULL},
	{"a@\xe2\x84\x80.org", U, NULL}, /* maps to "a/c" */
	{"a@b\xef\xbc\xa0"
	 "c.org",
	 U, NULL}, /* a wide "@" */
	{"\"a\\\xc3\xb6\"@x.org", U, NULL},
};

START_TEST(an_address_has_one_spelling_or_is_refused)
{
	struct addr addr = {.text = "untouched"};
	struct addr again;
	const char *wrong = addr_parse(str_of(addresses[_i].text),
				       addresses[_i].flags, &addr);

	if (addresses[_i].result == NULL) {
		ck_assert_msg(wrong != NULL, "'%s' was taken as '%s'",
			      addresses[_i].text, addr.text);
		ck_assert_str_eq(addr.text, "untouched");
		return;
	}
	ck_assert_msg(wrong == NULL, "'%s': %s", addresses[_i].text, wrong);
	ck_assert_str_eq(addr.text, addresses[_i].result);
	ck_assert_uint_eq(addr.local_len + addr.domain_len +
				  (addr.domain_len != 0 ? 1u : 0u),
			  strlen(addr.text));
	/* what was normalised stays as it is */
	ck_assert_ptr_null(
		addr_parse(str_of(addr.text), addresses[_i].flags, &again));
	ck_assert_str_eq(again.text, addr.text);
	ck_assert_int_eq(again.is_utf8, addr.is_utf8);
}
END_TEST

START_TEST(an_address_with_a_nul_is_refused)
{
	struct addr addr;

	ck_assert_ptr_nonnull(
		addr_parse(str_from("a\0b@x.org", 9), U | N, &addr));
	ck_assert_ptr_nonnull(
		addr_parse(str_from("a@x\0.org", 8), U | N, &addr));
	ck_assert_ptr_nonnull(
		addr_parse(str_from("a@\xc3\xbc\0.org", 9), U | N, &addr));
	ck_assert_ptr_nonnull(
		addr_parse(str_from("\"\0\"@x.org", 9), U | N, &addr));
}
END_TEST

START_TEST(lengths_have_limits_that_can_be_reached)
{
	char text[700], domain[300];
	struct addr addr;

	/* 3 labels of 63 and one of 61: 253 */
	memset(domain, 'd', sizeof(domain));
	domain[63] = domain[127] = domain[191] = '.';
	domain[253] = '\0';
	memset(text, 'l', sizeof(text));
	(void)snprintf(text + 64, sizeof(text) - 64, "@%s", domain);
	ck_assert_ptr_null(addr_parse(str_of(text), 0, &addr));
	ck_assert_uint_eq(addr.domain_len, 253);
	(void)snprintf(text + 64, sizeof(text) - 64, "@%sd", domain);
	ck_assert_ptr_nonnull(addr_parse(str_of(text), 0, &addr));

	domain[63] = 'd'; /* a label of 127 */
	(void)snprintf(text + 64, sizeof(text) - 64, "@%s", domain);
	ck_assert_ptr_nonnull(addr_parse(str_of(text), 0, &addr));

	memset(text, 'l', sizeof(text));
	(void)snprintf(text + 256, sizeof(text) - 256, "@x.org");
	ck_assert_ptr_null(addr_parse(str_of(text), 0, &addr));
	(void)snprintf(text + 256, sizeof(text) - 256, "@%.63s", domain);
	ck_assert_ptr_null(addr_parse(str_of(text), 0, &addr));
	ck_assert_uint_eq(strlen(addr.text), ADDR_MAX);
	(void)snprintf(text + 256, sizeof(text) - 256, "@d.%.62s", domain);
	ck_assert_ptr_nonnull(addr_parse(str_of(text), 0, &addr));
	text[256] = 'l';
	(void)snprintf(text + 257, sizeof(text) - 257, "@x.org");
	ck_assert_ptr_nonnull(addr_parse(str_of(text), 0, &addr));

	/* quotes that are put around it count */
	memset(text, '.', sizeof(text));
	text[0] = 'l';
	(void)snprintf(text + 254, sizeof(text) - 254, "@x.org");
	ck_assert_ptr_null(addr_parse(str_of(text), D, &addr));
	ck_assert_uint_eq(addr.local_len, ADDR_LOCAL_LIMIT);
	(void)snprintf(text + 254, sizeof(text) - 254, "@%.63s", domain);
	ck_assert_ptr_null(addr_parse(str_of(text), D, &addr));
	ck_assert_uint_eq(strlen(addr.text), ADDR_MAX);
	text[254] = '.';
	(void)snprintf(text + 255, sizeof(text) - 255, "@x.org");
	ck_assert_ptr_nonnull(addr_parse(str_of(text), D, &addr));
}
END_TEST

START_TEST(parts_of_an_address_can_be_had)
{
	struct addr addr;
	char plain[ADDR_LOCAL_LIMIT + 1], small[3];

	ck_assert_ptr_null(
		addr_parse(str_of("\"a\\\" \\\\b\"@x.org"), 0, &addr));
	ck_assert(str_is(addr_domain(&addr), "x.org"));
	ck_assert(str_is(addr_local(&addr), "\"a\\\" \\\\b\""));
	addr_local_plain(&addr, plain, sizeof(plain));
	ck_assert_str_eq(plain, "a\" \\b");
	addr_local_plain(&addr, small, sizeof(small));
	ck_assert_str_eq(small, "a\"");

	ck_assert_ptr_null(addr_parse(str_of("user"), N, &addr));
	ck_assert_uint_eq(addr_domain(&addr).len, 0);
	ck_assert(addr_qualify(&addr, "x.org"));
	ck_assert_str_eq(addr.text, "user@x.org");
	ck_assert(str_is(addr_domain(&addr), "x.org"));
	ck_assert(addr_qualify(&addr, "y.org"));
	ck_assert_str_eq(addr.text, "user@x.org");
}
END_TEST

START_TEST(the_null_sender_is_never_qualified)
{
	struct addr addr = {.text = ""};

	ck_assert(addr_qualify(&addr, "x.org"));
	ck_assert_str_eq(addr.text, "");
}
END_TEST

START_TEST(qualifying_keeps_to_the_maximum)
{
	char text[ADDR_LOCAL_LIMIT + 1], domain[ADDR_DOMAIN_MAX + 1];
	struct addr addr;

	memset(text, 'l', sizeof(text));
	memset(domain, 'd', sizeof(domain));
	ck_assert_ptr_null(
		addr_parse(str_from(text, ADDR_LOCAL_LIMIT), N, &addr));
	domain[ADDR_MAX - ADDR_LOCAL_LIMIT] = '\0';
	ck_assert(!addr_qualify(&addr, domain));
	ck_assert_uint_eq(addr.domain_len, 0);
	domain[ADDR_MAX - ADDR_LOCAL_LIMIT - 1] = '\0';
	ck_assert(addr_qualify(&addr, domain));
	ck_assert_uint_eq(strlen(addr.text), ADDR_MAX);
}
END_TEST

START_TEST(a_domain_that_does_not_fit_is_refused)
{
	char to[12] = "untouched";

	ck_assert(!addr_normalize_domain(str_of("example.orgs"), to, 12));
	ck_assert_str_eq(to, "untouched");
	ck_assert(addr_normalize_domain(str_of("Example.org"), to, 12));
	ck_assert_str_eq(to, "example.org");
	ck_assert(!addr_normalize_domain(str_from(NULL, 0), to, 12));
}
END_TEST

UNIT_MAIN("addr",
	  tcase_add_loop_test(tc, an_address_has_one_spelling_or_is_refused, 0,
			      (int)COUNT(addresses));
	  tcase_add_test(tc, an_address_with_a_nul_is_refused);
	  tcase_add_test(tc, lengths_have_limits_that_can_be_reached);
	  tcase_add_test(tc, parts_of_an_address_can_be_had);
	  tcase_add_test(tc, the_null_sender_is_never_qualified);
	  tcase_add_test(tc, qualifying_keeps_to_the_maximum);
	  tcase_add_test(tc, a_domain_that_does_not_fit_is_refused);)
