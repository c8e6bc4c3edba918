/* SPDX-License-Identifier: ISC */
/*
 * tests/bench/bench_stream.c - what streams cost
 *
 *	bench_stream echo CLIENTS SECONDS [tls]    round trips of 64 bytes
 *	bench_stream bulk MEGABYTES [tls]          one connection, one way
 *	bench_stream idle CONNECTIONS [tls]        memory of the server's side
 *
 * The peer is a child process, so that CPU time and memory are those of one
 * side alone.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#include "lib/clock.h"
#include "lib/mem.h"
#include "lib/net/stream.h"
#include "lib/net/tls_ctx.h"

#define LINE 64

static uv_loop_t *loop;
static struct tls_ctx *server_ctx, *client_ctx;
static bool is_bulk;
static uint64_t rounds, bytes_in, bytes_total;
static unsigned ready, open_streams;
static struct stream **streams;
static unsigned stream_slots;

static double
cpu_s(void)
{
	struct rusage usage;

	(void)getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static size_t
resident_kib(void)
{
	FILE *file = fopen("/proc/self/statm", "r");
	unsigned long total = 0, resident = 0;

	if (file == NULL)
		return 0;
	if (fscanf(file, "%lu %lu", &total, &resident) != 2)
		resident = 0;
	(void)fclose(file);
	return resident * (size_t)sysconf(_SC_PAGESIZE) / 1024;
}

static void
on_server(void *owner, enum stream_event event)
{
	struct stream **slot = owner;
	const uint8_t *bytes;
	size_t len;

	switch (event) {
	case STREAM_DATA:
		bytes = stream_bytes(*slot, &len);
		bytes_in += len;
		if (!is_bulk)
			(void)stream_write(*slot, bytes, len);
		rounds++;
		stream_consume(*slot, len);
		if (is_bulk && bytes_in >= bytes_total)
			uv_stop(loop);
		break;
	case STREAM_SECURED:
		ready++;
		break;
	case STREAM_EOF:
	case STREAM_FAILED:
		stream_abort(*slot);
		*slot = NULL;
		if (--open_streams == 0)
			uv_stop(loop);
		break;
	case STREAM_CONNECTED:
	case STREAM_DRAINED:
	case STREAM_DEADLINE:
		break;
	}
}

static void
on_connection(uv_stream_t *listener, int status)
{
	struct stream **slot = &streams[stream_slots++];

	if (status < 0 || stream_accept(listener, on_server, slot, slot) < 0)
		exit(1);
	open_streams++;
	if (server_ctx != NULL)
		stream_start_tls(*slot, server_ctx, STREAM_SERVER, NULL);
	else
		ready++;
	stream_set_deadline(*slot, 300000);
	stream_start(*slot);
}

static uint8_t payload[65536];

static void
on_client(void *owner, enum stream_event event)
{
	struct stream **slot = owner;
	size_t len;

	switch (event) {
	case STREAM_CONNECTED:
		if (client_ctx != NULL) {
			stream_start_tls(*slot, client_ctx, STREAM_CLIENT,
					 NULL);
			break;
		}
		__attribute__((fallthrough));
	case STREAM_SECURED:
	case STREAM_DRAINED:
		if (is_bulk)
			while (!stream_write(*slot, payload, sizeof(payload)))
				;
		else if (bytes_total != 0)
			(void)stream_write(*slot, payload, LINE);
		break;
	case STREAM_DATA:
		(void)stream_bytes(*slot, &len);
		stream_set_deadline(*slot, 300000);
		(void)stream_write(*slot, payload, len);
		stream_consume(*slot, len);
		break;
	case STREAM_EOF:
	case STREAM_FAILED:
	case STREAM_DEADLINE:
		exit(0);
	}
}

static void
client_main(struct sockaddr_storage *to, unsigned count)
{
	loop = uv_default_loop();
	streams = calloc(count, sizeof(*streams));
	for (unsigned i = 0; i < count; i++) {
		streams[i] = stream_connect(loop, (struct sockaddr *)to, NULL,
					    on_client, &streams[i]);
		if (i % 64 == 63)
			(void)uv_run(loop, UV_RUN_NOWAIT);
	}
	(void)uv_run(loop, UV_RUN_DEFAULT);
	exit(0);
}

static void
make_contexts(void)
{
	char dir[] = "/tmp/ostler-bench-XXXXXX", cert[64], key[64];
	struct tls_server_opts server = {.files.certificate = cert,
					 .files.key = key,
					 .minimum = "1.2"};
	struct tls_client_opts client = {.ca = cert, .minimum = "1.2"};

	if (mkdtemp(dir) == NULL)
		exit(1);
	(void)snprintf(cert, sizeof(cert), "%s/c", dir);
	(void)snprintf(key, sizeof(key), "%s/k", dir);
	if (tls_make_self_signed("localhost", cert, key, NULL) < 0 ||
	    tls_ctx_server(&server, &server_ctx, NULL) < 0 ||
	    tls_ctx_client(&client, &client_ctx, NULL) < 0)
		exit(1);
	(void)unlink(cert);
	(void)unlink(key);
	(void)rmdir(dir);
}

static void
on_stop(uv_timer_t *timer)
{
	uv_stop(timer->loop);
}

int
main(int argc, char **argv)
{
	bool is_echo = argc > 3 && strcmp(argv[1], "echo") == 0;
	bool is_idle = argc > 2 && strcmp(argv[1], "idle") == 0;
	struct rlimit files = {65536, 65536};
	unsigned count, seconds = 0;
	struct sockaddr_storage to;
	uint64_t begin, last_rounds = 0;
	size_t before_kib;
	int len = sizeof(to);
	uv_timer_t timer;
	uv_tcp_t listener;
	double cpu, took;
	struct ip ip;
	pid_t child;

	is_bulk = argc > 2 && strcmp(argv[1], "bulk") == 0;
	if (!is_echo && !is_idle && !is_bulk)
		return 64;
	count = is_bulk ? 1 : (unsigned)strtoul(argv[2], NULL, 10);
	bytes_total = is_bulk ? strtoull(argv[2], NULL, 10) << 20 : is_echo;
	if (is_echo)
		seconds = (unsigned)strtoul(argv[3], NULL, 10);
	(void)setrlimit(RLIMIT_NOFILE, &files); /* may be enough already */
	if (strcmp(argv[argc - 1], "tls") == 0)
		make_contexts();
	streams = calloc(count + 1, sizeof(*streams));
	(void)ip_parse(str_of("127.0.0.1"), &ip);
	(void)ip_to_sockaddr(&ip, 0, &to);
	loop = mem_zalloc(sizeof(*loop));
	(void)uv_loop_init(loop);
	(void)uv_timer_init(loop, &timer);
	(void)uv_tcp_init(loop, &listener);
	(void)uv_tcp_bind(&listener, (struct sockaddr *)&to, 0);
	(void)uv_listen((uv_stream_t *)&listener, 4096, on_connection);
	(void)uv_tcp_getsockname(&listener, (struct sockaddr *)&to, &len);
	before_kib = resident_kib();
	child = fork();
	if (child == 0)
		client_main(&to, count);
	while (ready < count)
		(void)uv_run(loop, UV_RUN_ONCE);
	begin = clock_boot_ms();
	cpu = cpu_s();
	last_rounds = rounds;
	if (is_echo || is_idle)
		(void)uv_timer_start(&timer, on_stop,
				     is_idle ? 500 : seconds * 1000, 0);
	(void)uv_run(loop, UV_RUN_DEFAULT);
	took = (double)(clock_boot_ms() - begin) / 1000;
	cpu = cpu_s() - cpu;
	if (is_echo)
		printf("%u clients: %.0f round trips/s, %.2f us CPU each\n",
		       count, (double)(rounds - last_rounds) / took,
		       cpu * 1e6 / (double)(rounds - last_rounds));
	else if (is_bulk)
		printf("%.0f MB/s received, %.2f s CPU per GB\n",
		       (double)bytes_in / 1e6 / took,
		       cpu / ((double)bytes_in / 1e9));
	else
		printf("%u idle connections: %.2f KiB each\n", count,
		       (double)(resident_kib() - before_kib) / count);
	(void)kill(child, SIGKILL);
	(void)waitpid(child, NULL, 0);
	return 0;
}
