# SPDX-License-Identifier: ISC
"""The Debian package says the same as the build and the documents."""

import os
import re
import shutil
import subprocess

import pytest

from lab.relay import BUILD, TOP

DEBIAN = TOP / "debian"


def read(name):
    return (TOP / name).read_text()


def needed():
    """Debian's package for each library that configure asks for."""
    found = re.findall(
        r"OSTLER_NEED\(\[\w+\], \[\S+ >= ([\d.]+)\], \[([\w.+-]+)\]\)",
        read("configure.ac"))
    assert len(found) >= 7
    return found + [("7.85", "libcurl4-openssl-dev")]


def test_the_package_has_the_version_of_the_program():
    version = re.search(r"AC_INIT\(\[ostler\], \[(.+)\]\)",
                        read("configure.ac"))[1]
    first = read("debian/changelog").splitlines()[0]
    assert first.startswith("ostler (%s) " % version)


@pytest.mark.parametrize("version, package", needed())
def test_a_library_is_named_wherever_it_is_installed(version, package):
    assert "%s (>= %s)" % (package, version) in read("debian/control")
    for name in ("README.md", "etc/quickstart.sh", "tests/run.sh"):
        assert re.search(r"(?<![\w-])%s(?![\w-])" % re.escape(package),
                         read(name)), name


def test_what_logins_need_comes_with_the_package():
    depends = re.search(r"^Depends:\n((?: .*\n)+)", read("debian/control"),
                        re.M)[1]
    for package in ("adduser", "libsasl2-modules", "libsasl2-modules-db"):
        assert " %s,\n" % package in depends


def test_all_files_of_the_package_are_in_the_tarball():
    # what debhelper leaves in debian/ while it builds
    made = re.compile(r"debian/(ostler/|\.debhelper/|files$|debhelper-"
                      r"build-stamp$|ostler\.substvars$|.*\.debhelper$)")
    there = {str(path.relative_to(TOP)) for path in DEBIAN.rglob("*")
             if path.is_file()}
    there = {name for name in there if not made.match(name)}
    listed = set(re.findall(r"^\t(debian/\S+) \\$", read("Makefile.am"), re.M))
    assert there == listed


@pytest.mark.parametrize("name", ["ostler.postinst", "ostler.prerm",
                                  "ostler.postrm", "tests/smoke"])
def test_a_script_of_the_package_is_one(name):
    done = subprocess.run(["sh", "-n", DEBIAN / name], capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


# ------------------------------------------------------- with debhelper

def make_install(root):
    subprocess.run(
        ["make", "-s", "-C", BUILD, "install", "prefix=/usr",
         "sysconfdir=/etc", "DESTDIR=%s" % root],
        check=True, capture_output=True, timeout=300)


def files_below(root):
    return {"/" + str(path.relative_to(root)) for path in root.rglob("*")
            if path.is_symlink() or not path.is_dir()}


def where_debian_has_it(name):
    moved = {
        "/usr/sbin/mailq": "/usr/bin/mailq",
        "/usr/sbin/newaliases": "/usr/bin/newaliases",
        "/usr/share/ostler/ostler.service":
            "/lib/systemd/system/ostler.service",
        "/usr/share/doc/ostler/ostler.conf":
            "/usr/share/doc/ostler/examples/ostler.conf",
    }
    return moved.get(name, name)


def test_every_file_that_is_installed_is_in_the_package(folder):
    if shutil.which("dh") is None:
        pytest.skip("debhelper is not installed")
    work = folder / "package"
    shutil.copytree(DEBIAN, work / "debian",
                    ignore=shutil.ignore_patterns("ostler", ".debhelper"))
    # it is built already; only `make install` is asked for, which without
    # DESTDIR would install into this machine
    (work / "debian" / "debhelper-build-stamp").write_text("ostler\n")
    (work / "Makefile").write_text(
        "all:\n\tfalse\ninstall:\n\ttest -n '$(DESTDIR)'\n"
        "\t$(MAKE) -s -C %s install prefix=/usr sysconfdir=/etc "
        "DESTDIR=$(DESTDIR)\n" % BUILD)
    environment = dict(os.environ, DEB_BUILD_OPTIONS="nostrip nocheck")
    for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
        environment.pop(name, None)
    done = subprocess.run(["dh", "install"], cwd=work, capture_output=True,
                          text=True, timeout=1200, env=environment)
    assert done.returncode == 0, done.stderr
    packed = {re.sub(r"\.gz$", "", name)
              for name in files_below(work / "debian" / "ostler")}
    make_install(folder / "plain")
    installed = {where_debian_has_it(name)
                 for name in files_below(folder / "plain")}
    assert installed - packed == set()
    # and nothing else but what every package has, and other names
    own = {name for name in packed - installed
           if not name.startswith("/usr/share/doc/ostler/c")}
    assert own == {
        "/usr/lib/sendmail",
        "/usr/share/man/man1/mailq.1",
        "/usr/share/man/man1/newaliases.1",
        "/usr/share/man/man8/sendmail.8",
    }
