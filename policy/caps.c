/* SPDX-License-Identifier: ISC */
#include "policy/caps.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/list.h"
#include "lib/lru.h"
#include "lib/mem.h"
#include "policy/limit.h"

#define KEYS_MAX    16384
#define LOGINS_MAX  4096
#define HOUR_S	    3600
#define HOUR_MS	    UINT64_C(3600000)
#define PAUSE_TIMES 3

/* What a login asked for within an hour, granted or not. */
struct asked {
	struct lru_entry entry;
	struct list paused_link; /* caps->paused */
	uint64_t since_ms;
	uint64_t messages, recipients;
	bool is_paused;
	uint64_t paused_ms;
	char login[];
};

struct caps {
	struct limit *buckets;
	struct lru asked;
	struct list paused;
};

static void
asked_free(struct lru_entry *entry)
{
	struct asked *asked = container_of(entry, struct asked, entry);

	list_remove(&asked->paused_link);
	free(asked);
}

struct caps *
caps_new(void)
{
	struct caps *caps = mem_zalloc(sizeof(*caps));

	caps->buckets = limit_new(KEYS_MAX);
	lru_init(&caps->asked, LOGINS_MAX, asked_free);
	list_init(&caps->paused);
	return caps;
}

void
caps_free(struct caps *caps)
{
	if (caps == NULL)
		return;
	limit_free(caps->buckets);
	lru_done(&caps->asked);
	free(caps);
}

/* --------------------------------------------------------------- buckets */

enum cap { CAP_USER_MESSAGES, CAP_USER_RECIPIENTS, CAP_CLIENT_MESSAGES };

static const char *const cap_names[] = {
	[CAP_USER_MESSAGES] = "messages-per-user",
	[CAP_USER_RECIPIENTS] = "recipients-per-user",
	[CAP_CLIENT_MESSAGES] = "messages-per-client",
};

static const struct units_rate *
cap_rate(const struct caps_rates *rates, enum cap cap)
{
	switch (cap) {
	case CAP_USER_MESSAGES:
		return &rates->messages_per_user;
	case CAP_USER_RECIPIENTS:
		return &rates->recipients_per_user;
	case CAP_CLIENT_MESSAGES:
		break;
	}
	return &rates->messages_per_client;
}

/* False: the cap does not count this sender. */
static bool
cap_key(const struct caps_sender *sender, enum cap cap, char to[LIMIT_KEY_MAX])
{
	char ip[IP_TEXT_MAX];
	struct ip block;

	switch (cap) {
	case CAP_USER_MESSAGES:
	case CAP_USER_RECIPIENTS:
		if (sender->login == NULL)
			return false;
		(void)snprintf(to, LIMIT_KEY_MAX, "%s %s", cap_names[cap],
			       sender->login);
		return true;
	case CAP_CLIENT_MESSAGES:
		break;
	}
	if (sender->client.family == IP_NONE)
		return false;
	block = ip_block(&sender->client);
	(void)snprintf(to, LIMIT_KEY_MAX, "%s %s", cap_names[cap],
		       ip_format(&block, ip));
	return true;
}

static bool
cap_take(struct caps *caps, const struct caps_rates *rates,
	 const struct caps_sender *sender, enum cap cap, uint64_t now_ms,
	 struct caps_answer *out)
{
	const struct units_rate *rate = cap_rate(rates, cap);
	char key[LIMIT_KEY_MAX], wait[24], period[24];
	uint64_t wait_ms;

	if (rate->count == 0 || !cap_key(sender, cap, key) ||
	    limit_take(caps->buckets, key, rate, 1, now_ms, &wait_ms))
		return true;
	out->is_taken = false;
	out->rule = cap_names[cap];
	status_set(
		&out->status, 450, "4.7.1",
		"Too many %s from your %s: %u in %s are taken, try again "
		"in %s",
		cap == CAP_USER_RECIPIENTS ? "recipients" : "messages",
		cap == CAP_CLIENT_MESSAGES ? "address" : "login", rate->count,
		units_format_duration(rate->period_s, period, sizeof(period)),
		units_format_duration(wait_ms / 1000 + 1, wait, sizeof(wait)));
	return false;
}

static void
cap_give(struct caps *caps, const struct caps_rates *rates,
	 const struct caps_sender *sender, enum cap cap, uint32_t count)
{
	char key[LIMIT_KEY_MAX];

	if (cap_key(sender, cap, key))
		limit_give(caps->buckets, key, cap_rate(rates, cap), count);
}

/* ---------------------------------------------------------------- pauses */

/* Three times what the cap allows within an hour; a cap for longer than an
 * hour allows all of it in one. */
static bool
is_far_over(uint64_t asked, const struct units_rate *rate)
{
	uint64_t allowed = rate->count;

	if (rate->count == 0)
		return false;
	if (rate->period_s < HOUR_S)
		allowed = allowed * HOUR_S / rate->period_s;
	return asked > PAUSE_TIMES * allowed;
}

static struct asked *
asked_find(struct caps *caps, const char *login)
{
	struct lru_entry *entry = lru_find(&caps->asked, login, strlen(login));

	return entry != NULL ? container_of(entry, struct asked, entry) : NULL;
}

