/* SPDX-License-Identifier: ISC */
/* Files of lines: tables of policy, and the system's list of DNS servers. */
#include "tests/fuzz/fuzz.h"

#include "lib/net/resolv_conf.h"
#include "policy/tables.h"

static void
check_inside(struct str part, struct str whole)
{
	FUZZ_CHECK(part.len == 0 ||
		   (part.at >= whole.at &&
		    part.at + part.len <= whole.at + whole.len));
}

static void
check_table(struct str text, enum table_kind kind)
{
	struct table_row row;
	struct table table;
	unsigned line = 0;

	table_init(&table, kind, text);
	while (table_next(&table, &row)) {
		struct str rest = row.value, address;
		size_t left = rest.len + 1;

		FUZZ_CHECK(row.line > line);
		line = row.line;
		if (row.problem != NULL)
			continue;
		check_inside(row.key, text);
		check_inside(row.value, text);
		FUZZ_CHECK(memchr(row.key.at != NULL ? row.key.at : "", '\n',
				  row.key.len) == NULL);
		FUZZ_CHECK(row.key.len != 0 || kind == TABLE_ALIASES);
		FUZZ_CHECK(row.value.len == 0 || kind != TABLE_RECIPIENTS);
		while (table_cut_address(&rest, &address)) {
			check_inside(address, row.value);
			FUZZ_CHECK(rest.len < left);
			left = rest.len;
		}
	}
}

static void
check_servers(struct str text)
{
	struct dns_server servers[DNS_SERVERS_MAX];
	char *copy = malloc(text.len + 1);
	size_t count;

	FUZZ_CHECK(copy != NULL);
	memcpy(copy, text.at, text.len);
	copy[text.len] = '\0';
	count = resolv_conf_parse(copy, servers, DNS_SERVERS_MAX);
	FUZZ_CHECK(count > 0 && count <= DNS_SERVERS_MAX);
	for (size_t i = 0; i < count; i++)
		FUZZ_CHECK(servers[i].ip.family != IP_NONE &&
			   servers[i].port != 0);
	free(copy);
}

/* The first byte chooses what it is. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum table_kind kinds[] = {TABLE_RECIPIENTS, TABLE_ALIASES,
						TABLE_SENDERS};
	struct str text;
	uint8_t *copy;

	if (size == 0)
		return 0;
	copy = fuzz_copy(data + 1, size - 1);
	text = str_from((const char *)copy, size - 1);
	if (data[0] % 4 < 3)
		check_table(text, kinds[data[0] % 4]);
	else
		check_servers(text);
	free(copy);
	return 0;
}
