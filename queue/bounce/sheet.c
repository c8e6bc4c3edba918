/* SPDX-License-Identifier: ISC */
#include "queue/bounce/sheet.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/mem.h"
#include "lib/str.h"
#include "queue/bounce/mime_text.h"

static const char *const why_names[SHEET_WHYS] = {
	[SHEET_NO_SENDER] = "no-sender",
	[SHEET_OVER_CAP] = "over-cap",
};

/* The sum of all counts of a sheet is still a number; what a damaged file says
 * beyond it would not be read back. */
#define COUNT_MAX (UINT64_MAX / 64)
static_assert(SHEET_WHYS * CATEGORY_COUNT <= 64, "sheet_total");

static void
count(uint64_t *to, uint64_t more)
{
	*to = more < COUNT_MAX - *to ? *to + more : COUNT_MAX;
}

static void
line_done(struct sheet_line *line)
{
	free(line->id);
	free(line->sender);
	free(line->recipient);
	free(line->words);
}

void
sheet_done(struct sheet *sheet)
{
	for (size_t i = 0; i < sheet->line_count; i++)
		line_done(&sheet->lines[i]);
	free(sheet->lines);
	memset(sheet, 0, sizeof(*sheet));
}

/* At most max octets, without what would end the line in the file. */
static char *
keep(const char *text, size_t max)
{
	char *kept = mem_alloc(max + 1);

	(void)str_copy(kept, max + 1, str_of(text));
	for (char *at = kept; *at != '\0'; at++)
		if ((unsigned char)*at < ' ' || *at == 0x7f)
			*at = ' ';
	return kept;
}

static void
note_time(struct sheet *sheet, uint64_t first_ms, uint64_t last_ms)
{
	if (sheet->first_ms == 0 || first_ms < sheet->first_ms)
		sheet->first_ms = first_ms;
	if (last_ms > sheet->last_ms)
		sheet->last_ms = last_ms;
}

static struct sheet_line *
find_like(struct sheet *sheet, const struct sheet_line *line)
{
	for (size_t i = 0; i < sheet->line_count; i++) {
		struct sheet_line *known = &sheet->lines[i];

		if (known->why == line->why &&
		    known->category == line->category &&
		    strcmp(known->recipient, line->recipient) == 0 &&
		    strcmp(known->sender, line->sender) == 0)
			return known;
	}
	return NULL;
}

/* Takes the line's strings. */
static void
add_line(struct sheet *sheet, struct sheet_line *line)
{
	struct sheet_line *known = find_like(sheet, line);

	if (known == NULL && sheet->line_count < SHEET_LINES_MAX) {
		sheet->lines = mem_append(sheet->lines, sheet->line_count,
					  sizeof(*sheet->lines));
		sheet->lines[sheet->line_count++] = *line;
		return;
	}
	if (known != NULL) {
		count(&known->messages, line->messages);
		count(&known->recipients, line->recipients);
		if (line->first_ms < known->first_ms)
			known->first_ms = line->first_ms;
		if (line->last_ms > known->last_ms)
			known->last_ms = line->last_ms;
	}
	line_done(line);
}

void
sheet_add(struct sheet *sheet, const struct sheet_item *item)
{
	struct sheet_line line = {
		.why = item->why,
		.category = item->category,
		.first_ms = item->at_ms,
		.last_ms = item->at_ms,
		.messages = 1,
		.recipients = item->recipients,
		.id = keep(item->id, 32),
		.sender = keep(item->sender, SHEET_ADDR_MAX),
		.recipient = keep(item->recipient, SHEET_ADDR_MAX),
		.words = keep(item->words, SHEET_WORDS_MAX),
	};

	note_time(sheet, item->at_ms, item->at_ms);
	count(&sheet->counts[item->why][item->category], 1);
	add_line(sheet, &line);
}

void
sheet_merge(struct sheet *sheet, struct sheet *from)
{
	if (from->first_ms != 0)
		note_time(sheet, from->first_ms, from->last_ms);
	for (size_t why = 0; why < SHEET_WHYS; why++)
		for (size_t i = 0; i < CATEGORY_COUNT; i++)
			count(&sheet->counts[why][i], from->counts[why][i]);
	for (size_t i = 0; i < from->line_count; i++)
		add_line(sheet, &from->lines[i]);
	free(from->lines);
	memset(from, 0, sizeof(*from));
}

