/* SPDX-License-Identifier: ISC */
/*
 * The client's side of AUTH: the secret is read from its file, or a token is
 * had from its command, for each login; then auth/auth_client knows what to
 * say, in a worker.
 */
#include "queue/deliver/connection_internal.h"

#include <stdlib.h>

#include "auth/auth_client.h"
#include "queue/deliver/secret.h"
#include "queue/deliver/smtp_caps.h"
#include "queue/deliver/token.h"

void
connection_stop_login(struct connection *connection)
{
	if (connection->secret != NULL)
		secret_cancel(connection->secret);
	connection->secret = NULL;
	if (connection->token != NULL)
		tokens_cancel(connection->token);
	connection->token = NULL;
	auth_client_free(connection->auth);
	connection->auth = NULL;
}

static void
on_answer(void *owner, const struct auth_client_answer *answer)
{
	struct connection *connection = owner;
	bool is_first =
		smtp_client_want(connection->client) == CLIENT_WANTS_LOGIN;

	connection->state = CONNECTION_TALKING;
	switch (answer->result) {
	case AUTH_CLIENT_SEND:
		if (is_first)
			smtp_client_login(connection->client, answer->mechanism,
					  answer->data);
		else
			smtp_client_login_step(connection->client,
					       answer->data != NULL
						       ? answer->data
						       : "");
		break;
	case AUTH_CLIENT_FAILED:
		smtp_client_fail(connection->client,
				 is_first ? CAUSE_AUTH_NOT_OFFERED
					  : CAUSE_AUTH_FAILED,
				 "login as '%s': %s", connection->user,
				 answer->reason != NULL ? answer->reason
							: "failed");
		break;
	}
	connection_go_on(connection);
}

static void
connection_begin_auth(struct connection *connection, const char *password,
		      const char *token)
{
	struct auth_client_start start = {
		.offered = smtp_client_caps(connection->client)->mechanisms,
		.mechanisms = connection->mechanisms,
		.user = connection->user,
		.password = password,
		.token = token,
		.port = connection->key.port,
		.host = connection->key.host,
		/* nobody listens between us and this very host */
		.is_secure = connection->is_secured ||
			     connection->key.ip.family == IP_NONE ||
			     ip_is_loopback(&connection->key.ip),
	};

	connection->auth = auth_client_begin(connection->loop, &start,
					     on_answer, connection);
}

static void
on_secret(void *owner, const char *secret, const struct err *err)
{
	struct connection *connection = owner;

	connection->secret = NULL;
	if (secret != NULL) {
		connection_begin_auth(connection, secret, NULL);
		return;
	}
	connection->state = CONNECTION_TALKING;
	smtp_client_fail(connection->client, CAUSE_CONFIGURATION, "%s",
			 err->text);
	connection_go_on(connection);
}

static void
on_token(void *owner, const char *token, bool is_cached, const char *why)
{
	struct connection *connection = owner;

	connection->token = NULL;
	connection->has_old_token = is_cached;
	if (token != NULL) {
		connection_begin_auth(connection, NULL, token);
		return;
	}
	connection->state = CONNECTION_TALKING;
	smtp_client_fail(connection->client, CAUSE_CONFIGURATION, "%s", why);
	connection_go_on(connection);
}

void
connection_login(struct connection *connection)
{
	connection->state = CONNECTION_LOGIN;
	stream_set_deadline(connection->stream, 0); /* our turn */
	if (connection->token_command != NULL)
		connection->token = tokens_get(connection->tokens,
					       connection->token_command,
					       on_token, connection);
	else if (connection->password_file != NULL)
		connection->secret = secret_read_file(connection->loop,
						      connection->password_file,
						      on_secret, connection);
	else
		connection_begin_auth(connection, "", NULL);
}

void
connection_login_step(struct connection *connection)
{
	struct str challenge =
		str_of(smtp_client_challenge(connection->client));

	connection->state = CONNECTION_LOGIN;
	stream_set_deadline(connection->stream, 0); /* our turn */
	auth_client_step(connection->auth, challenge);
}

bool
connection_check_login(struct connection *connection)
{
	bool is_complete;

	if (!smtp_client_is_logged_in(connection->client) ||
	    connection->auth == NULL)
		return true;
	is_complete = auth_client_is_complete(connection->auth);
	connection_stop_login(connection);
	if (!is_complete)
		smtp_client_fail(connection->client, CAUSE_AUTH_FAILED,
				 "the server accepted the login of '%s' "
				 "without proving that it knows the password",
				 connection->user);
	return is_complete;
}
