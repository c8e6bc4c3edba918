# SPDX-License-Identifier: ISC
"""What clients are told, word for word, and what is written on the mail."""

import email.utils
import re
import time

import pytest

from dnslab import Names
from lab import mails
from lab.base import wait_for
from lab.talk import Talk


def test_ehlo_offers_what_is_there(relay, authority):
    relay.add_user()
    relay.start()
    with Talk(relay.mx, context=authority.context()) as talk:
        assert re.fullmatch(r"mail\.ostler\.example ESMTP .*",
                            talk.greeting.text)
        words = {line[4:].split()[0] for line in talk.ehlo().lines[1:]}
        assert {"PIPELINING", "SIZE", "8BITMIME", "ENHANCEDSTATUSCODES",
                "STARTTLS"} <= words
        assert "AUTH" not in words
        reply = talk.say("HELO client.example")
        assert len(reply.lines) == 1 and reply.code == 250
    with Talk(relay.submissions, context=authority.context(),
              is_implicit=True) as talk:
        lines = talk.ehlo().lines
        words = {line[4:].split()[0] for line in lines[1:]}
        assert "STARTTLS" not in words
        auth, = [line[4:].split()[1:] for line in lines
                 if line[4:].startswith("AUTH")]
        assert {"SCRAM-SHA-256", "PLAIN", "LOGIN"} <= set(auth)


ORDER = (
    ("MAIL FROM:<a@else.example>", 503),
    ("RCPT TO:<bob@local.example>", 503),
    ("DATA", 503),
    ("EHLO", 501),
    ("EHLO client.example", 250),
    ("RCPT TO:<bob@local.example>", 503),
    ("DATA", 503),
    ("MAIL FROM:a@else.example x", 501),
    ("MAIL FROM:<a@else.example> FROB=1", 555),
    ("MAIL FROM:<a@else.example>", 250),
    ("MAIL FROM:<a@else.example>", 503),
    ("DATA", 554),
    ("RCPT TO:<>", 501),
    ("RCPT TO:<bob@local.example>", 250),
    ("RSET", 250),
    ("DATA", 503),
    ("NOOP", 250),
    ("NOOP whatever", 250),
    ("VRFY bob@local.example", 252),
    ("EXPN list", 502),
    ("HELP", 214),
    ("AUTH PLAIN", 502),
    ("FROB", 500),
    ("", 500),
    ("QUIT", 221),
)


def test_each_command_has_its_place_and_its_enhanced_code(relay):
    relay.start()
    with Talk(relay.mx) as talk:
        for line, code in ORDER:
            reply = talk.say(line)
            assert reply.code == code, (line, reply)
            if not (line.startswith("EHLO") and code == 250):
                for one in reply.lines:
                    assert re.match(rf"\d+[ -]{code // 100}\.\d+\.\d+ ", one),\
                        (line, one)
        assert talk.is_closed()


RECEIVED = re.compile(
    rb"Received: from client\.example \((?P<name>\S+) \[(?P<ip>[^]]+)\]\)"
    rb"\s+by mail\.ostler\.example with (?P<with>\S+)"
    rb"(?:\s+\((?P<tls>[^)]*)\))?\s+id (?P<id>\S+?)"
    rb"(?:\s+for <(?P<for>[^>]+)>)?;\s+(?P<date>[^\r\n]+)\r?\n")


