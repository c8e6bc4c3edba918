/* SPDX-License-Identifier: ISC */
/*
 * Conversations as transcripts: S: is what the server sends, C: what the
 * client has to answer, [x] what it wants from its caller, = the result for
 * each recipient in the end (! for the session). The server's lines are taken
 * from the transcript, cut at every place, and the transcript that comes out
 * must be the one that went in.
 */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "queue/deliver/smtp_caps.h"
#include "queue/deliver/smtp_client.h"
#include "queue/envelope.h"

enum flags {
	LMTP = 1,
	LOGIN = 2,
	EIGHT_BIT = 4,
	UTF8 = 8,
	DSN = 16,
	EARLY = 32, /* replies are read before the body is sent */
	TWICE = 64, /* the message is sent again on the same connection */
	NULL_SENDER = 128,
	QUIT = 256, /* in the end */
	TLS_MAY = 512,
	TLS_MUST = 1024,
	TIMEOUT = 2048, /* the server falls silent instead of closing */
	PROBE = 8192,	/* no message: it ends behind RCPT */
	PIECES = 4096,	/* a body in chunks is 500 octets, 500 and none */
};

static const struct {
	const char *name;
	unsigned flags;
	size_t recipients;
	const char *transcript;
} cases[] = {
	{"plain, one command at a time", QUIT, 1,
	 "S: 220 mx.example ESMTP\n"
	 "C: EHLO me.example\n"
	 "S: 250 mx.example\n"
	 "C: MAIL FROM:<a@from.example>\n"
	 "S: 250 ok\n"
	 "C: RCPT TO:<r0@to.example>\n"
	 "S: 250 ok\n"
	 "C: DATA\n"
	 "S: 354 go\n"
	 "[body]\n"
	 "C: .\n"
	 "S: 250 2.0.0 Queued\n"
	 "C: QUIT\n"
	 "S: 221 bye\n"
	 "= r0: delivered reply end of data 250 250 2.0.0 Queued\n"},

	{"pipelining, parameters of what the server offers", 0, 2,
	 "S: 220-mx.example ESMTP\n"
	 "S: 220 welcome\n"
	 "C: EHLO me.example\n"
	 "S: 250-mx.example\n"
	 "S: 250-PIPELINING\n"
	 "S: 250-8BITMIME\n"
	 "S: 250-DSN\n"
	 "S: 250 SIZE 5000\n"
	 "C: MAIL FROM:<a@from.example> SIZE=1000\n"
	 "C: RCPT TO:<r0@to.example>\n"
	 "C: RCPT TO:<r1@to.example>\n"
	 "C: DATA\n"
	 "S: 250 ok\n"
	 "S: 250 ok\n"
	 "S: 251 will forward\n"
	 "S: 354 go\n"
	 "[body]\n"
	 "C: .\n"
	 "S: 250 ok\n"
	 "= r0: delivered reply end of data 250 250 ok (dsn)\n"
	 "= r1: delivered reply end of data 250 250 ok (dsn)\n"},

	{"a probe ends behind RCPT", PROBE | QUIT, 1,
	 "S: 220 mx.example ESMTP\n"
	 "C: EHLO me.example\n"
	 "S: 250 mx.example\n"
	 "C: MAIL FROM:<a@from.example>\n"
	 "S: 250 ok\n"
	 "C: RCPT TO:<r0@to.example>\n"
	 "S: 250 2.1.5 well\n"
	 "C: QUIT\n"
	 "S: 221 bye\n"
	 "= r0: delivered reply RCPT TO 250 250 2.1.5 well\n"},

	{"a probe sends no DATA in a group, nor chunks", PROBE | QUIT, 2,
	 "S: 220 mx.example ESMTP\n"
	 "C: EHLO me.example\n"
	 "S: 250-mx.example\n"
	 "S: 250-CHUNKING\n"
	 "S: 250 PIPELINING\n"
	 "C: MAIL FROM:<a@from.example>\n"
	 "C: RCPT TO:<r0@to.example>\n"
	 "C: RCPT TO:<r1@to.example>\n"
	 "S: 250 ok\n"
	 "S: 550 5.1.1 nobody\n"
	 "S: 250 ok\n"
	 "C: QUIT\n"
	 "S: 221 bye\n"
	 "= r0: failed reply RCPT TO 550 550 5.1.1 nobody\n"
	 "= r1: delivered reply RCPT TO 250 250 ok\n"},

	{"a probe of a sender that is refused", PROBE | QUIT, 1,
	 "S: 220 mx.example ESMTP\n"
	 "C: EHLO me.example\n"
	 "S: 250 mx.example\n"
	 "C: MAIL FROM:<a@from.example>\n"
	 "S: 451 4.7.1 later\n"
	 "C: QUIT\n"
	 "S: 221 bye\n"
	 "= r0: deferred reply MAIL FROM 451 451 4.7.1 later\n"},

	{"8-bit, SMTPUTF8 and DSN are handed on", EIGHT_BIT | UTF8 | DSN, 1,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 250-x\n"
	 "S: 250-8bitmime\n"
	 "S: 250-smtputf8\n"
	 "S: 250 dsn\n"
	 "C: MAIL FROM:<a@from.example> BODY=8BITMIME SMTPUTF8 RET=HDRS "
	 "ENVID=QQ1\n"
	 "S: 250 ok\n"
	 "C: RCPT TO:<r0@to.example> NOTIFY=SUCCESS,DELAY "
	 "ORCPT=rfc822;r0@orig.example\n"
	 "S: 250 ok\n"
	 "C: DATA\n"
	 "S: 354 go\n"
	 "[body]\n"
	 "C: .\n"
	 "S: 250 ok\n"
	 "= r0: delivered reply end of data 250 250 ok (dsn)\n"},

	{"DSN is kept back from a server without it", DSN, 1,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 250 x\n"
	 "C: MAIL FROM:<a@from.example>\n"
	 "S: 250 ok\n"
	 "C: RCPT TO:<r0@to.example>\n"
	 "S: 250 ok\n"
	 "C: DATA\n"
	 "S: 354 go\n"
	 "[body]\n"
	 "C: .\n"
	 "S: 250 ok\n"
	 "= r0: delivered reply end of data 250 250 ok\n"},

	{"the null sender", NULL_SENDER, 1,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 250 x\n"
	 "C: MAIL FROM:<>\n"
	 "S: 550 no\n"
	 "= r0: failed reply MAIL FROM 550 550 no\n"},

	{"EHLO is not understood: HELO, and no parameters", 0, 1,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 502 what?\n"
	 "C: HELO me.example\n"
	 "S: 250-x\n"
	 "S: 250 SIZE 10\n"
	 "C: MAIL FROM:<a@from.example>\n"
	 "S: 250 ok\n"
	 "C: RCPT TO:<r0@to.example>\n"
	 "S: 250 ok\n"
	 "C: DATA\n"
	 "S: 354 go\n"
	 "[body]\n"
	 "C: .\n"
	 "S: 250 ok\n"
	 "= r0: delivered reply end of data 250 250 ok\n"},

	{"neither EHLO nor HELO", 0, 1,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 500 what?\n"
	 "C: HELO me.example\n"
	 "S: 550 5.7.1 go away\n"
	 "! failed reply EHLO 550 550 5.7.1 go away\n"},

	{"EHLO is answered 4xx", 0, 1,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 450 later\n"
	 "! deferred reply EHLO 450 450 later\n"},

	{"a greeting of 4xx", 0, 1,
	 "S: 421 busy\n"
	 "! deferred reply greeting 421 421 busy\n"},

	{"a greeting of 5xx", 0, 1,
	 "S: 554-no\n"
	 "S: 554 service\n"
	 "! failed reply greeting 554 554-no|554 service\n"},

	{"no SMTP at all", 0, 1,
	 "S: SSH-2.0-OpenSSH\n"
	 "! deferred reply-garbled greeting 451 -\n"},

	{"a greeting of 354", 0, 1,
	 "S: 354 x\n"
	 "! deferred reply-garbled greeting 451 -\n"},

	{"closed before the greeting", 0, 1,
	 "! deferred connection-lost greeting 451 -\n"},

	{"silence after EHLO", TIMEOUT, 1,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "! deferred reply-timeout EHLO 451 -\n"},

	{"per-recipient answers with pipelining", 0, 4,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 250-x\n"
	 "S: 250 PIPELINING\n"
	 "C: MAIL FROM:<a@from.example>\n"
	 "C: RCPT TO:<r0@to.example>\n"
	 "C: RCPT TO:<r1@to.example>\n"
	 "C: RCPT TO:<r2@to.example>\n"
	 "C: RCPT TO:<r3@to.example>\n"
	 "C: DATA\n"
	 "S: 250 ok\n"
	 "S: 550 5.1.1 unknown\n"
	 "S: 250 ok\n"
	 "S: 450 4.2.1 greylisted\n"
	 "S: 552 5.2.2 full\n"
	 "S: 354 go\n"
	 "[body]\n"
	 "C: .\n"
	 "S: 250 ok\n"
	 "= r0: failed reply RCPT TO 550 550 5.1.1 unknown\n"
	 "= r1: delivered reply end of data 250 250 ok\n"
	 "= r2: deferred reply RCPT TO 450 450 4.2.1 greylisted\n"
	 "= r3: failed reply RCPT TO 552 552 5.2.2 full\n"},

	{"MAIL refused with pipelining", 0, 2,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 250-x\n"
	 "S: 250 PIPELINING\n"
	 "C: MAIL FROM:<a@from.example>\n"
	 "C: RCPT TO:<r0@to.example>\n"
	 "C: RCPT TO:<r1@to.example>\n"
	 "C: DATA\n"
	 "S: 451 4.7.1 later\n"
	 "S: 503 no\n"
	 "S: 503 no\n"
	 "S: 503 no\n"
	 "= r0: deferred reply MAIL FROM 451 451 4.7.1 later\n"
	 "= r1: deferred reply MAIL FROM 451 451 4.7.1 later\n"},

	{"MAIL refused and DATA taken: nothing is sent", 0, 1,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 250-x\n"
	 "S: 250 PIPELINING\n"
	 "C: MAIL FROM:<a@from.example>\n"
	 "C: RCPT TO:<r0@to.example>\n"
	 "C: DATA\n"
	 "S: 550 no\n"
	 "S: 250 ok\n"
	 "S: 354 go\n"
	 "= r0: failed reply MAIL FROM 550 550 no\n"},

	{"no recipient taken and DATA taken: a dot", 0, 1,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 250-x\n"
	 "S: 250 PIPELINING\n"
	 "C: MAIL FROM:<a@from.example>\n"
	 "C: RCPT TO:<r0@to.example>\n"
	 "C: DATA\n"
	 "S: 250 ok\n"
	 "S: 550 no\n"
	 "S: 354 go\n"
	 "C: .\n"
	 "S: 250 accepted nothing\n"
	 "= r0: failed reply RCPT TO 550 550 no\n"},

	{"no recipient taken, one command at a time: no DATA; RSET on reuse",
	 TWICE, 1,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 250 x\n"
	 "C: MAIL FROM:<a@from.example>\n"
	 "S: 250 ok\n"
	 "C: RCPT TO:<r0@to.example>\n"
	 "S: 550 no\n"
	 "= r0: failed reply RCPT TO 550 550 no\n"
	 "C: RSET\n"
	 "S: 250 ok\n"
	 "C: MAIL FROM:<a@from.example>\n"
	 "S: 250 ok\n"
	 "C: RCPT TO:<r0@to.example>\n"
	 "S: 250 ok\n"
	 "C: DATA\n"
	 "S: 354 go\n"
	 "[body]\n"
	 "C: .\n"
	 "S: 250 ok\n"
	 "= r0: delivered reply end of data 250 250 ok\n"},

	{"RSET is refused: nothing was said about the message", TWICE, 1,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 250 x\n"
	 "C: MAIL FROM:<a@from.example>\n"
	 "S: 250 ok\n"
	 "C: RCPT TO:<r0@to.example>\n"
	 "S: 550 no\n"
	 "= r0: failed reply RCPT TO 550 550 no\n"
	 "C: RSET\n"
	 "S: 502 what?\n"
	 "= r0: deferred reply MAIL FROM 502 502 what? (stale)\n"},

	{"RSET is refused among others", TWICE, 1,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 250-x\n"
	 "S: 250 PIPELINING\n"
	 "C: MAIL FROM:<a@from.example>\n"
	 "C: RCPT TO:<r0@to.example>\n"
	 "C: DATA\n"
	 "S: 250 ok\n"
	 "S: 550 no\n"
	 "S: 503 nobody\n"
	 "= r0: failed reply RCPT TO 550 550 no\n"
	 "C: RSET\n"
	 "C: MAIL FROM:<a@from.example>\n"
	 "C: RCPT TO:<r0@to.example>\n"
	 "C: DATA\n"
	 "S: 554 5.7.1 too many errors\n"
	 "= r0: deferred reply MAIL FROM 554 554 5.7.1 too many errors "
	 "(stale)\n"},

	{"RSET is refused before the second transaction", 0, 2,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 250-x\n"
	 "S: 250 PIPELINING\n"
	 "C: MAIL FROM:<a@from.example>\n"
	 "C: RCPT TO:<r0@to.example>\n"
	 "C: RCPT TO:<r1@to.example>\n"
	 "C: DATA\n"
	 "S: 250 ok\n"
	 "S: 250 ok\n"
	 "S: 452 4.5.3 one is enough\n"
	 "S: 354 go\n"
	 "[body]\n"
	 "C: .\n"
	 "S: 554 5.7.1 spam\n"
	 "C: RSET\n"
	 "C: MAIL FROM:<a@from.example>\n"
	 "C: RCPT TO:<r1@to.example>\n"
	 "C: DATA\n"
	 "S: 500 what?\n"
	 "= r0: failed reply end of data 554 554 5.7.1 spam\n"
	 "= r1: deferred reply MAIL FROM 500 500 what?\n"},

	{"a refusal before the dot is about its own recipients", EARLY, 2,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 250 x\n"
	 "C: MAIL FROM:<a@from.example>\n"
	 "S: 250 ok\n"
	 "C: RCPT TO:<r0@to.example>\n"
	 "S: 250 ok\n"
	 "C: RCPT TO:<r1@to.example>\n"
	 "S: 452 4.5.3 one is enough\n"
	 "C: DATA\n"
	 "S: 354 go\n"
	 "S: 554 5.7.1 not for him\n"
	 "= r0: failed reply end of data 554 554 5.7.1 not for him\n"
	 "= r1: deferred connection-lost RCPT TO 451 -\n"},

	{"a second message needs no RSET behind a good one", TWICE, 1,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 250-x\n"
	 "S: 250 PIPELINING\n"
	 "C: MAIL FROM:<a@from.example>\n"
	 "C: RCPT TO:<r0@to.example>\n"
	 "C: DATA\n"
	 "S: 250 ok\n"
	 "S: 250 ok\n"
	 "S: 354 go\n"
	 "[body]\n"
	 "C: .\n"
	 "S: 250 one\n"
	 "= r0: delivered reply end of data 250 250 one\n"
	 "C: MAIL FROM:<a@from.example>\n"
	 "C: RCPT TO:<r0@to.example>\n"
	 "C: DATA\n"
	 "S: 250 ok\n"
	 "S: 250 ok\n"
	 "S: 354 go\n"
	 "[body]\n"
	 "C: .\n"
	 "S: 250 two\n"
	 "= r0: delivered reply end of data 250 250 two\n"},

	{"a used connection that says 421 is stale", TWICE, 1,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 250 x\n"
	 "C: MAIL FROM:<a@from.example>\n"
	 "S: 550 no\n"
	 "= r0: failed reply MAIL FROM 550 550 no\n"
	 "C: MAIL FROM:<a@from.example>\n"
	 "S: 421 idle for too long\n"
	 "= r0: deferred reply MAIL FROM 421 421 idle for too long (stale)\n"},

	{"a used connection that is closed is stale", TWICE, 1,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 250 x\n"
	 "C: MAIL FROM:<a@from.example>\n"
	 "S: 550 no\n"
	 "= r0: failed reply MAIL FROM 550 550 no\n"
	 "C: MAIL FROM:<a@from.example>\n"
	 "= r0: deferred connection-lost MAIL FROM 451 - (stale)\n"},

	{"DATA refused", 0, 2,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 250 x\n"
	 "C: MAIL FROM:<a@from.example>\n"
	 "S: 250 ok\n"
	 "C: RCPT TO:<r0@to.example>\n"
	 "S: 250 ok\n"
	 "C: RCPT TO:<r1@to.example>\n"
	 "S: 550 no\n"
	 "C: DATA\n"
	 "S: 451 later\n"
	 "= r0: deferred reply DATA 451 451 later\n"
	 "= r1: failed reply RCPT TO 550 550 no\n"},

	{"DATA answered 250 is out of step", 0, 1,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 250 x\n"
	 "C: MAIL FROM:<a@from.example>\n"
	 "S: 250 ok\n"
	 "C: RCPT TO:<r0@to.example>\n"
	 "S: 250 ok\n"
	 "C: DATA\n"
	 "S: 250 ok\n"
	 "= r0: deferred reply-garbled DATA 451 -\n"},

	{"MAIL answered 354 is out of step", 0, 1,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 250 x\n"
	 "C: MAIL FROM:<a@from.example>\n"
	 "S: 354 ok\n"
	 "= r0: deferred reply-garbled MAIL FROM 451 -\n"},

	{"the message is refused for good", 0, 1,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 250 x\n"
	 "C: MAIL FROM:<a@from.example>\n"
	 "S: 250 ok\n"
	 "C: RCPT TO:<r0@to.example>\n"
	 "S: 250 ok\n"
	 "C: DATA\n"
	 "S: 354 go\n"
	 "[body]\n"
	 "C: .\n"
	 "S: 550-5.7.1 spam\n"
	 "S: 550 5.7.1 see https://example\n"
	 "= r0: failed reply end of data 550 550-5.7.1 spam|550 5.7.1 see "
	 "https://example\n"},

	{"a lost reply to the dot is never a delivery", 0, 1,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 250 x\n"
	 "C: MAIL FROM:<a@from.example>\n"
	 "S: 250 ok\n"
	 "C: RCPT TO:<r0@to.example>\n"
	 "S: 250 ok\n"
	 "C: DATA\n"
	 "S: 354 go\n"
	 "[body]\n"
	 "C: .\n"
	 "= r0: deferred connection-lost end of data 451 -\n"},

	{"an unfinished reply to the dot is never a delivery", 0, 1,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 250 x\n"
	 "C: MAIL FROM:<a@from.example>\n"
	 "S: 250 ok\n"
	 "C: RCPT TO:<r0@to.example>\n"
	 "S: 250 ok\n"
	 "C: DATA\n"
	 "S: 354 go\n"
	 "[body]\n"
	 "C: .\n"
	 "S: 250-accepted\n"
	 "= r0: deferred connection-lost end of data 451 -\n"},

	{"garbage behind the dot is never a delivery", 0, 1,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 250 x\n"
	 "C: MAIL FROM:<a@from.example>\n"
	 "S: 250 ok\n"
	 "C: RCPT TO:<r0@to.example>\n"
	 "S: 250 ok\n"
	 "C: DATA\n"
	 "S: 354 go\n"
	 "[body]\n"
	 "C: .\n"
	 "S: OK\n"
	 "= r0: deferred reply-garbled end of data 451 -\n"},

	{"a refusal before the dot counts", EARLY, 1,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 250 x\n"
	 "C: MAIL FROM:<a@from.example>\n"
	 "S: 250 ok\n"
	 "C: RCPT TO:<r0@to.example>\n"
	 "S: 250 ok\n"
	 "C: DATA\n"
	 "S: 354 go\n"
	 "S: 552 5.3.4 too big\n"
	 "= r0: failed reply end of data 552 552 5.3.4 too big\n"},

	{"an acceptance before the dot is not believed", EARLY, 1,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 250 x\n"
	 "C: MAIL FROM:<a@from.example>\n"
	 "S: 250 ok\n"
	 "C: RCPT TO:<r0@to.example>\n"
	 "S: 250 ok\n"
	 "C: DATA\n"
	 "S: 354 go\n"
	 "S: 250 ok\n"
	 "= r0: deferred reply-garbled end of data 451 -\n"},

	{"421 in the middle", 0, 3,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 250-x\n"
	 "S: 250 PIPELINING\n"
	 "C: MAIL FROM:<a@from.example>\n"
	 "C: RCPT TO:<r0@to.example>\n"
	 "C: RCPT TO:<r1@to.example>\n"
	 "C: RCPT TO:<r2@to.example>\n"
	 "C: DATA\n"
	 "S: 250 ok\n"
	 "S: 550 no\n"
	 "S: 421 4.3.2 closing\n"
	 "= r0: failed reply RCPT TO 550 550 no\n"
	 "= r1: deferred reply RCPT TO 421 421 4.3.2 closing\n"
	 "= r2: deferred reply RCPT TO 421 421 4.3.2 closing\n"},

	{"closed in the middle", 0, 2,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 250-x\n"
	 "S: 250 PIPELINING\n"
	 "C: MAIL FROM:<a@from.example>\n"
	 "C: RCPT TO:<r0@to.example>\n"
	 "C: RCPT TO:<r1@to.example>\n"
	 "C: DATA\n"
	 "S: 250 ok\n"
	 "S: 550 no\n"
	 "= r0: failed reply RCPT TO 550 550 no\n"
	 "= r1: deferred connection-lost RCPT TO 451 -\n"},

	{"452 too many: the rest follows in a transaction of its own", 0, 5,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 250-x\n"
	 "S: 250 PIPELINING\n"
	 "C: MAIL FROM:<a@from.example>\n"
	 "C: RCPT TO:<r0@to.example>\n"
	 "C: RCPT TO:<r1@to.example>\n"
	 "C: RCPT TO:<r2@to.example>\n"
	 "C: RCPT TO:<r3@to.example>\n"
	 "C: RCPT TO:<r4@to.example>\n"
	 "C: DATA\n"
	 "S: 250 ok\n"
	 "S: 250 ok\n"
	 "S: 250 ok\n"
	 "S: 452 4.5.3 too many\n"
	 "S: 452 4.5.3 too many\n"
	 "S: 552 too many\n"
	 "S: 354 go\n"
	 "[body]\n"
	 "C: .\n"
	 "S: 250 one\n"
	 "C: MAIL FROM:<a@from.example>\n"
	 "C: RCPT TO:<r2@to.example>\n"
	 "C: RCPT TO:<r3@to.example>\n"
	 "C: DATA\n"
	 "S: 250 ok\n"
	 "S: 250 ok\n"
	 "S: 250 ok\n"
	 "S: 354 go\n"
	 "[body]\n"
	 "C: .\n"
	 "S: 250 two\n"
	 "C: MAIL FROM:<a@from.example>\n"
	 "C: RCPT TO:<r4@to.example>\n"
	 "C: DATA\n"
	 "S: 250 ok\n"
	 "S: 452 4.5.3 still too many\n"
	 "S: 503 no\n"
	 "= r0: delivered reply end of data 250 250 one\n"
	 "= r1: delivered reply end of data 250 250 one\n"
	 "= r2: delivered reply end of data 250 250 two\n"
	 "= r3: delivered reply end of data 250 250 two\n"
	 "= r4: deferred reply RCPT TO 452 452 4.5.3 still too many\n"},

	{"552 5.5.3 for the first is temporary, 452 4.2.2 is a full mailbox", 0,
	 3,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 250-x\n"
	 "S: 250 PIPELINING\n"
	 "C: MAIL FROM:<a@from.example>\n"
	 "C: RCPT TO:<r0@to.example>\n"
	 "C: RCPT TO:<r1@to.example>\n"
	 "C: RCPT TO:<r2@to.example>\n"
	 "C: DATA\n"
	 "S: 250 ok\n"
	 "S: 552 5.5.3 too many\n"
	 "S: 250 ok\n"
	 "S: 452 4.2.2 full\n"
	 "S: 354 go\n"
	 "[body]\n"
	 "C: .\n"
	 "S: 250 ok\n"
	 "= r0: deferred reply RCPT TO 552 552 5.5.3 too many\n"
	 "= r1: delivered reply end of data 250 250 ok\n"
	 "= r2: deferred reply RCPT TO 452 452 4.2.2 full\n"},

	{"8-bit text has no way into a 7-bit server", EIGHT_BIT, 1,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 250 x\n"
	 "= r0: failed no-8bitmime MAIL FROM 554 -\n"},

	{"UTF-8 addresses have no way into an ASCII server", UTF8, 1,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 250-x\n"
	 "S: 250 8BITMIME\n"
	 "= r0: failed no-smtputf8 MAIL FROM 553 -\n"},

	{"SIZE is looked at before the message is sent", QUIT, 1,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 250-x\n"
	 "S: 250 SIZE 999\n"
	 "C: QUIT\n"
	 "S: 221 bye\n"
	 "= r0: failed too-big MAIL FROM 552 -\n"},

	{"STARTTLS where it is offered, EHLO again behind it", TLS_MAY, 1,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 250-x\n"
	 "S: 250-PIPELINING\n"
	 "S: 250 STARTTLS\n"
	 "C: STARTTLS\n"
	 "S: 220 go\n"
	 "[tls]\n"
	 "C: EHLO me.example\n"
	 "S: 250-x\n"
	 "S: 250 STARTTLS\n"
	 "C: MAIL FROM:<a@from.example>\n"
	 "S: 550 no\n"
	 "= r0: failed reply MAIL FROM 550 550 no\n"},

	{"STARTTLS refused, opportunistic: on in the clear", TLS_MAY, 1,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 250-x\n"
	 "S: 250 STARTTLS\n"
	 "C: STARTTLS\n"
	 "S: 454 not now\n"
	 "C: MAIL FROM:<a@from.example>\n"
	 "S: 550 no\n"
	 "= r0: failed reply MAIL FROM 550 550 no\n"},

	{"STARTTLS refused, required", TLS_MUST, 1,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 250-x\n"
	 "S: 250 STARTTLS\n"
	 "C: STARTTLS\n"
	 "S: 454 not now\n"
	 "! deferred tls-required STARTTLS 451 -\n"},

	{"STARTTLS not offered, required", TLS_MUST, 1,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 250 x\n"
	 "! deferred tls-required STARTTLS 451 -\n"},

	{"STARTTLS not used where the route says none", 0, 1,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 250-x\n"
	 "S: 250 STARTTLS\n"
	 "C: MAIL FROM:<a@from.example>\n"
	 "S: 550 no\n"
	 "= r0: failed reply MAIL FROM 550 550 no\n"},

	{"a login with a challenge", LOGIN, 1,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 250-x\n"
	 "S: 250-AUTH PLAIN SCRAM-SHA-256\n"
	 "S: 250 AUTH=LOGIN\n"
	 "[login PLAIN SCRAM-SHA-256 LOGIN]\n"
	 "C: AUTH X-TEST aW5pdA==\n"
	 "S: 334 Y2hhbGxlbmdl\n"
	 "[step Y2hhbGxlbmdl]\n"
	 "C: YW5zd2Vy\n"
	 "S: 235 2.7.0 welcome\n"
	 "C: MAIL FROM:<a@from.example>\n"
	 "S: 550 no\n"
	 "= r0: failed reply MAIL FROM 550 550 no\n"},

	{"a refused login defers and is our own fault", LOGIN, 1,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 250-x\n"
	 "S: 250 AUTH PLAIN\n"
	 "[login PLAIN]\n"
	 "C: AUTH X-TEST aW5pdA==\n"
	 "S: 535 5.7.8 wrong\n"
	 "! deferred auth-failed AUTH 535 535 5.7.8 wrong (own)\n"},

	{"a login that fails for now", LOGIN, 1,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 250-x\n"
	 "S: 250 AUTH PLAIN\n"
	 "[login PLAIN]\n"
	 "C: AUTH X-TEST aW5pdA==\n"
	 "S: 454 4.7.0 later\n"
	 "! deferred reply AUTH 454 454 4.7.0 later\n"},

	{"no AUTH offered", LOGIN, 1,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 250 x\n"
	 "! deferred auth-not-offered AUTH 451 - (own)\n"},

	{"LMTP: a reply for each accepted recipient", LMTP, 4,
	 "S: 220 x\n"
	 "C: LHLO me.example\n"
	 "S: 250-x\n"
	 "S: 250 PIPELINING\n"
	 "C: MAIL FROM:<a@from.example>\n"
	 "C: RCPT TO:<r0@to.example>\n"
	 "C: RCPT TO:<r1@to.example>\n"
	 "C: RCPT TO:<r2@to.example>\n"
	 "C: RCPT TO:<r3@to.example>\n"
	 "C: DATA\n"
	 "S: 250 ok\n"
	 "S: 250 ok\n"
	 "S: 550 5.1.1 unknown\n"
	 "S: 250 ok\n"
	 "S: 250 ok\n"
	 "S: 354 go\n"
	 "[body]\n"
	 "C: .\n"
	 "S: 250 2.0.0 saved\n"
	 "S: 552 5.2.2 full\n"
	 "S: 452 4.2.2 nearly full\n"
	 "= r0: delivered reply end of data 250 250 2.0.0 saved\n"
	 "= r1: failed reply RCPT TO 550 550 5.1.1 unknown\n"
	 "= r2: failed reply end of data 552 552 5.2.2 full\n"
	 "= r3: deferred reply end of data 452 452 4.2.2 nearly full\n"},

	{"LMTP: closed between the replies", LMTP, 2,
	 "S: 220 x\n"
	 "C: LHLO me.example\n"
	 "S: 250 x\n"
	 "C: MAIL FROM:<a@from.example>\n"
	 "S: 250 ok\n"
	 "C: RCPT TO:<r0@to.example>\n"
	 "S: 250 ok\n"
	 "C: RCPT TO:<r1@to.example>\n"
	 "S: 250 ok\n"
	 "C: DATA\n"
	 "S: 354 go\n"
	 "[body]\n"
	 "C: .\n"
	 "S: 250 2.0.0 saved\n"
	 "= r0: delivered reply end of data 250 250 2.0.0 saved\n"
	 "= r1: deferred connection-lost end of data 451 -\n"},

	{"LMTP knows no HELO", LMTP, 1,
	 "S: 220 x\n"
	 "C: LHLO me.example\n"
	 "S: 500 what?\n"
	 "! failed reply EHLO 500 500 what?\n"},
};

