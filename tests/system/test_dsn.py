# SPDX-License-Identifier: ISC
"""Reports as another program reads them: each case of tests/tools/dsn_demo is
parsed by Python's email package and held against RFC 3464, 3834 and 6522.

OSTLER_BUILD names the build tree (default: the source tree)."""

import email
import email.policy
import functools
import os
import pathlib
import re
import subprocess
import unicodedata

import pytest

from lab.need import need_built

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("OSTLER_BUILD", TOP))
DEMO = BUILD / "tests" / "tools" / "dsn_demo"


@pytest.fixture(autouse=True)
def is_built():
    need_built(DEMO)


CATEGORIES = """other bad-configuration bad-connection bad-domain bad-mailbox
content-related inactive-mailbox message-expired no-answer-from-host
policy-related protocol-errors quota-issues relaying-issues routing-errors
spam-related virus-related""".split()


@functools.cache
def demo(*arguments):
    return subprocess.run([DEMO, *arguments], check=True,
                          capture_output=True).stdout


CASES = demo("--list").decode().split() if DEMO.exists() else []
#: The same in other languages; those whose point is their form once only.
FORMS = {"8bit-headers-only", "8bit-whole", "arguments", "encoded-subject",
         "headerless", "hostile", "many", "utf8", "utf8-headers",
         "utf8-latin1", "utf8-long-reply", "utf8-sender", "utf8-to-ascii",
         "utf8-to-ascii-raw"}
#: Those that travel by SMTPUTF8, as their sender's address does.
GLOBAL = {"utf8", "utf8-headers", "utf8-latin1", "utf8-long-reply",
          "utf8-sender"}
LANGUAGES = ["en", "de", "fr"]
TRANSLATED = [(name, language) for name in CASES for language in LANGUAGES
              if language == "en" or name not in FORMS]


@functools.cache
def reports(language):
    """{name: report}, all made in one run."""
    pieces = demo("--all", language).split(b"\0")[:-1]
    return dict(zip((name.decode() for name in pieces[::2]), pieces[1::2]))


def parse(name, language="en"):
    wire = reports(language)[name]
    return wire, email.message_from_bytes(wire, policy=email.policy.default)


def fields(message):
    """The status part: (of the message, of each recipient)."""
    part = message.get_payload()[1]
    if part.get_content_type() == "message/global-delivery-status":
        # RFC 6533, 4: the same fields, in UTF-8; the package knows only the
        # other name, so it is told that one
        wire = part.as_bytes(policy=email.policy.SMTPUTF8).replace(
            b"message/global-delivery-status", b"message/delivery-status", 1)
        part = email.message_from_bytes(wire, policy=email.policy.default)
    assert part.get_content_type() == "message/delivery-status"
    groups = part.get_payload()
    return groups[0], groups[1:]


def text(message):
    return message.get_payload()[0].get_content()


def width(line):
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1
               for c in line)


@pytest.mark.parametrize("name, language", TRANSLATED)
def test_every_report_is_a_well_formed_report(name, language):
    wire, message = parse(name, language)
    assert message.get_payload()[0]["Content-Language"] == language
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"
    assert message["Auto-Submitted"] == "auto-replied"
    assert message["MIME-Version"] == "1.0"
    assert message["Message-ID"] == "<R000000001@mail.example.org>"
    assert message["From"].addresses[0].addr_spec == "postmaster@example.org"
    assert message["Date"].datetime is not None
    assert len(message["Subject"]) > 10
    for part in message.walk():
        if name == "hostile" and part.get_content_type() == "message/rfc822":
            continue
        assert part.defects == [], part.get_content_type()
    parts = message.get_payload()
    assert parts[0].get_content_type() == "text/plain"
    assert len(parts) == (2 if name == "headerless" else 3)
    # RFC 5322, 2.1.1 and 2.3: line ends and lengths
    assert re.search(rb"(?<!\r)\n|\r(?!\n)|\0", wire) is None
    assert max(len(line) for line in wire.split(b"\r\n")) <= 998
    assert wire.isascii() == (name not in GLOBAL | {"8bit-whole"})
    body = wire.split(b"\r\n\r\n", 1)[1]
    encoding = "7bit" if body.isascii() else "8bit"
    assert message["Content-Transfer-Encoding"] == encoding
    assert encoding == "7bit" or name in GLOBAL | {"8bit-whole"}
    if language == "en":
        assert demo(name, "--envelope").decode() == f"{encoding}\n"


