# SPDX-License-Identifier: ISC
"""Routes found in real DNS: knot as the server, a stub that misbehaves by
name, and tests/tools/dnsroute as the resolver with its cache.

OSTLER_BUILD names the build tree (default: the source tree)."""

import os
import pathlib
import re
import shutil
import socket
import socketserver
import subprocess
import threading
import time

import dns.edns
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rrset
import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("OSTLER_BUILD", TOP))
DNSROUTE = BUILD / "tests" / "tools" / "dnsroute"
HOST = "127.0.0.1"

pytestmark = [
    pytest.mark.skipif(not DNSROUTE.exists(), reason=f"no {DNSROUTE}"),
    pytest.mark.skipif(shutil.which("knotd") is None, reason="no knotd"),
]

ZONE = """\
$ORIGIN lab.example.
$TTL 60
@ SOA ns hm 1 3600 600 86400 40
@ NS ns
ns A 127.0.0.1
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
moving 2 MX 10 mx1
""" + "".join(f"many MX 10 mx{i}-{'x' * 40}\n" for i in range(61)) + "".join(
    f"mx{i}-{'x' * 40} A 192.0.2.7\n" for i in range(61))

BULK = """\
$ORIGIN bulk.example.
$TTL 600
@ SOA ns hm 1 3600 600 86400 40
@ NS ns
ns A 127.0.0.1
""" + "".join(f"d{i} MX 10 mx{i}\n" for i in range(10000))


SAFE = """\
$ORIGIN safe.example.
$TTL 60
@ SOA ns hm 1 3600 600 86400 40
@ NS ns
ns A 127.0.0.1
a MX 10 mx1
mx1 A 192.0.2.1
mixed MX 10 mx2.lab.example.
"""


def free_port():
    """A port that is free for UDP and TCP at this moment."""
    while True:
        with socket.socket() as tcp, \
                socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind((HOST, 0))
            try:
                udp.bind(tcp.getsockname())
            except OSError:
                continue
            return tcp.getsockname()[1]


def wait_for(claim, seconds=10):
    end = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def is_answering(port):
    question = dns.message.make_query("lab.example", "SOA")
    try:
        dns.query.udp(question, HOST, port=port, timeout=0.2)
    except (dns.exception.Timeout, OSError):
        return False
    return True


class Knot:
    """An authoritative server whose records can be changed."""

    def __init__(self, folder):
        self.folder = folder
        self.port = free_port()
        self.process = None
        folder.mkdir()
        (folder / "lab.zone").write_text(ZONE)
        (folder / "bulk.zone").write_text(BULK)
        (folder / "safe.zone").write_text(SAFE)
        (folder / "knot.conf").write_text(f"""\
server:
  rundir: {folder}
  listen: {HOST}@{self.port}
database:
  storage: {folder}
control:
  listen: {folder}/knot.sock
log:
  - target: {folder}/knot.log
    any: warning
zone:
  - domain: lab.example
    file: {folder}/lab.zone
    zonefile-sync: -1
    zonefile-load: whole
  - domain: bulk.example
    file: {folder}/bulk.zone
  - domain: safe.example
    file: {folder}/safe.zone
    zonefile-sync: -1
    zonefile-load: whole
    dnssec-signing: on
""")
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            ["knotd", "-c", str(self.folder / "knot.conf")],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: is_answering(self.port))

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def change(self, *commands):
        """Replaces records at once: "unset NAME TYPE", "set NAME ..."."""
        def control(*words):
            subprocess.run(["knotc", "-s", str(self.folder / "knot.sock"),
                            *words], check=True, stdout=subprocess.DEVNULL)
        control("zone-begin", "lab.example")
        for command in commands:
            verb, *words = command.split()
            control(f"zone-{verb}", "lab.example", *words)
        control("zone-commit", "lab.example")


