/* SPDX-License-Identifier: ISC */
/*
 * What the configuration says, as the parts of the queue want to hear it, and
 * what they tell the log in return.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "lib/mem.h"
#include "queue/bounce/texts.h"
#include "queue/core.h"
#include "queue/route/route.h"
#include "queue/route/sts.h"

/* ------------------------------------------- what the deliverer tells of */

static void
on_attempt(void *arg, uint64_t id, const char *host, const struct ip *ip,
	   uint16_t port, const char *next_hop, int64_t ttl_s)
{
	char id_text[SPOOL_ID_MAX], ip_text[IP_TEXT_MAX];
	struct log_line line;

	log_begin(&line, LOG_LEVEL_INFO, "attempt");
	if (!line.is_on)
		return;
	log_text(&line, "id", spool_id_format(id, id_text));
	log_text(&line, "via", next_hop);
	if (host != NULL && host[0] != '\0')
		log_text(&line, "host", host);
	if (ip != NULL && ip->family != IP_NONE) {
		log_text(&line, "ip", ip_format(ip, ip_text));
		log_number(&line, "port", port);
	}
	if (ttl_s >= 0)
		log_number(&line, "ttl", ttl_s);
	log_end(&line);
}

/* "mx1.example.net,mx2.example.net": those that have an address. */
static void
name_hosts(const struct route *route, char *to, size_t size)
{
	size_t len = 0;

	to[0] = '\0';
	for (size_t i = 0; i < route->host_count; i++) {
		const struct route_host *host = &route->hosts[i];

		if (host->addr_count == 0 ||
		    len + strlen(host->name) + 2 > size)
			continue;
		len += (size_t)snprintf(to + len, size - len, "%s%s",
					len != 0 ? "," : "", host->name);
	}
}

static void
on_route(void *arg, uint64_t id, const char *next_hop,
	 const struct route *route)
{
	char text[SPOOL_ID_MAX], hosts[1024];
	struct log_line line;

	log_begin(&line, LOG_LEVEL_DEBUG, "route");
	if (!line.is_on)
		return;
	log_text(&line, "id", spool_id_format(id, text));
	log_text(&line, "via", next_hop);
	name_hosts(route, hosts, sizeof(hosts));
	if (hosts[0] != '\0')
		log_text(&line, route->mx_asked_ms != 0 ? "mx" : "host", hosts);
	if (route->cause != CAUSE_REPLY)
		log_text(&line, "reason", route->why);
	else if (route->expires_ms > route->made_ms &&
		 route->expires_ms != UINT64_MAX)
		log_number(&line, "ttl",
			   (int64_t)((route->expires_ms - route->made_ms) /
				     1000));
	log_end(&line);
}

static void
on_slow_down(void *arg, const char *host, const struct ip *ip, uint16_t port,
	     unsigned connections, const char *reply)
{
	char text[IP_TEXT_MAX];
	struct log_line line;

	log_begin(&line, LOG_LEVEL_WARN, "slow-down");
	log_text(&line, "host", host);
	log_text(&line, "ip", ip_format(ip, text));
	log_number(&line, "port", port);
	log_number(&line, "connections", connections);
	log_text(&line, "reply", reply);
	log_end(&line);
}

struct address {
	const struct ip *ip;
	uint16_t port;
};

/* Is it this host that kept it down? */
static bool
is_kept_down_by(const struct destination *to, const void *arg)
{
	const struct address *address = arg;
	const struct outcome *lesson = to->lesson;

	return lesson != NULL && lesson->port == address->port &&
	       ip_equal(&lesson->ip, address->ip);
}

static void
on_revived(void *arg, const struct ip *ip, uint16_t port)
{
	struct queue *queue = arg;
	const struct address address = {ip, port};

	if (schedule_revive(&queue->schedule, is_kept_down_by, &address) != 0)
		queue_kick(queue);
}

/* ------------------------------------------------------- configuration */