def test_the_received_field_tells_the_truth(relay, authority):
    relay.add_user("anna", "secret")
    relay.start()

    def send(talk, *recipients):
        talk.mail("anna@local.example", *recipients)
        reply = talk.data(mails.message())
        assert reply.code == 250
        return reply.text.rsplit(" ", 1)[1].encode()

    def field(number):
        """Of the message with this id."""
        def find():
            found = [RECEIVED.search(m) for m in relay.maildir("bob")]
            assert None not in found
            return [f for f in found if f["id"] == number]
        return wait_for(find, "the message")[0]
    with Talk(relay.mx) as talk:
        talk.ehlo()
        found = field(send(talk, "bob@local.example"))
        assert found["with"] == b"ESMTP" and found["tls"] is None
        assert found["ip"] == b"127.0.0.1"
        assert found["for"] == b"bob@local.example"
        date = email.utils.parsedate_to_datetime(found["date"].decode())
        assert abs(date.timestamp() - time.time()) < 60
    with Talk(relay.mx) as talk:
        assert talk.say("HELO client.example").code == 250
        # two recipients: neither is told of the other
        found = field(send(talk, "bob@local.example", "eve@local.example"))
        assert found["with"] == b"SMTP" and found["for"] is None
    with Talk(relay.submission, context=authority.context()) as talk:
        talk.ehlo()
        talk.starttls()
        assert talk.plain("anna", "secret").code == 235
        found = field(send(talk, "bob@local.example"))
        assert found["with"] == b"ESMTPSA"
        assert found["tls"].startswith(b"TLSv1.3 ")


def test_a_client_s_name_is_looked_up_and_never_waited_for(
        make_relay, names):
    relay = make_relay(names)
    relay.set("resolver", client_names=True)
    relay.start()
    names.stop()  # nobody answers
    with Talk(relay.mx) as talk:
        talk.ehlo()
        talk.mail("eve@else.example", "bob@local.example")
        assert talk.data(mails.message()).code == 250
    found = RECEIVED.search(relay.wait_maildir("bob")[0])
    assert found["name"] == b"unknown"


#: A name counts if it leads back to the address.
NAMED = [
    ("192.0.2.9", "nine.example", ["192.0.2.8", "192.0.2.9"], True),
    ("192.0.2.10", "liar.example", ["192.0.2.11"], False),
    ("192.0.2.12", "nowhere.example", [], False),
    ("2001:db8::a9", "six.example", ["2001:db8::a9"], True),
    ("2001:db8::a8", "lies.example", ["2001:db8::a9"], False),
]


@pytest.mark.parametrize("client, name, addresses, is_true", NAMED)
def test_a_client_is_called_by_a_name_that_leads_back_to_it(
        make_relay, folder, make_faults, client, name, addresses, is_true):
    names = Names(folder, zones={"example": False,
                                 "2.0.192.in-addr.arpa": False,
                                 "8.b.d.0.1.0.0.2.ip6.arpa": False})
    try:
        names.host(name, *addresses)
        names.reverse(client, name)
        counter = make_faults(names)
        relay = make_relay(names)
        relay.set("resolver", client_names=True, servers=[counter.server])
        relay.listeners["mx"]["proxy_from"] = ["127.0.0.1/32"]
        relay.start()
        kind, family = ("AAAA", 6) if ":" in client else ("A", 4)
        with Talk(relay.mx, greeting=False) as talk:
            talk.raw(f"PROXY TCP{family} {client} {client} 40000 25\r\n"
                     .encode())
            assert talk.reply().code == 220
            talk.ehlo()
            wait_for(lambda: counter.count(name, kind), "the name's question")

            def named():
                talk.mail("eve@else.example", "bob@local.example")
                assert talk.data(mails.message()).code == 250
                seen = relay.wait_maildir("bob", named.count)
                named.count += 1
                return {RECEIVED.search(mail)["name"].decode()
                        for mail in seen}
            named.count = 1
            if is_true:
                wait_for(lambda: name in named(), "the name")
            else:
                assert named() == {"unknown"} and named() == {"unknown"}
    finally:
        names.stop()


def test_submission_completes_addresses(relay, authority):
    relay.add_user("anna", "secret")
    relay.top["qualify"] = "local.example"
    relay.start()
    with Talk(relay.submission, context=authority.context()) as talk:
        talk.ehlo()
        talk.starttls()
        assert talk.plain("anna", "secret").code == 235
        talk.mail("anna", "bob")
        assert talk.data(mails.message()).code == 250
    mail, = relay.wait_maildir("bob")
    assert mail.startswith(b"Return-Path: <anna@local.example>\n")


