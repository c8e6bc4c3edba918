/* SPDX-License-Identifier: ISC */
/*
 * The queue with its real deliveries: discard, a Maildir, and an SMTP server
 * that runs in the same loop and answers recipients by their local part.
 */
#include "tests/unit/unit.h"

#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "lib/list.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "lib/work.h"
#include "policy/builder.h"
#include "queue/queue.h"
#include "queue/route/resolver.h"

#define AUTHOR "author@maildir.test"

/* ------------------------------------------------------ the SMTP server */

struct server {
	uv_tcp_t listener;
	uint16_t port;
	struct list sessions;
	unsigned connections, messages, deferred;
	bool is_closed;
	struct buf text; /* of all messages */
};

struct session {
	uv_tcp_t tcp;
	struct list link;
	struct server *server;
	struct buf in;
	bool is_data;
	unsigned recipients; /* taken in this transaction */
	char area[4096];
};

static void
on_session_closed(uv_handle_t *handle)
{
	struct session *session = handle->data;

	buf_done(&session->in);
	free(session);
}

static void
session_close(struct session *session)
{
	if (uv_is_closing((uv_handle_t *)&session->tcp))
		return;
	list_remove(&session->link);
	uv_close((uv_handle_t *)&session->tcp, on_session_closed);
}

static void
session_say(struct session *session, const char *text)
{
	uv_buf_t buf =
		uv_buf_init((char *)(uintptr_t)text, (unsigned)strlen(text));

	ck_assert_int_eq(uv_try_write((uv_stream_t *)&session->tcp, &buf, 1),
			 (int)buf.len);
}

static void
session_command(struct session *session, const char *line)
{
	struct server *server = session->server;

	if (strncmp(line, "EHLO", 4) == 0) {
		session_say(session, "250-hop.test\r\n250-PIPELINING\r\n250 "
				     "8BITMIME\r\n");
	} else if (strncmp(line, "RCPT TO:<never", 14) == 0) {
		session_say(session, "550 5.1.1 no such user\r\n");
	} else if (strncmp(line, "RCPT TO:<later", 14) == 0 &&
		   server->deferred++ == 0) {
		session_say(session, "450 4.2.0 not now\r\n");
	} else if (strncmp(line, "DATA", 4) == 0 && session->recipients == 0) {
		session_say(session, "554 5.5.1 no recipients\r\n");
	} else if (strncmp(line, "DATA", 4) == 0) {
		session->recipients = 0;
		session->is_data = true;
		session_say(session, "354 go on\r\n");
	} else if (strncmp(line, "QUIT", 4) == 0) {
		session_say(session, "221 2.0.0 bye\r\n");
		session_close(session);
	} else {
		session->recipients += strncmp(line, "RCPT", 4) == 0;
		session_say(session, "250 2.0.0 fine\r\n");
	}
}

static void
session_line(struct session *session, const char *line)
{
	if (!session->is_data) {
		session_command(session, line);
		return;
	}
	if (strcmp(line, ".") != 0) {
		(void)buf_addf(&session->server->text, "%s\n", line);
		return;
	}
	session->is_data = false;
	session->server->messages++;
	session_say(session, "250 2.0.0 taken\r\n");
}

static void
on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *out)
{
	struct session *session = handle->data;

	*out = uv_buf_init(session->area, sizeof(session->area));
}

static void
on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buf)
{
	struct session *session = stream->data;

	if (count < 0) {
		session_close(session);
		return;
	}
	ck_assert_int_eq(buf_add(&session->in, buf->base, (size_t)count), 0);
	for (;;) {
		const char *text = buf_text(&session->in);
		const char *end = strstr(text, "\r\n");
		char *line;

		if (end == NULL || uv_is_closing((uv_handle_t *)stream))
			return;
		line = mem_dup(text, (size_t)(end - text));
		buf_consume(&session->in, (size_t)(end - text) + 2);
		session_line(session, line);
		free(line);
	}
}

