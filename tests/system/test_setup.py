# SPDX-License-Identifier: ISC
"""Five questions, and a relay that runs by the answers."""

import grp
import os
import pathlib
import pty
import shutil
import stat
import subprocess

import pytest

from lab import mails
from lab.base import wait_for
from lab.need import need_mounts, need_namespaces
from lab.relay import BUILD, ENVIRONMENT, OSTLERCTL, OSTLERD
from lab.talk import Talk


def run_setup(conf, *answers, umask=-1, within=()):
    return subprocess.run(
        [*within, OSTLERCTL, "-c", conf, "setup"], capture_output=True,
        timeout=300,
        input="".join(line + "\n" for line in answers).encode(),
        env=ENVIRONMENT, umask=umask)


@pytest.fixture
def conf(folder):
    return folder / "ostler.conf"


@pytest.fixture
def installed(folder):
    """What runs a command where there is the daemon's user, as after an
    installation."""
    need_namespaces("--mount")
    need_mounts(folder)
    for name, line in (("passwd", "ostler:x:64999:64999::/:/bin/false"),
                       ("group", "ostler:x:64999:")):
        others = [other for other in
                  pathlib.Path("/etc", name).read_text().splitlines()
                  if not other.startswith("ostler:")]
        (folder / name).write_text("\n".join([*others, line]) + "\n")
    return ["unshare", "--mount", "sh", "-ec",
            'for name in passwd group; do\n'
            'mount --bind "$0/$name" "/etc/$name"\n'
            'done\n'
            'exec "$@"', folder]


def is_valid(conf):
    done = subprocess.run([OSTLERD, "-t", "-c", conf], capture_output=True,
                          timeout=300, env=ENVIRONMENT)
    return done.returncode == 0, done.stderr


def test_the_defaults_alone_make_a_configuration(conf):
    done = run_setup(conf)
    assert done.returncode == 0, done.stderr
    good, why = is_valid(conf)
    assert good, why
    assert b"MX 10" in done.stdout and b"user add" in done.stdout


@pytest.mark.parametrize("umask", (0o022, 0o077, 0))
def test_the_folder_of_a_fresh_installation_is_made(folder, umask):
    """The daemon, which is not root, reads what is in it."""
    conf = folder / "ostler" / "ostler.conf"
    done = run_setup(conf, umask=umask)
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE(conf.parent.stat().st_mode) == 0o755
    assert stat.S_IMODE(conf.stat().st_mode) == 0o644
    assert is_valid(conf)[0]


def test_the_unit_starts_the_program_that_is_installed():
    lines = (BUILD / "etc" / "ostler.service").read_text().splitlines()
    settings = dict(line.split("=", 1) for line in lines
                    if "=" in line and not line.startswith("#"))
    for name, words in (("ExecStart", ["ostlerd"]),
                        # a kill would need rights that the unit gives up
                        ("ExecReload", ["ostlerctl", "reload"])):
        program, *rest = settings[name].split()
        assert program.startswith("/")
        assert program.endswith("/sbin/" + words[0])
        assert rest == words[1:]
    # of the main process alone; a check before it would be begun again
    assert "ExecStartPre" not in settings
    assert settings["RestartPreventExitStatus"].split() == \
        ["64", "75", "77", "78"]


def test_a_relay_runs_by_the_answers(relay, conf, folder, authority):
    place = folder / "live"
    certificate = authority.issue(place, "mail.ostler.example")
    (place / "fullchain.pem").write_bytes(
        open(certificate.chain, "rb").read())
    (place / "privkey.pem").write_bytes(open(certificate.key, "rb").read())
    done = run_setup(conf, "mail.ostler.example", "local.example two.example",
                 f"maildir:{relay.mail}/%d/%u", "mx", str(place))
    assert done.returncode == 0, done.stderr
    written = conf.read_text()
    # where tests may listen and write
    relay.domains = {}
    relay.top.pop("hostname")
    del relay.sections["tls"]
    relay.extra = written
    relay.start()
    with Talk(relay.mx) as talk:
        talk.ehlo()
        talk.starttls()
        talk.mail("x@far.example", "anna@local.example", "bob@two.example")
        assert talk.data(mails.message()).code == 250
    relay.wait_maildir("anna")
    relay.wait_maildir("bob", domain="two.example")


