/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <uv.h>

#include "lib/net/stream.h"
#include "queue/deliver/pool.h"
#include "queue/route/route.h"

#define NOW  1000000 /* boot clock, ms; the pool only counts from it */
#define LONG 60000

/* The other end of a pooled connection. */
struct far {
	struct stream *stream;
	struct connection *connection;
	char got[256];
	bool has_greeted, has_quit;
};

static uv_loop_t loop;
static struct pool *pool;
static struct far fars[4];
static unsigned ready;

static void
on_far(void *owner, enum stream_event event)
{
	struct far *far = owner;
	size_t len, held = strlen(far->got);
	const uint8_t *bytes = stream_bytes(far->stream, &len);

	(void)snprintf(far->got + held, sizeof(far->got) - held, "%.*s",
		       (int)len, (const char *)bytes);
	stream_consume(far->stream, len);
	if (strstr(far->got, "QUIT\r\n") != NULL)
		far->has_quit = true;
	if (strstr(far->got, "EHLO") != NULL && !far->has_greeted) {
		far->has_greeted = true;
		(void)stream_write(far->stream, "250 x\r\n", 7);
	}
	if (event == STREAM_EOF || event == STREAM_FAILED) {
		stream_abort(far->stream);
		far->stream = NULL;
	}
}

static void
on_connection(void *owner, enum connection_event event)
{
	ck_assert_int_eq((int)event, CONNECTION_READY);
	ready++;
}

static struct connection_key
key_of(const char *hop, const char *host, const char *ip)
{
	struct connection_key key;

	memset(&key, 0, sizeof(key));
	(void)snprintf(key.hop, sizeof(key.hop), "%s", hop);
	(void)snprintf(key.host, sizeof(key.host), "%s", host);
	ck_assert(ip_parse(str_of(ip), &key.ip));
	key.port = 25;
	return key;
}

/* A connection that is ready for its first message. */
static struct connection *
open_connection(unsigned i, const struct connection_key *key)
{
	struct connection_opts opts = {.loop = &loop,
				       .key = *key,
				       .hostname = "me.example"};
	struct far *far = &fars[i];
	unsigned before = ready;
	struct stream *near;
	int fds[2];

	opts.key.user = NULL; /* logins are not what is looked at here */
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	ck_assert_int_eq(stream_from_fd(&loop, fds[0], on_far, far,
					&far->stream),
			 0);
	ck_assert_int_eq(stream_from_fd(&loop, fds[1], on_far, far, &near), 0);
	opts.security = security_configured(HOP_TLS_NONE, key->host);
	far->connection = connection_new(&opts, near, on_connection, far);
	security_unref(opts.security);
	stream_start(near);
	stream_start(far->stream);
	(void)stream_write(far->stream, "220 x\r\n", 7);
	while (ready == before)
		(void)uv_run(&loop, UV_RUN_ONCE);
	return far->connection;
}

static void
run_until_quit(unsigned i)
{
	while (!fars[i].has_quit)
		(void)uv_run(&loop, UV_RUN_ONCE);
}

static void
setup(void)
{
	memset(fars, 0, sizeof(fars));
	ready = 0;
	ck_assert_int_eq(uv_loop_init(&loop), 0);
	pool = pool_new();
}

static void
teardown(void)
{
	pool_free(pool);
	for (size_t i = 0; i < COUNT(fars); i++)
		stream_abort(fars[i].stream);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	ck_assert_uint_eq(stream_count(), 0);
	ck_assert_int_eq(uv_loop_close(&loop), 0);
}

/* A route to one host with one address. */
static struct route *
route_to(const char *host, const char *ip, uint64_t expires_ms)
{
	static struct route_host hosts[1];
	static struct route route;

	memset(&route, 0, sizeof(route));
	memset(hosts, 0, sizeof(hosts));
	(void)snprintf(hosts[0].name, sizeof(hosts[0].name), "%s", host);
	hosts[0].port = 25;
	hosts[0].addr_count = 1;
	hosts[0].expires_ms = expires_ms;
	ck_assert(ip_parse(str_of(ip), &hosts[0].addrs[0]));
	route.cause = CAUSE_REPLY;
	route.expires_ms = expires_ms;
	route.hosts = hosts;
	route.host_count = 1;
	return &route;
}

