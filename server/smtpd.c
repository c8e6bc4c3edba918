/* SPDX-License-Identifier: ISC */
#include "server/smtpd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/throttle.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "lib/net/stream.h"
#include "lib/random.h"
#include "lib/status.h"
#include "lib/str.h"
#include "lib/units.h"
#include "policy/caps.h"
#include "policy/policy.h"
#include "queue/queue.h"
#include "server/config.h"
#include "server/points_here.h"
#include "server/smtpd_session.h"

/* Replies to one burst of pipelined commands; flushed long before. */
#define SMTPD_REPLY_MAX (256u << 10)

/* A client with open connections: an IPv4 address, or an IPv6 /64. */
struct smtpd_client {
	struct smtpd_client *next; /* in its slot */
	struct ip ip;		   /* of the block the first */
	unsigned connections;
};

/* -------------------------------------------------------------- clients */

static size_t
smtpd_client_slot(const struct smtpd *smtpd, const struct ip *ip)
{
	uint64_t hash = hash_bytes(&smtpd->seed, ip->bytes, sizeof(ip->bytes));

	return (size_t)(hash % smtpd->client_slots);
}

static void
smtpd_clients_resize(struct smtpd *smtpd, size_t slots)
{
	struct smtpd_client **old = smtpd->clients;
	size_t old_slots = smtpd->client_slots;

	smtpd->clients = mem_zalloc(slots * sizeof(struct smtpd_client *));
	smtpd->client_slots = slots;
	for (size_t i = 0; i < old_slots; i++) {
		while (old[i] != NULL) {
			struct smtpd_client *client = old[i];
			size_t slot = smtpd_client_slot(smtpd, &client->ip);

			old[i] = client->next;
			client->next = smtpd->clients[slot];
			smtpd->clients[slot] = client;
		}
	}
	free(old);
}

/* The entry of an address, one connection more; made when missing. Bounded
 * by the number of open connections. */
static struct smtpd_client *
smtpd_client_come(struct smtpd *smtpd, const struct ip *ip)
{
	struct ip block = ip_block(ip); /* or one host fills every place */
	struct smtpd_client *client;
	size_t slot = smtpd_client_slot(smtpd, &block);

	for (client = smtpd->clients[slot]; client != NULL;
	     client = client->next) {
		if (ip_equal(&client->ip, &block)) {
			client->connections++;
			return client;
		}
	}
	client = mem_zalloc(sizeof(*client));
	client->ip = block;
	client->connections = 1;
	client->next = smtpd->clients[slot];
	smtpd->clients[slot] = client;
	if (++smtpd->client_count > smtpd->client_slots)
		smtpd_clients_resize(smtpd, smtpd->client_slots * 2);
	return client;
}

void
smtpd_client_gone(struct smtpd *smtpd, struct smtpd_client *client)
{
	struct smtpd_client **at;

	if (--client->connections != 0)
		return;
	at = &smtpd->clients[smtpd_client_slot(smtpd, &client->ip)];
	while (*at != client)
		at = &(*at)->next;
	*at = client->next;
	smtpd->client_count--;
	free(client);
}

static bool
smtpd_client_is_over(const struct smtpd *smtpd,
		     const struct smtpd_client *client)
{
	return client->ip.family != IP_NONE &&
	       client->connections >
		       smtpd->config->limits.connections_per_client;
}

bool
smtpd_client_change(struct smtpd *smtpd, struct smtpd_client **client,
		    const struct ip *ip)
{
	smtpd_client_gone(smtpd, *client);
	*client = smtpd_client_come(smtpd, ip);
	if (!smtpd_client_is_over(smtpd, *client))
		return true;
	smtpd->stats.refused++;
	return false;
}

/* ----------------------------------------------------------- connections */

static void
on_no_event(void *owner, enum stream_event event)
{
	(void)owner; /* the stream is not started, or being closed */
	(void)event;
}

/* One line to a client that gets no session; the socket's buffer is empty,
 * so it does not block and nothing is kept. Nor is the connection, which a
 * client that does not close it would hold for seconds: those over the cap
 * would use up the descriptors that the cap is there to save. */
static void
smtpd_refuse(struct smtpd *smtpd, struct stream *stream, const struct ip *ip,
	     const char *listener, const char *why, bool is_tls)
{
	char text[IP_TEXT_MAX];
	struct log_line line;

	smtpd->stats.refused++;
	log_begin(&line, LOG_LEVEL_WARN, "reject");
	log_text(&line, "listener", listener);
	log_text(&line, "client", ip_format(ip, text));
	log_text(&line, "rule", "connections");
	log_number(&line, "code", 421);
	log_text(&line, "reply", why);
	log_end(&line);
	if (!is_tls) {
		char reply[512];
		size_t len = (size_t)snprintf(reply, sizeof(reply),
					      "421 4.7.0 %s %s\r\n",
					      smtpd->config->hostname, why);

		(void)stream_write(stream, reply, len);
	}
	stream_abort(stream);
}

/* ----------------------------------------------------------------- places */

