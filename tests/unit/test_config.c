/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/mem.h"
#include "lib/net/https.h"
#include "queue/bounce/advice.h"
#include "queue/bounce/classify.h"
#include "queue/bounce/texts.h"
#include "server/config.h"
#include "server/config_diff.h"
#include "server/config_keys.h"

/* Every test works in a folder of its own; paths are relative to it. */
static char folder[64], source_dir[PATH_MAX];
static struct buf errors, warnings;

static void
enter(void)
{
	const char *srcdir = getenv("srcdir");

	ck_assert_ptr_nonnull(
		realpath(srcdir != NULL ? srcdir : ".", source_dir));
	(void)snprintf(folder, sizeof(folder), "/tmp/ostler-config-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	ck_assert_int_eq(chdir(folder), 0);
	https_use_program("/bin/sh"); /* is there, as ostler-fetch would be */
	buf_init(&errors, 1 << 20);
	buf_init(&warnings, 1 << 20);
}

static void
leave(void)
{
	DIR *dir = opendir(".");

	for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir))
		if (e->d_name[0] != '.')
			ck_assert_int_eq(remove(e->d_name), 0);
	ck_assert_int_eq(closedir(dir), 0);
	ck_assert_int_eq(chdir("/"), 0);
	ck_assert_int_eq(rmdir(folder), 0);
	buf_done(&errors);
	buf_done(&warnings);
}

static void
put(const char *name, const char *text)
{
	FILE *file = fopen(name, "w");

	ck_assert_ptr_nonnull(file);
	ck_assert_int_ge(fputs(text, file), 0);
	ck_assert_int_eq(fclose(file), 0);
}

/* Writes t.conf and loads it; NULL when there were errors. */
static struct config *
load(const char *text)
{
	struct config *config = NULL;
	int rc;

	put("t.conf", text);
	buf_clear(&errors);
	buf_clear(&warnings);
	rc = config_load("t.conf", &config, &errors, &warnings);
	ck_assert_int_eq(rc == 0, buf_len(&errors) == 0);
	ck_assert_int_eq(rc == 0, config != NULL);
	ck_assert_int_eq(rc, rc == 0 ? 0 : -EINVAL);
	return config;
}

static struct config *
load_good(const char *text)
{
	struct config *config = load(text);

	ck_assert_msg(config != NULL, "%s", buf_text(&errors));
	return config;
}

static const char *
entry(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->entry_count; i++)
		if (strcmp(config->entries[i].name, name) == 0)
			return config->entries[i].value;
	return NULL;
}

static const char *
entry_at(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->entry_count; i++)
		if (strcmp(config->entries[i].name, name) == 0)
			return config->entries[i].at;
	return "no such entry";
}

/* ---------------------------------------------------------------- errors */

#define H "hostname = \"m.x.org\"\n"

