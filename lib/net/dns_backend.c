/* SPDX-License-Identifier: ISC */
/*
 * c-ares sees one server a channel, one try a query, no TCP by itself and no
 * file: all choices are ours. What it does badly in version 1.18 and how this
 * file copes:
 *
 *	identifiers	ares_send takes the packet's: drawn here, unique among
 *			those under way
 *	cancelling	ares_cancel takes the whole channel: a request is only
 *			forgotten, its query ends by itself
 *	timeouts	ares_timeout looks at every query each time: a fixed
 *			tick of 50 ms instead while anything is under way
 *	calling back	ares_send may, before it returns, and ares_destroy
 *			may not be called from inside: all ends are put on a
 *			list, and owners hear of them when c-ares is left
 *	one UDP port	for all questions of a channel: its sockets close when
 *			nothing is under way, and towards servers beyond this
 *			host a channel is renewed every 1000 questions
 */
#include "lib/net/dns_backend.h"

#include <ares.h>
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/list.h"
#include "lib/mem.h"
#include "lib/random.h"

#define TICK_MS		  50
#define CHANNEL_QUESTIONS 1000
#define SOCKET_BUFFER	  (1 << 20)
#define RESOLV_CONF	  "/etc/resolv.conf"

struct cares;

/* A c-ares channel towards one server, by UDP or by TCP. */
struct channel {
	struct list link; /* cares.current or cares.retired */
	struct cares *owner;
	ares_channel ares;
	struct dns_server server;
	bool is_tcp;
	size_t in_flight, sent;
	struct list polls;
};

/* One socket of a channel; goes in libuv's close callback. */
struct channel_poll {
	uv_poll_t handle;
	struct list link;
	struct channel *channel;
	int fd;
};

/* One packet under way. */
struct pending {
	struct cares *owner;
	struct channel *channel;
	struct dns_request *request; /* NULL: cancelled */
	uint16_t id;
	struct list link; /* cares.ended, when this is known: */
	enum dns_arrival_status status;
	uint8_t *bytes; /* owns; NULL unless it arrived */
	size_t len;
};

struct cares {
	struct dns_backend backend;
	uv_loop_t *loop;
	struct dns_server servers[DNS_SERVERS_MAX];
	size_t server_count;
	uint64_t timeout_ms;
	struct list current; /* struct channel; one per server and protocol */
	struct list retired; /* struct channel; end with their last query */
	struct list ended;   /* struct pending; owners are yet to hear */
	size_t in_flight;
	bool is_closing;
	unsigned open_handles;	/* of ours; memory goes with the last */
	uint8_t ids[65536 / 8]; /* identifiers under way, a bit each */
	uv_timer_t tick;
	struct resolv_conf *resolv_conf; /* NULL: servers were given */
};

static struct cares *
cares_of(const struct dns_backend *backend)
{
	return container_of(backend, struct cares, backend);
}

/* ------------------------------------------------------------- life's end */

static void
cares_release(struct cares *cares)
{
	assert(cares->open_handles != 0);
	if (--cares->open_handles != 0 || !cares->is_closing)
		return;
	free(cares);
	ares_library_cleanup();
}

static void
on_handle_closed(uv_handle_t *handle)
{
	cares_release(handle->data);
}

static void
on_poll_closed(uv_handle_t *handle)
{
	struct channel_poll *poll =
		container_of(handle, struct channel_poll, handle);
	struct cares *cares = handle->data;

	free(poll);
	cares_release(cares);
}

static void
channel_free(struct channel *channel)
{
	list_remove(&channel->link);
	ares_destroy(channel->ares); /* closes its sockets: see on_socket */
	assert(list_is_empty(&channel->polls));
	free(channel);
}

/* Not from inside c-ares: it would look at the channel afterwards. */
static void
channels_reap(struct cares *cares)
{
	struct list *node, *after;

	list_each_safe (node, after, &cares->retired) {
		struct channel *channel =
			container_of(node, struct channel, link);

		if (channel->in_flight == 0)
			channel_free(channel);
	}
}

