/* SPDX-License-Identifier: ISC */
/*
 * lib/wire/smtp_cmd.h - bytes to command lines, on the server's side
 *
 * An iterator: each call looks at the unconsumed bytes, gives exactly one
 * event and says how many bytes that event has used; what lies behind (a
 * pipelined command, a TLS hello, message data) is not touched. Only CR LF
 * ends a line. Pure; one byte of state, and the sequence of events never
 * depends on how the bytes were split.
 *
 * A line with an error gives one event where the error is seen; the rest of
 * it, up to its CR LF, then disappears without another event.
 */
#ifndef OSTLER_LIB_WIRE_SMTP_CMD_H
#define OSTLER_LIB_WIRE_SMTP_CMD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/str.h"

/* Octets in a line with its CR LF. */
#define SMTP_CMD_LINE_MAX 512	/* RFC 5321, 4.5.3.1.4 */
#define SMTP_CMD_PATH_MAX 2048	/* MAIL and RCPT: extensions add to it */
#define SMTP_CMD_AUTH_MAX 12290 /* RFC 4954, section 4 */
/* The longest initial response behind the longest mechanism's name. */
#define SMTP_CMD_AUTH_COMMAND_MAX (SMTP_CMD_AUTH_MAX + 26)

/* The window must be able to hold that many bytes, or a long line stalls. */
#define SMTP_CMD_WINDOW_MIN SMTP_CMD_AUTH_COMMAND_MAX

enum smtp_verb {
	SMTP_UNKNOWN, /* none of these, also an empty line */
	SMTP_FOREIGN, /* HTTP and the like: a browser was tricked into talking
			 to us; answer and close at once */
	SMTP_EHLO,
	SMTP_HELO,
	SMTP_LHLO,
	SMTP_MAIL,
	SMTP_RCPT,
	SMTP_DATA,
	SMTP_BDAT,
	SMTP_RSET,
	SMTP_NOOP,
	SMTP_QUIT,
	SMTP_VRFY,
	SMTP_EXPN,
	SMTP_HELP,
	SMTP_STARTTLS,
	SMTP_AUTH,
};

/* "MAIL"; "?" for SMTP_UNKNOWN and SMTP_FOREIGN. Static text. */
const char *smtp_verb_name(enum smtp_verb verb);

enum smtp_cmd_kind {
	SMTP_CMD_NEED_MORE, /* no event yet; used bytes may go all the same */
	SMTP_CMD_LINE,	    /* a line; see verb, word, arg */
	SMTP_CMD_TOO_LONG,  /* 500 5.5.2 */
	SMTP_CMD_BAD_BYTE,  /* NUL, CR without LF, LF without CR: 500 5.5.2 */
};

struct smtp_cmd_event {
	enum smtp_cmd_kind kind;

	/* The rest only with SMTP_CMD_LINE. Texts lend from the window; bytes
	 * above 127 and control characters may be among them. */
	enum smtp_verb verb;
	struct str word; /* the verb as it was sent */
	struct str arg;	 /* what follows, no space or tab at either end */
};

enum smtp_cmd_mode {
	SMTP_CMD_COMMANDS,
	SMTP_CMD_AUTH_LINES, /* within an AUTH exchange: the whole line, as it
				is, becomes arg; "*" cancels */
};

/* Zero it to begin (also after STARTTLS). */
struct smtp_cmd {
	bool is_dropping; /* the rest of a line that had an error */
};

/*
 * Reads one event from the front of the unconsumed bytes.
 *
 * bytes  borrows; len of them, the first not yet used one first. NULL is
 *        allowed when len is 0
 * Returns the number of bytes to drop from the front before the next call;
 * what out lends is valid until they are dropped. Cannot fail.
 */
size_t smtp_cmd_next(struct smtp_cmd *cmd, enum smtp_cmd_mode mode,
		     const uint8_t *bytes, size_t len,
		     struct smtp_cmd_event *out);

#endif
