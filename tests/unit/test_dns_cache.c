/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <string.h>

#include "lib/mem.h"
#include "queue/route/dns_cache.h"

#define T0    UINT64_C(1000000)
#define TXT   16
#define MUCH  (1 << 20)
#define SHORT 200

/* count records with a name and that many octets of data each */
static struct dns_set *
set_of(const char *name, size_t count, size_t len, uint64_t expires_ms)
{
	struct dns_set *set = dns_set_new(name, TXT, DNS_OK);

	set->asked_ms = T0;
	set->expires_ms = expires_ms;
	set->count = count;
	set->records = mem_zalloc((count + 1) * sizeof(*set->records));
	for (size_t i = 0; i < count; i++) {
		set->records[i].name = mem_strdup(name);
		set->records[i].data = mem_zalloc(len + 1);
		set->records[i].len = len;
	}
	return set;
}

static struct dns_entry *
store(struct dns_cache *cache, const char *name, struct dns_set *set,
      uint64_t now_ms)
{
	struct dns_entry *entry = dns_cache_get(cache, name, TXT);

	dns_cache_store(cache, entry, set, now_ms);
	dns_set_unref(set);
	return dns_cache_find(cache, name, TXT);
}

START_TEST(a_set_counts_for_all_that_it_holds)
{
	struct dns_cache cache;
	struct dns_entry *entry;
	size_t empty, one;

	dns_cache_init(&cache, MUCH);
	entry = store(&cache, "a.example", set_of("a.example", 0, 0, T0 + 1),
		      T0);
	empty = cache.bytes;
	ck_assert_uint_gt(empty, sizeof(*entry) + sizeof(struct dns_set) +
					 2 * strlen("a.example"));
	(void)store(&cache, "a.example", set_of("a.example", 1, 500, T0 + 1),
		    T0);
	one = cache.bytes - empty;
	ck_assert_uint_gt(one, sizeof(struct dns_record) + 500 +
				       strlen("a.example"));
	(void)store(&cache, "a.example", set_of("a.example", 20, 500, T0 + 1),
		    T0);
	ck_assert_uint_eq(cache.bytes, empty + 20 * one);
	ck_assert_uint_eq(entry->bytes, cache.bytes);
	dns_cache_forget(&cache, entry);
	dns_cache_tidy(&cache, entry);
	ck_assert_uint_eq(cache.bytes, 0);
	ck_assert_uint_eq(cache.count, 0);
	dns_cache_done(&cache);
}
END_TEST

START_TEST(why_it_failed_counts_too)
{
	char why[SHORT + 1];
	struct dns_cache cache;
	size_t little;

	dns_cache_init(&cache, MUCH);
	memset(why, 'x', SHORT);
	why[SHORT] = '\0';
	(void)store(&cache, "a.example",
		    dns_set_failed("a.example", TXT, DNS_FAILED, "", T0), T0);
	little = cache.bytes;
	(void)store(&cache, "a.example",
		    dns_set_failed("a.example", TXT, DNS_FAILED, why, T0), T0);
	ck_assert_uint_eq(cache.bytes, little + SHORT);
	dns_cache_done(&cache);
}
END_TEST

/* Whoever is asked for stays, also if it came first. */
START_TEST(what_nobody_asked_for_longest_makes_room)
{
	struct dns_cache cache;
	struct dns_entry *first;
	char name[16];

	dns_cache_init(&cache, MUCH);
	for (unsigned i = 0; i < 10; i++) {
		(void)snprintf(name, sizeof(name), "d%02u", i);
		(void)store(&cache, name, set_of(name, 1, 100, T0 + 9000), T0);
	}
	first = dns_cache_find(&cache, "d00", TXT);
	ck_assert_ptr_nonnull(dns_cache_known(&cache, first, T0));
	cache.max_bytes = cache.bytes; /* as many again, and no more */
	for (unsigned i = 10; i < 19; i++) {
		(void)snprintf(name, sizeof(name), "d%02u", i);
		(void)store(&cache, name, set_of(name, 1, 100, T0 + 9000), T0);
		ck_assert_uint_le(cache.bytes, cache.max_bytes);
		ck_assert_uint_eq(cache.evicted, i - 9);
	}
	ck_assert_ptr_nonnull(dns_cache_find(&cache, "d00", TXT));
	ck_assert_ptr_null(dns_cache_find(&cache, "d01", TXT));
	ck_assert_ptr_null(dns_cache_find(&cache, "d09", TXT));
	ck_assert_ptr_nonnull(dns_cache_find(&cache, "d18", TXT));
	dns_cache_done(&cache);
}
END_TEST

