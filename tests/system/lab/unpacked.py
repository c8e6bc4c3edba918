# SPDX-License-Identifier: ISC
"""Exim and OpenSMTPD, which dpkg does not let stand beside Postfix: their
packages are unpacked only, in the folder that OSTLER_PEERS names (tests/run.sh
makes it). Paths and users are compiled in, so each runs in mount and process
namespaces of its own."""

import os
import pathlib
import signal
import subprocess

import pytest

from .base import PATIENCE, is_open, wait_for
from .need import need_namespaces, need_root


def _environment():
    """Libraries may have been unpacked, too."""
    peers = pathlib.Path(os.environ["OSTLER_PEERS"])
    return dict(os.environ, LD_LIBRARY_PATH=":".join(
        str(one) for one in peers.glob("lib*/usr/lib/*") if one.is_dir()))


def _binary(package, path):
    need_root(package)
    peers = os.environ.get("OSTLER_PEERS")
    if not peers:
        pytest.skip(f"no OSTLER_PEERS: {package} is not unpacked")
    file = pathlib.Path(peers) / package / path
    if not file.exists():
        pytest.skip(f"{package} could not be unpacked: there is no {file}")
    wants = subprocess.run(["ldd", file], capture_output=True, text=True,
                           env=_environment(), check=True)
    lacks = [line.split()[0] for line in wants.stdout.splitlines()
             if "not found" in line]
    if lacks:
        pytest.skip(f"{package} was unpacked without " + ", ".join(lacks))
    need_namespaces("--mount", "--pid", "--fork")
    return file


class _Unpacked:
    def __init__(self, folder, host, port):
        self.folder, self.host, self.port = folder, host, port
        self.mail = folder / "mail"
        self.mail.mkdir(parents=True)
        for parent in (folder.parent, folder):
            parent.chmod(0o711)

    def run(self, users, script):
        """script: shell lines, the last an exec of the server."""
        for file, line in (("passwd", "{0}:x:{1}:{1}::/nonexistent:/bin/false"),
                           ("group", "{0}:x:{1}:")):
            text = pathlib.Path("/etc", file).read_text()
            for number, user in enumerate(users):
                if not any(one.startswith(user + ":")
                           for one in text.splitlines()):
                    text += line.format(user, 7800 + number) + "\n"
            (self.folder / file).write_text(text)
        self.process = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--mount-proc",
             "sh", "-euc", f"""\
mount --bind {self.folder}/passwd /etc/passwd
mount --bind {self.folder}/group /etc/group
{script}"""],
            stdin=subprocess.DEVNULL, stdout=open(self.folder / "out", "wb"),
            stderr=subprocess.STDOUT, env=_environment())
        wait_for(self._is_up, "its start")

    def _is_up(self):
        assert self.process.poll() is None, self.log()
        return is_open(self.host, self.port)

    def log(self):
        return "".join(file.read_text(errors="replace") for file in
                       (self.folder / "out", *self.folder.glob("log/*"))
                       if file.exists())

    def stop(self):
        """Ends the first process of the namespace, and all others with it:
        unshare itself neither heeds SIGTERM nor outlives its child."""
        pid = self.process.pid
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children")
        if self.process.poll() is None:
            for child in children.read_text().split():
                os.kill(int(child), signal.SIGKILL)
        self.process.wait(PATIENCE)


class Exim(_Unpacked):
    """Takes mail for some domains into one Maildir, folder/exim/mail/box.

    -C with a file of ours costs root's rights, so its own user owns all."""

    def __init__(self, folder, host, port, domains):
        binary = _binary("exim4-daemon-light", "usr/sbin/exim4")
        super().__init__(folder / "exim", host, port)
        conf = self.folder / "exim.conf"
        for name in ("spool", "log"):
            (self.folder / name).mkdir()
        conf.write_text(f"""\
exim_path = {binary}
spool_directory = {self.folder}/spool
log_file_path = {self.folder}/log/%slog
primary_hostname = exim.example
local_interfaces = {host}
daemon_smtp_ports = {port}
message_size_limit = 100M
host_lookup =
rfc1413_query_timeout = 0s
tls_advertise_hosts =
chunking_advertise_hosts = *
keep_environment = LD_LIBRARY_PATH
acl_smtp_rcpt = acl_rcpt
acl_smtp_data = accept
begin acl
acl_rcpt:
  accept domains = {" : ".join(domains)}
  deny message = relay not permitted
begin routers
all:
  driver = accept
  transport = box
begin transports
box:
  driver = appendfile
  directory = {self.mail}/box
  maildir_format
  create_directory
  user = Debian-exim
  group = Debian-exim
  delivery_date_add = false
  envelope_to_add = false
  return_path_add = false
begin retry
""")
        conf.chmod(0o644)
        self.run(["Debian-exim"], f"""\
chown -R Debian-exim:Debian-exim {self.folder}/spool {self.folder}/log {self.mail}
exec {binary} -C {conf} -bdf""")

    def mails(self):
        new = self.mail / "box" / "new"
        return [file.read_bytes() for file in new.iterdir()] \
            if new.is_dir() else []

    def wait(self, count):
        wait_for(lambda: len(self.mails()) >= count,
                 f"Exim's mail {count}")
        return self.mails()


class OpenSmtpd(_Unpacked):
    """Takes mail for some domains and passes it on to another server: its
    helpers for Maildirs would have to be installed."""

    def __init__(self, folder, host, port, domains, to):
        """to: (host, port)"""
        binary = _binary("opensmtpd", "usr/sbin/smtpd")
        super().__init__(folder / "opensmtpd", host, port)
        for name in ("spool", "run", "lib/opensmtpd/empty"):
            (self.folder / name).mkdir(parents=True)
            (self.folder / name).chmod(0o711)
        conf = self.folder / "smtpd.conf"
        names = ", ".join(f'"{domain}"' for domain in domains)
        conf.write_text(f"""\
smtp max-message-size "100M"
mta limit conn-delay-route 0
mta limit conn-delay-relay 0
listen on {host} port {port} hostname opensmtpd.example
action "on" relay host "smtp://{to[0]}:{to[1]}"
match from any for domain {{ {names} }} action "on"
""")
        self.run(["opensmtpd", "opensmtpq"], f"""\
mount --bind {self.folder}/lib /var/lib
mount --bind {self.folder}/run /run
mount --bind {self.folder}/spool /var/spool
mkdir -m 711 /var/spool/smtpd
exec {binary} -d -f {conf}""")
