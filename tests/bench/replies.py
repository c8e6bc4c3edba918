#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""How long clients wait for each reply while passwords are checked.

    tests/bench/replies.py BUILD [SECONDS]

Starts BUILD/ostlerd on free loopback ports, opens 1,000 connections that stay
idle, and lets 64 clients, a process each, log in over STARTTLS and submit one
message after the other on a connection of its own. Prints the wait for each
kind of reply: median, 99th percentile, maximum. The bar: no reply but AUTH's
takes 100 ms.
"""
import base64
import multiprocessing
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time

IDLE, CLIENTS = 1000, 64
BODY = b"Subject: load\r\n\r\n" + b"0123456789abcdef" * 60 + b"\r\n.\r\n"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Talk:
    """One connection; notes how long each reply took."""

    def __init__(self, port, waits):
        self.waits = waits
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.rest = b""

    def hear(self):
        while True:
            line, found, rest = self.rest.partition(b"\r\n")
            if not found:
                more = self.sock.recv(4096)
                if not more:
                    raise EOFError
                self.rest += more
                continue
            self.rest = rest
            if line[3:4] != b"-":
                return line

    def say(self, kind, text, want):
        begun = time.monotonic()
        self.sock.sendall(text)
        line = self.hear()
        self.waits.setdefault(kind, []).append(time.monotonic() - begun)
        if not line.startswith(want):
            raise RuntimeError(f"{kind}: {line!r}")

    def secure(self, context):
        self.sock = context.wrap_socket(self.sock)


def client(port, until, results):
    waits = {}
    # one for all connections, and no CA store: that would be the load
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    login = base64.b64encode(b"\0load\0password")
    while time.monotonic() < until:
        talk = Talk(port, waits)
        talk.hear()
        talk.say("EHLO", b"EHLO bench.example\r\n", b"250")
        talk.say("STARTTLS", b"STARTTLS\r\n", b"220")
        talk.secure(context)
        talk.say("EHLO", b"EHLO bench.example\r\n", b"250")
        talk.say("AUTH", b"AUTH PLAIN " + login + b"\r\n", b"235")
        talk.say("MAIL", b"MAIL FROM:<load@bench.example>\r\n", b"250")
        talk.say("RCPT", b"RCPT TO:<sink@bench.example>\r\n", b"250")
        talk.say("DATA", b"DATA\r\n", b"354")
        talk.say("end of data", BODY, b"250")
        talk.say("QUIT", b"QUIT\r\n", b"221")
        talk.sock.close()
    results.put(waits)


def probe(port, until, results):
    waits = {}
    talk = Talk(port, waits)
    talk.hear()
    while time.monotonic() < until:
        talk.say("NOOP (a bystander)", b"NOOP\r\n", b"250")
        time.sleep(0.002)
    results.put(waits)


def main():
    build = os.path.abspath(sys.argv[1])
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 10
    folder = tempfile.mkdtemp(prefix="ostler-bench-")
    port = free_port()
    config = os.path.join(folder, "ostler.conf")
    with open(config, "w") as f:
        f.write(f'''hostname = "bench.example"
spool = "{folder}/spool"
control_socket = "{folder}/control.sock"
user = "{os.popen("id -un").read().strip()}"
listener "submission" {{ role = "submission" address = {{"127.0.0.1:{port}"}} tls = "starttls" }}
limits {{ connections = 5000 connections_per_client = 5000 }}
auth {{ database = "{folder}/sasldb2" }}
domain "bench.example" {{ deliver = "discard" }}
resolver {{ client_names = false }}
log {{ level = "warn" }}
''')
    subprocess.run([build + "/ostlerctl", "-c", config, "user", "add", "load"],
                   input=b"password\n", check=True)
    daemon = subprocess.Popen([build + "/ostlerd", "-c", config],
                              stderr=open(folder + "/log", "w"))
    try:
        while subprocess.run([build + "/ostlerctl", "-c", config, "status"],
                             capture_output=True).returncode:
            assert daemon.poll() is None, open(folder + "/log").read()
            time.sleep(0.02)
        idle = []
        for _ in range(IDLE):
            talk = Talk(port, {})
            talk.hear()
            idle.append(talk)
        results = multiprocessing.Queue()
        until = time.monotonic() + seconds
        people = [multiprocessing.Process(target=client,
                                          args=(port, until, results))
                  for _ in range(CLIENTS)]
        people.append(multiprocessing.Process(target=probe,
                                              args=(port, until, results)))
        for person in people:
            person.start()
        waits = {}
        for _ in people:
            for kind, times in results.get().items():
                waits.setdefault(kind, []).extend(times)
        for person in people:
            person.join()
        print(f"{IDLE} idle connections, {CLIENTS} clients, {seconds:g} s")
        print("| reply | count | median ms | p99 ms | max ms |")
        print("|---|---|---|---|---|")
        for kind, times in waits.items():
            times.sort()
            at = lambda share: times[min(len(times) - 1,
                                         int(len(times) * share))] * 1000
            print(f"| {kind} | {len(times)} | {at(.5):.1f} | {at(.99):.1f}"
                  f" | {times[-1] * 1000:.1f} |")
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
