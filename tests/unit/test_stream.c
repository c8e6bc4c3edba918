/* SPDX-License-Identifier: ISC */
#include "tests/unit/stream_listener.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/un.h>

#include "lib/mem.h"
#include "lib/net/stream_private.h"

START_TEST(what_is_written_comes_back_from_an_echo)
{
	struct sockaddr_storage to;
	struct ip ip;
	uint16_t port, listening;
	char text[IP_TEXT_MAX];

	ends_init();
	right.is_echo = true;
	connect_tcp(_i == 0 ? "127.0.0.1" : "::1", NULL, &to);
	(void)ip_from_sockaddr((struct sockaddr *)&to, &listening);
	ends_run_until(left.seen[STREAM_CONNECTED] == 1 &&
		       right.stream != NULL);
	stream_peer(left.stream, &ip, &port);
	ck_assert_str_eq(ip_format(&ip, text), _i == 0 ? "127.0.0.1" : "::1");
	ck_assert_uint_eq(port, listening);
	stream_local(right.stream, &ip, &port);
	ck_assert_uint_eq(port, listening);
	stream_local(left.stream, &ip, &listening);
	stream_peer(right.stream, &ip, &port);
	ck_assert_uint_eq(port, listening);
	ck_assert_str_eq(ip_format(&ip, text), _i == 0 ? "127.0.0.1" : "::1");
	ck_assert_int_eq(stream_peer_uid(left.stream), -1);

	ck_assert(!stream_write(left.stream, "EHLO ", 5));
	ck_assert(!stream_write(left.stream, "there\r\n", 7));
	ends_run_until(buf_len(&left.got) == 12);
	ends_assert_got(&left, "EHLO there\r\n");
	ends_assert_got(&right, "EHLO there\r\n");
	stop_listening();
	ends_done();
}
END_TEST

START_TEST(bytes_may_be_written_before_the_connection_is_there)
{
	struct sockaddr_storage to;

	ends_init();
	connect_tcp("127.0.0.1", NULL, &to);
	ck_assert(!stream_write(left.stream, "early", 5));
	ends_run_until(buf_len(&right.got) == 5);
	ends_assert_got(&right, "early");
	stop_listening();
	ends_done();
}
END_TEST

START_TEST(a_source_address_is_used)
{
	struct sockaddr_storage to;
	char text[IP_TEXT_MAX];
	uint16_t port;
	struct ip ip;

	ends_init();
	connect_tcp("127.0.0.1", "127.0.0.77", &to);
	ends_run_until(right.stream != NULL);
	stream_peer(right.stream, &ip, &port);
	ck_assert_str_eq(ip_format(&ip, text), "127.0.0.77");
	stop_listening();
	ends_done();
}
END_TEST

START_TEST(a_source_address_of_another_machine_fails_with_its_name)
{
	struct sockaddr_storage to;

	ends_init();
	connect_tcp("127.0.0.1", "192.0.2.7", &to);
	ck_assert_uint_eq(left.seen[STREAM_FAILED], 0);
	ends_run_until(left.seen[STREAM_FAILED] == 1);
	ck_assert_int_eq(left.error.code, -EADDRNOTAVAIL);
	ck_assert_ptr_nonnull(strstr(left.error.text, "192.0.2.7"));
	stop_listening();
	ends_done();
}
END_TEST

START_TEST(a_unix_socket_tells_the_peers_uid)
{
	char dir[] = "/tmp/ostler-stream-XXXXXX";
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	struct ip ip;
	uint16_t port;

	ends_init();
	ck_assert_ptr_nonnull(mkdtemp(dir));
	(void)snprintf(to.sun_path, sizeof(to.sun_path), "%s/s", dir);
	ck_assert_int_eq(uv_pipe_init(&ends_loop, &listener.pipe, 0), 0);
	ck_assert_int_eq(uv_pipe_bind(&listener.pipe, to.sun_path), 0);
	ck_assert_int_eq(uv_listen(&listener.stream, 8, on_connection), 0);
	left.stream = stream_connect(&ends_loop, (struct sockaddr *)&to, NULL,
				     on_end, &left);
	ends_run_until(right.stream != NULL &&
		       left.seen[STREAM_CONNECTED] == 1);
	ck_assert_int_eq(stream_peer_uid(right.stream), getuid());
	ck_assert_int_eq(stream_peer_uid(left.stream), getuid());
	stream_peer(right.stream, &ip, &port);
	ck_assert_int_eq(ip.family, IP_NONE);
	ck_assert_uint_eq(port, 0);
	stop_listening();
	ends_done();
	(void)unlink(to.sun_path);
	ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

START_TEST(a_refused_connection_fails_after_the_call_returned)
{
	struct sockaddr_storage to;
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	socklen_t len = sizeof(struct sockaddr_in);
	struct ip ip;

	/* bound and not listening: nobody else can listen there meanwhile */
	ck_assert(ip_parse(str_of("127.0.0.1"), &ip));
	(void)ip_to_sockaddr(&ip, 0, &to);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&to, len), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&to, &len), 0);
	ends_init();
	left.reaction = END_CLOSES;
	left.at = STREAM_FAILED;
	left.stream = stream_connect(&ends_loop, (struct sockaddr *)&to, NULL,
				     on_end, &left);
	ck_assert_uint_eq(left.seen[STREAM_FAILED], 0);
	ends_run_until(left.seen[STREAM_FAILED] == 1);
	ck_assert_int_eq(left.error.code, -ECONNREFUSED);
	ck_assert_ptr_nonnull(strstr(left.error.text, "127.0.0.1 port "));
	ck_assert_uint_eq(left.seen[STREAM_CONNECTED], 0);
	ends_done();
	(void)close(fd);
}
END_TEST

