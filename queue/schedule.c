/* SPDX-License-Identifier: ISC */
#include "queue/schedule.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "lib/hash.h"
#include "lib/mem.h"
#include "lib/random.h"

/* What a destination taught is remembered for a while after its last leg,
 * by the most recent ones only. */
#define UNUSED_MAX     1024
#define UNUSED_KEEP_MS 300000

/* Legs woken by each answer of a destination that was down. */
#define WAKE_COUNT 4

/* The share of all connections that is kept for destinations without any:
 * one that hangs cannot take them all. */
#define IDLE_SHARE 4

void
schedule_init(struct schedule *schedule, unsigned connections)
{
	memset(schedule, 0, sizeof(*schedule));
	heap_init(&schedule->due);
	heap_init(&schedule->throttled);
	list_init(&schedule->ready_idle);
	list_init(&schedule->ready_busy);
	list_init(&schedule->unused);
	schedule->slot_count = 256;
	schedule->slots =
		mem_zalloc(schedule->slot_count * sizeof(*schedule->slots));
	schedule->connections = connections;
	random_bytes(&schedule->seed, sizeof(schedule->seed));
}

void
schedule_set_connections(struct schedule *schedule, unsigned connections)
{
	assert(connections > 0);
	schedule->connections = connections;
}

/* -------------------------------------------------------- destinations */

static size_t
destination_slot(const struct schedule *schedule, const char *key)
{
	return (size_t)hash_bytes(&schedule->seed, key, strlen(key)) &
	       (schedule->slot_count - 1);
}

static void
destinations_resize(struct schedule *schedule, size_t slot_count)
{
	struct destination **old = schedule->slots;
	size_t old_count = schedule->slot_count;

	schedule->slots = mem_zalloc(slot_count * sizeof(*schedule->slots));
	schedule->slot_count = slot_count;
	for (size_t i = 0; i < old_count; i++) {
		struct destination *to = old[i];

		while (to != NULL) {
			struct destination *next = to->hash_next;
			size_t slot = destination_slot(schedule, to->key);

			to->hash_next = schedule->slots[slot];
			schedule->slots[slot] = to;
			to = next;
		}
	}
	free(old);
}

static unsigned
window_first(const struct destination_limits *limits)
{
	return limits->is_remote && limits->connections > SCHEDULE_FIRST_WINDOW
		       ? SCHEDULE_FIRST_WINDOW
		       : limits->connections;
}

/* Finds it, or makes it. */
static struct destination *
destination_get(struct schedule *schedule, const char *key,
		const struct destination_limits *limits)
{
	size_t slot = destination_slot(schedule, key), len = strlen(key);
	struct destination *to = schedule->slots[slot];

	while (to != NULL && strcmp(to->key, key) != 0)
		to = to->hash_next;
	if (to == NULL) {
		to = mem_zalloc(sizeof(*to) + len + 1);
		memcpy(to->key, key, len + 1);
		list_init(&to->waiting);
		list_init(&to->backoff);
		list_init(&to->link);
		to->window = window_first(limits);
		to->hash_next = schedule->slots[slot];
		schedule->slots[slot] = to;
		if (++schedule->destination_count > schedule->slot_count)
			destinations_resize(schedule, schedule->slot_count * 2);
	} else if (!limits->is_remote && to->window == to->limits.connections) {
		to->window = limits->connections; /* a reload raised it */
	}
	if (to->window > limits->connections)
		to->window = limits->connections;
	to->limits = *limits;
	return to;
}

static void
destination_free(struct schedule *schedule, struct destination *to)
{
	struct destination **at =
		&schedule->slots[destination_slot(schedule, to->key)];

	while (*at != to)
		at = &(*at)->hash_next;
	*at = to->hash_next;
	schedule->destination_count--;
	list_remove(&to->link);
	heap_remove(&schedule->throttled, &to->throttled);
	reason_unref(to->last_error);
	free(to->lesson);
	free(to);
}

static bool
is_down(const struct schedule *schedule, const struct destination *to)
{
	return to->down_until_ms > schedule->now_ms;
}

/* Time in us from which the next attempt is within the rate: the bucket
 * holds rate_count tokens and gets one each interval. */
