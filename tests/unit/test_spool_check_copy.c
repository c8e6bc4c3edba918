/* SPDX-License-Identifier: ISC */
/*
 * A check of a log in which old mail was being copied: of most messages there
 * are two records, and either may be damaged.
 */
#include "queue/spool/internal.h"
#include "tests/unit/spool_said.h"

enum {
	OLD = 300,     /* messages; the first becomes a file */
	LAST = 280,    /* not read yet, so nothing from the second chunk on
			  is copied */
	TRIED = 5,     /* has two states */
	SETTLED = 9,   /* when it was copied already */
	ONE = 11,      /* that damage hits */
	FILLER = 1000, /* seeds from here on */
};

static uint64_t old[OLD];
static uint32_t source; /* slot of the older records */

static struct entry *
entry_of(unsigned which)
{
	uint32_t handle = index_find(&box.spool->index, old[which]);

	ck_assert_uint_ne(handle, 0);
	return index_at(&box.spool->index, handle);
}

static void
put_range(unsigned from, unsigned to)
{
	static struct box_put puts[OLD];

	for (unsigned i = from; i < to; i++)
		box_start(&box, &puts[i], i, 0);
	for (unsigned i = from; i < to; i++) {
		box_wait(&box, &puts[i].is_over);
		ck_assert_int_eq(puts[i].status, 0);
		old[i] = puts[i].id;
	}
}

static void
put_old(void)
{
	put_range(0, TRIED + 1);
	/* before what cannot be read yet */
	ck_assert_int_eq(box_state(&box, old[TRIED], "tried once"), 0);
	ck_assert_int_eq(box_state(&box, old[TRIED], "tried twice"), 0);
	put_range(TRIED + 1, OLD);
	/* all in one segment */
	source = entry_of(0)->slot;
	ck_assert_uint_eq(entry_of(OLD - 1)->slot, source);
}

static bool
is_copied(void)
{
	return entry_of(1)->slot != source && entry_of(ONE)->slot != source &&
	       !box.spool->is_retiring;
}

/* A spool whose run was killed with the first chunk copied and the second not
 * read. */
static void
setup(void)
{
	static struct box killed;
	struct box_put filler;
	char command[400];

	world_setup();
	box.opts.segments_soft = 4;
	box.opts.segments_hard = 8;
	box.opts.files_per_s = 1;
	box_open(&box);
	put_old();
	world_shut((off_t)entry_of(LAST)->at * RECORD_ALIGN);
	for (unsigned i = FILLER; box.spool->copying == NULL; i++) {
		uint64_t id;

		ck_assert_int_eq(box_put(&box, i, 3000, &id), 0);
		spool_done(box.spool, id);
	}
	while (!is_copied())
		(void)uv_run(&box.loop, UV_RUN_ONCE);
	ck_assert_uint_eq(entry_of(LAST)->slot, source);
	spool_done(box.spool, old[SETTLED]);
	box_start(&box, &filler, FILLER, 10);
	spool_done(box.spool, filler.id);
	box_wait(&box, &filler.is_over);
	spool_done(box.spool, filler.id);
	while (box.spool->in_flight != 0 || box.spool->filling->item_count != 0)
		(void)uv_run(&box.loop, UV_RUN_ONCE);
	box_init(&killed);
	(void)snprintf(command, sizeof(command), "cp -a '%s/.' '%s'", box.dir,
		       killed.dir);
	ck_assert_int_eq(system(command), 0);
	world_open();
	box_close(&box);
	box_done(&box);
	memcpy(box.dir, killed.dir, sizeof(box.dir));
	disk_use(NULL);
}

/* --------------------------------------------------------------- damaging */

/* The bytes at which a text stands in the older or the later place. */
static size_t
find(const char *text, bool is_later)
{
	size_t found = 0;
	unsigned in = 0;

	for (unsigned slot = 1; slot < 16; slot++) {
		off_t at = find_in_segment(slot, text, strlen(text));

		if (at < 0 || (slot != source) != is_later)
			continue;
		ck_assert_uint_eq(found, 0);
		found = (size_t)at;
		in = slot;
	}
	ck_assert_uint_ne(found, 0);
	(void)segment_of(in);
	return found;
}

/* A byte so far from where the text begins. */
static void
flip_by(const char *text, bool is_later, int distance)
{
	size_t at = find(text, is_later);

	flip(path, (size_t)((long)at + distance));
}

static void
damage(unsigned which, bool is_later)
{
	char envelope[64];

	box_envelope(which, envelope);
	flip_by(envelope, is_later, 7);
}

static void
damage_nothing(void)
{
}

static void
damage_older(void)
{
	damage(ONE, false);
}

static void
damage_later(void)
{
	damage(ONE, true);
}

static void
damage_both(void)
{
	damage(ONE, false);
	damage(ONE, true);
}

/* Of the message with states, in one place or the other. */
static void
damage_tried_older(void)
{
	damage(TRIED, false);
}

static void
damage_tried_later(void)
{
	damage(TRIED, true);
}

static void
damage_older_state(void)
{
	flip_by("tried once", false, 3);
}

static void
damage_later_state(void)
{
	flip_by("tried once", true, 3);
}

/* A record's header: where the next one begins is not known. */
static void
damage_header(bool is_later)
{
	char envelope[64];

	box_envelope(ONE, envelope);
	flip_by(envelope, is_later, 9 - RECORD_HEADER);
}

