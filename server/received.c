/* SPDX-License-Identifier: ISC */
#include "server/received.h"

#include "lib/clock.h"

/* RFC 3848, RFC 6531 4.3: what stands behind "with" */
static const char *
received_protocol(const struct received *r)
{
	static const char *const names[2][2][2] = {
		{{"ESMTP", "ESMTPA"}, {"ESMTPS", "ESMTPSA"}},
		{{"UTF8SMTP", "UTF8SMTPA"}, {"UTF8SMTPS", "UTF8SMTPSA"}},
	};

	if (!r->is_esmtp)
		return "SMTP";
	return names[r->is_utf8][r->tls_version != NULL][r->is_authenticated];
}

void
received_format(const struct received *r, struct buf *out)
{
	char ip[IP_TEXT_MAX], date[CLOCK_DATE_MAX];

	/* cannot fail: every part is bounded and the caller left room */
	(void)buf_addf(out, "Received: from %s (",
		       r->helo != NULL ? r->helo : "unknown");
	if (r->client.family == IP_NONE)
		(void)buf_adds(out, "local socket");
	else
		(void)buf_addf(out, "%s [%s%s]",
			       r->client_name != NULL ? r->client_name
						      : "unknown",
			       r->client.family == IP_V6 ? "IPv6:" : "",
			       ip_format(&r->client, ip));
	(void)buf_addf(out, ")\r\n\tby %s with %s", r->hostname,
		       received_protocol(r));
	if (r->tls_version != NULL)
		(void)buf_addf(out, "\r\n\t(%s %s)", r->tls_version,
			       r->tls_cipher);
	(void)buf_addf(out, "\r\n\tid %s", r->id);
	if (r->recipient != NULL)
		(void)buf_addf(out, "\r\n\tfor <%s>", r->recipient);
	(void)buf_addf(out, "; %s\r\n", clock_format_rfc5322(r->now_ms, date));
}
