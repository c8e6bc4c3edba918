/* SPDX-License-Identifier: ISC */
/*
 * tests/tools/dsn_demo.c - prints the report for a made-up failure
 *
 *	dsn_demo --list		names of all cases
 *	dsn_demo NAME		the report, as it would enter the queue
 *	dsn_demo NAME --envelope	"8bit" or "7bit": what the envelope says
 *	dsn_demo NAME --language TAG	as configured for that language
 *	dsn_demo --all TAG	all of them: NAME, NUL, report, NUL
 *
 * Time stands still and the zone is UTC, so that the output can be compared.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/mem.h"
#include "queue/bounce/advice.h"
#include "queue/bounce/dsn.h"
#include "queue/bounce/relay_denied.h"
#include "queue/bounce/texts.h"

#define RECEIVED_MS UINT64_C(1795269780000) /* 21 Nov 2026, 14:03 */

static const char plain_original[] =
	"Received: from laptop.example.org by mail.example.org;\r\n"
	"\tSat, 21 Nov 2026 14:03:00 +0000\r\n"
	"Date: Sat, 21 Nov 2026 14:02:58 +0000\r\n"
	"From: Bob <bob@example.org>\r\n"
	"To: anna@example.net\r\n"
	"Subject: Minutes of Monday\r\n"
	"Message-ID: <minutes-1@laptop.example.org>\r\n"
	"\r\n"
	"Dear Anna,\r\n"
	"\r\n"
	"here they are.\r\n";

static const char encoded_original[] =
	"Date: Sat, 21 Nov 2026 14:02:58 +0000\r\n"
	"From: Bob <bob@example.org>\r\n"
	"Subject: =?utf-8?B?R3LDvMOfZSBhdXM=?= =?iso-8859-1?Q?_K=F6ln?=\r\n"
	" =?us-ascii?q?!?=\r\n"
	"Message-ID: <gruss-1@laptop.example.org>\r\n"
	"\r\n"
	"Hallo\r\n";

static const char eight_bit_original[] =
	"From: Bob <bob@example.org>\r\n"
	"Subject: Gr\xc3\xbc\xc3\x9f"
	"e\r\n"
	"Message-ID: <eight-1@laptop.example.org>\r\n"
	"MIME-Version: 1.0\r\n"
	"Content-Type: text/plain; charset=utf-8\r\n"
	"Content-Transfer-Encoding: 8bit\r\n"
	"\r\n"
	"Sch\xc3\xb6ne Gr\xc3\xbc\xc3\x9f"
	"e\r\n";

/* A header that is no UTF-8, whatever the envelope says. */
static const char latin1_original[] =
	"From: Bob <bob@example.org>\r\n"
	"Subject: Gr\xfc\xdf"
	"e\r\n"
	"Message-ID: <latin-1@laptop.example.org>\r\n"
	"\r\n"
	"Hallo\r\n";

/* Tries to end the part, to add fields, to close the report. */
static const char hostile_original[] = "From: Bob <bob@example.org>\r\n"
				       "Subject: hello\r\n"
				       " X-Folded: no\x1b[2J drowssap\r\n"
				       "Message-ID: <bad id@x>\r\n"
				       "\r\n"
				       "--=_R000000001_0--\r\n"
				       "--=_R000000001_1\r\n"
				       "the end\r\n";

struct demo {
	const char *name;
	enum dsn_kind kind;
	enum cause cause;
	enum smtp_phase phase;
	const char *reply; /* of the host, or our own words */
	const char *original;
	void (*adjust)(struct dsn_input *input, struct envelope *envelope,
		       struct outcome *outcome);
};

/* --- what makes a case special ------------------------------------------- */

static void
no_reply_host(struct dsn_input *input, struct envelope *envelope,
	      struct outcome *outcome)
{
	outcome->host[0] = '\0';
	memset(&outcome->ip, 0, sizeof(outcome->ip));
}

