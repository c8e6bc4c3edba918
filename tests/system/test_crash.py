# SPDX-License-Identifier: ISC
"""kill -9 under load: what was acknowledged arrives.

In every second run the next hop puts a third of the messages off, so that old
mail piles up in the log. OSTLER_KILLS sets how many runs (10)."""

import collections
import os
import random
import re
import threading
import time

from lab import mails
from lab.base import wait_for
from lab.talk import Closed, Talk

KILLS = int(os.environ.get("OSTLER_KILLS", "10"))
MESSAGES, CLIENTS = 200, 4


class Load:
    """Clients that hand messages in until all are sent or the relay dies."""

    def __init__(self, relay, number):
        self.relay, self.number = relay, number
        self.acknowledged = []
        self.begun = threading.Event()  # the first 250 came
        self.threads = [threading.Thread(target=self._client, args=(n,))
                        for n in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def _client(self, number):
        # a few are so large that the spool gives them files of their own
        try:
            with Talk(self.relay.mx) as talk:
                talk.ehlo()
                for one in range(MESSAGES // CLIENTS):
                    size = 400000 if one % 25 == 24 else 700
                    content = mails.message(b"x" * 70 + b"\r\n" * 1
                                            + (b"y" * 70 + b"\r\n")
                                            * (size // 72))
                    kind = "later" if self.number % 2 and one % 3 == 0 else "u"
                    talk.mail("anna@local.example",
                              f"{kind}-{self.number}@far.example")
                    if talk.data(content).code == 250:
                        self.acknowledged.append(mails.message_id(content))
                        self.begun.set()
        except (Closed, OSError, ValueError):
            pass  # killed; what was not acknowledged may be lost
        finally:
            self.begun.set()

    def join(self):
        for thread in self.threads:
            thread.join()


def test_every_acknowledged_message_survives_kill_9(relay, far, capsys):
    seed = int(os.environ.get("OSTLER_SEED", random.randrange(1 << 32)))
    print(f"OSTLER_SEED={seed} repeats it")
    moments = random.Random(seed)
    relay.set("relay", trusted_networks=["127.0.0.0/8"])
    acknowledged = []
    # those of the last ten runs wait
    far.on_rcpt = lambda address: "451 4.2.0 later" \
        if address.startswith("later-") and \
        int(re.search(r"[0-9]+", address).group()) > number - 10 else None
    number = 0
    relay.start()
    for number in range(KILLS):
        load = Load(relay, number)
        load.begun.wait()
        time.sleep(moments.uniform(0, 0.6))  # the random moment itself
        relay.kill9()
        load.join()
        relay.check_log()
        acknowledged += load.acknowledged
        relay.start()
    far.on_rcpt = lambda address: None
    assert relay.ctl("queue", "flush").code == 0
    relay.wait_empty(120)
    wait_for(lambda: not [m for m in relay.queue()], "an empty queue")
    arrived = collections.Counter(mails.message_id(mail.content)
                                  for mail in far.mails)
    lost = [one for one in acknowledged if one not in arrived]
    duplicates = sum(arrived.values()) - len(arrived)
    # At least once: what the next hop took and the log did not have yet is
    # sent again. The recipient tells in which run a message came in; the
    # kill that doubled it is that one's, or a later one's.
    twice, seen = collections.Counter(), set()
    for mail in far.mails:
        name = mails.message_id(mail.content)
        twice[mail.recipients[0].partition("-")[2]] += name in seen
        seen.add(name)
    twice = +twice
    with capsys.disabled():
        print(f"\n{KILLS} kills: {len(acknowledged)} acknowledged, "
              f"{len(arrived)} arrived, {duplicates} duplicates "
              f"({duplicates / KILLS:.2f} a kill, at most "
              f"{max(twice.values(), default=0)} of one run's, "
              f"{KILLS - len(twice)} runs with none)")
    assert not lost, lost
    assert len(acknowledged) >= KILLS
    # nothing was damaged on the way
    assert relay.status()["spool"]["corrupt"] == 0
