/* SPDX-License-Identifier: ISC */
/*
 * The texts of MTA-STS: a policy from a web server, a TXT record, and the
 * file that outlives a restart.
 */
#include "tests/fuzz/fuzz.h"

#include "lib/addr.h"
#include "queue/route/sts_policy.h"

static void
check_policy(const struct sts_policy *policy)
{
	FUZZ_CHECK(policy->refs == 1);
	FUZZ_CHECK(policy->mode == STS_NONE || policy->mode == STS_TESTING ||
		   policy->mode == STS_ENFORCE);
	FUZZ_CHECK(policy->max_age_s <= STS_MAX_AGE_MAX);
	FUZZ_CHECK(policy->mx_count <= STS_MX_MAX);
	FUZZ_CHECK(policy->mode == STS_NONE || policy->mx_count != 0);
	FUZZ_CHECK(sts_policy_ends_s(policy) >= policy->fetched_s);
	for (size_t i = 0; i < policy->mx_count; i++) {
		const char *mx = policy->mx[i];

		FUZZ_CHECK(mx[0] != '\0' && strpbrk(mx, " \t\r\n") == NULL);
		FUZZ_CHECK(sts_policy_names(policy, mx) || mx[0] == '*');
	}
}

/* What was kept is what is read again. */
static void
check_kept(const struct sts_policy *policy, const char *name)
{
	char again_name[ADDR_DOMAIN_MAX + 1];
	struct sts_policy *again;
	struct buf out, out2;
	struct str text;

	buf_init(&out, 1u << 20);
	buf_init(&out2, 1u << 20);
	sts_policy_format(policy, name, &out);
	text = str_of(buf_text(&out));
	FUZZ_CHECK(
		sts_policy_next(&text, again_name, sizeof(again_name), &again));
	FUZZ_CHECK(again != NULL && strcmp(again_name, name) == 0);
	check_policy(again);
	sts_policy_format(again, again_name, &out2);
	sts_policy_unref(again);
	FUZZ_CHECK(strcmp(buf_text(&out), buf_text(&out2)) == 0);
	FUZZ_CHECK(!sts_policy_next(&text, again_name, sizeof(again_name),
				    &again));
	buf_done(&out);
	buf_done(&out2);
}

static void
check_body(struct str text)
{
	struct sts_policy *policy = NULL;
	const char *why = sts_policy_parse(text, &policy);

	FUZZ_CHECK((why == NULL) == (policy != NULL));
	if (policy == NULL)
		return;
	check_policy(policy);
	memcpy(policy->id, "1", 2);
	check_kept(policy, "a.example");
	sts_policy_unref(policy);
}

static void
check_record(struct str text)
{
	char id[STS_ID_MAX + 1];

	if (!sts_record_parse(text, id))
		return;
	FUZZ_CHECK(id[0] != '\0' && strlen(id) <= STS_ID_MAX);
	for (const char *at = id; *at != '\0'; at++)
		FUZZ_CHECK(strchr("0123456789abcdefghijklmnopqrstuvwxyz"
				  "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
				  *at) != NULL);
}

static void
check_file(struct str text)
{
	char name[ADDR_DOMAIN_MAX + 1];
	struct sts_policy *policy;
	size_t left = text.len + 1;

	while (sts_policy_next(&text, name, sizeof(name), &policy)) {
		FUZZ_CHECK(text.len < left); /* it ends */
		left = text.len;
		if (policy == NULL)
			continue;
		check_policy(policy);
		check_kept(policy, name);
		sts_policy_unref(policy);
	}
}

/* The first byte chooses what it is. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str text;
	uint8_t *copy;

	if (size == 0)
		return 0;
	copy = fuzz_copy(data + 1, size - 1);
	text = str_from((const char *)copy, size - 1);
	if (data[0] % 3 == 0)
		check_body(text);
	else if (data[0] % 3 == 1)
		check_record(text);
	else
		check_file(text);
	free(copy);
	return 0;
}
