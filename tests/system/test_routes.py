# SPDX-License-Identifier: ISC
"""Which way mail goes out, and how fast."""

import os

import pytest

from lab import mails
from lab.base import free_port, loopback, wait_for
from lab.talk import Talk


@pytest.fixture
def relay(relay):
    relay.set("relay", trusted_networks=["127.0.0.0/8"])
    return relay


def hand_in(relay, *recipients, sender="anna@local.example", count=1):
    with Talk(relay.mx) as talk:
        talk.ehlo()
        for _ in range(count):
            talk.mail(sender, *recipients)
            assert talk.data(mails.message()).code == 250


def test_the_closest_route_wins(relay, make_sink):
    port = free_port()
    ways = {name: make_sink(port=port) for name in
            ("exact", "parent", "any", "anna")}

    def via(name):
        return f"smtp:{ways[name].host}:{port}"
    relay.route("any", for_=["*"], via=via("any"))
    relay.route("parent", for_=[".far.example"], via=via("parent"))
    relay.route("exact", for_=["a.far.example"], via=via("exact"))
    relay.route("anna", for_=["*"], sender="anna@local.example",
                via=via("anna"))
    relay.start()
    for to, sender, name in (
            ("x@a.far.example", "bob@local.example", "exact"),
            ("x@b.far.example", "bob@local.example", "parent"),
            ("x@far.example", "bob@local.example", "any"),
            ("x@far.example", "anna@local.example", "anna"),
            ("x@b.far.example", "anna@local.example", "parent")):
        before = {n: len(sink.mails) for n, sink in ways.items()}
        hand_in(relay, to, sender=sender)
        ways[name].wait(before[name] + 1)
        row = relay.ctl("route", to, "--from", sender, json=True).row
        assert row["hosts"][0]["addresses"] == [ways[name].host], row
    assert sum(len(sink.mails) for sink in ways.values()) == 5


def test_several_smarthosts_are_tried_in_order(relay, make_sink):
    second = make_sink()
    third = make_sink()
    relay.route("out", for_=["*"], via=[
        f"smtp:{loopback()}:{second.port}",
        f"smtp:{second.host}:{second.port}",
        f"smtp:{third.host}:{third.port}"])
    relay.start()
    hand_in(relay, "bob@far.example", count=3)
    second.wait(3)
    assert not third.mails


def test_mail_goes_back_to_the_first_smarthost_when_it_is_up(relay,
                                                             make_sink):
    first = make_sink()
    second = make_sink()
    first.stop()
    relay.route("out", for_=["*"], via=[
        f"smtp:{first.host}:{first.port}",
        f"smtp:{second.host}:{second.port}"])
    relay.start()
    hand_in(relay, "bob@far.example")
    second.wait()
    first.start()
    # not tried first for a minute, unless an operator knows better
    relay.ctl("queue", "retry", "--all")
    hand_in(relay, "bob@far.example")
    first.wait()
    relay.wait_empty()
    assert len(second.mails) == 1


def test_a_smarthost_that_is_full_passes_mail_to_the_next(relay, make_sink):
    first = make_sink()
    second = make_sink()
    first.on_data = lambda envelope: "452 4.3.1 full up"
    relay.route("out", for_=["*"], via=[
        f"smtp:{first.host}:{first.port}",
        f"smtp:{second.host}:{second.port}"])
    relay.start()
    hand_in(relay, "bob@far.example")
    second.wait()
    relay.wait_empty()
    assert relay.wait_event("delivered")[0]["attempts"] == 1


def test_waiting_mail_follows_a_changed_route(relay, make_sink):
    sink = make_sink()
    relay.route("out", for_=["*"], via=f"smtp:{loopback()}:{sink.port}")
    relay.start()
    hand_in(relay, "bob@far.example", count=3)
    wait_for(lambda: relay.queue("--state", "deferred"), "a deferral")
    relay.route("out", for_=["*"], via=f"smtp:{sink.host}:{sink.port}")
    assert relay.reload().code == 0
    relay.ctl("queue", "retry", "--all")
    sink.wait(3)
    relay.wait_empty()


def test_localhost_and_literals_are_next_hops(relay, make_sink):
    sink = make_sink(host="127.0.0.1")
    relay.route("name", for_=["a.example"], via=f"smtp:localhost:{sink.port}")
    relay.route("literal", for_=["b.example"],
                via=f"smtp:127.0.0.1:{sink.port}")
    relay.start()
    hand_in(relay, "bob@a.example")
    hand_in(relay, "bob@b.example")
    assert sorted(mail.recipients[0] for mail in sink.wait(2)) == \
        ["bob@a.example", "bob@b.example"]
    relay.wait_empty()


def test_mail_waits_where_tls_is_required_and_not_there(relay, far):
    relay.route("safe", for_=["far.example"], tls="required")
    relay.start()
    hand_in(relay, "bob@far.example")
    row = wait_for(lambda: relay.queue("--state", "deferred"),
                   "a deferral")[0]
    assert "TLS" in row["why"].upper(), row
    assert not far.mails


def test_mail_waits_where_a_certificate_cannot_be_verified(
        relay, names, make_sink, authority, folder):
    sink = make_sink(certificate=authority.issue(folder / "t",
                                                 "mx.far.example"))
    relay.set("queue", port=sink.port)
    names.domain("far.example", sink.host)
    relay.route("safe", for_=["far.example"], tls="verified")
    relay.start()
    hand_in(relay, "bob@far.example")
    row = wait_for(lambda: relay.queue("--state", "deferred"),
                   "a deferral")[0]
    assert "certificate" in row["why"], row
    assert not sink.mails


