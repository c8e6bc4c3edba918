/* SPDX-License-Identifier: ISC */
/*
 * What stands in the spool after whatever happened to the disk: batches and
 * records of the log, files of messages. Checksums are made right for half of
 * the inputs, or nothing behind them would ever be read.
 */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <strings.h>

#include "lib/crc32c.h"
#include "queue/spool/format.h"
#include "queue/spool/spool.h"

#define TAG 0x1122334455667788u

static const struct record_place place = {TAG, 3, 7};

static void
put32(uint8_t *to, uint32_t value)
{
	for (unsigned i = 0; i < 4; i++)
		to[i] = (uint8_t)(value >> (8 * i));
}

static void
check_batch(uint8_t *bytes, size_t size, bool is_mended)
{
	uint8_t again[BATCH_HEADER];
	struct batch_head head = {0}, head2 = {0}; /* with their padding */
	size_t limit;

	if (size < BATCH_HEADER)
		return;
	limit = (size - BATCH_HEADER) * 1024;
	if (is_mended) {
		struct batch_head any = {.tag = TAG};

		batch_encode(&any, again);
		memcpy(bytes, again, 4);
		memcpy(bytes + 8, again + 8, 8);
		put32(bytes + 60, crc32c(0, bytes, 60));
	}
	if (!batch_decode(bytes, TAG, limit, &head))
		return;
	FUZZ_CHECK(head.tag == TAG && head.bytes <= limit);
	FUZZ_CHECK(head.bytes % FORMAT_BLOCK == 0);
	FUZZ_CHECK(head.used <= head.bytes && head.used >= BATCH_HEADER);
	batch_encode(&head, again);
	FUZZ_CHECK(batch_decode(again, TAG, limit, &head2));
	FUZZ_CHECK(memcmp(&head, &head2, sizeof(head)) == 0);
}

static void
check_record(uint8_t *bytes, size_t size, bool is_mended)
{
	struct record_head head;
	enum record_check got;
	uint64_t id = 0;

	if (is_mended && size >= RECORD_HEADER) {
		size_t text = bytes[16] | (size_t)bytes[17] << 8;
		size_t have = size - RECORD_HEADER;

		put32(bytes + 32, 0);
		if (text <= have)
			put32(bytes + 24,
			      crc32c(0, bytes + RECORD_HEADER, text));
		record_seal(bytes, &place);
	}
	got = record_decode(bytes, size, &place, true, &head);
	if (got != RECORD_BAD) {
		FUZZ_CHECK(head.id != 0 && head.text_bytes <= head.payload);
		FUZZ_CHECK(head.text_bytes <= size - RECORD_HEADER);
		FUZZ_CHECK(record_bytes(&head) >= head.payload);
		FUZZ_CHECK(record_bytes(&head) % RECORD_ALIGN == 0);
		/* the text alone says the same */
		FUZZ_CHECK(record_decode(bytes, size, &place, false, &head) ==
			   RECORD_GOOD);
	}
	if (size >= RECORD_HEADER && record_header_holds(bytes, &place, &id) &&
	    got != RECORD_BAD)
		FUZZ_CHECK(id == head.id);
}

static void
check_head(const uint8_t *bytes, size_t size)
{
	struct file_head head = {0};
	char again[FILE_HEAD_MAX];
	size_t need = 0;
	int rc = file_head_decode((const char *)bytes, size, &head, &need);

	FUZZ_CHECK(rc == 0 || rc == -EAGAIN || rc == -EBADMSG);
	FUZZ_CHECK(rc != -EAGAIN ||
		   (need > size && need <= FILE_HEAD_BYTES + FORMAT_TEXT_MAX));
	if (rc != 0)
		return;
	FUZZ_CHECK(need <= size);
	FUZZ_CHECK(head.body_at > FILE_HEAD_BYTES + head.text_bytes);
	file_head_encode(&head, (const char *)bytes + FILE_HEAD_BYTES, again);
	/* nothing is written in two ways, but for the checksum's own digits */
	FUZZ_CHECK(memcmp(again, bytes, 78) == 0);
}

static void
check_tail(const uint8_t *bytes, size_t size)
{
	const char *at = (const char *)bytes, *end = at + size, *line;
	unsigned bad = 0;
	uint32_t number;
	size_t len;

	while (file_state_next(1, &at, end, &number, &line, &len, &bad)) {
		FUZZ_CHECK(line >= (const char *)bytes && line + len < end);
		FUZZ_CHECK(memchr(line, '\n', len) == NULL);
	}
	FUZZ_CHECK(at == end && bad <= size);
}

/* Bytes without a newline become a state line, which is read as it was. */
static void
check_state(const uint8_t *bytes, size_t size)
{
	char *to = malloc(size + FILE_LINE_SUFFIX);
	const char *at = to, *line;
	unsigned bad = 0;
	uint32_t number;
	size_t len;

	FUZZ_CHECK(to != NULL);
	if (memchr(bytes, '\n', size) == NULL) {
		size_t wrote = file_state_encode(5, (uint32_t)size,
						 (const char *)bytes, size, to);

		FUZZ_CHECK(wrote <= size + FILE_LINE_SUFFIX);
		FUZZ_CHECK(file_state_next(5, &at, to + wrote, &number, &line,
					   &len, &bad));
		FUZZ_CHECK(len == size && memcmp(line, bytes, len) == 0);
		FUZZ_CHECK(number == (uint32_t)size && bad == 0);
		/* of another message it is none */
		at = to;
		FUZZ_CHECK(!file_state_next(6, &at, to + wrote, &number, &line,
					    &len, &bad));
	}
	free(to);
}

static void
check_words(const uint8_t *bytes, size_t size)
{
	char text[VERSION_LINE_MAX], again[VERSION_LINE_MAX];
	size_t len = size < sizeof(text) ? size : sizeof(text) - 1;
	uint64_t tag, id;
	int rc;

	memcpy(text, bytes, len);
	text[len] = '\0';
	rc = version_decode(text, &tag);
	FUZZ_CHECK(rc == 0 || rc == -EPROTO || rc == -EBADMSG);
	if (rc == 0) {
		version_encode(tag, again);
		FUZZ_CHECK(version_decode(again, &id) == 0 && id == tag);
	}
	if (len >= SPOOL_ID_MAX - 1 && spool_id_parse(text, &id)) {
		FUZZ_CHECK(id != 0);
		FUZZ_CHECK(strcasecmp(spool_id_format(id, again), text) == 0);
	}
}

/* The first byte chooses what it is. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bool is_mended;
	uint8_t *copy;

	if (size == 0)
		return 0;
	is_mended = data[0] & 0x80;
	copy = fuzz_copy(data + 1, size - 1);
	switch (data[0] % 6) {
	case 0:
		check_batch(copy, size - 1, is_mended);
		break;
	case 1:
		check_record(copy, size - 1, is_mended);
		break;
	case 2:
		check_head(copy, size - 1);
		break;
	case 3:
		check_tail(copy, size - 1);
		break;
	case 4:
		check_state(copy, size - 1);
		break;
	default:
		check_words(copy, size - 1);
		break;
	}
	free(copy);
	return 0;
}
