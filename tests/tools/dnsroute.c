/* SPDX-License-Identifier: ISC */
/*
 * tests/tools/dnsroute.c - prints routes as the queue would see them
 *
 *	dnsroute [-s IP:PORT]... [-r RESOLV_CONF] [-t TIMEOUT_MS] [-a ATTEMPTS]
 *		 [-p PORT] [-H HOSTNAME] [-o IP] [-4|-6] [-P] [-F] [-i]
 *		 DOMAIN|smtp:HOST...
 *	dnsroute -s IP:PORT -n COUNT PATTERN	(PATTERN: with one %u)
 *
 * -P private targets allowed, -F always ask afresh, -o an address of ours,
 * -i domains come line by line on standard input, each answered at once by
 * the one process with its one cache. -n: the MX of COUNT names, and what it
 * costs.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <uv.h>

#include "lib/clock.h"
#include "lib/mem.h"
#include "lib/str.h"
#include "queue/route/resolver.h"
#include "queue/route/route.h"

static const char *servers[9];
static size_t server_count;
static struct resolver_opts resolver_opts = {
	.servers = servers,
	.timeout_ms = 1000,
	.attempts = 2,
	.ttl_max_s = 86400,
	.negative_ttl_max_s = 900,
};
static struct route_opts route_opts = {.port = 25, .hostname = "me.example"};
static struct resolver *resolver;
static enum hop_family family;
static struct ip ours;
static unsigned waiting;
static uint64_t failures;
static uv_pipe_t input;
static bool is_input_open;
static char line[1024];
static size_t line_len;

static bool
is_ours(void *arg, const struct ip *ip, uint16_t port)
{
	return ip_equal(ip, &ours) && port == route_opts.port;
}

static void
finish_when_done(void)
{
	if (waiting != 0 || is_input_open || resolver == NULL)
		return;
	resolver_free(resolver);
	resolver = NULL;
}

static void
print_host(const struct route_host *host)
{
	char text[IP_TEXT_MAX];

	printf("host %d %s %u%s%s", host->preference, host->name, host->port,
	       host->is_cached ? " cached" : "",
	       host->is_secure ? " secure" : "");
	for (size_t i = 0; i < host->addr_count; i++)
		printf(" %s", ip_format(&host->addrs[i], text));
	if (host->why[0] != '\0')
		printf(" (%s)", host->why);
	printf("\n");
}

static void
print_route(const struct route *route)
{
	uint64_t now = resolver_now_ms(resolver);
	uint64_t left = route->expires_ms > now ? route->expires_ms - now : 0;

	if (route->cause == CAUSE_REPLY)
		printf("route %s%s", route->domain,
		       route->is_implicit_mx ? " implicit" : "");
	else
		printf("none %s cause=%d %s \"%s\"", route->domain,
		       (int)route->cause,
		       route->is_permanent ? "permanent" : "temporary",
		       route->why);
	if (route->expires_ms == UINT64_MAX)
		printf(" ttl=never\n");
	else
		printf(" ttl=%" PRIu64 "\n", (left + 999) / 1000);
	for (size_t i = 0; i < route->host_count; i++)
		print_host(&route->hosts[i]);
	printf(".\n");
	fflush(stdout);
}

static void
on_route(void *owner, struct route *route)
{
	print_route(route);
	waiting--;
	finish_when_done();
}

static void
find(const char *what)
{
	struct next_hop hop = {.kind = HOP_MX, .family = family};
	struct hop_target target = {.port = route_opts.port};

	if (strncmp(what, "smtp:", 5) == 0) {
		hop.kind = HOP_SMTP;
		target.host = what + 5;
		hop.targets = &target;
		hop.target_count = 1;
	}
	(void)str_copy(hop.domain, sizeof(hop.domain), str_of(what));
	waiting++;
	(void)route_find(resolver, &hop, &route_opts, on_route, NULL);
}

static void
on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *to)
{
	*to = uv_buf_init(line + line_len,
			  (unsigned)(sizeof(line) - 1 - line_len));
}

static void
on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *from)
{
	char *end;

	if (got < 0) {
		is_input_open = false;
		uv_close((uv_handle_t *)stream, NULL);
		finish_when_done();
		return;
	}
	line_len += (size_t)got;
	line[line_len] = '\0';
	for (end = strchr(line, '\n'); end != NULL; end = strchr(line, '\n')) {
		*end = '\0';
		find(line);
		line_len -= (size_t)(end + 1 - line);
		memmove(line, end + 1, line_len + 1);
	}
}

static void
on_set(void *owner, struct dns_set *set)
{
	if (set->status != DNS_OK)
		failures++;
	if (--waiting == 0)
		uv_stop(owner);
}

static double
cpu_s(void)
{
	struct rusage usage;

	(void)getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void
measure(uv_loop_t *loop, unsigned count, const char *pattern)
{
	const char *hole = strstr(pattern, "%u");
	struct resolver_stats stats;

	if (hole == NULL)
		exit(64);
	for (unsigned pass = 0; pass < 2; pass++) {
		uint64_t begin = clock_boot_ms();
		double cpu = cpu_s();

		for (unsigned i = 0; i < count; i++) {
			char name[256];

			(void)snprintf(name, sizeof(name), "%.*s%u%s",
				       (int)(hole - pattern), pattern, i,
				       hole + 2);
			waiting++;
			(void)resolver_ask(resolver, name, DNS_MX, 0, on_set,
					   loop);
		}
		(void)uv_run(loop, UV_RUN_DEFAULT); /* until on_set stops it */
		cpu = cpu_s() - cpu;
		printf("%s %u lookups: %" PRIu64 " failed, %" PRIu64
		       " ms, %.1f us CPU each\n",
		       pass == 0 ? "new" : "cached", count, failures,
		       clock_boot_ms() - begin, cpu * 1e6 / count);
	}
	resolver_stats(resolver, &stats);
	printf("packets %" PRIu64 " entries %" PRIu64 " bytes %" PRIu64 "\n",
	       stats.packets, stats.entries, stats.bytes);
}

