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
