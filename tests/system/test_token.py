# SPDX-License-Identifier: ISC
"""A smarthost that takes a bearer token, printed by a command."""

import base64

import pytest
from aiosmtpd.smtp import AuthResult, LoginPassword

from lab import mails
from lab.base import free_port, loopback, wait_for
from lab.peers import DovecotSubmission
from lab.sink import Sink
from lab.talk import Talk


class TokenSink(Sink):
    """Takes the tokens in .good; .seen has all that were shown."""

    def __init__(self, *args, **options):
        self.good, self.seen = {"t1"}, []
        super().__init__(*args, users={"nobody": ""}, **options)

    async def auth_XOAUTH2(self, server, args):
        text = base64.b64decode(args[1]).decode()
        user, token, *_ = text.split("\x01")
        assert user == "user=relay@far.example"
        token = token.removeprefix("auth=Bearer ")
        self.seen.append(token)
        return AuthResult(success=token in self.good, handled=False,
                          auth_data=LoginPassword(b"relay", b""))

    def _check(self, server, session, envelope, mechanism, data):
        return AuthResult(success=True, auth_data=data)


@pytest.fixture
def site(folder, relay, reactor, authority):
    host = loopback()
    sink = TokenSink(reactor, host, free_port(host),
                     certificate=authority.issue(folder / "far", "far.example"),
                     require_tls=True)
    command = folder / "token"
    relay.route("out", for_=["*"], via=f"smtp:{host}:{sink.port}",
                tls="required", user="relay@far.example",
                token_command=f"/bin/sh {command} 'one word'")
    relay.set("relay", trusted_networks=["127.0.0.0/8"])
    relay.set("queue", idle_connection="0s")

    class Site:
        runs = folder / "runs"

        def script(self, text):
            command.write_text(f'test "$1" = "one word" || exit 9\n'
                               f"echo x >> {self.runs}\n{text}\n")

        def run_count(self):
            return len(self.runs.read_text().split())

        def send(self):
            with Talk(relay.mx) as talk:
                talk.ehlo()
                talk.mail("anna@local.example", "bob@else.example")
                reply = talk.data(mails.message(b"hello\r\n"))
                assert reply.code == 250, reply
    Site.sink, Site.relay = sink, relay
    yield Site()
    sink.stop()


def test_a_token_logs_in_and_is_kept_until_it_ends(site):
    site.script("""echo '{"access_token": "t1", "expires_in": 3600}'""")
    site.relay.start()
    for count in (1, 2, 3):
        site.send()
        site.sink.wait(count)
    assert site.sink.seen == ["t1"] * 3
    assert site.run_count() == 1


def test_a_refused_token_is_had_anew_once(site):
    site.script("echo t1")
    site.relay.start()
    site.send()
    site.sink.wait(1)
    site.sink.good = {"t2"}
    site.script("echo t2")
    site.send()
    site.sink.wait(2)
    assert site.sink.seen == ["t1", "t1", "t2"]
    assert site.run_count() == 2


@pytest.mark.parametrize("script, why", (
    ("echo no network >&2; exit 3", "exit 3: no network"),
    ("true", "printed no token"),
    ("echo '{}'", "printed no token"),
    ("head -c 20000 /dev/zero", "more than 16 KiB"),
    ("kill -9 $$", "signal 9")))
def test_without_a_token_mail_waits_and_says_why(site, script, why):
    site.script(script)
    site.relay.start()
    site.send()
    event = wait_for(lambda: site.relay.events("deferred"), "a deferral")[0]
    assert why in event["reply"]
    assert site.sink.seen == []
    assert site.run_count() == 1


# ---------------------------------------- a server that checks tokens itself

USER = "relay@smart.example"


@pytest.fixture
def smart(folder, relay, authority, make_sink):
    """Dovecot as the smarthost, which hands all mail to .sink."""
    sink = make_sink()
    host = loopback()
    dovecot = DovecotSubmission(
        folder, host, free_port(host),
        authority.issue(folder / "smart", "smart.example"), sink)
    dovecot.sink, dovecot.token_file = sink, folder / "token"
    relay.set("tls", ca=authority.file)
    relay.set("relay", trusted_networks=["127.0.0.0/8"])
    relay.set("queue", idle_connection="0s")

    def route(mechanism):
        relay.route("out", for_=["*"], via=f"smtp:{host}:{dovecot.port}",
                    tls="required", user=USER, mechanisms=[mechanism],
                    token_command=f"/bin/cat {dovecot.token_file}")
    dovecot.route = route
    yield dovecot
    dovecot.stop()


def send(relay):
    with Talk(relay.mx) as talk:
        talk.ehlo()
        talk.mail("anna@local.example", "bob@else.example")
        assert talk.data(mails.message(b"hello\r\n")).code == 250


@pytest.mark.parametrize("mechanism", ("OAUTHBEARER", "XOAUTH2"))
def test_dovecot_takes_a_good_token(smart, relay, mechanism):
    smart.route(mechanism)
    smart.token_file.write_text(smart.token(USER))
    relay.start()
    for count in (1, 2):
        send(relay)
        smart.sink.wait(count)
    assert smart.sink.mails[0].recipients == ["bob@else.example"]
    relay.wait_empty()
    # the name and the way, as Dovecot saw them
    wait_for(lambda: f"user=<{USER}>, method={mechanism}" in smart.log(),
             "Dovecot's line of the login")


@pytest.mark.parametrize("mechanism", ("OAUTHBEARER", "XOAUTH2"))
@pytest.mark.parametrize("wrong", ("expired", "forged", "garbled"))
def test_dovecot_refuses_a_bad_token(smart, relay, mechanism, wrong):
    bad = {"expired": smart.token(USER, -60),
           "forged": smart.token(USER, key=b"a stranger's"),
           "garbled": "no-token-at-all"}[wrong]
    smart.route(mechanism)
    smart.token_file.write_text(bad)
    relay.start()
    send(relay)
    event = wait_for(lambda: relay.events("deferred"), "a deferral")[0]
    assert event["rule"] == "cause-auth-failed", event
    assert bad not in relay.log_text()
    assert smart.sink.mails == []
    # a good one is taken as soon as the command has it
    smart.token_file.write_text(smart.token(USER))
    assert relay.ctl("queue", "retry", "--all").code == 0
    smart.sink.wait(1)


def test_a_token_that_ended_meanwhile_is_had_anew_at_once(smart, relay):
    """The relay keeps a token for five minutes when it does not say how long
    it is good for."""
    smart.route("OAUTHBEARER")
    smart.token_file.write_text(smart.token(USER))
    relay.start()
    send(relay)
    smart.sink.wait(1)
    smart.change_key()
    smart.token_file.write_text(smart.token(USER))
    send(relay)
    smart.sink.wait(2)
    assert relay.events("deferred") == []
    assert smart.log().count(f"user=<{USER}>, method=OAUTHBEARER") >= 2
