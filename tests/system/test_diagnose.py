# SPDX-License-Identifier: ISC
"""ostlerctl route and diagnose say of each destination what a message finds
there, and send none."""

import socket
import threading

import pytest

from lab import mails
from lab.base import PATIENCE, free_port, loopback, wait_for
from lab.talk import Talk


def hand_in(relay, *recipients):
    with Talk(relay.mx, timeout=120) as talk:
        talk.ehlo()
        for recipient in recipients:
            talk.mail("anna@local.example", recipient)
            assert talk.data(mails.message()).code == 250


def diagnose(relay, address, *options):
    """Its steps by name (the last of each), all of them, and the result."""
    answer = relay.ctl("diagnose", address, "--from", "anna@local.example",
                       *options, json=True)
    assert answer.err == "", answer.err
    rows = answer.rows
    assert rows[0]["step"] == "policy" and rows[-1]["step"] == "result"
    assert (answer.code == 0) == rows[-1]["ok"]
    assert all(a["ms"] <= b["ms"] for a, b in zip(rows, rows[1:]))
    return {row["step"]: row for row in rows}, rows


@pytest.fixture
def world(make_relay, names, resolver, make_sink, authority, folder):
    """relay, with a domain for each way that mail may take; sinks by name."""
    relay = make_relay(resolver)
    port = free_port("::1")
    sinks = {name: make_sink(port=port) for name in ("good", "deny", "grey")}
    sinks["tls"] = make_sink(port=port, certificate=authority.issue(
        folder / "t", "mx.tls.example"))
    sinks["deny"].on_rcpt = lambda to: f"550 5.1.1 <{to}>: no such user"
    sinks["grey"].on_rcpt = lambda to: "450 4.7.1 come back later"
    good = sinks["good"].host

    def all_names():
        for name, sink in sinks.items():
            names.domain(f"{name}.example", sink.host)
        names.domain("good.signed.example", good)
        names.domain("good.bogus.example", good)
        names.set("alias.example", "CNAME", "good.example.")
        names.mx("cname.example", "other.example")
        names.set("other.example", "CNAME", "mx.good.example.")
        names.host("bare.example", good)
        names.mx("lost.example", "void.example")
        names.set("void.example", "TXT", "x")
        names.set("null.example", "MX", "0 .")
        names.domain("dual.example", good, "::1")
        names.domain("closed.example", loopback())
        names.host("dead.example", loopback())
        names.mx("backup.example", "dead.example", (20, "mx.good.example"))
        names.host("mail.ostler.example", relay.host)
        names.mx("self.example", "mail.ostler.example")
    names.at_once(all_names)
    relay.set("queue", port=port, retry=["1d"])
    relay.set("relay", trusted_networks=["127.0.0.0/8"])
    relay.start()
    return relay, sinks


#: what comes of it, and at which sink
WAYS = {
    "bob@good.example": ("delivered", "good"),
    "bob@good.signed.example": ("delivered", "good"),
    "bob@alias.example": ("delivered", "good"),
    "bob@cname.example": ("delivered", "good"),
    "bob@bare.example": ("delivered", "good"),
    "bob@dual.example": ("delivered", "good"),
    "bob@backup.example": ("delivered", "good"),
    "bob@[ADDRESS]": ("delivered", "good"),
    "bob@tls.example": ("delivered", "tls"),
    "bob@local.example": ("delivered", None),
    "bob@deny.example": ("failed", "deny"),
    "bob@nowhere.example": ("failed", None),
    "bob@void.example": ("failed", None),
    "bob@null.example": ("failed", None),
    "bob@grey.example": ("deferred", "grey"),
    "bob@lost.example": ("deferred", None),
    "bob@closed.example": ("deferred", None),
    "bob@good.bogus.example": ("deferred", None),
    # final, but for the time in which it may be repaired
    "bob@self.example": ("failed", None),
}
EVENTS = ("delivered", "deferred", "bounced")


