/* SPDX-License-Identifier: ISC */
/*
 * policy/caps.h - how much mail a login and a client may send
 *
 * limits.messages_per_user, recipients_per_user, messages_per_client, by
 * token buckets: over a cap 450 with the time until there is room. What came
 * to nothing is given back. A login that asks for more than three times its
 * cap within an hour is paused until somebody looks: its password was
 * probably stolen. A pause lasts until it is lifted, at most as long as the
 * process.
 *
 * Memory is bounded. Time is a parameter; loop thread only.
 */
#ifndef OSTLER_POLICY_CAPS_H
#define OSTLER_POLICY_CAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/ip.h"
#include "lib/status.h"
#include "lib/units.h"

struct caps;

struct caps *caps_new(void);
void caps_free(struct caps *caps); /* NULL is fine */

/* What the configuration says; count 0: no cap. */
struct caps_rates {
	struct units_rate messages_per_user, recipients_per_user;
	struct units_rate messages_per_client;
};

/* Who sends. */
struct caps_sender {
	const char *login; /* borrows; NULL: not logged in */
	struct ip client;  /* IP_NONE: a unix socket, has no cap by address */
};

struct caps_answer {
	bool is_taken;
	struct status status; /* of the refusal */
	const char *rule; /* static: "messages-per-user", ..., for the log */
	bool is_paused_by_this; /* the login was paused now: warn */
};

/* One message begins (MAIL); all caps or none are charged. */
void caps_message(struct caps *caps, const struct caps_rates *rates,
		  const struct caps_sender *sender, uint64_t now_ms,
		  struct caps_answer *out);

/* One recipient that policy accepts (RCPT). */
void caps_recipient(struct caps *caps, const struct caps_rates *rates,
		    const struct caps_sender *sender, uint64_t now_ms,
		    struct caps_answer *out);

/* What caps_message (is_message) or caps_recipient would answer; nothing is
 * charged or counted. */
void caps_would(struct caps *caps, const struct caps_rates *rates,
		const struct caps_sender *sender, bool is_message,
		uint64_t now_ms, struct caps_answer *out);

/* The message was not taken after all. */
void caps_give_back(struct caps *caps, const struct caps_rates *rates,
		    const struct caps_sender *sender, uint32_t recipients);

/* Paused logins, oldest first; since_ms by the clock of now_ms. */
void caps_each_paused(struct caps *caps,
		      void (*each)(void *arg, const char *login,
				   uint64_t since_ms),
		      void *arg);

/* Lifts the pause; false when there was none. */
bool caps_resume(struct caps *caps, const char *login);

#endif