/* ------------------------------------------------------------ the driver */

#define CHUNKING                                                               \
	"S: 220 x\n"                                                           \
	"C: EHLO me.example\n"                                                 \
	"S: 250-x\n"                                                           \
	"S: 250 CHUNKING\n"
#define CHUNKING_PIPELINED                                                     \
	"S: 220 x\n"                                                           \
	"C: EHLO me.example\n"                                                 \
	"S: 250-x\n"                                                           \
	"S: 250-CHUNKING\n"                                                    \
	"S: 250 PIPELINING\n"
#define ONE_BY_ONE                                                             \
	"C: MAIL FROM:<a@from.example>\n"                                      \
	"S: 250 ok\n"                                                          \
	"C: RCPT TO:<r0@to.example>\n"                                         \
	"S: 250 ok\n"
#define TOGETHER                                                               \
	"C: MAIL FROM:<a@from.example>\n"                                      \
	"C: RCPT TO:<r0@to.example>\n"                                         \
	"S: 250 ok\n"                                                          \
	"S: 250 ok\n"

static const struct {
	const char *name;
	unsigned flags;
	size_t recipients;
	const char *transcript;
} chunks[] = {
	{"one chunk, twice", TWICE, 1,
	 CHUNKING ONE_BY_ONE
	 "C: BDAT 1000 LAST\n"
	 "S: 250 2.0.0 one\n"
	 "= r0: delivered reply end of data 250 250 2.0.0 one\n" ONE_BY_ONE
	 "C: BDAT 1000 LAST\n"
	 "S: 250 2.0.0 two\n"
	 "= r0: delivered reply end of data 250 250 2.0.0 two\n"},

	{"envelope together, then the chunk", 0, 1,
	 CHUNKING_PIPELINED TOGETHER
	 "C: BDAT 1000 LAST\n"
	 "S: 250 ok\n"
	 "= r0: delivered reply end of data 250 250 ok\n"},

	{"nobody taken: no chunk", 0, 1,
	 CHUNKING_PIPELINED "C: MAIL FROM:<a@from.example>\n"
			    "C: RCPT TO:<r0@to.example>\n"
			    "S: 250 ok\n"
			    "S: 550 no\n"
			    "= r0: failed reply RCPT TO 550 550 no\n"},

	{"one chunk at a time where there is no pipelining", PIECES, 1,
	 CHUNKING ONE_BY_ONE
	 "C: BDAT 500\n"
	 "S: 250 one\n"
	 "C: BDAT 500\n"
	 "S: 250 two\n"
	 "C: BDAT 0 LAST\n"
	 "S: 250 three\n"
	 "= r0: delivered reply end of data 250 250 three\n"},

	{"all chunks at once", PIECES, 1,
	 CHUNKING_PIPELINED TOGETHER
	 "C: BDAT 500\n"
	 "C: BDAT 500\n"
	 "C: BDAT 0 LAST\n"
	 "S: 250 one\n"
	 "S: 250 two\n"
	 "S: 250 three\n"
	 "= r0: delivered reply end of data 250 250 three\n"},

	{"the last chunk is refused: RSET on reuse", TWICE, 1,
	 CHUNKING ONE_BY_ONE
	 "C: BDAT 1000 LAST\n"
	 "S: 452 4.3.1 full\n"
	 "= r0: deferred reply end of data 452 452 4.3.1 full\n"
	 "C: RSET\n"
	 "S: 250 ok\n" ONE_BY_ONE "C: BDAT 1000 LAST\n"
	 "S: 554 5.7.1 spam\n"
	 "= r0: failed reply end of data 554 554 5.7.1 spam\n"},

	{"a chunk is refused: no more of them, RSET on reuse", PIECES | TWICE,
	 1,
	 CHUNKING ONE_BY_ONE
	 "C: BDAT 500\n"
	 "S: 250 one\n"
	 "C: BDAT 500\n"
	 "S: 552 5.3.4 too big\n"
	 "= r0: failed reply end of data 552 552 5.3.4 too big\n"
	 "C: RSET\n"
	 "S: 250 ok\n" ONE_BY_ONE "C: BDAT 500\n"
	 "S: 250 one\n"
	 "C: BDAT 500\n"
	 "S: 250 two\n"
	 "C: BDAT 0 LAST\n"
	 "S: 250 three\n"
	 "= r0: delivered reply end of data 250 250 three\n"},

	{"a chunk is refused while others are under way: the end", PIECES, 1,
	 CHUNKING_PIPELINED TOGETHER
	 "C: BDAT 500\n"
	 "C: BDAT 500\n"
	 "C: BDAT 0 LAST\n"
	 "S: 250 one\n"
	 "S: 452 4.3.1 full\n"
	 "= r0: deferred reply end of data 452 452 4.3.1 full\n"},

	{"a refused chunk is about its own recipients", PIECES, 2,
	 CHUNKING_PIPELINED "C: MAIL FROM:<a@from.example>\n"
			    "C: RCPT TO:<r0@to.example>\n"
			    "C: RCPT TO:<r1@to.example>\n"
			    "S: 250 ok\n"
			    "S: 250 ok\n"
			    "S: 452 4.5.3 one is enough\n"
			    "C: BDAT 500\n"
			    "C: BDAT 500\n"
			    "C: BDAT 0 LAST\n"
			    "S: 250 one\n"
			    "S: 552 5.2.2 his mailbox is full\n"
			    "= r0: failed reply end of data 552 552 5.2.2 his "
			    "mailbox is full\n"
			    "= r1: deferred connection-lost RCPT TO 451 -\n"},

	{"a server that offers chunks and does not know them", 0, 1,
	 CHUNKING_PIPELINED TOGETHER
	 "C: BDAT 1000 LAST\n"
	 "S: 502 5.5.1 what?\n"
	 "= r0: failed reply end of data 502 502 5.5.1 what? (chunkless)\n"},

	{"a server that knew them before", PIECES, 1,
	 CHUNKING ONE_BY_ONE "C: BDAT 500\n"
			     "S: 250 one\n"
			     "C: BDAT 500\n"
			     "S: 500 what?\n"
			     "= r0: failed reply end of data 500 500 what?\n"},

	{"421 instead of a chunk's reply", PIECES, 1,
	 CHUNKING ONE_BY_ONE
	 "C: BDAT 500\n"
	 "S: 421 4.3.2 going down\n"
	 "= r0: deferred reply DATA 421 421 4.3.2 going down\n"},

	{"354 to a chunk", 0, 1,
	 CHUNKING ONE_BY_ONE
	 "C: BDAT 1000 LAST\n"
	 "S: 354 go\n"
	 "= r0: deferred reply-garbled end of data 451 -\n"},

	{"the last reply is lost", PIECES, 1,
	 CHUNKING_PIPELINED TOGETHER
	 "C: BDAT 500\n"
	 "C: BDAT 500\n"
	 "C: BDAT 0 LAST\n"
	 "S: 250 one\n"
	 "S: 250 two\n"
	 "= r0: deferred connection-lost end of data 451 -\n"},

	{"a reply too many, before the first chunk", EARLY, 1,
	 CHUNKING ONE_BY_ONE
	 "S: 250 done already\n"
	 "= r0: deferred reply-garbled end of data 451 -\n"},

	{"LMTP has no chunks", LMTP, 1,
	 "S: 220 x\n"
	 "C: LHLO me.example\n"
	 "S: 250-x\n"
	 "S: 250 CHUNKING\n" ONE_BY_ONE "C: DATA\n"
	 "S: 354 go\n"
	 "[body]\n"
	 "C: .\n"
	 "S: 250 ok\n"
	 "= r0: delivered reply end of data 250 250 ok\n"},
};