static void
on_connection(uv_stream_t *listener, int status)
{
	struct server *server = listener->data;
	struct session *session = mem_zalloc(sizeof(*session));

	ck_assert_int_eq(status, 0);
	session->server = server;
	buf_init(&session->in, 1 << 20);
	list_init(&session->link);
	list_push(&server->sessions, &session->link);
	uv_tcp_init(listener->loop, &session->tcp);
	session->tcp.data = session;
	ck_assert_int_eq(uv_accept(listener, (uv_stream_t *)&session->tcp), 0);
	server->connections++;
	session_say(session, "220 hop.test ESMTP\r\n");
	uv_read_start((uv_stream_t *)&session->tcp, on_alloc, on_read);
}

static void
server_open(struct server *server, uv_loop_t *loop)
{
	struct sockaddr_in addr;
	int len = sizeof(addr);

	memset(server, 0, sizeof(*server));
	list_init(&server->sessions);
	buf_init(&server->text, 1 << 20);
	uv_ip4_addr("127.0.0.1", 0, &addr);
	uv_tcp_init(loop, &server->listener);
	server->listener.data = server;
	uv_tcp_bind(&server->listener, (struct sockaddr *)&addr, 0);
	ck_assert_int_eq(uv_listen((uv_stream_t *)&server->listener, 128,
				   on_connection),
			 0);
	uv_tcp_getsockname(&server->listener, (struct sockaddr *)&addr, &len);
	server->port = ntohs(addr.sin_port);
}

static void
server_close(struct server *server)
{
	while (!list_is_empty(&server->sessions))
		session_close(container_of(server->sessions.next,
					   struct session, link));
	uv_close((uv_handle_t *)&server->listener, NULL);
	buf_done(&server->text);
}

/* ---------------------------------------------------------- the world */

struct world {
	uv_loop_t loop;
	uv_timer_t guard;
	char dir[64], spool[96];
	struct server server;
	struct policy *policy;
	struct resolver *resolver;
	struct queue_opts opts;
	struct queue *queue;
	uint64_t ahead_ms;
	bool is_closed;
};

static const uint32_t retry_s[] = {60};

static void
on_policy_report(void *arg, enum builder_severity severity, const char *at,
		 const char *text)
{
	if (severity == BUILDER_ERROR)
		ck_abort_msg("%s: %s", at != NULL ? at : "", text);
}

static void
add_domain(struct builder *builder, const char *name, const char *deliver)
{
	const struct builder_domain domain = {
		.name = {name, "t:2"},
		.deliver = {deliver, "t:2"},
		.delimiter = {"+", NULL},
	};

	builder_add_domain(builder, &domain);
}

static struct policy *
policy_make(const struct world *world)
{
	struct builder *builder = builder_new(on_policy_report, NULL);
	const struct builder_relay relay = {
		.hostname = {"relay.test", "t:1"},
		.postmaster = {"postmaster@maildir.test", "t:1"},
		.mx_points_here = {"defer", NULL},
		.sender_binding = {"domain", NULL},
	};
	char maildir[1024], smtp[64], cwd[512];
	struct policy *policy;

	ck_assert_ptr_nonnull(getcwd(cwd, sizeof(cwd)));
	(void)snprintf(maildir, sizeof(maildir), "maildir:%s/%s/%%u", cwd,
		       world->dir);
	(void)snprintf(smtp, sizeof(smtp), "smtp:127.0.0.1:%u",
		       world->server.port);
	builder_set_relay(builder, &relay);
	add_domain(builder, "discard.test", "discard");
	add_domain(builder, "maildir.test", maildir);
	add_domain(builder, "smtp.test", smtp);
	policy = builder_finish(builder);
	ck_assert_ptr_nonnull(policy);
	return policy;
}

static uint64_t
world_now(void *arg)
{
	const struct world *world = arg;

	return uv_now(&world->loop) + 1795271234567 + world->ahead_ms;
}

static void
on_event(void *owner)
{
}

static void
on_guard(uv_timer_t *timer)
{
	ck_abort_msg("nothing happened for too long");
}

