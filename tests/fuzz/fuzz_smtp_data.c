/* SPDX-License-Identifier: ISC */
#include "tests/fuzz/fuzz.h"

#include <stdbool.h>

#include "lib/buf.h"
#include "lib/wire/header_scan.h"
#include "lib/wire/smtp_data.h"

#define BYTES_MAX (8 * 1024 * 1024)

/* What a decoding came to. */
struct decoded {
	struct buf message;
	struct smtp_data_facts facts;
	bool is_end;
	size_t used; /* when is_end */
};

/* seed 0: in one piece */
static void
decode(const uint8_t *bytes, size_t len, uint32_t seed, struct decoded *out)
{
	struct smtp_data_decoder decoder = {0};
	struct fuzz_windows windows;
	size_t start = 0;

	fuzz_windows_init(&windows, len);
	buf_init(&out->message, BYTES_MAX);
	out->is_end = false;
	while (start < len && !out->is_end) {
		size_t piece = seed == 0 ? len : fuzz_piece(&seed, len - start);
		uint8_t *copy = fuzz_window(&windows, bytes + start, piece);
		size_t at = 0;

		while (at < piece && !out->is_end) {
			struct str run;
			size_t used = smtp_data_decode(&decoder, copy + at,
						       piece - at, &run,
						       &out->is_end);

			FUZZ_CHECK(used != 0 || run.len != 0);
			FUZZ_CHECK(used <= piece - at);
			FUZZ_CHECK(buf_add(&out->message, run.at, run.len) ==
				   0);
			at += used;
		}
		start += at;
	}
	fuzz_windows_done(&windows);
	out->used = start;
	out->facts = decoder.facts;
	FUZZ_CHECK(out->facts.bytes == buf_len(&out->message));
}

/*
 * The plain way to say it: cut at CR LF, a line of one dot ends, any other
 * first dot goes. Only for data that has an end.
 */
static void
decode_plainly(const uint8_t *bytes, size_t len, struct buf *message)
{
	size_t at = 0;

	for (;;) {
		const uint8_t *crlf = memmem(bytes + at, len - at, "\r\n", 2);
		size_t line;

		FUZZ_CHECK(crlf != NULL);
		line = (size_t)(crlf - (bytes + at)) + 2;
		if (line == 3 && bytes[at] == '.') {
			FUZZ_CHECK(at + line == len);
			return;
		}
		if (bytes[at] == '.')
			FUZZ_CHECK(buf_add(message, bytes + at + 1, line - 1) ==
				   0);
		else
			FUZZ_CHECK(buf_add(message, bytes + at, line) == 0);
		at += line;
	}
}

static bool
has_bare(const uint8_t *bytes, size_t len, uint8_t which)
{
	for (size_t i = 0; i < len; i++) {
		if (bytes[i] != which)
			continue;
		if (which == '\r' ? i + 1 == len || bytes[i + 1] != '\n'
				  : i == 0 || bytes[i - 1] != '\r')
			return true;
	}
	return false;
}

static void
check_facts(const struct decoded *decoded)
{
	const uint8_t *bytes = buf_bytes(&decoded->message);
	size_t len = buf_len(&decoded->message);

	FUZZ_CHECK(decoded->facts.has_bare_cr == has_bare(bytes, len, '\r'));
	FUZZ_CHECK(decoded->facts.has_bare_lf == has_bare(bytes, len, '\n'));
	FUZZ_CHECK(decoded->facts.has_nul ==
		   (len != 0 && memchr(bytes, '\0', len) != NULL));
	FUZZ_CHECK(decoded->facts.has_8bit ==
		   !str_is_ascii(str_from((const char *)bytes, len)));
}

static void
check_decoder(const uint8_t *bytes, size_t len, uint32_t seed)
{
	struct decoded whole, split;

	decode(bytes, len, 0, &whole);
	decode(bytes, len, seed, &split);
	FUZZ_CHECK(whole.is_end == split.is_end && whole.used == split.used);
	FUZZ_CHECK(buf_len(&whole.message) == buf_len(&split.message));
	FUZZ_CHECK(memcmp(buf_text(&whole.message), buf_text(&split.message),
			  buf_len(&whole.message)) == 0);
	FUZZ_CHECK(memcmp(&whole.facts, &split.facts,
			  offsetof(struct smtp_data_facts, is_after_cr)) == 0);
	if (whole.is_end) {
		struct buf plain;

		check_facts(&whole);
		buf_init(&plain, BYTES_MAX);
		decode_plainly(bytes, whole.used, &plain);
		FUZZ_CHECK(buf_len(&plain) == buf_len(&whole.message));
		FUZZ_CHECK(memcmp(buf_text(&plain), buf_text(&whole.message),
				  buf_len(&plain)) == 0);
		buf_done(&plain);
	}
	buf_done(&whole.message);
	buf_done(&split.message);
}

