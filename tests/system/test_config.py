# SPDX-License-Identifier: ISC
"""Bad configurations and bad places to start in: one clear line each."""

import os
import pathlib
import pwd
import socket
import subprocess

import pytest

from lab.base import PATIENCE, wait_for
from lab.need import need_root
from lab.relay import (ENVIRONMENT, OSTLERCTL, OSTLERD, REPORTS,
                       need_programs)


def ostlerd(*words, **options):
    """Runs it to its end; (exit code, standard error)."""
    need_programs()
    done = subprocess.run([OSTLERD, *map(str, words)], capture_output=True,
                          text=True, timeout=300, env=ENVIRONMENT, **options)
    for report in REPORTS:
        assert report not in done.stderr, done.stderr
    return done.returncode, done.stderr


def start_refused(relay):
    """Starts a relay that must refuse to; (exit code, last line)."""
    relay.launch()
    code = relay.ended()
    return code, relay.log_text()


@pytest.fixture
def relay(make_relay):
    return make_relay()


def test_all_errors_are_told_at_once_with_file_and_line(relay, folder):
    file = folder / "bad.conf"
    file.write_text("""\
hostname = "mail.ostler.example"
frobnicate = 1
drain = "soon"
limits { message_size = "big" recipients = 10
	errors = 5
	errors = 6
}
domain "a.example" { deliver = "carrier-pigeon:coop" }
domain "a.example" { deliver = "discard" }
domain "b.example" { }
relay { trusted_networks = {"0.0.0.0/0"} }
domain "*" { deliver = "smtp:inner.example:25" }
listener "mx" { role = "butler" address = {"127.0.0.1:2525"} }
""")
    code, text = ostlerd("-t", "-c", file)
    assert code == 78
    lines = text.splitlines()
    told = {line[len(str(file)) + 1:].split(":")[0] for line in lines
            if line.startswith(f"{file}:")}
    for number in ("2", "3", "4", "6", "8", "9", "10", "11", "12", "13"):
        assert number in told, (number, text)
    assert code == ostlerd("-c", file)[0]


def test_a_syntax_error_is_told_with_its_line(relay, folder):
    file = folder / "bad.conf"
    file.write_text('hostname = "a.example"\nlimits {\n\terrors = = 3\n}\n')
    code, text = ostlerd("-t", "-c", file)
    assert code == 78 and f"{file}:3:" in text, text


def test_errors_in_included_files_name_those(relay, folder):
    (folder / "inner.conf").write_text("\n\nfrobnicate = 1\n")
    file = folder / "outer.conf"
    file.write_text('hostname = "a.example"\ninclude("inner.conf")\n'
                    'domain "a.example" { deliver = "discard" }\n')
    code, text = ostlerd("-t", "-c", file)
    assert code == 78 and f"{folder}/inner.conf:3:" in text, text


def test_variables_come_from_the_environment(relay, folder):
    file = folder / "some.conf"
    file.write_text('hostname = "${OSTLER_TEST_NAME}"\n'
                    'spool = "${OSTLER_TEST_SPOOL:-/tmp/x}"\n'
                    'domain "a.example" { deliver = "discard" }\n')
    code, text = ostlerd("-t", "-c", file)
    assert code == 78 and f"{file}:1:" in text, text
    os.environ["OSTLER_TEST_NAME"] = ENVIRONMENT["OSTLER_TEST_NAME"] = \
        "a.example"
    try:
        code, text = ostlerd("-t", "-c", file)
    finally:
        del os.environ["OSTLER_TEST_NAME"], ENVIRONMENT["OSTLER_TEST_NAME"]
    assert code == 0, text


def test_a_good_file_is_ok_and_starts_nothing(relay):
    relay.write()
    code, text = ostlerd("-t", "-c", relay.conf)
    assert code == 0 and text.strip().endswith("ok"), text
    assert not relay.spool.exists()


@pytest.mark.parametrize("command", (
    "status", "queue", "queue show", "explain", "route", "diagnose", "doctor",
    "classify", "bounces", "auth", "auth clear", "setup", "user add", "fsck",
    "config", "pause", "resume", "reload", "stop"))
def test_every_command_tells_how_it_is_called(relay, command):
    need_programs()
    done = subprocess.run([OSTLERCTL, *command.split(), "--help"],
                          capture_output=True, text=True, timeout=300,
                          env=ENVIRONMENT)
    assert done.returncode == 0 and done.stderr == "", done
    assert f"\n  {command.split()[0]}" in done.stdout, done.stdout


def test_a_check_warns_of_a_certificate_that_is_missing(relay, folder):
    file = folder / "some.conf"
    file.write_text('hostname = "mail.a.example"\n'
                    'tls { certificate = "none.pem"  key = "none.key" }\n'
                    'domain "a.example" { deliver = "discard" }\n')
    code, text = ostlerd("-t", "-c", file)
    assert code == 0, text
    for name in ("none.pem", "none.key"):
        assert f"'{folder}/{name}': No such file" in text, text


