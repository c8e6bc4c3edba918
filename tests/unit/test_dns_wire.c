/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "lib/net/dns_wire.h"
#include "tests/unit/dns_packets.h"

static uint8_t packet[DNS_PACKET_MAX];

static const char *
kind_name(enum dns_answer_kind kind)
{
	static const char *const names[] = {
		"records", "nodata", "nxdomain",  "truncated",
		"error",   "lame",   "malformed", "foreign",
	};

	return names[kind];
}

/* "records ttl=60 a.example: 10 mx.example" and the like. */
static const char *
summary(const struct dns_answer *answer)
{
	static char text[2048];
	size_t used;

	used = (size_t)snprintf(text, sizeof(text), "%s",
				kind_name(answer->kind));
	if (answer->kind == DNS_ANSWER_ERROR)
		used += (size_t)snprintf(text + used, sizeof(text) - used,
					 " %u", answer->rcode);
	if (answer->canonical != NULL)
		used += (size_t)snprintf(text + used, sizeof(text) - used,
					 " ttl=%u %s", answer->ttl,
					 answer->canonical);
	if (answer->has_ad)
		used += (size_t)snprintf(text + used, sizeof(text) - used,
					 " ad");
	if (answer->is_stale)
		used += (size_t)snprintf(text + used, sizeof(text) - used,
					 " stale");
	if (answer->is_bogus)
		used += (size_t)snprintf(text + used, sizeof(text) - used,
					 " bogus");
	for (size_t i = 0; i < answer->count; i++) {
		const struct dns_record *at = &answer->records[i];
		char ip[IP_TEXT_MAX];

		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s",
					 i == 0 ? ":" : ",");
		if (at->ip.family != IP_NONE)
			used += (size_t)snprintf(text + used,
						 sizeof(text) - used, " %s",
						 ip_format(&at->ip, ip));
		else if (at->name != NULL)
			used += (size_t)snprintf(text + used,
						 sizeof(text) - used,
						 " %u \"%s\"", at->preference,
						 at->name);
		else
			used += (size_t)snprintf(text + used,
						 sizeof(text) - used, " [%.*s]",
						 (int)at->len,
						 (const char *)at->data);
	}
	return text;
}

