/* SPDX-License-Identifier: ISC */
#include "lib/wire/smtp_data.h"

#include <string.h>

#define SURVEY_BLOCK 128

static struct str
run_of(const uint8_t *from, const uint8_t *end)
{
	return str_from((const char *)from, (size_t)(end - from));
}

/* ------------------------------------------------------------- inspection */

/* What some bytes have. */
struct survey {
	uint8_t any; /* all of them, or-ed */
	bool has_nul;
	size_t cr_count, lf_count, crlf_count;
};

/* At most 255 bytes, and one lies before them. Nothing here branches, so a
 * fixed number of bytes takes a few instructions. */
static inline void
survey_block(struct survey *survey, const uint8_t *bytes, size_t len)
{
	uint8_t any = 0, nuls = 0, crs = 0, lfs = 0, crlfs = 0;
	const uint8_t *before = bytes - 1;

	for (size_t i = 0; i < len; i++) {
		uint8_t is_lf = bytes[i] == '\n';

		any |= bytes[i];
		nuls = (uint8_t)(nuls + (bytes[i] == '\0'));
		crs = (uint8_t)(crs + (bytes[i] == '\r'));
		lfs = (uint8_t)(lfs + is_lf);
		crlfs = (uint8_t)(crlfs + (is_lf & (before[i] == '\r')));
	}
	survey->any |= any;
	survey->has_nul |= nuls != 0;
	survey->cr_count += crs;
	survey->lf_count += lfs;
	survey->crlf_count += crlfs;
}

void
smtp_data_inspect(struct smtp_data_facts *facts, const uint8_t *bytes,
		  size_t len)
{
	const uint8_t first[2] = {facts->is_after_cr ? '\r' : ' ',
				  len != 0 ? bytes[0] : ' '};
	const uint8_t *at = bytes + 1, *end = bytes + len;
	struct survey survey = {.cr_count = facts->is_after_cr};

	if (len == 0)
		return;
	survey_block(&survey, first + 1, 1);
	for (; (size_t)(end - at) >= SURVEY_BLOCK; at += SURVEY_BLOCK)
		survey_block(&survey, at, SURVEY_BLOCK);
	survey_block(&survey, at, (size_t)(end - at));

	facts->bytes += len;
	facts->has_8bit |= (survey.any & 0x80) != 0;
	facts->has_nul |= survey.has_nul;
	/* the last byte may be the CR of a CR LF yet to come */
	facts->is_after_cr = end[-1] == '\r';
	facts->has_bare_cr |=
		survey.cr_count != survey.crlf_count + facts->is_after_cr;
	facts->has_bare_lf |= survey.lf_count != survey.crlf_count;
}

void
smtp_data_inspect_end(struct smtp_data_facts *facts)
{
	if (facts->is_after_cr)
		facts->has_bare_cr = true;
	facts->is_after_cr = false;
}

/* --------------------------------------------------------------- decoding */

enum decoder_at {
	DECODER_LINE,	/* first byte of a line comes next */
	DECODER_TEXT,	/* within a line */
	DECODER_CR,	/* behind a CR within a line, which was given out */
	DECODER_DOT,	/* behind the dot that begins a line, kept back */
	DECODER_DOT_CR, /* behind that dot and a CR, both kept back */
};

/* Where DECODER_TEXT, _CR or _LINE stand behind the given out byte c. */
static enum decoder_at
decoder_behind(enum decoder_at at, uint8_t c)
{
	if (c == '\r')
		return DECODER_CR;
	return c == '\n' && at == DECODER_CR ? DECODER_LINE : DECODER_TEXT;
}

/* The first dot in [from, end) that begins a line, or end. Before from lies
 * what at says. */
static const uint8_t *
find_dot(enum decoder_at at, const uint8_t *from, const uint8_t *end)
{
	const uint8_t *dot = from;

	while (dot < end) {
		size_t behind;

		dot = memchr(dot, '.', (size_t)(end - dot));
		if (dot == NULL)
			return end;
		behind = (size_t)(dot - from);
		if (behind >= 2	  ? dot[-2] == '\r' && dot[-1] == '\n'
		    : behind == 1 ? decoder_behind(at, from[0]) == DECODER_LINE
				  : at == DECODER_LINE)
			return dot;
		dot++;
	}
	return end;
}

/* What stands behind a run that is not empty. */
static enum decoder_at
decoder_behind_run(enum decoder_at at, const uint8_t *from, const uint8_t *end)
{
	if (end - from >= 2)
		at = end[-2] == '\r' ? DECODER_CR : DECODER_TEXT;
	return decoder_behind(at, end[-1]);
}

