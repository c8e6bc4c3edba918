/* SPDX-License-Identifier: ISC */
/*
 * Messages as JSON: an envelope that ostlerctl imports, an envelope of the
 * spool that it is shown, and the octets of a message.
 */
#include "tests/fuzz/fuzz.h"

#include <stdbool.h>

#include "lib/str.h"
#include "queue/envelope.h"
#include "server/queue_json.h"

#define TEXT_MAX (16u << 20)

/* Whatever an envelope holds, it can be told. */
static json_t *
tell(const struct envelope *envelope, const char *states)
{
	json_t *row = queue_json_envelope(envelope, states);
	char *text;

	FUZZ_CHECK(row != NULL);
	text = json_dumps(row, JSON_COMPACT);
	FUZZ_CHECK(text != NULL && strchr(text, '\n') == NULL);
	free(text);
	FUZZ_CHECK(json_array_size(json_object_get(row, "recipients")) ==
		   envelope->recipient_count);
	return row;
}

/* What was imported is written, read, and told in the same words. */
static void
check_import(const uint8_t *bytes, size_t size)
{
	json_t *row = json_loadb((const char *)bytes, size, 0, NULL);
	struct envelope first, second;
	struct buf text, text2;
	json_t *told, *again;
	struct err err = ERR_INIT;

	if (row == NULL || queue_json_to_envelope(row, &first) != NULL) {
		json_decref(row);
		return;
	}
	buf_init(&text, TEXT_MAX);
	buf_init(&text2, TEXT_MAX);
	FUZZ_CHECK(first.recipient_count != 0);
	envelope_format(&first, &text);
	FUZZ_CHECK(envelope_parse(buf_text(&text), "", &second, &err) == 0);
	envelope_format(&second, &text2);
	FUZZ_CHECK(strcmp(buf_text(&text), buf_text(&text2)) == 0);
	told = tell(&first, "");
	again = tell(&second, "");
	(void)json_object_del(again, "held"); /* stands in a state line */
	(void)json_object_del(told, "held");
	FUZZ_CHECK(json_equal(told, again));
	json_decref(told);
	json_decref(again);
	json_decref(row);
	envelope_done(&first);
	envelope_done(&second);
	buf_done(&text);
	buf_done(&text2);
}

static void
check_told(const char *text, const char *states)
{
	struct envelope envelope;

	if (envelope_parse(text, states, &envelope, NULL) != 0)
		return;
	json_decref(tell(&envelope, states));
	envelope_done(&envelope);
}

static void
check_bytes(const uint8_t *bytes, size_t size)
{
	json_t *row = queue_json_bytes(bytes, size), *any;
	uint8_t *again;
	size_t len;

	FUZZ_CHECK(row != NULL);
	again = queue_json_to_bytes(row, &len);
	FUZZ_CHECK(again != NULL && len == size);
	FUZZ_CHECK(memcmp(again, bytes, size) == 0);
	free(again);
	json_decref(row);

	any = json_pack("{s:o}", "data",
			json_stringn((const char *)bytes, size));
	free(queue_json_to_bytes(any, &len));
	json_decref(any);
}

static void
check_clean(const char *clean, const char *from, bool is_line)
{
	FUZZ_CHECK(strlen(clean) <= strlen(from));
	FUZZ_CHECK(str_is_utf8(str_of(clean)));
	for (const char *at = clean; *at != '\0'; at++) {
		unsigned char c = (unsigned char)*at;

		FUZZ_CHECK(c >= ' ' || (c == '\n' && !is_line));
		FUZZ_CHECK(c != 0x7f);
		/* nor the controls above ASCII, U+0080 to U+009F */
		FUZZ_CHECK(c != 0xc2 || (unsigned char)at[1] >= 0xa0);
	}
}

static void
check_text(const char *text)
{
	char *clean = queue_json_clean(text);
	char *line = queue_json_clean_line(text);
	json_t *value = queue_json_text(text);

	check_clean(clean, text, false);
	check_clean(line, text, true);
	FUZZ_CHECK(json_is_string(value));
	FUZZ_CHECK(strcmp(json_string_value(value), clean) == 0);
	json_decref(value);
	free(clean);
	free(line);
}

/* The first byte chooses what it is; of an envelope, NUL, states. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text;

	if (size == 0)
		return 0;
	text = malloc(size + 1);
	FUZZ_CHECK(text != NULL);
	memcpy(text, data + 1, size - 1);
	text[size - 1] = text[size] = '\0';
	switch (data[0] % 4) {
	case 0:
		check_import(data + 1, size - 1);
		break;
	case 1:
		check_told(text, text + strnlen(text, size - 1) + 1);
		break;
	case 2:
		check_bytes(data + 1, size - 1);
		break;
	default:
		check_text(text);
		break;
	}
	free(text);
	return 0;
}
