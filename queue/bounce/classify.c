/* SPDX-License-Identifier: ISC */
#include "queue/bounce/classify.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "lib/str.h"
#include "queue/bounce/advice.h"
#include "queue/bounce/category.h"
#include "queue/bounce/normalize.h"
#include "queue/bounce/rules.h"
#include "queue/bounce/rules_builtin.h"

struct classifier {
	atomic_uint refs;
	struct rules *rules;
};

int
classifier_load(const char *own, const char *own_name, const char *shipped,
		const char *shipped_name, struct classifier **out,
		struct err *err)
{
	struct rules *rules = rules_new();
	int rc = 0;

	if (own != NULL)
		rc = rules_add(rules, own, own_name, err);
	if (rc == 0 && shipped != NULL)
		rc = rules_add(rules, shipped, shipped_name, err);
	if (rc != 0) {
		rules_free(rules);
		return rc;
	}
	rules_finish(rules);
	*out = mem_zalloc(sizeof(**out));
	(*out)->rules = rules;
	atomic_init(&(*out)->refs, 1);
	return 0;
}

static struct classifier *builtin;

static void
load_builtin(void)
{
	struct err err = ERR_INIT;

	/* `make check` loads the same text, so this cannot fail in a build
	 * that passed. */
	if (classifier_load(NULL, NULL, rules_builtin_text,
			    "built-in bounces.rules", &builtin, &err) != 0) {
		(void)fprintf(stderr, "%s\n", err.text);
		abort();
	}
}

struct classifier *
classifier_builtin(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	(void)pthread_once(&once, load_builtin); /* fails for no reason */
	return classifier_ref(builtin);
}

struct classifier *
classifier_ref(struct classifier *classifier)
{
	(void)atomic_fetch_add(&classifier->refs, 1); /* old value unused */
	return classifier;
}

void
classifier_unref(struct classifier *classifier)
{
	if (classifier == NULL || atomic_fetch_sub(&classifier->refs, 1) > 1)
		return;
	rules_free(classifier->rules);
	free(classifier);
}

size_t
classifier_rule_count(const struct classifier *classifier)
{
	return rules_count(classifier->rules);
}

/* --- one reply ----------------------------------------------------------- */

static void
put_rule(struct classification *out, enum category category, const char *rule)
{
	out->category = category;
	(void)str_copy(out->rule, sizeof(out->rule), str_of(rule));
}

static void
put_hit(struct classification *out, const struct rules_hit *hit,
	const struct normal *reply)
{
	const struct normal_word *first = &reply->words[hit->words.first];
	const struct normal_word *last = &reply->words[hit->words.behind - 1];

	put_rule(out, hit->category, hit->id);
	out->advice = hit->advice;
	(void)str_copy(out->words, sizeof(out->words),
		       str_from(reply->text + first->at,
				(size_t)(last->at + last->len - first->at)));
}

static bool
classify_enhanced(const struct normal *reply, struct classification *out)
{
	enum category category;
	char rule[CLASSIFY_RULE_MAX + 1];

	if (reply->class == 0 ||
	    !category_by_enhanced(reply->subject, reply->detail, &category))
		return false;
	(void)snprintf(rule, sizeof(rule), "code-%u.%u.%u", reply->class,
		       reply->subject, reply->detail);
	put_rule(out, category, rule);
	return true;
}

/* Without words and codes only the command is left that was answered. */
static bool
classify_phase(enum smtp_phase phase, struct classification *out)
{
	switch (phase) {
	case PHASE_CONNECT:
	case PHASE_GREETING:
	case PHASE_EHLO:
	case PHASE_MAIL:
		put_rule(out, CATEGORY_POLICY_RELATED, "phase-before-rcpt");
		return true;
	case PHASE_RCPT:
		put_rule(out, CATEGORY_BAD_MAILBOX, "phase-rcpt");
		return true;
	case PHASE_BODY:
		put_rule(out, CATEGORY_CONTENT_RELATED, "phase-body");
		return true;
	case PHASE_AUTH:
		put_rule(out, CATEGORY_RELAYING_ISSUES, "phase-auth");
		return true;
	case PHASE_STARTTLS:
	case PHASE_TLS:
		put_rule(out, CATEGORY_BAD_CONFIGURATION, "phase-tls");
		return true;
	case PHASE_NONE:
	case PHASE_DNS:
	case PHASE_DATA:
	case PHASE_LOCAL:
		return false;
	}
	return false;
}

