/* SPDX-License-Identifier: ISC */
#include "server/libraries.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <jansson.h>
#include <uv.h>

#include "auth/sasl.h"
#include "lib/mem.h"
#include "lib/net/tls_ctx.h"

/* libuv, for one, says nothing when it cannot make a thread. */
static void
on_abort(int number)
{
	static const char line[] =
		"error aborted reason=\"the line before says why; without one "
		"a library gave up: is there no memory, or may no thread be "
		"made?\"\n";

	(void)number;
	/* nothing can be done when even this fails */
	(void)!write(STDERR_FILENO, line, sizeof(line) - 1);
}

void
libraries_prepare(void)
{
	struct sigaction action = {.sa_handler = on_abort};

	(void)sigaction(SIGABRT, &action, NULL); /* cannot fail */
	/* fails only when one of them is NULL */
	(void)uv_replace_allocator(mem_alloc, mem_library_realloc,
				   mem_library_calloc, free);
	json_set_alloc_funcs(mem_alloc, free);
	tls_library_prepare();
	auth_sasl_prepare();
}
