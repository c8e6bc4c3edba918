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
	(void)buf_join(out, "Received: from ",
		       r->helo != NULL ? r->helo : "unknown", " (", NULL);
	if (r->client.family == IP_NONE)
		(void)buf_adds(out, "local socket");
	else
		(void)buf_join(out,
			       r->client_name != NULL ? r->client_name
						      : "unknown",
			       " [", r->client.family == IP_V6 ? "IPv6:" : "",
			       ip_format(&r->client, ip), "]", NULL);
	(void)buf_join(out, ")\r\n\tby ", r->hostname, " with ",
		       received_protocol(r), NULL);
	if (r->tls_version != NULL)
		(void)buf_join(out, "\r\n\t(", r->tls_version, " ",
			       r->tls_cipher, ")", NULL);
	(void)buf_join(out, "\r\n\tid ", r->id, NULL);
	if (r->recipient != NULL)
		(void)buf_join(out, "\r\n\tfor <", r->recipient, ">", NULL);
	(void)buf_join(out, "; ", clock_format_rfc5322(r->now_ms, date), "\r\n",
		       NULL);
}