/* ------------------------------------------------------------------- ends */

static uint16_t
id_take(struct cares *cares)
{
	uint16_t id;

	/* far fewer than 65536 are ever under way */
	do
		random_bytes(&id, sizeof(id));
	while ((cares->ids[id / 8] & 1u << id % 8) != 0);
	cares->ids[id / 8] |= (uint8_t)(1u << id % 8);
	return id;
}

static void
id_give(struct cares *cares, uint16_t id)
{
	cares->ids[id / 8] &= (uint8_t) ~(1u << id % 8);
}

static void
pending_free(struct pending *pending)
{
	list_remove(&pending->link);
	id_give(pending->owner, pending->id);
	pending->owner->in_flight--;
	free(pending->bytes);
	free(pending);
}

/* Tells owners; any of them may close the backend, which empties the list. */
static void
tell_owners(struct cares *cares)
{
	while (!list_is_empty(&cares->ended)) {
		struct pending *pending =
			container_of(cares->ended.next, struct pending, link);
		struct dns_request *request = pending->request;
		uint8_t *bytes = pending->bytes;
		struct dns_arrival arrival = {
			.status = pending->status,
			.bytes = bytes,
			.len = pending->len,
		};

		pending->bytes = NULL;
		pending_free(pending);
		if (request != NULL) {
			request->pending = NULL;
			request->on_end(request, &arrival);
		}
		free(bytes);
	}
}

/* ---------------------------------------------------------------- sockets */

static void
on_poll(uv_poll_t *handle, int status, int events)
{
	struct channel_poll *poll =
		container_of(handle, struct channel_poll, handle);
	struct cares *cares = poll->channel->owner;
	ares_socket_t fd = poll->fd, none = ARES_SOCKET_BAD;

	/* on an error c-ares reads and finds it by itself */
	if (status < 0)
		events = UV_READABLE | UV_WRITABLE;
	ares_process_fd(poll->channel->ares,
			(events & UV_READABLE) != 0 ? fd : none,
			(events & UV_WRITABLE) != 0 ? fd : none);
	channels_reap(cares);
	tell_owners(cares);
}

static struct channel_poll *
poll_find(struct channel *channel, int fd)
{
	struct list *node;

	list_each (node, &channel->polls) {
		struct channel_poll *poll =
			container_of(node, struct channel_poll, link);

		if (poll->fd == fd)
			return poll;
	}
	return NULL;
}

static struct channel_poll *
poll_new(struct channel *channel, int fd)
{
	struct channel_poll *poll = mem_zalloc(sizeof(*poll));

	if (uv_poll_init(channel->owner->loop, &poll->handle, fd) < 0) {
		/* the query then ends by its timeout */
		free(poll);
		return NULL;
	}
	poll->fd = fd;
	poll->channel = channel;
	poll->handle.data = channel->owner;
	channel->owner->open_handles++;
	/* the tick keeps the loop alive while an answer is owed */
	uv_unref((uv_handle_t *)&poll->handle);
	list_push(&channel->polls, &poll->link);
	return poll;
}

/* c-ares opens a socket, wants something else of it, or is about to close
 * it (neither readable nor writable). */
static void
on_socket(void *arg, ares_socket_t fd, int is_readable, int is_writable)
{
	struct channel *channel = arg;
	struct channel_poll *poll = poll_find(channel, fd);
	int events = (is_readable ? UV_READABLE : 0) |
		     (is_writable ? UV_WRITABLE : 0);

	if (events == 0) {
		if (poll == NULL)
			return;
		list_remove(&poll->link);
		uv_close((uv_handle_t *)&poll->handle, on_poll_closed);
		return;
	}
	if (poll == NULL)
		poll = poll_new(channel, fd);
	/* the arguments are valid, so it cannot fail */
	if (poll != NULL)
		(void)uv_poll_start(&poll->handle, events, on_poll);
}