static void
expired(struct dsn_input *input, struct envelope *envelope,
	struct outcome *outcome)
{
	no_reply_host(input, envelope, outcome);
	envelope->recipients[0].attempts = 12;
	envelope->recipients[0].last_reply =
		mem_strdup("451 4.4.1 connection refused");
	envelope->recipients[0].last_host = mem_strdup("mx1.example.net");
	input->now_ms = RECEIVED_MS + UINT64_C(5) * 86400000;
}

static void
expired_alike(struct dsn_input *input, struct envelope *envelope,
	      struct outcome *outcome)
{
	expired(input, envelope, outcome);
}

static void
late(struct dsn_input *input, struct envelope *envelope,
     struct outcome *outcome)
{
	input->is_late = true;
	input->now_ms = RECEIVED_MS + UINT64_C(7) * 3600000;
	envelope->recipients[0].attempts = 9;
	envelope->helo = mem_strdup("laptop.example.org");
}

static void
with_dsn_arguments(struct dsn_input *input, struct envelope *envelope,
		   struct outcome *outcome)
{
	envelope->envid = mem_strdup("QQ+3D314+2Bx");
	envelope->ret = 'H';
	envelope->recipients[0].orcpt =
		mem_strdup("rfc822;Anna+2Bnews@example.net");
}

static void
several(struct dsn_input *input, struct envelope *envelope,
	struct outcome *outcome)
{
	envelope_add(envelope, "bea@example.com")->state = RCPT_DELIVERED;
	envelope_add(envelope, "carl@example.com")->state = RCPT_DELIVERED;
	envelope_add(envelope, "dora@example.edu")->state = RCPT_QUEUED;
}

/* The sender has an address in ASCII: so has the report. */
static void
utf8_recipient(struct dsn_input *input, struct envelope *envelope,
	       struct outcome *outcome)
{
	free(envelope->recipients[0].address);
	envelope->recipients[0].address =
		mem_strdup("\xe7\x94\xa8\xe6\x88\xb7@example.net");
	envelope->recipients[0].orcpt =
		mem_strdup("utf-8;\\x{7528}\\x{6237}@example.net");
	envelope->is_utf8 = true;
}

static void
utf8_recipient_as_it_is(struct dsn_input *input, struct envelope *envelope,
			struct outcome *outcome)
{
	utf8_recipient(input, envelope, outcome);
	free(envelope->recipients[0].orcpt);
	envelope->recipients[0].orcpt =
		mem_strdup("utf-8;\xe7\x94\xa8\xe6\x88\xb7@example.net");
}

static void
utf8_addresses(struct dsn_input *input, struct envelope *envelope,
	       struct outcome *outcome)
{
	utf8_recipient(input, envelope, outcome);
	free(envelope->sender);
	envelope->sender = mem_strdup("j\xc3\xb6rg@example.org");
	input->may_be_utf8 = true;
}

static void
utf8_headers(struct dsn_input *input, struct envelope *envelope,
	     struct outcome *outcome)
{
	utf8_addresses(input, envelope, outcome);
	envelope->ret = 'H';
}

/* A line that has no space to be broken at, but characters. */
static void
utf8_long_reply(struct dsn_input *input, struct envelope *envelope,
		struct outcome *outcome)
{
	size_t at = strlen(outcome->reply);

	utf8_addresses(input, envelope, outcome);
	for (unsigned i = 0; i < 400; i++, at += 3)
		memcpy(outcome->reply + at, "\xe2\x82\xac", 4);
}

/* Only his own address is UTF-8. */
static void
utf8_sender(struct dsn_input *input, struct envelope *envelope,
	    struct outcome *outcome)
{
	free(envelope->sender);
	envelope->sender = mem_strdup("j\xc3\xb6rg@example.org");
	envelope->is_utf8 = true;
	input->may_be_utf8 = true;
}

static void
eight_bit(struct dsn_input *input, struct envelope *envelope,
	  struct outcome *outcome)
{
	envelope->is_8bit = true;
	input->may_be_8bit = true;
}

