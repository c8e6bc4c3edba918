# SPDX-License-Identifier: ISC
"""Other servers say "relaying denied": whose records are wrong, what is done
about it, and what people are told."""

import email
import email.policy
import socket
import threading
import time

import pytest

from lab import mails
from lab.base import loopback, wait_for
from lab.relay import TOP
from lab.talk import Talk


def deny(address):
    return f"550 5.7.1 <{address}>: Relay access denied"


def take(address):
    return None


def hand_in(relay, *recipients, count=1):
    with Talk(relay.mx, timeout=120) as talk:
        talk.ehlo()
        for _ in range(count):
            talk.mail("anna@local.example", *recipients)
            assert talk.data(mails.message()).code == 250


def report(relay):
    """The text of the one report that anna got, in one line, and the part
    for programs."""
    content, = relay.wait_maildir("anna")
    message = email.message_from_bytes(content, policy=email.policy.default)
    text, status = message.get_payload()[:2]
    return " ".join(text.get_content().split()), status.get_payload()[1]


@pytest.fixture
def trusting(relay):
    """One that would try again tomorrow only, if it went by the schedule."""
    relay.set("relay", trusted_networks=["127.0.0.0/8"])
    relay.set("queue", retry=["1d"])
    return relay


@pytest.fixture
def servers(trusting, names, make_sink):
    """Two hosts; far.example's MX is the first, with this TTL."""
    def make(ttl):
        old = make_sink()
        new = make_sink(port=old.port)
        trusting.set("queue", port=old.port)
        names.host("old.example", old.host, ttl=ttl)
        names.host("new.example", new.host, ttl=ttl)
        names.mx("far.example", "old.example", ttl=ttl)
        return old, new
    return make


