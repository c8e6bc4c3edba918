# SPDX-License-Identifier: ISC
"""Mail programs that we did not write, each as a function.

Each takes the way in ("plain", "starttls", "tls"), and perhaps a mechanism
with a login, hands one message over and raises when that does not work."""

import base64
import json
import os
import smtplib
import subprocess
import urllib.parse

from .need import need_module, need_program

NAME = "mail.ostler.example"


def run(*words, content=None, **options):
    need_program(words[0], {"node": "nodejs"}.get(words[0]))
    done = subprocess.run([str(word) for word in words], input=content,
                          capture_output=True, timeout=120, **options)
    assert done.returncode == 0, (words, done.returncode, done.stdout[-3000:],
                                  done.stderr[-3000:])
    return done.stdout + done.stderr


def swaks(relay, authority, to, way, auth, sender, recipients, content):
    words = ["swaks", "--server", to[0], "--port", to[1], "--helo",
             "client.example", "--from", sender, "--to", ",".join(recipients),
             "--data", "@" + str(_file(relay, content))]
    if way != "plain":
        words += ["--tls" if way == "starttls" else "--tls-on-connect",
                  "--tls-verify", "--tls-ca-path", authority.file]
    if auth is not None:
        mechanism, user, password = auth
        words += ["--auth", mechanism, "--auth-user", user,
                  "--auth-password", password]
    run(*words)


def curl(relay, authority, to, way, auth, sender, recipients, content):
    scheme = "smtps" if way == "tls" else "smtp"
    words = ["curl", "-sS", "--max-time", 60, "--resolve",
             f"{NAME}:{to[1]}:{to[0]}", "--cacert", authority.file,
             "--mail-from", sender, "--upload-file", _file(relay, content)]
    for recipient in recipients:
        words += ["--mail-rcpt", recipient]
    if way == "starttls":
        words += ["--ssl-reqd"]
    if auth is not None:
        mechanism, user, password = auth
        words += ["--user", f"{user}:{password}", "--login-options",
                  f"AUTH={mechanism}"]
    run(*words, f"{scheme}://{NAME}:{to[1]}/client.example")


def msmtp(relay, authority, to, way, auth, sender, recipients, content):
    lines = ["account default", f"host {to[0]}", f"port {to[1]}",
             "domain client.example", f"from {sender}", "timeout 60"]
    if way == "plain":
        lines.append("tls off")
    else:
        lines += ["tls on", f"tls_host_override {NAME}",
                  "tls_starttls " + ("on" if way == "starttls" else "off"),
                  f"tls_trust_file {authority.file}"]
    if auth is not None:
        mechanism, user, password = auth
        lines += [f"auth {mechanism.lower()}", f"user {user}",
                  f'password "{password}"']
    conf = relay.folder / "msmtprc"
    conf.write_text("\n".join(lines) + "\n")
    conf.chmod(0o600)
    # it reads lines that end in LF, and sends them with CR LF
    run("msmtp", "-C", conf, *recipients,
        content=content.replace(b"\r\n", b"\n"))


def python(relay, authority, to, way, auth, sender, recipients, content):
    context = authority.context()
    if way == "tls":
        class Client(smtplib.SMTP_SSL):
            """Connects to an address, checks a name."""
            def _get_socket(self, host, port, timeout):
                plain = smtplib.SMTP._get_socket(self, host, port, timeout)
                return self.context.wrap_socket(plain, server_hostname=NAME)
        client = Client(*to, "client.example", timeout=300, context=context)
    else:
        client = smtplib.SMTP(*to, "client.example", timeout=300)
    with client:
        if way == "starttls":
            client._host = NAME
            client.starttls(context=context)
        if auth is not None:
            mechanism, client.user, client.password = auth
            client.ehlo()
            client.auth(mechanism, getattr(
                client, "auth_" + mechanism.lower()))
        refused = client.sendmail(sender, recipients, content)
        assert not refused


