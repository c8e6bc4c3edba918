#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Runs a harness that measures SMTP relays side by side, with this ostler
among them, and prints its figures as Markdown.

    tests/bench/beside.py --harness DIR [--peers postfix,exim] [--runs 3]
                          [--workloads W1s,W2,W3,W4,W5,W6] [--quick]

The harness is a folder with `setup`, `run` and `targets/`; it makes private
namespaces, so it wants root. ostler is its target tests/bench/target here,
from the build in OSTLER (default: build/plain, made when missing with -O2
and without the sanitizers). PEERS is where `setup` has put the peers.
"""
import argparse
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parent.parent


def plain_build() -> pathlib.Path:
    """A build as a distribution would make it."""
    build = TOP / "build" / "plain"
    build.mkdir(parents=True, exist_ok=True)
    if not (TOP / "configure").exists():
        subprocess.run([TOP / "autogen.sh"], cwd=TOP, check=True,
                       stdout=subprocess.DEVNULL)
    if not (build / "Makefile").exists():
        subprocess.run([TOP / "configure", "-q", "CFLAGS=-O2 -g"], cwd=build,
                       check=True)
    subprocess.run(["make", "-s", f"-j{os.cpu_count()}", "ostlerd",
                    "ostlerctl"], cwd=build, check=True,
                   stdout=subprocess.DEVNULL)
    return build


def machine() -> str:
    """What the figures hold for."""
    model = "unknown processor"
    for line in open("/proc/cpuinfo", encoding="utf-8"):
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    return (f"{os.cpu_count()} cores of {model}, {memory} GiB, "
            f"Linux {platform.release()}, load before "
            f"{os.getloadavg()[0]:.1f}")


def versions(names: list[str], harness: pathlib.Path, env: dict) -> None:
    """Who took part; a target that cannot say it is named without one."""
    for name in names:
        said = subprocess.run([harness / "targets" / name, "version"],
                              env=dict(env, BENCH_SANDBOX="1", CONNS="1"),
                              capture_output=True, text=True, check=False)
        first = (said.stdout.strip().splitlines() or ["version not said"])[0]
        print(f"- {name}: {first}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--harness", required=True, type=pathlib.Path)
    parser.add_argument("--peers", default="postfix",
                        help="its other targets, by commas; '' for none")
    parser.add_argument("--workloads", default="W1s,W2,W3,W4,W5,W6")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("beside.py: the harness makes namespaces: run it as root")

    peers = [name for name in options.peers.split(",") if name]
    env = dict(os.environ)
    if "OSTLER" not in env:
        env["OSTLER"] = str(plain_build())
    machine_now = machine()
    with tempfile.TemporaryDirectory(prefix="beside-") as scratch:
        harness = pathlib.Path(scratch) / "harness"
        shutil.copytree(options.harness, harness)
        shutil.copy(HERE / "target", harness / "targets" / "ostler")
        (harness / "targets" / "ostler").chmod(0o755)
        env.setdefault("PEERS", str(pathlib.Path(scratch) / "peers"))
        if not (pathlib.Path(env["PEERS"]) / "bin").exists():
            subprocess.run([harness / "setup",
                            *(["tools"] if set(peers) <= {"postfix"}
                              else [])],
                           env=env, check=True, stdout=sys.stderr)
        out = pathlib.Path(scratch) / "out"
        command = [harness / "run", "--targets",
                   ",".join(["ostler", *peers]), "--workloads",
                   options.workloads, "--runs", str(options.runs),
                   "--out", out]
        if options.quick:
            command.append("--quick")
        # a peer's start-up may fail for itself alone: the report tells
        subprocess.run(command, env=env, check=False, stdout=sys.stderr)
        print(machine_now + "\n")
        versions(["ostler", *peers], harness, env)
        sys.stdout.flush()
        return subprocess.run([harness / "run", "--report", "--out", out],
                              env=env, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
