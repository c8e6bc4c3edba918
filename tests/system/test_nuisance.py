# SPDX-License-Identifier: ISC
"""Nobody is told twice, too often, or about mail that is not theirs."""

import email
import email.policy

import pytest

from lab import mails
from lab.base import wait_for
from lab.talk import Talk


@pytest.fixture
def relay(relay):
    relay.set("relay", trusted_networks=["127.0.0.0/8"])
    return relay


@pytest.fixture
def refusing(far):
    far.on_rcpt = lambda address: "550 5.1.1 no such user here"
    return far


def hand_in(relay, sender, to="bob@far.example", content=None):
    with Talk(relay.mx) as talk:
        talk.ehlo()
        talk.mail(sender, to)
        reply = talk.data(content or mails.message())
        assert reply.code == 250, reply


def parse(octets):
    return email.message_from_bytes(octets, policy=email.policy.default)


AUTOMATIC = {
    "list": "List-Id: <tea.lists.example>\r\nPrecedence: list\r\n"
            "List-Post: <mailto:post@local.example>\r\n"
            "List-Owner: <mailto:owner@local.example>\r\n",
    "bulk": "Precedence: bulk\r\n",
    "auto-reply": "Auto-Submitted: auto-replied\r\n",
}


@pytest.mark.parametrize("kind", AUTOMATIC)
def test_only_the_envelope_sender_is_told(relay, refusing, kind):
    """Whatever addresses the header has, and whoever wrote it."""
    relay.start()
    content = (AUTOMATIC[kind]
               + "From: from@local.example\r\n"
               "Sender: sender@local.example\r\n"
               "Reply-To: reply@local.example\r\n"
               "Errors-To: errors@local.example\r\n"
               "Return-Path: <path@local.example>\r\n"
               "Return-Receipt-To: receipt@local.example\r\n"
               "Disposition-Notification-To: read@local.example\r\n"
               "To: bob@far.example\r\nSubject: tea\r\n\r\nhello\r\n").encode()
    hand_in(relay, "bounces@local.example", content=content)
    hand_in(relay, "", content=content)
    report, = relay.wait_maildir("bounces")
    relay.wait_event("bounced", count=2)
    relay.wait_empty()
    assert parse(report)["Auto-Submitted"] == "auto-replied"
    assert [folder.name for folder in
            (relay.mail / "local.example").iterdir()] == ["bounces"]


def test_what_exceeds_the_cap_goes_into_the_digest(relay, refusing):
    relay.set("queue", reports_per_sender="3/1h", digest="1h")
    relay.start()
    for number in range(8):
        hand_in(relay, "anna@local.example", f"u{number}@far.example")
    hand_in(relay, "bob@local.example")
    relay.wait_event("bounced", count=9)
    relay.wait_maildir("anna", 3)
    relay.wait_maildir("bob", 1)
    relay.wait_empty()
    assert len(relay.maildir("anna")) == 3
    assert relay.status()["digest"]["waiting"] == 5
    assert "5 failures nobody was told about" in relay.ctl("status").out
    # it outlives the daemon, and goes when its time has come
    relay.kill9()
    relay.set("queue", digest="1s")
    relay.start()
    digest = parse(relay.wait_maildir("postmaster")[0])
    relay.wait_empty()
    assert digest["Subject"] == "5 failed messages that nobody was told about"
    assert digest["Auto-Submitted"] == "auto-generated"
    text = digest.get_content()
    for number in range(3, 8):
        assert f"to <u{number}@far.example>" in text
    assert "550 5.1.1 no such user here" in text
    assert "5  bad-mailbox" in text
    wait_for(lambda: relay.status()["digest"]["on_way"] == 0, "the end of it")
    assert relay.status()["digest"]["waiting"] == 0
    assert len(relay.maildir("postmaster")) == 1
    assert len(relay.maildir("anna")) == 3


def test_reports_that_fail_reach_the_postmaster_once(relay, refusing):
    """The sender is as false as the recipient: a double bounce."""
    relay.set("queue", digest="2s")
    relay.start()
    for number in range(5):
        hand_in(relay, f"forged{number}@far.example")
    digest = parse(relay.wait_maildir("postmaster")[0])
    assert digest["Subject"].endswith("failed messages that nobody was told "
                                      "about")
    wait_for(lambda: sum(
        int(parse(mail)["Subject"].split()[0])
        for mail in relay.maildir("postmaster")) == 5, "all five told")
    relay.wait_empty()
    assert len(relay.wait_event("digest", 5, why="null sender")) == 5


# ----------------------------------------------------- what has failed


def kinds(rows, kind):
    return {row["name"]: row["count"] for row in rows if row["kind"] == kind}


