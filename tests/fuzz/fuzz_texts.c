/* SPDX-License-Identifier: ISC */
/* A file of texts that reports are made of. */
#include "tests/fuzz/fuzz.h"

#include "lib/str.h"
#include "queue/bounce/texts_read.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char **slots = calloc(texts_slot_count(), sizeof(*slots));
	char *text = malloc(size + 1);
	struct err err = ERR_INIT;

	FUZZ_CHECK(slots != NULL && text != NULL);
	if (size != 0)
		memcpy(text, data, size);
	text[size] = '\0';
	if (texts_read(text, "own", slots, &err) != 0)
		FUZZ_CHECK(err.code < 0 && strncmp(err.text, "own:", 4) == 0);
	for (size_t i = 0; i < texts_slot_count(); i++) {
		if (slots[i] == NULL)
			continue;
		FUZZ_CHECK(strlen(slots[i]) <= TEXT_MAX);
		FUZZ_CHECK(str_is_utf8(str_of(slots[i])));
		free(slots[i]);
	}
	free(slots);
	free(text);
	return 0;
}
