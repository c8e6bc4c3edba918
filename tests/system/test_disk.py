# SPDX-License-Identifier: ISC
"""Disks that forget, that turn read-only, and clocks that jump."""

import mmap
import os
import re
import shutil
import struct
import subprocess

import pytest

from lab import mails
from lab.base import wait_for
from lab.relay import BUILD
from lab.talk import Talk

SHIM = BUILD / "tests" / "crash" / "faulty.so"
DAY = 86400


class Machine:
    """tests/crash/faulty.c's file."""

    def __init__(self, path):
        path.write_bytes(bytes(mmap.PAGESIZE))
        with open(path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        self.bad = 0
        self.environment = {"LD_PRELOAD": str(SHIM),
                            "OSTLER_FAULTY": str(path),
                            "ASAN_OPTIONS": "verify_asan_link_order=0"}

    def clock(self, seconds):
        """How wrong the wall clock is from now on."""
        self.map[:8] = struct.pack("=q", seconds * 10 ** 9)

    def is_plain(self):
        """The file system has no calls that it need not have."""
        self.map[8:16] = struct.pack("=q", 1)

    def lose(self, path, at, end):
        """These bytes of a file cannot be read any more."""
        base = 16 + 24 * self.bad
        self.bad += 1
        self.map[base:base + 24] = struct.pack("=Qqq", path.stat().st_ino,
                                               at, end)


@pytest.fixture
def machine(folder):
    if not SHIM.exists():
        pytest.skip(f"there is no {SHIM}: make check builds it")
    return Machine(folder / "faulty")


@pytest.fixture
def relay(relay):
    relay.set("relay", trusted_networks=["127.0.0.0/8"])
    return relay


def submit(relay, to, size=600):
    """The id and the content of a message."""
    content = mails.message((b"x" * 70 + b"\r\n") * (size // 72 + 1))
    with Talk(relay.mx) as talk:
        talk.ehlo()
        talk.mail("anna@local.example", to)
        reply = talk.data(content)
        assert reply.code == 250, reply
    return re.search(r"[0-9A-Z]{13}", reply.text).group(), content


def fsck(relay, *words, environment=None):
    answer = relay.ctl("fsck", *words, json=True, environment=environment)
    assert answer.rows, answer.err
    print(answer.err, *answer.rows, sep="\n")
    *findings, summary = answer.rows
    return answer.code, findings, summary


def file_of(relay, name):
    return next((relay.spool / "msg").glob("??/" + name))


def find_in_log(relay, text):
    for path in sorted((relay.spool / "log").glob("*.seg")):
        at = path.read_bytes().find(text)
        if at >= 0:
            return path, at
    raise AssertionError("not in the log")


def deliver_all(relay, far):
    far.on_rcpt = lambda address: None
    if relay.process is None:
        relay.start()
    assert relay.ctl("resume").code == 0
    assert relay.ctl("queue", "flush").code == 0
    relay.wait_empty()
    return sorted(to for mail in far.mails for to in mail.recipients)


# ------------------------------------------------------------ bad sectors

def test_a_repair_goes_on_around_what_cannot_be_read(relay, far, machine):
    """A head, a body, an end; a batch in the middle of the log and the last
    one: the rest is delivered, and nothing is destroyed."""
    far.on_rcpt = lambda address: "451 4.2.0 later"
    relay.set("queue", retry=["1h"])
    relay.start()
    ids = {}
    for name in ("head", "body", "end", "whole"):
        ids[name] = submit(relay, f"{name}@far.example", 400000)[0]
    for name in ("log1", "log2", "log3"):
        ids[name] = submit(relay, f"{name}@far.example", 20000)[0]
    wait_for(lambda: len([row for row in relay.queue()
                          if row["state"] == "deferred"]) == 7,
             "seven deferred messages")
    relay.restart()  # from here on in another segment
    assert relay.ctl("pause").code == 0
    for name in ("last1", "last2"):
        ids[name] = submit(relay, f"{name}@far.example", 20000)[0]
    relay.kill9()  # nothing stands behind it
    files = {name: file_of(relay, ids[name])
             for name in ("head", "body", "end")}
    machine.lose(files["head"], 0, 4096)
    machine.lose(files["body"], 102400, 110592)
    size = files["end"].stat().st_size
    machine.lose(files["end"], (size - 1) // 4096 * 4096, 1 << 40)
    for name in ("log2", "last2"):
        segment, at = find_in_log(relay, b"%s@far.example" % name.encode())
        machine.lose(segment, (at // 4096 + 2) * 4096,
                     (at // 4096 + 3) * 4096)
    inodes = {path.stat().st_ino for path in files.values()}

    code, findings, _ = fsck(relay, environment=machine.environment)
    assert code == 1
    assert {one["id"] for one in findings if one["kind"] == "unread"} == \
        {ids[name] for name in files}
    assert any(one["kind"] == "segment" for one in findings)
    code, findings, summary = fsck(relay, "--repair",
                                   environment=machine.environment)
    assert code == 0, findings
    assert summary["repaired"] == summary["damaged"]
    corrupt = relay.spool / "corrupt"
    # the files themselves, for somebody with more patience than a kernel
    assert inodes <= {path.stat().st_ino for path in corrupt.iterdir()}
    assert any(path.suffix == ".seg" for path in corrupt.iterdir())
    code, findings, _ = fsck(relay, "--repair",
                             environment=machine.environment)
    assert (code, findings) == (0, [])
    lost = {*files, "log2", "last2"}
    assert deliver_all(relay, far) == \
        sorted(f"{name}@far.example" for name in set(ids) - lost)


# ----------------------------------------------------------------- bit rot

def flip(path, at):
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))


#: From a record's first byte to its envelope, and a batch's header before it
#: (ostler-spool(5)).
RECORD_HEADER = BATCH_HEADER = 64


def place_of(relay, name, what):
    """Where in the log this part of a message's record is, which is the first
    of its batch."""
    segment, at = find_in_log(relay, b"%s@far.example" % name.encode())
    batch = at // 4096 * 4096
    return segment, {"batch": batch + 20, "record": batch + BATCH_HEADER + 9,
                     "body": at + 3000}[what]


@pytest.mark.parametrize("what", ("batch", "record", "body"))
def test_bit_rot_costs_one_message_and_is_told(relay, far, what):
    """In the middle of the log, found by a start and by a repair before it."""
    relay.set("queue", deliver=False)
    relay.start()
    names = ["before", "hit", "after"]
    ids = {name: submit(relay, f"{name}@far.example", 20000)[0]
           for name in names}
    relay.kill9()
    flip(*place_of(relay, "hit", what))
    shutil.copytree(relay.spool, relay.folder / "as it was")

    relay.set("queue", deliver=True)
    relay.start()
    rotten = relay.events("spool", level="error")
    assert rotten and "damaged" in str(rotten), relay.log_text()[-3000:]
    assert relay.status()["spool"]["corrupt"] >= 1
    assert list((relay.spool / "corrupt").iterdir())
    assert "set aside" in relay.ctl("status").out
    relay.wait_empty()
    assert deliver_all(relay, far) == ["after@far.example",
                                       "before@far.example"]
    relay.stop()

    shutil.rmtree(relay.spool)
    shutil.copytree(relay.folder / "as it was", relay.spool)
    code, findings, _ = fsck(relay, "--repair")
    assert code == 0, findings
    # records are bound to their batch, so its header's loss is no loss
    left = set(names if what == "batch" else ["before", "after"])
    assert {row["id"] for row in relay.queue()} == {ids[name] for name in left}


def test_bit_rot_below_a_running_relay_costs_what_it_hit(relay, far):
    """Bodies that are no longer in memory are read back when their time
    comes; what is not what was written is not sent."""
    relay.set("queue", retry=["1h"])
    far.on_rcpt = lambda address: "451 4.2.0 later"
    relay.start()
    for name in ("before", "hit", "after"):
        submit(relay, f"{name}@far.example", 20000)
    wait_for(lambda: len([row for row in relay.queue()
                          if row["state"] == "deferred"]) == 3,
             "three deferred messages")
    flip(*place_of(relay, "hit", "body"))
    far.on_rcpt = lambda address: None
    assert relay.ctl("queue", "flush").code == 0
    far.wait(2)
    wait_for(lambda: relay.status()["spool"]["corrupt"], "word of the damage")
    assert sorted(to for mail in far.mails for to in mail.recipients) == \
        ["after@far.example", "before@far.example"]
    assert list((relay.spool / "corrupt").iterdir())
    assert "damaged" in str(relay.events("spool", level="error"))
    submit(relay, "more@far.example")
    far.wait(3)


# ------------------------------------------------------------------ clocks

@pytest.mark.parametrize("days", (-400, -1, 1, 400))
def test_a_clock_that_jumps_delays_and_doubles_nothing(relay, far, machine,
                                                       days):
    relay.environment = machine.environment
    relay.set("queue", retry=["1s"], expire="5d")
    is_later = []
    far.on_rcpt = lambda address: "451 4.2.0 later" \
        if address.startswith("later") and not is_later else None
    relay.start()
    ids = []

    def send(number):
        for name in ("later", "now"):
            ids.append(submit(relay, f"{name}{number}@far.example")[0])

    send(1)
    wait_for(lambda: any(row["state"] == "deferred" for row in relay.queue()),
             "a deferred message")
    machine.clock(days * DAY)
    send(2)
    if days < 0:  # else the first has waited for longer than it may
        relay.wait_event("deferred", 4)
    is_later.append(True)
    far.wait(4)
    is_later.clear()
    send(3)
    wait_for(lambda: any(row["state"] == "deferred" for row in relay.queue()),
             "a deferred message")
    # and back, while nobody looks
    relay.stop()
    machine.clock(0)
    is_later.append(True)
    relay.start()
    send(4)
    relay.wait_empty()
    assert sorted(to for mail in far.mails for to in mail.recipients) == \
        sorted(f"{name}{number}@far.example" for name in ("later", "now")
               for number in range(1, 5))
    assert len(set(ids)) == len(ids)


# ------------------------------------------------------------ file systems

def test_a_file_system_without_preallocation_is_enough(relay, far, machine):
    relay.environment = machine.environment
    machine.is_plain()
    relay.start()
    for number in range(30):
        submit(relay, f"u{number}@far.example",
               400000 if number % 10 == 0 else 3000)
    far.wait(30)
    relay.wait_empty()
    relay.restart()
    assert fsck_after(relay) == (0, [])


def fsck_after(relay):
    relay.stop()
    return fsck(relay)[:2]
