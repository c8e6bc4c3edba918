/* SPDX-License-Identifier: ISC */
#include "queue/deliver/trust.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/file_saver.h"
#include "lib/hash.h"
#include "lib/mem.h"
#include "lib/net/tls_ctx.h"

#define FILE_MAX ((size_t)16 << 20)

/* Nobody else chooses these files, so the seed need not be secret. */
static const struct hash_seed seed;

/* Of a file that was read a moment ago; one that changes in between is seen
 * as another at the next reload. */
static uint64_t
file_print(const char *path)
{
	struct buf bytes;
	uint64_t print;

	buf_init(&bytes, FILE_MAX);
	(void)file_load(path, &bytes);
	print = hash_bytes(&seed, buf_bytes(&bytes), buf_len(&bytes));
	buf_done(&bytes);
	return print != 0 ? print : 1;
}

int
trust_open(const char *ca, struct trust **out, struct err *err)
{
	struct trust *trust = mem_zalloc(sizeof(*trust));
	/* An old TLS is better than none where none would do as well; where
	 * the operator asked for a verified peer, it is not. */
	struct tls_client_opts any = {.minimum = "1.0"};
	const struct tls_client_opts verified = {.is_verified = true,
						 .minimum = "1.2",
						 .ca = ca};
	int rc;

	atomic_init(&trust->refs, 1);
	if (ca != NULL)
		trust->print = file_print(ca);
	rc = tls_ctx_client(&verified, &trust->verified, err);
	any.same_ca = trust->verified;
	if (rc == 0)
		rc = tls_ctx_client(&any, &trust->any, err);
	if (rc < 0)
		trust_unref(trust);
	else
		*out = trust;
	return rc;
}

struct trust *
trust_ref(struct trust *trust)
{
	(void)atomic_fetch_add(&trust->refs, 1); /* the old count is no use */
	return trust;
}

void
trust_unref(struct trust *trust)
{
	if (trust == NULL || atomic_fetch_sub(&trust->refs, 1) != 1)
		return;
	tls_ctx_unref(trust->any);
	tls_ctx_unref(trust->verified);
	free(trust);
}
