# SPDX-License-Identifier: ISC
"""Reports as the programs of others read them: mailing list managers and
bounce collectors. Each parser is a package of the distribution; without it
the test is skipped."""

import email
import functools
import importlib
import json
import subprocess
import sys

import pytest

from lab.need import need_built, need_module
from test_dsn import CASES, DEMO, FORMS, TRANSLATED, reports


@pytest.fixture(autouse=True)
def is_built():
    need_built(DEMO)


UTF8_ADDRESSES = {name for name in CASES if name.startswith("utf8")
                  and name != "utf8-sender"}
FAILED = [(name, language) for name, language in TRANSLATED
          if name not in FORMS | {"delayed", "delivered", "relayed", "late"}]


def report(name, language):
    return reports(language)[name]


# ------------------------------------------------- flufl.bounce, of Mailman


@pytest.mark.parametrize("name, language", TRANSLATED)
def test_mailman_finds_who_failed(name, language):
    need_module([sys.executable, "-c", "import flufl.bounce"],
                "python3-flufl.bounce")
    bounce = importlib.import_module("flufl.bounce")
    temporary, permanent = bounce.all_failures(
        email.message_from_bytes(report(name, language)))
    if name in ("delivered", "relayed", "late"):
        assert not temporary and not permanent
    elif name == "delayed":
        assert temporary == {b"anna@example.net"} and not permanent
    elif name == "many":
        assert len(permanent) == 200
    elif name == "arguments":  # it prefers what the sender wrote
        assert permanent == {b"Anna+news@example.net"}
    elif name in UTF8_ADDRESSES:
        assert not temporary and not permanent  # it knows no type but rfc822
    elif name != "hostile":  # whose Original-Recipient is no address
        assert permanent == {b"anna@example.net"} and not temporary


# -------------------------------------------------------------- Sisimai


@functools.cache
def sisimai():
    """{(name, language): what it made of it}, all in one run."""
    need_module(["perl", "-MSisimai", "-e1"], "libsisimai-perl")
    script = """
        use Sisimai; use JSON::PP;
        local $/ = "\\0";
        my $way = Sisimai->can("rise") ? "rise" : "make";
        while (my $mail = <STDIN>) {
            chomp $mail;
            $mail =~ s/\\r\\n/\\n/g;
            $mail = "From MAILER-DAEMON Sat Nov 21 14:03:05 2026\\n$mail";
            my $found = Sisimai->$way(\\$mail, delivered => 1) || [];
            print encode_json([map { {
                recipient => $_->recipient->address, action => $_->action,
                status => $_->deliverystatus, code => $_->diagnosticcode,
                reason => $_->reason, from => $_->addresser->address,
                rhost => $_->rhost, id => $_->messageid } } @$found]), "\\n";
        }"""
    mails = b"\0".join(report(*case) for case in TRANSLATED)
    done = subprocess.run(["perl", "-e", script], input=mails, check=True,
                          capture_output=True)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == len(TRANSLATED), done.stderr
    return dict(zip(TRANSLATED, rows))


@pytest.mark.parametrize("name, language", FAILED)
def test_sisimai_reads_the_same_in_every_language(name, language):
    found, = sisimai()[name, language]
    assert found["recipient"] == "anna@example.net"
    assert found["action"] == "failed"
    assert found["from"] == "bob@example.org"
    english, = sisimai()[name, "en"]
    assert found == english


def test_sisimai_agrees_about_reasons_that_both_name():
    reasons = {name: sisimai()[name, "en"][0]["reason"] for name in (
        "bad-mailbox", "quota-issues", "content-related", "spam-related",
        "virus-related", "message-expired")}
    assert reasons["bad-mailbox"] == "userunknown"
    assert reasons["quota-issues"] == "mailboxfull"
    assert reasons["spam-related"] in ("blocked", "spamdetected",
                                       "badreputation")
    # by its version: some let 5.7.1 decide
    assert reasons["virus-related"] in ("virusdetected", "securityerror")
    assert reasons["message-expired"] == "expired"


# ---------------------------------------- Mail::DeliveryStatus::BounceParser


@functools.cache
def bounce_parser():
    need_module(["perl", "-MMail::DeliveryStatus::BounceParser", "-e1"],
                "libmail-deliverystatus-bounceparser-perl")
    script = """
        use Mail::DeliveryStatus::BounceParser; use JSON::PP;
        local $/ = "\\0";
        while (my $mail = <STDIN>) {
            chomp $mail;
            $mail =~ s/\\r\\n/\\n/g;
            my $bounce = Mail::DeliveryStatus::BounceParser->new($mail);
            print encode_json({ is => $bounce->is_bounce ? 1 : 0,
                reports => [map { {
                    recipient => $_->get("email"),
                    reason => $_->get("std_reason"),
                } } $bounce->reports],
                id => $bounce->orig_message_id }), "\\n";
        }"""
    done = subprocess.run(
        ["perl", "-e", script], check=True, capture_output=True,
        input=b"\0".join(report(*case) for case in FAILED))
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == len(FAILED), done.stderr
    return dict(zip(FAILED, rows))


@pytest.mark.parametrize("name, language", FAILED)
def test_a_bounce_parser_finds_recipient_and_message(name, language):
    found = bounce_parser()[name, language]
    assert found["is"]
    told, = found["reports"]
    assert told["recipient"] == "anna@example.net"
    assert found["id"] == "<minutes-1@laptop.example.org>"


def test_no_case_is_forgotten():
    assert {name for name, _ in TRANSLATED} == set(CASES)
