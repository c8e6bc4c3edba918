/* SPDX-License-Identifier: ISC */
/*
 * Conversations as transcripts. A line is what the client sends ("C:", its CR
 * LF added; "R:" the bytes as they are, "X:" so many of them) or what it
 * hears ("S:"). The client
 * sends all of it at once, in two parts that meet at every possible place;
 * what it hears is the same each time. The shell around the state machine is
 * played by a few lines that accept every address but those of
 * refused.example, and every message.
 */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "lib/wire/smtp_data.h"
#include "server/smtpd_proto.h"

struct shell {
	struct smtpd_proto proto;
	struct smtpd_env env;
	struct smtp_data_decoder decoder;
	struct buf out, content;
	unsigned messages;
	bool is_over;
};

static void
shell_init(struct shell *shell, bool is_submission, bool is_secure)
{
	memset(shell, 0, sizeof(*shell));
	smtpd_proto_init(&shell->proto);
	buf_init(&shell->out, 65536);
	buf_init(&shell->content, 65536);
	shell->env = (struct smtpd_env){
		.hostname = "mx.example",
		.is_submission = is_submission,
		.offers_tls = !is_secure,
		.is_secure = is_secure,
		.mechanisms =
			is_secure ? "SCRAM-SHA-256 PLAIN" : "SCRAM-SHA-256",
		.mechanisms_under_tls = "SCRAM-SHA-256 PLAIN",
		.message_size = 1000,
		.recipients = 2,
		.errors = 5,
		.auth_failures = 2,
	};
}

static void
shell_done(struct shell *shell)
{
	smtpd_proto_done(&shell->proto);
	buf_done(&shell->out);
	buf_done(&shell->content);
}

static void shell_apply(struct shell *shell, enum smtpd_effect effect,
			const struct smtpd_ask *ask);

static void
shell_end_content(struct shell *shell)
{
	const struct smtp_data_facts *facts = &shell->decoder.facts;
	struct status reply;

	smtp_data_inspect_end(&shell->decoder.facts);
	if (facts->has_bare_cr || facts->has_bare_lf || facts->has_nul)
		status_set(&reply, 554, "5.6.0", "Bad bytes");
	else
		status_set(&reply, 250, "2.0.0", "Queued %llu",
			   (unsigned long long)facts->bytes);
	shell->messages += reply.code == 250;
	memset(&shell->decoder, 0, sizeof(shell->decoder));
	shell_apply(shell,
		    smtpd_proto_content_end(&shell->proto, &reply, &shell->out),
		    NULL);
}

static void
shell_login(struct shell *shell, enum smtpd_auth_result result)
{
	shell_apply(shell,
		    smtpd_proto_auth(&shell->proto, &shell->env, result,
				     "Y2hhbGxlbmdl", &shell->out),
		    NULL);
}

static void
shell_decide(struct shell *shell, const struct smtp_rcpt *rcpt)
{
	bool is_refused =
		str_is(addr_domain(&rcpt->address), "refused.example");
	struct status refusal;

	status_set(&refusal, 550, "5.7.1", "<%s>: no", rcpt->address.text);
	shell_apply(shell,
		    smtpd_proto_recipient(&shell->proto, &shell->env,
					  is_refused ? &refusal : NULL,
					  rcpt->address.text, &shell->out),
		    NULL);
}

static void
shell_apply(struct shell *shell, enum smtpd_effect effect,
	    const struct smtpd_ask *ask)
{
	struct smtpd_proto *proto = &shell->proto;

	switch (effect) {
	case SMTPD_DO_NOTHING:
	case SMTPD_DO_AUTH_CANCEL:
	case SMTPD_DO_CONTENT:
	case SMTPD_DO_CHUNK:
		break;
	case SMTPD_DO_RESET:
		memset(&shell->decoder, 0, sizeof(shell->decoder));
		break;
	case SMTPD_DO_CLOSE:
		shell->is_over = true;
		break;
	case SMTPD_DO_TLS:
		smtpd_proto_secured(proto);
		shell->env.offers_tls = false;
		shell->env.is_secure = true;
		shell->env.mechanisms = shell->env.mechanisms_under_tls;
		break;
	case SMTPD_DO_AUTH_BEGIN:
		shell_login(shell, ask->auth.has_initial
					   ? SMTPD_AUTH_DENIED
					   : SMTPD_AUTH_CHALLENGE);
		break;
	case SMTPD_DO_AUTH_STEP:
		shell_login(shell, str_is(ask->line, "cmlnaHQ=")
					   ? SMTPD_AUTH_OK
					   : SMTPD_AUTH_DENIED);
		break;
	case SMTPD_DO_DECIDE_SENDER:
		shell_apply(shell,
			    smtpd_proto_sender(proto, &shell->env, NULL,
					       &shell->out),
			    ask);
		break;
	case SMTPD_DO_DECIDE_RCPT:
		shell_decide(shell, &ask->rcpt);
		break;
	case SMTPD_DO_SAVE:
		shell_end_content(shell);
		break;
	}
}

