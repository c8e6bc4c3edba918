/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "lib/lru.h"
#include "lib/mem.h"

struct word {
	struct lru_entry entry;
	char text[16];
};

static unsigned freed;

static void
word_free(struct lru_entry *entry)
{
	freed++;
	free(container_of(entry, struct word, entry));
}

static void
add(struct lru *lru, const char *text)
{
	struct word *word = mem_zalloc(sizeof(*word));

	(void)snprintf(word->text, sizeof(word->text), "%s", text);
	lru_add(lru, &word->entry, word->text, strlen(word->text));
}

static bool
has(struct lru *lru, const char *text)
{
	struct lru_entry *entry = lru_find(lru, text, strlen(text));

	if (entry == NULL)
		return false;
	ck_assert_str_eq(container_of(entry, struct word, entry)->text, text);
	return true;
}

START_TEST(the_element_asked_for_longest_ago_goes_first)
{
	struct lru lru;

	freed = 0;
	lru_init(&lru, 3, word_free);
	add(&lru, "a");
	add(&lru, "b");
	add(&lru, "c");
	ck_assert(has(&lru, "a")); /* now b is the oldest */
	add(&lru, "d");
	ck_assert_uint_eq(freed, 1);
	ck_assert(!has(&lru, "b"));
	ck_assert(has(&lru, "a"));
	ck_assert(has(&lru, "c"));
	ck_assert(has(&lru, "d"));
	lru_done(&lru);
	ck_assert_uint_eq(freed, 4);
}
END_TEST

START_TEST(a_full_table_never_holds_more_and_finds_what_it_holds)
{
	struct lru lru;
	char text[16];

	freed = 0;
	lru_init(&lru, 1000, word_free);
	for (unsigned i = 0; i < 5000; i++) {
		(void)snprintf(text, sizeof(text), "%u", i);
		add(&lru, text);
		ck_assert_uint_le(lru.count, 1000);
	}
	ck_assert_uint_eq(freed, 4000);
	for (unsigned i = 0; i < 5000; i++) {
		(void)snprintf(text, sizeof(text), "%u", i);
		ck_assert_int_eq(has(&lru, text), i >= 4000);
	}
	lru_done(&lru);
}
END_TEST

START_TEST(an_empty_key_and_a_key_with_nul_are_keys)
{
	struct lru lru;
	struct word *word = mem_zalloc(sizeof(*word));

	lru_init(&lru, 4, word_free);
	add(&lru, "");
	memcpy(word->text, "a\0b", 3);
	lru_add(&lru, &word->entry, word->text, 3);
	ck_assert(has(&lru, ""));
	ck_assert(!has(&lru, "a"));
	ck_assert_ptr_eq(lru_find(&lru, "a\0b", 3), &word->entry);
	lru_remove(&lru, &word->entry);
	ck_assert_ptr_null(lru_find(&lru, "a\0b", 3));
	lru_done(&lru);
}
END_TEST

UNIT_MAIN("lru", {
	tcase_add_test(tc, the_element_asked_for_longest_ago_goes_first);
	tcase_add_test(tc,
		       a_full_table_never_holds_more_and_finds_what_it_holds);
	tcase_add_test(tc, an_empty_key_and_a_key_with_nul_are_keys);
})