class Unbound:
    """A validating resolver on this host, in front of knot."""

    def __init__(self, folder, knot, is_anchor_right=True):
        self.port = free_port()
        folder.mkdir()
        question = dns.message.make_query("safe.example", "DNSKEY")
        answer = dns.query.udp(question, HOST, port=knot.port)
        [key] = [record for records in answer.answer for record in records
                 if record.flags == 257]
        anchor = f"safe.example. IN DNSKEY {key}\n"
        if not is_anchor_right:
            anchor = anchor.replace(anchor.split()[-1][:8], "AAAAAAAA")
        (folder / "anchor").write_text(anchor)
        stubs = "".join(f"""\
stub-zone:
  name: "{zone}.example"
  stub-addr: {HOST}@{knot.port}
""" for zone in ("safe", "lab"))
        (folder / "unbound.conf").write_text(f"""\
server:
  interface: {HOST}@{self.port}
  do-daemonize: no
  username: ""
  chroot: ""
  directory: "{folder}"
  pidfile: ""
  use-syslog: no
  do-not-query-localhost: no
  trust-anchor-file: "{folder}/anchor"
  ede: yes
  num-threads: 1
{stubs}""")
        self.process = subprocess.Popen(
            ["unbound", "-c", str(folder / "unbound.conf")],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: is_answering(self.port))

    def stop(self):
        self.process.terminate()
        self.process.wait()


@pytest.fixture(scope="module")
def knot(tmp_path_factory):
    server = Knot(tmp_path_factory.mktemp("dns") / "knot")
    yield server
    server.stop()


def routes(*arguments):
    """Each route that dnsroute prints, as lines without the final dot."""
    done = subprocess.run([DNSROUTE, *arguments], capture_output=True,
                          text=True, timeout=60)
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
        assert self.process.wait(10) == 0


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
    [route] = routes("-s", f"{HOST}:{knot.port}", domain)
    assert re.fullmatch(CASES[domain], route), route


def test_a_set_too_large_for_udp_comes_by_tcp(knot):
    [route] = routes("-s", f"{HOST}:{knot.port}", "many.lab.example")
    hosts = re.findall(r"^host 10 mx(\d+)-", route, re.M)
    assert len(set(hosts)) == 20, "the best 20 of 61"


def test_mail_follows_an_mx_that_moves_within_its_ttl(knot, asker):
    resolver = asker("-s", f"{HOST}:{knot.port}")
    knot.change("unset moving MX", "set moving 2 MX 10 mx1")
    assert "mx1.lab" in resolver.ask("moving.lab.example")
    knot.change("unset moving MX", "set moving 2 MX 10 mx2")
    changed = time.monotonic()
    last_old = changed
    while True:
        asked = time.monotonic()
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
    knot.change("unset moving MX", "set moving 2 MX 10 mx1")
    assert "mx1.lab" in asker("-F", "-s", f"{HOST}:{knot.port}").ask(
        "moving.lab.example")


def test_an_outage_is_no_answer_and_ends_by_itself(tmp_path, asker):
    server = Knot(tmp_path / "knot")
    resolver = asker("-s", f"{HOST}:{server.port}", "-t", "200")
    try:
        server.change("unset moving MX", "set moving 1 MX 10 mx1")
        assert resolver.ask("moving.lab.example").startswith("route")
        server.stop()
        wait_for(lambda: "temporary" in resolver.ask("moving.lab.example"), 3)
        assert "no DNS server can be reached" in resolver.ask("two.lab.example")
        server.start()
        wait_for(lambda: resolver.ask("two.lab.example")
                 .startswith("route"), 15)
    finally:
        server.stop()


def test_resolv_conf_is_followed_when_it_is_replaced(knot, tmp_path, asker):
    path = tmp_path / "resolv.conf"
    path.write_text(f"nameserver [{HOST}]:{free_port()}\n")
    resolver = asker("-r", str(path))
    assert "no DNS server can be reached" in resolver.ask("two.lab.example")
    (tmp_path / "new").write_text(f"# moved\nnameserver [{HOST}]:{knot.port}\n")
    (tmp_path / "new").rename(path)
    wait_for(lambda: resolver.ask("two.lab.example").startswith("route"), 15)


