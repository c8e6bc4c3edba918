# SPDX-License-Identifier: ISC
"""Reload, stop, status: what signals do to those who are connected."""

import json
import os
import signal
import socket
import ssl
import time

import pytest

from lab import mails
from lab.base import PATIENCE, is_open, wait_for
from lab.talk import Talk, stuff


def certificate_of(relay):
    """The SHA-256 of what the TLS port shows."""
    import hashlib
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(relay.submissions, PATIENCE) as plain, \
            context.wrap_socket(plain) as secure:
        return hashlib.sha256(secure.getpeercert(True)).hexdigest()


def test_what_a_reload_cannot_change_is_told(relay):
    relay.start()
    relay.set("auth", options=["log_level=2"], realm="elsewhere")
    assert relay.reload().code == 0
    for name in ("auth.realm", "auth.options"):
        relay.wait_event("reload", reason=f"'{name}' was changed; it takes "
                         "effect at the next start")
    relay.wait_event("reload", config=str(relay.conf))
    assert len(relay.events("reload")) == 3


def test_an_error_is_told_once(relay):
    relay.start()
    relay.set("limits", spool_free="much")
    answer = relay.reload()
    assert answer.code != 0 and answer.err.count('"much"') == 1, answer.err


def test_hup_takes_a_new_domain_and_cuts_nobody(relay):
    relay.start()
    with Talk(relay.mx) as inside, Talk(relay.mx) as idle:
        for talk in (inside, idle):
            talk.ehlo()
        inside.mail("eve@else.example", "bob@local.example")
        assert inside.say("RCPT TO:<bob@new.example>").code == 550
        assert inside.say("DATA").code == 354
        content = mails.message(b"first half\r\nsecond half\r\n")
        wire = stuff(content)
        inside.raw(wire[:-15])
        relay.domain("new.example", f"maildir:{relay.mail}/%d/%u")
        relay.write()
        relay.signal(signal.SIGHUP)
        relay.wait_event("reload", result="taken")
        with Talk(relay.mx) as fresh:
            fresh.ehlo()
            fresh.mail("eve@else.example", "bob@new.example")
            assert fresh.data(mails.message()).code == 250
        # the next MAIL takes the new configuration
        idle.mail("eve@else.example", "bob@new.example")
        assert idle.data(mails.message()).code == 250
        inside.raw(wire[-15:])
        assert inside.reply().code == 250
    assert mails.as_sent(relay.wait_maildir("bob")[0]) == \
        mails.with_lf(content)
    relay.wait_maildir("bob", 2, domain="new.example")


def test_a_transaction_keeps_the_configuration_of_its_mail(relay):
    relay.domain("old.example", "discard")
    relay.start()
    with Talk(relay.mx) as talk:
        talk.ehlo()
        talk.mail("eve@else.example", "bob@old.example")
        del relay.domains["old.example"]
        assert relay.reload().code == 0
        assert talk.say("RCPT TO:<eve@old.example>").code == 250
        assert talk.data(mails.message()).code == 250
        talk.mail("eve@else.example")
        assert talk.say("RCPT TO:<eve@old.example>").code == 550


def test_hup_takes_a_new_certificate(relay, authority):
    relay.start()
    before = certificate_of(relay)
    with Talk(relay.submission, context=authority.context()) as talk:
        talk.ehlo()
        talk.starttls()
        authority.issue(relay.folder / "tls", "mail.ostler.example")
        relay.signal(signal.SIGHUP)
        wait_for(lambda: certificate_of(relay) != before,
                 "another certificate")
        assert talk.say("NOOP").code == 250


def test_a_bad_file_keeps_the_old_configuration_and_says_why(relay):
    relay.start()
    relay.conf.write_text(relay.text() + "frobnicate = 1\n")
    relay.signal(signal.SIGHUP)
    relay.wait_event("reload", result="kept the old configuration")
    line = str(relay.conf.read_text().count("\n"))
    assert any(f"{relay.conf}:{line}:" in row.get("error", "")
               for row in relay.wait_event("config"))
    answer = relay.ctl("reload")
    assert answer.code == 78 and f"{relay.conf}:{line}:" in answer.err
    relay.write()
    assert any("reload" in one for one in relay.status()["warnings"])
    # a key that is gone is found before anything changes
    relay.set("tls", key=relay.folder / "nowhere.pem")
    answer = relay.reload()
    assert answer.code == 78 and "nowhere.pem" in answer.err
    with Talk(relay.mx) as talk:
        talk.ehlo()
        talk.mail("eve@else.example", "bob@local.example")
    relay.set("tls", key=relay.folder / "tls" / "key.pem")
    assert relay.reload().code == 0
    assert not any("reload found errors" in one
                   for one in relay.status()["warnings"])


