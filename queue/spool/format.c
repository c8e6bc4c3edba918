/* SPDX-License-Identifier: ISC */
#include "queue/spool/format.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/crc32c.h"
#include "queue/spool/mutant.h"
#include "queue/spool/spool.h"

#define BATCH_MAGIC 0x4254534fu /* "OSTB" */

static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

static void
put16(uint8_t *to, uint32_t value)
{
	to[0] = (uint8_t)value;
	to[1] = (uint8_t)(value >> 8);
}

static void
put32(uint8_t *to, uint32_t value)
{
	put16(to, value & 0xffff);
	put16(to + 2, value >> 16);
}

static void
put64(uint8_t *to, uint64_t value)
{
	put32(to, (uint32_t)value);
	put32(to + 4, (uint32_t)(value >> 32));
}

static uint32_t
get16(const uint8_t *from)
{
	return (uint32_t)from[0] | (uint32_t)from[1] << 8;
}

static uint32_t
get32(const uint8_t *from)
{
	return get16(from) | get16(from + 2) << 16;
}

static uint64_t
get64(const uint8_t *from)
{
	return (uint64_t)get32(from) | (uint64_t)get32(from + 4) << 32;
}

/* ------------------------------------------------------------------- ids */

char *
spool_id_format(uint64_t id, char to[SPOOL_ID_MAX])
{
	for (int i = SPOOL_ID_MAX - 2; i >= 0; i--, id >>= 5)
		to[i] = digits[id & 31];
	to[SPOOL_ID_MAX - 1] = '\0';
	return to;
}

bool
spool_id_parse(const char *text, uint64_t *out)
{
	uint64_t id = 0;

	for (size_t i = 0; i < SPOOL_ID_MAX - 1; i++) {
		char c = text[i];
		const char *digit;

		if (c >= 'a' && c <= 'z')
			c = (char)(c - 'a' + 'A');
		digit = c != '\0' ? strchr(digits, c) : NULL;
		if (digit == NULL || (i == 0 && digit - digits > 15))
			return false; /* more than 64 bits */
		id = id << 5 | (uint64_t)(digit - digits);
	}
	if (text[SPOOL_ID_MAX - 1] != '\0' || id == 0 || id > FORMAT_ID_MAX)
		return false;
	*out = id;
	return true;
}

/* --------------------------------------------------------------- batches */

void
batch_encode(const struct batch_head *head, uint8_t to[BATCH_HEADER])
{
	put32(to, BATCH_MAGIC);
	put32(to + 4, head->bytes);
	put64(to + 8, head->tag);
	put64(to + 16, head->segno);
	put64(to + 24, head->seq);
	put64(to + 32, head->head);
	put64(to + 40, head->ids);
	put32(to + 48, head->records);
	put32(to + 52, head->used);
	put32(to + 56, 0);
	put32(to + 60, crc32c(0, to, 60));
}

bool
batch_decode(const uint8_t from[BATCH_HEADER], uint64_t tag, size_t limit,
	     struct batch_head *out)
{
	if (get32(from) != BATCH_MAGIC || get64(from + 8) != tag ||
	    get32(from + 60) != crc32c(0, from, 60))
		return false;
	out->bytes = get32(from + 4);
	out->tag = tag;
	out->segno = get64(from + 16);
	out->seq = get64(from + 24);
	out->head = get64(from + 32);
	out->ids = get64(from + 40);
	out->records = get32(from + 48);
	out->used = get32(from + 52);
	return out->bytes % FORMAT_BLOCK == 0 && out->bytes <= limit &&
	       out->used >= BATCH_HEADER && out->used <= out->bytes &&
	       out->segno != 0 && out->head != 0 && out->head <= out->segno &&
	       out->segno <= FORMAT_COUNT_MAX && out->seq <= FORMAT_COUNT_MAX &&
	       out->ids <= FORMAT_COUNT_MAX;
}

bool
batch_peek_tag(const uint8_t from[BATCH_HEADER], uint64_t *out_tag)
{
	if (get32(from) != BATCH_MAGIC)
		return false;
	*out_tag = get64(from + 8);
	return true;
}

/* --------------------------------------------------------------- records */

void
record_encode(const struct record_head *head, uint8_t to[RECORD_HEADER])
{
	put16(to, (uint32_t)head->type);
	put16(to + 2, head->flags);
	put32(to + 4, head->payload);
	put64(to + 8, head->id);
	put32(to + 16, head->text_bytes);
	put32(to + 20, head->number);
	put32(to + 24, head->text_crc);
	put32(to + 28, head->body_crc);
	put32(to + 32, 0);
	put32(to + 36, 0);
}

/*
 * I4: a record counts only where it was written. Its checksum goes over its
 * header, the spool's tag, the use of the segment, and the batch; text and
 * body have checksums of their own within the header, made while they came
 * in.
 */