def test_ten_thousand_names_at_once_and_none_is_lost(knot, capsys):
    done = subprocess.run(
        [DNSROUTE, "-s", f"{HOST}:{knot.port}", "-n", "10000",
         "d%u.bulk.example"], capture_output=True, text=True, timeout=120,
        check=True)
    assert "new 10000 lookups: 0 failed" in done.stdout
    assert "cached 10000 lookups: 0 failed" in done.stdout
    packets = int(re.search(r"packets (\d+)", done.stdout).group(1))
    assert packets >= 10000
    with capsys.disabled():
        print("\n" + done.stdout, end="")


@pytest.mark.skipif(shutil.which("unbound") is None, reason="no unbound")
def test_security_is_what_a_validating_resolver_says(knot, tmp_path):
    right = Unbound(tmp_path / "right", knot)
    wrong = Unbound(tmp_path / "wrong", knot, is_anchor_right=False)
    try:
        safe, mixed, plain = sorted(
            routes("-s", f"{HOST}:{right.port}", "a.safe.example",
                   "mixed.safe.example", "two.lab.example"))
        assert "host 10 mx1.safe.example 25 secure 192.0.2.1" in safe
        assert "secure" not in mixed.replace("mixed.", "")
        assert "secure" not in plain
        # without validation in front nothing is secure
        [direct] = routes("-s", f"{HOST}:{knot.port}", "a.safe.example")
        assert "secure" not in direct
        # a wrong anchor: no data at all, and mail waits
        [bogus] = routes("-s", f"{HOST}:{wrong.port}", "a.safe.example")
        assert re.match(r'none .* temporary ".* cannot be trusted: DNSSEC',
                        bogus), bogus
    finally:
        right.stop()
        wrong.stop()


# ------------------------------------------------------------------ the stub

class Stub:
    """Answers "BEHAVIOUR.anything" over UDP and TCP as the label says."""

    def __init__(self):
        self.seen = {}  # name -> packets
        self.lock = threading.Lock()
        self.port = free_port()
        stub = self

        class Udp(socketserver.BaseRequestHandler):
            def handle(self):
                for reply in stub.replies(self.request[0], False):
                    self.request[1].sendto(reply, self.client_address)

        class Tcp(socketserver.BaseRequestHandler):
            def handle(self):
                size = int.from_bytes(self.request.recv(2), "big")
                packet = self.request.recv(size)
                for reply in stub.replies(packet, True):
                    self.request.sendall(len(reply).to_bytes(2, "big") + reply)

        self.servers = [
            socketserver.ThreadingUDPServer((HOST, self.port), Udp),
            socketserver.ThreadingTCPServer((HOST, self.port), Tcp)]
        for server in self.servers:
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, args=(0.05,),
                             daemon=True).start()

    def close(self):
        for server in self.servers:
            server.shutdown()
            server.server_close()

    def replies(self, packet, is_tcp):
        question = dns.message.from_wire(packet)
        name = question.question[0].name
        what = name.labels[0].decode()
        with self.lock:
            count = self.seen[what] = self.seen.get(what, 0) + 1
        good = dns.message.make_response(question, recursion_available=True)
        if dns.rdatatype.to_text(question.question[0].rdtype) == "MX":
            good.answer.append(dns.rrset.from_text(
                name, 60, "IN", "MX", "10 [192.0.2.1]."
                if what == "badmx" else "10 good.stub.example."))
        elif dns.rdatatype.to_text(question.question[0].rdtype) == "A":
            good.answer.append(dns.rrset.from_text(
                name, 60, "IN", "A", "192.0.2.1"))
        make = getattr(self, "do_" + what, None)
        if make is None:
            return [good.to_wire()]
        return make(good, count, is_tcp)

    @staticmethod
    def empty(good, rcode=dns.rcode.NOERROR):
        reply = dns.message.Message(id=good.id)
        reply.flags = good.flags
        reply.question = good.question
        reply.set_rcode(rcode)
        return reply

    def do_silent(self, good, count, is_tcp):
        return []

    def do_lossy(self, good, count, is_tcp):
        return [good.to_wire()] if count > 1 else []

    def do_servfail(self, good, count, is_tcp):
        return [self.empty(good, dns.rcode.SERVFAIL).to_wire()]

    def do_bogus(self, good, count, is_tcp):
        reply = self.empty(good, dns.rcode.SERVFAIL)
        reply.use_edns(0, options=[dns.edns.EDEOption(6, "forged")])
        return [reply.to_wire()]

    def do_stale(self, good, count, is_tcp):
        good.use_edns(0, options=[dns.edns.EDEOption(3, "stale")])
        return [good.to_wire()]

    def do_formerr(self, good, count, is_tcp):
        if count == 1:
            return [self.empty(good, dns.rcode.FORMERR).to_wire()]
        return [good.to_wire()]

    def do_badvers(self, good, count, is_tcp):
        if count > 1:
            return [good.to_wire()]
        reply = self.empty(good)
        reply.use_edns(0)
        reply.set_rcode(dns.rcode.BADVERS)
        return [reply.to_wire()]

    def do_cut(self, good, count, is_tcp):
        if is_tcp:
            return [good.to_wire()]
        reply = self.empty(good)
        reply.flags |= dns.flags.TC
        return [reply.to_wire()]

    def do_noqr(self, good, count, is_tcp):
        wire = bytearray(good.to_wire())
        if not is_tcp:
            wire[2] &= 0x7f
        return [bytes(wire)]

    def do_wrongid(self, good, count, is_tcp):
        wire = bytearray(good.to_wire())
        wire[0] ^= 0xff
        return [bytes(wire), good.to_wire()]

    def do_tiny(self, good, count, is_tcp):
        return [b"", b"abc", good.to_wire()]

    def do_broken(self, good, count, is_tcp):
        return [good.to_wire()[:-3]]


