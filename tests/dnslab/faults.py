# SPDX-License-Identifier: ISC
"""A proxy before a DNS server that breaks answers, and counts questions.

A name whose first label is the name of a behaviour below, or for which
set() asked for one, gets it; all others get what the server behind says."""

import asyncio
import collections
import threading
import time

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from lab.base import PATIENCE, free_port

BEHAVIOURS = {}


def behaviour(function):
    """function(truth, count, is_tcp): packets to send in turn, a number
    being a pause in seconds; None leaves a TCP connection open in silence.

    truth: the server's answer, which may be changed; count: how often this
    was asked, from 1."""
    BEHAVIOURS[function.__name__.rstrip("_")] = function
    return function


def _bare(truth, rcode=dns.rcode.NOERROR):
    """The same without any record."""
    reply = dns.message.Message(id=truth.id)
    reply.flags = truth.flags & ~dns.flags.AA
    reply.question = truth.question
    reply.set_rcode(rcode)
    return reply


def _name(truth):
    return truth.question[0].name


def _with_option(truth, code, text):
    truth.use_edns(0, options=[dns.edns.EDEOption(code, text)])
    return [truth.to_wire()]


# ------------------------------------------------------------- no answer

@behaviour
def silent(truth, count, is_tcp):
    return None


@behaviour
def lossy(truth, count, is_tcp):
    """The first packet is lost."""
    return [truth.to_wire()] if count > 1 else None


@behaviour
def slow(truth, count, is_tcp):
    return [0.3, truth.to_wire()]


# ---------------------------------------------------------- error answers

@behaviour
def servfail(truth, count, is_tcp):
    return [_bare(truth, dns.rcode.SERVFAIL).to_wire()]


@behaviour
def refused(truth, count, is_tcp):
    return [_bare(truth, dns.rcode.REFUSED).to_wire()]


@behaviour
def notimp(truth, count, is_tcp):
    return [_bare(truth, dns.rcode.NOTIMP).to_wire()]


@behaviour
def formerr(truth, count, is_tcp):
    """To the first question, which has EDNS."""
    if count == 1:
        return [_bare(truth, dns.rcode.FORMERR).to_wire()]
    return [truth.to_wire()]


@behaviour
def badvers(truth, count, is_tcp):
    """To the first question; its code is in the OPT record."""
    if count > 1:
        return [truth.to_wire()]
    reply = _bare(truth)
    reply.use_edns(0)
    reply.set_rcode(dns.rcode.BADVERS)
    return [reply.to_wire()]


@behaviour
def bogus(truth, count, is_tcp):
    reply = _bare(truth, dns.rcode.SERVFAIL)
    return _with_option(reply, 6, "forged")


@behaviour
def stale(truth, count, is_tcp):
    """With old records, as serve-expired has it."""
    for records in truth.answer:
        records.ttl = 30
    return _with_option(truth, 3, "stale")


@behaviour
def stale_nxdomain(truth, count, is_tcp):
    return _with_option(_bare(truth, dns.rcode.NXDOMAIN), 19, "stale")


@behaviour
def lame(truth, count, is_tcp):
    """Points to other servers instead of asking them."""
    reply = _bare(truth)
    reply.flags &= ~dns.flags.RA
    reply.authority.append(dns.rrset.from_text(
        "example.", 60, "IN", "NS", "elsewhere.example."))
    return [reply.to_wire()]


# --------------------------------------------------------- cut and by TCP

@behaviour
def cut(truth, count, is_tcp):
    if is_tcp:
        return [truth.to_wire()]
    reply = _bare(truth)
    reply.flags |= dns.flags.TC
    return [reply.to_wire()]


@behaviour
def cut_closed(truth, count, is_tcp):
    return [] if is_tcp else cut(truth, count, False)


@behaviour
def cut_silent(truth, count, is_tcp):
    return None if is_tcp else cut(truth, count, False)


# ------------------------------------------- packets that are not answers

@behaviour
def noqr(truth, count, is_tcp):
    wire = bytearray(truth.to_wire())
    if not is_tcp:
        wire[2] &= 0x7f
    return [bytes(wire)]


@behaviour
def wrongid(truth, count, is_tcp):
    wire = bytearray(truth.to_wire())
    wire[0] ^= 0xff
    return [bytes(wire), truth.to_wire()]


@behaviour
def wrongquestion(truth, count, is_tcp):
    other = dns.message.from_wire(truth.to_wire())
    other.question = [dns.rrset.RRset(
        dns.name.from_text("other.example."), truth.question[0].rdclass,
        truth.question[0].rdtype)]
    return [other.to_wire(), truth.to_wire()]


@behaviour
def noquestion(truth, count, is_tcp):
    other = dns.message.from_wire(truth.to_wire())
    other.question = []
    return [other.to_wire(), truth.to_wire()]