static uint32_t
record_crc(const uint8_t header[RECORD_HEADER],
	   const struct record_place *place)
{
	uint8_t tail[24];

	put64(tail, place->tag);
	put64(tail + 8, place->segno);
	put64(tail + 16, place->seq);
	return crc32c(crc32c(0, header, RECORD_HEADER - 4), tail, sizeof(tail));
}

void
record_seal(uint8_t header[RECORD_HEADER], const struct record_place *place)
{
	put32(header + RECORD_HEADER - 4, record_crc(header, place));
}

size_t
record_bytes(const struct record_head *head)
{
	return ((size_t)RECORD_HEADER + head->payload + RECORD_ALIGN - 1) &
	       ~(size_t)(RECORD_ALIGN - 1);
}

bool
record_header_holds(const uint8_t from[RECORD_HEADER],
		    const struct record_place *place, uint64_t *out_id)
{
	uint32_t type = get16(from);

	if (type < RECORD_MSG || type > RECORD_DONE ||
	    get16(from + 2) > RECORD_MORE || get32(from + 32) != 0 ||
	    get32(from + 16) > get32(from + 4) ||
	    get64(from + 8) > FORMAT_ID_MAX ||
	    get32(from + RECORD_HEADER - 4) != record_crc(from, place))
		return false;
	*out_id = get64(from + 8);
	return true;
}

enum record_check
record_decode(const uint8_t *from, size_t len, const struct record_place *place,
	      bool with_body, struct record_head *out)
{
	uint32_t type;

	if (len < RECORD_HEADER)
		return RECORD_BAD;
	type = get16(from);
	out->type = (enum record_type)type;
	out->flags = get16(from + 2);
	out->payload = get32(from + 4);
	out->id = get64(from + 8);
	out->text_bytes = get32(from + 16);
	out->number = get32(from + 20);
	out->text_crc = get32(from + 24);
	out->body_crc = get32(from + 28);
	if (type < RECORD_MSG || type > RECORD_DONE || out->id == 0 ||
	    out->id > FORMAT_ID_MAX || out->text_bytes > out->payload ||
	    out->text_bytes > len - RECORD_HEADER)
		return RECORD_BAD;
	if (place != NULL &&
	    get32(from + RECORD_HEADER - 4) != record_crc(from, place))
		return RECORD_BAD;
	if (crc32c(0, from + RECORD_HEADER, out->text_bytes) != out->text_crc)
		return RECORD_BAD;
	if (!with_body || type != RECORD_MSG || MUTANT(BODY_UNCHECKED))
		return RECORD_GOOD;
	if (out->payload > len - RECORD_HEADER ||
	    crc32c(0, from + RECORD_HEADER + out->text_bytes,
		   out->payload - out->text_bytes) != out->body_crc)
		return RECORD_BAD_BODY;
	return RECORD_GOOD;
}

/* ----------------------------------------------------------------- files */

/* How the first line stands in the file; sizes are fixed so that it can be
 * written when the body is there already. */
#define HEAD_FORMAT                                                            \
	"ostler-message 1 %s %010" PRIu32 " %010" PRIu32 " %015" PRIu64        \
	" %08" PRIx32 " "
#define HEAD_CRC_AT 78 /* where the line's own checksum stands */

void
file_head_encode(const struct file_head *head, const char *envelope,
		 char to[FILE_HEAD_MAX])
{
	char id[SPOOL_ID_MAX];
	uint32_t crc;

	(void)snprintf(to, FILE_HEAD_MAX, HEAD_FORMAT,
		       spool_id_format(head->id, id), head->text_bytes,
		       head->body_at, head->body_bytes, head->body_crc);
	crc = crc32c(0, to, HEAD_CRC_AT);
	crc = crc32c(crc, envelope, head->text_bytes);
	(void)snprintf(to + HEAD_CRC_AT, FILE_HEAD_MAX - HEAD_CRC_AT,
		       "%08" PRIx32 "\n", crc);
}

/* Digits up to a blank; false when there is anything else. */
static bool
number_field(const char **at, int base, size_t width, uint64_t *out)
{
	uint64_t value = 0;

	for (size_t i = 0; i < width; i++) {
		char c = (*at)[i];
		unsigned digit;

		if (c >= '0' && c <= '9')
			digit = (unsigned)(c - '0');
		else if (base == 16 && c >= 'a' && c <= 'f')
			digit = (unsigned)(c - 'a') + 10;
		else
			return false;
		value = value * (unsigned)base + digit;
	}
	*at += width;
	*out = value;
	return true;
}

static bool
skip(const char **at, char c)
{
	if (**at != c)
		return false;
	(*at)++;
	return true;
}

