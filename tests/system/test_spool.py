# SPDX-License-Identifier: ISC
"""A stopped spool: read by a stranger, checked, repaired, copied in use."""

import json
import os
import re
import shutil
import stat
import subprocess
import threading

import pytest

from lab import mails, spool_reader
from lab.base import wait_for
from lab.need import need_root
from lab.relay import OSTLERCTL
from lab.talk import Talk


def submit(talk, to, size=600, sender="anna@local.example"):
    """The id of a message for one or more recipients."""
    content = mails.message((b"x" * 70 + b"\r\n") * (size // 72 + 1))
    talk.mail(sender, *to.split())
    reply = talk.data(content)
    assert reply.code == 250
    return re.search(r"[0-9A-Z]{13}", reply.text).group(), content


@pytest.fixture
def stopped(relay, far):
    """A spool with all there is: deferred, held, in part delivered, large."""
    far.on_rcpt = lambda address: \
        "451 4.2.0 not  now, \\ caf\u00e9" if address.startswith("later") \
        else None
    relay.set("relay", trusted_networks=["127.0.0.0/8"])
    relay.start()
    relay.ids, relay.contents = {}, {}

    def put(name, to, **more):
        with Talk(relay.mx) as talk:
            talk.ehlo()
            relay.ids[name], relay.contents[name] = submit(talk, to, **more)

    put("later", "later@far.example")
    put("mixed", "gone@far.example later2@far.example")
    wait_for(lambda: len([row for row in relay.queue()
                          if row["state"] == "deferred"]) == 2,
             "two deferred messages")
    relay.restart()
    assert relay.ctl("pause").code == 0
    put("large", "x@far.example", size=300000)
    put("held", "y@far.example")
    put("plain", "z@far.example", sender="")
    assert relay.ctl("queue", "hold", relay.ids["held"]).code == 0
    relay.stop()
    return relay


def the_same(relay):
    """Whether a stranger reads what we read; returns the rows."""
    ours = {row["id"]: row for row in relay.queue()}
    theirs = {row["id"]: row for row in spool_reader.read(relay.spool)}
    assert theirs == ours
    return ours


def test_the_format_is_told_so_that_a_stranger_can_read_it(stopped):
    rows = the_same(stopped)
    one = stopped.ids
    assert set(rows) == set(one.values())
    assert rows[one["mixed"]]["recipients_left"] == 1
    assert rows[one["held"]]["state"] == "held"
    assert "caf" in rows[one["later"]]["why"]
    for name, body in spool_reader.bodies(stopped.spool).items():
        wanted = next(stopped.contents[key] for key, value in one.items()
                      if value == name)
        # our Received line is in front
        assert body.endswith(wanted.rstrip(b"\r\n") + b"\r\n"), name


def test_a_stranger_can_read_lines_about_neighbours(relay, far):
    far.on_rcpt = lambda address: \
        None if address.startswith("ok") else "451 4.2.0 not now"
    relay.set("relay", trusted_networks=["127.0.0.0/8"])
    # one attempt each time that we ask for it, however slow the machine is
    relay.set("queue", retry=["1h"])
    relay.start()
    with Talk(relay.mx) as talk:
        talk.ehlo()
        name, _ = submit(talk, " ".join(
            to + "@far.example" for to in
            ("ok", "a", "b", "c", "ok2", "d", "e", "ok3", "f")))
    wait_for(lambda: [row for row in relay.queue()
                      if row["state"] == "deferred"], "a deferred message")
    relay.stop()
    assert the_same(relay)[name]["recipients_left"] == 6
    assert [line.partition(" ")[0]
            for line in spool_reader.states(relay.spool)[name]] == \
        ["to=0", "to=1-3", "to=4", "to=5-6", "to=7", "to=8"]
    assert relay.ctl("fsck").code == 0
    # read back from the log, and written behind it
    relay.start()
    wait_for(relay.queue, "the message")
    assert relay.ctl("queue", "retry", "--all").code == 0
    wait_for(lambda: relay.queue()[0]["attempts"] == 2, "one attempt more")
    far.on_rcpt = lambda address: None
    relay.stop()
    assert the_same(relay)[name]["attempts"] == 2
    relay.start()
    wait_for(relay.queue, "the message")
    assert relay.ctl("queue", "retry", "--all").code == 0
    wait_for(lambda: not relay.queue(), "an empty queue")


def test_a_stranger_can_read_what_kill_9_left(stopped):
    stopped.start()
    with Talk(stopped.mx) as talk:
        talk.ehlo()
        for _ in range(20):
            submit(talk, "w@far.example")
    stopped.kill9()
    assert len(the_same(stopped)) == 25


def fsck(relay, *words):
    answer = relay.ctl("fsck", *words, json=True)
    assert answer.rows, answer.err
    *findings, summary = answer.rows
    assert summary["summary"] is True
    return answer.code, findings, summary


def test_a_spool_in_order_has_nothing_to_tell(stopped):
    code, findings, summary = fsck(stopped)
    assert (code, findings) == (0, [])
    assert summary["messages"] == 5 and summary["in_files"] == 1
    text = stopped.ctl("fsck").out
    assert text.count("\n") == 1 and "5 messages" in text


def test_a_spool_in_use_is_not_checked(stopped):
    stopped.start()
    for words in ((), ("--repair",)):
        answer = stopped.ctl("fsck", *words)
        assert answer.code == 71
        assert "in use" in answer.err and "stop ostlerd" in answer.err
    assert stopped.ctl("fsck", "--frobnicate").code == 64
    assert stopped.ctl("fsck", "spool").code == 64


def tree(folder):
    return {path: (path.stat().st_mode,
                   path.read_bytes() if path.is_file() else b"")
            for path in sorted(folder.rglob("*"))}


def flip(path, at):
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))


