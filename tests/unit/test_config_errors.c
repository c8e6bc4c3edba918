/* SPDX-License-Identifier: ISC */
#include "tests/unit/config_world.h"

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
	{H "domain \"a${OSTLER_NOT_SET}\" { deliver = \"maildir:/%u\" }\n",
	 "t.conf:2: the environment variable OSTLER_NOT_SET is not set (write "
	 "${OSTLER_NOT_SET:-default} if it need not be)\n"},
	{H "domain \"${a\" { deliver = \"maildir:/%u\" }\n",
	 "t.conf:2: \"${\" has no closing }\n"},
	{H "include(\"${OSTLER_NOT_SET}.conf\")\n",
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
	{H "listener \"a\" { role = \"mx\" address = \"127.0.0.1:25\"\n"
	   "proxy_from = {\"10.0.0.1/8\"} }\n",
	 "t.conf:3: proxy_from \"10.0.0.1/8\" is no network\n"},
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
	{H "relay { trusted_networks = {\"[::1]/128\"} }\n",
	 "t.conf:2: \"[::1]/128\" is no network: write it without "
	 "brackets\n"},
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
	 ":include: are no targets\n"
	 "bad:4: alias \"@x.org\": has no local part (among aliases \"*\" "
	 "stands for all the rest)\n"},
	{H "domain \"x.org\" { deliver = discard aliases = \"loop\" }\n", NULL},
	{H "domain \"x.org\" { deliver = \"maildir:/m/%u\" recipients = "
	   "\"folders\" }\n",
	 "folders:1: recipient \"a/b\": cannot name a folder\n"},
	{H "domain \"x.org\" { deliver = discard aliases = \"twice\" }\n",
	 "twice:1: a line that begins with a space goes on with an alias, but "
	 "there is none\n"
	 "twice:4: alias \"a b\": malformed local part\n"
	 "twice:7: alias \"*\" is there already\n"
	 "twice:3: alias \"a\" is there already\n"
	 "twice:5: alias \"c\" has no address\n"},
	{H "domain \"x.org\" { deliver = \"maildir:/m/%u\" recipients = "
	   "\"rcpt-ok\" aliases = \"strange\" }\n",
	 "strange:1: alias \"x\": <a/b@x.org> cannot name a folder\n"},
	{H "relay { sender_binding = \"maybe\" }\n",
	 "t.conf:2: sender_binding \"maybe\" is none of any, domain, login\n"},
	{H "relay { mx_points_here = \"maybe\" }\n",
	 "t.conf:2: mx_points_here \"maybe\" is none of defer, deny\n"},
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
	{H "route \"r\" { via = \"a.example\" user = \"u\" "
	   "password_file = \"/p\" }\n",
	 "t.conf:2: via \"a.example\" is none of mx, smtp:HOST:PORT, "
	 "smtps:HOST:PORT\n"},
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
	{H "route \"r\" { family = \"ipv5\" }\n",
	 "t.conf:2: family \"ipv5\" is none of any, ipv4, ipv6\n"},
	{H "route \"r\" { for = {} }\n",
	 "t.conf:2: route \"r\" is for no domain\n"},
	{H "route \"r\" { via = {} }\n",
	 "t.conf:2: route \"r\" has an empty via\n"},
	{H "route \"\" { }\n",
	 "t.conf:2: a route's name has 1 to 128 octets\n"},
	{H "route \"r\" { via = \"smtps:a:465\" token_command = \"x\" }\n",
	 "t.conf:2: token_command needs user\n"},
	{H "route \"r\" { via = \"smtps:a:465\" user = \"u\" token_command = "
	   "\"x\" password_file = \"/dev/null\" }\n",
	 "t.conf:2: password_file and token_command exclude each other\n"},
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
	put("bad", "no colon\na: b\nb: |/bin/sh\n@x.org: a\n");
	put("loop", "a: b\nb: c\nc: a\n");
	put("folders", "a/b\ncarl\n");
	put("rcpt-ok", "carl\n");
	put("twice", " bob@y.org\na: bob@y.org\na: eve@y.org\na b: x@y.org\n"
		     "c:\n*: y@y.org\n*: z@y.org\n");
	put("strange", "x: a/b\n");
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

START_TEST(the_name_of_a_file_begins_no_line_of_its_own)
{
	enter();
	put("a\nb.conf", "nonsense = 1\n");
	ck_assert_ptr_null(load(H "include(\"a\nb.conf\")\n"));
	ck_assert_msg(strncmp(buf_text(&errors), "a?b.conf:1: ", 12) == 0, "%s",
		      buf_text(&errors));
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

UNIT_MAIN("config_errors",
	  tcase_add_loop_test(tc, an_error_comes_with_its_file_and_line, 0,
			      (int)COUNT(wrong));
	  tcase_add_test(tc,
			 a_demand_for_policies_that_cannot_be_read_is_an_error);
	  tcase_add_test(tc, loops_of_aliases_are_found);
	  tcase_add_test(tc, the_name_of_a_file_begins_no_line_of_its_own);
	  tcase_add_test(tc, includes_that_include_themselves_end);
	  tcase_add_test(tc, all_errors_come_at_once);
	  tcase_add_test(tc, a_file_that_is_not_there_is_an_error_of_its_name);
	  tcase_add_test(tc,
			 a_second_load_says_the_same_and_survives_bad_files);
	  tcase_add_test(tc, no_text_is_too_strange_to_be_refused);)
