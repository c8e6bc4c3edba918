# SPDX-License-Identifier: ISC
"""Certificates of both sides: which one is shown for the name that a client
asks for, and who a client is by the one that it shows."""

import socket
import ssl
import subprocess

import pytest

from lab import clients, mails
from lab.base import wait_for
from lab.talk import Talk
from lab.tls import Authority

DENIED = (535, "5.7.8 Authentication credentials invalid")


# ------------------------------------------------------------------- names

def shown(to, name, *options):
    """The names in the certificate that a client sees, and its key's kind."""
    words = ["openssl", "s_client", "-connect", "%s:%d" % to, *options]
    words += ["-servername", name] if name else ["-noservername"]
    got = subprocess.run(words, input=b"QUIT\r\n", capture_output=True,
                         timeout=300)
    said = subprocess.run(
        ["openssl", "x509", "-noout", "-text"], input=got.stdout,
        capture_output=True, timeout=300).stdout.decode()
    assert "DNS:" in said, got.stderr.decode()
    line = next(line for line in said.splitlines() if "DNS:" in line)
    return line.strip(), "id-ecPublicKey" in said and "EC" or "RSA"


def test_the_name_asked_for_chooses_the_certificate(relay, authority,
                                                     folder):
    one = authority.issue(folder / "one", "mail.one.example")
    one_rsa = authority.issue(folder / "one-rsa", "mail.one.example",
                              kind="rsa")
    two = authority.issue(folder / "two", "two.example", "*.two.example")
    relay.certificate("one", ["mail.one.example", "bücher.example"], one,
                      second_certificate=one_rsa.chain,
                      second_key=one_rsa.key)
    relay.certificate("two", ["two.example", ".two.example"], two)
    relay.start()
    to = relay.submissions
    default = "DNS:mail.ostler.example"
    wild = "DNS:two.example, DNS:*.two.example"
    for name, wanted in (
            ("mail.one.example", "DNS:mail.one.example"),
            ("MAIL.One.Example", "DNS:mail.one.example"),
            ("xn--bcher-kva.example", "DNS:mail.one.example"),
            ("two.example", wild),
            ("mx.two.example", wild),
            ("a.b.two.example", wild),
            ("one.example", default),
            ("x.mail.one.example", default),
            ("xtwo.example", default),
            ("elsewhere.example", default),
            (None, default)):
        assert shown(to, name)[0] == wanted, name
    # both kinds of key for one name, and no stranger's for another
    rsa = ("-tls1_2", "-cipher", "ECDHE-RSA-AES256-GCM-SHA384")
    assert shown(to, "mail.one.example", *rsa) == \
        ("DNS:mail.one.example", "RSA")
    ecdsa = ("-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384")
    assert shown(to, "mail.one.example", *ecdsa) == \
        ("DNS:mail.one.example", "EC")
    with pytest.raises(AssertionError):
        shown(to, "two.example", *rsa)
    # behind STARTTLS as well, on both kinds of listener
    for way in (relay.mx, relay.submission):
        assert shown(way, "mx.two.example", "-starttls", "smtp")[0] == wild


def serial(relay, name):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection(relay.submissions, 30) as plain, \
            context.wrap_socket(plain, server_hostname=name) as secured:
        return secured.getpeercert(True)


def test_a_name_s_certificate_is_renewed_like_any_other(relay, authority,
                                                         folder):
    relay.certificate("one", ["mail.one.example"],
                      authority.issue(folder / "one", "mail.one.example"))
    relay.set("tls", watch="1s")
    relay.start()
    before = serial(relay, "mail.one.example")
    default = serial(relay, "mail.ostler.example")
    authority.issue(folder / "one", "mail.one.example")
    wait_for(lambda: serial(relay, "mail.one.example") != before,
             "the new certificate")
    assert serial(relay, "mail.ostler.example") == default
    # a section that is taken out of the file goes with the reload
    relay.certificates.clear()
    assert relay.reload().code == 0
    assert serial(relay, "mail.one.example") == default


