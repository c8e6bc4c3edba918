# SPDX-License-Identifier: ISC
"""Garbage, greed, and a disk that is full."""

import pathlib
import signal
import socket
import struct
import subprocess
import threading

import pytest

from lab import mails
from lab.base import PATIENCE, wait_for
from lab.need import need_mounts
from lab.talk import Closed, Talk, stuff


@pytest.fixture
def relay(make_relay):
    return make_relay()


def end_of(talk):
    """All replies up to the end of the connection."""
    replies = []
    try:
        while True:
            replies.append(talk.reply())
    except Closed:
        return replies


@pytest.mark.parametrize("octets", (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xaa" * 500 + b"\r\n",
    b"\x00" * 100 + b"\r\n",
    b"BLAH BLAH\r\n",
    b"x" * 5000 + b"\r\n",
    b"MAIL FROM:<a@b.example>\nRCPT TO:<bob@local.example>\n\r\n",
    bytes(range(14, 256)) + b"\r\n",
), ids=("TLS", "NUL", "words", "long line", "bare LF", "every octet"))
def test_garbage_gets_a_code_and_then_421(relay, octets):
    relay.set("limits", errors=5)
    relay.start()
    with Talk(relay.mx) as talk:
        replies = []
        try:
            for _ in range(20):
                talk.raw(octets)
                replies.append(talk.reply())
        except (Closed, OSError):
            pass
        replies += end_of(talk) if replies and replies[-1].code != 421 else []
    assert replies[0].code in (500, 501, 502, 503, 421), replies
    assert replies[-1].code == 421, replies
    assert len(replies) <= 20
    assert relay.ctl("status").code == 0


@pytest.mark.parametrize("line", ("GET / HTTP/1.1", "POST / HTTP/1.0",
                                  "CONNECT x.example:25 HTTP/1.1"))
def test_a_web_browser_is_sent_away_at_once(relay, line):
    relay.start()
    with Talk(relay.mx) as talk:
        talk.raw(line.encode() + b"\r\nHost: x\r\n\r\nHELO x\r\n")
        replies = end_of(talk)
    assert [reply.code for reply in replies] == [421]


def test_commands_behind_starttls_end_the_session(relay):
    relay.start()
    with Talk(relay.submission) as talk:
        talk.ehlo()
        talk.raw(b"STARTTLS\r\nMAIL FROM:<evil@else.example>\r\n")
        replies = end_of(talk)
    # no word of what was smuggled in is answered
    assert all(reply.code in (220, 421, 503, 554) for reply in replies)
    assert len(replies) <= 1, replies
    assert relay.events("mail") == []


def test_everything_before_starttls_is_forgotten(relay, authority):
    relay.start()
    with Talk(relay.mx, context=authority.context()) as talk:
        talk.ehlo()
        assert talk.say("STARTTLS").code == 220
        talk._wrap()
        reply = talk.say("MAIL FROM:<a@else.example>")
        assert reply.code == 503
        assert "STARTTLS" not in talk.ehlo().text
        assert talk.say("STARTTLS").code == 503


@pytest.mark.parametrize("end", (b"\n.\n", b"\r\n.\n", b"\n.\r\n",
                                 b"\r.\r", b"\r\n.\r"), ids=repr)
def test_no_other_end_of_data_smuggles_a_second_message(relay, end):
    relay.start()
    with Talk(relay.mx) as talk:
        talk.ehlo()
        talk.mail("eve@else.example", "bob@local.example")
        assert talk.say("DATA").code == 354
        talk.raw(mails.message(b"first")
                 + end + b"MAIL FROM:<evil@else.example>\r\n"
                 b"RCPT TO:<bob@local.example>\r\nDATA\r\n"
                 b"second\r\n.\r\n")
        reply = talk.reply()
        assert reply.code in (250, 451, 500, 501, 550, 554)
        assert talk.say("NOOP").code == 250  # one reply to all of it
    if reply.code == 250:
        assert len(relay.wait_maildir("bob")) == 1
    assert relay.events("queued", from_="evil@else.example") == []