def test_a_verified_certificate_lets_mail_go(
        relay, names, make_sink, authority, folder, monkeypatch):
    from lab import relay as program
    # what OpenSSL takes for the system's authorities
    monkeypatch.setitem(program.ENVIRONMENT, "SSL_CERT_FILE",
                        str(authority.file))
    sink = make_sink(certificate=authority.issue(folder / "t",
                                                 "mx.far.example"))
    relay.set("queue", port=sink.port)
    names.domain("far.example", sink.host)
    relay.route("safe", for_=["far.example"], tls="verified")
    relay.start()
    hand_in(relay, "bob@far.example")
    assert sink.wait()[0].is_tls


def test_mail_leaves_from_the_address_it_should(relay, far):
    source = loopback()
    relay.route("out", for_=["*"], source=source)
    relay.start()
    hand_in(relay, "bob@far.example")
    assert far.wait()[0].peer == source


def test_a_connection_carries_no_more_than_it_may(relay, names, far):
    # nor less because its records end
    names.negative_ttl = 600
    names.domain("far.example", far.host, ttl=600)
    relay.set("queue", idle_connection="10m")
    relay.route("out", for_=["*"], connections=1, messages_per_connection=3)
    relay.start()
    hand_in(relay, "bob@far.example", count=9)
    far.wait(9)
    assert far.connections == 3
    assert far.most_open <= 2  # one may be saying QUIT


def test_a_route_opens_no_more_connections_than_it_may(relay, far):
    relay.set("queue", deliver=False)
    relay.route("out", for_=["*"], connections=2)
    relay.start()
    hand_in(relay, "bob@far.example", count=40)
    relay.set("queue", deliver=True)
    assert relay.reload().code == 0
    far.wait(40)
    relay.wait_empty()
    assert far.most_open <= 2, far.most_open


def test_a_host_that_asks_for_less_gets_less(relay, far):
    asked = []

    def on_mail(address):
        if asked:
            return None
        asked.append(address)
        return "450 4.7.1 too many connections from your address"
    far.on_mail = on_mail
    relay.start()
    hand_in(relay, "bob@far.example", count=2)
    event = relay.wait_event("slow-down")[0]
    assert (event["ip"], event["connections"]) == (far.host, 1)
    host = relay.ctl("status", json=True).row["slow_hosts"][0]
    assert (host["ip"], host["port"]) == (far.host, far.port)
    assert "too many" in host["reply"]
    assert f"{far.host} port {far.port} asked for less" in \
        relay.ctl("status").out
    far.wait()
    relay.ctl("queue", "retry", "--all")
    far.wait(2)
    relay.wait_empty()


def test_a_rate_is_kept(relay, far):
    relay.route("slow", for_=["*"], rate="5/1h")
    relay.start()
    hand_in(relay, "bob@far.example", count=8)
    far.wait(5)
    # what would come too early would come with the next connection
    assert relay.ctl("queue", "flush").code == 0
    wait_for(lambda: relay.status()["queue"]["active"] == 0, "quiet")
    assert len(far.mails) == 5
    assert len(relay.queue()) == 3


def test_a_family_can_be_chosen(relay, names, make_sink):
    port = free_port("::1")
    six = make_sink("::1", port)
    four = make_sink(port=port)
    relay.set("queue", port=port)
    names.domain("far.example", four.host, "::1")
    relay.route("six", for_=["far.example"], family="ipv6")
    relay.start()
    hand_in(relay, "bob@far.example", count=3)
    six.wait(3)
    assert four.connections == 0
    relay.routes["six"]["family"] = "ipv4"
    assert relay.reload().code == 0
    hand_in(relay, "bob@far.example", count=3)
    four.wait(3)
    assert len(six.mails) == 3


def test_a_backup_mx_forwards_to_the_better_one_only(relay, names,
                                                     make_sink):
    primary = make_sink()
    relay.domain("backup.example", "mx")
    relay.set("queue", port=primary.port)
    relay.set("relay", trusted_networks=[])
    names.host("primary.example", primary.host)
    names.host("mail.ostler.example", relay.host)
    names.mx("backup.example", (10, "primary.example"),
             (20, "mail.ostler.example"))
    primary.stop()
    relay.start()
    hand_in(relay, "bob@backup.example", sender="eve@else.example")
    wait_for(lambda: relay.queue("--state", "deferred"), "a deferral")
    assert len(relay.wait_event("queued")) == 1
    primary.start()
    assert primary.wait()[0].recipients == ["bob@backup.example"]
    relay.wait_empty()


def test_deliveries_can_be_switched_off_and_on(relay, far):
    relay.set("queue", deliver=False)
    relay.start()
    hand_in(relay, "bob@far.example", count=2)
    assert len(relay.queue()) == 2
    assert any("deliver" in one for one in relay.status()["warnings"])
    relay.set("queue", deliver=True)
    assert relay.reload().code == 0
    far.wait(2)
    relay.wait_empty()


def test_a_maildir_that_cannot_be_written_keeps_the_mail(relay):
    if os.geteuid() == 0:
        # root may write everywhere but into a file
        relay.mail.write_text("in the way")
    else:
        relay.mail.mkdir()
        relay.mail.chmod(0o500)
    relay.start()
    hand_in(relay, "bob@local.example")
    row = wait_for(lambda: relay.queue("--state", "deferred"),
                   "a deferral")[0]
    assert str(relay.mail) in row["why"], row
    if os.geteuid() == 0:
        relay.mail.unlink()
    else:
        relay.mail.chmod(0o700)
    relay.wait_maildir("bob")
    relay.wait_empty()
