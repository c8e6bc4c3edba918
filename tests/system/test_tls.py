# SPDX-License-Identifier: ISC
"""TLS as seen from outside: what is spoken, with which certificate, and what
happens when that is renewed."""

import socket
import ssl
import subprocess

import pytest

from lab.base import wait_for


def s_client(relay, *options):
    """openssl's own client on the implicit port; what it says."""
    done = subprocess.run(
        ["openssl", "s_client", "-connect", "%s:%d" % relay.submissions,
         "-servername", "mail.ostler.example", "-brief", *options],
        input=b"QUIT\r\n", capture_output=True, timeout=300)
    return done.returncode, (done.stdout + done.stderr).decode()


def serial(relay):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection(relay.submissions, 30) as plain, \
            context.wrap_socket(plain) as secured:
        return ssl.DER_cert_to_PEM_cert(secured.getpeercert(True))


WEAK = ("-cipher", "ALL:@SECLEVEL=0")


@pytest.mark.parametrize("options, version", [
    (("-tls1", *WEAK), None),
    (("-tls1_1", *WEAK), None),
    (("-tls1_2",), "TLSv1.2"),
    (("-tls1_3",), "TLSv1.3"),
    (("-tls1_2", "-cipher", "AES128-SHA:AES256-GCM-SHA384"), None),
    (("-tls1_2", "-cipher", "aNULL:eNULL:@SECLEVEL=0"), None),
    (("-tls1_2", "-cipher", "3DES:RC4:DES:SEED:IDEA:@SECLEVEL=0"), None),
])
def test_only_modern_tls_is_spoken(relay, options, version):
    relay.start()
    code, said = s_client(relay, *options)
    if version is None:
        assert code != 0 and "CONNECTION ESTABLISHED" not in said, said
    else:
        assert code == 0 and f"Protocol version: {version}" in said, said


def test_minimum_1_3_leaves_1_2_out(relay):
    relay.set("tls", minimum="1.3")
    relay.start()
    assert s_client(relay, "-tls1_2")[0] != 0
    assert s_client(relay, "-tls1_3")[0] == 0


def test_ecdsa_and_rsa_stand_side_by_side(relay, authority, folder):
    rsa = authority.issue(folder / "rsa", "mail.ostler.example", kind="rsa")
    relay.set("tls", second_certificate=rsa.chain, second_key=rsa.key)
    relay.start()
    for cipher, kind in (("ECDHE-RSA-AES256-GCM-SHA384", "RSA"),
                         ("ECDHE-ECDSA-AES256-GCM-SHA384", "ECDSA")):
        code, said = s_client(relay, "-tls1_2", "-cipher", cipher)
        assert code == 0 and f"Signature type: {kind}" in said, said
    code, said = s_client(relay, "-tls1_3", "-sigalgs",
                          "rsa_pss_rsae_sha256")
    assert code == 0 and "Signature type: RSA-PSS" in said, said
    code, said = s_client(relay, "-tls1_3")
    assert code == 0 and "Signature type: ECDSA" in said, said


def test_a_renewed_certificate_is_taken_by_itself(relay, authority, folder):
    relay.set("tls", watch="1s")
    relay.start()
    before = serial(relay)
    authority.issue(folder / "tls", "mail.ostler.example")
    wait_for(lambda: serial(relay) != before, "the new certificate")
    assert relay.wait_event("reload", reason="a certificate file has changed")
    assert relay.wait_event("reload", result="taken")


def test_half_of_a_renewal_keeps_the_old_certificate(relay, authority,
                                                     folder):
    relay.set("tls", watch="1s")
    relay.start()
    before = serial(relay)
    new = authority.issue(folder / "new", "mail.ostler.example")
    (folder / "tls" / "chain.pem").write_bytes(new.chain.read_bytes())
    relay.wait_event("reload", result="kept the old configuration")
    assert serial(relay) == before
    (folder / "tls" / "key.pem").write_bytes(new.key.read_bytes())
    wait_for(lambda: serial(relay) != before, "the new certificate")


def test_one_kind_of_key_twice_is_a_mistake(relay, authority, folder):
    other = authority.issue(folder / "other", "mail.ostler.example")
    relay.set("tls", second_certificate=other.chain, second_key=other.key)
    relay.launch()
    assert relay.ended() != 0
    assert "has the same kind of key" in relay.log_text()