@behaviour
def wrongcase(truth, count, is_tcp):
    """What a forger sends who did not see the question's letters."""
    if is_tcp:
        return [truth.to_wire()]
    wire = bytearray(truth.to_wire())
    at = 12
    while wire[at] != 0:
        for letter in range(at + 1, at + 1 + wire[at]):
            if chr(wire[letter]).isalpha():
                wire[letter] ^= 0x20
        at += 1 + wire[at]
    return [bytes(wire)]


@behaviour
def empty(truth, count, is_tcp):
    return [b"", truth.to_wire()] if not is_tcp else [truth.to_wire()]


@behaviour
def tiny(truth, count, is_tcp):
    return [truth.to_wire()[:6], truth.to_wire()]


# -------------------------------------------------------- damaged packets

@behaviour
def broken(truth, count, is_tcp):
    return [truth.to_wire()[:-3]]


def _first_answer(wire):
    """Where the first record behind the question begins."""
    at = 12
    while wire[at] != 0:
        at += 1 + wire[at]
    return at + 5


@behaviour
def pointerloop(truth, count, is_tcp):
    wire = bytearray(truth.to_wire())
    at = _first_answer(wire)
    wire[at:at + 2] = (0xc000 | at).to_bytes(2, "big")
    return [bytes(wire)]


@behaviour
def longdata(truth, count, is_tcp):
    """A record that claims to be longer than the packet."""
    wire = bytearray(truth.to_wire())
    at = _first_answer(wire)  # its name is a pointer
    wire[at + 10:at + 12] = (4000).to_bytes(2, "big")
    return [bytes(wire)]


@behaviour
def toofew(truth, count, is_tcp):
    """More records announced than there are."""
    wire = bytearray(truth.to_wire())
    wire[6:8] = (50).to_bytes(2, "big")
    return [bytes(wire)]


# ------------------------------------------------------- strange contents

@behaviour
def otherowner(truth, count, is_tcp):
    for records in truth.answer:
        records.name = dns.name.from_text("other.example.")
    return [truth.to_wire()]


@behaviour
def cnameloop(truth, count, is_tcp):
    name = _name(truth)
    other = dns.name.Name((b"loop",) + name.labels)
    reply = _bare(truth)
    reply.answer = [
        dns.rrset.from_text(name, 60, "IN", "CNAME", other.to_text()),
        dns.rrset.from_text(other, 60, "IN", "CNAME", name.to_text())]
    return [reply.to_wire()]


@behaviour
def badmx(truth, count, is_tcp):
    """An address where a name belongs."""
    reply = _bare(truth)
    if truth.question[0].rdtype == dns.rdatatype.MX:
        reply.answer = [dns.rrset.from_text(_name(truth), 60, "IN", "MX",
                                            "10 [192.0.2.1].")]
    return [reply.to_wire()]


@behaviour
def nosoa(truth, count, is_tcp):
    """A negative answer that nobody may keep."""
    return [_bare(truth, dns.rcode.NXDOMAIN).to_wire()]


@behaviour
def dangling(truth, count, is_tcp):
    """A CNAME that leads to a name which does not exist."""
    reply = _bare(truth, dns.rcode.NXDOMAIN)
    reply.answer = [dns.rrset.from_text(_name(truth), 10, "IN", "CNAME",
                                        "nowhere.example.")]
    reply.authority = [dns.rrset.from_text(
        "example.", 3600, "IN", "SOA", "ns.example. hm.example. 1 1 1 1 40")]
    return [reply.to_wire()]


@behaviour
def shortsoa(truth, count, is_tcp):
    """The SOA's own TTL is shorter than the minimum it names."""
    reply = _bare(truth, dns.rcode.NXDOMAIN)
    reply.authority = [dns.rrset.from_text(
        "example.", 30, "IN", "SOA", "ns.example. hm.example. 1 1 1 1 999")]
    return [reply.to_wire()]


def _ttl(truth, *seconds):
    """Each record with a TTL of its own."""
    wire = bytearray(truth.to_wire())
    at = _first_answer(wire)
    for index in range(sum(len(records) for records in truth.answer)):
        ttl = seconds[index % len(seconds)]
        wire[at + 6:at + 10] = ttl.to_bytes(4, "big")
        at += 12 + int.from_bytes(wire[at + 10:at + 12], "big")
    return [bytes(wire)]


@behaviour
def ttl0(truth, count, is_tcp):
    return _ttl(truth, 0)


@behaviour
def ttlhuge(truth, count, is_tcp):
    return _ttl(truth, 0x7fffffff)


@behaviour
def ttlnegative(truth, count, is_tcp):
    """The top bit set: to be read as 0 (RFC 2181, 8)."""
    return _ttl(truth, 0x80000001)


@behaviour
def ttlmixed(truth, count, is_tcp):
    """Against RFC 2181, 5.2; the smallest counts."""
    return _ttl(truth, 100, 3)


@behaviour
def claims(truth, count, is_tcp):
    """Says that it validated the answer."""
    truth.flags |= dns.flags.AD
    return [truth.to_wire()]


