/* SPDX-License-Identifier: ISC */
#include "auth/auth_server.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <sasl/sasl.h>
#include <sasl/saslplug.h>

#include "auth/sasl.h"
#include "lib/mem.h"
#include "lib/work.h"

#define AUTH_NAME_MAX	 512 /* twice what `user add` takes */
#define AUTH_OPTIONS_MAX 64
#define AUTH_MECHS_MAX	 256
#define AUTH_REASON_MAX	 256
#define AUTH_OFFERS	 8
#define AUTH_EXTERNAL	 "EXTERNAL"
#define AUTH_PLUGIN	 "ostler"

/* libsasl2 keeps its options per process, so there is one of these. Written
 * before the first worker runs, read only afterwards. */
static struct {
	char *names[AUTH_OPTIONS_MAX];
	char *values[AUTH_OPTIONS_MAX];
	size_t count;
} options;

struct auth_server {
	unsigned refs; /* its owner, and the exchanges; loop thread */
	uv_loop_t *loop;
	struct work_lane lane;
	char *hostname, *realm, *database;
	bool has_database; /* passwords come from sasldb, not from a daemon */
	/* by enum auth_offer; bound implies secure */
	char offers[AUTH_OFFERS][AUTH_MECHS_MAX];
};

struct auth_exchange {
	unsigned refs; /* its owner, and the step that runs; loop thread */
	struct auth_server *server;
	auth_fn *on_answer; /* NULL: the owner has gone */
	void *owner;
	bool is_running, is_begun;

	/* copies for the worker */
	char mechanism[SASL_MECHNAMEMAX + 1];
	bool is_secure, has_input;
	char *input; /* base64; may be a password */
	char local[IP_TEXT_MAX + 8], remote[IP_TEXT_MAX + 8];
	uint8_t binding_data[AUTH_BINDING_MAX];
	bool is_external; /* by the names, without libsasl2 */
	char *names[AUTH_NAMES_MAX];
	char *logins[AUTH_NAMES_MAX]; /* of the names; NULL: not listed */
	bool is_listed;		      /* an operator's list made the logins */
	size_t name_count;

	/* the worker's */
	bool has_name; /* the message that has one was there */
	sasl_conn_t *conn;
	sasl_callback_t callbacks[2];
	sasl_channel_binding_t binding; /* len 0: none */

	/* what the worker found */
	enum auth_result result;
	char *challenge, *login;
	char reason[AUTH_REASON_MAX];
};

/* --------------------------------------------------------------- options */

static void
options_add(const char *name, const char *value)
{
	for (size_t i = 0; i < options.count; i++) {
		if (strcmp(options.names[i], name) != 0)
			continue;
		free(options.values[i]);
		options.values[i] = mem_strdup(value);
		return;
	}
	if (options.count == AUTH_OPTIONS_MAX)
		return;
	options.names[options.count] = mem_strdup(name);
	options.values[options.count] = mem_strdup(value);
	options.count++;
}

static const char *
options_find(const char *name)
{
	for (size_t i = 0; i < options.count; i++)
		if (strcmp(options.names[i], name) == 0)
			return options.values[i];
	return NULL;
}

static int
on_getopt(void *context, const char *plugin, const char *option,
	  const char **result, unsigned *len)
{
	const char *value = options_find(option);

	(void)context;
	(void)plugin;
	if (value == NULL)
		return SASL_FAIL;
	*result = value;
	if (len != NULL)
		*len = (unsigned)strlen(value);
	return SASL_OK;
}

static int
on_log_nothing(void *context, int level, const char *message)
{
	(void)context;
	(void)level;
	(void)message;
	return SASL_OK;
}

/* What libsasl2 says while an exchange runs: the last error is the reason. */
static int
on_log(void *context, int level, const char *message)
{
	struct auth_exchange *exchange = context;

	if (exchange != NULL && message != NULL && level <= SASL_LOG_WARN &&
	    level != SASL_LOG_NONE)
		(void)str_copy(exchange->reason, sizeof(exchange->reason),
			       str_of(message));
	return SASL_OK;
}

/* One step in a worker. */
struct auth_job {
	struct work_job job;
	struct auth_exchange *exchange; /* shares */
};

/* ------------------------------------------------------- unknown logins */

