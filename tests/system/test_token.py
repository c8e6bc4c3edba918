# SPDX-License-Identifier: ISC
"""A smarthost that takes a bearer token, printed by a command."""

import base64

import pytest
from aiosmtpd.smtp import AuthResult, LoginPassword

from lab import mails
from lab.base import free_port, loopback, wait_for
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
