# SPDX-License-Identifier: ISC
"""The sendmail command, as cron, PHP, git and mail programs call it."""

import email
import email.policy
import shutil
import socket
import subprocess
import threading

import pytest

from lab.base import PATIENCE, USER
from lab.need import need_program, need_root
from lab.relay import ENVIRONMENT, OSTLERCTL, REPORTS


@pytest.fixture
def program(folder):
    path = folder / "sendmail"
    path.symlink_to(OSTLERCTL)
    return path


@pytest.fixture
def sendmail(relay, program):
    """Calls it; the exit code and what it printed."""
    def call(*words, input=b"Subject: test\n\nhello\n", config=True):
        done = subprocess.run(
            [program, *(["-C", relay.conf] if config else []), *words],
            input=input, capture_output=True, timeout=120, env=ENVIRONMENT)
        done.stderr = done.stderr.decode()
        done.stdout = done.stdout.decode()
        for report in REPORTS:
            assert report not in done.stderr, done.stderr
        return done
    return call


def parse(octets):
    return email.message_from_bytes(octets, policy=email.policy.default)


def test_cron_hands_in_what_a_job_said(relay, sendmail):
    """As Debian's cron calls it: -i -FCronDaemon -B8BITMIME -oem USER."""
    relay.start()
    done = sendmail(
        "-i", "-FCronDaemon", "-B8BITMIME", "-oem", USER,
        input=b"From: %s (Cron Daemon)\nTo: %s\nSubject: Cron <x@y> true\n"
        b"Auto-Submitted: auto-generated\n\n.\nl\xc3\xb6\n..\n"
        % (USER.encode(), USER.encode()))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    mail, = relay.wait_maildir(USER)
    assert mail.replace(b"\r\n", b"\n").endswith(b"\n\n.\nl\xc3\xb6\n..\n")
    parsed = parse(mail)
    assert parsed["Return-Path"] == f"<{USER}@local.example>"
    assert parsed["Date"] and parsed["Message-ID"]
    assert relay.wait_event("queued", user=f"unix:{USER}")


def test_php_hands_in_with_the_recipients_of_the_header(relay, sendmail):
    relay.start()
    done = sendmail(
        "-t", "-i", "-f", "shop@local.example",
        input=b"To: Anna <anna@local.example>,\r\n\tbob@local.example\r\n"
        b"Bcc: secret@local.example\r\nFrom: Shop <shop@local.example>\r\n"
        b"Subject: order\r\n\r\nthank you\r\n")
    assert done.returncode == 0, done.stderr
    for name in ("anna", "bob", "secret"):
        mail = parse(relay.wait_maildir(name)[0])
        assert mail["Return-Path"] == "<shop@local.example>"
        assert mail["Bcc"] is None
        assert mail.get_content() == "thank you\n"


def test_a_message_without_a_header_gets_one(relay, sendmail):
    relay.start()
    assert sendmail("-F", 'Anna "A" Smith', "anna@local.example",
                    input=b"just text\n.\nnot sent\n").returncode == 0
    mail = parse(relay.wait_maildir("anna")[0])
    assert str(mail["From"]) == f"Anna A Smith <{USER}@local.example>"
    assert mail.get_content().replace("\r\n", "\n") == "just text\n"


def test_what_begins_with_a_space_is_no_header(relay, sendmail):
    relay.start()
    done = sendmail("anna@local.example", input=b"  total 0\nmore\n")
    assert done.returncode == 0, done.stderr
    mail, = relay.wait_maildir("anna")
    parsed = parse(mail)
    assert USER in parsed["From"]
    assert parsed.get_content().split() == ["total", "0", "more"]


def test_s_nail_sends_by_it(relay, program):
    need_program("s-nail")
    relay.start()
    done = subprocess.run(
        ["s-nail", "-n", "-S", f"mta={program}", "-S",
         f"mta-arguments=-C {relay.conf}", "-S", "sendwait",
         "-r", f"{USER}@local.example", "-s", "from s-nail",
         "-c", "carl@local.example", "anna@local.example"],
        input=b"a line\n.a dot\n", capture_output=True, timeout=300,
        env=dict(ENVIRONMENT, MAILRC="/dev/null", HOME=str(relay.folder)))
    assert done.returncode == 0, done.stderr
    for name in ("anna", "carl"):
        mail = parse(relay.wait_maildir(name)[0])
        assert mail["Subject"] == "from s-nail"
        assert ".a dot" in mail.get_content()