static void
damage_later_header(void)
{
	damage_header(true);
}

static void
damage_both_headers(void)
{
	damage_header(false);
	damage_header(true);
}

static void
damage_batch_of_copies(void)
{
	char envelope[64];
	uint8_t block[FORMAT_BLOCK];
	size_t at;
	int fd;

	box_envelope(1, envelope);
	at = find(envelope, true) & ~(size_t)(FORMAT_BLOCK - 1);
	fd = open(path, O_RDONLY);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(disk_read(fd, block, sizeof(block), at), 0);
	close(fd);
	ck_assert(batch_peek_tag(block, &(uint64_t){0}));
	flip(path, at + 30);
}

/* ---------------------------------------------------------------- checking */

static void
check_whole(bool is_repair, struct said *said)
{
	check_spool(is_repair, said);
	ck_assert_msg(said->rc == 0, "%s", said->err.text);
}

static unsigned
times_found(uint64_t id)
{
	unsigned times = 0;

	for (size_t i = 0; i < box.found_count; i++)
		times += box.found[i].id == id;
	return times;
}

/*
 * Every message once, with its envelope and states; lost: none, or one.
 *
 * Returns how many others there are, of those that filled the log.
 */
static size_t
look_at_all(unsigned lost, const char *states)
{
	for (unsigned i = 0; i < OLD; i++) {
		const struct box_found *found = box_find(&box, old[i]);
		bool is_there = i != SETTLED && i != lost;
		char envelope[64];

		ck_assert_msg(times_found(old[i]) == is_there,
			      "message %u: %u times, %s", i,
			      times_found(old[i]), box.last_report);
		if (!is_there)
			continue;
		box_envelope(i, envelope);
		ck_assert_str_eq(found->envelope, envelope);
		ck_assert_msg(strcmp(found->states, i == TRIED ? states : "") ==
				      0,
			      "message %u: %s", i, found->states);
	}
	return box.found_count - (OLD - 1 - (lost < OLD));
}

#define BOTH_STATES "tried once\ntried twice\n"

static const struct {
	const char *name;
	void (*damage)(void);
	const char *kind; /* of damage, NULL: none */
	unsigned lost;
	const char *states;
} kinds[] = {
	{"nothing", damage_nothing, NULL, OLD, BOTH_STATES},
	{"the older one", damage_older, "record damage|", OLD, BOTH_STATES},
	{"the later one", damage_later, "record damage|", OLD, BOTH_STATES},
	{"both", damage_both, "record damage|", ONE, BOTH_STATES},
	{"the older one of a group", damage_tried_older, "record damage|", OLD,
	 BOTH_STATES},
	{"the later one of a group", damage_tried_later, "record damage|", OLD,
	 BOTH_STATES},
	{"an older state", damage_older_state, "record damage|", OLD,
	 BOTH_STATES},
	{"a later state", damage_later_state, "record damage|", OLD,
	 BOTH_STATES},
	{"a later one's header", damage_later_header, "batch damage|", OLD,
	 BOTH_STATES},
	{"both headers", damage_both_headers, "batch damage|", ONE,
	 BOTH_STATES},
	{"the header of a batch of copies", damage_batch_of_copies,
	 "batch damage|", OLD, BOTH_STATES},
};

START_TEST(a_repair_keeps_each_message_that_is_whole_in_one_of_its_places)
{
	struct said said;

	kinds[_i].damage();
	check_whole(false, &said);
	ck_assert_msg(kinds[_i].kind == NULL
			      ? said.check.damages == 0
			      : strstr(said.kinds, kinds[_i].kind) != NULL,
		      "%s: %s", kinds[_i].name, said.kinds);
	ck_assert_uint_eq(said.check.repaired, 0);
	check_whole(true, &said);
	ck_assert_uint_eq(said.check.damages, said.check.repaired);
	ck_assert_uint_eq(said.check.messages,
			  OLD - 1 - (kinds[_i].lost < OLD));
	check_whole(true, &said);
	ck_assert_msg(said.check.damages == 0, "%s: %s", kinds[_i].name,
		      said.kinds);
	for (unsigned i = 0; i < 2; i++) {
		box_open(&box);
		ck_assert_msg(box.errors == 0, "%s", box.last_report);
		ck_assert_uint_eq(look_at_all(kinds[_i].lost, kinds[_i].states),
				  0);
		box_close(&box);
	}
}
END_TEST

START_TEST(a_start_without_a_repair_keeps_the_same)
{
	kinds[_i].damage();
	for (unsigned i = 0; i < 2; i++) {
		size_t others;

		box_open(&box);
		others = look_at_all(kinds[_i].lost, kinds[_i].states);
		/* one may have its end in the batch that is not found */
		ck_assert(others == 0 ||
			  kinds[_i].damage == damage_batch_of_copies);
		box_close(&box);
	}
}
END_TEST

UNIT_MAIN(
	"spool_check_copy",
	tcase_add_checked_fixture(tc, setup, world_teardown);
	tcase_set_timeout(tc, 300); tcase_add_loop_test(
		tc,
		a_repair_keeps_each_message_that_is_whole_in_one_of_its_places,
		0, (int)COUNT(kinds));
	tcase_add_loop_test(tc, a_start_without_a_repair_keeps_the_same, 0,
			    (int)COUNT(kinds));)
