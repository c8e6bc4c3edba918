# SPDX-License-Identifier: ISC
"""What people point at a relay that stands on the internet: nmap's search for
open relays, a load generator, and the facts that testssl.sh looks for."""

import socket
import ssl
import subprocess

import pytest

from lab import clients
from lab.base import wait_for


def test_nmap_finds_no_combination_that_relays(relay):
    relay.set("limits", errors=1000)
    relay.start()
    for to in (relay.mx, relay.submission):
        said = clients.run(
            "nmap", "-n", "-Pn", "--script", "+smtp-open-relay",
            "--script-args", "smtp-open-relay.domain=far.example,"
            f"smtp-open-relay.ip={to[0]}", "-p", to[1], to[0]).decode()
        # the words of a failed probe are "MAIL FROM:<...> -> RCPT TO:<...>"
        assert "RCPT TO" not in said, said
        assert "all tests failed" in said if to == relay.mx else \
            "authentication needed" in said, said
    assert not relay.queue()
    assert relay.wait_event("reject", 5, rule="relay-denied")


def test_five_hundred_sessions_at_once_are_served(relay):
    relay.domain("sink.example", "discard")
    relay.set("limits", connections_per_client=600)
    relay.set("log", level="warn")
    relay.start()
    clients.run("smtp-source", "-s", 500, "-m", 1500, "-l", 2000, "-f",
                "anna@local.example", "-t", "bob@sink.example", "-S", "load",
                "%s:%d" % relay.mx)
    status = relay.status()
    assert status["queue"]["accepted"] == 1500
    assert not relay.events("reject")


# -------------------------------------------------- what testssl.sh finds

@pytest.fixture
def secured(relay, authority, folder):
    rsa = authority.issue(folder / "rsa", "mail.ostler.example", kind="rsa")
    relay.set("tls", second_certificate=rsa.chain, second_key=rsa.key)
    return relay.start()


WAYS = {"mx": ("mx", True), "submission": ("submission", True),
        "submissions": ("submissions", False)}


def s_client(relay, way, *options, input=b"QUIT\r\n"):
    name, has_starttls = WAYS[way]
    done = subprocess.run(
        ["openssl", "s_client", "-connect", "%s:%d" % getattr(relay, name),
         *(["-starttls", "smtp"] if has_starttls else []), *options],
        input=input, capture_output=True, timeout=300)
    return done.returncode, (done.stdout + done.stderr).decode()


def renegotiate(relay, way):
    """Asks for a handshake within the connection, once the server is silent:
    what it says meanwhile ends openssl's part of it."""
    name, has_starttls = WAYS[way]
    with subprocess.Popen(
            ["openssl", "s_client", "-connect", "%s:%d" % getattr(relay, name),
             "-tls1_2", *(["-starttls", "smtp"] if has_starttls else [])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT) as client:
        said = b""
        # the greeting, or what openssl writes last behind STARTTLS
        for line in client.stdout:
            said += line
            if line.startswith((b"250 ", b"220 ")):
                break
        client.stdin.write(b"R\nEHLO x\r\n")
        client.stdin.close()
        said += client.stdout.read()
    return said.decode()


def offered(relay, way):
    """Every TLS 1.2 cipher that the server takes, best first as it says."""
    name, has_starttls = WAYS[way]
    left = [c["name"] for c in ssl_ciphers() if c["protocol"] != "TLSv1.3"]
    found = []
    while left:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(":".join(left) + ":@SECLEVEL=0")
        with socket.create_connection(getattr(relay, name), 30) as plain:
            if has_starttls:
                for line in (b"", b"EHLO client.example\r\n", b"STARTTLS\r\n"):
                    plain.sendall(line)
                    plain.recv(4096)
            try:
                with context.wrap_socket(plain) as tls:
                    found.append(tls.cipher()[0])
            except ssl.SSLError:
                return found
        left.remove(found[-1])
    return found


def ssl_ciphers():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers("ALL:COMPLEMENTOFALL:@SECLEVEL=0")
    return context.get_ciphers()


@pytest.mark.parametrize("way", WAYS)
def test_every_cipher_is_modern(secured, way):
    found = offered(secured, way)
    assert len(found) > 8, found
    for cipher in found:
        assert cipher.startswith(("ECDHE-ECDSA-", "ECDHE-RSA-")), found
        for weak in ("RC4", "DES", "NULL", "EXP", "MD5", "SEED", "IDEA",
                     "CAMELLIA", "ARIA", "CCM8", "anon", "PSK"):
            assert weak not in cipher, found
    # who can do better is never given CBC
    is_aead = ["GCM" in c or "CHACHA" in c or "CCM" in c for c in found]
    assert is_aead == sorted(is_aead, reverse=True), found


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_renegotiated_compressed_or_weak(secured, way):
    _, said = s_client(secured, way, "-tls1_2")
    for fact in ("Secure Renegotiation IS supported", "Compression: NONE",
                 "Extended master secret: yes"):
        assert fact in said, said
    # a client that asks for a handshake within the connection gets none
    said = renegotiate(secured, way)
    assert "RENEGOTIATING" in said
    assert "no renegotiation" in said, said
    for options in (("-groups", "secp192r1"), ("-groups", "sect163k1"),
                    ("-sigalgs", "RSA+SHA1:ECDSA+SHA1", "-tls1_2",
                     "-cipher", "ALL:@SECLEVEL=0")):
        code, said = s_client(secured, way, "-brief", *options)
        assert code != 0, said
    # fallback is told from a real lack (RFC 7507)
    code, said = s_client(secured, way, "-tls1_2", "-fallback_scsv")
    assert "inappropriate fallback" in said, said


def ticket_key_name(said):
    """The first 16 octets of the ticket that openssl shows in hex."""
    lines = said.split("TLS session ticket:")[1].splitlines()
    return lines[1].split(" - ")[1][:47].replace("-", " ")


def test_tickets_resume_and_end_with_a_reload(secured, folder):
    session = folder / "session"
    first = s_client(secured, "submissions", "-tls1_2", "-sess_out",
                     str(session))[1]
    again = s_client(secured, "submissions", "-tls1_2", "-sess_in",
                     str(session))[1]
    assert "Reused, TLSv1.2" in again, again
    other = s_client(secured, "submissions", "-tls1_2")[1]
    assert ticket_key_name(first) == ticket_key_name(other)
    assert secured.reload().code == 0

    def is_new():
        said = s_client(secured, "submissions", "-tls1_2", "-sess_in",
                        str(session))[1]
        return "New, TLSv1.2" in said and \
            ticket_key_name(said) != ticket_key_name(first)
    wait_for(is_new, "new keys for tickets")
