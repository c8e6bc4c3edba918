/* SPDX-License-Identifier: ISC */
#include "server/smtpd_internal.h"

#include <pwd.h>
#include <stdlib.h>

#include "auth/auth_server.h"
#include "lib/mem.h"
#include "lib/net/stream.h"

static void
session_log_auth(struct smtpd_session *s, bool is_ok, const char *login,
		 const char *reason)
{
	struct log_line line;

	session_log(s, &line, is_ok ? LOG_LEVEL_INFO : LOG_LEVEL_WARN, "auth");
	log_text(&line, "result", is_ok ? "ok" : "failed");
	if (!is_ok)
		log_text(&line, "user", login);
	log_bool(&line, "tls", s->is_esmtps);
	log_text(&line, "reason", reason);
	log_end(&line);
}

static void
on_auth(void *owner, const struct auth_answer *answer)
{
	static const enum smtpd_auth_result results[] = {
		[AUTH_CHALLENGE] = SMTPD_AUTH_CHALLENGE,
		[AUTH_OK] = SMTPD_AUTH_OK,
		[AUTH_DENIED] = SMTPD_AUTH_DENIED,
		[AUTH_BAD_DATA] = SMTPD_AUTH_BAD_DATA,
		[AUTH_TEMPORARY] = SMTPD_AUTH_TEMPORARY,
	};
	struct smtpd_session *s = owner;
	struct smtpd_env env;
	enum smtpd_effect effect;

	s->wait = WAIT_NONE;
	if (answer->result == AUTH_OK) {
		s->login = mem_strdup(answer->login);
		s->smtpd->stats.logins++;
	} else if (answer->result == AUTH_DENIED) {
		s->smtpd->stats.failed_logins++;
	}
	if (answer->result != AUTH_CHALLENGE)
		session_log_auth(s, answer->result == AUTH_OK, answer->login,
				 answer->reason);
	session_env(s, &env);
	effect = smtpd_proto_auth(&s->proto, &env, results[answer->result],
				  answer->challenge, &s->smtpd->reply);
	if (answer->result != AUTH_CHALLENGE) {
		auth_free(s->exchange);
		s->exchange = NULL;
	}
	if (effect == SMTPD_DO_CLOSE) {
		session_finish(s, "too many failed logins");
		return;
	}
	session_pump(s);
}

void
session_begin_auth(struct smtpd_session *s, const struct smtp_auth *auth)
{
	uint8_t binding[AUTH_BINDING_MAX];
	struct auth_start start = {
		.mechanism = str_of(auth->mechanism),
		.has_initial = auth->has_initial,
		.initial = auth->initial,
		.is_secure =
			s->is_esmtps || s->config->auth.plaintext_without_tls,
		.client = s->ip,
	};

	start.binding_len =
		stream_channel_binding(s->stream, binding, sizeof(binding),
				       &start.binding_type);
	if (start.binding_len != 0)
		start.binding = binding;
	stream_local(s->stream, &start.local, &start.local_port);
	s->wait = WAIT_AUTH;
	s->exchange = auth_begin(s->smtpd->auth, &start, on_auth, s);
}

/* RFC 4954 does not know this: the kernel says who is on the other side. */
void
session_login_by_uid(struct smtpd_session *s)
{
	int64_t uid = stream_peer_uid(s->stream);
	struct passwd entry, *found = NULL;
	char room[1024];

	if (uid < 0)
		return;
	if (getpwuid_r((uid_t)uid, &entry, room, sizeof(room), &found) == 0 &&
	    found != NULL)
		s->login = mem_printf("unix:%s", found->pw_name);
	else
		s->login = mem_printf("unix:%lld", (long long)uid);
	s->proto.is_authenticated = true;
}
