# SPDX-License-Identifier: ISC
"""Messages that relays are known to damage, and what to compare of them."""

import base64
import random
import re
import uuid

HEAD = (b"From: Anna <anna@local.example>\r\n"
        b"To: bob@far.example\r\n"
        b"Subject: %s\r\n"
        b"Date: Sat, 21 Nov 2026 10:00:00 +0000\r\n"
        b"Message-ID: <%s@local.example>\r\n"
        b"\r\n")


def message(body=b"Hello.\r\n", subject=b"hello"):
    """One with a Message-ID of its own."""
    return HEAD % (subject, uuid.uuid4().hex.encode()) + body


def _attachment(size):
    octets = random.Random(7).randbytes(size)
    return base64.encodebytes(octets).replace(b"\n", b"\r\n")


def cases(attachment=0):
    """Name -> message. attachment: octets of the one that has one."""
    made = {
        "8-bit": message("Grüße, łąki, 郵便\r\n".encode()
                         + bytes(range(0x80, 0x100)) + b"\r\n"),
        "998 octets": message(b"x" * 998 + b"\r\n" + b"y" * 997 + b"\r\n"),
        "dots": message(b".\r\n..\r\n...\r\n.leading\r\n\r\n.\r\nend\r\n"),
        "empty": message(b""),
        "blank lines": message(b"\r\n\r\n \r\n\t\r\n\r\n"),
        "From line": message(b"From the start\r\n>From before\r\n"),
    }
    if attachment:
        made["attachment"] = message(_attachment(attachment))
    return made


def message_id(content):
    return re.search(rb"(?mi)^Message-ID: *(<[^>]*>)", content).group(1)


def as_sent(content):
    """What stands below the Received field that the relay put on top; other
    servers put their own fields above it."""
    at = 0
    for field in re.finditer(rb"[!-9;-~]+:.*\n(?:[ \t].*\n)*", content):
        assert field.start() == at, "no Received field of ours"
        at = field.end()
        if field.group().startswith(b"Received:") and \
                b"by mail.ostler.example" in field.group():
            return content[at:]
    raise AssertionError("no Received field of ours")


def with_lf(content):
    """As Maildirs keep it."""
    return content.replace(b"\r\n", b"\n")
