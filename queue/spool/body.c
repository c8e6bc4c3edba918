/* SPDX-License-Identifier: ISC */
#include "queue/spool/body.h"

#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"

/* What is spare may not be touched, and the sanitizer sees to it. */
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define HIDE(at, len) ASAN_POISON_MEMORY_REGION(at, len)
#define SHOW(at, len) ASAN_UNPOISON_MEMORY_REGION(at, len)
#else
#define HIDE(at, len) ((void)0)
#define SHOW(at, len) ((void)0)
#endif

#define POOL_BYTES (4u << 20) /* most that is kept spare */
#define NO_CLASS   BODY_CLASSES

/* A buffer that waits for its next body. */
struct body_spare {
	struct body_spare *next;
};

static size_t
class_bytes(unsigned class)
{
	return (size_t)(4 + class % 4) << (7 + class / 4);
}

/* The smallest class that holds len bytes. */
static unsigned
class_for(size_t len)
{
	unsigned class = 0;

	while (class < BODY_CLASSES && class_bytes(class) < len)
		class +=
			class + 4 < BODY_CLASSES && class_bytes(class + 3) < len
				? 4
				: 1;
	return class;
}

/* The class a buffer was made for; NO_CLASS: none, it is not kept. */
static unsigned
class_of(size_t capacity)
{
	unsigned class = class_for(capacity);

	return class < BODY_CLASSES && class_bytes(class) == capacity
		       ? class
		       : NO_CLASS;
}

static uint8_t *
take(struct body_pool *pool, unsigned class)
{
	struct body_spare *spare = pool->spare[class];

	if (spare == NULL)
		return NULL;
	SHOW(spare, class_bytes(class));
	pool->spare[class] = spare->next;
	pool->bytes -= class_bytes(class);
	if (pool->bytes < pool->least)
		pool->least = pool->bytes;
	return (uint8_t *)spare;
}

static void
give_back(struct body_pool *pool, uint8_t *data, size_t capacity)
{
	unsigned class = class_of(capacity);
	struct body_spare *spare = (struct body_spare *)(void *)data;

	if (class == NO_CLASS || pool->bytes + capacity > POOL_BYTES) {
		free(data);
		return;
	}
	spare->next = pool->spare[class];
	pool->spare[class] = spare;
	pool->bytes += capacity;
	HIDE(data, capacity);
}

static void
free_some(struct body_pool *pool, size_t bytes)
{
	size_t keep = pool->bytes - bytes;

	for (unsigned class = BODY_CLASSES; class -- > 0;)
		while (pool->bytes > keep && pool->spare[class] != NULL)
			free(take(pool, class));
}

void
body_pool_done(struct body_pool *pool)
{
	free_some(pool, pool->bytes);
}

void
body_pool_trim(struct body_pool *pool)
{
	free_some(pool, pool->least);
	pool->least = pool->bytes;
}

struct body *
body_new(struct body_pool *pool)
{
	struct body *body = mem_alloc(sizeof(*body));

	*body = (struct body){.pool = pool, .refs = 1};
	return body;
}

void
body_unref(struct body *body)
{
	if (body == NULL || --body->refs > 0)
		return;
	if (body->data != NULL)
		give_back(body->pool, body->data, body->capacity);
	free(body);
}

/* Another buffer for the same bytes. */
static void
change(struct body *body, size_t need)
{
	unsigned class = class_for(need);
	size_t size = class < BODY_CLASSES ? class_bytes(class) : need;
	uint8_t *data = class < BODY_CLASSES ? take(body->pool, class) : NULL;

	if (data == NULL)
		data = mem_alloc(size);
	if (body->bytes != 0)
		memcpy(data, body->data, body->bytes);
	if (body->data != NULL)
		give_back(body->pool, body->data, body->capacity);
	body->data = data;
	body->capacity = size;
}

void
body_reserve(struct body *body, size_t len)
{
	size_t need = body->bytes + len, size = 2 * body->capacity;

	if (need > body->capacity || body->data == NULL)
		change(body, need > size ? need : size);
}

void
body_close_up(struct body *body)
{
	/* classes are a quarter apart at most */
	if (body->capacity > class_bytes(0) &&
	    body->capacity - body->bytes > body->capacity / 4)
		change(body, body->bytes);
}