static const struct {
	const char *text, *errors;
} wrong[] = {
	/* syntax: alone, at its line */
	{H "spool = \"/a\n", "t.conf:2: this text has no closing \"\n"},
	{H "log {\n level = \"info\"\n",
	 "t.conf:2: section \"log\" has no closing }\n"},
	{H "}\n", "t.conf:2: this } closes no section\n"},
	{H "log level\n",
	 "t.conf:2: \"log\" needs = and a value, or { and }\n"},
	{H "log\n", "t.conf:2: \"log\" needs = and a value, or { and }\n"},
	{H "drain =\n", "t.conf:3: \"drain\" needs a value, not the end of the "
			"file\n"},
	{H "drain = = 5s\n", "t.conf:2: \"drain\" needs a value, not =\n"},
	{H "\"drain\" = 5s\n",
	 "t.conf:2: a name belongs here, not \"drain\"\n"},
	{H "relay { trusted_networks = {\"a\" \"b\"} }\n",
	 "t.conf:2: a comma or } is missing in this list\n"},
	{H "relay { trusted_networks = {\"a\", = } }\n",
	 "t.conf:2: a list is written {\"a\", \"b\"}\n"},
	{H "drain = 5s;\n",
	 "t.conf:2: ';' does not belong here (a text with special characters "
	 "stands in double quotes)\n"},
	{H "/* open\n", "t.conf:2: this comment has no end\n"},
	{H "spool = \"a\\q\"\n",
	 "t.conf:2: a backslash stands in double quotes only, before \\, \", "
	 "$, n or t\n"},
	{H "spool = '\\'\n",
	 "t.conf:2: a backslash stands in double quotes only, before \\, \", "
	 "$, n or t\n"},
	{H "spool = \"${A\"\n", "t.conf:2: \"${\" has no closing }\n"},
	{H "include(\"x\"\n",
	 "t.conf:2: an include is written include(\"file\")\n"},
	{H "log { include(\"x\") }\n",
	 "t.conf:2: include stands at top level only\n"},
	{"nonsense = 1\n" H "log {\n",
	 "t.conf:3: section \"log\" has no closing }\n"},

	/* names */
	{H "hostnme = \"x\"\n",
	 "t.conf:2: unknown name \"hostnme\" (did you mean \"hostname\"?)\n"},
	{H "zzz = \"x\"\n", "t.conf:2: unknown name \"zzz\"\n"},
	{H "limits { recipient = 5 }\n",
	 "t.conf:2: unknown name \"recipient\" in limits (did you mean "
	 "\"recipients\"?)\n"},
	{H "domains \"x.org\" { deliver = \"discard\" }\n",
	 "t.conf:2: unknown name \"domains\" (did you mean \"domain\"?)\n"},
	{H "limits = 5\n", "t.conf:2: \"limits\" is a section: limits { ... "
			   "}\n"},
	{H "drain { a = b }\n", "t.conf:2: \"drain\" is no section: drain = "
				"...\n"},
	{H "log { tls { } }\n", "t.conf:2: unknown name \"tls\" in log\n"},
	{H "domain { deliver = \"discard\" }\n",
	 "t.conf:2: domain needs a title: domain \"...\" { }\n"},
	{H "log \"x\" { }\n", "t.conf:2: log has no title: log { }\n"},
	{H "\n" H, "t.conf:3: \"hostname\" is set again (first at t.conf:1)\n"},
	{H "log { level = info\n level = warn }\n",
	 "t.conf:3: \"level\" is set again (first at t.conf:2)\n"},
	{H "log { }\nlog { }\n",
	 "t.conf:3: log is there already (first at t.conf:2)\n"},
	{H "route \"r\" { }\nroute \"r\" { }\n",
	 "t.conf:3: route \"r\" is there already (first at t.conf:2)\n"},
	{H "domain \"x.org\" { deliver = discard }\n"
	   "domain \"X.org.\" { deliver = discard }\n",
	 "t.conf:3: domain \"x.org\" is there already\n"},

	/* values */
	{"hostname = \"a b\"\n", "t.conf:1: hostname \"a b\" is no domain "
				 "name\n"},
	{"hostname = \"[127.0.0.1]\"\n",
	 "t.conf:1: hostname \"[127.0.0.1]\" is no domain name\n"},
	{H "postmaster = \"x\"\n", "t.conf:2: postmaster \"x\": no domain\n"},
	{H "spool = \"\"\n", "t.conf:2: spool must not be empty\n"},
	{H "spool = {\"a\", \"b\"}\n",
	 "t.conf:2: \"spool\" has one value, not a list\n"},
	{H "drain = \"5x\"\n", "t.conf:2: drain \"5x\" is not a time like "
			       "\"1h30m\"\n"},
	{H "drain = \"2h\"\n", "t.conf:2: drain \"2h\" is not within 0s and "
			       "1h\n"},
	{H "log { level = \"loud\" }\n",
	 "t.conf:2: level \"loud\" is none of error, warn, info, debug\n"},
	{H "limits { recipients = many }\n",
	 "t.conf:2: recipients \"many\" is not a number\n"},
	{H "limits { recipients = 0 }\n",
	 "t.conf:2: recipients \"0\" is not within 1 and 1000000\n"},
	{H "limits { message_size = \"5MB\" }\n",
	 "t.conf:2: message_size \"5MB\" is not a size like \"50M\"\n"},
	{H "limits { messages_per_user = \"500\" }\n",
	 "t.conf:2: messages_per_user \"500\" is not a rate like \"500/1h\" or "
	 "\"0\"\n"},
	{H "queue { deliver = maybe }\n",
	 "t.conf:2: deliver \"maybe\" is not true or false\n"},
	{H "queue { port = 65536 }\n",
	 "t.conf:2: port \"65536\" is not within 1 and 65535\n"},
	{H "queue { retry = {\"1m\",\n\"x\"} }\n",
	 "t.conf:3: retry \"x\" is not a time like \"15m\"\n"},
	{H "queue { retry = {} }\n",
	 "t.conf:2: retry needs at least one time\n"},
	{H "resolver { servers = {\"127.0.0.1:53\",\n \"dns.example\"} }\n",
	 "t.conf:3: server \"dns.example\" is not IP:PORT\n"},
	{H "auth { mechanisms = {\"plain\"} }\n",
	 "t.conf:2: auth.mechanisms: \"plain\" is no mechanism name\n"},
	{H "auth { options = {\"a=b\",\n \"c\"} }\n",
	 "t.conf:3: auth.options: \"c\" is not \"name=value\"\n"},
	{H "tls {\n certificate = \"/c\" }\n",
	 "t.conf:3: tls: certificate and key belong together\n"},
	{H "spool = \"${OSTLER_NOT_SET}\"\n",
	 "t.conf:2: the environment variable OSTLER_NOT_SET is not set (write "
	 "${OSTLER_NOT_SET:-default} if it need not be)\n"},
	{H "include(\"gone.conf\")\n",
	 "t.conf:2: cannot read \"gone.conf\": No such file or directory\n"},
	{H "include(\"t.conf\")\n", NULL},

	/* listeners */
	{H "listener \"a\" { }\n",
	 "t.conf:2: listener \"a\" needs role = \"mx\" or \"submission\"\n"
	 "t.conf:2: listener \"a\" needs address = {\"IP:PORT\"}\n"},
	{H "listener \"a\" { role = \"mx\"\n address = {\"1.2.3.4:25\",\n"
	   "\"1.2.3.4\", \"::1:25\", \"unix:sock\"} }\n",
	 "t.conf:4: address \"1.2.3.4\" is not IP:PORT, [IPV6]:PORT or "
	 "unix:PATH\n"
	 "t.conf:4: address \"::1:25\" is not IP:PORT, [IPV6]:PORT or "
	 "unix:PATH\n"
	 "t.conf:4: address \"unix:sock\" needs an absolute path\n"},
	{H "listener \"a\" { role = \"mx\" address = \"127.0.0.1:25\" }\n"
	   "listener \"b\" { role = \"mx\" address = \"127.0.0.1:25\" }\n",
	 "t.conf:3: listener \"b\": address number 1 is taken already\n"},
	{H "listener \"a\" { role = \"mx\" address = \"127.0.0.1:25\"\n"
	   "proxy_from = {\"0.0.0.0/0\"} }\n",
	 "t.conf:3: proxy_from 0.0.0.0/0 holds every address: anybody could "
	 "claim to be any client\n"},
	{H "listener \"a\" { role = \"mx\" address = \"127.0.0.1:25\"\n"
	   "key = \"/k\" }\n",
	 "t.conf:2: listener \"a\": certificate and key belong together\n"},
	{H "listener \"digest\" { role = \"mx\" address = \"127.0.0.1:25\" }\n",
	 "t.conf:2: listener \"digest\": that name is kept for the "
	 "postmaster's digest\n"},

	/* what would open the relay */
	{H "relay { trusted_networks = {\"0.0.0.0/0\"} }\n",
	 "t.conf:2: trusted network 0.0.0.0/0 holds every address: anybody "
	 "could relay through this server\n"},
	{H "relay { trusted_networks = {\"127.0.0.0/8\",\n\"::/0\"} }\n",
	 "t.conf:3: trusted network ::/0 holds every address: anybody could "
	 "relay through this server\n"},
	{H "relay { trusted_networks = {\"::ffff:0.0.0.0/96\"} }\n",
	 "t.conf:2: trusted network ::ffff:0.0.0.0/96 holds every address: "
	 "anybody could relay through this server\n"},
	{H "relay { trusted_networks = {\"0.0.0.0/1\", \"128.0.0.0/1\"} }\n",
	 "t.conf:2: trusted network 0.0.0.0/1 is far too large: it would open "
	 "the relay to strangers\n"
	 "t.conf:2: trusted network 128.0.0.0/1 is far too large: it would "
	 "open the relay to strangers\n"},
	{H "relay { trusted_networks = {\"2000::/3\"} }\n",
	 "t.conf:2: trusted network 2000::/3 is far too large: it would open "
	 "the relay to strangers\n"},
	{H "relay { trusted_networks = {\"10.0.0.1/8\"} }\n",
	 "t.conf:2: \"10.0.0.1/8\" is no network (\"192.0.2.0/24\" with no "
	 "bits behind the prefix)\n"},
	{H "domain \"*\" { deliver = \"smtp:inner:25\" }\n",
	 "t.conf:2: domain \"*\" with deliver = \"smtp:inner:25\" would be an "
	 "open relay: only maildir: and discard can take all domains\n"},
	{H "domain \"*\" {\n deliver = \"mx\" }\n",
	 "t.conf:3: domain \"*\" with deliver = \"mx\" would be an open relay: "
	 "only maildir: and discard can take all domains\n"},
	{H "domain \"*\" { deliver = \"lmtp:unix:/x\" }\n",
	 "t.conf:2: domain \"*\" with deliver = \"lmtp:unix:/x\" would be an "
	 "open relay: only maildir: and discard can take all domains\n"},
	{H "domain \"com\" { deliver = \"mx\" subdomains = true }\n",
	 "t.conf:2: domain \"com\" with subdomains and deliver = \"mx\" would "
	 "be an open relay for a whole top-level domain\n"},

	/* domains and their tables */
	{H "domain \"x.org\" { }\n",
	 "t.conf:2: domain \"x.org\" needs deliver = \"...\"\n"},
	{H "domain \"x..org\" { deliver = discard }\n",
	 "t.conf:2: domain \"x..org\" is no domain name\n"},
	{H "domain \"x.org\" { deliver = \"maildir:mail\" }\n",
	 "t.conf:2: deliver \"maildir:mail\" needs an absolute path\n"},
	{H "domain \"x.org\" { deliver = \"smtps:h:465\" }\n",
	 "t.conf:2: deliver \"smtps:h:465\" cannot be used here: smtps: is for "
	 "routes\n"},
	{H "domain \"x.org\" { deliver = discard delimiter = \"ab\" }\n",
	 "t.conf:2: delimiter \"ab\" is not one character of "
	 "+-=_#$&*~^'{}|\n"},
	{H "domain \"x.org\" { deliver = discard\n recipients = \"gone\" }\n",
	 "t.conf:3: recipients: cannot read \"gone\": No such file or "
	 "directory\n"},
	{H "domain \"x.org\" { deliver = discard recipients = \"rcpt\" }\n",
	 "rcpt:2: recipient \"a b\": malformed local part\n"
	 "rcpt:3: recipient \"x@y.org\": belongs to another domain\n"},
	{H "domain \"x.org\" { deliver = \"maildir:/m\" aliases = \"bad\" }\n",
	 "bad:1: an alias is written \"name: address, address\"\n"
	 "bad:3: alias \"b\": target \"|/bin/sh\": programs, files and "
	 ":include: are no targets\n"},
	{H "domain \"x.org\" { deliver = discard aliases = \"loop\" }\n", NULL},
	{H "relay { sender_binding = \"login\" }\n",
	 "t.conf:2: sender_binding = \"login\" needs the file "
	 "relay.senders\n"},
	{H "relay { sender_binding = \"login\" senders = \"send\" }\n",
	 "send:2: sender row \"\": a sender row is written \"login address\" "
	 "or "
	 "\"login @domain\"\n"
	 "send:3: sender row \"@.\": is no @domain\n"},

	/* routes */
	{H "route \"r\" { for = {\"x y\"} }\n",
	 "t.conf:2: for \"x y\" is no domain, .parent or *\n"},
	{H "route \"r\" { via = {\"lmtp:unix:/x\"} }\n",
	 "t.conf:2: via \"lmtp:unix:/x\" cannot be used here: a route is mx, "
	 "smtp: or smtps:\n"},
	{H "route \"r\" { via = {\"smtp:a:25\", \"mx\"} }\n",
	 "t.conf:2: via \"mx\" stands alone or not at all\n"},
	{H "route \"r\" { tls = \"yes\" }\n",
	 "t.conf:2: tls \"yes\" is none of none, opportunistic, required, "
	 "verified, dane, sts\n"},
	{H "route \"r\" { via = \"smtps:a:465\" user = \"u\" }\n",
	 "t.conf:2: user needs password_file or token_command\n"},
	{H "route \"r\" { via = \"smtps:a:465\" user = \"u\" "
	   "token_command = \"a 'b\" }\n",
	 "t.conf:2: token_command has no word, or a quote that is not "
	 "closed\n"},
	{H "route \"r\" { via = \"smtps:a:465\" password_file = \"/p\" }\n",
	 "t.conf:2: password_file needs user\n"},
	{H "route \"r\" { user = \"u\" token_command = \"x\" tls = "
	   "\"verified\" }\n",
	 "t.conf:2: user would give the login to every host that an MX record "
	 "names: use via = \"smtp:HOST:PORT\"\n"},
	{H "route \"r\" { family = \"ipv4\" source = \"::1\" }\n",
	 "t.conf:2: source ::1 is not of family ipv4\n"},
	{H "route \"r\" { source = \"host\" }\n",
	 "t.conf:2: source \"host\" is no IP address\n"},
	{H "route \"r\" { sender = \"@\" }\n",
	 "t.conf:2: sender \"@\": is no @domain\n"},
	{H "route \"r\" { via = {\"smtp:a:25\", \"smtps:a:465\"} tls = "
	   "\"none\" }\n",
	 "t.conf:2: tls = \"none\" contradicts smtps:\n"},
	{H "route \"r\" { via = \"smtp:a:25\" tls = \"sts\" }\n",
	 "t.conf:2: tls = \"sts\" works with via = \"mx\" alone: the policy is "
	 "the domain's\n"},
};

