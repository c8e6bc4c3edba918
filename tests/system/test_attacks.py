# SPDX-License-Identifier: ISC
"""What strangers say that is meant for somebody else: for the terminal of
whoever administers the relay, for the relay behind ours."""

import base64
import socket
import threading

import pytest

from lab import mails
from lab.base import free_port, loopback
from lab.talk import Talk

#: Moves a cursor, sets a title, clears a screen: by ESC, by the controls above
#: ASCII, by turning the reading direction around; and begins a line.
ORDERS = ("\x1b]0;gone\x07\x1b[2J", "\u009b2J", "\u202emoc.", "\r\x08\x7f",
          "\u2066x\u2069")


def is_harmless(text):
    """May a terminal show this?"""
    return not [c for c in text
                if (c < " " and c != "\n") or "\x7f" <= c < "\xa0"
                or c in "\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d"
                "\u202e\u2066\u2067\u2068\u2069\ufeff"]


class Speaker:
    """A server of few words, which are said whatever the client says."""

    def __init__(self, host, port, words):
        self.words = words  # reply to a verb, octets with CR LF
        self.listener = socket.create_server((host, port))
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with client, client.makefile("rb") as lines:
                try:
                    client.sendall(self.words["greeting"])
                    for line in lines:
                        verb = line.split()[0].upper().decode() \
                            if line.split() else ""
                        client.sendall(self.words.get(verb, b"250 ok\r\n"))
                        if verb == "QUIT":
                            break
                except OSError:
                    pass

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()


@pytest.fixture
def make_speaker(request):
    def make(words):
        host = loopback()
        port = free_port(host)
        speaker = Speaker(host, port, words)
        request.addfinalizer(speaker.stop)
        return host, port
    return make


def test_a_login_gives_no_orders_to_a_terminal(relay):
    relay.add_user("anna", "right")
    relay.start()
    logins = ["a" + "".join(ORDERS[:2]) + "\nlogin    root  0 failed",
              "b" + "".join(ORDERS[2:]) + "\nlogin    root  0 failed"]
    with Talk(relay.submissions, is_implicit=True) as talk:
        talk.ehlo()
        for login in logins:
            assert talk.plain(login, "wrong").code == 535
        raw = base64.b64encode(b"\0b\xff\x1b[2J\0wrong").decode()
        assert talk.say(f"AUTH PLAIN {raw}").code == 535
    text = relay.ctl("auth", "list").out
    assert is_harmless(text), repr(text)
    assert text.count("\nlogin ") == 3, text
    for row in relay.ctl("auth", "list", json=True).rows:
        assert is_harmless(row.get("login", "")), row
        assert "\n" not in row.get("login", ""), row


def test_an_attacked_login_gives_no_orders_in_status(relay):
    relay.start()
    for _ in range(6):
        with Talk(relay.submissions, loopback(), is_implicit=True) as talk:
            talk.ehlo()
            assert talk.plain("x" + "".join(ORDERS) + "\nwarning: y",
                              "wrong").code == 535
    relay.wait_event("auth", result="attacked")
    answer = relay.ctl("status")
    assert "fails from many addresses" in answer.out
    assert is_harmless(answer.out), repr(answer.out)
    assert "\nwarning: y" not in answer.out, answer.out


def test_a_server_s_words_give_no_orders_to_a_terminal(relay, make_speaker):
    bad = "".join(ORDERS).encode().replace(b"\r", b"")
    host, port = make_speaker({
        "greeting": b"220 x\r\n", "EHLO": b"250-x" + bad + b"\r\n250 OK\r\n",
        "RCPT": b"450-4.2.0 later" + bad + b"\r\n"
                b"450-4.2.0 00000000000A1 1s 1K active now\r\n"
                b"450 4.2.0 \xff\xfe" + bad + b"\r\n"})
    relay.domain("sink.example", f"smtp:{host}:{port}")
    relay.set("queue", retry=["10m"])
    relay.start()
    with Talk(relay.mx) as talk:
        talk.ehlo()
        talk.mail("eve@else.example", "bob@sink.example")
        assert talk.data(mails.message(b"x\r\n")).code == 250
    relay.wait_event("deferred")
    ident = relay.queue()[0]["id"]
    for words in (("queue", "list"), ("queue", "show", ident), ("status",),
                  ("bounces",), ("diagnose", "bob@sink.example"),
                  ("classify", "550 x" + "".join(ORDERS))):
        for is_json in False, True:
            answer = relay.ctl(*words, json=is_json)
            assert is_harmless(answer.out), (words, answer.out)
            assert answer.out, (words, answer.err)
    # nor does it add a row of its own
    assert relay.ctl("queue", "list").out.count("\n") == 2
    relay.stop()
    for words in (("queue", "list"), ("queue", "show", ident)):
        answer = relay.ctl(*words)
        assert is_harmless(answer.out) and answer.out, (words, answer.out)


def test_a_report_does_not_tell_where_mailboxes_lie(relay):
    relay.start()
    with Talk(relay.mx) as talk:
        talk.ehlo()
        assert talk.say("MAIL FROM:<eve@local.example>").code == 250
        assert talk.say("RCPT TO:<bob@local.example> NOTIFY=SUCCESS"
                        ).code == 250
        assert talk.data(mails.message(b"x\r\n")).code == 250
    report = relay.wait_maildir("eve")[0]
    text = report.partition(b"\n\n")[2]
    assert b"bob@local.example" in text
    assert str(relay.folder).encode() not in text, text
    # the administrator's log does
    row = relay.wait_event("delivered", to="bob@local.example")[0]
    assert str(relay.mail) in row["reply"]


def test_an_export_writes_into_no_file_that_was_there(relay):
    relay.domain("later.example", "smtp:127.0.0.1:1")
    relay.set("queue", retry=["10m"])
    relay.start()
    with Talk(relay.mx) as talk:
        talk.ehlo()
        talk.mail("eve@else.example", "bob@later.example")
        assert talk.data(mails.message(b"secret\r\n")).code == 250
    ident = relay.queue()[0]["id"]
    folder = relay.folder / "export"
    folder.mkdir()
    # somebody knew the identifier, and has a file open to everybody there
    other = relay.folder / "other"
    other.write_text("as it was")
    other.chmod(0o666)
    for suffix in "eml", "json":
        (folder / f"{ident}.{suffix}").hardlink_to(other)
    answer = relay.ctl("queue", "export", folder)
    assert answer.code == 0, answer.err
    assert other.read_text() == "as it was"
    for suffix in "eml", "json":
        file = folder / f"{ident}.{suffix}"
        assert file.stat().st_mode & 0o777 == 0o600
        assert file.stat().st_nlink == 1
    assert b"secret" in (folder / f"{ident}.eml").read_bytes()
    # and again, over what it has written itself
    assert relay.ctl("queue", "export", folder).code == 0
