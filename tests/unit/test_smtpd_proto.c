/* SPDX-License-Identifier: ISC */
/*
 * Conversations as transcripts: what the client sends, what it hears. The
 * shell around the state machine is played by a few lines that accept every
 * address but those of refused.example.
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
	struct buf out;
	bool is_over;
};

static void
shell_init(struct shell *shell, bool is_submission, bool is_secure)
{
	memset(shell, 0, sizeof(*shell));
	smtpd_proto_init(&shell->proto);
	buf_init(&shell->out, 65536);
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
shell_apply(struct shell *shell, enum smtpd_effect effect,
	    const struct smtpd_ask *ask)
{
	struct smtpd_proto *proto = &shell->proto;
	struct status refusal;

	switch (effect) {
	case SMTPD_DO_NOTHING:
	case SMTPD_DO_RESET:
	case SMTPD_DO_AUTH_CANCEL:
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
		effect = smtpd_proto_auth(proto, &shell->env,
					  ask->auth.has_initial
						  ? SMTPD_AUTH_DENIED
						  : SMTPD_AUTH_CHALLENGE,
					  "Y2hhbGxlbmdl", &shell->out);
		shell_apply(shell, effect, ask);
		break;
	case SMTPD_DO_AUTH_STEP:
		effect = smtpd_proto_auth(proto, &shell->env,
					  str_is(ask->line, "cmlnaHQ=")
						  ? SMTPD_AUTH_OK
						  : SMTPD_AUTH_DENIED,
					  NULL, &shell->out);
		shell_apply(shell, effect, ask);
		break;
	case SMTPD_DO_DECIDE_SENDER:
		effect = smtpd_proto_sender(proto, &shell->env, NULL,
					    &shell->out);
		shell_apply(shell, effect, ask);
		break;
	case SMTPD_DO_DECIDE_RCPT:
		status_set(&refusal, 550, "5.7.1", "no");
		effect = smtpd_proto_recipient(
			proto, &shell->env,
			str_is(addr_domain(&ask->rcpt.address),
			       "refused.example")
				? &refusal
				: NULL,
			ask->rcpt.address.text, &shell->out);
		shell_apply(shell, effect, ask);
		break;
	case SMTPD_DO_CONTENT:
		memset(&shell->decoder, 0, sizeof(shell->decoder));
		break;
	}
}

static size_t
shell_take(struct shell *shell, const uint8_t *bytes, size_t len)
{
	struct smtp_cmd_event event;
	struct smtpd_ask ask;
	struct status saved;
	struct str run;
	size_t used;
	bool is_end;

	if (shell->proto.state == SMTPD_CONTENT) {
		used = smtp_data_decode(&shell->decoder, bytes, len, &run,
					&is_end);
		status_set(&saved, 250, "2.0.0", "Queued");
		if (is_end)
			shell_apply(shell,
				    smtpd_proto_content_end(&shell->proto,
							    &saved,
							    &shell->out),
				    &ask);
		return used;
	}
	used = smtp_cmd_next(&shell->proto.cmd, smtpd_proto_mode(&shell->proto),
			     bytes, len, &event);
	if (event.kind != SMTP_CMD_NEED_MORE)
		shell_apply(shell,
			    smtpd_proto_event(&shell->proto, &shell->env,
					      &event, &shell->out, &ask),
			    &ask);
	return used;
}

/* Feeds the wire in two parts; returns what the client hears. */
static const char *
converse(struct shell *shell, const char *wire, size_t cut)
{
	size_t len = strlen(wire), at = 0, end = cut;

	while (at < len && !shell->is_over) {
		size_t used =
			shell_take(shell, (const uint8_t *)wire + at, end - at);

		at += used;
		if (used == 0 && end == len)
			break;
		if (used == 0 || at == end)
			end = len;
	}
	return buf_text(&shell->out);
}