@pytest.mark.parametrize("name", CASES)
def test_every_status_part_has_what_rfc_3464_asks_for(name):
    _, message = parse(name)
    about, recipients = fields(message)
    assert about["Reporting-MTA"] == "dns; mail.example.org"
    assert about["X-Ostler-Queue-ID"] == "7F3K2"
    assert "2026" in about["Arrival-Date"]
    assert len(recipients) == (200 if name == "many" else 1)
    for recipient in recipients:
        assert recipient["Final-Recipient"].split("; ")[0] in (
            "rfc822", "utf-8")
        assert recipient["Action"] in ("failed", "delayed", "delivered",
                                       "relayed")
        assert re.fullmatch(r"[245]\.\d{1,3}\.\d{1,3}", recipient["Status"])
        assert recipient["Diagnostic-Code"]
        assert (recipient["Will-Retry-Until"] is not None) == (
            name == "delayed")


WORDS = {
    "en": ("category", "Your message", "Why:", "Who can act:", "What to do:",
           "--- for your mail administrator"),
    "de": ("Kategorie", "Ihre Nachricht", "Grund:", "Zust\u00e4ndig:",
           "Was tun:", "--- f\u00fcr Ihre Mail-Administration"),
    "fr": ("cat\u00e9gorie", "Votre message", "Cause\u00a0:",
           "Qui peut agir\u00a0:", "Que faire\u00a0:",
           "--- pour votre administrateur de messagerie")}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", CATEGORIES)
def test_every_category_has_a_report_that_says_so(name, language):
    _, message = parse(name, language)
    _, (recipient,) = fields(message)
    assert recipient["X-Ostler-Category"] == name
    body = text(message)
    category, opening, *labels = WORDS[language]
    assert f"{category} {name} (" in body
    order = [body.index(word) for word in (
        opening, "anna@example.net", *labels)]
    assert order == sorted(order)


@pytest.mark.parametrize("language", ["de", "fr"])
@pytest.mark.parametrize("name", [n for n in CASES if n not in FORMS])
def test_a_translated_report_has_no_english_left(name, language):
    """But for what others said, and our own findings in their place."""
    _, message = parse(name, language)
    said = " ".join(text(parse(name)[1]).split())
    for line in text(message).split("\n--- ", 1)[0].splitlines():
        words = line.split()
        for at in range(len(words) - 3):
            four = " ".join(words[at:at + 4])
            assert four not in said or "2026" in four, four


@pytest.mark.parametrize("language, word", [
    ("de", "Nachgepr\u00fcft:"), ("fr", "V\u00e9rifi\u00e9\u00a0:")])
@pytest.mark.parametrize("name", [n for n in CASES if n.startswith("denied-")])
def test_what_was_looked_into_is_told_in_the_report_s_language(name, language,
                                                               word):
    def finding(language, word):
        body = text(parse(name, language)[1])
        return " ".join(body.split(word, 1)[1].split("\n\n", 1)[0].split())

    english = finding("en", "Looked into:").split()
    told = finding(language, word)
    for at in range(len(english) - 2):
        three = " ".join(english[at:at + 3])
        if not re.search(r"[\[\d]", three):  # names and figures stay
            assert three not in told


