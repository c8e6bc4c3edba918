# SPDX-License-Identifier: ISC
"""Mail programs hand mail in, by every way and mechanism."""

import pytest

from lab import clients, mails
from lab.base import USER, wait_for
from lab.talk import Talk

WAYS = ("starttls", "tls")
PROGRAMS = {"swaks": ("PLAIN", "LOGIN"),
            "curl": ("PLAIN", "LOGIN"),
            "msmtp": ("PLAIN", "LOGIN", "SCRAM-SHA-256"),
            "python": ("PLAIN", "LOGIN"),
            "s_nail": ("PLAIN", "LOGIN"),
            "perl": ("PLAIN", "LOGIN"),
            "nodemailer": ("PLAIN", "LOGIN")}
#: It writes a header of its own.
COMPOSES = ("s_nail",)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_hands_mail_in_by_every_way(relay, authority, program):
    user, password = relay.add_user()
    relay.start()
    send = getattr(clients, program)
    sent = []

    def hand_in(to, way, auth):
        content = mails.message(f"by {way} with {(auth or [None])[0]}\r\n"
                                .encode())
        send(relay, authority, to, way, auth, "anna@local.example",
             ["bob@local.example"], content)
        sent.append(content)
    for way in ("plain", "starttls"):
        hand_in(relay.mx, way, None)
    for way in WAYS:
        to = relay.submission if way == "starttls" else relay.submissions
        for mechanism in PROGRAMS[program]:
            hand_in(to, way, (mechanism, user, password))
    found = relay.wait_maildir("bob", len(sent))
    for content in sent:
        body = content.split(b"\r\n\r\n")[1].strip()
        assert any(body in f.splitlines() and
                   (program in COMPOSES or
                    mails.message_id(f) == mails.message_id(content))
                   for f in found)
    logins = len(WAYS) * len(PROGRAMS[program])
    assert len(relay.wait_event("auth", logins, result="ok")) == logins


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_shows_why_it_was_refused(relay, authority, program):
    user, password = relay.add_user()
    relay.start()
    send = getattr(clients, program)

    def refusal(to, way, auth, recipient):
        with pytest.raises(Exception) as caught:
            send(relay, authority, to, way, auth, "anna@local.example",
                 [recipient], mails.message())
        return str(caught.value)
    said = refusal(relay.mx, "plain", None, "bob@far.example")
    # curl tells nothing but the code
    assert ("550" if program == "curl" else
            "Relaying denied: far.example is not handled here and you are "
            "not logged in") in said
    said = refusal(relay.submissions, "tls", ("PLAIN", user, "wrong"),
                   "bob@far.example")
    assert ("Login denied" if program == "curl" else
            "Authentication credentials invalid") in said
    assert not relay.queue()


@pytest.mark.parametrize("mechanism", ("plain", "login", "scram"))
@pytest.mark.parametrize("way", WAYS)
def test_each_mechanism_logs_in_and_sends(relay, authority, way, mechanism):
    user, password = relay.add_user("ørsted", "pass = , wörd")
    relay.start()
    to = relay.submission if way == "starttls" else relay.submissions
    with Talk(to, context=authority.context(),
              is_implicit=way == "tls") as talk:
        talk.ehlo() if way == "tls" else talk.ehlo() and talk.starttls()
        reply = getattr(talk, mechanism)(user, password + "?")
        assert (reply.code, reply.text) == \
            (535, "5.7.8 Authentication credentials invalid")
        reply = getattr(talk, mechanism)("nobody", password)
        assert (reply.code, reply.text) == \
            (535, "5.7.8 Authentication credentials invalid")
        reply = getattr(talk, mechanism)(user, password)
        assert (reply.code, reply.text) == \
            (235, "2.7.0 Authentication successful")
        talk.mail("anna@local.example", "bob@local.example")
        assert talk.data(mails.message()).code == 250
    relay.wait_maildir("bob")


def test_smtp_source_hands_in_a_hundred(relay):
    relay.domain("sink.example", "discard")
    relay.start()
    clients.run("smtp-source", "-s", 8, "-m", 100, "-l", 5000, "-f",
                "anna@local.example", "-t", "bob@local.example", "-S", "load",
                "%s:%d" % relay.mx)
    found = relay.wait_maildir("bob", 100)
    assert len(found) == 100


def test_no_password_is_taken_without_tls(relay):
    user, password = relay.add_user()
    relay.start()
    with Talk(relay.submission) as talk:
        assert "AUTH" not in talk.ehlo().text or \
            "PLAIN" not in talk.ehlo().text
        reply = talk.plain(user, password)
        assert (reply.code, reply.text) == \
            (538, "5.7.11 Encryption required for requested authentication "
                  "mechanism")
        reply = talk.say("MAIL FROM:<anna@local.example>")
        assert (reply.code, reply.text) == (530, "5.7.0 Authentication "
                                                 "required")


def test_a_local_socket_knows_its_peer_by_uid(relay, far):
    relay.start()
    with Talk(relay.submit_socket) as talk:
        assert "AUTH" not in talk.ehlo().text
        talk.mail("anna@local.example", "bob@far.example")
        assert talk.data(mails.message()).code == 250
        reply = talk.say("MAIL FROM:<someone@elsewhere.example>")
        assert reply.code == 553, reply
    far.wait()
    assert relay.wait_event("queued", user=f"unix:{USER}")


def test_ipv6_clients_and_targets_are_served(relay, names, make_sink):
    from lab.base import free_port
    port = free_port("::1")
    relay.listeners["mx"]["address"] = [f"[::1]:{port}"]
    relay.set("relay", trusted_networks=["::1/128"])
    sink = make_sink("::1")
    relay.set("queue", port=sink.port)
    names.domain("far.example", "::1")
    relay.start()
    with Talk(("::1", port)) as talk:
        talk.ehlo()
        talk.mail("anna@local.example", "bob@far.example")
        assert talk.data(mails.message()).code == 250
    assert b"[IPv6:::1]" in sink.wait()[0].content
    wait_for(lambda: not relay.queue(), "an empty queue")
