/* SPDX-License-Identifier: ISC */
#include "queue/deliver/outcome.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/str.h"

/* What the enum's comments say, for programs. */
static const struct cause_row {
	const char *name;
	uint16_t code;
	const char *enhanced;
	bool is_own_fault;
} causes[] = {
	[CAUSE_REPLY] = {"reply", 451, "4.0.0", false},
	[CAUSE_DNS_NO_DOMAIN] = {"dns-no-domain", 550, "5.1.2", false},
	[CAUSE_DNS_NO_ADDRESS] = {"dns-no-address", 451, "4.4.4", false},
	/* RFC 7505, 4.2 */
	[CAUSE_DNS_NULL_MX] = {"dns-null-mx", 556, "5.1.10", false},
	[CAUSE_DNS_BAD_MX] = {"dns-bad-mx", 550, "5.1.2", false},
	[CAUSE_DNS_FAILED] = {"dns-failed", 451, "4.4.3", false},
	[CAUSE_DNS_BOGUS] = {"dns-bogus", 451, "4.4.3", false},
	[CAUSE_SELF_IN_MX] = {"self-in-mx", 554, "5.4.6", true},
	[CAUSE_PRIVATE_TARGET] = {"private-target", 554, "5.4.4", false},
	[CAUSE_LOOP] = {"loop", 554, "5.4.6", false},
	[CAUSE_CONNECT_REFUSED] = {"connect-refused", 451, "4.4.1", false},
	[CAUSE_CONNECT_UNREACHABLE] = {"connect-unreachable", 451, "4.4.1",
				       false},
	[CAUSE_CONNECT_TIMEOUT] = {"connect-timeout", 451, "4.4.1", false},
	[CAUSE_HOST_BUSY] = {"host-busy", 451, "4.4.5", false},
	[CAUSE_CONNECTION_LOST] = {"connection-lost", 451, "4.4.2", false},
	[CAUSE_REPLY_TIMEOUT] = {"reply-timeout", 451, "4.4.2", false},
	[CAUSE_REPLY_GARBLED] = {"reply-garbled", 451, "4.5.0", false},
	[CAUSE_TLS_REQUIRED] = {"tls-required", 451, "4.7.10", false},
	[CAUSE_TLS_FAILED] = {"tls-failed", 454, "4.7.5", false},
	[CAUSE_DANE_LOOKUP] = {"dane-lookup", 451, "4.7.5", false},
	[CAUSE_DANE_FAILED] = {"dane-failed", 454, "4.7.5", false},
	[CAUSE_STS_FAILED] = {"sts-failed", 454, "4.7.5", false},
	[CAUSE_TLS_POLICY] = {"tls-policy", 451, "4.7.10", false},
	[CAUSE_AUTH_NOT_OFFERED] = {"auth-not-offered", 451, "4.7.0", true},
	[CAUSE_AUTH_FAILED] = {"auth-failed", 451, "4.7.8", true},
	[CAUSE_NO_8BITMIME] = {"no-8bitmime", 554, "5.6.3", false},
	[CAUSE_NO_SMTPUTF8] = {"no-smtputf8", 553, "5.6.7", false},
	[CAUSE_TOO_BIG] = {"too-big", 552, "5.3.4", false},
	[CAUSE_LOCAL_QUOTA] = {"local-quota", 452, "4.2.2", false},
	[CAUSE_LOCAL_FILE] = {"local-file", 451, "4.3.0", false},
	[CAUSE_LOCAL_ADDRESS] = {"local-address", 550, "5.1.3", false},
	[CAUSE_SPOOL] = {"spool", 451, "4.3.0", false},
	[CAUSE_EXPIRED] = {"expired", 451, "4.4.7", false},
	[CAUSE_OPERATOR] = {"operator", 554, "5.7.0", false},
	[CAUSE_CONFIGURATION] = {"configuration", 451, "4.3.5", true},
};
#define CAUSE_COUNT (sizeof(causes) / sizeof(causes[0]))

static const char *const phases[] = {
	[PHASE_NONE] = "none",	       [PHASE_DNS] = "DNS",
	[PHASE_CONNECT] = "connect",   [PHASE_GREETING] = "greeting",
	[PHASE_EHLO] = "EHLO",	       [PHASE_STARTTLS] = "STARTTLS",
	[PHASE_TLS] = "TLS handshake", [PHASE_AUTH] = "AUTH",
	[PHASE_MAIL] = "MAIL FROM",    [PHASE_RCPT] = "RCPT TO",
	[PHASE_DATA] = "DATA",	       [PHASE_BODY] = "end of data",
	[PHASE_LOCAL] = "local",
};
#define PHASE_COUNT (sizeof(phases) / sizeof(phases[0]))

const char *
cause_name(enum cause cause)
{
	return causes[cause].name;
}

bool
cause_parse(const char *name, enum cause *out)
{
	for (size_t i = 0; i < CAUSE_COUNT; i++) {
		if (strcmp(name, causes[i].name) == 0) {
			*out = (enum cause)i;
			return true;
		}
	}
	return false;
}

const char *
smtp_phase_name(enum smtp_phase phase)
{
	return phases[phase];
}

bool
smtp_phase_parse(const char *name, enum smtp_phase *out)
{
	for (size_t i = 0; i < PHASE_COUNT; i++) {
		if (strcmp(name, phases[i]) == 0) {
			*out = (enum smtp_phase)i;
			return true;
		}
	}
	return false;
}

void
outcome_own(struct outcome *out, enum cause cause, enum smtp_phase phase,
	    const char *format, ...)
{
	const struct cause_row *row = &causes[cause];
	char text[STATUS_TEXT_MAX];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	status_set(&out->status, row->code, row->enhanced, "%s", text);
	/* RFC 3463: 4.4.7 stays in its class also when nobody tries again */
	out->kind = row->code >= 500 || cause == CAUSE_EXPIRED
			    ? OUTCOME_FAILED
			    : OUTCOME_DEFERRED;
	out->cause = cause;
	out->phase = phase;
	out->is_own_fault = row->is_own_fault;
	out->has_dsn = false;
	out->reply[0] = '\0';
}

void
outcome_set_permanent(struct outcome *out, bool is_permanent)
{
	struct status *status = &out->status;

	out->kind = is_permanent ? OUTCOME_FAILED : OUTCOME_DEFERRED;
	if (out->cause == CAUSE_REPLY)
		return;
	status->code = is_permanent ? 554 : 451;
	status->class = is_permanent ? 5 : 4;
	if (is_permanent && out->cause == CAUSE_DNS_NO_ADDRESS) {
		status->code = 550;
		status->subject = 1;
		status->detail = 2;
	}
}
