# SPDX-License-Identifier: ISC
"""When the way is shut: mail waits and says why, goes on, or comes back."""

import email
import email.policy
import threading
import time

import pytest

from lab import mails
from lab.base import awake, free_port, loopback, wait_for
from lab.talk import Talk


def hand_in(relay, to="bob@far.example", sender="anna@local.example",
            content=None):
    content = content or mails.message()
    with Talk(relay.mx) as talk:
        talk.ehlo()
        talk.mail(sender, *([to] if isinstance(to, str) else to))
        reply = talk.data(content)
        assert reply.code == 250, reply
    return content


@pytest.fixture
def relay(relay):
    relay.set("relay", trusted_networks=["127.0.0.0/8"])
    return relay


def why(relay):
    """The row of the one waiting message, once it has been tried."""
    return wait_for(lambda: [row for row in relay.queue()
                             if row["state"] == "deferred" and row["why"]],
                    "a reason")[0]


def test_mail_waits_while_dns_is_down(relay, far, names):
    relay.start()
    names.stop()
    content = hand_in(relay)
    row = why(relay)
    assert row["recipient"] == "bob@far.example"
    assert "DNS" in row["why"] or "name server" in row["why"], row
    assert row["next_try_ms"] / 1000 > time.time() - 5
    text = relay.ctl("queue").out
    assert row["why"] in text
    assert not far.mails
    names.start()
    assert mails.as_sent(far.wait()[0].content) == content
    relay.wait_empty()


def test_mail_waits_while_the_next_hop_is_down(relay, far):
    far.stop()
    relay.start()
    content = hand_in(relay)
    row = why(relay)
    assert "refused" in row["why"], row
    assert row["next_try_ms"] > 0 and row["attempts"] >= 1
    show = relay.ctl("queue", "show", row["id"], json=True).row
    assert show["tries"][0]["ip"] == far.host
    assert show["tries"][0]["port"] == far.port
    relay.restart()
    assert relay.queue()[0]["attempts"] >= 1
    far.start()
    assert mails.as_sent(far.wait()[0].content) == content
    relay.wait_empty()
    assert relay.wait_event("deferred") and relay.wait_event("delivered")


def test_mail_waits_while_the_next_hop_says_4xx(relay, far):
    far.on_data = lambda envelope: "452 4.3.1 full up"
    relay.start()
    hand_in(relay)
    assert "full up" in why(relay)["why"]
    far.on_data = lambda envelope: None
    far.wait()
    relay.wait_empty()


def test_a_slow_domain_holds_up_no_other(relay, names, make_sink):
    port = free_port()
    sink = make_sink(port=port)
    relay.set("queue", port=port, connections=5)
    names.domain("far.example", sink.host)
    names.domain("dead.example", loopback())
    relay.start()
    for number in range(20):
        hand_in(relay, f"u{number}@dead.example")
    hand_in(relay)
    sink.wait()
    relay.ctl("queue", "remove", "--all")


# --------------------------------------------------------------- reports


class Report:
    """A delivery status notification (RFC 3464), taken apart."""

    def __init__(self, octets):
        self.mail = email.message_from_bytes(octets,
                                             policy=email.policy.default)
        assert self.mail.get_content_type() == "multipart/report"
        assert self.mail["Content-Type"].params["report-type"] == \
            "delivery-status"
        parts = list(self.mail.iter_parts())
        assert len(parts) == 3
        assert parts[0].get_content_type() == "text/plain"
        assert parts[1].get_content_type() == "message/delivery-status"
        self.text = parts[0].get_content()
        fields = parts[1].get_payload()
        self.message, self.recipients = fields[0], [f for f in fields[1:]
                                                    if f.items()]
        self.returned = parts[2]


