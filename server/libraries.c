/* SPDX-License-Identifier: ISC */
#include "server/libraries.h"

#include <stdlib.h>

#include <jansson.h>
#include <uv.h>

#include "auth/sasl.h"
#include "lib/mem.h"
#include "lib/net/tls_ctx.h"

void
libraries_prepare(void)
{
	/* fails only when one of them is NULL */
	(void)uv_replace_allocator(mem_alloc, mem_library_realloc,
				   mem_library_calloc, free);
	json_set_alloc_funcs(mem_alloc, free);
	tls_library_prepare();
	auth_sasl_prepare();
}