/* --------------------------------------------------------------- channels */

static int
channel_new(struct cares *cares, const struct dns_server *server, bool is_tcp,
	    struct channel **out)
{
	struct channel *channel = mem_zalloc(sizeof(*channel));
	struct ares_addr_port_node node = {
		.family = server->ip.family == IP_V4 ? AF_INET : AF_INET6,
		.udp_port = server->port,
		.tcp_port = server->port,
	};
	char nowhere[] = "/dev/null", lookups[] = "b";
	struct ares_options options = {
		.flags = ARES_FLAG_IGNTC | ARES_FLAG_NOCHECKRESP |
			 ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES |
			 (is_tcp ? ARES_FLAG_USEVC : 0),
		.timeout = (int)cares->timeout_ms,
		.tries = 1,
		.lookups = lookups,
		.resolvconf_path = nowhere,
		.socket_receive_buffer_size = SOCKET_BUFFER,
		.sock_state_cb = on_socket,
		.sock_state_cb_data = channel,
	};
	int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES |
		   ARES_OPT_LOOKUPS | ARES_OPT_DOMAINS | ARES_OPT_RESOLVCONF |
		   ARES_OPT_SOCK_RCVBUF | ARES_OPT_SOCK_STATE_CB;
	int rc;

#ifdef ARES_OPT_QUERY_CACHE
	options.qcache_max_ttl = 0; /* the only cache is our own */
	mask |= ARES_OPT_QUERY_CACHE;
#endif
	list_init(&channel->link);
	list_init(&channel->polls);
	channel->owner = cares;
	channel->server = *server;
	channel->is_tcp = is_tcp;
	rc = ares_init_options(&channel->ares, &options, mask);
	if (rc != ARES_SUCCESS) {
		free(channel);
		return -ENOMEM;
	}
	memcpy(&node.addr, server->ip.bytes,
	       server->ip.family == IP_V4 ? 4 : 16);
	rc = ares_set_servers_ports(channel->ares, &node);
	if (rc != ARES_SUCCESS) {
		channel_free(channel);
		return -ENOMEM;
	}
	list_push(&cares->current, &channel->link);
	*out = channel;
	return 0;
}

static void
channel_retire(struct channel *channel)
{
	list_remove(&channel->link);
	list_push(&channel->owner->retired, &channel->link);
}

/* The channel to ask a server by, made when there is none. */
static struct channel *
channel_for(struct cares *cares, const struct dns_server *server, bool is_tcp)
{
	struct channel *channel = NULL;
	struct list *node;

	list_each (node, &cares->current) {
		struct channel *at = container_of(node, struct channel, link);

		if (at->is_tcp == is_tcp && at->server.port == server->port &&
		    ip_equal(&at->server.ip, &server->ip)) {
			channel = at;
			break;
		}
	}
	if (channel != NULL && channel->sent >= CHANNEL_QUESTIONS &&
	    !ip_is_loopback(&server->ip)) {
		channel_retire(channel);
		channel = NULL;
	}
	if (channel == NULL && channel_new(cares, server, is_tcp, &channel) < 0)
		return NULL;
	return channel;
}

/* ---------------------------------------------------------------- packets */

static enum dns_arrival_status
status_of(int ares_status)
{
	if (ares_status == ARES_SUCCESS)
		return DNS_ARRIVED;
	return ares_status == ARES_ETIMEOUT ? DNS_TIMED_OUT : DNS_UNREACHABLE;
}

static void
on_answer(void *arg, int status, int timeouts, unsigned char *bytes, int len)
{
	struct pending *pending = arg;

	pending->channel->in_flight--;
	pending->status = status_of(status);
	if (pending->status == DNS_ARRIVED && len > 0) {
		pending->bytes = (uint8_t *)mem_dup(bytes, (size_t)len);
		pending->len = (size_t)len;
	}
	list_push(&pending->owner->ended, &pending->link);
}