START_TEST(an_error_comes_with_its_file_and_line)
{
	struct config *config;

	enter();
	https_use_program("/bin/sh"); /* one that is there */
	put("rcpt", "bob\na b\nx@y.org\n");
	put("bad", "no colon\na: b\nb: |/bin/sh\n");
	put("loop", "a: b\nb: c\nc: a\n");
	put("send", "alice a@b.org\nbob\ncarl @.\n");
	config = load(wrong[_i].text);
	ck_assert_msg(config == NULL, "loads: %s", wrong[_i].text);
	if (wrong[_i].errors != NULL)
		ck_assert_str_eq(buf_text(&errors), wrong[_i].errors);
	leave();
}
END_TEST

START_TEST(a_demand_for_policies_that_cannot_be_read_is_an_error)
{
	enter();
	https_use_program("/nonexistent/fetch");
	ck_assert_ptr_null(load(H "route \"r\" { tls = \"sts\" }\n"));
	ck_assert_str_eq(buf_text(&errors),
			 "t.conf:2: tls = \"sts\": MTA-STS policies cannot be "
			 "read: '/nonexistent/fetch': No such file or "
			 "directory\n");
	leave();
}
END_TEST

START_TEST(loops_of_aliases_are_found)
{
	enter();
	put("loop", "a: b\nb: c\nc: a@x.org\n");
	put("star", "*: x@y.org\n");
	ck_assert_ptr_null(load(
		H "domain \"x.org\" { deliver = discard aliases = loop }\n"));
	ck_assert_str_eq(buf_text(&errors),
			 "loop:3: alias \"a\" leads back to itself by "
			 "<a@x.org>\n");
	put("back", "*: z@x.org\n");
	ck_assert_ptr_null(load(
		H "domain \"x.org\" { deliver = discard aliases = star }\n"
		  "domain \"y.org\" { deliver = discard aliases = back }\n"));
	ck_assert_msg(strstr(buf_text(&errors), "leads back to itself") != NULL,
		      "%s", buf_text(&errors));
	leave();
}
END_TEST

START_TEST(includes_that_include_themselves_end)
{
	enter();
	put("a.conf", "include(\"b.conf\")\n");
	put("b.conf", "include(\"a.conf\")\n");
	ck_assert_ptr_null(load(H "include(\"a.conf\")\n"));
	ck_assert_msg(strstr(buf_text(&errors), "one include too many") != NULL,
		      "%s", buf_text(&errors));
	leave();
}
END_TEST

START_TEST(all_errors_come_at_once)
{
	enter();
	put("more.conf", "drain = soon\ndomain \"y.org\" { deliver = y }\n");
	ck_assert_ptr_null(load("hostnam = \"x\"\n" H "include(\"more.conf\")\n"
				"limits { errors = 0\n hops = x }\n"
				"relay { trusted_networks = {\"0.0.0.0/0\",\n"
				"\"x\"} }\n"
				"domain \"x.org\" { }\n" H));
	ck_assert_str_eq(
		buf_text(&errors),
		"t.conf:1: unknown name \"hostnam\" (did you mean "
		"\"hostname\"?)\n"
		"t.conf:9: \"hostname\" is set again (first at t.conf:2)\n"
		"more.conf:1: drain \"soon\" is not a time like \"1h30m\"\n"
		"t.conf:5: hops \"x\" is not a number\n"
		"t.conf:4: errors \"0\" is not within 1 and 1000000\n"
		"t.conf:6: trusted network 0.0.0.0/0 holds every address: "
		"anybody could relay through this server\n"
		"t.conf:7: \"x\" is no network (\"192.0.2.0/24\" with no bits "
		"behind the prefix)\n"
		"more.conf:2: deliver \"y\" is none of mx, smtp:HOST:PORT, "
		"smtps:HOST:PORT, lmtp:HOST:PORT, lmtp:unix:PATH, "
		"maildir:PATH, discard\n"
		"t.conf:8: domain \"x.org\" needs deliver = \"...\"\n");
	leave();
}
END_TEST

