# SPDX-License-Identifier: ISC
"""DNS: knot with one zone that can change, and a proxy that counts."""

import socket
import subprocess
import threading
import time

import dns.exception
import dns.message
import dns.query
import dns.rdatatype

from .base import end_process, free_port, wait_for


class Names:
    """knotd, authoritative for `example` and for reverse names of 127/8."""

    def __init__(self, folder):
        self.folder = folder / "knot"
        self.folder.mkdir()
        self.ip, self.port = "127.0.0.1", free_port()
        self.records = {}
        self.serial = 0
        self.process = None
        self._write_zone()
        (self.folder / "knot.conf").write_text(f"""\
server:
  rundir: {self.folder}
  listen: {self.ip}@{self.port}
  background-workers: 1
  udp-workers: 1
  tcp-workers: 1
database:
  storage: {self.folder}
  journal-db-max-size: 2M
control:
  listen: {self.folder}/sock
log:
  - target: {self.folder}/knot.log
    any: warning
zone:
  - domain: example
    file: {self.folder}/zone
    zonefile-sync: -1
    zonefile-load: whole
    journal-content: none
""")
        self.start()

    @property
    def server(self):
        """As resolver.servers wants it."""
        return f"{self.ip}:{self.port}"

    def _write_zone(self):
        self.serial += 1
        lines = ["$ORIGIN example.", "$TTL 60",
                 f"@ SOA ns hm {self.serial} 3600 600 86400 1",
                 "@ NS ns", "ns A 127.0.0.1"]
        for (name, _), values in self.records.items():
            lines += [f"{name}. {value}" for value in values]
        (self.folder / "zone").write_text("\n".join(lines) + "\n")

    def _changed(self):
        self._write_zone()
        if self.process is not None:
            subprocess.run(["knotc", "-b", "-s", str(self.folder / "sock"),
                            "zone-reload", "example"], check=True,
                           capture_output=True)

    def set(self, name, kind, *values, ttl=60):
        """All records of one kind that a name has; none deletes them."""
        self.records[name, kind] = [f"{ttl} {kind} {v}" for v in values]
        self._changed()

    def mx(self, name, *hosts, ttl=60):
        """hosts: "mx.b.example", or (20, "mx.b.example")."""
        pairs = [h if isinstance(h, tuple) else (10, h) for h in hosts]
        self.set(name, "MX", *(f"{preference} {host}."
                               for preference, host in pairs), ttl=ttl)

    def host(self, name, *addresses, ttl=60):
        self.set(name, "A", *(a for a in addresses if ":" not in a), ttl=ttl)
        self.set(name, "AAAA", *(a for a in addresses if ":" in a), ttl=ttl)

    def domain(self, name, *addresses, ttl=60):
        """A mail domain with one MX that has these addresses."""
        self.host(f"mx.{name}", *addresses, ttl=ttl)
        self.mx(name, f"mx.{name}", ttl=ttl)

    def start(self):
        self.process = subprocess.Popen(
            ["knotd", "-c", str(self.folder / "knot.conf")],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(self._is_answering, "knotd's answer")

    def _is_answering(self):
        assert self.process.poll() is None, \
            "knotd has ended: " + (self.folder / "knot.log").read_text()
        question = dns.message.make_query("example", "SOA")
        try:
            answer = dns.query.udp(question, self.ip, port=self.port,
                                   timeout=0.2)
        except (dns.exception.DNSException, OSError):
            return False
        return answer.rcode() == 0

    def stop(self):
        if self.process is not None:
            end_process(self.process)
        self.process = None


class Resolver:
    """unbound in front of Names: a cache that ostler has no say in."""

    def __init__(self, folder, names):
        self.folder = folder / "unbound"
        self.folder.mkdir()
        self.ip, self.port = "127.0.0.1", free_port()
        (self.folder / "unbound.conf").write_text(f"""\
server:
  interface: {self.ip}@{self.port}
  do-daemonize: no
  username: ""
  chroot: ""
  directory: "{self.folder}"
  pidfile: ""
  use-syslog: no
  logfile: "{self.folder}/unbound.log"
  do-not-query-localhost: no
  module-config: "iterator"
  num-threads: 1
forward-zone:
  name: "."
  forward-addr: {names.ip}@{names.port}
""")
        self.process = subprocess.Popen(
            ["unbound", "-c", str(self.folder / "unbound.conf")],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: self.ask("example", "SOA"), "unbound's answer")

    @property
    def server(self):
        return f"{self.ip}:{self.port}"

    def ask(self, name, kind):
        """Its answer, which it then keeps."""
        assert self.process.poll() is None, "unbound has ended"
        question = dns.message.make_query(name, kind)
        try:
            return dns.query.udp(question, self.ip, port=self.port, timeout=2)
        except (dns.exception.DNSException, OSError):
            return None

    def stop(self):
        end_process(self.process)


class Counter:
    """A UDP proxy in front of a server that remembers the questions."""

    def __init__(self, names):
        self.names = names
        self.questions = []  # (time, name, kind)
        self.socket = socket.socket(type=socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(0.2)
        self.is_running = True
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    @property
    def server(self):
        return "127.0.0.1:%d" % self.socket.getsockname()[1]

    def _run(self):
        while self.is_running:
            try:
                packet, client = self.socket.recvfrom(4096)
            except socket.timeout:
                continue
            question = dns.message.from_wire(packet).question[0]
            self.questions.append(
                (time.monotonic(), question.name.to_text(True),
                 dns.rdatatype.to_text(question.rdtype)))
            with socket.socket(type=socket.SOCK_DGRAM) as upstream:
                upstream.settimeout(2)
                upstream.sendto(packet, (self.names.ip, self.names.port))
                try:
                    self.socket.sendto(upstream.recv(65535), client)
                except OSError:
                    continue

    def count(self, name, kind):
        return sum(1 for _, n, k in self.questions
                   if n == name and k == kind)

    def stop(self):
        self.is_running = False
        self.thread.join()
        self.socket.close()