static const char *const kinds[] = {"delivered", "deferred", "failed"};

struct run {
	struct smtp_client *client;
	struct buf log;
	unsigned flags;
	const struct envelope *envelope;
	size_t indexes[512];
	unsigned sent;	 /* messages */
	bool has_result; /* of the message sent last, in the log */
	unsigned bodies; /* as the client counts them */
	unsigned pieces; /* of the present one, sent in chunks */
	size_t column;	 /* of the server's line that is being logged */
};

static void
log_out(struct run *run)
{
	struct buf *out = smtp_client_out(run->client);

	while (buf_len(out) != 0) {
		const char *at = (const char *)buf_bytes(out);
		const char *end = memchr(at, '\n', buf_len(out));

		ck_assert_ptr_nonnull(end);
		ck_assert_int_eq(end[-1], '\r');
		(void)buf_addf(&run->log, "C: %.*s\n", (int)(end - at - 1), at);
		buf_consume(out, (size_t)(end - at) + 1);
	}
}

static void
log_result(struct run *run, const struct smtp_result *result)
{
	char reply[1000] = "-";

	ck_assert_ptr_nonnull(result);
	if (result->reply != NULL)
		(void)snprintf(reply, sizeof(reply), "%s", result->reply);
	for (char *c = reply; *c != '\0'; c++)
		if (*c == '\n')
			*c = '|';
	(void)buf_addf(&run->log, "%s %s %s %u %s%s%s", kinds[result->kind],
		       cause_name(result->cause),
		       smtp_phase_name(result->phase), result->status.code,
		       reply, result->is_own_fault ? " (own)" : "",
		       result->has_dsn ? " (dsn)" : "");
}

