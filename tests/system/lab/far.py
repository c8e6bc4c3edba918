# SPDX-License-Identifier: ISC
"""A domain elsewhere, and the relay that has mail for it."""

from lab import mails
from lab.base import wait_for
from lab.talk import Talk


class Far:
    """What is said about its TLS is up to who derives from this."""

    def __init__(self, domain, relay, sink):
        self.far, self.relay, self.sink = domain, relay, sink
        relay.set("queue", port=sink.port)
        relay.set("relay", trusted_networks=["127.0.0.0/8"])

    def send(self):
        """One message, queued by the relay; its identifier there."""
        with Talk(self.relay.mx) as talk:
            talk.ehlo()
            talk.mail("anna@local.example", f"bob@{self.far}")
            reply = talk.data(mails.message(b"hello\r\n"))
            assert reply.code == 250, reply
            return reply.text.split()[-1]

    def delivered(self, count=1):
        """The log's line of that delivery."""
        return wait_for(
            lambda: self.relay.events("delivered")[count - 1:],
            f"delivery {count}")[-1]

    def wait_deferred(self, cause):
        """The attempt, once there is one that ended so."""
        def found():
            for one in self.relay.queue():
                shown = self.relay.ctl("queue", "show", one["id"],
                                       json=True).row
                for attempt in shown["tries"]:
                    if attempt["cause"] == cause:
                        return attempt
            return None
        return wait_for(found, f"an attempt that ends as {cause}")