static uint64_t
rate_ready_us(const struct destination *to)
{
	uint64_t period_us = (uint64_t)to->limits.rate_period_s * 1000000;
	uint64_t interval_us;

	if (to->limits.rate_count == 0)
		return 0;
	interval_us = period_us / to->limits.rate_count;
	return to->rate_us > period_us - interval_us
		       ? to->rate_us - (period_us - interval_us)
		       : 0;
}

static void
rate_take(const struct schedule *schedule, struct destination *to)
{
	uint64_t now_us = schedule->now_ms * 1000;

	if (to->limits.rate_count == 0)
		return;
	if (to->rate_us < now_us)
		to->rate_us = now_us;
	to->rate_us += (uint64_t)to->limits.rate_period_s * 1000000 /
		       to->limits.rate_count;
}

/* Puts the destination where it belongs after anything about it changed. */
static void
destination_place(struct schedule *schedule, struct destination *to)
{
	uint64_t ready_ms;

	if (to->legs == 0)
		return; /* it is among the unused */
	list_remove(&to->link);
	heap_remove(&schedule->throttled, &to->throttled);
	if (to->waiting_count == 0)
		return;
	if (is_down(schedule, to)) {
		/* its legs are sent back one by one: see schedule_next */
		list_push(&schedule->ready_idle, &to->link);
		return;
	}
	if (to->active >= to->window)
		return;
	ready_ms = (rate_ready_us(to) + 999) / 1000;
	if (ready_ms > schedule->now_ms)
		heap_set(&schedule->throttled, &to->throttled, ready_ms);
	else if (to->active == 0)
		list_push(&schedule->ready_idle, &to->link);
	else
		list_push(&schedule->ready_busy, &to->link);
}

static void
destination_enter(struct schedule *schedule, struct destination *to,
		  struct leg *leg)
{
	if (to->legs++ == 0 && to->unused_ms != 0) {
		list_remove(&to->link);
		schedule->unused_count--;
		to->unused_ms = 0;
	}
	leg->destination = to;
}

/* One leg less; the last one leaves it among the unused. NULL is fine. */
static void
destination_leave(struct schedule *schedule, struct destination *to)
{
	if (to == NULL || --to->legs != 0)
		return;
	list_remove(&to->link);
	heap_remove(&schedule->throttled, &to->throttled);
	to->unused_ms = schedule->now_ms != 0 ? schedule->now_ms : 1;
	list_push(&schedule->unused, &to->link);
	schedule->unused_count++;
	if (schedule->unused_count > UNUSED_MAX) {
		schedule->unused_count--;
		destination_free(schedule,
				 container_of(schedule->unused.next,
					      struct destination, link));
	}
}

void
schedule_done(struct schedule *schedule)
{
	for (size_t i = 0; i < schedule->slot_count; i++)
		while (schedule->slots[i] != NULL)
			destination_free(schedule, schedule->slots[i]);
	free(schedule->slots);
	heap_done(&schedule->due);
	heap_done(&schedule->throttled);
}

/* ---------------------------------------------------------------- time */

static void
unused_expire(struct schedule *schedule)
{
	while (!list_is_empty(&schedule->unused)) {
		struct destination *to = container_of(schedule->unused.next,
						      struct destination, link);

		if (schedule->now_ms < to->unused_ms + UNUSED_KEEP_MS)
			return;
		if (to->rate_us > schedule->now_ms * 1000) {
			/* forgotten, it would get its tokens twice */
			to->unused_ms = schedule->now_ms;
			list_remove(&to->link);
			list_push(&schedule->unused, &to->link);
			continue;
		}
		schedule->unused_count--;
		destination_free(schedule, to);
	}
}

void
schedule_advance(struct schedule *schedule, uint64_t now_ms)
{
	struct heap_node *node;

	schedule->now_ms = now_ms;
	for (;;) {
		struct destination *to;

		node = heap_first(&schedule->throttled);
		if (node == NULL || node->key > now_ms)
			break;
		to = container_of(node, struct destination, throttled);
		heap_remove(&schedule->throttled, node);
		destination_place(schedule, to);
	}
	unused_expire(schedule);
}

