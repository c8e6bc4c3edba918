# SPDX-License-Identifier: ISC
"""Power loss at any moment: what the disk may hold then, the spool recovers
from, without losing, inventing or bringing back a message.

OSTLER_STATES sets how many states (2000), OSTLER_SEEDS which runs ("1 2 3"),
OSTLER_SLOW=1 has each broken spool of queue/spool/mutant.h found as well."""

import os
import shutil
import subprocess

import pytest

from lab.relay import BUILD, TOP

CRASH = TOP / "tests" / "crash"
TOOLS = BUILD / "tests" / "crash"
STATES = int(os.environ.get("OSTLER_STATES", "2000"))
SEEDS = os.environ.get("OSTLER_SEEDS", "1 2 3").split()


def need_tools():
    for tool in ("driver", "replay", "recorder.so"):
        if not (TOOLS / tool).exists():
            pytest.skip(f"there is no {TOOLS / tool}: make check builds it")


def replay(trace, seed, states):
    """Checks states of the trace, which is kept if one is wrong."""
    done = subprocess.run(
        [TOOLS / "replay", "-s", str(seed), "-n", str(states),
         "-j", str(os.cpu_count()), trace],
        capture_output=True, text=True, timeout=600)
    print(done.stdout, done.stderr)
    if done.returncode != 0:
        kept = f"/tmp/ostler-crash-{os.getpid()}-{seed}.trace"
        shutil.copy(trace, kept)
        pytest.fail(f"seed {seed}, {kept}:\n{done.stdout}{done.stderr}")
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize("seed", SEEDS)
def test_no_crash_of_the_spool_loses_or_invents_anything(folder, seed,
                                                         capsys):
    need_tools()
    subprocess.run([CRASH / "record.sh", TOOLS, seed, folder], check=True,
                   timeout=300)
    line = replay(folder / "trace", seed, STATES // (len(SEEDS) + 1))
    with capsys.disabled():
        print("\n" + line)


@pytest.mark.skipif(not os.environ.get("OSTLER_SLOW"),
                    reason="OSTLER_SLOW is not set")
def test_every_broken_spool_is_found(capsys):
    need_tools()
    with capsys.disabled():
        print()
        subprocess.run([CRASH / "mutants.sh", BUILD], check=True)
