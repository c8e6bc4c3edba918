/* SPDX-License-Identifier: ISC */
#include "tests/unit/config_world.h"

#include "queue/bounce/advice.h"
#include "queue/bounce/classify.h"
#include "queue/bounce/texts.h"

#define BASE                                                                   \
	"hostname = \"mail.example.org\"\n"                                    \
	"tls { certificate = \"/c\" key = \"/k\" }\n"                          \
	"domain \"example.org\" { deliver = discard }\n"

START_TEST(own_rules_come_first_and_own_texts_lie_over_those_built_in)
{
	struct classification found;
	struct advice advice;
	struct config *config;

	enter();
	put("own.rules", "# ours\nours.full policy-related : mailbox full\n");
	ck_assert_int_eq(mkdir("texts.d", 0755), 0);
	put("texts.d/de", "[mailbox-full]\ncause: randvoll\n");
	put("texts.d/de~", "nobody reads this\n");
	put("texts.d/README", "nor this\n");
	config = load_good(BASE "report { rules = \"own.rules\" texts = "
				"\"texts.d\" language = \"de-AT\" }\n");
	classify_reply(config->report.classifier, "552 mailbox full",
		       PHASE_NONE, &found);
	ck_assert_str_eq(found.rule, "ours.full");
	ck_assert_int_eq(found.category, CATEGORY_POLICY_RELATED);
	/* the others are there still */
	classify_reply(config->report.classifier, "550 no such user",
		       PHASE_NONE, &found);
	ck_assert_int_eq(found.category, CATEGORY_BAD_MAILBOX);
	ck_assert_str_eq(config->report.language, "de-AT");
	found = (struct classification){
		.category = CATEGORY_QUOTA_ISSUES,
		.advice = advice_id(str_of("mailbox-full")),
	};
	advice_find(&found,
		    texts_language(config->report.loaded, str_of("de-AT")),
		    &advice);
	ck_assert_str_eq(advice.cause, "randvoll");
	ck_assert_ptr_null(strstr(buf_text(&warnings), "texts.d"));
	config_unref(config);
	ck_assert_int_eq(remove("texts.d/de"), 0);
	ck_assert_int_eq(remove("texts.d/de~"), 0);
	ck_assert_int_eq(remove("texts.d/README"), 0);
	leave();
}
END_TEST

static const struct {
	const char *section, *says;
} bad_reports[] = {
	{"report { rules = \"bad.rules\" }\n",
	 "bad.rules:2: 'no-such-category' is not a category\n"},
	{"report { texts = \"bad.d\" }\n",
	 "bad.d/fr:3: this text has no variable \"who\"\n"},
	{"report { rules = \"none.rules\" }\n", "t.conf:4: rules: cannot read"},
	{"report { texts = \"none.d\" }\n", "t.conf:4: texts: cannot read"},
	{"report { language = \"tlh\" }\n",
	 "t.conf:4: language \"tlh\": there are no texts in it\n"},
	{"report { language = \"\" }\n",
	 "t.conf:4: language must not be empty"},
};

START_TEST(a_bad_file_of_rules_or_texts_is_refused_with_its_line)
{
	char *text = mem_printf("%s%s", BASE, bad_reports[_i].section);

	enter();
	put("bad.rules", "# ours\nours.full no-such-category : full\n");
	ck_assert_int_eq(mkdir("bad.d", 0755), 0);
	put("bad.d/fr", "\n[frame]\nfrom: {who}\n");
	ck_assert_ptr_null(load(text));
	ck_assert_msg(strstr(buf_text(&errors), bad_reports[_i].says) != NULL,
		      "%s", buf_text(&errors));
	free(text);
	ck_assert_int_eq(remove("bad.d/fr"), 0);
	leave();
}
END_TEST

START_TEST(a_language_with_gaps_loads_with_a_warning)
{
	struct config *config;

	enter();
	ck_assert_int_eq(mkdir("texts.d", 0755), 0);
	put("texts.d/nl", "[frame]\nlabel.why: Waarom:\n");
	config = load_good(
		BASE "report { texts = \"texts.d\" language = \"nl\" }\n");
	ck_assert_msg(strstr(buf_text(&warnings), "texts.d/nl: ") != NULL, "%s",
		      buf_text(&warnings));
	ck_assert_ptr_nonnull(strstr(buf_text(&warnings), "stay English"));
	config_unref(config);
	ck_assert_int_eq(remove("texts.d/nl"), 0);
	leave();
}
END_TEST

UNIT_MAIN("config_reports",
	  tcase_add_test(
		  tc,
		  own_rules_come_first_and_own_texts_lie_over_those_built_in);
	  tcase_add_loop_test(
		  tc, a_bad_file_of_rules_or_texts_is_refused_with_its_line, 0,
		  (int)COUNT(bad_reports));
	  tcase_add_test(tc, a_language_with_gaps_loads_with_a_warning);)
