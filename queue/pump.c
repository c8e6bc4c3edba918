/* SPDX-License-Identifier: ISC */
/*
 * The queue's turn of the loop: what is due by the clock is offered to its
 * destination, what may start there starts, and a timer waits for the rest.
 */
#include "lib/clock.h"
#include "lib/random.h"
#include "queue/core.h"

/* Legs looked at in one turn of the loop. */
#define PUMP_LEGS 512

/* The longest wait, unless twice a configured delay is longer. */
#define LONGEST_WAIT_S ((uint64_t)86400)

/* The longest sleep: the boot clock counts suspended time, timers do not. */
#define SLEEP_MAX_MS 60000

/* --------------------------------------------------------------- clocks */

uint64_t
queue_wall_ms(const struct queue *queue)
{
	return queue->now_ms != NULL ? queue->now_ms(queue->now_arg)
				     : clock_wall_ms();
}

uint64_t
queue_boot_ms(const struct queue *queue)
{
	return queue->now_ms != NULL ? queue->now_ms(queue->now_arg)
				     : clock_boot_ms();
}

/* Nothing waits longer than that for its next attempt: a moment further off
 * was written by a clock that was wrong. */
static uint64_t
longest_wait_ms(const struct queue *queue)
{
	uint64_t longest_s = LONGEST_WAIT_S;

	for (size_t i = 0; i < queue->rules.retry.count; i++)
		if (2 * (uint64_t)queue->retry_s[i] > longest_s)
			longest_s = 2 * (uint64_t)queue->retry_s[i];
	return longest_s * 1000;
}

uint64_t
queue_boot_of(const struct queue *queue, uint64_t wall_ms)
{
	uint64_t now_ms = queue_wall_ms(queue), longest_ms;
	uint64_t wait_ms = wall_ms > now_ms ? wall_ms - now_ms : 0;

	if (wait_ms > LONGEST_WAIT_S * 1000) {
		longest_ms = longest_wait_ms(queue);
		if (wait_ms > longest_ms)
			wait_ms = longest_ms;
	}
	return queue_boot_ms(queue) + wait_ms;
}

/* ---------------------------------------------------------------- pump */

/*
 * A destination that is down: the leg waits for its next turn without an
 * attempt of its own, unless that would hide an expiry or a warning.
 */
static bool
leg_send_back(struct queue *queue, struct leg *leg)
{
	const struct destination *to = leg->destination;
	const struct entry *entry = leg->entry;
	bool is_null = entry_sender(entry)[0] == '\0';
	struct retry_plan plan = queue->rules.retry;
	uint64_t now_ms = queue_wall_ms(queue), next_ms;
	uint64_t warn_ms = entry->received_ms + queue->rules.warn_s * 1000;

	if (is_null)
		plan.expire_s = queue->rules.bounce_expire_s;
	if (!leg->is_warned && queue->rules.warn_s != 0 && now_ms >= warn_ms)
		return false;
	if (to->lesson != NULL &&
	    settle_is_past_grace(&queue->rules, to->lesson, entry->received_ms,
				 now_ms))
		return false;
	next_ms = retry_next(&plan, leg->attempts + 1, entry->received_ms,
			     now_ms, random_below(UINT32_MAX));
	if (next_ms == 0)
		return false;
	if (!leg->is_warned && queue->rules.warn_s != 0 && next_ms > warn_ms)
		next_ms = warn_ms;
	if (to->last_error != NULL) {
		reason_unref(leg->why);
		leg->why = reason_ref(to->last_error);
		leg->category = to->last_category;
		leg->categories = (uint16_t)(leg->category != 0
						     ? 1u << (leg->category - 1)
						     : 0);
	}
	leg->is_down = true;
	schedule_wait(&queue->schedule, leg, queue_boot_of(queue, next_ms));
	return true;
}

/* Starts what may start, a bounded number. Returns false when it has to come
 * back at once. */
static bool
queue_pump(struct queue *queue)
{
	struct schedule *schedule = &queue->schedule;
	unsigned budget = PUMP_LEGS;
	struct leg *leg;

	schedule_advance(schedule, queue_boot_ms(queue));
	for (; budget != 0; budget--) {
		leg = schedule_due(schedule);
		if (leg == NULL)
			break;
		leg_route(queue, leg);
	}
	if (!queue->delivers || queue->is_paused)
		return budget != 0;
	for (; budget != 0; budget--) {
		bool is_down;

		leg = schedule_next(schedule, &is_down);
		if (leg == NULL)
			break;
		if (is_down && leg_send_back(queue, leg))
			continue;
		schedule_start(schedule, leg);
		run_start(queue, leg, is_down);
	}
	return budget != 0;
}

static void
on_timer(uv_timer_t *timer)
{
	queue_kick(timer->data);
}

static void
on_soon(uv_idle_t *soon)
{
	struct queue *queue = soon->data;
	uint64_t wakeup_ms, now_ms, sleep_ms = SLEEP_MAX_MS;

	(void)uv_idle_stop(soon); /* what runs now may ask again */
	if (queue->is_closing)
		return;
	if (!queue_pump(queue))
		queue_kick(queue);
	now_ms = queue_boot_ms(queue);
	if (queue->is_loaded)
		digest_tick(queue->digest);
	wakeup_ms = schedule_wakeup(&queue->schedule);
	if (digest_wakeup_ms(queue->digest) != UINT64_MAX) {
		uint64_t digest_ms =
			queue_boot_of(queue, digest_wakeup_ms(queue->digest));

		/* one that is late waits for something: the disk */
		if (digest_ms > now_ms && digest_ms < wakeup_ms)
			wakeup_ms = digest_ms;
	}
	if (wakeup_ms <= now_ms)
		sleep_ms = 1;
	else if (wakeup_ms - now_ms < SLEEP_MAX_MS)
		sleep_ms = wakeup_ms - now_ms;
	(void)uv_timer_start(&queue->timer, on_timer, sleep_ms, 0);
}

void
queue_kick(struct queue *queue)
{
	if (!queue->is_closing)
		(void)uv_idle_start(&queue->soon, on_soon);
}
