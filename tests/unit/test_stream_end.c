/* SPDX-License-Identifier: ISC */
#include "tests/unit/stream_listener.h"

#include "lib/mem.h"

/* A plain socket that connects to the listener; right is its peer. */
static int
connect_plain(void)
{
	struct sockaddr_storage to;
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	connect_tcp("127.0.0.1", NULL, &to);
	ends_run_until(right.stream != NULL);
	stream_abort(left.stream);
	left.stream = NULL;
	ends_run_until(right.seen[STREAM_EOF] + right.seen[STREAM_FAILED] > 0);
	stream_abort(right.stream);
	right.stream = NULL;
	memset(right.seen, 0, sizeof(right.seen));
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&to,
				 sizeof(struct sockaddr_in)),
			 0);
	return fd;
}

START_TEST(after_the_peers_end_writing_goes_on)
{
	int fd;

	ends_init();
	fd = connect_plain();
	ck_assert_int_eq(write(fd, "QUIT\r\n", 6), 6);
	ck_assert_int_eq(shutdown(fd, SHUT_WR), 0);
	ends_run_until(right.seen[STREAM_EOF] == 1);
	ends_assert_got(&right, "QUIT\r\n");
	(void)stream_write(right.stream, "221 bye\r\n", 9);
	end_close(&right);
	for (size_t len = 0; len < 9;) {
		char reply[16];
		ssize_t got;

		(void)uv_run(&ends_loop, UV_RUN_NOWAIT);
		got = recv(fd, reply, sizeof(reply), MSG_DONTWAIT);
		if (got < 0)
			ck_assert_int_eq(errno, EAGAIN);
		else
			len += (size_t)got;
	}
	(void)close(fd);
	stop_listening();
	ends_done();
}
END_TEST

START_TEST(a_last_reply_survives_input_that_nobody_reads)
{
	static uint8_t junk[4 << 20];
	bool is_reset = false;
	size_t put = 0, len = 0;
	char reply[32];
	int fd;

	ends_init();
	right.is_lazy = true;
	fd = connect_plain();
	ends_run_until(right.stream != NULL);
	ck_assert_int_gt(send(fd, junk, sizeof(junk), MSG_DONTWAIT), 0);
	ends_run_until(right.seen[STREAM_DATA] != 0);
	(void)stream_write(right.stream, "552 too big\r\n", 13);
	end_close(&right);
	/* the client goes on sending all it has, and only then reads */
	while (put < sizeof(junk)) {
		ssize_t got = send(fd, junk + put, sizeof(junk) - put,
				   MSG_DONTWAIT | MSG_NOSIGNAL);

		if (got > 0)
			put += (size_t)got;
		else
			ck_assert_int_eq(errno, EAGAIN);
		(void)uv_run(&ends_loop, UV_RUN_NOWAIT);
	}
	while (len < 13 && !is_reset) {
		ssize_t got = recv(fd, reply + len, sizeof(reply) - len, 0);

		is_reset = got <= 0;
		len += is_reset ? 0 : (size_t)got;
	}
	ck_assert(!is_reset);
	ck_assert_mem_eq(reply, "552 too big\r\n", 13);
	/* our end comes behind it, and with the client's all is gone */
	for (ssize_t got = -1; got != 0;) {
		(void)uv_run(&ends_loop, UV_RUN_NOWAIT);
		got = recv(fd, reply, sizeof(reply), MSG_DONTWAIT);
		ck_assert(got == 0 || (got < 0 && errno == EAGAIN));
	}
	ck_assert_uint_eq(stream_count(), 1);
	(void)close(fd);
	ends_run_until(stream_count() == 0);
	stop_listening();
	ends_done();
}
END_TEST