/* 550 and 553 speak of the mailbox, but only once it was named. */
static bool
code_fits_phase(unsigned code, enum smtp_phase phase)
{
	if (code != 550 && code != 553)
		return true;
	return phase == PHASE_NONE || phase == PHASE_RCPT ||
	       phase == PHASE_BODY;
}

static void
classify_codes(const struct normal *reply, enum smtp_phase phase,
	       struct classification *out)
{
	enum category category;
	char rule[CLASSIFY_RULE_MAX + 1];
	bool is_vague;

	if (classify_enhanced(reply, out) && out->category != CATEGORY_OTHER)
		return;
	is_vague = reply->class == 0 ||
		   (reply->subject == 0 && reply->detail == 0);
	if (is_vague && code_fits_phase(reply->code, phase) &&
	    category_by_code(reply->code, &category)) {
		(void)snprintf(rule, sizeof(rule), "code-%u", reply->code);
		put_rule(out, category, rule);
		return;
	}
	/* A temporary failure without a reason is no verdict on anything. */
	if (is_vague && reply->code >= 500 && classify_phase(phase, out))
		return;
	if (out->rule[0] == '\0')
		put_rule(out, CATEGORY_OTHER, "none");
}

static bool
is_number_byte(char c)
{
	return c >= '0' && c <= '9';
}

/* "10 MB", "20000000": the first size behind one of the words. */
static void
find_size(const char *reply, struct classification *out)
{
	static const char *const words[] = {"limit",	   "maximum",
					    "max",	   "exceed",
					    "larger than", "bigger than"};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		const char *at = strcasestr(reply, words[i]);
		size_t len = 0;

		if (at == NULL)
			continue;
		while (*at != '\0' && !is_number_byte(*at))
			at++;
		while (is_number_byte(at[len]))
			len++;
		if (at[len] == ' ' && len != 0)
			len++;
		while ((at[len] >= 'A' && at[len] <= 'Z') ||
		       (at[len] >= 'a' && at[len] <= 'z'))
			len++;
		if (len < 3)
			continue;
		(void)str_copy(out->detail, sizeof(out->detail),
			       str_trim(str_from(at, len)));
		/* "20000000 of" */
		len = strlen(out->detail);
		if (!strchr("kKmMgGbB", out->detail[len - 1]) ||
		    strchr(out->detail, ' ') != NULL) {
			char *space = strchr(out->detail, ' ');

			if (space != NULL &&
			    strchr("kKmMgGbB", space[1]) == NULL)
				*space = '\0';
		}
		return;
	}
}

/* The host that the deciding words stand nearest to, in front of it or
 * behind: the list's. */
static void
find_list(const struct normal *reply, struct classification *out)
{
	for (size_t i = reply->inner; i < reply->count; i++) {
		const struct normal_word *word = &reply->words[i];

		if (word->kind != NORMAL_HOST && word->kind != NORMAL_URL)
			continue;
		(void)str_copy(out->detail, sizeof(out->detail),
			       str_from(reply->text + word->at, word->len));
		/* A list named in the text beats the page that explains it. */
		if (word->kind == NORMAL_HOST)
			return;
	}
}

static void
find_detail(const char *text, const struct normal *reply,
	    struct classification *out)
{
	if (out->advice == NULL)
		return;
	if (strcmp(out->advice, "message-too-big") == 0)
		find_size(text, out);
	else if (strcmp(out->advice, "blocklisted") == 0)
		find_list(reply, out);
}