/* A worker that only asks whether there is such a login wants the truth. */
static _Thread_local bool is_without_decoy;

/*
 * A lookup plugin that stands behind sasldb: a login that nobody has gets a
 * password that nobody knows, made anew each time. The exchange then takes
 * the same steps and the same time as with a wrong password, in every
 * mechanism, and fails at the same point.
 */
static int
decoy_lookup(void *context, sasl_server_params_t *params, unsigned flags,
	     const char *user, unsigned len)
{
	static const char name[] = "*" SASL_AUX_PASSWORD_PROP;
	const struct propval *wanted = params->utils->prop_get(params->propctx);
	unsigned char secret[32];
	bool is_asked = false, has_password = false;

	(void)context;
	(void)user;
	(void)len;
	(void)flags;
	for (; wanted != NULL && wanted->name != NULL; wanted++) {
		if (strcmp(wanted->name, SASL_AUX_PASSWORD_PROP) != 0 &&
		    strcmp(wanted->name, name) != 0)
			continue;
		is_asked = true;
		if (wanted->values != NULL && wanted->values[0] != NULL)
			has_password = true;
	}
	if (!is_asked || has_password)
		return SASL_OK;
	if (is_without_decoy)
		return SASL_NOUSER;
	if (getentropy(secret, sizeof(secret)) < 0)
		return SASL_FAIL;
	for (size_t i = 0; i < sizeof(secret); i++)
		secret[i] = (unsigned char)('A' + secret[i] % 26);
	wanted = params->utils->prop_get(params->propctx);
	for (; wanted != NULL && wanted->name != NULL; wanted++)
		if (strcmp(wanted->name, SASL_AUX_PASSWORD_PROP) == 0 ||
		    strcmp(wanted->name, name) == 0)
			(void)params->utils->prop_set(params->propctx,
						      wanted->name,
						      (const char *)secret,
						      sizeof(secret));
	return SASL_OK;
}

static sasl_auxprop_plug_t decoy = {
	.name = (char *)AUTH_PLUGIN,
	.auxprop_lookup = decoy_lookup,
};

static int
decoy_init(const sasl_utils_t *utils, int max_version, int *out_version,
	   sasl_auxprop_plug_t **plug, const char *name)
{
	(void)utils;
	(void)name;
	if (max_version < SASL_AUXPROP_PLUG_VERSION)
		return SASL_BADVERS;
	*out_version = SASL_AUXPROP_PLUG_VERSION;
	*plug = &decoy;
	return SASL_OK;
}

/* ------------------------------------------------------------------ open */

static void
server_set_options(const struct auth_server_opts *opts)
{
	char mechanisms[AUTH_MECHS_MAX] = "";
	size_t len = 0;

	for (size_t i = 0; opts->mechanisms[i] != NULL; i++) {
		int n = snprintf(mechanisms + len, sizeof(mechanisms) - len,
				 "%s%s", len != 0 ? " " : "",
				 opts->mechanisms[i]);

		if (n < 0 || (size_t)n >= sizeof(mechanisms) - len)
			break;
		len += (size_t)n;
	}
	options_add("mech_list", mechanisms);
	options_add("pwcheck_method", "auxprop");
	options_add("auxprop_plugin", "sasldb " AUTH_PLUGIN);
	options_add("sasldb_path", opts->database);
	options_add("log_level", "3");
	for (size_t i = 0; opts->options != NULL && opts->options[i] != NULL;
	     i++) {
		struct str rest = str_of(opts->options[i]), name;
		char *key, *value;

		if (!str_cut(&rest, '=', &name))
			continue;
		name = str_trim(name);
		rest = str_trim(rest);
		key = mem_dup(name.at, name.len);
		value = mem_dup(rest.at, rest.len);
		options_add(key, value);
		free(key);
		free(value);
	}
}

/* Security properties of a connection: no mechanism layer (TLS does that),
 * nobody anonymous, plain text only when nobody can listen. */
