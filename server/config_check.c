/* SPDX-License-Identifier: ISC */
#include "server/config_check.h"

#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/ip.h"
#include "lib/net/https.h"
#include "lib/str.h"
#include "queue/deliver/token.h"
#include "server/config_listener.h"

static void
check_user(const struct config *config, const struct scan *scan,
	   struct config_report *report)
{
	if (config->user == NULL)
		return;
	if (strcmp(config->user, "root") == 0)
		config_warn(report, scan_place(scan, "", "user", 0),
			    "user = \"root\": ostlerd keeps all of root's "
			    "rights; a user of its own is safer");
	else if (geteuid() == 0 && getpwnam(config->user) == NULL)
		config_warn(report, scan_place(scan, "", "user", 0),
			    "user \"%s\" does not exist: ostlerd cannot be "
			    "started as root",
			    config->user);
}

static void
check_tls(const struct config *config, const struct scan *scan,
	  struct config_report *report)
{
	bool needs_one = false;

	if ((config->tls.certificate == NULL) != (config->tls.key == NULL))
		config_error(report, scan_place(scan, "tls", "certificate", 0),
			     "tls: certificate and key belong together");
	if ((config->tls.second_certificate == NULL) !=
		    (config->tls.second_key == NULL) ||
	    (config->tls.second_key != NULL && config->tls.key == NULL))
		config_error(report,
			     scan_place(scan, "tls", "second_certificate", 0),
			     "tls: second_certificate and second_key belong "
			     "together, and to a certificate");
	if (config->tls.client_crl != NULL && config->tls.client_ca == NULL)
		config_error(report, scan_place(scan, "tls", "client_crl", 0),
			     "tls: client_crl means nothing without client_ca");
	if (config->tls.client_logins != NULL && config->tls.client_ca == NULL)
		config_error(report,
			     scan_place(scan, "tls", "client_logins", 0),
			     "tls: client_logins means nothing without "
			     "client_ca");
	/* it can check a password, but not say who there is: else every name
	 * that the authority ever certified would be a login */
	if (config->tls.client_ca != NULL &&
	    config->tls.client_logins == NULL &&
	    config_password_program(config) != NULL)
		config_error(report, scan_place(scan, "tls", "client_ca", 0),
			     "tls.client_ca: passwords are checked by another "
			     "program (auth.options), so tls.client_logins "
			     "must list who logs in by certificate");
	for (size_t i = 0; i < config->listener_count; i++)
		needs_one |= config->listeners[i].tls != LISTENER_TLS_NONE &&
			     config->listeners[i].certificate == NULL;
	if (needs_one && config->tls.certificate == NULL &&
	    config->tls.key == NULL)
		config_warn(report, scan_place(scan, "tls", "certificate", 0),
			    "tls.certificate is not set: a certificate is "
			    "made, which no client can verify");
}

static bool
is_mechanism(struct str name)
{
	/* RFC 4422, section 3.1: 1 to 20 of A-Z 0-9 - _ */
	if (name.len == 0 || name.len > 20)
		return false;
	for (size_t i = 0; i < name.len; i++)
		if (!(name.at[i] >= 'A' && name.at[i] <= 'Z') &&
		    !(name.at[i] >= '0' && name.at[i] <= '9') &&
		    name.at[i] != '-' && name.at[i] != '_')
			return false;
	return true;
}

static void
check_auth(const struct config *config, const struct scan *scan,
	   struct config_report *report)
{
	char *const *mechanisms = config->auth.mechanisms;
	char *const *options = config->auth.options;

