/* SPDX-License-Identifier: ISC */
/*
 * tests/unit/fake_spool.h - one message body, in memory or to be read
 *
 * Stands for queue/spool in tests of what reads bodies.
 */
#ifndef OSTLER_TESTS_UNIT_FAKE_SPOOL_H
#define OSTLER_TESTS_UNIT_FAKE_SPOOL_H

#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "lib/mem.h"
#include "queue/spool/spool.h"

struct spool {
	uv_loop_t *loop;
	const char *body;
	size_t len;
	bool is_in_memory;
	uint64_t fail_at; /* reads from here on fail; 0: none does */
	uint64_t hold_at; /* a read from here on waits in held; 0: none does */
	struct spool_read *held;
	unsigned pins;
};

struct spool_read {
	uv_timer_t timer;
	struct spool *spool;
	uint64_t offset;
	size_t max;
	void (*on_bytes)(void *arg, int status, const uint8_t *bytes,
			 size_t len);
	void *arg;
};

const uint8_t *
spool_body(struct spool *spool, uint64_t id, size_t *out_len)
{
	*out_len = spool->len;
	return spool->is_in_memory ? (const uint8_t *)spool->body : NULL;
}

void
spool_pin(struct spool *spool, uint64_t id)
{
	spool->pins++;
}

void
spool_unpin(struct spool *spool, uint64_t id)
{
	spool->pins--;
}

static void
fake_read_freed(uv_handle_t *handle)
{
	free(handle->data);
}

static void
on_fake_read(uv_timer_t *timer)
{
	struct spool_read *read = timer->data;
	struct spool *spool = read->spool;
	size_t left = spool->len - (size_t)read->offset;
	/* pieces are never as large as was asked */
	size_t len = left < read->max / 2 + 1 ? left : read->max / 2 + 1;
	uint8_t *bytes = (uint8_t *)mem_dup(spool->body + read->offset, len);

	uv_close((uv_handle_t *)&read->timer, fake_read_freed);
	if (spool->fail_at != 0 && read->offset + len >= spool->fail_at)
		read->on_bytes(read->arg, -EIO, NULL, 0);
	else
		read->on_bytes(read->arg, 0, bytes, len);
	free(bytes);
}

struct spool_read *
spool_read(struct spool *spool, uint64_t id, uint64_t offset, size_t max,
	   void (*on_bytes)(void *arg, int status, const uint8_t *bytes,
			    size_t len),
	   void *arg)
{
	struct spool_read *read = mem_zalloc(sizeof(*read));

	read->spool = spool;
	read->offset = offset;
	read->max = max;
	read->on_bytes = on_bytes;
	read->arg = arg;
	(void)uv_timer_init(spool->loop, &read->timer);
	read->timer.data = read;
	if (spool->hold_at != 0 && offset >= spool->hold_at)
		spool->held = read;
	else
		(void)uv_timer_start(&read->timer, on_fake_read, 0, 0);
	return read;
}

void
spool_read_cancel(struct spool_read *read)
{
	if (read->spool->held == read)
		read->spool->held = NULL;
	uv_close((uv_handle_t *)&read->timer, fake_read_freed);
}

#endif