START_TEST(only_the_very_same_key_gets_the_connection)
{
	struct connection_key key = key_of("mx a.example", "mx1", "192.0.2.1");
	struct connection_key other[10];
	struct connection *connection;

	setup();
	connection = open_connection(0, &key);
	pool_put(pool, connection, LONG, NOW, NOW + LONG);
	ck_assert_uint_eq(pool_idle(pool), 1);
	for (size_t i = 0; i < COUNT(other); i++)
		other[i] = key;
	(void)snprintf(other[0].hop, sizeof(other[0].hop), "mx b.example");
	(void)snprintf(other[1].host, sizeof(other[1].host), "mx2");
	ck_assert(ip_parse(str_of("192.0.2.2"), &other[2].ip));
	other[3].port = 26;
	other[4].security = SECURITY_DANE;
	other[5].user = "joe";
	ck_assert(ip_parse(str_of("192.0.2.9"), &other[6].source));
	other[7].is_implicit_tls = true;
	other[8].security_print = 1;
	other[9].trust_print = 1;
	for (size_t i = 0; i < COUNT(other); i++)
		ck_assert_ptr_null(pool_take(pool, &other[i]));
	ck_assert_ptr_eq(pool_take(pool, &key), connection);
	ck_assert_ptr_null(pool_take(pool, &key));
	ck_assert_uint_eq(pool_idle(pool), 0);
	pool_close(pool, connection);
	run_until_quit(0);
	teardown();
}
END_TEST

START_TEST(the_youngest_connection_is_taken_first)
{
	struct connection_key key = key_of("mx a.example", "mx1", "192.0.2.1");
	struct connection *old, *young;

	setup();
	old = open_connection(0, &key);
	young = open_connection(1, &key);
	pool_put(pool, old, LONG, NOW, NOW + LONG);
	pool_put(pool, young, LONG, NOW, NOW + LONG);
	ck_assert_ptr_eq(pool_take(pool, &key), young);
	ck_assert_ptr_eq(pool_take(pool, &key), old);
	connection_abort(old);
	connection_abort(young);
	teardown();
}
END_TEST

START_TEST(a_connection_whose_route_is_over_is_not_kept)
{
	struct connection_key key = key_of("mx a.example", "mx1", "192.0.2.1");

	setup();
	pool_put(pool, open_connection(0, &key), LONG, NOW, NOW);
	ck_assert_uint_eq(pool_idle(pool), 0);
	run_until_quit(0);
	teardown();
}
END_TEST

START_TEST(an_idle_connection_ends_with_its_route)
{
	struct connection_key key = key_of("mx a.example", "mx1", "192.0.2.1");

	setup();
	pool_put(pool, open_connection(0, &key), LONG, NOW, NOW + 50);
	ck_assert_uint_eq(pool_idle(pool), 1);
	run_until_quit(0);
	ck_assert_uint_eq(pool_idle(pool), 0);
	teardown();
}
END_TEST

START_TEST(an_idle_connection_ends_when_nobody_needs_it)
{
	struct connection_key key = key_of("mx a.example", "mx1", "192.0.2.1");

	setup();
	pool_put(pool, open_connection(0, &key), 50, NOW, UINT64_MAX);
	run_until_quit(0);
	ck_assert_uint_eq(pool_idle(pool), 0);
	teardown();
}
END_TEST

