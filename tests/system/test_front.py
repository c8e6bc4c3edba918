# SPDX-License-Identifier: ISC
"""The front door: domains published before they are configured, guessed
passwords, caps, and clients behind a proxy."""

import re
import socket
import ssl
import struct
import time

import pytest

from lab import mails, relay as relay_module
from lab.base import PATIENCE, awake, loopback, wait_for
from lab.need import need_files
from lab.talk import Closed, Talk


def rcpt(relay, to, source=None):
    with Talk(relay.mx, source) as talk:
        talk.ehlo()
        talk.mail("eve@else.example")
        return talk.say(f"RCPT TO:<{to}>")


def whole(reply):
    return f"{reply.code} {reply.text}"


DEFERRED = ("451 4.7.1 <bob@{0}>: Relaying denied for now: the MX of {0} "
            "points here, but {0} is not configured yet")


# ---------------------------------------------- published, not configured

def test_a_domain_whose_mx_names_us_is_deferred_and_told_once(relay, names):
    names.mx("byname.example", (5, "far.example"), "mail.ostler.example")
    names.domain("byaddress.example", relay.host)
    names.domain("elsewhere.example", "192.0.2.9")
    relay.start()
    for domain in ("byname.example", "byaddress.example"):
        for _ in range(2):
            assert whole(rcpt(relay, f"bob@{domain}")) == \
                DEFERRED.format(domain)
        told = relay.wait_event("config", domain=domain)
        assert len(told) == 1
        assert told[0]["level"] == "warn"
        assert f'only if you host {domain}: domain "{domain}" {{ deliver' \
            in told[0]["reason"]
        rejected = relay.wait_event("reject", 2, to=f"bob@{domain}")
        assert {row["rule"] for row in rejected} == {"mx-points-here"}
    for domain in ("elsewhere.example", "nowhere.example"):
        reply = rcpt(relay, f"bob@{domain}")
        assert reply.code == 550
        assert "Relaying denied: " in reply.text
    row = relay.status()
    assert row["points_here"]["deferred"] == 4
    assert [(d["domain"], d["count"]) for d in row["points_here"]["domains"]] \
        == [("byname.example", 2), ("byaddress.example", 2)]
    assert sum("names this host" in text for text in row["warnings"]) == 2

    # what explain says of it is what the session said
    row = relay.ctl("explain", "--from", "eve@else.example", "--to",
                    "bob@byname.example", json=True).row
    assert (row["code"], row["rule"]) == (451, "mx-points-here")
    row = relay.ctl("explain", "--from", "eve@else.example", "--to",
                    "bob@elsewhere.example", json=True).row
    assert (row["code"], row["rule"]) == (550, "relay-denied")

    # and once the lines are added, nothing is left of it
    relay.domain("byname.example", "discard")
    assert relay.reload().code == 0
    assert rcpt(relay, "bob@byname.example").code == 250
    assert [d["domain"] for d in relay.status()["points_here"]["domains"]] \
        == ["byaddress.example"]


def test_deny_asks_nobody(relay, names, counter):
    names.mx("byname.example", "mail.ostler.example")
    relay.set("resolver", servers=[counter.server])
    relay.set("relay", mx_points_here="deny")
    relay.start()
    assert rcpt(relay, "bob@byname.example").code == 550
    assert counter.count("byname.example", "MX") == 0


def test_the_question_is_asked_once_in_its_ttl(relay, names, counter):
    names.mx("byname.example", "mail.ostler.example")
    names.domain("elsewhere.example", "192.0.2.9")
    relay.set("resolver", servers=[counter.server])
    relay.start()
    for _ in range(3):
        assert rcpt(relay, "bob@byname.example").code == 451
        assert rcpt(relay, "bob@elsewhere.example").code == 550
    for domain in ("byname.example", "elsewhere.example"):
        assert counter.count(domain, "MX") == 1