def test_connections_over_the_cap_get_421(relay):
    relay.set("limits", connections_per_client=3)
    relay.start()
    talks = [Talk(relay.mx) for _ in range(3)]
    with Talk(relay.mx) as fourth:
        assert fourth.greeting.code == 421
        assert fourth.greeting.text.startswith("4.7.0")
        assert fourth.is_closed()
    with Talk(relay.mx, "127.0.0.2") as other:
        assert other.greeting.code == 220
    talks.pop().close()

    def is_free():
        with Talk(relay.mx) as talk:
            return talk.greeting.code == 220
    wait_for(is_free, "room for another")
    for talk in talks:
        talk.close()


def test_connections_of_all_together_are_capped(relay):
    relay.set("limits", connections=4, connections_per_client=50)
    relay.start()
    talks = [Talk(relay.mx, f"127.0.0.{n}") for n in range(2, 5)]
    talks.append(Talk(relay.submission))
    for port in relay.mx, relay.submission:
        with Talk(port) as fifth:
            assert fifth.greeting.code == 421
    assert relay.status()["sessions"]["open"] == 4
    for talk in talks:
        talk.close()
    wait_for(lambda: relay.status()["sessions"]["open"] == 0, "their end")


def test_strangers_leave_a_quarter_of_the_places(relay, authority):
    relay.set("limits", connections=8)
    relay.set("relay", trusted_networks=["127.0.1.0/24"])
    relay.start()
    strangers = [Talk(relay.mx, f"127.0.0.{n}") for n in range(2, 8)]
    assert {talk.greeting.code for talk in strangers} == {220}
    with Talk(relay.mx, "127.0.0.8") as seventh:
        assert seventh.greeting.code == 421
    # the office has its printer, and its people
    relay.add_user("anna", "pencil")
    with Talk(relay.mx, "127.0.1.7") as printer:
        assert printer.greeting.code == 220
        with Talk(relay.submission, "127.0.0.9",
                  context=authority.context()) as anna:
            anna.ehlo()
            anna.starttls()
            assert anna.plain("anna", "pencil").code == 235
    # a reload that leaves nobody to keep places for gives them to all
    relay.set("relay", trusted_networks=[])
    for name in "submission", "submissions", "local":
        del relay.listeners[name]
    assert relay.reload().code == 0
    strangers += [Talk(relay.mx, f"127.0.0.{n}") for n in (10, 11)]
    assert strangers[-1].greeting.code == 220
    for talk in strangers:
        talk.close()


@pytest.mark.parametrize("port", ("mx", "submission", "submissions"))
def test_who_only_waits_makes_room_when_all_places_are_taken(
        relay, authority, port):
    # a thirtieth of it is long enough
    relay.set("limits", connections=4, command_timeout="30s")
    relay.start()
    at = getattr(relay, port)
    places = 3 if port == "mx" else 4
    silent = [socket.create_connection(at, timeout=300) for _ in range(places)]
    wait_for(lambda: relay.status()["sessions"]["open"] == places, "them")

    def has_room():
        try:
            with Talk(at, context=authority.context(),
                      is_implicit=port == "submissions") as talk:
                return talk.greeting.code == 220
        except (Closed, OSError):
            return False
    wait_for(has_room, "the first to be sent away")
    assert relay.wait_event("disconnect", reason="made room")
    for talk in silent:
        talk.close()


def test_who_has_something_to_do_keeps_his_place(relay, authority):
    relay.set("limits", connections=4, command_timeout="30s")
    relay.start()
    relay.add_user("anna", "pencil")
    with Talk(relay.submission, context=authority.context()) as anna, \
            Talk(relay.mx, "127.0.0.2") as sender, \
            socket.create_connection(relay.mx) as silent:
        anna.ehlo()
        anna.starttls()
        assert anna.plain("anna", "pencil").code == 235
        sender.ehlo()
        sender.mail("eve@else.example", "bob@local.example")
        silent.settimeout(PATIENCE)
        third = Talk(relay.mx, "127.0.0.3")

        def is_silent_gone():
            with Talk(relay.mx, "127.0.0.4"):
                return relay.events("disconnect", reason="made room")
        wait_for(is_silent_gone, "the silent one to be sent away")
        third.close()
        assert b"\r\n421 4.7.0 " in b"".join(iter(
            lambda: silent.recv(4096), b""))
        assert anna.say("NOOP").code == 250
        assert sender.data(mails.message()).code == 250


