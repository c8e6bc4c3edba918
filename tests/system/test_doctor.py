# SPDX-License-Identifier: ISC
"""ostlerctl doctor finds what is wrong, and says so line by line."""

import shutil
import subprocess
import time

import pytest

from lab.base import loopback
from lab.relay import ENVIRONMENT, OSTLERCTL
from lab.talk import NAME


def checks(relay, code=0, to=None):
    answer = relay.ctl("doctor", *(["--to", to] if to else []), json=True)
    assert answer.code == code, answer.out
    for row in answer.rows:
        assert row["state"] in ("ok", "warn", "fail")
        assert row["state"] == "ok" or row["advice"] \
            or row["check"] == "warning", row
    return {(row["check"], row["about"]): row["state"]
            for row in answer.rows}, answer.rows


def outbound(relay, code=0, to=None):
    """The one row that tells of a connection."""
    row, = [row for row in checks(relay, code, to)[1]
            if row["check"] == "outbound"]
    return row


@pytest.fixture
def healthy(relay, names):
    """Whose name and addresses are those that DNS has."""
    names.host(NAME, relay.host)
    names.reverse(relay.host, NAME)
    names.mx("local.example", NAME)
    relay.set("queue", connect_timeout="1s")
    return relay


def test_a_relay_in_good_health_has_nothing_but_ok(relay, names, make_sink,
                                                   authority):
    sink = make_sink()
    names.host(NAME, relay.host)
    names.host("mx2.example", sink.host)
    names.reverse(relay.host, NAME)
    names.mx("local.example", NAME, (20, "mx2.example"))
    names.set("one._domainkey.local.example", "TXT", '"v=DKIM1; p=AAAA"')
    relay.set("queue", port=sink.port)
    names.set("local.example", "TXT", '"v=spf1 mx -all"')
    names.set("_dmarc.local.example", "TXT", '"v=DMARC1; p=none"')
    pair = authority.issue(relay.folder / "long", NAME, days=40)
    relay.set("tls", certificate=pair.chain, key=pair.key)
    relay.start()
    relay.add_user()
    found, rows = checks(relay)
    for key in (("clock", "this host"), ("resolver", names.server),
                ("spool", str(relay.spool)), ("certificate", "mx"),
                ("logins", str(relay.folder / "sasldb2")),
                ("mailboxes", "local.example"),
                ("listener", "%s port %d" % relay.mx),
                ("address", NAME), ("reverse", relay.host),
                ("mx", "local.example"), ("spf", "local.example"),
                ("dmarc", "local.example"), ("dkim", "local.example"),
                ("outbound", f"mx2.example [{sink.host}] port {sink.port}")):
        assert found[key] == "ok", (key, rows)
    bad = [row for row in rows if row["state"] != "ok"
           and row["check"] != "warning"]
    assert not bad, bad
    text = relay.ctl("doctor").out
    assert "ok    reverse" in text and "->" not in text.split("mx ")[0]


