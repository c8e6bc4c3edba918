# SPDX-License-Identifier: ISC
"""A web server that gives out MTA-STS policies."""

import http.server
import ssl
import threading

import pytest


class Web:
    """.policy: the text, or a status code instead; .asked: the hosts."""

    def __init__(self, host, certificate, policy):
        self.host, self.policy = host, policy
        self.type = "text/plain; charset=utf-8"
        self.asked = []
        web = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                web.asked.append(self.headers["Host"])
                assert self.path == "/.well-known/mta-sts.txt"
                if isinstance(web.policy, int):
                    self.send_response(web.policy)
                    self.send_header("Location", "https://else.example/")
                    self.end_headers()
                    return
                self.send_response(200)
                self.send_header("Content-Type", web.type)
                self.end_headers()
                self.wfile.write(web.policy.encode())

            def log_message(self, *args):
                pass

        try:
            self.server = http.server.ThreadingHTTPServer((host, 443), Handler)
        except PermissionError:
            pytest.skip("only root may do it: listen on port 443")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate.chain, certificate.key)
        self.server.socket = context.wrap_socket(
            self.server.socket, server_side=True)
        self.thread = threading.Thread(target=self.server.serve_forever,
                                       daemon=True)
        self.thread.start()

    def stop(self):
        if self.server is None:
            return
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
        self.server = None


def policy(mode, *hosts, max_age=86400):
    return "".join(f"{line}\r\n" for line in (
        "version: STSv1", f"mode: {mode}", f"max_age: {max_age}",
        *(f"mx: {host}" for host in hosts)))
