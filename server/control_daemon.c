/* SPDX-License-Identifier: ISC */
/*
 * server/control_daemon.c - commands about the daemon as a whole
 */
#include <string.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/mem.h"
#include "lib/str.h"
#include "queue/queue.h"
#include "queue/route/resolver.h"
#include "server/admin.h"
#include "server/certificate_state.h"
#include "server/config.h"
#include "server/control.h"
#include "server/daemon.h"
#include "server/listener.h"
#include "server/queue_json.h"
#include "server/smtpd.h"
#include "server/version.h"

#define STATUS_DESTINATIONS 20

static void
on_destination(void *arg, const char *key, uint64_t waiting, uint64_t active,
	       const char *last_error)
{
	json_t *list = arg;

	json_array_append_new(list,
			      json_pack("{s:o,s:I,s:I,s:o}", "destination",
					queue_json_text(key), "waiting",
					(json_int_t)waiting, "active",
					(json_int_t)active, "last_error",
					queue_json_text(last_error)));
}

static void
on_slow_host(void *arg, const struct ip *ip, uint16_t port, unsigned active,
	     unsigned connections, const char *reply)
{
	char text[IP_TEXT_MAX];

	json_array_append_new(arg, json_pack("{s:s,s:i,s:i,s:i,s:o}", "ip",
					     ip_format(ip, text), "port",
					     (int)port, "active", (int)active,
					     "connections", (int)connections,
					     "reply", queue_json_text(reply)));
}

static json_t *
status_queue(const struct queue_stats *q)
{
	return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}",
			 "messages", (json_int_t)q->messages, "queued",
			 (json_int_t)q->queued, "deferred",
			 (json_int_t)q->deferred, "active",
			 (json_int_t)q->active, "held", (json_int_t)q->held,
			 "accepted", (json_int_t)q->accepted, "delivered",
			 (json_int_t)q->delivered, "bounced",
			 (json_int_t)q->bounced, "expired",
			 (json_int_t)q->expired, "deferrals",
			 (json_int_t)q->deferrals, "entry_bytes",
			 (json_int_t)q->entry_bytes);
}

static json_t *
status_digest(const struct digest_stats *d)
{
	return json_pack("{s:I,s:I,s:I,s:I,s:o}", "waiting",
			 (json_int_t)d->waiting, "on_way",
			 (json_int_t)d->on_way, "due_ms", (json_int_t)d->due_ms,
			 "failed", (json_int_t)d->failed, "last_error",
			 queue_json_text(d->last_why));
}

static json_t *
status_spool(const struct spool_stats *s)
{
	return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "in_log",
			 (json_int_t)s->in_log, "in_files",
			 (json_int_t)s->in_files, "corrupt",
			 (json_int_t)s->corrupt, "segments",
			 (json_int_t)s->segments, "commits",
			 (json_int_t)s->commits, "sync_errors",
			 (json_int_t)s->sync_errors, "index_bytes",
			 (json_int_t)s->index_bytes, "disk_free",
			 (json_int_t)s->disk_free);
}

static json_t *
status_sessions(const struct smtpd_stats *s)
{
	return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "open",
			 (json_int_t)s->sessions, "connections",
			 (json_int_t)s->connections, "refused",
			 (json_int_t)s->refused, "messages",
			 (json_int_t)s->messages, "bytes", (json_int_t)s->bytes,
			 "rejected", (json_int_t)s->rejected, "relay_denied",
			 (json_int_t)s->relay_denied, "logins",
			 (json_int_t)s->logins, "failed_logins",
			 (json_int_t)s->failed_logins, "over_caps",
			 (json_int_t)s->over_caps);
}

static json_t *
status_dns(const struct resolver_stats *r)
{
	return json_pack("{s:I,s:I,s:I,s:I,s:I}", "queries",
			 (json_int_t)r->queries, "hits", (json_int_t)r->hits,
			 "failed", (json_int_t)r->failed, "entries",
			 (json_int_t)r->entries, "bytes", (json_int_t)r->bytes);
}

/* Routes that demand DANE get nothing through without DNSSEC. */
static void
warn_of_resolver(const struct daemon *daemon, json_t *list)
{
	const struct config *config = daemon->config;
	bool wants_dane = false;
	char servers[400];

	for (size_t i = 0; i < config->entry_count; i++) {
		const struct config_entry *entry = &config->entries[i];

		wants_dane |=
			entry->value != NULL &&
			strncmp(entry->name, "route.", 6) == 0 &&
			str_ends_nocase(str_of(entry->name), str_of(".tls")) &&
			strcmp(entry->value, "dane") == 0;
	}
	if (!wants_dane ||
	    resolver_servers(daemon->resolver, servers, sizeof(servers)))
		return;
	json_array_append_new(
		list,
		json_sprintf("a route demands DANE, and the DNS server %s is "
			     "not on this host: its word on DNSSEC is not "
			     "believed, and that route's mail waits",
			     servers));
}

