/* SPDX-License-Identifier: ISC */
/*
 * tests/unit/guard.h - ends a test in which nothing happens
 *
 * It counts short steps, of which a machine that stands still for a minute
 * takes one: a single long timer would be over then, and the loop runs timers
 * before it looks at what has come meanwhile.
 */
#ifndef OSTLER_TESTS_UNIT_GUARD_H
#define OSTLER_TESTS_UNIT_GUARD_H

#include "tests/unit/unit.h"

#include <stdint.h>

#include <uv.h>

#define GUARD_STEP_MS 100
#define GUARD_MS 100000

static inline void
on_guard_step(uv_timer_t *timer)
{
	uintptr_t left = (uintptr_t)timer->data;

	if (left == 0)
		ck_abort_msg("nothing happened for too long");
	timer->data = (void *)(left - 1);
}

/* timer: initialized; uv_timer_stop() or uv_close() ends it */
static inline void
guard_start(uv_timer_t *timer)
{
	timer->data =
		(void *)(uintptr_t)(unit_patience_ms(GUARD_MS) / GUARD_STEP_MS);
	(void)uv_timer_start(timer, on_guard_step, GUARD_STEP_MS,
			     GUARD_STEP_MS);
	uv_unref((uv_handle_t *)timer);
}

#endif
