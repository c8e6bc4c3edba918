/* SPDX-License-Identifier: ISC */
/* Damaged spools of each kind: what the check says, and what a repair keeps. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>

#include "lib/crc32c.h"
#include "queue/spool/check.h"
#include "queue/spool/files.h"
#include "queue/spool/format.h"
#include "tests/unit/spool_box.h"

enum { SMALL = 6, LARGE = 2, ALL = SMALL + LARGE };

static struct box box;
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
	box_init(&box);
	box_open(&box);
	for (unsigned i = 0; i < ALL; i++)
		ck_assert_int_eq(box_put(&box, i, size_of(i), &ids[i]), 0);
	ck_assert_int_eq(box_put(&box, 99, 300, &settled), 0);
	ck_assert_int_eq(box_state(&box, ids[0], "tried once"), 0);
	ck_assert_int_eq(box_state(&box, ids[SMALL], "tried"), 0);
	spool_done(box.spool, settled);
	box_close(&box);
}

static void
teardown(void)
{
	box_done(&box);
}

/* ---------------------------------------------------------------- checking */

struct said {
	char kinds[4096]; /* "kind damage|kind note|" */
	struct spool_check check;
	struct err err;
	int rc;
};

static void
on_finding(void *arg, const struct spool_finding *finding)
{
	struct said *said = arg;
	size_t len = strlen(said->kinds);

	snprintf(said->kinds + len, sizeof(said->kinds) - len, "%s %s|",
		 finding->kind, finding->is_damage ? "damage" : "note");
	ck_assert(finding->file[0] != '\0' && finding->text[0] != '\0');
}

static void
check_spool(bool is_repair, struct said *said)
{
	memset(said, 0, sizeof(*said));
	said->check.is_repair = is_repair;
	said->check.found = on_finding;
	said->check.arg = said;
	said->rc = spool_check(box.dir, &said->check, &said->err);
}

/* Names, sizes, modes and contents of all files, as one number. */
static uint32_t tree_crc;