def test_route_and_diagnose_agree_with_delivery(world):
    relay, sinks = world
    ways = {to.replace("ADDRESS", sinks["good"].host): way
            for to, way in WAYS.items()}
    hand_in(relay, *ways)

    def ends():
        found = {row["to"]: row for event in EVENTS
                 for row in relay.events(event)}
        return found if ways.keys() <= found.keys() else None
    logged = wait_for(ends, "an end of each")
    taken = {name: len(sink.mails) for name, sink in sinks.items()}
    answers = {}

    def ask(to):
        answers[to] = (diagnose(relay, to)[0],
                       relay.ctl("route", to, json=True).row)
    threads = [threading.Thread(target=ask, args=(to,)) for to in ways]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for to, (wanted, sink) in ways.items():
        steps, route = answers[to]
        result, log = steps["result"], logged[to]
        assert result["outcome"] == wanted, (to, result, log)
        event = {"failed": "bounced"}.get(wanted, wanted)
        if to == "bob@self.example":
            event = "deferred"
        assert log["event"] == event, (to, log)
        if wanted != "delivered":
            assert result["rule"] == log["rule"], (to, result, log)
            assert result["category"] == log["category"]
            assert result["advice"] and result["explanation"]
        if sink is not None:
            assert result["ip"] == log["ip"] == sinks[sink].host
            assert result["host"] == log["host"]
            assert result["status"][:2] == log["status"][:2]
        if to == "bob@local.example":
            continue
        # the route is the one that was walked, and it says so twice
        assert steps["route"]["usable"] == route["usable"], to
        assert steps["route"]["why"] == route["why"], to
        assert {host["host"] for host in steps["route"]["hosts"]} == \
            {host["host"] for host in route["hosts"]}
        if log.get("rule", "").startswith("cause-dns"):
            assert log["rule"] == "cause-" + route["cause"]
    # MAIL and RCPT, and not one message
    assert {name: len(sink.mails) for name, sink in sinks.items()} == taken
    signed = answers["bob@good.signed.example"][1]["hosts"][0]
    assert signed["secure"]
    assert 0 < signed["ttl_s"] <= 60 and 0 < signed["mx_ttl_s"] <= 60
    assert not answers["bob@good.example"][1]["hosts"][0]["secure"]
    assert "tls" in answers["bob@tls.example"][0]
    assert answers["bob@tls.example"][0]["tls"]["subject"]


def test_diagnose_says_in_words_what_would_become_of_a_message(world):
    relay, sinks = world
    answer = relay.ctl("diagnose", "bob@deny.example")
    assert answer.code == 1
    for words in ("bob@deny.example goes by mx deny.example",
                  "who is not logged in here may not send to it, and hears: ",
                  "MX ", "connected to mx.deny.example",
                  "  < 220 ", "  > EHLO mail.ostler.example",
                  "  > RCPT TO:<bob@deny.example>",
                  "  < 550 5.1.1 <bob@deny.example>: no such user",
                  "a message would come back to its sender: ",
                  "category  bad-mailbox", "to do     "):
        assert words in answer.out, (words, answer.out)
    answer = relay.ctl("diagnose", "bob@good.example")
    assert answer.code == 0 and "a message would be taken" in answer.out
    assert "DATA" not in answer.out and not sinks["good"].mails
    assert relay.ctl("diagnose", "bob@@example").code == 64
    assert relay.ctl("diagnose").code == 64
    assert relay.queue() == []


def test_diagnose_shows_no_secret(relay, make_sink, authority, folder):
    sink = make_sink(certificate=authority.issue(folder / "t", "smart"),
                     users={"ostler": "pass word"}, require_tls=True)
    secret = folder / "secret"
    secret.write_text("pass word\n")
    secret.chmod(0o600)
    relay.route("out", for_=["*"], via=f"smtp:{sink.host}:{sink.port}",
                tls="required", user="ostler", password_file=secret,
                mechanisms=["PLAIN"])
    relay.start()
    answer = relay.ctl("diagnose", "bob@far.example")
    assert answer.code == 0, answer.out
    assert "  > AUTH PLAIN (hidden)" in answer.out
    assert "AG9zdGxlcg" not in answer.out  # \0ostler in base64
    sink.users["ostler"] = "another"
    steps, _ = diagnose(relay, "bob@far.example")
    assert steps["result"]["outcome"] == "deferred"
    assert steps["result"]["rule"] == "cause-auth-failed"


