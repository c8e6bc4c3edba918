# SPDX-License-Identifier: ISC
"""What the operator does to the queue and the logins."""

import errno
import json
import os
import pty
import re
import socket
import subprocess

import pytest

from lab import mails
from lab.base import free_port, wait_for
from lab.relay import ENVIRONMENT, OSTLERCTL
from lab.talk import Closed, Talk


@pytest.fixture
def waiting(relay, far):
    """A relay that keeps mail: bob's and eve's at far, and one for carl."""
    relay.set("relay", trusted_networks=["127.0.0.0/8"])
    relay.start()
    assert relay.ctl("pause").code == 0
    relay.ids, relay.contents = {}, {}
    with Talk(relay.mx) as talk:
        talk.ehlo()
        for name, sender, to in (
                ("bob", "anna@local.example", "bob@far.example"),
                ("eve", "anna@local.example", "eve@far.example"),
                ("carl", "dora@local.example", "carl@else.example")):
            content = mails.message(name.encode() + b"\r\n\xfc\xe9\r\n")
            talk.mail(sender, to)
            reply = talk.data(content)
            assert reply.code == 250
            relay.ids[name] = re.fullmatch(r"2.0.0 Queued as (\S+)",
                                           reply.text).group(1)
            relay.contents[name] = content
    return relay


def ids(rows):
    return {row["id"] for row in rows}


def test_list_filters_by_domain_sender_and_state(waiting):
    one = waiting.ids
    assert ids(waiting.queue()) == set(one.values())
    assert ids(waiting.queue("--domain", "far.example")) == \
        {one["bob"], one["eve"]}
    assert ids(waiting.queue("--sender", "dora@local.example")) == \
        {one["carl"]}
    assert waiting.ctl("queue", "hold", one["eve"]).code == 0
    assert ids(waiting.queue("--state", "held")) == {one["eve"]}
    assert waiting.queue("--domain", "nowhere.example") == []
    text = waiting.ctl("queue").out
    assert all(i in text for i in one.values())


def test_a_filter_that_cannot_be_said_is_no_filter(waiting):
    """Latin-1, from a terminal or a script of yesterday."""
    for words in (("--domain", "far.example", "--sender", b"\xe9@far.example"),
                  ("--sender", b"\xe9@far.example"),
                  (waiting.ids["bob"], b"\xe9")):
        answer = waiting.ctl("queue", "remove", *words)
        assert answer.code == 64, answer.out
        assert "UTF-8" in answer.err
    assert ids(waiting.queue()) == set(waiting.ids.values())


def test_json_is_one_object_a_line_with_the_promised_names(waiting):
    answer = waiting.ctl("queue", "list", json=True)
    lines = answer.out.splitlines()
    assert len(lines) == 3
    for line in lines:
        row = json.loads(line)
        for name in ("id", "received_ms", "size", "sender", "recipient",
                     "recipients_left", "state", "next_try_ms", "why"):
            assert name in row, row
    for words in (("status",), ("config",), ("queue", "show",
                                             waiting.ids["bob"])):
        answer = waiting.ctl(*words, json=True)
        assert answer.code == 0 and answer.rows


def test_show_tells_the_envelope(waiting):
    row = waiting.ctl("queue", "show", waiting.ids["bob"], json=True).row
    assert row["sender"] == "anna@local.example"
    assert row["listener"] == "mx" and row["client"] == "127.0.0.1"
    assert [r["address"] for r in row["recipients"]] == ["bob@far.example"]
    assert waiting.ctl("queue", "show", waiting.ids["bob"]).code == 0
    answer = waiting.ctl("queue", "show", "001NG3V620001")
    assert answer.code == 1 and answer.err
    assert waiting.ctl("queue", "show", "x!").code == 64


def test_cat_gives_the_message_as_it_would_be_sent(waiting):
    answer = waiting.ctl("queue", "cat", waiting.ids["bob"])
    assert answer.code == 0
    assert mails.as_sent(answer.out) == waiting.contents["bob"]
    assert waiting.ctl("queue", "cat", "001NG3V620001").code == 1