	for (size_t i = 0; mechanisms != NULL && mechanisms[i] != NULL; i++)
		if (!is_mechanism(str_of(mechanisms[i])))
			config_error(report,
				     scan_place(scan, "auth", "mechanisms", i),
				     "auth.mechanisms: \"%s\" is no mechanism "
				     "name",
				     mechanisms[i]);
	for (size_t i = 0; options != NULL && options[i] != NULL; i++)
		if (strchr(options[i], '=') == NULL || options[i][0] == '=')
			config_error(report,
				     scan_place(scan, "auth", "options", i),
				     "auth.options: \"%s\" is not "
				     "\"name=value\"",
				     options[i]);
	if (config->auth.plaintext_without_tls)
		config_warn(report,
			    scan_place(scan, "auth", "plaintext_without_tls",
				       0),
			    "auth.plaintext_without_tls: passwords may cross "
			    "the network in clear");
}

static void
check_queue(const struct config *config, const struct scan *scan,
	    struct config_report *report)
{
	if (config->queue.warn_s != 0 &&
	    config->queue.warn_s >= config->queue.expire_s)
		config_warn(report, scan_place(scan, "queue", "warn", 0),
			    "queue.warn is not before queue.expire: no delay "
			    "is ever reported");
	if (!config->queue.deliver)
		config_warn(report, scan_place(scan, "queue", "deliver", 0),
			    "queue.deliver = false: mail is accepted and kept, "
			    "nothing is delivered");
	/* RFC 5321, 4.5.3.1.8: at least 100 must be taken */
	if (config->limits.recipients != 0 && config->limits.recipients < 100)
		config_warn(report, scan_place(scan, "limits", "recipients", 0),
			    "limits.recipients is below 100, which every "
			    "client may expect");
}

void
config_check(const struct config *config, const struct scan *scan,
	     struct config_report *report)
{
	check_user(config, scan, report);
	check_tls(config, scan, report);
	check_auth(config, scan, report);
	check_queue(config, scan, report);
	if (config->control_socket != NULL &&
	    strlen(config->control_socket) > CONFIG_SOCKET_PATH_MAX)
		config_error(report, scan_place(scan, "", "control_socket", 0),
			     "control_socket has too long a path for a socket");
}

void
config_check_password_file(const struct builder_route *route,
			   struct config_report *report)
{
	const struct sourced *file = &route->password_file;
	struct stat st;

	if (file->text == NULL || file->text[0] == '\0')
		return;
	if (stat(file->text, &st) != 0)
		config_warn(report, file->at, "password_file \"%s\": %s",
			    file->text, strerror(errno));
	else if ((st.st_mode & S_IROTH) != 0)
		config_warn(report, file->at,
			    "password_file \"%s\" can be read by everybody",
			    file->text);
}

static bool
is_word(const struct sourced *value, const char *word)
{
	return value->text != NULL && strcmp(value->text, word) == 0;
}

/* Is this server of `resolver.servers` on this host? */
static bool
is_here(const char *server)
{
	struct str host = str_of(server);
	uint16_t port;
	struct ip ip;

	(void)ip_split_port(str_of(server), &host, &port);
	return ip_parse(host, &ip) && ip_is_loopback(&ip);
}

void
config_check_route(const struct config *config,
		   const struct builder_route *route,
		   struct config_report *report)
{
	const struct sourced *command = &route->token_command;
	char *const *servers = config->resolver.servers;
	struct err err = ERR_INIT;
	char **words;

	if (is_word(&route->tls, "sts") && https_check(&err) < 0)
		config_error(report, route->tls.at,
			     "tls = \"sts\": MTA-STS policies cannot be read: "
			     "%s",
			     err.text);
	for (size_t i = 0; is_word(&route->tls, "dane") && servers != NULL &&
			   servers[i] != NULL;
	     i++)
		if (!is_here(servers[i]))
			config_warn(report, route->tls.at,
				    "tls = \"dane\": the resolver %s is not on "
				    "this host, so its word on DNSSEC is not "
				    "taken, and mail of the route waits",
				    servers[i]);
	if (command->text == NULL || command->text[0] == '\0')
		return;
	words = token_words(command->text);
	if (words == NULL)
		config_error(report, command->at,
			     "token_command has no word, or a quote that is "
			     "not closed");
	free(words);
}