def test_hup_moves_listeners(relay):
    from lab.base import free_port
    relay.start()
    with Talk(relay.mx) as old:
        old.ehlo()
        gone, relay.mx = relay.mx, (relay.host, free_port(relay.host))
        relay.listeners["mx"]["address"] = ["%s:%d" % relay.mx]
        assert relay.reload().code == 0
        assert is_open(*relay.mx)
        wait_for(lambda: not is_open(*gone), "the end of the old listener")
        assert old.say("NOOP").code == 250


def test_a_session_outlives_its_listener_without_starttls(relay):
    relay.start()
    with Talk(relay.mx) as old:
        assert "STARTTLS" in old.ehlo().text
        relay.listeners["inbound"] = relay.listeners.pop("mx")
        assert relay.reload().code == 0
        assert old.say("STARTTLS").code == 503
        assert "STARTTLS" not in old.ehlo().text
        old.mail("eve@else.example", "bob@local.example")
        assert old.data(mails.message()).code == 250
    relay.wait_maildir("bob")
    with Talk(relay.mx) as young:
        assert "STARTTLS" in young.ehlo().text


def test_term_drains(relay, far):
    relay.set("relay", trusted_networks=["127.0.0.0/8"])
    relay.top["drain"] = "10m"
    relay.start()
    with Talk(relay.mx) as idle, Talk(relay.mx) as busy:
        idle.ehlo()
        busy.ehlo()
        busy.mail("eve@else.example", "bob@far.example")
        assert busy.say("DATA").code == 354
        content = mails.message(b"first half\r\nsecond half\r\n")
        wire = stuff(content)
        busy.raw(wire[:-15])
        relay.signal(signal.SIGTERM)
        reply = idle.reply()
        assert (reply.code, reply.text[:5]) == (421, "4.3.2")
        assert idle.is_closed()
        assert not is_open(*relay.mx)
        busy.raw(wire[-15:])
        assert busy.reply().code == 250
        assert busy.reply().code == 421
        assert busy.is_closed()
    assert relay.ended() == 0
    if not far.mails:  # it stayed queued: nothing is lost
        relay.start()
        far.wait()
    assert mails.as_sent(far.mails[0].content) == content


def test_term_cuts_a_transaction_that_outlasts_the_drain(relay):
    relay.top["drain"] = "1s"
    relay.start()
    with Talk(relay.mx) as talk:
        talk.ehlo()
        talk.mail("eve@else.example", "bob@local.example")
        assert talk.say("DATA").code == 354
        before = time.monotonic()
        relay.signal(signal.SIGTERM)
        assert relay.ended() == 0
        assert time.monotonic() - before > 0.9
        assert talk.is_closed()


def test_a_second_term_stops_now(relay):
    relay.top["drain"] = "10m"
    relay.start()
    with Talk(relay.mx) as talk:
        talk.ehlo()
        talk.mail("eve@else.example", "bob@local.example")
        assert talk.say("DATA").code == 354
        relay.signal(signal.SIGTERM)
        relay.wait_event("stop")
        relay.signal(signal.SIGTERM)
        assert relay.ended() == 0
        assert talk.is_closed()


@pytest.mark.parametrize("number", (signal.SIGINT, signal.SIGTERM))
def test_an_idle_relay_stops_at_once(relay, number):
    relay.top["drain"] = "10m"
    relay.start()
    relay.signal(number)
    assert relay.ended() == 0


def test_usr1_logs_one_status_line(relay):
    relay.start()
    relay.signal(signal.SIGUSR1)
    row, = relay.wait_event("status")
    assert row["queue"] == 0 and row["sessions"] == 0


