/* SPDX-License-Identifier: ISC */
#include "auth/auth_client.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sasl/sasl.h>

#include "auth/sasl.h"
#include "lib/mem.h"
#include "lib/work.h"

#define CLIENT_MECHS_MAX 512

/* One step in a worker. */
struct client_job {
	struct work_job job;
	struct auth_client *client; /* shares */
};

struct auth_client {
	unsigned refs; /* its owner, and the step that runs; loop thread */
	uv_loop_t *loop;
	auth_client_fn *on_answer; /* NULL: the owner has gone */
	void *owner;
	bool is_begun, is_complete;

	/* copies for the worker */
	char mechanisms[CLIENT_MECHS_MAX];
	char *user, *token, *host;
	sasl_secret_t *password;
	uint16_t port;
	bool is_secure;
	char *challenge; /* base64 */

	/* the worker's */
	sasl_conn_t *conn;
	sasl_callback_t callbacks[5];
	bool is_bearer;	 /* XOAUTH2 or OAUTHBEARER, which need no library */
	bool is_rfc7628; /* the latter */

	/* what it found */
	enum auth_client_result result;
	char mechanism[SASL_MECHNAMEMAX + 1];
	char *data; /* base64, NULL: none */
	char reason[256];
};

/* ------------------------------------------------------------- callbacks */

static int
on_simple(void *context, int id, const char **result, unsigned *len)
{
	const struct auth_client *client = context;

	if (id != SASL_CB_USER && id != SASL_CB_AUTHNAME)
		return SASL_BADPARAM;
	/* no other identity than the one that logs in */
	*result = id == SASL_CB_AUTHNAME ? client->user : "";
	if (len != NULL)
		*len = (unsigned)strlen(*result);
	return SASL_OK;
}

static int
on_secret(sasl_conn_t *conn, void *context, int id, sasl_secret_t **secret)
{
	const struct auth_client *client = context;

	(void)conn;
	if (id != SASL_CB_PASS || client->password == NULL)
		return SASL_FAIL;
	*secret = client->password;
	return SASL_OK;
}

static int
on_log(void *context, int level, const char *message)
{
	struct auth_client *client = context;

	if (level <= SASL_LOG_WARN && level != SASL_LOG_NONE && message != NULL)
		(void)str_copy(client->reason, sizeof(client->reason),
			       str_of(message));
	return SASL_OK;
}

static pthread_once_t client_once = PTHREAD_ONCE_INIT;
static int client_init_result;

static void
client_init_library(void)
{
	static const sasl_callback_t callbacks[] = {
		{SASL_CB_GETCONFPATH,
		 (sasl_callback_fn *)(void *)auth_sasl_no_path, NULL},
		{SASL_CB_LIST_END, NULL, NULL},
	};

	client_init_result = sasl_client_init(callbacks);
}

/* ------------------------------------------------------------------ steps */

static void
client_fail(struct auth_client *client, const char *why)
{
	client->result = AUTH_CLIENT_FAILED;
	if (client->reason[0] == '\0')
		(void)str_copy(client->reason, sizeof(client->reason),
			       str_of(why));
}

static bool
client_allows(const char *mechanisms, const char *wanted)
{
	struct str rest = str_of(mechanisms), one;

	while (str_cut(&rest, ' ', &one))
		if (str_is_nocase(one, wanted))
			return true;
	return false;
}

/* saslname (RFC 5801, 4): what would end the name is written as =2C, =3D. */
static char *
gs2_name(const char *name)
{
	char *out = mem_alloc(strlen(name) * 3 + 1), *to = out;

	for (; *name != '\0'; name++) {
		if (*name != ',' && *name != '=') {
			*to++ = *name;
			continue;
		}
		memcpy(to, *name == ',' ? "=2C" : "=3D", 3);
		to += 3;
	}
	*to = '\0';
	return out;
}

/*
 * One message each, which libsasl2 has no plugin for where it is not built
 * with one: OAUTHBEARER by RFC 7628, 3.1; XOAUTH2 as Google and Microsoft
 * define it. A bearer token is a password: never without TLS.
 */
