# SPDX-License-Identifier: ISC
"""Reports as a sender gets them: their language, their texts, and whose rules
decide what a refusal means."""

import email
import email.policy

import pytest

from lab import mails
from lab.talk import Talk

EXPLAINED = {"en": "no such mailbox", "de": "kein solches Postfach",
             "fr": "cette boîte aux lettres n'existe pas"}


@pytest.fixture
def far(relay, names, make_sink):
    """The other server, where nobody is known."""
    relay.set("relay", trusted_networks=["127.0.0.0/8"])
    sink = make_sink()
    relay.set("queue", port=sink.port, retry=["1d"])
    names.domain("far.example", sink.host)
    sink.on_rcpt = lambda address: "550 5.1.1 no such user here"
    return sink


def hand_in(relay, *fields, to="bob@far.example"):
    head = "".join(field + "\r\n" for field in fields).encode()
    with Talk(relay.mx, timeout=120) as talk:
        talk.ehlo()
        talk.mail("anna@local.example", to)
        assert talk.data(head + mails.message()).code == 250


def reports(relay, count=1):
    found = [email.message_from_bytes(octets, policy=email.policy.default)
             for octets in relay.wait_maildir("anna", count)]
    assert len(found) == count
    return found


def text_of(report):
    part = report.get_payload()[0]
    return " ".join(part.get_content().split())


# -------------------------------------------------------------- languages


@pytest.mark.parametrize("fields, language", [
    ([], "en"),
    (["Content-Language: de"], "de"),
    (["Content-Language: de", "Accept-Language: nl, fr;q=0.5"], "fr"),
])
def test_a_report_speaks_the_language_of_the_message(relay, far, fields,
                                                     language):
    relay.start()
    hand_in(relay, *fields)
    report, = reports(relay)
    assert report.get_payload()[0]["Content-Language"] == language
    assert report["Subject"].endswith(EXPLAINED[language])
    assert all(octet < 128 for octet in relay.maildir("anna")[0])


def test_the_configuration_says_what_others_speak(relay, far):
    relay.set("report", language="fr")
    relay.start()
    hand_in(relay)
    hand_in(relay, "Content-Language: de-AT")
    assert sorted(r["Subject"].split(": ", 1)[1] if ": " in r["Subject"]
                  else r["Subject"].split("\u00a0: ", 1)[1]
                  for r in reports(relay, 2)) == \
        sorted([EXPLAINED["fr"], EXPLAINED["de"]])


def test_texts_of_the_admin_are_used_from_the_next_reload_on(relay, far,
                                                             folder):
    texts = folder / "texts"
    texts.mkdir()
    relay.set("report", texts=texts)
    relay.start()
    (texts / "en").write_text("[frame]\nfrom: Post office\n"
                              "[bad-mailbox]\nauthor: Ring extension 42.\n")
    (texts / "nl").write_text("[bad-mailbox]\ncause: geen postvak\n")
    assert relay.reload().code == 0
    hand_in(relay)
    report, = reports(relay)
    assert report["From"].startswith("Post office <")
    assert "What to do: Ring extension 42." in text_of(report)
    hand_in(relay, "Content-Language: nl")
    assert any(r["Subject"].endswith("geen postvak")
               for r in reports(relay, 2))

    # a mistake is told with its line, and nothing changes
    (texts / "en").write_text("[frame]\nfrom: {nobody}\n")
    answer = relay.reload()
    assert answer.code != 0
    assert f'{texts}/en:2: this text has no variable "nobody"' in answer.err
    hand_in(relay)
    assert all(r["From"].startswith("Post office <")
               for r in reports(relay, 3))


# ------------------------------------------------------------------- rules


