/* SPDX-License-Identifier: ISC */
#include "server/notify.h"

#include <config.h> /* <>: not server/config.h */

#ifdef HAVE_SYSTEMD

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <time.h>

#define NOTIFY_SOCKETS_MAX 64

static bool is_taken[NOTIFY_SOCKETS_MAX];

void
notify_ready(void)
{
	(void)sd_notify(0, "READY=1"); /* nobody listens: fine */
}

void
notify_reloading(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	(void)sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu",
			 (unsigned long long)now.tv_sec * 1000000 +
				 (unsigned long long)now.tv_nsec / 1000);
}

void
notify_stopping(void)
{
	(void)sd_notify(0, "STOPPING=1");
}

bool
notify_has_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat st;

	/* set for the whole unit; true only when stderr was not redirected */
	return stream != NULL &&
	       sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
	       fstat(2, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

static bool
notify_matches(int fd, const struct ip *ip, uint16_t port,
	       const char *unix_path)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	struct ip bound;
	uint16_t bound_port;

	if (unix_path != NULL)
		return sd_is_socket_unix(fd, SOCK_STREAM, 1, unix_path, 0) > 0;
	/* one of the same address may be for datagrams */
	if (sd_is_socket(fd, AF_UNSPEC, SOCK_STREAM, 1) <= 0 ||
	    getsockname(fd, (struct sockaddr *)&sa, &len) < 0)
		return false;
	bound = ip_from_sockaddr((struct sockaddr *)&sa, &bound_port);
	return bound_port == port && ip_equal(&bound, ip);
}

int
notify_take_socket(const struct ip *ip, uint16_t port, const char *unix_path)
{
	int count = sd_listen_fds(0);

	for (int i = 0; i < count && i < NOTIFY_SOCKETS_MAX; i++) {
		int fd = SD_LISTEN_FDS_START + i;
		int flags;

		if (is_taken[i] || !notify_matches(fd, ip, port, unix_path))
			continue;
		is_taken[i] = true;
		flags = fcntl(fd, F_GETFL);
		(void)fcntl(fd, F_SETFL, flags | O_NONBLOCK);
		return fd;
	}
	return -1;
}

static void
notify_address(int fd, char *to, size_t size)
{
	struct sockaddr_storage sa;
	struct sockaddr_un un;
	socklen_t len = sizeof(sa);
	char text[IP_TEXT_MAX];
	uint16_t port;
	struct ip ip;

	(void)snprintf(to, size, "socket %d", fd);
	if (sd_is_socket(fd, AF_UNSPEC, SOCK_STREAM, 1) <= 0 ||
	    getsockname(fd, (struct sockaddr *)&sa, &len) < 0)
		return;
	if (sa.ss_family == AF_UNIX) {
		memcpy(&un, &sa, sizeof(un));
		(void)snprintf(to, size, "unix:%.*s", (int)sizeof(un.sun_path),
			       un.sun_path);
		return;
	}
	ip = ip_from_sockaddr((struct sockaddr *)&sa, &port);
	(void)snprintf(to, size, ip.family == IP_V6 ? "[%s]:%u" : "%s:%u",
		       ip_format(&ip, text), port);
}

void
notify_unused(void (*each)(void *arg, const char *address), void *arg)
{
	int count = sd_listen_fds(0);

	for (int i = 0; i < count && i < NOTIFY_SOCKETS_MAX; i++) {
		char address[128];

		if (is_taken[i])
			continue;
		notify_address(SD_LISTEN_FDS_START + i, address,
			       sizeof(address));
		each(arg, address);
	}
}

#else

void
notify_ready(void)
{
}

void
notify_reloading(void)
{
}

void
notify_stopping(void)
{
}

bool
notify_has_journal(void)
{
	return false;
}

int
notify_take_socket(const struct ip *ip, uint16_t port, const char *unix_path)
{
	(void)ip;
	(void)port;
	(void)unix_path;
	return -1;
}

void
notify_unused(void (*each)(void *arg, const char *address), void *arg)
{
	(void)each;
	(void)arg;
}

#endif
