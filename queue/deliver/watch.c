/* SPDX-License-Identifier: ISC */
#include "queue/deliver/watch.h"

#include <string.h>

#include "lib/mem.h"
#include "lib/str.h"

/* "AUTH PLAIN <secret>" keeps its first two words. */
static void
watch_hide(struct watch_lines *lines)
{
	size_t words = 0, at = 0;

	if (str_starts_nocase(str_of(lines->line), "AUTH "))
		for (words = 0; at < lines->len && words < 2; at++)
			words += lines->line[at] == ' ';
	mem_wipe(lines->line + at, sizeof(lines->line) - at);
	(void)str_copy(lines->line + at, sizeof(lines->line) - at,
		       str_of(at == 0 || words == 2 ? "(hidden)" : ""));
}

void
watch_bytes(const struct delivery_watch *watch, struct watch_lines *lines,
	    bool is_ours, bool is_secret, const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (bytes[i] != '\n') {
			if (lines->len < WATCH_LINE_MAX)
				lines->line[lines->len++] = (char)bytes[i];
			continue;
		}
		if (lines->len != 0 && lines->line[lines->len - 1] == '\r')
			lines->len--;
		lines->line[lines->len] = '\0';
		if (is_ours && is_secret)
			watch_hide(lines);
		watch->on_line(watch->arg, is_ours, lines->line);
		mem_wipe(lines->line, sizeof(lines->line));
		lines->len = 0;
	}
}
