# SPDX-License-Identifier: ISC
"""Two relays that send everything to each other, reports too: it has an end,
and nothing is forgotten. OSTLER_SLOW=1: ten thousand messages."""

import os

import pytest

from lab import mails
from lab.base import wait_for
from lab.talk import Talk

EVENTS = 10000 if os.environ.get("OSTLER_SLOW") else 200
PATIENCE = 3000 if os.environ.get("OSTLER_SLOW") else 120
HOPS = 5

REPORT = b"""From: MAILER-DAEMON@%s\r
To: somebody@%s\r
Subject: Undelivered Mail\r
Auto-Submitted: auto-replied\r
MIME-Version: 1.0\r
Content-Type: multipart/report; report-type=delivery-status; boundary=x\r
\r
--x\r
Content-Type: text/plain\r
\r
It was not delivered.\r
--x\r
Content-Type: message/delivery-status\r
\r
Reporting-MTA: dns; %s\r
\r
Final-Recipient: rfc822; forged@%s\r
Action: failed\r
Status: 5.1.1\r
--x--\r
"""
AUTOMATIC = b"Auto-Submitted: auto-replied\r\nPrecedence: bulk\r\n"


@pytest.fixture
def pair(make_relay, names, folder):
    """Mail for a.example goes from A to B, which finds A by its MX; and so on
    with b.example. Postmasters are no exception."""
    relays = [make_relay(names), make_relay(names)]
    port = relays[0].mx[1]
    relays[1].mx = (relays[1].host, port)
    for relay, other, own, theirs in (
            (*relays, "a.example", "b.example"),
            (*relays[::-1], "b.example", "a.example")):
        aliases = relay.folder / "aliases"
        aliases.write_text(f"ring: ring@{theirs}\n")
        relay.top["hostname"] = f"mx.{own}"
        relay.top["postmaster"] = f"postmaster@{own}"
        relay.listeners = {"mx": {"role": "mx", "tls": "none",
                                  "address": ["%s:%d" % relay.mx]}}
        relay.domains = {own: {"deliver": "smtp:%s:%d" % other.mx,
                               "aliases": aliases}}
        relay.set("relay", trusted_networks=["127.0.0.0/8"])
        relay.set("limits", hops=HOPS, connections_per_client=100)
        relay.set("log", level="info")
        relay.set("queue", port=port, digest="1h", retry=["1s"])
        names.domain(own, relay.host)
    for relay in relays:
        relay.start()
    return relays


def event(number):
    """One of the ways to start it: sender, recipient, content."""
    own, theirs = (("a.example", "b.example") if number % 2
                   else ("b.example", "a.example"))
    return [
        (f"u{number}@{theirs}", f"v{number}@{own}", mails.message()),
        ("", f"v{number}@{own}", mails.message()),
        (f"robot@{own}", f"robot@{theirs}", AUTOMATIC + mails.message()),
        ("", f"forged@{theirs}", REPORT % ((own.encode(),) * 4)),
        (f"ring@{theirs}", f"ring@{own}", mails.message()),
        ("same@a.example", "same@b.example", mails.message()),
    ][number // 2 % 6]


def are_at_rest(pair):
    """Empty at the same time: between two looks nothing came to either."""
    looks = [[relay.status()["queue"] for relay in pair] for _ in range(2)]
    first, second = [[queue["accepted"] for queue in look] for look in looks]
    return first == second and not any(queue["messages"] for look in looks
                                       for queue in look)


def test_two_relays_that_bounce_at_each_other_come_to_rest(pair):
    with Talk(pair[0].mx, timeout=PATIENCE) as one, \
            Talk(pair[1].mx, timeout=PATIENCE) as other:
        for talk in (one, other):
            talk.ehlo()
        for number in range(EVENTS):
            sender, recipient, content = event(number)
            talk = one if recipient.endswith("@a.example") else other
            talk.mail(sender, recipient)
            reply = talk.data(content)
            assert reply.code == 250, reply
    wait_for(lambda: are_at_rest(pair), "rest", PATIENCE)
    rows = [relay.status() for relay in pair]

    def total(*keys):
        values = rows
        for key in keys:
            values = [value[key] for value in values]
        return sum(values)
    accepted = total("queue", "accepted")
    failed = total("queue", "bounced")
    told = total("digest", "waiting")

    def reported():
        return sum(len(relay.events("dsn")) for relay in pair)
    wait_for(lambda: reported() >= failed - told, "the log's last lines")
    reports = reported()
    assert total("queue", "expired") == 0
    # each message and each report of it is passed on HOPS times at most
    assert accepted <= EVENTS * 2 * (HOPS + 1), (accepted, EVENTS)
    assert reports <= EVENTS
    # whatever failed was reported, or stands in a digest
    assert failed == reports + told, (failed, reports, told)
    assert failed >= EVENTS
    assert total("digest", "on_way") == 0
    print(f"{EVENTS} events: {accepted} accepted, {failed} failed, "
          f"{reports} reports, {told} for the digests")
    # The postmasters' addresses are part of the ring: a digest is a message
    # as any other from the null sender, and comes to its end like one.
    for relay in pair:
        relay.set("queue", digest="1s")
        relay.reload()

    def digests():
        return [sum("messages" in row for row in relay.events("digest"))
                for relay in pair]
    wait_for(lambda: min(digests()) >= 1, "a digest of each", PATIENCE)
    for relay in pair:
        relay.set("queue", digest="1h")
        relay.reload()
    wait_for(lambda: are_at_rest(pair), "rest again", PATIENCE)
    rows = [relay.status() for relay in pair]
    assert total("queue", "accepted") <= accepted + \
        (HOPS + 1) * sum(digests())
    assert total("digest", "waiting") + total("digest", "on_way") >= 1