START_TEST(a_file_that_is_not_there_is_an_error_of_its_name)
{
	struct config *config = NULL;

	enter();
	ck_assert_int_eq(config_load("gone.conf", &config, &errors, &warnings),
			 -EINVAL);
	ck_assert_str_eq(buf_text(&errors),
			 "gone.conf: cannot read \"gone.conf\": No such file "
			 "or directory; `ostlerctl setup` writes one\n");
	buf_clear(&errors);
	ck_assert_int_eq(config_load(".", &config, &errors, &warnings),
			 -EINVAL);
	ck_assert_uint_gt(buf_len(&errors), 0);
	leave();
}
END_TEST

/* ---------------------------------------------------------------- values */

START_TEST(a_minimal_configuration_has_the_documented_defaults)
{
	struct queue_opts queue;
	struct resolver_opts resolver;
	struct config *config;

	enter();
	config = load_good("hostname = \"Mail.Example.ORG.\"\n"
			   "tls { certificate = \"/c\" key = \"/k\" }\n"
			   "domain \"Example.ORG\" { deliver = discard }\n");
	ck_assert_str_eq(config->hostname, "mail.example.org");
	ck_assert_str_eq(config->postmaster, "postmaster@example.org");
	ck_assert_str_eq(config->qualify, "example.org");
	ck_assert_str_eq(config->spool, OSTLER_LOCALSTATEDIR "/spool/ostler");
	ck_assert_str_eq(config->control_socket, OSTLER_RUNDIR "/control.sock");
	ck_assert_str_eq(config->user, "ostler");
	ck_assert_uint_eq(config->drain_ms, 5000);
	ck_assert_int_eq(config->log_format, LOG_FORMAT_TEXT);
	ck_assert_int_eq(config->log_level, LOG_LEVEL_INFO);

	ck_assert_uint_eq(config->listener_count, 4);
	ck_assert_str_eq(config->listeners[0].name, "mx");
	ck_assert_int_eq(config->listeners[0].role, POLICY_MX);
	ck_assert_int_eq(config->listeners[0].tls, LISTENER_TLS_STARTTLS);
	ck_assert_uint_eq(config->listeners[0].address_count, 2);
	ck_assert_uint_eq(config->listeners[0].addresses[0].port, 25);
	ck_assert_int_eq(config->listeners[0].addresses[1].ip.family, IP_V6);
	ck_assert_uint_eq(config->listeners[1].addresses[0].port, 587);
	ck_assert_int_eq(config->listeners[2].tls, LISTENER_TLS_IMPLICIT);
	ck_assert_str_eq(config->listeners[3].addresses[0].unix_path,
			 OSTLER_RUNDIR "/submit.sock");

	ck_assert_uint_eq(config->limits.message_size, 50 << 20);
	ck_assert_uint_eq(config->limits.recipients, 1000);
	ck_assert_uint_eq(config->limits.hops, 50);
	ck_assert_uint_eq(config->limits.connections, 1000);
	ck_assert_uint_eq(config->limits.connections_per_client, 50);
	ck_assert_uint_eq(config->limits.command_timeout_ms, 300000);
	ck_assert_uint_eq(config->limits.data_timeout_ms, 600000);
	ck_assert_uint_eq(config->limits.session_ms, 3600000);
	ck_assert_uint_eq(config->limits.errors, 20);
	ck_assert_uint_eq(config->limits.auth_failures, 3);
	ck_assert_uint_eq(config->limits.auth_lock_ms, 900000);
	ck_assert_uint_eq(config->limits.spool_free, 500 << 20);
	ck_assert_uint_eq(config->limits.messages_per_user.count, 0);

	ck_assert_str_eq(config->tls.certificate, "/c");
	ck_assert_str_eq(config->tls.minimum, "1.2");
	ck_assert_ptr_null(config->tls.client_ca);
	ck_assert_str_eq(config->auth.mechanisms[0], "SCRAM-SHA-256");
	ck_assert_str_eq(config->auth.mechanisms[2], "LOGIN");
	ck_assert_ptr_null(config->auth.mechanisms[3]);
	ck_assert_str_eq(config->auth.database, OSTLER_SYSCONFDIR "/sasldb2");
	ck_assert_str_eq(config->auth.realm, "ostler");
	ck_assert_ptr_nonnull(config->auth.options);
	ck_assert_ptr_null(config->auth.options[0]);
	ck_assert(!config->auth.plaintext_without_tls);
	ck_assert(config->mx_points_here_defers);

	config_resolver_opts(config, &resolver);
	ck_assert_ptr_null(resolver.servers[0]);
	ck_assert_uint_eq(resolver.timeout_ms, 5000);
	ck_assert_uint_eq(resolver.attempts, 3);
	ck_assert_uint_eq(resolver.ttl_max_s, 86400);
	ck_assert_uint_eq(resolver.negative_ttl_max_s, 900);
	ck_assert(config->resolver.client_names);

	config_queue_opts(config, &queue);
	ck_assert_str_eq(queue.spool_dir, OSTLER_LOCALSTATEDIR "/spool/ostler");
	ck_assert_uint_eq(queue.spool_free, 500 << 20);
	ck_assert_uint_eq(queue.retry_count, 7);
	ck_assert_uint_eq(queue.retry_s[0], 60);
	ck_assert_uint_eq(queue.retry_s[6], 14400);
	ck_assert_uint_eq(queue.expire_s, 432000);
	ck_assert_uint_eq(queue.warn_s, 14400);
	ck_assert_uint_eq(queue.bounce_expire_s, 86400);
	ck_assert_uint_eq(queue.grace_s, 14400);
	ck_assert_uint_eq(queue.connections, 200);
	ck_assert_uint_eq(queue.port, 25);
	ck_assert_uint_eq(queue.connect_timeout_ms, 30000);
	ck_assert_uint_eq(queue.idle_connection_ms, 5000);
	ck_assert(queue.deliver);
	ck_assert(!queue.private_targets);
	ck_assert_str_eq(queue.language, "en");
	ck_assert_ptr_nonnull(queue.texts);
	ck_assert_ptr_nonnull(queue.classifier);
	config_unref(config);
	leave();
}
END_TEST

