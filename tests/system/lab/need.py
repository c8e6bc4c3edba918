# SPDX-License-Identifier: ISC
"""What a test needs that a machine may lack: the test is skipped then, and the
reason names it.

What tests/run.sh has installed or built is no such thing: where that lacks,
the test fails, or a test that never runs would look like one that passes."""

import os
import pathlib
import resource
import shutil
import subprocess

import pytest

#: Debian's packages, and "ostler" itself with the programs of its tests.
PROVIDED = os.environ.get("OSTLER_PROVIDED", "").split()


def _lack(reason, package):
    if package in PROVIDED:
        pytest.fail(f"{reason}, though {package} has been installed")
    pytest.skip(f"{reason} (package {package})")


def need_built(*paths):
    for path in paths:
        if not path.exists():
            if "ostler" in PROVIDED:
                pytest.fail(f"{path} was not built")
            pytest.skip(f"there is no {path}: make check builds it")


def need_root(what):
    if os.geteuid() != 0:
        pytest.skip(f"only root may do it: {what}")


def need_program(program, package=None):
    """program: a name to find, or a path."""
    if shutil.which(program) is None:
        _lack(f"there is no {program}", package or program)


def need_module(words, package, **options):
    """words: a command that fails where a language lacks a module."""
    need_program(words[0])
    done = subprocess.run(words, capture_output=True, text=True, **options)
    if done.returncode != 0:
        _lack(f"{words[0]} finds not all of its modules", package)


def need_less_free(folder, gibibytes):
    """A disk may be larger than spool_free can say."""
    if shutil.disk_usage(folder).free >= gibibytes << 30:
        pytest.skip(f"{gibibytes} GiB are free here")


def need_files(count):
    """So many open ones, for us and for what we start."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        pytest.skip(f"no more than {hard} files may be open here")
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def need_namespaces(*kinds):
    """kinds: as unshare's options."""
    need_root("namespaces")
    done = subprocess.run(["unshare", *kinds, "true"], capture_output=True,
                          text=True)
    if done.returncode != 0:
        pytest.skip(f"no namespaces here: {done.stderr.strip()}")


def need_mounts(folder):
    """Root within a container may not mount; what fails to be mounted where
    this works is a fault."""
    need_root("mounts")
    place = folder / "may we mount"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place],
                          capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"no mounts here: {done.stderr.strip()}")
    subprocess.run(["umount", place], check=True)


def need_loop_device(image):
    """The path of one on the file; it goes with its last mount."""
    if not pathlib.Path("/dev/loop-control").exists():
        pytest.skip("this kernel has no loop devices")
    done = subprocess.run(["losetup", "--find", "--show", image],
                          capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"no loop devices here: {done.stderr.strip()}")
    return done.stdout.strip()
