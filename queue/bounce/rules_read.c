/* SPDX-License-Identifier: ISC */
/* From a file of rules to struct rules; the language is described at the top
 * of etc/bounces.rules. */
#include "queue/bounce/rules.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/mem.h"
#include "lib/str.h"
#include "queue/bounce/advice.h"
#include "queue/bounce/rules_parts.h"

#define PARTS_MAX      7   /* of one rule, joined by & and ! */
#define CHOICE_MAX     256 /* of one element */
#define MACROS_MAX     128
#define CONDITIONS_MAX 16
#define GAP_NEAR       1
#define GAP_FAR	       4

struct macro {
	char *name;
	int *phrases; /* owns */
	size_t count;
};

/* The names of one file: each has its own. */
struct macros {
	struct macro at[MACROS_MAX];
	size_t count;
};

/* A line being read. */
struct reader {
	struct rules *rules;
	struct macros *macros;
	const char *name;
	unsigned line;
	struct err *err;
};

static void
macros_done(struct macros *macros)
{
	for (size_t i = 0; i < macros->count; i++) {
		free(macros->at[i].name);
		free(macros->at[i].phrases);
	}
}

static int __attribute__((format(printf, 2, 3)))
complain(const struct reader *r, const char *format, ...)
{
	char what[256];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	return err_text(r->err, -EINVAL, "%s:%u: %s", r->name, r->line, what);
}

/* The next token of a pattern: a word, or one of ( ) | & ! */
static bool
next_token(struct str *rest, struct str *out)
{
	size_t len = 0;

	*rest = str_trim(*rest);
	if (rest->len == 0)
		return false;
	while (len < rest->len && strchr(" \t()|&!", rest->at[len]) == NULL)
		len++;
	if (len == 0)
		len = 1;
	*out = str_from(rest->at, len);
	*rest = str_from(rest->at + len, rest->len - len);
	return true;
}

static const struct macro *
find_macro(const struct macros *macros, struct str name)
{
	for (size_t i = 0; i < macros->count; i++)
		if (str_is(name, macros->at[i].name))
			return &macros->at[i];
	return NULL;
}

/* Phrases of an element under construction. */
struct element {
	int phrases[CHOICE_MAX];
	size_t count;
	struct normal words; /* of the phrase being read */
	bool is_prefix[PHRASES_PHRASE_MAX];
};

static int
add_word(const struct reader *r, struct element *e, struct str token)
{
	struct normal piece;
	bool is_prefix = token.len > 1 && token.at[token.len - 1] == '*';

	if (str_is(token, "@host")) {
		/* No text gives a word with '@' in it. */
		normal_token("host", 4, &piece);
		piece.text_len = 5;
		piece.words[0].len = 5;
		memcpy(piece.text, "@host", 6);
	} else {
		normal_token(token.at, token.len - is_prefix, &piece);
	}
	if (piece.count == 0)
		return complain(r, "'%.*s' holds no word", STR_ARG(token));
	if (is_prefix && piece.words[piece.count - 1].len < 3)
		return complain(r, "'%.*s': at least 3 letters before '*'",
				STR_ARG(token));
	for (size_t i = 0; i < piece.count; i++) {
		struct normal *to = &e->words;
		struct normal_word word = piece.words[i];

		if (to->count == PHRASES_PHRASE_MAX ||
		    to->text_len + word.len + 1 > NORMAL_TEXT_MAX)
			return complain(r, "the phrase has too many words");
		memcpy(to->text + to->text_len, piece.text + word.at, word.len);
		word.at = (uint16_t)to->text_len;
		to->text_len += word.len;
		e->is_prefix[to->count] = is_prefix && i + 1 == piece.count;
		to->words[to->count++] = word;
	}
	return 0;
}

static void
clear_phrase(struct element *e)
{
	e->words.count = 0;
	e->words.text_len = 0;
}

/* Ends the phrase being read, if there is one. */
static int
end_phrase(const struct reader *r, struct element *e)
{
	if (e->words.count == 0)
		return 0;
	if (e->count == CHOICE_MAX)
		return complain(r, "more than %d phrases in one place",
				CHOICE_MAX);
	e->phrases[e->count++] =
		phrases_intern(r->rules->phrases, &e->words, e->is_prefix);
	clear_phrase(e);
	return 0;
}

static int
add_macro(const struct reader *r, struct element *e, struct str token)
{
	const struct macro *macro =
		find_macro(r->macros, str_from(token.at + 1, token.len - 1));

	if (macro == NULL)
		return complain(r, "'%.*s' is not defined above",
				STR_ARG(token));
	if (e->count + macro->count > CHOICE_MAX)
		return complain(r, "more than %d phrases in one place",
				CHOICE_MAX);
	memcpy(e->phrases + e->count, macro->phrases,
	       macro->count * sizeof(macro->phrases[0]));
	e->count += macro->count;
	return 0;
}

