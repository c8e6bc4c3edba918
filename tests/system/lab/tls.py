# SPDX-License-Identifier: ISC
"""A certificate authority for one run."""

import collections
import ssl
import subprocess

Certificate = collections.namedtuple("Certificate", "chain key")


def _openssl(*words):
    subprocess.run(["openssl", *map(str, words)], check=True,
                   capture_output=True)


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

    def issue(self, folder, *names, kind="ec"):
        """A certificate for these names, in a new folder or a used one.

        kind: of its key, ec or rsa."""
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
                 self.key, "-set_serial", self.serial, "-days", "2",
                 "-extfile", extensions, "-out", chain)
        return Certificate(chain, key)

    def context(self):
        """For a client that checks."""
        return ssl.create_default_context(cafile=str(self.file))
