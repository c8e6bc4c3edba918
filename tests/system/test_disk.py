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
from lab.need import (need_built, need_loop_device, need_mounts,
                      need_program)
from lab.relay import BUILD
from lab.talk import Closed, Talk, stuff

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
    need_built(SHIM)
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
    rotten = relay.wait_event("spool", level="error")
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
    assert "damaged" in str(relay.wait_event("spool", level="error"))
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


class Volume:
    """A file system of the spool's own that can turn against us."""

    def __init__(self, folder, place):
        need_mounts(folder)
        need_program("mkfs.ext4", "e2fsprogs")
        self.image, self.place = folder / "image", place
        self.is_mounted = False
        place.mkdir(mode=0o700)
        with open(self.image, "wb") as file:
            file.truncate(192 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-E", "root_owner=%d:%d"
                        % (os.geteuid(), os.getegid()), self.image],
                       check=True)
        self.mount()
        place.chmod(0o700)
        shutil.rmtree(place / "lost+found")

    def mount(self):
        self.device = need_loop_device(self.image)
        done = subprocess.run(["mount", "-o", "errors=remount-ro",
                               self.device, self.place],
                              capture_output=True, text=True)
        # as soon as it is not mounted, or no more
        subprocess.run(["losetup", "--detach", self.device], check=True)
        if "unknown filesystem type" in done.stderr:
            pytest.skip("this kernel has no ext4")
        assert done.returncode == 0, done.stderr
        self.is_mounted = True

    def unmount(self):
        if self.is_mounted:
            subprocess.run(["umount", self.place], check=True)
            self.is_mounted = False

    def fail(self):
        """As after an error in its own data: read-only until it is checked."""
        name = os.path.basename(self.device)
        switch = f"/sys/fs/ext4/{name}/trigger_fs_error"
        if not os.access(switch, os.W_OK):
            pytest.skip(f"no file system can be made to fail here: {switch} "
                        "cannot be written")
        with open(switch, "w") as file:
            file.write("1\n")

    def mend(self):
        self.unmount()
        subprocess.run(["fsck.ext4", "-fy", self.image], capture_output=True)
        self.mount()


@pytest.fixture
def volume(relay, folder):
    made = Volume(folder, relay.spool)
    yield made
    if relay.process is not None:
        relay.kill9()
    made.unmount()


def hand_in(relay, size):
    """The reply that ends it, as a code; 421 as well if nobody listens."""
    try:
        with Talk(relay.mx) as talk:
            reply = talk.greeting
            for line in ("EHLO client.example", "MAIL FROM:<a@local.example>",
                         "RCPT TO:<new@far.example>", "DATA"):
                if reply.code not in (220, 250):
                    return reply.code
                reply = talk.say(line)
            if reply.code == 354:
                talk.raw(stuff(mails.message(
                    (b"x" * 70 + b"\r\n") * (size // 72 + 1))))
                reply = talk.reply()
            return reply.code
    except (OSError, Closed):
        return 421


@pytest.mark.parametrize("what", ("mail", "deliveries"))
def test_a_file_system_that_turns_read_only_loses_no_mail(relay, far, volume,
                                                          what):
    """Met by new mail, or by what is noted of deliveries."""
    is_later = [True]
    far.on_rcpt = lambda address: "451 4.2.0 later" \
        if address.startswith("old") and is_later else None
    relay.set("queue", retry=["1h"])
    relay.start()
    for number in range(5):
        submit(relay, f"old{number}@far.example",
               400000 if number == 0 else 3000)
    wait_for(lambda: len([row for row in relay.queue()
                          if row["state"] == "deferred"]) == 5,
             "five deferred messages")
    volume.fail()
    if what == "mail":
        assert hand_in(relay, 400000) == 451  # a file of its own
        assert hand_in(relay, 3000) == 451
        assert hand_in(relay, 3000) in (451, 421)
    else:
        is_later.clear()
        relay.ctl("queue", "flush")
        far.wait(1)
        # its end cannot be noted; the next one cannot either
        wait_for(lambda: hand_in(relay, 3000) in (451, 421) and
                 relay.process.poll() is not None, "the end")
    assert relay.ended() == 75
    reasons = [row["reason"]
               for row in relay.wait_event("spool", level="error")]
    assert any("Read-only file system" in reason for reason in reasons)
    assert any("no more mail is accepted" in reason for reason in reasons)
    assert relay.wait_event("stop")[-1]["reason"] == \
        "the spool can no longer be trusted"

    # it does not come up on what it could not write to, and says why
    relay.launch()
    assert relay.ended() == 71
    refused = relay.wait_event("start", level="error")
    assert "Read-only file system" in refused[-1]["reason"]

    volume.mend()
    is_later.clear()
    assert {f"old{number}@far.example" for number in range(5)} == \
        set(deliver_all(relay, far))
    assert hand_in(relay, 3000) == 250
    far.wait(6)
    assert relay.status()["spool"]["corrupt"] == 0
    relay.stop()