bool
smtpd_is_stranger(const struct smtpd *smtpd,
		  const struct listener_config *listener, const struct ip *ip)
{
	const struct policy_facts facts = {.role = listener->role,
					   .client = *ip};

	return listener->role == POLICY_MX && ip->family != IP_NONE &&
	       policy_is_stranger(smtpd->config->policy, &facts);
}

/* Places that strangers leave to those whose own relay this is: a quarter,
 * where there can be any such. */
static uint64_t
smtpd_reserve(const struct config *config)
{
	bool has_friends = policy_has_trusted(config->policy);

	for (size_t i = 0; i < config->listener_count; i++)
		has_friends |= config->listeners[i].role != POLICY_MX;
	return has_friends ? config->limits.connections / 4 : 0;
}

static bool
smtpd_is_full(const struct smtpd *smtpd, bool is_stranger)
{
	const struct config *config = smtpd->config;
	uint64_t most = config->limits.connections;

	return smtpd->stats.sessions >= most ||
	       (is_stranger &&
		smtpd->stats.strangers >= most - smtpd_reserve(config));
}

/* A place for another: the one is sent away that has kept us waiting longest,
 * and has neither logged in nor begun to send. Strangers make room for all,
 * others not for strangers. */
static void
smtpd_make_room(struct smtpd *smtpd, bool is_stranger)
{
	uint64_t longest_ms = smtpd->config->limits.command_timeout_ms / 30;
	struct smtpd_session *idlest = NULL;
	struct list *node;

	list_each (node, &smtpd->sessions) {
		struct smtpd_session *session = session_from_link(node);
		uint64_t idle_ms = session_idle_ms(session);

		if (idle_ms <= longest_ms ||
		    (is_stranger && !session_is_stranger(session)))
			continue;
		longest_ms = idle_ms;
		idlest = session;
	}
	if (idlest != NULL)
		session_make_room(idlest);
}

bool
smtpd_has_place_for_last(struct smtpd *smtpd)
{
	const struct config *config = smtpd->config;
	uint64_t most = config->limits.connections - smtpd_reserve(config);

	if (smtpd->stats.strangers > most)
		smtpd_make_room(smtpd, true);
	if (smtpd->stats.strangers <= most)
		return true;
	smtpd->stats.refused++;
	return false;
}

static bool
smtpd_find_listener(const struct config *config, const char *name, size_t *out)
{
	for (size_t i = 0; name != NULL && i < config->listener_count; i++) {
		if (strcmp(config->listeners[i].name, name) == 0) {
			*out = i;
			return true;
		}
	}
	return false;
}

void
smtpd_accept(void *arg, const char *listener_name, uv_stream_t *handle)
{
	struct smtpd *smtpd = arg;
	const struct config *config = smtpd->config;
	struct smtpd_client *client;
	struct stream *stream;
	struct ip ip;
	size_t listener;
	bool is_tls, is_stranger, is_proxy;

	if (stream_accept(handle, on_no_event, NULL, &stream) < 0)
		return; /* it went away */
	if (!smtpd_find_listener(config, listener_name, &listener)) {
		stream_abort(stream);
		return;
	}
	stream_peer(stream, &ip, NULL);
	if (handle->type == UV_TCP && ip.family == IP_NONE) {
		/* it is gone again, and has no address to be judged by: it
		 * must not pass for a peer on a unix socket */
		stream_abort(stream);
		return;
	}
	is_tls = config->listeners[listener].tls == LISTENER_TLS_IMPLICIT;
	/* a proxy's clients are counted when it has named them */
	is_proxy = cidr_find(config->listeners[listener].proxy_from,
			     config->listeners[listener].proxy_from_count,
			     &ip) != NULL;
	is_stranger =
		!is_proxy &&
		smtpd_is_stranger(smtpd, &config->listeners[listener], &ip);
	smtpd->stats.connections++;
	if (smtpd_is_full(smtpd, is_stranger))
		smtpd_make_room(smtpd, is_stranger);
	if (smtpd_is_full(smtpd, is_stranger)) {
		smtpd_refuse(smtpd, stream, &ip, listener_name,
			     "Too many connections, try again later", is_tls);
		return;
	}
	client = smtpd_client_come(smtpd, &ip);
	if (smtpd_client_is_over(smtpd, client) && !is_proxy) {
		smtpd_client_gone(smtpd, client);
		smtpd_refuse(smtpd, stream, &ip, listener_name,
			     "Too many connections from your address", is_tls);
		return;
	}
	session_open(smtpd, listener, client, stream);
}

/* ----------------------------------------------------------------- state */

bool
smtpd_can_accept(const struct smtpd *smtpd, struct status *refusal)
{
	const char *hostname = smtpd->config->hostname;

	if (smtpd->is_draining) {
		status_set(refusal, 421, "4.3.2", "%s is shutting down",
			   hostname);
		return false;
	}
	switch (queue_accepting(smtpd->queue)) {
	case QUEUE_ACCEPTS:
		return true;
	case QUEUE_SHORT:
		status_set(refusal, 452, "4.3.1",
			   "Insufficient system storage, try again later");
		return false;
	case QUEUE_BROKEN:
		break;
	}
	status_set(refusal, 421, "4.3.0", "%s cannot take mail now", hostname);
	return false;
}

