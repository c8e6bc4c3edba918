/* SPDX-License-Identifier: ISC */
/*
 * Whole spools of a stopped daemon: segments of batches of records, and files
 * of messages, sealed as the spool would do, with anything written over them.
 * The input says step by step what stands there. What a scan reads and what a
 * check says must agree, and a repair keeps all that could be read.
 */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/crc32c.h"
#include "queue/spool/check.h"
#include "queue/spool/disk.h"
#include "queue/spool/files.h"
#include "queue/spool/format.h"
#include "queue/spool/spool.h"

#define TAG	     0x1122334455667788u
#define SEGMENTS_MAX 4
#define SEGMENT_MAX  (8 * FORMAT_BLOCK)
#define FOUND_MAX    64
#define STATES_MAX   256
#define RECORD_MAX   4000
#define STEPS_MAX    200

static char dir[64];
static struct files files;

/* ------------------------------------------------------------- the input */

struct input {
	const uint8_t *at;
	size_t left;
};

static uint8_t
next(struct input *input)
{
	if (input->left == 0)
		return 0;
	input->left--;
	return *input->at++;
}

/* len octets, the last ones zero when the input ends. */
static void
next_bytes(struct input *input, uint8_t *to, size_t len)
{
	size_t have = len < input->left ? len : input->left;

	memset(to, 0, len);
	if (have != 0)
		memcpy(to, input->at, have);
	input->at += have;
	input->left -= have;
}

/* Few messages, so that records meet; now and then a far one. */
static uint64_t
next_id(struct input *input)
{
	uint8_t byte = next(input);

	return byte < 0xf0 ? 1u + byte % 7 : FORMAT_ID_MAX - (byte & 1);
}

/* ------------------------------------------------------------ what stands */

struct drawing {
	uint8_t bytes[SEGMENT_MAX];
	unsigned segments;
	size_t at;    /* where the next record goes */
	size_t batch; /* where its batch begins */
	size_t last;  /* record of it; 0: none */
	struct batch_head head;
	bool is_open; /* a batch is */
};

/* Of these the log says somewhere that they are settled: a repair may find it
 * where a scan does not look. */
static struct {
	uint64_t ids[STEPS_MAX];
	size_t count;
} settled;

static bool
may_be_settled(uint64_t id)
{
	for (size_t i = 0; i < settled.count; i++)
		if (settled.ids[i] == id)
			return true;
	return false;
}

static void
seal_batch(struct drawing *drawing)
{
	struct batch_head *head = &drawing->head;
	size_t end = (drawing->at + FORMAT_BLOCK - 1) & ~(FORMAT_BLOCK - 1);

	if (!drawing->is_open)
		return;
	head->used = (uint32_t)(drawing->at - drawing->batch);
	head->bytes = (uint32_t)(end - drawing->batch);
	batch_encode(head, drawing->bytes + drawing->batch);
	drawing->at = end;
	drawing->is_open = false;
}

static void
put_file(const char *name, const void *bytes, size_t len)
{
	char path[128];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	FUZZ_CHECK(fd >= 0 && write(fd, bytes, len) == (ssize_t)len);
	FUZZ_CHECK(close(fd) == 0);
}

static void
end_segment(struct drawing *drawing)
{
	size_t end;
	char name[32];

	seal_batch(drawing);
	end = (drawing->at + FORMAT_BLOCK - 1) & ~(FORMAT_BLOCK - 1);
	if (end == 0 || drawing->segments == SEGMENTS_MAX)
		return;
	(void)snprintf(name, sizeof(name), "log/%03u.seg", ++drawing->segments);
	put_file(name, drawing->bytes, end);
	memset(drawing->bytes, 0, sizeof(drawing->bytes));
	drawing->at = 0;
	drawing->last = 0;
}

/* Batches count by themselves unless the input says otherwise; their seqs rise
 * within a segment. */
static void
begin_batch(struct drawing *drawing, struct input *input)
{
	struct batch_head *head = &drawing->head;
	uint8_t how = next(input);

	seal_batch(drawing);
	if (drawing->at + FORMAT_BLOCK > SEGMENT_MAX)
		return;
	head->seq += (how & 1) != 0 ? 1u + next(input) : 1;
	if ((how & 2) != 0)
		head->head = next(input);
	if ((how & 4) != 0)
		head->ids = next_id(input);
	head->records = (how & 8) != 0 ? next(input) : 0;
	drawing->batch = drawing->at;
	drawing->at += BATCH_HEADER;
	drawing->last = 0;
	drawing->is_open = true;
}

