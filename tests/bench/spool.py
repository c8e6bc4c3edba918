#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The spool beside the disk: disk_limit and spool_bench in turns.

    make bench-tools
    tests/bench/spool.py [--build DIR] [--work DIR] [--rounds 3]
                         [--seconds 3] [--limit PROGRAM] [--priority N]
                         [--lock FILE] [cell ...]

Each round runs every cell's two sides one right after the other, so that
both see the same machine; what is printed are medians over the rounds, of
the ratios those of each round. Cells are named MODE:SIZE:SESSIONS, sizes in
KiB, modes accept, cycle and keep (10 of 100 messages are never settled).
--limit takes another program with the arguments of disk_limit.

"p50 ratio" compares the median time of a commit, which other users of the
machine disturb less than the rate. "others" is how many processors they
used in the worst run. Results go to standard output as a Markdown table.
"""
import argparse
import fcntl
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time

CELLS = """accept:10:64 cycle:10:64 cycle:10:1 cycle:10:16 cycle:10:256
cycle:1:1 cycle:1:16 cycle:1:64 cycle:1:256
cycle:100:1 cycle:100:16 cycle:100:64 cycle:100:256 keep:10:64""".split()
# What the spool is held to: rate by the disk's rate.
GOALS = {"accept:10:64": 0.90, "cycle:10:64": 0.70, "cycle:10:1": 0.85,
         "cycle:10:16": 0.75, "cycle:10:256": 0.65, "cycle:1:64": 0.55,
         "cycle:100:64": 0.75, "keep:10:64": 0.60}


def busy_seconds():
    """CPU time of all processes of the machine so far."""
    with open("/proc/stat", encoding="ascii") as file:
        ticks = [int(word) for word in file.readline().split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def run(args, command):
    """One run: its figures, and the processors that others used."""
    if args.priority is not None:
        command = ["nice", "-n", str(args.priority), *command]
    busy, began = busy_seconds(), time.monotonic()
    before = os.times()
    done = subprocess.run(command, capture_output=True, text=True,
                          timeout=300, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: {done.stderr.strip()}")
    after = os.times()
    own = (after.children_user - before.children_user +
           after.children_system - before.children_system)
    others = (busy_seconds() - busy - own) / (time.monotonic() - began)
    figures = {"others": max(others, 0.0)}
    for name, value in re.findall(r"(\S+?)=([0-9.]+)", done.stdout):
        figures[name] = float(value)
    # both programs say msgs/s and p50_us
    return figures


def measure(args, cell, seconds):
    mode, size, sessions = cell.split(":")
    size = str(int(size) * 1024)
    limit = run(args, [args.limit, size, sessions, seconds, args.work])
    options, spool = [], os.path.join(args.work, "spool-" + mode)
    if mode == "keep":
        # until the log is at its soft limit and old mail makes room
        options = ["-k", "10", "-m", str(args.keep_warm)]
    bench = run(args, [args.bench, *options, size, sessions, seconds, spool,
                       "accept" if mode == "accept" else "cycle"])
    if mode != "accept":
        # Removed at the end: where ext4 has no journal it passes over the
        # inodes of the last minutes, and new files are slow to make.
        args.spools += 1
        os.rename(spool, f"{spool}-{args.spools}")
    return limit, bench


def middle(values):
    return statistics.median(values)


def row(cell, rounds):
    def of(side, name):
        return middle([pair[side][name] for pair in rounds])

    mode, size, sessions = cell.split(":")
    ratio = middle([b["msgs/s"] / l["msgs/s"] for l, b in rounds])
    p50 = middle([l["p50_us"] / b["p50_us"] for l, b in rounds])
    others = max(max(l["others"], b["others"]) for l, b in rounds)
    goal = GOALS.get(cell)
    return [mode, f"{size} KiB", sessions, f"{of(0, 'msgs/s'):,.0f}",
            f"{of(1, 'msgs/s'):,.0f}", f"{ratio:.2f}", f"{p50:.2f}",
            f"{goal:.2f}" if goal else "",
            f"{of(0, 'p50_us') / 1000:.2f} / {of(0, 'p99_us') / 1000:.1f}",
            f"{of(1, 'p50_us') / 1000:.2f} / {of(1, 'p99_us') / 1000:.1f}",
            f"{of(0, 'cpu_us/msg'):.1f}", f"{of(1, 'cpu_us/msg'):.1f}",
            f"{others:.1f}"]


def file_system(path):
    name = subprocess.run(["df", "--output=fstype", path],
                          capture_output=True, text=True, check=False)
    return name.stdout.split()[-1]


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        names = re.findall(r"model name\s*:\s*(.*)", file.read())
    return names[0] if names else platform.machine()


def main():
    parser = argparse.ArgumentParser(
        description="the spool beside the disk, as a table")
    parser.add_argument("--build", default=".")
    parser.add_argument("--work", default=".")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--keep-warm", type=int, default=1500,
                        help="MiB that a keep writes before it is measured")
    parser.add_argument("--limit", help="instead of disk_limit")
    parser.add_argument("--priority", type=int, help="as nice -n takes it")
    parser.add_argument("--lock", help="held while a pair is measured")
    parser.add_argument("cells", nargs="*")
    args = parser.parse_args()
    tools = os.path.join(args.build, "tests", "bench")
    args.bench = os.path.join(tools, "spool_bench")
    args.limit = args.limit or os.path.join(tools, "disk_limit")
    work = os.path.join(args.work, f"spool-bench-{os.getpid()}")
    os.mkdir(work, 0o700)
    args.work = work
    args.spools = 0
    cells = args.cells or CELLS
    results = {cell: [] for cell in cells}
    lock = open(args.lock, "a", encoding="ascii") if args.lock else None
    began = time.time()
    try:
        for number in range(args.rounds):
            for cell in cells:
                if lock:
                    fcntl.flock(lock, fcntl.LOCK_EX)
                pair = measure(args, cell, str(args.seconds))
                if lock:
                    fcntl.flock(lock, fcntl.LOCK_UN)
                results[cell].append(pair)
                print(number + 1, cell,
                      *(f"{side['msgs/s']:.0f}" for side in pair),
                      file=sys.stderr, flush=True)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    version = subprocess.run(
        [os.path.join(args.build, "ostlerd"), "-V"], capture_output=True,
        text=True, check=False).stdout.split("\n")[:2]
    print(f"{time.strftime('%Y-%m-%d', time.gmtime(began))}, {', '.join(version)}; "
          f"{os.cpu_count()} x {processor()}, {platform.system()} "
          f"{platform.release()}, {file_system('.')}; medians of "
          f"{args.rounds} rounds of {args.seconds:g} s.\n")
    head = ["mode", "size", "sessions", "disk msg/s", "spool msg/s", "ratio",
            "p50 ratio", "goal", "disk p50 / p99 ms", "spool p50 / p99 ms",
            "disk us/msg", "spool us/msg", "others"]
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for cell in cells:
        print("| " + " | ".join(row(cell, results[cell])) + " |")


if __name__ == "__main__":
    main()