static void
encode(const uint8_t *bytes, size_t len, uint32_t seed, struct buf *wire)
{
	struct smtp_data_encoder encoder = {0};
	struct fuzz_windows windows;
	struct str end;
	size_t start = 0;

	fuzz_windows_init(&windows, len);
	buf_init(wire, BYTES_MAX);
	while (start < len) {
		size_t piece = seed == 0 ? len : fuzz_piece(&seed, len - start);
		uint8_t *copy = fuzz_window(&windows, bytes + start, piece);
		size_t at = 0;

		while (at < piece) {
			struct str run;

			at += smtp_data_encode(&encoder, copy + at, piece - at,
					       &run);
			FUZZ_CHECK(at <= piece && run.len != 0);
			FUZZ_CHECK(buf_add(wire, run.at, run.len) == 0);
		}
		start += piece;
	}
	fuzz_windows_done(&windows);
	end = smtp_data_encode_end(&encoder);
	FUZZ_CHECK(buf_add(wire, end.at, end.len) == 0);
}

/* Every CR, LF and CR LF as CR LF, and one at the end. */
static void
normalize(const uint8_t *bytes, size_t len, struct buf *out)
{
	bool is_line = true;

	buf_init(out, BYTES_MAX);
	for (size_t i = 0; i < len; i++) {
		is_line = bytes[i] == '\r' || bytes[i] == '\n';
		if (!is_line)
			FUZZ_CHECK(buf_add(out, bytes + i, 1) == 0);
		else
			FUZZ_CHECK(buf_adds(out, "\r\n") == 0);
		if (bytes[i] == '\r' && i + 1 < len && bytes[i + 1] == '\n')
			i++;
	}
	if (!is_line)
		FUZZ_CHECK(buf_adds(out, "\r\n") == 0);
}

/* What we send, a receiver like us reads back, and all of it. */
static void
check_encoder(const uint8_t *bytes, size_t len, uint32_t seed)
{
	struct buf whole, split, plain;
	struct decoded back;

	encode(bytes, len, 0, &whole);
	encode(bytes, len, seed, &split);
	FUZZ_CHECK(buf_len(&whole) == buf_len(&split));
	FUZZ_CHECK(memcmp(buf_text(&whole), buf_text(&split),
			  buf_len(&whole)) == 0);
	FUZZ_CHECK(!has_bare(buf_bytes(&whole), buf_len(&whole), '\r'));
	FUZZ_CHECK(!has_bare(buf_bytes(&whole), buf_len(&whole), '\n'));

	decode(buf_bytes(&whole), buf_len(&whole), 0, &back);
	normalize(bytes, len, &plain);
	FUZZ_CHECK(back.is_end && back.used == buf_len(&whole));
	FUZZ_CHECK(buf_len(&back.message) == buf_len(&plain));
	FUZZ_CHECK(memcmp(buf_text(&back.message), buf_text(&plain),
			  buf_len(&plain)) == 0);
	buf_done(&whole);
	buf_done(&split);
	buf_done(&plain);
	buf_done(&back.message);
}

static void
scan(const uint8_t *bytes, size_t len, uint32_t seed, struct header_scan *scan)
{
	struct fuzz_windows windows;
	size_t start = 0;

	fuzz_windows_init(&windows, len);
	memset(scan, 0, sizeof(*scan));
	while (start < len) {
		size_t piece = seed == 0 ? len : fuzz_piece(&seed, len - start);
		uint8_t *copy = fuzz_window(&windows, bytes + start, piece);

		header_scan_feed(scan, copy, piece);
		start += piece;
	}
	fuzz_windows_done(&windows);
	header_scan_end(scan);
}

static void
check_header(const uint8_t *bytes, size_t len, uint32_t seed)
{
	struct header_scan whole, split;

	scan(bytes, len, 0, &whole);
	scan(bytes, len, seed, &split);
	FUZZ_CHECK(whole.is_done && whole.header_bytes <= len);
	FUZZ_CHECK(memcmp(&whole, &split,
			  offsetof(struct header_scan, is_done)) == 0);
	FUZZ_CHECK(whole.header_bytes == split.header_bytes);
	FUZZ_CHECK(whole.has_empty_line == split.has_empty_line);
	FUZZ_CHECK(!whole.has_empty_line ||
		   memcmp(bytes + whole.header_bytes, "\r\n", 2) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint32_t seed;

	if (size == 0)
		return 0;
	seed = data[0] | 1u;
	check_decoder(data + 1, size - 1, seed);
	check_encoder(data + 1, size - 1, seed);
	check_header(data + 1, size - 1, seed);
	return 0;
}