uint64_t
sheet_total(const struct sheet *sheet)
{
	uint64_t total = 0;

	for (size_t why = 0; why < SHEET_WHYS; why++)
		for (size_t i = 0; i < CATEGORY_COUNT; i++)
			total += sheet->counts[why][i];
	return total;
}

/* -------------------------------------------------------------- the file */

void
sheet_write(const struct sheet *sheet, struct buf *out)
{
	(void)buf_addf(out, "time\t%" PRIu64 "\t%" PRIu64 "\n", sheet->first_ms,
		       sheet->last_ms);
	for (size_t why = 0; why < SHEET_WHYS; why++)
		for (size_t i = 0; i < CATEGORY_COUNT; i++)
			if (sheet->counts[why][i] != 0)
				(void)buf_addf(out,
					       "count\t%s\t%s\t%" PRIu64 "\n",
					       why_names[why],
					       category_name((enum category)i),
					       sheet->counts[why][i]);
	for (size_t i = 0; i < sheet->line_count; i++) {
		const struct sheet_line *line = &sheet->lines[i];

		(void)buf_addf(out,
			       "line\t%s\t%s\t%" PRIu64 "\t%" PRIu64
			       "\t%" PRIu64 "\t%" PRIu64 "\t%s\t%s\t%s\t%s\n",
			       why_names[line->why],
			       category_name(line->category), line->first_ms,
			       line->last_ms, line->messages, line->recipients,
			       line->id, line->sender, line->recipient,
			       line->words);
	}
}

/* The next part; "" when there is none. */
static struct str
cut(struct str *rest)
{
	struct str part = str_from("", 0);

	(void)str_cut(rest, '\t', &part);
	return part;
}

static bool
read_kind(struct str *rest, enum sheet_why *out_why,
	  enum category *out_category)
{
	struct str why = cut(rest), category = cut(rest);
	char name[32];

	(void)str_copy(name, sizeof(name), category);
	if (!category_parse(name, out_category))
		return false;
	for (size_t i = 0; i < SHEET_WHYS; i++) {
		if (!str_is(why, why_names[i]))
			continue;
		*out_why = (enum sheet_why)i;
		return true;
	}
	return false;
}

static char *
read_text(struct str *rest, size_t max)
{
	struct str part = cut(rest);
	char *text = mem_dup(part.at, part.len < max ? part.len : max);

	return text;
}

bool
sheet_read_line(struct sheet *sheet, struct str rest)
{
	struct str what = cut(&rest);
	struct sheet_line line = {0};
	uint64_t first, last, number;

	if (str_is(what, "time")) {
		if (!str_u64(cut(&rest), UINT64_MAX, &first) ||
		    !str_u64(cut(&rest), UINT64_MAX, &last))
			return false;
		if (first != 0)
			note_time(sheet, first, last);
		return true;
	}
	if ((!str_is(what, "count") && !str_is(what, "line")) ||
	    !read_kind(&rest, &line.why, &line.category))
		return false;
	if (str_is(what, "count")) {
		if (!str_u64(cut(&rest), COUNT_MAX, &number))
			return false;
		count(&sheet->counts[line.why][line.category], number);
		return true;
	}
	if (!str_u64(cut(&rest), UINT64_MAX, &line.first_ms) ||
	    !str_u64(cut(&rest), UINT64_MAX, &line.last_ms) ||
	    !str_u64(cut(&rest), COUNT_MAX, &line.messages) ||
	    !str_u64(cut(&rest), COUNT_MAX, &line.recipients))
		return false;
	line.id = read_text(&rest, 32);
	line.sender = read_text(&rest, SHEET_ADDR_MAX);
	line.recipient = read_text(&rest, SHEET_ADDR_MAX);
	line.words = read_text(&rest, SHEET_WORDS_MAX);
	add_line(sheet, &line);
	return true;
}

/* ----------------------------------------------------------- the message */

static void
put_ascii(struct buf *out, const char *text)
{
	mime_clean_ascii(str_of(text), out);
}