def test_a_slow_dns_holds_the_reply_for_five_seconds(relay):
    with socket.socket(type=socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        relay.set("resolver", timeout="20s", attempts=1,
                  servers=["127.0.0.1:%d" % silent.getsockname()[1]])
        relay.start()
        begun, awake_since = time.monotonic(), awake()
        assert rcpt(relay, "bob@slow.example").code == 550
        assert 4.5 < time.monotonic() - begun
        assert awake() - awake_since < 15


def test_pipelined_recipients_are_answered_in_order(relay, names):
    names.mx("byname.example", "mail.ostler.example")
    relay.start()
    with Talk(relay.mx) as talk:
        talk.ehlo()
        talk.raw(b"MAIL FROM:<eve@else.example>\r\n"
                 b"RCPT TO:<bob@byname.example>\r\n"
                 b"RCPT TO:<bob@local.example>\r\n"
                 b"RCPT TO:<bob@foreign.example>\r\n"
                 b"DATA\r\n")
        assert [talk.reply().code for _ in range(5)] == \
            [250, 451, 250, 550, 354]
        talk.raw(b"\r\n.\r\n")
        assert talk.reply().code == 250


def test_a_client_that_leaves_while_dns_is_asked_does_no_harm(relay):
    with socket.socket(type=socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        relay.set("resolver", timeout="20s", attempts=1,
                  servers=["127.0.0.1:%d" % silent.getsockname()[1]])
        relay.start()
        for number in range(5):
            with Talk(relay.mx) as talk:
                talk.ehlo()
                talk.mail("eve@else.example")
                talk.raw(f"RCPT TO:<bob@slow{number}.example>\r\n".encode())
                silent.settimeout(PATIENCE)
                while b"slow%d" % number not in silent.recv(1000):
                    pass  # until the question is out
        wait_for(lambda: relay.status()["sessions"]["open"] == 0,
                 "the sessions' end")
        with Talk(relay.mx) as talk:
            talk.ehlo()
            talk.mail("eve@else.example", "bob@local.example")
            assert talk.data(mails.message()).code == 250


# ------------------------------------------------------------ failed logins

def secure(relay, source=None):
    talk = Talk(relay.submission, source)
    talk.ehlo()
    talk.starttls()
    return talk


def test_failed_logins_are_slowed_down_and_the_address_is_locked(relay):
    relay.add_user("anna", "right")
    relay.set("limits", auth_failures=20)
    relay.start()
    bad, good = loopback(), loopback()
    begun = time.monotonic()
    with secure(relay, bad) as talk:
        assert whole(talk.plain("anna", "wrong")) == \
            "535 5.7.8 Authentication credentials invalid"
        assert 0.4 < time.monotonic() - begun
        # while that one waits, others do not
        talk.raw(b"AUTH PLAIN AGFubmEAd3Jvbmc=\r\n")
        with secure(relay, good) as other:
            assert other.plain("anna", "right").code == 235
        assert talk.reply().code == 535
        # the right password forgives
        assert talk.plain("anna", "right").code == 235
    assert relay.ctl("auth", "list", json=True).rows[0]["kind"] == "login"


def test_a_locked_address_is_told_so_and_can_be_cleared(relay):
    relay.add_user("anna", "right")
    # no delay longer than this, so that ten failures take a few seconds
    relay.set("limits", auth_failures=20, auth_lock="1s")
    relay.start()
    bad = loopback()
    with secure(relay, bad) as talk:
        for _ in range(10):
            assert talk.plain("anna", "wrong").code == 535
    relay.set("limits", auth_lock="15m")
    assert relay.reload().code == 0
    with secure(relay, bad) as talk:
        assert talk.plain("anna", "wrong").code == 535
        reply = talk.plain("anna", "right")
        assert reply.code == 454
        assert reply.text.startswith(
            "4.7.0 Too many failed logins from your address, try again in 1m")
    row = relay.wait_event("auth", 2, result="locked")[-1]
    assert (row["client"], row["seconds"]) == (bad, 120)
    failed = relay.wait_event("auth", 11, result="failed")
    assert len(failed) == 11 and failed[0]["user"] == "anna"

    rows = relay.ctl("auth", "list", json=True).rows
    locked = [r for r in rows if r["kind"] == "address"]
    assert [(r["address"], r["failures"]) for r in locked] == [(bad, 11)]
    assert 0 < locked[0]["locked_s"] <= 120
    assert f"address  {bad}  11 failed, locked for another " in \
        relay.ctl("auth", "list").out
    with secure(relay, loopback()) as talk:
        assert talk.plain("anna", "right").code == 235
    assert relay.ctl("auth", "clear", loopback()).code == 1
    assert relay.ctl("auth", "clear", bad).code == 0
    with secure(relay, bad) as talk:
        assert talk.plain("anna", "right").code == 235


def test_the_manuals_line_for_fail2ban_finds_the_address_and_no_other(relay):
    """What a client calls itself cannot put a line into the log."""
    page = (relay_module.TOP / "doc" / "ostlerd.8").read_text()
    regex = re.compile(
        re.search(r"^failregex = (.*)$", page, re.M).group(1)
        .replace(r"\e", "\\").replace("<HOST>", r"(?P<host>\S+)"))
    relay.set("log", format="text")
    relay.set("limits", auth_lock="0")
    relay.start()
    bad = loopback()
    forged = "warn auth session=1 listener=l client=192.0.2.66 result=failed"
    with secure(relay, bad) as talk:
        assert talk.plain(forged, "wrong").code == 535
        assert talk.plain("\n" + forged, "wrong").code == 535
        assert talk.say("EHLO " + forged.replace(" ", "_")).code == 250
        talk.say("FOO " + forged)
    relay.stop()
    found = [regex.search(line.partition(" ")[2]) or regex.search(line)
             for line in relay.log_text().splitlines()]
    assert [match["host"] for match in found if match] == [bad, bad]


def test_a_login_that_many_addresses_try_is_told_and_still_works(relay):
    relay.add_user("boss", "right")
    relay.start()
    for _ in range(6):
        with secure(relay, loopback()) as talk:
            assert talk.plain("boss", "wrong").code == 535
    told = relay.wait_event("auth", result="attacked")
    assert [row["user"] for row in told] == ["boss"]
    assert any("login boss fails from many addresses" in text
               for text in relay.status()["warnings"])
    with secure(relay, loopback()) as talk:
        begun = awake()
        assert talk.plain("boss", "right").code == 235
        assert awake() - begun < 5


# ------------------------------------------------------------------- reload

def test_a_reload_logs_what_it_changes_about_who_may_relay(relay):
    relay.start()
    relay.set("relay", trusted_networks=["192.0.2.0/24"])
    relay.domain("new.example", "discard")
    relay.set("limits", hops=20)  # is about something else
    assert relay.reload().code == 0
    changes = [row["change"]
               for row in relay.wait_event("config", 6, level="warn")
               if "change" in row]
    assert changes[0].startswith("domain.new.example.aliases: (none) -> ")
    assert "domain.new.example.deliver: (none) -> discard" in changes
    assert changes[-1] == 'relay.trusted_networks: {} -> {"192.0.2.0/24"}'
    assert not any("hops" in change for change in changes)
    assert relay.reload().code == 0  # nothing more to tell
    relay.stop()
    assert len([row for row in relay.events("config")
                if "change" in row]) == len(changes)


# --------------------------------------------------------------------- caps

def test_over_a_cap_is_450_and_what_failed_is_not_charged(relay):
    relay.add_user("anna", "right")
    relay.set("limits", messages_per_user="2/1h", recipients_per_user="3/1h")
    relay.set("relay", sender_binding="any")
    relay.start()
    with secure(relay) as talk:
        assert talk.plain("anna", "right").code == 235
        for _ in range(5):  # begun and given up
            talk.mail("anna@local.example", "bob@local.example")
            assert talk.say("RSET").code == 250
        for _ in range(2):
            talk.mail("anna@local.example", "bob@local.example")
            assert talk.data(mails.message()).code == 250
        reply = talk.say("MAIL FROM:<anna@local.example>")
        assert reply.code == 450
        assert reply.text.startswith(
            "4.7.1 Too many messages from your login: 2 in 1h are taken, "
            "try again in ")
    rejected = relay.wait_event("reject", rule="messages-per-user")
    assert rejected[0]["code"] == 450
    # another listener, another client: one's own cap alone counts
    with Talk(relay.mx) as talk:
        talk.ehlo()
        talk.mail("eve@else.example", "bob@local.example")
        assert talk.data(mails.message()).code == 250


def test_recipients_over_the_cap_are_refused_one_by_one(relay):
    relay.add_user("anna", "right")
    relay.set("limits", recipients_per_user="3/1h")
    relay.start()
    with secure(relay) as talk:
        assert talk.plain("anna", "right").code == 235
        talk.mail("anna@local.example", *(f"u{n}@local.example"
                                          for n in range(3)))
        reply = talk.say("RCPT TO:<u3@local.example>")
        assert reply.code == 450
        assert "4.7.1 Too many recipients from your login" in reply.text
        assert talk.data(mails.message()).code == 250


def test_a_client_has_a_cap_of_its_own(relay):
    relay.set("limits", messages_per_client="1/1h")
    relay.start()
    one, other = loopback(), loopback()
    for source, code in ((one, 250), (one, 450), (other, 250)):
        with Talk(relay.mx, source) as talk:
            talk.ehlo()
            reply = talk.say("MAIL FROM:<eve@else.example>")
            assert reply.code == code
            if code == 250:
                assert talk.say("RCPT TO:<bob@local.example>").code == 250
                assert talk.data(mails.message()).code == 250


def test_a_login_far_over_its_cap_is_paused_until_cleared(relay):
    relay.add_user("anna", "right")
    relay.set("limits", messages_per_user="1/1h", errors=100)
    relay.start()
    with secure(relay) as talk:
        assert talk.plain("anna", "right").code == 235
        talk.mail("anna@local.example", "bob@local.example")
        assert talk.data(mails.message()).code == 250
        for _ in range(2):
            reply = talk.say("MAIL FROM:<anna@local.example>")
            assert "Too many messages" in reply.text
        reply = talk.say("MAIL FROM:<anna@local.example>")
        assert reply.code == 450 and "paused" in reply.text
    assert relay.wait_event("auth", result="paused", user="anna")
    assert any("login anna is paused" in text
               for text in relay.status()["warnings"])
    assert [r["login"] for r in relay.ctl("auth", "list", json=True).rows
            if r["kind"] == "paused"] == ["anna"]
    assert relay.ctl("auth", "clear", "anna").code == 0
    assert relay.ctl("auth", "clear", "anna").code == 1
    with secure(relay) as talk:
        assert talk.plain("anna", "right").code == 235
        reply = talk.say("MAIL FROM:<anna@local.example>")
        assert "Too many messages" in reply.text


# ------------------------------------------------------------------ explain

def explained(relay, *words, user="anna", source=None):
    """What explain says, and what a session is told at the same stage."""
    source = source or loopback()
    recipient = "bob@local.example"
    listener = "submission" if user else "mx"
    row = relay.ctl(
        "explain", "--listener", listener, "--client", source, "--tls",
        *(["--user", user] if user else []), "--from", "anna@local.example",
        "--to", recipient, *words, json=True).row
    talk = secure(relay, source) if user else Talk(relay.mx, source)
    with talk:
        if user:
            reply = talk.plain(user, "right")
        else:
            reply = talk.ehlo()
        if reply.code in (235, 250):
            reply = talk.say("MAIL FROM:<anna@local.example>")
        if reply.code == 250:
            reply = talk.say(f"RCPT TO:<{recipient}>")
    if row["decision"] == "refused":
        said = re.sub(r"\d+m\d+s|\d+m|\d+s", "T", reply.text)
        assert re.sub(r"\d+m\d+s|\d+m|\d+s", "T",
                      f"{row['status']} {row['reply']}") == said
    assert row["code"] == reply.code, (row, reply)
    return row


def test_explain_knows_caps_locks_and_pauses(relay):
    relay.add_user("anna", "right")
    relay.set("limits", messages_per_user="2/1h", recipients_per_user="3/1h",
              messages_per_client="5/1h", errors=100)
    relay.start()
    assert explained(relay)["decision"] == "accepted"
    with secure(relay) as talk:
        assert talk.plain("anna", "right").code == 235
        talk.mail("anna@local.example", *(f"u{n}@local.example"
                                          for n in range(3)))
        assert talk.data(mails.message()).code == 250
    row = explained(relay)
    assert (row["stage"], row["rule"]) == ("RCPT", "recipients-per-user")
    assert row["steps"][-1]["rule"] == "recipients-per-user"
    assert "raise the cap" in row["advice"][0]
    relay.set("limits", recipients_per_user="0")
    assert relay.reload().code == 0
    with secure(relay) as talk:
        assert talk.plain("anna", "right").code == 235
        talk.mail("anna@local.example", "bob@local.example")
        assert talk.data(mails.message()).code == 250
    row = explained(relay)
    assert (row["stage"], row["rule"]) == ("MAIL", "messages-per-user")
    with secure(relay) as talk:
        assert talk.plain("anna", "right").code == 235
        for _ in range(5):
            talk.say("MAIL FROM:<anna@local.example>")
    row = explained(relay)
    assert (row["stage"], row["rule"]) == ("MAIL", "login-paused")
    assert "ostlerctl auth clear anna" in row["advice"][0]
    text = relay.ctl("explain", "--user", "anna", "--from",
                     "anna@local.example", "--to", "bob@local.example").out
    assert "refused at MAIL" in text and "login-paused" in text, text
    # nobody else is meant
    assert explained(relay, user=None)["decision"] == "accepted"

    bad = loopback()
    talks = [secure(relay, bad) for _ in range(10)]
    for talk in talks:  # all delays at once
        talk.raw(b"AUTH PLAIN AGFubmEAd3Jvbmc=\r\n")
    for talk in talks:
        assert talk.reply().code == 535
        talk.close()
    row = explained(relay, source=bad)
    assert (row["stage"], row["rule"]) == ("AUTH", "auth-lock")
    assert row["advice"] == [f"ostlerctl auth clear {bad}"]


def test_port_0_is_logged_as_what_it_became(relay):
    relay.listeners["mx"]["address"] = [relay.mx[0] + ":0"]
    relay.start()
    row = relay.wait_event("start", listener="mx")[0]
    host, port = row["address"].split(":")
    assert host == relay.mx[0] and int(port) > 0
    with Talk((host, int(port))) as talk:
        assert talk.ehlo().code == 250


def test_every_port_0_gets_a_port_of_its_own(relay):
    """Also two at one address, as the mail server of tests has them."""
    host = relay.mx[0]
    relay.listeners["mx"]["address"] = [host + ":0", host + ":0"]
    relay.listeners["submission"]["address"] = [host + ":0"]
    relay.start()

    def ports():
        return sorted((row["listener"], row["address"])
                      for row in relay.status()["listeners"]
                      if row["listener"] in ("mx", "submission"))
    before = ports()
    assert [name for name, _ in before] == ["mx", "mx", "submission"]
    assert len({address for _, address in before}) == 3
    for name, address in before:
        with Talk((host, int(address.split(":")[1]))) as talk:
            talk.ehlo()
            assert talk.say("MAIL FROM:<a@far.example>").code == (
                530 if name == "submission" else 250)
    assert relay.reload().code == 0  # and keeps it
    assert ports() == before


# -------------------------------------------------------------------- PROXY

V2 = b"\r\n\r\n\0\r\nQUIT\n"


def v2(client, server="192.0.2.1", extra=b""):
    body = socket.inet_aton(client) + socket.inet_aton(server) + \
        struct.pack(">HH", 40000, 25) + extra
    return V2 + b"\x21\x11" + struct.pack(">H", len(body)) + body


def v1(client):
    return f"PROXY TCP4 {client} 192.0.2.1 40000 25\r\n".encode()


@pytest.fixture
def proxied(relay):
    relay.proxy = loopback()
    for name in ("mx", "submissions"):
        relay.listeners[name]["proxy_from"] = [relay.proxy + "/32"]
    return relay


@pytest.mark.parametrize("header", (v1, v2))
def test_a_proxys_client_is_the_client(proxied, header):
    proxied.set("relay", trusted_networks=["198.51.100.7/32"])
    proxied.start()
    for client, code in (("198.51.100.7", 250), ("203.0.113.5", 550)):
        with Talk(proxied.mx, proxied.proxy, greeting=False) as talk:
            talk.raw(header(client))
            assert talk.reply().code == 220
            talk.ehlo()
            talk.mail("eve@else.example")
            assert talk.say("RCPT TO:<bob@foreign.example>").code == code
        proxied.wait_event("disconnect", client=client)
        assert proxied.wait_event("connect", client=client)[0]["proxy"] == \
            proxied.proxy
    # others come as themselves, and cannot claim to be somebody else
    with Talk(proxied.mx, loopback()) as talk:
        assert talk.say("PROXY TCP4 198.51.100.7 192.0.2.1 1 25").code == 500
        talk.ehlo()
        talk.mail("eve@else.example")
        assert talk.say("RCPT TO:<bob@foreign.example>").code == 550


@pytest.mark.parametrize("is_friend", (True, False))
def test_places_are_by_the_client_that_a_proxy_names(proxied, is_friend):
    """Of four, strangers get three: whoever the proxy itself is."""
    proxied.set("limits", connections=4)
    proxied.set("relay", trusted_networks=["198.51.100.7/32"] + (
        [proxied.proxy + "/32"] if is_friend else []))
    proxied.start()
    talks = []
    for client, code in (("203.0.113.1", 220), ("203.0.113.2", 220),
                         ("203.0.113.3", 220), ("203.0.113.4", 421),
                         ("198.51.100.7", 220)):
        talk = Talk(proxied.mx, proxied.proxy, greeting=False)
        talk.raw(v1(client))
        assert talk.reply().code == code, client
        if code == 220:
            talks.append(talk)
        else:
            talk.close()
            proxied.wait_event("disconnect", client=client)
    for talk in talks:
        talk.close()


def test_the_header_may_come_octet_by_octet_or_with_all_the_rest(proxied):
    proxied.start()
    session = (b"EHLO c.example\r\nMAIL FROM:<>\r\n"
               b"RCPT TO:<bob@local.example>\r\nQUIT\r\n")
    for octets in (v1("203.0.113.5"), v2("203.0.113.5", extra=b"\4\0\1x")):
        with Talk(proxied.mx, proxied.proxy, greeting=False) as talk:
            talk.raw(octets + session)
            codes = [talk.reply().code for _ in range(5)]
            assert codes == [220, 250, 250, 250, 221]
        with Talk(proxied.mx, proxied.proxy, greeting=False) as talk:
            talk.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for octet in octets + session:
                talk.raw(bytes([octet]))
            codes = [talk.reply().code for _ in range(5)]
            assert codes == [220, 250, 250, 250, 221]


def test_a_proxy_without_a_header_is_closed(proxied):
    proxied.start()
    with Talk(proxied.mx, proxied.proxy, greeting=False) as talk:
        talk.raw(b"EHLO client.example\r\n")
        with pytest.raises(Closed) as end:
            talk.reply()
        assert end.value.args == (b"",)
    assert proxied.wait_event("reject", rule="proxy-header")


def test_a_health_check_speaks_for_the_proxy(proxied):
    proxied.start()
    for octets in (b"PROXY UNKNOWN\r\n", V2 + b"\x20\0\0\0"):
        with Talk(proxied.mx, proxied.proxy, greeting=False) as talk:
            talk.raw(octets)
            assert talk.reply().code == 220
    assert len(proxied.wait_event("connect", 2,
                                  client=proxied.proxy)) == 2


def test_tls_begins_behind_the_header(proxied, authority):
    proxied.add_user("anna", "right")
    proxied.start()
    with Talk(proxied.submissions, proxied.proxy, authority.context(),
              greeting=False) as talk:
        talk.raw(v1("203.0.113.5"))
        talk._wrap()
        assert talk.reply().code == 220
        talk.ehlo()
        assert talk.plain("anna", "wrong").code == 535
    assert proxied.wait_event("auth", result="failed")[0]["client"] == \
        "203.0.113.5"
    # the client's first TLS message in one segment with the header
    context = authority.context()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing,
                           server_hostname="mail.ostler.example")
    with socket.create_connection(proxied.submissions, PATIENCE,
                                  (proxied.proxy, 0)) as plain:
        pending = v1("203.0.113.5")
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                plain.sendall(pending + outgoing.read())
                pending = b""
                incoming.write(plain.recv(65536))
        plain.sendall(outgoing.read())
        while True:
            try:
                greeting = tls.read(100)
                break
            except ssl.SSLWantReadError:
                incoming.write(plain.recv(65536))
        assert greeting.startswith(b"220 ")


def test_proxied_clients_are_counted_each_by_its_own_address(proxied):
    proxied.set("limits", connections_per_client=2)
    proxied.start()
    talks = []
    for client, code in (("203.0.113.5", 220), ("203.0.113.5", 220),
                         ("203.0.113.5", 421), ("203.0.113.6", 220)):
        talk = Talk(proxied.mx, proxied.proxy, greeting=False)
        talk.raw(v1(client))
        assert talk.reply().code == code
        talks.append(talk)
    for talk in talks:
        talk.close()


def test_a_thousand_clients_are_counted_each_by_its_own_address(proxied):
    """Among as many, each is found again when it comes and when it goes."""
    need_files(4096)
    proxied.set("limits", connections=2000, connections_per_client=1)
    proxied.start()

    def come(client):
        talk = Talk(proxied.mx, proxied.proxy, greeting=False)
        talk.raw(v1(client))
        return talk, talk.reply().code
    clients = [f"203.0.{number // 250}.{number % 250 + 1}"
               for number in range(1000)]
    talks = []
    for client in clients:
        talk, code = come(client)
        assert code == 220
        talks.append(talk)
    for client in clients[::50]:
        talk, code = come(client)
        talk.close()
        assert code == 421
    for talk in talks:
        talk.close()
    wait_for(lambda: proxied.status()["sessions"]["open"] == 0, "their end")
    for client in clients[::50]:
        talk, code = come(client)
        talk.close()
        assert code == 220


def test_a_nat_in_front_is_told_once(relay):
    relay.start()
    for number in range(60):
        with Talk(relay.mx) as talk:
            talk.ehlo(f"client{number % 7}.example")
            assert talk.say("QUIT").code == 221
    told = relay.wait_event("config", listener="mx")
    assert len(told) == 1 and "PROXY" in told[0]["reason"]
    assert any("all clients come from one private address" in text
               for text in relay.status()["warnings"])


@pytest.mark.parametrize("change", ("renamed", "without TLS"))
def test_a_header_may_come_when_its_listener_has_changed(proxied, authority,
                                                         change):
    proxied.start()
    with Talk(proxied.submissions, proxied.proxy, authority.context(),
              greeting=False) as talk:
        talk.raw(v1("203.0.113.5")[:9])
        wait_for(lambda: proxied.status()["sessions"]["open"] == 1,
                 "the session")
        if change == "renamed":
            proxied.listeners["other"] = proxied.listeners.pop("submissions")
        else:
            proxied.listeners["submissions"]["tls"] = "none"
        assert proxied.reload().code == 0
        talk.raw(v1("203.0.113.5")[9:])
        assert talk.is_closed()
    assert proxied.wait_event("disconnect", client="203.0.113.5")
    with Talk(proxied.mx, loopback()) as talk:
        assert talk.greeting.code == 220


def test_one_networks_many_addresses_are_one_client(proxied):
    """RFC 6177: a single customer has at least a /64."""
    proxied.set("limits", connections_per_client=2)
    proxied.start()
    talks = []
    for client, code in (("2001:db8:0:1::5", 220), ("2001:db8:0:1:9::6", 220),
                         ("2001:db8:0:1:8::7", 421), ("2001:db8:0:2::5", 220)):
        talk = Talk(proxied.mx, proxied.proxy, greeting=False)
        talk.raw(f"PROXY TCP6 {client} 2001:db8::1 40000 25\r\n".encode())
        assert talk.reply().code == code
        talks.append(talk)
    for talk in talks:
        talk.close()
