# SPDX-License-Identifier: ISC
"""The front door beside Postfix's: the same octets to both, and what each
answers, code and enhanced code.

A row is what is said and the reply of both, or what is said, our reply,
Postfix's, and why ours is another. Where one row says more than one line, the
replies stand in their order; "-" is a connection that ends without one. Text
is a line, octets go as they are."""

import collections
import re
import subprocess

import pytest

from lab.base import end_process, free_port, loopback, wait_for
from lab.need import need_program, need_root
from lab.peers import Postfix
from lab.talk import Closed, Talk

M = "MAIL FROM:<a@else.example>"
R = "RCPT TO:<bob@sink.example>"
LINE = b"y" * 70 + b"\r\n"

#: door: which port, and how far one has come there; first: said once a
#: connection, before: said ahead of each row, both with success.
Dialogue = collections.namedtuple("Dialogue", "name door first before rows")

DIALOGUES = [
    Dialogue("before EHLO", "mx", (), (), [
        (M, "503 5.5.1"),
        (R, "503 5.5.1"),
        ("DATA", "503 5.5.1"),
        ("BDAT 0 LAST", "503 5.5.1"),
        ("NOOP", "250 2.0.0"),
        ("RSET", "250 2.0.0"),
        ("HELP", "214 2.0.0", "500 5.5.2", "HELP is told (RFC 5321, 4.1.1.8)"),
        ("VRFY bob", "252 2.5.0", "550 5.1.1",
         "who is here is not told, nor by a difference"),
        ("STARTTLS now", "501 5.5.4"),
        ("AUTH PLAIN AA==", "502 5.5.1", "503 5.5.1",
         "no login is offered at this door"),
        ("QUIT", "221 2.0.0"),
    ]),
    Dialogue("names", "mx", (), (), [
        ("EHLO [127.0.0.1]", "250"),
        ("EHLO [IPv6:2001:db8::1]", "250"),
        ("EHLO under_score", "250"),
        ("EHLO -x", "250"),
        ("EHLO x..y", "250"),
        ("EHLO ünï.example", "250"),
        ("EHLO 127.0.0.1", "250"),
        ("EHLO", "501 5.5.4", "501",
         "an enhanced code comes with it (RFC 2034)"),
        ("EHLO a b", "501 5.5.4", "250", "one name and no more"),
        ("HELO", "501 5.5.4", "501",
         "an enhanced code comes with it (RFC 2034)"),
        ("HELO client.example", "250"),
        ("HELO [192.0.2.1]", "250"),
        ("LHLO c", "502 5.5.1", "500 5.5.2",
         "known and not done here (RFC 5321, 4.2.4)"),
    ]),
    Dialogue("order", "mx", ("EHLO c",), (), [
        (R, "503 5.5.1"),
        ("DATA", "503 5.5.1"),
        (M, "250 2.1.0"),
        (M, "503 5.5.1"),
        ("DATA", "554 5.5.1"),
        (R, "250 2.1.5"),
        ("DATA now", "501 5.5.4"),
        ("EHLO again", "250"),
        (R, "503 5.5.1"),
        (M, "250 2.1.0"),
        (R, "250 2.1.5"),
        ("RSET x", "501 5.5.4"),
        ("RSET", "250 2.0.0"),
        ("DATA", "503 5.5.1"),
        ("STARTTLS now", "501 5.5.4"),
        ("QUIT now", "221 2.0.0"),
    ]),
    Dialogue("verbs", "mx", ("EHLO c",), (), [
        ("", "500 5.5.2"),
        (" ", "500 5.5.2"),
        ("FROB", "500 5.5.2"),
        ("TURN", "500 5.5.2"),
        ("SEND FROM:<a@else.example>", "500 5.5.2"),
        ("EXPN staff", "502 5.5.1", "500 5.5.2",
         "known and not done here (RFC 5321, 4.2.4)"),
        ("ETRN sink.example", "500 5.5.2", "459", "not offered"),
        ("XCLIENT ADDR=192.0.2.1", "500 5.5.2", "550 5.7.0",
         "there are no such commands"),
        ("XFORWARD NAME=x", "500 5.5.2", "550 5.7.0",
         "there are no such commands"),
        ("BURL imap://x LAST", "500 5.5.2"),
        ("AUTH PLAIN AA==", "502 5.5.1", "503 5.5.1",
         "no login is offered at this door"),
        ("VRFY bob@sink.example", "252 2.5.0", "252 2.0.0",
         "who is here is not told, nor by a difference"),
        ("VRFY nobody@sink.example", "252 2.5.0", "550 5.1.1",
         "who is here is not told, nor by a difference"),
        ("VRFY bob@far.example", "252 2.5.0", "554 5.7.1",
         "who is here is not told, nor by a difference"),
        ("VRFY", "501 5.5.4"),
        ("HELP", "214 2.0.0", "500 5.5.2", "HELP is told (RFC 5321, 4.1.1.8)"),
        ("HELP MAIL", "214 2.0.0", "500 5.5.2",
         "HELP is told (RFC 5321, 4.1.1.8)"),
        ("NOOP", "250 2.0.0"),
        ("NOOP now", "250 2.0.0"),
        ("noop", "250 2.0.0"),
        ("NOOP  ", "250 2.0.0"),
        ("RSET  ", "250 2.0.0"),
        ("  NOOP", "500 5.5.2", "250 2.0.0", "a command begins its line"),
        ("MAILFROM:<a@else.example>", "500 5.5.2", "221 2.7.0",
         "a slip of the keyboard"),
        ("GET / HTTP/1.0", "421 4.7.0", "221 2.7.0",
         "421 ends a session for any client (RFC 5321, 3.8)"),
    ]),
    Dialogue("reverse paths", "mx", ("EHLO c",), ("RSET",), [
        ("mail from:<a@else.example>", "250 2.1.0"),
        ("MAIL FROM: <a@else.example>", "250 2.1.0"),
        ("MAIL\tFROM:<a@else.example>", "250 2.1.0"),
        ("MAIL FROM:<>", "250 2.1.0"),
        ("MAIL FROM:a@else.example", "501 5.5.4", "250 2.1.0",
         "RFC 5321, 4.1.2: a path stands in <>"),
        ("MAIL FROM:<a@else.example", "501 5.5.4", "501 5.1.7",
         "RFC 5321, 4.1.2: a path stands in <>"),
        ("MAIL FROM:a@else.example>", "501 5.5.4", "250 2.1.0",
         "RFC 5321, 4.1.2: a path stands in <>"),
        ("MAIL FROM:<a@else.example>junk", "501 5.5.4", "501 5.1.7",
         "RFC 5321, 4.1.2: nothing stands behind it"),
        ("MAIL FROM:<<a@else.example>>", "501 5.5.4", "250 2.1.0",
         "RFC 5321, 4.1.2: nothing stands behind it"),
        ("MAIL FROM:<a@@else.example>", "501 5.1.7", "250 2.1.0",
         "RFC 5321, 4.1.2: no such mailbox"),
        ("MAIL FROM:<a@else..example>", "501 5.1.7"),
        ("MAIL FROM:<a@>", "501 5.1.7"),
        ("MAIL FROM:<@else.example>", "501 5.1.7", "250 2.1.0",
         "RFC 5321, 4.1.2: no such mailbox"),
        ("MAIL FROM:<a b@else.example>", "501 5.1.7"),
        ("MAIL FROM:<a@192.0.2.1>", "501 5.1.7"),
        ("MAIL FROM:< >", "501 5.1.7", "250 2.1.0",
         "RFC 5321, 4.1.2: no such mailbox"),
        ("MAIL FROM:", "501 5.5.4"),
        ("MAIL FROM", "501 5.5.4"),
        ("MAIL", "501 5.5.4"),
        ("MAIL TO:<a@else.example>", "501 5.5.4"),
        ("MAIL FROM:<\"a b\"@else.example>", "250 2.1.0"),
        ("MAIL FROM:<\"a\\\"b\"@else.example>", "250 2.1.0"),
        ("MAIL FROM:<a@[192.0.2.1]>", "250 2.1.0"),
        ("MAIL FROM:<a@[IPv6:2001:db8::1]>", "250 2.1.0"),
        ("MAIL FROM:<a@[192.0.2.300]>", "501 5.1.7"),
        ("MAIL FROM:<@relay.example:a@else.example>", "250 2.1.0"),
        ("MAIL FROM:<a>", "501 5.1.7", "250 2.1.0",
         "RFC 5321, 2.3.5: a domain is needed"),
        ("MAIL FROM:<a%b@else.example>", "250 2.1.0"),
        ("MAIL FROM:<.a@else.example>", "501 5.1.7", "250 2.1.0",
         "RFC 5321, 4.1.2: no such mailbox"),
        ("MAIL FROM:<a.@else.example>", "501 5.1.7", "250 2.1.0",
         "RFC 5321, 4.1.2: no such mailbox"),
        ("MAIL FROM:<a..b@else.example>", "501 5.1.7", "250 2.1.0",
         "RFC 5321, 4.1.2: no such mailbox"),
        ("MAIL FROM:<" + "l" * 64 + "@else.example>", "250 2.1.0"),
        ("MAIL FROM:<" + "l" * 65 + "@else.example>", "250 2.1.0"),
        ("MAIL FROM:<a@" + "d" * 63 + ".example>", "250 2.1.0"),
        ("MAIL FROM:<a@" + "d" * 64 + ".example>", "501 5.1.7"),
        ("MAIL FROM:<a@" + "d" * 60
         + ".dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd."
         "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd.d"
         "ddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd.dd"
         "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddd>",
         "501 5.1.7"),
        (b"MAIL FROM:<a\x01@else.example>\r\n", "501 5.1.7", "250 2.1.0",
         "RFC 5321, 4.1.2: no such mailbox"),
        (b"MAIL FROM:<a\x7f@else.example>\r\n", "501 5.1.7", "250 2.1.0",
         "RFC 5321, 4.1.2: no such mailbox"),
    ]),
    Dialogue("recipients", "mx", ("EHLO c",), ("RSET", M), [
        (R, "250 2.1.5"),
        ("RCPT TO:<BOB@SINK.EXAMPLE>", "250 2.1.5"),
        ("RCPT TO:<bob+tag@sink.example>", "250 2.1.5"),
        ("RCPT TO: <bob@sink.example>", "250 2.1.5"),
        ("RCPT TO:<bob@sink.example.>", "250 2.1.5"),
        ("RCPT TO:<nobody@sink.example>", "550 5.1.1"),
        ("RCPT TO:<bob@far.example>", "550 5.7.1", "554 5.7.1",
         "RFC 5321, 3.6.2: 550"),
        ("RCPT TO:<bob@sub.sink.example>", "550 5.7.1", "554 5.7.1",
         "RFC 5321, 3.6.2: 550"),
        ("RCPT TO:<bob%far.example@sink.example>", "550 5.7.1", "554 5.7.1",
         "RFC 5321, 3.6.2: 550"),
        ("RCPT TO:<far.example!bob@sink.example>", "550 5.7.1", "554 5.7.1",
         "RFC 5321, 3.6.2: 550"),
        ("RCPT TO:<\"bob@far.example\"@sink.example>", "550 5.7.1",
         "554 5.7.1", "RFC 5321, 3.6.2: 550"),
        ("RCPT TO:<@sink.example:bob@far.example>", "550 5.7.1", "554 5.7.1",
         "RFC 5321, 3.6.2: 550"),
        ("RCPT TO:<@far.example:bob@sink.example>", "250 2.1.5"),
        ("RCPT TO:<bob@sink.example@far.example>", "501 5.1.3", "554 5.7.1",
         "RFC 5321, 4.1.2: no such mailbox"),
        ("RCPT TO:<postmaster>", "250 2.1.5"),
        ("RCPT TO:<PostMaster>", "250 2.1.5"),
        ("RCPT TO:<postmaster@sink.example>", "250 2.1.5"),
        ("RCPT TO:<bob>", "501 5.1.3", "550 5.1.1",
         "RFC 5321, 2.3.5: a domain is needed"),
        ("RCPT TO:<bob@[127.0.0.1]>", "550 5.7.1", "250 2.1.5",
         "a literal is no domain of the table"),
        ("RCPT TO:<>", "501 5.1.3"),
        ("RCPT TO:bob@sink.example", "501 5.5.4", "250 2.1.5",
         "RFC 5321, 4.1.2: a path stands in <>"),
        (R + " junk", "555 5.5.4"),
        ("RCPT", "501 5.5.4"),
        ("RCPT TO:", "501 5.5.4"),
        ("RCPT FROM:<bob@sink.example>", "501 5.5.4"),
    ]),
    Dialogue("parameters of MAIL", "mx", ("EHLO c",), ("RSET",), [
        (M + " SIZE=0", "250 2.1.0"),
        (M + " SIZE=100", "250 2.1.0"),
        (M + " SIZE=5000", "552 5.3.4"),
        (M + " SIZE=99999999999999999999", "552 5.3.4"),
        (M + " SIZE=abc", "501 5.5.4"),
        (M + " SIZE=", "501 5.5.4"),
        (M + " SIZE", "501 5.5.4", "555 5.5.4",
         "the parameter is known, its value is not"),
        (M + " SIZE=-1", "501 5.5.4"),
        (M + " SIZE=1 SIZE=1", "501 5.5.4", "250 2.1.0",
         "once each (RFC 5321, 4.1.1.11)"),
        (M + " BODY=7BIT", "250 2.1.0"),
        (M + " BODY=8BITMIME", "250 2.1.0"),
        (M + " body=8bitmime", "250 2.1.0"),
        (M + " BODY=BINARYMIME", "501 5.5.4", "555 5.5.4",
         "the parameter is known, its value is not"),
        (M + " BODY=FOO", "501 5.5.4", "555 5.5.4",
         "the parameter is known, its value is not"),
        (M + " SIZE=10  BODY=7BIT", "250 2.1.0"),
        (M + " RET=FULL", "250 2.1.0"),
        (M + " RET=HDRS", "250 2.1.0"),
        (M + " RET=FOO", "501 5.5.4"),
        (M + " RET=FULL RET=FULL", "501 5.5.4"),
        (M + " ENVID=abc", "250 2.1.0"),
        (M + " ENVID=a+2Bb", "250 2.1.0"),
        (M + " ENVID=a+zz", "501 5.5.4"),
        (M + " ENVID=" + "x" * 100, "250 2.1.0"),
        (M + " ENVID=" + "x" * 101, "501 5.5.4", "250 2.1.0",
         "RFC 3461, 4.4: 100 characters"),
        (M + " ENVID=", "501 5.5.4"),
        (M + " SMTPUTF8", "250 2.1.0"),
        (M + " SMTPUTF8=1", "501 5.5.4", "555 5.5.4",
         "the parameter is known, its value is not"),
        (M + " AUTH=<>", "555 5.5.4", "250 2.1.0", "not offered at this door"),
        (M + " AUTH=a@b", "555 5.5.4", "250 2.1.0",
         "not offered at this door"),
        (M + " FOO=1", "555 5.5.4"),
        (M + " FOO", "555 5.5.4"),
        (M + " BY=10;R", "555 5.5.4"),
        (M + " HOLDFOR=5", "555 5.5.4"),
        (M + " MT-PRIORITY=1", "555 5.5.4"),
        (M + " REQUIRETLS", "555 5.5.4"),
    ]),
    Dialogue("parameters of RCPT", "mx", ("EHLO c",), ("RSET", M), [
        (R + " NOTIFY=NEVER", "250 2.1.5"),
        (R + " NOTIFY=SUCCESS,FAILURE,DELAY", "250 2.1.5"),
        (R + " notify=success", "250 2.1.5"),
        (R + " NOTIFY=NEVER,SUCCESS", "501 5.5.4"),
        (R + " NOTIFY=SUCCESS,SUCCESS", "501 5.5.4", "250 2.1.5", "each once"),
        (R + " NOTIFY=", "501 5.5.4"),
        (R + " NOTIFY=FOO", "501 5.5.4"),
        (R + " NOTIFY=NEVER NOTIFY=NEVER", "501 5.5.4"),
        (R + " ORCPT=rfc822;bob@sink.example", "250 2.1.5"),
        (R + " ORCPT=rfc822;a+2Bb@x", "250 2.1.5"),
        (R + " ORCPT=utf-8;\\x{E9}@x", "250 2.1.5"),
        (R + " ORCPT=rfc822;a+zz", "501 5.5.4"),
        (R + " ORCPT=rfc822;", "501 5.5.4", "250 2.1.5",
         "an address is needed"),
        (R + " ORCPT=bob", "501 5.5.4"),
        (R + " ORCPT=x;" + "y" * 501, "501 5.5.4", "250 2.1.5",
         "RFC 3461, 4.2: 500 characters"),
        (R + " SIZE=1", "555 5.5.4"),
        (R + " FOO=1", "555 5.5.4"),
        (R + " RRVS=2014-04-03T23:01:00Z", "555 5.5.4"),
    ]),
    Dialogue("no extensions after HELO", "mx", ("HELO c",), ("RSET",), [
        (M, "250 2.1.0"),
        (M + " SIZE=10", "555 5.5.4", "250 2.1.0",
         "parameters belong to EHLO (RFC 5321, 4.1.1.1)"),
        (M + " BODY=8BITMIME", "555 5.5.4", "250 2.1.0",
         "parameters belong to EHLO (RFC 5321, 4.1.1.1)"),
        (M + " RET=HDRS", "555 5.5.4", "250 2.1.0",
         "parameters belong to EHLO (RFC 5321, 4.1.1.1)"),
        ("MAIL FROM:<a@else.example>\r\nRCPT TO:<bob@sink.example> NOTIFY="
         "NEVER", "250 2.1.0, 555 5.5.4", "250 2.1.0, 250 2.1.5",
         "parameters belong to EHLO (RFC 5321, 4.1.1.1)"),
        ("BDAT 0 LAST", "503 5.5.1"),
        ("STARTTLS now", "501 5.5.4"),
    ]),
    Dialogue("SMTPUTF8", "mx", ("EHLO c",), ("RSET",), [
        (M + " SMTPUTF8", "250 2.1.0"),
        ("MAIL FROM:<ä@else.example> SMTPUTF8", "250 2.1.0"),
        ("MAIL FROM:<a@élse.example> SMTPUTF8", "250 2.1.0"),
        ("MAIL FROM:<ä@else.example>", "553 5.6.7", "250 2.1.0",
         "RFC 6531, 3.5: only with SMTPUTF8"),
        ("MAIL FROM:<a@élse.example>", "553 5.6.7", "501 5.1.7",
         "RFC 6531, 3.5: only with SMTPUTF8"),
        (b"MAIL FROM:<\xff\xfe@else.example> SMTPUTF8\r\n", "501 5.1.7",
         "500 5.5.2", "the address is what is wrong"),
        (M + " SMTPUTF8\r\nRCPT TO:<ö@sink.example>", "250 2.1.0, 550 5.1.1"),
        ("MAIL FROM:<a@else.example>\r\nRCPT TO:<ö@sink.example>",
         "250 2.1.0, 553 5.6.7", "250 2.1.0, 550 5.1.1",
         "RFC 6531, 3.5: only with SMTPUTF8"),
        ("VRFY ö@sink.example SMTPUTF8", "252 2.5.0", "550 5.1.1",
         "who is here is not told, nor by a difference"),
    ]),
    Dialogue("long lines and odd octets", "mx", ("EHLO c",), (), [
        ("NOOP " + "x" * 505, "250 2.0.0"),
        ("NOOP " + "x" * 506, "500 5.5.2", "250 2.0.0",
         "RFC 5321, 4.5.3.1.4: 512 octets"),
        ("NOOP " + "x" * 3000, "500 5.5.2", "250 2.0.0",
         "RFC 5321, 4.5.3.1.4: 512 octets"),
        (b"NOOP \x00\r\n", "500 5.5.2", "250 2.0.0",
         "RFC 5321, 4.1.2: no NUL"),
        (b"NOOP \x01\r\n", "250 2.0.0"),
        (b"NOOP \xff\r\n", "250 2.0.0", "500 5.5.2",
         "what NOOP says is not looked at"),
    ]),
    Dialogue("bare line ends in commands", "mx", ("EHLO c",), (), [
        (b"NOOP\rNOOP\r\n", "500 5.5.2", "250 2.0.0",
         "CR LF alone ends a line (RFC 5321, 2.3.8)"),
        (b"NOOP\r\r\n", "500 5.5.2", "250 2.0.0",
         "CR LF alone ends a line (RFC 5321, 2.3.8)"),
        (b"NOOP\n\rNOOP\r\n", "500 5.5.2", "250 2.0.0",
         "CR LF alone ends a line (RFC 5321, 2.3.8)"),
    ]),
    Dialogue("a bare LF in a command", "mx", ("EHLO c",), (), [
        (b"NOOP\nNOOP\r\nVRFY\r\n", "500 5.5.2, 501 5.5.4",
         "250 2.0.0, 250 2.0.0", "CR LF alone ends a line (RFC 5321, 2.3.8)"),
    ]),
    Dialogue("pipelining", "mx", ("EHLO c",), (), [
        ("MAIL FROM:<a@else.example>\r\nRCPT TO:<bob@sink.example>\r\nRCPT T"
         "O:<nobody@sink.example>\r\nDATA",
         "250 2.1.0, 250 2.1.5, 550 5.1.1, 354"),
        (b"Subject: x\r\n\r\nx\r\n.\r\n", "250 2.0.0"),
        ("MAIL FROM:<a@else.example>\r\nRCPT TO:<nobody@sink.example>\r\nDAT"
         "A", "250 2.1.0, 550 5.1.1, 554 5.5.1"),
        ("RSET", "250 2.0.0"),
        ("MAIL FROM:<a@else.example>\r\nRCPT TO:<bob@sink.example>\r\nDATA\r\n"
         "Subject: x\r\n\r\nx\r\n.\r\nNOOP",
         "250 2.1.0, 250 2.1.5, 354, 250 2.0.0, 250 2.0.0"),
        (b"RSET\r\nNOOP\r\nQUIT\r\n", "250 2.0.0, 250 2.0.0, 221 2.0.0"),
        (b"EHLO c\r\nNOOP\r\n", "250, 250 2.0.0"),
    ]),
    Dialogue("messages", "mx", ("EHLO c",), ("RSET", M, R, "DATA"), [
        (b".\r\n", "250 2.0.0"),
        (b"\r\n.\r\n", "250 2.0.0"),
        (b"no header\r\n.\r\n", "250 2.0.0"),
        (b"Subject: x\r\n\r\n..\r\n.x\r\n.\r\n", "250 2.0.0"),
        (b"Subject: x\r\n\r\n" + b"x" * 998 + b"\r\n.\r\n", "250 2.0.0"),
        (b"Subject: x\r\n\r\n" + b"x" * 2000 + b"\r\n.\r\n", "250 2.0.0"),
        (b"Subject: x\r\n\r\n" + LINE * 80 + b".\r\n", "552 5.3.4"),
        (b"Subject: x\r\n\r\n\x00\r\n.\r\n", "554 5.6.0", "250 2.0.0",
         "RFC 5321, 4.1.2: no NUL"),
        (b"Subject: x\r\n\r\n\xff\r\n.\r\n", "250 2.0.0"),
        (b"Received: x\r\n" * 101 + b"\r\nx\r\n.\r\n", "554 5.4.6",
         "554 5.4.0", "5.4.6 is the code for a loop (RFC 3463)"),
    ]),
    Dialogue("chunks", "mx", ("EHLO c",), (), [
        (b"BDAT 3\r\nabc", "503 5.5.1"),
        (M, "250 2.1.0", "503 5.5.1",
         "a message is over with its first bad chunk"),
        ("RSET", "250 2.0.0"),
        (M, "250 2.1.0"),
        (b"BDAT 3\r\nabc", "554 5.5.1"),
        (R, "503 5.5.1"),
        (b"BDAT 4\r\nA:b\n", "503 5.5.1", "551 5.0.0",
         "a message is over with its first bad chunk"),
        ("DATA", "503 5.5.1"),
        ("RSET", "250 2.0.0"),
        (M, "250 2.1.0"),
        (R, "250 2.1.5"),
        (b"BDAT 6\r\nA: b\r\n", "250 2.0.0"),
        ("NOOP", "250 2.0.0"),
        ("VRFY", "501 5.5.4"),
        (R, "503 5.5.1"),
        (M, "503 5.5.1"),
        ("DATA", "503 5.5.1"),
        (b"BDAT 2\r\n\r\n", "250 2.0.0"),
        (b"BDAT 0 LAST\r\n", "250 2.0.0"),
        (M, "250 2.1.0"),
        (R, "250 2.1.5"),
        (b"BDAT 14 LAST\r\nSubject: x\r\n\r\n", "250 2.0.0"),
        (M, "250 2.1.0"),
        (R, "250 2.1.5"),
        (b"BDAT 8000\r\n" + b"x" * 7998 + b"\r\n", "552 5.3.4"),
        (b"BDAT 0 LAST\r\n", "503 5.5.1", "551 5.0.0",
         "nothing is left of the message"),
        ("NOOP", "250 2.0.0"),
    ]),
    Dialogue("chunks of no size", "fresh", ("EHLO c", M, R), (), [
        ("BDAT", "501 5.5.4", "521 5.5.4",
         "501 says it, and the connection ends too"),
        ("BDAT x", "501 5.5.4", "521 5.5.4",
         "501 says it, and the connection ends too"),
        ("BDAT 1 2 3", "501 5.5.4", "521 5.5.4",
         "501 says it, and the connection ends too"),
        ("BDAT 0 FIRST", "501 5.5.4", "521 5.5.4",
         "501 says it, and the connection ends too"),
        ("BDAT -1", "501 5.5.4", "521 5.5.4",
         "501 says it, and the connection ends too"),
        ("BDAT 99999999999999999999", "501 5.5.4", "521 5.5.4",
         "501 says it, and the connection ends too"),
    ]),
    Dialogue("STARTTLS with more behind it", "mx", ("EHLO c",), (), [
        (b"STARTTLS\r\nNOOP\r\n", "220 2.0.0"),
    ]),
    Dialogue("under TLS", "tls", (), (), [
        ("STARTTLS", "503 5.5.1", "554 5.5.1",
         "a matter of order (RFC 5321, 4.2.2)"),
        ("AUTH PLAIN AA==", "502 5.5.1", "503 5.5.1",
         "no login is offered at this door"),
        (M, "250 2.1.0"),
        ("RCPT TO:<bob@far.example>", "550 5.7.1", "554 5.7.1",
         "RFC 5321, 3.6.2: 550"),
        ("QUIT", "221 2.0.0"),
    ]),
    Dialogue("submission before TLS", "submission", ("EHLO c",), (), [
        ("AUTH PLAIN AA==", "538 5.7.11", "503 5.5.1",
         "says what is missing (RFC 4954, 6)"),
        ("AUTH", "501 5.5.4", "503 5.5.1",
         "says what is wrong; TLS would not mend it"),
        ("AUTH FOO", "504 5.5.4", "503 5.5.1",
         "says what is wrong; TLS would not mend it"),
        ("AUTH EXTERNAL =", "504 5.5.4", "503 5.5.1",
         "says what is wrong; TLS would not mend it"),
        ("MAIL FROM:<anna@sink.example>", "530 5.7.0", "250 2.1.0",
         "RFC 6409, 4.3: the login comes first"),
        (R, "503 5.5.1", "554 5.7.1", "MAIL was not taken"),
        ("DATA", "503 5.5.1", "554 5.5.1", "MAIL was not taken"),
        ("BDAT 0 LAST", "503 5.5.1", "554 5.5.1", "MAIL was not taken"),
        ("RSET", "250 2.0.0"),
        ("VRFY bob", "252 2.5.0", "554 5.7.1",
         "who is here is not told, nor by a difference"),
        ("NOOP", "250 2.0.0"),
    ]),
    Dialogue("failed logins", "secure", (), (), [
        ("AUTH", "501 5.5.4"),
        ("AUTH FOO", "504 5.5.4", "535 5.7.8",
         "RFC 4954, 4: an unknown mechanism"),
        ("AUTH FOO AA==", "504 5.5.4", "535 5.7.8",
         "RFC 4954, 4: an unknown mechanism"),
        ("AUTH EXTERNAL =", "504 5.5.4", "535 5.7.8",
         "RFC 4954, 4: an unknown mechanism"),
        ("AUTH PLAIN !", "501 5.5.2", "535 5.7.8",
         "RFC 4954, 4: malformed is not wrong"),
        ("AUTH PLAIN =", "501 5.5.2", "535 5.7.8",
         "RFC 4954, 4: malformed is not wrong"),
        ("AUTH PLAIN AA==", "501 5.5.2", "535 5.7.8",
         "RFC 4954, 4: malformed is not wrong"),
        ("AUTH PLAIN a b", "501 5.5.4"),
        ("AUTH PLAIN AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
         "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
         "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
         "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
         "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
         "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
         "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
         "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
         "535 5.7.8"),  # an empty name
        ("AUTH PLAIN\r\n*", "334, 501 5.7.0"),
        ("AUTH PLAIN\r\nAAAA", "334, 535 5.7.8"),
        ("AUTH PLAIN AGFubmEAd3Jvbmc=", "535 5.7.8"),
        ("AUTH PLAIN AG5vYm9keQB3cm9uZw==", "535 5.7.8"),
        ("AUTH PLAIN Ym9iAGFubmEAc2VjcmV0IHBhc3M=", "535 5.7.8"),
        ("AUTH LOGIN\r\n*", "334, 501 5.7.0"),
        ("AUTH LOGIN\r\nYW5uYQ==\r\n*", "334, 334, 501 5.7.0"),
        ("AUTH LOGIN\r\nYW5uYQ==\r\nd3Jvbmc=", "334, 334, 535 5.7.8"),
        ("AUTH LOGIN\r\n!", "334, 501 5.5.2", "334, 535 5.7.8",
         "RFC 4954, 4: malformed is not wrong"),
        ("AUTH LOGIN YW5uYQ==\r\nd3Jvbmc=", "334, 535 5.7.8"),
        ("MAIL FROM:<anna@sink.example>", "530 5.7.0", "250 2.1.0",
         "RFC 6409, 4.3: the login comes first"),
    ]),
    Dialogue("logged in", "login", (), ("RSET",), [
        ("AUTH PLAIN AGFubmEAc2VjcmV0IHBhc3M=", "503 5.5.1"),
        ("EHLO again", "250"),
        ("STARTTLS", "503 5.5.1", "554 5.5.1",
         "a matter of order (RFC 5321, 4.2.2)"),
        ("MAIL FROM:<anna@sink.example>", "250 2.1.0"),
        ("MAIL FROM:<anna@sink.example>\r\nAUTH PLAIN AGFubmEAc2VjcmV0IHBh"
         "c3M=", "250 2.1.0, 503 5.5.1"),
        ("MAIL FROM:<anna@sink.example> AUTH=<>", "250 2.1.0"),
        ("MAIL FROM:<anna@sink.example> AUTH=anna@sink.example", "250 2.1.0"),
        ("MAIL FROM:<anna@sink.example> AUTH=", "501 5.5.4", "250 2.1.0",
         "RFC 4954, 5: xtext of an address"),
        ("MAIL FROM:<anna@sink.example> AUTH=a+zz", "501 5.5.4", "250 2.1.0",
         "RFC 4954, 5: xtext of an address"),
        ("MAIL FROM:<eve@far.example>", "553 5.7.1", "250 2.1.0",
         "relay.sender_binding"),
        ("MAIL FROM:<>", "250 2.1.0"),
        ("MAIL FROM:<anna>", "250 2.1.0"),
        ("MAIL FROM:<anna@sink.example>\r\nRCPT TO:<bob@far.example>\r\nDATA"
         "\r\nSubject: x\r\n\r\nx\r\n.",
         "250 2.1.0, 250 2.1.5, 354, 250 2.0.0"),
        ("MAIL FROM:<anna@sink.example>\r\nRCPT TO:<bob>",
         "250 2.1.0, 250 2.1.5", "250 2.1.0, 550 5.1.1",
         "RFC 6409, 6.1: completed by qualify"),
        ("QUIT", "221 2.0.0"),
    ]),
    Dialogue("ends that are none", "mx", ("EHLO c",), ("RSET", M, R, "DATA"), [
        (b"Subject: x\r\n\r\nfirst\n.\nNOOP\r\nsecond\r\n.\r\nVRFY\r\n",
         "554 5.6.0, 501 5.5.4", "250 2.0.0, 501 5.5.4",
         "refused as it is, not mended"),
        (b"Subject: x\r\n\r\nfirst\n.\r\nNOOP\r\nsecond\r\n.\r\nVRFY\r\n",
         "554 5.6.0, 501 5.5.4", "250 2.0.0, 501 5.5.4",
         "refused as it is, not mended"),
        (b"Subject: x\r\n\r\nfirst\r\n.\nNOOP\r\nsecond\r\n.\r\nVRFY\r\n",
         "554 5.6.0, 501 5.5.4", "250 2.0.0, 501 5.5.4",
         "refused as it is, not mended"),
        (b"Subject: x\r\n\r\nfirst\r.\rNOOP\r\nsecond\r\n.\r\nVRFY\r\n",
         "554 5.6.0, 501 5.5.4", "250 2.0.0, 501 5.5.4",
         "refused as it is, not mended"),
        (b"Subject: x\r\n\r\nfirst\r.\r\nNOOP\r\nsecond\r\n.\r\nVRFY\r\n",
         "554 5.6.0, 501 5.5.4", "250 2.0.0, 501 5.5.4",
         "refused as it is, not mended"),
        (b"Subject: x\r\n\r\nfirst\r\n.\rNOOP\r\nsecond\r\n.\r\nVRFY\r\n",
         "554 5.6.0, 501 5.5.4", "250 2.0.0, 501 5.5.4",
         "refused as it is, not mended"),
        (b"Subject: x\r\n\r\nfirst\r\r\n.\r\r\nNOOP\r\n"
         b"second\r\n.\r\nVRFY\r\n",
         "554 5.6.0, 501 5.5.4", "250 2.0.0, 501 5.5.4",
         "refused as it is, not mended"),
        (b"Subject: x\r\n\r\nfirst\r\n\x00.\r\nNOOP\r\n"
         b"second\r\n.\r\nVRFY\r\n",
         "554 5.6.0, 501 5.5.4", "250 2.0.0, 501 5.5.4",
         "refused as it is, not mended"),
        (b"Subject: x\r\n\r\nfirst\r\n. \r\nNOOP\r\nsecond\r\n.\r\nVRFY\r\n",
         "250 2.0.0, 501 5.5.4"),
        (b"Subject: x\r\n\r\nfirst\n\r.\r\nNOOP\r\nsecond\r\n.\r\nVRFY\r\n",
         "554 5.6.0, 501 5.5.4", "250 2.0.0, 501 5.5.4",
         "refused as it is, not mended"),
    ]),
]

