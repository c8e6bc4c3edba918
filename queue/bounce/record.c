/* SPDX-License-Identifier: ISC */
#include "queue/bounce/record.h"

#include <inttypes.h>
#include <string.h>

#define PART_MAX 320

static const char *const kind_names[] = {
	[RECORD_BOUNCED] = "bounced",
	[RECORD_EXPIRED] = "expired",
	[RECORD_DELIVERED] = "delivered",
};
#define KINDS (sizeof(kind_names) / sizeof(kind_names[0]))

const char *
record_kind_name(enum record_kind kind)
{
	return kind_names[kind];
}

/* What would end the part becomes a space; it is cut at max octets, never
 * inside a character. */
static void
put_part(struct buf *out, struct str part, size_t max, char end)
{
	char text[RECORD_WORDS_MAX + 1];

	(void)str_copy(text, max + 1, part);
	for (char *at = text; *at != '\0'; at++)
		if ((unsigned char)*at < ' ' || *at == 0x7f)
			*at = ' ';
	(void)buf_addf(out, "%s%c", text, end);
}

void
record_format(const struct record *record, struct buf *out)
{
	(void)buf_addf(out, "%" PRIu64 "\t%s\t", record->at_ms,
		       kind_names[record->kind]);
	put_part(out, record->id, PART_MAX, '\t');
	put_part(out, record->sender, PART_MAX, '\t');
	put_part(out, record->recipient, PART_MAX, '\t');
	put_part(out, record->category, PART_MAX, '\t');
	put_part(out, record->rule, PART_MAX, '\t');
	put_part(out, record->cause, PART_MAX, '\t');
	(void)buf_addf(out, "%u\t", record->code);
	put_part(out, record->enhanced, PART_MAX, '\t');
	put_part(out, record->host, PART_MAX, '\t');
	put_part(out, record->ip, PART_MAX, '\t');
	put_part(out, record->words, RECORD_WORDS_MAX, '\n');
}

static bool
cut_part(struct str *rest, struct str *out)
{
	const char *tab =
		rest->len != 0 ? memchr(rest->at, '\t', rest->len) : NULL;

	if (tab == NULL)
		return false;
	*out = str_from(rest->at, (size_t)(tab - rest->at));
	*rest = str_from(tab + 1, rest->len - out->len - 1);
	return true;
}

static bool
read_kind(struct str text, enum record_kind *out)
{
	for (size_t i = 0; i < KINDS; i++) {
		if (!str_is(text, kind_names[i]))
			continue;
		*out = (enum record_kind)i;
		return true;
	}
	return false;
}

bool
record_parse(struct str line, struct record *out)
{
	struct record record;
	struct str at, kind, code;
	uint64_t number;

	if (!cut_part(&line, &at) || !cut_part(&line, &kind) ||
	    !cut_part(&line, &record.id) || !cut_part(&line, &record.sender) ||
	    !cut_part(&line, &record.recipient) ||
	    !cut_part(&line, &record.category) ||
	    !cut_part(&line, &record.rule) || !cut_part(&line, &record.cause) ||
	    !cut_part(&line, &code) || !cut_part(&line, &record.enhanced) ||
	    !cut_part(&line, &record.host) || !cut_part(&line, &record.ip))
		return false;
	record.words = line;
	if (!str_u64(at, INT64_MAX, &record.at_ms) ||
	    !read_kind(kind, &record.kind) || !str_u64(code, 999, &number))
		return false;
	record.code = (unsigned)number;
	*out = record;
	return true;
}

struct str
record_domain(const struct record *record)
{
	struct str address = record->recipient;
	const char *at =
		address.len != 0 ? memrchr(address.at, '@', address.len) : NULL;

	if (at == NULL)
		return str_from("", 0);
	return str_from(at + 1, address.len - (size_t)(at - address.at) - 1);
}

bool
record_is_against(const struct record *record, bool *out_is_hard)
{
	bool is_box = str_is(record->category, "bad-mailbox");
	bool is_domain = str_is(record->category, "bad-domain");

	*out_is_hard = is_domain ||
		       (is_box && str_starts_nocase(record->enhanced, "5.1."));
	return record->kind == RECORD_BOUNCED &&
	       (is_box || is_domain ||
		str_is(record->category, "inactive-mailbox"));
}
