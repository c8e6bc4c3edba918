/* SPDX-License-Identifier: ISC */
/*
 * server/smtpd_proxy.c - who is behind a proxy; who seems to be behind a NAT
 */
#include "server/smtpd_internal.h"

#include "lib/net/stream.h"
#include "lib/wire/proxy.h"
#include "server/smtpd_session.h"

bool
session_is_behind_proxy(const struct smtpd_session *s)
{
	const struct listener_config *listener = session_listener(s);

	return cidr_find(listener->proxy_from, listener->proxy_from_count,
			 &s->ip) != NULL;
}

static void
session_turn_away(struct smtpd_session *s, const char *text)
{
	if (session_listener(s)->tls == LISTENER_TLS_IMPLICIT)
		session_drop(s, "too many connections");
	else
		session_goodbye(s, "4.7.0", text, "too many connections");
}

static void
session_take_client(struct smtpd_session *s, const struct proxy_header *header)
{
	s->is_proxied = true;
	if (header->client.family == IP_NONE) {
		/* the proxy speaks for itself */
		session_begin(s);
		return;
	}
	s->ip = header->client;
	session_count(s);
	if (!smtpd_client_change(s->smtpd, &s->client, &s->ip))
		session_turn_away(s, "Too many connections from your address");
	else if (s->is_stranger && !smtpd_has_place_for_last(s->smtpd))
		session_turn_away(s, "Too many connections");
	else
		session_begin(s);
}

void
session_read_proxy(struct smtpd_session *s)
{
	struct proxy_header header;
	struct log_line line;
	size_t len, used;
	const uint8_t *bytes = stream_bytes(s->stream, &len);

	switch (proxy_parse(bytes, len, &header, &used)) {
	case PROXY_NEED_MORE:
		return;
	case PROXY_DONE:
		stream_consume(s->stream, used);
		session_take_client(s, &header);
		return;
	case PROXY_BAD:
		break;
	}
	session_log(s, &line, LOG_LEVEL_WARN, "reject");
	log_text(&line, "rule", "proxy-header");
	log_text(&line, "reason",
		 "the address is in proxy_from, but its connection does not "
		 "begin with a PROXY header");
	log_end(&line);
	session_drop(s, "no PROXY header");
}

void
session_watch_nat(struct smtpd_session *s)
{
	char ip[IP_TEXT_MAX];
	struct log_line line;

	if (session_listener(s)->role != POLICY_MX || s->is_unix ||
	    s->is_proxied || s->proto.helo == NULL ||
	    !nat_watch_saw(&s->smtpd->nat, &s->ip, s->proto.helo))
		return;
	log_begin(&line, LOG_LEVEL_WARN, "config");
	log_text(&line, "listener", session_listener(s)->name);
	log_text(&line, "client", ip_format(&s->ip, ip));
	log_text(&line, "reason", NAT_WATCH_TEXT);
	log_end(&line);
}
