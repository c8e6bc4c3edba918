/* SPDX-License-Identifier: ISC */
#include "server/certificate_state.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/net/tls_ctx.h"
#include "server/config.h"
#include "server/daemon.h"
#include "server/smtpd.h"

#define SOON_S	  (14 * 86400)
#define NAMES_MAX 1024 /* of listeners in one warning */

void
certificate_state(const struct tls_ctx *ctx, uint64_t now_ms,
		  struct certificate_state *out)
{
	static const char renew[] = "Renew it; it is used as soon as its file "
				    "has changed, or after a reload.";
	long long now_s = (long long)(now_ms / 1000);
	long long end_s = tls_ctx_expires(ctx);
	bool is_own = tls_ctx_is_self_signed(ctx);
	char date[CLOCK_DATE_MAX];

	(void)clock_format_rfc3339((uint64_t)(end_s > 0 ? end_s : 0) * 1000,
				   date);
	(void)snprintf(out->text, sizeof(out->text), "%s%s %s",
		       is_own ? "is self-signed, " : "",
		       end_s > now_s ? "ends" : "has ended", date);
	out->state = "ok";
	out->advice = "";
	if (is_own) {
		out->state = "warn";
		out->advice = "Mail programs and other servers cannot verify "
			      "it: get one for hostname from an authority "
			      "(by certbot, for example), and name its files "
			      "in tls { }.";
	}
	if (end_s <= now_s + SOON_S && !is_own)
		out->advice = renew;
	if (end_s <= now_s + SOON_S)
		out->state = end_s > now_s ? "warn" : "fail";
}

/* "mx, submission": all from first on that are in this state. */
static void
put_names(const struct daemon *daemon, size_t first, uint64_t now_ms,
	  const struct certificate_state *state, struct buf *out)
{
	const struct smtpd_tls *tls = daemon->smtpd->tls;
	struct certificate_state other;

	for (size_t i = first; i < tls->count; i++) {
		if (tls->contexts[i] == NULL)
			continue;
		certificate_state(tls->contexts[i], now_ms, &other);
		if (strcmp(other.text, state->text) == 0)
			(void)buf_addf(out, "%s%s", i == first ? "" : ", ",
				       daemon->config->listeners[i].name);
	}
}

static bool
is_told(const struct smtpd_tls *tls, size_t index, uint64_t now_ms,
	const struct certificate_state *state)
{
	struct certificate_state other;

	for (size_t i = 0; i < index; i++) {
		if (tls->contexts[i] == NULL)
			continue;
		certificate_state(tls->contexts[i], now_ms, &other);
		if (strcmp(other.text, state->text) == 0)
			return true;
	}
	return false;
}

void
certificate_warnings(const struct daemon *daemon, json_t *list)
{
	const struct smtpd_tls *tls = daemon->smtpd->tls;
	uint64_t now_ms = clock_wall_ms();
	struct certificate_state state;
	struct buf names;

	for (size_t i = 0; i < tls->count; i++) {
		if (tls->contexts[i] == NULL)
			continue;
		certificate_state(tls->contexts[i], now_ms, &state);
		if (strcmp(state.state, "ok") == 0 ||
		    is_told(tls, i, now_ms, &state))
			continue;
		buf_init(&names, NAMES_MAX);
		put_names(daemon, i, now_ms, &state, &names);
		json_array_append_new(
			list, json_sprintf("the certificate of %s %s. %s",
					   buf_text(&names), state.text,
					   state.advice));
		buf_done(&names);
	}
}
