/* SPDX-License-Identifier: ISC */
/*
 * auth/throttle.h - who keeps failing to log in
 *
 * Counted per client address (/64 for IPv6). The reply to a failure waits
 * longer with each one, up to 5 s; from the tenth on the address is locked,
 * for a minute and then twice as long each time. A failure fades in half an
 * hour. A login that fails from many addresses is worth a warning, but its
 * right password is never delayed: a stranger must not lock out the boss.
 *
 * Memory is bounded: the addresses and logins not heard of the longest are
 * forgotten. Time is a parameter; loop thread only.
 */
#ifndef OSTLER_AUTH_THROTTLE_H
#define OSTLER_AUTH_THROTTLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/ip.h"

#define THROTTLE_LOGIN_MAX     128 /* octets of a login that tell it apart */
#define THROTTLE_ADDRESSES_MAX 16  /* remembered of an attacked login */

struct throttle;

struct throttle *throttle_new(void);
void throttle_free(struct throttle *throttle); /* NULL is fine */

/*
 * How long this address still has to wait before it may try; 0: not at all.
 *
 * lock_max_ms  limits.auth_lock; 0: nobody ever waits
 * now_ms       any clock that never goes back
 */
uint64_t throttle_locked_ms(struct throttle *throttle, const struct ip *ip,
			    uint64_t lock_max_ms, uint64_t now_ms);

struct throttle_answer {
	unsigned failures;  /* of this address, not faded */
	uint64_t delay_ms;  /* how long the reply waits; 0 to 5000 */
	uint64_t lock_ms;   /* > 0: the address is locked from now on */
	unsigned addresses; /* > 0: the login failed from so many within an
			       hour; said once a day */
};

/*
 * A login was refused.
 *
 * ip     borrows; IP_NONE (a unix socket) is never counted
 * login  borrows, NUL-terminated, any bytes; NULL: not known
 */
void throttle_failed(struct throttle *throttle, const struct ip *ip,
		     const char *login, uint64_t lock_max_ms, uint64_t now_ms,
		     struct throttle_answer *out);

/* A login was right. Forgives the address what it failed with this very
 * login, and nothing else: one's own password buys no guesses at others'. */
void throttle_succeeded(struct throttle *throttle, const struct ip *ip,
			const char *login);

/* ------------------------------------------------------------ to look at */

struct throttle_client {
	struct ip ip; /* IPv6: the /64 */
	unsigned failures;
	uint64_t last_ms;   /* of the last failure */
	uint64_t locked_ms; /* still locked for */
};

struct throttle_login {
	const char *login;  /* lent for the call */
	unsigned failures;  /* within the hour */
	unsigned addresses; /* at most THROTTLE_ADDRESSES_MAX */
	bool is_attacked;   /* was warned of within a day */
};

/* Either callback may be NULL; the most recent come last. */
void throttle_each(struct throttle *throttle, uint64_t lock_max_ms,
		   uint64_t now_ms,
		   void (*client)(void *arg, const struct throttle_client *),
		   void (*login)(void *arg, const struct throttle_login *),
		   void *arg);

/* Forgets an address or a login; false when there was nothing. */
bool throttle_clear(struct throttle *throttle, const struct ip *ip);
bool throttle_clear_login(struct throttle *throttle, const char *login);

#endif