def test_what_is_wrong_is_named_with_what_to_do(relay, names):
    names.host(NAME, relay.host)
    names.reverse(relay.host, "dsl-1.provider.example")
    names.mx("local.example", "other.example")
    free = shutil.disk_usage(relay.folder).free
    # more than there is, but no more than may be asked for
    floor = min(free // 2**30 + 10, 1024)
    relay.set("limits", spool_free=f"{floor}G")
    relay.start()
    is_short = free < floor * 2**30
    found, rows = checks(relay, code=int(is_short))
    assert found["spool", str(relay.spool)] == \
        ("fail" if is_short else "ok")
    assert found["certificate", "mx"] == "warn"  # two days
    assert found["reverse", relay.host] == "warn"
    assert found["mx", "local.example"] == "warn"
    assert found["spf", "local.example"] == "warn"
    assert found["dmarc", "local.example"] == "warn"
    assert found["dkim", "local.example"] == "warn"
    assert found["outbound", "elsewhere"] == "warn"  # it has no address
    assert found["logins", str(relay.folder / "sasldb2")] == "warn"
    texts = " ".join(row["text"] for row in rows)
    assert "is called dsl-1.provider.example, not " + NAME in texts
    assert "names other.example, and not this server" in texts
    assert "no DKIM keys are published under _domainkey.local.example" in texts
    text = relay.ctl("doctor").out
    assert "      -> Have the owner of the address set its PTR" in text


def test_two_records_that_may_be_one_alone_fail(healthy, names):
    names.set("local.example", "TXT", '"v=spf1 mx -all"', '"v=spf1 a -all"',
              '"something else"')
    names.set("_dmarc.local.example", "TXT", '"v=DMARC1; p=none"',
              '"v=DMARC1; p=reject"')
    healthy.start()
    found, _ = checks(healthy, code=1)
    assert found["spf", "local.example"] == "fail"
    assert found["dmarc", "local.example"] == "fail"


def test_a_name_without_address_and_dns_that_is_down_fail(relay, names):
    relay.start()
    found, _ = checks(relay, code=1)
    assert found["address", NAME] == "fail"
    names.stop()
    found, rows = checks(relay, code=1)
    assert found["mx", "local.example"] == "fail"
    # what nobody could be asked is not told as missing
    assert [row["text"] for row in rows if row["check"] == "address"] == [
        next(row["text"] for row in rows if row["check"] == "mx")]
    assert not any(row["check"] == "spf" and row["state"] == "ok"
                   for row in rows)
    assert relay.ctl("doctor", "now").code == 64
    for wrong in ("two words", "a..example", ".".join(["a" * 60] * 5)):
        assert relay.ctl("doctor", "--to", wrong).code == 64


def test_a_resolver_elsewhere_is_warned_of_where_dnssec_is_demanded(relay):
    # an address of nobody, by which nothing is reached in time
    relay.set("resolver", servers=["192.0.2.53:53"], timeout="1s",
              attempts=1)
    relay.start()
    assert not [one for one in relay.status()["warnings"] if "DANE" in one]
    found, _ = checks(relay, code=1)
    assert found["resolver", "192.0.2.53:53"] == "warn"
    relay.route("safe", for_=["safe.example"], tls="dane")
    assert relay.reload().code == 0
    warning, = [one for one in relay.status()["warnings"] if "DANE" in one]
    assert "192.0.2.53:53 is not on this host" in warning


def test_without_a_host_elsewhere_it_says_how_port_25_is_tried(healthy):
    healthy.start()
    row = outbound(healthy)
    assert row["state"] == "warn" and row["about"] == "elsewhere"
    assert "--to DOMAIN" in row["advice"]
    # a name of its own is none elsewhere
    row = outbound(healthy, to="local.example")
    assert row["state"] == "warn" and row["about"] == "local.example"


def test_a_host_of_an_mx_that_has_our_address_is_not_elsewhere(healthy, names):
    names.host("alias.example", healthy.host)
    names.mx("local.example", "alias.example")
    healthy.start()
    for to in (None, "local2.example"):
        names.mx("local2.example", "alias.example")
        row = outbound(healthy, to=to)
        assert row["state"] == "warn", row
        assert row["text"] == "leads to this host", row


def test_any_address_of_a_domain_that_answers_is_enough(
        healthy, names, make_sink):
    sink = make_sink()
    healthy.set("queue", port=sink.port)
    names.domain("far.example", loopback(), sink.host, loopback())
    healthy.start()
    row = outbound(healthy, to="FAR.example.")
    assert row["state"] == "ok", row
    assert row["about"] == f"mx.far.example [{sink.host}] port {sink.port}"
    assert sink.connections == 1 and not sink.mails


def test_a_port_that_is_closed_is_told_with_what_to_do(
        healthy, names, deaf, make_sink):
    sink = make_sink()
    healthy.set("queue", port=sink.port)
    names.domain("far.example", sink.host)
    names.domain("dead.example", loopback(), loopback())
    host = loopback()
    deaf(host, sink.port)
    names.domain("deaf.example", host)
    names.mx("local.example", NAME, (20, "mx.dead.example"))
    healthy.start()
    for to in ("dead.example", None):
        row = outbound(healthy, 1, to)
        assert row["state"] == "fail" and "refused" in row["text"], row
        assert row["text"].endswith("(2 addresses were tried)"), row
        assert "your provider blocks port 25 outbound" in row["advice"]
    began = time.monotonic()
    row = outbound(healthy, 1, "deaf.example")
    assert time.monotonic() - began >= 5
    assert row["about"] == f"mx.deaf.example [{host}] port {sink.port}"
    assert row["text"] == "no connection: no answer within 5 s"
    row = outbound(healthy, 0, "none.example")
    assert row["state"] == "warn" and row["about"] == "none.example"
    assert outbound(healthy, 0, "far.example")["state"] == "ok"


def test_where_all_goes_to_a_smarthost_it_is_tried_instead(
        healthy, names, make_sink):
    smart, far = make_sink(), make_sink()
    healthy.set("queue", port=far.port)
    names.host("smart.example", smart.host)
    names.mx("local.example", NAME, (20, "mx2.example"))
    names.host("mx2.example", far.host)
    names.domain("far.example", far.host)
    healthy.route("all", for_=["*"], via=[f"smtp:smart.example:{smart.port}"])
    healthy.route("far", for_=["far.example"], via=["mx"])
    healthy.start()
    about = f"smart.example [{smart.host}] port {smart.port}"
    row = outbound(healthy)
    assert (row["state"], row["about"]) == ("ok", about)
    assert far.connections == 0
    # a route of its own is gone by
    assert outbound(healthy, to="far.example")["about"].startswith("mx.far")
    smart.stop()
    row = outbound(healthy, 1, "other.example")
    assert (row["state"], row["about"]) == ("fail", about)
    assert "see that the smarthost runs" in row["advice"]
    names.host("smart.example")
    row = outbound(healthy, 1)
    assert (row["state"], row["about"]) == ("fail", "the smarthost")
    assert "Correct the name" in row["advice"]
    names.stop()
    row = outbound(healthy, 1)
    assert "name server runs" in row["advice"]


@pytest.mark.parametrize("who", ["client", "relay"])
def test_a_connection_that_is_tried_holds_up_no_end(
        healthy, names, deaf, make_sink, who):
    sink = make_sink()
    healthy.set("queue", port=sink.port)
    host = loopback()
    deaf(host, sink.port)
    names.domain("deaf.example", host)
    healthy.start()
    process = subprocess.Popen(
        [OSTLERCTL, "-c", healthy.conf, "doctor", "--to", "deaf.example"],
        stdout=subprocess.PIPE, env=ENVIRONMENT)
    # the last answers of DNS begin it
    wanted = {b"reverse", b"mx", b"spf", b"dmarc", b"dkim"}
    while wanted:
        line = process.stdout.readline()
        assert line, wanted
        wanted -= set(line.split()[1:2])
    if who == "client":
        process.kill()
        assert outbound(healthy, to="nowhere.example")["state"] == "warn"
    healthy.stop()
    process.stdout.close()
    process.wait()


# ------------------------------------------------------------ certificates


def certificate_warnings(relay):
    return [text for text in relay.ctl("status", json=True).row["warnings"]
            if "certificate" in text]


def test_a_certificate_that_nobody_can_verify_is_warned_of(relay):
    relay.sections["tls"] = {}
    relay.start()
    warning, = certificate_warnings(relay)  # one certificate, many listeners
    assert warning.startswith("the certificate of mx, submission, submissions "
                              "is self-signed, ends 20")
    assert "get one for hostname from an authority" in warning
    assert f"warning: {warning}" in relay.ctl("status").out
    _, rows = checks(relay, code=1)
    row, = [row for row in rows
            if (row["check"], row["about"]) == ("certificate", "mx")]
    assert row["state"] == "warn" and "self-signed" in row["text"]
    assert "authority" in row["advice"]
    assert not [row for row in rows if row["check"] == "warning"
                and "certificate" in row["text"]], "once is enough"


@pytest.mark.parametrize("days, words", [
    (40, None), (13, " ends 20"), (-1, " has ended 20")])
def test_the_end_of_a_certificate_is_warned_of(relay, authority, days, words):
    relay.start()
    pair = authority.issue(relay.folder / "soon", NAME, days=days)
    relay.set("tls", certificate=pair.chain, key=pair.key)
    assert relay.reload().code == 0
    told = certificate_warnings(relay)
    if words is None:
        assert told == []
        return
    warning, = told
    assert words in warning and "self-signed" not in warning
    assert "Renew it" in warning
    found, _ = checks(relay, code=1)
    assert found["certificate", "mx"] == ("warn" if days > 0 else "fail")


# ------------------------------------------------- what the daemon has to read


def about(relay, check, code=0):
    row, = [row for row in checks(relay, code)[1] if row["check"] == check]
    return row


def test_the_login_database_is_asked_and_not_only_looked_at(healthy):
    healthy.start()
    database = healthy.folder / "sasldb2"
    assert "does not exist" in about(healthy, "logins")["text"]
    healthy.add_user("anna")
    row = about(healthy, "logins")
    assert (row["state"], row["text"]) == ("ok", "can be asked, 1 login")
    assert healthy.ctl("user", "remove", "anna").code == 0
    row = about(healthy, "logins")
    assert (row["state"], row["text"]) == ("warn", "can be asked, 0 logins")
    assert "ostlerctl user add" in row["advice"]
    for broken in (b"", b"no database\n" * 1000):
        database.write_bytes(broken)
        row = about(healthy, "logins", code=1)
        assert row["state"] == "fail" and str(database) in row["text"], row
        assert "put a backup in its place" in row["advice"]


def test_another_program_for_passwords_is_asked(healthy):
    healthy.set("auth", mechanisms=["PLAIN"],
                options=["pwcheck_method=saslauthd",
                         f"saslauthd_path={healthy.folder}/none"])
    healthy.start()
    row = about(healthy, "logins", code=1)
    assert row["state"] == "fail" and row["about"] == "saslauthd", row
    assert "see that the program runs" in row["advice"]


def test_passwords_and_mailboxes_that_cannot_be_used_are_found(healthy):
    folder = healthy.folder
    (folder / "file").write_text("")
    (folder / "secret").write_text("secret\n")
    healthy.route("good", for_=["a.example"], via=["smtp:192.0.2.1:25"],
                  user="me", password_file="secret")
    healthy.route("bad", for_=["b.example"], via=["smtp:192.0.2.1:25"],
                  user="me", password_file=folder / "missing")
    healthy.domain("maildir.example",
                   deliver=f"maildir:{folder}/file/%d/%u")
    healthy.domain("one.example", deliver=f"maildir:{folder}/file")
    healthy.domain("new.example", deliver=f"maildir:{folder}/file/box")
    healthy.domain("lmtp.example", deliver=f"lmtp:unix:{folder}/no.sock")
    healthy.start()
    found, rows = checks(healthy, code=1)
    assert found["password", "route good"] == "ok", rows
    assert found["password", "route bad"] == "fail"
    assert found["mailboxes", "local.example"] == "ok"
    assert found["mailboxes", "maildir.example"] == "fail"
    assert found["mailboxes", "one.example"] == "fail"
    assert found["mailboxes", "lmtp.example"] == "fail"
    advice = {(row["check"], row["about"]): row["advice"] for row in rows}
    assert f"into {folder}/missing" in advice["password", "route bad"]
    assert f"install -d -o" in advice["mailboxes", "maildir.example"]
    # one Maildir for all: it counts, and the folder above is not ours
    assert advice["mailboxes", "one.example"].endswith(f" {folder}/file")
    assert "install" not in advice["mailboxes", "one.example"]
    assert advice["mailboxes", "new.example"].endswith(f" {folder}/file/box")
    assert "LMTP server runs" in advice["mailboxes", "lmtp.example"]