static size_t
shell_content(struct shell *shell, const uint8_t *bytes, size_t len)
{
	size_t used = 0;
	bool is_end = false;

	while (used < len && !is_end) {
		struct str run;

		used += smtp_data_decode(&shell->decoder, bytes + used,
					 len - used, &run, &is_end);
		ck_assert_int_eq(buf_add(&shell->content, run.at, run.len), 0);
	}
	if (is_end)
		shell_end_content(shell);
	return used;
}

static size_t
shell_chunk(struct shell *shell, const uint8_t *bytes, size_t len)
{
	bool is_kept = shell->proto.state == SMTPD_CHUNK;
	size_t used = smtpd_proto_chunk(&shell->proto, len);

	if (is_kept) {
		smtp_data_inspect(&shell->decoder.facts, bytes, used);
		ck_assert_int_eq(buf_add(&shell->content, bytes, used), 0);
	}
	if (shell->proto.chunk_left == 0)
		shell_apply(shell,
			    smtpd_proto_chunk_end(&shell->proto, &shell->env,
						  &shell->out),
			    NULL);
	return used;
}

static bool
shell_is_in_chunk(const struct shell *shell)
{
	return shell->proto.state == SMTPD_CHUNK ||
	       shell->proto.state == SMTPD_SKIP;
}

/* One event's worth from the front; what it used. */
static size_t
shell_take(struct shell *shell, const uint8_t *bytes, size_t len)
{
	struct smtp_cmd_event event;
	struct smtpd_ask ask;
	size_t used;

	if (shell_is_in_chunk(shell))
		return shell_chunk(shell, bytes, len);
	if (shell->proto.state == SMTPD_CONTENT)
		return shell_content(shell, bytes, len);
	used = smtp_cmd_next(&shell->proto.cmd, smtpd_proto_mode(&shell->proto),
			     bytes, len, &event);
	if (event.kind != SMTP_CMD_NEED_MORE)
		shell_apply(shell,
			    smtpd_proto_event(&shell->proto, &shell->env,
					      &event, &shell->out, &ask),
			    &ask);
	/* an empty chunk needs no octet to end */
	if (shell_is_in_chunk(shell) && shell->proto.chunk_left == 0)
		(void)shell_chunk(shell, bytes, 0);
	return used;
}

/* Feeds the wire in two parts. */
static void
converse(struct shell *shell, const uint8_t *wire, size_t len, size_t cut)
{
	size_t at = 0, end = cut;

	while (at < len && !shell->is_over) {
		size_t used = shell_take(shell, wire + at, end - at);

		at += used;
		if (used == 0 && end == len)
			break;
		if (used == 0 || at == end)
			end = len;
	}
}

/* "%0D%0A" stands for CR LF, "%00" for NUL. */
static void
add_raw(struct buf *out, struct str raw)
{
	for (size_t i = 0; i < raw.len; i++) {
		char c = raw.at[i];

		if (c == '%') {
			char hex[3] = {raw.at[i + 1], raw.at[i + 2], '\0'};

			c = (char)strtoul(hex, NULL, 16);
			i += 2;
		}
		ck_assert_int_eq(buf_add(out, &c, 1), 0);
	}
}

/* The lines of a transcript that begin with one of these letters. */
static void
transcript_part(const char *transcript, const char *letters, struct buf *out)
{
	struct str rest = str_of(transcript), line, text;

	while (str_cut(&rest, '\n', &line)) {
		ck_assert_msg(line.len >= 3 && line.at[1] == ':', "%.*s",
			      STR_ARG(line));
		if (strchr(letters, line.at[0]) == NULL)
			continue;
		text = str_from(line.at + 3, line.len - 3);
		if (line.at[0] == 'X') {
			for (unsigned long n = strtoul(text.at, NULL, 10);
			     n != 0; n--)
				ck_assert_int_eq(buf_add(out, "x", 1), 0);
			continue;
		}
		add_raw(out, text);
		if (line.at[0] != 'R')
			ck_assert_int_eq(buf_adds(out, "\r\n"), 0);
	}
}

/* ---------------------------------------------------------- transcripts */

#define S_EHLO(more)                                                           \
	"S: 250-mx.example\n"                                                  \
	"S: 250-PIPELINING\n"                                                  \
	"S: 250-SIZE 1000\n" more "S: 250-8BITMIME\n"                          \
	"S: 250-SMTPUTF8\n"                                                    \
	"S: 250-DSN\n"                                                         \
	"S: 250-CHUNKING\n"                                                    \
	"S: 250-LIMITS RCPTMAX=2\n"                                            \
	"S: 250 ENHANCEDSTATUSCODES\n"