void
deliverer_opts_of(const struct queue *queue, const struct queue_opts *opts,
		  struct deliverer_opts *out)
{
	memset(out, 0, sizeof(*out));
	out->hostname = policy_hostname(queue->policy);
	out->port = opts->port;
	out->connect_timeout_ms = opts->connect_timeout_ms;
	out->idle_connection_ms = opts->idle_connection_ms;
	out->private_targets = opts->private_targets;
	out->trust = opts->trust;
	out->sts = queue->sts;
	out->is_ours = opts->is_ours;
	out->is_ours_arg = opts->is_ours_arg;
	out->on_attempt = on_attempt;
	out->on_route = on_route;
	out->on_slow_down = on_slow_down;
	out->on_revived = on_revived;
	out->on_attempt_arg = (void *)(uintptr_t)queue;
}

void
route_opts_of(const struct queue_opts *opts, struct route_opts *out)
{
	memset(out, 0, sizeof(*out));
	out->port = opts->port;
	out->private_targets = opts->private_targets;
	out->is_ours = opts->is_ours;
	out->is_ours_arg = opts->is_ours_arg;
}

unsigned
connections_of(const struct queue_opts *opts)
{
	return opts->connections != 0 ? opts->connections : 1;
}

/* How failures are told apart and told of. */
static void
take_reporting(struct queue *queue, const struct queue_opts *opts)
{
	struct classifier *classifier = queue->classifier;
	struct texts *texts = queue->texts;

	queue->classifier = opts->classifier != NULL
				    ? classifier_ref(opts->classifier)
				    : classifier_builtin();
	queue->texts =
		opts->texts != NULL ? texts_ref(opts->texts) : texts_builtin();
	classifier_unref(classifier);
	texts_unref(texts);
	free(queue->language);
	queue->language =
		mem_strdup(opts->language != NULL ? opts->language : "en");
}

void
queue_take_opts(struct queue *queue, const struct queue_opts *opts)
{
	struct settle_rules *rules = &queue->rules;
	uint32_t *retry_s;

	/* a configuration without sense must not stop a running daemon */
	retry_s = mem_zalloc((opts->retry_count + 1) * sizeof(*retry_s));
	if (opts->retry_count != 0)
		memcpy(retry_s, opts->retry_s,
		       opts->retry_count * sizeof(*retry_s));
	free(queue->retry_s);
	queue->retry_s = retry_s;
	for (size_t i = 0; i <= opts->retry_count; i++)
		if (retry_s[i] == 0)
			retry_s[i] = 1;
	rules->retry.delay_s = retry_s;
	rules->retry.count = opts->retry_count != 0 ? opts->retry_count : 1;
	rules->retry.expire_s = opts->expire_s;
	rules->bounce_expire_s = opts->bounce_expire_s;
	rules->warn_s = opts->warn_s;
	rules->grace_s = opts->grace_s;
	queue->reports_per_sender = opts->reports_per_sender;
	queue->digest_s = opts->digest_s;
	queue->delivers = opts->deliver;
	queue->now_ms = opts->now_ms;
	queue->now_arg = opts->now_arg;
	take_reporting(queue, opts);
}

void
queue_configure(struct queue *queue, const struct queue_opts *opts,
		struct policy *policy)
{
	struct policy *old = queue->policy;
	struct deliverer_opts deliverer;

	queue->policy = policy_ref(policy);
	queue_take_opts(queue, opts);
	spool_set_free(queue->spool, opts->spool_free);
	schedule_set_connections(&queue->schedule, connections_of(opts));
	sts_configure(queue->sts,
		      &(struct sts_opts){
			      .ca = opts->ca,
			      .private_targets = opts->private_targets,
		      });
	deliverer_opts_of(queue, opts, &deliverer);
	deliverer_configure(queue->deliverer, &deliverer);
	route_opts_of(opts, &queue->route_opts);
	policy_unref(old);
	queue_kick(queue);
}
