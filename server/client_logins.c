/* SPDX-License-Identifier: ISC */
#include "server/client_logins.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "lib/str.h"

struct row {
	char *name, *login; /* owns */
	unsigned line;
};

struct client_logins {
	struct row *rows; /* sorted by name */
	size_t count, room;
};

static int
compare(const void *a, const void *b)
{
	const struct row *one = a, *other = b;

	return strcmp(one->name, other->name);
}

static void
add_row(struct client_logins *logins, struct str name, struct str login,
	unsigned line)
{
	if (logins->count == logins->room) {
		logins->room = logins->room == 0 ? 16 : logins->room * 2;
		logins->rows = mem_resize(logins->rows, logins->room,
					  sizeof(logins->rows[0]));
	}
	logins->rows[logins->count++] =
		(struct row){.name = mem_dup(name.at, name.len),
			     .login = mem_dup(login.at, login.len),
			     .line = line};
}

/* What is wrong with a line; NULL: nothing, it was added or empty. */
static const char *
read_line(struct client_logins *logins, struct str text, unsigned line)
{
	struct str name, login;
	size_t colon = 0;

	text = str_trim(text);
	if (text.len == 0 || text.at[0] == '#')
		return NULL;
	for (size_t i = 0; i < text.len; i++)
		if ((unsigned char)text.at[i] < ' ' || text.at[i] == 0x7f)
			return "a control character";
	for (size_t i = 0; i + 1 < text.len; i++)
		if (text.at[i] == ':' && text.at[i + 1] == ' ')
			colon = i;
	if (text.at[text.len - 1] == ':')
		return "a login is missing behind the colon";
	name = login = text;
	if (colon != 0) {
		name = str_trim(str_from(text.at, colon));
		login = str_trim(
			str_from(text.at + colon + 1, text.len - colon - 1));
	}
	if (name.len == 0 || name.at[0] == ':')
		return "a name is missing before the colon";
	if (str_starts_nocase(login, "unix:"))
		return "\"unix:\" is for programs of this machine";
	add_row(logins, name, login, line);
	return NULL;
}

struct client_logins *
client_logins_read(const char *text, const char *path, struct err *err)
{
	struct client_logins *logins = mem_zalloc(sizeof(*logins));
	struct str rest = str_of(text), line;
	const char *problem = NULL;
	unsigned number = 0;

	while (problem == NULL && str_cut(&rest, '\n', &line))
		problem = read_line(logins, line, ++number);
	if (problem == NULL && logins->count != 0)
		qsort(logins->rows, logins->count, sizeof(logins->rows[0]),
		      compare);
	for (size_t i = 1; problem == NULL && i < logins->count; i++) {
		const struct row *before = &logins->rows[i - 1];

		if (compare(before, &logins->rows[i]) != 0)
			continue;
		number = logins->rows[i].line > before->line
				 ? logins->rows[i].line
				 : before->line;
		problem = "the name stands in another line already";
	}
	if (problem == NULL)
		return logins;
	(void)err_text(err, -EINVAL, "%s:%u: %s", path, number, problem);
	client_logins_free(logins);
	return NULL;
}

void
client_logins_free(struct client_logins *logins)
{
	if (logins == NULL)
		return;
	for (size_t i = 0; i < logins->count; i++) {
		free(logins->rows[i].name);
		free(logins->rows[i].login);
	}
	free(logins->rows);
	free(logins);
}

const char *
client_logins_find(const struct client_logins *logins, const char *name)
{
	const struct row wanted = {.name = (char *)(uintptr_t)name};
	const struct row *found =
		logins->count == 0
			? NULL
			: bsearch(&wanted, logins->rows, logins->count,
				  sizeof(logins->rows[0]), compare);

	return found != NULL ? found->login : NULL;
}