def test_smtp_is_spoken_on_the_standard_streams(relay, sendmail):
    relay.start()
    done = sendmail("-bs", input=b"EHLO x\r\nMAIL FROM:<%s@local.example>\r\n"
                    b"RCPT TO:<anna@local.example>\r\nDATA\r\n"
                    b"Subject: x\r\n\r\nhello\r\n.\r\nQUIT\r\n"
                    % USER.encode())
    assert done.returncode == 0
    codes = [line[:3] for line in done.stdout.splitlines()
             if line[3:4] == " "]
    assert codes == ["220", "250", "250", "250", "354", "250", "221"]
    relay.wait_maildir("anna")


def test_delivery_reports_are_asked_for_as_told(relay, sendmail, far):
    relay.start()
    done = sendmail("-f", "anna@local.example", "-N", "success,failure", "-R",
                    "hdrs", "-V", "order-7", "bob@far.example")
    assert done.returncode == 0, done.stderr
    far.wait()
    report = parse(relay.wait_maildir("anna")[0])
    assert report.get_content_type() == "multipart/report"
    assert "order-7" in report.as_string()
    # an address that is not ASCII asks for SMTPUTF8
    assert sendmail("-f", "anna@local.example",
                    "jürgen@local.example").returncode == 0
    relay.wait_maildir("jürgen")


def test_exit_codes_say_what_is_wrong(relay, sendmail, folder):
    users = folder / "users"
    users.write_text("anna\n")
    relay.domains["local.example"]["recipients"] = users
    relay.start()
    done = sendmail("anna@local.example", "nobody@local.example",
                    "noone@local.example")
    assert done.returncode == 67  # EX_NOUSER
    assert "nobody@local.example: 550 5.1.1" in done.stderr
    assert "noone@local.example: 550 5.1.1" in done.stderr
    assert "nothing was sent to anybody" in done.stderr
    assert sendmail("-f", "boss@foreign.example",
                    "anna@local.example").returncode == 77  # EX_NOPERM
    assert sendmail("-t", input=b"Subject: x\n\nx\n").returncode == 64
    for wrong in (["-Z"], ["-N", "sometimes", "a"], ["-f"], ["-bd"],
                  ["-R", "half", "a"], ["-V", "a b", "a"], []):
        assert sendmail(*wrong).returncode == 64, wrong
    assert relay.queue() == [] and relay.maildir("anna") == []
    # addresses are looked at without sending anything
    done = sendmail("-bv", "anna@local.example", input=b"")
    assert done.returncode == 0 and "anna@local.example: 250" in done.stdout
    assert sendmail("-bv", "x@local.example", input=b"").returncode == 67
    # tables are read by themselves
    assert sendmail("-bi", input=b"").returncode == 0
    # nobody is there: whoever called keeps the message and tries again
    relay.stop()
    done = sendmail("anna@local.example")
    assert done.returncode == 75 and "was not sent" in done.stderr
    done = sendmail("anna@local.example", config=False)
    assert done.returncode == 75, done.stderr


def test_the_queue_is_listed_and_flushed(relay, sendmail, far):
    far.stop()
    relay.set("queue", retry=["1h"])
    relay.start()
    assert sendmail("-f", "anna@local.example",
                    "bob@far.example").returncode == 0
    relay.wait_event("deferred")
    done = sendmail("-bp", input=b"")
    assert done.returncode == 0 and "bob@far.example" in done.stdout
    mailq = relay.folder / "mailq"
    mailq.symlink_to(OSTLERCTL)
    done = subprocess.run([mailq, "-C", relay.conf], capture_output=True,
                          timeout=300, env=ENVIRONMENT)
    assert b"bob@far.example" in done.stdout
    far.start()
    assert sendmail("-q", input=b"").returncode == 0
    far.wait()


