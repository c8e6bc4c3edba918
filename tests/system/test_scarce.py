# SPDX-License-Identifier: ISC
"""Memory runs out at any allocation: one line, an end, and nothing is lost.

OSTLER_SLOW=1 has every allocation of a session fail in turn."""

import collections
import mmap
import os
import random
import re
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


#: A fault in a library that does not expect it: sasl_server_new of libsasl2 is one.
NOT_OURS = re.compile(r"AddressSanitizer: SEGV(?:.*\n)+? +#0 \S+ +"
                      r"\((?:/usr)?/lib/")


def is_dying(relay):
    text = relay.log_text()
    return relay.process.poll() is not None or \
        "memory-exhausted" in text or "AddressSanitizer" in text


def settle(relay, far, taken):
    """Deliveries may meet the failure, too. Returns how it ended, and makes
    sure that it is as it should: by itself, with a line."""
    try:
        wait_for(lambda: is_dying(relay) or set(taken) <=
                 {mails.message_id(mail.content) for mail in far.mails},
                 "the deliveries", 5)
    except AssertionError:
        pass  # put off; they are looked for at the end
    if not is_dying(relay):
        return None
    code = relay.process.wait(60)
    relay.process = None
    text = relay.log_text()
    relay.log_file.unlink()
    if NOT_OURS.search(text):
        return "library"
    assert code == -signal.SIGABRT, (code, text[-3000:])
    assert text.count("memory-exhausted") == 1, text[-3000:]
    assert "Sanitizer" not in text, text[-6000:]
    return "line"


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
        assert settle(relay, far, session(relay, 1)) is None
        counts.append(memory.seen - before)
    count = min(counts)  # the least that happens beside it
    assert count > 50
    if os.environ.get("OSTLER_SLOW"):
        numbers = range(1, count + 1)
    else:
        seed = int(os.environ.get("OSTLER_SEED", random.randrange(1 << 32)))
        print(f"OSTLER_SEED={seed} repeats it")
        numbers = random.Random(seed).sample(range(1, count + 1), count)
    taken, deaths, done = [], collections.Counter(), 0
    for number in numbers:
        if done >= SAMPLE and deaths["line"] >= 3 and \
                not os.environ.get("OSTLER_SLOW"):
            break
        done += 1
        memory.fail_at(number)
        new = session(relay, number)
        taken += new
        how = settle(relay, far, new)
        memory.fail_at(0)
        if how is not None:
            deaths[how] += 1
            relay.start()
    relay.restart()
    relay.wait_empty(300)
    arrived = {mails.message_id(mail.content) for mail in far.mails}
    with capsys.disabled():
        print(f"\n{done} of {count} allocations failed: "
              f"{deaths['line']} ends with a line, {deaths['library']} in "
              f"libraries, {len(taken)} acknowledged")
    wait_for(lambda: set(taken) <= {mails.message_id(mail.content)
                                    for mail in far.mails},
             "all that was acknowledged")
    assert arrived
    assert deaths["line"] > 0
    assert relay.status()["spool"]["corrupt"] == 0
