/* SPDX-License-Identifier: ISC */
/*
 * queue/deliver/outcome.h - what became of one recipient in one attempt
 *
 * Who said it is part of the outcome: host, address, port, TLS, the command
 * that was answered and the full reply. Failures of our own (DNS, connect,
 * TLS, expiry, ...) carry a typed cause and are never classified by text.
 */
#ifndef OSTLER_QUEUE_DELIVER_OUTCOME_H
#define OSTLER_QUEUE_DELIVER_OUTCOME_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/addr.h"
#include "lib/ip.h"
#include "lib/status.h"

enum outcome_kind {
	OUTCOME_DELIVERED,
	OUTCOME_DEFERRED, /* try again by the schedule */
	OUTCOME_FAILED,	  /* final */
};

/* Why, when it was not a remote reply. The comment gives the enhanced code. */
enum cause {
	CAUSE_REPLY,	       /* the remote host answered: see reply */
	CAUSE_DNS_NO_DOMAIN,   /* NXDOMAIN: 5.1.2 */
	CAUSE_DNS_NO_ADDRESS,  /* no MX and no address: 5.1.2 or 4.4.4 */
	CAUSE_DNS_NULL_MX,     /* RFC 7505: 5.1.10 */
	CAUSE_DNS_BAD_MX,      /* only names that cannot be hosts: 5.1.2 */
	CAUSE_DNS_FAILED,      /* SERVFAIL, timeout, lame, malformed: 4.4.3 */
	CAUSE_DNS_BOGUS,       /* DNSSEC says forged: 4.4.3 */
	CAUSE_SELF_IN_MX,      /* best MX is this host: 5.4.6 */
	CAUSE_PRIVATE_TARGET,  /* MX leads to a private address: 5.4.4 */
	CAUSE_LOOP,	       /* too many hops: 5.4.6 */
	CAUSE_CONNECT_REFUSED, /* 4.4.1 */
	CAUSE_CONNECT_UNREACHABLE, /* 4.4.1 */
	CAUSE_CONNECT_TIMEOUT,	   /* 4.4.1 */
	CAUSE_HOST_BUSY,	   /* it asked for fewer connections: 4.4.5 */
	CAUSE_CONNECTION_LOST,	   /* reset or closed in the middle: 4.4.2 */
	CAUSE_REPLY_TIMEOUT,	   /* connected, then silence: 4.4.2 */
	CAUSE_REPLY_GARBLED,	   /* not SMTP: 4.5.0 */
	CAUSE_TLS_REQUIRED,	   /* wanted, not offered: 4.7.10 */
	CAUSE_TLS_FAILED,	   /* handshake or certificate: 4.7.5 */
	CAUSE_DANE_LOOKUP,	   /* TLSA records cannot be had: 4.7.5 */
	CAUSE_DANE_FAILED,	   /* TLS as they ask for it cannot: 4.7.5 */
	CAUSE_STS_FAILED,	   /* the domain's MTA-STS policy: 4.7.5 */
	CAUSE_TLS_POLICY,	   /* our route wants dane or sts, and nobody
				      publishes it: 4.7.10 */
	CAUSE_AUTH_NOT_OFFERED,	   /* our login cannot be used: 4.7.0 */
	CAUSE_AUTH_FAILED,	   /* our login was refused: 4.7.8 */
	CAUSE_NO_8BITMIME,	   /* 5.6.3 */
	CAUSE_NO_SMTPUTF8,	   /* 5.6.7 */
	CAUSE_TOO_BIG,		   /* the next hop's SIZE: 5.3.4 */
	CAUSE_LOCAL_QUOTA,	   /* Maildir: disk or quota: 4.2.2 */
	CAUSE_LOCAL_FILE,	   /* Maildir: permission, I/O: 4.3.0 */
	CAUSE_LOCAL_ADDRESS,	   /* cannot name a Maildir: 5.1.3 */
	CAUSE_SPOOL,		   /* the message cannot be read: 4.3.0 */
	CAUSE_EXPIRED,		   /* retried for too long: 4.4.7 */
	CAUSE_OPERATOR,		   /* bounced by an operator: 5.7.0 */
	CAUSE_CONFIGURATION,	   /* our own: password file, source: 4.3.5 */
};
const char *cause_name(enum cause cause); /* "dns-no-domain", ... */
bool cause_parse(const char *name, enum cause *out);