#define EHLO "C: EHLO c.example\n" S_EHLO("S: 250-STARTTLS\n")
#define EHLO_LOGIN                                                             \
	"C: EHLO c.example\n" S_EHLO("S: 250-AUTH SCRAM-SHA-256 PLAIN\n")
#define HELO "C: HELO c.example\nS: 250 mx.example\n"
#define MAIL "C: MAIL FROM:<a@x.example>\nS: 250 2.1.0 Sender ok\n"
#define RCPT                                                                   \
	"C: RCPT TO:<b@y.example>\n"                                           \
	"S: 250 2.1.5 <b@y.example>: Recipient ok\n"
#define DATA	 "C: DATA\nS: 354 End data with <CR><LF>.<CR><LF>\n"
#define QUIT	 "C: QUIT\nS: 221 2.0.0 Bye\n"
#define RSET	 "C: RSET\nS: 250 2.0.0 Ok\n"
#define X60	 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
#define BAD_LINE "S: 500 5.5.2 Only CR LF ends a line, and no NUL is allowed\n"

enum where { MX, MX_TLS, SUBMISSION, SUBMISSION_TLS };

static const struct talk {
	const char *name;
	enum where where;
	const char *transcript;
} talks[] = {
	/* -------------------------------------------- RFC 5321: a session */
	{"a whole transaction, pipelined (RFC 2920)", MX,
	 EHLO MAIL RCPT DATA "C: hello\n"
			     "C: ..\n"
			     "C: .\n"
			     "S: 250 2.0.0 Queued 10\n" QUIT},
	{"several messages in one session", MX,
	 EHLO MAIL RCPT DATA "C: .\n"
			     "S: 250 2.0.0 Queued 0\n" MAIL RCPT DATA "C: x\n"
			     "C: .\n"
			     "S: 250 2.0.0 Queued 3\n" QUIT},
	{"HELO offers nothing and takes no parameters", MX,
	 HELO "C: MAIL FROM:<a@x.example> SIZE=5\n"
	      "S: 555 5.5.4 Unsupported parameter SIZE\n" MAIL},
	{"EHLO within a transaction acts as RSET (4.1.4)", MX,
	 EHLO MAIL RCPT EHLO "C: DATA\n"
			     "S: 503 5.5.1 RCPT comes before DATA\n" MAIL},
	{"HELO after EHLO takes the extensions away", MX,
	 EHLO HELO "C: MAIL FROM:<a@x.example> BODY=8BITMIME\n"
		   "S: 555 5.5.4 Unsupported parameter BODY\n"
		   "C: BDAT 4 LAST\n"
		   "R: QUIT\n"
		   "S: 503 5.5.1 Say EHLO first\n" QUIT},
	{"EHLO takes a name, a literal, and what real clients say", MX,
	 "C: EHLO [192.0.2.1]\n" S_EHLO(
		 "S: 250-STARTTLS\n") "C: EHLO "
				      "[IPv6:2001:db8::"
				      "1]\n" S_EHLO("S: "
						    "250-"
						    "STARTTLS"
						    "\n") "C: "
							  "HEL"
							  "O "
							  "my_"
							  "pc"
							  "\n"
							  "S: "
							  "250"
							  " mx"
							  ".ex"
							  "amp"
							  "le"
							  "\n"},
	{"EHLO wants a name", MX,
	 "C: EHLO\n"
	 "S: 501 5.5.4 A host name has to follow\n"
	 "C: HELO\n"
	 "S: 501 5.5.4 A host name has to follow\n"
	 "C: MAIL FROM:<a@x.example>\n"
	 "S: 503 5.5.1 Say EHLO first\n"},
	{"a refused EHLO changes nothing (4.1.4)", MX,
	 EHLO MAIL "C: EHLO\n"
		   "S: 501 5.5.4 A host name has to follow\n" RCPT},
	{"commands out of order", MX,
	 "C: MAIL FROM:<a@x.example>\n"
	 "S: 503 5.5.1 Say EHLO first\n" EHLO "C: RCPT TO:<b@y.example>\n"
	 "S: 503 5.5.1 MAIL comes before RCPT\n"
	 "C: DATA\n"
	 "S: 503 5.5.1 RCPT comes before DATA\n"
	 "C: MAIL FROM:<>\n"
	 "S: 250 2.1.0 Sender ok\n"
	 "C: MAIL FROM:<>\n"
	 "S: 503 5.5.1 MAIL was given already\n"},
	{"before EHLO: RSET, NOOP, VRFY, HELP, QUIT are taken", MX,
	 RSET "C: NOOP\n"
	      "S: 250 2.0.0 Ok\n"
	      "C: VRFY anna\n"
	      "S: 252 2.5.0 Not told here: try RCPT\n"
	      "C: HELP\n"
	      "S: 214 2.0.0 EHLO HELO MAIL RCPT DATA BDAT RSET NOOP QUIT "
	      "VRFY HELP STARTTLS AUTH; see RFC 5321\n" QUIT},
	{"recipients: refused, accepted, too many; RSET forgets them", MX,
	 HELO "C: MAIL FROM:<>\n"
	      "S: 250 2.1.0 Sender ok\n"
	      "C: RCPT TO:<x@refused.example>\n"
	      "S: 550 5.7.1 <x@refused.example>: no\n"
	      "C: DATA\n"
	      "S: 554 5.5.1 No valid recipients\n" RCPT
	      "C: RCPT TO:<c@y.example>\n"
	      "S: 250 2.1.5 <c@y.example>: Recipient ok\n"
	      "C: RCPT TO:<d@y.example>\n"
	      "S: 452 4.5.3 Too many recipients\n" RSET "C: DATA\n"
	      "S: 503 5.5.1 RCPT comes before DATA\n"},
	{"the recipients before the limit get their mail (4.5.3.1.10)", MX,
	 EHLO MAIL RCPT RCPT "C: RCPT TO:<d@y.example>\n"
			     "S: 452 4.5.3 Too many recipients\n" DATA "C: .\n"
			     "S: 250 2.0.0 Queued 0\n"},
	{"commands that take nothing say so", MX,
	 EHLO "C: STARTTLS now\n"
	      "S: 501 5.5.4 No argument is allowed here\n"
	      "C: RSET all\n"
	      "S: 501 5.5.4 No argument is allowed here\n" MAIL RCPT
	      "C: DATA now\n"
	      "S: 501 5.5.4 No argument is allowed here\n" DATA "C: .\n"
	      "S: 250 2.0.0 Queued 0\n"},
	{"NOOP and HELP take anything (4.1.1.8, 4.1.1.9)", MX,
	 "C: NOOP are you there\n"
	 "S: 250 2.0.0 Ok\n"
	 "C: help MAIL\n"
	 "S: 214 2.0.0 EHLO HELO MAIL RCPT DATA BDAT RSET NOOP QUIT "
	 "VRFY HELP STARTTLS AUTH; see RFC 5321\n"},
	{"who has a mailbox is not told (3.5.3, 7.3)", MX,
	 EHLO "C: VRFY anna\n"
	      "S: 252 2.5.0 Not told here: try RCPT\n"
	      "C: VRFY\n"
	      "S: 501 5.5.4 An address is needed\n"
	      "C: EXPN list\n"
	      "S: 502 5.5.1 Command not implemented\n"
	      "C: LHLO c.example\n"
	      "S: 502 5.5.1 Command not implemented\n"},
	{"verbs in any case, spaces at the end (4.1.1, 2.4)", MX,
	 HELO "C: mail from:<a@x.example>  \n"
	      "S: 250 2.1.0 Sender ok\n"
	      "C: RcPt To:<B@Y.example>\n"
	      "S: 250 2.1.5 <B@y.example>: Recipient ok\n"
	      "C: data \n"
	      "S: 354 End data with <CR><LF>.<CR><LF>\n"
	      "C: .\n"
	      "S: 250 2.0.0 Queued 0\n"},
	{"errors end a session at the fifth", MX,
	 "C: x\n"
	 "S: 500 5.5.2 Command not recognised\n"
	 "C: x\n"
	 "S: 500 5.5.2 Command not recognised\n"
	 "C: x\n"
	 "S: 500 5.5.2 Command not recognised\n"
	 "C: \n"
	 "S: 500 5.5.2 Command not recognised\n"
	 "C: x\n"
	 "S: 421 4.7.0 mx.example Too many errors, closing connection\n"
	 "C: NOOP\n"},
	{"a browser is sent away", MX,
	 "C: GET / HTTP/1.1\n"
	 "S: 421 4.7.0 mx.example This is a mail server, closing connection\n"
	 "C: Host: x\n"},

	/* ------------------------------------- SIZE (1870), SMTPUTF8 (6531) */
	{"a declared size over the limit", MX,
	 EHLO "C: MAIL FROM:<a@x.example> SIZE=1001\n"
	      "S: 552 5.3.4 Message too big: at most 1000 octets are taken\n"
	      "C: MAIL FROM:<a@x.example> SIZE=1000\n"
	      "S: 250 2.1.0 Sender ok\n"},
	{"UTF-8 in replies only after SMTPUTF8", MX,
	 EHLO "C: MAIL FROM:<a@x.example> SMTPUTF8\n"
	      "S: 250 2.1.0 Sender ok\n"
	      "C: RCPT TO:<\303\244@y.example>\n"
	      "S: 250 2.1.5 <\303\244@y.example>: Recipient ok\n"
	      "C: RCPT TO:<\303\244@refused.example>\n"
	      "S: 550 5.7.1 <\303\244@refused.example>: no\n" RSET
	      "C: MAIL FROM:<a@x.example>\n"
	      "S: 250 2.1.0 Sender ok\n"
	      "C: RCPT TO:<\303\244@y.example>\n"
	      "S: 553 5.6.7 Address is not ASCII and SMTPUTF8 was not given\n"},

	/* ------------------------------------------- line ends and smuggling
	 */
	{"a bare LF ends no line", MX,
	 "R: NOOP%0A\n"
	 "C: MAIL FROM:<a@x.example>\n" BAD_LINE "C: NOOP\n"
	 "S: 250 2.0.0 Ok\n"},
	{"a bare CR ends no line", MX,
	 "R: NOOP%0D\n"
	 "C: QUIT\n" BAD_LINE "C: NOOP\n"
	 "S: 250 2.0.0 Ok\n"},
	{"a NUL is no part of a command", MX,
	 "R: NO%00OP\n"
	 "C: MAIL FROM:<a@x.example>\n" BAD_LINE "C: NOOP\n"
	 "S: 250 2.0.0 Ok\n"},
	{"a command line has at most 512 octets, MAIL more (4.5.3.1.4)", MX,
	 "R: NOOP \n"
	 "X: 505\n"
	 "C: \n"
	 "S: 250 2.0.0 Ok\n"
	 "R: NOOP \n"
	 "X: 506\n"
	 "C: \n"
	 "S: 500 5.5.2 Line too long\n" EHLO "R: MAIL FROM:<\n"
	 "X: 600\n"
	 "C: @x.example>\n"
	 "S: 501 5.1.7 <" X60 ">: Bad address syntax: local part too long\n"
	 "C: NOOP\n"
	 "S: 250 2.0.0 Ok\n"},
	{"only CR LF . CR LF ends the data", MX,
	 EHLO MAIL RCPT DATA "C: smuggled\n"
			     "R: .%0A\n"
			     "C: MAIL FROM:<evil@x.example>\n"
			     "C: .\n"
			     "S: 554 5.6.0 Bad bytes\n"
			     "C: NOOP\n"
			     "S: 250 2.0.0 Ok\n"},
	{"a dot behind a bare CR is text", MX,
	 EHLO MAIL RCPT DATA "R: x%0D.%0D\n"
			     "R: %0D%0A\n"
			     "C: RCPT TO:<evil@y.example>\n"
			     "C: .\n"
			     "S: 554 5.6.0 Bad bytes\n" QUIT},

	{"a NUL in a message refuses it", MX,
	 EHLO MAIL RCPT DATA "R: a%00b\n"
			     "C: \n"
			     "C: .\n"
			     "S: 554 5.6.0 Bad bytes\n"
			     "C: NOOP\n"
			     "S: 250 2.0.0 Ok\n"},
	{"CR LF . LF, LF . CR LF, LF . LF, CR . CR end nothing", MX,
	 EHLO MAIL RCPT DATA "R: a%0D%0A.%0A\n"
			     "R: b%0A.%0D%0A\n"
			     "R: c%0A.%0A\n"
			     "R: d%0D.%0D\n"
			     "R: e%0D%0A.%0D\n"
			     "R: f%0D%0A%00.%0D%0A\n"
			     "R: g%0D.%0D%0A\n"
			     "C: MAIL FROM:<evil@x.example>\n"
			     "C: RCPT TO:<evil@y.example>\n"
			     "C: DATA\n"
			     "C: .\n"
			     "S: 554 5.6.0 Bad bytes\n"
			     "C: NOOP\n"
			     "S: 250 2.0.0 Ok\n"},

	/* ------------------------------------------------ CHUNKING (RFC 3030)
	 */
	{"one chunk", MX,
	 EHLO MAIL RCPT "C: BDAT 7 LAST\n"
			"C: hello\n"
			"S: 250 2.0.0 Queued 7\n" QUIT},
	{"chunks of all sizes, cut within lines and line ends", MX,
	 EHLO MAIL RCPT "C: BDAT 6\n"
			"R: hello%0D\n"
			"S: 250 2.0.0 6 octets received\n"
			"C: BDAT 0\n"
			"S: 250 2.0.0 0 octets received\n"
			"C: bdat 7\n"
			"R: %0AQUIT%0D%0A\n"
			"S: 250 2.0.0 7 octets received\n"
			"C: BDAT 1 LAST\n"
			"R: %0D\n"
			"S: 554 5.6.0 Bad bytes\n" QUIT},
	{"the last chunk may be empty", MX,
	 EHLO MAIL RCPT "C: BDAT 3\n"
			"C: x\n"
			"S: 250 2.0.0 3 octets received\n"
			"C: BDAT 0 LAST\n"
			"S: 250 2.0.0 Queued 3\n" MAIL RCPT "C: BDAT 0 last\n"
			"S: 250 2.0.0 Queued 0\n" QUIT},
	{"dots are text in a chunk", MX,
	 EHLO MAIL RCPT "C: BDAT 12 LAST\n"
			"C: .\n"
			"C: ..\n"
			"C: ...\n"
			"S: 250 2.0.0 Queued 12\n" QUIT},
	{"bare line ends are refused when the message is over", MX,
	 EHLO MAIL RCPT "C: BDAT 2\n"
			"R: a%0D\n"
			"S: 250 2.0.0 2 octets received\n"
			"C: BDAT 2 LAST\n"
			"R: b%0A\n"
			"S: 554 5.6.0 Bad bytes\n" MAIL},
	{"a chunk of octets that look like commands", MX,
	 EHLO MAIL RCPT "C: BDAT 12 LAST\n"
			"C: QUIT\n"
			"C: QUIT\n"
			"S: 250 2.0.0 Queued 12\n" QUIT},
	{"a refused chunk is read and dropped: nobody greeted", MX,
	 "C: BDAT 6 LAST\n"
	 "C: QUIT\n"
	 "S: 503 5.5.1 Say EHLO first\n" EHLO},
	{"a refused chunk is read and dropped: no MAIL", MX,
	 EHLO "C: BDAT 6\n"
	      "C: QUIT\n"
	      "S: 503 5.5.1 RCPT comes before BDAT\n"
	      "C: BDAT 0 LAST\n"
	      "S: 503 5.5.1 RCPT comes before BDAT\n" QUIT},
	{"a refused chunk is read and dropped: no recipient", MX,
	 EHLO MAIL "C: RCPT TO:<x@refused.example>\n"
		   "S: 550 5.7.1 <x@refused.example>: no\n"
		   "C: BDAT 6 LAST\n"
		   "C: QUIT\n"
		   "S: 554 5.5.1 No valid recipients\n" RCPT "C: BDAT 6 LAST\n"
		   "C: QUIT\n"
		   "S: 250 2.0.0 Queued 6\n"},
	{"a message that lost its first chunk is none", MX,
	 EHLO MAIL "C: BDAT 6\n"
		   "C: QUIT\n"
		   "S: 554 5.5.1 No valid recipients\n"
		   "C: RCPT TO:<bob@sink.example>\n"
		   "S: 503 5.5.1 MAIL comes before RCPT\n"
		   "C: BDAT 0 LAST\n"
		   "S: 503 5.5.1 RCPT comes before BDAT\n" MAIL},
	{"a message too big in all: what is in the pipeline goes too", MX,
	 EHLO MAIL RCPT "C: BDAT 6\n"
			"C: QUIT\n"
			"S: 250 2.0.0 6 octets received\n"
			"C: BDAT 995\n"
			"X: 995\n"
			"S: 552 5.3.4 Message too big\n"
			"C: BDAT 6 LAST\n"
			"C: QUIT\n"
			"S: 503 5.5.1 RCPT comes before BDAT\n" MAIL},
	{"a size beyond all limits cannot wrap around", MX,
	 EHLO MAIL RCPT "C: BDAT 1\n"
			"R: x\n"
			"S: 250 2.0.0 1 octets received\n"
			"C: BDAT 18446744073709551615 LAST\n"
			"C: QUIT\n"
			"C: BDAT 0 LAST\n"},
	{"where a chunk of unknown size ends nobody knows", MX,
	 EHLO MAIL RCPT
	 "C: BDAT six LAST\n"
	 "S: 501 5.5.4 Syntax: BDAT size [LAST]; closing connection\n"
	 "C: QUIT\n"},
	{"RSET between chunks drops the message", MX,
	 EHLO MAIL RCPT
	 "C: BDAT 6\n"
	 "C: QUIT\n"
	 "S: 250 2.0.0 6 octets received\n" RSET "C: BDAT 0 LAST\n"
	 "S: 503 5.5.1 RCPT comes before BDAT\n" MAIL RCPT "C: BDAT 3 LAST\n"
	 "C: x\n"
	 "S: 250 2.0.0 Queued 3\n"},
	{"between chunks nothing may be added to the envelope", MX,
	 EHLO MAIL RCPT "C: BDAT 3\n"
			"C: x\n"
			"S: 250 2.0.0 3 octets received\n"
			"C: MAIL FROM:<a@x.example>\n"
			"S: 503 5.5.1 MAIL was given already\n"
			"C: RCPT TO:<c@y.example>\n"
			"S: 503 5.5.1 RCPT comes before BDAT\n"
			"C: DATA\n"
			"S: 503 5.5.1 The message began with BDAT\n"
			"C: STARTTLS\n"
			"S: 503 5.5.1 Not within a transaction\n"
			"C: NOOP\n"
			"S: 250 2.0.0 Ok\n"
			"C: BDAT 0 LAST\n"
			"S: 250 2.0.0 Queued 3\n"},
	{"BINARYMIME is not offered", MX,
	 EHLO "C: MAIL FROM:<a@x.example> BODY=BINARYMIME\n"
	      "S: 501 5.5.4 Bad value of parameter BODY\n"},

	/* ----------------------------------------------- AUTH (4954), STARTTLS
	 */
	{"PLAIN needs TLS, an unknown mechanism is unknown", SUBMISSION,
	 "C: EHLO c.example\n" S_EHLO(
		 "S: 250-STARTTLS\n"
		 "S: 250-AUTH SCRAM-SHA-256\n") "C: AUTH PLAIN AGEAYg==\n"
						"S: 538 5.7.11 Encryption "
						"required for requested "
						"authentication mechanism\n"
						"C: AUTH FOO\n"
						"S: 504 5.5.4 Authentication "
						"mechanism not known\n"},
	{"a login: cancelled, wrong, right, twice", SUBMISSION_TLS,
	 EHLO_LOGIN "C: AUTH PLAIN\n"
		    "S: 334 Y2hhbGxlbmdl\n"
		    "C: *\n"
		    "S: 501 5.7.0 Authentication cancelled\n"
		    "C: AUTH PLAIN AGEAYg==\n"
		    "S: 535 5.7.8 Authentication credentials invalid\n"
		    "C: AUTH SCRAM-SHA-256\n"
		    "S: 334 Y2hhbGxlbmdl\n"
		    "C: cmlnaHQ=\n"
		    "S: 235 2.7.0 Authentication successful\n"
		    "C: AUTH PLAIN\n"
		    "S: 503 5.5.1 Already logged in\n"
		    "C: EHLO c.example\n" S_EHLO("")},
	{"no login within a transaction, after HELO, or without EHLO",
	 SUBMISSION_TLS,
	 "C: AUTH PLAIN\n"
	 "S: 503 5.5.1 Say EHLO first\n" HELO "C: AUTH PLAIN\n"
	 "S: 503 5.5.1 Say EHLO first\n" EHLO_LOGIN MAIL "C: AUTH PLAIN\n"
	 "S: 503 5.5.1 Not within a transaction\n"},
	{"two failed logins end the session", SUBMISSION_TLS,
	 EHLO_LOGIN "C: AUTH PLAIN AGEAYg==\n"
		    "S: 535 5.7.8 Authentication credentials invalid\n"
		    "C: AUTH PLAIN AGEAYg==\n"
		    "S: 535 5.7.8 Authentication credentials invalid\n"
		    "S: 421 4.7.0 mx.example Too many failed logins, closing "
		    "connection\n"},
	{"no logins on mx", MX_TLS,
	 "C: EHLO c.example\n" S_EHLO("") "C: AUTH PLAIN\n"
					  "S: 502 5.5.1 No logins here: use "
					  "the submission port\n"},
	{"nobody has logged in elsewhere for a stranger (4954, 5)", MX,
	 EHLO "C: MAIL FROM:<a@x.example> AUTH=<>\n"
	      "S: 555 5.5.4 Unsupported parameter AUTH\n" MAIL},
	{"for a login somebody may have (4954, 5)", SUBMISSION_TLS,
	 EHLO_LOGIN "C: MAIL FROM:<a@x.example> AUTH=<>\n"
		    "S: 250 2.1.0 Sender ok\n" RSET
		    "C: MAIL FROM:<a@x.example> AUTH=b+40y.example\n"
		    "S: 250 2.1.0 Sender ok\n"},
	{"STARTTLS forgets what was said in the clear (3207, 4.2)", MX,
	 EHLO "C: STARTTLS\n"
	      "S: 220 2.0.0 Ready to start TLS\n"
	      "C: MAIL FROM:<a@x.example>\n"
	      "S: 503 5.5.1 Say EHLO first\n"
	      "C: STARTTLS\n"
	      "S: 503 5.5.1 TLS is on already\n"},
	{"no STARTTLS behind a login: it would outlive what is forgotten",
	 SUBMISSION,
	 "C: EHLO c.example\n" S_EHLO(
		 "S: 250-STARTTLS\n"
		 "S: 250-AUTH SCRAM-SHA-256\n") "C: AUTH SCRAM-SHA-256\n"
						"S: 334 Y2hhbGxlbmdl\n"
						"C: cmlnaHQ=\n"
						"S: 235 2.7.0 Authentication "
						"successful\n"
						"C: EHLO c.example\n" S_EHLO(
							"") "C: STARTTLS\n"
							    "S: 503 5.5.1 Log "
							    "in behind "
							    "STARTTLS, not "
							    "before it\n"},
	{"who is logged in is forgiven slips", SUBMISSION_TLS,
	 "C: EHLO c.example\n" S_EHLO(
		 "S: 250-AUTH SCRAM-SHA-256 PLAIN\n") "C: MAIL FROM: "
						      "a@x.example\n"
						      "S: 501 5.5.4 Syntax: "
						      "MAIL "
						      "FROM:<address>: the "
						      "address stands in <>\n"
						      "C: AUTH PLAIN\n"
						      "S: 334 Y2hhbGxlbmdl\n"
						      "C: cmlnaHQ=\n"
						      "S: 235 2.7.0 "
						      "Authentication "
						      "successful\n"
						      "C: MAIL FROM: "
						      "a@x.example\n"
						      "S: 250 2.1.0 Sender ok\n"
						      "C: RCPT TO: "
						      "b@y.example\n"
						      "S: 250 2.1.5 "
						      "<b@y.example>: "
						      "Recipient "
						      "ok\n"
						      "C: RCPT "
						      "TO:<c..d@y.example>\n"
						      "S: 250 2.1.5 "
						      "<\"c..d\"@y.example>: "
						      "Recipient ok\n"},
	{"no STARTTLS within a transaction", MX,
	 EHLO MAIL "C: STARTTLS\n"
		   "S: 503 5.5.1 Not within a transaction\n" RCPT},
};

