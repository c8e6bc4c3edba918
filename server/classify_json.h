/* SPDX-License-Identifier: ISC */
/*
 * server/classify_json.h - what ostlerctl classify says, by whoever says it
 */
#ifndef OSTLER_SERVER_CLASSIFY_JSON_H
#define OSTLER_SERVER_CLASSIFY_JSON_H

#include <jansson.h>

struct classifier;
struct texts;

/*
 * A new object: category, permanence, rule, words, detail, explanation, who,
 * author, admin.
 *
 * reply     borrows; as a person pastes it
 * language  a tag, NULL: English; without texts in it, English too
 */
json_t *classify_json(const struct classifier *classifier,
		      const struct texts *texts, const char *language,
		      const char *reply);

#endif
