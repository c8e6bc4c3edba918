# SPDX-License-Identifier: ISC
"""The manual pages and the code say the same."""

import re
import subprocess

import pytest

from lab import mails
from lab.relay import OSTLERCTL, TOP
from lab.talk import Talk


def source(*folders):
    return "\n".join(file.read_text() for folder in folders
                     for file in sorted((TOP / folder).rglob("*.c")))


def manual(name):
    """Without its marks: "\\&" and backslashes before a hyphen."""
    text = (TOP / "doc" / name).read_text()
    return text.replace("\\&", "").replace("\\-", "-")


def keys():
    """(section, name, default or None) of each key of the configuration."""
    table = (TOP / "server" / "config_keys.c").read_text()
    rows = re.findall(r'^\{"(\w*)",\s*"(\w+)",\s*KEY_\w+,\s*'
                      r'(?:NULL|"([^"]*)"|OSTLER_\w+ "([^"]*)")', table, re.M)
    return [(section, name, value or tail) for section, name, value, tail
            in rows]


def test_each_key_and_its_default_stand_in_the_manual():
    items = [line for line in manual("ostler.conf.5").splitlines()
             if line.startswith(".It ")]
    assert len(keys()) > 90
    for section, name, default in keys():
        of_name = [item for item in items
                   if re.search(rf"\b{name}\b", item)]
        assert of_name, f"{section}.{name} is not in ostler.conf(5)"
        for word in (default or "").split(", "):
            assert any(word in item for item in of_name), \
                f"{section}.{name}: the default is {default}: {of_name}"


def test_each_event_of_the_log_stands_in_the_manual():
    text = re.sub(r"\s+", " ", manual("ostlerd.8"))
    said = text[text.index("The events are"):]
    said = said[:said.index("status .") + len("status")]
    said = set(re.findall(r"\b[a-z][a-z-]+", said)) - {"events", "are", "and"}
    code = source("server", "queue", "lib")
    begun = set(re.findall(
        r'(?:log_begin|session_log)\([^;]*?"([a-z-]+)"\);', code))
    assert "queued" in begun and "disconnect" in begun
    assert begun <= said, f"not in ostlerd(8): {begun - said}"
    for event in said:
        assert f'"{event}"' in code, f"{event} is never logged"


def test_what_ostlerctl_takes_stands_in_its_manual_and_its_help():
    text = re.sub(r"\s+", " ", manual("ostlerctl.8"))
    helped = ""
    code = (TOP / "server" / "ostlerctl.c").read_text()
    for command in re.findall(r'^\t\{"(\w+)", ctl_', code, re.M):
        assert re.search(rf"\.It Cm {command}\b", text) or \
            re.search(rf"\b{command}\b", text), command
        helped += subprocess.run([OSTLERCTL, command, "--help"],
                                 capture_output=True, text=True,
                                 check=True).stdout
    options = set()
    for file in sorted((TOP / "server").glob("ctl_*.c")):
        for table in re.findall(r"struct ctl_option \w+\[\] = \{(.*?)\};",
                                file.read_text(), re.S):
            options |= set(re.findall(r'\{"([a-z-]+)"', table))
    assert len(options) > 15
    for option in options:
        assert f"-{option}" in text, f"--{option} is not in ostlerctl(8)"
        assert f"--{option}" in helped, f"--{option} is in no --help"


def test_each_category_is_explained_by_an_example_that_is_one(relay):
    text = manual("ostlerctl.8")
    text = text[text.index(".Sh CATEGORIES"):text.index(".Sh EXIT STATUS")]
    rows = re.findall(r"^\.It Cm (\S+)\n.*?^\.Dl (.*?)$", text, re.M | re.S)
    code = (TOP / "queue" / "bounce" / "category.c").read_text()
    names = re.findall(r'\[CATEGORY_\w+\] = "([a-z-]+)"', code)
    assert sorted(name for name, _ in rows) == sorted(names)
    assert len(names) == 16
    for name, example in rows:
        row = relay.ctl("classify", example, json=True).row
        assert row["category"] == name, (example, row)


def test_at_level_debug_the_log_follows_each_step(relay, far):
    relay.set("relay", trusted_networks=["127.0.0.0/8"])
    relay.start()
    with Talk(relay.mx) as talk:
        talk.ehlo()
        talk.mail("anna@local.example", "bob@far.example")
        assert talk.data(mails.message()).code == 250
    far.wait(1)
    row = relay.wait_event("route")[0]
    assert row["level"] == "debug" and row["via"] == "mx far.example"
    assert row["mx"] == "mx.far.example" and row["ttl"] >= 0, row
    assert relay.wait_event("mail", from_="anna@local.example", level="debug")
    assert relay.wait_event("rcpt", to="bob@far.example", level="debug")


@pytest.mark.parametrize("page", ["ostlerd.8", "ostlerctl.8",
                                  "ostler.conf.5", "ostler-spool.5",
                                  "ostler-sendmail.8"])
def test_what_a_manual_refers_to_is_there(page):
    ours = {file.name for file in (TOP / "doc").iterdir()}
    for name, section in re.findall(r"^\.Xr (ostler[\w.-]*) (\d)",
                                    manual(page), re.M):
        assert f"{name}.{section}" in ours, f"{page} refers to {name}"
