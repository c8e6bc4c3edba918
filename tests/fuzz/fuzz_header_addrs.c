/* SPDX-License-Identifier: ISC */
/* The header of a message that a program hands to sendmail -t. */
#include "tests/fuzz/fuzz.h"

#include "server/header_addrs.h"

struct seen {
	size_t count, bytes;
};

static void
on_address(void *arg, const char *address)
{
	struct seen *seen = arg;

	FUZZ_CHECK(address[0] != '\0');
	FUZZ_CHECK(strpbrk(address, "\r\n") == NULL);
	seen->count++;
	seen->bytes += strlen(address);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = fuzz_copy(data, size);
	struct str text = str_from((const char *)copy, size);
	struct seen in_list = {0}, in_header = {0};

	header_addrs_list(text, on_address, &in_list);
	FUZZ_CHECK(in_list.bytes <= size);
	header_addrs_recipients(text, on_address, &in_header);
	FUZZ_CHECK(in_header.bytes <= size);
	FUZZ_CHECK(in_header.count == 0 || header_addrs_has(text, "To") ||
		   header_addrs_has(text, "Cc") ||
		   header_addrs_has(text, "Bcc") ||
		   header_addrs_has(text, "Resent-To") ||
		   header_addrs_has(text, "Resent-Cc") ||
		   header_addrs_has(text, "Resent-Bcc"));
	free(copy);
	return 0;
}
