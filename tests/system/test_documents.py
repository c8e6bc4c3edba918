# SPDX-License-Identifier: ISC
"""What the documents print works as it is printed."""

import os
import re
import shutil
import subprocess

import pytest

from lab.base import USER
from lab.relay import BUILD, ENVIRONMENT, OSTLERD, TOP


def literals(name):
    """The blocks of a manual page that are shown as they are."""
    text = (TOP / name).read_text()
    for block in re.findall(r"^\.Bd -literal[^\n]*\n(.*?)^\.Ed", text,
                            re.S | re.M):
        yield re.sub(r"^\\&", "", block, flags=re.M) \
            .replace("\\e", "\\").replace("\\(dq", '"')


def configurations():
    for name in ("doc/ostler.conf.5", "doc/ostler-postfix.7"):
        for number, block in enumerate(literals(name)):
            if re.match(r"hostname = ", block):
                yield pytest.param(block, id=f"{name}-{number}")
    for number, block in enumerate(re.findall(
            r"(?:^    .*\n|^\n)+", (TOP / "README.md").read_text(), re.M)):
        block = re.sub(r"^    ", "", block, flags=re.M).strip("\n") + "\n"
        if re.match(r"hostname += ", block):
            yield pytest.param(block, id=f"README.md-{number}")


def test_there_are_configurations_to_look_at():
    assert len(list(configurations())) >= 5


@pytest.mark.parametrize("text", configurations())
def test_a_configuration_that_is_printed_is_one(text, folder, authority):
    pair = authority.issue(folder / "pair", "mail.example.org")
    # what it names exists here, not there
    text = text.replace("/etc/ostler/", "").replace('"/etc/aliases"',
                                                    '"aliases"')
    for name in re.findall(r'(?:certificate|client_ca)\s*= "([^"]+)"', text):
        shutil.copy(pair.chain, folder / name)
    for name in re.findall(r'\bkey\s*= "([^"]+)"', text):
        shutil.copy(pair.key, folder / name)
    for name in re.findall(
            r'(?:recipients|senders|client_crl|password_file)\s*= '
            r'"([\w.-]+)"|include\("([^"]+)"\)', text):
        (folder / "".join(name)).write_text("")
    (folder / "aliases").write_text("postmaster: anna\n")
    (folder / "recipients").write_text("anna\npostmaster\n")
    conf = folder / "ostler.conf"
    conf.write_text('%suser = "%s"\n' % (text, USER))
    done = subprocess.run(
        [OSTLERD, "-t", "-c", conf], capture_output=True, text=True,
        timeout=300, env=dict(ENVIRONMENT, MAIL_NAME="mail.example.org"))
    assert done.returncode == 0, done.stderr


def test_the_script_for_tests_runs_as_it_is_printed(folder):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    scripts = [block for block in literals("doc/ostler-testing.7")
               if block.startswith("#!/bin/sh\n")]
    assert len(scripts) == 1
    done = subprocess.run(
        ["sh", "-c", scripts[0]], capture_output=True, text=True, timeout=300,
        cwd=folder, env=dict(ENVIRONMENT, TMPDIR=str(folder),
                             PATH="%s:%s" % (BUILD, os.environ["PATH"])))
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert done.stdout.endswith("all passed\n")
    # and leaves nothing behind
    assert list(folder.iterdir()) == []
