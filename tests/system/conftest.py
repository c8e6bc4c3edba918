# SPDX-License-Identifier: ISC
"""Fixtures: each test has a folder, and what it starts ends with it."""

import pathlib
import shutil
import sys
import tempfile

import pytest

from lab.base import Deaf, free_port, loopback
from lab.peers import Dovecot, Postfix
from lab.relay import Relay, need_programs
from lab.sink import Reactor, Sink
from lab.tls import Authority

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from dnslab import Faults, Names, Unbound  # noqa: E402 (needs the path)


def pytest_configure(config):
    # aiosmtpd does not see that TLS is on from the first octet
    config.addinivalue_line("filterwarnings", "ignore:Requiring AUTH")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    report = (yield).get_result()
    if report.when == "call":
        item.has_failed = report.failed


@pytest.fixture
def folder(request):
    """With a short path, and open to who runs as another user."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="ostler-"))
    path.chmod(0o711)
    yield path
    if not getattr(request.node, "has_failed", False):
        shutil.rmtree(path, ignore_errors=True)
    else:
        shutil.rmtree(path / "spool", ignore_errors=True)
        print(f"what is left of it: {path}")


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def names(folder):
    server = Names(folder)
    yield server
    server.stop()


@pytest.fixture
def resolver(folder, names):
    """A validating one in front of names."""
    server = Unbound(folder, names)
    yield server
    server.stop()


@pytest.fixture
def make_faults():
    made = []

    def make(upstream):
        made.append(Faults(upstream))
        return made[-1]
    yield make
    for proxy in made:
        proxy.stop()


@pytest.fixture
def counter(names, make_faults):
    """Counts the questions that names are asked; may break answers."""
    return make_faults(names)


@pytest.fixture
def make_relay(folder, authority, request):
    """Makes relays that are not started yet; all end well with the test."""
    need_programs()
    made = []

    def make(names=None):
        place = folder if not made else folder / f"relay{len(made)}"
        place.mkdir(exist_ok=True)
        made.append(Relay(place, authority, names))
        return made[-1]
    yield make
    for relay in made:
        try:
            relay.stop()
        finally:
            if getattr(request.node, "has_failed", False):
                print(f"--- the end of {relay.log_file}\n"
                      + relay.log_text()[-8000:])


@pytest.fixture
def relay(make_relay, names):
    """One with DNS, not started yet."""
    return make_relay(names)


@pytest.fixture
def reactor():
    loop = Reactor()
    yield loop
    loop.stop()


@pytest.fixture
def make_sink(reactor):
    made = []

    def make(host=None, port=None, **options):
        host = host or loopback()
        made.append(Sink(reactor, host, port or free_port(host), **options))
        return made[-1]
    yield make
    for sink in made:
        sink.stop()


@pytest.fixture
def deaf(request):
    def make(host, port):
        server = Deaf(host, port)
        request.addfinalizer(server.stop)
        return server
    return make


@pytest.fixture
def far(relay, names, make_sink):
    """The server of far.example, found by its MX record."""
    sink = make_sink()
    relay.set("queue", port=sink.port)
    names.domain("far.example", sink.host)
    return sink


@pytest.fixture
def make_postfix(folder):
    made = []

    def make(host, port, domains, **options):
        made.append(Postfix(folder, host, port, domains, **options))
        return made[-1]
    yield make
    for postfix in made:
        postfix.stop()


@pytest.fixture
def dovecot(folder):
    host = loopback()
    server = Dovecot(folder, host, free_port(host))
    yield server
    server.stop()
