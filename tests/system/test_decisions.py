# SPDX-License-Identifier: ISC
"""Who may send to whom: a live session says what INTERFACE promises, and
ostlerctl explain says the same, with a running daemon and without."""

import contextlib

import pytest

from lab import mails
from lab.base import loopback
from lab.talk import Talk

DENIED = ("550 5.7.1 <{to}>: Relaying denied: {domain} is not handled here "
          "and you are not logged in (log in at mail.ostler.example port "
          "{port})")
LOGIN = "530 5.7.0 Authentication required"
TAKEN = "250 2.1.5 <{to}>: Recipient ok"

LOCAL, BACKUP, FOREIGN = ("bob@local.example", "bob@backup.example",
                          "bob@foreign.example")

# who, recipient, reply, rule
MATRIX = (
    ("stranger", LOCAL, TAKEN, "local-domain"),
    ("stranger", BACKUP, TAKEN, "backup-domain"),
    ("stranger", FOREIGN, DENIED, "relay-denied"),
    ("trusted", LOCAL, TAKEN, "local-domain"),
    ("trusted", BACKUP, TAKEN, "backup-domain"),
    ("trusted", FOREIGN, TAKEN, "trusted-network"),
    ("login", LOCAL, TAKEN, "local-domain"),
    ("login", BACKUP, TAKEN, "backup-domain"),
    ("login", FOREIGN, TAKEN, "login"),
    ("stranger", "eve@local.example",
     "550 5.1.1 <{to}>: User unknown", "unknown-user"),
    ("trusted", "eve@local.example",
     "550 5.1.1 <{to}>: User unknown", "unknown-user"),
    ("login", "eve@local.example",
     "550 5.1.1 <{to}>: User unknown", "unknown-user"),
    ("stranger", "postmaster", TAKEN, "postmaster"),
    ("stranger", "postmaster@mail.ostler.example", TAKEN, "postmaster"),
    ("stranger", "bob", "501 5.1.3 <{to}>: Recipient address needs a domain",
     "no-domain"),
    ("stranger", "bob@sub.local.example", DENIED, "relay-denied"),
    ("stranger", "bob%foreign.example@local.example", None, "source-route"),
    ("stranger", "@local.example:bob@foreign.example", DENIED,
     "relay-denied"),
    ("stranger", "bob@LOCAL.Example", TAKEN, "local-domain"),
    ("stranger", "Bob+tag@local.example", TAKEN, "local-domain"),
    ("stranger", "a/b@catch.example", "550 5.1.3 <{to}>: Local part cannot "
     "name a mailbox", "local-part"),
)


@pytest.fixture
def matrix(relay, folder):
    """The relay, started, and the addresses clients come from."""
    (folder / "known").write_text("bob\npostmaster\n")
    relay.domain("local.example", "discard", recipients=folder / "known")
    relay.domain("backup.example", "mx")
    relay.domain("catch.example", f"maildir:{relay.mail}/%d/%u")
    relay.set("queue", deliver=False)
    relay.stranger, relay.trusted = loopback(), loopback()
    relay.set("relay", trusted_networks=[relay.trusted + "/32"],
              sender_binding="any")
    relay.add_user("anna", "secret")
    relay.start()
    return relay


@contextlib.contextmanager
def session(relay, authority, who):
    """Talk as far as EHLO, and the words that explain has for it."""
    if who == "login":
        with Talk(relay.submission, relay.stranger,
                  authority.context()) as talk:
            talk.ehlo()
            talk.starttls()
            assert talk.plain("anna", "secret").code == 235
            yield talk, ["--client", relay.stranger, "--user", "anna",
                         "--tls"]
    else:
        source = getattr(relay, who)
        with Talk(relay.mx, source) as talk:
            talk.ehlo()
            yield talk, ["--client", source]


def whole(reply):
    return f"{reply.code} {reply.text}"


