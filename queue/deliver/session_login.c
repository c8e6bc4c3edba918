/* SPDX-License-Identifier: ISC */
/*
 * The client's side of AUTH: the secret is read from its file, or a token is
 * had from its command, for each login; then auth/auth_client knows what to
 * say, in a worker.
 */
#include "queue/deliver/session_internal.h"

#include <stdlib.h>

#include "auth/auth_client.h"
#include "queue/deliver/secret.h"
#include "queue/deliver/smtp_caps.h"
#include "queue/deliver/token.h"

void
session_stop_login(struct session *session)
{
	if (session->secret != NULL)
		secret_cancel(session->secret);
	session->secret = NULL;
	if (session->token != NULL)
		tokens_cancel(session->token);
	session->token = NULL;
	auth_client_free(session->auth);
	session->auth = NULL;
}

static void
on_answer(void *owner, const struct auth_client_answer *answer)
{
	struct session *session = owner;
	bool is_first = smtp_client_want(session->client) == CLIENT_WANTS_LOGIN;

	session->state = SESSION_TALKING;
	switch (answer->result) {
	case AUTH_CLIENT_SEND:
		if (is_first)
			smtp_client_login(session->client, answer->mechanism,
					  answer->data);
		else
			smtp_client_login_step(session->client,
					       answer->data != NULL
						       ? answer->data
						       : "");
		break;
	case AUTH_CLIENT_FAILED:
		smtp_client_fail(session->client,
				 is_first ? CAUSE_AUTH_NOT_OFFERED
					  : CAUSE_AUTH_FAILED,
				 "login as '%s': %s", session->user,
				 answer->reason != NULL ? answer->reason
							: "failed");
		break;
	}
	session_go_on(session);
}

static void
session_begin_auth(struct session *session, const char *password,
		   const char *token)
{
	struct auth_client_start start = {
		.offered = smtp_client_caps(session->client)->mechanisms,
		.mechanisms = session->mechanisms,
		.user = session->user,
		.password = password,
		.token = token,
		.port = session->key.port,
		.host = session->key.host,
		/* nobody listens between us and this very host */
		.is_secure = session->is_secured ||
			     session->key.ip.family == IP_NONE ||
			     ip_is_loopback(&session->key.ip),
	};

	session->auth =
		auth_client_begin(session->loop, &start, on_answer, session);
}

static void
on_secret(void *owner, const char *secret, const struct err *err)
{
	struct session *session = owner;

	session->secret = NULL;
	if (secret != NULL) {
		session_begin_auth(session, secret, NULL);
		return;
	}
	session->state = SESSION_TALKING;
	smtp_client_fail(session->client, CAUSE_CONFIGURATION, "%s", err->text);
	session_go_on(session);
}

static void
on_token(void *owner, const char *token, bool is_cached, const char *why)
{
	struct session *session = owner;

	session->token = NULL;
	session->has_old_token = is_cached;
	if (token != NULL) {
		session_begin_auth(session, NULL, token);
		return;
	}
	session->state = SESSION_TALKING;
	smtp_client_fail(session->client, CAUSE_CONFIGURATION, "%s", why);
	session_go_on(session);
}

void
session_login(struct session *session)
{
	session->state = SESSION_LOGIN;
	stream_set_deadline(session->stream, 0); /* our turn */
	if (session->token_command != NULL)
		session->token =
			tokens_get(session->tokens, session->token_command,
				   on_token, session);
	else if (session->password_file != NULL)
		session->secret =
			secret_read_file(session->loop, session->password_file,
					 on_secret, session);
	else
		session_begin_auth(session, "", NULL);
}

void
session_login_step(struct session *session)
{
	struct str challenge = str_of(smtp_client_challenge(session->client));

	session->state = SESSION_LOGIN;
	stream_set_deadline(session->stream, 0); /* our turn */
	auth_client_step(session->auth, challenge);
}

bool
session_check_login(struct session *session)
{
	bool is_complete;

	if (!smtp_client_is_logged_in(session->client) || session->auth == NULL)
		return true;
	is_complete = auth_client_is_complete(session->auth);
	session_stop_login(session);
	if (!is_complete)
		smtp_client_fail(session->client, CAUSE_AUTH_FAILED,
				 "the server accepted the login of '%s' "
				 "without proving that it knows the password",
				 session->user);
	return is_complete;
}