def test_rules_of_the_admin_win_in_daemon_log_and_report(relay, far, folder):
    rules = folder / "own.rules"
    rules.write_text("# what our partner says\n"
                     "ours.left inactive-mailbox advice=moved :\n"
                     "\tno such user here\n")
    relay.set("report", rules=rules)
    relay.start()
    row = relay.ctl("classify", "550 No such user here", json=True).row
    assert (row["category"], row["rule"]) == ("inactive-mailbox", "ours.left")
    row = relay.ctl("classify", "--language", "de", "552 mailbox full",
                    json=True).row
    assert row["category"] == "quota-issues" and "voll" in row["explanation"]
    hand_in(relay)
    report, = reports(relay)
    assert "(ours.left: \"no such user here\")" in text_of(report)
    status = report.get_payload()[1].get_payload()[1]
    assert status["X-Ostler-Rule"] == "ours.left"
    assert status["X-Ostler-Category"] == "inactive-mailbox"
    line, = relay.wait_event("bounced")
    assert line["rule"] == "ours.left"

    # a mistake is told with its line, and the old rules go on
    rules.write_text("ours.left inactive-mailbox advice=none : gone\n")
    answer = relay.reload()
    assert answer.code != 0
    assert f"{rules}:1: there is no advice 'none'" in answer.err
    row = relay.ctl("classify", "550 No such user here", json=True).row
    assert row["rule"] == "ours.left"

    rules.write_text("ours.left policy-related : no such user here\n")
    assert relay.reload().code == 0
    row = relay.ctl("classify", "550 No such user here", json=True).row
    assert (row["category"], row["rule"]) == ("policy-related", "ours.left")


def test_a_stopped_relay_s_rules_are_those_of_its_file(relay, folder):
    rules = folder / "own.rules"
    rules.write_text("ours.x virus-related : purple elephants\n")
    relay.set("report", rules=rules)
    relay.write()
    row = relay.ctl("classify", "554 no purple elephants", json=True).row
    assert (row["category"], row["rule"]) == ("virus-related", "ours.x")
    rules.write_text("ours.x no-such-category : purple elephants\n")
    answer = relay.ctl("classify", "554 no purple elephants")
    assert answer.code == 78
    assert f"{rules}:1: " in answer.err


# ------------------------------------------ NOTIFY, ORCPT, ENVID and RET


def test_what_the_sender_asked_for_is_what_he_hears(relay, far):
    far.on_rcpt = lambda address: \
        None if address.startswith("bob") else "550 5.1.1 no such user here"
    relay.start()
    with Talk(relay.mx, timeout=120) as talk:
        talk.ehlo()
        for line in (
                "MAIL FROM:<anna@local.example> RET=HDRS ENVID=QQ+2B7",
                "RCPT TO:<carl@local.example> NOTIFY=SUCCESS,FAILURE "
                "ORCPT=rfc822;Carl+2Bnews@local.example",
                "RCPT TO:<bob@far.example> NOTIFY=SUCCESS",
                "RCPT TO:<dora@far.example> NOTIFY=NEVER",
                "RCPT TO:<eve@far.example> NOTIFY=SUCCESS,DELAY",
                "RCPT TO:<fred@far.example> NOTIFY=FAILURE "
                "ORCPT=utf-8;fr\\x{E9}d@far.example"):
            assert talk.say(line).code == 250, line
        assert talk.data(mails.message()).code == 250
    relay.wait_empty()
    told = {}
    for report in reports(relay, 3):
        _, status, original = report.get_payload()
        about, recipient = status.get_payload()
        assert about["Original-Envelope-Id"] == "QQ+7"
        assert about["Received-From-MTA"].startswith("dns; ")
        assert original.get_content_type() == "text/rfc822-headers"
        told[recipient["Final-Recipient"]] = (
            recipient["Action"], recipient["Status"][0],
            recipient["Original-Recipient"])
    assert told == {
        "rfc822; carl@local.example":
            ("delivered", "2", "rfc822; Carl+news@local.example"),
        "rfc822; bob@far.example": ("relayed", "2", None),
        "rfc822; fred@far.example":
            ("failed", "5", "utf-8; fr\\x{E9}d@far.example")}


# ---------------------------------------------- addresses beyond ASCII


