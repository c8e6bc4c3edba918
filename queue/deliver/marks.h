/* SPDX-License-Identifier: ISC */
/*
 * queue/deliver/marks.h - addresses that lately did not answer
 *
 * Only failed connects and missing greetings mark an address. A marked one is
 * tried behind all others, never left out: with a single host nothing is
 * delayed. Pure but for its memory; bounded.
 */
#ifndef OSTLER_QUEUE_DELIVER_MARKS_H
#define OSTLER_QUEUE_DELIVER_MARKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/ip.h"

#define MARKS_MAX     512
#define MARKS_LAST_MS 60000

struct marks {
	struct mark {
		struct ip ip; /* IP_NONE: free */
		uint16_t port;
		uint64_t until_ms;
	} at[MARKS_MAX];
};

/* Zero it to begin. The one that ends first gives way when it is full. */
void marks_set(struct marks *marks, const struct ip *ip, uint16_t port,
	       uint64_t now_ms);
/* Returns whether there was one, also when it was over. */
bool marks_clear(struct marks *marks, const struct ip *ip, uint16_t port);
bool marks_has(const struct marks *marks, const struct ip *ip, uint16_t port,
	       uint64_t now_ms);

#endif
