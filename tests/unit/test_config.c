/* SPDX-License-Identifier: ISC */
#include "tests/unit/config_world.h"

#include "server/config_diff.h"
#include "server/config_keys.h"

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

START_TEST(entries_say_which_tls_a_listener_has_that_tells_none)
{
	struct config *config;

	enter();
	config = load_good(
		H "listener \"u\" { role = submission address = unix:/s }\n"
		  "listener \"m\" { role = mx address = \"127.0.0.1:25\" }\n"
		  "listener \"b\" { role = mx\n"
		  " address = {\"unix:/b\", \"127.0.0.1:26\"} }\n");
	ck_assert_str_eq(entry(config, "listener.u.tls"), "none");
	ck_assert_ptr_null(entry_at(config, "listener.u.tls"));
	ck_assert_str_eq(entry(config, "listener.m.tls"), "starttls");
	ck_assert_str_eq(entry(config, "listener.b.tls"), "starttls");
	config_unref(config);
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

/* Built for another prefix the folders are others than the manual's. The
 * caller frees it. */
static char *
in_manual(struct str word)
{
	static const struct {
		const char *built, *told;
	} folders[] = {
		{OSTLER_RUNDIR "/", "/run/ostler/"},
		{OSTLER_SYSCONFDIR "/", "/etc/ostler/"},
		{OSTLER_LOCALSTATEDIR "/", "/var/"},
	};

	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		size_t len = strlen(folders[i].built);

		if (word.len >= len &&
		    memcmp(word.at, folders[i].built, len) == 0)
			return mem_printf("%s%.*s", folders[i].told,
					  (int)(word.len - len), word.at + len);
	}
	return mem_printf("%.*s", STR_ARG(word));
}

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
			char *told = in_manual(str_trim(word));

			is_told = strstr(text, told) != NULL;
			free(told);
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

/* ---------------------------------------------------------------- changes */

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

UNIT_MAIN("config",
	  tcase_add_test(tc,
			 a_minimal_configuration_has_the_documented_defaults);
	  tcase_add_test(tc, what_is_written_is_what_is_used);
	  tcase_add_test(tc, every_section_can_be_written_in_every_way);
	  tcase_add_test(tc, variables_are_replaced_in_double_quotes);
	  tcase_add_test(tc, variables_are_replaced_in_titles_and_includes_too);
	  tcase_add_test(
		  tc,
		  includes_and_paths_are_relative_to_the_file_that_names_them);
	  tcase_add_test(tc,
			 entries_say_where_values_come_from_and_hide_secrets);
	  tcase_add_test(tc,
			 entries_say_which_tls_a_listener_has_that_tells_none);
	  tcase_add_test(tc, the_policy_is_the_configuration);
	  tcase_add_loop_test(tc, what_works_and_is_doubtful_is_a_warning, 0,
			      (int)COUNT(doubtful));
	  tcase_add_test(tc, loopback_networks_and_good_files_are_no_doubt);
	  tcase_add_test(tc, the_sample_loads);
	  tcase_add_test(tc, the_manual_tells_every_name_and_its_default);
	  tcase_add_test(tc, what_changes_about_relaying_is_found);)
