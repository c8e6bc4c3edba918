/* SPDX-License-Identifier: ISC */
#include "auth/auth_server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sasl/sasl.h>
#include <sasl/saslplug.h>

#include "auth/auth_server_internal.h"
#include "auth/sasl.h"
#include "lib/mem.h"

#define AUTH_OPTIONS_MAX 64
#define AUTH_PLUGIN	 "ostler"

/* libsasl2 keeps its options per process, so there is one of these. Written
 * before the first worker runs, read only afterwards. */
static struct {
	char *names[AUTH_OPTIONS_MAX];
	char *values[AUTH_OPTIONS_MAX];
	size_t count;
} options;

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

bool
auth_server_has_user(const struct auth_server *server, const char *name)
{
	sasl_conn_t *conn = NULL;
	int rc;

	rc = sasl_server_new("smtp", server->hostname, server->realm, NULL,
			     NULL, NULL, 0, &conn);
	is_without_decoy = true;
	if (rc == SASL_OK)
		rc = sasl_user_exists(conn, "smtp", server->realm, name);
	is_without_decoy = false;
	sasl_dispose(&conn);
	return rc == SASL_OK;
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

int
auth_server_set_security(sasl_conn_t *conn, bool is_secure)
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
		rc = auth_server_set_security(conn, is_secure);
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

void
auth_server_unref(struct auth_server *server)
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
		auth_server_unref(server);
}

const char *
auth_server_mechanisms(const struct auth_server *server, unsigned offer)
{
	return server->offers[offer % AUTH_OFFERS];
}