def test_every_session_decides_as_promised_and_as_explained(
        matrix, authority):
    for who, to, wanted, rule in MATRIX:
        with session(matrix, authority, who) as (talk, words):
            talk.mail("eve@else.example")
            reply = talk.say(f"RCPT TO:<{to}>")
        # RFC 5321, 4.1.1.3: a source route is stripped; domains compare,
        # and are shown, in lower case
        local, at, domain = to.rsplit(":", 1)[-1].partition("@")
        bare = local + at + domain.lower()
        if wanted is not None:
            assert whole(reply) == wanted.format(
                to=bare, domain=bare.split("@")[-1],
                port=matrix.submission[1]), (who, to)
        is_taken = reply.code == 250
        words = ["explain", *words, "--from", "eve@else.example", "--to",
                 bare]
        answer = matrix.ctl(*words, json=True)
        row = answer.row
        assert (row["decision"] == "accepted") == is_taken, (who, to, row)
        assert answer.code == (0 if is_taken else 1)
        assert row["rule"] == rule, (who, to, row)
        if not is_taken:
            assert f"{row['code']} {row['status']} {row['reply']}" == \
                whole(reply), (who, to)
        if rule == "relay-denied":
            rejected = matrix.wait_event("reject", to=bare)[-1]
            assert rejected["rule"] == rule
            assert rejected["scenario"] == "ours-inbound"
            assert row["advice"], "explain says what to change"


# what appliances write, what is understood, the refusal of a stranger
SLIPS = (
    ("bob@foreign.example", "bob@foreign.example", "501 5.5.4"),
    (" bob@foreign.example", "bob@foreign.example", "501 5.5.4"),
    (" bob@foreign.example NOTIFY=NEVER", "bob@foreign.example", "501 5.5.4"),
    ("<b..b@foreign.example>", '"b..b"@foreign.example', "501 5.1.3"),
    (".bob.@foreign.example", '".bob."@foreign.example', "501 5.5.4"),
    # what might mean something else is nobody's
    ("bob@foreign.example>", None, "501 5.5.4"),
    ("Bob <bob@foreign.example>", None, "501 5.5.4"),
    ('"b b"@foreign.example', None, "501 5.5.4"),
    ("@local.example:bob@foreign.example", None, "501 5.5.4"),
    ("bob@foreign.example,eve@foreign.example", None, "501 5.5.4"),
    ("NOTIFY=NEVER", None, "501 5.5.4"),
)


@pytest.mark.parametrize("who", ("stranger", "trusted", "login"))
def test_slips_are_forgiven_to_those_whose_relay_it_is(
        matrix, authority, who):
    for slip, meant, refusal in SLIPS:
        is_taken = who != "stranger" and meant is not None
        with session(matrix, authority, who) as (talk, words):
            talk.mail("eve@else.example")
            reply = talk.say(f"RCPT TO:{slip}")
            assert whole(reply).startswith(
                f"250 2.1.5 <{meant}>" if is_taken else refusal), slip
            # nor is a slip a way around the decision
            assert talk.say("RSET").code == 250
            sender = slip.replace(" NOTIFY=NEVER", " SIZE=10")
            reply = talk.say(f"MAIL FROM:{sender}")
            assert (reply.code == 250) == is_taken, (slip, reply)
            if not is_taken:
                continue
            answer = matrix.ctl("explain", *words, "--from",
                                slip.split()[0], "--to", slip.split()[0],
                                json=True)
            assert answer.row["decision"] == "accepted", slip


def test_what_was_forgiven_goes_on_as_the_standard_has_it(
        matrix, make_sink):
    sink = make_sink()
    matrix.route("out", for_=["*"], via=f"smtp:{sink.host}:{sink.port}")
    matrix.set("queue", deliver=True)
    assert matrix.reload().code == 0
    with Talk(matrix.mx, matrix.trusted) as talk:
        talk.ehlo()
        assert talk.say("MAIL FROM: scan..ner@else.example").code == 250
        assert talk.say("RCPT TO: b..b@foreign.example").code == 250
        assert talk.data(mails.message()).code == 250
    # what the sink says it got is without quotes
    got = sink.wait(1)[0]
    assert got.sender == "scan..ner@else.example"
    matrix.wait_event("delivered", to='"b..b"@foreign.example',
                      from_='"scan..ner"@else.example')


def test_explain_without_a_daemon_says_the_same(matrix):
    cases = [("stranger", to) for _, to, _, _ in MATRIX
             if ":" not in to] + [("trusted", FOREIGN)]

    def ask():
        rows = []
        for who, to in cases:
            # a daemon asks DNS where the domain points, a file cannot
            answer = matrix.ctl("explain", "--client", getattr(matrix, who),
                                "--from", "eve@else.example", "--to", to,
                                "--points-here", "elsewhere", json=True)
            rows.append((answer.code, answer.row))
        return rows
    online = ask()
    matrix.stop()
    assert ask() == online


