#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""kill -9 of the whole relay under load, N times; counts duplicates.

    OSTLER_BUILD=build tests/crash/kill.py [N]

The test itself is tests/system/test_crash.py; this runs it for long."""

import os
import pathlib
import subprocess
import sys

top = pathlib.Path(__file__).resolve().parents[2]
kills = sys.argv[1] if len(sys.argv) > 1 else "500"
sys.exit(subprocess.call(
    [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
     top / "tests/system/test_crash.py"],
    env=dict(os.environ, OSTLER_KILLS=kills)))
