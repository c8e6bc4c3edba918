/* SPDX-License-Identifier: ISC */
/* Damaged spools of each kind: what the check says, and what a repair keeps. */
#include <errno.h>

#include "tests/unit/spool_damage.h"

static void
do_nothing(void)
{
}

static void
remove_version(void)
{
	ck_assert_int_eq(unlink(in_spool("VERSION")), 0);
}

static void
damage_version(void)
{
	flip(in_spool("VERSION"), 20);
}

static void
damage_batch_header(void)
{
	size_t at = record_of(2);

	flip(path, at - BATCH_HEADER + 30);
}

/* Nothing tells any more what the segment was used as, but its records. */
static void
damage_batch_headers(void)
{
	struct stat st;

	box_open(&box);
	box_close(&box); /* in another segment */
	(void)record_of(2);
	ck_assert_int_eq(stat(path, &st), 0);
	for (size_t at = 0; at < (size_t)st.st_size; at += FORMAT_BLOCK)
		flip(path, at);
}

static void
damage_record_header(void)
{
	size_t at = record_of(2);

	flip(path, at + 9);
}

static void
damage_file_head(void)
{
	flip(file_of(ids[SMALL]), 30);
}

static void
damage_file_envelope(void)
{
	flip(file_of(ids[SMALL]), FILE_HEAD_BYTES + 8);
}

static void
cut_file(void)
{
	ck_assert_int_eq(truncate(file_of(ids[SMALL]), 15000), 0);
}

static void
damage_states(void)
{
	char line[80];
	size_t len = file_state_encode(ids[SMALL + 1], 1, "one", 3, line);

	line[len - 2] ^= 1;
	append(file_of(ids[SMALL + 1]), line, len);
	len = file_state_encode(ids[SMALL + 1], 2, "two", 3, line);
	append(file_of(ids[SMALL + 1]), line, len);
}

static void
tear_states(void)
{
	append(file_of(ids[SMALL + 1]), "state 1 00", 10);
}

static void
add_stranger(void)
{
	file_of(ids[SMALL]);
	strcpy(strrchr(path, '/'), "/core.1234");
	write_file(path, "what is this?");
}

static void
misplace_file(void)
{
	char from[300], name[SPOOL_ID_MAX];

	snprintf(from, sizeof(from), "%s", file_of(ids[SMALL]));
	spool_id_format(ids[SMALL], name);
	file_of(ids[SMALL] + 1);
	strcpy(strrchr(path, '/'), "");
	(void)mkdir(path, 0700);
	strcat(path, "/");
	strcat(path, name);
	ck_assert_int_eq(rename(from, path), 0);
}

static void
open_modes(void)
{
	ck_assert_int_eq(chmod(file_of(ids[SMALL]), 0644), 0);
	ck_assert_int_eq(chmod(in_spool("log"), 0755), 0);
}

static void
add_false_segment(void)
{
	ck_assert_int_eq(mkdir(in_spool("log/017.seg"), 0700), 0);
}

static void
leave_orphan(void)
{
	write_file(in_spool("tmp/12"), "half a mess");
}

static void
lose_the_log(void)
{
	for (unsigned slot = 1; slot < 10; slot++) {
		char name[32];

		snprintf(name, sizeof(name), "log/%03u.seg", slot);
		(void)unlink(in_spool(name));
	}
}

static const struct {
	const char *name;
	void (*damage)(void);
	const char *kind; /* that is told, NULL: none */
	unsigned left;	  /* of the messages, after a repair */
} kinds[] = {
	{"nothing", do_nothing, NULL, EVERY},
	{"VERSION missing", remove_version, "version damage|", EVERY},
	{"VERSION damaged", damage_version, "version damage|", EVERY},
	{"a batch's header", damage_batch_header, "batch damage|", EVERY},
	{"all headers of a segment", damage_batch_headers, "batch damage|",
	 EVERY},
	{"a record's header", damage_record_header, "batch damage|",
	 EVERY & ~BIT(2)},
	{"a record's body", damage_record_body, "record damage|batch damage|",
	 EVERY & ~BIT(2)},
	{"a file's head", damage_file_head, "file damage|",
	 EVERY & ~BIT(SMALL)},
	{"a file's envelope", damage_file_envelope, "file damage|",
	 EVERY & ~BIT(SMALL)},
	{"a file's body", damage_file_body, "body damage|",
	 EVERY & ~BIT(SMALL)},
	{"a file cut", cut_file, "file damage|", EVERY & ~BIT(SMALL)},
	{"a file removed", remove_file, "missing damage|", EVERY & ~BIT(SMALL)},
	{"a state line", damage_states, "states damage|", EVERY},
	{"a torn state line", tear_states, NULL, EVERY},
	{"a strange file", add_stranger, "name damage|", EVERY},
	{"a file elsewhere", misplace_file, "name damage|", EVERY},
	{"modes", open_modes, "permission damage|permission damage|", EVERY},
	{"a folder as segment", add_false_segment, "name damage|", EVERY},
	{"an orphan", leave_orphan, "orphan note|", EVERY},
	{"all segments gone", lose_the_log, "id damage|",
	 BIT(SMALL) | BIT(SMALL + 1)},
};

