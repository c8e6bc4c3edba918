# SPDX-License-Identifier: ISC
"""Routes found in real DNS: knot as the server, a stub that misbehaves by
name, and tests/tools/dnsroute as the resolver with its cache.

OSTLER_BUILD names the build tree (default: the source tree)."""

import os
import pathlib
import re
import subprocess
import time

import pytest

from dnslab import Faults, Names, Unbound
from dnslab.faults import BEHAVIOURS
from lab.base import PATIENCE, awake, free_port, wait_for
from lab.need import need_built

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("OSTLER_BUILD", TOP))
DNSROUTE = BUILD / "tests" / "tools" / "dnsroute"

ZONE = """\
two MX 10 mx1
two MX 20 mx2
mx1 A 192.0.2.1
mx1 AAAA 2001:db8::1
mx2 A 192.0.2.2
null MX 0 .
bare A 192.0.2.9
nothing TXT "x"
lost MX 10 nothing
alias 7 CNAME two
mxalias MX 10 cn
cn 30 CNAME mx2
self MX 5 mx1
self MX 10 me.example.
self MX 20 mx2
private MX 5 p
p A 10.0.0.1
literal MX 10 192.0.2.55.
*.stub MX 10 good
*.stub MX 20 good.stub
*.stub A 192.0.2.1
good A 192.0.2.1
""" + "".join(f"many MX 10 mx{i}-{'x' * 40}\n" for i in range(61)) + "".join(
    f"mx{i}-{'x' * 40} A 192.0.2.7\n" for i in range(61))

BULK = "".join(f"d{i} MX 10 mx{i}\n" for i in range(10000))

SAFE = """\
a MX 10 mx1
mx1 A 192.0.2.1
mixed MX 10 mx2.lab.example.
"""


@pytest.fixture(autouse=True)
def is_built():
    need_built(DNSROUTE)


@pytest.fixture(scope="module")
def knot(tmp_path_factory):
    server = Names(
        tmp_path_factory.mktemp("dns"),
        zones={"lab.example": False, "bulk.example": False,
               "safe.example": True},
        extra={"lab.example": ZONE, "bulk.example": BULK,
               "safe.example": SAFE}, negative_ttl=40)
    yield server
    server.stop()