/* What a message is follows from its id, and a state from its number, however
 * often they are written: the spool never writes two that differ. */
static size_t
fill_message(struct record_head *head, uint8_t *to)
{
	size_t text = 8 + head->id % 32, body = head->id % 3 != 0 ? 9 : 3000;

	memset(to, 'e', text);
	memset(to + text, 'b', body);
	head->text_bytes = (uint32_t)text;
	head->payload = (uint32_t)(text + body);
	head->body_crc = crc32c(0, to + text, body);
	return text + body;
}

static size_t
fill_state(uint32_t number, uint8_t *to)
{
	memset(to, (int)('a' + number), 4 + number);
	return 4 + number;
}

static uint32_t
next_number(struct input *input)
{
	return 1u + (next(input) & 7);
}

static void
put_record(struct drawing *drawing, struct input *input)
{
	struct record_place place = {TAG, drawing->head.segno,
				     drawing->head.seq};
	uint8_t how = next(input), *to = drawing->bytes + drawing->at;
	struct record_head head = {.type = (enum record_type)(1 + how % 3),
				   .flags = (how >> 2) & 1,
				   .id = next_id(input)};

	if (!drawing->is_open || drawing->at + RECORD_MAX > SEGMENT_MAX)
		return;
	if (head.type == RECORD_MSG)
		(void)fill_message(&head, to + RECORD_HEADER);
	if (head.type == RECORD_STATE) {
		head.number = next_number(input);
		head.payload = head.text_bytes =
			(uint32_t)fill_state(head.number, to + RECORD_HEADER);
	}
	if (head.type == RECORD_DONE)
		settled.ids[settled.count++] = head.id;
	head.text_crc = crc32c(0, to + RECORD_HEADER, head.text_bytes);
	record_encode(&head, to);
	record_seal(to, &place);
	drawing->last = drawing->at;
	drawing->at += record_bytes(&head);
	drawing->head.records++;
	if (head.id >= drawing->head.ids)
		drawing->head.ids = head.id + 1;
}

/* An octet of the last record's header is another one, and its checksum right
 * for that; not of its type, id and number, which would be two that differ. */
static void
bend_record(struct drawing *drawing, struct input *input)
{
	static const uint8_t places[] = {2,  3,	 4,  5,	 6,  7,	 16, 17, 18,
					 19, 24, 25, 26, 27, 28, 29, 30, 31};
	struct record_place place = {TAG, drawing->head.segno,
				     drawing->head.seq};
	uint8_t *to = drawing->bytes + drawing->last;
	unsigned at = places[next(input) % sizeof(places)];

	if (!drawing->is_open || drawing->last == 0)
		return;
	to[at] = next(input);
	record_seal(to, &place);
}

static void
damage(struct drawing *drawing, struct input *input)
{
	size_t at = next(input) * 256u + next(input);
	uint8_t with = next(input);

	if (drawing->at != 0)
		drawing->bytes[at % drawing->at] ^= with;
}

/* A message file with states; over it and behind it what the input says. */
static void
put_message(struct input *input)
{
	uint8_t how = next(input), bytes[RECORD_MAX], raw[64];
	struct log_text text = {.record = {.id = next_id(input)}};
	char lines[4 * (16 + FILE_LINE_SUFFIX)];
	size_t len = 0;
	int fd;

	(void)fill_message(&text.record, bytes);
	text.text = (char *)bytes;
	text.body = bytes + text.record.text_bytes;
	for (unsigned i = 0; i < (how & 3); i++) {
		uint32_t number = next_number(input);
		size_t line = fill_state(number, raw);

		len += file_state_encode(text.record.id, number, (char *)raw,
					 line, lines + len);
	}
	fd = files_write(&files, &text, lines, len);
	FUZZ_CHECK(fd >= 0);
	if ((how & 4) != 0)
		FUZZ_CHECK(ftruncate(fd, next(input)) == 0);
	if ((how & 8) != 0) {
		off_t at = next(input) % 160;
		size_t over = next(input) & 3;

		next_bytes(input, raw, over);
		FUZZ_CHECK(pwrite(fd, raw, over, at) == (ssize_t)over);
	}
	if ((how & 16) != 0) {
		size_t more = next(input) % sizeof(raw);

		next_bytes(input, raw, more);
		FUZZ_CHECK(lseek(fd, 0, SEEK_END) >= 0);
		FUZZ_CHECK(write(fd, raw, more) == (ssize_t)more);
	}
	(void)close(fd);
}