START_TEST(each_kind_of_damage_is_told_and_repaired_once)
{
	struct said said;
	uint32_t before, after;
	bool is_note;

	kinds[_i].damage();
	is_note = kinds[_i].kind != NULL && strstr(kinds[_i].kind, "note");
	before = tree();
	check_spool(false, &said);
	ck_assert_msg(said.rc == 0 || kinds[_i].damage == add_false_segment,
		      "%s", said.err.text);
	ck_assert_uint_eq(tree(), before); /* it only looks */
	ck_assert_msg(kinds[_i].kind == NULL
			      ? said.kinds[0] == '\0'
			      : strstr(said.kinds, kinds[_i].kind) != NULL,
		      "%s: %s", kinds[_i].name, said.kinds);
	ck_assert_uint_eq(said.check.repaired, 0);

	check_spool(true, &said);
	ck_assert_msg(said.rc == 0, "%s", said.err.text);
	ck_assert_uint_eq(said.check.damages, said.check.repaired);
	ck_assert(said.check.damages != 0 || kinds[_i].kind == NULL || is_note);

	after = tree();
	check_spool(true, &said);
	ck_assert_int_eq(said.rc, 0);
	ck_assert_msg(said.check.damages == 0, "%s", said.kinds);
	ck_assert_uint_eq(tree(), after);
	ck_assert_uint_eq(said.check.messages,
			  (uint64_t)__builtin_popcount(kinds[_i].left));
	ck_assert_msg(open_and_look(false) == kinds[_i].left, "%s",
		      kinds[_i].name);
}
END_TEST

START_TEST(states_survive_a_repair)
{
	struct said said;

	damage_record_body();
	check_spool(true, &said);
	ck_assert_int_eq(said.rc, 0);
	box_open(&box);
	ck_assert_str_eq(box_find(&box, ids[0])->states, "tried once\n");
	ck_assert_str_eq(box_find(&box, ids[SMALL])->states, "tried\n");
	box_close(&box);
}
END_TEST

START_TEST(state_lines_that_hold_are_kept)
{
	struct said said;

	damage_states();
	check_spool(true, &said);
	ck_assert_int_eq(said.rc, 0);
	ck_assert_uint_eq(said.check.set_aside, 1);
	box_open(&box);
	ck_assert_str_eq(box_find(&box, ids[SMALL + 1])->states, "two\n");
	box_close(&box);
}
END_TEST

START_TEST(a_message_is_not_settled_whose_report_is_damaged)
{
	struct box_put report;
	struct said said;
	uint64_t later;
	size_t at;

	box_open(&box);
	spool_group_begin(box.spool);
	box_start(&box, &report, 50, 300);
	spool_done(box.spool, ids[0]);
	spool_group_end(box.spool);
	box_wait(&box, &report.is_over);
	ck_assert_int_eq(report.status, 0);
	ck_assert_int_eq(box_put(&box, 51, 300, &later), 0);
	box_close(&box);
	at = record_of(50);
	flip(path, at + RECORD_HEADER + 200);
	check_spool(true, &said);
	ck_assert_int_eq(said.rc, 0);
	ck_assert_str_eq(said.kinds,
			 "record damage|record damage|batch damage|");
	box_open(&box);
	ck_assert_ptr_null(box_find(&box, report.id));
	ck_assert_ptr_nonnull(box_find(&box, ids[0]));
	ck_assert_ptr_nonnull(box_find(&box, later));
	box_close(&box);
}
END_TEST