static const struct {
	const char *name;
	uint16_t type;
	const char *packet;
	const char *summary;
} answers[] = {
	{"a.example", DNS_MX,
	 "a.example MX\n"
	 "an a.example 60 MX 10 MX1.Example\n"
	 "an a.example 50 MX 20 mx2.example\n",
	 "records ttl=50 a.example: 10 \"mx1.example\", 20 \"mx2.example\""},
	/* null MX */
	{"a.example", DNS_MX, "a.example MX\nan a.example 60 MX 0 .\n",
	 "records ttl=60 a.example: 0 \"\""},
	{"a.example", DNS_A, "a.example A ad\nan a.example 0 A 192.0.2.1\n",
	 "records ttl=0 a.example ad: 192.0.2.1"},
	{"a.example", DNS_AAAA,
	 "a.example AAAA\nan a.example 9 AAAA 2001:db8::1\n",
	 "records ttl=9 a.example: 2001:db8::1"},
	/* IPv4 in IPv6 is IPv4: no private address hides that way */
	{"a.example", DNS_AAAA,
	 "a.example AAAA\nan a.example 9 AAAA ::ffff:10.0.0.1\n",
	 "records ttl=9 a.example: 10.0.0.1"},
	{"a.example", DNS_TXT, "a.example TXT\nan a.example 9 TXT v=STSv1;\n",
	 "records ttl=9 a.example: [v=STSv1;]"},
	{"a.example", DNS_TLSA, "a.example TLSA\nan a.example 9 TLSA xyz\n",
	 "records ttl=9 a.example: [xyz]"},
	{"1.2.0.192.in-addr.arpa", DNS_PTR,
	 "1.2.0.192.in-addr.arpa PTR\n"
	 "an 1.2.0.192.in-addr.arpa 9 PTR Host.example\n",
	 "records ttl=9 1.2.0.192.in-addr.arpa: 0 \"host.example\""},
	/* CNAMEs in any order; the smallest TTL of the way counts */
	{"a.example", DNS_MX,
	 "a.example MX\n"
	 "an c.example 200 MX 1 mx.example\n"
	 "an b.example 7 CNAME c.example\n"
	 "an a.example 500 CNAME b.example\n",
	 "records ttl=7 c.example: 1 \"mx.example\""},
	/* a question for CNAME does not follow it */
	{"a.example", DNS_CNAME,
	 "a.example CNAME\nan a.example 500 CNAME b.example\n",
	 "records ttl=500 a.example: 0 \"b.example\""},
	{"a.example", DNS_MX,
	 "a.example MX\n"
	 "an a.example 5 CNAME b.example\nan b.example 5 CNAME a.example\n",
	 "malformed"},
	/* signatures stand among the answers */
	{"a.example", DNS_A,
	 "a.example A ad\n"
	 "an a.example 60 A 192.0.2.1\nan a.example 1 RRSIG xxxx\n",
	 "records ttl=60 a.example ad: 192.0.2.1"},
	/* RFC 2181, 8: the top bit means 0 */
	{"a.example", DNS_A, "a.example A\nan a.example 2147483648 A 1.2.3.4\n",
	 "records ttl=0 a.example: 1.2.3.4"},
	{"a.example", DNS_A, "a.example A\nan a.example 2147483647 A 1.2.3.4\n",
	 "records ttl=2147483647 a.example: 1.2.3.4"},
	/* RFC 2308, 5: the smaller of the SOA's TTL and its minimum */
	{"a.example", DNS_MX, "a.example MX\nau example 3600 SOA 40\n",
	 "nodata ttl=40 a.example"},
	{"a.example", DNS_MX, "a.example MX rcode=3\nau example 30 SOA 999\n",
	 "nxdomain ttl=30 a.example"},
	{"a.example", DNS_MX, "a.example MX rcode=3\n",
	 "nxdomain ttl=0 a.example"},
	{"a.example", DNS_MX, "a.example MX\n", "nodata ttl=0 a.example"},
	/* the SOA of a zone that does not hold the name says nothing */
	{"a.example", DNS_MX, "a.example MX\nau ple 3600 SOA 40\n",
	 "nodata ttl=0 a.example"},
	{"a.example", DNS_MX,
	 "a.example MX rcode=3\nan a.example 10 CNAME gone.example\n"
	 "au example 60 SOA 60\n",
	 "nxdomain ttl=10 gone.example"},
	{"a.example", DNS_MX, "a.example MX\nan b.example 60 MX 1 c.example\n",
	 "nodata ttl=0 a.example"},
	/* a referral, and a chain that the server did not follow */
	{"a.example", DNS_MX, "a.example MX -ra\nau example 60 NS ns.example\n",
	 "lame"},
	{"a.example", DNS_MX,
	 "a.example MX -ra\nan a.example 60 CNAME b.other\n", "lame"},
	{"a.example", DNS_MX, "a.example MX\nan a.example 60 CNAME b.other\n",
	 "nodata ttl=0 b.other"},
	{"a.example", DNS_MX, "a.example MX tc\n", "truncated"},
	{"a.example", DNS_MX, "a.example MX rcode=2\n", "error 2"},
	{"a.example", DNS_MX, "a.example MX rcode=5\n", "error 5"},
	/* the other eight bits of the code stand in OPT: BADVERS */
	{"a.example", DNS_MX, "a.example MX\nar . OPT 1 -1\n", "error 16"},
	{"a.example", DNS_MX, "a.example MX rcode=2\nar . OPT 0 6\n",
	 "error 2 bogus"},
	{"a.example", DNS_MX, "a.example MX rcode=2\nar . OPT 0 22\n",
	 "error 2"},
	/* served past its TTL: for one use */
	{"a.example", DNS_MX,
	 "a.example MX\nan a.example 30 MX 1 old.example\nar . OPT 0 3\n",
	 "records ttl=0 a.example stale: 1 \"old.example\""},
	{"a.example", DNS_MX,
	 "a.example MX rcode=3\nau example 30 SOA 30\nar . OPT 0 19\n",
	 "nxdomain ttl=0 a.example stale"},
	{"a.example", DNS_MX, "a.example MX\nar . OPT 0 -1\nar . OPT 0 -1\n",
	 "malformed"},
	/* not answers to our question */
	{"a.example", DNS_MX, "a.example MX -qr\n", "foreign"},
	{"a.example", DNS_MX, "b.example MX\n", "foreign"},
	{"a.example", DNS_MX, "a.example A\n", "foreign"},
	{"a.example", DNS_MX, "a.example MX qd=0\n", "foreign"},
	{"a.example", DNS_MX, "a.example MX qd=2\n", "foreign"},
	/* what looks like several labels in text is not */
	{"a.example", DNS_MX, "a.example MX\nan a.example 1 MX 1 a\\b\n",
	 "records ttl=1 a.example: 1 \"a\\092b\""},
};