@pytest.mark.parametrize("sender, options, types", [
    # he can be reached by SMTPUTF8 only: RFC 6533, 4
    ("jörg@back.example", {"SMTPUTF8", "BODY=8BITMIME"},
     ["message/global-delivery-status", "message/global"]),
    # nobody knows what his server takes
    ("joerg@back.example", set(),
     ["message/delivery-status", "text/rfc822-headers"]),
])
def test_a_report_is_utf8_for_whom_smtputf8_reaches_alone(
        relay, names, far, make_sink, sender, options, types):
    back = make_sink(port=far.port)
    names.domain("back.example", back.host)
    relay.start()
    with Talk(relay.mx, timeout=120) as talk:
        talk.ehlo()
        assert talk.say(
            f"MAIL FROM:<{sender}> SMTPUTF8 BODY=8BITMIME").code == 250
        assert talk.say("RCPT TO:<zoé@far.example>").code == 250
        assert talk.data("Subject: Grüße\r\n".encode()
                         + mails.message()).code == 250
    report, = back.wait()
    assert report.recipients == [sender]
    assert {option for option in report.options
            if not option.startswith("SIZE=")} == options
    assert report.content.isascii() == (not options)
    _, status, original = email.message_from_bytes(
        report.content).get_payload()
    assert [status.get_content_type(), original.get_content_type()] == types
    assert ("utf-8; zoé@far.example" if options else
            "utf-8; zo\\x{E9}@far.example").encode() in report.content


# ----------------------------------------------------------- whom they go to


def fail_from(relay, folder, alias, *behind):
    """Starts it, and an alias of these people sends what is refused."""
    table = folder / "aliases"
    table.write_text(f"{alias}: {', '.join(behind)}\n")
    relay.domain("local.example", **dict(relay.domains["local.example"],
                                         aliases=table))
    relay.start()
    with Talk(relay.mx, timeout=120) as talk:
        talk.ehlo()
        talk.mail(f"{alias}@local.example", "bob@far.example")
        assert talk.data(mails.message()).code == 250


def test_a_report_to_an_alias_reaches_who_is_behind_it(relay, far, folder):
    """As mail to it does: office@ and postmaster@ need no mailbox."""
    fail_from(relay, folder, "office", "anna")
    report, = reports(relay)
    assert report["To"] == "<office@local.example>" or \
        "office@local.example" in report["To"]
    assert relay.maildir("office") == []


@pytest.mark.parametrize("sender, alias, target, wants_utf8", [
    # whom he leads to may have a server without SMTPUTF8
    ("zoë@local.example", "zoë", "zoe@back.example", False),
    ("office@local.example", "office", "zoë@back.example", True),
])
def test_a_report_asks_for_what_those_behind_an_alias_need(
        relay, names, folder, far, make_sink, sender, alias, target,
        wants_utf8):
    back = make_sink(port=far.port)
    names.domain("back.example", back.host)
    table = folder / "aliases"
    table.write_text(f"{alias}: {target}\n")
    relay.domain("local.example", **dict(relay.domains["local.example"],
                                         aliases=table))
    relay.start()
    with Talk(relay.mx, timeout=120) as talk:
        talk.ehlo()
        utf8 = "" if sender.isascii() else " SMTPUTF8"
        assert talk.say(f"MAIL FROM:<{sender}>{utf8}").code == 250
        assert talk.say("RCPT TO:<bob@far.example>").code == 250
        assert talk.data(mails.message()).code == 250
    report, = back.wait()
    assert report.recipients == [target]
    assert ("SMTPUTF8" in report.options) == wants_utf8
    assert report.content.isascii() or wants_utf8


def test_a_report_to_a_long_list_reaches_twenty_of_it(relay, far, folder):
    people = [f"p{i}" for i in range(25)]
    fail_from(relay, folder, "list", *people)
    for name in people[:20]:
        relay.wait_maildir(name)
    relay.wait_empty()
    assert [relay.maildir(name) for name in people[20:]] == [[]] * 5