static void
log_results(struct run *run)
{
	run->has_result = true;
	for (size_t i = 0; i < run->envelope->recipient_count; i++) {
		(void)buf_addf(&run->log, "= r%zu: ", i);
		log_result(run, smtp_client_result(run->client, i));
		(void)buf_addf(&run->log, "%s%s\n",
			       smtp_client_is_stale(run->client) ? " (stale)"
								 : "",
			       smtp_client_has_refused_chunks(run->client)
				       ? " (chunkless)"
				       : "");
	}
}

static void
serve_chunk(struct run *run)
{
	static const size_t pieces[] = {500, 500, 0};

	if (run->bodies != smtp_client_bodies(run->client)) {
		run->bodies = smtp_client_bodies(run->client);
		run->pieces = 0;
	}
	if ((run->flags & PIECES) == 0) {
		smtp_client_chunk(run->client, 1000, true);
		return;
	}
	smtp_client_chunk(run->client, pieces[run->pieces],
			  run->pieces + 1 == COUNT(pieces));
	run->pieces++;
}

/* Gives the client what it wants; false when it wants the server's bytes or
 * nothing more. */
static bool
serve(struct run *run)
{
	struct smtp_client_message message = {
		.envelope = run->envelope,
		.recipients = run->indexes,
		.count = run->envelope->recipient_count,
		.is_probe = (run->flags & PROBE) != 0,
	};
	unsigned messages = (run->flags & TWICE) != 0 ? 2 : 1;

	log_out(run);
	switch (smtp_client_want(run->client)) {
	case CLIENT_WANTS_REPLY:
		return false;
	case CLIENT_WANTS_TLS:
		(void)buf_adds(&run->log, "[tls]\n");
		smtp_client_secured(run->client);
		return true;
	case CLIENT_WANTS_LOGIN:
		(void)buf_addf(&run->log, "[login %s]\n",
			       smtp_client_caps(run->client)->mechanisms);
		smtp_client_login(run->client, "X-TEST", "aW5pdA==");
		return true;
	case CLIENT_WANTS_STEP:
		(void)buf_addf(&run->log, "[step %s]\n",
			       smtp_client_challenge(run->client));
		smtp_client_login_step(run->client, "YW5zd2Vy");
		return true;
	case CLIENT_WANTS_MESSAGE:
		if (run->sent == 1 && messages == 2)
			log_results(run);
		if (run->sent < messages) {
			run->sent++;
			run->has_result = false;
			smtp_client_send(run->client, &message);
			return true;
		}
		if ((run->flags & QUIT) == 0)
			return false;
		run->flags &= ~(unsigned)QUIT;
		smtp_client_quit(run->client);
		return true;
	case CLIENT_WANTS_BODY:
		if ((run->flags & EARLY) != 0)
			return false;
		if (smtp_client_is_chunked(run->client)) {
			serve_chunk(run);
			return true;
		}
		(void)buf_adds(&run->log, "[body]\n");
		smtp_client_body_sent(run->client, str_of(".\r\n"));
		return true;
	case CLIENT_WANTS_CLOSE:
		return false;
	}
	return false;
}