def test_an_ordinary_user_needs_no_rights(relay, folder):
    need_root("becoming another user")
    relay.start()
    relay.conf.chmod(0o644)
    program = folder / "sendmail"
    shutil.copy(OSTLERCTL, program)
    program.chmod(0o755)
    done = subprocess.run(
        ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups",
         program, "-C", relay.conf, "anna@local.example"],
        input=b"Subject: x\n\nx\n", capture_output=True, timeout=300, cwd="/",
        env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    mail = parse(relay.wait_maildir("anna")[0])
    assert mail["Return-Path"] == "<nobody@local.example>"
    assert mail["From"] == "nobody@local.example"
    assert relay.wait_event("queued", user="unix:nobody")
    # what is not for everybody stays so
    done = subprocess.run(
        ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups",
         program, "-C", relay.conf, "-bp"],
        capture_output=True, timeout=300, cwd="/", env=ENVIRONMENT)
    assert done.returncode == 77, (done.stdout, done.stderr)


@pytest.mark.parametrize("last,code", [
    (b"", 75), (b"421 4.3.2 later\r\n", 75), (b"552 5.3.4 large\r\n", 65)])
def test_a_relay_that_hangs_up_in_the_middle(relay, sendmail, last, code):
    relay.write()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(relay.submit_socket))
        server.listen()
        server.settimeout(PATIENCE)

        def answer():
            with server.accept()[0] as peer:
                peer.settimeout(PATIENCE)
                peer.sendall(b"220 here\r\n")
                for reply in b"250 a", b"250 b", b"250 c", b"354 d":
                    peer.recv(1000)
                    peer.sendall(reply + b"\r\n")
                peer.recv(1000)
                peer.sendall(last)
        thread = threading.Thread(target=answer)
        thread.start()
        done = sendmail("anna@local.example",
                        input=b"Subject: x\n\n" + b"long\n" * 1000000)
        thread.join()
    assert done.returncode == code, done.stderr


# ------------------------------------------------- more than one transaction

def test_many_recipients_go_in_several_transactions(relay, sendmail):
    relay.set("limits", recipients=100)
    relay.start()
    names = [f"user{n}@local.example" for n in range(250)]
    done = sendmail("-f", "anna@local.example", *names)
    assert (done.returncode, done.stderr) == (0, "")
    rows = relay.wait_event("delivered", count=250)
    assert sorted(row["to"] for row in rows) == sorted(names)
    assert len(relay.wait_event("queued", 3)) == 3
    # nor had the relay to refuse one for it
    assert relay.events("reject") == []
    assert relay.maildir("user249") and len(relay.maildir("user0")) == 1


def test_one_that_is_refused_keeps_it_from_all_the_others(
        relay, sendmail, folder):
    users = folder / "users"
    users.write_text("".join(f"user{n}\n" for n in range(25)))
    relay.domains["local.example"]["recipients"] = users
    relay.set("limits", recipients=10)
    relay.start()
    names = [f"user{n}@local.example" for n in range(25)]
    done = sendmail("-f", "anna@local.example", *names, "no@local.example")
    assert done.returncode == 67
    assert "no@local.example: 550 5.1.1" in done.stderr
    assert "nothing was sent to anybody" in done.stderr
    # a cap that falls in the last transaction, too
    relay.set("limits", recipients_per_user="22/1h")
    assert relay.reload().code == 0
    assert sendmail("-f", "anna@local.example", *names).returncode == 75
    assert relay.queue() == [] and relay.events("queued") == []
    # and what came to nothing was not charged
    assert sendmail("-f", "anna@local.example", *names[:20]).returncode == 0
    relay.wait_event("delivered", count=20)
    # asking is split as well
    relay.set("limits", recipients_per_user="0")
    assert relay.reload().code == 0
    done = sendmail("-bv", *names, input=b"")
    assert done.returncode == 0 and done.stdout.count(": 250 ") == 25