def test_certificate_sections_say_what_is_wrong(relay, authority, folder):
    pair = authority.issue(folder / "one", "mail.one.example")
    relay.certificate("one", ["mail.one.example"], pair)
    relay.certificate("two", ["MAIL.one.example", "127.0.0.1", ".x.example"],
                      pair)
    relay.certificate("three", [], pair)
    relay.extra = 'certificate "four" { for = {"four.example"} }\n'
    relay.launch()
    assert relay.ended() == 78
    said = relay.log_text()
    for text in ('for "MAIL.one.example": another certificate',
                 'for "127.0.0.1" is no server name',
                 'certificate "three" needs for =',
                 'certificate "four" needs certificate and key'):
        assert text in said, said


# ----------------------------------------------------------------- EXTERNAL

@pytest.fixture
def secure(relay, authority):
    """A relay that knows anna and carl@local.example and asks clients for a
    certificate; talks to it with one."""
    relay.add_user()
    relay.add_user("carl@local.example")
    relay.set("tls", client_ca=authority.file)

    def talk(certificate=None, is_implicit=True, **options):
        context = authority.context(certificate)
        for name, value in options.items():
            setattr(context, name, value)
        talk = Talk(relay.submissions if is_implicit else relay.submission,
                    context=context, is_implicit=is_implicit)
        talk.offered = talk.ehlo().text if is_implicit else \
            talk.ehlo() and talk.starttls().text
        return talk
    talk.relay = relay
    return talk


@pytest.mark.parametrize("is_initial", (True, False))
@pytest.mark.parametrize("is_implicit", (True, False))
def test_a_certificate_logs_in_and_sends(secure, authority, folder, far,
                                         is_implicit, is_initial):
    relay = secure.relay
    relay.start()
    anna = authority.issue_client(folder / "anna", "/O=lab/CN=anna")
    with secure(anna, is_implicit) as talk:
        assert "AUTH EXTERNAL SCRAM-SHA-256" in talk.offered
        assert talk.say("MAIL FROM:<anna@local.example>").code == 530
        reply = talk.external(is_initial=is_initial)
        assert (reply.code, reply.text) == \
            (235, "2.7.0 Authentication successful")
        talk.mail("anna@local.example", "bob@far.example")
        assert talk.data(mails.message()).code == 250
    assert b" with ESMTPSA " in far.wait()[0].content.replace(b"\r\n\t", b" ")
    assert relay.wait_event("queued", user="anna")
    assert relay.wait_event("auth", result="ok", user="anna",
                        mechanism="EXTERNAL")
    tls = relay.wait_event("tls", verified=True)[0]
    assert tls["certificate"] == "CN=anna,O=lab"


WHO = [
    # the mail addresses come first, and the common name only without any
    ("/CN=anna", (), "", "anna"),
    ("/CN=anna", (), "anna", "anna"),
    ("/CN=nobody", ("carl@local.example",), "", "carl@local.example"),
    ("/CN=anna", ("carl@local.example",), "", "carl@local.example"),
    ("/CN=x", ("x@y.example", "carl@local.example"), "",
     "carl@local.example"),
    ("/CN=x", ("x@y.example", "carl@local.example"), "carl@local.example",
     "carl@local.example"),
    ("/CN=x/CN=anna", (), "", "anna"),
    # not the common name beside an address, nor another spelling
    ("/CN=anna", ("x@y.example",), "", None),
    ("/CN=anna", ("carl@local.example",), "anna", None),
    ("/CN=Anna", (), "", None),
    ("/CN=anna@ostler", (), "", None),
    ("/CN=anna/CN=x", (), "", None),
    ("/CN=nobody", (), "", None),
    # nobody acts for somebody else
    ("/CN=anna", (), "carl@local.example", None),
    ("/CN=x", ("x@y.example", "carl@local.example"), "x@y.example", None),
]


def test_who_a_certificate_is(secure, authority, folder):
    relay = secure.relay
    relay.set("limits", auth_lock="0")
    relay.start()
    oks, failures = 0, 0
    for number, (subject, addresses, asked, login) in enumerate(WHO):
        certificate = authority.issue_client(folder / f"{number}", subject,
                                             *addresses)
        with secure(certificate) as talk:
            reply = talk.external(asked)
        if login is None:
            failures += 1
            assert (reply.code, reply.text) == DENIED, WHO[number]
            relay.wait_event("auth", failures, result="failed",
                             mechanism="EXTERNAL")
        else:
            oks += 1
            assert reply.code == 235, WHO[number]
            row = relay.wait_event("auth", oks, result="ok",
                                   mechanism="EXTERNAL")[-1]
            assert row["user"] == login