static bool
has_room(const struct schedule *schedule)
{
	return schedule->counts[LEG_ACTIVE] < schedule->connections;
}

uint64_t
schedule_wakeup(const struct schedule *schedule)
{
	const struct heap_node *due = heap_first(&schedule->due);
	const struct heap_node *token = heap_first(&schedule->throttled);
	uint64_t at = due != NULL ? due->key : UINT64_MAX;

	if (token != NULL && token->key < at && has_room(schedule))
		at = token->key;
	return at;
}

/* --------------------------------------------------------- moving legs */

/* sign  1: it is in its state from now on; -1: it was until now */
static void
leg_count(struct schedule *schedule, const struct leg *leg, int sign)
{
	if (leg->state == LEG_NEW)
		return;
	schedule->counts[leg->state] += (uint64_t)sign;
	if (leg->attempts != 0)
		schedule->tried[leg->state] += (uint64_t)sign;
}

void
schedule_set_attempts(struct schedule *schedule, struct leg *leg,
		      uint32_t attempts)
{
	leg_count(schedule, leg, -1);
	leg->attempts = attempts;
	leg_count(schedule, leg, 1);
}

/* Out of where its state says that it is; the one way from state to state. */
static void
leg_move(struct schedule *schedule, struct leg *leg, enum leg_state to)
{
	struct destination *at = leg->destination;
	enum leg_state from = (enum leg_state)leg->state;

	leg_count(schedule, leg, -1);
	leg->state = to;
	leg_count(schedule, leg, 1);
	switch (from) {
	case LEG_QUEUED:
		heap_remove(&schedule->due, &leg->due);
		list_remove(&leg->link);
		break;
	case LEG_WAITING:
		list_remove(&leg->link);
		at->waiting_count--;
		break;
	case LEG_ACTIVE:
		at->active--;
		break;
	case LEG_NEW:
	case LEG_SETTLING:
	case LEG_HELD:
	case LEG_STATES:
		break;
	}
}

void
schedule_wait(struct schedule *schedule, struct leg *leg, uint64_t due_ms)
{
	leg_move(schedule, leg, LEG_QUEUED);
	heap_set(&schedule->due, &leg->due, due_ms);
	if (leg->destination == NULL)
		return;
	if (leg->is_down)
		list_push(&leg->destination->backoff, &leg->link);
	destination_place(schedule, leg->destination);
}

struct leg *
schedule_due(struct schedule *schedule)
{
	struct heap_node *node = heap_first(&schedule->due);

	if (node == NULL || node->key > schedule->now_ms)
		return NULL;
	return container_of(node, struct leg, due);
}

static struct destination *
leg_attach(struct schedule *schedule, struct leg *leg, const char *key,
	   const struct destination_limits *limits)
{
	struct destination *to = destination_get(schedule, key, limits);
	struct destination *old = leg->destination;

	if (old == to)
		return to;
	/* first in, or making room among the unused could take it away */
	destination_enter(schedule, to, leg);
	destination_leave(schedule, old);
	if (old != NULL)
		destination_place(schedule, old);
	return to;
}

void
schedule_attach(struct schedule *schedule, struct leg *leg, const char *key,
		const struct destination_limits *limits)
{
	assert(leg->state == LEG_NEW || leg->state == LEG_QUEUED);
	list_remove(&leg->link); /* it is no backoff of the old one */
	(void)leg_attach(schedule, leg, key, limits);
}

void
schedule_offer(struct schedule *schedule, struct leg *leg, const char *key,
	       const struct destination_limits *limits)
{
	struct destination *to;

	assert(limits->connections > 0);
	leg_move(schedule, leg, LEG_WAITING);
	to = leg_attach(schedule, leg, key, limits);
	list_push(&to->waiting, &leg->link);
	to->waiting_count++;
	destination_place(schedule, to);
}

/* Which list has its turn. */
static struct list *
ready_list(struct schedule *schedule)
{
	bool has_idle = !list_is_empty(&schedule->ready_idle);
	bool has_busy = !list_is_empty(&schedule->ready_busy) &&
			schedule->counts[LEG_ACTIVE] <
				schedule->connections -
					schedule->connections / IDLE_SHARE;

	if (has_idle && (!has_busy || !schedule->was_idle))
		return &schedule->ready_idle;
	return has_busy ? &schedule->ready_busy : NULL;
}