@pytest.mark.parametrize("words", (("-x",), ("extra",), ("-c",)))
def test_wrong_usage_is_64(words):
    code, text = ostlerd(*words)
    assert code == 64 and "usage" in text


def test_a_missing_file_is_a_configuration_error(folder):
    code, text = ostlerd("-c", folder / "none.conf")
    assert code == 78 and str(folder / "none.conf") in text


def test_the_version_names_the_libraries():
    need_programs()
    done = subprocess.run([OSTLERD, "-V"], capture_output=True, text=True,
                          env=ENVIRONMENT)
    assert done.returncode == 0
    for library in ("libuv", "OpenSSL", "c-ares"):
        assert library in done.stdout


def test_a_port_in_use_is_71_and_named(relay):
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(relay.mx)
        other.listen()
        code, text = start_refused(relay)
    assert code == 71
    assert "%s:%d" % relay.mx in text and "mx" in text
    relay.start()


def test_a_second_relay_on_the_same_spool_is_refused(relay, make_relay):
    relay.start()
    second = make_relay()
    second.top["spool"] = relay.spool
    code, text = start_refused(second)
    assert code == 71 and str(relay.spool) in text, text
    assert relay.ctl("status").code == 0


def test_an_unreadable_key_is_77_and_named(relay):
    need_root("a relay that drops privileges")
    key = pathlib.Path(relay.sections["tls"]["key"])
    key.chmod(0o600)
    os.chmod(relay.folder, 0o755)
    relay.top["user"] = "nobody"
    code, text = start_refused(relay)
    assert code == 77, text
    assert str(key) in text and "group 'nogroup'" in text, text


def test_privileges_are_dropped_after_binding(relay):
    need_root("a relay that drops privileges")
    user = pwd.getpwnam("nobody")
    os.chmod(relay.folder, 0o755)
    for file in pathlib.Path(relay.sections["tls"]["key"]).parent.iterdir():
        os.chown(file, user.pw_uid, user.pw_gid)
    relay.mail.mkdir()
    os.chown(relay.mail, user.pw_uid, user.pw_gid)
    relay.top["user"] = "nobody"
    relay.mx = (relay.host, 25)
    relay.listeners["mx"]["address"] = [f"{relay.host}:25"]
    relay.start()
    status = pathlib.Path(f"/proc/{relay.process.pid}/status").read_text()
    for line in status.splitlines():
        if line.startswith(("Uid:", "Gid:")):
            assert set(line.split()[1:]) <= {str(user.pw_uid),
                                             str(user.pw_gid)}, line
        if line.startswith(("CapEff:", "CapPrm:")):
            assert int(line.split()[1], 16) == 0, line
    assert relay.spool.stat().st_uid == user.pw_uid
    assert relay.spool.stat().st_mode & 0o777 == 0o700
    from lab import mails
    from lab.talk import Talk
    with Talk(relay.mx) as talk:
        talk.ehlo()
        talk.mail("eve@else.example", "bob@local.example")
        assert talk.data(mails.message()).code == 250
    relay.wait_maildir("bob")
    # a reload opens all again, with the fewer rights
    assert relay.reload().code == 0


def test_folders_made_for_sockets_are_open_and_the_control_socket_is_not(
        relay, folder):
    made = folder / "made"
    relay.top["control_socket"] = made / "control.sock"
    relay.start()
    assert made.stat().st_mode & 0o777 == 0o755
    assert relay.top["control_socket"].stat().st_mode & 0o777 == 0o600
    assert relay.spool.stat().st_mode & 0o777 == 0o700


def test_a_spool_of_another_owner_is_77_and_named(relay):
    need_root("giving a folder to somebody else")
    os.chmod(relay.folder, 0o755)
    relay.spool.mkdir()
    daemon = pwd.getpwnam("daemon")
    os.chown(relay.spool, daemon.pw_uid, daemon.pw_gid)
    code, text = start_refused(relay)
    assert code == 77 and str(relay.spool) in text, text