def find_in_log(spool, text):
    for path in sorted((spool / "log").glob("*.seg")):
        at = path.read_bytes().find(text)
        if at >= 0:
            return path, at
    raise AssertionError("not in the log")


def test_a_repair_keeps_what_holds_and_is_done_once(stopped, far):
    flip(*find_in_log(stopped.spool, b"<z@far.example>"))
    large = next((stopped.spool / "msg").glob("??/" + stopped.ids["large"]))
    flip(large, 200000)
    large.chmod(0o644)
    before = tree(stopped.spool)
    code, findings, summary = fsck(stopped)
    assert code == 1
    assert tree(stopped.spool) == before
    assert {one["kind"] for one in findings} == \
        {"permission", "record", "batch", "body"}
    assert {one["id"] for one in findings if one["kind"] in
            ("record", "body")} == \
        {stopped.ids["plain"], stopped.ids["large"]}
    assert summary["repaired"] == 0 < summary["damaged"]

    code, findings, summary = fsck(stopped, "--repair")
    assert code == 0, findings
    assert summary["repaired"] == summary["damaged"] == len(findings)
    assert (stopped.spool / "corrupt" / stopped.ids["large"]).exists()
    after = tree(stopped.spool)
    code, findings, _ = fsck(stopped, "--repair")
    assert (code, findings) == (0, [])
    assert tree(stopped.spool) == after

    left = {stopped.ids[name] for name in ("later", "mixed", "held")}
    assert set(the_same(stopped)) == left  # files with states, now
    far.on_rcpt = lambda address: None
    stopped.start()
    assert stopped.ctl("queue", "release", stopped.ids["held"]).code == 0
    assert stopped.ctl("resume").code == 0
    assert stopped.ctl("queue", "flush").code == 0
    stopped.wait_empty()
    wait_for(lambda: sorted(to for mail in far.mails
                            for to in mail.recipients) ==
             ["gone@far.example", "later2@far.example", "later@far.example",
              "y@far.example"], "each once")


def test_root_repairs_as_the_owner(stopped):
    """What a repair makes can be read by the daemon's user."""
    need_root("a spool of another user's")
    flip(*find_in_log(stopped.spool, b"<z@far.example>"))
    for path in (stopped.spool, *stopped.spool.rglob("*")):
        os.chown(path, 65534, 65534)
    stopped.folder.chmod(0o711)
    code, findings, _ = fsck(stopped, "--repair")
    assert code == 0, findings
    for path in stopped.spool.rglob("*"):
        assert path.stat().st_uid == 65534, path
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_a_copy_in_the_order_of_the_manual_has_all(relay, folder):
    """While mail comes in; nothing goes out that would be missing."""
    relay.set("relay", trusted_networks=["127.0.0.0/8"])
    relay.set("queue", deliver=False)
    relay.start()
    acknowledged, is_over = [], threading.Event()

    def load():
        with Talk(relay.mx) as talk:
            talk.ehlo()
            while not is_over.is_set():
                size = 300000 if len(acknowledged) % 20 == 19 else 3000
                acknowledged.append(submit(talk, "w@far.example", size)[0])

    client = threading.Thread(target=load)
    client.start()
    copies = []
    for number in range(3):
        wait_for(lambda: len(acknowledged) >= 60 * (number + 1), "some mail")
        before = list(acknowledged)
        copy = folder / f"copy-{number}"
        copy.mkdir(mode=0o700)
        for part in ("VERSION", "log", "msg"):
            subprocess.run(["cp", "-a", relay.spool / part, copy],
                           check=True)
        copies.append((copy, before))
    is_over.set()
    client.join()
    relay.stop()
    for copy, before in copies:
        conf = folder / (copy.name + ".conf")
        conf.write_text(relay.text().replace(f'"{relay.spool}"',
                                             f'"{copy}"'))
        repaired = subprocess.run(
            [OSTLERCTL, "-c", conf, "--json", "fsck", "--repair"],
            capture_output=True, text=True, timeout=300)
        assert repaired.returncode == 0, repaired.stdout + repaired.stderr
        listed = subprocess.run([OSTLERCTL, "-c", conf, "--json", "queue"],
                                capture_output=True, text=True, timeout=300)
        there = {json.loads(line)["id"]
                 for line in listed.stdout.splitlines()}
        assert there >= set(before)
        shutil.rmtree(copy)