PORTS = {"mx": "mx", "fresh": "mx", "tls": "mx", "submission": "submission",
         "secure": "submission", "login": "submission"}
#: A connection is over, or of no more use.
ENDS = ("221", "421", "521", "220", "-")


class Passwords:
    """Dovecot as what Postfix asks about logins."""

    def __init__(self, folder):
        folder.mkdir()
        folder.chmod(0o711)
        self.socket = folder / "auth"
        (folder / "users").write_text("anna:{PLAIN}secret pass\n")
        (folder / "dovecot.conf").write_text(f"""\
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log
protocols =
ssl = no
auth_mechanisms = plain login
auth_failure_delay = 0
passdb {{
  driver = passwd-file
  args = {folder}/users
}}
userdb {{
  driver = static
  args = uid=65534 gid=65534 home=/nonexistent
}}
service auth {{
  unix_listener {self.socket} {{
    mode = 0666
  }}
}}
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
""")
        self.process = subprocess.Popen(
            ["dovecot", "-F", "-c", folder / "dovecot.conf"],
            stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
        wait_for(self.socket.exists, "Dovecot's start")

    def stop(self):
        end_process(self.process)


@pytest.fixture
def postfix(folder, authority):
    """{port name: (host, port)} of a Postfix that is set up like ours."""
    need_root("Postfix and Dovecot")
    need_program("postfix")
    need_program("dovecot", "dovecot-core")
    version = subprocess.run(["postconf", "-dh", "mail_version"],
                             capture_output=True, text=True).stdout
    if not version.startswith("3.7."):
        pytest.skip(f"the table is of Postfix 3.7, this is {version.strip()}")
    place = folder / "beside"
    place.mkdir()
    for parent in (folder, place):
        parent.chmod(0o711)
    pair = authority.issue(place / "tls", "postfix.example")
    passwords = Passwords(place / "passwords")
    users = place / "users"
    users.write_text("".join(f"{user} x\n" for user in (
        "bob@sink.example", "postmaster@sink.example",
        "postmaster@postfix.example")))
    both = ["smtpd_helo_required=yes", "message_size_limit=4096",
            f"virtual_mailbox_maps=texthash:{users}", "recipient_delimiter=+",
            "smtpd_error_sleep_time=0", "smtpd_soft_error_limit=100000",
            "smtpd_hard_error_limit=100001",
            "smtpd_junk_command_limit=100000", "mynetworks=127.255.255.255/32",
            "smtpd_tls_security_level=may",
            f"smtpd_tls_cert_file={pair.chain}",
            f"smtpd_tls_key_file={pair.key}",
            "smtpd_forbid_bare_newline=yes",
            "smtpd_forbid_bare_newline_exclusions="]
    login = ["smtpd_sasl_auth_enable=yes", "smtpd_tls_auth_only=yes",
             "smtpd_sasl_type=dovecot", f"smtpd_sasl_path={passwords.socket}",
             "smtpd_relay_restrictions=permit_sasl_authenticated,reject",
             "smtpd_recipient_restrictions=permit_sasl_authenticated,reject"]
    host = loopback()
    ports = {name: (host, free_port(host)) for name in ("mx", "submission")}
    server = None
    try:
        server = Postfix(
            place, host, free_port(host), ["sink.example", "postfix.example"],
            master="".join(
                "%s:%d inet n - n - - smtpd\n" % ports[name]
                + "".join(f"  -o {option}\n" for option in options)
                for name, options in (("mx", both),
                                      ("submission", both + login))))
        yield ports
    finally:
        if server is not None:
            server.stop()
        passwords.stop()


@pytest.fixture
def ours(relay):
    users = relay.folder / "users"
    users.write_text("bob\n")
    relay.domain("sink.example", "discard", recipients=users)
    relay.set("limits", errors=100000, message_size="4K", auth_lock="0",
              auth_failures=1000, connections_per_client=200)
    relay.start()
    relay.add_user("anna", "secret pass")
    return {"mx": relay.mx, "submission": relay.submission}


def connect(ports, dialogue):
    talk = Talk(ports[PORTS[dialogue.door]], timeout=300)
    if dialogue.door in ("tls", "secure", "login"):
        talk.ehlo()
        talk.starttls()
    if dialogue.door == "login":
        assert talk.plain("anna", "secret pass").code == 235
    succeed(talk, dialogue.first)
    return talk


def succeed(talk, lines):
    for line in lines:
        reply = talk.say(line)
        assert reply.code in (250, 354), (line, reply)


def short(reply):
    """"250 2.1.0", or without an enhanced code "250"."""
    enhanced = re.match(r"\d\.\d+\.\d+(?= |$)", reply.lines[-1][4:])
    return f"{reply.code} {enhanced[0]}" if enhanced else str(reply.code)


def answers(ports, dialogue):
    """What each row gets."""
    talk, found = None, []
    for said, wanted, *_ in dialogue.rows:
        if talk is None:
            talk = connect(ports, dialogue)
        succeed(talk, dialogue.before)
        talk.raw(said if isinstance(said, bytes) else
                 said.encode() + b"\r\n")
        got = []
        while len(got) < wanted.count(",") + 1:
            try:
                got.append(short(talk.reply()))
            except Closed:
                got.append("-")
                break
        found.append(", ".join(got))
        if got[-1].startswith(ENDS) or dialogue.door == "fresh":
            talk.close()
            talk = None
    if talk is not None:
        talk.close()
    return found


def test_we_answer_like_postfix_or_know_why_not(ours, postfix):
    wrong = []
    for dialogue in DIALOGUES:
        got = zip(dialogue.rows, answers(ours, dialogue),
                  answers(postfix, dialogue))
        for (said, we, *rest), our, their in got:
            they = rest[0] if rest else we
            if (our, their) != (we, they):
                wrong.append((dialogue.name, said[:70], "ours", our, "not",
                              we, "Postfix's", their, "not", they))
    assert not wrong, "\n".join(map(str, wrong))


def test_every_difference_has_its_reason():
    for dialogue in DIALOGUES:
        for said, ours, *rest in dialogue.rows:
            if rest:
                theirs, why = rest
                assert ours != theirs and len(why) > 8, (dialogue.name, said)
