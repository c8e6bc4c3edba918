/* SPDX-License-Identifier: ISC */
/*
 * What programs print that we run: a token_command, ostler-fetch, and the tool
 * that lists a sasldb.
 */
#include "tests/fuzz/fuzz.h"

#include "auth/auth_users.h"
#include "lib/mem.h"
#include "lib/net/https.h"
#include "queue/deliver/token.h"

static void
check_inside(struct str part, struct str whole)
{
	FUZZ_CHECK(part.len == 0 ||
		   (part.at >= whole.at &&
		    part.at + part.len <= whole.at + whole.len));
}

static void
check_token(struct str said)
{
	uint64_t life_ms = UINT64_MAX;
	char *token = token_answer(said, &life_ms);

	if (token == NULL)
		return;
	FUZZ_CHECK(token[0] != '\0' && strlen(token) <= said.len);
	FUZZ_CHECK(life_ms < UINT64_C(400) * 86400 * 1000);
	/* it becomes a part of what is said to a server */
	for (const char *at = token; *at != '\0'; at++)
		FUZZ_CHECK(*at > ' ' && *at <= '~');
	mem_free_secret(token);
}

static void
check_document(struct str said)
{
	struct https_said got;

	if (!https_said(said, &got))
		return;
	check_inside(got.text, said);
	check_inside(got.body, said);
	FUZZ_CHECK(got.text.len + got.body.len < said.len);
	FUZZ_CHECK(got.text.len == 0 ||
		   memchr(got.text.at, '\n', got.text.len) == NULL);
}

static void
check_logins(struct str said)
{
	struct str line, name;

	while (str_cut(&said, '\n', &line)) {
		if (!auth_users_name("ostler", line, &name))
			continue;
		check_inside(name, line);
		FUZZ_CHECK(name.len < line.len);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = fuzz_copy(data, size);
	struct str said = str_from((const char *)copy, size);

	check_token(said);
	check_document(said);
	check_logins(said);
	free(copy);
	return 0;
}