static int
server_set_security(sasl_conn_t *conn, bool is_secure)
{
	sasl_security_properties_t props = {0};
	sasl_ssf_t ssf = is_secure ? 128 : 0;

	props.max_ssf = 0;
	props.maxbufsize = 0;
	props.security_flags = SASL_SEC_NOANONYMOUS;
	if (!is_secure)
		props.security_flags |= SASL_SEC_NOPLAINTEXT;
	if (sasl_setprop(conn, SASL_SSF_EXTERNAL, &ssf) != SASL_OK)
		return SASL_FAIL;
	return sasl_setprop(conn, SASL_SEC_PROPS, &props);
}

/* Adds "NAME" or "NAME-PLUS" to the list at to when libsasl2's has it. */
static void
server_list_add(const char *list, const char *wanted, const char *suffix,
		char to[AUTH_MECHS_MAX])
{
	struct str rest = str_of(list), one;
	char name[SASL_MECHNAMEMAX + 8];
	size_t len = strlen(to);

	(void)snprintf(name, sizeof(name), "%s%s", wanted, suffix);
	while (str_cut(&rest, ' ', &one)) {
		if (!str_is_nocase(one, name))
			continue;
		if (len + strlen(name) + 2 <= AUTH_MECHS_MAX)
			(void)snprintf(to + len, AUTH_MECHS_MAX - len, "%s%s",
				       len != 0 ? " " : "", name);
		return;
	}
}

/* What a connection can be bound to, so that the -PLUS forms are listed. */
static const sasl_channel_binding_t any_binding = {
	.name = "tls-exporter",
	.len = 1,
	.data = (const unsigned char *)"x",
};

/* The wanted mechanisms, in the order wanted, that libsasl2 has here. */
static int
server_list(struct auth_server *server, const struct auth_server_opts *opts,
	    unsigned offer, char to[AUTH_MECHS_MAX], struct err *err)
{
	bool is_bound = (offer & AUTH_OFFER_BOUND) != 0;
	bool is_secure = is_bound || (offer & AUTH_OFFER_SECURE) != 0;
	const char *list = "";
	sasl_conn_t *conn = NULL;
	int rc;

	rc = sasl_server_new("smtp", server->hostname, server->realm, NULL,
			     NULL, NULL, 0, &conn);
	if (rc == SASL_OK)
		rc = server_set_security(conn, is_secure);
	if (rc == SASL_OK && is_bound)
		rc = sasl_setprop(conn, SASL_CHANNEL_BINDING, &any_binding);
	if (rc != SASL_OK) {
		sasl_dispose(&conn);
		return err_text(err, -EINVAL, "libsasl2: %s",
				sasl_errstring(rc, NULL, NULL));
	}
	/* none at all is an answer too */
	if (sasl_listmech(conn, NULL, "", " ", "", &list, NULL, NULL) !=
	    SASL_OK)
		list = "";
	/* first: a client that has a certificate for this will not be asked
	 * for a password */
	(void)str_copy(to, AUTH_MECHS_MAX,
		       str_of((offer & AUTH_OFFER_EXTERNAL) != 0 ? AUTH_EXTERNAL
								 : ""));
	for (size_t i = 0; opts->mechanisms[i] != NULL; i++) {
		server_list_add(list, opts->mechanisms[i], "-PLUS", to);
		server_list_add(list, opts->mechanisms[i], "", to);
	}
	sasl_dispose(&conn);
	return 0;
}

static int
server_init_library(struct err *err)
{
	static const sasl_callback_t callbacks[] = {
		{SASL_CB_GETOPT, (sasl_callback_fn *)(void *)on_getopt, NULL},
		{SASL_CB_GETCONFPATH,
		 (sasl_callback_fn *)(void *)auth_sasl_no_path, NULL},
		{SASL_CB_LOG, (sasl_callback_fn *)(void *)on_log_nothing, NULL},
		{SASL_CB_LIST_END, NULL, NULL},
	};
	int rc;

	auth_sasl_prepare();
	rc = sasl_server_init(callbacks, "ostler");
	if (rc == SASL_OK)
		rc = sasl_auxprop_add_plugin(AUTH_PLUGIN, decoy_init);
	if (rc != SASL_OK)
		return err_text(err, -EINVAL, "libsasl2: %s",
				sasl_errstring(rc, NULL, NULL));
	return 0;
}

int
auth_server_open(uv_loop_t *loop, const struct auth_server_opts *opts,
		 struct auth_server **out, struct err *err)
{
	struct auth_server *server;
	const char *pwcheck;
	int rc;