START_TEST(what_is_written_is_what_is_used)
{
	struct config *config;

	enter();
	config = load_good(
		H "postmaster = \"root@y.org\"\nqualify = \"y.org\"\n"
		  "spool = 'spool'\ncontrol_socket = \"/c.sock\"\n"
		  "user = root drain = 0\n"
		  "log { format = json level = debug }\n"
		  "listener \"a\" { role = submission tls = implicit\n"
		  " address = {\"[::1]:465\", \"unix:/s\",}\n"
		  " proxy_from = \"10.0.0.0/8\" certificate = \"/lc\" key = "
		  "\"/lk\" }\n"
		  "listener \"b\" { role = mx address = \"127.0.0.1:0\" }\n"
		  "listener \"c\" { role = submission address = \"unix:/u\" }\n"
		  "limits { message_size = \"1G\" messages_per_user = "
		  "\"5/1m\" auth_lock = 0 }\n"
		  "auth { mechanisms = {} options = {\"a=b\"} }\n"
		  "relay { mx_points_here = deny sender_binding = any }\n"
		  "resolver { servers = {\"127.0.0.1:5353\", \"::1\"} }\n"
		  "queue { retry = {\"1s\"} deliver = no port = 2525 }\n");
	ck_assert_str_eq(config->postmaster, "root@y.org");
	ck_assert_str_eq(config->qualify, "y.org");
	ck_assert_str_eq(config->spool, "spool");
	ck_assert_uint_eq(config->drain_ms, 0);
	ck_assert_int_eq(config->log_format, LOG_FORMAT_JSON);
	ck_assert_int_eq(config->log_level, LOG_LEVEL_DEBUG);
	ck_assert_uint_eq(config->listener_count, 3);
	ck_assert_uint_eq(config->listeners[0].address_count, 2);
	ck_assert_uint_eq(config->listeners[0].proxy_from_count, 1);
	ck_assert_str_eq(config->listeners[0].certificate, "/lc");
	ck_assert_str_eq(config->listeners[0].at, "t.conf:8");
	ck_assert_int_eq(config->listeners[1].tls, LISTENER_TLS_STARTTLS);
	ck_assert_int_eq(config->listeners[2].tls, LISTENER_TLS_NONE);
	ck_assert_uint_eq(config->limits.message_size, 1 << 30);
	ck_assert_uint_eq(config->limits.messages_per_user.count, 5);
	ck_assert_uint_eq(config->limits.messages_per_user.period_s, 60);
	ck_assert_uint_eq(config->limits.auth_lock_ms, 0);
	ck_assert_ptr_null(config->auth.mechanisms[0]);
	ck_assert_str_eq(config->auth.options[0], "a=b");
	ck_assert(!config->mx_points_here_defers);
	ck_assert_str_eq(config->resolver.servers[0], "127.0.0.1:5353");
	ck_assert_str_eq(config->resolver.servers[1], "[::1]:53");
	ck_assert_uint_eq(config->queue.retry_count, 1);
	ck_assert(!config->queue.deliver);
	ck_assert_uint_eq(config->queue.port, 2525);
	config_unref(config);
	config_unref(NULL);
	leave();
}
END_TEST

START_TEST(every_section_can_be_written_in_every_way)
{
	struct config *config;

	enter();
	config = load_good("\xef\xbb\xbf# first\r\n" H
			   "/* a\n comment */ spool = \"a\\\"b\\\\c\\$d\"\n"
			   "log{level=warn}// end\n"
			   "user='no ${EXPANSION} # here'");
	ck_assert_str_eq(config->spool, "a\"b\\c$d");
	ck_assert_int_eq(config->log_level, LOG_LEVEL_WARN);
	ck_assert_str_eq(config->user, "no ${EXPANSION} # here");
	ck_assert_str_eq(entry_at(config, "spool"), "t.conf:4");
	config_unref(config);
	leave();
}
END_TEST

START_TEST(variables_are_replaced_in_double_quotes)
{
	struct config *config;

	enter();
	ck_assert_int_eq(setenv("OSTLER_A", "va\"l\\ue${X}", 1), 0);
	ck_assert_int_eq(setenv("OSTLER_EMPTY", "", 1), 0);
	ck_assert_int_eq(unsetenv("OSTLER_NONE"), 0);
	config = load_good(H "spool = \"<${OSTLER_A}>\"\n"
			     "control_socket = \"/${OSTLER_EMPTY:-empty}\"\n"
			     "user = \"${OSTLER_NONE:-some:-one}\"\n"
			     "auth { realm = \"x${OSTLER_EMPTY}y\" database = "
			     "\"\\${OSTLER_A}\" }\n");
	ck_assert_str_eq(config->spool, "<va\"l\\ue${X}>");
	ck_assert_str_eq(config->control_socket, "/empty");
	ck_assert_str_eq(config->user, "some:-one");
	ck_assert_str_eq(config->auth.realm, "xy");
	ck_assert_str_eq(config->auth.database, "${OSTLER_A}");
	config_unref(config);
	leave();
}
END_TEST

START_TEST(variables_are_replaced_in_titles_and_includes_too)
{
	struct config *config;

	enter();
	ck_assert_int_eq(setenv("OSTLER_A", "one", 1), 0);
	ck_assert_int_eq(unsetenv("OSTLER_NONE"), 0);
	put("one.conf", "domain \"two.org\" { deliver = discard }\n");
	config = load_good(
		H
		"domain \"${OSTLER_A}.${OSTLER_NONE:-org}\" { deliver = mx }\n"
		"include(\"${OSTLER_A}.conf\")\n");
	ck_assert_str_eq(entry(config, "domain.one.org.deliver"), "mx");
	ck_assert_str_eq(entry(config, "domain.two.org.deliver"), "discard");
	config_unref(config);
	ck_assert_ptr_null(load(H "domain \"${OSTLER_NONE}.org\" { }\n"));
	ck_assert_ptr_nonnull(strstr(
		buf_text(&errors),
		"t.conf:2: the environment variable OSTLER_NONE is not set"));
	leave();
}
END_TEST

START_TEST(includes_and_paths_are_relative_to_the_file_that_names_them)
{
	char path[128], database[160];
	struct config *config = NULL;

	enter();
	put("domains.conf",
	    "domain \"x.org\" { deliver = discard aliases = \"al\" }\n"
	    "auth { database = \"db\" }\n");
	put("al", "a: b@y.org\n");
	put("t.conf", H "include(\"domains.conf\")\ndrain = 1s\n");
	(void)snprintf(path, sizeof(path), "%s/t.conf", folder);
	(void)snprintf(database, sizeof(database), "%s/db", folder);
	ck_assert_int_eq(chdir("/"), 0);
	ck_assert_msg(config_load(path, &config, &errors, &warnings) == 0, "%s",
		      buf_text(&errors));
	ck_assert_str_eq(config->auth.database, database);
	ck_assert_uint_eq(config->drain_ms, 1000);
	(void)snprintf(database, sizeof(database), "%s/domains.conf:2", folder);
	ck_assert_str_eq(entry_at(config, "auth.database"), database);
	ck_assert_int_eq(chdir(folder), 0);
	config_unref(config);
	leave();
}
END_TEST