class Shelf:
    """A relay of few words: what it got, as (recipients, content), and what
    it says to each end of data."""
    def __init__(self, path, ends, most=2, limits=b""):
        self.ends, self.most, self.limits = list(ends), most, limits
        self.got, self.open_at_once, self.most_open = [], 0, 0
        self.lock = threading.Lock()
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(path))
        self.socket.listen()
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self):
        while True:
            try:
                peer = self.socket.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._talk, args=(peer,),
                             daemon=True).start()

    def _talk(self, peer):
        recipients, lines = [], peer.makefile("rb")
        peer.sendall(b"220 here\r\n")
        for line in lines:
            verb = line[:4].upper()
            if verb == b"EHLO":
                peer.sendall(self.limits + b"250 here\r\n")
            elif verb == b"RCPT" and len(recipients) == self.most:
                peer.sendall(b"452 4.5.3 Too many recipients\r\n")
            elif verb == b"DATA":
                peer.sendall(b"354 go\r\n")
                content = b""
                for line in lines:
                    if line == b".\r\n":
                        break
                    content += line
                else:
                    return
                with self.lock:
                    end = self.ends.pop(0) if self.ends else b"250 2.0.0 Ok"
                    if end.startswith(b"250"):
                        self.got.append((recipients, content))
                if not end:
                    peer.close()
                    lines.close()
                    return
                peer.sendall(end + b"\r\n")
            else:
                if verb == b"RCPT":
                    recipients.append(line.split(b"<")[1].split(b"@")[0])
                peer.sendall(b"250 2.0.0 Ok\r\n")
                if verb == b"QUIT":
                    return

    def close(self):
        self.socket.close()


NAMES = ["a@x.example", "b@x.example", "c@x.example", "d@x.example",
         "e@x.example"]


@pytest.mark.parametrize("limits", (
    b"", b"250-LIMITS RCPTMAX=2\r\n", b"250-LIMITS MAILMAX=9 RCPTMAX=2\r\n"),
    ids=("by 452", "by LIMITS", "by more LIMITS"))
def test_each_transaction_has_the_whole_message(
        relay, sendmail, limits):
    relay.write()
    shelf = Shelf(relay.submit_socket, [], limits=limits)
    done = sendmail(
        "-i", *NAMES, input=b"Subject: x\n\n.\n" + b"line\n" * 10000)
    shelf.close()
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(got[0] for got in shelf.got) == [
        [b"a", b"b"], [b"c", b"d"], [b"e"]]
    assert len({got[1] for got in shelf.got}) == 1
    assert shelf.got[0][1].count(b"line\r\n") == 10000
    assert shelf.got[0][1].count(b"\r\n..\r\n") == 1


@pytest.mark.parametrize("end", (b"451 4.3.0 Not now", b""))
def test_a_part_that_fails_for_now_is_tried_again_and_no_other(
        relay, sendmail, end):
    relay.write()
    shelf = Shelf(relay.submit_socket, [b"250 2.0.0 Ok", end])
    done = sendmail(*NAMES)
    shelf.close()
    assert done.returncode == 0, done.stderr
    assert sorted(got[0] for got in shelf.got) == [
        [b"a", b"b"], [b"c", b"d"], [b"e"]]


@pytest.mark.parametrize("end,code", (
    (b"451 4.3.0 Not now", 75), (b"552 5.3.4 Large", 65)))
def test_when_no_part_was_taken_nothing_was(relay, sendmail, end, code):
    relay.write()
    shelf = Shelf(relay.submit_socket, [end] * 3)
    done = sendmail(*NAMES)
    shelf.close()
    assert done.returncode == code and shelf.got == []
    assert "nothing was sent to anybody" in done.stderr


def test_who_was_left_out_is_named_when_others_have_it(relay, sendmail):
    relay.write()
    shelf = Shelf(relay.submit_socket,
                  [b"250 2.0.0 Ok", b"554 5.6.0 No", b"250 2.0.0 Ok"])
    done = sendmail(*NAMES)
    shelf.close()
    assert done.returncode == 65
    missing = {b"a", b"b", b"c", b"d", b"e"}.difference(
        *(got[0] for got in shelf.got))
    for name in missing:
        assert f"{name.decode()}@x.example: not sent" in done.stderr
    assert done.stderr.count(": not sent") == len(missing)
