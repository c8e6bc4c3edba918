/* SPDX-License-Identifier: ISC */
#include "queue/bounce/texts.h"

#include <stdlib.h>
#include <string.h>

#include "queue/bounce/advice.h"
#include "queue/bounce/texts_builtin.h"
#include "queue/bounce/texts_read.h"
#include "tests/unit/unit.h"

#define TEN	"0123456789"
#define HUNDRED TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN

static const struct language *
language_of(const struct texts *texts, const char *tag)
{
	return texts_language(texts, str_of(tag));
}

static const char *
filled(const struct language *language, enum text text,
       const struct text_value *values)
{
	static char to[4096];
	struct buf out;

	buf_init(&out, sizeof(to));
	language_put(language, text, values, &out);
	(void)str_copy(to, sizeof(to), str_of(buf_text(&out)));
	buf_done(&out);
	return to;
}

/* --- what is built in ---------------------------------------------------- */

static const char *const shipped[] = {"en", "de", "fr"};

START_TEST(every_language_that_is_built_in_is_whole)
{
	struct texts *texts = texts_builtin();
	const struct language *language = language_of(texts, shipped[_i]);

	ck_assert_str_eq(language_tag(language), shipped[_i]);
	for (int i = 0; i < TEXT_COUNT; i++)
		ck_assert_uint_ne(strlen(language_text(language, (enum text)i)),
				  0);
	for (size_t i = 0; i < advice_count(); i++)
		for (int k = 0; k < ADVICE_PARTS; k++)
			ck_assert_uint_gt(
				strlen(language_advice(language, i,
						       (enum advice_part)k)),
				8);
	texts_unref(texts);
}
END_TEST

/* A text that was forgotten in translation would read like the English. */
START_TEST(no_reason_reads_alike_in_two_languages)
{
	struct texts *texts = texts_builtin();

	for (size_t i = 0; i < advice_count(); i++)
		for (int k = 0; k < ADVICE_PARTS; k++)
			for (size_t a = 0; a < 3; a++)
				ck_assert_str_ne(
					language_advice(language_of(texts,
								    shipped[a]),
							i, (enum advice_part)k),
					language_advice(
						language_of(
							texts,
							shipped[(a + 1) % 3]),
						i, (enum advice_part)k));
	texts_unref(texts);
}
END_TEST

/* A subject line should be read at a glance. */
START_TEST(causes_are_short_and_begin_no_sentence)
{
	struct texts *texts = texts_builtin();

	for (size_t a = 0; a < 3; a++)
		for (size_t i = 0; i < advice_count(); i++) {
			const char *cause =
				language_advice(language_of(texts, shipped[a]),
						i, ADVICE_CAUSE);

			ck_assert_msg(strlen(cause) < 80, "%s", cause);
			ck_assert(cause[strlen(cause) - 1] != '.');
			ck_assert(!(cause[0] >= 'A' && cause[0] <= 'Z'));
		}
	texts_unref(texts);
}
END_TEST

/* --- an admin's files ---------------------------------------------------- */

START_TEST(a_file_changes_what_it_holds_and_no_more)
{
	struct texts *texts = texts_new();
	struct err err = ERR_INIT;
	const struct language *german;
	size_t missing;

	ck_assert_int_eq(texts_add(texts, "de",
				   "# ours\r\n"
				   "[frame]\r\n"
				   "who.your-admin: der Helpdesk,\r\n"
				   "\tTelefon~42\r\n"
				   "\r\n"
				   "[mailbox-full]\n"
				   "cause: voll\n",
				   "de", &missing, &err),
			 0);
	ck_assert_uint_eq(missing, 0);
	german = language_of(texts, "de");
	ck_assert_str_eq(language_text(german, TEXT_WHO_YOUR_ADMIN),
			 "der Helpdesk, Telefon\xc2\xa0"
			 "42");
	ck_assert_str_eq(language_text(german, TEXT_WHO_YOU), "Sie selbst");
	ck_assert_str_eq(language_text(language_of(texts, "en"), TEXT_WHO_YOU),
			 "you");
	texts_unref(texts);

	/* what is built in was not touched */
	texts = texts_builtin();
	ck_assert_str_ne(language_text(language_of(texts, "de"),
				       TEXT_WHO_YOUR_ADMIN),
			 "der Helpdesk, Telefon\xc2\xa0"
			 "42");
	texts_unref(texts);
}
END_TEST

