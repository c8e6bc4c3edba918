#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""A disk with a write cache that forgets, for tests/crash/blockdev.sh.

    blockdev.py serve MOUNT RECORD MARKS
        one file, MOUNT/disk, of zeros; each write and flush goes to RECORD,
        with how long the file MARKS was before it
    blockdev.py states RECORD IMAGE STATES SEED COMMAND...
        power losses at random: each makes IMAGE and runs COMMAND with the
        length of MARKS behind it

What was flushed is on the disk; of what was written since, each block of
4 KiB may be there or not, in any order. A loop device on MOUNT/disk passes
the kernel's flushes on as fsync.
"""

import errno
import os
import random
import stat
import struct
import subprocess
import sys

BLOCK = 4096
DISK = 48 << 20
WRITE, FLUSH = 1, 2
HEAD = struct.Struct("=IIQQ")  # kind, bytes, offset, length of MARKS


def serve(mount, record, marks):
    import fusepy

    class Disk(fusepy.Operations):
        def __init__(self):
            self.bytes = bytearray(DISK)
            self.record = open(record, "ab", buffering=0)
            open(marks, "ab").close()

        def put(self, kind, data, offset):
            self.record.write(HEAD.pack(kind, len(data), offset,
                                        os.stat(marks).st_size) + data)

        def getattr(self, path, fh=None):
            if path == "/":
                return {"st_mode": stat.S_IFDIR | 0o700, "st_nlink": 2}
            if path == "/disk":
                return {"st_mode": stat.S_IFREG | 0o600, "st_nlink": 1,
                        "st_size": len(self.bytes)}
            raise fusepy.FuseOSError(errno.ENOENT)

        def readdir(self, path, fh):
            return [".", "..", "disk"]

        def open(self, path, flags):
            return 1

        def read(self, path, size, offset, fh):
            return bytes(self.bytes[offset:offset + size])

        def write(self, path, data, offset, fh):
            self.put(WRITE, data, offset)
            self.bytes[offset:offset + len(data)] = data
            return len(data)

        def fsync(self, path, datasync, fh):
            self.put(FLUSH, b"", 0)
            return 0

    fusepy.FUSE(Disk(), mount, foreground=True, nothreads=True,
                max_read=1 << 17, big_writes=True)


def events(record):
    with open(record, "rb") as file:
        while head := file.read(HEAD.size):
            kind, length, offset, marks = HEAD.unpack(head)
            yield kind, offset, file.read(length), marks


def blocks(offset, data):
    """Parts of a write that lie in one block each."""
    while data:
        part = BLOCK - offset % BLOCK
        yield offset, data[:part]
        offset, data = offset + part, data[part:]


def states(record, image, wanted, seed, command):
    dice = random.Random(int(seed))
    moments = [number for number, (kind, _, _, marks)
               in enumerate(events(record)) if marks > 0]
    chosen = set(dice.sample(moments, min(int(wanted), len(moments))))
    size = max(offset + len(data) for _, offset, data, _ in events(record))
    durable, pending, bad, done = bytearray(size), [], 0, 0
    for number, (kind, offset, data, marks) in enumerate(events(record)):
        if number in chosen:
            kept = [block for block in pending if dice.random() < 0.5] \
                if done % 3 else []
            if done % 7 == 6:
                kept = pending[:dice.randrange(len(pending) + 1)]
            with open(image, "wb") as file:
                file.write(durable)
                for at, part in kept:
                    file.seek(at)
                    file.write(part)
                file.truncate(DISK)
            done += 1
            if subprocess.call([*command, str(marks)]) != 0:
                print(f"event {number}, {len(pending)} blocks not flushed, "
                      f"{len(kept)} of them kept", flush=True)
                bad += 1
        if kind == FLUSH:
            for at, part in pending:
                durable[at:at + len(part)] = part
            pending = []
        else:
            pending += blocks(offset, data)
    print(f"{len(moments)} events, {done} power losses, {bad} bad")
    return 1 if bad or not done else 0


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(*sys.argv[2:])
    else:
        sys.exit(states(*sys.argv[2:6], sys.argv[6:]))
