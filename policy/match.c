/* SPDX-License-Identifier: ISC */
#include "policy/match.h"

#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "policy/policy.h"

char *
match_local(const struct addr *addr, char to[MATCH_LOCAL_SIZE])
{
	addr_local_plain(addr, to, MATCH_LOCAL_SIZE);
	str_lower_all(to);
	return to;
}

bool
match_cut(char *local, const char *delimiter)
{
	char *found;

	if (delimiter[0] == '\0' || local[0] == '\0')
		return false;
	found = strchr(local + 1, delimiter[0]);
	if (found == NULL)
		return false;
	*found = '\0';
	return true;
}

bool
match_is_postmaster(const struct addr *addr)
{
	char local[MATCH_LOCAL_SIZE];

	return strcmp(match_local(addr, local), "postmaster") == 0;
}

bool
match_is_source_route(const struct addr *addr)
{
	static const char *const marks[] = {
		"%",
		"!",
		"@",
		/* their full-width forms, which NFKC folds to the above */
		"\xef\xbc\x85",
		"\xef\xbc\x81",
		"\xef\xbc\xa0",
	};
	char local[MATCH_LOCAL_SIZE];

	(void)match_local(addr, local);
	for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++)
		if (strstr(local, marks[i]) != NULL)
			return true;
	return false;
}

bool
match_same(const struct addr *a, const struct addr *b)
{
	char local_a[MATCH_LOCAL_SIZE], local_b[MATCH_LOCAL_SIZE];

	return str_equal_nocase(addr_domain(a), addr_domain(b)) &&
	       strcmp(match_local(a, local_a), match_local(b, local_b)) == 0;
}

bool
policy_mailbox_name(const struct addr *recipient, const char *delimiter,
		    char *to, size_t size)
{
	char local[MATCH_LOCAL_SIZE];
	size_t len;

	len = strlen(match_local(recipient, local));
	if (len == 0 || len > ADDR_LOCAL_MAX || local[0] == '.')
		return false;
	for (size_t i = 0; i < len; i++)
		if (local[i] == '/' || (unsigned char)local[i] < ' ' ||
		    local[i] == 0x7f)
			return false;
	(void)match_cut(local, delimiter);
	return str_copy(to, size, str_of(local));
}

/* ---------------------------------------------------------------- names */

static int
names_compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

void
names_add(struct names *names, const char *text)
{
	names->at = mem_append(names->at, names->count, sizeof(names->at[0]));
	names->at[names->count++] = mem_strdup(text);
}

void
names_sort(struct names *names)
{
	size_t kept = 0;

	if (names->count == 0)
		return;
	qsort(names->at, names->count, sizeof(names->at[0]), names_compare);
	for (size_t i = 1; i < names->count; i++) {
		if (strcmp(names->at[i], names->at[kept]) == 0)
			free(names->at[i]);
		else
			names->at[++kept] = names->at[i];
	}
	names->count = kept + 1;
}

bool
names_has(const struct names *names, const char *text)
{
	return names->count != 0 &&
	       bsearch(&text, names->at, names->count, sizeof(names->at[0]),
		       names_compare) != NULL;
}

void
names_done(struct names *names)
{
	for (size_t i = 0; i < names->count; i++)
		free(names->at[i]);
	free(names->at);
	memset(names, 0, sizeof(*names));
}
