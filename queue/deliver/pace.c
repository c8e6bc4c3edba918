/* SPDX-License-Identifier: ISC */
#include "queue/deliver/pace.h"

#include <limits.h>
#include <string.h>

#include "lib/str.h"

static struct pace_host *
pace_find(const struct pace *pace, const struct ip *ip, uint16_t port)
{
	for (size_t i = 0; i < PACE_MAX; i++) {
		const struct pace_host *host = &pace->at[i];

		if (host->port == port && host->ip.family != IP_NONE &&
		    ip_equal(&host->ip, ip))
			return (struct pace_host *)(uintptr_t)host;
	}
	return NULL;
}

static bool
is_limited(const struct pace_host *host, uint64_t now_ms)
{
	return host->window != 0 && now_ms < host->slowed_ms + PACE_FORGET_MS;
}

/* One without connections, and the longest without a complaint; NULL: all
 * have some. */
static struct pace_host *
pace_place(struct pace *pace, uint64_t now_ms)
{
	struct pace_host *best = NULL;

	for (size_t i = 0; i < PACE_MAX; i++) {
		struct pace_host *host = &pace->at[i];

		if (host->active != 0)
			continue;
		if (host->ip.family == IP_NONE || !is_limited(host, now_ms))
			return host;
		if (best == NULL || host->slowed_ms < best->slowed_ms)
			best = host;
	}
	return best;
}

bool
pace_enter(struct pace *pace, const struct ip *ip, uint16_t port,
	   uint64_t now_ms)
{
	struct pace_host *host;

	if (ip->family == IP_NONE)
		return false;
	host = pace_find(pace, ip, port);
	if (host == NULL) {
		host = pace_place(pace, now_ms);
		if (host == NULL)
			return false; /* more than there is room to count */
		memset(host, 0, sizeof(*host));
		host->ip = *ip;
		host->port = port;
	}
	host->active++;
	return true;
}

void
pace_leave(struct pace *pace, const struct ip *ip, uint16_t port)
{
	struct pace_host *host = pace_find(pace, ip, port);

	if (host == NULL || host->active == 0)
		return;
	if (--host->active == 0 && host->window == 0)
		memset(host, 0, sizeof(*host));
}

unsigned
pace_room(const struct pace *pace, const struct ip *ip, uint16_t port,
	  uint64_t now_ms)
{
	const struct pace_host *host = pace_find(pace, ip, port);

	if (host == NULL || !is_limited(host, now_ms))
		return UINT_MAX;
	return host->active < host->window ? host->window - host->active : 0;
}

bool
pace_has_room(const struct pace *pace, const struct ip *ip, uint16_t port,
	      uint64_t now_ms)
{
	return pace_room(pace, ip, port, now_ms) != 0;
}

unsigned
pace_slow_down(struct pace *pace, const struct ip *ip, uint16_t port,
	       const char *reply, uint64_t now_ms)
{
	struct pace_host *host = pace_find(pace, ip, port);
	unsigned before, window;

	if (host == NULL)
		return 0;
	(void)str_copy(host->reply, sizeof(host->reply), str_of(reply));
	if (is_limited(host, now_ms)) {
		if (now_ms < host->slowed_ms + PACE_ROUND_MS)
			return 0; /* said before the last step was felt */
		before = host->window;
	} else {
		before = host->active;
	}
	window = before > 1 ? before / 2 : 1;
	host->slowed_ms = now_ms;
	host->taken = 0;
	host->window = window;
	return window < before || before == 1 ? window : 0;
}

void
pace_take(struct pace *pace, const struct ip *ip, uint16_t port)
{
	struct pace_host *host = pace_find(pace, ip, port);

	if (host == NULL || host->window == 0 || ++host->taken < host->window)
		return;
	host->window++;
	host->taken = 0;
}

void
pace_each(const struct pace *pace, uint64_t now_ms,
	  void (*each)(void *arg, const struct pace_host *host), void *arg)
{
	for (size_t i = 0; i < PACE_MAX; i++)
		if (pace->at[i].ip.family != IP_NONE &&
		    is_limited(&pace->at[i], now_ms))
			each(arg, &pace->at[i]);
}

static bool
has_phrase(struct str text)
{
	static const char *const phrases[] = {
		"too many connection",
		"too many concurrent",
		"too many session",
		"too many simultaneous",
		"too many open",
		"too many messages",
		"too much mail",
		"too fast",
		"slow down",
		"rate limit",
		"ratelimit",
		"rate-limit",
		"throttl",
		"concurrent connection",
		"connection limit",
		"connection rate",
		"message rate",
		"reduce your",
	};

	for (; text.len != 0; text = str_from(text.at + 1, text.len - 1))
		for (size_t i = 0; i < sizeof(phrases) / sizeof(phrases[0]);
		     i++)
			if (str_starts_nocase(text, phrases[i]))
				return true;
	return false;
}

bool
pace_is_asked(const struct outcome *outcome)
{
	const struct status *status = &outcome->status;

	if (outcome->cause != CAUSE_REPLY || status->code < 400 ||
	    status->code > 499)
		return false;
	if (status->code == 421)
		return true;
	if (status->class == 4 &&
	    ((status->subject == 3 && status->detail == 2) ||
	     (status->subject == 4 && status->detail == 5)))
		return true;
	return has_phrase(str_of(outcome->reply));
}
