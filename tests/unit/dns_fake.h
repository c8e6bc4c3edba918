/* SPDX-License-Identifier: ISC */
/*
 * tests/unit/dns_fake.h - DNS servers that answer what a test says, when it
 * says, and a clock that a test moves
 */
#ifndef OSTLER_TESTS_UNIT_DNS_FAKE_H
#define OSTLER_TESTS_UNIT_DNS_FAKE_H

#include <check.h>
#include <errno.h>

#include "lib/list.h"
#include "lib/mem.h"
#include "lib/net/dns_backend.h"
#include "tests/unit/dns_packets.h"

#define FAKE_SENT_MAX 20000

/* A packet that was sent. */
struct fake_sent {
	struct dns_request *request; /* NULL: answered or cancelled */
	size_t server;
	bool is_tcp, has_edns;
	char name[256]; /* as it stood in the packet */
	unsigned type;
};

struct fake {
	struct dns_backend backend;
	struct dns_server servers[DNS_SERVERS_MAX];
	size_t server_count;
	struct fake_sent sent[FAKE_SENT_MAX];
	size_t count; /* of sent */
	size_t flying, flying_max;
	bool is_closed;
	uint64_t now_ms;
};

static inline struct fake *
fake_of(const struct dns_backend *backend)
{
	return container_of(backend, struct fake, backend);
}

static inline const struct dns_server *
fake_servers(const struct dns_backend *backend, size_t *out_count)
{
	*out_count = fake_of(backend)->server_count;
	return fake_of(backend)->servers;
}

static inline void
fake_send(struct dns_backend *backend, struct dns_request *request,
	  size_t server, bool is_tcp, const uint8_t *packet, size_t len)
{
	struct fake *fake = fake_of(backend);
	struct fake_sent *sent = &fake->sent[fake->count++];
	size_t at = 12, used = 0;

	ck_assert_uint_lt(fake->count, FAKE_SENT_MAX);
	ck_assert_uint_lt(server, fake->server_count);
	ck_assert_ptr_null(request->pending);
	memset(sent, 0, sizeof(*sent));
	sent->request = request;
	sent->server = server;
	sent->is_tcp = is_tcp;
	sent->has_edns = packet[11] == 1;
	for (; packet[at] != 0; at += 1u + packet[at]) {
		if (used != 0)
			sent->name[used++] = '.';
		memcpy(sent->name + used, packet + at + 1, packet[at]);
		used += packet[at];
	}
	sent->type = (unsigned)(packet[at + 1] << 8 | packet[at + 2]);
	request->pending = sent;
	if (++fake->flying > fake->flying_max)
		fake->flying_max = fake->flying;
}

static inline void
fake_cancel(struct dns_backend *backend, struct dns_request *request)
{
	struct fake_sent *sent = request->pending;

	request->pending = NULL;
	if (sent == NULL)
		return;
	sent->request = NULL;
	fake_of(backend)->flying--;
}

static inline int
fake_configure(struct dns_backend *backend, const struct dns_backend_opts *opts,
	       struct err *err)
{
	return opts->timeout_ms == 666 ? err_set(err, -EINVAL, "fake") : 0;
}

static inline void
fake_close(struct dns_backend *backend)
{
	ck_assert_uint_eq(fake_of(backend)->flying, 0);
	fake_of(backend)->is_closed = true;
}

static inline uint64_t
fake_now(void *arg)
{
	return ((struct fake *)arg)->now_ms;
}

/* Loopback servers, as many as asked for. */
static inline struct fake *
fake_new(size_t servers)
{
	static const struct dns_backend_ops ops = {
		fake_servers,	fake_send,  fake_cancel,
		fake_configure, fake_close,
	};
	struct fake *fake = mem_zalloc(sizeof(*fake));

	fake->backend.ops = &ops;
	fake->server_count = servers;
	fake->now_ms = 1000000;
	for (size_t i = 0; i < servers; i++) {
		fake->servers[i].port = 53;
		fake->servers[i].ip =
			(struct ip){IP_V4, {127, 0, 0, (uint8_t)(i + 1)}};
	}
	return fake;
}

static inline void
fake_arrive(struct fake *fake, struct fake_sent *sent,
	    enum dns_arrival_status status, const uint8_t *bytes, size_t len)
{
	struct dns_arrival arrival = {status, bytes, len};
	struct dns_request *request = sent->request;

	ck_assert_ptr_nonnull(request);
	sent->request = NULL;
	request->pending = NULL;
	fake->flying--;
	request->on_end(request, &arrival);
}

/* Answers the packet; "%" at the front stands for the question as sent. */
static inline void
fake_answer(struct fake *fake, size_t index, const char *text)
{
	static uint8_t packet[DNS_PACKET_MAX];
	struct fake_sent *sent = &fake->sent[index];
	char full[2048];

	ck_assert_uint_lt(index, fake->count);
	if (text[0] == '%') {
		const char *type = sent->type == 1    ? "A"
				   : sent->type == 28 ? "AAAA"
				   : sent->type == 15 ? "MX"
				   : sent->type == 5  ? "CNAME"
				   : sent->type == 52 ? "TLSA"
						      : "TXT";

		(void)snprintf(full, sizeof(full), "%s %s%s", sent->name, type,
			       text + 1);
		text = full;
	}
	fake_arrive(fake, sent, DNS_ARRIVED, packet, dns_packet(text, packet));
}

static inline void
fake_fail(struct fake *fake, size_t index, enum dns_arrival_status status)
{
	ck_assert_uint_lt(index, fake->count);
	fake_arrive(fake, &fake->sent[index], status, NULL, 0);
}

#endif
