/* SPDX-License-Identifier: ISC */
/*
 * server/explain.h - the decision that a session would get, and why
 *
 * Asks the very functions that sessions ask (policy_decide_sender,
 * policy_decide, policy_next_hop), with a trace. Pure; inside the daemon for
 * its running configuration, in ostlerctl for a file.
 */
#ifndef OSTLER_SERVER_EXPLAIN_H
#define OSTLER_SERVER_EXPLAIN_H

#include <jansson.h>
#include <stdbool.h>

#include "lib/err.h"
#include "lib/status.h"

struct config;

struct explain_input {
	const char *listener; /* NULL: submission for a user, else mx */
	const char *client;   /* IP; NULL: 192.0.2.1, a stranger */
	const char *user;     /* NULL: not logged in */
	const char *helo;
	bool has_tls;
	const char *from; /* "" or "<>": the null sender */
	const char *to;
	/* What DNS says of the recipient's domain: "here", "here-too-long"
	 * (for more than 5 days), "elsewhere"; NULL: not asked. */
	const char *points_here;
};

/* What refuses a session just now, and may not in a while; rule NULL: nothing
 * does. */
struct explain_refusal {
	const char *rule; /* static */
	struct status status;
	char looked_at[128], advice[256];
};

/* The state of a running daemon where sessions ask for more than policy, by
 * when they ask. */
struct explain_now {
	struct explain_refusal login;	  /* AUTH; only for a user */
	struct explain_refusal resources; /* MAIL, before policy */
	struct explain_refusal message;	  /* MAIL, behind policy */
	struct explain_refusal recipient; /* RCPT, behind policy */
};

/*
 * now  borrows; NULL: nothing but policy is asked
 *
 * Returns a new JSON object: decision, code, status, reply, rule, scenario,
 * config, steps, advice, recipients with their next hops; NULL with the reason
 * in err when an input cannot be read.
 */
json_t *explain(const struct config *config, const struct explain_input *input,
		const struct explain_now *now, struct err *err);

/* Fills the sender of input as sessions would name him to caps; false when an
 * input cannot be read. */
struct caps_sender;
bool explain_sender(const struct explain_input *input, struct caps_sender *out);

/* Would the answer depend on points_here? */
bool explain_wants_points_here(const struct config *config,
			       const struct explain_input *input);

/* A next hop as JSON; the caller owns it. */
struct next_hop;
json_t *explain_next_hop(const struct next_hop *hop);

/* Lines for people from what explain returned; to standard output. */
void explain_print(const json_t *explained);

#endif
