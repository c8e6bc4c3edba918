/* SPDX-License-Identifier: ISC */
#include "queue/deliver/marks.h"

#include <string.h>

/* The mark of this address, or NULL. */
static const struct mark *
marks_find(const struct marks *marks, const struct ip *ip, uint16_t port)
{
	for (size_t i = 0; i < MARKS_MAX; i++) {
		const struct mark *mark = &marks->at[i];

		if (mark->port == port && mark->ip.family != IP_NONE &&
		    ip_equal(&mark->ip, ip))
			return mark;
	}
	return NULL;
}

void
marks_set(struct marks *marks, const struct ip *ip, uint16_t port,
	  uint64_t now_ms)
{
	const struct mark *found = marks_find(marks, ip, port);
	size_t place = 0;

	if (ip->family == IP_NONE)
		return;
	if (found != NULL) {
		place = (size_t)(found - marks->at);
	} else {
		for (size_t i = 0; i < MARKS_MAX; i++)
			if (marks->at[i].until_ms < marks->at[place].until_ms)
				place = i;
	}
	marks->at[place].ip = *ip;
	marks->at[place].port = port;
	marks->at[place].until_ms = now_ms + MARKS_LAST_MS;
}

bool
marks_clear(struct marks *marks, const struct ip *ip, uint16_t port)
{
	const struct mark *found = marks_find(marks, ip, port);

	if (found == NULL)
		return false;
	memset(&marks->at[found - marks->at], 0, sizeof(*found));
	return true;
}

bool
marks_has(const struct marks *marks, const struct ip *ip, uint16_t port,
	  uint64_t now_ms)
{
	const struct mark *found = marks_find(marks, ip, port);

	return found != NULL && now_ms < found->until_ms;
}
