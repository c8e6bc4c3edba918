/* SPDX-License-Identifier: ISC */
/* One message on a connection: its transactions, with DATA and in chunks. */
#include "tests/unit/smtp_transcript.h"

static const struct transcript cases[] = {
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
};

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

static const struct transcript chunks[] = {
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

START_TEST(a_message_is_the_same_at_every_split)
{
	check_splits(&cases[_i]);
}
END_TEST

START_TEST(a_message_may_end_anywhere)
{
	check_ends(&cases[_i]);
}
END_TEST

START_TEST(chunks_are_the_same_at_every_split)
{
	check_splits(&chunks[_i]);
}
END_TEST

START_TEST(chunks_may_end_anywhere)
{
	check_ends(&chunks[_i]);
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

UNIT_MAIN("smtp_transaction",
	  tcase_add_loop_test(tc, a_message_is_the_same_at_every_split, 0,
			      (int)COUNT(cases));
	  tcase_add_loop_test(tc, a_message_may_end_anywhere, 0,
			      (int)COUNT(cases));
	  tcase_add_loop_test(tc, chunks_are_the_same_at_every_split, 0,
			      (int)COUNT(chunks));
	  tcase_add_loop_test(tc, chunks_may_end_anywhere, 0,
			      (int)COUNT(chunks));
	  tcase_add_test(
		  tc,
		  more_than_a_hundred_recipients_go_in_several_transactions);
	  tcase_add_test(tc, an_address_that_would_break_the_line_is_not_sent);)
