/* SPDX-License-Identifier: ISC */
/*
 * tests/unit/spool_damage.h - a stopped spool to damage, check and repair
 */
#ifndef OSTLER_TESTS_UNIT_SPOOL_DAMAGE_H
#define OSTLER_TESTS_UNIT_SPOOL_DAMAGE_H

#include "lib/crc32c.h"
#include "queue/spool/format.h"
#include "tests/unit/spool_said.h"

enum { SMALL = 6, LARGE = 2, ALL = SMALL + LARGE };

static uint64_t ids[ALL], settled;

static size_t
size_of(unsigned which)
{
	return which < SMALL ? 200 + 700 * which : 20000 + which;
}

/* Messages in the log and in files, some with states; cleanly closed. */
static void
setup(void)
{
	world_setup();
	box_open(&box);
	for (unsigned i = 0; i < ALL; i++)
		ck_assert_int_eq(box_put(&box, i, size_of(i), &ids[i]), 0);
	ck_assert_int_eq(box_put(&box, 99, 300, &settled), 0);
	ck_assert_int_eq(box_state(&box, ids[0], "tried once"), 0);
	ck_assert_int_eq(box_state(&box, ids[SMALL], "tried"), 0);
	spool_done(box.spool, settled);
	box_close(&box);
}

/* Names, sizes, modes and contents of all files, as one number. */
static uint32_t tree_crc;

static int
add_to_crc(const char *file, const struct stat *st, int type, struct FTW *ftw)
{
	uint64_t facts[2] = {(uint64_t)st->st_size, st->st_mode};
	uint32_t crc = crc32c(0, file, strlen(file));
	int fd;

	(void)ftw;
	if (type == FTW_D)
		facts[0] = 0;
	crc = crc32c(crc, facts, sizeof(facts));
	fd = type == FTW_F ? open(file, O_RDONLY) : -1;
	if (fd >= 0) {
		uint8_t *bytes = mem_alloc((size_t)st->st_size + 1);

		ck_assert_int_eq(disk_read(fd, bytes, (size_t)st->st_size, 0),
				 0);
		crc = crc32c(crc, bytes, (size_t)st->st_size);
		free(bytes);
		close(fd);
	}
	tree_crc += crc; /* the order of a folder may be any */
	return 0;
}

static uint32_t
tree(void)
{
	tree_crc = 0;
	ck_assert_int_eq(nftw(box.dir, add_to_crc, 16, FTW_PHYS), 0);
	return tree_crc;
}

/*
 * Opens what was repaired: nothing is complained of, and what is there is
 * whole. Returns a bit for each message.
 *
 * may_return  whether the settled one may be there, its end being damaged
 */
static unsigned
open_and_look(bool may_return)
{
	unsigned there = 0;
	size_t more;

	box_open(&box);
	ck_assert_msg(box.errors == 0, "%s", box.last_report);
	for (unsigned i = 0; i < ALL; i++) {
		const struct box_found *found = box_find(&box, ids[i]);
		char envelope[64];

		if (found == NULL)
			continue;
		box_envelope(i, envelope);
		ck_assert_str_eq(found->envelope, envelope);
		ck_assert_int_eq(box_check_body(&box, ids[i], i, size_of(i)),
				 0);
		there |= 1u << i;
	}
	more = box.found_count - (size_t)__builtin_popcount(there);
	ck_assert_uint_eq(more, box_find(&box, settled) != NULL);
	ck_assert(more == 0 || may_return);
	box_close(&box);
	return there;
}

/* ------------------------------------------------------------- damaging */

/* Where the record begins in the log that has the text: its file in path. */
static size_t
record_with(const char *text)
{
	for (unsigned slot = 1; slot < 10; slot++) {
		off_t at = find_in_segment(slot, text, strlen(text));

		if (at >= 0)
			return (size_t)at - RECORD_HEADER;
	}
	ck_abort_msg("it is not in the log");
	return 0;
}

/* The same of a small message. */
static size_t
record_of(unsigned which)
{
	char envelope[64];

	box_envelope(which, envelope);
	return record_with(envelope);
}

static void
damage_record_body(void)
{
	size_t at = record_of(2);

	flip(path, at + RECORD_HEADER + 300);
}

static void
damage_file_body(void)
{
	flip(file_of(ids[SMALL]), 10000);
}

static void
remove_file(void)
{
	ck_assert_int_eq(unlink(file_of(ids[SMALL])), 0);
}

#define BIT(which) (1u << (which))
#define EVERY	   (BIT(ALL) - 1)

#endif