START_TEST(a_missing_unix_socket_fails_with_its_path)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX,
				 .sun_path = "/nonexistent/ostler"};

	ends_init();
	left.stream = stream_connect(&ends_loop, (struct sockaddr *)&to, NULL,
				     on_end, &left);
	ends_run_until(left.seen[STREAM_FAILED] == 1);
	ck_assert_int_eq(left.error.code, -ENOENT);
	ck_assert_ptr_nonnull(strstr(left.error.text, "/nonexistent/ostler"));
	ends_done();
}
END_TEST

START_TEST(a_connection_without_a_free_descriptor_fails_in_an_event)
{
	struct rlimit old, none;
	struct sockaddr_storage to;
	struct ip ip;

	ends_init();
	ck_assert_int_eq(uv_run(&ends_loop, UV_RUN_NOWAIT), 0);
	ck_assert(ip_parse(str_of("127.0.0.1"), &ip));
	(void)ip_to_sockaddr(&ip, 1, &to);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = old;
	none.rlim_cur = 0;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	left.stream = stream_connect(&ends_loop, (struct sockaddr *)&to, NULL,
				     on_end, &left);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
	ck_assert_uint_eq(left.seen[STREAM_FAILED], 0);
	ends_run_until(left.seen[STREAM_FAILED] == 1);
	ck_assert_int_eq(left.error.code, -EMFILE);
	end_close(&left);
	ends_done();
}
END_TEST

START_TEST(what_is_no_socket_is_refused)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	ends_init();
	ck_assert_int_eq(stream_from_fd(&ends_loop, fd, on_end, &left,
					&left.stream),
			 -ENOTSOCK);
	ck_assert_ptr_null(left.stream);
	ck_assert_int_eq(fcntl(fd, F_GETFD), -1); /* it was taken */
	ends_done();
}
END_TEST

START_TEST(the_same_bytes_arrive_at_every_split)
{
	static const char text[] = "MAIL FROM:<a@example.org>\r\n";

	for (size_t cut = 0; cut < sizeof(text); cut++) {
		ends_pair();
		(void)stream_write(left.stream, text, cut);
		ends_run_until(buf_len(&right.got) == cut);
		(void)stream_write(left.stream, text + cut,
				   sizeof(text) - 1 - cut);
		ends_run_until(buf_len(&right.got) == sizeof(text) - 1);
		ends_assert_got(&right, text);
		ends_done();
	}
}
END_TEST

START_TEST(unconsumed_bytes_stay_and_new_ones_come_behind)
{
	const uint8_t *bytes;
	size_t len;

	ends_pair();
	right.is_lazy = true;
	(void)stream_write(left.stream, "one ", 4);
	ends_run_until(right.seen[STREAM_DATA] == 1);
	(void)stream_write(left.stream, "two", 3);
	ends_run_until(right.seen[STREAM_DATA] == 2);
	bytes = stream_bytes(right.stream, &len);
	ck_assert_uint_eq(len, 7);
	ck_assert_mem_eq(bytes, "one two", 7);
	stream_consume(right.stream, 4);
	bytes = stream_bytes(right.stream, &len);
	ck_assert_uint_eq(len, 3);
	ck_assert_mem_eq(bytes, "two", 3);
	stream_consume(right.stream, 3);
	(void)stream_bytes(right.stream, &len);
	ck_assert_uint_eq(len, 0);
	ends_done();
}
END_TEST

