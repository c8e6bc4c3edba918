# SPDX-License-Identifier: ISC
"""Power loss at any moment: what the disk may hold then, the spool recovers
from, without losing, inventing or bringing back a message.

OSTLER_STATES sets how many states (2000), OSTLER_SEEDS which runs ("1 2 3"),
OSTLER_SLOW=1 has each broken spool of queue/spool/mutant.h found as well."""

import collections
import os
import re
import shutil
import struct
import subprocess
import threading

import pytest

from lab.need import need_built
from lab.relay import BUILD, TOP
from lab.talk import Closed, Talk

CRASH = TOP / "tests" / "crash"
TOOLS = BUILD / "tests" / "crash"
STATES = int(os.environ.get("OSTLER_STATES", "2000"))
SEEDS = os.environ.get("OSTLER_SEEDS", "1 2 3").split()


def need_tools():
    need_built(*(TOOLS / tool for tool in ("driver", "replay",
                                           "recorder.so")))


def replay(trace, seed, states):
    """Checks states of the trace, which is kept if one is wrong."""
    done = subprocess.run(
        [TOOLS / "replay", "-s", str(seed), "-n", str(states),
         "-j", str(os.cpu_count()), trace],
        capture_output=True, text=True, timeout=600)
    print(done.stdout, done.stderr)
    if done.returncode != 0:
        kept = f"/tmp/ostler-crash-{os.getpid()}-{seed}.trace"
        shutil.copy(trace, kept)
        pytest.fail(f"seed {seed}, {kept}:\n{done.stdout}{done.stderr}")
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize("seed", SEEDS)
def test_no_crash_of_the_spool_loses_or_invents_anything(folder, seed,
                                                         capsys):
    need_tools()
    subprocess.run([CRASH / "record.sh", TOOLS, seed, folder], check=True,
                   timeout=300)
    line = replay(folder / "trace", seed, STATES // (len(SEEDS) + 1))
    with capsys.disabled():
        print("\n" + line)


class Marks:
    """The trace's events that only we know; tests/crash/trace.h."""

    SUBMITTED, ACKED, SETTLING, REPLACED = 20, 21, 22, 24
    REPORT = 1000000000

    def __init__(self, path):
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.counts = collections.Counter()

    def put(self, kind, a, b=0):
        self.counts[kind] += 1
        os.write(self.fd, struct.pack("=QIIQQQ", 0x4543415254534f00, kind, 0,
                                      a, b, 0))

    def close(self):
        os.close(self.fd)


def content_of(number, size):
    lines = (bytes(65 + (number * 7 + line + column) % 26
                   for column in range(62)) + b"\r\n"
             for line in range(size // 64))
    return (b"From: Anna <anna@far.example>\r\nSubject: hello\r\n"
            b"Date: Sat, 21 Nov 2026 10:00:00 +0000\r\n"
            b"X-Crash: %08x %08x\r\n\r\n" % (number, size)) + b"".join(lines)


class Far:
    """far.example: puts some off, refuses some, and tells before it does."""

    def __init__(self, sink, marks):
        self.marks, self.seen = marks, set()
        sink.on_rcpt, sink.on_data = self.on_rcpt, self.on_data

    def on_rcpt(self, address):
        if not address.startswith("u"):
            return None
        number = int(address[1:address.index("@")])
        if number % 5 == 0 and number not in self.seen:
            self.seen.add(number)
            return "451 4.2.0 later"
        if number % 7 == 0:
            self.marks.put(Marks.SETTLING, number)
            self.marks.put(Marks.REPLACED, number, number + Marks.REPORT)
            return "550 5.1.1 nobody"
        return None

    def on_data(self, envelope):
        number = int(re.search(rb"X-Crash: ([0-9a-f]{8})",
                               envelope.original_content).group(1), 16)
        if envelope.mail_from in ("", "<>"):
            number += Marks.REPORT
        self.marks.put(Marks.SETTLING, number)
        return None


def submit(relay, marks, numbers):
    """A client that goes on until all are sent or the relay is killed."""
    try:
        with Talk(relay.mx) as talk:
            talk.ehlo()
            for number in numbers:
                size = 64 * 6000 if number % 40 == 0 else \
                    64 * (1 + number % 60)
                talk.mail("anna@far.example", f"u{number}@far.example")
                marks.put(Marks.SUBMITTED, number)
                reply = talk.data(content_of(number, size))
                if reply.code == 250:
                    name = re.search(r"[0-9A-Z]{13}", reply.text).group()
                    marks.put(Marks.ACKED, number, number_of(name))
    except (Closed, OSError, ValueError, AssertionError):
        pass  # killed; what was not acknowledged may be lost


def number_of(name):
    """An id as a number."""
    value = 0
    for digit in name:
        value = value * 32 + "0123456789ABCDEFGHJKMNPQRSTVWXYZ".index(digit)
    return value


def test_no_crash_of_the_relay_loses_what_a_client_was_promised(
        relay, far, folder, capsys):
    need_tools()
    trace = folder / "trace"
    marks = Marks(trace)
    Far(far, marks)
    relay.set("relay", trusted_networks=["127.0.0.0/8"])
    relay.environment = {
        "LD_PRELOAD": str(TOOLS / "recorder.so"),
        "OSTLER_CRASH_TRACE": str(trace),
        "OSTLER_CRASH_DIR": str(relay.spool.resolve()),
        "ASAN_OPTIONS": "verify_asan_link_order=0"}
    for run, kill_after in enumerate((400, 500, 0)):
        relay.environment.pop("OSTLER_CRASH_KILL", None)
        if kill_after:
            relay.environment["OSTLER_CRASH_KILL"] = str(kill_after)
        relay.start()
        clients = [threading.Thread(target=submit, args=(
            relay, marks, range(run * 10000 + first + 1, run * 10000 + 161, 4)))
            for first in range(4)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        if not kill_after:
            relay.wait_empty(120)
            relay.stop()
        elif relay.process.poll() is None:
            relay.kill9()
        else:
            relay.process = None
    marks.close()
    assert marks.counts[Marks.ACKED] > 150
    assert marks.counts[Marks.SETTLING] > 100
    assert marks.counts[Marks.REPLACED] > 5
    line = replay(trace, 1, STATES // 4)
    with capsys.disabled():
        print("\n" + line)


@pytest.mark.skipif(not os.environ.get("OSTLER_SLOW"),
                    reason="takes minutes: OSTLER_SLOW=1 runs it")
def test_every_broken_spool_is_found(capsys):
    need_tools()
    with capsys.disabled():
        print()
        subprocess.run([CRASH / "mutants.sh", BUILD], check=True)


@pytest.mark.skipif(not os.environ.get("OSTLER_SLOW"),
                    reason="takes minutes: OSTLER_SLOW=1 runs it")
def test_ext4_on_a_disk_that_forgets_keeps_the_promises(capsys):
    need_tools()
    done = subprocess.run([CRASH / "blockdev.sh", TOOLS, "200"],
                          capture_output=True, text=True, timeout=600)
    if done.returncode == 77:
        pytest.skip(done.stdout.strip())
    with capsys.disabled():
        print("\n" + done.stdout)
    assert done.returncode == 0, done.stderr