static void
log_server(struct run *run, const char *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (bytes[i] == '\r')
			continue;
		if (run->column++ == 0)
			(void)buf_adds(&run->log, "S: ");
		(void)buf_add(&run->log, bytes + i, 1);
		if (bytes[i] == '\n')
			run->column = 0;
	}
}

static void
feed(struct run *run, const char *bytes, size_t len)
{
	for (;;) {
		size_t used;

		while (serve(run))
			;
		if (len == 0 ||
		    smtp_client_want(run->client) == CLIENT_WANTS_CLOSE)
			return;
		used = smtp_client_feed(run->client, bytes, len);
		log_server(run, bytes, used);
		if (used == 0)
			return;
		bytes += used;
		len -= used;
	}
}

static void
server_bytes(const char *transcript, struct buf *out)
{
	struct str rest = str_of(transcript), line;

	while (str_cut(&rest, '\n', &line))
		if (str_starts_nocase(line, "S: "))
			(void)buf_addf(out, "%.*s\r\n", (int)line.len - 3,
				       line.at + 3);
}

static void
make_envelope(struct envelope *envelope, unsigned flags, size_t recipients)
{
	static char names[512][40];

	memset(envelope, 0, sizeof(*envelope));
	envelope->sender = (flags & NULL_SENDER) != 0
				   ? (char *)""
				   : (char *)"a@from.example";
	envelope->size = 1000;
	envelope->is_8bit = (flags & EIGHT_BIT) != 0;
	envelope->is_utf8 = (flags & UTF8) != 0;
	envelope->recipient_count = recipients;
	envelope->recipients =
		calloc(recipients, sizeof(*envelope->recipients));
	for (size_t i = 0; i < recipients; i++) {
		(void)snprintf(names[i], sizeof(names[i]), "r%zu@to.example",
			       i);
		envelope->recipients[i].address = names[i];
	}
	if ((flags & DSN) != 0) {
		envelope->ret = 'H';
		envelope->envid = (char *)"QQ1";
		envelope->recipients[0].notify = NOTIFY_SUCCESS | NOTIFY_DELAY;
		envelope->recipients[0].orcpt =
			(char *)"rfc822;r0@orig.example";
	}
}