static void
take_one_byte(struct end *end, enum stream_event event)
{
	size_t len;

	if (event == STREAM_DATA) {
		ck_assert_int_eq(buf_add(&end->got,
					 stream_bytes(end->stream, &len), 1),
				 0);
		stream_consume(end->stream, 1);
	}
}

START_TEST(a_part_may_be_consumed_within_the_event)
{
	const uint8_t *bytes;
	size_t len;

	ends_pair();
	right.is_lazy = true;
	right.hook = take_one_byte;
	(void)stream_write(left.stream, "abc", 3);
	ends_run_until(right.seen[STREAM_DATA] == 1);
	(void)stream_write(left.stream, "d", 1);
	ends_run_until(right.seen[STREAM_DATA] == 2);
	ends_assert_got(&right, "ab");
	bytes = stream_bytes(right.stream, &len);
	ck_assert_uint_eq(len, 2);
	ck_assert_mem_eq(bytes, "cd", 2);
	ends_done();
}
END_TEST

START_TEST(an_owner_that_does_not_consume_stops_the_peer)
{
	uint8_t *pattern = make_pattern(BIG / 16);
	size_t len = 0;

	ends_pair();
	right.is_lazy = true;
	ck_assert(stream_write(left.stream, pattern, BIG / 16));
	while (len < STREAM_IN_MAX) {
		(void)uv_run(&ends_loop, UV_RUN_ONCE);
		(void)stream_bytes(right.stream, &len);
	}
	/* whatever more the loop does, nothing is read any more */
	for (unsigned turn = 0; turn < 20; turn++)
		(void)uv_run(&ends_loop, UV_RUN_NOWAIT);
	(void)stream_bytes(right.stream, &len);
	ck_assert_uint_eq(len, STREAM_IN_MAX);
	ck_assert_uint_gt(stream_unsent(left.stream), 0);
	ck_assert_uint_eq(left.seen[STREAM_DRAINED], 0);

	right.is_lazy = false;
	end_take(&right);
	ends_run_until(buf_len(&right.got) == BIG / 16);
	ck_assert_mem_eq(buf_bytes(&right.got), pattern, BIG / 16);
	ends_run_until(left.seen[STREAM_DRAINED] == 1);
	ck_assert_uint_eq(stream_unsent(left.stream), 0);
	ends_done();
	free(pattern);
}
END_TEST

/* Writes a little more once all is sent, before the owner is told so. */
static void
write_between(uv_check_t *check)
{
	if (stream_unsent(left.stream) != 0)
		return;
	(void)stream_write(left.stream, "x", 1);
	uv_close((uv_handle_t *)check, NULL);
}

START_TEST(what_is_written_meanwhile_does_not_keep_drained_back)
{
	uint8_t *pattern = make_pattern(BIG / 16);
	uv_check_t check;

	ends_pair();
	(void)stream_write(left.stream, "y", 1);
	ends_run_until(buf_len(&right.got) == 1);
	ck_assert(stream_write(left.stream, pattern, BIG / 16));
	ck_assert_int_eq(uv_check_init(&ends_loop, &check), 0);
	ck_assert_int_eq(uv_check_start(&check, write_between), 0);
	ends_run_until(left.seen[STREAM_DRAINED] == 1);
	ends_run_until(buf_len(&right.got) == BIG / 16 + 2);
	ends_done();
	free(pattern);
}
END_TEST

START_TEST(a_large_transfer_arrives_unchanged)
{
	ends_pair();
	ends_send_big();
	ends_done();
}
END_TEST

START_TEST(corked_bytes_arrive_together)
{
	ends_pair();
	stream_cork(left.stream);
	(void)stream_write(left.stream, "250-a\r\n", 7);
	(void)stream_write(left.stream, "250 b\r\n", 7);
	ck_assert_uint_eq(stream_unsent(left.stream), 14);
	stream_uncork(left.stream);
	ends_await_sent(left.stream);
	ends_run_until(right.seen[STREAM_DATA] == 1);
	ends_assert_got(&right, "250-a\r\n250 b\r\n");
	ends_done();
}
END_TEST

static void
reply_twice(struct end *end, enum stream_event event)
{
	if (event != STREAM_DATA)
		return;
	(void)stream_write(end->stream, "250 one\r\n", 9);
	(void)stream_write(end->stream, "250 two\r\n", 9);
}

START_TEST(replies_within_one_event_arrive_together)
{
	ends_pair();
	right.hook = reply_twice;
	(void)stream_write(left.stream, "x", 1);
	ends_run_until(left.seen[STREAM_DATA] == 1);
	ends_assert_got(&left, "250 one\r\n250 two\r\n");
	ends_done();
}
END_TEST