def test_a_certificate_without_its_key_is_told_at_once(conf, folder):
    (folder / "mail.pem").write_text("a certificate\n")
    done = run_setup(conf, "mail.ostler.example", "a.example", "", "",
                     str(folder / "mail.pem"))
    assert done.returncode == 64
    assert str(folder / "mail.key").encode() in done.stderr
    assert not conf.exists()


@pytest.mark.parametrize("certificate, key, answer", [
    ("mail.crt", "private/mail.key", "mail.crt"),
    ("certs/mail.pem", "private/mail.key", "certs/mail.pem"),
    ("certs/mail.pem", "elsewhere", "certs/mail.pem  {}/elsewhere"),
])
def test_a_key_is_found_where_debian_has_it_or_named(
        conf, folder, authority, certificate, key, answer):
    pair = authority.issue(folder / "pair", "mail.example.org")
    for name, path in ((certificate, pair.chain), (key, pair.key)):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(path, folder / name)
    done = run_setup(conf, "mail.example.org", "none", "", "mx",
                     f"{folder}/{answer.format(folder)}")
    assert done.returncode == 0, done.stderr
    written = conf.read_text()
    assert f'certificate = "{folder}/{certificate}"' in written
    line, = [line for line in written.splitlines() if "key =" in line]
    assert f'key = "{folder}/{key}"' in line


def test_a_key_that_the_daemon_could_not_read_is_told(conf, folder, authority,
                                                      installed):
    certificate = authority.issue(folder, "mail.ostler.example")
    shutil.copy(certificate.chain, folder / "mail.pem")
    key = folder / "mail.key"
    shutil.copy(certificate.key, key)
    for mode, is_told in ((0o600, True), (0o644, False)):
        key.chmod(mode)
        done = run_setup(conf, "mail.ostler.example", "a.example", "", "",
                         str(folder / "mail.pem"), within=installed)
        assert done.returncode == 0, done.stderr
        assert (f"chgrp ostler {key}".encode() in done.stdout) == is_told
        conf.unlink()


def test_what_a_group_shares_stays_with_it(conf, folder, authority,
                                           installed):
    """As /etc/ssl/private is of Debian's group ssl-cert."""
    certificate = authority.issue(folder, "mail.ostler.example")
    private = folder / "private"
    private.mkdir()
    shutil.copy(certificate.chain, folder / "mail.pem")
    key = private / "mail.key"
    shutil.copy(certificate.key, key)
    group = grp.getgrnam("nogroup")
    for path, mode in ((private, 0o710), (key, 0o640)):
        os.chown(path, -1, group.gr_gid)
        path.chmod(mode)
    said = run_setup(conf, "mail.ostler.example", "none", "", "mx",
                     str(folder / "mail.pem"),
                     within=installed).stdout.decode()
    assert said.count("usermod -aG nogroup ostler") == 1, said
    assert f" {private}" not in said.replace(f"{private}/mail.key", "")
    # nobody else's: given away, as ever
    os.chown(key, -1, 0)
    key.chmod(0o600)
    conf.unlink()
    said = run_setup(conf, "mail.ostler.example", "none", "", "mx",
                     str(folder / "mail.pem"),
                     within=installed).stdout.decode()
    assert f"chgrp ostler {key} && chmod 640 {key}" in said, said
    assert f"usermod -aG nogroup ostler   # lets it into {private}\n" in said


@pytest.mark.parametrize("deliver, folders", [
    ("", ["/var/mail/one.example", "/var/mail/two.example"]),
    ("maildir:/srv/no-such/%u", ["/srv/no-such"]),
    ("maildir:/srv/%d/mail/%u/", ["/srv/one.example/mail",
                                  "/srv/two.example/mail"]),
    ("maildir:/srv/no-such/%u/%d", ["/srv/no-such"]),
    ("maildir:/srv/%u/%d", []),  # it is somebody's already
    ("lmtp:unix:/run/lmtp", []),
])
def test_the_folders_of_maildirs_are_named(conf, deliver, folders):
    done = run_setup(conf, "mail.ostler.example", "one.example, two.example",
                     deliver)
    assert done.returncode == 0, done.stderr
    said = done.stdout.decode()
    if os.path.exists("/run/dovecot/lmtp") and deliver == "":
        pytest.skip("Dovecot's socket is the default here")
    told = [line.split()[-1] for line in said.splitlines()
            if "install -d" in line]
    assert told == (folders if os.geteuid() == 0 else [])
    assert ("/srv is another's" in said) == (
        os.geteuid() == 0 and deliver == "maildir:/srv/%u/%d")
    assert "  one.example. MX 10 " in said