def test_the_history_tells_what_failed_and_who_is_gone(relay, far):
    replies = {"gone": "550 5.1.1 no such user here",
               "spam": "554 5.7.1 message looks like spam",
               "full": "552 5.2.2 mailbox full"}
    far.on_rcpt = lambda address: replies.get(address.split("@")[0])
    relay.start()
    assert kinds(relay.ctl("bounces", json=True).rows, "total") == {"all": 0}
    for name in ("gone", "spam", "full", "fine"):
        hand_in(relay, "anna@local.example", f"{name}@far.example")
    relay.wait_event("bounced", count=3)
    rows = relay.ctl("bounces", json=True).rows
    assert kinds(rows, "total") == {"all": 3}
    assert kinds(rows, "category") == {"bad-mailbox": 1, "spam-related": 1,
                                       "quota-issues": 1}
    assert kinds(rows, "domain") == {"far.example": 3}
    assert len(kinds(rows, "host")) == 1
    last = [row for row in rows if row["kind"] == "failure"]
    assert {row["recipient"] for row in last} == {
        f"{name}@far.example" for name in replies}
    assert {row["reply"] for row in last} == set(replies.values())
    rows = relay.ctl("bounces", "--category", "spam-related", "--since", "1h",
                     json=True).rows
    assert kinds(rows, "total") == {"all": 1}
    for nothing in (["--domain", "near.example"], ["--host", "-"],
                    ["--until", "1h"], ["--since", "2199-01-01"]):
        rows = relay.ctl("bounces", *nothing, json=True).rows
        assert kinds(rows, "total") == {"all": 0}, nothing
    text = relay.ctl("bounces").out
    assert "3 failed" in text and "no such user here" in text
    # gone for good is one of them, until a delivery shows otherwise
    dead, = relay.ctl("bounces", "--dead", json=True).rows
    assert (dead["address"], dead["count"]) == ("gone@far.example", 1)
    assert "gone@far.example  bad-mailbox, 1 time, last 20" in \
        relay.ctl("bounces", "--dead").out
    relay.restart()
    hand_in(relay, "anna@local.example", "gone@far.example")
    relay.wait_event("bounced", count=4)
    dead, = relay.ctl("bounces", "--dead", json=True).rows
    assert dead["count"] == 2
    del replies["gone"]
    relay.restart()
    hand_in(relay, "anna@local.example", "Gone@far.example")
    far.wait(2)
    relay.wait_empty()
    assert relay.ctl("bounces", "--dead", json=True).rows == []
    for wrong in (["--category", "bad"], ["--since", "yesterday"],
                  ["--limit", "many"], ["extra"]):
        assert relay.ctl("bounces", *wrong).code == 64, wrong


def test_a_dead_postmaster_is_no_loop(relay, refusing):
    relay.top["postmaster"] = "nobody@far.example"
    relay.set("queue", digest="2s")
    relay.start()
    hand_in(relay, "")
    wait_for(lambda: relay.status()["digest"]["failed"] >= 2,
             "two digests that fail")
    status = relay.status()
    assert any("could not be delivered (550 5.1.1 no such user here)" in line
               for line in status["warnings"]), status
    failed = status["digest"]["failed"]
    told = len([row for row in relay.events("bounced")])
    assert told <= failed + 2  # one message a period, of one failure
    assert relay.wait_event("digest", level="error")
    # the postmaster is back: nothing was forgotten
    refusing.on_rcpt = lambda address: None
    digest = parse(refusing.wait()[0].content)
    assert digest["Subject"].startswith("1 failed message")
    wait_for(lambda: not any("digest" in line
                             for line in relay.status()["warnings"]),
             "the end of the warning")


# ------------------------------------------------------------ backscatter


def test_what_can_be_refused_in_the_session_is(make_relay, names, folder):
    """So that nobody is sent a report about mail they never wrote."""
    relay = make_relay(names)
    users = folder / "users"
    users.write_text("anna\n")
    relay.domains["local.example"]["recipients"] = users
    relay.domain("box.example", f"maildir:{relay.mail}/%d/%u")
    relay.set("limits", message_size="4K", hops=5, recipients=100, errors=100)
    relay.start()
    forged = "victim@far.example"
    at_rcpt = {
        "nobody@local.example": "5.1.1",
        "bob@far.example": "5.7.1",
        "bob%far.example@local.example": "5.7.1",
        "../anna@box.example": "5.1.3",
        ".hidden@box.example": "5.1.3",
        "anna": "5.1.3",
    }
    with Talk(relay.mx) as talk:
        talk.ehlo()
        talk.mail(forged)
        for recipient, enhanced in at_rcpt.items():
            reply = talk.say(f"RCPT TO:<{recipient}>")
            assert reply.code // 100 == 5, (recipient, reply)
            assert reply.text.startswith(enhanced), (recipient, reply)
        assert talk.say("DATA").code // 100 == 5
        talk.say("RSET")
        # too large: as announced, and as found
        reply = talk.say(f"MAIL FROM:<{forged}> SIZE=10000")
        assert (reply.code, reply.text[:5]) == (552, "5.3.4")
        talk.mail(forged, "anna@local.example")
        reply = talk.data(b"Subject: x\r\n\r\n" + b"y" * 900 + b"\r\n"
                          + (b"z" * 900 + b"\r\n") * 5)
        assert (reply.code, reply.text[:5]) == (552, "5.3.4")
        # in a loop
        talk.mail(forged, "anna@local.example")
        reply = talk.data(b"Received: from a by b; now\r\n" * 6
                          + b"Subject: x\r\n\r\nx\r\n")
        assert (reply.code, reply.text[:5]) == (554, "5.4.6")
        # what needs SMTPUTF8 and does not say so
        reply = talk.say("RCPT TO:<jürgen@box.example>")
        assert reply.code // 100 == 5
    assert relay.status()["queue"]["accepted"] == 0
    assert not relay.events("dsn") and not relay.queue()
    assert not relay.mail.exists()
