/* SPDX-License-Identifier: ISC */
#include "queue/route/sts_policy.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/addr.h"
#include "lib/mem.h"
#include "lib/net/dns_wire.h"

static const char *const modes[] = {
	[STS_NONE] = "none",
	[STS_TESTING] = "testing",
	[STS_ENFORCE] = "enforce",
};

const char *
sts_mode_name(enum sts_mode mode)
{
	return modes[mode];
}

struct sts_policy *
sts_policy_ref(struct sts_policy *policy)
{
	policy->refs++;
	return policy;
}

void
sts_policy_unref(struct sts_policy *policy)
{
	if (policy == NULL)
		return;
	assert(policy->refs != 0);
	if (--policy->refs != 0)
		return;
	for (size_t i = 0; i < policy->mx_count; i++)
		free(policy->mx[i]);
	free(policy->mx);
	free(policy);
}

/* ----------------------------------------------------------------- a policy */

/* What was seen of the fields that must be there once. */
struct fields {
	bool has_version, has_mode, has_max_age;
};

/* sts-mx = sts-mx-value = [ "*." ] domain */
static const char *
add_mx(struct sts_policy *policy, struct str value)
{
	char name[ADDR_DOMAIN_MAX + 3] = "*.";
	bool is_wild = str_starts_nocase(value, "*.");
	size_t at = is_wild ? 2 : 0;

	value.at += at;
	value.len -= at;
	if (policy->mx_count == STS_MX_MAX)
		return "too many mx lines";
	if (!addr_normalize_domain(value, name + at, ADDR_DOMAIN_MAX + 1) ||
	    !dns_is_host_name(name + at))
		return "an mx line that names no host";
	policy->mx =
		mem_append(policy->mx, policy->mx_count, sizeof(policy->mx[0]));
	policy->mx[policy->mx_count++] = mem_strdup(name);
	return NULL;
}

/* RFC 8461, 3.2: of a field given twice the first one counts, but for mx;
 * fields that we do not know are extensions. */
static const char *
take_field(struct sts_policy *policy, struct fields *fields, struct str key,
	   struct str value)
{
	if (str_is(key, "version") && !fields->has_version) {
		fields->has_version = true;
		return str_is(value, "STSv1") ? NULL : "an unknown version";
	}
	if (str_is(key, "mode") && !fields->has_mode) {
		for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
			if (!str_is(value, modes[i]))
				continue;
			policy->mode = (enum sts_mode)i;
			fields->has_mode = true;
			return NULL;
		}
		return "an unknown mode";
	}
	if (str_is(key, "max_age") && !fields->has_max_age) {
		fields->has_max_age = true;
		return str_u64(value, STS_MAX_AGE_MAX, &policy->max_age_s)
			       ? NULL
			       : "a max_age that is no number of seconds "
				 "within a year";
	}
	if (str_is(key, "mx"))
		return add_mx(policy, value);
	return NULL;
}

static const char *
check_fields(const struct sts_policy *policy, const struct fields *fields)
{
	if (!fields->has_version)
		return "no version";
	if (!fields->has_mode)
		return "no mode";
	if (!fields->has_max_age)
		return "no max_age";
	if (policy->mode != STS_NONE && policy->mx_count == 0)
		return "no mx line";
	return NULL;
}

const char *
sts_policy_parse(struct str text, struct sts_policy **out)
{
	struct sts_policy *policy = mem_zalloc(sizeof(*policy));
	struct fields fields = {false, false, false};
	const char *wrong = NULL;
	struct str line, key;

	policy->refs = 1;
	if (text.len > STS_TEXT_MAX)
		wrong = "more than 64 KiB";
	while (wrong == NULL && str_cut(&text, '\n', &line)) {
		if (line.len != 0 && line.at[line.len - 1] == '\r')
			line.len--;
		line = str_trim(line);
		if (line.len == 0)
			continue;
		if (memchr(line.at, ':', line.len) == NULL ||
		    !str_cut(&line, ':', &key) || key.len == 0)
			wrong = "a line that is no \"name: value\"";
		else
			wrong = take_field(policy, &fields, str_trim(key),
					   str_trim(line));
	}
	if (wrong == NULL)
		wrong = check_fields(policy, &fields);
	if (wrong != NULL)
		sts_policy_unref(policy);
	else
		*out = policy;
	return wrong;
}

