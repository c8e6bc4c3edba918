# SPDX-License-Identifier: ISC
"""The front door from outside, sentence by sentence, with raw octets: what a
client may say in which order and how long, where a message ends and where it
does not, chunks, logins. Each row is what is said and the reply to it."""

import base64
import socket

import pytest

from lab.need import need_less_free
from lab.talk import Closed, Talk

MAIL = ("MAIL FROM:<a@else.example>", 250)
RCPT = ("RCPT TO:<bob@sink.example>", 250)
RSET = ("RSET", 250)

SCRIPTS = {
    "nothing but harmless words before EHLO": (
        ("MAIL FROM:<a@else.example>", 503), ("RCPT TO:<b@sink.example>", 503),
        ("DATA", 503), ("NOOP", 250), RSET, ("HELP", 214), ("QUIT", 221)),
    "names": (
        ("EHLO [127.0.0.1]", 250), ("EHLO [IPv6:2001:db8::1]", 250),
        ("EHLO under_score", 250), ("EHLO", 501), ("EHLO a b", 501),
        ("HELO", 501), ("HELO client.example", 250)),
    "order": (
        ("EHLO c", 250), ("RCPT TO:<bob@sink.example>", 503), ("DATA", 503),
        MAIL, ("MAIL FROM:<b@else.example>", 503), ("DATA", 554), RCPT,
        ("STARTTLS", 503), ("DATA now", 501), ("EHLO again", 250),
        ("RCPT TO:<bob@sink.example>", 503), MAIL, RCPT, ("RSET x", 501),
        RSET, ("DATA", 503)),
    "syntax": (
        ("EHLO c", 250), ("", 500), (" ", 500), ("FROB", 500),
        ("MAILFROM:<a@else.example>", 500), ("TURN", 500),
        ("SEND FROM:<a@else.example>", 500), ("EXPN staff", 502),
        ("VRFY bob", 252), ("VRFY", 501), ("AUTH PLAIN AA==", 502),
        ("mail from:<a@else.example>", 250), RSET,
        ("MAIL FROM:<a@else.example", 501), ("MAIL FROM:a@else.example>", 501),
        ("MAIL FROM:<a@else.example>junk", 501),
        ("MAIL FROM:<<a@else.example>>", 501), ("MAIL FROM:<a@@x>", 501),
        ("MAIL FROM:<a@127.0.0.1>", 501), ("MAIL FROM:<>", 250), RSET,
        ('MAIL FROM:<"a b"@else.example>', 250), RSET,
        ("MAIL FROM:<a@[IPv6:::1]>", 250), ("RCPT TO:<>", 501),
        ("RCPT TO:<postmaster>", 250), ("RCPT TO:<PostMaster>", 250),
        ("RCPT TO:<bob>", 501), ("RCPT TO:<" + "l" * 64 + "@sink.example>",
                                 250),
        ("RCPT TO:<" + "l" * 300 + "@sink.example>", 501),
        ("RCPT TO:<bob@" + "d" * 64 + ".example>", 501),
        ("RCPT TO:<bob@" + ".".join(["d" * 60] * 5) + ">", 501)),
    "parameters": (
        ("EHLO c", 250), ("MAIL FROM:<a@b> SIZE=abc", 501),
        ("MAIL FROM:<a@b> SIZE=", 501), ("MAIL FROM:<a@b> SIZE=5000", 552),
        ("MAIL FROM:<a@b> SIZE=1 SIZE=1", 501),
        ("MAIL FROM:<a@b> BODY=FOO", 501), ("MAIL FROM:<a@b> FOO=1", 555),
        ("MAIL FROM:<a@b> SMTPUTF8=1", 501), ("MAIL FROM:<a@b> RET=FOO", 501),
        ("MAIL FROM:<a@b> RET=FULL RET=FULL", 501),
        ("MAIL FROM:<a@b> ENVID=a+zz", 501),
        ("MAIL FROM:<a@b> ENVID=" + "x" * 101, 501),
        ("MAIL FROM:<ä@else.example>", 553),
        ("MAIL FROM:<ä@else.example> SMTPUTF8", 250),
        ("RCPT TO:<ö@sink.example>", 250), RSET,
        ("MAIL FROM:<a@b> SIZE=0 BODY=8BITMIME RET=HDRS ENVID=a+2Bb", 250),
        ("RCPT TO:<bob@sink.example> NOTIFY=NEVER,SUCCESS", 501),
        ("RCPT TO:<bob@sink.example> NOTIFY=", 501),
        ("RCPT TO:<bob@sink.example> ORCPT=bob", 501),
        ("RCPT TO:<bob@sink.example> ORCPT=rfc822;a+zz", 501),
        ("RCPT TO:<bob@sink.example> NOTIFY=NEVER NOTIFY=NEVER", 501),
        ("RCPT TO:<bob@sink.example> SIZE=1", 555),
        ("RCPT TO:<bob@sink.example> NOTIFY=SUCCESS,FAILURE,DELAY "
         "ORCPT=rfc822;b@c", 250)),
    "lines": (
        ("EHLO c", 250), ("NOOP " + "x" * 505, 250), ("NOOP " + "x" * 506, 500),
        ("NOOP " + "x" * 100000, 500), (b"NOOP \0", 500),
        (b"MAIL FROM:<a@b>\nRCPT TO:<c@sink.example>", 500),
        (b"MAIL FROM:<a@b>\rRCPT TO:<c@sink.example>", 500),
        (b"MAIL FROM:<a\x01@b>", 501), (b"MAIL FROM:<a\x7f@b>", 501),
        (b"MAIL FROM:<\xff\xfe@b> SMTPUTF8", 501), ("NOOP", 250)),
}


