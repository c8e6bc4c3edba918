# SPDX-License-Identifier: ISC
"""A certificate authority for one run."""

import collections
import hashlib
import ssl
import subprocess

Certificate = collections.namedtuple("Certificate", "chain key")


def _openssl(*words):
    subprocess.run(["openssl", *map(str, words)], check=True,
                   capture_output=True)


def tlsa(certificate, usage=3):
    """The TLSA record of a certificate's key, by its SHA-256."""
    key = subprocess.run(["openssl", "x509", "-in", certificate.chain,
                          "-noout", "-pubkey"], check=True,
                         capture_output=True).stdout
    der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"],
                         check=True, capture_output=True, input=key).stdout
    return f"{usage} 1 1 {hashlib.sha256(der).hexdigest()}"


class Authority:
    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.file = folder / "ca.pem"
        self.key = folder / "ca.key"
        self.serial = 1
        _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt",
                 "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                 "-subj", "/CN=lab authority", "-keyout", self.key,
                 "-out", self.file)

    def issue(self, folder, *names, kind="ec", days=2):
        """A certificate for these names, in a new folder or a used one.

        kind: of its key, ec or rsa; days: below 0, it has ended already."""
        folder.mkdir(exist_ok=True)
        self.serial += 1
        key, request, chain = (folder / f for f in
                               ("key.pem", "request.pem", "chain.pem"))
        extensions = folder / "extensions"
        extensions.write_text("subjectAltName=" + ",".join(
            f"DNS:{name}" for name in names) + "\n")
        option = "ec_paramgen_curve:prime256v1" if kind == "ec" else \
            "rsa_keygen_bits:2048"
        _openssl("req", "-new", "-newkey", kind, "-pkeyopt", option, "-nodes",
                 "-subj", f"/CN={names[0]}", "-keyout", key, "-out", request)
        _openssl("x509", "-req", "-in", request, "-CA", self.file, "-CAkey",
                 self.key, "-set_serial", self.serial, "-days", days,
                 "-extfile", extensions, "-out", chain)
        return Certificate(chain, key)

    def issue_client(self, folder, subject, *addresses, days=2,
                     usage="clientAuth"):
        """A certificate for somebody. subject: "/CN=anna"; addresses: mail
        addresses in it; days: below 0, it has ended already."""
        folder.mkdir(exist_ok=True)
        self.serial += 1
        key, request, chain = (folder / f for f in
                               ("key.pem", "request.pem", "chain.pem"))
        extensions = folder / "extensions"
        extensions.write_text(
            f"extendedKeyUsage={usage}\n" + ("subjectAltName=" + ",".join(
                f"email:{address}" for address in addresses) + "\n"
                if addresses else ""))
        _openssl("req", "-new", "-newkey", "ec", "-pkeyopt",
                 "ec_paramgen_curve:prime256v1", "-nodes", "-utf8", "-subj",
                 subject, "-keyout", key, "-out", request)
        _openssl("x509", "-req", "-in", request, "-CA", self.file, "-CAkey",
                 self.key, "-set_serial", self.serial, "-days", days,
                 "-extfile", extensions, "-out", chain)
        return Certificate(chain, key)

    def revoke(self, folder, *certificates):
        """A revocation list that has them, as a file."""
        folder.mkdir(exist_ok=True)
        index, conf, file = (folder / f for f in
                             ("index.txt", "ca.conf", "crl.pem"))
        lines = []
        for certificate in certificates:
            serial = subprocess.run(
                ["openssl", "x509", "-in", certificate.chain, "-noout",
                 "-serial"], check=True, capture_output=True, text=True)
            lines.append("R\t491231235959Z\t200101000000Z\t"
                         + serial.stdout.strip().split("=")[1]
                         + "\tunknown\t/CN=revoked\n")
        index.write_text("".join(lines))
        conf.write_text("[ca]\ndefault_ca = lab\n[lab]\n"
                        f"database = {index}\ndefault_md = sha256\n"
                        "default_crl_days = 2\n")
        _openssl("ca", "-config", conf, "-gencrl", "-cert", self.file,
                 "-keyfile", self.key, "-out", file)
        return file

    def context(self, certificate=None):
        """For a client that checks, and perhaps shows a certificate."""
        context = ssl.create_default_context(cafile=str(self.file))
        if certificate is not None:
            context.load_cert_chain(certificate.chain, certificate.key)
        return context