static void
draw(struct input *input)
{
	static struct drawing drawing;

	memset(&drawing, 0, sizeof(drawing));
	settled.count = 0;
	drawing.head = (struct batch_head){.tag = TAG,
					   .segno = 1,
					   .head = 1,
					   .ids = 1};
	for (unsigned i = 0; input->left != 0 && i < STEPS_MAX; i++) {
		uint8_t step = next(input);

		switch (step % 8) {
		case 0:
			end_segment(&drawing);
			drawing.head.segno += step >> 6;
			break;
		case 1:
			begin_batch(&drawing, input);
			break;
		case 2:
		case 3:
		case 4:
			put_record(&drawing, input);
			break;
		case 5:
			bend_record(&drawing, input);
			break;
		case 6:
			damage(&drawing, input);
			break;
		default:
			put_message(input);
			break;
		}
	}
	end_segment(&drawing);
}

/* --------------------------------------------------------- what was found */

struct found {
	uint64_t id, body_bytes;
	uint32_t text_crc, body_crc;
	char states[STATES_MAX];
	bool is_whole; /* the body */
};

struct listing {
	struct found at[FOUND_MAX];
	size_t count;
	unsigned errors; /* reported */
};

static int
on_part(void *arg, const uint8_t *bytes, size_t len)
{
	struct found *found = arg;

	found->body_crc = crc32c(found->body_crc, bytes, len);
	return 0;
}

static void
on_found(void *arg, const struct spool_found *message)
{
	struct listing *listing = arg;
	struct found *found = &listing->at[listing->count];
	size_t len;
	int rc;

	FUZZ_CHECK(listing->count < FOUND_MAX && message->id != 0);
	for (size_t i = 0; i < listing->count; i++)
		FUZZ_CHECK(listing->at[i].id != message->id);
	listing->count++;
	if (getenv("FUZZ_TELL") != NULL)
		(void)fprintf(stderr, "found %llx: '%s' '%s' %llu\n",
			      (unsigned long long)message->id,
			      message->envelope, message->states,
			      (unsigned long long)message->body_bytes);
	memset(found, 0, sizeof(*found));
	found->id = message->id;
	found->body_bytes = message->body_bytes;
	found->text_crc = crc32c(0, (const uint8_t *)message->envelope,
				 strlen(message->envelope));
	len = strlen(message->states);
	FUZZ_CHECK(len < STATES_MAX);
	memcpy(found->states, message->states, len + 1);
	rc = spool_scan_body(message, on_part, found);
	FUZZ_CHECK(rc == 0 || rc == -EBADMSG);
	found->is_whole = rc == 0;
}

static void
on_report(void *arg, bool is_error, const char *file, const char *text)
{
	struct listing *listing = arg;

	FUZZ_CHECK(file[0] != '\0' && text[0] != '\0');
	listing->errors += is_error;
}

static void
scan(struct listing *listing)
{
	struct err err = ERR_INIT;

	memset(listing, 0, sizeof(*listing));
	FUZZ_CHECK(spool_scan(dir, on_found, on_report, listing, &err) == 0);
}

static void
on_finding(void *arg, const struct spool_finding *finding)
{
	(void)arg;
	FUZZ_CHECK(finding->kind[0] != '\0' && finding->text[0] != '\0');
	if (getenv("FUZZ_TELL") != NULL)
		(void)fprintf(stderr, "%s %s: %s (%s)\n", finding->kind,
			      finding->file, finding->text, finding->repair);
}

static struct spool_check
check(bool is_repair)
{
	struct spool_check check = {.is_repair = is_repair,
				    .found = on_finding};
	struct err err = ERR_INIT;

	FUZZ_CHECK(spool_check(dir, &check, &err) == 0);
	return check;
}

/* Those of some are there in their order, and maybe others. */
static bool
has_states(const char *all, const char *some)
{
	while (*some != '\0') {
		size_t len = strcspn(some, "\n") + 1;

		while (*all != '\0' && strncmp(all, some, len) != 0)
			all += strcspn(all, "\n") + 1;
		if (*all == '\0')
			return false;
		some += len;
	}
	return true;
}