/* "word word | word | $name", to the closing parenthesis or the end. */
static int
read_choice(const struct reader *r, struct str *rest, bool is_group,
	    struct element *e)
{
	struct str token;
	int rc = 0;

	while (rc == 0 && next_token(rest, &token)) {
		if (is_group && str_is(token, ")")) {
			rc = end_phrase(r, e);
			if (rc == 0 && e->count == 0)
				rc = complain(r, "empty parentheses");
			return rc;
		}
		if (str_is(token, "|"))
			rc = end_phrase(r, e);
		else if (strchr("(&!).", token.at[0]) != NULL)
			rc = complain(r, "'%.*s' cannot stand here",
				      STR_ARG(token));
		else if (token.at[0] == '$')
			rc = add_macro(r, e, token);
		else
			rc = add_word(r, e, token);
	}
	if (rc == 0 && is_group)
		rc = complain(r, "a parenthesis is not closed");
	if (rc == 0)
		rc = end_phrase(r, e);
	return rc;
}

/* "let NAME = CHOICE" */
static int
read_macro(const struct reader *r, struct str rest)
{
	struct macros *macros = r->macros;
	struct str name, equals;
	struct element *e;
	int rc;

	if (!next_token(&rest, &name) || !next_token(&rest, &equals) ||
	    !str_is(equals, "="))
		return complain(r, "expected: let NAME = words | words");
	if (find_macro(macros, name) != NULL)
		return complain(r, "'%.*s' is defined twice", STR_ARG(name));
	if (macros->count == MACROS_MAX)
		return complain(r, "more than %d names", MACROS_MAX);
	e = mem_zalloc(sizeof(*e));
	rc = read_choice(r, &rest, false, e);
	if (rc == 0 && e->count == 0)
		rc = complain(r, "'%.*s' stands for nothing", STR_ARG(name));
	if (rc == 0)
		macros->at[macros->count++] = (struct macro){
			.name = mem_dup(name.at, name.len),
			.phrases = (int *)(void *)mem_dup(
				e->phrases, e->count * sizeof(e->phrases[0])),
			.count = e->count};
	free(e);
	return rc;
}

/* --- patterns ------------------------------------------------------------ */

struct pattern {
	struct element element;
	bool has_element;  /* one stands in the present sequence */
	uint16_t gap;	   /* before the next element */
	bool is_open;	   /* a gap waits for its element */
	bool has_sequence; /* phrases_begin was called */
	unsigned part;
	bool is_not;
	uint8_t needed;
};

static int
end_element(const struct reader *r, struct pattern *p)
{
	struct rules *rules = r->rules;
	int rc = end_phrase(r, &p->element);

	if (rc != 0 || p->element.count == 0)
		return rc;
	if (!p->has_sequence) {
		unsigned sequence = phrases_begin(rules->phrases);

		rules->meanings = mem_append(rules->meanings, sequence,
					     sizeof(*rules->meanings));
		rules->meanings[sequence] =
			(struct meaning){.rule = (uint32_t)rules->count,
					 .part = (uint8_t)(1u << p->part),
					 .is_not = p->is_not};
		p->has_sequence = true;
		p->gap = 0;
	}
	if (!phrases_element(rules->phrases, p->gap, p->element.phrases,
			     p->element.count))
		return complain(r, "too many rules");
	p->element.count = 0;
	p->has_element = true;
	p->is_open = false;
	p->gap = 0;
	return 0;
}

static int
end_sequence(const struct reader *r, struct pattern *p)
{
	int rc = end_element(r, p);

	if (rc != 0)
		return rc;
	if (!p->has_element)
		return complain(r, "an alternative is empty");
	if (p->is_open)
		return complain(r, "dots must stand between words");
	p->has_element = false;
	p->has_sequence = false;
	return 0;
}

static int
end_part(const struct reader *r, struct pattern *p, bool is_not)
{
	int rc = end_sequence(r, p);

	if (rc != 0)
		return rc;
	if (p->part == PARTS_MAX)
		return complain(r, "more than %d parts", PARTS_MAX);
	if (!p->is_not)
		p->needed |= (uint8_t)(1u << p->part);
	p->part++;
	p->is_not = is_not;
	return 0;
}

static int
read_dots(const struct reader *r, struct pattern *p, struct str token)
{
	int rc = end_element(r, p);

	if (rc != 0)
		return rc;
	if (!p->has_element || p->is_open)
		return complain(r, "dots must stand between words");
	if (str_is(token, "."))
		p->gap = GAP_NEAR;
	else if (str_is(token, ".."))
		p->gap = GAP_FAR;
	else if (str_is(token, "..."))
		p->gap = PHRASES_GAP_ANY;
	else
		return complain(r, "'%.*s' is not a gap", STR_ARG(token));
	p->is_open = true;
	return 0;
}

