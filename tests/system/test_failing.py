# SPDX-License-Identifier: ISC
"""A call to the disk fails, the n-th: nothing acknowledged is lost, and the
client, the log or the exit say so, unless it has another way.

OSTLER_SLOW=1 has every call fail in turn; OSTLER_SHARE=1/4 does the first
quarter of that."""

import errno
import mmap
import os
import random
import re
import struct

import pytest

from lab import mails
from lab.base import PATIENCE, wait_for
from lab.need import need_built
from lab.relay import BUILD
from lab.talk import Closed, Talk

SHIM = BUILD / "tests" / "crash" / "failing.so"
KINDS = ("open", "write", "fdatasync", "fsync", "rename", "unlink", "read")
SLOW = bool(os.environ.get("OSTLER_SLOW"))
SHARE, SHARES = map(int, os.environ.get("OSTLER_SHARE", "1/1").split("/"))
SAMPLE = 2
ERRORS = (errno.ENOSPC, errno.EIO)
FILE = r"/spool/(msg/\w\w(/\w+)?|log/\d+\.seg)"
#: Calls of which a single failure need not be told, and why.
QUIET = [
    (("write",), r"/ostlerd\.log", "where it would be told"),
    (("open", "read"), FILE, "it is read up to five times"),
    (("write",), r"/spool/LOCK", "for people: who holds it"),
    (("open", "unlink"), r"/spool/tmp/.*", "what nobody was told 250 of, "
     "which the next start removes"),
    (("unlink",), r"/mail/.*/tmp/.*", "as Maildirs have it: by and by whoever "
     "reads the mail removes it"),
]


class Disk:
    """tests/crash/failing.c's file."""

    def __init__(self, path):
        path.write_bytes(bytes(mmap.PAGESIZE))
        with open(path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), mmap.PAGESIZE)

    def fail_at(self, kind, number, error):
        self.map[:24] = struct.pack("=qqq", KINDS.index(kind), error, number)

    @property
    def has_failed(self):
        return struct.unpack_from("=q", self.map, 16)[0] <= 0

    def seen(self, kind):
        return struct.unpack_from("=q", self.map,
                                  24 + 8 * KINDS.index(kind))[0]

    @property
    def what(self):
        """The path, below the relay's folder, of the call that failed."""
        at = 24 + 8 * len(KINDS)
        return self.map[at:at + 512].split(b"\0", 1)[0].decode()


def hand_in(relay):
    """What was acknowledged, and whether anything was refused."""
    taken, refused = [], False
    for size in (300, 400000, 2000):
        content = mails.message((b"y" * 70 + b"\r\n") * (size // 72 + 1))
        try:
            with Talk(relay.mx) as talk:
                talk.ehlo()
                talk.mail("anna@local.example", "bob@far.example",
                          "later@far.example", "anna@local.example")
                if talk.data(content).code == 250:
                    taken.append(mails.message_id(content))
                else:
                    refused = True
        except (Closed, OSError, AssertionError):
            refused = True
    return taken, refused


def live(relay, far, disk):
    """A start, messages in and out, and an end; all of that may fail."""
    before = len(far.mails)
    relay.launch()
    wait_for(lambda: relay.process.poll() is not None
             or relay.ctl("status").code == 0, "an end or a start")
    taken, refused = [], True
    if relay.process.poll() is None:
        taken, refused = hand_in(relay)
        relay.ctl("queue", "flush")
        try:
            wait_for(lambda: len(far.mails) >= before + len(taken)
                     or relay.process.poll() is not None, "deliveries", 5)
        except AssertionError:
            pass
    has_failed = disk.has_failed
    disk.fail_at("open", 0, 0)
    code = relay.process.poll()
    if code is None:
        relay.signal(15)
        code = relay.process.wait(PATIENCE)
    relay.process = None
    relay.check_log()
    assert code in (0, 71, 74, 75, 77, 78), (code, relay.log_text()[-3000:])
    is_told = refused or code != 0 or any(
        ('"level":"error"' in line or '"level":"warn"' in line)
        and '"event":"config"' not in line
        or any(os.strerror(error) in line for error in ERRORS)
        for line in relay.log_text().splitlines())
    relay.log_file.unlink()
    return taken, has_failed, is_told


@pytest.mark.parametrize("kind", KINDS)
def test_a_failing_call_loses_nothing(relay, far, folder, kind, capsys):
    need_built(SHIM)
    seen = set()

    def put_off(address):
        if address.startswith("later") and len(seen) % 3 != 2:
            seen.add(len(seen))
            return "451 4.2.0 later"
        return None

    far.on_rcpt = put_off
    relay.set("relay", trusted_networks=["127.0.0.0/8"])
    relay.set("queue", retry=["1s"])
    disk = Disk(folder / "failing")
    relay.environment = {"LD_PRELOAD": str(SHIM),
                         "OSTLER_FAILING": str(folder / "failing"),
                         "ASAN_OPTIONS": "verify_asan_link_order=0"}
    everything = []
    for _ in range(2):  # the first start makes what is there later
        before = disk.seen(kind)
        everything += live(relay, far, disk)[0]
        count = disk.seen(kind) - before
    assert len(everything) == 6
    seed = int(os.environ.get("OSTLER_SEED", random.randrange(1 << 32)))
    print(f"OSTLER_SEED={seed} repeats it")
    numbers = range(SHARE, count + 1, SHARES) if SLOW else \
        random.Random(seed).sample(range(1, count + 1), min(SAMPLE, count))
    done, told = 0, 0
    missing = []  # a word of it
    for number in numbers:
        disk.fail_at(kind, number, ERRORS[number % 2])
        taken, has_failed, is_told = live(relay, far, disk)
        everything += taken
        done += has_failed
        told += has_failed and is_told
        if has_failed and not is_told and not any(
                kind in kinds and re.fullmatch(path, disk.what)
                for kinds, path, _ in QUIET):
            missing.append((number, disk.what))
    far.on_rcpt = lambda address: None
    relay.environment = {}
    relay.start()
    relay.ctl("queue", "flush")
    relay.wait_empty(120)
    with capsys.disabled():
        print(f"\n{kind}: {done} of {count} calls failed, {told} told of it")
    assert not missing
    arrived = {mails.message_id(mail.content) for mail in far.mails}
    assert set(everything) <= arrived
    local = {mails.message_id(mail) for mail in relay.maildir("anna")}
    assert set(everything) <= local
    assert relay.status()["spool"]["corrupt"] == 0