static void on_tick(uv_timer_t *timer);

static void
cares_send(struct dns_backend *backend, struct dns_request *request,
	   size_t server, bool is_tcp, const uint8_t *packet, size_t len)
{
	struct cares *cares = cares_of(backend);
	struct pending *pending = mem_zalloc(sizeof(*pending));
	struct channel *channel;
	uint8_t copy[512];

	assert(server < cares->server_count && len >= 12 &&
	       len <= sizeof(copy) && request->pending == NULL);
	list_init(&pending->link);
	pending->owner = cares;
	pending->request = request;
	pending->id = id_take(cares);
	request->pending = pending;
	memcpy(copy, packet, len);
	copy[0] = (uint8_t)(pending->id >> 8);
	copy[1] = (uint8_t)pending->id;
	if (cares->in_flight++ == 0)
		(void)uv_timer_start(&cares->tick, on_tick, TICK_MS, TICK_MS);

	channel = channel_for(cares, &cares->servers[server], is_tcp);
	if (channel == NULL) {
		pending->status = DNS_UNREACHABLE;
		list_push(&cares->ended, &pending->link);
	} else {
		pending->channel = channel;
		channel->in_flight++;
		channel->sent++;
		ares_send(channel->ares, copy, (int)len, on_answer, pending);
	}
	if (!list_is_empty(&cares->ended))
		(void)uv_timer_start(&cares->tick, on_tick, 0, TICK_MS);
}

static void
cares_cancel(struct dns_backend *backend, struct dns_request *request)
{
	struct pending *pending = request->pending;

	request->pending = NULL;
	if (pending != NULL)
		pending->request = NULL;
}

/* Processing one may move others between the lists. */
static size_t
channels_busy(struct cares *cares, struct channel **to, size_t max)
{
	struct list *lists[] = {&cares->current, &cares->retired};
	struct list *node;
	size_t count = 0;

	for (size_t i = 0; i < 2; i++) {
		list_each (node, lists[i]) {
			struct channel *channel =
				container_of(node, struct channel, link);

			if (channel->in_flight != 0 && count < max)
				to[count++] = channel;
		}
	}
	return count;
}

/* Times queries out, and whatever else has waited for its turn. Channels
 * above the bound have their turn when the older ones are empty. */
static void
on_tick(uv_timer_t *timer)
{
	struct cares *cares = timer->data;
	struct channel *busy[8 * DNS_SERVERS_MAX];
	size_t count;

	count = channels_busy(cares, busy, 8 * DNS_SERVERS_MAX);
	for (size_t i = 0; i < count; i++)
		ares_process_fd(busy[i]->ares, ARES_SOCKET_BAD,
				ARES_SOCKET_BAD);
	channels_reap(cares);
	tell_owners(cares);
	if (cares->in_flight == 0 && !cares->is_closing)
		(void)uv_timer_stop(&cares->tick);
}

static const struct dns_server *
cares_servers(const struct dns_backend *backend, size_t *out_count)
{
	const struct cares *cares = cares_of(backend);

	*out_count = cares->server_count;
	return cares->servers;
}

/* ---------------------------------------------------------------- servers */

/* Channels towards servers that are no longer asked end with what is under
 * way; the others are renewed too, for the timeout may have changed. */
static void
cares_set_servers(struct cares *cares, const struct dns_server *servers,
		  size_t count)
{
	struct list *node, *after;

	memcpy(cares->servers, servers, count * sizeof(*servers));
	cares->server_count = count;
	list_each_safe (node, after, &cares->current)
		channel_retire(container_of(node, struct channel, link));
	/* an owner may be on the stack, told by one of them: the tick reaps */
	(void)uv_timer_start(&cares->tick, on_tick, 0, TICK_MS);
}