static int
read_pattern_token(const struct reader *r, struct pattern *p, struct str token,
		   struct str *rest)
{
	int rc;

	switch (token.at[0]) {
	case '|':
		if (p->part != 0)
			return complain(r, "'|' behind & or ! needs "
					   "parentheses");
		return end_sequence(r, p);
	case '&':
	case '!':
		return end_part(r, p, token.at[0] == '!');
	case '.':
		return read_dots(r, p, token);
	case ')':
		return complain(r, "a ')' too many");
	case '(':
		rc = end_element(r, p);
		if (rc == 0)
			rc = read_choice(r, rest, true, &p->element);
		return rc != 0 ? rc : end_element(r, p);
	case '$':
		rc = end_element(r, p);
		if (rc == 0)
			rc = add_macro(r, &p->element, token);
		return rc != 0 ? rc : end_element(r, p);
	default:
		return add_word(r, &p->element, token);
	}
}

static int
read_pattern(const struct reader *r, struct str rest, uint8_t *out_needed)
{
	struct pattern *p = mem_zalloc(sizeof(*p));
	struct str token;
	int rc = 0;

	while (rc == 0 && next_token(&rest, &token))
		rc = read_pattern_token(r, p, token, &rest);
	if (rc == 0)
		rc = end_part(r, p, false);
	*out_needed = p->needed;
	if (rc == 0 && p->needed == 0)
		rc = complain(r, "nothing but '!' decides nothing");
	free(p);
	return rc;
}

/* --- rules --------------------------------------------------------------- */

/* "4xx", "550": digits and x */
static bool
is_code_mask(struct str text)
{
	if (text.len != 3 || (text.at[0] != '4' && text.at[0] != '5'))
		return false;
	for (size_t i = 1; i < 3; i++)
		if (text.at[i] != 'x' && (text.at[i] < '0' || text.at[i] > '9'))
			return false;
	return true;
}

/* "5.7.1", "x.7.x" */
static bool
is_status_mask(struct str text)
{
	struct str field;
	unsigned fields = 0;
	uint64_t number;

	while (str_cut(&text, '.', &field)) {
		if (!str_is(field, "x") && !str_u64(field, 999, &number))
			return false;
		fields++;
	}
	return fields == 3;
}

static const struct {
	const char *name;
	enum smtp_phase phase;
} phases[] = {
	{"connect", PHASE_CONNECT}, {"greeting", PHASE_GREETING},
	{"ehlo", PHASE_EHLO},	    {"starttls", PHASE_STARTTLS},
	{"auth", PHASE_AUTH},	    {"mail", PHASE_MAIL},
	{"rcpt", PHASE_RCPT},	    {"data", PHASE_DATA},
	{"body", PHASE_BODY},
};

static bool
find_phase(const char *name, enum smtp_phase *out)
{
	for (size_t i = 0; i < sizeof(phases) / sizeof(phases[0]); i++) {
		if (strcmp(name, phases[i].name) != 0)
			continue;
		*out = phases[i].phase;
		return true;
	}
	return false;
}

static int
add_condition(const struct reader *r, enum condition_kind kind, bool is_not,
	      struct str text)
{
	struct rules *rules = r->rules;
	struct condition condition = {.kind = kind, .is_not = is_not};
	bool is_good = text.len != 0;

	if (!str_copy(condition.text, sizeof(condition.text), text))
		is_good = false;
	switch (kind) {
	case CONDITION_CODE:
		is_good = is_good && is_code_mask(text);
		break;
	case CONDITION_STATUS:
		is_good = is_good && is_status_mask(text);
		break;
	case CONDITION_PHASE:
		is_good =
			is_good && find_phase(condition.text, &condition.phase);
		break;
	case CONDITION_HOST:
		str_lower_all(condition.text);
		break;
	}
	if (!is_good)
		return complain(r, "'%.*s' cannot be asked for", STR_ARG(text));
	rules->conditions =
		mem_append(rules->conditions, rules->condition_count,
			   sizeof(*rules->conditions));
	rules->conditions[rules->condition_count++] = condition;
	return 0;
}

