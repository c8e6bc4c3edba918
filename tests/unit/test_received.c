/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "server/received.h"

static struct received
received_of(const char *client)
{
	struct received received = {
		.helo = "c.example",
		.client_name = "c.example",
		.hostname = "mx.example",
		.is_esmtp = true,
		.id = "ABC",
		.now_ms = 1795269785000,
	};

	if (client != NULL)
		ck_assert(ip_parse(str_of(client), &received.client));
	return received;
}

static const char *
formatted(const struct received *received, struct buf *out)
{
	buf_init(out, 4096);
	received_format(received, out);
	return buf_text(out);
}

/* RFC 3848, section 4; RFC 6531, 4.3 */
static const struct {
	bool is_esmtp, is_utf8, has_tls, is_authenticated;
	const char *with;
} protocols[] = {
	{false, false, false, false, "SMTP"},
	{false, false, true, false, "SMTP"},
	{true, false, false, false, "ESMTP"},
	{true, false, false, true, "ESMTPA"},
	{true, false, true, false, "ESMTPS"},
	{true, false, true, true, "ESMTPSA"},
	{true, true, false, false, "UTF8SMTP"},
	{true, true, false, true, "UTF8SMTPA"},
	{true, true, true, false, "UTF8SMTPS"},
	{true, true, true, true, "UTF8SMTPSA"},
};

START_TEST(with_says_by_what_protocol_it_came)
{
	struct received received = received_of("192.0.2.1");
	char with[64];
	struct buf out;

	received.is_esmtp = protocols[_i].is_esmtp;
	received.is_utf8 = protocols[_i].is_utf8;
	received.is_authenticated = protocols[_i].is_authenticated;
	received.tls_version = protocols[_i].has_tls ? "TLSv1.3" : NULL;
	received.tls_cipher = "TLS_AES_256_GCM_SHA384";
	(void)snprintf(with, sizeof(with), " with %s\r\n", protocols[_i].with);
	ck_assert_msg(strstr(formatted(&received, &out), with) != NULL, "%s",
		      buf_text(&out));
	buf_done(&out);
}
END_TEST

START_TEST(the_field_says_who_what_and_when)
{
	struct received received = received_of("192.0.2.1");
	char date[CLOCK_DATE_MAX], wanted[512];
	struct buf out;

	received.tls_version = "TLSv1.3";
	received.tls_cipher = "TLS_AES_256_GCM_SHA384";
	received.recipient = "b@y.example";
	(void)snprintf(wanted, sizeof(wanted),
		       "Received: from c.example (c.example [192.0.2.1])\r\n"
		       "\tby mx.example with ESMTPS\r\n"
		       "\t(TLSv1.3 TLS_AES_256_GCM_SHA384)\r\n"
		       "\tid ABC\r\n"
		       "\tfor <b@y.example>; %s\r\n",
		       clock_format_rfc5322(received.now_ms, date));
	ck_assert_str_eq(formatted(&received, &out), wanted);
	buf_done(&out);
}
END_TEST

/* RFC 5321, 4.4: TCP-info has the address of the connection as a literal */
static const struct {
	const char *client, *name, *helo, *from;
} clients[] = {
	{"192.0.2.1", NULL, "x.example",
	 "Received: from x.example (unknown [192.0.2.1])\r\n"},
	{"2001:db8::1", "c.example", "x.example",
	 "Received: from x.example (c.example [IPv6:2001:db8::1])\r\n"},
	{"192.0.2.1", NULL, "[192.0.2.9]",
	 "Received: from [192.0.2.9] (unknown [192.0.2.1])\r\n"},
	{"192.0.2.1", NULL, NULL,
	 "Received: from unknown (unknown [192.0.2.1])\r\n"},
	{NULL, NULL, "localhost",
	 "Received: from localhost (local socket)\r\n"},
};

START_TEST(from_says_the_name_given_and_the_address_seen)
{
	struct received received = received_of(clients[_i].client);
	struct buf out;

	received.client_name = clients[_i].name;
	received.helo = clients[_i].helo;
	ck_assert_int_eq(strncmp(formatted(&received, &out), clients[_i].from,
				 strlen(clients[_i].from)),
			 0);
	/* 4.4, 7.2: who else got it is nobody's business */
	ck_assert_ptr_eq(strstr(buf_text(&out), "for <"), NULL);
	buf_done(&out);
}
END_TEST

START_TEST(the_longest_names_leave_no_half_a_field)
{
	struct received received = received_of("2001:db8::1");
	char name[256], address[321];
	struct buf out;
	const char *text;

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	memset(address, 'a', sizeof(address) - 1);
	address[sizeof(address) - 1] = '\0';
	received.helo = name;
	received.client_name = name;
	received.hostname = name;
	received.tls_version = "TLSv1.3";
	received.tls_cipher = "TLS_AES_256_GCM_SHA384";
	received.recipient = address;
	text = formatted(&received, &out);
	ck_assert_uint_lt(strlen(text), 2048);
	ck_assert_str_eq(text + strlen(text) - 2, "\r\n");
	/* RFC 5322, 2.1.1: no line is over 998 octets */
	for (const char *line = text; line != NULL;) {
		const char *end = strstr(line, "\r\n");

		if (end == NULL)
			break;
		ck_assert_int_le(end - line, 998);
		line = end + 2;
	}
	buf_done(&out);
}
END_TEST

UNIT_MAIN("received",
	  tcase_add_loop_test(tc, with_says_by_what_protocol_it_came, 0,
			      (int)COUNT(protocols));
	  tcase_add_test(tc, the_field_says_who_what_and_when);
	  tcase_add_loop_test(tc, from_says_the_name_given_and_the_address_seen,
			      0, (int)COUNT(clients));
	  tcase_add_test(tc, the_longest_names_leave_no_half_a_field);)