static void
classify_text(const struct classifier *classifier, const char *reply,
	      const struct rules_facts *facts, struct classification *out)
{
	struct normal normal;
	struct rules_result result;
	struct rules_facts known = *facts;

	memset(out, 0, sizeof(*out));
	normal_reply(reply, &normal);
	if (known.phase == PHASE_NONE)
		known.phase = normal.quoted_phase;
	rules_apply(classifier->rules, &normal, &known, &result);
	if (result.has_inner)
		put_hit(out, &result.inner, &normal);
	else if (normal.inner != 0 && classify_enhanced(&normal, out) &&
		 out->category != CATEGORY_OTHER)
		return;
	else if (result.has_any)
		put_hit(out, &result.any, &normal);
	else
		classify_codes(&normal, known.phase, out);
	find_detail(reply, &normal, out);
}

void
classify_reply(const struct classifier *classifier, const char *reply,
	       enum smtp_phase phase, struct classification *out)
{
	struct rules_facts facts = {.phase = phase, .host = ""};

	classify_text(classifier, reply, &facts, out);
}

/* --- an outcome ---------------------------------------------------------- */

static const struct {
	enum cause cause;
	const char *advice;
} cause_advice[] = {
	{CAUSE_AUTH_NOT_OFFERED, "our-login"},
	{CAUSE_AUTH_FAILED, "our-login"},
	{CAUSE_CONFIGURATION, "our-configuration"},
	{CAUSE_DANE_LOOKUP, "dane"},
	{CAUSE_DANE_FAILED, "dane"},
	{CAUSE_DNS_BOGUS, "dns-failed"},
	{CAUSE_DNS_FAILED, "dns-failed"},
	{CAUSE_DNS_NULL_MX, "null-mx"},
	{CAUSE_HOST_BUSY, "rate-limited"},
	{CAUSE_LOCAL_QUOTA, "mailbox-full"},
	{CAUSE_LOOP, "mail-loop"},
	{CAUSE_NO_SMTPUTF8, "no-smtputf8"},
	{CAUSE_SELF_IN_MX, "leads-here"},
	{CAUSE_STS_FAILED, "sts"},
	{CAUSE_TLS_FAILED, "tls-failed"},
	{CAUSE_TLS_POLICY, "tls-policy"},
	{CAUSE_TLS_REQUIRED, "tls-required"},
	{CAUSE_TOO_BIG, "message-too-big"},
	{CAUSE_OPERATOR, "operator"},
};

static void
classify_cause(const struct outcome *outcome, struct classification *out)
{
	memset(out, 0, sizeof(*out));
	out->category = category_by_cause(outcome->cause);
	(void)snprintf(out->rule, sizeof(out->rule), "cause-%s",
		       cause_name(outcome->cause));
	for (size_t i = 0; i < sizeof(cause_advice) / sizeof(cause_advice[0]);
	     i++)
		if (cause_advice[i].cause == outcome->cause)
			out->advice = advice_id(str_of(cause_advice[i].advice));
	if (outcome->cause == CAUSE_TOO_BIG)
		find_size(outcome->status.text, out);
}

void
classify_outcome(const struct classifier *classifier,
		 const struct outcome *outcome, struct classification *out)
{
	struct rules_facts facts = {.phase = outcome->phase,
				    .host = outcome->host};
	char text[STATUS_TEXT_MAX + 32];
	char enhanced[12];

	if (outcome->cause != CAUSE_REPLY) {
		classify_cause(outcome, out);
		return;
	}
	if (outcome->reply[0] != '\0') {
		classify_text(classifier, outcome->reply, &facts, out);
		return;
	}
	(void)snprintf(text, sizeof(text), "%u %s %s", outcome->status.code,
		       status_enhanced(&outcome->status, enhanced),
		       outcome->status.text);
	classify_text(classifier, text, &facts, out);
}
