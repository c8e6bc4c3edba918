# SPDX-License-Identifier: ISC
"""The relay under test, with a configuration that tests complete."""

import json
import os
import pathlib
import signal
import subprocess

from .base import PATIENCE, USER, free_port, loopback, wait_for
from .need import need_built

TOP = pathlib.Path(__file__).resolve().parents[3]
BUILD = pathlib.Path(os.environ.get("OSTLER_BUILD", TOP))
OSTLERD, OSTLERCTL = BUILD / "ostlerd", BUILD / "ostlerctl"

ENVIRONMENT = dict(
    os.environ,
    ASAN_OPTIONS="detect_leaks=1:detect_stack_use_after_return=1",
    UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1",
    LC_ALL="C.UTF-8")

#: What the sanitizers begin a report with.
REPORTS = ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer",
           "WARNING: ThreadSanitizer", "runtime error:", "Assertion")


def _value(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "{" + ", ".join(_value(one) for one in value) + "}"
    if isinstance(value, int):
        return str(value)
    return '"%s"' % str(value).replace("\\", "\\\\").replace('"', '\\"')


class Answer:
    """What ostlerctl answered: .code, .out, .err, .rows (of --json)."""

    def __init__(self, done):
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr

    @property
    def rows(self):
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def row(self):
        assert len(self.rows) == 1, (self.code, self.out, self.err)
        return self.rows[0]


class Relay:
    def __init__(self, folder, authority, names=None):
        """names: what answers DNS questions; None: nobody does."""
        self.folder = folder
        self.conf = folder / "ostler.conf"
        self.spool = folder / "spool"
        self.mail = folder / "mail"
        self.submit_socket = folder / "submit.sock"
        self.log_file = folder / "ostlerd.log"
        self.host = loopback()
        self.mx = (self.host, free_port(self.host))
        self.submission = (self.host, free_port(self.host))
        self.submissions = (self.host, free_port(self.host))
        self.process = None
        self.environment = {}  # besides ours
        self.top = {
            "hostname": "mail.ostler.example", "spool": self.spool,
            "control_socket": folder / "control.sock",
            "user": USER, "drain": "3s"}
        certificate = authority.issue(folder / "tls", "mail.ostler.example")
        self.sections = {
            "log": {"format": "json", "level": "debug"},
            "limits": {"spool_free": "1M"},
            "tls": {"certificate": certificate.chain, "key": certificate.key},
            "auth": {"database": folder / "sasldb2"},
            "relay": {},
            # a busy machine may keep its name server waiting; one that is
            # not there is noticed at once
            "resolver": {"private_targets": True, "client_names": False,
                         "servers": [names.server if names is not None
                                     else "127.0.0.1:%d" % free_port()],
                         "timeout": "10s", "attempts": 2},
            "queue": {"retry": ["1s"], "idle_connection": "1s",
                      "connect_timeout": "5s"},
        }
        self.listeners = {
            "mx": {"role": "mx", "address": ["%s:%d" % self.mx],
                   "tls": "starttls"},
            "submission": {"role": "submission",
                           "address": ["%s:%d" % self.submission],
                           "tls": "starttls"},
            "submissions": {"role": "submission",
                            "address": ["%s:%d" % self.submissions],
                            "tls": "implicit"},
            "local": {"role": "submission",
                      "address": [f"unix:{self.submit_socket}"]},
        }
        self.domains = {"local.example":
                        {"deliver": f"maildir:{self.mail}/%d/%u"}}
        self.routes = {}
        self.certificates = {}
        # words that run the program, and become it
        self.before = os.environ.get("OSTLER_BEFORE", "").split()
        self.pass_fds = ()  # descriptors that it inherits
        self.extra = ""  # raw text at the end of the file

    # ------------------------------------------------------ configuration

    def set(self, section, **values):
        self.sections.setdefault(section, {}).update(values)

    def domain(self, name, deliver, **values):
        self.domains[name] = {"deliver": deliver, **values}

    def route(self, title, **values):
        """`for_` for the keyword `for`."""
        self.routes[title] = {k.rstrip("_"): v for k, v in values.items()}

    def certificate(self, title, names, pair, **values):
        """A pair of files for clients that ask for one of the names."""
        self.certificates[title] = {"for": names, "certificate": pair.chain,
                                    "key": pair.key, **values}

    def text(self):
        lines = [f"{k} = {_value(v)}" for k, v in self.top.items()]

        def section(head, values):
            lines.append(head + " {")
            lines.extend(f"\t{k} = {_value(v)}" for k, v in values.items())
            lines.append("}")
        for name, values in self.sections.items():
            section(name, values)
        for kind, titles in (("listener", self.listeners),
                             ("certificate", self.certificates),
                             ("domain", self.domains),
                             ("route", self.routes)):
            for title, values in titles.items():
                section(f'{kind} "{title}"', values)
        return "\n".join(lines) + "\n" + self.extra

    def write(self):
        self.conf.write_text(self.text())

    # ----------------------------------------------------------- its life

    def launch(self):
        """Starts the program and waits for nothing."""
        self.write()
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(
                [*self.before, OSTLERD, "-c", self.conf],
                stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, pass_fds=self.pass_fds,
                env=dict(ENVIRONMENT, **self.environment))
        return self

    def start(self):
        self.launch()
        wait_for(self._is_up, "the relay's start")
        return self

    def _is_up(self):
        if self.process.poll() is not None:
            raise AssertionError(
                f"ostlerd ended with {self.process.returncode}:\n"
                + self.log_text()[-6000:])
        return self.ctl("status").code in (0, 1)

    def ended(self, seconds=None):
        """Waits for its end and returns the exit code."""
        code = self.process.wait(PATIENCE if seconds is None else seconds)
        self.process = None
        self.check_log()
        return code

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self):
        if self.process is None:
            return
        self.signal(signal.SIGTERM)
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            self.process = None
            raise AssertionError("ostlerd did not stop:\n"
                                 + self.log_text()[-6000:]) from None
        self.process = None
        self.check_log()
        assert code == 0, f"ostlerd ended with {code}:\n" + \
            self.log_text()[-6000:]

    def kill9(self):
        self.process.kill()
        self.process.wait()
        self.process = None

    def restart(self):
        self.stop()
        self.start()

    def reload(self):
        """Writes the configuration and has it read; the answer."""
        self.write()
        return self.ctl("reload")

    def check_log(self):
        """No sanitizer may have said a word."""
        text = self.log_text()
        for report in REPORTS:
            at = text.find(report)
            assert at < 0, text[max(0, at - 200):at + 6000]

    # ---------------------------------------------------------------- log

    def log_text(self):
        if not self.log_file.exists():
            return ""
        return self.log_file.read_text(errors="replace")

    def events(self, kind, **wanted):
        """The log's lines of one event whose keys have these values."""
        found = []
        for line in self.log_text().splitlines():
            if not line.startswith("{"):
                continue
            try:
                row = json.loads(line)
            except ValueError:
                continue  # still being written
            if row.get("event") == kind and \
                    all(row.get(k.rstrip("_")) == v
                        for k, v in wanted.items()):
                found.append(row)
        return found

    def wait_event(self, kind, count=1, seconds=None, **wanted):
        return wait_for(
            lambda: (lambda rows: rows if len(rows) >= count else None)(
                self.events(kind, **wanted)),
            f"the log's event {kind} {wanted}", seconds)

    # ------------------------------------------------------------ control

    def ctl(self, *words, json=False, input=None, environment=None):
        """Runs ostlerctl; its answer. environment: besides ours."""
        if not self.conf.exists():
            self.write()
        done = subprocess.run(
            [OSTLERCTL, "-c", self.conf, *(["--json"] if json else []),
             *words],
            input=input, capture_output=True, timeout=300,
            env=dict(ENVIRONMENT, **(environment or {})))
        done.stderr = done.stderr.decode(errors="replace")
        for report in REPORTS:
            assert report not in done.stderr, done.stderr
        if words[:2] != ("queue", "cat"):
            done.stdout = done.stdout.decode()
        return Answer(done)

    def queue(self, *filters):
        """The rows of `queue list`."""
        return self.ctl("queue", "list", *filters, json=True).rows

    def status(self):
        return self.ctl("status", json=True).row

    def add_user(self, name="anna", password="secret pass"):
        answer = self.ctl("user", "add", name,
                          input=password.encode() + b"\n")
        assert answer.code == 0, answer.err
        return name, password

    # -------------------------------------------------------------- mails

    def maildir(self, user, domain="local.example"):
        """The messages in a Maildir, as bytes."""
        new = self.mail / domain / user / "new"
        if not new.is_dir():
            return []
        return [file.read_bytes() for file in sorted(new.iterdir())]

    def wait_maildir(self, user, count=1, domain="local.example"):
        return wait_for(
            lambda: (lambda mails: mails if len(mails) >= count else None)(
                self.maildir(user, domain)),
            f"mail for {user}")

    def wait_empty(self, seconds=None):
        wait_for(lambda: not self.queue(), "an empty queue", seconds)


def need_programs():
    need_built(OSTLERD)
