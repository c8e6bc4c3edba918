/* SPDX-License-Identifier: ISC */
#include "server/reach.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "lib/net/stream.h"
#include "lib/str.h"
#include "queue/route/route.h"

struct dial {
	struct reach *reach;
	struct stream *stream; /* NULL: it has failed */
	char host[ADDR_DOMAIN_MAX + 1];
	struct ip ip;
	uint16_t port;
};

struct reach {
	uv_loop_t *loop;
	struct route_query *query; /* NULL: the route is known */
	struct ip source;
	bool (*is_skipped)(void *owner, const struct ip *ip, uint16_t port);
	struct dial dials[REACH_DIALS_MAX];
	unsigned dial_count, pending;
	struct reach_end end;
	reach_fn *on_end;
	void *owner;
};

static void
reach_free(struct reach *reach)
{
	for (unsigned i = 0; i < reach->dial_count; i++)
		stream_abort(reach->dials[i].stream);
	free(reach);
}

static void
reach_finish(struct reach *reach)
{
	struct reach_end end = reach->end;
	reach_fn *on_end = reach->on_end;
	void *owner = reach->owner;

	reach_free(reach);
	on_end(owner, &end);
}

static void
reach_name(struct reach *reach, const struct dial *dial)
{
	memcpy(reach->end.host, dial->host, sizeof(dial->host));
	reach->end.ip = dial->ip;
	reach->end.port = dial->port;
}

static void
dial_failed(struct dial *dial, const char *why)
{
	struct reach *reach = dial->reach;

	stream_abort(dial->stream);
	dial->stream = NULL;
	if (dial == &reach->dials[0]) {
		reach_name(reach, dial);
		(void)str_copy(reach->end.why, sizeof(reach->end.why),
			       str_of(why));
	}
	if (--reach->pending == 0) {
		reach->end.result = REACH_FAILED;
		reach_finish(reach);
	}
}

static void
on_dial(void *owner, enum stream_event event)
{
	struct dial *dial = owner;
	char why[80];

	switch (event) {
	case STREAM_CONNECTED:
		dial->reach->end.result = REACH_CONNECTED;
		reach_name(dial->reach, dial);
		reach_finish(dial->reach);
		break;
	case STREAM_FAILED:
		dial_failed(dial, stream_error(dial->stream)->text);
		break;
	case STREAM_DEADLINE:
		(void)snprintf(why, sizeof(why), "no answer within %d s",
			       REACH_MS / 1000);
		dial_failed(dial, why);
		break;
	case STREAM_DATA:
	case STREAM_DRAINED:
	case STREAM_SECURED:
	case STREAM_EOF:
		break; /* a dial is not connected yet */
	}
}

static void
dial_start(struct reach *reach, const struct route_host *host,
	   const struct ip *ip)
{
	struct dial *dial = &reach->dials[reach->dial_count++];
	struct sockaddr_storage to;

	dial->reach = reach;
	memcpy(dial->host, host->name, sizeof(dial->host));
	dial->ip = *ip;
	dial->port = host->port;
	(void)ip_to_sockaddr(ip, host->port, &to);
	dial->stream =
		stream_connect(reach->loop,
			       (const struct sockaddr *)(const void *)&to,
			       reach->source.family != IP_NONE ? &reach->source
							       : NULL,
			       on_dial, dial);
	stream_set_deadline(dial->stream, REACH_MS);
	reach->pending++;
}

static void
on_route(void *owner, struct route *route)
{
	struct reach *reach = owner;
	bool is_usable = route->cause == CAUSE_REPLY;

	reach->query = NULL;
	for (size_t i = 0; is_usable && i < route->host_count; i++) {
		const struct route_host *host = &route->hosts[i];

		for (size_t j = 0; j < host->addr_count; j++)
			if (reach->dial_count < REACH_DIALS_MAX &&
			    (reach->is_skipped == NULL ||
			     !reach->is_skipped(reach->owner, &host->addrs[j],
						host->port)))
				dial_start(reach, host, &host->addrs[j]);
	}
	reach->end.tried = reach->dial_count;
	if (reach->dial_count != 0)
		return;
	reach->end.result = REACH_NO_ADDRESS;
	reach->end.is_dns_silent = route->cause == CAUSE_DNS_FAILED ||
				   route->cause == CAUSE_DNS_BOGUS;
	(void)str_copy(reach->end.why, sizeof(reach->end.why),
		       str_of(is_usable ? "leads to this host" : route->why));
	reach_finish(reach);
}

struct reach *
reach_start(const struct reach_request *request, reach_fn *on_end, void *owner)
{
	struct reach *reach = mem_zalloc(sizeof(*reach));

	reach->loop = request->loop;
	reach->source = request->hop->source;
	reach->is_skipped = request->is_skipped;
	reach->on_end = on_end;
	reach->owner = owner;
	reach->query = route_find(request->resolver, request->hop,
				  request->opts, on_route, reach);
	return reach;
}

void
reach_cancel(struct reach *reach)
{
	if (reach == NULL)
		return;
	if (reach->query != NULL)
		route_cancel(reach->query);
	reach_free(reach);
}