static void
run_case(unsigned flags, size_t recipients, const char *bytes, size_t len,
	 size_t chunk, struct buf *out_log)
{
	struct smtp_client_opts opts = {
		.hostname = "me.example",
		.is_lmtp = (flags & LMTP) != 0,
		.tls = (flags & TLS_MUST) != 0	? CLIENT_TLS_REQUIRED
		       : (flags & TLS_MAY) != 0 ? CLIENT_TLS_OFFERED
						: CLIENT_TLS_NONE,
		.has_login = (flags & LOGIN) != 0,
	};
	struct envelope envelope;
	struct run run = {.flags = flags, .envelope = &envelope};

	make_envelope(&envelope, flags, recipients);
	for (size_t i = 0; i < recipients; i++)
		run.indexes[i] = i;
	run.client = smtp_client_new(&opts);
	buf_init(&run.log, 1 << 20);
	for (size_t at = 0; at < len; at += chunk) {
		size_t part = len - at < chunk ? len - at : chunk;
		char piece[65536];

		/* a copy of its own, so that the sanitizer sees its end */
		memcpy(piece, bytes + at, part);
		feed(&run, piece, part);
	}
	while (serve(&run))
		;
	if (smtp_client_want(run.client) == CLIENT_WANTS_REPLY ||
	    smtp_client_want(run.client) == CLIENT_WANTS_BODY)
		smtp_client_fail(run.client,
				 (flags & TIMEOUT) != 0 ? CAUSE_REPLY_TIMEOUT
							: CAUSE_CONNECTION_LOST,
				 "%s", "gone");
	if (run.sent != 0) {
		log_results(&run);
	} else {
		(void)buf_adds(&run.log, "! ");
		log_result(&run, smtp_client_failure(run.client));
		(void)buf_adds(&run.log, "\n");
	}
	(void)buf_add(out_log, buf_bytes(&run.log), buf_len(&run.log));
	buf_done(&run.log);
	smtp_client_free(run.client);
	free(envelope.recipients);
}