def test_a_smarthost_with_a_login(conf, folder):
    done = run_setup(conf, "mail.ostler.example", "none", "", "me@smart.example",
                 "", "secret pass")
    assert done.returncode == 0, done.stderr
    good, why = is_valid(conf)
    assert good, why
    text = conf.read_text()
    assert 'via = {"smtp:smart.example:587"}' in text
    assert 'user = "me"' in text and "secret pass" not in text
    password = folder / "ostler.conf.password"
    assert password.read_text() == "secret pass"
    assert stat.S_IMODE(password.stat().st_mode) == 0o600
    assert "domain" not in text


@pytest.mark.parametrize("answers", [
    ["mail.ostler.example", "bad domain!", "maildir:/x"],
    ["mail.ostler.example", "a.example", "pigeon:/x"],
    ["mail.ostler.example", "a.example", "", "mx", "/no/such/folder"],
    ['mail.ostler.example" spool="/x'],
    ["mail.ostler.example", "a.example", "maildir:/x/${HOME}"],
    ["mail.ostler.example", "", "", "me@smart.example"],
])
def test_wrong_answers_leave_nothing_behind(conf, folder, answers):
    done = run_setup(conf, *answers)
    assert done.returncode in (64, 78), (done.returncode, done.stdout)
    assert done.stderr
    assert list(folder.iterdir()) == []


def test_what_is_there_is_never_written_over(conf):
    conf.write_text("mine\n")
    assert run_setup(conf).returncode == 1
    assert conf.read_text() == "mine\n"


def test_a_file_beside_it_is_left_alone(conf, folder):
    beside = folder / "ostler.conf.new"
    beside.write_text("mine\n")
    assert run_setup(conf).returncode != 0
    assert beside.read_text() == "mine\n" and not conf.exists()


def test_an_answer_is_not_cut_into_two(conf, folder):
    done = run_setup(conf, "x" * 1100, "a.example")
    assert done.returncode == 64 and b"at most" in done.stderr
    assert list(folder.iterdir()) == []


def test_each_of_many_domains_is_written(conf):
    names = [f"d{i}.example" for i in range(80)]
    deliver = "maildir:/var/mail/" + "x" * 990
    done = run_setup(conf, "mail.ostler.example", " ".join(names), deliver)
    assert done.returncode == 0, done.stderr
    text = conf.read_text()
    assert all(f'"{name}"' in text for name in names)


def test_on_a_terminal_it_asks(conf):
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [OSTLERCTL, "-c", conf, "setup"], stdin=slave, stdout=slave,
        stderr=slave, env=ENVIRONMENT)
    os.close(slave)
    said = b""

    def read_until(words):
        nonlocal said
        while words not in said:
            said += os.read(master, 4096)
    # what cannot be used is asked for again, and nothing else
    for number, answer in ((1, 'mail "ostler"'), (1, "mail.ostler.example"),
                           (2, ""), (3, "maildir:/var/mail/%d/%u"),
                           (4, "me@smart.example:465"),
                           (5, f"{conf}.nowhere"), (5, "")):
        read_until(b"%d. " % number)
        read_until(b"] ")
        said = said.rsplit(b"] ", 1)[1]
        os.write(master, answer.encode() + b"\n")
    read_until(b"password there: ")
    said = b""
    os.write(master, b"hush hush\n")
    try:
        read_until(b"In DNS")
    except OSError:
        pass  # it has ended
    wait_for(lambda: process.poll() is not None, "its end")
    os.close(master)
    assert process.returncode == 0, said
    assert b"hush hush" not in said
    assert 'via = {"smtps:smart.example:465"}' in conf.read_text()
    assert 'domain "ostler.example"' in conf.read_text()