def test_only_a_verified_certificate_offers_external(secure, authority,
                                                     folder, tmp_path):
    relay = secure.relay
    revoked = authority.issue_client(folder / "revoked", "/CN=anna")
    relay.set("tls", client_crl=authority.revoke(folder / "list", revoked))
    relay.start()
    stranger = Authority(tmp_path / "stranger")
    cases = {
        "none": (None, None),
        "of a stranger": (stranger.issue_client(folder / "s", "/CN=anna"),
                          "unable to get local issuer certificate"),
        "ended": (authority.issue_client(folder / "e", "/CN=anna", days=-1),
                  "certificate has expired"),
        "a server's": (authority.issue_client(folder / "v", "/CN=anna",
                                              usage="serverAuth"),
                       "unsuitable certificate purpose"),
        "revoked": (revoked, "certificate revoked"),
    }
    for what, (certificate, reason) in cases.items():
        with secure(certificate) as talk:
            assert "EXTERNAL" not in talk.offered, what
            assert talk.external().code == 504, what
            # a password still does
            assert talk.plain("anna", "secret pass").code == 235, what
        if reason is not None:
            assert relay.wait_event("tls", verified=False, reason=reason), what
    good = authority.issue_client(folder / "good", "/CN=anna")
    with secure(good) as talk:
        assert talk.external().code == 235


def test_external_needs_tls_and_a_client_ca(secure, authority, folder):
    relay = secure.relay
    relay.start()
    with Talk(relay.submission) as talk:
        assert "EXTERNAL" not in talk.ehlo().text
        reply = talk.say("AUTH EXTERNAL =")
        assert (reply.code, reply.text) == \
            (538, "5.7.11 Encryption required for requested authentication "
                  "mechanism")
    # nobody is asked on an mx, where nobody logs in
    context = authority.context(
        authority.issue_client(folder / "anna", "/CN=anna"))
    with Talk(relay.mx, context=context) as talk:
        talk.ehlo()
        assert "AUTH" not in talk.starttls().text
    assert not relay.events("tls", verified=True)
    del relay.sections["tls"]["client_ca"]
    assert relay.reload().code == 0
    with secure(authority.issue_client(folder / "b", "/CN=anna")) as talk:
        assert "EXTERNAL" not in talk.offered
        assert talk.external().code == 504


def test_external_failures_slow_down_like_all_others(secure, authority,
                                                     folder):
    relay = secure.relay
    relay.start()
    nobody = authority.issue_client(folder / "nobody", "/CN=nobody")
    for _ in range(2):
        with secure(nobody) as talk:
            assert (lambda r: (r.code, r.text))(talk.external()) == DENIED
    rows = relay.ctl("auth", "list", json=True).rows
    assert any(row.get("failures") == 2 for row in rows), rows


def test_a_list_says_which_login_a_certificate_is(secure, authority, folder):
    relay = secure.relay
    people = folder / "people"
    people.write_text("# name: login\nLaptop 7: anna\ncarl@local.example\n"
                      "gone: nobody\n")
    relay.set("tls", client_logins=people)
    relay.set("limits", auth_lock="0")
    relay.start()
    laptop = authority.issue_client(folder / "laptop", "/CN=Laptop 7")
    oks = 0
    for subject, addresses, asked, login in (
            ("/CN=Laptop 7", (), "", "anna"),
            ("/CN=Laptop 7", (), "anna", "anna"),
            ("/CN=x", ("carl@local.example",), "", "carl@local.example"),
            # a login, but the list does not have it
            ("/CN=anna", (), "", None),
            # in the list, but no login
            ("/CN=gone", (), "", None),
            ("/CN=Laptop 7", (), "carl@local.example", None)):
        pair = authority.issue_client(folder / "one", subject, *addresses)
        with secure(pair) as talk:
            reply = talk.external(asked)
            assert (reply.code == 235) == (login is not None), subject
        if login is not None:
            oks += 1
            assert relay.wait_event("auth", oks,
                                    result="ok")[-1]["user"] == login
    # the list is looked at like the certificates, and at each reload
    people.write_text("Laptop 7: carl@local.example\n")
    assert relay.reload().code == 0
    with secure(laptop) as talk:
        assert talk.external("").code == 235
    assert relay.wait_event("auth", oks + 1, result="ok")[-1]["user"] == \
        "carl@local.example"
    people.write_text("Laptop 7: anna\nLaptop 7: carl\n")
    answer = relay.reload()
    assert answer.code != 0
    assert f"{people}:2: the name stands in another line already" in answer.err


