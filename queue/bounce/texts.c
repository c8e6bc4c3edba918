/* SPDX-License-Identifier: ISC */
#include "queue/bounce/texts.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "queue/bounce/advice.h"
#include "queue/bounce/texts_builtin.h"
#include "queue/bounce/texts_read.h"

struct language {
	char tag[LANGUAGE_TAG_MAX + 1];
	char **slots; /* owns; texts_slot_count() of them, none NULL once read
		       */
};

struct texts {
	atomic_uint refs;
	struct language languages[TEXTS_LANGUAGES_MAX];
	size_t count; /* the first is English */
};

/* ------------------------------------------------------------------ life */

static struct language *
find_exact(struct texts *texts, struct str tag)
{
	for (size_t i = 0; i < texts->count; i++)
		if (str_is_nocase(tag, texts->languages[i].tag))
			return &texts->languages[i];
	return NULL;
}

static struct language *
add_language(struct texts *texts, const char *tag)
{
	struct language *language = &texts->languages[texts->count++];

	(void)str_copy(language->tag, sizeof(language->tag), str_of(tag));
	language->slots =
		mem_zalloc(texts_slot_count() * sizeof(language->slots[0]));
	return language;
}

static struct texts *
texts_empty(void)
{
	struct texts *texts = mem_zalloc(sizeof(*texts));

	atomic_init(&texts->refs, 1);
	return texts;
}

struct texts *
texts_ref(struct texts *texts)
{
	(void)atomic_fetch_add(&texts->refs, 1); /* old value unused */
	return texts;
}

void
texts_unref(struct texts *texts)
{
	if (texts == NULL || atomic_fetch_sub(&texts->refs, 1) > 1)
		return;
	for (size_t i = 0; i < texts->count; i++) {
		for (size_t k = 0; k < texts_slot_count(); k++)
			free(texts->languages[i].slots[k]);
		free(texts->languages[i].slots);
	}
	free(texts);
}

static struct texts *builtin;

static void
load_builtin(void)
{
	static const struct {
		const char *tag, *text, *name;
	} files[] = {
		{"en", texts_builtin_en, "built-in reports/en"},
		{"de", texts_builtin_de, "built-in reports/de"},
		{"fr", texts_builtin_fr, "built-in reports/fr"},
	};
	struct err err = ERR_INIT;
	size_t missing = 0;

	builtin = texts_empty();
	/* `make check` loads the same texts, so this cannot fail in a build
	 * that passed. */
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		if (texts_add(builtin, files[i].tag, files[i].text,
			      files[i].name, &missing, &err) != 0 ||
		    missing != 0) {
			(void)fprintf(stderr, "%s: %zu missing: %s\n",
				      files[i].name, missing, err.text);
			abort();
		}
	}
}

struct texts *
texts_builtin(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	(void)pthread_once(&once, load_builtin); /* fails for no reason */
	return texts_ref(builtin);
}

static void
copy_slots(const struct language *from, struct language *to)
{
	for (size_t i = 0; i < texts_slot_count(); i++)
		if (to->slots[i] == NULL && from->slots[i] != NULL)
			to->slots[i] = mem_strdup(from->slots[i]);
}

struct texts *
texts_new(void)
{
	struct texts *shipped = texts_builtin();
	struct texts *texts = texts_empty();

	for (size_t i = 0; i < shipped->count; i++)
		copy_slots(&shipped->languages[i],
			   add_language(texts, shipped->languages[i].tag));
	texts_unref(shipped);
	return texts;
}

int
texts_add(struct texts *texts, const char *tag, const char *text,
	  const char *name, size_t *missing, struct err *err)
{
	struct language *language = find_exact(texts, str_of(tag));
	int rc;

	*missing = 0;
	if (language == NULL) {
		if (texts->count == TEXTS_LANGUAGES_MAX)
			return err_text(err, -EINVAL,
					"%s: more than %d languages", name,
					TEXTS_LANGUAGES_MAX);
		language = add_language(texts, tag);
	}
	rc = texts_read(text, name, language->slots, err);
	if (rc != 0)
		return rc;
	for (size_t i = 0; i < texts_slot_count(); i++)
		*missing += language->slots[i] == NULL;
	copy_slots(&texts->languages[0], language);
	return 0;
}