START_TEST(a_new_language_is_english_where_it_says_nothing)
{
	struct texts *texts = texts_new();
	struct err err = ERR_INIT;
	size_t missing;

	ck_assert_int_eq(texts_add(texts, "nl", "[frame]\nlabel.why: Waarom:\n",
				   "nl", &missing, &err),
			 0);
	ck_assert_uint_eq(missing, texts_slot_count() - 1);
	ck_assert_str_eq(language_text(language_of(texts, "nl"),
				       TEXT_LABEL_WHY),
			 "Waarom:");
	ck_assert_str_eq(language_text(language_of(texts, "nl"),
				       TEXT_LABEL_WHO),
			 "Who can act:");
	texts_unref(texts);
}
END_TEST

static const struct {
	const char *text, *says;
} mistakes[] = {
	{"from: us\n", "x:1: a text needs a [section] above it \"from: us\""},
	{"[frame]\nfrom us\n", "x:2: neither \"name: text\" nor [section]"},
	{"[frame\n", "x:1: a section has no \"]\""},
	{"\n[frames]\n", "x:2: there is no section of this name \"frames\""},
	{"[frame]\ncause: full\n", "x:2: this section has no text \"cause\""},
	{"[other]\nfrom: us\n", "x:2: this section has no text \"from\""},
	{"[frame]\nfrom: us\n\nfrom: them\n",
	 "x:4: the second text of name \"from\""},
	{"[frame]\n  from\n", "x:2: there is no text to go on with \"from\""},
	{"[frame]\nfrom: us\n\n  and them\n", "x:4: there is no text to go on"},
	{"[frame]\nfrom:\n", "x:2: the text is empty"},
	{"[frame]\nfrom: {who}\n", "x:2: this text has no variable \"who\""},
	{"[frame]\nand.more: {}\n", "x:2: this text has no variable"},
	{"[frame]\nand.more: {n\n\n", "x:2: a brace stands alone"},
	{"[frame]\nand.more: n}\n", "x:2: a brace stands alone"},
	{"[frame]\nand.more: }n{\n", "x:2: a brace stands alone"},
	{"[other]\ncause: {n}\n", "x:2: this text has no variable \"n\""},
	{"[frame]\nmonths: Jan Feb\n", "x:2: months are twelve words"},
	{"[frame]\nfrom: \xff\n", "x:2: this line is no UTF-8 text"},
	{"[frame]\nfrom: a\x1b[2J\n", "x:2: this line is no UTF-8 text"},
	{"[frame]\nfrom: " HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED
		 HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED "\n",
	 "x:2: the line is too long"},
	{"[frame]\nfrom: " HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED
		 HUNDRED "\n  " HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED "\n",
	 "x:2: the text is too long"},
};

START_TEST(a_mistake_is_told_with_its_line)
{
	struct texts *texts = texts_new();
	struct err err = ERR_INIT;
	size_t missing;

	ck_assert_int_lt(texts_add(texts, "en", mistakes[_i].text, "x",
				   &missing, &err),
			 0);
	ck_assert_msg(strncmp(err.text, mistakes[_i].says,
			      strlen(mistakes[_i].says)) == 0,
		      "%s", err.text);
	texts_unref(texts);
}
END_TEST

START_TEST(languages_have_a_maximum)
{
	struct texts *texts = texts_new();
	struct err err = ERR_INIT;
	char tag[] = "xx-a0";
	size_t missing, count = 3;

	for (; count < TEXTS_LANGUAGES_MAX; count++) {
		tag[3] = (char)('a' + count / 10);
		tag[4] = (char)('0' + count % 10);
		ck_assert_int_eq(texts_add(texts, tag, "", tag, &missing, &err),
				 0);
	}
	ck_assert_int_lt(texts_add(texts, "zz", "", "zz", &missing, &err), 0);
	ck_assert_str_eq(err.text, "zz: more than 64 languages");
	texts_unref(texts);
}
END_TEST

/* --- choosing ------------------------------------------------------------ */

static const struct {
	const char *accept, *content, *preset, *language;
} choices[] = {
	{"", "", NULL, "en"},
	{"", "", "fr", "fr"},
	{"", "de", "fr", "de"},
	{"fr", "de", "en", "fr"},
	/* the writer's wish, in its order */
	{"de-AT, fr;q=0.8, en;q=0.5", "", "en", "de"},
	{"fr;q=0.8,de;q=0.9", "", "en", "de"},
	{"fr; q=0.8 , de; q=0.80", "", "en", "fr"},
	{"nl, pl;q=0.9, fr;q=0.1", "de", "en", "fr"},
	{"FR-ca", "", "en", "fr"},
	{"zh-Hans-CN", "", "de", "de"},
	/* not this one, please */
	{"de;q=0, fr;q=0.001", "", "en", "fr"},
	{"de;q=0.000", "", "en", "en"},
	{"*;q=0.5", "", "de", "de"},
	/* a message in two languages */
	{"", "fr, en", "de", "fr"},
	{"", "de-CH-1996", "en", "de"},
	/* garbage */
	{",,;;q=,", ";", "de", "de"},
	{"de;q=x", "", "fr", "de"},
	{"de;q=0.x", "", "fr", "de"},
	{"-", "--de", "nowhere", "en"},
	{"deutsch", "", "en", "en"},
};