START_TEST(entries_say_where_values_come_from_and_hide_secrets)
{
	struct config *config;

	enter();
	config = load_good(
		H "auth { options = {\"a=b\",\n\"sql_passwd=hunter2\"} }\n"
		  "domain \"x.org\" { deliver = discard }\n"
		  "route \"r\" { via = \"smtps:h:465\" user = \"u\"\n"
		  " token_command = \"print hunter2\" }\n");
	ck_assert_str_eq(entry(config, "hostname"), "m.x.org");
	ck_assert_str_eq(entry_at(config, "hostname"), "t.conf:1");
	ck_assert_str_eq(entry(config, "postmaster"), "postmaster@x.org");
	ck_assert_ptr_null(entry_at(config, "postmaster"));
	ck_assert_str_eq(entry(config, "limits.message_size"), "50M");
	ck_assert_ptr_null(entry_at(config, "limits.message_size"));
	ck_assert_str_eq(entry(config, "auth.options"),
			 "{\"a=b\", \"(hidden)\"}");
	ck_assert_str_eq(entry_at(config, "auth.options"), "t.conf:2");
	ck_assert_str_eq(entry(config, "domain.x.org.deliver"), "discard");
	ck_assert_str_eq(entry(config, "route.r.token_command"), "(hidden)");
	ck_assert_str_eq(entry(config, "listener.mx.role"), "mx");
	for (size_t i = 0; i < config->entry_count; i++)
		ck_assert_ptr_null(strstr(config->entries[i].value, "hunter2"));
	config_unref(config);
	leave();
}
END_TEST

START_TEST(a_second_load_says_the_same_and_survives_bad_files)
{
	static const char good[] =
		H "domain \"x.org\" { deliver = discard }\n"
		  "route \"r\" { for = {\"*\", \".y.org\"} }\n";
	struct config *first, *second;

	enter();
	first = load_good(good);
	for (size_t i = 0; i < COUNT(wrong); i++)
		if (wrong[i].errors != NULL)
			(void)load(wrong[i].text);
	second = load_good(good);
	ck_assert_uint_eq(first->entry_count, second->entry_count);
	for (size_t i = 0; i < first->entry_count; i++) {
		ck_assert_str_eq(first->entries[i].name,
				 second->entries[i].name);
		ck_assert_str_eq(first->entries[i].value,
				 second->entries[i].value);
	}
	ck_assert_ptr_eq(config_ref(first), first);
	config_unref(first);
	config_unref(first);
	config_unref(second);
	leave();
}
END_TEST

START_TEST(the_policy_is_the_configuration)
{
	struct policy_facts facts = {.role = POLICY_MX};
	struct addr sender, rcpt;
	struct next_hop hop;
	struct verdict verdict;
	struct config *config;

	enter();
	put("users", "bob\n");
	config = load_good(
		H "listener \"s\" { role = submission address = "
		  "{\"unix:/s\", \"127.0.0.1:2587\"} }\n"
		  "relay { trusted_networks = {\"10.0.0.0/8\",\n"
		  "\"192.0.2.0/24\"} }\n"
		  "domain \"x.org\" { deliver = \"maildir:/m/%d/%u\"\n"
		  "recipients = users }\n"
		  "route \"r\" { via = {\"smtps:a:465\", \"smtp:b:587\"}\n"
		  "tls = verified mechanisms = {\"PLAIN\"} rate = \"9/1m\"\n"
		  "source = \"127.0.0.9\" connections = 3 user = \"u\"\n"
		  "password_file = \"pw\" messages_per_connection = 7 }\n");
	ck_assert_ptr_null(addr_parse(str_of("a@b.org"), 0, &sender));
	ck_assert_ptr_null(addr_parse(str_of("u@y.org"), 0, &rcpt));
	facts.sender = &sender;
	facts.recipient = &rcpt;
	ck_assert(ip_parse(str_of("192.0.3.1"), &facts.client));
	policy_decide(config->policy, &facts, &verdict, NULL);
	ck_assert_str_eq(verdict.status.text,
			 "<u@y.org>: Relaying denied: y.org is not handled "
			 "here and you are not logged in (log in at m.x.org "
			 "port 2587)");
	ck_assert_ptr_null(verdict.config_at);
	ck_assert(ip_parse(str_of("192.0.2.1"), &facts.client));
	policy_decide(config->policy, &facts, &verdict, NULL);
	ck_assert(verdict.is_accepted);
	ck_assert_str_eq(verdict.config_at, "t.conf:4");
	ck_assert_ptr_null(addr_parse(str_of("eve@x.org"), 0, &rcpt));
	policy_decide(config->policy, &facts, &verdict, NULL);
	ck_assert_int_eq(verdict.rule, RULE_UNKNOWN_USER);
	ck_assert_str_eq(verdict.config_at, "t.conf:6");

	policy_next_hop(config->policy, &sender, &rcpt, &hop, NULL);
	ck_assert_int_eq(hop.kind, HOP_MAILDIR);
	ck_assert_str_eq(hop.maildir, "/m/%d/%u");
	ck_assert_str_eq(hop.delimiter, "+");
	ck_assert_str_eq(hop.config_at, "t.conf:5");
	ck_assert_ptr_null(addr_parse(str_of("u@y.org"), 0, &rcpt));
	policy_next_hop(config->policy, &sender, &rcpt, &hop, NULL);
	ck_assert_str_eq(hop.key, "route r");
	ck_assert_uint_eq(hop.target_count, 2);
	ck_assert(hop.targets[0].is_implicit_tls);
	ck_assert(!hop.targets[1].is_implicit_tls);
	ck_assert_int_eq(hop.tls, HOP_TLS_VERIFIED);
	ck_assert_str_eq(hop.mechanisms[0], "PLAIN");
	ck_assert_ptr_null(hop.mechanisms[1]);
	ck_assert_uint_eq(hop.rate_count, 9);
	ck_assert_uint_eq(hop.rate_period_s, 60);
	ck_assert_int_eq(hop.source.family, IP_V4);
	ck_assert_uint_eq(hop.connections, 3);
	ck_assert_uint_eq(hop.messages_per_connection, 7);
	ck_assert_str_eq(hop.user, "u");
	ck_assert_str_eq(hop.password_file, "pw");
	ck_assert_ptr_null(hop.token_command);
	config_unref(config);
	leave();
}
END_TEST

/* -------------------------------------------------------------- warnings */

static const struct {
	const char *text, *warning; /* a part of it */
} doubtful[] = {
	{"user = \"root\"\n", "t.conf:2: user = \"root\""},
	{"relay { trusted_networks = {\"10.0.0.0/8\"} }\n",
	 "t.conf:2: trusted network 10.0.0.0/8 is private"},
	{"relay { trusted_networks = {\"172.16.0.0/12\"} }\n",
	 "t.conf:2: trusted network 172.16.0.0/12 is private"},
	{"relay { trusted_networks = {\"8.0.0.0/8\"} }\n",
	 "t.conf:2: trusted network 8.0.0.0/8 is large and public"},
	{"spool = \"/s\"\n", "tls.certificate is not set"},
	{"auth { plaintext_without_tls = true }\n",
	 "t.conf:2: auth.plaintext_without_tls"},
	{"listener \"s\" { role = submission tls = none address = "
	 "\"192.0.2.1:587\" }\n",
	 "t.conf:2: listener \"s\" takes logins without TLS"},
	{"queue { warn = \"6d\" }\n", "t.conf:2: queue.warn is not before"},
	{"queue { deliver = false }\n", "t.conf:2: queue.deliver = false"},
	{"limits { recipients = 10 }\n", "t.conf:2: limits.recipients is "
					 "below"},
	{"spool = \"/s\"\n", "sender_binding = \"domain\" without any domain"},
	{"spool = \"/s\"\n", "mail for the postmaster has no place to go"},
	{"route \"r\" { via = \"smtp:a:25\" user = u password_file = "
	 "\"/dev/null\" }\n",
	 "t.conf:2: route \"r\" may send its password without TLS"},
	{"route \"r\" { via = \"smtps:a:465\" user = u password_file = "
	 "\"gone\" }\n",
	 "t.conf:2: password_file \"gone\": No such file"},
	{"route \"r\" { tls = \"dane\" }\n"
	 "resolver { servers = {\"127.0.0.1\", \"192.0.2.1:53\"} }\n",
	 "t.conf:2: tls = \"dane\": the resolver 192.0.2.1:53 is not on this"},
	{"domain \"lan\" { deliver = discard subdomains = true }\n",
	 "t.conf:2: domain \"lan\" with subdomains takes a whole"},
	{"domain \"x.org\" { deliver = discard recipients = \"/dev/null\" }\n",
	 "t.conf:2: recipients file /dev/null is empty"},
	{"domain \"x.org\" { deliver = discard recipients = \"/dev/null\" }\n",
	 "postmaster <postmaster@x.org> is neither a recipient nor an alias"},
	{"relay { senders = \"/dev/null\" }\n",
	 "t.conf:2: senders is read only with sender_binding"},
};