def test_a_delivery_after_a_warning_ends_the_story():
    _, message = parse("late")
    about, (recipient,) = fields(message)
    assert recipient["Action"] == "relayed"
    assert recipient["Status"].startswith("2.")
    assert about["Received-From-MTA"] == "dns; laptop.example.org"
    assert message["Subject"] == "Delivered after all to anna@example.net"
    assert "need not send it again" in " ".join(text(message).split())


def test_an_expiry_says_when_it_was_the_same_each_time():
    _, message = parse("message-expired-alike")
    assert ("12 attempts in 5 days, each time with the same result: the "
            "connection failed.") in " ".join(text(message).split())


@pytest.mark.parametrize("name, language", TRANSLATED)
def test_people_read_at_most_72_columns(name, language):
    _, message = parse(name, language)
    for line in text(message).splitlines():
        assert width(line) <= 72 or len(line.split()) == 1, line


def test_the_original_comes_back_unchanged():
    wire, message = parse("bad-mailbox")
    part = message.get_payload()[2]
    assert part.get_content_type() == "message/rfc822"
    inner = part.get_payload()[0]
    assert inner["Message-ID"] == "<minutes-1@laptop.example.org>"
    assert inner.get_content() == "Dear Anna,\r\n\r\nhere they are.\r\n"
    assert message["In-Reply-To"] == "<minutes-1@laptop.example.org>"
    assert message["References"] == "<minutes-1@laptop.example.org>"


@pytest.mark.parametrize("name", ["delivered", "arguments"])
def test_dsn_arguments_of_the_original_are_honoured(name):
    _, message = parse(name)
    about, (recipient,) = fields(message)
    assert about["Original-Envelope-Id"] == "QQ=314+x"
    assert recipient["Original-Recipient"] == "rfc822; Anna+news@example.net"
    assert message.get_payload()[2].get_content_type() == (
        "text/rfc822-headers")


@pytest.mark.parametrize("name", ["utf8-to-ascii", "utf8-to-ascii-raw"])
def test_utf8_addresses_travel_as_ascii_to_whom_has_an_ascii_address(name):
    wire, message = parse(name)
    assert wire.isascii()
    _, (recipient,) = fields(message)
    assert recipient["Final-Recipient"] == (
        "utf-8; \\x{7528}\\x{6237}@example.net")
    assert recipient["Original-Recipient"] == (
        "utf-8; \\x{7528}\\x{6237}@example.net")
    assert "\u7528\u6237@example.net" in message["Subject"]
    assert "\u7528\u6237@example.net" in text(message)
    assert [part.get_content_type() for part in message.get_payload()] == [
        "text/plain", "message/delivery-status", "text/rfc822-headers"]


# name: (type of the status part, of the original, what there is of it)
UTF8_FORMS = {
    "utf8": ("message/global-delivery-status", "message/global",
             "Gr\u00fc\u00dfe"),
    "utf8-headers": ("message/global-delivery-status",
                     "message/global-headers", "Gr\u00fc\u00dfe"),
    # a header in another charset is no header of RFC 6532
    "utf8-latin1": ("message/global-delivery-status", "text/rfc822-headers",
                    None),
    # nothing in these needs more than ASCII
    "utf8-sender": ("message/delivery-status", "message/rfc822",
                    "Minutes of Monday"),
}


def test_a_long_line_is_broken_between_characters():
    wire, _ = parse("utf8-long-reply")
    reply = re.search(rb"Diagnostic-Code: smtp; (.*?)\r\n(?! )", wire, re.S)[1]
    lines = reply.split(b"\r\n ")
    assert len(lines) > 2
    assert all(len(line) <= 998 for line in lines)
    assert "".join(line.decode() for line in lines).endswith(
        "x" + 400 * "\u20ac")