START_TEST(large_writes_are_not_held_back_by_a_cork)
{
	uint8_t *pattern = make_pattern(50000);

	ends_pair();
	stream_cork(left.stream);
	(void)stream_write(left.stream, "head", 4);
	(void)stream_write(left.stream, pattern, 50000);
	ck_assert_uint_eq(stream_unsent(left.stream), 0);
	(void)stream_write(left.stream, "tail", 4);
	stream_uncork(left.stream);
	ends_run_until(buf_len(&right.got) == 50008);
	ck_assert_mem_eq(buf_bytes(&right.got), "head", 4);
	ck_assert_mem_eq(buf_bytes(&right.got) + 4, pattern, 50000);
	ck_assert_mem_eq(buf_bytes(&right.got) + 50004, "tail", 4);
	ends_done();
	free(pattern);
}
END_TEST

START_TEST(nothing_is_read_before_start)
{
	int fds[2];
	size_t len;

	ends_init();
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	ck_assert_int_eq(stream_from_fd(&ends_loop, fds[0], on_end, &left,
					&left.stream),
			 0);
	ck_assert_int_eq(write(fds[1], "early", 5), 5);
	for (unsigned turn = 0; turn < 5; turn++)
		(void)uv_run(&ends_loop, UV_RUN_NOWAIT);
	ck_assert_uint_eq(left.seen[STREAM_DATA], 0);
	(void)stream_bytes(left.stream, &len);
	ck_assert_uint_eq(len, 0);
	stream_start(left.stream);
	ends_run_until(left.seen[STREAM_DATA] == 1);
	ends_assert_got(&left, "early");
	(void)close(fds[1]);
	ends_done();
}
END_TEST

START_TEST(a_deadline_comes_once_and_not_early)
{
	uint64_t begin;

	ends_pair();
	begin = uv_now(&ends_loop);
	stream_set_deadline(left.stream, 600);
	stream_set_deadline(right.stream, 30);
	ends_run_until(right.seen[STREAM_DEADLINE] == 1);
	ck_assert_uint_ge(uv_now(&ends_loop) - begin, 30);
	ck_assert(left.seen[STREAM_DEADLINE] == 0 ||
		  uv_now(&ends_loop) - begin >= 600);
	ends_run_until(left.seen[STREAM_DEADLINE] == 1);
	ck_assert_uint_ge(uv_now(&ends_loop) - begin, 600);
	stream_set_deadline(left.stream, 20);
	ends_run_until(left.seen[STREAM_DEADLINE] == 2);
	ck_assert_uint_eq(right.seen[STREAM_DEADLINE], 1);
	ends_done();
}
END_TEST

START_TEST(a_deadline_can_be_moved_both_ways_and_taken_back)
{
	uint64_t begin;

	ends_pair();
	begin = uv_now(&ends_loop);
	stream_set_deadline(left.stream, 20); /* later moved back */
	stream_set_deadline(left.stream, 600);
	stream_set_deadline(right.stream, 1000000); /* later brought forward */
	stream_set_deadline(right.stream, 50);
	ends_run_until(right.seen[STREAM_DEADLINE] == 1);
	ck_assert(left.seen[STREAM_DEADLINE] == 0 ||
		  uv_now(&ends_loop) - begin >= 600);
	stream_set_deadline(right.stream, 20);
	stream_set_deadline(right.stream, 0);
	ends_run_until(left.seen[STREAM_DEADLINE] == 1);
	ck_assert_uint_ge(uv_now(&ends_loop) - begin, 600);
	ck_assert_uint_eq(right.seen[STREAM_DEADLINE], 1);
	stream_set_deadline(right.stream, UINT64_MAX);
	(void)uv_run(&ends_loop, UV_RUN_NOWAIT);
	ck_assert_uint_eq(right.seen[STREAM_DEADLINE], 1);
	ends_done();
}
END_TEST

static void
hand_over(struct end *end, enum stream_event event)
{
	if (event == STREAM_DATA && end == &right) {
		left.is_echo = true;
		stream_set_owner(end->stream, on_end, &left);
		left.stream = end->stream;
		end->stream = NULL;
	}
}

