/* SPDX-License-Identifier: ISC */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/mem.h"
#include "lib/net/stream.h"
#include "lib/net/stream_private.h"

struct stream_connecting {
	uv_connect_t req;
	struct stream *stream;
	char to[sizeof(((struct sockaddr_un *)NULL)->sun_path) + IP_TEXT_MAX];
};

/* Room for either kind of address. */
union address {
	struct sockaddr sa;
	struct sockaddr_un un;
	struct sockaddr_storage any;
};

static void
set_peer(struct stream *stream)
{
	union address address = {.sa.sa_family = AF_UNSPEC};
	int len = sizeof(address);

	/* a peer that has gone again has no address: IP_NONE */
	if (stream->uv.handle.type == UV_TCP)
		(void)uv_tcp_getpeername(&stream->uv.tcp, &address.sa, &len);
	stream->peer_ip = ip_from_sockaddr(&address.sa, &stream->peer_port);
}

static int
init_handle(struct stream *stream, bool is_tcp, unsigned family)
{
	uv_loop_t *loop = stream->loop->loop;
	int rc;

	if (is_tcp) {
		rc = uv_tcp_init_ex(loop, &stream->uv.tcp, family);
		if (rc < 0) /* without a socket it cannot fail */
			(void)uv_tcp_init(loop, &stream->uv.tcp);
		(void)uv_tcp_nodelay(&stream->uv.tcp, 1);
	} else {
		rc = uv_pipe_init(loop, &stream->uv.pipe, 0);
	}
	stream->uv.handle.data = stream;
	return rc;
}

int
stream_accept(uv_stream_t *listener, stream_fn *on_event, void *owner,
	      struct stream **out)
{
	struct stream *stream = stream_new(listener->loop, on_event, owner);
	int rc = init_handle(stream, listener->type == UV_TCP, AF_UNSPEC);

	if (rc == 0)
		rc = uv_accept(listener, &stream->uv.stream);
	if (rc < 0) {
		stream_abort(stream);
		return rc;
	}
	set_peer(stream);
	*out = stream;
	return 0;
}

int
stream_from_fd(uv_loop_t *loop, int fd, stream_fn *on_event, void *owner,
	       struct stream **out)
{
	union address address = {.sa.sa_family = AF_UNSPEC};
	socklen_t len = sizeof(address);
	struct stream *stream;
	bool is_tcp;
	int rc;

	if (getsockname(fd, &address.sa, &len) < 0) {
		rc = -errno;
		(void)close(fd); /* taken; nothing was written to it */
		return rc;
	}
	is_tcp = address.sa.sa_family != AF_UNIX;
	stream = stream_new(loop, on_event, owner);
	rc = init_handle(stream, is_tcp, AF_UNSPEC);
	if (rc == 0)
		rc = is_tcp ? uv_tcp_open(&stream->uv.tcp, fd)
			    : uv_pipe_open(&stream->uv.pipe, fd);
	if (rc < 0) {
		(void)close(fd);
		stream_abort(stream);
		return rc;
	}
	set_peer(stream);
	*out = stream;
	return 0;
}

static void
on_connected(uv_connect_t *req, int status)
{
	struct stream_connecting *connecting = req->data;
	struct stream *stream = connecting->stream;

	if (stream->life == LIFE_CONNECTING) {
		if (status < 0)
			stream_fail(stream, true, status, "connect to %s",
				    connecting->to);
		else
			stream_ready(stream);
	}
	free(connecting);
}

static void
describe(struct stream_connecting *connecting, const struct sockaddr *to)
{
	char text[IP_TEXT_MAX];
	uint16_t port;
	struct ip ip;

	if (to->sa_family == AF_UNIX) {
		const struct sockaddr_un *un = (const void *)to;

		(void)str_copy(connecting->to, sizeof(connecting->to),
			       str_from(un->sun_path,
					strnlen(un->sun_path,
						sizeof(un->sun_path))));
		return;
	}
	ip = ip_from_sockaddr(to, &port);
	(void)snprintf(connecting->to, sizeof(connecting->to), "%s port %u",
		       ip_format(&ip, text), port);
}

static int
bind_source(struct stream *stream, const struct ip *source)
{
	union address address;
	int fd, on = 1;

	(void)ip_to_sockaddr(source, 0, &address.any);
	/* the port is chosen at connect, so that many connections from one
	 * address do not use up its ports; older kernels choose it now */
	if (uv_fileno(&stream->uv.handle, &fd) == 0)
		(void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on,
				 sizeof(on));
	return uv_tcp_bind(&stream->uv.tcp, &address.sa, 0);
}

struct stream *
stream_connect(uv_loop_t *loop, const struct sockaddr *to,
	       const struct ip *source, stream_fn *on_event, void *owner)
{
	struct stream *stream = stream_new(loop, on_event, owner);
	struct stream_connecting *connecting = mem_zalloc(sizeof(*connecting));
	bool is_tcp = to->sa_family != AF_UNIX;
	int rc;

	stream->life = LIFE_CONNECTING;
	connecting->req.data = connecting;
	connecting->stream = stream;
	describe(connecting, to);
	rc = init_handle(stream, is_tcp, to->sa_family);
	if (rc == 0 && is_tcp && source != NULL && source->family != IP_NONE) {
		rc = bind_source(stream, source);
		if (rc < 0) {
			char text[IP_TEXT_MAX];

			stream_fail(stream, true, rc, "connect from %s",
				    ip_format(source, text));
			free(connecting);
			return stream;
		}
	}
	if (rc == 0 && is_tcp) {
		stream->peer_ip = ip_from_sockaddr(to, &stream->peer_port);
		rc = uv_tcp_connect(&connecting->req, &stream->uv.tcp, to,
				    on_connected);
	} else if (rc == 0) {
		uv_pipe_connect(&connecting->req, &stream->uv.pipe,
				connecting->to, on_connected);
	}
	if (rc < 0) {
		stream_fail(stream, true, rc, "connect to %s", connecting->to);
		free(connecting);
	}
	return stream;
}

void
stream_peer(const struct stream *stream, struct ip *out_ip, uint16_t *out_port)
{
	*out_ip = stream->peer_ip;
	if (out_port != NULL)
		*out_port = stream->peer_port;
}

void
stream_local(const struct stream *stream, struct ip *out_ip, uint16_t *out_port)
{
	union address address = {.sa.sa_family = AF_UNSPEC};
	int len = sizeof(address);

	if (stream->uv.handle.type == UV_TCP)
		(void)uv_tcp_getsockname(&stream->uv.tcp, &address.sa, &len);
	*out_ip = ip_from_sockaddr(&address.sa, out_port);
}

int64_t
stream_peer_uid(const struct stream *stream)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);
	int fd;

	if (stream->uv.handle.type != UV_NAMED_PIPE ||
	    uv_fileno(&stream->uv.handle, &fd) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return -1;
	return peer.uid;
}