static struct asked *
asked_get(struct caps *caps, const char *login, uint64_t now_ms)
{
	struct asked *asked = asked_find(caps, login);
	size_t len = strlen(login);

	if (asked == NULL) {
		asked = mem_zalloc(sizeof(*asked) + len + 1);
		memcpy(asked->login, login, len);
		list_init(&asked->paused_link);
		asked->since_ms = now_ms;
		lru_add(&caps->asked, &asked->entry, asked->login, len);
	}
	if (now_ms - asked->since_ms > HOUR_MS) {
		asked->since_ms = now_ms;
		asked->messages = asked->recipients = 0;
	}
	return asked;
}

static void
say_paused(struct caps_answer *out)
{
	out->is_taken = false;
	out->rule = "login-paused";
	status_set(&out->status, 450, "4.7.1",
		   "This login is paused, since it sent far more than it may: "
		   "ask the postmaster");
}

/* Counts what is asked for; false when the login is paused. */
static bool
caps_count(struct caps *caps, const struct caps_rates *rates,
	   const struct caps_sender *sender, bool is_message, uint64_t now_ms,
	   struct caps_answer *out)
{
	struct asked *asked;

	if (sender->login == NULL || (rates->messages_per_user.count == 0 &&
				      rates->recipients_per_user.count == 0))
		return true;
	asked = asked_get(caps, sender->login, now_ms);
	if (is_message)
		asked->messages++;
	else
		asked->recipients++;
	if (!asked->is_paused &&
	    (is_far_over(asked->messages, &rates->messages_per_user) ||
	     is_far_over(asked->recipients, &rates->recipients_per_user))) {
		asked->is_paused = true;
		asked->paused_ms = now_ms;
		list_push(&caps->paused, &asked->paused_link);
		out->is_paused_by_this = true;
	}
	if (asked->is_paused)
		say_paused(out);
	return !asked->is_paused;
}

/* --------------------------------------------------------------- answers */

void
caps_message(struct caps *caps, const struct caps_rates *rates,
	     const struct caps_sender *sender, uint64_t now_ms,
	     struct caps_answer *out)
{
	memset(out, 0, sizeof(*out));
	out->is_taken = true;
	if (!caps_count(caps, rates, sender, true, now_ms, out) ||
	    !cap_take(caps, rates, sender, CAP_USER_MESSAGES, now_ms, out))
		return;
	if (!cap_take(caps, rates, sender, CAP_CLIENT_MESSAGES, now_ms, out))
		cap_give(caps, rates, sender, CAP_USER_MESSAGES, 1);
}

void
caps_recipient(struct caps *caps, const struct caps_rates *rates,
	       const struct caps_sender *sender, uint64_t now_ms,
	       struct caps_answer *out)
{
	memset(out, 0, sizeof(*out));
	out->is_taken = true;
	if (caps_count(caps, rates, sender, false, now_ms, out))
		(void)cap_take(caps, rates, sender, CAP_USER_RECIPIENTS, now_ms,
			       out); /* out says it */
}

void
caps_would(struct caps *caps, const struct caps_rates *rates,
	   const struct caps_sender *sender, bool is_message, uint64_t now_ms,
	   struct caps_answer *out)
{
	const enum cap which[2] = {
		is_message ? CAP_USER_MESSAGES : CAP_USER_RECIPIENTS,
		CAP_CLIENT_MESSAGES,
	};
	const struct asked *asked =
		sender->login != NULL ? asked_find(caps, sender->login) : NULL;

	memset(out, 0, sizeof(*out));
	out->is_taken = true;
	if (asked != NULL && asked->is_paused &&
	    (rates->messages_per_user.count != 0 ||
	     rates->recipients_per_user.count != 0)) {
		say_paused(out);
		return;
	}
	for (size_t i = 0; i < (is_message ? 2 : 1) && out->is_taken; i++)
		if (cap_take(caps, rates, sender, which[i], now_ms, out))
			cap_give(caps, rates, sender, which[i], 1);
}

void
caps_give_back(struct caps *caps, const struct caps_rates *rates,
	       const struct caps_sender *sender, uint32_t recipients)
{
	struct asked *asked =
		sender->login != NULL ? asked_find(caps, sender->login) : NULL;

	cap_give(caps, rates, sender, CAP_USER_MESSAGES, 1);
	cap_give(caps, rates, sender, CAP_CLIENT_MESSAGES, 1);
	if (recipients != 0)
		cap_give(caps, rates, sender, CAP_USER_RECIPIENTS, recipients);
	/* the hour may have changed since it was counted */
	if (asked != NULL && asked->messages != 0)
		asked->messages--;
	if (asked != NULL)
		asked->recipients -= recipients < asked->recipients
					     ? recipients
					     : asked->recipients;
}

void
caps_each_paused(struct caps *caps,
		 void (*each)(void *arg, const char *login, uint64_t since_ms),
		 void *arg)
{
	struct list *node;

	list_each (node, &caps->paused) {
		struct asked *asked =
			container_of(node, struct asked, paused_link);

		each(arg, asked->login, asked->paused_ms);
	}
}

bool
caps_resume(struct caps *caps, const char *login)
{
	struct asked *asked = asked_find(caps, login);

	if (asked == NULL || !asked->is_paused)
		return false;
	lru_remove(&caps->asked, &asked->entry);
	return true;
}
