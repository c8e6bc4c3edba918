# SPDX-License-Identifier: ISC
"""knotd, authoritative for zones that tests change while it runs."""

import ipaddress
import subprocess

import dns.exception
import dns.message
import dns.query

from lab.base import PATIENCE, end_process, free_port, wait_for
from lab.need import need_program

#: What names live in, and whether its records are signed. Unbound trusts the
#: key of signed.example, and for bogus.example another one than it has.
ZONES = {
    "example": False,
    "signed.example": True,
    "bogus.example": True,
    "127.in-addr.arpa": False,
}


class Names:
    """A name belongs to the longest zone that it ends with."""

    def __init__(self, folder, zones=None, extra=None, negative_ttl=1):
        """zones: name -> is it signed; extra: name -> lines of its file that
        stay as they are; negative_ttl: seconds."""
        need_program("knotd", "knot")
        self.folder = folder / "knot"
        self.folder.mkdir()
        self.ip, self.port = "127.0.0.1", free_port()
        self.zones = dict(ZONES if zones is None else zones)
        self.extra = dict(extra or {})
        self.negative_ttl = negative_ttl
        self.records = {zone: {} for zone in self.zones}
        self.serial = 0
        self.process = None
        self.is_held = False
        for zone in self.zones:
            self._write_zone(zone)
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
  kasp-db-max-size: 5M
  timer-db-max-size: 1M
control:
  listen: {self.folder}/sock
log:
  - target: {self.folder}/knot.log
    any: warning
policy:
  - id: one
    single-type-signing: on
    algorithm: ecdsap256sha256
template:
  - id: default
    storage: {self.folder}
    file: "zone.%s"
    zonefile-sync: -1
    zonefile-load: whole
    journal-content: none
    dnssec-policy: one
zone:
""" + "".join(f"  - domain: {zone}\n"
              f"    dnssec-signing: {'on' if is_signed else 'off'}\n"
              for zone, is_signed in self.zones.items()))
        self.start()

    @property
    def server(self):
        """As resolver.servers wants it."""
        return f"{self.ip}:{self.port}"

    # ------------------------------------------------------------- records

    def _zone_of(self, name):
        return max((zone for zone in self.zones
                    if name == zone or name.endswith("." + zone)), key=len)

    def _write_zone(self, zone):
        # signing makes serials of its own between two of ours
        self.serial += 100
        lines = [f"$ORIGIN {zone}.", "$TTL 60",
                 f"@ SOA ns hm {self.serial} 3600 600 86400 "
                 f"{self.negative_ttl}",
                 "@ NS ns", "ns A 127.0.0.1", self.extra.get(zone, "")]
        for (name, _), values in self.records[zone].items():
            lines += [f"{name}. {value}" for value in values]
        (self.folder / f"zone.{zone}").write_text("\n".join(lines) + "\n")

    def _changed(self, zone):
        if self.is_held:
            return
        self._write_zone(zone)
        if self.process is not None:
            # -b: returns when the new records are answered
            subprocess.run(["knotc", "-b", "-s", str(self.folder / "sock"),
                            "zone-reload", zone], check=True,
                           capture_output=True)

    def set(self, name, kind, *values, ttl=60):
        """All records of one kind that a name has; none deletes them."""
        zone = self._zone_of(name)
        self.records[zone][name, kind] = [f"{ttl} {kind} {v}" for v in values]
        self._changed(zone)

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

    def reverse(self, address, *names, ttl=60):
        """What an address of 127/8 is called."""
        self.set(ipaddress.ip_address(address).reverse_pointer, "PTR",
                 *(f"{name}." for name in names), ttl=ttl)

    def at_once(self, change):
        """All that change() sets becomes visible together."""
        self.is_held = True
        change()
        self.is_held = False
        for zone in self.zones:
            self._changed(zone)

    def key(self, zone):
        """The zone's DNSKEY record, as text."""
        question = dns.message.make_query(zone, "DNSKEY")
        answer = dns.query.udp(question, self.ip, port=self.port,
                               timeout=PATIENCE)
        [key] = [record for records in answer.answer for record in records
                 if record.flags == 257]
        return key.to_text()

    # ---------------------------------------------------------------- life

    def start(self):
        with open(self.folder / "out", "ab") as out:
            self.process = subprocess.Popen(
                ["knotd", "-c", str(self.folder / "knot.conf")],
                stdout=out, stderr=out)
        wait_for(self._is_answering, "knotd's answer")

    def _is_answering(self):
        """For all zones: signing takes a moment."""
        assert self.process.poll() is None, \
            f"knotd has ended: {self.process.returncode}\n" + "".join(
                path.read_text() for path in (self.folder / "out",
                                              self.folder / "knot.log")
                if path.exists())
        return all(self._answers(zone) for zone in self.zones)

    def _answers(self, zone):
        question = dns.message.make_query(zone, "SOA")
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
