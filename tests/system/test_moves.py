# SPDX-License-Identifier: ISC
"""DNS changes while mail is on its way: no message starts at a host later
than the TTL after DNS stopped naming it, by the host's own clock."""

import shutil
import socket
import threading
import time

import pytest

from dnslab import Unbound
from lab import mails
from lab.base import awake, free_port, loopback, wait_for
from lab.need import need_namespaces
from lab.talk import Talk

TTL = 2
GRACE = 2  # for servers, and a busy machine


def hand_in(relay, *recipients, count=1):
    with Talk(relay.mx, timeout=120) as talk:
        talk.ehlo()
        for number in range(count):
            talk.mail("anna@local.example",
                      *(to.replace("#", str(number)) for to in recipients))
            assert talk.data(mails.message()).code == 250


def assert_left(host, changed, ttl=TTL):
    """No message started there when nobody should have known it any more."""
    late = [start - changed for start in host.starts
            if start > changed + ttl + GRACE]
    assert not late, (len(late), max(late))


class World:
    """An old and a new host for far.example, a resolver between us and the
    zone."""

    def __init__(self, relay, names, make_sink, mx_ttl=TTL, address_ttl=600):
        self.relay, self.names, self.ttl = relay, names, mx_ttl
        self.old = make_sink()
        self.new = make_sink(port=self.old.port)
        relay.set("queue", port=self.old.port)
        relay.set("relay", trusted_networks=["127.0.0.0/8"])
        names.host("old.example", self.old.host, ttl=address_ttl)
        names.host("new.example", self.new.host, ttl=address_ttl)
        names.mx("far.example", "old.example", ttl=mx_ttl)

    def move(self):
        """The time when the zone had changed; .moved: before it did."""
        self.moved = awake()
        self.names.mx("far.example", "new.example", ttl=self.ttl)
        return awake()


@pytest.fixture
def world(make_relay, names, resolver, make_sink):
    return World(make_relay(resolver), names, make_sink)


