/* SPDX-License-Identifier: ISC */
#include "tests/fuzz/fuzz.h"

#include "lib/buf.h"
#include "lib/wire/smtp_cmd.h"

#define LOG_MAX (8 * 1024 * 1024)

static void
log_event(const struct smtp_cmd_event *event, struct buf *log)
{
	int rc = buf_addf(log, "\n%d %d %zu ", event->kind, event->verb,
			  event->word.len);

	FUZZ_CHECK(rc == 0);
	FUZZ_CHECK(event->kind == SMTP_CMD_LINE ||
		   (event->word.len == 0 && event->arg.len == 0));
	/* no line lets through what could start another one */
	for (size_t i = 0; i < event->arg.len; i++)
		FUZZ_CHECK(strchr("\r\n", event->arg.at[i]) == NULL);
	FUZZ_CHECK(buf_add(log, event->word.at, event->word.len) == 0);
	FUZZ_CHECK(buf_add(log, event->arg.at, event->arg.len) == 0);
}

/* All events of the bytes; seed 0: in one piece. Returns what was left. */
static size_t
run(enum smtp_cmd_mode mode, const uint8_t *bytes, size_t len, uint32_t seed,
    struct buf *log)
{
	struct smtp_cmd cmd = {0};
	struct smtp_cmd_event event;
	struct fuzz_windows windows;
	size_t start = 0, end = 0;

	buf_init(log, LOG_MAX);
	fuzz_windows_init(&windows, len);
	do {
		uint8_t *window;
		size_t at = 0, used;

		end += seed == 0 ? len - end : fuzz_piece(&seed, len - end);
		window = fuzz_window(&windows, bytes + start, end - start);
		do {
			used = smtp_cmd_next(&cmd, mode, window + at,
					     end - start - at, &event);
			FUZZ_CHECK(used <= end - start - at);
			FUZZ_CHECK(used != 0 ||
				   event.kind == SMTP_CMD_NEED_MORE);
			at += used;
			if (event.kind != SMTP_CMD_NEED_MORE)
				log_event(&event, log);
		} while (event.kind != SMTP_CMD_NEED_MORE);
		start += at;
		/* the window never has to hold more than the longest line */
		FUZZ_CHECK(end - start < SMTP_CMD_WINDOW_MIN);
	} while (end < len);
	fuzz_windows_done(&windows);
	return len - start;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum smtp_cmd_mode mode;
	struct buf whole, split;

	if (size == 0)
		return 0;
	mode = (data[0] & 1) != 0 ? SMTP_CMD_AUTH_LINES : SMTP_CMD_COMMANDS;
	/* what is left may differ by a CR within a line that is dropped */
	(void)run(mode, data + 1, size - 1, 0, &whole);
	(void)run(mode, data + 1, size - 1, data[0] | 1u, &split);
	FUZZ_CHECK(buf_len(&whole) == buf_len(&split));
	FUZZ_CHECK(strcmp(buf_text(&whole), buf_text(&split)) == 0);
	buf_done(&whole);
	buf_done(&split);
	return 0;
}
