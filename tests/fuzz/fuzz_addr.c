/* SPDX-License-Identifier: ISC */
#include "tests/fuzz/fuzz.h"

#include "lib/addr.h"

static void
check_parts(const struct addr *addr)
{
	char plain[ADDR_LOCAL_LIMIT + 1];
	struct str local = addr_local(addr), domain = addr_domain(addr);
	struct addr qualified = *addr;

	FUZZ_CHECK(local.len != 0 && local.len <= ADDR_LOCAL_LIMIT);
	FUZZ_CHECK(domain.len <= ADDR_DOMAIN_MAX);
	FUZZ_CHECK(str_is_ascii(domain));
	FUZZ_CHECK(addr->is_utf8 == !str_is_ascii(local));
	FUZZ_CHECK(str_is_utf8(str_of(addr->text)));
	FUZZ_CHECK(strlen(addr->text) ==
		   local.len + (domain.len != 0 ? domain.len + 1 : 0));
	for (const char *c = addr->text; *c != '\0'; c++)
		FUZZ_CHECK((unsigned char)*c >= ' ' && *c != 0x7f);
	addr_local_plain(addr, plain, sizeof(plain));
	FUZZ_CHECK(strlen(plain) <= local.len);
	if (addr_qualify(&qualified, "example.org") && domain.len == 0)
		FUZZ_CHECK(str_is(addr_domain(&qualified), "example.org"));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char domain[ADDR_DOMAIN_MAX + 1], again[ADDR_DOMAIN_MAX + 1];
	struct addr addr, second;
	struct str text;
	unsigned flags;

	if (size == 0)
		return 0;
	flags = data[0] &
		(ADDR_ALLOW_UTF8 | ADDR_ALLOW_NO_DOMAIN | ADDR_QUOTE_DOTS);
	text = str_from((const char *)data + 1, size - 1);

	if (addr_normalize_domain(text, domain, sizeof(domain))) {
		FUZZ_CHECK(addr_normalize_domain(str_of(domain), again,
						 sizeof(again)));
		FUZZ_CHECK(strcmp(domain, again) == 0);
	}
	if (addr_parse(text, flags, &addr) != NULL)
		return 0;
	check_parts(&addr);
	FUZZ_CHECK(addr_parse(str_of(addr.text), flags, &second) == NULL);
	FUZZ_CHECK(strcmp(addr.text, second.text) == 0);
	FUZZ_CHECK(addr.local_len == second.local_len);
	FUZZ_CHECK(addr.domain_len == second.domain_len);
	return 0;
}
