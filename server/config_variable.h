/* SPDX-License-Identifier: ISC */
/*
 * server/config_variable.h - ${NAME} in a configuration's double quotes
 *
 *	variable = "${" name [ ":-" default ] "}"
 *
 * Stands for a variable of the environment. As in a shell, the default also
 * replaces an empty value.
 */
#ifndef OSTLER_SERVER_CONFIG_VARIABLE_H
#define OSTLER_SERVER_CONFIG_VARIABLE_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/str.h"
#include "server/config_lexer.h"

struct variable {
	char *name, *fallback; /* own */
	const char *value;     /* lends; NULL: it is not set */
	size_t len;	       /* octets from "${" to "}" */
};

/* Does a variable begin there? */
bool variable_is_next(struct str text);

/*
 * Reads the variable that the text begins with; that it is not set is reported
 * as an error of that line.
 *
 * out  untouched on failure, else the caller's to end by variable_done
 * Returns false when it has no end: a syntax error, reported.
 */
bool variable_read(struct lexer *lexer, struct str text, unsigned line,
		   struct variable *out);
void variable_done(struct variable *variable);

/*
 * A value as it reads: without escapes, variables replaced.
 *
 * out_is_whole  false when a variable in it was not set, reported
 * Returns a text that the caller frees.
 */
char *variable_replace(struct lexer *lexer, const struct config_token *token,
		       bool *out_is_whole);

#endif