START_TEST(each_talk_is_heard_alike_at_every_split)
{
	const struct talk *talk = &talks[_i];
	struct buf sent, heard;

	buf_init(&sent, 65536);
	buf_init(&heard, 65536);
	transcript_part(talk->transcript, "CRX", &sent);
	transcript_part(talk->transcript, "S", &heard);
	for (size_t cut = 0; cut <= buf_len(&sent); cut++) {
		struct shell shell;

		shell_init(&shell,
			   talk->where == SUBMISSION ||
				   talk->where == SUBMISSION_TLS,
			   talk->where == MX_TLS ||
				   talk->where == SUBMISSION_TLS);
		converse(&shell, buf_bytes(&sent), buf_len(&sent), cut);
		ck_assert_msg(strcmp(buf_text(&shell.out), buf_text(&heard)) ==
				      0,
			      "%s, cut at %zu:\n%s\ninstead of\n%s", talk->name,
			      cut, buf_text(&shell.out), buf_text(&heard));
		shell_done(&shell);
	}
	buf_done(&sent);
	buf_done(&heard);
}
END_TEST

/* -------------------------------------------------------------- octets */

START_TEST(chunks_keep_every_octet_at_every_split)
{
	uint8_t wire[1024], octets[512];
	size_t len = 0, at = 0;
	static const size_t sizes[] = {1, 0, 255, 256};

	for (size_t i = 0; i < sizeof(octets); i++)
		octets[i] = (uint8_t)(i * 7 + i / 256);
	len = (size_t)snprintf((char *)wire, sizeof(wire),
			       "EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\n");
	for (size_t i = 0; i < COUNT(sizes); i++) {
		len += (size_t)snprintf((char *)wire + len, sizeof(wire) - len,
					"BDAT %zu%s\r\n", sizes[i],
					i + 1 == COUNT(sizes) ? " LAST" : "");
		memcpy(wire + len, octets + at, sizes[i]);
		len += sizes[i];
		at += sizes[i];
	}
	ck_assert_uint_eq(at, sizeof(octets));
	for (size_t cut = 0; cut <= len; cut++) {
		struct shell shell;

		shell_init(&shell, false, false);
		converse(&shell, wire, len, cut);
		ck_assert_uint_eq(buf_len(&shell.content), sizeof(octets));
		ck_assert_mem_eq(buf_bytes(&shell.content), octets,
				 sizeof(octets));
		ck_assert_int_eq(shell.proto.state, SMTPD_READY);
		shell_done(&shell);
	}
}
END_TEST

UNIT_MAIN("smtpd_proto",
	  tcase_add_loop_test(tc, each_talk_is_heard_alike_at_every_split, 0,
			      (int)COUNT(talks));
	  tcase_add_test(tc, chunks_keep_every_octet_at_every_split);)
