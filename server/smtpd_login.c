/* SPDX-License-Identifier: ISC */
#include "server/smtpd_internal.h"

#include <pwd.h>
#include <stdlib.h>

#include "auth/auth_server.h"
#include "auth/throttle.h"
#include "lib/clock.h"
#include "lib/mem.h"
#include "lib/net/stream.h"
#include "lib/str.h"
#include "lib/work.h"
#include "server/client_logins.h"

static void
session_log_auth(struct smtpd_session *s, bool is_ok, const char *login,
		 const char *reason)
{
	struct log_line line;

	session_log(s, &line, is_ok ? LOG_LEVEL_INFO : LOG_LEVEL_WARN, "auth");
	log_text(&line, "result", is_ok ? "ok" : "failed");
	if (!is_ok)
		log_text(&line, "user", login);
	log_text(&line, "mechanism", s->mechanism);
	log_bool(&line, "tls", s->is_esmtps);
	log_text(&line, "reason", reason);
	log_end(&line);
}

/* Says what the failure led to, for people and for programs like fail2ban. */
static void
session_log_throttle(struct smtpd_session *s, const char *login,
		     const struct throttle_answer *answer)
{
	struct log_line line;

	if (answer->lock_ms != 0) {
		session_log(s, &line, LOG_LEVEL_WARN, "auth");
		log_text(&line, "result", "locked");
		log_number(&line, "failures", (int64_t)answer->failures);
		log_number(&line, "seconds", (int64_t)(answer->lock_ms / 1000));
		log_end(&line);
	}
	if (answer->addresses != 0) {
		session_log(s, &line, LOG_LEVEL_WARN, "auth");
		log_text(&line, "result", "attacked");
		log_text(&line, "user", login);
		log_number(&line, "addresses", (int64_t)answer->addresses);
		log_text(&line, "reason",
			 "this login fails from many addresses; its right "
			 "password still works");
		log_end(&line);
	}
}

/* Sends the 535, and ends the session when it was one too many. */
static void
session_deny(struct smtpd_session *s)
{
	struct smtpd_env env;
	enum smtpd_effect effect;

	session_env(s, &env);
	effect = smtpd_proto_auth(&s->proto, &env, SMTPD_AUTH_DENIED, NULL,
				  &s->smtpd->reply);
	s->wait = WAIT_NONE;
	if (effect == SMTPD_DO_CLOSE)
		session_finish(s, "too many failed logins");
	else
		session_pump(s);
}

void
session_auth_late(struct smtpd_session *s)
{
	session_deny(s);
}

/* The reply waits, so that guessing takes time; nothing else does. */
static void
session_auth_failed(struct smtpd_session *s, const char *login)
{
	struct throttle_answer throttled;

	s->smtpd->stats.failed_logins++;
	throttle_failed(s->smtpd->throttle, &s->ip, login,
			s->smtpd->config->limits.auth_lock_ms, clock_boot_ms(),
			&throttled);
	session_log_throttle(s, login, &throttled);
	auth_free(s->exchange); /* the answer's login goes with it */
	s->exchange = NULL;
	if (throttled.delay_ms == 0) {
		session_deny(s);
		return;
	}
	session_wait(s, WAIT_DELAY, throttled.delay_ms);
	session_pump(s);
}

/* SCRAM reads the password at its first step: who waits with the last one
 * would get in by one that is no more. */
static const struct auth_answer changed = {
	.result = AUTH_TEMPORARY,
	.reason = "a login was changed meanwhile",
};

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

	if (answer->result == AUTH_OK && s->is_exchange_old)
		answer = &changed;
	s->wait = WAIT_NONE;
	if (answer->result == AUTH_OK) {
		s->login = mem_strdup(answer->login);
		s->smtpd->stats.logins++;
		throttle_succeeded(s->smtpd->throttle, &s->ip, s->login);
	}
	if (answer->result != AUTH_CHALLENGE)
		session_log_auth(s, answer->result == AUTH_OK, answer->login,
				 answer->reason);
	if (answer->result == AUTH_DENIED) {
		session_auth_failed(s, answer->login);
		return;
	}
	session_env(s, &env);
	effect = smtpd_proto_auth(&s->proto, &env, results[answer->result],
				  answer->challenge, &s->smtpd->reply);
	if (answer->result != AUTH_CHALLENGE) {
		auth_free(s->exchange);
		s->exchange = NULL;
	}
	session_resume(s, effect);
}

static enum smtpd_effect
session_refuse_auth(struct smtpd_session *s, const struct smtpd_env *env,
		    uint64_t locked_ms, struct buf *out)
{
	struct status refusal;
	struct log_line line;

	smtpd_say_locked(locked_ms, &refusal);
	session_log(s, &line, LOG_LEVEL_INFO, "auth");
	log_text(&line, "result", "refused");
	log_number(&line, "code", refusal.code);
	log_text(&line, "reason", "the address is locked");
	log_end(&line);
	return smtpd_proto_auth_refused(&s->proto, env, &refusal, out);
}

