# SPDX-License-Identifier: ISC
"""Memory runs out at any allocation: one line, an end, and nothing is lost.

OSTLER_SLOW=1 has every allocation of a part fail in turn; OSTLER_SHARE=1/4
does the first quarter of that, so that several can share the work."""

import collections
import mmap
import os
import random
import re
import signal
import struct

import pytest

from lab import mails
from lab.base import PATIENCE, wait_for
from lab.need import need_built
from lab.relay import BUILD
from lab.talk import Closed, Talk

SHIM = BUILD / "tests" / "crash" / "scarce.so"
SAMPLE = 12
SLOW = bool(os.environ.get("OSTLER_SLOW"))
SHARE, SHARES = map(int, os.environ.get("OSTLER_SHARE", "1/1").split("/"))

#: How libraries end the program that let nobody choose where their memory
#: comes from: libconfuse, libuv for a thread, glibc for a user's name.
ITS_LINE = re.compile(r"^(out of dynamic memory in yy\w+\(\)"
                      r"|\S+: \S+: \w+: Assertion `.*' failed\."
                      r"|error aborted reason=.*)$", re.MULTILINE)
#: glibc 2.36 has a single allocation that it uses unseen, in its first lookup
#: of a user.
NSS = re.compile(r"AddressSanitizer: SEGV(?:.*\n)+? +#0 \S+ +"
                 r"(in nss_|\((?:/usr)?/lib/[^)]*/libc\.so)")


class Memory:
    """tests/crash/scarce.c's file."""

    def __init__(self, path):
        path.write_bytes(bytes(mmap.PAGESIZE))
        with open(path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), mmap.PAGESIZE)

    def fail_at(self, number):
        self.map[:8] = struct.pack("=q", number)

    @property
    def has_failed(self):
        return struct.unpack_from("=q", self.map, 0)[0] <= 0

    @property
    def seen(self):
        return struct.unpack_from("=q", self.map, 8)[0]


# What is done while an allocation fails; each returns what was acknowledged.

def session(relay, number):
    """A login's message, a stranger's, a question."""
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


def reload(relay, number):
    relay.set("limits", recipients=100 + number % 7)
    relay.reload()
    return []


def control(relay, number):
    for words in (("status",), ("queue", "list"), ("config",),
                  ("explain", "--client", "127.0.0.1", "--from",
                   "a@far.example", "--to", "b@far.example"),
                  ("route", "far.example"), ("bounces",), ("auth", "list"),
                  ("classify", "550 5.1.1 no such user"),
                  ("queue", "flush"), ("pause",), ("resume",)):
        if relay.process.poll() is None:
            relay.ctl(*words, json=number % 2 == 0)
    return []


def is_dying(relay):
    text = relay.log_text()
    return relay.process.poll() is not None or \
        "memory-exhausted" in text or "AddressSanitizer" in text


def ending(relay):
    """How it ended, which must be as it should: with a line. Forgets it."""
    code = relay.process.wait(PATIENCE)
    relay.process = None
    text = relay.log_text()
    relay.log_file.unlink()
    if code == -signal.SIGABRT and text.count("memory-exhausted") == 1:
        assert "Sanitizer" not in text, text[-6000:]
        return "line"
    if NSS.search(text) or code == -signal.SIGSEGV:
        return "crash"
    assert "Sanitizer" not in text, (code, text[-6000:])
    if code in (-signal.SIGABRT, 2) and ITS_LINE.search(text):
        return "library"
    # a library said no, and we said so
    assert code > 0 and text.strip(), (code, text[-6000:])
    return "refused"


def arrived_at(far):
    return {mails.message_id(mail.content) for mail in far.mails}


def settle(relay, far, taken):
    """Deliveries may meet the failure, too. Returns how it ended."""
    try:
        wait_for(lambda: is_dying(relay) or set(taken) <= arrived_at(far),
                 "the deliveries", 5)
    except AssertionError:
        pass  # put off; they are looked for at the end
    return ending(relay) if is_dying(relay) else None


def numbers_up_to(count):
    if SLOW:
        return range(SHARE, count + 1, SHARES)
    seed = int(os.environ.get("OSTLER_SEED", random.randrange(1 << 32)))
    print(f"OSTLER_SEED={seed} repeats it")
    return random.Random(seed).sample(range(1, count + 1), count)


def tell(capsys, what, done, count, deaths):
    with capsys.disabled():
        print(f"\n{what}: {done} of {count} allocations failed: " + ", ".join(
            f"{number} {how}" for how, number in sorted(deaths.items())))


@pytest.fixture
def memory(relay, far, folder, authority):
    need_built(SHIM)
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
    # reading the system's takes most of a start, in one small loop
    relay.set("tls", ca=authority.file)
    relay.add_user("anna", "secret pass")
    relay.environment = {"LD_PRELOAD": str(SHIM),
                         "OSTLER_SCARCE": str(folder / "scarce"),
                         "ASAN_OPTIONS": "verify_asan_link_order=0:"
                                         "detect_leaks=0"}
    return Memory(folder / "scarce")


@pytest.mark.parametrize("act", (session, reload, control))
def test_memory_that_runs_out_loses_nothing(relay, far, memory, act, capsys):
    relay.start()
    kept = session(relay, 1)
    counts = []
    for _ in range(3):
        act(relay, 1)
        before = memory.seen
        assert settle(relay, far, act(relay, 1)) is None
        counts.append(memory.seen - before)
    count = min(counts)  # the least that happens beside it
    assert count > 50
    taken, deaths, done = kept, collections.Counter(), 0
    for number in numbers_up_to(count):
        if done >= SAMPLE and deaths["line"] >= 3 and not SLOW:
            break
        done += 1
        memory.fail_at(number)
        new = act(relay, number)
        taken += new
        how = settle(relay, far, new)
        deaths[how or ("survived" if memory.has_failed else "unused")] += 1
        memory.fail_at(0)
        if how is not None:
            relay.start()
    relay.restart()
    relay.wait_empty(300)
    tell(capsys, act.__name__, done, count, deaths)
    wait_for(lambda: set(taken) <= arrived_at(far),
             "all that was acknowledged")
    assert taken and deaths["line"] > 0 and deaths["crash"] == 0
    assert relay.status()["spool"]["corrupt"] == 0


def test_a_start_without_memory_says_so_and_loses_nothing(relay, far, memory,
                                                          capsys):
    relay.set("queue", deliver=False)
    relay.start()
    taken = session(relay, 4)
    there = {row["id"] for row in relay.queue()}
    relay.stop()
    before = memory.seen
    relay.start()
    count = memory.seen - before
    relay.stop()
    deaths, done = collections.Counter(), 0
    for number in numbers_up_to(count):
        if done >= SAMPLE and not SLOW:
            break
        done += 1
        memory.fail_at(number)
        relay.launch()
        wait_for(lambda: is_dying(relay) or relay.ctl("status").code == 0,
                 "an end or a start")
        has_failed = memory.has_failed
        memory.fail_at(0)
        wait_for(lambda: {row["id"] for row in relay.queue()} == there
                 or is_dying(relay), "all messages or an end")
        if is_dying(relay):
            deaths[ending(relay)] += 1
            continue
        deaths["survived" if has_failed else "unused"] += 1
        relay.stop()
    tell(capsys, "start", done, count, deaths)
    relay.set("queue", deliver=True)
    relay.start()
    relay.wait_empty()
    assert set(taken) <= arrived_at(far)
    assert len(taken) == 3 and deaths["line"] > 0 and deaths["crash"] <= 1
    assert relay.status()["spool"]["corrupt"] == 0