	server_set_options(opts);
	rc = server_init_library(err);
	if (rc < 0)
		return rc;
	server = mem_zalloc(sizeof(*server));
	server->refs = 1;
	server->loop = loop;
	work_lane_init(&server->lane, WORK_THREADS / 2);
	server->hostname = mem_strdup(opts->hostname);
	server->realm = mem_strdup(opts->realm);
	server->database = mem_strdup(opts->database);
	pwcheck = options_find("pwcheck_method");
	server->has_database =
		pwcheck != NULL && strncmp(pwcheck, "auxprop", 7) == 0;
	for (unsigned offer = 0; rc == 0 && offer < AUTH_OFFERS; offer++)
		rc = server_list(server, opts, offer, server->offers[offer],
				 err);
	if (rc < 0) {
		auth_server_close(server);
		return rc;
	}
	*out = server;
	return 0;
}

/* The last one out: libsasl2 takes the code of its plugins with it. */
static void
server_unref(struct auth_server *server)
{
	if (--server->refs != 0)
		return;
	free(server->hostname);
	free(server->realm);
	free(server->database);
	free(server);
	sasl_server_done();
	for (size_t i = 0; i < options.count; i++) {
		free(options.names[i]);
		free(options.values[i]);
	}
	options.count = 0;
}

void
auth_server_close(struct auth_server *server)
{
	if (server != NULL)
		server_unref(server);
}

const char *
auth_server_mechanisms(const struct auth_server *server, unsigned offer)
{
	return server->offers[offer % AUTH_OFFERS];
}

/* ------------------------------------------------------------- exchanges */

static int
exchange_open(struct auth_exchange *exchange)
{
	const struct auth_server *server = exchange->server;
	int rc;

	exchange->callbacks[0] =
		(sasl_callback_t){SASL_CB_LOG,
				  (sasl_callback_fn *)(void *)on_log, exchange};
	exchange->callbacks[1] =
		(sasl_callback_t){SASL_CB_LIST_END, NULL, NULL};
	rc = sasl_server_new("smtp", server->hostname, server->realm,
			     exchange->local[0] != '\0' ? exchange->local
							: NULL,
			     exchange->remote[0] != '\0' ? exchange->remote
							 : NULL,
			     exchange->callbacks, 0, &exchange->conn);
	if (rc == SASL_OK)
		rc = server_set_security(exchange->conn, exchange->is_secure);
	/* not critical: who cannot bind may still log in without */
	if (rc == SASL_OK && exchange->binding.len != 0)
		rc = sasl_setprop(exchange->conn, SASL_CHANNEL_BINDING,
				  &exchange->binding);
	return rc;
}

/* A login is the NAME in the database: libsasl2 puts the realm behind it. */
static char *
exchange_login(const struct auth_exchange *exchange)
{
	const void *user = NULL;
	struct str name;
	char *suffix;

	if (sasl_getprop(exchange->conn, SASL_USERNAME, &user) != SASL_OK ||
	    user == NULL)
		return NULL;
	name = str_of(user);
	suffix = mem_printf("@%s", exchange->server->realm);
	if (str_ends_nocase(name, str_of(suffix)))
		name.len -= strlen(suffix);
	free(suffix);
	return mem_dup(name.at, name.len);
}

static enum auth_result
exchange_result(int rc)
{
	switch (rc) {
	case SASL_OK:
		return AUTH_OK;
	case SASL_CONTINUE:
		return AUTH_CHALLENGE;
	case SASL_FAIL:
	case SASL_NOMEM:
	case SASL_TRYAGAIN:
	case SASL_UNAVAIL:
	case SASL_NOTINIT:
	case SASL_CONFIGERR:
		return AUTH_TEMPORARY;
	case SASL_BADPROT:
		return AUTH_BAD_DATA;
	default: /* wrong password, no such user, disabled, expired, ... */
		return AUTH_DENIED;
	}
}

/* An unreadable database must not look like wrong passwords. */
static bool
exchange_database_fails(struct auth_exchange *exchange)
{
	const struct auth_server *server = exchange->server;

	if (!server->has_database || access(server->database, R_OK) == 0 ||
	    errno == ENOENT)
		return false;
	(void)snprintf(exchange->reason, sizeof(exchange->reason),
		       "login database '%.180s': %s", server->database,
		       strerror(errno));
	return true;
}

