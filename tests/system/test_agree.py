# SPDX-License-Identifier: ISC
"""500 random cases, to a live session and to ostlerctl explain: both name the
same code, reply and rule. (tests/unit/test_agree.c does that for the function
behind both, 20,000 times.)"""

import json
import random

import pytest

from lab.base import loopback
from lab.talk import Talk

CASES = 500

LOCALS = ("bob", "Bob", "eve", "sales", "bob+tag", "postmaster", "a/b",
          "x%far.example", "x!y", '"x y"', "root")
DOMAINS = ("local.example", "LOCAL.example", "all.example", "backup.example",
           "sub.all.example", "here.example", "mail.ostler.example",
           "far.example", "nowhere.example", "[192.0.2.1]", "")


@pytest.fixture
def relay(relay, names, folder):
    (folder / "known").write_text("bob\n")
    (folder / "aliases").write_text("sales: bob@local.example\n")
    (folder / "senders").write_text("anna @local.example\n")
    relay.domain("local.example", "discard", recipients=folder / "known",
                 aliases=folder / "aliases")
    relay.domain("all.example", f"maildir:{relay.mail}/%d/%u",
                 subdomains=True)
    relay.domain("backup.example", "mx")
    relay.trusted, relay.stranger = loopback(), loopback()
    relay.set("relay", trusted_networks=[relay.trusted + "/32"],
              sender_binding="login", senders=folder / "senders")
    relay.set("limits", errors=100000)
    relay.set("queue", deliver=False)
    relay.add_user("anna", "secret")
    names.mx("here.example", "mail.ostler.example")
    names.domain("far.example", "192.0.2.9")
    return relay.start()


class Sessions:
    """One live session for each kind of client."""

    def __init__(self, relay):
        self.relay = relay
        self.talks = {}

    def get(self, listener, client, user):
        key = listener, client, user
        if key not in self.talks:
            talk = Talk(getattr(self.relay, listener), client)
            talk.ehlo()
            if user is not None:
                talk.starttls()
                assert talk.plain(user, "secret").code == 235
            self.talks[key] = talk
        return self.talks[key]

    def close(self):
        for talk in self.talks.values():
            talk.close()


def decide(talk, sender, recipient):
    """What the session says at the stage that decides."""
    assert talk.say("RSET").code == 250
    reply = talk.say(f"MAIL FROM:<{sender}>")
    if reply.code == 250:
        reply = talk.say(f"RCPT TO:<{recipient}>")
    return reply


def test_a_live_session_and_explain_name_the_same_rule(relay):
    dice = random.Random(20261121)
    sessions = Sessions(relay)
    wanted = []
    codes = set()
    for number in range(CASES):
        listener = dice.choice(("mx", "submission"))
        client = dice.choice((relay.stranger, relay.trusted))
        user = dice.choice((None, "anna")) if listener == "submission" \
            else None
        sender = dice.choice(("", "anna@local.example", "eve@else.example",
                              "anna", "x@backup.example"))
        recipient = dice.choice(LOCALS)
        domain = dice.choice(DOMAINS)
        if domain:
            recipient += "@" + domain
        reply = decide(sessions.get(listener, client, user), sender,
                       recipient)
        words = ["--listener", listener, "--client", client, "--helo",
                 "client.example", "--from", sender, "--to", recipient]
        if user is not None:
            words += ["--user", user, "--tls"]
        answer = relay.ctl("explain", *words, json=True)
        case = (number, words, reply)
        row = answer.row
        assert row["code"] == reply.code, (case, row)
        if row["decision"] == "refused":
            assert f"{row['status']} {row['reply']}" == reply.text, (case, row)
        wanted.append((row["rule"], row["decision"]))
        codes.add(reply.code)
    sessions.close()
    assert {250, 451, 501, 530, 550, 553} <= codes

    # the log's rules, in the order they were said, are those of explain
    relay.stop()
    said = [(row["rule"], "accepted" if row["event"] == "rcpt" else "refused")
            for row in map(json.loads, relay.log_text().splitlines())
            if row["event"] in ("rcpt", "reject")]
    assert said == wanted