def test_without_a_database_only_listed_names_log_in(secure, authority,
                                                     folder):
    relay = secure.relay
    relay.set("auth", options=["pwcheck_method=saslauthd",
                               "saslauthd_path=/nonexistent/mux"])
    relay.set("limits", auth_lock="0")
    relay.launch()
    assert relay.ended() == 78
    assert "tls.client_logins must list who logs in by certificate" in \
        relay.log_text()
    people = folder / "people"
    people.write_text("anna\nshop.local.example: shop\n")
    relay.set("tls", client_logins=people)
    relay.start()
    for subject, code in (("/CN=anna", 235), ("/CN=shop.local.example", 235),
                          ("/CN=carl", 535), ("/CN=unix:root", 535),
                          ("/CN=shop", 535)):
        pair = authority.issue_client(folder / "one", subject)
        with secure(pair) as talk:
            assert talk.external("").code == code, subject
    assert [row["user"] for row in relay.wait_event(
        "auth", 2, result="ok")] == ["anna", "shop"]


def test_a_login_that_is_removed_has_no_certificate_any_more(
        secure, authority, folder):
    relay = secure.relay
    relay.start()
    anna = authority.issue_client(folder / "anna", "/CN=anna")
    with secure(anna) as talk:
        assert talk.external().code == 235
        assert relay.ctl("user", "remove", "anna").code == 0
        assert talk.reply().code == 421
    with secure(anna) as talk:
        assert (lambda r: (r.code, r.text))(talk.external()) == DENIED