void
smtpd_caps_rates(const struct config *config, struct caps_rates *out)
{
	out->messages_per_user = config->limits.messages_per_user;
	out->recipients_per_user = config->limits.recipients_per_user;
	out->messages_per_client = config->limits.messages_per_client;
}

void
smtpd_say_locked(uint64_t locked_ms, struct status *out)
{
	char wait[24];

	status_set(out, 454, "4.7.0",
		   "Too many failed logins from your address, try again in %s",
		   units_format_duration(locked_ms / 1000 + 1, wait,
					 sizeof(wait)));
}

/* ------------------------------------------------------------------ life */

/* Would a server that found this address by MX reach us? */
static bool
smtpd_takes_mail_on(void *arg, const struct ip *ip)
{
	const struct smtpd *smtpd = arg;
	const struct config *config = smtpd->config;

	if (smtpd->is_ours == NULL ||
	    (ip_is_private(ip) && !config->resolver.private_targets))
		return false;
	if (smtpd->is_ours(smtpd->is_ours_arg, ip, 25))
		return true;
	/* a port that something in front of us translates to */
	for (size_t i = 0; i < config->listener_count; i++) {
		const struct listener_config *listener = &config->listeners[i];

		if (listener->role != POLICY_MX)
			continue;
		for (size_t j = 0; j < listener->address_count; j++)
			if (listener->addresses[j].unix_path == NULL &&
			    smtpd->is_ours(smtpd->is_ours_arg, ip,
					   listener->addresses[j].port))
				return true;
	}
	return false;
}

struct smtpd *
smtpd_new(uv_loop_t *loop, struct config *config, struct smtpd_tls *tls,
	  struct queue *queue, struct resolver *resolver,
	  struct auth_server *auth)
{
	struct smtpd *smtpd = mem_zalloc(sizeof(*smtpd));

	smtpd->loop = loop;
	smtpd->config = config_ref(config);
	smtpd->tls = tls;
	smtpd->queue = queue;
	smtpd->resolver = resolver;
	smtpd->auth = auth;
	list_init(&smtpd->sessions);
	smtpd->throttle = throttle_new();
	smtpd->caps = caps_new();
	smtpd->points_here =
		points_here_new(resolver, smtpd_takes_mail_on, smtpd);
	random_bytes(&smtpd->seed, sizeof(smtpd->seed));
	smtpd_clients_resize(smtpd, 64);
	buf_init(&smtpd->reply, SMTPD_REPLY_MAX);
	random_bytes(&smtpd->next_session, 4); /* ids differ between runs */
	return smtpd;
}

void
smtpd_configure(struct smtpd *smtpd, struct config *config,
		struct smtpd_tls *tls)
{
	config_unref(smtpd->config);
	smtpd_tls_free(smtpd->tls);
	smtpd->config = config_ref(config);
	smtpd->tls = tls;
}

static void
on_idle_closed(uv_handle_t *handle)
{
	free(handle);
}

/* On a turn of its own: the end of a session may lie deep in a callback. */
static void
on_idle_turn(uv_timer_t *timer)
{
	struct smtpd *smtpd = timer->data;

	uv_close((uv_handle_t *)timer, on_idle_closed);
	smtpd->on_idle(smtpd->owner);
}

void
smtpd_check_idle(struct smtpd *smtpd)
{
	uv_timer_t *timer;

	if (!smtpd->is_draining || smtpd->is_idle_told ||
	    smtpd->stats.sessions != 0)
		return;
	smtpd->is_idle_told = true;
	timer = mem_zalloc(sizeof(*timer));
	timer->data = smtpd;
	(void)uv_timer_init(smtpd->loop, timer);
	(void)uv_timer_start(timer, on_idle_turn, 0, 0);
}

void
smtpd_drain(struct smtpd *smtpd, void (*on_idle)(void *owner), void *owner)
{
	struct list *node, *after;

	smtpd->is_draining = true;
	smtpd->on_idle = on_idle;
	smtpd->owner = owner;
	list_each_safe (node, after, &smtpd->sessions)
		session_drain(session_from_link(node));
	smtpd_check_idle(smtpd);
}

void
smtpd_drain_now(struct smtpd *smtpd)
{
	while (!list_is_empty(&smtpd->sessions))
		session_cut(session_from_link(smtpd->sessions.next));
}

void
smtpd_end_login(struct smtpd *smtpd, const char *login)
{
	struct list *node, *after;

	list_each_safe (node, after, &smtpd->sessions)
		session_end_login(session_from_link(node), login);
}

void
smtpd_free(struct smtpd *smtpd)
{
	if (smtpd == NULL)
		return;
	config_unref(smtpd->config);
	smtpd_tls_free(smtpd->tls);
	throttle_free(smtpd->throttle);
	caps_free(smtpd->caps);
	points_here_free(smtpd->points_here);
	free(smtpd->clients);
	buf_done(&smtpd->reply);
	free(smtpd);
}
