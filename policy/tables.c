/* SPDX-License-Identifier: ISC */
#include "policy/tables.h"

#include <string.h>

void
table_init(struct table *table, enum table_kind kind, struct str text)
{
	table->rest = text;
	table->kind = kind;
	table->line = 0;
}

static bool
is_space(char c)
{
	return c == ' ' || c == '\t';
}

/* Position of the first c outside quotes, or len. */
static size_t
find_unquoted(struct str text, char c)
{
	bool in_quotes = false;

	for (size_t i = 0; i < text.len; i++) {
		if (in_quotes && text.at[i] == '\\')
			i++;
		else if (text.at[i] == '"')
			in_quotes = !in_quotes;
		else if (text.at[i] == c && !in_quotes)
			return i;
	}
	return text.len;
}

static struct str
without_comment(struct str line)
{
	for (size_t i = 0; i < line.len; i++)
		if (line.at[i] == '#' && (i == 0 || is_space(line.at[i - 1])))
			return str_from(line.at, i);
	return line;
}

/* alias-row = name ":" list / 1*SP list */
static void
read_alias(struct str line, bool goes_on, struct table_row *out)
{
	size_t colon;

	if (goes_on) {
		out->value = line;
		return;
	}
	colon = find_unquoted(line, ':');
	if (colon == line.len) {
		out->problem = "an alias is written \"name: address, address\"";
		return;
	}
	out->key = str_trim(str_from(line.at, colon));
	out->value =
		str_trim(str_from(line.at + colon + 1, line.len - colon - 1));
	if (out->key.len == 0)
		out->problem = "an alias needs a name before the ':'";
}

/* sender-row = login 1*SP ( address / "@" domain ) */
static void
read_sender(struct str line, struct table_row *out)
{
	size_t len = 0;

	while (len < line.len && !is_space(line.at[len]))
		len++;
	out->key = str_from(line.at, len);
	out->value = str_trim(str_from(line.at + len, line.len - len));
	if (out->value.len == 0)
		out->problem = "a sender row is written \"login address\" or "
			       "\"login @domain\"";
}

bool
table_next(struct table *table, struct table_row *out)
{
	struct str line;

	while (str_cut(&table->rest, '\n', &line)) {
		struct table_row row = {.line = ++table->line};
		bool goes_on;

		if (line.len != 0 && line.at[line.len - 1] == '\r')
			line.len--;
		goes_on = line.len != 0 && is_space(line.at[0]);
		line = str_trim(without_comment(line));
		if (line.len == 0)
			continue;
		if (memchr(line.at, '\0', line.len) != NULL) {
			row.problem = "a NUL byte stands in the row";
		} else {
			switch (table->kind) {
			case TABLE_RECIPIENTS:
				row.key = line;
				break;
			case TABLE_ALIASES:
				read_alias(line, goes_on, &row);
				break;
			case TABLE_SENDERS:
				read_sender(line, &row);
				break;
			}
		}
		*out = row;
		return true;
	}
	return false;
}

bool
table_cut_address(struct str *rest, struct str *out)
{
	size_t comma;

	if (rest->len == 0)
		return false;
	comma = find_unquoted(*rest, ',');
	*out = str_trim(str_from(rest->at, comma));
	if (comma == rest->len)
		*rest = str_from(rest->at + comma, 0);
	else
		*rest = str_from(rest->at + comma + 1, rest->len - comma - 1);
	return true;
}