START_TEST(what_works_and_is_doubtful_is_a_warning)
{
	char *text = mem_printf("%s%s", H, doubtful[_i].text);
	struct config *config;

	enter();
	config = load_good(text);
	ck_assert_msg(strstr(buf_text(&warnings), doubtful[_i].warning) != NULL,
		      "%s", buf_text(&warnings));
	config_unref(config);
	free(text);
	leave();
}
END_TEST

START_TEST(loopback_networks_and_good_files_are_no_doubt)
{
	struct config *config;

	enter();
	config = load_good(
		H "user = \"nobody\"\n"
		  "tls { certificate = \"/c\" key = \"/k\" }\n"
		  "relay { trusted_networks = {\"127.0.0.0/8\", \"::1\", "
		  "\"192.0.2.0/24\"} }\n"
		  "domain \"x.org\" { deliver = \"lmtp:unix:/x\" }\n");
	ck_assert_str_eq(buf_text(&warnings), "");
	config_unref(config);
	leave();
}
END_TEST

/* ---------------------------------------------------------------- sample */

START_TEST(the_sample_loads)
{
	char path[PATH_MAX + 32];
	struct config *config = NULL;

	enter();
	(void)snprintf(path, sizeof(path), "%s/etc/ostler.conf", source_dir);
	ck_assert_msg(config_load(path, &config, &errors, &warnings) == 0, "%s",
		      buf_text(&errors));
	config_unref(config);
	leave();
}
END_TEST

/* ---------------------------------------------------------------- manual */

/* Is there a line that names the key and has all of the preset's words? */
static bool
manual_tells(const char *manual, const struct key *key)
{
	char *wanted = mem_printf("Ic %s ", key->name);
	struct str rest = str_of(manual), line;
	bool is_told = false;

	while (!is_told && str_cut(&rest, '\n', &line)) {
		char *text = mem_printf("%.*s ", STR_ARG(line));
		struct str words =
			str_of(key->preset != NULL ? key->preset : "");
		struct str word;

		is_told = strncmp(text, ".It ", 4) == 0 &&
			  strstr(text, wanted) != NULL;
		while (is_told && str_cut(&words, ',', &word)) {
			word = str_trim(word);
			is_told = memmem(text, strlen(text), word.at,
					 word.len) != NULL;
		}
		free(text);
	}
	free(wanted);
	return is_told;
}

START_TEST(the_manual_tells_every_name_and_its_default)
{
	char path[PATH_MAX + 32], manual[65536];
	size_t len;
	FILE *file;

	enter();
	(void)snprintf(path, sizeof(path), "%s/doc/ostler.conf.5", source_dir);
	file = fopen(path, "r");
	ck_assert_ptr_nonnull(file);
	len = fread(manual, 1, sizeof(manual) - 1, file);
	manual[len] = '\0';
	ck_assert_int_eq(fclose(file), 0);
	for (size_t i = 0; i < config_key_count; i++)
		ck_assert_msg(manual_tells(manual, &config_keys[i]),
			      "%s.%s = %s", config_keys[i].section,
			      config_keys[i].name,
			      config_keys[i].preset != NULL
				      ? config_keys[i].preset
				      : "");
	leave();
}
END_TEST

/* --------------------------------------------------------------- reports */

#define BASE                                                                   \
	"hostname = \"mail.example.org\"\n"                                    \
	"tls { certificate = \"/c\" key = \"/k\" }\n"                          \
	"domain \"example.org\" { deliver = discard }\n"

START_TEST(own_rules_come_first_and_own_texts_lie_over_those_built_in)
{
	struct classification found;
	struct advice advice;
	struct config *config;

	enter();
	put("own.rules", "# ours\nours.full policy-related : mailbox full\n");
	ck_assert_int_eq(mkdir("texts.d", 0755), 0);
	put("texts.d/de", "[mailbox-full]\ncause: randvoll\n");
	put("texts.d/de~", "nobody reads this\n");
	put("texts.d/README", "nor this\n");
	config = load_good(BASE "report { rules = \"own.rules\" texts = "
				"\"texts.d\" language = \"de-AT\" }\n");
	classify_reply(config->report.classifier, "552 mailbox full",
		       PHASE_NONE, &found);
	ck_assert_str_eq(found.rule, "ours.full");
	ck_assert_int_eq(found.category, CATEGORY_POLICY_RELATED);
	/* the others are there still */
	classify_reply(config->report.classifier, "550 no such user",
		       PHASE_NONE, &found);
	ck_assert_int_eq(found.category, CATEGORY_BAD_MAILBOX);
	ck_assert_str_eq(config->report.language, "de-AT");
	found = (struct classification){
		.category = CATEGORY_QUOTA_ISSUES,
		.advice = advice_id(str_of("mailbox-full")),
	};
	advice_find(&found,
		    texts_language(config->report.loaded, str_of("de-AT")),
		    &advice);
	ck_assert_str_eq(advice.cause, "randvoll");
	ck_assert_ptr_null(strstr(buf_text(&warnings), "texts.d"));
	config_unref(config);
	ck_assert_int_eq(remove("texts.d/de"), 0);
	ck_assert_int_eq(remove("texts.d/de~"), 0);
	ck_assert_int_eq(remove("texts.d/README"), 0);
	leave();
}
END_TEST

static const struct {
	const char *section, *says;
} bad_reports[] = {
	{"report { rules = \"bad.rules\" }\n",
	 "bad.rules:2: 'no-such-category' is not a category\n"},
	{"report { texts = \"bad.d\" }\n",
	 "bad.d/fr:3: this text has no variable \"who\"\n"},
	{"report { rules = \"none.rules\" }\n", "t.conf:4: rules: cannot read"},
	{"report { texts = \"none.d\" }\n", "t.conf:4: texts: cannot read"},
	{"report { language = \"tlh\" }\n",
	 "t.conf:4: language \"tlh\": there are no texts in it\n"},
	{"report { language = \"\" }\n",
	 "t.conf:4: language must not be empty"},
};

