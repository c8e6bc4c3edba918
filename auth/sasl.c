/* SPDX-License-Identifier: ISC */
#include "auth/sasl.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include <sasl/sasl.h>
#include <sasl/saslutil.h>

#include "lib/mem.h"

static void *
sasl_mutex_new(void)
{
	pthread_mutex_t *mutex = mem_alloc(sizeof(*mutex));

	pthread_mutex_init(mutex, NULL);
	return mutex;
}

static int
sasl_mutex_take(void *mutex)
{
	return pthread_mutex_lock(mutex) == 0 ? SASL_OK : SASL_FAIL;
}

static int
sasl_mutex_give(void *mutex)
{
	return pthread_mutex_unlock(mutex) == 0 ? SASL_OK : SASL_FAIL;
}

static void
sasl_mutex_end(void *mutex)
{
	pthread_mutex_destroy(mutex);
	free(mutex);
}

void
auth_sasl_prepare(void)
{
	/* sasl_server_new for one writes through what it did not get */
	sasl_set_alloc(mem_alloc, mem_library_calloc, mem_library_realloc,
		       free);
	/* workers use it: it is thread safe only with mutexes set first */
	sasl_set_mutex(sasl_mutex_new, sasl_mutex_take, sasl_mutex_give,
		       sasl_mutex_end);
}

int
auth_sasl_no_path(void *context, char **path)
{
	static char nowhere[] = "/nonexistent"; /* libsasl2 only reads it */

	(void)context;
	*path = nowhere;
	return SASL_OK;
}

char *
auth_decode64(struct str base64, unsigned *out_len)
{
	size_t room = base64.len / 4 * 3 + 4;
	char *bytes;

	if (base64.len > AUTH_DATA_MAX)
		return NULL;
	bytes = mem_alloc(room);
	*out_len = 0;
	if (base64.len != 0 &&
	    sasl_decode64(base64.at, (unsigned)base64.len, bytes,
			  (unsigned)room, out_len) != SASL_OK) {
		free(bytes);
		return NULL;
	}
	bytes[*out_len] = '\0';
	return bytes;
}

char *
auth_encode64(const char *bytes, unsigned len)
{
	size_t room = ((size_t)len + 2) / 3 * 4 + 1;
	char *base64 = mem_alloc(room);
	unsigned used = 0;

	base64[0] = '\0';
	if (len != 0)
		(void)sasl_encode64(bytes, len, base64, (unsigned)room, &used);
	return base64;
}

const char *
auth_version(void)
{
	static char text[32];
	const char *implementation;
	int version;

	sasl_version(&implementation, &version);
	/* sasl.h: major in the top byte, minor in the next, step below */
	(void)snprintf(text, sizeof(text), "%d.%d.%d", (version >> 24) & 0xff,
		       (version >> 16) & 0xff, version & 0xffff);
	return text;
}