/* What the remote host answered, or where the connection stood. */
enum smtp_phase {
	PHASE_NONE,
	PHASE_DNS,
	PHASE_CONNECT,
	PHASE_GREETING,
	PHASE_EHLO,
	PHASE_STARTTLS,
	PHASE_TLS,
	PHASE_AUTH,
	PHASE_MAIL,
	PHASE_RCPT,
	PHASE_DATA,
	PHASE_BODY,  /* the reply after the final dot */
	PHASE_LOCAL, /* Maildir, discard */
};
const char *smtp_phase_name(enum smtp_phase phase); /* "RCPT TO", ... */
bool smtp_phase_parse(const char *name, enum smtp_phase *out);

/*
 * How DNS led to a host, as of one moment; times are the boot clock's. Two of
 * them tell whether DNS says something else by now.
 */
struct mx_view {
	bool is_known;	   /* false: the next hop was not found by MX */
	bool is_named;	   /* the host with this address is among them */
	bool is_implicit;  /* the domain has no MX and is its own host */
	bool is_cached;	   /* some of it was not asked for by the attempt */
	bool is_mx_cached; /* nor was the MX set */
	bool is_stale;	   /* the server kept it past its TTL, and says so */
	int preference;	   /* of the host; -1: not named */
	int best_preference;
	char best[ADDR_DOMAIN_MAX + 1];	       /* a host of that preference */
	uint64_t asked_ms, expires_ms;	       /* of the MX set */
	uint64_t address_expires_ms;	       /* of the host; 0: none */
	uint64_t mx_print, v4_print, v6_print; /* of all there is, whatever
						  the order; 0: not known */
};

#define OUTCOME_REPLY_MAX 2048

struct outcome {
	enum outcome_kind kind;
	enum cause cause;
	enum smtp_phase phase;
	/* Codes and first line: the remote's where there is a reply, else ours
	 * (what to tell people in one line). */
	struct status status;
	/* All lines as they came, codes included, joined by \n. With
	 * CAUSE_REPLY, or CAUSE_AUTH_FAILED of a refused login; else "". */
	char reply[OUTCOME_REPLY_MAX];
	char host[ADDR_DOMAIN_MAX + 1]; /* "" when none was reached */
	struct ip ip;
	uint16_t port;
	char tls[16];	   /* "TLSv1.3", "" in the clear */
	char security[16]; /* "dane", ... what was asked of TLS; "" unknown */
	/* what a policy that is only tested would have refused; "" nothing */
	char policy_failure[400];
	int64_t mx_ttl_s;  /* seconds left of the route; -1: not by DNS */
	struct mx_view mx; /* how DNS led there, as far as it did */
	bool is_own_fault; /* our configuration: login, source, self in MX */
	bool has_dsn;	   /* delivered, and the next hop took DSN over: it will
			      report success, we do not (RFC 3461, 5.2.2) */
};

/* One attempt as it is kept with the message. Strings are lent. */
struct attempt {
	uint64_t at_ms; /* wall clock */
	enum outcome_kind kind;
	enum cause cause;
	enum smtp_phase phase;
	unsigned code;	      /* three digits, 0: none */
	const char *enhanced; /* "" for none */
	const char *host, *ip, *tls, *security;
	uint16_t port;
	const char *reply;    /* lines joined by \n */
	const char *category; /* "" when delivered */
	const char *note;     /* what we found out about it; "" for nothing */
};

/*
 * Sets kind, cause, phase, codes, text and is_own_fault for a failure of our
 * own, by the table above: 4.x.x is deferred, 5.x.x and an expired one are
 * failed. What says where (host, ip, port, tls, mx_ttl_s) is left alone, the
 * reply becomes empty.
 */
void outcome_own(struct outcome *out, enum cause cause, enum smtp_phase phase,
		 const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Makes a deferred outcome final or a final one deferred, with codes of that
 * class; codes that a remote host gave stay as they are. */
void outcome_set_permanent(struct outcome *out, bool is_permanent);

#endif