json_t *
control_warnings(const struct daemon *daemon)
{
	json_t *list = json_array();
	struct queue_stats stats, *queue = &stats;

	queue_stats(daemon->queue, &stats);

	if (queue_is_paused(daemon->queue))
		json_array_append_new(list,
				      json_string(
					      "deliveries are paused: "
					      "ostlerctl resume starts them"));
	if (!daemon->config->queue.deliver)
		json_array_append_new(list,
				      json_string(
					      "queue.deliver is false: mail is "
					      "kept and not delivered"));
	switch (queue_accepting(daemon->queue)) {
	case QUEUE_ACCEPTS:
		break;
	case QUEUE_SHORT:
		json_array_append_new(
			list, json_string("the spool's disk is nearly full: "
					  "new mail is answered 452"));
		break;
	case QUEUE_BROKEN:
		json_array_append_new(list,
				      json_string(
					      "the spool cannot be written: no "
					      "mail is accepted"));
		break;
	}
	if (queue->spool.corrupt != 0)
		json_array_append_new(
			list, json_string("damaged messages were set aside in "
					  "the spool's folder corrupt/"));
	if (queue->digest.last_why != NULL)
		json_array_append_new(
			list,
			json_sprintf("the digest for %s could not be "
				     "delivered (%s); it is tried again with "
				     "the next one",
				     policy_postmaster(daemon->config->policy),
				     queue->digest.last_why));
	if (daemon->reload_error != NULL)
		json_array_append_new(
			list, json_string("the last reload found errors; the "
					  "old configuration is in use"));
	warn_of_resolver(daemon, list);
	control_front_warnings(daemon, list);
	return list;
}

static void
on_listener(void *arg, const char *name, const char *address)
{
	json_array_append_new(arg, json_pack("{s:o,s:o}", "listener",
					     queue_json_text(name), "address",
					     queue_json_text(address)));
}

void
control_status(struct control_request *request)
{
	struct daemon *daemon = request->daemon;
	struct resolver_stats dns;
	struct queue_stats queue;
	json_t *destinations = json_array(), *slow_hosts = json_array();
	json_t *listeners = json_array(), *warnings;
	bool is_healthy;

	queue_stats(daemon->queue, &queue);
	resolver_stats(daemon->resolver, &dns);
	queue_destinations(daemon->queue, STATUS_DESTINATIONS, on_destination,
			   destinations);
	queue_slow_hosts(daemon->queue, on_slow_host, slow_hosts);
	listeners_each(daemon->listeners, on_listener, listeners);
	warnings = control_warnings(daemon);
	certificate_warnings(daemon, warnings);
	is_healthy = queue_accepting(daemon->queue) == QUEUE_ACCEPTS;
	(void)control_row(
		request,
		json_pack("{s:s,s:s,s:I,s:I,s:o,s:b,s:o,s:o,s:o,s:o,s:o,s:o,s:"
			  "o,s:"
			  "o,s:o,s:o,s:o}",
			  "version", version_text(), "hostname",
			  daemon->config->hostname, "pid", (json_int_t)getpid(),
			  "uptime_s",
			  (json_int_t)((clock_wall_ms() - daemon->started_ms) /
				       1000),
			  "listeners", listeners, "paused",
			  queue_is_paused(daemon->queue), "sessions",
			  status_sessions(&daemon->smtpd->stats), "points_here",
			  control_front_status(daemon), "queue",
			  status_queue(&queue), "spool",
			  status_spool(&queue.spool), "dns", status_dns(&dns),
			  "destinations", destinations, "slow_hosts",
			  slow_hosts, "warnings", warnings, "digest",
			  status_digest(&queue.digest), "faults",
			  admin_faults(daemon), "last_minute",
			  admin_last_minute(daemon)));
	control_end(request, is_healthy ? EXIT_DONE : EXIT_NO, NULL);
}

void
control_config(struct control_request *request)
{
	const struct config *config = request->daemon->config;

	for (size_t i = 0; i < config->entry_count; i++) {
		const struct config_entry *entry = &config->entries[i];

		(void)control_row(
			request,
			json_pack("{s:o,s:o,s:o}", "name",
				  queue_json_text(entry->name), "value",
				  queue_json_text(entry->value), "from",
				  queue_json_text(entry->at != NULL
							  ? entry->at
							  : "default")));
	}
	control_end(request, EXIT_DONE, NULL);
}

static void
on_paused(void *arg, int status)
{
	struct control_request *request = arg;

	control_end(request, status == 0 ? EXIT_DONE : EXIT_SYSTEM,
		    status == 0 ? NULL : strerror(-status));
}

static void
control_set_paused(struct control_request *request, bool is_paused)
{
	if (queue_pause(request->daemon->queue, is_paused, on_paused, request) <
	    0)
		control_end(request, EXIT_SYSTEM,
			    "another order of this kind is on its way");
}

void
control_pause(struct control_request *request)
{
	control_set_paused(request, true);
}

void
control_resume(struct control_request *request)
{
	control_set_paused(request, false);
}

static void
on_reloaded(void *arg, const char *errors)
{
	struct control_request *request = arg;

	control_end(request, errors == NULL ? EXIT_DONE : EXIT_CONFIG, errors);
}

void
control_reload(struct control_request *request)
{
	daemon_reload(request->daemon, on_reloaded, request);
}

void
control_stop(struct control_request *request)
{
	struct daemon *daemon = request->daemon;

	control_end(request, EXIT_DONE, NULL);
	daemon_stop(daemon, "ostlerctl stop");
}

void
control_logout(struct control_request *request)
{
	const char *login = control_arg(request, "user");

	if (login == NULL) {
		control_end(request, EXIT_USAGE, "which login?");
		return;
	}
	smtpd_end_login(request->daemon->smtpd, login);
	control_end(request, EXIT_DONE, NULL);
}