/* What programs of this machine are called, whom the kernel names: they may
 * send as more than a login, and nobody becomes one by a password. */
static bool
is_local_peer(const char *login)
{
	return str_starts_nocase(str_of(login), "unix:");
}

/* message = [authzid] NUL authcid NUL passwd   RFC 4616, 2 */
static bool
plain_has_bad_name(struct str text)
{
	size_t authzid = strnlen(text.at, text.len), rest;

	if (authzid == text.len)
		return false; /* malformed: the plugin says so */
	rest = text.len - authzid - 1;
	return authzid > AUTH_NAME_MAX ||
	       strnlen(text.at + authzid + 1, rest) > AUTH_NAME_MAX;
}

/* n=name,r=nonce behind n,a=authzid,   RFC 5802, 7; no part is ever long */
static bool
scram_has_bad_name(struct str text)
{
	struct str part;

	while (str_cut(&text, ',', &part))
		if (part.len > AUTH_NAME_MAX)
			return true;
	return false;
}

/*
 * A name that nobody has, in the first message that has names. The plugins of
 * libsasl2 forget to free the message, password and all, when the library does
 * not take the name: a stranger could fill the memory with it.
 */
static bool
exchange_has_bad_name(struct auth_exchange *exchange, struct str text)
{
	const char *mechanism = exchange->mechanism;

	if (exchange->has_name)
		return false;
	exchange->has_name = true;
	if (strcasecmp(mechanism, "LOGIN") == 0)
		return text.len == 0 || text.len > AUTH_NAME_MAX;
	if (strcasecmp(mechanism, "PLAIN") == 0)
		return plain_has_bad_name(text);
	return str_starts_nocase(str_of(mechanism), "SCRAM-") &&
	       scram_has_bad_name(text);
}

static void
exchange_step(struct auth_exchange *exchange, const char *input, unsigned len)
{
	const char *output = NULL;
	unsigned output_len = 0;
	int rc = SASL_OK;

	if (input != NULL &&
	    exchange_has_bad_name(exchange, str_from(input, len))) {
		exchange->result = AUTH_DENIED;
		(void)str_copy(exchange->reason, sizeof(exchange->reason),
			       str_of("no login has such a name"));
		return;
	}
	if (!exchange->is_begun) {
		exchange->is_begun = true;
		rc = exchange_open(exchange);
		if (rc == SASL_OK)
			rc = sasl_server_start(exchange->conn,
					       exchange->mechanism, input, len,
					       &output, &output_len);
	} else {
		rc = sasl_server_step(exchange->conn, input, len, &output,
				      &output_len);
	}
	exchange->result = exchange_result(rc);
	if (exchange->result == AUTH_CHALLENGE)
		exchange->challenge = auth_encode64(output, output_len);
	if (exchange->result == AUTH_OK || exchange->result == AUTH_DENIED)
		exchange->login = exchange_login(exchange);
	if (exchange->result == AUTH_OK && exchange->login == NULL)
		exchange->result = AUTH_TEMPORARY;
	if (exchange->result == AUTH_OK && is_local_peer(exchange->login)) {
		exchange->result = AUTH_DENIED;
		(void)str_copy(exchange->reason, sizeof(exchange->reason),
			       str_of("a login cannot begin with \"unix:\""));
	}
	if (exchange->result == AUTH_TEMPORARY &&
	    exchange->server->has_database)
		(void)snprintf(exchange->reason, sizeof(exchange->reason),
			       "login database '%.180s': %s",
			       exchange->server->database,
			       sasl_errstring(rc, NULL, NULL));
	if (exchange->result != AUTH_OK && exchange->result != AUTH_CHALLENGE &&
	    exchange->reason[0] == '\0')
		(void)str_copy(exchange->reason, sizeof(exchange->reason),
			       str_of(sasl_errstring(rc, NULL, NULL)));
}

/* --------------------------------------------------------------- EXTERNAL */

