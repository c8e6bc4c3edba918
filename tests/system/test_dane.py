# SPDX-License-Identifier: ISC
"""DANE: knot signs the zone, unbound validates it, TLSA records decide."""

import pytest

from dnslab import Unbound
from lab.base import wait_for
from lab.far import Far
from lab.tls import tlsa

FAR = "far.signed.example"


class Site(Far):
    """A signed domain with one MX, its key, and the relay that sends there."""

    def __init__(self, folder, names, authority, make_sink, relay, resolver):
        self.names = names
        self.certificate = authority.issue(folder / "far", f"mx.{FAR}")
        super().__init__(FAR, relay, make_sink(certificate=self.certificate,
                                               require_tls=True))
        names.domain(FAR, self.sink.host, ttl=1)
        relay.set("queue", idle_connection="30s")
        relay.set("resolver", servers=[resolver.server], timeout="5s")

    @property
    def tlsa_name(self):
        return f"_{self.sink.port}._tcp.mx.{FAR}"

    def publish(self, *records, ttl=1):
        self.names.set(self.tlsa_name, "TLSA", *records, ttl=ttl)


@pytest.fixture
def make_site(folder, names, authority, make_sink, make_relay):
    made = []

    def make(*settings):
        made.append(Unbound(folder, names, settings))
        return Site(folder, names, authority, make_sink, make_relay(names),
                    made[-1])
    yield make
    for resolver in made:
        resolver.stop()


@pytest.fixture
def site(make_site):
    return make_site()


def test_the_right_record_secures_the_connection(site):
    site.publish(tlsa(site.certificate))
    site.relay.start()
    site.send()
    [mail] = site.sink.wait()
    assert mail.is_tls
    event = site.delivered()
    assert event["security"] == "dane"
    assert event["tls"].startswith("TLSv1")


def test_a_wrong_record_stops_mail_until_it_is_right(site):
    site.publish("3 1 1 " + "ab" * 32)
    site.relay.start()
    site.send()
    attempt = site.wait_deferred("dane-failed")
    assert attempt["security"] == "dane"
    assert attempt["command"] == "TLS handshake"
    assert site.tlsa_name in attempt["reply"]
    assert "DANE" in attempt["reply"]
    assert site.sink.mails == []
    shown = site.relay.ctl("queue", "show", site.relay.queue()[0]["id"])
    assert "DANE is not satisfied" in shown.out
    # its TTL is a second: the next attempts go by the new one
    site.publish(tlsa(site.certificate))
    [mail] = site.sink.wait()
    assert mail.is_tls


def test_records_that_cannot_be_had_stop_mail(site):
    # a zone of its own, whose server nobody is
    site.names.set(f"_tcp.mx.{FAR}", "NS", "ns.lost.example.")
    site.names.host("ns.lost.example", "127.0.0.9")
    site.relay.start()
    site.send()
    attempt = site.wait_deferred("dane-lookup")
    assert attempt["command"] == "DNS"
    assert "SERVFAIL" in attempt["reply"] or "time" in attempt["reply"]
    assert site.sink.connections == 0


def test_signatures_that_are_over_stop_mail(make_site):
    site = make_site('val-override-date: "20600101000000"')
    site.publish(tlsa(site.certificate))
    site.relay.start()
    site.send()

    def waits():
        return [event for event in site.relay.events("deferred")
                if event["status"] == "4.4.3"]
    wait_for(waits, "a deferral")
    assert site.sink.connections == 0


def test_an_open_connection_ends_with_the_records_it_was_made_by(site):
    # what names the host lasts, what names its key does not
    site.names.domain(FAR, site.sink.host, ttl=60)
    site.publish(tlsa(site.certificate))
    site.relay.start()
    site.send()
    site.sink.wait()
    site.publish("3 1 1 " + "ab" * 32)

    def is_refused():
        site.send()
        return site.relay.events("deferred")
    [event, *_] = wait_for(is_refused, "the new record's word")
    assert "DANE" in event["reply"]
    took = len(site.sink.mails)
    site.send()
    wait_for(lambda: len(site.relay.queue()) >= 2, "two that wait")
    assert len(site.sink.mails) == took


def test_without_records_any_certificate_will_do(site):
    site.relay.start()
    site.send()
    [mail] = site.sink.wait()
    assert mail.is_tls
    assert site.delivered()["security"] == "opportunistic"


def test_a_route_can_demand_dane(site):
    site.relay.route("strict", for_=[FAR], tls="dane")
    site.relay.start()
    site.send()
    attempt = site.wait_deferred("tls-policy")
    assert "no TLSA records" in attempt["reply"]
    assert site.sink.connections == 0
    site.publish(tlsa(site.certificate))
    site.sink.wait()


def test_records_without_tls_at_the_host_stop_mail(site, make_sink):
    site.sink.stop()
    plain = make_sink(site.sink.host, site.sink.port)
    site.publish(tlsa(site.certificate))
    site.relay.start()
    site.send()
    attempt = site.wait_deferred("dane-failed")
    assert "STARTTLS" in attempt["reply"]
    assert plain.mails == []


def test_the_route_tells_where_its_security_comes_from(site):
    site.publish(tlsa(site.certificate), ttl=60)
    site.relay.start()
    [host] = site.relay.ctl("route", FAR, json=True).row["hosts"]
    assert host["secure"] and host["security"] == "dane"
    assert 0 < host["security_ttl_s"] <= 60
    assert f"security dane by TLSA {site.tlsa_name}, " in \
        site.relay.ctl("route", FAR).out
