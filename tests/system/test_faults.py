# SPDX-License-Identifier: ISC
"""What is our own fault: mail waits, the administrator hears of it once, and
only then it comes back."""

import json
import os
import stat

import pytest

from lab import mails
from lab.base import wait_for
from lab.need import need_less_free
from lab.talk import Talk


@pytest.fixture
def relay(relay):
    relay.set("relay", trusted_networks=["127.0.0.0/8"])
    return relay


@pytest.fixture
def alerts(relay, folder):
    """A command that keeps what it is told; the list of it."""
    kept = folder / "alerts"
    script = folder / "page me"
    script.write_text("#!/bin/sh\n"
                      "[ \"$1\" = 'the admin' ] || exit 9\n"
                      # of the daemon's environment it has no secret
                      "[ -z \"$OSTLER_TEST_SECRET\" ] || exit 8\n"
                      "[ -n \"$PATH\" ] || exit 7\n"
                      f"cat >>'{kept}'\n")
    script.chmod(0o755)
    relay.set("queue", alert_command=f"'{script}' \"the admin\"")
    relay.environment["OSTLER_TEST_SECRET"] = "secret"

    def read():
        return [json.loads(line) for line in kept.read_text().splitlines()] \
            if kept.exists() else []
    return read


def hand_in(relay, to="bob@far.example", count=1):
    for _ in range(count):
        with Talk(relay.mx) as talk:
            talk.ehlo()
            talk.mail("anna@local.example", to)
            assert talk.data(mails.message()).code == 250


def faults(relay):
    return {row["kind"]: row for row in relay.status()["faults"]}


def test_a_wrong_login_at_the_smarthost(relay, make_sink, authority, folder,
                                        alerts):
    certificate = authority.issue(folder / "smart", "smart.example")
    smart = make_sink(certificate=certificate, users={"me": "right"})
    # large providers say it in two lines
    smart.login_refusal = ("535-5.7.8 Authentication credentials invalid,\r\n"
                           "535 5.7.8 see https://smart.example/help")
    secret = folder / "secret"
    secret.write_text("wrong\n")
    secret.chmod(0o600)
    relay.route("smart", for_=["*"], via=[f"smtp:{smart.host}:{smart.port}"],
                user="me", password_file=secret)
    relay.start()
    hand_in(relay, count=20)
    relay.wait_event("deferred", fault="own")
    fault = wait_for(lambda: faults(relay).get("login"), "the fault")
    assert fault["where"] == "route smart"
    # the reply as it came, with its code
    assert fault["count"] >= 1
    assert fault["reason"] == smart.login_refusal.replace("\r", "")
    assert "password_file" in fault["advice"]
    row, = [row for row in relay.ctl("doctor", json=True).rows
            if row["check"] == "fault"]
    assert (row["about"], row["state"]) == ("login at route smart", "fail")
    assert (row["text"], row["advice"]) == (fault["reason"], fault["advice"])
    waits = wait_for(lambda: [row for row in relay.queue()
                              if row["state"] == "deferred"], "a deferral")
    text = relay.ctl("queue", "show", waits[0]["id"]).out
    assert "bob@far.example  deferred, " in text, text
    assert "        535 5.7.8 " in text
    text = relay.ctl("status").out
    first, second = fault["reason"].split("\n")
    assert text.count(f"fault: login at route smart: {first}\n"
                      f"       {second}\n       ") == 1, text
    text = relay.ctl("doctor").out
    assert f": {first}\n      {second}\n      -> " in text, text
    assert relay.maildir("anna") == []  # nobody is told within the grace
    wait_for(alerts, "the alert")
    # however much mail it stops: told once
    hand_in(relay, count=20)
    secret.write_text("right\n")
    assert relay.reload().code == 0
    relay.ctl("queue", "flush")
    smart.wait(40)
    relay.wait_empty()
    wait_for(lambda: "login" not in faults(relay), "the end of the fault")
    wait_for(lambda: len(alerts()) >= 2, "word of its end")
    begun, ended = alerts()
    assert (begun["kind"], begun["over"]) == ("login", False)
    assert (ended["kind"], ended["over"]) == ("login", True)
    assert begun["hostname"] == "mail.ostler.example"
    assert relay.maildir("anna") == []
    events = relay.wait_event("fault", 2, kind_="login")
    assert [row["over"] for row in events] == [False, True]


def test_after_the_grace_it_comes_back(relay, make_sink, authority, folder):
    certificate = authority.issue(folder / "smart", "smart.example")
    smart = make_sink(certificate=certificate, users={"me": "right"})
    secret = folder / "secret"
    secret.write_text("wrong\n")
    secret.chmod(0o600)
    relay.route("smart", for_=["far.example"],
                via=[f"smtp:{smart.host}:{smart.port}"], user="me",
                password_file=secret)
    relay.set("queue", grace="3s")
    relay.start()
    hand_in(relay, count=3)
    relay.wait_event("deferred", fault="own")
    relay.wait_event("bounced", count=3)
    reports = relay.wait_maildir("anna", 3)
    relay.wait_empty()
    assert all(b"credentials invalid" in report for report in reports)
    assert "login" in faults(relay)  # it is not repaired by that