static void
world_init(struct world *world)
{
	static const struct queue_events events = {on_event, on_event};
	static const char *const servers[] = {"127.0.0.1:9", NULL};
	const struct resolver_opts resolver_opts = {
		.servers = servers,
		.timeout_ms = 100,
		.attempts = 1,
		.ttl_max_s = 60,
		.negative_ttl_max_s = 60,
	};
	struct err err = ERR_INIT;

	memset(world, 0, sizeof(*world));
	uv_loop_init(&world->loop);
	uv_timer_init(&world->loop, &world->guard);
	uv_unref((uv_handle_t *)&world->guard);
	(void)snprintf(world->dir, sizeof(world->dir), "test_hops.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(world->dir));
	(void)snprintf(world->spool, sizeof(world->spool), "%s/spool",
		       world->dir);
	server_open(&world->server, &world->loop);
	world->policy = policy_make(world);
	ck_assert_int_eq(resolver_new(&world->loop, &resolver_opts,
				      &world->resolver, &err),
			 0);
	world->opts = (struct queue_opts){
		.spool_dir = world->spool,
		.retry_s = retry_s,
		.retry_count = COUNT(retry_s),
		.expire_s = 5 * 86400,
		.warn_s = 4 * 3600,
		.bounce_expire_s = 86400,
		.grace_s = 3600,
		.connections = 50,
		.port = 25,
		.connect_timeout_ms = 5000,
		.idle_connection_ms = 60000,
		.deliver = true,
		.now_ms = world_now,
		.now_arg = world,
	};
	ck_assert_msg(queue_open(&world->loop, &world->opts, world->policy,
				 world->resolver, &events, world, &world->queue,
				 &err) == 0,
		      "%s", err.text);
}

static void
run_until(struct world *world, bool (*is_so)(struct world *world))
{
	uv_timer_start(&world->guard, on_guard, 60000, 0);
	uv_unref((uv_handle_t *)&world->guard);
	while (!is_so(world))
		uv_run(&world->loop, UV_RUN_ONCE);
	uv_timer_stop(&world->guard);
}

static bool
is_closed(struct world *world)
{
	return world->is_closed;
}

static struct queue_stats
stats_of(struct world *world)
{
	struct queue_stats stats;

	queue_stats(world->queue, &stats);
	return stats;
}

static bool
is_empty(struct world *world)
{
	return stats_of(world).messages == 0;
}

static bool
has_deferred(struct world *world)
{
	return stats_of(world).deferrals == 1 && stats_of(world).active == 0;
}

static void
on_closed(void *arg)
{
	((struct world *)arg)->is_closed = true;
}

static int
on_file(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static void
world_done(struct world *world)
{
	queue_close(world->queue, 0, on_closed, world);
	run_until(world, is_closed);
	resolver_free(world->resolver);
	server_close(&world->server);
	uv_close((uv_handle_t *)&world->guard, NULL);
	uv_run(&world->loop, UV_RUN_DEFAULT);
	ck_assert_int_eq(uv_loop_close(&world->loop), 0);
	policy_unref(world->policy);
	(void)nftw(world->dir, on_file, 16, FTW_DEPTH | FTW_PHYS);
}

/* ------------------------------------------------------------- sending */

struct sending {
	struct queue_put put;
	bool has_ended;
};

static void
on_room(void *owner)
{
}

static void
on_end(void *owner, int status)
{
	ck_assert_int_eq(status, 0);
	((struct sending *)owner)->has_ended = true;
}

static void
sending_begin(struct world *world, struct sending *sending,
	      const char *const *to)
{
	static const char body[] = "Subject: test\r\n\r\n.one dot\r\nend\r\n";
	struct envelope envelope;

	memset(sending, 0, sizeof(*sending));
	envelope_init(&envelope);
	envelope.sender = mem_strdup(AUTHOR);
	envelope.received_ms = world_now(world);
	envelope.listener = mem_strdup("test");
	envelope.client = mem_strdup("192.0.2.1");
	for (; *to != NULL; to++)
		(void)envelope_add(&envelope, *to);
	sending->put.owner = sending;
	sending->put.on_room = on_room;
	sending->put.on_end = on_end;
	queue_put_begin(world->queue, &sending->put, &envelope);
	(void)queue_put_data(&sending->put, body, strlen(body));
	queue_put_end(&sending->put);
}

static void
send_to(struct world *world, const char *const *to)
{
	struct sending sending;

	sending_begin(world, &sending, to);
	while (!sending.has_ended)
		uv_run(&world->loop, UV_RUN_ONCE);
}

#define SEND(world, ...)                                                       \
	send_to(world, (const char *const[]){__VA_ARGS__, NULL})

static unsigned
maildir_count(struct world *world, const char *user)
{
	char path[128];
	struct dirent *file;
	unsigned count = 0;
	DIR *dir;

	(void)snprintf(path, sizeof(path), "%s/%s/new", world->dir, user);
	dir = opendir(path);
	if (dir == NULL)
		return 0;
	for (file = readdir(dir); file != NULL; file = readdir(dir))
		count += file->d_name[0] != '.';
	closedir(dir);
	return count;
}

START_TEST(one_message_goes_three_ways)
{
	struct world world;

	world_init(&world);
	SEND(&world, "a@discard.test", "b@maildir.test", "c@smtp.test",
	     "d@maildir.test", "e@smtp.test");
	run_until(&world, is_empty);
	ck_assert_uint_eq(stats_of(&world).delivered, 5);
	ck_assert_uint_eq(maildir_count(&world, "b"), 1);
	ck_assert_uint_eq(maildir_count(&world, "d"), 1);
	ck_assert_uint_eq(world.server.messages, 1);
	ck_assert_ptr_nonnull(
		strstr(buf_text(&world.server.text), "\n..one dot\nend\n"));
	world_done(&world);
}
END_TEST

START_TEST(a_refusal_comes_back_as_a_report_in_the_senders_maildir)
{
	struct world world;

	world_init(&world);
	SEND(&world, "never@smtp.test", "fine@smtp.test");
	run_until(&world, is_empty);
	ck_assert_uint_eq(stats_of(&world).bounced, 1);
	ck_assert_uint_eq(maildir_count(&world, "author"), 1);
	ck_assert_uint_eq(world.server.messages, 1);
	world_done(&world);
}
END_TEST

START_TEST(a_deferral_is_tried_again_and_read_back_from_the_spool)
{
	struct world world;

	world_init(&world);
	SEND(&world, "later@smtp.test");
	run_until(&world, has_deferred);
	ck_assert_uint_eq(world.server.messages, 0);
	world.ahead_ms += 67000;
	queue_configure(world.queue, &world.opts, world.policy);
	run_until(&world, is_empty);
	ck_assert_uint_eq(world.server.messages, 1);
	ck_assert_ptr_nonnull(
		strstr(buf_text(&world.server.text), "Subject: test\n"));
	world_done(&world);
}
END_TEST

START_TEST(many_messages_share_few_connections)
{
	enum { ALL = 300 };
	static struct sending sendings[ALL];
	static const char *const to[] = {"x@smtp.test", NULL};
	struct world world;

	world_init(&world);
	for (unsigned i = 0; i < ALL; i++)
		sending_begin(&world, &sendings[i], to);
	for (unsigned i = 0; i < ALL; i++)
		while (!sendings[i].has_ended)
			uv_run(&world.loop, UV_RUN_ONCE);
	run_until(&world, is_empty);
	ck_assert_uint_eq(world.server.messages, ALL);
	ck_assert_uint_le(world.server.connections, 30);
	world_done(&world);
}
END_TEST

START_TEST(ten_thousand_messages_are_discarded)
{
	enum { ALL = 10000, AT_ONCE = 1000 };
	static struct sending sendings[AT_ONCE];
	static const char *const to[] = {"x@discard.test", NULL};
	struct world world;

	world_init(&world);
	for (unsigned sent = 0; sent < ALL; sent += AT_ONCE) {
		for (unsigned i = 0; i < AT_ONCE; i++)
			sending_begin(&world, &sendings[i], to);
		for (unsigned i = 0; i < AT_ONCE; i++)
			while (!sendings[i].has_ended)
				uv_run(&world.loop, UV_RUN_ONCE);
	}
	run_until(&world, is_empty);
	ck_assert_uint_eq(stats_of(&world).delivered, ALL);
	ck_assert_uint_eq(stats_of(&world).entry_bytes >> 20, 0);
	world_done(&world);
}
END_TEST

UNIT_MAIN(
	"queue_hops", work_init();
	log_configure(LOG_FORMAT_TEXT, LOG_LEVEL_WARN, false);
	tcase_add_test(tc, one_message_goes_three_ways);
	tcase_add_test(tc,
		       a_refusal_comes_back_as_a_report_in_the_senders_maildir);
	tcase_add_test(tc,
		       a_deferral_is_tried_again_and_read_back_from_the_spool);
	tcase_add_test(tc, many_messages_share_few_connections);
	tcase_add_test(tc, ten_thousand_messages_are_discarded);)
