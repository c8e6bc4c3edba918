# SPDX-License-Identifier: ISC
"""MTA-STS: a web server gives out the policy, and certificates are checked
by an authority of the laboratory (tls.ca)."""

import re
import shutil

import pytest

import lab.relay
from lab.base import loopback, wait_for
from lab.far import Far
from lab.web import Web, policy

FAR = "far.example"
MX = f"mx.{FAR}"


class Site(Far):
    """far.example with its MX, and the relay; the web server comes later."""

    def __init__(self, folder, names, authority, make_sink, relay, bad):
        self.folder, self.names, self.authority = folder, names, authority
        name = "other.example" if bad else MX
        super().__init__(FAR, relay, make_sink(
            certificate=authority.issue(folder / "far", name)))
        self.web = None
        names.domain(FAR, self.sink.host, ttl=60)
        relay.set("queue", idle_connection="0s")
        relay.set("tls", ca=authority.file)

    def publish(self, text, id_="1", ttl=1, name=None):
        """The web server with this text, then the TXT record: who sees that
        would remember for a while that there is no such server."""
        if self.web is None:
            name = name or f"mta-sts.{FAR}"
            certificate = self.authority.issue(self.folder / "web", name)
            self.web = Web(loopback(), certificate, text)
            self.names.host(f"mta-sts.{FAR}", self.web.host, ttl=1)
        self.web.policy = text
        self.names.set(f"_mta-sts.{FAR}", "TXT", f'"v=STSv1; id={id_};"',
                       ttl=ttl)


@pytest.fixture
def make_site(folder, names, authority, make_sink, relay):
    made = []

    def make(bad=False):
        made.append(Site(folder, names, authority, make_sink, relay, bad))
        return made[-1]
    yield make
    for site in made:
        if site.web is not None:
            site.web.stop()


def test_an_enforced_policy_wants_a_good_certificate_and_gets_it(make_site):
    site = make_site()
    site.publish(policy("enforce", MX))
    site.relay.start()
    site.send()
    event = site.delivered()
    assert event["security"] == "sts"
    assert event["tls"].startswith("TLSv1")
    assert site.web.asked == [f"mta-sts.{FAR}"]
    # known by now
    site.send()
    assert site.delivered(2)["security"] == "sts"
    assert len(site.web.asked) == 1


def test_an_enforced_policy_stops_mail_for_a_bad_certificate(make_site):
    site = make_site(bad=True)
    site.publish(policy("enforce", "*.far.example"))
    site.relay.start()
    site.send()
    attempt = site.wait_deferred("sts-failed")
    assert attempt["security"] == "sts"
    assert "mismatch" in attempt["reply"]
    assert "MTA-STS" in attempt["reply"]
    assert site.sink.mails == []
    # withdrawn, so mail flows again
    site.publish(policy("none"), id_="2")
    assert site.delivered()["security"] == "opportunistic"


def test_an_enforced_policy_stops_mail_for_a_host_it_does_not_name(make_site):
    site = make_site()
    site.publish(policy("enforce", "mail.far.example"))
    site.relay.start()
    site.send()
    attempt = site.wait_deferred("sts-failed")
    assert "does not name" in attempt["reply"]
    assert site.sink.connections == 0


def test_a_tested_policy_stops_nothing_and_is_told_of(make_site):
    site = make_site(bad=True)
    site.publish(policy("testing", MX))
    site.relay.start()
    site.send()
    event = site.delivered()
    assert event["security"] == "sts-testing"
    assert "mismatch" in event["policy_failure"]


@pytest.mark.parametrize("case", ("certificate", "status", "redirect", "type",
                                  "size", "text"))
def test_a_policy_that_cannot_be_read_counts_for_nothing(make_site, case):
    site = make_site(bad=True)
    text = {"status": 500, "redirect": 302, "text": "mode: enforce\r\n",
            "size": policy("enforce", MX) + "x: y\r\n" * 11000}.get(
                case, policy("enforce", MX))
    site.publish(text, name="else.example" if case == "certificate" else None)
    if case == "type":
        site.web.type = "text/html"
    site.relay.start()
    site.send()
    assert site.delivered()["security"] == "opportunistic"
    shown = site.relay.ctl("route", FAR, json=True).row
    [host] = shown["hosts"]
    assert host["security"] == "opportunistic"


def test_a_long_type_is_no_fault_of_ours(make_site):
    site = make_site(bad=True)
    site.publish(policy("testing", MX))
    site.web.type = "text/plain; " + "x" * 2000
    site.relay.start()
    site.send()
    event = site.delivered()
    assert event["security"] == "sts-testing"


def test_a_policy_outlives_its_web_server_and_a_restart(make_site):
    site = make_site()
    site.publish(policy("enforce", MX))
    site.relay.start()
    site.send()
    assert site.delivered()["security"] == "sts"
    site.web.stop()
    site.names.set(f"_mta-sts.{FAR}", "TXT")
    wait_for((site.relay.spool / "sts").exists, "the file")
    site.relay.restart()
    site.send()
    assert site.delivered(2)["security"] == "sts"


def test_a_route_can_demand_a_policy(make_site):
    site = make_site()
    site.relay.route("strict", for_=[FAR], tls="sts")
    site.relay.start()
    site.send()
    attempt = site.wait_deferred("tls-policy")
    assert "has no policy" in attempt["reply"]
    assert site.sink.connections == 0
    # to whom a policy is demanded, one in test is one
    site.publish(policy("testing", MX))
    assert site.delivered()["security"] == "sts"


def test_the_route_tells_where_its_security_comes_from(make_site):
    site = make_site()
    site.publish(policy("enforce", MX), id_="20261121", ttl=60)
    site.relay.start()
    [host] = site.relay.ctl("route", FAR, json=True).row["hosts"]
    assert host["security"] == "sts"
    assert "20261121" in host["security_from"]
    assert 0 < host["security_ttl_s"] <= 60
    shown = site.relay.ctl("route", FAR).out
    assert "security sts by MTA-STS policy 20261121 of far.example" in shown
    assert "enforce, read 20" in shown


def test_without_the_program_that_reads_them_the_admin_is_told(
        make_site, folder, monkeypatch):
    """A package may leave it out: mail flows, and somebody hears of it."""
    alone = folder / "alone" / "ostlerd"
    alone.parent.mkdir()
    shutil.copy(lab.relay.OSTLERD, alone)
    # an ostler may be installed here: this one looks for it in another folder
    octets, found = re.subn(rb"(/[!-~]*/)libexec(/ostler)\0",
                            rb"\1nowhere\2\0", alone.read_bytes())
    assert found == 1
    alone.write_bytes(octets)
    monkeypatch.setattr(lab.relay, "OSTLERD", alone)
    site = make_site()
    site.publish(policy("enforce", MX))
    site.relay.start()
    site.send()
    assert site.delivered()["security"] == "opportunistic"
    fault = site.relay.wait_event("fault")[0]
    assert fault["kind"] == "sts"
    assert "ostler-fetch" in fault["reason"]
    assert [one["kind"] for one in site.relay.status()["faults"]] == ["sts"]
    # who demands policies hears it at once
    site.relay.route("strict", for_=[FAR], tls="sts")
    answer = site.relay.reload()
    assert answer.code == 78 and "ostler-fetch" in answer.err