def test_a_refusal_to_relay_by_our_own_next_hop_says_what_to_set(
        relay, make_sink):
    """Which server's login or list is wrong is known: it is not theirs."""
    sink = make_sink()
    sink.on_rcpt = lambda address: "554 5.7.1 Relay access denied"
    way = f"smtp:{sink.host}:{sink.port}"
    relay.route("out", for_=["no.example"], via=way)
    relay.domain("inner.example", way)
    relay.start()
    for domain, words in (("no.example", "Set user and password_file"),
                          ("inner.example", "Add the domain to what the inner")):
        steps, _ = diagnose(relay, f"bob@{domain}")
        assert steps["result"]["category"] == "relaying-issues"
        assert steps["result"]["advice"].startswith(words)


def test_who_stops_waiting_ends_the_walk(relay, names, make_sink):
    hanging = socket.create_server((loopback(), free_port()))
    host, port = hanging.getsockname()
    relay.set("queue", port=port)
    names.domain("far.example", host)
    relay.start()
    control = socket.socket(socket.AF_UNIX)
    control.connect(str(relay.folder / "control.sock"))
    control.sendall(b'{"command": "diagnose", '
                    b'"args": {"to": "bob@far.example"}}\n')
    connection, _ = hanging.accept()
    control.close()
    connection.settimeout(PATIENCE)
    assert connection.recv(100) == b""
    connection.close()
    hanging.close()
    # and one that is cut by the relay's own end
    control = socket.socket(socket.AF_UNIX)
    control.connect(str(relay.folder / "control.sock"))
    control.sendall(b'{"command": "diagnose", '
                    b'"args": {"to": "bob@nobody.example"}}\n')
    relay.stop()
    control.close()


def walked(rows):
    """Per address the words of its steps, and its result."""
    found = {}
    for row in rows:
        if "recipient" in row:
            found.setdefault(row["recipient"], []).append(row)
    for rows in found.values():
        assert rows[0]["step"] == "address" and rows[-1]["step"] == "result"
    return found


def test_every_address_behind_an_alias_is_walked_to(world, folder):
    relay, sinks = world
    (folder / "aliases").write_text(
        "all: carl@local.example, bob@good.example, bob@deny.example, "
        "more@local.example\nmore: bob@grey.example, bob@tls.example\n"
        "good: bob@good.example, carl@local.example\n")
    relay.domains["local.example"]["aliases"] = folder / "aliases"
    assert relay.reload().code == 0
    answer = relay.ctl("diagnose", "all@local.example", json=True)
    assert answer.code == 1
    rows = answer.rows
    assert rows[0]["step"] == "policy" and "recipient" not in rows[0]
    assert "5" in rows[0]["text"] and len(rows[0]["recipients"]) == 5
    found = walked(rows)
    assert {to: steps[-1]["outcome"] for to, steps in found.items()} == {
        "carl@local.example": "delivered", "bob@good.example": "delivered",
        "bob@deny.example": "failed", "bob@grey.example": "deferred",
        "bob@tls.example": "delivered"}
    assert any(row["step"] == "tls" for row in found["bob@tls.example"])
    assert rows[-1]["step"] == "all" and not rows[-1]["ok"]
    assert (rows[-1]["good"], rows[-1]["walked"], rows[-1]["addresses"]) == \
        (3, 5, 5)
    answer = relay.ctl("diagnose", "good@local.example")
    assert answer.code == 0, answer.out
    for words in ("bob@good.example goes by mx good.example",
                  "carl@local.example goes by ",
                  "2 of 2 addresses would get it"):
        assert words in answer.out, (words, answer.out)
    assert not any(sink.mails for sink in sinks.values())


def test_of_many_addresses_the_first_twenty_are_walked_to(relay, folder):
    (folder / "aliases").write_text("all: " + ", ".join(
        f"u{i}@local.example" for i in range(30)) + "\n")
    relay.domain("local.example", "discard", aliases=folder / "aliases")
    relay.start()
    answer = relay.ctl("diagnose", "all@local.example", json=True)
    assert answer.code == 0
    assert len(walked(answer.rows)) == 20
    assert answer.rows[-1]["walked"] == 20
    assert answer.rows[-1]["addresses"] == 30
    assert "not walked to" in answer.rows[-1]["text"]