@pytest.fixture
def relay(make_relay):
    relay = make_relay()
    relay.domain("sink.example", "discard")
    relay.set("limits", errors=100000, message_size="4K", auth_lock="0",
              auth_failures=1000, connections_per_client=200)
    return relay


def say(talk, line):
    octets = line if isinstance(line, bytes) else line.encode()
    talk.raw(octets + b"\r\n")
    return talk.reply()


def test_every_script_gets_its_replies(relay):
    relay.start()
    for name, script in SCRIPTS.items():
        with Talk(relay.mx) as talk:
            for line, code in script:
                reply = say(talk, line)
                assert reply.code == code, (name, line[:70], reply)
                # RFC 2034, 4: all but the replies to EHLO and HELO
                if line[:4] not in ("EHLO", "HELO") or code >= 400:
                    assert reply.text.startswith(f"{code // 100}."), reply


#: None of them is CR LF . CR LF.
ENDS = (b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r",
        b"\r\r\n.\r\r\n", b"\r\n\0.\r\n", b"\r\n.\0\r\n", b"\n\r.\r\n",
        b"\r\n.\r\r\n", b"\r\n. \r\n", b"\r\n\x0b.\r\n", b"\n.\r",
        b"\r\n\x85.\r\n", b"\x85.\x85")


def test_nothing_but_the_end_ends_a_message(relay):
    relay.start()
    taken = 0
    for end in ENDS:
        with Talk(relay.mx) as talk:
            talk.ehlo()
            talk.mail("a@else.example", "bob@sink.example")
            assert talk.say("DATA").code == 354
            talk.raw(b"Subject: one\r\n\r\nfirst" + end
                     + b"MAIL FROM:<evil@else.example>\r\n"
                     b"RCPT TO:<bob@sink.example>\r\nDATA\r\n"
                     b"Subject: two\r\n\r\nsecond\r\n.\r\nVRFY end\r\n")
            replies = talk.reply(), talk.reply()
        # one message, taken or refused whole, and then what stands behind it
        assert replies[0].code in (250, 550, 554), (end, replies)
        assert replies[1].code == 252, (end, replies)
        has_bare = b"\n" in end.replace(b"\r\n", b"") or \
            b"\r" in end.replace(b"\r\n", b"") or b"\0" in end
        assert (replies[0].code == 250) == (not has_bare), (end, replies)
        taken += replies[0].code == 250
    assert relay.status()["queue"]["accepted"] == taken


def test_a_thousand_recipients_are_taken_and_no_more(relay):
    relay.start()
    with Talk(relay.mx) as talk:
        assert "LIMITS RCPTMAX=1000" in talk.ehlo().text
        talk.mail("a@else.example")
        talk.raw(b"".join(b"RCPT TO:<u%d@sink.example>\r\n" % n
                          for n in range(1003)))
        replies = [talk.reply() for _ in range(1003)]
        assert [r.code for r in replies] == [250] * 1000 + [452] * 3
        assert replies[-1].text.startswith("4.5.3 ")
        assert talk.data(b"Subject: x\r\n\r\nx\r\n").code == 250