def test_a_missing_reverse_record_is_ours(relay, far, alerts):
    refused = ["554 5.7.1 Client host rejected: cannot find your reverse "
               "hostname"]
    far.on_rcpt = lambda address: refused[0] if refused else None
    relay.start()
    hand_in(relay)
    relay.wait_event("deferred", fault="own")
    fault = wait_for(lambda: faults(relay).get("name"), "the fault")
    assert "PTR" in fault["advice"]
    assert not relay.events("bounced")
    wait_for(alerts, "the alert")
    refused.clear()
    relay.ctl("queue", "flush")
    far.wait()
    relay.wait_empty()
    wait_for(lambda: not faults(relay), "the end of it")


def test_what_is_about_one_address_is_nobodys_fault(relay, far):
    far.on_rcpt = lambda address: \
        "550 5.1.1 unknown user; also your host has no reverse dns"
    relay.start()
    hand_in(relay)
    relay.wait_event("bounced")
    relay.wait_maildir("anna")
    assert not faults(relay)


def test_a_reload_moves_the_floor_of_the_disk(relay, folder):
    """The relay that answers 452 is told at once that it need not."""
    need_less_free(folder, 1000)
    relay.set("limits", spool_free="1000G")
    relay.start()

    def mail():
        with Talk(relay.mx) as talk:
            talk.ehlo()
            return talk.say("MAIL FROM:<anna@local.example>")
    assert mail().code == 452
    relay.set("limits", spool_free="1M")
    assert relay.reload().code == 0
    assert mail().code == 250
    relay.set("limits", spool_free="1000G")
    assert relay.reload().code == 0
    assert mail().code == 452


def test_dns_that_answers_nobody(relay, far, names, alerts):
    relay.start()
    names.stop()
    for number in range(3):
        hand_in(relay, f"bob@d{number}.example")
    fault = wait_for(lambda: faults(relay).get("dns"), "the fault")
    assert "resolver.servers" in fault["advice"]
    wait_for(alerts, "the alert")
    assert not relay.events("bounced")
    names.start()
    names.domain("d0.example", far.host)
    hand_in(relay)
    far.wait()
    wait_for(lambda: "dns" not in faults(relay), "the end of it")
    assert not alerts()[0]["over"] and alerts()[0]["kind"] == "dns"
    relay.ctl("queue", "remove", "--all")


def test_a_password_file_that_is_gone(relay, make_sink, folder):
    smart = make_sink()
    relay.route("smart", for_=["*"], via=[f"smtp:{smart.host}:{smart.port}"],
                user="me", password_file=folder / "secret")
    (folder / "secret").write_text("x\n")
    (folder / "secret").chmod(0o600)
    relay.start()
    (folder / "secret").unlink()
    hand_in(relay)
    wait_for(lambda: {"configuration", "login"} & set(faults(relay)),
             "the fault")
    relay.ctl("queue", "remove", "--all")


@pytest.mark.parametrize("command", [
    "/no/such/program", "/bin/false", "'never closed"])
def test_an_alert_command_that_fails_harms_nothing(relay, far, command):
    refused = ["554 5.7.25 no PTR record for your address"]
    far.on_rcpt = lambda address: refused[0] if refused else None
    relay.set("queue", alert_command=command)
    relay.start()
    hand_in(relay)
    relay.wait_event("fault")
    relay.wait_event("alert")
    refused.clear()
    relay.ctl("queue", "flush")
    far.wait()
    relay.wait_empty()


def test_a_stop_does_not_wait_for_an_alert(relay, far, folder):
    script = folder / "hangs"
    pid = folder / "pid"
    script.write_text(f"#!/bin/sh\necho $$ >'{pid}'\nexec sleep 60\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    far.on_rcpt = lambda address: "554 5.7.25 no PTR record for your address"
    relay.set("queue", alert_command=script)
    relay.start()
    hand_in(relay)
    number = int(wait_for(lambda: pid.exists() and pid.read_text(), "its pid"))
    relay.stop()
    os.kill(number, 9)


def test_self_in_mx_is_told(relay, names):
    """The MX of a domain that nobody configured leads back to us."""
    relay.set("queue", port=relay.mx[1])
    names.domain("ours.example", relay.host)
    relay.start()
    hand_in(relay, "bob@ours.example")
    fault = wait_for(lambda: faults(relay).get("route"), "the fault")
    assert "ours.example" in fault["where"]
    assert not relay.events("bounced")
    relay.ctl("queue", "remove", "--all")




def test_a_certificate_that_has_ended(relay, authority, folder):
    ended = authority.issue_client(folder / "ended", "/CN=mail.ostler.example",
                                   days=-1, usage="serverAuth")
    fresh = dict(relay.sections["tls"])
    relay.set("tls", certificate=ended.chain, key=ended.key)
    relay.start()
    fault = wait_for(lambda: faults(relay).get("certificate"), "the fault")
    assert "has ended" in fault["reason"]
    relay.set("tls", **fresh)
    assert relay.reload().code == 0
    wait_for(lambda: not faults(relay), "the end of it")


def test_a_disk_that_is_full(relay, alerts, folder):
    need_less_free(folder, 1000)
    relay.set("limits", spool_free="1000G")
    relay.start()
    fault = wait_for(lambda: faults(relay).get("disk"), "the fault")
    assert "spool_free" in fault["reason"]
    assert wait_for(alerts, "the alert")[0]["kind"] == "disk"


def test_status_tells_of_the_last_minute(relay, far):
    relay.start()
    hand_in(relay, count=3)
    far.wait(3)
    relay.wait_empty()
    minute = relay.status()["last_minute"]
    assert minute["accepted"] == minute["delivered"] == 3
    assert "3 accepted, 0 refused, 3 delivered" in relay.ctl("status").out
