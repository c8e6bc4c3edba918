/* SPDX-License-Identifier: ISC */
/*
 * lib/wire/smtp_data.h - message bytes on the wire: dots, line ends, the end
 *
 * RFC 5321, 4.5.2. Both directions stream without copying: each call gives
 * one run of bytes that lies in the input (or in static memory) and says how
 * much input it has used. Pure; the bytes of all runs together never depend
 * on how the input was split.
 */
#ifndef OSTLER_LIB_WIRE_SMTP_DATA_H
#define OSTLER_LIB_WIRE_SMTP_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/str.h"

/* What was seen in a message so far. Zero it to begin. */
struct smtp_data_facts {
	uint64_t bytes; /* of the message, dots removed */
	bool has_bare_cr;
	bool has_bare_lf;
	bool has_nul;
	bool has_8bit;

	/* private */
	bool is_after_cr;
};

/* A message that ends in CR ends in a bare CR: call this behind the last
 * byte of a message that came by BDAT. */
void smtp_data_inspect_end(struct smtp_data_facts *facts);

/* Notes what these message bytes have (for BDAT, which has no dots). */
void smtp_data_inspect(struct smtp_data_facts *facts, const uint8_t *bytes,
		       size_t len);

/*
 * RFC 5321, 4.1.1.4: only CR LF "." CR LF ends the data. A bare CR or LF is
 * never a line end, so no spelling of the end that some other server would
 * take ends it here; the session refuses such a message when it is over.
 */
struct smtp_data_decoder {
	struct smtp_data_facts facts;
	uint8_t at; /* private: enum in smtp_data.c; 0: start of a line */
};

/*
 * Takes bytes behind DATA's 354 and gives the next run of the message.
 *
 * decoder     zeroed before the first call
 * bytes, len  borrows
 * out_run     part of the message, maybe empty; lends from bytes, or static
 * out_is_end  the end was read; the bytes behind it are not touched and
 *             decoder is not to be called again
 * Returns the bytes used; may be 0 with a run (a byte that was kept back).
 *
 *	while (len != 0 && !is_end) {
 *		used = smtp_data_decode(&decoder, bytes, len, &run, &is_end);
 *		take(run);
 *		bytes += used, len -= used;
 *	}
 */
size_t smtp_data_decode(struct smtp_data_decoder *decoder, const uint8_t *bytes,
			size_t len, struct str *out_run, bool *out_is_end);

/*
 * The way out. Whatever comes in, what goes out has CR LF line ends only (a
 * lone CR or LF becomes one), so that it ends where we end it for every
 * reader.
 */
struct smtp_data_encoder {
	uint8_t at; /* private: enum in smtp_data.c; 0: start of a line */
};

/*
 * Gives the next run to be sent for these message bytes.
 *
 * encoder  zeroed before the first byte
 * out_run  never empty unless len is 0; lends from bytes, or static
 * Returns the bytes used; may be 0 where a dot or CR is put in. Call again
 * until all bytes are used, as above.
 */
size_t smtp_data_encode(struct smtp_data_encoder *encoder, const uint8_t *bytes,
			size_t len, struct str *out_run);

/* What ends the data: ".\r\n" and the line end before it if that is missing.
 * Static. */
struct str smtp_data_encode_end(const struct smtp_data_encoder *encoder);

#endif
