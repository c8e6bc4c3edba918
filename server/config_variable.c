/* SPDX-License-Identifier: ISC */
#include "server/config_variable.h"

#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/mem.h"

/* Escapes and variables may stand for more than the file can hold. */
#define REPLACED_MAX ((size_t)8 << 20)

bool
variable_is_next(struct str text)
{
	return text.len > 1 && text.at[0] == '$' && text.at[1] == '{';
}

/* len  of the whole variable */
static void
variable_find(struct str text, size_t len, struct variable *out)
{
	struct str name = str_from(text.at + 2, len - 3);
	const char *preset = memmem(name.at, name.len, ":-", 2);

	memset(out, 0, sizeof(*out));
	out->len = len;
	if (preset != NULL) {
		size_t name_len = (size_t)(preset - name.at);

		out->fallback = mem_dup(preset + 2, name.len - name_len - 2);
		name.len = name_len;
	}
	out->name = mem_dup(name.at, name.len);
	out->value = name.len != 0 ? getenv(out->name) : NULL;
	if (out->fallback != NULL &&
	    (out->value == NULL || out->value[0] == '\0'))
		out->value = out->fallback;
}

bool
variable_read(struct lexer *lexer, struct str text, unsigned line,
	      struct variable *out)
{
	const char *end = memchr(text.at, '}', text.len);

	if (end == NULL) {
		lexer_fail(lexer, line, "\"${\" has no closing }");
		return false;
	}
	variable_find(text, (size_t)(end - text.at) + 1, out);
	if (out->value == NULL) {
		char *where = lexer_place(lexer, line);

		config_error(lexer->report, where,
			     "the environment variable %s is not set (write "
			     "${%s:-default} if it need not be)",
			     out->name, out->name);
		free(where);
	}
	return true;
}

void
variable_done(struct variable *variable)
{
	free(variable->name);
	free(variable->fallback);
}

char *
variable_replace(struct lexer *lexer, const struct config_token *token,
		 bool *out_is_whole)
{
	struct str rest = token->text;
	struct variable variable;
	struct buf text;
	char *copy;

	*out_is_whole = true;
	buf_init(&text, REPLACED_MAX);
	while (rest.len != 0) {
		size_t len = 1;

		if (token->kind == TOKEN_DOUBLE && variable_is_next(rest)) {
			if (!variable_read(lexer, rest, token->line, &variable))
				break;
			len = variable.len;
			if (variable.value != NULL)
				(void)buf_adds(&text, variable.value);
			else
				*out_is_whole = false;
			variable_done(&variable);
		} else {
			if (token->kind == TOKEN_DOUBLE && rest.len > 1 &&
			    rest.at[0] == '\\')
				rest = str_from(rest.at + 1, rest.len - 1);
			(void)buf_add(&text, rest.at, 1);
		}
		rest = str_from(rest.at + len, rest.len - len);
	}
	copy = mem_strdup(buf_text(&text));
	buf_done(&text);
	return copy;
}
