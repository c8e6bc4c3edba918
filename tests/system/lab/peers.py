# SPDX-License-Identifier: ISC
"""Postfix and Dovecot as neighbours, each in a folder of its own."""

import base64
import hmac
import json
import os
import pwd
import subprocess
import time

from .base import end_process, is_open, wait_for
from .need import need_program, need_root


def need_dovecot(service, package):
    """service: the program of Dovecot's that the package brings."""
    need_root("Dovecot")
    need_program("dovecot", "dovecot-core")
    need_program(f"/usr/lib/dovecot/{service}", package)


class Postfix:
    """Takes mail for some domains into Maildirs: folder/mail/DOMAIN/USER."""

    def __init__(self, folder, host, port, domains, settings="", master=""):
        need_root("Postfix")
        need_program("postfix")
        self.folder = folder / "postfix"
        self.conf = self.folder / "conf"
        self.mail = self.folder / "mail"
        self.host, self.port = host, port
        for one in (self.conf, self.folder / "queue", self.folder / "data",
                    self.mail):
            one.mkdir(parents=True)
        owner = pwd.getpwnam("postfix")
        os.chown(self.folder / "data", owner.pw_uid, owner.pw_gid)
        nobody = pwd.getpwnam("nobody")
        os.chown(self.mail, nobody.pw_uid, nobody.pw_gid)
        for parent in (folder, self.folder):
            parent.chmod(0o711)
        users = self.conf / "users"
        users.write_text("".join(f"@{d} {d}/all/\n" for d in domains))
        (self.conf / "main.cf").write_text(f"""\
compatibility_level = 3.6
queue_directory = {self.folder}/queue
data_directory = {self.folder}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = postfix.example
mydestination =
inet_interfaces = loopback-only
inet_protocols = ipv4
mynetworks = 127.0.0.1/32
smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination
smtpd_tls_security_level = none
maillog_file = {self.folder}/log
maillog_file_prefixes = {self.folder}
virtual_mailbox_domains = {", ".join(domains)}
virtual_mailbox_base = {self.mail}
virtual_mailbox_maps = texthash:{users}
virtual_uid_maps = static:{nobody.pw_uid}
virtual_gid_maps = static:{nobody.pw_gid}
virtual_mailbox_limit = 0
message_size_limit = 0
alias_maps =
local_recipient_maps =
{settings}
""")
        (self.conf / "master.cf").write_text(f"""\
{host}:{port} inet n - n - - smtpd
postlog unix-dgram n - n - 1 postlogd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
{master}
""")
        self._run("start")
        wait_for(lambda: is_open(host, port), "Postfix's start")

    def _run(self, word):
        done = subprocess.run(["postfix", "-c", self.conf, word],
                              capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, (done.stderr, self.log())

    def log(self):
        file = self.folder / "log"
        return file.read_text() if file.exists() else ""

    def mails(self, domain):
        new = self.mail / domain / "all" / "new"
        return [f.read_bytes() for f in new.iterdir()] if new.is_dir() else []

    def wait(self, domain, count=1):
        wait_for(lambda: len(self.mails(domain)) >= count,
                 f"Postfix's mail {count} for {domain}")
        return self.mails(domain)

    def stop(self):
        self._run("stop")


class Dovecot:
    """LMTP on a TCP port and a unix socket, into Maildirs."""

    def __init__(self, folder, host, port):
        need_dovecot("lmtp", "dovecot-lmtpd")
        self.folder = folder / "dovecot"
        self.mail = self.folder / "mail"
        self.socket = self.folder / "lmtp"
        self.host, self.port = host, port
        self.mail.mkdir(parents=True)
        nobody = pwd.getpwnam("nobody")
        os.chown(self.mail, nobody.pw_uid, nobody.pw_gid)
        for parent in (folder, self.folder):
            parent.chmod(0o711)
        conf = self.folder / "dovecot.conf"
        conf.write_text(f"""\
base_dir = {self.folder}/run
state_dir = {self.folder}/state
log_path = {self.folder}/log
protocols = lmtp
ssl = no
postmaster_address = postmaster@inner.example
mail_location = maildir:{self.mail}/%d/%n
first_valid_uid = 1
first_valid_gid = 1
userdb {{
  driver = static
  args = uid={nobody.pw_uid} gid={nobody.pw_gid} home={self.mail}/%d/%n allow_all_users=yes
}}
passdb {{
  driver = static
  args = nopassword=y
}}
service lmtp {{
  inet_listener lmtp {{
    address = {host}
    port = {port}
  }}
  unix_listener {self.socket} {{
    mode = 0666
  }}
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
""")
        self.process = subprocess.Popen(
            ["dovecot", "-F", "-c", str(conf)],
            stdout=open(self.folder / "out", "wb"), stderr=subprocess.STDOUT)
        wait_for(self._is_up, "Dovecot's start")

    def _is_up(self):
        assert self.process.poll() is None, self.log()
        return is_open(self.host, self.port)

    def log(self):
        return "".join(f.read_text() for f in
                       (self.folder / "log", self.folder / "out")
                       if f.exists())

    def mails(self, user, domain):
        found = []
        for name in ("new", "cur"):
            folder = self.mail / domain / user / name
            if folder.is_dir():
                found += [f.read_bytes() for f in folder.iterdir()]
        return found

    def wait(self, user, domain, count=1):
        wait_for(lambda: len(self.mails(user, domain)) >= count,
                 f"Dovecot's mail {count} for {user}@{domain}")
        return self.mails(user, domain)

    def stop(self):
        end_process(self.process)


class DovecotSubmission(Dovecot):
    """Dovecot's submission service: takes logins by tokens alone, which it
    checks itself, and hands mail on to another server. Its tokens are JSON
    Web Tokens (RFC 7519) signed with a key that both sides know."""

    def __init__(self, folder, host, port, certificate, relay):
        need_dovecot("submission", "dovecot-submissiond")
        self.folder = folder / "dovecot"
        self.host, self.port = host, port
        keys = self.folder / "keys" / "default" / "HS256"
        keys.mkdir(parents=True)
        self.key, self.key_file = b"the first key", keys / "default"
        self.key_file.write_bytes(base64.b64encode(self.key))
        for parent in (folder, self.folder, *keys.parents, keys):
            if parent.is_relative_to(folder):
                parent.chmod(0o711)
        self.key_file.chmod(0o644)
        oauth = self.folder / "oauth2.conf"
        oauth.write_text(f"""\
introspection_mode = local
local_validation_key_dict = fs:posix:prefix={self.folder}/keys/
username_attribute = sub
""")
        conf = self.folder / "dovecot.conf"
        conf.write_text(f"""\
base_dir = {self.folder}/run
state_dir = {self.folder}/state
log_path = {self.folder}/log
auth_verbose = yes
protocols = submission
ssl = required
ssl_cert = <{certificate.chain}
ssl_key = <{certificate.key}
hostname = smart.example
mail_location = maildir:{self.folder}/mail/%u
first_valid_uid = 1
first_valid_gid = 1
auth_mechanisms = oauthbearer xoauth2
auth_failure_delay = 0
submission_relay_host = {relay.host}
submission_relay_port = {relay.port}
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {oauth}
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home={self.folder}/mail/%u
}}
# failed logins are punished with seconds, which these tests would wait for
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service submission-login {{
  inet_listener submission {{
    address = {host}
    port = {port}
  }}
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
""")
        self._start()

    def _start(self):
        self.process = subprocess.Popen(
            ["dovecot", "-F", "-c", str(self.folder / "dovecot.conf")],
            stdout=open(self.folder / "out", "ab"), stderr=subprocess.STDOUT)
        wait_for(self._is_up, "Dovecot's start")

    def change_key(self):
        """From now on tokens made before are of no use."""
        self.stop()
        self.key = b"another key"
        self.key_file.write_bytes(base64.b64encode(self.key))
        self._start()

    def token(self, user, seconds=3600, key=None):
        """One for this user, that is good for so long; below 0: was."""
        def part(octets):
            return base64.urlsafe_b64encode(octets).rstrip(b"=")
        now = int(time.time())
        text = b".".join(part(json.dumps(one).encode()) for one in (
            {"typ": "JWT", "alg": "HS256"},
            {"iss": "lab", "sub": user, "iat": now - 7200,
             "nbf": now - 7200, "exp": now + seconds}))
        return (text + b"." + part(hmac.digest(
            key or self.key, text, "sha256"))).decode()