def test_a_thousand_retries_follow_an_mx_that_moves(world):
    relay, old, new = world.relay, world.old, world.new
    asked = set()

    def not_now(address):
        asked.add(address)
        return "450 4.2.0 not now"
    old.on_rcpt = not_now
    relay.route("out", for_=["*"], connections=20)
    relay.set("queue", retry=["1s"])
    relay.start()

    def client(start):
        hand_in(relay, f"u{start}-#@far.example", count=250)
    threads = [threading.Thread(target=client, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # with a second between attempts many are active at any moment
    wait_for(lambda: len(asked) == 1000, "a thousand deferrals")
    changed = world.move()
    new.wait(1000)
    relay.wait_empty()
    assert_left(old, changed)
    got = [mail.recipients[0] for mail in new.mails]
    assert len(got) == len(set(got)) == 1000
    assert not old.mails
    assert min(new.starts) > world.moved


def test_an_open_connection_is_not_used_when_the_route_has_moved(world):
    relay, old, new = world.relay, world.old, world.new
    relay.set("queue", idle_connection="10m")
    relay.start()
    hand_in(relay, "bob@far.example")
    old.wait()
    changed = world.move()
    # the idle connection ends with the route that it was opened by
    wait_for(lambda: not old.open, "the end of the idle connection", TTL + 2)
    assert awake() < changed + TTL + GRACE
    # the resolver counts in whole seconds: it may name the old host still
    wait_for(lambda: hand_in(relay, "bob@far.example") or new.mails,
             "mail at the new host")
    relay.wait_empty()
    assert_left(old, changed)


def test_an_address_that_moves_is_followed_as_an_mx_is(
        make_relay, names, resolver, make_sink):
    world = World(make_relay(resolver), names, make_sink, mx_ttl=600,
                  address_ttl=TTL)
    relay, old, new = world.relay, world.old, world.new
    relay.set("queue", idle_connection="10m")
    relay.start()
    hand_in(relay, "bob@far.example")
    old.wait()
    names.host("old.example", new.host, ttl=TTL)
    changed = awake()
    wait_for(lambda: hand_in(relay, "bob@far.example") or new.mails,
             "mail at the new address")
    relay.wait_empty()
    assert_left(old, changed)


def test_a_ttl_of_zero_is_asked_for_each_attempt(
        make_relay, names, counter, make_sink):
    world = World(make_relay(counter), names, make_sink, mx_ttl=0)
    relay, old, new = world.relay, world.old, world.new
    old.on_rcpt = lambda address: "450 4.2.0 not now"
    relay.set("queue", retry=["1s"])
    relay.start()
    hand_in(relay, "bob@far.example")
    relay.wait_event("deferred", 3)
    changed = world.move()
    new.wait()
    relay.wait_empty()
    assert_left(old, changed, 0)
    # once to go there, once more to look for a host beside it
    assert len(old.starts) < counter.count("far.example", "MX") \
        <= 2 * len(old.starts) + 1
    # the hosts' addresses were kept: they may be
    assert counter.count("old.example", "A") == 1


def test_in_an_outage_mail_waits_and_goes_nowhere(
        make_relay, names, counter, make_sink):
    world = World(make_relay(counter), names, make_sink)
    relay, old, new = world.relay, world.old, world.new
    relay.set("resolver", timeout="1s")
    relay.start()
    hand_in(relay, "bob@far.example")
    old.wait()
    began = awake()
    counter.set("*", "silent")
    row = {}

    def is_deferred():
        hand_in(relay, "bob@far.example")
        row.update(next(iter(relay.events("deferred")), {}))
        return row
    # what is known is good for its TTL, and for not a moment longer
    wait_for(is_deferred, "mail that waits")
    assert_left(old, began)
    assert "DNS has no answer" in row["reply"]
    taken, connections = len(old.mails), old.connections
    tried = len(relay.events("deferred"))
    relay.wait_event("deferred", tried + 1)
    assert (len(old.mails), old.connections) == (taken, connections)
    world.move()
    counter.set("*", None)
    waiting = len(relay.queue())
    assert waiting
    new.wait(waiting)
    relay.wait_empty()
    assert len(old.mails) == taken


def test_a_resolver_that_serves_what_is_expired_holds_nobody_there(
        make_relay, folder, names, make_sink, make_faults):
    """serve-expired, and its servers away: old records with a TTL of 30 s,
    which must not live on; mail may go by them, but never be given up."""
    between = make_faults(names)
    between.zones, between.key = names.zones, names.key
    resolver = Unbound(folder, between, settings=[
        "serve-expired: yes", "serve-expired-ttl: 3600",
            "ede-serve-expired: yes",
        "serve-expired-client-timeout: 200"])
    try:
        world = World(make_relay(resolver), names, make_sink)
        relay, old, new = world.relay, world.old, world.new
        relay.start()
        hand_in(relay, "bob@far.example")
        old.wait()
        between.set("*", "silent")
        old.on_rcpt = lambda address: "550 5.7.1 Relay access denied"
        world.move()
        wait_for(lambda: resolver.is_stale("far.example", "MX"),
                 "an expired answer")
        hand_in(relay, "eve@far.example")
        relay.wait_event("deferred", to="eve@far.example")
        between.set("*", None)
        wait_for(lambda: any("eve@far.example" in mail.recipients
                             for mail in new.mails), "mail at the new host")
        relay.wait_empty()
        assert not relay.events("bounced")
        assert len(old.mails) == 1
    finally:
        relay.stop()
        resolver.stop()


def test_a_zone_that_cannot_be_trusted_makes_mail_wait(
        make_relay, names, resolver, make_sink):
    relay = make_relay(resolver)
    sink = make_sink()
    relay.set("queue", port=sink.port)
    relay.set("relay", trusted_networks=["127.0.0.0/8"])
    for domain in ("far.bogus.example", "far.signed.example"):
        names.domain(domain, sink.host)
    relay.start()
    hand_in(relay, "bob@far.bogus.example")
    hand_in(relay, "bob@far.signed.example")
    row = relay.wait_event("deferred")[0]
    assert row["to"] == "bob@far.bogus.example"
    assert "DNSSEC" in row["reply"], row
    mail, = sink.wait()
    assert mail.recipients == ["bob@far.signed.example"]
    host, = relay.ctl("route", "far.signed.example", json=True).row["hosts"]
    assert host["secure"] is True
    resolver.trust()
    sink.wait(2)
    relay.wait_empty()
    assert sink.connections >= 2


class Tarpit:
    """A host that greets when it is told to, and then is as any other."""

    def __init__(self, host, port):
        self.starts, self.connections = [], 0
        self.may_greet = threading.Event()
        self.socket = socket.create_server((host, port))
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.connections += 1
            self.may_greet.wait(60)
            with connection, connection.makefile("rwb") as lines:
                self._serve(lines)

    def _serve(self, lines):
        def say(text):
            lines.write(text)
            lines.flush()
        try:
            say(b"220 at last\r\n")
            for line in lines:
                if line.startswith(b"MAIL"):
                    self.starts.append(awake())
                say(b"221 bye\r\n" if line.startswith(b"QUIT")
                    else b"250 ok\r\n")
        except OSError:
            pass

    def stop(self):
        self.may_greet.set()
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join()


def test_a_host_that_greets_late_gets_nothing_when_the_mx_has_moved(
        relay, names, make_sink):
    new = make_sink()
    old = Tarpit(loopback(), new.port)
    try:
        relay.set("queue", port=new.port)
        relay.set("relay", trusted_networks=["127.0.0.0/8"])
        names.host("old.example", old.socket.getsockname()[0], ttl=600)
        names.host("new.example", new.host, ttl=600)
        names.mx("far.example", "old.example", ttl=TTL)
        relay.start()
        hand_in(relay, "bob@far.example")
        wait_for(lambda: old.connections, "a connection")
        names.mx("far.example", "new.example", ttl=TTL)
        changed = time.monotonic()
        while time.monotonic() < changed + TTL + 0.6:
            time.sleep(0.05)  # what the host does
        old.may_greet.set()
        new.wait()
        relay.wait_empty()
        assert old.starts == []
        # and one that is still named gets its mail over that connection
        old.may_greet.clear()
        names.mx("slow.example", "old.example", ttl=0)
        before = old.connections
        hand_in(relay, "bob@slow.example")
        wait_for(lambda: old.connections > before, "a connection")
        waited = time.monotonic()
        while time.monotonic() < waited + 0.6:
            time.sleep(0.05)
        old.may_greet.set()
        wait_for(lambda: old.starts, "MAIL")
        assert old.connections == before + 1
        relay.ctl("queue", "remove", "--all")
    finally:
        old.stop()


class Hanging:
    """Takes connections, and never says a word."""

    def __init__(self, host, port):
        self.socket = socket.create_server((host, port), backlog=512)

    def stop(self):
        self.socket.close()


def test_one_that_answers_is_not_kept_waiting_by_ninety_nine_that_hang(
        relay, names, make_sink):
    sink = make_sink()
    relay.set("queue", port=sink.port)
    relay.set("relay", trusted_networks=["127.0.0.0/8"])

    def all_names():
        for number in range(99):
            names.domain(f"d{number}.example", hanging[number].host_name)
        names.domain("far.example", sink.host)
    hanging = []
    for _ in range(99):
        host = loopback()
        hanging.append(Hanging(host, sink.port))
        hanging[-1].host_name = host
    names.at_once(all_names)
    try:
        relay.start()
        # three each: more than there are connections, were all to start
        for number in range(99):
            hand_in(relay, f"#@d{number}.example", count=3)
        wait_for(lambda: relay.status()["queue"]["active"] >= 99,
                 "99 deliveries that hang")
        before = awake()
        hand_in(relay, "bob@far.example")
        sink.wait()
        assert sink.starts[0] - before < 2
    finally:
        for one in hanging:
            one.stop()


def test_equal_preferences_share_the_mail(relay, names, make_sink):
    port = free_port()
    sinks = [make_sink(port=port) for _ in range(3)]
    relay.set("queue", port=port, idle_connection="0s")
    relay.set("relay", trusted_networks=["127.0.0.0/8"])
    for number, sink in enumerate(sinks):
        names.host(f"m{number}.example", sink.host)
    names.mx("far.example", *((10, f"m{n}.example") for n in range(3)))
    relay.start()
    hand_in(relay, "bob@far.example", count=150)
    wait_for(lambda: sum(len(sink.mails) for sink in sinks) == 150, "all")
    # 50 each on average; 4.3 standard deviations
    assert all(25 <= len(sink.mails) <= 75 for sink in sinks), \
        [len(sink.mails) for sink in sinks]


def test_resolv_conf_is_followed_while_mail_waits(
        make_relay, names, make_sink, folder):
    """The system's own file, in a mount namespace: replaced by rename, as
    programs do that manage it."""
    need_namespaces("--mount")
    etc = folder / "etc"
    shutil.copytree("/etc", etc, symlinks=True)

    def point_to(port):
        (etc / "new").write_text(f"nameserver [127.0.0.1]:{port}\n")
        (etc / "new").rename(etc / "resolv.conf")
    point_to(free_port())
    world = World(make_relay(names), names, make_sink)
    relay = world.relay
    relay.set("resolver", servers=[])
    relay.before = ["unshare", "--mount", "sh", "-ec",
                    f'mount --bind {etc} /etc; exec "$@"', "sh"]
    relay.start()
    hand_in(relay, "bob@far.example")
    row = relay.wait_event("deferred")[0]
    assert "DNS" in row["reply"], row
    assert not world.old.connections
    point_to(names.port)
    world.old.wait()
    relay.wait_empty()
    host, = relay.ctl("route", "far.example", json=True).row["hosts"]
    assert host["host"] == "old.example"
