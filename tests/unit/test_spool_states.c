/* SPDX-License-Identifier: ISC */
/* Envelopes and states as a start and a stopped spool give them back. */
#include "queue/spool/check.h"
#include "tests/unit/spool_world.h"

/* ------------------------------------------------- read back at the start */

enum { MESSAGES = 150 };

struct kept {
	uint64_t id;
	size_t envelope_bytes;
	char states[256];
};

static void
big_envelope(unsigned seed, size_t bytes, char *to)
{
	box_envelope(seed, to);
	memset(to + strlen(to), 'a' + (int)(seed % 26), bytes - strlen(to));
	to[bytes - 1] = '\n';
	to[bytes] = '\0';
}

/* Envelopes and bodies of many sizes, each with some states, which were given
 * to all in turn and so stand in other places than what they belong to. */
static void
fill(struct kept kept[MESSAGES])
{
	static const size_t sizes[] = {100,  150,   300,   1000,
				       5000, 20000, 60000, 600000};
	static char envelope[600001];
	static uint8_t body[9000];

	box.opts.segment_bytes = 1 << 20;
	box_open(&box);
	for (unsigned i = 0; i < MESSAGES; i++) {
		struct box_put put;

		kept[i].envelope_bytes = sizes[i % (i % 10 == 9 ? 8 : 5)];
		kept[i].states[0] = '\0';
		big_envelope(i, kept[i].envelope_bytes, envelope);
		box_body(i, body, sizeof(body));
		box_begin(&box, &put);
		(void)spool_put_data(&put.put, body,
				     i % 4 == 0 ? sizeof(body) : i);
		spool_put_end(&put.put, envelope);
		box_wait(&box, &put.is_over);
		ck_assert_int_eq(put.status, 0);
		kept[i].id = put.id;
	}
	for (unsigned round = 0; round < 4; round++)
		for (unsigned i = 0; i < MESSAGES; i++) {
			char line[32];

			if (i % 5 < round)
				continue;
			snprintf(line, sizeof(line), "round %u of %u", round,
				 i);
			if (i + 1 < MESSAGES)
				spool_state(box.spool, kept[i].id, line, NULL,
					    NULL);
			else
				ck_assert_int_eq(box_state(&box, kept[i].id,
							   line),
						 0);
			strcat(strcat(kept[i].states, line), "\n");
		}
	box_close(&box);
}

static void
check_found(const struct kept kept[MESSAGES])
{
	static char envelope[600001];

	ck_assert_uint_eq(box.errors, 0);
	ck_assert_uint_eq(box.found_count, MESSAGES);
	for (unsigned i = 0; i < MESSAGES; i++) {
		const struct box_found *found = box_find(&box, kept[i].id);

		ck_assert_ptr_nonnull(found);
		big_envelope(i, kept[i].envelope_bytes, envelope);
		ck_assert_str_eq(found->envelope, envelope);
		ck_assert_str_eq(found->states, kept[i].states);
	}
}

START_TEST(a_start_gives_back_each_envelope_and_its_states)
{
	static struct kept kept[MESSAGES];
	struct err err;

	fill(kept);
	ck_assert_int_eq(spool_scan(box.dir, box_add_found, box_on_report, &box,
				    &err),
			 0);
	check_found(kept);
	box_open(&box);
	check_found(kept);
	box_close(&box);
}
END_TEST

/* All but those of what is wanted itself, and of whole segments. */
static ssize_t
pread_only_little(int fd, void *to, size_t len, off_t at)
{
	if (len % 8192 == 0 && len <= 512 << 10) {
		errno = EIO;
		return -1;
	}
	return disk_calls_real.pread(fd, to, len, at);
}

START_TEST(a_bad_block_beside_a_message_is_not_held_against_it)
{
	static struct kept kept[MESSAGES];

	fill(kept);
	world_disk.pread = pread_only_little;
	box_open(&box);
	disk_use(NULL);
	check_found(kept);
	box_close(&box);
}
END_TEST

/* ------------------------------------------- of a message that is a file */

enum { LINE = 4 << 20 };

/* A line of the stopped spool's file. */
static void
append_state(uint64_t id, uint32_t number)
{
	static char text[LINE], line[LINE + FILE_LINE_SUFFIX];
	size_t len;

	memset(text, 'a' + (int)(number % 26), sizeof(text));
	len = file_state_encode(id, number, text, sizeof(text), line);
	append(file_of(id), line, len);
}

static void
check_many(unsigned lines)
{
	ck_assert_uint_eq(box.errors, 0);
	ck_assert_uint_eq(box.found_count, 1);
	ck_assert_uint_eq(strlen(box.found[0].states),
			  (size_t)lines * (LINE + 1));
}

static void
on_finding(void *arg, const struct spool_finding *finding)
{
	ck_abort_msg("%s: %s", finding->file, finding->text);
}

START_TEST(states_of_more_than_64_mib_are_no_damage)
{
	enum { LINES = 17 };
	struct spool_check check = {.found = on_finding};
	uint64_t id;

	box_open(&box);
	ck_assert_int_eq(box_put(&box, 1, 100000, &id), 0);
	box_close(&box);
	for (unsigned i = 1; i <= LINES; i++)
		append_state(id, i);
	ck_assert_int_eq(spool_scan(box.dir, box_add_found, box_on_report, &box,
				    &box.err),
			 0);
	check_many(LINES);
	ck_assert_int_eq(spool_check(box.dir, &check, &box.err), 0);
	ck_assert_uint_eq(check.in_files, 1);
	box_open(&box);
	check_many(LINES);
	box_close(&box);
}
END_TEST

static unsigned files_opened, files_held;

static int
counting_openat(int dir, const char *name, int flags, mode_t mode)
{
	/* XX/ID, by one worker: all are in one folder */
	if (strlen(name) == 3 + 13 && name[2] == '/') {
		files_opened++;
		if (files_opened - box.found_count > files_held)
			files_held = files_opened - (unsigned)box.found_count;
	}
	return disk_calls_real.openat(dir, name, flags, mode);
}

START_TEST(a_start_holds_few_files_with_many_states_at_once)
{
	enum { FOLDERS = 256, FILES = 6 };
	static uint64_t ids[FILES];

	box_open(&box);
	for (unsigned i = 0; i < FILES; i++) {
		for (unsigned k = 0; i != 0 && k < FOLDERS - 1; k++) {
			struct box_put put;

			box_begin(&box, &put);
			spool_put_abort(&put.put);
		}
		ck_assert_int_eq(box_put(&box, i, 20000, &ids[i]), 0);
		ck_assert_uint_eq(ids[i] % FOLDERS, ids[0] % FOLDERS);
	}
	box_close(&box);
	for (unsigned i = 0; i < FILES; i++)
		append_state(ids[i], 1);
	world_disk.openat = counting_openat;
	box_open(&box);
	disk_use(NULL);
	ck_assert_uint_eq(box.found_count, FILES);
	ck_assert_uint_eq(files_opened, FILES);
	ck_assert_uint_le(files_held, 2);
	box_close(&box);
}
END_TEST

UNIT_MAIN("spool states",
	  tcase_add_checked_fixture(tc, world_setup, world_teardown);
	  tcase_add_test(tc, a_start_gives_back_each_envelope_and_its_states);
	  tcase_add_test(tc,
			 a_bad_block_beside_a_message_is_not_held_against_it);
	  tcase_add_test(tc, states_of_more_than_64_mib_are_no_damage);
	  tcase_add_test(tc, a_start_holds_few_files_with_many_states_at_once);)
