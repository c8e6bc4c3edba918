/* SPDX-License-Identifier: ISC */
/*
 * tests/unit/delivery_world.h - a deliverer, a message and scripted servers
 *
 * Stands for what queue/deliver needs around it: one next hop whose targets
 * are servers with scripts, in order; a body in a fake spool.
 */
#ifndef OSTLER_TESTS_UNIT_DELIVERY_WORLD_H
#define OSTLER_TESTS_UNIT_DELIVERY_WORLD_H

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "queue/deliver/delivery.h"
#include "queue/route/resolver.h"
#include "tests/unit/fake_spool.h"
#include "tests/unit/guard.h"
#include "tests/unit/smtp_server.h"

#define GREET "S 220 x\nC EHLO me.example\n"
#define EHLO  GREET "S 250 x\n"
#define MAIL  "C MAIL FROM:<a@from.example>\nS 250 ok\n"
#define RCPT  "C RCPT TO:<r0@to.example>\nS 250 ok\n"
#define BODY  "C DATA\nS 354 go\nBODY\n"
#define GOOD  MAIL RCPT BODY "S 250 2.0.0 taken\n"
#define QUIT  "C QUIT\nS 221 bye\nCLOSE\n"

#define STARTTLS GREET "S 250-x\nS 250 STARTTLS\nC STARTTLS\nS 220 go\n"

#define MESSAGE "Subject: x\r\n\r\nhello\r\n.dot\r\n"

static struct {
	uv_loop_t loop;
	uv_timer_t guard;
	struct resolver *resolver;
	struct deliverer_opts opts;
	struct deliverer *deliverer;
	struct spool spool;
	struct server servers[6];
	size_t server_count;
	char dir[64];

	struct hop_target targets[6];
	struct next_hop hop;
	struct recipient recipients[4];
	struct envelope envelope;

	struct outcome outcomes[4];
	size_t outcome_count;
	unsigned done;
	char attempts[512]; /* ports, as servers' indexes */
} world;

static void
on_attempt(void *arg, uint64_t id, const char *host, const struct ip *ip,
	   uint16_t port, const char *next_hop, int64_t ttl_s)
{
	size_t at = strlen(world.attempts);

	ck_assert_uint_eq(id, 77);
	for (size_t i = 0; i < world.server_count; i++)
		if (world.servers[i].port == port)
			(void)snprintf(world.attempts + at,
				       sizeof(world.attempts) - at, "%zu", i);
}