static void
put_counts(const struct sheet *sheet, enum sheet_why why, const char *title,
	   struct buf *out)
{
	bool has_title = false;

	for (size_t i = 0; i < CATEGORY_COUNT; i++) {
		if (sheet->counts[why][i] == 0)
			continue;
		if (!has_title)
			(void)buf_addf(out, "%s\r\n", title);
		has_title = true;
		(void)buf_addf(out, "  %8" PRIu64 "  %s\r\n",
			       sheet->counts[why][i],
			       category_name((enum category)i));
	}
	if (has_title)
		(void)buf_adds(out, "\r\n");
}

static void
put_line(const struct sheet_line *line, struct buf *out)
{
	char date[CLOCK_DATE_MAX];

	(void)buf_addf(out, "%s  ", clock_format_rfc5322(line->first_ms, date));
	put_ascii(out, line->id);
	(void)buf_addf(out, ", %s\r\n  from <", category_name(line->category));
	put_ascii(out, line->sender);
	(void)buf_adds(out, ">\r\n  to <");
	put_ascii(out, line->recipient);
	(void)buf_adds(out, ">");
	if (line->recipients > line->messages)
		(void)buf_addf(out, " and %" PRIu64 " more",
			       line->recipients - line->messages);
	(void)buf_adds(out, "\r\n  ");
	put_ascii(out, line->words);
	(void)buf_adds(out, "\r\n");
	if (line->messages > 1)
		(void)buf_addf(out,
			       "  and %" PRIu64 " more like this, the last at "
			       "%s\r\n",
			       line->messages - 1,
			       clock_format_rfc5322(line->last_ms, date));
	(void)buf_adds(out, "\r\n");
}

static void
put_header(const struct sheet *sheet, const struct sheet_letter *letter,
	   struct buf *out)
{
	char date[CLOCK_DATE_MAX];

	(void)buf_addf(out, "Date: %s\r\nFrom: Mail delivery <",
		       clock_format_rfc5322(letter->now_ms, date));
	put_ascii(out, letter->from);
	(void)buf_adds(out, ">\r\nTo: ");
	put_ascii(out, letter->from);
	(void)buf_addf(out,
		       "\r\nSubject: %" PRIu64
		       " failed message%s that nobody was told about\r\n"
		       "Message-ID: <%s@%s>\r\n"
		       "Auto-Submitted: auto-generated\r\n"
		       "MIME-Version: 1.0\r\n"
		       "Content-Type: text/plain; charset=us-ascii\r\n"
		       "Content-Transfer-Encoding: 7bit\r\n\r\n",
		       sheet_total(sheet), sheet_total(sheet) == 1 ? "" : "s",
		       letter->id, letter->hostname);
}

void
sheet_format(const struct sheet *sheet, const struct sheet_letter *letter,
	     struct buf *out)
{
	char first[CLOCK_DATE_MAX], last[CLOCK_DATE_MAX];
	uint64_t told = 0;

	put_header(sheet, letter, out);
	(void)buf_addf(out,
		       "Between %s\r\nand     %s\r\n"
		       "these messages failed on %s, and no report about them "
		       "was sent.\r\nThe log has each of them (events bounced, "
		       "expired and digest).\r\n\r\n",
		       clock_format_rfc5322(sheet->first_ms, first),
		       clock_format_rfc5322(sheet->last_ms, last),
		       letter->hostname);
	put_counts(sheet, SHEET_NO_SENDER,
		   "From the null sender, so that there is nobody to tell\r\n"
		   "(mostly reports to forged or dead addresses):",
		   out);
	put_counts(sheet, SHEET_OVER_CAP,
		   "Beyond what one sender is told within an hour\r\n"
		   "(reports_per_sender; mail to dead lists, or a stolen "
		   "login):",
		   out);
	for (size_t i = 0; i < sheet->line_count; i++) {
		put_line(&sheet->lines[i], out);
		told += sheet->lines[i].messages;
	}
	if (sheet_total(sheet) > told)
		(void)buf_addf(out,
			       "%" PRIu64 " more are counted above and stand "
			       "in the log alone.\r\n",
			       sheet_total(sheet) - told);
}