START_TEST(an_answer_is_what_its_records_say)
{
	struct dns_answer answer;
	size_t len = dns_packet(answers[_i].packet, packet);

	dns_wire_answer(packet, len, answers[_i].name, answers[_i].type,
			&answer);
	ck_assert_str_eq(summary(&answer), answers[_i].summary);
	dns_answer_done(&answer);
}
END_TEST

START_TEST(a_cut_packet_is_never_an_answer)
{
	size_t len = dns_packet(answers[_i].packet, packet);

	for (size_t cut = 0; cut < len; cut++) {
		struct dns_answer answer;
		uint8_t *exact = malloc(cut != 0 ? cut : 1);

		memcpy(exact, packet, cut);
		dns_wire_answer(exact, cut, answers[_i].name, answers[_i].type,
				&answer);
		ck_assert_msg(answer.kind == DNS_ANSWER_MALFORMED ||
				      answer.kind == DNS_ANSWER_FOREIGN ||
				      answer.kind == DNS_ANSWER_TRUNCATED,
			      "%zu of %zu bytes: %s", cut, len,
			      summary(&answer));
		dns_answer_done(&answer);
		free(exact);
	}
}
END_TEST

#define HEAD  0, 0, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0
#define QUERY 1, 'a', 0, 0, 15, 0, 1 /* a MX IN, at 12 */

static const struct {
	const char *what;
	uint8_t bytes[48];
	size_t len;
	const char *summary;
} raw[] = {
	{"names are compressed",
	 {HEAD, QUERY, 0xc0, 12, 0, 15, 0,   1,	  0,	0, 0,
	  9,	0,     7,    0,	 5, 2,	'm', 'x', 0xc0, 12},
	 38,
	 "records ttl=9 a: 5 \"mx.a\""},
	{"a pointer to itself",
	 {HEAD, QUERY, 0xc0, 19, 0, 15, 0, 1, 0, 0, 0, 9, 0, 3, 0, 5, 0},
	 34,
	 "malformed"},
	{"a pointer forward",
	 {HEAD, QUERY, 0xc0, 30, 0, 15, 0, 1, 0, 0, 0, 9, 0, 3, 0, 5, 0},
	 34,
	 "malformed"},
	{"two pointers at each other",
	 {HEAD, QUERY, 0xc0, 12, 0, 15, 0,   1,	   0,  0, 0,
	  9,	0,     7,    0,	 5, 1,	'x', 0xc0, 33, 0},
	 38,
	 "malformed"},
	{"a reserved label type",
	 {HEAD, QUERY, 0x80, 12, 0, 15, 0, 1, 0, 0, 0, 9, 0, 3, 0, 5, 0},
	 34,
	 "malformed"},
	{"data longer than its record",
	 {HEAD, QUERY, 0xc0, 12, 0, 15, 0, 1,	0,   0,
	  0,	9,     0,    3,	 0, 5,	2, 'm', 'x', 0},
	 37,
	 "malformed"},
	{"data shorter than its record",
	 {HEAD, QUERY, 0xc0, 12, 0, 15, 0,   1,	  0, 0, 0,
	  9,	0,     8,    0,	 5, 2,	'm', 'x', 0, 7, 7},
	 39,
	 "malformed"},
	{"a record of another class",
	 {HEAD, QUERY, 0xc0, 12, 0, 15, 0, 3, 0, 0, 0, 9, 0, 3, 0, 5, 0},
	 34,
	 "nodata ttl=0 a"},
};