static void
hostile(struct dsn_input *input, struct envelope *envelope,
	struct outcome *outcome)
{
	envelope->envid = mem_strdup("x+0D+0AStatus:+202.0.0");
	envelope->recipients[0].orcpt =
		mem_strdup("rfc822;a+0D+0AAction:+20delivered");
	(void)snprintf(outcome->host, sizeof(outcome->host), "mx\r\nX-Evil: 1");
}

static void
many(struct dsn_input *input, struct envelope *envelope,
     struct outcome *outcome)
{
	char address[64];

	for (unsigned i = 0; i < 199; i++) {
		snprintf(address, sizeof(address), "user%03u@example.net", i);
		envelope_add(envelope, address)->attempts = 1;
	}
}

static const struct demo demos[] = {
	{"other", DSN_FAILED, CAUSE_REPLY, PHASE_BODY, "554 Transaction failed",
	 plain_original, NULL},
	{"bad-configuration", DSN_FAILED, CAUSE_REPLY, PHASE_RCPT,
	 "554 5.3.5 Local configuration error", plain_original, NULL},
	{"bad-connection", DSN_FAILED, CAUSE_CONNECT_REFUSED, PHASE_CONNECT,
	 "connect to mx1.example.net [192.0.2.10]:25: connection refused",
	 plain_original, NULL},
	{"bad-domain", DSN_FAILED, CAUSE_DNS_NO_DOMAIN, PHASE_DNS,
	 "the domain example.net does not exist", plain_original,
	 no_reply_host},
	{"bad-mailbox", DSN_FAILED, CAUSE_REPLY, PHASE_RCPT,
	 "550 5.1.1 <anna@example.net>: no such user here", plain_original,
	 several},
	{"content-related", DSN_FAILED, CAUSE_TOO_BIG, PHASE_MAIL,
	 "25165824 bytes are more than the limit of 10485760", plain_original,
	 NULL},
	{"inactive-mailbox", DSN_FAILED, CAUSE_REPLY, PHASE_RCPT,
	 "550 5.2.1 The mailbox is disabled", plain_original, NULL},
	{"message-expired", DSN_FAILED, CAUSE_EXPIRED, PHASE_NONE,
	 "not delivered in 5d", plain_original, expired},
	{"no-answer-from-host", DSN_FAILED, CAUSE_CONNECT_TIMEOUT,
	 PHASE_CONNECT, "connect to mx1.example.net [192.0.2.10]:25: timed out",
	 plain_original, NULL},
	{"policy-related", DSN_FAILED, CAUSE_REPLY, PHASE_BODY,
	 "550 5.7.23 The message failed SPF checks of example.org",
	 plain_original, NULL},
	{"protocol-errors", DSN_FAILED, CAUSE_REPLY, PHASE_MAIL,
	 "501 5.5.4 Syntax error in parameters", plain_original, NULL},
	{"quota-issues", DSN_FAILED, CAUSE_REPLY, PHASE_RCPT,
	 "552-5.2.2 The mailbox\n552 5.2.2 is full", plain_original, NULL},
	{"relaying-issues", DSN_FAILED, CAUSE_REPLY, PHASE_RCPT,
	 "554 5.7.1 <anna@example.net>: Relay access denied", plain_original,
	 NULL},
	{"routing-errors", DSN_FAILED, CAUSE_LOOP, PHASE_NONE,
	 "51 Received lines are more than 50: a loop", plain_original,
	 no_reply_host},
	{"spam-related", DSN_FAILED, CAUSE_REPLY, PHASE_RCPT,
	 "554 5.7.1 Client host [192.0.2.25] blocked using zen.spamhaus.org; "
	 "https://www.spamhaus.org/query/ip/192.0.2.25",
	 plain_original, NULL},
	{"virus-related", DSN_FAILED, CAUSE_REPLY, PHASE_BODY,
	 "554 5.7.1 Virus found: Eicar-Test-Signature", plain_original, NULL},
	{"denied-our-data", DSN_FAILED, CAUSE_REPLY, PHASE_RCPT,
	 "550 5.7.1 <anna@example.net>: Relay access denied", plain_original,
	 NULL},
	{"denied-old-record", DSN_FAILED, CAUSE_REPLY, PHASE_RCPT,
	 "550 5.7.1 <anna@example.net>: Relay access denied", plain_original,
	 NULL},
	{"denied-backup-mx", DSN_FAILED, CAUSE_REPLY, PHASE_RCPT,
	 "554 5.7.1 <anna@example.net>: Relay access denied", plain_original,
	 NULL},
	{"denied-best-mx", DSN_FAILED, CAUSE_REPLY, PHASE_RCPT,
	 "553 sorry, that domain isn't in my list of allowed rcpthosts",
	 plain_original, NULL},
	{"denied-no-login", DSN_FAILED, CAUSE_REPLY, PHASE_MAIL,
	 "530 5.7.0 Authentication required", plain_original, NULL},
	{"denied-login", DSN_FAILED, CAUSE_REPLY, PHASE_RCPT,
	 "550 5.7.1 Relaying denied", plain_original, NULL},
	{"denied-inner", DSN_FAILED, CAUSE_REPLY, PHASE_RCPT,
	 "550 5.7.1 Relaying denied", plain_original, NULL},
	{"delayed", DSN_DELAYED, CAUSE_CONNECT_TIMEOUT, PHASE_CONNECT,
	 "connect to mx1.example.net [192.0.2.10]:25: timed out",
	 plain_original, several},
	{"message-expired-alike", DSN_FAILED, CAUSE_EXPIRED, PHASE_NONE,
	 "not delivered in 5d", plain_original, expired_alike},
	{"late", DSN_RELAYED, CAUSE_REPLY, PHASE_BODY, "250 OK", plain_original,
	 late},
	{"delivered", DSN_DELIVERED, CAUSE_REPLY, PHASE_BODY,
	 "250 2.0.0 Queued as 4711", plain_original, with_dsn_arguments},
	{"relayed", DSN_RELAYED, CAUSE_REPLY, PHASE_BODY, "250 OK",
	 plain_original, with_dsn_arguments},
	{"own-fault", DSN_FAILED, CAUSE_AUTH_FAILED, PHASE_AUTH,
	 "the smarthost refused the login", plain_original, NULL},
	{"refused-login", DSN_FAILED, CAUSE_AUTH_FAILED, PHASE_AUTH,
	 "535-5.7.8 Username and password not accepted.\n"
	 "535 5.7.8 See https://example.net/help",
	 plain_original, NULL},
	{"arguments", DSN_FAILED, CAUSE_REPLY, PHASE_RCPT,
	 "550 5.1.1 no such user", plain_original, with_dsn_arguments},
	{"encoded-subject", DSN_FAILED, CAUSE_REPLY, PHASE_RCPT,
	 "550 5.1.1 Empf\xc3\xa4nger unbekannt", encoded_original, NULL},
	{"utf8", DSN_FAILED, CAUSE_REPLY, PHASE_RCPT, "550 5.1.1 no such user",
	 eight_bit_original, utf8_addresses},
	{"utf8-long-reply", DSN_FAILED, CAUSE_REPLY, PHASE_RCPT, "550 5.1.1 x",
	 plain_original, utf8_long_reply},
	{"utf8-headers", DSN_FAILED, CAUSE_REPLY, PHASE_RCPT,
	 "550 5.1.1 no such user \xe7\x94\xa8\xe6\x88\xb7", eight_bit_original,
	 utf8_headers},
	{"utf8-sender", DSN_FAILED, CAUSE_REPLY, PHASE_RCPT,
	 "550 5.1.1 no such user", plain_original, utf8_sender},
	{"utf8-latin1", DSN_FAILED, CAUSE_REPLY, PHASE_RCPT,
	 "550 5.1.1 no such user", latin1_original, utf8_headers},
	{"utf8-to-ascii", DSN_FAILED, CAUSE_REPLY, PHASE_RCPT,
	 "550 5.1.1 no such user", eight_bit_original, utf8_recipient},
	{"utf8-to-ascii-raw", DSN_FAILED, CAUSE_REPLY, PHASE_RCPT,
	 "550 5.1.1 no such user", eight_bit_original, utf8_recipient_as_it_is},
	{"8bit-headers-only", DSN_FAILED, CAUSE_REPLY, PHASE_RCPT,
	 "550 5.1.1 no such user", eight_bit_original, NULL},
	{"8bit-whole", DSN_FAILED, CAUSE_REPLY, PHASE_RCPT,
	 "550 5.1.1 no such user", eight_bit_original, eight_bit},
	{"hostile", DSN_FAILED, CAUSE_REPLY, PHASE_RCPT,
	 "550-5.1.1 no\r\nAction: delivered\r\n\r\n--=_R000000001_0\r\n"
	 "550 5.1.1 \x1b[2J\xff\xe2\x80\xae gone",
	 hostile_original, hostile},
	{"many", DSN_FAILED, CAUSE_REPLY, PHASE_RCPT, "550 5.1.1 no such user",
	 plain_original, many},
	{"headerless", DSN_FAILED, CAUSE_REPLY, PHASE_RCPT,
	 "550 5.1.1 no such user", "\r\nonly a body\n", NULL},
};
#define DEMO_COUNT (sizeof(demos) / sizeof(demos[0]))