CHUNKS = {
    "sizes": ((b"BDAT 5\r\nab\r\n\r", 250), (b"BDAT 0\r\n", 250),
              (b"BDAT 1 LAST\r\n\n", 250), (b"BDAT 0 LAST\r\n", 503),
              (b"NOOP\r\n", 250)),
    "mixed with DATA": ((b"BDAT 4\r\na\r\nb", 250), (b"DATA\r\n", 503),
                        (b"MAIL FROM:<q@x>\r\n", 503),
                        (b"RCPT TO:<c@sink.example>\r\n", 503),
                        (b"BDAT 2 LAST\r\n\r\n", 250)),
    "too large": ((b"BDAT 3000\r\n" + b"x" * 2998 + b"\r\n", 250),
                  (b"BDAT 3000 LAST\r\n" + b"QUIT\r\n" * 500, 552),
                  (b"VRFY end\r\n", 252)),
    "refused at once": ((b"BDAT 5000\r\n" + b"QUIT\r\n" * 833 + b"xx", 552),
                        (b"BDAT 6 LAST\r\nQUIT\r\n", 503),
                        (b"VRFY end\r\n", 252)),
    "given up": ((b"BDAT 4\r\na\r\nb", 250), (b"RSET\r\n", 250),
                 (b"BDAT 6 LAST\r\nQUIT\r\n", 503), (b"NOOP\r\n", 250)),
    "bare octets": ((b"BDAT 20 LAST\r\nSubject: x\r\n\r\na\nb\0cd", 554),
                    (b"NOOP\r\n", 250)),
    # how many octets follow is not known: nothing after it is a command
    "no size": ((b"BDAT x\r\nVRFY end\r\n", 501), (b"", None)),
    "no number": ((b"BDAT 99999999999999999999\r\n", 501), (b"", None)),
}


@pytest.mark.parametrize("is_whole", (True, False))
def test_chunks_and_errors_among_them(relay, is_whole):
    relay.start()
    for name, script in CHUNKS.items():
        with Talk(relay.mx) as talk:
            talk.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            talk.ehlo()
            talk.mail("a@else.example", "bob@sink.example")
            for octets, code in script:
                step = len(octets) if is_whole else 7
                for at in range(0, len(octets), step or 1):
                    talk.raw(octets[at:at + step])
                if code is None:
                    with pytest.raises(Closed):
                        talk.reply()
                    break
                reply = talk.reply()
                assert reply.code == code, (name, octets[:40], reply)


def test_logins_say_no_in_the_words_of_their_rfc(relay, authority):
    relay.add_user()
    relay.start()

    def token(octets):
        return base64.b64encode(b"\0anna\0" + octets).decode()
    longest = token(b"x" * (9216 - 6))
    assert len(longest) == 12288
    with Talk(relay.submissions, context=authority.context(),
              is_implicit=True) as talk:
        talk.ehlo()
        for script in (
                (("AUTH", 501),), (("AUTH FROB", 504),),
                (("AUTH PLAIN !!!!", 501),), (("AUTH PLAIN =", 501),),
                (("AUTH PLAIN", 334), ("####", 501)),
                (("AUTH LOGIN", 334), ("*", 501)),
                (("AUTH PLAIN", 334), (longest, 535)),
                (("AUTH PLAIN " + longest, 535),),
                (("AUTH PLAIN", 334), (longest + "AAAA", 500)),
                (("MAIL FROM:<anna@local.example>", 530),),
                (("AUTH PLAIN " + token(b"secret pass"), 235),),
                (("AUTH PLAIN " + token(b"secret pass"), 503),),
                (("MAIL FROM:<anna@local.example> AUTH=<>", 250),
                 ("AUTH PLAIN =", 503), RSET),
                (("MAIL FROM:<eve@else.example>", 553),)):
            for line, code in script:
                reply = say(talk, line)
                assert reply.code == code, (line[:40], reply)
    with Talk(relay.submission) as talk:
        talk.ehlo()
        assert say(talk, "AUTH PLAIN " + token(b"secret pass")).code == 538
        # whatever was said in the clear is nothing afterwards
        talk.raw(b"STARTTLS\r\nEHLO injected.example\r\n")
        assert talk.reply().code == 220
        with pytest.raises((Closed, OSError)):
            talk.starttls()


def test_scram_tells_no_unknown_login_by_its_salt(relay, authority):
    """RFC 5802, 5.1: a salt that changes would be one that was made up."""
    relay.add_user()
    relay.start()

    def challenge(talk, user):
        begin = base64.b64encode(f"n,,n={user},r=abcdef".encode()).decode()
        reply = talk.say("AUTH SCRAM-SHA-256 " + begin)
        assert reply.code == 334, reply
        fields = dict(field.split("=", 1) for field in base64.b64decode(
            reply.text).decode().split(","))
        assert talk.say("*").code == 501
        return fields["s"], fields["i"], len(fields["r"])
    with Talk(relay.submissions, context=authority.context(),
              is_implicit=True) as talk:
        talk.ehlo()
        known = [challenge(talk, "anna") for _ in range(2)]
        unknown = [challenge(talk, "nobody") for _ in range(2)]
        other = challenge(talk, "nobody2")
    assert known[0] == known[1] and unknown[0] == unknown[1]
    assert len({known[0][0], unknown[0][0], other[0]}) == 3
    assert known[0][1:] == unknown[0][1:] == other[1:]
    assert len(known[0][0]) == len(unknown[0][0])


