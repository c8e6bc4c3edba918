# SPDX-License-Identifier: ISC
"""Waiting, addresses, ports and processes."""

import errno
import itertools
import os
import pathlib
import pwd
import random
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time

import pytest

#: Under the sanitizers on a busy machine all takes its time.
PATIENCE = float(os.environ.get("OSTLER_PATIENCE", "90"))


#: Who we are, whatever LOGNAME says.
USER = pwd.getpwuid(os.geteuid()).pw_name

# What tests write, servers read that run as other users.
os.umask(0o022)


def _is_fit(path):
    """For folders: paths of unix sockets have to be short, the files that
    configure other servers hold no space in one, and those servers run as
    other users."""
    return re.fullmatch(r"[\w./-]{1,40}", str(path)) and \
        all(one.stat().st_mode & 1 for one in (path, *path.parents))


if not _is_fit(pathlib.Path(tempfile.gettempdir())):
    tempfile.tempdir = os.environ["TMPDIR"] = "/tmp"


class _Awake:
    """A clock that stands still while the machine does: the host of a virtual
    one gives it no time, or somebody stopped us all. What a bound claims is
    that the relay is in time when it may run.

    A thread looks up every TICK; what it overslept by more than a busy
    machine would let it was no time for anybody."""

    TICK, BUSY = 0.05, 0.25

    def __init__(self):
        self.lock = threading.Lock()
        self.seen, self.lost = time.monotonic(), 0
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            time.sleep(self.TICK)
            self.now()

    def now(self):
        with self.lock:
            now = time.monotonic()
            gap = now - self.seen
            if gap > self.TICK + self.BUSY:
                self.lost += gap - self.TICK
            self.seen = now
            return now - self.lost


#: In seconds, for what must not last longer than it says. What must not be
#: shorter is measured with time.monotonic.
awake = _Awake().now


def wait_for(claim, what="it", seconds=None):
    """Polls claim() until it is true, and returns what it gave."""
    end = awake() + (PATIENCE if seconds is None else seconds)
    pause = 0.005
    while True:
        got = claim()
        if got:
            return got
        if awake() > end:
            raise AssertionError(f"{what} did not happen in time")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)


# pytest-xdist's workers run beside each other: each has addresses and ports
# of its own.
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
_workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))

# An address is handed out once a run, from a place that another run at the
# same time is unlikely to have chosen.
_second = random.randrange(1 + _worker, 250, _workers)
_third = random.randrange(250)
_numbers = itertools.count(1)


def loopback():
    """An IPv4 loopback address that nobody else in this run has."""
    number = next(_numbers)
    return f"127.{_second}.{(_third + number // 250) % 250}.{number % 250 + 1}"


def _first_ephemeral():
    """Where the range begins that connections get their ports from."""
    try:
        text = pathlib.Path(
            "/proc/sys/net/ipv4/ip_local_port_range").read_text()
    except OSError:
        return 32768
    return int(text.split()[0])


# Without room below it, one that a connection has for a moment is a risk.
_end_of_ports = min(_first_ephemeral(), 32000)
if _end_of_ports < 12000:
    _end_of_ports = 32000
_ports = set()


def free_port(host="127.0.0.1"):
    """A TCP and UDP port below the range that connections get theirs from;
    never the same one twice in this run.

    Between the search for a port and its use another worker would find it
    just as free: each searches its own."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        port = random.randrange(10000 + _worker, _end_of_ports, _workers)
        if port in _ports:
            continue
        try:
            with socket.socket(family) as tcp, \
                    socket.socket(family, socket.SOCK_DGRAM) as udp:
                tcp.bind((host, port))
                udp.bind((host, port))
        except OSError as error:
            if family == socket.AF_INET6 and \
                    error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                pytest.skip("this machine has no IPv6")
            if error.errno != errno.EADDRINUSE:
                raise
            continue
        _ports.add(port)
        return port


def is_open(host, port):
    try:
        socket.create_connection((host, port), 1).close()
    except OSError:
        return False
    return True


class Deaf:
    """A port whose queue of connections is full: a connect hears nothing."""

    def __init__(self, host, port):
        self.socket = socket.socket()
        self.socket.bind((host, port))
        self.socket.listen(0)
        self.waiting = []
        for _ in range(8):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex((host, port))
            self.waiting.append(one)

    def stop(self):
        for one in (*self.waiting, self.socket):
            one.close()


def end_process(process, seconds=20):
    """Asks it to end, then makes it; by its id."""
    if process.poll() is not None:
        return process.returncode
    process.send_signal(signal.SIGTERM)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