def test_connections_over_the_cap_take_no_descriptors(relay):
    relay.set("limits", connections=5, connections_per_client=4)
    relay.start()
    descriptors = pathlib.Path(f"/proc/{relay.process.pid}/fd")
    talks = [Talk(relay.mx) for _ in range(4)]
    before = len(list(descriptors.iterdir()))
    # they say nothing, and close nothing
    refused = [Talk(relay.mx) for _ in range(100)]
    assert {talk.greeting.code for talk in refused} == {421}
    assert len(list(descriptors.iterdir())) < before + 20
    for talk in talks + refused:
        talk.close()


def test_who_has_said_quit_and_stays_takes_no_place(relay):
    """Each lingers for seconds, so that its last reply arrives."""
    relay.set("limits", connections=20, connections_per_client=10)
    relay.before = ["prlimit", "--nofile=256:256", *relay.before]
    relay.start()
    descriptors = pathlib.Path(f"/proc/{relay.process.pid}/fd")
    stayers = []
    for _ in range(400):
        talk = Talk(relay.mx)
        stayers.append(talk)
        assert talk.greeting.code == 220
        assert talk.say("QUIT").code == 221
        assert len(list(descriptors.iterdir())) < 150
    for talk in stayers:
        talk.close()


def test_a_client_gone_before_it_is_taken_is_no_local_peer(relay):
    relay.start()
    relay.signal(signal.SIGSTOP)
    with socket.create_connection(relay.mx) as gone:
        gone.sendall(b"EHLO x\r\n")
        # a reset instead of an end
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                        struct.pack("ii", 1, 0))
    relay.signal(signal.SIGCONT)
    with Talk(relay.mx) as talk:
        assert talk.greeting.code == 220
    assert relay.wait_event("connect", client="127.0.0.1")
    assert relay.events("connect", client="unix") == []


def test_a_silent_client_is_sent_away(relay):
    relay.set("limits", command_timeout="1s")
    relay.start()
    with Talk(relay.mx) as talk:
        replies = end_of(talk)
    assert [reply.code for reply in replies] == [421]
    with Talk(relay.mx) as talk:
        talk.raw(b"EHLO half a line")
        assert [reply.code for reply in end_of(talk)] == [421]


def test_a_client_that_stalls_in_data_is_sent_away(relay):
    relay.set("limits", data_timeout="1s")
    relay.start()
    with Talk(relay.mx) as talk:
        talk.ehlo()
        talk.mail("eve@else.example", "bob@local.example")
        assert talk.say("DATA").code == 354
        talk.raw(b"Subject: half\r\n")
        assert [reply.code for reply in end_of(talk)] == [421]
    assert relay.queue() == [] and relay.maildir("bob") == []


def test_failed_logins_end_the_session(relay, authority):
    relay.set("limits", auth_failures=2)
    relay.add_user()
    relay.start()
    with Talk(relay.submission, context=authority.context()) as talk:
        talk.ehlo()
        talk.starttls()
        assert talk.plain("anna", "wrong").code == 535
        assert talk.plain("anna", "wrong").code == 535
        assert [reply.code for reply in end_of(talk)] == [421]
    assert "wrong" not in relay.log_text()