static void
check_splits(const char *name, unsigned flags, size_t recipients,
	     const char *transcript)
{
	struct buf server, log;

	buf_init(&server, 65536);
	buf_init(&log, 1 << 20);
	server_bytes(transcript, &server);
	for (size_t chunk = 1; chunk <= buf_len(&server) + 1; chunk++) {
		run_case(flags, recipients, (const char *)buf_bytes(&server),
			 buf_len(&server), chunk, &log);
		ck_assert_msg(strcmp(buf_text(&log), transcript) == 0,
			      "%s, in pieces of %zu:\n%s", name, chunk,
			      buf_text(&log));
		buf_clear(&log);
	}
	buf_done(&server);
	buf_done(&log);
}

START_TEST(a_conversation_is_the_same_at_every_split)
{
	check_splits(cases[_i].name, cases[_i].flags, cases[_i].recipients,
		     cases[_i].transcript);
}
END_TEST

START_TEST(chunks_are_the_same_at_every_split)
{
	check_splits(chunks[_i].name, chunks[_i].flags, chunks[_i].recipients,
		     chunks[_i].transcript);
}
END_TEST

static unsigned
count_lines(const char *text, const char *start)
{
	struct str rest = str_of(text), line;
	unsigned count = 0;

	while (str_cut(&rest, '\n', &line))
		count += str_starts_nocase(line, start);
	return count;
}

/* Is there a 2xx for the dot, or for each chunk and the last one too? */
static bool
is_end_answered(const char *log)
{
	const char *chunk = strstr(log, "C: BDAT");

	if (chunk == NULL)
		return strstr(log, "[body]\nC: .\nS: 2") != NULL;
	return strstr(chunk, " LAST\n") != NULL &&
	       count_lines(chunk, "S: 2") >= count_lines(chunk, "C: BDAT");
}

static void
check_ends(unsigned flags, size_t recipients, const char *transcript)
{
	struct buf server, log;

	buf_init(&server, 65536);
	buf_init(&log, 1 << 20);
	server_bytes(transcript, &server);
	for (size_t len = 0; len < buf_len(&server); len++) {
		run_case(flags & ~(unsigned)TWICE, recipients,
			 (const char *)buf_bytes(&server), len, 1000, &log);
		/* of a probe the word means RCPT */
		if ((flags & PROBE) == 0 && !is_end_answered(buf_text(&log)))
			ck_assert_ptr_null(
				strstr(buf_text(&log), ": delivered"));
		buf_clear(&log);
	}
	buf_done(&server);
	buf_done(&log);
}

/* Wherever the server's bytes end, nobody is called delivered without a
 * whole 2xx behind the dot or the last chunk, and everybody has a result. */
START_TEST(a_conversation_may_end_anywhere)
{
	check_ends(cases[_i].flags, cases[_i].recipients, cases[_i].transcript);
}
END_TEST

START_TEST(chunks_may_end_anywhere)
{
	check_ends(chunks[_i].flags, chunks[_i].recipients,
		   chunks[_i].transcript);
}
END_TEST