START_TEST(every_octet_is_checked)
{
	struct dns_answer answer;

	dns_wire_answer(raw[_i].bytes, raw[_i].len, "a", DNS_MX, &answer);
	ck_assert_msg(strcmp(summary(&answer), raw[_i].summary) == 0, "%s: %s",
		      raw[_i].what, summary(&answer));
	dns_answer_done(&answer);
}
END_TEST

START_TEST(the_case_of_the_question_is_compared_apart)
{
	struct dns_answer answer;
	size_t len = dns_packet("a.eXAMPle MX\n", packet);

	dns_wire_answer(packet, len, "a.eXAMPle", DNS_MX, &answer);
	ck_assert(answer.is_case_kept);
	dns_answer_done(&answer);
	dns_wire_answer(packet, len, "a.example", DNS_MX, &answer);
	ck_assert_int_eq(answer.kind, DNS_ANSWER_NODATA);
	ck_assert(!answer.is_case_kept);
	dns_answer_done(&answer);
}
END_TEST

/* Labels of 63 octets, each with a pointer to the one before. */
START_TEST(a_name_is_never_longer_than_255_octets)
{
	for (unsigned labels = 1; labels < 30; labels++) {
		struct dns_writer writer = {packet, 0};
		struct dns_answer answer;
		size_t at = 0;

		dns_put_head(&writer, "a TXT");
		for (unsigned i = 0; i < labels; i++) {
			size_t begin = writer.len;
			uint8_t length = 63;

			/* in the data of a record that nobody asked for */
			dns_put(&writer, "\1b\0\0\20\0\1\0\0\0\0", 11);
			dns_put_u16(&writer, 66);
			at = writer.len;
			dns_put(&writer, &length, 1);
			for (unsigned x = 0; x < 63; x++)
				dns_put(&writer, "\xff", 1);
			if (i == 0)
				dns_put(&writer, "\0\0", 2);
			else
				dns_put_u16(&writer, 0xc000 | (begin - 66));
		}
		dns_put_u16(&writer, 0xc000 | (unsigned)at);
		dns_put(&writer, "\0\20\0\1\0\0\0\0\0\0", 10);
		packet[7] = (uint8_t)(labels + 1);
		dns_wire_answer(packet, writer.len, "a", DNS_TXT, &answer);
		/* three such labels and the root are 193 octets, four 257 */
		ck_assert_int_eq(answer.kind, labels < 4
						      ? DNS_ANSWER_NODATA
						      : DNS_ANSWER_MALFORMED);
		dns_answer_done(&answer);
	}
}
END_TEST