START_TEST(a_close_sends_what_was_written)
{
	uint8_t *pattern = make_pattern(BIG / 32);

	ends_pair();
	right.reaction = END_CLOSES;
	right.at = STREAM_EOF;
	(void)stream_write(left.stream, pattern, BIG / 32);
	end_close(&left);
	ends_run_until(stream_count() == 0);
	ck_assert_uint_eq(buf_len(&right.got), BIG / 32);
	ck_assert_mem_eq(buf_bytes(&right.got), pattern, BIG / 32);
	ck_assert_uint_eq(right.seen[STREAM_EOF], 1);
	ck_assert_uint_eq(right.seen[STREAM_FAILED], 0);
	ends_done();
	free(pattern);
}
END_TEST

START_TEST(a_peer_that_never_reads_is_given_up_after_a_while)
{
	uint8_t *pattern = make_pattern(BIG / 32);
	uint64_t took = UINT64_MAX;

	/* a busy machine may be late a few times, a wrong time is each time */
	for (unsigned i = 0; i < 5 && took > 8000; i++) {
		uint64_t begin;
		int fds[2];

		ends_init();
		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
		ck_assert_int_eq(stream_from_fd(&ends_loop, fds[0], on_end,
						&left, &left.stream),
				 0);
		(void)stream_write(left.stream, pattern, BIG / 32);
		begin = uv_now(&ends_loop);
		end_close(&left);
		ends_run_until(stream_count() == 0);
		took = uv_now(&ends_loop) - begin;
		ck_assert_uint_ge(took, 5000);
		(void)close(fds[1]);
		ends_done();
	}
	ck_assert_uint_le(took, 8000);
	free(pattern);
}
END_TEST

START_TEST(an_abort_drops_what_was_written)
{
	uint8_t *pattern = make_pattern(BIG / 32);

	ends_pair();
	(void)stream_write(left.stream, pattern, BIG / 32);
	stream_abort(left.stream);
	left.stream = NULL;
	ends_run_until(right.seen[STREAM_EOF] + right.seen[STREAM_FAILED] != 0);
	ck_assert_uint_lt(buf_len(&right.got), BIG / 32);
	ends_done();
	free(pattern);
}
END_TEST

START_TEST(a_write_to_a_peer_that_is_gone_fails_on_a_later_turn)
{
	int fds[2];

	ends_init();
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	ck_assert_int_eq(stream_from_fd(&ends_loop, fds[0], on_end, &left,
					&left.stream),
			 0);
	(void)close(fds[1]);
	ck_assert(!stream_write(left.stream, "x", 1));
	ck_assert(!stream_write(left.stream, "y", 1));
	ck_assert_uint_eq(left.seen[STREAM_FAILED], 0);
	ends_run_until(left.seen[STREAM_FAILED] == 1);
	ck_assert_int_eq(left.error.code, -EPIPE);
	ck_assert(!stream_write(left.stream, "z", 1));
	for (unsigned turn = 0; turn < 5; turn++)
		(void)uv_run(&ends_loop, UV_RUN_NOWAIT);
	ck_assert_uint_eq(left.seen[STREAM_FAILED], 1);
	ends_done();
}
END_TEST

static const enum stream_event closing_events[] = {
	STREAM_CONNECTED, STREAM_DATA,	   STREAM_DRAINED,
	STREAM_EOF,	  STREAM_DEADLINE, STREAM_FAILED,
};

