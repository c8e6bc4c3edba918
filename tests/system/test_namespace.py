# SPDX-License-Identifier: ISC
"""Port 25 and IPv6 for real, in a network namespace: nothing configured but
what an operator configures."""

import ctypes
import os
import re
import subprocess

import pytest

from lab import mails
from lab.base import awake
from lab.need import need_namespaces, need_program
from lab.talk import Talk

CLONE_NEWNET = 0x40000000
FOUR, SIX = "198.51.100.25", "2001:db8:1::25"
#: Goes out and never comes back: on a cable, to a card that nobody has. (On
#: lo the second SYN would come back as an error, after about a second.)
SILENT = "2001:db8:dead::25"


@pytest.fixture(autouse=True)
def namespace():
    """This thread, and what it starts, in a network of its own."""
    need_namespaces("--net")
    need_program("ip", "iproute2")
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        assert libc.unshare(CLONE_NEWNET) == 0, \
            os.strerror(ctypes.get_errno())
        try:
            for words in ("link set lo up", f"addr add {FOUR}/32 dev lo",
                          f"-6 addr add {SIX}/128 dev lo nodad",
                          "link add near type veth peer name far",
                          "link set near up", "link set far up",
                          "-6 route add 2001:db8:dead::/64 dev near",
                          f"-6 neigh add {SILENT} lladdr 02:00:00:00:00:01"
                          " dev near nud permanent"):
                done = subprocess.run(["ip", *words.split()],
                                      capture_output=True, text=True)
                if re.search("IPv6 is disabled|Unknown device type|"
                             "not supported", done.stderr):
                    pytest.skip(f"not here: ip {words}: {done.stderr.strip()}")
                assert done.returncode == 0, (words, done.stderr)
            yield
        finally:
            assert libc.setns(home, CLONE_NEWNET) == 0
    finally:
        os.close(home)


@pytest.fixture
def plain(namespace, relay):
    """As shipped: port 25, private addresses refused."""
    relay.set("relay", trusted_networks=["127.0.0.0/8"])
    relay.set("resolver", private_targets=False)
    return relay


def hand_in(relay, to):
    with Talk(relay.mx) as talk:
        talk.ehlo()
        talk.mail("anna@local.example", to)
        assert talk.data(mails.message()).code == 250


def test_mail_goes_out_on_port_25_by_both_families(plain, names, make_sink):
    four, six = make_sink(FOUR, 25), make_sink(SIX, 25)
    names.domain("four.example", FOUR)
    names.domain("six.example", SIX)
    plain.start()
    hand_in(plain, "bob@four.example")
    hand_in(plain, "bob@six.example")
    hand_in(plain, f"bob@[{FOUR}]")
    hand_in(plain, f"bob@[IPv6:{SIX}]")
    four.wait(2)
    six.wait(2)
    plain.wait_empty()
    assert {row["port"] for row in plain.wait_event("delivered", 4)} == {25}
    assert six.mails[0].peer == SIX


def test_a_host_whose_ipv6_is_silent_gets_its_mail_by_ipv4(
        plain, names, make_sink):
    four = make_sink(FOUR, 25)
    plain.set("queue", connect_timeout="30s")
    names.domain("far.example", FOUR, SILENT)
    plain.start()
    began = awake()
    hand_in(plain, "bob@far.example")
    four.wait()
    # a quarter of a second's head start, not the time of a connect
    assert awake() - began < 10
    rows = plain.ctl("diagnose", "bob@far.example", json=True).rows
    assert rows[-1]["outcome"] == "delivered" and rows[-1]["ip"] == FOUR
    plain.wait_empty()


def test_a_host_that_ipv6_alone_leads_to_makes_mail_wait_when_it_is_silent(
        plain, names, make_sink):
    plain.set("queue", connect_timeout="1s")
    names.domain("far.example", SILENT)
    plain.start()
    hand_in(plain, "bob@far.example")
    row = plain.wait_event("deferred")[0]
    assert row["rule"] == "cause-connect-timeout", row
    assert row["ip"] == SILENT


def test_addresses_of_this_network_are_not_for_strangers(plain, names):
    names.domain("inside.example", "127.0.0.1")
    plain.start()
    hand_in(plain, "bob@inside.example")
    row = plain.wait_event("bounced")[0]
    assert row["rule"] == "cause-private-target", row


@pytest.mark.parametrize("here, any_", ((FOUR, "0.0.0.0"), (SIX, "[::]")))
def test_an_mx_that_names_one_of_our_addresses_points_here(
        plain, names, here, any_):
    """Though the listener names none: it takes all of them."""
    plain.listeners["any"] = {"role": "mx", "address": [f"{any_}:25"]}
    names.domain("ours.example", here)
    names.domain("theirs.example", "198.51.100.26", "2001:db8:1::26")
    plain.set("relay", trusted_networks=[])
    plain.start()
    for domain, code in (("ours.example", 451), ("theirs.example", 550)):
        with Talk(plain.mx) as talk:
            talk.ehlo()
            talk.mail("eve@else.example")
            assert talk.say(f"RCPT TO:<bob@{domain}>").code == code, domain