def ask(relay, command, **args):
    """A connection to the control socket that has asked and read nothing."""
    asking = socket.socket(socket.AF_UNIX)
    asking.settimeout(90)
    asking.connect(str(relay.top["control_socket"]))
    asking.sendall(json.dumps({"command": command, "args": args}).encode()
                   + b"\n")
    asking.shutdown(socket.SHUT_WR)
    return asking


def submit_big(relay):
    """The id of a message of 6 MiB, more than a socket holds."""
    with Talk(relay.mx) as talk:
        talk.ehlo()
        talk.mail("anna@local.example", "big@far.example")
        reply = talk.data(mails.message(b"\xfc%070d\r\n" % 1 * 90000))
        assert reply.code == 250
    return reply.text.rsplit(" ", 1)[1]


def test_who_reads_an_answer_slowly_gets_all_of_it(waiting):
    number = submit_big(waiting)
    with ask(waiting, "queue cat", id=number) as asking:
        for _ in range(3):  # others are served meanwhile
            assert waiting.ctl("status").code in (0, 1)
        rows = [json.loads(line) for line in asking.makefile("rb")]
    assert rows.pop() == {"end": True, "exit": 0}
    content = "".join(row["data"] for row in rows).encode("latin-1")
    assert len(content) > 6 << 20
    assert content == waiting.ctl("queue", "cat", number).out


@pytest.mark.parametrize("command", ("queue cat", "queue list", "queue show",
                                     "bounces", "route", "diagnose",
                                     "explain", "doctor"))
def test_who_asks_and_leaves_does_no_harm(waiting, command):
    number = submit_big(waiting)
    for _ in range(5):
        ask(waiting, command, id=number, target="far.example",
            address="x@far.example", to="x@far.example",
            **{"from": "eve@else.example"}).close()
    with ask(waiting, command, id=number, target="far.example",
             address="x@far.example") as asking:
        asking.recv(1)
    assert waiting.ctl("status").code in (0, 1)
    assert ids(waiting.queue()) == {*waiting.ids.values(), number}


def test_a_message_to_very_many_is_shown_and_exported(relay, folder):
    """Its row alone has more than 4 MiB."""
    domain = ".".join(["d" * 60] * 3) + ".example"
    members = [f"{n:05}{'m' * 50}@{domain}" for n in range(5000)]
    (folder / "aliases").write_text("all: " + ", ".join(members) + "\n")
    relay.domain("lists.example", "discard", aliases=folder / "aliases")
    relay.set("queue", deliver=False)
    relay.start()
    with Talk(relay.mx) as talk:
        talk.ehlo()
        talk.mail("eve@else.example")
        assert talk.say("RCPT TO:<all@lists.example> ORCPT=rfc822;"
                        + "o" * 470).code == 250
        name = talk.data(mails.message()).text.split()[-1]
    answer = relay.ctl("queue", "show", name, json=True)
    assert answer.code == 0, answer.err
    assert len(answer.out) > 4 << 20
    row = answer.row
    assert [r["address"] for r in row["recipients"]] == members
    answer = relay.ctl("queue", "export", folder / "out")
    assert answer.code == 0, answer.err
    assert (folder / "out" / f"{name}.json").exists()


def test_held_mail_stays_until_it_is_released(waiting, far):
    assert waiting.ctl("queue", "hold", waiting.ids["bob"],
                       json=True).row["count"] == 1
    assert waiting.ctl("resume").code == 0
    far.wait()
    wait_for(lambda: waiting.ids["eve"] not in ids(waiting.queue()),
             "the end of eve's")
    waiting.restart()
    rows = {row["id"]: row for row in waiting.queue()}
    assert rows[waiting.ids["bob"]]["state"] == "held"
    waiting.ctl("queue", "flush")
    assert waiting.ctl("queue", "release", waiting.ids["bob"]).code == 0
    far.wait(2)
    assert [m.recipients for m in far.mails] == \
        [["eve@far.example"], ["bob@far.example"]]


