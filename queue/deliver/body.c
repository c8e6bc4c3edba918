/* SPDX-License-Identifier: ISC */
#include "queue/deliver/body.h"

#include "queue/spool/spool.h"

void
body_open(struct body *body, struct spool *spool, uint64_t id)
{
	size_t len;

	body->spool = spool;
	body->id = id;
	body->offset = 0;
	body->read = NULL;
	body->is_pinned = spool_body(spool, id, &len) != NULL;
	if (body->is_pinned)
		spool_pin(spool, id);
}

static void
on_read(void *arg, int status, const uint8_t *bytes, size_t len)
{
	struct body *body = arg;

	body->read = NULL;
	body->offset += len;
	body->on_bytes(body->owner, status, bytes, len);
}

enum body_result
body_next(struct body *body, size_t max, const uint8_t **out_bytes,
	  size_t *out_len)
{
	const uint8_t *bytes = NULL;
	size_t len = 0;

	if (body->is_pinned)
		bytes = spool_body(body->spool, body->id, &len);
	if (bytes == NULL) {
		body->read = spool_read(body->spool, body->id, body->offset,
					max, on_read, body);
		return BODY_LATER;
	}
	if (body->offset >= len)
		return BODY_END;
	*out_bytes = bytes + body->offset;
	*out_len =
		len - body->offset < max ? (size_t)(len - body->offset) : max;
	body->offset += *out_len;
	return BODY_BYTES;
}

bool
body_is_over(const struct body *body)
{
	size_t len = 0;

	return body->is_pinned &&
	       spool_body(body->spool, body->id, &len) != NULL &&
	       body->offset >= len;
}

void
body_rewind(struct body *body)
{
	if (body->read != NULL)
		spool_read_cancel(body->read);
	body->read = NULL;
	body->offset = 0;
}

void
body_close(struct body *body)
{
	if (body->spool == NULL)
		return;
	body_rewind(body);
	if (body->is_pinned)
		spool_unpin(body->spool, body->id);
	body->is_pinned = false;
	body->spool = NULL;
}
