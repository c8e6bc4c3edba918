/* SPDX-License-Identifier: ISC */
#include "server/header_addrs.h"

#include <string.h>

#include "lib/buf.h"

/* An address as it is put together; angle: it stood in <>, which beats what
 * was around. */
struct gathering {
	struct buf text;
	bool has_angle, is_in_angle;
	void (*each)(void *arg, const char *address);
	void *arg;
};

static void
address_end(struct gathering *gathering)
{
	if (buf_len(&gathering->text) != 0)
		gathering->each(gathering->arg, buf_text(&gathering->text));
	buf_clear(&gathering->text);
	gathering->has_angle = gathering->is_in_angle = false;
}

/* A comment, which may hold others (RFC 5322, 3.2.2). Returns its length. */
static size_t
comment_length(struct str rest)
{
	size_t depth = 0, i;

	for (i = 0; i < rest.len; i++) {
		if (rest.at[i] == '\\')
			i++;
		else if (rest.at[i] == '(')
			depth++;
		else if (rest.at[i] == ')' && --depth == 0)
			return i + 1;
	}
	return rest.len;
}

static size_t
quoted_length(struct str rest)
{
	for (size_t i = 1; i < rest.len; i++) {
		if (rest.at[i] == '\\')
			i++;
		else if (rest.at[i] == '"')
			return i + 1;
	}
	return rest.len;
}

/* Belongs it to the address: nothing behind a '>' does, and no line end or
 * other control character within quotes, which would begin a command. */
static void
put(struct gathering *gathering, struct str part)
{
	if (!gathering->is_in_angle && gathering->has_angle)
		return;
	for (size_t i = 0; i < part.len; i++)
		if ((unsigned char)part.at[i] >= ' ' && part.at[i] != 0x7f)
			(void)buf_add(&gathering->text, part.at + i, 1);
}

/* What one character means; those of comments and quotes do not come here. */
static void
put_char(struct gathering *gathering, struct str at)
{
	switch (at.at[0]) {
	case '<':
		buf_clear(&gathering->text); /* it was a name */
		gathering->has_angle = gathering->is_in_angle = true;
		break;
	case '>':
		gathering->is_in_angle = false;
		break;
	case ',':
		/* within <> it is part of an old source route */
		if (gathering->is_in_angle)
			put(gathering, str_from(at.at, 1));
		else
			address_end(gathering);
		break;
	case ':':
		/* ends the name of a group, or a source route */
		buf_clear(&gathering->text);
		break;
	case ';':
		address_end(gathering);
		break;
	case ' ':
	case '\t':
	case '\r':
	case '\n':
		break;
	default:
		put(gathering, str_from(at.at, 1));
		break;
	}
}

void
header_addrs_list(struct str value,
		  void (*each)(void *arg, const char *address), void *arg)
{
	struct gathering gathering = {.each = each, .arg = arg};

	buf_init(&gathering.text, 4096);
	while (value.len != 0) {
		size_t len = 1;

		if (value.at[0] == '(') {
			len = comment_length(value);
		} else if (value.at[0] == '"' || value.at[0] == '[') {
			/* "a b"@x and a@[IPv6:...] hold what else would
			 * end them */
			const char *end =
				value.at[0] == '['
					? memchr(value.at, ']', value.len)
					: NULL;

			len = end != NULL ? (size_t)(end - value.at) + 1
					  : quoted_length(value);
			if (value.at[0] == '[' && end == NULL)
				len = 1;
			put(&gathering, str_from(value.at, len));
		} else {
			put_char(&gathering, value);
		}
		value = str_from(value.at + len, value.len - len);
	}
	address_end(&gathering);
	buf_done(&gathering.text);
}

/* The next field with its folded lines. */
static bool
next_field(struct str *rest, struct str *out_name, struct str *out_value)
{
	struct str line, field;
	const char *colon;

	if (!str_cut(rest, '\n', &line))
		return false;
	field = line;
	while (rest->len != 0 && (rest->at[0] == ' ' || rest->at[0] == '\t')) {
		(void)str_cut(rest, '\n', &line);
		field.len = (size_t)(line.at + line.len - field.at);
	}
	colon = field.len != 0 ? memchr(field.at, ':', field.len) : NULL;
	if (colon == NULL) {
		*out_name = *out_value = str_from("", 0);
		return true;
	}
	*out_name = str_trim(str_from(field.at, (size_t)(colon - field.at)));
	*out_value =
		str_from(colon + 1, field.len - 1 - (size_t)(colon - field.at));
	return true;
}

static bool
is_one_of(struct str name, const char *const *names)
{
	for (; *names != NULL; names++)
		if (str_is_nocase(name, *names))
			return true;
	return false;
}

static bool
has_one_of(struct str header, const char *const *names)
{
	struct str name, value;

	while (next_field(&header, &name, &value))
		if (is_one_of(name, names))
			return true;
	return false;
}

void
header_addrs_recipients(struct str header,
			void (*each)(void *arg, const char *address), void *arg)
{
	static const char *const first[] = {"To", "Cc", "Bcc", NULL};
	static const char *const again[] = {"Resent-To", "Resent-Cc",
					    "Resent-Bcc", NULL};
	const char *const *wanted = has_one_of(header, again) ? again : first;
	struct str name, value;

	while (next_field(&header, &name, &value))
		if (is_one_of(name, wanted))
			header_addrs_list(value, each, arg);
}

bool
header_addrs_has(struct str header, const char *name)
{
	const char *const names[] = {name, NULL};

	return has_one_of(header, names);
}
