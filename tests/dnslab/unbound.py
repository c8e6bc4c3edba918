# SPDX-License-Identifier: ISC
"""unbound in front of Names: it validates, and it has a cache that ostler
has no say in."""

import re
import subprocess

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.query

from lab.base import PATIENCE, end_process, free_port, wait_for
from lab.need import need_program


class Unbound:
    def __init__(self, folder, names, settings=(), wrong=("bogus.example",)):
        """settings: lines of its section `server`; wrong: the signed zones
        whose trust anchor shall be another key than they have."""
        need_program("unbound")
        self.folder = folder / "unbound"
        self.folder.mkdir()
        self.names = names
        self.ip, self.port = "127.0.0.1", free_port()
        self.settings = list(settings)
        self.process = None
        self.trust(wrong)

    @property
    def server(self):
        """As resolver.servers wants it."""
        return f"{self.ip}:{self.port}"

    def trust(self, wrong=()):
        """(Re)starts it with the right anchors but for these zones."""
        self.stop()
        anchors = []
        for zone, is_signed in self.names.zones.items():
            if is_signed:
                key = self.names.key(zone)
                if zone in wrong:
                    # another key of the same kind
                    key = re.sub(r"(\S{8})(?=\S*$)", "AAAAAAAA", key, 1)
                anchors.append(f"{zone}. IN DNSKEY {key}\n")
        (self.folder / "anchors").write_text("".join(anchors))
        lines = "".join(f"  {line}\n" for line in self.settings)
        # "." keeps it from looking for the servers of the real root
        stubs = "".join(f"""\
stub-zone:
  name: "{zone}"
  stub-addr: {self.names.ip}@{self.names.port}
""" for zone in (".", *self.names.zones))
        (self.folder / "unbound.conf").write_text(f"""\
server:
  interface: {self.ip}@{self.port}
  do-daemonize: no
  username: ""
  chroot: ""
  directory: "{self.folder}"
  pidfile: ""
  use-syslog: no
  # those are others' to listen on
  outgoing-port-avoid: 0-32767
  logfile: "{self.folder}/unbound.log"
  do-not-query-localhost: no
  trust-anchor-file: "{self.folder}/anchors"
  ede: yes
  num-threads: 1
  # nothing is known of a name but what was asked of it
  aggressive-nsec: no
  # a server that was down is asked again at once
  infra-host-ttl: 1
  infra-keep-probing: yes
  infra-cache-max-rtt: 1000
  outbound-msg-retry: 2
  local-zone: "127.in-addr.arpa." nodefault
{lines}{stubs}""")
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            ["unbound", "-c", str(self.folder / "unbound.conf")],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(self._is_up, "unbound's answer")

    def _is_up(self):
        # a name that no test asks for, of which it keeps nothing
        return self.ask("version.bind", "TXT", "CH", 0.1) is not None

    def stop(self):
        if self.process is not None:
            end_process(self.process)
        self.process = None

    def ask(self, name, kind, class_="IN", seconds=PATIENCE):
        """Its answer, which it then keeps; None: none came."""
        assert self.process.poll() is None, "unbound has ended: " + \
            (self.folder / "unbound.log").read_text()
        question = dns.message.make_query(name, kind, class_)
        question.flags |= dns.flags.AD
        question.use_edns(0)  # or it could not say why (RFC 8914)
        try:
            return dns.query.udp(question, self.ip, port=self.port,
                                 timeout=seconds)
        except (dns.exception.DNSException, OSError):
            return None

    def is_stale(self, name, kind):
        """Does it say that it kept this past its TTL?"""
        answer = self.ask(name, kind)
        return answer is not None and any(
            option.otype == dns.edns.OptionType.EDE and option.code == 3
            for option in answer.options)

    def is_secure(self, name, kind):
        """Does it say so?"""
        return bool(self.ask(name, kind).flags & dns.flags.AD)
