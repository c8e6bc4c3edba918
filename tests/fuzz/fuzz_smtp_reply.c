/* SPDX-License-Identifier: ISC */
#include "tests/fuzz/fuzz.h"

#include "lib/str.h"
#include "lib/wire/smtp_reply.h"

#define LOG_MAX (16u << 20)

/* All replies in the bytes, as text. */
static void
read_replies(struct smtp_reply *reply, const uint8_t *bytes, size_t len,
	     struct buf *log)
{
	while (len != 0 && reply->state != SMTP_REPLY_GARBLED) {
		size_t used = smtp_reply_feed(reply, bytes, len);
		struct str text;
		char enhanced[12];

		FUZZ_CHECK(used <= len);
		FUZZ_CHECK(used != 0 || reply->state == SMTP_REPLY_GARBLED);
		bytes += used;
		len -= used;
		if (reply->state == SMTP_REPLY_MORE)
			continue;
		text = str_of(smtp_reply_text(reply));
		FUZZ_CHECK(text.len <= SMTP_REPLY_KEEP);
		FUZZ_CHECK(str_is_utf8(text));
		for (size_t i = 0; i < text.len; i++)
			FUZZ_CHECK((unsigned char)text.at[i] >= ' ' ||
				   text.at[i] == '\n');
		if (reply->state == SMTP_REPLY_DONE) {
			const struct status *status = &reply->status;

			FUZZ_CHECK(status->code >= 200 && status->code <= 599);
			FUZZ_CHECK(status->class == 0 ||
				   status->class == status->code / 100);
			(void)status_enhanced(status, enhanced);
			(void)buf_addf(log, "%u %s %s|", status->code, enhanced,
				       status->text);
		}
		(void)buf_addf(log, "%.*s;", STR_ARG(text));
	}
}

/* The replies are the same however the bytes were split. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct smtp_reply whole, parts;
	struct buf a, b;
	uint32_t seed = (uint32_t)size;
	size_t at = 0;

	smtp_reply_init(&whole);
	smtp_reply_init(&parts);
	buf_init(&a, LOG_MAX);
	buf_init(&b, LOG_MAX);
	read_replies(&whole, data, size, &a);
	while (at < size) {
		size_t piece = fuzz_piece(&seed, size - at);
		uint8_t *copy = fuzz_copy(data + at, piece);

		read_replies(&parts, copy, piece, &b);
		free(copy);
		at += piece;
	}
	FUZZ_CHECK(whole.state == parts.state || size == 0);
	FUZZ_CHECK(strcmp(buf_text(&a), buf_text(&b)) == 0);
	smtp_reply_done(&whole);
	smtp_reply_done(&parts);
	buf_done(&a);
	buf_done(&b);
	return 0;
}