def _with_spool(relay):
    """A spool with one large message in a file, and one in the log."""
    from lab import mails
    from lab.talk import Talk
    relay.set("queue", deliver=False)
    relay.domain("local.example", "discard")
    relay.start()
    with Talk(relay.mx) as talk:
        talk.ehlo()
        for size in (4000, 5000, 400000, 500000):
            talk.mail("eve@else.example", "bob@local.example")
            assert talk.data(mails.message(
                b"x" * 70 + b"\r\n" + (b"y" * 70 + b"\r\n")
                * (size // 72))).code == 250
    wait_for(lambda: len(relay.queue()) == 4, "four messages")
    relay.stop()


def _large_files(relay):
    return [file for file in relay.spool.rglob("*")
            if file.is_file() and 300000 < file.stat().st_size < 1000000]


def test_a_damaged_file_is_set_aside_and_named(relay):
    _with_spool(relay)
    files = _large_files(relay)
    assert len(files) == 2, list(relay.spool.rglob("*"))
    damaged = files[0]
    damaged.write_bytes(b"\x00garbage\xff\n" + damaged.read_bytes()[:100])
    relay.start()
    wait_for(lambda: len(relay.queue()) == 3, "three messages")
    wait_for(lambda: damaged.name in relay.log_text(), "its line")
    corrupt = relay.spool / "corrupt"
    assert any(damaged.name in file.name for file in corrupt.rglob("*"))
    status = relay.status()
    assert status["spool"]["corrupt"] == 1
    assert any("corrupt" in one for one in status["warnings"])


def test_a_damaged_log_costs_what_was_damaged_and_no_more(relay):
    _with_spool(relay)
    segment, = [file for file in (relay.spool / "log").iterdir()
                if b"Subject: hello" in file.read_bytes()]
    octets = bytearray(segment.read_bytes())
    at = octets.index(b"Subject: hello")
    octets[at:at + 14] = b"Subject: HELLO"
    segment.write_bytes(octets)
    relay.start()
    wait_for(lambda: len(relay.queue()) == 3, "three messages")
    wait_for(lambda: segment.name in relay.log_text(), "its line")


def test_a_spool_from_a_newer_version_is_refused_untouched(relay):
    _with_spool(relay)
    file = relay.spool / "VERSION"
    assert file.is_file(), list(relay.spool.iterdir())
    text = file.read_text()
    number = next(word for word in text.split() if word.isdigit())
    file.write_text(text.replace(number, "999"))
    before = sorted((str(f), f.stat().st_size) for f in
                    relay.spool.rglob("*"))
    code, said = start_refused(relay)
    assert code in (71, 75), said
    assert f"{relay.spool} was made by a newer version" in said, said
    assert before == sorted((str(f), f.stat().st_size) for f in
                            relay.spool.rglob("*"))
    file.write_text(text)
    relay.start()
    wait_for(lambda: len(relay.queue()) == 4, "four messages")


def test_a_daemon_that_hangs_up_and_a_bad_file_make_no_crash(folder):
    need_programs()
    conf, path = folder / "ostler.conf", folder / "control.sock"
    conf.write_text(f'control_socket = "{path}"\nhostnaem = "x"\n')
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        client = subprocess.Popen(
            [OSTLERCTL, "-c", conf, "status"], stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
        server.settimeout(PATIENCE)
        server.accept()[0].close()
        _, said = client.communicate(timeout=300)
    for report in REPORTS:
        assert report not in said, said
    assert client.returncode == 78


@pytest.mark.parametrize("key", ["rules", "recipients"])
def test_a_pipe_is_no_empty_file(relay, folder, key):
    os.mkfifo(folder / "pipe")
    if key == "rules":
        relay.set("report", rules=folder / "pipe")
    else:
        relay.domains["local.example"]["recipients"] = folder / "pipe"
    relay.write()
    code, said = ostlerd("-t", "-c", relay.conf)
    assert code == 78 and "is a pipe" in said, said


def test_bytes_that_are_no_utf8_are_answered_all_the_same(relay):
    relay.start()
    good = relay.conf.read_bytes()
    # the answer says what is wrong, and ends
    relay.conf.write_bytes(good + b'h\xf6rst = "x"\n')
    answer = relay.ctl("reload")
    assert answer.code == 78, (answer.out, answer.err)
    assert "h?rst" in answer.err or "'?'" in answer.err, answer.err
    # a value that may be anything
    relay.conf.write_bytes(good + b'domain "b.example" {\n'
                           b'\tdeliver = "maildir:/tmp/k\xf6ln/%u"\n}\n')
    assert relay.ctl("reload").code == 0
    values = {row["name"]: row["value"]
              for row in relay.ctl("config", json=True).rows}
    assert values["domain.b.example.deliver"] == "maildir:/tmp/k?ln/%u"
    row = relay.ctl("explain", "--from", "a@local.example",
                    "--to", "bob@b.example", json=True).row
    assert row["decision"] == "accepted"
    answer = relay.ctl("route", "b.example", json=True)
    assert "/tmp/k?ln/%u" in answer.out, answer.out
    # one that is too long to be repeated is cut between characters
    answer = relay.ctl("explain", "--from", "a@local.example",
                       "--to", "x" + "\u00f6" * 700 + "@b.example")
    assert answer.code == 64, (answer.out, answer.err)
    assert "\ufffd" not in answer.err
