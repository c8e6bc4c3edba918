# SPDX-License-Identifier: ISC
"""aiosmtpd as the other server: keeps what comes, answers as it is told."""

import asyncio
import collections
import ssl
import threading
import time

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

from .base import PATIENCE, awake, wait_for

Mail = collections.namedtuple(
    "Mail", "sender recipients content at awake_at options is_tls login peer")


class Reactor:
    """One event loop in a thread, for all sinks of a test."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever,
                                       daemon=True)
        self.thread.start()

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine,
                                                self.loop).result(PATIENCE)

    def stop(self):
        async def cancel_all():
            mine = asyncio.current_task()
            tasks = [t for t in asyncio.all_tasks() if t is not mine]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self.run(cancel_all())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


class _Server(SMTP):
    """Tells its sink of connections."""

    def __init__(self, sink, **options):
        super().__init__(sink, ident="sink", **options)
        self.sink = sink

    def connection_made(self, transport):
        if self._original_transport is None:
            self.sink.connections += 1
            self.sink.open.add(transport)
            self.sink.most_open = max(self.sink.most_open,
                                      len(self.sink.open))
        super().connection_made(transport)

    def connection_lost(self, error):
        if self.transport is not None:
            self.sink.open.discard(self.transport)
        super().connection_lost(error)


class Sink:
    """on_mail, on_rcpt, on_data: functions of the address or the envelope
    that return a reply, or None to take it. They may be changed any time."""

    def __init__(self, reactor, host, port, certificate=None, users=None,
                 require_tls=False, is_implicit=False,
                 utf8=True):
        self.reactor, self.host, self.port = reactor, host, port
        self.mails = []
        self.starts = []  # when MAIL came, by awake(), whatever became of it
        self.connections = 0
        self.open, self.most_open = set(), 0
        self.on_mail = self.on_rcpt = self.on_data = lambda arg: None
        self.login_refusal = None  # a reply; None: aiosmtpd's own
        self.options = {"data_size_limit": 0, "enable_SMTPUTF8": utf8,
                        "timeout": 300}
        self.users = users
        self.context = None  # TLS from the first octet
        if certificate is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(certificate.chain, certificate.key)
            if is_implicit:
                self.context = context
            else:
                self.options["tls_context"] = context
                self.options["require_starttls"] = require_tls
        if users is not None:
            self.options.update(
                authenticator=self._check, auth_required=True,
                auth_require_tls=certificate is not None and not is_implicit)
        self.server = None
        self.start()

    # aiosmtpd's hooks

    async def handle_MAIL(self, server, session, envelope, address, options):
        self.starts.append(awake())
        reply = self.on_mail(address)
        if reply is None:
            envelope.mail_from = address
            envelope.mail_options.extend(options)
        return reply or "250 2.1.0 ok"

    async def handle_RCPT(self, server, session, envelope, address, options):
        reply = self.on_rcpt(address)
        if reply is None:
            envelope.rcpt_tos.append(address)
            envelope.rcpt_options.extend(options)
        return reply or "250 2.1.5 ok"

    async def handle_DATA(self, server, session, envelope):
        reply = self.on_data(envelope)
        if reply is None:
            login = session.auth_data.login.decode() \
                if session.authenticated else None
            self.mails.append(
                Mail(envelope.mail_from.replace("<>", ""), list(envelope.rcpt_tos),
                     envelope.original_content, time.monotonic(), awake(),
                     list(envelope.mail_options),
                     self.context is not None or session.ssl is not None,
                     login, session.peer[0]))
        return reply or "250 2.0.0 taken"

    def _check(self, server, session, envelope, mechanism, data):
        is_right = isinstance(data, LoginPassword) and \
            self.users.get(data.login.decode()) == data.password.decode()
        return AuthResult(success=is_right, handled=False, auth_data=data,
                          message=None if is_right else self.login_refusal)

    # life

    def start(self):
        loop = self.reactor.loop
        self.server = self.reactor.run(loop.create_server(
            lambda: _Server(self, loop=loop, **self.options), self.host,
            self.port, ssl=self.context))

    def stop(self):
        """Refuses connections and cuts those that are open."""
        if self.server is None:
            return

        async def close():
            self.server.close()
            await self.server.wait_closed()
            for transport in list(self.open):
                transport.abort()
            self.open.clear()
        self.reactor.run(close())
        self.server = None

    def wait(self, count=1, seconds=None):
        """The mails, once there are so many."""
        wait_for(lambda: len(self.mails) >= count,
                 f"mail {count} at {self.host}", seconds)
        return self.mails
