/* SPDX-License-Identifier: ISC */
#include "tests/fuzz/fuzz.h"

#include "lib/net/dns_wire.h"

static const uint16_t types[] = {DNS_A,	  DNS_AAAA, DNS_MX,   DNS_CNAME,
				 DNS_PTR, DNS_TXT,  DNS_TLSA, DNS_SOA};

/* What a name in an answer may be made of. */
static void
check_name(const char *name)
{
	FUZZ_CHECK(strlen(name) < DNS_NAME_TEXT_MAX);
	for (; *name != '\0'; name++)
		FUZZ_CHECK(*name > ' ' && *name < 0x7f &&
			   (*name < 'A' || *name > 'Z'));
}

static void
check_answer(const struct dns_answer *answer, uint16_t type)
{
	bool has_answer = answer->kind == DNS_ANSWER_RECORDS ||
			  answer->kind == DNS_ANSWER_NODATA ||
			  answer->kind == DNS_ANSWER_NXDOMAIN;

	FUZZ_CHECK(has_answer == (answer->why == NULL));
	FUZZ_CHECK(has_answer == (answer->canonical != NULL));
	FUZZ_CHECK((answer->kind == DNS_ANSWER_RECORDS) ==
		   (answer->count != 0));
	FUZZ_CHECK(answer->ttl <= INT32_MAX);
	FUZZ_CHECK(!answer->is_stale || answer->ttl == 0);
	if (has_answer)
		check_name(answer->canonical);
	for (size_t i = 0; i < answer->count; i++) {
		const struct dns_record *at = &answer->records[i];

		FUZZ_CHECK(at->ttl <= INT32_MAX);
		FUZZ_CHECK((type == DNS_A || type == DNS_AAAA) ==
			   (at->ip.family != IP_NONE));
		if (at->name != NULL)
			check_name(at->name);
	}
}

/* The first byte chooses the type, the rest is a packet for "a.b". */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dns_answer answer;
	uint8_t *packet;
	uint16_t type;

	if (size == 0)
		return 0;
	type = types[data[0] % (sizeof(types) / sizeof(types[0]))];
	packet = fuzz_copy(data + 1, size - 1);
	dns_wire_answer(packet, size - 1, "a.b", type, &answer);
	check_answer(&answer, type);
	dns_answer_done(&answer);
	free(packet);
	return 0;
}