START_TEST(another_owner_can_take_over)
{
	int fds[2];
	char echo[8] = "";

	ends_init();
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	ck_assert_int_eq(stream_from_fd(&ends_loop, fds[0], on_end, &right,
					&right.stream),
			 0);
	stream_start(right.stream);
	right.hook = hand_over;
	ck_assert_int_eq(write(fds[1], "a", 1), 1);
	ends_run_until(right.seen[STREAM_DATA] == 1);
	ck_assert_int_eq(write(fds[1], "b", 1), 1);
	ends_run_until(left.seen[STREAM_DATA] == 1);
	ends_await_sent(left.stream);
	ck_assert_int_eq(read(fds[1], echo, sizeof(echo)), 1);
	ck_assert_str_eq(echo, "b");
	(void)close(fds[1]);
	ends_done();
}
END_TEST

static unsigned heard;

static void
on_many(void *owner, enum stream_event event)
{
	struct stream **stream = owner;
	size_t len;

	ck_assert_int_eq(event, STREAM_DATA);
	(void)stream_bytes(*stream, &len);
	stream_consume(*stream, len);
	(void)stream_write(*stream, "250 ok\r\n", 8);
	heard++;
}

/* Few replies a turn are sent at once; a turn with many calls threads. */
START_TEST(threads_help_only_a_busy_loop)
{
	enum { MOST = 60 };
	unsigned count = _i == 0 ? 10 : MOST;
	struct stream *streams[MOST];
	int peers[MOST];

	ends_init();
	stream_send_tune(16, 2);
	for (unsigned i = 0; i < count; i++) {
		int fds[2];

		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
		peers[i] = fds[1];
		ck_assert_int_eq(stream_from_fd(&ends_loop, fds[0], on_many,
						&streams[i], &streams[i]),
				 0);
		stream_start(streams[i]);
		ck_assert_int_eq(write(peers[i], "NOOP\r\n", 6), 6);
	}
	heard = 0;
	ends_run_until(heard == count);
	(void)uv_run(&ends_loop, UV_RUN_NOWAIT);
	ck_assert(streams[0]->loop->writers == NULL ? _i == 0 : _i == 1);
	for (unsigned i = 0; i < count; i++) {
		char reply[9] = "";

		ck_assert_int_eq(recv(peers[i], reply, 8, MSG_WAITALL), 8);
		ck_assert_str_eq(reply, "250 ok\r\n");
		stream_abort(streams[i]);
		(void)close(peers[i]);
	}
	ends_run_until(stream_count() == 0);
	ends_done();
}
END_TEST

START_TEST(an_idle_connection_stays_small)
{
	/* what 10,000 of them cost is measured elsewhere; this one is here so
	 * that nobody puts a buffer into the struct unnoticed */
	ck_assert_uint_le(sizeof(struct stream), 640);
}
END_TEST

UNIT_MAIN(
	"stream",
	tcase_add_loop_test(tc, what_is_written_comes_back_from_an_echo, 0, 2);
	tcase_add_test(tc, bytes_may_be_written_before_the_connection_is_there);
	tcase_add_test(tc, a_source_address_is_used);
	tcase_add_test(tc,
		       a_source_address_of_another_machine_fails_with_its_name);
	tcase_add_test(tc, a_unix_socket_tells_the_peers_uid);
	tcase_add_test(tc, a_refused_connection_fails_after_the_call_returned);
	tcase_add_test(tc, a_missing_unix_socket_fails_with_its_path);
	tcase_add_test(
		tc, a_connection_without_a_free_descriptor_fails_in_an_event);
	tcase_add_test(tc, what_is_no_socket_is_refused);
	tcase_add_test(tc, the_same_bytes_arrive_at_every_split);
	tcase_add_test(tc, unconsumed_bytes_stay_and_new_ones_come_behind);
	tcase_add_test(tc, a_part_may_be_consumed_within_the_event);
	tcase_add_test(tc, an_owner_that_does_not_consume_stops_the_peer);
	tcase_add_test(tc,
		       what_is_written_meanwhile_does_not_keep_drained_back);
	tcase_add_test(tc, a_large_transfer_arrives_unchanged);
	tcase_add_test(tc, corked_bytes_arrive_together);
	tcase_add_test(tc, replies_within_one_event_arrive_together);
	tcase_add_test(tc, large_writes_are_not_held_back_by_a_cork);
	tcase_add_test(tc, nothing_is_read_before_start);

	tcase_add_test(tc, a_deadline_comes_once_and_not_early);
	tcase_add_test(tc, a_deadline_can_be_moved_both_ways_and_taken_back);
	tcase_add_test(tc, another_owner_can_take_over);

	tcase_add_loop_test(tc, threads_help_only_a_busy_loop, 0, 2);
	tcase_add_test(tc, an_idle_connection_stays_small);)
