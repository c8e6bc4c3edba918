# SPDX-License-Identifier: ISC
"""Every category of failure by a real failure: one message to many domains,
each behind another server that fails in its own way, and the reports that
come back, in each language."""

import email
import email.policy

import pytest

from lab import mails
from lab.base import loopback, wait_for
from lab.peers import Postfix
from lab.talk import Talk

#: What a server says to which command, and what that is.
REPLIES = {
    "bad-configuration": ("rcpt", "554 5.3.5 Local configuration error, "
                          "cannot open /etc/aliases.db"),
    "content-related": ("data", "554 5.7.1 Attachment type .exe not allowed"),
    "inactive-mailbox": ("rcpt", "550 5.2.1 This mailbox has been disabled"),
    "other": ("data", "554 5.0.0 Transaction failed"),
    "policy-related": ("mail", "550 5.7.23 SPF check failed for the sender"),
    "protocol-errors": ("mail", "501 5.5.4 Syntax error in parameters"),
    "quota-issues": ("rcpt", "552 5.2.2 Mailbox full"),
    "routing-errors": ("rcpt", "554 5.4.6 Too many hops, possible mail loop"),
    "spam-related": ("mail", "554 5.7.1 Client host [127.0.0.1] blocked using "
                     "zen.spamhaus.org"),
    "virus-related": ("data", "554 5.7.1 Virus found: Eicar-Test-Signature"),
    "message-expired": ("rcpt", "450 4.2.0 not now"),
}

#: By network, DNS and Postfix: what the report says that comes of it.
OTHERS = {"bad-connection": "delayed", "no-answer-from-host": "delayed",
          "bad-domain": "failed", "bad-mailbox": "failed",
          "relaying-issues": "failed"}

WANTED = {(name, "failed") for name in REPLIES} | set(OTHERS.items())

LABELS = {"en": ("Why:", "Who can act:", "What to do:"),
          "de": ("Grund:", "Zuständig:", "Was tun:"),
          "fr": ("Cause\u00a0:", "Qui peut agir\u00a0:", "Que faire\u00a0:")}


@pytest.fixture
def world(relay, names, make_sink, deaf, folder, request):
    relay.set("relay", trusted_networks=["127.0.0.0/8"])
    first = make_sink()
    relay.set("queue", port=first.port, retry=["1s"], warn="1s",
              expire="8s", connect_timeout="1s")
    for number, (name, (command, reply)) in enumerate(REPLIES.items()):
        sink = first if number == 0 else make_sink(port=first.port)
        setattr(sink, f"on_{command}", lambda arg, reply=reply: reply)
        names.domain(f"{name}.example", sink.host)
    names.domain("bad-connection.example", loopback())
    quiet = loopback()
    deaf(quiet, first.port)
    names.domain("no-answer-from-host.example", quiet)
    postfix = Postfix(
        folder, loopback(), first.port, ["bad-mailbox.example"],
        "virtual_mailbox_maps = inline:{known@bad-mailbox.example=known/}")
    request.addfinalizer(postfix.stop)
    # it does not know the second of them
    names.domain("bad-mailbox.example", postfix.host, ttl=1)
    names.domain("relaying-issues.example", postfix.host, ttl=1)
    relay.start()
    return relay


def read(octets):
    report = email.message_from_bytes(octets, policy=email.policy.default)
    text, status = report.get_payload()[:2]
    _, recipient = status.get_payload()
    return report, text.get_content(), recipient


def by_cause(relay):
    """{(category, action): (report, its text, its fields)}"""
    found = {}
    for octets in relay.maildir("anna"):
        report = read(octets)
        found[report[2]["X-Ostler-Category"], report[2]["Action"]] = report
    return found


@pytest.mark.parametrize("language", ["en", "de", "fr"])
def test_every_category_comes_of_a_real_failure(world, language):
    with Talk(world.mx, timeout=120) as talk:
        talk.ehlo()
        talk.mail("anna@local.example",
                  *(f"bob@{name}.example" for name, _ in sorted(WANTED)))
        assert talk.data(f"Content-Language: {language}\r\n".encode()
                         + mails.message()).code == 250
    wait_for(lambda: WANTED <= set(by_cause(world)),
             f"reports of {sorted(WANTED)}")
    found = by_cause(world)
    for name, action in WANTED:
        report, text, recipient = found[name, action]
        assert report.get_payload()[0]["Content-Language"] == language
        assert recipient["Final-Recipient"].split("; ")[1] in (
            f"bob@{name}.example",  # these three expire in the end
            "bob@bad-connection.example",
            "bob@no-answer-from-host.example")
        assert recipient["Status"][0] == ("4" if action == "delayed"
                                          or name == "message-expired"
                                          else "5")
        assert recipient["Last-Attempt-Date"] is not None
        assert all(label in text for label in LABELS[language])
        if name in REPLIES:
            _, reply = REPLIES[name]
            said = " ".join(recipient["Diagnostic-Code"].split())
            assert reply in said or name == "message-expired", said
    for name in ("bad-mailbox", "relaying-issues"):
        assert found[name, "failed"][2]["Remote-MTA"] == f"dns; mx.{name}" \
            ".example"


def test_an_expiry_tells_that_it_was_the_same_each_time(relay, names,
                                                        make_sink):
    relay.set("relay", trusted_networks=["127.0.0.0/8"])
    sink = make_sink()
    relay.set("queue", port=sink.port, retry=["1s"], expire="1h", warn="1h")
    sink.on_rcpt = lambda address: "452 4.2.2 Mailbox full"
    names.domain("far.example", sink.host)
    relay.start()
    with Talk(relay.mx, timeout=120) as talk:
        talk.ehlo()
        talk.mail("anna@local.example", "bob@far.example")
        assert talk.data(mails.message()).code == 250
    # each time is more than once, however slow the machine is
    relay.wait_event("deferred", 2)
    relay.set("queue", expire="2s")
    assert relay.reload().code == 0
    _, text, recipient = read(relay.wait_maildir("anna")[0])
    assert recipient["X-Ostler-Category"] == "message-expired"
    assert "each time with the same result: no room for the message." \
        in " ".join(text.split())
    assert "452 4.2.2 Mailbox full" in text


def test_a_delay_that_was_told_has_its_end_told_too(relay, names, make_sink):
    relay.set("relay", trusted_networks=["127.0.0.0/8"])
    sink = make_sink()
    relay.set("queue", port=sink.port, retry=["1s"], warn="1s")
    sink.on_rcpt = lambda address: "450 4.2.0 not now"
    names.domain("far.example", sink.host)
    relay.start()
    with Talk(relay.mx, timeout=120) as talk:
        talk.ehlo()
        talk.mail("anna@local.example", "bob@far.example")
        assert talk.data(mails.message()).code == 250
    relay.wait_maildir("anna")
    sink.on_rcpt = lambda address: None
    told = [read(octets)[2]["Action"]
            for octets in relay.wait_maildir("anna", 2)]
    assert sorted(told) == ["delayed", "relayed"]
    relay.wait_empty()
    assert len(relay.maildir("anna")) == 2
