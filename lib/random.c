/* SPDX-License-Identifier: ISC */
#include "lib/random.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* A thread's own: no byte may serve two. */
static _Thread_local uint8_t pool[256];
static _Thread_local size_t pool_left;

/* At most 256 bytes: the kernel never gives fewer then (getrandom(2)). */
static void
random_fill(void)
{
	ssize_t got;

	do
		got = getrandom(pool, sizeof(pool), 0);
	while (got < 0 && errno == EINTR);
	if (got != (ssize_t)sizeof(pool)) {
		/* predictable numbers would be worse than none */
		(void)fputs("ostler: the kernel gives no random bytes\n",
			    stderr);
		abort();
	}
	pool_left = sizeof(pool);
}

void
random_bytes(void *to, size_t len)
{
	uint8_t *at = to;

	while (len != 0) {
		size_t part;

		if (pool_left == 0)
			random_fill();
		part = len < pool_left ? len : pool_left;
		pool_left -= part;
		memcpy(at, pool + pool_left, part);
		memset(pool + pool_left, 0, part); /* each byte serves once */
		at += part;
		len -= part;
	}
}

uint32_t
random_below(uint32_t below)
{
	uint32_t skip, value;

	assert(below > 0);
	/* values under 2^32 mod below would make the low ones likelier */
	skip = (UINT32_MAX - below + 1) % below;
	do
		random_bytes(&value, sizeof(value));
	while (value < skip);
	return value % below;
}
