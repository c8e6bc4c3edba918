/* SPDX-License-Identifier: ISC */
/*
 * queue/deliver/watch.h - an attempt that is watched, and stops before DATA
 *
 * A delivery with a watcher does all that another one does, by the same
 * functions, over a connection of its own: when a recipient was accepted, it
 * ends. No message is sent, nothing is logged or written.
 */
#ifndef OSTLER_QUEUE_DELIVER_WATCH_H
#define OSTLER_QUEUE_DELIVER_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ip;
struct route;
struct stream_tls_info;

/* All arguments are lent for the call, which must not end the delivery. */
struct delivery_watch {
	void *arg;
	void (*on_route)(void *arg, const struct route *route);
	/* A connection is tried; connected; or why not. An address of IP_NONE
	 * means that host is the path of a unix socket. */
	void (*on_dial)(void *arg, const char *host, const struct ip *ip,
			uint16_t port);
	void (*on_dialled)(void *arg, const char *host, const struct ip *ip,
			   uint16_t port, const char *failure);
	void (*on_tls)(void *arg, const struct stream_tls_info *info);
	/* What was said, without its CR LF and cut at WATCH_LINE_MAX; of a
	 * login only that there was one. */
	void (*on_line)(void *arg, bool is_ours, const char *line);
};

#define WATCH_LINE_MAX 600

/* One side's bytes, made lines of. Zeroed to begin. */
struct watch_lines {
	char line[WATCH_LINE_MAX + 1];
	size_t len;
};

/*
 * Hands on the lines that end in these bytes.
 *
 * is_secret  they belong to a login: what is ours is not shown
 */
void watch_bytes(const struct delivery_watch *watch, struct watch_lines *lines,
		 bool is_ours, bool is_secret, const uint8_t *bytes,
		 size_t len);

#endif
