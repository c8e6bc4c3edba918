/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <string.h>

#include "lib/clock.h"
#include "lib/list.h"
#include "lib/net/dns_backend.h"
#include "lib/net/dns_wire.h"
#include "tests/unit/dns_packets.h"

#define QUESTIONS 128

/* A question and what became of it. */
struct question {
	struct dns_request request;
	bool has_ended;
	enum dns_arrival_status status;
	size_t len;
};

static uv_loop_t loop;
static struct dns_backend *backend;
static char address[32];
static const char *servers[] = {address, NULL};
static uv_udp_t server; /* silent, unless it was told to listen */
static uint16_t ids[QUESTIONS];
static unsigned seen;
static struct question questions[QUESTIONS];
static unsigned ended;

static void
on_end(struct dns_request *request, const struct dns_arrival *arrival)
{
	struct question *question =
		container_of(request, struct question, request);

	ck_assert(!question->has_ended);
	ck_assert_ptr_null(request->pending);
	question->has_ended = true;
	question->status = arrival->status;
	question->len = arrival->len;
	ended++;
}

static void
on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *to)
{
	static char packet[2048];

	*to = uv_buf_init(packet, sizeof(packet));
}

/* Sends the question back as its own answer. */
static void
on_packet(uv_udp_t *handle, ssize_t got, const uv_buf_t *from,
	  const struct sockaddr *peer, unsigned flags)
{
	uv_buf_t answer = uv_buf_init(from->base, (unsigned)got);

	if (got <= 0 || peer == NULL)
		return;
	ck_assert_uint_lt(seen, QUESTIONS);
	ids[seen++] = (uint16_t)((uint8_t)from->base[0] << 8 |
				 (uint8_t)from->base[1]);
	from->base[2] = (char)0x81;
	(void)uv_udp_try_send(handle, &answer, 1, peer);
}

/* What becomes of a question that nobody answers is not waited for. */
#define LONG_MS 100000

static void
start(bool is_answering, uint64_t timeout_ms)
{
	struct dns_backend_opts opts = {
		.servers = servers,
		.timeout_ms = timeout_ms,
	};
	struct sockaddr_in at = {.sin_family = AF_INET};
	struct err err = ERR_INIT;
	int len = sizeof(at);

	(void)uv_loop_init(&loop);
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	(void)uv_udp_init(&loop, &server);
	ck_assert_int_eq(uv_udp_bind(&server, (const struct sockaddr *)&at, 0),
			 0);
	ck_assert_int_eq(uv_udp_getsockname(&server, (struct sockaddr *)&at,
					    &len),
			 0);
	if (is_answering)
		ck_assert_int_eq(uv_udp_recv_start(&server, on_alloc,
						   on_packet),
				 0);
	uv_unref((uv_handle_t *)&server);
	(void)snprintf(address, sizeof(address), "127.0.0.1:%u",
		       ntohs(at.sin_port));
	ck_assert_int_eq(dns_backend_new(&loop, &opts, &backend, &err), 0);
}

static void
stop(void)
{
	backend->ops->close(backend);
	if (!uv_is_closing((uv_handle_t *)&server))
		uv_close((uv_handle_t *)&server, NULL);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	ck_assert_int_eq(uv_loop_close(&loop), 0);
}

static void
send_all(unsigned count, bool is_tcp)
{
	for (unsigned i = 0; i < count; i++) {
		uint8_t packet[DNS_QUERY_MAX];
		char name[32];
		size_t len;

		(void)snprintf(name, sizeof(name), "d%u.example", i);
		len = dns_wire_question(name, DNS_MX, true, packet);
		questions[i].request.on_end = on_end;
		backend->ops->send(backend, &questions[i].request, 0, is_tcp,
				   packet, len);
		ck_assert(!questions[i].has_ended);
	}
}