static void
client_start_bearer(struct auth_client *client)
{
	bool is_rfc7628 = client_allows(client->mechanisms, "OAUTHBEARER");
	char *text;

	if (!is_rfc7628 && !client_allows(client->mechanisms, "XOAUTH2")) {
		client_fail(client, "the server takes no token (OAUTHBEARER, "
				    "XOAUTH2)");
		return;
	}
	if (!client->is_secure) {
		client_fail(client, "a token is not sent without TLS");
		return;
	}
	if (is_rfc7628) {
		char *name = gs2_name(client->user);

		text = mem_printf(
			"n,a=%s,\001host=%s\001port=%u\001auth=Bearer "
			"%s\001\001",
			name, client->host, client->port, client->token);
		free(name);
	} else {
		text = mem_printf("user=%s\001auth=Bearer %s\001\001",
				  client->user, client->token);
	}
	client->is_bearer = true;
	client->is_rfc7628 = is_rfc7628;
	client->data = auth_encode64(text, (unsigned)strlen(text));
	mem_free_secret(text);
	(void)str_copy(client->mechanism, sizeof(client->mechanism),
		       str_of(is_rfc7628 ? "OAUTHBEARER" : "XOAUTH2"));
	client->result = AUTH_CLIENT_SEND;
	client->is_complete = true;
}

static int
client_open(struct auth_client *client)
{
	sasl_security_properties_t props = {0};
	sasl_ssf_t ssf = client->is_secure ? 128 : 0;
	int rc;

	(void)pthread_once(&client_once, client_init_library);
	if (client_init_result != SASL_OK)
		return client_init_result;
	client->callbacks[0] =
		(sasl_callback_t){SASL_CB_USER,
				  (sasl_callback_fn *)(void *)on_simple,
				  client};
	client->callbacks[1] =
		(sasl_callback_t){SASL_CB_AUTHNAME,
				  (sasl_callback_fn *)(void *)on_simple,
				  client};
	client->callbacks[2] =
		(sasl_callback_t){SASL_CB_PASS,
				  (sasl_callback_fn *)(void *)on_secret,
				  client};
	client->callbacks[3] =
		(sasl_callback_t){SASL_CB_LOG,
				  (sasl_callback_fn *)(void *)on_log, client};
	client->callbacks[4] = (sasl_callback_t){SASL_CB_LIST_END, NULL, NULL};
	rc = sasl_client_new("smtp", client->host, NULL, NULL,
			     client->callbacks, 0, &client->conn);
	if (rc != SASL_OK)
		return rc;
	props.security_flags = SASL_SEC_NOANONYMOUS;
	if (!client->is_secure)
		props.security_flags |= SASL_SEC_NOPLAINTEXT;
	rc = sasl_setprop(client->conn, SASL_SSF_EXTERNAL, &ssf);
	return rc == SASL_OK
		       ? sasl_setprop(client->conn, SASL_SEC_PROPS, &props)
		       : rc;
}

static void
client_take(struct auth_client *client, int rc, const char *out, unsigned len)
{
	if (rc != SASL_OK && rc != SASL_CONTINUE) {
		client_fail(client, client->conn != NULL
					    ? sasl_errdetail(client->conn)
					    : sasl_errstring(rc, NULL, NULL));
		return;
	}
	client->result = AUTH_CLIENT_SEND;
	client->is_complete = rc == SASL_OK;
	client->data = out != NULL ? auth_encode64(out, len) : NULL;
}

static void
client_start_sasl(struct auth_client *client)
{
	const char *out = NULL, *mechanism = NULL;
	unsigned len = 0;
	int rc = client_open(client);

	if (rc == SASL_OK)
		rc = sasl_client_start(client->conn, client->mechanisms, NULL,
				       &out, &len, &mechanism);
	if (rc == SASL_NOMECH) {
		client_fail(client, client->is_secure
					    ? "no login mechanism in common"
					    : "no login mechanism in common "
					      "that is safe without TLS");
		return;
	}
	if (mechanism != NULL)
		(void)str_copy(client->mechanism, sizeof(client->mechanism),
			       str_of(mechanism));
	client_take(client, rc, out, len);
}