/* A login that `ostlerctl user` knows? */
static bool
exchange_has_login(const struct auth_exchange *exchange, const char *name)
{
	const struct auth_server *server = exchange->server;
	char *suffix = mem_printf("@%s", server->realm);
	bool has_realm = str_ends_nocase(str_of(name), str_of(suffix));
	sasl_conn_t *conn = NULL;
	int rc;

	free(suffix);
	if (is_local_peer(name))
		return false;
	/* a daemon for passwords cannot say who there is, and an authority
	 * signs for more purposes than this: the operator has to */
	if (!server->has_database)
		return exchange->is_listed;
	if (has_realm)
		return false; /* another spelling of somebody's login */
	rc = sasl_server_new("smtp", server->hostname, server->realm, NULL,
			     NULL, NULL, 0, &conn);
	is_without_decoy = true;
	if (rc == SASL_OK)
		rc = sasl_user_exists(conn, "smtp", server->realm, name);
	is_without_decoy = false;
	sasl_dispose(&conn);
	return rc == SASL_OK;
}

static enum auth_result
exchange_deny(struct auth_exchange *exchange, const char *name,
	      const char *reason)
{
	exchange->login = mem_strdup(name);
	(void)str_copy(exchange->reason, sizeof(exchange->reason),
		       str_of(reason));
	return AUTH_DENIED;
}

/*
 * initial-response = *( UTF8-char-no-nul )   RFC 4422, appendix A
 *
 * "" is the identity of the certificate; a name in it asks to be that one.
 */
static enum auth_result
exchange_external(struct auth_exchange *exchange, struct str wanted)
{
	for (size_t i = 0; i < exchange->name_count; i++) {
		const char *login = exchange->logins[i];

		if (login == NULL ||
		    (wanted.len != 0 && !str_is(wanted, login)))
			continue;
		if (exchange_has_login(exchange, login)) {
			exchange->login = mem_strdup(login);
			return AUTH_OK;
		}
		if (wanted.len != 0)
			return exchange_deny(exchange, login,
					     "no such login here");
	}
	if (wanted.len != 0)
		return exchange_deny(exchange, exchange->names[0],
				     "asked for another name than those in "
				     "the certificate");
	return exchange_deny(exchange, exchange->names[0],
			     "no name in the certificate is a login here");
}

static void
exchange_step_external(struct auth_exchange *exchange, const char *input,
		       unsigned len)
{
	if (exchange->name_count == 0) {
		exchange->result = AUTH_DENIED;
	} else if (input == NULL) {
		exchange->challenge = mem_strdup("");
		exchange->result = AUTH_CHALLENGE;
	} else {
		exchange->result =
			exchange_external(exchange, str_from(input, len));
	}
}

/* ------------------------------------------------------------------ steps */

static void
exchange_run(struct work_job *job)
{
	struct auth_exchange *exchange =
		container_of(job, struct auth_job, job)->exchange;
	char *bytes = NULL;
	unsigned len = 0;

	free(exchange->challenge);
	exchange->challenge = NULL;
	exchange->reason[0] = '\0';
	if (exchange_database_fails(exchange)) {
		exchange->result = AUTH_TEMPORARY;
		return;
	}
	if (exchange->has_input) {
		bytes = auth_decode64(str_of(exchange->input), &len);
		if (bytes == NULL) {
			exchange->result = AUTH_BAD_DATA;
			(void)str_copy(exchange->reason,
				       sizeof(exchange->reason),
				       str_of("not base64"));
			return;
		}
	}
	if (exchange->is_external)
		exchange_step_external(exchange, bytes, len);
	else
		exchange_step(exchange, bytes, len);
	if (bytes != NULL)
		mem_wipe(bytes, len);
	free(bytes);
}

static void
exchange_done(struct work_job *job)
{
	struct auth_exchange *exchange =
		container_of(job, struct auth_job, job)->exchange;
	struct auth_answer answer = {
		.result = exchange->result,
		.challenge =
			exchange->challenge != NULL ? exchange->challenge : "",
		.login = exchange->login,
		.reason = exchange->reason[0] != '\0' ? exchange->reason : NULL,
	};

	exchange->is_running = false;
	if (exchange->on_answer != NULL)
		exchange->on_answer(exchange->owner, &answer);
}