def test_too_big_a_message_is_refused_early_or_late(relay):
    relay.set("limits", message_size="10K")
    relay.start()
    with Talk(relay.mx) as talk:
        assert "SIZE 10240" in talk.ehlo().text
        reply = talk.say("MAIL FROM:<eve@else.example> SIZE=10241")
        assert (reply.code, reply.text[:5]) == (552, "5.3.4")
        talk.mail("eve@else.example", "bob@local.example")
        reply = talk.data(mails.message(b"x" * 70 + b"\r\n" + b"y\r\n" * 5000))
        assert (reply.code, reply.text[:5]) == (552, "5.3.4")
        talk.mail("eve@else.example", "bob@local.example")
        assert talk.data(mails.message()).code == 250
    assert len(relay.wait_maildir("bob")) == 1


def test_too_many_recipients_get_452(relay):
    relay.set("limits", recipients=2)
    relay.start()
    with Talk(relay.mx) as talk:
        talk.ehlo()
        talk.mail("eve@else.example", "a@local.example", "b@local.example")
        reply = talk.say("RCPT TO:<c@local.example>")
        assert (reply.code, reply.text[:5]) == (452, "4.5.3")
        assert talk.data(mails.message()).code == 250
    for user in "ab":
        relay.wait_maildir(user)


def test_who_names_a_large_alias_again_and_again_gets_452(relay, folder):
    (folder / "aliases").write_text("all: " + ", ".join(
        f"member{n}@local.example" for n in range(5000)) + "\n")
    relay.domain("local.example", "discard", aliases=folder / "aliases")
    relay.set("limits", errors=100)
    relay.start()
    with Talk(relay.mx) as talk:
        talk.ehlo()
        talk.mail("eve@else.example", "bob@local.example")
        talk.raw(b"RCPT TO:<all@local.example>\r\n" * 15)
        codes = [talk.reply().code for _ in range(15)]
        assert codes == [250] * 10 + [452] * 5
        assert talk.data(mails.message()).code == 250
    relay.wait_empty()
    # each of them once
    assert relay.status()["queue"]["delivered"] == 5001


def test_an_envelope_that_is_too_large_is_refused_at_its_recipient(relay,
                                                                   folder):
    (folder / "aliases").write_text("".join(
        f"{name}: " + ", ".join(f"{name}{n}-{'x' * 90}@local.example"
                                for n in range(members)) + "\n"
        for name, members in (("a", 2400), ("b", 2400), ("c", 2400),
                              ("all", 7000))))
    relay.domain("local.example", "discard", aliases=folder / "aliases")
    relay.set("queue", deliver=False)
    relay.start()
    orcpt = "ORCPT=rfc822;" + "o" * 480
    with Talk(relay.mx) as talk:
        talk.ehlo()
        assert talk.say("MAIL FROM:<eve@else.example>").code == 250
        # never, however often it is tried
        reply = talk.say(f"RCPT TO:<all@local.example> {orcpt}")
        assert (reply.code, reply.text[:5]) == (550, "5.2.4"), reply
        assert talk.say(f"RCPT TO:<a@local.example> {orcpt}").code == 250
        assert talk.say(f"RCPT TO:<b@local.example> {orcpt}").code == 250
        # another time
        reply = talk.say(f"RCPT TO:<c@local.example> {orcpt}")
        assert (reply.code, reply.text[:5]) == (452, "4.5.3"), reply
        assert talk.data(mails.message()).code == 250
        assert talk.say("MAIL FROM:<eve@else.example>").code == 250
        assert talk.say(f"RCPT TO:<c@local.example> {orcpt}").code == 250
        assert talk.say("RCPT TO:<all@local.example>").code == 250
        assert talk.data(mails.message()).code == 250
    assert len(relay.queue()) == 2


def test_a_message_that_has_been_everywhere_is_a_loop(relay):
    relay.set("limits", hops=5)
    relay.start()
    with Talk(relay.mx) as talk:
        talk.ehlo()
        talk.mail("eve@else.example", "bob@local.example")
        reply = talk.data(b"Received: from x by y; now\r\n" * 6
                          + mails.message())
        assert (reply.code, reply.text[:5]) == (554, "5.4.6"), reply


