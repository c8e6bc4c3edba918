/* SPDX-License-Identifier: ISC */
/*
 * A reply, an original and envelope text from strangers, parted by 0xff: each
 * is classified, and a report is made of them that must keep its shape.
 */
#include "tests/fuzz/fuzz.h"

#include "lib/mem.h"
#include "queue/bounce/dsn.h"

#define PIECES 6

static struct classifier *classifier;

static void
check_rules(const char *text)
{
	struct classifier *made = NULL;
	struct classification got;
	struct err err = ERR_INIT;

	if (classifier_load(text, "own", NULL, NULL, &made, &err) != 0) {
		FUZZ_CHECK(made == NULL && strncmp(err.text, "own:", 4) == 0);
		return;
	}
	classify_reply(made, text, PHASE_NONE, &got);
	FUZZ_CHECK(got.category < CATEGORY_COUNT);
	classifier_unref(made);
}

/* Lines of the report outside the original that begin with want. */
static unsigned
count_lines(struct str report, const char *want)
{
	struct str line;
	unsigned count = 0;

	while (str_cut(&report, '\n', &line))
		count += str_starts_nocase(line, want);
	return count;
}

static void
check_shape(const struct dsn_input *input, const struct buf *out)
{
	struct str report =
		str_from((const char *)buf_bytes(out), buf_len(out));
	const char *boundary =
		memmem(report.at, report.len, "\r\n\tboundary=\"", 13);
	char delimiter[100];
	size_t len = 0;

	FUZZ_CHECK(boundary != NULL);
	boundary += 13;
	while (boundary[len] != '"')
		len++;
	FUZZ_CHECK(len > 4 && len < 80);
	snprintf(delimiter, sizeof(delimiter), "--%.*s\r", (int)len, boundary);
	len = count_lines(report, delimiter);
	FUZZ_CHECK(len == 2 || len == 3);
	snprintf(delimiter + strlen(delimiter) - 1, 4, "--\r");
	FUZZ_CHECK(count_lines(report, delimiter) == 1);
	for (size_t i = 0, at = 0; i < report.len; i++) {
		FUZZ_CHECK(report.at[i] != '\0');
		FUZZ_CHECK(report.at[i] != '\n' ||
			   (i > 0 && report.at[i - 1] == '\r'));
		at = report.at[i] == '\n' ? 0 : at + 1;
		FUZZ_CHECK(at <= 999);
	}
	/* the header and the status part are ours */
	len = (size_t)((const char *)memmem(report.at, report.len, "\r\n\r\n",
					    4) -
		       report.at);
	FUZZ_CHECK(count_lines(str_from(report.at, len), "Subject:") == 1);
	FUZZ_CHECK(count_lines(str_from(report.at, len), "To:") == 1);
	if (!input->may_be_utf8)
		FUZZ_CHECK(str_is_ascii(report));
	FUZZ_CHECK(str_is_utf8(str_from(report.at, len)));
	FUZZ_CHECK(dsn_is_8bit(input) ||
		   str_is_ascii(str_from(report.at + len, report.len - len)));
}

static void
check_report(char *const piece[PIECES], uint8_t flags, const uint8_t *original,
	     size_t original_len)
{
	struct outcome *outcome = mem_zalloc(sizeof(*outcome));
	struct envelope envelope;
	struct dsn_recipient told = {.outcome = outcome};
	struct texts *texts = texts_builtin();
	struct dsn_input input = {
		.kind = (enum dsn_kind)(flags & 3),
		.texts = texts,
		.language = (flags & 16) != 0 ? "de" : "fr",
		.hostname = "mail.example.org",
		.from = "postmaster@example.org",
		.id = "1",
		.report_id = "2",
		.now_ms = 1000,
		.envelope = &envelope,
		.recipients = &told,
		.recipient_count = 1,
		.original = original,
		.original_len = original_len,
		.original_size = original_len,
		.may_be_utf8 = (flags & 32) != 0,
	};
	struct buf out;

	outcome->cause = (flags & 4) != 0 ? CAUSE_REPLY : CAUSE_EXPIRED;
	outcome->phase = PHASE_RCPT;
	(void)str_copy(outcome->reply, sizeof(outcome->reply),
		       str_of(piece[0]));
	(void)str_copy(outcome->host, sizeof(outcome->host), str_of(piece[1]));
	status_set(&outcome->status, 550, NULL, "%s", piece[0]);
	envelope_init(&envelope);
	envelope.sender = mem_strdup(piece[2]);
	envelope.envid = mem_strdup(piece[3]);
	envelope.ret = (flags & 8) != 0 ? 'H' : 'F';
	(void)envelope_add(&envelope, piece[4]);
	envelope.recipients[0].orcpt = mem_strdup(piece[5]);
	envelope.recipients[0].last_reply = mem_strdup(piece[0]);
	told.recipient = &envelope.recipients[0];
	classify_outcome(classifier, outcome, &told.classification);

	buf_init(&out, DSN_ROOM);
	dsn_format(&input, &out);
	texts_unref(texts);
	check_shape(&input, &out);
	buf_done(&out);
	envelope_done(&envelope);
	free(outcome);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *piece[PIECES];
	struct str rest;

	if (size < 2)
		return 0;
	if (classifier == NULL)
		classifier = classifier_builtin();
	rest = str_from((const char *)data + 1, size - 1);
	for (size_t i = 0; i < PIECES; i++) {
		struct str text = {"", 0};

		(void)str_cut(&rest, '\xff', &text);
		piece[i] = mem_dup(text.at, text.len);
	}
	if ((data[0] & 128) != 0)
		check_rules(piece[0]);
	else
		check_report(piece, data[0], (const uint8_t *)rest.at,
			     rest.len);
	for (size_t i = 0; i < PIECES; i++)
		free(piece[i]);
	return 0;
}