static unsigned
number(const char *text)
{
	uint64_t value;

	if (!str_u64(str_of(text), 1000000, &value))
		exit(64);
	return (unsigned)value;
}

static void
options(int argc, char **argv, unsigned *out_count)
{
	int option = getopt(argc, argv, "s:r:t:a:p:H:o:46PFin:");

	for (; option != -1;
	     option = getopt(argc, argv, "s:r:t:a:p:H:o:46PFin:")) {
		if (option == 's' && server_count < 8)
			servers[server_count++] = optarg;
		else if (option == 'r')
			resolver_opts.resolv_conf = optarg;
		else if (option == 't')
			resolver_opts.timeout_ms = number(optarg);
		else if (option == 'a')
			resolver_opts.attempts = number(optarg);
		else if (option == 'p')
			route_opts.port = (uint16_t)number(optarg);
		else if (option == 'H')
			route_opts.hostname = optarg;
		else if (option == 'o' && ip_parse(str_of(optarg), &ours))
			route_opts.is_ours = is_ours;
		else if (option == '4')
			family = HOP_FAMILY_V4;
		else if (option == '6')
			family = HOP_FAMILY_V6;
		else if (option == 'P')
			route_opts.private_targets = true;
		else if (option == 'F')
			route_opts.is_fresh = true;
		else if (option == 'i')
			is_input_open = true;
		else if (option == 'n')
			*out_count = number(optarg);
		else
			exit(64);
	}
}

int
main(int argc, char **argv)
{
	struct err err = ERR_INIT;
	unsigned count = 0;
	uv_loop_t loop;

	options(argc, argv, &count);
	(void)uv_loop_init(&loop);
	if (resolver_new(&loop, &resolver_opts, &resolver, &err) < 0) {
		fprintf(stderr, "dnsroute: %s\n", err.text);
		return 78;
	}
	if (is_input_open) {
		(void)uv_pipe_init(&loop, &input, 0);
		(void)uv_pipe_open(&input, STDIN_FILENO);
		(void)uv_read_start((uv_stream_t *)&input, on_alloc, on_read);
	}
	if (count != 0) {
		measure(&loop, count, argv[optind]);
		resolver_free(resolver);
	} else {
		for (int i = optind; i < argc; i++)
			find(argv[i]);
	}
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	return uv_loop_close(&loop) == 0 ? 0 : 1;
}