START_TEST(a_bad_file_of_rules_or_texts_is_refused_with_its_line)
{
	char *text = mem_printf("%s%s", BASE, bad_reports[_i].section);

	enter();
	put("bad.rules", "# ours\nours.full no-such-category : full\n");
	ck_assert_int_eq(mkdir("bad.d", 0755), 0);
	put("bad.d/fr", "\n[frame]\nfrom: {who}\n");
	ck_assert_ptr_null(load(text));
	ck_assert_msg(strstr(buf_text(&errors), bad_reports[_i].says) != NULL,
		      "%s", buf_text(&errors));
	free(text);
	ck_assert_int_eq(remove("bad.d/fr"), 0);
	leave();
}
END_TEST

START_TEST(a_language_with_gaps_loads_with_a_warning)
{
	struct config *config;

	enter();
	ck_assert_int_eq(mkdir("texts.d", 0755), 0);
	put("texts.d/nl", "[frame]\nlabel.why: Waarom:\n");
	config = load_good(
		BASE "report { texts = \"texts.d\" language = \"nl\" }\n");
	ck_assert_msg(strstr(buf_text(&warnings), "texts.d/nl: ") != NULL, "%s",
		      buf_text(&warnings));
	ck_assert_ptr_nonnull(strstr(buf_text(&warnings), "stay English"));
	config_unref(config);
	ck_assert_int_eq(remove("texts.d/nl"), 0);
	leave();
}
END_TEST

/* ------------------------------------------------------------------ fuzz */

START_TEST(no_text_is_too_strange_to_be_refused)
{
	static const char *const parts[] = {
		"hostname",    "=",
		"\"m.x.org\"", "{",
		"}",	       "domain",
		"\"x\"",       ",",
		"(",	       ")",
		"include",     "\n",
		"#",	       "\"",
		"'",	       "\\",
		"${",	       "}",
		"log",	       "level",
		"route",       "retry",
		"queue",       "/*",
		"*/",	       "\xff",
		"\x01",	       "${HOME}",
		"relay",       "listener",
		"deliver",     "\"mx\"",
		"address",     "\"*\"",
		"aliases",     "t.conf",
		"5s",	       "\"0.0.0.0/0\"",
	};
	uint32_t seed = 1;

	enter();
	for (unsigned round = 0; round < 3000; round++) {
		char text[1024] = H;
		size_t len = strlen(text);

		for (unsigned i = 0; i < 1 + round % 40; i++) {
			const char *part;

			seed = seed * 1664525 + 1013904223;
			part = parts[(seed >> 16) % COUNT(parts)];
			len += (size_t)snprintf(text + len, sizeof(text) - len,
						"%s%s", part,
						(seed & 0x8000) != 0 ? " "
								     : "");
		}
		config_unref(load(text));
	}
	leave();
}
END_TEST

static void
on_difference(void *arg, const char *name, const char *old_value,
	      const char *new_value)
{
	ck_assert_int_eq(buf_addf(arg, "%s: %s -> %s\n", name,
				  old_value != NULL ? old_value : "-",
				  new_value != NULL ? new_value : "-"),
			 0);
}

START_TEST(what_changes_about_relaying_is_found)
{
	static const char before[] =
		"hostname = \"mail.example.org\"\n"
		"listener \"mx\" { role = \"mx\" address = {\"127.0.0.1:25\"}\n"
		"	proxy_from = {\"10.0.0.1\"} }\n"
		"relay { sender_binding = \"any\" }\n"
		"domain \"gone.example\" { deliver = \"discard\" }\n"
		"domain \"stays.example\" { deliver = \"discard\" }\n";
	static const char after[] =
		"hostname = \"mail.example.net\"\n"
		"listener \"mx\" { role = \"mx\" address = {\"127.0.0.2:25\"}\n"
		"	proxy_from = {\"10.0.0.2\"} }\n"
		"relay { trusted_networks = {\"10.0.0.0/8\"} }\n"
		"domain \"stays.example\" { deliver = \"mx\" }\n";
	struct config *old_config, *new_config;
	struct buf found;

	enter();
	buf_init(&found, 1 << 16);
	old_config = load_good(before);
	new_config = load_good(after);
	config_diff_relay(old_config, new_config, on_difference, &found);
	ck_assert_str_eq(buf_text(&found),
			 "domain.gone.example.aliases:  -> -\n"
			 "domain.gone.example.delimiter: + -> -\n"
			 "domain.gone.example.deliver: discard -> -\n"
			 "domain.gone.example.recipients:  -> -\n"
			 "domain.gone.example.subdomains: false -> -\n"
			 "domain.stays.example.deliver: discard -> mx\n"
			 "listener.mx.proxy_from: {\"10.0.0.1\"} -> "
			 "{\"10.0.0.2\"}\n"
			 "relay.sender_binding: any -> domain\n"
			 "relay.trusted_networks: {} -> {\"10.0.0.0/8\"}\n");
	buf_clear(&found);
	config_diff_relay(new_config, new_config, on_difference, &found);
	ck_assert_uint_eq(buf_len(&found), 0);
	buf_done(&found);
	config_unref(old_config);
	config_unref(new_config);
	leave();
}
END_TEST

UNIT_MAIN(
	"config", tcase_add_loop_test(tc, an_error_comes_with_its_file_and_line,
				      0, (int)COUNT(wrong));
	tcase_add_test(tc,
		       a_demand_for_policies_that_cannot_be_read_is_an_error);
	tcase_add_test(tc, loops_of_aliases_are_found);
	tcase_add_test(tc, includes_that_include_themselves_end);
	tcase_add_test(tc, all_errors_come_at_once);
	tcase_add_test(tc, a_file_that_is_not_there_is_an_error_of_its_name);
	tcase_add_test(tc, a_minimal_configuration_has_the_documented_defaults);
	tcase_add_test(tc, what_is_written_is_what_is_used);
	tcase_add_test(tc, every_section_can_be_written_in_every_way);
	tcase_add_test(tc, variables_are_replaced_in_titles_and_includes_too);
	tcase_add_test(tc, variables_are_replaced_in_double_quotes);
	tcase_add_test(
		tc,
		includes_and_paths_are_relative_to_the_file_that_names_them);
	tcase_add_test(tc, entries_say_where_values_come_from_and_hide_secrets);
	tcase_add_test(tc, a_second_load_says_the_same_and_survives_bad_files);
	tcase_add_test(tc, the_policy_is_the_configuration);
	tcase_add_loop_test(tc, what_works_and_is_doubtful_is_a_warning, 0,
			    (int)COUNT(doubtful));
	tcase_add_test(tc, loopback_networks_and_good_files_are_no_doubt);
	tcase_add_test(tc, the_sample_loads);
	tcase_add_test(tc, the_manual_tells_every_name_and_its_default);
	tcase_add_test(tc, what_changes_about_relaying_is_found);
	tcase_add_test(
		tc, own_rules_come_first_and_own_texts_lie_over_those_built_in);
	tcase_add_loop_test(
		tc, a_bad_file_of_rules_or_texts_is_refused_with_its_line, 0,
		(int)COUNT(bad_reports));
	tcase_add_test(tc, a_language_with_gaps_loads_with_a_warning);
	tcase_add_test(tc, no_text_is_too_strange_to_be_refused);)