def test_removed_mail_is_gone_and_nobody_is_told(waiting, far):
    assert waiting.ctl("queue", "remove", waiting.ids["bob"]).code == 0
    assert waiting.ids["bob"] not in ids(waiting.queue())
    waiting.restart()
    assert waiting.ids["bob"] not in ids(waiting.queue())
    answer = waiting.ctl("queue", "remove", "--domain", "else.example",
                         json=True)
    assert answer.row["count"] == 1
    assert waiting.ctl("resume").code == 0
    far.wait()
    waiting.wait_empty()
    assert [m.recipients for m in far.mails] == [["eve@far.example"]]
    assert waiting.maildir("anna") == [] and waiting.maildir("dora") == []


def test_bounced_mail_goes_back_with_a_report(waiting):
    assert waiting.ctl("queue", "bounce", waiting.ids["carl"]).code == 0
    assert waiting.ctl("resume").code == 0
    report, = waiting.wait_maildir("dora")
    assert b"carl@else.example" in report


def test_a_verb_wants_to_know_which_and_says_no_for_what_is_not_there(
        waiting):
    for verb in ("hold", "remove", "retry", "release", "bounce"):
        assert waiting.ctl("queue", verb).code == 64
        assert waiting.ctl("queue", verb, "001NG3V620001").code == 1
    assert waiting.ctl("queue", "explode").code == 64
    assert len(waiting.queue()) == 3
    answer = waiting.ctl("queue", "remove", "--all", json=True)
    assert answer.row["count"] == 3
    assert waiting.queue() == []


def test_a_pause_survives_a_restart(waiting, far):
    waiting.restart()
    status = waiting.status()
    assert status["paused"] is True
    assert any("paused" in one for one in status["warnings"])
    assert len(waiting.queue()) == 3 and far.connections == 0
    assert waiting.ctl("resume").code == 0
    far.wait(2)
    assert waiting.status()["paused"] is False
    waiting.restart()
    assert waiting.status()["paused"] is False


def test_retry_and_flush_try_at_once(relay, far):
    relay.set("relay", trusted_networks=["127.0.0.0/8"])
    relay.set("queue", retry=["1h"])
    far.on_rcpt = lambda address: "450 4.2.0 later"
    relay.start()
    with Talk(relay.mx) as talk:
        talk.ehlo()
        for name in ("bob", "eve"):
            talk.mail("anna@local.example", f"{name}@far.example")
            assert talk.data(mails.message()).code == 250
    wait_for(lambda: len(relay.queue("--state", "deferred")) == 2,
             "two deferrals")
    rows = {row["recipient"]: row for row in relay.queue()}
    assert all("later" in row["why"] and row["attempts"] == 1
               for row in rows.values())
    far.on_rcpt = lambda address: None
    bob = rows["bob@far.example"]["id"]
    assert relay.ctl("queue", "retry", bob).code == 0
    far.wait(1)
    wait_for(lambda: len(relay.queue()) == 1, "one left")
    assert relay.ctl("queue", "flush").code == 0
    far.wait(2)
    relay.wait_empty()


def test_show_tells_each_attempt_with_the_remote_s_words(relay, far):
    relay.set("relay", trusted_networks=["127.0.0.0/8"])
    relay.set("queue", retry=["1h"])
    far.on_rcpt = lambda address: "450 4.2.0 Überlast, later"
    relay.start()
    with Talk(relay.mx) as talk:
        talk.ehlo()
        talk.mail("anna@local.example", "bob@far.example")
        assert talk.data(mails.message()).code == 250
    wait_for(lambda: relay.queue("--state", "deferred"), "a deferral")
    row = relay.ctl("queue", "show", relay.queue()[0]["id"], json=True).row
    attempt, = row["tries"]
    assert attempt["result"] == "deferred"
    assert (attempt["host"], attempt["ip"], attempt["port"]) == \
        ("mx.far.example", far.host, far.port)
    assert attempt["code"] == 450 and attempt["command"] == "RCPT TO"
    assert "later" in attempt["reply"]