static void
exchange_unref(struct auth_exchange *exchange)
{
	if (--exchange->refs != 0)
		return;
	if (exchange->conn != NULL)
		sasl_dispose(&exchange->conn);
	mem_free_secret(exchange->input);
	free(exchange->challenge);
	free(exchange->login);
	for (size_t i = 0; i < exchange->name_count; i++) {
		free(exchange->names[i]);
		free(exchange->logins[i]);
	}
	server_unref(exchange->server);
	free(exchange);
}

static void
exchange_free_job(struct work_job *job)
{
	struct auth_job *step = container_of(job, struct auth_job, job);

	exchange_unref(step->exchange);
	free(step);
}

static void
exchange_start(struct auth_exchange *exchange)
{
	struct auth_job *step = mem_zalloc(sizeof(*step));

	exchange->refs++;
	exchange->is_running = true;
	step->exchange = exchange;
	step->job.run = exchange_run;
	step->job.done = exchange_done;
	step->job.free_job = exchange_free_job;
	work_start(exchange->server->loop, &step->job, &exchange->server->lane);
}

/* libsasl2's spelling: "192.0.2.1;25" */
static void
exchange_address(const struct ip *ip, uint16_t port, char *to, size_t size)
{
	char text[IP_TEXT_MAX];

	if (ip->family != IP_NONE && port != 0)
		(void)snprintf(to, size, "%s;%u", ip_format(ip, text), port);
}

/* Where -PLUS is not announced, a client that can bind says so and means that
 * we cannot (RFC 5802, section 6: "y"); libsasl2 refuses that if it can. */
static void
exchange_bind(struct auth_exchange *exchange, const struct auth_start *start)
{
	if (start->binding == NULL || start->binding_len > AUTH_BINDING_MAX ||
	    strcmp(exchange->server->offers[AUTH_OFFER_BOUND],
		   exchange->server->offers[AUTH_OFFER_SECURE]) == 0)
		return;
	memcpy(exchange->binding_data, start->binding, start->binding_len);
	exchange->binding = (sasl_channel_binding_t){
		.name = start->binding_type,
		.len = start->binding_len,
		.data = exchange->binding_data,
	};
}

static void
exchange_take_names(struct auth_exchange *exchange,
		    const struct auth_start *start)
{
	const char *const *names = start->names;

	exchange->is_listed = start->logins != NULL;
	for (size_t i = 0;
	     names != NULL && i < AUTH_NAMES_MAX && names[i] != NULL; i++) {
		const char *login =
			start->logins != NULL ? start->logins[i] : names[i];

		exchange->names[i] = mem_strdup(names[i]);
		if (login != NULL)
			exchange->logins[i] = mem_strdup(login);
		exchange->name_count++;
	}
}

struct auth_exchange *
auth_begin(struct auth_server *server, const struct auth_start *start,
	   auth_fn *on_answer, void *owner)
{
	struct auth_exchange *exchange = mem_zalloc(sizeof(*exchange));

	exchange->refs = 1;
	exchange->server = server;
	server->refs++;
	exchange->on_answer = on_answer;
	exchange->owner = owner;
	(void)str_copy(exchange->mechanism, sizeof(exchange->mechanism),
		       start->mechanism);
	exchange->is_secure = start->is_secure;
	exchange->has_input = start->has_initial;
	exchange_bind(exchange, start);
	exchange->is_external = str_is_nocase(start->mechanism, AUTH_EXTERNAL);
	exchange_take_names(exchange, start);
	if (start->has_initial)
		exchange->input = str_is(start->initial, "=")
					  ? mem_strdup("")
					  : mem_dup(start->initial.at,
						    start->initial.len);
	exchange_address(&start->local, start->local_port, exchange->local,
			 sizeof(exchange->local));
	exchange_address(&start->client, start->client_port, exchange->remote,
			 sizeof(exchange->remote));
	exchange_start(exchange);
	return exchange;
}

void
auth_step(struct auth_exchange *exchange, struct str answer)
{
	assert(!exchange->is_running);
	mem_free_secret(exchange->input);
	exchange->input = mem_dup(answer.at, answer.len);
	exchange->has_input = true;
	exchange_start(exchange);
}

void
auth_free(struct auth_exchange *exchange)
{
	if (exchange == NULL)
		return;
	exchange->on_answer = NULL;
	exchange_unref(exchange);
}