/* A server answered, and not we found out; also a login that it refused. */
static bool
is_answer(const struct demo *demo)
{
	return demo->cause == CAUSE_REPLY ||
	       (demo->cause == CAUSE_AUTH_FAILED &&
		str_starts_nocase(str_of(demo->reply), "5"));
}

static void
make_outcome(const struct demo *demo, struct outcome *outcome)
{
	bool is_good = demo->kind == DSN_DELIVERED || demo->kind == DSN_RELAYED;
	unsigned code = (unsigned)strtoul(demo->reply, NULL, 10);
	struct status enhanced = {0};

	memset(outcome, 0, sizeof(*outcome));
	if (!is_answer(demo)) {
		outcome_own(outcome, demo->cause, demo->phase, "%s",
			    demo->reply);
	} else {
		outcome->kind = is_good ? OUTCOME_DELIVERED : OUTCOME_FAILED;
		outcome->cause = demo->cause;
		outcome->phase = demo->phase;
		status_set(&outcome->status, code, NULL, "%s", demo->reply + 4);
		if (status_parse_enhanced(demo->reply + 4,
					  (unsigned)strlen(demo->reply + 4),
					  &enhanced) != 0) {
			outcome->status.class = enhanced.class;
			outcome->status.subject = enhanced.subject;
			outcome->status.detail = enhanced.detail;
		}
		(void)snprintf(outcome->reply, sizeof(outcome->reply), "%s",
			       demo->reply);
	}
	(void)snprintf(outcome->host, sizeof(outcome->host), "mx1.example.net");
	outcome->port = 25;
	(void)ip_parse(str_of("192.0.2.10"), &outcome->ip);
	if (is_answer(demo))
		(void)snprintf(outcome->tls, sizeof(outcome->tls), "TLSv1.3");
}