static const struct {
	const char *name;
	bool is_submission, is_secure;
	const char *wire, *heard;
} talks[] = {
	{"a whole transaction, pipelined", false, false,
	 "EHLO c.example\r\nMAIL FROM:<a@x.example>\r\n"
	 "RCPT TO:<b@y.example>\r\nDATA\r\nhello\r\n..\r\n.\r\nQUIT\r\n",
	 "250-mx.example\r\n250-PIPELINING\r\n250-SIZE 1000\r\n"
	 "250-STARTTLS\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n"
	 "250 ENHANCEDSTATUSCODES\r\n250 2.1.0 Sender ok\r\n"
	 "250 2.1.5 <b@y.example>: Recipient ok\r\n"
	 "354 End data with <CR><LF>.<CR><LF>\r\n250 2.0.0 Queued\r\n"
	 "221 2.0.0 Bye\r\n"},
	{"HELO offers nothing and takes no parameters", false, false,
	 "HELO c.example\r\nMAIL FROM:<a@x.example> SIZE=5\r\n"
	 "MAIL FROM:<a@x.example>\r\n",
	 "250 mx.example\r\n"
	 "555 5.5.4 Unsupported parameter SIZE\r\n"
	 "250 2.1.0 Sender ok\r\n"},
	{"commands out of order", false, false,
	 "MAIL FROM:<a@x.example>\r\nEHLO c.example\r\n"
	 "RCPT TO:<b@y.example>\r\nDATA\r\nMAIL FROM:<>\r\n"
	 "MAIL FROM:<>\r\n",
	 "503 5.5.1 Say EHLO first\r\n"
	 "250-mx.example\r\n250-PIPELINING\r\n250-SIZE 1000\r\n"
	 "250-STARTTLS\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n"
	 "250 ENHANCEDSTATUSCODES\r\n"
	 "503 5.5.1 MAIL comes before RCPT\r\n"
	 "503 5.5.1 RCPT comes before DATA\r\n250 2.1.0 Sender ok\r\n"
	 "503 5.5.1 MAIL was given already\r\n"},
	{"recipients: refused, accepted, too many; RSET forgets them", false,
	 false,
	 "HELO c.example\r\nMAIL FROM:<>\r\nRCPT TO:<x@refused.example>\r\n"
	 "DATA\r\nRCPT TO:<b@y.example>\r\nRCPT TO:<c@y.example>\r\n"
	 "RCPT TO:<d@y.example>\r\nRSET\r\nDATA\r\n",
	 "250 mx.example\r\n250 2.1.0 Sender ok\r\n550 5.7.1 no\r\n"
	 "554 5.5.1 No valid recipients\r\n"
	 "250 2.1.5 <b@y.example>: Recipient ok\r\n"
	 "250 2.1.5 <c@y.example>: Recipient ok\r\n"
	 "452 4.5.3 Too many recipients\r\n250 2.0.0 Ok\r\n"
	 "503 5.5.1 RCPT comes before DATA\r\n"},
	{"a declared size over the limit", false, false,
	 "EHLO c.example\r\nMAIL FROM:<a@x.example> SIZE=1001\r\n",
	 "250-mx.example\r\n250-PIPELINING\r\n250-SIZE 1000\r\n"
	 "250-STARTTLS\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n"
	 "250 ENHANCEDSTATUSCODES\r\n552 5.3.4 Message too big: at most 1000 "
	 "octets are taken\r\n"},
	{"errors end a session at the fifth", false, false,
	 "x\r\nx\r\nx\r\nx\r\nx\r\nNOOP\r\n",
	 "500 5.5.2 Command not recognised\r\n"
	 "500 5.5.2 Command not recognised\r\n"
	 "500 5.5.2 Command not recognised\r\n"
	 "500 5.5.2 Command not recognised\r\n"
	 "421 4.7.0 mx.example Too many errors, closing connection\r\n"},
	{"a bare LF ends no line", false, false,
	 "NOOP\nMAIL FROM:<a@x.example>\r\nNOOP\r\n",
	 "500 5.5.2 Only CR LF ends a line, and no NUL is allowed\r\n"
	 "250 2.0.0 Ok\r\n"},
	{"PLAIN needs TLS, an unknown mechanism is unknown", true, false,
	 "EHLO c.example\r\nAUTH PLAIN AGEAYg==\r\nAUTH FOO\r\n",
	 "250-mx.example\r\n250-PIPELINING\r\n250-SIZE 1000\r\n"
	 "250-STARTTLS\r\n250-AUTH SCRAM-SHA-256\r\n250-8BITMIME\r\n"
	 "250-SMTPUTF8\r\n250-DSN\r\n250 ENHANCEDSTATUSCODES\r\n"
	 "538 5.7.11 Encryption required for requested authentication "
	 "mechanism\r\n504 5.5.4 Authentication mechanism not known\r\n"},
	{"a login: cancelled, wrong, right, twice", true, true,
	 "EHLO c.example\r\nAUTH PLAIN\r\n*\r\nAUTH PLAIN AGEAYg==\r\n"
	 "AUTH SCRAM-SHA-256\r\ncmlnaHQ=\r\nAUTH PLAIN\r\n",
	 "250-mx.example\r\n250-PIPELINING\r\n250-SIZE 1000\r\n"
	 "250-AUTH SCRAM-SHA-256 PLAIN\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n"
	 "250-DSN\r\n250 ENHANCEDSTATUSCODES\r\n334 Y2hhbGxlbmdl\r\n"
	 "501 5.7.0 Authentication cancelled\r\n"
	 "535 5.7.8 Authentication credentials invalid\r\n"
	 "334 Y2hhbGxlbmdl\r\n235 2.7.0 Authentication successful\r\n"
	 "503 5.5.1 Already logged in\r\n"},
	{"two failed logins end the session", true, true,
	 "EHLO c.example\r\nAUTH PLAIN AGEAYg==\r\nAUTH PLAIN AGEAYg==\r\n",
	 "250-mx.example\r\n250-PIPELINING\r\n250-SIZE 1000\r\n"
	 "250-AUTH SCRAM-SHA-256 PLAIN\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n"
	 "250-DSN\r\n250 ENHANCEDSTATUSCODES\r\n"
	 "535 5.7.8 Authentication credentials invalid\r\n"
	 "535 5.7.8 Authentication credentials invalid\r\n"
	 "421 4.7.0 mx.example Too many failed logins, closing "
	 "connection\r\n"},
	{"no logins on mx", false, true, "EHLO c.example\r\nAUTH PLAIN\r\n",
	 "250-mx.example\r\n250-PIPELINING\r\n250-SIZE 1000\r\n"
	 "250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n"
	 "250 ENHANCEDSTATUSCODES\r\n"
	 "502 5.5.1 No logins here: use the submission port\r\n"},
	{"STARTTLS forgets what was said in the clear", false, false,
	 "EHLO c.example\r\nSTARTTLS\r\nMAIL FROM:<a@x.example>\r\n"
	 "STARTTLS\r\n",
	 "250-mx.example\r\n250-PIPELINING\r\n250-SIZE 1000\r\n"
	 "250-STARTTLS\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n"
	 "250 ENHANCEDSTATUSCODES\r\n220 2.0.0 Ready to start TLS\r\n"
	 "503 5.5.1 Say EHLO first\r\n503 5.5.1 TLS is on already\r\n"},
	{"a browser is sent away", false, false,
	 "GET / HTTP/1.1\r\nHost: x\r\n",
	 "421 4.7.0 mx.example This is a mail server, closing "
	 "connection\r\n"},
	{"small commands", false, false,
	 "NOOP hi\r\nVRFY anna\r\nEXPN list\r\nHELP\r\nBDAT 5\r\n",
	 "250 2.0.0 Ok\r\n252 2.5.0 Not told here: try RCPT\r\n"
	 "502 5.5.1 Command not implemented\r\n"
	 "214 2.0.0 EHLO HELO MAIL RCPT DATA RSET NOOP QUIT VRFY HELP "
	 "STARTTLS AUTH; see RFC 5321\r\n"
	 "502 5.5.1 Command not implemented\r\n"},
};

START_TEST(each_talk_is_heard_alike_at_every_split)
{
	for (size_t cut = 0; cut <= strlen(talks[_i].wire); cut++) {
		struct shell shell;

		shell_init(&shell, talks[_i].is_submission,
			   talks[_i].is_secure);
		ck_assert_msg(strcmp(converse(&shell, talks[_i].wire, cut),
				     talks[_i].heard) == 0,
			      "%s, cut at %zu:\n%s", talks[_i].name, cut,
			      buf_text(&shell.out));
		smtpd_proto_done(&shell.proto);
		buf_done(&shell.out);
	}
}
END_TEST

UNIT_MAIN("smtpd_proto",
	  tcase_add_loop_test(tc, each_talk_is_heard_alike_at_every_split, 0,
			      (int)COUNT(talks));)
