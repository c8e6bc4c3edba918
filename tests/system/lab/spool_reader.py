#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Reads a spool by what ostler-spool(5) says, and by nothing else.

    spool_reader.py FOLDER      one JSON object a message
"""

import json
import pathlib
import re
import struct
import sys

DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
BLOCK = 4096


def _table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82f63b78 if byte & 1 else 0)
        table.append(byte)
    return table


TABLE = _table()


def crc32c(*parts):
    crc = 0xffffffff
    for part in parts:
        for byte in part:
            crc = crc >> 8 ^ TABLE[(crc ^ byte) & 0xff]
    return crc ^ 0xffffffff


def id_text(number):
    return "".join(DIGITS[number >> shift & 31] for shift in range(60, -1, -5))


class Batch:
    """A batch whose header holds."""

    def __init__(self, block, at, tag, limit):
        (magic, self.bytes, own_tag, self.segno, self.seq, self.head,
         self.ids, self.count, self.used, _, crc) = \
            struct.unpack_from("<4sIQQQQQIIII", block, at)
        self.at = at
        self.place = struct.pack("<QQQ", tag, self.segno, self.seq)
        self.is_good = (magic == b"OSTB" and own_tag == tag and
                        crc == crc32c(block[at:at + 60]) and
                        0 < self.bytes <= limit)

    def units(self, block):
        """(whether all hold, records) of those that belong together."""
        at, end = self.at + 64, self.at + self.used
        unit, holds = [], True
        while at < end:
            (kind, flags, length, number, text_bytes, state, text_crc,
             body_crc, _, crc) = struct.unpack_from("<HHIQIIIIII", block, at)
            if crc != crc32c(block[at:at + 36], self.place):
                yield False, []
                return
            text = block[at + 40:at + 40 + text_bytes]
            body = block[at + 40 + text_bytes:at + 40 + length]
            holds = holds and text_crc == crc32c(text) and \
                (kind != 1 or body_crc == crc32c(body))
            unit.append((kind, number, text, state, body))
            at += (40 + length + 7) // 8 * 8
            if not flags & 1:
                yield holds, unit
                unit, holds = [], True


class Message:
    def __init__(self, envelope):
        self.envelope, self.states, self.body = envelope, {}, b""


class Spool:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        name, version, tag = \
            (self.folder / "VERSION").read_text().split()
        if name != "ostler-spool" or version != "1":
            raise ValueError("no spool of version 1")
        self.tag = int(tag, 16)
        self.live, self.done, self.states = {}, set(), {}
        self._read_log()
        self._read_files()

    # ------------------------------------------------------------- the log

    def _batches(self, block):
        at = 0
        while at + BLOCK <= len(block):
            batch = Batch(block, at, self.tag, len(block) - at)
            if batch.is_good:
                yield batch
            at += batch.bytes if batch.is_good else BLOCK

    def _read_log(self):
        segments = []
        for path in (self.folder / "log").glob("*.seg"):
            block = path.read_bytes()
            batches = list(self._batches(block))
            if batches:
                segno = max(batch.segno for batch in batches)
                segments.append((segno, block, [
                    batch for batch in batches if batch.segno == segno]))
        segments.sort(key=lambda segment: segment[0])
        if not segments:
            return
        head = max(batch.head for batch in segments[-1][2])
        needed = [one for one in segments if one[0] >= head]
        for index, (_, block, batches) in enumerate(needed):
            later = [one[2][0].seq for one in needed[index + 1:]]
            for batch in batches:
                if later and batch.seq >= min(later):
                    continue  # its sync failed
                units = list(batch.units(block))
                is_last = batch is needed[-1][2][-1]
                if is_last and not all(holds for holds, _ in units):
                    continue  # torn
                for holds, records in units:
                    for record in records if holds else []:
                        self._record(*record)

    def _record(self, kind, number, text, state, body):
        if kind == 1:
            self.live[number] = Message(text.decode("latin-1"))
            self.live[number].body = body
        elif kind == 2:
            self.states.setdefault(number, {})[state] = \
                text.decode("latin-1")
        elif kind == 3:
            self.done.add(number)

    # ----------------------------------------------------------- the files

    def _read_files(self):
        for number in self.done:
            self.live.pop(number, None)
        for path in (self.folder / "msg").glob("??/*"):
            self._read_file(path.read_bytes())
        for number, states in self.states.items():
            if number in self.live:
                self.live[number].states.update(states)

    def _read_file(self, content):
        first = content[:87]
        (magic, version, name, text_bytes, at, body_bytes, body_crc,
         crc) = first.decode().split()
        number = 0
        for digit in name:
            number = number * 32 + DIGITS.index(digit)
        envelope = content[87:87 + int(text_bytes)]
        if magic != "ostler-message" or version != "1" or \
                int(crc, 16) != crc32c(first[:78], envelope):
            raise ValueError(name + " is damaged")
        if number in self.done or number in self.live:
            return
        end = int(at) + int(body_bytes)
        message = Message(envelope.decode("latin-1"))
        message.body = content[int(at):end]
        if crc32c(message.body) != int(body_crc, 16):
            raise ValueError(name + "'s body is damaged")
        for line in filter(None, content[end + 1:].split(b"\n")[:-1]):
            _, state, crc, text = line.split(b" ", 3)
            if text and int(crc, 16) == crc32c(
                    struct.pack("<QI", number, int(state)), text):
                message.states.setdefault(int(state), text.decode("latin-1"))
        self.live[number] = message


# ------------------------------------------------------ what a message says

def plain(text):
    raw = re.sub(r"\\x([0-9a-f]{2})", lambda m: chr(int(m.group(1), 16)),
                 text).encode("latin-1")
    return raw.decode("utf-8", "replace")


def fields(state):
    """The names and values of one state line."""
    state, _, reply = (" " + state).partition(" reply=")
    pairs = dict(word.split("=", 1) for word in state.split())
    pairs["reply"] = reply
    return {name: plain(value) for name, value in pairs.items()}


def describe(number, message):
    """The row of `ostlerctl queue --json`."""
    sender, received, size, to, is_held = "", 0, 0, [], False
    for line in message.envelope.splitlines():
        name, _, value = line.partition(" ")
        if name == "from":
            sender = plain(value[1:-1])
        elif name == "received":
            received = int(value)
        elif name == "size":
            size = int(value)
        elif name == "to":
            to.append((plain(value[1:-1]), {"state": "queued"}))
    for _, line in sorted(message.states.items()):
        state = fields(line)
        if state["to"] == "all":
            is_held = state.get("held", "yes" if is_held else "no") == "yes"
        else:
            first, _, last = state["to"].partition("-")
            for index in range(int(first), int(last or first) + 1):
                to[index] = (to[index][0], state)
    left = [one for one in to if one[1]["state"] in ("queued", "held")]
    address, state = left[0] if left else ("", {"state": "queued"})
    attempts = int(state.get("attempts", 0))
    if is_held or any(one[1]["state"] == "held" for one in left):
        word = "held"
    else:
        word = "deferred" if attempts else "queued"
    return {"id": id_text(number), "received_ms": received, "size": size,
            "sender": sender, "recipient": address,
            "recipients_left": len(left), "state": word,
            "next_try_ms": int(state.get("next", 0)), "attempts": attempts,
            "category": state.get("category", ""),
            "why": state.get("reply", "")}


def read(folder):
    """The rows of all messages, by id."""
    live = Spool(folder).live
    return [describe(number, live[number]) for number in sorted(live)]


def bodies(folder):
    return {id_text(number): message.body
            for number, message in Spool(folder).live.items()}


def states(folder):
    """The state lines of each message, in order."""
    return {id_text(number): [message.states[state]
                              for state in sorted(message.states)]
            for number, message in Spool(folder).live.items()}


if __name__ == "__main__":
    for row in read(sys.argv[1]):
        print(json.dumps(row))
