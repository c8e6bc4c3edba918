# SPDX-License-Identifier: ISC
"""An SMTP client of bare hands: it says what it is told, byte for byte."""

import base64
import hashlib
import hmac
import os
import socket
import ssl

from .base import PATIENCE

NAME = "mail.ostler.example"


class Closed(Exception):
    """The server ended the connection."""


class Reply:
    def __init__(self, lines):
        self.lines = lines
        self.code = int(lines[-1][:3])
        self.text = "\n".join(line[4:] for line in lines)

    def __repr__(self):
        return f"<{self.code} {self.text!r}>"


class Talk:
    def __init__(self, to, source=None, context=None, is_implicit=False,
                 timeout=PATIENCE, greeting=True):
        """to: (host, port) or the path of a unix socket."""
        self.context = context
        if isinstance(to, tuple):
            self.socket = socket.create_connection(
                to, timeout, (source, 0) if source else None)
        else:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(timeout)
            self.socket.connect(str(to))
        self.rest = b""
        if is_implicit:
            self._wrap()
        self.greeting = self.reply() if greeting else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def _wrap(self):
        context = self.context
        if context is None:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        self.socket = context.wrap_socket(self.socket, server_hostname=NAME)

    def raw(self, octets):
        self.socket.sendall(octets)

    def line(self):
        while b"\n" not in self.rest:
            try:
                more = self.socket.recv(65536)
            except ConnectionResetError:
                more = b""
            if not more:
                raise Closed(self.rest)
            self.rest += more
        line, self.rest = self.rest.split(b"\n", 1)
        assert line.endswith(b"\r"), line
        return line[:-1].decode()

    def reply(self):
        lines = [self.line()]
        while lines[-1][3:4] == "-":
            lines.append(self.line())
        return Reply(lines)

    def say(self, line):
        self.raw(line.encode() + b"\r\n")
        return self.reply()

    def is_closed(self):
        """Waits for the end of the connection; what came before is lost."""
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionResetError:
            pass
        return True

    def ehlo(self, name="client.example"):
        reply = self.say(f"EHLO {name}")
        assert reply.code == 250, reply
        return reply

    def starttls(self):
        reply = self.say("STARTTLS")
        assert reply.code == 220, reply
        self._wrap()
        return self.ehlo()

    def mail(self, sender, *recipients):
        """MAIL and RCPTs, all of which must be taken."""
        reply = self.say(f"MAIL FROM:<{sender}>")
        assert reply.code == 250, reply
        for recipient in recipients:
            reply = self.say(f"RCPT TO:<{recipient}>")
            assert reply.code == 250, reply

    def data(self, content):
        """content: with CR LF; the reply to its end."""
        assert self.say("DATA").code == 354
        self.raw(stuff(content))
        return self.reply()

    def plain(self, user, password):
        token = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
        return self.say(f"AUTH PLAIN {token}")

    def external(self, name="", is_initial=True):
        """RFC 4422, appendix A."""
        token = base64.b64encode(name.encode()).decode()
        if is_initial:
            return self.say(f"AUTH EXTERNAL {token or '='}")
        reply = self.say("AUTH EXTERNAL")
        assert (reply.code, reply.text) == (334, ""), reply
        return self.say(token)

    def login(self, user, password):
        reply = self.say("AUTH LOGIN")
        assert reply.code == 334, reply
        reply = self.say(base64.b64encode(user.encode()).decode())
        assert reply.code == 334, reply
        return self.say(base64.b64encode(password.encode()).decode())

    def scram(self, user, password, binding=None, kind="tls-unique",
              between=None):
        """RFC 5802 with SHA-256 (RFC 7677); checks the server too.

        binding: octets that bind it to the connection (-PLUS); between: what
        to do before the proof is sent."""
        def encode(text):
            return base64.b64encode(text.encode()).decode()

        def mac(key, text):
            return hmac.new(key, text.encode(), hashlib.sha256).digest()
        nonce = base64.b64encode(os.urandom(18)).decode()
        name = user.replace("=", "=3D").replace(",", "=2C")
        bare = f"n={name},r={nonce}"
        head = "n,," if binding is None else f"p={kind},,"
        bound = base64.b64encode(head.encode() + (binding or b"")).decode()
        reply = self.say("AUTH SCRAM-SHA-256"
                         + ("" if binding is None else "-PLUS")
                         + " " + encode(head + bare))
        if reply.code != 334:
            return reply
        first = base64.b64decode(reply.text).decode()
        part = dict(field.split("=", 1) for field in first.split(","))
        assert part["r"].startswith(nonce) and part["r"] != nonce
        salted = hashlib.pbkdf2_hmac(
            "sha256", password.encode(), base64.b64decode(part["s"]),
            int(part["i"]))
        without_proof = f"c={bound},r=" + part["r"]
        signed = ",".join((bare, first, without_proof))
        client_key = mac(salted, "Client Key")
        signature = mac(hashlib.sha256(client_key).digest(), signed)
        proof = bytes(a ^ b for a, b in zip(client_key, signature))
        if between is not None:
            between()
        reply = self.say(encode(
            without_proof + ",p=" + base64.b64encode(proof).decode()))
        if reply.code != 334:
            return reply
        last = base64.b64decode(reply.text).decode()
        wanted = mac(mac(salted, "Server Key"), signed)
        assert last == "v=" + base64.b64encode(wanted).decode(), last
        return self.say("")


def stuff(content):
    """content as it goes over the wire, with the line that ends it."""
    assert content.endswith(b"\r\n")
    dotted = content.replace(b"\r\n.", b"\r\n..")
    if dotted.startswith(b"."):
        dotted = b"." + dotted
    return dotted + b".\r\n"