/* What tls.client_logins says of the names; NULL: there is no such list. */
static const char *const *
listed_logins(const struct config *config, const char *const *names,
	      const char *to[AUTH_NAMES_MAX])
{
	if (config->tls.logins == NULL)
		return NULL;
	for (size_t i = 0; i < AUTH_NAMES_MAX && names[i] != NULL; i++)
		to[i] = client_logins_find(config->tls.logins, names[i]);
	return to;
}

enum smtpd_effect
session_begin_auth(struct smtpd_session *s, const struct smtpd_env *env,
		   const struct smtp_auth *auth, struct buf *out)
{
	uint8_t binding[AUTH_BINDING_MAX];
	const char *logins[AUTH_NAMES_MAX];
	struct stream_tls_info tls;
	struct auth_start start = {
		.mechanism = str_of(auth->mechanism),
		.has_initial = auth->has_initial,
		.initial = auth->initial,
		.is_secure =
			s->is_esmtps || s->config->auth.plaintext_without_tls,
		.client = s->ip,
	};
	uint64_t locked_ms =
		throttle_locked_ms(s->smtpd->throttle, &s->ip,
				   s->smtpd->config->limits.auth_lock_ms,
				   clock_boot_ms());

	if (locked_ms != 0)
		return session_refuse_auth(s, env, locked_ms, out);
	start.binding_len =
		stream_channel_binding(s->stream, binding, sizeof(binding),
				       &start.binding_type);
	if (start.binding_len != 0)
		start.binding = binding;
	if (s->has_certificate && stream_tls_info(s->stream, &tls)) {
		start.names = tls.names;
		start.logins = listed_logins(s->config, tls.names, logins);
	}
	stream_local(s->stream, &start.local, &start.local_port);
	(void)str_copy(s->mechanism, sizeof(s->mechanism), start.mechanism);
	s->wait = WAIT_AUTH;
	s->is_exchange_old = false;
	s->exchange = auth_begin(s->smtpd->auth, &start, on_auth, s);
	return SMTPD_DO_NOTHING;
}

/* --------------------------------------------------------- a unix peer */

/* Names come from files or, by NSS, over the network: in a worker, and few at
 * a time, so that a slow directory holds up only who asks for it. */
#define PEER_NAME_MS	  10000
#define PEER_NAME_WORKERS 2

struct peer_name {
	struct work_job job;
	struct smtpd_session *session; /* the loop's alone */
	uid_t uid;
	char name[256]; /* "": it has none */
};

static struct work_lane peer_names;
static bool has_peer_names;

static void
peer_name_run(struct work_job *job)
{
	struct peer_name *peer = container_of(job, struct peer_name, job);
	struct passwd entry, *found = NULL;
	char room[4096];

	if (getpwuid_r(peer->uid, &entry, room, sizeof(room), &found) == 0 &&
	    found != NULL)
		(void)str_copy(peer->name, sizeof(peer->name),
			       str_of(found->pw_name));
}

static void
session_named(struct smtpd_session *s, uid_t uid, const char *name)
{
	if (name[0] != '\0')
		s->login = mem_printf("unix:%s", name);
	else
		s->login = mem_printf("unix:%lld", (long long)uid);
	s->proto.is_authenticated = true;
	session_begin(s);
}

static void
peer_name_done(struct work_job *job)
{
	struct peer_name *peer = container_of(job, struct peer_name, job);

	peer->session->peer_name = NULL;
	session_named(peer->session, peer->uid, peer->name);
}

static void
peer_name_free(struct work_job *job)
{
	free(container_of(job, struct peer_name, job));
}

/* RFC 4954 does not know this: the kernel says who is on the other side. */
bool
session_login_by_uid(struct smtpd_session *s)
{
	int64_t uid = stream_peer_uid(s->stream);
	struct peer_name *peer;

	if (uid < 0)
		return false;
	peer = mem_zalloc(sizeof(*peer));
	if (!has_peer_names)
		work_lane_init(&peer_names, PEER_NAME_WORKERS);
	has_peer_names = true;
	peer->session = s;
	peer->uid = (uid_t)uid;
	peer->job.run = peer_name_run;
	peer->job.done = peer_name_done;
	peer->job.free_job = peer_name_free;
	s->peer_name = peer;
	session_wait(s, WAIT_NAME, PEER_NAME_MS);
	work_start(s->smtpd->loop, &peer->job, &peer_names);
	return true;
}

void
session_name_late(struct smtpd_session *s)
{
	uid_t uid = s->peer_name->uid;

	peer_name_cancel(s->peer_name);
	s->peer_name = NULL;
	session_named(s, uid, "");
}

void
peer_name_cancel(struct peer_name *peer)
{
	if (peer != NULL)
		work_detach(&peer->job);
}