/* All that held before holds now, and nothing is damaged. */
static void
check_kept(const struct listing *before, const struct listing *after)
{
	FUZZ_CHECK(after->errors == 0);
	for (size_t i = 0; i < after->count; i++)
		FUZZ_CHECK(after->at[i].is_whole);
	for (size_t i = 0; i < before->count; i++) {
		const struct found *one = &before->at[i];
		size_t k = 0;

		if (!one->is_whole)
			continue;
		while (k < after->count && after->at[k].id != one->id)
			k++;
		FUZZ_CHECK(k < after->count || may_be_settled(one->id));
		if (k == after->count)
			continue;
		FUZZ_CHECK(after->at[k].text_crc == one->text_crc);
		FUZZ_CHECK(has_states(after->at[k].states, one->states));
		FUZZ_CHECK(after->at[k].body_crc == one->body_crc);
	}
}

/* ------------------------------------------------------------- the folder */

static int
remove_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
	(void)st;
	(void)where;
	/* the two that files_write expects stay */
	if (strcmp(path, dir) == 0 || strcmp(path + strlen(dir), "/msg") == 0)
		return 0;
	return kind == FTW_DP ? rmdir(path) : unlink(path);
}

static void
clear(void)
{
	FUZZ_CHECK(nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0);
	memset(files.is_durable, 0, sizeof(files.is_durable));
}

static void
remove_dir(void)
{
	char path[80];

	clear();
	(void)close(files.fd);
	(void)snprintf(path, sizeof(path), "%s/msg", dir);
	(void)rmdir(path);
	(void)rmdir(dir);
}

static int
no_sync(int fd)
{
	(void)fd;
	return 0;
}

/* Folders of ids that next_id never gives are not even asked for: a spool has
 * 256, and is gone through six times. */
int
openat(int at, const char *name, int flags, ...)
{
	va_list args;
	mode_t mode;

	va_start(args, flags);
	mode = (flags & O_CREAT) != 0 ? va_arg(args, mode_t) : 0;
	va_end(args);
	if (strlen(name) == 2 && name[0] != '0' && name[0] != 'f') {
		errno = ENOENT;
		return -1;
	}
	return (int)syscall(SYS_openat, at, name, flags, mode);
}

static void
make_dir(void)
{
	static struct disk_calls calls;
	char path[80];

	calls = disk_calls_real;
	calls.fsync = calls.fdatasync = calls.syncfs = no_sync;
	disk_use(&calls);
	(void)snprintf(dir, sizeof(dir), "%s/ostler-fuzz-XXXXXX",
		       access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	FUZZ_CHECK(mkdtemp(dir) != NULL);
	(void)snprintf(path, sizeof(path), "%s/msg", dir);
	FUZZ_CHECK(mkdir(path, 0700) == 0);
	files.fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	FUZZ_CHECK(files.fd >= 0);
	FUZZ_CHECK(atexit(remove_dir) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct listing before, again, after;
	struct input input = {data, size};
	struct spool_check looked, repaired;
	char version[VERSION_LINE_MAX], log[80];

	if (dir[0] == '\0')
		make_dir();
	clear();
	version_encode(TAG, version);
	put_file("VERSION", version, strlen(version));
	(void)snprintf(log, sizeof(log), "%s/log", dir);
	FUZZ_CHECK(mkdir(log, 0700) == 0);
	draw(&input);

	scan(&before);
	looked = check(false);
	/* who only reads changes nothing */
	scan(&again);
	FUZZ_CHECK(memcmp(&before, &again, sizeof(before)) == 0);
	FUZZ_CHECK(looked.repaired == 0);
	if (looked.damages == 0) {
		FUZZ_CHECK(before.errors == 0);
		FUZZ_CHECK(looked.messages == before.count);
	}

	repaired = check(true);
	FUZZ_CHECK(repaired.damages >= looked.damages);
	scan(&after);
	check_kept(&before, &after);
	/* a second one finds nothing to do */
	repaired = check(true);
	FUZZ_CHECK(repaired.damages == 0 && repaired.repaired == 0);
	FUZZ_CHECK(repaired.messages == after.count);
	return 0;
}
