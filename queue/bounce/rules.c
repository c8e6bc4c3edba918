/* SPDX-License-Identifier: ISC */
#include "queue/bounce/rules.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "lib/str.h"
#include "queue/bounce/rules_parts.h"

struct rules *
rules_new(void)
{
	struct rules *rules = mem_zalloc(sizeof(*rules));

	rules->phrases = phrases_new();
	return rules;
}

void
rules_free(struct rules *rules)
{
	if (rules == NULL)
		return;
	for (size_t i = 0; i < rules->count; i++)
		free(rules->rules[i].id);
	free(rules->rules);
	free(rules->conditions);
	free(rules->meanings);
	phrases_free(rules->phrases);
	free(rules);
}

size_t
rules_count(const struct rules *rules)
{
	return rules->count;
}

void
rules_finish(struct rules *rules)
{
	phrases_finish(rules->phrases);
}

/* --- asking -------------------------------------------------------------- */

static bool
mask_fits(const char *mask, const char *text)
{
	return strcmp(mask, "x") == 0 || strcmp(mask, text) == 0;
}

static bool
status_fits(const char *mask, const struct normal *reply)
{
	unsigned got[3] = {reply->class, reply->subject, reply->detail};
	struct str rest = str_of(mask), field;
	char want[4], have[12];

	if (reply->class == 0)
		return false;
	for (size_t i = 0; i < 3 && str_cut(&rest, '.', &field); i++) {
		(void)str_copy(want, sizeof(want), field); /* was checked */
		(void)snprintf(have, sizeof(have), "%u", got[i]);
		if (!mask_fits(want, have))
			return false;
	}
	return true;
}

static bool
condition_fits(const struct condition *condition, const struct normal *reply,
	       const struct rules_facts *facts)
{
	char code[12];

	switch (condition->kind) {
	case CONDITION_CODE:
		if (reply->code == 0)
			return false;
		(void)snprintf(code, sizeof(code), "%u", reply->code);
		for (size_t i = 0; i < 3; i++)
			if (condition->text[i] != 'x' &&
			    condition->text[i] != code[i])
				return false;
		return true;
	case CONDITION_STATUS:
		return status_fits(condition->text, reply);
	case CONDITION_PHASE:
		return facts->phase == condition->phase;
	case CONDITION_HOST: {
		struct str host = str_of(facts->host);
		struct str want = str_of(condition->text);

		return str_ends_nocase(host, want) &&
		       (host.len == want.len ||
			host.at[host.len - want.len - 1] == '.');
	}
	}
	return false;
}

static bool
conditions_fit(const struct rules *rules, const struct rule *rule,
	       const struct normal *reply, const struct rules_facts *facts)
{
	unsigned asked = 0, met = 0; /* a bit per kind */

	for (size_t i = 0; i < rule->condition_count; i++) {
		const struct condition *condition =
			&rules->conditions[rule->first_condition + i];
		bool fits = condition_fits(condition, reply, facts);

		if (condition->is_not) {
			if (fits)
				return false;
			continue;
		}
		asked |= 1u << condition->kind;
		if (fits)
			met |= 1u << condition->kind;
	}
	return asked == met;
}

struct found {
	const struct rules *rules;
	size_t inner; /* where the quotation begins */
	/* per rule: parts found, in all of the text and in the quotation */
	uint8_t any[RULES_LINES_MAX], in[RULES_LINES_MAX];
	uint8_t not_any[RULES_LINES_MAX], not_in[RULES_LINES_MAX];
	struct phrases_span span[RULES_LINES_MAX], span_in[RULES_LINES_MAX];
};

static void
on_sequence(void *arg, unsigned sequence, struct phrases_span span)
{
	struct found *found = arg;
	const struct meaning *meaning = &found->rules->meanings[sequence];
	uint32_t rule = meaning->rule;

	if (meaning->is_not) {
		found->not_any[rule] = 1;
		found->not_in[rule] |= span.first >= found->inner;
		return;
	}
	if (found->any[rule] == 0)
		found->span[rule] = span;
	found->any[rule] |= meaning->part;
	if (span.first < found->inner)
		return;
	if (found->in[rule] == 0)
		found->span_in[rule] = span;
	found->in[rule] |= meaning->part;
}

void
rules_apply(const struct rules *rules, const struct normal *reply,
	    const struct rules_facts *facts, struct rules_result *out)
{
	struct found found;

	found.rules = rules;
	found.inner = reply->inner;
	memset(found.any, 0, rules->count);
	memset(found.in, 0, rules->count);
	memset(found.not_any, 0, rules->count);
	memset(found.not_in, 0, rules->count);
	phrases_run(rules->phrases, reply, on_sequence, &found);

	out->has_inner = false;
	out->has_any = false;
	for (size_t i = 0; i < rules->count && !out->has_inner; i++) {
		const struct rule *rule = &rules->rules[i];
		struct rules_hit hit = {.category = rule->category,
					.id = rule->id,
					.advice = rule->advice};
		bool any = found.any[i] == rule->needed && !found.not_any[i];
		bool in = (found.in[i] == rule->needed && !found.not_in[i]) ||
			  (any && rule->is_whole);

		if ((!any && !in) || !conditions_fit(rules, rule, reply, facts))
			continue;
		if (any && !out->has_any) {
			out->has_any = true;
			out->any = hit;
			out->any.words = found.span[i];
		}
		if (in) {
			out->has_inner = true;
			out->inner = hit;
			out->inner.words = found.in[i] == rule->needed
						   ? found.span_in[i]
						   : found.span[i];
		}
	}
}