def routes(*arguments):
    """Each route that dnsroute prints, as lines without the final dot."""
    done = subprocess.run([DNSROUTE, *arguments], capture_output=True,
                          text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return [route.strip() for route in done.stdout.split("\n.\n") if route]


class Asker:
    """One dnsroute with its cache, asked line by line."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            [DNSROUTE, "-i", *arguments], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True)

    def ask(self, domain):
        self.process.stdin.write(domain + "\n")
        self.process.stdin.flush()
        lines = []
        for line in self.process.stdout:
            if line == ".\n":
                return "".join(lines)
            lines.append(line)
        raise AssertionError("dnsroute has ended")

    def stop(self):
        self.process.stdin.close()
        self.process.stdout.close()
        assert self.process.wait(PATIENCE) == 0


@pytest.fixture
def asker():
    """Makes askers and sees that they end well."""
    made = []

    def make(*arguments):
        made.append(Asker(*arguments))
        return made[-1]

    yield make
    for one in made:
        one.stop()


CASES = {
    "two.lab.example": r"""route two.lab.example ttl=60
host 10 mx1.lab.example 25 2001:db8::1 192.0.2.1
host 20 mx2.lab.example 25 192.0.2.2""",
    "alias.lab.example": r"""route alias.lab.example ttl=7
host 10 mx1.lab.example 25 .*
host 20 mx2.lab.example 25 .*""",
    "mxalias.lab.example": r"""route mxalias.lab.example ttl=30
host 10 cn.lab.example 25 192.0.2.2""",
    "bare.lab.example": r"""route bare.lab.example implicit ttl=40
host 0 bare.lab.example 25 192.0.2.9""",
    "self.lab.example": r"""route self.lab.example ttl=60
host 5 mx1.lab.example 25 2001:db8::1 192.0.2.1""",
    "null.lab.example": r'none .* permanent "null.lab.example takes no mail '
                        r'\(its MX is empty\)" ttl=60',
    "gone.lab.example": r'none .* permanent "gone.lab.example does not exist '
                        r'in DNS" ttl=40',
    "nothing.lab.example": r'none .* permanent "nothing.lab.example has '
                           r'neither an MX nor an address" ttl=40\n.*',
    "lost.lab.example": r'none .* temporary "the MX of lost.lab.example is '
                        r'nothing.lab.example, which has no address".*\n.*',
    "private.lab.example": r'none .* permanent ".* leads to the private '
                           r'address 10.0.0.1" .*\n.*',
    "literal.lab.example": r'none .* permanent ".* names no valid host .*',
    "not.ours.invalid": r'none .* temporary "DNS has no answer .*: REFUSED.*',
    "smtp:gone.lab.example": r'none .* temporary "the next hop '
                             r'gone.lab.example does not exist.*\n.*',
    "smtp:mx1.lab.example": r"""route .* ttl=60
host -1 mx1.lab.example 25 2001:db8::1 192.0.2.1""",
    "[192.0.2.7]": r"""route \[192.0.2.7\] ttl=never
host -1 \[192.0.2.7\] 25 cached 192.0.2.7""",
}


@pytest.mark.parametrize("domain", CASES)
def test_a_route_is_what_the_zone_says(knot, domain):
    [route] = routes("-s", knot.server, domain)
    assert re.fullmatch(CASES[domain], route), route


def test_a_set_too_large_for_udp_comes_by_tcp(knot):
    [route] = routes("-s", knot.server, "many.lab.example")
    hosts = re.findall(r"^host 10 mx(\d+)-", route, re.M)
    assert len(set(hosts)) == 20, "the best 20 of 61"


def test_mail_follows_an_mx_that_moves_within_its_ttl(knot, asker):
    resolver = asker("-s", knot.server)
    knot.mx("moving.lab.example", "mx1.lab.example", ttl=2)
    assert "mx1.lab" in resolver.ask("moving.lab.example")
    knot.mx("moving.lab.example", "mx2.lab.example", ttl=2)
    changed = awake()
    last_old = changed
    while True:
        asked = awake()
        route = resolver.ask("moving.lab.example")
        if "mx2.lab" in route:
            break
        assert "mx1.lab" in route
        last_old = asked
        assert asked < changed + 20
        time.sleep(0.01)
    # the TTL, and a second for servers and a busy machine
    assert last_old - changed <= 2.0 + 1.0
    # and past the cache it would have been at once
    knot.mx("moving.lab.example", "mx1.lab.example", ttl=2)
    assert "mx1.lab" in asker("-F", "-s", knot.server).ask(
        "moving.lab.example")


def test_an_outage_is_no_answer_and_ends_by_itself(tmp_path, asker):
    server = Names(tmp_path, {"lab.example": False}, {"lab.example": ZONE})
    resolver = asker("-s", server.server, "-t", "200")
    try:
        server.mx("moving.lab.example", "mx1.lab.example", ttl=1)
        assert resolver.ask("moving.lab.example").startswith("route")
        server.stop()
        wait_for(lambda: "temporary" in resolver.ask("moving.lab.example"),
                 "the outage")
        assert "no DNS server can be reached" in resolver.ask("two.lab.example")
        server.start()
        wait_for(lambda: resolver.ask("two.lab.example")
                 .startswith("route"), "its end")
    finally:
        server.stop()


def test_resolv_conf_is_followed_when_it_is_replaced(knot, tmp_path, asker):
    path = tmp_path / "resolv.conf"
    path.write_text(f"nameserver [127.0.0.1]:{free_port()}\n")
    resolver = asker("-r", str(path))
    assert "no DNS server can be reached" in resolver.ask("two.lab.example")
    (tmp_path / "new").write_text(f"# moved\nnameserver [127.0.0.1]:{knot.port}\n")
    (tmp_path / "new").rename(path)
    wait_for(lambda: resolver.ask("two.lab.example").startswith("route"),
             "an answer of the new server")


def test_ten_thousand_names_at_once_and_none_is_lost(knot, capsys):
    done = subprocess.run(
        [DNSROUTE, "-s", knot.server, "-n", "10000",
         "d%u.bulk.example"], capture_output=True, text=True, timeout=120,
        check=True)
    assert "new 10000 lookups: 0 failed" in done.stdout
    assert "cached 10000 lookups: 0 failed" in done.stdout
    packets = int(re.search(r"packets (\d+)", done.stdout).group(1))
    assert packets >= 10000
    with capsys.disabled():
        print("\n" + done.stdout, end="")


def test_security_is_what_a_validating_resolver_says(knot, tmp_path):
    for name in ("right", "wrong"):
        (tmp_path / name).mkdir()
    right = Unbound(tmp_path / "right", knot, wrong=())
    wrong = Unbound(tmp_path / "wrong", knot, wrong=["safe.example"])
    try:
        safe, mixed, plain = sorted(
            routes("-s", right.server, "a.safe.example",
                   "mixed.safe.example", "two.lab.example"))
        assert "host 10 mx1.safe.example 25 secure 192.0.2.1" in safe
        assert "secure" not in mixed.replace("mixed.", "")
        assert "secure" not in plain
        # without validation in front nothing is secure
        [direct] = routes("-s", knot.server, "a.safe.example")
        assert "secure" not in direct
        # a wrong anchor: no data at all, and mail waits
        [bogus] = routes("-s", wrong.server, "a.safe.example")
        assert re.match(r'none .* temporary ".* cannot be trusted: DNSSEC',
                        bogus), bogus
    finally:
        right.stop()
        wrong.stop()


# ---------------------------------------------------------------- faults

@pytest.fixture
def stub(knot):
    server = Faults(knot)
    yield server
    server.stop()


HOSTS = r"""
host 10 good.lab.example 25 192.0.2.1
host 20 good.stub.lab.example 25 192.0.2.1"""
ROUTE = r"route .* ttl=60" + HOSTS
ONCE = r"route .* ttl=0" + HOSTS
WAITS = r'none .* temporary "DNS has no answer .*: %s" ttl=1'

FAULTS = {  # label: what comes out, questions about the MX, seconds at least
    "good": (ROUTE, 1, 0),
    "silent": (WAITS % "timeout", 2, 0.8),
    "lossy": (ROUTE, 2, 0.4),
    "slow": (ROUTE, 1, 0.3),
    "servfail": (WAITS % "SERVFAIL", 1, 0),
    "refused": (WAITS % "REFUSED", 1, 0),
    "notimp": (WAITS % "NOTIMP", 2, 0),
    "formerr": (ROUTE, 2, 0),
    "badvers": (ROUTE, 2, 0),
    "bogus": (r'none .* temporary ".* cannot be trusted: DNSSEC .*" ttl=1',
              1, 0),
    # serve-expired: never kept, and never a reason to give up
    "stale": (ONCE, 1, 0),
    "stale_nxdomain": (r'none .* temporary ".*not exist in DNS" ttl=0', 1, 0),
    "lame": (WAITS % "the server does not resolve", 1, 0),
    "cut": (ROUTE, 2, 0),
    "cut_closed": (WAITS % "no DNS server can be reached", 3, 0),
    "cut_silent": (WAITS % "timeout", 3, 0.8),
    # by TCP, where nobody else can answer
    "noqr": (ROUTE, 2, 0),
    "wrongid": (ROUTE, 1, 0),
    "wrongquestion": (ROUTE, 1, 0),
    "noquestion": (ROUTE, 1, 0),
    "wrongcase": (ROUTE, 1, 0),  # letters matter beyond this host only
    "empty": (ROUTE, 1, 0),
    "tiny": (ROUTE, 1, 0),
    "broken": (WAITS % "malformed answer", 1, 0),
    "pointerloop": (WAITS % "malformed answer", 1, 0),
    "longdata": (WAITS % "malformed answer", 1, 0),
    "toofew": (WAITS % "malformed answer", 1, 0),
    "otherowner": (r'none .* temporary ".* neither an MX nor an address.*'
                   r'ttl=0\nhost .*', 1, 0),
    "cnameloop": (WAITS % "malformed answer", 1, 0),
    "badmx": (r'none .* permanent ".*no valid host.*" ttl=60', 1, 0),
    "nosoa": (r'none .* permanent ".*not exist in DNS" ttl=0', 1, 0),
    "dangling": (r'none .* permanent ".*not exist in DNS" ttl=10', 1, 0),
    "shortsoa": (r'none .* permanent ".*not exist in DNS" ttl=30', 1, 0),
    "ttl0": (ONCE, 1, 0),
    "ttlhuge": (ROUTE, 1, 0),  # that of the addresses
    "ttlnegative": (ONCE, 1, 0),
    "ttlmixed": (r"route .* ttl=3" + HOSTS, 1, 0),
    "claims": (ROUTE, 1, 0),
    "twice": (ROUTE, 1, 0),
}


def test_no_behaviour_is_left_out():
    assert FAULTS.keys() - {"good"} == BEHAVIOURS.keys()


@pytest.mark.parametrize("label", FAULTS)
def test_a_faulty_server_is_seen_through(stub, label):
    wanted, questions, least = FAULTS[label]
    domain = label.replace("_", "-") + ".stub.lab.example"
    # a busy machine may be slow each time, but a needless wait is there always
    for _ in range(10):
        asked, began = stub.count(domain, "MX"), time.monotonic()
        # where no answer is late, it has time on a busy machine
        [route] = routes("-s", stub.server, "-t", "400" if least else "5000",
                         "-a", "2", "-4", domain)
        took = time.monotonic() - began
        assert re.fullmatch(wanted, route), route
        # a busy machine may lose an answer
        assert questions <= stub.count(domain, "MX") - asked <= questions + 2
        assert least <= took
        if took < least + 1.5:
            return
    assert took < least + 1.5


def test_the_second_server_answers_when_the_first_does_not(stub):
    # a busy machine may be slow each time, a wait for the first is always there
    took = []
    while not took or (took[-1] >= 1 and len(took) < 10):
        began = time.monotonic()
        [route] = routes("-s", f"127.0.0.1:{free_port()}", "-s",
                         stub.server, "-4", "two.lab.example")
        took.append(time.monotonic() - began)
        assert route.startswith("route")
    assert took[-1] < 1


def test_stale_answers_are_asked_for_again_each_time(stub, asker):
    resolver = asker("-s", stub.server, "-4")
    for _ in range(3):
        assert resolver.ask("stale.stub.lab.example").startswith("route")
    assert stub.count("stale.stub.lab.example", "MX") == 3