@pytest.mark.parametrize("name", UTF8_FORMS)
def test_whom_smtputf8_reaches_gets_the_forms_of_rfc_6533(name):
    wire, message = parse(name)
    status, original, subject = UTF8_FORMS[name]
    types = [part.get_content_type() for part in message.get_payload()]
    assert types == ["text/plain", status, original]
    # RFC 6532: a header in UTF-8 is read as text
    header = email.message_from_string(wire.decode(errors="replace"),
                                       policy=email.policy.default)
    assert header["To"].addresses[0].addr_spec == "j\u00f6rg@example.org"
    _, (recipient,) = fields(message)
    if name == "utf8-sender":
        assert recipient["Final-Recipient"] == "rfc822; anna@example.net"
    else:
        for field in ("Final-Recipient", "Original-Recipient"):
            assert wire.count(field.encode() + ": utf-8; "
                              "\u7528\u6237@example.net\r\n".encode()) == 1
    if name == "utf8-headers":
        assert "no such user \u7528\u6237\r\n".encode() in wire.split(
            b"Diagnostic-Code: ")[1]
    part = message.get_payload()[2]
    if subject is None:
        assert part["Content-Transfer-Encoding"] == "quoted-printable"
        assert b"Gr\xfc\xdfe" in part.get_payload(decode=True)
        return
    inner = header.get_payload()[2].get_payload()[0]
    assert inner["Subject"] == subject
    if original == "message/global":
        assert part.get_payload()[0].get_content() == (
            "Sch\u00f6ne Gr\u00fc\u00dfe\r\n")
    elif original == "message/global-headers":
        assert "Sch\u00f6ne".encode() not in wire


def test_eight_bit_originals_return_whole_only_where_they_may():
    _, message = parse("8bit-headers-only")
    part = message.get_payload()[2]
    assert part.get_content_type() == "text/rfc822-headers"
    assert part["Content-Transfer-Encoding"] == "quoted-printable"
    assert "Gr\u00fc\u00dfe".encode() in part.get_payload(decode=True)
    _, message = parse("8bit-whole")
    assert message["Content-Transfer-Encoding"] == "8bit"
    part = message.get_payload()[2]
    assert part.get_content_type() == "message/rfc822"
    assert part["Content-Transfer-Encoding"] == "8bit"
    assert "Sch\u00f6ne" in part.get_payload()[0].get_content()


def test_encoded_subjects_are_shown_decoded():
    _, message = parse("encoded-subject")
    assert '"Gr\u00fc\u00dfe aus K\u00f6ln!"' in text(message)
    assert "Empf\u00e4nger unbekannt" in text(message)


def test_what_was_delivered_is_said():
    _, message = parse("bad-mailbox")
    body = " ".join(text(message).split())
    assert ("It was delivered to 2 other recipients: bea@example.com, "
            "carl@example.com. 1 other is still being tried.") in body


def test_expiry_says_how_often_and_what_was_seen_last():
    _, message = parse("message-expired")
    body = " ".join(text(message).split())
    assert "12 attempts in 5 days" in body
    assert "The last reason seen, from mx1.example.net: 451 4.4.1" in body


def test_foreign_text_cannot_add_fields_parts_or_controls():
    wire, message = parse("hostile")
    about, (recipient,) = fields(message)
    assert recipient["Action"] == "failed"
    assert recipient["Status"] == "5.1.1"
    assert recipient.get_all("Action") == ["failed"]
    assert about.get_all("Status") is None
    assert message["X-Evil"] is None and recipient["X-Evil"] is None
    # a broken Message-ID is not referred to
    assert message["In-Reply-To"] is None
    assert "\x1b" not in text(message) and "\u202e" not in text(message)
    # what the author wrote comes back as it was, its boundaries harmless
    assert message.get_payload()[2].get_content_type() == "message/rfc822"
    assert wire.rstrip().endswith(b"--=_R000000001_2--")


def test_a_report_about_many_recipients_stays_readable():
    wire, message = parse("many")
    assert message["Subject"].startswith(
        "Not delivered to anna@example.net and 199 more")
    body = text(message)
    assert "and 150 more" in body
    assert len(body.splitlines()) < 100