bool
sts_policy_names(const struct sts_policy *policy, const char *host)
{
	const char *parent = strchr(host, '.');

	for (size_t i = 0; i < policy->mx_count; i++) {
		const char *mx = policy->mx[i];

		/* the star is one label, no more and no less */
		if (mx[0] == '*' ? parent != NULL && parent != host &&
					   strcmp(parent, mx + 1) == 0
				 : strcmp(host, mx) == 0)
			return true;
	}
	return false;
}

uint64_t
sts_policy_ends_s(const struct sts_policy *policy)
{
	return policy->fetched_s + policy->max_age_s;
}

/* ----------------------------------------------------------------- a record */

static bool
is_id(struct str value)
{
	if (value.len == 0 || value.len > STS_ID_MAX)
		return false;
	for (size_t i = 0; i < value.len; i++)
		if (!(value.at[i] >= '0' && value.at[i] <= '9') &&
		    !(value.at[i] >= 'a' && value.at[i] <= 'z') &&
		    !(value.at[i] >= 'A' && value.at[i] <= 'Z'))
			return false;
	return true;
}

/* sts-text-record = "v=STSv1" 1*(";" field), one of which is id */
bool
sts_record_parse(struct str record, char id[STS_ID_MAX + 1])
{
	struct str field, key;

	if (!str_cut(&record, ';', &field) ||
	    !str_is(str_trim(field), "v=STSv1"))
		return false;
	while (str_cut(&record, ';', &field)) {
		if (!str_cut(&field, '=', &key) || !str_is(str_trim(key), "id"))
			continue;
		field = str_trim(field);
		if (!is_id(field))
			return false;
		return str_copy(id, STS_ID_MAX + 1, field);
	}
	return false;
}

/* ------------------------------------------------------------------ storage */

void
sts_policy_format(const struct sts_policy *policy, const char *domain,
		  struct buf *out)
{
	(void)buf_addf(out,
		       "domain: %s\nid: %s\nfetched: %" PRIu64
		       "\nversion: STSv1\nmode: %s\nmax_age: %" PRIu64 "\n",
		       domain, policy->id, policy->fetched_s,
		       modes[policy->mode], policy->max_age_s);
	for (size_t i = 0; i < policy->mx_count; i++)
		(void)buf_addf(out, "mx: %s\n", policy->mx[i]);
	(void)buf_adds(out, "\n");
}

/* Lines up to an empty one. */
static struct str
cut_block(struct str *text)
{
	const char *end;
	struct str block;

	while (text->len != 0 && text->at[0] == '\n') {
		text->at++;
		text->len--;
	}
	block = *text;
	end = text->len != 0 ? memmem(text->at, text->len, "\n\n", 2) : NULL;
	if (end != NULL)
		block.len = (size_t)(end - text->at) + 1;
	text->at += block.len;
	text->len -= block.len;
	return block;
}

bool
sts_policy_next(struct str *text, char *domain, size_t size,
		struct sts_policy **out)
{
	struct str block = cut_block(text), rest = block, line, key;
	char id[STS_ID_MAX + 1] = "";
	uint64_t fetched_s = 0;

	*out = NULL;
	if (block.len == 0)
		return false;
	domain[0] = '\0';
	while (str_cut(&rest, '\n', &line)) {
		if (!str_cut(&line, ':', &key))
			continue;
		line = str_trim(line);
		if (str_is(key, "domain") &&
		    !addr_normalize_domain(line, domain, size))
			return true;
		if (str_is(key, "id") && !is_id(line))
			return true;
		if (str_is(key, "id"))
			(void)str_copy(id, sizeof(id), line);
		if (str_is(key, "fetched") &&
		    !str_u64(line, UINT32_MAX * UINT64_C(1000), &fetched_s))
			return true;
	}
	if (domain[0] == '\0' || id[0] == '\0' ||
	    sts_policy_parse(block, out) != NULL)
		return true;
	(void)str_copy((*out)->id, sizeof((*out)->id), str_of(id));
	(*out)->fetched_s = fetched_s;
	return true;
}
