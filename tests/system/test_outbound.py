# SPDX-License-Identifier: ISC
"""Other servers take mail out, found by MX records, octet for octet."""

import socket
import ssl
import threading

import pytest

from lab import mails
from lab.base import PATIENCE, free_port, loopback, wait_for
from lab.talk import Talk
from lab.unpacked import Exim, OpenSmtpd

MEGABYTES_25 = 25 << 20


def hand_in(relay, contents, *recipients, sender="anna@local.example",
            options=""):
    """All of them in one session of a trusted client."""
    with Talk(relay.mx, timeout=120) as talk:
        talk.ehlo()
        for content in contents:
            reply = talk.say(f"MAIL FROM:<{sender}>{options}")
            assert reply.code == 250, reply
            for recipient in recipients:
                reply = talk.say(f"RCPT TO:<{recipient}>")
                assert reply.code == 250, reply
            reply = talk.data(content)
            assert reply.code == 250, reply


def by_id(contents):
    return {mails.message_id(content): content for content in contents}


def compare(sent, came):
    """came: what arrived, each once, with our field on top."""
    sent, came = by_id(sent), by_id(came)
    assert sent.keys() == came.keys()
    for key, content in came.items():
        assert mails.as_sent(content) == sent[key]


def compare_lf(sent, came):
    """The same of files whose lines end in LF."""
    compare([mails.with_lf(one) for one in sent], came)


def test_aiosmtpd_gets_every_octet(relay, far):
    relay.set("relay", trusted_networks=["127.0.0.0/8"])
    relay.start()
    contents = list(mails.cases(attachment=MEGABYTES_25).values())
    hand_in(relay, contents, "bob@far.example", options=" BODY=8BITMIME")
    came = far.wait(len(contents))
    compare(contents, [mail.content for mail in came])
    for mail in came:
        assert mail.sender == "anna@local.example"
        assert mail.recipients == ["bob@far.example"]
        assert mail.content.startswith(b"Received: from client.example (")
    relay.wait_empty()


@pytest.mark.parametrize("without", ("", "chunking", "pipelining"))
def test_postfix_gets_every_octet(relay, names, make_postfix, without):
    host = loopback()
    postfix = make_postfix(
        host, free_port(host), ["far.example"],
        settings=f"smtpd_discard_ehlo_keywords = {without}\n")
    relay.set("queue", port=postfix.port)
    relay.set("relay", trusted_networks=["127.0.0.0/8"])
    names.domain("far.example", host)
    relay.start()
    contents = list(mails.cases(attachment=MEGABYTES_25).values())
    hand_in(relay, contents, "bob@far.example")
    compare_lf(contents, postfix.wait("far.example", len(contents)))
    relay.wait_empty()


def test_exim_gets_every_octet(relay, names, folder):
    host = loopback()
    exim = Exim(folder, host, free_port(host), ["far.example"])
    try:
        relay.set("queue", port=exim.port)
        relay.set("relay", trusted_networks=["127.0.0.0/8"])
        names.domain("far.example", host)
        relay.start()
        contents = list(mails.cases(attachment=4 << 20).values())
        hand_in(relay, contents, "bob@far.example")
        compare_lf(contents, exim.wait(len(contents)))
        relay.wait_empty()
        # its words for a recipient that it does not know are understood
        names.domain("other.example", host)
        hand_in(relay, contents[:1], "bob@other.example")
        row = relay.wait_event("deferred", to="bob@other.example")[0]
        assert row["category"] == "relaying-issues", row
        assert row["scenario"] == "remote" and row["cause"] == "best-mx"
    finally:
        exim.stop()


def test_opensmtpd_gets_every_octet(relay, names, folder, make_sink):
    host = loopback()
    behind = make_sink()
    smtpd = OpenSmtpd(folder, host, free_port(host), ["far.example"],
                      (behind.host, behind.port))
    try:
        relay.set("queue", port=smtpd.port)
        relay.set("relay", trusted_networks=["127.0.0.0/8"])
        names.domain("far.example", host)
        relay.start()
        contents = list(mails.cases(attachment=4 << 20).values())
        hand_in(relay, contents, "bob@far.example")
        relay.wait_empty()
        came = behind.wait(len(contents))
        compare(contents, [mail.content for mail in came])
    finally:
        smtpd.stop()


@pytest.mark.parametrize("way", ("tcp", "unix"))
def test_dovecot_gets_every_octet_by_lmtp(relay, dovecot, way):
    relay.domain("inner.example", {
        "tcp": f"lmtp:{dovecot.host}:{dovecot.port}",
        "unix": f"lmtp:unix:{dovecot.socket}"}[way])
    relay.start()
    contents = list(mails.cases(
        attachment=MEGABYTES_25 if way == "tcp" else 0).values())
    hand_in(relay, contents, "bob@inner.example", "eve@inner.example")
    for user in ("bob", "eve"):
        came = [mails.with_lf(content) for content in
                dovecot.wait(user, "inner.example", len(contents))]
        compare_lf(contents, came)
        for content in came:
            assert content.startswith(b"Return-Path: <anna@local.example>")
    relay.wait_empty()


