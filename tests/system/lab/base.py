# SPDX-License-Identifier: ISC
"""Waiting, addresses, ports and processes."""

import itertools
import os
import random
import signal
import socket
import subprocess
import time

#: Under the sanitizers on a busy machine all takes its time.
PATIENCE = float(os.environ.get("OSTLER_PATIENCE", "90"))


def wait_for(claim, what="it", seconds=None):
    """Polls claim() until it is true, and returns what it gave."""
    end = time.monotonic() + (PATIENCE if seconds is None else seconds)
    pause = 0.005
    while True:
        got = claim()
        if got:
            return got
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not happen in time")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)


# An address is handed out once a run, from a place that another run at the
# same time is unlikely to have chosen.
_second, _third = random.randrange(1, 250), random.randrange(250)
_numbers = itertools.count(1)


def loopback():
    """An IPv4 loopback address that nobody else in this run has."""
    number = next(_numbers)
    return f"127.{_second}.{(_third + number // 250) % 250}.{number % 250 + 1}"


_ports = set()

# pytest-xdist's workers share 127.0.0.1, and between the search for a port
# and its use another one would find it just as free: each has its own.
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
_workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))


def free_port(host="127.0.0.1"):
    """A TCP and UDP port below the range that connections get theirs from;
    never the same one twice in this run."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        port = random.randrange(10000 + _worker, 32000, _workers)
        if port in _ports:
            continue
        try:
            with socket.socket(family) as tcp, \
                    socket.socket(family, socket.SOCK_DGRAM) as udp:
                tcp.bind((host, port))
                udp.bind((host, port))
        except OSError:
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