def test_a_resumed_session_is_who_it_was(secure, authority, folder):
    relay = secure.relay
    relay.start()
    context = authority.context(
        authority.issue_client(folder / "anna", "/CN=anna"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    session = None
    for _ in range(2):
        with socket.create_connection(relay.submissions, 30) as plain, \
                context.wrap_socket(plain, session=session, server_hostname=
                                    "mail.ostler.example") as secured:
            assert secured.recv(4096).startswith(b"220 ")
            secured.sendall(b"EHLO client.example\r\n")
            assert b"AUTH EXTERNAL" in secured.recv(4096)
            secured.sendall(b"AUTH EXTERNAL =\r\n")
            assert secured.recv(4096).startswith(b"235 ")
            assert secured.session_reused == (session is not None)
            session = secured.session


def test_programs_log_in_with_a_certificate(secure, authority, folder):
    relay = secure.relay
    relay.start()
    anna = authority.issue_client(folder / "anna", "/CN=anna")
    content = mails.message()
    file, conf = folder / "message", folder / "msmtprc"
    file.write_bytes(content)
    conf.write_text(
        "account default\nhost %s\nport %d\ndomain client.example\n"
        % relay.submission + "from anna@local.example\ntls on\n"
        f"tls_host_override {clients.NAME}\ntls_trust_file {authority.file}\n"
        f"tls_cert_file {anna.chain}\ntls_key_file {anna.key}\n"
        "auth external\nuser anna\n")
    conf.chmod(0o600)
    clients.run("msmtp", "-C", conf, "bob@local.example",
                content=content.replace(b"\r\n", b"\n"))
    host, port = relay.submissions
    clients.run("curl", "-sS", "--max-time", 60, "--resolve",
                f"{clients.NAME}:{port}:{host}", "--cacert", authority.file,
                "--cert", anna.chain, "--key", anna.key, "--user", "anna:",
                "--login-options", "AUTH=EXTERNAL", "--mail-from",
                "anna@local.example", "--mail-rcpt", "bob@local.example",
                "--upload-file", file,
                f"smtps://{clients.NAME}:{port}/client.example")
    relay.wait_maildir("bob", 2)
    assert len(relay.wait_event("auth", 2, result="ok",
                                mechanism="EXTERNAL")) == 2


def test_a_list_that_is_none_is_refused_at_once(relay, authority, folder):
    relay.set("tls", client_crl=authority.file)
    relay.launch()
    assert relay.ended() == 78
    assert "client_crl means nothing without client_ca" in relay.log_text()
    relay.set("tls", client_ca=authority.file)
    relay.launch()
    assert relay.ended() != 0
    assert "revocation list" in relay.log_text()


# ------------------------------------------- authorities of other servers

class Strict:
    """A next hop whose certificate is checked, by a file of our own."""

    def __init__(self, relay, sink, file):
        self.relay, self.sink, self.file = relay, sink, file
        relay.set("tls", ca=file, watch="0")
        relay.set("queue", idle_connection="10m")
        relay.set("relay", trusted_networks=["127.0.0.0/8"])
        relay.route("out", for_=["*"], tls="verified",
                    via=f"smtp:far.example:{sink.port}")

    def send(self):
        with Talk(self.relay.mx) as talk:
            talk.ehlo()
            talk.mail("anna@local.example", "bob@far.example")
            assert talk.data(mails.message(b"hello\r\n")).code == 250

    def retry(self):
        """What waits is tried at once."""
        assert self.relay.ctl("queue", "retry", "--all").code == 0


@pytest.fixture
def strict(relay, names, make_sink, authority, folder):
    sink = make_sink(certificate=authority.issue(folder / "far",
                                                 "far.example"))
    names.host("far.example", sink.host)
    return Strict(relay, sink, folder / "others.pem")


def test_a_reload_takes_other_authorities(strict, relay, authority, folder):
    stranger = Authority(folder / "stranger")
    strict.file.write_bytes(stranger.file.read_bytes())
    relay.start()
    strict.send()
    event = relay.wait_event("deferred")[0]
    assert event["rule"] == "cause-tls-failed", event
    # another content of the same file
    strict.file.write_bytes(authority.file.read_bytes())
    assert relay.reload().code == 0
    strict.retry()
    strict.sink.wait(1)
    # the open connection is used, over a reload that changed nothing too
    connections = strict.sink.connections
    assert relay.reload().code == 0
    strict.send()
    strict.sink.wait(2)
    assert strict.sink.connections == connections
    # back, and it is not: nobody whom we believe vouches for that server
    strict.file.write_bytes(stranger.file.read_bytes())
    assert relay.reload().code == 0
    strict.send()
    assert relay.wait_event("deferred", 2)[1]["rule"] == "cause-tls-failed"
    assert len(strict.sink.mails) == 2
    # another file
    relay.set("tls", ca=authority.file)
    assert relay.reload().code == 0
    strict.retry()
    strict.sink.wait(3)
    # the system's do not know our laboratory
    relay.set("tls", ca="")
    assert relay.reload().code == 0
    strict.send()
    assert relay.wait_event("deferred", 3)[2]["rule"] == "cause-tls-failed"


def test_authorities_that_cannot_be_read_are_refused(strict, relay,
                                                     authority):
    strict.file.write_text("no certificate\n")
    relay.launch()
    assert relay.ended() != 0
    assert str(strict.file) in relay.log_text()
    strict.file.write_bytes(authority.file.read_bytes())
    relay.start()
    strict.file.write_text("no certificate\n")
    done = relay.reload()
    assert done.code == 78
    assert str(strict.file) in done.out + done.err
    # those read before stay in force
    strict.send()
    strict.sink.wait(1)


def test_a_file_of_authorities_is_watched(strict, relay, authority, folder):
    relay.set("tls", watch="1s")
    strict.file.write_bytes(
        Authority(folder / "stranger").file.read_bytes())
    relay.start()
    strict.send()
    relay.wait_event("deferred")
    strict.file.write_bytes(authority.file.read_bytes())
    relay.wait_event("reload", result="taken")
    strict.retry()
    strict.sink.wait(1)