/* A case that is named so; DENIED_UNKNOWN: nothing was looked into. */
static enum denied_cause
denied_of(const struct demo *demo)
{
	enum denied_cause cause = DENIED_INNER;

	while (cause != DENIED_UNKNOWN &&
	       strcmp(demo->name, denied_cause_advice(cause)) != 0)
		cause--;
	return cause;
}

/* As the queue does it once DNS has been asked. */
static void
look_into(const struct demo *demo, struct outcome *outcome,
	  struct dsn_recipient *told, struct denied_story *story)
{
	enum denied_cause cause = denied_of(demo);

	if (cause == DENIED_UNKNOWN)
		return;
	outcome->is_own_fault = cause >= DENIED_NO_LOGIN;
	*story = (struct denied_story){
		.cause = cause,
		.host = "mx1.example.net",
		.domain = "example.net",
		.mx = {.preference = 20,
		       .best_preference = 10,
		       .best = "mx0.example.net",
		       .expires_ms = 3600000},
		.boot_ms = 720000,
	};
	(void)snprintf(story->hop_key, sizeof(story->hop_key), "%s",
		       cause == DENIED_INNER ? "domain example.net"
					     : "route out");
	(void)snprintf(story->dns_now, sizeof(story->dns_now), "%s",
		       cause == DENIED_BACKUP_MX
			       ? ""
			       : "10 mx7.example.net [192.0.2.70] (TTL 1h)");
	told->story = story;
	told->classification.advice =
		advice_id(str_of(denied_cause_advice(cause)));
}

