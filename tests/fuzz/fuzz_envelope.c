/* SPDX-License-Identifier: ISC */
#include "tests/fuzz/fuzz.h"

#include "lib/str.h"
#include "queue/deliver/outcome.h"
#include "queue/envelope.h"

#define TEXT_MAX (1u << 20)

static void
on_attempt(void *arg, size_t recipient, const struct attempt *attempt)
{
	size_t *count = arg;

	FUZZ_CHECK(attempt->host != NULL && attempt->reply != NULL);
	FUZZ_CHECK(attempt->code <= 999);
	(*count)++;
}

/* What was read, written and read again is the same, states and all. */
static void
check_again(const struct envelope *envelope)
{
	struct envelope again;
	struct buf text, states, text2, states2;

	buf_init(&text, TEXT_MAX);
	buf_init(&states, TEXT_MAX);
	buf_init(&text2, TEXT_MAX);
	buf_init(&states2, TEXT_MAX);
	envelope_format(envelope, &text);
	for (int i = -1; i < (int)envelope->recipient_count; i++) {
		envelope_format_state(envelope, i, NULL, &states);
		FUZZ_CHECK(buf_adds(&states, "\n") == 0);
	}
	FUZZ_CHECK(strstr(buf_text(&text), "\n\n") == NULL);
	FUZZ_CHECK(envelope_parse(buf_text(&text), buf_text(&states), &again,
				  NULL) == 0);
	FUZZ_CHECK(again.recipient_count == envelope->recipient_count);
	FUZZ_CHECK(again.is_held == envelope->is_held);
	envelope_format(&again, &text2);
	for (int i = -1; i < (int)again.recipient_count; i++) {
		envelope_format_state(&again, i, NULL, &states2);
		FUZZ_CHECK(buf_adds(&states2, "\n") == 0);
	}
	FUZZ_CHECK(strcmp(buf_text(&text), buf_text(&text2)) == 0);
	FUZZ_CHECK(strcmp(buf_text(&states), buf_text(&states2)) == 0);
	envelope_done(&again);
	buf_done(&text);
	buf_done(&states);
	buf_done(&text2);
	buf_done(&states2);
}

/* Envelope, NUL, states. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *nul = size != 0 ? memchr(data, 0, size) : NULL;
	size_t len = nul != NULL ? (size_t)(nul - data) : size;
	char *text = malloc(len + 1), *states = malloc(size - len + 1);
	struct envelope envelope;
	struct err err = ERR_INIT;
	size_t attempts = 0;

	FUZZ_CHECK(text != NULL && states != NULL);
	memcpy(text, data, len);
	text[len] = '\0';
	if (len < size)
		memcpy(states, data + len + 1, size - len - 1);
	states[len < size ? size - len - 1 : 0] = '\0';

	envelope_each_attempt(states, 1000, on_attempt, &attempts);
	if (envelope_parse(text, states, &envelope, &err) == 0) {
		FUZZ_CHECK(envelope.sender != NULL);
		FUZZ_CHECK(envelope.recipient_count != 0);
		check_again(&envelope);
		envelope_done(&envelope);
	} else {
		FUZZ_CHECK(err.code < 0 && err.text[0] != '\0');
		FUZZ_CHECK(envelope.recipient_count == 0);
	}
	free(text);
	free(states);
	return 0;
}
