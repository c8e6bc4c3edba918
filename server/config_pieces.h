/* SPDX-License-Identifier: ISC */
/*
 * server/config_pieces.h - the text that libconfuse reads
 *
 * A piece holds statements of one section, which stand together in one file:
 * only the good ones, variables replaced, words in quotes, each on the line of
 * its piece on which it stood in the file.
 */
#ifndef OSTLER_SERVER_CONFIG_PIECES_H
#define OSTLER_SERVER_CONFIG_PIECES_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/buf.h"
#include "server/config_lexer.h"

struct piece {
	size_t section; /* of the scan's */
	char *file;
	unsigned line; /* of the file: the first one of the text */
	struct buf text;
};

/* All files together; zeroed: none. */
struct pieces {
	struct piece *at;
	size_t count;
};

/* Writes the pieces of one file. */
struct piece_writer {
	struct pieces *pieces; /* borrows */
	struct lexer *lexer;   /* borrows: the file, and where errors go */
	size_t section;	       /* of what is written */
	bool has_piece;	       /* the last of the pieces is being written */
	unsigned line;	       /* of the file, which the text has reached */
};

/* What follows belongs to this section, or stands behind another file. */
void pieces_select(struct piece_writer *writer, size_t section);

/* Adds text that belongs on that line of the file, or on a later one that the
 * text before has reached. */
void pieces_put(struct piece_writer *writer, unsigned line, const char *text);

/* Adds a value. Returns false when a variable in it was not set, reported. */
bool pieces_put_value(struct piece_writer *writer,
		      const struct config_token *token);

void pieces_done(struct pieces *pieces);

#endif