@behaviour
def twice(truth, count, is_tcp):
    return [truth.to_wire(), truth.to_wire()]


# --------------------------------------------------------------- the proxy

class _Upstream(asyncio.DatagramProtocol):
    """Asks the server behind, under identifiers of its own."""

    def __init__(self):
        self.waiting = {}
        self.next = 0

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, packet, address):
        future = self.waiting.pop(packet[:2], None)
        if future is not None and not future.done():
            future.set_result(packet[2:])

    def error_received(self, error):
        """Nobody there: the questions time out."""

    async def ask(self, packet):
        """The answer with the question's identifier; None: none came."""
        self.next = (self.next + 1) & 0xffff
        key = self.next.to_bytes(2, "big")
        future = self.waiting[key] = asyncio.get_running_loop() \
            .create_future()
        self.transport.sendto(key + packet[2:])
        try:
            return packet[:2] + await asyncio.wait_for(future, 2)
        except asyncio.TimeoutError:
            self.waiting.pop(key, None)
            return None


class _Front(asyncio.DatagramProtocol):
    def __init__(self, faults):
        self.faults = faults

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, packet, client):
        task = asyncio.ensure_future(self._serve(packet, client))
        self.faults.tasks.add(task)
        task.add_done_callback(self.faults.tasks.discard)

    async def _serve(self, packet, client):
        for part in await self.faults.replies(packet, False) or ():
            if isinstance(part, float):
                await asyncio.sleep(part)
            else:
                self.transport.sendto(part, client)


class Faults:
    def __init__(self, upstream):
        self.upstream = upstream
        self.questions = []  # (time, name, kind)
        self.counts = collections.Counter()
        self.behaviours = {}
        self.tasks = set()
        self.ip, self.port = "127.0.0.1", free_port()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever,
                                       daemon=True)
        self.thread.start()
        self._run(self._open())

    @property
    def server(self):
        """As resolver.servers wants it."""
        return f"{self.ip}:{self.port}"

    def set(self, name, behaviour):
        """All questions about a name; None: the truth again. "*": all names
        for which nothing else was asked."""
        assert behaviour is None or behaviour in BEHAVIOURS
        self.behaviours[name] = behaviour

    def count(self, name, kind):
        """How often it was asked."""
        return self.counts[name, kind]

    # ------------------------------------------------------------ answering

    def _choose(self, name):
        chosen = self.behaviours.get(name, self.behaviours.get("*"))
        if chosen is None and name not in self.behaviours:
            chosen = name.split(".")[0].replace("-", "_")
        return BEHAVIOURS.get(chosen)

    async def replies(self, packet, is_tcp):
        try:
            question = dns.message.from_wire(packet).question[0]
        except (dns.exception.DNSException, IndexError):
            return []
        name = question.name.to_text(True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.questions.append((time.monotonic(), name, kind))
        self.counts[name, kind] += 1
        chosen = self._choose(name)
        ask = self._ask_tcp if is_tcp else self.back.ask
        truth = await ask(packet)
        if truth is None:
            return None
        if chosen is None:
            return [truth]
        return chosen(dns.message.from_wire(truth), self.counts[name, kind],
                      is_tcp)

    async def _ask_tcp(self, packet):
        try:
            reader, writer = await asyncio.open_connection(
                self.upstream.ip, self.upstream.port)
        except OSError:
            return None
        writer.write(len(packet).to_bytes(2, "big") + packet)
        size = int.from_bytes(await reader.readexactly(2), "big")
        reply = await reader.readexactly(size)
        writer.close()
        return reply

    async def _serve_tcp(self, reader, writer):
        self.tasks.add(asyncio.current_task())
        try:
            while True:
                size = int.from_bytes(await reader.readexactly(2), "big")
                packet = await reader.readexactly(size)
                parts = await self.replies(packet, True)
                if parts is None:
                    await reader.read()  # until the other side gives up
                    return
                if not parts:
                    return
                for part in parts:
                    if isinstance(part, float):
                        await asyncio.sleep(part)
                    else:
                        writer.write(len(part).to_bytes(2, "big") + part)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            self.tasks.discard(asyncio.current_task())

    # ----------------------------------------------------------------- life

    def _run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine,
                                                self.loop).result(PATIENCE)

    async def _open(self):
        loop = asyncio.get_running_loop()
        _, self.back = await loop.create_datagram_endpoint(
            _Upstream, remote_addr=(self.upstream.ip, self.upstream.port))
        self.front, _ = await loop.create_datagram_endpoint(
            lambda: _Front(self), local_addr=(self.ip, self.port))
        self.server_tcp = await asyncio.start_server(
            self._serve_tcp, self.ip, self.port)

    async def _close(self):
        self.front.close()
        self.back.transport.close()
        self.server_tcp.close()
        tasks = list(self.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def stop(self):
        self._run(self._close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()