# ------------------------------------------------------ the words themselves

def first(to, *lines, talk=None):
    """The last reply, with its code; the connection stays with the caller."""
    talk = talk or Talk(to)
    for line in lines:
        reply = say(talk, line)
    return f"{reply.code} {reply.text}"


def test_every_reply_that_people_rely_on_word_for_word(relay, authority,
                                                       folder):
    """Scripts and people search for these."""
    users = folder / "users"
    users.write_text("bob\n")
    relay.domain("people.example", "discard", recipients=users)
    relay.set("limits", recipients=100, messages_per_user="1/1h")
    relay.add_user()
    relay.start()
    ehlo, mail = "EHLO c", "MAIL FROM:<a@else.example>"
    port = relay.submission[1]
    assert first(relay.mx, ehlo, mail, "RCPT TO:<x@far.example>") == \
        "550 5.7.1 <x@far.example>: Relaying denied: far.example is not " \
        "handled here and you are not logged in (log in at " \
        f"mail.ostler.example port {port})"
    assert first(relay.mx, ehlo, mail, "RCPT TO:<eve@people.example>") == \
        "550 5.1.1 <eve@people.example>: User unknown"
    assert first(relay.mx, ehlo, mail, "RCPT TO:<bob>").startswith(
        "501 5.1.3 ")
    assert first(relay.mx, ehlo, mail + " SIZE=4097").startswith("552 5.3.4 ")
    assert first(relay.mx, ehlo, mail, *["RCPT TO:<bob@people.example>"] * 101
                 ).startswith("452 4.5.3 ")
    assert first(relay.submission, ehlo, mail) == \
        "530 5.7.0 Authentication required"
    assert first(relay.submission, ehlo, "AUTH PLAIN AGEAYg==") == \
        "538 5.7.11 Encryption required for requested authentication " \
        "mechanism"

    def secure():
        talk = Talk(relay.submissions, context=authority.context(),
                    is_implicit=True)
        talk.ehlo()
        return talk
    with secure() as talk:
        for user in ("anna", "nobody"):
            reply = talk.plain(user, "wrong")
            assert f"{reply.code} {reply.text}" == \
                "535 5.7.8 Authentication credentials invalid"
        assert talk.plain("anna", "secret pass").code == 235
        assert first(None, "MAIL FROM:<eve@else.example>", talk=talk) == \
            "553 5.7.1 <eve@else.example>: Sender address not owned by login"
        talk.mail("anna@local.example", "bob@people.example")
        reply = talk.data(b"Subject: x\r\n\r\nx\r\n")
        queued = relay.wait_event("queued", user="anna")[0]
        assert f"{reply.code} {reply.text}" == \
            "250 2.0.0 Queued as " + str(queued["id"])
        assert first(None, "MAIL FROM:<anna@local.example>", talk=talk
                     ).startswith("450 4.7.1 Too many messages from your "
                                  "login: 1 in 1h are taken, try again in ")


def test_replies_of_a_relay_in_trouble_word_for_word(relay, authority,
                                                     folder):
    need_less_free(folder, 1000)
    relay.set("limits", errors=2, connections_per_client=2,
              spool_free="1000G")
    relay.set("auth", options=["pwcheck_method=saslauthd",
                               "saslauthd_path=/nonexistent/mux"])
    relay.start()
    with Talk(relay.submissions, context=authority.context(),
              is_implicit=True) as talk, Talk(relay.mx) as other:
        talk.ehlo()
        reply = talk.plain("anna", "secret pass")
        assert f"{reply.code} {reply.text}" == \
            "454 4.7.0 Temporary authentication failure"
        with Talk(relay.mx) as third:
            assert third.greeting.code == 421, third.greeting
            assert third.greeting.text == "4.7.0 mail.ostler.example " \
                "Too many connections from your address"
        other.ehlo()
        assert first(None, "MAIL FROM:<a@else.example>", talk=other
                     ).startswith("452 4.3.1 ")
        other.raw(b"FROB\r\n")
        replies = [other.reply()]
        with pytest.raises(Closed):
            while True:
                replies.append(other.reply())
        assert replies[-1].code == 421
        assert replies[-1].text.startswith("4.7.0 ")