/* What is good for longer stays while it can be used, however old. */
START_TEST(what_is_expired_makes_room_before_what_is_not)
{
	struct dns_cache cache;

	dns_cache_init(&cache, MUCH);
	(void)store(&cache, "good", set_of("good", 1, 100, T0 + 9000), T0);
	(void)store(&cache, "late", set_of("late", 1, 100, T0 + 10), T0);
	cache.max_bytes = cache.bytes;
	(void)store(&cache, "new", set_of("new", 1, 100, T0 + 9000), T0 + 10);
	ck_assert_ptr_null(dns_cache_find(&cache, "late", TXT));
	ck_assert_ptr_nonnull(dns_cache_find(&cache, "good", TXT));
	ck_assert_uint_eq(cache.evicted, 0);
	dns_cache_done(&cache);
}
END_TEST

START_TEST(an_answer_that_is_not_kept_leaves_nothing_behind)
{
	struct dns_cache cache;
	struct dns_entry *entry;

	dns_cache_init(&cache, MUCH);
	(void)store(&cache, "a", set_of("a", 1, 100, T0 + 9000), T0);
	(void)store(&cache, "a",
		    dns_set_failed("a", TXT, DNS_FAILED, "timeout", T0), T0);
	entry = store(&cache, "a", set_of("a", 1, 100, T0 + 20), T0 + 20);
	ck_assert_ptr_nonnull(entry); /* whose flight lands tidies it */
	ck_assert_ptr_null(entry->set);
	ck_assert_ptr_null(entry->failure);
	ck_assert_ptr_null(dns_cache_known(&cache, entry, T0 + 20));
	ck_assert_ptr_null(heap_first(&cache.expiry));
	ck_assert(list_is_empty(&cache.used));
	dns_cache_tidy(&cache, entry);
	ck_assert_ptr_null(dns_cache_find(&cache, "a", TXT));
	dns_cache_done(&cache);
}
END_TEST

START_TEST(many_names_are_kept_apart_by_name_and_type)
{
	enum { NAMES = 1000 };
	struct dns_cache cache;
	char name[16];

	dns_cache_init(&cache, MUCH);
	for (unsigned i = 0; i < NAMES; i++) {
		(void)snprintf(name, sizeof(name), "d%u", i);
		(void)store(&cache, name, set_of(name, i % 3, 1, T0 + 9000),
			    T0);
	}
	ck_assert_uint_eq(cache.count, NAMES);
	/* a table that did not grow would be a list */
	ck_assert_uint_ge(cache.bucket_count, NAMES / 2);
	for (unsigned i = 0; i < NAMES; i++) {
		struct dns_entry *entry;

		(void)snprintf(name, sizeof(name), "d%u", i);
		entry = dns_cache_find(&cache, name, TXT);
		ck_assert_ptr_nonnull(entry);
		ck_assert_uint_eq(entry->set->count, i % 3);
		ck_assert_ptr_null(dns_cache_find(&cache, name, TXT + 1));
	}
	dns_cache_done(&cache);
}
END_TEST

UNIT_MAIN("dns_cache", tcase_add_test(tc, a_set_counts_for_all_that_it_holds);
	  tcase_add_test(tc, why_it_failed_counts_too);
	  tcase_add_test(tc, what_nobody_asked_for_longest_makes_room);
	  tcase_add_test(tc, what_is_expired_makes_room_before_what_is_not);
	  tcase_add_test(tc, an_answer_that_is_not_kept_leaves_nothing_behind);
	  tcase_add_test(tc, many_names_are_kept_apart_by_name_and_type);)
