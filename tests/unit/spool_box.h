/* SPDX-License-Identifier: ISC */
/*
 * tests/unit/spool_box.h - a spool in a folder of its own, and a loop
 *
 * Everything here waits by running the loop until what was started came
 * back.
 */
#ifndef OSTLER_TESTS_UNIT_SPOOL_BOX_H
#define OSTLER_TESTS_UNIT_SPOOL_BOX_H

#include "tests/unit/unit.h"

#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "lib/mem.h"
#include "queue/spool/disk.h"
#include "queue/spool/spool.h"

#define BOX_FOUND_MAX 4096

struct box_found {
	uint64_t id;
	char *envelope, *states;
	uint64_t body_bytes;
};

struct box {
	char dir[128];
	uv_loop_t loop;
	struct spool *spool;
	struct spool_opts opts;
	struct err err;
	struct box_found found[BOX_FOUND_MAX];
	size_t found_count;
	bool is_loaded, is_broken, is_closed;
	unsigned errors; /* reported */
	char last_report[512];
};

static int
box_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline void
box_init(struct box *box)
{
	const char *tmp = getenv("TMPDIR");

	memset(box, 0, sizeof(*box));
	snprintf(box->dir, sizeof(box->dir), "%s/spoolXXXXXX",
		 tmp != NULL ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(box->dir));
	box->opts.dir = box->dir;
	box->opts.segment_bytes = 64 << 10;
	box->opts.large_bytes = 16 << 10;
}

static inline void
box_forget(struct box *box)
{
	for (size_t i = 0; i < box->found_count; i++) {
		free(box->found[i].envelope);
		free(box->found[i].states);
	}
	box->found_count = 0;
	box->errors = 0;
	box->is_loaded = box->is_broken = box->is_closed = false;
}

static inline void
box_done(struct box *box)
{
	box_forget(box);
	(void)nftw(box->dir, box_remove, 16, FTW_DEPTH | FTW_PHYS);
}

static inline void
box_add_found(void *owner, const struct spool_found *found)
{
	struct box *box = owner;
	struct box_found *to = &box->found[box->found_count++];

	ck_assert_uint_lt(box->found_count, BOX_FOUND_MAX);
	to->id = found->id;
	to->envelope = mem_strdup(found->envelope);
	to->states = mem_strdup(found->states);
	to->body_bytes = found->body_bytes;
}

static inline void
box_on_loaded(void *owner)
{
	((struct box *)owner)->is_loaded = true;
}

static inline void
box_on_report(void *owner, bool is_error, const char *file, const char *text)
{
	struct box *box = owner;

	if (is_error)
		box->errors++;
	snprintf(box->last_report, sizeof(box->last_report), "%s: %s", file,
		 text);
}

static inline void
box_on_broken(void *owner)
{
	((struct box *)owner)->is_broken = true;
}

static inline int
box_try_open(struct box *box)
{
	static const struct spool_callbacks callbacks = {
		.found = box_add_found,
		.loaded = box_on_loaded,
		.report = box_on_report,
		.broken = box_on_broken,
	};
	int rc;

	box_forget(box);
	ck_assert_int_eq(uv_loop_init(&box->loop), 0);
	rc = spool_open(&box->loop, &box->opts, &callbacks, box, &box->spool,
			&box->err);
	if (rc < 0) {
		ck_assert_int_eq(uv_run(&box->loop, UV_RUN_DEFAULT), 0);
		ck_assert_int_eq(uv_loop_close(&box->loop), 0);
	}
	return rc;
}

static inline void
box_wait(struct box *box, const bool *what)
{
	while (!*what)
		(void)uv_run(&box->loop, UV_RUN_ONCE);
}

static inline void
box_open(struct box *box)
{
	int rc = box_try_open(box);

	ck_assert_msg(rc == 0, "%s", box->err.text);
	box_wait(box, &box->is_loaded);
}

static inline void
box_on_closed(void *arg)
{
	((struct box *)arg)->is_closed = true;
}

static inline void
box_close(struct box *box)
{
	spool_close(box->spool, box_on_closed, box);
	box_wait(box, &box->is_closed);
	while (uv_loop_close(&box->loop) != 0)
		(void)uv_run(&box->loop, UV_RUN_NOWAIT);
}

static inline const struct box_found *
box_find(const struct box *box, uint64_t id)
{
	for (size_t i = 0; i < box->found_count; i++)
		if (box->found[i].id == id)
			return &box->found[i];
	return NULL;
}

/* ------------------------------------------------------------ operations */