START_TEST(more_than_a_hundred_recipients_go_in_several_transactions)
{
	struct buf server, log;
	unsigned delivered = 0, bodies = 0;

	buf_init(&server, 65536);
	buf_init(&log, 1 << 20);
	(void)buf_adds(&server, "220 x\r\n250-x\r\n250 PIPELINING\r\n");
	for (size_t batch = 0; batch < 3; batch++) {
		(void)buf_adds(&server, "250 ok\r\n");
		for (size_t i = 0; i < (batch < 2 ? 100 : 50); i++)
			(void)buf_adds(&server, "250 ok\r\n");
		(void)buf_adds(&server, "354 go\r\n250 ok\r\n");
	}
	run_case(0, 250, (const char *)buf_bytes(&server), buf_len(&server),
		 65536, &log);
	for (const char *at = buf_text(&log);; at++) {
		at = strstr(at, ": delivered");
		if (at == NULL)
			break;
		delivered++;
	}
	for (const char *at = buf_text(&log);; at++) {
		at = strstr(at, "[body]");
		if (at == NULL)
			break;
		bodies++;
	}
	ck_assert_uint_eq(delivered, 250);
	ck_assert_uint_eq(bodies, 3);
	buf_done(&server);
	buf_done(&log);
}
END_TEST

START_TEST(initial_data_that_is_too_long_follows_the_challenge)
{
	struct smtp_client_opts opts = {.hostname = "me.example",
					.has_login = true};
	struct smtp_client *client = smtp_client_new(&opts);
	char data[601];

	memset(data, 'A', 600);
	data[600] = '\0';
	(void)smtp_client_feed(client, "220 x\r\n", 7);
	(void)smtp_client_feed(client, "250-x\r\n250 AUTH XOAUTH2\r\n", 25);
	ck_assert_int_eq((int)smtp_client_want(client), CLIENT_WANTS_LOGIN);
	buf_clear(smtp_client_out(client));
	smtp_client_login(client, "XOAUTH2", data);
	ck_assert_str_eq(buf_text(smtp_client_out(client)), "AUTH XOAUTH2\r\n");
	buf_clear(smtp_client_out(client));
	(void)smtp_client_feed(client, "334 \r\n", 6);
	ck_assert_uint_eq(buf_len(smtp_client_out(client)), 602);
	ck_assert_int_eq((int)smtp_client_want(client), CLIENT_WANTS_REPLY);
	(void)smtp_client_feed(client, "235 ok\r\n", 8);
	ck_assert(smtp_client_is_logged_in(client));
	smtp_client_free(client);
}
END_TEST

START_TEST(a_login_without_end_is_given_up)
{
	struct smtp_client_opts opts = {.hostname = "me.example",
					.has_login = true};
	struct smtp_client *client = smtp_client_new(&opts);
	size_t steps = 0;

	(void)smtp_client_feed(client, "220 x\r\n", 7);
	(void)smtp_client_feed(client, "250-x\r\n250 AUTH XOAUTH2\r\n", 25);
	smtp_client_login(client, "XOAUTH2", "A");
	(void)smtp_client_feed(client, "334 \r\n", 6);
	for (; smtp_client_want(client) == CLIENT_WANTS_STEP; steps++) {
		ck_assert_uint_lt(steps, 100);
		smtp_client_login_step(client, "");
		(void)smtp_client_feed(client, "334 \r\n", 6);
	}
	ck_assert_uint_ge(steps, 8);
	ck_assert_int_eq((int)smtp_client_want(client), CLIENT_WANTS_CLOSE);
	ck_assert_int_eq((int)smtp_client_failure(client)->cause,
			 CAUSE_AUTH_FAILED);
	smtp_client_free(client);
}
END_TEST

START_TEST(an_address_that_would_break_the_line_is_not_sent)
{
	struct smtp_client_opts opts = {.hostname = "me.example"};
	struct smtp_client *client = smtp_client_new(&opts);
	struct envelope envelope;
	size_t index = 0;
	struct smtp_client_message message = {.envelope = &envelope,
					      .recipients = &index,
					      .count = 1};

	make_envelope(&envelope, 0, 1);
	envelope.recipients[0].address = (char *)"a@b\r\nRSET";
	(void)smtp_client_feed(client, "220 x\r\n", 7);
	(void)smtp_client_feed(client, "250 x\r\n", 7);
	buf_clear(smtp_client_out(client));
	smtp_client_send(client, &message);
	ck_assert_uint_eq(buf_len(smtp_client_out(client)), 0);
	ck_assert_int_eq((int)smtp_client_result(client, 0)->cause,
			 CAUSE_SPOOL);
	ck_assert_int_eq((int)smtp_client_want(client), CLIENT_WANTS_MESSAGE);
	smtp_client_free(client);
	free(envelope.recipients);
}
END_TEST

START_TEST(random_servers_never_break_it)
{
	static const char *const lines[] = {
		"220 x\r\n",
		"250 ok\r\n",
		"250-x\r\n250 PIPELINING\r\n",
		"354 go\r\n",
		"550 no\r\n",
		"452 4.5.3 many\r\n",
		"552 many\r\n",
		"421 bye\r\n",
		"250-x\r\n250 STARTTLS\r\n",
		"334 eA==\r\n",
		"235 ok\r\n",
		"250-x\r\n250 AUTH PLAIN\r\n",
		"garbage\r\n",
		"250-part\r\n",
		"503 order\r\n",
		"250-x\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 DSN\r\n",
		"250-x\r\n250-PIPELINING\r\n250 CHUNKING\r\n"};
	uint32_t seed = 7;

	for (unsigned round = 0; round < 20000; round++) {
		struct buf server, log;
		unsigned flags;

		buf_init(&server, 65536);
		buf_init(&log, 1 << 20);
		(void)buf_adds(&server, "220 x\r\n");
		for (unsigned i = 0; i < 24; i++) {
			seed = seed * 1664525u + 1013904223u;
			/* mostly what leads deep into a transaction */
			(void)buf_adds(
				&server,
				lines[(seed >> 28) < 9
					      ? 1 + (seed >> 24) % 3
					      : (seed >> 24) % COUNT(lines)]);
		}
		flags = (seed >> 8) % 8192 & ~(unsigned)EARLY;
		run_case(flags, 1 + round % 5, (const char *)buf_bytes(&server),
			 buf_len(&server), 1 + round % 50, &log);
		if (strstr(buf_text(&log), "[body]") == NULL &&
		    strstr(buf_text(&log), " LAST\n") == NULL)
			ck_assert_ptr_null(
				strstr(buf_text(&log), ": delivered"));
		buf_done(&server);
		buf_done(&log);
	}
}
END_TEST

UNIT_MAIN(
	"smtp_client",
	tcase_add_loop_test(tc, a_conversation_is_the_same_at_every_split, 0,
			    (int)COUNT(cases));
	tcase_add_loop_test(tc, a_conversation_may_end_anywhere, 0,
			    (int)COUNT(cases));
	tcase_add_loop_test(tc, chunks_are_the_same_at_every_split, 0,
			    (int)COUNT(chunks));
	tcase_add_loop_test(tc, chunks_may_end_anywhere, 0, (int)COUNT(chunks));
	tcase_add_test(
		tc, more_than_a_hundred_recipients_go_in_several_transactions);
	tcase_add_test(tc, initial_data_that_is_too_long_follows_the_challenge);
	tcase_add_test(tc, a_login_without_end_is_given_up);
	tcase_add_test(tc, an_address_that_would_break_the_line_is_not_sent);
	tcase_add_test(tc, random_servers_never_break_it);)