START_TEST(a_new_route_that_names_it_prolongs_its_life)
{
	struct connection_key key = key_of("mx a.example", "mx1", "192.0.2.1");

	setup();
	pool_put(pool, open_connection(0, &key), LONG, NOW, NOW + 50);
	pool_put(pool, open_connection(1, &key), LONG, NOW, NOW + 50);
	ck_assert_ptr_eq(pool_take(pool, &key), fars[1].connection);
	pool_follow(pool, "mx a.example",
		    route_to("mx1", "192.0.2.1", NOW + LONG), NOW);
	/* this one ends later than the first would have */
	pool_put(pool, fars[1].connection, LONG, NOW, NOW + 200);
	run_until_quit(1);
	ck_assert_uint_eq(pool_idle(pool), 1);
	ck_assert(!fars[0].has_quit);
	teardown();
}
END_TEST

static const struct {
	const char *host, *ip;
	enum cause cause;
} moves[] = {
	{"mx2", "192.0.2.1", CAUSE_REPLY},
	{"mx1", "192.0.2.2", CAUSE_REPLY},
	{"mx1", "192.0.2.1", CAUSE_DNS_FAILED},
	{"mx1", "192.0.2.1", CAUSE_DNS_NULL_MX},
};

START_TEST(a_new_route_that_does_not_name_it_ends_it_at_once)
{
	struct connection_key key = key_of("mx a.example", "mx1", "192.0.2.1");
	struct connection_key other =
		key_of("mx b.example", "mx1", "192.0.2.1");
	struct route *route;

	setup();
	pool_put(pool, open_connection(0, &key), LONG, NOW, NOW + LONG);
	pool_put(pool, open_connection(1, &other), LONG, NOW, NOW + LONG);
	route = route_to(moves[_i].host, moves[_i].ip, NOW + LONG);
	route->cause = moves[_i].cause;
	pool_follow(pool, "mx a.example", route, NOW);
	ck_assert_uint_eq(pool_idle(pool), 1);
	ck_assert_ptr_null(pool_take(pool, &key));
	run_until_quit(0);
	/* the same host for another next hop has its own route */
	ck_assert(!fars[1].has_quit);
	teardown();
}
END_TEST

START_TEST(a_connection_that_the_server_closes_is_dropped)
{
	struct connection_key key = key_of("mx a.example", "mx1", "192.0.2.1");

	setup();
	pool_put(pool, open_connection(0, &key), LONG, NOW, NOW + LONG);
	pool_put(pool, open_connection(1, &key), LONG, NOW, NOW + LONG);
	stream_close(fars[0].stream);
	fars[0].stream = NULL;
	(void)stream_write(fars[1].stream, "421 idle\r\n", 10);
	while (pool_idle(pool) != 0)
		(void)uv_run(&loop, UV_RUN_ONCE);
	teardown();
}
END_TEST

START_TEST(all_say_quit_on_demand)
{
	struct connection_key key = key_of("mx a.example", "mx1", "192.0.2.1");

	setup();
	pool_put(pool, open_connection(0, &key), LONG, NOW, NOW + LONG);
	pool_put(pool, open_connection(1, &key), LONG, NOW, NOW + LONG);
	pool_close_idle(pool);
	ck_assert_uint_eq(pool_idle(pool), 0);
	run_until_quit(0);
	run_until_quit(1);
	teardown();
}
END_TEST

UNIT_MAIN("pool",
	  tcase_add_test(tc, only_the_very_same_key_gets_the_connection);
	  tcase_add_test(tc, the_youngest_connection_is_taken_first);
	  tcase_add_test(tc, a_connection_whose_route_is_over_is_not_kept);
	  tcase_add_test(tc, an_idle_connection_ends_with_its_route);
	  tcase_add_test(tc, an_idle_connection_ends_when_nobody_needs_it);
	  tcase_add_test(tc, a_new_route_that_names_it_prolongs_its_life);
	  tcase_add_loop_test(tc,
			      a_new_route_that_does_not_name_it_ends_it_at_once,
			      0, (int)COUNT(moves));
	  tcase_add_test(tc, a_connection_that_the_server_closes_is_dropped);
	  tcase_add_test(tc, all_say_quit_on_demand);)