# ---------------------------------------------------------------- logins


def test_logins_are_kept_with_and_without_a_daemon(relay, authority):
    def users():
        return [r["user"] for r in relay.ctl("user", "list", json=True).rows]

    def can_login(name, password):
        with Talk(relay.submission, context=authority.context()) as talk:
            talk.ehlo()
            talk.starttls()
            return talk.scram(name, password).code == 235
    assert users() == []
    relay.add_user("anna", "one")
    relay.add_user("bob", "two")
    assert sorted(users()) == ["anna", "bob"]
    answer = relay.ctl("user", "add", "anna", input=b"other\n")
    assert answer.code == 1 and "anna" in answer.err
    assert relay.ctl("user", "passwd", "nobody", input=b"x\n").code == 1
    assert relay.ctl("user", "remove", "nobody").code == 1
    assert relay.ctl("user", "add", "empty", input=b"").code == 1
    relay.start()
    assert can_login("anna", "one") and can_login("bob", "two")
    relay.add_user("carl", "three")
    assert can_login("carl", "three")
    assert relay.ctl("user", "passwd", "bob", input=b"new\n").code == 0
    assert can_login("bob", "new") and not can_login("bob", "two")
    assert relay.ctl("user", "remove", "anna").code == 0
    assert not can_login("anna", "one")
    assert sorted(users()) == ["bob", "carl"]
    mode = (relay.folder / "sasldb2").stat().st_mode & 0o777
    assert mode & 0o007 == 0, oct(mode)


@pytest.mark.parametrize("change", (("remove", b""), ("passwd", b"new\n")))
def test_a_login_under_way_ends_with_its_password(relay, change):
    """The server has read the old password when the proof comes."""
    name, password = relay.add_user()
    relay.start()

    def do_change():
        assert relay.ctl("user", change[0], name, input=change[1]).code == 0
    with Talk(relay.submission) as talk:
        talk.ehlo()
        talk.starttls()
        reply = talk.scram(name, password, between=do_change)
        assert reply.code != 235, reply


@pytest.mark.parametrize("change", (("remove", b""), ("passwd", b"new\n")))
def test_a_changed_login_ends_its_sessions(relay, authority, change):
    verb, given = change
    relay.add_user("anna", "one")
    relay.add_user("bob", "two")
    relay.start()
    with Talk(relay.submission, context=authority.context()) as anna, \
            Talk(relay.submission, context=authority.context()) as bob:
        for talk, name, password in ((anna, "anna", "one"),
                                     (bob, "bob", "two")):
            talk.ehlo()
            talk.starttls()
            assert talk.plain(name, password).code == 235
        assert relay.ctl("user", verb, "anna", input=given).code == 0
        assert anna.reply().code == 421
        with pytest.raises(Closed):
            anna.reply()
        assert bob.say("NOOP").code == 250


def test_commands_say_when_no_daemon_answers(relay):
    relay.write()
    for words in (("status",), ("pause",), ("reload",), ("stop",),
                  ("queue", "flush"), ("route", "far.example")):
        answer = relay.ctl(*words)
        assert answer.code == 69, words
        assert answer.err.count("\n") == 1, answer.err
    for words in ((), ("frobnicate",), ("queue", "show"), ("explain",),
                  ("status", "--frobnicate"), ("user",), ("user", "add")):
        assert relay.ctl(*words).code == 64, words


def test_the_queue_of_a_stopped_relay_can_be_listed(waiting):
    waiting.stop()
    assert ids(waiting.queue()) == set(waiting.ids.values())
    assert ids(waiting.queue("--domain", "else.example")) == \
        {waiting.ids["carl"]}


