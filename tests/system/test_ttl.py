# SPDX-License-Identifier: ISC
"""Mail follows the MX record of now, and asks no more often than it must."""

import threading
import time

from lab import mails
from lab.base import awake
from lab.talk import Talk

TTL = 2


def test_a_changed_mx_moves_the_mail_within_its_ttl(relay, names, make_sink):
    old = make_sink()
    new = make_sink(port=old.port)
    relay.set("queue", port=old.port)
    relay.set("relay", trusted_networks=["127.0.0.0/8"])
    names.host("old.example", old.host, ttl=600)
    names.host("new.example", new.host, ttl=600)
    names.mx("far.example", "old.example", ttl=TTL)
    relay.start()
    is_done = threading.Event()
    sent = []

    def load():
        with Talk(relay.mx) as talk:
            talk.ehlo()
            while not is_done.wait(0.02):  # the pace of the load
                talk.mail("anna@local.example", "bob@far.example")
                assert talk.data(mails.message()).code == 250
                sent.append(time.monotonic())
    thread = threading.Thread(target=load)
    thread.start()
    try:
        old.wait(20)
        moved = awake()
        names.mx("far.example", "new.example", ttl=TTL)
        changed = awake()
        new.wait(20)
    finally:
        is_done.set()
        thread.join()
    relay.wait_empty()
    assert len(old.mails) + len(new.mails) == len(sent)
    late = [m.awake_at - changed for m in old.mails if m.awake_at > changed + TTL + 1]
    assert not late, late
    # nor did any go to the new host before the record said so
    assert all(m.awake_at > moved for m in new.mails)


def test_one_question_serves_all_until_it_expires(
        make_relay, names, counter, make_sink):
    relay = make_relay(counter)
    far = make_sink()
    relay.set("queue", port=far.port)
    relay.set("relay", trusted_networks=["127.0.0.0/8"])
    # that there is no AAAA record is known as long, on a slow machine too
    names.negative_ttl = 600
    names.domain("far.example", far.host, ttl=600)
    relay.start()

    def client():
        with Talk(relay.mx) as talk:
            talk.ehlo()
            for _ in range(25):
                talk.mail("anna@local.example", "bob@far.example")
                assert talk.data(mails.message()).code == 250
    threads = [threading.Thread(target=client) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    far.wait(100)
    relay.wait_empty()
    assert counter.count("far.example", "MX") == 1
    assert counter.count("mx.far.example", "A") == 1
    assert counter.count("mx.far.example", "AAAA") == 1
    row = relay.ctl("route", "far.example", json=True).row
    assert [h["host"] for h in row["hosts"]] == ["mx.far.example"]
    assert row["hosts"][0]["cached"] and 0 < row["hosts"][0]["ttl_s"] <= 600
    assert counter.count("far.example", "MX") == 1
    row = relay.ctl("route", "far.example", "--fresh", json=True).row
    assert row["usable"]
    assert counter.count("far.example", "MX") == 2
