/* SPDX-License-Identifier: ISC */
#include "tests/fuzz/fuzz.h"

#include "lib/wire/proxy.h"

static enum proxy_result
run(const uint8_t *data, size_t size, struct proxy_header *out, size_t *used)
{
	uint8_t *copy = fuzz_copy(data, size);
	enum proxy_result result = proxy_parse(copy, size, out, used);

	free(copy);
	return result;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct proxy_header whole, part;
	size_t used = 0, part_used = 0;
	enum proxy_result result = run(data, size, &whole, &used);
	bool is_decided = false;
	uint32_t seed = (uint32_t)size;

	if (result == PROXY_DONE) {
		FUZZ_CHECK(used <= size && used <= PROXY_HEADER_MAX);
		FUZZ_CHECK((whole.client.family == IP_NONE) ==
			   (whole.server.family == IP_NONE));
	}
	FUZZ_CHECK(result != PROXY_NEED_MORE || size < PROXY_HEADER_MAX);
	/* undecided up to some byte, then always the same */
	for (size_t len = 0; len <= size && len <= 600; len++) {
		/* a copy shows what reads past its end, but takes time */
		enum proxy_result now =
			fuzz_piece(&seed, 8) == 1
				? run(data, len, &part, &part_used)
				: proxy_parse(data, len, &part, &part_used);

		if (now == PROXY_NEED_MORE) {
			FUZZ_CHECK(!is_decided);
			continue;
		}
		is_decided = true;
		FUZZ_CHECK(now == result);
		FUZZ_CHECK(now != PROXY_DONE || part_used == used);
		FUZZ_CHECK(now != PROXY_DONE ||
			   ip_equal(&part.client, &whole.client));
	}
	return 0;
}