static void
on_servers(void *owner, const struct dns_server *servers, size_t count)
{
	struct cares *cares = owner;
	bool is_same = count == cares->server_count;

	for (size_t i = 0; is_same && i < count; i++)
		is_same = servers[i].port == cares->servers[i].port &&
			  ip_equal(&servers[i].ip, &cares->servers[i].ip);
	if (!is_same)
		cares_set_servers(cares, servers, count);
}

/* -------------------------------------------------------------- beginning */

static int
servers_parse(const char *const *texts, struct dns_server *to,
	      size_t *out_count, struct err *err)
{
	size_t count = 0;

	for (; texts[count] != NULL; count++) {
		struct str host;

		if (count == DNS_SERVERS_MAX)
			return err_text(err, -EINVAL,
					"more than %d DNS servers",
					DNS_SERVERS_MAX);
		if (!ip_split_port(str_of(texts[count]), &host,
				   &to[count].port) ||
		    !ip_parse(host, &to[count].ip) || to[count].port == 0)
			return err_text(err, -EINVAL,
					"DNS server '%s' is not IP:PORT",
					texts[count]);
	}
	*out_count = count;
	return 0;
}

/* Start and reload only: it reads a small file where the caller is. */
static int
cares_configure(struct dns_backend *backend,
		const struct dns_backend_opts *opts, struct err *err)
{
	struct cares *cares = cares_of(backend);
	struct dns_server servers[DNS_SERVERS_MAX];
	struct resolv_conf *resolv_conf = NULL;
	size_t count = 0;
	int rc = 0;

	if (opts->servers != NULL)
		rc = servers_parse(opts->servers, servers, &count, err);
	if (rc < 0)
		return rc;
	if (count == 0)
		resolv_conf =
			resolv_conf_open(cares->loop,
					 opts->resolv_conf != NULL
						 ? opts->resolv_conf
						 : RESOLV_CONF,
					 on_servers, cares, servers, &count);
	resolv_conf_close(cares->resolv_conf);
	cares->resolv_conf = resolv_conf;
	cares->timeout_ms = opts->timeout_ms;
	cares_set_servers(cares, servers, count);
	return 0;
}

static void
cares_close(struct dns_backend *backend)
{
	struct cares *cares = cares_of(backend);
	struct list *node, *after;

	cares->is_closing = true;
	list_each_safe (node, after, &cares->current)
		channel_free(container_of(node, struct channel, link));
	list_each_safe (node, after, &cares->retired)
		channel_free(container_of(node, struct channel, link));
	list_each_safe (node, after, &cares->ended)
		pending_free(container_of(node, struct pending, link));
	resolv_conf_close(cares->resolv_conf);
	uv_close((uv_handle_t *)&cares->tick, on_handle_closed);
}

static const struct dns_backend_ops cares_ops = {
	.servers = cares_servers,
	.send = cares_send,
	.cancel = cares_cancel,
	.configure = cares_configure,
	.close = cares_close,
};

int
dns_backend_new(uv_loop_t *loop, const struct dns_backend_opts *opts,
		struct dns_backend **out, struct err *err)
{
	struct cares *cares;
	int rc;

	if (ares_library_init_mem(ARES_LIB_INIT_ALL, mem_alloc, free,
				  mem_library_realloc) != ARES_SUCCESS)
		return err_text(err, -ENOMEM, "c-ares does not start");
	cares = mem_zalloc(sizeof(*cares));
	cares->backend.ops = &cares_ops;
	cares->loop = loop;
	list_init(&cares->current);
	list_init(&cares->retired);
	list_init(&cares->ended);
	(void)uv_timer_init(loop, &cares->tick); /* cannot fail */
	cares->tick.data = cares;
	cares->open_handles = 1;
	rc = cares_configure(&cares->backend, opts, err);
	if (rc < 0) {
		cares_close(&cares->backend);
		return rc;
	}
	*out = &cares->backend;
	return 0;
}

const char *
dns_backend_version(void)
{
	return ares_version(NULL);
}
