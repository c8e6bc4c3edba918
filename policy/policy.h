/* SPDX-License-Identifier: ISC */
/*
 * policy/policy.h - who may do what: the tables and the decision
 *
 * struct policy is what the configuration says about mail: the local-domain
 * table, trusted networks, sender rules, routes. It is built once (by
 * policy/builder.h), immutable afterwards and shared by counting.
 *
 * The decisions are functions of the tables and of facts that the caller
 * gathered: no I/O, clock, globals or allocation. The daemon's sessions and
 * `ostlerctl explain` call the same ones; with a trace they also say why.
 */
#ifndef OSTLER_POLICY_POLICY_H
#define OSTLER_POLICY_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/addr.h"
#include "lib/ip.h"
#include "lib/status.h"
#include "lib/str.h"
#include "policy/trace.h"

struct policy;

struct policy *policy_ref(struct policy *policy);
void policy_unref(struct policy *policy); /* NULL is fine */

enum policy_role { POLICY_MX, POLICY_SUBMISSION };

/* What DNS says about a domain that is not in the table. */
enum policy_points_here {
	POINTS_UNKNOWN, /* not asked, or no answer in time */
	POINTS_ELSEWHERE,
	POINTS_HERE, /* an MX of the domain names this host */
};

/* What is known about a session and the transaction's recipient. */
struct policy_facts {
	enum policy_role role;
	struct ip client;  /* IP_NONE on a unix socket */
	const char *login; /* borrows; NULL: not logged in; "unix:NAME" */
	bool has_tls;
	const char *helo;	      /* borrows; NULL before EHLO */
	const struct addr *sender;    /* borrows; "" is the null sender */
	const struct addr *recipient; /* borrows; NULL when MAIL is decided */
	enum policy_points_here points_here;
	bool points_here_too_long; /* POINTS_HERE for more than 5 days */
};

/* Nobody who may send anywhere: neither logged in nor, on an mx listener, in a
 * trusted network. */
bool policy_is_stranger(const struct policy *policy,
			const struct policy_facts *facts);
/* Is there any trusted network? */
bool policy_has_trusted(const struct policy *policy);

/* Which rule decided; the log's rule=. */
enum policy_rule {
	RULE_NONE,
	RULE_LOGIN,	      /* "login": the client is logged in */
	RULE_TRUSTED_NETWORK, /* "trusted-network" */
	RULE_LOCAL_DOMAIN,    /* "local-domain" */
	RULE_BACKUP_DOMAIN,   /* "backup-domain" */
	RULE_POSTMASTER,      /* "postmaster" */
	RULE_RELAY_DENIED,    /* "relay-denied" */
	RULE_MX_POINTS_HERE,  /* "mx-points-here" */
	RULE_AUTH_REQUIRED,   /* "auth-required" */
	RULE_UNKNOWN_USER,    /* "unknown-user" */
	RULE_NO_DOMAIN,	      /* "no-domain": recipient without a domain */
	RULE_SENDER_BINDING,  /* "sender-binding" */
	RULE_BAD_LOCAL_PART,  /* "local-part": cannot name a Maildir */
	RULE_SOURCE_ROUTE,    /* "source-route": %, !, @ inside a local part */
};
const char *policy_rule_name(enum policy_rule rule);

/* The three ways to meet "Relaying denied"; the log's scenario=. */
enum policy_scenario {
	SCENARIO_NONE,
	SCENARIO_OURS_SUBMISSION, /* "ours-submission" */
	SCENARIO_OURS_INBOUND,	  /* "ours-inbound" */
	SCENARIO_REMOTE,	  /* "remote" */
};
const char *policy_scenario_name(enum policy_scenario scenario);

struct domain_row;

struct verdict {
	bool is_accepted;
	enum policy_rule rule;
	enum policy_scenario scenario;
	struct status status;	      /* the reply as the client gets it */
	const struct domain_row *row; /* lends: local row, or NULL */
	const char *config_at;	      /* lends: "FILE:LINE" that decided, or
					 NULL when nothing configured did */
};

/* May this client begin a transaction with this sender (MAIL)? */
void policy_decide_sender(const struct policy *policy,
			  const struct policy_facts *facts, struct verdict *out,
			  struct trace *trace);