/* The log has lost the later of two, and the file has both. */
START_TEST(states_behind_the_last_of_a_damaged_log_stay_in_the_file)
{
	char lines[128];
	size_t len, at;
	struct said said;

	box_open(&box);
	ck_assert_int_eq(box_state(&box, ids[SMALL], "again"), 0);
	box_close(&box);
	len = file_state_encode(ids[SMALL], 1, "tried", 5, lines);
	len += file_state_encode(ids[SMALL], 2, "again", 5, lines + len);
	append(file_of(ids[SMALL]), lines, len);
	at = record_with("again");
	flip(path, at + RECORD_HEADER);
	check_spool(true, &said);
	ck_assert_int_eq(said.rc, 0);
	box_open(&box);
	ck_assert_str_eq(box_find(&box, ids[SMALL])->states, "tried\nagain\n");
	box_close(&box);
}
END_TEST

/* A start was cut short behind the file of a message and before its segment
 * was given up; then the log is damaged. */
START_TEST(states_of_a_file_stay_when_the_log_has_lost_them)
{
	char envelope[64], line[64];
	uint8_t body[200];
	size_t len = file_state_encode(ids[0], 1, "tried once", 10, line);
	struct files files = {.fd = open(in_spool("msg"), O_RDONLY)};
	struct log_text text = {.text = envelope, .body = body};
	struct said said;
	size_t at;
	int fd;

	box_envelope(0, envelope);
	box_body(0, body, sizeof(body));
	ck_assert_uint_eq(size_of(0), sizeof(body));
	text.record = (struct record_head){
		.id = ids[0],
		.text_bytes = (uint32_t)strlen(envelope),
		.payload = (uint32_t)(strlen(envelope) + sizeof(body)),
		.body_crc = crc32c(0, body, sizeof(body)),
	};
	fd = files_write(&files, &text, line, len);
	ck_assert_int_ge(fd, 0);
	close(fd);
	close(files.fd);
	at = record_with("tried once");
	flip(path, at + RECORD_HEADER);
	check_spool(true, &said);
	ck_assert_int_eq(said.rc, 0);
	ck_assert_str_eq(said.kinds, "record damage|batch damage|");
	box_open(&box);
	ck_assert_str_eq(box_find(&box, ids[0])->states, "tried once\n");
	box_close(&box);
	ck_assert_uint_eq(open_and_look(false), EVERY);
}
END_TEST

START_TEST(a_spool_in_use_is_left_alone)
{
	struct said said;

	box_open(&box);
	check_spool(false, &said);
	ck_assert_int_eq(said.rc, -EBUSY);
	check_spool(true, &said);
	ck_assert_int_eq(said.rc, -EBUSY);
	box_close(&box);
}
END_TEST

START_TEST(a_folder_that_is_no_spool_is_refused)
{
	struct said said;
	uint32_t before;

	remove_version();
	lose_the_log();
	before = tree();
	check_spool(false, &said);
	ck_assert_int_eq(said.rc, -ENOENT);
	ck_assert_uint_eq(tree(), before);
	write_file(in_spool("VERSION"), "ostler-spool 2 0123456789abcdef\n");
	check_spool(true, &said);
	ck_assert_int_eq(said.rc, -EPROTO);
}
END_TEST

/* ------------------------------------------------------------ random flips */

static uint64_t dice;

static size_t throw(size_t sides)
{
	dice ^= dice << 13;
	dice ^= dice >> 7;
	dice ^= dice << 17;
	return (size_t)(dice >> 16) % sides;
}

struct saved {
	char path[300];
	uint8_t *bytes;
	size_t len;
};
static struct saved saved[64];
static size_t saved_count;

static int
save_file(const char *from, const struct stat *st, int type, struct FTW *ftw)
{
	struct saved *to = &saved[saved_count];
	int fd;

	(void)ftw;
	if (type != FTW_F || st->st_size == 0 || strstr(from, "/LOCK") != NULL)
		return 0;
	ck_assert_uint_lt(++saved_count, COUNT(saved));
	snprintf(to->path, sizeof(to->path), "%s", from);
	to->len = (size_t)st->st_size;
	to->bytes = mem_alloc(to->len);
	fd = open(from, O_RDONLY);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(disk_read(fd, to->bytes, to->len, 0), 0);
	close(fd);
	return 0;
}