class Closed:
    """A host that is there and takes no session: the next one is tried, and
    this one not forgotten."""

    def __init__(self, host, port):
        self.socket = socket.create_server((host, port))
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection:
                connection.sendall(b"421 4.3.2 closed for today\r\n")

    def stop(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join()


# ------------------------------------------------------ our data were old


def test_mail_follows_an_mx_that_moved_within_its_ttl_at_once(
        trusting, servers, names):
    old, new = servers(ttl=600)
    trusting.start()
    hand_in(trusting, "bob@far.example")
    old.wait()  # and now the records are in our cache for ten minutes
    names.mx("far.example", "new.example", ttl=600)
    old.on_rcpt = deny
    hand_in(trusting, "bob@far.example", "eve@far.example")
    mail, = new.wait()
    assert sorted(mail.recipients) == ["bob@far.example", "eve@far.example"]
    trusting.wait_empty()
    assert len(old.mails) == 1
    rows = trusting.wait_event("deferred")
    assert len(rows) == 2
    for row in rows:
        assert row["scenario"] == "remote" and row["cause"] == "our-data"
        assert row["category"] == "relaying-issues"
        assert row["host"] == "old.example" and "TTL 10m" in row["evidence"]
        assert "DNS says now: 10 new.example" in row["evidence"]
    assert trusting.maildir("anna") == []


def test_mail_follows_an_address_that_moved_within_its_ttl_at_once(
        trusting, servers, names):
    old, new = servers(ttl=600)
    trusting.start()
    hand_in(trusting, "bob@far.example")
    old.wait()
    names.host("old.example", new.host, ttl=600)
    old.on_rcpt = deny
    hand_in(trusting, "bob@far.example")
    new.wait()
    trusting.wait_empty()
    row, = trusting.wait_event("deferred")
    assert row["cause"] == "our-data" and row["ip"] == old.host


# ------------------------------------- the resolver before us kept old data


def test_a_resolver_that_keeps_old_records_is_waited_for(
        make_relay, names, resolver, make_sink):
    relay = make_relay(resolver)
    relay.set("relay", trusted_networks=["127.0.0.0/8"])
    old = make_sink()
    new = make_sink(port=old.port)
    relay.set("queue", port=old.port, retry=["1d"])
    names.host("old.example", old.host, ttl=6)
    names.host("new.example", new.host, ttl=6)
    names.mx("far.example", "old.example", ttl=6)
    relay.start()
    for question in (("far.example", "MX"), ("old.example", "A"),
                     ("old.example", "AAAA")):
        assert resolver.ask(*question)
    kept = time.monotonic()
    old.on_rcpt = deny
    names.mx("far.example", "new.example", ttl=6)
    hand_in(relay, "bob@far.example")
    mail, = new.wait()
    assert mail.at > kept + 5
    relay.wait_empty()
    row, = relay.wait_event("deferred")
    assert row["cause"] == "best-mx" and old.mails == []
    assert relay.maildir("anna") == []


# --------------------------------------------------- nothing has changed


def test_a_refusal_is_final_when_dns_goes_on_to_name_the_host(
        trusting, servers):
    old, _ = servers(ttl=2)
    refusals = []

    def refuse(address):
        refusals.append(time.monotonic())
        return deny(address)
    old.on_rcpt = refuse
    trusting.start()
    hand_in(trusting, "bob@far.example")
    row, = trusting.wait_event("bounced")
    assert row["cause"] == "best-mx" and row["scenario"] == "remote"
    assert row["attempts"] == 2 and len(refusals) == 2
    assert refusals[1] - refusals[0] > 2
    text, status = report(trusting)
    assert "tell the recipient another way: their mail is misconfigured" \
        in text
    assert "The best MX of the domain refuses its mail." in text
    assert "Looked into: old.example is an MX of far.example with " \
        "preference 10 by an answer of" in text
    assert "Who can act: the recipient's mail administrator." in text
    assert "550 5.7.1 <bob@far.example>: Relay access denied" in text
    assert status["X-Ostler-Category"] == "relaying-issues"
    trusting.wait_empty()


def test_a_restart_does_not_begin_the_patience_anew(trusting, servers):
    old, _ = servers(ttl=12)  # a restart takes seconds on a busy machine
    old.on_rcpt = deny
    trusting.start()
    hand_in(trusting, "bob@far.example")
    trusting.wait_event("deferred")
    row, = trusting.queue()
    trusting.restart()
    again, = trusting.queue()
    # kept by one clock, shown by another
    assert abs(again["next_try_ms"] - row["next_try_ms"]) < 5
    show = trusting.ctl("queue", "show", row["id"], json=True).row
    attempt, = show["tries"]
    assert attempt["note"].startswith("best-mx: old.example is an MX of")
    words = trusting.ctl("queue", "show", row["id"]).out
    assert "best-mx: old.example is an MX of far.example" in words
    done, = trusting.wait_event("bounced")
    assert done["attempts"] == 2 and len(trusting.wait_event("deferred")) == 1


def test_much_mail_for_a_stubborn_host_asks_dns_seldom(
        make_relay, names, counter, make_sink):
    relay = make_relay(counter)
    relay.set("relay", trusted_networks=["127.0.0.0/8"])
    far = make_sink()
    relay.set("queue", port=far.port, retry=["1d"])
    names.domain("far.example", far.host, ttl=3)
    far.on_rcpt = deny
    relay.start()
    hand_in(relay, "bob@far.example", count=60)
    wait_for(lambda: len(relay.events("bounced")) == 60, "sixty refusals")
    began, ended = counter.questions[0][0], counter.questions[-1][0]
    # by the TTL, and one out of turn each 30 s
    most = (ended - began) / 3 + 1 + (ended - began) / 30 + 1
    assert counter.count("far.example", "MX") <= most
    # two attempts each; or three, for those that came between the times
    assert all(row["attempts"] <= 3 for row in relay.events("bounced"))
    relay.wait_empty()


# ------------------------------------------------------------ backup MX


def test_a_backup_that_is_not_set_up_does_not_end_the_mail(
        trusting, names, make_sink):
    backup = make_sink()
    backup.on_rcpt = deny
    trusting.set("queue", port=backup.port)
    best = loopback()
    names.host("best.example", best)
    names.host("backup.example", backup.host)
    names.mx("far.example", "best.example", (20, "backup.example"))
    closed = Closed(best, backup.port)
    try:
        trusting.start()
        hand_in(trusting, "bob@far.example")
        row, = trusting.wait_event("deferred")
    finally:
        closed.stop()
    assert row["cause"] == "backup-mx" and row["host"] == "backup.example"
    assert "best.example with preference 10 could not be reached" \
        in row["evidence"]
    sink = make_sink(host=best, port=backup.port)
    assert trusting.ctl("queue", "retry", row["id"]).code == 0
    sink.wait()
    trusting.wait_empty()


# ------------------------------------------------- next hops of our own


def test_a_smarthost_without_a_login_gets_time_to_be_repaired(
        trusting, make_sink):
    smart = make_sink()
    smart.on_rcpt = deny
    trusting.set("queue", retry=["1s"])
    trusting.route("out", for_=["*"], via=f"smtp:{smart.host}:{smart.port}")
    trusting.start()
    hand_in(trusting, "bob@far.example")
    rows = trusting.wait_event("deferred", 2)
    for row in rows:
        assert row["cause"] == "no-login" and row["fault"] == "own"
        assert "route out, which has no user" in row["evidence"]
    assert trusting.events("bounced") == []
    smart.on_rcpt = take
    smart.wait()
    trusting.wait_empty()
    assert trusting.maildir("anna") == []


def test_a_smarthost_without_a_login_is_told_of_when_the_grace_is_over(
        trusting, make_sink):
    smart = make_sink()
    smart.on_rcpt = deny
    trusting.set("queue", retry=["1s"], grace="3s")
    trusting.route("out", for_=["*"], via=f"smtp:{smart.host}:{smart.port}")
    trusting.start()
    hand_in(trusting, "bob@far.example")
    row, = trusting.wait_event("bounced")
    assert row["cause"] == "no-login" and row["attempts"] >= 2
    text, _ = report(trusting)
    assert "Set user and password_file in the route that is named above" \
        in text
    assert "is the smarthost of route out, which has no user to log in " \
        "with" in text
    assert "Who can act: your mail administrator." in text


def test_an_inner_server_that_does_not_know_its_domain_is_our_fault(
        trusting, make_sink):
    inner = make_sink()
    inner.on_rcpt = deny
    trusting.set("queue", retry=["1s"])
    trusting.domain("inner.example", f"smtp:{inner.host}:{inner.port}")
    trusting.start()
    hand_in(trusting, "bob@inner.example")
    row = trusting.wait_event("deferred")[0]
    assert row["cause"] == "inner" and row["fault"] == "own"
    inner.on_rcpt = take
    inner.wait()
    trusting.wait_empty()


# -------------------------------------------------- five states, in words


def advice(language, state):
    """What etc/reports/LANGUAGE says about it: {"why": text, ...}"""
    section, key, found = None, None, {}
    for line in (TOP / "etc" / "reports" / language).read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif section == f"denied-{state}" and line.strip() and line[0] != "#":
            if not line[0].isspace():
                key, line = line.split(":", 1)
            found[key] = " ".join(
                [*found.get(key, "").split(), *line.replace("~", " ").split()])
    return found


def late(address):
    """Refuses when the time for the message is over: its word is the last,
    whatever would be tried otherwise."""
    time.sleep(2.2)
    return deny(address)


LANGUAGES = {"en": "far.example", "de": "fern.example",
             "fr": "loin.example"}


@pytest.fixture
def scene(trusting, names, make_sink, request):
    """Makes each of the five states, for each of the domains."""
    trusting.set("queue", expire="2s", grace="1s", warn="1h", retry=["1s"])
    old = make_sink()
    new = make_sink(port=old.port)
    trusting.set("queue", port=old.port)

    def lead_to(*hosts, ttl, domains=LANGUAGES.values()):
        for domain in domains:
            names.mx(domain, *hosts, ttl=ttl)

    def moved():
        lead_to("old.example", ttl=600)
        trusting.start()
        for domain in LANGUAGES.values():
            hand_in(trusting, f"bob@{domain}")
        old.wait(3)
        lead_to("new.example", ttl=600)
        old.on_rcpt = late

    def forgotten():
        def refuse(address):
            lead_to("new.example", ttl=0, domains=[address.split("@")[1]])
            return late(address)
        # of no use to the next message, so each asks for all of it
        names.host("bygone.example", old.host, ttl=0)
        lead_to("bygone.example", ttl=0)
        old.on_rcpt = refuse
        trusting.start()

    def backup():
        best = loopback()
        names.host("best.example", best)
        lead_to("best.example", (20, "old.example"), ttl=600)
        request.addfinalizer(Closed(best, old.port).stop)
        old.on_rcpt = late
        trusting.start()

    def best():
        lead_to("old.example", ttl=600)
        old.on_rcpt = late
        trusting.start()

    def smart():
        trusting.route("out", for_=["*"], via=f"smtp:{old.host}:{old.port}")
        old.on_rcpt = late
        trusting.start()

    names.host("old.example", old.host, ttl=600)
    names.host("new.example", new.host, ttl=600)
    return {"our-data": moved, "old-record": forgotten, "backup-mx": backup,
            "best-mx": best, "no-login": smart}


@pytest.mark.parametrize("state", ["our-data", "old-record", "backup-mx",
                                   "best-mx", "no-login"])
def test_each_state_has_its_own_advice_in_every_language(trusting, scene,
                                                         state):
    scene[state]()
    with Talk(trusting.mx, timeout=120) as talk:
        talk.ehlo()
        for language, domain in LANGUAGES.items():
            talk.mail("anna@local.example", f"bob@{domain}")
            assert talk.data(f"Content-Language: {language}\r\n".encode()
                             + mails.message()).code == 250
    found = {}
    for content in trusting.wait_maildir("anna", 3):
        message = email.message_from_bytes(content,
                                           policy=email.policy.default)
        part = message.get_payload()[0]
        found[part["Content-Language"]] = (
            message["Subject"], " ".join(part.get_content().split()))
    assert sorted(found) == sorted(LANGUAGES)
    for language, domain in LANGUAGES.items():
        subject, text = found[language]
        told = advice(language, state)
        assert sorted(told) == ["admin", "author", "cause", "why"]
        assert subject.endswith(told["cause"])
        for key in ("why", "author", "admin"):
            assert told[key] in text, (key, text)
        assert f"550 5.7.1 <bob@{domain}>: Relay access denied" in text
    assert {row["cause"] for row in trusting.wait_event("bounced")} == {state}