/*
 * May this client send to this recipient (RCPT)?
 *
 * trace  NULL, or gets one step for each rule looked at
 */
void policy_decide(const struct policy *policy,
		   const struct policy_facts *facts, struct verdict *out,
		   struct trace *trace);

/*
 * Would policy_decide's answer depend on points_here? Then the caller asks
 * DNS before it decides. True only for a stranger's foreign recipient.
 */
bool policy_wants_points_here(const struct policy *policy,
			      const struct policy_facts *facts);

/*
 * The final recipients behind an accepted one: aliases followed, postmaster
 * resolved, delimiter kept. Calls each once per recipient, at least once.
 *
 * A recipient without a domain is qualified first, here and in policy_decide.
 */
void policy_expand(const struct policy *policy, const struct addr *recipient,
		   void (*each)(void *arg, const struct addr *final),
		   void *arg);

/*
 * The name that a Maildir folder is made with: the local part without quotes
 * and without its delimiter part, ASCII letters in lower case.
 *
 * delimiter  borrows; one character, or "" for none
 * size       > ADDR_LOCAL_MAX
 * Returns false when the local part cannot name a folder: empty, with '/' or
 * control characters, with a dot in front, or longer than ADDR_LOCAL_MAX.
 */
bool policy_mailbox_name(const struct addr *recipient, const char *delimiter,
			 char *to, size_t size);

const char *policy_hostname(const struct policy *policy);
const char *policy_qualify(const struct policy *policy);
const char *policy_postmaster(const struct policy *policy);

/* ------------------------------------------------------------ next hops */

enum hop_kind {
	HOP_MX,	  /* by DNS, for `domain` */
	HOP_SMTP, /* configured hosts, in order */
	HOP_LMTP,
	HOP_MAILDIR,
	HOP_DISCARD,
};

enum hop_tls {
	HOP_TLS_NONE,
	HOP_TLS_OPPORTUNISTIC,
	HOP_TLS_REQUIRED,
	HOP_TLS_VERIFIED,
	HOP_TLS_DANE,
	HOP_TLS_STS,
};

enum hop_family { HOP_FAMILY_ANY, HOP_FAMILY_V4, HOP_FAMILY_V6 };

struct hop_target {
	const char *host; /* name, or an IP literal without brackets */
	uint16_t port;
	bool is_implicit_tls;  /* smtps: */
	const char *unix_path; /* LMTP; NULL: TCP */
};

/*
 * Where one recipient's mail goes next. All pointers are lent by the policy
 * that gave it, for as long as the caller holds a reference to that.
 */
struct next_hop {
	enum hop_kind kind;
	/* "mx example.org", "route NAME", "domain NAME": what concurrency,
	 * rate and pooled connections are counted by */
	char key[ADDR_DOMAIN_MAX + 16];
	char domain[ADDR_DOMAIN_MAX + 1]; /* the recipient's, normalised */
	const struct hop_target *targets; /* HOP_SMTP, HOP_LMTP */
	size_t target_count;
	bool is_backup; /* backup MX: only to better preferences than ours */
	bool is_local;	/* by a row of the local-domain table */
	enum hop_tls tls;
	const char *user;	       /* NULL: no login */
	const char *password_file;     /* NULL or path */
	const char *token_command;     /* NULL or command */
	const char *const *mechanisms; /* NULL-terminated; NULL: any */
	enum hop_family family;
	struct ip source;		    /* IP_NONE: any */
	unsigned connections;		    /* at once, > 0 */
	unsigned messages_per_connection;   /* > 0 */
	uint32_t rate_count, rate_period_s; /* 0: no limit */
	const char *maildir;   /* path with %d and %u still in it */
	const char *delimiter; /* of the domain row; "" for none */
	const char *config_at; /* "FILE:LINE" of the row; NULL: default */
};

/*
 * The next hop of a recipient, for mail from this sender: the local-domain
 * table first, then the routes (exact domain before parent before "*"; among
 * equals a row whose sender matches, then file order).
 */
void policy_next_hop(const struct policy *policy, const struct addr *sender,
		     const struct addr *recipient, struct next_hop *out,
		     struct trace *trace);

#endif
