/* SPDX-License-Identifier: ISC */
#include "tests/fuzz/fuzz.h"

#include "lib/buf.h"
#include "lib/wire/header_scan.h"
#include "server/submission.h"

#define OUT_MAX (16u << 20)

/* seed 0: all of it at once. */
static void
filter(const uint8_t *data, size_t size, uint32_t seed, struct buf *out)
{
	struct submission submission;
	struct fuzz_windows windows;
	struct str rest;

	buf_init(out, OUT_MAX);
	fuzz_windows_init(&windows, size);
	submission_init(&submission, "D", "I@h");
	while (size != 0) {
		size_t piece = seed != 0 ? fuzz_piece(&seed, size) : size;
		uint8_t *copy = fuzz_window(&windows, data, piece);

		for (size_t at = 0; at < piece;) {
			struct str run;
			size_t used = submission_feed(&submission, copy + at,
						      piece - at, &run);

			FUZZ_CHECK(used != 0 && used <= piece - at);
			if (run.len != 0)
				(void)buf_add(out, run.at, run.len);
			at += used;
		}
		data += piece;
		size -= piece;
	}
	fuzz_windows_done(&windows);
	rest = submission_end(&submission);
	if (rest.len != 0)
		(void)buf_add(out, rest.at, rest.len);
}

static void
scan(const uint8_t *bytes, size_t len, struct header_scan *out)
{
	memset(out, 0, sizeof(*out));
	header_scan_feed(out, bytes, len);
	header_scan_end(out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf whole, pieces, twice;
	struct header_scan header;

	filter(data, size, 0, &whole);
	filter(data, size, (uint32_t)size * 2654435761u | 1, &pieces);
	FUZZ_CHECK(buf_len(&whole) == buf_len(&pieces));
	FUZZ_CHECK(memcmp(buf_bytes(&whole), buf_bytes(&pieces),
			  buf_len(&whole)) == 0);

	/* the other reader of headers finds nothing missing and no Bcc */
	scan(buf_bytes(&whole), buf_len(&whole), &header);
	FUZZ_CHECK(header.has_date && header.has_message_id);
	FUZZ_CHECK(!header.has_bcc);
	/* what is complete stays as it is */
	filter(buf_bytes(&whole), buf_len(&whole), 0, &twice);
	FUZZ_CHECK(buf_len(&twice) == buf_len(&whole));
	FUZZ_CHECK(memcmp(buf_bytes(&twice), buf_bytes(&whole),
			  buf_len(&whole)) == 0);
	buf_done(&whole);
	buf_done(&pieces);
	buf_done(&twice);
	return 0;
}