def deliver_all(relay, far):
    far.on_rcpt = lambda address: None
    relay.start()
    assert relay.ctl("queue", "release", "--all").code == 0
    assert relay.ctl("resume").code == 0
    assert relay.ctl("queue", "flush").code == 0
    relay.wait_empty()


@pytest.mark.parametrize("is_running", (False, True))
def test_a_queue_moves_to_another_machine(stopped, make_relay, names, far,
                                          folder, is_running):
    if is_running:
        stopped.start()
    away = folder / "away"
    answer = stopped.ctl("queue", "export", away, json=True)
    assert answer.code == 0 and answer.row == {"count": 5, "failed": 0}
    for name, ident in stopped.ids.items():
        content = (away / (ident + ".eml")).read_bytes()
        assert content.endswith(stopped.contents[name].rstrip(b"\r\n")
                                + b"\r\n"), name
        assert content == stopped.ctl("queue", "cat", ident).out
    before = {row["id"]: row for row in stopped.queue()}

    other = make_relay(names)
    other.set("queue", port=far.port)
    other.start()
    busy = other.ctl("queue", "import", away)
    assert busy.code == 71 and "in use" in busy.err
    assert other.ctl("pause").code == 0
    other.stop()
    (away / "0000000000001.json").write_text("{}")
    answer = other.ctl("queue", "import", away, json=True)
    assert answer.code == 1 and answer.row == {"count": 5, "failed": 1}
    (away / "0000000000001.json").unlink()
    # the second time there is nothing left to do
    answer = other.ctl("queue", "import", away, json=True)
    assert answer.code == 0 and answer.row == {"count": 0, "failed": 0}
    after = other.queue()
    assert not {row["id"] for row in after} & set(before)

    def told(rows):
        return sorted((row["sender"], row["recipient"], row["size"],
                       row["received_ms"], row["state"] == "held",
                       row["recipients_left"]) for row in rows)

    assert told(after) == told(before.values())
    deliver_all(other, far)
    assert sorted(to for mail in far.mails for to in mail.recipients) == \
        ["gone@far.example", "later2@far.example", "later@far.example",
         "x@far.example", "y@far.example", "z@far.example"]


def test_a_part_of_a_queue_can_be_exported(stopped, folder):
    away = folder / "away"
    answer = stopped.ctl("queue", "export", away, "--state", "held",
                         json=True)
    assert answer.row == {"count": 1, "failed": 0}
    assert {path.stem for path in away.iterdir()} == {stopped.ids["held"]}
    for words in ((), (away, "more"), (away, "--frobnicate")):
        assert stopped.ctl("queue", "export", *words).code == 64
        assert stopped.ctl("queue", "import", *words).code == 64


@pytest.mark.parametrize("row", [
    {"received_ms": 2 ** 63 - 1},
    {"envid": "a b"},
    {"recipients": [{"address": "x@far.example", "state": "queued",
                     "orcpt": "rfc822;x\r\nDATA"}]},
])
def test_an_envelope_that_no_server_could_take_is_not_imported(
        relay, folder, row):
    relay.start()
    relay.stop()
    away = folder / "away"
    away.mkdir()
    (away / "one.eml").write_bytes(mails.message())
    envelope = {"sender": "", "received_ms": 1, "recipients": [
        {"address": "x@far.example", "state": "queued"}], **row}
    (away / "one.json").write_text(json.dumps(envelope))
    answer = relay.ctl("queue", "import", away, json=True)
    assert answer.row == {"count": 0, "failed": 1}, answer.err
    assert (away / "one.json").exists()


def test_an_envelope_of_many_attempts_is_imported(stopped, folder):
    """What queue show tells of each recipient and attempt adds up."""
    away = folder / "away"
    assert stopped.ctl("queue", "export", away).code == 0
    envelope = next(away.glob("*.json"))
    row = json.loads(envelope.read_text())
    row["tries"] = [{"reply": "450 4.2.1 later" * 120}] * 10000
    envelope.write_text(json.dumps(row))
    assert envelope.stat().st_size > 16 << 20
    answer = stopped.ctl("queue", "import", away, json=True)
    assert (answer.code, answer.row["failed"]) == (0, 0), answer.err


def test_an_import_gives_away_messages_and_nothing_else(stopped, folder):
    need_root("giving files away")
    away, other = folder / "away", folder / "other"
    assert stopped.ctl("queue", "export", away).code == 0
    (away / "notes.txt").write_text("mine\n")
    (folder / "secret").write_text("mine\n")
    os.link(folder / "secret", away / "twice.eml")
    other.mkdir()
    (other / "notes.txt").write_text("mine\n")
    shutil.rmtree(stopped.spool)
    stopped.spool.mkdir(mode=0o700)
    os.chown(stopped.spool, 65534, 65534)
    stopped.ctl("queue", "import", other)
    for path in (other, other / "notes.txt"):
        assert path.stat().st_uid == 0, path
    answer = stopped.ctl("queue", "import", away, json=True)
    assert answer.row["count"] >= 1 and answer.row["failed"] == 0
    for path in (away / "notes.txt", folder / "secret"):
        assert path.stat().st_uid == 0, path