def test_a_maildir_gets_every_octet(relay):
    relay.domain("local.example", f"maildir:{relay.mail}/%d/%u")
    relay.start()
    contents = list(mails.cases().values())
    hand_in(relay, contents, "Bob+lists@LOCAL.example",
            sender="eve@else.example")
    came = relay.wait_maildir("bob", len(contents))
    compare_lf(contents, came)
    for content in came:
        assert content.startswith(b"Return-Path: <eve@else.example>\n")
        assert b"\nDelivered-To: Bob+lists@local.example\n" in content
    folder = relay.mail / "local.example" / "bob"
    assert sorted(f.name for f in folder.iterdir()) == ["cur", "new", "tmp"]
    assert not list((folder / "tmp").iterdir())


def test_a_hundred_recipients_in_twenty_domains_get_it_once(
        relay, names, make_sink):
    port = free_port()
    relay.set("queue", port=port)
    relay.set("relay", trusted_networks=["127.0.0.0/8"])
    sinks = {}
    for number in range(20):
        domain = f"d{number}.example"
        sinks[domain] = make_sink(port=port)
        names.domain(domain, sinks[domain].host)
    relay.start()
    recipients = [f"user{n}@d{n % 20}.example" for n in range(100)]
    content = mails.message(b"to many\r\n")
    hand_in(relay, [content], *recipients)
    wait_for(lambda: sum(len(m.recipients) for s in sinks.values()
                         for m in s.mails) >= 100, "a hundred deliveries")
    relay.wait_empty()
    got = [r for s in sinks.values() for m in s.mails for r in m.recipients]
    assert sorted(got) == sorted(recipients)
    for domain, sink in sinks.items():
        # one transaction a domain, with all of its recipients
        assert len(sink.mails) == 1, domain
        assert mails.as_sent(sink.mails[0].content) == content
        assert all(r.endswith("@" + domain)
                   for r in sink.mails[0].recipients)
    assert len(relay.wait_event("delivered", 100)) == 100


def test_tls_is_used_where_the_other_server_offers_it(
        relay, names, make_sink, authority, folder):
    # nothing checks the certificate, which names another host
    sink = make_sink(certificate=authority.issue(folder / "t", "x.example"))
    relay.set("queue", port=sink.port)
    relay.set("relay", trusted_networks=["127.0.0.0/8"])
    names.domain("far.example", sink.host)
    relay.start()
    hand_in(relay, [mails.message()], "bob@far.example")
    assert sink.wait()[0].is_tls
    assert relay.wait_event("delivered")[0]["tls"].startswith("TLSv1.")


@pytest.mark.parametrize("scheme", ("smtp", "smtps"))
@pytest.mark.parametrize("mechanisms", (["PLAIN"], ["LOGIN"]))
def test_a_smarthost_with_tls_and_a_login_takes_all(
        relay, make_sink, authority, folder, scheme, mechanisms):
    sink = make_sink(certificate=authority.issue(folder / "t",
                                                 "smart.example"),
                     users={"ostler": "pass word"}, require_tls=True,
                     is_implicit=scheme == "smtps")
    secret = folder / "secret"
    secret.write_text("pass word\n")
    secret.chmod(0o600)
    relay.set("relay", trusted_networks=["127.0.0.0/8"])
    relay.route("out", for_=["*"], via=f"{scheme}:{sink.host}:{sink.port}",
                tls="required", user="ostler", password_file=secret,
                mechanisms=mechanisms)
    relay.start()
    content = mails.message()
    hand_in(relay, [content], "bob@far.example", "eve@else.example")
    mail = sink.wait()[0]
    assert (mail.login, mail.is_tls) == ("ostler", True)
    assert sorted(mail.recipients) == ["bob@far.example", "eve@else.example"]
    assert mails.as_sent(mail.content) == content
    relay.wait_empty()
    assert "pass word" not in relay.log_text()


