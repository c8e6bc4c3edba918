/* SPDX-License-Identifier: ISC */
#include "server/listener.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/list.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "server/notify.h"
#include "server/place.h"

#define LISTENER_BACKLOG 4096
/* addresses of this machine change rarely; asking the kernel is not free */
#define LISTENER_ADDRESSES_MS 30000

struct listener {
	struct list link;
	struct listeners *all;
	char *name;    /* owns: the configuration's section */
	char *address; /* owns: as configured, what identifies it */
	struct ip ip;
	uint16_t port;	 /* as bound: never the 0 that lets the kernel choose */
	char *unix_path; /* owns; NULL: TCP */
	int fd;		 /* until started, then the handle has it */
	bool is_given;	 /* by systemd, whose file it is and stays */
	/* given, and no listener's any more: systemd goes on listening, so
	 * clients still come, and are sent away rather than left to wait */
	bool is_parked;
	bool is_started;
	bool is_wanted; /* mark of a running reload */
	union {
		uv_handle_t handle;
		uv_stream_t stream;
		uv_tcp_t tcp;
		uv_pipe_t pipe;
	} uv;
};

struct listeners {
	uv_loop_t *loop;
	struct list list;
	listener_fn *on_connection;
	void *owner;
	uv_interface_address_t *addresses; /* of this machine */
	int address_count;
	uint64_t addresses_ms; /* when they were read; 0: never */
};

static char *
listener_text(const struct listener_address *at)
{
	char ip[IP_TEXT_MAX];

	if (at->unix_path != NULL)
		return mem_printf("unix:%s", at->unix_path);
	return mem_printf(at->ip.family == IP_V6 ? "[%s]:%u" : "%s:%u",
			  ip_format(&at->ip, ip), at->port);
}

static int
listener_bind_tcp(const struct listener *listener)
{
	struct sockaddr_storage sa;
	socklen_t len = ip_to_sockaddr(&listener->ip, listener->port, &sa);
	int one = 1, fd, rc;

	fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
		    0);
	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (listener->ip.family == IP_V6)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one,
				 sizeof(one));
	if (bind(fd, (struct sockaddr *)&sa, len) < 0 ||
	    listen(fd, LISTENER_BACKLOG) < 0) {
		rc = -errno;
		(void)close(fd);
		return rc;
	}
	return fd;
}

/* Port 0 is whichever is free: which one? */
static void
listener_learn_port(struct listener *listener)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);

	if (getsockname(listener->fd, (struct sockaddr *)&sa, &len) == 0)
		(void)ip_from_sockaddr((struct sockaddr *)&sa, &listener->port);
}

static int
listener_bind(struct listener *listener, struct err *err)
{
	struct err why = ERR_INIT;

	listener->fd = notify_take_socket(&listener->ip, listener->port,
					  listener->unix_path);
	listener->is_given = listener->fd >= 0;
	if (listener->is_given)
		return 0;
	if (listener->unix_path != NULL) {
		listener->fd =
			place_socket(listener->unix_path, 0666, NULL, &why);
		if (listener->fd < 0)
			return err_text(err, listener->fd, "listener '%s': %s",
					listener->name, why.text);
		return 0;
	}
	listener->fd = listener_bind_tcp(listener);
	/* a machine without IPv6 still serves IPv4 on the default listeners */
	if (listener->fd == -EAFNOSUPPORT && ip_is_unspecified(&listener->ip))
		return 0;
	if (listener->fd == -EADDRINUSE)
		return err_text(err, listener->fd,
				"listener '%s' on %s: another program listens "
				"there (`ss -ltnp` says which)",
				listener->name, listener->address);
	if (listener->fd < 0)
		return err_set(err, listener->fd, "listener '%s' on %s",
			       listener->name, listener->address);
	listener_learn_port(listener);
	return 0;
}

static void
on_closed(uv_handle_t *handle)
{
	struct listener *listener =
		container_of(handle, struct listener, uv.handle);

	free(listener->name);
	free(listener->address);
	free(listener->unix_path);
	free(listener);
}