/* "code=4xx,550", "status!=x.7.x", "advice=mailbox-full", "whole" */
static int
read_option(const struct reader *r, struct rule *rule, struct str option)
{
	static const struct {
		const char *name;
		enum condition_kind kind;
	} kinds[] = {{"code", CONDITION_CODE},
		     {"status", CONDITION_STATUS},
		     {"phase", CONDITION_PHASE},
		     {"host", CONDITION_HOST}};
	struct str value = option, name, item;
	bool is_not;

	if (str_is(option, "whole")) {
		rule->is_whole = true;
		return 0;
	}
	(void)str_cut(&value, '=', &name); /* never empty */
	is_not = name.len > 1 && name.at[name.len - 1] == '!';
	name.len -= is_not;
	if (str_is(name, "advice") && !is_not) {
		rule->advice = advice_id(value);
		if (rule->advice == NULL)
			return complain(r, "there is no advice '%.*s'",
					STR_ARG(value));
		return 0;
	}
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (!str_is(name, kinds[i].name) || value.len == 0)
			continue;
		while (str_cut(&value, ',', &item)) {
			int rc = add_condition(r, kinds[i].kind, is_not, item);

			if (rc != 0)
				return rc;
			rule->condition_count++;
		}
		if (rule->condition_count > CONDITIONS_MAX)
			return complain(r, "more than %d conditions",
					CONDITIONS_MAX);
		return 0;
	}
	return complain(r, "'%.*s' is not known here", STR_ARG(option));
}

/* Spaces and tabs part the words in front of the colon. */
static bool
next_field(struct str *rest, struct str *out)
{
	size_t len = 0;

	*rest = str_trim(*rest);
	while (len < rest->len && rest->at[len] != ' ' && rest->at[len] != '\t')
		len++;
	*out = str_from(rest->at, len);
	*rest = str_from(rest->at + len, rest->len - len);
	return len != 0;
}

static int
read_rule(const struct reader *r, struct str id, struct str rest)
{
	struct rules *rules = r->rules;
	struct rule rule = {.first_condition = rules->condition_count};
	struct str field = {"", 0};
	char name[32];
	int rc = 0;

	if (rules->count == RULES_LINES_MAX)
		return complain(r, "more than %d rules", RULES_LINES_MAX);
	if (id.len > 48)
		return complain(r, "the id is longer than 48 characters");
	(void)next_field(&rest, &field); /* an empty name is refused below */
	if (!str_copy(name, sizeof(name), field) ||
	    !category_parse(name, &rule.category))
		return complain(r, "'%.*s' is not a category", STR_ARG(field));
	while (rc == 0) {
		if (!next_field(&rest, &field))
			return complain(r, "expected ': PATTERN'");
		if (str_is(field, ":"))
			break;
		rc = read_option(r, &rule, field);
	}
	if (rc == 0)
		rc = read_pattern(r, rest, &rule.needed);
	if (rc != 0)
		return rc;
	rule.id = mem_dup(id.at, id.len);
	rules->rules =
		mem_append(rules->rules, rules->count, sizeof(*rules->rules));
	rules->rules[rules->count++] = rule;
	return 0;
}

/* One rule or definition, its continuation lines joined. */
static int
read_line(const struct reader *r, struct str line)
{
	struct str first;

	if (!next_field(&line, &first))
		return 0;
	if (!str_is_utf8(first) || !str_is_utf8(line))
		return complain(r, "not UTF-8");
	if (str_is(first, "let"))
		return read_macro(r, line);
	return read_rule(r, first, line);
}

/* Ends the line being gathered. */
static int
flush_line(const struct reader *r, struct buf *gathered)
{
	int rc = 0;

	if (buf_len(gathered) != 0)
		rc = read_line(r, str_from((const char *)buf_bytes(gathered),
					   buf_len(gathered)));
	buf_clear(gathered);
	return rc;
}

int
rules_add(struct rules *rules, const char *text, const char *name,
	  struct err *err)
{
	struct macros macros = {.count = 0};
	struct reader r = {.rules = rules,
			   .macros = &macros,
			   .name = name,
			   .err = err};
	struct str rest = str_of(text);
	struct str line;
	struct buf gathered;
	unsigned number = 0;
	int rc = 0;

	if (rest.len > RULES_BYTES_MAX)
		return complain(&r, "more than %d bytes", RULES_BYTES_MAX);
	buf_init(&gathered, RULES_BYTES_MAX + 1);
	while (rc == 0 && str_cut(&rest, '\n', &line)) {
		bool is_more = line.len != 0 &&
			       (line.at[0] == ' ' || line.at[0] == '\t');

		number++;
		if (line.len != 0 && line.at[line.len - 1] == '\r')
			line.len--;
		line = str_trim(line);
		if (line.len == 0 || line.at[0] == '#')
			continue;
		if (!is_more) {
			rc = flush_line(&r, &gathered);
			r.line = number;
		}
		/* both fit: they are parts of one text below the maximum */
		(void)buf_add(&gathered, line.at, line.len);
		(void)buf_add(&gathered, " ", 1);
	}
	if (rc == 0)
		rc = flush_line(&r, &gathered);
	buf_done(&gathered);
	macros_done(&macros);
	return rc;
}
