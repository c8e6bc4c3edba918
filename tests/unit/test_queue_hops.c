/* SPDX-License-Identifier: ISC */
/*
 * The queue with its real deliveries: discard, a Maildir, and an SMTP server
 * that runs in the same loop and answers recipients by their local part.
 */
#include "tests/unit/queue_box.h"

#include <dirent.h>

#include "lib/list.h"
#include "lib/log.h"
#include "lib/work.h"

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

static const uint32_t retry_s[] = {60};

static struct server server;
static char spool_dir[96];

static struct policy *
policy_make(const struct world *world)
{
	struct builder *builder = policy_begin("postmaster@maildir.test");
	char maildir[1024], smtp[64], cwd[512];

	ck_assert_ptr_nonnull(getcwd(cwd, sizeof(cwd)));
	(void)snprintf(maildir, sizeof(maildir), "maildir:%s/%s/%%u", cwd,
		       world->dir);
	(void)snprintf(smtp, sizeof(smtp), "smtp:127.0.0.1:%u", server.port);
	policy_add_domain(builder, "discard.test", "discard");
	policy_add_domain(builder, "maildir.test", maildir);
	policy_add_domain(builder, "smtp.test", smtp);
	return policy_end(builder);
}

static void
world_init(struct world *world)
{
	static const char *const servers[] = {"127.0.0.1:9", NULL};
	const struct resolver_opts resolver_opts = {
		.servers = servers,
		.timeout_ms = 100,
		.attempts = 1,
		.ttl_max_s = 60,
		.negative_ttl_max_s = 60,
	};
	struct err err = ERR_INIT;

	box_init(world, retry_s, COUNT(retry_s));
	world->is_clock_running = true;
	(void)snprintf(spool_dir, sizeof(spool_dir), "%s/spool", world->dir);
	world->opts.spool_dir = spool_dir;
	world->opts.connections = 50;
	world->opts.connect_timeout_ms = 5000;
	world->opts.idle_connection_ms = 60000;
	server_open(&server, &world->loop);
	world->policy = policy_make(world);
	ck_assert_int_eq(resolver_new(&world->loop, &resolver_opts,
				      &world->resolver, &err),
			 0);
	box_open(world);
}

static void
world_done(struct world *world)
{
	world_close(world, 0);
	server_close(&server);
	box_done(world);
}

static bool
has_deferred(struct world *world)
{
	return stats_of(world).deferrals == 1 && stats_of(world).active == 0;
}

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
	SEND(&world, AUTHOR, "a@discard.test", "b@maildir.test", "c@smtp.test",
	     "d@maildir.test", "e@smtp.test");
	run_until(&world, is_empty);
	ck_assert_uint_eq(stats_of(&world).delivered, 5);
	ck_assert_uint_eq(maildir_count(&world, "b"), 1);
	ck_assert_uint_eq(maildir_count(&world, "d"), 1);
	ck_assert_uint_eq(server.messages, 1);
	ck_assert_ptr_nonnull(
		strstr(buf_text(&server.text), "\n..one dot\nend\n"));
	world_done(&world);
}
END_TEST

START_TEST(a_refusal_comes_back_as_a_report_in_the_senders_maildir)
{
	struct world world;

	world_init(&world);
	SEND(&world, AUTHOR, "never@smtp.test", "fine@smtp.test");
	run_until(&world, is_empty);
	ck_assert_uint_eq(stats_of(&world).bounced, 1);
	ck_assert_uint_eq(maildir_count(&world, "author"), 1);
	ck_assert_uint_eq(server.messages, 1);
	world_done(&world);
}
END_TEST

START_TEST(a_deferral_is_tried_again_and_read_back_from_the_spool)
{
	struct world world;

	world_init(&world);
	SEND(&world, AUTHOR, "later@smtp.test");
	run_until(&world, has_deferred);
	ck_assert_uint_eq(server.messages, 0);
	world.now_ms += 67000;
	queue_configure(world.queue, &world.opts, world.policy);
	run_until(&world, is_empty);
	ck_assert_uint_eq(server.messages, 1);
	ck_assert_ptr_nonnull(
		strstr(buf_text(&server.text), "Subject: test\n"));
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
		sending_begin(&world, &sendings[i], AUTHOR, to, 0);
	for (unsigned i = 0; i < ALL; i++)
		while (!sendings[i].has_ended)
			uv_run(&world.loop, UV_RUN_ONCE);
	run_until(&world, is_empty);
	ck_assert_uint_eq(server.messages, ALL);
	ck_assert_uint_le(server.connections, 30);
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
			sending_begin(&world, &sendings[i], AUTHOR, to, 0);
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
