# SPDX-License-Identifier: ISC
"""ostlerctl doctor finds what is wrong, and says so line by line."""

import shutil

from lab.talk import NAME


def checks(relay, code=0):
    answer = relay.ctl("doctor", json=True)
    assert answer.code == code, answer.out
    for row in answer.rows:
        assert row["state"] in ("ok", "warn", "fail")
        assert row["state"] == "ok" or row["advice"] \
            or row["check"] == "warning", row
    return {(row["check"], row["about"]): row["state"]
            for row in answer.rows}, answer.rows


def test_a_relay_in_good_health_has_nothing_but_ok(relay, names):
    names.host(NAME, relay.host)
    names.reverse(relay.host, NAME)
    names.mx("local.example", NAME)
    names.set("local.example", "TXT", '"v=spf1 mx -all"')
    names.set("_dmarc.local.example", "TXT", '"v=DMARC1; p=none"')
    # the tests' certificates live for two days
    relay.sections["tls"] = {}
    relay.start()
    relay.add_user()
    found, rows = checks(relay)
    for key in (("clock", "this host"), ("resolver", names.server),
                ("spool", str(relay.spool)), ("certificate", "mx"),
                ("logins", str(relay.folder / "sasldb2")),
                ("listener", "%s port %d" % relay.mx),
                ("address", NAME), ("reverse", relay.host),
                ("mx", "local.example"), ("spf", "local.example"),
                ("dmarc", "local.example")):
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
    assert found["logins", str(relay.folder / "sasldb2")] == "warn"
    texts = " ".join(row["text"] for row in rows)
    assert "is called dsl-1.provider.example, not " + NAME in texts
    assert "names other.example, and not this server" in texts
    text = relay.ctl("doctor").out
    assert "      -> Have the owner of the address set its PTR" in text


def test_a_name_without_address_and_dns_that_is_down_fail(relay, names):
    relay.start()
    found, _ = checks(relay, code=1)
    assert found["address", NAME] == "fail"
    names.stop()
    found, rows = checks(relay, code=1)
    assert found["mx", "local.example"] == "fail"
    assert not any(row["check"] == "spf" and row["state"] == "ok"
                   for row in rows)
    assert relay.ctl("doctor", "now").code == 64


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