static void
client_step(struct auth_client *client)
{
	const char *out = NULL;
	unsigned len = 0, out_len = 0;
	char *bytes;
	int rc;

	if (client->is_bearer) {
		/* the challenge is an error as JSON; this answer makes the
		 * server say its 535 (RFC 7628, 3.2.3: ^A) */
		client->data = mem_strdup(client->is_rfc7628 ? "AQ==" : "");
		client->result = AUTH_CLIENT_SEND;
		return;
	}
	bytes = auth_decode64(str_of(client->challenge), &len);
	if (bytes == NULL) {
		client_fail(client, "the server's challenge is not base64");
		return;
	}
	rc = sasl_client_step(client->conn, bytes, len, NULL, &out, &out_len);
	client_take(client, rc, out != NULL ? out : "", out_len);
	free(bytes);
}

static void
client_run(struct work_job *job)
{
	struct auth_client *client =
		container_of(job, struct client_job, job)->client;

	mem_free_secret(client->data);
	client->data = NULL;
	client->reason[0] = '\0';
	if (client->is_begun) {
		client_step(client);
		return;
	}
	client->is_begun = true;
	if (client->token != NULL)
		client_start_bearer(client);
	else
		client_start_sasl(client);
}

static void
client_done(struct work_job *job)
{
	struct auth_client *client =
		container_of(job, struct client_job, job)->client;
	struct auth_client_answer answer = {
		.result = client->result,
		.mechanism = client->mechanism,
		.data = client->data,
		.reason = client->reason[0] != '\0' ? client->reason : NULL,
	};

	if (client->on_answer != NULL)
		client->on_answer(client->owner, &answer);
}

static void
client_unref(struct auth_client *client)
{
	if (--client->refs != 0)
		return;
	if (client->conn != NULL)
		sasl_dispose(&client->conn);
	if (client->password != NULL)
		mem_wipe(client->password->data, client->password->len);
	free(client->password);
	mem_free_secret(client->token);
	mem_free_secret(client->data);
	free(client->user);
	free(client->host);
	free(client->challenge);
	free(client);
}

static void
client_free_job(struct work_job *job)
{
	struct client_job *step = container_of(job, struct client_job, job);

	client_unref(step->client);
	free(step);
}

static void
client_start(struct auth_client *client)
{
	struct client_job *step = mem_zalloc(sizeof(*step));

	client->refs++;
	step->client = client;
	step->job.run = client_run;
	step->job.done = client_done;
	step->job.free_job = client_free_job;
	work_start(client->loop, &step->job, NULL);
}

/* What the peer offers and the caller allows. */
static void
client_choose(struct auth_client *client, const struct auth_client_start *start)
{
	struct str rest = str_of(start->offered), one;
	size_t len = 0;

	while (str_cut(&rest, ' ', &one)) {
		bool is_allowed = start->mechanisms == NULL ||
				  start->mechanisms[0] == NULL;

		for (size_t i = 0; !is_allowed && start->mechanisms[i] != NULL;
		     i++)
			is_allowed = str_is_nocase(one, start->mechanisms[i]);
		if (!is_allowed || one.len == 0 ||
		    one.len + len + 2 > sizeof(client->mechanisms))
			continue;
		if (len != 0)
			client->mechanisms[len++] = ' ';
		memcpy(client->mechanisms + len, one.at, one.len);
		len += one.len;
	}
	client->mechanisms[len] = '\0';
}

struct auth_client *
auth_client_begin(uv_loop_t *loop, const struct auth_client_start *start,
		  auth_client_fn *on_answer, void *owner)
{
	struct auth_client *client = mem_zalloc(sizeof(*client));

	client->refs = 1;
	client->loop = loop;
	client->on_answer = on_answer;
	client->owner = owner;
	client->user = mem_strdup(start->user != NULL ? start->user : "");
	client->token = mem_strdup(start->token);
	client->host = mem_strdup(start->host);
	client->port = start->port;
	client->is_secure = start->is_secure;
	client_choose(client, start);
	if (start->password != NULL) {
		size_t len = strlen(start->password);

		client->password = mem_zalloc(sizeof(sasl_secret_t) + len + 1);
		client->password->len = len;
		memcpy(client->password->data, start->password, len);
	}
	client_start(client);
	return client;
}

void
auth_client_step(struct auth_client *client, struct str challenge)
{
	free(client->challenge);
	client->challenge = mem_dup(challenge.at, challenge.len);
	client_start(client);
}

bool
auth_client_is_complete(const struct auth_client *client)
{
	return client->is_complete;
}

void
auth_client_free(struct auth_client *client)
{
	if (client == NULL)
		return;
	client->on_answer = NULL;
	client_unref(client);
}
