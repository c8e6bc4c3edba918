# SPDX-License-Identifier: ISC
"""What clients of the standards may ask for beyond a plain transaction:
chunks, logins bound to their connection, messages that are not complete."""

import random
import re
import select
import signal
import ssl
import time

import pytest

from lab import mails
from lab.base import awake
from lab.talk import Talk


def open_transaction(to, **options):
    talk = Talk(to, **options)
    talk.ehlo()
    talk.mail("anna@local.example", "bob@local.example")
    return talk


def header_of(found):
    head, _, body = mails.as_sent(found).partition(b"\n\n")
    return head + b"\n", body


# --------------------------------------------------------------- RFC 3030


@pytest.mark.parametrize("size", (10, 70_000, 3_000_000))
def test_chunks_arrive_byte_for_byte(relay, size):
    relay.start()
    dice = random.Random(size)
    body = b"".join(b".%d\r\n" % dice.getrandbits(200)
                    for _ in range(size // 60 + 1))
    content = mails.message(body)
    wire, at, replies = b"", 0, 0
    while at < len(content):
        part = content[at:at + dice.choice((0, 1, 77, 5000, 900_000))]
        at += len(part)
        wire += b"BDAT %d\r\n" % len(part) + part
        replies += 1
    with open_transaction(relay.mx) as talk:
        talk.raw(wire + b"BDAT 0 LAST\r\nNOOP\r\n")
        for _ in range(replies):
            assert re.fullmatch(r"2\.0\.0 \d+ octets received",
                                talk.reply().text)
        assert talk.reply().text.startswith("2.0.0 Queued as ")
        assert talk.reply().text == "2.0.0 Ok"
    found, = relay.wait_maildir("bob")
    assert mails.as_sent(found) == mails.with_lf(content)


def test_refused_chunks_are_no_commands(relay):
    relay.set("limits", message_size="1K")
    relay.start()
    evil = b"MAIL FROM:<evil@x.example>\r\n"
    chunk = b"BDAT %d\r\n" % len(evil) + evil
    with Talk(relay.mx) as talk:
        talk.ehlo()
        talk.raw(chunk + b"NOOP\r\n")
        assert [talk.reply().code for _ in "12"] == [503, 250]
        talk.mail("anna@local.example", "bob@local.example")
        talk.raw(chunk + b"BDAT 2000\r\n" + (evil * 80)[:2000] + chunk
                 + b"RSET\r\n")
        assert [talk.reply().code for _ in "1234"] == [250, 552, 503, 250]
        talk.mail("anna@local.example", "bob@local.example")
        talk.raw(b"BDAT 7\r\nx: y\n\r\nBDAT 0 LAST\r\nNOOP\r\n")
        assert [talk.reply().code for _ in "123"] == [250, 554, 250]
        talk.raw(b"BDAT x LAST\r\n" + evil)
        assert talk.reply().code == 501
        assert talk.is_closed()
    assert relay.maildir("bob") == []


# ------------------------------------------------- RFC 5321, 3.8, 4.5.3.2


def test_a_line_that_never_ends_gets_421(relay):
    """Each byte comes in time, the line does not."""
    relay.set("limits", command_timeout="2s")
    relay.start()
    with Talk(relay.mx) as talk:
        began = awake()
        talk.socket.settimeout(0.2)
        while True:
            try:
                talk.raw(b"x")
                reply = talk.reply()
                break
            except TimeoutError:
                assert awake() - began < 20
        assert (reply.code, reply.text) == (421, "4.4.2 mail.ostler.example "
                                            "Timeout, closing connection")


def test_data_that_comes_slowly_is_taken(relay):
    """The time between blocks counts, not that of them all."""
    # no busy machine makes a pause of ours as long as that
    relay.set("limits", data_timeout="8s", command_timeout="8s")
    relay.start()
    with open_transaction(relay.mx) as talk:
        assert talk.say("DATA").code == 354
        began = time.monotonic()
        while time.monotonic() - began < 10:
            talk.raw(b"Subject: x\r\n")
            assert not select.select([talk.socket], [], [], 0.3)[0]
        talk.raw(b".\r\n")
        assert talk.reply().code == 250


def test_who_could_not_finish_hears_421(relay):
    relay.top["drain"] = "1s"
    relay.start()
    with open_transaction(relay.mx) as talk, \
            open_transaction(relay.mx) as sender:
        assert sender.say("DATA").code == 354
        relay.signal(signal.SIGTERM)
        for one in talk, sender:
            assert one.reply().text == "4.3.2 mail.ostler.example is " \
                "shutting down, closing connection"
            assert one.is_closed()
    assert relay.ended() == 0


# --------------------------------------------------------------- RFC 6409

LACKING = (b"From: Anna <anna@local.example>\r\nBcc: carl@x.example,\r\n"
           b" dora@x.example\r\nSubject: a\r\n b\r\n\r\nBcc: text\r\n")


def test_a_submission_is_completed(relay):
    relay.start()
    with open_transaction(relay.submit_socket) as talk:
        assert talk.data(LACKING).code == 250
    found, = relay.wait_maildir("bob")
    header, body = header_of(found)
    assert body == b"Bcc: text\n"
    assert re.fullmatch(
        rb"From: Anna <anna@local\.example>\nSubject: a\n b\n"
        rb"Date: \w{3}, .*\nMessage-ID: <[^<>@ ]+@mail\.ostler\.example>\n",
        header)


def test_a_complete_submission_is_not_touched(relay):
    relay.start()
    content = mails.message()
    with open_transaction(relay.submit_socket) as talk:
        assert talk.data(content).code == 250
    found, = relay.wait_maildir("bob")
    assert mails.as_sent(found) == mails.with_lf(content)


def test_mail_of_others_is_never_touched(relay):
    relay.set("relay", trusted_networks=["127.0.0.0/8"])
    relay.start()
    with open_transaction(relay.mx) as talk:
        assert talk.data(LACKING).code == 250
    found, = relay.wait_maildir("bob")
    assert mails.as_sent(found) == mails.with_lf(LACKING)


# ----------------------------------------------------- RFC 5802, 5929, 9266


def test_a_login_is_bound_to_its_connection(relay, authority):
    """libsasl2 takes a wrong binding for a malformed message."""
    user, password = relay.add_user()
    relay.start()
    context = authority.context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    for is_right in (False, True):
        with Talk(relay.submissions, context=context,
                  is_implicit=True) as talk:
            assert "SCRAM-SHA-256-PLUS SCRAM-SHA-256 " in talk.ehlo().text
            binding = talk.socket.get_channel_binding("tls-unique")
            if not is_right:
                binding = bytes(len(binding))
            reply = talk.scram(user, password, binding)
            assert reply.code == (235 if is_right else 501), reply


def test_a_client_that_cannot_bind_logs_in_without(relay, authority):
    user, password = relay.add_user()
    relay.start()
    with Talk(relay.submission, context=authority.context()) as talk:
        assert "-PLUS" not in talk.ehlo().text
        assert "-PLUS" in talk.starttls().text
        assert talk.scram(user, password).code == 235
