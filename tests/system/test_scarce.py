# SPDX-License-Identifier: ISC
"""Memory runs out at any allocation: one line, an end, and nothing is lost.

OSTLER_SLOW=1 has every allocation of a session fail in turn."""

import mmap
import os
import random
import signal
import struct

import pytest

from lab import mails
from lab.base import wait_for
from lab.relay import BUILD
from lab.talk import Closed, Talk

SHIM = BUILD / "tests" / "crash" / "scarce.so"
SAMPLE = 24


class Memory:
    """tests/crash/scarce.c's file."""

    def __init__(self, path):
        path.write_bytes(bytes(mmap.PAGESIZE))
        with open(path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), mmap.PAGESIZE)

    def fail_at(self, number):
        self.map[:8] = struct.pack("=q", number)

    @property
    def seen(self):
        return struct.unpack_from("=q", self.map, 8)[0]


def session(relay, number):
    """What was acknowledged: a login's message, a stranger's, a question."""
    taken = []
    try:
        with Talk(relay.mx) as talk:
            talk.ehlo()
            for size in (300, 300000 if number % 4 == 0 else 2000):
                content = mails.message((b"y" * 70 + b"\r\n")
                                        * (size // 72 + 1))
                talk.mail("anna@local.example", "bob@far.example",
                          "later@far.example")
                if talk.data(content).code == 250:
                    taken.append(mails.message_id(content))
            talk.say("QUIT")
    except (Closed, OSError, ValueError, AssertionError):
        pass
    try:
        with Talk(relay.submission) as talk:
            talk.ehlo()
            talk.starttls()
            talk.ehlo()
            if talk.plain("anna", "secret pass").code == 235:
                content = mails.message(b"z\r\n")
                talk.mail("anna@local.example", "carl@far.example")
                if talk.data(content).code == 250:
                    taken.append(mails.message_id(content))
    except (Closed, OSError, ValueError, AssertionError):
        pass
    return taken


def is_dying(relay, deaths):
    return relay.process.poll() is not None or \
        relay.log_text().count("memory-exhausted") > deaths


def settle(relay, far, taken, deaths):
    """Deliveries may meet the failure, too. Returns whether it ended, and as
    it should: by itself, with a line."""
    try:
        wait_for(lambda: is_dying(relay, deaths) or set(taken) <=
                 {mails.message_id(mail.content) for mail in far.mails},
                 "the deliveries", 5)
    except AssertionError:
        pass  # put off; they are looked for at the end
    if not is_dying(relay, deaths):
        return False
    code = relay.process.wait(60)
    assert code == -signal.SIGABRT, (code, relay.log_text()[-3000:])
    assert relay.log_text().count("memory-exhausted") == deaths + 1
    relay.process = None
    relay.check_log()
    return True


def test_memory_that_runs_out_loses_nothing(relay, far, folder, capsys):
    if not SHIM.exists():
        pytest.skip(f"there is no {SHIM}: make check builds it")
    seen = set()

    def put_off(address):
        if address.startswith("later") and len(seen) % 3 != 0:
            seen.add(len(seen))
            return "451 4.2.0 later"
        return None

    far.on_rcpt = put_off
    relay.domain("local.example", f"maildir:{folder}/mail/%d/%u")
    relay.set("relay", trusted_networks=["127.0.0.0/8"])
    relay.set("queue", retry=["1s"])
    relay.add_user("anna", "secret pass")
    memory = Memory(folder / "scarce")
    relay.environment = {"LD_PRELOAD": str(SHIM),
                         "OSTLER_SCARCE": str(folder / "scarce"),
                         "ASAN_OPTIONS": "verify_asan_link_order=0:"
                                         "detect_leaks=0"}
    relay.start()
    session(relay, 1)
    counts = []
    for _ in range(3):
        before = memory.seen
        settle(relay, far, session(relay, 1), 0)
        counts.append(memory.seen - before)
    count = min(counts)  # the least that happens beside it
    assert count > 50
    if os.environ.get("OSTLER_SLOW"):
        numbers = range(1, count + 1)
    else:
        seed = int(os.environ.get("OSTLER_SEED", random.randrange(1 << 32)))
        print(f"OSTLER_SEED={seed} repeats it")
        numbers = random.Random(seed).sample(range(1, count + 1), count)
    taken, deaths, done = [], 0, 0
    for number in numbers:
        if done >= SAMPLE and deaths >= 3 and \
                not os.environ.get("OSTLER_SLOW"):
            break
        done += 1
        memory.fail_at(number)
        new = session(relay, number)
        taken += new
        has_died = settle(relay, far, new, deaths)
        memory.fail_at(0)
        if has_died:
            deaths += 1
            relay.start()
    relay.restart()
    relay.wait_empty(300)
    arrived = {mails.message_id(mail.content) for mail in far.mails}
    with capsys.disabled():
        print(f"\n{done} of {count} allocations failed: {deaths} "
              f"deaths, {len(taken)} acknowledged")
    wait_for(lambda: set(taken) <= {mails.message_id(mail.content)
                                    for mail in far.mails},
             "all that was acknowledged")
    assert arrived
    assert deaths > 0
    assert relay.status()["spool"]["corrupt"] == 0