static void
listener_close(struct listener *listener)
{
	list_remove(&listener->link);
	if (listener->unix_path != NULL && !listener->is_given)
		(void)unlink(listener->unix_path); /* or it stays: harmless */
	if (listener->is_started) {
		uv_close(&listener->uv.handle, on_closed);
		return;
	}
	if (listener->fd >= 0)
		(void)close(listener->fd);
	on_closed(&listener->uv.handle);
}

static void
on_connection(uv_stream_t *stream, int status)
{
	struct listener *listener =
		container_of(stream, struct listener, uv.stream);
	struct listeners *all = listener->all;

	if (status < 0)
		return; /* the connection went away before it was taken */
	all->on_connection(all->owner,
			   listener->is_parked ? NULL : listener->name, stream);
}

static int
listener_start(struct listener *listener, struct err *err)
{
	uv_loop_t *loop = listener->all->loop;
	int rc;

	if (listener->fd < 0 || listener->is_started)
		return 0;
	if (listener->unix_path != NULL) {
		rc = uv_pipe_init(loop, &listener->uv.pipe, 0);
		if (rc == 0)
			rc = uv_pipe_open(&listener->uv.pipe, listener->fd);
	} else {
		rc = uv_tcp_init(loop, &listener->uv.tcp);
		if (rc == 0)
			rc = uv_tcp_open(&listener->uv.tcp, listener->fd);
	}
	listener->is_started = true;
	if (rc == 0)
		rc = uv_listen(&listener->uv.stream, LISTENER_BACKLOG,
			       on_connection);
	if (rc < 0)
		return err_set(err, rc, "listener '%s' on %s", listener->name,
			       listener->address);
	return 0;
}

static struct listener *
listener_find(struct listeners *all, const char *name,
	      const struct listener_address *at, const char *address)
{
	bool is_any_port = at->unix_path == NULL && at->port == 0;
	struct list *node;

	list_each (node, &all->list) {
		struct listener *listener =
			container_of(node, struct listener, link);

		if (strcmp(listener->address, address) != 0)
			continue;
		/* several may ask for any port, and each gets its own */
		if (!is_any_port ||
		    (!listener->is_wanted && strcmp(listener->name, name) == 0))
			return listener;
	}
	return NULL;
}

/* A reload has dropped a socket that systemd passed. A later one may want it
 * again, and nobody could bind it then: systemd has it still. */
static void
listener_park(struct listener *listener)
{
	struct log_line line;

	if (listener->is_parked)
		return;
	listener->is_parked = true;
	log_begin(&line, LOG_LEVEL_WARN, "config");
	log_text(&line, "listener", listener->name);
	log_text(&line, "address", listener->address);
	log_text(&line, "reason",
		 "systemd passed this socket and no listener has its address "
		 "any more: who connects is sent away; take it out of the "
		 ".socket unit too, or configure it again");
	log_end(&line);
}

/* Binds the address, or only renames a listener that has it already. */
static int
listeners_want(struct listeners *all, const char *name,
	       const struct listener_address *at, struct err *err)
{
	char *text = listener_text(at);
	struct listener *listener = listener_find(all, name, at, text);
	int rc;

	if (listener != NULL) {
		free(text);
		free(listener->name);
		listener->name = mem_strdup(name);
		listener->is_wanted = true;
		listener->is_parked = false;
		return 0;
	}
	listener = mem_zalloc(sizeof(*listener));
	listener->all = all;
	listener->name = mem_strdup(name);
	listener->address = text;
	listener->ip = at->ip;
	listener->port = at->port;
	listener->unix_path = mem_strdup(at->unix_path);
	listener->fd = -1;
	listener->is_wanted = true;
	list_push(&all->list, &listener->link);
	rc = listener_bind(listener, err);
	if (rc == 0 && all->on_connection != NULL)
		rc = listener_start(listener, err);
	if (rc < 0) {
		/* what could not be bound is not ours to remove */
		free(listener->unix_path);
		listener->unix_path = NULL;
		listener_close(listener);
	}
	return rc;
}