def s_nail(relay, authority, to, way, auth, sender, recipients, content):
    """It composes the message itself: what is below the header is sent."""
    login = ""
    options = ["v15-compat", f"from={sender}", "hostname=client.example",
               f"tls-ca-file={authority.file}", "tls-ca-no-defaults",
               # it is told an address, and has no word for another name
               "tls-verify=warn", "smtp-auth=none"]
    if auth is not None:
        mechanism, user, password = auth
        login = "%s:%s@" % (urllib.parse.quote(user),
                            urllib.parse.quote(password))
        options[-1] = f"smtp-auth={mechanism.lower()}"
    if way == "starttls":
        options.append("smtp-use-starttls")
    scheme = "smtps" if way == "tls" else "smtp"
    options.append(f"mta={scheme}://{login}{to[0]}:{to[1]}")
    words = ["s-nail", "-:/", "-Snosave", "-s", "hello", "-r", sender]
    for option in options:
        words += ["-S", option]
    body = content.split(b"\r\n\r\n", 1)[1].replace(b"\r\n", b"\n")
    run(*words, *recipients, content=body,
        env=dict(os.environ, MAILRC="/dev/null", HOME=str(relay.folder),
                 LC_ALL="C.UTF-8"))


_PERL = r"""
use strict; use Net::SMTP; use Authen::SASL;
my ($host, $port, $name, $ca, $way, $mechanism, $user, $password, $from, @to)
    = @ARGV;
my @tls = (SSL_ca_file => $ca, SSL_verifycn_name => $name,
           SSL_verify_mode => 1, SSL_hostname => $name);
my $smtp = Net::SMTP->new($host, Port => $port, Hello => "client.example",
    Timeout => 60, $way eq "tls" ? (SSL => 1, @tls) : ())
    or die "connect: $@\n";
sub check { $_[0] or die $smtp->code . " " . $smtp->message; }
check($smtp->starttls(@tls)) if $way eq "starttls";
check($smtp->auth(Authen::SASL->new(mechanism => $mechanism, callback =>
    {user => $user, authname => "", pass => $password}))) if $mechanism;
check($smtp->mail($from));
check($smtp->to($_)) for @to;
check($smtp->data);
binmode STDIN;
check($smtp->datasend($_)) while <STDIN>;
check($smtp->dataend);
$smtp->quit;
"""


def perl(relay, authority, to, way, auth, sender, recipients, content):
    for module, package in (("Net::SMTP", "perl"),
                            ("Authen::SASL", "libauthen-sasl-perl"),
                            ("IO::Socket::SSL", "libio-socket-ssl-perl")):
        need_module(["perl", f"-M{module}", "-e1"], package)
    run("perl", "-e", _PERL, *to, NAME, authority.file, way,
        *(auth or ("", "", "")), sender, *recipients, content=content)


_NODE = r"""
const nodemailer = require("nodemailer");
const fs = require("fs");
const o = JSON.parse(process.argv[1]);
nodemailer.createTransport({
    host: o.host, port: o.port, name: "client.example",
    secure: o.way == "tls", requireTLS: o.way == "starttls",
    ignoreTLS: o.way == "plain",
    auth: o.auth ? {user: o.auth[1], pass: o.auth[2]} : undefined,
    authMethod: o.auth ? o.auth[0] : undefined,
    tls: {ca: fs.readFileSync(o.ca), servername: o.name},
}).sendMail({
    envelope: {from: o.from, to: o.to}, raw: fs.readFileSync(0),
}).then(info => console.log(info.response), error => {
    console.error(String(error)); process.exit(1);
});
"""


def nodemailer(relay, authority, to, way, auth, sender, recipients, content):
    # where Debian keeps what is not npm's
    path = "/usr/share/nodejs:" + os.environ.get("NODE_PATH", "")
    environment = dict(os.environ, NODE_PATH=path)
    need_program("node", "nodejs")
    need_module(["node", "-e", 'require("nodemailer")'], "node-nodemailer",
                env=environment)
    run("node", "-e", _NODE, json.dumps({
        "host": to[0], "port": to[1], "way": way, "auth": auth,
        "ca": str(authority.file), "name": NAME, "from": sender,
        "to": recipients}), content=content, env=environment)


def _file(relay, content):
    """swaks and curl read a file; swaks undoes %-words in it, but not when it
    has none."""
    file = relay.folder / "message"
    file.write_bytes(content)
    return file


def token(text):
    return base64.b64encode(text.encode()).decode()