static int
add_to_crc(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	uint64_t facts[2] = {(uint64_t)st->st_size, st->st_mode};
	uint32_t crc = crc32c(0, path, strlen(path));
	int fd;

	(void)ftw;
	if (type == FTW_D)
		facts[0] = 0;
	crc = crc32c(crc, facts, sizeof(facts));
	fd = type == FTW_F ? open(path, O_RDONLY) : -1;
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

static char path[300];

static char *
in_spool(const char *name)
{
	snprintf(path, sizeof(path), "%s/%s", box.dir, name);
	return path;
}

static char *
file_of(uint64_t id)
{
	char name[FILES_NAME_MAX], below[FILES_NAME_MAX + 8];

	snprintf(below, sizeof(below), "msg/%s", files_name(id, name));
	return in_spool(below);
}

static void
flip(const char *file, size_t at)
{
	int fd = open(file, O_RDWR);
	uint8_t byte;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(disk_read(fd, &byte, 1, at), 0);
	byte ^= 0x20;
	ck_assert_int_eq(disk_write(fd, &byte, 1, at), 0);
	close(fd);
}

static void
write_file(const char *file, const char *text)
{
	FILE *to = fopen(file, "w");

	ck_assert_ptr_nonnull(to);
	fputs(text, to);
	fclose(to);
	chmod(file, 0600);
}

static void
append(const char *file, const char *text, size_t len)
{
	FILE *to = fopen(file, "a");

	ck_assert_ptr_nonnull(to);
	ck_assert_uint_eq(fwrite(text, 1, len, to), len);
	fclose(to);
}

/* Where a small message's record begins in the log: its file in path. */
static size_t
record_of(unsigned which)
{
	char envelope[64];

	box_envelope(which, envelope);
	for (unsigned slot = 1; slot < 10; slot++) {
		char name[32];
		uint8_t *bytes, *at;
		struct stat st;
		size_t found;
		int fd;

		snprintf(name, sizeof(name), "log/%03u.seg", slot);
		fd = open(in_spool(name), O_RDONLY);
		if (fd < 0)
			continue;
		ck_assert_int_eq(fstat(fd, &st), 0);
		bytes = mem_alloc((size_t)st.st_size);
		ck_assert_int_eq(disk_read(fd, bytes, (size_t)st.st_size, 0),
				 0);
		close(fd);
		at = memmem(bytes, (size_t)st.st_size, envelope,
			    strlen(envelope));
		found = at != NULL ? (size_t)(at - bytes) : 0;
		free(bytes);
		if (found != 0)
			return found - RECORD_HEADER;
	}
	ck_abort_msg("the message is not in the log");
	return 0;
}

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
damage_record_body(void)
{
	size_t at = record_of(2);

	flip(path, at + RECORD_HEADER + 300);
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
damage_file_body(void)
{
	flip(file_of(ids[SMALL]), 10000);
}

static void
cut_file(void)
{
	ck_assert_int_eq(truncate(file_of(ids[SMALL]), 15000), 0);
}

static void
remove_file(void)
{
	ck_assert_int_eq(unlink(file_of(ids[SMALL])), 0);
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

#define BIT(which) (1u << (which))
#define EVERY	   (BIT(ALL) - 1)

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

START_TEST(a_repair_does_not_begin_when_a_folder_cannot_be_listed)
{
	char folder[300], away[300];
	struct said said;
	uint32_t before;

	damage_record_body(); /* else the log is not written again */
	file_of(ids[SMALL]);
	*strrchr(path, '/') = '\0';
	snprintf(folder, sizeof(folder), "%s", path);
	snprintf(away, sizeof(away), "%s", in_spool("away"));
	ck_assert_int_eq(rename(folder, away), 0);
	write_file(folder, "");
	before = tree();
	check_spool(false, &said);
	ck_assert_int_eq(said.rc, 0);
	ck_assert_ptr_nonnull(strstr(said.kinds, "folder damage|"));
	ck_assert_ptr_null(strstr(said.kinds, "missing damage|"));
	check_spool(true, &said);
	ck_assert_int_eq(said.rc, -ENOTDIR);
	ck_assert_uint_eq(tree(), before);

	ck_assert_int_eq(unlink(folder), 0);
	ck_assert_int_eq(rename(away, folder), 0);
	check_spool(true, &said);
	ck_assert_int_eq(said.rc, 0);
	ck_assert_uint_eq(open_and_look(false), EVERY & ~BIT(2));
	box_open(&box);
	ck_assert_str_eq(box_find(&box, ids[SMALL])->states, "tried\n");
	box_close(&box);
}
END_TEST

/* -------------------------------------------- what cannot be read for now */

static struct {
	const char *name; /* in the file's */
	unsigned left;	  /* calls until the one that fails */
	int error;
} refused;

static int
refusing_openat(int dir, const char *name, int flags, mode_t mode)
{
	if (strstr(name, refused.name) != NULL && refused.left-- == 0) {
		errno = refused.error;
		return -1;
	}
	return disk_calls_real.openat(dir, name, flags, mode);
}

static const struct {
	unsigned left;
	int error;
} refusals[] = {{0, EMFILE}, {1, EMFILE}, {0, ENFILE},
		{1, ENFILE}, {0, EIO},	  {1, EIO}};

START_TEST(a_file_that_cannot_be_read_for_now_is_not_damaged)
{
	struct disk_calls calls = disk_calls_real;
	char name[SPOOL_ID_MAX];
	struct said said;
	uint32_t before;

	before = tree();
	calls.openat = refusing_openat;
	refused.name = spool_id_format(ids[SMALL], name);
	disk_use(&calls);
	for (int is_repair = 0; is_repair < 2; is_repair++) {
		refused.left = refusals[_i].left;
		refused.error = refusals[_i].error;
		check_spool(is_repair != 0, &said);
		ck_assert_int_eq(said.rc, is_repair ? -refused.error : 0);
		ck_assert_str_eq(said.kinds, is_repair ? "" : "file damage|");
	}
	disk_use(NULL);
	ck_assert_uint_eq(tree(), before);
	check_spool(true, &said);
	ck_assert_int_eq(said.rc, 0);
	ck_assert_uint_eq(said.check.damages, 0);
	ck_assert_uint_eq(open_and_look(false), EVERY);
}
END_TEST

static int
refusing_renameat(int dir, const char *from, int to_dir, const char *to)
{
	(void)dir;
	(void)from;
	(void)to_dir;
	(void)to;
	errno = ENOSPC;
	return -1;
}

START_TEST(a_repair_ends_when_a_damaged_file_cannot_be_set_aside)
{
	struct disk_calls calls = disk_calls_real;
	struct said said;
	uint32_t before;

	damage_file_body();
	before = tree();
	calls.renameat = refusing_renameat;
	disk_use(&calls);
	check_spool(true, &said);
	disk_use(NULL);
	ck_assert_int_lt(said.rc, 0);
	ck_assert_uint_eq(tree(), before);
	check_spool(true, &said);
	ck_assert_int_eq(said.rc, 0);
	ck_assert_uint_eq(open_and_look(false), EVERY & ~BIT(SMALL));
}
END_TEST

static size_t refused_len; /* of a read */

static ssize_t
refusing_pread(int fd, void *to, size_t len, off_t at)
{
	if (len != refused_len)
		return pread(fd, to, len, at);
	errno = EIO;
	return -1;
}

static const struct {
	void (*damage)(void);
	const char *state;   /* that cannot be read, NULL: all can */
	const char *refused; /* file that cannot be made */
	const char *told;    /* when nothing is in the way any more */
} hindered[] = {
	{damage_record_body, "tried once", NULL, "batch damage|"},
	{damage_record_body, "tried", NULL, "batch damage|"},
	{remove_file, "tried", NULL, "missing damage|"},
	{remove_file, NULL, ".states", "missing damage|"},
	{damage_record_body, NULL, "segment-", "batch damage|"},
};

START_TEST(a_repair_forgets_nothing_that_it_could_not_read_or_keep)
{
	struct disk_calls calls = disk_calls_real;
	bool is_file = hindered[_i].damage != remove_file;
	struct said said;

	hindered[_i].damage();
	calls.pread = refusing_pread;
	calls.openat = refusing_openat;
	refused_len = hindered[_i].state != NULL
			      ? RECORD_HEADER + strlen(hindered[_i].state)
			      : 0;
	refused.name = hindered[_i].refused != NULL ? hindered[_i].refused
						    : "no such name";
	refused.left = 0;
	refused.error = ENOSPC;
	disk_use(&calls);
	check_spool(true, &said);
	disk_use(NULL);
	ck_assert_int_eq(said.rc, refused_len != 0 ? -EIO : -ENOSPC);

	check_spool(true, &said);
	ck_assert_int_eq(said.rc, 0);
	ck_assert_msg(strstr(said.kinds, hindered[_i].told) != NULL, "%s",
		      said.kinds);
	box_open(&box);
	ck_assert_str_eq(box_find(&box, ids[0])->states, "tried once\n");
	if (is_file)
		ck_assert_str_eq(box_find(&box, ids[SMALL])->states, "tried\n");
	box_close(&box);
	if (!is_file) {
		char name[SPOOL_ID_MAX], aside[SPOOL_ID_MAX + 16], text[16];
		int fd;

		snprintf(aside, sizeof(aside), "corrupt/%s.states",
			 spool_id_format(ids[SMALL], name));
		fd = open(in_spool(aside), O_RDONLY);
		ck_assert_int_ge(fd, 0);
		ck_assert_int_eq(disk_read(fd, text, 6, 0), 0);
		close(fd);
		ck_assert_int_eq(memcmp(text, "tried\n", 6), 0);
	}
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

UNIT_MAIN("spool_check", tcase_add_checked_fixture(tc, setup, teardown);
	  tcase_set_timeout(tc, 3600);
	  tcase_add_loop_test(tc, each_kind_of_damage_is_told_and_repaired_once,
			      0, (int)COUNT(kinds));
	  tcase_add_test(tc, states_survive_a_repair);
	  tcase_add_test(tc, state_lines_that_hold_are_kept);
	  tcase_add_test(tc, a_spool_in_use_is_left_alone);
	  tcase_add_test(tc, a_folder_that_is_no_spool_is_refused);
	  tcase_add_test(
		  tc, a_repair_does_not_begin_when_a_folder_cannot_be_listed);
	  tcase_add_loop_test(tc,
			      a_file_that_cannot_be_read_for_now_is_not_damaged,
			      0, (int)COUNT(refusals));
	  tcase_add_test(tc,
			 a_repair_ends_when_a_damaged_file_cannot_be_set_aside);
	  tcase_add_loop_test(
		  tc, a_repair_forgets_nothing_that_it_could_not_read_or_keep,
		  0, (int)COUNT(hindered));
	  tcase_add_loop_test(tc, random_flips_cost_only_the_messages_they_hit,
			      0, 2);)