int
listeners_configure(struct listeners *all, const struct config *config,
		    struct err *err)
{
	struct list *node, *after;
	int rc = 0;

	list_each (node, &all->list)
		container_of(node, struct listener, link)->is_wanted = false;
	for (size_t i = 0; i < config->listener_count; i++) {
		const struct listener_config *conf = &config->listeners[i];

		for (size_t j = 0; j < conf->address_count; j++) {
			struct err why = ERR_INIT;
			int got = listeners_want(all, conf->name,
						 &conf->addresses[j], &why);

			if (got < 0 && rc == 0)
				rc = err_text(err, got, "%s", why.text);
		}
	}
	list_each_safe (node, after, &all->list) {
		struct listener *listener =
			container_of(node, struct listener, link);

		if (listener->is_wanted)
			continue;
		if (listener->is_given)
			listener_park(listener);
		else
			listener_close(listener);
	}
	return rc;
}

int
listeners_open(uv_loop_t *loop, const struct config *config,
	       struct listeners **out, struct err *err)
{
	struct listeners *all = mem_zalloc(sizeof(*all));
	int rc;

	all->loop = loop;
	list_init(&all->list);
	rc = listeners_configure(all, config, err);
	if (rc < 0) {
		listeners_free(all);
		return rc;
	}
	*out = all;
	return 0;
}

int
listeners_start(struct listeners *all, listener_fn *on_connected, void *owner,
		struct err *err)
{
	struct list *node;
	int rc;

	all->on_connection = on_connected;
	all->owner = owner;
	list_each (node, &all->list) {
		rc = listener_start(container_of(node, struct listener, link),
				    err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

void
listeners_stop(struct listeners *all)
{
	struct list *node, *after;

	list_each_safe (node, after, &all->list)
		listener_close(container_of(node, struct listener, link));
}

static bool
listeners_is_this_machine(struct listeners *all, const struct ip *ip)
{
	uint64_t now_ms = clock_boot_ms();

	if (ip_is_loopback(ip))
		return true;
	if (all->addresses_ms == 0 ||
	    now_ms - all->addresses_ms > LISTENER_ADDRESSES_MS) {
		if (all->addresses != NULL)
			uv_free_interface_addresses(all->addresses,
						    all->address_count);
		all->addresses = NULL;
		all->address_count = 0;
		if (uv_interface_addresses(&all->addresses,
					   &all->address_count) < 0)
			all->address_count = 0;
		all->addresses_ms = now_ms;
	}
	for (int i = 0; i < all->address_count; i++) {
		const void *sa = &all->addresses[i].address;
		struct ip mine = ip_from_sockaddr(sa, NULL);

		if (ip_equal(&mine, ip))
			return true;
	}
	return false;
}

bool
listeners_accept_on(struct listeners *all, const struct ip *ip, uint16_t port)
{
	struct list *node;

	list_each (node, &all->list) {
		struct listener *listener =
			container_of(node, struct listener, link);

		if (listener->unix_path != NULL || listener->is_parked ||
		    listener->port != port)
			continue;
		if (ip_equal(&listener->ip, ip))
			return true;
		if (ip_is_unspecified(&listener->ip) &&
		    listener->ip.family == ip->family &&
		    listeners_is_this_machine(all, ip))
			return true;
	}
	return false;
}

void
listeners_each(const struct listeners *all,
	       void (*each)(void *arg, const char *name, const char *address),
	       void *arg)
{
	const struct list *node;

	list_each (node, &all->list) {
		const struct listener *listener =
			container_of(node, struct listener, link);

		const struct listener_address at = {
			.ip = listener->ip,
			.port = listener->port,
			.unix_path = listener->unix_path,
		};
		char *address = listener_text(&at);

		if (listener->fd >= 0 && !listener->is_parked)
			each(arg, listener->name, address);
		free(address);
	}
}

void
listeners_free(struct listeners *all)
{
	if (all == NULL)
		return;
	listeners_stop(all);
	if (all->addresses != NULL)
		uv_free_interface_addresses(all->addresses, all->address_count);
	free(all);
}
