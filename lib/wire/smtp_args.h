/* SPDX-License-Identifier: ISC */
/*
 * lib/wire/smtp_args.h - what stands behind a verb
 *
 * Pure parsers from a command's argument (smtp_cmd_event.arg) to a struct,
 * and the way back for what we send ourselves. Each returns true and fills
 * out, or returns false, leaves out alone and fills status with the reply to
 * give. Nothing here decides who may do what.
 */
#ifndef OSTLER_LIB_WIRE_SMTP_ARGS_H
#define OSTLER_LIB_WIRE_SMTP_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/addr.h"
#include "lib/buf.h"
#include "lib/status.h"
#include "lib/str.h"

/* Extensions whose parameters may be used: what EHLO announced. After HELO
 * none; a parameter of any other is refused with 555 5.5.4. */
enum smtp_ext {
	SMTP_EXT_SIZE = 1,	 /* RFC 1870 */
	SMTP_EXT_8BITMIME = 2,	 /* RFC 6152 */
	SMTP_EXT_SMTPUTF8 = 4,	 /* RFC 6531 */
	SMTP_EXT_DSN = 8,	 /* RFC 3461 */
	SMTP_EXT_AUTH = 16,	 /* RFC 4954 */
	SMTP_EXT_BINARYMIME = 32 /* RFC 3030 */
};

enum smtp_body {
	SMTP_BODY_NONE,
	SMTP_BODY_7BIT,
	SMTP_BODY_8BIT,
	SMTP_BODY_BINARY
};

#define SMTP_ENVID_MAX	   100 /* RFC 3461, 4.4 */
#define SMTP_ORCPT_MAX	   500 /* RFC 3461, 4.2 */
#define SMTP_MECHANISM_MAX 20  /* RFC 4422, 3.1 */

/* ------------------------------------------------------ EHLO, HELO, LHLO */

enum smtp_helo_kind {
	SMTP_HELO_DOMAIN,  /* a domain name, normalised */
	SMTP_HELO_LITERAL, /* "[192.0.2.1]", "[IPv6:...]", normalised */
	SMTP_HELO_ODD,	   /* neither, as real clients do ("my_pc", "1.2.3.4"):
			      as it was sent, bytes above 127 as '?' */
};

struct smtp_helo {
	enum smtp_helo_kind kind;
	char name[ADDR_DOMAIN_MAX + 1]; /* printable ASCII without spaces and
					   without ()<>,;"\ */
};

bool smtp_args_helo(struct str arg, struct smtp_helo *out,
		    struct status *status);

/* ------------------------------------------------------------ MAIL, RCPT */

struct smtp_mail {
	struct addr sender; /* "" is the null path; else with a domain unless
			       SMTP_ARGS_NO_DOMAIN */
	bool has_size;
	uint64_t size; /* octets the client expects to send */
	enum smtp_body body;
	bool is_utf8;			/* SMTPUTF8 was given */
	char ret;			/* 'F', 'H'; 0: not given */
	char envid[SMTP_ENVID_MAX + 1]; /* xtext as given; "": not given */
	bool has_auth;
	struct addr auth; /* AUTH=<...> decoded; "" for "<>" */
};

/* The numbers of enum notify in queue/envelope.h; 0: not given. */
enum smtp_notify {
	SMTP_NOTIFY_NEVER = 1,
	SMTP_NOTIFY_SUCCESS = 2,
	SMTP_NOTIFY_FAILURE = 4,
	SMTP_NOTIFY_DELAY = 8,
};

struct smtp_rcpt {
	struct addr address;		/* domain_len 0: no domain, see flags */
	uint8_t notify;			/* enum smtp_notify bits */
	char orcpt[SMTP_ORCPT_MAX + 1]; /* "type;xtext" as given, or "" */
};

enum smtp_args_flags {
	/* An address without a domain is taken (submission qualifies it). In
	 * RCPT "<postmaster>" is taken always. */
	SMTP_ARGS_NO_DOMAIN = 1,
	/* RCPT: the transaction's MAIL had SMTPUTF8 (MAIL looks itself). */
	SMTP_ARGS_UTF8 = 2,
	/* For clients whose relay this is: appliances write an address without
	 * <>, and dots where none may be (ADDR_QUOTE_DOTS). Without <> there
	 * has to be an "@". */
	SMTP_ARGS_LENIENT = 4,
};

/*
 * "FROM:" Reverse-path [SP parameters]                RFC 5321, 4.1.1.2
 *
 * A source route is dropped, spaces behind the colon are passed over.
 *
 * ext    enum smtp_ext bits
 * flags  enum smtp_args_flags bits
 * Refusals: 501 5.5.4 syntax and values, 501 5.1.7 address, 553 5.6.7 UTF-8
 * address without SMTPUTF8, 555 5.5.4 unknown parameter (named in the text).
 */
bool smtp_args_mail(struct str arg, unsigned ext, unsigned flags,
		    struct smtp_mail *out, struct status *status);

/*
 * "TO:" Forward-path [SP parameters]                  RFC 5321, 4.1.1.3
 *
 * Refusals as above with 501 5.1.3 for the address.
 */
bool smtp_args_rcpt(struct str arg, unsigned ext, unsigned flags,
		    struct smtp_rcpt *out, struct status *status);

/* ---------------------------------------------------------------- others */

struct smtp_bdat {
	uint64_t size; /* octets that follow the CR LF */
	bool is_last;
};

/* chunk-size [SP "LAST"]; 501 5.5.4              RFC 3030, section 2 */
bool smtp_args_bdat(struct str arg, struct smtp_bdat *out,
		    struct status *status);

struct smtp_auth {
	char mechanism[SMTP_MECHANISM_MAX + 1]; /* upper case */
	bool has_initial;
	struct str initial; /* lends from arg: base64 as sent, "=" if empty */
};

/*
 * sasl-mech [SP initial-response]                     RFC 4954, section 4
 *
 * Only the form is looked at: whether the mechanism exists, and the base64,
 * are the caller's. 501 5.5.4.
 */
bool smtp_args_auth(struct str arg, struct smtp_auth *out,
		    struct status *status);

/* VRFY: user, mailbox or <mailbox>, domain or not; EXPN: the same. 501. */
bool smtp_args_vrfy(struct str arg, unsigned ext, struct addr *out,
		    struct status *status);

/* DATA, RSET, QUIT, STARTTLS take nothing: 501 5.5.4 when they have it. */
bool smtp_args_none(struct str arg, struct status *status);

/* ----------------------------------------------------------------- xtext */

/*
 * The bytes that a text stands for which has "+3D" where they are not
 * printable: RFC 3461, section 4.
 *
 * to  size bytes, > 0; NUL-terminated when it fits
 * Returns false when it does not fit, is not xtext or stands for a NUL.
 */
bool smtp_xtext_decode(struct str from, char *to, size_t size);

#endif