START_TEST(too_many_records_are_refused)
{
	struct dns_writer writer = {packet, 0};
	struct dns_answer answer;

	dns_put_head(&writer, "a A");
	for (unsigned i = 0; i < 1025; i++)
		(void)dns_put_line(&writer, "an a 60 A 192.0.2.1");
	packet[6] = 1024 >> 8;
	packet[7] = 0;
	dns_wire_answer(packet, writer.len, "a", DNS_A, &answer);
	ck_assert_uint_eq(answer.count, 1024);
	dns_answer_done(&answer);
	packet[7] = 1;
	dns_wire_answer(packet, writer.len, "a", DNS_A, &answer);
	ck_assert_int_eq(answer.kind, DNS_ANSWER_MALFORMED);
	dns_answer_done(&answer);
}
END_TEST

START_TEST(a_question_is_written_as_the_rfc_says)
{
	static const uint8_t wanted[] = {
		0,	     0, 0x01, 0x20, 0,	  1,   0, 0, 0,	 0, 0,
		1,	     1, 'a',  2,    'b',  'c', 0, 0, 15, 0, 1,
		/* OPT */ 0, 0, 41,   0x04, 0xd0, 0,   0, 0, 0,	 0, 0,
	};
	uint8_t question[DNS_QUERY_MAX];

	ck_assert_uint_eq(dns_wire_question("a.bc", DNS_MX, true, question),
			  sizeof(wanted));
	ck_assert_mem_eq(question, wanted, sizeof(wanted));
	ck_assert_uint_eq(dns_wire_question("a.bc", DNS_MX, false, question),
			  sizeof(wanted) - 11);
	ck_assert_uint_eq(question[11], 0);
}
END_TEST

START_TEST(only_names_are_asked_for)
{
	static const char *const bad[] = {"a..b", ".a", "a.", "a\\b"};
	char label[65] = "", name[260] = "";
	uint8_t question[DNS_QUERY_MAX];

	for (size_t i = 0; i < COUNT(bad); i++)
		ck_assert_uint_eq(dns_wire_question(bad[i], DNS_A, true,
						    question),
				  0);
	memset(label, 'x', 63);
	ck_assert_uint_ne(dns_wire_question(label, DNS_A, true, question), 0);
	label[63] = 'x';
	ck_assert_uint_eq(dns_wire_question(label, DNS_A, true, question), 0);
	for (size_t i = 0; i < 253; i++)
		name[i] = i % 2 == 0 ? 'a' : '.';
	ck_assert_uint_ne(dns_wire_question(name, DNS_A, true, question), 0);
	(void)memcpy(name + 253, ".a", 3);
	ck_assert_uint_eq(dns_wire_question(name, DNS_A, true, question), 0);
}
END_TEST

static const struct {
	const char *name;
	bool is_host;
} hosts[] = {
	{"mx1.example", true}, {"a", true},    {"under_score.example", true},
	{"192.0.2.1", false},  {"", false},    {"a..b", false},
	{"1.example", true},   {"a.1", false}, {"a b.example", false},
	{"a\\032b", false},    {"-", true},    {"[192.0.2.1]", false},
};

START_TEST(an_address_in_disguise_is_no_host)
{
	ck_assert_msg(dns_is_host_name(hosts[_i].name) == hosts[_i].is_host,
		      "%s", hosts[_i].name);
}
END_TEST

UNIT_MAIN("dns_wire", tcase_add_loop_test(tc, an_answer_is_what_its_records_say,
					  0, (int)COUNT(answers));
	  tcase_add_loop_test(tc, a_cut_packet_is_never_an_answer, 0,
			      (int)COUNT(answers));
	  tcase_add_loop_test(tc, every_octet_is_checked, 0, (int)COUNT(raw));
	  tcase_add_test(tc, the_case_of_the_question_is_compared_apart);
	  tcase_add_test(tc, a_name_is_never_longer_than_255_octets);
	  tcase_add_test(tc, too_many_records_are_refused);
	  tcase_add_test(tc, a_question_is_written_as_the_rfc_says);
	  tcase_add_test(tc, only_names_are_asked_for);
	  tcase_add_loop_test(tc, an_address_in_disguise_is_no_host, 0,
			      (int)COUNT(hosts));)