START_TEST(every_question_under_way_has_an_identifier_of_its_own)
{
	unsigned small = 0;

	start(true, LONG_MS);
	send_all(QUESTIONS, false);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	ck_assert_uint_eq(ended, QUESTIONS);
	ck_assert_uint_eq(seen, QUESTIONS);
	for (unsigned i = 0; i < QUESTIONS; i++) {
		ck_assert_int_eq(questions[i].status, DNS_ARRIVED);
		ck_assert_uint_gt(questions[i].len, 12);
		small += ids[i] < 1024;
		for (unsigned other = 0; other < i; other++)
			ck_assert_uint_ne(ids[i], ids[other]);
	}
	ck_assert_uint_lt(small, 32); /* no counter */
	stop();
}
END_TEST

START_TEST(silence_ends_at_its_time)
{
	uint64_t took_ms = UINT64_MAX;

	/* a busy machine may be late a few times, a wrong time is each time */
	for (unsigned i = 0; i < 10 && took_ms >= 2000; i++) {
		uint64_t began_ms;

		start(false, 200);
		memset(questions, 0, sizeof(questions));
		began_ms = clock_boot_ms();
		send_all(1, false);
		(void)uv_run(&loop, UV_RUN_DEFAULT);
		took_ms = clock_boot_ms() - began_ms;
		ck_assert_int_eq(questions[0].status, DNS_TIMED_OUT);
		ck_assert_uint_ge(took_ms, 200);
		stop();
	}
	ck_assert_uint_lt(took_ms, 2000);
}
END_TEST

START_TEST(a_closed_port_is_told_at_once_but_never_from_inside)
{
	start(false, LONG_MS);
	uv_close((uv_handle_t *)&server, NULL);
	(void)uv_run(&loop, UV_RUN_NOWAIT);
	send_all(3, _i == 1);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	ck_assert_uint_eq(ended, 3);
	/* not DNS_TIMED_OUT */
	ck_assert_int_eq(questions[2].status, DNS_UNREACHABLE);
	stop();
}
END_TEST

START_TEST(who_cancels_hears_nothing_and_the_others_do)
{
	start(true, LONG_MS);
	send_all(3, false);
	backend->ops->cancel(backend, &questions[1].request);
	backend->ops->cancel(backend, &questions[1].request);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	ck_assert(questions[0].has_ended && questions[2].has_ended);
	ck_assert(!questions[1].has_ended);
	stop();
}
END_TEST

START_TEST(new_servers_leave_what_is_under_way_alone)
{
	const char *const others[] = {"127.0.0.1:1", "127.0.0.1:2", NULL};
	struct dns_backend_opts opts = {
		.servers = others,
		.timeout_ms = LONG_MS,
	};
	const char *const bad[] = {"nowhere", NULL};
	struct err err = ERR_INIT;
	size_t count;

	start(true, LONG_MS);
	send_all(3, false);
	ck_assert_int_eq(backend->ops->configure(backend, &opts, &err), 0);
	(void)backend->ops->servers(backend, &count);
	ck_assert_uint_eq(count, 2);
	opts.servers = bad;
	ck_assert_int_lt(backend->ops->configure(backend, &opts, &err), 0);
	(void)backend->ops->servers(backend, &count);
	ck_assert_uint_eq(count, 2);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_eq(questions[i].status, DNS_ARRIVED);
	stop();
}
END_TEST

START_TEST(closing_forgets_what_is_under_way)
{
	start(false, LONG_MS);
	send_all(QUESTIONS, _i == 1);
	if (_i == 0) /* by TCP they would be refused meanwhile */
		(void)uv_run(&loop, UV_RUN_NOWAIT);
	stop();
	ck_assert_uint_eq(ended, 0);
}
END_TEST

UNIT_MAIN("dns_backend",
	  tcase_add_test(tc,
			 every_question_under_way_has_an_identifier_of_its_own);
	  tcase_add_test(tc, silence_ends_at_its_time); tcase_add_loop_test(
		  tc, a_closed_port_is_told_at_once_but_never_from_inside, 0,
		  2);
	  tcase_add_test(tc, who_cancels_hears_nothing_and_the_others_do);
	  tcase_add_test(tc, new_servers_leave_what_is_under_way_alone);
	  tcase_add_loop_test(tc, closing_forgets_what_is_under_way, 0, 2);)
