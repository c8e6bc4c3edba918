/* SPDX-License-Identifier: ISC */
/*
 * queue/bounce/mime_text.h - text that survives any mail server
 *
 * What a report is written with: UTF-8 text wrapped to a width, header lines
 * in encoded words (RFC 2047), bodies in quoted-printable (RFC 2045, 6.7)
 * when they need it. Foreign bytes go through mime_clean first, so that
 * nothing in a report begins a line that we did not begin. Pure; buffers that
 * are too small lose the end, never more.
 */
#ifndef OSTLER_QUEUE_BOUNCE_MIME_TEXT_H
#define OSTLER_QUEUE_BOUNCE_MIME_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/str.h"

/*
 * One line of valid UTF-8: control characters and line ends become spaces,
 * bytes that are no UTF-8 become '?', direction overrides are dropped.
 */
void mime_clean(struct str text, struct buf *out);

/* The same in printable ASCII: everything else becomes '?'. */
void mime_clean_ascii(struct str text, struct buf *out);

/*
 * The character in front of text, which is not empty.
 *
 * out_is_deceptive  is it a control above ASCII, which some terminals obey, or
 *                   one that turns the reading direction around?
 * Returns its octets; 0: it is no UTF-8.
 */
size_t mime_character(struct str text, bool *out_is_deceptive);

/* How wide it is; wide characters count two columns. text: clean UTF-8 */
size_t mime_columns(struct str text);

/*
 * Appends text wrapped between words to 72 columns.
 *
 * first, other  put in front of the first line and of the others
 * text          clean UTF-8; a word that is too long stays whole
 * Lines end in CR LF.
 */
void mime_wrap(const char *first, const char *other, struct str text,
	       struct buf *out);

/*
 * Appends "NAME: TEXT" CR LF, folded, in encoded words when TEXT is not
 * ASCII or has a word that no line could hold.
 *
 * text  clean UTF-8
 */
void mime_header(const char *name, struct str text, struct buf *out);

/* The same, in encoded words in any case, which may be a phrase: the name in
 * front of an address (RFC 2047, 5 (3)). */
void mime_encoded_header(const char *name, struct str text, struct buf *out);

/* RFC 5322, 3.2.5: words of atext alone, which a header may hold as they
 * are? */
bool mime_is_phrase(struct str text);

/* Appends text as quoted-printable; its line ends are CR LF. */
void mime_quoted_printable(struct str text, struct buf *out);

/*
 * A header value as people read it: encoded words in UTF-8, ASCII or Latin-1
 * decoded, folding removed, clean.
 *
 * Returns false, and leaves out as it was, for a character set that we do
 * not know.
 */
bool mime_decode_header(struct str value, struct buf *out);

#endif
