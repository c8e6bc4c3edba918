/* SPDX-License-Identifier: ISC */
#include "lib/net/dns_exchange.h"

#include <assert.h>
#include <string.h>

#include "lib/list.h"
#include "lib/random.h"
#include "lib/str.h"

#define PREFERRED_MS 60000

/*
 * Letters of random case towards servers beyond this host: a forger has to
 * guess them too, for the answer must repeat them.
 */
static void
mix_case(char *name)
{
	uint8_t bits = 0;
	unsigned left = 0;

	for (char *at = name; *at != '\0'; at++) {
		if (left == 0) {
			random_bytes(&bits, sizeof(bits));
			left = 8;
		}
		*at = str_lower(*at);
		if (*at >= 'a' && *at <= 'z' && (bits & 1) != 0)
			*at = (char)(*at - 'a' + 'A');
		bits >>= 1;
		left--;
	}
}

static void on_arrival(struct dns_request *request,
		       const struct dns_arrival *arrival);

static void
exchange_send(struct dns_exchange *exchange)
{
	struct dns_asker *asker = exchange->asker;
	const struct dns_server *servers;
	uint8_t packet[DNS_QUERY_MAX];
	size_t count, len;

	servers = asker->backend->ops->servers(asker->backend, &count);
	assert(count != 0);
	exchange->server_count = count;
	exchange->server %= count; /* there may be fewer than before */
	exchange->is_trusted = ip_is_loopback(&servers[exchange->server].ip);
	if (exchange->is_trusted)
		str_lower_all(exchange->name);
	else
		mix_case(exchange->name);
	len = dns_wire_question(exchange->name, exchange->type,
				exchange->has_edns, packet);
	assert(len != 0);
	exchange->request.on_end = on_arrival;
	exchange->sent_ms = asker->now_ms(asker->now_arg);
	asker->packets++;
	if (exchange->is_tcp)
		asker->tcp_packets++;
	asker->backend->ops->send(asker->backend, &exchange->request,
				  exchange->server, exchange->is_tcp, packet,
				  len);
}

/* Gives the result to the owner, who may free the exchange. */
static void
exchange_end(struct dns_exchange *exchange, struct dns_answer *answer)
{
	struct dns_asker *asker = exchange->asker;
	struct dns_result result = {
		.is_trusted = exchange->is_trusted,
		.sent_ms = exchange->sent_ms,
	};

	if (answer != NULL) {
		result.answer = *answer;
	} else {
		result.answer.kind = DNS_ANSWER_ERROR;
		result.answer.why = exchange->why;
	}
	if (answer != NULL && exchange->tries > 1 &&
	    exchange->server != asker->preferred) {
		asker->preferred = exchange->server;
		asker->preferred_until_ms = exchange->sent_ms + PREFERRED_MS;
	}
	exchange->on_end(exchange, &result);
	dns_answer_done(&result.answer);
}

/* The next try at the next server, or the end. */
static void
exchange_next(struct dns_exchange *exchange, unsigned most)
{
	if (exchange->tries >= most) {
		exchange_end(exchange, NULL);
		return;
	}
	exchange->tries++;
	exchange->server = (exchange->server + 1) % exchange->server_count;
	exchange->is_tcp = false;
	exchange->has_edns = true;
	exchange_send(exchange);
}

static unsigned
most_tries(const struct dns_exchange *exchange)
{
	return exchange->asker->attempts > exchange->server_count
		       ? exchange->asker->attempts
		       : (unsigned)exchange->server_count;
}

/* Should the same server be asked in another way? Then it has been. */
static bool
ask_otherwise(struct dns_exchange *exchange, const struct dns_answer *answer)
{
	bool is_suspect = answer->kind == DNS_ANSWER_FOREIGN ||
			  answer->kind == DNS_ANSWER_TRUNCATED ||
			  (answer->kind != DNS_ANSWER_FOREIGN &&
			   !answer->is_case_kept && !exchange->is_trusted);
	bool is_old = answer->kind == DNS_ANSWER_ERROR &&
		      (answer->rcode == DNS_RCODE_FORMERR ||
		       answer->rcode == DNS_RCODE_NOTIMP ||
		       answer->rcode == DNS_RCODE_BADVERS);

	if (is_suspect && !exchange->is_tcp)
		exchange->is_tcp = true; /* it cannot be forged blindly */
	else if (is_old && exchange->has_edns)
		exchange->has_edns = false; /* RFC 6891, 7 */
	else
		return false;
	exchange_send(exchange);
	return true;
}

static void
judge(struct dns_exchange *exchange, struct dns_answer *answer)
{
	if (ask_otherwise(exchange, answer)) {
		dns_answer_done(answer);
		return;
	}
	switch (answer->kind) {
	case DNS_ANSWER_RECORDS:
	case DNS_ANSWER_NODATA:
	case DNS_ANSWER_NXDOMAIN:
		exchange_end(exchange, answer);
		return;
	case DNS_ANSWER_ERROR:
		/* what one resolver found forged, none may make good */
		if (answer->is_bogus) {
			exchange_end(exchange, answer);
			return;
		}
		break;
	case DNS_ANSWER_TRUNCATED:
	case DNS_ANSWER_LAME:
	case DNS_ANSWER_MALFORMED:
	case DNS_ANSWER_FOREIGN:
		break;
	}
	/* asking this server again would give the same; the others may know */
	exchange->why = answer->why;
	dns_answer_done(answer);
	exchange_next(exchange, (unsigned)exchange->server_count);
}

static void
on_arrival(struct dns_request *request, const struct dns_arrival *arrival)
{
	struct dns_exchange *exchange =
		container_of(request, struct dns_exchange, request);
	struct dns_answer answer;

	switch (arrival->status) {
	case DNS_ARRIVED:
		dns_wire_answer(arrival->bytes, arrival->len, exchange->name,
				exchange->type, &answer);
		judge(exchange, &answer);
		return;
	case DNS_TIMED_OUT:
		exchange->why = "timeout";
		break;
	case DNS_UNREACHABLE:
		exchange->why = "no DNS server can be reached";
		break;
	}
	exchange_next(exchange, most_tries(exchange));
}

void
dns_exchange_start(struct dns_exchange *exchange, struct dns_asker *asker,
		   const char *name, uint16_t type,
		   void (*on_end)(struct dns_exchange *exchange,
				  struct dns_result *result))
{
	memset(exchange, 0, sizeof(*exchange));
	exchange->asker = asker;
	(void)str_copy(exchange->name, sizeof(exchange->name), str_of(name));
	exchange->type = type;
	exchange->on_end = on_end;
	exchange->has_edns = true;
	exchange->tries = 1;
	if (asker->now_ms(asker->now_arg) < asker->preferred_until_ms)
		exchange->server = asker->preferred;
	else
		asker->preferred = 0;
	exchange_send(exchange);
}

void
dns_exchange_cancel(struct dns_exchange *exchange)
{
	struct dns_backend *backend = exchange->asker->backend;

	backend->ops->cancel(backend, &exchange->request);
}
