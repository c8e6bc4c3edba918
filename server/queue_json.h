/* SPDX-License-Identifier: ISC */
/*
 * server/queue_json.h - messages of the queue as JSON
 *
 * Pure: structs in, a new JSON value out (the caller owns it). Used by the
 * daemon, and by ostlerctl on a spool without one.
 */
#ifndef OSTLER_SERVER_QUEUE_JSON_H
#define OSTLER_SERVER_QUEUE_JSON_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "queue/envelope.h"

struct queue_item;

json_t *queue_json_item(const struct queue_item *item);

/* The envelope, each recipient's state, and the newest attempts, with the
 * number of those before. */
json_t *queue_json_envelope(const struct envelope *envelope,
			    const char *states);

/* {"data": text}: each byte is one character U+0000..U+00FF. */
json_t *queue_json_bytes(const uint8_t *bytes, size_t len);

/* The way back; the caller frees. NULL when it is none of that. */
uint8_t *queue_json_to_bytes(const json_t *row, size_t *out_len);

/* Texts of peers end on a terminal and in JSON: controls, also those above
 * ASCII, what turns the reading direction around, and bytes that are no UTF-8
 * become '?'. Line feeds stay. New memory. */
char *queue_json_clean(const char *text);
json_t *queue_json_text(const char *text); /* the same as a string */

/* The same of what must not begin a line of its own: line feeds become
 * spaces. */
char *queue_json_clean_line(const char *text);
json_t *queue_json_line(const char *text);

/*
 * The envelope that queue_json_envelope told of, with the recipients that are
 * left and nothing of what became of them. Foreign bytes.
 *
 * Returns NULL, or what is wrong (static text) with nothing to be freed.
 */
const char *queue_json_to_envelope(const json_t *row, struct envelope *out);

#endif