struct leg *
schedule_next(struct schedule *schedule, bool *out_is_down)
{
	while (has_room(schedule)) {
		struct list *from = ready_list(schedule);
		struct destination *to;

		if (from == NULL)
			return NULL;
		schedule->was_idle = from == &schedule->ready_idle;
		to = container_of(from->next, struct destination, link);
		/* to the end of its list, for others have their turn first;
		 * or off it, when it was down and is not any more */
		destination_place(schedule, to);
		if (list_is_empty(&to->link))
			continue;
		*out_is_down = is_down(schedule, to);
		return container_of(to->waiting.next, struct leg, link);
	}
	return NULL;
}

void
schedule_start(struct schedule *schedule, struct leg *leg)
{
	struct destination *to = leg->destination;

	assert(leg->state == LEG_WAITING);
	leg_move(schedule, leg, LEG_ACTIVE);
	to->active++;
	rate_take(schedule, to);
	destination_place(schedule, to);
}

void
schedule_settle(struct schedule *schedule, struct leg *leg)
{
	leg_move(schedule, leg, LEG_SETTLING);
	if (leg->destination != NULL)
		destination_place(schedule, leg->destination);
}

void
schedule_hold(struct schedule *schedule, struct leg *leg)
{
	leg_move(schedule, leg, LEG_HELD);
	if (leg->destination != NULL)
		destination_place(schedule, leg->destination);
}

void
schedule_drop(struct schedule *schedule, struct leg *leg)
{
	struct destination *to = leg->destination;

	leg_move(schedule, leg, LEG_NEW);
	leg->destination = NULL;
	destination_leave(schedule, to);
	if (to != NULL && to->legs != 0)
		destination_place(schedule, to);
}

/* ------------------------------------------- what destinations taught */

void
schedule_answered(struct schedule *schedule, struct destination *to)
{
	to->down_until_ms = 0;
	if (to->window < to->limits.connections)
		to->window++;
	for (unsigned i = 0; i < WAKE_COUNT; i++) {
		struct list *node = list_pop(&to->backoff);
		struct leg *leg;

		if (node == NULL)
			break;
		leg = container_of(node, struct leg, link);
		if (leg->due.key > schedule->now_ms)
			heap_set(&schedule->due, &leg->due, schedule->now_ms);
	}
	destination_place(schedule, to);
}

void
schedule_pause(struct schedule *schedule, struct destination *to,
	       uint64_t until_ms, const char *reason)
{
	to->down_until_ms = until_ms;
	if (!reason_is(to->last_error, reason)) {
		reason_unref(to->last_error);
		to->last_error = reason_new(reason);
	}
	destination_place(schedule, to);
}

void
schedule_failed(struct schedule *schedule, struct destination *to,
		uint64_t until_ms, const char *reason, unsigned category)
{
	to->window = 1;
	to->last_category = (uint8_t)category;
	schedule_pause(schedule, to, until_ms, reason);
}

unsigned
schedule_revive(struct schedule *schedule,
		bool (*is_wanted)(const struct destination *to,
				  const void *arg),
		const void *arg)
{
	unsigned count = 0;

	for (size_t i = 0; i < schedule->slot_count; i++) {
		struct destination *to = schedule->slots[i];

		for (; to != NULL; to = to->hash_next) {
			if (to->down_until_ms == 0 || !is_wanted(to, arg))
				continue;
			schedule_answered(schedule, to);
			count++;
		}
	}
	return count;
}

void
schedule_slow_down(struct schedule *schedule, struct destination *to)
{
	to->window = to->window > 1 ? to->window / 2 : 1;
	destination_place(schedule, to);
}

void
schedule_believe(struct schedule *schedule, struct destination *to)
{
	to->down_until_ms = 0;
	destination_place(schedule, to);
}

void
schedule_each_destination(const struct schedule *schedule,
			  void (*each)(const struct destination *to, void *arg),
			  void *arg)
{
	for (size_t i = 0; i < schedule->slot_count; i++)
		for (const struct destination *to = schedule->slots[i];
		     to != NULL; to = to->hash_next)
			each(to, arg);
}