static void
print_demo(const struct demo *demo, bool is_envelope, const char *language)
{
	struct classifier *classifier = classifier_builtin();
	struct texts *texts = texts_builtin();
	struct outcome *outcome = mem_alloc(sizeof(*outcome));
	struct envelope envelope;
	struct dsn_recipient *told;
	struct dsn_input input = {
		.kind = demo->kind,
		.texts = texts,
		.language = language,
		.hostname = "mail.example.org",
		.from = "postmaster@example.org",
		.id = "7F3K2",
		.report_id = "R000000001",
		.now_ms = RECEIVED_MS + 5000,
		.retry_until_ms = RECEIVED_MS + UINT64_C(5) * 86400000,
		.envelope = &envelope,
		.original = (const uint8_t *)demo->original,
		.original_len = strlen(demo->original),
		.original_size = strlen(demo->original),
	};
	const struct classification refused = {
		.category = CATEGORY_BAD_CONNECTION,
	};
	struct denied_story story;
	struct buf out;

	make_outcome(demo, outcome);
	envelope_init(&envelope);
	envelope.sender = mem_strdup("bob@example.org");
	envelope.received_ms = RECEIVED_MS;
	envelope_add(&envelope, "anna@example.net")->attempts = 1;
	if (demo->adjust != NULL)
		demo->adjust(&input, &envelope, outcome);

	told = mem_zalloc(envelope.recipient_count * sizeof(*told));
	for (size_t i = 0; i < envelope.recipient_count; i++) {
		if (i > 0 && envelope.recipients[i].attempts == 0)
			continue;
		envelope.recipients[i].last_attempt_ms = input.now_ms;
		told[input.recipient_count].recipient = &envelope.recipients[i];
		told[input.recipient_count].outcome = outcome;
		classify_outcome(classifier, outcome,
				 &told[input.recipient_count].classification);
		look_into(demo, outcome, &told[input.recipient_count], &story);
		if (demo->adjust == expired_alike)
			told[input.recipient_count].each_time = &refused;
		input.recipient_count++;
	}
	input.recipients = told;

	buf_init(&out, DSN_ROOM);
	dsn_format(&input, &out);
	if (is_envelope)
		puts(dsn_is_8bit(&input) ? "8bit" : "7bit");
	else
		(void)fwrite(buf_bytes(&out), 1, buf_len(&out), stdout);
	buf_done(&out);
	free(told);
	envelope_done(&envelope);
	free(outcome);
	classifier_unref(classifier);
	texts_unref(texts);
}

int
main(int argc, char **argv)
{
	bool is_envelope = argc == 3 && strcmp(argv[2], "--envelope") == 0;
	bool has_language = argc == 4 && strcmp(argv[2], "--language") == 0;
	bool is_all = argc == 3 && strcmp(argv[1], "--all") == 0;

	(void)setenv("TZ", "UTC0", 1);
	tzset();
	if (argc != 2 && !is_envelope && !has_language && !is_all) {
		fprintf(stderr, "usage: dsn_demo --list | --all TAG | NAME "
				"[--envelope | --language TAG]\n");
		return 2;
	}
	for (size_t i = 0; i < DEMO_COUNT; i++) {
		if (is_all) {
			(void)printf("%s%c", demos[i].name, '\0');
			print_demo(&demos[i], false, argv[2]);
			(void)putchar('\0');
		} else if (strcmp(argv[1], "--list") == 0) {
			puts(demos[i].name);
		} else if (strcmp(argv[1], demos[i].name) == 0) {
			print_demo(&demos[i], is_envelope,
				   has_language ? argv[3] : "en");
			return 0;
		}
	}
	return is_all || strcmp(argv[1], "--list") == 0 ? 0 : 2;
}
