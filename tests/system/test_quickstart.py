# SPDX-License-Identifier: ISC
"""The first of the README's two commands, in a copy of the tree.

OSTLER_SLOW=1 runs it: it builds everything."""

import os
import subprocess

import pytest

from lab.relay import TOP

pytestmark = pytest.mark.skipif("OSTLER_SLOW" not in os.environ,
                                reason="takes minutes: OSTLER_SLOW=1 runs it")


def test_quickstart_shows_three_things(folder):
    copy = folder / "ostler"
    subprocess.run(["git", "clone", "-q", TOP, copy], check=True)
    done = subprocess.run([copy / "etc" / "quickstart.sh", "--check"],
                          capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    for what in ("1. a stranger", "2. a stranger", "3. demo logs in",
                 "Relaying denied", "all three happened"):
        assert what in done.stdout, done.stdout