struct box_put {
	struct spool_put put;
	bool is_over, has_room;
	int status;
	uint64_t id;
};

static inline void
box_on_end(void *owner, int status)
{
	struct box_put *put = owner;

	put->status = status;
	put->is_over = true;
}

static inline void
box_on_room(void *owner)
{
	((struct box_put *)owner)->has_room = true;
}

static inline void
box_begin(struct box *box, struct box_put *put)
{
	memset(put, 0, sizeof(*put));
	put->put.owner = put;
	put->put.on_end = box_on_end;
	put->put.on_room = box_on_room;
	spool_put_begin(box->spool, &put->put);
	put->id = put->put.id;
}

/* Body bytes that tell from which message and place they are. */
static inline void
box_body(unsigned seed, uint8_t *to, size_t len)
{
	for (size_t i = 0; i < len; i++)
		to[i] = (uint8_t)(i % 64 == 63 ? '\n'
					       : 'A' + (seed * 7 + i / 64 +
							i % 64) % 26);
}

static inline void
box_envelope(unsigned seed, char to[64])
{
	snprintf(to, 64, "from <a%u@example>\nrcpt <b%u@example>\n", seed,
		 seed);
}

/* Starts a put of len bytes; waits only for room. */
static inline void
box_start(struct box *box, struct box_put *put, unsigned seed, size_t len)
{
	uint8_t *body = mem_alloc(len);
	char envelope[64];

	box_begin(box, put);
	box_body(seed, body, len);
	for (size_t at = 0; at < len;) {
		size_t part = len - at < 40000 ? len - at : 40000;

		put->has_room = false;
		if (spool_put_data(&put->put, body + at, part))
			box_wait(box, &put->has_room);
		at += part;
	}
	free(body);
	box_envelope(seed, envelope);
	spool_put_end(&put->put, envelope);
}

static inline int
box_put(struct box *box, unsigned seed, size_t len, uint64_t *out_id)
{
	struct box_put put;

	box_start(box, &put, seed, len);
	*out_id = put.id;
	box_wait(box, &put.is_over);
	return put.status;
}

struct box_saved {
	bool is_over;
	int status;
};

static inline void
box_on_saved(void *arg, int status)
{
	struct box_saved *saved = arg;

	saved->status = status;
	saved->is_over = true;
}

static inline int
box_state(struct box *box, uint64_t id, const char *line)
{
	struct box_saved saved = {false, 0};

	spool_state(box->spool, id, line, box_on_saved, &saved);
	box_wait(box, &saved.is_over);
	return saved.status;
}

struct box_text {
	bool is_over;
	int status;
	char *envelope, *states;
	uint64_t body_bytes;
};

static inline void
box_on_text(void *arg, int status, const struct spool_text *text)
{
	struct box_text *to = arg;

	to->is_over = true;
	to->status = status;
	if (text == NULL)
		return;
	to->envelope = mem_strdup(text->envelope);
	to->states = mem_strdup(text->states);
	to->body_bytes = text->body_bytes;
}

static inline int
box_load(struct box *box, uint64_t id, struct box_text *text)
{
	memset(text, 0, sizeof(*text));
	(void)spool_load(box->spool, id, box_on_text, text);
	box_wait(box, &text->is_over);
	return text->status;
}

static inline void
box_text_done(struct box_text *text)
{
	free(text->envelope);
	free(text->states);
}

struct box_bytes {
	bool is_over;
	int status;
	uint8_t bytes[8192];
	size_t len;
};

static inline void
box_on_bytes(void *arg, int status, const uint8_t *bytes, size_t len)
{
	struct box_bytes *to = arg;

	to->is_over = true;
	to->status = status;
	to->len = len;
	if (len != 0)
		memcpy(to->bytes, bytes, len);
}

/* Reads the whole body and compares it; 0 or what the spool said. */
static inline int
box_check_body(struct box *box, uint64_t id, unsigned seed, size_t len)
{
	uint8_t *want = mem_alloc(len);
	struct box_bytes got;
	size_t at = 0;

	box_body(seed, want, len);
	do {
		got.is_over = false;
		(void)spool_read(box->spool, id, at, sizeof(got.bytes),
				 box_on_bytes, &got);
		box_wait(box, &got.is_over);
		if (got.status < 0)
			break;
		ck_assert_uint_le(at + got.len, len);
		ck_assert_int_eq(memcmp(got.bytes, want + at, got.len), 0);
		at += got.len;
	} while (got.len != 0);
	free(want);
	if (got.status == 0)
		ck_assert_uint_eq(at, len);
	return got.status;
}

#endif