def test_submission_asks_for_a_login_whoever_comes(matrix):
    for source in (matrix.stranger, matrix.trusted):
        with Talk(matrix.submission, source) as talk:
            talk.ehlo()
            reply = talk.say("MAIL FROM:<anna@local.example>")
            assert whole(reply) == LOGIN
        row = matrix.ctl("explain", "--listener", "submission", "--client",
                         source, "--from", "anna@local.example", "--to",
                         LOCAL, json=True).row
        assert (row["code"], row["status"], row["reply"]) == \
            (530, "5.7.0", "Authentication required")


@pytest.mark.parametrize("binding", ("any", "domain", "login"))
def test_a_login_sends_as_what_it_owns(matrix, authority, folder, binding):
    (folder / "senders").write_text(
        "anna anna@local.example\nanna @backup.example\n")
    matrix.set("relay", sender_binding=binding, senders=folder / "senders")
    assert matrix.reload().code == 0
    allowed = {
        "any": {"anna@local.example", "bob@local.example",
                "x@backup.example", "x@else.example", ""},
        "domain": {"anna@local.example", "bob@local.example",
                   "x@backup.example", ""},
        "login": {"anna@local.example", "x@backup.example", ""},
    }[binding]
    for sender in ("anna@local.example", "bob@local.example",
                   "x@backup.example", "x@else.example", ""):
        with session(matrix, authority, "login") as (talk, words):
            reply = talk.say(f"MAIL FROM:<{sender}>")
        if sender in allowed:
            assert reply.code == 250, (sender, reply)
        else:
            assert whole(reply) == (f"553 5.7.1 <{sender}>: Sender address "
                                    "not owned by login")
        row = matrix.ctl("explain", *words, "--from", sender, "--to", FOREIGN,
                         json=True).row
        assert (row["decision"] == "accepted") == (sender in allowed), row


def test_subdomains_are_handled_where_the_row_says_so(matrix):
    matrix.domain("local.example", "discard", subdomains=True)
    assert matrix.reload().code == 0
    with Talk(matrix.mx, matrix.stranger) as talk:
        talk.ehlo()
        talk.mail("eve@else.example", "bob@sub.local.example")
        assert talk.say("RCPT TO:<bob@notlocal.example>").code == 550


def test_a_refused_recipient_leaves_the_others_alone(matrix):
    with Talk(matrix.mx, matrix.stranger) as talk:
        talk.ehlo()
        talk.mail("eve@else.example", LOCAL)
        assert talk.say(f"RCPT TO:<{FOREIGN}>").code == 550
        assert talk.data(mails.message()).code == 250
    rows = matrix.queue()
    assert [row["recipient"] for row in rows] == [LOCAL]


def test_no_reply_is_longer_than_a_line_may_be(matrix):
    local, domain = "l" * 64, ".".join(["d" * 60] * 3) + ".example"
    with Talk(matrix.mx, matrix.stranger) as talk:
        talk.ehlo()
        talk.mail("eve@else.example")
        reply = talk.say(f"RCPT TO:<{local}@{domain}>")
        assert reply.code == 550
        assert all(len(line) <= 510 for line in reply.lines)


def test_a_maildir_has_no_tls_to_explain(relay):
    relay.domain("lists.example", deliver="smtp:127.0.0.2:25")
    words = ("explain", "--client", "192.0.2.9", "--from", "eve@else.example",
             "--to")
    relay.write()
    for _ in range(2):  # without a daemon, then with one
        row = relay.ctl(*words, "anna@local.example", json=True).row
        hop = row["recipients"][0]["next_hop"]
        assert hop["kind"] == "maildir" and "tls" not in hop
        assert "TLS" not in relay.ctl(*words, "anna@local.example").out
        hop = relay.ctl(*words, "news@lists.example",
                        json=True).row["recipients"][0]["next_hop"]
        assert hop["tls"] == "opportunistic"
        out = relay.ctl(*words, "news@lists.example").out
        assert ", TLS opportunistic (" in out
        if relay.process is None:
            relay.start()