static void
world_init(void)
{
	static char names[4][24];
	const struct resolver_opts resolver = {
		.servers = (const char *const[]){"127.0.0.1:9", NULL},
		.timeout_ms = 1000,
		.attempts = 1,
	};
	struct err err = ERR_INIT;

	memset(&world, 0, sizeof(world));
	(void)snprintf(world.dir, sizeof(world.dir),
		       "/tmp/ostler-delivery-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(world.dir));
	/* the system's hundred authorities take longer than the test */
	(void)setenv("SSL_CERT_FILE", "/dev/null", 1);
	(void)setenv("SSL_CERT_DIR", world.dir, 1);
	ck_assert_int_eq(uv_loop_init(&world.loop), 0);
	(void)uv_timer_init(&world.loop, &world.guard);
	guard_start(&world.guard);
	ck_assert_int_eq(resolver_new(&world.loop, &resolver, &world.resolver,
				      &err),
			 0);
	world.spool.loop = &world.loop;
	world.spool.body = MESSAGE;
	world.spool.len = strlen(MESSAGE);
	world.spool.is_in_memory = true;
	world.opts.hostname = "me.example";
	world.opts.connect_timeout_ms = 30000;
	world.opts.idle_connection_ms = 30000;
	world.opts.on_attempt = on_attempt;
	world.deliverer = deliverer_new(&world.loop, &world.opts,
					world.resolver, &world.spool);

	world.hop.kind = HOP_SMTP;
	(void)snprintf(world.hop.key, sizeof(world.hop.key), "route test");
	world.hop.targets = world.targets;
	world.hop.connections = 10;
	world.hop.messages_per_connection = 100;
	world.envelope.id = 77;
	world.envelope.sender = (char *)"a@from.example";
	world.envelope.size = strlen(MESSAGE);
	world.envelope.recipients = world.recipients;
	world.envelope.recipient_count = 1;
	for (size_t i = 0; i < 4; i++) {
		(void)snprintf(names[i], sizeof(names[i]), "r%zu@to.example",
			       i);
		world.recipients[i].address = names[i];
	}
}

/* A server with a script for its first connection; NULL: it refuses. */
static struct server *
add_server(const char *script)
{
	struct server *server = &world.servers[world.server_count];
	struct hop_target *target = &world.targets[world.server_count++];

	server_init(server, &world.loop, script != NULL);
	server->scripts[0] = script;
	target->host = "127.0.0.1";
	target->port = server->port;
	world.hop.target_count = world.server_count;
	return server;
}

static void __attribute__((unused)) add_tls(struct server *server)
{
	struct tls_server_opts opts = {.minimum = "1.2"};
	char certificate[128], key[128];
	struct err err = ERR_INIT;

	(void)snprintf(certificate, sizeof(certificate), "%s/cert.pem",
		       world.dir);
	(void)snprintf(key, sizeof(key), "%s/key.pem", world.dir);
	if (access(key, F_OK) != 0)
		ck_assert_int_eq(tls_make_self_signed("mx.example", certificate,
						      key, &err),
				 0);
	opts.files.certificate = certificate;
	opts.files.key = key;
	ck_assert_int_eq(tls_ctx_server(&opts, &server->tls, &err), 0);
}

static void __attribute__((unused)) write_password(const char *text)
{
	static char path[128];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/password", world.dir);
	fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	(void)close(fd);
	world.hop.user = "joe";
	world.hop.password_file = path;
}

static void
on_done(void *owner, const struct outcome *outcomes, size_t count)
{
	ck_assert_ptr_eq(owner, &world);
	ck_assert_uint_le(count, COUNT(world.outcomes));
	memcpy(world.outcomes, outcomes, count * sizeof(*outcomes));
	world.outcome_count = count;
	world.done++;
	/* a callback from a timer: do not go on to wait for sockets */
	uv_stop(&world.loop);
}

static struct delivery *
start(void)
{
	static const size_t indexes[4] = {0, 1, 2, 3};
	struct delivery_request request = {
		.hop = &world.hop,
		.envelope = &world.envelope,
		.recipients = indexes,
		.recipient_count = world.envelope.recipient_count,
	};
	unsigned before = world.done;
	struct delivery *delivery =
		delivery_start(world.deliverer, &request, on_done, &world);

	ck_assert_uint_eq(world.done, before);
	return delivery;
}

static void
run_until(const unsigned *counter, unsigned value)
{
	guard_start(&world.guard);
	while (*counter < value)
		(void)uv_run(&world.loop, UV_RUN_ONCE);
}

static __attribute__((unused)) const struct outcome *
deliver(void)
{
	unsigned next = world.done + 1;

	(void)start();
	run_until(&world.done, next);
	ck_assert_uint_eq(world.outcome_count, world.envelope.recipient_count);
	return &world.outcomes[0];
}

static void
world_done(void)
{
	struct deliverer_stats stats;
	char command[128];

	deliverer_stats(world.deliverer, &stats);
	ck_assert_uint_eq(stats.connections, stats.idle);
	deliverer_free(world.deliverer);
	for (size_t i = 0; i < world.server_count; i++) {
		ck_assert_str_eq(world.servers[i].wrong, "");
		server_done(&world.servers[i]);
	}
	resolver_free(world.resolver);
	uv_close((uv_handle_t *)&world.guard, NULL);
	(void)uv_run(&world.loop, UV_RUN_DEFAULT);
	ck_assert_uint_eq(stream_count(), 0);
	ck_assert_uint_eq(world.spool.pins, 0);
	ck_assert_int_eq(uv_loop_close(&world.loop), 0);
	(void)snprintf(command, sizeof(command), "rm -rf '%s'", world.dir);
	ck_assert_int_eq(system(command), 0);
}

#define assert_own(its_outcome, its_cause, its_phase)                          \
	do {                                                                   \
		const struct outcome *own = (its_outcome);                     \
                                                                               \
		ck_assert_str_eq(cause_name(own->cause),                       \
				 cause_name(its_cause));                       \
		ck_assert_str_eq(smtp_phase_name(own->phase),                  \
				 smtp_phase_name(its_phase));                  \
		ck_assert_int_eq((int)own->kind, OUTCOME_DEFERRED);            \
	} while (0)

static void __attribute__((unused))
assert_delivered(const struct outcome *outcome)
{
	ck_assert_msg(outcome->kind == OUTCOME_DELIVERED, "%s %s: %s",
		      cause_name(outcome->cause),
		      smtp_phase_name(outcome->phase), outcome->status.text);
}

#endif