START_TEST(the_language_is_the_readers_then_the_letters_then_the_houses)
{
	struct texts *texts = texts_builtin();

	ck_assert_str_eq(language_tag(texts_choose(texts,
						   str_of(choices[_i].accept),
						   str_of(choices[_i].content),
						   choices[_i].preset)),
			 choices[_i].language);
	texts_unref(texts);
}
END_TEST

static const struct {
	const char *tag;
	bool is_good;
} tags[] = {
	{"de", true},	      {"pt-BR", true},
	{"de-CH-1996", true}, {"x-a", false},
	{"", false},	      {"de-", false},
	{"-de", false},	      {"de~", false},
	{"de.orig", false},   {".de.swp", false},
	{"1a", false},	      {"abcdefghi", false},
	{"README", false},    {"a-b-c-d-e-f-g-h-i-j-k-l-m-n-o-p-q-r-s", false},
};

START_TEST(names_of_files_are_tags_of_languages)
{
	ck_assert_msg(texts_is_tag(str_of(tags[_i].tag)) == tags[_i].is_good,
		      "%s", tags[_i].tag);
}
END_TEST

START_TEST(variables_are_replaced_wherever_they_stand)
{
	struct texts *texts = texts_new();
	struct err err = ERR_INIT;
	size_t missing;

	ck_assert_int_eq(
		texts_add(texts, "en",
			  "[frame]\nmoment: {year}{month}-{day} {year}\n", "en",
			  &missing, &err),
		0);
	ck_assert_str_eq(filled(language_of(texts, "en"), TEXT_MOMENT,
				TEXT_VALUES({"day", "21"}, {"month", "{year}"},
					    {"year", "2026"})),
			 "2026{year}-21 2026");
	/* without a value nothing stands there */
	ck_assert_str_eq(filled(language_of(texts, "en"), TEXT_MOMENT,
				TEXT_NO_VALUES),
			 "- ");
	texts_unref(texts);
}
END_TEST

/* A file that somebody, or something, got its hands on: it is read, or refused
 * with a line, and what it held before stays whole. */
START_TEST(no_file_is_too_broken_to_be_refused)
{
	size_t len = strlen(texts_builtin_de), missing;
	char *text = malloc(len + 1);

	ck_assert_ptr_nonnull(text);
	srandom(7);
	for (int round = 0; round < 300; round++) {
		struct texts *texts = texts_new();
		struct err err = ERR_INIT;

		memcpy(text, texts_builtin_de, len + 1);
		for (long k = random() % 4; k >= 0; k--)
			text[(size_t)random() % len] = "{}[]:~# \n\t\xff\x80"
						       "a"[random() % 13];
		if (random() % 8 == 0)
			text[(size_t)random() % len] = '\0';
		if (texts_add(texts, "de", text, "x", &missing, &err) != 0)
			ck_assert_msg(strncmp(err.text, "x:", 2) == 0, "%s",
				      err.text);
		for (size_t i = 0; i < advice_count(); i++)
			ck_assert_ptr_nonnull(
				language_advice(language_of(texts, "de"), i,
						ADVICE_WHY));
		texts_unref(texts);
	}
	free(text);
}
END_TEST

UNIT_MAIN("texts",
	  tcase_add_loop_test(tc, every_language_that_is_built_in_is_whole, 0,
			      (int)COUNT(shipped));
	  tcase_add_test(tc, no_reason_reads_alike_in_two_languages);
	  tcase_add_test(tc, causes_are_short_and_begin_no_sentence);
	  tcase_add_test(tc, a_file_changes_what_it_holds_and_no_more);
	  tcase_add_test(tc, a_new_language_is_english_where_it_says_nothing);
	  tcase_add_loop_test(tc, a_mistake_is_told_with_its_line, 0,
			      (int)COUNT(mistakes));
	  tcase_add_test(tc, languages_have_a_maximum); tcase_add_loop_test(
		  tc,
		  the_language_is_the_readers_then_the_letters_then_the_houses,
		  0, (int)COUNT(choices));
	  tcase_add_loop_test(tc, names_of_files_are_tags_of_languages, 0,
			      (int)COUNT(tags));
	  tcase_add_test(tc, variables_are_replaced_wherever_they_stand);
	  tcase_add_test(tc, no_file_is_too_broken_to_be_refused);)