def test_postmaster_is_always_reached(relay):
    relay.top["postmaster"] = "boss@local.example"
    relay.start()
    with Talk(relay.mx) as talk:
        talk.ehlo()
        for to in ("postmaster", "PostMaster@mail.ostler.example"):
            talk.mail("eve@else.example", to)
            assert talk.data(mails.message()).code == 250
    relay.wait_maildir("boss", 2)


def test_names_of_two_spellings_are_one_domain(relay):
    relay.domain("bücher.example", f"maildir:{relay.mail}/%d/%u")
    relay.start()
    with Talk(relay.mx) as talk:
        assert "SMTPUTF8" in talk.ehlo().text
        assert talk.say("MAIL FROM:<eve@else.example> SMTPUTF8").code == 250
        for to in ("bob@xn--bcher-kva.example", "bob@BÜCHER.example"):
            reply = talk.say(f"RCPT TO:<{to}>")
            assert reply.code == 250, reply
        assert talk.data(mails.message()).code == 250
    relay.wait_maildir("bob", 1, "xn--bcher-kva.example")
    relay.wait_empty()
    assert len(relay.maildir("bob", "xn--bcher-kva.example")) == 1


@pytest.mark.parametrize("has_utf8", (True, False))
def test_addresses_beyond_ascii_go_where_they_are_understood(
        relay, names, make_sink, has_utf8):
    sink = make_sink(utf8=has_utf8)
    relay.set("queue", port=sink.port)
    relay.set("relay", trusted_networks=["127.0.0.0/8"])
    names.domain("far.example", sink.host)
    relay.start()
    with Talk(relay.mx) as talk:
        talk.ehlo()
        assert talk.say("MAIL FROM:<anna@local.example> SMTPUTF8").code == 250
        assert talk.say("RCPT TO:<jürgen@far.example>").code == 250
        assert talk.data(mails.message()).code == 250
    if has_utf8:
        mail = sink.wait()[0]
        assert mail.recipients == ["jürgen@far.example"]
        assert "SMTPUTF8" in mail.options
    else:
        report, = relay.wait_maildir("anna")
        assert b"5.6.7" in report
        assert not sink.mails
    relay.wait_empty()


def test_sixty_commands_of_errors_do_not_outlast_the_limit(relay):
    relay.set("limits", errors=20)
    relay.start()
    with Talk(relay.mx) as talk:
        talk.raw(b"FROB\r\n" * 60)
        codes = []
        while not codes or codes[-1] != 421:
            codes.append(talk.reply().code)
        assert codes == [500] * 19 + [421]
        assert talk.is_closed()


def test_every_event_of_a_message_s_life_is_logged(relay, far):
    relay.set("relay", trusted_networks=["127.0.0.0/8"])
    relay.start()
    with Talk(relay.mx) as talk:
        talk.ehlo()
        talk.mail("anna@local.example", "bob@far.example")
        number = talk.data(mails.message()).text.rsplit(" ", 1)[1]
        talk.say("QUIT")
    far.wait()
    connect, = relay.wait_event("connect")
    queued, = relay.wait_event("queued", id=number)
    assert queued["session"] == connect["session"]
    assert queued["from"] == "anna@local.example"
    assert queued["size"] > 0 and queued["helo"] == "client.example"
    attempt, = relay.wait_event("attempt", id=number)
    assert (attempt["host"], attempt["ip"], attempt["port"]) == \
        ("mx.far.example", far.host, far.port)
    assert 0 < attempt["ttl"] <= 60
    delivered, = relay.wait_event("delivered", id=number)
    assert delivered["to"] == "bob@far.example"
    assert delivered["code"] == 250 and delivered["attempts"] == 1
    wait_for(lambda: relay.events("disconnect"), "the disconnect")
