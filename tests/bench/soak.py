#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Hours of mixed mail in minutes, and what they leave behind.

    tests/bench/soak.py [--build DIR] [--minutes 30] [--kill]

A relay takes mail from logins over TLS and from strangers for its own
domain, and delivers to domains whose MX records (TTL 2 s) move all the time
between servers that put off a tenth of all and refuse some for good. All the
while it is reloaded, its queue is listed, and clients break off. At the end
each recipient that was acknowledged must have been delivered or reported,
memory and descriptors must be those of the beginning, and the log must hold
no error. --kill: kill -9 and a new start every five minutes.

Prints a line every half minute, then a summary; exit 0 if all of it holds.
"""
import argparse
import collections
import json
import os
import pathlib
import random
import re
import shutil
import sys
import tempfile
import threading
import time
import uuid

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "system"), str(HERE.parent)]

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--build", default=str(HERE.parent.parent / "build"))
parser.add_argument("--minutes", type=float, default=30)
parser.add_argument("--pace", type=float, default=60,
                    help="messages a second, of all clients")
parser.add_argument("--kill", action="store_true")
OPTIONS = parser.parse_args()
os.environ["OSTLER_BUILD"] = OPTIONS.build

from dnslab import Names  # noqa: E402 (needs the path)
from lab.base import loopback, wait_for  # noqa: E402
from lab.relay import Relay  # noqa: E402
from lab.sink import Reactor, Sink  # noqa: E402
from lab.talk import Closed, Talk  # noqa: E402
from lab.tls import Authority  # noqa: E402

MARK = re.compile(rb"(?m)^X-Soak: ([0-9a-f]+)")
FINAL = re.compile(rb"(?mi)^Final-Recipient: rfc822; *(\S+?)\r?$")
ACTION = re.compile(rb"(?mi)^Action: *(\w+)")
FAR = [f"far{i}.example" for i in range(8)]
CLIENTS = 12


class Ledger:
    """Who was promised what, and what became of it."""

    def __init__(self):
        self.lock = threading.Lock()
        self.owed = {}  # (mark, recipient) -> when it was acknowledged
        self.unsure = set()  # the answer to the data never came
        self.delivered = collections.Counter()
        self.reported = collections.Counter()
        self.counts = collections.Counter()

    def promise(self, mark, recipients):
        now = time.monotonic()
        with self.lock:
            self.counts["acknowledged"] += 1
            for recipient in recipients:
                self.owed[mark, recipient] = now

    def arrive(self, mark, recipients):
        with self.lock:
            for recipient in recipients:
                self.delivered[mark, recipient] += 1

    def report(self, mark, recipients):
        with self.lock:
            for recipient in recipients:
                self.reported[mark, recipient] += 1

    def count(self, what):
        with self.lock:
            self.counts[what] += 1

    def missing(self):
        with self.lock:
            return [key for key in self.owed
                    if not self.delivered[key] and not self.reported[key]]


class Server(Sink):
    """One that puts off a tenth, refuses nobody's mail, and remembers marks
    only."""

    def __init__(self, ledger, seed, *arguments, **options):
        self.ledger, self.random = ledger, random.Random(seed)
        super().__init__(*arguments, **options)
        self.on_rcpt = self._on_rcpt

    def _on_rcpt(self, address):
        if address.startswith("nobody"):
            return "550 5.1.1 no such user here"
        if self.random.random() < 0.1:
            return "450 4.2.0 come back later"
        return None

    async def handle_DATA(self, server, session, envelope):
        self.starts.clear()
        if self.random.random() < 0.02:
            return "451 4.3.0 not now"
        mark = MARK.search(envelope.original_content)
        self.ledger.arrive(mark.group(1).decode() if mark else "?",
                           envelope.rcpt_tos)
        return "250 2.0.0 taken"


class Client(threading.Thread):
    """Sends for ever, in some way that is drawn anew each time."""

    def __init__(self, soak, number):
        super().__init__(daemon=True)
        self.soak, self.random = soak, random.Random(number)
        self.source = loopback()
        self.number = number

    def run(self):
        while not self.soak.is_over.is_set():
            try:
                if self.random.random() < 0.5:
                    self.submit()
                else:
                    self.exchange()
            except (OSError, Closed) as error:
                # expected when the relay was killed, or broke us off
                self.soak.ledger.count(f"client {type(error).__name__}")
                time.sleep(0.2)
            except AssertionError as error:
                self.soak.ledger.count(f"client {str(error)[:60]}")

    def recipient_far(self):
        name = self.random.choice(("anna", "bob", "carol", "dave", "eve"))
        if self.random.random() < 0.03:
            name = "nobody"
        return f"{name}{self.random.randrange(50)}@" \
            f"{self.random.choice(FAR)}"

    def submit(self):
        """A login over TLS, to the world and to us."""
        implicit = self.random.random() < 0.5
        relay = self.soak.relay
        to = relay.submissions if implicit else relay.submission
        with Talk(to, self.source, is_implicit=implicit, timeout=60) as talk:
            talk.ehlo()
            if not implicit:
                talk.starttls()
            reply = talk.plain(*self.soak.user)
            assert reply.code == 235, reply
            for _ in range(self.random.randrange(1, 12)):
                self.send(talk, "anna@local.example",
                          {self.recipient_far()
                           for _ in range(self.random.choice((1, 1, 1, 4)))})

    def exchange(self):
        """A stranger with mail for our domain."""
        with Talk(self.soak.relay.mx, self.source, timeout=60) as talk:
            talk.ehlo()
            if self.random.random() < 0.5:
                talk.starttls()
            for _ in range(self.random.randrange(1, 12)):
                self.send(talk, "stranger@other.example",
                          {f"user{self.random.randrange(20)}@local.example"})

    def send(self, talk, sender, recipients):
        self.soak.wait_turn()
        mark, dice = uuid.uuid4().hex, self.random.random()
        size = 1_000_000 if dice < 0.002 else 300_000 if dice < 0.01 else \
            self.random.randrange(200, 20000)
        content = (b"From: <%s>\r\nTo: somebody@example.org\r\n"
                   b"Subject: soak\r\nX-Soak: %s\r\n\r\n"
                   % (sender.encode(), mark.encode())
                   + b"all work and no play 0123456789\r\n" * (size // 33))
        reply = talk.say(f"MAIL FROM:<{sender}>")
        assert reply.code == 250, reply
        taken = [r for r in sorted(recipients)
                 if talk.say(f"RCPT TO:<{r}>").code == 250]
        assert taken, "no recipient was taken"
        if 0.5 < dice < 0.52:  # broken off
            assert talk.say("DATA").code == 354
            talk.raw(content[:len(content) // 2])
            raise Closed("ours")
        with self.soak.ledger.lock:
            self.soak.ledger.unsure.add(mark)
        reply = talk.data(content)
        if reply.code == 250:
            self.soak.ledger.promise(mark, taken)
        with self.soak.ledger.lock:
            self.soak.ledger.unsure.discard(mark)
        assert reply.code == 250, reply


class Soak:
    def __init__(self, folder):
        self.folder, self.ledger = folder, Ledger()
        self.is_over = threading.Event()
        self.turn_lock, self.next_turn = threading.Lock(), time.monotonic()
        self.names = Names(folder)
        self.reactor = Reactor()
        authority = Authority(folder / "authority")
        first = Sink(self.reactor, loopback(), port := self._port())
        first.stop()
        self.sinks = []
        for number in range(4):
            certificate = authority.issue(folder / f"sink{number}",
                                          f"mx{number}.example") \
                if number % 2 else None
            self.sinks.append(Server(self.ledger, number, self.reactor,
                                     loopback(), port,
                                     certificate=certificate))
        self.relay = Relay(folder, authority, self.names)
        self.relay.set("queue", port=port, retry=["1s", "2s", "5s"],
                       expire="1h", warn="30m", reports_per_sender="1000000/1h")
        self.relay.set("log", level="info")
        self.relay.set("limits", connections_per_client=100)
        self.samples, self.log_counts = [], collections.Counter()
        self.strange, self.log_at = [], 0
        self.kills = 0

    @staticmethod
    def _port():
        from lab.base import free_port
        return free_port()

    def wait_turn(self):
        with self.turn_lock:
            now = time.monotonic()
            self.next_turn = max(self.next_turn + 1 / OPTIONS.pace, now - 1)
            pause = self.next_turn - now
        if pause > 0:
            time.sleep(pause)

    # ---------------------------------------------------- what goes on beside

    def every(self, seconds, act):
        def go():
            while not self.is_over.wait(seconds):
                try:
                    act()
                except Exception as error:  # told in the summary
                    self.ledger.count(f"{act.__name__}: {error!r}"[:120])
        thread = threading.Thread(target=go, daemon=True)
        thread.start()
        return thread

    def move(self):
        """An MX record of some domain names another server now."""
        sink = random.choice(self.sinks)
        self.names.domain(random.choice(FAR), sink.host, ttl=2)
        self.ledger.count("moves")

    def reload(self):
        self.relay.set("limits", recipients=random.randrange(500, 1000))
        answer = self.relay.reload()
        self.ledger.count("reloads" if answer.code == 0 else
                          f"reload {answer.code} {answer.err[:80]}")

    def look(self):
        for words in (("queue", "list"), ("status",), ("route", FAR[0]),
                      ("explain", "--from", "a@local.example",
                       "--to", "bob@far1.example")):
            answer = self.relay.ctl(*words)
            if answer.code not in (0, 1):
                self.ledger.count(f"{words[0]} {answer.code} "
                                  f"{answer.err[:80]}")
        self.ledger.count("looks")

    def collect(self):
        """Takes what lies in the Maildirs: mail, and reports for anna."""
        for file in self.relay.mail.glob("local.example/*/new/*"):
            content = file.read_bytes()
            file.unlink()
            mark = MARK.search(content)
            user = file.parent.parent.name
            if mark is None:
                self.ledger.count("mail without a mark")
            elif ACTION.search(content):
                if ACTION.search(content).group(1).lower() == b"failed":
                    self.ledger.report(
                        mark.group(1).decode(),
                        [r.decode() for r in FINAL.findall(content)])
                else:
                    self.ledger.count("other reports")
            else:
                self.ledger.arrive(mark.group(1).decode(),
                                   [f"{user}@local.example"])

    def read_log(self):
        """Counts its lines by event; keeps those that tell of trouble."""
        with open(self.relay.log_file, "rb") as log:
            log.seek(self.log_at)
            for line in log:
                if not line.endswith(b"\n"):
                    break
                self.log_at += len(line)
                try:
                    row = json.loads(line)
                except ValueError:
                    self.strange.append(line.decode(errors="replace"))
                    continue
                self.log_counts[row.get("level"), row.get("event")] += 1
                if row.get("level") not in ("info", "debug") and \
                        row.get("event") != "config" and \
                        len(self.strange) < 200:
                    self.strange.append(line.decode(errors="replace").strip())

    # -------------------------------------------------------------- measuring

    def sample(self):
        proc = pathlib.Path(f"/proc/{self.relay.process.pid}")
        status = dict(line.split(":", 1) for line in
                      (proc / "status").read_text().splitlines())
        ticks = (proc / "stat").read_text().rsplit(")", 1)[1].split()
        return {
            "rss": int(status["VmRSS"].split()[0]),
            "peak": int(status["VmHWM"].split()[0]),
            "fds": len(list((proc / "fd").iterdir())),
            "threads": int(status["Threads"]),
            "cpu": (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK"),
            "spool": sum(f.stat().st_blocks * 512 for f in
                         (self.folder / "spool").rglob("*")
                         if f.is_file()) >> 20,
        }

    def tell(self, start):
        one = self.sample()
        self.read_log()
        one["queued"] = len(self.ledger.missing())
        self.samples.append(one)
        print("%5.1f min  rss %6d KiB  peak %6d  fds %3d  threads %2d  "
              "spool %4d MiB  cpu %6.1f s  acknowledged %6d  open %4d"
              % ((time.monotonic() - start) / 60, one["rss"], one["peak"],
                 one["fds"], one["threads"], one["spool"], one["cpu"],
                 self.ledger.counts["acknowledged"], one["queued"]),
              flush=True)

    def run(self):
        for number, far in enumerate(FAR):
            self.names.domain(far, self.sinks[number % 4].host, ttl=2)
        self.user = self.relay.add_user()
        self.relay.start()
        start = time.monotonic()
        clients = [Client(self, number) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        beside = [self.every(2, self.move), self.every(20, self.reload),
                  self.every(5, self.look), self.every(1, self.collect)]
        next_kill = start + 300
        end = start + OPTIONS.minutes * 60
        while time.monotonic() < end:
            time.sleep(min(30, max(0, end - time.monotonic())))
            self.tell(start)
            if OPTIONS.kill and time.monotonic() > next_kill:
                self.relay.kill9()
                self.relay.start()
                self.kills += 1
                next_kill += 300
        self.is_over.set()
        for thread in clients + beside:
            thread.join(120)
        self.settle()
        self.tell(start)
        quiet = self.samples[-1]
        self.relay.stop()
        self.read_log()
        return self.summary(quiet)

    def settle(self):
        def is_done():
            self.collect()
            return not self.relay.queue() and not self.ledger.missing()
        try:
            wait_for(is_done, "an empty queue", 180)
        except AssertionError as error:
            print(error)
        time.sleep(8)  # idle connections close, and are counted no more

    def summary(self, quiet):
        ledger = self.ledger
        missing = ledger.missing()
        double = sum(n - 1 for n in ledger.delivered.values() if n > 1)
        both = [key for key in ledger.delivered if ledger.reported[key]]
        early = self.samples[min(4, len(self.samples) - 1)]
        print("\ncounts", dict(ledger.counts))
        print(f"recipients owed {len(ledger.owed)}, delivered "
              f"{len(ledger.delivered)}, reported {len(ledger.reported)}, "
              f"twice {double}, delivered and reported {len(both)}, "
              f"missing {len(missing)}; starts again {self.kills}")
        print(f"rss after {min(5, len(self.samples)) / 2} min "
              f"{early['rss']} KiB, at the end {quiet['rss']} KiB; "
              f"descriptors {early['fds']}, {quiet['fds']}")
        print("log", {" ".join(map(str, k)): n
                      for k, n in self.log_counts.most_common()})
        for line in self.strange[:40]:
            print("  ", line)
        for key in missing[:20]:
            print("   missing", key)
        return not missing and (double == 0 or self.kills > 0) \
            and not any(level == "error" for level, _ in self.log_counts)

    def stop(self):
        if self.relay.process is not None:
            self.relay.stop()
        for sink in self.sinks:
            sink.stop()
        self.reactor.stop()
        self.names.stop()


def main():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="ostler-soak-"))
    folder.chmod(0o711)
    soak = Soak(folder)
    try:
        is_good = soak.run()
    finally:
        soak.stop()
    if is_good:
        shutil.rmtree(folder)
    else:
        print(f"what is left of it: {folder}")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