@pytest.fixture(scope="module")
def stub():
    server = Stub()
    yield server
    server.close()


FAULTS = {  # label: what comes out, seconds it may take at least and most
    "good": (r"route .* ttl=60\n.*", 0, 1),
    "silent": (r'none .* temporary ".*: timeout" .*', 0.8, 1.2),
    "lossy": (r"route .*\n.*", 0.4, 0.8),
    "servfail": (r'none .* temporary ".*: SERVFAIL" .*', 0, 1),
    "bogus": (r'none .* temporary ".*DNSSEC.*" .*', 0, 1),
    "stale": (r"route .* ttl=0\n.*", 0, 1),
    "formerr": (r"route .*\n.*", 0, 1),
    "badvers": (r"route .*\n.*", 0, 1),
    "cut": (r"route .*\n.*", 0, 1),
    "noqr": (r"route .*\n.*", 0, 1),
    "wrongid": (r"route .*\n.*", 0, 1),
    "tiny": (r"route .*\n.*", 0, 1),
    "broken": (r'none .* temporary ".*: malformed answer" .*', 0, 1),
    "badmx": (r'none .* permanent ".*no valid host.*" .*', 0, 1),
}


@pytest.mark.parametrize("label", FAULTS)
def test_a_faulty_server_is_seen_through(stub, label):
    wanted, least, most = FAULTS[label]
    began = time.monotonic()
    [route] = routes("-s", f"{HOST}:{stub.port}", "-t", "400", "-a", "2", "-4",
                     label + ".stub.example")
    took = time.monotonic() - began
    assert re.fullmatch(wanted, route), route
    assert least <= took <= most + 0.5  # the machine may be busy


def test_the_second_server_answers_when_the_first_does_not(stub):
    began = time.monotonic()
    [route] = routes("-s", f"{HOST}:{free_port()}", "-s",
                     f"{HOST}:{stub.port}", "-4", "good.stub.example")
    assert route.startswith("route")
    assert time.monotonic() - began < 1


def test_stale_answers_are_asked_for_again_each_time(stub, asker):
    resolver = asker("-s", f"{HOST}:{stub.port}", "-4")
    before = stub.seen.get("stale", 0)
    for _ in range(3):
        assert resolver.ask("stale.stub.example").startswith("route")
    assert stub.seen["stale"] == before + 3