def test_systemd_is_told_of_each_state(relay, folder):
    from lab import relay as program
    path = folder / "notify.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.settimeout(PATIENCE)
        program.ENVIRONMENT["NOTIFY_SOCKET"] = str(path)
        try:
            relay.start()
        finally:
            del program.ENVIRONMENT["NOTIFY_SOCKET"]

        def told(word):
            while word not in listener.recv(4096).decode().splitlines():
                pass
        told("READY=1")
        relay.signal(signal.SIGHUP)
        told("RELOADING=1")
        told("READY=1")
        relay.signal(signal.SIGTERM)
        told("STOPPING=1")
    assert relay.ended() == 0


def pass_socket(relay, passed):
    """As systemd does: descriptor 3, and the process that it is for."""
    inherited = os.dup(passed.fileno())
    relay.before = [
        "bash", "-c", 'exec 3<&"$0" && LISTEN_PID=$$ LISTEN_FDS=1 '
        'exec "$@"', str(inherited)]
    relay.pass_fds = [inherited]
    return inherited


def test_a_socket_of_systemd_is_left_to_it(relay):
    """It listens on, and starts us when the next client comes."""
    path = str(relay.submit_socket)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        inherited = pass_socket(relay, listener)
        for _ in range(2):
            relay.start()
            with Talk(path) as talk:
                assert talk.greeting.code == 220
            relay.stop()
            assert os.path.exists(path)
        # nor does a reload that drops the listener take it away
        relay.start()
        del relay.listeners["local"]
        assert relay.reload().code == 0
        assert os.path.exists(path)
        os.close(inherited)


@pytest.mark.parametrize("name", ("local", "submission"))
def test_a_socket_of_systemd_can_be_dropped_and_wanted_again(relay, name):
    at = str(relay.submit_socket) if name == "local" else relay.submission
    family = socket.AF_UNIX if name == "local" else socket.AF_INET
    with socket.socket(family) as listener:
        listener.bind(at)
        listener.listen()
        inherited = pass_socket(relay, listener)
        relay.start()
        section = relay.listeners.pop(name)
        for _ in range(2):  # the second one says nothing new
            assert relay.reload().code == 0
        row, = [row for row in relay.wait_event("config", listener=name)
                if "systemd passed" in row["reason"]]
        assert row["level"] == "warn" and ".socket unit" in row["reason"]
        # systemd goes on listening, so a client is told rather than kept
        with socket.socket(family) as client:
            client.settimeout(PATIENCE)
            client.connect(at)
            try:
                assert client.recv(100) == b""
            except ConnectionResetError:
                pass
        relay.listeners[name] = section
        assert relay.reload().code == 0
        with Talk(at) as talk:
            assert talk.greeting.code == 220
        os.close(inherited)


def test_a_socket_of_systemd_that_nobody_wants_is_told(relay):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        inherited = pass_socket(relay, listener)
        relay.start()
        row, = relay.wait_event(
            "config", address="127.0.0.1:%d" % listener.getsockname()[1])
        assert row["level"] == "warn" and "systemd" in row["reason"]
        os.close(inherited)


def test_a_socket_of_systemd_for_datagrams_is_none_of_ours(relay):
    with socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(relay.submission)
        inherited = pass_socket(relay, datagrams)
        relay.start()
        with Talk(relay.submission) as talk:
            assert talk.greeting.code == 220
        assert relay.wait_event("config", address="socket 3")
        os.close(inherited)


def test_the_text_log_is_one_event_a_line(relay):
    relay.set("log", format="text")
    relay.start()
    with Talk(relay.mx) as talk:
        talk.ehlo()
        talk.mail("eve@else.example", "bob@local.example")
        assert talk.data(mails.message()).code == 250
    relay.wait_maildir("bob")
    wait_for(lambda: " delivered " in relay.log_text(), "the line")
    line = next(one for one in relay.log_text().splitlines()
                if " queued " in one)
    assert "from=eve@else.example" in line and " id=" in line
    for one in relay.log_text().splitlines():
        with pytest.raises(ValueError):
            json.loads(one)


def test_a_port_that_is_taken_is_told_with_how_to_find_by_whom(relay):
    with socket.create_server(relay.mx):
        relay.launch()
        assert relay.ended() == 71
    told = relay.wait_event("start", level="error")[0]["reason"]
    assert "%s:%d" % relay.mx in told
    assert "another program" in told and "ss -ltnp" in told
