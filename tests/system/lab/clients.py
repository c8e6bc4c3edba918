# SPDX-License-Identifier: ISC
"""Mail programs that we did not write, each as a function.

Each takes the way in ("plain", "starttls", "tls"), and perhaps a mechanism
with a login, hands one message over and raises when that does not work."""

import base64
import shutil
import smtplib
import subprocess

import pytest

NAME = "mail.ostler.example"


def run(*words, content=None, **options):
    if shutil.which(str(words[0])) is None:
        pytest.skip(f"{words[0]} is not installed")
    done = subprocess.run([str(word) for word in words], input=content,
                          capture_output=True, timeout=120, **options)
    assert done.returncode == 0, (words, done.returncode, done.stdout[-3000:],
                                  done.stderr[-3000:])
    return done.stdout + done.stderr


def swaks(relay, authority, to, way, auth, sender, recipients, content):
    words = ["swaks", "--server", to[0], "--port", to[1], "--helo",
             "client.example", "--from", sender, "--to", ",".join(recipients),
             "--data", "@" + str(_file(relay, content))]
    if way != "plain":
        words += ["--tls" if way == "starttls" else "--tls-on-connect",
                  "--tls-verify", "--tls-ca-path", authority.file]
    if auth is not None:
        mechanism, user, password = auth
        words += ["--auth", mechanism, "--auth-user", user,
                  "--auth-password", password]
    run(*words)


def curl(relay, authority, to, way, auth, sender, recipients, content):
    scheme = "smtps" if way == "tls" else "smtp"
    words = ["curl", "-sS", "--max-time", 60, "--resolve",
             f"{NAME}:{to[1]}:{to[0]}", "--cacert", authority.file,
             "--mail-from", sender, "--upload-file", _file(relay, content)]
    for recipient in recipients:
        words += ["--mail-rcpt", recipient]
    if way == "starttls":
        words += ["--ssl-reqd"]
    if auth is not None:
        mechanism, user, password = auth
        words += ["--user", f"{user}:{password}", "--login-options",
                  f"AUTH={mechanism}"]
    run(*words, f"{scheme}://{NAME}:{to[1]}/client.example")


def msmtp(relay, authority, to, way, auth, sender, recipients, content):
    lines = ["account default", f"host {to[0]}", f"port {to[1]}",
             "domain client.example", f"from {sender}", "timeout 60"]
    if way == "plain":
        lines.append("tls off")
    else:
        lines += ["tls on", f"tls_host_override {NAME}",
                  "tls_starttls " + ("on" if way == "starttls" else "off"),
                  f"tls_trust_file {authority.file}"]
    if auth is not None:
        mechanism, user, password = auth
        lines += [f"auth {mechanism.lower()}", f"user {user}",
                  f'password "{password}"']
    conf = relay.folder / "msmtprc"
    conf.write_text("\n".join(lines) + "\n")
    conf.chmod(0o600)
    # it reads lines that end in LF, and sends them with CR LF
    run("msmtp", "-C", conf, *recipients,
        content=content.replace(b"\r\n", b"\n"))


def python(relay, authority, to, way, auth, sender, recipients, content):
    context = authority.context()
    if way == "tls":
        class Client(smtplib.SMTP_SSL):
            """Connects to an address, checks a name."""
            def _get_socket(self, host, port, timeout):
                plain = smtplib.SMTP._get_socket(self, host, port, timeout)
                return self.context.wrap_socket(plain, server_hostname=NAME)
        client = Client(*to, "client.example", timeout=60, context=context)
    else:
        client = smtplib.SMTP(*to, "client.example", timeout=60)
    with client:
        if way == "starttls":
            client._host = NAME
            client.starttls(context=context)
        if auth is not None:
            mechanism, client.user, client.password = auth
            client.ehlo()
            client.auth(mechanism, getattr(
                client, "auth_" + mechanism.lower()))
        refused = client.sendmail(sender, recipients, content)
        assert not refused


def _file(relay, content):
    """swaks and curl read a file; swaks undoes %-words in it, but not when it
    has none."""
    file = relay.folder / "message"
    file.write_bytes(content)
    return file


def token(text):
    return base64.b64encode(text.encode()).decode()