int
file_head_decode(const char *from, size_t len, struct file_head *out,
		 size_t *out_need)
{
	static const char magic[] = "ostler-message 1 ";
	char id[SPOOL_ID_MAX];
	uint64_t text, body_at, body, body_crc, crc;
	const char *at = from + sizeof(magic) - 1;
	uint32_t have;

	*out_need = FILE_HEAD_BYTES;
	if (len < FILE_HEAD_BYTES)
		return -EAGAIN;
	if (memcmp(from, magic, sizeof(magic) - 1) != 0)
		return -EBADMSG;
	memcpy(id, at, sizeof(id) - 1);
	id[sizeof(id) - 1] = '\0';
	at += sizeof(id) - 1;
	if (!spool_id_parse(id, &out->id) || !skip(&at, ' ') ||
	    !number_field(&at, 10, 10, &text) || !skip(&at, ' ') ||
	    !number_field(&at, 10, 10, &body_at) || !skip(&at, ' ') ||
	    !number_field(&at, 10, 15, &body) || !skip(&at, ' ') ||
	    !number_field(&at, 16, 8, &body_crc) || !skip(&at, ' ') ||
	    !number_field(&at, 16, 8, &crc) || !skip(&at, '\n'))
		return -EBADMSG;
	if (text > FORMAT_TEXT_MAX || body_at <= FILE_HEAD_BYTES + text ||
	    body_at > 2 * (uint64_t)FORMAT_TEXT_MAX)
		return -EBADMSG;
	*out_need = FILE_HEAD_BYTES + (size_t)text;
	if (len < *out_need)
		return -EAGAIN;
	have = crc32c(0, from, HEAD_CRC_AT);
	if (crc32c(have, from + FILE_HEAD_BYTES, (size_t)text) != crc)
		return -EBADMSG;
	out->text_bytes = (uint32_t)text;
	out->body_at = (uint32_t)body_at;
	out->body_bytes = body;
	out->body_crc = (uint32_t)body_crc;
	return 0;
}

static uint32_t
state_crc(uint64_t id, uint32_t number, const char *line, size_t len)
{
	uint8_t head[12];

	put64(head, id);
	put32(head + 8, number);
	return crc32c(crc32c(0, head, sizeof(head)), line, len);
}

size_t
file_state_encode(uint64_t id, uint32_t number, const char *line, size_t len,
		  char *to)
{
	int head = snprintf(to, FILE_LINE_SUFFIX,
			    "state %" PRIu32 " %08" PRIx32 " ", number,
			    state_crc(id, number, line, len));

	memcpy(to + head, line, len);
	to[(size_t)head + len] = '\n';
	return (size_t)head + len + 1;
}

static bool
parse_state(uint64_t id, const char *at, const char *end, uint32_t *out_number,
	    const char **out_line, size_t *out_len)
{
	static const char name[] = "state ";
	uint64_t number = 0, crc;

	if ((size_t)(end - at) < sizeof(name) - 1 ||
	    memcmp(at, name, sizeof(name) - 1) != 0)
		return false;
	at += sizeof(name) - 1;
	for (; at < end && *at >= '0' && *at <= '9'; at++) {
		number = number * 10 + (unsigned)(*at - '0');
		if (number > UINT32_MAX)
			return false;
	}
	if (end - at < 10 || !skip(&at, ' ') ||
	    !number_field(&at, 16, 8, &crc) || !skip(&at, ' '))
		return false;
	if (state_crc(id, (uint32_t)number, at, (size_t)(end - at)) != crc)
		return false;
	*out_number = (uint32_t)number;
	*out_line = at;
	*out_len = (size_t)(end - at);
	return true;
}

bool
file_state_next(uint64_t id, const char **at, const char *end,
		uint32_t *out_number, const char **out_line, size_t *out_len,
		unsigned *out_bad)
{
	while (*at < end) {
		const char *line = *at;
		const char *stop = memchr(line, '\n', (size_t)(end - line));

		if (stop == NULL)
			break; /* torn: never completed */
		*at = stop + 1;
		if (parse_state(id, line, stop, out_number, out_line, out_len))
			return true;
		if (stop != line)
			(*out_bad)++;
	}
	*at = end;
	return false;
}

/* --------------------------------------------------------------- VERSION */

void
version_encode(uint64_t tag, char to[VERSION_LINE_MAX])
{
	(void)snprintf(to, VERSION_LINE_MAX, "ostler-spool %d %016" PRIx64 "\n",
		       FORMAT_VERSION, tag);
}

int
version_decode(const char *text, uint64_t *out_tag)
{
	static const char name[] = "ostler-spool ";
	unsigned long version;
	char *at;

	if (strncmp(text, name, sizeof(name) - 1) != 0)
		return -EBADMSG;
	text += sizeof(name) - 1;
	if (*text < '0' || *text > '9')
		return -EBADMSG;
	version = strtoul(text, &at, 10);
	if (version > FORMAT_VERSION)
		return -EPROTO;
	text = at;
	if (!skip(&text, ' ') || !number_field(&text, 16, 16, out_tag) ||
	    !skip(&text, '\n') || *out_tag == 0)
		return -EBADMSG;
	return 0;
}