START_TEST(the_owner_may_close_in_any_event)
{
	size_t which = (size_t)_i / 2;
	struct sockaddr_storage to;
	uint8_t *pattern = make_pattern(BIG / 8);

	ends_init();
	left.reaction = _i % 2 == 0 ? END_CLOSES : END_ABORTS;
	left.at = closing_events[which];
	connect_tcp("127.0.0.1", NULL, &to);
	ends_run_until(right.stream != NULL);
	switch (closing_events[which]) {
	case STREAM_CONNECTED:
	case STREAM_SECURED:
		break;
	case STREAM_DATA:
		(void)stream_write(right.stream, "x", 1);
		break;
	case STREAM_DRAINED:
		ck_assert(stream_write(left.stream, pattern, BIG / 8));
		break;
	case STREAM_EOF:
		end_close(&right);
		break;
	case STREAM_DEADLINE:
		stream_set_deadline(left.stream, 1);
		break;
	case STREAM_FAILED:
		/* unread input at an abort: a reset */
		right.is_lazy = true;
		(void)stream_write(left.stream, pattern, BIG / 8);
		ends_run_until(right.seen[STREAM_DATA] != 0);
		stream_abort(right.stream);
		right.stream = NULL;
		break;
	}
	ends_run_until(left.seen[closing_events[which]] == 1);
	ck_assert_ptr_null(left.stream);
	end_close(&right);
	stop_listening();
	ends_run_until(stream_count() == 0);
	ends_done();
	free(pattern);
}
END_TEST

START_TEST(a_connection_attempt_can_be_closed)
{
	struct sockaddr_storage to;

	ends_init();
	connect_tcp("127.0.0.1", NULL, &to);
	if (_i == 0)
		stream_close(left.stream);
	else
		stream_abort(left.stream);
	left.stream = NULL;
	stop_listening();
	ends_run_until(stream_count() == 0);
	stream_close(NULL);
	stream_abort(NULL);
	ends_done();
}
END_TEST

enum ending { ENDING_CLOSE, ENDING_ABORT, ENDING_PEER, ENDING_TURN };

/* Whatever ends a stream while its bytes are on their way, they are sent
 * whole or not at all, and all memory comes back. */
START_TEST(a_stream_may_end_right_behind_a_write)
{
	for (unsigned round = 0; round < 400; round++) {
		bool has_turned = round % 2 == 0;
		size_t len;

		ends_pair();
		(void)stream_write(left.stream, "250 ok\r\n", 8);
		if (has_turned) /* the turn in which it is given to a thread */
			(void)uv_run(&ends_loop, UV_RUN_NOWAIT);
		switch ((enum ending)_i) {
		case ENDING_CLOSE:
			end_close(&left);
			break;
		case ENDING_ABORT:
			stream_abort(left.stream);
			left.stream = NULL;
			break;
		case ENDING_PEER:
			stream_abort(right.stream);
			right.stream = NULL;
			(void)stream_write(left.stream, "250 ok\r\n", 8);
			ends_run_until(left.seen[STREAM_EOF] +
					       left.seen[STREAM_FAILED] !=
				       0);
			break;
		case ENDING_TURN:
			break;
		}
		if (right.stream != NULL)
			ends_run_until(
				left.stream != NULL
					? buf_len(&right.got) == 8
					: right.seen[STREAM_EOF] +
							  right.seen
								  [STREAM_FAILED] !=
						  0);
		len = buf_len(&right.got);
		ck_assert(len == 8 || (len == 0 && (_i == ENDING_ABORT ||
						    _i == ENDING_PEER)));
		ends_done();
	}
}
END_TEST

UNIT_MAIN("stream_end", tcase_add_test(tc, after_the_peers_end_writing_goes_on);
	  tcase_add_test(tc, a_last_reply_survives_input_that_nobody_reads);
	  tcase_add_test(tc, a_close_sends_what_was_written);
	  tcase_add_test(tc, a_peer_that_never_reads_is_given_up_after_a_while);
	  tcase_add_test(tc, an_abort_drops_what_was_written);
	  tcase_add_test(tc,
			 a_write_to_a_peer_that_is_gone_fails_on_a_later_turn);
	  tcase_add_loop_test(tc, the_owner_may_close_in_any_event, 0,
			      2 * (int)COUNT(closing_events));
	  tcase_add_loop_test(tc, a_connection_attempt_can_be_closed, 0, 2);
	  tcase_add_loop_test(tc, a_stream_may_end_right_behind_a_write,
			      ENDING_CLOSE, ENDING_TURN + 1);)