def test_a_5xx_at_rcpt_comes_back_with_the_remote_s_exact_words(relay, far):
    far.on_rcpt = lambda address: \
        "550 5.1.1 <bob@far.example>: no such user; see http://x.example/"
    relay.start()
    content = hand_in(relay)
    octets, = relay.wait_maildir("anna")
    assert octets.startswith(b"Return-Path: <>\n")
    report = Report(octets)
    assert report.mail["To"] == "anna@local.example"
    assert report.mail["Auto-Submitted"] == "auto-replied"
    assert report.message["Reporting-MTA"] == "dns; mail.ostler.example"
    recipient, = report.recipients
    assert recipient["Final-Recipient"].lower() == \
        "rfc822; bob@far.example"
    assert recipient["Action"] == "failed"
    assert recipient["Status"] == "5.1.1"
    assert "550 5.1.1 <bob@far.example>: no such user; see http://x.example/"\
        in " ".join(recipient["Diagnostic-Code"].split())
    assert "mx.far.example" in recipient["Remote-MTA"]
    assert "bob@far.example" in report.text
    assert "no such user" in report.text
    assert mails.message_id(report.returned.as_bytes()) == \
        mails.message_id(content)
    relay.wait_empty()
    assert relay.wait_event("bounced", to="bob@far.example")
    assert len(relay.maildir("anna")) == 1


def test_only_the_failed_recipients_are_reported(relay, far):
    far.on_rcpt = lambda address: None if address.startswith("bob") \
        else "550 5.1.1 no such user"
    relay.start()
    hand_in(relay, ["bob@far.example", "eve@far.example",
                    "carl@far.example"])
    far.wait()
    report = Report(relay.wait_maildir("anna")[0])
    assert sorted(r["Final-Recipient"].split()[-1]
                  for r in report.recipients) == \
        ["carl@far.example", "eve@far.example"]
    relay.wait_empty()
    assert far.mails[0].recipients == ["bob@far.example"]
    assert len(relay.maildir("anna")) == 1


def test_a_report_goes_out_to_a_sender_elsewhere(relay, far, names,
                                                 make_sink):
    home = make_sink(port=far.port)
    names.domain("home.example", home.host)
    far.on_data = lambda envelope: "554 5.6.0 not this"
    relay.start()
    hand_in(relay, sender="eve@home.example")
    mail = home.wait()[0]
    assert mail.sender == "" and mail.recipients == ["eve@home.example"]
    recipient, = Report(mail.content).recipients
    assert recipient["Status"] == "5.6.0"
    relay.wait_empty()


def test_no_report_answers_a_null_sender(relay, far):
    far.on_rcpt = lambda address: "550 5.1.1 no such user"
    relay.start()
    hand_in(relay, sender="")
    relay.wait_event("bounced", to="bob@far.example")
    relay.wait_empty()
    assert not far.mails and not relay.mail.exists()


def test_expired_mail_comes_back(relay, far):
    relay.set("queue", expire="2s", warn="1h")
    far.on_rcpt = lambda address: "451 4.7.1 come back later"
    relay.start()
    hand_in(relay)
    report = Report(relay.wait_maildir("anna")[0])
    recipient, = report.recipients
    assert recipient["Action"] == "failed"
    assert "come back later" in recipient["Diagnostic-Code"]
    relay.wait_empty()
    assert relay.wait_event("expired", to="bob@far.example")


def test_a_sender_is_warned_once_of_mail_that_waits(relay, far):
    relay.set("queue", warn="1s", expire="1h")
    far.on_rcpt = lambda address: "451 4.7.1 come back later"
    relay.start()
    hand_in(relay)
    report = Report(relay.wait_maildir("anna")[0])
    recipient, = report.recipients
    assert recipient["Action"] == "delayed"
    assert recipient["Status"].startswith("4.")
    tried = len(relay.events("attempt"))
    relay.wait_event("attempt", count=tried + 2)
    assert len(relay.maildir("anna")) == 1
    far.on_rcpt = lambda address: None
    far.wait()
    relay.wait_empty()


def test_a_domain_that_does_not_exist_fails_at_once(relay, names):
    relay.start()
    hand_in(relay, "bob@nowhere.example")
    recipient, = Report(relay.wait_maildir("anna")[0]).recipients
    assert recipient["Status"] == "5.1.2"
    relay.wait_empty()


