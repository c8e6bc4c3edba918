/* SPDX-License-Identifier: ISC */
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "lib/mem.h"
#include "lib/net/stream_private.h"
#include "lib/net/writers.h"

#define DEADLINE_GRAIN_MS 10 /* deadlines this close share a wake-up */
#define LINGERING_MOST	  4096

static struct list loops = {&loops, &loops};

static void
on_closed(uv_handle_t *handle)
{
	struct stream_loop *loop = handle->data;

	if (--loop->handles != 0)
		return;
	heap_done(&loop->deadlines);
	free(loop);
}

static void on_timer(uv_timer_t *timer);

static void
wake_by(struct stream_loop *loop, uint64_t at_ms)
{
	uint64_t wake_ms = at_ms + DEADLINE_GRAIN_MS;

	if (loop->wake_ms != 0 && loop->wake_ms <= wake_ms)
		return;
	loop->wake_ms = wake_ms;
	(void)uv_timer_start(&loop->timer, on_timer,
			     wake_ms - uv_now(loop->loop), 0);
}

static void
on_timer(uv_timer_t *timer)
{
	struct stream_loop *loop = timer->data;
	uint64_t now = uv_now(loop->loop);
	struct heap_node *node;

	loop->wake_ms = 0;
	for (;;) {
		struct stream *stream;

		node = heap_first(&loop->deadlines);
		if (node == NULL || node->key > now)
			break;
		stream = container_of(node, struct stream, deadline);
		if (stream->deadline_ms > now) {
			heap_set(&loop->deadlines, node, stream->deadline_ms);
			continue;
		}
		heap_remove(&loop->deadlines, node);
		if (stream->deadline_ms == 0)
			continue;
		stream_set_deadline(stream, 0);
		stream_on_deadline(stream);
	}
	/* callbacks may have armed it already, but not for the others */
	if (node != NULL)
		wake_by(loop, node->key);
}

void
stream_set_deadline(struct stream *stream, uint64_t ms)
{
	struct stream_loop *loop = stream->loop;
	bool was_armed = stream->deadline_ms != 0;
	uint64_t now = uv_now(loop->loop);

	if (stream->life == LIFE_FAILED || stream->life == LIFE_CLOSING)
		ms = 0;
	/* a time beyond all others is one too, not an overflow */
	stream->deadline_ms = ms == 0		    ? 0
			      : ms < UINT64_MAX / 4 ? now + ms
						    : UINT64_MAX / 2;
	if (was_armed && ms == 0 && --loop->armed == 0)
		uv_unref((uv_handle_t *)&loop->timer);
	if (!was_armed && ms != 0 && loop->armed++ == 0)
		uv_ref((uv_handle_t *)&loop->timer);
	if (ms == 0 || (heap_holds(&stream->deadline) &&
			stream->deadline.key <= stream->deadline_ms))
		return;
	heap_set(&loop->deadlines, &stream->deadline, stream->deadline_ms);
	wake_by(loop, stream->deadline_ms);
}

static void
on_idle(uv_idle_t *idle)
{
	struct stream_loop *loop = idle->data;
	struct list turn, *node;

	/* what callbacks add is for the next turn */
	list_init(&turn);
	for (node = list_pop(&loop->soon); node != NULL;
	     node = list_pop(&loop->soon))
		list_push(&turn, node);
	for (node = list_pop(&turn); node != NULL; node = list_pop(&turn))
		stream_on_soon(container_of(node, struct stream, soon_link));
	if (list_is_empty(&loop->soon))
		(void)uv_idle_stop(idle);
}

void
stream_soon(struct stream *stream, unsigned reasons)
{
	struct stream_loop *loop = stream->loop;

	if (list_is_empty(&stream->soon_link)) {
		if (list_is_empty(&loop->soon))
			(void)uv_idle_start(&loop->idle, on_idle);
		list_push(&loop->soon, &stream->soon_link);
	}
	stream->soon |= (uint8_t)reasons;
}

void
stream_forget(struct stream *stream)
{
	stream_set_deadline(stream, 0);
	heap_remove(&stream->loop->deadlines, &stream->deadline);
	list_remove(&stream->soon_link);
	stream->soon = 0;
	if (list_is_empty(&stream->loop->soon))
		(void)uv_idle_stop(&stream->loop->idle);
}

static void
on_prepare(uv_prepare_t *prepare)
{
	stream_send_turn(prepare->data);
}

/* An eighth of the descriptors that we may have: they are for those who want
 * something of us, not for those who do not close. */
static size_t
lingering_most(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) < 0 ||
	    files.rlim_cur / 8 > LINGERING_MOST)
		return LINGERING_MOST;
	return files.rlim_cur / 8 > 1 ? (size_t)(files.rlim_cur / 8) : 1;
}

struct stream_loop *
stream_loop_enter(uv_loop_t *uv)
{
	struct stream_loop *loop;
	struct list *node;

	list_each (node, &loops) {
		loop = container_of(node, struct stream_loop, link);
		if (loop->loop == uv) {
			loop->streams++;
			return loop;
		}
	}
	/* a peer that is gone is an error of write(), not the end of us */
	(void)signal(SIGPIPE, SIG_IGN);
	loop = mem_alloc(sizeof(*loop)); /* the areas need no zeros */
	loop->loop = uv;
	loop->streams = 1;
	loop->handles = 3;
	loop->armed = 0;
	loop->wake_ms = 0;
	heap_init(&loop->deadlines);
	list_init(&loop->soon);
	list_init(&loop->lingering);
	loop->lingering_count = 0;
	loop->lingering_most = lingering_most();
	loop->sends = loop->sends_before = 0;
	loop->writers = NULL;
	loop->has_no_writers = loop->is_due = false;
	list_init(&loop->given);
	list_push(&loops, &loop->link);
	(void)uv_timer_init(uv, &loop->timer); /* these never fail */
	(void)uv_idle_init(uv, &loop->idle);
	(void)uv_prepare_init(uv, &loop->prepare);
	loop->timer.data = loop;
	loop->idle.data = loop;
	loop->prepare.data = loop;
	(void)uv_prepare_start(&loop->prepare, on_prepare);
	uv_unref((uv_handle_t *)&loop->timer);
	uv_unref((uv_handle_t *)&loop->prepare);
	return loop;
}

void
stream_loop_leave(struct stream_loop *loop)
{
	if (--loop->streams != 0)
		return;
	list_remove(&loop->link);
	writers_free(loop->writers);
	uv_close((uv_handle_t *)&loop->prepare, on_closed);
	uv_close((uv_handle_t *)&loop->timer, on_closed);
	uv_close((uv_handle_t *)&loop->idle, on_closed);
}