def on_terminal(relay, *words):
    master, slave = pty.openpty()
    done = subprocess.run([OSTLERCTL, "-c", relay.conf, *words], stdin=slave,
                          stdout=slave, stderr=slave, env=ENVIRONMENT,
                          timeout=300)
    os.close(slave)
    said = b""
    try:
        while True:  # until all is read and nobody has the other end
            said += os.read(master, 65536)
    except OSError as error:
        assert error.errno == errno.EIO, error
    os.close(master)
    assert done.returncode == 0, said
    return said.decode()


def test_a_person_is_told_that_nothing_waits_or_nobody_answers(relay):
    relay.start()
    assert on_terminal(relay, "queue") == "nothing waits\r\n"
    assert on_terminal(relay, "queue", "--domain", "far.example") == \
        "nothing of that kind waits\r\n"
    answer = relay.ctl("queue")
    assert (answer.code, answer.out, answer.err) == (0, "", "")
    relay.stop()
    said = on_terminal(relay, "queue")
    assert "no daemon answers" in said and said.endswith("nothing waits\r\n")
    assert "no daemon" not in relay.ctl("queue").err


def test_config_prints_what_is_used_and_hides_no_source(relay):
    relay.start()
    rows = {row["name"]: row for row in relay.ctl("config", json=True).rows}
    assert rows["hostname"]["value"] == "mail.ostler.example"
    assert str(relay.conf) in rows["hostname"]["from"]
    assert rows["limits.hops"]["from"] == "default"
    assert "limits.hops" not in relay.ctl("config", "--diff").out


def test_a_reply_is_classified_without_a_daemon(relay):
    relay.write()
    row = relay.ctl("classify", "550 5.1.1 No such user here", json=True).row
    assert row["category"] == "bad-mailbox"
    assert row["permanence"] == "permanent"


def test_stop_ends_the_daemon(relay):
    relay.start()
    assert relay.ctl("stop").code == 0
    assert relay.ended() == 0


def test_mail_of_a_route_without_tls_is_redirected_to_smtps(
        relay, make_sink, authority):
    certificate = authority.issue(relay.folder / "there", "there.example")
    there = make_sink(certificate=certificate, is_implicit=True)
    relay.route("plain", for_=["far.example"], tls="none",
                via=f"smtp:{there.host}:{free_port(there.host)}")
    relay.set("relay", trusted_networks=["127.0.0.0/8"])
    relay.start()
    assert relay.ctl("pause").code == 0
    with Talk(relay.mx) as talk:
        talk.ehlo()
        talk.mail("anna@local.example", "bob@far.example")
        assert talk.data(mails.message()).code == 250
    assert relay.ctl("queue", "redirect", "--domain", "far.example", "--via",
                     f"smtps:{there.host}:{there.port}").code == 0
    assert relay.ctl("resume").code == 0
    mail, = there.wait()
    assert mail.is_tls


def test_waiting_mail_is_redirected_to_another_host(waiting, make_sink, far):
    other = make_sink()
    via = f"{other.host}:{other.port}"
    for words in (("--via", via), ("--domain", "far.example"),
                  ("--domain", "far.example", "--via", "nonsense"),
                  ("--domain", "far.example", "--via", "lmtp:host:24")):
        assert waiting.ctl("queue", "redirect", *words).code == 64, words
    answer = waiting.ctl("queue", "redirect", "--domain", "far.example",
                         "--via", via, json=True)
    assert answer.code == 0 and answer.row["count"] == 2
    shown = waiting.ctl("queue", "show", waiting.ids["bob"], json=True).row
    assert shown["recipients"][0]["via"] == via
    # back to the routes again
    assert waiting.ctl("queue", "redirect", waiting.ids["eve"], "--via",
                       "routes").code == 0
    waiting.restart()
    assert waiting.ctl("resume").code == 0
    wait_for(lambda: other.mails and far.mails, "mail at both")
    assert other.mails[0].recipients == ["bob@far.example"]
    assert far.mails[0].recipients == ["eve@far.example"]
    assert len(other.mails) == len(far.mails) == 1
