/* SPDX-License-Identifier: ISC */
/*
 * One login. The owner's calls and answers are on the loop thread, each step
 * is a job of a worker; while one runs, the exchange is the worker's.
 */
#include "auth/auth_server.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <sasl/sasl.h>

#include "auth/auth_server_internal.h"
#include "auth/sasl.h"
#include "lib/mem.h"

#define AUTH_NAME_MAX	512 /* twice what `user add` takes */
#define AUTH_REASON_MAX 256

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

/* One step in a worker. */
struct auth_job {
	struct work_job job;
	struct auth_exchange *exchange; /* shares */
};

/* What programs of this machine are called, whom the kernel names: they may
 * send as more than a login, and nobody becomes one by a password. */
static bool
is_local_peer(const char *login)
{
	return str_starts_nocase(str_of(login), "unix:");
}

/* -------------------------------------------------------------- libsasl2 */

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
		rc = auth_server_set_security(exchange->conn,
					      exchange->is_secure);
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

/* message = [authzid] NUL authcid NUL passwd   RFC 4616, 2 */
static bool
plain_has_bad_name(struct str text)
{
	size_t authzid = strnlen(text.at, text.len), authcid, rest;

	if (authzid == text.len)
		return false; /* malformed: the plugin says so */
	rest = text.len - authzid - 1;
	authcid = strnlen(text.at + authzid + 1, rest);
	return authzid > AUTH_NAME_MAX || authcid > AUTH_NAME_MAX ||
	       (authcid == 0 && rest != 0);
}

/* n=name,r=nonce behind n,a=authzid,   RFC 5802, 7; no part is ever long, and
 * the name not empty */
static bool
scram_has_bad_name(struct str text)
{
	struct str part;

	while (str_cut(&text, ',', &part))
		if (part.len > AUTH_NAME_MAX || str_is(part, "n="))
			return true;
	return false;
}

/* Blanks alone are no name for the library; and by a slip of its own none is
 * what stands behind as many blanks as it has characters. */
static bool
login_has_bad_name(struct str text)
{
	static const char blanks[] = " \t\n\v\f\r";
	size_t front, len = strnlen(text.at, text.len);

	if (len != text.len || len > AUTH_NAME_MAX)
		return true;
	front = strspn(text.at, blanks); /* a NUL stands behind text */
	while (len > front && strchr(blanks, text.at[len - 1]) != NULL)
		len--;
	return len == front || len - front == front;
}

/*
 * A name that nobody has, in the first message that has names. The plugins of
 * libsasl2 forget to free the message, password and all, when the library does
 * not take the name: a stranger could fill the memory with it. For an empty
 * one they say what they say of a database that fails.
 */
static bool
exchange_has_bad_name(struct auth_exchange *exchange, struct str text)
{
	const char *mechanism = exchange->mechanism;

	if (exchange->has_name)
		return false;
	/* "AUTH LOGIN =": nothing yet, the plugin asks for the name */
	if (strcasecmp(mechanism, "LOGIN") == 0 && !exchange->is_begun &&
	    text.len == 0)
		return false;
	exchange->has_name = true;
	if (strcasecmp(mechanism, "LOGIN") == 0)
		return login_has_bad_name(text);
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

/* -------------------------------------------------------------- EXTERNAL */

/* Is that name of a certificate a login? */
static bool
exchange_has_login(const struct auth_exchange *exchange, const char *name)
{
	const struct auth_server *server = exchange->server;
	char *suffix = mem_printf("@%s", server->realm);
	bool has_realm = str_ends_nocase(str_of(name), str_of(suffix));

	free(suffix);
	if (is_local_peer(name))
		return false;
	/* a daemon for passwords cannot say who there is, and an authority
	 * signs for more purposes than this: the operator has to */
	if (!server->has_database)
		return exchange->is_listed;
	/* with the realm: another spelling of somebody's login */
	return !has_realm && auth_server_has_user(server, name);
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

/* ------------------------------------------------------------ the worker */

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
	auth_server_unref(exchange->server);
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

/* ---------------------------------------------------------------- owner */

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