def test_pipelined_commands_are_answered_in_order(relay):
    relay.start()
    content = mails.message()
    with Talk(relay.mx) as talk:
        talk.raw(b"EHLO x.example\r\nMAIL FROM:<eve@else.example>\r\n"
                 b"RCPT TO:<bob@local.example>\r\n"
                 b"RCPT TO:<bob@foreign.example>\r\nDATA\r\n")
        assert [talk.reply().code for _ in range(5)] == \
            [250, 250, 250, 550, 354]
        talk.raw(stuff(content) + b"NOOP\r\nRSET\r\nQUIT\r\n")
        assert [talk.reply().code for _ in range(4)] == [250, 250, 250, 221]
    assert mails.as_sent(relay.wait_maildir("bob")[0]) == \
        mails.with_lf(content)


def test_who_does_not_read_waits_and_is_then_answered_to_the_end(relay):
    """More replies than the sockets hold: no more is read of the client until
    it has taken them, and none is lost or out of order."""
    relay.start()
    lines = b"MAIL FROM:<a@else.example>\r\nRSET\r\n"
    sent = 0
    with Talk(relay.mx) as talk:
        talk.ehlo()
        pair = b"".join(b"%d %s\r\n" % (reply.code, reply.text.encode())
                        for reply in map(talk.say, (
                            "MAIL FROM:<a@else.example>", "RSET")))
        for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            talk.socket.setsockopt(socket.SOL_SOCKET, buffer, 4096)
        talk.socket.settimeout(1)
        with pytest.raises(TimeoutError):
            while sent < 64 << 20:
                at = sent % len(lines)
                sent += talk.socket.send((lines * 100)[at:])
        with Talk(relay.mx) as other:
            assert other.ehlo().code == 250
        talk.socket.settimeout(90)
        talk.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        # what is still on its way, and the end of the last pair
        rest = threading.Thread(target=talk.raw, args=(
            lines[sent % len(lines):],))
        rest.start()
        wanted = (sent // len(lines) + 1) * len(pair)
        got = bytearray()
        while len(got) < wanted:
            more = talk.socket.recv(1 << 20)
            assert more, len(got)
            got += more
        rest.join()
        assert got == pair * (wanted // len(pair))
        assert talk.say("QUIT").code == 221


@pytest.mark.parametrize("door", ("tls", "proxy"))
def test_who_does_not_begin_is_sent_away(relay, door):
    relay.set("limits", command_timeout="1s")
    relay.listeners["mx"]["proxy_from"] = ["127.0.0.1/32"]
    relay.start()
    to = relay.submissions if door == "tls" else relay.mx
    with Talk(to, greeting=False) as talk:
        assert talk.is_closed()
    assert relay.wait_event("disconnect")[0]["reason"] == {
        "tls": "TLS handshake timed out", "proxy": "no PROXY header in time",
    }[door]


def test_octets_may_come_one_by_one(relay):
    relay.start()
    content = mails.message(b".dot\r\n")
    with Talk(relay.mx) as talk:
        for part in (b"EHLO x.example\r\n", b"MAIL FROM:<e@else.example>\r\n",
                     b"RCPT TO:<bob@local.example>\r\n", b"DATA\r\n",
                     stuff(content)):
            for octet in part:
                talk.raw(bytes([octet]))
            assert talk.reply().code in (250, 354)
    assert mails.as_sent(relay.wait_maildir("bob")[0]) == \
        mails.with_lf(content)


def test_a_client_that_vanishes_leaves_nothing(relay):
    relay.start()
    for part in (b"", b"EHLO x\r\n", b"EHLO x\r\nMAIL FROM:<a@b.example>\r\n",
                 b"EHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<bob@local."
                 b"example>\r\nDATA\r\nSubject: x\r\n\r\n" + b"y\r\n" * 99999):
        with Talk(relay.mx) as talk:
            talk.raw(part)
    with Talk(relay.submissions, greeting=False):
        pass
    wait_for(lambda: relay.status()["sessions"]["open"] == 0, "their end")
    assert relay.queue() == []
    assert relay.maildir("bob") == []


# ------------------------------------------------------------- disk full


@pytest.fixture
def small_disk(folder):
    """A file system of 24 MiB."""
    need_mounts(folder)
    path = folder / "disk"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", path],
                   check=True)
    yield path
    # lazily: a test that failed may leave the relay to end after this
    subprocess.run(["umount", "-l", path], check=True)


def test_a_full_disk_gets_452_and_deliveries_go_on(make_relay, names,
                                                   make_sink, small_disk):
    relay = make_relay(names)
    far = make_sink()
    relay.set("queue", port=far.port)
    names.domain("far.example", far.host)
    relay.set("relay", trusted_networks=["127.0.0.0/8"])
    relay.top["spool"] = small_disk / "spool"
    relay.set("limits", spool_free="4M")
    relay.start()
    assert relay.ctl("pause").code == 0
    content = mails.message(b"x" * 70 + b"\r\n" + b"y" * 99 + b"\r\n" + (
        b"z" * 98 + b"\r\n") * 5000)
    with Talk(relay.mx) as talk:
        talk.ehlo()
        taken, refused = 0, None
        for _ in range(100):
            reply = talk.say("MAIL FROM:<anna@local.example>")
            if reply.code == 250:
                assert talk.say("RCPT TO:<bob@far.example>").code == 250
                reply = talk.data(content)
            if reply.code != 250:
                refused = reply
                break
            taken += 1
        assert taken >= 1
        assert (refused.code, refused.text[:5]) == (452, "4.3.1"), refused
        wait_for(lambda: any("full" in one for one in
                             relay.status()["warnings"]), "a warning")
        assert relay.ctl("resume").code == 0
        far.wait(taken)
        relay.wait_empty()
        # and there is room again
        def is_taken():
            reply = talk.say("MAIL FROM:<anna@local.example>")
            talk.say("RSET")
            return reply.code == 250
        wait_for(is_taken, "room on the disk")
    assert {mails.as_sent(mail.content) for mail in far.mails} == {content}
    relay.stop()


def test_a_disk_that_becomes_read_only_loses_nothing(make_relay, names,
                                                     make_sink, small_disk):
    def remount(how):
        subprocess.run(["mount", "-o", f"remount,{how}", small_disk],
                       check=True)

    relay = make_relay(names)
    far = make_sink()
    relay.set("queue", port=far.port)
    names.domain("far.example", far.host)
    relay.set("relay", trusted_networks=["127.0.0.0/8"])
    relay.top["spool"] = small_disk / "spool"
    relay.start()
    assert relay.ctl("pause").code == 0
    content = mails.message(b"it stays\r\n")
    with Talk(relay.mx) as talk:
        talk.ehlo()
        talk.mail("anna@local.example", "bob@far.example")
        assert talk.data(content).code == 250
    # what is open for writing keeps tmpfs from becoming read-only
    relay.stop()
    remount("ro")
    try:
        relay.launch()
        assert relay.ended() == 71
        assert "Read-only file system" in relay.log_text()[-1000:]
        # but it can be looked at
        assert len(relay.queue()) == 1
        assert relay.ctl("fsck").code == 0
    finally:
        remount("rw")
    relay.start()
    assert relay.ctl("resume").code == 0
    far.wait(1)
    relay.wait_empty()
    assert mails.as_sent(far.mails[0].content) == content


def test_sixty_four_clients_at_once_are_served(relay):
    relay.set("limits", connections_per_client=100)
    relay.domain("local.example", "discard")
    relay.start()
    errors = []

    def client():
        try:
            with Talk(relay.mx, timeout=300) as talk:
                talk.ehlo()
                for _ in range(10):
                    talk.mail("eve@else.example", "bob@local.example")
                    assert talk.data(mails.message()).code == 250
        except Exception as error:
            errors.append(error)
    threads = [threading.Thread(target=client) for _ in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors[:3]
    wait_for(lambda: relay.status()["queue"]["accepted"] == 640, "640 mails")
