/* SPDX-License-Identifier: ISC */
#include "queue/deliver/deliverer.h"

#include <assert.h>
#include <stdlib.h>

#include "lib/mem.h"
#include "lib/net/tls_ctx.h"
#include "queue/deliver/pool.h"

struct deliverer *
deliverer_new(uv_loop_t *loop, const struct deliverer_opts *opts,
	      struct resolver *resolver, struct spool *spool)
{
	/* An old TLS is better than none where none would do as well; where
	 * the operator asked for a verified peer, it is not. */
	const struct tls_client_opts any = {.minimum = "1.0"};
	const struct tls_client_opts verified = {.is_verified = true,
						 .minimum = "1.2"};
	struct deliverer *deliverer = mem_zalloc(sizeof(*deliverer));

	deliverer->loop = loop;
	deliverer->resolver = resolver;
	deliverer->spool = spool;
	deliverer->pool = pool_new();
	/* what fails here fails each delivery that needs it, with the reason */
	(void)tls_ctx_client(&any, &deliverer->tls_any, &deliverer->tls_error);
	(void)tls_ctx_client(&verified, &deliverer->tls_verified,
			     &deliverer->tls_error);
	deliverer_configure(deliverer, opts);
	return deliverer;
}

void
deliverer_configure(struct deliverer *deliverer,
		    const struct deliverer_opts *opts)
{
	char *old = (char *)(uintptr_t)deliverer->opts.hostname;

	deliverer->opts = *opts;
	deliverer->opts.hostname = mem_strdup(opts->hostname);
	free(old);
}

void
deliverer_close_idle(struct deliverer *deliverer)
{
	pool_close_idle(deliverer->pool);
}

void
deliverer_free(struct deliverer *deliverer)
{
	if (deliverer == NULL)
		return;
	assert(deliverer->busy == 0);
	pool_free(deliverer->pool);
	tls_ctx_unref(deliverer->tls_any);
	tls_ctx_unref(deliverer->tls_verified);
	free((char *)(uintptr_t)deliverer->opts.hostname);
	free(deliverer);
}

void
deliverer_stats(const struct deliverer *deliverer, struct deliverer_stats *out)
{
	out->idle = (unsigned)pool_idle(deliverer->pool);
	out->connections = deliverer->busy + out->idle;
	out->opened = deliverer->opened;
	out->reused = deliverer->reused;
}