def test_a_smarthost_that_refuses_the_login_keeps_mail_waiting(
        relay, make_sink, authority, folder):
    sink = make_sink(certificate=authority.issue(folder / "t",
                                                 "smart.example"),
                     users={"ostler": "other"}, require_tls=True)
    secret = folder / "secret"
    secret.write_text("wrong\n")
    relay.set("relay", trusted_networks=["127.0.0.0/8"])
    relay.route("out", for_=["*"], via=f"smtp:{sink.host}:{sink.port}",
                user="ostler", password_file=secret, mechanisms=["PLAIN"])
    relay.set("queue", retry=["1d"])
    relay.start()
    hand_in(relay, [mails.message() for _ in range(5)], "bob@far.example")
    wait_for(lambda: len([r for r in relay.queue() if r["why"]]) == 5,
             "reasons")
    event = relay.wait_event("auth", result="refused")[0]
    assert event["via"] == "route out" and str(sink.port) == \
        str(event["port"]), event
    row = relay.queue()[0]
    assert row["state"] == "deferred" and \
        "Authentication credentials invalid" in row["why"], row
    assert len(relay.wait_event("auth", result="refused")) == 1
    sink.users["ostler"] = "wrong"
    relay.ctl("queue", "retry", "--all")
    sink.wait(5)
    relay.wait_empty()


def test_an_inner_host_is_found_without_mx_records(relay, names, make_sink):
    sink = make_sink()
    names.host("inner.example", sink.host)
    names.domain("local.example", loopback())  # nobody is there
    relay.domain("local.example", f"smtp:inner.example:{sink.port}")
    relay.start()
    content = mails.message()
    hand_in(relay, [content], "bob@local.example")
    assert mails.as_sent(sink.wait()[0].content) == content


def test_discarded_mail_is_gone_at_once(relay):
    relay.domain("local.example", "discard")
    relay.start()
    hand_in(relay, [mails.message()], "bob@local.example")
    relay.wait_event("delivered", to="bob@local.example")
    relay.wait_empty()


def test_an_alias_reaches_all_it_names(relay, folder):
    (folder / "aliases").write_text(
        "team: bob@local.example, eve@local.example\n*: rest@local.example\n")
    (folder / "known").write_text("bob\neve\nrest\n")
    relay.domain("local.example", f"maildir:{relay.mail}/%d/%u",
                 aliases=folder / "aliases", recipients=folder / "known")
    relay.start()
    hand_in(relay, [mails.message()], "team@local.example",
            "bob@local.example", "stranger@local.example")
    for user in ("bob", "eve", "rest"):
        relay.wait_maildir(user)
    relay.wait_empty()
    assert [len(relay.maildir(u)) for u in ("bob", "eve", "rest")] == \
        [1, 1, 1]


class Demanding:
    """Takes mail in the clear; over TLS 1.3 from those alone that show a
    certificate, which it says behind their handshake."""
    def __init__(self, host, port, certificate):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3
        self.context.load_cert_chain(certificate.chain, certificate.key)
        self.context.verify_mode = ssl.CERT_REQUIRED
        self.handshakes, self.got = 0, []
        self.socket = socket.create_server((host, port))
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            try:
                peer = self.socket.accept()[0]
            except OSError:
                return
            with peer:
                try:
                    self._talk(peer)
                except OSError:
                    pass

    def _talk(self, peer):
        peer.settimeout(PATIENCE)
        peer.sendall(b"220 here\r\n")
        lines = peer.makefile("rb")
        for line in lines:
            verb = line[:4].upper()
            if verb == b"EHLO":
                peer.sendall(b"250-here\r\n250 STARTTLS\r\n")
            elif verb == b"STAR":
                peer.sendall(b"220 go\r\n")
                self.handshakes += 1
                self.context.wrap_socket(peer, server_side=True)
            elif verb == b"DATA":
                peer.sendall(b"354 go\r\n")
                self.got.append(b"".join(iter(lines.readline, b".\r\n")))
                peer.sendall(b"250 2.0.0 taken\r\n")
            else:
                peer.sendall(b"250 2.0.0 ok\r\n")

    def close(self):
        self.socket.close()


@pytest.mark.parametrize("demand", ("opportunistic", "required"))
def test_a_server_that_does_not_like_our_end_of_the_handshake(
        relay, authority, folder, demand):
    host = loopback()
    port = free_port(host)
    server = Demanding(host, port, authority.issue(folder / "t", "x.example"))
    relay.route("out", for_=["*"], via=f"smtp:{host}:{port}", tls=demand)
    relay.set("relay", trusted_networks=["127.0.0.0/8"])
    relay.set("queue", retry=["1h"])
    relay.start()
    hand_in(relay, [mails.message()], "bob@far.example")
    if demand == "opportunistic":
        # where nothing was promised, in the clear is better than not at all
        row, = relay.wait_event("delivered")
        assert not row.get("tls") and len(server.got) == 1
    else:
        row, = relay.wait_event("deferred")
        assert "behind the TLS handshake" in str(row), row
        assert row["rule"] == "cause-tls-failed", row
        assert server.got == []
    assert server.handshakes == 1
    server.close()