/* The bytes of a file that the flips did not miss: which message is it? */
static unsigned
hit_by(const struct saved *file, size_t at)
{
	for (unsigned i = 0; i < ALL; i++) {
		char envelope[64], name[SPOOL_ID_MAX];
		const uint8_t *text;
		size_t begin;

		spool_id_format(ids[i], name);
		if (strstr(file->path, name) != NULL)
			return BIT(i);
		if (i >= SMALL || strstr(file->path, ".seg") == NULL)
			continue;
		box_envelope(i, envelope);
		text = memmem(file->bytes, file->len, envelope,
			      strlen(envelope));
		if (text == NULL)
			continue;
		begin = (size_t)(text - file->bytes) - RECORD_HEADER;
		if (at >= begin &&
		    at < begin + RECORD_HEADER + strlen(envelope) + size_of(i))
			return BIT(i);
	}
	return 0;
}

/* A flip where something is: most of a segment is zero. */
static unsigned
flip_somewhere(struct saved *file)
{
	size_t at = throw(file->len);

	for (unsigned i = 0; i < 2000 && file->bytes[at] == 0; i++)
		at = throw(file->len);
	flip(file->path, at);
	return hit_by(file, at);
}

static int
remove_any(const char *from, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	if (ftw->level == 0)
		return 0;
	return remove(from);
}

static void
restore(void)
{
	ck_assert_int_eq(nftw(box.dir, remove_any, 16, FTW_DEPTH | FTW_PHYS),
			 0);
	for (size_t i = 0; i < saved_count; i++) {
		struct saved *file = &saved[i];
		int fd;

		/* the folders on the way, below the spool */
		for (char *slash =
			     strchr(file->path + strlen(box.dir) + 1, '/');
		     slash != NULL; slash = strchr(slash + 1, '/')) {
			*slash = '\0';
			(void)mkdir(file->path, 0700);
			*slash = '/';
		}
		fd = open(file->path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
		ck_assert_int_ge(fd, 0);
		ck_assert_int_eq(disk_write(fd, file->bytes, file->len, 0), 0);
		close(fd);
	}
}

START_TEST(random_flips_cost_only_the_messages_they_hit)
{
	const char *slow = getenv("OSTLER_SLOW");
	unsigned rounds = slow != NULL ? 20000 : 150, damaged = 0;

	dice = 0x1234567 + (uint64_t)_i;
	ck_assert_int_eq(nftw(box.dir, save_file, 16, FTW_PHYS), 0);
	for (unsigned round = 0; round < rounds; round++) {
		unsigned flips = 1 + (unsigned) throw(4), hit = 0, there;
		struct said said;
		uint32_t after;

		restore();
		for (unsigned i = 0; i < flips; i++)
			hit |= flip_somewhere(&saved[throw(saved_count)]);
		check_spool(false, &said);
		damaged += said.check.damages != 0;
		check_spool(true, &said);
		ck_assert_msg(said.rc == 0, "round %u: %s", round,
			      said.err.text);
		after = tree();
		check_spool(true, &said);
		ck_assert_msg(said.rc == 0 && said.check.damages == 0,
			      "round %u: %s", round, said.kinds);
		ck_assert_uint_eq(tree(), after);
		there = open_and_look(true);
		ck_assert_msg((there | hit) == EVERY,
			      "round %u: hit %x, there %x", round, hit, there);
	}
	ck_assert_uint_gt(damaged, rounds / 2);
	for (size_t i = 0; i < saved_count; i++)
		free(saved[i].bytes);
	saved_count = 0;
}
END_TEST

UNIT_MAIN("spool_check", tcase_add_checked_fixture(tc, setup, world_teardown);
	  tcase_set_timeout(tc, 3600);
	  tcase_add_loop_test(tc, each_kind_of_damage_is_told_and_repaired_once,
			      0, (int)COUNT(kinds));
	  tcase_add_test(tc, states_survive_a_repair);
	  tcase_add_test(tc, state_lines_that_hold_are_kept);
	  tcase_add_test(tc, a_message_is_not_settled_whose_report_is_damaged);
	  tcase_add_test(tc, states_of_a_file_stay_when_the_log_has_lost_them);
	  tcase_add_test(
		  tc, states_behind_the_last_of_a_damaged_log_stay_in_the_file);
	  tcase_add_test(tc, a_spool_in_use_is_left_alone);
	  tcase_add_test(tc, a_folder_that_is_no_spool_is_refused);
	  tcase_add_loop_test(tc, random_flips_cost_only_the_messages_they_hit,
			      0, 2);)