size_t
smtp_data_decode(struct smtp_data_decoder *decoder, const uint8_t *bytes,
		 size_t len, struct str *out_run, bool *out_is_end)
{
	static const uint8_t cr[1] = {'\r'};
	const uint8_t *from = bytes, *end = bytes + len, *dot;
	enum decoder_at at = (enum decoder_at)decoder->at;

	*out_run = str_from(NULL, 0);
	*out_is_end = false;
	if (len == 0)
		return 0;
	if (at == DECODER_DOT && *from == '\r') {
		from++;
		at = DECODER_DOT_CR;
	}
	if (at == DECODER_DOT_CR && from < end) {
		if (*from == '\n') {
			decoder->at = DECODER_LINE;
			*out_is_end = true;
			return (size_t)(from + 1 - bytes);
		}
		/* not the end: the dot goes, the CR is text (and a bare one) */
		*out_run = run_of(cr, cr + 1);
		smtp_data_inspect(&decoder->facts, cr, 1);
		decoder->at = DECODER_CR;
		return (size_t)(from - bytes);
	}
	if (from == end) {
		decoder->at = (uint8_t)at;
		return len;
	}
	/* 4.5.2: the dot is removed, whatever follows it is text; a second
	 * one does not begin the line */
	if (at == DECODER_DOT)
		at = DECODER_TEXT;

	dot = find_dot(at, from, end);
	if (dot > from) {
		*out_run = run_of(from, dot);
		smtp_data_inspect(&decoder->facts, from, (size_t)(dot - from));
		at = decoder_behind_run(at, from, dot);
	}
	decoder->at = (uint8_t)at;
	if (dot == end)
		return len;
	decoder->at = DECODER_DOT;
	return (size_t)(dot + 1 - bytes);
}

/* --------------------------------------------------------------- encoding */

enum encoder_at {
	ENCODER_LINE, /* first byte of a line comes next */
	ENCODER_TEXT, /* within a line */
	ENCODER_CR,   /* behind a CR */
	ENCODER_DOT,  /* first byte of a line; its extra dot was given out */
};

/* Bytes looked at in one go: a search for LF past many lone CRs would make
 * the work grow with the square of the input. */
#define ENCODER_STEP 256

/*
 * The end of the longest run that can go out as it is: up to where a byte has
 * to be put in. Sets what stands behind it. At bytes[0] a line begins, or text
 * goes on.
 */
static const uint8_t *
clean_run_end(const uint8_t *from, const uint8_t *end, enum encoder_at *at)
{
	while (from < end && !(*at == ENCODER_LINE && *from == '.')) {
		size_t left = (size_t)(end - from);
		size_t step = left < ENCODER_STEP ? left : ENCODER_STEP;
		const uint8_t *lf = memchr(from, '\n', step);
		const uint8_t *stop = lf != NULL ? lf : from + step;
		const uint8_t *cr = memchr(from, '\r', (size_t)(stop - from));

		if (cr != NULL) {
			*at = ENCODER_CR;
			if (cr + 1 == end || cr[1] != '\n')
				return cr + 1;
			*at = ENCODER_LINE;
			from = cr + 2;
			continue;
		}
		if (stop > from)
			*at = ENCODER_TEXT;
		if (lf != NULL)
			return lf;
		from = stop;
	}
	return from;
}

size_t
smtp_data_encode(struct smtp_data_encoder *encoder, const uint8_t *bytes,
		 size_t len, struct str *out_run)
{
	enum encoder_at at = (enum encoder_at)encoder->at;
	const uint8_t *end;

	*out_run = str_from(NULL, 0);
	if (len == 0)
		return 0;
	switch (at) {
	case ENCODER_CR:
		encoder->at = ENCODER_LINE;
		if (bytes[0] != '\n') {
			*out_run = str_of("\n");
			return 0;
		}
		*out_run = run_of(bytes, bytes + 1);
		return 1;
	case ENCODER_LINE:
		if (bytes[0] == '.') {
			encoder->at = ENCODER_DOT;
			*out_run = str_of(".");
			return 0;
		}
		break;
	case ENCODER_DOT:
		at = ENCODER_TEXT;
		break;
	case ENCODER_TEXT:
		break;
	}
	end = clean_run_end(bytes, bytes + len, &at);
	if (end == bytes) {
		/* a LF without CR: first the CR, the LF with the next call */
		encoder->at = ENCODER_CR;
		*out_run = str_of("\r");
		return 0;
	}
	encoder->at = (uint8_t)at;
	*out_run = run_of(bytes, end);
	return (size_t)(end - bytes);
}

struct str
smtp_data_encode_end(const struct smtp_data_encoder *encoder)
{
	switch ((enum encoder_at)encoder->at) {
	case ENCODER_LINE:
		return str_of(".\r\n");
	case ENCODER_CR:
		return str_of("\n.\r\n");
	case ENCODER_DOT: /* not behind whole bytes: the dot's text follows */
	case ENCODER_TEXT:
		break;
	}
	return str_of("\r\n.\r\n");
}
