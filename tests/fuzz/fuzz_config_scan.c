/* SPDX-License-Identifier: ISC */
/* A configuration file; what it includes is the rest behind a NUL. */
#include "tests/fuzz/fuzz.h"

#include "lib/mem.h"
#include "server/config_scan.h"

static const uint8_t *whole, *other;
static size_t whole_len, other_len;

static char *
read_file(const char *path, size_t max, size_t *out_len, struct err *err)
{
	bool is_first = strcmp(path, "ostler.conf") == 0;
	size_t len = is_first ? whole_len : other_len;
	char *text;

	if (len > max || (!is_first && other == NULL)) {
		(void)err_text(err, -2, "no such file");
		return NULL;
	}
	text = mem_alloc(len + 1);
	if (len != 0)
		memcpy(text, is_first ? whole : other, len);
	text[len] = '\0';
	*out_len = len;
	return text;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *nul = size != 0 ? memchr(data, 0, size) : NULL;
	struct buf errors, warnings;
	struct config_report report = {.file = "ostler.conf",
				       .errors = &errors,
				       .warnings = &warnings};
	struct scan scan;

	whole = data;
	whole_len = nul != NULL ? (size_t)(nul - data) : size;
	other = nul != NULL ? nul + 1 : NULL;
	other_len = nul != NULL ? size - whole_len - 1 : 0;
	buf_init(&errors, 1u << 20);
	buf_init(&warnings, 1u << 20);
	config_scan(&scan, "ostler.conf", read_file, &report);
	FUZZ_CHECK(report.has_errors == (buf_len(&errors) != 0));
	FUZZ_CHECK(!report.has_syntax_error || report.has_errors);
	FUZZ_CHECK(scan.section_count != 0);
	FUZZ_CHECK(scan.value_count <= SCAN_VALUES_MAX);
	for (size_t i = 0; i < scan.section_count; i++) {
		const struct scan_section *section = &scan.sections[i];

		FUZZ_CHECK(section->name != NULL);
		for (size_t k = 0; k < section->count; k++)
			FUZZ_CHECK(section->items[k].key != NULL &&
				   section->items[k].at != NULL);
	}
	config_scan_done(&scan);
	buf_done(&errors);
	buf_done(&warnings);
	return 0;
}