/* ---------------------------------------------------------------- lookup */

const char *
language_tag(const struct language *language)
{
	return language->tag;
}

const char *
language_text(const struct language *language, enum text text)
{
	return language->slots[text];
}

const char *
language_advice(const struct language *language, size_t advice,
		enum advice_part part)
{
	return language->slots[TEXT_COUNT + advice * ADVICE_PARTS + part];
}

void
language_put(const struct language *language, enum text text,
	     const struct text_value *values, struct buf *out)
{
	struct str rest = str_of(language_text(language, text)), part;

	/* the reader checked that braces close and names are known */
	while (str_cut(&rest, '{', &part)) {
		struct str name;

		(void)buf_add(out, part.at, part.len);
		if (rest.at == NULL || !str_cut(&rest, '}', &name))
			return;
		for (const struct text_value *value = values;
		     value->name != NULL; value++)
			if (str_is(name, value->name))
				(void)buf_adds(out, value->value);
	}
}

/* -------------------------------------------------------------- choosing */

bool
texts_is_tag(struct str tag)
{
	size_t len = 0;
	bool is_first = true;

	if (tag.len > LANGUAGE_TAG_MAX)
		return false;
	for (size_t i = 0; i < tag.len; i++) {
		char c = str_lower(tag.at[i]);

		if (c == '-' && len > (is_first ? 1 : 0)) {
			is_first = false;
			len = 0;
		} else if ((c >= 'a' && c <= 'z') ||
			   (!is_first && c >= '0' && c <= '9')) {
			if (++len > (is_first ? 3 : 8))
				return false;
		} else {
			return false;
		}
	}
	return len > (is_first ? 1 : 0);
}

const struct language *
texts_language(const struct texts *texts, struct str tag)
{
	const struct language *found = NULL;

	/* RFC 4647, 3.4: look-up shortens the tag from its end. */
	while (tag.len != 0 && found == NULL) {
		for (size_t i = 0; i < texts->count && found == NULL; i++)
			if (str_is_nocase(tag, texts->languages[i].tag))
				found = &texts->languages[i];
		while (tag.len != 0 && tag.at[tag.len - 1] != '-')
			tag.len--;
		if (tag.len != 0)
			tag.len--;
	}
	return found;
}

/* qvalue = ( "0" [ "." 0*3DIGIT ] ) / ( "1" [ "." 0*3("0") ] ); thousandths,
 * 1000 for anything else. */
static unsigned
read_quality(struct str text)
{
	unsigned value = 0, weight = 100;

	if (text.len == 0 || text.at[0] != '0' ||
	    (text.len > 1 && text.at[1] != '.'))
		return 1000;
	for (size_t i = 2; i < text.len && i < 5; i++) {
		if (text.at[i] < '0' || text.at[i] > '9')
			return 1000;
		value += (unsigned)(text.at[i] - '0') * weight;
		weight /= 10;
	}
	return value;
}

/* The best that we have of "de-AT, fr;q=0.8, *;q=0.1"; the first of equals. */
static const struct language *
choose_of(const struct texts *texts, struct str list)
{
	const struct language *best = NULL;
	unsigned best_quality = 0;
	struct str range;

	while (str_cut(&list, ',', &range)) {
		const struct language *language;
		unsigned quality = 1000;
		struct str tag, parameter;

		if (!str_cut(&range, ';', &tag))
			continue;
		while (str_cut(&range, ';', &parameter)) {
			parameter = str_trim(parameter);
			if (str_starts_nocase(parameter, "q="))
				quality = read_quality(
					str_from(parameter.at + 2,
						 parameter.len - 2));
		}
		language = texts_language(texts, str_trim(tag));
		if (language == NULL || quality <= best_quality)
			continue;
		best = language;
		best_quality = quality;
	}
	return best;
}

const struct language *
texts_choose(const struct texts *texts, struct str accept, struct str content,
	     const char *preset)
{
	const struct language *language = choose_of(texts, accept);

	if (language == NULL)
		language = choose_of(texts, content);
	if (language == NULL && preset != NULL)
		language = texts_language(texts, str_of(preset));
	return language != NULL ? language : &texts->languages[0];
}