def test_a_domain_with_a_null_mx_fails_at_once(relay, names):
    names.set("never.example", "MX", "0 .")
    names.host("never.example", loopback())
    relay.start()
    hand_in(relay, "bob@never.example")
    recipient, = Report(relay.wait_maildir("anna")[0]).recipients
    assert recipient["Status"] == "5.1.10"
    relay.wait_empty()


# ---------------------------------------------------------------- routes


def test_a_domain_without_mx_is_its_own_host(relay, names, make_sink):
    sink = make_sink()
    relay.set("queue", port=sink.port)
    names.host("bare.example", sink.host)
    relay.start()
    hand_in(relay, "bob@bare.example")
    sink.wait()
    row = relay.ctl("route", "bob@bare.example", json=True).row
    assert row["implicit_mx"] is True


def test_the_next_mx_is_tried_when_the_first_is_down(relay, names,
                                                     make_sink):
    sink = make_sink()
    relay.set("queue", port=sink.port)
    names.host("one.example", loopback())
    names.host("two.example", loopback(), sink.host)
    names.mx("far.example", (10, "one.example"), (20, "two.example"))
    relay.start()
    before = awake()
    hand_in(relay)
    sink.wait()
    assert relay.wait_event("delivered")[0]["attempts"] == 1
    assert awake() - before < 10


def test_greylisting_costs_no_wait_when_the_next_mx_takes_the_mail(
        relay, names, make_sink):
    first = make_sink()
    second = make_sink(port=first.port)
    relay.set("queue", port=first.port)
    names.host("one.example", first.host)
    names.host("two.example", second.host)
    names.mx("far.example", (10, "one.example"), (20, "two.example"))
    first.on_rcpt = lambda to: \
        "450 4.7.1 come back later" if to.startswith("eve@") else None
    relay.start()
    content = hand_in(relay, ["bob@far.example", "eve@far.example"])
    mail = second.wait()[0]
    assert mail.recipients == ["eve@far.example"]
    assert mails.as_sent(mail.content) == content
    assert first.wait()[0].recipients == ["bob@far.example"]
    relay.wait_empty()
    assert not relay.events("deferred")
    hosts = {e["to"]: e["ip"] for e in relay.wait_event("delivered", 2)}
    assert hosts == {"bob@far.example": first.host,
                     "eve@far.example": second.host}


def test_the_better_mx_is_preferred(relay, names, make_sink):
    good = make_sink()
    worse = make_sink(port=good.port)
    relay.set("queue", port=good.port)
    names.host("good.example", good.host)
    names.host("worse.example", worse.host)
    names.mx("far.example", (20, "worse.example"), (10, "good.example"))
    relay.start()
    for _ in range(5):
        hand_in(relay)
    good.wait(5)
    assert worse.connections == 0


def test_loopback_addresses_of_strangers_are_refused(relay, far):
    relay.set("resolver", private_targets=False)
    relay.start()
    hand_in(relay)
    wait_for(lambda: relay.events("deferred") or relay.events("bounced"),
             "an end")
    assert far.connections == 0


def test_a_loop_of_one_is_seen(relay, names):
    # the MX of a domain that is not ours names us
    relay.set("queue", port=relay.mx[1])
    names.domain("loop.example", relay.host)
    relay.start()
    hand_in(relay, "bob@loop.example")
    wait_for(lambda: relay.events("deferred") or relay.events("bounced"),
             "an end")
    assert len(relay.wait_event("queued")) == 1


def test_connections_are_used_again(relay, names, far):
    # they end with the records that they were made by, and with what is
    # known of there being no others
    names.negative_ttl = 600
    names.domain("far.example", far.host, ttl=600)
    relay.set("queue", idle_connection="10m")
    relay.start()
    for _ in range(5):
        threads = [threading.Thread(target=hand_in, args=(relay,))
                   for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # a host that is slow to take them would be helped by more
        relay.wait_empty()
    assert len(far.mails) == 20
    assert far.connections <= 4, far.connections
