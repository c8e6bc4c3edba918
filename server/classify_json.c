/* SPDX-License-Identifier: ISC */
#include "server/classify_json.h"

#include <string.h>

#include "lib/str.h"
#include "queue/bounce/advice.h"
#include "queue/bounce/classify.h"
#include "queue/bounce/texts.h"

/* By the first three-digit code in the text, wherever it stands: people paste
 * whole lines of logs. */
static const char *
permanence_of(const char *text)
{
	static const char digits[] = "0123456789";

	while (*text != '\0') {
		size_t len = strspn(text, digits);

		if (len == 3 && (text[0] == '4' || text[0] == '5'))
			return text[0] == '4' ? "transient" : "permanent";
		text += len != 0 ? len : 1;
	}
	return "unknown";
}

json_t *
classify_json(const struct classifier *classifier, const struct texts *texts,
	      const char *language, const char *reply)
{
	const struct str nothing = str_of("");
	struct classification found;
	struct advice advice;

	classify_reply(classifier, reply, PHASE_NONE, &found);
	advice_find(&found, texts_choose(texts, nothing, nothing, language),
		    &advice);
	return json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s}", "category",
			 category_name(found.category), "permanence",
			 permanence_of(reply), "rule", found.rule, "words",
			 found.words, "detail", found.detail, "explanation",
			 advice.explanation, "who", advice.who, "author",
			 advice.author, "admin", advice.admin);
}
